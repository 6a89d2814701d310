/*
 * tests/unit/test_store_copy.c - a store moved to another place: from a file into the store of this run's engine and back, killed on the way, undone.
 */
#include "config.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "store/sqlite.h"
#include "store/tables.h"
#include "tests/unit/test_store.h"

/* ---- places ---------------------------------------------------------------------------------------------------------- */

/* A file in the test's folder, whatever the engine of the run is. */
struct place { char path[400]; struct store_settings s; };

static void place_file(struct place *p, const char *name)
{
	char folder[400];

	p->s = store_elsewhere(p->path, name);
	p->s.path = p->path;
	p->s.type = NULL;
	folder_of(folder, p->path);
	mkdir(folder, 0700);
}

/* Where a store of this run's engine can be made. */
static void place_new(struct place *p, const char *name)
{
	place_file(p, name);
#ifdef HAVE_POSTGRESQL
	if (store_on_postgresql()) {
		char database[64];

		postgresql_make(database);
		p->s.type = f.settings.type;
		p->s.connection = postgresql_connection(database);
	}
#endif
}

static void place_forget(struct place *p)
{
#ifdef HAVE_POSTGRESQL
	if (p->s.type != NULL && strcmp(p->s.type, "postgresql") == 0) {
		postgresql_drop(strstr(p->s.connection, "dbname=") + 7);
		free(p->s.connection);
	}
#endif
}

static void load_dump(const char *path, int version)
{
	const char *src = getenv("srcdir");
	struct buf dump = BUF_INIT;
	char from[600];

	snprintf(from, sizeof(from), "%s/tests/unit/store_version_%d.sql", src != NULL ? src : ".", version);
	OK(file_read(&dump, from, 1 << 20, &err));
	run_sql(path, buf_str(&dump));
	buf_clear(&dump);
}

static struct store *opened(const struct place *p, enum store_role role)
{
	struct store *s = store_open(&p->s, role, &err);

	ck_assert_msg(s != NULL, "%s", err.text);
	return s;
}

static void refuses(const struct place *p, const char *words)
{
	for (int role = STORE_ROLE_OUTBOUND; role <= STORE_ROLE_ADMIN; role++) {
		ck_assert_ptr_null(store_open(&p->s, (enum store_role)role, &err));
		ck_assert_int_eq(err.class, ERR_CONFIG);
		ck_assert_msg(strstr(err.text, words) != NULL, "%s", err.text);
		ck_assert(store_is_too_new(&err));
	}
}

static void works(const struct place *p)
{
	for (int role = STORE_ROLE_OUTBOUND; role <= STORE_ROLE_ADMIN; role++) {
		struct store *s = opened(p, (enum store_role)role);

		OK(store_ready(s, &err));
		store_close(s);
	}
}

static void same_tables(const struct store_copy_job *a, const struct store_copy_job *b)
{
	ck_assert_uint_eq(a->n, tables_n);
	ck_assert_uint_eq(b->n, tables_n);
	for (size_t i = 0; i < a->n; i++) {
		ck_assert_str_eq(a->tables[i].table, tables[i].name);
		ck_assert_int_eq(a->tables[i].rows, b->tables[i].rows);
		ck_assert_str_eq(a->tables[i].digest, b->tables[i].digest);
		ck_assert_uint_eq(strlen(a->tables[i].digest), 64);
	}
}

/* ---- what there is to move -------------------------------------------------------------------------------------------- */

static const struct store_key a_key = {.wrapped = (const unsigned char *)"wrapped\0for", .wrapped_len = 11,
	.spki_sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"};

static void with_certificate(int64_t id)
{
	struct enrollment row;
	struct store_certificate c = {.der = (unsigned char *)(uintptr_t) "\x30\x00\xff der", .der_len = 7, .serial = (char *)(uintptr_t) "0a",
		.issuer = (char *)(uintptr_t) "CN=Größe", .fingerprint = (char *)(uintptr_t) "ff", .addresses = (char *)(uintptr_t) "a@example.org",
		.not_before = 1, .not_after = time(NULL) + 86400, .status = (char *)(uintptr_t) "active"};
	struct store_step step = {.row = &row, .actor = "test", .certificate = &c, .new_key = &a_key, .count_order = true};

	store_fixture_claim(enrolld, id, &row);
	row.state = ENROLLMENT_ACTIVE;
	ck_assert(commit(&step));
	enrollment_clear(&row);
}

/* Some of everything that the store's own calls make, and enough mail events for several batches. */
static void fill(size_t mails)
{
	int64_t id = request("a@example.org");
	struct mail_event m = {.at = 5, .from = (char *)(uintptr_t) "a@example.org", .verdict = (char *)(uintptr_t) "signed", .reason = (char *)(uintptr_t) ""};
	struct enrollment row;
	bool created;

	with_certificate(id);
	row = get(id);
	OK(store_enrollment_companion_request(enrolld, &row, &created, &err));
	ck_assert(created);
	enrollment_clear(&row);
	id = request("b@example.org");
	move(id, ENROLLMENT_ORDERED, NULL);
	add_challenge(id, "token", "<m1@ca.example>");
	OK(store_flag_set(enrolld, "paused", "1 \"quoted\" \\ back", "admin:root", &err));
	for (size_t i = 0; i < mails; i += 100) {
		struct mail_event many[100];

		for (size_t k = 0; k < 100; k++)
			many[k] = m;
		OK(store_mail_events_add(outbound, many, 100, 1000000, &err));
	}
}

/* ---- tests ------------------------------------------------------------------------------------------------------------- */

START_TEST(the_list_of_tables_is_that_of_the_database)
{
	struct place p;
	struct store *s;
	sqlite3 *h;
	char answer[40], sql[300];
	int64_t n = 0;

	place_file(&p, "list");
	OK(store_create(&p.s, &err));
	s = opened(&p, STORE_ROLE_ADMIN);
	store_close(s);
	ck_assert_int_eq(sqlite3_open(p.path, &h), SQLITE_OK);
	for (size_t i = 0; i < tables_n; i++) {
		struct table_column c[TABLE_COLUMNS_MAX];
		size_t columns = table_columns(&tables[i], c);

		for (size_t k = 0; k < columns; k++) {
			snprintf(sql, sizeof(sql), "SELECT type || pk FROM pragma_table_info('%.60s') WHERE name = '%.60s'", tables[i].name, c[k].name);
			OK(sqlite_ask(h, sql, answer, sizeof(answer), "test", "test", &err));
			snprintf(sql, sizeof(sql), "%s%u", c[k].type == DB_INT ? "INTEGER" : c[k].type == DB_BLOB ? "BLOB" : "TEXT",
				k < tables[i].n_key ? (unsigned)k + 1 : 0);
			ck_assert_msg(strcmp(answer, sql) == 0, "%s.%s is %s, the list says %s", tables[i].name, c[k].name, answer, sql);
		}
		n += (int64_t)columns;
	}
	OK(sqlite_ask(h, "SELECT COUNT(*) FROM sqlite_master m, pragma_table_info(m.name) WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'"
			 " AND m.name NOT IN ('meta','migrations')", answer, sizeof(answer), "test", "test", &err));
	ck_assert_int_eq(atoll(answer), n);
	sqlite3_close(h);
}
END_TEST

START_TEST(a_store_of_any_age_goes_there_and_back)
{
	static const int versions[] = {1, 2, 3, 5, 6};
	struct place old, new, again;
	struct store_copy_job there = {0}, back = {0};
	struct store *s;

	place_file(&old, "old");
	place_new(&new, "new");
	place_file(&again, "again");
	load_dump(old.path, versions[_i]);
	OK(store_upgrade(&old.s, &err));
	OK(store_copy(&old.s, &new.s, &there, &err));
	ck_assert(there.made);
	ck_assert_int_gt(there.rows, 5);
	refuses(&old, "moved to");
	works(&new);
	OK(store_copy(&new.s, &again.s, &back, &err));
	same_tables(&there, &back);
	refuses(&new, "moved to");
	works(&again);
	/* New rows come after the old ones. */
	s = opened(&again, STORE_ROLE_ENROLLD);
	OK(store_event_add(s, 0, "paused", "test", ERR_NONE, "text", &err));
	store_close(s);
	place_forget(&new);
}
END_TEST

START_TEST(what_the_store_wrote_is_there_behind_it_and_goes_on)
{
	struct place file, new;
	struct store_copy_job there = {0}, back = {0};
	struct store_credential c = {0};
	struct store *s;
	const char *why;
	int64_t id = 0;
	bool found, created;

	fill(2500);
	place_file(&file, "file");
	place_new(&new, "new");
	OK(store_copy(&f.settings, &file.s, &there, &err));
	/* Who has it open learns of it. */
	ck_assert(!store_enrollment_request(outbound, "c@example.org", "p", "sign", "x", &created, &id, &err));
	ck_assert_msg(strstr(err.text, file.path) != NULL, "%s", err.text);
	ck_assert(!store_flag_set(enrolld, "paused", NULL, "test", &err));
	ck_assert(store_is_too_new(&err));
	for (int i = 0; i < 300 && store_change_counter(outbound) >= 0; i++)
		usleep(10000);
	ck_assert_int_eq(store_change_counter(outbound), -1);
	OK(store_copy(&file.s, &new.s, &back, &err));
	same_tables(&there, &back);
	s = opened(&new, STORE_ROLE_OUTBOUND);
	OK(store_credential_find(s, "a@example.org", &c, &found, &why, &err));
	ck_assert(found);
	ck_assert_uint_eq(c.wrapped_len, a_key.wrapped_len);
	ck_assert_int_eq(memcmp(c.wrapped, a_key.wrapped, a_key.wrapped_len), 0);
	store_credential_clear(&c);
	OK(store_enrollment_request(s, "c@example.org", "p", "sign", "x", &created, &id, &err));
	ck_assert(created);
	ck_assert_int_eq(id, 4);
	store_close(s);
	place_forget(&new);
}
END_TEST

struct killer { int at, calls; };

static void kill_at(void *arg, const char *what, int64_t done, int64_t of)
{
	struct killer *k = arg;

	if (++k->calls == k->at)
		raise(SIGKILL);
}

/* Was it killed? */
static bool copy_in_child(const struct store_settings *from, const struct store_settings *to, int at)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct killer k = {.at = at};
		struct store_copy_job job = {.progress = kill_at, .arg = &k};

		if (!store_copy(from, to, &job, &err)) {
			fprintf(stderr, "%s: %s: %s\n", err.op, err.subject, err.text);
			_exit(1);
		}
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
	return WIFSIGNALED(status);
}

static void count_calls(void *arg, const char *what, int64_t done, int64_t of)
{
	++*(int *)arg;
}

/* How often a copy tells how far it is, when all of it has been there before. */
static int calls_of_a_copy(const struct store_settings *from, const struct store_settings *to)
{
	int calls = 0;

	for (int i = 0; i < 2; i++) {
		struct store_copy_job job = {.progress = count_calls, .arg = &calls};

		calls = 0;
		OK(store_copy(from, to, &job, &err));
		OK(store_move_undo(from, to, false, &err));
	}
	return calls;
}

/* The server may take a moment to see that its client is gone. */
static bool copy_soon(const struct store_settings *from, const struct store_settings *to, struct store_copy_job *job)
{
	for (int i = 0; i < 100; i++) {
		memset(job, 0, sizeof(*job));
		if (store_copy(from, to, job, &err) || err.class != ERR_TEMPORARY)
			break;
		usleep(100000);
	}
	return err.class == ERR_NONE;
}

START_TEST(killed_at_any_moment_it_goes_on_and_there_is_never_more_than_one_store)
{
	struct place file, back;
	struct store_copy_job job = {0}, whole = {0};
	int killed = 0, last;
	bool handed_over = false;

	fill(2500);
	teardown_handles();
	place_file(&back, "back");
	place_new(&file, "file");
	for (int at = 1; copy_in_child(&f.settings, &file.s, at); at += at < 4 ? 1 : 4) {
		struct store *s = store_open(&f.settings, STORE_ROLE_ADMIN, &err);

		killed++;
		ck_assert(s != NULL || (handed_over = strstr(err.text, "moved to") != NULL));
		store_close(s);
		refuses(&file, "not complete");
	}
	ck_assert_int_gt(killed, 6);
	works(&file);
	OK(copy_soon(&file.s, &back.s, &whole));
	ck_assert_int_gt(whole.rows, 2500);
	/* And once more, killed between the two marks. */
	place_forget(&file);
	place_new(&file, "once");
	for (last = calls_of_a_copy(&back.s, &file.s) + 1; !copy_in_child(&back.s, &file.s, last); last--)
		OK(store_move_undo(&back.s, &file.s, false, &err));
	refuses(&back, "moved to");
	refuses(&file, "not complete");
	OK(copy_soon(&back.s, &file.s, &job));
	same_tables(&job, &whole);
	ck_assert_int_eq(job.there, job.rows);
	works(&file);
	refuses(&back, "moved to");
	place_forget(&file);
}
END_TEST

START_TEST(a_source_that_changed_in_between_is_copied_anew)
{
	struct place new;
	struct store_copy_job job = {0};

	fill(2500);
	place_new(&new, "new");
	teardown_handles();
	ck_assert(copy_in_child(&f.settings, &new.s, 12));
	store_fixture_sql(&f, "UPDATE enrollments SET why = 'something else' WHERE id = 1");
	OK(copy_soon(&f.settings, &new.s, &job));
	ck_assert(job.anew);
	works(&new);
	place_forget(&new);
}
END_TEST

START_TEST(a_store_with_rows_is_never_overwritten)
{
	struct place other;
	struct store_copy_job job = {0};
	struct store *s;

	place_new(&other, "other");
	OK(store_create(&other.s, &err));
	s = opened(&other, STORE_ROLE_OUTBOUND);
	OK(store_enrollment_request(s, "x@example.org", "p", "sign", "x", &(bool){false}, NULL, &err));
	store_close(s);
	ck_assert(!store_copy(&f.settings, &other.s, &job, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "never overwritten"));
	ck_assert(!store_copy(&f.settings, &f.settings, &job, &err));
	works(&other);
	place_forget(&other);
}
END_TEST

START_TEST(a_dry_run_writes_nothing_and_a_writer_keeps_it_out)
{
	struct place new;
	struct store_copy_job job = {.dry_run = true};
	struct stat st;

	fill(0);
	place_new(&new, "new");
	OK(store_copy(&f.settings, &new.s, &job, &err));
	ck_assert(job.made);
	ck_assert_int_gt(job.rows, 5);
	if (!store_on_postgresql())
		ck_assert_int_ne(stat(new.path, &st), 0);
	ck_assert(!store_move_undo(&f.settings, &new.s, false, &err));
	request("z@example.org");
	place_forget(&new);
}
END_TEST

/* Whoever looked while it was moved was cut off, and comes back by itself. */
static void back_again(struct store *s)
{
	for (int i = 0; i < 500 && store_change_counter(s) < 0; i++)
		usleep(10000);
}

START_TEST(a_move_is_undone_unless_it_was_confirmed_or_the_new_store_has_changed)
{
	struct place new;
	struct store_copy_job job = {0};
	struct store_moved m;
	struct store *s;

	fill(0);
	place_new(&new, "new");
	OK(store_copy(&f.settings, &new.s, &job, &err));
	OK(store_moved_look(&f.settings, &m, &err));
	ck_assert(m.moved && !m.copying && !m.final);
	OK(store_move_undo(&f.settings, &new.s, false, &err));
	back_again(outbound);
	request("c@example.org");
	refuses(&new, "not complete");
	OK(store_moved_look(&new.s, &m, &err));
	ck_assert(m.copying && !m.moved);
	/* Again, with what is there. */
	memset(&job, 0, sizeof(job));
	OK(store_copy(&f.settings, &new.s, &job, &err));
	s = opened(&new, STORE_ROLE_OUTBOUND);
	OK(store_enrollment_request(s, "d@example.org", "p", "sign", "x", &(bool){false}, NULL, &err));
	ck_assert(!store_move_undo(&f.settings, &new.s, false, &err));
	ck_assert_int_eq(err.class, ERR_POLICY);
	OK(store_ready(s, &err));
	OK(store_move_undo(&f.settings, &new.s, true, &err));
	ck_assert(!store_ready(s, &err));
	store_close(s);
	memset(&job, 0, sizeof(job));
	OK(store_copy(&f.settings, &new.s, &job, &err));
	ck_assert(job.anew);
	OK(store_move_confirm(&f.settings, &err));
	ck_assert(!store_move_undo(&f.settings, &new.s, false, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "confirmed"));
	works(&new);
	place_forget(&new);
}
END_TEST

START_TEST(a_place_that_was_made_for_a_copy_is_none_from_its_first_instant_on)
{
	struct place new;
	struct store_copy_job job = {0};
	struct store_settings s;

	fill(0);
	place_new(&new, "new");
	s = new.s;
	s.marked_too = true;
	OK(store_create(&s, &err));
	refuses(&new, "not complete");
	OK(store_copy(&f.settings, &new.s, &job, &err));
	ck_assert(!job.made);
	works(&new);
	place_forget(&new);
}
END_TEST

START_TEST(a_password_is_not_told)
{
	struct store_settings s = {.type = (char *)(uintptr_t) "postgresql", .connection = (char *)(uintptr_t) "postgresql://me:secret@db/enroll?sslmode=disable"};
	char place[400];

	store_place(&s, place, sizeof(place));
	ck_assert_str_eq(place, "postgresql://me@db/enroll?sslmode=disable");
	s.connection = (char *)(uintptr_t) "host=db password=secret user=me";
	store_place(&s, place, sizeof(place));
	ck_assert_str_eq(place, "host=db password=... user=me");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_copy");
	TCase *tc = tcase_create("copy");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, the_list_of_tables_is_that_of_the_database);
	tcase_add_loop_test(tc, a_store_of_any_age_goes_there_and_back, 0, 5);
	tcase_add_test(tc, what_the_store_wrote_is_there_behind_it_and_goes_on);
	tcase_add_test(tc, killed_at_any_moment_it_goes_on_and_there_is_never_more_than_one_store);
	tcase_add_test(tc, a_source_that_changed_in_between_is_copied_anew);
	tcase_add_test(tc, a_store_with_rows_is_never_overwritten);
	tcase_add_test(tc, a_dry_run_writes_nothing_and_a_writer_keeps_it_out);
	tcase_add_test(tc, a_move_is_undone_unless_it_was_confirmed_or_the_new_store_has_changed);
	tcase_add_test(tc, a_place_that_was_made_for_a_copy_is_none_from_its_first_instant_on);
	tcase_add_test(tc, a_password_is_not_told);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
