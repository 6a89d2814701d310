/*
 * ldap/connection.c - open, secure, bind; keep a few connections; repeat what was lost.
 *
 * Deadlines.  The socket is connected by resolve.c and handed to libldap, which then never resolves or connects by itself.  It stays
 * non-blocking: libldap copes with that everywhere but in the TLS handshake, where it has a time-out of its own
 * (LDAP_OPT_NETWORK_TIMEOUT).  Every request is sent asynchronously and waited for with what is left of the time.
 *
 * Servers.  One that could not be talked to rests for a while and the next is asked first; with several servers each attempt gets a
 * share of the time that is left, so that a silent first server does not use up the whole deadline.
 *
 * SIGPIPE.  liblber writes with write(2), so a connection closed by the server would raise SIGPIPE: it is blocked for the duration and
 * a new one is taken from the queue before the old mask comes back.
 */
#include "config.h"

#include "ldap/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <openldap.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 8
#define IDLE_MS (60 * 1000)
#define REST_MS (10 * 1000) /* how long a server that failed is asked last */
#define SYSTEM_ANCHORS "/etc/ssl/certs/ca-certificates.crt"

struct connection {
	LDAP *ld;
	size_t server;
	int64_t used_at;
	struct connection *next; /* among the idle ones, last used first */
};

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t freed;
	struct directory_settings settings; /* a copy of what is needed here */
	struct connection *idle;
	size_t open;            /* idle and in use */
	int64_t *rests_until;   /* one a server */
};

/* ---- errors ------------------------------------------------------------------------------------------------------ */

/* What an admin has to put right; everything else may pass by itself. */
static bool is_config(int code)
{
	switch (code) {
	case LDAP_INVALID_CREDENTIALS:
	case LDAP_INAPPROPRIATE_AUTH:
	case LDAP_STRONG_AUTH_REQUIRED:
	case LDAP_AUTH_METHOD_NOT_SUPPORTED:
	case LDAP_CONFIDENTIALITY_REQUIRED:
	case LDAP_INSUFFICIENT_ACCESS:
	case LDAP_NO_SUCH_OBJECT:
	case LDAP_UNDEFINED_TYPE:
	case LDAP_INVALID_SYNTAX:
	case LDAP_INVALID_DN_SYNTAX:
	case LDAP_INAPPROPRIATE_MATCHING:
	case LDAP_OBJECT_CLASS_VIOLATION:
	case LDAP_CONSTRAINT_VIOLATION:
	case LDAP_NAMING_VIOLATION:
	case LDAP_REFERRAL:
	case LDAP_FILTER_ERROR:
	case LDAP_PROTOCOL_ERROR:
		return true;
	default:
		return false;
	}
}

static const char *advice(int code)
{
	switch (code) {
	case LDAP_INVALID_CREDENTIALS:
		return "; check directory.bind-dn and directory.password-file";
	case LDAP_INSUFFICIENT_ACCESS:
		return "; the bind needs this right in the directory";
	case LDAP_NO_SUCH_OBJECT:
		return "; check directory.base";
	case LDAP_UNDEFINED_TYPE:
	case LDAP_OBJECT_CLASS_VIOLATION:
		return "; the directory's schema does not allow this attribute there";
	case LDAP_REFERRAL:
		return "; the server refers to another one, which is not followed: name that one in directory.urls";
	case LDAP_CONFIDENTIALITY_REQUIRED:
	case LDAP_STRONG_AUTH_REQUIRED:
		return "; the server wants TLS: use ldaps:// or starttls = true";
	default:
		return "";
	}
}

static bool is_lost(int code)
{
	return code == LDAP_SERVER_DOWN || code == LDAP_TIMEOUT || code == LDAP_CONNECT_ERROR || code == LDAP_UNAVAILABLE || code == LDAP_BUSY
		|| code == LDAP_DECODING_ERROR || code == LDAP_ENCODING_ERROR || code == LDAP_LOCAL_ERROR;
}

enum outcome connection_failed(LDAP *ld, int code, const char *op, const char *subject, struct err *err)
{
	char *diagnostic = NULL;

	if (code == LDAP_NO_MEMORY) {
		err_nomem(err, op);
		return OUTCOME_FAILED;
	}
	if (ld)
		ldap_get_option(ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &diagnostic);
	err_set(err, is_config(code) ? ERR_CONFIG : ERR_TEMPORARY, op, subject, "%s%s%s%s%s", ldap_err2string(code),
		diagnostic && *diagnostic ? " (" : "", diagnostic && *diagnostic ? diagnostic : "", diagnostic && *diagnostic ? ")" : "", advice(code));
	if (err)
		snprintf(err->type, sizeof(err->type), "ldap:%d", code);
	ldap_memfree(diagnostic);
	return is_lost(code) ? OUTCOME_LOST : OUTCOME_FAILED;
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static struct timeval time_left(int64_t end)
{
	int64_t left = end - mono_ms();

	if (left < 1)
		left = 1;
	return (struct timeval){.tv_sec = (time_t)(left / 1000), .tv_usec = (suseconds_t)(left % 1000) * 1000};
}

/* The whole answer to one request.  LDAP_SUCCESS, or a code of the library's. */
static int wait_answer(LDAP *ld, int id, int64_t end, LDAPMessage **result)
{
	struct timeval tv = time_left(end);
	int code = LDAP_SERVER_DOWN;
	int rc = ldap_result(ld, id, LDAP_MSG_ALL, &tv, result);

	if (rc > 0)
		return LDAP_SUCCESS;
	if (rc == 0) {
		ldap_abandon_ext(ld, id, NULL, NULL);
		return LDAP_TIMEOUT;
	}
	ldap_get_option(ld, LDAP_OPT_RESULT_CODE, &code);
	return code == LDAP_SUCCESS ? LDAP_SERVER_DOWN : code;
}

enum outcome connection_search(LDAP *ld, int64_t end, const char *base, int scope, const char *filter, char **attributes, int size_limit,
	LDAPMessage **result, int *code, struct err *err)
{
	struct timeval tv = time_left(end);
	int id, rc, parsed;

	*result = NULL;
	rc = ldap_search_ext(ld, base, scope, filter, attributes, 0, NULL, NULL, &tv, size_limit, &id);
	if (rc == LDAP_SUCCESS)
		rc = wait_answer(ld, id, end, result);
	if (rc == LDAP_SUCCESS) {
		parsed = ldap_parse_result(ld, *result, code, NULL, NULL, NULL, NULL, 0);
		rc = parsed == LDAP_SUCCESS ? *code : parsed;
		if (parsed == LDAP_SUCCESS && (rc == LDAP_SUCCESS || rc == LDAP_SIZELIMIT_EXCEEDED || rc == LDAP_NO_SUCH_OBJECT))
			return OUTCOME_DONE;
	}
	ldap_msgfree(*result);
	*result = NULL;
	return connection_failed(ld, rc, "search directory", base, err);
}

enum outcome connection_modify(LDAP *ld, int64_t end, const char *dn, LDAPMod **mods, int *code, char text[256], struct err *err)
{
	LDAPMessage *result = NULL;
	char *diagnostic = NULL;
	int id, rc;

	text[0] = '\0';
	rc = ldap_modify_ext(ld, dn, mods, NULL, NULL, &id);
	if (rc == LDAP_SUCCESS)
		rc = wait_answer(ld, id, end, &result);
	if (rc == LDAP_SUCCESS)
		rc = ldap_parse_result(ld, result, code, NULL, &diagnostic, NULL, NULL, 0);
	if (rc == LDAP_SUCCESS && is_lost(*code))
		rc = *code;
	if (rc == LDAP_SUCCESS && diagnostic)
		snprintf(text, 256, "%s", diagnostic);
	ldap_memfree(diagnostic);
	ldap_msgfree(result);
	return rc == LDAP_SUCCESS ? OUTCOME_DONE : connection_failed(ld, rc, "change directory", dn, err);
}

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

/* ---- one connection ---------------------------------------------------------------------------------------------- */

static void connection_close(struct connection *c)
{
	if (!c)
		return;
	if (c->ld)
		ldap_unbind_ext(c->ld, NULL, NULL);
	free(c);
}

/* Whatever ldap.conf, ~/.ldaprc or the environment say, these decide. */
static bool set_tls(struct pool *p, LDAP *ld, struct err *err)
{
	const char *anchors = p->settings.ca_file ? p->settings.ca_file : SYSTEM_ANCHORS;
	int demand = LDAP_OPT_X_TLS_DEMAND, no = 0, least = LDAP_OPT_X_TLS_PROTOCOL_TLS1_2;
	int rc;

	ldap_set_option(ld, LDAP_OPT_X_TLS_PROTOCOL_MIN, &least); /* not every TLS library behind libldap knows it */
	rc = ldap_set_option(ld, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand);
	if (rc == LDAP_OPT_SUCCESS)
		rc = ldap_set_option(ld, LDAP_OPT_X_TLS_CACERTFILE, anchors);
	if (rc == LDAP_OPT_SUCCESS)
		rc = ldap_set_option(ld, LDAP_OPT_X_TLS_NEWCTX, &no);
	return rc == LDAP_OPT_SUCCESS
		|| err_set(err, ERR_CONFIG, "set up TLS for directory", anchors, "the anchors in %s cannot be used", anchors);
}

static bool set_options(LDAP *ld, int64_t end)
{
	int version = LDAP_VERSION3, none = 0;
	struct timeval tv = time_left(end);

	return ldap_set_option(ld, LDAP_OPT_PROTOCOL_VERSION, &version) == LDAP_OPT_SUCCESS
		&& ldap_set_option(ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF) == LDAP_OPT_SUCCESS
		&& ldap_set_option(ld, LDAP_OPT_RESTART, LDAP_OPT_ON) == LDAP_OPT_SUCCESS
		&& ldap_set_option(ld, LDAP_OPT_DEREF, &none) == LDAP_OPT_SUCCESS
		&& ldap_set_option(ld, LDAP_OPT_NETWORK_TIMEOUT, &tv) == LDAP_OPT_SUCCESS
		&& ldap_set_option(ld, LDAP_OPT_TIMEOUT, &tv) == LDAP_OPT_SUCCESS;
}

/* A wrong certificate stays wrong until somebody acts; a server that hangs up in the handshake may just be restarting. */
static enum outcome tls_failed(LDAP *ld, int code, const char *url, struct err *err)
{
	enum outcome o = connection_failed(ld, code, "start TLS with directory", url, err);

	if (err && (strstr(err->text, "cert") || strstr(err->text, "hostname"))) {
		err->class = ERR_CONFIG;
		return OUTCOME_FAILED;
	}
	return o;
}

static enum outcome start_tls(struct pool *p, LDAP *ld, const char *url, bool whole_connection, int64_t end, struct err *err)
{
	LDAPMessage *result = NULL;
	int id, rc = LDAP_SUCCESS, code = LDAP_SUCCESS;

	if (!set_tls(p, ld, err))
		return OUTCOME_FAILED;
	if (!whole_connection) {
		rc = ldap_start_tls(ld, NULL, NULL, &id);
		if (rc == LDAP_SUCCESS)
			rc = wait_answer(ld, id, end, &result);
		if (rc == LDAP_SUCCESS)
			rc = ldap_parse_result(ld, result, &code, NULL, NULL, NULL, NULL, 1);
		if (rc != LDAP_SUCCESS || code != LDAP_SUCCESS)
			return connection_failed(ld, rc != LDAP_SUCCESS ? rc : code, "ask directory for StartTLS", url, err);
	}
	rc = ldap_install_tls(ld);
	if (rc != LDAP_SUCCESS)
		return tls_failed(ld, rc, url, err);
	if (!ldap_tls_inplace(ld)) {
		err_set(err, ERR_BUG, "start TLS with directory", url, "the connection is still in the clear");
		return OUTCOME_FAILED;
	}
	return OUTCOME_DONE;
}

/* An empty password would be an "unauthenticated bind", which servers accept as anonymous (RFC 4513 section 5.1.2). */
static bool read_password(const struct directory_settings *s, struct buf *password, struct err *err)
{
	if (!secret_read_shared(password, s->password_file, true, err))
		return false;
	return password->len > 0 || err_set(err, ERR_CONFIG, "read directory password", s->password_file, "%s is empty", s->password_file);
}

static enum outcome bind_connection(struct pool *p, LDAP *ld, const char *url, int64_t end, struct err *err)
{
	const struct directory_settings *s = &p->settings;
	struct buf password = BUF_INIT;
	struct berval cred = {.bv_val = (char *)(uintptr_t)"", .bv_len = 0};
	LDAPMessage *result = NULL;
	bool external = strcmp(s->bind, "external") == 0;
	int id, rc, code = LDAP_SUCCESS;

	if (strcmp(s->bind, "anonymous") == 0)
		return OUTCOME_DONE;
	if (!external) {
		if (!read_password(s, &password, err)) {
			buf_wipe(&password);
			return OUTCOME_FAILED;
		}
		cred = (struct berval){.bv_val = password.data, .bv_len = password.len};
	}
	rc = ldap_sasl_bind(ld, external ? "" : s->bind_dn, external ? "EXTERNAL" : LDAP_SASL_SIMPLE, &cred, NULL, NULL, &id);
	buf_wipe(&password);
	if (rc == LDAP_SUCCESS)
		rc = wait_answer(ld, id, end, &result);
	if (rc == LDAP_SUCCESS)
		rc = ldap_parse_result(ld, result, &code, NULL, NULL, NULL, NULL, 1);
	if (rc == LDAP_SUCCESS && code == LDAP_SUCCESS)
		return OUTCOME_DONE;
	return connection_failed(ld, rc != LDAP_SUCCESS ? rc : code, "bind to directory", url, err);
}

static enum outcome secure(struct pool *p, LDAP *ld, const LDAPURLDesc *desc, const char *url, int64_t end, struct err *err)
{
	if (strcmp(desc->lud_scheme, "ldaps") == 0)
		return start_tls(p, ld, url, true, end, err);
	if (strcmp(desc->lud_scheme, "ldapi") == 0)
		return OUTCOME_DONE;
	if (p->settings.starttls)
		return start_tls(p, ld, url, false, end, err);
	if (p->settings.allow_cleartext)
		return OUTCOME_DONE;
	err_set(err, ERR_CONFIG, "connect to directory", url, "%s without TLS needs allow-cleartext = true", url);
	return OUTCOME_FAILED;
}

static enum outcome connection_open(struct pool *p, size_t server, int64_t end, struct connection **out, struct err *err)
{
	const char *url = p->settings.urls.v[server];
	struct connection *c = calloc(1, sizeof(*c));
	enum outcome o = OUTCOME_FAILED;
	LDAPURLDesc *desc = NULL;
	int fd = -1;

	if (!c || ldap_url_parse(url, &desc) != LDAP_URL_SUCCESS) {
		err_set(err, ERR_CONFIG, "connect to directory", url, "\"%s\" is no LDAP URL", url);
		goto out;
	}
	c->server = server;
	o = OUTCOME_LOST;
	fd = resolve_connect(desc, end, err);
	if (fd < 0)
		goto out;
	if (ldap_init_fd(fd, strcmp(desc->lud_scheme, "ldapi") == 0 ? LDAP_PROTO_IPC : LDAP_PROTO_TCP, url, &c->ld) != LDAP_SUCCESS) {
		close(fd);
		c->ld = NULL;
		err_nomem(err, "connect to directory");
		goto out;
	}
	if (!set_options(c->ld, end)) {
		err_set(err, ERR_BUG, "connect to directory", url, "libldap refuses an option");
		goto out;
	}
	o = secure(p, c->ld, desc, url, end, err);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); /* libldap makes it blocking after a handshake */
	if (o == OUTCOME_DONE)
		o = bind_connection(p, c->ld, url, end, err);
out:
	if (o != OUTCOME_DONE) {
		connection_close(c);
		c = NULL;
	}
	if (desc)
		ldap_free_urldesc(desc);
	*out = c;
	return o;
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
	return ok && !from->ca_file == !to->ca_file && to->bind && !from->bind_dn == !to->bind_dn && !from->password_file == !to->password_file;
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
	ok = read_password(s, &password, err);
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

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* On fresh connections, server by server.  The order is fixed first: it changes while servers are put to rest. */
static enum outcome run_fresh(struct pool *p, pool_operation *op, void *arg, int64_t end, struct connection **c, bool *unreachable, struct err *err)
{
	size_t n = p->settings.urls.n, order[16];
	enum outcome o = OUTCOME_LOST;

	if (n > sizeof(order) / sizeof(order[0]))
		n = sizeof(order) / sizeof(order[0]);
	for (size_t i = 0; i < n; i++)
		order[i] = server_order(p, i);
	for (size_t i = 0; i < n && o == OUTCOME_LOST && (i == 0 || mono_ms() < end); i++) {
		int64_t now = mono_ms(), share = now + (end - now) / (int64_t)(n - i);

		err_clear(err);
		o = connection_open(p, order[i], earlier(share, now + p->settings.connect_ms), c, err);
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
		return err_set(err, ERR_TEMPORARY, "ask directory", p->settings.urls.v[0], "all %d connections are busy", CONNECTIONS_MAX);
	if (c) {
		/* with a silent server some time must be left for the others */
		int64_t now = mono_ms(), share = p->settings.urls.n > 1 ? now + (end - now) / 2 : end;
		size_t server = c->server;

		o = op(c->ld, share, arg, err);
		if (o == OUTCOME_LOST) {
			if (mono_ms() >= share)
				server_rest(p, server, true);
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
	struct quiet quiet;
	bool ok;

	quiet_begin(&quiet);
	ok = run(p, op, arg, unreachable, &local);
	quiet_end(&quiet);
	if (!ok && err)
		*err = local;
	return ok;
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

		if (connection_open(p, i, mono_ms() + p->settings.deadline_ms, &c, &one) == OUTCOME_DONE) {
			buf_printf(report, "ok: %s: connected%s, bound (%s)\n", p->settings.urls.v[i], ldap_tls_inplace(c->ld) ? ", TLS verified" : "",
				p->settings.bind);
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
