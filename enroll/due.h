/*
 * enroll/due.h - is there anything to do in the store?  Private to enroll/; one thread's own.
 */
#ifndef ENROLL_ENROLL_DUE_H
#define ENROLL_ENROLL_DUE_H

#include "store/store.h"

/* What was found last; begins as DUE_INIT. */
struct due {
	int64_t counter, asked_ms; /* of the store; when it was asked, 0 = not since it changed */
	time_t at;                 /* of the earliest row, 0 = none */
};
#define DUE_INIT {.counter = -2}

/* True when the store has changed (`counter` is its store_change_counter) or the time of a row has come.  Asks only when that cannot be known otherwise;
 * err is filled when the store could not be asked. */
bool due_look(struct due *d, struct store *store, int64_t counter, struct err *err);

#endif
