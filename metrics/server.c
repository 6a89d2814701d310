/*
 * metrics/server.c - GET /metrics, /healthz and /readyz, by libmicrohttpd on one thread of ours.
 *
 * Whoever may connect may be hostile: connections are few, headers small, bodies refused, and a connection ends after one answer or BORN_MS, however
 * busily it trickles.  Nothing of the mail path waits for this thread.  A Unix socket is closed to others before anybody can reach it: its mode is set
 * on the descriptor before it gets a name (no umask, which is the whole process').
 */
#include "config.h"

#include "metrics/metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <microhttpd.h>

#define OP "open metrics socket"
#define CONNECTIONS 32u
#define CONNECTION_MEMORY 16384u
#define IDLE_SECONDS 5u
#define BORN_MS 10000
#define SWEEP_MS 1000
#define ROUNDS 3u
#define BACKLOG 64
#define TOO_LARGE 413u /* versions of the library have different names for it */

struct guest {
	int fd;                   /* -1 = free */
	int64_t born_ms;
};

struct metrics_server {
	struct metrics_source source;
	enum metrics_program program;
	struct MHD_Daemon *http;
	struct guest guests[CONNECTIONS]; /* the server's thread only */
	unsigned n_guests;
	pthread_t thread;
	int wake[2], listener;
	char path[108];           /* of a Unix socket; "" = none */
	dev_t dev;                /* and which file it is: a successor may have put its own there */
	ino_t ino;
};

/* ---- answers ------------------------------------------------------------------------------------------------------------- */

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, const char *type, struct buf *text)
{
	size_t len = text->len;
	char *data = buf_take(text);
	struct MHD_Response *r = data ? MHD_create_response_from_buffer(len, data, MHD_RESPMEM_MUST_FREE) : NULL;
	enum MHD_Result done = MHD_NO;

	if (!r) {
		free(data);
		return MHD_NO;
	}
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
	MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	done = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return done;
}

static enum MHD_Result say(struct MHD_Connection *c, unsigned status, const char *words)
{
	struct buf text = BUF_INIT;

	buf_puts(&text, words);
	return answer(c, status, "text/plain; charset=utf-8", &text);
}

static enum MHD_Result answer_metrics(struct metrics_server *s, struct MHD_Connection *c)
{
	struct buf text = BUF_INIT;

	s->source.collect(s->source.context);
	metrics_text(&text, s->program);
	return answer(c, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", &text);
}

static enum MHD_Result answer_state(struct metrics_server *s, struct MHD_Connection *c, bool (*good)(void *, struct buf *))
{
	struct buf text = BUF_INIT;

	if (good(s->source.context, &text)) {
		buf_reset(&text);
		buf_puts(&text, "ok\n");
		return answer(c, MHD_HTTP_OK, "text/plain; charset=utf-8", &text);
	}
	return answer(c, MHD_HTTP_SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", &text);
}

static bool has_body(struct MHD_Connection *c)
{
	const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

	return (length && strcmp(length, "0") != 0) || MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING);
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url, const char *method, const char *version, const char *data,
	size_t *size, void **state)
{
	static int seen;
	struct metrics_server *s = arg;

	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return say(c, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
	if (has_body(c))
		return say(c, TOO_LARGE, "no bodies\n");
	/* The first call is made when the header is there; an answer is expected of the second. */
	if (!*state) {
		*state = &seen;
		return MHD_YES;
	}
	if (strcmp(url, "/metrics") == 0)
		return answer_metrics(s, c);
	if (strcmp(url, "/healthz") == 0)
		return answer_state(s, c, s->source.healthy);
	if (strcmp(url, "/readyz") == 0)
		return answer_state(s, c, s->source.ready);
	return say(c, MHD_HTTP_NOT_FOUND, "there are /metrics, /healthz and /readyz\n");
}

/* ---- guests ---------------------------------------------------------------------------------------------------------------- */

static struct guest *free_place(struct metrics_server *s)
{
	for (unsigned i = 0; i < CONNECTIONS; i++)
		if (s->guests[i].fd < 0)
			return &s->guests[i];
	return NULL;
}

/* What is noted of a connection hangs on it: by its descriptor alone it might be mistaken for another one's that got the same number. */
static void on_connection(void *arg, struct MHD_Connection *c, void **state, enum MHD_ConnectionNotificationCode code)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct metrics_server *s = arg;
	struct guest *g = code == MHD_CONNECTION_NOTIFY_STARTED ? free_place(s) : *state;

	if (code == MHD_CONNECTION_NOTIFY_STARTED && g && info) {
		*g = (struct guest){.fd = info->connect_fd, .born_ms = mono_ms()};
		*state = g;
		s->n_guests++;
	} else if (code == MHD_CONNECTION_NOTIFY_CLOSED && g) {
		g->fd = -1;
		s->n_guests--;
	}
}

static void sweep(struct metrics_server *s)
{
	int64_t now = mono_ms();

	for (unsigned i = 0; s->n_guests && i < CONNECTIONS; i++)
		if (s->guests[i].fd >= 0 && now - s->guests[i].born_ms > BORN_MS)
			shutdown(s->guests[i].fd, SHUT_RDWR);
}

static void *serve(void *arg)
{
	struct metrics_server *s = arg;
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->http, MHD_DAEMON_INFO_EPOLL_FD);
	unsigned rounds = 0;
	struct pollfd p[2] = {{.fd = info ? info->epoll_fd : -1, .events = POLLIN}, {.fd = s->wake[0], .events = POLLIN}};

	for (;;) {
		MHD_UNSIGNED_LONG_LONG most = SWEEP_MS;

		/* Full, it does not listen; that there is room again it finds out when it is run once more. */
		rounds = s->n_guests ? ROUNDS : rounds - (rounds > 0);
		if (MHD_get_timeout(s->http, &most) != MHD_YES || most > SWEEP_MS)
			most = SWEEP_MS;
		if (poll(p, 2, rounds ? (int)most : -1) < 0 && errno != EINTR)
			return NULL;
		if (p[1].revents)
			return NULL;
		MHD_run_wait(s->http, 0);
		sweep(s);
	}
}

/* ---- sockets ---------------------------------------------------------------------------------------------------------------- */

static bool open_inet(struct metrics_server *s, const char *where, struct err *err)
{
	const char *port = strchr(where, ':') + 1, *at = strchr(where, '@');
	bool six = at && strchr(at, ':');
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	long number = strtol(port, NULL, 10);
	int on = 1;

	if (!at || !metrics_host_is_loopback(at + 1) || number < 1 || number > 65535)
		return err_set(err, ERR_CONFIG, OP, where, "a TCP socket for metrics must be on 127.0.0.1 or ::1; use a Unix socket, or a proxy in front of it");
	a4.sin_port = a6.sin6_port = htons((uint16_t)number);
	s->listener = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->listener < 0)
		return err_errno(err, errno, OP, where);
	setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(s->listener, six ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4, six ? sizeof a6 : sizeof a4) != 0 || listen(s->listener, BACKLOG) != 0)
		return err_set(err, ERR_CONFIG, OP, where, "cannot be opened: %s", strerror(errno));
	return true;
}

static bool is_served(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool served = fd >= 0 && (connect(fd, (const struct sockaddr *)addr, sizeof *addr) == 0 || errno == EAGAIN);

	if (fd >= 0)
		close(fd);
	return served;
}

/* A predecessor's, of the same user, is taken over even while it still ends; what another user's program serves is not touched, nor what is no
 * socket. */
static bool clear_path(const char *path, const struct sockaddr_un *addr, struct err *err)
{
	struct stat st;

	if (lstat(path, &st) != 0 || !S_ISSOCK(st.st_mode))
		return true;
	if (st.st_uid != geteuid() && is_served(addr))
		return err_set(err, ERR_CONFIG, OP, path, "another process serves metrics there: each program needs a socket of its own");
	return unlink(path) == 0 || err_errno(err, errno, OP, path);
}

static bool give_to_group(const char *path, const char *group, struct err *err)
{
	unsigned gid = 0;

	if (group && !group_find(group, &gid))
		return err_set(err, ERR_CONFIG, OP, path, "group %s (metrics.group) does not exist", group);
	if (group && chown(path, (uid_t)-1, gid) != 0)
		return err_set(err, ERR_CONFIG, OP, path, "cannot give the socket to group %s: %s; put this program's user into that group", group, strerror(errno));
	return chmod(path, 0660) == 0 || err_errno(err, errno, OP, path);
}

static bool open_unix(struct metrics_server *s, const char *path, const char *group, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct stat st;

	if (strlen(path) >= sizeof addr.sun_path)
		return err_set(err, ERR_CONFIG, OP, path, "the path is longer than %zu octets", sizeof addr.sun_path - 1);
	strcpy(addr.sun_path, path);
	if (!clear_path(path, &addr, err))
		return false;
	s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->listener < 0 || fchmod(s->listener, 0600) != 0)
		return err_errno(err, errno, OP, path);
	if (bind(s->listener, (struct sockaddr *)&addr, sizeof addr) != 0)
		return err_set(err, ERR_CONFIG, OP, path, "cannot be opened: %s; does the folder exist, and may this user write to it?", strerror(errno));
	strcpy(s->path, path);
	if (lstat(path, &st) == 0) {
		s->dev = st.st_dev;
		s->ino = st.st_ino;
	}
	if (!give_to_group(path, group, err))
		return false;
	return listen(s->listener, BACKLOG) == 0 || err_errno(err, errno, OP, path);
}

/* ---- start and stop ---------------------------------------------------------------------------------------------------------- */

static void server_free(struct metrics_server *s)
{
	struct stat st;

	if (s->path[0] && lstat(s->path, &st) == 0 && st.st_dev == s->dev && st.st_ino == s->ino)
		unlink(s->path);
	if (s->http)
		MHD_stop_daemon(s->http); /* closes the listener */
	else if (s->listener >= 0)
		close(s->listener);
	if (s->wake[0] >= 0)
		close(s->wake[0]);
	if (s->wake[1] >= 0)
		close(s->wake[1]);
	free(s);
}

static bool start(struct metrics_server *s, const char *where, struct err *err)
{
	int rc;

	if (pipe(s->wake) != 0)
		return err_errno(err, errno, OP, where);
	s->http = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, s, MHD_OPTION_LISTEN_SOCKET, s->listener, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS, MHD_OPTION_NOTIFY_CONNECTION,
		on_connection, s, MHD_OPTION_END);
	if (!s->http)
		return err_set(err, ERR_TEMPORARY, OP, where, "libmicrohttpd does not start: %s", strerror(errno));
	rc = pthread_create(&s->thread, NULL, serve, s);
	return rc == 0 || err_errno(err, rc, OP, where);
}

struct metrics_server *metrics_serve(const char *where, const char *group, enum metrics_program program, const struct metrics_source *source, struct err *err)
{
	struct metrics_server *s = calloc(1, sizeof *s);
	bool ok;

	if (!s) {
		err_nomem(err, OP);
		return NULL;
	}
	s->source = *source;
	s->program = program;
	s->listener = s->wake[0] = s->wake[1] = -1;
	for (unsigned i = 0; i < CONNECTIONS; i++)
		s->guests[i].fd = -1;
	if (strncmp(where, "unix:", 5) == 0)
		ok = open_unix(s, where + 5, group, err);
	else if (strncmp(where, "inet:", 5) == 0 || strncmp(where, "inet6:", 6) == 0)
		ok = open_inet(s, where, err);
	else
		ok = err_set(err, ERR_CONFIG, OP, where, "not understood; expected unix:/path or inet:PORT@127.0.0.1");
	if (ok && start(s, where, err))
		return s;
	server_free(s);
	return NULL;
}

void metrics_stop(struct metrics_server *s)
{
	if (!s)
		return;
	if (write(s->wake[1], "x", 1) != 1)
		log_event(LOG_LEVEL_ERROR, "bug", "text", "the metrics thread cannot be woken", NULL);
	pthread_join(s->thread, NULL);
	server_free(s);
}
