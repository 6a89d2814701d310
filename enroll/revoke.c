/*
 * enroll/revoke.c - revoke at the CA, and take out of the directory: one step of one part.
 */
#include "config.h"

#include "enroll/account_gate.h"
#include "enroll/hygiene.h"
#include "enroll/revoke.h"

#include <stdlib.h>
#include <string.h>

#define LEASE_SECONDS 600
#define BACKOFF_FIRST 5      /* a key in a stranger's hands does not wait long */
#define BACKOFF_MOST 3600
#define RETRY_MOST 86400     /* a CA that names a later time is asked again before */

struct act {
	struct enroll_parts *p;
	struct store_revocation r;
	char text[HYGIENE_TEXT]; /* what was done */
};

/* ---- the CA -------------------------------------------------------------------------------------------------------- */

/* What the admin has to know, in the place of the CA's bare words. */
static void explain(const struct act *a, struct err *err)
{
	char words[900];

	if (strcmp(err->type, "unauthorized") != 0)
		return;
	snprintf(words, sizeof words, "%.890s", err->text);
	snprintf(err->text, sizeof err->text, "the CA does not let this account revoke certificate %.120s, which was issued to another account: as root, run "
		"`enrollctl revoke %.120s --with-key`, which asks by the certificate's own key, or turn to the CA's own desk; until then it is asked again. "
		"The CA says: %.600s", a->r.certificate.serial, a->r.certificate.serial, words);
}

static bool at_ca(struct act *a, struct err *err)
{
	const struct enroll_ca *ca = enroll_ca_find(a->p, a->r.ca);
	const struct store_certificate *c = &a->r.certificate;
	bool ok, without_reason;

	if (!ca)
		return err_set(err, ERR_CONFIG, "revoke certificate", a->r.address,
			"certificate %.120s came from the CA \"%s\", which the configuration has no more: name it again until this is done", c->serial, a->r.ca);
	ok = ca_revoke_named(ca->ca, c->der, c->der_len, a->r.reason, NULL, &without_reason, err);
	if (without_reason)
		snprintf(a->text, sizeof a->text, "the CA has revoked certificate %.120s, without a reason, as it does not take %s", c->serial, a->r.reason);
	else
		snprintf(a->text, sizeof a->text, "the CA has revoked certificate %.120s (%s)", c->serial, a->r.reason);
	if (!ok && err->class == ERR_CA && c->not_after < time(NULL)) {
		snprintf(a->text, sizeof a->text, "certificate %.120s has expired, and the CA does not revoke it any more: %.600s", c->serial, err->text);
		err_clear(err);
		ok = true;
	}
	if (!ok)
		explain(a, err);
	return ok;
}

/* ---- the directory --------------------------------------------------------------------------------------------------- */

static bool in_directory(struct act *a, struct err *err)
{
	return hygiene_take_out(a->p, &a->r.certificate, a->text, err);
}

/* ---- one step -------------------------------------------------------------------------------------------------------- */

static time_t again_at(const struct store_revocation_part *part, const struct err *why, time_t now)
{
	time_t wait = BACKOFF_FIRST, at;

	for (unsigned i = 0; i < part->attempts && wait < BACKOFF_MOST; i++)
		wait *= 2;
	wait = wait < BACKOFF_MOST ? wait : BACKOFF_MOST;
	at = now + wait + (time_t)random_below((uint64_t)wait / 2 + 1);
	if (why->retry_at > at)
		at = why->retry_at < now + RETRY_MOST ? why->retry_at : now + RETRY_MOST;
	return at;
}

static void log_part(const struct act *a, enum revocation_part part, const struct err *why, const struct store_revocation_result *result)
{
	const struct store_certificate *c = &a->r.certificate;
	char until[32];

	if (result->failure)
		log_event(LOG_LEVEL_WARNING, "revocation_failed", "enrollment", LOG_NUM(a->r.enrollment_id), "address", a->r.address, "serial", c->serial, "part",
			revocation_part_name(part), "class", err_class_name(why->class), "type", why->type[0] ? why->type : NULL, "until",
			time_text(result->next_at, until), "text", why->text, NULL);
	else
		log_event(LOG_LEVEL_INFO, "revocation", "enrollment", LOG_NUM(a->r.enrollment_id), "address", a->r.address, "serial", c->serial, "part",
			revocation_part_name(part), "reason", a->r.reason, "text", a->text, NULL);
}

/* What was done outside is worth more than one try; if it cannot be noted it is done once more later, which does no harm. */
static bool commit(struct act *a, enum revocation_part part, const struct store_revocation_result *result, bool *stale, struct err *err)
{
	for (unsigned tries = 0; !store_revocation_commit(a->p->store, &a->r, part, result, stale, err);) {
		if (!store_worth_another_try(&tries, err))
			return false;
		err_clear(err);
	}
	return true;
}

bool revoke_step(struct enroll_parts *p, enum revocation_part part, const char *owner, bool *did, struct err *err)
{
	struct act a = {.p = p};
	struct err why = ERR_INIT;
	time_t now = time(NULL);
	struct store_revocation_result result = {0};
	const char *before;
	bool ok, stale = false;

	*did = false;
	if (part == REVOCATION_CA && account_gate_shut(p))
		return true;
	if (!store_revocation_claim(p->store, part, owner, now, LEASE_SECONDS, &a.r, did, err) || !*did)
		return err->class == ERR_NONE;
	if (part == REVOCATION_CA ? at_ca(&a, &why) : in_directory(&a, &why)) {
		result.event = part == REVOCATION_CA ? "revoked_at_ca" : "unpublished";
		result.text = a.text;
	} else {
		before = a.r.parts[part].why;
		result.failure = &why;
		result.next_at = again_at(&a.r.parts[part], &why, time(NULL));
		/* The same again and again is in the history once. */
		result.event = before && strcmp(before, why.text) == 0 ? NULL : "revocation_failed";
		result.text = why.text;
	}
	ok = commit(&a, part, &result, &stale, err);
	if (ok && !stale)
		log_part(&a, part, &why, &result);
	store_revocation_clear(&a.r);
	return ok;
}
