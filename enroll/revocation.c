/*
 * enroll/revocation.c - fetches OCSP responses (RFC 6960) and CRLs (RFC 5280) over HTTP.
 *
 * The addresses are the certificate's, so the certificate was judged before (certificate.c): nobody is asked on the word of one that is not
 * ours or that no anchor of ours stands behind.  Time and size have limits, redirects lead nowhere, and nothing is believed here.
 * No nonce is sent: responders that serve prepared answers ignore it, and the times in the answer bound how old it may be.
 */
#include "config.h"

#include "enroll/revocation.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/x509v3.h>

#include "enroll/http.h"

#define REQUEST_SECONDS 20u /* of one request, or ca.timeout-seconds when that is less */
#define TOTAL_MS 60000
#define PLACES_MAX 2u /* of each kind */
#define OCSP_MAX (64u * 1024)
#define CRL_MAX (16u * 1024 * 1024)

struct revocation {
	struct http *http;
};

struct revocation *revocation_new(const struct ca_config *config, struct err *err)
{
	struct http_settings settings = {.plain = true,
		.contact = config->contact,
		.proxy = config->proxy,
		.total_seconds = config->timeout_seconds && config->timeout_seconds < REQUEST_SECONDS ? config->timeout_seconds : REQUEST_SECONDS};
	struct revocation *r = calloc(1, sizeof *r);

	if (!r) {
		err_nomem(err, "prepare revocation check");
		return NULL;
	}
	r->http = http_new(&settings, err);
	if (r->http)
		return r;
	free(r);
	return NULL;
}

void revocation_free(struct revocation *r)
{
	if (!r)
		return;
	http_free(r->http);
	free(r);
}

void revocation_stop(struct revocation *r)
{
	http_stop(r->http);
}

void revocation_answer_clear(struct revocation_answer *a)
{
	buf_clear(&a->data);
	memset(a, 0, sizeof *a);
}

/* ---- whom to ask --------------------------------------------------------------------------------------------------- */

/* Take a URI when it is one for us. */
static bool add_uri(struct strlist *out, const GENERAL_NAME *name)
{
	const ASN1_STRING *uri = name->type == GEN_URI ? name->d.uniformResourceIdentifier : NULL;
	struct buf text = BUF_INIT;
	bool ok = true;

	if (!uri || out->n >= PLACES_MAX || ASN1_STRING_length(uri) <= 0 ||
		memchr(ASN1_STRING_get0_data(uri), 0, (size_t)ASN1_STRING_length(uri)))
		return true;
	buf_append(&text, ASN1_STRING_get0_data(uri), (size_t)ASN1_STRING_length(uri));
	if (http_plain_url_good(buf_str(&text)))
		ok = strlist_add(out, buf_str(&text));
	buf_clear(&text);
	return ok;
}

static bool ocsp_places(X509 *leaf, struct strlist *out)
{
	AUTHORITY_INFO_ACCESS *aia = X509_get_ext_d2i(leaf, NID_info_access, NULL, NULL);
	bool ok = true;

	for (int i = 0; i < sk_ACCESS_DESCRIPTION_num(aia) && ok; i++) {
		const ACCESS_DESCRIPTION *a = sk_ACCESS_DESCRIPTION_value(aia, i);

		if (OBJ_obj2nid(a->method) == NID_ad_OCSP)
			ok = add_uri(out, a->location);
	}
	AUTHORITY_INFO_ACCESS_free(aia);
	return ok;
}

/* Points for some reasons only, or of another issuer, do not tell enough. */
static bool crl_places(X509 *leaf, struct strlist *out)
{
	CRL_DIST_POINTS *points = X509_get_ext_d2i(leaf, NID_crl_distribution_points, NULL, NULL);
	bool ok = true;

	for (int i = 0; i < sk_DIST_POINT_num(points) && ok; i++) {
		const DIST_POINT *point = sk_DIST_POINT_value(points, i);

		if (!point->distpoint || point->distpoint->type != 0 || point->reasons || point->CRLissuer)
			continue;
		for (int j = 0; j < sk_GENERAL_NAME_num(point->distpoint->name.fullname) && ok; j++)
			ok = add_uri(out, sk_GENERAL_NAME_value(point->distpoint->name.fullname, j));
	}
	CRL_DIST_POINTS_free(points);
	return ok;
}

/* SHA-1 names a certificate here, it protects nothing; it is what every responder knows (RFC 5019 section 2.1.1). */
static bool ocsp_request(X509 *leaf, X509 *issuer, struct buf *out)
{
	OCSP_REQUEST *request = OCSP_REQUEST_new();
	OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), leaf, issuer);
	unsigned char *der = NULL;
	int len = -1;

	if (request && id && OCSP_request_add0_id(request, id)) {
		id = NULL;
		len = i2d_OCSP_REQUEST(request, &der);
	}
	if (len > 0)
		buf_append(out, der, (size_t)len);
	OPENSSL_free(der);
	OCSP_CERTID_free(id);
	OCSP_REQUEST_free(request);
	return len > 0 && !out->failed;
}

/* ---- asking -------------------------------------------------------------------------------------------------------- */

struct question {
	struct revocation *r;
	X509 *leaf, *issuer;
	time_t now;
	int64_t until_ms;
	struct revocation_answer *out;
};

/* What came of one place is added to what the admin will read. */
static void note(struct question *q, const char *url, const char *text)
{
	size_t used = strlen(q->out->why);

	snprintf(q->out->why + used, sizeof q->out->why - used, "%s%.120s: %s", used ? "; " : "", url, text);
	for (char *p = q->out->why + used; *p; p++)
		if ((unsigned char)*p < ' ' || (unsigned char)*p > '~')
			*p = '?';
}

/* What came with status 200: keep it when it proves something. */
static bool take_answer(struct question *q, enum evidence_kind kind, const char *url, struct buf *body)
{
	struct certcheck_evidence e = {.kind = kind, .der = buf_str(body), .len = body->len};
	char why[200];
	bool proven = certcheck_revocation(q->leaf, q->issuer, &e, q->now, why, sizeof why) != REVOCATION_UNKNOWN;

	note(q, url, why);
	if (proven) {
		q->out->data = *body;
		*body = (struct buf)BUF_INIT;
		q->out->evidence = (struct certcheck_evidence){.kind = kind, .der = q->out->data.data, .len = q->out->data.len};
	}
	return proven;
}

/* True when this place proved something, one way or the other. */
static bool ask_place(struct question *q, enum evidence_kind kind, const char *url, const struct buf *request)
{
	struct http_request http = {.method = request ? HTTP_POST : HTTP_GET,
		.url = url,
		.content_type = request ? "application/ocsp-request" : NULL,
		.body = request ? request->data : NULL,
		.len = request ? request->len : 0,
		.max_body = kind == EVIDENCE_OCSP ? OCSP_MAX : CRL_MAX};
	struct http_response answer = HTTP_RESPONSE_INIT;
	struct err err = ERR_INIT;
	struct log_num status;
	bool proven = false;

	if (mono_ms() > q->until_ms)
		note(q, url, "not asked, it took too long already");
	else if (http_perform(q->r->http, &http, &answer, &err) != HTTP_ANSWERED)
		note(q, url, err.text);
	else if (answer.status != 200)
		note(q, url, log_num(&status, answer.status));
	else
		proven = take_answer(q, kind, url, &answer.body);
	http_response_clear(&answer);
	return proven;
}

void revocation_ask(struct revocation *r, X509 *leaf, X509 *issuer, time_t now, struct revocation_answer *out)
{
	struct question q = {.r = r, .leaf = leaf, .issuer = issuer, .now = now, .until_ms = mono_ms() + TOTAL_MS, .out = out};
	struct strlist ocsp = {0}, crl = {0};
	struct buf request = BUF_INIT;
	bool proven = false, ok;

	memset(out, 0, sizeof *out);
	out->evidence.why = out->why;
	ok = ocsp_places(leaf, &ocsp) && crl_places(leaf, &crl) && (!ocsp.n || ocsp_request(leaf, issuer, &request));
	ERR_clear_error();
	for (size_t i = 0; i < ocsp.n && ok && !proven; i++)
		proven = ask_place(&q, EVIDENCE_OCSP, ocsp.v[i], &request);
	for (size_t i = 0; i < crl.n && ok && !proven; i++)
		proven = ask_place(&q, EVIDENCE_CRL, crl.v[i], NULL);
	if (!ok)
		snprintf(out->why, sizeof out->why, "out of memory");
	else if (ocsp.n + crl.n == 0)
		snprintf(out->why, sizeof out->why, "it names neither an OCSP responder nor a CRL with an http address");
	buf_clear(&request);
	strlist_clear(&ocsp);
	strlist_clear(&crl);
}
