/*
 * tests/unit/test_keyvault.c - user keys come back with their own master key only, and damaged ones not at all.
 */
#include "config.h"

#include <check.h>
#include <openssl/asn1.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include "tests/unit/store_fixture.h"

struct master {
	struct buf key_pem, certificate_pem;
	EVP_PKEY *key;
	X509 *certificate;
};

static void master_init(struct master *m)
{
	struct err err = ERR_INIT;
	BIO *bio;

	memset(m, 0, sizeof(*m));
	ck_assert_msg(keyvault_master_new(&m->key_pem, &m->certificate_pem, &err), "%s", err.text);
	bio = BIO_new_mem_buf(m->key_pem.data, (int)m->key_pem.len);
	m->key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	BIO_free(bio);
	bio = BIO_new_mem_buf(m->certificate_pem.data, (int)m->certificate_pem.len);
	m->certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	BIO_free(bio);
	ck_assert_ptr_nonnull(m->key);
	ck_assert_ptr_nonnull(m->certificate);
}

static void master_clear(struct master *m)
{
	buf_wipe(&m->key_pem);
	buf_clear(&m->certificate_pem);
	EVP_PKEY_free(m->key);
	X509_free(m->certificate);
}

static EVP_PKEY *user_key(const char *type)
{
	EVP_PKEY *key = strcmp(type, "rsa") == 0 ? EVP_RSA_gen(2048) : EVP_EC_gen(type);

	ck_assert_ptr_nonnull(key);
	return key;
}

/* What the wrapped form must not show: the secret numbers of the key. */
static void plain_of(EVP_PKEY *key, struct buf *out)
{
	PKCS8_PRIV_KEY_INFO *p8 = EVP_PKEY2PKCS8(key);
	unsigned char *der = NULL;
	int len = i2d_PKCS8_PRIV_KEY_INFO(p8, &der);

	ck_assert_int_gt(len, 0);
	buf_append(out, der, (size_t)len);
	OPENSSL_free(der);
	PKCS8_PRIV_KEY_INFO_free(p8);
}

static const char *const key_types[] = {"rsa", "P-256", "P-384"};

START_TEST(a_wrapped_key_comes_back_with_the_master_key)
{
	EVP_PKEY *key = user_key(key_types[_i]), *back;
	struct buf wrapped = BUF_INIT, plain = BUF_INIT;
	struct err err = ERR_INIT;
	struct master m;

	master_init(&m);
	ck_assert_msg(keyvault_wrap(&wrapped, key, m.certificate, &err), "%s", err.text);
	back = keyvault_unwrap(wrapped.data, wrapped.len, m.certificate, m.key, &err);
	ck_assert_msg(back != NULL, "%s: %s", err.op, err.text);
	ck_assert_int_eq(EVP_PKEY_eq(key, back), 1);
	plain_of(key, &plain);
	/* The last octets of PKCS#8 are secret numbers for RSA, the public point for EC; 40 from the front lie in the secret part of both.
	 */
	for (size_t at = 36; at + 16 <= plain.len; at += 16)
		ck_assert_ptr_null(memmem(wrapped.data, wrapped.len, plain.data + at, 16));
	ck_assert_uint_eq(ERR_peek_error(), 0);
	EVP_PKEY_free(back);
	EVP_PKEY_free(key);
	buf_wipe(&plain);
	buf_clear(&wrapped);
	master_clear(&m);
}
END_TEST

START_TEST(wrapping_the_same_key_twice_gives_different_octets)
{
	EVP_PKEY *key = user_key("P-256");
	struct buf a = BUF_INIT, b = BUF_INIT;
	struct err err = ERR_INIT;
	struct master m;

	master_init(&m);
	ck_assert(keyvault_wrap(&a, key, m.certificate, &err));
	ck_assert(keyvault_wrap(&b, key, m.certificate, &err));
	ck_assert(a.len != b.len || memcmp(a.data, b.data, a.len) != 0);
	EVP_PKEY_free(key);
	buf_clear(&a);
	buf_clear(&b);
	master_clear(&m);
}
END_TEST

static bool has_oid(const struct buf *wrapped, const char *oid)
{
	ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
	unsigned char *der = NULL;
	int len = i2d_ASN1_OBJECT(object, &der);
	bool there = len > 0 && memmem(wrapped->data, wrapped->len, der, (size_t)len) != NULL;

	OPENSSL_free(der);
	ASN1_OBJECT_free(object);
	return there;
}

START_TEST(the_envelope_uses_the_algorithms_promised)
{
	static const struct {
		const char *oid, *what;
		bool there;
	} table[] = {
		{"1.2.840.113549.1.9.16.1.23", "authEnvelopedData", true},
		{"2.16.840.1.101.3.4.1.46", "AES-256-GCM", true},
		{"1.3.132.1.11.1", "ECDH with SHA-256 KDF", true},
		{"2.16.840.1.101.3.4.1.45", "AES-256 key wrap", true},
		{"1.3.133.16.840.63.0.2", "ECDH with SHA-1 KDF", false},
		{"2.16.840.1.101.3.4.1.5", "AES-128 key wrap", false},
	};
	EVP_PKEY *key = user_key("P-256");
	struct buf wrapped = BUF_INIT;
	struct err err = ERR_INIT;
	struct master m;

	master_init(&m);
	ck_assert(keyvault_wrap(&wrapped, key, m.certificate, &err));
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		ck_assert_msg(has_oid(&wrapped, table[i].oid) == table[i].there, "%s", table[i].what);
	EVP_PKEY_free(key);
	buf_clear(&wrapped);
	master_clear(&m);
}
END_TEST

START_TEST(another_master_key_is_a_configuration_error)
{
	EVP_PKEY *key = user_key("P-256");
	struct buf wrapped = BUF_INIT;
	struct err err = ERR_INIT;
	struct master right, other;

	master_init(&right);
	master_init(&other);
	ck_assert(keyvault_wrap(&wrapped, key, right.certificate, &err));
	ck_assert_ptr_null(keyvault_unwrap(wrapped.data, wrapped.len, other.certificate, other.key, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	err_clear(&err);
	/* Key and certificate that do not belong together. */
	ck_assert_ptr_null(keyvault_unwrap(wrapped.data, wrapped.len, right.certificate, other.key, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_uint_eq(ERR_peek_error(), 0);
	EVP_PKEY_free(key);
	buf_clear(&wrapped);
	master_clear(&right);
	master_clear(&other);
}
END_TEST

/* The fate of every single octet.  Where a flip is harmless (a spelling of a length or an unused parameter), the very same key must come
 * out; another key, or a crash, never. */
START_TEST(a_flipped_octet_is_refused)
{
	EVP_PKEY *key = user_key("P-256"), *back;
	struct buf wrapped = BUF_INIT;
	struct err err = ERR_INIT;
	struct master m;
	size_t harmless = 0;

	master_init(&m);
	ck_assert(keyvault_wrap(&wrapped, key, m.certificate, &err));
	for (size_t i = 0; i < wrapped.len; i++)
		for (unsigned bit = 0; bit < 8; bit += 3) {
			wrapped.data[i] = (char)(wrapped.data[i] ^ (1 << bit));
			err_clear(&err);
			back = keyvault_unwrap(wrapped.data, wrapped.len, m.certificate, m.key, &err);
			if (back == NULL) {
				ck_assert(err.class == ERR_BUG || err.class == ERR_CONFIG);
				ck_assert(err.text[0] != '\0');
			} else {
				ck_assert_int_eq(EVP_PKEY_eq(key, back), 1);
				harmless++;
			}
			EVP_PKEY_free(back);
			wrapped.data[i] = (char)(wrapped.data[i] ^ (1 << bit));
		}
	ck_assert_uint_lt(harmless, 40);
	/* Of the ciphertext and tag, nothing is harmless. */
	for (size_t i = wrapped.len - 100; i < wrapped.len; i++) {
		wrapped.data[i] = (char)(wrapped.data[i] ^ 1);
		ck_assert_ptr_null(keyvault_unwrap(wrapped.data, wrapped.len, m.certificate, m.key, &err));
		wrapped.data[i] = (char)(wrapped.data[i] ^ 1);
	}
	EVP_PKEY_free(key);
	buf_clear(&wrapped);
	master_clear(&m);
}
END_TEST

START_TEST(cut_or_extended_content_is_refused)
{
	EVP_PKEY *key = user_key("P-256");
	struct buf wrapped = BUF_INIT;
	struct err err = ERR_INIT;
	struct master m;

	master_init(&m);
	ck_assert(keyvault_wrap(&wrapped, key, m.certificate, &err));
	for (size_t len = 0; len < wrapped.len; len++)
		ck_assert_ptr_null(keyvault_unwrap(wrapped.data, len, m.certificate, m.key, &err));
	buf_putc(&wrapped, '\0');
	ck_assert_ptr_null(keyvault_unwrap(wrapped.data, wrapped.len, m.certificate, m.key, &err));
	ck_assert_int_eq(err.class, ERR_BUG);
	EVP_PKEY_free(key);
	buf_clear(&wrapped);
	master_clear(&m);
}
END_TEST

/* EnvelopedData with CBC would decrypt to what an attacker makes of it. */
START_TEST(an_envelope_without_authentication_is_refused)
{
	EVP_PKEY *key = user_key("P-256");
	struct buf plain = BUF_INIT;
	struct err err = ERR_INIT;
	struct master m;
	STACK_OF(X509) *to = sk_X509_new_null();
	CMS_ContentInfo *cms;
	unsigned char *der = NULL;
	BIO *bio;
	int len;

	master_init(&m);
	plain_of(key, &plain);
	bio = BIO_new_mem_buf(plain.data, (int)plain.len);
	sk_X509_push(to, m.certificate);
	cms = CMS_encrypt(to, bio, EVP_aes_256_cbc(), CMS_BINARY | CMS_USE_KEYID);
	len = i2d_CMS_ContentInfo(cms, &der);
	ck_assert_int_gt(len, 0);
	ck_assert_ptr_null(keyvault_unwrap(der, (size_t)len, m.certificate, m.key, &err));
	ck_assert_int_eq(err.class, ERR_BUG);
	OPENSSL_free(der);
	CMS_ContentInfo_free(cms);
	BIO_free(bio);
	sk_X509_free(to);
	EVP_PKEY_free(key);
	buf_wipe(&plain);
	master_clear(&m);
}
END_TEST

START_TEST(the_master_certificate_is_for_key_agreement_and_has_no_end)
{
	struct master m;
	X509 *again;

	master_init(&m);
	ck_assert_int_eq(X509_check_private_key(m.certificate, m.key), 1);
	ck_assert_int_eq(X509_verify(m.certificate, m.key), 1);
	ck_assert_uint_eq(X509_get_key_usage(m.certificate), X509v3_KU_KEY_AGREEMENT);
	ck_assert_int_eq(X509_check_ca(m.certificate), 0);
	ck_assert_str_eq((const char *)ASN1_STRING_get0_data(X509_get0_notAfter(m.certificate)), "99991231235959Z");
	again = X509_dup(m.certificate);
	ck_assert_ptr_nonnull(again);
	X509_free(again);
	master_clear(&m);
}
END_TEST

START_TEST(a_certificate_issued_again_for_the_same_master_key_opens_old_keys)
{
	EVP_PKEY *key = user_key("P-256"), *back;
	struct buf wrapped = BUF_INIT;
	struct err err = ERR_INIT;
	struct master m;
	X509 *again;

	master_init(&m);
	ck_assert(keyvault_wrap(&wrapped, key, m.certificate, &err));
	again = X509_dup(m.certificate);
	ASN1_INTEGER_set(X509_get_serialNumber(again), 4711);
	X509_sign(again, m.key, EVP_sha256());
	back = keyvault_unwrap(wrapped.data, wrapped.len, again, m.key, &err);
	ck_assert_msg(back != NULL, "%s", err.text);
	EVP_PKEY_free(back);
	X509_free(again);
	EVP_PKEY_free(key);
	buf_clear(&wrapped);
	master_clear(&m);
}
END_TEST

static void put_file(char *path, size_t size, const struct store_fixture *f, const char *name, const struct buf *content, unsigned mode)
{
	struct err err = ERR_INIT;

	snprintf(path, size, "%s/%s", f->dir, name);
	ck_assert_msg(file_write(path, buf_str(content), content->len, mode, -1, &err), "%s", err.text);
}

START_TEST(master_files_are_loaded_or_refused_with_a_sentence)
{
	struct store_fixture f;
	struct err err = ERR_INIT;
	struct master m;
	char key_path[400], certificate_path[400], path[400];
	struct buf text = BUF_INIT;
	EVP_PKEY *key, *rsa = user_key("rsa");
	X509 *certificate;
	BIO *bio = BIO_new(BIO_s_mem());

	store_fixture_start(&f);
	master_init(&m);
	put_file(key_path, sizeof(key_path), &f, "master.key", &m.key_pem, 0600);
	put_file(certificate_path, sizeof(certificate_path), &f, "master.pem", &m.certificate_pem, 0644);
	key = keyvault_master_key(key_path, &err);
	ck_assert_msg(key != NULL, "%s", err.text);
	ck_assert_int_eq(EVP_PKEY_eq(key, m.key), 1);
	certificate = keyvault_master_certificate(certificate_path, &err);
	ck_assert_msg(certificate != NULL, "%s", err.text);
	ck_assert_int_eq(X509_cmp(certificate, m.certificate), 0);
	/* Readable by others. */
	ck_assert_int_eq(chmod(key_path, 0644), 0);
	ck_assert_ptr_null(keyvault_master_key(key_path, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	/* Not there; not PEM; an RSA key; a password on it. */
	ck_assert_ptr_null(keyvault_master_key("/nonexistent/master.key", &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_null(keyvault_master_certificate("/nonexistent/master.pem", &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	buf_puts(&text, "no PEM in here\n");
	put_file(path, sizeof(path), &f, "text", &text, 0600);
	ck_assert_ptr_null(keyvault_master_key(path, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_null(keyvault_master_certificate(path, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	for (int encrypted = 0; encrypted < 2; encrypted++) {
		char *data;
		long len;

		BIO_reset(bio);
		ck_assert_int_eq(PEM_write_bio_PKCS8PrivateKey(bio, encrypted ? m.key : rsa, encrypted ? EVP_aes_256_cbc() : NULL,
					 encrypted ? "secret" : NULL, encrypted ? 6 : 0, NULL, NULL),
			1);
		len = BIO_get_mem_data(bio, &data);
		buf_reset(&text);
		buf_append(&text, data, (size_t)len);
		put_file(path, sizeof(path), &f, "other.key", &text, 0600);
		err_clear(&err);
		ck_assert_ptr_null(keyvault_master_key(path, &err));
		ck_assert_int_eq(err.class, ERR_CONFIG);
	}
	BIO_free(bio);
	buf_clear(&text);
	EVP_PKEY_free(key);
	EVP_PKEY_free(rsa);
	X509_free(certificate);
	master_clear(&m);
	store_fixture_end(&f);
}
END_TEST

START_TEST(the_fingerprint_is_that_of_the_public_key)
{
	EVP_PKEY *a = user_key("P-256"), *b = user_key("P-256");
	struct err err = ERR_INIT;
	char one[65], two[65], other[65];

	ck_assert(keyvault_spki(a, one, &err));
	ck_assert(keyvault_spki(a, two, &err));
	ck_assert(keyvault_spki(b, other, &err));
	ck_assert_uint_eq(strlen(one), 64);
	ck_assert_uint_eq(strspn(one, "0123456789abcdef"), 64);
	ck_assert_str_eq(one, two);
	ck_assert_str_ne(one, other);
	EVP_PKEY_free(a);
	EVP_PKEY_free(b);
}
END_TEST

/* All that the store is: its files, or a dump of the database. */
static void contents_of(const struct store_fixture *f, struct buf *out)
{
	struct err err = ERR_INIT;
	struct buf file = BUF_INIT;
	char path[400];

#ifdef HAVE_POSTGRESQL
	if (f->database[0] != '\0') {
		char *dump = postgresql_dump(f->database);

		buf_puts(out, dump);
		free(dump);
		return;
	}
#endif
	for (int wal = 0; wal < 2; wal++) {
		snprintf(path, sizeof(path), "%s%s", f->settings.path, wal ? "-wal" : "");
		buf_reset(&file);
		ck_assert_msg(file_read(&file, path, 1 << 26, &err), "%s", err.text);
		buf_append(out, file.data, file.len);
	}
	buf_clear(&file);
}

/* As octets, or in hex, as a dump has them. */
static bool is_in(struct buf *contents, const unsigned char *data, size_t n)
{
	char hex[100] = "";

	for (size_t i = 0; i < n; i++)
		snprintf(hex + 2 * i, 3, "%02x", data[i]);
	return memmem(buf_str(contents), contents->len, data, n) != NULL || memmem(buf_str(contents), contents->len, hex, 2 * n) != NULL;
}

/* Vault and store together: nothing of the key is in any file. */
START_TEST(the_plain_key_is_nowhere_in_the_store)
{
	EVP_PKEY *key = user_key(key_types[_i]), *back;
	struct buf wrapped = BUF_INIT, plain = BUF_INIT, file = BUF_INIT;
	struct store_fixture f;
	struct store *enrolld, *outbound;
	struct store_credential credential = {0};
	struct err err = ERR_INIT;
	struct master m;
	const char *why;
	char spki[65];
	bool found;

	master_init(&m);
	store_fixture_start(&f);
	enrolld = store_fixture_open(&f, STORE_ROLE_ENROLLD);
	outbound = store_fixture_open(&f, STORE_ROLE_OUTBOUND);
	ck_assert(keyvault_wrap(&wrapped, key, m.certificate, &err) && keyvault_spki(key, spki, &err));
	store_fixture_activate(enrolld, "alice@example.org", wrapped.data, wrapped.len, spki, "der", 3, NULL, 0);
	ck_assert_msg(store_credential_find(outbound, "alice@example.org", &credential, &found, &why, &err), "%s", err.text);
	ck_assert_msg(found, "%s", why);
	back = keyvault_unwrap(credential.wrapped, credential.wrapped_len, m.certificate, m.key, &err);
	ck_assert_msg(back != NULL, "%s", err.text);
	ck_assert_int_eq(EVP_PKEY_eq(back, key), 1);
	plain_of(key, &plain);
	contents_of(&f, &file);
	for (size_t at = 36; at + 16 <= plain.len; at += 16)
		ck_assert(!is_in(&file, (const unsigned char *)plain.data + at, 16));
	/* The look was not in vain: what was stored is found. */
	ck_assert(is_in(&file, (const unsigned char *)wrapped.data + wrapped.len - 32, 32));
	EVP_PKEY_free(back);
	EVP_PKEY_free(key);
	store_credential_clear(&credential);
	store_close(outbound);
	store_close(enrolld);
	store_fixture_end(&f);
	buf_clear(&file);
	buf_wipe(&plain);
	buf_clear(&wrapped);
	master_clear(&m);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("keyvault");
	TCase *tc = tcase_create("keyvault");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, a_wrapped_key_comes_back_with_the_master_key, 0, 3);
	tcase_add_test(tc, wrapping_the_same_key_twice_gives_different_octets);
	tcase_add_test(tc, the_envelope_uses_the_algorithms_promised);
	tcase_add_test(tc, another_master_key_is_a_configuration_error);
	tcase_add_test(tc, a_flipped_octet_is_refused);
	tcase_add_test(tc, cut_or_extended_content_is_refused);
	tcase_add_test(tc, an_envelope_without_authentication_is_refused);
	tcase_add_test(tc, the_master_certificate_is_for_key_agreement_and_has_no_end);
	tcase_add_test(tc, a_certificate_issued_again_for_the_same_master_key_opens_old_keys);
	tcase_add_test(tc, master_files_are_loaded_or_refused_with_a_sentence);
	tcase_add_test(tc, the_fingerprint_is_that_of_the_public_key);
	tcase_add_loop_test(tc, the_plain_key_is_nowhere_in_the_store, 0, 3);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
