/*
 * tests/unit/test_revocation.c - is a new certificate revoked?  Evidence of every kind judged by policy, and fetched from a real OCSP responder
 * (`openssl ocsp`) and a web server with a CRL, on the loopback (revocation_server.py).
 *
 * What proves nothing must never count as good: each such case expects "unknown", with a word of its reason.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <check.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>

#include "enroll/certificate.h"
#include "enroll/enrollment.h"
#include "enroll/revocation.h"
#include "tests/unit/certificates.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define DAY 86400
#define SKIPPED 77
#define SERIAL "0123456789ABCDEF0123456789ABCDEF"

static char folder[] = "/tmp/test_revocation.XXXXXX";
static X509 *leaf, *other_leaf;
static time_t now;

/* ---- evidence, made by hand ---------------------------------------------------------------------------------------- */

static struct buf der_of(int len, unsigned char *der)
{
	struct buf out = BUF_INIT;

	ck_assert_int_gt(len, 0);
	buf_append(&out, der, (size_t)len);
	OPENSSL_free(der);
	return out;
}

struct ocsp_spec {
	X509 *about, *issuer; /* certificate and issuer that are named */
	int status;
	time_t from, until; /* until 0: not said */
	X509 *signer;
	EVP_PKEY *key;
	const char *digest;
	bool sha256_id;
	bool good_beside; /* another answer about the same certificate: good, but stale */
};

static struct ocsp_spec ocsp_clean(void)
{
	return (struct ocsp_spec){.about = leaf,
		.issuer = authority_ca.certificate,
		.status = V_OCSP_CERTSTATUS_GOOD,
		.from = now - 600,
		.until = now + DAY,
		.signer = authority_ca.certificate,
		.key = authority_ca.key,
		.digest = "SHA256"};
}

static struct buf ocsp_make(const struct ocsp_spec *s)
{
	OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
	OCSP_CERTID *id = OCSP_cert_to_id(s->sha256_id ? EVP_sha256() : EVP_sha1(), s->about, s->issuer);
	ASN1_TIME *from = ASN1_TIME_set(NULL, s->from), *until = s->until ? ASN1_TIME_set(NULL, s->until) : NULL, *then = ASN1_TIME_set(NULL, now - DAY);
	OCSP_RESPONSE *response;
	unsigned char *der = NULL;
	int len;

	if (s->good_beside)
		OCSP_basic_add1_status(basic, id, V_OCSP_CERTSTATUS_GOOD, 0, NULL, from, until);
	ck_assert_ptr_nonnull(OCSP_basic_add1_status(
		basic, id, s->status, OCSP_REVOKED_STATUS_KEYCOMPROMISE, s->status == V_OCSP_CERTSTATUS_REVOKED ? then : NULL, from, until));
	ck_assert_int_eq(OCSP_basic_sign(basic, s->signer, s->key, EVP_get_digestbyname(s->digest), NULL, 0), 1);
	response = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
	len = i2d_OCSP_RESPONSE(response, &der);
	OCSP_RESPONSE_free(response);
	OCSP_BASICRESP_free(basic);
	OCSP_CERTID_free(id);
	ASN1_TIME_free(from);
	ASN1_TIME_free(until);
	ASN1_TIME_free(then);
	return der_of(len, der);
}

/* A certificate for signing OCSP responses, or one that only looks like it. */
static X509 *responder(const struct authority *issuer, const char *purpose)
{
	struct spec s = spec_clean(VALIDATION_ORGANIZATION, GENERATION_STRICT, now);

	s.issuer = issuer;
	spec_set(&s, "extendedKeyUsage", purpose);
	spec_set(&s, "subjectAltName", NULL);
	return spec_make(&s);
}

static void expect(const char *name, enum evidence_kind kind, const struct buf *der, enum revocation_status wanted, const char *words)
{
	struct certcheck_evidence e = {.kind = kind, .der = der->data, .len = der->len};
	char why[200];
	enum revocation_status have = certcheck_revocation(leaf, authority_ca.certificate, &e, now, why, sizeof why);

	ck_assert_msg(have == wanted, "%s: %d instead of %d: %s", name, (int)have, (int)wanted, why);
	ck_assert_msg(strstr(why, words) != NULL, "%s: \"%s\" does not say \"%s\"", name, why, words);
	ck_assert_uint_eq(ERR_peek_error(), 0);
}

static void o_nothing(struct ocsp_spec *s) {}
static void o_revoked(struct ocsp_spec *s)
{
	s->status = V_OCSP_CERTSTATUS_REVOKED;
}
static void o_revoked_beside_good(struct ocsp_spec *s)
{
	s->status = V_OCSP_CERTSTATUS_REVOKED;
	s->good_beside = true;
}
static void o_unknown(struct ocsp_spec *s)
{
	s->status = V_OCSP_CERTSTATUS_UNKNOWN;
}
static void o_other_digest(struct ocsp_spec *s)
{
	s->sha256_id = true;
}
static void o_other_certificate(struct ocsp_spec *s)
{
	s->about = other_leaf;
}
static void o_other_issuer(struct ocsp_spec *s)
{
	s->issuer = authority_rsa.certificate;
}
static void o_stale(struct ocsp_spec *s)
{
	s->from = now - 3 * DAY;
	s->until = now - 2 * DAY;
}
static void o_stale_revoked(struct ocsp_spec *s)
{
	o_stale(s);
	o_revoked(s);
}
static void o_future(struct ocsp_spec *s)
{
	s->from = now + DAY;
	s->until = now + 2 * DAY;
}
static void o_clock_differs(struct ocsp_spec *s)
{
	s->from = now + 60;
}
static void o_no_end(struct ocsp_spec *s)
{
	s->until = 0;
}
static void o_old_no_end(struct ocsp_spec *s)
{
	s->from = now - 2 * DAY;
	s->until = 0;
}
static void o_sha1(struct ocsp_spec *s)
{
	s->digest = "SHA1";
}
static void o_stranger(struct ocsp_spec *s)
{
	s->signer = authority_other.certificate;
	s->key = authority_other.key;
}
static void o_sibling(struct ocsp_spec *s)
{
	s->signer = authority_tls.certificate;
	s->key = authority_tls.key;
}
static void o_root(struct ocsp_spec *s)
{
	s->signer = authority_root.certificate;
	s->key = authority_root.key;
}
static void o_delegated(struct ocsp_spec *s)
{
	s->signer = responder(&authority_ca, "OCSPSigning");
	s->key = user_key;
}
static void o_self_appointed(struct ocsp_spec *s)
{
	s->signer = responder(&authority_ca, "emailProtection");
	s->key = user_key;
}
static void o_delegated_by_another(struct ocsp_spec *s)
{
	s->signer = responder(&authority_other, "OCSPSigning");
	s->key = user_key;
}
static void o_delegated_by_sibling(struct ocsp_spec *s)
{
	s->signer = responder(&authority_tls, "OCSPSigning");
	s->key = user_key;
}

static const struct {
	const char *name;
	void (*change)(struct ocsp_spec *);
	enum revocation_status status;
	const char *words;
} ocsp_cases[] = {
	{"good", o_nothing, REVOCATION_GOOD, "good"},
	{"revoked", o_revoked, REVOCATION_REVOKED, "keyCompromise"},
	{"revoked, with a good one beside it", o_revoked_beside_good, REVOCATION_REVOKED, "keyCompromise"},
	{"not known to the responder", o_unknown, REVOCATION_UNKNOWN, "does not know"},
	{"named by SHA-256", o_other_digest, REVOCATION_GOOD, "good"},
	{"about another certificate", o_other_certificate, REVOCATION_UNKNOWN, "other certificates"},
	{"about the same serial number of another issuer", o_other_issuer, REVOCATION_UNKNOWN, ""},
	{"stale", o_stale, REVOCATION_UNKNOWN, "stale"},
	{"stale, and revoked then", o_stale_revoked, REVOCATION_UNKNOWN, "stale"},
	{"of the future", o_future, REVOCATION_UNKNOWN, "future"},
	{"a clock that is a minute ahead", o_clock_differs, REVOCATION_GOOD, "good"},
	{"without an end, of today", o_no_end, REVOCATION_GOOD, "good"},
	{"without an end, of two days ago", o_old_no_end, REVOCATION_UNKNOWN, "stale"},
	{"signed with SHA-1", o_sha1, REVOCATION_UNKNOWN, "broken digest"},
	{"by a stranger", o_stranger, REVOCATION_UNKNOWN, "not signed by the issuer"},
	{"by another CA below the same root", o_sibling, REVOCATION_UNKNOWN, "not signed by the issuer"},
	{"by the root above the issuer", o_root, REVOCATION_UNKNOWN, "not signed by the issuer"},
	{"by somebody the issuer named", o_delegated, REVOCATION_GOOD, "good"},
	{"by a user of the issuer", o_self_appointed, REVOCATION_UNKNOWN, "not signed by the issuer"},
	{"by somebody a stranger named", o_delegated_by_another, REVOCATION_UNKNOWN, "not signed by the issuer"},
	{"by somebody another CA named", o_delegated_by_sibling, REVOCATION_UNKNOWN, "not signed by the issuer"},
};

START_TEST(ocsp_responses_are_judged)
{
	struct ocsp_spec s = ocsp_clean();
	struct buf der;

	ocsp_cases[_i].change(&s);
	der = ocsp_make(&s);
	expect(ocsp_cases[_i].name, EVIDENCE_OCSP, &der, ocsp_cases[_i].status, ocsp_cases[_i].words);
	if (s.key == user_key)
		X509_free(s.signer); /* made by responder() */
	buf_clear(&der);
}
END_TEST

/* Signed by the right key, and then changed in one bit. */
START_TEST(a_changed_response_proves_nothing)
{
	struct ocsp_spec s = ocsp_clean();
	struct buf der;
	size_t good = 0;

	o_revoked(&s);
	der = ocsp_make(&s);
	for (size_t i = 0; i < der.len; i++) {
		struct certcheck_evidence e = {.kind = EVIDENCE_OCSP, .der = der.data, .len = der.len};
		char why[200];

		der.data[i] ^= 1;
		good += certcheck_revocation(leaf, authority_ca.certificate, &e, now, why, sizeof why) == REVOCATION_GOOD;
		der.data[i] ^= 1;
	}
	ck_assert_uint_eq(good, 0);
	buf_clear(&der);
}
END_TEST

START_TEST(what_is_no_response_proves_nothing)
{
	OCSP_RESPONSE *later = OCSP_response_create(OCSP_RESPONSE_STATUS_TRYLATER, NULL);
	struct buf der = BUF_INIT, garbage = BUF_INIT;
	unsigned char *octets = NULL;
	int len = i2d_OCSP_RESPONSE(later, &octets);

	der = der_of(len, octets);
	expect("try later", EVIDENCE_OCSP, &der, REVOCATION_UNKNOWN, "trylater");
	expect("as a CRL", EVIDENCE_CRL, &der, REVOCATION_UNKNOWN, "no CRL");
	buf_puts(&garbage, "<html>Welcome to the hotel");
	expect("a web page", EVIDENCE_OCSP, &garbage, REVOCATION_UNKNOWN, "no OCSP response");
	expect("a web page for a CRL", EVIDENCE_CRL, &garbage, REVOCATION_UNKNOWN, "no CRL");
	buf_reset(&garbage);
	expect("nothing", EVIDENCE_OCSP, &garbage, REVOCATION_UNKNOWN, "no OCSP response");
	expect("nobody asked", EVIDENCE_NONE, &garbage, REVOCATION_UNKNOWN, "nobody was asked");
	buf_clear(&garbage);
	buf_clear(&der);
	OCSP_RESPONSE_free(later);
}
END_TEST

/* ---- CRLs ------------------------------------------------------------------------------------------------------------ */

struct crl_spec {
	X509 *issuer;
	EVP_PKEY *key;
	const char *digest;
	time_t from, until; /* until 0: not said */
	X509 *revoked;
	const char *extension, *value;
};

static struct crl_spec crl_clean(void)
{
	return (struct crl_spec){.issuer = authority_ca.certificate,
		.key = authority_ca.key,
		.digest = "SHA256",
		.from = now - 600,
		.until = now + DAY,
		.revoked = other_leaf};
}

static struct buf crl_make(const struct crl_spec *s)
{
	X509_CRL *crl = X509_CRL_new();
	X509_REVOKED *entry = X509_REVOKED_new();
	ASN1_TIME *from = ASN1_TIME_set(NULL, s->from), *until = s->until ? ASN1_TIME_set(NULL, s->until) : NULL;
	unsigned char *der = NULL;
	X509V3_CTX ctx;
	int len;

	X509_CRL_set_version(crl, X509_CRL_VERSION_2);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(s->issuer));
	X509_CRL_set1_lastUpdate(crl, from);
	if (until != NULL)
		X509_CRL_set1_nextUpdate(crl, until);
	X509_REVOKED_set_serialNumber(entry, (ASN1_INTEGER *)X509_get0_serialNumber(s->revoked));
	X509_REVOKED_set_revocationDate(entry, from);
	X509_CRL_add0_revoked(crl, entry);
	if (s->extension != NULL) {
		X509_EXTENSION *e;

		X509V3_set_ctx(&ctx, s->issuer, NULL, NULL, crl, 0);
		e = X509V3_EXT_conf(NULL, &ctx, s->extension, s->value);
		ck_assert_msg(e != NULL, "%s", s->extension);
		X509_CRL_add_ext(crl, e, -1);
		X509_EXTENSION_free(e);
	}
	X509_CRL_sort(crl);
	ck_assert_int_gt(X509_CRL_sign(crl, s->key, EVP_get_digestbyname(s->digest)), 0);
	len = i2d_X509_CRL(crl, &der);
	X509_CRL_free(crl);
	ASN1_TIME_free(from);
	ASN1_TIME_free(until);
	return der_of(len, der);
}

static void c_nothing(struct crl_spec *s) {}
static void c_revoked(struct crl_spec *s)
{
	s->revoked = leaf;
}
static void c_stale(struct crl_spec *s)
{
	s->from = now - 3 * DAY;
	s->until = now - 2 * DAY;
}
static void c_future(struct crl_spec *s)
{
	s->from = now + DAY;
	s->until = now + 2 * DAY;
}
static void c_no_end(struct crl_spec *s)
{
	s->until = 0;
}
static void c_sha1(struct crl_spec *s)
{
	s->digest = "SHA1";
}
static void c_other_issuer(struct crl_spec *s)
{
	s->issuer = authority_other.certificate;
	s->key = authority_other.key;
}
static void c_forged(struct crl_spec *s)
{
	s->key = authority_other.key;
}
static void c_critical(struct crl_spec *s)
{
	s->extension = "1.2.3.4.5";
	s->value = "critical,DER:0500";
}
static void c_only_authorities(struct crl_spec *s)
{
	s->extension = "issuingDistributionPoint";
	s->value = "critical,onlyCA:TRUE";
}

static const struct {
	const char *name;
	void (*change)(struct crl_spec *);
	enum revocation_status status;
	const char *words;
} crl_cases[] = {
	{"not in it", c_nothing, REVOCATION_GOOD, "good"},
	{"in it", c_revoked, REVOCATION_REVOKED, "CRL"},
	{"stale", c_stale, REVOCATION_UNKNOWN, "stale"},
	{"of the future", c_future, REVOCATION_UNKNOWN, "future"},
	{"without an end", c_no_end, REVOCATION_UNKNOWN, "until when"},
	{"signed with SHA-1", c_sha1, REVOCATION_UNKNOWN, "broken digest"},
	{"of another issuer", c_other_issuer, REVOCATION_UNKNOWN, "CRL"},
	{"in the issuer's name, with another key", c_forged, REVOCATION_UNKNOWN, "CRL signature failure"},
	{"with a critical extension nobody knows", c_critical, REVOCATION_UNKNOWN, "critical"},
	{"for certificates of CAs only", c_only_authorities, REVOCATION_UNKNOWN, "scope"},
};

START_TEST(crls_are_judged)
{
	struct crl_spec s = crl_clean();
	struct buf der;

	crl_cases[_i].change(&s);
	der = crl_make(&s);
	expect(crl_cases[_i].name, EVIDENCE_CRL, &der, crl_cases[_i].status, crl_cases[_i].words);
	buf_clear(&der);
}
END_TEST

/* ---- the server -------------------------------------------------------------------------------------------------------- */

static pid_t server_pid;
static int server_in = -1;
static unsigned server_port;

static void put_file(const char *name, const void *data, size_t len)
{
	char path[200];
	struct err err = ERR_INIT;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	ck_assert_msg(file_write(path, data, len, 0600, -1, &err), "%s", err.text);
}

static void put_authority(void)
{
	char path[200];
	FILE *f;

	snprintf(path, sizeof path, "%s/ca.pem", folder);
	f = fopen(path, "w");
	PEM_write_X509(f, authority_ca.certificate);
	fclose(f);
	snprintf(path, sizeof path, "%s/ca.key", folder);
	f = fopen(path, "w");
	PEM_write_PrivateKey(f, authority_ca.key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
}

static void server_start(void)
{
	const char *src = getenv("srcdir");
	int in[2], out[2];
	char script[4200], line[32] = "";
	FILE *f;

	snprintf(script, sizeof script, "%s/tests/unit/revocation_server.py", src != NULL ? src : ".");
	ck_assert_int_eq(pipe(in) | pipe(out), 0);
	server_pid = fork();
	if (server_pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		close(in[1]);
		close(out[0]);
		execl("/usr/bin/python3", "python3", "-B", script, folder, (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	server_in = in[1];
	f = fdopen(out[0], "r");
	ck_assert_msg(fgets(line, sizeof line, f) != NULL, "the server does not start");
	fclose(f);
	server_port = (unsigned)atoi(line);
	ck_assert_uint_gt(server_port, 0);
}

static void server_stop(void)
{
	close(server_in);
	waitpid(server_pid, NULL, 0);
}

/* A certificate that names these places of our server; "" = none, "!" = a port where nobody listens. */
static void extension(struct spec *s, const char *name, const char *prefix, const char *place, char text[200])
{
	if (place[0] == 0)
		spec_set(s, name, NULL);
	else if (place[0] == '!')
		snprintf(text, 200, "%sURI:http://127.0.0.1:1/", prefix);
	else
		snprintf(text, 200, "%sURI:http://127.0.0.1:%u/%s", prefix, server_port, place);
	if (place[0] != 0)
		spec_set(s, name, text);
}

static X509 *certificate_at(const char *ocsp, const char *crl)
{
	static char aia[200], cdp[200];
	struct spec s = spec_clean(VALIDATION_MAILBOX, GENERATION_STRICT, now);

	s.serial = SERIAL;
	extension(&s, "authorityInfoAccess", "OCSP;", ocsp, aia);
	extension(&s, "crlDistributionPoints", "", crl, cdp);
	return spec_make(&s);
}

static void put_crl(bool revoked)
{
	struct crl_spec s = crl_clean();
	struct buf der;

	s.revoked = revoked ? leaf : other_leaf;
	der = crl_make(&s);
	put_file("crl.der", der.data, der.len);
	buf_clear(&der);
}

static const char *requests(void)
{
	static struct buf text;
	char path[200];

	snprintf(path, sizeof path, "%s/log", folder);
	buf_reset(&text);
	if (access(path, F_OK) == 0)
		ck_assert(file_read(&text, path, 65536, NULL));
	return buf_str(&text);
}

static const struct {
	const char *name, *ocsp, *crl; /* places */
	char index;		       /* of the responder: V(alid), R(evoked), "-" = it does not know the certificate */
	bool in_crl;
	enum evidence_kind kind;
	enum revocation_status status;
	const char *words, *requests;
} places[] = {
	{"valid by OCSP", "ocsp", "crl.der", 'V', true, EVIDENCE_OCSP, REVOCATION_GOOD, "good", "POST /ocsp\n"},
	{"revoked by OCSP", "ocsp", "crl.der", 'R', false, EVIDENCE_OCSP, REVOCATION_REVOKED, "by OCSP", "POST /ocsp\n"},
	{"unknown by OCSP, good by CRL", "ocsp", "crl.der", '-', false, EVIDENCE_CRL, REVOCATION_GOOD, "does not know", "POST /ocsp\nGET /crl.der\n"},
	{"unknown by OCSP, revoked by CRL", "ocsp", "crl.der", '-', true, EVIDENCE_CRL, REVOCATION_REVOKED, "by CRL", "POST /ocsp\nGET /crl.der\n"},
	{"responder away, good by CRL", "!", "crl.der", 'V', false, EVIDENCE_CRL, REVOCATION_GOOD, "could not be reached", "GET /crl.der\n"},
	{"no responder, revoked by CRL", "", "crl.der", 'V', true, EVIDENCE_CRL, REVOCATION_REVOKED, "by CRL", "GET /crl.der\n"},
	{"all away", "!", "!", 'V', false, EVIDENCE_NONE, REVOCATION_UNKNOWN, "could not be reached", ""},
	{"no place at all", "", "", 'V', false, EVIDENCE_NONE, REVOCATION_UNKNOWN, "neither", ""},
	{"status 503", "status/503", "status/404", 'V', false, EVIDENCE_NONE, REVOCATION_UNKNOWN, "503", "POST /status/503\nGET /status/404\n"},
	{"too much", "huge", "huge", 'V', false, EVIDENCE_NONE, REVOCATION_UNKNOWN, "larger than allowed", "POST /huge\nGET /huge\n"},
	{"too slow", "slow", "crl.der", 'V', true, EVIDENCE_CRL, REVOCATION_REVOKED, "did not answer", "POST /slow\nGET /crl.der\n"},
	{"a web page", "index.txt", "ca.pem", 'V', false, EVIDENCE_NONE, REVOCATION_UNKNOWN, "no OCSP response", "POST /index.txt\nGET /ca.pem\n"},
	{"a redirect to http", "", "to/http", 'V', true, EVIDENCE_NONE, REVOCATION_UNKNOWN, "302", "GET /to/http\n"},
	{"a redirect to ftp", "", "to/ftp", 'V', true, EVIDENCE_NONE, REVOCATION_UNKNOWN, "302", "GET /to/ftp\n"},
	{"a redirect to https", "", "to/https", 'V', true, EVIDENCE_NONE, REVOCATION_UNKNOWN, "302", "GET /to/https\n"},
};

static struct revocation *asker(void)
{
	static char direct[] = "direct";
	struct ca_config c = {.timeout_seconds = 3, .proxy = direct};
	struct err err = ERR_INIT;
	struct revocation *r = revocation_new(&c, &err);

	ck_assert_msg(r != NULL, "%s", err.text);
	return r;
}

static void put_index(char status)
{
	char text[300];

	snprintf(text, sizeof text, "%c\t491231000000Z\t%s\t" SERIAL "\tunknown\t/CN=x\n", status, status == 'R' ? "260101000000Z,keyCompromise" : "");
	put_file("index.txt", text, status == '-' ? 0 : strlen(text));
}

START_TEST(a_certificate_is_asked_about)
{
	struct revocation_answer answer;
	struct revocation *r = asker();
	X509 *x;
	char why[200];
	enum revocation_status status;

	put_file("log", "", 0);
	put_index(places[_i].index);
	put_crl(places[_i].in_crl);
	x = certificate_at(places[_i].ocsp, places[_i].crl);
	revocation_ask(r, x, authority_ca.certificate, now, &answer);
	status = certcheck_revocation(x, authority_ca.certificate, &answer.evidence, now, why, sizeof why);
	ck_assert_msg(status == places[_i].status && answer.evidence.kind == places[_i].kind, "%s: %d: %s", places[_i].name, (int)status, answer.why);
	ck_assert_msg(strstr(answer.why, places[_i].words) != NULL, "%s: \"%s\"", places[_i].name, answer.why);
	ck_assert_msg(strcmp(requests(), places[_i].requests) == 0, "%s: asked %s", places[_i].name, requests());
	revocation_answer_clear(&answer);
	revocation_free(r);
	X509_free(x);
}
END_TEST

START_TEST(asking_ends_when_the_program_does)
{
	struct revocation_answer answer;
	struct revocation *r = asker();
	X509 *x = certificate_at("ocsp", "crl.der");

	revocation_stop(r);
	revocation_ask(r, x, authority_ca.certificate, now, &answer);
	ck_assert_int_eq(answer.evidence.kind, EVIDENCE_NONE);
	ck_assert_ptr_nonnull(strstr(answer.why, "the program is ending"));
	revocation_answer_clear(&answer);
	revocation_free(r);
	X509_free(x);
}
END_TEST

/* ---- as enrolld does it ---------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	enum revocation_check check;
	const char *ocsp;
	char index;
	bool nobody;	  /* no asker at all */
	size_t errors, passing, warnings;
	const char *words, *requests;
} judgements[] = {
	{"off", REVOCATION_OFF, "ocsp", 'R', false, 0, 0, 1, "AIA-1", ""},
	{"required, valid", REVOCATION_REQUIRED, "ocsp", 'V', false, 0, 0, 1, "AIA-1", "POST /ocsp\n"},
	{"required, revoked", REVOCATION_REQUIRED, "ocsp", 'R', false, 1, 0, 1, "OWN-REV ca.revocation-check: it is revoked: by OCSP, reason keyCompromise",
		"POST /ocsp\n"},
	{"required, away", REVOCATION_REQUIRED, "!", 'V', false, 1, 1, 1, "OWN-REV ca.revocation-check: whether it is revoked could not be learned", ""},
	{"required, nobody to ask", REVOCATION_REQUIRED, "ocsp", 'V', true, 1, 1, 1, "nobody was asked", ""},
	{"best effort, valid", REVOCATION_BEST_EFFORT, "ocsp", 'V', false, 0, 0, 1, "AIA-1", "POST /ocsp\n"},
	{"best effort, revoked", REVOCATION_BEST_EFFORT, "ocsp", 'R', false, 1, 0, 1, "it is revoked", "POST /ocsp\n"},
	{"best effort, away", REVOCATION_BEST_EFFORT, "!", 'V', false, 0, 0, 2, "could not be learned", ""},
};

struct enrolled {
	struct ca_config config;
	struct enroll_ca ca;
	struct certificate_profile profile;
	struct enrollment row;
	struct store_certificate certificate;
};

static void enrolled_init(struct enrolled *e, X509 *x, enum revocation_check check, struct revocation *asked)
{
	struct buf csr = BUF_INIT, pem = BUF_INIT;
	struct err err = ERR_INIT;
	BIO *bio = BIO_new(BIO_s_mem());
	char *data;
	long len;

	memset(e, 0, sizeof *e);
	e->config.revocation = check;
	e->ca.config = &e->config;
	e->ca.revocation = asked;
	e->profile = (struct certificate_profile){.validation = VALIDATION_MAILBOX, .generation = GENERATION_STRICT, .usage = USAGE_SIGN};
	ck_assert(strlist_add(&e->row.addresses, "alice@example.org"));
	ck_assert_msg(profile_csr(&csr, &e->profile, user_key, &e->row.addresses, NULL, &err), "%s", err.text);
	e->row.csr_len = csr.len;
	e->row.csr = (unsigned char *)buf_take(&csr);
	e->ca.anchors = X509_STORE_new();
	X509_STORE_add_cert(e->ca.anchors, authority_root.certificate);
	PEM_write_bio_X509(bio, x);
	PEM_write_bio_X509(bio, authority_ca.certificate);
	len = BIO_get_mem_data(bio, &data);
	buf_append(&pem, data, (size_t)len);
	ck_assert_msg(certificate_read(&e->certificate, &e->row, &pem, e->ca.anchors, &err), "%s", err.text);
	buf_clear(&pem);
	BIO_free(bio);
}

static void enrolled_clear(struct enrolled *e)
{
	store_certificate_clear(&e->certificate);
	strlist_clear(&e->row.addresses);
	free(e->row.csr);
	X509_STORE_free(e->ca.anchors);
}

START_TEST(a_new_certificate_is_judged_as_configured)
{
	struct revocation *r = asker();
	X509 *x = certificate_at(judgements[_i].ocsp, "!");
	struct enrolled e;
	struct findings f;
	struct buf text = BUF_INIT;
	struct err err = ERR_INIT;

	put_file("log", "", 0);
	put_index(judgements[_i].index);
	enrolled_init(&e, x, judgements[_i].check, judgements[_i].nobody ? NULL : r);
	ck_assert_msg(certificate_judge(&e.certificate, &e.row, &e.profile, &e.ca, now, &f, &err), "%s", err.text);
	findings_text(&f, &text);
	ck_assert_msg(f.errors == judgements[_i].errors && f.passing == judgements[_i].passing && f.n - f.errors == judgements[_i].warnings, "%s: %s",
		judgements[_i].name, buf_str(&text));
	ck_assert_msg(strstr(buf_str(&text), judgements[_i].words) != NULL, "%s: %s", judgements[_i].name, buf_str(&text));
	ck_assert_msg(strcmp(requests(), judgements[_i].requests) == 0, "%s: asked %s", judgements[_i].name, requests());
	findings_clear(&f);
	buf_clear(&text);
	enrolled_clear(&e);
	revocation_free(r);
	X509_free(x);
}
END_TEST

/* The addresses to ask at stand in the certificate: nobody is asked on the word of one that is not ours. */
START_TEST(a_wrong_certificate_sends_us_nowhere)
{
	struct revocation *r = asker();
	X509 *x = certificate_at("ocsp", "crl.der");
	struct enrolled e;
	struct findings f;
	struct err err = ERR_INIT;

	put_file("log", "", 0);
	put_index('V');
	enrolled_init(&e, x, REVOCATION_REQUIRED, r);
	strlist_clear(&e.row.addresses);
	ck_assert(strlist_add(&e.row.addresses, "bob@example.org"));
	ck_assert_msg(certificate_judge(&e.certificate, &e.row, &e.profile, &e.ca, now, &f, &err), "%s", err.text);
	ck_assert_uint_gt(f.errors, 0);
	ck_assert_uint_eq(f.passing, 0);
	ck_assert_str_eq(requests(), "");
	findings_clear(&f);
	enrolled_clear(&e);
	revocation_free(r);
	X509_free(x);
}
END_TEST

/* ---- */

static void setup(void)
{
	struct spec s;

	certificates_setup();
	now = time(NULL);
	s = spec_clean(VALIDATION_MAILBOX, GENERATION_STRICT, now);
	s.serial = SERIAL;
	leaf = spec_make(&s);
	s.serial = "42";
	other_leaf = spec_make(&s);
	put_authority();
	server_start();
}

static void teardown(void)
{
	static const char *const names[] = {"ca.pem", "ca.key", "index.txt", "crl.der", "log"};
	char path[200];

	server_stop();
	X509_free(leaf);
	X509_free(other_leaf);
	certificates_teardown();
	for (int i = 0; i < COUNT(names); i++) {
		snprintf(path, sizeof path, "%s/%s", folder, names[i]);
		remove(path);
	}
	rmdir(folder);
}

int main(void)
{
	Suite *s = suite_create("revocation");
	TCase *t = tcase_create("revocation");
	SRunner *r;
	int failed;

	if (system("openssl version >/dev/null 2>&1 && /usr/bin/python3 --version >/dev/null 2>&1") != 0) {
		printf("skipped: the programs openssl and /usr/bin/python3 are needed\n");
		return SKIPPED;
	}
	if (mkdtemp(folder) == NULL)
		return EXIT_FAILURE;
	tcase_add_unchecked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, ocsp_responses_are_judged, 0, COUNT(ocsp_cases));
	tcase_add_test(t, a_changed_response_proves_nothing);
	tcase_add_test(t, what_is_no_response_proves_nothing);
	tcase_add_loop_test(t, crls_are_judged, 0, COUNT(crl_cases));
	tcase_add_loop_test(t, a_certificate_is_asked_about, 0, COUNT(places));
	tcase_add_test(t, asking_ends_when_the_program_does);
	tcase_add_loop_test(t, a_new_certificate_is_judged_as_configured, 0, COUNT(judgements));
	tcase_add_test(t, a_wrong_certificate_sends_us_nowhere);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
