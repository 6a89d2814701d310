/*
 * tests/unit/test_acme_renewal.c - what a CA says about a certificate's renewal, about its limits and its terms; how it names a certificate,
 * and which chain is whose.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "enroll/acme.h"
#include "enroll/problem.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define URL "https://ca.example/x"
#define NOW 1795334400

/* ---- terms and limits ---------------------------------------------------------------------------------------------- */

START_TEST(changed_terms_say_what_to_read_and_where_to_agree)
{
	struct http_response r = HTTP_RESPONSE_INIT;
	struct err err = ERR_INIT;

	r.status = 403;
	r.url = str_dup(URL);
	r.content_type = str_dup("application/problem+json");
	strlist_add(&r.links, "<https://ca.example/terms/7>;rel=\"terms-of-service\"");
	buf_puts(&r.body, "{\"type\":\"urn:ietf:params:acme:error:userActionRequired\",\"detail\":\"Terms have changed\","
			  "\"instance\":\"https://ca.example/agree/8\"}");
	problem_from_answer(&r, "new order", URL, NOW, &err);
	ck_assert_str_eq(err.text, "the CA says: Terms have changed (userActionRequired); its terms of service have changed: read "
				   "https://ca.example/terms/7, and agree at https://ca.example/agree/8. Visit the URL the CA names, then `enrollctl retry`.");
	ck_assert_int_eq(err.status, 403);
	ck_assert_int_eq(err.class, ERR_CONFIG);
	http_response_clear(&r);
}
END_TEST

static const struct {
	const char *name, *body, *identifiers;
} limits[] = {
	{"two addresses", "{\"type\":\"x\",\"subproblems\":[{\"identifier\":{\"value\":\"a@example.org\"}},{\"identifier\":{\"value\":\"example.org\"}}]}",
		"a@example.org example.org"},
	{"no subproblem", "{\"type\":\"x\"}", NULL},
	{"a subproblem about nobody", "{\"type\":\"x\",\"subproblems\":[{\"detail\":\"y\"},7,null]}", NULL},
	{"names with blanks and control characters", "{\"type\":\"x\",\"subproblems\":[{\"identifier\":{\"value\":\"a b\"}},{\"identifier\":{\"value\":\"\\n\"}},"
						     "{\"identifier\":{\"value\":\"\"}},{\"identifier\":{\"value\":5}}]}",
		NULL},
	{"no problem document", "[]", NULL},
};

START_TEST(limited_identifiers_are_told)
{
	struct http_response r = HTTP_RESPONSE_INIT;
	char *got;

	r.content_type = str_dup("application/problem+json");
	buf_puts(&r.body, limits[_i].body);
	got = problem_identifiers(&r);
	if (limits[_i].identifiers)
		ck_assert_msg(got && strcmp(got, limits[_i].identifiers) == 0, "%s: %s", limits[_i].name, got ? got : "none");
	else
		ck_assert_msg(!got, "%s: %s", limits[_i].name, got);
	free(got);
	http_response_clear(&r);
}
END_TEST

/* ---- renewal information --------------------------------------------------------------------------------------- */

static const struct {
	const char *name, *body;
	bool good;
} windows[] = {
	{"that of RFC 9773", "{\"suggestedWindow\":{\"start\":\"2025-01-02T04:00:00Z\",\"end\":\"2025-01-03T04:00:00Z\"},"
			     "\"explanationURL\":\"https://acme.example.com/docs/ari\"}",
		true},
	{"other members", "{\"x\":[],\"suggestedWindow\":{\"y\":1,\"start\":\"2025-01-02T04:00:00Z\",\"end\":\"2025-01-02T04:00:01Z\"}}", true},
	{"an end before the start", "{\"suggestedWindow\":{\"start\":\"2025-01-03T04:00:00Z\",\"end\":\"2025-01-02T04:00:00Z\"}}", false},
	{"no width", "{\"suggestedWindow\":{\"start\":\"2025-01-03T04:00:00Z\",\"end\":\"2025-01-03T04:00:00Z\"}}", false},
	{"no window", "{}", false},
	{"a window that is a text", "{\"suggestedWindow\":\"now\"}", false},
	{"no end", "{\"suggestedWindow\":{\"start\":\"2025-01-03T04:00:00Z\"}}", false},
	{"numbers", "{\"suggestedWindow\":{\"start\":1,\"end\":2}}", false},
	{"a day", "{\"suggestedWindow\":{\"start\":\"2025-01-03\",\"end\":\"2025-01-04\"}}", false},
	{"a list", "[]", false},
};

START_TEST(renewal_window_is_judged)
{
	struct ca_renewal r;
	struct err err = ERR_INIT;
	bool ok = acme_renewal_parse(windows[_i].body, strlen(windows[_i].body), URL, &r, &err);

	ck_assert_msg(ok == windows[_i].good, "%s was %s", windows[_i].name, ok ? "taken" : "refused");
	ck_assert_int_eq(r.known, ok);
	ck_assert(ok || (err.class == ERR_TEMPORARY && strcmp(err.type, "malformed-answer") == 0));
	if (_i == 0) {
		ck_assert_int_eq(r.start, 1735790400);
		ck_assert_int_eq(r.end, 1735876800);
		ck_assert_str_eq(r.explanation, "https://acme.example.com/docs/ari");
	}
}
END_TEST

/* A certificate with this serial (DER content in hexadecimal) and authority key identifier; signed by nobody who matters. */
static void certificate_with(const char *serial, const char *authority, struct buf *der)
{
	X509 *x = X509_new();
	BIGNUM *n = NULL;
	AUTHORITY_KEYID *id = AUTHORITY_KEYID_new();
	EVP_PKEY *key = EVP_EC_gen("P-256");
	unsigned char *octets = NULL;
	long len;
	int size;

	ck_assert(BN_hex2bn(&n, serial) && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)));
	ck_assert(X509_set_version(x, 2) && X509_set_pubkey(x, key) && X509_gmtime_adj(X509_getm_notBefore(x), 0) &&
		  X509_gmtime_adj(X509_getm_notAfter(x), 60));
	if (authority) {
		unsigned char *raw = OPENSSL_hexstr2buf(authority, &len);

		id->keyid = ASN1_OCTET_STRING_new();
		ck_assert(ASN1_OCTET_STRING_set(id->keyid, raw, (int)len));
		ck_assert(X509_add1_ext_i2d(x, NID_authority_key_identifier, id, 0, 0) == 1);
		OPENSSL_free(raw);
	}
	ck_assert(X509_sign(x, key, EVP_sha256()) > 0);
	size = i2d_X509(x, &octets);
	ck_assert_int_gt(size, 0);
	buf_append(der, octets, (size_t)size);
	OPENSSL_free(octets);
	AUTHORITY_KEYID_free(id);
	BN_free(n);
	EVP_PKEY_free(key);
	X509_free(x);
}

static const struct {
	const char *name, *serial, *authority, *id;
} ids[] = {
	{"that of RFC 9773 section 4.1", "87654321", "69885B6B87464041E1B37B847BA0AE2CDE01C8D4", "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"},
	{"no high bit", "0102", "AA", "qg.AQI"},
	{"zero", "00", "AA", "qg.AA"},
	{"no authority key identifier", "0102", NULL, NULL},
};

START_TEST(certificate_has_the_name_of_rfc_9773)
{
	struct buf der = BUF_INIT, id = BUF_INIT;
	bool ok;

	certificate_with(ids[_i].serial, ids[_i].authority, &der);
	ok = acme_certificate_id(der.data, der.len, &id);
	ck_assert_msg(ok == (ids[_i].id != NULL), "%s", ids[_i].name);
	ck_assert_msg(!ok || strcmp(buf_str(&id), ids[_i].id) == 0, "%s: %s", ids[_i].name, buf_str(&id));
	ck_assert(!acme_certificate_id("rubbish", 7, &id) && !acme_certificate_id("", 0, &id));
	buf_clear(&id);
	buf_clear(&der);
}
END_TEST

/* ---- chains -------------------------------------------------------------------------------------------------------- */

static void certificate_of(const char *subject, const char *issuer, struct buf *pem)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	BIO *out = BIO_new(BIO_s_mem());
	char *text;
	long n;

	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	ck_assert(X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const unsigned char *)subject, -1, -1, 0));
	ck_assert(X509_NAME_add_entry_by_txt(X509_get_issuer_name(x), "O", MBSTRING_UTF8, (const unsigned char *)"Somebody", -1, -1, 0));
	ck_assert(X509_NAME_add_entry_by_txt(X509_get_issuer_name(x), "CN", MBSTRING_UTF8, (const unsigned char *)issuer, -1, -1, 0));
	ck_assert(X509_gmtime_adj(X509_getm_notBefore(x), 0) && X509_gmtime_adj(X509_getm_notAfter(x), 60) && X509_set_pubkey(x, key));
	ck_assert(X509_sign(x, key, EVP_sha256()) > 0 && PEM_write_bio_X509(out, x));
	n = BIO_get_mem_data(out, &text);
	buf_append(pem, text, (size_t)n);
	BIO_free(out);
	X509_free(x);
	EVP_PKEY_free(key);
}

START_TEST(chain_ends_in_its_topmost_issuer_only)
{
	struct buf pem = BUF_INIT;

	ck_assert(!acme_chain_ends_in(&pem, "Root X\xc3\xa9"));
	certificate_of("alice", "Intermediate", &pem);
	certificate_of("Intermediate", "Root X\xc3\xa9", &pem);
	ck_assert(acme_chain_ends_in(&pem, "Root X\xc3\xa9"));
	ck_assert(acme_chain_ends_in(&pem, "Intermediate")); /* the subject of the topmost */
	ck_assert(!acme_chain_ends_in(&pem, "alice"));
	ck_assert(!acme_chain_ends_in(&pem, "Root X"));
	ck_assert(!acme_chain_ends_in(&pem, "Somebody"));
	ck_assert(!acme_chain_ends_in(&pem, ""));
	buf_clear(&pem);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("acme_renewal");
	TCase *t = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_add_test(t, changed_terms_say_what_to_read_and_where_to_agree);
	tcase_add_loop_test(t, limited_identifiers_are_told, 0, COUNT(limits));
	tcase_add_loop_test(t, renewal_window_is_judged, 0, COUNT(windows));
	tcase_add_loop_test(t, certificate_has_the_name_of_rfc_9773, 0, COUNT(ids));
	tcase_add_test(t, chain_ends_in_its_topmost_issuer_only);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
