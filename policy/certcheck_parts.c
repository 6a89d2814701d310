/*
 * policy/certcheck_parts.c - takes a certificate apart once, so that the rows only look.
 *
 * OpenSSL has parsed the outer structure when we get it.  What is inside extensions is still raw: it is decoded here, once, and
 * whatever cannot be decoded simply counts as missing (FRM-2 names it).  Nothing is copied but what must be converted; all
 * pointers live as long as the leaf.  Strings of a certificate are bytes with a length: NUL inside an address is the classic
 * trick to make one program see alice@example.org and the next one alice@example.org.attacker.
 */
#include "config.h"

#include "policy/certcheck_rows.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/objects.h>

/* Not in OpenSSL's table of objects, or not in every version of it. */
#define OID_LEI "1.3.6.1.4.1.52266.1"
#define OID_LEI_ROLE "1.3.6.1.4.1.52266.2"
#define OID_ADOBE_TIME "1.2.840.113583.1.1.9.1"
#define OID_ADOBE_ARCHIVE "1.2.840.113583.1.1.9.2"
#define OID_SMTP_UTF8 "1.3.6.1.5.5.7.8.9"
#define OID_ML_DSA_PREFIX "2.16.840.1.101.3.4.3."
#define OID_ML_KEM_PREFIX "2.16.840.1.101.3.4.4."

bool oid_is(const ASN1_OBJECT *object, const char *dotted)
{
	char text[128];
	int n = OBJ_obj2txt(text, sizeof text, object, 1);

	return n > 0 && (size_t)n < sizeof text && strcmp(text, dotted) == 0;
}

const char *printable_text(struct printable *where, const void *data, size_t len)
{
	const unsigned char *p = data;
	size_t shown = len > 60 ? 60 : len, at = 0;

	for (size_t i = 0; i < shown; i++) {
		if (p[i] >= 0x20 && p[i] < 0x7f && p[i] != '\\' && p[i] != '"')
			where->s[at++] = (char)p[i];
		else
			at += (size_t)snprintf(where->s + at, 5, "\\x%02x", p[i]);
	}
	snprintf(where->s + at, 4, "%s", shown < len ? "..." : "");
	return where->s;
}

const char *printable_oid(struct printable *where, const ASN1_OBJECT *object)
{
	if (OBJ_obj2txt(where->s, 100, object, 1) <= 0)
		snprintf(where->s, sizeof where->s, "unreadable object identifier");
	return where->s;
}

/* ---- strict DER -------------------------------------------------------------------------------------------------- */

static bool der_primitive_is_strict(int tag, const unsigned char *p, size_t len, bool false_allowed)
{
	switch (tag) {
	case V_ASN1_BOOLEAN:
		return len == 1 && (p[0] == 0xff || (p[0] == 0 && false_allowed));
	case V_ASN1_INTEGER:
	case V_ASN1_ENUMERATED:
		return len == 1 || (len > 1 && !(p[0] == 0 && p[1] < 0x80) && !(p[0] == 0xff && p[1] >= 0x80));
	case V_ASN1_BIT_STRING:
		/* unused bits are zero */
		return len == 1 ? p[0] == 0 : len > 1 && p[0] < 8 && (p[len - 1] & ((1u << p[0]) - 1)) == 0;
	case V_ASN1_NULL:
		return len == 0;
	case V_ASN1_OBJECT:
		return len > 0 && p[len - 1] < 0x80;
	case V_ASN1_UTCTIME:
		return len == 13 && p[12] == 'Z';
	case V_ASN1_GENERALIZEDTIME:
		return len == 15 && p[14] == 'Z';
	default:
		return true;
	}
}

static bool der_elements(const unsigned char *p, size_t len, bool false_allowed, unsigned depth, size_t *count)
{
	*count = 0;
	while (len > 0) {
		const unsigned char *q = p;
		long content = 0;
		int tag = 0, class = 0, flags = ASN1_get_object(&q, &content, &tag, &class, (long)len);
		size_t header = (size_t)(q - p), inner;

		if ((flags & 0x80) != 0 || (flags & 1) != 0 || content < 0 || header + (size_t)content > len)
			return false;
		/* the one shortest way to write tag and length */
		if (ASN1_object_size(flags & V_ASN1_CONSTRUCTED ? 1 : 0, (int)content, tag) != (int)header + (int)content)
			return false;
		if (flags & V_ASN1_CONSTRUCTED) {
			if (class == V_ASN1_UNIVERSAL && tag != V_ASN1_SEQUENCE && tag != V_ASN1_SET)
				return false; /* strings are never in pieces in DER */
			if (depth == 0 || !der_elements(q, (size_t)content, false_allowed, depth - 1, &inner))
				return false;
		} else if (class == V_ASN1_UNIVERSAL && !der_primitive_is_strict(tag, q, (size_t)content, false_allowed)) {
			return false;
		}
		len -= header + (size_t)content;
		p = q + content;
		++*count;
	}
	return true;
}

bool der_is_strict(const unsigned char *p, size_t len, bool false_allowed)
{
	size_t count;
	bool strict = len <= CERTCHECK_MAX_DER && der_elements(p, len, false_allowed, 24, &count) && count == 1;

	/* ASN1_get_object leaves notes in OpenSSL's error queue, which must not turn up in somebody else's error */
	ERR_clear_error();
	return strict;
}

/* ---- key --------------------------------------------------------------------------------------------------------- */

/* The last number of an object identifier below this prefix, when it is between low and high; 0 otherwise. */
static int oid_last(const ASN1_OBJECT *object, const char *prefix, int low, int high)
{
	char text[128];
	int n = OBJ_obj2txt(text, sizeof text, object, 1), last;
	size_t skip = strlen(prefix);

	if (n <= 0 || (size_t)n >= sizeof text || strncmp(text, prefix, skip) != 0 || strchr(text + skip, '.') != NULL)
		return 0;
	last = atoi(text + skip);
	return last >= low && last <= high ? last : 0;
}

enum key_kind certcheck_key_kind(X509_PUBKEY *key, int *curve)
{
	ASN1_OBJECT *object = NULL;
	X509_ALGOR *algorithm = NULL;
	const void *parameter = NULL;
	int type = 0;

	*curve = 0;
	if (key == NULL || X509_PUBKEY_get0_param(&object, NULL, NULL, &algorithm, key) != 1)
		return KEY_UNKNOWN;
	switch (OBJ_obj2nid(object)) {
	case NID_rsaEncryption:
		return KEY_RSA;
	case NID_X9_62_id_ecPublicKey:
		X509_ALGOR_get0(NULL, &type, &parameter, algorithm);
		*curve = type == V_ASN1_OBJECT ? OBJ_obj2nid(parameter) : 0;
		return KEY_EC;
	case NID_ED25519:
		return KEY_ED25519;
	case NID_ED448:
		return KEY_ED448;
	default:
		if ((*curve = oid_last(object, OID_ML_DSA_PREFIX, 17, 19)) != 0)
			return KEY_ML_DSA;
		return (*curve = oid_last(object, OID_ML_KEM_PREFIX, 1, 3)) != 0 ? KEY_ML_KEM : KEY_UNKNOWN;
	}
}

static void parts_key(struct certcheck *c)
{
	X509_PUBKEY *pubkey = X509_get_X509_PUBKEY(c->leaf);
	X509_ALGOR *algorithm = NULL;
	int len = 0;

	if (pubkey == NULL || X509_PUBKEY_get0_param(NULL, &c->key_bits, &len, &algorithm, pubkey) != 1)
		return;
	c->key_bits_len = len > 0 ? (size_t)len : 0;
	c->key_algorithm = algorithm;
	c->key = certcheck_key_kind(pubkey, &c->curve);
}

/* ---- extensions -------------------------------------------------------------------------------------------------- */

static enum ext ext_of(const ASN1_OBJECT *object)
{
	/* clang-format off */
	switch (OBJ_obj2nid(object)) {
	case NID_certificate_policies: return EXT_POLICIES;
	case NID_crl_distribution_points: return EXT_CRL;
	case NID_info_access: return EXT_AIA;
	case NID_basic_constraints: return EXT_BASIC;
	case NID_key_usage: return EXT_KU;
	case NID_ext_key_usage: return EXT_EKU;
	case NID_authority_key_identifier: return EXT_AKI;
	case NID_subject_alt_name: return EXT_SAN;
	case NID_SMIMECapabilities: return EXT_CAPABILITIES;
	case NID_subject_directory_attributes: return EXT_SDA;
	case NID_qcStatements: return EXT_QC;
	case NID_subject_key_identifier: return EXT_SKI;
	default: break;
	}
	/* clang-format on */
	if (oid_is(object, OID_LEI))
		return EXT_LEI;
	if (oid_is(object, OID_LEI_ROLE))
		return EXT_LEI_ROLE;
	if (oid_is(object, OID_ADOBE_TIME))
		return EXT_ADOBE_TIME;
	return oid_is(object, OID_ADOBE_ARCHIVE) ? EXT_ADOBE_ARCHIVE : EXT_OTHER;
}

static void *ext_decode(const struct certcheck *c, enum ext which)
{
	/* X509V3_EXT_d2i does not mind bytes behind the value; one element is all that may be there (FRM-2 reports it) */
	return c->ext[which] != NULL ? X509V3_EXT_d2i(c->ext[which]) : NULL;
}

/* The bits of a key usage as a mask; a bit string may be longer than the nine bits that have a name. */
static unsigned key_usage_mask(const ASN1_BIT_STRING *bits)
{
	unsigned mask = 0;

	for (int i = 0; i < 9; i++)
		mask |= ASN1_BIT_STRING_get_bit(bits, i) ? 1u << i : 0;
	for (int i = 9; i < ASN1_STRING_length(bits) * 8; i++)
		mask |= ASN1_BIT_STRING_get_bit(bits, i) ? KU_BIT_FOREIGN : 0;
	return mask;
}

static void parts_extensions(struct certcheck *c)
{
	ASN1_BIT_STRING *ku;
	int n = X509_get_ext_count(c->leaf);

	for (int i = 0; i < n; i++) {
		X509_EXTENSION *e = X509_get_ext(c->leaf, i);
		enum ext which = ext_of(X509_EXTENSION_get_object(e));

		if (c->ext_count[which]++ == 0) {
			c->ext[which] = e;
			c->ext_critical[which] = X509_EXTENSION_get_critical(e);
		}
	}
	c->policies = ext_decode(c, EXT_POLICIES);
	c->crl = ext_decode(c, EXT_CRL);
	c->aia = ext_decode(c, EXT_AIA);
	c->basic = ext_decode(c, EXT_BASIC);
	c->eku = ext_decode(c, EXT_EKU);
	c->aki = ext_decode(c, EXT_AKI);
	c->ski = ext_decode(c, EXT_SKI);
	c->san = ext_decode(c, EXT_SAN);
	ku = ext_decode(c, EXT_KU);
	if (ku != NULL)
		c->ku = key_usage_mask(ku);
	ASN1_BIT_STRING_free(ku);
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

static bool name_view_init(struct name_view *view, const X509_NAME *name)
{
	int n = X509_NAME_entry_count(name);

	if (n <= 0)
		return true;
	view->v = calloc((size_t)n, sizeof *view->v);
	if (view->v == NULL)
		return false;
	view->n = (size_t)n;
	for (int i = 0; i < n; i++) {
		struct name_attribute *a = &view->v[i];
		X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);
		int type, len;

		a->object = X509_NAME_ENTRY_get_object(entry);
		a->string = X509_NAME_ENTRY_get_data(entry);
		a->nid = OBJ_obj2nid(a->object);
		a->text = (const char *)ASN1_STRING_get0_data(a->string);
		a->len = (size_t)ASN1_STRING_length(a->string);
		type = ASN1_STRING_type(a->string);
		if (type != V_ASN1_UTF8STRING && type != V_ASN1_PRINTABLESTRING && type != V_ASN1_IA5STRING) {
			len = ASN1_STRING_to_UTF8(&a->owned, a->string);
			a->text = len >= 0 ? (const char *)a->owned : "";
			a->len = len >= 0 ? (size_t)len : 0;
		}
		if (a->text == NULL) {
			a->text = "";
			a->len = 0;
		}
	}
	return true;
}

static void name_view_clear(struct name_view *view)
{
	for (size_t i = 0; i < view->n; i++)
		OPENSSL_free(view->v[i].owned);
	free(view->v);
	memset(view, 0, sizeof *view);
}

/* The value of a SmtpUTF8Mailbox, or false for another otherName. */
static bool smtp_utf8(const GENERAL_NAME *name, struct mailbox *out)
{
	const ASN1_TYPE *value;

	if (name->type != GEN_OTHERNAME || !oid_is(name->d.otherName->type_id, OID_SMTP_UTF8))
		return false;
	value = name->d.otherName->value;
	*out = (struct mailbox){.text = "", .utf8 = true};
	if (value != NULL && value->type == V_ASN1_UTF8STRING && value->value.utf8string->data != NULL) {
		out->text = (const char *)value->value.utf8string->data;
		out->len = (size_t)value->value.utf8string->length;
		out->typed = true;
	}
	return true;
}

bool certcheck_parts_mailboxes(struct certcheck *c)
{
	int n = c->san != NULL ? sk_GENERAL_NAME_num(c->san) : 0;

	if (n <= 0)
		return true;
	c->mailboxes = calloc((size_t)n, sizeof *c->mailboxes);
	if (c->mailboxes == NULL)
		return false;
	for (int i = 0; i < n; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(c->san, i);
		struct mailbox *m = &c->mailboxes[c->n_mailboxes];

		if (name->type == GEN_EMAIL && name->d.rfc822Name->data != NULL) {
			*m = (struct mailbox){
				.text = (const char *)name->d.rfc822Name->data, .len = (size_t)name->d.rfc822Name->length, .typed = true};
		} else if (!smtp_utf8(name, m)) {
			continue;
		}
		m->valid = mailbox_parse(m->text, m->len, &m->parsed);
		c->n_mailboxes++;
	}
	return true;
}

static bool parts_directory_names(struct certcheck *c)
{
	int n = c->san != NULL ? sk_GENERAL_NAME_num(c->san) : 0;

	for (int i = 0; i < n; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(c->san, i);

		if (name->type != GEN_DIRNAME)
			continue;
		if (c->directory_names == NULL) {
			c->directory_names = calloc((size_t)n, sizeof *c->directory_names);
			if (c->directory_names == NULL)
				return false;
		}
		if (!name_view_init(&c->directory_names[c->n_directory_names++], name->d.directoryName))
			return false;
	}
	return true;
}

static bool time_of(const ASN1_TIME *t, time_t *out)
{
	struct tm tm;

	if (t == NULL || ASN1_TIME_to_tm(t, &tm) != 1)
		return false;
	*out = timegm(&tm);
	return true;
}

unsigned certcheck_day(const ASN1_TIME *t)
{
	struct tm tm;

	if (t == NULL || ASN1_TIME_to_tm(t, &tm) != 1 || tm.tm_year < 0 || tm.tm_year > 8099)
		return UINT_MAX;
	return (unsigned)((tm.tm_year + 1900) * 10000 + (tm.tm_mon + 1) * 100 + tm.tm_mday);
}

bool certcheck_parts_init(struct certcheck *c, X509 *leaf, const struct certcheck_request *req)
{
	ASN1_TIME *as_of = req->as_of != 0 ? ASN1_TIME_set(NULL, req->as_of) : NULL;
	bool ok;

	c->leaf = leaf;
	c->req = req;
	c->private_profile = req->profile->validation == VALIDATION_PRIVATE;
	c->times = time_of(X509_get0_notBefore(leaf), &c->not_before) && time_of(X509_get0_notAfter(leaf), &c->not_after);
	c->day = as_of != NULL || c->times ? certcheck_day(as_of != NULL ? as_of : X509_get0_notBefore(leaf)) : UINT_MAX;
	ASN1_TIME_free(as_of);
	parts_key(c);
	parts_extensions(c);
	c->name = &c->subject;
	ok = name_view_init(&c->subject, X509_get_subject_name(leaf)) && certcheck_parts_mailboxes(c) && parts_directory_names(c);
	/* what could not be decoded is judged by the rows; OpenSSL's notes about it are not an error of ours */
	ERR_clear_error();
	return ok;
}

void certcheck_parts_clear(struct certcheck *c)
{
	CERTIFICATEPOLICIES_free(c->policies);
	CRL_DIST_POINTS_free(c->crl);
	AUTHORITY_INFO_ACCESS_free(c->aia);
	BASIC_CONSTRAINTS_free(c->basic);
	EXTENDED_KEY_USAGE_free(c->eku);
	AUTHORITY_KEYID_free(c->aki);
	ASN1_OCTET_STRING_free(c->ski);
	GENERAL_NAMES_free(c->san);
	name_view_clear(&c->subject);
	for (size_t i = 0; i < c->n_directory_names; i++)
		name_view_clear(&c->directory_names[i]);
	free(c->directory_names);
	free(c->mailboxes);
	sk_X509_pop_free(c->chain, X509_free);
	OPENSSL_free(c->der);
	memset(c, 0, sizeof *c);
}

/* ---- mailboxes --------------------------------------------------------------------------------------------------- */

bool mailbox_parse(const char *text, size_t len, struct address *out)
{
	char copy[ADDRESS_MAX];

	if (len == 0 || len >= sizeof copy || memchr(text, 0, len) != NULL)
		return false;
	memcpy(copy, text, len);
	copy[len] = 0;
	return address_parse(out, copy, NULL);
}

bool mailbox_in_san(const struct certcheck *c, const char *text, size_t len)
{
	struct address wanted;

	if (!mailbox_parse(text, len, &wanted))
		return false;
	for (size_t i = 0; i < c->n_mailboxes; i++) {
		const struct mailbox *m = &c->mailboxes[i];

		if (m->valid && strcmp(m->parsed.local, wanted.local) == 0 && strcmp(m->parsed.domain, wanted.domain) == 0)
			return true;
	}
	return false;
}
