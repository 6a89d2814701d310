/*
 * tests/unit/test_base.c - base/: what a log line, an error, a buffer and a secret file may and may not be.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <check.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "base/base.h"
#include "tests/unit/log_catch.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static char dir[64];

static void dir_make(void)
{
	strcpy(dir, "/tmp/test-base-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void dir_remove(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(command), 0);
}

static const char *in_dir(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

/* ---- buffers and encodings ----------------------------------------------------------------------------------------- */

START_TEST(a_buffer_grows_and_stays_a_string)
{
	struct buf b = BUF_INIT;
	char *taken;

	ck_assert_str_eq(buf_str(&b), "");
	for (int i = 0; i < 10000; i++)
		buf_printf(&b, "%d,", i % 10);
	ck_assert_uint_eq(b.len, 20000);
	ck_assert_uint_eq(strlen(b.data), 20000);
	buf_append(&b, "\0x", 2);
	ck_assert_uint_eq(b.len, 20002);
	buf_reset(&b);
	ck_assert_str_eq(buf_str(&b), "");
	buf_puts(&b, "text");
	taken = buf_take(&b);
	ck_assert_str_eq(taken, "text");
	free(taken);
	taken = buf_take(&b);
	ck_assert_str_eq(taken, "");
	free(taken);
	buf_clear(&b);
	buf_wipe(&b);
}
END_TEST

START_TEST(a_full_buffer_says_so_and_keeps_its_limit)
{
	struct buf b = {.max = 10};

	buf_puts(&b, "0123456789");
	ck_assert(!b.failed);
	buf_putc(&b, 'x');
	ck_assert(b.failed);
	buf_puts(&b, "");
	ck_assert_uint_eq(b.len, 10);
	ck_assert_str_eq(b.data, "0123456789");
	ck_assert_ptr_null(buf_take(&b));
	ck_assert(!b.failed);
	buf_append(&b, "", SIZE_MAX);
	ck_assert(b.failed);
	buf_clear(&b);
}
END_TEST

static const struct {
	const char *sentence, *text, *data; /* data NULL: refused */
} base64urls[] = {
	{"nothing is nothing", "", ""},
	{"one octet", "Zg", "f"},
	{"two octets", "Zm8", "fo"},
	{"three octets", "Zm9v", "foo"},
	{"complete padding is accepted", "Zg==", "f"},
	{"complete padding of one is accepted", "Zm8=", "fo"},
	{"the two letters of the URL alphabet", "--__", "\xfb\xef\xff"},
	{"a plus is of the other alphabet", "++//", NULL},
	{"half a padding is refused", "Zg=", NULL},
	{"too much padding is refused", "Zm9v=", NULL},
	{"padding alone is refused", "====", NULL},
	{"padding in the middle is refused", "Zg==Zg==", NULL},
	{"one letter over is refused", "Zm9vZ", NULL},
	{"a blank is refused", "Zm9v Zm9v", NULL},
	{"a newline at the end is refused", "Zm9v\n", NULL},
	{"a blank in front is refused", " Zm9v", NULL},
};

START_TEST(base64url_table)
{
	struct buf out = BUF_INIT, back = BUF_INIT;
	bool ok = base64url_decode(&out, base64urls[_i].text, strlen(base64urls[_i].text));

	ck_assert_msg(ok == (base64urls[_i].data != NULL), "%s", base64urls[_i].sentence);
	if (ok) {
		ck_assert_msg(strcmp(buf_str(&out), base64urls[_i].data) == 0, "%s", base64urls[_i].sentence);
		base64url_encode(&back, out.data, out.len);
		ck_assert_msg(strncmp(buf_str(&back), base64urls[_i].text, back.len) == 0, "%s", base64urls[_i].sentence);
	} else {
		ck_assert_msg(out.len == 0, "%s: nothing is appended", base64urls[_i].sentence);
	}
	buf_clear(&out);
	buf_clear(&back);
}
END_TEST

START_TEST(base64_comes_back_whatever_its_length)
{
	struct buf text = BUF_INIT, back = BUF_INIT;
	unsigned char data[300];

	for (size_t n = 0; n <= sizeof(data); n++) {
		for (size_t i = 0; i < n; i++)
			data[i] = (unsigned char)(i * 7 + n);
		buf_reset(&text);
		buf_reset(&back);
		base64url_encode(&text, data, n);
		ck_assert(!strchr(buf_str(&text), '='));
		ck_assert(base64url_decode(&back, buf_str(&text), text.len));
		ck_assert_uint_eq(back.len, n);
		ck_assert(n == 0 || memcmp(back.data, data, n) == 0);
	}
	buf_reset(&text);
	for (int i = 0; i < 200; i++)
		base64_encode(&text, data, sizeof(data), 0, "");
	ck_assert_uint_eq(text.len, 200 * 400);
	buf_clear(&text);
	buf_clear(&back);
}
END_TEST

START_TEST(base64_lines_are_as_long_as_asked)
{
	struct buf out = BUF_INIT;

	base64_encode(&out, "0123456789abcdef", 16, 8, "\r\n");
	ck_assert_str_eq(buf_str(&out), "MDEyMzQ1\r\nNjc4OWFi\r\nY2RlZg==\r\n");
	buf_reset(&out);
	base64_encode(&out, "012345", 6, 8, "\n");
	ck_assert_str_eq(buf_str(&out), "MDEyMzQ1\n");
	buf_reset(&out);
	base64_encode(&out, "", 0, 76, "\n");
	ck_assert_str_eq(buf_str(&out), "");
	hex_encode(&out, "\x00\xfe", 2);
	ck_assert_str_eq(buf_str(&out), "00fe");
	buf_clear(&out);
}
END_TEST

/* ---- text ---------------------------------------------------------------------------------------------------------- */

START_TEST(questions_about_text)
{
	struct strlist l = {0};
	char n[16];

	ck_assert(text_is_one_line("Gr\xc3\xbc\xc3\x9f" "e"));
	ck_assert(text_is_one_line(""));
	ck_assert(!text_is_one_line("a\r\nBcc: eve@example.org"));
	ck_assert(!text_is_one_line("a\tb"));
	ck_assert(!text_is_one_line("\x7f"));
	ck_assert(!text_is_one_line(NULL));
	ck_assert(text_is_utf8("\xf0\x9f\x99\x82", 4));
	ck_assert(!text_is_utf8("\xf0\x9f\x99\x82", 3));
	ck_assert(!text_is_utf8("\xed\xa0\x80", 3));
	ck_assert(!text_is_utf8("\xf5\x80\x80\x80", 4));
	ck_assert(!text_is_utf8("\x80", 1));
	ck_assert(str_eq_nocase("ABC", "abc"));
	ck_assert(!str_eq_nocase("ABC", "abcd"));
	ck_assert(!str_eq_nocase("[", "{"));
	ck_assert(secret_equal("s3", "s3"));
	ck_assert(!secret_equal("s3", "s4"));
	ck_assert(!secret_equal("s3", "s"));
	ck_assert(!secret_equal(NULL, NULL));
	ck_assert_ptr_null(str_dup(NULL));
	for (int i = 0; i < 100; i++) {
		snprintf(n, sizeof(n), "N%d", i);
		ck_assert(strlist_add(&l, n));
	}
	ck_assert(strlist_has(&l, "N0") && strlist_has(&l, "N99") && !strlist_has(&l, "n99"));
	ck_assert(strlist_has_nocase(&l, "n99") && !strlist_has_nocase(&l, "n100"));
	strlist_clear(&l);
	ck_assert_uint_eq(l.n, 0);
	strlist_clear(&l);
}
END_TEST

/* ---- errors -------------------------------------------------------------------------------------------------------- */

START_TEST(an_error_may_be_wrapped_in_itself)
{
	struct err err = ERR_INIT;

	ck_assert(!err_set(&err, ERR_CA, "new order", "alice@example.org", "%s", "rejected"));
	strcpy(err.type, "old");
	err.retry_at = 5;
	ck_assert(!err_set(&err, err.class, err.op, err.subject, "the CA said: %s", err.text));
	ck_assert_str_eq(err.text, "the CA said: rejected");
	ck_assert_str_eq(err.op, "new order");
	ck_assert_str_eq(err.subject, "alice@example.org");
	ck_assert_str_eq(err.type, "");
	ck_assert_int_eq(err.retry_at, 0);
	ck_assert(!err_set(NULL, ERR_BUG, "x", "y", "z"));
	err_clear(NULL);
}
END_TEST

START_TEST(a_long_error_is_cut_between_characters)
{
	struct err err = ERR_INIT;
	char text[3001];

	for (size_t i = 0; i < sizeof(text) - 1; i += 3)
		memcpy(text + i, "\xe2\x82\xac", 3);
	text[3000] = '\0';
	err_set(&err, ERR_CA, text, text, "%s", text);
	ck_assert(text_is_utf8(err.text, strlen(err.text)) && strlen(err.text) > 1000);
	ck_assert(text_is_utf8(err.op, strlen(err.op)) && strlen(err.op) == 63);
	ck_assert(text_is_utf8(err.subject, strlen(err.subject)));
	err_set(&err, ERR_CA, NULL, NULL, "x%s", text);
	ck_assert(text_is_utf8(err.text, strlen(err.text)));
	memset(text, 0x80, sizeof(text) - 1);
	err_set(&err, ERR_CA, text, text, "%s", text);
	ck_assert_uint_eq(strlen(err.text), sizeof(err.text) - 1);
}
END_TEST

START_TEST(errors_have_the_class_that_decides_what_happens_next)
{
	struct err err = ERR_INIT;

	err_errno(&err, ENOENT, "open", "/x");
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "No such file"));
	err_errno(&err, ENOSPC, "write", "/x");
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	err_errno(&err, 99999, "write", "/x");
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	err_errno(&err, EBADF, "write", "/x");
	ck_assert_int_eq(err.class, ERR_BUG);
	err_nomem(&err, "sign");
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	err_clear(&err);
	ck_assert_int_eq(err.class, ERR_NONE);
	for (int c = ERR_NONE; c <= ERR_BUG; c++)
		ck_assert_int_eq(err_class_parse(err_class_name((enum err_class)c)), c);
	ck_assert_int_eq(err_class_parse("nonsense"), ERR_BUG);
	ck_assert_int_eq(err_class_parse(NULL), ERR_BUG);
	ck_assert_str_eq(err_class_name((enum err_class)77), "bug");
}
END_TEST

START_TEST(openssl_errors_are_drained)
{
	struct err err = ERR_INIT;

	ck_assert_ptr_null(EVP_CIPHER_fetch(NULL, "no-such-cipher", NULL));
	ck_assert(!err_openssl(&err, ERR_CONFIG, "load key", "key.pem"));
	ck_assert_ptr_nonnull(strstr(err.text, "unsupported"));
	ck_assert_uint_eq(ERR_peek_error(), 0);
	for (int i = 0; i < 50; i++)
		ck_assert_ptr_null(EVP_CIPHER_fetch(NULL, "no-such-cipher", NULL));
	err_openssl(NULL, ERR_BUG, "x", "y");
	ck_assert_uint_eq(ERR_peek_error(), 0);
	err_openssl(&err, ERR_BUG, "x", "y");
	ck_assert_str_ne(err.text, "");
}
END_TEST

/* ---- the log ------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *sentence, *value, *expect;
} log_values[] = {
	{"a word is bare", "signed", "k=signed\n"},
	{"an address is bare", "alice+x@example.org", "k=alice+x@example.org\n"},
	{"an empty value is quoted", "", "k=\"\"\n"},
	{"a blank asks for quotes", "two words", "k=\"two words\"\n"},
	{"an equals sign cannot fake a pair", "a=b", "k=\"a=b\"\n"},
	{"a newline cannot fake a line", "x\nevent=mail_done", "k=\"x\\nevent=mail_done\"\n"},
	{"a carriage return neither", "x\ry", "k=\"x\\ry\"\n"},
	{"quotes and backslashes are escaped", "\"\\", "k=\"\\\"\\\\\"\n"},
	{"UTF-8 is readable", "Gr\xc3\xbc\xc3\x9f" "e", "k=\"Gr\xc3\xbc\xc3\x9f" "e\"\n"},
	{"other bytes are not passed on", "\xff\xc3", "k=\"\\xff\\xc3\"\n"},
	{"a terminal escape is harmless", "\x1b[2J", "k=\"\\x1b[2J\"\n"},
	{"a C1 control is harmless", "\xc2\x9b" "2J", "k=\"\\xc2\\x9b2J\"\n"},
	{"a line separator is harmless", "\xe2\x80\xa8", "k=\"\\xe2\\x80\\xa8\"\n"},
	{"a right-to-left override is harmless", "\xe2\x80\xae", "k=\"\\xe2\\x80\\xae\"\n"},
	{"a missing value is left out", NULL, "event=test\n"},
};

START_TEST(log_value_table)
{
	char *line;

	unsetenv("JOURNAL_STREAM");
	ck_assert(log_open("test", LOG_TARGET_STDERR, "mail", LOG_LEVEL_INFO));
	log_catch();
	log_event(LOG_LEVEL_INFO, "test", "k", log_values[_i].value, NULL);
	line = log_caught();
	ck_assert_msg(strlen(line) >= strlen(log_values[_i].expect) &&
		strcmp(line + strlen(line) - strlen(log_values[_i].expect), log_values[_i].expect) == 0,
		"%s: %s", log_values[_i].sentence, line);
	ck_assert_msg(strchr(line, '\n') == line + strlen(line) - 1, "%s: one line", log_values[_i].sentence);
	ck_assert_msg(strstr(line, "Z test[") != NULL, "%s: time and program lead", log_values[_i].sentence);
	free(line);
}
END_TEST

START_TEST(a_log_line_has_the_parts_of_its_error)
{
	struct err err = ERR_INIT;
	char *line;

	err_set(&err, ERR_CA, "finalize order", "alice@example.org", "the CA said no");
	strcpy(err.type, "urn:ietf:params:acme:error:badCSR");
	err.retry_at = 1795334400;
	log_open("test", LOG_TARGET_JOURNAL, "mail", LOG_LEVEL_WARNING);
	log_catch();
	log_error(LOG_LEVEL_WARNING, "step_failed", &err, "enrollment", LOG_NUM(-7), "skipped", NULL, NULL);
	log_error(LOG_LEVEL_WARNING, "nothing", NULL, NULL);
	log_error(LOG_LEVEL_INFO, "not_shown", &err, NULL);
	log_event(LOG_LEVEL_DEBUG, "not_shown", NULL);
	line = log_caught();
	ck_assert_str_eq(line, "<4>event=step_failed enrollment=-7 class=ca op=\"finalize order\" subject=alice@example.org "
		"type=urn:ietf:params:acme:error:badCSR text=\"the CA said no\" retry_at=2026-11-22T08:00:00Z\n"
		"<4>event=nothing\n");
	free(line);
}
END_TEST

START_TEST(a_long_value_is_cut)
{
	char *line, *value = malloc(100001);

	memset(value, 'x', 100000);
	value[100000] = '\0';
	log_open("test", LOG_TARGET_JOURNAL, "mail", LOG_LEVEL_INFO);
	log_catch();
	log_event(LOG_LEVEL_INFO, "test", "k", value, "next", "1", NULL);
	line = log_caught();
	ck_assert_uint_eq(strlen(line), strlen("<6>event=test k=\"...\" next=1\n") + 1000);
	free(line);
	free(value);
}
END_TEST

START_TEST(a_facility_nobody_knows_is_refused)
{
	ck_assert(!log_open("test", LOG_TARGET_STDERR, "mial", LOG_LEVEL_INFO));
	ck_assert(log_open("test", LOG_TARGET_STDERR, NULL, LOG_LEVEL_INFO));
	ck_assert(log_enabled(LOG_LEVEL_INFO) && !log_enabled(LOG_LEVEL_DEBUG));
	log_set_level(LOG_LEVEL_ERROR);
	ck_assert(!log_enabled(LOG_LEVEL_WARNING));
}
END_TEST

static void *log_thread(void *arg)
{
	for (int i = 0; i < 200; i++)
		log_event(LOG_LEVEL_INFO, "thread", "who", (const char *)arg, "n", LOG_NUM(i), NULL);
	return NULL;
}

START_TEST(lines_of_threads_never_mix)
{
	static char names[][2] = {"a", "b", "c", "d"};
	pthread_t threads[4];
	size_t lines = 0;
	char *text, *save = NULL, who;
	int n, end;

	log_open("test", LOG_TARGET_JOURNAL, "mail", LOG_LEVEL_INFO);
	log_catch();
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, log_thread, names[i]), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	text = log_caught();
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save), lines++)
		ck_assert_msg(sscanf(line, "<6>event=thread who=%c n=%d%n", &who, &n, &end) == 2 && line[end] == '\0', "%s", line);
	ck_assert_uint_eq(lines, 800);
	free(text);
}
END_TEST

/* ---- files and secrets --------------------------------------------------------------------------------------------- */

static void put_file(const char *path, const char *text, mode_t mode)
{
	struct err err = ERR_INIT;

	ck_assert_msg(file_write(path, text, strlen(text), mode, -1, &err), "%s", err.text);
}

START_TEST(a_file_is_replaced_whole_with_exactly_its_mode)
{
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;
	struct stat st;
	mode_t old = umask(0);

	put_file(in_dir("f"), "one", 0640);
	umask(077);
	put_file(in_dir("f"), "two", 0664);
	umask(old);
	ck_assert_int_eq(stat(in_dir("f"), &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0664);
	ck_assert(file_read(&out, in_dir("f"), 3, &err));
	ck_assert_str_eq(buf_str(&out), "two");
	buf_clear(&out);
	/* Nothing is left behind when it cannot be done. */
	ck_assert_int_eq(mkdir(in_dir("d"), 0700), 0);
	ck_assert_int_eq(mkdir(in_dir("d/full"), 0700), 0);
	ck_assert(!file_write(in_dir("d"), "x", 1, 0600, -1, &err));
	ck_assert(!file_write(in_dir("missing/f"), "x", 1, 0600, -1, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_int_eq(chdir(dir), 0);
	ck_assert_int_eq(system("test \"$(ls -A | tr '\\n' ' ')\" = 'd f '"), 0);
	ck_assert(file_write("relative", "x", 1, 0600, -1, &err));
	ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(a_new_file_never_takes_the_place_of_another)
{
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;
	struct stat st;
	mode_t old = umask(0);

	ck_assert_msg(file_create(in_dir("f"), "one", 3, 0600, &err), "%s", err.text);
	umask(old);
	ck_assert_int_eq(stat(in_dir("f"), &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(st.st_nlink, 1);
	ck_assert(!file_create(in_dir("f"), "two", 3, 0600, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "not overwritten"));
	ck_assert(file_read(&out, in_dir("f"), 100, &err));
	ck_assert_str_eq(buf_str(&out), "one");
	buf_clear(&out);
	/* Neither that of a folder, nor of a link that leads nowhere; nor does a folder take another's. */
	ck_assert_int_eq(mkdir(in_dir("d"), 0700), 0);
	ck_assert_int_eq(mkdir(in_dir("e"), 0700), 0);
	ck_assert_int_eq(symlink("nowhere", in_dir("l")), 0);
	ck_assert(!file_create(in_dir("d"), "x", 1, 0600, &err));
	ck_assert(!file_create(in_dir("l"), "x", 1, 0600, &err));
	ck_assert_int_eq(chdir(dir), 0);
	ck_assert(!file_settle("d", "e", &err));
	ck_assert(!file_settle("d", "f", &err));
	ck_assert_msg(file_settle("d", "g", &err), "%s", err.text);
	ck_assert(!file_create("missing/f", "x", 1, 0600, &err));
	ck_assert_int_eq(system("test \"$(ls -A | tr '\\n' ' ')\" = 'e f g l '"), 0);
	ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(reading_stops_at_the_limit_and_never_hangs)
{
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;

	put_file(in_dir("f"), "four", 0600);
	ck_assert(!file_read(&out, in_dir("f"), 3, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "larger than"));
	buf_clear(&out);
	ck_assert(!file_read(&out, in_dir("nowhere"), 3, &err));
	ck_assert_ptr_nonnull(strstr(err.subject, "nowhere"));
	ck_assert(!file_read(&out, dir, 1000, &err));
	ck_assert_int_eq(mkfifo(in_dir("fifo"), 0600), 0);
	ck_assert(!file_read(&out, in_dir("fifo"), 1000, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "not a regular file"));
	buf_puts(&out, "before ");
	ck_assert(file_read(&out, in_dir("f"), 4, &err));
	ck_assert_str_eq(buf_str(&out), "before four");
	buf_clear(&out);
}
END_TEST

static const struct {
	const char *sentence;
	const char *content;
	mode_t mode;
	bool text;
	const char *expect; /* NULL: refused */
} secrets[] = {
	{"a private file is read", "s3cret", 0600, true, "s3cret"},
	{"read-only is private too", "s3cret", 0400, true, "s3cret"},
	{"one newline is taken off a text", "s3cret\n\n", 0600, true, "s3cret\n"},
	{"also as CR LF", "s3cret\r\n", 0600, true, "s3cret"},
	{"nothing is taken off other content", "s3cret\n", 0600, false, "s3cret\n"},
	{"a file the group may read is refused", "s3cret", 0640, true, NULL},
	{"a file all may read is refused", "s3cret", 0604, true, NULL},
	{"a file the group may write is refused", "s3cret", 0620, true, NULL},
	{"an empty secret is refused", "", 0600, true, NULL},
	{"a lone newline is an empty secret", "\n", 0600, true, NULL},
};

START_TEST(secret_table)
{
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;
	bool ok;

	buf_puts(&out, "old");
	put_file(in_dir("s"), secrets[_i].content, secrets[_i].mode);
	ok = secret_read(&out, in_dir("s"), secrets[_i].text, &err);
	ck_assert_msg(ok == (secrets[_i].expect != NULL), "%s: %s", secrets[_i].sentence, err.text);
	ck_assert_msg(strcmp(buf_str(&out), ok ? secrets[_i].expect : "") == 0, "%s: %s", secrets[_i].sentence, buf_str(&out));
	if (!ok)
		ck_assert_msg(err.class == ERR_CONFIG && !strstr(err.text, "s3cret"), "%s: %s", secrets[_i].sentence, err.text);
	buf_wipe(&out);
}
END_TEST

START_TEST(credentials_come_from_their_directory_only)
{
	static const char *const bad[] = {"credential:", "credential:..", "credential:../s", "credential:/etc/passwd", "credential:.x",
		"credential:missing"};
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;

	put_file(in_dir("s"), "s3cret\n", 0440); /* as systemd leaves it: an access list shows as group bits */
	unsetenv("CREDENTIALS_DIRECTORY");
	ck_assert(!secret_read(&out, "credential:s", true, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "LoadCredential=s:"));
	setenv("CREDENTIALS_DIRECTORY", dir, 1);
	ck_assert_msg(secret_read(&out, "credential:s", true, &err), "%s", err.text);
	ck_assert_str_eq(buf_str(&out), "s3cret");
	for (int i = 0; i < COUNT(bad); i++)
		ck_assert_msg(!secret_read(&out, bad[i], true, &err), "%s", bad[i]);
	put_file(in_dir("s"), "s3cret\n", 0444);
	ck_assert(!secret_read(&out, "credential:s", true, &err));
}
END_TEST

START_TEST(a_secret_of_another_user_is_refused)
{
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;

	put_file(in_dir("s"), "s3cret", 0600);
	if (geteuid() != 0) /* only root can give a file away */
		return;
	ck_assert_int_eq(chown(in_dir("s"), 65534, (gid_t)-1), 0);
	ck_assert(!secret_read(&out, in_dir("s"), true, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "belongs to user 65534"));
}
END_TEST

START_TEST(a_text_secret_with_a_nul_is_refused)
{
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;

	ck_assert(file_write(in_dir("s"), "a\0b", 3, 0600, -1, &err));
	ck_assert(!secret_read(&out, in_dir("s"), true, &err));
	ck_assert(secret_read(&out, in_dir("s"), false, &err));
	ck_assert_uint_eq(out.len, 3);
	buf_wipe(&out);
}
END_TEST

/* ---- time and chance ----------------------------------------------------------------------------------------------- */

START_TEST(time_and_chance)
{
	struct buf a = BUF_INIT, b = BUF_INIT;
	int seen[3] = {0};
	char out[32];
	int64_t before = mono_ms();

	ck_assert_str_eq(time_text(0, out), "1970-01-01T00:00:00Z");
	ck_assert_str_eq(time_text(INT64_MAX, out), "?");
	ck_assert_uint_eq(random_below(0), 0);
	ck_assert_uint_eq(random_below(1), 0);
	for (int i = 0; i < 3000; i++)
		seen[random_below(3)]++;
	for (int i = 0; i < 3; i++)
		ck_assert_int_gt(seen[i], 800);
	random_text(&a, 100);
	random_text(&b, 100);
	ck_assert_uint_eq(a.len, 134);
	ck_assert_str_ne(a.data, b.data);
	buf_clear(&a);
	buf_clear(&b);
	ck_assert_int_ge(mono_ms(), before);
}
END_TEST

/* ---- times ------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *text;
	time_t expected; /* -1 = refused */
} times[] = {
	{"2026-11-22T08:00:00Z", 1795334400},
	{"2026-11-22t08:00:00z", 1795334400},
	{"2026-11-22T08:00:00.123456789Z", 1795334400},
	{"2026-11-22T10:30:00+02:30", 1795334400},
	{"2026-11-21T23:00:00-09:00", 1795334400},
	{"2024-02-29T00:00:00Z", 1709164800},
	{"2016-12-31T23:59:60Z", 1483228800},
	{"9999-12-31T23:59:59Z", 253402300799},
	{"2026-02-29T00:00:00Z", -1},
	{"2026-02-31T00:00:60Z", -1},
	{"2026-13-01T00:00:00Z", -1},
	{"2026-00-01T00:00:00Z", -1},
	{"2026-11-22T24:00:00Z", -1},
	{"2026-11-22T08:60:00Z", -1},
	{"2026-11-22T08:00:61Z", -1},
	{"2026-11-22 08:00:00Z", -1},
	{"2026-11-22T08:00:00", -1},
	{"2026-11-22T08:00:00.Z", -1},
	{"2026-11-22T08:00:00+0230", -1},
	{"2026-11-22T08:00:00+24:00", -1},
	{"2026-11-22T08:00:00Z ", -1},
	{"2026-11-22T08:00Z", -1},
	{"26-11-22T08:00:00Z", -1},
	{"+026-11-22T08:00:00Z", -1},
	{"2026-11-22", -1},
	{"2", -1},
	{"", -1},
	{"Sun, 22 Nov 2026 08:00:00 GMT", -1},
};

START_TEST(time_is_read_strictly)
{
	time_t got = -1;
	bool ok = time_parse(times[_i].text, &got);

	ck_assert_msg(ok == (times[_i].expected != -1), "\"%s\" was %s", times[_i].text, ok ? "taken" : "refused");
	ck_assert_msg(!ok || got == times[_i].expected, "\"%s\" is %lld", times[_i].text, (long long)got);
}
END_TEST

/* ---- another user -------------------------------------------------------------------------------------------------- */

struct errand {
	unsigned uid, gid;
	char how[16]; /* "well", "badly", "dies" */
	char behind;  /* not brought back */
};

static bool run_errand(void *arg, struct err *err)
{
	struct errand *e = arg;

	e->uid = geteuid();
	e->gid = getegid();
	e->behind = 'x';
	if (strcmp(e->how, "dies") == 0)
		_exit(9);
	return strcmp(e->how, "well") == 0 || err_set(err, ERR_POLICY, "run errand", "shop", "it is closed");
}

START_TEST(another_user_does_one_thing_and_we_stay_who_we_are)
{
	struct errand e = {.how = "well", .behind = 'o'};
	struct err err = ERR_INIT;
	bool root = geteuid() == 0;

	ck_assert(act_as(65534, 65534, run_errand, &e, offsetof(struct errand, behind), &err));
	ck_assert_uint_eq(e.uid, root ? 65534 : geteuid());
	ck_assert_uint_eq(e.gid, root ? 65534 : getegid());
	ck_assert_int_eq(e.behind, root ? 'o' : 'x');
	ck_assert_uint_eq(geteuid() == 0, root);
	strcpy(e.how, "badly");
	ck_assert(!act_as(65534, 65534, run_errand, &e, offsetof(struct errand, behind), &err));
	ck_assert_int_eq(err.class, ERR_POLICY);
	ck_assert_str_eq(err.text, "it is closed");
	if (!root)
		return;
	strcpy(e.how, "dies");
	ck_assert(!act_as(65534, 65534, run_errand, &e, offsetof(struct errand, behind), &err));
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
}
END_TEST

static Suite *base_suite(void)
{
	Suite *s = suite_create("base");
	TCase *t = tcase_create("text");
	TCase *f = tcase_create("files");

	tcase_add_test(t, a_buffer_grows_and_stays_a_string);
	tcase_add_test(t, a_full_buffer_says_so_and_keeps_its_limit);
	tcase_add_loop_test(t, base64url_table, 0, COUNT(base64urls));
	tcase_add_test(t, base64_comes_back_whatever_its_length);
	tcase_add_test(t, base64_lines_are_as_long_as_asked);
	tcase_add_test(t, questions_about_text);
	tcase_add_test(t, an_error_may_be_wrapped_in_itself);
	tcase_add_test(t, a_long_error_is_cut_between_characters);
	tcase_add_test(t, errors_have_the_class_that_decides_what_happens_next);
	tcase_add_test(t, openssl_errors_are_drained);
	tcase_add_loop_test(t, log_value_table, 0, COUNT(log_values));
	tcase_add_test(t, a_log_line_has_the_parts_of_its_error);
	tcase_add_test(t, a_long_value_is_cut);
	tcase_add_test(t, a_facility_nobody_knows_is_refused);
	tcase_add_test(t, lines_of_threads_never_mix);
	tcase_add_test(t, time_and_chance);
	suite_add_tcase(s, t);

	tcase_add_checked_fixture(f, dir_make, dir_remove);
	tcase_add_test(f, a_file_is_replaced_whole_with_exactly_its_mode);
	tcase_add_test(f, a_new_file_never_takes_the_place_of_another);
	tcase_add_test(f, reading_stops_at_the_limit_and_never_hangs);
	tcase_add_loop_test(f, secret_table, 0, COUNT(secrets));
	tcase_add_test(f, credentials_come_from_their_directory_only);
	tcase_add_test(f, a_secret_of_another_user_is_refused);
	tcase_add_test(f, a_text_secret_with_a_nul_is_refused);
	tcase_add_loop_test(f, time_is_read_strictly, 0, sizeof times / sizeof *times);
	tcase_add_test(f, another_user_does_one_thing_and_we_stay_who_we_are);
	suite_add_tcase(s, f);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(base_suite());
	int failed;

	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
