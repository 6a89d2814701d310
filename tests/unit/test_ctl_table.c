/*
 * tests/unit/test_ctl_table.c - ctl/table.c: what tables look like on a terminal and elsewhere, with names of all kinds, and what strangers' texts
 * are not allowed to do there.
 */
#include "config.h"

#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <locale.h>

#include <check.h>

#include "ctl/ctl.h"

static int leader = -1;

/* Each test is a process of its own: standard output is what it makes it. */
static void to_terminal(unsigned short columns)
{
	struct winsize size = {.ws_row = 24, .ws_col = columns};
	int follower;

	setlocale(LC_CTYPE, "C.UTF-8");
	ck_assert_int_eq(openpty(&leader, &follower, NULL, NULL, &size), 0);
	ck_assert_int_ge(dup2(follower, STDOUT_FILENO), 0);
	close(follower);
}

static void to_file(void)
{
	int ends[2];

	setlocale(LC_CTYPE, "C.UTF-8");
	ck_assert_int_eq(pipe(ends), 0);
	leader = ends[0];
	ck_assert_int_ge(dup2(ends[1], STDOUT_FILENO), 0);
	close(ends[1]);
}

/* What was shown, without carriage returns. */
static const char *shown(void)
{
	static char text[8192];
	char piece[4096];
	size_t len = 0;
	ssize_t n;

	puts("\x04");
	fflush(stdout);
	while (len == 0 || !memchr(text, 4, len)) {
		n = read(leader, piece, sizeof piece);
		ck_assert_int_gt(n, 0);
		for (ssize_t i = 0; i < n; i++)
			if (piece[i] != '\r' && len + 1 < sizeof text)
				text[len++] = piece[i];
	}
	*(char *)memchr(text, 4, len) = '\0';
	return text;
}

static const char *const titles[] = {"NAME", ">N", "WHY", NULL};

static void add(struct ctl_table *t, const char *name, long long n, const char *why)
{
	ctl_table_add(t, name);
	ctl_table_number(t, n);
	ctl_table_add(t, why);
}

START_TEST(columns_are_counted_in_cells)
{
	struct ctl_table t = {.titles = titles};

	to_file();
	add(&t, "B\xc3\xa4" "cker", 7, "umlaut");
	add(&t, "Ba\xcc\x88" "cker", 12, "combining");
	add(&t, "\xe5\xb1\xb1\xe7\x94\xb0\xe5\xa4\xaa", 100, "wide");
	add(&t, "plain!", 1, "");
	ctl_table_print(&t);
	ck_assert_str_eq(shown(), "NAME      N  WHY\n"
		"B\xc3\xa4" "cker    7  umlaut\n"
		"Ba\xcc\x88" "cker   12  combining\n"
		"\xe5\xb1\xb1\xe7\x94\xb0\xe5\xa4\xaa  100  wide\n"
		"plain!    1\n");
}
END_TEST

START_TEST(strangers_do_not_steer_the_terminal)
{
	to_terminal(80);
	ctl_sentence("a\x1b[2Jb \xc2\x9b" "c \xff\xc3 d\xe2\x80\xae" "e \x7f\t.");
	ck_assert_str_eq(shown(), "a?[2Jb ?c ?? d?e ??.\n");
}
END_TEST

START_TEST(a_row_is_a_line_where_no_terminal_is)
{
	struct ctl_table t = {.titles = titles};
	char longest[400];

	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	longest[200] = ' ';
	to_file();
	add(&t, "a", 1, longest);
	ctl_table_rows(&t);
	ck_assert_ptr_nonnull(strstr(shown(), longest));
}
END_TEST

START_TEST(texts_go_on_under_themselves)
{
	struct ctl_table t = {.titles = titles};

	to_terminal(50);
	add(&t, "alice@example.org", 1, "one two three four five six seven eight nine ten");
	ctl_table_print(&t);
	ck_assert_str_eq(shown(), "NAME               N  WHY\n"
		"alice@example.org  1  one two three four five six\n"
		"                      seven eight nine ten\n");
}
END_TEST

START_TEST(and_below_the_row_where_there_is_no_room)
{
	struct ctl_table t = {.titles = titles};

	to_terminal(40);
	add(&t, "alice.archer@example.org", 1, "one two three four five six seven eight nine ten");
	add(&t, "bob", 22, "");
	ctl_table_print(&t);
	ck_assert_str_eq(shown(), "NAME                       N\n    WHY\n"
		"alice.archer@example.org   1\n"
		"    one two three four five six seven\n"
		"    eight nine ten\n"
		"bob                       22\n");
}
END_TEST

START_TEST(what_is_not_plain_is_known_in_any_locale)
{
	static const char *const no[] = {"\x1b[31m", "a\nb", "a\tb", "\x7f", "a\xc2\x85", "\u202egnp.exe", "\u2066x", "\u200fx", "\xff", "\xc3"};

	ck_assert(ctl_plain("") && ctl_plain("chmod 0600 /etc/k\u00f6nig/\u00a0\u2030\u20ac\U0001f511.key"));
	for (size_t i = 0; i < sizeof no / sizeof *no; i++)
		ck_assert_msg(!ctl_plain(no[i]), "%zu", i);
}
END_TEST

static Suite *table_suite(void)
{
	Suite *s = suite_create("table");
	TCase *t = tcase_create("tables and texts");

	tcase_add_test(t, columns_are_counted_in_cells);
	tcase_add_test(t, strangers_do_not_steer_the_terminal);
	tcase_add_test(t, a_row_is_a_line_where_no_terminal_is);
	tcase_add_test(t, texts_go_on_under_themselves);
	tcase_add_test(t, and_below_the_row_where_there_is_no_room);
	tcase_add_test(t, what_is_not_plain_is_known_in_any_locale);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(table_suite());
	int failed;

	srunner_set_fork_status(r, CK_FORK);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
