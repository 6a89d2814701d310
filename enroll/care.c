/*
 * enroll/care.c - certificates in use: are they revoked meanwhile, are renewals late, how far is a mass replacement.
 */
#include "config.h"

#include "enroll/care.h"

#include <stdlib.h>
#include <string.h>

#include "enroll/campaign.h"
#include "enroll/certificate.h"
#include "enroll/renewal.h"
#include "metrics/metrics.h"

#define PLAN_SECONDS 60   /* between two looks for certificates that have no time for their look yet */
#define LATE_SECONDS 10   /* between two looks for late renewals */
#define PLAN_TURN "revocation-watch"
#define PLAN_TURN_SECONDS 60
#define TURN "care"
#define TURN_SECONDS 60
#define CRL_KEEP 3600u    /* a list that many certificates share is fetched this often at most */

/* ---- revoked meanwhile? ------------------------------------------------------------------------------------------------------ */

static bool found_revoked(struct enroll_parts *p, const struct enroll_ca *ca, const struct store_certificate *c, const char *why, struct err *err)
{
	char text[1000];
	struct store_found_revoked what = {.certificate_id = c->id, .replace = ca->config->replace_revoked,
		.publish_seconds = p->config->directory.deadline_ms / 1000 + 5, .text = text};
	bool news;

	snprintf(text, sizeof text, "the CA has revoked it: %.600s", why);
	if (!store_found_revoked(p->store, &what, &news, err))
		return false;
	if (!news)
		return true;
	metrics_count(METRIC_FOUND_REVOKED, 0, 0, 0);
	snprintf(text, sizeof text, "certificate %.120s is revoked at the CA (%.600s): nobody signs with it any more; %s", c->serial, why,
		what.replace ? "a new key and certificate follow" : "no new one until `enrollctl enable` and `enrollctl enroll`");
	log_event(LOG_LEVEL_ERROR, "found_revoked", "enrollment", LOG_NUM(c->enrollment_id), "addresses", c->addresses, "serial", c->serial, "text", text, NULL);
	return store_event_add(p->store, c->enrollment_id, "found_revoked", "enrolld", ERR_CA, text, err);
}

/* That nothing could be learned changes nothing: the certificate signs until it is known to be revoked. */
static bool look_at(struct enroll_parts *p, const struct enroll_ca *ca, const struct store_certificate *c, struct err *err)
{
	unsigned keep = ca->config->revocation_watch < CRL_KEEP ? ca->config->revocation_watch : CRL_KEEP;
	char why[512];

	switch (certificate_revoked(c, ca, time(NULL), keep, why, sizeof why)) {
	case REVOCATION_REVOKED:
		return found_revoked(p, ca, c, why, err);
	case REVOCATION_UNKNOWN:
		log_event(LOG_LEVEL_INFO, "revocation_unknown", "enrollment", LOG_NUM(c->enrollment_id), "serial", c->serial, "text", why, NULL);
		break;
	case REVOCATION_GOOD:
		break;
	}
	return true;
}

static bool plan(struct enroll_parts *p, struct care *c, time_t now, struct err *err)
{
	time_t every = PLAN_SECONDS;
	bool ok = true, mine;

	for (size_t i = 0; i < p->n_cas; i++)
		if (p->cas[i].config->revocation_watch && p->cas[i].config->revocation_watch < every)
			every = p->cas[i].config->revocation_watch;
	if (c->planned && c->planned <= now && now < c->planned + every)
		return true;
	c->planned = now;
	/* Whoever of the store's enrolld comes first does it for all. */
	if (!store_turn_take(p->store, PLAN_TURN, p->owner, now, PLAN_TURN_SECONDS, (unsigned)every, &mine, err) || !mine)
		return err->class == ERR_NONE;
	for (size_t i = 0; ok && i < p->n_cas; i++)
		if (p->cas[i].config->revocation_watch)
			ok = store_watch_plan(p->store, p->cas[i].config->name, now, p->cas[i].config->revocation_watch, err);
	return ok && store_turn_end(p->store, PLAN_TURN, p->owner, now, err);
}

bool care_watch(struct enroll_parts *p, struct care *c, bool *did, struct err *err)
{
	time_t now = time(NULL);
	bool ok = plan(p, c, now, err);

	*did = false;
	for (size_t i = 0; ok && i < p->n_cas && !*did; i++) {
		const struct enroll_ca *ca = &p->cas[i];
		struct store_certificate one;

		if (!ca->config->revocation_watch)
			continue;
		ok = store_watch_claim(p->store, ca->config->name, now, ca->config->revocation_watch, &one, did, err) && (!*did || look_at(p, ca, &one, err));
		store_certificate_clear(&one);
	}
	return ok;
}

/* ---- late renewals, replacement ------------------------------------------------------------------------------------------------ */

/* ---- what is old --------------------------------------------------------------------------------------------------------------- */

#define DAY 86400
#define FIRST_LOOK 60      /* behind the start */
#define PIECE 500u         /* rows of each kind at a time */

static void tell_removed(struct care *c, unsigned days)
{
	log_event(LOG_LEVEL_INFO, "history_removed", "days", LOG_NUM(days), "events", LOG_NUM(c->removed[STORE_OLD_EVENTS]), "mails",
		LOG_NUM(c->removed[STORE_OLD_MAIL]), "reports", LOG_NUM(c->removed[STORE_OLD_REPORTS]), "challenges",
		LOG_NUM(c->removed[STORE_OLD_CHALLENGES]), "orders", LOG_NUM(c->removed[STORE_OLD_ORDERS]), NULL);
	memset(c->removed, 0, sizeof c->removed);
}

/* Once a day, a piece at each call until nothing is left. */
static bool remove_old(struct enroll_parts *p, struct care *c, time_t now, struct err *err)
{
	unsigned days = store_retention_days(&p->config->store);
	bool more = false;

	if (c->clean_at == 0 || c->clean_at > now + DAY)
		c->clean_at = now + FIRST_LOOK;
	if (days == 0 || now < c->clean_at)
		return true;
	if (!store_old_remove(p->store, now - (time_t)days * DAY, PIECE, c->removed, &more, err))
		return false;
	if (more)
		return true;
	tell_removed(c, days);
	c->clean_at = now + DAY;
	return true;
}

/* ---- about once a second ------------------------------------------------------------------------------------------------------- */

bool care_go_on(struct enroll_parts *p, struct care *c, struct err *err)
{
	time_t now = time(NULL);
	int64_t ms = mono_ms(), since = c->stepped_ms ? ms - c->stepped_ms : 1000;
	bool ok = true, mine;

	/* Of two the campaign would go at twice its pace. */
	if (!store_turn_take(p->store, TURN, p->owner, now, TURN_SECONDS, 0, &mine, err))
		return false;
	if (!mine) {
		c->stepped_ms = 0;
		return true;
	}
	if (now >= c->told + LATE_SECONDS || now < c->told) {
		c->told = now;
		ok = renewal_tell_late(p, now, err);
	}
	c->stepped_ms = ms;
	/* What is urgent does not wait for tidying up. */
	return ok && campaign_go_on(p, now, (double)since / 1000, &c->late_told, err) && remove_old(p, c, now, err);
}
