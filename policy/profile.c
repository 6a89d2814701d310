/*
 * policy/profile.c - what to ask the CA for: a new key and a PKCS#10 request (RFC 2986) for it.
 *
 * The request asks for no more than the profile needs: key usage by what the key will be used for, e-mail protection and nothing else
 * (from July 2027 hardly anything may stand beside it), names from the directory's attributes as they are.  A display name is
 * never split into given name and surname: that goes wrong for every third country.  CAs take most of this from their own
 * records; certcheck looks at what came of it, by the same rules for values (subject.h).
 *
 * One path for all questions: subject_plan says which attributes with which values, or why not; a request, a description for the admin and
 * eligibility's question all go through it.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "policy/policy.h"
#include "policy/subject.h"

#define OP "build certificate request"
#define SUBJECT_MAX 12
/* RFC 5321 section 4.5.3.1: a local part; a path without its angle brackets. */
#define LOCAL_MAX 64
#define MAILBOX_MAX 254

static const char *const validation_names[] = {[VALIDATION_MAILBOX] = "mailbox",
	[VALIDATION_ORGANIZATION] = "organization",
	[VALIDATION_SPONSOR] = "sponsor",
	[VALIDATION_INDIVIDUAL] = "individual",
	[VALIDATION_PRIVATE] = "private"};
static const char *const generation_names[] = {
	[GENERATION_LEGACY] = "legacy", [GENERATION_MULTIPURPOSE] = "multipurpose", [GENERATION_STRICT] = "strict"};
static const char *const usage_names[] = {[USAGE_SIGN] = "sign", [USAGE_ENCRYPT] = "encrypt", [USAGE_DUAL] = "dual", [USAGE_SPLIT] = "split"};

const char *validation_name(enum validation v)
{
	return v >= VALIDATION_MAILBOX && v <= VALIDATION_PRIVATE ? validation_names[v] : "unknown";
}

const char *generation_name(enum generation g)
{
	return g >= GENERATION_LEGACY && g <= GENERATION_STRICT ? generation_names[g] : "unknown";
}

const char *usage_name(enum usage u)
{
	return u <= USAGE_SPLIT ? usage_names[u] : "unknown";
}

const char *profile_standard(const struct certificate_profile *p, char out[PROFILE_STANDARD_SIZE])
{
	bool private = p->validation == VALIDATION_PRIVATE;

	snprintf(out, PROFILE_STANDARD_SIZE, "%s%s%s", validation_name(p->validation), private ? "" : "-", private ? "" : generation_name(p->generation));
	return out;
}

struct certificate_profile profile_for(const struct certificate_profile *p, const char *usage)
{
	struct certificate_profile one = *p;

	if (p->usage == USAGE_SPLIT)
		one.usage = usage && strcmp(usage, usage_name(USAGE_ENCRYPT)) == 0 ? USAGE_ENCRYPT : USAGE_SIGN;
	return one;
}

const char *profile_policy_oid(const struct certificate_profile *p)
{
	static const char *const oids[4][3] = {
		{"2.23.140.1.5.1.1", "2.23.140.1.5.1.2", "2.23.140.1.5.1.3"},
		{"2.23.140.1.5.2.1", "2.23.140.1.5.2.2", "2.23.140.1.5.2.3"},
		{"2.23.140.1.5.3.1", "2.23.140.1.5.3.2", "2.23.140.1.5.3.3"},
		{"2.23.140.1.5.4.1", "2.23.140.1.5.4.2", "2.23.140.1.5.4.3"},
	};

	if (p->validation < VALIDATION_MAILBOX || p->validation > VALIDATION_INDIVIDUAL || p->generation < GENERATION_LEGACY ||
		p->generation > GENERATION_STRICT)
		return NULL;
	return oids[p->validation - VALIDATION_MAILBOX][p->generation - GENERATION_LEGACY];
}

/* ---- key --------------------------------------------------------------------------------------------------------- */

static const struct key_type {
	const char *name;
	size_t bits;	   /* RSA */
	const char *curve; /* EC */
	const char *digest;
} key_types[] = {
	{"rsa:2048", 2048, NULL, "SHA256"},
	{"rsa:3072", 3072, NULL, "SHA256"},
	{"ec:p256", 0, "P-256", "SHA256"},
	{"ec:p384", 0, "P-384", "SHA384"},
};

static const struct key_type *key_type_find(const char *name)
{
	for (size_t i = 0; i < sizeof key_types / sizeof key_types[0]; i++)
		if (name != NULL && strcmp(name, key_types[i].name) == 0)
			return &key_types[i];
	return NULL;
}

EVP_PKEY *profile_key_new(const struct certificate_profile *p, struct err *err)
{
	const struct key_type *type = key_type_find(p->key_type);
	EVP_PKEY *key;

	if (type == NULL) {
		err_set(err, ERR_CONFIG, "make key", p->key_type != NULL ? p->key_type : "",
			"unknown key-type; known are rsa:2048, rsa:3072, ec:p256, ec:p384");
		return NULL;
	}
	memory_secret_begin();
	key = type->curve != NULL ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", type->curve) : EVP_PKEY_Q_keygen(NULL, NULL, "RSA", type->bits);
	memory_secret_end();
	if (key == NULL)
		err_openssl(err, ERR_TEMPORARY, "make key", type->name);
	return key;
}

/* ---- subject: what the entry and the configuration say ------------------------------------------------------------ */

/* The attributes to ask for, in order; values are borrowed. */
struct subject {
	struct {
		int nid;
		const char *value;
	} v[SUBJECT_MAX];
	size_t n;
	char country[3];
	char address[ADDRESS_MAX];
};

static void subject_add(struct subject *s, int nid, const char *value)
{
	if (value == NULL)
		return;
	s->v[s->n].nid = nid;
	s->v[s->n++].value = value;
}

/* Schemas demand a value (sn) where there is none, and people write "-". */
static const char *name_of(const char *s)
{
	return s != NULL && s[0] != 0 && !subject_is_filler(s, strlen(s)) ? s : NULL;
}

static const char *value_of(const char *s)
{
	return s != NULL && s[0] != 0 && !subject_says_nothing(s, strlen(s)) ? s : NULL;
}

static bool names_organization(enum validation v)
{
	return v == VALIDATION_ORGANIZATION || v == VALIDATION_SPONSOR || v == VALIDATION_PRIVATE;
}

/* Everybody is of the configured organization but those whose entry names another: its identifier and country are not theirs. */
static bool of_another(const struct certificate_profile *p, const struct directory_person *person)
{
	return names_organization(p->validation) && p->organization != NULL && person != NULL && value_of(person->organization) != NULL &&
	       strcmp(person->organization, p->organization) != 0;
}

static const char *organization_of(const struct certificate_profile *p, const struct directory_person *person)
{
	const char *own = person != NULL ? value_of(person->organization) : NULL;

	return own != NULL ? own : p->organization;
}

static const char *identifier_of(const struct certificate_profile *p, const struct directory_person *person)
{
	const char *own = person != NULL ? value_of(person->organization_identifier) : NULL;

	return own != NULL || of_another(p, person) ? own : p->organization_identifier;
}

static const char *country_of(const struct certificate_profile *p, const struct directory_person *person)
{
	const char *own = person != NULL ? value_of(person->country) : NULL;

	return own != NULL || of_another(p, person) ? own : p->country;
}

/* commonName is optional everywhere: a display name too long for it is left out, not cut; and an address there would have to be one of the
 * alternative name. */
static const char *common_name(const struct directory_person *person)
{
	const char *name = value_of(person->display_name);
	struct address a;

	if (name == NULL || subject_characters(name, strlen(name)) > subject_bound(NID_commonName) || address_parse(&a, name, NULL))
		return NULL;
	return name;
}

/* ---- subject: what is missing or wrong ---------------------------------------------------------------------------- */

static const char *entry_of(const struct directory_person *person)
{
	return person != NULL && person->dn != NULL ? person->dn : "";
}

static bool lacks(struct err *err, const struct directory_person *person, const char *text)
{
	return err_set(err, ERR_POLICY, OP, entry_of(person), "%s", text);
}

static bool check_natural(const struct directory_person *person, struct err *err)
{
	if (person == NULL)
		return lacks(err, person, "the certificate would have to name a person, whom only a directory entry can tell");
	if (person->kind == DIRECTORY_SHARED)
		return lacks(err, person,
			"it is a role or shared mailbox (directory.shared-filter, directory.shared-attributes), and the certificate "
			"would have to name a person; use mailbox or organization validation for role and shared mailboxes");
	if (person->kind == DIRECTORY_RESOURCE)
		return lacks(err, person,
			"it is a room or equipment (directory.resource-filter), and the certificate would have to name a person; use "
			"mailbox or organization validation for it, if it sends mail at all");
	if (name_of(person->given_name) == NULL && name_of(person->surname) == NULL)
		return lacks(err, person,
			"its directory entry has neither given name nor surname (givenName and sn, unless "
			"directory.given-name-attribute and surname-attribute say otherwise), and the certificate would have to name a "
			"person; add them there, or use mailbox or organization validation for role and shared mailboxes");
	return true;
}

static bool check_identifier(const char *identifier, const char *country, const struct directory_person *person, struct err *err)
{
	struct organization_id id;
	const char *trouble;

	if (!organization_id_parse(&id, identifier, strlen(identifier)))
		return err_set(err, ERR_POLICY, OP, entry_of(person),
			"its organizationIdentifier has not the form of scheme, country, hyphen and reference, as in "
			"\"NTRDE-DEK1101R.HRB116737\"; correct it in the directory: \"%s\"",
			identifier);
	trouble = organization_id_trouble(&id);
	if (trouble != NULL)
		return err_set(err, ERR_POLICY, OP, entry_of(person),
			"its organizationIdentifier is wrong, %s; correct it in the directory: \"%s\"", trouble, identifier);
	if (country != NULL && !organization_id_fits(&id, country, strlen(country)))
		return err_set(err, ERR_POLICY, OP, entry_of(person),
			"its organizationIdentifier is of the country %s, and the country beside it in the certificate would be %s; both have to be "
			"the same (directory.country-attribute, certificate.country): \"%s\"",
			id.country, country, identifier);
	return true;
}

static bool check_organization(
	const struct certificate_profile *p, const struct directory_person *person, const char *country, struct err *err)
{
	const char *identifier = identifier_of(p, person);

	if (organization_of(p, person) == NULL)
		return lacks(err, person,
			"the certificate would have to name its organization, exactly as the CA knows it: set "
			"certificate.organization, or add it to the directory entry (o, unless directory.organization-attribute says otherwise)");
	if (identifier == NULL && of_another(p, person) && p->organization_identifier != NULL)
		return lacks(err, person,
			"its directory entry names another organization than certificate.organization, so that "
			"certificate.organization-identifier is not its; add its own organizationIdentifier to the entry (see "
			"directory.organization-identifier-attribute)");
	if (identifier == NULL)
		return lacks(err, person,
			"the certificate would have to hold the organizationIdentifier (register and number, as in "
			"\"NTRDE-DEK1101R.HRB116737\"), exactly as the CA knows it: set certificate.organization-identifier, or add it to the "
			"directory entry (see directory.organization-identifier-attribute)");
	return check_identifier(identifier, country, person, err);
}

static bool check_value(int nid, const char *value, const struct directory_person *person, struct err *err)
{
	size_t max = subject_bound(nid);

	if (!text_is_one_line(value) || !text_is_utf8(value, strlen(value)))
		return err_set(err, ERR_POLICY, OP, entry_of(person), "its %s is no single line of UTF-8; correct the directory entry", OBJ_nid2ln(nid));
	if (max > 0 && subject_characters(value, strlen(value)) > max)
		return err_set(err, ERR_POLICY, OP, entry_of(person), "its %s is longer than %zu characters, the most that fit; shorten it: \"%s\"",
			OBJ_nid2ln(nid), max, value);
	return true;
}

/* ---- subject: the plan -------------------------------------------------------------------------------------------- */

/* The country's code in upper case, "" when none is known. */
static bool plan_country(struct subject *s, const struct certificate_profile *p, const struct directory_person *person, struct err *err)
{
	const char *country = country_of(p, person);

	if (country == NULL)
		return true;
	for (size_t i = 0; i < 2 && country[i] != 0; i++)
		s->country[i] = country[i] >= 'a' && country[i] <= 'z' ? (char)(country[i] - ('a' - 'A')) : country[i];
	if (strlen(country) == 2 && subject_is_country(s->country, 2))
		return true;
	return err_set(err, ERR_POLICY, OP, entry_of(person),
		"its country is no assigned code of two letters such as DE (directory.country-attribute): \"%s\"", country);
}

/* The address as commonName, which the profile allows, rather than no subject at all: gpgsm refuses signatures with a certificate whose
 * subject is empty.  One that is too long for it is in the alternative name alone. */
static bool plan_address(struct subject *s, const struct strlist *addresses, struct err *err)
{
	struct address a;

	if (addresses == NULL)
		return true;
	if (!address_parse(&a, addresses->v[0], err))
		return false;
	address_text(&a, s->address);
	if (subject_characters(s->address, strlen(s->address)) <= subject_bound(NID_commonName))
		subject_add(s, NID_commonName, s->address);
	return true;
}

/* No names of people in the certificate of an organization, no organization in one of an individual. */
static void plan_names(struct subject *s, const struct certificate_profile *p, const struct directory_person *person)
{
	bool natural = p->validation != VALIDATION_ORGANIZATION;
	const char *organization = names_organization(p->validation) ? organization_of(p, person) : NULL;

	subject_add(s, NID_countryName, s->country[0] != 0 ? s->country : NULL);
	if (person != NULL) {
		subject_add(s, NID_stateOrProvinceName, value_of(person->state));
		subject_add(s, NID_localityName, value_of(person->locality));
	}
	if (organization != NULL) {
		subject_add(s, NID_organizationName, organization);
		subject_add(s, NID_organizationIdentifier, identifier_of(p, person));
		subject_add(s, NID_organizationalUnitName, person != NULL ? value_of(person->organizational_unit) : NULL);
	}
	if (natural && person != NULL) {
		subject_add(s, NID_title, value_of(person->title));
		subject_add(s, NID_givenName, name_of(person->given_name));
		subject_add(s, NID_surname, name_of(person->surname));
		subject_add(s, NID_commonName, common_name(person));
	} else if (!natural) {
		subject_add(s, NID_commonName, organization);
	}
}

/* `addresses` NULL: the question is only whether the names suffice. */
static bool subject_plan(struct subject *s, const struct certificate_profile *p, const struct strlist *addresses,
	const struct directory_person *person, struct err *err)
{
	enum validation v = p->validation;

	memset(s, 0, sizeof *s);
	if (v == VALIDATION_MAILBOX)
		return p->subject == SUBJECT_IS_EMPTY || plan_address(s, addresses, err);
	if ((v == VALIDATION_SPONSOR || v == VALIDATION_INDIVIDUAL) && !check_natural(person, err))
		return false;
	if (!plan_country(s, p, person, err))
		return false;
	if ((v == VALIDATION_SPONSOR || v == VALIDATION_ORGANIZATION) &&
		!check_organization(p, person, s->country[0] != 0 ? s->country : NULL, err))
		return false;
	if (v != VALIDATION_PRIVATE && s->country[0] == 0 && person != NULL &&
		(value_of(person->locality) != NULL || value_of(person->state) != NULL))
		return lacks(err, person,
			"a locality or state in a certificate needs the country beside it: set certificate.country or "
			"directory.country-attribute, or ask for neither (directory.locality-attribute, directory.state-attribute)");
	plan_names(s, p, person);
	for (size_t i = 0; i < s->n; i++)
		if (!check_value(s->v[i].nid, s->v[i].value, person, err))
			return false;
	return v != VALIDATION_PRIVATE || person != NULL || plan_address(s, addresses, err);
}

bool profile_names(const struct certificate_profile *p, const struct directory_person *person, struct err *err)
{
	struct subject s;

	return subject_plan(&s, p, NULL, person, err);
}

static bool subject_write(X509_NAME *name, const struct certificate_profile *p, const struct strlist *addresses,
	const struct directory_person *person, struct err *err)
{
	struct subject s;

	if (addresses->n == 0)
		return err_set(err, ERR_BUG, OP, "", "no address to ask a certificate for");
	if (!subject_plan(&s, p, addresses, person, err))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (X509_NAME_add_entry_by_NID(name, s.v[i].nid, MBSTRING_UTF8, (const unsigned char *)s.v[i].value, -1, -1, 0) != 1)
			return err_openssl(err, ERR_BUG, OP, OBJ_nid2sn(s.v[i].nid));
	return true;
}

/* ---- extensions -------------------------------------------------------------------------------------------------- */

static bool is_ascii(const char *s)
{
	for (; *s != 0; s++)
		if ((unsigned char)*s >= 0x80)
			return false;
	return true;
}

bool profile_address(const struct address *a, struct err *err)
{
	char text[ADDRESS_MAX];

	address_text(a, text);
	if (strlen(a->local) > LOCAL_MAX)
		return err_set(err, ERR_POLICY, OP, text, "it has more than %d octets before the @, which no certificate may hold (RFC 5321)",
			LOCAL_MAX);
	if (strlen(text) > MAILBOX_MAX)
		return err_set(err, ERR_POLICY, OP, text, "it has more than %d octets, which no certificate may hold (RFC 5321)", MAILBOX_MAX);
	/* RFC 9598 section 3 */
	if (strncmp(a->local, "\xef\xbb\xbf", 3) == 0)
		return err_set(err, ERR_POLICY, OP, text, "it begins with a byte order mark, which no certificate may hold");
	return true;
}

/* RFC 9598: an otherName with a UTF8String.  Consumes nothing on failure. */
static bool set_smtp_utf8(GENERAL_NAME *name, const char *text)
{
	ASN1_TYPE *value = ASN1_TYPE_new();
	ASN1_UTF8STRING *string = ASN1_UTF8STRING_new();
	ASN1_OBJECT *type = OBJ_nid2obj(NID_id_on_SmtpUTF8Mailbox);

	if (value == NULL || string == NULL || ASN1_STRING_set(string, text, -1) != 1)
		goto fail;
	ASN1_TYPE_set(value, V_ASN1_UTF8STRING, string);
	string = NULL;
	if (GENERAL_NAME_set0_othername(name, type, value) == 1)
		return true;
fail:
	ASN1_UTF8STRING_free(string);
	ASN1_TYPE_free(value);
	return false;
}

static bool set_rfc822(GENERAL_NAME *name, const char *text)
{
	ASN1_IA5STRING *string = ASN1_IA5STRING_new();

	if (string == NULL || ASN1_STRING_set(string, text, -1) != 1) {
		ASN1_IA5STRING_free(string);
		return false;
	}
	GENERAL_NAME_set0_value(name, GEN_EMAIL, string);
	return true;
}

static GENERAL_NAMES *alternative_names(const struct strlist *addresses, struct err *err)
{
	GENERAL_NAMES *names = GENERAL_NAMES_new();

	if (names == NULL) {
		err_nomem(err, OP);
		return NULL;
	}
	for (size_t i = 0; i < addresses->n; i++) {
		struct address parsed;
		char text[ADDRESS_MAX];
		GENERAL_NAME *name = NULL;
		bool set = false;

		if (!address_parse(&parsed, addresses->v[i], err) || !profile_address(&parsed, err))
			goto fail;
		name = GENERAL_NAME_new();
		address_text(&parsed, text);
		if (name != NULL)
			set = is_ascii(parsed.local) ? set_rfc822(name, text) : set_smtp_utf8(name, text);
		if (!set || sk_GENERAL_NAME_push(names, name) <= 0) {
			GENERAL_NAME_free(name);
			err_nomem(err, OP);
			goto fail;
		}
	}
	return names;
fail:
	GENERAL_NAMES_free(names);
	return NULL;
}

/* digitalSignature to sign; keyEncipherment (RSA) or keyAgreement (EC) to be encrypted to. */
static ASN1_BIT_STRING *key_usage(enum usage usage, EVP_PKEY *key)
{
	ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();
	int encrypt = EVP_PKEY_is_a(key, "EC") ? 4 : 2;

	if (bits == NULL || (usage != USAGE_ENCRYPT && ASN1_BIT_STRING_set_bit(bits, 0, 1) != 1) ||
		(usage != USAGE_SIGN && ASN1_BIT_STRING_set_bit(bits, encrypt, 1) != 1)) {
		ASN1_BIT_STRING_free(bits);
		return NULL;
	}
	return bits;
}

/* E-mail protection; for a private profile what the admin's profile demands. */
static EXTENDED_KEY_USAGE *purposes(const struct certificate_profile *p, struct err *err)
{
	EXTENDED_KEY_USAGE *eku = EXTENDED_KEY_USAGE_new();
	size_t n = p->validation == VALIDATION_PRIVATE ? p->ekus.n : 0;

	for (size_t i = 0; eku != NULL && i < (n > 0 ? n : 1); i++) {
		ASN1_OBJECT *purpose = n > 0 ? OBJ_txt2obj(p->ekus.v[i], 1) : OBJ_nid2obj(NID_email_protect);

		if (purpose == NULL || sk_ASN1_OBJECT_push(eku, purpose) <= 0) {
			err_set(err, ERR_CONFIG, OP, n > 0 ? p->ekus.v[i] : "",
				"cannot be used as an extended key usage; give an object identifier such as "
				"1.3.6.1.5.5.7.3.4");
			ASN1_OBJECT_free(purpose);
			EXTENDED_KEY_USAGE_free(eku);
			ERR_clear_error();
			return NULL;
		}
	}
	if (eku == NULL)
		err_nomem(err, OP);
	return eku;
}

static bool add_extensions(
	X509_REQ *req, const struct certificate_profile *p, EVP_PKEY *key, const struct strlist *addresses, struct err *err)
{
	bool named = X509_NAME_entry_count(X509_REQ_get_subject_name(req)) > 0;
	GENERAL_NAMES *names = alternative_names(addresses, err);
	EXTENDED_KEY_USAGE *eku = names != NULL ? purposes(p, err) : NULL;
	ASN1_BIT_STRING *ku = key_usage(p->usage, key);
	STACK_OF(X509_EXTENSION) *extensions = NULL;
	bool ok = false;

	if (names == NULL || eku == NULL)
		goto out;
	/* with an empty subject the alternative name is the only name, and critical (RFC 5280 section 4.2.1.6) */
	ok = ku != NULL && X509V3_add1_i2d(&extensions, NID_subject_alt_name, names, !named, X509V3_ADD_DEFAULT) == 1 &&
	     X509V3_add1_i2d(&extensions, NID_key_usage, ku, 1, X509V3_ADD_DEFAULT) == 1 &&
	     X509V3_add1_i2d(&extensions, NID_ext_key_usage, eku, 0, X509V3_ADD_DEFAULT) == 1 &&
	     X509_REQ_add_extensions(req, extensions) == 1;
	if (!ok)
		err_openssl(err, ERR_BUG, OP, addresses->v[0]);
out:
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	ASN1_BIT_STRING_free(ku);
	EXTENDED_KEY_USAGE_free(eku);
	GENERAL_NAMES_free(names);
	return ok;
}

bool profile_csr(struct buf *der, const struct certificate_profile *p, EVP_PKEY *key, const struct strlist *addresses,
	const struct directory_person *person, struct err *err)
{
	const struct key_type *type = key_type_find(p->key_type);
	X509_REQ *req = X509_REQ_new();
	unsigned char *out = NULL;
	bool ok = false;
	int len, signed_len;

	if (req == NULL) {
		err_nomem(err, OP);
		goto out;
	}
	if (!subject_write(X509_REQ_get_subject_name(req), p, addresses, person, err))
		goto out;
	if (X509_REQ_set_version(req, X509_REQ_VERSION_1) != 1 || X509_REQ_set_pubkey(req, key) != 1) {
		err_openssl(err, ERR_BUG, OP, addresses->v[0]);
		goto out;
	}
	if (!add_extensions(req, p, key, addresses, err))
		goto out;
	memory_secret_begin();
	signed_len = X509_REQ_sign(req, key, EVP_get_digestbyname(type != NULL ? type->digest : "SHA256"));
	memory_secret_end();
	if (signed_len <= 0) {
		err_openssl(err, ERR_BUG, OP, addresses->v[0]);
		goto out;
	}
	len = i2d_X509_REQ(req, &out);
	if (len > 0)
		buf_append(der, out, (size_t)len);
	ok = len > 0 && !der->failed;
	if (!ok)
		err_nomem(err, OP);
out:
	OPENSSL_free(out);
	X509_REQ_free(req);
	return ok;
}

static bool name_text(const X509_NAME *name, struct buf *out)
{
	BIO *bio = BIO_new(BIO_s_mem());
	bool ok = bio && (X509_NAME_entry_count(name) == 0 || X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0);
	char *text;
	long len = ok ? BIO_get_mem_data(bio, &text) : 0;

	if (len > 0)
		buf_append(out, text, (size_t)len);
	BIO_free(bio);
	return ok && !out->failed;
}

bool profile_describe(const struct certificate_profile *p, const struct strlist *addresses, const struct directory_person *person,
	struct buf *subject_text, struct err *err)
{
	GENERAL_NAMES *names = NULL;
	X509_NAME *name = X509_NAME_new();
	bool ok = false;

	if (name == NULL) {
		err_nomem(err, OP);
		goto out;
	}
	if (!subject_write(name, p, addresses, person, err))
		goto out;
	/* an address that no request can hold is refused here as there */
	names = alternative_names(addresses, err);
	if (names == NULL)
		goto out;
	if (!name_text(name, subject_text)) {
		err_openssl(err, ERR_BUG, OP, addresses->v[0]);
		goto out;
	}
	ok = !subject_text->failed || err_nomem(err, OP);
out:
	GENERAL_NAMES_free(names);
	X509_NAME_free(name);
	return ok;
}
