/*
 * ldap/pool.c - keep a few connections, repeat on another one what was lost.
 *
 * Servers.  One that could not be talked to rests for a while and the others are asked first; with several servers each attempt gets a
 * share of the time that is left, so that a silent first server does not use up the whole deadline.
 *
 * SIGPIPE.  liblber writes with write(2), so a connection closed by the server would raise SIGPIPE: it is blocked for the duration and
 * a new one is taken from the queue before the old mask comes back.
 */
#include "config.h"

#include "ldap/connection.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "metrics/metrics.h"

#define CONNECTIONS_MAX 8
#define SERVERS_MAX 16
#define IDLE_MS (60 * 1000)
#define REST_MS (10 * 1000) /* how long a server that failed is asked last */

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t freed;
	struct directory_settings settings; /* a copy of what is needed here */
	struct connection *idle;
	size_t open;            /* idle and in use */
	int64_t *rests_until;   /* one a server */
};

/* ---- SIGPIPE ----------------------------------------------------------------------------------------------------- */

/* SIGPIPE is kept away between these two. */
struct quiet {
	sigset_t pipe_set, old;
	bool was_pending;
};

static void quiet_begin(struct quiet *q)
{
	sigset_t waiting;

	sigemptyset(&q->pipe_set);
	sigaddset(&q->pipe_set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &q->pipe_set, &q->old);
	sigpending(&waiting);
	q->was_pending = sigismember(&waiting, SIGPIPE) == 1;
}

static void quiet_end(struct quiet *q)
{
	if (!q->was_pending)
		while (sigtimedwait(&q->pipe_set, NULL, &(struct timespec){0}) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &q->old, NULL);
}

/* ---- the pool ---------------------------------------------------------------------------------------------------- */

static bool copy_settings(struct directory_settings *to, const struct directory_settings *from)
{
	bool ok = true;

	memset(to, 0, sizeof(*to));
	for (size_t i = 0; i < from->urls.n; i++)
		ok = strlist_add(&to->urls, from->urls.v[i]) && ok;
	to->starttls = from->starttls;
	to->allow_cleartext = from->allow_cleartext;
	to->ca_file = str_dup(from->ca_file);
	to->bind = str_dup(from->bind ? from->bind : "simple");
	to->bind_dn = str_dup(from->bind_dn);
	to->password_file = str_dup(from->password_file);
	to->deadline_ms = from->deadline_ms;
	to->connect_ms = from->connect_ms;
	return ok && !from->ca_file == !to->ca_file && to->bind && !from->bind_dn == !to->bind_dn &&
	       !from->password_file == !to->password_file;
}

static bool check_settings(const struct directory_settings *s, struct err *err)
{
	struct buf password = BUF_INIT;
	bool ok;

	if (s->urls.n == 0)
		return err_set(err, ERR_CONFIG, "use directory", NULL, "no directory is configured: set directory.urls");
	for (size_t i = 0; i < s->urls.n; i++)
		if (!directory_url_valid(s->urls.v[i]))
			return err_set(err, ERR_CONFIG, "use directory", s->urls.v[i], "\"%s\" is no LDAP URL", s->urls.v[i]);
	if (strcmp(s->bind, "simple") != 0)
		return true;
	if (!s->bind_dn || !s->password_file)
		return err_set(err, ERR_CONFIG, "use directory", s->urls.v[0], "bind = \"simple\" needs bind-dn and password-file");
	ok = connection_password(s, &password, err);
	buf_wipe(&password);
	return ok;
}

struct pool *pool_new(const struct directory_settings *s, struct err *err)
{
	struct pool *p = calloc(1, sizeof(*p));
	pthread_condattr_t attr;

	if (!p) {
		err_nomem(err, "use directory");
		return NULL;
	}
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->freed, &attr);
	pthread_condattr_destroy(&attr);
	p->rests_until = calloc(s->urls.n + 1, sizeof(*p->rests_until));
	if (!copy_settings(&p->settings, s) || !p->rests_until)
		err_nomem(err, "use directory");
	else if (check_settings(&p->settings, err))
		return p;
	pool_free(p);
	return NULL;
}

void pool_free(struct pool *p)
{
	struct quiet quiet;

	if (!p)
		return;
	quiet_begin(&quiet);
	for (struct connection *c = p->idle, *next; c; c = next) {
		next = c->next;
		connection_close(c);
	}
	quiet_end(&quiet);
	free(p->rests_until);
	directory_settings_clear(&p->settings);
	pthread_cond_destroy(&p->freed);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

/* Nothing may come by itself on an idle connection but its end (closed, or a notice of disconnection). */
static bool still_good(const struct connection *c)
{
	struct pollfd fd = {.fd = -1, .events = POLLIN};

	if (mono_ms() - c->used_at > IDLE_MS || ldap_get_option(c->ld, LDAP_OPT_DESC, &fd.fd) != LDAP_OPT_SUCCESS || fd.fd < 0)
		return false;
	return poll(&fd, 1, 0) == 0;
}

/* An idle connection, or leave to open one (*c NULL).  False when all were in use until the end. */
static bool pool_take(struct pool *p, bool fresh, int64_t end, struct connection **c)
{
	struct timespec until = {.tv_sec = (time_t)(end / 1000), .tv_nsec = (long)(end % 1000) * 1000000L};
	bool ok = true;

	*c = NULL;
	pthread_mutex_lock(&p->lock);
	while (!p->idle && p->open >= CONNECTIONS_MAX && ok)
		ok = pthread_cond_timedwait(&p->freed, &p->lock, &until) == 0;
	if (p->idle) {
		ok = true;
		*c = p->idle;
		p->idle = (*c)->next;
	} else if (ok) {
		p->open++;
	}
	pthread_mutex_unlock(&p->lock);
	if (*c && (fresh || !still_good(*c))) {
		connection_close(*c); /* its place in the count is ours now */
		*c = NULL;
	}
	return ok;
}

/* Give back a connection, or with NULL the place of one. */
static void pool_give(struct pool *p, struct connection *c)
{
	pthread_mutex_lock(&p->lock);
	if (c) {
		c->used_at = mono_ms();
		c->next = p->idle;
		p->idle = c;
	} else {
		p->open--;
	}
	pthread_cond_signal(&p->freed);
	pthread_mutex_unlock(&p->lock);
}

/* The k-th server to ask: those that do not rest first, each in the configured order. */
static size_t server_order(struct pool *p, size_t k)
{
	int64_t now = mono_ms();
	size_t n = p->settings.urls.n, seen = 0, found = 0;

	pthread_mutex_lock(&p->lock);
	for (int resting = 0; resting < 2; resting++)
		for (size_t i = 0; i < n; i++)
			if ((p->rests_until[i] > now) == (resting == 1) && seen++ == k)
				found = i;
	pthread_mutex_unlock(&p->lock);
	return found;
}

static void server_rest(struct pool *p, size_t server, bool rest)
{
	pthread_mutex_lock(&p->lock);
	p->rests_until[server] = rest ? mono_ms() + REST_MS : 0;
	pthread_mutex_unlock(&p->lock);
}

/* Nothing came in time on one connection: the others to that server are not to be trusted either. */
static void server_silent(struct pool *p, size_t server)
{
	struct connection *drop = NULL, *next;

	pthread_mutex_lock(&p->lock);
	for (struct connection **at = &p->idle; *at;) {
		struct connection *c = *at;

		if (c->server != server) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		c->next = drop;
		drop = c;
		p->open--;
	}
	p->rests_until[server] = mono_ms() + REST_MS;
	pthread_mutex_unlock(&p->lock);
	for (; drop; drop = next) {
		next = drop->next;
		connection_close(drop);
	}
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* On fresh connections, server by server.  The order is fixed first: it changes while servers are put to rest. */
static enum outcome run_fresh(
	struct pool *p, pool_operation *op, void *arg, int64_t end, struct connection **c, bool *unreachable, struct err *err)
{
	size_t n = p->settings.urls.n, order[SERVERS_MAX];
	enum outcome o = OUTCOME_LOST;

	if (n > SERVERS_MAX)
		n = SERVERS_MAX;
	for (size_t i = 0; i < n; i++)
		order[i] = server_order(p, i);
	for (size_t i = 0; i < n && o == OUTCOME_LOST && (i == 0 || mono_ms() < end); i++) {
		int64_t now = mono_ms(), share = now + (end - now) / (int64_t)(n - i);

		err_clear(err);
		o = connection_open(&p->settings, order[i], earlier(share, now + p->settings.connect_ms), c, err);
		*unreachable = o != OUTCOME_DONE;
		if (o == OUTCOME_DONE)
			o = op((*c)->ld, share, arg, err);
		if (o == OUTCOME_LOST) {
			connection_close(*c);
			*c = NULL;
			*unreachable = true;
		}
		server_rest(p, order[i], o == OUTCOME_LOST);
	}
	return o;
}

static bool run(struct pool *p, pool_operation *op, void *arg, bool *unreachable, struct err *err)
{
	int64_t end = mono_ms() + p->settings.deadline_ms;
	struct connection *c = NULL;
	enum outcome o = OUTCOME_LOST;

	*unreachable = false;
	if (!pool_take(p, false, end, &c))
		return err_set(err, ERR_TEMPORARY, "ask directory", p->settings.urls.v[0], "all %d connections to the directory are busy", CONNECTIONS_MAX);
	if (c) {
		/* some time must be left for a fresh connection: this one may have died without a word (a firewall's forgotten state) */
		int64_t now = mono_ms(), share = now + (end - now) * 2 / 3;
		size_t server = c->server;

		o = op(c->ld, share, arg, err);
		if (o == OUTCOME_LOST) {
			if (mono_ms() >= share)
				server_silent(p, server);
			connection_close(c);
			c = NULL;
		}
	}
	if (o == OUTCOME_LOST) {
		*unreachable = true;
		if (mono_ms() < end)
			o = run_fresh(p, op, arg, end, &c, unreachable, err);
	}
	pool_give(p, c);
	return o == OUTCOME_DONE;
}

bool pool_run(struct pool *p, pool_operation *op, void *arg, bool *unreachable, struct err *err)
{
	struct err local = ERR_INIT;
	int64_t began = metrics_now();
	struct quiet quiet;
	bool ok;

	quiet_begin(&quiet);
	ok = run(p, op, arg, unreachable, &local);
	quiet_end(&quiet);
	metrics_observe(METRIC_DIRECTORY_SECONDS, ok ? METRICS_OK : METRICS_ERROR, metrics_now() - began);
	if (!ok && err)
		*err = local;
	return ok;
}

/* ---- a connection of its own ------------------------------------------------------------------------------------- */

static enum outcome nothing(LDAP *ld, int64_t end, void *arg, struct err *err)
{
	(void)ld, (void)end, (void)arg, (void)err;
	return OUTCOME_DONE;
}

struct connection *pool_open_own(struct pool *p, struct err *err)
{
	struct connection *c = NULL;
	struct quiet quiet;
	bool unreachable;

	quiet_begin(&quiet);
	if (run_fresh(p, nothing, NULL, mono_ms() + p->settings.deadline_ms, &c, &unreachable, err) != OUTCOME_DONE) {
		connection_close(c);
		c = NULL;
	}
	quiet_end(&quiet);
	return c;
}

enum outcome pool_run_own(struct connection *c, pool_operation *op, int64_t end, void *arg, struct err *err)
{
	struct quiet quiet;
	enum outcome o;

	quiet_begin(&quiet);
	o = op(c->ld, end, arg, err);
	quiet_end(&quiet);
	return o;
}

void pool_close_own(struct connection *c)
{
	struct quiet quiet;

	quiet_begin(&quiet);
	connection_close(c);
	quiet_end(&quiet);
}

/* ---- for doctor -------------------------------------------------------------------------------------------------- */

bool pool_check(struct pool *p, struct buf *report, struct err *err)
{
	struct quiet quiet;
	bool any = false;

	quiet_begin(&quiet);
	for (size_t i = 0; i < p->settings.urls.n; i++) {
		struct connection *c = NULL;
		struct err one = ERR_INIT;

		if (connection_open(&p->settings, i, mono_ms() + p->settings.deadline_ms, &c, &one) == OUTCOME_DONE) {
			buf_printf(report, "ok: %s: connected%s, bound (%s)\n", p->settings.urls.v[i],
				ldap_tls_inplace(c->ld) ? ", TLS verified" : "", p->settings.bind);
			any = true;
		} else {
			buf_printf(report, "error: %s: %s: %s\n", p->settings.urls.v[i], one.op, one.text);
			if (err)
				*err = one;
		}
		connection_close(c);
	}
	quiet_end(&quiet);
	if (any)
		err_clear(err);
	return any;
}
