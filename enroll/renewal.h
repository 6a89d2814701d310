/* enroll/renewal.h - when a certificate is renewed, and what is said when that does not happen.  Private to enroll/. */
#ifndef ENROLL_ENROLL_RENEWAL_H
#define ENROLL_ENROLL_RENEWAL_H

#include "enroll/enrollment.h"

/* Was it past the time of its renewal already when it came?  The CA gives what is left of its own life, or a clock is wrong. */
bool renewal_came_late(const struct store_certificate *c);
/* Without a word of the CA. */
time_t renewal_by_age(const struct store_certificate *c);

struct renewal_plan {
	time_t at;         /* when it is renewed */
	time_t look;       /* when the CA is to be asked for its window */
	char urged[700];   /* the CA's window is over already: what the admin has to know, once a certificate; "" otherwise */
};
/* The CA is asked when its time has come (RFC 9773), and a moment of its window is chosen once and kept.  That it cannot be asked is no failure:
 * what was known stands.  `ca` is one of p->cas; NULL: the one it came from is not in the configuration.  false: the store failed. */
bool renewal_plan(struct enroll_parts *p, const struct enroll_ca *ca, const struct store_certificate *c, time_t now, struct renewal_plan *out,
	struct err *err) BASE_MUST_CHECK;

/* Renewals that are late are told, each louder as the end comes near. */
bool renewal_tell_late(struct enroll_parts *p, time_t now, struct err *err) BASE_MUST_CHECK;

#endif
