/*
 * milter/sign.h - bytes in, signed entity out (RFC 8551, RFC 5652).  Private to milter/; knows nothing of libmilter.
 *
 * signer_load makes a credential ready (key unwrapped, checked: key matches certificate, SAN contains the address, valid now, for
 * signatures); it is reference counted and shared by threads.  A sign_op hashes the entity while it streams in and gives the DER of a
 * detached CMS SignedData at the end; an opaque_op wraps it.  Both belong to one thread at a time and hold a reference of their own.
 */
#ifndef ENROLL_MILTER_SIGN_H
#define ENROLL_MILTER_SIGN_H
#include <openssl/evp.h>
#include <openssl/x509.h>
#include "base/base.h"
#include "milter/spool.h"
#include "store/store.h"

struct signer;
struct signer *signer_load(const struct store_credential *c, const char *address, X509 *master_certificate, EVP_PKEY *master_key,
	time_t now, struct err *err);
struct signer *signer_ref(struct signer *s);
void signer_unref(struct signer *s);
bool signer_valid_at(const struct signer *s, time_t now);
const char *signer_fingerprint(const struct signer *s); /* hex, for the log */
int64_t signer_certificate_id(const struct signer *s);

/* The digest as micalg names it (RFC 8551 section 3.5.3.2): SHA-256, with larger keys SHA-384 or SHA-512. */
const char *signer_micalg(const struct signer *s);

/* What the configuration says of signatures. */
struct sign_options {
	bool pss;          /* RSA: RSASSA-PSS, salt as long as the digest (RFC 4056); other keys: of no meaning */
	bool capabilities; /* tell what its owner can decrypt (smimeCapabilities), if the certificate is for encryption too */
};

/* Signed attributes of both: content-type, message-digest, signing-time, signingCertificateV2; leaf and intermediates, no root. */
struct sign_op;
struct sign_op *sign_begin(struct signer *s, const struct sign_options *options, struct err *err);
bool sign_update(struct sign_op *op, const void *data, size_t len, struct err *err) BASE_MUST_CHECK;
/* DER of the detached SignedData. */
bool sign_finish(struct sign_op *op, struct buf *der, struct err *err) BASE_MUST_CHECK;
void sign_free(struct sign_op *op); /* accepts NULL; also after finish */

/* The opaque form (RFC 8551 section 3.5.2): a SignedData with the entity in it, as base64 lines with CRLF into `out` (borrowed) while the
 * entity streams in.  BER with indefinite lengths, as its end is not known at its beginning. */
struct opaque_op;
struct opaque_op *opaque_begin(struct signer *s, const struct sign_options *options, struct spool *out, struct err *err);
bool opaque_update(struct opaque_op *op, const void *data, size_t len, struct err *err) BASE_MUST_CHECK;
bool opaque_finish(struct opaque_op *op, struct err *err) BASE_MUST_CHECK;
void opaque_free(struct opaque_op *op); /* accepts NULL; also after finish */

/* The multipart/signed around an entity.  `boundary` 70 octets at most, never occurring in the content (random, 160 bits). */
void sign_boundary(char out[64]);
void sign_content_type(struct buf *out, const char *boundary, const char *micalg); /* value of the new Content-Type, LF folds */
void sign_prologue(struct buf *out, const char *boundary);          /* up to the entity's first octet, CRLF */
void sign_epilogue(struct buf *out, const char *boundary, const struct buf *der); /* from behind the entity to the end, CRLF */
#endif
