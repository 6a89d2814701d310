/* enroll/care.h - what enrolld looks after beside the steps of enrollments.  Private to enroll/. */
#ifndef ENROLL_ENROLL_CARE_H
#define ENROLL_ENROLL_CARE_H

#include "enroll/enrollment.h"

/* Of one thread; zero at the beginning. */
struct care {
	time_t planned, told, late_told, clean_at;
	int64_t removed[STORE_OLD_KINDS]; /* in the pieces of this day's look at what is old */
	int64_t stepped_ms;
};

/* One look at OCSP or CRL of one certificate in use, when one is due.  *did is false when none is.  false only when the store failed. */
bool care_watch(struct enroll_parts *p, struct care *c, bool *did, struct err *err) BASE_MUST_CHECK;
/* Tells of late renewals, and goes on with a mass replacement; to be called about once a second. */
bool care_go_on(struct enroll_parts *p, struct care *c, struct err *err) BASE_MUST_CHECK;

#endif
