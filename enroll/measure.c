/*
 * enroll/measure.c - what enrolld tells monitoring.
 *
 * The store is asked when a scrape comes, by the thread of the metrics server, in one read transaction.  What it said is kept for KEPT_MS, and for
 * SHARE times as long as it took, so that scraping never costs more than a small share of one core, however large the store is.
 */
#include "config.h"

#include "enroll/measure.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "enroll/people.h"
#include "metrics/metrics.h"

#define KEPT_MS 3000
#define SHARE 20
#define TURN_MS 30000      /* it turns four times a second */
#define RELOAD_MS 300000   /* steps under way are finished first */

static struct {
	struct metrics_server *server;
	char *where, *group;
	pthread_mutex_t lock;         /* of what follows */
	struct enroll_parts *parts;   /* NULL = being put together, or gone */
	int64_t fresh_until;          /* by mono_ms */
	atomic_llong turned_ms;       /* or attached, or detached */
} measure = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- numbers -------------------------------------------------------------------------------------------------------------- */

static enum metrics_waiting waiting_of(enum enrollment_state s)
{
	return s == ENROLLMENT_WAITING ? METRICS_WAITING : s == ENROLLMENT_BLOCKED ? METRICS_BLOCKED : s == ENROLLMENT_FAILED ? METRICS_FAILED_ROW : METRICS_UNDER_WAY;
}

static void tell_oldest(const struct store_figures *f, time_t now)
{
	int64_t oldest[METRICS_WAITINGS] = {0};

	for (unsigned s = 0; s < ENROLLMENT_STATES; s++) {
		int64_t *most = &oldest[waiting_of((enum enrollment_state)s)], age = f->without_since[s] ? now - f->without_since[s] : 0;

		*most = age > *most ? age : *most;
	}
	for (unsigned i = 0; i < METRICS_WAITINGS; i++)
		metrics_set(METRIC_OLDEST_WAITING, i, 0, oldest[i]);
}

static void tell_figures(const struct store_figures *f, time_t now, bool works)
{
	const int64_t since[METRICS_QUEUES] = {[METRICS_QUEUE_ENROLLMENTS] = works ? f->due_since : 0, [METRICS_QUEUE_REVOCATIONS] = f->revocation_since,
		[METRICS_QUEUE_REPORTS] = f->report_since};

	for (unsigned s = 0; s < ENROLLMENT_STATES; s++)
		for (unsigned c = 0; c <= ERR_BUG; c++)
			metrics_set(METRIC_ENROLLMENTS, s, c, (int64_t)f->enrollments[s][c]);
	metrics_fill(METRIC_CERTIFICATE_REMAINING, f->remaining, f->remaining_sum);
	metrics_unset(METRIC_EARLIEST_EXPIRY);
	if (f->earliest)
		metrics_set(METRIC_EARLIEST_EXPIRY, 0, 0, f->earliest - now);
	metrics_set(METRIC_UNRENEWED, 0, 0, f->unrenewed);
	tell_oldest(f, now);
	for (unsigned i = 0; i < METRICS_QUEUES; i++)
		metrics_set(METRIC_QUEUE_OLDEST, i, 0, since[i] && since[i] < now ? now - since[i] : 0);
}

/* What is not known is not shown. */
static void tell_nothing(void)
{
	static const enum metric of_the_store[] = {METRIC_ENROLLMENTS, METRIC_CERTIFICATE_REMAINING, METRIC_EARLIEST_EXPIRY, METRIC_UNRENEWED,
		METRIC_OLDEST_WAITING, METRIC_QUEUE_OLDEST, METRIC_DIRECTORY_GUARD, METRIC_PAUSED};

	for (size_t i = 0; i < sizeof of_the_store / sizeof *of_the_store; i++)
		metrics_unset(of_the_store[i]);
	metrics_set(METRIC_STORE_UP, 0, 0, 0);
}

static bool tell_flag(struct store *store, const char *name, enum metric m, struct err *err)
{
	char *value = NULL;
	bool ok = store_flag_get(store, name, &value, err);

	if (ok)
		metrics_set(m, 0, 0, value != NULL);
	free(value);
	return ok;
}

static bool ask_store(struct enroll_parts *p, struct err *err)
{
	struct store_figures f;
	time_t now = time(NULL);
	size_t n;
	const int64_t *bounds = metrics_bounds(METRIC_CERTIFICATE_REMAINING, &n);

	if (!store_ready(p->store, err) || !store_figures(p->store, now, bounds, n, &f, err) || !tell_flag(p->store, "paused", METRIC_PAUSED, err) ||
		!tell_flag(p->store, PEOPLE_GUARD_FLAG, METRIC_DIRECTORY_GUARD, err))
		return false;
	tell_figures(&f, now, p->config->mode != MODE_OBSERVE);
	metrics_set(METRIC_STORE_UP, 0, 0, 1);
	metrics_set(METRIC_STORE_LAST_ANSWER, 0, 0, now);
	return true;
}

static void collect(void *context)
{
	int64_t began = mono_ms(), took;

	(void)context;
	pthread_mutex_lock(&measure.lock);
	if (measure.parts && began >= measure.fresh_until) {
		if (!ask_store(measure.parts, NULL))
			tell_nothing();
		took = mono_ms() - began;
		measure.fresh_until = began + took + (took * SHARE > KEPT_MS ? took * SHARE : KEPT_MS);
	}
	pthread_mutex_unlock(&measure.lock);
}

/* ---- healthy, ready ---------------------------------------------------------------------------------------------------------- */

static bool healthy(void *context, struct buf *why)
{
	int64_t since = mono_ms() - atomic_load(&measure.turned_ms);
	bool attached;

	(void)context;
	pthread_mutex_lock(&measure.lock);
	attached = measure.parts != NULL;
	pthread_mutex_unlock(&measure.lock);
	if (since <= (attached ? TURN_MS : RELOAD_MS))
		return true;
	buf_printf(why, "%s for %lld seconds; restart enrolld\n", attached ? "the scheduler has not turned" : "a reload has been under way",
		(long long)since / 1000);
	return false;
}

static void missing(struct buf *why, const struct enroll_parts *p)
{
	struct err err = ERR_INIT;
	struct stat st;

	if (!store_ready(p->store, &err))
		buf_printf(why, "%s: %s\n", err.op, err.text);
	if (lstat(p->config->control.socket, &st) != 0 || !S_ISSOCK(st.st_mode))
		buf_printf(why, "the control socket %s is gone; restart enrolld\n", p->config->control.socket);
}

static bool ready(void *context, struct buf *why)
{
	(void)context;
	pthread_mutex_lock(&measure.lock);
	if (measure.parts)
		missing(why, measure.parts);
	else
		buf_puts(why, "the configuration is being put in force\n");
	pthread_mutex_unlock(&measure.lock);
	return why->len == 0;
}

/* ---- life ---------------------------------------------------------------------------------------------------------------------- */

static bool same(const char *a, const char *b)
{
	return (!a && !b) || (a && b && strcmp(a, b) == 0);
}

void measure_open(const struct config *config)
{
	struct metrics_source source = {.collect = collect, .healthy = healthy, .ready = ready};
	struct err err = ERR_INIT;

	metrics_begin();
	atomic_store(&measure.turned_ms, mono_ms());
	measure.where = str_dup(config->metrics.enrolld);
	measure.group = str_dup(config->metrics.group);
	if (!measure.where)
		return;
	measure.server = metrics_serve(measure.where, measure.group, METRICS_ENROLLD, &source, &err);
	if (measure.server)
		log_event(LOG_LEVEL_INFO, "metrics_open", "socket", measure.where, NULL);
	else
		log_error(LOG_LEVEL_ERROR, "metrics_failed", &err, NULL);
}

void measure_close(void)
{
	metrics_stop(measure.server);
	measure.server = NULL;
	free(measure.where);
	free(measure.group);
	measure.where = measure.group = NULL;
}

static void tell_mode(const struct config *c)
{
	for (unsigned i = MODE_OBSERVE; i <= MODE_SIGN; i++)
		metrics_set(METRIC_MODE, i, 0, c->mode == (enum config_mode)i);
	if (!same(c->metrics.enrolld, measure.where) || !same(c->metrics.group, measure.group))
		log_event(LOG_LEVEL_WARNING, "metrics_unchanged", "socket", measure.where, "text", "the metrics group has changed: it takes a restart", NULL);
}

void measure_attach(struct enroll_parts *p)
{
	atomic_store(&measure.turned_ms, mono_ms());
	if (p)
		tell_mode(p->config);
	for (size_t i = 0; p && i < p->n_cas; i++)
		metrics_ca(p->cas[i].config->name);
	pthread_mutex_lock(&measure.lock);
	measure.parts = p;
	measure.fresh_until = 0;
	pthread_mutex_unlock(&measure.lock);
}

void measure_turned(void)
{
	atomic_store(&measure.turned_ms, mono_ms());
}
