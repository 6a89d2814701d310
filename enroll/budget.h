/* enroll/budget.h - may one more order be opened now?  Private to enroll/. */
#ifndef ENROLL_ENROLL_BUDGET_H
#define ENROLL_ENROLL_BUDGET_H

#include "enroll/enrollment.h"

/* err.type of everything that holds an order back without being a failure: nobody did wrong, it passes by itself. */
#define BUDGET_HELD "held"

/* When to look again at a row that is held back until `when`: the later the more rows wait, so that thousands of them do not come back
 * together.  Thread safe. */
time_t budget_turn(struct enroll_parts *p, time_t when);

/* Pause, cap-per-day, this CA's orders-per-hour and orders-in-flight, and what it refuses for a while.  false: ERR_TEMPORARY of type BUDGET_HELD, with
 * retry_at; or the store's error.  Others may open one meanwhile: budget_caps is what counts when the order's line is written. */
bool budget_allows(struct enroll_parts *p, const struct ca_config *ca, const struct enrollment *row, time_t now, struct err *err) BASE_MUST_CHECK;
/* The same caps for store_step.caps; how many.  Valid as long as `ca` is. */
#define BUDGET_CAPS 3
size_t budget_caps(const struct enroll_parts *p, const struct ca_config *ca, time_t now, struct store_cap out[BUDGET_CAPS]);
/* What the last place was taken for meanwhile, of type BUDGET_HELD.  Returns false. */
bool budget_full(struct enroll_parts *p, const struct enrollment *row, time_t now, struct err *err);
/* newOrder was refused as rateLimited (RFC 8555 section 6.6): remembered in the store, so that other enrollments wait too.  `identifiers`,
 * blank separated, are those it named; NULL or "" = it means the account.  Any other error is none of its business. */
void budget_heed(struct enroll_parts *p, const struct ca_config *ca, const char *identifiers, const struct err *refusal, time_t now);

#endif
