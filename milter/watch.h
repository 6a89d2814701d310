/*
 * milter/watch.h - is this process alive, and what does it say of itself?  Private to milter/.
 *
 * A thread connects to our own socket as an MTA does, again and again: the answer has come through libmilter's listener, its pool and one of its
 * workers.  Only then the supervisor is told that we live.  On a busy machine such an answer may take its time, so a callback that ended counts too, for
 * a while; and a callback that has run longer than any MTA waits has hung, unless others go on: then it is its MTA that hangs.
 */
#ifndef ENROLL_MILTER_WATCH_H
#define ENROLL_MILTER_WATCH_H

#include <stdatomic.h>

#include "base/base.h"

struct service;
struct watch;

/* The part of a session that is watched. */
struct watched {
	struct watched *previous, *next; /* under the watch's lock */
	atomic_llong since;              /* mono_ms of the callback that runs; 0 = none */
};

/* What is known at a moment; times are mono_ms. */
struct liveness {
	int64_t now;
	int64_t answered;     /* last answer to ourselves */
	int64_t progress;     /* last end of a callback */
	int64_t oldest;       /* beginning of the callback that has run for longest; 0 = none runs */
	bool stopping;        /* connects to itself no more */
	unsigned watchdog_ms; /* how long silence is taken for life; 0 = nobody watches */
};
#define WATCH_HUNG_MS 300000 /* Postfix' milter_content_timeout: nobody waits for an answer after that */
/* NULL, or why it does not live. */
const char *watch_judge(const struct liveness *l);

struct watch *watch_new(struct service *s, struct err *err);
void watch_free(struct watch *w); /* only before watch_start */
/* On a thread of its own: waits until the socket answers, calls `ready`, tells the supervisor, and goes on watching. */
bool watch_start(struct watch *w, void (*ready)(struct service *s), struct err *err) BASE_MUST_CHECK;
void watch_reloaded(struct watch *w, const struct err *err); /* NULL = the new configuration is in force */
void watch_stopping(struct watch *w);

/* A session begins and ends; a callback of it begins and ends. */
void watch_add(struct watch *w, struct watched *s);
void watch_remove(struct watch *w, struct watched *s);
void watch_enter(struct watched *s);
void watch_leave(struct watch *w, struct watched *s);
/* For the line that the supervisor shows. */
void watch_count_mail(struct watch *w);
void watch_count_look(struct watch *w); /* at a certificate */

#endif
