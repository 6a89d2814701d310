/*
 * sandbox/watcher.c - the small process that answers denied calls, and writes the log line.
 *
 * A process and not a thread, for the listener can also let a call pass: whoever takes over the daemon must not have it.  It is made before the daemon
 * has read any key, holds nothing but the listener and the log, and ends with the daemon.
 *
 * Nothing of the daemon waits for it longer than for an answer: that comes before the log line, and a log that takes nothing gets no line.  When this
 * process is gone the kernel answers in its place: ENOSYS.
 */
#include "config.h"

#include "sandbox/internal.h"

#ifdef HAVE_SECCOMP

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

#include <seccomp.h>

#define CALLS 1024          /* that are counted each for itself */
#define QUIET_MS 60000      /* between two lines about one call */
#define DEATH_TRIES 100     /* for SIGSYS to do its work, before SIGKILL */
#define DEATH_US 1000
#ifndef SECCOMP_USER_NOTIF_FLAG_CONTINUE
#define SECCOMP_USER_NOTIF_FLAG_CONTINUE (1UL << 0)
#endif

struct watcher {
	enum sandbox_role role;
	enum sandbox_mode mode;
	int listener;
	struct {
		int64_t said; /* mono_ms of the last line; 0 = never */
		unsigned long unsaid;
	} calls[CALLS];
};

static const char *role_name(enum sandbox_role role)
{
	switch (role) {
	case SANDBOX_OUTBOUND:
		return "outbound";
	case SANDBOX_INBOUND:
		return "inbound";
	case SANDBOX_ENROLLD:
		return "enrolld";
	case SANDBOX_ENROLLD_EXEC:
		break;
	}
	return "enrolld-exec";
}

/* Not while the log takes nothing: the next denied call has to be answered. */
static bool log_takes_some(void)
{
	struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};

	return !log_uses_stderr() || poll(&p, 1, 0) != 0;
}

/* A call that is made again and again has a line a minute. */
static bool is_due(struct watcher *w, int nr, unsigned long *unsaid)
{
	int64_t now = mono_ms();
	size_t i = nr >= 0 && nr < CALLS ? (size_t)nr : CALLS - 1;

	*unsaid = w->calls[i].unsaid;
	if ((w->calls[i].said && now - w->calls[i].said < QUIET_MS) || !log_takes_some()) {
		w->calls[i].unsaid++;
		return false;
	}
	w->calls[i].said = now ? now : 1;
	w->calls[i].unsaid = 0;
	return true;
}

static void say(struct watcher *w, const char *event, const struct seccomp_notif *n, const char *name, bool deadly)
{
	bool always = deadly && w->mode == SANDBOX_ON;
	unsigned long unsaid = 0;

	if (!is_due(w, n->data.nr, &unsaid) && !always)
		return;
	log_event(always ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, event, "call", name, "number", LOG_NUM(n->data.nr), "role", role_name(w->role), "thread",
		LOG_NUM(n->pid), "argument", LOG_NUM(n->data.args[0]), "would", w->mode == SANDBOX_LOG ? deadly ? "end" : "deny" : NULL, "unsaid",
		unsaid ? LOG_NUM(unsaid) : NULL, NULL);
}

/* Left unanswered: it never returns from there. */
static void end_process(struct watcher *w, const struct seccomp_notif *n)
{
	for (int i = 0; i < DEATH_TRIES && seccomp_notify_id_valid(w->listener, n->id) == 0; i++) {
		if (i == 0)
			kill((pid_t)n->pid, SIGSYS);
		usleep(DEATH_US);
	}
	if (seccomp_notify_id_valid(w->listener, n->id) == 0)
		kill((pid_t)n->pid, SIGKILL);
}

static void answer(struct watcher *w, const struct seccomp_notif *n, struct seccomp_notif_resp *r)
{
	char *name = seccomp_syscall_resolve_num_arch(n->data.arch, n->data.nr);
	const char *known = name ? name : "unknown";
	bool deadly = sandbox_call_is_deadly(known, w->role);

	if (deadly && w->mode == SANDBOX_ON) {
		say(w, "sandbox_ended", n, known, true);
		end_process(w, n);
	} else {
		r->id = n->id;
		r->error = w->mode == SANDBOX_LOG ? 0 : -ENOSYS;
		r->flags = w->mode == SANDBOX_LOG ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0;
		/* It fails when the thread was interrupted meanwhile: then it asks again. */
		if (seccomp_notify_respond(w->listener, r) == 0)
			say(w, w->mode == SANDBOX_LOG ? "sandbox_allowed" : "sandbox_denied", n, known, deadly);
	}
	free(name);
}

/* One call.  False when the kernel says what is not known here: this process ends then, and the kernel answers by itself. */
static bool watch(struct watcher *w)
{
	struct seccomp_notif *n = NULL;
	struct seccomp_notif_resp *r = NULL;
	bool ok;

	if (seccomp_notify_alloc(&n, &r) != 0) /* anew, as the kernel wants it all zeros */
		return false;
	if (seccomp_notify_receive(w->listener, n) == 0) {
		answer(w, n, r);
		ok = true;
	} else {
		ok = errno == EINTR || errno == ENOENT; /* who called is gone */
	}
	seccomp_notify_free(n, r);
	return ok;
}

static int receive_listener(int from)
{
	char octet, room[CMSG_SPACE(sizeof(int))];
	struct iovec part = {.iov_base = &octet, .iov_len = 1};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
	struct cmsghdr *c;
	ssize_t n;
	int fd = -1;

	while ((n = recvmsg(from, &m, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
		;
	c = n == 1 ? CMSG_FIRSTHDR(&m) : NULL;
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(c), sizeof fd);
	return fd;
}

/* Nothing of the daemon's but the log and `keep`; somebody may wait for the end of what its standard error leads to. */
static int let_go(int keep)
{
	int null;

	if (keep < 3)
		keep = fcntl(keep, F_DUPFD_CLOEXEC, 3);
	null = open("/dev/null", O_RDWR);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		if (!log_uses_stderr())
			dup2(null, STDERR_FILENO);
	}
	if (keep > 3 && dup2(keep, 3) == 3)
		keep = 3;
#ifdef SYS_close_range
	syscall(SYS_close_range, 4U, UINT_MAX, 0);
#endif
	return keep;
}

static _Noreturn void run(struct watcher *w, int from, pid_t daemon)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL); /* a service manager that stops the daemon signals this process too */
	prctl(PR_SET_NAME, "sandbox-watcher", 0, 0, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != daemon)
		_exit(0);
	closelog();
	w->listener = receive_listener(let_go(from));
	while (w->listener >= 0 && watch(w))
		;
	_exit(0);
}

int sandbox_watcher_start(enum sandbox_role role, enum sandbox_mode mode, struct err *err)
{
	static struct watcher w;
	pid_t daemon = getpid(), pid;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
		err_errno(err, errno, "start the sandbox's watcher", NULL);
		return -1;
	}
	w.role = role;
	w.mode = mode;
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		run(&w, ends[1], daemon);
	}
	close(ends[1]);
	if (pid > 0)
		return ends[0];
	err_errno(err, errno, "start the sandbox's watcher", NULL);
	close(ends[0]);
	return -1;
}

void sandbox_watcher_give(int to, int listener)
{
	char octet = 0, room[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec part = {.iov_base = &octet, .iov_len = 1};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	if (listener >= 0) {
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof listener);
		memcpy(CMSG_DATA(c), &listener, sizeof listener);
		while (sendmsg(to, &m, MSG_NOSIGNAL) < 0 && errno == EINTR)
			;
		close(listener);
	}
	close(to);
}

#else

int sandbox_watcher_start(enum sandbox_role role, enum sandbox_mode mode, struct err *err)
{
	return -1;
}

void sandbox_watcher_give(int to, int listener)
{
}

#endif
