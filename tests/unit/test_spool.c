/*
 * tests/unit/test_spool.c - milter/spool: a body comes back as it went in, from memory or file, and leaves nothing behind.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <check.h>

#include "milter/spool.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static char dir[64];
static struct err err;

static void dir_make(void)
{
	strcpy(dir, "/tmp/test-spool-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	memset(&err, 0, sizeof(err));
}

static void dir_remove(void)
{
	ck_assert_msg(rmdir(dir) == 0, "a file was left in the spool directory");
}

static unsigned char octet(uint64_t i)
{
	return (unsigned char)(i * 2654435761u >> 11);
}

static void write_octets(struct spool *s, uint64_t total, size_t piece)
{
	unsigned char data[70000];

	for (uint64_t at = spool_size(s); at < total;) {
		size_t len = total - at < piece ? (size_t)(total - at) : piece;

		for (size_t i = 0; i < len; i++)
			data[i] = octet(at + i);
		ck_assert(spool_write(s, data, len, &err));
		at += len;
	}
}

struct follow {
	uint64_t at;
	size_t largest;
	uint64_t stop_at; /* 0 = never */
};

static bool follow_piece(void *arg, const void *data, size_t len, struct err *e)
{
	struct follow *f = arg;

	size_t same = 0;

	(void)e;
	while (same < len && ((const unsigned char *)data)[same] == octet(f->at + same))
		same++;
	ck_assert_uint_eq(same, len);
	f->at += len;
	f->largest = len > f->largest ? len : f->largest;
	return f->stop_at == 0 || f->at < f->stop_at;
}

static const struct {
	const char *sentence;
	uint64_t total;
	size_t piece;
	bool file;
} sizes[] = {
	{"an empty body stays empty", 0, 1, false},
	{"one octet", 1, 1, false},
	{"a small body in odd pieces stays in memory", 5000, 37, false},
	{"a body as large as the limit stays in memory", SPOOL_MEMORY, 4096, false},
	{"one octet more moves to the file", SPOOL_MEMORY + 1, 4096, true},
	{"one large piece goes to the file at once", SPOOL_MEMORY + 10, 70000, true},
	{"a large body in milter pieces", 3000001, 65535, true},
};

START_TEST(body_comes_back)
{
	struct spool *s = spool_new(dir, &err);
	struct follow f = {0};
	unsigned char some[100];
	size_t got;

	ck_assert_ptr_nonnull(s);
	write_octets(s, sizes[_i].total, sizes[_i].piece);
	ck_assert_uint_eq(spool_size(s), sizes[_i].total);
	ck_assert_msg(spool_each(s, follow_piece, &f, &err), "%s", sizes[_i].sentence);
	ck_assert_uint_eq(f.at, sizes[_i].total);
	ck_assert_uint_le(f.largest, 65535);
	for (uint64_t at = 0; at <= sizes[_i].total; at += sizes[_i].total / 7 + 1) {
		ck_assert(spool_read(s, at, some, sizeof(some), &got, &err));
		ck_assert_uint_eq(got, sizes[_i].total - at < sizeof(some) ? sizes[_i].total - at : sizeof(some));
		for (size_t i = 0; i < got; i++)
			ck_assert_uint_eq(some[i], octet(at + i));
	}
	ck_assert(spool_read(s, sizes[_i].total + 5, some, sizeof(some), &got, &err));
	ck_assert_uint_eq(got, 0);
	spool_free(s);
}
END_TEST

START_TEST(nobody_can_find_the_file)
{
	struct spool *s = spool_new(dir, &err);
	DIR *d = opendir(dir);
	struct dirent *e;
	struct stat st;
	int fd;

	write_octets(s, 200000, 65535);
	fd = spool_fd(s, &err);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_uint_eq(st.st_nlink, 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_uint_eq((uint64_t)st.st_size, 200000);
	while ((e = readdir(d)) != NULL)
		ck_assert_msg(e->d_name[0] == '.', "%s has a name", e->d_name);
	closedir(d);
	spool_free(s);
}
END_TEST

START_TEST(descriptor_of_a_small_body_holds_it)
{
	struct spool *s = spool_new(dir, &err);
	struct follow f = {0};
	unsigned char some[10];

	write_octets(s, 10, 10);
	ck_assert_int_ge(spool_fd(s, &err), 0);
	ck_assert_int_eq(pread(spool_fd(s, &err), some, sizeof(some), 0), 10);
	write_octets(s, 300, 10);
	ck_assert(spool_each(s, follow_piece, &f, &err));
	ck_assert_uint_eq(f.at, 300);
	spool_free(s);
}
END_TEST

START_TEST(reader_may_stop)
{
	struct spool *s = spool_new(dir, &err);
	struct follow f = {.stop_at = 100000};

	write_octets(s, 400000, 65535);
	ck_assert(!spool_each(s, follow_piece, &f, &err));
	ck_assert_uint_lt(f.at, 200000);
	spool_free(s);
}
END_TEST

START_TEST(missing_directory_shows_when_the_file_is_needed)
{
	struct spool *s = spool_new("/nonexistent/spool", &err);
	char data[SPOOL_MEMORY] = "x";

	ck_assert_ptr_nonnull(s);
	ck_assert(spool_write(s, data, sizeof(data), &err));
	ck_assert(!spool_write(s, data, 1, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.subject, "/nonexistent/spool"));
	ck_assert_uint_eq(spool_size(s), sizeof(data));
	spool_free(s);
}
END_TEST

/* /dev/full cannot stand for a directory; a limit on the size of files gives the same answer from the kernel's write. */
START_TEST(full_disk_is_temporary)
{
	struct spool *s = spool_new(dir, &err);
	struct rlimit limit = {.rlim_cur = 100000, .rlim_max = 100000};
	char data[50000] = "x";
	bool ok = true;

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (int i = 0; ok && i < 10; i++)
		ok = spool_write(s, data, sizeof(data), &err);
	ck_assert(!ok);
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	ck_assert_uint_eq(spool_size(s) % sizeof(data), 0);
	spool_free(s);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("spool");
	TCase *tc = tcase_create("spool");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, dir_make, dir_remove);
	tcase_add_loop_test(tc, body_comes_back, 0, COUNT(sizes));
	tcase_add_test(tc, nobody_can_find_the_file);
	tcase_add_test(tc, descriptor_of_a_small_body_holds_it);
	tcase_add_test(tc, reader_may_stop);
	tcase_add_test(tc, missing_directory_shows_when_the_file_is_needed);
	tcase_add_test(tc, full_disk_is_temporary);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
