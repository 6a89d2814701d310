/*
 * ctl/doctor_keys.c - `doctor`: do master key, master certificate and store belong together, and can mail be signed with what is in there?
 *
 * Both take the master key, which is the outbound instance's alone: they are done in a child process that is its user, as a rotation is, and nothing but
 * a sentence comes back.  What is signed is a sentence of ours, and thrown away.  Where the master key is a systemd credential only the outbound
 * instance has it: then it is said what was not tried, and how systemd runs us as that user with the credential, which tries it.
 */
#include "config.h"

#include "ctl/doctor.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "store/store.h"

#define SAMPLE 200 /* user keys that are looked at; a rotation keeps them in step */

/* What the child is asked, and what it answers. */
struct trial {
	const struct config *config;
	char address[ADDRESS_MAX];
	char text[1024];
	char verdict[16];
};

static void answer(struct trial *t, const char *verdict, const char *fmt, ...) BASE_PRINTF(3, 4);
static void answer(struct trial *t, const char *verdict, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(t->text, sizeof t->text, fmt, ap);
	va_end(ap);
	snprintf(t->verdict, sizeof t->verdict, "%s", verdict);
}

/* As the outbound instance's user; says what came of it. */
static void try_it(struct doctor *d, struct trial *t, bool (*act)(void *arg, struct err *err))
{
	const struct users_config *u = &d->config->users;
	struct err err = ERR_INIT;
	unsigned uid, gid;

	if (user_ids(u->outbound, u->group, &uid, &gid, &err) && admin_store_ready(d->config, &err) && act_as(uid, gid, act, t, sizeof *t, &err))
		doctor_say(d, t->verdict, "%s", t->text);
	else
		doctor_say(d, "fault", "%s%s%s", err.subject, *err.subject ? ": " : "", err.text);
	admin_store_done();
}

/* `what` was not tried, where it cannot be. */
static bool no_file(struct doctor *d, const char *what)
{
	const struct config *c = d->config;

	if (c->mode == MODE_OBSERVE) {
		doctor_say(d, "ok", "no keys are used while mode is \"observe\"");
		return true;
	}
	if (!doctor_is_credential(c->master_key) || (!d->root && doctor_credential_here(c->master_key)))
		return false;
	doctor_say(d, "ok", "not tried %s: systemd hands %s to the outbound instance alone. To try it: systemd-run --wait --pipe --property=User=%s --property=Group=%s "
		"--property=LoadCredentialEncrypted=%s enrollctl doctor master-match signature", what, c->master_key, c->users.outbound, c->users.group,
		c->master_key + strlen("credential:"));
	return true;
}

/* ---- do they belong together --------------------------------------------------------------------------------------------------------- */

static bool count_others(struct store *store, const struct keyring *ring, size_t *all, size_t *others, struct err *err)
{
	struct store_wrapped_list l = {0};
	bool ok = store_keys_wrapped(store, 0, SAMPLE, &l, err);

	*all = *others = 0;
	for (size_t i = 0; ok && i < l.n; i++) {
		*all += 1;
		*others += keyring_for(ring, l.v[i].data, l.v[i].len) == NULL;
	}
	store_wrapped_list_clear(&l);
	return ok;
}

/* An older schema in a file is enrolld's to migrate; a role that does not do it says so. */
static struct store *open_without_migration(const struct config *c, struct err *err)
{
	struct store *store;

	if (!store_is_file(&c->store))
		return admin_store_open(c, err);
	store = store_open(&c->store, STORE_ROLE_OUTBOUND, err);
	if (!store)
		return NULL;
	store_close(store);
	return store_open(&c->store, STORE_ROLE_ADMIN, err);
}

static bool match_here(void *arg, struct err *err)
{
	struct trial *t = arg;
	const struct config *c = t->config;
	struct keyring ring = {0};
	struct store *store = open_without_migration(c, err);
	size_t all = 0, others = 0;
	bool ok = store && keyring_load(&ring, c->master_certificate, c->master_key, err) && keyring_is_of(store, &ring, c->master_certificate, err) &&
		count_others(store, &ring, &all, &others, err);

	if (ok && others)
		answer(t, "fault", "%zu of %zu user keys are wrapped for another master key than %s: put that one back from your copy, or restore the backup that fits", others,
			all, c->master_key);
	else if (ok)
		answer(t, "ok", "key, certificate and store belong together%s", all ? "" : "; no user key is in there yet");
	keyring_clear(&ring);
	store_close(store);
	return ok;
}

void doctor_master_match(struct doctor *d)
{
	struct trial t = {.config = d->config};

	if (!no_file(d, "whether key, certificate and store belong together"))
		try_it(d, &t, match_here);
}

/* ---- one signature ----------------------------------------------------------------------------------------------------------------------- */

static STACK_OF(X509) *chain_of(const struct store_credential *c)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	BIO *mem = BIO_new_mem_buf(c->chain, (int)c->chain_len);
	X509 *x;

	while (chain && mem && (x = PEM_read_bio_X509(mem, NULL, NULL, NULL)))
		if (!sk_X509_push(chain, x))
			X509_free(x);
	BIO_free(mem);
	ERR_clear_error();
	return chain;
}

static X509 *leaf_of(const struct store_credential *c)
{
	const unsigned char *at = c->der;

	return d2i_X509(NULL, &at, (long)c->der_len);
}

/* Signed, and verified as a recipient does it who believes the anchors. */
static bool sign_and_verify(const struct store_credential *c, EVP_PKEY *key, X509_STORE *anchors, struct err *err)
{
	static const char text[] = "Content-Type: text/plain\r\n\r\nenrollctl doctor signs this to see whether it can\r\n";
	STACK_OF(X509) *chain = chain_of(c);
	X509 *leaf = leaf_of(c);
	BIO *in = BIO_new_mem_buf(text, sizeof text - 1), *again = BIO_new_mem_buf(text, sizeof text - 1);
	CMS_ContentInfo *cms = leaf && in ? CMS_sign(leaf, key, chain, in, CMS_DETACHED | CMS_BINARY) : NULL;
	bool ok = cms && again && CMS_verify(cms, NULL, anchors, again, NULL, CMS_BINARY) == 1;

	if (!ok)
		err_openssl(err, ERR_CONFIG, cms ? "verify trial signature" : "sign", NULL);
	CMS_ContentInfo_free(cms);
	BIO_free(in);
	BIO_free(again);
	X509_free(leaf);
	sk_X509_pop_free(chain, X509_free);
	return ok;
}

static bool sign_by(struct trial *t, const struct store_credential *c, const struct enrollment *e, struct err *err)
{
	const struct config *cfg = t->config;
	const struct ca_config *ca = config_ca(cfg, e->ca);
	struct keyring ring = {0};
	const struct keyring_pair *pair = NULL;
	X509_STORE *anchors = certcheck_anchors((ca ? ca : &cfg->ca)->anchor_file, err);
	EVP_PKEY *key = NULL;
	bool ok = anchors && keyring_load(&ring, cfg->master_certificate, cfg->master_key, err);

	if (ok && !(pair = keyring_for(&ring, c->wrapped, c->wrapped_len)))
		ok = err_set(err, ERR_CONFIG, "open key", e->addresses.v[0], "it is wrapped for another master key than %s", cfg->master_key);
	key = ok ? keyvault_unwrap(c->wrapped, c->wrapped_len, pair->certificate, pair->key, err) : NULL;
	ok = key && sign_and_verify(c, key, anchors, err);
	if (ok)
		answer(t, "ok", "a sentence was signed for %s, and verified by the anchors of CA \"%s\"", e->addresses.v[0], (ca ? ca : &cfg->ca)->name);
	EVP_PKEY_free(key);
	X509_STORE_free(anchors);
	keyring_clear(&ring);
	return ok;
}

static bool sign_here(void *arg, struct err *err)
{
	struct trial *t = arg;
	struct enrollment_list l = {0};
	struct store *store = open_without_migration(t->config, err);
	bool ok = store && store_enrollment_list(store, ENROLLMENT_ACTIVE, NULL, SAMPLE, &l, err), done = false;

	if (ok)
		answer(t, "ok", "nobody has a certificate to sign with yet");
	for (size_t i = 0; ok && !done && i < l.n; i++) {
		struct store_credential c = {0};
		const char *why;
		bool found = false;

		ok = l.v[i].addresses.n == 0 || store_credential_find(store, l.v[i].addresses.v[0], &c, &found, &why, err);
		done = ok && found;
		if (done)
			ok = sign_by(t, &c, &l.v[i], err);
		store_credential_clear(&c);
	}
	enrollment_list_clear(&l);
	store_close(store);
	return ok;
}

void doctor_signature(struct doctor *d)
{
	struct trial t = {.config = d->config};

	if (!no_file(d, "whether mail can be signed"))
		try_it(d, &t, sign_here);
}
