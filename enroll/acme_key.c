/*
 * enroll/acme_key.c - the account's key while the program runs, and what people do with the account.
 *
 * `enrollctl account rotate-key` is another process than enrolld (see account.c).  It writes KEY.next, tells the CA, and renames it to KEY.
 * Nobody tells enrolld; it finds out when the CA refuses what the old key signed, and then asks three questions, in this order because the
 * file moves from KEY.next to KEY meanwhile: Is another key in KEY than there was?  In KEY.next, and does the CA know that one?  Again: in
 * KEY?  A KEY.next that the CA knows is as good as KEY, even if whoever made it died before the rename.
 */
#include "config.h"

#include "enroll/acme.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define UNCLEAR_SECONDS 5

struct jws_key *acme_key_hold(struct acme *a)
{
	struct jws_key *key;

	pthread_mutex_lock(&a->lock);
	key = jws_key_ref(a->key);
	pthread_mutex_unlock(&a->lock);
	return key;
}

void acme_key_replace(struct acme *a, struct jws_key *fresh)
{
	struct jws_key *old;
	char *account = NULL;

	pthread_mutex_lock(&a->lock);
	old = a->key;
	a->key = fresh;
	account = str_dup(a->account);
	pthread_mutex_unlock(&a->lock);
	jws_key_free(old);
	/* The same account after a rollover, another one when an admin brought another key: the CA knows. */
	if (account)
		acme_account_forget(a, account);
	free(account);
}

static bool same_key(const struct jws_key *x, const struct jws_key *y)
{
	return strcmp(jws_thumbprint(x), jws_thumbprint(y)) == 0;
}

/* ---- finding a key that took the place of ours --------------------------------------------------------------------- */

/* Has the file of ca.account-key changed since it was last read?  A key taken over from KEY.next is newer than the one that still is there. */
static bool file_changed(struct acme *a, const struct jws_key *key)
{
	bool changed;

	pthread_mutex_lock(&a->lock);
	changed = strcmp(a->file_key, jws_thumbprint(key)) != 0;
	if (changed)
		snprintf(a->file_key, sizeof a->file_key, "%s", jws_thumbprint(key));
	pthread_mutex_unlock(&a->lock);
	return changed;
}

/* Is there another key than `used`, by what the file of ca.account-key says?  One that cannot be read is none: ours still works as far as we
 * know. */
static bool file_search(struct acme *a, const struct jws_key *used)
{
	struct jws_key *key = jws_key_load(a->set.account_key ? a->set.account_key : "", NULL), *now = acme_key_hold(a);
	bool other;

	if (key && file_changed(a, key) && !same_key(key, now))
		acme_key_replace(a, jws_key_ref(key));
	jws_key_free(now);
	jws_key_free(key);
	now = acme_key_hold(a);
	other = !same_key(now, used);
	jws_key_free(now);
	return other;
}

static enum acme_key_found unclear(const char *path, const char *why, struct err *err)
{
	err_set(err, ERR_TEMPORARY, "look for account key", path,
		"the account's key is being changed (%s is there), and %s; goes on by itself, and where nobody is changing it, with `enrollctl account "
		"rotate-key`",
		path, why);
	if (err)
		err->retry_at = time(NULL) + UNCLEAR_SECONDS;
	return ACME_KEY_UNCLEAR;
}

/* *there says whether there is such a file. */
static enum acme_key_found next_search(struct acme *a, const char *path, bool *there, struct err *err)
{
	struct ca_account account = {0};
	struct jws_key *key;
	struct stat st;
	bool known = false, ok;

	*there = lstat(path, &st) == 0 || errno != ENOENT;
	if (!*there)
		return ACME_KEY_SAME;
	key = jws_key_load(path, NULL);
	if (!key)
		return unclear(path, "it cannot be read yet", err);
	ok = acme_account_find(a, key, &account, &known, NULL);
	ca_account_clear(&account);
	if (ok && known) {
		acme_key_replace(a, key);
		return ACME_KEY_OTHER;
	}
	jws_key_free(key);
	return ok ? ACME_KEY_SAME : unclear(path, "the CA could not be asked which one counts", err);
}

enum acme_key_found acme_key_search(struct acme *a, const struct jws_key *used, struct err *err)
{
	struct jws_key *now = acme_key_hold(a);
	bool changed = !same_key(now, used), there;
	enum acme_key_found found = ACME_KEY_SAME;
	struct buf next = BUF_INIT;

	jws_key_free(now);
	if (changed || file_search(a, used))
		return ACME_KEY_OTHER;
	/* What systemd hands over is a copy that nobody changes. */
	if (!a->set.account_key || strncmp(a->set.account_key, "credential:", 11) == 0)
		return ACME_KEY_SAME;
	buf_printf(&next, "%s.next", a->set.account_key);
	if (!next.failed)
		found = next_search(a, buf_str(&next), &there, err);
	/* Gone, or not yet known to the CA when asked: it may have become KEY between our two looks. */
	if (found != ACME_KEY_OTHER && file_search(a, used))
		found = ACME_KEY_OTHER;
	buf_clear(&next);
	return found;
}

enum acme_key_found acme_key_search_locked(struct acme *a, const struct jws_key *used, struct err *err)
{
	enum acme_key_found found;

	pthread_mutex_lock(&a->preparing);
	found = acme_key_search(a, used, err);
	pthread_mutex_unlock(&a->preparing);
	return found;
}

void acme_key_notice(struct acme *a)
{
	struct jws_key *key = acme_key_hold(a);

	file_search(a, key);
	jws_key_free(key);
}

/* ---- looking ------------------------------------------------------------------------------------------------------- */

/* The answer to newAccount need not show the account (RFC 8555 section 7.3.1), the account itself does.  A server that does not let it be
 * read leaves us with what we have. */
static bool account_read_whole(struct acme *a, struct jws_key *key, struct ca_account *out, struct err *err)
{
	struct acme_call call = {.op = "look at account", .url = out->uri, .key = key, .kid = out->uri};
	struct acme_answer answer = {0};
	struct ca_account whole = {0};
	struct err own = ERR_INIT;
	bool ok;

	ok = acme_post(a, &call, &answer, &own) &&
	     (acme_account_parse(answer.http.body.data, answer.http.body.len, out->uri, &whole, &own) || acme_blame(&answer, &own));
	if (ok) {
		whole.uri = out->uri;
		out->uri = NULL;
		ca_account_clear(out);
		*out = whole;
		whole = (struct ca_account){0};
	} else if (own.class != ERR_TEMPORARY) {
		ok = true;
	} else if (err) {
		*err = own;
	}
	ca_account_clear(&whole);
	acme_answer_clear(&answer);
	return ok;
}

/* Key and account as the CA has them; the key is the caller's also on failure. */
static bool locate(struct acme *a, struct jws_key **key, struct ca_account *out, bool *found, struct err *err)
{
	bool ok;

	pthread_mutex_lock(&a->preparing);
	ok = acme_account_locate(a, out, found, err);
	*key = acme_key_hold(a);
	pthread_mutex_unlock(&a->preparing);
	return ok;
}

bool acme_account_look(struct acme *a, struct ca_account *out, bool *found, struct err *err)
{
	struct jws_key *key = NULL;
	bool ok;

	memset(out, 0, sizeof *out);
	ok = locate(a, &key, out, found, err);
	if (ok && *found && strcmp(out->status, "valid") == 0)
		ok = account_read_whole(a, key, out, err);
	if (ok) {
		out->key_type = str_dup(jws_key_type(key));
		out->thumbprint = str_dup(jws_thumbprint(key));
		ok = (out->key_type && out->thumbprint) || err_nomem(err, "look at account");
	}
	if (!ok)
		ca_account_clear(out);
	jws_key_free(key);
	return ok;
}

/* ---- deactivation -------------------------------------------------------------------------------------------------- */

bool acme_account_deactivate(struct acme *a, struct err *err)
{
	struct acme_call call = {.op = "deactivate account"};
	struct acme_answer answer = {0};
	struct ca_account account = {0};
	json_t *payload = json_pack("{s:s}", "status", "deactivated");
	bool found = false, ok = payload || err_nomem(err, call.op);

	ok = ok && locate(a, &call.key, &account, &found, err);
	if (ok && !found)
		ok = err_set(err, ERR_CONFIG, call.op, a->set.directory_url, "the CA has no account for ca.account-key: there is nothing to deactivate");
	if (ok && strcmp(account.status, "deactivated") != 0) {
		call.url = call.kid = account.uri;
		call.payload = payload;
		ok = acme_post(a, &call, &answer, err);
	}
	if (ok)
		acme_account_forget(a, account.uri);
	ca_account_clear(&account);
	acme_answer_clear(&answer);
	json_decref(payload);
	jws_key_free(call.key);
	return ok;
}

/* ---- rollover (RFC 8555 section 7.3.5) ----------------------------------------------------------------------------- */

/* The inner JWS says in the new key's name that it wants the account, and whose key it replaces: neither key can be put on an account
 * without its holder. */
static json_t *change_payload(const struct jws_key *old, const struct jws_key *next, const char *account, const char *url, struct err *err)
{
	struct jws_header header = {.url = url};
	json_t *inner = json_pack("{s:s, s:O}", "account", account, "oldKey", (json_t *)(uintptr_t)jws_public(old)), *outer = NULL;
	struct buf text = BUF_INIT;

	if (!inner)
		err_nomem(err, CA_OP_CHANGE_KEY);
	else if (jws_sign(next, &header, inner, &text, err) && !(outer = json_loadb(buf_str(&text), text.len, 0, NULL)))
		err_nomem(err, CA_OP_CHANGE_KEY);
	buf_clear(&text);
	json_decref(inner);
	return outer;
}

static bool change_post(struct acme *a, struct jws_key *old, struct jws_key *next, const char *account, struct err *err)
{
	/* once: a copy sent by libcurl itself would be refused although the first was taken */
	struct acme_call call = {.op = CA_OP_CHANGE_KEY, .key = old, .kid = account, .once = true};
	struct acme_answer answer = {0};
	json_t *payload = NULL;
	char *url = NULL;
	bool ok = acme_resource(a, ACME_KEY_CHANGE, &url, err) && (payload = change_payload(old, next, account, url, err)) != NULL;

	call.url = url;
	call.payload = payload;
	ok = ok && acme_post(a, &call, &answer, err);
	acme_answer_clear(&answer);
	json_decref(payload);
	free(url);
	return ok;
}

/* `known` is the account of the old key, if that has one. */
static bool change(struct acme *a, struct jws_key *old, struct jws_key *next, const struct ca_account *known, struct err *err)
{
	struct ca_account other = {0};
	struct err refusal = ERR_INIT, own = ERR_INIT;
	bool found = false, ok;

	if (known->uri && (same_key(old, next) || change_post(a, old, next, known->uri, &refusal)))
		return true;
	/* Refused, or the old key is not known: has it happened before?  When that cannot be told, nor can the refusal be believed. */
	if (!known->uri || (refusal.status >= 400 && refusal.status < 500 && refusal.class != ERR_TEMPORARY)) {
		ok = acme_account_find(a, next, &other, &found, &own);
		if (ok && found && known->uri && other.uri && strcmp(known->uri, other.uri) != 0) {
			ok = found = false;
			err_set(&own, ERR_CONFIG, CA_OP_CHANGE_KEY, other.uri, "the new key is that of another account at the CA (%s): remove its file and start again", other.uri);
		}
		if (ok && !found && !known->uri)
			err_set(&own, ERR_CONFIG, "look for account", a->set.directory_url,
				"the CA has no account for ca.account-key, neither by the old key nor by the new one: run `enrollctl init`");
		if (!ok || !known->uri)
			refusal = own;
		ca_account_clear(&other);
	}
	if (!found && err)
		*err = refusal;
	return found;
}

bool acme_account_change_key(struct acme *a, const char *next_key, struct err *err)
{
	struct jws_key *next = jws_key_load(next_key, err), *old;
	struct ca_account known = {0};
	bool found = false, ok;

	if (!next)
		return false;
	pthread_mutex_lock(&a->preparing);
	old = acme_key_hold(a);
	ok = acme_account_find(a, old, &known, &found, err) && change(a, old, next, &known, err);
	if (ok)
		acme_key_replace(a, jws_key_ref(next));
	pthread_mutex_unlock(&a->preparing);
	ca_account_clear(&known);
	jws_key_free(old);
	jws_key_free(next);
	return ok;
}
