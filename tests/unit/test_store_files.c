/*
 * tests/unit/test_store_files.c - the store as files: modes, groups, backup, restore, damage.
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

/* ---- create and open --------------------------------------------------------------------------------------------- */

START_TEST(files_belong_to_the_group_whatever_the_umask)
{
	static const mode_t masks[] = {0, 022, 0777};
	struct group *group = geteuid() == 0 ? getgrnam("daemon") : NULL;
	char path[400], folder[400];
	struct store_settings s = store_elsewhere(path, "other");
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
	struct store_settings s = store_elsewhere(path, "other");

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
	struct store_settings s = store_elsewhere(path, "other");

	request("alice@example.org");
	ck_assert(!store_create(&f.settings, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	request("alice@example.org");
	folder_of(folder, path);
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	snprintf(wal, sizeof(wal), "%s-wal", path);
	store_put(wal, "old", 3);
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
	struct store_settings s = store_elsewhere(path, "other");

	s.group = (char *)(uintptr_t) "no-such-group-here";
	ck_assert(!store_create(&s, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "no-such-group-here"));
	snprintf(path, sizeof(path), "%s/no/such/folder/store.db", f.dir);
	s.group = f.settings.group;
	ck_assert(!store_create(&s, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	/* A folder with other things in it is never changed. */
	s = store_elsewhere(path, "full");
	s.group = getgrgid(getegid())->gr_name;
	folder_of(folder, path);
	ck_assert_int_eq(mkdir(folder, 0755), 0);
	snprintf(other, sizeof(other), "%s/other", folder);
	store_put(other, "x", 1);
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
	struct store_settings s = store_elsewhere(path, "other");

	folder_of(folder, path);
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	ck_assert_ptr_null(store_open(&s, STORE_ROLE_ENROLLD, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "enrollctl init"));
	store_put(path, "", 0);
	ck_assert_ptr_null(store_open(&s, STORE_ROLE_ENROLLD, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	store_put(path, "this is not a database, but it is long enough to look at, is it not? this is not a database, really it is none", 110);
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
		store_put(f.settings.path, "x", 1);
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
	struct store *other;
	struct store_credential c = {0};
	char path[400], copy[400], folder[400];
	struct store_settings s = store_elsewhere(path, "other");
	const char *why;
	bool found;

	store_fixture_activate(enrolld, "alice@example.org", "wrapped", 7,
		"0000000000000000000000000000000000000000000000000000000000000001", "der", 3, NULL, 0);
	snprintf(copy, sizeof(copy), "%s/backup.db", f.dir);
	umask(_i == 0 ? 0 : 0777);
	OK(store_backup(&f.settings, copy, &err));
	ck_assert_uint_eq(mode_of(copy, ""), 0600);
	ck_assert(!store_backup(&f.settings, copy, &err));
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
	ck_assert_uint_eq(files_in(folder), 1);
	/* The backup is one file, and there is no draft left beside it: the folder has it and the two stores. */
	ck_assert_uint_eq(files_in(f.dir), 3);
}
END_TEST

START_TEST(a_backup_that_is_none_is_not_restored)
{
	char path[400], copy[400], folder[400];
	struct store_settings s = store_elsewhere(path, "other");

	snprintf(copy, sizeof(copy), "%s/backup.db", f.dir);
	ck_assert(!store_restore(&s, copy, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	store_put(copy, "", 0);
	ck_assert(!store_restore(&s, copy, &err));
	store_put(copy, "nonsense nonsense nonsense nonsense nonsense nonsense nonsense nonsense nonsense nonsense nonsense nonsense", 107);
	ck_assert(!store_restore(&s, copy, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	unlink(copy);
	OK(store_backup(&f.settings, copy, &err));
	run_sql(copy, "UPDATE meta SET value = '999' WHERE name = 'schema_version'");
	ck_assert(!store_restore(&s, copy, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "999"));
	ck_assert_int_eq(truncate(copy, 20000), 0);
	ck_assert(!store_restore(&s, copy, &err));
	folder_of(folder, path);
	ck_assert_uint_eq(files_in(folder), 0);
	/* A place where nothing can be written. */
	ck_assert(!store_backup(&f.settings, "/proc/no/such/place.db", &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_files");
	TCase *tc = tcase_create("store_files");

	if (store_left_out("test_store_files", "files of SQLite, their rights, and copies of them"))
		return 77;
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, files_belong_to_the_group_whatever_the_umask, 0, 3);
	tcase_add_test(tc, members_of_the_group_work_in_the_same_store);
	tcase_add_test(tc, an_existing_store_or_leftovers_of_one_are_not_overwritten);
	tcase_add_test(tc, a_place_that_does_not_fit_is_refused_with_the_remedy);
	tcase_add_test(tc, what_is_no_store_of_ours_is_not_opened);
	tcase_add_loop_test(tc, a_store_that_may_only_be_read_is_a_configuration_error_with_the_remedy, 0, 2);
	tcase_add_loop_test(tc, a_store_removed_or_replaced_under_us_is_noticed, 0, 2);
	tcase_add_test(tc, damage_is_found_by_the_check);
	tcase_add_test(tc, a_reference_to_nothing_is_found_by_the_check);
	tcase_add_loop_test(tc, what_was_backed_up_comes_back_elsewhere, 0, 2);
	tcase_add_test(tc, a_backup_that_is_none_is_not_restored);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
