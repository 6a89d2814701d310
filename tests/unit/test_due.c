/*
 * tests/unit/test_due.c - enroll/due: nothing that is to be done is missed, whether or not its change was told.
 */
#include "config.h"

#include "enroll/due.h"
#include "tests/unit/test_store.h"

#define TOLD 1 /* counters */
#define TOLD_AGAIN 2

static bool looks(struct due *d, int64_t counter)
{
	bool due;

	err_clear(&err);
	due = due_look(d, enrolld, counter, &err);
	ck_assert_msg(err.class == ERR_NONE, "%s", err.text);
	return due;
}

/* Milliseconds until there is something, though no change is told. */
static int64_t found_after(struct due *d, int64_t counter)
{
	int64_t began = mono_ms();

	while (!looks(d, counter) && mono_ms() - began < 30000)
		usleep(20000);
	return mono_ms() - began;
}

START_TEST(a_change_is_enough_and_what_is_due_stays_due)
{
	struct due d = DUE_INIT;

	ck_assert(looks(&d, TOLD));
	ck_assert(!looks(&d, TOLD));
	request("alice@example.org");
	ck_assert(looks(&d, TOLD_AGAIN));
	ck_assert(looks(&d, TOLD_AGAIN));
	ck_assert(looks(&d, TOLD_AGAIN));
	store_fixture_sql(&f, "UPDATE enrollments SET next_at = 0");
	ck_assert(!looks(&d, TOLD_AGAIN));
}
END_TEST

START_TEST(its_time_comes_without_a_change)
{
	struct due d = DUE_INIT;
	char sql[100];

	request("alice@example.org");
	snprintf(sql, sizeof(sql), "UPDATE enrollments SET next_at = %lld", (long long)time(NULL) + 1);
	store_fixture_sql(&f, sql);
	ck_assert(looks(&d, TOLD));
	ck_assert(!looks(&d, TOLD));
	ck_assert_int_le(found_after(&d, TOLD), 10000);
}
END_TEST

START_TEST(what_nobody_told_is_found)
{
	struct due d = DUE_INIT;

	ck_assert(looks(&d, TOLD));
	ck_assert(!looks(&d, TOLD));
	request("alice@example.org");
	ck_assert_int_le(found_after(&d, TOLD), 10000);
}
END_TEST

/* It is asked again at once, not after a while. */
START_TEST(a_store_that_was_away_is_asked_until_it_answers)
{
	struct due d = DUE_INIT;

	ck_assert(looks(&d, TOLD));
	request("alice@example.org");
	/* inbound may not ask that */
	ck_assert(!due_look(&d, inbound, TOLD, &err));
	ck_assert(err.class != ERR_NONE);
	ck_assert(looks(&d, TOLD));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("due");
	TCase *t = tcase_create("due");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, a_change_is_enough_and_what_is_due_stays_due);
	tcase_add_test(t, its_time_comes_without_a_change);
	tcase_add_test(t, what_nobody_told_is_found);
	tcase_add_test(t, a_store_that_was_away_is_asked_until_it_answers);
	suite_add_tcase(s, t);
	return run_suite(s);
}
