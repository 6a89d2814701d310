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
#include "enroll/ca_count.h"
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

	if (ca_count_http(a->http, a->label, "fetch directory", &q, &r, err) != HTTP_ANSWERED) {
		if (err)
			snprintf(err->op, sizeof err->op, "fetch directory");
	} else if (r.status != 200) {
		problem_from_answer(&r, "fetch directory", q.url, time(NULL), err);
	} else if (acme_directory_parse(r.body.data, r.body.len, q.url, &fresh, err)) {
		acme_nonce_put(a, r.replay_nonce);
		directory_replace(a, &fresh);
		ok = true;
	}
	if (!ok && err && !err->status)
		err->status = (int)r.status;
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
	return err_set(err, ERR_CONFIG, "read directory", a->set.directory_url, "the CA does not offer this (its directory has no \"%s\")",
		acme_resource_name(which));
}

/* ---- account ----------------------------------------------------------------------------------------------------- */

struct jws_key *acme_identity(struct acme *a, char **kid)
{
	struct jws_key *key;

	pthread_mutex_lock(&a->lock);
	*kid = str_dup(a->account);
	key = jws_key_ref(a->key);
	pthread_mutex_unlock(&a->lock);
	return key;
}

static bool account_known(struct acme *a)
{
	bool known;

	pthread_mutex_lock(&a->lock);
	known = a->account != NULL;
	pthread_mutex_unlock(&a->lock);
	return known;
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

/* What the CA says about the account in answer to newAccount. */
static bool account_read(const char *url, const struct acme_answer *answer, struct ca_account *out, struct err *err)
{
	struct member_source from = {.op = "look for account", .url = url, .err = err};
	bool ok = acme_account_parse(answer->http.body.data, answer->http.body.len, url, out, err);

	if (ok) {
		out->uri = answer->http.location ? http_url_resolve(url, answer->http.location) : NULL;
		ok = out->uri || member_wrong(&from, "it names no URL for the account");
	}
	return ok || acme_blame(answer, err);
}

/* Does the CA have another contact than the configuration?  Asked once: a CA that keeps none, or writes it in its own way, would be told at
 * every look. */
static void contact_judge(struct acme *a, const struct ca_account *account)
{
	const char *ours = a->set.contact;

	if (a->contact_judged)
		return;
	a->contact_judged = true;
	a->contact_stale = ours && *ours && (account->contacts.n != 1 || strcmp(account->contacts.v[0], ours) != 0);
}

static bool account_adopt(struct acme *a, const struct ca_account *account, struct err *err)
{
	bool ok;

	if (strcmp(account->status, "valid") != 0)
		return err_set(err, ERR_CONFIG, "look for account", account->uri,
			"the CA says that the account of ca.account-key is \"%.40s\". An account that was given up cannot be used again: move the key file away "
			"and run `enrollctl init`",
			account->status);
	pthread_mutex_lock(&a->lock);
	account_set(a, account->uri);
	ok = a->account != NULL;
	contact_judge(a, account);
	pthread_mutex_unlock(&a->lock);
	return ok || err_nomem(err, "look for account");
}

bool acme_account_find(struct acme *a, struct jws_key *key, struct ca_account *out, bool *found, struct err *err)
{
	json_t *payload = json_pack("{s:b}", "onlyReturnExisting", 1);
	struct acme_call call = {.op = "look for account", .payload = payload, .key = key};
	struct acme_answer answer = {0};
	struct err own = ERR_INIT;
	char *url = NULL;
	bool ok = payload || err_nomem(&own, call.op);

	*found = false;
	memset(out, 0, sizeof *out);
	ok = ok && acme_resource(a, ACME_NEW_ACCOUNT, &url, &own);
	call.url = url;
	if (ok && acme_post(a, &call, &answer, &own))
		ok = *found = account_read(url, &answer, out, &own);
	else
		ok = ok && strcmp(own.type, "accountDoesNotExist") == 0;
	if (!ok && err)
		*err = own;
	acme_answer_clear(&answer);
	json_decref(payload);
	free(url);
	return ok;
}

bool acme_account_locate(struct acme *a, struct ca_account *out, bool *found, struct err *err)
{
	struct jws_key *key = acme_key_hold(a);
	bool ok = acme_account_find(a, key, out, found, err);

	/* Not known by this key: a rollover may have been cut short, or just happened, and registering anew would part us from the account. */
	if (ok && !*found) {
		switch (acme_key_search(a, key, err)) {
		case ACME_KEY_OTHER:
			jws_key_free(key);
			key = acme_key_hold(a);
			ok = acme_account_find(a, key, out, found, err);
			break;
		case ACME_KEY_UNCLEAR:
			ok = false;
			break;
		default:
			break;
		}
	}
	jws_key_free(key);
	return ok;
}

static json_t *binding_new(struct acme *a, struct jws_key *key, const char *url, struct err *err)
{
	struct buf mac_key = BUF_INIT;
	json_t *binding = NULL;

	if (!a->set.eab_key_file)
		err_set(err, ERR_CONFIG, "bind external account", "ca.eab", "ca.eab has a kid but no key-file");
	else if (secret_read(&mac_key, a->set.eab_key_file, true, err))
		binding = jws_external_binding(key, url, a->set.eab_kid, buf_str(&mac_key), a->set.eab_algorithm, err);
	buf_wipe(&mac_key);
	return binding;
}

/* With a binding sent, an "unauthorized" or "malformed" is about that: RFC 8555 section 7.3.4 has no type of its own for it. */
static bool account_post(struct acme *a, const struct acme_call *call, struct acme_answer *answer, struct err *err)
{
	struct err refusal = ERR_INIT;
	bool ok = acme_post(a, call, answer, &refusal);

	if (!ok && a->set.eab_kid && refusal.class == ERR_CA) {
		refusal.class = ERR_CONFIG;
		snprintf(refusal.text + strlen(refusal.text), sizeof refusal.text - strlen(refusal.text),
			". Compare ca.eab.kid, ca.eab.key-file and ca.eab.algorithm with what the CA gave you; a key may also be good for one account only");
	}
	if (!ok && err)
		*err = refusal;
	return ok;
}

/* Whoever calls has seen to it that terms are accepted where there are any. */
static bool account_make(struct acme *a, struct err *err)
{
	json_t *payload = json_pack("{s:b}", "termsOfServiceAgreed", a->set.accept_terms), *binding = NULL;
	struct acme_call call = {.op = "register account", .payload = payload, .key = acme_key_hold(a)};
	struct acme_answer answer = {0};
	struct ca_account account = {0};
	char *url = NULL;
	bool ok = (payload || err_nomem(err, call.op)) && acme_resource(a, ACME_NEW_ACCOUNT, &url, err);

	if (ok && a->set.contact && *a->set.contact) {
		ok = json_object_set_new(payload, "contact", json_pack("[s]", a->set.contact)) == 0;
		if (!ok)
			err_set(err, ERR_CONFIG, call.op, a->set.contact, "ca.contact is no UTF-8 text");
	}
	if (ok && a->set.eab_kid) {
		binding = binding_new(a, call.key, url, err);
		ok = binding && json_object_set_new(payload, "externalAccountBinding", binding) == 0;
	}
	call.url = url;
	ok = ok && account_post(a, &call, &answer, err) && account_read(url, &answer, &account, err);
	a->contact_judged |= ok; /* it is as we just said */
	ok = ok && account_adopt(a, &account, err);
	ca_account_clear(&account);
	acme_answer_clear(&answer);
	json_decref(payload);
	jws_key_free(call.key);
	free(url);
	return ok;
}

/* ---- is the CA what the configuration says it is ----------------------------------------------------------------- */

/* Under the lock. */
static bool profile_offered(struct acme *a, const char *name, const char *key, struct err *err)
{
	struct buf offers = BUF_INIT;

	if (!name || strlist_has(&a->directory.profiles, name))
		return true;
	for (size_t i = 0; i < a->directory.profiles.n && offers.len < 600; i++)
		buf_printf(&offers, "%s\"%s\"", i ? ", " : "", a->directory.profiles.v[i]);
	if (!offers.len)
		buf_printf(&offers, "none at all: leave %s out", key);
	err_set(err, ERR_CONFIG, "choose profile", a->set.directory_url, "the CA has no profile \"%s\" (%s); it offers %s", name, key, buf_str(&offers));
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
	ok = profile_offered(a, a->set.profile, "ca.profile", err) && terms_accepted(a, err);
	*eab_required = a->directory.eab_required;
	pthread_mutex_unlock(&a->lock);
	return ok;
}

bool acme_profile_offered(struct acme *a, const char *name, struct err *err)
{
	bool ok;

	pthread_mutex_lock(&a->lock);
	ok = profile_offered(a, name, "certificate.ca-profile", err);
	pthread_mutex_unlock(&a->lock);
	return ok;
}

static bool account_ensure(struct acme *a, bool eab_required, struct err *err)
{
	struct ca_account account = {0};
	bool found = false, ok;

	if (account_known(a))
		return true;
	ok = acme_account_locate(a, &account, &found, err);
	if (ok && found)
		ok = account_adopt(a, &account, err);
	else if (ok && eab_required && !a->set.eab_kid)
		ok = err_set(err, ERR_CONFIG, "register account", a->set.directory_url,
			"this CA wants accounts bound to a contract (external account binding): put the key id and key that it gave you into ca.eab");
	else if (ok)
		ok = account_make(a, err);
	ca_account_clear(&account);
	return ok;
}

static bool is_ready(struct acme *a)
{
	return directory_fresh(a) && account_known(a);
}

/* Call with `preparing` held. */
static bool prepare(struct acme *a, struct err *err)
{
	int64_t began = mono_ms();
	bool eab_required;

	if ((directory_fresh(a) || directory_fetch(a, err) || directory_keep(a)) && offer_good(a, &eab_required, err) &&
		account_ensure(a, eab_required, err))
		return true;
	a->failed_ms = began;
	a->failed = *err;
	return false;
}

/* Threads that come while a CA does not answer wait for one another: what the first of them finds out is good for all, or the last one's
 * deadline would be the sum of everybody's, beyond the lease of its enrollment. */
bool acme_ready(struct acme *a, struct err *err)
{
	int64_t came = mono_ms();
	struct err own = ERR_INIT;
	bool ok;

	if (is_ready(a))
		return true;
	pthread_mutex_lock(&a->preparing);
	if (a->failed_ms > came && !is_ready(a)) {
		own = a->failed;
		ok = false;
	} else {
		ok = prepare(a, &own);
	}
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

/* RFC 8555 section 7.3.2.  Nothing depends on it, so that its failure is only told. */
static void contact_update(struct acme *a, struct ca_info *out)
{
	struct acme_call call = {.op = "update contact"};
	struct acme_answer answer = {0};
	struct err err = ERR_INIT;
	struct buf words = BUF_INIT;
	json_t *payload = NULL;
	char *url = NULL;
	bool stale;

	pthread_mutex_lock(&a->lock);
	stale = a->contact_stale;
	a->contact_stale = false;
	url = stale ? str_dup(a->account) : NULL;
	pthread_mutex_unlock(&a->lock);
	if (!stale)
		return;
	payload = json_pack("{s:[s]}", "contact", a->set.contact);
	call.url = url;
	call.payload = payload;
	if (!url || !payload)
		err_nomem(&err, call.op);
	if (err.class != ERR_NONE || !acme_post(a, &call, &answer, &err)) {
		buf_printf(&words, "the account's contact could not be changed to %s: %s", a->set.contact, err.text);
		out->warning = buf_take(&words);
	}
	acme_answer_clear(&answer);
	json_decref(payload);
	free(url);
}

bool acme_prepare(struct acme *a, struct ca_info *out, struct err *err)
{
	memset(out, 0, sizeof *out);
	if (!acme_ready(a, err) || !info_fill(a, true, out, err))
		return false;
	contact_update(a, out);
	return true;
}

bool acme_discover(struct acme *a, struct ca_info *out, struct err *err)
{
	memset(out, 0, sizeof *out);
	return directory_fetch(a, err) && info_fill(a, false, out, err);
}
