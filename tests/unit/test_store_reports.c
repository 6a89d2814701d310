/*
 * tests/unit/test_store_reports.c - what schema 2 brought: delivery reports of replies, what a CA refuses for a while, open orders, and what
 * a failure was about.
 */
#include "config.h"

#include "tests/unit/test_store.h"

#define TOKEN "0123456789abcdef0123456789abcdef"
#define S(text) ((char *)(uintptr_t)(text))

/* A row in answered whose reply carries the token; nothing is due for an hour. */
static int64_t answered(const char *address, const char *token)
{
	struct enrollment row = {0};
	struct store_step step = {.row = &row, .actor = "enrolld", .keep_lease = true, .challenge_state = "replying", .challenge_report_token = token};
	struct challenge_list l;
	int64_t id = store_fixture_enroll(enrolld, address, ENROLLMENT_CHALLENGE_AWAITED);

	ck_assert(add_challenge(id, "dG9rZW4", address));
	OK(store_challenges_of(enrolld, id, 0, &l, &err));
	step.challenge_id = l.v[0].id;
	challenge_list_clear(&l);
	store_fixture_claim(enrolld, id, &row);
	ck_assert(commit(&step));
	step.keep_lease = false;
	step.challenge_state = "replied";
	step.challenge_report_token = NULL;
	row.state = ENROLLMENT_ANSWERED;
	row.next_at = time(NULL) + 3600;
	ck_assert(commit(&step));
	enrollment_clear(&row);
	return id;
}

static bool add_report(const char *token, const struct report *r)
{
	bool known, awaited;

	OK(store_report_awaited(inbound, token, r->enrollment_id, &awaited, &err));
	OK(store_report_add(inbound, token, r, &known, &err));
	ck_assert(r->enrollment_id == 0 ? !awaited : awaited == known);
	return known;
}

static size_t count_reports(int64_t id)
{
	struct report_list l;
	size_t n;

	OK(store_reports_of(enrolld, id, 0, &l, &err));
	n = l.n;
	report_list_clear(&l);
	return n;
}

/* ---- reports ----------------------------------------------------------------------------------------------------- */

START_TEST(a_report_belongs_to_the_reply_whose_token_it_shows_and_is_read_back)
{
	struct report r = {.action = S("failed"),
		.status = S("5.7.26"),
		.diagnostic = S("550 5.7.26 unauthenticated"),
		.remote = S("mx.ca.example"),
		.reporter = S("gw.example.org"),
		.received_at = time(NULL)};
	struct report_list l;
	struct challenge_list c;
	struct event_list e;
	int64_t id = answered("alice@example.org", TOKEN), other = answered("bob@example.org", "fedcba9876543210fedcba9876543210");

	ck_assert(add_report(TOKEN, &r));
	ck_assert_uint_eq(count_reports(other), 0);
	OK(store_reports_of(enrolld, id, r.received_at, &l, &err));
	OK(store_challenges_of(enrolld, id, 0, &c, &err));
	ck_assert_uint_eq(l.n, 1);
	ck_assert_int_eq(l.v[0].enrollment_id, id);
	ck_assert_int_eq(l.v[0].challenge_id, c.v[0].id);
	ck_assert_str_eq(c.v[0].report_token, TOKEN);
	ck_assert_str_eq(l.v[0].action, "failed");
	ck_assert_str_eq(l.v[0].status, "5.7.26");
	ck_assert_str_eq(l.v[0].diagnostic, "550 5.7.26 unauthenticated");
	ck_assert_str_eq(l.v[0].remote, "mx.ca.example");
	ck_assert_str_eq(l.v[0].reporter, "gw.example.org");
	ck_assert_int_eq(l.v[0].received_at, r.received_at);
	ck_assert(!l.v[0].seen);
	challenge_list_clear(&c);
	report_list_clear(&l);
	OK(store_reports_of(enrolld, id, r.received_at + 1, &l, &err));
	ck_assert_uint_eq(l.n, 0);
	OK(store_events(enrolld, id, -1, 1, &e, &err));
	ck_assert_str_eq(e.v[0].name, "reply_reported");
	ck_assert_str_eq(e.v[0].actor, "inbound");
	ck_assert_str_eq(e.v[0].text, "failed (5.7.26) by mx.ca.example: 550 5.7.26 unauthenticated");
	event_list_clear(&e);
}
END_TEST

START_TEST(without_the_token_of_a_reply_nothing_is_written)
{
	static const char *const tokens[] = {"", "0", "fedcba9876543210fedcba9876543210", "0123456789ABCDEF0123456789ABCDEF", TOKEN "0", "%", "NULL",
		"0123456789abcdef0123456789abcde\xff"};
	struct report r = {.action = S("relayed"), .received_at = 1};
	int64_t id = answered("alice@example.org", TOKEN);

	answered("bob@example.org", NULL);
	for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
		ck_assert_msg(!add_report(tokens[i], &r), "%s", tokens[i]);
	/* Nor with the number of another enrollment beside it. */
	r.enrollment_id = id + 1;
	ck_assert(!add_report(TOKEN, &r));
	ck_assert_uint_eq(count_reports(id), 0);
	ck_assert_uint_eq(count_reports(id + 1), 0);
	ck_assert_uint_eq(count_events(id, "reply_reported"), 0);
	ck_assert_int_gt(next_of(id), time(NULL) + 1000);
	r.enrollment_id = id;
	ck_assert(add_report(TOKEN, &r));
}
END_TEST

START_TEST(a_week_after_the_reply_its_token_is_no_longer_known)
{
	struct report r = {.action = S("relayed"), .received_at = 1};
	int64_t id = answered("alice@example.org", TOKEN);

	store_fixture_sql(&f, "UPDATE challenges SET report_token_at = report_token_at - 7 * 86400 + 60");
	ck_assert(add_report(TOKEN, &r));
	store_fixture_sql(&f, "UPDATE challenges SET report_token_at = report_token_at - 60");
	ck_assert(!add_report(TOKEN, &r));
	ck_assert_uint_eq(count_reports(id), 1);
}
END_TEST

START_TEST(of_one_token_only_so_many_reports_are_kept)
{
	struct report r = {.action = S("delayed"), .received_at = 1};
	int64_t id = answered("alice@example.org", TOKEN), other = answered("bob@example.org", "fedcba9876543210fedcba9876543210");

	for (int i = 0; i < 30; i++)
		ck_assert(add_report(TOKEN, &r));
	ck_assert_uint_eq(count_reports(id), 20);
	ck_assert_uint_eq(count_events(id, "reply_reported"), 20);
	ck_assert(add_report("fedcba9876543210fedcba9876543210", &r));
	ck_assert_uint_eq(count_reports(other), 1);
}
END_TEST

START_TEST(a_report_wakes_the_enrollment_that_waits_for_the_cas_word)
{
	struct report r = {.action = S("relayed"), .received_at = 1};

	for (int s = 0; s < ENROLLMENT_STATES; s++) {
		/* challenge-awaited: the reply has left, and who sent it has not said so yet */
		bool expected = s == ENROLLMENT_CHALLENGE_AWAITED || s == ENROLLMENT_ANSWERED;
		char address[64], token[33];
		struct enrollment row;
		struct store_step step = {.row = &row, .actor = "test"};
		int64_t id;

		snprintf(address, sizeof(address), "user%d@example.org", s);
		snprintf(token, sizeof(token), "%032x", s);
		id = answered(address, token);
		store_fixture_claim(enrolld, id, &row);
		row.state = (enum enrollment_state)s;
		row.resume = ENROLLMENT_ANSWERED;
		row.next_at = time(NULL) + 3600;
		ck_assert(commit(&step));
		enrollment_clear(&row);
		ck_assert(add_report(token, &r));
		row = get(id);
		ck_assert_msg((row.next_at != 0 && row.next_at <= time(NULL)) == expected, "%s", enrollment_state_name(row.state));
		enrollment_clear(&row);
	}
}
END_TEST

START_TEST(a_report_on_an_older_order_hurries_nobody)
{
	struct report r = {.action = S("relayed"), .received_at = 1};
	struct enrollment row;
	struct store_step step = {.row = &row, .actor = "test"};
	int64_t id = answered("alice@example.org", TOKEN);

	store_fixture_claim(enrolld, id, &row);
	row.ordered_at = time(NULL) + 10;
	row.next_at = time(NULL) + 3600;
	ck_assert(commit(&step));
	enrollment_clear(&row);
	ck_assert(add_report(TOKEN, &r));
	ck_assert_uint_eq(count_reports(id), 1);
	ck_assert_int_gt(next_of(id), time(NULL) + 1000);
}
END_TEST

/* Our own MTA reports within milliseconds: the worker that sent the reply may not have said so yet. */
START_TEST(a_report_that_comes_during_the_step_is_not_slept_over)
{
	struct report r = {.action = S("relayed"), .received_at = 1};
	struct enrollment row = {0};
	struct store_step step = {.row = &row, .actor = "enrolld"};
	int64_t id = answered("alice@example.org", TOKEN);
	time_t later = time(NULL) + 3600;

	store_fixture_claim(enrolld, id, &row);
	ck_assert(add_report(TOKEN, &r));
	row.next_at = later;
	ck_assert(commit(&step));
	ck_assert_int_le(row.next_at, time(NULL));
	enrollment_clear(&row);
	/* What the step had planned is not forgotten over it. */
	row = get(id);
	ck_assert_int_eq(row.planned_at, later);
	enrollment_clear(&row);
}
END_TEST

START_TEST(reports_that_were_acted_on_are_marked_and_later_ones_are_not)
{
	struct report r = {.action = S("delayed"), .received_at = 1};
	struct enrollment row = {0};
	struct store_step step = {.row = &row, .actor = "enrolld"};
	struct report_list l;
	int64_t id = answered("alice@example.org", TOKEN), other = answered("bob@example.org", "fedcba9876543210fedcba9876543210");

	ck_assert(add_report("fedcba9876543210fedcba9876543210", &r));
	ck_assert(add_report(TOKEN, &r));
	OK(store_reports_of(enrolld, id, 0, &l, &err));
	step.reports_seen = l.v[0].id;
	report_list_clear(&l);
	ck_assert(add_report(TOKEN, &r));
	store_fixture_claim(enrolld, id, &row);
	ck_assert(commit(&step));
	enrollment_clear(&row);
	OK(store_reports_of(enrolld, id, 0, &l, &err));
	ck_assert_uint_eq(l.n, 2);
	ck_assert(l.v[0].seen);
	ck_assert(!l.v[1].seen);
	report_list_clear(&l);
	OK(store_reports_of(enrolld, other, 0, &l, &err));
	ck_assert(!l.v[0].seen);
	report_list_clear(&l);
}
END_TEST

START_TEST(a_report_of_another_kind_or_size_is_refused)
{
	char big[2000];
	struct report r = {.received_at = 1};
	bool known = true;
	int64_t id = answered("alice@example.org", TOKEN);

	memset(big, 'a', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	for (int i = 0; i < 7; i++) {
		static const char *const actions[] = {NULL, "", "RELAYED", "failed", "failed", "failed", "failed"};

		r = (struct report){.action = S(actions[i]),
			.status = i == 3 ? big : NULL,
			.diagnostic = i == 4 ? big : NULL,
			.remote = i == 5 ? big : NULL,
			.reporter = i == 6 ? big : NULL,
			.received_at = 1};
		ck_assert_msg(!store_report_add(inbound, TOKEN, &r, &known, &err), "%d", i);
		ck_assert_int_eq(err.class, ERR_POLICY);
		ck_assert(!known);
	}
	ck_assert_uint_eq(count_reports(id), 0);
}
END_TEST

START_TEST(two_replies_never_share_a_token_and_a_short_one_is_none)
{
	static const char *const tokens[] = {TOKEN, "0123456789abcde"};
	int64_t id;

	answered("alice@example.org", TOKEN);
	id = store_fixture_enroll(enrolld, "bob@example.org", ENROLLMENT_CHALLENGE_AWAITED);
	ck_assert(add_challenge(id, "dG9rZW4", "<1@ca.example>"));
	for (int i = 0; i < 2; i++) {
		struct enrollment row = {0};
		struct challenge_list l;
		struct store_step step = {.row = &row, .actor = "enrolld", .challenge_report_token = tokens[i]};
		bool stale;

		OK(store_challenges_of(enrolld, id, 0, &l, &err));
		step.challenge_id = l.v[0].id;
		challenge_list_clear(&l);
		store_fixture_claim(enrolld, id, &row);
		ck_assert(!store_step_commit(enrolld, &step, &stale, &err));
		step.challenge_id = 0;
		ck_assert(commit(&step));
		enrollment_clear(&row);
	}
}
END_TEST

/* ---- limits ------------------------------------------------------------------------------------------------------ */

START_TEST(a_limit_is_in_force_until_its_time_and_for_its_ca_only)
{
	struct store_limit_list l;
	time_t now = time(NULL);

	OK(store_limit_set(enrolld, "public", "example.org", now + 100, "too many for the domain", &err));
	OK(store_limit_set(enrolld, "public", "", now + 50, "too many", &err));
	OK(store_limit_set(enrolld, "private", "", now + 500, "never mind", &err));
	OK(store_limits(enrolld, "public", now, &l, &err));
	ck_assert_uint_eq(l.n, 2);
	ck_assert_str_eq(l.v[0].ca, "public");
	ck_assert_str_eq(l.v[0].scope, "");
	ck_assert_str_eq(l.v[0].text, "too many");
	ck_assert_int_eq(l.v[0].until, now + 50);
	ck_assert_int_ge(l.v[0].at, now);
	ck_assert_str_eq(l.v[1].scope, "example.org");
	store_limit_list_clear(&l);
	OK(store_limits(enrolld, "public", now + 50, &l, &err));
	ck_assert_uint_eq(l.n, 1);
	ck_assert_str_eq(l.v[0].scope, "example.org");
	store_limit_list_clear(&l);
	OK(store_limits(enrolld, "other", now, &l, &err));
	ck_assert_uint_eq(l.n, 0);
}
END_TEST

START_TEST(a_new_limit_takes_the_place_of_the_old_one_and_those_that_are_over_go)
{
	struct store_limit_list l;
	time_t now = time(NULL);

	OK(store_limit_set(enrolld, "public", "", now + 100, "first", &err));
	OK(store_limit_set(enrolld, "public", "", now + 10, NULL, &err));
	OK(store_limits(enrolld, "public", now, &l, &err));
	ck_assert_uint_eq(l.n, 1);
	ck_assert_int_eq(l.v[0].until, now + 10);
	ck_assert_ptr_null(l.v[0].text);
	store_limit_list_clear(&l);
	OK(store_limit_set(enrolld, "public", "alice@example.org", now - 1, "over", &err));
	OK(store_limits(enrolld, "public", 0, &l, &err));
	ck_assert_uint_eq(l.n, 2);
	store_limit_list_clear(&l);
	OK(store_limit_set(enrolld, "private", "", now + 10, "x", &err));
	OK(store_limits(enrolld, "public", 0, &l, &err));
	ck_assert_uint_eq(l.n, 1);
	store_limit_list_clear(&l);
}
END_TEST

/* ---- orders and failures ----------------------------------------------------------------------------------------- */

START_TEST(open_orders_are_those_without_an_outcome)
{
	static const char *const outcomes[] = {"finalized", "invalid", "abandoned", "unsent", "expired"};
	struct enrollment row = {0};
	struct store_step step = {.row = &row, .actor = "enrolld", .keep_lease = true};
	int64_t ids[2] = {request("alice@example.org"), request("bob@example.org")};
	size_t n;

	OK(store_orders_open(enrolld, 0, NULL, &n, &err));
	ck_assert_uint_eq(n, 0);
	for (int i = 0; i < 2; i++) {
		store_fixture_claim(enrolld, ids[i], &row);
		step.count_order = true;
		step.order_outcome = NULL;
		step.keep_lease = i == 0;
		ck_assert(commit(&step));
		OK(store_orders_open(enrolld, 0, NULL, &n, &err));
		ck_assert_uint_eq(n, (size_t)i + 1);
		step.count_order = false;
		for (size_t k = 0; i == 0 && k < sizeof(outcomes) / sizeof(outcomes[0]); k++) {
			step.order_outcome = outcomes[k];
			ck_assert(commit(&step));
			OK(store_orders_open(enrolld, 0, NULL, &n, &err));
			ck_assert_uint_eq(n, 0);
			step.order_outcome = NULL;
			step.count_order = true;
			ck_assert(commit(&step));
			step.count_order = false;
		}
		if (i == 0) {
			step.keep_lease = false;
			ck_assert(commit(&step));
		}
		enrollment_clear(&row);
	}
	/* What is as old as that has expired at the CA. */
	OK(store_orders_open(enrolld, time(NULL) + 1, NULL, &n, &err));
	ck_assert_uint_eq(n, 0);
}
END_TEST

START_TEST(what_a_failure_was_about_is_kept_with_it_and_goes_with_a_retry)
{
	struct enrollment row = {0};
	struct store_step step = {.row = &row, .actor = "enrolld", .event = "blocked", .class = ERR_CA};
	bool changed;
	int64_t id = request("alice@example.org");

	store_fixture_claim(enrolld, id, &row);
	row.state = ENROLLMENT_BLOCKED;
	row.why_class = ERR_CA;
	row.why = strdup("the CA says no");
	row.why_subject = strdup("https://ca.example/order/1");
	row.why_type = strdup("urn:ietf:params:acme:error:rejectedIdentifier");
	row.why_status = 403;
	row.why_at = 4711;
	row.retry_at = 4712;
	ck_assert(commit(&step));
	enrollment_clear(&row);
	row = get(id);
	ck_assert_str_eq(row.why_subject, "https://ca.example/order/1");
	ck_assert_str_eq(row.why_type, "urn:ietf:params:acme:error:rejectedIdentifier");
	ck_assert_int_eq(row.why_status, 403);
	ck_assert_int_eq(row.why_at, 4711);
	ck_assert_int_eq(row.retry_at, 4712);
	enrollment_clear(&row);
	OK(store_enrollment_admin(enrolld, id, ENROLLMENT_ADMIN_RETRY, "admin:root", NULL, &changed, &err));
	ck_assert(changed);
	row = get(id);
	ck_assert_ptr_null(row.why);
	ck_assert_ptr_null(row.why_subject);
	ck_assert_ptr_null(row.why_type);
	ck_assert_int_eq(row.why_status, 0);
	ck_assert_int_eq(row.why_at, 0);
	ck_assert_int_eq(row.retry_at, 0);
	enrollment_clear(&row);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_reports");
	TCase *tc = tcase_create("store_reports");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_report_belongs_to_the_reply_whose_token_it_shows_and_is_read_back);
	tcase_add_test(tc, without_the_token_of_a_reply_nothing_is_written);
	tcase_add_test(tc, a_week_after_the_reply_its_token_is_no_longer_known);
	tcase_add_test(tc, of_one_token_only_so_many_reports_are_kept);
	tcase_add_test(tc, a_report_wakes_the_enrollment_that_waits_for_the_cas_word);
	tcase_add_test(tc, a_report_on_an_older_order_hurries_nobody);
	tcase_add_test(tc, a_report_that_comes_during_the_step_is_not_slept_over);
	tcase_add_test(tc, reports_that_were_acted_on_are_marked_and_later_ones_are_not);
	tcase_add_test(tc, a_report_of_another_kind_or_size_is_refused);
	tcase_add_test(tc, two_replies_never_share_a_token_and_a_short_one_is_none);
	tcase_add_test(tc, a_limit_is_in_force_until_its_time_and_for_its_ca_only);
	tcase_add_test(tc, a_new_limit_takes_the_place_of_the_old_one_and_those_that_are_over_go);
	tcase_add_test(tc, open_orders_are_those_without_an_outcome);
	tcase_add_test(tc, what_a_failure_was_about_is_kept_with_it_and_goes_with_a_retry);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
