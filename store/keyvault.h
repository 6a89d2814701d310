/*
 * store/keyvault.h - the vault of user keys: wrapped for the master certificate, opened with the master key; part of store.h, which includes it.
 *
 * Only the outbound instance and an admin's commands have a master key.  Thread safety: functions without a struct store or keyring have no state; a
 * keyring is its owner's.
 */
#ifndef ENROLL_STORE_KEYVAULT_H
#define ENROLL_STORE_KEYVAULT_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/base.h"

struct store;

/* ---- keyvault: user keys wrapped for the master certificate ------------------------------------------------------ */

/* CMS AuthEnvelopedData (RFC 5083), AES-256-GCM, EC key agreement with SHA-256 KDF (RFC 5753).  Wrapping needs the master
 * certificate only.  What is wrapped is a PKCS#8 PrivateKeyInfo in DER. */
bool keyvault_wrap(struct buf *out, EVP_PKEY *key, X509 *master_certificate, struct err *err) BASE_MUST_CHECK;
/* NULL on failure: ERR_CONFIG when the master key is not the one it was wrapped for, ERR_BUG when the content is damaged.  The recipient is
 * the subject key identifier: a certificate issued again for the same master key opens what was wrapped before. */
EVP_PKEY *keyvault_unwrap(const void *wrapped, size_t len, X509 *master_certificate, EVP_PKEY *master_key, struct err *err);
/* Is this master key the one that opens it?  No private key is needed to tell. */
bool keyvault_is_for(const void *wrapped, size_t len, X509 *master_certificate);
/* A new master key (EC P-256) and its self-signed certificate, as PEM. */
bool keyvault_master_new(struct buf *key_pem, struct buf *certificate_pem, struct err *err) BASE_MUST_CHECK;
/* Load either; `where` as for secret_read (the certificate may be readable by all). */
X509 *keyvault_master_certificate(const char *where, struct err *err);
EVP_PKEY *keyvault_master_key(const char *where, struct err *err);
/* false when the store's user keys are wrapped for another master key than this certificate's (ERR_CONFIG says what to do).  With `claim` a store
 * that knows of none yet is bound to this one; only roles that may set flags can do that. */
bool keyvault_master_is_of(struct store *store, X509 *master_certificate, const char *where, bool claim, struct err *err) BASE_MUST_CHECK;
/* A key as PKCS#8 octets, OPENSSL_clear_free them, and back; false or NULL when it is none, or without memory. */
bool keyvault_to_pkcs8(EVP_PKEY *key, unsigned char **plain, int *len) BASE_MUST_CHECK;
EVP_PKEY *keyvault_from_pkcs8(const unsigned char *plain, size_t len);
/* keyring.c: the master keys that are there; beside the one of the configuration, during a rotation, the one in KEY.next and CERTIFICATE.next. */
#define KEYRING_NEXT ".next"
#define KEYRING_MOST 2
struct keyring_pair {
	X509 *certificate;
	EVP_PKEY *key;        /* NULL from keyring_park on */
	size_t at, len;       /* then: in the page */
};
struct keyring { struct keyring_pair v[KEYRING_MOST]; size_t n; unsigned char *page; };
bool keyring_load(struct keyring *out, const char *certificate, const char *key, struct err *err) BASE_MUST_CHECK;
void keyring_clear(struct keyring *r);
/* For whoever keeps it for long: the keys into one page, which is in no core dump and, if the system lets us (*locked), never swapped out.  They are
 * then made anew for each use. */
bool keyring_park(struct keyring *r, bool *locked, struct err *err) BASE_MUST_CHECK;
/* A reference to the key of a pair of this ring, parked or not; NULL without memory. */
EVP_PKEY *keyring_key(const struct keyring *r, const struct keyring_pair *pair);
/* The one that opens this; NULL = none here. */
const struct keyring_pair *keyring_for(const struct keyring *r, const void *wrapped, size_t len);
/* keyvault_master_is_of for one of them. */
bool keyring_is_of(struct store *store, const struct keyring *r, const char *where, struct err *err) BASE_MUST_CHECK;
/* The certificate that user keys are wrapped for now; asked for each key, as it may change meanwhile.  `claim` as above. */
X509 *keyring_in_force(struct store *store, const char *certificate, bool claim, struct err *err);
/* From the return on no key that was wrapped for another one comes in (store_key.master). */
bool keyring_put_in_force(struct store *store, X509 *certificate, const char *actor, struct err *err) BASE_MUST_CHECK;
/* From whichever it is wrapped for to `to`, whose key is there to try it.  *damaged: nobody can open it, wherever its master key is; ERR_CONFIG
 * without it: that one is not here. */
bool keyring_rewrap(const struct keyring *r, const struct keyring_pair *to, const void *wrapped, size_t len, struct buf *out, bool *damaged,
	struct err *err) BASE_MUST_CHECK;
/* SHA-256 of a public key's SubjectPublicKeyInfo as hex. */
bool keyvault_spki(EVP_PKEY *key, char out[65], struct err *err) BASE_MUST_CHECK;

#endif
