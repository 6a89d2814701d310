/*
 * enroll/exec_run.c - one run of the admin's program, contained.
 *
 * enrolld has threads, so between fork and exec only async-signal-safe calls are made, on things that were made ready before.  The program
 * gets nothing of ours: three descriptors, a new session, an environment of its own, no signal mask, no way to more privileges.
 *
 * The hard part is the end.  The program leads a process group, and that group is killed while the leader is still a zombie, whose number
 * nobody else can have: so a stranger's process is never hit, and children that keep stdout open hold nothing up.  Reading ends with the
 * leader, not with the end of the pipe.  Only this one child is ever waited for; one that does not even die of SIGKILL (it sits in a dead
 * file system) is left for later runs to reap.
 */
#include "config.h"

#include "enroll/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/sandbox.h"

#define TAIL 2048          /* octets of stderr that are kept to find its last line in */
#define DEATH_MS 2000      /* for SIGKILL to do its work */
#define LOOK_MS 20         /* between looks where the kernel has no pidfd */
#define LEFT_MAX 32        /* children that did not die, to be reaped later */
#define GROUPS_MAX 256
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

struct exec_runner {
	char *program;
	char **environment;        /* NULL at the end */
	bool other_user;
	uid_t uid;
	gid_t gid;
	gid_t groups[GROUPS_MAX];
	int n_groups;
	unsigned timeout;
	size_t max_output;
	atomic_bool stopped;
	int wake;                  /* readable from exec_runner_stop on */
	pthread_mutex_t lock;      /* below */
	pthread_cond_t slot_free;
	unsigned slots;
	pid_t left[LEFT_MAX];
	size_t n_left;
};

enum run_end { RUN_ON, RUN_ENDED, RUN_TIMEOUT, RUN_FLOOD, RUN_STOPPED, RUN_UNSTARTED, RUN_NOMEM };

/* What the child could not do, told through a pipe that exec closes. */
enum child_step { STEP_DESCRIPTORS = 1, STEP_USER, STEP_FOLDER, STEP_EXEC };
struct child_report {
	int step, number;
};

struct run {
	struct exec_runner *r;
	const char *action;
	int in, out[2], words[2], report[2]; /* pipes: read end, write end */
	pid_t pid;
	int pidfd;                 /* -1 where the kernel has none */
	int64_t deadline;
	struct buf *answer;
	char tail[TAIL];           /* the last octets of stderr */
	size_t tail_len, said;
	enum run_end end;
	struct child_report failed;
	int status;
	bool reaped;
};

/* ---- what is run, as whom ------------------------------------------------------------------------------------------ */

static bool bad_program(const char *path, struct err *err, const char *why)
{
	err_set(err, ERR_CONFIG, "run program", path, "%s (ca.exec.program) %s", path, why);
	if (err)
		snprintf(err->type, sizeof err->type, "exec-program");
	return false;
}

/* Whoever can write it can speak for the CA.  Looked at before each run, as it may have been replaced. */
static bool program_good(const char *path, struct err *err)
{
	struct stat st;

	if (stat(path, &st) != 0) {
		bool temporary = errno != ENOENT && errno != ENOTDIR && errno != EACCES && errno != ELOOP && errno != ENAMETOOLONG;

		if (temporary)
			return err_errno(err, errno, "run program", path);
		return bad_program(path, err, errno == EACCES ? "cannot be reached by enrolld: its folders must be open to it" : "is not there");
	}
	if (!S_ISREG(st.st_mode))
		return bad_program(path, err, "is no regular file");
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return bad_program(path, err, "must belong to root, or to the user that enrolld runs as: whoever owns it decides who gets certificates");
	if (st.st_mode & 022)
		return bad_program(path, err, "can be written by others than its owner: chmod go-w");
	if (!(st.st_mode & 0111))
		return bad_program(path, err, "is not executable: chmod +x");
	return true;
}

static bool find_user(struct exec_runner *r, const char *name, struct err *err)
{
	struct passwd pw, *found = NULL;
	char room[8192];
	int rc = getpwnam_r(name, &pw, room, sizeof room, &found);

	if (rc != 0)
		return err_errno(err, rc, "find user", name);
	if (!found)
		return err_set(err, ERR_CONFIG, "find user", name, "there is no user \"%s\" (ca.exec.user)", name);
	if (pw.pw_uid == geteuid())
		return true;
	if (geteuid() != 0)
		return err_set(err, ERR_CONFIG, "run program", name,
			"only root can run the program as another user (ca.exec.user = \"%s\"), and enrolld runs as user %ld; leave ca.exec.user out, and let "
			"the program ask a service of its own that runs as that user, for instance through a Unix socket", name, (long)geteuid());
	r->other_user = true;
	r->uid = pw.pw_uid;
	r->gid = pw.pw_gid;
	r->n_groups = GROUPS_MAX;
	if (getgrouplist(name, pw.pw_gid, r->groups, &r->n_groups) < 0)
		return err_set(err, ERR_CONFIG, "find user", name, "user \"%s\" (ca.exec.user) is in more than %d groups", name, GROUPS_MAX);
	return true;
}

static bool names(const struct strlist *list, const char *prefix)
{
	for (size_t i = 0; i < list->n; i++)
		if (strncmp(list->v[i], prefix, strlen(prefix)) == 0)
			return true;
	return false;
}

static bool make_environment(struct exec_runner *r, const struct strlist *more, struct err *err)
{
	static const struct {
		const char *prefix, *whole;
	} own[] = {{"PATH=", "PATH=/usr/bin:/bin"}, {"LANG=", "LANG=C.UTF-8"}};
	size_t n = 0;

	r->environment = calloc(more->n + sizeof own / sizeof *own + 1, sizeof *r->environment);
	if (!r->environment)
		return err_nomem(err, "prepare program");
	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		if (!names(more, own[i].prefix) && !(r->environment[n++] = strdup(own[i].whole)))
			return err_nomem(err, "prepare program");
	for (size_t i = 0; i < more->n; i++)
		if (!(r->environment[n++] = strdup(more->v[i])))
			return err_nomem(err, "prepare program");
	return true;
}

static bool make_condition(pthread_cond_t *cond)
{
	pthread_condattr_t attributes;
	bool ok;

	if (pthread_condattr_init(&attributes) != 0)
		return false;
	ok = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 && pthread_cond_init(cond, &attributes) == 0;
	pthread_condattr_destroy(&attributes);
	return ok;
}

/* Who starts a program may have SIGCHLD ignored, and that is inherited: then the kernel forgets our children, and their numbers are free for
 * others, before we have looked. */
static void keep_zombies(void)
{
	struct sigaction now;

	if (sigaction(SIGCHLD, NULL, &now) == 0 && now.sa_handler == SIG_IGN)
		signal(SIGCHLD, SIG_DFL);
}

struct exec_runner *exec_runner_new(const struct ca_config *config, struct err *err)
{
	struct exec_runner *r;

	if (!sandbox_may_execute()) {
		err_set(err, ERR_CONFIG, "prepare program", config->exec.program,
			"enrolld was started without a CA of driver \"exec\", and gave up starting programs: restart it");
		return NULL;
	}
	r = calloc(1, sizeof *r);
	if (!r || !make_condition(&r->slot_free)) {
		free(r);
		err_nomem(err, "prepare program");
		return NULL;
	}
	pthread_mutex_init(&r->lock, NULL);
	atomic_init(&r->stopped, false);
	keep_zombies();
	r->timeout = config->exec.timeout_seconds ? config->exec.timeout_seconds : 60;
	r->max_output = config->exec.max_output ? config->exec.max_output : 1 << 20;
	r->slots = config->connections ? config->connections : 1;
	r->program = str_dup(config->exec.program);
	r->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!r->program)
		config->exec.program ? (void)err_nomem(err, "prepare program") : (void)bad_program("", err, "is not set");
	else if (r->wake < 0)
		err_errno(err, errno, "prepare program", r->program);
	else if (program_good(r->program, err) && make_environment(r, &config->exec.environment, err) &&
		 (!config->exec.user || find_user(r, config->exec.user, err)))
		return r;
	exec_runner_free(r);
	return NULL;
}

void exec_runner_free(struct exec_runner *r)
{
	if (!r)
		return;
	for (size_t i = 0; r->environment && r->environment[i]; i++)
		free(r->environment[i]);
	free(r->environment);
	free(r->program);
	if (r->wake >= 0)
		close(r->wake);
	pthread_cond_destroy(&r->slot_free);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

void exec_runner_stop(struct exec_runner *r)
{
	uint64_t one = 1;

	pthread_mutex_lock(&r->lock);
	atomic_store(&r->stopped, true);
	pthread_cond_broadcast(&r->slot_free);
	pthread_mutex_unlock(&r->lock);
	/* It is never read again, so it wakes every run that polls it. */
	while (write(r->wake, &one, sizeof one) < 0 && errno == EINTR)
		;
}

const char *exec_runner_program(const struct exec_runner *r)
{
	return r->program;
}

/* ---- the child: async-signal-safe calls only, up to exec ----------------------------------------------------------- */

static _Noreturn void child_failed(int report, enum child_step step)
{
	struct child_report failed = {.step = step, .number = errno};
	ssize_t n = write(report, &failed, sizeof failed);

	(void)n;
	_exit(127);
}

/* The C library keeps two signals to itself and refuses to touch them; who started enrolld may have had them ignored all the same, so the
 * kernel is asked.  Its structure is all zeros for the default, whatever the machine. */
static void default_signals(void)
{
	static const unsigned long zeros[16];
	struct sigaction plain = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		if (sigaction(i, &plain, NULL) != 0)
			syscall(SYS_rt_sigaction, i, zeros, NULL, (size_t)NSIG / 8);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* 0, 1 and 2 are put in place; whatever else some library has open ends with exec.  The pipes' own numbers are above 2. */
static bool child_descriptors(const struct run *run, rlim_t most)
{
	if (dup2(run->in, 0) != 0 || dup2(run->out[1], 1) != 1 || dup2(run->words[1], 2) != 2)
		return false;
#ifdef SYS_close_range
	if (syscall(SYS_close_range, 3U, UINT_MAX, CLOSE_RANGE_CLOEXEC) == 0)
		return true;
#endif
	for (rlim_t fd = 3; fd < most; fd++)
		fcntl((int)fd, F_SETFD, FD_CLOEXEC);
	return true;
}

static bool child_user(const struct exec_runner *r)
{
	return setgroups((size_t)r->n_groups, r->groups) == 0 && setresgid(r->gid, r->gid, r->gid) == 0 && setresuid(r->uid, r->uid, r->uid) == 0;
}

static _Noreturn void child(const struct run *run, pid_t parent, rlim_t most)
{
	const struct rlimit no_core = {0, 0};
	char *const arguments[] = {run->r->program, NULL};
	int report = run->report[1];

	setsid();
	setrlimit(RLIMIT_CORE, &no_core);
	umask(077);
	if (!child_descriptors(run, most))
		child_failed(report, STEP_DESCRIPTORS);
	if (run->r->other_user && !child_user(run->r))
		child_failed(report, STEP_USER);
	/* Behind the change of user, for which the C library needs the signals it keeps to itself. */
	default_signals();
	if (chdir("/") != 0)
		child_failed(report, STEP_FOLDER);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	/* It does not outlive us.  A change of user clears this, so it comes late; whether we are gone already is looked at after it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent)
		_exit(127);
	execve(run->r->program, arguments, run->r->environment);
	child_failed(report, STEP_EXEC);
}

/* ---- starting ------------------------------------------------------------------------------------------------------ */

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Above 0, 1 and 2, which enrolld may have been started without. */
static bool lift(int *fd)
{
	int higher;

	if (*fd > 2)
		return true;
	higher = *fd < 0 ? -1 : fcntl(*fd, F_DUPFD_CLOEXEC, 3);
	close_one(fd);
	*fd = higher;
	return higher >= 0;
}

static bool make_pipe(int p[2])
{
	return pipe2(p, O_CLOEXEC) == 0 && lift(&p[0]) && lift(&p[1]) && fcntl(p[0], F_SETFL, O_NONBLOCK) == 0;
}

/* The question as a file without a name: nothing has to be fed to a program that may not read. */
static bool make_question(struct run *run, const char *data, size_t len)
{
	run->in = memfd_create("question", MFD_CLOEXEC);
	if (!lift(&run->in))
		return false;
	while (len > 0) {
		ssize_t n = write(run->in, data, len);

		if (n < 0 && errno != EINTR)
			return false;
		data += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return lseek(run->in, 0, SEEK_SET) == 0;
}

static bool start(struct run *run, const void *question, size_t len, struct err *err)
{
	const pid_t parent = getpid();
	struct rlimit files = {0};
	sigset_t all, before;

	if (!make_question(run, question, len) || !make_pipe(run->out) || !make_pipe(run->words) || !make_pipe(run->report))
		return err_errno(err, errno, "run program", run->r->program);
	getrlimit(RLIMIT_NOFILE, &files);
	/* No handler of ours may run in the child. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	run->pid = fork();
	if (run->pid == 0)
		child(run, parent, files.rlim_cur);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (run->pid < 0)
		return err_errno(err, errno, "run program", run->r->program);
	close_one(&run->in);
	close_one(&run->out[1]);
	close_one(&run->words[1]);
	close_one(&run->report[1]);
#ifdef SYS_pidfd_open
	run->pidfd = (int)syscall(SYS_pidfd_open, run->pid, 0);
#endif
	return true;
}

/* ---- listening ----------------------------------------------------------------------------------------------------- */

static void keep_tail(struct run *run, const char *data, size_t n)
{
	size_t drop;

	if (n > TAIL) {
		data += n - TAIL;
		n = TAIL;
	}
	drop = run->tail_len + n > TAIL ? run->tail_len + n - TAIL : 0;
	memmove(run->tail, run->tail + drop, run->tail_len - drop);
	run->tail_len -= drop;
	memcpy(run->tail + run->tail_len, data, n);
	run->tail_len += n;
}

/* Read what is there.  False, with the descriptor closed, at its end. */
static bool drink(struct run *run, int *fd, bool is_answer)
{
	char piece[16384];
	ssize_t n;

	while (*fd >= 0 && run->end != RUN_FLOOD) {
		n = read(*fd, piece, sizeof piece);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n <= 0) {
			close_one(fd);
			break;
		}
		run->said += is_answer ? 0 : (size_t)n;
		if ((is_answer ? run->answer->len + (size_t)n : run->said) > run->r->max_output) {
			run->end = RUN_FLOOD;
			break;
		}
		if (!is_answer)
			keep_tail(run, piece, (size_t)n);
		else
			buf_append(run->answer, piece, (size_t)n);
		if (run->answer->failed) {
			run->end = RUN_NOMEM;
			break;
		}
	}
	return false;
}

static void hear_report(struct run *run)
{
	ssize_t n = read(run->report[0], &run->failed, sizeof run->failed);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n == (ssize_t)sizeof run->failed)
		run->end = RUN_UNSTARTED;
	close_one(&run->report[0]);
}

/* Ended, and not waited for yet: until then its number, and that of its group, is its own. */
static bool has_ended(const struct run *run)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t)run->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == run->pid;
}

static int wait_ms(const struct run *run)
{
	int64_t left = run->deadline - mono_ms();

	if (left < 0)
		return 0;
	if (run->pidfd < 0 && left > LOOK_MS)
		return LOOK_MS;
	return left > INT_MAX ? INT_MAX : (int)left + 1;
}

static void listen_to(struct run *run)
{
	while (run->end == RUN_ON) {
		struct pollfd p[] = {{.fd = run->out[0], .events = POLLIN}, {.fd = run->words[0], .events = POLLIN},
			{.fd = run->report[0], .events = POLLIN}, {.fd = run->pidfd, .events = POLLIN}, {.fd = run->r->wake, .events = POLLIN}};

		poll(p, sizeof p / sizeof *p, wait_ms(run));
		if (atomic_load(&run->r->stopped)) {
			run->end = RUN_STOPPED;
			break;
		}
		if (run->report[0] >= 0)
			hear_report(run);
		drink(run, &run->out[0], true);
		drink(run, &run->words[0], false);
		if (run->end == RUN_ON && has_ended(run))
			run->end = RUN_ENDED;
		else if (run->end == RUN_ON && mono_ms() >= run->deadline)
			run->end = RUN_TIMEOUT;
	}
}

/* ---- ending -------------------------------------------------------------------------------------------------------- */

static void remember_left(struct exec_runner *r, pid_t pid)
{
	pthread_mutex_lock(&r->lock);
	if (r->n_left < LEFT_MAX)
		r->left[r->n_left++] = pid;
	pthread_mutex_unlock(&r->lock);
}

/* With the lock held. */
static void reap_left(struct exec_runner *r)
{
	for (size_t i = 0; i < r->n_left;)
		if (waitpid(r->left[i], NULL, WNOHANG) != 0)
			r->left[i] = r->left[--r->n_left];
		else
			i++;
}

static void finish(struct run *run)
{
	int64_t until = mono_ms() + DEATH_MS;

	/* A child that is killed before setsid() is no group yet. */
	kill(-run->pid, SIGKILL);
	if (run->end != RUN_ENDED)
		kill(run->pid, SIGKILL);
	if (run->end == RUN_ENDED) {
		/* what it wrote in its last moment, and a failure to start that was told late */
		if (run->report[0] >= 0)
			hear_report(run);
		drink(run, &run->out[0], true);
	}
	drink(run, &run->words[0], false);
	for (;;) {
		pid_t got = waitpid(run->pid, &run->status, WNOHANG);
		struct pollfd p = {.fd = run->pidfd, .events = POLLIN};

		run->reaped = got == run->pid;
		if (got != 0 && !(got < 0 && errno == EINTR))
			break;
		if (mono_ms() >= until) {
			remember_left(run->r, run->pid);
			break;
		}
		poll(&p, 1, LOOK_MS);
	}
}

/* ---- telling ------------------------------------------------------------------------------------------------------- */

/* The last line that says something, octets that are no plain text as '?'. */
static void last_words(const struct run *run, struct exec_words *out)
{
	size_t end = run->tail_len, begin, n = 0;

	while (end > 0 && strchr(" \t\r\n", run->tail[end - 1]) && run->tail[end - 1])
		end--;
	begin = end;
	while (begin > 0 && run->tail[begin - 1] != '\n')
		begin--;
	for (; begin < end && n < sizeof out->text - 1; begin++)
		out->text[n++] = run->tail[begin] >= ' ' && run->tail[begin] < 127 ? run->tail[begin] : '?';
	out->text[n] = '\0';
}

static bool tell(const struct run *run, const struct exec_words *words, struct err *err, enum err_class class, const char *type, const char *fmt, ...)
	BASE_PRINTF(6, 7);
static bool tell(const struct run *run, const struct exec_words *words, struct err *err, enum err_class class, const char *type, const char *fmt, ...)
{
	char what[480];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	err_set(err, class, "run program", run->r->program, "%s, asked to \"%s\", %s%s%s%s", run->r->program, run->action, what,
		words->text[0] ? "; its last words: \"" : "", words->text, words->text[0] ? "\"" : "; it said nothing on stderr");
	if (err)
		snprintf(err->type, sizeof err->type, "%s", type);
	return false;
}

static bool tell_unstarted(const struct run *run, const struct exec_words *words, struct err *err)
{
	static const char *const steps[] = {"", "prepare its descriptors for", "become the user (ca.exec.user) of", "enter / for", "start"};
	int n = run->failed.number;
	bool temporary = n == EAGAIN || n == ENOMEM || n == EMFILE || n == ENFILE || n == ETXTBSY || n == EIO;
	struct err why = ERR_INIT;

	if (run->failed.step < 1 || run->failed.step > STEP_EXEC)
		return tell(run, words, err, ERR_TEMPORARY, "exec-program", "could not be started");
	err_errno(&why, n, "", "");
	return tell(run, words, err, temporary ? ERR_TEMPORARY : ERR_CONFIG, "exec-program", "cannot be run: we could not %s it: %.200s%s",
		steps[run->failed.step], why.text,
		run->failed.step == STEP_EXEC && !temporary ? " (does its first line name an interpreter that is there, and may its user run it?)" : "");
}

static bool tell_status(const struct run *run, const struct exec_words *words, struct err *err)
{
	int n;

	if (!run->reaped)
		return tell(run, words, err, ERR_TEMPORARY, "exec-exit", "ended, and how could not be learned");
	if (WIFEXITED(run->status) && WEXITSTATUS(run->status) == 0)
		return true;
	if (WIFEXITED(run->status))
		return tell(run, words, err, ERR_TEMPORARY, "exec-exit", "ended with code %d", WEXITSTATUS(run->status));
	n = WTERMSIG(run->status);
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 32)
	return tell(run, words, err, ERR_TEMPORARY, "exec-signal", "was ended by signal %d (%s)", n, sigdescr_np(n) ? sigdescr_np(n) : "?");
#else
	return tell(run, words, err, ERR_TEMPORARY, "exec-signal", "was ended by signal %d", n);
#endif
}

static bool verdict(const struct run *run, const struct exec_words *words, struct err *err)
{
	switch (run->end) {
	case RUN_ON:
	case RUN_ENDED:
		return tell_status(run, words, err);
	case RUN_TIMEOUT:
		return tell(run, words, err, ERR_TEMPORARY, "exec-timeout", "did not end within %u seconds (ca.exec.timeout-seconds) and was killed",
			run->r->timeout);
	case RUN_FLOOD:
		return tell(run, words, err, ERR_TEMPORARY, "exec-flood", "wrote more than %zu octets (ca.exec.max-output) and was killed",
			run->r->max_output);
	case RUN_STOPPED:
		return tell(run, words, err, ERR_TEMPORARY, "exec-stopped", "was killed because enrolld ends");
	case RUN_UNSTARTED:
		return tell_unstarted(run, words, err);
	case RUN_NOMEM:
		break;
	}
	return err_nomem(err, "run program");
}

/* ---- one run ------------------------------------------------------------------------------------------------------- */

static bool take_slot(struct exec_runner *r, struct err *err)
{
	struct timespec until;
	bool got, stopped;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)r->timeout;
	pthread_mutex_lock(&r->lock);
	reap_left(r);
	while (r->slots == 0 && !atomic_load(&r->stopped))
		if (pthread_cond_timedwait(&r->slot_free, &r->lock, &until) == ETIMEDOUT)
			break;
	stopped = atomic_load(&r->stopped);
	got = r->slots > 0 && !stopped;
	r->slots -= got ? 1 : 0;
	pthread_mutex_unlock(&r->lock);
	if (got)
		return true;
	if (stopped)
		err_set(err, ERR_TEMPORARY, "run program", r->program, "%s is not run because enrolld ends", r->program);
	else
		err_set(err, ERR_TEMPORARY, "run program", r->program,
			"%s is not run: as many runs of it as ca.connections allows did not end within %u seconds", r->program, r->timeout);
	if (err)
		snprintf(err->type, sizeof err->type, "%s", stopped ? "exec-stopped" : "exec-busy");
	return false;
}

static void give_slot(struct exec_runner *r)
{
	pthread_mutex_lock(&r->lock);
	r->slots++;
	pthread_cond_signal(&r->slot_free);
	pthread_mutex_unlock(&r->lock);
}

bool exec_run(struct exec_runner *r, const char *action, const void *question, size_t len, struct buf *answer, struct exec_words *words,
	struct err *err)
{
	struct run run = {.r = r, .action = action, .in = -1, .out = {-1, -1}, .words = {-1, -1}, .report = {-1, -1}, .pidfd = -1, .answer = answer};
	bool ok = false;

	words->text[0] = '\0';
	if (!program_good(r->program, err) || !take_slot(r, err))
		return false;
	run.deadline = mono_ms() + (int64_t)r->timeout * 1000;
	if (start(&run, question, len, err)) {
		listen_to(&run);
		finish(&run);
		last_words(&run, words);
		ok = verdict(&run, words, err);
	}
	close_one(&run.in);
	close_one(&run.pidfd);
	for (int i = 0; i < 2; i++) {
		close_one(&run.out[i]);
		close_one(&run.words[i]);
		close_one(&run.report[i]);
	}
	give_slot(r);
	return ok;
}
