/*
 * policy/certcheck_rows_extensions.c - rows about extensions other than the alternative name.
 *
 * A missing extension and one that cannot be decoded are the same to most rows: what recipients cannot read is not there.
 */
#include "config.h"

#include "policy/certcheck_rows.h"
#include "policy/subject.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define RESERVED_PREFIX "2.23.140.1.5."

/* ---- policies ---------------------------------------------------------------------------------------------------- */

/* A reserved identifier 2.23.140.1.5.{1..4}.{1..3}; gives its generation. */
static bool reserved_policy(const ASN1_OBJECT *object, char text[32], unsigned *generation)
{
	int n = OBJ_obj2txt(text, 32, object, 1);
	const char *p = text + sizeof RESERVED_PREFIX - 1;

	if (n <= 0 || n >= 32 || strncmp(text, RESERVED_PREFIX, sizeof RESERVED_PREFIX - 1) != 0)
		return false;
	if (strlen(p) != 3 || p[0] < '1' || p[0] > '4' || p[1] != '.' || p[2] < '1' || p[2] > '3')
		return false;
	*generation = (unsigned)(p[2] - '0');
	return true;
}

/* How many reserved policies there are, is one of them Legacy; the last one stays in text. */
static size_t reserved_policies(const struct certcheck *c, char text[32], bool *legacy)
{
	size_t n = 0;

	*legacy = false;
	for (int i = 0; i < sk_POLICYINFO_num(c->policies); i++) {
		char name[32];
		unsigned generation;

		if (!reserved_policy(sk_POLICYINFO_value(c->policies, i)->policyid, name, &generation))
			continue;
		*legacy |= generation == GENERATION_LEGACY;
		memcpy(text, name, sizeof name);
		n++;
	}
	return n;
}

void row_pol_1(struct certcheck *c)
{
	char text[32];
	bool legacy;
	size_t n = reserved_policies(c, text, &legacy);

	if (c->policies == NULL)
		row_report(c, "certificate policies are missing");
	else if (n != 1)
		row_report(c, "%zu of the reserved policy identifiers " RESERVED_PREFIX "x.y instead of one", n);
}

void row_pol_2(struct certcheck *c)
{
	char text[32];
	bool legacy;

	if (reserved_policies(c, text, &legacy) > 0 && legacy)
		row_report(c, "it is of a Legacy generation, which is closed since 15 July 2025");
}

void row_pol_3(struct certcheck *c)
{
	const char *wanted = profile_policy_oid(c->req->profile);
	char text[32] = "none";
	bool legacy, found = false;
	size_t n = reserved_policies(c, text, &legacy);

	for (int i = 0; i < sk_POLICYINFO_num(c->policies) && wanted != NULL; i++)
		found |= oid_is(sk_POLICYINFO_value(c->policies, i)->policyid, wanted);
	if (!found || n != 1)
		row_report(c, "asked for %s-%s (%s), the certificate says %s", validation_name(c->req->profile->validation),
			generation_name(c->req->profile->generation), wanted != NULL ? wanted : "none", n > 1 ? "several" : text);
}

/* "http:" and, where `secure` allows it, "https:"; schemes ignore case (RFC 3986 section 3.1). */
static bool is_http(const ASN1_STRING *uri, bool secure)
{
	const char *s = (const char *)ASN1_STRING_get0_data(uri);
	size_t len = (size_t)ASN1_STRING_length(uri);

	if (s == NULL || memchr(s, 0, len) != NULL)
		return false;
	return (len > 7 && strncasecmp(s, "http://", 7) == 0) || (secure && len > 8 && strncasecmp(s, "https://", 8) == 0);
}

void row_pol_4(struct certcheck *c)
{
	for (int i = 0; i < sk_POLICYINFO_num(c->policies); i++) {
		STACK_OF(POLICYQUALINFO) *qualifiers = sk_POLICYINFO_value(c->policies, i)->qualifiers;

		for (int j = 0; j < sk_POLICYQUALINFO_num(qualifiers); j++) {
			const POLICYQUALINFO *q = sk_POLICYQUALINFO_value(qualifiers, j);
			int nid = OBJ_obj2nid(q->pqualid);

			if (nid == NID_id_qt_cps && !is_http(q->d.cpsuri, true))
				row_report(c, "the CPS qualifier is no HTTP or HTTPS address: \"%s\"",
					PRINTABLE(ASN1_STRING_get0_data(q->d.cpsuri), (size_t)ASN1_STRING_length(q->d.cpsuri)));
			else if (nid == NID_id_qt_unotice && (q->d.usernotice->noticeref != NULL || q->d.usernotice->exptext == NULL))
				row_report(c, "a user notice has a notice reference or no text");
			else if (nid != NID_id_qt_cps && nid != NID_id_qt_unotice)
				row_report(c, "a policy has a qualifier of type %s", PRINTABLE_OID(q->pqualid));
		}
	}
}

void row_pol_5(struct certcheck *c)
{
	for (int i = 0; i < sk_POLICYINFO_num(c->policies); i++)
		if (OBJ_obj2nid(sk_POLICYINFO_value(c->policies, i)->policyid) == NID_any_policy)
			row_report(c, "it names anyPolicy");
}

/* ---- where to ask ------------------------------------------------------------------------------------------------ */

struct crl_uris {
	size_t n, http; /* URIs among the full names of all distribution points; of scheme http */
};

/* Counts, and names what is not http when told so. */
static struct crl_uris crl_uris(struct certcheck *c, bool report)
{
	struct crl_uris found = {0};

	for (int i = 0; i < sk_DIST_POINT_num(c->crl); i++) {
		const DIST_POINT *point = sk_DIST_POINT_value(c->crl, i);
		const GENERAL_NAMES *names =
			point->distpoint != NULL && point->distpoint->type == 0 ? point->distpoint->name.fullname : NULL;

		for (int j = 0; j < sk_GENERAL_NAME_num(names); j++) {
			const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, j);

			if (name->type != GEN_URI)
				continue;
			found.n++;
			if (is_http(name->d.uniformResourceIdentifier, false))
				found.http++;
			else if (report)
				row_report(c, "CRL address is not http: \"%s\"",
					PRINTABLE(ASN1_STRING_get0_data(name->d.uniformResourceIdentifier),
						(size_t)ASN1_STRING_length(name->d.uniformResourceIdentifier)));
		}
	}
	return found;
}

void row_crl_1(struct certcheck *c)
{
	if (c->crl == NULL)
		row_report(c, "CRL distribution points are missing");
	else if (crl_uris(c, false).n == 0)
		row_report(c, "no CRL distribution point has a full name that is a URI");
}

void row_crl_2(struct certcheck *c)
{
	crl_uris(c, true);
}

void row_crl_2_legacy(struct certcheck *c)
{
	struct crl_uris found = crl_uris(c, false);

	if (found.n > 0 && found.http == 0)
		row_report(c, "no CRL address is http");
}

void row_aia_1(struct certcheck *c)
{
	bool issuer = false;

	for (int i = 0; i < sk_ACCESS_DESCRIPTION_num(c->aia); i++)
		issuer |= OBJ_obj2nid(sk_ACCESS_DESCRIPTION_value(c->aia, i)->method) == NID_ad_ca_issuers;
	if (!issuer)
		row_report(c, "%s", c->aia == NULL ? "authority information access is missing" : "no address of the issuer's certificate");
}

static bool is_http_location(const ACCESS_DESCRIPTION *a)
{
	return a->location->type == GEN_URI && is_http(a->location->d.uniformResourceIdentifier, false);
}

void row_aia_2(struct certcheck *c)
{
	for (int i = 0; i < sk_ACCESS_DESCRIPTION_num(c->aia); i++) {
		const ACCESS_DESCRIPTION *a = sk_ACCESS_DESCRIPTION_value(c->aia, i);
		int nid = OBJ_obj2nid(a->method);

		if ((nid == NID_ad_OCSP || nid == NID_ad_ca_issuers) && !is_http_location(a))
			row_report(c, "%s address is no http URI", nid == NID_ad_OCSP ? "OCSP" : "issuer certificate");
	}
}

/* Of each kind that is there, one http URI is enough. */
void row_aia_2_legacy(struct certcheck *c)
{
	static const int methods[] = {NID_ad_OCSP, NID_ad_ca_issuers};

	for (size_t i = 0; i < COUNT(methods); i++) {
		size_t n = 0, http = 0;

		for (int j = 0; j < sk_ACCESS_DESCRIPTION_num(c->aia); j++) {
			const ACCESS_DESCRIPTION *a = sk_ACCESS_DESCRIPTION_value(c->aia, j);

			if (OBJ_obj2nid(a->method) != methods[i])
				continue;
			n++;
			http += is_http_location(a);
		}
		if (n > 0 && http == 0)
			row_report(c, "no %s address is an http URI", methods[i] == NID_ad_OCSP ? "OCSP" : "issuer certificate");
	}
}

/* ---- usage ------------------------------------------------------------------------------------------------------- */

void row_bc_1(struct certcheck *c)
{
	if (c->basic != NULL && c->basic->ca)
		row_report(c, "basic constraints say that it is a CA");
	if (c->basic != NULL && c->basic->pathlen != NULL)
		row_report(c, "basic constraints have a path length");
}

void row_ku_1(struct certcheck *c)
{
	if (c->ext[EXT_KU] == NULL)
		row_report(c, "key usage is missing");
	else if ((c->ku & (KU_BIT_SIGN | KU_BIT_KEY_ENC | KU_BIT_AGREE)) == 0)
		row_report(c, "key usage has neither a signing nor a key management bit");
}

/* What all key types share: a main bit of their own, nonRepudiation only with digitalSignature, no bit outside. */
static void ku_bits(struct certcheck *c, unsigned main_bits, unsigned more, const char *words)
{
	if (c->ext[EXT_KU] == NULL)
		return;
	if ((c->ku & main_bits) == 0 && (c->ku & (KU_BIT_SIGN | KU_BIT_KEY_ENC | KU_BIT_AGREE)) != 0)
		row_report(c, "key usage does not fit the key: %s", words);
	if ((c->ku & KU_BIT_COMMIT) && !(c->ku & KU_BIT_SIGN))
		row_report(c, "key usage has nonRepudiation without digitalSignature");
	if (c->ku & ~(main_bits | more))
		row_report(c, "key usage has a bit beyond those allowed: %s", words);
}

void row_ku_2(struct certcheck *c)
{
	if (c->key == KEY_RSA)
		ku_bits(c, KU_BIT_SIGN | KU_BIT_KEY_ENC, KU_BIT_COMMIT | KU_BIT_DATA_ENC, "an RSA key signs or enciphers keys");
}

void row_ku_3_strict(struct certcheck *c)
{
	if (c->key == KEY_RSA && (c->ku & KU_BIT_DATA_ENC))
		row_report(c, "key usage has dataEncipherment");
}

void row_ku_3_multipurpose(struct certcheck *c)
{
	if (c->key == KEY_RSA && (c->ku & KU_BIT_DATA_ENC) && !(c->ku & KU_BIT_KEY_ENC))
		row_report(c, "key usage has dataEncipherment without keyEncipherment");
}

/* RFC 5280 names no purpose that fits this bit; the requirements let RSA keys have it, beside keyEncipherment. */
void row_ku_3_purposes(struct certcheck *c)
{
	if (c->eku != NULL && (c->ku & KU_BIT_DATA_ENC) && !(c->ku & KU_BIT_KEY_ENC))
		row_report(c, "key usage has dataEncipherment, which fits no purpose of the extended key usage");
}

void row_ku_4(struct certcheck *c)
{
	unsigned only = c->ku & (KU_BIT_ENC_ONLY | KU_BIT_DEC_ONLY);

	if (c->key != KEY_EC)
		return;
	ku_bits(c, KU_BIT_SIGN | KU_BIT_AGREE, KU_BIT_COMMIT | KU_BIT_ENC_ONLY | KU_BIT_DEC_ONLY, "an EC key signs or agrees on keys");
	if (only != 0 && (!(c->ku & KU_BIT_AGREE) || only == (KU_BIT_ENC_ONLY | KU_BIT_DEC_ONLY)))
		row_report(c, "key usage has encipherOnly and decipherOnly, or one of them without keyAgreement");
}

void row_ku_5(struct certcheck *c)
{
	if (c->key == KEY_ED25519 || c->key == KEY_ED448)
		ku_bits(c, KU_BIT_SIGN, KU_BIT_COMMIT, "an Edwards key only signs");
}

void row_ku_5_post_quantum(struct certcheck *c)
{
	row_ku_5(c);
	if (c->key == KEY_ML_DSA)
		ku_bits(c, KU_BIT_SIGN, KU_BIT_COMMIT, "an ML-DSA key only signs");
	else if (c->key == KEY_ML_KEM)
		ku_bits(c, KU_BIT_KEY_ENC, 0, "an ML-KEM key only enciphers keys");
}

static bool eku_has(const struct certcheck *c, int nid)
{
	for (int i = 0; i < sk_ASN1_OBJECT_num(c->eku); i++)
		if (OBJ_obj2nid(sk_ASN1_OBJECT_value(c->eku, i)) == nid)
			return true;
	return false;
}

void row_eku_1(struct certcheck *c)
{
	if (c->eku == NULL)
		row_report(c, "extended key usage is missing");
	else if (!eku_has(c, NID_email_protect))
		row_report(c, "extended key usage has no e-mail protection");
}

static void eku_others(struct certcheck *c, int allowed)
{
	for (int i = 0; i < sk_ASN1_OBJECT_num(c->eku); i++) {
		const ASN1_OBJECT *purpose = sk_ASN1_OBJECT_value(c->eku, i);
		int nid = OBJ_obj2nid(purpose);

		if (nid != NID_email_protect && (nid == NID_undef || nid != allowed))
			row_report(c, "extended key usage has the other purpose %s", PRINTABLE_OID(purpose));
	}
}

void row_eku_2_strict(struct certcheck *c)
{
	eku_others(c, NID_undef);
}

void row_eku_2_multipurpose(struct certcheck *c)
{
	eku_others(c, NID_client_auth);
}

void row_eku_3(struct certcheck *c)
{
	static const struct {
		int nid;
		const char *name;
	} banned[] = {{NID_server_auth, "TLS server"}, {NID_code_sign, "code signing"}, {NID_time_stamp, "time stamping"},
		{NID_anyExtendedKeyUsage, "any purpose"}};

	for (size_t i = 0; i < COUNT(banned); i++)
		if (eku_has(c, banned[i].nid))
			row_report(c, "extended key usage has %s, which is banned", banned[i].name);
}

/* ---- identifiers ------------------------------------------------------------------------------------------------- */

void row_aki_1(struct certcheck *c)
{
	if (c->aki == NULL)
		row_report(c, "authority key identifier is missing");
	else if (c->aki->keyid == NULL)
		row_report(c, "authority key identifier has no key identifier");
	if (c->aki != NULL && (c->aki->issuer != NULL || c->aki->serial != NULL))
		row_report(c, "authority key identifier has the issuer's name or serial number");
}

/* RFC 5280 section 4.2.1.2 (SHA-1 of the key, or its last 60 bits behind 0100) and RFC 7093 section 2. */
static bool ski_is_derived(const struct certcheck *c)
{
	static const char *const digests[] = {"SHA1", "SHA256", "SHA384", "SHA512"};
	unsigned char md[EVP_MAX_MD_SIZE], *spki = NULL;
	size_t len = 0, have = (size_t)ASN1_STRING_length(c->ski);
	const unsigned char *id = ASN1_STRING_get0_data(c->ski);
	int spki_len;
	bool derived = false;

	for (size_t i = 0; i < COUNT(digests) && !derived; i++) {
		if (EVP_Q_digest(NULL, digests[i], NULL, c->key_bits, c->key_bits_len, md, &len) != 1)
			continue;
		derived = (have == 20 || have == len) && memcmp(id, md, have) == 0;
		if (i == 0 && !derived && have == 8)
			derived = id[0] == (0x40 | (md[12] & 0x0f)) && memcmp(id + 1, md + 13, 7) == 0;
	}
	if (derived)
		return true;
	spki_len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(c->leaf), &spki);
	for (size_t i = 0; i < COUNT(digests) && !derived && spki_len > 0; i++)
		if (EVP_Q_digest(NULL, digests[i], NULL, spki, (size_t)spki_len, md, &len) == 1)
			derived = (have == 20 || have == len) && memcmp(id, md, have) == 0;
	OPENSSL_free(spki);
	return derived;
}

void row_ski_1(struct certcheck *c)
{
	if (c->ski == NULL)
		row_report(c, "subject key identifier is missing");
	else if (!ski_is_derived(c))
		row_report(c, "subject key identifier is not derived from the public key");
	ERR_clear_error();
}

/* ---- special extensions ------------------------------------------------------------------------------------------ */

void row_sda_1(struct certcheck *c)
{
	if (c->ext[EXT_SDA] != NULL)
		row_report(c, "it has subject directory attributes");
}

void row_lei_1(struct certcheck *c)
{
	if (c->ext[EXT_LEI] != NULL)
		row_report(c, "it has an LEI extension");
	if (c->ext[EXT_LEI_ROLE] != NULL)
		row_report(c, "it has an LEI role extension");
}

void row_lei_1_role(struct certcheck *c)
{
	if (c->ext[EXT_LEI_ROLE] != NULL)
		row_report(c, "it has an LEI role extension");
}

void row_lei_2(struct certcheck *c)
{
	const ASN1_OCTET_STRING *value = c->ext[EXT_LEI] != NULL ? X509_EXTENSION_get_data(c->ext[EXT_LEI]) : NULL;
	const unsigned char *p = value != NULL ? ASN1_STRING_get0_data(value) : NULL;

	/* PrintableString (SIZE (20)) */
	if (value != NULL &&
		!(ASN1_STRING_length(value) == 22 && p[0] == V_ASN1_PRINTABLESTRING && p[1] == 20 && lei_is_valid((const char *)p + 2, 20)))
		row_report(c, "the LEI is not 20 letters and digits with right check digits");
}

void row_adb_1(struct certcheck *c)
{
	if (c->ext[EXT_ADOBE_TIME] != NULL || c->ext[EXT_ADOBE_ARCHIVE] != NULL)
		row_report(c, "it has an Adobe extension");
}

void row_flg_1(struct certcheck *c)
{
	if (c->ext_critical[EXT_POLICIES])
		row_report(c, "certificate policies are critical");
	if (c->ext_critical[EXT_CRL])
		row_report(c, "CRL distribution points are critical");
	if (c->subject.n > 0 && c->ext_critical[EXT_SAN])
		row_report(c, "the alternative name is critical beside a named subject");
	if (c->ext[EXT_KU] != NULL && !c->ext_critical[EXT_KU])
		row_report(c, "key usage is not critical");
}

void row_flg_1_empty_subject(struct certcheck *c)
{
	if (c->subject.n == 0 && c->ext[EXT_SAN] != NULL && !c->ext_critical[EXT_SAN])
		row_report(c, "the subject is empty and the alternative name is not critical");
}

void row_flg_2(struct certcheck *c)
{
	static const struct {
		enum ext ext;
		const char *name;
	} plain[] = {{EXT_AIA, "authority information access"}, {EXT_AKI, "authority key identifier"}, {EXT_SKI, "subject key identifier"},
		{EXT_CAPABILITIES, "S/MIME capabilities"}, {EXT_QC, "qualified statements"}, {EXT_LEI, "the LEI"},
		{EXT_LEI_ROLE, "the LEI role"}, {EXT_ADOBE_TIME, "an Adobe extension"}, {EXT_ADOBE_ARCHIVE, "an Adobe extension"}};

	for (size_t i = 0; i < COUNT(plain); i++)
		if (c->ext_critical[plain[i].ext])
			row_report(c, "critical flag on %s", plain[i].name);
}
