/*
 * enroll/campaign.c - mass replacement: how long it takes, and going on with it.
 *
 * Certificates begin spread over the first half of the time that is left to the deadline, or as slowly as the limits want.  The pace is made anew at
 * each moment from what is left, so that it needs no memory: after a restart, or a CA that was down, it simply goes on.  budget.c holds whatever is
 * ordered beyond the limits; here no more begins than it will let go.
 */
#include "config.h"

#include "enroll/campaign.h"

#include <stdlib.h>
#include <string.h>

#define ORDER_SECONDS 60     /* what an order takes, as long as none has ended */
#define TURN_SECONDS 1       /* until a place that gets free is taken: it is looked for once a second */
#define WITHOUT_LIMIT 200    /* begun and not done, where orders-in-flight sets no limit */
#define TELL_LATE 3600
#define HOUR 3600
#define DAY 86400

time_t campaign_target(time_t from, time_t deadline)
{
	return from + (deadline > from ? (deadline - from) / 2 : 0);
}

/* ---- the plan -------------------------------------------------------------------------------------------------------------- */

/* The limit that holds it up longest is the one to speak of. */
static void heed(struct campaign_part *part, double seconds, const char *key, unsigned value)
{
	time_t whole = (time_t)(seconds + 0.999);

	if (whole <= part->least)
		return;
	part->least = whole;
	part->key = key;
	part->key_value = value;
}

static bool heed_rate(struct enroll_parts *p, struct campaign_part *part, const char *ca, const char *key, unsigned cap, unsigned span, time_t now,
	struct err *err)
{
	size_t used, room, excess;
	time_t opened = 0;

	if (cap == 0)
		return true;
	if (!store_orders_since(p->store, now - (time_t)span, ca, &used, err))
		return false;
	room = cap > used ? cap - used : 0;
	if (room < part->room)
		part->room = room;
	if (part->n <= room)
		return true;
	/* Room comes when the orders of the last hour, or day, are older than that: those that there are, then those that this makes. */
	excess = part->n - room;
	heed(part, (double)excess * span / cap, key, cap);
	if (!store_orders_nth(p->store, now - (time_t)span, ca, excess < used ? excess : used, &opened, err))
		return false;
	if (opened)
		heed(part, (double)(opened + (time_t)span - now), key, cap);
	return true;
}

static bool heed_named(struct enroll_parts *p, struct campaign_part *part, time_t now, struct err *err)
{
	struct store_limit_list list = {0};
	bool ok = store_limits(p->store, part->ca->name, now, &list, err);

	for (size_t i = 0; ok && i < list.n; i++)
		if (!*list.v[i].scope) {
			heed(part, (double)(list.v[i].until - now), "the limit that the CA named", 0);
			part->room = 0;
		}
	store_limit_list_clear(&list);
	return ok;
}

bool campaign_part_plan(struct enroll_parts *p, const char *ca, size_t n, time_t now, struct campaign_part *out, struct err *err)
{
	const struct enroll_ca *found = enroll_ca_find(p, ca);
	unsigned flight;
	size_t open;

	/* Of a CA that left the configuration the replacements come from the first one. */
	if (!found)
		found = enroll_ca_find(p, "");
	if (!found)
		return err_set(err, ERR_CONFIG, "plan replacement", ca, "mode = \"observe\" orders nothing");
	*out = (struct campaign_part){.ca = found->config, .n = n, .room = WITHOUT_LIMIT};
	flight = out->ca->orders_in_flight;
	if (!store_order_seconds(p->store, out->ca->name, &out->order_seconds, err) ||
		!store_orders_open(p->store, now - (time_t)out->ca->challenge_age, out->ca->name, &open, err))
		return false;
	if (out->order_seconds == 0)
		out->order_seconds = ORDER_SECONDS;
	if (flight) {
		out->room = flight > open ? flight - open : 0;
		if (n > flight)
			heed(out, (double)n * (out->order_seconds + TURN_SECONDS) / flight, "ca.orders-in-flight", flight);
	}
	return heed_rate(p, out, NULL, "cap-per-day", p->config->cap_per_day, DAY, now, err) &&
	       heed_rate(p, out, out->ca->name, "ca.orders-per-hour", out->ca->orders_per_hour, HOUR, now, err) && heed_named(p, out, now, err);
}

static void take_part(struct campaign_estimate *e, const struct campaign_part *part, time_t left, time_t now)
{
	if (part->least > left)
		left = part->least;
	if (now + left + (time_t)part->order_seconds > e->end)
		e->end = now + left + (time_t)part->order_seconds;
	if (part->key && part->least >= e->least) {
		e->least = part->least;
		e->key = part->key;
		e->key_value = part->key_value;
	}
	if (part->least + (time_t)part->order_seconds > e->soonest)
		e->soonest = part->least + (time_t)part->order_seconds;
}

bool campaign_estimate(struct enroll_parts *p, const struct store_selected_list *of, time_t from, time_t deadline, time_t now,
	struct campaign_estimate *out, struct err *err)
{
	time_t target = campaign_target(from, deadline), left = target > now ? target - now : 0;
	struct campaign_part part;
	bool ok = true;

	*out = (struct campaign_estimate){.end = now};
	for (size_t i = 0; ok && i < of->n; i++) {
		ok = campaign_part_plan(p, of->v[i].ca, of->v[i].n, now, &part, err);
		if (ok)
			take_part(out, &part, left, now);
	}
	return ok;
}

/* ---- going on ---------------------------------------------------------------------------------------------------------------- */

/* So many of n in this moment that all have begun by then; a fraction is one now and then. */
static size_t due_now(size_t n, time_t left, double seconds)
{
	double x;
	size_t whole;

	if ((double)left <= seconds)
		return n;
	x = (double)n * seconds / (double)left;
	whole = (size_t)x;
	return whole + ((double)random_below(1000000) < (x - (double)whole) * 1000000 ? 1 : 0);
}

static bool begin_some(struct enroll_parts *p, const struct store_campaign *c, const struct store_selected *of, time_t now, double seconds,
	struct err *err)
{
	struct campaign_part part;
	time_t target = campaign_target(c->created_at, c->deadline), left;
	size_t most, n, begun, waiting = c->begun > c->stuck ? c->begun - c->stuck : 0;

	if (!campaign_part_plan(p, of->ca, of->n, now, &part, err))
		return false;
	left = target > now ? target - now : 0;
	if (part.least > left)
		left = part.least;
	/* Those that have begun and not ordered yet need room too. */
	most = part.ca->orders_in_flight && part.ca->orders_in_flight < WITHOUT_LIMIT ? part.ca->orders_in_flight : WITHOUT_LIMIT;
	most = most > waiting ? most - waiting : 0;
	/* The limits say how many may be ordered now; in flight alone is no reason to wait for the pace to come round. */
	n = due_now(of->n, part.key && strcmp(part.key, "ca.orders-in-flight") == 0 ? (target > now ? target - now : 0) : left, seconds);
	n = n < most ? n : most;
	n = n < part.room ? n : part.room;
	return n == 0 || store_campaign_begin(p->store, c->id, of->ca, n, &begun, err);
}

static bool tell_late(struct enroll_parts *p, const struct store_campaign *c, time_t end, time_t now, time_t *told, struct err *err)
{
	char text[500], at[32], by[32];

	if (end <= c->deadline || (*told && now < *told + TELL_LATE))
		return true;
	*told = now;
	snprintf(text, sizeof text, "the replacement is expected to end at %s, after its deadline %s: %zu of %zu are done, %zu are blocked or failed; see "
		"`enrollctl replace status`", time_text(end, at), time_text(c->deadline, by), c->done + c->skipped, c->pending + c->begun + c->done + c->skipped, c->stuck);
	log_event(LOG_LEVEL_ERROR, "replace_late", "text", text, NULL);
	return store_event_add(p->store, 0, "replace_late", "enrolld", ERR_TEMPORARY, text, err);
}

static bool running(struct enroll_parts *p, const struct store_campaign *c, time_t now, double seconds, time_t *late_told, struct err *err)
{
	struct store_selected_list list = {0};
	char *paused = NULL;
	struct campaign_estimate e = {.end = now};
	bool ok = store_flag_get(p->store, "paused", &paused, err);

	ok = ok && store_campaign_pending(p->store, c->id, &list, err);
	for (size_t i = 0; ok && !paused && strcmp(c->state, "running") == 0 && i < list.n; i++)
		ok = begin_some(p, c, &list.v[i], now, seconds, err);
	ok = ok && campaign_estimate(p, &list, c->created_at, c->deadline, now, &e, err);
	free(paused);
	store_selected_list_clear(&list);
	return ok && tell_late(p, c, e.end, now, late_told, err);
}

bool campaign_go_on(struct enroll_parts *p, time_t now, double seconds, time_t *late_told, struct err *err)
{
	struct store_campaign c = {0};
	bool underway, found = false, ended = false, ok;

	if (!store_campaign_underway(p->store, &underway, err))
		return false;
	if (!underway)
		return true;
	ok = store_campaign_get(p->store, &c, &found, err);
	if (ok && found && (strcmp(c.state, "running") == 0 || strcmp(c.state, "paused") == 0)) {
		ok = store_campaign_follow(p->store, &c, p->config->directory.deadline_ms / 1000 + 5, &ended, err) &&
		     (ended || running(p, &c, now, seconds, late_told, err));
		if (ended)
			log_event(LOG_LEVEL_INFO, "campaign", "text", "the replacement is done", NULL);
	}
	store_campaign_clear(&c);
	return ok;
}
