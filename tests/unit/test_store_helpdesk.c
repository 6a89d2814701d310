/*
 * tests/unit/test_store_helpdesk.c - the help desk's functions in PostgreSQL: they leave behind what the calls of store.h leave, and nobody gets more by
 * them than they are for.  `python3 tests/postgresql.py run -- build/tests/unit/test_store_helpdesk`
 */
#include "config.h"

#include "tests/unit/test_store.h"

#ifdef HAVE_POSTGRESQL
#include "store/postgresql.h"

#define ACTOR "helpdesk:enroll_helpdesk"

static PGconn *super, *desk;

static void start(void)
{
	setup();
	super = postgresql_connect(f.database);
	postgresql_run(super, "SET search_path = enroll, pg_catalog");
	desk = postgresql_connect_as("helpdesk", f.database);
}

static void end(void)
{
	PQfinish(desk);
	PQfinish(super);
	teardown();
}

/* The first column of the first row; after an error its SQLSTATE, a blank and the message. */
static char *say_as(PGconn *c, const char *sql)
{
	PGresult *r = PQexec(c, sql);
	const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
	char *out = NULL;

	if (asprintf(&out, "%s%s%s", state ? state : "", state ? " " : "", state ? PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) : PQntuples(r) > 0 ? PQgetvalue(r, 0, 0) : "") < 0)
		abort();
	PQclear(r);
	return out;
}

static void expect_as(PGconn *c, const char *sql, const char *begins)
{
	char *said = say_as(c, sql);

	ck_assert_msg(strncmp(said, begins, strlen(begins)) == 0, "%s: %s", sql, said);
	free(said);
}

#define EXPECT(sql, begins) expect_as(desk, sql, begins)

/* ---- twins ---------------------------------------------------------------------------------------------------------- */

enum deed { RETRY, RENEW, DEEDS };

/* All that a person can have: %1$s who, %2$d thousands, %3$s state, %4$s resume, %5$s lease, %6$d disabled, %7$s a letter. */
static const char person[] =
	"INSERT INTO enrollments (id, address, address_key, addresses, profile, usage, ca, state, resume, state_since, next_at, wake, version, lease_owner,"
	" lease_until, intent, attempts, orders, abandoned, why_class, why, activity, requested_by, requested_at, disabled, ca_state, ordered_at, challenge_from,"
	" challenge_address, trigger_at, answered_at, csr, why_subject, why_type, why_status, why_at, planned_at, retry_at, rule, entry, companion_of)"
	" SELECT %2$d000 + n, '%1$s@corp.example', '%1$s@corp.example', '%1$s@corp.example', 'mailbox-strict', CASE n WHEN 1 THEN 'sign' ELSE 'encrypt' END, 'ca',"
	" '%3$s', '%4$s', 1000000, 2000000000, 1, 7, %5$s, 'newOrder', 3, 4, 1, 'ca', 'no', 'asking', 'x', 1000001, %6$d, '{}', 1000002, 'ca@ca.example',"
	" '%1$s@corp.example', 1000003, 1000004, '\\x00', 'https://ca', 'unauthorized', 403, 1000005, 1000006, 1000007, 'r', 'e',"
	" CASE n WHEN 1 THEN NULL ELSE %2$d001 END FROM generate_series(1, 2) n;"
	"INSERT INTO enrollment_addresses (enrollment_id, address_key) SELECT %2$d000 + n, '%1$s@corp.example' FROM generate_series(1, 2) n;"
	"INSERT INTO user_keys (id, enrollment_id, wrapped, spki_sha256, created_at) VALUES (%2$d001, %2$d001, '\\x01', repeat('%7$s', 64), 1000000);"
	"INSERT INTO certificates (id, enrollment_id, key_id, der, serial, issuer, fingerprint, addresses, not_before, not_after, status, in_directory, directory_next_at,"
	" created_at) SELECT %2$d000 + n, %2$d001, %2$d001, '\\x02', '0' || n, 'CN=CA', 'f', '%1$s@corp.example', 1000000, 2000000000,"
	" CASE n WHEN 1 THEN 'active' ELSE 'revoked' END, 1, CASE n WHEN 1 THEN 0 ELSE 2000000000 END, 1000000 FROM generate_series(1, 2) n;"
	"UPDATE enrollments SET key_id = %2$d001, certificate_id = %2$d002 WHERE id = %2$d001;"
	"INSERT INTO orders (id, enrollment_id, ca, opened_at, closed_at, outcome) VALUES (%2$d001, %2$d001, 'ca', 1000000, 0, NULL),"
	" (%2$d002, %2$d001, 'ca', 1000000, 1000001, 'finalized');"
	"INSERT INTO challenges (id, enrollment_id, token_part1, message_id, sender, date, received_at) VALUES (%2$d001, %2$d001, 't', 'm', 's', 1, 1);"
	"INSERT INTO revocations (id, certificate_id, ca, reason, requested_at) VALUES (%2$d001, %2$d002, 'ca', 'superseded', 1000000);"
	"INSERT INTO revocation_parts (id, revocation_id, part, next_at, attempts) VALUES (%2$d001, %2$d001, 'ca', 2000000000, 2), (%2$d002, %2$d001, 'directory', 2000000000, 0);"
	"INSERT INTO events (enrollment_id, at, name, actor, address, text, state, class) VALUES (%2$d001, 1000000, 'disabled', '" ACTOR "', '%1$s@corp.example', 'x',"
	" '%3$s', 'none');";

/* Everything of that person, column by column, without what cannot be the same. */
static const char everything[] =
	"WITH ids AS (SELECT id FROM enrollments WHERE id / 1000 = %1$d), rows AS ("
	" SELECT 'enrollments' AS t, id, to_jsonb(x) AS j FROM enrollments x WHERE id IN (SELECT id FROM ids)"
	" UNION ALL SELECT 'addresses', enrollment_id, to_jsonb(x) FROM enrollment_addresses x WHERE enrollment_id IN (SELECT id FROM ids)"
	" UNION ALL SELECT 'keys', id, to_jsonb(x) FROM user_keys x WHERE enrollment_id IN (SELECT id FROM ids)"
	" UNION ALL SELECT 'certificates', id, to_jsonb(x) FROM certificates x WHERE enrollment_id IN (SELECT id FROM ids)"
	" UNION ALL SELECT 'orders', id, to_jsonb(x) FROM orders x WHERE enrollment_id IN (SELECT id FROM ids)"
	" UNION ALL SELECT 'challenges', id, to_jsonb(x) FROM challenges x WHERE enrollment_id IN (SELECT id FROM ids)"
	" UNION ALL SELECT 'revocations', id, to_jsonb(x) FROM revocations x WHERE id / 1000 = %1$d"
	" UNION ALL SELECT 'parts', id, to_jsonb(x) FROM revocation_parts x WHERE revocation_id / 1000 = %1$d"
	" UNION ALL SELECT 'events', id, to_jsonb(x) - 'id' FROM events x WHERE enrollment_id IN (SELECT id FROM ids))"
	" SELECT string_agg(format('%%s.%%s=%%s', t, k, CASE WHEN (k LIKE '%%id' OR k = 'companion_of') AND v ~ '^[0-9]{4}$' THEN (v::bigint %% 1000)::text"
	"  WHEN v ~ '^[0-9]{10,}$' AND abs(v::bigint - extract(epoch FROM clock_timestamp())) < 100 THEN 'now'"
	"  ELSE replace(replace(v, 'robert', 'alice'), repeat('b', 64), repeat('a', 64)) END), E'\\n' ORDER BY t, id, k)"
	" FROM rows, jsonb_each_text(j) AS e(k, v)";
/* And of everybody else. */
static const char others[] = "SELECT concat((SELECT string_agg(to_jsonb(x)::text, ',') FROM meta x), (SELECT string_agg(to_jsonb(x)::text, ',') FROM flags x),"
			     " (SELECT count(*) FROM mail_events), (SELECT count(*) FROM reports), (SELECT count(*) FROM turns), (SELECT count(*) FROM limits), (SELECT count(*)"
			     " FROM renewals), (SELECT count(*) FROM campaigns), (SELECT count(*) FROM departures_held), (SELECT count(*) FROM directory_saved),"
			     " (SELECT string_agg(to_jsonb(x)::text, ',') FROM enrollments x WHERE id / 1000 = 3), (SELECT count(*) FROM events WHERE enrollment_id / 1000 = 3))";

static void make_person(const char *who, int thousands, const char *state, const char *resume, const char *lease, int disabled)
{
	char *sql = NULL;

	if (asprintf(&sql, person, who, thousands, state, resume, lease, disabled, thousands == 1 ? "a" : thousands == 2 ? "b" : "c") < 0)
		abort();
	postgresql_run(super, sql);
	free(sql);
}

static char *all_of(int thousands)
{
	char *sql = NULL, *out;

	if (asprintf(&sql, everything, thousands) < 0)
		abort();
	out = say_as(super, sql);
	free(sql);
	return out;
}

/* What was told since the last time, each channel once. */
static char *told(void)
{
	bool work = false, credentials = false, done = false;
	char *out = NULL;

	postgresql_run(super, "NOTIFY enroll_work, 'mark'");
	while (!done) {
		PGnotify *n;

		postgresql_run(super, "SELECT 1");
		while ((n = PQnotifies(super)) != NULL) {
			done = done || strcmp(n->extra, "mark") == 0;
			work = work || (strcmp(n->relname, PG_CHANNEL_WORK) == 0 && n->extra[0] == '\0');
			credentials = credentials || strcmp(n->relname, PG_CHANNEL_CREDENTIALS) == 0;
			PQfreemem(n);
		}
	}
	if (asprintf(&out, "%s %s", work ? "work" : "", credentials ? "credentials" : "") < 0)
		abort();
	return out;
}

static bool admin(int64_t id, enum enrollment_admin what, const char *text)
{
	bool changed;

	OK(store_enrollment_admin(enrolld, id, what, ACTOR, text, &changed, &err));
	return changed;
}

/* As enrolld does it when enrollctl asks. */
static bool by_calls(enum deed deed, int64_t id)
{
	struct enrollment beside = {0};
	bool found, changed, also = false;

	changed = admin(id, deed == RETRY ? ENROLLMENT_ADMIN_RETRY : ENROLLMENT_ADMIN_RENEW, deed == RETRY ? NULL : "rotate");
	OK(store_enrollment_companion(enrolld, id, &beside, &found, &err));
	if (found)
		changed = admin(beside.id, deed == RETRY ? ENROLLMENT_ADMIN_RETRY : ENROLLMENT_ADMIN_RENEW, deed == RETRY ? NULL : "rotate") || changed;
	enrollment_clear(&beside);
	if (deed == RENEW)
		return changed;
	OK(store_revocations_retry(enrolld, id, &also, &err));
	changed = changed || also;
	OK(store_directory_retry(enrolld, id, &also, &err));
	return changed || also;
}

static const struct { const char *sql, *changed; } by_sql[DEEDS] = {
	[RETRY] = {"SELECT enroll.helpdesk_retry('Robert@Corp.EXAMPLE')", "robert@corp.example: goes on now"},
	[RENEW] = {"SELECT enroll.helpdesk_renew('robert@corp.example')", "robert@corp.example: gets a new key"},
};

/* The first line in which they differ. */
static void expect_same(const char *here, const char *there, const char *about)
{
	size_t at = 0, same = 0;

	for (; here[same] != '\0' && here[same] == there[same]; same++)
		if (here[same] == '\n')
			at = same + 1;
	ck_assert_msg(here[same] == there[same], "%s: %.*s by the call, %.*s by SQL", about, (int)strcspn(here + at, "\n"), here + at,
		(int)strcspn(there + at, "\n"), there + at);
}

static void compare(enum deed deed, const char *state, const char *resume, const char *lease, int disabled)
{
	bool refused = deed == RENEW && (disabled || strcmp(state, "revoking") == 0), changed;
	char *before, *after, *said, *here, *there, *told_here, *told_there, about[200];

	/* Faster than TRUNCATE, in any order. */
	postgresql_run(super,
		"SET session_replication_role = replica; DELETE FROM enrollments; DELETE FROM enrollment_addresses; DELETE FROM user_keys; DELETE FROM certificates;"
		" DELETE FROM orders; DELETE FROM challenges; DELETE FROM revocations; DELETE FROM revocation_parts; DELETE FROM events; SET session_replication_role = origin");
	make_person("alice", 1, state, resume, lease, disabled);
	make_person("robert", 2, state, resume, lease, disabled);
	make_person("carol", 3, state, resume, lease, disabled);
	before = say_as(super, others);
	free(told());
	changed = !refused && by_calls(deed, 1001);
	told_here = told();
	said = say_as(desk, by_sql[deed].sql);
	told_there = told();
	ck_assert_msg(refused ? strncmp(said, "SM004 ", 6) == 0 : (strncmp(said, by_sql[deed].changed, strlen(by_sql[deed].changed)) == 0) == changed &&
		strncmp(said, "robert@corp.example: ", 21) == 0, "%s/%s: %s", state, resume, said);
	here = all_of(1);
	there = all_of(2);
	after = say_as(super, others);
	ck_assert_msg(strlen(here) > 3000, "%s", here);
	snprintf(about, sizeof(about), "deed %d, %s/%s, lease %s, disabled %d", deed, state, resume, lease, disabled);
	expect_same(here, there, about);
	ck_assert_str_eq(before, after);
	ck_assert_msg(strcmp(told_here, told_there) == 0, "deed %d, %s/%s: %s, not %s", deed, state, resume, told_there, told_here);
	free(before);
	free(after);
	free(said);
	free(here);
	free(there);
	free(told_here);
	free(told_there);
}

START_TEST(they_leave_what_the_calls_leave)
{
	static const char *const resumes[] = {"requested", "finalized"};
	static const char *const leases[] = {"NULL, 0", "'w', 2000000000", "'w', 1000008"};

	postgresql_run(super, "LISTEN enroll_work; LISTEN enroll_credentials");
	for (int state = 0; state < ENROLLMENT_STATES; state++)
		for (size_t r = 0; r < 2; r++)
			for (size_t l = 0; l < 3; l++)
				for (int disabled = 0; disabled < 2; disabled++)
					/* Resume and lease are nothing to the flag. */
					if ((r == 0 && l < 2) || !disabled)
						compare((enum deed)_i, enrollment_state_name((enum enrollment_state)state), resumes[r], leases[l], disabled);
}
END_TEST

/* ---- by whom ---------------------------------------------------------------------------------------------------------- */

static const char *const calls[] = {"SELECT enroll.helpdesk_retry('alice@corp.example')", "SELECT enroll.helpdesk_renew('alice@corp.example')",
	"SELECT address FROM enroll.helpdesk_explain('alice@corp.example')"};

START_TEST(a_help_desk_may_call_them_and_do_no_more)
{
	static const char *const denied[] = {"UPDATE enroll.enrollments SET next_at = 1", "UPDATE enroll.enrollments SET disabled = 0", "DELETE FROM enroll.enrollments",
		"INSERT INTO enroll.events (at, name, class) VALUES (1, 'x', 'none')", "SELECT wrapped FROM enroll.user_keys", "SELECT id FROM enroll.user_keys",
		"SELECT token_part1 FROM enroll.challenges", "SELECT csr FROM enroll.enrollments", "SELECT ca_state FROM enroll.enrollments",
		"SELECT id FROM enroll.enrollments FOR UPDATE", "SELECT enroll.helpdesk_find('alice@corp.example')", "SELECT enroll.helpdesk_begin('alice@corp.example')",
		"SELECT enroll.helpdesk_event(1001, 1, 'x', 'admin:root', 'none', 'x')", "SELECT enroll.helpdesk_retry_row(1001, 1, 'x', 'x')",
		"SELECT enroll.helpdesk_renew_row(1001, 1, 'x', 'x')", "SELECT enroll.helpdesk_retry_all(1001, 1, 'x')", "SELECT enroll.helpdesk_renew_all(1001, 1, 'x')",
		"SELECT enroll.helpdesk_note(1001)",
		"CREATE OR REPLACE FUNCTION enroll.helpdesk_note(bigint) RETURNS text LANGUAGE sql AS 'SELECT NULL::text'"};

	make_person("alice", 1, "active", "active", "NULL, 0", 0);
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		EXPECT(calls[i], "alice@corp.example");
	for (size_t i = 0; i < sizeof(denied) / sizeof(denied[0]); i++)
		EXPECT(denied[i], "42501");
	/* None of ours is for others, and each has the path that it needs. */
	ck_assert_int_eq(postgresql_run(super, "SELECT count(*) FROM pg_proc p WHERE pronamespace = 'enroll'::regnamespace AND proname LIKE 'helpdesk%' AND (NOT prosecdef"
					       " OR proconfig IS NULL OR NOT 'search_path=enroll, pg_catalog, pg_temp' = ANY (proconfig) OR proowner <> 'enroll_owner'::regrole"
					       " OR has_function_privilege('enroll_inbound', oid, 'EXECUTE'))"), 0);
	ck_assert_int_eq(postgresql_run(super, "SELECT count(*) FROM pg_proc p WHERE pronamespace = 'enroll'::regnamespace AND proname LIKE 'helpdesk%'"
					       " AND has_function_privilege('enroll_helpdesk', oid, 'EXECUTE')"), 3);
}
END_TEST

START_TEST(nobody_else_may_call_them)
{
	static const char *const roles[] = {"enroll_outbound", "enroll_inbound", "enroll_enrolld", "enroll_admin", "test_stranger"};
	char sql[100];

	make_person("alice", 1, "active", "active", "NULL, 0", 0);
	postgresql_run(super, "DROP ROLE IF EXISTS test_stranger; CREATE ROLE test_stranger; GRANT USAGE ON SCHEMA enroll TO test_stranger");
	for (size_t r = 0; r < 5; r++) {
		snprintf(sql, sizeof(sql), "SET ROLE %s", roles[r]);
		postgresql_run(super, sql);
		for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
			expect_as(super, calls[i], "42501");
		postgresql_run(super, "RESET ROLE");
	}
	postgresql_run(super, "REVOKE ALL ON SCHEMA enroll FROM test_stranger; DROP ROLE test_stranger");
}
END_TEST

/* Somebody with a login of their own who is of the help desk; the event has their name. */
START_TEST(the_event_says_who_it_was)
{
	make_person("alice", 1, "active", "active", "NULL, 0", 0);
	postgresql_run(super, "DROP ROLE IF EXISTS test_anna; CREATE ROLE test_anna IN ROLE enroll_helpdesk; SET SESSION AUTHORIZATION test_anna");
	expect_as(super, "SELECT enroll.helpdesk_renew('alice@corp.example')", "alice@corp.example: gets a new key");
	postgresql_run(super, "RESET SESSION AUTHORIZATION; DROP ROLE test_anna");
	expect_as(super, "SELECT actor || ' ' || name FROM events ORDER BY id DESC LIMIT 1", "helpdesk:test_anna renew");
}
END_TEST

START_TEST(what_is_the_callers_own_is_not_taken_for_ours)
{
	make_person("alice", 1, "failed", "requested", "NULL, 0", 0);
	postgresql_run(desk,
		"CREATE TEMP TABLE enrollments AS SELECT 1001::bigint AS id, 'mallory@corp.example'::text AS address, 'mallory@corp.example'::text AS address_key,"
		" 'failed'::text AS state, 'requested'::text AS resume, NULL::bigint AS companion_of;"
		"CREATE TEMP TABLE enrollment_addresses AS SELECT 1001::bigint AS enrollment_id, 'alice@corp.example'::text AS address_key;"
		"CREATE TEMP TABLE events (enrollment_id bigint, at bigint, name text, actor text, class text, text text, address text, state text);"
		"CREATE TEMP TABLE meta AS SELECT 'moved'::text AS name, 'x 1 nowhere'::text AS value;"
		"CREATE FUNCTION pg_temp.now() RETURNS timestamptz LANGUAGE sql AS $$SELECT 'epoch'::timestamptz$$;"
		"CREATE FUNCTION pg_temp.lower(text) RETURNS text LANGUAGE sql AS $$SELECT 'mallory@corp.example'$$;"
		"CREATE FUNCTION pg_temp.helpdesk_begin(text) RETURNS bigint LANGUAGE sql AS $$SELECT 1002$$;"
		"SET search_path = pg_temp, pg_catalog, enroll; SET standard_conforming_strings = off; SET transform_null_equals = on");
	EXPECT("SELECT enroll.helpdesk_retry('alice@corp.example')", "alice@corp.example: goes on now");
	EXPECT("SELECT address || ' ' || state FROM enroll.helpdesk_explain('alice@corp.example')", "alice@corp.example requested");
	EXPECT("SELECT state FROM pg_temp.enrollments", "failed");
	EXPECT("SELECT count(*) FROM pg_temp.events", "0");
	expect_as(super, "SELECT state || ' ' || (state_since > 1000000) FROM enrollments WHERE id = 1001", "requested true");
	expect_as(super, "SELECT name || ' ' || actor FROM events WHERE enrollment_id = 1001 ORDER BY id DESC LIMIT 1", "retry " ACTOR);
}
END_TEST

/* What somebody granted or replaced by hand is as it was after an upgrade, and who is connected calls on. */
START_TEST(an_upgrade_makes_them_anew)
{
	make_person("alice", 1, "failed", "requested", "NULL, 0", 0);
	EXPECT(calls[2], "alice@corp.example");
	postgresql_run(super, "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA enroll TO PUBLIC, enroll_inbound, enroll_helpdesk;"
			      "CREATE OR REPLACE FUNCTION enroll.helpdesk_retry(address text) RETURNS text LANGUAGE sql AS 'SELECT ''mine'''");
	EXPECT(calls[0], "mine");
	OK(store_upgrade(&f.settings, &err));
	EXPECT(calls[0], "alice@corp.example: goes on now");
	EXPECT("SELECT enroll.helpdesk_note(1001)", "42501");
	ck_assert_int_eq(postgresql_run(super, "SELECT count(*) FROM pg_proc p WHERE pronamespace = 'enroll'::regnamespace AND proname LIKE 'helpdesk%'"
					       " AND has_function_privilege('enroll_inbound', oid, 'EXECUTE')"), 0);
}
END_TEST

/* ---- what they say ------------------------------------------------------------------------------------------------------ */

START_TEST(what_is_not_done_is_said)
{
	make_person("alice", 1, "active", "active", "NULL, 0", 0);
	make_person("robert", 2, "active", "active", "NULL, 0", 0);
	postgresql_run(super, "INSERT INTO enrollment_addresses (enrollment_id, address_key) VALUES (1001, 'sales@corp.example'), (2001, 'sales@corp.example'), (2001, 'alice@corp.example')");
	EXPECT("SELECT enroll.helpdesk_retry('nobody@corp.example')", "SM001 no enrollment for nobody@corp.example yet");
	EXPECT("SELECT enroll.helpdesk_explain('nobody@corp.example')", "SM001 no enrollment");
	EXPECT("SELECT enroll.helpdesk_retry('alice')", "SM001 an address is needed");
	EXPECT("SELECT enroll.helpdesk_retry(NULL)", "SM001 an address is needed");
	EXPECT("SELECT enroll.helpdesk_retry('sales@corp.example')", "SM002 sales@corp.example is an address of several people: say which by their first address: "
								     "alice@corp.example, robert@corp.example");
	/* Whose first one it is, is meant. */
	EXPECT("SELECT enroll.helpdesk_renew('ALICE@corp.example')", "alice@corp.example: gets a new key");
	EXPECT("SELECT enroll.helpdesk_renew('alice@corp.example')", "alice@corp.example: nothing to renew, its enrollment is renewing");
	postgresql_run(super, "UPDATE enrollments SET lease_owner = 'w', lease_until = 2000000000 WHERE id = 2001; UPDATE enrollments SET state = 'expired' WHERE id = 2002");
	EXPECT("SELECT enroll.helpdesk_renew('robert@corp.example')", "robert@corp.example: enrolld works on it at this moment; nothing was done");
	postgresql_run(super, "UPDATE enrollments SET disabled = 1 WHERE id = 2001");
	EXPECT("SELECT enroll.helpdesk_renew('robert@corp.example')", "SM004 robert@corp.example: its enrollment is disabled");
	postgresql_run(super, "UPDATE enrollments SET disabled = 0, gone_since = 5, gone_why = 'gone' WHERE id = 2001");
	EXPECT("SELECT enroll.helpdesk_renew('robert@corp.example')", "SM004 robert@corp.example: this person left");
}
END_TEST

/* Against a SELECT over the table of people. */
START_TEST(one_transaction_is_about_one_person)
{
	make_person("alice", 1, "failed", "requested", "NULL, 0", 0);
	make_person("robert", 2, "failed", "requested", "NULL, 0", 0);
	EXPECT("SELECT enroll.helpdesk_retry(address) FROM enroll.enrollments", "SM007 one person in one transaction");
	expect_as(super, "SELECT count(*) FROM enrollments WHERE state = 'failed'", "4");
	EXPECT("SELECT enroll.helpdesk_retry('alice@corp.example') || enroll.helpdesk_renew('ALICE@corp.example')", "alice@corp.example: goes on now");
	EXPECT("SELECT enroll.helpdesk_retry('robert@corp.example')", "robert@corp.example: goes on now");
}
END_TEST

START_TEST(what_explain_tells)
{
	make_person("alice", 1, "waiting", "ordered", "NULL, 0", 0);
	postgresql_run(super, "UPDATE enrollments SET state = 'expired' WHERE id = 1002");
	postgresql_run(desk, "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'");
	EXPECT("SELECT string_agg(concat_ws('|', usage, state, since, disabled, left_since, why_class, why, about, next_step, goes_on_in, serial, certificate_status, not_after), ';')"
	       " FROM enroll.helpdesk_explain('alice@corp.example')",
		"sign|waiting|1970-01-12 13:46:40+00|f|ca|no|https://ca|2033-05-18 03:33:20+00|ordered|01|active|2033-05-18 03:33:20+00;"
		"encrypt|expired|1970-01-12 13:46:40+00|f|ca|no|https://ca|2033-05-18 03:33:20+00");
}
END_TEST

START_TEST(a_store_that_is_none_is_left_alone)
{
	static const struct { const char *mark, *begins; } marks[] = {
		{"moved", "SM003 this store was moved to postgresql://db2/new place"}, {"copying", "SM003 this is a copy of postgresql://db2/new place"}};

	make_person("alice", 1, "failed", "requested", "NULL, 0", 0);
	for (size_t i = 0; i < 2; i++) {
		char sql[200];

		snprintf(sql, sizeof(sql), "INSERT INTO meta (name, value) VALUES ('%s', 'abc 1700000000 postgresql://db2/new place')", marks[i].mark);
		postgresql_run(super, sql);
		for (size_t k = 0; k < sizeof(calls) / sizeof(calls[0]); k++)
			EXPECT(calls[k], marks[i].begins);
		postgresql_run(super, "DELETE FROM meta WHERE name IN ('moved', 'copying')");
	}
	EXPECT(calls[0], "alice@corp.example: goes on now");
}
END_TEST

/* ---- beside others ------------------------------------------------------------------------------------------------------ */

START_TEST(they_share_the_writers_lock_and_have_the_rows)
{
	make_person("alice", 1, "failed", "requested", "NULL, 0", 0);
	make_person("robert", 2, "failed", "requested", "NULL, 0", 0);
	postgresql_run(desk, "BEGIN");
	EXPECT(calls[0], "alice@corp.example: goes on now");
	ck_assert_int_eq(postgresql_run(super, "SELECT pg_try_advisory_xact_lock_shared(" PG_LOCK_WRITE ")::int"), 1);
	ck_assert_int_eq(postgresql_run(super, "SELECT pg_try_advisory_xact_lock(" PG_LOCK_WRITE ")::int"), 0);
	ck_assert_int_eq(postgresql_run(super, "SELECT count(*) FROM (SELECT id FROM enrollments FOR NO KEY UPDATE SKIP LOCKED) x"), 2);
	postgresql_run(desk, "COMMIT");
	ck_assert_int_eq(postgresql_run(super, "SELECT pg_try_advisory_xact_lock(" PG_LOCK_WRITE ")::int"), 1);
}
END_TEST

START_TEST(who_waits_too_long_is_told)
{
	PGconn *held = postgresql_connect(f.database);

	f.settings.busy_ms = 300;
	OK(store_upgrade(&f.settings, &err));
	make_person("alice", 1, "failed", "requested", "NULL, 0", 0);
	postgresql_run(held, "BEGIN; SELECT pg_advisory_xact_lock(" PG_LOCK_WRITE ")");
	EXPECT(calls[0], "SM005 the store is busy; nothing was done");
	postgresql_run(held, "ROLLBACK; BEGIN; UPDATE enroll.enrollments SET why = 'x' WHERE id = 1001");
	EXPECT(calls[0], "SM005 the store is busy; nothing was done");
	EXPECT(calls[2], "alice@corp.example");
	postgresql_run(held, "ROLLBACK");
	EXPECT(calls[0], "alice@corp.example: goes on now");
	PQfinish(held);
}
END_TEST

START_TEST(an_old_snapshot_is_refused)
{
	make_person("alice", 1, "failed", "requested", "NULL, 0", 0);
	postgresql_run(desk, "BEGIN ISOLATION LEVEL REPEATABLE READ");
	EXPECT(calls[0], "SM006 the transaction has to be READ COMMITTED");
	postgresql_run(desk, "ROLLBACK");
}
END_TEST

/* Everybody waits for who holds the writers' lock. */
START_TEST(who_leaves_it_open_is_cut_off)
{
	make_person("alice", 1, "failed", "requested", "NULL, 0", 0);
	postgresql_run(desk, "BEGIN");
	EXPECT(calls[0], "alice@corp.example: goes on now");
	for (int i = 0; i < 300 && postgresql_run(super, "SELECT pg_try_advisory_xact_lock(" PG_LOCK_WRITE ")::int") == 0; i++)
		usleep(100000);
	PQclear(PQexec(desk, "COMMIT"));
	ck_assert_int_eq(PQstatus(desk), CONNECTION_BAD);
	expect_as(super, "SELECT state FROM enrollments WHERE id = 1001", "failed");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_helpdesk");
	TCase *tc = tcase_create("store_helpdesk");

	if (!store_on_postgresql()) {
		printf("left out: no PostgreSQL (tests/postgresql.py run starts one)\n");
		return 77;
	}
	tcase_set_timeout(tc, 600);
	tcase_add_checked_fixture(tc, start, end);
	tcase_add_loop_test(tc, they_leave_what_the_calls_leave, 0, DEEDS);
	tcase_add_test(tc, a_help_desk_may_call_them_and_do_no_more);
	tcase_add_test(tc, nobody_else_may_call_them);
	tcase_add_test(tc, the_event_says_who_it_was);
	tcase_add_test(tc, what_is_the_callers_own_is_not_taken_for_ours);
	tcase_add_test(tc, an_upgrade_makes_them_anew);
	tcase_add_test(tc, what_is_not_done_is_said);
	tcase_add_test(tc, one_transaction_is_about_one_person);
	tcase_add_test(tc, what_explain_tells);
	tcase_add_test(tc, a_store_that_is_none_is_left_alone);
	tcase_add_test(tc, they_share_the_writers_lock_and_have_the_rows);
	tcase_add_test(tc, who_waits_too_long_is_told);
	tcase_add_test(tc, an_old_snapshot_is_refused);
	tcase_add_test(tc, who_leaves_it_open_is_cut_off);
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
