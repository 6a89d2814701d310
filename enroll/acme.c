/*
 * enroll/acme.c - one signed request to an ACME server: nonce, signature, and what to do when it is not taken.
 *
 * Three refusals are repaired here because they say nothing about the request itself: badNonce (RFC 8555 section 6.5; the answer
 * brings a fresh one), accountDoesNotExist (a CA restored from a backup; the same key is registered again) and a signature by a key that
 * another process has rolled over meanwhile (acme_key.c).  All are certain refusals, so that repeating even newOrder is safe.
 */
#include "config.h"

#include "enroll/acme.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "enroll/ca_count.h"
#include "enroll/problem.h"

/* Servers forget nonces; one that lay around this long costs more requests than it saves. */
#define NONCE_AGE_MS (5 * 60 * 1000)

/* ---- life -------------------------------------------------------------------------------------------------------- */

static bool settings_copy(struct acme_settings *to, const struct ca_config *from)
{
	const struct {
		char **to;
		const char *from;
	} strings[] = {
		{&to->directory_url, from->directory_url},
		{&to->contact, from->contact},
		{&to->account_key, from->account_key},
		{&to->eab_kid, from->eab_kid},
		{&to->eab_key_file, from->eab_key_file},
		{&to->eab_algorithm, from->eab_algorithm ? from->eab_algorithm : "HS256"},
		{&to->profile, from->profile},
		{&to->identifier_type, from->identifier_type ? from->identifier_type : "email"},
		{&to->preferred_issuer, from->preferred_issuer},
	};

	for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
		*strings[i].to = str_dup(strings[i].from);
		if (strings[i].from && !*strings[i].to)
			return false;
	}
	to->accept_terms = from->accept_terms;
	to->token_join = from->token_join;
	return true;
}

static void settings_clear(struct acme_settings *s)
{
	free(s->directory_url);
	free(s->contact);
	free(s->account_key);
	free(s->eab_kid);
	free(s->eab_key_file);
	free(s->eab_algorithm);
	free(s->profile);
	free(s->identifier_type);
	free(s->preferred_issuer);
}

struct acme *acme_new(const struct ca_config *config, struct err *err)
{
	struct http_settings http = {.ca_file = config->ca_file, .contact = config->contact, .total_seconds = config->timeout_seconds,
		.proxy = config->proxy, .connections = config->connections};
	struct acme *a;

	if (!http_url_good(config->directory_url)) {
		err_set(err, ERR_CONFIG, "prepare CA", config->directory_url, "ca.directory-url \"%s\" is no https URL",
			config->directory_url ? config->directory_url : "");
		return NULL;
	}
	a = calloc(1, sizeof *a);
	if (!a) {
		err_nomem(err, "prepare CA");
		return NULL;
	}
	pthread_mutex_init(&a->lock, NULL);
	pthread_mutex_init(&a->preparing, NULL);
	a->label = metrics_ca(config->name ? config->name : "ca");
	if (!settings_copy(&a->set, config)) {
		err_nomem(err, "prepare CA");
		goto fail;
	}
	a->key = jws_key_load(config->account_key ? config->account_key : "", err);
	if (a->key)
		snprintf(a->file_key, sizeof a->file_key, "%s", jws_thumbprint(a->key));
	a->http = a->key ? http_new(&http, err) : NULL;
	if (a->http)
		return a;
fail:
	acme_free(a);
	return NULL;
}

void acme_free(struct acme *a)
{
	if (!a)
		return;
	http_free(a->http);
	jws_key_free(a->key);
	acme_directory_clear(&a->directory);
	strlist_clear(&a->former_accounts);
	free(a->account);
	settings_clear(&a->set);
	pthread_mutex_destroy(&a->lock);
	pthread_mutex_destroy(&a->preparing);
	free(a);
}

/* ---- nonces ------------------------------------------------------------------------------------------------------ */

/* RFC 8555 section 6.5.1: one that is no base64url text is to be ignored. */
static bool nonce_good(const char *nonce)
{
	size_t n = 0;

	while (nonce[n] && (isalnum((unsigned char)nonce[n]) || nonce[n] == '-' || nonce[n] == '_'))
		n++;
	return n > 0 && n < ACME_NONCE_MAX && nonce[n] == '\0';
}

void acme_nonce_put(struct acme *a, const char *nonce)
{
	if (!nonce || !nonce_good(nonce))
		return;
	pthread_mutex_lock(&a->lock);
	if (a->n_nonces == ACME_NONCES)
		memmove(a->nonces, a->nonces + 1, --a->n_nonces * sizeof *a->nonces);
	strcpy(a->nonces[a->n_nonces].text, nonce);
	a->nonces[a->n_nonces++].ms = mono_ms();
	pthread_mutex_unlock(&a->lock);
}

/* The newest one, as the oldest are the likeliest to be forgotten by the CA. */
static bool nonce_pooled(struct acme *a, char out[ACME_NONCE_MAX])
{
	bool found;

	pthread_mutex_lock(&a->lock);
	if (a->n_nonces && mono_ms() - a->nonces[a->n_nonces - 1].ms > NONCE_AGE_MS)
		a->n_nonces = 0; /* the others are older still */
	found = a->n_nonces > 0;
	if (found)
		strcpy(out, a->nonces[--a->n_nonces].text);
	pthread_mutex_unlock(&a->lock);
	return found;
}

static bool nonce_fetch(struct acme *a, char out[ACME_NONCE_MAX], struct err *err)
{
	struct http_request q = {.method = HTTP_HEAD};
	struct http_response r = HTTP_RESPONSE_INIT;
	char *url = NULL;
	bool ok = false;

	if (!acme_resource(a, ACME_NEW_NONCE, &url, err))
		return false;
	q.url = url;
	if (ca_count_http(a->http, a->label, "fetch nonce", &q, &r, err) != HTTP_ANSWERED)
		goto out;
	if (r.replay_nonce && nonce_good(r.replay_nonce)) {
		strcpy(out, r.replay_nonce);
		ok = true;
	} else if (r.status >= 300) {
		problem_from_answer(&r, "fetch nonce", url, time(NULL), err);
	} else {
		err_set(err, ERR_TEMPORARY, "fetch nonce", url, "the CA's answer cannot be used: it brings no nonce");
	}
out:
	http_response_clear(&r);
	free(url);
	return ok;
}

/* ---- tickets ----------------------------------------------------------------------------------------------------- */

void acme_ticket_new(struct acme *a, char out[24])
{
	struct buf b = BUF_INIT;

	random_text(&b, 12);
	snprintf(out, 24, "%s", buf_str(&b));
	buf_clear(&b);
	pthread_mutex_lock(&a->lock);
	memcpy(a->tickets[a->next_ticket], out, 24);
	a->next_ticket = (a->next_ticket + 1) % ACME_TICKETS;
	pthread_mutex_unlock(&a->lock);
}

bool acme_ticket_take(struct acme *a, const char *ticket)
{
	bool found = false;

	if (!ticket || !*ticket)
		return false;
	pthread_mutex_lock(&a->lock);
	for (size_t i = 0; i < ACME_TICKETS && !found; i++)
		if (strcmp(a->tickets[i], ticket) == 0) {
			a->tickets[i][0] = '\0';
			found = true;
		}
	pthread_mutex_unlock(&a->lock);
	return found;
}

/* ---- one request ------------------------------------------------------------------------------------------------- */

void acme_answer_clear(struct acme_answer *answer)
{
	http_response_clear(&answer->http);
	answer->sent = false;
}

bool acme_blame(const struct acme_answer *answer, struct err *err)
{
	if (err && !err->status)
		err->status = (int)answer->http.status;
	return false;
}

enum verdict { TAKEN, REFUSED, BAD_NONCE, ACCOUNT_UNKNOWN, KEY_DOUBTFUL };

/* RFC 8555 has no problem type for a signature by the wrong key: servers say malformed or unauthorized, some badSignatureAlgorithm when
 * the old key was of another kind. */
static bool key_doubtful(const struct err *err)
{
	static const char *const types[] = {"malformed", "unauthorized", "badPublicKey", "badSignatureAlgorithm", "http-400", "http-401", "http-403"};

	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (strcmp(err->type, types[i]) == 0)
			return true;
	return false;
}

static enum verdict judge(const struct acme_call *call, const struct http_response *r, struct err *err)
{
	if (r->status >= 200 && r->status < 300)
		return TAKEN;
	problem_from_answer(r, call->op, call->url, time(NULL), err);
	if (strcmp(err->type, "badNonce") == 0)
		return BAD_NONCE;
	if (call->key)
		return REFUSED;
	if (strcmp(err->type, "accountDoesNotExist") == 0)
		return ACCOUNT_UNKNOWN;
	return key_doubtful(err) ? KEY_DOUBTFUL : REFUSED;
}

struct signer {
	struct jws_key *key;
	char *kid; /* NULL = the key itself goes into the header */
};

static void signer_clear(struct signer *s)
{
	jws_key_free(s->key);
	free(s->kid);
	*s = (struct signer){0};
}

static bool signer_choose(struct acme *a, const struct acme_call *call, struct signer *s, struct err *err)
{
	signer_clear(s);
	if (call->key) {
		s->key = jws_key_ref(call->key);
		s->kid = str_dup(call->kid);
		return s->kid || !call->kid || err_nomem(err, call->op);
	}
	/* Once is enough, unless another thread found meanwhile that account or key are others by now. */
	for (int i = 0; i < 3 && !s->kid; i++) {
		signer_clear(s);
		if (!acme_ready(a, err))
			return false;
		s->key = acme_identity(a, &s->kid);
	}
	return s->kid || err_set(err, ERR_TEMPORARY, call->op, call->url, "the account at the CA is being looked up again");
}

/* Sign with `nonce` and send.  False when there is no whole answer; answer->sent says whether it may have been acted upon. */
static bool send_once(struct acme *a, const struct acme_call *call, const char *nonce, const struct signer *signer, struct acme_answer *answer,
	struct err *err)
{
	struct jws_header header = {.url = call->url, .nonce = nonce, .kid = signer->kid};
	struct http_request q = {
		.method = HTTP_POST,
		.url = call->url,
		.accept = call->accept ? call->accept : "application/json, application/problem+json",
		.content_type = "application/jose+json",
		.max_body = call->max_body,
		.once = call->once,
	};
	struct buf body = BUF_INIT;
	enum http_fate fate = HTTP_UNSENT;

	acme_answer_clear(answer);
	if (jws_sign(signer->key, &header, call->payload, &body, err)) {
		q.body = body.data;
		q.len = body.len;
		fate = ca_count_http(a->http, a->label, call->op, &q, &answer->http, err);
		acme_nonce_put(a, answer->http.replay_nonce);
		answer->sent = fate != HTTP_UNSENT;
	}
	if (err && fate != HTTP_ANSWERED)
		snprintf(err->op, sizeof err->op, "%s", call->op);
	buf_clear(&body);
	return fate == HTTP_ANSWERED;
}

/* The first try of a request takes what the pool has; after a rejection the pool may be full of equally bad ones, so that then the
 * nonce that came with the rejection is on top of it. */
static bool nonce_for(struct acme *a, char nonce[ACME_NONCE_MAX], struct err *err)
{
	return nonce_pooled(a, nonce) || nonce_fetch(a, nonce, err);
}

struct repeats {
	unsigned nonce, account, key;
};

/* Is the refusal repaired, so that the same request may go again? */
static bool repaired(struct acme *a, enum verdict verdict, const struct signer *signer, struct repeats *n, struct acme_answer *out,
	struct err *err)
{
	struct err unclear = ERR_INIT;

	switch (verdict) {
	case BAD_NONCE:
		pthread_mutex_lock(&a->lock);
		a->nonces_refused++;
		pthread_mutex_unlock(&a->lock);
		return n->nonce++ < ACME_BAD_NONCE_TRIES;
	case ACCOUNT_UNKNOWN:
		acme_account_forget(a, signer->kid);
		return n->account++ == 0;
	case KEY_DOUBTFUL:
		if (n->key++ > 0)
			return false;
		switch (acme_key_search_locked(a, signer->key, &unclear)) {
		case ACME_KEY_OTHER:
			return true;
		case ACME_KEY_UNCLEAR:
			*err = unclear;
			acme_answer_clear(out); /* nothing of it is about the request */
			return false;
		default:
			return false;
		}
	default:
		return false;
	}
}

bool acme_post(struct acme *a, const struct acme_call *call, struct acme_answer *out, struct err *err)
{
	struct repeats repeats = {0};
	struct signer signer = {0};
	char nonce[ACME_NONCE_MAX];
	enum verdict verdict;
	struct err own = ERR_INIT; /* judge reads it, so there must be one */
	bool again = true, ok = false;

	memset(out, 0, sizeof *out);
	while (again) {
		if (!signer_choose(a, call, &signer, &own) || !nonce_for(a, nonce, &own) || !send_once(a, call, nonce, &signer, out, &own))
			break;
		verdict = judge(call, &out->http, &own);
		ok = verdict == TAKEN;
		again = repaired(a, verdict, &signer, &repeats, out, &own);
		if (again)
			acme_answer_clear(out); /* was certainly not acted upon; its status is not that of whatever fails next */
	}
	signer_clear(&signer);
	if (!ok)
		acme_blame(out, &own);
	/* Who was refused so often has used up what a minute allows, and more. */
	if (repeats.nonce > ACME_BAD_NONCE_TRIES && own.retry_at < time(NULL) + 60 * (time_t)repeats.nonce)
		own.retry_at = time(NULL) + 60 * (time_t)repeats.nonce;
	if (!ok && err)
		*err = own;
	return ok;
}
