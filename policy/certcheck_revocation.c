/*
 * policy/certcheck_revocation.c - what an OCSP response (RFC 6960) or a CRL (RFC 5280) proves about one certificate.
 *
 * OpenSSL verifies; what is chosen here is whom it may believe.  The only anchor is the certificate's own issuer, whose chain was verified
 * before: a response is the issuer's, or of somebody whom the issuer itself named for it (RFC 6960 section 4.2.2.2), and a CRL is the
 * issuer's (indirect ones are nobody's habit).  It comes over plain HTTP from anywhere, so everything that is not proven (forged, of another
 * certificate, of another time, signed with a broken digest) says nothing; it never says "good".
 */
#include "config.h"

#include "policy/certcheck_rows.h"

#include <limits.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/x509v3.h>

#define SKEW 300	     /* seconds that clocks may differ */
#define UNDATED_OCSP 86400 /* a response that names no next one (RFC 6960 section 4.2.2.1) is believed for a day */
#define SECURITY_LEVEL 2
#define DIGEST_MIN 28 /* octets: no SHA-1 (version 1.0.14) */

/* Fill `why` and be unknown. */
static enum revocation_status unknown(char *why, size_t size, const char *text, bool with_openssl)
{
	const char *reason = with_openssl ? ERR_reason_error_string(ERR_peek_last_error()) : NULL;

	snprintf(why, size, "%s%s%s", text, reason != NULL ? ": " : "", reason != NULL ? reason : "");
	return REVOCATION_UNKNOWN;
}

static bool time_of(const ASN1_TIME *t, time_t *out)
{
	struct tm tm;

	if (t == NULL || ASN1_TIME_to_tm(t, &tm) != 1)
		return false;
	*out = timegm(&tm);
	return true;
}

/* Does it speak of now? */
static bool is_current(const ASN1_TIME *from, const ASN1_TIME *until, time_t undated, time_t now, char *why, size_t size)
{
	time_t begins, ends;
	char text[32];

	if (!time_of(from, &begins))
		return snprintf(why, size, "it does not say of when it is"), false;
	if (begins > now + SKEW)
		return snprintf(why, size, "it is of the future (%s)", time_text(begins, text)), false;
	if (until == NULL && undated == 0)
		return snprintf(why, size, "it does not say until when it counts"), false;
	if (until == NULL)
		ends = begins + undated;
	else if (!time_of(until, &ends))
		return snprintf(why, size, "it does not say until when it counts"), false;
	if (ends < now - SKEW)
		return snprintf(why, size, "it is stale: it counted until %s", time_text(ends, text)), false;
	return true;
}

static bool is_weak(int digest)
{
	const EVP_MD *md = EVP_get_digestbynid(digest);

	return md == NULL || EVP_MD_get_size(md) < DIGEST_MIN;
}

/* RSASSA-PSS says its digest among its parameters, and means SHA-1 where it says nothing (RFC 4055 section 3.1). */
static bool pss_is_weak(int type, const void *parameters)
{
	RSA_PSS_PARAMS *p = type == V_ASN1_SEQUENCE ? ASN1_item_unpack(parameters, ASN1_ITEM_rptr(RSA_PSS_PARAMS)) : NULL;
	bool weak = p == NULL || p->hashAlgorithm == NULL || is_weak(OBJ_obj2nid(p->hashAlgorithm->algorithm));

	RSA_PSS_PARAMS_free(p);
	ERR_clear_error();
	return weak;
}

static bool digest_is_weak(const X509_ALGOR *algorithm)
{
	const ASN1_OBJECT *object;
	const void *parameters;
	int digest = NID_undef, type;

	X509_ALGOR_get0(&object, &type, &parameters, algorithm);
	if (OBJ_obj2nid(object) == NID_rsassaPss)
		return pss_is_weak(type, parameters);
	if (OBJ_find_sigid_algs(OBJ_obj2nid(object), &digest, NULL) != 1)
		return true;
	return digest != NID_undef && is_weak(digest);
}

/* The issuer as the one anchor, at that time. */
static X509_STORE *issuer_store(X509 *issuer, time_t now)
{
	X509_STORE *store = X509_STORE_new();
	X509_VERIFY_PARAM *param = store != NULL ? X509_STORE_get0_param(store) : NULL;

	if (param == NULL || X509_STORE_add_cert(store, issuer) != 1 || X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN) != 1) {
		X509_STORE_free(store);
		return NULL;
	}
	X509_VERIFY_PARAM_set_time(param, now);
	X509_VERIFY_PARAM_set_auth_level(param, SECURITY_LEVEL);
	return store;
}

/* ---- OCSP -------------------------------------------------------------------------------------------------------- */

/* Is this answer about our certificate?  It may name it by another digest than we did. */
static bool is_about(const OCSP_SINGLERESP *single, X509 *leaf, X509 *issuer)
{
	OCSP_CERTID *theirs = (OCSP_CERTID *)OCSP_SINGLERESP_get0_id(single), *ours = NULL;
	ASN1_OBJECT *digest = NULL;
	const EVP_MD *md = NULL;
	bool same;

	if (theirs != NULL && OCSP_id_get0_info(NULL, &digest, NULL, NULL, theirs) == 1)
		md = EVP_get_digestbyobj(digest);
	ours = md != NULL ? OCSP_cert_to_id(md, leaf, issuer) : NULL;
	same = ours != NULL && OCSP_id_cmp(ours, theirs) == 0;
	OCSP_CERTID_free(ours);
	return same;
}

static bool is_signed(OCSP_BASICRESP *basic, X509 *issuer, time_t now, char *why, size_t size)
{
	const X509_ALGOR *algorithm = OCSP_resp_get0_tbs_sigalg(basic);
	STACK_OF(X509) *candidates = sk_X509_new_null();
	X509_STORE *store = issuer_store(issuer, now);
	bool ok = false;

	if (candidates == NULL || store == NULL || sk_X509_push(candidates, issuer) <= 0)
		unknown(why, size, "out of memory", false);
	else if (digest_is_weak(algorithm))
		unknown(why, size, "it is signed with SHA-1 or another broken digest", false);
	else if (OCSP_basic_verify(basic, candidates, store, OCSP_PARTIAL_CHAIN | OCSP_NOEXPLICIT) != 1)
		unknown(why, size, "it is not signed by the issuer, nor by somebody the issuer named for that", true);
	else
		ok = true;
	sk_X509_free(candidates);
	X509_STORE_free(store);
	return ok;
}

/* The one of the answers that is about our certificate; a "revoked" is believed before a "good" beside it. */
static enum revocation_status ocsp_answer(OCSP_BASICRESP *basic, X509 *leaf, X509 *issuer, time_t now, char *why, size_t size)
{
	enum revocation_status status = unknown(why, size, "it is about other certificates", false);

	for (int i = 0; i < OCSP_resp_count(basic) && status != REVOCATION_REVOKED; i++) {
		OCSP_SINGLERESP *single = OCSP_resp_get0(basic, i);
		ASN1_GENERALIZEDTIME *revoked = NULL, *from = NULL, *until = NULL;
		int reason = -1, what;

		if (!is_about(single, leaf, issuer))
			continue;
		what = OCSP_single_get0_status(single, &reason, &revoked, &from, &until);
		if (!is_current(from, until, UNDATED_OCSP, now, why, size))
			continue;
		if (what == V_OCSP_CERTSTATUS_REVOKED) {
			status = REVOCATION_REVOKED;
			snprintf(why, size, "by OCSP, reason %s", reason >= 0 ? OCSP_crl_reason_str(reason) : "not told");
		} else if (what == V_OCSP_CERTSTATUS_GOOD) {
			status = REVOCATION_GOOD;
			snprintf(why, size, "good by OCSP");
		} else if (status != REVOCATION_GOOD) {
			unknown(why, size, "the responder does not know this certificate (yet)", false);
		}
	}
	return status;
}

static enum revocation_status judge_ocsp(X509 *leaf, X509 *issuer, const struct certcheck_evidence *e, time_t now, char *why, size_t size)
{
	const unsigned char *p = e->der;
	OCSP_RESPONSE *response = e->len < LONG_MAX ? d2i_OCSP_RESPONSE(NULL, &p, (long)e->len) : NULL;
	OCSP_BASICRESP *basic = NULL;
	enum revocation_status status = REVOCATION_UNKNOWN;
	char text[100];

	if (response == NULL) {
		unknown(why, size, "it is no OCSP response", false);
	} else if (OCSP_response_status(response) != OCSP_RESPONSE_STATUS_SUCCESSFUL) {
		snprintf(text, sizeof text, "the responder says \"%s\"", OCSP_response_status_str(OCSP_response_status(response)));
		unknown(why, size, text, false);
	} else if ((basic = OCSP_response_get1_basic(response)) == NULL) {
		unknown(why, size, "it is no OCSP response of the basic kind", false);
	} else if (is_signed(basic, issuer, now, why, size)) {
		status = ocsp_answer(basic, leaf, issuer, now, why, size);
	}
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(response);
	return status;
}

/* ---- CRL --------------------------------------------------------------------------------------------------------- */

/* Whether the leaf itself is within its time is another row's question. */
static int only_revocation_counts(int ok, X509_STORE_CTX *ctx)
{
	if (ok || X509_STORE_CTX_get_error_depth(ctx) != 0)
		return ok;
	switch (X509_STORE_CTX_get_error(ctx)) {
	case X509_V_ERR_CERT_NOT_YET_VALID:
	case X509_V_ERR_CERT_HAS_EXPIRED:
		X509_STORE_CTX_set_error(ctx, X509_V_OK);
		return 1;
	default:
		return 0;
	}
}

/* OpenSSL knows scopes, reasons and critical extensions of CRLs; it is asked to verify the leaf below its issuer with this CRL. */
static enum revocation_status crl_answer(X509_CRL *crl, X509 *leaf, X509 *issuer, time_t now, char *why, size_t size)
{
	X509_STORE *store = issuer_store(issuer, now);
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	STACK_OF(X509_CRL) *crls = sk_X509_CRL_new_null();
	enum revocation_status status = REVOCATION_UNKNOWN;
	int error;

	if (store == NULL || ctx == NULL || crls == NULL || sk_X509_CRL_push(crls, crl) <= 0 || X509_STORE_CTX_init(ctx, store, leaf, NULL) != 1) {
		unknown(why, size, "out of memory", false);
		goto out;
	}
	X509_STORE_CTX_set0_crls(ctx, crls);
	X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_CRL_CHECK);
	X509_STORE_CTX_set_verify_cb(ctx, only_revocation_counts);
	if (X509_verify_cert(ctx) == 1) {
		status = REVOCATION_GOOD;
		snprintf(why, size, "good by CRL");
	} else if ((error = X509_STORE_CTX_get_error(ctx)) == X509_V_ERR_CERT_REVOKED) {
		status = REVOCATION_REVOKED;
		snprintf(why, size, "by CRL");
	} else {
		unknown(why, size, X509_verify_cert_error_string(error), false);
	}
out:
	sk_X509_CRL_free(crls);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	return status;
}

static enum revocation_status judge_crl(X509 *leaf, X509 *issuer, const struct certcheck_evidence *e, time_t now, char *why, size_t size)
{
	const unsigned char *p = e->der;
	X509_CRL *crl = e->len < LONG_MAX ? d2i_X509_CRL(NULL, &p, (long)e->len) : NULL;
	enum revocation_status status = REVOCATION_UNKNOWN;
	const X509_ALGOR *algorithm = NULL;

	if (crl != NULL)
		X509_CRL_get0_signature(crl, NULL, &algorithm);
	if (crl == NULL)
		unknown(why, size, "it is no CRL", false);
	else if (digest_is_weak(algorithm))
		unknown(why, size, "it is signed with SHA-1 or another broken digest", false);
	else if (is_current(X509_CRL_get0_lastUpdate(crl), X509_CRL_get0_nextUpdate(crl), 0, now, why, size))
		status = crl_answer(crl, leaf, issuer, now, why, size);
	X509_CRL_free(crl);
	return status;
}

/* ---- asked from outside ------------------------------------------------------------------------------------------- */

enum revocation_status certcheck_revocation(X509 *leaf, X509 *issuer, const struct certcheck_evidence *e, time_t now, char *why, size_t size)
{
	enum revocation_status status = REVOCATION_UNKNOWN;

	why[0] = 0;
	ERR_clear_error();
	switch (e != NULL ? e->kind : EVIDENCE_NONE) {
	case EVIDENCE_NONE:
		unknown(why, size, e != NULL && e->why != NULL ? e->why : "nobody was asked", false);
		break;
	case EVIDENCE_OCSP:
		status = judge_ocsp(leaf, issuer, e, now, why, size);
		break;
	case EVIDENCE_CRL:
		status = judge_crl(leaf, issuer, e, now, why, size);
		break;
	}
	ERR_clear_error();
	return status;
}

X509 *certcheck_issuer(X509 *leaf, X509_STORE *anchors, STACK_OF(X509) * untrusted, time_t now)
{
	STACK_OF(X509) *chain = NULL;
	X509 *issuer = NULL;
	char why[256];

	if (anchors != NULL && certcheck_verify(leaf, anchors, untrusted, USAGE_SIGN, now, &chain, why, sizeof why) && sk_X509_num(chain) > 1) {
		issuer = sk_X509_value(chain, 1);
		X509_up_ref(issuer);
	}
	sk_X509_pop_free(chain, X509_free);
	return issuer;
}

/* ---- the row ------------------------------------------------------------------------------------------------------ */

void row_own_rev(struct certcheck *c)
{
	enum revocation_check wanted = c->req->revocation;
	X509 *issuer = c->req->anchors != NULL && c->chain_error[0] == 0 && sk_X509_num(c->chain) > 1 ? sk_X509_value(c->chain, 1) : NULL;
	enum revocation_status status = REVOCATION_UNKNOWN;
	char why[200] = "without a verified issuer nobody can say";

	if (wanted == REVOCATION_OFF)
		return;
	if (issuer != NULL)
		status = certcheck_revocation(c->leaf, issuer, c->req->evidence, c->req->now, why, sizeof why);
	if (status == REVOCATION_REVOKED) {
		row_report(c, "it is revoked: %s", why);
	} else if (status != REVOCATION_GOOD) {
		row_report_as(c, wanted == REVOCATION_REQUIRED ? FINDING_ERROR : FINDING_WARNING,
			"whether it is revoked could not be learned: %s", why);
		/* of all errors the one that may pass by itself: responders know a new certificate only after a while */
		c->out->passing += wanted == REVOCATION_REQUIRED;
	}
}
