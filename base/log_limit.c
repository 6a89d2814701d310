/*
 * base/log_limit.c - lines that strangers can cause at will: a token bucket for each event, and a count of what was left out.
 *
 * A bucket holds BURST lines and gets one more a second.  What was left out is told when TELL seconds have gone by since the first of it, or at the end.
 * Globals: the buckets, behind their lock, and a flag that spares everybody else the lock.
 */
#include "config.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/base.h"
#include "base/internal.h"

#define BUCKETS 32 /* far more than events of this kind; one without a bucket is not limited */
#define BURST 60
#define SECOND 1000
#define TELL (10 * SECOND)

struct bucket {
	const char *event;
	int64_t spent_ms;  /* each line costs a second, and each second gives one back */
	int64_t at_ms;
	int64_t since_ms;  /* of the first line left out */
	unsigned long left_out;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct bucket buckets[BUCKETS];
static atomic_bool owing; /* something was left out and is not told yet */

static struct bucket *find(const char *event)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		if (!buckets[i].event)
			buckets[i].event = event;
		if (strcmp(buckets[i].event, event) == 0)
			return &buckets[i];
	}
	return NULL;
}

bool limit_take(const char *event)
{
	int64_t now = mono_ms();
	struct bucket *b;
	bool pass = true;

	pthread_mutex_lock(&lock);
	b = find(event);
	if (b) {
		b->spent_ms -= now - b->at_ms < b->spent_ms ? now - b->at_ms : b->spent_ms;
		b->at_ms = now;
		pass = b->spent_ms <= (BURST - 1) * SECOND;
		if (pass)
			b->spent_ms += SECOND;
		else if (b->left_out++ == 0)
			b->since_ms = now;
		if (!pass)
			atomic_store(&owing, true);
	}
	pthread_mutex_unlock(&lock);
	return pass;
}

/* The next bucket that has something to tell now; emptied.  *more: another one will have, later. */
static const char *take_owed(bool all, unsigned long *count, bool *more)
{
	const char *event = NULL;
	int64_t now = mono_ms();

	*more = false;
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < BUCKETS; i++) {
		struct bucket *b = &buckets[i];

		if (b->left_out == 0)
			continue;
		if (event || (!all && now - b->since_ms < TELL)) {
			*more = true;
			continue;
		}
		event = b->event;
		*count = b->left_out;
		b->left_out = 0;
	}
	atomic_store(&owing, *more);
	pthread_mutex_unlock(&lock);
	return event;
}

void log_settle(bool all)
{
	unsigned long count = 0;
	const char *event;
	bool more = true;

	/* log_event comes back here; by then the bucket is empty. */
	while (more && atomic_load(&owing) && (event = take_owed(all, &count, &more)) != NULL)
		log_event(LOG_LEVEL_WARNING, "log_suppressed", "of", event, "count", LOG_NUM(count), NULL);
}
