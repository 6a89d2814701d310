/*
 * enroll/revocation.h - asks the OCSP responder or the CRL of a certificate.  Private to enroll/.
 *
 * revocation_new once, revocation_ask from any thread, revocation_free when nobody asks.  What comes is judged by policy (certcheck_revocation),
 * which has no network; this file has the network and no opinion but when to stop asking.
 */
#ifndef ENROLL_ENROLL_REVOCATION_H
#define ENROLL_ENROLL_REVOCATION_H

#include "policy/policy.h"

struct revocation;

/* `config` is not kept. */
struct revocation *revocation_new(const struct ca_config *config, struct err *err);
void revocation_free(struct revocation *r);
/* What is under way, and all later ones, end within about a second. */
void revocation_stop(struct revocation *r);

struct revocation_answer {
	struct certcheck_evidence evidence; /* for certcheck; borrows from below */
	struct buf data;
	char why[512]; /* who was asked, and what came of it; printable */
};
/* Ask for `leaf`, whose issuer was verified: OCSP responders first, then CRLs, until one of them proves something; about a minute at most.
 * `out` is cleared by the caller in any case. */
void revocation_ask(struct revocation *r, X509 *leaf, X509 *issuer, time_t now, struct revocation_answer *out);
/* The same for a certificate in use: a CRL that came within the last `keep_seconds` is good enough, as many certificates share it. */
void revocation_ask_kept(struct revocation *r, X509 *leaf, X509 *issuer, time_t now, unsigned keep_seconds, struct revocation_answer *out);
void revocation_answer_clear(struct revocation_answer *a);

#endif
