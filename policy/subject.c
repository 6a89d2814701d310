/*
 * policy/subject.c - the rules for single values of a subject, by the rows of the S/MIME Baseline Requirements that certcheck names.
 */
#include "config.h"

#include "policy/subject.h"

#include <string.h>
#include <strings.h>

#include <openssl/objects.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct {
	int nid;
	size_t max;
} bounds[] = {{NID_commonName, 64}, {NID_organizationName, 64}, {NID_organizationalUnitName, 64}, {NID_title, 64}, {NID_serialNumber, 64},
	{NID_localityName, 128}, {NID_stateOrProvinceName, 128}, {NID_pseudonym, 128}, {NID_pkcs9_emailAddress, 255}};

size_t subject_characters(const char *text, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += ((unsigned char)text[i] & 0xc0) != 0x80;
	return n;
}

size_t subject_bound(int nid)
{
	for (size_t i = 0; i < COUNT(bounds); i++)
		if (bounds[i].nid == nid)
			return bounds[i].max;
	return 0;
}

bool subject_is_filler(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] != '.' && text[i] != '-' && text[i] != ' ')
			return false;
	return len > 0;
}

bool subject_says_nothing(const char *text, size_t len)
{
	static const char *const words[] = {
		"n/a", "na", "none", "null", "nil", "unknown", "not applicable", "not available", "absent", "empty", "undefined"};

	if (subject_is_filler(text, len))
		return true;
	for (size_t i = 0; i < COUNT(words); i++)
		if (len == strlen(words[i]) && strncasecmp(text, words[i], len) == 0)
			return true;
	return false;
}

/* ---- country ----------------------------------------------------------------------------------------------------- */

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

bool subject_is_country(const char *text, size_t len)
{
	for (const char *p = countries; len == 2; p += 3) {
		if (p[0] == text[0] && p[1] == text[1])
			return true;
		if (p[2] == 0)
			return false;
	}
	return false;
}

/* ---- organizationIdentifier -------------------------------------------------------------------------------------- */

static bool upper(char ch)
{
	return ch >= 'A' && ch <= 'Z';
}

static bool alnum_upper(char ch)
{
	return upper(ch) || (ch >= '0' && ch <= '9');
}

bool organization_id_parse(struct organization_id *out, const char *text, size_t len)
{
	size_t i = 5, n = 0;

	memset(out, 0, sizeof *out);
	if (len < 5 || !upper(text[0]) || !upper(text[1]) || !upper(text[2]) || !upper(text[3]) || !upper(text[4]))
		return false;
	memcpy(out->scheme, text, 3);
	memcpy(out->country, text + 3, 2);
	if (i < len && text[i] == '+') {
		for (i++; i < len && n < 3 && alnum_upper(text[i]); i++)
			out->subdivision[n++] = text[i];
		if (n == 0)
			return false;
	}
	if (i == len)
		return true;
	if (text[i] != '-' || i + 1 == len)
		return false;
	out->reference = text + i + 1;
	out->reference_len = len - i - 1;
	return true;
}

const char *organization_id_trouble(const struct organization_id *id)
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

bool organization_id_fits(const struct organization_id *id, const char *country, size_t len)
{
	static const char tax[][2][3] = {{"EL", "GR"}, {"XI", "GB"}};

	if (strcmp(id->scheme, "LEI") == 0 || strcmp(id->scheme, "INT") == 0)
		return true;
	if (len != 2 || memcmp(id->country, country, 2) == 0)
		return len == 2;
	/* the tax prefixes of the European Union that are no ISO codes: Greece and Northern Ireland */
	for (size_t i = 0; i < COUNT(tax) && strcmp(id->scheme, "VAT") == 0; i++)
		if (strcmp(id->country, tax[i][0]) == 0 && memcmp(country, tax[i][1], 2) == 0)
			return true;
	return false;
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

bool organization_id_is_euid(const struct organization_id *id)
{
	return strcmp(id->scheme, "NTR") != 0 || strcmp(id->country, "DE") != 0 || id->reference == NULL ||
	       is_german_euid(id->reference, id->reference_len);
}

bool lei_is_valid(const char *text, size_t len)
{
	unsigned rest = 0;

	if (len != 20)
		return false;
	/* ISO 7064 MOD 97-10 over the digits, letters counting 10 to 35 */
	for (size_t i = 0; i < len; i++) {
		if (text[i] >= '0' && text[i] <= '9')
			rest = (rest * 10 + (unsigned)(text[i] - '0')) % 97;
		else if (text[i] >= 'A' && text[i] <= 'Z')
			rest = (rest * 100 + (unsigned)(text[i] - 'A') + 10) % 97;
		else
			return false;
	}
	return rest == 1;
}
