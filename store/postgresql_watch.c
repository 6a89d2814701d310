/*
 * store/postgresql_watch.c - learns what other processes changed, and whether the database is there at all.
 *
 * The mail path asks "has anything changed?" for each mail; the answer is one number in memory, kept by a thread that listens to the database's
 * notifications.  A notification is lost with the connection, so a new connection counts as a change, and for as long as there is none the answer is "cut
 * off" (-1): then the cache of credentials lives by its own rule.  A network that swallows everything is noticed by the question that is asked each second.
 */
#include "config.h"

#include "store/postgresql.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ASK_MS 1000    /* how often it is looked whether the server answers */
#define ANSWER_MS 1000 /* and how long it may take, where a mail waits */
#define ANSWER_ENROLLD_MS 5000
#define AGAIN_MS 500   /* between attempts to connect */
#define CLOCK_AGAIN_MS 5000 /* and to find the clock right */

struct pg_watch {
	struct store_settings settings; /* of ours */
	int who;
	void (*cut)(void *arg);
	void *arg;
	int wake;			/* eventfd: end */
	pthread_t thread;
	bool started;
	atomic_bool connected;
	atomic_llong counter, generation, answered;
	pthread_mutex_t lock; /* why */
	struct err why;
	PGconn *conn; /* of the thread */
	int again_ms; /* between attempts to connect */
};

static void cut_off(struct pg_watch *w, const struct err *why)
{
	bool was = atomic_exchange(&w->connected, false);

	atomic_fetch_add(&w->generation, 1);
	pthread_mutex_lock(&w->lock);
	w->why = *why;
	pthread_mutex_unlock(&w->lock);
	if (was)
		w->cut(w->arg);
	PQfinish(w->conn);
	w->conn = NULL;
}

static int64_t answer_ms(const struct pg_watch *w)
{
	return w->who == STORE_ROLE_ENROLLD ? ANSWER_ENROLLD_MS : ANSWER_MS;
}

/* Leases and turns are times of ours, in rows of all: with a clock that is off, enrolld would take what others have. */
static bool clock_is_right(struct pg_watch *w, int64_t deadline, const char *op, struct err *err)
{
	int64_t ahead;

	if (w->who != STORE_ROLE_ENROLLD || w->settings.clock_tolerance == 0)
		return true;
	if (!pg_clock_ahead(w->conn, &ahead, deadline, op, err))
		return false;
	if (llabs(ahead) <= w->settings.clock_tolerance)
		return true;
	w->again_ms = CLOCK_AGAIN_MS;
	return err_set(err, ERR_TEMPORARY, op, "postgresql",
		"this host's clock is %lld seconds %s the database's: what enrolld does would be in the way of others, so it does nothing; set the clock right (store.clock-tolerance)",
		(long long)llabs(ahead), ahead > 0 ? "ahead of" : "behind");
}

/* Still the primary, and still a schema that we know? */
static bool ask(struct pg_watch *w, struct err *err)
{
	static const char op[] = "look at the database";
	char standby[8];
	int64_t began = mono_ms(), deadline = began + answer_ms(w);

	if (!pg_schema_fits(w->conn, w->who, deadline, op, err) || !pg_unmarked(w->conn, deadline, op, err) || !clock_is_right(w, deadline, op, err) ||
		!pg_ask(w->conn, "SELECT pg_is_in_recovery()", standby, sizeof(standby), deadline, op, err))
		return false;
	if (standby[0] == 't')
		return err_set(err, ERR_TEMPORARY, op, "postgresql", "the database server became a standby; is a failover under way?");
	atomic_store(&w->answered, began);
	return true;
}

static bool connect_anew(struct pg_watch *w, struct err *err)
{
	static const char op[] = "connect to the database";
	bool work = w->who == STORE_ROLE_ENROLLD;

	w->conn = pg_connect(&w->settings, w->who, op, err);
	if (w->conn == NULL)
		return false;
	if (!pg_do(w->conn, work ? "LISTEN " PG_CHANNEL_CREDENTIALS "; LISTEN " PG_CHANNEL_WORK : "LISTEN " PG_CHANNEL_CREDENTIALS, mono_ms() + answer_ms(w), op, err) ||
		!ask(w, err))
		return false;
	/* What happened meanwhile was told to nobody. */
	atomic_fetch_add(&w->counter, 1);
	atomic_store(&w->connected, true);
	return true;
}

/* Until something can be read, the end is asked for, or `ms` are over; false when the end was asked for. */
static bool rest(struct pg_watch *w, int ms)
{
	struct pollfd p[2] = {{.fd = w->wake, .events = POLLIN}, {.fd = w->conn != NULL ? PQsocket(w->conn) : -1, .events = POLLIN}};

	while (poll(p, 2, ms) < 0 && errno == EINTR)
		;
	return p[0].revents == 0;
}

static bool take_notifications(struct pg_watch *w, struct err *err)
{
	PGnotify *n;

	if (PQconsumeInput(w->conn) == 0)
		return pg_error(err, "listen to the database", w->conn, NULL);
	while ((n = PQnotifies(w->conn)) != NULL) {
		PQfreemem(n);
		atomic_fetch_add(&w->counter, 1);
	}
	return true;
}

static void *listen_thread(void *arg)
{
	struct pg_watch *w = arg;
	int64_t asked = mono_ms();

	for (;;) {
		struct err err = ERR_INIT;
		int64_t left = asked + ASK_MS - mono_ms();
		bool ok;

		if (!rest(w, w->conn == NULL ? w->again_ms : left > 0 ? (int)left : 0))
			break;
		w->again_ms = AGAIN_MS;
		if (w->conn == NULL)
			ok = connect_anew(w, &err);
		else
			ok = take_notifications(w, &err) && (mono_ms() < asked + ASK_MS || (ask(w, &err) && take_notifications(w, &err)));
		if (mono_ms() >= asked + ASK_MS)
			asked = mono_ms();
		if (!ok)
			cut_off(w, &err);
	}
	PQfinish(w->conn);
	w->conn = NULL;
	return NULL;
}

static bool copy_settings(struct store_settings *to, const struct store_settings *from)
{
	memset(to, 0, sizeof(*to));
	to->busy_ms = from->busy_ms;
	to->allow_unverified = from->allow_unverified;
	to->clock_tolerance = from->clock_tolerance;
	to->connection = strdup(from->connection);
	return to->connection != NULL;
}

/* Signals are for the threads of the program. */
static bool start_thread(struct pg_watch *w)
{
	sigset_t all, before;
	bool ok;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ok = pthread_create(&w->thread, NULL, listen_thread, w) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return ok;
}

struct pg_watch *pg_watch_start(const struct store_settings *s, int who, void (*cut)(void *arg), void *arg, struct err *err)
{
	struct pg_watch *w = calloc(1, sizeof(*w));
	struct err why = ERR_INIT;

	if (w == NULL || !copy_settings(&w->settings, s) || (w->wake = eventfd(0, EFD_CLOEXEC)) < 0) {
		if (w != NULL)
			store_settings_clear(&w->settings);
		free(w);
		err_nomem(err, "watch the database");
		return NULL;
	}
	w->who = who;
	w->cut = cut;
	w->arg = arg;
	pthread_mutex_init(&w->lock, NULL);
	atomic_init(&w->counter, 1);
	atomic_init(&w->generation, 1);
	atomic_init(&w->answered, mono_ms());
	/* The first time here, so that whoever opened it is connected, or knows why not. */
	if (!connect_anew(w, &why)) {
		cut_off(w, &why);
		if (err != NULL)
			*err = why;
		if (w->who == STORE_ROLE_ENROLLD || why.class != ERR_TEMPORARY) {
			pg_watch_stop(w);
			return NULL;
		}
	}
	w->started = start_thread(w);
	if (w->started)
		return w;
	err_nomem(err, "watch the database");
	pg_watch_stop(w);
	return NULL;
}

void pg_watch_stop(struct pg_watch *w)
{
	uint64_t one = 1;

	if (w == NULL)
		return;
	if (w->started && write(w->wake, &one, sizeof(one)) == sizeof(one))
		pthread_join(w->thread, NULL);
	PQfinish(w->conn);
	close(w->wake);
	pthread_mutex_destroy(&w->lock);
	store_settings_clear(&w->settings);
	free(w);
}

int64_t pg_watch_counter(struct pg_watch *w)
{
	return atomic_load(&w->connected) ? (int64_t)atomic_load(&w->counter) : -1;
}

int64_t pg_watch_generation(struct pg_watch *w)
{
	return (int64_t)atomic_load(&w->generation);
}

int64_t pg_watch_answered(struct pg_watch *w)
{
	return (int64_t)atomic_load(&w->answered);
}

void pg_watch_changed(struct pg_watch *w)
{
	atomic_fetch_add(&w->counter, 1);
}

void pg_watch_why(struct pg_watch *w, struct err *out)
{
	pthread_mutex_lock(&w->lock);
	if (out != NULL)
		*out = w->why;
	pthread_mutex_unlock(&w->lock);
}
