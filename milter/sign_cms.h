/*
 * milter/sign_cms.h - a signer from within, for the two forms of signatures.  Private to sign*.c.
 */
#ifndef ENROLL_MILTER_SIGN_CMS_H
#define ENROLL_MILTER_SIGN_CMS_H
#include <stdatomic.h>
#include <openssl/cms.h>
#include <openssl/sha.h>
#include "milter/sign.h"

#define OP_SIGN "sign a mail"
#define SIGN_KINDS 4 /* of struct sign_options */

struct sign_parts; /* sign_detached.c */
void sign_parts_free(struct sign_parts *p); /* accepts NULL */

struct signer {
	atomic_uint references;
	EVP_PKEY *key;
	X509 *certificate;
	STACK_OF(X509) * chain;		    /* intermediates, no root; may be empty */
	const EVP_MD *digest;
	STACK_OF(X509_ALGOR) * capabilities; /* NULL: the certificate is for signatures alone */
	unsigned char *signing_certificate; /* DER of the SigningCertificateV2 value */
	int signing_certificate_len;
	time_t not_before, not_after;
	int64_t certificate_id;
	char fingerprint[2 * SHA256_DIGEST_LENGTH + 1];
	_Atomic(struct sign_parts *) parts[SIGN_KINDS]; /* of the detached form, made with the first mail that needs them; then never changed */
};

/* A SignedData with its one signer, the certificates and the attributes that do not depend on the content; `flags` go with
 * CMS_PARTIAL | CMS_BINARY.  NULL: OpenSSL's error queue says why. */
CMS_ContentInfo *sign_cms(const struct signer *s, const struct sign_options *options, unsigned flags, CMS_SignerInfo **info);
#endif
