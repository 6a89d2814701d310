/*
 * tests/unit/certificates.c - the small CA of the unit tests.
 */
#include "config.h"

#include "tests/unit/certificates.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>
#include <openssl/bn.h>
#include <openssl/conf.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

struct authority authority_root, authority_ca, authority_rsa, authority_ended, authority_tls, authority_small, authority_other;
EVP_PKEY *user_key, *user_rsa;

#define FROM 1577836800	 /* 2020-01-01 */
#define LATE 1790812800	 /* 2026-10-01 */
#define UNTIL 2493072000 /* 2049-01-01 */
#define ENDED 1704067200 /* 2024-01-01 */

EVP_PKEY *key_of(const char *algorithm, const char *group)
{
	EVP_PKEY *key = strcmp(algorithm, "EC") == 0	? EVP_PKEY_Q_keygen(NULL, NULL, "EC", group)
			: strcmp(algorithm, "RSA") == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)atoi(group))
							: EVP_PKEY_Q_keygen(NULL, NULL, algorithm);

	ck_assert_ptr_nonnull(key);
	return key;
}

EVP_PKEY *rsa_public(const BIGNUM *n, unsigned long e)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	BIGNUM *exponent = BN_new();
	OSSL_PARAM *params;
	EVP_PKEY *key = NULL;

	BN_set_word(exponent, e);
	OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n);
	OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent);
	params = OSSL_PARAM_BLD_to_param(build);
	ck_assert_int_eq(EVP_PKEY_fromdata_init(ctx), 1);
	ck_assert_int_eq(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params), 1);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	BN_free(exponent);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

static void add_extensions(X509 *x, X509 *issuer, const char *text)
{
	CONF *conf = NCONF_new(NULL);
	BIO *bio = BIO_new_mem_buf(text, -1);
	X509V3_CTX ctx;
	long line = 0;

	ck_assert_int_gt(NCONF_load_bio(conf, bio, &line), 0);
	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	X509V3_set_nconf(&ctx, conf);
	if (X509V3_EXT_add_nconf(conf, &ctx, "extensions", x) != 1) {
		ERR_print_errors_fp(stderr);
		ck_abort_msg("extensions: %s", text);
	}
	BIO_free(bio);
	NCONF_free(conf);
}

static struct authority authority_from(
	const char *name, EVP_PKEY *key, const struct authority *issuer, time_t from, time_t until, const char *more)
{
	X509 *x = X509_new();
	X509_NAME *subject = X509_get_subject_name(x);
	char extensions[512];

	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1000 + (long)strlen(name));
	X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, (const unsigned char *)"Test CA", -1, -1, 0);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(x, issuer != NULL ? X509_get_subject_name(issuer->certificate) : subject);
	ASN1_TIME_set(X509_getm_notBefore(x), from);
	ASN1_TIME_set(X509_getm_notAfter(x), until);
	X509_set_pubkey(x, key);
	snprintf(extensions, sizeof extensions,
		"[extensions]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
		"subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\n%s",
		more);
	add_extensions(x, issuer != NULL ? issuer->certificate : x, extensions);
	ck_assert_int_gt(X509_sign(x, issuer != NULL ? issuer->key : key, EVP_sha256()), 0);
	return (struct authority){x, key};
}

static struct authority authority_make(const char *name, EVP_PKEY *key, const struct authority *issuer, time_t until, const char *more)
{
	return authority_from(name, key, issuer, FROM, until, more);
}

void certificates_setup(void)
{
	authority_root = authority_make("Root", key_of("EC", "P-256"), NULL, UNTIL, "");
	authority_ca = authority_make("Intermediate", key_of("EC", "P-256"), &authority_root, UNTIL, "");
	authority_rsa = authority_make("RSA Intermediate", key_of("RSA", "2048"), &authority_root, UNTIL, "");
	authority_ended = authority_make("Ended Intermediate", key_of("EC", "P-256"), &authority_root, ENDED, "");
	authority_tls = authority_make("TLS Intermediate", key_of("EC", "P-256"), &authority_root, UNTIL, "extendedKeyUsage=serverAuth\n");
	authority_small = authority_from("Small Intermediate", key_of("RSA", "3072"), &authority_root, LATE, UNTIL, "");
	authority_other = authority_make("Other Root", key_of("EC", "P-256"), NULL, UNTIL, "");
	user_key = key_of("EC", "P-256");
	user_rsa = key_of("RSA", "2048");
}

static void authority_free(struct authority *a)
{
	X509_free(a->certificate);
	EVP_PKEY_free(a->key);
}

void certificates_teardown(void)
{
	authority_free(&authority_root);
	authority_free(&authority_ca);
	authority_free(&authority_rsa);
	authority_free(&authority_ended);
	authority_free(&authority_tls);
	authority_free(&authority_small);
	authority_free(&authority_other);
	EVP_PKEY_free(user_key);
	EVP_PKEY_free(user_rsa);
}

/* ---- specifications ---------------------------------------------------------------------------------------------- */

void spec_set(struct spec *s, const char *extension, const char *value)
{
	size_t i = 0;

	while (i < s->n_extensions && strcmp(s->extensions[i].name, extension) != 0)
		i++;
	ck_assert_uint_lt(i, SPEC_EXTENSIONS);
	s->extensions[i].name = extension;
	s->extensions[i].value = value;
	s->n_extensions = i == s->n_extensions ? i + 1 : s->n_extensions;
}

void spec_name_typed(struct spec *s, const char *attribute, const char *value, int type)
{
	ck_assert_uint_lt(s->n_subject, SPEC_NAMES);
	s->subject[s->n_subject++] = (struct spec_name){attribute, value, type};
}

void spec_name(struct spec *s, const char *attribute, const char *value)
{
	for (size_t i = 0; i < s->n_subject; i++) {
		if (strcmp(s->subject[i].attribute, attribute) == 0) {
			s->subject[i].value = value;
			return;
		}
	}
	spec_name_typed(s, attribute, value, MBSTRING_UTF8);
}

struct spec spec_clean(enum validation v, enum generation g, time_t now)
{
	static const char *const policies[4][3] = {{"2.23.140.1.5.1.1", "2.23.140.1.5.1.2", "2.23.140.1.5.1.3"},
		{"2.23.140.1.5.2.1", "2.23.140.1.5.2.2", "2.23.140.1.5.2.3"}, {"2.23.140.1.5.3.1", "2.23.140.1.5.3.2", "2.23.140.1.5.3.3"},
		{"2.23.140.1.5.4.1", "2.23.140.1.5.4.2", "2.23.140.1.5.4.3"}};
	struct spec s = {.validation = v,
		.generation = g,
		.key = user_key,
		.not_before = now - 3600,
		.not_after = now + 365 * 86400,
		.version = X509_VERSION_3,
		.serial = "0123456789abcdef0123456789abcdef",
		.issuer = &authority_ca,
		.digest = "SHA256"};

	spec_set(&s, "keyUsage", "critical,digitalSignature");
	spec_set(&s, "extendedKeyUsage", "emailProtection");
	spec_set(&s, "certificatePolicies", v == VALIDATION_PRIVATE ? "1.3.6.1.4.1.99999.1" : policies[v - 1][g - 1]);
	spec_set(&s, "crlDistributionPoints", "URI:http://crl.ca.example/mail.crl");
	spec_set(&s, "authorityInfoAccess", "OCSP;URI:http://ocsp.ca.example,caIssuers;URI:http://ca.example/mail.cer");
	spec_set(&s, "authorityKeyIdentifier", "keyid:always");
	spec_set(&s, "subjectKeyIdentifier", "hash");
	spec_set(&s, "subjectAltName", v == VALIDATION_MAILBOX ? "critical,email:alice@example.org" : "email:alice@example.org");
	if (v == VALIDATION_ORGANIZATION || v == VALIDATION_SPONSOR) {
		spec_name_typed(&s, "C", "DE", V_ASN1_PRINTABLESTRING);
		spec_name(&s, "O", "Example AG");
		spec_name(&s, "organizationIdentifier", "NTRDE-DEK1101R.HRB116737");
	}
	if (v == VALIDATION_SPONSOR || v == VALIDATION_INDIVIDUAL) {
		spec_name(&s, "GN", "Alice");
		spec_name(&s, "SN", "Doe");
	}
	if (v != VALIDATION_MAILBOX)
		spec_name(&s, "CN", v == VALIDATION_ORGANIZATION ? "Example AG" : "Alice Doe");
	return s;
}

/* ---- making ------------------------------------------------------------------------------------------------------ */

static void make_time(ASN1_TIME *out, time_t when, bool generalized)
{
	if (generalized)
		ASN1_GENERALIZEDTIME_set(out, when);
	else
		ASN1_TIME_set(out, when);
}

static void make_key(X509 *x, const struct spec *s)
{
	X509_PUBKEY *pubkey;
	const unsigned char *bits = s->key_bits;
	int len = (int)s->key_bits_len;
	unsigned char *copy;
	ASN1_OBJECT *object = NULL;

	ck_assert_int_eq(X509_set_pubkey(x, s->key), 1);
	if (s->key_oid == NULL && s->key_bits == NULL)
		return;
	pubkey = X509_get_X509_PUBKEY(x);
	X509_PUBKEY_get0_param(&object, bits == NULL ? &bits : NULL, bits == NULL ? &len : NULL, NULL, pubkey);
	copy = OPENSSL_memdup(bits, (size_t)len);
	object = s->key_oid != NULL ? OBJ_txt2obj(s->key_oid, 1) : OBJ_dup(object);
	if (s->key_oid == NULL && EVP_PKEY_is_a(s->key, "EC"))
		X509_PUBKEY_set0_param(pubkey, object, V_ASN1_OBJECT, OBJ_nid2obj(NID_X9_62_prime256v1), copy, len);
	else
		X509_PUBKEY_set0_param(pubkey, object, s->key_null ? V_ASN1_NULL : V_ASN1_UNDEF, NULL, copy, len);
}

static void make_names(X509 *x, const struct spec *s)
{
	X509_NAME *subject = X509_get_subject_name(x), *issuer = X509_get_issuer_name(x);

	for (size_t i = 0; i < s->n_subject; i++)
		if (s->subject[i].value != NULL && X509_NAME_add_entry_by_txt(subject, s->subject[i].attribute, s->subject[i].type,
							   (const unsigned char *)s->subject[i].value, -1, -1, 0) != 1)
			ck_abort_msg("subject %s", s->subject[i].attribute);
	if (!s->printable_issuer) {
		X509_set_issuer_name(x, X509_get_subject_name(s->issuer->certificate));
		return;
	}
	for (int i = 0; i < X509_NAME_entry_count(X509_get_subject_name(s->issuer->certificate)); i++) {
		X509_NAME_ENTRY *e = X509_NAME_get_entry(X509_get_subject_name(s->issuer->certificate), i);
		const ASN1_STRING *value = X509_NAME_ENTRY_get_data(e);

		X509_NAME_add_entry_by_OBJ(issuer, X509_NAME_ENTRY_get_object(e), V_ASN1_PRINTABLESTRING, ASN1_STRING_get0_data(value),
			ASN1_STRING_length(value), -1, 0);
	}
}

static void make_extensions(X509 *x, const struct spec *s)
{
	struct buf text = BUF_INIT;

	buf_puts(&text, "[extensions]\n");
	for (size_t i = 0; i < s->n_extensions; i++)
		if (s->extensions[i].value != NULL)
			buf_printf(&text, "%s=%s\n", s->extensions[i].name, s->extensions[i].value);
	if (s->sections != NULL)
		buf_puts(&text, s->sections);
	add_extensions(x, s->issuer->certificate, buf_str(&text));
	buf_clear(&text);
	if (s->duplicate != NULL) {
		int at = X509_get_ext_by_NID(x, OBJ_txt2nid(s->duplicate), -1);

		ck_assert_int_ge(at, 0);
		X509_add_ext(x, X509_get_ext(x, at), -1);
	}
}

static void make_signature(X509 *x, const struct spec *s)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *key_ctx = NULL;

	ck_assert_int_eq(
		EVP_DigestSignInit(ctx, &key_ctx, s->digest != NULL ? EVP_get_digestbyname(s->digest) : NULL, NULL, s->issuer->key), 1);
	if (s->pss) {
		EVP_PKEY_CTX_set_rsa_padding(key_ctx, RSA_PKCS1_PSS_PADDING);
		EVP_PKEY_CTX_set_rsa_pss_saltlen(key_ctx, RSA_PSS_SALTLEN_DIGEST);
	}
	ck_assert_int_gt(X509_sign_ctx(x, ctx), 0);
	EVP_MD_CTX_free(ctx);
}

X509 *spec_make(const struct spec *s)
{
	X509 *x = X509_new(), *made;
	BIGNUM *serial = NULL;
	struct buf der = BUF_INIT;
	unsigned char *out = NULL;
	const unsigned char *at;
	int len;

	X509_set_version(x, s->version);
	BN_hex2bn(&serial, s->serial);
	BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(x));
	BN_free(serial);
	make_time(X509_getm_notBefore(x), s->not_before, s->generalized_time);
	make_time(X509_getm_notAfter(x), s->not_after, false);
	make_names(x, s);
	X509_set_pubkey(x, s->key); /* for subjectKeyIdentifier=hash */
	make_key(x, s);
	make_extensions(x, s);
	make_signature(x, s);
	len = i2d_X509(x, &out);
	ck_assert_int_gt(len, 0);
	buf_append(&der, out, (size_t)len);
	if (s->edit != NULL)
		s->edit(&der);
	/* what comes from a CA has been encoded: nothing cached in the object is left */
	at = (const unsigned char *)der.data;
	made = d2i_X509(NULL, &at, (long)der.len);
	ck_assert_ptr_nonnull(made);
	buf_clear(&der);
	OPENSSL_free(out);
	X509_free(x);
	return made;
}
