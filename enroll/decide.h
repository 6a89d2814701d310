/*
 * enroll/decide.h - what configuration and directory say of an address: which rule, which certificate from which CA, which addresses go into it,
 * and whether it may have one now.  Private to enroll/.  Nothing in here changes anything, so `enrollctl policy explain` asks the same.
 */
#ifndef ENROLL_ENROLL_DECIDE_H
#define ENROLL_ENROLL_DECIDE_H

#include "enroll/enrollment.h"

struct verdict {
	struct directory_person person; /* all zero without exactly one entry */
	enum directory_found found;
	struct decision decision;
	struct strlist addresses;       /* of the certificate, canonical; the one asked about is the first */
	int64_t covered_by;             /* another row's certificate has this address already, or will; 0 = none */
	bool in_pilot_group;
};
void verdict_clear(struct verdict *v);

/* `id` is the row that is decided about, 0 = none yet; `why` (may be NULL) gets a line for each rule that was passed by.  ERR_TEMPORARY when the
 * directory cannot be asked. */
bool decide(struct enroll_parts *p, const char *address, int64_t id, struct verdict *out, struct buf *why, struct err *err) BASE_MUST_CHECK;

/* May it have one now?  false: the store's error, no answer. */
bool decide_eligible(struct enroll_parts *p, const char *address, const struct verdict *v, bool has_certificate, time_t now, enum eligibility *answer,
	struct err *err) BASE_MUST_CHECK;

#endif
