/*
 * tests/unit/test_store_sqlite.c - what we ask of SQLite: a full disk costs nothing that was written, roles are fenced in, questions go by
 * an index.
 */
#include "config.h"

#include "store/sqlite.h"
#include "tests/unit/test_store.h"

static sqlite3 *caught[64];
static size_t n_caught;

/* SQLite calls this for every handle that is opened: our way to the handles inside the store. */
static int catch_handle(sqlite3 *h, char **message, const struct sqlite3_api_routines *api)
{
	if (n_caught < 64)
		caught[n_caught++] = h;
	return SQLITE_OK;
}

static void catch_handles(void)
{
	n_caught = 0;
	ck_assert_int_eq(sqlite3_auto_extension((void (*)(void))(uintptr_t)catch_handle), SQLITE_OK);
}

START_TEST(a_full_disk_passes_by_itself_and_costs_nothing_that_was_written)
{
	struct store *store;
	int64_t id = request("alice@example.org");
	struct mail_event many[50];
	bool full = false;

	for (size_t i = 0; i < 50; i++)
		many[i] = (struct mail_event){.at = 1,
			.from = (char *)(uintptr_t) "alice@example.org",
			.verdict = (char *)(uintptr_t) "signed",
			.reason = (char *)(uintptr_t) "a reason that is long enough to fill a page of the database sooner or later"};
	catch_handles();
	store = store_fixture_open(&f, STORE_ROLE_OUTBOUND);
	sqlite3_cancel_auto_extension((void (*)(void))(uintptr_t)catch_handle);
	/* What the file may not outgrow stands for the disk; the fence is lifted for a moment to say so. */
	for (size_t i = 0; i < n_caught; i++) {
		sqlite3_set_authorizer(caught[i], NULL, NULL);
		ck_assert_int_eq(sqlite3_exec(caught[i], "PRAGMA max_page_count = 60", NULL, NULL, NULL), SQLITE_OK);
	}
	for (int i = 0; i < 200 && !full; i++)
		full = !store_mail_events_add(store, many, 50, 1000000, &err);
	ck_assert(full);
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	ck_assert_str_eq(err.type, "SQLITE_FULL");
	ck_assert_ptr_nonnull(strstr(err.text, "disk"));
	for (size_t i = 0; i < n_caught; i++)
		ck_assert_int_eq(sqlite3_exec(caught[i], "PRAGMA max_page_count = 100000", NULL, NULL, NULL), SQLITE_OK);
	OK(store_mail_events_add(store, many, 50, 1000000, &err));
	OK(store_check(enrolld, &err));
	ck_assert_int_eq(state_of(id), ENROLLMENT_REQUESTED);
	store_close(store);
}
END_TEST

/* ---- roles ------------------------------------------------------------------------------------------------------- */

static bool flag(struct store *s, struct err *e)
{
	return store_flag_set(s, "paused", "1", "x", e);
}
static bool wrapped(struct store *s, struct err *e)
{
	struct store_credential c = {0};
	const char *why;
	bool found;

	return store_credential_find(s, "alice@example.org", &c, &found, &why, e);
}
static bool claims(struct store *s, struct err *e)
{
	struct enrollment row = {0};
	bool found, ok = store_enrollment_claim(s, "w", 0, 1, &row, &found, e);

	enrollment_clear(&row);
	return ok;
}
static bool commits(struct store *s, struct err *e)
{
	struct enrollment row = {.id = 1};
	struct store_step step = {.row = &row};
	bool stale;

	return store_step_commit(s, &step, &stale, e);
}
static bool lists(struct store *s, struct err *e)
{
	struct enrollment_list l;
	bool ok = store_enrollment_list(s, -1, NULL, 10, &l, e);

	enrollment_list_clear(&l);
	return ok;
}
static bool disables(struct store *s, struct err *e)
{
	bool changed;

	return store_enrollment_admin(s, 1, ENROLLMENT_ADMIN_DISABLE, "x", NULL, &changed, e);
}
static bool requests(struct store *s, struct err *e)
{
	bool created;

	return store_enrollment_request(s, "bob@example.org", "p", "sign", "x", &created, NULL, e);
}
static bool challenges(struct store *s, struct err *e)
{
	struct challenge_list l;
	bool ok = store_challenges_of(s, 1, 0, &l, e);

	challenge_list_clear(&l);
	return ok;
}
static bool adds_challenge(struct store *s, struct err *e)
{
	struct challenge c = {.enrollment_id = 1, .token_part1 = (char *)(uintptr_t) "t"};
	bool created;

	return store_challenge_add(s, &c, &created, e);
}
static bool adds_report(struct store *s, struct err *e)
{
	struct report r = {.action = (char *)(uintptr_t) "relayed", .received_at = 1};
	bool known;

	return store_report_add(s, "0123456789abcdef0123456789abcdef", &r, &known, e);
}
static bool reports(struct store *s, struct err *e)
{
	struct report_list l;
	bool ok = store_reports_of(s, 1, 0, &l, e);

	report_list_clear(&l);
	return ok;
}
static bool limits(struct store *s, struct err *e)
{
	struct store_limit_list l;
	bool ok = store_limits(s, "ca", 0, &l, e);

	store_limit_list_clear(&l);
	return ok;
}
static bool sets_limit(struct store *s, struct err *e)
{
	return store_limit_set(s, "ca", "", 1, "text", e);
}
static bool orders(struct store *s, struct err *e)
{
	size_t n;

	return store_orders_open(s, 0, NULL, &n, e);
}
static bool renews(struct store *s, struct err *e)
{
	bool changed;

	return store_enrollment_admin(s, 1, ENROLLMENT_ADMIN_RENEW, "x", NULL, &changed, e);
}
static bool reviews(struct store *s, struct err *e)
{
	return store_enrollments_review(s, e);
}
static bool asks_companion(struct store *s, struct err *e)
{
	struct enrollment row = {.id = 1};
	bool created;

	return store_enrollment_companion_request(s, &row, &created, e);
}
static bool finds_companion(struct store *s, struct err *e)
{
	struct enrollment row = {0};
	bool found, ok = store_enrollment_companion(s, 1, &row, &found, e);

	enrollment_clear(&row);
	return ok;
}
static bool asks_taken(struct store *s, struct err *e)
{
	struct store_taken taken;

	return store_address_taken(s, "alice@example.org", 0, &taken, e);
}
static bool asks_elsewhere(struct store *s, struct err *e)
{
	int64_t id;

	return store_order_elsewhere(s, 1, 0, &id, e);
}
static bool counts_enrolled(struct store *s, struct err *e)
{
	size_t n;

	return store_enrolled(s, &n, e);
}
static bool awaits(struct store *s, struct err *e)
{
	struct awaited a;
	bool ok = store_challenge_awaited(s, "alice@example.org", &a, e);

	awaited_clear(&a);
	return ok;
}
static bool mails(struct store *s, struct err *e)
{
	struct mail_event m = {.at = 1};

	return store_mail_events_add(s, &m, 1, 10, e);
}
static bool reads_mails(struct store *s, struct err *e)
{
	struct mail_event_list l;
	bool ok = store_mail_events(s, NULL, 10, &l, e);

	mail_event_list_clear(&l);
	return ok;
}
static bool checks(struct store *s, struct err *e)
{
	return store_check(s, e);
}

START_TEST(each_role_does_its_own_work_and_nothing_else)
{
	static const struct {
		const char *what;
		bool (*call)(struct store *s, struct err *e);
		const char *roles; /* o i e a */
	} table[] = {
		{"set a flag", flag, "ea"},
		{"read a wrapped key", wrapped, "oa"},
		{"claim", claims, "ea"},
		{"commit a step", commits, "ea"},
		{"list enrollments", lists, "oea"},
		{"disable", disables, "ea"},
		{"request", requests, "oea"},
		{"read challenges", challenges, "ea"},
		{"add a challenge", adds_challenge, "ia"},
		{"ask who is awaited", awaits, "iea"},
		{"add a delivery report", adds_report, "ia"},
		{"read delivery reports", reports, "ea"},
		{"read limits", limits, "ea"},
		{"set a limit", sets_limit, "ea"},
		{"count open orders", orders, "ea"},
		{"renew", renews, "ea"},
		{"look at all again", reviews, "ea"},
		{"request a companion", asks_companion, "ea"},
		{"find a companion", finds_companion, "oea"},
		{"ask who has an address", asks_taken, "ea"},
		{"ask for an order of another row", asks_elsewhere, "ea"},
		{"count the enrolled", counts_enrolled, "ea"},
		{"add mail events", mails, "oa"},
		{"read mail events", reads_mails, "ea"},
		{"check", checks, "ea"},
	};
	static const char letters[] = "oiea";
	struct store *store = store_fixture_open(&f, (enum store_role)_i);

	request("alice@example.org");
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		bool may = strchr(table[i].roles, letters[_i]) != NULL, did;

		err_clear(&err);
		did = table[i].call(store, &err);
		ck_assert_msg(did == may, "%s as %c: %s", table[i].what, letters[_i], err.text);
		if (!may)
			ck_assert_int_eq(err.class, ERR_BUG);
	}
	store_close(store);
}
END_TEST

/* The second fence: SQL that no call of ours makes. */
START_TEST(the_fence_refuses_sql_outside_the_role)
{
	static const struct {
		enum store_role role;
		const char *sql;
		bool may;
	} table[] = {
		{STORE_ROLE_INBOUND, "SELECT wrapped FROM user_keys", false},
		{STORE_ROLE_INBOUND, "SELECT COUNT(*) FROM user_keys", false},
		{STORE_ROLE_INBOUND, "SELECT der FROM certificates", false},
		{STORE_ROLE_INBOUND, "SELECT ca_state FROM enrollments", false},
		{STORE_ROLE_INBOUND, "SELECT * FROM enrollments", false},
		{STORE_ROLE_INBOUND, "SELECT state FROM enrollments", true},
		{STORE_ROLE_INBOUND, "SELECT challenge_address FROM enrollments", true},
		{STORE_ROLE_INBOUND, "SELECT rule FROM enrollments", false},
		{STORE_ROLE_INBOUND, "SELECT companion_of FROM enrollments", false},
		{STORE_ROLE_INBOUND, "UPDATE enrollments SET challenge_address = 'evil@example.net'", false},
		{STORE_ROLE_INBOUND, "UPDATE enrollments SET rule = NULL", false},
		{STORE_ROLE_INBOUND, "DELETE FROM enrollment_addresses", false},
		{STORE_ROLE_INBOUND, "UPDATE challenges SET recipient = 'x'", false},
		{STORE_ROLE_INBOUND, "UPDATE enrollments SET next_at = 1", true},
		{STORE_ROLE_INBOUND, "UPDATE enrollments SET state = 'active'", false},
		{STORE_ROLE_INBOUND, "UPDATE enrollments SET challenge_from = 'evil@example.net'", false},
		{STORE_ROLE_INBOUND, "UPDATE challenges SET state = 'new'", false},
		{STORE_ROLE_INBOUND, "DELETE FROM challenges", false},
		{STORE_ROLE_INBOUND, "INSERT INTO reports (enrollment_id, challenge_id, action, received_at) VALUES (1, 1, 'relayed', 1)", true},
		{STORE_ROLE_INBOUND, "SELECT diagnostic FROM reports", false},
		{STORE_ROLE_INBOUND, "UPDATE reports SET action = 'relayed'", false},
		{STORE_ROLE_INBOUND, "DELETE FROM reports", false},
		{STORE_ROLE_INBOUND, "UPDATE challenges SET report_token = 'x'", false},
		{STORE_ROLE_INBOUND, "SELECT text FROM limits", false},
		{STORE_ROLE_INBOUND, "INSERT INTO limits (ca, scope, at, until) VALUES ('ca', '', 1, 1)", false},
		{STORE_ROLE_INBOUND, "DELETE FROM events", false},
		{STORE_ROLE_INBOUND, "INSERT INTO enrollments (address) VALUES ('x')", false},
		{STORE_ROLE_INBOUND, "UPDATE flags SET value = '1'", false},
		{STORE_ROLE_INBOUND, "DROP TABLE events", false},
		{STORE_ROLE_INBOUND, "CREATE TABLE evil (x)", false},
		{STORE_ROLE_INBOUND, "CREATE TEMP TRIGGER evil AFTER INSERT ON challenges BEGIN DELETE FROM events; END", false},
		{STORE_ROLE_INBOUND, "ATTACH '/tmp/evil.db' AS evil", false},
		{STORE_ROLE_INBOUND, "PRAGMA journal_mode = DELETE", false},
		{STORE_ROLE_INBOUND, "PRAGMA writable_schema = ON", false},
		{STORE_ROLE_INBOUND, "SELECT load_extension('evil')", false},
		{STORE_ROLE_INBOUND, "SELECT sql FROM sqlite_master", false},
		{STORE_ROLE_OUTBOUND, "SELECT wrapped FROM user_keys", true},
		{STORE_ROLE_OUTBOUND, "INSERT INTO user_keys (enrollment_id, wrapped, spki_sha256, created_at) VALUES (1, x'00', 'a', 1)",
			false},
		{STORE_ROLE_OUTBOUND, "UPDATE certificates SET status = 'active'", false},
		{STORE_ROLE_OUTBOUND, "INSERT INTO certificates (id) VALUES (1)", false},
		{STORE_ROLE_OUTBOUND, "UPDATE enrollments SET disabled = 0", false},
		{STORE_ROLE_OUTBOUND, "SELECT rule FROM enrollments", true},
		{STORE_ROLE_OUTBOUND, "UPDATE enrollments SET rule = NULL", false},
		{STORE_ROLE_OUTBOUND, "DELETE FROM enrollment_addresses", false},
		{STORE_ROLE_OUTBOUND, "UPDATE enrollment_addresses SET enrollment_id = 1", false},
		{STORE_ROLE_OUTBOUND, "SELECT recipient FROM challenges", false},
		{STORE_ROLE_OUTBOUND, "SELECT token_part1 FROM challenges", false},
		{STORE_ROLE_OUTBOUND, "SELECT report_token FROM challenges", false},
		{STORE_ROLE_OUTBOUND, "SELECT action FROM reports", false},
		{STORE_ROLE_OUTBOUND, "INSERT INTO reports (enrollment_id, challenge_id, action, received_at) VALUES (1, 1, 'relayed', 1)", false},
		{STORE_ROLE_OUTBOUND, "DELETE FROM mail_events", true},
		{STORE_ROLE_OUTBOUND, "DELETE FROM events", false},
		{STORE_ROLE_ENROLLD, "SELECT wrapped FROM user_keys", false},
		{STORE_ROLE_ENROLLD, "SELECT length(wrapped) FROM user_keys", false},
		{STORE_ROLE_ENROLLD, "SELECT 1 FROM user_keys WHERE wrapped > x'80'", false},
		{STORE_ROLE_ENROLLD, "SELECT * FROM user_keys", false},
		{STORE_ROLE_ENROLLD, "SELECT spki_sha256 FROM user_keys", true},
		{STORE_ROLE_ENROLLD, "UPDATE user_keys SET wrapped = x'00'", false},
		{STORE_ROLE_ENROLLD,
			"INSERT INTO user_keys (enrollment_id, wrapped, spki_sha256, created_at) VALUES (1, x'00', 'a', 1) RETURNING "
			"wrapped",
			false},
		{STORE_ROLE_ENROLLD, "UPDATE certificates SET der = x'00'", false},
		{STORE_ROLE_ENROLLD, "UPDATE challenges SET token_part1 = 'x'", false},
		{STORE_ROLE_ENROLLD, "UPDATE challenges SET report_token = 'x'", true},
		{STORE_ROLE_ENROLLD, "UPDATE challenges SET recipient = 'x'", false},
		{STORE_ROLE_ENROLLD, "SELECT recipient FROM challenges", true},
		{STORE_ROLE_ENROLLD, "UPDATE enrollments SET rule = NULL", true},
		{STORE_ROLE_ENROLLD, "DELETE FROM enrollment_addresses", true},
		{STORE_ROLE_ENROLLD, "UPDATE enrollment_addresses SET enrollment_id = 1", false},
		{STORE_ROLE_ENROLLD, "INSERT INTO reports (enrollment_id, challenge_id, action, received_at) VALUES (1, 1, 'relayed', 1)", false},
		{STORE_ROLE_ENROLLD, "UPDATE reports SET seen = 1", true},
		{STORE_ROLE_ENROLLD, "UPDATE reports SET action = 'relayed'", false},
		{STORE_ROLE_ENROLLD, "DELETE FROM reports", true}, /* store.retention-days */
		{STORE_ROLE_ENROLLD, "DELETE FROM limits", true},
		{STORE_ROLE_ENROLLD, "DELETE FROM events", true},
		{STORE_ROLE_ENROLLD, "UPDATE events SET text = 'x'", false},
		{STORE_ROLE_ENROLLD, "DELETE FROM user_keys", false},
		{STORE_ROLE_ENROLLD, "DELETE FROM certificates", false},
		{STORE_ROLE_ENROLLD, "DELETE FROM enrollments", false},
		{STORE_ROLE_ADMIN, "SELECT wrapped FROM user_keys", true},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		sqlite3 *h = sqlite_handle_new(f.settings.path, SQLITE_OPEN_READWRITE, 1000, "test", &err);
		sqlite3_stmt *statement = NULL;
		int rc;

		ck_assert_ptr_nonnull(h);
		sqlite_guard(h, table[i].role);
		rc = sqlite3_prepare_v2(h, table[i].sql, -1, &statement, NULL);
		ck_assert_msg((rc == SQLITE_OK) == table[i].may, "role %d: %s: %s", (int)table[i].role, table[i].sql, sqlite3_errmsg(h));
		ck_assert_msg(table[i].may || rc == SQLITE_AUTH || rc == SQLITE_ERROR, "%d", rc);
		sqlite3_finalize(statement);
		sqlite3_close(h);
	}
}
END_TEST

/* ---- query plans ------------------------------------------------------------------------------------------------- */

/* ---- a store that is newer than we are --------------------------------------------------------------------------- */

/* An additive change of a version to come: as far as it says, milters of this one go on. */
START_TEST(a_newer_schema_that_milters_can_read_is_read_by_them_and_by_nobody_else)
{
	bool milter = _i == STORE_ROLE_OUTBOUND || _i == STORE_ROLE_INBOUND;
	struct store *s;
	char *value = NULL;
	int version = 0;

	store_fixture_sql(&f, "ALTER TABLE flags ADD COLUMN added TEXT NOT NULL DEFAULT '';"
			      "UPDATE meta SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) WHERE name = 'schema_version'");
	s = store_open(&f.settings, (enum store_role)_i, &err);
	ck_assert_int_eq(s != NULL, milter);
	if (milter) {
		OK(store_flag_get(s, "paused", &value, &err));
		OK(store_schema_found(s, &version, &err));
		ck_assert_int_eq(version, store_schema_version() + 1);
	} else {
		ck_assert_int_eq(err.class, ERR_CONFIG);
		ck_assert_ptr_nonnull(strstr(err.text, "install the newer program"));
	}
	store_close(s);
}
END_TEST

START_TEST(a_store_that_becomes_too_new_while_it_is_open_cuts_its_milters_off)
{
	int version = 0;

	ck_assert_int_ne(store_change_counter(outbound), -1);
	run_sql(f.settings.path, "PRAGMA user_version = 999; UPDATE meta SET value = '999' WHERE name = 'schema_version'");
	ck_assert_int_eq(store_change_counter(outbound), -1);
	ck_assert(!store_schema_found(outbound, &version, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert(store_is_too_new(&err));
	/* It has let its handles go: when the newer program is gone again, all is as before. */
	for (int i = 0; i < 10; i++)
		ck_assert(!store_schema_found(inbound, &version, &err));
	run_sql(f.settings.path, "PRAGMA user_version = 1");
	OK(store_schema_found(inbound, &version, &err));
	ck_assert_int_eq(version, 999);
}
END_TEST

START_TEST(who_writes_all_of_it_is_cut_off_by_any_newer_schema_while_it_is_open)
{
	struct store *s = store_open(&f.settings, (enum store_role)_i, &err);
	bool milter = _i == STORE_ROLE_OUTBOUND || _i == STORE_ROLE_INBOUND;
	char *value = NULL;

	ck_assert_ptr_nonnull(s);
	OK(store_flag_get(s, "paused", &value, &err));
	store_fixture_sql(&f, "UPDATE meta SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) WHERE name = 'schema_version'");
	ck_assert_int_eq(store_flag_get(s, "paused", &value, &err), milter);
	/* PostgreSQL is asked once a second. */
	for (int i = 0; i < 300 && (store_change_counter(s) != -1) != milter; i++)
		usleep(10000);
	ck_assert_int_eq(store_change_counter(s) != -1, milter);
	if (!milter) {
		ck_assert(store_is_too_new(&err));
		err_clear(&err);
		ck_assert(!store_flag_set(s, "paused", "1", "test", &err));
		ck_assert(store_is_too_new(&err));
	}
	store_close(s);
}
END_TEST

START_TEST(a_newer_schema_that_needs_newer_programs_is_refused_by_every_role)
{
	run_sql(f.settings.path, "UPDATE meta SET value = '999' WHERE name = 'schema_version'; PRAGMA user_version = 999");
	ck_assert_ptr_null(store_open(&f.settings, (enum store_role)_i, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "999"));
}
END_TEST

/* A hundred thousand users, most of them active, some waiting, a few in flight. */
static const char crowd[] =
	"BEGIN;"
	"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
	" INSERT INTO enrollments (id, address, address_key, addresses, profile, usage, state, resume, state_since, next_at, requested_at, ordered_at)"
	" SELECT i, printf('user%d@example.org', i), printf('user%d@example.org', i), printf('user%d@example.org', i), 'mailbox-strict', "
	"'sign',"
	" CASE WHEN i % 100 = 0 THEN 'challenge-awaited' ELSE 'active' END, 'requested', 1, 2000000000 + i, 1, 1 FROM n;"
	"INSERT INTO enrollment_addresses (enrollment_id, address_key) SELECT id, address_key FROM enrollments;"
	"INSERT INTO user_keys (id, enrollment_id, wrapped, spki_sha256, created_at) SELECT id, id, x'00', printf('%064d', id), 1 FROM "
	"enrollments;"
	"INSERT INTO certificates (id, enrollment_id, key_id, der, serial, issuer, fingerprint, addresses, not_before, not_after, status, "
	"created_at)"
	" SELECT id, id, id, x'00', 's', 'i', 'f', address, 1, 2000000000, 'active', 1 FROM enrollments WHERE state = 'active';"
	"INSERT INTO events (enrollment_id, at, name, class) SELECT id, 1, 'requested', 'none' FROM enrollments;"
	"INSERT INTO orders (enrollment_id, ca, opened_at) SELECT id, 'ca', id FROM enrollments;"
	"COMMIT;";

/* These look at all rows because that is their question. */
static bool may_scan(const char *sql)
{
	static const char *const allowed[] = {
		"GROUP BY state",				  /* counts, from an index alone */
		"FROM mail_events ORDER BY id DESC LIMIT",	  /* the newest, from the end */
		"WHERE verdict = 'observed' GROUP BY sender_key", /* the report of observe mode */
		"UPDATE turns SET owner = '', until = 0 WHERE owner <> ''", /* a few jobs, and a row for each enrolld */
	};

	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		if (strstr(sql, allowed[i]) != NULL)
			return true;
	return false;
}

static void check_plan(sqlite3 *h, const char *sql)
{
	sqlite3_stmt *explain;
	char *text = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", sql);

	ck_assert_msg(sqlite3_prepare_v2(h, text, -1, &explain, NULL) == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(h));
	while (sqlite3_step(explain) == SQLITE_ROW) {
		const char *detail = (const char *)sqlite3_column_text(explain, 3);

		/* The partial indexes hold only the rows that somebody works on, and what is left to be revoked. */
		ck_assert_msg(strncmp(detail, "SCAN", 4) != 0 || strcmp(detail, "SCAN CONSTANT ROW") == 0 ||
				      strstr(detail, "enrollments_leased") != NULL ||
				      strstr(detail, "revocation_parts_leased") != NULL || strstr(detail, "revocation_parts_due") != NULL || may_scan(sql),
			"%s\n  %s", sql, detail);
		/* Sorting is fine within one address, never over the crowd. */
		if (strstr(sql, "LIMIT 1") != NULL && (strstr(sql, "ORDER BY next_at") != NULL || strstr(sql, "ORDER BY c.not_after") != NULL))
			ck_assert_msg(strstr(detail, "TEMP B-TREE") == NULL, "%s\n  %s", sql, detail);
	}
	sqlite3_finalize(explain);
	sqlite3_free(text);
}

static void call_for_revocations(struct store *s)
{
	struct store_revoke order = {.about = "#9", .reason = "superseded", .actor = "x"};
	struct store_revocation_result result = {.event = "revoked_at_ca"};
	struct store_certificate_list certificates;
	struct store_revocation_list l;
	struct store_revocation r;
	bool found, stale, changed;
	time_t when;
	size_t n;

	OK(store_revocable(s, "ABC", &certificates, &err));
	ck_assert_uint_eq(certificates.n, 0);
	OK(store_revoke(s, &order, &n, &err));
	ck_assert_uint_eq(n, 1);
	OK(store_revocation_next_due(s, &when, &err));
	OK(store_revocations_of(s, 9, &l, &err));
	store_revocation_list_clear(&l);
	OK(store_revocations_retry(s, 9, &changed, &err));
	for (int i = 0; i < REVOCATION_PARTS; i++) {
		OK(store_revocation_claim(s, (enum revocation_part)i, "w", 2000000000, 10, &r, &found, &err));
		ck_assert(found);
		OK(store_revocation_commit(s, &r, (enum revocation_part)i, &result, &stale, &err));
		ck_assert(!stale);
		store_revocation_clear(&r);
	}
}

/* What rules ask. */
static void call_for_policy(struct store *s)
{
	struct enrollment row = {.id = 5};
	struct store_taken taken;
	int64_t id;
	size_t n;
	bool found;

	OK(store_enrollment_companion_request(s, &row, &found, &err));
	ck_assert(found);
	OK(store_enrollment_companion(s, 5, &row, &found, &err));
	ck_assert(found);
	OK(store_address_taken(s, "user5@example.org", row.id, &taken, &err));
	ck_assert_int_eq(taken.enrollment_id, 5);
	OK(store_order_elsewhere(s, row.id, 1, &id, &err));
	ck_assert_int_eq(id, 5);
	enrollment_clear(&row);
	OK(store_enrolled(s, &n, &err));
	ck_assert_uint_ge(n, 100000);
	OK(store_enrollment_admin(s, 9, ENROLLMENT_ADMIN_RENEW, "x", NULL, &found, &err));
	ck_assert(found);
	OK(store_enrollments_review(s, &err));
}

/* Each call once, so that the handles hold each statement prepared. */
static void call_everything(struct store *s)
{
	struct enrollment row = {0};
	struct enrollment_list l;
	struct store_certificate_list certificates;
	struct store_certificate certificate;
	struct store_credential c = {0};
	struct event_list events;
	struct mail_event_list mail_list;
	struct mail_event m = {.at = 1, .from = (char *)(uintptr_t) "user1@example.org"};
	struct observed_list seen;
	struct challenge_list cl;
	struct report report = {.action = (char *)(uintptr_t) "failed", .received_at = 1};
	struct report_list reports_list;
	struct store_limit_list limit_list;
	struct challenge challenge = {.enrollment_id = 100, .token_part1 = (char *)(uintptr_t) "t", .received_at = 1};
	struct store_step step = {
		.row = &row, .actor = "x", .event = "e", .order_outcome = "expired", .count_order = true, .challenge_state = "ignored",
		.challenge_report_token = "0123456789abcdef", .reports_seen = 1, .decided = true};
	struct awaited a;
	size_t counts[ENROLLMENT_STATES], n;
	const int64_t bounds[] = {86400};
	struct store_figures figures;
	time_t when;
	const char *why;
	char *value;
	bool found, stale, changed;

	OK(store_enrollment_request(s, "new@example.org", "p", "sign", "x", &found, NULL, &err));
	OK(store_challenge_awaited(s, "user100@example.org", &a, &err));
	ck_assert_int_eq(a.enrollment_id, 100);
	awaited_clear(&a);
	OK(store_challenge_add(s, &challenge, &found, &err));
	OK(store_challenges_of(s, 100, 0, &cl, &err));
	step.challenge_id = cl.v[0].id;
	challenge_list_clear(&cl);
	OK(store_enrollment_next_due(s, &when, &err));
	do {
		enrollment_clear(&row);
		OK(store_enrollment_claim(s, "w", 2000000000, 10, &row, &found, &err));
		ck_assert(found);
	} while (row.id != 100);
	OK(store_step_commit(s, &step, &stale, &err));
	ck_assert(!stale);
	enrollment_clear(&row);
	OK(store_enrollment_find(s, "user5@example.org", &row, &found, &err));
	enrollment_clear(&row);
	OK(store_enrollment_get(s, 5, &row, &found, &err));
	enrollment_clear(&row);
	for (int state = -1; state <= ENROLLMENT_ACTIVE; state += 1 + ENROLLMENT_ACTIVE) {
		OK(store_enrollment_list(s, state, "user5", 2, &l, &err));
		enrollment_list_clear(&l);
	}
	OK(store_enrollment_counts(s, counts, &n, &err));
	OK(store_orders_since(s, 99990, NULL, &n, &err));
	OK(store_orders_open(s, 0, NULL, &n, &err));
	call_for_policy(s);
	call_for_revocations(s);
	OK(store_report_add(s, "0123456789abcdef", &report, &found, &err));
	ck_assert(found);
	OK(store_reports_of(s, 100, 0, &reports_list, &err));
	report_list_clear(&reports_list);
	OK(store_limit_set(s, "ca", "", 2, "text", &err));
	OK(store_limits(s, "ca", 1, &limit_list, &err));
	store_limit_list_clear(&limit_list);
	OK(store_leases_release(s, "w", &err));
	OK(store_enrollment_admin(s, 7, ENROLLMENT_ADMIN_RETRY, "x", NULL, &changed, &err));
	OK(store_enrollment_admin(s, 7, ENROLLMENT_ADMIN_DISABLE, "x", NULL, &changed, &err));
	OK(store_certificate_get(s, 5, &certificate, &found, &err));
	store_certificate_clear(&certificate);
	OK(store_certificates_of(s, 5, &certificates, &err));
	store_certificate_list_clear(&certificates);
	OK(store_credential_find(s, "user5@example.org", &c, &found, &why, &err));
	ck_assert(found);
	store_credential_clear(&c);
	for (int i = 0; i < 4; i++) {
		OK(store_events(s, i & 1 ? 5 : 0, i & 2 ? -1 : 99990, 5, &events, &err));
		event_list_clear(&events);
	}
	OK(store_mail_events_add(s, &m, 1, 10, &err));
	for (int i = 0; i < 2; i++) {
		OK(store_mail_events(s, i ? "user1@example.org" : NULL, 5, &mail_list, &err));
		mail_event_list_clear(&mail_list);
	}
	OK(store_observed(s, &seen, &err));
	observed_list_clear(&seen);
	OK(store_flag_set(s, "f", "1", "x", &err));
	OK(store_flag_set(s, "f", NULL, "x", &err));
	OK(store_flag_get(s, "f", &value, &err));
	OK(store_figures(s, 1, bounds, 1, &figures, &err));
}

START_TEST(with_a_hundred_thousand_users_every_question_goes_by_an_index)
{
	struct store *store;
	sqlite3 *own;
	size_t statements = 0;
	int64_t start;

	run_sql(f.settings.path, crowd);
	catch_handles();
	store = store_fixture_open(&f, STORE_ROLE_ADMIN);
	sqlite3_cancel_auto_extension((void (*)(void))(uintptr_t)catch_handle);
	call_everything(store);
	ck_assert_int_eq(sqlite3_open(f.settings.path, &own), SQLITE_OK);
	for (size_t i = 0; i < n_caught; i++)
		for (sqlite3_stmt *s = sqlite3_next_stmt(caught[i], NULL); s != NULL; s = sqlite3_next_stmt(caught[i], s)) {
			if (strncmp(sqlite3_sql(s), "PRAGMA", 6) == 0)
				continue;
			check_plan(own, sqlite3_sql(s));
			statements++;
		}
	ck_assert_uint_gt(statements, 30);
	sqlite3_close(own);
	start = mono_ms();
	for (int i = 0; i < 500; i++) {
		struct store_credential c = {0};
		const char *why;
		char address[64];
		bool found;

		snprintf(address, sizeof(address), "user%d@example.org", i * 190 + 1);
		OK(store_credential_find(store, address, &c, &found, &why, &err));
		store_credential_clear(&c);
	}
	/* 500 looks at all rows would take minutes. */
	ck_assert_int_lt(mono_ms() - start, 5000);
	store_close(store);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_sqlite");
	TCase *tc = tcase_create("store_sqlite");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, each_role_does_its_own_work_and_nothing_else, 0, 4);
	tcase_add_loop_test(tc, who_writes_all_of_it_is_cut_off_by_any_newer_schema_while_it_is_open, 0, 4);
	tcase_add_loop_test(tc, a_newer_schema_that_milters_can_read_is_read_by_them_and_by_nobody_else, 0, 4);
	add_sqlite_test(tc, a_full_disk_passes_by_itself_and_costs_nothing_that_was_written, "pages of its file");
	add_sqlite_test(tc, the_fence_refuses_sql_outside_the_role, "SQLite's authorizer; PostgreSQL has grants");
	add_sqlite_loop_test(tc, a_newer_schema_that_needs_newer_programs_is_refused_by_every_role, 0, 4, "user_version of its file");
	add_sqlite_test(tc, a_store_that_becomes_too_new_while_it_is_open_cuts_its_milters_off, "user_version of its file");
	add_sqlite_test(tc, with_a_hundred_thousand_users_every_question_goes_by_an_index, "SQLite's query plans");
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
