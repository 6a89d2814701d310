/*
 * policy/legacy.c - which certificates of other CAs have to be replaced, and why.
 *
 * A certificate is judged by itself: its issuer is not at hand, and nobody here asked for it.  What is wrong with it today (LEGACY_GENERATION
 * to LEGACY_WEAK_SIGNATURE) counts at once.  Rules with a day do not end a certificate that was issued before, but keep any CA from issuing the
 * same again: so they are held against one that ends on that day or later, whose renewal they will be in force for.  They are rules of the
 * Baseline Requirements, and say nothing about a certificate that names no profile of them.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>

#include "policy/policy.h"

#define VALUE_MOST 65536
#define LEGACY_END 1752537600    /* 2025-07-15 */
#define ISSUER_RULE 1820966400   /* 2027-09-15 */
#define ISSUER_BITS 3072

static const struct {
	const char *name, *about;
} reasons[LEGACY_REASONS] = {
	[LEGACY_GENERATION] = {"legacy-generation", "of the Legacy generation, which ended on 2025-07-15: no CA may renew it as it is"},
	[LEGACY_NO_PROFILE] = {"no-br-profile", "of no profile of the S/MIME Baseline Requirements, or of several: mail programs may stop to believe it"},
	[LEGACY_TOO_LONG] = {"too-long", "valid for more than 825 days"},
	[LEGACY_WEAK_KEY] = {"weak-key", "a key that is too short, or of a kind that is not allowed"},
	[LEGACY_WEAK_SIGNATURE] = {"weak-signature", "signed by its CA with a digest that is broken"},
	[LEGACY_PURPOSES] = {"purposes", "Multipurpose with other purposes than e-mail and client authentication, which no CA may issue from 2027-07-01 on"},
	[LEGACY_ISSUER] = {"issuer-key", "issued with an RSA key below 3072 bits, which may issue none from 2027-09-15 on"},
};

const char *legacy_reason_name(enum legacy_reason r)
{
	return reasons[r].name;
}

const char *legacy_reason_about(enum legacy_reason r)
{
	return reasons[r].about;
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

static bool is_signer(CMS_ContentInfo *cms, X509 *x)
{
	STACK_OF(CMS_SignerInfo) *signers = CMS_get0_SignerInfos(cms);

	for (int i = 0; i < sk_CMS_SignerInfo_num(signers); i++)
		if (CMS_SignerInfo_cert_cmp(sk_CMS_SignerInfo_value(signers, i), x) == 0)
			return true;
	return sk_CMS_SignerInfo_num(signers) <= 0 && X509_check_ca(x) == 0;
}

static X509 *read_cms(const unsigned char *p, size_t len)
{
	CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)len);
	STACK_OF(X509) *all = cms ? CMS_get1_certs(cms) : NULL;
	X509 *found = NULL;

	for (int i = 0; i < sk_X509_num(all) && !found; i++)
		if (is_signer(cms, sk_X509_value(all, i)))
			found = sk_X509_value(all, i);
	if (found)
		X509_up_ref(found);
	sk_X509_pop_free(all, X509_free);
	CMS_ContentInfo_free(cms);
	return found;
}

X509 *legacy_read(const void *value, size_t len, bool smime)
{
	const unsigned char *p = value;
	X509 *x = NULL;

	if (len > 0 && len <= VALUE_MOST)
		x = smime ? read_cms(p, len) : d2i_X509(NULL, &p, (long)len);
	if (x && !smime && p != (const unsigned char *)value + len) {
		X509_free(x);
		x = NULL;
	}
	ERR_clear_error();
	return x;
}

/* ---- judging ------------------------------------------------------------------------------------------------------- */

static void BASE_PRINTF(3, 4) against(struct legacy_judgement *j, enum legacy_reason r, const char *fmt, ...)
{
	va_list ap;

	if (j->reasons & (1u << r))
		return; /* the first word about it is enough */
	j->reasons |= 1u << r;
	va_start(ap, fmt);
	vsnprintf(j->text[r], sizeof j->text[r], fmt, ap);
	va_end(ap);
}

static bool time_of(const ASN1_TIME *t, time_t *out)
{
	struct tm tm;

	if (t == NULL || ASN1_TIME_to_tm(t, &tm) != 1)
		return false;
	*out = timegm(&tm);
	return true;
}

/* The digest under the CA's signature; NID_undef for one that needs none, or cannot be told. */
static int signature_digest(const X509 *x)
{
	int digest = NID_undef, nid = X509_get_signature_nid(x);

	if (OBJ_find_sigid_algs(nid, &digest, NULL) && digest != NID_undef)
		return digest;
	/* the one of PSS stands among its parameters */
	return X509_get_signature_info((X509 *)(uintptr_t)x, &digest, NULL, NULL, NULL) ? digest : NID_undef;
}

static void judge_signature(const X509 *x, struct legacy_judgement *j)
{
	static const int weak[] = {NID_sha1, NID_sha, NID_md5, NID_md4, NID_md2, NID_mdc2};
	int digest = signature_digest(x);

	for (size_t i = 0; i < sizeof weak / sizeof *weak; i++)
		if (digest == weak[i])
			against(j, LEGACY_WEAK_SIGNATURE, "its CA signed it with %s, which can be forged", OBJ_nid2sn(digest));
}

/* A signature of RSA is as long as the modulus it was made with: that much of the issuer shows in every certificate. */
static void judge_issuer(const X509 *x, time_t not_after, struct legacy_judgement *j)
{
	const ASN1_BIT_STRING *signature;
	int pkey = NID_undef, bits;

	if (not_after < ISSUER_RULE || !OBJ_find_sigid_algs(X509_get_signature_nid(x), NULL, &pkey) ||
		(pkey != NID_rsaEncryption && pkey != NID_rsassaPss))
		return;
	X509_get0_signature(&signature, NULL, x);
	bits = ASN1_STRING_length(signature) * 8;
	if (bits < ISSUER_BITS)
		against(j, LEGACY_ISSUER, "it was issued with an RSA key of %d bits; from 2027-09-15 on %d are needed, so this issuer will not renew it", bits,
			ISSUER_BITS);
}

/* What a row of certcheck is a reason for.  POL-2 comes before POL-1 here: several profiles with Legacy among them are Legacy. */
static const struct {
	const char *row;
	enum legacy_reason reason;
} rows[] = {{"POL-2", LEGACY_GENERATION}, {"POL-1", LEGACY_NO_PROFILE}, {"OWN-SIZE", LEGACY_NO_PROFILE}, {"VAL-1", LEGACY_TOO_LONG}, {"KEY-1", LEGACY_WEAK_KEY},
	{"KEY-2", LEGACY_WEAK_KEY}, {"KEY-3", LEGACY_WEAK_KEY}, {"KEY-5", LEGACY_WEAK_KEY}};

/* What certcheck says of it by the rules of that day; nobody here asked for it, so the rest of its questions is not asked. */
static bool by_rules_of(X509 *x, const struct certificate_profile *p, time_t day, struct findings *out, struct err *err)
{
	struct certcheck_request req = {.profile = p, .now = day, .as_of = day, .not_asked = CERTCHECK_NO_KEY | CERTCHECK_NO_ADDRESSES |
		CERTCHECK_NO_ANCHORS | CERTCHECK_NO_USAGE};

	return certcheck(x, &req, out, err);
}

static const char *said(const struct findings *f, const char *row)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->v[i].severity == FINDING_ERROR && strcmp(f->v[i].id, row) == 0)
			return f->v[i].text;
	return NULL;
}

static bool judge_rows(X509 *x, const struct certificate_profile *p, time_t now, time_t not_before, struct legacy_judgement *j, struct err *err)
{
	struct findings f = {0};
	bool ok = by_rules_of(x, p, now > LEGACY_END ? now : LEGACY_END, &f, err);

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (said(&f, rows[i].row) && !(rows[i].reason == LEGACY_NO_PROFILE && (j->reasons & (1u << LEGACY_GENERATION))))
			against(j, rows[i].reason, "%s%s", said(&f, rows[i].row),
				rows[i].reason != LEGACY_GENERATION ? "" : not_before >= LEGACY_END ? "; it was issued after that"
												   : ": no CA may renew it as it is");
	findings_clear(&f);
	return ok;
}

/* Would its purposes be allowed on the day it ends, when another one takes its place? */
static bool judge_purposes(X509 *x, const struct certificate_profile *p, time_t not_after, struct legacy_judgement *j, struct err *err)
{
	struct findings f = {0};
	bool ok = by_rules_of(x, p, not_after, &f, err);

	if (said(&f, "EKU-2"))
		against(j, LEGACY_PURPOSES, "%s; it cannot be renewed so, from 2027-07-01 on", said(&f, "EKU-2"));
	findings_clear(&f);
	return ok;
}

static unsigned uses_of(X509 *x)
{
	uint32_t ku = X509_get_key_usage(x); /* all bits, when there is no such extension */
	unsigned uses = 0;

	if (ku & (KU_DIGITAL_SIGNATURE | KU_NON_REPUDIATION))
		uses |= LEGACY_SIGNS;
	if (ku & (KU_KEY_ENCIPHERMENT | KU_KEY_AGREEMENT))
		uses |= LEGACY_ENCRYPTS;
	return uses;
}

bool legacy_judge(X509 *x, time_t now, struct legacy_judgement *out, struct err *err)
{
	/* without a claim the rows for keys and validity are those that all profiles share */
	struct certificate_profile p = {.validation = VALIDATION_MAILBOX, .generation = GENERATION_MULTIPURPOSE};
	time_t from = now, until = now;
	bool times, ok;

	memset(out, 0, sizeof *out);
	times = time_of(X509_get0_notBefore(x), &from) && time_of(X509_get0_notAfter(x), &until);
	out->expired = times && until < now;
	out->current = !out->expired && (!times || from <= now);
	if (!out->current)
		return true;
	out->uses = uses_of(x);
	if (!certcheck_claimed(x, &p))
		p = (struct certificate_profile){.validation = VALIDATION_MAILBOX, .generation = GENERATION_MULTIPURPOSE};
	ok = judge_rows(x, &p, now, from, out, err);
	judge_signature(x, out);
	if (ok && times && !(out->reasons & (1u << LEGACY_GENERATION | 1u << LEGACY_NO_PROFILE))) {
		judge_issuer(x, until, out);
		if (p.generation == GENERATION_MULTIPURPOSE)
			ok = judge_purposes(x, &p, until, out, err);
	}
	ERR_clear_error();
	return ok;
}
