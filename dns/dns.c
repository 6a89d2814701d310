/*
 * dns/dns.c - libunbound behind a deadline.
 *
 * libunbound resolves in a thread of its own (ub_ctx_async(ctx, 1); its other way, fork, copies our keys into a child).  A second
 * thread, ours, waits for its answers and hands each to the one who asked, who sleeps on a condition variable no longer than
 * the deadline: a silent server would hold libunbound's own blocking call for 17 seconds and more.
 *
 * The hard idea is who frees a pending query.  It has two owners: the caller, and the callback that is still to come.  ub_cancel
 * decides, under libunbound's lock, between "the callback will never run" (we drop its share) and "it ran or runs right now" (it
 * drops its share itself).
 *
 * A context that was without its servers for a while asks them more and more rarely, and stays blind for up to a minute or two after they are
 * back; nothing can be set against that.  So when all questions of some seconds failed the next one is put to a fresh context, with an empty
 * cache and no memory of what did not answer.  The old one lives on for those who still wait for it, and is deleted by its own thread when the
 * last of them has gone.
 *
 * Bogus answers come with rcode 0 and data: that is looked at before anything else, and the data never leaves this file.
 */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <unbound.h>

#include "dns/dns.h"

#define OP "open resolver"
#define DEADLINE_MS 5000
#define DEBIAN_ANCHORS "/usr/share/dns/root.key"
#define CLASS_IN 1
#define RCODE_NXDOMAIN 3
#define RENEW_MS 3000 /* so long everything has to fail before it is tried with a fresh context; and no context is given up younger */
#define RENEW_FAILURES 2
#define HASTY_MS 1000 /* who goes away earlier has not waited for an answer */

/* One libunbound, and the thread that brings its answers and deletes it. */
struct context {
	struct dns *dns;
	struct ub_ctx *ctx;
	int64_t born_ms;
	unsigned users;     /* questions, and one for being the current one; under dns->lock */
	int stop;           /* eventfd: nobody needs it any more */
	atomic_bool broken; /* libunbound's thread is gone */
};

struct dns {
	struct dns_settings settings; /* a copy: fresh contexts are made by it */
	pthread_mutex_t lock;         /* below */
	pthread_cond_t gone;
	struct context *current;
	unsigned contexts;            /* alive */
	int64_t failing_ms;           /* since when nothing was answered, and how many questions; 0 = the last one was */
	unsigned failures;
	bool renewing;                /* somebody makes a fresh context */
};

struct dns_pending {
	struct context *context;
	int64_t began_ms;
	atomic_int owners;
	int id; /* ub_cancel's */
	pthread_mutex_t lock;
	pthread_cond_t arrived;
	bool done; /* under lock; answer belongs to the caller from then on */
	struct dns_answer answer;
};

/* ---- settings ------------------------------------------------------------------------------------------------------ */

void dns_settings_init(struct dns_settings *s)
{
	memset(s, 0, sizeof(*s));
	s->dnssec = true;
	s->deadline_ms = DEADLINE_MS;
}

void dns_settings_clear(struct dns_settings *s)
{
	strlist_clear(&s->servers);
	strlist_clear(&s->stubs);
	strlist_clear(&s->perspectives);
	free(s->trust_anchor_file);
	s->trust_anchor_file = NULL;
}

static bool refuse(struct err *err, const char *subject, int code, const char *what)
{
	return err_set(err, ERR_CONFIG, OP, subject, "%s: %s", what, ub_strerror(code));
}

static bool set_options(struct ub_ctx *ctx, struct err *err)
{
	static const struct {
		const char *name, *value;
	} options[] = {
		/* The resolver next door is the usual one. */
		{"do-not-query-localhost:", "no"},
		/* 16 ports, the library's default, are all taken by the first 16 questions to a silent server. */
		{"outgoing-range:", "256"},
		/* A server that was down is asked again soon, not after 15 minutes. */
		{"infra-keep-probing:", "yes"},
		{"infra-host-ttl:", "60"},
		/* CAA and DKIM records are not remembered for longer than an admin who changes them expects. */
		{"cache-max-ttl:", "3600"},
	};
	int code;

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		code = ub_ctx_set_option(ctx, options[i].name, options[i].value);
		if (code != 0)
			return err_set(err, ERR_BUG, OP, options[i].name, "libunbound refuses this option: %s", ub_strerror(code));
	}
	return true;
}

static bool set_servers(struct ub_ctx *ctx, const struct strlist *servers, struct err *err)
{
	int code;

	if (servers->n == 0) {
		code = ub_ctx_resolvconf(ctx, NULL);
		return code == 0 ? true : refuse(err, "/etc/resolv.conf", code, "no name server can be read from there");
	}
	for (size_t i = 0; i < servers->n; i++) {
		if (strcmp(servers->v[i], "root") == 0) {
			if (servers->n > 1)
				return err_set(err, ERR_CONFIG, OP, "root", "\"root\" stands alone: resolving from the root or by servers, not both");
			return true;
		}
		code = ub_ctx_set_fwd(ctx, servers->v[i]);
		if (code != 0)
			return refuse(err, servers->v[i], code, "a server is written \"address\" or \"address@port\"");
	}
	return true;
}

static bool recurses(const struct dns_settings *settings)
{
	return settings->servers.n == 1 && strcmp(settings->servers.v[0], "root") == 0;
}

/* Servers that stand in for the root's are of no use to one who asks a resolver; and two ways for the same zone do not go together. */
static bool stub_counts(const struct dns_settings *settings, const char *stub)
{
	return strncmp(stub, ".=", 2) != 0 || recurses(settings);
}

static bool set_stub(struct ub_ctx *ctx, const char *stub, struct err *err)
{
	char *zone = strdup(stub);
	char *equals = zone ? strchr(zone, '=') : NULL;
	int code;

	if (!zone)
		return err_nomem(err, OP);
	if (!equals || equals == zone) {
		free(zone);
		return err_set(err, ERR_CONFIG, OP, stub, "a stub is written \"zone=address@port\"");
	}
	*equals = '\0';
	code = ub_ctx_set_stub(ctx, zone, equals + 1, 0);
	free(zone);
	return code == 0 ? true : refuse(err, stub, code, "a stub is written \"zone=address@port\"");
}

static bool set_anchors(struct ub_ctx *ctx, const struct dns_settings *settings, struct err *err)
{
	const char *file = settings->trust_anchor_file ? settings->trust_anchor_file : DEBIAN_ANCHORS;
	int code;

	if (!settings->dnssec) {
		code = ub_ctx_set_option(ctx, "module-config:", "iterator");
		return code == 0 ? true : refuse(err, "module-config", code, "DNSSEC cannot be turned off");
	}
	if (access(file, R_OK) != 0) {
		err_errno(err, errno, OP, file);
		return err_set(err, ERR_CONFIG, OP, file, "the DNSSEC trust anchors cannot be read: %s; install dns-root-data or name another file",
			err ? err->text : "");
	}
	code = ub_ctx_add_ta_file(ctx, file);
	return code == 0 ? true : refuse(err, file, code, "the DNSSEC trust anchors cannot be used");
}

/* libunbound answers some names by itself (the reverse of private networks, "test."), which must not stand before a stub.  As that is
 * taken away again the configuration becomes final and files are read: the moment where a broken anchor file shows. */
static bool finish_configuration(struct ub_ctx *ctx, const struct dns_settings *settings, struct err *err)
{
	int code = ub_ctx_zone_remove(ctx, "test.");

	if (code != 0)
		return refuse(err, settings->trust_anchor_file ? settings->trust_anchor_file : "",
			code, "the resolver cannot start; are the DNSSEC trust anchors DS or DNSKEY records?");
	for (size_t i = 0; i < settings->stubs.n; i++) {
		char *zone = strdup(settings->stubs.v[i]);

		if (!zone)
			return err_nomem(err, OP);
		zone[strcspn(zone, "=")] = '\0';
		code = ub_ctx_zone_remove(ctx, zone);
		free(zone);
		if (code != 0)
			return refuse(err, settings->stubs.v[i], code, "the zone of this stub cannot be used");
	}
	return true;
}

static bool configure(struct ub_ctx *ctx, const struct dns_settings *settings, struct err *err)
{
	ub_ctx_debugout(ctx, NULL); /* its complaints would go to our stderr, unescaped */
	ub_ctx_async(ctx, 1);
	if (!set_options(ctx, err) || !set_servers(ctx, &settings->servers, err))
		return false;
	for (size_t i = 0; i < settings->stubs.n; i++)
		if (stub_counts(settings, settings->stubs.v[i]) && !set_stub(ctx, settings->stubs.v[i], err))
			return false;
	return set_anchors(ctx, settings, err) && finish_configuration(ctx, settings, err);
}

/* ---- the thread ---------------------------------------------------------------------------------------------------- */

/* Neither our thread nor libunbound's shall be the one that a signal interrupts: they start with all signals blocked. */
static void signals_block(sigset_t *before)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, before);
}

static void signals_restore(const sigset_t *before)
{
	pthread_sigmask(SIG_SETMASK, before, NULL);
}

static void context_delete(struct context *c)
{
	if (c->ctx)
		ub_ctx_delete(c->ctx);
	if (c->stop >= 0)
		close(c->stop);
	free(c);
}

static void *deliver_answers(void *arg)
{
	struct context *c = arg;
	struct dns *dns = c->dns;
	struct pollfd fds[2] = {{.fd = c->stop, .events = POLLIN}, {.fd = ub_fd(c->ctx), .events = POLLIN}};
	nfds_t n = 2;

	for (;;) {
		if (poll(fds, n, -1) < 0)
			continue;
		if (fds[0].revents)
			break;
		if (ub_process(c->ctx) != 0 || (fds[1].revents & (POLLHUP | POLLERR | POLLNVAL))) {
			atomic_store(&c->broken, true);
			n = 1; /* from now on only the end is waited for */
		}
	}
	/* Everybody else let go of it under the lock: what they did there is over. */
	pthread_mutex_lock(&dns->lock);
	pthread_mutex_unlock(&dns->lock);
	context_delete(c);
	pthread_mutex_lock(&dns->lock);
	dns->contexts--;
	pthread_cond_signal(&dns->gone);
	pthread_mutex_unlock(&dns->lock);
	return NULL;
}

static bool start_thread(struct context *c, struct err *err)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t before;
	int code;

	c->stop = eventfd(0, EFD_CLOEXEC);
	if (c->stop < 0)
		return err_errno(err, errno, OP, "eventfd");
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_mutex_lock(&c->dns->lock);
	signals_block(&before);
	code = pthread_create(&thread, &attr, deliver_answers, c);
	signals_restore(&before);
	c->dns->contexts += code == 0;
	pthread_mutex_unlock(&c->dns->lock);
	pthread_attr_destroy(&attr);
	return code == 0 || err_errno(err, code, OP, "thread");
}

/* ---- contexts ------------------------------------------------------------------------------------------------------ */

static struct context *context_new(struct dns *dns, struct err *err)
{
	struct context *c = calloc(1, sizeof(*c));

	if (!c) {
		err_nomem(err, OP);
		return NULL;
	}
	c->dns = dns;
	c->stop = -1;
	c->users = 1;
	c->born_ms = mono_ms();
	c->ctx = ub_ctx_create();
	if (!c->ctx)
		err_nomem(err, OP);
	else if (configure(c->ctx, &dns->settings, err) && start_thread(c, err))
		return c;
	context_delete(c);
	return NULL;
}

/* With the last one who needs it the context goes. */
static void context_release(struct context *c)
{
	struct dns *dns = c->dns;

	pthread_mutex_lock(&dns->lock);
	if (--c->users == 0)
		eventfd_write(c->stop, 1);
	pthread_mutex_unlock(&dns->lock);
}

/* What a question came to: does the outside world still answer? */
static void note_outcome(struct dns *dns, bool answered)
{
	pthread_mutex_lock(&dns->lock);
	if (answered)
		dns->failures = 0;
	else if (dns->failures++ == 0)
		dns->failing_ms = mono_ms();
	pthread_mutex_unlock(&dns->lock);
}

/* Call with the lock held. */
static bool is_worn_out(const struct dns *dns)
{
	int64_t now = mono_ms();

	if (dns->renewing || now - dns->current->born_ms < RENEW_MS)
		return false;
	return atomic_load(&dns->current->broken) || (dns->failures >= RENEW_FAILURES && now - dns->failing_ms >= RENEW_MS);
}

/* Whoever comes first makes it; the others go on with what there is.  One that cannot be made changes nothing. */
static void renew(struct dns *dns)
{
	struct context *fresh = context_new(dns, NULL), *old = NULL;

	pthread_mutex_lock(&dns->lock);
	if (fresh) {
		old = dns->current;
		dns->current = fresh;
		dns->failures = 0;
	}
	dns->renewing = false;
	pthread_mutex_unlock(&dns->lock);
	if (old)
		context_release(old);
}

/* The context for a new question; context_release it. */
static struct context *context_take(struct dns *dns)
{
	struct context *c;
	bool worn_out;

	pthread_mutex_lock(&dns->lock);
	worn_out = is_worn_out(dns);
	dns->renewing |= worn_out;
	pthread_mutex_unlock(&dns->lock);
	if (worn_out)
		renew(dns);
	pthread_mutex_lock(&dns->lock);
	c = dns->current;
	c->users++;
	pthread_mutex_unlock(&dns->lock);
	return c;
}

static bool settings_copy(struct dns_settings *to, const struct dns_settings *from)
{
	bool ok = true;

	dns_settings_init(to);
	to->dnssec = from->dnssec;
	to->deadline_ms = from->deadline_ms ? from->deadline_ms : DEADLINE_MS;
	to->trust_anchor_file = str_dup(from->trust_anchor_file);
	for (size_t i = 0; i < from->servers.n; i++)
		ok = ok && strlist_add(&to->servers, from->servers.v[i]);
	for (size_t i = 0; i < from->stubs.n; i++)
		ok = ok && strlist_add(&to->stubs, from->stubs.v[i]);
	return ok && (to->trust_anchor_file || !from->trust_anchor_file);
}

struct dns *dns_new(const struct dns_settings *settings, struct err *err)
{
	struct dns *dns = calloc(1, sizeof(*dns));

	if (!dns) {
		err_nomem(err, OP);
		return NULL;
	}
	pthread_mutex_init(&dns->lock, NULL);
	pthread_cond_init(&dns->gone, NULL);
	if (!settings_copy(&dns->settings, settings))
		err_nomem(err, OP);
	else if ((dns->current = context_new(dns, err)) != NULL)
		return dns;
	dns_free(dns);
	return NULL;
}

void dns_free(struct dns *dns)
{
	if (!dns)
		return;
	if (dns->current)
		context_release(dns->current);
	pthread_mutex_lock(&dns->lock);
	while (dns->contexts > 0)
		pthread_cond_wait(&dns->gone, &dns->lock);
	pthread_mutex_unlock(&dns->lock);
	pthread_cond_destroy(&dns->gone);
	pthread_mutex_destroy(&dns->lock);
	dns_settings_clear(&dns->settings);
	free(dns);
}

/* ---- answers ------------------------------------------------------------------------------------------------------- */

static void failed(struct dns_answer *a, const char *fmt, ...) BASE_PRINTF(2, 3);
static void failed(struct dns_answer *a, const char *fmt, ...)
{
	va_list args;

	a->status = DNS_FAILED;
	a->ttl = 0;
	va_start(args, fmt);
	vsnprintf(a->why, sizeof(a->why), fmt, args);
	va_end(args);
}

static const char *rcode_name(int rcode)
{
	static const char *const names[] = {"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"};

	if (rcode < 0 || (size_t)rcode >= sizeof(names) / sizeof(names[0]))
		return "an unusual response code";
	return names[rcode];
}

static void fill_data(struct dns_answer *a, const struct ub_result *r)
{
	size_t n = 0;

	while (r->data[n])
		n++;
	a->rdata = calloc(n ? n : 1, sizeof(*a->rdata));
	if (!a->rdata) {
		failed(a, "out of memory");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		a->rdata[i].data = (const unsigned char *)r->data[i];
		a->rdata[i].len = (size_t)r->len[i];
	}
	a->n = n;
	a->status = DNS_FOUND;
}

/* Takes the result over. */
static void fill_answer(struct dns_answer *a, int code, struct ub_result *r)
{
	a->impl = r;
	if (code != 0 || !r) {
		failed(a, "the resolver failed: %s", ub_strerror(code));
		return;
	}
	if (r->bogus) {
		failed(a, "DNSSEC validation failed: %s", r->why_bogus ? r->why_bogus : "no reason given");
		a->security = DNS_BOGUS;
		return;
	}
	a->security = r->secure ? DNS_SECURE : DNS_INSECURE;
	a->ttl = r->ttl > 0 ? (unsigned)r->ttl : 0;
	a->canonical = r->canonname;
	if (r->rcode == 0 && r->havedata && r->data)
		fill_data(a, r);
	else if (r->rcode == RCODE_NXDOMAIN || (r->rcode == 0 && r->nxdomain))
		a->status = DNS_NXDOMAIN;
	else if (r->rcode == 0)
		a->status = DNS_NODATA;
	else
		failed(a, "the name servers gave no answer: %s", rcode_name(r->rcode));
}

void dns_answer_clear(struct dns_answer *answer)
{
	free(answer->rdata);
	if (answer->impl)
		ub_resolve_free(answer->impl);
	memset(answer, 0, sizeof(*answer));
	answer->status = DNS_FAILED;
}

/* ---- queries ------------------------------------------------------------------------------------------------------- */

static void pending_release(struct dns_pending *p)
{
	if (atomic_fetch_sub(&p->owners, 1) != 1)
		return;
	dns_answer_clear(&p->answer);
	pthread_cond_destroy(&p->arrived);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static void on_answer(void *arg, int code, struct ub_result *result)
{
	struct dns_pending *p = arg;

	pthread_mutex_lock(&p->lock);
	fill_answer(&p->answer, code, result);
	note_outcome(p->context->dns, p->answer.status != DNS_FAILED || p->answer.security == DNS_BOGUS);
	p->done = true;
	pthread_cond_broadcast(&p->arrived);
	pthread_mutex_unlock(&p->lock);
	pending_release(p);
}

static struct dns_pending *pending_new(void)
{
	struct dns_pending *p = calloc(1, sizeof(*p));
	pthread_condattr_t attr;

	if (!p)
		return NULL;
	p->began_ms = mono_ms();
	p->answer.status = DNS_FAILED;
	atomic_init(&p->owners, 1);
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* a clock that is set must not lengthen a deadline */
	pthread_cond_init(&p->arrived, &attr);
	pthread_condattr_destroy(&attr);
	return p;
}

struct dns_pending *dns_start(struct dns *dns, const char *name, int type)
{
	struct dns_pending *p = pending_new();
	sigset_t before;
	int code;

	if (!p)
		return NULL;
	p->context = context_take(dns);
	if (atomic_load(&p->context->broken)) {
		failed(&p->answer, "the resolver's thread has ended; restart this program");
		p->done = true;
		return p;
	}
	atomic_fetch_add(&p->owners, 1); /* the callback's share */
	signals_block(&before);          /* the first call starts libunbound's thread */
	code = ub_resolve_async(p->context->ctx, name, type, CLASS_IN, p, on_answer, &p->id);
	signals_restore(&before);
	if (code != 0) {
		pending_release(p);
		failed(&p->answer, "the question cannot be asked: %s", ub_strerror(code));
		p->done = true;
	}
	return p;
}

static void deadline_in(struct timespec *when, unsigned ms)
{
	clock_gettime(CLOCK_MONOTONIC, when);
	when->tv_sec += ms / 1000;
	when->tv_nsec += (long)(ms % 1000) * 1000000;
	if (when->tv_nsec >= 1000000000) {
		when->tv_sec++;
		when->tv_nsec -= 1000000000;
	}
}

bool dns_wait(struct dns_pending *p, unsigned wait_ms)
{
	struct timespec until;
	bool done;

	deadline_in(&until, wait_ms);
	pthread_mutex_lock(&p->lock);
	while (!p->done)
		if (pthread_cond_timedwait(&p->arrived, &p->lock, &until) == ETIMEDOUT)
			break;
	done = p->done;
	pthread_mutex_unlock(&p->lock);
	return done;
}

const struct dns_answer *dns_pending_answer(const struct dns_pending *p)
{
	return &p->answer;
}

const void *dns_pending_packet(const struct dns_pending *p, size_t *len)
{
	const struct ub_result *r = p->answer.impl;

	*len = 0;
	if (p->answer.status == DNS_FAILED || !r || r->answer_len <= 0)
		return NULL;
	*len = (size_t)r->answer_len;
	return r->answer_packet;
}

void dns_pending_free(struct dns_pending *p)
{
	struct context *c;
	bool done;

	if (!p)
		return;
	c = p->context;
	pthread_mutex_lock(&p->lock);
	done = p->done;
	pthread_mutex_unlock(&p->lock);
	if (!done && mono_ms() - p->began_ms >= HASTY_MS)
		note_outcome(c->dns, false);
	if (!done && ub_cancel(c->ctx, p->id) == 0)
		pending_release(p);
	pending_release(p);
	context_release(c);
}

void dns_query(struct dns *dns, const char *name, int type, unsigned deadline_ms, struct dns_answer *out)
{
	unsigned wait_ms = deadline_ms ? deadline_ms : dns->settings.deadline_ms;
	struct dns_pending *p = dns_start(dns, name, type);

	memset(out, 0, sizeof(*out));
	if (!p) {
		failed(out, "out of memory");
		return;
	}
	if (dns_wait(p, wait_ms)) {
		*out = p->answer;
		memset(&p->answer, 0, sizeof(p->answer));
	} else {
		failed(out, "timed out after %u ms", wait_ms);
	}
	dns_pending_free(p);
}
