/*
 * tests/unit/test_watch.c - by what a milter is known to live, and the words to a supervisor.
 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "milter/watch.h"

#define NOW 10000000
#define BEFORE(s) (NOW - (s) * 1000)

static const struct {
	const char *name;
	struct liveness l;
	bool lives;
} cases[] = {
	{"answered just now", {NOW, BEFORE(1), 0, 0, false, 60000}, true},
	{"no answer for 20 s of the 60 that are allowed", {NOW, BEFORE(20), 0, 0, false, 60000}, true},
	{"no answer for 40 s, and nothing else goes on", {NOW, BEFORE(40), BEFORE(41), BEFORE(45), false, 60000}, false},
	{"no answer for 40 s on a busy machine, where mail goes on", {NOW, BEFORE(40), BEFORE(2), BEFORE(3), false, 60000}, true},
	{"mail goes on, but nobody new has got in for 300 s", {NOW, BEFORE(301), BEFORE(1), BEFORE(1), false, 60000}, false},
	{"a callback that waits for 250 s: the MTA still does", {NOW, BEFORE(1), BEFORE(1), BEFORE(250), false, 60000}, true},
	{"a callback that nobody waits for any more", {NOW, BEFORE(1), BEFORE(151), BEFORE(301), false, 60000}, false},
	{"the same while it stops", {NOW, BEFORE(1), BEFORE(151), BEFORE(301), true, 60000}, false},
	{"the same, and none has ever ended", {NOW, BEFORE(1), 0, BEFORE(301), false, 60000}, false},
	{"an MTA that reads no more, while other sessions go on", {NOW, BEFORE(1), BEFORE(1), BEFORE(7200), false, 60000}, true},
	{"the same where mail is rare", {NOW, BEFORE(1), BEFORE(149), BEFORE(7200), false, 60000}, true},
	{"the same while it stops", {NOW, BEFORE(1), BEFORE(1), BEFORE(7200), true, 60000}, true},
	{"the same, but nobody new has got in for 300 s", {NOW, BEFORE(301), BEFORE(1), BEFORE(7200), false, 60000}, false},
	{"while it stops it does not ask itself", {NOW, BEFORE(40), BEFORE(40), 0, true, 60000}, true},
	{"nobody watches, so nobody is told", {NOW, BEFORE(4000), BEFORE(4000), 0, false, 0}, true},
};

START_TEST(a_milter_lives)
{
	const char *why = watch_judge(&cases[_i].l);

	ck_assert_msg((why == NULL) == cases[_i].lives, "%s: %s", cases[_i].name, why ? why : "lives");
}
END_TEST

START_TEST(a_supervisor_hears_what_is_said_and_nobody_else_does)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char text[256] = "", path[64];
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	unsetenv("NOTIFY_SOCKET");
	ck_assert(!notify("READY=1"));
	snprintf(path, sizeof path, "@enroll-test-%ld", (long)getpid());
	strcpy(a.sun_path, path);
	a.sun_path[0] = '\0';
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path))), 0);
	setenv("NOTIFY_SOCKET", path, 1);
	ck_assert(notify("READY=1\nSTATUS=%d sessions", 12));
	ck_assert_int_gt(recv(fd, text, sizeof text - 1, MSG_DONTWAIT), 0);
	ck_assert_str_eq(text, "READY=1\nSTATUS=12 sessions");
	close(fd);
	ck_assert(!notify("READY=1")); /* it is gone: no reason to stop */
}
END_TEST

START_TEST(the_watchdog_is_obeyed_when_it_is_meant_for_us)
{
	char pid[24];

	setenv("NOTIFY_SOCKET", "/run/none", 1);
	unsetenv("WATCHDOG_PID");
	unsetenv("WATCHDOG_USEC");
	ck_assert_uint_eq(notify_watchdog_ms(), 0);
	setenv("WATCHDOG_USEC", "60000000", 1);
	ck_assert_uint_eq(notify_watchdog_ms(), 60000);
	setenv("WATCHDOG_PID", "1", 1);
	ck_assert_uint_eq(notify_watchdog_ms(), 0);
	snprintf(pid, sizeof pid, "%ld", (long)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	ck_assert_uint_eq(notify_watchdog_ms(), 60000);
	unsetenv("NOTIFY_SOCKET");
	ck_assert_uint_eq(notify_watchdog_ms(), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("watch");
	TCase *tc = tcase_create("watch");
	SRunner *r = srunner_create(s);
	int failed;

	suite_add_tcase(s, tc);
	tcase_add_loop_test(tc, a_milter_lives, 0, (int)(sizeof cases / sizeof *cases));
	tcase_add_test(tc, a_supervisor_hears_what_is_said_and_nobody_else_does);
	tcase_add_test(tc, the_watchdog_is_obeyed_when_it_is_meant_for_us);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
