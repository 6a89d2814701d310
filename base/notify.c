/*
 * base/notify.c - what a supervisor is told, and what it keeps for us: the datagrams of sd_notify(3) and the descriptors of sd_listen_fds(3).
 *
 * Written out here, as it is a dozen lines: so it is there in every build, also for other supervisors that speak the same protocol.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/base.h"

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */
#define SEND_SECONDS 5

static bool notify_address(struct sockaddr_un *to, socklen_t *len)
{
	const char *where = getenv("NOTIFY_SOCKET");
	size_t n = where ? strlen(where) : 0;

	if (n < 2 || n >= sizeof to->sun_path || (where[0] != '/' && where[0] != '@'))
		return false;
	memset(to, 0, sizeof *to);
	to->sun_family = AF_UNIX;
	memcpy(to->sun_path, where, n);
	if (where[0] == '@')
		to->sun_path[0] = '\0'; /* an abstract address */
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	return true;
}

bool notify_fd(const char *state, int fd)
{
	union { char room[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control = {0};
	struct timeval limit = {.tv_sec = SEND_SECONDS}; /* a supervisor that hangs must not hang us */
	struct iovec iov = {.iov_base = (char *)(uintptr_t)state, .iov_len = strlen(state)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct sockaddr_un to;
	int s;
	bool ok;

	if (!notify_address(&to, &msg.msg_namelen))
		return false;
	msg.msg_name = &to;
	if (fd >= 0) {
		msg.msg_control = control.room;
		msg.msg_controllen = sizeof control.room;
		*CMSG_FIRSTHDR(&msg) = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), &fd, sizeof fd);
	}
	s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0)
		return false;
	setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	ok = sendmsg(s, &msg, MSG_NOSIGNAL) >= 0;
	close(s);
	return ok;
}

bool notify(const char *fmt, ...)
{
	char state[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(state, sizeof state, fmt, args);
	va_end(args);
	return notify_fd(state, -1);
}

bool notify_reloading(const char *status)
{
	struct timespec now;

	/* systemd pairs it with the READY=1 that follows by this clock. */
	clock_gettime(CLOCK_MONOTONIC, &now);
	return notify("RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=%s", (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000, status);
}

unsigned notify_watchdog_ms(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	unsigned long long n = usec ? strtoull(usec, NULL, 10) / 1000 : 0;

	if (!getenv("NOTIFY_SOCKET") || (pid && strtol(pid, NULL, 10) != (long)getpid()))
		return 0;
	return n > 86400000 ? 86400000 : (unsigned)n;
}

bool notify_keeps_fds(void)
{
	const char *most = getenv("FDSTORE");

	return getenv("NOTIFY_SOCKET") && most && strtol(most, NULL, 10) > 0;
}

/* The n-th of names separated by colons. */
static void name_at(const char *names, int n, char *out, size_t size)
{
	for (; n > 0 && names; n--)
		names = (names = strchr(names, ':')) ? names + 1 : NULL;
	snprintf(out, size, "%.*s", names ? (int)strcspn(names, ":") : 0, names ? names : "");
}

int notify_take_fd(const char *prefix, char *name, size_t size)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS"), *names = getenv("LISTEN_FDNAMES");
	int n = pid && count && strtol(pid, NULL, 10) == (long)getpid() ? atoi(count) : 0, found = -1;

	for (int i = 0; i < n && i < 64; i++) {
		char one[256];

		name_at(names, i, one, sizeof one);
		fcntl(FIRST_FD + i, F_SETFD, FD_CLOEXEC);
		if (found < 0 && strncmp(one, prefix, strlen(prefix)) == 0) {
			found = FIRST_FD + i;
			snprintf(name, size, "%s", one);
		} else {
			close(FIRST_FD + i);
		}
	}
	/* Not for programs that we start. */
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return found;
}
