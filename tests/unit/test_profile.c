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
#include "tests/unit/certificates.h"
#include "tests/unit/nasty_names.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define NOW 1795000000

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
static const char *subject_text(X509_REQ *req, char out[1024])
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data;
	long len;

	X509_NAME_print_ex(bio, X509_REQ_get_subject_name(req), 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB & ~XN_FLAG_SPC_EQ);
	len = BIO_get_mem_data(bio, &data);
	snprintf(out, 1024, "%.*s", (int)len, data);
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
	char address[128], subject[1024];
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
#define ID "VATDE-123456789"
#define EUID "NTRDE-DEK1101R.HRB116737"
static const struct subject_case {
	const char *name;
	enum validation validation;
	const char *given, *surname, *display, *organization, *identifier; /* of the entry */
	const char *subject; /* NULL = refused */
	const char *says;
	/* of the configuration */
	const char *its_organization, *its_identifier, *its_country;
	/* more of the entry */
	const char *country, *locality, *state, *unit, *title;
	enum directory_kind kind;
} subjects[] = {
	{"a mailbox has its address and no name", VALIDATION_MAILBOX, "Alice", "Doe", "Alice Doe", "Example AG", ID,
		.subject = "CN=alice@example.org"},
	{"a mailbox names nothing of what is asked of others", VALIDATION_MAILBOX, "Alice", "Doe", "Alice Doe", NULL, NULL,
		.subject = "CN=alice@example.org", .country = "DE", .locality = "Berlin", .state = "Berlin", .unit = "Sales", .title = "Dr."},
	{"a person and the sponsor", VALIDATION_SPONSOR, "Alice", "Doe", "Doe, Alice", "Example AG", ID,
		.subject = "O=Example AG, organizationIdentifier=VATDE-123456789, GN=Alice, SN=Doe, CN=\"Doe, Alice\""},
	{"umlauts, apostrophe, hyphen stay as they are", VALIDATION_SPONSOR, "J\xc3\xb6rg", "O'Neill-M\xc3\xbcller", "J\xc3\xb6rg O'Neill-M\xc3\xbcller", "B\xc3\xbc" "cher & Co", ID,
		.subject = "O=B\xc3\xbc" "cher & Co, organizationIdentifier=VATDE-123456789, GN=J\xc3\xb6rg, SN=O'Neill-M\xc3\xbcller, CN=J\xc3\xb6rg O'Neill-M\xc3\xbcller"},
	{"everything that may be asked for", VALIDATION_SPONSOR, "Alice", "Doe", "Alice Doe", "Example AG", EUID,
		.subject = "C=DE, ST=Bayern, L=M\xc3\xbcnchen, O=Example AG, organizationIdentifier=NTRDE-DEK1101R.HRB116737, OU=Sales, title=Dr., GN=Alice, SN=Doe, CN=Alice Doe",
		.country = "DE", .locality = "M\xc3\xbcnchen", .state = "Bayern", .unit = "Sales", .title = "Dr."},
	{"the configuration names the organization of everybody", VALIDATION_SPONSOR, "Alice", "Doe", NULL, NULL, NULL,
		.subject = "C=DE, O=Example AG, organizationIdentifier=VATDE-123456789, GN=Alice, SN=Doe", .its_organization = "Example AG",
		.its_identifier = ID, .its_country = "DE"},
	{"an entry that names the same one", VALIDATION_SPONSOR, "Alice", "Doe", NULL, "Example AG", NULL,
		.subject = "C=DE, O=Example AG, organizationIdentifier=VATDE-123456789, GN=Alice, SN=Doe", .its_organization = "Example AG",
		.its_identifier = ID, .its_country = "DE"},
	{"an identifier that lost its hyphen", VALIDATION_SPONSOR, "Alice", "Doe", NULL, "Filiale GmbH", "VATATU12345678",
		.says = "has not the form", .its_organization = "Example AG", .its_identifier = ID, .its_country = "DE"},
	{"an entry's own organization and identifier overrule it, and its country is not theirs", VALIDATION_SPONSOR, "Alice", "Doe", NULL, "Filiale GmbH", "VATAT-U12345678",
		.subject = "O=Filiale GmbH, organizationIdentifier=VATAT-U12345678, GN=Alice, SN=Doe", .its_organization = "Example AG",
		.its_identifier = ID, .its_country = "DE"},
	{"an entry of another organization does not get the configured identifier", VALIDATION_SPONSOR, "Alice", "Doe", NULL, "Filiale GmbH", NULL,
		.says = "another organization than certificate.organization", .its_organization = "Example AG", .its_identifier = ID,
		.its_country = "DE"},
	{"an identifier without an organization beside it is everybody's", VALIDATION_SPONSOR, "Alice", "Doe", NULL, "Example AG", NULL,
		.subject = "O=Example AG, organizationIdentifier=VATDE-123456789, GN=Alice, SN=Doe", .its_identifier = ID},
	{"a surname alone is enough", VALIDATION_SPONSOR, NULL, "Doe", NULL, "Example AG", ID,
		.subject = "O=Example AG, organizationIdentifier=VATDE-123456789, SN=Doe"},
	{"a hyphen that the schema wanted is no surname", VALIDATION_SPONSOR, "Alice", "-", "-", "Example AG", ID,
		.subject = "O=Example AG, organizationIdentifier=VATDE-123456789, GN=Alice"},
	{"a hyphen alone is no name", VALIDATION_SPONSOR, NULL, " - ", "Info", "Example AG", ID,
		.says = "given name nor surname"},
	{"somebody may be called Na", VALIDATION_SPONSOR, "Na", NULL, NULL, "Example AG", ID,
		.subject = "O=Example AG, organizationIdentifier=VATDE-123456789, GN=Na"},
	{"no organization is called n/a", VALIDATION_SPONSOR, "Alice", "Doe", NULL, "n/a", ID,
		.says = "name its organization"},
	{"a display name is never split", VALIDATION_SPONSOR, NULL, NULL, "Alice Doe", "Example AG", ID,
		.says = "givenName"},
	{"an empty name is none", VALIDATION_SPONSOR, "", "", "Alice Doe", "Example AG", ID,
		.says = "givenName"},
	{"no sponsor", VALIDATION_SPONSOR, "Alice", "Doe", "Alice Doe", NULL, ID,
		.says = "certificate.organization"},
	{"no identifier", VALIDATION_SPONSOR, "Alice", "Doe", "Alice Doe", "Example AG", NULL,
		.says = "certificate.organization-identifier"},
	{"an identifier of no form", VALIDATION_SPONSOR, "Alice", "Doe", NULL, "Example AG", "HRB 116737",
		.says = "has not the form"},
	{"an identifier of an unknown scheme", VALIDATION_SPONSOR, "Alice", "Doe", NULL, "Example AG", "ABCDE-1",
		.says = "its scheme is none of"},
	{"an identifier without a reference", VALIDATION_SPONSOR, "Alice", "Doe", NULL, "Example AG", "VATDE",
		.says = "reference is missing"},
	{"an LEI with wrong check digits", VALIDATION_SPONSOR, "Alice", "Doe", NULL, "Example AG", "LEIXG-529900T8BM49AURSDO56",
		.says = "check digits"},
	{"an identifier of another country", VALIDATION_SPONSOR, "Alice", "Doe", NULL, "Example AG", "VATAT-U12345678",
		.says = "country AT", .country = "DE"},
	{"the tax prefix of Greece", VALIDATION_SPONSOR, "Alice", "Doe", NULL, "Example AE", "VATEL-123456789",
		.subject = "C=GR, O=Example AE, organizationIdentifier=VATEL-123456789, GN=Alice, SN=Doe", .country = "gr"},
	{"a country by its name", VALIDATION_SPONSOR, "Alice", "Doe", NULL, "Example AG", ID,
		.says = "two letters", .country = "Germany"},
	{"a country that is none", VALIDATION_SPONSOR, "Alice", "Doe", NULL, "Example AG", ID,
		.says = "two letters", .country = "QQ"},
	{"a locality without a country", VALIDATION_SPONSOR, "Alice", "Doe", NULL, "Example AG", ID,
		.says = "needs the country", .locality = "Berlin"},
	{"a display name that is too long is left out", VALIDATION_SPONSOR, "Alice", "Doe", LONG, "Example AG", ID,
		.subject = "O=Example AG, organizationIdentifier=VATDE-123456789, GN=Alice, SN=Doe"},
	{"a display name that is an address is left out", VALIDATION_SPONSOR, "Alice", "Doe", "alice@example.net", "Example AG", ID,
		.subject = "O=Example AG, organizationIdentifier=VATDE-123456789, GN=Alice, SN=Doe"},
	{"an organization that is too long is not cut", VALIDATION_SPONSOR, "Alice", "Doe", NULL, LONG, ID,
		.says = "64 characters"},
	{"a surname may be longer than that", VALIDATION_SPONSOR, NULL, LONG, NULL, "Example AG", ID,
		.subject = "O=Example AG, organizationIdentifier=VATDE-123456789, SN=\"" LONG "\""},
	{"a line feed in a name", VALIDATION_SPONSOR, "Alice\nX", "Doe", NULL, "Example AG", ID,
		.says = "single line"},
	{"a name that is no UTF-8", VALIDATION_SPONSOR, "J\xf6rg", "Doe", NULL, "Example AG", ID,
		.says = "UTF-8"},
	{"a role mailbox is nobody", VALIDATION_SPONSOR, "Info", "Desk", "Info Desk", "Example AG", ID,
		.says = "role or shared mailbox", .kind = DIRECTORY_SHARED},
	{"nor is a room", VALIDATION_INDIVIDUAL, "Room", "12", "Room 12", NULL, NULL,
		.says = "room or equipment", .kind = DIRECTORY_RESOURCE},
	{"a role mailbox in the name of its organization", VALIDATION_ORGANIZATION, NULL, NULL, "Info Desk", NULL, NULL,
		.subject = "C=DE, O=Example AG, organizationIdentifier=VATDE-123456789, CN=Example AG", .its_organization = "Example AG",
		.its_identifier = ID, .its_country = "DE", .kind = DIRECTORY_SHARED},
	{"a role mailbox as a mailbox", VALIDATION_MAILBOX, NULL, NULL, "Info Desk", NULL, NULL,
		.subject = "CN=alice@example.org", .kind = DIRECTORY_SHARED},
	{"an organization names no person", VALIDATION_ORGANIZATION, "Alice", "Doe", "Alice Doe", "Example AG", ID,
		.subject = "O=Example AG, organizationIdentifier=VATDE-123456789, OU=Sales, CN=Example AG", .unit = "Sales", .title = "Dr."},
	{"an organization without its identifier", VALIDATION_ORGANIZATION, NULL, NULL, NULL, "Example AG", NULL,
		.says = "organizationIdentifier"},
	{"an individual names no organization", VALIDATION_INDIVIDUAL, "Alice", "Doe", "Alice Doe", "Example AG", ID,
		.subject = "C=DE, title=Dr., GN=Alice, SN=Doe, CN=Alice Doe", .its_country = "DE", .unit = "Sales", .title = "Dr."},
	{"a private profile takes what is there", VALIDATION_PRIVATE, NULL, NULL, "Info Desk", NULL, NULL,
		.subject = "CN=Info Desk"},
	{"and minds no rules of others", VALIDATION_PRIVATE, NULL, NULL, NULL, "Example AG", "4711",
		.subject = "L=Berlin, O=Example AG, organizationIdentifier=4711", .locality = "Berlin"},
};

static void person_of_case(struct directory_person *person, const struct subject_case *c)
{
	*person = (struct directory_person){.given_name = str_dup(c->given),
		.surname = str_dup(c->surname),
		.display_name = str_dup(c->display),
		.organization = str_dup(c->organization),
		.organization_identifier = str_dup(c->identifier),
		.country = str_dup(c->country),
		.locality = str_dup(c->locality),
		.state = str_dup(c->state),
		.organizational_unit = str_dup(c->unit),
		.title = str_dup(c->title),
		.kind = c->kind};
}

static struct certificate_profile profile_of_case(const struct subject_case *c)
{
	struct certificate_profile p = profile(c->validation, USAGE_SIGN, p256);

	p.organization = str_dup(c->its_organization);
	p.organization_identifier = str_dup(c->its_identifier);
	p.country = str_dup(c->its_country);
	return p;
}

static void profile_of_case_clear(struct certificate_profile *p)
{
	free(p->organization);
	free(p->organization_identifier);
	free(p->country);
}

START_TEST(subject_comes_from_the_directory_and_the_configuration)
{
	const struct subject_case *c = &subjects[_i];
	struct certificate_profile p = profile_of_case(c);
	struct directory_person person;
	struct err err = ERR_INIT, names = ERR_INIT;
	char address[] = "alice@example.org", text[1024];
	X509_REQ *req;

	person_of_case(&person, c);
	req = request_to(&p, address, &person, &err);
	if (c->subject == NULL) {
		ck_assert_msg(req == NULL, "%s: %s", c->name, req != NULL ? subject_text(req, text) : "");
		ck_assert_msg(strstr(err.text, c->says) != NULL, "%s: %s", c->name, err.text);
		ck_assert_int_eq(err.class, ERR_POLICY);
		/* whoever asks before gets the same answer */
		ck_assert_msg(!profile_names(&p, &person, &names), "%s", c->name);
		ck_assert_str_eq(names.text, err.text);
	} else {
		ck_assert_msg(req != NULL, "%s: %s", c->name, err.text);
		ck_assert_msg(strcmp(subject_text(req, text), c->subject) == 0, "%s: %s", c->name, text);
		ck_assert_msg(profile_names(&p, &person, &names), "%s: %s", c->name, names.text);
	}
	X509_REQ_free(req);
	directory_person_clear(&person);
	profile_of_case_clear(&p);
}
END_TEST

/* A CA that issues exactly what was asked for: certcheck has nothing against any of it. */
static X509 *issue_as_asked(X509_REQ *req, const struct certificate_profile *p)
{
	struct spec spec = spec_clean(p->validation, p->generation, NOW);
	STACK_OF(X509_EXTENSION) *asked = X509_REQ_get_extensions(req);
	X509 *x;

	spec.key = X509_REQ_get0_pubkey(req);
	x = spec_make(&spec);
	X509_set_subject_name(x, X509_REQ_get_subject_name(req));
	for (int i = 0; i < sk_X509_EXTENSION_num(asked); i++) {
		X509_EXTENSION *e = sk_X509_EXTENSION_value(asked, i);

		X509_EXTENSION_free(X509_delete_ext(x, X509_get_ext_by_OBJ(x, X509_EXTENSION_get_object(e), -1)));
		ck_assert_int_eq(X509_add_ext(x, e, -1), 1);
	}
	ck_assert_int_gt(X509_sign(x, authority_ca.key, EVP_sha256()), 0);
	sk_X509_EXTENSION_pop_free(asked, X509_EXTENSION_free);
	return x;
}

static void certcheck_takes(const char *name, X509_REQ *req, const struct certificate_profile *p, const struct strlist *list)
{
	X509 *x = issue_as_asked(req, p);
	X509_STORE *anchors = X509_STORE_new();
	STACK_OF(X509) *untrusted = sk_X509_new_null();
	char spki[65] = "";
	struct certcheck_request check = {.profile = p, .addresses = list, .spki_sha256 = spki, .anchors = anchors, .untrusted = untrusted, .now = NOW};
	struct findings found;
	struct buf text = BUF_INIT;
	unsigned char *der = NULL, md[32];
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);

	X509_STORE_add_cert(anchors, authority_root.certificate);
	sk_X509_push(untrusted, authority_ca.certificate);
	ck_assert_int_eq(EVP_Q_digest(NULL, "SHA256", NULL, der, (size_t)len, md, NULL), 1);
	for (size_t i = 0; i < 32; i++)
		snprintf(spki + 2 * i, 3, "%02x", md[i]);
	ck_assert(certcheck(x, &check, &found, NULL));
	findings_text(&found, &text);
	ck_assert_msg(found.n == 0, "%s:\n%s", name, buf_str(&text));
	findings_clear(&found);
	buf_clear(&text);
	OPENSSL_free(der);
	sk_X509_free(untrusted);
	X509_STORE_free(anchors);
	X509_free(x);
}

START_TEST(certcheck_takes_what_was_asked_for)
{
	const struct subject_case *c = &subjects[_i];
	struct certificate_profile p = profile_of_case(c);
	struct directory_person person;
	char a[] = "Alice@Example.ORG", b[] = "j\xc3\xb6rg@b\xc3\xbc" "cher.example", *v[] = {a, b};
	struct strlist list = {v, 2};
	X509_REQ *req;

	person_of_case(&person, c);
	req = c->subject != NULL && c->validation != VALIDATION_PRIVATE ? request_for(&p, &list, &person, NULL) : NULL;
	if (req != NULL)
		certcheck_takes(c->name, req, &p, &list);
	X509_REQ_free(req);
	directory_person_clear(&person);
	profile_of_case_clear(&p);
}
END_TEST

START_TEST(a_name_goes_in_as_utf8_and_a_country_as_printable_string)
{
	struct certificate_profile p = profile(VALIDATION_SPONSOR, USAGE_SIGN, p256);
	char given[] = "Alice", organization[] = "Example AG", id[] = ID, country[] = "de", address[] = "alice@example.org";
	struct directory_person person = {.given_name = given, .organization = organization, .organization_identifier = id, .country = country};
	X509_REQ *req = request_to(&p, address, &person, NULL);
	const X509_NAME *name = X509_REQ_get_subject_name(req);

	ck_assert_int_eq(X509_NAME_entry_count(name), 4);
	for (int i = 0; i < 4; i++) {
		const X509_NAME_ENTRY *e = X509_NAME_get_entry(name, i);
		bool is_country = OBJ_obj2nid(X509_NAME_ENTRY_get_object(e)) == NID_countryName;

		ck_assert_int_eq(ASN1_STRING_type(X509_NAME_ENTRY_get_data(e)), is_country ? V_ASN1_PRINTABLESTRING : V_ASN1_UTF8STRING);
	}
	X509_REQ_free(req);
}
END_TEST

START_TEST(an_organization_needs_no_entry_when_the_configuration_names_it)
{
	struct certificate_profile p = profile(VALIDATION_ORGANIZATION, USAGE_SIGN, p256);
	char organization[] = "Example AG", id[] = ID, address[] = "info@example.org", text[1024];
	struct err err = ERR_INIT;
	X509_REQ *req;

	ck_assert(!profile_names(&p, NULL, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "certificate.organization"));
	p.organization = organization;
	p.organization_identifier = id;
	req = request_to(&p, address, NULL, &err);
	ck_assert_str_eq(subject_text(req, text), "O=Example AG, organizationIdentifier=VATDE-123456789, CN=Example AG");
	X509_REQ_free(req);
	p.validation = VALIDATION_SPONSOR;
	ck_assert(!profile_names(&p, NULL, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "name a person"));
}
END_TEST

/* ---- addresses at their limits ------------------------------------------------------------------------------------ */

#define LOCAL_63 "a123456789b123456789c123456789d123456789e123456789f123456789g12"
#define LOCAL_64 "a123456789b123456789c123456789d123456789e123456789f123456789g123"

static const struct {
	const char *name, *address;
	bool empty, refused;
	enum subject_form form;
} limits[] = {
	{"64 characters in all are a common name", "a123456789b123456789c123456789d123456789e123456789f1@example.org", false, false, SUBJECT_IS_ADDRESS},
	{"65 are none, and the alternative name is critical", "a123456789b123456789c123456789d123456789e123456789f12@example.org", true, false,
		SUBJECT_IS_ADDRESS},
	{"an empty subject when that is wanted", "alice@example.org", true, false, SUBJECT_IS_EMPTY},
	{"64 octets before the @", LOCAL_64 "@example.org", true, false, SUBJECT_IS_ADDRESS},
	{"65 octets before the @", LOCAL_64 "4@example.org", true, true, SUBJECT_IS_ADDRESS},
	{"64 characters of 65 octets before the @", "\xc3\xa4" LOCAL_63 "@example.org", true, true, SUBJECT_IS_ADDRESS},
	{"254 octets in all", LOCAL_64 "@" LOCAL_63 "." LOCAL_63 "." "a123456789b123456789c123456789d123456789e123456789f12345678.a", true, false,
		SUBJECT_IS_ADDRESS},
	{"255 octets in all", LOCAL_64 "@" LOCAL_63 "." LOCAL_63 "." "a123456789b123456789c123456789d123456789e123456789f123456789.a", true, true,
		SUBJECT_IS_ADDRESS},
	{"a long top-level domain", "a@example.xn--vermgensberatung-pwb", false, false, SUBJECT_IS_ADDRESS},
	{"a byte order mark", "\xef\xbb\xbf" "alice@example.org", false, true, SUBJECT_IS_ADDRESS},
};

START_TEST(addresses_at_their_limits)
{
	struct certificate_profile p = profile(VALIDATION_MAILBOX, USAGE_SIGN, p256);
	struct err err = ERR_INIT;
	char address[400], text[1024];
	X509_REQ *req;
	GENERAL_NAMES *names;
	int critical = -1;

	p.subject = limits[_i].form;
	snprintf(address, sizeof address, "%s", limits[_i].address);
	req = request_to(&p, address, NULL, &err);
	ck_assert_msg((req == NULL) == limits[_i].refused, "%s: %s", limits[_i].name, err.text);
	if (req == NULL) {
		ck_assert_int_eq(err.class, ERR_POLICY);
		return;
	}
	ck_assert_msg((subject_text(req, text)[0] == 0) == limits[_i].empty, "%s: %s", limits[_i].name, text);
	if (!limits[_i].empty)
		ck_assert_str_eq(text + strlen("CN="), address);
	names = extension(req, NID_subject_alt_name, &critical);
	ck_assert_int_eq(critical, limits[_i].empty);
	ck_assert_str_eq((const char *)sk_GENERAL_NAME_value(names, 0)->d.rfc822Name->data, address);
	GENERAL_NAMES_free(names);
	X509_REQ_free(req);
}
END_TEST

START_TEST(the_common_name_is_spelled_as_in_the_alternative_name)
{
	struct certificate_profile p = profile(VALIDATION_MAILBOX, USAGE_SIGN, p256);
	char address[] = "\"Alice\"@B\xc3\x9c" "CHER.example", text[1024];
	X509_REQ *req = request_to(&p, address, NULL, NULL);

	ck_assert_str_eq(subject_text(req, text), "CN=Alice@xn--bcher-kva.example");
	X509_REQ_free(req);
}
END_TEST

/* ---- the same without a key --------------------------------------------------------------------------------------- */

START_TEST(a_subject_is_described_as_it_is_asked_for)
{
	const struct subject_case *c = &subjects[_i];
	struct certificate_profile p = profile_of_case(c);
	struct directory_person person;
	struct err err = ERR_INIT, other = ERR_INIT;
	char address[] = "alice@example.org", *v[] = {address};
	struct strlist list = {v, 1};
	struct buf text = BUF_INIT;
	X509_REQ *req;
	BIO *bio = BIO_new(BIO_s_mem());
	char *want;

	person_of_case(&person, c);
	req = request_to(&p, address, &person, &err);
	ck_assert_msg(profile_describe(&p, &list, &person, &text, &other) == (req != NULL), "%s: %s", c->name, other.text);
	if (req == NULL) {
		ck_assert_str_eq(other.text, err.text);
		ck_assert_uint_eq(text.len, 0);
	} else {
		X509_NAME_print_ex(bio, X509_REQ_get_subject_name(req), 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
		ck_assert_uint_eq(text.len, (size_t)BIO_get_mem_data(bio, &want));
		ck_assert(memcmp(buf_str(&text), want, text.len) == 0);
	}
	BIO_free(bio);
	X509_REQ_free(req);
	buf_clear(&text);
	directory_person_clear(&person);
	profile_of_case_clear(&p);
}
END_TEST

START_TEST(a_description_is_readable)
{
	struct certificate_profile p = profile(VALIDATION_SPONSOR, USAGE_SIGN, p256);
	char given[] = "J\xc3\xb6rg", surname[] = "M\xc3\xbcller", display[] = "M\xc3\xbcller, J\xc3\xb6rg", organization[] = "B\xc3\xbc" "cher AG";
	char id[] = ID, address[] = "j@example.org", bad[] = LOCAL_64 "4@example.org", *v[] = {address}, *w[] = {bad};
	struct directory_person person = {.given_name = given, .surname = surname, .display_name = display, .organization = organization,
		.organization_identifier = id};
	struct strlist list = {v, 1}, none = {0}, refused = {w, 1};
	struct buf text = BUF_INIT;
	struct err err = ERR_INIT;

	ck_assert(profile_describe(&p, &list, &person, &text, &err));
	ck_assert_str_eq(buf_str(&text), "CN=M\xc3\xbcller\\, J\xc3\xb6rg,SN=M\xc3\xbcller,GN=J\xc3\xb6rg,organizationIdentifier=VATDE-123456789,"
		"O=B\xc3\xbc" "cher AG");
	buf_reset(&text);
	p.validation = VALIDATION_MAILBOX;
	p.subject = SUBJECT_IS_EMPTY;
	ck_assert(profile_describe(&p, &list, NULL, &text, &err));
	ck_assert_uint_eq(text.len, 0);
	ck_assert(!profile_describe(&p, &refused, NULL, &text, &err));
	ck_assert(!profile_describe(&p, &none, NULL, &text, &err));
	ck_assert_int_eq(err.class, ERR_BUG);
	buf_clear(&text);
}
END_TEST

START_TEST(nasty_names_are_escaped_where_they_belong)
{
	const struct nasty *n = &nasty_names[_i];
	struct directory_person person = {.given_name = str_dup(n->given), .surname = str_dup(n->surname), .display_name = str_dup(n->display),
		.organization = str_dup(n->organization)};

	nasty_check(n, &person);
	directory_person_clear(&person);
}
END_TEST

START_TEST(a_named_type_without_a_person_is_refused)
{
	struct certificate_profile p = profile(VALIDATION_SPONSOR, USAGE_SIGN, p256);
	struct err err = ERR_INIT;
	char address[] = "alice@example.org", text[1024];
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

	tcase_add_unchecked_fixture(t, certificates_setup, certificates_teardown);
	tcase_set_timeout(t, 60); /* RSA keys under sanitizers */
	tcase_add_loop_test(t, keys_are_what_was_asked_for, 0, COUNT(keys));
	tcase_add_test(t, two_keys_are_never_the_same);
	tcase_add_test(t, a_key_type_that_is_not_offered_is_refused);
	tcase_add_loop_test(t, key_usage_is_what_the_key_is_for, 0, COUNT(usages));
	tcase_add_loop_test(t, the_alternative_name_holds_the_address, 0, COUNT(addresses));
	tcase_add_test(t, several_addresses_are_all_there_in_order);
	tcase_add_test(t, what_is_no_address_is_refused);
	tcase_add_loop_test(t, subject_comes_from_the_directory_and_the_configuration, 0, COUNT(subjects));
	tcase_add_loop_test(t, certcheck_takes_what_was_asked_for, 0, COUNT(subjects));
	tcase_add_test(t, a_name_goes_in_as_utf8_and_a_country_as_printable_string);
	tcase_add_test(t, an_organization_needs_no_entry_when_the_configuration_names_it);
	tcase_add_loop_test(t, addresses_at_their_limits, 0, COUNT(limits));
	tcase_add_test(t, the_common_name_is_spelled_as_in_the_alternative_name);
	tcase_add_loop_test(t, a_subject_is_described_as_it_is_asked_for, 0, COUNT(subjects));
	tcase_add_test(t, a_description_is_readable);
	tcase_add_loop_test(t, nasty_names_are_escaped_where_they_belong, 0, nasty_names_n);
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
