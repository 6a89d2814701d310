/*
 * policy/certcheck_rows_names.c - rows about the alternative name and the subject.
 *
 * The rules for a subject hold for every directoryName of the alternative name as well (SAN-5), so they judge c->name, which is
 * the subject first and each directoryName after it.  Names are compared exactly: the requirements do not say whether case
 * counts, and the strict reading is the one that no client contradicts.
 */
#include "config.h"

#include "policy/certcheck_rows.h"
#include "policy/subject.h"

#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool same_text(const struct name_attribute *a, const struct name_attribute *b)
{
	return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

static const struct name_attribute *attribute(const struct certcheck *c, int nid)
{
	for (size_t i = 0; i < c->name->n; i++)
		if (c->name->v[i].nid == nid)
			return &c->name->v[i];
	return NULL;
}

static bool has(const struct certcheck *c, int nid)
{
	return attribute(c, nid) != NULL;
}

static bool is_address(const struct name_attribute *a)
{
	struct address parsed;

	return mailbox_parse(a->text, a->len, &parsed);
}

static const char *attribute_name(const struct name_attribute *a, struct printable *where)
{
	if (a->nid == NID_undef)
		return printable_oid(where, a->object);
	snprintf(where->s, sizeof where->s, "%s", OBJ_nid2ln(a->nid));
	return where->s;
}
#define ATTRIBUTE_NAME(a) attribute_name((a), &(struct printable){{0}})

/* ---- alternative name -------------------------------------------------------------------------------------------- */

void row_san_1(struct certcheck *c)
{
	if (c->san == NULL)
		row_report(c, "the alternative name is missing");
	else if (c->n_mailboxes == 0)
		row_report(c, "the alternative name has no mailbox address");
}

void row_san_1_empty_subject(struct certcheck *c)
{
	if (c->san == NULL && c->subject.n == 0)
		row_report(c, "neither the subject nor an alternative name says whose it is");
}

static void san_2_name(struct certcheck *c, const struct name_view *name)
{
	for (size_t i = 0; i < name->n; i++) {
		const struct name_attribute *a = &name->v[i];
		bool address = is_address(a);

		if (a->nid == NID_pkcs9_emailAddress && !address)
			row_report(c, "emailAddress is not one single address: \"%s\"", PRINTABLE(a->text, a->len));
		else if ((a->nid == NID_pkcs9_emailAddress || (a->nid == NID_commonName && address)) && !mailbox_in_san(c, a->text, a->len))
			row_report(c, "%s \"%s\" is not repeated in the alternative name", ATTRIBUTE_NAME(a), PRINTABLE(a->text, a->len));
	}
}

void row_san_2(struct certcheck *c)
{
	san_2_name(c, &c->subject);
	for (size_t i = 0; i < c->n_directory_names; i++)
		san_2_name(c, &c->directory_names[i]);
}

void row_san_3(struct certcheck *c)
{
	static const char *const kinds[] = {[GEN_DNS] = "a DNS name",
		[GEN_X400] = "an X.400 address",
		[GEN_EDIPARTY] = "an EDI party name",
		[GEN_URI] = "a URI",
		[GEN_IPADD] = "an IP address",
		[GEN_RID] = "a registered ID"};

	for (int i = 0; i < sk_GENERAL_NAME_num(c->san); i++) {
		int type = sk_GENERAL_NAME_value(c->san, i)->type;

		if (type >= 0 && (size_t)type < COUNT(kinds) && kinds[type] != NULL)
			row_report(c, "the alternative name has %s", kinds[type]);
	}
}

void row_san_4(struct certcheck *c)
{
	for (int i = 0; i < sk_GENERAL_NAME_num(c->san); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(c->san, i);

		if (name->type == GEN_OTHERNAME && OBJ_obj2nid(name->d.otherName->type_id) != NID_id_on_SmtpUTF8Mailbox)
			row_report(c, "the alternative name has an otherName of type %s", PRINTABLE_OID(name->d.otherName->type_id));
	}
}

void row_san_5(struct certcheck *c)
{
	for (size_t i = 0; i < c->n_directory_names; i++)
		row_run_names(c, &c->directory_names[i]);
}

static bool is_ascii(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)s[i] >= 0x80)
			return false;
	return true;
}

void row_san_6(struct certcheck *c)
{
	for (size_t i = 0; i < c->n_mailboxes; i++) {
		const struct mailbox *m = &c->mailboxes[i];
		const char *at = memrchr(m->text, '@', m->len);
		size_t local = at != NULL ? (size_t)(at - m->text) : 0;

		if (!m->typed)
			row_report(c, "SmtpUTF8Mailbox is no UTF8String");
		else if (!m->valid || at == NULL)
			row_report(c, "\"%s\" is no bare mailbox address", PRINTABLE(m->text, m->len));
		else if (!m->utf8 && !is_ascii(m->text, m->len))
			row_report(c, "rfc822Name \"%s\" is not ASCII", PRINTABLE(m->text, m->len));
		else if (m->utf8 && is_ascii(m->text, local))
			row_report(c, "SmtpUTF8Mailbox \"%s\" has an ASCII local part", PRINTABLE(m->text, m->len));
		else if (m->utf8 && !is_ascii(at, m->len - local))
			row_report(c, "the domain of SmtpUTF8Mailbox \"%s\" is not in A-labels", PRINTABLE(m->text, m->len));
	}
}

/* ---- subject: values --------------------------------------------------------------------------------------------- */

static bool string_type_fits(const struct name_attribute *a)
{
	int type = ASN1_STRING_type(a->string);

	switch (a->nid) {
	case NID_countryName:
	case NID_serialNumber:
		return type == V_ASN1_PRINTABLESTRING;
	case NID_pkcs9_emailAddress:
	case NID_domainComponent:
		return type == V_ASN1_IA5STRING;
	case NID_undef:
		return true; /* DN-8 judges attributes that nobody knows */
	default:
		return type == V_ASN1_UTF8STRING || type == V_ASN1_PRINTABLESTRING;
	}
}

void row_dn_1(struct certcheck *c)
{
	for (size_t i = 0; i < c->name->n; i++) {
		const struct name_attribute *a = &c->name->v[i];
		size_t n = subject_characters(a->text, a->len), max = subject_bound(a->nid);

		if (!string_type_fits(a))
			row_report(c, "%s has the wrong string type", ATTRIBUTE_NAME(a));
		if (ASN1_STRING_length(a->string) == 0)
			row_report(c, "%s is empty", ATTRIBUTE_NAME(a));
		else if (!text_is_utf8(a->text, a->len) || memchr(a->text, 0, a->len) != NULL)
			row_report(c, "%s holds no valid text", ATTRIBUTE_NAME(a));
		if (max > 0 && n > max)
			row_report(c, "%s has %zu characters, more than %zu", ATTRIBUTE_NAME(a), n, max);
	}
}

void row_dn_2(struct certcheck *c)
{
	for (size_t i = 0; i < c->name->n; i++) {
		const struct name_attribute *a = &c->name->v[i];

		/* a country is two letters that DN-11 judges (NA is Namibia), and a person may be called Na */
		if (a->nid != NID_countryName && a->nid != NID_givenName && a->nid != NID_surname && subject_says_nothing(a->text, a->len))
			row_report(c, "%s says that there is no value: \"%s\"", ATTRIBUTE_NAME(a), PRINTABLE(a->text, a->len));
	}
}

/* ---- subject: which attributes ----------------------------------------------------------------------------------- */

static void only(struct certcheck *c, const int *allowed, size_t n)
{
	for (size_t i = 0; i < c->name->n; i++) {
		bool found = false;

		for (size_t j = 0; j < n && !found; j++)
			found = c->name->v[i].nid == allowed[j];
		if (!found)
			row_report(c, "attribute %s has no place here", ATTRIBUTE_NAME(&c->name->v[i]));
	}
}

static void none_of(struct certcheck *c, const int *banned, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (has(c, banned[i]))
			row_report(c, "attribute %s is banned", OBJ_nid2ln(banned[i]));
}

void row_dn_3(struct certcheck *c)
{
	static const int allowed[] = {NID_commonName, NID_serialNumber, NID_pkcs9_emailAddress};

	only(c, allowed, COUNT(allowed));
}

void row_dn_4(struct certcheck *c)
{
	if (!has(c, NID_organizationName))
		row_report(c, "organizationName is missing");
	if (!has(c, NID_organizationIdentifier))
		row_report(c, "organizationIdentifier is missing");
}

void row_dn_5(struct certcheck *c)
{
	static const int banned[] = {NID_givenName, NID_surname, NID_pseudonym, NID_title};

	none_of(c, banned, COUNT(banned));
}

void row_dn_6(struct certcheck *c)
{
	static const int banned[] = {NID_organizationName, NID_organizationalUnitName, NID_organizationIdentifier};

	none_of(c, banned, COUNT(banned));
}

void row_dn_7(struct certcheck *c)
{
	static const int banned[] = {NID_streetAddress, NID_postalCode};

	none_of(c, banned, COUNT(banned));
}

void row_dn_8(struct certcheck *c)
{
	/* attributes banned for one type or generation alone are here too: DN-5, DN-6 and DN-7 report them */
	static const int allowed[] = {NID_commonName, NID_organizationName, NID_organizationalUnitName, NID_organizationIdentifier,
		NID_givenName, NID_surname, NID_pseudonym, NID_serialNumber, NID_pkcs9_emailAddress, NID_title, NID_streetAddress,
		NID_localityName, NID_stateOrProvinceName, NID_postalCode, NID_countryName};

	only(c, allowed, COUNT(allowed));
}

void row_dn_9(struct certcheck *c)
{
	bool name = has(c, NID_givenName) || has(c, NID_surname), pseudonym = has(c, NID_pseudonym);

	if (!name && !pseudonym)
		row_report(c, "neither givenName nor surname nor pseudonym is there");
	else if (name && pseudonym)
		row_report(c, "a pseudonym stands next to a name");
}

void row_dn_10(struct certcheck *c)
{
	bool place = has(c, NID_localityName) || has(c, NID_stateOrProvinceName);

	if (has(c, NID_streetAddress) && !place)
		row_report(c, "streetAddress without localityName or stateOrProvinceName");
	if ((place || has(c, NID_postalCode)) && !has(c, NID_countryName))
		row_report(c, "localityName, stateOrProvinceName or postalCode without countryName");
}

void row_dn_11(struct certcheck *c)
{
	for (size_t i = 0; i < c->name->n; i++) {
		const struct name_attribute *a = &c->name->v[i];

		if (a->nid == NID_countryName && !subject_is_country(a->text, a->len))
			row_report(c, "countryName \"%s\" is no assigned code", PRINTABLE(a->text, a->len));
	}
}

/* ---- common name ------------------------------------------------------------------------------------------------- */

void row_cn_1(struct certcheck *c)
{
	for (size_t i = 0; i < c->name->n; i++) {
		const struct name_attribute *a = &c->name->v[i];

		if (a->nid == NID_commonName && !mailbox_in_san(c, a->text, a->len))
			row_report(c, "commonName \"%s\" is no address of the alternative name", PRINTABLE(a->text, a->len));
	}
}

void row_cn_2(struct certcheck *c)
{
	for (size_t i = 0; i < c->name->n; i++) {
		const struct name_attribute *a = &c->name->v[i];
		bool fits = a->nid != NID_commonName || mailbox_in_san(c, a->text, a->len);

		for (size_t j = 0; j < c->name->n && !fits; j++)
			fits = c->name->v[j].nid == NID_organizationName && same_text(a, &c->name->v[j]);
		if (!fits)
			row_report(c, "commonName \"%s\" is neither the organization nor an address of the alternative name",
				PRINTABLE(a->text, a->len));
	}
}

void row_cn_3(struct certcheck *c)
{
	const struct name_attribute *pseudonym = attribute(c, NID_pseudonym);

	for (size_t i = 0; i < c->name->n; i++) {
		const struct name_attribute *a = &c->name->v[i];

		if (a->nid != NID_commonName || mailbox_in_san(c, a->text, a->len))
			continue;
		if (is_address(a))
			row_report(c, "commonName \"%s\" is an address that is not in the alternative name", PRINTABLE(a->text, a->len));
		else if (pseudonym != NULL && !same_text(a, pseudonym))
			row_report(c, "commonName \"%s\" is not the pseudonym", PRINTABLE(a->text, a->len));
		/* without a pseudonym, what is no address is taken for the person's name: no machine can compare that */
	}
}

/* ---- organizationIdentifier -------------------------------------------------------------------------------------- */

void row_org_1(struct certcheck *c)
{
	for (size_t i = 0; i < c->name->n; i++) {
		const struct name_attribute *a = &c->name->v[i];
		struct organization_id id;
		int type = ASN1_STRING_type(a->string);

		if (a->nid != NID_organizationIdentifier)
			continue;
		if (type != V_ASN1_UTF8STRING && type != V_ASN1_PRINTABLESTRING)
			row_report(c, "organizationIdentifier is neither PrintableString nor UTF8String");
		if (!organization_id_parse(&id, a->text, a->len))
			row_report(c, "organizationIdentifier \"%s\" has not the form SCHEMECOUNTRY[+SUB]-REFERENCE",
				PRINTABLE(a->text, a->len));
	}
}

void row_org_2(struct certcheck *c)
{
	for (size_t i = 0; i < c->name->n; i++) {
		const struct name_attribute *a = &c->name->v[i];
		struct organization_id id;
		const char *trouble;

		if (a->nid != NID_organizationIdentifier || !organization_id_parse(&id, a->text, a->len))
			continue;
		trouble = organization_id_trouble(&id);
		if (trouble != NULL)
			row_report(c, "organizationIdentifier \"%s\": %s", PRINTABLE(a->text, a->len), trouble);
	}
}

void row_org_3(struct certcheck *c)
{
	const struct name_attribute *country = attribute(c, NID_countryName);

	for (size_t i = 0; i < c->name->n && country != NULL; i++) {
		const struct name_attribute *a = &c->name->v[i];
		struct organization_id id;

		if (a->nid != NID_organizationIdentifier || !organization_id_parse(&id, a->text, a->len) ||
			organization_id_fits(&id, country->text, country->len))
			continue;
		row_report(c, "organizationIdentifier is of %s, countryName is \"%s\"", id.country, PRINTABLE(country->text, country->len));
	}
}

void row_org_4(struct certcheck *c)
{
	for (size_t i = 0; i < c->name->n; i++) {
		const struct name_attribute *a = &c->name->v[i];
		struct organization_id id;

		if (a->nid == NID_organizationIdentifier && organization_id_parse(&id, a->text, a->len) && !organization_id_is_euid(&id))
			row_report(c, "the reference of a German register entry is no EUID: \"%s\"", PRINTABLE(a->text, a->len));
	}
}
