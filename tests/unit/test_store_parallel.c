/*
 * tests/unit/test_store_parallel.c - many threads, several processes, and processes that are killed: nothing is done twice, nothing is
 * lost, nothing is half.
 */
#include "config.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/unit/test_store.h"

#define THREADS 8
#define ROWS 120

/* ---- threads ----------------------------------------------------------------------------------------------------- */

struct crew {
	atomic_int claimed[ROWS + 1]; /* by id: how often */
	atomic_int errors;
};

static void *claim_all(void *arg)
{
	struct crew *crew = arg;
	struct err e = ERR_INIT;
	bool found = true;

	while (found) {
		struct enrollment row = {0};

		if (!store_enrollment_claim(enrolld, "worker", time(NULL) + 1, 600, &row, &found, &e)) {
			fprintf(stderr, "%s: %s\n", e.op, e.text);
			atomic_fetch_add(&crew->errors, 1);
			break;
		}
		if (found) {
			atomic_fetch_add(&crew->claimed[row.id], 1);
			enrollment_clear(&row);
		}
	}
	return NULL;
}

START_TEST(eight_threads_claim_every_row_exactly_once)
{
	struct crew *crew = calloc(1, sizeof(*crew));
	pthread_t threads[THREADS];

	for (int i = 0; i < ROWS; i++) {
		char address[64];

		snprintf(address, sizeof(address), "user%d@example.org", i);
		request(address);
	}
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, claim_all, crew), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(atomic_load(&crew->errors), 0);
	for (int i = 1; i <= ROWS; i++)
		ck_assert_int_eq(atomic_load(&crew->claimed[i]), 1);
	free(crew);
}
END_TEST

/* More threads than handles, readers and writers mixed, each with its own kind of call. */
static void *do_everything(void *arg)
{
	atomic_int *errors = arg;
	struct err e = ERR_INIT;

	for (int i = 0; i < 30; i++) {
		struct enrollment row = {0};
		struct store_credential c = {0};
		struct enrollment_list l = {0};
		char address[64], *value = NULL;
		const char *why;
		bool created, found, ok;

		snprintf(address, sizeof(address), "user%d@example.org", i);
		ok = store_enrollment_request(outbound, address, "mailbox-strict", "sign", "x", &created, NULL, &e) &&
		     store_enrollment_find(enrolld, address, &row, &found, &e) && found &&
		     store_credential_find(outbound, address, &c, &found, &why, &e) && !found &&
		     store_flag_set(enrolld, "flag", address, "test", &e) && store_flag_get(inbound, "flag", &value, &e) && value != NULL &&
		     store_enrollment_list(enrolld, -1, NULL, 5, &l, &e) && l.n > 0 && store_change_counter(outbound) != -1;
		if (!ok) {
			fprintf(stderr, "%s: %s\n", e.op, e.text);
			atomic_fetch_add(errors, 1);
		}
		enrollment_clear(&row);
		store_credential_clear(&c);
		enrollment_list_clear(&l);
		free(value);
	}
	return NULL;
}

START_TEST(more_threads_than_handles_get_along)
{
	atomic_int errors = 0;
	pthread_t threads[THREADS];
	size_t counts[ENROLLMENT_STATES], disabled;

	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, do_everything, &errors), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(atomic_load(&errors), 0);
	OK(store_enrollment_counts(enrolld, counts, &disabled, &err));
	ck_assert_uint_eq(counts[ENROLLMENT_REQUESTED], 30);
}
END_TEST

/* Challenges come in just when the worker has read those before and is about to write "again in an hour": each must be seen all the same.
 */
struct flood {
	int64_t id;
	atomic_bool done;
	atomic_int seen; /* challenges that the worker has read */
};

static void *step_row(void *arg)
{
	struct flood *flood = arg;
	struct err e = ERR_INIT;

	for (;;) {
		struct enrollment row = {0};
		struct challenge_list l = {0};
		struct store_step step = {.row = &row, .actor = "worker"};
		bool finished = atomic_load(&flood->done), found, stale;

		if (!store_enrollment_claim(enrolld, "worker", time(NULL), 60, &row, &found, &e))
			abort();
		if (!found && finished)
			return NULL;
		if (!found)
			continue;
		if (!store_challenges_of(enrolld, row.id, 0, &l, &e))
			abort();
		atomic_store(&flood->seen, (int)l.n);
		usleep((useconds_t)random_below(4000)); /* the step's work outside */
		row.next_at = time(NULL) + 3600;	/* nothing to do before */
		if (!store_step_commit(enrolld, &step, &stale, &e) || stale)
			abort();
		challenge_list_clear(&l);
		enrollment_clear(&row);
	}
}

START_TEST(no_wake_up_is_lost_in_a_flood_of_challenges)
{
	struct flood flood = {.id = store_fixture_enroll(enrolld, "alice@example.org", ENROLLMENT_CHALLENGE_AWAITED)};
	pthread_t worker;

	ck_assert_int_eq(pthread_create(&worker, NULL, step_row, &flood), 0);
	for (int i = 0; i < 100; i++) {
		char id[64];

		snprintf(id, sizeof(id), "<%d@ca.example>", i);
		ck_assert(add_challenge(flood.id, "dG9rZW4", id));
		for (int64_t start = mono_ms(); atomic_load(&flood.seen) <= i;)
			ck_assert_msg(mono_ms() - start < 20000, "challenge %d was slept over", i);
	}
	atomic_store(&flood.done, true);
	pthread_join(worker, NULL);
}
END_TEST

/* ---- a store that is locked -------------------------------------------------------------------------------------- */

START_TEST(a_locked_store_makes_writers_give_up_in_time_and_lets_readers_read)
{
	sqlite3 *other;
	struct store *hasty;
	struct store_settings s = f.settings;
	bool created;
	char *value;
	int64_t start, took;

	s.busy_ms = 300;
	hasty = store_open(&s, STORE_ROLE_ENROLLD, &err);
	ck_assert_ptr_nonnull(hasty);
	ck_assert_int_eq(sqlite3_open(f.settings.path, &other), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	start = mono_ms();
	ck_assert(!store_enrollment_request(hasty, "alice@example.org", "p", "sign", "x", &created, NULL, &err));
	took = mono_ms() - start;
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	ck_assert_str_eq(err.type, "SQLITE_BUSY");
	ck_assert_msg(took >= 290 && took < 5000, "%lld ms", (long long)took);
	ck_assert(store_flag_get(hasty, "paused", &value, &err));
	ck_assert_int_eq(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(other);
	OK(store_enrollment_request(hasty, "alice@example.org", "p", "sign", "x", &created, NULL, &err));
	store_close(hasty);
}
END_TEST

/* ---- processes --------------------------------------------------------------------------------------------------- */

/* In a child: a store of its own, never the parent's. */
static struct store *child_store(enum store_role role)
{
	struct store *store = store_open(&f.settings, role, &err);

	if (store == NULL) {
		fprintf(stderr, "%s: %s\n", err.op, err.text);
		_exit(2);
	}
	return store;
}

#define BOTH 60

/* Both ask for the same addresses; each exits with how many it created. */
static void request_same(void)
{
	struct store *store = child_store(STORE_ROLE_OUTBOUND);
	int n = 0;

	for (int i = 0; i < BOTH; i++) {
		char address[64];
		bool created;

		snprintf(address, sizeof(address), "user%d@example.org", i);
		if (!store_enrollment_request(store, address, "p", "sign", "x", &created, NULL, &err)) {
			fprintf(stderr, "%s: %s\n", err.op, err.text);
			_exit(255);
		}
		n += created;
	}
	store_close(store);
	_exit(n);
}

START_TEST(two_processes_that_write_at_once_do_not_write_the_same)
{
	pid_t children[2];
	int status, sum = 0;

	for (int i = 0; i < 2; i++) {
		children[i] = fork();
		ck_assert_int_ge(children[i], 0);
		if (children[i] == 0)
			request_same();
	}
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(waitpid(children[i], &status, 0), children[i]);
		ck_assert(WIFEXITED(status));
		sum += WEXITSTATUS(status);
	}
	ck_assert_int_eq(sum, BOTH);
	OK(store_check(enrolld, &err));
}
END_TEST

/* Works until it is killed: every step counts an order in the row, in the order book and as an event, in one commit. */
static void order_forever(void)
{
	struct store *store = child_store(STORE_ROLE_ENROLLD);
	struct err e = ERR_INIT;

	for (unsigned i = 0;; i++) {
		struct enrollment row = {0};
		struct store_step step = {.row = &row, .actor = "child", .event = "newOrder", .count_order = true};
		char address[64];
		bool found, created, stale;

		snprintf(address, sizeof(address), "user%u@example.org", i % 20);
		if (!store_enrollment_request(store, address, "p", "sign", "x", &created, NULL, &e) ||
			!store_enrollment_claim(store, "child", time(NULL) + 10000, 1, &row, &found, &e))
			_exit(3);
		if (!found)
			continue;
		row.orders++;
		row.state = (enum enrollment_state)(row.orders % ENROLLMENT_WAITING);
		row.next_at = time(NULL);
		if (!store_step_commit(store, &step, &stale, &e))
			_exit(4);
		enrollment_clear(&row);
	}
}

static size_t orders_in_rows(struct store *store)
{
	struct enrollment_list l;
	size_t n = 0;

	OK(store_enrollment_list(store, -1, NULL, 1000, &l, &err));
	for (size_t i = 0; i < l.n; i++) {
		size_t events = 0;
		struct event_list e;

		OK(store_events(store, l.v[i].id, 0, 100000, &e, &err));
		for (size_t j = 0; j < e.n; j++)
			events += strcmp(e.v[j].name, "newOrder") == 0;
		ck_assert_uint_eq(events, l.v[i].orders);
		ck_assert_int_eq(l.v[i].state, (int)(l.v[i].orders % ENROLLMENT_WAITING));
		n += l.v[i].orders;
		event_list_clear(&e);
	}
	enrollment_list_clear(&l);
	return n;
}

START_TEST(a_writer_killed_at_any_moment_leaves_whole_steps)
{
	size_t before = 0;

	/* Nobody else has the store open, so that each start has a crashed log to recover. */
	teardown_handles();
	for (int round = 0; round < 25; round++) {
		struct store *store;
		size_t book, rows;
		int status;
		pid_t child = fork();

		ck_assert_int_ge(child, 0);
		if (child == 0)
			order_forever();
		usleep(5000 + (useconds_t)random_below(store_on_postgresql() ? 300000 : 60000));
		kill(child, SIGKILL);
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		ck_assert_msg(WIFSIGNALED(status), "the child ended by itself with %d", WEXITSTATUS(status));
		store = store_open(&f.settings, STORE_ROLE_ENROLLD, &err);
		ck_assert_msg(store != NULL, "%s", err.text);
		OK(store_check(store, &err));
		rows = orders_in_rows(store);
		OK(store_orders_since(store, 0, NULL, &book, &err));
		ck_assert_uint_eq(rows, book);
		ck_assert_uint_ge(rows, before);
		before = rows;
		store_close(store);
	}
	ck_assert_msg(before > 0, "the children never got to write");
}
END_TEST

/* A store that is being made is not there, or whole. */
START_TEST(a_creator_killed_at_any_moment_leaves_no_store_or_a_whole_one)
{
	char path[400];
	int whole = 0;
	int64_t start, span;

	free(f.settings.path);
	snprintf(path, sizeof(path), "%s/second/store.db", f.dir);
	f.settings.path = strdup(path);
	start = mono_ms();
	OK(store_create(&f.settings, &err));
	span = 1 + mono_ms() - start;
	for (int round = 0; round < 40; round++) {
		struct store *store;
		struct stat st;
		pid_t child;

		unlink(path);
		child = fork();
		ck_assert_int_ge(child, 0);
		if (child == 0)
			_exit(store_create(&f.settings, &err) ? 0 : 1);
		usleep((useconds_t)random_below((uint64_t)span * 3000));
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		if (stat(path, &st) != 0)
			continue;
		whole++;
		store = store_open(&f.settings, STORE_ROLE_OUTBOUND, &err);
		ck_assert_msg(store != NULL, "%s", err.text);
		ck_assert_uint_eq(st.st_mode & 07777, 0660);
		store_close(store);
	}
	ck_assert_msg(whole > 0 && whole < 40, "%d of 40: the moments were badly chosen", whole);
	unlink(path);
	OK(store_create(&f.settings, &err));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_parallel");
	TCase *tc = tcase_create("store_parallel");

	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, eight_threads_claim_every_row_exactly_once);
	tcase_add_test(tc, more_threads_than_handles_get_along);
	tcase_add_test(tc, no_wake_up_is_lost_in_a_flood_of_challenges);
	add_sqlite_test(tc, a_locked_store_makes_writers_give_up_in_time_and_lets_readers_read, "SQLite's lock of the whole file");
	tcase_add_test(tc, two_processes_that_write_at_once_do_not_write_the_same);
	tcase_add_test(tc, a_writer_killed_at_any_moment_leaves_whole_steps);
	add_sqlite_test(tc, a_creator_killed_at_any_moment_leaves_no_store_or_a_whole_one, "a file is made beside it and renamed");
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
