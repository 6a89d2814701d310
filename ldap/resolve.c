/*
 * ldap/resolve.c - a connected socket within a deadline.
 *
 * libldap would resolve the name and connect by itself, but getaddrinfo knows no deadline: with a silent DNS server it takes many
 * seconds, and the mail path must not wait for it.  So the name is resolved by a thread of its own that may outlive the question:
 * asker and thread share a counted struct, and whoever leaves last frees it.  The caller remembers a failure for a while, so that a
 * silent resolver cannot pile up threads.
 */
#include "config.h"

#include "ldap/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct lookup {
	pthread_mutex_t lock;
	pthread_cond_t done;
	unsigned users; /* asker and thread */
	bool finished;
	int rc;
	struct addrinfo *result;
	char port[8];
	char host[256];
};

static void lookup_leave(struct lookup *l)
{
	bool last;

	pthread_mutex_lock(&l->lock);
	last = --l->users == 0;
	pthread_mutex_unlock(&l->lock);
	if (!last)
		return;
	if (l->result)
		freeaddrinfo(l->result);
	pthread_cond_destroy(&l->done);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static void *lookup_run(void *arg)
{
	struct lookup *l = arg;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *result = NULL;
	int rc = getaddrinfo(l->host, l->port, &hints, &result);

	pthread_mutex_lock(&l->lock);
	l->rc = rc;
	l->result = result;
	l->finished = true;
	pthread_cond_signal(&l->done);
	pthread_mutex_unlock(&l->lock);
	lookup_leave(l);
	return NULL;
}

static struct lookup *lookup_new(const char *host, int port)
{
	struct lookup *l = calloc(1, sizeof(*l));
	pthread_condattr_t attr;

	if (!l || strlen(host) >= sizeof(l->host)) {
		free(l);
		return NULL;
	}
	strcpy(l->host, host);
	snprintf(l->port, sizeof(l->port), "%u", (unsigned)port & 0xffff);
	l->users = 1;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->done, &attr);
	pthread_condattr_destroy(&attr);
	return l;
}

static bool lookup_start(struct lookup *l)
{
	pthread_attr_t attr;
	pthread_t thread;
	bool ok;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	l->users++;
	ok = pthread_create(&thread, &attr, lookup_run, l) == 0;
	pthread_attr_destroy(&attr);
	if (!ok)
		l->users--;
	return ok;
}

static bool lookup_wait(struct lookup *l, int64_t end)
{
	struct timespec until = {.tv_sec = (time_t)(end / 1000), .tv_nsec = (long)(end % 1000) * 1000000L};
	bool finished;

	pthread_mutex_lock(&l->lock);
	while (!l->finished && pthread_cond_timedwait(&l->done, &l->lock, &until) == 0)
		;
	finished = l->finished;
	pthread_mutex_unlock(&l->lock);
	return finished;
}

/* Connect without blocking; 0 or an errno. */
static int finish_connect(int fd, const struct sockaddr *sa, socklen_t len, int64_t end)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	int error = 0, n;
	socklen_t size = sizeof(error);

	if (connect(fd, sa, len) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return errno;
	do {
		int64_t left = end - mono_ms();

		n = left > 0 ? poll(&p, 1, (int)left) : 0;
	} while (n < 0 && errno == EINTR);
	if (n == 0)
		return ETIMEDOUT;
	if (n < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
		return errno;
	return error;
}

static int connect_one(int family, const struct sockaddr *sa, socklen_t len, int64_t end, int *error)
{
	int on = 1;
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	*error = fd < 0 ? errno : finish_connect(fd, sa, len, end);
	if (*error != 0) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	if (family != AF_UNIX) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	}
	return fd;
}

static int connect_unix(const char *path, int64_t end, struct err *err)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int error, fd;

	if (!path || !*path)
		path = "/run/slapd/ldapi";
	if (strlen(path) >= sizeof(sa.sun_path)) {
		err_set(err, ERR_CONFIG, "connect to directory", path, "the socket's name is too long");
		return -1;
	}
	strcpy(sa.sun_path, path);
	fd = connect_one(AF_UNIX, (const struct sockaddr *)&sa, sizeof(sa), end, &error);
	if (fd < 0)
		err_set(err, ERR_TEMPORARY, "connect to directory", path, "%s: %s", path, strerror(error));
	return fd;
}

/* All addresses of the name in turn; each gets its share of the time that is left. */
static int connect_any(const struct lookup *l, int64_t end, struct err *err)
{
	size_t left = 0;
	int error = 0, fd = -1;

	for (const struct addrinfo *a = l->result; a; a = a->ai_next)
		left++;
	for (const struct addrinfo *a = l->result; a && fd < 0; a = a->ai_next, left--) {
		int64_t now = mono_ms();

		if (now >= end && error)
			break;
		fd = connect_one(a->ai_family, a->ai_addr, a->ai_addrlen, now + (end - now) / (int64_t)left, &error);
	}
	if (fd < 0)
		err_set(err, ERR_TEMPORARY, "connect to directory", l->host, "%s port %s: %s", l->host, l->port,
			strerror(error ? error : ETIMEDOUT));
	return fd;
}

int resolve_connect(const LDAPURLDesc *url, int64_t end, struct err *err)
{
	const char *host = url->lud_host && *url->lud_host ? url->lud_host : "localhost";
	struct lookup *l;
	int fd = -1;

	if (strcmp(url->lud_scheme, "ldapi") == 0)
		return connect_unix(url->lud_host, end, err);
	l = lookup_new(host, url->lud_port ? url->lud_port : strcmp(url->lud_scheme, "ldaps") == 0 ? 636 : 389);
	if (!l || !lookup_start(l))
		err_nomem(err, "resolve directory");
	else if (!lookup_wait(l, end))
		err_set(err, ERR_TEMPORARY, "resolve directory", host, "the name \"%s\" was not resolved in time; is DNS working?", host);
	else if (l->rc != 0)
		err_set(err, ERR_TEMPORARY, "resolve directory", host, "the name \"%s\": %s", host, gai_strerror(l->rc));
	else
		fd = connect_any(l, end, err);
	if (l)
		lookup_leave(l);
	return fd;
}
