/*
 * tests/unit/test_store_policy.c - what rules need of the store: companions, decisions, who has an address, orders side by side, the count of
 * the enrolled, looking again, renewing at once, and whose challenge it is.
 */
#include "config.h"

#include "tests/unit/test_store.h"

#define NONE ((enum enrollment_state)ENROLLMENT_STATES) /* not waiting for any other state */
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* What a worker would write: this state, and the one it goes on with. */
static void put(int64_t id, enum enrollment_state state, enum enrollment_state resume)
{
	struct enrollment row;
	struct store_step step = {.row = &row, .actor = "test"};

	store_fixture_claim(enrolld, id, &row);
	row.state = state;
	if (resume != NONE)
		row.resume = resume;
	row.ordered_at = time(NULL);
	ck_assert(commit(&step));
	enrollment_clear(&row);
}

/* A row with these addresses, as a rule decided. */
static void decide(int64_t id, const char *rule, const char *profile, const char *const *addresses, size_t n)
{
	struct enrollment row;
	struct store_step step = {.row = &row, .actor = "test", .decided = true};

	store_fixture_claim(enrolld, id, &row);
	free(row.rule);
	row.rule = rule ? strdup(rule) : NULL;
	if (profile) {
		free(row.profile);
		row.profile = strdup(profile);
	}
	if (n > 0)
		strlist_clear(&row.addresses);
	for (size_t i = 0; i < n; i++)
		ck_assert(strlist_add(&row.addresses, addresses[i]));
	ck_assert(commit(&step));
	enrollment_clear(&row);
}

/* Opens an order of this row, or ends it. */
static void order(int64_t id, const char *ca, const char *outcome)
{
	struct enrollment row;
	struct store_step step = {.row = &row, .actor = "test", .count_order = outcome == NULL, .order_outcome = outcome};

	store_fixture_claim(enrolld, id, &row);
	free(row.ca);
	row.ca = strdup(ca);
	ck_assert(commit(&step));
	enrollment_clear(&row);
}

static int64_t companion_of(int64_t id)
{
	struct enrollment row = {0};
	bool found;
	int64_t companion = 0;

	OK(store_enrollment_companion(enrolld, id, &row, &found, &err));
	if (found)
		companion = row.id;
	enrollment_clear(&row);
	return companion;
}

static bool ask_companion(int64_t id)
{
	struct enrollment row = get(id);
	bool created;

	OK(store_enrollment_companion_request(enrolld, &row, &created, &err));
	enrollment_clear(&row);
	return created;
}

static int64_t activate(const char *address)
{
	static int n;
	char spki[65];

	snprintf(spki, sizeof(spki), "%064d", ++n);
	return store_fixture_activate(enrolld, address, "wrapped", 7, spki, "der", 3, NULL, 0);
}

/* ---- companions ---------------------------------------------------------------------------------------------------- */

START_TEST(a_companion_has_what_its_row_has_and_usage_encrypt)
{
	static const char *const both[] = {"Alice@example.org", "a.b@example.org"};
	int64_t id = request("Alice@example.org"), companion;
	struct enrollment row;

	decide(id, "board", "split-kind", both, 2);
	ck_assert_int_eq(companion_of(id), 0);
	ck_assert(ask_companion(id));
	companion = companion_of(id);
	ck_assert_int_ne(companion, id);
	row = get(companion);
	ck_assert_int_eq(row.companion_of, id);
	ck_assert_str_eq(row.usage, "encrypt");
	ck_assert_str_eq(row.profile, "split-kind");
	ck_assert_str_eq(row.rule, "board");
	ck_assert_uint_eq(row.addresses.n, 2);
	ck_assert_str_eq(row.addresses.v[0], "Alice@example.org");
	ck_assert_str_eq(row.addresses.v[1], "a.b@example.org");
	ck_assert_int_eq(row.state, ENROLLMENT_REQUESTED);
	ck_assert_int_gt(row.next_at, 0);
	ck_assert_int_eq(row.key_id, 0);
	enrollment_clear(&row);
	row = get(id);
	ck_assert_int_eq(row.companion_of, 0);
	enrollment_clear(&row);
	ck_assert_uint_eq(count_events(companion, "requested"), 1);
}
END_TEST

START_TEST(a_row_has_one_open_companion)
{
	int64_t id = request("alice@example.org"), first;

	ck_assert(ask_companion(id));
	first = companion_of(id);
	ck_assert(!ask_companion(id));
	ck_assert_int_eq(companion_of(id), first);
	/* Neither is there another row to sign with. */
	ck_assert_int_eq(request("alice@example.org"), id);
	ck_assert(ask_companion(request("bob@example.org")));
	put(first, ENROLLMENT_SUPERSEDED, NONE);
	ck_assert_int_eq(companion_of(id), 0);
	ck_assert(ask_companion(id));
	ck_assert_int_ne(companion_of(id), first);
}
END_TEST

START_TEST(a_companion_of_nothing_is_refused)
{
	struct enrollment nobody = {.id = 4711};
	bool created = true;

	ck_assert(!store_enrollment_companion_request(enrolld, &nobody, &created, &err));
	ck_assert_int_eq(err.class, ERR_BUG);
	ck_assert(!created);
	ck_assert_int_eq(companion_of(4711), 0);
}
END_TEST

/* By address the row that signs is meant, however new its companion is. */
START_TEST(the_row_that_signs_is_found_before_its_companion)
{
	int64_t id = request("alice@example.org");
	struct enrollment row = {0};
	bool found;

	ck_assert(ask_companion(id));
	OK(store_enrollment_find(enrolld, "alice@example.org", &row, &found, &err));
	ck_assert(found);
	ck_assert_int_eq(row.id, id);
	enrollment_clear(&row);
	/* One that is open comes before one that signs no more; and a companion alone does not keep anybody from a new row. */
	put(id, ENROLLMENT_REVOKED, NONE);
	OK(store_enrollment_find(enrolld, "alice@example.org", &row, &found, &err));
	ck_assert_int_eq(row.companion_of, id);
	enrollment_clear(&row);
	ck_assert_int_ne(request("alice@example.org"), id);
}
END_TEST

START_TEST(a_companion_of_somebody_disabled_is_born_disabled)
{
	int64_t id = request("alice@example.org");
	struct enrollment row;
	bool changed;

	OK(store_enrollment_admin(enrolld, id, ENROLLMENT_ADMIN_DISABLE, "admin:root", NULL, &changed, &err));
	ck_assert(ask_companion(id));
	row = get(companion_of(id));
	ck_assert(row.disabled);
	enrollment_clear(&row);
}
END_TEST

/* ---- decisions ------------------------------------------------------------------------------------------------------ */

START_TEST(what_was_decided_is_written_and_found_by_each_address)
{
	static const char *const two[] = {"Alice@Example.org", "Alice.Archer@b\xc3\xbc" "cher.example"}, *const one[] = {"Alice@example.org"};
	int64_t id = request("Alice@example.org");
	struct enrollment row = {0};
	bool found;

	decide(id, "sales", "other-kind", two, 2);
	for (size_t i = 0; i < 2; i++) {
		OK(store_enrollment_find(outbound, two[i], &row, &found, &err));
		ck_assert(found);
		ck_assert_int_eq(row.id, id);
		ck_assert_str_eq(row.rule, "sales");
		ck_assert_str_eq(row.profile, "other-kind");
		ck_assert_uint_eq(row.addresses.n, 2);
		enrollment_clear(&row);
	}
	/* The next decision may say less. */
	decide(id, NULL, NULL, one, 1);
	OK(store_enrollment_find(outbound, two[1], &row, &found, &err));
	ck_assert(!found);
	row = get(id);
	ck_assert_ptr_null(row.rule);
	ck_assert_str_eq(row.profile, "other-kind");
	ck_assert_uint_eq(row.addresses.n, 1);
	enrollment_clear(&row);
	ck_assert_int_ne(request(two[1]), id);
}
END_TEST

START_TEST(without_a_decision_what_the_row_is_about_stays)
{
	int64_t id = request("alice@example.org"), other = request("bob@example.org");
	struct enrollment row;
	struct store_step step = {.row = &row, .actor = "test"};

	store_fixture_claim(enrolld, id, &row);
	free(row.profile);
	free(row.usage);
	free(row.rule);
	row.profile = strdup("forged");
	row.usage = strdup("dual");
	row.rule = strdup("forged");
	row.companion_of = other;
	ck_assert(strlist_add(&row.addresses, "bob@example.org"));
	ck_assert(commit(&step));
	enrollment_clear(&row);
	row = get(id);
	ck_assert_str_eq(row.profile, "mailbox-strict");
	ck_assert_str_eq(row.usage, "sign");
	ck_assert_ptr_null(row.rule);
	ck_assert_uint_eq(row.addresses.n, 1);
	ck_assert_int_eq(row.companion_of, 0);
	enrollment_clear(&row);
}
END_TEST

/* A decision that cannot be written takes the whole step with it. */
START_TEST(a_decision_that_breaks_a_rule_leaves_the_row_as_it_was)
{
	int64_t id = request("alice@example.org");
	struct enrollment row;
	struct store_step step = {.row = &row, .actor = "test", .decided = true};
	bool stale;

	store_fixture_claim(enrolld, id, &row);
	row.state = ENROLLMENT_ELIGIBLE;
	free(row.usage);
	row.usage = strdup("forge");
	ck_assert(!store_step_commit(enrolld, &step, &stale, &err));
	ck_assert_int_eq(err.class, ERR_BUG);
	enrollment_clear(&row);
	row = get(id);
	ck_assert_int_eq(row.state, ENROLLMENT_REQUESTED);
	ck_assert_str_eq(row.usage, "sign");
	enrollment_clear(&row);
}
END_TEST

START_TEST(the_rule_stands_beside_the_credential_and_moves_the_counter)
{
	int64_t id = activate("alice@example.org"), counter;
	struct store_credential c = {0};
	const char *why;
	bool found;

	OK(store_credential_find(outbound, "alice@example.org", &c, &found, &why, &err));
	ck_assert(found);
	ck_assert_ptr_null(c.rule);
	store_credential_clear(&c);
	counter = store_change_counter(outbound);
	decide(id, "sales", NULL, NULL, 0);
	ck_assert_int_ne(counter_after(outbound, counter), counter);
	/* The companion's rule is not asked, whatever became of it. */
	ck_assert(ask_companion(id));
	decide(companion_of(id), "other", NULL, NULL, 0);
	OK(store_credential_find(outbound, "alice@example.org", &c, &found, &why, &err));
	ck_assert(found);
	ck_assert_str_eq(c.rule, "sales");
	store_credential_clear(&c);
	/* Who has none has a rule all the same. */
	id = request("bob@example.org");
	decide(id, "board", NULL, NULL, 0);
	put(id, ENROLLMENT_BLOCKED, ENROLLMENT_REQUESTED);
	OK(store_credential_find(outbound, "bob@example.org", &c, &found, &why, &err));
	ck_assert(!found);
	ck_assert_str_eq(why, "blocked");
	ck_assert_str_eq(c.rule, "board");
	store_credential_clear(&c);
	OK(store_credential_find(outbound, "nobody@example.org", &c, &found, &why, &err));
	ck_assert_ptr_null(c.rule);
	store_credential_clear(&c);
}
END_TEST

/* ---- who has an address ------------------------------------------------------------------------------------------------ */

START_TEST(an_address_is_taken_by_an_open_row_that_signs)
{
	for (int s = 0; s < ENROLLMENT_STATES; s++) {
		bool free_again = s == ENROLLMENT_SUPERSEDED || s == ENROLLMENT_REVOKED || s == ENROLLMENT_EXPIRED || s == ENROLLMENT_BLOCKED ||
				  s == ENROLLMENT_FAILED;
		struct store_taken taken = {4711, true};
		char address[64];
		int64_t id;

		snprintf(address, sizeof(address), "user%d@example.org", s);
		id = request(address);
		put(id, (enum enrollment_state)s, ENROLLMENT_ORDERING);
		OK(store_address_taken(enrolld, address, 0, &taken, &err));
		ck_assert_msg(taken.enrollment_id == (free_again ? 0 : id), "%s", enrollment_state_name((enum enrollment_state)s));
		ck_assert_msg(taken.undecided == (s == ENROLLMENT_REQUESTED), "%s", enrollment_state_name((enum enrollment_state)s));
		/* The row that asks is not meant. */
		OK(store_address_taken(enrolld, address, id, &taken, &err));
		ck_assert_int_eq(taken.enrollment_id, 0);
		ck_assert(!taken.undecided);
	}
}
END_TEST

START_TEST(of_several_rows_with_an_address_the_oldest_has_it)
{
	static const char *const more[] = {"bob@example.org", "alice@example.org"};
	int64_t alice = request("alice@example.org"), bob = request("bob@example.org");
	struct store_taken taken;
	bool changed;

	decide(bob, NULL, NULL, more, 2);
	OK(store_address_taken(enrolld, "ALICE@Example.org", 0, &taken, &err));
	ck_assert_int_eq(taken.enrollment_id, alice);
	ck_assert(taken.undecided);
	OK(store_address_taken(enrolld, "alice@example.org", alice, &taken, &err));
	ck_assert_int_eq(taken.enrollment_id, bob);
	/* A row that waits before it was decided has not been decided. */
	put(bob, ENROLLMENT_WAITING, ENROLLMENT_REQUESTED);
	OK(store_address_taken(enrolld, "alice@example.org", alice, &taken, &err));
	ck_assert(taken.undecided);
	put(bob, ENROLLMENT_WAITING, ENROLLMENT_ORDERING);
	OK(store_address_taken(enrolld, "alice@example.org", alice, &taken, &err));
	ck_assert(!taken.undecided);
	/* Somebody whom an admin took out holds nothing. */
	OK(store_enrollment_admin(enrolld, bob, ENROLLMENT_ADMIN_DISABLE, "admin:root", NULL, &changed, &err));
	OK(store_address_taken(enrolld, "alice@example.org", alice, &taken, &err));
	ck_assert_int_eq(taken.enrollment_id, 0);
	/* A companion has its row's addresses and takes none. */
	ck_assert(ask_companion(alice));
	OK(store_address_taken(enrolld, "alice@example.org", alice, &taken, &err));
	ck_assert_int_eq(taken.enrollment_id, 0);
	OK(store_address_taken(enrolld, "nobody@example.org", 0, &taken, &err));
	ck_assert_int_eq(taken.enrollment_id, 0);
	ck_assert(!store_address_taken(enrolld, "alice", 0, &taken, &err));
	ck_assert_int_eq(taken.enrollment_id, 0);
}
END_TEST

/* ---- orders ------------------------------------------------------------------------------------------------------------ */

static int64_t elsewhere(int64_t id, time_t since)
{
	int64_t found = 4711;

	OK(store_order_elsewhere(enrolld, id, since, &found, &err));
	return found;
}

START_TEST(an_open_order_of_another_row_of_the_address_is_seen)
{
	static const char *const more[] = {"bob@example.org", "alice@example.org"};
	int64_t alice = request("alice@example.org"), bob = request("bob@example.org"), carol = request("carol@example.org"), companion;
	time_t since = time(NULL) - 10;

	ck_assert(ask_companion(alice));
	companion = companion_of(alice);
	order(alice, "ca", NULL);
	ck_assert_int_eq(elsewhere(alice, since), 0);
	ck_assert_int_eq(elsewhere(companion, since), alice);
	ck_assert_int_eq(elsewhere(bob, since), 0);
	ck_assert_int_eq(elsewhere(carol, since), 0);
	/* By any address the two have in common. */
	decide(bob, NULL, NULL, more, 2);
	ck_assert_int_eq(elsewhere(bob, since), alice);
	ck_assert_int_eq(elsewhere(carol, since), 0);
	/* One so old has expired at the CA. */
	ck_assert_int_eq(elsewhere(companion, time(NULL) + 10), 0);
	order(alice, "ca", "finalized");
	ck_assert_int_eq(elsewhere(companion, since), 0);
	/* At whatever CA it is: the challenge mail names an address. */
	order(companion, "another-ca", NULL);
	ck_assert_int_eq(elsewhere(alice, since), companion);
	ck_assert_int_eq(elsewhere(bob, since), companion);
	ck_assert_int_eq(elsewhere(companion, since), 0);
	ck_assert_int_eq(elsewhere(4711, since), 0);
}
END_TEST

START_TEST(orders_are_counted_by_ca_and_together)
{
	static const struct {
		const char *ca;
		size_t since, open;
	} table[] = {{"one", 2, 1}, {"two", 1, 1}, {"three", 0, 0}, {NULL, 3, 2}};
	size_t n;

	order(request("alice@example.org"), "one", NULL);
	order(request("bob@example.org"), "two", NULL);
	order(request("carol@example.org"), "one", NULL);
	order(request("carol@example.org"), "one", "expired");
	for (size_t i = 0; i < COUNT(table); i++) {
		OK(store_orders_since(enrolld, time(NULL) - 60, table[i].ca, &n, &err));
		ck_assert_uint_eq(n, table[i].since);
		OK(store_orders_open(enrolld, time(NULL) - 60, table[i].ca, &n, &err));
		ck_assert_uint_eq(n, table[i].open);
		OK(store_orders_since(enrolld, time(NULL) + 60, table[i].ca, &n, &err));
		ck_assert_uint_eq(n, 0);
	}
}
END_TEST

/* ---- how many are enrolled ------------------------------------------------------------------------------------------------ */

static size_t enrolled(void)
{
	size_t n = 4711;

	OK(store_enrolled(enrolld, &n, &err));
	return n;
}

START_TEST(who_has_a_certificate_or_is_on_the_way_is_enrolled)
{
	for (int s = 0; s < ENROLLMENT_STATES; s++) {
		bool no = s == ENROLLMENT_REQUESTED || s == ENROLLMENT_WAITING || s == ENROLLMENT_BLOCKED || s == ENROLLMENT_FAILED ||
			  s == ENROLLMENT_SUPERSEDED || s == ENROLLMENT_REVOKED || s == ENROLLMENT_EXPIRED;
		size_t before = enrolled();
		char address[64];

		snprintf(address, sizeof(address), "user%d@example.org", s);
		put(request(address), (enum enrollment_state)s, ENROLLMENT_REQUESTED);
		ck_assert_msg(enrolled() == before + !no, "%s", enrollment_state_name((enum enrollment_state)s));
	}
}
END_TEST

START_TEST(who_waits_in_the_middle_is_enrolled)
{
	put(request("a@example.org"), ENROLLMENT_WAITING, ENROLLMENT_ORDERING);
	ck_assert_uint_eq(enrolled(), 1);
	put(request("b@example.org"), ENROLLMENT_BLOCKED, ENROLLMENT_VALIDATED);
	ck_assert_uint_eq(enrolled(), 2);
	put(request("c@example.org"), ENROLLMENT_WAITING, ENROLLMENT_REQUESTED);
	put(request("d@example.org"), ENROLLMENT_BLOCKED, ENROLLMENT_REQUESTED);
	ck_assert_uint_eq(enrolled(), 2);
}
END_TEST

START_TEST(who_renews_is_enrolled_at_every_step_and_a_companion_never)
{
	static const enum enrollment_state steps[] = {ENROLLMENT_RENEWING, ENROLLMENT_REQUESTED, ENROLLMENT_WAITING, ENROLLMENT_BLOCKED, ENROLLMENT_FAILED,
		ENROLLMENT_ELIGIBLE, ENROLLMENT_ACTIVE};
	int64_t id = activate("alice@example.org"), companion;
	struct enrollment row;
	struct store_step step = {.row = &row, .actor = "test"};

	ck_assert_uint_eq(enrolled(), 1);
	ck_assert(ask_companion(id));
	companion = companion_of(id);
	for (size_t i = 0; i < COUNT(steps); i++) {
		store_fixture_claim(enrolld, id, &row);
		row.state = steps[i];
		row.resume = ENROLLMENT_REQUESTED;
		row.certificate_id = row.key_id = 0; /* the one to come */
		row.next_at = time(NULL) + 1;
		ck_assert(commit(&step));
		enrollment_clear(&row);
		/* The row must be claimed again below, also from where it rests. */
		store_fixture_sql(&f, "UPDATE enrollments SET next_at = 1");
		ck_assert_msg(enrolled() == 1, "%s", enrollment_state_name(steps[i]));
		put(companion, steps[i], ENROLLMENT_ORDERING);
		store_fixture_sql(&f, "UPDATE enrollments SET next_at = 1");
		ck_assert_msg(enrolled() == 1, "companion %s", enrollment_state_name(steps[i]));
	}
	put(id, ENROLLMENT_REVOKED, NONE);
	ck_assert_uint_eq(enrolled(), 0);
}
END_TEST

/* ---- looking again ---------------------------------------------------------------------------------------------------------- */

#define FAR 5000000000L

START_TEST(a_review_wakes_who_is_active_or_blocked_before_an_order)
{
	int64_t active = activate("active@example.org"), barred = request("barred@example.org"), stuck = request("stuck@example.org"),
		waiting = request("waiting@example.org"), asked = request("asked@example.org"), held = activate("held@example.org"),
		needs_admin = request("needs@example.org");
	struct enrollment row = {0};
	int64_t version;
	time_t before;

	put(barred, ENROLLMENT_BLOCKED, ENROLLMENT_REQUESTED);
	put(stuck, ENROLLMENT_BLOCKED, ENROLLMENT_VALIDATED);
	put(needs_admin, ENROLLMENT_BLOCKED, ENROLLMENT_REQUESTED);
	put(waiting, ENROLLMENT_WAITING, ENROLLMENT_REQUESTED);
	store_fixture_sql(&f, "UPDATE enrollments SET next_at = 5000000000, planned_at = 5000000000;"
				 "UPDATE enrollments SET lease_owner = 'w', lease_until = 5000000000 WHERE address = 'held@example.org';"
				 "UPDATE enrollments SET next_at = 0 WHERE address = 'needs@example.org'");
	row = get(active);
	version = row.version;
	enrollment_clear(&row);
	before = time(NULL);
	OK(store_enrollments_review(enrolld, &err));
	row = get(active);
	ck_assert(row.next_at >= before && row.next_at <= time(NULL));
	ck_assert_int_eq(row.planned_at, row.next_at);
	ck_assert_int_eq(row.state, ENROLLMENT_ACTIVE);
	ck_assert_int_gt(row.version, version);
	enrollment_clear(&row);
	ck_assert_int_le(next_of(barred), time(NULL));
	ck_assert_int_eq(state_of(barred), ENROLLMENT_BLOCKED);
	/* Who has an order goes on with it; who waits comes by himself; what a worker holds is his. */
	ck_assert_int_eq(next_of(stuck), FAR);
	ck_assert_int_eq(next_of(waiting), FAR);
	ck_assert_int_eq(next_of(asked), FAR);
	ck_assert_int_eq(next_of(held), FAR);
	/* And a row that an admin has to look at waits for him. */
	ck_assert_int_eq(next_of(needs_admin), 0);
}
END_TEST

START_TEST(a_review_of_many_takes_a_few_each_second)
{
	time_t now;

	store_fixture_sql(&f, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
		" INSERT INTO enrollments (address, address_key, addresses, profile, usage, state, resume, state_since, next_at, requested_at)"
		" SELECT 'u' || i || '@example.org', 'u' || i || '@example.org', 'u' || i || '@example.org', 'p', 'sign', 'active', 'requested', 1,"
		" 5000000000, 1 FROM n");
	OK(store_enrollments_review(enrolld, &err));
	now = time(NULL);
	ck_assert_int_le(store_fixture_number(&f, "SELECT MAX(next_at) FROM enrollments"), now + 60);
	ck_assert_int_le(store_fixture_number(&f, "SELECT MAX(n) FROM (SELECT COUNT(*) AS n FROM enrollments GROUP BY next_at) AS second"), 25);
	ck_assert_int_eq(store_fixture_number(&f, "SELECT COUNT(*) FROM enrollments"), 1000);
}
END_TEST

/* ---- renewing at once -------------------------------------------------------------------------------------------------------- */

START_TEST(an_active_row_renews_at_once_and_signs_meanwhile)
{
	int64_t id = activate("alice@example.org");
	struct store_credential c = {0};
	struct enrollment row;
	const char *why;
	bool changed, found;

	ck_assert_int_gt(next_of(id), time(NULL) + 1000);
	OK(store_enrollment_admin(enrolld, id, ENROLLMENT_ADMIN_RENEW, "admin:root", "other rules", &changed, &err));
	ck_assert(changed);
	row = get(id);
	ck_assert_int_eq(row.state, ENROLLMENT_RENEWING);
	ck_assert_int_le(row.next_at, time(NULL));
	ck_assert_int_eq(row.planned_at, row.next_at);
	enrollment_clear(&row);
	ck_assert_uint_eq(count_events(id, "renew"), 1);
	OK(store_credential_find(outbound, "alice@example.org", &c, &found, &why, &err));
	ck_assert(found);
	store_credential_clear(&c);
	/* Asked again: it is under way. */
	OK(store_enrollment_admin(enrolld, id, ENROLLMENT_ADMIN_RENEW, "admin:root", NULL, &changed, &err));
	ck_assert(!changed);
	ck_assert_uint_eq(count_events(id, "renew"), 1);
	ck_assert(claim(&row, "w", time(NULL) + 1, 60));
	ck_assert_int_eq(row.id, id);
	enrollment_clear(&row);
}
END_TEST

START_TEST(only_an_active_or_revoking_row_that_nobody_holds_renews)
{
	int64_t id = activate("held@example.org");
	bool changed = true;

	store_fixture_sql(&f, "UPDATE enrollments SET lease_owner = 'w', lease_until = 5000000000");
	OK(store_enrollment_admin(enrolld, id, ENROLLMENT_ADMIN_RENEW, "admin:root", NULL, &changed, &err));
	ck_assert(!changed);
	ck_assert_int_eq(state_of(id), ENROLLMENT_ACTIVE);
	for (int s = 0; s < ENROLLMENT_STATES; s++) {
		char address[64];

		if (s == ENROLLMENT_ACTIVE || s == ENROLLMENT_REVOKING)
			continue;
		snprintf(address, sizeof(address), "user%d@example.org", s);
		put(id = request(address), (enum enrollment_state)s, NONE);
		OK(store_enrollment_admin(enrolld, id, ENROLLMENT_ADMIN_RENEW, "admin:root", NULL, &changed, &err));
		ck_assert_msg(!changed, "%s", enrollment_state_name((enum enrollment_state)s));
		ck_assert_int_eq(state_of(id), s);
		ck_assert_uint_eq(count_events(id, "renew"), 0);
	}
}
END_TEST

/* ---- whose challenge it is ---------------------------------------------------------------------------------------------------- */

START_TEST(a_challenge_remembers_who_got_it)
{
	static const char *const who[] = {"alice@example.org", NULL};
	int64_t id = store_fixture_enroll(enrolld, "alice@example.org", ENROLLMENT_CHALLENGE_AWAITED);
	struct challenge_list l;

	for (size_t i = 0; i < 2; i++) {
		struct challenge c = {.enrollment_id = id, .token_part1 = (char *)(uintptr_t)(i ? "two" : "one"), .recipient = (char *)(uintptr_t)who[i],
			.received_at = time(NULL) + (time_t)i};
		bool created;

		OK(store_challenge_add(inbound, &c, &created, &err));
		ck_assert(created);
	}
	OK(store_challenges_of(enrolld, id, 0, &l, &err));
	ck_assert_uint_eq(l.n, 2);
	ck_assert_str_eq(l.v[0].recipient, "alice@example.org");
	ck_assert_ptr_null(l.v[1].recipient);
	challenge_list_clear(&l);
}
END_TEST

START_TEST(who_is_awaited_is_said_with_ca_and_turn)
{
	static const char *const two[] = {"alice@example.org", "a.b@example.org"};
	int64_t id = request("alice@example.org");
	struct enrollment row;
	struct store_step step = {.row = &row, .actor = "test"};
	struct awaited a;

	decide(id, NULL, NULL, two, 2);
	for (size_t turn = 0; turn < 3; turn++) {
		store_fixture_claim(enrolld, id, &row);
		row.state = ENROLLMENT_CHALLENGE_AWAITED;
		row.ordered_at = 4711;
		free(row.ca);
		row.ca = strdup("inner-ca");
		free(row.challenge_from);
		row.challenge_from = strdup("acme@ca.example");
		free(row.challenge_address);
		row.challenge_address = turn < 2 ? strdup(two[turn]) : NULL;
		ck_assert(commit(&step));
		enrollment_clear(&row);
		row = get(id);
		ck_assert(turn < 2 ? strcmp(row.challenge_address, two[turn]) == 0 : !row.challenge_address);
		enrollment_clear(&row);
		/* Found by either address: whether it is that one's turn is for the caller to say. */
		for (size_t i = 0; i < 2; i++) {
			OK(store_challenge_awaited(inbound, two[i], &a, &err));
			ck_assert_int_eq(a.enrollment_id, id);
			ck_assert_str_eq(a.ca, "inner-ca");
			ck_assert_str_eq(a.challenge_from, "acme@ca.example");
			ck_assert(turn < 2 ? strcmp(a.challenge_address, two[turn]) == 0 : !a.challenge_address);
			awaited_clear(&a);
		}
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_policy");
	TCase *tc = tcase_create("store_policy");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_companion_has_what_its_row_has_and_usage_encrypt);
	tcase_add_test(tc, a_row_has_one_open_companion);
	tcase_add_test(tc, a_companion_of_nothing_is_refused);
	tcase_add_test(tc, the_row_that_signs_is_found_before_its_companion);
	tcase_add_test(tc, a_companion_of_somebody_disabled_is_born_disabled);
	tcase_add_test(tc, what_was_decided_is_written_and_found_by_each_address);
	tcase_add_test(tc, without_a_decision_what_the_row_is_about_stays);
	tcase_add_test(tc, a_decision_that_breaks_a_rule_leaves_the_row_as_it_was);
	tcase_add_test(tc, the_rule_stands_beside_the_credential_and_moves_the_counter);
	tcase_add_test(tc, an_address_is_taken_by_an_open_row_that_signs);
	tcase_add_test(tc, of_several_rows_with_an_address_the_oldest_has_it);
	tcase_add_test(tc, an_open_order_of_another_row_of_the_address_is_seen);
	tcase_add_test(tc, orders_are_counted_by_ca_and_together);
	tcase_add_test(tc, who_has_a_certificate_or_is_on_the_way_is_enrolled);
	tcase_add_test(tc, who_waits_in_the_middle_is_enrolled);
	tcase_add_test(tc, who_renews_is_enrolled_at_every_step_and_a_companion_never);
	tcase_add_test(tc, a_review_wakes_who_is_active_or_blocked_before_an_order);
	tcase_add_test(tc, a_review_of_many_takes_a_few_each_second);
	tcase_add_test(tc, an_active_row_renews_at_once_and_signs_meanwhile);
	tcase_add_test(tc, only_an_active_or_revoking_row_that_nobody_holds_renews);
	tcase_add_test(tc, a_challenge_remembers_who_got_it);
	tcase_add_test(tc, who_is_awaited_is_said_with_ca_and_turn);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
