/*
 * tests/unit/test_store_postgresql.c - what is about PostgreSQL alone: what its roles may do, whatever program uses them, and that its tables are those
 * of SQLite.  `python3 tests/postgresql.py run -- build/tests/unit/test_store_postgresql`
 */
#include "config.h"

#include "tests/unit/test_store.h"

#ifdef HAVE_POSTGRESQL
#include "store/db.h"
#include "store/grants.h"
#include "store/postgresql.h"

static const char *const roles[] = {"outbound", "inbound", "enrolld", "admin", "helpdesk"}; /* the last is GRANT_HELPDESK */

/* As psql would, as this role. */
static PGconn *as_role(const char *role)
{
	PGconn *c = postgresql_connect_as(role, f.database);

	PQclear(PQexec(c, "SET search_path = enroll; SET client_min_messages = error"));
	return c;
}

/* SQLSTATE, "" when it worked; nothing stays. */
static void attempt(PGconn *c, const char *sql, char state[6])
{
	PGresult *r;
	const char *s;

	PQclear(PQexec(c, "BEGIN"));
	r = PQexec(c, sql);
	s = PQresultErrorField(r, PG_DIAG_SQLSTATE);
	snprintf(state, 6, "%s", s ? s : "");
	PQclear(r);
	PQclear(PQexec(c, "ROLLBACK"));
}

START_TEST(a_role_may_do_its_work_and_no_more)
{
	static const struct { const char *role, *sql; bool may; } cases[] = {
		{"inbound", "SELECT wrapped FROM user_keys", false},
		{"inbound", "SELECT id FROM user_keys", false},
		{"inbound", "SELECT COUNT(*) FROM user_keys", false},
		{"inbound", "SELECT der FROM certificates", false},
		{"inbound", "SELECT why FROM enrollments", false},
		{"inbound", "UPDATE enrollments SET next_at = 1, wake = 1 WHERE id = 1", true},
		{"inbound", "UPDATE enrollments SET state = 'active' WHERE id = 1", false},
		{"inbound", "UPDATE enrollments SET disabled = 0", false},
		{"inbound", "UPDATE challenges SET state = 'new'", false},
		{"inbound", "DELETE FROM challenges", false},
		{"inbound", "DELETE FROM enrollments", false},
		{"inbound", "INSERT INTO enrollments (address) VALUES ('x')", false},
		{"inbound", "INSERT INTO flags (name, value, at) VALUES ('paused', '', 1)", false},
		{"inbound", "SELECT * FROM events", false},
		{"enrolld", "SELECT id, spki_sha256 FROM user_keys", true},
		{"enrolld", "SELECT wrapped FROM user_keys", false},
		{"enrolld", "SELECT * FROM user_keys", false},
		{"enrolld", "SELECT length(wrapped) FROM user_keys", false},
		{"enrolld", "UPDATE user_keys SET wrapped = '\\x00'", false},
		{"enrolld", "DELETE FROM user_keys", false},
		{"enrolld", "INSERT INTO user_keys (enrollment_id, wrapped, spki_sha256, created_at) SELECT 1, '\\x01', repeat('a', 64), 1 RETURNING wrapped", false},
		{"enrolld", "INSERT INTO user_keys (enrollment_id, wrapped, spki_sha256, created_at) SELECT 1, '\\x01', repeat('a', 64), 1 RETURNING id", true},
		{"enrolld", "DELETE FROM certificates", false},
		{"enrolld", "UPDATE events SET text = ''", false},
		{"outbound", "SELECT wrapped FROM user_keys", true},
		{"outbound", "UPDATE enrollments SET disabled = 0", false},
		{"outbound", "UPDATE enrollments SET next_at = 0", false},
		{"outbound", "DELETE FROM enrollments", false},
		{"outbound", "SELECT id FROM enrollments FOR UPDATE", false},
		{"outbound", "UPDATE certificates SET status = 'active'", false},
		{"outbound", "INSERT INTO certificates (enrollment_id) VALUES (1)", false},
		{"outbound", "UPDATE user_keys SET wrapped = '\\x00'", false},
		{"outbound", "INSERT INTO user_keys (enrollment_id) VALUES (1)", false},
		{"outbound", "SELECT token_part1 FROM challenges", false},
		{"outbound", "SELECT sender FROM mail_events", false},
		{"outbound", "UPDATE flags SET value = ''", false},
		{"helpdesk", "SELECT address, state, why FROM enrollments", true},
		{"helpdesk", "SELECT serial, status FROM certificates", true},
		{"helpdesk", "SELECT * FROM events", true},
		{"helpdesk", "SELECT * FROM mail_events", true},
		{"helpdesk", "SELECT * FROM user_keys", false},
		{"helpdesk", "SELECT id FROM user_keys", false},
		{"helpdesk", "SELECT token_part1 FROM challenges", false},
		{"helpdesk", "SELECT ca_state FROM enrollments", false},
		{"helpdesk", "SELECT csr FROM enrollments", false},
		{"helpdesk", "UPDATE enrollments SET disabled = 1", false},
		{"helpdesk", "INSERT INTO events (at, name, class) VALUES (1, 'x', 'none')", false},
		{"helpdesk", "DELETE FROM mail_events", false},
		{"admin", "SELECT wrapped FROM user_keys", true},
		{"admin", "UPDATE enrollments SET disabled = 1", true},
	};

	request("alice@corp.example");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		PGconn *c = as_role(cases[i].role);
		char state[6];

		attempt(c, cases[i].sql, state);
		ck_assert_msg(strcmp(state, cases[i].may ? "" : "42501") == 0, "%s: %s: %s", cases[i].role, cases[i].sql, state[0] ? state : "it may");
		PQfinish(c);
	}
}
END_TEST

/* ---- rows as they come ----------------------------------------------------------------------------------------------- */

struct number { int64_t n; };

static void read_number(struct rows *r, void *element)
{
	((struct number *)element)->n = rows_int(r, 0);
}

/* Has enough of it at the fifth. */
static void read_a_few(struct rows *r, void *element)
{
	read_number(r, element);
	if (rows_int(r, 0) == 5)
		rows_bad(r, "number");
}

/* Asks something else in between, which is a mistake. */
static void read_and_ask(struct rows *r, void *element)
{
	int64_t n;

	read_number(r, element);
	ck_assert(!tx_number(r->tx, &n, 0, "SELECT 1", NO_VALUES));
	r->failed = true;
}

static bool list(void (*read)(struct rows *, void *), const char *sql, struct row_list *l)
{
	struct tx tx;
	int64_t n = 0;
	bool ok;

	*l = (struct row_list)ROW_LIST(struct number, read);
	err_clear(&err);
	ok = tx_begin(&tx, enrolld, TX_READ, MAY_ALL, "count", &err) && tx_list(&tx, l, sql, NO_VALUES) && tx_number(&tx, &n, 0, "SELECT 7", NO_VALUES);
	ck_assert(!ok || n == 7);
	tx_end(&tx);
	return ok;
}

#define MANY "SELECT CAST(i AS BIGINT) FROM generate_series(1, 100000) i"
START_TEST(long_lists_are_read_as_they_come)
{
	static const struct { void (*read)(struct rows *, void *); const char *sql; size_t n; bool ok; const char *says; } cases[] = {
		{read_number, MANY, 100000, true, ""},
		{read_number, "SELECT 1 WHERE false", 0, true, ""},
		{read_number, "SELECT CAST(100000 / (50000 - i) AS BIGINT) FROM generate_series(1, 100000) i", 49999, false, "division by zero"},
		{read_number, "SELECT nothing", 0, false, "nothing"},
		{read_a_few, MANY, 5, false, "does not know"},
		{read_and_ask, MANY, 1, false, "have not been read to their end"},
		{read_number, MANY, 100000, true, ""},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct row_list l;

		ck_assert_msg(list(cases[i].read, cases[i].sql, &l) == cases[i].ok, "%zu: %s", i, err.text);
		ck_assert_msg(strstr(err.text, cases[i].says) != NULL, "%zu: %s", i, err.text);
		ck_assert_uint_eq(l.n, cases[i].n);
		if (l.n == 100000)
			ck_assert_int_eq(((struct number *)l.v)[99999].n, 100000);
		free(l.v);
	}
}
END_TEST

START_TEST(nobody_but_the_owner_changes_tables)
{
	static const char *const deeds[] = {"ALTER TABLE enrollments ADD COLUMN x BIGINT", "DROP TABLE events", "TRUNCATE events", "CREATE TABLE enroll.mine (a int)",
		"CREATE INDEX ON enrollments (why)", "DROP TRIGGER flags_tell ON flags", "ALTER TABLE enrollments DISABLE TRIGGER ALL", "DROP SCHEMA enroll CASCADE",
		"CREATE OR REPLACE FUNCTION enroll.tell() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'", "GRANT SELECT ON user_keys TO PUBLIC",
		"UPDATE migrations SET version = 1", "SET ROLE enroll_owner", "CREATE FUNCTION enroll.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'"};

	for (size_t r = 0; r < 5; r++) {
		PGconn *c = as_role(roles[r]);

		for (size_t i = 0; i < sizeof(deeds) / sizeof(deeds[0]); i++) {
			char state[6];

			attempt(c, deeds[i], state);
			/* The admin role may write every row, as the keeper of the store. */
			if (strcmp(roles[r], "admin") == 0 && strncmp(deeds[i], "UPDATE", 6) == 0)
				continue;
			/* A GRANT without the right to is a warning that nothing was granted, where one has any right, else an error. */
			if (strncmp(deeds[i], "GRANT", 5) == 0 && state[0] == '\0') {
				ck_assert_int_eq(postgresql_poke(f.database, "SELECT COUNT(*) FROM information_schema.table_privileges WHERE grantee = 'PUBLIC'"
					" AND table_schema = 'enroll'", false), 0);
				continue;
			}
			ck_assert_msg(strcmp(state, "42501") == 0, "%s: %s: %s", roles[r], deeds[i], state[0] ? state : "it may");
		}
		PQfinish(c);
	}
}
END_TEST

/* Every column of every table: the server's answer is that of the table in store/grants.c. */
static void compare_grants(void)
{
	static const char *const words[] = {"SELECT", "INSERT", "UPDATE"};
	PGconn *c = postgresql_connect(f.database);
	PGresult *columns = PQexec(c, "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'enroll'");

	ck_assert_int_gt(PQntuples(columns), 150);
	for (int i = 0; i < PQntuples(columns); i++)
		for (int r = 0; r < 5; r++) {
			const char *table = PQgetvalue(columns, i, 0), *column = PQgetvalue(columns, i, 1);
			char sql[500];

			if (r == STORE_ROLE_ADMIN)
				continue;
			for (int a = 0; a < 3; a++) {
				snprintf(sql, sizeof(sql), "SELECT has_column_privilege('enroll_%s', 'enroll.%s', '%s', '%s')::int", roles[r], table, column, words[a]);
				ck_assert_msg((postgresql_run(c, sql) != 0) == grant_allows(r, (enum grant_action)a, table, column), "%s: %s of %s.%s", roles[r], words[a],
					table, column);
			}
			snprintf(sql, sizeof(sql), "SELECT has_table_privilege('enroll_%s', 'enroll.%s', 'DELETE')::int", roles[r], table);
			ck_assert_msg((postgresql_run(c, sql) != 0) == grant_allows(r, GRANT_DELETE, table, NULL), "%s: DELETE of %s", roles[r], table);
		}
	PQclear(columns);
	PQfinish(c);
}

START_TEST(what_was_granted_is_the_table_of_grants)
{
	compare_grants();
}
END_TEST

/* What somebody granted by hand, or an older version did, is taken back. */
START_TEST(an_upgrade_grants_anew)
{
	postgresql_run_in(f.database, "GRANT ALL ON enroll.user_keys TO enroll_inbound; GRANT SELECT (wrapped) ON enroll.user_keys TO enroll_enrolld;"
				      " REVOKE ALL ON enroll.challenges FROM enroll_inbound");
	OK(store_upgrade(&f.settings, &err));
	compare_grants();
}
END_TEST

/* ---- the same in both engines ------------------------------------------------------------------------------------ */

static char *lines_of(const char *database, const char *sql)
{
	PGconn *c = postgresql_connect(database);
	PGresult *r;
	struct buf out = BUF_INIT;

	postgresql_run(c, "SET search_path = enroll, pg_catalog");
	r = PQexec(c, sql);
	ck_assert_msg(PQresultStatus(r) == PGRES_TUPLES_OK, "%s", PQerrorMessage(c));
	for (int i = 0; i < PQntuples(r); i++)
		buf_printf(&out, "%s\n", PQgetvalue(r, i, 0));
	PQclear(r);
	PQfinish(c);
	return buf_take(&out);
}

static char *lines_of_sqlite(const char *path, const char *sql)
{
	struct buf out = BUF_INIT;
	sqlite3 *h;
	sqlite3_stmt *s;

	ck_assert_int_eq(sqlite3_open(path, &h), SQLITE_OK);
	ck_assert_msg(sqlite3_prepare_v2(h, sql, -1, &s, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(h));
	while (sqlite3_step(s) == SQLITE_ROW)
		buf_printf(&out, "%s\n", (const char *)sqlite3_column_text(s, 0));
	sqlite3_finalize(s);
	sqlite3_close(h);
	return buf_take(&out);
}

static const struct { const char *what, *sqlite, *postgresql; } facts[] = {
	{"columns",
		"SELECT m.name || '.' || c.name || ' ' || c.type || CASE WHEN c.\"notnull\" <> 0 OR c.pk > 0 THEN ' NOT NULL' ELSE '' END || COALESCE(' DEFAULT ' || c.dflt_value, '')"
		" FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' ORDER BY 1",
		"SELECT table_name || '.' || column_name || ' ' || CASE data_type WHEN 'bigint' THEN 'INTEGER' WHEN 'bytea' THEN 'BLOB' ELSE upper(data_type) END"
		" || CASE is_nullable WHEN 'NO' THEN ' NOT NULL' ELSE '' END || COALESCE(' DEFAULT ' || regexp_replace(column_default, '::[a-z ]+$', ''), '') COLLATE \"C\""
		" FROM information_schema.columns WHERE table_schema = 'enroll' ORDER BY 1"},
	{"indexes",
		"SELECT i.name || ' ' || m.name || CASE WHEN i.\"unique\" THEN ' unique' ELSE '' END || CASE WHEN i.partial THEN ' partial' ELSE '' END || ' ' ||"
		" (SELECT group_concat(COALESCE(k.name, '-'), ',') FROM (SELECT * FROM pragma_index_info(i.name) ORDER BY seqno) k)"
		" FROM sqlite_master m JOIN pragma_index_list(m.name) i WHERE m.type = 'table' AND i.origin = 'c' ORDER BY 1",
		"SELECT c.relname || ' ' || t.relname || CASE WHEN i.indisunique THEN ' unique' ELSE '' END || CASE WHEN i.indpred IS NOT NULL THEN ' partial' ELSE '' END"
		" || ' ' || (SELECT string_agg(COALESCE(a.attname, '-'), ',' ORDER BY k.n) FROM unnest(i.indkey) WITH ORDINALITY k (attnum, n) LEFT JOIN pg_attribute a"
		" ON a.attrelid = t.oid AND a.attnum = k.attnum AND k.attnum > 0) COLLATE \"C\""
		" FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace"
		" WHERE n.nspname = 'enroll' AND NOT EXISTS (SELECT 1 FROM pg_constraint x WHERE x.conindid = i.indexrelid AND x.contype IN ('p', 'u')) ORDER BY 1"},
	{"keys",
		"SELECT * FROM (SELECT m.name || ' primary ' || (SELECT group_concat(k.name, ',') FROM (SELECT * FROM pragma_table_info(m.name) WHERE pk > 0 ORDER BY pk) k)"
		" FROM sqlite_master m WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' UNION ALL SELECT m.name || ' unique ' || (SELECT group_concat(k.name, ',')"
		" FROM (SELECT * FROM pragma_index_info(i.name) ORDER BY seqno) k) FROM sqlite_master m JOIN pragma_index_list(m.name) i WHERE i.origin = 'u'"
		" UNION ALL SELECT m.name || '.' || k.\"from\" || ' of ' || k.\"table\" || '.' || k.\"to\" FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) k"
		" WHERE m.type = 'table') ORDER BY 1",
		"SELECT line COLLATE \"C\" FROM (SELECT t.relname || CASE x.contype WHEN 'p' THEN ' primary ' ELSE ' unique ' END || (SELECT string_agg(a.attname, ',' ORDER BY k.n)"
		" FROM unnest(x.conkey) WITH ORDINALITY k (attnum, n) JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum) AS line"
		" FROM pg_constraint x JOIN pg_class t ON t.oid = x.conrelid JOIN pg_namespace n ON n.oid = x.connamespace WHERE n.nspname = 'enroll' AND x.contype IN ('p', 'u')"
		" UNION ALL SELECT t.relname || '.' || a.attname || ' of ' || o.relname || '.' || b.attname FROM pg_constraint x JOIN pg_class t ON t.oid = x.conrelid"
		" JOIN pg_class o ON o.oid = x.confrelid JOIN pg_namespace n ON n.oid = x.connamespace JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = x.conkey[1]"
		" JOIN pg_attribute b ON b.attrelid = o.oid AND b.attnum = x.confkey[1] WHERE n.nspname = 'enroll' AND x.contype = 'f') l ORDER BY 1"},
};

START_TEST(tables_columns_and_indexes_are_those_of_sqlite)
{
	struct store_settings s;
	char path[300];
	char *here, *there;

	store_settings_init(&s);
	snprintf(path, sizeof(path), "%s/other/store.db", f.dir);
	free(s.path);
	free(s.group);
	s.path = strdup(path);
	s.group = strdup("");
	OK(store_create(&s, &err));
	here = lines_of_sqlite(path, facts[_i].sqlite);
	there = lines_of(f.database, facts[_i].postgresql);
	ck_assert_uint_gt(strlen(here), 500);
	ck_assert_str_eq(here, there);
	free(here);
	free(there);
	store_settings_clear(&s);
}
END_TEST

/* ---- the database ------------------------------------------------------------------------------------------------ */

/* Addresses and texts are UTF-8: elsewhere a stranger's mail could not be stored. */
START_TEST(a_database_of_another_encoding_is_refused)
{
	struct store_settings s;

	postgresql_run_in("postgres", "DROP DATABASE IF EXISTS other_encoding");
	postgresql_run_in("postgres", "CREATE DATABASE other_encoding OWNER enroll_owner ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0");
	store_settings_init(&s);
	free(s.type);
	s.type = strdup("postgresql");
	s.connection = postgresql_connection("other_encoding");
	ck_assert(!store_create(&s, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_msg(strstr(err.text, "UTF8") != NULL, "%s", err.text);
	store_settings_clear(&s);
	postgresql_drop("other_encoding");
}
END_TEST

/* ---- an older schema --------------------------------------------------------------------------------------------- */

/* Version 8 brought what enrolld alone uses, and each step may bring such. */
static void as_it_was_in_version_7(void)
{
	teardown_handles();
	postgresql_run_in(f.database, "DROP TABLE enroll.turns; UPDATE enroll.meta SET value = '7' WHERE name = 'schema_version'; DELETE FROM enroll.migrations WHERE version > 7");
}

/* Packages are upgraded at night, tables when the admin comes. */
START_TEST(milters_work_before_the_tables_are_upgraded)
{
	int64_t id;

	as_it_was_in_version_7();
	outbound = store_fixture_open(&f, STORE_ROLE_OUTBOUND);
	inbound = store_fixture_open(&f, STORE_ROLE_INBOUND);
	id = request("alice@corp.example");
	ck_assert(store_open(&f.settings, STORE_ROLE_ENROLLD, &err) == NULL);
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	ck_assert_msg(strstr(err.text, "enrollctl store upgrade") != NULL, "%s", err.text);
	ck_assert(store_open(&f.settings, STORE_ROLE_ADMIN, &err) == NULL);
	ck_assert_int_eq(err.class, ERR_CONFIG);
	OK(store_upgrade(&f.settings, &err));
	ck_assert_int_ge(store_change_counter(outbound), 0);
	enrolld = store_fixture_open(&f, STORE_ROLE_ENROLLD);
	ck_assert_int_eq(state_of(id), ENROLLMENT_REQUESTED);
	ck_assert_int_gt(request("bob@corp.example"), id);
}
END_TEST

/* ---- clocks ------------------------------------------------------------------------------------------------------- */

/* Found before the server's own, which is right: what our programs ask for is then so far off. */
static void put_clock(const char *by)
{
	char sql[300];

	snprintf(sql, sizeof(sql), "CREATE OR REPLACE FUNCTION enroll.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS"
		" $$SELECT pg_catalog.clock_timestamp() + interval '%s'$$; GRANT EXECUTE ON FUNCTION enroll.clock_timestamp() TO PUBLIC", by);
	postgresql_run_in(f.database, sql);
}

static bool becomes(struct store *store, bool connected)
{
	for (int i = 0; i < 3000 && (store_change_counter(store) >= 0) != connected; i++)
		usleep(10000);
	return (store_change_counter(store) >= 0) == connected;
}

START_TEST(enrolld_waits_while_its_clock_is_wrong)
{
	static const struct { const char *by, *words; } cases[] = {{"90 seconds", "behind"}, {"-90 seconds", "ahead of"}};
	struct store_turn t;

	for (size_t i = 0; i < 2; i++) {
		put_clock(cases[i].by);
		ck_assert(becomes(enrolld, false));
		ck_assert(!store_turn_get(enrolld, "x", &t, &err));
		ck_assert_int_eq(err.class, ERR_TEMPORARY);
		ck_assert_msg(strstr(err.text, "clock") && strstr(err.text, cases[i].words), "%s", err.text);
		ck_assert_int_ge(store_change_counter(outbound), 0);
		ck_assert(store_open(&f.settings, STORE_ROLE_ENROLLD, &err) == NULL);
		put_clock("8 seconds");
		ck_assert(becomes(enrolld, true));
	}
	f.settings.clock_tolerance = 0;
	store_close(enrolld);
	put_clock("1 year");
	enrolld = store_fixture_open(&f, STORE_ROLE_ENROLLD);
	ck_assert_int_ge(store_change_counter(enrolld), 0);
}
END_TEST

static bool advised(const char *words)
{
	struct strlist l = {0};
	bool found = false;

	OK(store_advice(enrolld, &l, &err));
	for (size_t i = 0; i < l.n; i++)
		found = found || strstr(l.v[i], words) != NULL;
	strlist_clear(&l);
	return found;
}

START_TEST(an_admin_is_told_of_what_is_set_up_badly)
{
	char sql[400];

	snprintf(sql, sizeof(sql), "REVOKE CONNECT ON DATABASE %s FROM PUBLIC; GRANT CONNECT ON DATABASE %s TO enroll_enrolld", f.database, f.database);
	ck_assert(advised("REVOKE CONNECT"));
	postgresql_run_in("postgres", sql);
	ck_assert(!advised("REVOKE CONNECT"));
	ck_assert(!advised("clock"));
	put_clock("9 seconds");
	ck_assert(advised("9 seconds behind") || advised("8 seconds behind"));
}
END_TEST

/* ---- waiting ------------------------------------------------------------------------------------------------------ */

#define BUSY_MS 400

static void ask_in_vain(int times)
{
	struct awaited a;

	for (int i = 0; i < times; i++) {
		ck_assert(!store_challenge_awaited(inbound, "alice@corp.example", &a, &err));
		ck_assert_int_eq(err.class, ERR_TEMPORARY);
	}
}

/* Somebody alters the table by hand: each question waits for him. */
START_TEST(the_questions_of_a_mail_wait_together_as_long_as_one)
{
	PGconn *c = postgresql_connect(f.database);
	struct awaited a;
	int64_t began;

	f.settings.busy_ms = BUSY_MS;
	store_close(inbound);
	inbound = store_fixture_open(&f, STORE_ROLE_INBOUND);
	postgresql_run(c, "BEGIN; LOCK TABLE enroll.enrollments IN ACCESS EXCLUSIVE MODE");
	began = mono_ms();
	store_patience_begin();
	ask_in_vain(40);
	ck_assert_int_lt(mono_ms() - began, 40 * BUSY_MS / 4);
	ck_assert_msg(strstr(err.text, "all the time that a mail waits") != NULL, "%s", err.text);
	store_patience_end();
	began = mono_ms();
	ask_in_vain(3);
	ck_assert_int_ge(mono_ms() - began, 3 * BUSY_MS);
	PQfinish(c);
	store_patience_begin();
	OK(store_challenge_awaited(inbound, "alice@corp.example", &a, &err));
	store_patience_end();
	awaited_clear(&a);
}
END_TEST

/* Then nobody waits, but who need not wait works. */
START_TEST(without_patience_it_works_as_long_as_nobody_is_in_the_way)
{
	f.settings.busy_ms = 0;
	store_close(outbound);
	outbound = store_fixture_open(&f, STORE_ROLE_OUTBOUND);
	request("alice@corp.example");
}
END_TEST

START_TEST(who_keeps_writers_out_is_named)
{
	PGconn *c = postgresql_connect_as("enrolld", f.database);
	bool created;

	f.settings.busy_ms = BUSY_MS;
	store_close(outbound);
	outbound = store_fixture_open(&f, STORE_ROLE_OUTBOUND);
	PQclear(PQexec(c, "SET application_name = 'a tool of somebody'; BEGIN; SELECT pg_advisory_xact_lock(" PG_LOCK_WRITE ")"));
	ck_assert(!store_enrollment_request(outbound, "alice@corp.example", "mailbox-strict", "sign", "alice", &created, &(int64_t){0}, &err));
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	ck_assert_msg(strstr(err.text, "it is a tool of somebody of role enroll_enrolld, process ") != NULL, "%s", err.text);
	PQfinish(c);
	request("alice@corp.example");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_postgresql");
	TCase *tc = tcase_create("store_postgresql");

	if (!store_on_postgresql()) {
		printf("left out: no PostgreSQL (tests/postgresql.py run starts one)\n");
		return 77;
	}
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_role_may_do_its_work_and_no_more);
	tcase_add_test(tc, nobody_but_the_owner_changes_tables);
	tcase_add_test(tc, long_lists_are_read_as_they_come);
	tcase_add_test(tc, what_was_granted_is_the_table_of_grants);
	tcase_add_test(tc, an_upgrade_grants_anew);
	tcase_add_loop_test(tc, tables_columns_and_indexes_are_those_of_sqlite, 0, 3);
	tcase_add_test(tc, a_database_of_another_encoding_is_refused);
	tcase_add_test(tc, milters_work_before_the_tables_are_upgraded);
	tcase_add_test(tc, enrolld_waits_while_its_clock_is_wrong);
	tcase_add_test(tc, an_admin_is_told_of_what_is_set_up_badly);
	tcase_add_test(tc, the_questions_of_a_mail_wait_together_as_long_as_one);
	tcase_add_test(tc, without_patience_it_works_as_long_as_nobody_is_in_the_way);
	tcase_add_test(tc, who_keeps_writers_out_is_named);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
#else
int main(void)
{
	printf("left out: this is built without libpq\n");
	return 77;
}
#endif
