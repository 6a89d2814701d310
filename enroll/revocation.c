/*
 * enroll/revocation.c - fetches OCSP responses (RFC 6960) and CRLs (RFC 5280) over HTTP.
 *
 * The addresses are the certificate's, so the certificate was judged before (certificate.c): nobody is asked on the word of one that is not
 * ours or that no anchor of ours stands behind.  Time and size have limits, redirects lead nowhere, and nothing is believed here.
 * No nonce is sent: responders that serve prepared answers ignore it, and the times in the answer bound how old it may be.
 */
#include "config.h"

#include "enroll/revocation.h"

#include <pthread.h>
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
	pthread_mutex_t lock;  /* below: the last CRL that proved something */
	char *kept_url;
	struct buf kept;
	int64_t kept_ms;
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
	pthread_mutex_init(&r->lock, NULL);
	r->http = http_new(&settings, err);
	if (r->http)
		return r;
	pthread_mutex_destroy(&r->lock);
	free(r);
	return NULL;
}

void revocation_free(struct revocation *r)
{
	if (!r)
		return;
	http_free(r->http);
	pthread_mutex_destroy(&r->lock);
	buf_clear(&r->kept);
	free(r->kept_url);
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
	int64_t keep_ms; /* how old a CRL may be that we have already; 0 = it is fetched */
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

/* ---- the CRL that many certificates share ---- */

static void keep(struct question *q, const char *url)
{
	struct revocation *r = q->r;

	pthread_mutex_lock(&r->lock);
	free(r->kept_url);
	r->kept_url = str_dup(url);
	buf_reset(&r->kept);
	buf_append(&r->kept, q->out->data.data, q->out->data.len);
	r->kept_ms = mono_ms();
	pthread_mutex_unlock(&r->lock);
}

static bool kept_proves(struct question *q, const char *url)
{
	struct revocation *r = q->r;
	struct buf copy = BUF_INIT;

	pthread_mutex_lock(&r->lock);
	if (r->kept_url && strcmp(r->kept_url, url) == 0 && !r->kept.failed && mono_ms() - r->kept_ms < q->keep_ms)
		buf_append(&copy, r->kept.data, r->kept.len);
	pthread_mutex_unlock(&r->lock);
	if (copy.len && !copy.failed && take_answer(q, EVIDENCE_CRL, url, &copy))
		return true;
	buf_clear(&copy);
	return false;
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

static bool ask_crl(struct question *q, const char *url)
{
	if (q->keep_ms && kept_proves(q, url))
		return true;
	if (!ask_place(q, EVIDENCE_CRL, url, NULL))
		return false;
	if (q->keep_ms)
		keep(q, url);
	return true;
}

void revocation_ask(struct revocation *r, X509 *leaf, X509 *issuer, time_t now, struct revocation_answer *out)
{
	revocation_ask_kept(r, leaf, issuer, now, 0, out);
}

void revocation_ask_kept(struct revocation *r, X509 *leaf, X509 *issuer, time_t now, unsigned keep_seconds, struct revocation_answer *out)
{
	struct question q = {.r = r, .leaf = leaf, .issuer = issuer, .now = now, .until_ms = mono_ms() + TOTAL_MS, .keep_ms = (int64_t)keep_seconds * 1000,
		.out = out};
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
		proven = ask_crl(&q, crl.v[i]);
	if (!ok)
		snprintf(out->why, sizeof out->why, "out of memory");
	else if (ocsp.n + crl.n == 0)
		snprintf(out->why, sizeof out->why, "it names neither an OCSP responder nor a CRL with an http address");
	buf_clear(&request);
	strlist_clear(&ocsp);
	strlist_clear(&crl);
}
