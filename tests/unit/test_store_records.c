/*
 * tests/unit/test_store_records.c - what belongs to an enrollment: challenges, certificates, credentials; events, mail events, flags.
 */
#include "config.h"

#include "tests/unit/test_store.h"

/* ---- challenges -------------------------------------------------------------------------------------------------- */

START_TEST(only_enrollments_that_wait_for_a_mail_are_awaited)
{
	for (int s = 0; s < ENROLLMENT_STATES; s++) {
		bool expected = s == ENROLLMENT_ORDERING || s == ENROLLMENT_ORDERED || s == ENROLLMENT_CHALLENGE_AWAITED ||
				s == ENROLLMENT_ANSWERED;
		char address[64];
		struct awaited a;
		int64_t id;

		snprintf(address, sizeof(address), "user%d@example.org", s);
		id = store_fixture_enroll(enrolld, address, (enum enrollment_state)s);
		OK(store_challenge_awaited(inbound, address, &a, &err));
		ck_assert_msg(a.enrollment_id == (expected ? id : 0), "%s", enrollment_state_name((enum enrollment_state)s));
		ck_assert_ptr_null(a.challenge_from);
		awaited_clear(&a);
	}
}
END_TEST

START_TEST(a_row_that_waits_between_two_steps_still_awaits_its_mail)
{
	struct enrollment row = {0};
	struct store_step step = {.row = &row, .actor = "enrolld"};
	struct awaited a;
	bool changed;
	int64_t id = request("alice@example.org");

	ck_assert(claim(&row, "w", time(NULL), 60));
	row.state = ENROLLMENT_WAITING;
	row.resume = ENROLLMENT_CHALLENGE_AWAITED;
	row.challenge_from = strdup("acme@ca.example");
	row.ordered_at = 4711;
	ck_assert(commit(&step));
	enrollment_clear(&row);
	OK(store_challenge_awaited(inbound, "ALICE@Example.org", &a, &err));
	ck_assert_int_eq(a.enrollment_id, id);
	ck_assert_str_eq(a.challenge_from, "acme@ca.example");
	ck_assert_int_eq(a.ordered_at, 4711);
	awaited_clear(&a);
	/* Also when the admin disabled it: the order is ours. */
	OK(store_enrollment_admin(enrolld, id, ENROLLMENT_ADMIN_DISABLE, "admin:root", NULL, &changed, &err));
	OK(store_challenge_awaited(inbound, "alice@example.org", &a, &err));
	ck_assert_int_eq(a.enrollment_id, id);
	awaited_clear(&a);
	OK(store_challenge_awaited(inbound, "bob@example.org", &a, &err));
	ck_assert_int_eq(a.enrollment_id, 0);
	awaited_clear(&a);
}
END_TEST

START_TEST(a_token_is_committed_once_and_read_back)
{
	struct challenge_list l;
	int64_t id = store_fixture_enroll(enrolld, "alice@example.org", ENROLLMENT_ORDERED);
	int64_t other = store_fixture_enroll(enrolld, "bob@example.org", ENROLLMENT_ORDERED);

	ck_assert(add_challenge(id, "dG9rZW4", "<1@ca.example>"));
	ck_assert(!add_challenge(id, "dG9rZW4", "<1@ca.example>"));
	ck_assert(add_challenge(id, "b3RoZXI", "<1@ca.example>"));
	ck_assert(add_challenge(id, "dG9rZW4", "<2@ca.example>"));
	ck_assert(add_challenge(other, "dG9rZW4", "<1@ca.example>"));
	ck_assert_uint_eq(count_events(id, "challenge_received"), 3);
	OK(store_challenges_of(enrolld, id, 0, &l, &err));
	ck_assert_uint_eq(l.n, 3);
	ck_assert_str_eq(l.v[0].token_part1, "dG9rZW4");
	ck_assert_str_eq(l.v[0].message_id, "<1@ca.example>");
	ck_assert_str_eq(l.v[0].from, "acme@ca.example");
	ck_assert_ptr_null(l.v[0].reply_to);
	ck_assert_str_eq(l.v[0].state, "new");
	ck_assert_str_eq(l.v[0].disposition, "discard");
	ck_assert_str_eq(l.v[0].authentication, "dkim d=ca.example");
	challenge_list_clear(&l);
	OK(store_challenges_of(enrolld, id, time(NULL) + 10, &l, &err));
	ck_assert_uint_eq(l.n, 0);
	challenge_list_clear(&l);
}
END_TEST

START_TEST(a_token_is_taken_once_when_nothing_proves_the_message_id)
{
	char first[] = "dG9rZW4", second[] = "b3RoZXI", from[] = "acme@ca.example";
	char ids[3][20] = {"<1@ca.example>", "<2@ca.example>", "<3@ca.example>"};
	struct challenge c = {.token_part1 = first, .message_id = ids[0], .from = from, .token_once = true};
	struct challenge_list l;
	bool created;

	c.enrollment_id = store_fixture_enroll(enrolld, "alice@example.org", ENROLLMENT_CHALLENGE_AWAITED);
	c.date = c.received_at = time(NULL);
	OK(store_challenge_add(inbound, &c, &created, &err));
	ck_assert(created);
	c.message_id = ids[1];
	OK(store_challenge_add(inbound, &c, &created, &err));
	ck_assert_msg(!created, "the same token under another Message-ID");
	c.token_part1 = second;
	OK(store_challenge_add(inbound, &c, &created, &err));
	ck_assert_msg(created, "another token is another mail");
	c.token_once = false;
	c.message_id = ids[2];
	OK(store_challenge_add(inbound, &c, &created, &err));
	ck_assert_msg(created, "a proven Message-ID is another mail");
	OK(store_challenges_of(enrolld, c.enrollment_id, 0, &l, &err));
	ck_assert_uint_eq(l.n, 3);
	challenge_list_clear(&l);
}
END_TEST

START_TEST(a_mail_that_comes_again_is_known_while_its_order_is_the_newest)
{
	struct enrollment row = {0};
	struct store_step step = {.row = &row, .actor = "enrolld"};
	int64_t id = store_fixture_enroll(enrolld, "alice@example.org", ENROLLMENT_CHALLENGE_AWAITED);
	time_t now = time(NULL);
	bool seen;

	ck_assert(add_challenge(id, "dG9rZW4", "<1@ca.example>"));
	ck_assert(claim(&row, "w", now + 5, 60));
	row.state = ENROLLMENT_ACTIVE;
	row.ordered_at = now - 10;
	row.next_at = now;
	ck_assert(commit(&step));
	enrollment_clear(&row);
	OK(store_challenge_seen(inbound, "ALICE@example.org", "<1@ca.example>", "dG9rZW4", &seen, &err));
	ck_assert(seen);
	OK(store_challenge_seen(inbound, "alice@example.org", NULL, NULL, &seen, &err));
	ck_assert(seen);
	OK(store_challenge_seen(inbound, "alice@example.org", "<1@ca.example>", "b3RoZXI", &seen, &err));
	ck_assert(!seen);
	OK(store_challenge_seen(inbound, "alice@example.org", "<2@ca.example>", "dG9rZW4", &seen, &err));
	ck_assert(!seen);
	OK(store_challenge_seen(inbound, "alice@example.org", NULL, "dG9rZW4", &seen, &err));
	ck_assert(seen);
	OK(store_challenge_seen(inbound, "alice@example.org", NULL, "b3RoZXI", &seen, &err));
	ck_assert(!seen);
	OK(store_challenge_seen(inbound, "bob@example.org", NULL, NULL, &seen, &err));
	ck_assert(!seen);
	/* A newer order: the mail is of an older one. */
	ck_assert(claim(&row, "w", now + 5, 60));
	row.ordered_at = now + 100;
	ck_assert(commit(&step));
	enrollment_clear(&row);
	OK(store_challenge_seen(inbound, "alice@example.org", "<1@ca.example>", "dG9rZW4", &seen, &err));
	ck_assert(!seen);
}
END_TEST

START_TEST(an_oversized_or_empty_or_foreign_token_is_refused)
{
	char big[2000];
	struct challenge c = {.enrollment_id = store_fixture_enroll(enrolld, "alice@example.org", ENROLLMENT_ORDERED), .token_part1 = big};
	bool created;

	memset(big, 'a', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	ck_assert(!store_challenge_add(inbound, &c, &created, &err));
	ck_assert_int_eq(err.class, ERR_POLICY);
	big[0] = '\0';
	ck_assert(!store_challenge_add(inbound, &c, &created, &err));
	memcpy(big, "token", 6);
	c.enrollment_id = 4711;
	ck_assert(!store_challenge_add(inbound, &c, &created, &err));
	ck_assert_int_eq(err.class, ERR_BUG);
	ck_assert(!created);
}
END_TEST

static bool set_challenge(int64_t enrollment, int64_t challenge, const char *state, const char *reply)
{
	struct enrollment row = {0};
	struct store_step step = {.row = &row,
		.actor = "enrolld",
		.event = "reply",
		.text = "because",
		.challenge_id = challenge,
		.challenge_state = state,
		.challenge_reply_id = reply};
	struct err ignored = ERR_INIT;
	bool stale, ok;

	ck_assert(claim(&row, "w", time(NULL) + 5, 1));
	ck_assert_int_eq(row.id, enrollment);
	row.next_at = time(NULL);
	ok = store_step_commit(enrolld, &step, &stale, &ignored);
	if (!ok) {
		/* Give it back for the next try. */
		step.challenge_id = 0;
		ck_assert(commit(&step));
	}
	enrollment_clear(&row);
	return ok;
}

START_TEST(a_challenge_that_was_answered_is_never_answered_again)
{
	struct challenge_list l;
	int64_t id = store_fixture_enroll(enrolld, "alice@example.org", ENROLLMENT_CHALLENGE_AWAITED), challenge;

	ck_assert(add_challenge(id, "dG9rZW4", "<1@ca.example>"));
	OK(store_challenges_of(enrolld, id, 0, &l, &err));
	challenge = l.v[0].id;
	challenge_list_clear(&l);
	ck_assert(set_challenge(id, challenge, "replying", "<reply1@example.org>"));
	/* Certainly not sent: the same intent again. */
	ck_assert(set_challenge(id, challenge, "replying", NULL));
	ck_assert(set_challenge(id, challenge, _i == 0 ? "replied" : "in-doubt", NULL));
	ck_assert(!set_challenge(id, challenge, "replying", "<reply2@example.org>"));
	ck_assert(!set_challenge(id, challenge, "new", NULL));
	/* Nor through somebody else's row. */
	ck_assert(!set_challenge(id, challenge + 1, "ignored", NULL));
	OK(store_challenges_of(enrolld, id, 0, &l, &err));
	ck_assert_str_eq(l.v[0].state, _i == 0 ? "replied" : "in-doubt");
	ck_assert_str_eq(l.v[0].reply_message_id, "<reply1@example.org>");
	if (_i == 1)
		ck_assert_str_eq(l.v[0].why, "because");
	challenge_list_clear(&l);
}
END_TEST

/* ---- certificates and credentials -------------------------------------------------------------------------------- */

static int64_t activate(const char *address, const char *der)
{
	static unsigned serial;
	char spki[65];

	snprintf(spki, sizeof(spki), "%064u", ++serial);
	return store_fixture_activate(enrolld, address, "wrapped-key-octets", 18, spki, der, strlen(der), "chain", 5);
}

static bool credential(const char *address, struct store_credential *c, const char **why)
{
	bool found;

	OK(store_credential_find(outbound, address, c, &found, why, &err));
	return found;
}

START_TEST(the_active_credential_is_found_by_any_spelling)
{
	struct store_credential c = {0};
	const char *why;
	int64_t id = activate("Alice@example.org", "certificate");

	ck_assert(credential("alice@EXAMPLE.org", &c, &why));
	ck_assert_int_eq(c.enrollment_id, id);
	ck_assert_uint_eq(c.wrapped_len, 18);
	ck_assert_mem_eq(c.wrapped, "wrapped-key-octets", 18);
	ck_assert_uint_eq(c.der_len, 11);
	ck_assert_mem_eq(c.der, "certificate", 11);
	ck_assert_mem_eq(c.chain, "chain", 5);
	ck_assert_int_eq(c.state, ENROLLMENT_ACTIVE);
	store_credential_clear(&c);
}
END_TEST

START_TEST(without_an_active_certificate_the_reason_is_told)
{
	static const struct {
		enum enrollment_state state;
		const char *why;
	} table[] = {
		{ENROLLMENT_REQUESTED, "enrollment in progress"},
		{ENROLLMENT_CHALLENGE_AWAITED, "enrollment in progress"},
		{ENROLLMENT_WAITING, "waiting"},
		{ENROLLMENT_BLOCKED, "blocked"},
		{ENROLLMENT_FAILED, "failed"},
		{ENROLLMENT_REVOKED, "revoked"},
		{ENROLLMENT_EXPIRED, "expired"},
	};
	struct store_credential c = {0};
	const char *why;
	char address[64];

	ck_assert(!credential("nobody@example.org", &c, &why));
	ck_assert_str_eq(why, "no enrollment");
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		snprintf(address, sizeof(address), "user%zu@example.org", i);
		store_fixture_enroll(enrolld, address, table[i].state);
		ck_assert(!credential(address, &c, &why));
		ck_assert_str_eq(why, table[i].why);
	}
}
END_TEST

START_TEST(a_credential_stops_at_once_when_the_state_forbids_it_and_goes_on_during_a_renewal)
{
	static const struct {
		enum enrollment_state state;
		bool found;
		const char *why;
	} table[] = {
		{ENROLLMENT_RENEWING, true, NULL},
		{ENROLLMENT_ORDERED, true, NULL},
		{ENROLLMENT_WAITING, true, NULL},
		{ENROLLMENT_BLOCKED, true, NULL},
		{ENROLLMENT_REVOKING, false, "revoked"},
		{ENROLLMENT_REVOKED, false, "revoked"},
		{ENROLLMENT_EXPIRED, false, "expired"},
	};
	struct store_credential c = {0};
	const char *why;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		char address[64];
		int64_t id;

		snprintf(address, sizeof(address), "user%zu@example.org", i);
		id = activate(address, "certificate");
		ck_assert(credential(address, &c, &why));
		store_credential_clear(&c);
		move(id, table[i].state, NULL);
		ck_assert_msg(credential(address, &c, &why) == table[i].found, "%s", enrollment_state_name(table[i].state));
		if (table[i].found)
			store_credential_clear(&c);
		else
			ck_assert_str_eq(why, table[i].why);
	}
}
END_TEST

/* Its address is in the certificate of another row; when that row does not take it after all, the next mail has to ask again. */
START_TEST(an_address_of_superseded_rows_alone_is_asked_for_again)
{
	struct store_credential c = {0};
	const char *why;
	bool created;
	int64_t id = request("alias@example.org");

	move(id, ENROLLMENT_SUPERSEDED, NULL);
	ck_assert(!credential("alias@example.org", &c, &why));
	store_credential_clear(&c);
	ck_assert_str_eq(why, "no enrollment"); /* the one word that makes the outbound instance ask for a certificate */
	OK(store_enrollment_request(outbound, "alias@example.org", "mailbox-strict", "sign", "alice", &created, NULL, &err));
	ck_assert(created);
}
END_TEST

START_TEST(disabling_stops_every_row_of_the_address_and_those_to_come)
{
	struct store_credential c = {0};
	struct enrollment row;
	const char *why;
	bool changed, created;
	int64_t id = activate("alice@example.org", "certificate"), other;
	size_t counts[ENROLLMENT_STATES], disabled;

	row = get(id);
	OK(store_enrollment_companion_request(enrolld, &row, &created, &err));
	ck_assert(created);
	enrollment_clear(&row);
	OK(store_enrollment_companion(enrolld, id, &row, &created, &err));
	other = row.id;
	enrollment_clear(&row);
	OK(store_enrollment_admin(enrolld, other, ENROLLMENT_ADMIN_DISABLE, "admin:root", "left the company", &changed, &err));
	ck_assert(changed);
	ck_assert(!credential("alice@example.org", &c, &why));
	ck_assert_str_eq(why, "disabled");
	OK(store_enrollment_admin(enrolld, id, ENROLLMENT_ADMIN_DISABLE, "admin:root", NULL, &changed, &err));
	ck_assert(!changed);
	/* One that begins anew after the old one ended is of the same person. */
	other = request("bob@example.org");
	ck_assert(claim(&row, "w", time(NULL) + 100, 10));
	row.state = ENROLLMENT_SUPERSEDED;
	ck_assert(commit(&(struct store_step){.row = &row}));
	enrollment_clear(&row);
	OK(store_enrollment_admin(enrolld, other, ENROLLMENT_ADMIN_DISABLE, "admin:root", NULL, &changed, &err));
	OK(store_enrollment_request(enrolld, "bob@example.org", "p", "sign", "x", &created, &other, &err));
	ck_assert(created);
	row = get(other);
	ck_assert(row.disabled);
	enrollment_clear(&row);
	ck_assert(!claim(&row, "w", time(NULL) + 100, 10));
	OK(store_enrollment_counts(enrolld, counts, &disabled, &err));
	ck_assert_uint_eq(disabled, 4);
	ck_assert_uint_eq(counts[ENROLLMENT_ACTIVE], 1);
	ck_assert_uint_eq(counts[ENROLLMENT_REQUESTED], 2);
	OK(store_enrollment_admin(enrolld, id, ENROLLMENT_ADMIN_ENABLE, "admin:root", NULL, &changed, &err));
	ck_assert(changed);
	ck_assert(credential("alice@example.org", &c, &why));
	store_credential_clear(&c);
	ck_assert(claim(&row, "w", time(NULL) + 100, 10));
	enrollment_clear(&row);
	/* Somebody else is not concerned. */
	OK(store_enrollment_counts(enrolld, counts, &disabled, &err));
	ck_assert_uint_eq(disabled, 2);
}
END_TEST

START_TEST(a_certificate_for_encryption_never_signs)
{
	struct store_credential c = {0};
	struct enrollment row;
	struct store_key key = {.wrapped = (const unsigned char *)"w", .wrapped_len = 1};
	char text[8] = "text", active[8] = "active";
	struct store_certificate certificate = {.der = (unsigned char *)text,
		.der_len = 4,
		.serial = text,
		.issuer = text,
		.fingerprint = text,
		.addresses = text,
		.status = active};
	struct store_step step = {.row = &row, .actor = "test", .new_key = &key, .certificate = &certificate};
	const char *why;
	bool created;
	int64_t id;

	memset(key.spki_sha256, 'a', 64);
	OK(store_enrollment_request(enrolld, "alice@example.org", "mailbox-strict", "encrypt", "x", &created, &id, &err));
	store_fixture_claim(enrolld, id, &row);
	row.state = ENROLLMENT_ACTIVE;
	ck_assert(commit(&step));
	enrollment_clear(&row);
	ck_assert(!credential("alice@example.org", &c, &why));
	ck_assert_str_eq(why, "no enrollment");
}
END_TEST

/* Until the moment the new one is active the old one signs; there are never two, nor none. */
START_TEST(a_renewed_certificate_takes_over_in_one_commit)
{
	struct store_credential c = {0};
	struct enrollment row;
	struct store_key key = {.wrapped = (const unsigned char *)"new key", .wrapped_len = 7};
	char text[8] = "text", issued[8] = "issued", active[8] = "active";
	struct store_certificate fresh = {.der = (unsigned char *)(uintptr_t) "new",
		.der_len = 3,
		.serial = text,
		.issuer = text,
		.fingerprint = text,
		.addresses = (char *)(uintptr_t) "alice@example.org",
		.status = issued};
	struct store_step step = {.row = &row, .actor = "test", .new_key = &key, .certificate = &fresh};
	struct store_certificate_list l;
	struct store_certificate one;
	const char *why;
	bool found;
	int64_t id = activate("alice@example.org", "old");

	memset(key.spki_sha256, 'b', 64);
	store_fixture_claim(enrolld, id, &row);
	row.state = ENROLLMENT_ISSUED;
	ck_assert(commit(&step));
	ck_assert_int_ne(fresh.id, 0);
	ck_assert_int_eq(fresh.enrollment_id, id);
	ck_assert_int_eq(row.certificate_id, fresh.id);
	ck_assert_int_eq(row.key_id, fresh.key_id);
	enrollment_clear(&row);
	ck_assert(credential("alice@example.org", &c, &why));
	ck_assert_mem_eq(c.der, "old", 3);
	store_credential_clear(&c);
	step.new_key = NULL;
	fresh.status = active;
	fresh.in_directory = true;
	fresh.directory_dn = text;
	fresh.why = text;
	store_fixture_claim(enrolld, id, &row);
	row.state = ENROLLMENT_ACTIVE;
	ck_assert(commit(&step));
	enrollment_clear(&row);
	ck_assert(credential("alice@example.org", &c, &why));
	ck_assert_mem_eq(c.der, "new", 3);
	ck_assert_mem_eq(c.wrapped, "new key", 7);
	store_credential_clear(&c);
	OK(store_certificates_of(enrolld, id, &l, &err));
	ck_assert_uint_eq(l.n, 2);
	ck_assert_str_eq(l.v[0].status, "superseded");
	ck_assert_str_eq(l.v[1].status, "active");
	store_certificate_list_clear(&l);
	OK(store_certificate_get(enrolld, fresh.id, &one, &found, &err));
	ck_assert(found);
	ck_assert(one.in_directory);
	ck_assert_str_eq(one.directory_dn, "text");
	ck_assert_str_eq(one.why, "text");
	ck_assert_uint_eq(one.chain_len, 0);
	store_certificate_clear(&one);
	OK(store_certificate_get(enrolld, 4711, &one, &found, &err));
	ck_assert(!found);
}
END_TEST

/* A CA that sends the same wrong certificate to everybody. */
START_TEST(refused_certificates_may_come_twice)
{
	char text[8] = "text", refused[8] = "refused";
	struct enrollment row;

	for (int i = 0; i < 2; i++) {
		struct store_key key = {.wrapped = (const unsigned char *)"w", .wrapped_len = 1};
		struct store_certificate c = {.der = (unsigned char *)text,
			.der_len = 4,
			.serial = text,
			.issuer = text,
			.fingerprint = text,
			.addresses = text,
			.status = refused,
			.why = text};
		struct store_step step = {.row = &row, .actor = "test", .new_key = &key, .certificate = &c};
		int64_t id = store_fixture_enroll(enrolld, i == 0 ? "a@example.org" : "b@example.org", ENROLLMENT_FINALIZED);

		memset(key.spki_sha256, 'c' + i, 64);
		store_fixture_claim(enrolld, id, &row);
		row.state = ENROLLMENT_BLOCKED;
		ck_assert(commit(&step));
		enrollment_clear(&row);
	}
}
END_TEST

/* ---- events, mail events, flags ---------------------------------------------------------------------------------- */

START_TEST(events_come_in_order_from_either_end)
{
	struct event_list l;
	int64_t id = request("alice@example.org"), after;

	for (int i = 0; i < 10; i++) {
		char name[16];

		snprintf(name, sizeof(name), "event%d", i);
		OK(store_event_add(i % 2 == 0 ? inbound : outbound, i < 5 ? id : 0, name, "test", ERR_CA, i == 3 ? NULL : "text", &err));
	}
	OK(store_events(enrolld, 0, -1, 3, &l, &err));
	ck_assert_uint_eq(l.n, 3);
	ck_assert_str_eq(l.v[0].name, "event7");
	ck_assert_str_eq(l.v[2].name, "event9");
	ck_assert_int_eq(l.v[2].state, ENROLLMENT_STATES);
	ck_assert_int_eq(l.v[2].class, ERR_CA);
	ck_assert_int_eq(l.v[2].enrollment_id, 0);
	ck_assert_ptr_null(l.v[2].address);
	event_list_clear(&l);
	OK(store_events(enrolld, id, 0, 2, &l, &err));
	ck_assert_uint_eq(l.n, 2);
	ck_assert_str_eq(l.v[0].name, "requested");
	ck_assert_int_eq(l.v[0].state, ENROLLMENT_REQUESTED);
	after = l.v[1].id;
	event_list_clear(&l);
	OK(store_events(enrolld, id, after, 100, &l, &err));
	ck_assert_uint_eq(l.n, 4);
	ck_assert_str_eq(l.v[0].name, "event1");
	event_list_clear(&l);
	ck_assert(!store_event_add(inbound, 4711, "foreign_challenge", "inbound", ERR_NONE, NULL, &err));
	ck_assert_int_eq(err.class, ERR_BUG);
}
END_TEST

static void add_mails(size_t n, const char *from, const char *verdict, size_t keep)
{
	struct mail_event *v = calloc(n, sizeof(*v));

	for (size_t i = 0; i < n; i++)
		v[i] = (struct mail_event){.at = time(NULL),
			.queue_id = (char *)(uintptr_t) "4Xk9",
			.message_id = (char *)(uintptr_t) "<m@example.org>",
			.login = (char *)(uintptr_t) "alice",
			.from = (char *)(uintptr_t)from,
			.verdict = (char *)(uintptr_t)verdict,
			.reason = (char *)(uintptr_t)(i == n - 1 ? "newest" : "older")};
	OK(store_mail_events_add(outbound, v, n, keep, &err));
	free(v);
}

START_TEST(mail_events_are_a_window_of_bounded_size)
{
	struct mail_event_list l;

	add_mails(60, "alice@example.org", "signed", 100);
	add_mails(60, "Bob@Example.org", "unsigned", 100);
	OK(store_mail_events(enrolld, NULL, 1000, &l, &err));
	ck_assert_uint_eq(l.n, 100);
	ck_assert_str_eq(l.v[0].from, "Bob@Example.org");
	ck_assert_str_eq(l.v[0].reason, "newest");
	mail_event_list_clear(&l);
	OK(store_mail_events(enrolld, "bob@EXAMPLE.org", 7, &l, &err));
	ck_assert_uint_eq(l.n, 7);
	ck_assert_str_eq(l.v[0].verdict, "unsigned");
	ck_assert_str_eq(l.v[0].queue_id, "4Xk9");
	mail_event_list_clear(&l);
	OK(store_mail_events(enrolld, "alice@example.org", 1000, &l, &err));
	ck_assert_uint_eq(l.n, 40);
	mail_event_list_clear(&l);
	OK(store_mail_events_add(outbound, NULL, 0, 100, &err));
}
END_TEST

static void found_is(const char *address, const char *queue_id, const char *message_id, const char *reason)
{
	struct mail_event m;
	bool found;

	OK(store_mail_event_find(enrolld, address, queue_id, message_id, &m, &found, &err));
	ck_assert_int_eq(found, reason != NULL);
	ck_assert_str_eq(found ? m.reason : "", reason ? reason : "");
	mail_event_clear(&m);
}

START_TEST(a_mail_event_is_found_by_sender_and_ids)
{
	add_mails(2, "alice@example.org", "signed", 100);
	add_mails(1, NULL, "untouched", 100);
	found_is("Alice@EXAMPLE.org", NULL, NULL, "newest");
	found_is("alice@example.org", "4Xk9", NULL, "newest");
	found_is("alice@example.org", "4Xk9", "<m@example.org>", "newest");
	found_is("alice@example.org", "4Xk9", "<n@example.org>", NULL);
	found_is("alice@example.org", "4Xk", NULL, NULL);
	found_is("bob@example.org", NULL, NULL, NULL);
	found_is(NULL, "4Xk9", NULL, "newest");
	found_is(NULL, "' OR 1 = 1 --", NULL, NULL);
}
END_TEST

static const struct {
	const char *text;
	size_t n;
} searches[] = {
	{"alice", 2}, {"ALICE example", 2}, {"alice.b", 1}, {"alice bob", 0}, {"org example carol", 1}, {"a l i c e", 2}, {"%", 0}, {"carol_", 0},
	{"_", 1}, {"  bo_ris  ", 1}, {"abcd", 0}, {"'", 0},
};

START_TEST(people_are_found_by_words_of_their_address)
{
	static const char *const people[] = {"alice.a@example.org", "alice.b@example.org", "carol@example.org", "bo_ris@example.net"};
	struct enrollment_list l;
	bool created;

	for (size_t i = 0; i < 4; i++)
		OK(store_enrollment_request(enrolld, people[i], "mailbox-strict", "sign", "test", &created, NULL, &err));
	OK(store_enrollment_search(enrolld, searches[_i].text, 10, &l, &err));
	ck_assert_uint_eq(l.n, searches[_i].n);
	enrollment_list_clear(&l);
}
END_TEST

START_TEST(hostile_text_in_mail_events_is_stored_harmless)
{
	static const char *const hostile[] = {"\xff\xfe\"'; DROP TABLE enrollments; --", "no address", "", NULL};
	struct mail_event_list l;
	char *value;

	for (size_t i = 0; i < 4; i++)
		add_mails(1, hostile[i], "unsigned", 100);
	OK(store_mail_events(enrolld, NULL, 10, &l, &err));
	ck_assert_uint_eq(l.n, 4);
	ck_assert_ptr_null(l.v[0].from);
	ck_assert_str_eq(l.v[3].from, "??\"'; DROP TABLE enrollments; --");
	mail_event_list_clear(&l);
	OK(store_mail_events(enrolld, "No Address", 10, &l, &err));
	ck_assert_uint_eq(l.n, 1);
	mail_event_list_clear(&l);
	OK(store_flag_get(enrolld, "'; DROP TABLE flags; --", &value, &err));
	ck_assert_ptr_null(value);
}
END_TEST

START_TEST(observe_mode_is_summed_up_by_sender)
{
	struct observed_list l;

	add_mails(3, "alice@example.org", "observed", 1000);
	add_mails(2, "ALICE@example.org", "observed", 1000);
	add_mails(4, "bob@example.org", "observed", 1000);
	add_mails(4, "bob@example.org", "untouched", 1000);
	OK(store_observed(enrolld, &l, &err));
	ck_assert_uint_eq(l.n, 2);
	ck_assert_str_eq(l.v[0].from, "ALICE@example.org");
	ck_assert_uint_eq(l.v[0].mails, 5);
	ck_assert_str_eq(l.v[0].reason, "newest");
	ck_assert_str_eq(l.v[1].from, "bob@example.org");
	ck_assert_uint_eq(l.v[1].mails, 4);
	ck_assert_str_eq(l.v[1].verdict, "observed");
	ck_assert(l.v[1].first > 0 && l.v[1].last >= l.v[1].first);
	observed_list_clear(&l);
}
END_TEST

START_TEST(what_is_left_alone_is_summed_up_by_reason)
{
	struct mail_reason_list l;

	add_mails(3, "alice@example.org", "observed", 1000);
	add_mails(2, "alice@example.org", "signed", 1000);
	add_mails(2, "bob@example.org", "not-ours", 1000);
	add_mails(4, "bob@example.org", "untouched", 1000);
	OK(store_left_alone(enrolld, 10, &l, &err));
	ck_assert_uint_gt(l.n, 1);
	ck_assert_str_eq(l.v[0].verdict, "untouched");
	for (size_t i = 0; i < l.n; i++) {
		ck_assert_str_ne(l.v[i].verdict, "observed");
		ck_assert_str_ne(l.v[i].verdict, "signed");
		ck_assert(i == 0 || l.v[i].mails <= l.v[i - 1].mails);
		ck_assert(l.v[i].last > 0);
	}
	mail_reason_list_clear(&l);
	OK(store_left_alone(enrolld, 1, &l, &err));
	ck_assert_uint_eq(l.n, 1);
	mail_reason_list_clear(&l);
}
END_TEST

START_TEST(flags_are_set_changed_and_removed)
{
	char *value;

	OK(store_flag_get(outbound, "paused", &value, &err));
	ck_assert_ptr_null(value);
	OK(store_flag_set(enrolld, "paused", "1", "admin:root", &err));
	OK(store_flag_set(enrolld, "paused", "2", "admin:root", &err));
	OK(store_flag_get(inbound, "paused", &value, &err));
	ck_assert_str_eq(value, "2");
	free(value);
	OK(store_flag_set(enrolld, "paused", NULL, "admin:root", &err));
	OK(store_flag_get(outbound, "paused", &value, &err));
	ck_assert_ptr_null(value);
	ck_assert_uint_eq(count_events(0, "flag"), 3);
}
END_TEST

START_TEST(the_change_counter_moves_with_every_commit_and_only_then)
{
	int64_t a = store_change_counter(outbound), b;
	char *value;

	ck_assert_int_ne(a, -1);
	ck_assert_int_eq(store_change_counter(outbound), a);
	OK(store_flag_get(outbound, "paused", &value, &err));
	ck_assert_int_eq(store_change_counter(outbound), a);
	OK(store_flag_set(enrolld, "paused", "1", "admin:root", &err));
	b = counter_after(outbound, a);
	ck_assert_int_ne(a, b);
	/* Our own commits count as well. */
	request("alice@example.org");
	ck_assert_int_ne(counter_after(outbound, b), b);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_records");
	TCase *tc = tcase_create("store_records");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, only_enrollments_that_wait_for_a_mail_are_awaited);
	tcase_add_test(tc, a_row_that_waits_between_two_steps_still_awaits_its_mail);
	tcase_add_test(tc, a_token_is_committed_once_and_read_back);
	tcase_add_test(tc, a_token_is_taken_once_when_nothing_proves_the_message_id);
	tcase_add_test(tc, a_mail_that_comes_again_is_known_while_its_order_is_the_newest);
	tcase_add_test(tc, an_oversized_or_empty_or_foreign_token_is_refused);
	tcase_add_loop_test(tc, a_challenge_that_was_answered_is_never_answered_again, 0, 2);
	tcase_add_test(tc, the_active_credential_is_found_by_any_spelling);
	tcase_add_test(tc, without_an_active_certificate_the_reason_is_told);
	tcase_add_test(tc, a_credential_stops_at_once_when_the_state_forbids_it_and_goes_on_during_a_renewal);
	tcase_add_test(tc, an_address_of_superseded_rows_alone_is_asked_for_again);
	tcase_add_test(tc, disabling_stops_every_row_of_the_address_and_those_to_come);
	tcase_add_test(tc, a_certificate_for_encryption_never_signs);
	tcase_add_test(tc, a_renewed_certificate_takes_over_in_one_commit);
	tcase_add_test(tc, refused_certificates_may_come_twice);
	tcase_add_test(tc, events_come_in_order_from_either_end);
	tcase_add_test(tc, mail_events_are_a_window_of_bounded_size);
	tcase_add_test(tc, a_mail_event_is_found_by_sender_and_ids);
	tcase_add_loop_test(tc, people_are_found_by_words_of_their_address, 0, (int)(sizeof(searches) / sizeof(searches[0])));
	tcase_add_test(tc, hostile_text_in_mail_events_is_stored_harmless);
	tcase_add_test(tc, observe_mode_is_summed_up_by_sender);
	tcase_add_test(tc, what_is_left_alone_is_summed_up_by_reason);
	tcase_add_test(tc, flags_are_set_changed_and_removed);
	tcase_add_test(tc, the_change_counter_moves_with_every_commit_and_only_then);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
