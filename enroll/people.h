/*
 * enroll/people.h - people come and go: what the directory says of those who have certificates.  Private to enroll/.
 *
 * people_look reads all entries with an address and compares.  Who is disabled there, or there no more, or there without the address, is asked about
 * once more by itself, and then noted in the store: from there on nobody signs for the address and nothing is renewed.  After the grace period what we
 * published is taken back, the certificate is revoked if the configuration says so, and the rows are closed; keys are kept.  Who is back goes on.
 *
 * The guard: a directory that is half there looks like a company of people who left.  A look that failed, was cut short, saw nobody, or would let
 * more people go in a day than departures.guard-percent touches nobody; it raises an alarm, and holds the set for an admin to confirm.
 *
 * Where another server has a part of the tree (a referral), whoever was not seen may be there: they are held in the same way, the others are not;
 * so is the end of those whom an earlier look noted as gone.
 *
 * Each act is one transaction or may be repeated, so whoever dies in the middle leaves nothing but work for the next look.
 */
#ifndef ENROLL_ENROLL_PEOPLE_H
#define ENROLL_ENROLL_PEOPLE_H

#include "enroll/enrollment.h"

#define PEOPLE_GUARD_FLAG "directory-guard" /* of the store: what the alarm says; unset = none */

/* Does anybody look at all?  Not in observe mode, without a directory, or with departures.interval = 0: whoever is noted as gone stays so then, until an
 * admin says otherwise. */
bool people_looks(const struct enroll_parts *p);
/* Is it time for a look, and ours to do it?  Then people_look has to follow.  One enrolld of the store looks at a time, and the interval counts from the
 * last look of any. */
bool people_due(const struct enroll_parts *p, time_t now, bool *due, struct err *err) BASE_MUST_CHECK;
/* When the last look began; 0 = there was none. */
bool people_looked(const struct enroll_parts *p, time_t *at, struct err *err) BASE_MUST_CHECK;
/* Look.  What goes wrong outside is told and tried again by the next look; false only when the store failed.  `ending` says when to stop early. */
bool people_look(struct enroll_parts *p, bool (*ending)(void *arg), void *arg, struct err *err) BASE_MUST_CHECK;

/* An admin says of somebody who is noted as gone that they are here.  *changed is false when they were not noted any more; *anew: their certificate is
 * over, and a new one is asked for. */
bool people_return(struct enroll_parts *p, const struct enrollment *e, const char *actor, const char *reason, bool *changed, bool *anew,
	struct err *err) BASE_MUST_CHECK;

/* ---- the guard (people_guard.c) ---------------------------------------------------------------------------------------- */

/* Where nobody looks: no alarm and nobody held is left from earlier looks, as whoever an admin confirms would be let go when looks begin again. */
bool people_forget_held(struct enroll_parts *p, struct err *err) BASE_MUST_CHECK;
/* How many of so many may go in a day by themselves. */
size_t people_allowed(const struct departures_config *c, size_t known);
/* Raise the alarm with these words; NULL: all is well again.  Said in history and log once, as long as the words are the same; logged with each look. */
bool people_alarm(struct enroll_parts *p, const char *words, struct err *err) BASE_MUST_CHECK;

#endif
