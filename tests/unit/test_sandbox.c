/*
 * tests/unit/test_sandbox.c - the table of calls has no contradictions, and is what the kernel holds a process to.
 */
#include "config.h"

#include <check.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/internal.h"

#if defined(HAVE_SECCOMP) && !defined(BUILT_WITH_SANITIZERS)
#include <seccomp.h>

#define ROLES (SANDBOX_ENROLLD_EXEC + 1)

/* ---- the table ------------------------------------------------------------------------------------------------------------ */

/* Calls that are younger than libseccomp 2.5.4, which Debian 12 has. */
static const char *const young[] = {"futex_wait", "futex_wake", "futex_requeue", "fchmodat2", "map_shadow_stack", "open_tree_attr", "clock_adjtime64"};

static bool is_young(const char *name)
{
	for (size_t i = 0; i < sizeof young / sizeof *young; i++)
		if (strcmp(young[i], name) == 0)
			return true;
	return false;
}

/* Each name of a role's groups, one after the other. */
static void each(enum sandbox_role role, void (*look)(const char *name, const struct call_group *g, void *arg), void *arg)
{
	for (const struct call_group *g = sandbox_calls; g->names; g++) {
		char *names = strdup(g->names), *rest = NULL;

		for (char *n = strtok_r(names, " ", &rest); (g->roles & ROLE(role)) && n; n = strtok_r(NULL, " ", &rest))
			look(n, g, arg);
		free(names);
	}
}

static void is_known(const char *name, const struct call_group *g, void *arg)
{
	ck_assert_msg(seccomp_syscall_resolve_name(name) != __NR_SCMP_ERROR || is_young(name), "%s: a slip of the pen?", name);
}

START_TEST(names_are_those_of_libseccomp)
{
	for (int r = 0; r < ROLES; r++)
		each((enum sandbox_role)r, is_known, NULL);
}
END_TEST

static void count(const char *name, const struct call_group *g, void *arg)
{
	const char **seen = arg;

	for (size_t i = 0; i < 600 && seen[i]; i++)
		ck_assert_msg(strcmp(seen[i], name) != 0, "%s stands twice", name);
	for (size_t i = 0; i < 600; i++)
		if (!seen[i]) {
			seen[i] = strdup(name);
			return;
		}
}

START_TEST(each_call_stands_once_in_a_role)
{
	for (int r = 0; r < ROLES; r++) {
		char *seen[600] = {NULL};

		each((enum sandbox_role)r, count, seen);
		for (size_t i = 0; i < 600; i++)
			free(seen[i]);
	}
}
END_TEST

static void has_reason(const char *name, const struct call_group *g, void *arg)
{
	ck_assert_msg(g->why && strlen(g->why) > 5, "%s: why?", name);
}

START_TEST(each_group_says_why)
{
	for (int r = 0; r < ROLES; r++)
		each((enum sandbox_role)r, has_reason, NULL);
}
END_TEST

START_TEST(deadly_is_what_no_daemon_does)
{
	ck_assert(sandbox_call_is_deadly("ptrace", SANDBOX_ENROLLD_EXEC));
	ck_assert(sandbox_call_is_deadly("execve", SANDBOX_INBOUND));
	ck_assert(sandbox_call_is_deadly("execve", SANDBOX_ENROLLD));
	ck_assert(!sandbox_call_is_deadly("execve", SANDBOX_ENROLLD_EXEC));
	ck_assert(!sandbox_call_is_deadly("exec", SANDBOX_INBOUND));
	ck_assert(!sandbox_call_is_deadly("", SANDBOX_INBOUND));
	ck_assert(!sandbox_call_is_deadly("read", SANDBOX_OUTBOUND));
}
END_TEST

/* ---- a process in it ------------------------------------------------------------------------------------------------------- */

/* The exit status of a child that enters the sandbox and then does this. */
static int status_of(enum sandbox_role role, enum sandbox_mode mode, int (*what)(void))
{
	int status = 0;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct err err = ERR_INIT;

		log_set_level(LOG_LEVEL_ERROR);
		_exit(sandbox_enter(role, mode, &err) ? what() : 99);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static int ask_personality(void)
{
	return syscall(SYS_personality, 0xffffffffUL) == -1 && errno == ENOSYS ? 1 : 2;
}

static int start_program(void)
{
	char *const words[] = {(char *)"/bin/true", NULL};

	execve(words[0], words, NULL);
	return 3;
}

static int start_child(void)
{
	return fork() == -1 && errno == ENOSYS ? 1 : 2;
}

static int run_child(void)
{
	return system("true") == 0 ? 1 : 2;
}

static void *nothing(void *arg)
{
	return arg;
}

static int usual_work(void)
{
	struct addrinfo *found = NULL;
	pthread_t thread;
	bool ok = pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_join(thread, NULL) == 0;
	int s = socket(AF_INET, SOCK_STREAM, 0);

	if (getaddrinfo("localhost", "25", NULL, &found) == 0)
		freeaddrinfo(found);
	return ok && s >= 0 ? 1 : 2;
}

static int odd_socket(void)
{
	return socket(AF_PACKET, SOCK_RAW, 0) == -1 && errno == ENOSYS ? 1 : 2;
}

static int signal_parent(void)
{
	return kill(getppid(), 0) == -1 && errno == ENOSYS ? 1 : 2;
}

static int may_execute(void)
{
	return sandbox_may_execute() ? 1 : 2;
}

START_TEST(a_process_is_held_to_it)
{
	static const struct {
		const char *what;
		enum sandbox_role role;
		enum sandbox_mode mode;
		int (*act)(void);
		int code; /* -1: ended by SIGSYS */
	} rows[] = {
		{"an unknown call is not there", SANDBOX_INBOUND, SANDBOX_ON, ask_personality, 1},
		{"with log it is", SANDBOX_INBOUND, SANDBOX_LOG, ask_personality, 2},
		{"with off it is", SANDBOX_INBOUND, SANDBOX_OFF, ask_personality, 2},
		{"a program of a milter ends it", SANDBOX_OUTBOUND, SANDBOX_ON, start_program, -1},
		{"a program of enrolld ends it", SANDBOX_ENROLLD, SANDBOX_ON, start_program, -1},
		{"where a CA's program is, it runs", SANDBOX_ENROLLD_EXEC, SANDBOX_ON, start_program, 0},
		{"no process is started", SANDBOX_INBOUND, SANDBOX_ON, start_child, 1},
		{"where a CA's program is, one is, by a shell", SANDBOX_ENROLLD_EXEC, SANDBOX_ON, run_child, 1},
		{"threads, names and sockets work, outbound", SANDBOX_OUTBOUND, SANDBOX_ON, usual_work, 1},
		{"threads, names and sockets work, inbound", SANDBOX_INBOUND, SANDBOX_ON, usual_work, 1},
		{"threads, names and sockets work, enrolld", SANDBOX_ENROLLD, SANDBOX_ON, usual_work, 1},
		{"threads, names and sockets work, enrolld with a program", SANDBOX_ENROLLD_EXEC, SANDBOX_ON, usual_work, 1},
		{"no raw packets", SANDBOX_OUTBOUND, SANDBOX_ON, odd_socket, 1},
		{"nobody else is signalled", SANDBOX_OUTBOUND, SANDBOX_ON, signal_parent, 1},
		{"it is known that programs are given up", SANDBOX_ENROLLD, SANDBOX_ON, may_execute, 2},
		{"and where they are not", SANDBOX_ENROLLD_EXEC, SANDBOX_ON, may_execute, 1},
		{"nor with off", SANDBOX_ENROLLD, SANDBOX_OFF, may_execute, 1},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		int status = status_of(rows[i].role, rows[i].mode, rows[i].act);

		if (rows[i].code < 0)
			ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "%s: status %x", rows[i].what, status);
		else
			ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == rows[i].code, "%s: status %x", rows[i].what, status);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sandbox");
	TCase *tc = tcase_create("sandbox");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, names_are_those_of_libseccomp);
	tcase_add_test(tc, each_call_stands_once_in_a_role);
	tcase_add_test(tc, each_group_says_why);
	tcase_add_test(tc, deadly_is_what_no_daemon_does);
	tcase_add_test(tc, a_process_is_held_to_it);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#else

/* Skipped: there is no filter in this build. */
int main(void)
{
	return 77;
}

#endif
