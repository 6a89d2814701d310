/*
 * tests/unit/test_store_files.c - the store as files (modes, groups, backup, restore, schemas, damage), its roles, and its query plans.
 */
#include "config.h"

#include <errno.h>
#include <grp.h>
#include <sqlite3.h>
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

static void run_sql(const char *path, const char *sql)
{
	sqlite3 *h;
	char *text = NULL;

	ck_assert_int_eq(sqlite3_open(path, &h), SQLITE_OK);
	ck_assert_msg(sqlite3_exec(h, sql, NULL, NULL, &text) == SQLITE_OK, "%s", text);
	sqlite3_close(h);
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
				!store_enrollment_request(store, "alice@example.org",
					uid == 60001   ? "a"
					: uid == 60002 ? "b"
						       : "c",
					"sign", "x", &created, NULL, &err) ||
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

START_TEST(a_newer_schema_is_refused_by_every_role)
{
	run_sql(f.settings.path, "UPDATE meta SET value = '999' WHERE name = 'schema_version'");
	ck_assert_ptr_null(store_open(&f.settings, (enum store_role)_i, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "999"));
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
	static const struct migration list[] = {{1, step_1}, {2, step_2}, {3, step_bad}}, good[] = {{1, step_1}, {2, step_2}, {3, step_3}};
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
static bool backs_up(struct store *s, struct err *e)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/backup-%p.db", f.dir, (void *)s);
	return store_backup(s, path, e);
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
		{"add mail events", mails, "oa"},
		{"read mail events", reads_mails, "ea"},
		{"back up", backs_up, "a"},
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
		{STORE_ROLE_INBOUND, "UPDATE enrollments SET next_at = 1", true},
		{STORE_ROLE_INBOUND, "UPDATE enrollments SET state = 'active'", false},
		{STORE_ROLE_INBOUND, "UPDATE enrollments SET challenge_from = 'evil@example.net'", false},
		{STORE_ROLE_INBOUND, "UPDATE challenges SET state = 'new'", false},
		{STORE_ROLE_INBOUND, "DELETE FROM challenges", false},
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
		{STORE_ROLE_OUTBOUND, "SELECT token_part1 FROM challenges", false},
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
		{STORE_ROLE_ENROLLD, "DELETE FROM events", false},
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

/* A hundred thousand users, most of them active, some waiting, a few in flight. */
static const char crowd[] =
	"BEGIN;"
	"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
	" INSERT INTO enrollments (id, address, address_key, addresses, profile, usage, state, resume, state_since, next_at, requested_at)"
	" SELECT i, printf('user%d@example.org', i), printf('user%d@example.org', i), printf('user%d@example.org', i), 'mailbox-strict', "
	"'sign',"
	" CASE WHEN i % 100 = 0 THEN 'challenge-awaited' ELSE 'active' END, 'requested', 1, 2000000000 + i, 1 FROM n;"
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

		/* The partial index holds only the rows that somebody works on. */
		ck_assert_msg(strncmp(detail, "SCAN", 4) != 0 || strcmp(detail, "SCAN CONSTANT ROW") == 0 ||
				      strstr(detail, "enrollments_leased") != NULL || may_scan(sql),
			"%s\n  %s", sql, detail);
		/* Sorting is fine within one address, never over the crowd. */
		if (strstr(sql, "LIMIT 1") != NULL && strstr(sql, "next_at") != NULL && strstr(sql, "ORDER BY next_at") != NULL)
			ck_assert_msg(strstr(detail, "TEMP B-TREE") == NULL, "%s\n  %s", sql, detail);
	}
	sqlite3_finalize(explain);
	sqlite3_free(text);
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
	struct challenge challenge = {.enrollment_id = 100, .token_part1 = (char *)(uintptr_t) "t", .received_at = 1};
	struct store_step step = {
		.row = &row, .actor = "x", .event = "e", .order_outcome = "expired", .count_order = true, .challenge_state = "ignored"};
	struct awaited a;
	size_t counts[ENROLLMENT_STATES], n;
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
	OK(store_orders_since(s, 99990, &n, &err));
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
	Suite *suite = suite_create("store_files");
	TCase *tc = tcase_create("store_files");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, files_belong_to_the_group_whatever_the_umask, 0, 3);
	tcase_add_test(tc, members_of_the_group_work_in_the_same_store);
	tcase_add_test(tc, an_existing_store_or_leftovers_of_one_are_not_overwritten);
	tcase_add_test(tc, a_place_that_does_not_fit_is_refused_with_the_remedy);
	tcase_add_test(tc, what_is_no_store_of_ours_is_not_opened);
	tcase_add_loop_test(tc, a_newer_schema_is_refused_by_every_role, 0, 4);
	tcase_add_test(tc, a_schema_is_brought_forward_step_by_step_and_a_failed_step_leaves_the_one_before);
	tcase_add_test(tc, the_schema_of_this_program_says_its_version);
	tcase_add_loop_test(tc, a_store_that_may_only_be_read_is_a_configuration_error_with_the_remedy, 0, 2);
	tcase_add_test(tc, a_full_disk_passes_by_itself_and_costs_nothing_that_was_written);
	tcase_add_loop_test(tc, a_store_removed_or_replaced_under_us_is_noticed, 0, 2);
	tcase_add_test(tc, damage_is_found_by_the_check);
	tcase_add_test(tc, a_reference_to_nothing_is_found_by_the_check);
	tcase_add_loop_test(tc, what_was_backed_up_comes_back_elsewhere, 0, 2);
	tcase_add_test(tc, a_backup_that_is_none_is_not_restored);
	tcase_add_loop_test(tc, each_role_does_its_own_work_and_nothing_else, 0, 4);
	tcase_add_test(tc, the_fence_refuses_sql_outside_the_role);
	tcase_add_test(tc, with_a_hundred_thousand_users_every_question_goes_by_an_index);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
