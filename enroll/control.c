/*
 * enroll/control.c - the control socket: who is there, one request, one answer.
 *
 * The socket can be reached by every local user; what a peer may do is decided by the kernel's word about it (SO_PEERCRED, SO_PEERGROUPS), never by
 * what it says.  Somebody without a role gets a sentence that names the groups, and nothing else.
 */
#include "config.h"

#include "enroll/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENTS_MOST 32
#define GUESTS_MOST 128 /* who wait to be looked at */
#define FULL_MS 200
#define IDLE_MS 10000

struct client {
	struct control *control;
	struct control_peer peer;
	int fd;
	bool reading;             /* has not sent its request yet */
	bool evicted;             /* had to give its place to somebody else */
	struct client *next;
};

struct control {
	struct enroll_parts *parts;
	int listener;
	int wake[2];              /* written at the end */
	pthread_t thread, greeter;
	bool started;
	int door[2];              /* descriptors of those who came, from one thread to the other */
	atomic_int guests;        /* how many are in there */
	atomic_llong turned;      /* mono_ms of the last one who came */
	pthread_mutex_t lock;     /* up to `evicted` */
	pthread_cond_t idle;
	struct client *clients;   /* being served, newest first */
	unsigned n_clients, evicted;
	char path[108];
	int lock_file;            /* held as long as we live: one enrolld a store */
};

/* ---- who is there ----------------------------------------------------------------------------------------------------------- */

static bool peer_in_group(int fd, const struct ucred *cred, const char *group)
{
	gid_t groups[1024];
	unsigned want;
	socklen_t len = sizeof groups;

	if (!group_find(group, &want))
		return false;
	if (cred->gid == want)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) != 0)
		return false;
	for (size_t i = 0; i < len / sizeof *groups; i++)
		if (groups[i] == want)
			return true;
	return false;
}

static bool peer_of(const struct control *c, int fd, struct control_peer *p)
{
	const struct control_config *cfg = &c->parts->config->control;
	struct ucred cred;
	socklen_t len = sizeof cred;
	struct passwd buf, *found = NULL;
	char space[16384];

	memset(p, 0, sizeof *p);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0)
		return false;
	if (getpwuid_r(cred.uid, &buf, space, sizeof space, &found) == 0 && found)
		snprintf(p->user, sizeof p->user, "%.60s", found->pw_name);
	else
		snprintf(p->user, sizeof p->user, "uid%lu", (unsigned long)cred.uid);
	if (cred.uid == 0 || peer_in_group(fd, &cred, cfg->admin_group))
		p->role = CONTROL_ADMIN;
	else if (peer_in_group(fd, &cred, cfg->helpdesk_group))
		p->role = CONTROL_HELPDESK;
	snprintf(p->name, sizeof p->name, "%s:%s", p->role == CONTROL_ADMIN ? "admin" : "helpdesk", p->user);
	return true;
}

/* ---- one request, one answer -------------------------------------------------------------------------------------------------- */

static bool read_line(int fd, enum control_role role, struct buf *line, struct err *err)
{
	int64_t until = mono_ms() + IDLE_MS;
	char piece[4096];
	ssize_t n;

	line->max = role == CONTROL_ADMIN ? CONTROL_REQUEST_MAX : CONTROL_REQUEST_OTHERS;
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int64_t left = until - mono_ms();

		if (left <= 0 || poll(&p, 1, (int)left) <= 0)
			return err_set(err, ERR_CONFIG, "read request", NULL, "no whole request within %d s", IDLE_MS / 1000);
		n = read(fd, piece, sizeof piece);
		if (n <= 0)
			return err_set(err, ERR_CONFIG, "read request", NULL, "the request ends without a newline");
		buf_append(line, piece, (size_t)n);
		if (line->failed)
			return err_set(err, ERR_CONFIG, "read request", NULL, "the request is larger than %zu octets", line->max);
		if (memchr(piece, '\n', (size_t)n))
			return true;
	}
}

static void write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		data += n;
		len -= (size_t)n;
	}
}

static json_t *answer_error(const struct err *err)
{
	return json_pack("{s:b, s:{s:s, s:s, s:s, s:s*}}", "ok", 0, "error", "class", err_class_name(err->class), "op", err->op, "text", err->text,
		"subject", err->subject[0] ? err->subject : NULL);
}

static json_t *answer(struct control *c, const struct control_peer *peer, const struct buf *line, struct err *err)
{
	json_error_t where;
	json_t *request = json_loadb(line->data, line->len, JSON_REJECT_DUPLICATES, &where), *arguments, *result = NULL;
	const char *command = json_string_value(json_object_get(request, "command"));
	enum control_role needed;

	arguments = json_object_get(request, "arguments");
	needed = command ? control_required_role(command) : CONTROL_NOBODY;
	if (!request)
		err_set(err, ERR_CONFIG, "read request", NULL, "not JSON: %s", where.text);
	else if (!command || (arguments && !json_is_object(arguments)))
		err_set(err, ERR_CONFIG, "read request", NULL, "expected {\"command\": \"...\", \"arguments\": {...}}");
	else if (needed == CONTROL_NOBODY)
		err_set(err, ERR_CONFIG, "read request", command, "unknown command");
	else if (needed > peer->role)
		err_set(err, ERR_POLICY, command, peer->user, "only members of group %s (or root) may do this", c->parts->config->control.admin_group);
	else
		result = command_run(c->parts, peer, command, arguments, err);
	json_decref(request);
	return result ? json_pack("{s:b, s:o}", "ok", 1, "result", result) : answer_error(err);
}

static void send_reply(int fd, json_t *reply)
{
	char *text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;

	if (text) {
		write_all(fd, text, strlen(text));
		write_all(fd, "\n", 1);
	}
	free(text);
	json_decref(reply);
}

static void serve(struct control *c, struct client *client)
{
	struct timeval limit = {.tv_sec = IDLE_MS / 1000};
	struct err err = ERR_INIT;
	struct buf line = BUF_INIT;
	bool ok;

	/* A client that does not read must not keep us from ending. */
	setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	ok = read_line(client->fd, client->peer.role, &line, &err);
	pthread_mutex_lock(&c->lock);
	client->reading = false;
	pthread_mutex_unlock(&c->lock);
	send_reply(client->fd, ok ? answer(c, &client->peer, &line, &err) : answer_error(&err));
	buf_wipe(&line); /* a user's password may be in it (directory check) */
}

/* Answered at once by the greeting thread, without reading: strangers get no thread of their own. */
static void refuse(struct control *c, int fd, const struct control_peer *peer)
{
	struct err err = ERR_INIT;

	err_set(&err, ERR_POLICY, "connect", peer->user, "only root and members of the groups %s and %s may use enrollctl", c->parts->config->control.admin_group,
		c->parts->config->control.helpdesk_group);
	log_event(LOG_LEVEL_WARNING | LOG_LIMITED, "control_refused", "user", peer->user, NULL);
	send_reply(fd, answer_error(&err));
}

/* ---- threads --------------------------------------------------------------------------------------------------------------------- */

static void *client_thread(void *arg)
{
	struct client *client = arg, **at;
	struct control *c = client->control;

	serve(c, client);
	pthread_mutex_lock(&c->lock);
	for (at = &c->clients; *at != client; at = &(*at)->next)
		;
	*at = client->next;
	c->n_clients--;
	c->evicted -= client->evicted;
	close(client->fd);
	pthread_cond_signal(&c->idle);
	pthread_mutex_unlock(&c->lock);
	free(client);
	return NULL;
}

/* Whoever connects and says nothing holds a place that somebody else may need: the one who has been silent for longest gives his up.  Only where
 * all have asked something, and are being answered, is nothing free.  Call with the lock held. */
static bool make_room(struct control *c)
{
	struct client *oldest = NULL;

	if (c->n_clients - c->evicted < CLIENTS_MOST)
		return true;
	for (struct client *i = c->clients; i; i = i->next)
		if (i->reading && !i->evicted)
			oldest = i;
	if (!oldest)
		return false;
	oldest->evicted = true;
	c->evicted++;
	shutdown(oldest->fd, SHUT_RD);
	return true;
}

static bool start_thread(struct client *client)
{
	pthread_attr_t attr;
	pthread_t thread;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	rc = pthread_create(&thread, &attr, client_thread, client);
	pthread_attr_destroy(&attr);
	return rc == 0;
}

static bool start_client(struct control *c, int fd, const struct control_peer *peer)
{
	struct client *client = calloc(1, sizeof *client);
	bool ok;

	if (!client)
		return false;
	client->control = c;
	client->fd = fd;
	client->peer = *peer;
	client->reading = true;
	pthread_mutex_lock(&c->lock);
	client->next = c->clients;
	ok = make_room(c) && start_thread(client);
	if (ok) {
		c->clients = client;
		c->n_clients++;
	}
	pthread_mutex_unlock(&c->lock);
	if (!ok)
		free(client);
	return ok;
}

/* Better a sentence than a closed door. */
static void turn_away(int fd)
{
	struct err err = ERR_INIT;

	err_set(&err, ERR_TEMPORARY, "connect", NULL, "enrolld is answering %d others; try again in a moment", CLIENTS_MOST);
	send_reply(fd, answer_error(&err));
}

/* We ask ourselves whether we live (control_answers). */
static bool is_self(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof cred;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && cred.pid == getpid();
}

/* Asks the host's user database, which may hang where it is somewhere else. */
static void greet(struct control *c, int fd)
{
	struct control_peer peer = {.role = CONTROL_NOBODY};

	if (peer_of(c, fd, &peer) && peer.role == CONTROL_NOBODY)
		refuse(c, fd, &peer);
	else if (peer.role != CONTROL_NOBODY && start_client(c, fd, &peer))
		return;
	else if (peer.role != CONTROL_NOBODY)
		turn_away(fd);
	close(fd);
}

/* Until the door is closed.  Writes and reads of one descriptor are whole: they are smaller than PIPE_BUF. */
static void *greeter_thread(void *arg)
{
	struct control *c = arg;
	int fd;

	while (read(c->door[0], &fd, sizeof fd) == (ssize_t)sizeof fd) {
		atomic_fetch_sub(&c->guests, 1);
		greet(c, fd);
	}
	return NULL;
}

static void let_in(struct control *c, int fd)
{
	if (atomic_fetch_add(&c->guests, 1) < GUESTS_MOST && write(c->door[1], &fd, sizeof fd) == (ssize_t)sizeof fd)
		return;
	atomic_fetch_sub(&c->guests, 1);
	turn_away(fd);
	close(fd);
}

/* Does nothing that could wait: it is by this thread that we are known to live, whoever else comes. */
static void *accept_thread(void *arg)
{
	struct control *c = arg;

	for (;;) {
		struct pollfd p[2] = {{.fd = c->listener, .events = POLLIN}, {.fd = c->wake[0], .events = POLLIN}};
		int fd;

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return NULL;
		if (p[1].revents)
			return NULL;
		fd = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0) {
			/* Without a free descriptor the guest stays at the door: not a reason to ask for it all the time. */
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
				poll(&p[1], 1, FULL_MS);
			continue;
		}
		atomic_store(&c->turned, mono_ms());
		if (is_self(fd)) {
			write_all(fd, "{}\n", 3);
			close(fd);
		} else {
			let_in(c, fd);
		}
	}
}

/* Another enrolld on this host, of the same store or not, has a socket of its own. */
static bool lock(struct control *c, struct err *err)
{
	char path[sizeof c->path + 8];

	snprintf(path, sizeof path, "%s.lock", c->path);
	c->lock_file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (c->lock_file < 0)
		return err_errno(err, errno, "open control socket", path);
	if (flock(c->lock_file, LOCK_EX | LOCK_NB) != 0)
		return err_set(err, ERR_CONFIG, "open control socket", c->path, "another enrolld is running");
	return true;
}

static bool open_listener(struct control *c, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	mode_t mask;
	int rc;

	memcpy(addr.sun_path, c->path, sizeof addr.sun_path);
	unlink(c->path);
	c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->listener < 0)
		return err_errno(err, errno, "open control socket", c->path);
	mask = umask(0);
	rc = bind(c->listener, (struct sockaddr *)&addr, sizeof addr);
	umask(mask);
	if (rc != 0 || listen(c->listener, 64) != 0)
		return err_errno(err, errno, "open control socket", c->path);
	return true;
}

bool control_answers(const struct control *c, int ms)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct pollfd p = {.events = POLLIN};
	char answer[4];
	bool ok;

	memcpy(addr.sun_path, c->path, sizeof addr.sun_path);
	p.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ok = p.fd >= 0 && connect(p.fd, (struct sockaddr *)&addr, sizeof addr) == 0 && poll(&p, 1, ms) == 1 &&
	     recv(p.fd, answer, sizeof answer, 0) == 3;
	if (p.fd >= 0)
		close(p.fd);
	return ok;
}

int64_t control_turned(const struct control *c)
{
	return atomic_load(&c->turned);
}

static void close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void control_free(struct control *c)
{
	close_if_open(c->listener);
	close_if_open(c->lock_file);
	close_if_open(c->wake[0]);
	close_if_open(c->wake[1]);
	close_if_open(c->door[0]);
	close_if_open(c->door[1]);
	pthread_cond_destroy(&c->idle);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

struct control *control_claim(const char *path, struct err *err)
{
	struct control *c = calloc(1, sizeof *c);

	if (!c) {
		err_nomem(err, "open control socket");
		return NULL;
	}
	c->listener = c->lock_file = c->wake[0] = c->wake[1] = c->door[0] = c->door[1] = -1;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->idle, NULL);
	snprintf(c->path, sizeof c->path, "%s", path);
	if (lock(c, err))
		return c;
	control_free(c);
	return NULL;
}

static void close_door(struct control *c)
{
	close(c->door[1]);
	c->door[1] = -1;
	pthread_join(c->greeter, NULL);
}

bool control_start(struct control *c, struct enroll_parts *parts, struct err *err)
{
	int rc;

	c->parts = parts;
	if (pipe2(c->wake, O_CLOEXEC) != 0 || pipe2(c->door, O_CLOEXEC) != 0)
		return err_errno(err, errno, "open control socket", c->path);
	if (!open_listener(c, err))
		return false;
	rc = pthread_create(&c->greeter, NULL, greeter_thread, c);
	if (rc == 0) {
		rc = pthread_create(&c->thread, NULL, accept_thread, c);
		c->started = rc == 0;
		if (rc != 0)
			close_door(c);
	}
	return rc == 0 || err_errno(err, rc, "open control socket", c->path);
}

/* Everybody who came is answered. */
static void end_threads(struct control *c)
{
	if (write(c->wake[1], "x", 1) != 1)
		log_event(LOG_LEVEL_ERROR, "bug", "text", "the control thread cannot be woken", NULL);
	pthread_join(c->thread, NULL);
	close_door(c);
	pthread_mutex_lock(&c->lock);
	while (c->n_clients > 0)
		pthread_cond_wait(&c->idle, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

void control_stop(struct control *c)
{
	if (!c)
		return;
	if (c->started)
		end_threads(c);
	if (c->listener >= 0)
		unlink(c->path);
	control_free(c);
}
