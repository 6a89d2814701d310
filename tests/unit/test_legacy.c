/*
 * test_legacy.c - which certificates of other CAs have to be replaced: each reason by a certificate that has it alone, each limit from
 * both sides, and what a directory may hold instead of a certificate.
 */
#include "config.h"

#include <check.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/pkcs7.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/certificates.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define NOW 1795305600 /* 2026-11-22 */
#define DAY 86400
#define JULY_2027 1814400000
#define SEPTEMBER_2027 1820966400
#define JULY_2025 1752537600

static EVP_PKEY *key_1024, *key_k1, *key_dsa;
static struct authority big_issuer;

/* "legacy-generation too-long", in the order of the reasons. */
static const char *reasons_text(const struct legacy_judgement *j, char out[400])
{
	out[0] = 0;
	for (int r = 0; r < LEGACY_REASONS; r++)
		if (j->reasons & (1u << r)) {
			ck_assert_msg(j->text[r][0] != 0, "%s without a sentence", legacy_reason_name((enum legacy_reason)r));
			snprintf(out + strlen(out), 400 - strlen(out), "%s%s", out[0] ? " " : "", legacy_reason_name((enum legacy_reason)r));
		} else {
			ck_assert_str_eq(j->text[r], "");
		}
	return out;
}

static struct legacy_judgement judge(X509 *x, time_t now)
{
	struct legacy_judgement j;
	struct err err = ERR_INIT;

	ck_assert_ptr_nonnull(x);
	ck_assert_msg(legacy_judge(x, now, &j, &err), "%s", err.text);
	ck_assert_uint_eq(ERR_peek_error(), 0);
	X509_free(x);
	return j;
}

/* ---- each reason --------------------------------------------------------------------------------------------------- */

static void nothing(struct spec *s)
{
	(void)s;
}

static void no_policy(struct spec *s)
{
	spec_set(s, "certificatePolicies", "1.3.6.1.4.1.99999.7");
}

static void no_policies(struct spec *s)
{
	spec_set(s, "certificatePolicies", NULL);
}

static void several_policies(struct spec *s)
{
	spec_set(s, "certificatePolicies", "2.23.140.1.5.1.3,2.23.140.1.5.1.2");
}

static void other_arc(struct spec *s)
{
	spec_set(s, "certificatePolicies", "2.23.140.1.5.5.3,2.23.140.1.5.1.4,2.23.140.1.2.2");
}

static void legacy_beside_strict(struct spec *s)
{
	spec_set(s, "certificatePolicies", "2.23.140.1.5.1.3,2.23.140.1.5.1.1");
}

static void before_the_end(struct spec *s)
{
	s->not_before = JULY_2025 - 1;
	s->not_after = s->not_before + 800 * DAY;
}

static void days_825(struct spec *s)
{
	s->not_after = s->not_before + 825 * DAY - 1;
}

static void days_826(struct spec *s)
{
	s->not_after = s->not_before + 825 * DAY;
}

/* From before the requirements: the row's first day is no excuse. */
static void five_years(struct spec *s)
{
	s->not_before = 1640995200; /* 2022-01-01 */
	s->not_after = s->not_before + 5 * 365 * DAY;
}

static void short_rsa(struct spec *s)
{
	s->key = key_1024;
}

static void other_curve(struct spec *s)
{
	s->key = key_k1;
}

static void dsa(struct spec *s)
{
	s->key = key_dsa;
}

static void rsa(struct spec *s)
{
	s->key = user_rsa;
}

static void by_rsa(struct spec *s)
{
	s->issuer = &authority_rsa;
	s->not_after = SEPTEMBER_2027 - 1;
}

static void sha1(struct spec *s)
{
	by_rsa(s);
	s->digest = "SHA1";
}

static void md5(struct spec *s)
{
	by_rsa(s);
	s->digest = "MD5";
}

static void sha1_ecdsa(struct spec *s)
{
	s->digest = "SHA1";
}

static void sha1_pss(struct spec *s)
{
	sha1(s);
	s->pss = true;
}

static void by_rsa_until_the_day(struct spec *s)
{
	by_rsa(s);
	s->not_after = SEPTEMBER_2027;
}

static void by_rsa_pss_until_the_day(struct spec *s)
{
	by_rsa_until_the_day(s);
	s->pss = true;
}

static void by_big_rsa(struct spec *s)
{
	s->issuer = &big_issuer;
	s->not_after = SEPTEMBER_2027 + DAY;
}

static void by_rsa_without_profile(struct spec *s)
{
	by_rsa_until_the_day(s);
	no_policy(s);
}

static void other_purpose(struct spec *s)
{
	spec_set(s, "extendedKeyUsage", "emailProtection,clientAuth,1.3.6.1.4.1.311.10.3.4");
	s->not_after = JULY_2027;
}

static void other_purpose_ends_before(struct spec *s)
{
	other_purpose(s);
	s->not_after = JULY_2027 - 1;
}

static void client_auth(struct spec *s)
{
	spec_set(s, "extendedKeyUsage", "emailProtection,clientAuth");
}

static void everything(struct spec *s)
{
	sha1(s);
	s->key = key_1024;
	days_826(s);
}

#define MV VALIDATION_MAILBOX
#define SV VALIDATION_SPONSOR
#define LEGACY GENERATION_LEGACY
#define MULTI GENERATION_MULTIPURPOSE
#define STRICT GENERATION_STRICT
static const struct {
	const char *name;
	void (*change)(struct spec *s);
	enum validation validation;
	enum generation generation;
	const char *reasons, *says; /* a part of the first reason's sentence */
} cases[] = {
	{"Strict without fault", nothing, MV, STRICT, "", NULL},
	{"Multipurpose without fault", nothing, SV, MULTI, "", NULL},
	{"an RSA key of 2048 bits", rsa, MV, STRICT, "", NULL},
	{"Legacy, mailbox", nothing, MV, LEGACY, "legacy-generation", "it was issued after that"},
	{"Legacy, sponsor", nothing, SV, LEGACY, "legacy-generation", "Legacy"},
	{"Legacy, issued before its end", before_the_end, MV, LEGACY, "legacy-generation", "no CA may renew"},
	{"Legacy and Strict at once", legacy_beside_strict, MV, STRICT, "legacy-generation", "Legacy"},
	{"policies of its CA alone", no_policy, MV, STRICT, "no-br-profile", "0 of the reserved"},
	{"no policies at all", no_policies, MV, STRICT, "no-br-profile", "missing"},
	{"identifiers that look like reserved ones", other_arc, MV, STRICT, "no-br-profile", "0 of the reserved"},
	{"two profiles", several_policies, MV, STRICT, "no-br-profile", "2 of the reserved"},
	{"825 days", days_825, MV, STRICT, "", NULL},
	{"826 days", days_826, MV, STRICT, "too-long", "826 days"},
	{"five years, from before the requirements", five_years, MV, STRICT, "too-long", "1826 days"},
	{"RSA of 1024 bits", short_rsa, MV, STRICT, "weak-key", "1024 bits"},
	{"another curve", other_curve, MV, STRICT, "weak-key", "another curve"},
	{"DSA", dsa, MV, STRICT, "weak-key", "key algorithm"},
	{"signed with SHA-1", sha1, MV, STRICT, "weak-signature", "SHA1"},
	{"signed with SHA-1 and ECDSA", sha1_ecdsa, MV, STRICT, "weak-signature", "SHA1"},
	{"signed with SHA-1 and PSS", sha1_pss, MV, STRICT, "weak-signature", "SHA1"},
	{"signed with MD5", md5, MV, STRICT, "weak-signature", "MD5"},
	{"an issuer of 2048 bits, ends the day before", by_rsa, MV, STRICT, "", NULL},
	{"an issuer of 2048 bits, ends on the day", by_rsa_until_the_day, MV, STRICT, "issuer-key", "2048 bits"},
	{"an issuer of 2048 bits with PSS", by_rsa_pss_until_the_day, MV, STRICT, "issuer-key", "2048 bits"},
	{"an issuer of 3072 bits", by_big_rsa, MV, STRICT, "", NULL},
	{"an issuer of 2048 bits, no profile", by_rsa_without_profile, MV, STRICT, "no-br-profile", NULL},
	{"Multipurpose with another purpose, ends on the day", other_purpose, MV, MULTI, "purposes", "2027-07-01"},
	{"Multipurpose with another purpose, ends the day before", other_purpose_ends_before, MV, MULTI, "", NULL},
	{"Multipurpose with client authentication", client_auth, MV, MULTI, "", NULL},
	{"Legacy with another purpose", other_purpose, MV, LEGACY, "legacy-generation", NULL},
	{"all at once", everything, MV, LEGACY, "legacy-generation too-long weak-key weak-signature", NULL},
};

START_TEST(each_reason)
{
	struct spec s = spec_clean(cases[_i].validation, cases[_i].generation, NOW);
	struct legacy_judgement j;
	char have[400];

	cases[_i].change(&s);
	j = judge(spec_make(&s), NOW);
	ck_assert_msg(j.current && !j.expired, "%s", cases[_i].name);
	ck_assert_msg(strcmp(reasons_text(&j, have), cases[_i].reasons) == 0, "%s: \"%s\"", cases[_i].name, have);
	for (int r = 0; r < LEGACY_REASONS && cases[_i].says; r++)
		if (j.reasons & (1u << r))
			ck_assert_msg(strstr(j.text[r], cases[_i].says) != NULL, "%s: %s", cases[_i].name, j.text[r]);
}
END_TEST

/* ---- time and use -------------------------------------------------------------------------------------------------- */

START_TEST(nothing_is_said_of_what_has_expired_or_not_begun)
{
	struct spec s = spec_clean(MV, LEGACY, NOW);
	struct legacy_judgement j = judge(spec_make(&s), s.not_after + 1);

	ck_assert(j.expired && !j.current);
	ck_assert_uint_eq(j.reasons, 0);
	j = judge(spec_make(&s), s.not_after);
	ck_assert(!j.expired && j.current);
	ck_assert_uint_eq(j.reasons, 1u << LEGACY_GENERATION);
	j = judge(spec_make(&s), s.not_before - 1);
	ck_assert(!j.expired && !j.current);
	ck_assert_uint_eq(j.reasons, 0);
}
END_TEST

static const struct {
	const char *usage;
	unsigned uses;
} usages[] = {
	{"critical,digitalSignature", LEGACY_SIGNS},
	{"critical,nonRepudiation", LEGACY_SIGNS},
	{"critical,keyAgreement", LEGACY_ENCRYPTS},
	{"critical,keyEncipherment", LEGACY_ENCRYPTS},
	{"critical,digitalSignature,keyAgreement", LEGACY_SIGNS | LEGACY_ENCRYPTS},
	{NULL, LEGACY_SIGNS | LEGACY_ENCRYPTS},
};

START_TEST(what_it_is_used_for)
{
	struct spec s = spec_clean(MV, LEGACY, NOW);

	spec_set(&s, "keyUsage", usages[_i].usage);
	ck_assert_uint_eq(judge(spec_make(&s), NOW).uses, usages[_i].uses);
}
END_TEST

START_TEST(reasons_have_names)
{
	for (int r = 0; r < LEGACY_REASONS; r++) {
		ck_assert_uint_gt(strlen(legacy_reason_name((enum legacy_reason)r)), 3);
		ck_assert_uint_gt(strlen(legacy_reason_about((enum legacy_reason)r)), 10);
	}
}
END_TEST

/* ---- values of a directory ------------------------------------------------------------------------------------------- */

static struct buf der_of(X509 *x)
{
	struct buf out = BUF_INIT;
	unsigned char *der = NULL;
	int n = i2d_X509(x, &der);

	buf_append(&out, der, (size_t)n);
	OPENSSL_free(der);
	return out;
}

/* CMS as another program would put it into userSMIMECertificate: signed ... */
static struct buf cms_of(X509 *signer, EVP_PKEY *key, X509 *other)
{
	struct buf out = BUF_INIT;
	unsigned char *der = NULL;
	BIO *empty = BIO_new_mem_buf("", 0);
	CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, empty, CMS_PARTIAL | CMS_BINARY);
	int n;

	if (other)
		ck_assert_int_eq(CMS_add1_cert(cms, other), 1);
	ck_assert_ptr_nonnull(CMS_add1_signer(cms, signer, key, EVP_sha256(), CMS_BINARY));
	ck_assert_int_eq(CMS_final(cms, empty, NULL, CMS_BINARY), 1);
	n = i2d_CMS_ContentInfo(cms, &der);
	ck_assert_int_gt(n, 0);
	buf_append(&out, der, (size_t)n);
	OPENSSL_free(der);
	CMS_ContentInfo_free(cms);
	BIO_free(empty);
	return out;
}

/* ... or certificates only. */
static struct buf certificates_of(X509 *one, X509 *two)
{
	struct buf out = BUF_INIT;
	unsigned char *der = NULL;
	PKCS7 *p7 = PKCS7_new();
	int n;

	ck_assert(PKCS7_set_type(p7, NID_pkcs7_signed) == 1 && PKCS7_content_new(p7, NID_pkcs7_data) == 1);
	ck_assert(PKCS7_add_certificate(p7, one) == 1 && (!two || PKCS7_add_certificate(p7, two) == 1));
	n = i2d_PKCS7(p7, &der);
	ck_assert_int_gt(n, 0);
	buf_append(&out, der, (size_t)n);
	OPENSSL_free(der);
	PKCS7_free(p7);
	return out;
}

static void reads_as(struct buf value, bool smime, X509 *expected)
{
	X509 *x = legacy_read(value.data, value.len, smime);

	ck_assert(!x == !expected);
	if (expected)
		ck_assert_int_eq(X509_cmp(x, expected), 0);
	ck_assert_uint_eq(ERR_peek_error(), 0);
	X509_free(x);
	buf_clear(&value);
}

START_TEST(what_a_value_holds)
{
	struct spec s = spec_clean(MV, STRICT, NOW), t = spec_clean(MV, LEGACY, NOW);
	X509 *mine, *other;
	struct buf der;

	t.serial = "77";
	t.key = user_rsa;
	mine = spec_make(&s);
	other = spec_make(&t);
	reads_as(der_of(mine), false, mine);
	reads_as(cms_of(mine, user_key, other), true, mine);
	reads_as(cms_of(other, user_rsa, mine), true, other);
	reads_as(certificates_of(authority_ca.certificate, mine), true, mine);
	reads_as(certificates_of(authority_ca.certificate, NULL), true, NULL);
	/* each kind in the other's place */
	reads_as(der_of(mine), true, NULL);
	reads_as(cms_of(mine, user_key, NULL), false, NULL);
	/* more than one certificate, less than one, none */
	der = der_of(mine);
	buf_append(&der, "x", 1);
	reads_as(der, false, NULL);
	der = der_of(mine);
	der.len--;
	reads_as(der, false, NULL);
	reads_as((struct buf)BUF_INIT, false, NULL);
	reads_as((struct buf)BUF_INIT, true, NULL);
	X509_free(mine);
	X509_free(other);
}
END_TEST

START_TEST(every_value_cut_short_or_with_a_bit_changed_is_survived)
{
	struct spec s = spec_clean(MV, LEGACY, NOW);
	X509 *mine = spec_make(&s);
	struct buf values[2] = {der_of(mine), cms_of(mine, user_key, authority_ca.certificate)};

	for (int kind = 0; kind < 2; kind++) {
		for (size_t i = 0; i < values[kind].len; i++) {
			struct legacy_judgement j;
			struct err err = ERR_INIT;
			X509 *x;

			values[kind].data[i] ^= 0x10;
			x = legacy_read(values[kind].data, values[kind].len, kind == 1);
			if (x)
				ck_assert_msg(legacy_judge(x, NOW, &j, &err), "%s", err.text);
			X509_free(x);
			values[kind].data[i] ^= 0x10;
			x = legacy_read(values[kind].data, i, kind == 1);
			ck_assert_msg(x == NULL, "%zu octets", i);
		}
		buf_clear(&values[kind]);
	}
	X509_free(mine);
}
END_TEST

/* ---- all --------------------------------------------------------------------------------------------------------------- */

static void setup(void)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "DSA", NULL);
	EVP_PKEY *parameters = NULL;

	certificates_setup();
	key_1024 = key_of("RSA", "1024");
	key_k1 = key_of("EC", "secp256k1");
	ck_assert(EVP_PKEY_paramgen_init(ctx) == 1 && EVP_PKEY_CTX_ctrl_str(ctx, "dsa_paramgen_bits", "1024") == 1);
	ck_assert_int_eq(EVP_PKEY_paramgen(ctx, &parameters), 1);
	EVP_PKEY_CTX_free(ctx);
	ctx = EVP_PKEY_CTX_new(parameters, NULL);
	ck_assert(EVP_PKEY_keygen_init(ctx) == 1 && EVP_PKEY_keygen(ctx, &key_dsa) == 1);
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(parameters);
	big_issuer = (struct authority){authority_rsa.certificate, key_of("RSA", "3072")};
}

static void teardown(void)
{
	EVP_PKEY_free(key_1024);
	EVP_PKEY_free(key_k1);
	EVP_PKEY_free(key_dsa);
	EVP_PKEY_free(big_issuer.key);
	certificates_teardown();
}

int main(void)
{
	Suite *s = suite_create("legacy");
	TCase *t = tcase_create("judging");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_unchecked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, each_reason, 0, COUNT(cases));
	tcase_add_test(t, nothing_is_said_of_what_has_expired_or_not_begun);
	tcase_add_loop_test(t, what_it_is_used_for, 0, COUNT(usages));
	tcase_add_test(t, reasons_have_names);
	tcase_add_test(t, what_a_value_holds);
	tcase_add_test(t, every_value_cut_short_or_with_a_bit_changed_is_survived);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
