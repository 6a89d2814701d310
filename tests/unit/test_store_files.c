/*
 * tests/unit/test_store_files.c - the store as files: modes, groups, backup, restore, schemas, damage.
 */
#include "config.h"

#include <errno.h>
#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "store/sqlite.h"
#include "tests/unit/test_store.h"

static mode_t mode_of(const char *path, const char *tail)
{
	char name[400];
	struct stat st;

	snprintf(name, sizeof(name), "%s%s", path, tail);
	ck_assert_msg(stat(name, &st) == 0, "%s: %s", name, strerror(errno));
	return st.st_mode & 07777;
}

static gid_t group_of(const char *path, const char *tail)
{
	char name[400];
	struct stat st;

	snprintf(name, sizeof(name), "%s%s", path, tail);
	ck_assert_int_eq(stat(name, &st), 0);
	return st.st_gid;
}

static void folder_of(char out[400], const char *path)
{
	snprintf(out, 400, "%s", path);
	*strrchr(out, '/') = '\0';
}

static size_t files_in(const char *dir)
{
	DIR *d = opendir(dir);
	size_t n = 0;

	while (d != NULL && readdir(d) != NULL)
		n++;
	if (d != NULL)
		closedir(d);
	return n < 2 ? 0 : n - 2;
}

/* Settings for another place in the test's folder. */
static struct store_settings elsewhere(char path[400], const char *name)
{
	struct store_settings s = f.settings;

	snprintf(path, 400, "%s/%s/store.db", f.dir, name);
	s.path = path;
	return s;
}

static void put(const char *path, const void *data, size_t len)
{
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(data, 1, len, file), len);
	fclose(file);
}

/* ---- create and open --------------------------------------------------------------------------------------------- */

START_TEST(files_belong_to_the_group_whatever_the_umask)
{
	static const mode_t masks[] = {0, 022, 0777};
	struct group *group = geteuid() == 0 ? getgrnam("daemon") : NULL;
	char path[400], folder[400];
	struct store_settings s = elsewhere(path, "other");
	struct store *store;
	bool created;

	if (group != NULL)
		s.group = group->gr_name;
	umask(masks[_i]);
	OK(store_create(&s, &err));
	store = store_open(&s, STORE_ROLE_ENROLLD, &err);
	ck_assert_msg(store != NULL, "%s", err.text);
	OK(store_enrollment_request(store, "alice@example.org", "p", "sign", "x", &created, NULL, &err));
	folder_of(folder, path);
	ck_assert_uint_eq(mode_of(folder, ""), 02770);
	ck_assert_uint_eq(mode_of(path, ""), 0660);
	ck_assert_uint_eq(mode_of(path, "-wal"), 0660);
	ck_assert_uint_eq(mode_of(path, "-shm"), 0660);
	if (group != NULL) {
		ck_assert_uint_eq(group_of(folder, ""), group->gr_gid);
		ck_assert_uint_eq(group_of(path, ""), group->gr_gid);
		ck_assert_uint_eq(group_of(path, "-wal"), group->gr_gid);
		ck_assert_uint_eq(group_of(path, "-shm"), group->gr_gid);
	}
	store_close(store);
	umask(022);
}
END_TEST

/* Two service users of one group, each leaves files that the other can go on with. */
START_TEST(members_of_the_group_work_in_the_same_store)
{
	struct group *group = getgrnam("daemon");
	char path[400];
	struct store_settings s = elsewhere(path, "other");

	if (geteuid() != 0 || group == NULL) {
		fprintf(stderr, "skipped: needs root to become other users\n");
		return;
	}
	ck_assert_int_eq(chmod(f.dir, 0755), 0);
	s.group = group->gr_name;
	OK(store_create(&s, &err));
	for (uid_t uid = 60001; uid < 60005; uid++) {
		int status;
		pid_t child = fork();

		if (child == 0) {
			struct store *store;
			bool created, member = uid != 60004;

			umask(077);
			if (setgroups(member, &group->gr_gid) != 0 || setgid(60000) != 0 || setuid(uid) != 0)
				_exit(9);
			store = store_open(&s, STORE_ROLE_OUTBOUND, &err);
			if (!member)
				_exit(store == NULL && err.class == ERR_CONFIG ? 0 : 8);
			if (store == NULL ||
				!store_enrollment_request(store,
					uid == 60001   ? "alice@example.org"
					: uid == 60002 ? "bob@example.org"
						       : "carol@example.org",
					"p", "sign", "x", &created, NULL, &err) ||
				!created) {
				fprintf(stderr, "%d: %s\n", (int)uid, err.text);
				_exit(1);
			}
			/* The first leaves without closing: its -wal and -shm stay behind, and are its own. */
			if (uid != 60001)
				store_close(store);
			_exit(0);
		}
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		ck_assert_int_eq(status, 0);
	}
}
END_TEST

START_TEST(an_existing_store_or_leftovers_of_one_are_not_overwritten)
{
	char path[400], wal[410], folder[400];
	struct store_settings s = elsewhere(path, "other");

	request("alice@example.org");
	ck_assert(!store_create(&f.settings, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	request("alice@example.org");
	folder_of(folder, path);
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	snprintf(wal, sizeof(wal), "%s-wal", path);
	put(wal, "old", 3);
	ck_assert(!store_create(&s, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_uint_eq(files_in(folder), 1);
	unlink(wal);
	OK(store_create(&s, &err));
	ck_assert_uint_eq(files_in(folder), 1);
}
END_TEST

START_TEST(a_place_that_does_not_fit_is_refused_with_the_remedy)
{
	char path[400], folder[400], other[410];
	struct store_settings s = elsewhere(path, "other");

	s.group = (char *)(uintptr_t) "no-such-group-here";
	ck_assert(!store_create(&s, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "no-such-group-here"));
	snprintf(path, sizeof(path), "%s/no/such/folder/store.db", f.dir);
	s.group = f.settings.group;
	ck_assert(!store_create(&s, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	/* A folder with other things in it is never changed. */
	s = elsewhere(path, "full");
	s.group = getgrgid(getegid())->gr_name;
	folder_of(folder, path);
	ck_assert_int_eq(mkdir(folder, 0755), 0);
	snprintf(other, sizeof(other), "%s/other", folder);
	put(other, "x", 1);
	ck_assert(!store_create(&s, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "chmod 2770"));
	ck_assert_uint_eq(mode_of(folder, ""), 0755);
	ck_assert_uint_eq(files_in(folder), 1);
	unlink(other);
	OK(store_create(&s, &err));
	ck_assert_uint_eq(mode_of(folder, ""), 02770);
}
END_TEST

START_TEST(what_is_no_store_of_ours_is_not_opened)
{
	char path[400], folder[400];
	struct store_settings s = elsewhere(path, "other");

	folder_of(folder, path);
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	ck_assert_ptr_null(store_open(&s, STORE_ROLE_ENROLLD, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "enrollctl init"));
	put(path, "", 0);
	ck_assert_ptr_null(store_open(&s, STORE_ROLE_ENROLLD, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	put(path, "this is not a database, but it is long enough to look at, is it not? this is not a database, really it is none", 110);
	ck_assert_ptr_null(store_open(&s, STORE_ROLE_ENROLLD, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	unlink(path);
	run_sql(path, "CREATE TABLE meta (name TEXT, value TEXT); INSERT INTO meta VALUES ('schema_version', '1')");
	ck_assert_ptr_null(store_open(&s, STORE_ROLE_ADMIN, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "another program"));
	s.type = (char *)(uintptr_t) "oracle";
	ck_assert_ptr_null(store_open(&s, STORE_ROLE_ADMIN, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
}
END_TEST

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
	put(path, "", 0);
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
	put(path, "", 0);
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
	struct store_settings s = elsewhere(path, "old");
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
	check_answer(h, "SELECT value FROM meta WHERE name = 'schema_version'", "7");
	check_answer(h, "SELECT COUNT(*) FROM migrations", "7");
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
	struct store_settings s = elsewhere(path, "old");
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
	struct store_settings s = elsewhere(path, "old");
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
	struct store_settings s = elsewhere(path, "old");
	struct store_certificate_list l;
	struct store_revocation_list r;
	struct store *admin;

	folder_of(folder, path);
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	load_dump(path, "store_version_5.sql");
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

/* Upgraded or made anew: the same tables. */
START_TEST(a_migrated_store_is_built_like_a_new_one)
{
	static const char sql[] = "SELECT COUNT(*) FROM (SELECT type, name, tbl_name, sql FROM sqlite_master EXCEPT"
				  " SELECT type, name, tbl_name, sql FROM old.sqlite_master)";
	static const int versions[] = {1, 2, 3, 5};
	char path[400], folder[400], attach[500], dump[40];
	struct store_settings s = elsewhere(path, "old");
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

/* ---- trouble ----------------------------------------------------------------------------------------------------- */

START_TEST(a_store_that_may_only_be_read_is_a_configuration_error_with_the_remedy)
{
	char folder[400];
	int status;
	pid_t child;

	if (geteuid() != 0) {
		fprintf(stderr, "skipped: needs root to become another user\n");
		return;
	}
	folder_of(folder, f.settings.path);
	ck_assert_int_eq(chmod(f.dir, 0755), 0);
	ck_assert_int_eq(chmod(folder, _i == 0 ? 0755 : 0700), 0);
	ck_assert_int_eq(chmod(f.settings.path, 0644), 0);
	child = fork();
	if (child == 0) {
		bool good;

		if (setgroups(0, NULL) != 0 || setgid(60000) != 0 || setuid(60001) != 0)
			_exit(9);
		good = store_open(&f.settings, STORE_ROLE_OUTBOUND, &err) == NULL && err.class == ERR_CONFIG &&
		       strstr(err.text, "2770") != NULL;
		if (!good)
			fprintf(stderr, "[%s] %s\n", err_class_name(err.class), err.text);
		_exit(good ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(a_store_removed_or_replaced_under_us_is_noticed)
{
	char aside[400];
	bool created;

	request("alice@example.org");
	ck_assert_int_ne(store_change_counter(outbound), -1);
	snprintf(aside, sizeof(aside), "%s/aside.db", f.dir);
	ck_assert_int_eq(rename(f.settings.path, aside), 0);
	if (_i == 1)
		put(f.settings.path, "x", 1);
	ck_assert_int_eq(store_change_counter(outbound), -1);
	ck_assert(!store_enrollment_request(outbound, "bob@example.org", "p", "sign", "x", &created, NULL, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_int_eq(rename(aside, f.settings.path), 0);
	ck_assert_int_ne(store_change_counter(outbound), -1);
	request("bob@example.org");
}
END_TEST

START_TEST(damage_is_found_by_the_check)
{
	FILE *file;
	long size;
	static const char noise[512] = {1, 2, 3, 4, 5};

	for (int i = 0; i < 60; i++) {
		char address[64];

		snprintf(address, sizeof(address), "user%d@example.org", i);
		request(address);
	}
	OK(store_check(enrolld, &err));
	teardown_handles();
	file = fopen(f.settings.path, "r+");
	fseek(file, 0, SEEK_END);
	size = ftell(file);
	for (long at = 8192; at + 4096 <= size; at += 4096) {
		fseek(file, at, SEEK_SET);
		fwrite(noise, 1, sizeof(noise), file);
	}
	fclose(file);
	enrolld = store_open(&f.settings, STORE_ROLE_ENROLLD, &err);
	ck_assert(enrolld == NULL || !store_check(enrolld, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "restore"));
}
END_TEST

START_TEST(a_reference_to_nothing_is_found_by_the_check)
{
	request("alice@example.org");
	run_sql(f.settings.path, "PRAGMA foreign_keys = OFF; UPDATE enrollments SET key_id = 4711");
	ck_assert(!store_check(enrolld, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "enrollments"));
}
END_TEST

/* ---- backup and restore ------------------------------------------------------------------------------------------ */

START_TEST(what_was_backed_up_comes_back_elsewhere)
{
	struct store *admin = store_fixture_open(&f, STORE_ROLE_ADMIN), *other;
	struct store_credential c = {0};
	char path[400], copy[400], folder[400];
	struct store_settings s = elsewhere(path, "other");
	const char *why;
	bool found;

	store_fixture_activate(enrolld, "alice@example.org", "wrapped", 7,
		"0000000000000000000000000000000000000000000000000000000000000001", "der", 3, NULL, 0);
	snprintf(copy, sizeof(copy), "%s/backup.db", f.dir);
	umask(_i == 0 ? 0 : 0777);
	OK(store_backup(admin, copy, &err));
	ck_assert_uint_eq(mode_of(copy, ""), 0600);
	ck_assert(!store_backup(admin, copy, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	/* Later changes are not in it. */
	request("bob@example.org");
	OK(store_restore(&s, copy, &err));
	umask(022);
	ck_assert(!store_restore(&s, copy, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	folder_of(folder, path);
	ck_assert_uint_eq(mode_of(path, ""), 0660);
	ck_assert_uint_eq(mode_of(folder, ""), 02770);
	other = store_open(&s, STORE_ROLE_OUTBOUND, &err);
	ck_assert_msg(other != NULL, "%s", err.text);
	OK(store_credential_find(other, "alice@example.org", &c, &found, &why, &err));
	ck_assert(found);
	ck_assert_mem_eq(c.wrapped, "wrapped", 7);
	store_credential_clear(&c);
	OK(store_credential_find(other, "bob@example.org", &c, &found, &why, &err));
	ck_assert_str_eq(why, "no enrollment");
	store_close(other);
	store_close(admin);
	ck_assert_uint_eq(files_in(folder), 1);
	/* The backup is one file, and there is no draft left beside it: the folder has it and the two stores. */
	ck_assert_uint_eq(files_in(f.dir), 3);
}
END_TEST

START_TEST(a_backup_that_is_none_is_not_restored)
{
	char path[400], copy[400], folder[400];
	struct store_settings s = elsewhere(path, "other");
	struct store *admin = store_fixture_open(&f, STORE_ROLE_ADMIN);

	snprintf(copy, sizeof(copy), "%s/backup.db", f.dir);
	ck_assert(!store_restore(&s, copy, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	put(copy, "", 0);
	ck_assert(!store_restore(&s, copy, &err));
	put(copy, "nonsense nonsense nonsense nonsense nonsense nonsense nonsense nonsense nonsense nonsense nonsense nonsense", 107);
	ck_assert(!store_restore(&s, copy, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	unlink(copy);
	OK(store_backup(admin, copy, &err));
	run_sql(copy, "UPDATE meta SET value = '999' WHERE name = 'schema_version'");
	ck_assert(!store_restore(&s, copy, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "999"));
	ck_assert_int_eq(truncate(copy, 20000), 0);
	ck_assert(!store_restore(&s, copy, &err));
	folder_of(folder, path);
	ck_assert_uint_eq(files_in(folder), 0);
	/* A place where nothing can be written. */
	ck_assert(!store_backup(admin, "/proc/no/such/place.db", &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	store_close(admin);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_files");
	TCase *tc = tcase_create("store_files");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, files_belong_to_the_group_whatever_the_umask, 0, 3);
	tcase_add_test(tc, members_of_the_group_work_in_the_same_store);
	tcase_add_test(tc, an_existing_store_or_leftovers_of_one_are_not_overwritten);
	tcase_add_test(tc, a_place_that_does_not_fit_is_refused_with_the_remedy);
	tcase_add_test(tc, what_is_no_store_of_ours_is_not_opened);
	tcase_add_test(tc, a_schema_is_brought_forward_step_by_step_and_a_failed_step_leaves_the_one_before);
	tcase_add_test(tc, what_milters_have_to_know_never_becomes_less);
	tcase_add_loop_test(tc, a_store_of_version_1_goes_on_with_all_its_rows, 0, 2);
	tcase_add_test(tc, a_store_of_version_2_keeps_every_value_and_learns_what_rules_need);
	tcase_add_test(tc, a_store_of_version_3_keeps_its_mail_events);
	tcase_add_loop_test(tc, a_migrated_store_is_built_like_a_new_one, 0, 4);
	tcase_add_test(tc, a_store_of_version_5_keeps_what_is_in_the_directory);
	tcase_add_test(tc, the_schema_of_this_program_says_its_version);
	tcase_add_loop_test(tc, a_store_that_may_only_be_read_is_a_configuration_error_with_the_remedy, 0, 2);
	tcase_add_loop_test(tc, a_store_removed_or_replaced_under_us_is_noticed, 0, 2);
	tcase_add_test(tc, damage_is_found_by_the_check);
	tcase_add_test(tc, a_reference_to_nothing_is_found_by_the_check);
	tcase_add_loop_test(tc, what_was_backed_up_comes_back_elsewhere, 0, 2);
	tcase_add_test(tc, a_backup_that_is_none_is_not_restored);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
