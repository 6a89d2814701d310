/*
 * enroll/acme_account.c - the CA's directory and our account.
 *
 * The account is found by its key: first by asking for an existing one (onlyReturnExisting), which needs neither terms nor EAB - the EAB key
 * is often good for one use and taken out of the configuration afterwards - and only then by making one.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "enroll/acme.h"
#include "enroll/enroll.h"
#include "enroll/member.h"
#include "enroll/problem.h"

#define DIRECTORY_AGE_MS (3600 * 1000)
#define DIRECTORY_RETRY_MS (300 * 1000)

/* ---- directory --------------------------------------------------------------------------------------------------- */

static void directory_replace(struct acme *a, struct acme_directory *fresh)
{
	struct acme_directory old;

	pthread_mutex_lock(&a->lock);
	old = a->directory;
	a->directory = *fresh;
	a->has_directory = true;
	a->directory_ms = mono_ms();
	pthread_mutex_unlock(&a->lock);
	acme_directory_clear(&old);
	memset(fresh, 0, sizeof *fresh);
}

static bool directory_fetch(struct acme *a, struct err *err)
{
	struct http_request q = {.method = HTTP_GET, .url = a->set.directory_url, .accept = "application/json"};
	struct http_response r = HTTP_RESPONSE_INIT;
	struct acme_directory fresh;
	bool ok = false;

	if (http_perform(a->http, &q, &r, err) != HTTP_ANSWERED) {
		if (err)
			snprintf(err->op, sizeof err->op, "fetch directory");
	} else if (r.status != 200) {
		problem_from_answer(&r, "fetch directory", q.url, time(NULL), err);
	} else if (acme_directory_parse(r.body.data, r.body.len, q.url, &fresh, err)) {
		acme_nonce_put(a, r.replay_nonce);
		directory_replace(a, &fresh);
		ok = true;
	}
	http_response_clear(&r);
	return ok;
}

static bool directory_fresh(struct acme *a)
{
	bool fresh;

	pthread_mutex_lock(&a->lock);
	fresh = a->has_directory && mono_ms() - a->directory_ms < DIRECTORY_AGE_MS;
	pthread_mutex_unlock(&a->lock);
	return fresh;
}

/* A directory changes rarely: when a new copy is not to be had, orders under way go on with the old one. */
static bool directory_keep(struct acme *a)
{
	bool has;

	pthread_mutex_lock(&a->lock);
	has = a->has_directory;
	a->directory_ms = mono_ms() - DIRECTORY_AGE_MS + DIRECTORY_RETRY_MS;
	pthread_mutex_unlock(&a->lock);
	return has;
}

static bool resource_copy(struct acme *a, enum acme_resource which, char **out, bool *has_directory)
{
	pthread_mutex_lock(&a->lock);
	*has_directory = a->has_directory;
	*out = str_dup(a->directory.url[which]);
	pthread_mutex_unlock(&a->lock);
	return *out != NULL;
}

bool acme_resource(struct acme *a, enum acme_resource which, char **out, struct err *err)
{
	bool has_directory;

	if (resource_copy(a, which, out, &has_directory))
		return true;
	if (!has_directory) {
		if (!directory_fetch(a, err))
			return false;
		if (resource_copy(a, which, out, &has_directory))
			return true;
	}
	return err_set(err, ERR_CONFIG, "read directory", a->set.directory_url, "the CA does not offer this");
}

/* ---- account ----------------------------------------------------------------------------------------------------- */

char *acme_account_copy(struct acme *a)
{
	char *url;

	pthread_mutex_lock(&a->lock);
	url = str_dup(a->account);
	pthread_mutex_unlock(&a->lock);
	return url;
}

const char *acme_account_uri(struct acme *a)
{
	const char *url;

	pthread_mutex_lock(&a->lock);
	url = a->account;
	pthread_mutex_unlock(&a->lock);
	return url;
}

/* Somebody may still read a URL that acme_account_uri gave out: it is kept till the end.  Call with the lock held. */
static void account_set(struct acme *a, const char *url)
{
	if (a->account && url && strcmp(a->account, url) == 0)
		return;
	if (a->account && a->former_accounts.n < 1000) {
		char **v = realloc(a->former_accounts.v, (a->former_accounts.n + 1) * sizeof *v);

		if (v) {
			a->former_accounts.v = v;
			v[a->former_accounts.n++] = a->account;
		}
	}
	a->account = str_dup(url);
}

void acme_account_forget(struct acme *a, const char *url)
{
	pthread_mutex_lock(&a->lock);
	if (a->account && strcmp(a->account, url) == 0)
		account_set(a, NULL);
	pthread_mutex_unlock(&a->lock);
}

static bool account_taken(struct acme *a, const char *url, const struct acme_answer *answer, struct err *err)
{
	struct member_source from = {"register account", url, err};
	json_t *j = member_parse(&from, answer->http.body.data, answer->http.body.len);
	const char *status = NULL;
	char *kid = NULL;
	bool ok = false;

	if (!j || !member_string(&from, j, "status", MEMBER_OPTIONAL, &status))
		goto out;
	if (status && strcmp(status, "valid") != 0) {
		err_set(err, ERR_CONFIG, from.op, url,
			"the CA says that the account of ca.account-key is \"%.40s\". An account that was given up cannot be used again: move the key file away "
			"and run `enrollctl init`",
			status);
		goto out;
	}
	kid = answer->http.location ? http_url_resolve(url, answer->http.location) : NULL;
	if (!kid) {
		member_wrong(&from, "it names no URL for the account");
		goto out;
	}
	pthread_mutex_lock(&a->lock);
	account_set(a, kid);
	ok = a->account != NULL;
	pthread_mutex_unlock(&a->lock);
	if (!ok)
		err_nomem(err, from.op);
out:
	free(kid);
	json_decref(j);
	return ok;
}

/* *found stays false, with true returned, when the CA has no account for this key.  err must be there. */
static bool account_find(struct acme *a, const char *url, bool *found, struct err *err)
{
	json_t *payload = json_pack("{s:b}", "onlyReturnExisting", 1);
	struct acme_call call = {.op = "look for account", .url = url, .payload = payload, .by_key = true};
	struct acme_answer answer = {0};
	bool ok;

	*found = false;
	if (!payload)
		return err_nomem(err, call.op);
	if (acme_post(a, &call, &answer, err))
		ok = *found = account_taken(a, url, &answer, err);
	else
		ok = strcmp(err->type, "accountDoesNotExist") == 0;
	if (ok)
		err_clear(err);
	acme_answer_clear(&answer);
	json_decref(payload);
	return ok;
}

static json_t *binding_new(struct acme *a, const char *url, struct err *err)
{
	struct buf mac_key = BUF_INIT;
	json_t *binding = NULL;

	if (!a->set.eab_key_file)
		err_set(err, ERR_CONFIG, "bind external account", "ca.eab", "ca.eab has a kid but no key-file");
	else if (secret_read(&mac_key, a->set.eab_key_file, true, err))
		binding = jws_external_binding(a->key, url, a->set.eab_kid, buf_str(&mac_key), a->set.eab_algorithm, err);
	buf_wipe(&mac_key);
	return binding;
}

/* Whoever calls has seen to it that terms are accepted where there are any. */
static bool account_make(struct acme *a, const char *url, struct err *err)
{
	json_t *payload = json_pack("{s:b}", "termsOfServiceAgreed", a->set.accept_terms), *binding = NULL;
	struct acme_call call = {.op = "register account", .url = url, .payload = payload, .by_key = true};
	struct acme_answer answer = {0};
	bool ok = payload != NULL;

	if (!ok)
		err_nomem(err, call.op);
	if (ok && a->set.contact && *a->set.contact) {
		ok = json_object_set_new(payload, "contact", json_pack("[s]", a->set.contact)) == 0;
		if (!ok)
			err_set(err, ERR_CONFIG, call.op, a->set.contact, "ca.contact is no UTF-8 text");
	}
	if (ok && a->set.eab_kid) {
		binding = binding_new(a, url, err);
		ok = binding && json_object_set_new(payload, "externalAccountBinding", binding) == 0;
	}
	ok = ok && acme_post(a, &call, &answer, err) && account_taken(a, url, &answer, err);
	acme_answer_clear(&answer);
	json_decref(payload);
	return ok;
}

/* ---- is the CA what the configuration says it is ----------------------------------------------------------------- */

static bool profile_offered(struct acme *a, struct err *err)
{
	struct buf offers = BUF_INIT;

	if (!a->set.profile || strlist_has(&a->directory.profiles, a->set.profile))
		return true;
	for (size_t i = 0; i < a->directory.profiles.n && offers.len < 600; i++)
		buf_printf(&offers, "%s\"%s\"", i ? ", " : "", a->directory.profiles.v[i]);
	err_set(err, ERR_CONFIG, "choose profile", a->set.directory_url, "the CA has no profile \"%s\" (ca.profile); it offers %s", a->set.profile,
		offers.len ? buf_str(&offers) : "none at all: leave ca.profile out");
	buf_clear(&offers);
	return false;
}

static bool terms_accepted(struct acme *a, struct err *err)
{
	if (!a->directory.terms || a->set.accept_terms)
		return true;
	return err_set(err, ERR_CONFIG, "accept terms", a->directory.terms,
		"the CA has terms of service: read %s and set ca.accept-terms = true if you agree", a->directory.terms);
}

/* Under the lock, as the directory may be replaced; no network in here. */
static bool offer_good(struct acme *a, bool *eab_required, struct err *err)
{
	bool ok;

	pthread_mutex_lock(&a->lock);
	ok = profile_offered(a, err) && terms_accepted(a, err);
	*eab_required = a->directory.eab_required;
	pthread_mutex_unlock(&a->lock);
	return ok;
}

static bool account_ensure(struct acme *a, bool eab_required, struct err *err)
{
	char *url = NULL, *known = acme_account_copy(a);
	bool found = known != NULL, ok;

	free(known);
	if (found)
		return true;
	ok = acme_resource(a, ACME_NEW_ACCOUNT, &url, err) && account_find(a, url, &found, err);
	if (ok && !found && eab_required && !a->set.eab_kid)
		ok = err_set(err, ERR_CONFIG, "register account", url,
			"this CA wants accounts bound to a contract (external account binding): put the key id and key that it gave you into ca.eab");
	if (ok && !found)
		ok = account_make(a, url, err);
	free(url);
	return ok;
}

bool acme_ready(struct acme *a, struct err *err)
{
	bool eab_required, ok;
	char *known = directory_fresh(a) ? acme_account_copy(a) : NULL;
	struct err own = ERR_INIT;

	if (known) {
		free(known);
		return true;
	}
	pthread_mutex_lock(&a->preparing);
	ok = (directory_fresh(a) || directory_fetch(a, &own) || directory_keep(a)) && offer_good(a, &eab_required, &own) &&
	     account_ensure(a, eab_required, &own);
	pthread_mutex_unlock(&a->preparing);
	if (!ok && err)
		*err = own;
	return ok;
}

static bool lists_copy(const struct strlist *from, struct strlist *to)
{
	for (size_t i = 0; i < from->n; i++)
		if (!strlist_add(to, from->v[i]))
			return false;
	return true;
}

/* What the directory says; the account only when `with_account`. */
static bool info_fill(struct acme *a, bool with_account, struct ca_info *out, struct err *err)
{
	bool ok;

	memset(out, 0, sizeof *out);
	pthread_mutex_lock(&a->lock);
	if (with_account)
		out->account_uri = str_dup(a->account);
	out->terms = str_dup(a->directory.terms);
	out->eab_required = a->directory.eab_required;
	out->has_renewal_info = a->directory.url[ACME_RENEWAL_INFO] != NULL;
	out->has_revocation = a->directory.url[ACME_REVOKE_CERT] != NULL;
	out->has_key_change = a->directory.url[ACME_KEY_CHANGE] != NULL;
	ok = (out->account_uri || !with_account) && (out->terms || !a->directory.terms) &&
	     lists_copy(&a->directory.caa_identities, &out->caa_identities) && lists_copy(&a->directory.profiles, &out->profiles);
	pthread_mutex_unlock(&a->lock);
	if (ok)
		return true;
	ca_info_clear(out);
	return err_nomem(err, "read directory");
}

bool acme_prepare(struct acme *a, struct ca_info *out, struct err *err)
{
	memset(out, 0, sizeof *out);
	return acme_ready(a, err) && info_fill(a, true, out, err);
}

bool acme_discover(struct acme *a, struct ca_info *out, struct err *err)
{
	memset(out, 0, sizeof *out);
	return directory_fetch(a, err) && info_fill(a, false, out, err);
}
