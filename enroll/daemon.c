/*
 * enroll/daemon.c - enrolld as a process: gather the parts, let workers step enrollments, end cleanly.
 *
 * A few workers claim due rows; between steps they sleep until the store changes (looked at four times a second) or the next row is due.
 * SIGTERM and SIGINT let the steps under way finish and end; SIGHUP and SIGUSR1 do the same and begin again with the configuration as it then is.
 *
 * The supervisor is told that we live by the thread that looks, after a turn of it: it has read the store by then, through the same handles as the
 * workers, and had an answer on our own control socket.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "enroll/account_gate.h"
#include "enroll/care.h"
#include "enroll/control.h"
#include "enroll/due.h"
#include "enroll/enroll.h"
#include "enroll/enrollment.h"
#include "enroll/hygiene.h"
#include "enroll/instance.h"
#include "enroll/measure.h"
#include "enroll/people.h"
#include "enroll/revoke.h"

#define WORKERS_MAX 66
#define LOOK_MS 250
#define CLEAN_SECONDS 60 /* certificates end without a change in the store */
#define END_GRACE 5 /* seconds */
#define LOOK_SECONDS 1 /* often enough to see that it is time to look who left, or that an admin wants it now */
#define CARE_SECONDS 1 /* between two looks of those who look after certificates in use */
#define KEEP_SECONDS 4 /* between two signs of life, if it is time for one, and looks at the account keys */
#define ALIVE_MS 5000 /* between two signs of life, or a quarter of what the watchdog allows */
#define STATUS_MS 10000
#define STATUS_SHARE 100 /* counting a million rows takes a while: never more than one part in so many */
#define MIGRATION_SECONDS 600 /* what an older, large store may take to be brought to this version's schema */
#define REVIEWED_FLAG "reviewed-configuration"

struct daemon;
struct revoker {
	struct daemon *daemon;
	enum revocation_part part;
	pthread_t thread;
};

/* Looks after certificates in use, again and again: their revocation, or what else there is (care.h). */
struct carer {
	struct daemon *daemon;
	bool watches;
	pthread_t thread;
};
#define CARERS 2 /* a responder that does not answer holds up nothing else */

/* What the supervisor knows of us; the first thread's own. */
struct alive {
	unsigned watchdog_ms, every_ms;
	int64_t asked, tell_at; /* mono_ms: ourselves; when the supervisor is told the status again */
	bool dead;
};
#define RELOAD_WATCHDOG_MS 900000 /* steps under way finish, some of them by the patience of others */

struct daemon {
	struct enroll_parts parts;
	struct alive alive;
	struct control *control;
	pthread_mutex_t lock;   /* below */
	pthread_cond_t wake;
	uint64_t tick;          /* counted up when there may be work */
	bool ending;
	pthread_t workers[WORKERS_MAX];
	unsigned n_workers;
	struct revoker revokers[REVOCATION_PARTS]; /* one for the CAs and one for the directory: neither waits for the other */
	unsigned n_revokers;
	pthread_t cleaner;      /* of the directory */
	bool cleans;
	pthread_t looker;       /* at the directory, for who left */
	bool looks;
	bool away; /* from the store */
	struct carer carers[CARERS];
	unsigned n_carers;
	pthread_t keeper;       /* of our name and our account key */
	bool keeps;
	atomic_bool lost;       /* the name is another one's */
};

/* ---- parts --------------------------------------------------------------------------------------------------------------------- */

void enroll_parts_clear(struct enroll_parts *p)
{
	for (size_t i = 0; i < p->n_cas; i++) {
		ca_free(p->cas[i].ca);
		revocation_free(p->cas[i].revocation);
		X509_STORE_free(p->cas[i].anchors);
	}
	free(p->cas);
	legacy_walks_free(p->walks);
	directory_free(p->directory);
	dns_perspectives_close(&p->perspectives, p->dns);
	dns_free(p->dns);
	X509_free(p->master_certificate);
	store_close(p->store);
	pthread_mutex_destroy(&p->gate_lock);
	memset(p, 0, sizeof *p);
}

static bool ca_parts(struct enroll_parts *p, const struct config *c, struct err *err)
{
	p->cas = calloc(config_cas(c), sizeof *p->cas);
	if (!p->cas)
		return err_nomem(err, "start");
	for (; p->n_cas < config_cas(c); p->n_cas++) {
		struct enroll_ca *one = &p->cas[p->n_cas];
		bool asks;

		one->config = config_ca_at(c, p->n_cas);
		one->anchors = certcheck_anchors(one->config->anchor_file, err);
		one->ca = one->anchors ? ca_new(one->config, err) : NULL;
		asks = one->config->revocation != REVOCATION_OFF || one->config->revocation_watch > 0;
		if (one->ca && asks)
			one->revocation = revocation_new(one->config, err);
		if (!one->ca || (asks && !one->revocation)) {
			ca_free(one->ca);
			X509_STORE_free(one->anchors);
			return false;
		}
	}
	return true;
}

static bool enrolling_parts(struct enroll_parts *p, const struct config *c, bool claim, struct err *err)
{
	/* Observing orders nothing: it runs without CA, key and anchors. */
	if (c->mode == MODE_OBSERVE)
		return true;
	/* Looked for again with each key. */
	return (p->master_certificate = keyring_in_force(p->store, c->master_certificate, claim, err)) != NULL && ca_parts(p, c, err);
}

bool enroll_parts_init(struct enroll_parts *p, const struct config *c, bool claim, struct err *err)
{
	memset(p, 0, sizeof *p);
	pthread_mutex_init(&p->gate_lock, NULL);
	p->config = c;
	if (gethostname(p->host, sizeof p->host - 1) != 0)
		snprintf(p->host, sizeof p->host, "localhost");
	return (p->walks = legacy_walks_new(err)) != NULL && (p->store = store_open(&c->store, STORE_ROLE_ENROLLD, err)) != NULL &&
		(p->dns = dns_new(&c->dns, err)) != NULL &&
		dns_perspectives_open(&p->perspectives, &c->dns, p->dns, err) &&
		(!c->directory.urls.n || (p->directory = directory_new(&c->directory, err)) != NULL) && enrolling_parts(p, c, claim, err);
}

/* ---- workers -------------------------------------------------------------------------------------------------------------------- */

static void sleep_until_tick(struct daemon *d, uint64_t *seen)
{
	pthread_mutex_lock(&d->lock);
	while (!d->ending && d->tick == *seen)
		pthread_cond_wait(&d->wake, &d->lock);
	*seen = d->tick;
	pthread_mutex_unlock(&d->lock);
}

static bool is_ending(struct daemon *d)
{
	bool ending;

	pthread_mutex_lock(&d->lock);
	ending = d->ending;
	pthread_mutex_unlock(&d->lock);
	return ending;
}

/* While cut off, that was told once (heed_cut_off). */
static void store_failed(struct daemon *d, const struct err *err)
{
	if (store_change_counter(d->parts.store) >= 0)
		log_error(LOG_LEVEL_ERROR, "store_failed", err, NULL);
}

/* A store that fails within a step leaves the worker's lease on the row, and nobody works on it: it is given back before anything else, or the row
 * would wait until the lease ends.  Intents stay, as after a crash. */
static bool let_go(struct daemon *d, const char *owner, bool *holds, struct err *err)
{
	if (*holds)
		*holds = !store_leases_release(d->parts.store, owner, err);
	return !*holds;
}

static void *worker(void *arg)
{
	struct daemon *d = arg;
	uint64_t seen = 0;
	char owner[INSTANCE_OWNER];
	bool holds = false;

	instance_owner(&d->parts, owner);
	while (!is_ending(d)) {
		struct err err = ERR_INIT;
		bool did = false;

		if (!let_go(d, owner, &holds, &err) || !enrollment_step(&d->parts, owner, &did, &err)) {
			store_failed(d, &err);
			holds = true;
			did = false;
		}
		if (!did)
			sleep_until_tick(d, &seen);
	}
	return NULL;
}

static void *revoker(void *arg)
{
	struct revoker *r = arg;
	uint64_t seen = 0;
	char owner[INSTANCE_OWNER];
	bool holds = false;

	instance_owner(&r->daemon->parts, owner);
	while (!is_ending(r->daemon)) {
		struct err err = ERR_INIT;
		bool did = false;

		if (!let_go(r->daemon, owner, &holds, &err) || !revoke_step(&r->daemon->parts, r->part, owner, &did, &err)) {
			store_failed(r->daemon, &err);
			holds = true;
			did = false;
		}
		if (!did)
			sleep_until_tick(r->daemon, &seen);
	}
	return NULL;
}

/* Until something changed, or then. */
static void sleep_until(struct daemon *d, uint64_t *seen, time_t when)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec = when > until.tv_sec && when < until.tv_sec + CLEAN_SECONDS ? when : until.tv_sec + CLEAN_SECONDS;
	pthread_mutex_lock(&d->lock);
	while (!d->ending && d->tick == *seen)
		if (pthread_cond_timedwait(&d->wake, &d->lock, &until) != 0)
			break;
	*seen = d->tick;
	pthread_mutex_unlock(&d->lock);
}

static void *cleaner(void *arg)
{
	struct daemon *d = arg;
	uint64_t seen = 0;

	while (!is_ending(d)) {
		struct err err = ERR_INIT;
		bool did = false;
		time_t next = 0;

		if (!hygiene_step(&d->parts, &did, &next, &err)) {
			store_failed(d, &err);
			did = false;
		}
		if (!did)
			sleep_until(d, &seen, next);
	}
	return NULL;
}

static bool told_to_end(void *arg)
{
	return is_ending(arg);
}

/* Whatever else happens meanwhile. */
static void sleep_for(struct daemon *d, unsigned seconds)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += seconds;
	pthread_mutex_lock(&d->lock);
	while (!d->ending && pthread_cond_timedwait(&d->wake, &d->lock, &until) == 0)
		;
	pthread_mutex_unlock(&d->lock);
}

static void *looker(void *arg)
{
	struct daemon *d = arg;

	while (!is_ending(d)) {
		struct err err = ERR_INIT;
		bool due;

		if (!people_due(&d->parts, time(NULL), &due, &err) || (due && !people_look(&d->parts, told_to_end, d, &err)))
			store_failed(d, &err);
		sleep_for(d, LOOK_SECONDS);
	}
	return NULL;
}

static void *carer(void *arg)
{
	struct carer *c = arg;
	struct care state = {0};

	while (!is_ending(c->daemon)) {
		struct err err = ERR_INIT;
		bool did = false;

		if (!(c->watches ? care_watch(&c->daemon->parts, &state, &did, &err) : care_go_on(&c->daemon->parts, &state, &err))) {
			store_failed(c->daemon, &err);
			did = false;
		}
		if (!did)
			sleep_for(c->daemon, CARE_SECONDS);
	}
	return NULL;
}

/* Says that this enrolld lives, and looks whether its account key is the one in use; the latter may wait for the CA. */
static void *keeper(void *arg)
{
	struct daemon *d = arg;

	while (!is_ending(d) && !atomic_load(&d->lost)) {
		struct err err = ERR_INIT;
		bool lost = false, ok = instance_keep(&d->parts, &lost, &err);

		atomic_store(&d->lost, lost);
		ok = ok && (lost || account_gate_look(&d->parts, true, &err));
		if (!ok)
			store_failed(d, &err);
		sleep_for(d, KEEP_SECONDS);
	}
	return NULL;
}

static void tick(struct daemon *d)
{
	pthread_mutex_lock(&d->lock);
	d->tick++;
	pthread_cond_broadcast(&d->wake);
	pthread_mutex_unlock(&d->lock);
}

static void end_thread(struct daemon *d, pthread_t thread, const struct timespec *until)
{
	if (pthread_timedjoin_np(thread, NULL, until) == 0)
		return;
	for (size_t k = 0; k < d->parts.n_cas; k++) {
		ca_stop(d->parts.cas[k].ca);
		if (d->parts.cas[k].revocation)
			revocation_stop(d->parts.cas[k].revocation);
	}
	pthread_join(thread, NULL);
}

/* Steps under way may finish, so that no order's answer is lost for nothing; requests that take longer than that are cut off. */
static void end_workers(struct daemon *d)
{
	struct timespec until;

	pthread_mutex_lock(&d->lock);
	d->ending = true;
	pthread_cond_broadcast(&d->wake);
	pthread_mutex_unlock(&d->lock);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += END_GRACE;
	for (unsigned i = 0; i < d->n_workers; i++)
		end_thread(d, d->workers[i], &until);
	for (unsigned i = 0; i < d->n_revokers; i++)
		end_thread(d, d->revokers[i].thread, &until);
	if (d->cleans)
		end_thread(d, d->cleaner, &until);
	d->cleans = false;
	if (d->looks)
		end_thread(d, d->looker, &until);
	d->looks = false;
	for (unsigned i = 0; i < d->n_carers; i++)
		end_thread(d, d->carers[i].thread, &until);
	if (d->keeps)
		end_thread(d, d->keeper, &until);
	d->keeps = false;
	d->n_workers = d->n_revokers = d->n_carers = 0;
}

/* As many as may ask the CAs at one time, and two for what asks somebody else. */
static unsigned workers_wanted(const struct config *c)
{
	unsigned n = 2;

	for (size_t i = 0; i < config_cas(c); i++)
		n += config_ca_at(c, i)->connections;

	return n < WORKERS_MAX ? n : WORKERS_MAX;
}

static bool start_looker(struct daemon *d, struct err *err)
{
	int rc = 0;

	if (d->parts.directory && d->parts.config->departures.interval)
		rc = pthread_create(&d->looker, NULL, looker, d);
	d->looks = rc == 0 && d->parts.directory && d->parts.config->departures.interval;
	return rc == 0 || err_errno(err, rc, "start worker", NULL);
}

static bool start_carers(struct daemon *d, struct err *err)
{
	for (; d->n_carers < CARERS; d->n_carers++) {
		struct carer *c = &d->carers[d->n_carers];
		int rc;

		c->daemon = d;
		c->watches = d->n_carers == 0;
		rc = pthread_create(&c->thread, NULL, carer, c);
		if (rc != 0)
			return err_errno(err, rc, "start worker", NULL);
	}
	return true;
}

static bool start_keeper(struct daemon *d, struct err *err)
{
	int rc;

	if (!account_gate_look(&d->parts, false, err))
		return false;
	rc = pthread_create(&d->keeper, NULL, keeper, d);
	d->keeps = rc == 0;
	return d->keeps || err_errno(err, rc, "start worker", NULL);
}

static bool start_workers(struct daemon *d, struct err *err)
{
	int clean;

	if (!start_keeper(d, err))
		return false;
	if (!people_looks(&d->parts) && !people_forget_held(&d->parts, err))
		return false;
	/* In observe mode nothing may be ordered: rows rest until the mode changes. */
	if (d->parts.config->mode == MODE_OBSERVE)
		return true;
	clean = pthread_create(&d->cleaner, NULL, cleaner, d);
	d->cleans = clean == 0;
	if (!d->cleans)
		return err_errno(err, clean, "start worker", NULL);
	for (; d->n_workers < workers_wanted(d->parts.config); d->n_workers++) {
		int rc = pthread_create(&d->workers[d->n_workers], NULL, worker, d);

		if (rc != 0)
			return err_errno(err, rc, "start worker", NULL);
	}
	for (; d->n_revokers < REVOCATION_PARTS; d->n_revokers++) {
		struct revoker *r = &d->revokers[d->n_revokers];
		int rc;

		r->daemon = d;
		r->part = (enum revocation_part)d->n_revokers;
		rc = pthread_create(&r->thread, NULL, revoker, r);
		if (rc != 0)
			return err_errno(err, rc, "start worker", NULL);
	}
	return start_looker(d, err) && start_carers(d, err);
}

/* ---- run ------------------------------------------------------------------------------------------------------------------------- */

static const char *mode_word(const struct config *c)
{
	return c->mode == MODE_SIGN ? "sign" : c->mode == MODE_ENROLL ? "enroll" : "observe";
}

/* "mode sign; 1204 active, 3 under way, 1 blocked or failed" */
static void status_text(struct daemon *d, char *out, size_t size)
{
	size_t n[ENROLLMENT_STATES] = {0}, disabled = 0, all = 0, stopped, ended;
	const char *trouble = account_gate_shut(&d->parts) ? "the account key is not the one in use, see `enrollctl status`" : d->parts.trouble;

	if (!store_enrollment_counts(d->parts.store, n, &disabled, NULL)) {
		snprintf(out, size, "mode %s; the store cannot be read", mode_word(d->parts.config));
		return;
	}
	for (int i = 0; i < ENROLLMENT_STATES; i++)
		all += n[i];
	stopped = n[ENROLLMENT_BLOCKED] + n[ENROLLMENT_FAILED];
	ended = n[ENROLLMENT_SUPERSEDED] + n[ENROLLMENT_REVOKED] + n[ENROLLMENT_EXPIRED];
	snprintf(out, size, "mode %s; %zu active, %zu under way, %zu blocked or failed%s%.500s", mode_word(d->parts.config), n[ENROLLMENT_ACTIVE],
		all - n[ENROLLMENT_ACTIVE] - stopped - ended, stopped, trouble ? "; " : "", trouble ? trouble : "");
}

static void tell_status(struct daemon *d, const char *before)
{
	int64_t began = mono_ms(), share;
	char text[800];

	status_text(d, text, sizeof text);
	notify("%sSTATUS=%s", before, text);
	share = STATUS_SHARE * (mono_ms() - began);
	d->alive.tell_at = mono_ms() + (share > STATUS_MS ? share : STATUS_MS);
}

/* After a turn of the scheduler. */
static void tell_alive(struct daemon *d)
{
	struct alive *a = &d->alive;
	bool answers;

	if (mono_ms() - a->asked < a->every_ms)
		return;
	/* Everybody may knock there, and a crowd must not pass for our death. */
	answers = control_answers(d->control, (int)a->every_ms) || mono_ms() - control_turned(d->control) <= 2 * (int64_t)a->every_ms;
	a->asked = mono_ms();
	if (!answers && !a->dead)
		log_event(LOG_LEVEL_ERROR, "not_alive", "reason", "the control socket does not answer", "text",
			"the supervisor is told no more that this process lives", NULL);
	a->dead = !answers;
	if (answers && a->watchdog_ms)
		notify("WATCHDOG=1");
	if (mono_ms() >= a->tell_at)
		tell_status(d, "");
}

static void alive_begin(struct daemon *d)
{
	struct alive *a = &d->alive;

	a->watchdog_ms = notify_watchdog_ms();
	a->every_ms = a->watchdog_ms && a->watchdog_ms / 4 < ALIVE_MS ? a->watchdog_ms / 4 : ALIVE_MS;
	tell_status(d, "READY=1\n");
	if (a->watchdog_ms)
		notify("WATCHDOG=1\nWATCHDOG_USEC=%llu", a->watchdog_ms * 1000ULL);
}

/* Nobody tells of life while threads end and others begin; alive_begin goes back to what was agreed. */
static void tell_reloading(const struct daemon *d)
{
	if (d->alive.watchdog_ms)
		notify("WATCHDOG=1\nWATCHDOG_USEC=%llu", RELOAD_WATCHDOG_MS * 1000ULL);
	notify_reloading("reading the configuration again; steps under way finish");
}

/* How one run with one configuration came to its end. */
enum run_end { RUN_ENDED, RUN_RELOAD, RUN_NO_MORE, RUN_NOT_BEGUN };

/* A newer enrolld has upgraded it under us: nothing can be done here any more, and whoever starts us again may have the newer program. */
static bool is_store_beyond_us(const struct err *err)
{
	if (!store_is_too_new(err))
		return false;
	log_error(LOG_LEVEL_ERROR, "store_newer", err, "text", "this enrolld ends; start the version that upgraded the store, or name the place it was moved to", NULL);
	return true;
}

/* A store on another host is away, or back.  Said once. */
static void heed_cut_off(struct daemon *d, int64_t counter)
{
	struct err err = ERR_INIT;

	if (d->away == (counter < 0))
		return;
	d->away = counter < 0;
	if (!d->away)
		log_event(LOG_LEVEL_INFO, "store_ready", NULL);
	else if (!store_ready(d->parts.store, &err))
		log_error(LOG_LEVEL_ERROR, "store_failed", &err, NULL);
}

/* Wait for a signal; meanwhile tell the workers when there may be something to do. */
static enum run_end watch(struct daemon *d, const sigset_t *set)
{
	struct due due = DUE_INIT;

	for (;;) {
		struct timespec wait = {.tv_nsec = LOOK_MS * 1000000L};
		struct err err = ERR_INIT;
		int64_t counter;
		int sig = sigtimedwait(set, NULL, &wait);

		measure_turned();
		if (sig > 0)
			return sig == SIGHUP || sig == SIGUSR1 ? RUN_RELOAD : RUN_ENDED;
		if (errno != EAGAIN && errno != EINTR)
			return RUN_ENDED;
		log_settle(false);
		counter = store_change_counter(d->parts.store);
		heed_cut_off(d, counter);
		if (due_look(&due, d->parts.store, counter, &err))
			tick(d);
		if (is_store_beyond_us(&err))
			return RUN_NO_MORE;
		/* The new name is for a new run. */
		if (atomic_load(&d->lost))
			return RUN_RELOAD;
		tell_alive(d);
	}
}

/* The part of the configuration that says who gets which certificate, as a digest. */
static bool policy_digest(const struct config *c, struct buf *digest, struct err *err)
{
	static const char *const keys[] = {"domains", "certificate", "certificates", "rules", "directory"};
	struct buf text = BUF_INIT;
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	json_t *all = config_show(c, true, &text, err) ? json_loadb(text.data, text.len, 0, NULL) : NULL;

	buf_reset(&text);
	for (size_t i = 0; all && i < sizeof keys / sizeof *keys; i++) {
		char *one = json_dumps(json_object_get(all, keys[i]), JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);

		buf_puts(&text, one ? one : "");
		free(one);
	}
	if (all && EVP_Digest(text.data, text.len, md, &n, EVP_sha256(), NULL))
		hex_encode(digest, md, n);
	else if (all)
		err_openssl(err, ERR_BUG, "review configuration", NULL);
	json_decref(all);
	buf_clear(&text);
	return n > 0;
}

/* When it changed, who has a certificate is looked at again. */
static bool review_when_changed(struct enroll_parts *p, struct err *err)
{
	struct buf digest = BUF_INIT;
	char *last = NULL;
	bool ok = policy_digest(p->config, &digest, err) && store_flag_get(p->store, REVIEWED_FLAG, &last, err);

	if (ok && (!last || strcmp(last, buf_str(&digest)) != 0))
		ok = (!last || store_enrollments_review(p->store, err)) && store_flag_set(p->store, REVIEWED_FLAG, buf_str(&digest), "enrolld", err);
	free(last);
	buf_clear(&digest);
	return ok;
}

static enum run_end run_once(struct config *config, const char *trouble, const sigset_t *set, struct err *err)
{
	struct daemon d = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .tick = 1};
	enum run_end end = RUN_NOT_BEGUN;

	notify("EXTEND_TIMEOUT_USEC=%lld\nSTATUS=opening the store", MIGRATION_SECONDS * 1000000LL);
	/* The claim first: a second one started by mistake shall not upgrade the store of the one that runs. */
	d.control = control_claim(config->control.socket, err);
	if (d.control && enroll_parts_init(&d.parts, config, true, err) && instance_begin(&d.parts, err) &&
		(d.parts.trouble = trouble, control_start(d.control, &d.parts, err)) && review_when_changed(&d.parts, err) &&
		store_enrollments_spread(d.parts.store, err) && start_workers(&d, err)) {
		log_event(LOG_LEVEL_INFO, "started", "version", PACKAGE_VERSION, "mode", mode_word(config), "control", config->control.socket, NULL);
		measure_attach(&d.parts);
		alive_begin(&d);
		daemon_ready(config->log.target == LOG_TARGET_STDERR);
		end = watch(&d, set);
		if (end == RUN_RELOAD)
			tell_reloading(&d);
		else
			notify("STOPPING=1\nSTATUS=stopping; steps under way finish");
	} else if (is_store_beyond_us(err)) {
		end = RUN_NO_MORE;
	} else {
		log_error(LOG_LEVEL_ERROR, "start_failed", err, NULL);
	}
	measure_attach(NULL);
	end_workers(&d);
	control_stop(d.control);
	instance_end(&d.parts);
	enroll_parts_clear(&d.parts);
	return end;
}

/* What is known of configurations: the one that runs, the one before it, and what is wrong with the file. */
struct reloads {
	struct config *now, *last; /* `last` is kept until the new one has run */
	char trouble[700];         /* "" = nothing */
};

static void note_trouble(struct reloads *r, const struct err *err)
{
	bool named = !err->subject[0] || strstr(err->text, err->subject);
	char at[32];

	snprintf(r->trouble, sizeof r->trouble, "reload failed at %s: %s%s%.400s", time_text(time(NULL), at), named ? "" : err->subject, named ? "" : ": ",
		err->text);
}

static bool differs(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") != 0;
}

/* All else is opened anew. */
static void name_what_needs_restart(const struct config *was, const struct config *now)
{
	static const char text[] = "a reload cannot change this; the old value stays in force until the next start";

	if (was->log.target != now->log.target || differs(was->log.facility, now->log.facility))
		log_event(LOG_LEVEL_WARNING, "restart_needed", "key", "log", "text", text, NULL);
	if (differs(was->users.enrolld, now->users.enrolld) || differs(was->users.group, now->users.group))
		log_event(LOG_LEVEL_WARNING, "restart_needed", "key", "users", "text", text, NULL);
}

static void reload(struct reloads *r)
{
	struct err err = ERR_INIT;
	struct config *next = config_load(r->now->path, &err);

	if (!next) {
		log_error(LOG_LEVEL_ERROR, "reload_failed", &err, "text", "the old configuration stays in force", NULL);
		note_trouble(r, &err);
		return;
	}
	name_what_needs_restart(r->now, next);
	log_set_level(next->log.level);
	config_unref(r->last);
	r->last = r->now;
	r->now = next;
	r->trouble[0] = '\0';
	log_event(LOG_LEVEL_INFO, "reloaded", "config", next->path, NULL);
}

/* It could be read, but not run with (a key, an anchor): back to what worked. */
static void step_back(struct reloads *r, const struct err *err)
{
	log_event(LOG_LEVEL_ERROR, "reload_failed", "text", "the old configuration is in force again", NULL);
	note_trouble(r, err);
	log_set_level(r->last->log.level);
	config_unref(r->now);
	r->now = r->last;
	r->last = NULL;
}

int enrolld_run(struct config *config)
{
	struct reloads r = {.now = config_ref(config)};
	enum run_end end = RUN_RELOAD;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	measure_open(config);
	while (end == RUN_RELOAD) {
		struct err err = ERR_INIT;

		end = run_once(r.now, r.trouble[0] ? r.trouble : NULL, &set, &err);
		if (end == RUN_NOT_BEGUN && r.last) {
			step_back(&r, &err);
			end = RUN_RELOAD;
		} else if (end == RUN_RELOAD) {
			/* What runs works: nobody goes back behind it. */
			config_unref(r.last);
			r.last = NULL;
			reload(&r);
		}
	}
	measure_close();
	log_settle(true);
	log_event(LOG_LEVEL_INFO, "stopped", NULL);
	config_unref(r.last);
	config_unref(r.now);
	return end == RUN_ENDED ? 0 : 1;
}
