/*
 * sign.c - a credential made ready (sign.h), and what both forms of signatures have in common (sign_cms.h).
 *
 * What costs is the private key operation; everything else is kept out of its way.  What never changes for a certificate is prepared when the
 * credential is loaded: its chain, signingCertificateV2 (RFC 5035), capabilities.
 *
 * Sharing: a signer is written once, in signer_load, then only read; its key and certificates have OpenSSL's own locks and counts.
 */
#include "config.h"

#include "milter/sign_cms.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ess.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "policy/policy.h"

#define OP_LOAD "load a credential"
#define CHAIN_MAX 10

/* ---- credentials ----------------------------------------------------------------------------------------------------- */

static void signer_destroy(struct signer *s)
{
	EVP_PKEY_free(s->key); /* overwrites the private parts when this was the last reference */
	X509_free(s->certificate);
	sk_X509_pop_free(s->chain, X509_free);
	sk_X509_ALGOR_pop_free(s->capabilities, X509_ALGOR_free);
	OPENSSL_free(s->signing_certificate);
	for (size_t i = 0; i < SIGN_KINDS; i++)
		sign_parts_free(atomic_load(&s->parts[i]));
	free(s);
}

struct signer *signer_ref(struct signer *s)
{
	atomic_fetch_add_explicit(&s->references, 1, memory_order_relaxed);
	return s;
}

void signer_unref(struct signer *s)
{
	if (s != NULL && atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel) == 1)
		signer_destroy(s);
}

bool signer_valid_at(const struct signer *s, time_t now)
{
	return s->not_before <= now && now <= s->not_after;
}

const char *signer_fingerprint(const struct signer *s)
{
	return s->fingerprint;
}

const char *signer_micalg(const struct signer *s)
{
	switch (EVP_MD_get_type(s->digest)) {
	case NID_sha384:
		return "sha-384";
	case NID_sha512:
		return "sha-512";
	default:
		return "sha-256";
	}
}

int64_t signer_certificate_id(const struct signer *s)
{
	return s->certificate_id;
}

static bool asn1_time(const ASN1_TIME *from, time_t *out)
{
	ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
	int days, seconds;
	bool ok = epoch != NULL && ASN1_TIME_diff(&days, &seconds, epoch, from) == 1;

	if (ok)
		*out = (time_t)days * 86400 + seconds;
	ASN1_TIME_free(epoch);
	return ok;
}

static bool read_certificate(struct signer *s, const struct store_credential *c, const char *address, struct err *err)
{
	const unsigned char *p = c->der;
	unsigned char digest[SHA256_DIGEST_LENGTH];
	struct buf hex = BUF_INIT;

	s->certificate = d2i_X509(NULL, &p, (long)c->der_len);
	if (s->certificate == NULL || p != c->der + c->der_len)
		return err_openssl(err, ERR_BUG, OP_LOAD, address);
	if (!asn1_time(X509_get0_notBefore(s->certificate), &s->not_before) ||
		!asn1_time(X509_get0_notAfter(s->certificate), &s->not_after))
		return err_openssl(err, ERR_BUG, OP_LOAD, address);
	SHA256(c->der, c->der_len, digest);
	hex_encode(&hex, digest, sizeof(digest));
	snprintf(s->fingerprint, sizeof(s->fingerprint), "%s", buf_str(&hex));
	buf_clear(&hex);
	return s->fingerprint[0] != '\0' || err_nomem(err, OP_LOAD);
}

/* ---- chains: thousands of users have a handful of them ------------------------------------------------------------------- */

#define CHAINS_MOST 16

static struct chains {
	pthread_mutex_t lock;
	struct chain {
		char *pem;
		size_t len;
		STACK_OF(X509) * certificates;
	} v[CHAINS_MOST];
	size_t n, next; /* `next` is replaced when all are taken */
} chains = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The same certificates again, with counts of their own; NULL when this chain was not read before. */
static STACK_OF(X509) *known_chain(const void *pem, size_t len)
{
	STACK_OF(X509) *found = NULL;

	pthread_mutex_lock(&chains.lock);
	for (size_t i = 0; found == NULL && i < chains.n; i++)
		if (chains.v[i].len == len && memcmp(chains.v[i].pem, pem, len) == 0)
			found = X509_chain_up_ref(chains.v[i].certificates);
	pthread_mutex_unlock(&chains.lock);
	return found;
}

/* Without memory it is read again the next time. */
static void remember_chain(const void *pem, size_t len, STACK_OF(X509) *certificates)
{
	char *copy = malloc(len + 1);
	STACK_OF(X509) *kept = copy != NULL ? X509_chain_up_ref(certificates) : NULL;
	struct chain *place;

	if (kept == NULL) {
		free(copy);
		return;
	}
	memcpy(copy, pem, len);
	pthread_mutex_lock(&chains.lock);
	place = &chains.v[chains.n < CHAINS_MOST ? chains.n++ : chains.next++ % CHAINS_MOST];
	free(place->pem);
	sk_X509_pop_free(place->certificates, X509_free);
	*place = (struct chain){.pem = copy, .len = len, .certificates = kept};
	pthread_mutex_unlock(&chains.lock);
}

static bool parse_chain(struct signer *s, const struct store_credential *c, const char *address, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(c->chain_len > 0 ? (const void *)c->chain : "", c->chain_len > INT32_MAX ? 0 : (int)c->chain_len);
	X509 *next;
	bool ok = true;

	s->chain = sk_X509_new_null();
	if (bio == NULL || s->chain == NULL) {
		BIO_free(bio);
		return err_nomem(err, OP_LOAD);
	}
	while (ok && (next = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
		/* A root that got in is left out: who trusts it has it, for others it is weight. */
		if (X509_self_signed(next, 0) == 1)
			X509_free(next);
		else if (sk_X509_num(s->chain) >= CHAIN_MAX || sk_X509_push(s->chain, next) == 0) {
			X509_free(next);
			ok = err_set(err, ERR_BUG, OP_LOAD, address, "The certificate's stored chain has more than %d intermediates.",
				CHAIN_MAX);
		}
	}
	BIO_free(bio);
	/* The end of the PEM text is an error to OpenSSL as well; any other one means that a certificate of the chain is damaged. */
	if (ok && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		return err_openssl(err, ERR_BUG, OP_LOAD, address);
	ERR_clear_error();
	return ok;
}

static bool read_chain(struct signer *s, const struct store_credential *c, const char *address, struct err *err)
{
	if (c->chain_len > 0)
		s->chain = known_chain(c->chain, c->chain_len);
	if (s->chain != NULL)
		return true;
	if (!parse_chain(s, c, address, err))
		return false;
	if (c->chain_len > 0)
		remember_chain(c->chain, c->chain_len, s->chain);
	return true;
}

/* ---- the rest of a credential ---------------------------------------------------------------------------------------- */

/* The attribute's value, the hash of the certificate: without issuerSerial, which RFC 5035 makes optional and which the signer
 * identifier holds anyway. */
static bool prepare_signing_certificate(struct signer *s, const char *address, struct err *err)
{
	STACK_OF(X509) *none = NULL;
	ESS_SIGNING_CERT_V2 *value = OSSL_ESS_signing_cert_v2_new_init(EVP_sha256(), s->certificate, none, 0);

	if (value != NULL)
		s->signing_certificate_len = i2d_ESS_SIGNING_CERT_V2(value, &s->signing_certificate);
	ESS_SIGNING_CERT_V2_free(value);
	return (value != NULL && s->signing_certificate_len > 0) || err_openssl(err, ERR_BUG, OP_LOAD, address);
}

/* As strong as the key, and no stronger than every mail program can check: RSA up to 3072 bits and P-256 go with SHA-256 (NIST SP 800-57
 * part 1 table 2; Ed25519 by RFC 8419 with SHA-512). */
static const EVP_MD *digest_of(const EVP_PKEY *key)
{
	int bits = EVP_PKEY_get_security_bits(key);

	if (EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448"))
		return EVP_sha512();
	return bits > 192 ? EVP_sha512() : bits > 128 && !EVP_PKEY_is_a(key, "RSA") ? EVP_sha384() : bits > 128 ? EVP_sha512() : EVP_sha256();
}

/* What the owner's mail programs read, strongest first; only of a certificate that others may encrypt to.  CBC: AES-GCM in CMS is read by few. */
static bool prepare_capabilities(struct signer *s, struct err *err)
{
	/* A certificate without keyUsage is for anything, which says nothing of what its owner can do. */
	if ((X509_get_extension_flags(s->certificate) & EXFLAG_KUSAGE) == 0 ||
		(X509_get_key_usage(s->certificate) & (KU_KEY_ENCIPHERMENT | KU_KEY_AGREEMENT)) == 0)
		return true;
	return (CMS_add_simple_smimecap(&s->capabilities, NID_aes_256_cbc, -1) == 1 &&
		       CMS_add_simple_smimecap(&s->capabilities, NID_aes_192_cbc, -1) == 1 &&
		       CMS_add_simple_smimecap(&s->capabilities, NID_aes_128_cbc, -1) == 1) ||
	       err_nomem(err, OP_LOAD);
}

/* Not every OpenSSL makes CMS of every key: found out here, with a sentence, rather than at each mail. */
static bool can_sign(struct signer *s, const char *address, struct err *err)
{
	struct sign_options options = {0};
	struct sign_op *op;
	struct buf der = BUF_INIT;
	bool ok;

	if (EVP_PKEY_is_a(s->key, "RSA") || EVP_PKEY_is_a(s->key, "EC"))
		return true;
	op = sign_begin(s, &options, err);
	ok = op != NULL && sign_finish(op, &der, NULL);
	sign_free(op);
	buf_clear(&der);
	return ok || err_set(err, ERR_POLICY, OP_LOAD, address,
		"%s cannot make CMS signatures with keys of type %s; ask for RSA or EC (certificate.key-type).", OpenSSL_version(OPENSSL_VERSION),
		EVP_PKEY_get0_type_name(s->key));
}

/* What stands between a credential and a signature in somebody's name. */
static bool check(const struct signer *s, const char *address, time_t now, struct err *err)
{
	char text[32];

	if (X509_check_private_key(s->certificate, s->key) != 1) {
		ERR_clear_error();
		return err_set(err, ERR_BUG, OP_LOAD, address,
			"The stored key is not the one of certificate %.16s...; enroll this address anew.", s->fingerprint);
	}
	if (!certcheck_has_address(s->certificate, address))
		return err_set(
			err, ERR_BUG, OP_LOAD, address, "Certificate %.16s... is not for this address; enroll it anew.", s->fingerprint);
	if (now < s->not_before)
		return err_set(err, ERR_POLICY, OP_LOAD, address, "Certificate %.16s... is not valid before %s; is the clock right?",
			s->fingerprint, time_text(s->not_before, text));
	if (now > s->not_after)
		return err_set(err, ERR_POLICY, OP_LOAD, address, "Certificate %.16s... has expired at %s.", s->fingerprint,
			time_text(s->not_after, text));
	if ((X509_get_key_usage(s->certificate) & KU_DIGITAL_SIGNATURE) == 0)
		return err_set(err, ERR_POLICY, OP_LOAD, address,
			"Certificate %.16s... is not for signatures (keyUsage without digitalSignature).", s->fingerprint);
	return true;
}

struct signer *signer_load(
	const struct store_credential *c, const char *address, X509 *master_certificate, EVP_PKEY *master_key, time_t now, struct err *err)
{
	struct signer *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		err_nomem(err, OP_LOAD);
		return NULL;
	}
	atomic_init(&s->references, 1);
	s->certificate_id = c->certificate_id;
	if (!read_certificate(s, c, address, err) || !read_chain(s, c, address, err))
		goto fail;
	s->key = keyvault_unwrap(c->wrapped, c->wrapped_len, master_certificate, master_key, err);
	if (s->key == NULL || !check(s, address, now, err) || !prepare_signing_certificate(s, address, err) || !prepare_capabilities(s, err))
		goto fail;
	s->digest = digest_of(s->key);
	if (!can_sign(s, address, err))
		goto fail;
	return s;
fail:
	signer_destroy(s);
	return NULL;
}

/* ---- a SignedData, but for its content ------------------------------------------------------------------------------ */

static bool add_certificates(CMS_ContentInfo *cms, const struct signer *s)
{
	for (int i = 0; i < sk_X509_num(s->chain); i++) {
		if (CMS_add1_cert(cms, sk_X509_value(s->chain, i)) != 1)
			return false;
	}
	return true;
}

/* signingCertificateV2, and what the owner can decrypt. */
static bool add_attributes(CMS_SignerInfo *si, const struct signer *s, const struct sign_options *options)
{
	return CMS_signed_add1_attr_by_NID(
		       si, NID_id_smime_aa_signingCertificateV2, V_ASN1_SEQUENCE, s->signing_certificate, s->signing_certificate_len) == 1 &&
	       (!options->capabilities || s->capabilities == NULL || CMS_add_smimecap(si, s->capabilities) == 1);
}

static bool use_pss(CMS_SignerInfo *si, const struct signer *s)
{
	EVP_PKEY_CTX *ctx = CMS_SignerInfo_get0_pkey_ctx(si);
	X509_ALGOR *algorithm;

	/* OpenSSL writes the real one at the end; the beginning of the opaque form is written before, and nothing at all would be an error there. */
	CMS_SignerInfo_get0_algs(si, NULL, NULL, NULL, &algorithm);
	if (X509_ALGOR_set0(algorithm, OBJ_nid2obj(NID_rsaEncryption), V_ASN1_NULL, NULL) != 1)
		return false;
	/* A salt of another length than the digest's is legal, and some programs cannot check it. */
	return ctx != NULL && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) > 0 &&
	       EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, EVP_MD_get_size(s->digest)) > 0;
}

CMS_ContentInfo *sign_cms(const struct signer *s, const struct sign_options *options, unsigned flags, CMS_SignerInfo **info)
{
	bool pss = options->pss && EVP_PKEY_is_a(s->key, "RSA");
	CMS_ContentInfo *cms;

	flags |= CMS_PARTIAL | CMS_BINARY | CMS_NOSMIMECAP;
	cms = CMS_sign(NULL, NULL, NULL, NULL, flags);
	*info = cms != NULL ? CMS_add1_signer(cms, s->certificate, s->key, s->digest, flags | (pss ? CMS_KEY_PARAM : 0)) : NULL;
	if (*info != NULL && (!pss || use_pss(*info, s)) && add_certificates(cms, s) && add_attributes(*info, s, options))
		return cms;
	CMS_ContentInfo_free(cms);
	return NULL;
}
