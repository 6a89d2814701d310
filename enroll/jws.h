/*
 * enroll/jws.h - the account key and what is signed with it (RFC 7515, 7517, 7638; RFC 8555 section 6.2).  Private to enroll/.
 *
 * A struct jws_key is never changed after it was made, and counted: any thread may sign with it for as long as it holds a reference.  The
 * private half is wiped when the last one goes, and never reaches an error text.
 */
#ifndef ENROLL_ENROLL_JWS_H
#define ENROLL_ENROLL_JWS_H

#include <jansson.h>
#include <openssl/evp.h>

#include "base/base.h"

struct jws_key;

/* A PEM private key, unencrypted: EC P-256, P-384, P-521 (ES256, ES384, ES512) or RSA of 2,048 bits and more (RS256).  `where` as for
 * secret_read.  NULL with ERR_CONFIG for anything else. */
struct jws_key *jws_key_load(const char *where, struct err *err);
/* The same from memory; `name` is for the error only. */
struct jws_key *jws_key_read(const void *pem, size_t len, const char *name, struct err *err);
/* From a key at hand, as that of a certificate; `name` is for the error.  `pkey` stays the caller's. */
struct jws_key *jws_key_from(EVP_PKEY *pkey, const char *name, struct err *err);
struct jws_key *jws_key_ref(struct jws_key *key);
void jws_key_free(struct jws_key *key); /* drops one reference; accepts NULL */
/* A new key of a type such as "ec:p256", "ec:p384", "rsa:2048", "rsa:3072", as PKCS#8 PEM.  The buffer is wiped by the caller. */
bool jws_key_generate(const char *type, struct buf *pem, struct err *err) BASE_MUST_CHECK;

/* base64url of the RFC 7638 SHA-256 thumbprint: 43 characters; owned by the key. */
const char *jws_thumbprint(const struct jws_key *key);
/* "ES256" ... */
const char *jws_algorithm(const struct jws_key *key);
/* "ec:p256", "rsa:2048" ... as for jws_key_generate */
const char *jws_key_type(const struct jws_key *key);
/* The public JWK; borrowed. */
const json_t *jws_public(const struct jws_key *key);

/* The protected header beside alg.  Exactly one of kid and the key itself ("jwk", when kid is NULL) goes in; a NULL nonce is left out
 * (inner JWS of key change). */
struct jws_header {
	const char *url;
	const char *nonce;
	const char *kid;
};
/* Flattened JSON serialization appended to `out`.  A NULL payload is the empty string of POST-as-GET. */
bool jws_sign(const struct jws_key *key, const struct jws_header *header, const json_t *payload, struct buf *out, struct err *err) BASE_MUST_CHECK;

/* External account binding (RFC 8555 section 7.3.4): the account's public key, MACed.  `mac_key` is the base64url text that the CA gave out.
 * A new JSON object, or NULL: ERR_CONFIG for a key that is none, is too short for the algorithm, or an unknown algorithm. */
json_t *jws_external_binding(const struct jws_key *key, const char *url, const char *kid, const char *mac_key, const char *algorithm,
	struct err *err);

#endif
