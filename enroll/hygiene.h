/*
 * enroll/hygiene.h - nothing of ours stays in the directory longer than it should, and nothing of others leaves it.  Private to enroll/.
 *
 * What has to leave is said by the certificates' own columns in the store (store_directory_due), so whoever died in the middle finds it again.  Only
 * the very octets that the store has are taken out; what takes their place has been put there before.
 */
#ifndef ENROLL_ENROLL_HYGIENE_H
#define ENROLL_ENROLL_HYGIENE_H

#include "enroll/enrollment.h"

#define HYGIENE_TEXT 1400

/* Take this certificate out: where it was put, and where the person's entry is now, as it may have been moved, or a predecessor died between writing
 * it and noting where.  `text` says what was done.  ERR_POLICY when its entry is gone and several could be the one that it was moved to. */
bool hygiene_take_out(struct enroll_parts *p, const struct store_certificate *c, char text[HYGIENE_TEXT], struct err *err) BASE_MUST_CHECK;

/* One that is due; tried for ever, later and later.  *did is false when nothing was due, or another enrolld has the turn, and *next then when something will be (0 = not known).
 * false only when the store failed. */
bool hygiene_step(struct enroll_parts *p, bool *did, time_t *next, struct err *err) BASE_MUST_CHECK;

/* directory.clear-foreign-smime: values of userSMIMECertificate at this entry that are not ours are kept in the store, then taken away.  *n is how
 * many.  Does nothing unless the option is set. */
bool hygiene_clear_foreign(struct enroll_parts *p, int64_t enrollment_id, const char *address, const char *dn, size_t *n, struct err *err) BASE_MUST_CHECK;
/* Is this value of userSMIMECertificate one that we would clear?  Not when it is ours, or holds a certificate of ours that is active. */
bool hygiene_smime_foreign(struct enroll_parts *p, const void *value, size_t len, bool *foreign, struct err *err) BASE_MUST_CHECK;
/* Which attribute that is. */
const char *hygiene_smime_attribute(const struct enroll_parts *p);
/* Put it back where it was, or where its entry is now. */
bool hygiene_restore(struct enroll_parts *p, const struct store_saved *s, const char *actor, char text[HYGIENE_TEXT], struct err *err) BASE_MUST_CHECK;

#endif
