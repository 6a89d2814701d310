/*
 * tests/unit/test_exec.c - running a program for driver "exec": it finds nothing of ours, and whatever it does, it is contained.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <check.h>

#include "enroll/exec.h"
#include "tests/unit/exec_program.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define HANGING "while :; do sleep 1; done"
#define QUESTION "{\"version\":1,\"action\":\"check\"}"

/* ---- help ---------------------------------------------------------------------------------------------------------- */

static struct exec_runner *runner(void)
{
	struct err err = ERR_INIT;
	struct exec_runner *r = exec_runner_new(&config, &err);

	ck_assert_msg(r != NULL, "%s", err.text);
	return r;
}

/* Write the program, run it once, forget the runner. */
static bool run_body(const char *body, struct buf *answer, struct err *err)
{
	struct exec_runner *r;
	struct exec_words words;
	bool ok;

	write_program(body);
	r = runner();
	buf_reset(answer);
	ok = exec_run(r, "check", QUESTION, strlen(QUESTION), answer, &words, err);
	exec_runner_free(r);
	return ok;
}

static void answers(const char *body, const char *expected)
{
	struct buf answer = BUF_INIT;
	struct err err = ERR_INIT;

	ck_assert_msg(run_body(body, &answer, &err), "%s", err.text);
	ck_assert_str_eq(buf_str(&answer), expected);
	buf_clear(&answer);
}

/* A number that the program wrote to a file, once it is there. */
static pid_t pid_in(const char *name)
{
	struct buf text = BUF_INIT;
	pid_t pid = 0;

	for (int i = 0; pid <= 0 && i < 6000; i++) {
		if (read_back(name, &text) && strchr(buf_str(&text), '\n'))
			pid = (pid_t)atol(buf_str(&text));
		else
			usleep(10000);
	}
	buf_clear(&text);
	ck_assert_msg(pid > 0, "%s was not written", name);
	return pid;
}

/* A zombie that nobody here can reap counts as gone. */
static bool is_gone(pid_t pid)
{
	char path[64], state = '?';
	FILE *f;

	snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
	f = fopen(path, "r");
	if (!f)
		return true;
	if (fscanf(f, "%*d %*s %c", &state) != 1)
		state = 'Z';
	fclose(f);
	return state == 'Z' || state == 'X';
}

static void wait_gone(pid_t pid)
{
	for (int i = 0; i < 6000 && !is_gone(pid); i++)
		usleep(10000);
	ck_assert_msg(is_gone(pid), "process %ld lives on", (long)pid);
}

static int open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* ---- a program that behaves, and what it finds ------------------------------------------------------------------------ */

START_TEST(question_is_its_stdin_and_its_stdout_the_answer)
{
	answers("cat", QUESTION);
	answers("echo hello", "hello\n");
}
END_TEST

START_TEST(environment_is_path_lang_and_what_is_configured)
{
	setenv("SECRET", "of enrolld", 1);
	answers("exec env | grep -v -E '^(PWD|SHLVL|_)=' | sort", "LANG=C.UTF-8\nPATH=/usr/bin:/bin\n");
	ck_assert(strlist_add(&config.exec.environment, "CA=/var/lib/ca"));
	ck_assert(strlist_add(&config.exec.environment, "PATH=/opt/ca/bin:/usr/bin:/bin"));
	answers("exec env | grep -v -E '^(PWD|SHLVL|_)=' | sort", "CA=/var/lib/ca\nLANG=C.UTF-8\nPATH=/opt/ca/bin:/usr/bin:/bin\n");
}
END_TEST

START_TEST(nothing_of_ours_is_inherited)
{
	static const unsigned long ignored[16] = {1};
	sigset_t some;
	int open_here = open("/dev/null", O_RDONLY), high = fcntl(open_here, F_DUPFD, 200);

	ck_assert(open_here >= 0 && high >= 200);
	sigemptyset(&some);
	sigaddset(&some, SIGTERM);
	sigaddset(&some, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &some, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	/* one that the C library keeps to itself: ignored, as some who start programs leave it */
	ck_assert_int_eq(syscall(SYS_rt_sigaction, 32, ignored, NULL, (size_t)NSIG / 8), 0);
	answers("exec grep -E '^Sig(Blk|Ign):' /proc/self/status", "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
	answers("for fd in 3 4 5 6 7 8 9 200; do test -e /proc/self/fd/$fd && echo $fd; done; ls /proc/self/fd | wc -l", "4\n");
	answers("pwd; umask; ulimit -c", "/\n0077\n0\n");
	answers("exec grep NoNewPrivs: /proc/self/status", "NoNewPrivs:\t1\n");
	answers("set -- $(cat /proc/$$/stat); test \"$5 $6 $7\" = \"$$ $$ 0\" && echo leader of group and session, no terminal",
		"leader of group and session, no terminal\n");
	/* our own signals are as before */
	pthread_sigmask(SIG_BLOCK, NULL, &some);
	ck_assert(sigismember(&some, SIGTERM) && !sigismember(&some, SIGINT));
	close(open_here);
	close(high);
}
END_TEST

/* Which of the three are missing: their bits. */
START_TEST(it_runs_when_we_lack_stdin_stdout_stderr)
{
	struct buf answer = BUF_INIT;
	struct exec_runner *r;
	struct exec_words words;
	int saved[3];
	bool ok;

	write_program("echo said >&2; cat");
	r = runner();
	for (int fd = 0; fd < 3; fd++)
		saved[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 50);
	for (int fd = 0; fd < 3; fd++)
		if (_i >> fd & 1)
			close(fd);
	ok = exec_run(r, "check", QUESTION, strlen(QUESTION), &answer, &words, NULL);
	for (int fd = 0; fd < 3; fd++)
		dup2(saved[fd], fd);
	ck_assert(ok);
	ck_assert_str_eq(buf_str(&answer), QUESTION);
	ck_assert_str_eq(words.text, "said");
	exec_runner_free(r);
	buf_clear(&answer);
}
END_TEST

START_TEST(it_runs_as_its_own_user)
{
	struct passwd *nobody = getpwnam("nobody");
	struct buf answer = BUF_INIT, expected = BUF_INIT;
	struct err err = ERR_INIT;
	char name[] = "nobody", unknown[] = "no-such-user";
	const gid_t ours[] = {0, 4242};

	config.exec.user = unknown;
	write_program("id");
	ck_assert_ptr_null(exec_runner_new(&config, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "no user \"no-such-user\""));
	if (geteuid() != 0 || !nobody)
		return; /* what only root can do */
	ck_assert_int_eq(setgroups(2, ours), 0);
	config.exec.user = name;
	buf_printf(&expected, "%ld %ld %ld\n", (long)nobody->pw_uid, (long)nobody->pw_gid, (long)nobody->pw_gid);
	ck_assert_msg(run_body("echo $(id -u) $(id -g) $(id -G)", &answer, &err), "%s", err.text);
	ck_assert_str_eq(buf_str(&answer), buf_str(&expected));
	ck_assert_msg(run_body("exec grep -E '^CapEff:' /proc/self/status", &answer, &err), "%s", err.text);
	ck_assert_str_eq(buf_str(&answer), "CapEff:\t0000000000000000\n");
	/* its end is our doing too, and ours is its */
	config.exec.timeout_seconds = 1;
	ck_assert(!run_body("echo $$ > FOLDER/pid; " HANGING, &answer, &err));
	ck_assert_str_eq(err.type, "exec-timeout");
	wait_gone(pid_in("pid"));
	buf_clear(&answer);
	buf_clear(&expected);
}
END_TEST

START_TEST(another_user_without_root_is_a_configuration_error)
{
	struct err err = ERR_INIT;
	char name[] = "nobody";

	write_program("id");
	if (geteuid() == 0)
		ck_assert_int_eq(seteuid(1), 0);
	config.exec.user = name;
	ck_assert_ptr_null(exec_runner_new(&config, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_msg(strstr(err.text, "leave ca.exec.user out") != NULL, "%s", err.text);
	/* the leak sanitizer looks at this process from another one */
	ck_assert_int_eq(seteuid(getuid()), 0);
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}
END_TEST

/* ---- programs that misbehave ----------------------------------------------------------------------------------------- */

/* What they leave behind is looked for: each may write its children's numbers to FOLDER/pid. */
static const struct {
	const char *name, *body;
	unsigned seconds;            /* time limit, 0 = long */
	const char *type, *words;    /* NULL = it is a good run; part of the sentence */
	bool leaves_child;
} bodies[] = {
	{"reads nothing of the question", "echo good", 0, NULL, NULL, false},
	{"closes everything, then ends well", "exec <&- >&- 2>&-", 0, NULL, NULL, false},
	{"hangs", "echo $$ > FOLDER/pid; " HANGING, 1, "exec-timeout", "did not end within 1 seconds", true},
	{"hangs without stdout and stderr", "echo $$ > FOLDER/pid; exec >&- 2>&-; " HANGING, 1, "exec-timeout", "did not end", true},
	{"will not be asked to end", "trap '' TERM HUP INT; echo $$ > FOLDER/pid; " HANGING, 1, "exec-timeout", "did not end", true},
	{"stops itself", "echo $$ > FOLDER/pid; kill -STOP $$", 1, "exec-timeout", "did not end", true},
	{"answers, then hangs", "echo good; echo $$ > FOLDER/pid; " HANGING, 1, "exec-timeout", "did not end", true},
	{"hangs in a child", "sleep 1000 & echo $! > FOLDER/pid; wait", 1, "exec-timeout", "did not end", true},
	{"leaves a child that keeps stdout open", "sleep 1000 & echo $! > FOLDER/pid; echo good", 0, NULL, NULL, true},
	{"leaves a child that goes on writing", "while :; do echo more >&2; done & echo $! > FOLDER/pid; echo good", 0, NULL, NULL, true},
	{"floods stdout", "echo $$ > FOLDER/pid; exec yes", 0, "exec-flood", "wrote more than 65536 octets (ca.exec.max-output)", true},
	{"floods stderr", "echo $$ > FOLDER/pid; exec yes >&2", 0, "exec-flood", "wrote more than 65536 octets", true},
	{"floods and ends", "head -c 65537 /dev/zero", 0, "exec-flood", "wrote more than 65536 octets", false},
	{"ends with a code", "echo good; echo first >&2; echo 'cannot reach https://ca.example' >&2; echo >&2; exit 3", 0, "exec-exit",
		"ended with code 3; its last words: \"cannot reach https://ca.example\"", false},
	{"ends with a code and says nothing", "exit 1", 0, "exec-exit", "ended with code 1; it said nothing on stderr", false},
	{"ends with a code that is not enrolld's", "exit 127", 0, "exec-exit", "ended with code 127", false},
	{"crashes", "echo good; kill -SEGV $$", 0, "exec-signal", "was ended by signal 11", false},
	{"is killed by somebody", "kill -KILL $$", 0, "exec-signal", "was ended by signal 9", false},
	{"speaks in control characters", "printf '\\033[2Jclear\\001\\n' >&2; exit 1", 0, "exec-exit", "its last words: \"?[2Jclear?\"", false},
	{"speaks long lines", "head -c 5000 /dev/zero | tr '\\0' x >&2; exit 1", 0, "exec-exit", "its last words: \"xxxxxxxxxx", false},
	{"speaks NUL", "printf 'a\\0b' >&2; exit 1", 0, "exec-exit", "its last words: \"a?b\"", false},
};

START_TEST(program_is_contained)
{
	struct buf answer = BUF_INIT;
	struct err err = ERR_INIT;
	int before = open_descriptors();
	bool ok;

	if (bodies[_i].seconds)
		config.exec.timeout_seconds = bodies[_i].seconds;
	ok = run_body(bodies[_i].body, &answer, &err);
	ck_assert_msg(ok == !bodies[_i].type, "%s: %s", bodies[_i].name, err.text);
	if (!ok) {
		ck_assert_int_eq(err.class, ERR_TEMPORARY);
		ck_assert_str_eq(err.type, bodies[_i].type);
		ck_assert_msg(strstr(err.text, bodies[_i].words) != NULL, "%s: %s", bodies[_i].name, err.text);
		ck_assert_msg(strstr(err.text, program) && strstr(err.text, "\"check\""), "%s: %s", bodies[_i].name, err.text);
		ck_assert_msg(text_is_one_line(err.text) && strlen(err.text) < 900, "%s", bodies[_i].name);
	}
	if (bodies[_i].leaves_child)
		wait_gone(pid_in("pid"));
	ck_assert_int_eq(open_descriptors(), before);
	ck_assert_msg(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD, "%s: a child was not reaped", bodies[_i].name);
	buf_clear(&answer);
}
END_TEST

START_TEST(child_that_left_the_group_holds_nothing_up)
{
	struct buf answer = BUF_INIT;
	struct err err = ERR_INIT;

	ck_assert_msg(run_body("setsid sleep 1000 & echo $! > FOLDER/pid; sleep 0.2; echo good", &answer, &err), "%s", err.text);
	ck_assert_str_eq(buf_str(&answer), "good\n");
	kill(pid_in("pid"), SIGKILL);
	buf_clear(&answer);
}
END_TEST

static void no_change(void)
{
}

static void remove_it(void)
{
	unlink(program);
}

static void make_writable(void)
{
	chmod(program, 0775);
}

static void make_plain(void)
{
	chmod(program, 0644);
}

static void make_folder(void)
{
	unlink(program);
	mkdir(program, 0755);
}

static void give_away(void)
{
	if (geteuid() != 0 || chown(program, 65534, (gid_t)-1) != 0)
		chmod(program, 0777);
}

static const struct {
	const char *name, *script;
	void (*spoil)(void);
	bool at_start;          /* seen by exec_runner_new already */
	const char *words;
} unrunnable[] = {
	{"is not there", "#!/bin/sh\n", remove_it, true, "is not there"},
	{"can be written by others", "#!/bin/sh\n", make_writable, true, "can be written by others than its owner"},
	{"is not executable", "#!/bin/sh\n", make_plain, true, "is not executable"},
	{"is a folder", "#!/bin/sh\n", make_folder, true, "is no regular file"},
	{"belongs to somebody", "#!/bin/sh\n", give_away, true, ""},
	{"has an interpreter that is not there", "#!/no/such/shell\n", no_change, false, "could not start it"},
	{"is no program", "echo hello\n", no_change, false, "could not start it"},
	{"is empty", "", no_change, false, "could not start it"},
};

START_TEST(program_that_cannot_run_is_a_configuration_error)
{
	struct exec_runner *r;
	struct exec_words words;
	struct buf answer = BUF_INIT;
	struct err err = ERR_INIT;

	write_script(unrunnable[_i].script);
	r = runner();
	unrunnable[_i].spoil();
	ck_assert_msg(!exec_run(r, "check", "", 0, &answer, &words, &err), "%s", unrunnable[_i].name);
	ck_assert_msg(err.class == ERR_CONFIG, "%s: %s", unrunnable[_i].name, err.text);
	ck_assert_str_eq(err.type, "exec-program");
	ck_assert_msg(strstr(err.text, unrunnable[_i].words) && strstr(err.text, program), "%s: %s", unrunnable[_i].name, err.text);
	exec_runner_free(r);
	err_clear(&err);
	r = exec_runner_new(&config, &err);
	ck_assert_msg((r == NULL) == unrunnable[_i].at_start, "%s", unrunnable[_i].name);
	ck_assert(r || err.class == ERR_CONFIG);
	exec_runner_free(r);
	rmdir(program);
	buf_clear(&answer);
}
END_TEST

/* ---- many at once, and the end -------------------------------------------------------------------------------------- */

static void *run_once(void *arg)
{
	struct buf answer = BUF_INIT;
	struct exec_words words;
	struct err *err = calloc(1, sizeof *err);

	if (exec_run(arg, "check", QUESTION, strlen(QUESTION), &answer, &words, err)) {
		free(err);
		err = NULL;
	}
	buf_clear(&answer);
	return err;
}

START_TEST(no_more_run_at_one_time_than_allowed)
{
	pthread_t threads[8];
	struct exec_runner *r;
	void *err;

	config.connections = 1;
	write_program("mkdir FOLDER/one || exit 9; sleep 0.05; rmdir FOLDER/one; cat >/dev/null; echo good");
	r = runner();
	for (int i = 0; i < COUNT(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, run_once, r), 0);
	for (int i = 0; i < COUNT(threads); i++) {
		pthread_join(threads[i], &err);
		ck_assert_msg(!err, "%s", err ? ((struct err *)err)->text : "");
	}
	exec_runner_free(r);
}
END_TEST

START_TEST(threads_get_their_own_answers)
{
	pthread_t threads[8];
	struct exec_runner *r;
	void *err;

	config.connections = 8;
	write_program("q=$(cat); test \"$q\" = '" QUESTION "' || exit 9; echo good");
	r = runner();
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < COUNT(threads); i++)
			ck_assert_int_eq(pthread_create(&threads[i], NULL, run_once, r), 0);
		for (int i = 0; i < COUNT(threads); i++) {
			pthread_join(threads[i], &err);
			ck_assert_msg(!err, "%s", err ? ((struct err *)err)->text : "");
		}
	}
	exec_runner_free(r);
}
END_TEST

START_TEST(slot_is_not_waited_for_forever)
{
	pthread_t first;
	struct exec_runner *r;
	struct exec_words words;
	struct buf answer = BUF_INIT;
	struct err err = ERR_INIT;
	void *other;

	/* The first one dies of the same limit; whoever came later may be either too late, or be refused. */
	config.connections = 1;
	config.exec.timeout_seconds = 1;
	write_program("echo $$ >> FOLDER/pid; " HANGING);
	r = runner();
	ck_assert_int_eq(pthread_create(&first, NULL, run_once, r), 0);
	pid_in("pid");
	ck_assert(!exec_run(r, "check", "", 0, &answer, &words, &err));
	ck_assert_msg(strcmp(err.type, "exec-busy") == 0 || strcmp(err.type, "exec-timeout") == 0, "%s", err.text);
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	pthread_join(first, &other);
	ck_assert_str_eq(((struct err *)other)->type, "exec-timeout");
	free(other);
	exec_runner_free(r);
}
END_TEST

START_TEST(stop_ends_runs_at_once_and_refuses_more)
{
	pthread_t threads[3];
	struct exec_runner *r;
	void *other;
	int64_t began;

	config.connections = 2;
	write_program("echo $$ > FOLDER/$$; test -e FOLDER/pid || mv FOLDER/$$ FOLDER/pid; " HANGING);
	r = runner();
	for (int i = 0; i < COUNT(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, run_once, r), 0);
	pid_in("pid");
	began = mono_ms();
	exec_runner_stop(r);
	for (int i = 0; i < COUNT(threads); i++) {
		pthread_join(threads[i], &other);
		ck_assert_ptr_nonnull(other);
		ck_assert_str_eq(((struct err *)other)->type, "exec-stopped");
		free(other);
	}
	ck_assert_msg(mono_ms() - began < 20000, "it took %ld ms", (long)(mono_ms() - began));
	other = run_once(r);
	ck_assert_str_eq(((struct err *)other)->type, "exec-stopped");
	ck_assert_int_eq(((struct err *)other)->class, ERR_TEMPORARY);
	free(other);
	exec_runner_free(r);
}
END_TEST

START_TEST(other_children_are_left_alone)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0)
		_exit(7);
	answers("echo good", "good\n");
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}
END_TEST

START_TEST(ends_are_seen_where_sigchld_was_ignored)
{
	struct buf answer = BUF_INIT;
	struct err err = ERR_INIT;

	signal(SIGCHLD, SIG_IGN);
	ck_assert(!run_body("exit 5", &answer, &err));
	ck_assert_msg(strstr(err.text, "ended with code 5") != NULL, "%s", err.text);
	buf_clear(&answer);
}
END_TEST

START_TEST(program_dies_with_enrolld)
{
	struct exec_runner *r;
	pid_t daemon, hanging;

	write_program("echo $$ > FOLDER/pid; exec sleep 1000");
	r = runner();
	daemon = fork();
	if (daemon == 0) {
		free(run_once(r));
		_exit(0);
	}
	hanging = pid_in("pid");
	ck_assert(!is_gone(hanging));
	kill(daemon, SIGKILL);
	waitpid(daemon, NULL, 0);
	wait_gone(hanging);
	exec_runner_free(r);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("exec");
	TCase *run = tcase_create("runs");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(run, setup, teardown);
	tcase_set_timeout(run, 120);
	tcase_add_test(run, question_is_its_stdin_and_its_stdout_the_answer);
	tcase_add_test(run, environment_is_path_lang_and_what_is_configured);
	tcase_add_test(run, nothing_of_ours_is_inherited);
	tcase_add_loop_test(run, it_runs_when_we_lack_stdin_stdout_stderr, 1, 8);
	tcase_add_test(run, it_runs_as_its_own_user);
	tcase_add_test(run, another_user_without_root_is_a_configuration_error);
	tcase_add_loop_test(run, program_is_contained, 0, COUNT(bodies));
	tcase_add_test(run, child_that_left_the_group_holds_nothing_up);
	tcase_add_loop_test(run, program_that_cannot_run_is_a_configuration_error, 0, COUNT(unrunnable));
	tcase_add_test(run, no_more_run_at_one_time_than_allowed);
	tcase_add_test(run, threads_get_their_own_answers);
	tcase_add_test(run, slot_is_not_waited_for_forever);
	tcase_add_test(run, stop_ends_runs_at_once_and_refuses_more);
	tcase_add_test(run, other_children_are_left_alone);
	tcase_add_test(run, ends_are_seen_where_sigchld_was_ignored);
	tcase_add_test(run, program_dies_with_enrolld);
	suite_add_tcase(s, run);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
