/*
 * enroll/due.c - when the next row is due, asked as seldom as possible.
 *
 * A store on another host is asked by all enrollds, and each question goes there and back.  As long as nothing changed the last answer holds: a row has
 * become due when its time is over.  What a change does not always tell is a row whose time was put into the future, or that is held by an enrolld that
 * dies; so it is asked now and then anyway.
 */
#include "config.h"

#include "enroll/due.h"

#define ANYWAY_MS 2000

static bool has_come(const struct due *d)
{
	return d->at != 0 && d->at <= time(NULL);
}

static void ask(struct due *d, struct store *store, struct err *err)
{
	time_t enrollment = 0, revocation = 0;
	bool ok = store_enrollment_next_due(store, &enrollment, err) && store_revocation_next_due(store, &revocation, err);

	d->at = enrollment == 0 || (revocation != 0 && revocation < enrollment) ? revocation : enrollment;
	d->asked_ms = ok ? mono_ms() : 0;
}

bool due_look(struct due *d, struct store *store, int64_t counter, struct err *err)
{
	if (counter != d->counter) {
		d->counter = counter;
		d->asked_ms = 0;
		return true;
	}
	if (d->asked_ms == 0 || has_come(d) || mono_ms() - d->asked_ms >= ANYWAY_MS)
		ask(d, store, err);
	return has_come(d);
}
