/*
 * store/keyring.c - which master keys there are, and which one is in force; while the master key is rotated there are two.
 *
 * A rotation puts KEY.next and CERTIFICATE.next beside the files of the configuration, says in the store that the new one is in force, wraps every user
 * key anew, and moves the new files into the place of the old ones.  So two things hold whatever instant a reader looks at, or a kill leaves behind:
 * what is in force is said by the store, not by a file's name; and key and certificate belong together because they fit, not because of where they lie.
 */
#include "config.h"

#include "store/store.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>

#define FLAG "master-key"
#define TRIES 5
#define TRY_US 20000

static bool is_there(const char *path)
{
	return access(path, F_OK) == 0;
}

/* NULL when there is none: a credential has no neighbour. */
static char *next_of(const char *path)
{
	char *next = NULL;

	if (strncmp(path, "credential:", strlen("credential:")) == 0 || asprintf(&next, "%s" KEYRING_NEXT, path) < 0)
		return NULL;
	if (is_there(next))
		return next;
	free(next);
	return NULL;
}

void keyring_clear(struct keyring *r)
{
	for (size_t i = 0; i < r->n; i++) {
		X509_free(r->v[i].certificate);
		EVP_PKEY_free(r->v[i].key);
	}
	memory_page_free(r->page);
	memset(r, 0, sizeof(*r));
}

static void add_pair(struct keyring *r, X509 *certificate, EVP_PKEY *key)
{
	if (certificate == NULL || key == NULL || r->n == KEYRING_MOST || X509_check_private_key(certificate, key) != 1)
		return;
	X509_up_ref(certificate);
	EVP_PKEY_up_ref(key);
	r->v[r->n++] = (struct keyring_pair){.certificate = certificate, .key = key};
}

static bool load_once(struct keyring *out, const char *certificate, const char *key, struct err *err)
{
	char *next_certificate = next_of(certificate), *next_key = next_of(key);
	X509 *certificates[2] = {keyvault_master_certificate(certificate, err), NULL};
	EVP_PKEY *keys[2] = {certificates[0] != NULL ? keyvault_master_key(key, err) : NULL, NULL};
	bool ok = keys[0] != NULL;

	/* A file that goes away meanwhile is no failure: somebody else's rotation ends just now. */
	if (ok && next_certificate != NULL)
		certificates[1] = keyvault_master_certificate(next_certificate, NULL);
	if (ok && next_key != NULL)
		keys[1] = keyvault_master_key(next_key, NULL);
	for (int i = 0; ok && i < 4; i++)
		add_pair(out, certificates[i / 2], keys[i % 2]);
	ERR_clear_error();
	for (int i = 0; i < 2; i++) {
		X509_free(certificates[i]);
		EVP_PKEY_free(keys[i]);
	}
	free(next_certificate);
	free(next_key);
	return ok;
}

bool keyring_load(struct keyring *out, const char *certificate, const char *key, struct err *err)
{
	memset(out, 0, sizeof(*out));
	for (int i = 0; i < TRIES; i++) {
		if (!load_once(out, certificate, key, err))
			return false;
		if (out->n > 0)
			return true;
		usleep(TRY_US);
	}
	return err_set(err, ERR_CONFIG, "load master key", key,
		"this key does not belong to the master certificate %s; put the right one in its place from your copy", certificate);
}

static bool park(struct keyring *r, struct keyring_pair *pair, size_t *used, size_t size)
{
	unsigned char *plain = NULL;
	int len = 0;
	bool ok;

	memory_secret_begin();
	ok = keyvault_to_pkcs8(pair->key, &plain, &len) && (size_t)len <= size - *used;
	if (ok) {
		memcpy(r->page + *used, plain, (size_t)len);
		pair->at = *used;
		pair->len = (size_t)len;
		*used += (size_t)len;
		EVP_PKEY_free(pair->key);
		pair->key = NULL;
	}
	OPENSSL_clear_free(plain, len > 0 ? (size_t)len : 0);
	memory_secret_end();
	return ok;
}

bool keyring_park(struct keyring *r, bool *locked, struct err *err)
{
	size_t used = 0, size = 0;

	r->page = memory_page_new(&size, locked);
	if (r->page == NULL)
		return err_nomem(err, "load master key");
	for (size_t i = 0; i < r->n; i++)
		if (!park(r, &r->v[i], &used, size))
			return err_openssl(err, ERR_TEMPORARY, "load master key", "PKCS#8");
	return true;
}

EVP_PKEY *keyring_key(const struct keyring *r, const struct keyring_pair *pair)
{
	EVP_PKEY *key = pair->key;

	if (key != NULL) {
		EVP_PKEY_up_ref(key);
		return key;
	}
	memory_secret_begin();
	key = keyvault_from_pkcs8(r->page + pair->at, pair->len);
	memory_secret_end();
	ERR_clear_error();
	return key;
}

const struct keyring_pair *keyring_for(const struct keyring *r, const void *wrapped, size_t len)
{
	for (size_t i = 0; i < r->n; i++)
		if (keyvault_is_for(wrapped, len, r->v[i].certificate))
			return &r->v[i];
	return NULL;
}

/* The error of keyvault_master_is_of, about the file that the configuration names. */
bool keyring_is_of(struct store *store, const struct keyring *r, const char *where, struct err *err)
{
	for (size_t i = r->n; i > 0; i--)
		if (keyvault_master_is_of(store, r->v[i - 1].certificate, where, false, err))
			return true;
	return false;
}

X509 *keyring_in_force(struct store *store, const char *certificate, bool claim, struct err *err)
{
	struct err other = {0};

	for (int i = 0; i < TRIES; i++) {
		X509 *x = keyvault_master_certificate(certificate, err);
		char *next;

		if (x == NULL || keyvault_master_is_of(store, x, certificate, claim, err))
			return x;
		X509_free(x);
		next = next_of(certificate);
		x = next != NULL ? keyvault_master_certificate(next, &other) : NULL;
		if (x != NULL && keyvault_master_is_of(store, x, next, false, &other)) {
			free(next);
			err_clear(err);
			return x;
		}
		X509_free(x);
		if (next == NULL && i > 0)
			return NULL; /* twice the same: nobody is moving files */
		free(next);
		usleep(TRY_US);
	}
	return NULL;
}

bool keyring_put_in_force(struct store *store, X509 *certificate, const char *actor, struct err *err)
{
	char spki[65], *known = NULL;
	bool ok = keyvault_spki(X509_get0_pubkey(certificate), spki, err) && store_flag_get(store, FLAG, &known, err);

	ok = ok && ((known != NULL && strcmp(known, spki) == 0) || store_flag_set(store, FLAG, spki, actor, err));
	free(known);
	return ok;
}

/* ---- one user key from one master key to another ----------------------------------------------------------------- */

/* It is opened again before it counts: a key that nobody can open is lost. */
static bool opens(const struct buf *wrapped, EVP_PKEY *key, const struct keyring_pair *to, struct err *err)
{
	EVP_PKEY *back = keyvault_unwrap(wrapped->data, wrapped->len, to->certificate, to->key, err);
	bool same = back != NULL && EVP_PKEY_eq(back, key) == 1;

	if (back != NULL && !same)
		err_set(err, ERR_BUG, "wrap user key anew", NULL, "what was wrapped does not come back as it was");
	EVP_PKEY_free(back);
	return same;
}

bool keyring_rewrap(const struct keyring *r, const struct keyring_pair *to, const void *wrapped, size_t len, struct buf *out, bool *damaged,
	struct err *err)
{
	const struct keyring_pair *from = keyring_for(r, wrapped, len);
	EVP_PKEY *key;
	bool ok;

	*damaged = false;
	if (from == NULL)
		from = &r->v[0]; /* tells what is for another master key from what is nothing any more */
	key = keyvault_unwrap(wrapped, len, from->certificate, from->key, err);
	if (key == NULL)
		*damaged = err != NULL && err->class == ERR_BUG;
	ok = key != NULL && keyvault_wrap(out, key, to->certificate, err) && opens(out, key, to, err);
	EVP_PKEY_free(key);
	return ok;
}
