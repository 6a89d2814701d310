/*
 * tests/unit/test_profile.c - keys and certificate requests, read back with OpenSSL.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "policy/policy.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

/* Writable strings for structs that own theirs. */
static char rsa2048[] = "rsa:2048", rsa3072[] = "rsa:3072", p256[] = "ec:p256", p384[] = "ec:p384", rsa1024[] = "rsa:1024";

static const struct {
	const char *name;
	char *key_type;
	const char *algorithm;
	int bits, signature;
} keys[] = {
	{"RSA of 2048 bits", rsa2048, "RSA", 2048, NID_sha256WithRSAEncryption},
	{"RSA of 3072 bits", rsa3072, "RSA", 3072, NID_sha256WithRSAEncryption},
	{"P-256 signs with SHA-256", p256, "EC", 256, NID_ecdsa_with_SHA256},
	{"P-384 signs with SHA-384", p384, "EC", 384, NID_ecdsa_with_SHA384},
};

static struct certificate_profile profile(enum validation v, enum usage u, char *key_type)
{
	return (struct certificate_profile){.validation = v, .generation = GENERATION_STRICT, .usage = u, .key_type = key_type};
}

/* Builds a request and parses it; NULL when it was refused, with the reason in err. */
static X509_REQ *request_for(
	const struct certificate_profile *p, const struct strlist *addresses, const struct directory_person *person, struct err *err)
{
	EVP_PKEY *key = profile_key_new(p, err);
	struct buf der = BUF_INIT;
	X509_REQ *req = NULL;

	ck_assert_ptr_nonnull(key);
	if (profile_csr(&der, p, key, addresses, person, err)) {
		const unsigned char *at = (const unsigned char *)der.data;

		req = d2i_X509_REQ(NULL, &at, (long)der.len);
		ck_assert_ptr_nonnull(req);
		ck_assert_ptr_eq(at, der.data + der.len);
		ck_assert_int_eq(X509_REQ_verify(req, key), 1);
	} else {
		ck_assert_uint_eq(der.len, 0);
	}
	ck_assert_uint_eq(ERR_peek_error(), 0);
	EVP_PKEY_free(key);
	buf_clear(&der);
	return req;
}

static X509_REQ *request_to(const struct certificate_profile *p, char *address, const struct directory_person *person, struct err *err)
{
	struct strlist list = {&address, 1};

	return request_for(p, &list, person, err);
}

/* The subject as text, "" for an empty one. */
static const char *subject_text(X509_REQ *req, char out[512])
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data;
	long len;

	X509_NAME_print_ex(bio, X509_REQ_get_subject_name(req), 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB & ~XN_FLAG_SPC_EQ);
	len = BIO_get_mem_data(bio, &data);
	snprintf(out, 512, "%.*s", (int)len, data);
	BIO_free(bio);
	return out;
}

/* The extension, decoded; critical says how it is flagged. */
static void *extension(X509_REQ *req, int nid, int *critical)
{
	STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(req);
	void *decoded = X509V3_get_d2i(extensions, nid, critical, NULL);

	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	return decoded;
}

START_TEST(keys_are_what_was_asked_for)
{
	struct certificate_profile p = profile(VALIDATION_MAILBOX, USAGE_SIGN, keys[_i].key_type);
	struct err err = ERR_INIT;
	char address[] = "alice@example.org";
	X509_REQ *req = request_to(&p, address, NULL, &err);
	EVP_PKEY *key;

	ck_assert_msg(req != NULL, "%s: %s", keys[_i].name, err.text);
	key = X509_REQ_get0_pubkey(req);
	ck_assert_msg(EVP_PKEY_is_a(key, keys[_i].algorithm), "%s", keys[_i].name);
	ck_assert_int_eq(EVP_PKEY_get_bits(key), keys[_i].bits);
	ck_assert_int_eq(X509_REQ_get_signature_nid(req), keys[_i].signature);
	X509_REQ_free(req);
}
END_TEST

START_TEST(two_keys_are_never_the_same)
{
	struct certificate_profile p = profile(VALIDATION_MAILBOX, USAGE_SIGN, p256);
	EVP_PKEY *a = profile_key_new(&p, NULL), *b = profile_key_new(&p, NULL);

	ck_assert_int_ne(EVP_PKEY_eq(a, b), 1);
	EVP_PKEY_free(a);
	EVP_PKEY_free(b);
}
END_TEST

START_TEST(a_key_type_that_is_not_offered_is_refused)
{
	struct certificate_profile p = profile(VALIDATION_MAILBOX, USAGE_SIGN, rsa1024);
	struct err err = ERR_INIT;

	ck_assert_ptr_null(profile_key_new(&p, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	p.key_type = NULL;
	ck_assert_ptr_null(profile_key_new(&p, &err));
}
END_TEST

enum { SIGN = 1, KEY_ENC = 1 << 2, AGREE = 1 << 4 };
static const struct {
	const char *name;
	enum usage usage;
	char *key_type;
	int bits;
} usages[] = {
	{"an RSA key to sign", USAGE_SIGN, rsa2048, SIGN},
	{"an RSA key to be encrypted to", USAGE_ENCRYPT, rsa2048, KEY_ENC},
	{"an RSA key for both", USAGE_DUAL, rsa2048, SIGN | KEY_ENC},
	{"an EC key to sign", USAGE_SIGN, p256, SIGN},
	{"an EC key to be encrypted to", USAGE_ENCRYPT, p256, AGREE},
	{"an EC key for both", USAGE_DUAL, p384, SIGN | AGREE},
};

START_TEST(key_usage_is_what_the_key_is_for)
{
	struct certificate_profile p = profile(VALIDATION_MAILBOX, usages[_i].usage, usages[_i].key_type);
	struct err err = ERR_INIT;
	char address[] = "alice@example.org";
	X509_REQ *req = request_to(&p, address, NULL, &err);
	int critical = -1, bits = 0;
	ASN1_BIT_STRING *ku = extension(req, NID_key_usage, &critical);
	EXTENDED_KEY_USAGE *eku = extension(req, NID_ext_key_usage, NULL);

	ck_assert_int_eq(critical, 1);
	for (int i = 0; i < 16; i++)
		bits |= ASN1_BIT_STRING_get_bit(ku, i) << i;
	ck_assert_msg(bits == usages[_i].bits, "%s: %#x", usages[_i].name, bits);
	ck_assert_int_eq(sk_ASN1_OBJECT_num(eku), 1);
	ck_assert_int_eq(OBJ_obj2nid(sk_ASN1_OBJECT_value(eku, 0)), NID_email_protect);
	ASN1_BIT_STRING_free(ku);
	EXTENDED_KEY_USAGE_free(eku);
	X509_REQ_free(req);
}
END_TEST

static const struct {
	const char *name, *address, *rfc822, *utf8;
} addresses[] = {
	{"a plain address", "alice@example.org", "alice@example.org", NULL},
	{"an upper-case domain is written in lower case", "Alice@EXAMPLE.Org", "Alice@example.org", NULL},
	{"plus and apostrophe stay", "o'brien+x@example.org", "o'brien+x@example.org", NULL},
	{"a quoted local part keeps its quotes", "\"a b\"@example.org", "\"a b\"@example.org", NULL},
	{"an internationalized domain is written as A-labels",
		"alice@b\xc3\xbc"
		"cher.example",
		"alice@xn--bcher-kva.example", NULL},
	{"an internationalized local part is a SmtpUTF8Mailbox",
		"j\xc3\xb6rg@b\xc3\xbc"
		"cher.example",
		NULL, "j\xc3\xb6rg@xn--bcher-kva.example"},
};

START_TEST(the_alternative_name_holds_the_address)
{
	struct certificate_profile p = profile(VALIDATION_MAILBOX, USAGE_SIGN, p256);
	struct err err = ERR_INIT;
	char address[128], subject[512];
	X509_REQ *req;
	GENERAL_NAMES *names;
	GENERAL_NAME *name;
	int critical = -1;

	snprintf(address, sizeof address, "%s", addresses[_i].address);
	req = request_to(&p, address, NULL, &err);
	ck_assert_msg(req != NULL, "%s: %s", addresses[_i].name, err.text);
	/* The address where it fits, for verifiers that want a subject; nothing else. */
	subject_text(req, subject);
	ck_assert_msg(subject[0] == '\0' || strncmp(subject, "CN=", 3) == 0, "%s", subject);
	ck_assert_msg(strchr(subject, ',') == NULL || strchr(addresses[_i].address, ',') != NULL, "%s", subject);
	names = extension(req, NID_subject_alt_name, &critical);
	/* RFC 5280: critical when there is no subject */
	ck_assert_int_eq(critical, subject[0] == '\0');
	ck_assert_int_eq(sk_GENERAL_NAME_num(names), 1);
	name = sk_GENERAL_NAME_value(names, 0);
	if (addresses[_i].rfc822 != NULL) {
		ck_assert_int_eq(name->type, GEN_EMAIL);
		ck_assert_str_eq((const char *)name->d.rfc822Name->data, addresses[_i].rfc822);
	} else {
		ck_assert_int_eq(name->type, GEN_OTHERNAME);
		ck_assert_int_eq(OBJ_obj2nid(name->d.otherName->type_id), NID_id_on_SmtpUTF8Mailbox);
		ck_assert_int_eq(name->d.otherName->value->type, V_ASN1_UTF8STRING);
		ck_assert_str_eq((const char *)name->d.otherName->value->value.utf8string->data, addresses[_i].utf8);
	}
	GENERAL_NAMES_free(names);
	X509_REQ_free(req);
}
END_TEST

START_TEST(several_addresses_are_all_there_in_order)
{
	struct certificate_profile p = profile(VALIDATION_MAILBOX, USAGE_SIGN, p256);
	char a[] = "a@example.org", b[] = "b@example.org", *v[] = {a, b};
	struct strlist list = {v, 2};
	X509_REQ *req = request_for(&p, &list, NULL, NULL);
	GENERAL_NAMES *names = extension(req, NID_subject_alt_name, NULL);

	ck_assert_int_eq(sk_GENERAL_NAME_num(names), 2);
	ck_assert_str_eq((const char *)sk_GENERAL_NAME_value(names, 1)->d.rfc822Name->data, b);
	GENERAL_NAMES_free(names);
	X509_REQ_free(req);
}
END_TEST

START_TEST(what_is_no_address_is_refused)
{
	struct certificate_profile p = profile(VALIDATION_MAILBOX, USAGE_SIGN, p256);
	struct err err = ERR_INIT;
	char bad[] = "alice@example.org\r\nBcc: x";
	struct strlist none = {0};

	ck_assert_ptr_null(request_to(&p, bad, NULL, &err));
	ck_assert_int_eq(err.class, ERR_POLICY);
	ck_assert_ptr_null(request_for(&p, &none, NULL, &err));
	ck_assert_int_eq(err.class, ERR_BUG);
}
END_TEST

/* ---- subjects ---------------------------------------------------------------------------------------------------- */

#define LONG "a very long display name that has more than sixty-four characters in it, so"
static const struct subject_case {
	const char *name;
	enum validation validation;
	const char *given, *surname, *display, *organization;
	const char *subject; /* NULL = refused */
	const char *says;
} subjects[] = {
	{"a mailbox has its address and no name", VALIDATION_MAILBOX, "Alice", "Doe", "Alice Doe", "Example AG", "CN=alice@example.org", NULL},
	{"a person and the sponsor", VALIDATION_SPONSOR, "Alice", "Doe", "Doe, Alice", "Example AG",
		"O=Example AG, GN=Alice, SN=Doe, CN=\"Doe, Alice\"", NULL},
	{"umlauts, apostrophe, hyphen stay as they are", VALIDATION_SPONSOR, "J\xc3\xb6rg", "O'Neill-M\xc3\xbcller",
		"J\xc3\xb6rg O'Neill-M\xc3\xbcller",
		"B\xc3\xbc"
		"cher & Co",
		"O=B\xc3\xbc"
		"cher & Co, GN=J\xc3\xb6rg, SN=O'Neill-M\xc3\xbcller, CN=J\xc3\xb6rg O'Neill-M\xc3\xbcller",
		NULL},
	{"a surname alone is enough", VALIDATION_SPONSOR, NULL, "Doe", NULL, "Example AG", "O=Example AG, SN=Doe", NULL},
	{"a display name is never split", VALIDATION_SPONSOR, NULL, NULL, "Alice Doe", "Example AG", NULL, "givenName"},
	{"an empty name is none", VALIDATION_SPONSOR, "", "", "Alice Doe", "Example AG", NULL, "givenName"},
	{"no sponsor", VALIDATION_SPONSOR, "Alice", "Doe", "Alice Doe", NULL, NULL, "organization"},
	{"a display name that is too long is left out", VALIDATION_SPONSOR, "Alice", "Doe", LONG, "Example AG",
		"O=Example AG, GN=Alice, SN=Doe", NULL},
	{"an organization that is too long is not cut", VALIDATION_SPONSOR, "Alice", "Doe", NULL, LONG, NULL, "64 characters"},
	{"a line feed in a name", VALIDATION_SPONSOR, "Alice\nX", "Doe", NULL, "Example AG", NULL, "single line"},
	{"a name that is no UTF-8", VALIDATION_SPONSOR, "J\xf6rg", "Doe", NULL, "Example AG", NULL, "UTF-8"},
	{"an organization names no person", VALIDATION_ORGANIZATION, "Alice", "Doe", "Alice Doe", "Example AG",
		"O=Example AG, CN=Example AG", NULL},
	{"an individual names no organization", VALIDATION_INDIVIDUAL, "Alice", "Doe", "Alice Doe", "Example AG",
		"GN=Alice, SN=Doe, CN=Alice Doe", NULL},
	{"a private profile takes what is there", VALIDATION_PRIVATE, NULL, NULL, "Info Desk", NULL, "CN=Info Desk", NULL},
};

START_TEST(subject_comes_from_the_directory)
{
	const struct subject_case *c = &subjects[_i];
	struct certificate_profile p = profile(c->validation, USAGE_SIGN, p256);
	struct directory_person person = {.given_name = str_dup(c->given),
		.surname = str_dup(c->surname),
		.display_name = str_dup(c->display),
		.organization = str_dup(c->organization)};
	struct err err = ERR_INIT;
	char address[] = "alice@example.org", text[512];
	X509_REQ *req = request_to(&p, address, &person, &err);

	if (c->subject == NULL) {
		ck_assert_msg(req == NULL, "%s: %s", c->name, req != NULL ? subject_text(req, text) : "");
		ck_assert_msg(strstr(err.text, c->says) != NULL, "%s: %s", c->name, err.text);
	} else {
		ck_assert_msg(req != NULL, "%s: %s", c->name, err.text);
		ck_assert_msg(strcmp(subject_text(req, text), c->subject) == 0, "%s: %s", c->name, text);
	}
	X509_REQ_free(req);
	free(person.given_name);
	free(person.surname);
	free(person.display_name);
	free(person.organization);
}
END_TEST

START_TEST(a_named_type_without_a_person_is_refused)
{
	struct certificate_profile p = profile(VALIDATION_SPONSOR, USAGE_SIGN, p256);
	struct err err = ERR_INIT;
	char address[] = "alice@example.org", text[512];
	X509_REQ *req;

	ck_assert_ptr_null(request_to(&p, address, NULL, &err));
	ck_assert_int_eq(err.class, ERR_POLICY);
	p.validation = VALIDATION_PRIVATE;
	req = request_to(&p, address, NULL, &err);
	ck_assert_str_eq(subject_text(req, text), "CN=alice@example.org");
	X509_REQ_free(req);
}
END_TEST

START_TEST(a_private_profile_asks_for_its_own_purposes)
{
	struct certificate_profile p = profile(VALIDATION_PRIVATE, USAGE_SIGN, p256);
	char a[] = "1.3.6.1.5.5.7.3.4", b[] = "1.3.6.1.4.1.311.20.2.2", bad[] = "emailProtection", *v[] = {a, b}, *w[] = {bad};
	char address[] = "alice@example.org";
	struct err err = ERR_INIT;
	EXTENDED_KEY_USAGE *eku;
	X509_REQ *req;

	p.ekus = (struct strlist){v, 2};
	req = request_to(&p, address, NULL, &err);
	eku = extension(req, NID_ext_key_usage, NULL);
	ck_assert_int_eq(sk_ASN1_OBJECT_num(eku), 2);
	EXTENDED_KEY_USAGE_free(eku);
	X509_REQ_free(req);
	p.ekus = (struct strlist){w, 1};
	ck_assert_ptr_null(request_to(&p, address, NULL, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
}
END_TEST

START_TEST(names_and_identifiers)
{
	struct certificate_profile p = {.validation = VALIDATION_MAILBOX, .generation = GENERATION_STRICT};

	ck_assert_str_eq(profile_policy_oid(&p), "2.23.140.1.5.1.3");
	p = (struct certificate_profile){.validation = VALIDATION_INDIVIDUAL, .generation = GENERATION_MULTIPURPOSE};
	ck_assert_str_eq(profile_policy_oid(&p), "2.23.140.1.5.4.2");
	p.validation = VALIDATION_PRIVATE;
	ck_assert_ptr_null(profile_policy_oid(&p));
	ck_assert_str_eq(validation_name(VALIDATION_SPONSOR), "sponsor");
	ck_assert_str_eq(generation_name(GENERATION_MULTIPURPOSE), "multipurpose");
	ck_assert_str_eq(usage_name(USAGE_DUAL), "dual");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("profile");
	TCase *t = tcase_create("profile");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 60); /* RSA keys under sanitizers */
	tcase_add_loop_test(t, keys_are_what_was_asked_for, 0, COUNT(keys));
	tcase_add_test(t, two_keys_are_never_the_same);
	tcase_add_test(t, a_key_type_that_is_not_offered_is_refused);
	tcase_add_loop_test(t, key_usage_is_what_the_key_is_for, 0, COUNT(usages));
	tcase_add_loop_test(t, the_alternative_name_holds_the_address, 0, COUNT(addresses));
	tcase_add_test(t, several_addresses_are_all_there_in_order);
	tcase_add_test(t, what_is_no_address_is_refused);
	tcase_add_loop_test(t, subject_comes_from_the_directory, 0, COUNT(subjects));
	tcase_add_test(t, a_named_type_without_a_person_is_refused);
	tcase_add_test(t, a_private_profile_asks_for_its_own_purposes);
	tcase_add_test(t, names_and_identifiers);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
