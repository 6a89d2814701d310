/*
 * tests/unit/test_store_departures.c - people who left, in the store: nobody signs or renews for them, an admin's word is not touched, coming back,
 * the end of the grace period, and who is held back.
 */
#include "config.h"

#include "tests/unit/test_store.h"

#define ALICE "alice@corp.example"
#define BOB "bob@corp.example"
#define ALIAS "a@corp.example"
#define S(text) ((char *)(uintptr_t)(text))

static int64_t activate(const char *address, char spki)
{
	char hex[65];

	memset(hex, spki, 64);
	hex[64] = '\0';
	return store_fixture_activate(enrolld, address, "wrapped", 7, hex, "der", 3, NULL, 0);
}

/* As the worker that decided it: this entry of the directory, these addresses. */
static void decide(int64_t id, const char *entry, const char *also)
{
	struct enrollment row;
	struct store_step step = {.row = &row, .actor = "test", .decided = true};

	store_fixture_claim(enrolld, id, &row);
	free(row.entry);
	row.entry = strdup(entry);
	if (also)
		ck_assert(strlist_add(&row.addresses, also));
	ck_assert(commit(&step));
	enrollment_clear(&row);
}

static bool signs(const char *address, const char **why)
{
	struct store_credential c;
	bool found;

	OK(store_credential_find(outbound, address, &c, &found, why, &err));
	store_credential_clear(&c);
	return found;
}

static bool leave(const char *address)
{
	bool changed;

	OK(store_departure_note(enrolld, address, DEPARTURE_GONE, "enrolld", "no entry", &changed, &err));
	return changed;
}

static bool come_back(const char *address)
{
	bool changed;

	OK(store_departure_undo(enrolld, address, "enrolld", "there again", &changed, &err));
	return changed;
}

static bool end(const char *address)
{
	bool changed;

	OK(store_departure_end(enrolld, address, "30 days are over", &changed, &err));
	return changed;
}

static void admin(int64_t id, enum enrollment_admin what)
{
	bool changed;

	OK(store_enrollment_admin(enrolld, id, what, "admin:root", NULL, &changed, &err));
	ck_assert(changed);
}

static int number(const char *sql)
{
	return (int)store_fixture_number(&f, sql);
}

START_TEST(who_left_signs_no_more_and_is_not_renewed_and_who_comes_back_does)
{
	int64_t id = activate(ALICE, 'a');
	struct enrollment row;
	const char *why;
	time_t due;

	ck_assert(signs(ALICE, &why));
	ck_assert(leave(ALICE));
	ck_assert_msg(!leave(ALICE), "once");
	ck_assert(!signs(ALICE, &why));
	ck_assert_str_eq(why, "departed");
	row = get(id);
	ck_assert(row.gone_since != 0 && row.gone_ended == 0 && !row.disabled);
	ck_assert_str_eq(row.gone_why, "gone");
	ck_assert_str_eq(row.gone_by, "enrolld");
	ck_assert_int_eq(row.state, ENROLLMENT_ACTIVE);
	enrollment_clear(&row);
	ck_assert_msg(!claim(&row, "w", time(NULL) + 2 * 365 * 86400, 60), "no renewal");
	OK(store_enrollment_next_due(enrolld, &due, &err));
	ck_assert_int_eq(due, 0);
	ck_assert_uint_eq(count_events(id, "departed"), 1);

	ck_assert(come_back(ALICE));
	ck_assert(!come_back(ALICE));
	ck_assert(signs(ALICE, &why));
	ck_assert_msg(next_of(id) <= time(NULL), "rules and directory are asked at once");
	ck_assert_uint_eq(count_events(id, "returned"), 1);
}
END_TEST

START_TEST(the_admins_word_and_the_directorys_are_two_things)
{
	int64_t id = activate(ALICE, 'a');
	const char *why;

	admin(id, ENROLLMENT_ADMIN_DISABLE);
	leave(ALICE);
	ck_assert(!signs(ALICE, &why));
	ck_assert_str_eq(why, "disabled");
	come_back(ALICE);
	ck_assert_msg(!signs(ALICE, &why), "coming back does not undo what the admin did");
	ck_assert_str_eq(why, "disabled");
	leave(ALICE);
	admin(id, ENROLLMENT_ADMIN_ENABLE);
	ck_assert_msg(!signs(ALICE, &why), "nor the admin what the directory says");
	ck_assert_str_eq(why, "departed");
	come_back(ALICE);
	ck_assert(signs(ALICE, &why));
}
END_TEST

START_TEST(a_step_under_way_is_lost_and_what_is_asked_for_later_is_gone_as_well)
{
	struct enrollment row;
	struct store_step step = {.row = &row, .actor = "test"};
	int64_t id = request(ALICE), again;

	ck_assert(claim(&row, "w", time(NULL), 600));
	leave(ALICE);
	row.state = ENROLLMENT_ELIGIBLE;
	ck_assert_msg(!commit(&step), "stale");
	enrollment_clear(&row);
	ck_assert_int_eq(request(ALICE), id);
	ck_assert(end(ALICE));
	ck_assert_msg(!end(ALICE), "once");
	ck_assert_int_eq(state_of(id), ENROLLMENT_SUPERSEDED);
	again = request(ALICE);
	ck_assert(again != id);
	row = get(again);
	ck_assert(row.gone_since != 0 && row.gone_ended != 0);
	enrollment_clear(&row);
	ck_assert(!claim(&row, "w", time(NULL) + 86400, 60));
	come_back(ALICE);
	ck_assert_msg(claim(&row, "w", time(NULL), 60), "goes on");
	ck_assert_int_eq(row.id, again);
	enrollment_clear(&row);
}
END_TEST

START_TEST(after_the_grace_period_the_key_stays_and_coming_back_begins_anew)
{
	int64_t id = activate(ALICE, 'a');
	const char *why;

	ck_assert_msg(!end(ALICE), "nobody left");
	ck_assert(signs(ALICE, &why));
	leave(ALICE);
	ck_assert(end(ALICE));
	ck_assert_int_eq(state_of(id), ENROLLMENT_SUPERSEDED);
	ck_assert(!signs(ALICE, &why));
	ck_assert_str_eq(why, "departed");
	ck_assert_uint_eq(count_events(id, "departure_ended"), 1);
	ck_assert_int_eq(number("SELECT COUNT(*) FROM user_keys WHERE length(wrapped) > 0"), 1);
	ck_assert_int_eq(number("SELECT COUNT(*) FROM certificates WHERE status = 'superseded'"), 1);
	come_back(ALICE);
	ck_assert(!signs(ALICE, &why));
	ck_assert_str_eq(why, "no enrollment");
	ck_assert(request(ALICE) != id);
}
END_TEST

START_TEST(a_revocation_of_who_left_does_not_disable_the_address)
{
	int64_t id = activate(ALICE, 'a');
	struct store_revoke order = {.reason = "affiliationChanged", .departed = true, .actor = "enrolld"};
	struct enrollment row;
	char about[32];
	const char *why;
	size_t n;

	snprintf(about, sizeof about, "#%lld", (long long)id);
	order.about = about;
	leave(ALICE);
	OK(store_revoke(enrolld, &order, &n, &err));
	ck_assert_uint_eq(n, 1);
	ck_assert(end(ALICE));
	row = get(id);
	ck_assert_int_eq(row.state, ENROLLMENT_REVOKING);
	ck_assert(!row.disabled && row.gone_ended != 0);
	enrollment_clear(&row);
	ck_assert(!signs(ALICE, &why));
	ck_assert_str_eq(why, "departed");
	come_back(ALICE);
	ck_assert(!signs(ALICE, &why));
	ck_assert_str_eq(why, "revoked");
}
END_TEST

START_TEST(another_address_of_who_left_may_get_a_row_of_its_own)
{
	int64_t id = activate(ALICE, 'a'), other;
	struct store_taken taken;
	const char *why;

	decide(id, "uuid:1", ALIAS);
	ck_assert_int_eq(request(ALIAS), id);
	leave(ALICE);
	ck_assert(!signs(ALIAS, &why));
	ck_assert_str_eq(why, "no enrollment");
	OK(store_address_taken(enrolld, ALIAS, 0, &taken, &err));
	ck_assert_int_eq(taken.enrollment_id, 0);
	other = request(ALIAS);
	ck_assert(other != id);
	ck_assert(!signs(ALIAS, &why));
	ck_assert_str_eq(why, "enrollment in progress");
	ck_assert(!signs(ALICE, &why));
	ck_assert_str_eq(why, "departed");
}
END_TEST

START_TEST(people_are_those_whom_the_directory_knew_each_once)
{
	struct store_people l;
	int64_t alice = activate(ALICE, 'a'), bob = activate(BOB, 'b');

	request("carol@corp.example"); /* nobody has decided about it */
	OK(store_people_list(enrolld, false, &l, &err));
	ck_assert_uint_eq(l.n, 0);
	decide(bob, "uuid:2", NULL);
	decide(alice, "uuid:1", NULL);
	OK(store_people_list(enrolld, false, &l, &err));
	ck_assert_uint_eq(l.n, 2);
	ck_assert_str_eq(l.v[0].address_key, ALICE);
	ck_assert_str_eq(l.v[0].entry, "uuid:1");
	ck_assert_int_eq(l.v[1].enrollment_id, bob);
	store_people_clear(&l);
	OK(store_people_list(enrolld, true, &l, &err));
	ck_assert_uint_eq(l.n, 0);
	leave(ALICE);
	end(ALICE);
	request(ALICE); /* two rows of one address */
	OK(store_people_list(enrolld, true, &l, &err));
	ck_assert_uint_eq(l.n, 1);
	ck_assert(l.v[0].gone_since && l.v[0].gone_ended);
	ck_assert_str_eq(l.v[0].gone_why, "gone");
	store_people_clear(&l);
	ck_assert(!store_people_list(outbound, true, &l, &err));
	err_clear(&err);
}
END_TEST

START_TEST(who_is_held_is_exactly_the_last_set_and_a_confirmation_lasts)
{
	struct store_held v[] = {{.address = S("Bob@corp.example"), .address_key = S(BOB), .why = DEPARTURE_GONE},
		{.address = S(ALICE), .address_key = S(ALICE), .why = DEPARTURE_DISABLED}, {.address = S(ALIAS), .address_key = S(ALIAS), .why = DEPARTURE_ADDRESS}};
	struct store_held_list l;
	size_t n;

	activate(ALICE, 'a');
	OK(store_departures_confirm(enrolld, "admin:root", time(NULL), &n, &err));
	ck_assert_uint_eq(n, 0);
	OK(store_departures_hold(enrolld, v, 2, &err));
	/* who came after the admin looked */
	OK(store_departures_confirm(enrolld, "admin:root", time(NULL) - 60, &n, &err));
	ck_assert_uint_eq(n, 0);
	OK(store_departures_confirm(enrolld, "admin:root", time(NULL), &n, &err));
	ck_assert_uint_eq(n, 2);
	OK(store_departures_hold(enrolld, v + 1, 2, &err));
	OK(store_departures_held(enrolld, &l, &err));
	ck_assert_uint_eq(l.n, 2);
	ck_assert_str_eq(l.v[0].address, ALIAS);
	ck_assert_int_eq(l.v[0].confirmed_at, 0);
	ck_assert_int_eq(l.v[0].why, DEPARTURE_ADDRESS);
	ck_assert_str_eq(l.v[1].address, ALICE);
	ck_assert_str_eq(l.v[1].confirmed_by, "admin:root");
	ck_assert(l.v[1].confirmed_at && l.v[1].at);
	store_held_list_clear(&l);
	leave(ALICE);
	OK(store_departures_held(enrolld, &l, &err));
	ck_assert_msg(l.n == 1, "who went through is held no more");
	store_held_list_clear(&l);
	OK(store_departures_hold(enrolld, NULL, 0, &err));
	OK(store_departures_held(enrolld, &l, &err));
	ck_assert_uint_eq(l.n, 0);
	store_held_list_clear(&l);
}
END_TEST

static struct store_held_list held(void)
{
	struct store_held_list l;

	OK(store_departures_held(enrolld, &l, &err));
	return l;
}

START_TEST(whoever_was_not_shown_is_not_confirmed_even_in_the_same_second)
{
	struct store_held v[] = {{.address = S(BOB), .address_key = S(BOB), .why = DEPARTURE_GONE}, {.address = S(ALICE), .address_key = S(ALICE), .why = DEPARTURE_GONE}};
	struct store_held_list shown, now;
	size_t n;

	OK(store_departures_hold(enrolld, v, 1, &err));
	shown = held();
	ck_assert_uint_eq(shown.n, 1);
	OK(store_departures_hold(enrolld, v, 2, &err));
	OK(store_departures_confirm(enrolld, "admin:root", shown.v[0].at, &n, &err));
	ck_assert_uint_eq(n, 1);
	now = held();
	ck_assert_uint_eq(now.n, 2);
	for (size_t i = 0; i < now.n; i++)
		ck_assert_msg((now.v[i].confirmed_at != 0) == (strcmp(now.v[i].address_key, BOB) == 0), "%s", now.v[i].address_key);
	store_held_list_clear(&now);
	/* the list was empty between */
	OK(store_departures_hold(enrolld, NULL, 0, &err));
	OK(store_departures_hold(enrolld, v + 1, 1, &err));
	OK(store_departures_confirm(enrolld, "admin:root", shown.v[0].at, &n, &err));
	ck_assert_uint_eq(n, 0);
	store_held_list_clear(&shown);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_departures");
	TCase *tc = tcase_create("store_departures");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, who_left_signs_no_more_and_is_not_renewed_and_who_comes_back_does);
	tcase_add_test(tc, the_admins_word_and_the_directorys_are_two_things);
	tcase_add_test(tc, a_step_under_way_is_lost_and_what_is_asked_for_later_is_gone_as_well);
	tcase_add_test(tc, after_the_grace_period_the_key_stays_and_coming_back_begins_anew);
	tcase_add_test(tc, a_revocation_of_who_left_does_not_disable_the_address);
	tcase_add_test(tc, another_address_of_who_left_may_get_a_row_of_its_own);
	tcase_add_test(tc, people_are_those_whom_the_directory_knew_each_once);
	tcase_add_test(tc, who_is_held_is_exactly_the_last_set_and_a_confirmation_lasts);
	tcase_add_test(tc, whoever_was_not_shown_is_not_confirmed_even_in_the_same_second);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
