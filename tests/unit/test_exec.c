/*
 * tests/unit/test_exec.c - driver "exec": programs that misbehave are contained, what they answer is read with suspicion, and a request goes out
 * under one id.  The programs are shell scripts that the test writes.
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <check.h>
#include <jansson.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "enroll/ca.h"
#include "enroll/exec.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define HANGING "while :; do sleep 1; done"
#define QUESTION "{\"version\":1,\"action\":\"check\"}"

static char folder[64], program[96];
static struct ca_config config;

/* ---- help ---------------------------------------------------------------------------------------------------------- */

static const char *in_folder(const char *name)
{
	static char path[4][400];
	static unsigned turn;

	turn = (turn + 1) % 4;
	snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
	return path[turn];
}

/* FOLDER in the text is the test's folder, which everybody may use. */
static void write_script(const char *text)
{
	FILE *f = fopen(program, "w");
	const char *p;

	ck_assert_ptr_nonnull(f);
	for (; (p = strstr(text, "FOLDER")) != NULL; text = p + 6)
		fprintf(f, "%.*s%s", (int)(p - text), text, folder);
	fputs(text, f);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(chmod(program, 0755), 0);
}

static void write_program(const char *body)
{
	struct buf text = BUF_INIT;

	buf_printf(&text, "#!/bin/sh\n%s\n", body);
	write_script(buf_str(&text));
	buf_clear(&text);
}

static bool read_back(const char *name, struct buf *out)
{
	buf_reset(out);
	return file_read(out, in_folder(name), 1 << 20, NULL);
}

static void setup(void)
{
	snprintf(folder, sizeof folder, "/tmp/test_exec-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chmod(folder, 01777), 0);
	snprintf(program, sizeof program, "%s/program", folder);
	memset(&config, 0, sizeof config);
	config.driver = CA_DRIVER_EXEC;
	config.exec.program = program;
	config.exec.timeout_seconds = 60;
	config.exec.max_output = 65536;
	config.connections = 4;
}

static void teardown(void)
{
	DIR *dir = opendir(folder);
	struct dirent *e;

	while (dir && (e = readdir(dir)) != NULL)
		unlink(in_folder(e->d_name));
	if (dir)
		closedir(dir);
	rmdir(folder);
	strlist_clear(&config.exec.environment);
}

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
	sigset_t some;
	int open_here = open("/dev/null", O_RDONLY), high = fcntl(open_here, F_DUPFD, 200);

	ck_assert(open_here >= 0 && high >= 200);
	sigemptyset(&some);
	sigaddset(&some, SIGTERM);
	sigaddset(&some, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &some, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
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

START_TEST(it_runs_when_we_have_no_stdin_stdout_stderr)
{
	struct buf answer = BUF_INIT;
	int saved = fcntl(1, F_DUPFD_CLOEXEC, 50), saved_err = fcntl(2, F_DUPFD_CLOEXEC, 50);
	bool ok;

	write_program("echo hidden >&2; cat");
	close(0);
	close(1);
	close(2);
	ok = run_body("echo hidden >&2; cat", &answer, NULL);
	dup2(saved, 1);
	dup2(saved_err, 2);
	ck_assert(ok);
	ck_assert_str_eq(buf_str(&answer), QUESTION);
	buf_clear(&answer);
}
END_TEST

START_TEST(it_runs_as_its_own_user)
{
	struct passwd *nobody = getpwnam("nobody");
	struct buf answer = BUF_INIT, expected = BUF_INIT;
	struct err err = ERR_INIT;
	char name[] = "nobody", unknown[] = "no-such-user";

	config.exec.user = unknown;
	write_program("id");
	ck_assert_ptr_null(exec_runner_new(&config, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "no user \"no-such-user\""));
	if (geteuid() != 0 || !nobody)
		return; /* what only root can do */
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

/* ---- answers --------------------------------------------------------------------------------------------------------- */

static char *chain; /* PEM of a certificate, with \n as JSON has it */

static void make_chain(void)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	X509 *x = X509_new();
	BIO *mem = BIO_new(BIO_s_mem());
	struct buf out = BUF_INIT;
	char *text;
	long n;

	ck_assert(key && x && mem && X509_set_pubkey(x, key) && X509_gmtime_adj(X509_getm_notBefore(x), 0) &&
		X509_gmtime_adj(X509_getm_notAfter(x), 3600) && X509_sign(x, key, EVP_sha256()) && PEM_write_bio_X509(mem, x));
	n = BIO_get_mem_data(mem, &text);
	for (long i = 0; i < n; i++)
		text[i] == '\n' ? buf_puts(&out, "\\n") : buf_putc(&out, text[i]);
	chain = buf_take(&out);
	BIO_free(mem);
	X509_free(x);
	EVP_PKEY_free(key);
}

#define NOW 1795334400
static const struct {
	const char *name;
	enum exec_action action;
	const char *text; /* CHAIN stands for a chain */
	enum err_class class; /* ERR_NONE: good */
	const char *words;
} texts[] = {
	{"nothing at all", EXEC_REQUEST, "", ERR_TEMPORARY, "it wrote nothing to stdout"},
	{"a Python traceback", EXEC_REQUEST, "Traceback (most recent call last):\n", ERR_TEMPORARY, "it is not JSON (line 1"},
	{"two answers", EXEC_REQUEST, "{\"status\":\"pending\"}\n{\"status\":\"pending\"}\n", ERR_TEMPORARY, "it is not JSON (line 2"},
	{"half an answer", EXEC_REQUEST, "{\"status\":\"pending\",\"state\":{", ERR_TEMPORARY, "it is not JSON"},
	{"the same member twice", EXEC_REQUEST, "{\"status\":\"pending\",\"status\":\"issued\"}", ERR_TEMPORARY, "it is not JSON"},
	{"not UTF-8", EXEC_REQUEST, "{\"status\":\"pending\",\"state\":\"\xff\"}", ERR_TEMPORARY, "it is not JSON"},
	{"an array", EXEC_REQUEST, "[]", ERR_TEMPORARY, "an array and not an object"},
	{"no status", EXEC_REQUEST, "{}", ERR_TEMPORARY, "\"status\" is missing"},
	{"a status of a wrong type", EXEC_REQUEST, "{\"status\":1}", ERR_TEMPORARY, "\"status\" is a number, not a string"},
	{"a status that there is not", EXEC_REQUEST, "{\"status\":\"done\"}", ERR_TEMPORARY, "\"done\", which is no answer to this"},
	{"an answer to another question", EXEC_CHECK, "{\"status\":\"pending\"}", ERR_TEMPORARY, "\"pending\", which is no answer to this"},
	{"issued for a check", EXEC_CHECK, "{\"status\":\"issued\",\"chain\":\"CHAIN\"}", ERR_TEMPORARY, "no answer to this"},
	{"pending for a revocation", EXEC_REVOKE, "{\"status\":\"pending\"}", ERR_TEMPORARY, "no answer to this"},
	{"unsupported for a request", EXEC_REQUEST, "{\"status\":\"unsupported\"}", ERR_TEMPORARY, "no answer to this"},
	{"pending", EXEC_REQUEST, "{\"status\":\"pending\"}", ERR_NONE, NULL},
	{"members that nobody asked for", EXEC_REQUEST, "{\"status\":\"pending\",\"weather\":\"fine\"}", ERR_NONE, NULL},
	{"seconds as text", EXEC_POLL, "{\"status\":\"pending\",\"retry_after\":\"30\"}", ERR_TEMPORARY, "\"retry_after\" is a string"},
	{"seconds below zero", EXEC_POLL, "{\"status\":\"pending\",\"retry_after\":-1}", ERR_TEMPORARY, "\"retry_after\" is negative"},
	{"issued without a chain", EXEC_POLL, "{\"status\":\"issued\"}", ERR_TEMPORARY, "\"chain\" is missing"},
	{"issued with an empty chain", EXEC_POLL, "{\"status\":\"issued\",\"chain\":\"\"}", ERR_TEMPORARY, "\"chain\" is no PEM chain"},
	{"issued with base64 alone", EXEC_POLL, "{\"status\":\"issued\",\"chain\":\"MIIB\"}", ERR_TEMPORARY, "\"chain\" is no PEM chain"},
	{"issued with half a chain", EXEC_POLL, "{\"status\":\"issued\",\"chain\":\"CHAIN-----BEGIN CERTIFICATE-----\"}", ERR_TEMPORARY, "no PEM chain"},
	{"issued", EXEC_POLL, "{\"status\":\"issued\",\"chain\":\"CHAIN\"}", ERR_NONE, NULL},
	{"issued with two certificates and words between", EXEC_REQUEST, "{\"status\":\"issued\",\"chain\":\"CHAINissuer\\nCHAIN\"}", ERR_NONE, NULL},
	{"failed without a class", EXEC_REQUEST, "{\"status\":\"failed\",\"text\":\"no\"}", ERR_TEMPORARY, "\"class\" is missing"},
	{"failed without words", EXEC_REQUEST, "{\"status\":\"failed\",\"class\":\"ca\"}", ERR_TEMPORARY, "\"text\" is missing"},
	{"failed with another class", EXEC_REQUEST, "{\"status\":\"failed\",\"class\":\"bug\",\"text\":\"no\"}", ERR_TEMPORARY, "\"class\" is \"bug\""},
	{"failed: CA", EXEC_REQUEST, "{\"status\":\"failed\",\"class\":\"ca\",\"text\":\"no such\\nmailbox\"}", ERR_CA, "says: no such mailbox"},
	{"failed: policy", EXEC_REQUEST, "{\"status\":\"failed\",\"class\":\"policy\",\"text\":\"not now\"}", ERR_POLICY, "says: not now"},
	{"failed: configuration", EXEC_CHECK, "{\"status\":\"failed\",\"class\":\"config\",\"text\":\"set CA\"}", ERR_CONFIG, "says: set CA"},
	{"failed: temporary", EXEC_REVOKE, "{\"status\":\"failed\",\"class\":\"temporary\",\"text\":\"L\xc3\xa4uft\"}", ERR_TEMPORARY, "says: L\xc3\xa4uft"},
	{"ok", EXEC_CHECK, "{\"status\":\"ok\",\"caa_identities\":[\"ca.example\"],\"terms\":null}", ERR_NONE, NULL},
	{"identities that are one text", EXEC_CHECK, "{\"status\":\"ok\",\"caa_identities\":\"ca.example\"}", ERR_TEMPORARY, "is a string, not an array"},
	{"identities that are no domains", EXEC_CHECK, "{\"status\":\"ok\",\"caa_identities\":[\"https://ca\"]}", ERR_TEMPORARY, "no domain name"},
	{"terms on two lines", EXEC_CHECK, "{\"status\":\"ok\",\"terms\":\"a\\nb\"}", ERR_TEMPORARY, "\"terms\" has a control character"},
	{"revoked", EXEC_REVOKE, "{\"status\":\"revoked\"}", ERR_NONE, NULL},
	{"renewal is not told", EXEC_RENEWAL_INFO, "{\"status\":\"unsupported\"}", ERR_NONE, NULL},
	{"renewal without an end", EXEC_RENEWAL_INFO, "{\"status\":\"renewal\",\"start\":\"2026-11-22T08:00:00Z\"}", ERR_TEMPORARY, "\"end\" is missing"},
	{"renewal backwards", EXEC_RENEWAL_INFO, "{\"status\":\"renewal\",\"start\":\"2026-11-22T08:00:00Z\",\"end\":\"2026-11-22T08:00:00Z\"}",
		ERR_TEMPORARY, "\"end\" is not after \"start\""},
	{"renewal at a day", EXEC_RENEWAL_INFO, "{\"status\":\"renewal\",\"start\":\"2026-11-22\",\"end\":\"2026-11-23\"}", ERR_TEMPORARY, "\"start\" is no time"},
};

START_TEST(answer_is_judged)
{
	struct exec_words words = {"a word on stderr"};
	struct exec_answer a;
	struct err err = ERR_INIT;
	struct buf text = BUF_INIT;
	const char *t = texts[_i].text, *p;
	bool ok;

	make_chain();
	for (; (p = strstr(t, "CHAIN")) != NULL; t = p + 5) {
		buf_append(&text, t, (size_t)(p - t));
		buf_puts(&text, chain);
	}
	buf_puts(&text, t);
	ok = exec_answer_read(texts[_i].action, "/usr/local/bin/ca", &words, buf_str(&text), text.len, NOW, &a, &err);
	ck_assert_msg(ok == (texts[_i].class == ERR_NONE), "%s: %s", texts[_i].name, err.text);
	if (!ok) {
		bool failed = strstr(texts[_i].name, "failed: ") != NULL;

		ck_assert_msg(err.class == texts[_i].class, "%s: %s", texts[_i].name, err_class_name(err.class));
		ck_assert_str_eq(err.type, failed ? "exec-failed" : "malformed-answer");
		ck_assert_msg(strstr(err.text, texts[_i].words) != NULL, "%s: %s", texts[_i].name, err.text);
		ck_assert_msg(strstr(err.text, "/usr/local/bin/ca") && strstr(err.text, exec_action_name(texts[_i].action)), "%s", err.text);
		ck_assert_msg(failed || strstr(err.text, "a word on stderr"), "%s", err.text);
		ck_assert(text_is_one_line(err.text) && text_is_utf8(err.text, strlen(err.text)));
	}
	exec_answer_clear(&a);
	buf_clear(&text);
	free(chain);
}
END_TEST

static const struct {
	const char *text;
	long expected;
} retries[] = {{"0", 0}, {"1", 1}, {"0.001", 1}, {"30", 30}, {"30.0", 30}, {"604800", 604800}, {"604801", 604800}, {"1e200", 604800},
	{"9223372036854775807", 604800}};

START_TEST(retry_time_is_kept_within_a_week)
{
	const struct exec_words words = {""};
	struct exec_answer a;
	struct err err = ERR_INIT;
	char text[200];

	snprintf(text, sizeof text, "{\"status\":\"pending\",\"retry_after\":%s}", retries[_i].text);
	ck_assert_msg(exec_answer_read(EXEC_POLL, "ca", &words, text, strlen(text), NOW, &a, &err), "%s", err.text);
	ck_assert_int_eq(a.retry_after, retries[_i].expected);
	exec_answer_clear(&a);
	snprintf(text, sizeof text, "{\"status\":\"failed\",\"class\":\"temporary\",\"text\":\"x\",\"retry_after\":%s}", retries[_i].text);
	ck_assert(!exec_answer_read(EXEC_POLL, "ca", &words, text, strlen(text), NOW, &a, &err));
	ck_assert_int_eq(err.retry_at, retries[_i].expected ? NOW + retries[_i].expected : 0);
}
END_TEST

static const struct {
	const char *text;
	time_t expected; /* 0 = none */
} times[] = {
	{"2026-11-22T08:00:00Z", NOW},
	{"2026-11-22t08:00:00z", NOW},
	{"2026-11-22 08:00:00.999999Z", NOW},
	{"2026-11-22T10:00:00+02:00", NOW},
	{"2026-11-22T02:30:00-05:30", NOW},
	{"2026-11-22T08:00:00", 0},
	{"2026-11-22T08:00:00.Z", 0},
	{"2026-11-22T08:00:00+0200", 0},
	{"2026-11-22T08:00:00+02:00Z", 0},
	{"2026-13-22T08:00:00Z", 0},
	{"2026-11-22T08:00Z", 0},
	{" 2026-11-22T08:00:00Z", 0},
	{"1700-11-22T08:00:00Z", 0},
	{"tomorrow", 0},
};

START_TEST(time_is_understood)
{
	const struct exec_words words = {""};
	struct exec_answer a;
	struct err err = ERR_INIT;
	char text[200];
	bool ok;

	snprintf(text, sizeof text, "{\"status\":\"renewal\",\"start\":\"%s\",\"end\":\"2030-01-01T00:00:00Z\"}", times[_i].text);
	ok = exec_answer_read(EXEC_RENEWAL_INFO, "ca", &words, text, strlen(text), NOW, &a, &err);
	ck_assert_msg(ok == (times[_i].expected != 0), "%s: %s", times[_i].text, err.text);
	ck_assert_msg(!ok || a.start == times[_i].expected, "%s: %ld", times[_i].text, (long)a.start - NOW);
	exec_answer_clear(&a);
}
END_TEST

START_TEST(state_has_a_limit)
{
	const struct exec_words words = {""};
	struct exec_answer a;
	struct err err = ERR_INIT;
	struct buf text = BUF_INIT;

	buf_puts(&text, "{\"status\":\"pending\",\"state\":\"");
	for (int i = 0; i < EXEC_STATE_MAX; i++)
		buf_putc(&text, 'x');
	buf_puts(&text, "\"}");
	ck_assert(!exec_answer_read(EXEC_POLL, "ca", &words, buf_str(&text), text.len, NOW, &a, &err));
	ck_assert_msg(strstr(err.text, "\"state\" has more than 65536 octets") != NULL, "%s", err.text);
	buf_clear(&text);
}
END_TEST

/* ---- an order from its beginning to its end ---------------------------------------------------------------------------- */

static struct ca *ca_of(const char *body)
{
	struct err err = ERR_INIT;
	struct ca *ca;

	write_program(body);
	ca = ca_new(&config, &err);
	ck_assert_msg(ca != NULL, "%s", err.text);
	return ca;
}

static struct ca_order open_order(struct ca *ca)
{
	struct strlist addresses = {0};
	const struct ca_request request = {.addresses = &addresses, .profile = "mailbox-strict", .usage = "sign"};
	struct ca_order o;
	struct err err = ERR_INIT;

	ck_assert(strlist_add(&addresses, "alice@corp.example"));
	ck_assert_msg(ca_open(ca, &request, &o, &err), "%s", err.text);
	strlist_clear(&addresses);
	return o;
}

static void make_csr(struct buf *der)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	X509_REQ *req = X509_REQ_new();
	unsigned char *octets = NULL;
	int n;

	ck_assert(key && req && X509_REQ_set_pubkey(req, key) && X509_REQ_sign(req, key, EVP_sha256()));
	n = i2d_X509_REQ(req, &octets);
	ck_assert_int_gt(n, 0);
	buf_append(der, octets, (size_t)n);
	OPENSSL_free(octets);
	X509_REQ_free(req);
	EVP_PKEY_free(key);
}

/* The question that the program saw last. */
static json_t *asked(void)
{
	struct buf text = BUF_INIT;
	json_t *q;

	ck_assert(read_back("asked", &text));
	q = json_loads(buf_str(&text), 0, NULL);
	ck_assert(json_is_object(q));
	buf_clear(&text);
	unlink(in_folder("asked"));
	return q;
}

static const char *word(const json_t *q, const char *name)
{
	const char *text = json_string_value(json_object_get(q, name));

	return text ? text : "(none)";
}

#define KEEP "cat > FOLDER/asked; cat FOLDER/answer"

static void will_answer(const char *text)
{
	struct buf with_chain = BUF_INIT;
	const char *p = strstr(text, "CHAIN");

	if (p) {
		buf_append(&with_chain, text, (size_t)(p - text));
		buf_puts(&with_chain, chain);
		buf_puts(&with_chain, p + 5);
		text = buf_str(&with_chain);
	}
	ck_assert(file_write(in_folder("answer"), text, strlen(text), 0644, -1, NULL));
	buf_clear(&with_chain);
}

START_TEST(order_goes_its_way)
{
	struct ca *ca = ca_of(KEEP);
	struct ca_order o = open_order(ca);
	struct buf csr = BUF_INIT, pem = BUF_INIT;
	struct err err = ERR_INIT;
	char id[64];
	json_t *q;

	make_chain();
	make_csr(&csr);
	ck_assert_int_eq(o.progress, CA_READY);
	ck_assert_msg(ca_look(ca, &o, &err) && o.progress == CA_READY && !o.challenge_from, "%s", err.text);
	ck_assert_msg(access(in_folder("asked"), F_OK) != 0, "the program is not run before the request");
	will_answer("{\"status\":\"pending\",\"retry_after\":7,\"state\":{\"ticket\":[1,2]}}");
	ck_assert_msg(ca_finalize(ca, &o, csr.data, csr.len, &err), "%s", err.text);
	ck_assert_int_eq(o.progress, CA_PROCESSING);
	ck_assert(o.retry_at >= time(NULL) && o.retry_at <= time(NULL) + 7);
	q = asked();
	ck_assert_str_eq(word(q, "action"), "request");
	ck_assert_str_eq(word(q, "profile"), "mailbox-strict");
	ck_assert_str_eq(word(q, "usage"), "sign");
	ck_assert_str_eq(json_string_value(json_array_get(json_object_get(q, "addresses"), 0)), "alice@corp.example");
	ck_assert_ptr_nonnull(strstr(word(q, "csr"), "-----BEGIN CERTIFICATE REQUEST-----\n"));
	ck_assert(json_is_null(json_object_get(q, "state")) && json_is_null(json_object_get(q, "replaces")));
	snprintf(id, sizeof id, "%s", word(q, "id"));
	ck_assert_uint_ge(strlen(id), 22);
	json_decref(q);
	ck_assert(ca_finalize(ca, &o, csr.data, csr.len, &err) && o.progress == CA_PROCESSING);
	ck_assert_msg(access(in_folder("asked"), F_OK) != 0, "a request that was answered is not made again");
	will_answer("{\"status\":\"pending\"}");
	ck_assert_msg(ca_look(ca, &o, &err) && o.progress == CA_PROCESSING, "%s", err.text);
	q = asked();
	ck_assert_str_eq(word(q, "action"), "poll");
	ck_assert_str_eq(word(q, "id"), id);
	ck_assert_msg(json_object_get(json_object_get(q, "state"), "ticket") != NULL, "the state comes back");
	json_decref(q);
	will_answer("{\"status\":\"issued\",\"chain\":\"CHAIN\"}");
	ck_assert_msg(ca_look(ca, &o, &err) && o.progress == CA_ISSUED, "%s", err.text);
	q = asked();
	ck_assert_msg(json_object_get(json_object_get(q, "state"), "ticket") != NULL, "an answer without state leaves the old one");
	json_decref(q);
	ck_assert_msg(ca_look(ca, &o, &err) && o.progress == CA_ISSUED && ca_fetch(ca, &o, &pem, &err), "%s", err.text);
	ck_assert_msg(access(in_folder("asked"), F_OK) != 0, "what is here is not asked for");
	ck_assert_ptr_nonnull(strstr(buf_str(&pem), "-----BEGIN CERTIFICATE-----\n"));
	ck_assert_msg(!strstr(o.state, "BEGIN"), "the chain is not kept twice");
	ca_order_clear(&o);
	ca_free(ca);
	buf_clear(&csr);
	buf_clear(&pem);
	free(chain);
}
END_TEST

/* What the enrollment does after a crash: the state as it was stored, the same request again. */
START_TEST(repeated_request_has_the_same_id)
{
	struct ca *ca = ca_of(KEEP);
	struct ca_order o = open_order(ca), again = {.state = str_dup(o.state)}, other = open_order(ca);
	struct buf csr = BUF_INIT;
	struct err err = ERR_INIT;
	char id[64];
	json_t *q;

	make_csr(&csr);
	will_answer("rubbish");
	ck_assert(!ca_finalize(ca, &o, csr.data, csr.len, &err));
	ck_assert_str_eq(err.type, "malformed-answer");
	q = asked();
	snprintf(id, sizeof id, "%s", word(q, "id"));
	json_decref(q);
	will_answer("{\"status\":\"pending\"}");
	for (int i = 0; i < 2; i++) {
		ck_assert_msg(ca_finalize(ca, i ? &again : &o, csr.data, csr.len, &err), "%s", err.text);
		q = asked();
		ck_assert_str_eq(word(q, "action"), "request");
		ck_assert_str_eq(word(q, "id"), id);
		json_decref(q);
	}
	ck_assert_msg(ca_finalize(ca, &other, csr.data, csr.len, &err), "%s", err.text);
	q = asked();
	ck_assert_str_ne(word(q, "id"), id);
	json_decref(q);
	ca_order_clear(&o);
	ca_order_clear(&again);
	ca_order_clear(&other);
	ca_free(ca);
	buf_clear(&csr);
}
END_TEST

START_TEST(refusal_ends_the_order_other_failures_do_not)
{
	static const struct {
		const char *class;
		enum err_class expected;
	} classes[] = {{"ca", ERR_CA}, {"temporary", ERR_TEMPORARY}, {"policy", ERR_POLICY}, {"config", ERR_CONFIG}};
	struct ca *ca = ca_of(KEEP);
	struct buf csr = BUF_INIT;
	char text[160];

	make_csr(&csr);
	for (int i = 0; i < COUNT(classes); i++) {
		struct ca_order o = open_order(ca);
		struct err err = ERR_INIT;

		snprintf(text, sizeof text, "{\"status\":\"failed\",\"class\":\"%s\",\"text\":\"because\",\"retry_after\":90}", classes[i].class);
		will_answer(text);
		ck_assert(!ca_finalize(ca, &o, csr.data, csr.len, &err));
		ck_assert_int_eq(err.class, classes[i].expected);
		ck_assert_int_eq(o.progress == CA_INVALID, classes[i].expected == ERR_CA);
		ck_assert(err.retry_at > time(NULL) && err.retry_at <= time(NULL) + 90);
		ca_order_clear(&o);
	}
	ca_free(ca);
	buf_clear(&csr);
}
END_TEST

START_TEST(order_of_another_driver_is_given_up)
{
	struct ca *ca = ca_of("echo '{\"status\":\"pending\"}'");
	struct ca_order o = {.state = str_dup("{\"order\":\"https://ca.example/acme/order/1\"}")};
	struct err err = ERR_INIT;

	ck_assert(!ca_look(ca, &o, &err));
	ck_assert_int_eq(err.class, ERR_CA);
	ck_assert_int_eq(o.progress, CA_INVALID);
	ca_order_clear(&o);
	ca_free(ca);
}
END_TEST

START_TEST(certificate_is_shown_for_revocation_and_renewal)
{
	struct ca *ca = ca_of(KEEP);
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	X509 *x = X509_new();
	unsigned char *der = NULL;
	struct ca_renewal renewal;
	struct err err = ERR_INIT;
	size_t len;
	json_t *q;

	ck_assert(X509_set_pubkey(x, key) && X509_gmtime_adj(X509_getm_notBefore(x), 0) && X509_gmtime_adj(X509_getm_notAfter(x), 3600) &&
		X509_sign(x, key, EVP_sha256()));
	len = (size_t)i2d_X509(x, &der);
	will_answer("{\"status\":\"revoked\"}");
	ck_assert_msg(ca_revoke(ca, der, len, CA_REASON_KEY_COMPROMISE, NULL, &err), "%s", err.text);
	q = asked();
	ck_assert_str_eq(word(q, "action"), "revoke");
	ck_assert_str_eq(word(q, "reason"), "keyCompromise");
	ck_assert_ptr_nonnull(strstr(word(q, "certificate"), "-----BEGIN CERTIFICATE-----\n"));
	json_decref(q);
	will_answer("{\"status\":\"unsupported\"}");
	ck_assert(!ca_revoke(ca, der, len, CA_REASON_UNSPECIFIED, NULL, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert(ca_renewal(ca, der, len, &renewal, &err) && !renewal.known);
	will_answer("{\"status\":\"renewal\",\"start\":\"2026-11-22T08:00:00Z\",\"end\":\"2026-11-23T08:00:00Z\",\"retry_after\":1}");
	ck_assert_msg(ca_renewal(ca, der, len, &renewal, &err), "%s", err.text);
	ck_assert(renewal.known && renewal.start == NOW && renewal.end == NOW + 86400);
	ck_assert_msg(renewal.ask_again > time(NULL) + 30, "no oftener than each minute");
	ca_free(ca);
	X509_free(x);
	EVP_PKEY_free(key);
	OPENSSL_free(der);
}
END_TEST

START_TEST(check_is_asked_once_an_hour_and_whenever_somebody_wants_it_anew)
{
	struct ca *ca = ca_of("echo x >> FOLDER/count; cat FOLDER/answer");
	struct ca_info info;
	struct buf count = BUF_INIT;
	struct err err = ERR_INIT;
	bool found;

	will_answer("{\"status\":\"ok\",\"caa_identities\":[\"CA.example\"],\"terms\":\"https://ca.example/terms\"}");
	for (int i = 0; i < 3; i++) {
		ck_assert_msg(ca_prepare(ca, &info, &err), "%s", err.text);
		ck_assert(info.caa_identities.n == 1 && strcmp(info.caa_identities.v[0], "ca.example") == 0 && !info.account_uri);
		ck_assert_str_eq(info.terms, "https://ca.example/terms");
		ca_info_clear(&info);
	}
	ck_assert(read_back("count", &count));
	ck_assert_str_eq(buf_str(&count), "x\n");
	will_answer("{\"status\":\"failed\",\"class\":\"config\",\"text\":\"the CA's key is gone\"}");
	ck_assert(!ca_discover(ca, &info, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ca_info_clear(&info);
	ck_assert(!ca_account_look(ca, &(struct ca_account){0}, &found, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_null(ca_account_uri(ca));
	buf_clear(&count);
	ca_free(ca);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("exec");
	TCase *run = tcase_create("runs"), *read = tcase_create("answers"), *order = tcase_create("orders");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(run, setup, teardown);
	tcase_set_timeout(run, 120);
	tcase_add_test(run, question_is_its_stdin_and_its_stdout_the_answer);
	tcase_add_test(run, environment_is_path_lang_and_what_is_configured);
	tcase_add_test(run, nothing_of_ours_is_inherited);
	tcase_add_test(run, it_runs_when_we_have_no_stdin_stdout_stderr);
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
	tcase_add_loop_test(read, answer_is_judged, 0, COUNT(texts));
	tcase_add_loop_test(read, retry_time_is_kept_within_a_week, 0, COUNT(retries));
	tcase_add_loop_test(read, time_is_understood, 0, COUNT(times));
	tcase_add_test(read, state_has_a_limit);
	suite_add_tcase(s, read);
	tcase_add_checked_fixture(order, setup, teardown);
	tcase_set_timeout(order, 120);
	tcase_add_test(order, order_goes_its_way);
	tcase_add_test(order, repeated_request_has_the_same_id);
	tcase_add_test(order, refusal_ends_the_order_other_failures_do_not);
	tcase_add_test(order, order_of_another_driver_is_given_up);
	tcase_add_test(order, certificate_is_shown_for_revocation_and_renewal);
	tcase_add_test(order, check_is_asked_once_an_hour_and_whenever_somebody_wants_it_anew);
	suite_add_tcase(s, order);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
