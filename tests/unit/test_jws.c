/*
 * tests/unit/test_jws.c - requests signed by libjose, verified with OpenSSL alone.
 */
#include "config.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <check.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>

#include "enroll/jws.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static const struct kind {
	const char *type, *algorithm, *curve;
	int coordinate; /* octets; 0 = RSA */
} kinds[] = {
	{"ec:p256", "ES256", "P-256", 32},
	{"ec:p384", "ES384", "P-384", 48},
	{"ec:p521", "ES512", "P-521", 66},
	{"rsa:2048", "RS256", NULL, 0},
	{"rsa:3072", "RS256", NULL, 0},
};

struct pair {
	struct jws_key *key; /* ours */
	EVP_PKEY *pkey;      /* the same, for OpenSSL */
};

static struct pair pair_new(const char *type)
{
	struct pair p;
	struct buf pem = BUF_INIT;
	struct err err = ERR_INIT;
	BIO *bio;

	ck_assert_msg(jws_key_generate(type, &pem, &err), "%s", err.text);
	p.key = jws_key_read(pem.data, pem.len, "test", &err);
	ck_assert_msg(p.key != NULL, "%s", err.text);
	bio = BIO_new_mem_buf(pem.data, (int)pem.len);
	p.pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	ck_assert_ptr_nonnull(p.pkey);
	BIO_free(bio);
	buf_wipe(&pem);
	return p;
}

static void pair_clear(struct pair *p)
{
	jws_key_free(p->key);
	EVP_PKEY_free(p->pkey);
}

static void put_number(struct buf *out, EVP_PKEY *pkey, const char *name, int octets)
{
	unsigned char raw[1024];
	BIGNUM *n = NULL;

	ck_assert_int_eq(EVP_PKEY_get_bn_param(pkey, name, &n), 1);
	if (!octets)
		octets = BN_num_bytes(n);
	ck_assert_int_eq(BN_bn2binpad(n, raw, octets), octets);
	base64url_encode(out, raw, (size_t)octets);
	BN_free(n);
}

/* RFC 7638, written out by hand. */
static void thumbprint(struct buf *out, const struct kind *k, EVP_PKEY *pkey)
{
	struct buf text = BUF_INIT;
	unsigned char digest[32];

	if (k->coordinate) {
		buf_printf(&text, "{\"crv\":\"%s\",\"kty\":\"EC\",\"x\":\"", k->curve);
		put_number(&text, pkey, OSSL_PKEY_PARAM_EC_PUB_X, k->coordinate);
		buf_puts(&text, "\",\"y\":\"");
		put_number(&text, pkey, OSSL_PKEY_PARAM_EC_PUB_Y, k->coordinate);
	} else {
		buf_puts(&text, "{\"e\":\"");
		put_number(&text, pkey, OSSL_PKEY_PARAM_RSA_E, 0);
		buf_puts(&text, "\",\"kty\":\"RSA\",\"n\":\"");
		put_number(&text, pkey, OSSL_PKEY_PARAM_RSA_N, 0);
	}
	buf_puts(&text, "\"}");
	EVP_Digest(text.data, text.len, digest, NULL, EVP_sha256(), NULL);
	base64url_encode(out, digest, sizeof digest);
	buf_clear(&text);
}

static const EVP_MD *hash_of(const char *algorithm)
{
	return strcmp(algorithm + 2, "256") == 0 ? EVP_sha256() : strcmp(algorithm + 2, "384") == 0 ? EVP_sha384() : EVP_sha512();
}

/* JWS has r and s side by side, OpenSSL wants DER. */
static void signature_der(struct buf *raw, int coordinate)
{
	ECDSA_SIG *sig = ECDSA_SIG_new();
	unsigned char *der = NULL;
	int len;

	ck_assert_uint_eq(raw->len, 2 * (size_t)coordinate);
	ECDSA_SIG_set0(sig, BN_bin2bn((unsigned char *)raw->data, coordinate, NULL), BN_bin2bn((unsigned char *)raw->data + coordinate, coordinate, NULL));
	len = i2d_ECDSA_SIG(sig, &der);
	buf_reset(raw);
	buf_append(raw, der, (size_t)len);
	OPENSSL_free(der);
	ECDSA_SIG_free(sig);
}

static const char *member(const json_t *jws, const char *name)
{
	const char *s = json_string_value(json_object_get(jws, name));

	ck_assert_msg(s != NULL, "no %s", name);
	return s;
}

static bool verifies(const json_t *jws, const struct kind *k, EVP_PKEY *pkey)
{
	struct buf input = BUF_INIT, signature = BUF_INIT;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok;

	buf_printf(&input, "%s.%s", member(jws, "protected"), member(jws, "payload"));
	ck_assert(base64url_decode(&signature, member(jws, "signature"), strlen(member(jws, "signature"))));
	if (k->coordinate)
		signature_der(&signature, k->coordinate);
	ok = EVP_DigestVerifyInit(ctx, NULL, hash_of(k->algorithm), NULL, pkey) == 1 &&
	     EVP_DigestVerify(ctx, (unsigned char *)signature.data, signature.len, (unsigned char *)input.data, input.len) == 1;
	ERR_clear_error();
	EVP_MD_CTX_free(ctx);
	buf_clear(&input);
	buf_clear(&signature);
	return ok;
}

static json_t *decoded(const json_t *jws, const char *name)
{
	struct buf text = BUF_INIT;
	json_t *j;

	ck_assert(base64url_decode(&text, member(jws, name), strlen(member(jws, name))));
	j = json_loadb(buf_str(&text), text.len, 0, NULL);
	buf_clear(&text);
	return j;
}

static json_t *sign(const struct jws_key *key, const struct jws_header *h, const json_t *payload)
{
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;
	json_t *j;

	ck_assert_msg(jws_sign(key, h, payload, &out, &err), "%s", err.text);
	j = json_loads(out.data, 0, NULL);
	ck_assert_ptr_nonnull(j);
	buf_clear(&out);
	return j;
}

START_TEST(signature_and_thumbprint_are_right)
{
	const struct kind *k = &kinds[_i];
	struct pair p = pair_new(k->type), other = pair_new(k->type);
	const struct jws_header h = {.url = "https://ca.example/x", .nonce = "n-1", .kid = "https://ca.example/acct/1"};
	json_t *payload = json_pack("{s:s}", "a", "\xc3\xa4"), *jws = sign(p.key, &h, payload), *protected = decoded(jws, "protected"),
	       *back = decoded(jws, "payload");
	struct buf expected = BUF_INIT;

	ck_assert_str_eq(jws_algorithm(p.key), k->algorithm);
	ck_assert_uint_eq(json_object_size(jws), 3);
	ck_assert(verifies(jws, k, p.pkey));
	ck_assert_msg(!verifies(jws, k, other.pkey), "verifies with any key");
	ck_assert(json_equal(back, payload));
	ck_assert_uint_eq(json_object_size(protected), 4);
	ck_assert_str_eq(member(protected, "alg"), k->algorithm);
	ck_assert_str_eq(member(protected, "url"), h.url);
	ck_assert_str_eq(member(protected, "nonce"), h.nonce);
	ck_assert_str_eq(member(protected, "kid"), h.kid);
	thumbprint(&expected, k, p.pkey);
	ck_assert_str_eq(jws_thumbprint(p.key), expected.data);
	buf_clear(&expected);
	json_decref(payload);
	json_decref(jws);
	json_decref(protected);
	json_decref(back);
	pair_clear(&p);
	pair_clear(&other);
}
END_TEST

START_TEST(first_contact_carries_the_public_key_only)
{
	const struct kind *k = &kinds[_i];
	struct pair p = pair_new(k->type);
	const struct jws_header h = {.url = "https://ca.example/new-acct", .nonce = "n-1"};
	json_t *jws = sign(p.key, &h, NULL), *protected = decoded(jws, "protected"), *jwk = json_object_get(protected, "jwk");
	static const char *const private_members[] = {"d", "p", "q", "dp", "dq", "qi"};

	ck_assert(verifies(jws, k, p.pkey));
	ck_assert_str_eq(member(jws, "payload"), ""); /* POST-as-GET */
	ck_assert_ptr_null(json_object_get(protected, "kid"));
	ck_assert_str_eq(member(jwk, "kty"), k->coordinate ? "EC" : "RSA");
	for (int i = 0; i < COUNT(private_members); i++)
		ck_assert_msg(!json_object_get(jwk, private_members[i]), "the private member %s went out", private_members[i]);
	json_decref(jws);
	json_decref(protected);
	pair_clear(&p);
}
END_TEST

START_TEST(inner_signature_has_no_nonce)
{
	struct pair p = pair_new("ec:p256");
	const struct jws_header h = {.url = "https://ca.example/key-change"};
	json_t *jws = sign(p.key, &h, NULL), *protected = decoded(jws, "protected");

	ck_assert_ptr_null(json_object_get(protected, "nonce"));
	json_decref(jws);
	json_decref(protected);
	pair_clear(&p);
}
END_TEST

/* ---- external account binding -------------------------------------------------------------------------------------- */

static const struct {
	const char *algorithm;
	size_t octets;
} macs[] = {{"HS256", 32}, {"HS256", 64}, {"HS384", 48}, {"HS512", 64}};

START_TEST(binding_is_a_mac_over_the_public_key)
{
	struct pair p = pair_new("ec:p256");
	unsigned char secret[64], mac[64];
	unsigned n = 0;
	struct buf text = BUF_INIT, input = BUF_INIT, expected = BUF_INIT;
	struct err err = ERR_INIT;
	json_t *jws, *protected, *payload;

	for (size_t i = 0; i < sizeof secret; i++)
		secret[i] = (unsigned char)(i * 7);
	base64url_encode(&text, secret, macs[_i].octets);
	jws = jws_external_binding(p.key, "https://ca.example/new-acct", "kid-1", text.data, macs[_i].algorithm, &err);
	ck_assert_msg(jws != NULL, "%s: %s", macs[_i].algorithm, err.text);
	buf_printf(&input, "%s.%s", member(jws, "protected"), member(jws, "payload"));
	HMAC(hash_of(macs[_i].algorithm), secret, (int)macs[_i].octets, (unsigned char *)input.data, input.len, mac, &n);
	base64url_encode(&expected, mac, n);
	ck_assert_str_eq(member(jws, "signature"), expected.data);
	protected = decoded(jws, "protected");
	payload = decoded(jws, "payload");
	ck_assert_uint_eq(json_object_size(protected), 3);
	ck_assert_str_eq(member(protected, "alg"), macs[_i].algorithm);
	ck_assert_str_eq(member(protected, "kid"), "kid-1");
	ck_assert_str_eq(member(protected, "url"), "https://ca.example/new-acct");
	ck_assert(json_equal(payload, jws_public(p.key)));
	json_decref(jws);
	json_decref(protected);
	json_decref(payload);
	buf_clear(&text);
	buf_clear(&input);
	buf_clear(&expected);
	pair_clear(&p);
}
END_TEST

static const struct {
	const char *name, *key, *algorithm;
} bad_macs[] = {
	{"a key that is too short", "c2hvcnQ", "HS256"},
	{"a key that fits HS256 alone", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "HS384"},
	{"a key that is no base64url", "this is not a key, but a long enough text!!!", "HS256"},
	{"an empty key", "", "HS256"},
	{"an unknown algorithm", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "RS256"},
};

START_TEST(bad_binding_is_a_configuration_error)
{
	struct pair p = pair_new("ec:p256");
	struct err err = ERR_INIT;

	ck_assert_msg(!jws_external_binding(p.key, "https://ca.example/x", "kid", bad_macs[_i].key, bad_macs[_i].algorithm, &err), "%s",
		bad_macs[_i].name);
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_msg(!*bad_macs[_i].key || !strstr(err.text, bad_macs[_i].key), "the secret is in the error text");
	pair_clear(&p);
}
END_TEST

/* ---- key files ----------------------------------------------------------------------------------------------------- */

static void write_pem(struct buf *out, EVP_PKEY *pkey, const EVP_CIPHER *cipher)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	long n;

	ck_assert_int_eq(PEM_write_bio_PKCS8PrivateKey(bio, pkey, cipher, cipher ? "secret" : NULL, cipher ? 6 : 0, NULL, NULL), 1);
	n = BIO_get_mem_data(bio, &text);
	buf_append(out, text, (size_t)n);
	BIO_free(bio);
	EVP_PKEY_free(pkey);
}

static void check_refused(const struct buf *pem, const char *name)
{
	struct err err = ERR_INIT;

	ck_assert_msg(!jws_key_read(buf_str(pem), pem->len, "/etc/x.key", &err), "%s was taken", name);
	ck_assert_msg(err.class == ERR_CONFIG && strstr(err.text, "/etc/x.key"), "%s: %s", name, err.text);
	ck_assert_uint_eq(ERR_peek_error(), 0);
}

START_TEST(useless_key_is_a_configuration_error)
{
	struct buf pem = BUF_INIT;

	check_refused(&pem, "an empty file");
	buf_puts(&pem, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
	check_refused(&pem, "a damaged key");
	buf_reset(&pem);
	write_pem(&pem, EVP_RSA_gen(1024), NULL);
	check_refused(&pem, "RSA of 1024 bits");
	buf_reset(&pem);
	write_pem(&pem, EVP_EC_gen("secp256k1"), NULL);
	check_refused(&pem, "a curve that JWS does not have");
	buf_reset(&pem);
	write_pem(&pem, EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), NULL);
	check_refused(&pem, "Ed25519");
	buf_reset(&pem);
	write_pem(&pem, EVP_EC_gen("P-256"), EVP_aes_256_cbc());
	check_refused(&pem, "an encrypted key");
	buf_clear(&pem);
}
END_TEST

START_TEST(key_that_others_may_read_is_refused)
{
	char dir[] = "/tmp/test-jws-XXXXXX", path[64];
	struct buf pem = BUF_INIT;
	struct err err = ERR_INIT;
	struct jws_key *key;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/account.key", dir);
	ck_assert(jws_key_generate("ec:p256", &pem, &err));
	ck_assert(file_write(path, pem.data, pem.len, 0600, -1, &err));
	key = jws_key_load(path, &err);
	ck_assert_msg(key != NULL, "%s", err.text);
	jws_key_free(key);
	ck_assert_int_eq(chmod(path, 0644), 0);
	ck_assert_ptr_null(jws_key_load(path, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	buf_wipe(&pem);
	unlink(path);
	rmdir(dir);
}
END_TEST

START_TEST(unknown_key_type_is_a_configuration_error)
{
	struct buf pem = BUF_INIT;
	struct err err = ERR_INIT;

	ck_assert(!jws_key_generate("dsa:1024", &pem, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_uint_eq(pem.len, 0);
}
END_TEST

/* ---- threads ------------------------------------------------------------------------------------------------------- */

static void *sign_often(void *arg)
{
	const struct jws_header h = {.url = "https://ca.example/x", .nonce = "n"};
	const struct pair *p = arg;
	json_t *jws;

	for (int i = 0; i < 20; i++) {
		jws = sign(p->key, &h, NULL);
		ck_assert(verifies(jws, &kinds[0], p->pkey));
		json_decref(jws);
	}
	return NULL;
}

START_TEST(threads_share_a_key)
{
	struct pair p = pair_new("ec:p256");
	pthread_t threads[6];

	for (int i = 0; i < COUNT(threads); i++)
		pthread_create(&threads[i], NULL, sign_often, &p);
	for (int i = 0; i < COUNT(threads); i++)
		pthread_join(threads[i], NULL);
	pair_clear(&p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("jws");
	TCase *t = tcase_create("jws");
	SRunner *runner;
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, signature_and_thumbprint_are_right, 0, COUNT(kinds));
	tcase_add_loop_test(t, first_contact_carries_the_public_key_only, 0, COUNT(kinds));
	tcase_add_test(t, inner_signature_has_no_nonce);
	tcase_add_loop_test(t, binding_is_a_mac_over_the_public_key, 0, COUNT(macs));
	tcase_add_loop_test(t, bad_binding_is_a_configuration_error, 0, COUNT(bad_macs));
	tcase_add_test(t, useless_key_is_a_configuration_error);
	tcase_add_test(t, key_that_others_may_read_is_refused);
	tcase_add_test(t, unknown_key_type_is_a_configuration_error);
	tcase_add_test(t, threads_share_a_key);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
