/*
 * tests/unit/test_sign.c - milter/sign: what is loaded may sign, what it signs verifies, and what must not sign is refused.
 *
 * Keys and certificates (root, intermediate, users) are made here.
 */
#include "config.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>
#include <openssl/cms.h>
#include <openssl/ess.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "milter/sign.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define ALICE "alice@example.org"
#define DAY 86400

static struct err err;
static const struct sign_options plain;
static EVP_PKEY *master_key, *root_key, *intermediate_key, *rsa_key, *ec_key, *other_key;
static X509 *master, *root, *intermediate;
static time_t now;

/* ---- making certificates --------------------------------------------------------------------------------------------- */

struct request {
	const char *san, *usage;
	time_t from, until;
	bool ca;
};

static void extend(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ck_assert_ptr_nonnull(e);
	ck_assert_int_eq(X509_add_ext(x, e, -1), 1);
	X509_EXTENSION_free(e);
}

static X509 *certificate(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, const struct request *r)
{
	static long serial = 1000;
	X509 *x = X509_new();

	ck_assert_ptr_nonnull(x);
	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x));
	ASN1_TIME_set(X509_getm_notBefore(x), r->from);
	ASN1_TIME_set(X509_getm_notAfter(x), r->until);
	X509_set_pubkey(x, key);
	extend(x, issuer ? issuer : x, NID_basic_constraints, r->ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
	extend(x, issuer ? issuer : x, NID_subject_key_identifier, "hash");
	if (r->usage)
		extend(x, issuer ? issuer : x, NID_key_usage, r->usage);
	if (r->san) {
		extend(x, issuer ? issuer : x, NID_subject_alt_name, r->san);
		extend(x, issuer ? issuer : x, NID_ext_key_usage, "emailProtection");
	}
	ck_assert_int_gt(X509_sign(x, issuer_key, EVP_sha256()), 0);
	return x;
}

static X509 *user_certificate(EVP_PKEY *key, const char *san, const char *usage, time_t from, time_t until)
{
	struct request r = {.san = san, .usage = usage, .from = from, .until = until};

	return certificate("Alice", key, intermediate, intermediate_key, &r);
}

static void setup(void)
{
	struct request ca = {.usage = "critical,keyCertSign,cRLSign", .ca = true};
	struct buf key = BUF_INIT, pem = BUF_INIT;
	BIO *bio;

	memset(&err, 0, sizeof(err));
	now = time(NULL);
	ca.from = now - 1000 * DAY;
	ca.until = now + 1000 * DAY;
	root_key = EVP_EC_gen("P-256");
	intermediate_key = EVP_EC_gen("P-256");
	rsa_key = EVP_RSA_gen(2048);
	ec_key = EVP_EC_gen("P-256");
	other_key = EVP_EC_gen("P-256");
	root = certificate("Root", root_key, NULL, root_key, &ca);
	intermediate = certificate("Intermediate", intermediate_key, root, root_key, &ca);
	ck_assert_msg(keyvault_master_new(&key, &pem, &err), "%s", err.text);
	bio = BIO_new_mem_buf(key.data, (int)key.len);
	master_key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	BIO_free(bio);
	bio = BIO_new_mem_buf(pem.data, (int)pem.len);
	master = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	BIO_free(bio);
	buf_wipe(&key);
	buf_clear(&pem);
}

static void teardown(void)
{
	EVP_PKEY *keys[] = {master_key, root_key, intermediate_key, rsa_key, ec_key, other_key};

	for (int i = 0; i < COUNT(keys); i++)
		EVP_PKEY_free(keys[i]);
	X509_free(master);
	X509_free(root);
	X509_free(intermediate);
}

/* ---- credentials ----------------------------------------------------------------------------------------------------- */

static void credential(struct store_credential *c, X509 *leaf, EVP_PKEY *key)
{
	struct buf wrapped = BUF_INIT;
	BIO *chain = BIO_new(BIO_s_mem());
	char *text;
	long len;
	unsigned char *der = NULL;

	memset(c, 0, sizeof(*c));
	c->certificate_id = 42;
	c->der_len = (size_t)i2d_X509(leaf, &der);
	c->der = malloc(c->der_len);
	memcpy(c->der, der, c->der_len);
	OPENSSL_free(der);
	/* A root has no place in there: it must not come out again. */
	PEM_write_bio_X509(chain, intermediate);
	PEM_write_bio_X509(chain, root);
	len = BIO_get_mem_data(chain, &text);
	c->chain = malloc((size_t)len);
	memcpy(c->chain, text, (size_t)len);
	c->chain_len = (size_t)len;
	BIO_free(chain);
	ck_assert_msg(keyvault_wrap(&wrapped, key, master, &err), "%s", err.text);
	c->wrapped_len = wrapped.len;
	c->wrapped = (unsigned char *)buf_take(&wrapped);
}

static void credential_clear(struct store_credential *c)
{
	free(c->der);
	free(c->chain);
	free(c->wrapped);
}

static struct signer *load(EVP_PKEY *key)
{
	X509 *leaf = user_certificate(key, "email:" ALICE, "critical,digitalSignature", now - DAY, now + DAY);
	struct store_credential c;
	struct signer *s;

	credential(&c, leaf, key);
	s = signer_load(&c, ALICE, master, master_key, now, &err);
	ck_assert_msg(s != NULL, "%s", err.text);
	credential_clear(&c);
	X509_free(leaf);
	return s;
}

START_TEST(loaded_credential_knows_itself)
{
	struct signer *s = load(ec_key);

	ck_assert_int_eq(signer_certificate_id(s), 42);
	ck_assert_uint_eq(strlen(signer_fingerprint(s)), 64);
	ck_assert(signer_valid_at(s, now));
	ck_assert(signer_valid_at(s, now + DAY));
	ck_assert(!signer_valid_at(s, now + DAY + 1));
	ck_assert(!signer_valid_at(s, now - DAY - 1));
	ck_assert_ptr_eq(signer_ref(s), s);
	signer_unref(s);
	signer_unref(s);
	signer_unref(NULL);
}
END_TEST

static const struct {
	const char *sentence, *san, *usage;
	int from, until; /* days */
	bool other_key;
	const char *text; /* of the refusal; NULL = loads */
} loads[] = {
	{"the usual certificate", "email:" ALICE, "critical,digitalSignature", -1, 1, false, NULL},
	{"one of several addresses, in other case", "email:bob@example.org,email:ALICE@Example.ORG", "digitalSignature,nonRepudiation", -1, 1, false, NULL},
	{"no keyUsage limits nothing", "email:" ALICE, NULL, -1, 1, false, NULL},
	{"a certificate for somebody else", "email:bob@example.org", "digitalSignature", -1, 1, false, "not for this address"},
	{"a certificate without an address", NULL, "digitalSignature", -1, 1, false, "not for this address"},
	{"a key that is not the certificate's", "email:" ALICE, "digitalSignature", -1, 1, true, "not the one of certificate"},
	{"an expired certificate", "email:" ALICE, "digitalSignature", -3, -1, false, "expired"},
	{"a certificate of the future", "email:" ALICE, "digitalSignature", 1, 3, false, "not valid before"},
	{"a certificate for encryption only", "email:" ALICE, "keyEncipherment", -1, 1, false, "not for signatures"},
};

START_TEST(only_what_may_sign_is_loaded)
{
	X509 *leaf = user_certificate(ec_key, loads[_i].san, loads[_i].usage, now + loads[_i].from * DAY, now + loads[_i].until * DAY);
	struct store_credential c;
	struct signer *s;

	credential(&c, leaf, loads[_i].other_key ? other_key : ec_key);
	s = signer_load(&c, ALICE, master, master_key, now, &err);
	ck_assert_msg((s != NULL) == (loads[_i].text == NULL), "%s: %s", loads[_i].sentence, err.text);
	if (loads[_i].text)
		ck_assert_msg(err.class != ERR_NONE && strstr(err.text, loads[_i].text) != NULL, "%s: %s", loads[_i].sentence, err.text);
	signer_unref(s);
	credential_clear(&c);
	X509_free(leaf);
}
END_TEST

START_TEST(damaged_credentials_are_refused)
{
	X509 *leaf = user_certificate(ec_key, "email:" ALICE, "digitalSignature", now - DAY, now + DAY);
	struct store_credential c;

	credential(&c, leaf, ec_key);
	c.der_len--;
	ck_assert_ptr_null(signer_load(&c, ALICE, master, master_key, now, &err));
	c.der_len++;
	c.chain[c.chain_len / 4] = '!';
	ck_assert_ptr_null(signer_load(&c, ALICE, master, master_key, now, &err));
	c.chain_len = 0;
	c.wrapped[c.wrapped_len / 2] ^= 1;
	ck_assert_ptr_null(signer_load(&c, ALICE, master, master_key, now, &err));
	c.wrapped[c.wrapped_len / 2] ^= 1;
	ck_assert_ptr_null(signer_load(&c, ALICE, master, other_key, now, &err));
	ck_assert_int_ne(err.class, ERR_NONE);
	credential_clear(&c);
	X509_free(leaf);
}
END_TEST

/* ---- signatures ------------------------------------------------------------------------------------------------------ */

static void sign(struct signer *s, const char *data, size_t len, size_t piece, struct buf *der)
{
	struct err e = ERR_INIT;
	struct sign_op *op = sign_begin(s, &plain, &e);

	ck_assert_ptr_nonnull(op);
	for (size_t at = 0; at < len; at += piece)
		ck_assert(sign_update(op, data + at, len - at < piece ? len - at : piece, &e));
	ck_assert_msg(sign_finish(op, der, &e), "%s", e.text);
	sign_free(op);
}

static CMS_ContentInfo *parse(const struct buf *der)
{
	const unsigned char *p = (const unsigned char *)der->data;
	CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)der->len);

	ck_assert_ptr_nonnull(cms);
	ck_assert_ptr_eq(p, (const unsigned char *)der->data + der->len);
	return cms;
}

static int verify(CMS_ContentInfo *cms, const char *data, size_t len)
{
	BIO *content = BIO_new_mem_buf(data, (int)len);
	X509_STORE *anchors = X509_STORE_new();
	int ok;

	X509_STORE_add_cert(anchors, root);
	X509_STORE_set_purpose(anchors, X509_PURPOSE_SMIME_SIGN);
	ok = CMS_verify(cms, NULL, anchors, content, NULL, CMS_DETACHED | CMS_BINARY | CMS_CADES);
	X509_STORE_free(anchors);
	BIO_free(content);
	return ok;
}

static const char entity[] = "Content-Type: text/plain\r\n\r\nHello\r\n";

START_TEST(signature_verifies_and_says_what_it_should)
{
	struct signer *s = load(_i ? ec_key : rsa_key);
	struct buf der = BUF_INIT;
	CMS_ContentInfo *cms;
	CMS_SignerInfo *si;
	STACK_OF(X509) *certificates;
	X509_ALGOR *digest, *signature;

	sign(s, entity, strlen(entity), 7, &der);
	cms = parse(&der);
	ck_assert_int_eq(verify(cms, entity, strlen(entity)), 1);
	ck_assert_int_ne(verify(cms, entity, strlen(entity) - 1), 1);
	ck_assert_int_eq(CMS_is_detached(cms), 1);
	ck_assert_int_eq(sk_CMS_SignerInfo_num(CMS_get0_SignerInfos(cms)), 1);
	si = sk_CMS_SignerInfo_value(CMS_get0_SignerInfos(cms), 0);
	CMS_SignerInfo_get0_algs(si, NULL, NULL, &digest, &signature);
	ck_assert_int_eq(OBJ_obj2nid(digest->algorithm), NID_sha256);
	ck_assert_int_eq(OBJ_obj2nid(signature->algorithm), _i ? NID_ecdsa_with_SHA256 : NID_rsaEncryption);
	ck_assert_int_ge(CMS_signed_get_attr_by_NID(si, NID_pkcs9_contentType, -1), 0);
	ck_assert_int_ge(CMS_signed_get_attr_by_NID(si, NID_pkcs9_messageDigest, -1), 0);
	ck_assert_int_ge(CMS_signed_get_attr_by_NID(si, NID_pkcs9_signingTime, -1), 0);
	ck_assert_int_ge(CMS_signed_get_attr_by_NID(si, NID_id_smime_aa_signingCertificateV2, -1), 0);
	ck_assert_int_lt(CMS_signed_get_attr_by_NID(si, NID_SMIMECapabilities, -1), 0);
	ck_assert_int_eq(CMS_signed_get_attr_count(si), 4);
	certificates = CMS_get1_certs(cms);
	ck_assert_int_eq(sk_X509_num(certificates), 2);
	for (int i = 0; i < 2; i++)
		ck_assert_msg(X509_cmp(sk_X509_value(certificates, i), root) != 0, "the root is in it");
	sk_X509_pop_free(certificates, X509_free);
	CMS_ContentInfo_free(cms);
	buf_clear(&der);
	signer_unref(s);
}
END_TEST

/* ---- keys, padding, capabilities -------------------------------------------------------------------------------------- */

static const struct {
	const char *key, *usage, *micalg;
	struct sign_options options;
	int digest, signature;
	bool capabilities;
} kinds[] = {
	{"rsa:2048", "critical,digitalSignature", "sha-256", {0}, NID_sha256, NID_rsaEncryption, false},
	{"rsa:3072", "critical,digitalSignature", "sha-256", {0}, NID_sha256, NID_rsaEncryption, false},
	{"rsa:4096", "critical,digitalSignature", "sha-512", {0}, NID_sha512, NID_rsaEncryption, false},
	{"rsa:2048", "critical,digitalSignature", "sha-256", {.pss = true}, NID_sha256, NID_rsassaPss, false},
	{"rsa:4096", "critical,digitalSignature", "sha-512", {.pss = true}, NID_sha512, NID_rsassaPss, false},
	{"P-256", "critical,digitalSignature", "sha-256", {.pss = true}, NID_sha256, NID_ecdsa_with_SHA256, false},
	{"P-384", "critical,digitalSignature", "sha-384", {0}, NID_sha384, NID_ecdsa_with_SHA384, false},
	{"P-521", "critical,digitalSignature", "sha-512", {0}, NID_sha512, NID_ecdsa_with_SHA512, false},
	{"rsa:2048", "critical,digitalSignature,keyEncipherment", "sha-256", {.capabilities = true}, NID_sha256, NID_rsaEncryption, true},
	{"P-256", "critical,digitalSignature,keyAgreement", "sha-256", {.capabilities = true}, NID_sha256, NID_ecdsa_with_SHA256, true},
	{"rsa:2048", "critical,digitalSignature,keyEncipherment", "sha-256", {0}, NID_sha256, NID_rsaEncryption, false},
	{"rsa:2048", "critical,digitalSignature", "sha-256", {.capabilities = true}, NID_sha256, NID_rsaEncryption, false},
	{"rsa:2048", NULL, "sha-256", {.capabilities = true}, NID_sha256, NID_rsaEncryption, false},
};

static EVP_PKEY *make_key(const char *name)
{
	return strncmp(name, "rsa:", 4) == 0 ? EVP_RSA_gen((unsigned)atoi(name + 4)) : EVP_EC_gen(name);
}

static struct signer *load_with_usage(EVP_PKEY *key, const char *usage)
{
	X509 *leaf = user_certificate(key, "email:" ALICE, usage, now - DAY, now + DAY);
	struct store_credential c;
	struct signer *s;

	credential(&c, leaf, key);
	s = signer_load(&c, ALICE, master, master_key, now, &err);
	ck_assert_msg(s != NULL, "%s", err.text);
	credential_clear(&c);
	X509_free(leaf);
	return s;
}

/* Salt as long as the digest (RFC 4056 section 2.2 leaves it open, programs do not). */
static void check_pss(const X509_ALGOR *algorithm, int digest)
{
	RSA_PSS_PARAMS *pss = algorithm->parameter ? ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(RSA_PSS_PARAMS), algorithm->parameter) : NULL;

	ck_assert_ptr_nonnull(pss);
	ck_assert_int_eq(OBJ_obj2nid(pss->hashAlgorithm->algorithm), digest);
	ck_assert_int_eq(ASN1_INTEGER_get(pss->saltLength), EVP_MD_get_size(EVP_get_digestbynid(digest)));
	RSA_PSS_PARAMS_free(pss);
}

START_TEST(digest_and_padding_go_by_key_and_configuration)
{
	EVP_PKEY *key = make_key(kinds[_i].key);
	struct signer *s = load_with_usage(key, kinds[_i].usage);
	struct sign_op *op = sign_begin(s, &kinds[_i].options, &err);
	struct buf der = BUF_INIT;
	X509_ALGOR *digest, *signature;
	CMS_ContentInfo *cms;
	CMS_SignerInfo *si;

	ck_assert(sign_update(op, entity, strlen(entity), &err));
	ck_assert_msg(sign_finish(op, &der, &err), "%s", err.text);
	cms = parse(&der);
	ck_assert_int_eq(verify(cms, entity, strlen(entity)), 1);
	si = sk_CMS_SignerInfo_value(CMS_get0_SignerInfos(cms), 0);
	CMS_SignerInfo_get0_algs(si, NULL, NULL, &digest, &signature);
	ck_assert_int_eq(OBJ_obj2nid(digest->algorithm), kinds[_i].digest);
	ck_assert_int_eq(OBJ_obj2nid(signature->algorithm), kinds[_i].signature);
	if (kinds[_i].signature == NID_rsassaPss)
		check_pss(signature, kinds[_i].digest);
	ck_assert_int_eq(CMS_signed_get_attr_by_NID(si, NID_SMIMECapabilities, -1) >= 0, kinds[_i].capabilities);
	ck_assert_str_eq(signer_micalg(s), kinds[_i].micalg);
	CMS_ContentInfo_free(cms);
	buf_clear(&der);
	sign_free(op);
	signer_unref(s);
	EVP_PKEY_free(key);
}
END_TEST

START_TEST(what_openssl_cannot_sign_with_is_said_at_once)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	X509 *leaf = user_certificate(rsa_key, "email:" ALICE, "digitalSignature", now - DAY, now + DAY);
	struct store_credential c;
	struct signer *s;

	X509_set_pubkey(leaf, key);
	ck_assert_int_gt(X509_sign(leaf, intermediate_key, EVP_sha256()), 0);
	credential(&c, leaf, key);
	s = signer_load(&c, ALICE, master, master_key, now, &err);
	/* An OpenSSL that can is as well. */
	if (!s) {
		ck_assert_int_eq(err.class, ERR_POLICY);
		ck_assert_msg(strstr(err.text, "ED25519") && strstr(err.text, "key-type"), "%s", err.text);
	}
	signer_unref(s);
	credential_clear(&c);
	X509_free(leaf);
	EVP_PKEY_free(key);
}
END_TEST

/* ---- chains ------------------------------------------------------------------------------------------------------------ */

static void check_signs(struct store_credential *c)
{
	struct signer *s = signer_load(c, ALICE, master, master_key, now, &err);
	struct buf der = BUF_INIT;
	CMS_ContentInfo *cms;

	ck_assert_msg(s != NULL, "%s", err.text);
	sign(s, entity, strlen(entity), 7, &der);
	cms = parse(&der);
	ck_assert_int_eq(verify(cms, entity, strlen(entity)), 1);
	CMS_ContentInfo_free(cms);
	buf_clear(&der);
	signer_unref(s);
}

/* Line ends behind a chain, which change nothing in it. */
static void lengthen(struct store_credential *c, size_t len)
{
	c->chain = realloc(c->chain, len);
	memset(c->chain + c->chain_len, '\n', len - c->chain_len);
	c->chain_len = len;
}

/* Chains are kept for others: each has to get its own back, of the same length or not, and when there are more of them than are kept. */
START_TEST(each_gets_the_own_chain)
{
	struct request ca = {.usage = "critical,keyCertSign,cRLSign", .ca = true, .from = now - DAY, .until = now + DAY};
	X509 *first = intermediate, *second = certificate("Intermediate", other_key, root, root_key, &ca), *leaves[2];
	EVP_PKEY *first_key = intermediate_key;
	struct store_credential c[2];

	for (int i = 0; i < 2; i++) {
		intermediate = i ? second : first;
		intermediate_key = i ? other_key : first_key;
		leaves[i] = user_certificate(ec_key, "email:" ALICE, "digitalSignature", now - DAY, now + DAY);
		credential(&c[i], leaves[i], ec_key);
	}
	for (size_t n = 0; n < 50; n++) {
		lengthen(&c[0], 10000 + n / 2);
		lengthen(&c[1], 10000 + n / 2);
		check_signs(&c[n % 2]);
		check_signs(&c[(n + 1) % 2]);
	}
	for (int i = 0; i < 2; i++) {
		credential_clear(&c[i]);
		X509_free(leaves[i]);
	}
	X509_free(second);
	intermediate = first;
	intermediate_key = first_key;
}
END_TEST

/* ---- where keys are ------------------------------------------------------------------------------------------------------ */

START_TEST(keys_are_in_the_secure_heap_and_leave_it)
{
	EVP_PKEY *keys[] = {rsa_key, ec_key};
	struct signer *s;

	ck_assert_int_ge(CRYPTO_secure_malloc_init(1 << 20, 32), 1);
	/* The second time of each: at the first one OpenSSL makes what the thread keeps, its random generator for one. */
	for (int i = 0; i < 2 * COUNT(keys); i++) {
		struct buf der = BUF_INIT;
		size_t before = CRYPTO_secure_used();

		s = load(keys[i % COUNT(keys)]);
		if (i < COUNT(keys)) {
			sign(s, entity, strlen(entity), 7, &der);
			buf_clear(&der);
			signer_unref(s);
			continue;
		}
		/* At least as much as its private numbers. */
		ck_assert_uint_ge(CRYPTO_secure_used() - before, i % COUNT(keys) == 0 ? 5 * 128 + 256 : 32);
		ck_assert_uint_le(CRYPTO_secure_used() - before, 4096);
		sign(s, entity, strlen(entity), 7, &der);
		buf_clear(&der);
		/* With what it makes of the key to sign with it (KEY_OCTETS in credentials.c); base/memory.c leaves that where it is under sanitizers. */
#ifdef BUILT_WITH_SANITIZERS
		ck_assert_uint_ge(CRYPTO_secure_used() - before, i % COUNT(keys) == 0 ? 5 * 128 + 256 : 32);
#else
		ck_assert_uint_ge(CRYPTO_secure_used() - before, i % COUNT(keys) == 0 ? 7 * 128 + 256 : 32);
#endif
		ck_assert_uint_le(CRYPTO_secure_used() - before, 8192);
		signer_unref(s);
		ck_assert_uint_eq(CRYPTO_secure_used(), before);
	}
}
END_TEST

START_TEST(a_full_secure_heap_is_no_damage)
{
	struct signer *held[100];
	X509 *leaf = user_certificate(rsa_key, "email:" ALICE, "digitalSignature", now - DAY, now + DAY);
	struct store_credential c;
	int n = 0;

	credential(&c, leaf, rsa_key);
	ck_assert_int_ge(CRYPTO_secure_malloc_init(1 << 15, 32), 1);
	while (n < COUNT(held) && (held[n] = signer_load(&c, ALICE, master, master_key, now, &err)) != NULL)
		n++;
	ck_assert_int_lt(n, COUNT(held));
	ck_assert_msg(err.class == ERR_TEMPORARY, "%d: %s, %s", n, err.subject, err.text);
	ck_assert_msg(!strstr(err.text, "damaged"), "%s", err.text);
	while (n > 0)
		signer_unref(held[--n]);
	err_clear(&err);
	held[0] = signer_load(&c, ALICE, master, master_key, now, &err);
	ck_assert_msg(held[0] != NULL, "%s", err.text);
	signer_unref(held[0]);
	credential_clear(&c);
	X509_free(leaf);
}
END_TEST

/* ---- the opaque form -------------------------------------------------------------------------------------------------- */

static bool gather(void *arg, const void *data, size_t len, struct err *e)
{
	buf_append(arg, data, len);
	return true;
}

/* What is in there, or NULL when it does not verify. */
static BIO *unwrap(const struct buf *text)
{
	BIO *source = BIO_new_mem_buf(text->data, (int)text->len), *base64 = BIO_push(BIO_new(BIO_f_base64()), source);
	CMS_ContentInfo *cms = d2i_CMS_bio(base64, NULL);
	X509_STORE *anchors = X509_STORE_new();
	BIO *out = BIO_new(BIO_s_mem());

	ck_assert_ptr_nonnull(cms);
	ck_assert_int_eq(CMS_is_detached(cms), 0);
	X509_STORE_add_cert(anchors, root);
	X509_STORE_set_purpose(anchors, X509_PURPOSE_SMIME_SIGN);
	if (CMS_verify(cms, NULL, anchors, NULL, out, CMS_BINARY | CMS_CADES) != 1) {
		BIO_free(out);
		out = NULL;
	}
	X509_STORE_free(anchors);
	CMS_ContentInfo_free(cms);
	BIO_free_all(base64);
	return out;
}

/* None is empty: an entity has an empty line at least. */
static const size_t lengths[] = {1, 2, 33, 4096, 300001};

START_TEST(opaque_form_holds_what_was_put_in)
{
	struct signer *s = load(_i % 2 ? ec_key : rsa_key);
	struct spool *out = spool_new("/tmp", &err);
	struct opaque_op *op = opaque_begin(s, &(struct sign_options){.pss = _i > 2}, out, &err);
	size_t len = lengths[_i];
	char *data = malloc(len + 1), *back;
	struct buf text = BUF_INIT;
	BIO *content;

	for (size_t i = 0; i < len; i++)
		data[i] = (char)(i * 7 >> 3);
	for (size_t at = 0; at < len; at += 1000)
		ck_assert_msg(opaque_update(op, data + at, len - at < 1000 ? len - at : 1000, &err), "%zu: %s", at, err.text);
	ck_assert_msg(opaque_finish(op, &err), "%s", err.text);
	opaque_free(op);
	ck_assert(spool_each(out, gather, &text, &err));
	spool_free(out);
	for (size_t i = 0, column = 0; i < text.len; i++, column++) {
		if (text.data[i] == '\n') {
			ck_assert(column > 0 && text.data[i - 1] == '\r');
			column = (size_t)-1;
		}
		ck_assert_uint_le(column + 1, 78);
	}
	content = unwrap(&text);
	ck_assert_ptr_nonnull(content);
	ck_assert_int_eq(BIO_get_mem_data(content, &back), (long)len);
	ck_assert(memcmp(back, data, len) == 0);
	BIO_free(content);
	buf_clear(&text);
	free(data);
	signer_unref(s);
}
END_TEST

START_TEST(opaque_form_says_when_the_disk_is_full)
{
	struct signer *s = load(ec_key);
	struct spool *out = spool_new("/nonexistent", &err);
	struct opaque_op *op = opaque_begin(s, &plain, out, &err);
	static char data[200000];

	ck_assert(!opaque_update(op, data, sizeof data, &err) || !opaque_finish(op, &err));
	ck_assert_msg(strstr(err.subject, "/nonexistent") && err.class != ERR_NONE, "%s: %s", err.subject, err.text);
	opaque_free(op);
	opaque_free(NULL);
	spool_free(out);
	signer_unref(s);
}
END_TEST

/* ---- the same entity -------------------------------------------------------------------------------------------------- */

START_TEST(signature_does_not_depend_on_how_the_entity_arrives)
{
	static const size_t pieces[] = {1, 3, 4096, 65535, 1000000};
	struct signer *s = load(ec_key);
	size_t len = 300001;
	char *data = malloc(len);

	for (size_t i = 0; i < len; i++)
		data[i] = (char)(i * 7 >> 3);
	for (int i = 0; i < COUNT(pieces); i++) {
		struct buf der = BUF_INIT;
		CMS_ContentInfo *cms;

		sign(s, data, len, pieces[i], &der);
		cms = parse(&der);
		ck_assert_int_eq(verify(cms, data, len), 1);
		CMS_ContentInfo_free(cms);
		buf_clear(&der);
	}
	free(data);
	signer_unref(s);
}
END_TEST

START_TEST(an_entity_of_nothing_can_be_signed)
{
	struct signer *s = load(rsa_key);
	struct buf der = BUF_INIT;
	CMS_ContentInfo *cms;

	sign(s, "", 0, 1, &der);
	cms = parse(&der);
	ck_assert_int_eq(verify(cms, "", 0), 1);
	CMS_ContentInfo_free(cms);
	buf_clear(&der);
	signer_unref(s);
}
END_TEST

START_TEST(an_operation_may_be_dropped_and_outlives_the_cache)
{
	struct signer *s = load(ec_key);
	struct sign_op *dropped = sign_begin(s, &plain, &err), *late = sign_begin(s, &plain, &err);
	struct buf der = BUF_INIT;
	CMS_ContentInfo *cms;

	signer_unref(s);
	ck_assert(sign_update(dropped, "x", 1, &err));
	sign_free(dropped);
	sign_free(NULL);
	ck_assert(sign_update(late, entity, strlen(entity), &err));
	ck_assert(sign_finish(late, &der, &err));
	sign_free(late);
	cms = parse(&der);
	ck_assert_int_eq(verify(cms, entity, strlen(entity)), 1);
	CMS_ContentInfo_free(cms);
	buf_clear(&der);
}
END_TEST

/* ---- threads --------------------------------------------------------------------------------------------------------- */

static void *sign_many(void *arg)
{
	struct signer *s = arg;

	for (int i = 0; i < 50; i++) {
		char text[64];
		struct buf der = BUF_INIT;
		CMS_ContentInfo *cms;

		snprintf(text, sizeof(text), "Content-Type: text/plain\r\n\r\n%d %p\r\n", i, (void *)text);
		signer_ref(s);
		sign(s, text, strlen(text), 5, &der);
		signer_unref(s);
		cms = parse(&der);
		ck_assert_int_eq(verify(cms, text, strlen(text)), 1);
		CMS_ContentInfo_free(cms);
		buf_clear(&der);
	}
	return NULL;
}

START_TEST(threads_share_a_signer)
{
	struct signer *s = load(_i ? ec_key : rsa_key);
	pthread_t threads[8];

	for (int i = 0; i < COUNT(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, sign_many, s), 0);
	for (int i = 0; i < COUNT(threads); i++)
		pthread_join(threads[i], NULL);
	signer_unref(s);
}
END_TEST

/* ---- the multipart around it ----------------------------------------------------------------------------------------- */

START_TEST(whole_mail_is_read_back_by_openssl)
{
	struct signer *s = load(rsa_key);
	struct buf der = BUF_INIT, mail = BUF_INIT, type = BUF_INIT;
	char boundary[64], other[64];
	BIO *in, *content = NULL, *out = BIO_new(BIO_s_mem());
	CMS_ContentInfo *cms;
	X509_STORE *anchors = X509_STORE_new();

	sign_boundary(boundary);
	sign_boundary(other);
	ck_assert_str_ne(boundary, other);
	ck_assert_uint_le(strlen(boundary), 70);
	sign(s, entity, strlen(entity), 100, &der);
	sign_content_type(&type, boundary, "sha-256");
	for (const char *line = type.data; *line != '\0'; line += strcspn(line, "\n") + (strchr(line, '\n') != NULL))
		ck_assert_uint_le(strcspn(line, "\n"), 76);
	buf_printf(&mail, "MIME-Version: 1.0\r\nContent-Type: %s\r\n\r\n", type.data);
	sign_prologue(&mail, boundary);
	buf_puts(&mail, entity);
	sign_epilogue(&mail, boundary, &der);
	in = BIO_new_mem_buf(mail.data, (int)mail.len);
	cms = SMIME_read_CMS(in, &content);
	ck_assert_msg(cms != NULL && content != NULL, "OpenSSL cannot read the mail");
	X509_STORE_add_cert(anchors, root);
	X509_STORE_set_purpose(anchors, X509_PURPOSE_SMIME_SIGN);
	ck_assert_int_eq(CMS_verify(cms, NULL, anchors, content, out, CMS_DETACHED), 1);
	CMS_ContentInfo_free(cms);
	X509_STORE_free(anchors);
	BIO_free(in);
	BIO_free(content);
	BIO_free(out);
	buf_clear(&der);
	buf_clear(&mail);
	buf_clear(&type);
	signer_unref(s);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sign");
	TCase *tc = tcase_create("sign");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, loaded_credential_knows_itself);
	tcase_add_loop_test(tc, only_what_may_sign_is_loaded, 0, COUNT(loads));
	tcase_add_test(tc, damaged_credentials_are_refused);
	tcase_add_loop_test(tc, signature_verifies_and_says_what_it_should, 0, 2);
	tcase_add_loop_test(tc, digest_and_padding_go_by_key_and_configuration, 0, COUNT(kinds));
	tcase_add_test(tc, what_openssl_cannot_sign_with_is_said_at_once);
	tcase_add_test(tc, each_gets_the_own_chain);
	tcase_add_test(tc, keys_are_in_the_secure_heap_and_leave_it);
	tcase_add_test(tc, a_full_secure_heap_is_no_damage);
	tcase_add_loop_test(tc, opaque_form_holds_what_was_put_in, 0, COUNT(lengths));
	tcase_add_test(tc, opaque_form_says_when_the_disk_is_full);
	tcase_add_test(tc, signature_does_not_depend_on_how_the_entity_arrives);
	tcase_add_test(tc, an_entity_of_nothing_can_be_signed);
	tcase_add_test(tc, an_operation_may_be_dropped_and_outlives_the_cache);
	tcase_add_loop_test(tc, threads_share_a_signer, 0, 2);
	tcase_add_test(tc, whole_mail_is_read_back_by_openssl);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
