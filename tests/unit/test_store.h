/*
 * tests/unit/test_store.h - what the test programs of the store share: one store, open in each role, and short words for its calls.
 */
#ifndef ENROLL_TESTS_UNIT_TEST_STORE_H
#define ENROLL_TESTS_UNIT_TEST_STORE_H

#include <check.h>
#include <sqlite3.h>

#include "tests/unit/store_fixture.h"

static struct store_fixture f;
static struct store *enrolld, *outbound, *inbound;
static struct err err;

static inline void setup(void)
{
	memset(&err, 0, sizeof(err));
	store_fixture_start(&f);
	enrolld = store_fixture_open(&f, STORE_ROLE_ENROLLD);
	outbound = store_fixture_open(&f, STORE_ROLE_OUTBOUND);
	inbound = store_fixture_open(&f, STORE_ROLE_INBOUND);
}

static inline void teardown_handles(void)
{
	store_close(inbound);
	store_close(outbound);
	store_close(enrolld);
	inbound = outbound = enrolld = NULL;
}

static inline void teardown(void)
{
	teardown_handles();
	store_fixture_end(&f);
}

/* Somebody else's change is told within two seconds (store_change_counter). */
static inline int64_t counter_after(struct store *store, int64_t before)
{
	int64_t now = store_change_counter(store);

	for (int i = 0; i < 200 && now == before; i++, now = store_change_counter(store))
		usleep(10000);
	return now;
}

#define OK(call) ck_assert_msg((call), "%s: %s: %s", err.op, err.subject, err.text)

static inline int64_t request(const char *address)
{
	bool created;
	int64_t id = 0;

	OK(store_enrollment_request(outbound, address, "mailbox-strict", "sign", "alice", &created, &id, &err));
	return id;
}

static inline bool claim(struct enrollment *row, const char *owner, time_t now, unsigned seconds)
{
	bool found;

	OK(store_enrollment_claim(enrolld, owner, now, seconds, row, &found, &err));
	return found;
}

/* Commit and tell whether it counted. */
static inline bool commit(struct store_step *step)
{
	bool stale;

	OK(store_step_commit(enrolld, step, &stale, &err));
	return !stale;
}

static inline struct enrollment get(int64_t id)
{
	struct enrollment row = {0};
	bool found;

	OK(store_enrollment_get(enrolld, id, &row, &found, &err));
	ck_assert(found);
	return row;
}

static inline enum enrollment_state state_of(int64_t id)
{
	struct enrollment row = get(id);
	enum enrollment_state state = row.state;

	enrollment_clear(&row);
	return state;
}

static inline time_t next_of(int64_t id)
{
	struct enrollment row = get(id);
	time_t next = row.next_at;

	enrollment_clear(&row);
	return next;
}

static inline size_t count_events(int64_t id, const char *name)
{
	struct event_list l = {0};
	size_t n = 0;

	OK(store_events(enrolld, id, 0, 1000, &l, &err));
	for (size_t i = 0; i < l.n; i++)
		n += strcmp(l.v[i].name, name) == 0;
	event_list_clear(&l);
	return n;
}

static inline bool add_challenge(int64_t id, const char *token, const char *message_id)
{
	struct challenge c = {.enrollment_id = id,
		.token_part1 = (char *)(uintptr_t)token,
		.message_id = (char *)(uintptr_t)message_id,
		.from = (char *)(uintptr_t) "acme@ca.example",
		.authentication = (char *)(uintptr_t) "dkim d=ca.example",
		.disposition = (char *)(uintptr_t) "discard",
		.date = time(NULL),
		.received_at = time(NULL)};
	bool created;

	OK(store_challenge_add(inbound, &c, &created, &err));
	return created;
}

/* What a worker would do. */
static inline void move(int64_t id, enum enrollment_state state, struct store_certificate *certificate)
{
	struct enrollment row;
	struct store_step step = {.row = &row, .actor = "test", .certificate = certificate};

	store_fixture_claim(enrolld, id, &row);
	row.state = state;
	ck_assert(commit(&step));
	enrollment_clear(&row);
}

/* ---- behind the back of the store -------------------------------------------------------------------------------- */

/* In a file of SQLite. */
static inline void run_sql(const char *path, const char *sql)
{
	sqlite3 *h;
	char *text = NULL;

	ck_assert_int_eq(sqlite3_open(path, &h), SQLITE_OK);
	sqlite3_busy_timeout(h, 5000);
	ck_assert_msg(sqlite3_exec(h, sql, NULL, NULL, &text) == SQLITE_OK, "%s", text);
	sqlite3_close(h);
}

/* On whichever engine, in SQL that both know: statements that change rows. */
static inline void store_fixture_sql(const struct store_fixture *fixture, const char *sql)
{
#ifdef HAVE_POSTGRESQL
	if (fixture->database[0] != '\0') {
		postgresql_poke(fixture->database, sql, true);
		return;
	}
#endif
	run_sql(fixture->settings.path, sql);
}

/* And one that asks for a number. */
static inline int64_t store_fixture_number(const struct store_fixture *fixture, const char *sql)
{
	sqlite3 *h;
	sqlite3_stmt *s;
	int64_t n;

#ifdef HAVE_POSTGRESQL
	if (fixture->database[0] != '\0')
		return postgresql_poke(fixture->database, sql, false);
#endif
	ck_assert_int_eq(sqlite3_open(fixture->settings.path, &h), SQLITE_OK);
	ck_assert_msg(sqlite3_prepare_v2(h, sql, -1, &s, NULL) == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(h));
	ck_assert_int_eq(sqlite3_step(s), SQLITE_ROW);
	n = sqlite3_column_int64(s, 0);
	sqlite3_finalize(s);
	sqlite3_close(h);
	return n;
}

/* ---- what is about SQLite alone ----------------------------------------------------------------------------------- */

#define add_sqlite_test(tc, test, why)                         \
	do {                                                   \
		if (!store_left_out((test)->name, (why)))      \
			tcase_add_test((tc), test);            \
	} while (0)
#define add_sqlite_loop_test(tc, test, from, to, why)          \
	do {                                                   \
		if (!store_left_out((test)->name, (why)))      \
			tcase_add_loop_test((tc), test, from, to); \
	} while (0)

/* ---- files -------------------------------------------------------------------------------------------------------- */

static inline void folder_of(char out[400], const char *path)
{
	snprintf(out, 400, "%s", path);
	*strrchr(out, '/') = '\0';
}

/* Settings for another place in the test's folder. */
static inline struct store_settings store_elsewhere(char path[400], const char *name)
{
	struct store_settings s = f.settings;

	snprintf(path, 400, "%s/%s/store.db", f.dir, name);
	s.path = path;
	return s;
}

static inline void store_put(const char *path, const void *data, size_t len)
{
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(data, 1, len, file), len);
	fclose(file);
}

static inline int run_suite(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
