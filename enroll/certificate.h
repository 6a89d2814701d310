/*
 * enroll/certificate.h - a certificate as the CA delivered it: from PEM to a row of the store, and judged by certcheck.  Private to enroll/.
 */
#ifndef ENROLL_ENROLL_CERTIFICATE_H
#define ENROLL_ENROLL_CERTIFICATE_H

#include "policy/policy.h"
#include "store/store.h"

/* Read what was downloaded (PEM, leaf first) into `out` for this enrollment, with the chain to send along later.  `out` is zero on entry and cleared by
 * store_certificate_clear.  ERR_CA when it is no certificate. */
bool certificate_read(struct store_certificate *out, const struct enrollment *row, const struct buf *pem, X509_STORE *anchors, struct err *err) BASE_MUST_CHECK;

struct enroll_ca;
/* certcheck for the profile that was asked for, the row's addresses, the key of its stored request and this CA's anchors.  Where its
 * revocation-check wants it and all else is good, ca->revocation asks over the network; NULL there asks nobody, which then is a finding. */
bool certificate_judge(const struct store_certificate *c, const struct enrollment *row, const struct certificate_profile *profile,
	const struct enroll_ca *ca, time_t now, struct findings *out, struct err *err) BASE_MUST_CHECK;

/* Is a certificate in use revoked meanwhile, by the word of its OCSP responder or CRL?  `why` says who was asked and what came of it. */
enum revocation_status certificate_revoked(const struct store_certificate *c, const struct enroll_ca *ca, time_t now, unsigned keep_seconds, char *why, size_t size);

#endif
