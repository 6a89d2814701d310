/*
 * milter/recorder.c - the only writer of the outbound instance.
 *
 * A callback must not wait for a disk: it drops what is to be written into a bounded queue, and one thread writes batches.  A request that is
 * lost with a crash is made again by the sender's next mail; a mail event that does not fit is counted and the count is logged.
 */
#include "config.h"

#include "milter/recorder.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "metrics/metrics.h"

#define QUEUE_MOST 4096
#define PAUSE_CHECK_MS 500

struct request {
	char *address, *login, *profile;
	const char *usage;
};

struct recorder {
	pthread_mutex_t lock;      /* all below up to `store` */
	pthread_cond_t wake;
	struct mail_event *events;
	size_t n_events, dropped;
	size_t keep;               /* by the configuration of the newest event */
	struct request requests[256];
	size_t n_requests;
	bool paused, known, ending; /* known: the store has said at least once whether it is paused */
	struct store *store;
	struct mail_event *batch;  /* the thread's own */
	pthread_t thread;
	atomic_llong turned_ms;
};

static void *work(void *arg);
static bool read_paused(struct recorder *r, struct err *err);

static void recorder_release(struct recorder *r)
{
	if (!r)
		return;
	free(r->events);
	free(r->batch);
	free(r);
}

struct recorder *recorder_new(struct store *store, struct err *err)
{
	struct recorder *r = calloc(1, sizeof *r);
	pthread_condattr_t attr;
	int e;

	if (!r || !(r->events = calloc(QUEUE_MOST, sizeof *r->events)) || !(r->batch = calloc(QUEUE_MOST, sizeof *r->batch))) {
		recorder_release(r);
		err_nomem(err, "start recorder");
		return NULL;
	}
	r->store = store;
	atomic_store(&r->turned_ms, mono_ms());
	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->wake, &attr);
	pthread_condattr_destroy(&attr);
	/* Before the first mail: a paused gateway that starts again signs nothing.  Nor does one that cannot ask, until it could. */
	if (!read_paused(r, err)) {
		if (store_change_counter(store) >= 0) {
			recorder_release(r);
			return NULL;
		}
		if (err)
			err_clear(err);
	}
	e = pthread_create(&r->thread, NULL, work, r);
	if (e != 0) {
		err_errno(err, e, "start recorder", NULL);
		recorder_release(r);
		return NULL;
	}
	return r;
}

void recorder_flush(struct recorder *r)
{
	pthread_mutex_lock(&r->lock);
	r->ending = true;
	pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->lock);
	pthread_join(r->thread, NULL);
}

void recorder_free(struct recorder *r)
{
	if (!r)
		return;
	recorder_flush(r);
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	recorder_release(r);
}

static void request_clear(struct request *q)
{
	free(q->address);
	free(q->login);
	free(q->profile);
}

static bool is_queued(const struct recorder *r, const char *address)
{
	for (size_t i = 0; i < r->n_requests; i++)
		if (str_eq_nocase(r->requests[i].address, address))
			return true;
	return false;
}

void recorder_request(struct recorder *r, const struct config *config, const char *address, const char *login)
{
	/* Which certificate it will be is for enrolld to decide, which asks the rules. */
	struct certificate_profile p = profile_for(&config->certificate, NULL);

	pthread_mutex_lock(&r->lock);
	if (r->n_requests < sizeof r->requests / sizeof *r->requests && !is_queued(r, address)) {
		struct request q = {str_dup(address), str_dup(login), str_dup(p.name), usage_name(p.usage)};

		if (q.address && q.login && q.profile) {
			r->requests[r->n_requests++] = q;
			pthread_cond_signal(&r->wake);
		} else {
			request_clear(&q);
		}
	}
	pthread_mutex_unlock(&r->lock);
}

void recorder_mail(struct recorder *r, const struct config *config, const struct mail_record *record)
{
	struct mail_event m = {.at = time(NULL), .queue_id = str_dup(record->queue_id), .message_id = str_dup(record->message_id),
		.login = str_dup(record->login), .from = str_dup(record->from), .verdict = str_dup(record->verdict), .reason = str_dup(record->reason),
		.detail = str_dup(record->detail), .action = str_dup(record->action), .certificate = str_dup(record->certificate)};

	pthread_mutex_lock(&r->lock);
	r->keep = config->milter.mail_events;
	if (r->n_events < QUEUE_MOST) {
		r->events[r->n_events++] = m;
		memset(&m, 0, sizeof m);
		/* The thread looks twice a second by itself; only a queue that fills up early wakes it. */
		if (r->n_events == QUEUE_MOST / 2)
			pthread_cond_signal(&r->wake);
	} else {
		r->dropped++;
	}
	pthread_mutex_unlock(&r->lock);
	mail_event_clear(&m);
}

bool recorder_knows(struct recorder *r, struct err *err)
{
	bool known;

	pthread_mutex_lock(&r->lock);
	known = r->known;
	pthread_mutex_unlock(&r->lock);
	return known || err_set(err, ERR_TEMPORARY, "sign", NULL, "the store has not answered since this program was started: whether signing is paused is not known");
}

bool recorder_paused(struct recorder *r)
{
	bool paused;

	pthread_mutex_lock(&r->lock);
	paused = r->paused;
	pthread_mutex_unlock(&r->lock);
	return paused;
}

int64_t recorder_turned(struct recorder *r)
{
	return atomic_load(&r->turned_ms);
}

/* ---- the thread --------------------------------------------------------------------------------------------------------- */

struct batch {
	struct mail_event *events;
	size_t n_events, dropped, keep, n_requests;
	struct request requests[256];
	bool ending;
};

static void wait_for_work(struct recorder *r)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += PAUSE_CHECK_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	while (!r->ending && r->n_requests == 0 && r->n_events < QUEUE_MOST / 2)
		if (pthread_cond_timedwait(&r->wake, &r->lock, &until) == ETIMEDOUT)
			break;
}

static void take(struct recorder *r, struct batch *b)
{
	pthread_mutex_lock(&r->lock);
	wait_for_work(r);
	memcpy(b->events, r->events, r->n_events * sizeof *r->events);
	memcpy(b->requests, r->requests, r->n_requests * sizeof *r->requests);
	b->n_events = r->n_events;
	b->n_requests = r->n_requests;
	b->dropped = r->dropped;
	b->keep = r->keep;
	b->ending = r->ending;
	r->n_events = r->n_requests = r->dropped = 0;
	pthread_mutex_unlock(&r->lock);
}

static void write_requests(struct recorder *r, struct batch *b)
{
	for (size_t i = 0; i < b->n_requests; i++) {
		struct request *q = &b->requests[i];
		struct err err = ERR_INIT;
		bool created = false;

		if (!store_enrollment_request(r->store, q->address, q->profile, q->usage, q->login, &created, NULL, &err))
			log_error(LOG_LEVEL_ERROR, "enrollment_not_requested", &err, "address", q->address, NULL);
		else if (created)
			log_event(LOG_LEVEL_INFO, "enrollment_requested", "address", q->address, "login", q->login, NULL);
		request_clear(q);
	}
}

static void write_events(struct recorder *r, struct batch *b)
{
	struct err err = ERR_INIT;

	if (b->n_events && !store_mail_events_add(r->store, b->events, b->n_events, b->keep, &err)) {
		metrics_add(METRIC_MAIL_RECORDS_LOST, 0, 0, 0, b->n_events);
		log_error(LOG_LEVEL_WARNING, "mail_events_lost", &err, "count", LOG_NUM(b->n_events), NULL);
	}
	metrics_add(METRIC_MAIL_RECORDS_LOST, 0, 0, 0, b->dropped);
	if (b->dropped)
		log_event(LOG_LEVEL_WARNING, "mail_events_lost", "count", LOG_NUM(b->dropped), "reason", "queue full", NULL);
	for (size_t i = 0; i < b->n_events; i++)
		mail_event_clear(&b->events[i]);
}

static bool read_paused(struct recorder *r, struct err *err)
{
	char *value = NULL;

	if (!store_flag_get(r->store, "paused", &value, err))
		return false;
	pthread_mutex_lock(&r->lock);
	if (value && !r->paused)
		log_event(LOG_LEVEL_WARNING, "paused", "by", value, NULL);
	else if (!value && r->paused)
		log_event(LOG_LEVEL_WARNING, "resumed", NULL);
	r->paused = value != NULL;
	r->known = true;
	pthread_mutex_unlock(&r->lock);
	free(value);
	return true;
}

static void *work(void *arg)
{
	struct recorder *r = arg;
	struct batch b = {.events = r->batch};
	struct err err = ERR_INIT;

	while (!b.ending) {
		atomic_store(&r->turned_ms, mono_ms());
		/* The store away: what was last known stays in force. */
		if (!read_paused(r, &err))
			err_clear(&err);
		take(r, &b);
		write_requests(r, &b);
		write_events(r, &b);
	}
	return NULL;
}
