/*
 * ctl/revoke_key.c - revoke --with-key: have the CA revoke a certificate that was issued to another ACME account, asked by the certificate's own key.
 *
 * Root's alone, since enrolld cannot open users' keys: one child opens it as the user who may, another asks the CA as the user who may do that.
 * The store has stopped all signing with it before (revoke); this only does the CA's part.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/x509.h>

#include "enroll/enroll.h"
#include "store/store.h"

#define OWNER "enrollctl revoke --with-key"
#define LEASE_SECONDS 600
#define AGAIN_SECONDS 3600 /* when the CA says no once more */

struct by_key {
	unsigned char key[8192]; /* PKCS#8: what comes back from whoever may open it */
	size_t key_len;
	const struct config *config;
	const char *serial;
};

static struct store *take(const struct by_key *b, unsigned lease_seconds, struct store_revocation *r, struct err *err)
{
	struct store *store = admin_store_open(b->config, err);
	bool found = false, ok = store && store_revocation_take(store, b->serial, OWNER, lease_seconds, r, &found, err);

	if (ok && !found)
		ok = err_set(err, ERR_POLICY, "revoke certificate", b->serial,
			"no certificate of this serial number waits for its CA to revoke it: `enrollctl revoke` it first, and see `enrollctl show`");
	if (ok)
		return store;
	store_close(store);
	return NULL;
}

/* ---- the key: as the outbound instance's user, whose the master key is ------------------------------------------------ */

static EVP_PKEY *unwrap(const struct by_key *b, const void *wrapped, size_t len, struct err *err)
{
	struct keyring ring = {0};
	const struct keyring_pair *pair = NULL;
	EVP_PKEY *key = NULL;

	if (keyring_load(&ring, b->config->master_certificate, b->config->master_key, err)) {
		pair = keyring_for(&ring, wrapped, len);
		if (pair)
			key = keyvault_unwrap(wrapped, len, pair->certificate, pair->key, err);
		else
			err_set(err, ERR_CONFIG, "open user key", b->config->master_key, "the user's key was wrapped for another master key than this one");
	}
	keyring_clear(&ring);
	return key;
}

static bool encode(struct by_key *b, EVP_PKEY *key, struct err *err)
{
	PKCS8_PRIV_KEY_INFO *p8 = EVP_PKEY2PKCS8(key);
	unsigned char *at = b->key;
	int len = p8 ? i2d_PKCS8_PRIV_KEY_INFO(p8, NULL) : -1;
	bool ok = len > 0 && (size_t)len <= sizeof b->key && i2d_PKCS8_PRIV_KEY_INFO(p8, &at) == len;

	b->key_len = ok ? (size_t)len : 0;
	PKCS8_PRIV_KEY_INFO_free(p8);
	return ok || err_openssl(err, ERR_BUG, "open user key", NULL);
}

static bool open_key(void *arg, struct err *err)
{
	struct by_key *b = arg;
	struct store_revocation r = {0};
	unsigned char *wrapped = NULL;
	size_t len = 0;
	EVP_PKEY *key = NULL;
	struct store *store = take(b, 1, &r, err);
	bool ok = store && store_user_key(store, r.certificate.key_id, &wrapped, &len, err) && (key = unwrap(b, wrapped, len, err)) != NULL &&
		encode(b, key, err);

	EVP_PKEY_free(key);
	free(wrapped);
	store_revocation_clear(&r);
	store_close(store);
	return ok;
}

/* ---- the CA: as enrolld's user, whose the account key is --------------------------------------------------------------- */

static bool ask_ca(const struct by_key *b, const struct store_revocation *r, EVP_PKEY *key, struct err *err)
{
	const struct ca_config *ca = config_ca(b->config, r->ca);

	if (!ca)
		return err_set(err, ERR_CONFIG, "revoke certificate", r->ca, "the certificate came from this CA, which the configuration has no more");
	return enroll_revoke_with_key(ca, r->certificate.der, r->certificate.der_len, r->reason, key, err);
}

static bool commit(struct store *store, const struct store_revocation *r, const struct err *failure, struct err *err)
{
	struct store_revocation_result result = {.failure = failure, .event = failure ? "revocation_failed" : "revoked_at_ca"};
	char text[600];
	bool stale;

	snprintf(text, sizeof text, "the CA has revoked certificate %.120s (%s), asked by root with the certificate's own key", r->certificate.serial, r->reason);
	result.text = failure ? failure->text : text;
	result.next_at = failure ? time(NULL) + AGAIN_SECONDS : 0;
	return store_revocation_commit(store, r, REVOCATION_CA, &result, &stale, err);
}

static bool revoke_by_key(void *arg, struct err *err)
{
	const struct by_key *b = arg;
	const unsigned char *at = b->key;
	struct store_revocation r = {0};
	struct err why = ERR_INIT;
	struct store *store = take(b, LEASE_SECONDS, &r, err);
	EVP_PKEY *key = store ? d2i_AutoPrivateKey(NULL, &at, (long)b->key_len) : NULL;
	bool done, ok = key || (store && err_openssl(err, ERR_BUG, "open user key", NULL));

	if (ok) {
		done = ask_ca(b, &r, key, &why);
		ok = commit(store, &r, done ? NULL : &why, err) && done;
		if (!done && err)
			*err = why;
	}
	EVP_PKEY_free(key);
	store_revocation_clear(&r);
	store_close(store);
	return ok;
}

static bool as_outbound(struct by_key *b, struct err *err)
{
	unsigned uid, gid;
	bool ok;

	if (geteuid() != 0)
		return open_key(b, err);
	ok = user_ids(b->config->users.outbound, b->config->users.group, &uid, &gid, err) && admin_store_ready(b->config, err) &&
		act_as(uid, gid, open_key, b, offsetof(struct by_key, config), err);
	admin_store_done();
	return ok;
}

int ctl_revoke_with_key(struct ctl *c, const char *serial)
{
	struct by_key b = {.serial = serial};
	struct err err = ERR_INIT;
	mode_t mask;
	bool ok;

	if (!(b.config = ctl_config(c)))
		return 1;
	/* Not root: only in a trial, where everything is one user's. */
	ok = geteuid() == 0 || access(b.config->master_key, R_OK) == 0 ||
		err_set(&err, ERR_POLICY, "revoke certificate", NULL, "only root may do this: it opens the user's key");
	mask = umask(0007); /* SQLite's side files are the group's */
	ok = ok && as_outbound(&b, &err) && as_store_user(b.config, b.config->users.enrolld, revoke_by_key, &b, &err);
	umask(mask);
	OPENSSL_cleanse(b.key, sizeof b.key);
	if (!ok)
		return ctl_not_done(c, &err);
	ctl_say(c, "certificate %s: the CA has revoked it", serial);
	return ctl_done(c);
}
