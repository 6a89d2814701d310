/*
 * policy/certcheck_rows_names.c - rows about the alternative name and the subject.
 *
 * The rules for a subject hold for every directoryName of the alternative name as well (SAN-5), so they judge c->name, which is
 * the subject first and each directoryName after it.  Names are compared exactly: the requirements do not say whether case
 * counts, and the strict reading is the one that no client contradicts.
 */
#include "config.h"

#include "policy/certcheck_rows.h"

#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool text_is(const struct name_attribute *a, const char *s)
{
	return a->len == strlen(s) && memcmp(a->text, s, a->len) == 0;
}

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

static void san_1(struct certcheck *c)
{
	if (c->san == NULL)
		row_report(c, "the alternative name is missing");
	else if (c->n_mailboxes == 0)
		row_report(c, "the alternative name has no mailbox address");
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

static void san_2(struct certcheck *c)
{
	san_2_name(c, &c->subject);
	for (size_t i = 0; i < c->n_directory_names; i++)
		san_2_name(c, &c->directory_names[i]);
}

static void san_3(struct certcheck *c)
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

static void san_4(struct certcheck *c)
{
	for (int i = 0; i < sk_GENERAL_NAME_num(c->san); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(c->san, i);

		if (name->type == GEN_OTHERNAME && OBJ_obj2nid(name->d.otherName->type_id) != NID_id_on_SmtpUTF8Mailbox)
			row_report(c, "the alternative name has an otherName of type %s", PRINTABLE_OID(name->d.otherName->type_id));
	}
}

static void san_5(struct certcheck *c)
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

static void san_6(struct certcheck *c)
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

/* RFC 5280 appendix A.1: characters, not octets. */
static const struct {
	int nid;
	size_t max;
} bounds[] = {{NID_commonName, 64}, {NID_organizationName, 64}, {NID_organizationalUnitName, 64}, {NID_title, 64}, {NID_serialNumber, 64},
	{NID_localityName, 128}, {NID_stateOrProvinceName, 128}, {NID_pseudonym, 128}, {NID_pkcs9_emailAddress, 255}};

static size_t characters(const struct name_attribute *a)
{
	size_t n = 0;

	for (size_t i = 0; i < a->len; i++)
		n += ((unsigned char)a->text[i] & 0xc0) != 0x80;
	return n;
}

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

static void dn_1(struct certcheck *c)
{
	for (size_t i = 0; i < c->name->n; i++) {
		const struct name_attribute *a = &c->name->v[i];

		if (!string_type_fits(a))
			row_report(c, "%s has the wrong string type", ATTRIBUTE_NAME(a));
		if (ASN1_STRING_length(a->string) == 0)
			row_report(c, "%s is empty", ATTRIBUTE_NAME(a));
		else if (!text_is_utf8(a->text, a->len) || memchr(a->text, 0, a->len) != NULL)
			row_report(c, "%s holds no valid text", ATTRIBUTE_NAME(a));
		for (size_t j = 0; j < COUNT(bounds); j++)
			if (bounds[j].nid == a->nid && characters(a) > bounds[j].max)
				row_report(c, "%s has %zu characters, more than %zu", ATTRIBUTE_NAME(a), characters(a), bounds[j].max);
	}
}

static bool says_nothing(const struct name_attribute *a)
{
	static const char *const words[] = {
		"n/a", "na", "none", "null", "nil", "unknown", "not applicable", "not available", "absent", "empty", "undefined"};
	size_t i = 0;

	while (i < a->len && (a->text[i] == '.' || a->text[i] == '-' || a->text[i] == ' '))
		i++;
	if (i == a->len)
		return a->len > 0;
	for (i = 0; i < COUNT(words); i++)
		if (a->len == strlen(words[i]) && strncasecmp(a->text, words[i], a->len) == 0)
			return true;
	return false;
}

static void dn_2(struct certcheck *c)
{
	for (size_t i = 0; i < c->name->n; i++) {
		const struct name_attribute *a = &c->name->v[i];

		/* a country is two letters that DN-11 judges (NA is Namibia), and a person may be called Na */
		if (a->nid != NID_countryName && a->nid != NID_givenName && a->nid != NID_surname && says_nothing(a))
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

static void dn_3(struct certcheck *c)
{
	static const int allowed[] = {NID_commonName, NID_serialNumber, NID_pkcs9_emailAddress};

	only(c, allowed, COUNT(allowed));
}

static void dn_4(struct certcheck *c)
{
	if (!has(c, NID_organizationName))
		row_report(c, "organizationName is missing");
	if (!has(c, NID_organizationIdentifier))
		row_report(c, "organizationIdentifier is missing");
}

static void dn_5(struct certcheck *c)
{
	static const int banned[] = {NID_givenName, NID_surname, NID_pseudonym, NID_title};

	none_of(c, banned, COUNT(banned));
}

static void dn_6(struct certcheck *c)
{
	static const int banned[] = {NID_organizationName, NID_organizationalUnitName, NID_organizationIdentifier};

	none_of(c, banned, COUNT(banned));
}

static void dn_7(struct certcheck *c)
{
	static const int banned[] = {NID_streetAddress, NID_postalCode};

	none_of(c, banned, COUNT(banned));
}

static void dn_8(struct certcheck *c)
{
	/* attributes banned for one type or generation alone are here too: DN-5, DN-6 and DN-7 report them */
	static const int allowed[] = {NID_commonName, NID_organizationName, NID_organizationalUnitName, NID_organizationIdentifier,
		NID_givenName, NID_surname, NID_pseudonym, NID_serialNumber, NID_pkcs9_emailAddress, NID_title, NID_streetAddress,
		NID_localityName, NID_stateOrProvinceName, NID_postalCode, NID_countryName};

	only(c, allowed, COUNT(allowed));
}

static void dn_9(struct certcheck *c)
{
	bool name = has(c, NID_givenName) || has(c, NID_surname), pseudonym = has(c, NID_pseudonym);

	if (!name && !pseudonym)
		row_report(c, "neither givenName nor surname nor pseudonym is there");
	else if (name && pseudonym)
		row_report(c, "a pseudonym stands next to a name");
}

static void dn_10(struct certcheck *c)
{
	bool place = has(c, NID_localityName) || has(c, NID_stateOrProvinceName);

	if (has(c, NID_streetAddress) && !place)
		row_report(c, "streetAddress without localityName or stateOrProvinceName");
	if ((place || has(c, NID_postalCode)) && !has(c, NID_countryName))
		row_report(c, "localityName, stateOrProvinceName or postalCode without countryName");
}

/* ISO 3166-1 alpha-2, officially assigned, and XX, which the requirements allow where a country has no code. */
/* clang-format off */
static const char countries[] =
	"AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT "
	"BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH "
	"ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT "
	"HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS "
	"LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI "
	"NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG "
	"SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG "
	"UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW XX";
/* clang-format on */

static bool country_assigned(const char *code)
{
	for (const char *p = countries;; p += 3) {
		if (p[0] == code[0] && p[1] == code[1])
			return true;
		if (p[2] == 0)
			return false;
	}
}

static void dn_11(struct certcheck *c)
{
	for (size_t i = 0; i < c->name->n; i++) {
		const struct name_attribute *a = &c->name->v[i];

		if (a->nid == NID_countryName && (a->len != 2 || !country_assigned(a->text)))
			row_report(c, "countryName \"%s\" is no assigned code", PRINTABLE(a->text, a->len));
	}
}

/* ---- common name ------------------------------------------------------------------------------------------------- */

static void cn_1(struct certcheck *c)
{
	for (size_t i = 0; i < c->name->n; i++) {
		const struct name_attribute *a = &c->name->v[i];

		if (a->nid == NID_commonName && !mailbox_in_san(c, a->text, a->len))
			row_report(c, "commonName \"%s\" is no address of the alternative name", PRINTABLE(a->text, a->len));
	}
}

static void cn_2(struct certcheck *c)
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

static void cn_3(struct certcheck *c)
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

struct organization_id {
	char scheme[4], country[3], subdivision[4];
	const char *reference; /* NULL = none */
	size_t reference_len;
};

static bool upper(char ch)
{
	return ch >= 'A' && ch <= 'Z';
}

static bool alnum_upper(char ch)
{
	return upper(ch) || (ch >= '0' && ch <= '9');
}

/* NTRDE+BY-HRB.12345: scheme, country, optional subdivision, optional reference (GOV and INT have none). */
static bool organization_id_parse(const struct name_attribute *a, struct organization_id *out)
{
	size_t i = 5, n = 0;

	memset(out, 0, sizeof *out);
	if (a->len < 5 || !upper(a->text[0]) || !upper(a->text[1]) || !upper(a->text[2]) || !upper(a->text[3]) || !upper(a->text[4]))
		return false;
	memcpy(out->scheme, a->text, 3);
	memcpy(out->country, a->text + 3, 2);
	if (i < a->len && a->text[i] == '+') {
		for (i++; i < a->len && n < 3 && alnum_upper(a->text[i]); i++)
			out->subdivision[n++] = a->text[i];
		if (n == 0)
			return false;
	}
	if (i == a->len)
		return true;
	if (a->text[i] != '-' || i + 1 == a->len)
		return false;
	out->reference = a->text + i + 1;
	out->reference_len = a->len - i - 1;
	return true;
}

static void org_1(struct certcheck *c)
{
	for (size_t i = 0; i < c->name->n; i++) {
		const struct name_attribute *a = &c->name->v[i];
		struct organization_id id;
		int type = ASN1_STRING_type(a->string);

		if (a->nid != NID_organizationIdentifier)
			continue;
		if (type != V_ASN1_UTF8STRING && type != V_ASN1_PRINTABLESTRING)
			row_report(c, "organizationIdentifier is neither PrintableString nor UTF8String");
		if (!organization_id_parse(a, &id))
			row_report(c, "organizationIdentifier \"%s\" has not the form SCHEMECOUNTRY[+SUB]-REFERENCE",
				PRINTABLE(a->text, a->len));
	}
}

static const char *org_2_trouble(const struct organization_id *id)
{
	bool registry = strcmp(id->scheme, "NTR") == 0, lei = strcmp(id->scheme, "LEI") == 0,
	     international = strcmp(id->scheme, "INT") == 0, government = strcmp(id->scheme, "GOV") == 0,
	     national = strcmp(id->scheme, "VAT") == 0 || strcmp(id->scheme, "PSD") == 0;

	if (!registry && !lei && !international && !government && !national)
		return "its scheme is none of NTR, VAT, PSD, LEI, GOV, INT";
	if ((government || international) && id->reference != NULL)
		return "GOV and INT have no reference";
	if (!government && !international && id->reference == NULL)
		return "the reference is missing";
	if ((lei || international) && strcmp(id->country, "XG") != 0)
		return "LEI and INT have the country XG";
	if (id->subdivision[0] != 0 && !registry && !government)
		return "only NTR and GOV have a subdivision";
	if (lei && !lei_is_valid(id->reference, id->reference_len))
		return "the LEI is not 20 letters and digits with right check digits";
	return NULL;
}

static void org_2(struct certcheck *c)
{
	for (size_t i = 0; i < c->name->n; i++) {
		const struct name_attribute *a = &c->name->v[i];
		struct organization_id id;
		const char *trouble;

		if (a->nid != NID_organizationIdentifier || !organization_id_parse(a, &id))
			continue;
		trouble = org_2_trouble(&id);
		if (trouble != NULL)
			row_report(c, "organizationIdentifier \"%s\": %s", PRINTABLE(a->text, a->len), trouble);
	}
}

static void org_3(struct certcheck *c)
{
	const struct name_attribute *country = attribute(c, NID_countryName);

	for (size_t i = 0; i < c->name->n && country != NULL; i++) {
		const struct name_attribute *a = &c->name->v[i];
		struct organization_id id;

		if (a->nid != NID_organizationIdentifier || !organization_id_parse(a, &id) || text_is(country, id.country) ||
			strcmp(id.scheme, "LEI") == 0 || strcmp(id.scheme, "INT") == 0)
			continue;
		/* the tax prefixes of the European Union that are no ISO codes: Greece and Northern Ireland */
		if (strcmp(id.scheme, "VAT") == 0 && ((strcmp(id.country, "EL") == 0 && text_is(country, "GR")) ||
							     (strcmp(id.country, "XI") == 0 && text_is(country, "GB"))))
			continue;
		row_report(c, "organizationIdentifier is of %s, countryName is \"%s\"", id.country, PRINTABLE(country->text, country->len));
	}
}

/* DEK1101R.HRB116737: country, register, dot, number. */
static bool is_german_euid(const char *s, size_t len)
{
	const char *dot = memchr(s, '.', len);

	if (dot == NULL || len < 2 || memcmp(s, "DE", 2) != 0 || dot == s + 2 || dot + 1 == s + len)
		return false;
	for (const char *p = s; p < dot; p++)
		if (!alnum_upper(*p))
			return false;
	return true;
}

static void org_4(struct certcheck *c)
{
	for (size_t i = 0; i < c->name->n; i++) {
		const struct name_attribute *a = &c->name->v[i];
		struct organization_id id;

		if (a->nid == NID_organizationIdentifier && organization_id_parse(a, &id) && strcmp(id.scheme, "NTR") == 0 &&
			strcmp(id.country, "DE") == 0 && id.reference != NULL && !is_german_euid(id.reference, id.reference_len))
			row_report(c, "the reference of a German register entry is no EUID: \"%s\"", PRINTABLE(a->text, a->len));
	}
}

#define ALL TYPES_ALL, GENERATIONS_ALL
#define MV TYPE(VALIDATION_MAILBOX)
#define OV TYPE(VALIDATION_ORGANIZATION)
#define SV TYPE(VALIDATION_SPONSOR)
#define IV TYPE(VALIDATION_INDIVIDUAL)

const struct certcheck_row certcheck_rows_names[] = {
	{"SAN-1", "7.1.2.3(h), 7.1.4.2.1", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, san_1},
	{"SAN-2", "7.1.4.2.1, 7.1.4.2.2(h)", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, san_2},
	{"SAN-3", "7.1.4.2.1", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, san_3},
	{"SAN-4", "7.1.4.2.1", BR_START, 0, TYPES_ALL, STRICT, ROW_BR, FINDING_ERROR, san_4},
	{"SAN-5", "7.1.4.2.1", BR_START, 0, ALL, ROW_BR_ONLY, FINDING_ERROR, san_5},
	{"SAN-6", "1.6.1, RFC 5280, RFC 9598", 0, 0, ALL, ROW_BR, FINDING_ERROR, san_6},
	{"DN-1", "7.1.4, RFC 5280", 0, 0, ALL, ROW_BR_NAME, FINDING_ERROR, dn_1},
	{"DN-2", "7.1.4.2", BR_START, 0, ALL, ROW_BR_NAME, FINDING_ERROR, dn_2},
	{"DN-3", "7.1.4.2.3", BR_START, 0, MV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, dn_3},
	{"DN-4", "7.1.4.2.4, 7.1.4.2.5", BR_START, 0, OV | SV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, dn_4},
	{"DN-5", "7.1.4.2.4", BR_START, 0, OV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, dn_5},
	{"DN-6", "7.1.4.2.6", BR_START, 0, IV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, dn_6},
	{"DN-7", "7.1.4.2.4 to .6", BR_START, 0, OV | SV | IV, STRICT, ROW_BR_NAME, FINDING_ERROR, dn_7},
	{"DN-8", "7.1.4.2.4 to .6", BR_START, 0, OV | SV | IV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, dn_8},
	{"DN-9", "7.1.4.2.5, 7.1.4.2.6, 7.1.4.2.2(e), (f)", BR_START, 0, SV | IV, STRICT | MULTIPURPOSE, ROW_BR_NAME, FINDING_ERROR, dn_9},
	{"DN-10", "7.1.4.2.2(j) to (m)", BR_START, 0, ALL, ROW_BR_NAME, FINDING_ERROR, dn_10},
	{"DN-11", "7.1.4.2.2(n)", BR_START, 0, ALL, ROW_BR_NAME, FINDING_ERROR, dn_11},
	{"CN-1", "7.1.4.2.2(a)", BR_START, 0, MV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, cn_1},
	{"CN-2", "7.1.4.2.2(a)", BR_START, 0, OV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, cn_2},
	{"CN-3", "7.1.4.2.2(a)", BR_START, 0, SV | IV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, cn_3},
	{"ORG-1", "7.1.4.2.2(d)", BR_START, 0, OV | SV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, org_1},
	{"ORG-2", "7.1.4.2.2(d), appendix A.1", BR_START, 0, OV | SV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, org_2},
	{"ORG-3", "7.1.4.2.2(d) note 1", BR_START, 0, OV | SV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, org_3},
	{"ORG-4", "7.1.4.2.2(d) note 3", BR_START, 0, OV | SV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_WARNING, org_4},
};
const size_t certcheck_rows_names_n = COUNT(certcheck_rows_names);
