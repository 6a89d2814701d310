/*
 * tests/fuzz/fuzz_revocation.c - whatever a stranger answers when a certificate is asked about, it proves nothing without the issuer's key.
 *
 * Input: one octet, and an OCSP response (even) or a CRL (odd).  It is judged as it is, which must end in "unknown"; and once more after it was
 * signed with the issuer's key, so that what lies behind the signature is reached.  The key is the smallest there is, to be the same in each run:
 * responses name the issuer by its digest.  The corpus is signed with another one.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/param_build.h>

#include "policy/policy.h"

#define NOW 1795305600 /* 2026-11-22 */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* P-256, private key 1, whose public key is the base point. */
static EVP_PKEY *smallest_key(void)
{
	static const unsigned char base[65] = {0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77,
		0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b,
		0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51,
		0xf5};
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	BIGNUM *one = BN_new();
	OSSL_PARAM *params;
	EVP_PKEY *key = NULL;

	BN_one(one);
	OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0);
	OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, base, sizeof base);
	OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, one);
	params = OSSL_PARAM_BLD_to_param(build);
	if (EVP_PKEY_fromdata_init(ctx) != 1 || EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params) != 1)
		abort();
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	BN_free(one);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

static X509 *certificate(EVP_PKEY *key, const char *name, long serial, X509 *issuer)
{
	X509 *x = X509_new(), *made;
	unsigned char *der = NULL;
	const unsigned char *p;
	int len;

	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), serial);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(issuer != NULL ? issuer : x));
	ASN1_TIME_set(X509_getm_notBefore(x), NOW - 86400);
	ASN1_TIME_set(X509_getm_notAfter(x), NOW + 86400L * 365);
	X509_set_pubkey(x, key);
	if (issuer == NULL) {
		X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");

		X509_add_ext(x, e, -1);
		X509_EXTENSION_free(e);
	}
	X509_sign(x, key, EVP_sha256());
	len = i2d_X509(x, &der);
	p = der;
	made = d2i_X509(NULL, &p, len);
	OPENSSL_free(der);
	X509_free(x);
	return made;
}

static EVP_PKEY *key;
static X509 *issuer, *leaf;

static enum revocation_status judge(enum evidence_kind kind, const void *der, size_t len)
{
	struct certcheck_evidence e = {.kind = kind, .der = der, .len = len};
	char why[200];
	enum revocation_status status = certcheck_revocation(leaf, issuer, &e, NOW, why, sizeof why);

	if (why[0] == '\0' || ERR_peek_error() != 0)
		abort();
	for (const char *p = why; *p != '\0'; p++)
		if (*p < ' ' || *p > '~')
			abort();
	return status;
}

/* The answers of one response in another one, to be signed anew: OpenSSL cannot change who signed one that it parsed. */
static OCSP_BASICRESP *answers_of(OCSP_BASICRESP *from)
{
	OCSP_BASICRESP *to = OCSP_BASICRESP_new();

	for (int i = 0; i < OCSP_resp_count(from); i++) {
		OCSP_SINGLERESP *single = OCSP_resp_get0(from, i);
		OCSP_CERTID *id = OCSP_CERTID_dup((OCSP_CERTID *)OCSP_SINGLERESP_get0_id(single));
		ASN1_GENERALIZEDTIME *revoked = NULL, *begins = NULL, *ends = NULL;
		int reason = -1, status = OCSP_single_get0_status(single, &reason, &revoked, &begins, &ends);

		if (id != NULL)
			OCSP_basic_add1_status(to, id, status, reason, revoked, begins, ends);
		OCSP_CERTID_free(id);
	}
	return to;
}

static void judge_signed_ocsp(const uint8_t *data, size_t size)
{
	const unsigned char *p = data;
	OCSP_RESPONSE *r = d2i_OCSP_RESPONSE(NULL, &p, (long)size), *again = NULL;
	OCSP_BASICRESP *basic = r != NULL ? OCSP_response_get1_basic(r) : NULL, *copy = basic != NULL ? answers_of(basic) : NULL;
	unsigned char *der = NULL;
	int len = -1;

	if (copy != NULL && OCSP_basic_sign(copy, issuer, key, EVP_sha256(), NULL, 0) == 1)
		again = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, copy);
	if (again != NULL)
		len = i2d_OCSP_RESPONSE(again, &der);
	ERR_clear_error();
	if (len > 0)
		judge(EVIDENCE_OCSP, der, (size_t)len);
	OPENSSL_free(der);
	OCSP_RESPONSE_free(again);
	OCSP_BASICRESP_free(copy);
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(r);
}

static void judge_signed_crl(const uint8_t *data, size_t size)
{
	const unsigned char *p = data;
	X509_CRL *crl = d2i_X509_CRL(NULL, &p, (long)size);
	unsigned char *der = NULL;
	int len = -1;

	if (crl != NULL && X509_CRL_sign(crl, key, EVP_sha256()) > 0)
		len = i2d_X509_CRL(crl, &der);
	ERR_clear_error();
	if (len > 0)
		judge(EVIDENCE_CRL, der, (size_t)len);
	OPENSSL_free(der);
	X509_CRL_free(crl);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1 || size > 1u << 16)
		return 0;
	if (key == NULL) {
		key = smallest_key();
		issuer = certificate(key, "Fuzz CA", 1, NULL);
		leaf = certificate(key, "Fuzz", 2, issuer);
	}
	if (judge(data[0] % 2 == 0 ? EVIDENCE_OCSP : EVIDENCE_CRL, data + 1, size - 1) != REVOCATION_UNKNOWN)
		abort();
	ERR_clear_error();
	if (data[0] % 2 == 0)
		judge_signed_ocsp(data + 1, size - 1);
	else
		judge_signed_crl(data + 1, size - 1);
	ERR_clear_error();
	return 0;
}
