/*
 * tests/unit/test_store.c - enrollments as one caller sees them: requests, leases, steps, wake-ups, the admin.
 */
#include "config.h"

#include "tests/unit/test_store.h"

/* ---- names ------------------------------------------------------------------------------------------------------- */

START_TEST(every_state_has_a_name_that_is_read_back)
{
	enum enrollment_state s;

	for (int i = 0; i < ENROLLMENT_STATES; i++) {
		ck_assert(enrollment_state_parse(enrollment_state_name((enum enrollment_state)i), &s));
		ck_assert_int_eq(s, i);
	}
	ck_assert(!enrollment_state_parse("none", &s));
	ck_assert(!enrollment_state_parse("", &s));
	ck_assert_str_eq(enrollment_state_name(ENROLLMENT_CHALLENGE_AWAITED), "challenge-awaited");
	ck_assert_str_eq(enrollment_state_name(ENROLLMENT_STATES), "none");
}
END_TEST

/* ---- requests ---------------------------------------------------------------------------------------------------- */

START_TEST(a_request_creates_one_row_however_often_it_is_made)
{
	static const char *const spellings[] = {"Alice@Example.ORG", "alice@example.org", "ALICE@example.org"};
	bool created;
	int64_t id, first = 0;

	for (size_t i = 0; i < 3; i++) {
		OK(store_enrollment_request(outbound, spellings[i], "mailbox-strict", "sign", "alice", &created, &id, &err));
		ck_assert(created == (i == 0));
		if (i == 0)
			first = id;
		ck_assert_int_eq(id, first);
	}
	/* Which certificate it will be is decided later: another profile is no reason for another row. */
	OK(store_enrollment_request(outbound, "alice@example.org", "private", "encrypt", "alice", &created, NULL, &err));
	ck_assert(!created);
	ck_assert_uint_eq(count_events(first, "requested"), 1);
}
END_TEST

START_TEST(a_new_row_is_requested_and_due_now)
{
	time_t before = time(NULL);
	struct enrollment row = get(request("Alice.Müller@bücher.example"));

	ck_assert_str_eq(row.addresses.v[0], "Alice.Müller@xn--bcher-kva.example");
	ck_assert_uint_eq(row.addresses.n, 1);
	ck_assert_str_eq(row.profile, "mailbox-strict");
	ck_assert_str_eq(row.usage, "sign");
	ck_assert_str_eq(row.ca, "");
	ck_assert_str_eq(row.requested_by, "alice");
	ck_assert_int_eq(row.state, ENROLLMENT_REQUESTED);
	ck_assert(row.next_at >= before && row.next_at <= time(NULL));
	ck_assert_ptr_null(row.lease_owner);
	ck_assert_ptr_null(row.why);
	ck_assert_int_eq(row.why_class, ERR_NONE);
	ck_assert_int_eq(row.key_id, 0);
	ck_assert(!row.disabled);
	enrollment_clear(&row);
}
END_TEST

START_TEST(what_is_no_address_is_refused_and_nothing_is_written)
{
	static const char *const bad[] = {
		"", "alice", "@example.org", "alice@", "a@b@c", "alice@example.org\r\nBcc: x", "alice@[192.0.2.1]"};
	struct enrollment_list l;
	bool created, found;
	struct enrollment row = {0};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_msg(!store_enrollment_request(outbound, bad[i], "p", "sign", "x", &created, NULL, &err), "%s", bad[i]);
		ck_assert_int_eq(err.class, ERR_POLICY);
		ck_assert(!created);
		ck_assert(!store_enrollment_find(outbound, bad[i], &row, &found, &err));
	}
	OK(store_enrollment_list(enrolld, -1, NULL, 10, &l, &err));
	ck_assert_uint_eq(l.n, 0);
	enrollment_list_clear(&l);
}
END_TEST

START_TEST(a_value_that_breaks_a_rule_of_the_schema_is_a_bug_and_leaves_no_half_row)
{
	bool created;
	size_t counts[ENROLLMENT_STATES], disabled;

	ck_assert(!store_enrollment_request(enrolld, "alice@example.org", "p", "forge", "x", &created, NULL, &err));
	ck_assert_int_eq(err.class, ERR_BUG);
	OK(store_enrollment_counts(enrolld, counts, &disabled, &err));
	ck_assert_uint_eq(counts[ENROLLMENT_REQUESTED], 0);
}
END_TEST

/* ---- claims and steps -------------------------------------------------------------------------------------------- */

START_TEST(a_claimed_row_is_not_given_to_a_second_worker_until_the_lease_ends)
{
	struct enrollment a = {0}, b = {0};
	time_t now = time(NULL) + 5; /* rows made meanwhile are due */

	request("alice@example.org");
	ck_assert(claim(&a, "one", now, 60));
	ck_assert_str_eq(a.lease_owner, "one");
	ck_assert_int_eq(a.lease_until, now + 60);
	ck_assert(!claim(&b, "two", now, 60));
	ck_assert(!claim(&b, "two", now + 59, 60));
	ck_assert(claim(&b, "two", now + 60, 60));
	ck_assert_int_eq(a.id, b.id);
	enrollment_clear(&a);
	enrollment_clear(&b);
}
END_TEST

/* By version, since the second worker may carry the same name. */
START_TEST(a_worker_whose_lease_was_taken_over_writes_nothing)
{
	const char *second[] = {"two", "one"};
	struct enrollment a = {0}, b = {0}, now_row;
	struct store_step late = {.row = &a, .event = "late", .actor = "one"}, good = {.row = &b, .event = "good", .actor = "two"};
	time_t now = time(NULL) + 5; /* rows made meanwhile are due */
	int64_t id = request("alice@example.org");

	ck_assert(claim(&a, "one", now, 10));
	ck_assert(claim(&b, second[_i], now + 20, 10));
	a.state = ENROLLMENT_BLOCKED;
	ck_assert(!commit(&late));
	ck_assert_int_eq(state_of(id), ENROLLMENT_REQUESTED);
	ck_assert_uint_eq(count_events(id, "late"), 0);
	b.state = ENROLLMENT_ELIGIBLE;
	ck_assert(commit(&good));
	ck_assert(!commit(&late));
	/* A commit gives the lease back, so the same worker cannot commit twice either. */
	ck_assert(!commit(&good));
	now_row = get(id);
	ck_assert_int_eq(now_row.state, ENROLLMENT_ELIGIBLE);
	ck_assert_ptr_null(now_row.lease_owner);
	ck_assert_int_eq(now_row.version, b.version);
	enrollment_clear(&now_row);
	enrollment_clear(&a);
	enrollment_clear(&b);
}
END_TEST

START_TEST(an_intent_is_stored_before_and_found_after_a_crash)
{
	struct enrollment a = {0}, b = {0};
	struct store_step step = {.row = &a, .event = "newOrder", .actor = "enrolld", .keep_lease = true, .count_order = true};
	time_t now = time(NULL) + 5; /* rows made meanwhile are due */
	size_t orders;

	request("alice@example.org");
	ck_assert(claim(&a, "one", now, 30));
	a.state = ENROLLMENT_ORDERING;
	a.intent = strdup("newOrder");
	a.orders++;
	a.next_at = 0; /* must not strand the row */
	ck_assert(commit(&step));
	ck_assert_str_eq(a.lease_owner, "one");
	/* The worker dies here.  Nobody else gets the row before the lease ends, then with the intent in it. */
	ck_assert(!claim(&b, "two", now + 29, 30));
	ck_assert(claim(&b, "two", now + 30, 30));
	ck_assert_str_eq(b.intent, "newOrder");
	ck_assert_int_eq(b.state, ENROLLMENT_ORDERING);
	ck_assert_uint_eq(b.orders, 1);
	OK(store_orders_since(enrolld, now - 10, NULL, &orders, &err));
	ck_assert_uint_eq(orders, 1);
	/* The dead worker wakes up. */
	ck_assert(!commit(&step));
	enrollment_clear(&a);
	enrollment_clear(&b);
}
END_TEST

START_TEST(the_leases_of_a_killed_predecessor_are_given_back_with_their_intents)
{
	struct enrollment a = {0}, b = {0}, again = {0};
	struct store_step step = {.row = &a, .actor = "enrolld", .keep_lease = true};
	time_t now = time(NULL) + 5; /* rows made meanwhile are due */

	request("alice@example.org");
	request("bob@example.org");
	ck_assert(claim(&a, "host1:17:1", now, 600));
	ck_assert(claim(&b, "host2:17:1", now, 600));
	a.intent = strdup("reply");
	ck_assert(commit(&step));
	OK(store_leases_release(enrolld, "host1:", &err));
	ck_assert(claim(&again, "host1:18:1", now, 600));
	ck_assert_int_eq(again.id, a.id);
	ck_assert_str_eq(again.intent, "reply");
	ck_assert(!commit(&step));
	enrollment_clear(&again);
	ck_assert(!claim(&again, "host1:18:1", now, 600));
	enrollment_clear(&a);
	enrollment_clear(&b);
}
END_TEST

START_TEST(everything_of_a_row_is_read_back_as_it_was_written)
{
	struct enrollment a = {0}, b;
	struct store_step step = {.row = &a, .event = "state", .actor = "enrolld", .text = "why", .class = ERR_TEMPORARY};
	int64_t id = request("alice@example.org");
	time_t now = time(NULL) + 5; /* rows made meanwhile are due */

	ck_assert(claim(&a, "one", now, 30));
	free(a.ca);
	a.ca = strdup("example-ca");
	a.state = ENROLLMENT_WAITING;
	a.resume = ENROLLMENT_CHALLENGE_AWAITED;
	a.next_at = now + 600;
	a.intent = strdup("poll");
	a.attempts = 3;
	a.orders = 2;
	a.abandoned = 1;
	a.why_class = ERR_TEMPORARY;
	a.why = strdup("the CA is down; \"quoted\" 'text' ü");
	a.activity = strdup("POST https://ca.example/order/1");
	a.ca_state = strdup("{\"order\":\"https://ca.example/order/1\"}");
	a.ordered_at = now - 5;
	a.challenge_from = strdup("acme@ca.example");
	a.trigger_at = now - 4;
	a.answered_at = now - 3;
	a.csr = malloc(4);
	memcpy(a.csr, "\0\1\2\3", 4);
	a.csr_len = 4;
	ck_assert(commit(&step));
	b = get(id);
	ck_assert_str_eq(b.ca, "example-ca");
	ck_assert_int_eq(b.state, ENROLLMENT_WAITING);
	ck_assert_int_eq(b.resume, ENROLLMENT_CHALLENGE_AWAITED);
	ck_assert_int_eq(b.next_at, now + 600);
	ck_assert_str_eq(b.intent, "poll");
	ck_assert_uint_eq(b.attempts, 3);
	ck_assert_uint_eq(b.orders, 2);
	ck_assert_uint_eq(b.abandoned, 1);
	ck_assert_int_eq(b.why_class, ERR_TEMPORARY);
	ck_assert_str_eq(b.why, a.why);
	ck_assert_str_eq(b.activity, a.activity);
	ck_assert_str_eq(b.ca_state, a.ca_state);
	ck_assert_int_eq(b.ordered_at, now - 5);
	ck_assert_str_eq(b.challenge_from, "acme@ca.example");
	ck_assert_int_eq(b.trigger_at, now - 4);
	ck_assert_int_eq(b.answered_at, now - 3);
	ck_assert_uint_eq(b.csr_len, 4);
	ck_assert_mem_eq(b.csr, "\0\1\2\3", 4);
	ck_assert_int_eq(b.version, a.version);
	ck_assert_int_eq(b.state_since, a.state_since);
	enrollment_clear(&a);
	enrollment_clear(&b);
}
END_TEST

START_TEST(rows_are_claimed_oldest_first_and_only_when_due)
{
	struct enrollment row = {0};
	time_t now = time(NULL) + 5, when, starts[3] = {now + 300, now + 100, now + 200};
	int64_t ids[3];
	const char *names[] = {"a@example.org", "b@example.org", "c@example.org"};

	OK(store_enrollment_next_due(enrolld, &when, &err));
	ck_assert_int_eq(when, 0);
	for (size_t i = 0; i < 3; i++) {
		struct store_step step = {.row = &row, .actor = "test"};

		ids[i] = request(names[i]);
		ck_assert(claim(&row, "w", now, 10));
		row.next_at = starts[i];
		ck_assert(commit(&step));
		enrollment_clear(&row);
	}
	OK(store_enrollment_next_due(enrolld, &when, &err));
	ck_assert_int_eq(when, now + 100);
	ck_assert(!claim(&row, "w", now + 99, 10));
	for (size_t i = 0; i < 3; i++) {
		static const size_t order[] = {1, 2, 0};

		ck_assert(claim(&row, "w", now + 1000, 50));
		ck_assert_int_eq(row.id, ids[order[i]]);
		enrollment_clear(&row);
	}
	/* All held now: the next thing to happen is that a lease ends. */
	OK(store_enrollment_next_due(enrolld, &when, &err));
	ck_assert_int_eq(when, now + 1050);
}
END_TEST

START_TEST(rows_at_rest_are_not_due_whatever_their_time_says)
{
	static const enum enrollment_state rest[] = {ENROLLMENT_FAILED, ENROLLMENT_SUPERSEDED, ENROLLMENT_REVOKED};
	struct enrollment row = {0};
	int64_t id = store_fixture_enroll(enrolld, "alice@example.org", rest[_i]);
	time_t when;

	ck_assert_int_eq(next_of(id), 0);
	ck_assert(!claim(&row, "w", time(NULL) + 100000, 10));
	OK(store_enrollment_next_due(enrolld, &when, &err));
	ck_assert_int_eq(when, 0);
}
END_TEST

START_TEST(a_change_of_state_is_an_event_even_when_none_was_named)
{
	struct enrollment row = {0};
	struct store_step step = {.row = &row, .actor = "enrolld"};
	struct event_list l;
	int64_t id = request("alice@example.org");
	time_t since;

	ck_assert(claim(&row, "w", time(NULL), 10));
	since = row.state_since;
	ck_assert(commit(&step));
	ck_assert_uint_eq(count_events(id, "state"), 0);
	ck_assert_int_eq(row.state_since, since);
	enrollment_clear(&row);
	ck_assert(claim(&row, "w", time(NULL) + 1, 10));
	row.state = ENROLLMENT_ELIGIBLE;
	ck_assert(commit(&step));
	OK(store_events(enrolld, id, -1, 1, &l, &err));
	ck_assert_uint_eq(l.n, 1);
	ck_assert_str_eq(l.v[0].name, "state");
	ck_assert_int_eq(l.v[0].state, ENROLLMENT_ELIGIBLE);
	ck_assert_str_eq(l.v[0].address, "alice@example.org");
	event_list_clear(&l);
	enrollment_clear(&row);
}
END_TEST

/* Whatever fails in a commit, nothing of it stays: neither in the database nor in the caller's row. */
START_TEST(a_step_that_fails_in_the_middle_leaves_nothing)
{
	char text[8] = "text", nonsense[12] = "nonsense";
	struct enrollment row, after;
	struct store_key key = {.wrapped = (const unsigned char *)"w", .wrapped_len = 1};
	struct store_certificate c = {.der = (unsigned char *)text,
		.der_len = 4,
		.serial = text,
		.issuer = text,
		.fingerprint = text,
		.addresses = text,
		.status = nonsense};
	struct store_step step = {.row = &row, .actor = "test", .event = "issued", .new_key = &key, .certificate = &c, .count_order = true};
	int64_t id = store_fixture_enroll(enrolld, "alice@example.org", ENROLLMENT_FINALIZED), version;
	size_t orders;
	bool stale;

	memset(key.spki_sha256, 'd', 64);
	store_fixture_claim(enrolld, id, &row);
	version = row.version;
	row.state = ENROLLMENT_ISSUED;
	if (_i == 1) { /* the certificate is fine, the challenge is not there */
		memcpy(nonsense, "issued", 7);
		step.challenge_id = 4711;
		step.challenge_state = "replied";
	}
	ck_assert(!store_step_commit(enrolld, &step, &stale, &err));
	ck_assert_int_eq(err.class, ERR_BUG);
	ck_assert_int_eq(row.version, version);
	ck_assert_int_eq(row.key_id, 0);
	ck_assert_int_eq(row.certificate_id, 0);
	ck_assert_int_eq(c.id, 0);
	after = get(id);
	ck_assert_int_eq(after.state, ENROLLMENT_FINALIZED);
	ck_assert_int_eq(after.version, version);
	ck_assert_str_eq(after.lease_owner, "fixture");
	enrollment_clear(&after);
	ck_assert_uint_eq(count_events(id, "issued"), 0);
	OK(store_orders_since(enrolld, 0, NULL, &orders, &err));
	ck_assert_uint_eq(orders, 0);
	/* The worker still holds the row and can write what it should. */
	memcpy(nonsense, "issued", 7);
	step.challenge_id = 0;
	ck_assert(commit(&step));
	enrollment_clear(&row);
}
END_TEST

/* ---- the wake-up ------------------------------------------------------------------------------------------------- */

START_TEST(a_challenge_wakes_a_sleeping_row)
{
	struct enrollment row = {0};
	struct store_step step = {.row = &row, .actor = "enrolld"};
	int64_t id = store_fixture_enroll(enrolld, "alice@example.org", ENROLLMENT_CHALLENGE_AWAITED);

	ck_assert(claim(&row, "w", time(NULL) + 5, 10));
	row.next_at = time(NULL) + 3600;
	ck_assert(commit(&step));
	enrollment_clear(&row);
	ck_assert(!claim(&row, "w", time(NULL), 10));
	ck_assert(add_challenge(id, "dG9rZW4", "<1@ca.example>"));
	ck_assert(claim(&row, "w", time(NULL), 10));
	enrollment_clear(&row);
}
END_TEST

/* The lost wake-up: the worker has looked for challenges already and is about to write "again in an hour". */
START_TEST(a_challenge_during_a_step_is_not_slept_over_and_does_not_spoil_the_step)
{
	struct enrollment row = {0};
	struct store_step step = {.row = &row, .actor = "enrolld"};
	time_t now = time(NULL);
	int64_t id = store_fixture_enroll(enrolld, "alice@example.org", ENROLLMENT_ORDERED);

	ck_assert(claim(&row, "w", now + 5, 60));
	ck_assert(add_challenge(id, "dG9rZW4", "<1@ca.example>"));
	/* The intent of the step is committed in between: the wake-up survives that, too. */
	step.keep_lease = true;
	row.intent = strdup("poll");
	ck_assert(commit(&step));
	step.keep_lease = false;
	free(row.intent);
	row.intent = NULL;
	row.state = ENROLLMENT_CHALLENGE_AWAITED;
	row.next_at = now + 3600;
	ck_assert(commit(&step));
	ck_assert_int_le(row.next_at, time(NULL));
	ck_assert_int_eq(next_of(id), row.next_at);
	enrollment_clear(&row);
	/* Due at once; and when nothing came since, the next commit may sleep: no endless turning. */
	ck_assert(claim(&row, "w", time(NULL), 60));
	row.next_at = now + 3600;
	ck_assert(commit(&step));
	ck_assert_int_eq(next_of(id), now + 3600);
	enrollment_clear(&row);
	/* The same mail again is nothing new. */
	ck_assert(!add_challenge(id, "dG9rZW4", "<1@ca.example>"));
	ck_assert_int_eq(next_of(id), now + 3600);
}
END_TEST

START_TEST(a_wake_up_does_not_disturb_a_row_that_no_longer_awaits_a_mail)
{
	static const struct {
		enum enrollment_state state;
		time_t next_in, expected;
	} table[] = {
		{ENROLLMENT_VALIDATED, 700, 700},
		{ENROLLMENT_WAITING, 800, 800},
		{ENROLLMENT_ACTIVE, 0, 0},
		{ENROLLMENT_BLOCKED, 900, 900},
	};
	struct enrollment row = {0};
	struct store_step step = {.row = &row, .actor = "enrolld"};
	time_t now = time(NULL);
	int64_t id = store_fixture_enroll(enrolld, "alice@example.org", ENROLLMENT_CHALLENGE_AWAITED);

	ck_assert(claim(&row, "w", now + 5, 60));
	ck_assert(add_challenge(id, "dG9rZW4", "<1@ca.example>"));
	row.state = table[_i].state;
	row.resume = ENROLLMENT_CHALLENGE_AWAITED;
	row.next_at = table[_i].next_in == 0 ? 0 : now + table[_i].next_in;
	ck_assert(commit(&step));
	ck_assert_int_eq(next_of(id), table[_i].expected == 0 ? 0 : now + table[_i].expected);
	/* A second mail for it is kept as well, and wakes nobody. */
	ck_assert(add_challenge(id, "dG9rZW5y", "<2@ca.example>"));
	ck_assert_int_eq(next_of(id), table[_i].expected == 0 ? 0 : now + table[_i].expected);
	enrollment_clear(&row);
}
END_TEST

/* ---- look-ups and the admin -------------------------------------------------------------------------------------- */

START_TEST(the_open_and_newest_row_of_an_address_is_found)
{
	struct enrollment row;
	bool found, created;
	int64_t old = store_fixture_enroll(enrolld, "alice@example.org", ENROLLMENT_EXPIRED), open, closed;

	OK(store_enrollment_find(outbound, "alice@example.org", &row, &found, &err));
	ck_assert(found && row.id == old);
	enrollment_clear(&row);
	OK(store_enrollment_request(enrolld, "alice@example.org", "private", "sign", "x", &created, &open, &err));
	OK(store_enrollment_request(enrolld, "alice@example.org", "third", "sign", "x", &created, &closed, &err));
	move(closed, ENROLLMENT_REVOKED, NULL);
	OK(store_enrollment_find(outbound, "alice@example.org", &row, &found, &err));
	ck_assert(found && row.id == open);
	enrollment_clear(&row);
	OK(store_enrollment_find(outbound, "bob@example.org", &row, &found, &err));
	ck_assert(!found);
	OK(store_enrollment_get(outbound, 4711, &row, &found, &err));
	ck_assert(!found);
}
END_TEST

START_TEST(a_list_comes_in_pages_without_loss_or_repetition)
{
	struct enrollment_list l;
	struct enrollment row = {0};
	char last[ADDRESS_MAX] = "";
	size_t seen = 0, pages = 0;
	bool created;

	for (int i = 0; i < 25; i++) {
		char address[64];

		snprintf(address, sizeof(address), "user%02d@example.org", i);
		row.id = request(address);
		/* One address with two rows, across the edge of a page. */
		if (i == 9)
			OK(store_enrollment_companion_request(enrolld, &row, &created, &err));
	}
	do {
		OK(store_enrollment_list(enrolld, _i == 0 ? -1 : ENROLLMENT_REQUESTED, pages == 0 ? NULL : last, 5, &l, &err));
		for (size_t i = 0; i < l.n; i++) {
			ck_assert(seen == 0 || strcmp(l.v[i].addresses.v[0], last) >= 0);
			snprintf(last, sizeof(last), "%s", l.v[i].addresses.v[0]);
			seen++;
		}
		pages++;
		created = l.n > 0;
		enrollment_list_clear(&l);
	} while (created);
	ck_assert_uint_eq(seen, 26);
	ck_assert_uint_le(pages, 7);
	OK(store_enrollment_list(enrolld, ENROLLMENT_ACTIVE, NULL, 5, &l, &err));
	ck_assert_uint_eq(l.n, 0);
	enrollment_list_clear(&l);
}
END_TEST

START_TEST(retry_takes_blocked_rows_from_the_start_and_waiting_rows_from_where_they_are)
{
	struct enrollment row;
	struct store_step step = {.row = &row, .actor = "enrolld", .count_order = true};
	bool changed;
	int64_t id = store_fixture_enroll(enrolld, "alice@example.org", ENROLLMENT_ORDERED);

	store_fixture_claim(enrolld, id, &row);
	row.state = _i == 0 ? ENROLLMENT_WAITING : _i == 1 ? ENROLLMENT_BLOCKED : ENROLLMENT_FAILED;
	row.resume = ENROLLMENT_ORDERED;
	row.next_at = time(NULL) + 3600;
	row.orders = 5;
	row.attempts = 4;
	row.why = strdup("too many orders");
	row.why_class = ERR_CONFIG;
	row.ca_state = strdup("{}");
	ck_assert(commit(&step));
	enrollment_clear(&row);
	OK(store_enrollment_admin(enrolld, id, ENROLLMENT_ADMIN_RETRY, "admin:root", "fixed", &changed, &err));
	ck_assert(changed);
	row = get(id);
	ck_assert_int_le(row.next_at, time(NULL));
	ck_assert_int_ne(row.next_at, 0);
	ck_assert_uint_eq(row.attempts, 0);
	if (_i == 0) {
		ck_assert_int_eq(row.state, ENROLLMENT_WAITING);
		ck_assert_int_eq(row.resume, ENROLLMENT_ORDERED);
		ck_assert_str_eq(row.ca_state, "{}");
		ck_assert_uint_eq(row.orders, 5);
	} else {
		ck_assert_int_eq(row.state, ENROLLMENT_REQUESTED);
		ck_assert_ptr_null(row.ca_state);
		ck_assert_ptr_null(row.why);
		ck_assert_int_eq(row.why_class, ERR_NONE);
		ck_assert_uint_eq(row.orders, 0);
	}
	enrollment_clear(&row);
	ck_assert_uint_eq(count_events(id, "retry"), 1);
	/* Nothing to retry in other states, nor while somebody is at it. */
	ck_assert(claim(&row, "w", time(NULL), 60));
	OK(store_enrollment_admin(enrolld, id, ENROLLMENT_ADMIN_RETRY, "admin:root", NULL, &changed, &err));
	ck_assert(!changed);
	enrollment_clear(&row);
	OK(store_enrollment_admin(enrolld, 4711, ENROLLMENT_ADMIN_RETRY, "admin:root", NULL, &changed, &err));
	ck_assert(!changed);
}
END_TEST

START_TEST(retry_never_orders_again_what_the_ca_may_have_finalized)
{
	static const enum enrollment_state resume[] = {ENROLLMENT_VALIDATED, ENROLLMENT_FINALIZED, ENROLLMENT_ISSUED, ENROLLMENT_CHECKED,
		ENROLLMENT_PUBLISHED};
	struct enrollment row;
	struct store_step step = {.row = &row, .actor = "enrolld"};
	bool changed;
	int64_t id = store_fixture_enroll(enrolld, "alice@example.org", resume[_i]);

	store_fixture_claim(enrolld, id, &row);
	row.state = ENROLLMENT_BLOCKED;
	row.resume = resume[_i];
	row.ca_state = strdup("{}");
	ck_assert(commit(&step));
	enrollment_clear(&row);
	OK(store_enrollment_admin(enrolld, id, ENROLLMENT_ADMIN_RETRY, "admin:root", "repaired", &changed, &err));
	ck_assert(changed);
	row = get(id);
	ck_assert_int_eq(row.resume, resume[_i]);
	ck_assert_str_eq(row.ca_state, "{}");
	ck_assert_int_le(row.next_at, time(NULL));
	ck_assert_int_ne(row.next_at, 0);
	enrollment_clear(&row);
}
END_TEST

START_TEST(what_an_admin_does_makes_a_step_under_way_stale)
{
	struct enrollment row;
	struct store_step step = {.row = &row, .actor = "enrolld"};
	bool changed;
	int64_t id = request("alice@example.org");

	ck_assert(claim(&row, "w", time(NULL), 60));
	OK(store_enrollment_admin(enrolld, id, ENROLLMENT_ADMIN_DISABLE, "admin:root", "left", &changed, &err));
	row.state = ENROLLMENT_ELIGIBLE;
	ck_assert(!commit(&step));
	enrollment_clear(&row);
	row = get(id);
	ck_assert(row.disabled);
	ck_assert_int_eq(row.state, ENROLLMENT_REQUESTED);
	enrollment_clear(&row);
	ck_assert_uint_eq(count_events(id, "disabled"), 1);
}
END_TEST

START_TEST(the_order_book_counts_and_closes)
{
	struct enrollment row;
	struct store_step step = {.row = &row, .actor = "enrolld", .count_order = true};
	int64_t id = store_fixture_enroll(enrolld, "alice@example.org", ENROLLMENT_ORDERING);
	size_t n;

	for (int i = 0; i < 3; i++) {
		/* A new order closes what was left open of the one before. */
		step.order_outcome = i == 0 ? NULL : "abandoned";
		store_fixture_claim(enrolld, id, &row);
		ck_assert(commit(&step));
		enrollment_clear(&row);
	}
	OK(store_orders_since(enrolld, time(NULL) - 60, NULL, &n, &err));
	ck_assert_uint_eq(n, 3);
	OK(store_orders_since(enrolld, time(NULL) + 60, NULL, &n, &err));
	ck_assert_uint_eq(n, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store");
	TCase *tc = tcase_create("store");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, every_state_has_a_name_that_is_read_back);
	tcase_add_test(tc, a_request_creates_one_row_however_often_it_is_made);
	tcase_add_test(tc, a_new_row_is_requested_and_due_now);
	tcase_add_test(tc, what_is_no_address_is_refused_and_nothing_is_written);
	tcase_add_test(tc, a_value_that_breaks_a_rule_of_the_schema_is_a_bug_and_leaves_no_half_row);
	tcase_add_test(tc, a_claimed_row_is_not_given_to_a_second_worker_until_the_lease_ends);
	tcase_add_loop_test(tc, a_worker_whose_lease_was_taken_over_writes_nothing, 0, 2);
	tcase_add_test(tc, an_intent_is_stored_before_and_found_after_a_crash);
	tcase_add_test(tc, the_leases_of_a_killed_predecessor_are_given_back_with_their_intents);
	tcase_add_test(tc, everything_of_a_row_is_read_back_as_it_was_written);
	tcase_add_test(tc, rows_are_claimed_oldest_first_and_only_when_due);
	tcase_add_loop_test(tc, rows_at_rest_are_not_due_whatever_their_time_says, 0, 3);
	tcase_add_test(tc, a_change_of_state_is_an_event_even_when_none_was_named);
	tcase_add_loop_test(tc, a_step_that_fails_in_the_middle_leaves_nothing, 0, 2);
	tcase_add_test(tc, a_challenge_wakes_a_sleeping_row);
	tcase_add_test(tc, a_challenge_during_a_step_is_not_slept_over_and_does_not_spoil_the_step);
	tcase_add_loop_test(tc, a_wake_up_does_not_disturb_a_row_that_no_longer_awaits_a_mail, 0, 4);
	tcase_add_test(tc, the_open_and_newest_row_of_an_address_is_found);
	tcase_add_loop_test(tc, a_list_comes_in_pages_without_loss_or_repetition, 0, 2);
	tcase_add_loop_test(tc, retry_never_orders_again_what_the_ca_may_have_finalized, 0, 5);
	tcase_add_loop_test(tc, retry_takes_blocked_rows_from_the_start_and_waiting_rows_from_where_they_are, 0, 3);
	tcase_add_test(tc, what_an_admin_does_makes_a_step_under_way_stale);
	tcase_add_test(tc, the_order_book_counts_and_closes);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
