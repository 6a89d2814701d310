/*
 * milter/measure.c - what a milter instance tells monitoring.
 *
 * Whether it lives is asked as an MTA would: connect to the milter socket, negotiate, see the answer.  That says more than any flag: accepting,
 * starting a session and its callbacks all work.  It is done at most once in PROBE_MS, with a short deadline, by the metrics thread alone.
 */
#include "config.h"

#include "milter/measure.h"

#include <stdlib.h>
#include <string.h>

#include "metrics/metrics.h"

#define PROBE_MS 2000
#define ANSWER_MS 2000
#define TURN_MS 60000 /* the recorder turns twice a second, but may wait for a busy store */

static struct {
	struct service *service;
	struct metrics_server *server;
	char *where, *group;
	int64_t probed_ms;            /* the metrics thread only */
	bool answers;
} measure;

/* ---- as an MTA ---------------------------------------------------------------------------------------------------------- */

static bool milter_answers(struct buf *why)
{
	if (!measure.probed_ms || mono_ms() - measure.probed_ms > PROBE_MS) {
		measure.answers = listener_answers(&measure.service->listener, ANSWER_MS);
		measure.probed_ms = mono_ms();
	}
	if (!measure.answers)
		buf_printf(why, "the milter socket %.128s cannot be reached: no session answers there\n", measure.service->listener.where);
	return measure.answers;
}

/* ---- what is asked --------------------------------------------------------------------------------------------------------- */

static void collect(void *context)
{
	struct service *s = context;
	bool up = store_ready(s->store, NULL);

	metrics_set(METRIC_SESSIONS, 0, 0, atomic_load(&s->sessions));
	metrics_set(METRIC_STORE_UP, 0, 0, up);
	if (up)
		metrics_set(METRIC_STORE_LAST_ANSWER, 0, 0, time(NULL));
	if (s->recorder)
		metrics_set(METRIC_PAUSED, 0, 0, recorder_paused(s->recorder));
}

static bool healthy(void *context, struct buf *why)
{
	struct service *s = context;
	int64_t since = s->recorder ? mono_ms() - recorder_turned(s->recorder) : 0;
	bool ok = milter_answers(why);

	if (since <= TURN_MS)
		return ok;
	buf_printf(why, "nothing has been written to the store for %lld seconds; restart enroll-milter\n", (long long)since / 1000);
	return false;
}

static bool ready(void *context, struct buf *why)
{
	struct service *s = context;
	struct err err = ERR_INIT;
	bool ok = milter_answers(why);

	if (store_ready(s->store, &err))
		return ok;
	buf_printf(why, "%s: %s\n", err.op, err.text);
	return false;
}

/* ---- life -------------------------------------------------------------------------------------------------------------------- */

static const char *configured(const struct config *c)
{
	return measure.service->instance == INSTANCE_INBOUND ? c->metrics.inbound : c->metrics.outbound;
}

static void tell_mode(const struct config *c)
{
	for (unsigned i = MODE_OBSERVE; i <= MODE_SIGN; i++)
		metrics_set(METRIC_MODE, i, 0, c->mode == (enum config_mode)i);
}

void measure_start(struct service *s)
{
	const struct config *c = s->current->config;
	bool inbound = s->instance == INSTANCE_INBOUND;
	struct metrics_source source = {.context = s, .collect = collect, .healthy = healthy, .ready = ready};
	struct err err = ERR_INIT;

	measure.service = s;
	metrics_begin();
	tell_mode(c);
	measure.where = str_dup(configured(c));
	measure.group = str_dup(c->metrics.group);
	if (!measure.where)
		return;
	measure.server = metrics_serve(measure.where, measure.group, inbound ? METRICS_INBOUND : METRICS_OUTBOUND, &source, &err);
	if (measure.server)
		log_event(LOG_LEVEL_INFO, "metrics_open", "socket", measure.where, NULL);
	else
		log_error(LOG_LEVEL_ERROR, "metrics_failed", &err, NULL);
}

static bool same(const char *a, const char *b)
{
	return (!a && !b) || (a && b && strcmp(a, b) == 0);
}

void measure_reloaded(const struct config *c)
{
	tell_mode(c);
	if (!same(configured(c), measure.where) || !same(c->metrics.group, measure.group))
		log_event(LOG_LEVEL_WARNING, "metrics_unchanged", "socket", measure.where, "text", "the metrics group has changed: it takes a restart", NULL);
}

void measure_stop(void)
{
	metrics_stop(measure.server);
	measure.server = NULL;
}
