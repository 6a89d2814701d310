/*
 * sign_detached.c - the detached form: a multipart/signed around the entity (sign.h).
 *
 * For one certificate all signatures look alike: only digest, time and signature differ.  So OpenSSL's CMS makes one, over some octets of no
 * meaning, and it is kept in parts, with holes for these three.  A mail then costs its hash and the private key operation, and no list of
 * certificates and attributes is built and encoded again for each.
 *
 * DER makes that easy: the signature is the last element of its SignerInfo, that of the set of SignerInfos, and so on up to the ContentInfo
 * (RFC 5652 sections 5.1 and 5.3; there are no unsigned attributes).  Of each of these the octets in front of its last element are
 * kept; only the lengths are written anew, as ECDSA signatures differ in theirs.
 */
#include "config.h"

#include "milter/sign_cms.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

#define LEVELS 6              /* ContentInfo, [0], SignedData, signerInfos, SignerInfo, signature */
#define SIGNER_INFO 4
#define TIME_LEN 13           /* UTCTime: "YYMMDDhhmmssZ" (RFC 5652 section 11.3: for the years 1950 to 2049) */

struct element {
	int tag, class;
	bool constructed;
	size_t at;            /* of its content */
	size_t len;
};

struct sign_parts {
	unsigned char *der;   /* the SignedData that was made */
	size_t len;
	struct level {
		int tag, class;
		size_t at, len; /* what stands in front of its last element */
	} levels[LEVELS];
	size_t attributes, attributes_len; /* the signed attributes, with their header */
	size_t digest, time;  /* the holes: in the attributes */
};

struct sign_op {
	struct signer *signer;
	const struct sign_parts *parts;
	EVP_MD_CTX *digest;
	bool pss;
};

/* ---- the parts --------------------------------------------------------------------------------------------------------- */

void sign_parts_free(struct sign_parts *p)
{
	if (p == NULL)
		return;
	OPENSSL_free(p->der);
	free(p);
}

static bool read_element(const struct sign_parts *p, size_t at, struct element *e)
{
	const unsigned char *start = p->der + at, *content = start;
	long len;
	int flags = ASN1_get_object(&content, &len, &e->tag, &e->class, (long)(p->len - at));

	if ((flags & 0x81) != 0 || len < 0)
		return false; /* malformed, or of indefinite length */
	e->constructed = (flags & V_ASN1_CONSTRUCTED) != 0;
	e->at = (size_t)(content - p->der);
	e->len = (size_t)len;
	return true;
}

/* From the outside to the signature, by the last element of each. */
static bool find_levels(struct sign_parts *p)
{
	static const struct {
		int tag, class;
	} expected[LEVELS] = {{V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL}, {0, V_ASN1_CONTEXT_SPECIFIC}, {V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL},
		{V_ASN1_SET, V_ASN1_UNIVERSAL}, {V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL}, {V_ASN1_OCTET_STRING, V_ASN1_UNIVERSAL}};
	size_t at = 0;

	for (int i = 0; i < LEVELS; i++) {
		struct element e, inner;
		size_t last;

		if (!read_element(p, at, &e) || e.tag != expected[i].tag || e.class != expected[i].class || e.at + e.len != p->len)
			return false;
		p->levels[i] = (struct level){.tag = e.tag, .class = e.class, .at = e.at};
		if (i == LEVELS - 1)
			return true;
		for (last = e.at; read_element(p, last, &inner) && inner.at + inner.len < p->len; last = inner.at + inner.len)
			;
		p->levels[i].len = last - e.at;
		at = last;
	}
	return false;
}

static bool find_attributes(struct sign_parts *p)
{
	const struct level *info = &p->levels[SIGNER_INFO];
	struct element e;

	for (size_t at = info->at; at < info->at + info->len; at = e.at + e.len) {
		if (!read_element(p, at, &e))
			return false;
		if (e.class == V_ASN1_CONTEXT_SPECIFIC && e.tag == 0 && e.constructed) {
			p->attributes = at;
			p->attributes_len = e.at + e.len - at;
			return true;
		}
	}
	return false;
}

/* Where this value stands in the attributes; it has to stand there once. */
static bool find_hole(const struct sign_parts *p, const ASN1_STRING *value, size_t len, size_t *hole)
{
	const unsigned char *start = p->der + p->attributes, *found;

	if (value == NULL || (size_t)ASN1_STRING_length(value) != len)
		return false;
	found = memmem(start, p->attributes_len, ASN1_STRING_get0_data(value), len);
	if (found == NULL || memmem(found + 1, p->attributes_len - (size_t)(found + 1 - start), ASN1_STRING_get0_data(value), len) != NULL)
		return false;
	*hole = (size_t)(found - start);
	return true;
}

static bool take_apart(struct sign_parts *p, CMS_SignerInfo *si, const struct signer *s)
{
	const ASN1_STRING *digest = CMS_signed_get0_data_by_OBJ(si, OBJ_nid2obj(NID_pkcs9_messageDigest), -3, V_ASN1_OCTET_STRING);
	const ASN1_STRING *when = CMS_signed_get0_data_by_OBJ(si, OBJ_nid2obj(NID_pkcs9_signingTime), -3, V_ASN1_UTCTIME);

	return find_levels(p) && find_attributes(p) && find_hole(p, digest, (size_t)EVP_MD_get_size(s->digest), &p->digest) &&
	       find_hole(p, when, TIME_LEN, &p->time);
}

static struct sign_parts *make_parts(const struct signer *s, const struct sign_options *options)
{
	struct sign_parts *p = calloc(1, sizeof(*p));
	CMS_SignerInfo *si = NULL;
	CMS_ContentInfo *cms = p != NULL ? sign_cms(s, options, CMS_DETACHED, &si) : NULL;
	BIO *content = cms != NULL ? CMS_dataInit(cms, NULL) : NULL;
	bool signed_it;
	int len = -1;

	memory_secret_begin();
	signed_it = content != NULL && BIO_write(content, "nothing", 7) == 7 && CMS_dataFinal(cms, content) == 1;
	memory_secret_end();
	if (signed_it)
		len = i2d_CMS_ContentInfo(cms, &p->der);
	if (len > 0)
		p->len = (size_t)len;
	if (len <= 0 || !take_apart(p, si, s)) {
		sign_parts_free(p);
		p = NULL;
	}
	BIO_free_all(content);
	CMS_ContentInfo_free(cms);
	return p;
}

/* Two threads may make them at once: one of the two is kept. */
static const struct sign_parts *parts_of(struct signer *s, const struct sign_options *options)
{
	_Atomic(struct sign_parts *) *place = &s->parts[(options->pss ? 1 : 0) + (options->capabilities ? 2 : 0)];
	struct sign_parts *p = atomic_load_explicit(place, memory_order_acquire), *none = NULL;

	if (p != NULL)
		return p;
	p = make_parts(s, options);
	if (p != NULL && !atomic_compare_exchange_strong(place, &none, p)) {
		sign_parts_free(p);
		p = none;
	}
	return p;
}

/* ---- one signature ------------------------------------------------------------------------------------------------------- */

struct sign_op *sign_begin(struct signer *s, const struct sign_options *options, struct err *err)
{
	struct sign_op *op = calloc(1, sizeof(*op));

	if (op == NULL) {
		err_nomem(err, OP_SIGN);
		return NULL;
	}
	op->signer = signer_ref(s);
	op->pss = options->pss && EVP_PKEY_is_a(s->key, "RSA");
	op->parts = parts_of(s, options);
	op->digest = op->parts != NULL ? EVP_MD_CTX_new() : NULL;
	if (op->digest == NULL || EVP_DigestInit_ex(op->digest, s->digest, NULL) != 1) {
		err_openssl(err, ERR_BUG, OP_SIGN, s->fingerprint);
		sign_free(op);
		return NULL;
	}
	return op;
}

void sign_free(struct sign_op *op)
{
	if (op == NULL)
		return;
	EVP_MD_CTX_free(op->digest);
	signer_unref(op->signer);
	free(op);
}

bool sign_update(struct sign_op *op, const void *data, size_t len, struct err *err)
{
	return EVP_DigestUpdate(op->digest, data, len) == 1 || err_openssl(err, ERR_BUG, OP_SIGN, "");
}

static bool fill_time(unsigned char *out, struct err *err)
{
	ASN1_UTCTIME *now = ASN1_UTCTIME_set(NULL, time(NULL));
	bool ok = now != NULL && ASN1_STRING_length(now) == TIME_LEN;

	if (ok)
		memcpy(out, ASN1_STRING_get0_data(now), TIME_LEN);
	ASN1_UTCTIME_free(now);
	return ok || err_openssl(err, ERR_BUG, OP_SIGN, "the clock, which is before 1950 or behind 2049");
}

/* The raw signature over the attributes, which are signed as the SET OF that they are and stand there as [0] (RFC 5652 section 5.4). */
static bool raw_signature(const struct sign_op *op, const unsigned char *attributes, unsigned char **signature, size_t *len)
{
	const struct signer *s = op->signer;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *key = NULL;
	size_t n = op->parts->attributes_len;
	bool ok;

	memory_secret_begin();
	ok = ctx != NULL && EVP_DigestSignInit(ctx, &key, s->digest, NULL, s->key) == 1 &&
		  (!op->pss || (EVP_PKEY_CTX_set_rsa_padding(key, RSA_PKCS1_PSS_PADDING) > 0 &&
				       EVP_PKEY_CTX_set_rsa_pss_saltlen(key, EVP_MD_get_size(s->digest)) > 0)) &&
		  EVP_DigestSign(ctx, NULL, len, attributes, n) == 1 && (*signature = malloc(*len)) != NULL &&
		  EVP_DigestSign(ctx, *signature, len, attributes, n) == 1;

	memory_secret_end();
	EVP_MD_CTX_free(ctx);
	return ok;
}

/* From the inside to the outside the lengths are known, from the outside to the inside it is written. */
static bool put_together(const struct sign_parts *p, const unsigned char *attributes, const unsigned char *signature, size_t len, struct buf *der)
{
	int lengths[LEVELS] = {[LEVELS - 1] = (int)len};
	const struct level *info = &p->levels[SIGNER_INFO];
	size_t total, attributes_at = p->attributes - info->at;
	unsigned char *out, *at;

	for (int i = LEVELS - 1; i > 0; i--)
		lengths[i - 1] = (int)p->levels[i - 1].len + ASN1_object_size(i < LEVELS - 1, lengths[i], p->levels[i].tag);
	total = (size_t)ASN1_object_size(1, lengths[0], p->levels[0].tag);
	at = out = malloc(total);
	if (out == NULL)
		return false;
	for (int i = 0; i < LEVELS; i++) {
		ASN1_put_object(&at, i < LEVELS - 1, lengths[i], p->levels[i].tag, p->levels[i].class);
		memcpy(at, p->der + p->levels[i].at, p->levels[i].len);
		if (i == SIGNER_INFO) {
			memcpy(at + attributes_at, attributes, p->attributes_len);
			at[attributes_at] = V_ASN1_CONTEXT_SPECIFIC | V_ASN1_CONSTRUCTED;
		}
		at += p->levels[i].len;
	}
	memcpy(at, signature, len);
	buf_append(der, out, total);
	free(out);
	return !der->failed;
}

bool sign_finish(struct sign_op *op, struct buf *der, struct err *err)
{
	const struct sign_parts *p = op->parts;
	unsigned char *attributes = malloc(p->attributes_len), *signature = NULL;
	size_t len = 0;
	bool ok = attributes != NULL;

	if (ok) {
		memcpy(attributes, p->der + p->attributes, p->attributes_len);
		attributes[0] = V_ASN1_SET | V_ASN1_CONSTRUCTED;
		ok = EVP_DigestFinal_ex(op->digest, attributes + p->digest, NULL) == 1;
	}
	if (ok && !fill_time(attributes + p->time, err)) {
		free(attributes);
		return false;
	}
	ok = ok && raw_signature(op, attributes, &signature, &len) && put_together(p, attributes, signature, len, der);
	free(signature);
	free(attributes);
	return ok || err_openssl(err, ERR_BUG, OP_SIGN, op->signer->fingerprint);
}

/* ---- the multipart/signed around it (RFC 8551 section 3.5.3, RFC 1847) ---------------------------------------------------- */

static unsigned char boundary_secret[32];
static bool boundary_ready;

static void make_boundary_secret(void)
{
	boundary_ready = RAND_bytes(boundary_secret, sizeof(boundary_secret)) == 1;
}

/* Unpredictable, or somebody could write it into a mail beforehand.  By a secret and a count: each of libmilter's threads lives for one
 * connection, and OpenSSL would make and seed a random generator for every one of them. */
void sign_boundary(char out[64])
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	static atomic_uint_fast64_t count;
	struct {
		unsigned char secret[sizeof(boundary_secret)];
		uint64_t count;
	} seed;
	unsigned char digest[SHA256_DIGEST_LENGTH];
	struct buf text = BUF_INIT;

	/* "=_" stands in no quoted-printable and no base64 text (RFC 2045 section 6.7). */
	buf_puts(&text, "=_");
	pthread_once(&once, make_boundary_secret);
	memcpy(seed.secret, boundary_secret, sizeof(seed.secret));
	seed.count = atomic_fetch_add_explicit(&count, 1, memory_order_relaxed);
	SHA256((const unsigned char *)&seed, sizeof(seed), digest);
	if (boundary_ready)
		hex_encode(&text, digest, 20);
	else
		random_text(&text, 20);
	snprintf(out, 64, "%s", buf_str(&text));
	buf_clear(&text);
	OPENSSL_cleanse(&seed, sizeof(seed));
}

void sign_content_type(struct buf *out, const char *boundary, const char *micalg)
{
	buf_printf(out, "multipart/signed; protocol=\"application/pkcs7-signature\";\n\tmicalg=%s; boundary=\"%s\"", micalg, boundary);
}

void sign_prologue(struct buf *out, const char *boundary)
{
	buf_printf(out, "This is a cryptographically signed message in MIME format.\r\n\r\n--%s\r\n", boundary);
}

void sign_epilogue(struct buf *out, const char *boundary, const struct buf *der)
{
	buf_printf(out,
		"\r\n--%s\r\n"
		"Content-Type: application/pkcs7-signature; name=\"smime.p7s\"\r\n"
		"Content-Transfer-Encoding: base64\r\n"
		"Content-Disposition: attachment; filename=\"smime.p7s\"\r\n"
		"Content-Description: S/MIME Cryptographic Signature\r\n\r\n",
		boundary);
	base64_encode(out, der->data, der->len, 76, "\r\n");
	if (out->len < 2 || memcmp(out->data + out->len - 2, "\r\n", 2) != 0)
		buf_puts(out, "\r\n");
	buf_printf(out, "--%s--\r\n", boundary);
}
