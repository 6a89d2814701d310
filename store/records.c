/*
 * store/records.c - what store.h hands out: names of states, and how each record gives its memory back.
 */
#include "config.h"

#include "store/store.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

/* ---- states ------------------------------------------------------------------------------------------------------ */

static const char *const state_names[ENROLLMENT_STATES] = {
	[ENROLLMENT_REQUESTED] = "requested",
	[ENROLLMENT_ELIGIBLE] = "eligible",
	[ENROLLMENT_CAA_CHECKED] = "caa-checked",
	[ENROLLMENT_ORDERING] = "ordering",
	[ENROLLMENT_ORDERED] = "ordered",
	[ENROLLMENT_CHALLENGE_AWAITED] = "challenge-awaited",
	[ENROLLMENT_ANSWERED] = "answered",
	[ENROLLMENT_VALIDATED] = "validated",
	[ENROLLMENT_FINALIZED] = "finalized",
	[ENROLLMENT_ISSUED] = "issued",
	[ENROLLMENT_CHECKED] = "checked",
	[ENROLLMENT_PUBLISHED] = "published",
	[ENROLLMENT_ACTIVE] = "active",
	[ENROLLMENT_WAITING] = "waiting",
	[ENROLLMENT_BLOCKED] = "blocked",
	[ENROLLMENT_FAILED] = "failed",
	[ENROLLMENT_RENEWING] = "renewing",
	[ENROLLMENT_SUPERSEDED] = "superseded",
	[ENROLLMENT_REVOKING] = "revoking",
	[ENROLLMENT_REVOKED] = "revoked",
	[ENROLLMENT_EXPIRED] = "expired",
};

const char *enrollment_state_name(enum enrollment_state s)
{
	return (unsigned)s < ENROLLMENT_STATES ? state_names[s] : "none";
}

bool enrollment_state_parse(const char *name, enum enrollment_state *out)
{
	for (int i = 0; i < ENROLLMENT_STATES; i++)
		if (strcmp(state_names[i], name) == 0) {
			*out = (enum enrollment_state)i;
			return true;
		}
	return false;
}

/* ---- records ----------------------------------------------------------------------------------------------------- */

void enrollment_clear(struct enrollment *e)
{
	strlist_clear(&e->addresses);
	free(e->profile);
	free(e->usage);
	free(e->ca);
	free(e->rule);
	free(e->entry);
	free(e->lease_owner);
	free(e->intent);
	free(e->why);
	free(e->why_subject);
	free(e->why_type);
	free(e->activity);
	free(e->requested_by);
	free(e->ca_state);
	free(e->challenge_from);
	free(e->challenge_address);
	free(e->csr);
	free(e->gone_why);
	free(e->gone_by);
	memset(e, 0, sizeof(*e));
}

void enrollment_list_clear(struct enrollment_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		enrollment_clear(&l->v[i]);
	free(l->v);
	memset(l, 0, sizeof(*l));
}

void store_certificate_clear(struct store_certificate *c)
{
	free(c->der);
	free(c->chain);
	free(c->serial);
	free(c->issuer);
	free(c->fingerprint);
	free(c->addresses);
	free(c->status);
	free(c->why);
	free(c->directory_dn);
	free(c->directory_why);
	memset(c, 0, sizeof(*c));
}

void store_certificate_list_clear(struct store_certificate_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		store_certificate_clear(&l->v[i]);
	free(l->v);
	memset(l, 0, sizeof(*l));
}

void store_credential_clear(struct store_credential *c)
{
	/* Encrypted, but there is no need to leave it lying about. */
	if (c->wrapped != NULL)
		OPENSSL_cleanse(c->wrapped, c->wrapped_len);
	free(c->wrapped);
	free(c->der);
	free(c->chain);
	free(c->rule);
	memset(c, 0, sizeof(*c));
}

void challenge_clear(struct challenge *c)
{
	free(c->token_part1);
	free(c->recipient);
	free(c->message_id);
	free(c->from);
	free(c->reply_to);
	free(c->authentication);
	free(c->disposition);
	free(c->state);
	free(c->reply_message_id);
	free(c->why);
	free(c->report_token);
	memset(c, 0, sizeof(*c));
}

void challenge_list_clear(struct challenge_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		challenge_clear(&l->v[i]);
	free(l->v);
	memset(l, 0, sizeof(*l));
}

void report_clear(struct report *r)
{
	free(r->action);
	free(r->status);
	free(r->diagnostic);
	free(r->remote);
	free(r->reporter);
	memset(r, 0, sizeof(*r));
}

void report_list_clear(struct report_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		report_clear(&l->v[i]);
	free(l->v);
	memset(l, 0, sizeof(*l));
}

void store_limit_list_clear(struct store_limit_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->v[i].ca);
		free(l->v[i].scope);
		free(l->v[i].text);
	}
	free(l->v);
	memset(l, 0, sizeof(*l));
}

void awaited_clear(struct awaited *a)
{
	free(a->challenge_from);
	free(a->challenge_address);
	free(a->ca);
	memset(a, 0, sizeof(*a));
}

static void event_clear(struct event *e)
{
	free(e->name);
	free(e->actor);
	free(e->address);
	free(e->text);
}

void event_list_clear(struct event_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		event_clear(&l->v[i]);
	free(l->v);
	memset(l, 0, sizeof(*l));
}

void mail_event_clear(struct mail_event *m)
{
	free(m->queue_id);
	free(m->message_id);
	free(m->login);
	free(m->from);
	free(m->verdict);
	free(m->reason);
	free(m->detail);
	free(m->action);
	free(m->certificate);
	memset(m, 0, sizeof(*m));
}

void mail_event_list_clear(struct mail_event_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		mail_event_clear(&l->v[i]);
	free(l->v);
	memset(l, 0, sizeof(*l));
}

static void observed_clear(struct observed *o)
{
	free(o->from);
	free(o->login);
	free(o->verdict);
	free(o->reason);
}

void observed_list_clear(struct observed_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		observed_clear(&l->v[i]);
	free(l->v);
	memset(l, 0, sizeof(*l));
}

void mail_reason_list_clear(struct mail_reason_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->v[i].verdict);
		free(l->v[i].reason);
	}
	free(l->v);
	memset(l, 0, sizeof(*l));
}
