/*
 * tests/unit/test_certcheck.c - certificates from a small CA: clean ones have no finding, each that breaks one thing is reported with
 * that row's id.
 *
 * A case names all ids it expects, in the order of the rows: some faults cannot be had alone (a SHA-1 signature also breaks the
 * chain, a critical extension that verifiers do not know does too), and those stand beside the id under test.
 *
 * The file is over 800 lines because it is flat: one small function a fault, one line of a table for what it must lead to.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <unistd.h>

#include "policy/certcheck_rows.h"
#include "tests/unit/certificates.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define NOW 1795305600 /* 2026-11-22 */
#define DAY 86400
#define JULY_2027 1814400000 /* 2027-07-01 */
#define SEPTEMBER_2027 1820966400 /* 2027-09-15 */

/* What a case may change beside the certificate. */
struct scene {
	struct spec spec;
	struct certificate_profile profile; /* asked for */
	struct strlist addresses;
	char *address_list[4];
	bool other_key, no_anchors, other_anchors, no_untrusted, no_spki, no_addresses;
	time_t now;
	unsigned not_asked;
	enum revocation_check revocation;
};

static char alice[] = "alice@example.org", bob[] = "bob@example.org", jorg[] = "j\xc3\xb6rg@example.org",
	    upper_alice[] = "Alice@EXAMPLE.org";

static void scene_init(struct scene *s, enum validation v, enum generation g)
{
	memset(s, 0, sizeof *s);
	s->spec = spec_clean(v, g, NOW);
	s->profile = (struct certificate_profile){.validation = v, .generation = g, .usage = USAGE_SIGN};
	s->address_list[0] = alice;
	s->addresses = (struct strlist){s->address_list, 1};
	s->now = NOW;
}

static X509_STORE *store_of(const struct authority *root)
{
	X509_STORE *store = X509_STORE_new();

	ck_assert_int_eq(X509_STORE_add_cert(store, root->certificate), 1);
	return store;
}

static void spki_of(X509 *x, char out[65])
{
	unsigned char *der = NULL, md[EVP_MAX_MD_SIZE];
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
	size_t md_len;

	ck_assert_int_gt(len, 0);
	EVP_Q_digest(NULL, "SHA256", NULL, der, (size_t)len, md, &md_len);
	for (size_t i = 0; i < 32; i++)
		snprintf(out + 2 * i, 3, "%02x", md[i]);
	OPENSSL_free(der);
}

static void scene_check(const struct scene *s, X509 *leaf, struct findings *out)
{
	STACK_OF(X509) *untrusted = sk_X509_new_null();
	X509_STORE *anchors = store_of(s->other_anchors ? &authority_other : &authority_root);
	char spki[65];
	struct certcheck_request req = {.profile = &s->profile,
		.addresses = s->no_addresses ? NULL : &s->addresses,
		.spki_sha256 = s->no_spki ? NULL : spki,
		.anchors = s->no_anchors ? NULL : anchors,
		.untrusted = untrusted,
		.now = s->now,
		.not_asked = s->not_asked,
		.revocation = s->revocation};
	struct err err = ERR_INIT;

	spki_of(leaf, spki);
	if (s->other_key)
		spki[0] = spki[0] == '0' ? '1' : '0';
	if (!s->no_untrusted) {
		sk_X509_push(untrusted, authority_ca.certificate);
		sk_X509_push(untrusted, authority_rsa.certificate);
		sk_X509_push(untrusted, authority_ended.certificate);
		sk_X509_push(untrusted, authority_tls.certificate);
		sk_X509_push(untrusted, authority_small.certificate);
	}
	ck_assert_msg(certcheck(leaf, &req, out, &err), "%s", err.text);
	ck_assert_uint_eq(ERR_peek_error(), 0);
	X509_STORE_free(anchors);
	sk_X509_free(untrusted);
}

/* The ids once each, in order, blank separated; warnings as id?. */
static const char *ids_of(const struct findings *f, char out[512])
{
	out[0] = 0;
	for (size_t i = 0; i < f->n; i++) {
		char id[32];

		snprintf(id, sizeof id, "%s%s ", f->v[i].id, f->v[i].severity == FINDING_WARNING ? "?" : "");
		if (strstr(out, id) == NULL)
			strncat(out, id, 511 - strlen(out));
	}
	if (out[0] != 0)
		out[strlen(out) - 1] = 0;
	return out;
}

static void expect(const char *name, const struct scene *s, const char *ids)
{
	X509 *leaf = spec_make(&s->spec);
	struct findings f;
	struct buf text = BUF_INIT;
	char have[512];
	size_t errors = 0;

	scene_check(s, leaf, &f);
	findings_text(&f, &text);
	ck_assert_msg(strcmp(ids_of(&f, have), ids) == 0, "%s: \"%s\" instead of \"%s\":\n%s", name, have, ids, buf_str(&text));
	for (size_t i = 0; i < f.n; i++)
		errors += f.v[i].severity == FINDING_ERROR;
	ck_assert_uint_eq(errors, f.errors);
	for (size_t i = 0; i < text.len; i++)
		ck_assert_msg(text.data[i] == '\n' || (text.data[i] >= 0x20 && text.data[i] < 0x7f), "%s: unescaped octet in %s", name,
			buf_str(&text));
	findings_clear(&f);
	buf_clear(&text);
	X509_free(leaf);
}

/* ---- clean ------------------------------------------------------------------------------------------------------- */

START_TEST(clean_certificates_have_no_finding)
{
	struct scene s;
	enum validation v = (enum validation)(VALIDATION_MAILBOX + _i / 2);
	enum generation g = _i % 2 == 0 ? GENERATION_STRICT : GENERATION_MULTIPURPOSE;

	scene_init(&s, v, g);
	expect("clean", &s, "");
	s.spec.key = user_rsa;
	expect("clean, RSA key", &s, "");
}
END_TEST

static void nothing(struct scene *s)
{
}

/* ---- our own questions ------------------------------------------------------------------------------------------- */

static void other_key(struct scene *s)
{
	s->other_key = true;
}
static void other_address(struct scene *s)
{
	spec_set(&s->spec, "subjectAltName", "critical,email:bob@example.org");
}
static void extra_address(struct scene *s)
{
	spec_set(&s->spec, "subjectAltName", "critical,email:alice@example.org,email:bob@example.org");
}
static void missing_address(struct scene *s)
{
	s->address_list[1] = bob;
	s->addresses.n = 2;
}
static void two_addresses(struct scene *s)
{
	missing_address(s);
	extra_address(s);
}
static void local_part_in_other_case(struct scene *s)
{
	s->address_list[0] = upper_alice;
}
static void domain_in_other_case(struct scene *s)
{
	spec_set(&s->spec, "subjectAltName", "critical,email:alice@EXAMPLE.Org");
}
static void international(struct scene *s)
{
	s->address_list[0] = jorg;
	spec_set(&s->spec, "subjectAltName", "critical,@san");
	s->spec.sections = "[san]\notherName=1.3.6.1.5.5.7.8.9;FORMAT:UTF8,UTF8:j\xc3\xb6rg@example.org\n";
}
static void foreign_address_in_directory_name(struct scene *s)
{
	spec_set(&s->spec, "subjectAltName", "critical,email:alice@example.org,dirName:who");
	s->spec.sections = "[who]\nemailAddress=bob@example.org\n";
}
/* An alternative name of one rfc822Name with these octets, which openssl.cnf could not say. */
static void san_octets(struct scene *s, const char *octets, size_t len)
{
	static char value[512];
	size_t at = (size_t)snprintf(value, sizeof value, "critical,DER:30%02zx81%02zx", len + 2, len);

	for (size_t i = 0; i < len; i++)
		at += (size_t)snprintf(value + at, sizeof value - at, "%02x", (unsigned char)octets[i]);
	spec_set(&s->spec, "subjectAltName", value);
}
static void nul_in_address(struct scene *s)
{
	static const char octets[] = "alice@example.org\0.example.net";

	san_octets(s, octets, sizeof octets - 1);
}
static void expired(struct scene *s)
{
	s->now = s->spec.not_after + 1;
}
static void not_yet_valid(struct scene *s)
{
	s->now = s->spec.not_before - 1;
}
static void backdated(struct scene *s)
{
	s->spec.not_before = 1693526400 - 1; /* the last second before 2023-09-01: no dated row applies */
	s->spec.not_after = NOW + 3 * 365 * DAY;
}
static void other_root(struct scene *s)
{
	s->other_anchors = true;
}
static void no_intermediate(struct scene *s)
{
	s->no_untrusted = true;
}
static void ended_intermediate(struct scene *s)
{
	s->spec.issuer = &authority_ended;
}
static void tls_intermediate(struct scene *s)
{
	s->spec.issuer = &authority_tls;
}
static void no_anchors(struct scene *s)
{
	s->no_anchors = true;
}
static void encrypt_only(struct scene *s)
{
	spec_set(&s->spec, "keyUsage", "critical,keyAgreement");
}
static void sign_and_encrypt(struct scene *s)
{
	spec_set(&s->spec, "keyUsage", "critical,digitalSignature,keyAgreement");
}
static void sign_and_encrypt_rsa(struct scene *s)
{
	s->spec.key = user_rsa;
	spec_set(&s->spec, "keyUsage", "critical,digitalSignature,keyEncipherment");
}
static void dual(struct scene *s)
{
	s->profile.usage = USAGE_DUAL;
	sign_and_encrypt(s);
}
static void dual_wanted_sign_given(struct scene *s)
{
	s->profile.usage = USAGE_DUAL;
}
static void encrypt(struct scene *s)
{
	s->profile.usage = USAGE_ENCRYPT;
	encrypt_only(s);
}
static void encrypt_wanted_sign_given(struct scene *s)
{
	s->profile.usage = USAGE_ENCRYPT;
}

/* ---- profile ----------------------------------------------------------------------------------------------------- */

static void multipurpose_for_strict(struct scene *s)
{
	spec_set(&s->spec, "certificatePolicies", "2.23.140.1.5.1.2");
}
static void sponsor_for_mailbox(struct scene *s)
{
	spec_set(&s->spec, "certificatePolicies", "2.23.140.1.5.3.3");
}
static void legacy(struct scene *s)
{
	spec_set(&s->spec, "certificatePolicies", "2.23.140.1.5.1.1");
}
static void no_policies(struct scene *s)
{
	spec_set(&s->spec, "certificatePolicies", NULL);
}
static void foreign_policy(struct scene *s)
{
	spec_set(&s->spec, "certificatePolicies", "1.2.3.4");
}
static void policy_beside(struct scene *s)
{
	spec_set(&s->spec, "certificatePolicies", "1.2.3.4,2.23.140.1.5.1.3");
}
static void two_policies(struct scene *s)
{
	spec_set(&s->spec, "certificatePolicies", "2.23.140.1.5.1.3,2.23.140.1.5.1.2");
}
static void reserved_that_does_not_exist(struct scene *s)
{
	spec_set(&s->spec, "certificatePolicies", "2.23.140.1.5.5.3");
}
static void any_policy(struct scene *s)
{
	spec_set(&s->spec, "certificatePolicies", "2.23.140.1.5.1.3,2.5.29.32.0");
}
static void cps(struct scene *s)
{
	spec_set(&s->spec, "certificatePolicies", "@policy");
	s->spec.sections = "[policy]\npolicyIdentifier=2.23.140.1.5.1.3\nCPS.1=https://ca.example/"
			   "cps\nuserNotice.1=@notice\n[notice]\nexplicitText=UTF8:Hello\n";
}
static void cps_ftp(struct scene *s)
{
	cps(s);
	s->spec.sections = "[policy]\npolicyIdentifier=2.23.140.1.5.1.3\nCPS.1=ftp://ca.example/cps\n";
}
static void notice_reference(struct scene *s)
{
	cps(s);
	s->spec.sections = "[policy]\npolicyIdentifier=2.23.140.1.5.1.3\nuserNotice.1=@notice\n[notice]\nexplicitText=UTF8:"
			   "Hello\norganization=X\nnoticeNumbers=1\n";
}

/* ---- frame, validity --------------------------------------------------------------------------------------------- */

static void version_2(struct scene *s)
{
	s->spec.version = X509_VERSION_2;
}
static void serial_zero(struct scene *s)
{
	s->spec.serial = "0";
}
static void serial_negative(struct scene *s)
{
	s->spec.serial = "-1234";
}
static void serial_long(struct scene *s)
{
	s->spec.serial = "8000000000000000000000000000000000000000";
}
static void serial_longest(struct scene *s)
{
	s->spec.serial = "7fffffffffffffffffffffffffffffffffffffff";
}
static void generalized_time(struct scene *s)
{
	s->spec.generalized_time = true;
}
static void extension_twice(struct scene *s)
{
	s->spec.duplicate = "subjectKeyIdentifier";
}
static void bytes_behind_key_usage(struct scene *s)
{
	spec_set(&s->spec, "keyUsage",
		"critical,DER:03020780"
		"0500");
}
static void key_usage_not_minimal(struct scene *s)
{
	spec_set(&s->spec, "keyUsage", "critical,DER:0381020780");
}
static void ca_false_spelled_out(struct scene *s)
{
	spec_set(&s->spec, "basicConstraints", "critical,DER:3003010100");
}
static void ca_false(struct scene *s)
{
	spec_set(&s->spec, "basicConstraints", "critical,CA:FALSE");
}
static void broken_policies(struct scene *s)
{
	spec_set(&s->spec, "certificatePolicies", "DER:0401");
}
/* The last algorithm identifier of the certificate is the outer one: make ecdsa-with-SHA384 of it. */
static void edit_outer_algorithm(struct buf *der)
{
	static const unsigned char oid[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
	char *last = NULL, *p = der->data;

	while ((p = memmem(p, (size_t)(der->data + der->len - p), oid, sizeof oid)) != NULL)
		last = p++;
	ck_assert_ptr_nonnull(last);
	last[7] = 3;
}
static void algorithms_differ(struct scene *s)
{
	s->spec.edit = edit_outer_algorithm;
}
/* An issuerUniqueID before the extensions: two lengths of three octets in front of it grow by four. */
static void edit_unique_id(struct buf *der)
{
	unsigned char *p = (unsigned char *)der->data;
	size_t at = 0;
	struct buf out = BUF_INIT;

	for (size_t i = 8; at == 0 && i + 4 < der->len; i++)
		if (p[i] == 0xa3 && p[i + 1] == 0x82 && p[i + 4] == 0x30)
			at = i;
	ck_assert_uint_gt(at, 0);
	for (int i = 0; i < 2; i++) {
		unsigned len = (unsigned)(p[4 * i + 2] << 8 | p[4 * i + 3]) + 4;

		p[4 * i + 2] = (unsigned char)(len >> 8);
		p[4 * i + 3] = (unsigned char)len;
	}
	buf_append(&out, p, at);
	buf_append(&out, "\x81\x02\x00\xff", 4);
	buf_append(&out, p + at, der->len - at);
	buf_clear(der);
	*der = out;
}
/* A notBefore that no one can read must not switch off the rows with a first day. */
static void edit_not_before(struct buf *der)
{
	char *p = memmem(der->data, der->len, "\x17\x0d", 2);

	ck_assert_ptr_nonnull(p);
	p[14] = 'X';
}
static void unreadable_not_before(struct scene *s)
{
	s->spec.edit = edit_not_before;
	spec_set(&s->spec, "crlDistributionPoints", NULL);
}
static void unique_id(struct scene *s)
{
	s->spec.edit = edit_unique_id;
}
static void sha224(struct scene *s)
{
	s->spec.digest = "SHA224";
}
static void sha1(struct scene *s)
{
	s->spec.digest = "SHA1";
}
static void rsa_issuer(struct scene *s)
{
	s->spec.issuer = &authority_rsa;
}
static void rsa_issuer_later(struct scene *s)
{
	rsa_issuer(s);
	s->spec.not_before = SEPTEMBER_2027 - 1;
	s->spec.not_after = SEPTEMBER_2027 + 90 * DAY;
	s->now = SEPTEMBER_2027 + DAY;
}
static void rsa_issuer_too_late(struct scene *s)
{
	rsa_issuer_later(s);
	s->spec.not_before = SEPTEMBER_2027;
}
static void small_issuer(struct scene *s)
{
	s->spec.issuer = &authority_small;
}
static void pss(struct scene *s)
{
	rsa_issuer(s);
	s->spec.pss = true;
	s->spec.digest = "SHA384";
}
static void sha384_of_p256(struct scene *s)
{
	s->spec.digest = "SHA384";
}
static void issuer_in_other_strings(struct scene *s)
{
	s->spec.printable_issuer = true;
}
static void unknown_extension(struct scene *s)
{
	spec_set(&s->spec, "1.2.3.4.5", "DER:0500");
}
static void unknown_critical_extension(struct scene *s)
{
	spec_set(&s->spec, "1.2.3.4.5", "critical,DER:0500");
}
static void days_900(struct scene *s)
{
	s->spec.not_after = s->spec.not_before + 900 * DAY;
}
static void days_825_and_a_second(struct scene *s)
{
	s->spec.not_after = s->spec.not_before + 825 * DAY;
}
static void days_825(struct scene *s)
{
	s->spec.not_after = s->spec.not_before + 825 * DAY - 1;
}
static void days_824(struct scene *s)
{
	s->spec.not_after = s->spec.not_before + 824 * DAY - 1;
}

/* ---- keys -------------------------------------------------------------------------------------------------------- */

static EVP_PKEY *made_key; /* by one case, freed with its process */

static void use_key(struct scene *s, EVP_PKEY *key)
{
	made_key = key;
	s->spec.key = key;
}
static void rsa_1024(struct scene *s)
{
	use_key(s, key_of("RSA", "1024"));
}
static void p224(struct scene *s)
{
	use_key(s, key_of("EC", "P-224"));
}
static void p384(struct scene *s)
{
	use_key(s, key_of("EC", "P-384"));
}
static void p521(struct scene *s)
{
	use_key(s, key_of("EC", "P-521"));
}
static void ed25519(struct scene *s)
{
	use_key(s, key_of("ED25519", NULL));
}
static void ed448(struct scene *s)
{
	use_key(s, key_of("ED448", NULL));
}
static void x25519(struct scene *s)
{
	use_key(s, key_of("X25519", NULL));
}
/* An RSA key of the modulus base^power, at exponent e. */
static void rsa_of(struct scene *s, const char *what, int bits, int power, unsigned long e)
{
	BIGNUM *base = BN_new(), *n = BN_new(), *k = BN_new();
	BN_CTX *ctx = BN_CTX_new();

	if (strcmp(what, "prime") == 0) {
		do
			ck_assert_int_eq(BN_generate_prime_ex(base, bits, 0, NULL, NULL, NULL), 1);
		while (power > 1 && BN_set_word(k, (BN_ULONG)power) && BN_exp(n, base, k, ctx) && BN_num_bits(n) % 8 != 0);
	} else {
		/* no prime: an odd number, with the small factor 3 or without any below 752 */
		unsigned long small = 0;

		do {
			ck_assert_int_eq(BN_rand(base, bits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD), 1);
			for (small = 3; small < 752 && BN_mod_word(base, small) != 0; small += 2)
				;
		} while (strcmp(what, "three") == 0 ? small != 3 : small < 752);
	}
	BN_set_word(k, (BN_ULONG)power);
	BN_exp(n, base, k, ctx);
	use_key(s, rsa_public(n, e));
	BN_free(base);
	BN_free(n);
	BN_free(k);
	BN_CTX_free(ctx);
}
static void rsa_odd_length(struct scene *s)
{
	rsa_of(s, "product", 2050, 1, 65537);
}
static void rsa_exponent_1(struct scene *s)
{
	rsa_of(s, "product", 2048, 1, 1);
}
static void rsa_exponent_even(struct scene *s)
{
	rsa_of(s, "product", 2048, 1, 65538);
}
static void rsa_exponent_3(struct scene *s)
{
	rsa_of(s, "product", 2048, 1, 3);
}
static void rsa_small_factor(struct scene *s)
{
	rsa_of(s, "three", 2048, 1, 65537);
}
static void rsa_square(struct scene *s)
{
	rsa_of(s, "prime", 1024, 2, 65537);
}
static void rsa_cube(struct scene *s)
{
	rsa_of(s, "prime", 688, 3, 65537);
}
static void rsa_power_61(struct scene *s)
{
	rsa_of(s, "prime", 40, 61, 65537);
}
static void point_not_on_curve(struct scene *s)
{
	static unsigned char bits[65] = {0x04, 1, 2, 3};

	s->spec.key_bits = bits;
	s->spec.key_bits_len = sizeof bits;
}
static void ed25519_no_point(struct scene *s)
{
	static const unsigned char y2[32] = {2};

	ed25519(s);
	s->spec.key_bits = y2;
	s->spec.key_bits_len = sizeof y2;
}
static void ed448_no_point(struct scene *s)
{
	static const unsigned char y2[57] = {2};

	ed448(s);
	s->spec.key_bits = y2;
	s->spec.key_bits_len = sizeof y2;
}
static void rsa_without_null(struct scene *s)
{
	s->spec.key = user_rsa;
	s->spec.key_oid = "1.2.840.113549.1.1.1";
}
static void rsa_pss_identifier(struct scene *s)
{
	s->spec.key = user_rsa;
	s->spec.key_oid = "1.2.840.113549.1.1.10";
}
static void ml_dsa(struct scene *s)
{
	static unsigned char bits[1312];

	s->spec.key_oid = "2.16.840.1.101.3.4.3.17";
	s->spec.key_bits = bits;
	s->spec.key_bits_len = sizeof bits;
}
static void ml_dsa_too_early(struct scene *s)
{
	ml_dsa(s);
	s->spec.not_before = 1755734400; /* 2025-08-21 */
	s->spec.not_after = NOW + DAY;
}
static void ml_dsa_on_the_day(struct scene *s)
{
	ml_dsa_too_early(s);
	s->spec.not_before += DAY;
}
static void ml_dsa_agreement(struct scene *s)
{
	ml_dsa(s);
	sign_and_encrypt(s);
}
static void ml_kem_sign(struct scene *s)
{
	ml_dsa(s);
	s->spec.key_oid = "2.16.840.1.101.3.4.4.2";
}
static void ml_kem(struct scene *s)
{
	ml_dsa(s);
	s->spec.key_oid = "2.16.840.1.101.3.4.4.1";
	spec_set(&s->spec, "keyUsage", "critical,keyEncipherment");
}
static void ml_dsa_with_null(struct scene *s)
{
	ml_dsa(s);
	s->spec.key_null = 1;
}

/* ---- extensions -------------------------------------------------------------------------------------------------- */

/* clang-format off */
#define EXTENSION(name, extension, value) static void name(struct scene *s) { spec_set(&s->spec, extension, value); }
EXTENSION(no_crl, "crlDistributionPoints", NULL)
EXTENSION(crl_directory_name, "crlDistributionPoints", "dirName:crl\n[crl]\nCN=x\n[extensions]")
EXTENSION(crl_https, "crlDistributionPoints", "URI:https://crl.ca.example/mail.crl")
EXTENSION(crl_ldap_beside, "crlDistributionPoints", "URI:http://crl.ca.example/mail.crl,URI:ldap://crl.ca.example/")
EXTENSION(no_aia, "authorityInfoAccess", NULL)
EXTENSION(aia_ocsp_only, "authorityInfoAccess", "OCSP;URI:http://ocsp.ca.example")
EXTENSION(aia_https, "authorityInfoAccess", "OCSP;URI:https://ocsp.ca.example,caIssuers;URI:http://ca.example/mail.cer")
EXTENSION(ca_true, "basicConstraints", "critical,CA:TRUE")
EXTENSION(path_length, "basicConstraints", "critical,DER:3003020100")
EXTENSION(no_ku, "keyUsage", NULL)
EXTENSION(empty_ku, "keyUsage", "critical,DER:030100")
EXTENSION(sign_and_cert_sign, "keyUsage", "critical,digitalSignature,keyCertSign")
EXTENSION(commitment_alone, "keyUsage", "critical,nonRepudiation")
EXTENSION(sign_and_commitment, "keyUsage", "critical,digitalSignature,nonRepudiation")
EXTENSION(decipher_only_alone, "keyUsage", "critical,digitalSignature,decipherOnly")
EXTENSION(ku_not_critical, "keyUsage", "digitalSignature")
EXTENSION(foreign_ku_bit, "keyUsage", "critical,DER:0303048010")
EXTENSION(no_eku, "extendedKeyUsage", NULL)
EXTENSION(no_email_protection, "extendedKeyUsage", "clientAuth")
EXTENSION(client_auth_beside, "extendedKeyUsage", "emailProtection,clientAuth")
EXTENSION(document_signing_beside, "extendedKeyUsage", "emailProtection,1.3.6.1.5.5.7.3.36")
EXTENSION(server_auth_beside, "extendedKeyUsage", "emailProtection,serverAuth")
EXTENSION(code_signing_beside, "extendedKeyUsage", "emailProtection,codeSigning")
EXTENSION(time_stamping_beside, "extendedKeyUsage", "emailProtection,timeStamping")
EXTENSION(any_purpose_beside, "extendedKeyUsage", "emailProtection,anyExtendedKeyUsage")
EXTENSION(no_aki, "authorityKeyIdentifier", NULL)
EXTENSION(aki_issuer, "authorityKeyIdentifier", "keyid:always,issuer:always")
EXTENSION(no_ski, "subjectKeyIdentifier", NULL)
EXTENSION(ski_made_up, "subjectKeyIdentifier", "00112233445566778899aabbccddeeff00112233")
EXTENSION(sda, "2.5.29.9", "DER:3010300e060355040331070c0568656c6c6f")
EXTENSION(lei, "1.3.6.1.4.1.52266.1", "DER:1314353439333030314b4a54494947433859315231" "32")
EXTENSION(lei_wrong, "1.3.6.1.4.1.52266.1", "DER:1314353439333030314b4a54494947433859315231" "33")
EXTENSION(lei_role, "1.3.6.1.4.1.52266.2", "DER:1303434645")
EXTENSION(adobe, "1.2.840.113583.1.1.9.1", "DER:3000")
EXTENSION(adobe_critical, "1.2.840.113583.1.1.9.2", "critical,DER:3000")
EXTENSION(qc_critical, "qcStatements", "critical,DER:3000")
EXTENSION(aia_critical, "authorityInfoAccess", "critical,caIssuers;URI:http://ca.example/mail.cer")
EXTENSION(aki_critical, "authorityKeyIdentifier", "critical,keyid:always")
EXTENSION(ski_critical, "subjectKeyIdentifier", "critical,hash")
EXTENSION(capabilities_critical, "1.2.840.113549.1.9.15", "critical,DER:300d300b060960864801650304012a")
EXTENSION(policies_critical, "certificatePolicies", "critical,2.23.140.1.5.1.3")
EXTENSION(crl_critical, "crlDistributionPoints", "critical,URI:http://crl.ca.example/mail.crl")
EXTENSION(capabilities, "1.2.840.113549.1.9.15", "DER:300d300b060960864801650304012a")
EXTENSION(san_not_critical, "subjectAltName", "email:alice@example.org")
EXTENSION(san_critical, "subjectAltName", "critical,email:alice@example.org")
/* clang-format on */

static void rsa_data_encipherment(struct scene *s)
{
	s->spec.key = user_rsa;
	s->profile.usage = USAGE_DUAL;
	spec_set(&s->spec, "keyUsage", "critical,digitalSignature,keyEncipherment,dataEncipherment");
}
static void rsa_data_encipherment_alone(struct scene *s)
{
	s->spec.key = user_rsa;
	s->profile.usage = USAGE_SIGN;
	spec_set(&s->spec, "keyUsage", "critical,digitalSignature,dataEncipherment");
}
static void rsa_key_agreement(struct scene *s)
{
	s->spec.key = user_rsa;
	sign_and_encrypt(s);
}
static void ed25519_agreement(struct scene *s)
{
	ed25519(s);
	sign_and_encrypt(s);
}
static void no_ku_dual(struct scene *s)
{
	s->profile.usage = USAGE_DUAL;
	no_ku(s);
}
static void ed448_agreement(struct scene *s)
{
	ed448(s);
	sign_and_encrypt(s);
}
static void rsa_cert_sign(struct scene *s)
{
	s->spec.key = user_rsa;
	sign_and_cert_sign(s);
}
static void ed25519_cert_sign(struct scene *s)
{
	ed25519(s);
	sign_and_cert_sign(s);
}
static void both_only_bits(struct scene *s)
{
	s->profile.usage = USAGE_DUAL;
	spec_set(&s->spec, "keyUsage", "critical,digitalSignature,keyAgreement,encipherOnly,decipherOnly");
}
static void client_auth_in_july_2027(struct scene *s)
{
	client_auth_beside(s);
	s->spec.not_before = JULY_2027;
	s->spec.not_after = JULY_2027 + 90 * DAY;
	s->now = JULY_2027 + DAY;
}
static void document_signing_in_july_2027(struct scene *s)
{
	client_auth_in_july_2027(s);
	document_signing_beside(s);
}
static void document_signing_in_june_2027(struct scene *s)
{
	document_signing_in_july_2027(s);
	s->spec.not_before = JULY_2027 - 1;
}

/* ---- alternative name -------------------------------------------------------------------------------------------- */

/* clang-format off */
EXTENSION(no_san, "subjectAltName", NULL)
EXTENSION(san_without_address, "subjectAltName", "critical,otherName:1.3.6.1.4.1.311.20.2.3;UTF8:alice")
EXTENSION(san_dns, "subjectAltName", "critical,email:alice@example.org,DNS:example.org")
EXTENSION(san_uri_ip, "subjectAltName", "critical,email:alice@example.org,URI:http://x,IP:192.0.2.1")
EXTENSION(san_upn, "subjectAltName", "critical,email:alice@example.org,otherName:1.3.6.1.4.1.311.20.2.3;UTF8:alice@corp.example")
EXTENSION(san_display_name, "subjectAltName", "critical,email:Alice <alice@example.org>")
EXTENSION(san_utf8_ascii, "subjectAltName", "critical,otherName:1.3.6.1.5.5.7.8.9;UTF8:alice@example.org")
EXTENSION(san_ia5_in_utf8, "subjectAltName", "critical,email:alice@example.org,otherName:1.3.6.1.5.5.7.8.9;IA5:alice@example.org")
/* clang-format on */

static void san_two_in_one(struct scene *s)
{
	static const char octets[] = "alice@example.org,bob@example.org";

	san_octets(s, octets, sizeof octets - 1);
}
static void san_u_label(struct scene *s)
{
	static char address[] = "j\xc3\xb6rg@b\xc3\xbc"
				"cher.example";

	s->address_list[0] = address;
	spec_set(&s->spec, "subjectAltName", "critical,@san");
	s->spec.sections = "[san]\notherName=1.3.6.1.5.5.7.8.9;FORMAT:UTF8,UTF8:j\xc3\xb6rg@b\xc3\xbc"
			   "cher.example\n";
}
static void san_rfc822_not_ascii(struct scene *s)
{
	s->address_list[0] = jorg;
	san_octets(s, jorg, sizeof jorg - 1);
}
static void directory_name(struct scene *s)
{
	spec_set(&s->spec, "subjectAltName", "critical,email:alice@example.org,dirName:who");
	s->spec.sections = "[who]\nCN=alice@example.org\n";
}
static void directory_name_organization(struct scene *s)
{
	directory_name(s);
	s->spec.sections = "[who]\nO=Example AG\n";
}
static void email_in_subject(struct scene *s)
{
	spec_name_typed(&s->spec, "emailAddress", "alice@example.org", V_ASN1_IA5STRING);
	spec_set(&s->spec, "subjectAltName", "email:alice@example.org");
}
static void email_in_other_case(struct scene *s)
{
	spec_name_typed(&s->spec, "emailAddress", "Alice@example.org", V_ASN1_IA5STRING);
	spec_set(&s->spec, "subjectAltName", "email:alice@example.org");
}
static void country_of_nobody(struct scene *s)
{
	spec_name_typed(&s->spec, "C", "ZZ", V_ASN1_PRINTABLESTRING);
}
static void foreign_email_in_subject(struct scene *s)
{
	spec_name_typed(&s->spec, "emailAddress", "bob@example.org", V_ASN1_IA5STRING);
	spec_set(&s->spec, "subjectAltName", "email:alice@example.org");
}
static void two_emails_in_subject(struct scene *s)
{
	spec_name_typed(&s->spec, "emailAddress", "alice@example.org,bob@example.org", V_ASN1_IA5STRING);
	spec_set(&s->spec, "subjectAltName", "email:alice@example.org");
}

/* ---- subject ----------------------------------------------------------------------------------------------------- */

/* clang-format off */
#define SUBJECT(name, attribute, value) \
	static void name(struct scene *s) { \
		spec_name(&s->spec, attribute, value); \
		spec_set(&s->spec, "subjectAltName", "email:alice@example.org"); \
	}
SUBJECT(cn_address, "CN", "alice@example.org")
SUBJECT(cn_name, "CN", "Alice Doe")
SUBJECT(cn_other_address, "CN", "bob@example.org")
SUBJECT(cn_none, "CN", NULL)
SUBJECT(has_organization, "O", "Example AG")
SUBJECT(serial_number, "serialNumber", "17")
SUBJECT(no_organization, "O", NULL)
SUBJECT(no_identifier, "organizationIdentifier", NULL)
SUBJECT(given_name, "GN", "Alice")
SUBJECT(pseudonym, "pseudonym", "Fox")
SUBJECT(street, "street", "Hauptstr. 1")
SUBJECT(domain_component, "DC", "example")
SUBJECT(unknown_attribute, "1.2.3.4.5.6", "x")
SUBJECT(dashes, "OU", "- .")
SUBJECT(not_applicable, "OU", "N/A")
SUBJECT(says_none, "OU", "none")
SUBJECT(long_title, "title", "Leiterin der Abteilung fuer die Pruefung besonders langer Bezeichnungen")
SUBJECT(title, "title", "Dr.")
SUBJECT(postal_code, "postalCode", "10115")
SUBJECT(place, "L", "Berlin")
SUBJECT(no_country, "C", NULL)
SUBJECT(country_zz, "C", "ZZ")
SUBJECT(country_xx, "C", "XX")
SUBJECT(id_lower_case, "organizationIdentifier", "ntrDE-DEK1101R.HRB1")
SUBJECT(id_unknown_scheme, "organizationIdentifier", "ABCDE-1")
SUBJECT(id_no_reference, "organizationIdentifier", "NTRDE")
SUBJECT(id_gov_reference, "organizationIdentifier", "GOVDE-1")
SUBJECT(id_gov, "organizationIdentifier", "GOVDE+BY")
SUBJECT(id_int, "organizationIdentifier", "INTXG")
SUBJECT(id_int_country, "organizationIdentifier", "INTDE")
SUBJECT(id_lei, "organizationIdentifier", "LEIXG-5493001KJTIIGC8Y1R12")
SUBJECT(id_lei_wrong, "organizationIdentifier", "LEIXG-5493001KJTIIGC8Y1R13")
SUBJECT(id_vat_subdivision, "organizationIdentifier", "VATDE+BY-123456789")
SUBJECT(id_vat_hyphens, "organizationIdentifier", "VATDE-12-34-56")
SUBJECT(id_french, "organizationIdentifier", "NTRFR-123456789")
SUBJECT(id_greek_tax, "organizationIdentifier", "VATEL-123456789")
SUBJECT(id_no_euid, "organizationIdentifier", "NTRDE-HRB 12345")
/* clang-format on */

static void long_common_name(struct scene *s)
{
	spec_name(&s->spec, "CN", NULL);
	spec_name_typed(&s->spec, "OU", "Amt fuer die Pruefung besonders langer Bezeichnungen in Zertifikaten", V_ASN1_UTF8STRING);
}
static void bmp_common_name(struct scene *s)
{
	spec_name(&s->spec, "CN", NULL);
	spec_name_typed(&s->spec, "CN", "Alice Doe!", V_ASN1_T61STRING);
}
static void pseudonym_alone(struct scene *s)
{
	pseudonym(s);
	spec_name(&s->spec, "GN", NULL);
	spec_name(&s->spec, "SN", NULL);
	spec_name(&s->spec, "CN", "Fox");
}
static void pseudonym_other_common_name(struct scene *s)
{
	pseudonym_alone(s);
	spec_name(&s->spec, "CN", "Alice Doe");
}
static void nameless(struct scene *s)
{
	spec_name(&s->spec, "GN", NULL);
	spec_name(&s->spec, "SN", NULL);
}
static void street_without_place(struct scene *s)
{
	street(s);
}
static void greek(struct scene *s)
{
	id_greek_tax(s);
	spec_name(&s->spec, "C", "GR");
}
static void individual_with_organization(struct scene *s)
{
	spec_name(&s->spec, "O", "Example AG");
}

static void unit(struct scene *s)
{
	spec_name(&s->spec, "OU", "Sales");
}
static void place_without_country(struct scene *s)
{
	place(s);
	no_country(s);
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

#define MV VALIDATION_MAILBOX
#define OV VALIDATION_ORGANIZATION
#define SV VALIDATION_SPONSOR
#define IV VALIDATION_INDIVIDUAL
#define ST GENERATION_STRICT
#define MP GENERATION_MULTIPURPOSE

static const struct broken {
	const char *name;
	enum validation v;
	enum generation g;
	void (*change)(struct scene *);
	const char *ids;
} cases[] = {
	{"nothing is wrong", MV, ST, nothing, ""},
	/* our own questions */
	{"another key", MV, ST, other_key, "OWN-KEY"},
	{"another address", MV, ST, other_address, "OWN-ADDR"},
	{"an extra address", MV, ST, extra_address, "OWN-ADDR"},
	{"one of our addresses is missing", MV, ST, missing_address, "OWN-ADDR"},
	{"both of our addresses", MV, ST, two_addresses, ""},
	{"the local part in other case is a warning", MV, ST, local_part_in_other_case, "OWN-ADDR?"},
	{"the domain in other case is nothing", MV, ST, domain_in_other_case, ""},
	{"an internationalized address", MV, ST, international, ""},
	{"a foreign address in a directoryName", MV, ST, foreign_address_in_directory_name, "OWN-ADDR SAN-2"},
	{"NUL in an address", MV, ST, nul_in_address, "OWN-ADDR SAN-6"},
	{"expired", MV, ST, expired, "OWN-TIME"},
	{"not yet valid", MV, ST, not_yet_valid, "OWN-TIME"},
	{"backdated before all rules", MV, ST, backdated, "OWN-TIME"},
	{"chain to another root", MV, ST, other_root, "OWN-CHAIN"},
	{"missing intermediate", MV, ST, no_intermediate, "OWN-CHAIN"},
	{"an intermediate that has ended", MV, ST, ended_intermediate, "OWN-CHAIN"},
	{"an intermediate for TLS servers only", MV, ST, tls_intermediate, "OWN-CHAIN"},
	{"no anchors configured", MV, ST, no_anchors, "OWN-CHAIN"},
	{"encrypt-only for sign", MV, ST, encrypt_only, "OWN-USE"},
	{"sign and encrypt for sign, EC", MV, ST, sign_and_encrypt, "OWN-USE"},
	{"sign and encrypt for sign, RSA", MV, ST, sign_and_encrypt_rsa, "OWN-USE"},
	{"dual as asked", MV, ST, dual, ""},
	{"sign-only for dual", MV, ST, dual_wanted_sign_given, "OWN-USE"},
	{"encrypt as asked", MV, ST, encrypt, ""},
	{"sign-only for encrypt", MV, ST, encrypt_wanted_sign_given, "OWN-USE"},
	/* policies */
	{"Multipurpose for Strict", MV, ST, multipurpose_for_strict, "POL-3"},
	{"sponsor for mailbox", MV, ST, sponsor_for_mailbox, "POL-3"},
	{"Legacy", MV, ST, legacy, "POL-2 POL-3"},
	{"Legacy, and that was asked for", MV, GENERATION_LEGACY, nothing, "POL-2"},
	{"no policies", MV, ST, no_policies, "POL-1 POL-3"},
	{"a CA's own policy alone", MV, ST, foreign_policy, "POL-1 POL-3"},
	{"a CA's own policy beside", MV, ST, policy_beside, ""},
	{"two reserved policies", MV, ST, two_policies, "POL-1 POL-3"},
	{"a policy that looks reserved", MV, ST, reserved_that_does_not_exist, "POL-1 POL-3"},
	{"CPS and notice", MV, ST, cps, ""},
	{"CPS by ftp", MV, ST, cps_ftp, "POL-4"},
	{"a notice reference", MV, ST, notice_reference, "POL-4"},
	{"anyPolicy", MV, ST, any_policy, "POL-5?"},
	/* frame, validity */
	{"X.509 version 2", MV, ST, version_2, "FRM-1"},
	{"serial number 0", MV, ST, serial_zero, "FRM-1"},
	{"negative serial number", MV, ST, serial_negative, "FRM-1"},
	{"serial number of 160 bits", MV, ST, serial_long, "FRM-1"},
	{"serial number of 159 bits", MV, ST, serial_longest, ""},
	{"GeneralizedTime in 2026", MV, ST, generalized_time, "FRM-2"},
	{"an extension twice: OpenSSL refuses the chain as well", MV, ST, extension_twice, "OWN-CHAIN FRM-2"},
	{"bytes behind key usage", MV, ST, bytes_behind_key_usage, "FRM-2"},
	{"key usage with a long length", MV, ST, key_usage_not_minimal, "FRM-2"},
	{"cA FALSE spelled out", MV, ST, ca_false_spelled_out, "FRM-2"},
	{"cA FALSE by default", MV, ST, ca_false, ""},
	{"policies that cannot be decoded: no policies to other rows", MV, ST, broken_policies, "FRM-2 POL-1 POL-3"},
	{"algorithms differ: the signature is of neither", MV, ST, algorithms_differ, "OWN-CHAIN FRM-2"},
	{"a unique identifier, put in after signing", MV, ST, unique_id, "OWN-CHAIN FRM-2"},
	{"notBefore cannot be read, changed after signing; no CRL either", MV, ST, unreadable_not_before, "OWN-TIME OWN-CHAIN FRM-2 CRL-1"},
	{"SHA-224 signature", MV, ST, sha224, "FRM-3"},
	{"SHA-1 signature: too weak for the chain as well", MV, ST, sha1, "OWN-CHAIN FRM-3"},
	{"an RSA issuer below 3072 bits", MV, ST, rsa_issuer, "ISS-1?"},
	{"an RSA issuer below 3072 bits on 14 September 2027", MV, ST, rsa_issuer_later, "ISS-1?"},
	{"an RSA issuer below 3072 bits on 15 September 2027", MV, ST, rsa_issuer_too_late, "ISS-1"},
	{"an RSA issuer of 3072 bits that was made too late", MV, ST, small_issuer, "ISS-2?"},
	{"PSS with SHA-384", MV, ST, pss, "ISS-1?"},
	{"SHA-384 by a P-256 issuer", MV, ST, sha384_of_p256, "FRM-4"},
	{"issuer name in other string types", MV, ST, issuer_in_other_strings, "FRM-4"},
	{"an extension nobody knows", MV, ST, unknown_extension, "FRM-5?"},
	{"a critical extension nobody knows: no verifier takes it", MV, ST, unknown_critical_extension, "OWN-CHAIN FRM-5?"},
	{"900 days", MV, ST, days_900, "VAL-1"},
	{"825 days and a second", MV, ST, days_825_and_a_second, "VAL-1"},
	{"825 days are advised against", MV, ST, days_825, "VAL-1?"},
	{"824 days", MV, ST, days_824, ""},
	/* keys; a key that OpenSSL finds weak or cannot load breaks the chain too */
	{"RSA 1024", MV, ST, rsa_1024, "OWN-CHAIN KEY-2"},
	{"RSA of 2050 bits", MV, ST, rsa_odd_length, "KEY-2"},
	{"RSA exponent 1", MV, ST, rsa_exponent_1, "KEY-3 KEY-4?"},
	{"RSA exponent even", MV, ST, rsa_exponent_even, "KEY-3"},
	{"RSA exponent 3", MV, ST, rsa_exponent_3, "KEY-4?"},
	{"RSA modulus with factor 3", MV, ST, rsa_small_factor, "KEY-4?"},
	{"RSA modulus a square", MV, ST, rsa_square, "KEY-4?"},
	{"RSA modulus a cube", MV, ST, rsa_cube, "KEY-4?"},
	{"RSA modulus a 61st power", MV, ST, rsa_power_61, "KEY-4?"},
	{"P-224", MV, ST, p224, "KEY-1"},
	{"P-384", MV, ST, p384, ""},
	{"P-521", MV, ST, p521, ""},
	{"Ed25519", MV, ST, ed25519, ""},
	{"Ed448", MV, ST, ed448, ""},
	{"X25519", MV, ST, x25519, "KEY-1"},
	{"EC point not on its curve", MV, ST, point_not_on_curve, "OWN-CHAIN KEY-5"},
	{"Ed25519 key that is no point", MV, ST, ed25519_no_point, "KEY-5"},
	{"Ed448 key that is no point", MV, ST, ed448_no_point, "KEY-5"},
	{"RSA identifier without NULL", MV, ST, rsa_without_null, "KEY-6"},
	{"RSA key with the PSS identifier", MV, ST, rsa_pss_identifier, "KEY-1"},
	{"ML-DSA key, which OpenSSL 3.0 cannot load", MV, ST, ml_dsa, "OWN-CHAIN"},
	{"ML-DSA key before version 1.0.11", MV, ST, ml_dsa_too_early, "OWN-CHAIN KEY-1"},
	{"ML-DSA key on the first day of version 1.0.11", MV, ST, ml_dsa_on_the_day, "OWN-CHAIN"},
	{"ML-DSA identifier with NULL", MV, ST, ml_dsa_with_null, "OWN-CHAIN KEY-6"},
	{"ML-DSA key that agrees on keys", MV, ST, ml_dsa_agreement, "OWN-CHAIN OWN-USE KU-5"},
	{"ML-KEM key with digitalSignature", MV, ST, ml_kem_sign, "OWN-CHAIN OWN-USE KU-5"},
	{"ML-KEM key to sign", MV, ST, ml_kem, "OWN-CHAIN OWN-USE"},
	/* extensions */
	{"no CRL distribution point", MV, ST, no_crl, "CRL-1"},
	{"CRL by https", MV, ST, crl_https, "CRL-2"},
	{"CRL by ldap beside http", MV, ST, crl_ldap_beside, "CRL-2"},
	{"no authority information access", MV, ST, no_aia, "AIA-1?"},
	{"no issuer certificate location", MV, ST, aia_ocsp_only, "AIA-1?"},
	{"OCSP by https", MV, ST, aia_https, "AIA-2"},
	{"cA true", MV, ST, ca_true, "BC-1"},
	{"a path length", MV, ST, path_length, "BC-1"},
	{"no key usage: everything is allowed", MV, ST, no_ku, "OWN-USE KU-1"},
	{"no key usage where all is wanted", MV, ST, no_ku_dual, "KU-1"},
	{"key usage without a bit: OpenSSL finds it invalid", MV, ST, empty_ku, "OWN-CHAIN OWN-USE KU-1"},
	{"EC keyCertSign beside", MV, ST, sign_and_cert_sign, "KU-4"},
	{"EC nonRepudiation alone: cannot sign mail", MV, ST, commitment_alone, "OWN-USE KU-1 KU-4"},
	{"EC nonRepudiation beside", MV, ST, sign_and_commitment, ""},
	{"EC decipherOnly without keyAgreement", MV, ST, decipher_only_alone, "KU-4"},
	{"EC encipherOnly and decipherOnly", MV, ST, both_only_bits, "KU-4"},
	{"a key usage bit without a name", MV, ST, foreign_ku_bit, "KU-4"},
	{"RSA keyAgreement, which also invites to encrypt", MV, ST, rsa_key_agreement, "OWN-USE KU-2"},
	{"RSA keyCertSign beside", MV, ST, rsa_cert_sign, "KU-2"},
	{"RSA dataEncipherment, Strict", MV, ST, rsa_data_encipherment, "KU-3"},
	{"RSA dataEncipherment, Multipurpose", MV, MP, rsa_data_encipherment, ""},
	{"RSA dataEncipherment alone, Multipurpose", MV, MP, rsa_data_encipherment_alone, "OWN-USE KU-3"},
	{"Ed25519 keyCertSign beside", MV, ST, ed25519_cert_sign, "KU-5"},
	{"Ed25519 keyAgreement", MV, ST, ed25519_agreement, "OWN-USE KU-5"},
	{"Ed448 keyAgreement", MV, ST, ed448_agreement, "OWN-USE KU-5"},
	{"no extended key usage", MV, ST, no_eku, "EKU-1"},
	{"no e-mail protection, Strict", MV, ST, no_email_protection, "EKU-1 EKU-2"},
	{"no e-mail protection, Multipurpose", MV, MP, no_email_protection, "EKU-1"},
	{"client authentication beside, Strict", MV, ST, client_auth_beside, "EKU-2"},
	{"client authentication beside, Multipurpose", MV, MP, client_auth_beside, ""},
	{"document signing beside, Multipurpose, today", MV, MP, document_signing_beside, ""},
	{"document signing beside, Multipurpose, June 2027", MV, MP, document_signing_in_june_2027, ""},
	{"document signing beside, Multipurpose, July 2027", MV, MP, document_signing_in_july_2027, "EKU-2"},
	{"client authentication beside, Multipurpose, July 2027", MV, MP, client_auth_in_july_2027, ""},
	{"TLS server beside, Multipurpose", MV, MP, server_auth_beside, "EKU-3"},
	{"code signing beside, Multipurpose", MV, MP, code_signing_beside, "EKU-3"},
	{"time stamping beside, Multipurpose", MV, MP, time_stamping_beside, "EKU-3"},
	{"any purpose beside, Multipurpose", MV, MP, any_purpose_beside, "EKU-3"},
	{"any purpose beside, Strict", MV, ST, any_purpose_beside, "EKU-2 EKU-3"},
	{"no authority key identifier", MV, ST, no_aki, "AKI-1"},
	{"authority key identifier with issuer", MV, ST, aki_issuer, "AKI-1"},
	{"no subject key identifier", MV, ST, no_ski, "SKI-1?"},
	{"a made-up subject key identifier", MV, ST, ski_made_up, "SKI-1?"},
	{"subject directory attributes", MV, ST, sda, "SDA-1"},
	{"LEI, mailbox", MV, ST, lei, "LEI-1"},
	{"LEI, individual", IV, MP, lei, "LEI-1"},
	{"LEI, organization", OV, ST, lei, ""},
	{"LEI role, organization", OV, ST, lei_role, "LEI-1"},
	{"LEI role, sponsor", SV, ST, lei_role, ""},
	{"LEI with wrong check digits", SV, ST, lei_wrong, "LEI-2"},
	{"Adobe extension, Strict", MV, ST, adobe, "ADB-1"},
	{"Adobe extension, Multipurpose", MV, MP, adobe, ""},
	{"Adobe extension, critical: unknown to verifiers", MV, MP, adobe_critical, "OWN-CHAIN FLG-2"},
	{"qualified statements, critical: unknown to verifiers", MV, ST, qc_critical, "OWN-CHAIN FLG-2"},
	{"authority information access, critical: unknown to verifiers", MV, ST, aia_critical, "OWN-CHAIN FLG-2"},
	{"authority key identifier, critical: unknown to verifiers", MV, ST, aki_critical, "OWN-CHAIN FLG-2"},
	{"subject key identifier, critical: unknown to verifiers", MV, ST, ski_critical, "OWN-CHAIN FLG-2"},
	{"S/MIME capabilities, critical: unknown to verifiers", MV, ST, capabilities_critical, "OWN-CHAIN FLG-2"},
	{"S/MIME capabilities", MV, ST, capabilities, ""},
	{"policies critical", MV, ST, policies_critical, "FLG-1?"},
	{"CRL distribution points critical", MV, ST, crl_critical, "FLG-1?"},
	{"key usage not critical", MV, ST, ku_not_critical, "FLG-1?"},
	{"alternative name critical beside a subject", SV, ST, san_critical, "FLG-1?"},
	{"alternative name not critical without a subject", MV, ST, san_not_critical, "FLG-1"},
	/* alternative name */
	{"no alternative name", MV, ST, no_san, "OWN-ADDR SAN-1"},
	{"no address in it", MV, MP, san_without_address, "OWN-ADDR SAN-1"},
	{"a DNS name", MV, ST, san_dns, "SAN-3"},
	{"a URI and an IP address", MV, ST, san_uri_ip, "SAN-3"},
	{"a user principal name, Strict", MV, ST, san_upn, "SAN-4"},
	{"a user principal name, Multipurpose", MV, MP, san_upn, ""},
	{"a directoryName with our address", MV, ST, directory_name, ""},
	{"a directoryName with an organization", MV, ST, directory_name_organization, "SAN-5"},
	{"an address with a display name: not one of ours", MV, ST, san_display_name, "OWN-ADDR SAN-6"},
	{"two addresses in one: not one of ours", MV, ST, san_two_in_one, "OWN-ADDR SAN-6"},
	{"SmtpUTF8Mailbox for an ASCII address", MV, ST, san_utf8_ascii, "SAN-6"},
	{"SmtpUTF8Mailbox of another string type: not one of ours", MV, ST, san_ia5_in_utf8, "OWN-ADDR SAN-6"},
	{"SmtpUTF8Mailbox with U-labels", MV, ST, san_u_label, "SAN-6"},
	{"rfc822Name that is not ASCII", MV, ST, san_rfc822_not_ascii, "SAN-6"},
	{"our address in emailAddress", MV, ST, email_in_subject, ""},
	{"our address in emailAddress, in other upper and lower case", MV, ST, email_in_other_case, "SAN-2"},
	{"a foreign address in emailAddress: not ours either", MV, ST, foreign_email_in_subject, "OWN-ADDR SAN-2"},
	{"two addresses in one emailAddress: not ours either", MV, ST, two_emails_in_subject, "OWN-ADDR SAN-2"},
	/* subject */
	{"mailbox: our address as commonName", MV, ST, cn_address, ""},
	{"mailbox: a name as commonName", MV, ST, cn_name, "CN-1"},
	{"mailbox: another address as commonName", MV, ST, cn_other_address, "OWN-ADDR SAN-2 CN-1"},
	{"mailbox: an organization", MV, ST, has_organization, "DN-3"},
	{"mailbox: a serial number", MV, ST, serial_number, ""},
	{"organization: no organizationName, so commonName is not it", OV, ST, no_organization, "DN-4 CN-2"},
	{"sponsor: no organizationIdentifier", SV, ST, no_identifier, "DN-4"},
	{"organization: givenName", OV, ST, given_name, "DN-5"},
	{"organization: a person as commonName", OV, ST, cn_name, "CN-2"},
	{"organization: our address as commonName", OV, ST, cn_address, ""},
	{"organization: no commonName", OV, ST, cn_none, ""},
	{"individual: an organization", IV, ST, individual_with_organization, "DN-6"},
	{"streetAddress, Strict: without a place as well", SV, ST, street_without_place, "DN-7 DN-10"},
	{"streetAddress without a place, Multipurpose", SV, MP, street_without_place, "DN-10"},
	{"domainComponent", SV, ST, domain_component, "DN-8"},
	{"an unknown attribute", SV, ST, unknown_attribute, "DN-8"},
	{"dashes for a value", SV, ST, dashes, "DN-2"},
	{"N/A for a value", SV, ST, not_applicable, "DN-2"},
	{"none for a value", SV, ST, says_none, "DN-2"},
	{"a long title", SV, ST, long_title, "DN-1"},
	{"organization: a title", OV, ST, title, "DN-5"},
	{"individual: an organizational unit", IV, ST, unit, "DN-6"},
	{"postalCode, Strict", SV, ST, postal_code, "DN-7"},
	{"postalCode, Multipurpose", SV, MP, postal_code, ""},
	{"a place without country", SV, ST, place_without_country, "DN-10"},
	{"a place with its country", SV, ST, place, ""},
	{"country ZZ, which is not the identifier's either", SV, ST, country_zz, "DN-11 ORG-3"},
	{"country XX, which is not the identifier's", SV, ST, country_xx, "ORG-3"},
	{"individual: country ZZ", IV, ST, country_of_nobody, "DN-11"},
	{"no country", SV, ST, no_country, ""},
	{"sponsor: neither name nor pseudonym", SV, ST, nameless, "DN-9"},
	{"sponsor: pseudonym next to a name, which is the commonName", SV, ST, pseudonym, "DN-9 CN-3"},
	{"individual: pseudonym alone", IV, ST, pseudonym_alone, ""},
	{"individual: commonName is not the pseudonym", IV, ST, pseudonym_other_common_name, "CN-3"},
	{"sponsor: another's address as commonName", SV, ST, cn_other_address, "OWN-ADDR SAN-2 CN-3"},
	{"a long organizational unit", SV, ST, long_common_name, "DN-1"},
	{"commonName in an old string type", SV, ST, bmp_common_name, "DN-1"},
	/* organizationIdentifier */
	{"identifier in lower case", SV, ST, id_lower_case, "ORG-1"},
	{"identifier of an unknown scheme", SV, ST, id_unknown_scheme, "ORG-2"},
	{"identifier without reference", SV, ST, id_no_reference, "ORG-2"},
	{"GOV with a reference", SV, ST, id_gov_reference, "ORG-2"},
	{"GOV with a subdivision", SV, ST, id_gov, ""},
	{"INT", SV, ST, id_int, ""},
	{"INT of a country", SV, ST, id_int_country, "ORG-2"},
	{"LEI", SV, ST, id_lei, ""},
	{"LEI with wrong check digits in the identifier", SV, ST, id_lei_wrong, "ORG-2"},
	{"VAT with a subdivision", SV, ST, id_vat_subdivision, "ORG-2"},
	{"VAT with hyphens in the number", SV, ST, id_vat_hyphens, ""},
	{"identifier of another country", SV, ST, id_french, "ORG-3"},
	{"Greek tax number in Germany", SV, ST, id_greek_tax, "ORG-3"},
	{"Greek tax number in Greece", SV, ST, greek, ""},
	{"German register entry that is no EUID", SV, ST, id_no_euid, "ORG-4?"},
};

START_TEST(one_fault_one_id)
{
	struct scene s;

	scene_init(&s, cases[_i].v, cases[_i].g);
	cases[_i].change(&s);
	expect(cases[_i].name, &s, cases[_i].ids);
	EVP_PKEY_free(made_key);
}
END_TEST

START_TEST(a_crl_distribution_point_without_uri)
{
	struct scene s;

	scene_init(&s, MV, ST);
	crl_directory_name(&s);
	expect("directory name as CRL location", &s, "CRL-1");
}
END_TEST

/* ---- every row has been seen to fail --------------------------------------------------------------------------------- */

/* The rows of the list of checks for the S/MIME Baseline Requirements, and those of the versions after it.  `alone` is a reason why no certificate
 * breaks just this row, NULL where one does. */
#define VERIFIER "verifiers do not take such a certificate: OWN-CHAIN as well"
#define ASKED "a certificate without the policy that was asked for breaks POL-3 as well"
#define NO_ADDRESS "without an address it has not ours either: OWN-ADDR"
static const struct {
	const char *id, *alone;
} reference[] = {
	{"FRM-1", NULL}, {"FRM-2", NULL}, {"FRM-3", NULL}, {"FRM-4", NULL}, {"FRM-5", NULL}, {"VAL-1", NULL}, {"KEY-1", NULL}, {"KEY-2", NULL},
	{"KEY-3", NULL}, {"KEY-4", NULL}, {"KEY-5", NULL}, {"KEY-6", NULL}, {"POL-1", ASKED}, {"POL-2", NULL}, {"POL-3", NULL}, {"POL-4", NULL},
	{"POL-5", NULL}, {"CRL-1", NULL}, {"CRL-2", NULL}, {"AIA-1", NULL}, {"AIA-2", NULL}, {"BC-1", NULL}, {"KU-1", NULL},
	{"KU-2", NULL}, {"KU-3", NULL}, {"KU-4", NULL}, {"KU-5", NULL}, {"EKU-1", NULL}, {"EKU-2", NULL}, {"EKU-3", NULL},
	{"AKI-1", NULL}, {"SKI-1", NULL}, {"SDA-1", NULL}, {"LEI-1", NULL}, {"LEI-2", NULL}, {"ADB-1", NULL}, {"FLG-1", NULL}, {"FLG-2", VERIFIER},
	{"SAN-1", NO_ADDRESS}, {"SAN-2", NULL}, {"SAN-3", NULL}, {"SAN-4", NULL},
	{"SAN-5", NULL}, {"SAN-6", NULL}, {"DN-1", NULL}, {"DN-2", NULL}, {"DN-3", NULL}, {"DN-4", NULL}, {"DN-5", NULL}, {"DN-6", NULL},
	{"DN-7", NULL}, {"DN-8", NULL}, {"DN-9", NULL}, {"DN-10", NULL}, {"DN-11", NULL},
	{"CN-1", NULL}, {"CN-2", NULL}, {"CN-3", NULL}, {"ORG-1", NULL}, {"ORG-2", NULL}, {"ORG-3", NULL}, {"ORG-4", NULL},
	/* 1.0.15, and the gateway's own */
	{"ISS-1", NULL}, {"ISS-2", NULL}, {"OWN-KEY", NULL}, {"OWN-ADDR", NULL}, {"OWN-TIME", NULL}, {"OWN-CHAIN", NULL}, {"OWN-USE", NULL},
};

/* Is the id among these, and is it the only one? */
static bool names_id(const char *ids, const char *id, bool *only)
{
	char copy[128], *save = NULL;
	size_t n = 0;
	bool found = false;

	snprintf(copy, sizeof copy, "%s", ids);
	for (char *word = strtok_r(copy, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save), n++) {
		word[strcspn(word, "?")] = 0;
		found |= strcmp(word, id) == 0;
	}
	*only = found && n == 1;
	return found;
}

START_TEST(every_row_of_the_reference_is_in_the_table_and_has_been_broken)
{
	const char *id = reference[_i].id;
	bool in_table = false, broken = false, alone = false;

	for (size_t i = 0; i < certcheck_rows_n && !in_table; i++)
		in_table = strcmp(certcheck_rows[i].id, id) == 0;
	ck_assert_msg(in_table, "%s is not in the table", id);
	for (int i = 0; i < COUNT(cases); i++) {
		bool only;

		broken |= names_id(cases[i].ids, id, &only);
		alone |= only;
	}
	alone |= strcmp(id, "CRL-1") == 0;
	ck_assert_msg(broken, "no certificate breaks %s", id);
	ck_assert_msg(alone == (reference[_i].alone == NULL), "%s: %s", id,
		alone ? "there is a certificate that breaks just this row" : "no certificate breaks just this row, and no reason is given");
}
END_TEST

START_TEST(the_table_has_no_row_that_no_list_names)
{
	static const char *const others[] = {"OWN-REV", "PRV-POL", "PRV-EKU", "PRV-DAYS"}; /* broken in tests of their own */

	for (size_t i = 0; i < certcheck_rows_n; i++) {
		const struct certcheck_row *row = &certcheck_rows[i];
		bool named = false;

		for (int j = 0; j < COUNT(reference); j++)
			named |= strcmp(reference[j].id, row->id) == 0;
		for (int j = 0; j < COUNT(others); j++)
			named |= strcmp(others[j], row->id) == 0;
		ck_assert_msg(named, "%s", row->id);
		ck_assert_msg(row->section != NULL && row->section[0] != 0 && row->check != NULL, "%s", row->id);
		ck_assert_msg(row->end == 0 || row->first < row->end, "%s", row->id);
	}
}
END_TEST

/* ---- what may be left out ----------------------------------------------------------------------------------------- */

/* Nothing is given.  Without the flags that is an error of each question; with a flag it is that one's end. */
START_TEST(questions_are_left_out_only_when_the_caller_says_so)
{
	static const struct {
		unsigned flag;
		const char *ids;
	} left[] = {{0, "OWN-KEY OWN-ADDR OWN-CHAIN OWN-USE"}, {CERTCHECK_NO_KEY, "OWN-ADDR OWN-CHAIN OWN-USE"},
		{CERTCHECK_NO_ADDRESSES, "OWN-KEY OWN-CHAIN OWN-USE"}, {CERTCHECK_NO_ANCHORS, "OWN-KEY OWN-ADDR OWN-USE"},
		{CERTCHECK_NO_USAGE, "OWN-KEY OWN-ADDR OWN-CHAIN"},
		{CERTCHECK_NO_KEY | CERTCHECK_NO_ADDRESSES | CERTCHECK_NO_ANCHORS | CERTCHECK_NO_USAGE, ""}};
	struct scene s;

	scene_init(&s, MV, ST);
	encrypt_only(&s);
	s.no_spki = s.no_addresses = s.no_anchors = true;
	for (int i = 0; i < COUNT(left); i++) {
		s.not_asked = left[i].flag;
		expect("nothing given", &s, left[i].ids);
	}
}
END_TEST

START_TEST(what_is_given_is_asked_whatever_the_flags_say)
{
	struct scene s;

	scene_init(&s, MV, ST);
	s.not_asked = CERTCHECK_NO_KEY | CERTCHECK_NO_ADDRESSES | CERTCHECK_NO_ANCHORS;
	s.other_key = s.other_anchors = true;
	other_address(&s);
	expect("all wrong", &s, "OWN-KEY OWN-ADDR OWN-CHAIN");
}
END_TEST

START_TEST(without_anchors_the_issuer_at_hand_is_still_looked_at)
{
	struct scene s;

	scene_init(&s, MV, ST);
	s.no_anchors = true;
	s.not_asked = CERTCHECK_NO_ANCHORS;
	issuer_in_other_strings(&s);
	expect("issuer name in other string types", &s, "FRM-4");
	scene_init(&s, MV, ST);
	s.no_anchors = true;
	s.not_asked = CERTCHECK_NO_ANCHORS;
	rsa_issuer(&s);
	expect("an RSA issuer below 3072 bits", &s, "ISS-1?");
}
END_TEST

START_TEST(revocation_that_nobody_asked_about_is_not_good)
{
	struct scene s;

	scene_init(&s, MV, ST);
	s.revocation = REVOCATION_REQUIRED;
	expect("required", &s, "OWN-REV");
	s.revocation = REVOCATION_BEST_EFFORT;
	expect("best effort", &s, "OWN-REV?");
}
END_TEST

/* ---- private profile --------------------------------------------------------------------------------------------- */

static char own_policy[] = "1.3.6.1.4.1.99999.1", other_policy[] = "1.3.6.1.4.1.99999.2", smartcard[] = "1.3.6.1.4.1.311.20.2.2";
static char *policy_list[] = {own_policy}, *other_policy_list[] = {other_policy}, *eku_list[] = {smartcard};

static void private_policy(struct scene *s)
{
	s->profile.policy_oids = (struct strlist){policy_list, 1};
}
static void private_other_policy(struct scene *s)
{
	s->profile.policy_oids = (struct strlist){other_policy_list, 1};
}
static void private_eku(struct scene *s)
{
	s->profile.ekus = (struct strlist){eku_list, 1};
}
static void private_days(struct scene *s)
{
	s->profile.max_days = 30;
}

static const struct {
	const char *name;
	void (*change)(struct scene *);
	const char *ids;
} private_cases[] = {
	{"an internal CA's certificate", nothing, ""},
	{"the admin's policy is there", private_policy, ""},
	{"the admin's policy is not there", private_other_policy, "PRV-POL"},
	{"the admin's purpose is not there", private_eku, "PRV-EKU"},
	{"no e-mail protection", no_email_protection, "PRV-EKU EKU-1?"},
	{"longer than the admin's limit", private_days, "PRV-DAYS"},
	{"900 days", days_900, "PRV-DAYS VAL-1?"},
	{"Legacy", legacy, "PRV-POL"},
	{"no CRL distribution point is advice", no_crl, "CRL-1?"},
	{"a DNS name is advice", san_dns, "FLG-1? SAN-3?"},
	{"another key stays an error", other_key, "OWN-KEY"},
	{"another address stays an error", other_address, "OWN-ADDR FLG-1?"},
	{"a foreign address in the subject stays an error", foreign_email_in_subject, "OWN-ADDR SAN-2?"},
	{"another root stays an error", other_root, "OWN-CHAIN"},
	{"an invitation to encrypt stays an error", sign_and_encrypt, "OWN-USE"},
	{"RSA 1024 stays an error by the chain", rsa_1024, "OWN-CHAIN KEY-2?"},
	{"SHA-1 stays an error by the chain", sha1, "OWN-CHAIN FRM-3?"},
};

START_TEST(private_profile)
{
	struct scene s;

	scene_init(&s, VALIDATION_PRIVATE, ST);
	private_cases[_i].change(&s);
	expect(private_cases[_i].name, &s, private_cases[_i].ids);
	EVP_PKEY_free(made_key);
}
END_TEST

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

START_TEST(an_oversized_certificate_is_refused_unread)
{
	struct scene s;
	struct buf names = BUF_INIT;

	scene_init(&s, MV, ST);
	buf_puts(&names, "critical,email:alice@example.org");
	for (int i = 0; i < 200; i++)
		buf_printf(&names, ",email:u%d@example.org", i);
	spec_set(&s.spec, "subjectAltName", buf_str(&names));
	expect("two hundred addresses", &s, "OWN-SIZE");
	for (int i = 200; i < 4000; i++)
		buf_printf(&names, ",email:u%d@example.org", i);
	spec_set(&s.spec, "subjectAltName", buf_str(&names));
	expect("four thousand addresses", &s, "OWN-SIZE");
	buf_clear(&names);
}
END_TEST

/* ---- chain, anchors, addresses ----------------------------------------------------------------------------------- */

START_TEST(chain_has_the_intermediate_and_no_root)
{
	struct scene s;
	X509 *leaf;
	STACK_OF(X509) *untrusted = sk_X509_new_null(), *chain;
	X509_STORE *anchors = store_of(&authority_root), *others = store_of(&authority_other);
	struct err err = ERR_INIT;

	scene_init(&s, MV, ST);
	leaf = spec_make(&s.spec);
	ck_assert_ptr_null(certcheck_chain(leaf, anchors, untrusted, &err));
	ck_assert_int_eq(err.class, ERR_POLICY);
	sk_X509_push(untrusted, authority_other.certificate);
	sk_X509_push(untrusted, authority_ca.certificate);
	chain = certcheck_chain(leaf, anchors, untrusted, &err);
	ck_assert_int_eq(sk_X509_num(chain), 1);
	ck_assert_int_eq(X509_cmp(sk_X509_value(chain, 0), authority_ca.certificate), 0);
	ck_assert_ptr_null(certcheck_chain(leaf, others, untrusted, NULL));
	ck_assert_ptr_null(certcheck_chain(leaf, NULL, untrusted, &err));
	sk_X509_pop_free(chain, X509_free);
	sk_X509_free(untrusted);
	X509_STORE_free(anchors);
	X509_STORE_free(others);
	X509_free(leaf);
}
END_TEST

START_TEST(a_leaf_below_the_root_has_an_empty_chain)
{
	struct scene s;
	X509 *leaf;
	STACK_OF(X509) * chain;
	X509_STORE *anchors = store_of(&authority_root);

	scene_init(&s, MV, ST);
	s.spec.issuer = &authority_root;
	leaf = spec_make(&s.spec);
	chain = certcheck_chain(leaf, anchors, NULL, NULL);
	ck_assert_ptr_nonnull(chain);
	ck_assert_int_eq(sk_X509_num(chain), 0);
	sk_X509_free(chain);
	X509_free(leaf);
	X509_STORE_free(anchors);
}
END_TEST

static void write_pem(const char *path, X509 *a, X509 *b, const char *text)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	if (a != NULL)
		PEM_write_X509(f, a);
	if (b != NULL)
		PEM_write_X509(f, b);
	fputs(text, f);
	fclose(f);
}

START_TEST(anchors_are_read_or_refused_with_the_file_name)
{
	char path[] = "/tmp/test_certcheck.XXXXXX";
	int fd = mkstemp(path);
	struct err err = ERR_INIT;
	X509_STORE *store;

	ck_assert_int_ge(fd, 0);
	write_pem(path, authority_root.certificate, authority_other.certificate, "and some words\n");
	store = certcheck_anchors(path, &err);
	ck_assert_msg(store != NULL, "%s", err.text);
	X509_STORE_free(store);
	write_pem(path, authority_ca.certificate, NULL, "");
	ck_assert_ptr_null(certcheck_anchors(path, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_str_eq(err.subject, path);
	write_pem(path, NULL, NULL, "");
	ck_assert_ptr_null(certcheck_anchors(path, &err));
	write_pem(path, authority_root.certificate, NULL, "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
	ck_assert_ptr_null(certcheck_anchors(path, &err));
	ck_assert_uint_eq(ERR_peek_error(), 0);
	remove(path);
	ck_assert_ptr_null(certcheck_anchors(path, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	close(fd);
}
END_TEST

START_TEST(an_intermediate_among_the_anchors_ends_no_chain)
{
	struct scene s;
	X509 *leaf;
	X509_STORE *anchors = store_of(&authority_ca);

	scene_init(&s, MV, ST);
	leaf = spec_make(&s.spec);
	ck_assert_ptr_null(certcheck_chain(leaf, anchors, NULL, NULL));
	X509_free(leaf);
	X509_STORE_free(anchors);
}
END_TEST

static const struct {
	const char *san, *address;
	bool has;
} has_cases[] = {
	{"email:alice@example.org", "alice@example.org", true},
	{"email:Alice@EXAMPLE.org", "aLICE@example.ORG", true},
	{"email:alice@example.org", "bob@example.org", false},
	{"email:alice@example.org", "alice@example.org.attacker.example", false},
	{"email:alice@example.org", "alice", false},
	{"email:bob@example.org,email:alice@example.org", "alice@example.org", true},
	{"DNS:example.org", "alice@example.org", false},
	{"email:alice@xn--bcher-kva.example",
		"alice@b\xc3\xbc"
		"cher.example",
		true},
	{"@san", "j\xc3\xb6rg@example.org", true},
	{"otherName:1.3.6.1.4.1.311.20.2.3;UTF8:alice@example.org", "alice@example.org", false},
	{NULL, "alice@example.org", false},
};

START_TEST(has_address)
{
	struct scene s;
	X509 *leaf;

	scene_init(&s, MV, ST);
	s.spec.sections = "[san]\notherName=1.3.6.1.5.5.7.8.9;FORMAT:UTF8,UTF8:j\xc3\xb6rg@example.org\n";
	spec_set(&s.spec, "subjectAltName", has_cases[_i].san);
	leaf = spec_make(&s.spec);
	ck_assert_msg(certcheck_has_address(leaf, has_cases[_i].address) == has_cases[_i].has, "%s in %s", has_cases[_i].address,
		has_cases[_i].san != NULL ? has_cases[_i].san : "none");
	X509_free(leaf);
}
END_TEST

START_TEST(findings_are_one_line_each)
{
	struct scene s;
	X509 *leaf;
	struct findings f;
	struct buf text = BUF_INIT;

	scene_init(&s, MV, ST);
	multipurpose_for_strict(&s);
	leaf = spec_make(&s.spec);
	scene_check(&s, leaf, &f);
	findings_text(&f, &text);
	ck_assert_str_eq(buf_str(&text),
		"POL-3 profile asked for: asked for mailbox-strict (2.23.140.1.5.1.3), the certificate says 2.23.140.1.5.1.2\n");
	findings_clear(&f);
	ck_assert_ptr_null(f.v);
	buf_clear(&text);
	X509_free(leaf);
}
END_TEST

/* ---- damage ------------------------------------------------------------------------------------------------------ */

START_TEST(any_flipped_octet_is_survived)
{
	struct scene s;
	X509 *leaf;
	unsigned char *der = NULL;
	int len;

	scene_init(&s, SV, ST);
	lei(&s);
	leaf = spec_make(&s.spec);
	len = i2d_X509(leaf, &der);
	for (int i = 0; i < len; i++) {
		static const unsigned char flips[] = {0x01, 0x80, 0xff};
		const unsigned char *p = der;
		unsigned char flip = flips[i % 3];
		struct findings f;
		X509 *x;

		der[i] ^= flip;
		x = d2i_X509(NULL, &p, len);
		ERR_clear_error();
		if (x != NULL) {
			scene_check(&s, x, &f);
			ck_assert_msg(f.errors > 0, "octet %d: a changed certificate is accepted", i);
			findings_clear(&f);
			certcheck_has_address(x, alice);
		}
		X509_free(x);
		der[i] ^= flip;
	}
	OPENSSL_free(der);
	X509_free(leaf);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("certcheck");
	TCase *t = tcase_create("certcheck");
	SRunner *r;
	int failed;

	tcase_add_unchecked_fixture(t, certificates_setup, certificates_teardown); /* once, for all forked tests */
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, clean_certificates_have_no_finding, 0, 8);
	tcase_add_loop_test(t, one_fault_one_id, 0, COUNT(cases));
	tcase_add_loop_test(t, every_row_of_the_reference_is_in_the_table_and_has_been_broken, 0, COUNT(reference));
	tcase_add_test(t, the_table_has_no_row_that_no_list_names);
	tcase_add_test(t, questions_are_left_out_only_when_the_caller_says_so);
	tcase_add_test(t, what_is_given_is_asked_whatever_the_flags_say);
	tcase_add_test(t, without_anchors_the_issuer_at_hand_is_still_looked_at);
	tcase_add_test(t, revocation_that_nobody_asked_about_is_not_good);
	tcase_add_test(t, a_crl_distribution_point_without_uri);
	tcase_add_loop_test(t, private_profile, 0, COUNT(private_cases));
	tcase_add_test(t, an_oversized_certificate_is_refused_unread);
	tcase_add_test(t, chain_has_the_intermediate_and_no_root);
	tcase_add_test(t, a_leaf_below_the_root_has_an_empty_chain);
	tcase_add_test(t, anchors_are_read_or_refused_with_the_file_name);
	tcase_add_test(t, an_intermediate_among_the_anchors_ends_no_chain);
	tcase_add_loop_test(t, has_address, 0, COUNT(has_cases));
	tcase_add_test(t, findings_are_one_line_each);
	tcase_add_test(t, any_flipped_octet_is_survived);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
