/*
 * tests/unit/test_store_turns.c - any number of enrolld on one store: whose turn it is, one of several that find the same, and the last place below a cap.
 */
#include "config.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tests/unit/test_store.h"

#define NOW 1800000000
#define THREADS 8

static bool take(const char *owner, time_t now, unsigned seconds, unsigned every)
{
	bool mine;

	OK(store_turn_take(enrolld, "sweep", owner, now, seconds, every, &mine, &err));
	return mine;
}

static void end(const char *owner, time_t done_at)
{
	OK(store_turn_end(enrolld, "sweep", owner, done_at, &err));
}

START_TEST(a_turn_is_one_owners_until_it_is_over)
{
	ck_assert(take("a", NOW, 60, 0));
	ck_assert(!take("b", NOW, 60, 0));
	ck_assert(!take("b", NOW + 59, 60, 0));
	ck_assert(take("b", NOW + 60, 60, 0)); /* a died */
	ck_assert(!take("a", NOW + 61, 60, 0));
	end("a", NOW + 61); /* and wakes up: it is not a's any more */
	ck_assert(!take("a", NOW + 62, 60, 0));
	end("b", NOW + 62);
	ck_assert(take("a", NOW + 62, 60, 0));
}
END_TEST

START_TEST(whoever_has_it_goes_on_having_it)
{
	ck_assert(take("a", NOW, 60, 3600));
	ck_assert(take("a", NOW + 20, 60, 3600));
	ck_assert(take("a", NOW + 40, 60, 3600)); /* less than half is left: longer now */
	ck_assert(!take("b", NOW + 99, 60, 0));
	ck_assert(take("b", NOW + 100, 60, 0));
}
END_TEST

START_TEST(nothing_is_written_as_long_as_half_is_left)
{
	static const char until[] = "SELECT MAX(until) FROM turns";

	ck_assert(take("a", NOW, 60, 0));
	ck_assert(take("a", NOW + 29, 60, 0));
	ck_assert(!take("b", NOW + 29, 60, 0));
	ck_assert_int_eq(store_fixture_number(&f, until), NOW + 60);
	ck_assert(take("a", NOW + 31, 60, 0));
	ck_assert_int_eq(store_fixture_number(&f, until), NOW + 91);
}
END_TEST

START_TEST(what_is_done_every_hour_is_done_once_an_hour_by_whomever)
{
	struct store_turn t;

	ck_assert(take("a", NOW, 60, 3600));
	end("a", NOW);
	ck_assert(!take("b", NOW + 1, 60, 3600));
	ck_assert(!take("a", NOW + 3599, 60, 3600));
	ck_assert(take("b", NOW + 1, 60, 0)); /* somebody wants it now */
	end("b", 0);			       /* and did not do it after all */
	ck_assert(take("b", NOW + 3600, 60, 3600));
	OK(store_turn_get(enrolld, "sweep", &t, &err));
	ck_assert_int_eq(t.done_at, NOW);
	ck_assert_str_eq(t.owner, "b");
	store_turn_clear(&t);
	end("b", NOW + 3600);
	ck_assert(!take("a", NOW + 3590, 60, 3600)); /* a's clock is behind b's */
	ck_assert(take("a", NOW + 100, 60, 3600)); /* the clock was put back */
}
END_TEST

START_TEST(a_restarted_one_gives_its_turns_back_and_no_others)
{
	bool mine;

	ck_assert(take("x1:host:17:r", NOW, 600, 0));
	OK(store_turn_take(enrolld, "other", "x10:host:17:r", NOW, 600, 0, &mine, &err));
	OK(store_leases_release(enrolld, "x1:", &err));
	ck_assert(take("x2:host:18:r", NOW, 600, 0));
	OK(store_turn_take(enrolld, "other", "x1:host:18:r", NOW, 600, 0, &mine, &err));
	ck_assert(!mine);
}
END_TEST

START_TEST(signs_of_life)
{
	struct store_turn_list l;

	OK(store_turn_seize(enrolld, "enrolld:a", "a", NOW + 90, &err));
	OK(store_turn_seize(enrolld, "enrolld:a", "copy", NOW + 91, &err));
	OK(store_turn_seize(enrolld, "enrolld:b", "b", NOW - 100000, &err));
	ck_assert(take("a", NOW, 60, 0));
	OK(store_turn_list(enrolld, "enrolld:", &l, &err));
	ck_assert_uint_eq(l.n, 2);
	ck_assert_str_eq(l.v[0].name, "enrolld:a");
	ck_assert_str_eq(l.v[0].owner, "copy");
	store_turn_list_clear(&l);
	OK(store_turns_forget(enrolld, "enrolld:", NOW - 1000, &err));
	OK(store_turn_list(enrolld, "", &l, &err));
	ck_assert_uint_eq(l.n, 2);
	store_turn_list_clear(&l);
}
END_TEST

/* Threads with a store handle each, as processes have, that begin together. */
struct crew {
	pthread_barrier_t start;
	atomic_int won;
	bool (*act)(struct store *store, int number);
};
struct member { struct crew *crew; int number; pthread_t thread; };

static void *member_run(void *arg)
{
	struct member *m = arg;
	struct store *own = store_fixture_open(&f, STORE_ROLE_ENROLLD);

	pthread_barrier_wait(&m->crew->start);
	if (m->crew->act(own, m->number))
		atomic_fetch_add(&m->crew->won, 1);
	store_close(own);
	return NULL;
}

static int how_many(bool (*act)(struct store *, int))
{
	struct crew crew = {.act = act};
	struct member members[THREADS];

	pthread_barrier_init(&crew.start, NULL, THREADS);
	for (int i = 0; i < THREADS; i++) {
		members[i] = (struct member){.crew = &crew, .number = i};
		ck_assert_int_eq(pthread_create(&members[i].thread, NULL, member_run, &members[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(members[i].thread, NULL);
	pthread_barrier_destroy(&crew.start);
	return atomic_load(&crew.won);
}

static bool takes(struct store *store, int number)
{
	struct err e = ERR_INIT;
	char owner[16];
	bool mine;

	snprintf(owner, sizeof(owner), "m%d", number);
	ck_assert_msg(store_turn_take(store, "sweep", owner, NOW, 600, 60, &mine, &e), "%s", e.text);
	return mine;
}

START_TEST(of_eight_at_once_one_has_the_turn)
{
	ck_assert_int_eq(how_many(takes), 1);
}
END_TEST

static bool swaps(struct store *store, int number)
{
	struct err e = ERR_INIT;
	char value[16];
	bool swapped;

	snprintf(value, sizeof(value), "m%d", number);
	ck_assert_msg(store_flag_swap(store, "account-key:ca", NULL, value, "test", &swapped, &e), "%s", e.text);
	return swapped;
}

START_TEST(of_eight_at_once_one_sets_the_flag)
{
	bool swapped;
	char *value;

	ck_assert_int_eq(how_many(swaps), 1);
	OK(store_flag_swap(enrolld, "account-key:ca", "another", "x", "test", &swapped, &err));
	ck_assert(!swapped);
	OK(store_flag_get(enrolld, "account-key:ca", &value, &err));
	OK(store_flag_swap(enrolld, "account-key:ca", value, "x", "test", &swapped, &err));
	ck_assert(swapped);
	free(value);
}
END_TEST

/* ---- the last place ------------------------------------------------------------------------------------------------ */

static size_t places;
static enum store_cap_kind kind;

/* A worker that has counted, and found room. */
static bool orders(struct store *store, int number)
{
	struct enrollment row = {0};
	struct store_cap caps[] = {{.since = 0, .most = 1000}, {.ca = "example-ca", .since = 0, .kind = kind, .most = places}};
	struct store_step step = {.row = &row, .actor = "enrolld", .event = "intent", .keep_lease = true, .count_order = true, .caps = caps, .n_caps = 2};
	struct err e = ERR_INIT;
	bool found = false, stale = false, room;
	char owner[16];

	snprintf(owner, sizeof(owner), "m%d", number);
	ck_assert_msg(store_enrollment_claim(store, owner, time(NULL) + 5, 600, &row, &found, &e) && found, "%s", e.text);
	free(row.ca);
	row.ca = strdup("example-ca");
	row.intent = strdup("newOrder");
	row.state = ENROLLMENT_ORDERING; /* on the way, which is what cap-total counts */
	ck_assert_msg(store_step_commit(store, &step, &stale, &e), "%s", e.text);
	ck_assert(!stale);
	room = !step.full;
	/* Of who found no room nothing was written: the step goes on, and can still be ended. */
	if (step.full) {
		row.state = ENROLLMENT_REQUESTED;
		step = (struct store_step){.row = &row, .actor = "enrolld", .event = "waiting"};
		ck_assert_msg(store_step_commit(store, &step, &stale, &e), "%s", e.text);
		ck_assert(!stale);
	}
	enrollment_clear(&row);
	return room;
}

START_TEST(of_eight_who_counted_at_once_as_many_order_as_there_is_room)
{
	size_t n;

	for (int i = 0; i < THREADS; i++) {
		char address[64];

		snprintf(address, sizeof(address), "user%d@example.org", i);
		request(address);
	}
	kind = (enum store_cap_kind)_i;
	places = 3;
	ck_assert_int_eq(how_many(orders), 3);
	OK(store_orders_since(enrolld, 0, "example-ca", &n, &err));
	ck_assert_uint_eq(n, 3);
	OK(store_orders_open(enrolld, 0, "example-ca", &n, &err));
	ck_assert_uint_eq(n, 3);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("store_turns");
	TCase *t = tcase_create("store_turns");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, a_turn_is_one_owners_until_it_is_over);
	tcase_add_test(t, whoever_has_it_goes_on_having_it);
	tcase_add_test(t, nothing_is_written_as_long_as_half_is_left);
	tcase_add_test(t, what_is_done_every_hour_is_done_once_an_hour_by_whomever);
	tcase_add_test(t, a_restarted_one_gives_its_turns_back_and_no_others);
	tcase_add_test(t, signs_of_life);
	tcase_add_test(t, of_eight_at_once_one_has_the_turn);
	tcase_add_test(t, of_eight_at_once_one_sets_the_flag);
	tcase_add_loop_test(t, of_eight_who_counted_at_once_as_many_order_as_there_is_room, CAP_OPENED, CAP_ENROLLED + 1);
	suite_add_tcase(s, t);
	return run_suite(s);
}
