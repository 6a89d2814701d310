/*
 * tests/unit/test_store_upgrade.c - stores of older schemas, kept as they were (store_version_N.sql), brought to this one's; and who does that.
 */
#include "config.h"

#include <sys/stat.h>

#include "store/sqlite.h"
#include "tests/unit/test_store.h"

/* ---- migrations -------------------------------------------------------------------------------------------------- */

static const char *const step_1[] = {"CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
	"CREATE TABLE migrations (version INTEGER PRIMARY KEY, at INTEGER, program TEXT)",
	"CREATE TABLE things (id INTEGER PRIMARY KEY, a TEXT)", NULL};
static const char *const step_2[] = {"ALTER TABLE things ADD COLUMN b TEXT", "UPDATE things SET b = a || '!'", NULL};
static const char *const step_bad[] = {"CREATE TABLE half (id INTEGER)", "this is no SQL", NULL};
static const char *const step_3[] = {"CREATE TABLE half (id INTEGER)", NULL};

static void check_answer(sqlite3 *h, const char *sql, const char *expected)
{
	char answer[64];

	ck_assert_msg(sqlite_ask(h, sql, answer, sizeof(answer), "test", "test", &err), "%s", err.text);
	ck_assert_str_eq(answer, expected);
}

START_TEST(a_schema_is_brought_forward_step_by_step_and_a_failed_step_leaves_the_one_before)
{
	static const struct migration list[] = {{1, step_1, 0}, {2, step_2, 0}, {3, step_bad, 0}}, good[] = {{1, step_1, 0}, {2, step_2, 0}, {3, step_3, 0}};
	char path[400];
	sqlite3 *h;

	snprintf(path, sizeof(path), "%s/m.db", f.dir);
	store_put(path, "", 0);
	h = sqlite_handle_new(path, SQLITE_OPEN_READWRITE, 1000, "test", &err);
	ck_assert_ptr_nonnull(h);
	OK(schema_apply(h, list, 1, SCHEMA_CREATE, "test", path, &err));
	check_answer(h, "SELECT value FROM meta", "1");
	ck_assert_int_eq(sqlite3_exec(h, "INSERT INTO things (a) VALUES ('old')", NULL, NULL, NULL), SQLITE_OK);
	/* A milter waits for enrolld. */
	ck_assert(!schema_apply(h, list, 2, SCHEMA_READ, "test", path, &err));
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	check_answer(h, "SELECT value FROM meta", "1");
	ck_assert(!schema_apply(h, list, 3, SCHEMA_MIGRATE, "test", path, &err));
	check_answer(h, "SELECT value FROM meta", "2");
	check_answer(h, "SELECT b FROM things", "old!");
	check_answer(h, "SELECT COUNT(*) FROM sqlite_master WHERE name = 'half'", "0");
	OK(schema_apply(h, good, 3, SCHEMA_MIGRATE, "test", path, &err));
	OK(schema_apply(h, good, 3, SCHEMA_READ, "test", path, &err));
	check_answer(h, "SELECT value FROM meta", "3");
	check_answer(h, "SELECT COUNT(*) FROM migrations", "3");
	sqlite3_close(h);
}
END_TEST

START_TEST(what_milters_have_to_know_never_becomes_less)
{
	static const struct migration list[] = {{1, step_1, 0}, {2, step_2, 0}, {3, step_3, 1}};
	char path[400];
	sqlite3 *h;

	snprintf(path, sizeof(path), "%s/n.db", f.dir);
	store_put(path, "", 0);
	h = sqlite_handle_new(path, SQLITE_OPEN_READWRITE, 1000, "test", &err);
	ck_assert_ptr_nonnull(h);
	OK(schema_apply(h, list, 3, SCHEMA_CREATE, "test", path, &err));
	check_answer(h, "PRAGMA user_version", "2");
	sqlite3_close(h);
}
END_TEST

/* The file of a released version, brought to life again behind the store's back. */
static void load_dump(const char *path, const char *name)
{
	const char *src = getenv("srcdir");
	struct buf dump = BUF_INIT;
	char from[600];

	snprintf(from, sizeof(from), "%s/tests/unit/%s", src != NULL ? src : ".", name);
	OK(file_read(&dump, from, 1 << 20, &err));
	run_sql(path, buf_str(&dump));
	buf_clear(&dump);
}

START_TEST(a_store_of_version_1_goes_on_with_all_its_rows)
{
	char path[400], folder[400];
	struct store_settings s = store_elsewhere(path, "old");
	struct enrollment row = {0};
	struct challenge_list l;
	struct report_list reports;
	struct store_step step = {.row = &row, .actor = "enrolld", .challenge_id = 1, .challenge_state = "replied",
		.challenge_report_token = "0123456789abcdef"};
	struct report report = {.action = (char *)(uintptr_t) "relayed", .received_at = 1};
	struct store *admin, *milter;
	size_t open, counts[ENROLLMENT_STATES], disabled;
	bool found, stale;
	sqlite3 *h;

	folder_of(folder, path);
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	load_dump(path, "store_version_1.sql");
	/* A profile that was changed could leave an address with a second row. */
	run_sql(path, "INSERT INTO enrollments (address, address_key, addresses, profile, usage, state, resume, state_since, next_at, requested_at)"
		" SELECT address, address_key, addresses, 'another', usage, 'waiting', 'requested', 1, 1, 1 FROM enrollments WHERE state = 'active'");
	/* A milter that was upgraded first waits for enrolld. */
	ck_assert_ptr_null(store_open(&s, STORE_ROLE_INBOUND, &err));
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	if (_i == 1)
		OK(store_upgrade(&s, &err));
	admin = store_open(&s, _i == 0 ? STORE_ROLE_ENROLLD : STORE_ROLE_ADMIN, &err);
	ck_assert_msg(admin != NULL, "%s", err.text);
	OK(store_check(admin, &err));
	milter = store_open(&s, STORE_ROLE_INBOUND, &err);
	ck_assert_msg(milter != NULL, "%s", err.text);
	OK(store_enrollment_counts(admin, counts, &disabled, &err));
	ck_assert_uint_eq(counts[ENROLLMENT_ACTIVE], 1);
	ck_assert_uint_eq(counts[ENROLLMENT_WAITING], 0);
	ck_assert_uint_eq(counts[ENROLLMENT_SUPERSEDED], 1);
	ck_assert_uint_eq(counts[ENROLLMENT_ANSWERED], 1);
	ck_assert_uint_eq(counts[ENROLLMENT_BLOCKED], 1);
	ck_assert_uint_eq(disabled, 1);
	OK(store_orders_open(admin, 0, NULL, &open, &err));
	ck_assert_uint_eq(open, 2);
	OK(store_enrollment_get(admin, 3, &row, &found, &err));
	ck_assert_str_eq(row.why, "the CA says no: rejectedIdentifier");
	ck_assert_ptr_null(row.why_subject);
	ck_assert_ptr_null(row.why_type);
	ck_assert_int_eq(row.why_status, 0);
	ck_assert_int_eq(row.why_at, 0);
	enrollment_clear(&row);
	OK(store_challenges_of(admin, 2, 0, &l, &err));
	ck_assert_uint_eq(l.n, 1);
	ck_assert_str_eq(l.v[0].reply_message_id, "<r1@example.org>");
	ck_assert_ptr_null(l.v[0].report_token);
	challenge_list_clear(&l);
	/* What is new works with what is old. */
	do {
		enrollment_clear(&row);
		OK(store_enrollment_claim(admin, "w", time(NULL) + 100 * 365 * 86400L, 60, &row, &found, &err));
		ck_assert(found);
	} while (row.id != 2);
	OK(store_step_commit(admin, &step, &stale, &err));
	ck_assert(!stale);
	enrollment_clear(&row);
	OK(store_report_add(milter, "0123456789abcdef", &report, &found, &err));
	ck_assert(found);
	OK(store_reports_of(admin, 2, 0, &reports, &err));
	ck_assert_uint_eq(reports.n, 1);
	report_list_clear(&reports);
	store_close(milter);
	store_close(admin);
	ck_assert_int_eq(sqlite3_open(path, &h), SQLITE_OK);
	check_answer(h, "SELECT value FROM meta WHERE name = 'schema_version'", "8");
	check_answer(h, "SELECT COUNT(*) FROM migrations", "8");
	sqlite3_close(h);
}
END_TEST

/* Every column of every row that was there, as text. */
static char *everything(const char *path, const char *const *tables)
{
	struct buf all = BUF_INIT;
	sqlite3 *h;

	ck_assert_int_eq(sqlite3_open(path, &h), SQLITE_OK);
	for (size_t i = 0; tables[i] != NULL; i++) {
		sqlite3_stmt *s;

		ck_assert_msg(sqlite3_prepare_v2(h, tables[i], -1, &s, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(h));
		while (sqlite3_step(s) == SQLITE_ROW)
			for (int c = 0; c < sqlite3_column_count(s); c++) {
				const char *text = (const char *)sqlite3_column_text(s, c);

				buf_printf(&all, "%zu %s=%s\n", i, sqlite3_column_name(s, c), text != NULL ? text : "NULL");
			}
		sqlite3_finalize(s);
	}
	sqlite3_close(h);
	return buf_take(&all);
}

START_TEST(a_store_of_version_2_keeps_every_value_and_learns_what_rules_need)
{
	static const char *const tables[] = {
		"SELECT id, address, address_key, addresses, profile, usage, ca, state, resume, state_since, next_at, wake, version, lease_owner, lease_until,"
		" intent, attempts, orders, abandoned, why_class, why, activity, requested_by, requested_at, disabled, ca_state, ordered_at, challenge_from,"
		" trigger_at, answered_at, key_id, hex(csr), certificate_id, why_subject, why_type, why_status, why_at, planned_at, retry_at"
		" FROM enrollments ORDER BY id",
		"SELECT id, enrollment_id, token_part1, message_id, sender, reply_to, authentication, disposition, date, received_at, state, reply_message_id,"
		" why, report_token, report_token_at FROM challenges ORDER BY id",
		"SELECT id, enrollment_id, hex(wrapped), spki_sha256, created_at FROM user_keys ORDER BY id",
		"SELECT id, enrollment_id, key_id, hex(der), hex(chain), serial, issuer, fingerprint, addresses, not_before, not_after, status, why, in_directory"
		" FROM certificates ORDER BY id",
		"SELECT * FROM enrollment_addresses ORDER BY 1, 2", "SELECT * FROM orders ORDER BY id", "SELECT * FROM reports ORDER BY id",
		"SELECT * FROM limits", "SELECT * FROM flags", "SELECT * FROM events ORDER BY id",
		"SELECT id, at, queue_id, message_id, login, sender, sender_key, verdict, reason FROM mail_events ORDER BY id", NULL};
	char path[400], folder[400], *before, *after;
	struct store_settings s = store_elsewhere(path, "old");
	struct store_credential credential = {0};
	struct enrollment row = {0};
	struct challenge_list l;
	struct awaited a;
	struct store *admin;
	const char *why;
	bool found;

	folder_of(folder, path);
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	load_dump(path, "store_version_2.sql");
	before = everything(path, tables);
	ck_assert_ptr_null(store_open(&s, STORE_ROLE_OUTBOUND, &err));
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	OK(store_upgrade(&s, &err));
	admin = store_open(&s, STORE_ROLE_ADMIN, &err);
	ck_assert_msg(admin != NULL, "%s", err.text);
	after = everything(path, tables);
	ck_assert_str_eq(before, after);
	ck_assert_ptr_nonnull(strstr(before, "why_type=rejectedIdentifier"));
	OK(store_check(admin, &err));
	/* Nobody has been decided about, nobody has a companion, no challenge says whose it is. */
	for (int64_t id = 1; id <= 4; id++) {
		OK(store_enrollment_get(admin, id, &row, &found, &err));
		ck_assert(found);
		ck_assert_ptr_null(row.rule);
		ck_assert_ptr_null(row.challenge_address);
		ck_assert_int_eq(row.companion_of, 0);
		enrollment_clear(&row);
	}
	OK(store_challenges_of(admin, 2, 0, &l, &err));
	ck_assert_uint_eq(l.n, 1);
	ck_assert_ptr_null(l.v[0].recipient);
	challenge_list_clear(&l);
	OK(store_challenge_awaited(admin, "bob@example.org", &a, &err));
	ck_assert_int_eq(a.enrollment_id, 2);
	ck_assert_str_eq(a.challenge_from, "acme@ca.example");
	ck_assert_ptr_null(a.challenge_address);
	awaited_clear(&a);
	/* Who signed still does, and can have a companion. */
	OK(store_credential_find(admin, "alice@example.org", &credential, &found, &why, &err));
	ck_assert(found);
	ck_assert_ptr_null(credential.rule);
	store_credential_clear(&credential);
	OK(store_enrollment_get(admin, 1, &row, &found, &err));
	OK(store_enrollment_companion_request(admin, &row, &found, &err));
	ck_assert(found);
	enrollment_clear(&row);
	store_close(admin);
	free(before);
	free(after);
}
END_TEST

START_TEST(a_store_of_version_3_keeps_its_mail_events)
{
	static const char *const tables[] = {
		"SELECT id, address, addresses, state, next_at, version, disabled, rule, entry FROM enrollments ORDER BY id",
		"SELECT id, enrollment_id, key_id, der, chain, serial, issuer, fingerprint, addresses, not_before, not_after, status, why, in_directory,"
		" directory_dn, created_at FROM certificates ORDER BY id",
		"SELECT * FROM user_keys ORDER BY id", "SELECT * FROM events ORDER BY id",
		"SELECT id, at, queue_id, message_id, login, sender, sender_key, verdict, reason FROM mail_events ORDER BY id", NULL};
	char path[400], folder[400], *before, *after;
	struct store_settings s = store_elsewhere(path, "old");
	struct mail_event m = {.at = 2, .verdict = (char *)(uintptr_t) "untouched", .from = (char *)(uintptr_t) "alice@example.org",
		.reason = (char *)(uintptr_t) "a mail rule says so", .detail = (char *)(uintptr_t) "mail rule films"};
	struct mail_event_list l;
	struct store *admin;

	folder_of(folder, path);
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	load_dump(path, "store_version_3.sql");
	before = everything(path, tables);
	ck_assert_ptr_null(store_open(&s, STORE_ROLE_OUTBOUND, &err));
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	OK(store_upgrade(&s, &err));
	admin = store_open(&s, STORE_ROLE_ADMIN, &err);
	ck_assert_msg(admin != NULL, "%s", err.text);
	after = everything(path, tables);
	ck_assert_str_eq(before, after);
	ck_assert_ptr_nonnull(strstr(before, "rule=sales"));
	OK(store_check(admin, &err));
	/* What was seen before has no detail, what comes now has. */
	OK(store_mail_events_add(admin, &m, 1, 100, &err));
	OK(store_mail_events(admin, "alice@example.org", 10, &l, &err));
	ck_assert_uint_eq(l.n, 2);
	ck_assert_str_eq(l.v[0].detail, "mail rule films");
	ck_assert_ptr_null(l.v[1].detail);
	ck_assert_ptr_null(l.v[1].action);
	ck_assert_ptr_null(l.v[1].certificate);
	mail_event_list_clear(&l);
	store_close(admin);
	free(before);
	free(after);
}
END_TEST

START_TEST(a_store_of_version_5_keeps_what_is_in_the_directory)
{
	char path[400], folder[400];
	struct store_settings s = store_elsewhere(path, "old");
	struct store_certificate_list l;
	struct store_revocation_list r;
	struct store *admin;

	folder_of(folder, path);
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	load_dump(path, "store_version_5.sql");
	OK(store_upgrade(&s, &err));
	admin = store_open(&s, STORE_ROLE_ADMIN, &err);
	ck_assert_msg(admin != NULL, "%s", err.text);
	OK(store_check(admin, &err));
	OK(store_certificates_of(admin, 1, &l, &err));
	ck_assert_uint_eq(l.n, 2);
	for (size_t i = 0; i < l.n; i++) {
		ck_assert(l.v[i].in_directory && l.v[i].directory_class == ERR_NONE && !l.v[i].directory_why && l.v[i].directory_next_at == 0);
		ck_assert_str_eq(l.v[i].directory_dn, "uid=alice,dc=example");
	}
	ck_assert_str_eq(l.v[1].status, "revoking");
	store_certificate_list_clear(&l);
	OK(store_revocations_of(admin, 1, &r, &err));
	ck_assert_uint_eq(r.n, 1);
	store_revocation_list_clear(&r);
	store_close(admin);
}
END_TEST

START_TEST(a_store_of_version_6_keeps_who_left_renewals_and_campaigns)
{
	static const char *const tables[] = {
		"SELECT id, address, state, next_at, disabled, gone_since, gone_ended, gone_why, gone_by FROM enrollments ORDER BY id",
		"SELECT id, status, in_directory, directory_next_at, directory_attempts, directory_class, directory_why FROM certificates ORDER BY id",
		"SELECT * FROM departures_held", "SELECT * FROM renewals", "SELECT * FROM campaigns", "SELECT * FROM campaign_rows",
		"SELECT id, enrollment_id, address_key, dn, attribute, hex(value), at, restored_at FROM directory_saved", NULL};
	char path[400], folder[400], *before, *after;
	struct store_settings s = store_elsewhere(path, "old");
	struct store *admin;
	struct store_campaign campaign;
	bool found;

	folder_of(folder, path);
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	load_dump(path, "store_version_6.sql");
	before = everything(path, tables);
	OK(store_upgrade(&s, &err));
	after = everything(path, tables);
	ck_assert_str_eq(before, after);
	ck_assert_ptr_nonnull(strstr(before, "gone_why=disabled"));
	ck_assert_ptr_nonnull(strstr(before, "directory_why=the directory is down"));
	admin = store_open(&s, STORE_ROLE_ADMIN, &err);
	ck_assert_msg(admin != NULL, "%s", err.text);
	OK(store_check(admin, &err));
	OK(store_campaign_get(admin, &campaign, &found, &err));
	ck_assert(found);
	store_campaign_clear(&campaign);
	store_close(admin);
	free(before);
	free(after);
}
END_TEST

/* Commands that open the store say what to do; who only looks or copies changes nothing. */
START_TEST(nobody_but_enrolld_and_the_command_for_it_upgrades_a_store)
{
	static const char *const tables[] = {"SELECT type, name, sql FROM sqlite_master ORDER BY name", "SELECT * FROM meta", "SELECT * FROM migrations", NULL};
	char path[400], folder[400], copy[400], again[400], *before, *after;
	struct store_settings s = store_elsewhere(path, "old"), r = store_elsewhere(again, "again");
	struct store_look look;

	folder_of(folder, path);
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	load_dump(path, "store_version_5.sql");
	before = everything(path, tables);
	ck_assert_ptr_null(store_open(&s, STORE_ROLE_ADMIN, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "schema 5"));
	ck_assert_ptr_nonnull(strstr(err.text, "`enrollctl store upgrade`"));
	OK(store_look(&s, true, &look, &err));
	ck_assert_int_eq(look.schema, 5);
	ck_assert_int_eq(look.readable_by, 5);
	ck_assert_int_eq(look.upgraded_at, 1795948800);
	ck_assert_str_eq(look.upgraded_by, "enroll-milter 0.1.0");
	snprintf(copy, sizeof(copy), "%s/backup.db", f.dir);
	OK(store_backup(&s, copy, &err));
	OK(store_restore(&r, copy, &err));
	for (int i = 0; i < 3; i++) {
		after = everything(i == 0 ? path : i == 1 ? copy : again, tables);
		ck_assert_str_eq(before, after);
		free(after);
	}
	free(before);
	OK(store_upgrade(&r, &err));
	OK(store_upgrade(&r, &err));
	OK(store_look(&r, false, &look, &err));
	ck_assert_int_eq(look.schema, store_schema_version());
	ck_assert_int_eq(look.readable_by, store_schema_readable_by());
}
END_TEST

START_TEST(a_newer_or_damaged_store_is_looked_at_and_not_upgraded)
{
	struct store_look look;

	request("alice@example.org");
	run_sql(f.settings.path, "UPDATE meta SET value = '999' WHERE name = 'schema_version'; PRAGMA user_version = 998");
	OK(store_look(&f.settings, true, &look, &err));
	ck_assert_int_eq(look.schema, 999);
	ck_assert_int_eq(look.readable_by, 998);
	ck_assert(!store_upgrade(&f.settings, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "999"));
	run_sql(f.settings.path, "UPDATE meta SET value = '6' WHERE name = 'schema_version'; PRAGMA foreign_keys = OFF; UPDATE enrollments SET key_id = 4711");
	ck_assert(!store_look(&f.settings, true, &look, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_int_eq(look.schema, 6);
	ck_assert(!store_upgrade(&f.settings, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "enrollments"));
	OK(store_look(&f.settings, false, &look, &err));
	ck_assert_int_eq(look.schema, 6);
	unlink(f.settings.path);
	ck_assert(!store_look(&f.settings, true, &look, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "enrollctl init"));
}
END_TEST

/* Upgraded or made anew: the same tables. */
START_TEST(a_migrated_store_is_built_like_a_new_one)
{
	static const char sql[] = "SELECT COUNT(*) FROM (SELECT type, name, tbl_name, sql FROM sqlite_master EXCEPT"
				  " SELECT type, name, tbl_name, sql FROM old.sqlite_master)";
	static const int versions[] = {1, 2, 3, 5, 6};
	char path[400], folder[400], attach[500], dump[40];
	struct store_settings s = store_elsewhere(path, "old");
	struct store *store;
	sqlite3 *h;

	folder_of(folder, path);
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	snprintf(dump, sizeof(dump), "store_version_%d.sql", versions[_i]);
	load_dump(path, dump);
	store = store_open(&s, STORE_ROLE_ENROLLD, &err);
	ck_assert_msg(store != NULL, "%s", err.text);
	store_close(store);
	ck_assert_int_eq(sqlite3_open(f.settings.path, &h), SQLITE_OK);
	snprintf(attach, sizeof(attach), "ATTACH '%s' AS old", path);
	ck_assert_int_eq(sqlite3_exec(h, attach, NULL, NULL, NULL), SQLITE_OK);
	check_answer(h, sql, "0");
	sqlite3_close(h);
}
END_TEST

/* Every schema that was ever released must lead to the current one. */
START_TEST(the_schema_of_this_program_says_its_version)
{
	sqlite3 *h;
	char version[16];

	snprintf(version, sizeof(version), "%d", store_schema_version());
	ck_assert_int_eq(sqlite3_open(f.settings.path, &h), SQLITE_OK);
	check_answer(h, "SELECT value FROM meta WHERE name = 'schema_version'", version);
	check_answer(h, "SELECT COUNT(*) FROM migrations", version);
	check_answer(h, "PRAGMA journal_mode", "wal");
	sqlite3_close(h);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_upgrade");
	TCase *tc = tcase_create("schemas");

	if (store_left_out("test_store_upgrade", "older stores of SQLite"))
		return 77;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_schema_is_brought_forward_step_by_step_and_a_failed_step_leaves_the_one_before);
	tcase_add_test(tc, what_milters_have_to_know_never_becomes_less);
	tcase_add_loop_test(tc, a_store_of_version_1_goes_on_with_all_its_rows, 0, 2);
	tcase_add_test(tc, a_store_of_version_2_keeps_every_value_and_learns_what_rules_need);
	tcase_add_test(tc, a_store_of_version_3_keeps_its_mail_events);
	tcase_add_test(tc, a_store_of_version_5_keeps_what_is_in_the_directory);
	tcase_add_test(tc, a_store_of_version_6_keeps_who_left_renewals_and_campaigns);
	tcase_add_test(tc, nobody_but_enrolld_and_the_command_for_it_upgrades_a_store);
	tcase_add_test(tc, a_newer_or_damaged_store_is_looked_at_and_not_upgraded);
	tcase_add_loop_test(tc, a_migrated_store_is_built_like_a_new_one, 0, 5);
	tcase_add_test(tc, the_schema_of_this_program_says_its_version);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
