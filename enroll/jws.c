/*
 * enroll/jws.c - JSON Web Signatures by libjose, keys by OpenSSL.
 *
 * The key file is PEM, as every admin's tools make and read it; libjose wants a JWK.  jansson frees strings without overwriting
 * them, so the private members are overwritten here before the last reference goes.
 */
#include "config.h"

#include "enroll/jws.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <jose/b64.h>
#include <jose/jwk.h>
#include <jose/jws.h>
#include <jose/openssl.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#define KEY_FILE_MAX 65536
#define THUMBPRINT_OCTETS 32

struct jws_key {
	json_t *secret, *public;
	const char *algorithm;
	char *thumbprint;
	char type[16];
	atomic_uint references;
};

/* ---- keys -------------------------------------------------------------------------------------------------------- */

/* Overwrite the private members.  The text of a jansson string is heap memory that only this tree refers to. */
static void jwk_wipe(json_t *jwk)
{
	static const char *const private_members[] = {"d", "p", "q", "dp", "dq", "qi", "k"};
	json_t *v;

	for (size_t i = 0; jwk && i < sizeof private_members / sizeof *private_members; i++) {
		v = json_object_get(jwk, private_members[i]);
		if (json_is_string(v))
			OPENSSL_cleanse((void *)(uintptr_t)json_string_value(v), json_string_length(v));
	}
	json_decref(jwk);
}

struct jws_key *jws_key_ref(struct jws_key *key)
{
	atomic_fetch_add(&key->references, 1);
	return key;
}

void jws_key_free(struct jws_key *key)
{
	if (!key || atomic_fetch_sub(&key->references, 1) != 1)
		return;
	jwk_wipe(key->secret);
	json_decref(key->public);
	free(key->thumbprint);
	free(key);
}

static const struct {
	const char *group, *other_name, *type, *algorithm;
} curves[] = {
	{"prime256v1", "P-256", "ec:p256", "ES256"},
	{"secp384r1", "P-384", "ec:p384", "ES384"},
	{"secp521r1", "P-521", "ec:p521", "ES512"},
};

/* Type and algorithm; false for a key that ACME has no use for. */
static bool kind_of(EVP_PKEY *pkey, struct jws_key *key)
{
	char group[64] = "";

	if (EVP_PKEY_is_a(pkey, "RSA")) {
		snprintf(key->type, sizeof key->type, "rsa:%d", EVP_PKEY_get_bits(pkey));
		key->algorithm = "RS256";
		return EVP_PKEY_get_bits(pkey) >= 2048;
	}
	if (!EVP_PKEY_is_a(pkey, "EC") || !EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL))
		return false;
	for (size_t i = 0; i < sizeof curves / sizeof *curves; i++)
		if (strcmp(group, curves[i].group) == 0 || strcmp(group, curves[i].other_name) == 0) {
			snprintf(key->type, sizeof key->type, "%s", curves[i].type);
			key->algorithm = curves[i].algorithm;
			return true;
		}
	return false;
}

static char *thumbprint_of(const json_t *jwk)
{
	unsigned char digest[THUMBPRINT_OCTETS];
	struct buf text = BUF_INIT;

	if (jose_jwk_thp_buf(NULL, jwk, "S256", digest, sizeof digest) != sizeof digest)
		return NULL;
	base64url_encode(&text, digest, sizeof digest);
	return buf_take(&text);
}

struct jws_key *jws_key_from(EVP_PKEY *pkey, const char *name, struct err *err)
{
	struct jws_key *key = calloc(1, sizeof *key);

	if (!key) {
		err_nomem(err, "load account key");
		return NULL;
	}
	atomic_init(&key->references, 1);
	if (!kind_of(pkey, key)) {
		err_set(err, ERR_CONFIG, "load account key", name,
			"the key in %s is of a kind that ACME cannot use: it must be EC on P-256, P-384 or P-521, or RSA of at least 2048 bits", name);
		goto fail;
	}
	key->secret = jose_openssl_jwk_from_EVP_PKEY(NULL, pkey);
	key->public = key->secret ? json_deep_copy(key->secret) : NULL;
	if (!key->public || !jose_jwk_pub(NULL, key->public)) {
		err_openssl(err, ERR_CONFIG, "load account key", name);
		goto fail;
	}
	key->thumbprint = thumbprint_of(key->public);
	if (key->thumbprint)
		return key;
	err_openssl(err, ERR_BUG, "load account key", name);
fail:
	jws_key_free(key);
	return NULL;
}

/* Never ask a terminal for a password. */
static int no_password(char *out, int size, int rwflag, void *arg)
{
	return -1;
}

struct jws_key *jws_key_read(const void *pem, size_t len, const char *name, struct err *err)
{
	struct jws_key *key = NULL;
	EVP_PKEY *pkey = NULL;
	BIO *bio = len <= KEY_FILE_MAX ? BIO_new_mem_buf(pem, (int)len) : NULL;

	if (bio)
		pkey = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
	if (pkey) {
		key = jws_key_from(pkey, name, err);
	} else {
		/* OpenSSL's own words are left out: they may quote what it read. */
		ERR_clear_error();
		err_set(err, ERR_CONFIG, "load account key", name, "%s holds no unencrypted private key in PEM form", name);
	}
	EVP_PKEY_free(pkey);
	BIO_free(bio);
	return key;
}

struct jws_key *jws_key_load(const char *where, struct err *err)
{
	struct buf pem = BUF_INIT;
	struct jws_key *key = NULL;

	if (secret_read(&pem, where, false, err))
		key = jws_key_read(pem.data, pem.len, where, err);
	buf_wipe(&pem);
	return key;
}

static EVP_PKEY *generate(const char *type)
{
	if (strcmp(type, "ec:p256") == 0)
		return EVP_EC_gen("P-256");
	if (strcmp(type, "ec:p384") == 0)
		return EVP_EC_gen("P-384");
	if (strcmp(type, "ec:p521") == 0)
		return EVP_EC_gen("P-521");
	if (strcmp(type, "rsa:2048") == 0)
		return EVP_RSA_gen(2048);
	if (strcmp(type, "rsa:3072") == 0)
		return EVP_RSA_gen(3072);
	if (strcmp(type, "rsa:4096") == 0)
		return EVP_RSA_gen(4096);
	return NULL;
}

bool jws_key_generate(const char *type, struct buf *pem, struct err *err)
{
	EVP_PKEY *pkey = generate(type);
	BIO *bio = pkey ? BIO_new(BIO_s_secmem()) : NULL;
	char *data = NULL;
	long len;
	bool ok = false;

	if (!pkey) {
		ERR_clear_error();
		err_set(err, ERR_CONFIG, "make account key", type,
			"an account key of type \"%s\" cannot be made; ca.account-key-type is ec:p256, ec:p384, rsa:2048 or rsa:3072", type);
		goto out;
	}
	if (!bio || !PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL)) {
		err_openssl(err, ERR_TEMPORARY, "make account key", type);
		goto out;
	}
	len = BIO_get_mem_data(bio, &data);
	buf_append(pem, data, (size_t)len);
	ok = !pem->failed || err_nomem(err, "make account key");
out:
	BIO_free(bio); /* secmem: wiped as it goes */
	EVP_PKEY_free(pkey);
	return ok;
}

const char *jws_thumbprint(const struct jws_key *key)
{
	return key->thumbprint;
}

const char *jws_algorithm(const struct jws_key *key)
{
	return key->algorithm;
}

const char *jws_key_type(const struct jws_key *key)
{
	return key->type;
}

const json_t *jws_public(const struct jws_key *key)
{
	return key->public;
}

/* ---- signing ----------------------------------------------------------------------------------------------------- */

static json_t *payload_text(const json_t *payload)
{
	char *dump;
	json_t *text;

	if (!payload)
		return json_string("");
	dump = json_dumps(payload, JSON_COMPACT);
	if (!dump)
		return NULL;
	text = jose_b64_enc(dump, strlen(dump));
	free(dump);
	return text;
}

/* {"payload", "protected", "signature"}; NULL when libjose will not. Takes `protected`. */
static json_t *flattened(json_t *protected, const json_t *payload, const json_t *jwk)
{
	json_t *template = json_pack("{s:o}", "protected", protected);
	json_t *jws = json_pack("{s:o}", "payload", payload_text(payload));

	if (!template || !jws || !jose_jws_sig(NULL, jws, template, jwk)) {
		json_decref(jws);
		jws = NULL;
	}
	json_decref(template);
	return jws;
}

bool jws_sign(const struct jws_key *key, const struct jws_header *header, const json_t *payload, struct buf *out, struct err *err)
{
	json_t *protected = json_pack("{s:s, s:s}", "alg", key->algorithm, "url", header->url);
	json_t *jws;
	char *text;
	int bad = 0;

	if (header->nonce)
		bad |= json_object_set_new(protected, "nonce", json_string(header->nonce));
	if (header->kid)
		bad |= json_object_set_new(protected, "kid", json_string(header->kid));
	else
		bad |= json_object_set_new(protected, "jwk", json_deep_copy(key->public));
	if (bad) {
		json_decref(protected);
		return err_nomem(err, "sign request");
	}
	jws = flattened(protected, payload, key->secret);
	if (!jws)
		return err_openssl(err, ERR_BUG, "sign request", header->url);
	text = json_dumps(jws, JSON_COMPACT);
	json_decref(jws);
	if (text)
		buf_puts(out, text);
	if (!text || out->failed) {
		free(text);
		return err_nomem(err, "sign request");
	}
	free(text);
	return true;
}

/* RFC 7518 section 3.2: a key of the hash's length or more; libjose insists, without saying so. */
static size_t mac_octets(const char *algorithm)
{
	if (strcmp(algorithm, "HS256") == 0)
		return 32;
	if (strcmp(algorithm, "HS384") == 0)
		return 48;
	if (strcmp(algorithm, "HS512") == 0)
		return 64;
	return 0;
}

static bool mac_key_check(const char *mac_key, const char *algorithm, struct err *err)
{
	struct buf raw = BUF_INIT;
	size_t need = mac_octets(algorithm);
	bool decodes, ok = false;
	size_t have;

	decodes = base64url_decode(&raw, mac_key, strlen(mac_key)) && !raw.failed;
	have = raw.len;
	buf_wipe(&raw);
	if (need == 0)
		err_set(err, ERR_CONFIG, "bind external account", algorithm, "ca.eab.algorithm \"%s\" is none of HS256, HS384, HS512", algorithm);
	else if (!decodes)
		err_set(err, ERR_CONFIG, "bind external account", "ca.eab.key-file", "the key in ca.eab.key-file is no base64url text; copy it as the CA shows it");
	else if (have < need)
		err_set(err, ERR_CONFIG, "bind external account", "ca.eab.key-file", "the key in ca.eab.key-file has %zu octets, %s needs %zu", have, algorithm, need);
	else
		ok = true;
	return ok;
}

json_t *jws_external_binding(const struct jws_key *key, const char *url, const char *kid, const char *mac_key, const char *algorithm,
	struct err *err)
{
	json_t *protected, *jwk, *jws;
	size_t len = strcspn(mac_key, "=");

	if (!mac_key_check(mac_key, algorithm, err))
		return NULL;
	protected = json_pack("{s:s, s:s, s:s}", "alg", algorithm, "kid", kid, "url", url);
	jwk = json_pack("{s:s, s:s%, s:s}", "kty", "oct", "k", mac_key, len, "alg", algorithm);
	jws = protected && jwk ? flattened(json_incref(protected), key->public, jwk) : NULL;
	json_decref(protected);
	jwk_wipe(jwk);
	if (!jws)
		err_openssl(err, ERR_CONFIG, "bind external account", kid);
	return jws;
}
