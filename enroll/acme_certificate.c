/*
 * enroll/acme_certificate.c - an issued certificate: its name in renewal information and orders, revocation, renewal information.
 *
 * RFC 8555 section 7.6; RFC 9773.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "enroll/acme.h"
#include "enroll/ca_count.h"
#include "enroll/problem.h"

/* RFC 9773 section 4.3: between a minute and a day, six hours when the CA says nothing that can be read. */
#define ASK_LEAST 60
#define ASK_MOST 86400
#define ASK_DEFAULT (6 * 3600)

/* ---- the identifier (RFC 9773 section 4.1) ------------------------------------------------------------------------- */

/* The content octets of the serial's DER: with the zero octet in front of a high bit, which ASN1_INTEGER's own data lacks. */
static bool serial_octets(const X509 *x, struct buf *out)
{
	unsigned char *der = NULL;
	const unsigned char *p;
	long n = 0;
	int tag, class, len = i2d_ASN1_INTEGER(X509_get0_serialNumber(x), &der);
	bool ok = false;

	p = der;
	if (len > 0 && !(ASN1_get_object(&p, &n, &tag, &class, len) & 0x80)) {
		base64url_encode(out, p, (size_t)n);
		ok = n > 0;
	}
	OPENSSL_free(der);
	return ok;
}

bool acme_certificate_id(const void *der, size_t len, struct buf *out)
{
	const unsigned char *p = der;
	X509 *x = d2i_X509(NULL, &p, (long)len);
	const ASN1_OCTET_STRING *authority = x ? X509_get0_authority_key_id(x) : NULL;
	struct buf id = BUF_INIT;
	bool ok = false;

	if (authority && ASN1_STRING_length(authority) > 0) {
		base64url_encode(&id, ASN1_STRING_get0_data(authority), (size_t)ASN1_STRING_length(authority));
		buf_putc(&id, '.');
		ok = serial_octets(x, &id) && !id.failed;
	}
	if (ok)
		buf_puts(out, buf_str(&id));
	ERR_clear_error();
	buf_clear(&id);
	X509_free(x);
	return ok;
}

/* ---- revocation ---------------------------------------------------------------------------------------------------- */

static json_t *revoke_payload(const void *der, size_t len, enum ca_reason reason)
{
	struct buf text = BUF_INIT;
	json_t *payload;

	base64url_encode(&text, der, len);
	payload = text.failed ? NULL : json_pack("{s:s}", "certificate", buf_str(&text));
	/* RFC 5280 section 5.3.1: unspecified is said by saying nothing. */
	if (payload && reason != CA_REASON_UNSPECIFIED && json_object_set_new(payload, "reason", json_integer(reason)) != 0) {
		json_decref(payload);
		payload = NULL;
	}
	buf_clear(&text);
	return payload;
}

bool acme_revoke(struct acme *a, const void *der, size_t len, enum ca_reason reason, EVP_PKEY *key, struct err *err)
{
	struct acme_call call = {.op = "revoke certificate"};
	struct acme_answer answer = {0};
	struct err own = ERR_INIT;
	json_t *payload = NULL;
	char *url = NULL;
	bool ok = false;

	if (key && !(call.key = jws_key_from(key, "the certificate's key", &own)))
		goto out;
	if (!acme_resource(a, ACME_REVOKE_CERT, &url, &own))
		goto out;
	payload = revoke_payload(der, len, reason);
	if (!payload) {
		err_nomem(&own, call.op);
		goto out;
	}
	call.url = url;
	call.payload = payload;
	ok = acme_post(a, &call, &answer, &own) || strcmp(own.type, "alreadyRevoked") == 0;
out:
	if (!ok && err)
		*err = own;
	acme_answer_clear(&answer);
	json_decref(payload);
	jws_key_free(call.key);
	free(url);
	return ok;
}

/* ---- renewal information ------------------------------------------------------------------------------------------- */

static time_t ask_again(const struct http_response *r, time_t now)
{
	time_t at = http_retry_after(r->retry_after, now);

	if (at == 0)
		return now + ASK_DEFAULT;
	if (at < now + ASK_LEAST)
		return now + ASK_LEAST;
	return at > now + ASK_MOST ? now + ASK_MOST : at;
}

/* NULL when there is nothing to ask for: no such service, or a certificate without a name in it. */
static char *renewal_url(struct acme *a, const void *der, size_t len, struct err *err)
{
	struct err own = ERR_INIT;
	struct buf url = BUF_INIT;
	char *base = NULL, *text = NULL;

	if (!acme_resource(a, ACME_RENEWAL_INFO, &base, &own)) {
		if (own.class != ERR_CONFIG && err) /* no directory */
			*err = own;
		return NULL;
	}
	buf_puts(&url, base);
	if (!url.failed && url.data[url.len - 1] != '/')
		buf_putc(&url, '/');
	if (acme_certificate_id(der, len, &url)) {
		text = buf_take(&url);
		if (!text)
			err_nomem(err, "fetch renewal information");
	}
	buf_clear(&url);
	free(base);
	return text;
}

bool acme_renewal(struct acme *a, const void *der, size_t len, struct ca_renewal *out, struct err *err)
{
	struct http_request q = {.method = HTTP_GET, .accept = "application/json, application/problem+json"};
	struct http_response r = HTTP_RESPONSE_INIT;
	struct err own = ERR_INIT;
	time_t now = time(NULL);
	char *url;
	bool ok = false;

	memset(out, 0, sizeof *out);
	url = renewal_url(a, der, len, &own);
	if (!url) {
		ok = own.class == ERR_NONE;
		goto out;
	}
	q.url = url;
	if (ca_count_http(a->http, a->label, "fetch renewal information", &q, &r, &own) != HTTP_ANSWERED) {
		snprintf(own.op, sizeof own.op, "fetch renewal information");
	} else if (r.status == 404) {
		ok = true; /* not for this certificate */
	} else if (r.status != 200) {
		problem_from_answer(&r, "fetch renewal information", url, now, &own);
	} else {
		ok = acme_renewal_parse(r.body.data, r.body.len, url, out, &own);
		out->ask_again = ok ? ask_again(&r, now) : 0;
		own.status = (int)r.status;
	}
out:
	if (!ok && err)
		*err = own;
	http_response_clear(&r);
	free(url);
	return ok;
}
