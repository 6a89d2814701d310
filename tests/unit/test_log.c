/*
 * tests/unit/test_log.c - base/log.c: what strangers cause is limited and counted, nothing else is; fields of the journal.
 *
 * What a line looks like is in test_base.c.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <check.h>

#ifdef HAVE_SYSTEMD
#define SD_JOURNAL_SUPPRESS_LOCATION 1
#include <systemd/sd-journal.h>
#endif

#include "base/base.h"
#include "base/internal.h"
#include "tests/unit/log_catch.h"

/* ---- lines that strangers cause */

static size_t count_of(const char *text, const char *what)
{
	size_t n = 0;

	for (const char *at = strstr(text, what); at; at = strstr(at + 1, what))
		n++;
	return n;
}

/* Each test has a process of its own, and so full buckets. */
START_TEST(a_strangers_lines_are_limited_and_counted)
{
	char *text;

	log_open("test", LOG_TARGET_STDERR, "mail", LOG_LEVEL_INFO);
	log_catch();
	for (int i = 0; i < 1000; i++)
		log_event(LOG_LEVEL_WARNING | LOG_LIMITED, "poke", "n", LOG_NUM(i), NULL);
	log_settle(false);
	log_event(LOG_LEVEL_INFO, "mail_done", NULL);
	text = log_caught();
	ck_assert_uint_ge(count_of(text, "event=poke "), 60);
	ck_assert_uint_le(count_of(text, "event=poke "), 63); /* one more each second that this takes */
	ck_assert_msg(strstr(text, "event=poke n=0\n") != NULL, "the first are shown, as others are");
	ck_assert_uint_eq(count_of(text, "event=mail_done"), 1);
	ck_assert_msg(!strstr(text, "log_suppressed"), "what was left out is told ten seconds later");
	free(text);
}
END_TEST

START_TEST(at_the_end_it_is_told_what_was_left_out)
{
	char *text, expect[80];

	log_open("test", LOG_TARGET_STDERR, "mail", LOG_LEVEL_INFO);
	log_catch();
	for (int i = 0; i < 200; i++)
		log_event(LOG_LEVEL_INFO | LOG_LIMITED, "poke", NULL);
	for (int i = 0; i < 100; i++)
		log_error(LOG_LEVEL_WARNING | LOG_LIMITED, "prod", NULL, NULL);
	log_settle(true);
	log_settle(true);
	text = log_caught();
	snprintf(expect, sizeof expect, "event=log_suppressed of=poke count=%zu\n", 200 - count_of(text, "event=poke\n"));
	ck_assert_msg(strstr(text, expect) != NULL, "%s in %s", expect, text);
	snprintf(expect, sizeof expect, "event=log_suppressed of=prod count=%zu\n", 100 - count_of(text, "event=prod\n"));
	ck_assert_msg(strstr(text, expect) != NULL, "%s in %s", expect, text);
	ck_assert_uint_eq(count_of(text, "log_suppressed"), 2);
	free(text);
}
END_TEST

START_TEST(what_an_admin_must_see_is_never_left_out)
{
	char *text;

	log_open("test", LOG_TARGET_STDERR, "mail", LOG_LEVEL_INFO);
	log_catch();
	for (int i = 0; i < 300; i++) {
		log_event(LOG_LEVEL_ERROR | LOG_LIMITED, "trouble", NULL);
		log_event(LOG_LEVEL_WARNING, "odd", NULL);
		log_event(LOG_LEVEL_WARNING | LOG_LIMITED, "poke", NULL);
	}
	text = log_caught();
	ck_assert_uint_eq(count_of(text, "event=trouble\n"), 300);
	ck_assert_uint_eq(count_of(text, "event=odd\n"), 300);
	free(text);
}
END_TEST

START_TEST(below_the_level_nothing_is_counted)
{
	char *text;

	log_open("test", LOG_TARGET_STDERR, "mail", LOG_LEVEL_WARNING);
	log_catch();
	for (int i = 0; i < 300; i++)
		log_event(LOG_LEVEL_INFO | LOG_LIMITED, "poke", NULL);
	log_settle(true);
	text = log_caught();
	ck_assert_str_eq(text, "");
	free(text);
}
END_TEST

static void *poke_thread(void *arg)
{
	(void)arg;
	for (int i = 0; i < 500; i++) {
		log_event(LOG_LEVEL_INFO | LOG_LIMITED, "poke", NULL);
		log_settle(i % 50 == 0);
	}
	return NULL;
}

/* Told early here, so that telling and counting meet. */
START_TEST(threads_lose_no_line_without_a_word)
{
	pthread_t threads[4];
	unsigned long told = 0;
	char *text;

	log_open("test", LOG_TARGET_STDERR, "mail", LOG_LEVEL_INFO);
	log_catch();
	for (size_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, poke_thread, NULL), 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	log_settle(true);
	text = log_caught();
	for (const char *at = strstr(text, "of=poke count="); at; at = strstr(at + 1, "of=poke count="))
		told += strtoul(at + strlen("of=poke count="), NULL, 10);
	ck_assert_uint_eq(count_of(text, "event=poke\n") + told, 4 * 500);
	free(text);
}
END_TEST

START_TEST(after_a_while_there_is_room_again)
{
	char *text;

	log_open("test", LOG_TARGET_STDERR, "mail", LOG_LEVEL_INFO);
	for (int i = 0; i < 100; i++)
		log_event(LOG_LEVEL_INFO | LOG_LIMITED, "poke", NULL);
	usleep(1100 * 1000);
	log_catch();
	log_event(LOG_LEVEL_INFO | LOG_LIMITED, "poke", NULL);
	text = log_caught();
	ck_assert_msg(strstr(text, "event=poke\n") != NULL, "a second gives one line");
	free(text);
}
END_TEST

/* ---- the journal, whose library call is ours here */

#ifdef HAVE_SYSTEMD

static char journal[20][2000];
static int journal_parts, journal_answer;

int sd_journal_sendv(const struct iovec *parts, int n)
{
	journal_parts = n;
	for (int i = 0; i < n && i < 20; i++)
		snprintf(journal[i], sizeof journal[i], "%.*s", (int)parts[i].iov_len, (const char *)parts[i].iov_base);
	return journal_answer;
}

static bool journal_has(const char *field)
{
	for (int i = 0; i < journal_parts && i < 20; i++)
		if (strcmp(journal[i], field) == 0)
			return true;
	return false;
}

START_TEST(each_key_is_a_field_of_the_journal)
{
	struct err err = ERR_INIT;
	char *text;

	log_journal_socket = "/";
	ck_assert(log_open("enrolld", LOG_TARGET_JOURNAL, "mail", LOG_LEVEL_INFO));
	log_catch();
	err_set(&err, ERR_CA, "finalize order", "alice@example.org", "the CA said \"no\"");
	log_error(LOG_LEVEL_WARNING, "step_failed", &err, "enrollment", LOG_NUM(17), "address", "alice@example.org", "message_id", "<a@b>", "gone", NULL, NULL);
	text = log_caught();
	ck_assert_str_eq(text, "");
	free(text);
	static const char *const fields[] = {"MESSAGE=event=step_failed enrollment=17 address=alice@example.org message_id=<a@b> class=ca op=\"finalize order\" "
		"subject=alice@example.org text=\"the CA said \\\"no\\\"\"", "PRIORITY=4", "SYSLOG_IDENTIFIER=enrolld", "SYSLOG_FACILITY=2", "EVENT=step_failed",
		"ENROLLMENT=17", "ADDRESS=alice@example.org", "CLASS=ca", "OP=finalize order", "TEXT=the CA said \"no\"", "MAIL_MESSAGE_ID=<a@b>"};
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
		ck_assert_msg(journal_has(fields[i]), "%s", fields[i]);
	ck_assert_int_eq(journal_parts, 12); /* SUBJECT */
}
END_TEST

START_TEST(what_a_stranger_wrote_fakes_no_field_and_no_line)
{
	log_journal_socket = "/";
	ck_assert(log_open("enrolld", LOG_TARGET_JOURNAL, "mail", LOG_LEVEL_INFO));
	log_event(LOG_LEVEL_INFO, "mail_done", "from", "x\nPRIORITY=0\xff\x1b[2J", NULL);
	ck_assert(journal_has("FROM=x\\nPRIORITY=0\\xff\\x1b[2J"));
	ck_assert(journal_has("PRIORITY=6"));
	ck_assert_int_eq(journal_parts, 6);
}
END_TEST

START_TEST(without_a_journal_the_line_is_not_lost)
{
	char *text;

	log_journal_socket = "/nonexistent/socket";
	ck_assert(log_open("enrolld", LOG_TARGET_JOURNAL, "mail", LOG_LEVEL_INFO));
	log_catch();
	log_event(LOG_LEVEL_INFO, "mail_done", "qid", "4X", NULL);
	text = log_caught();
	ck_assert_str_eq(text, "<6>event=mail_done qid=4X\n");
	free(text);
	log_journal_socket = "/";
	journal_answer = -ENOBUFS;
	ck_assert(log_open("enrolld", LOG_TARGET_JOURNAL, "mail", LOG_LEVEL_INFO));
	log_catch();
	log_event(LOG_LEVEL_INFO, "mail_done", "qid", "4X", NULL);
	text = log_caught();
	ck_assert_str_eq(text, "event=mail_done qid=4X\n");
	free(text);
}
END_TEST
#endif

int main(void)
{
	Suite *s = suite_create("log");
	TCase *t = tcase_create("log");
	SRunner *r;
	int failed;

	tcase_add_test(t, a_strangers_lines_are_limited_and_counted);
	tcase_add_test(t, at_the_end_it_is_told_what_was_left_out);
	tcase_add_test(t, what_an_admin_must_see_is_never_left_out);
	tcase_add_test(t, below_the_level_nothing_is_counted);
	tcase_add_test(t, threads_lose_no_line_without_a_word);
	tcase_add_test(t, after_a_while_there_is_room_again);
#ifdef HAVE_SYSTEMD
	tcase_add_test(t, each_key_is_a_field_of_the_journal);
	tcase_add_test(t, what_a_stranger_wrote_fakes_no_field_and_no_line);
	tcase_add_test(t, without_a_journal_the_line_is_not_lost);
#endif
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
