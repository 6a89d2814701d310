/*
 * milter/watch.c - liveness for the supervisor's watchdog, and the line of status; watch.h says by what a milter is known to live.
 */
#include "config.h"

#include "milter/watch.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "milter/service.h"

#define AWAY_MS 200        /* between two looks whether the store is away */
#define TURN_MS 5000       /* between two looks, or a quarter of what the watchdog allows */
#define TURN_LEAST_MS 200
#define FIRST_ANSWER_MS 1000

struct watch {
	struct service *service;
	void (*ready)(struct service *s);
	pthread_mutex_t lock;     /* sessions, trouble */
	struct watched *sessions;
	char trouble[512];        /* with the last reload; "" = none */
	int newer;                /* schema of the store that was told last; 0 = none newer than ours; the thread's own */
	bool cut_off;             /* and too new to be read */
	atomic_llong progress, looked;
	atomic_ullong mails;
	atomic_bool stopping;
	/* the thread's own */
	int64_t answered;
	bool told_dead, away; /* away: from the store */
	char status[800];
};

/* ---- sessions -------------------------------------------------------------------------------------------------------------------- */

void watch_add(struct watch *w, struct watched *s)
{
	pthread_mutex_lock(&w->lock);
	s->previous = NULL;
	s->next = w->sessions;
	if (s->next)
		s->next->previous = s;
	w->sessions = s;
	pthread_mutex_unlock(&w->lock);
}

void watch_remove(struct watch *w, struct watched *s)
{
	pthread_mutex_lock(&w->lock);
	if (s->previous)
		s->previous->next = s->next;
	else
		w->sessions = s->next;
	if (s->next)
		s->next->previous = s->previous;
	pthread_mutex_unlock(&w->lock);
}

void watch_enter(struct watched *s)
{
	atomic_store(&s->since, mono_ms());
}

void watch_leave(struct watch *w, struct watched *s)
{
	atomic_store(&s->since, 0);
	atomic_store(&w->progress, mono_ms());
}

void watch_count_mail(struct watch *w)
{
	atomic_fetch_add(&w->mails, 1);
}

void watch_count_look(struct watch *w)
{
	atomic_store(&w->looked, mono_ms());
}

static int64_t oldest_callback(struct watch *w)
{
	int64_t oldest = 0;

	pthread_mutex_lock(&w->lock);
	for (struct watched *s = w->sessions; s; s = s->next) {
		int64_t since = atomic_load(&s->since);

		if (since && (!oldest || since < oldest))
			oldest = since;
	}
	pthread_mutex_unlock(&w->lock);
	return oldest;
}

/* ---- judgement ------------------------------------------------------------------------------------------------------------------- */

const char *watch_judge(const struct liveness *l)
{
	/* An MTA that reads its answer no more holds up its own session: no reason to end those that go on. */
	if (l->oldest && l->now - l->oldest > WATCH_HUNG_MS && l->now - l->progress > WATCH_HUNG_MS / 2)
		return "a callback has been running for more than 300 s, and no other has ended for 150 s: something they wait for hangs";
	/* Who stops is bounded by that; who is not watched has nobody to be told. */
	if (l->stopping || !l->watchdog_ms || l->now - l->answered <= l->watchdog_ms / 2)
		return NULL;
	if (l->now - l->answered > WATCH_HUNG_MS)
		return "the milter socket has not answered for 300 s";
	return l->now - l->progress <= l->watchdog_ms / 2 ? NULL : "the milter socket does not answer";
}

/* ---- what is said ----------------------------------------------------------------------------------------------------------------- */

/* 3402 as "3,402". */
static const char *grouped(unsigned long long n, char out[32])
{
	char plain[24];
	size_t len = (size_t)snprintf(plain, sizeof plain, "%llu", n), at = 0;

	for (size_t i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			out[at++] = ',';
		out[at++] = plain[i];
	}
	out[at] = '\0';
	return out;
}

static const char *activity(const struct service *s, const struct config *c)
{
	if (s->instance == INSTANCE_INBOUND)
		return c->mode == MODE_OBSERVE ? "observing" : "taking challenges";
	return c->mode == MODE_SIGN ? "signing" : c->mode == MODE_ENROLL ? "enrolling" : "observing";
}

static void status_text(struct watch *w, const char *dead, char *out, size_t size)
{
	struct snapshot *n = service_snapshot(w->service);
	int64_t looked = atomic_load(&w->looked);
	struct buf b = {.max = size};
	char mails[32];

	buf_printf(&b, "%s; %d sessions, %s mails", atomic_load(&w->stopping) ? "stopping" : activity(w->service, n->config),
		atomic_load(&w->service->sessions), grouped(atomic_load(&w->mails), mails));
	if (looked)
		buf_printf(&b, ", last certificate look %lld s ago", (long long)(mono_ms() - looked) / 1000);
	if (dead)
		buf_printf(&b, "; %s", dead);
	if (w->newer || w->cut_off)
		buf_printf(&b, "; the store is of a newer version%s, upgrade this program", w->cut_off ? " and cannot be read" : "");
	if (w->away && !w->cut_off)
		buf_puts(&b, "; cut off from the store");
	pthread_mutex_lock(&w->lock);
	if (w->trouble[0])
		buf_printf(&b, "; %s", w->trouble);
	pthread_mutex_unlock(&w->lock);
	snprintf(out, size, "%s", buf_str(&b));
	buf_clear(&b);
	snapshot_unref(n);
}

static void say_status(struct watch *w, const char *dead, const char *before)
{
	char text[sizeof w->status];

	status_text(w, dead, text, sizeof text);
	if (*before || strcmp(text, w->status) != 0)
		notify("%sSTATUS=%s", before, text);
	snprintf(w->status, sizeof w->status, "%s", text);
}

void watch_reloaded(struct watch *w, const struct err *err)
{
	char text[sizeof w->status], at[32];

	pthread_mutex_lock(&w->lock);
	w->trouble[0] = '\0';
	if (err)
		snprintf(w->trouble, sizeof w->trouble, "reload failed at %s: %.400s", time_text(time(NULL), at), err->text);
	pthread_mutex_unlock(&w->lock);
	status_text(w, NULL, text, sizeof text);
	notify("READY=1\nSTATUS=%s", text);
}

void watch_stopping(struct watch *w)
{
	atomic_store(&w->stopping, true);
}

/* ---- the thread ------------------------------------------------------------------------------------------------------------------- */

static unsigned turn_ms(unsigned watchdog_ms)
{
	unsigned ms = watchdog_ms ? watchdog_ms / 4 : TURN_MS;

	return ms > TURN_MS ? TURN_MS : ms < TURN_LEAST_MS ? TURN_LEAST_MS : ms;
}

/* enrolld of a newer version may have upgraded it under us.  Said once. */
static void look_at_store(struct watch *w)
{
	struct err err = ERR_INIT;
	int version = 0;
	bool ok = store_schema_found(w->service->store, &version, &err), cut_off = !ok && store_is_too_new(&err);

	if (cut_off && !w->cut_off)
		log_error(LOG_LEVEL_ERROR, "store_newer", &err, "text",
			"what is in memory signs for milter.stale-limit, then on-error decides", NULL);
	else if (ok && version > store_schema_version() && version != w->newer)
		log_event(LOG_LEVEL_WARNING, "store_newer", "schema", LOG_NUM(version), "known", LOG_NUM(store_schema_version()), "text",
			"the store is of a newer version; this program works with what it knows of it; upgrade it too", NULL);
	w->cut_off = cut_off;
	if (ok)
		w->newer = version > store_schema_version() ? version : 0;
}

/* A store on another host is away, or back.  Said once. */
static void look_whether_away(struct watch *w)
{
	struct err err = ERR_INIT;
	bool away = store_change_counter(w->service->store) < 0;

	if (away == w->away)
		return;
	w->away = away;
	if (!away)
		log_event(LOG_LEVEL_INFO, "store_ready", NULL);
	else if (!store_ready(w->service->store, &err) && !store_is_too_new(&err))
		log_error(LOG_LEVEL_ERROR, "store_failed", &err, NULL);
}

/* Between two looks. */
static void rest(struct watch *w, unsigned ms)
{
	for (int64_t until = mono_ms() + ms, left; (left = until - mono_ms()) > 0 && !atomic_load(&w->stopping);) {
		if (left > AWAY_MS)
			left = AWAY_MS;
		nanosleep(&(struct timespec){.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000L}, NULL);
		look_whether_away(w);
	}
}

static const char *look(struct watch *w, unsigned watchdog_ms)
{
	bool stopping = atomic_load(&w->stopping);
	struct liveness l = {.stopping = stopping, .watchdog_ms = watchdog_ms, .progress = atomic_load(&w->progress)};

	if (!stopping && listener_answers(&w->service->listener, (int)turn_ms(watchdog_ms)))
		w->answered = mono_ms();
	l.answered = w->answered;
	l.oldest = oldest_callback(w);
	l.now = mono_ms();
	return watch_judge(&l);
}

/* Whoever started us has a limit of its own for that. */
static void first_answer(struct watch *w)
{
	for (int64_t began = mono_ms(); !listener_answers(&w->service->listener, FIRST_ANSWER_MS) && !atomic_load(&w->stopping);)
		nanosleep(&(struct timespec){.tv_nsec = mono_ms() - began < FIRST_ANSWER_MS ? 10000000L : 200000000L}, NULL);
	w->answered = mono_ms();
	if (atomic_load(&w->stopping))
		return;
	w->ready(w->service);
	say_status(w, NULL, "READY=1\n");
}

static void *watch_thread(void *arg)
{
	struct watch *w = arg;
	unsigned watchdog_ms = notify_watchdog_ms(), ms = turn_ms(watchdog_ms);

	first_answer(w);
	for (;;) {
		const char *dead = look(w, watchdog_ms);

		if (dead && !w->told_dead)
			log_event(LOG_LEVEL_ERROR, "not_alive", "reason", dead, "text", "the supervisor is told no more that this process lives", NULL);
		w->told_dead = dead != NULL;
		look_at_store(w);
		say_status(w, dead, dead || !watchdog_ms ? "" : "WATCHDOG=1\n");
		rest(w, ms);
	}
	return NULL;
}

struct watch *watch_new(struct service *s, struct err *err)
{
	struct watch *w = calloc(1, sizeof *w);

	if (!w) {
		err_nomem(err, "start");
		return NULL;
	}
	w->service = s;
	pthread_mutex_init(&w->lock, NULL);
	return w;
}

void watch_free(struct watch *w)
{
	if (!w)
		return;
	pthread_mutex_destroy(&w->lock);
	free(w);
}

bool watch_start(struct watch *w, void (*ready)(struct service *s), struct err *err)
{
	pthread_t thread;
	int rc;

	w->ready = ready;
	rc = pthread_create(&thread, NULL, watch_thread, w);
	if (rc != 0)
		return err_errno(err, rc, "start thread", NULL);
	pthread_detach(thread);
	return true;
}
