/* enroll/campaign.h - mass replacement: how long it takes, and going on with it.  Private to enroll/. */
#ifndef ENROLL_ENROLL_CAMPAIGN_H
#define ENROLL_ENROLL_CAMPAIGN_H

#include "enroll/enrollment.h"

/* One part of a plan: the certificates of one CA. */
struct campaign_part {
	const struct ca_config *ca;
	size_t n;
	size_t room;          /* orders that the limits allow at this moment, beside those in flight */
	time_t least;         /* seconds that the limits make it take */
	const char *key;      /* which of them; NULL = none holds it up */
	unsigned key_value;
	unsigned order_seconds; /* what an order takes */
};
bool campaign_part_plan(struct enroll_parts *p, const char *ca, size_t n, time_t now, struct campaign_part *out, struct err *err) BASE_MUST_CHECK;
struct campaign_estimate {
	time_t end;             /* when all are done, as it is paced */
	time_t soonest;         /* seconds that it takes at least */
	time_t least;           /* of them, because of this limit; key NULL = no limit holds it up */
	const char *key;
	unsigned key_value;
};
/* For these that are to begin still, of a campaign that began at `from`. */
bool campaign_estimate(struct enroll_parts *p, const struct store_selected_list *of, time_t from, time_t deadline, time_t now,
	struct campaign_estimate *out, struct err *err) BASE_MUST_CHECK;
/* Half of the time from `from` to the deadline is used: the other half is for what goes wrong. */
time_t campaign_target(time_t from, time_t deadline);

/* Lets as many certificates begin as are due after `seconds` more, and notes what became of the others.  *late_told is when it was said last that
 * the deadline will not be kept; 0 at the beginning. */
bool campaign_go_on(struct enroll_parts *p, time_t now, double seconds, time_t *late_told, struct err *err) BASE_MUST_CHECK;

#endif
