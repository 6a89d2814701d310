/*
 * policy/profile.c - what to ask the CA for: a new key and a PKCS#10 request (RFC 2986) for it.
 *
 * The request asks for no more than the profile needs: key usage by what the key will be used for, e-mail protection and nothing else
 * (from July 2027 hardly anything may stand beside it), names from the directory's attributes as they are.  A display name is
 * never split into given name and surname: that goes wrong for every third country.  CAs take most of this from their own
 * records; certcheck looks at what came of it.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "policy/policy.h"

#define OP "build certificate request"
/* RFC 5280 appendix A.1: characters in commonName, organizationName, organizationalUnitName. */
#define UB_NAME 64

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
	key = type->curve != NULL ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", type->curve) : EVP_PKEY_Q_keygen(NULL, NULL, "RSA", type->bits);
	if (key == NULL)
		err_openssl(err, ERR_TEMPORARY, "make key", type->name);
	return key;
}

/* ---- subject ----------------------------------------------------------------------------------------------------- */

static size_t utf8_characters(const char *s)
{
	size_t n = 0;

	for (; *s != 0; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

/* Add one attribute; an empty or missing value adds nothing. */
static bool name_add(X509_NAME *name, int nid, const char *value, struct err *err)
{
	if (value == NULL || value[0] == 0)
		return true;
	if (!text_is_one_line(value) || !text_is_utf8(value, strlen(value)))
		return err_set(err, ERR_POLICY, OP, OBJ_nid2sn(nid), "the directory's value is no single line of UTF-8; correct the entry");
	if (utf8_characters(value) > UB_NAME)
		return err_set(err, ERR_POLICY, OP, OBJ_nid2sn(nid), "the directory's value is longer than %d characters; shorten it there",
			UB_NAME);
	if (X509_NAME_add_entry_by_NID(name, nid, MBSTRING_UTF8, (const unsigned char *)value, -1, -1, 0) != 1)
		return err_openssl(err, ERR_BUG, OP, OBJ_nid2sn(nid));
	return true;
}

static bool has_text(const char *s)
{
	return s != NULL && s[0] != 0;
}

/* commonName is optional everywhere: a display name too long for it is left out, not cut. */
static const char *common_name(const struct directory_person *person)
{
	const char *name = person->display_name;

	return has_text(name) && utf8_characters(name) <= UB_NAME ? name : NULL;
}

static bool person_needed(const struct certificate_profile *p, const struct directory_person *person, struct err *err)
{
	bool organization = p->validation == VALIDATION_ORGANIZATION || p->validation == VALIDATION_SPONSOR;
	bool natural = p->validation == VALIDATION_SPONSOR || p->validation == VALIDATION_INDIVIDUAL;

	if (person == NULL)
		return err_set(err, ERR_POLICY, OP, validation_name(p->validation),
			"a %s-validated certificate needs the directory entry of the user", validation_name(p->validation));
	if (natural && !has_text(person->given_name) && !has_text(person->surname))
		return err_set(err, ERR_POLICY, OP, person->dn != NULL ? person->dn : "",
			"the directory entry has neither givenName nor sn, which a "
			"%s-validated certificate needs; add them, or use mailbox validation for this address",
			validation_name(p->validation));
	if (organization && !has_text(person->organization))
		return err_set(err, ERR_POLICY, OP, person->dn != NULL ? person->dn : "",
			"the directory entry has no organization (o), which a "
			"%s-validated certificate needs exactly as the CA knows it",
			validation_name(p->validation));
	return true;
}

static bool subject_fill(X509_NAME *name, const struct certificate_profile *p, const struct strlist *addresses,
	const struct directory_person *person, struct err *err)
{
	/* The address as commonName, which the profile allows, rather than no subject at all: gpgsm refuses signatures with a certificate whose
	 * subject is empty. */
	if (p->validation == VALIDATION_MAILBOX || (p->validation == VALIDATION_PRIVATE && person == NULL))
		return utf8_characters(addresses->v[0]) > UB_NAME || name_add(name, NID_commonName, addresses->v[0], err);
	if (p->validation != VALIDATION_PRIVATE && !person_needed(p, person, err))
		return false;
	/* no names of people in the certificate of an organization, no organization in one of an individual */
	if (p->validation == VALIDATION_ORGANIZATION)
		return name_add(name, NID_organizationName, person->organization, err) &&
		       name_add(name, NID_commonName, person->organization, err);
	if (p->validation != VALIDATION_INDIVIDUAL && !name_add(name, NID_organizationName, person->organization, err))
		return false;
	return name_add(name, NID_givenName, person->given_name, err) && name_add(name, NID_surname, person->surname, err) &&
	       name_add(name, NID_commonName, common_name(person), err);
}

/* ---- extensions -------------------------------------------------------------------------------------------------- */

static bool is_ascii(const char *s)
{
	for (; *s != 0; s++)
		if ((unsigned char)*s >= 0x80)
			return false;
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

		if (!address_parse(&parsed, addresses->v[i], err))
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
	int len;

	if (req == NULL) {
		err_nomem(err, OP);
		goto out;
	}
	if (addresses->n == 0) {
		err_set(err, ERR_BUG, OP, "", "no address to ask a certificate for");
		goto out;
	}
	if (X509_REQ_set_version(req, X509_REQ_VERSION_1) != 1 || X509_REQ_set_pubkey(req, key) != 1) {
		err_openssl(err, ERR_BUG, OP, addresses->v[0]);
		goto out;
	}
	if (!subject_fill(X509_REQ_get_subject_name(req), p, addresses, person, err) || !add_extensions(req, p, key, addresses, err))
		goto out;
	if (X509_REQ_sign(req, key, EVP_get_digestbyname(type != NULL ? type->digest : "SHA256")) <= 0) {
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
