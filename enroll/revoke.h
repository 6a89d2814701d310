/*
 * enroll/revoke.h - what the CA and the directory have to do about a revoked certificate.  Private to enroll/.
 *
 * The store has said already that nobody signs with it (store_revoke).  revoke_step takes one due part, does it and stores what came of it; it is
 * tried for ever, later and later.  Both acts may be repeated, so a worker that died in the middle leaves nothing to resolve but its lease.
 */
#ifndef ENROLL_ENROLL_REVOKE_H
#define ENROLL_ENROLL_REVOKE_H

#include "enroll/enrollment.h"

/* *did is false when nothing was due.  false only when the store failed. */
bool revoke_step(struct enroll_parts *p, enum revocation_part part, const char *owner, bool *did, struct err *err) BASE_MUST_CHECK;

/* Take the value that we put into the directory out of it, and no other: where it was put, and where the person is now, as the entry may have moved,
 * or enrolld died between writing it and noting where.  Safe to repeat.  p->directory is there. */
bool revoke_unpublish(struct enroll_parts *p, const struct store_certificate *c, const char *address, struct err *err) BASE_MUST_CHECK;

#endif
