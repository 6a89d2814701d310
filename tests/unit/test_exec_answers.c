/*
 * tests/unit/test_exec_answers.c - driver "exec": what programs answer is read with suspicion, and a request goes out under one id.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <jansson.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "enroll/ca.h"
#include "enroll/exec.h"
#include "tests/unit/exec_program.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

/* ---- answers --------------------------------------------------------------------------------------------------------- */

static char *chain; /* PEM of a certificate, with \n as JSON has it */

static void make_chain(void)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	X509 *x = X509_new();
	BIO *mem = BIO_new(BIO_s_mem());
	struct buf out = BUF_INIT;
	char *text;
	long n;

	ck_assert(key && x && mem && X509_set_pubkey(x, key) && X509_gmtime_adj(X509_getm_notBefore(x), 0) &&
		X509_gmtime_adj(X509_getm_notAfter(x), 3600) && X509_sign(x, key, EVP_sha256()) && PEM_write_bio_X509(mem, x));
	n = BIO_get_mem_data(mem, &text);
	for (long i = 0; i < n; i++)
		text[i] == '\n' ? buf_puts(&out, "\\n") : buf_putc(&out, text[i]);
	chain = buf_take(&out);
	BIO_free(mem);
	X509_free(x);
	EVP_PKEY_free(key);
}

#define NOW 1795334400
static const struct {
	const char *name;
	enum exec_action action;
	const char *text; /* CHAIN stands for a chain */
	enum err_class class; /* ERR_NONE: good */
	const char *words;
} texts[] = {
	{"nothing at all", EXEC_REQUEST, "", ERR_TEMPORARY, "it wrote nothing to stdout"},
	{"a Python traceback", EXEC_REQUEST, "Traceback (most recent call last):\n", ERR_TEMPORARY, "it is not JSON (line 1"},
	{"two answers", EXEC_REQUEST, "{\"status\":\"pending\"}\n{\"status\":\"pending\"}\n", ERR_TEMPORARY, "it is not JSON (line 2"},
	{"half an answer", EXEC_REQUEST, "{\"status\":\"pending\",\"state\":{", ERR_TEMPORARY, "it is not JSON"},
	{"the same member twice", EXEC_REQUEST, "{\"status\":\"pending\",\"status\":\"issued\"}", ERR_TEMPORARY, "it is not JSON"},
	{"not UTF-8", EXEC_REQUEST, "{\"status\":\"pending\",\"state\":\"\xff\"}", ERR_TEMPORARY, "it is not JSON"},
	{"an array", EXEC_REQUEST, "[]", ERR_TEMPORARY, "an array and not an object"},
	{"no status", EXEC_REQUEST, "{}", ERR_TEMPORARY, "\"status\" is missing"},
	{"a status of a wrong type", EXEC_REQUEST, "{\"status\":1}", ERR_TEMPORARY, "\"status\" is a number, not a string"},
	{"a status that there is not", EXEC_REQUEST, "{\"status\":\"done\"}", ERR_TEMPORARY, "\"done\", which is no answer to this"},
	{"a status that is cut within a character", EXEC_REQUEST, "{\"status\":\"the 40 octets that are shown end here h\xc3\xa4lf way\"}",
		ERR_TEMPORARY, "end here h?\", which is no answer to this"},
	{"an answer to another question", EXEC_CHECK, "{\"status\":\"pending\"}", ERR_TEMPORARY, "\"pending\", which is no answer to this"},
	{"issued for a check", EXEC_CHECK, "{\"status\":\"issued\",\"chain\":\"CHAIN\"}", ERR_TEMPORARY, "no answer to this"},
	{"pending for a revocation", EXEC_REVOKE, "{\"status\":\"pending\"}", ERR_TEMPORARY, "no answer to this"},
	{"unsupported for a request", EXEC_REQUEST, "{\"status\":\"unsupported\"}", ERR_TEMPORARY, "no answer to this"},
	{"pending", EXEC_REQUEST, "{\"status\":\"pending\"}", ERR_NONE, NULL},
	{"members that nobody asked for", EXEC_REQUEST, "{\"status\":\"pending\",\"weather\":\"fine\"}", ERR_NONE, NULL},
	{"seconds as text", EXEC_POLL, "{\"status\":\"pending\",\"retry_after\":\"30\"}", ERR_TEMPORARY, "\"retry_after\" is a string"},
	{"seconds below zero", EXEC_POLL, "{\"status\":\"pending\",\"retry_after\":-1}", ERR_TEMPORARY, "\"retry_after\" is negative"},
	{"issued without a chain", EXEC_POLL, "{\"status\":\"issued\"}", ERR_TEMPORARY, "\"chain\" is missing"},
	{"issued with an empty chain", EXEC_POLL, "{\"status\":\"issued\",\"chain\":\"\"}", ERR_TEMPORARY, "\"chain\" is no PEM chain"},
	{"issued with base64 alone", EXEC_POLL, "{\"status\":\"issued\",\"chain\":\"MIIB\"}", ERR_TEMPORARY, "\"chain\" is no PEM chain"},
	{"issued with half a chain", EXEC_POLL, "{\"status\":\"issued\",\"chain\":\"CHAIN-----BEGIN CERTIFICATE-----\"}", ERR_TEMPORARY, "no PEM chain"},
	{"issued", EXEC_POLL, "{\"status\":\"issued\",\"chain\":\"CHAIN\"}", ERR_NONE, NULL},
	{"issued with two certificates and words between", EXEC_REQUEST, "{\"status\":\"issued\",\"chain\":\"CHAINissuer\\nCHAIN\"}", ERR_NONE, NULL},
	{"failed without a class", EXEC_REQUEST, "{\"status\":\"failed\",\"text\":\"no\"}", ERR_TEMPORARY, "\"class\" is missing"},
	{"failed without words", EXEC_REQUEST, "{\"status\":\"failed\",\"class\":\"ca\"}", ERR_TEMPORARY, "\"text\" is missing"},
	{"failed with another class", EXEC_REQUEST, "{\"status\":\"failed\",\"class\":\"bug\",\"text\":\"no\"}", ERR_TEMPORARY, "\"class\" is \"bug\""},
	{"failed: CA", EXEC_REQUEST, "{\"status\":\"failed\",\"class\":\"ca\",\"text\":\"no such\\nmailbox\"}", ERR_CA, "says: no such mailbox"},
	{"failed: policy", EXEC_REQUEST, "{\"status\":\"failed\",\"class\":\"policy\",\"text\":\"not now\"}", ERR_POLICY, "says: not now"},
	{"failed: configuration", EXEC_CHECK, "{\"status\":\"failed\",\"class\":\"config\",\"text\":\"set CA\"}", ERR_CONFIG, "says: set CA"},
	{"failed: temporary", EXEC_REVOKE, "{\"status\":\"failed\",\"class\":\"temporary\",\"text\":\"L\xc3\xa4uft\"}", ERR_TEMPORARY, "says: L\xc3\xa4uft"},
	{"ok", EXEC_CHECK, "{\"status\":\"ok\",\"caa_identities\":[\"ca.example\"],\"terms\":null}", ERR_NONE, NULL},
	{"identities that are one text", EXEC_CHECK, "{\"status\":\"ok\",\"caa_identities\":\"ca.example\"}", ERR_TEMPORARY, "is a string, not an array"},
	{"identities that are no domains", EXEC_CHECK, "{\"status\":\"ok\",\"caa_identities\":[\"https://ca\"]}", ERR_TEMPORARY, "no domain name"},
	{"terms on two lines", EXEC_CHECK, "{\"status\":\"ok\",\"terms\":\"a\\nb\"}", ERR_TEMPORARY, "\"terms\" has a control character"},
	{"revoked", EXEC_REVOKE, "{\"status\":\"revoked\"}", ERR_NONE, NULL},
	{"renewal is not told", EXEC_RENEWAL_INFO, "{\"status\":\"unsupported\"}", ERR_NONE, NULL},
	{"renewal without an end", EXEC_RENEWAL_INFO, "{\"status\":\"renewal\",\"start\":\"2026-11-22T08:00:00Z\"}", ERR_TEMPORARY, "\"end\" is missing"},
	{"renewal backwards", EXEC_RENEWAL_INFO, "{\"status\":\"renewal\",\"start\":\"2026-11-22T08:00:00Z\",\"end\":\"2026-11-22T08:00:00Z\"}",
		ERR_TEMPORARY, "\"end\" is not after \"start\""},
	{"renewal at a day", EXEC_RENEWAL_INFO, "{\"status\":\"renewal\",\"start\":\"2026-11-22\",\"end\":\"2026-11-23\"}", ERR_TEMPORARY, "\"start\" is no time"},
};

START_TEST(answer_is_judged)
{
	struct exec_words words = {"a word on stderr"};
	struct exec_answer a;
	struct err err = ERR_INIT;
	struct buf text = BUF_INIT;
	const char *t = texts[_i].text, *p;
	bool ok;

	make_chain();
	for (; (p = strstr(t, "CHAIN")) != NULL; t = p + 5) {
		buf_append(&text, t, (size_t)(p - t));
		buf_puts(&text, chain);
	}
	buf_puts(&text, t);
	ok = exec_answer_read(texts[_i].action, "/usr/local/bin/ca", &words, buf_str(&text), text.len, NOW, &a, &err);
	ck_assert_msg(ok == (texts[_i].class == ERR_NONE), "%s: %s", texts[_i].name, err.text);
	if (!ok) {
		bool failed = strstr(texts[_i].name, "failed: ") != NULL;

		ck_assert_msg(err.class == texts[_i].class, "%s: %s", texts[_i].name, err_class_name(err.class));
		ck_assert_str_eq(err.type, failed ? "exec-failed" : "malformed-answer");
		ck_assert_msg(strstr(err.text, texts[_i].words) != NULL, "%s: %s", texts[_i].name, err.text);
		ck_assert_msg(strstr(err.text, "/usr/local/bin/ca") && strstr(err.text, exec_action_name(texts[_i].action)), "%s", err.text);
		ck_assert_msg(failed || strstr(err.text, "a word on stderr"), "%s", err.text);
		ck_assert(text_is_one_line(err.text) && text_is_utf8(err.text, strlen(err.text)));
	}
	exec_answer_clear(&a);
	buf_clear(&text);
	free(chain);
}
END_TEST

static const struct {
	const char *text;
	long expected;
} retries[] = {{"0", 0}, {"1", 1}, {"0.001", 1}, {"30", 30}, {"30.0", 30}, {"604800", 604800}, {"604801", 604800}, {"1e200", 604800},
	{"9223372036854775807", 604800}};

START_TEST(retry_time_is_kept_within_a_week)
{
	const struct exec_words words = {""};
	struct exec_answer a;
	struct err err = ERR_INIT;
	char text[200];

	snprintf(text, sizeof text, "{\"status\":\"pending\",\"retry_after\":%s}", retries[_i].text);
	ck_assert_msg(exec_answer_read(EXEC_POLL, "ca", &words, text, strlen(text), NOW, &a, &err), "%s", err.text);
	ck_assert_int_eq(a.retry_after, retries[_i].expected);
	exec_answer_clear(&a);
	snprintf(text, sizeof text, "{\"status\":\"failed\",\"class\":\"temporary\",\"text\":\"x\",\"retry_after\":%s}", retries[_i].text);
	ck_assert(!exec_answer_read(EXEC_POLL, "ca", &words, text, strlen(text), NOW, &a, &err));
	ck_assert_int_eq(err.retry_at, retries[_i].expected ? NOW + retries[_i].expected : 0);
}
END_TEST

static const struct {
	const char *text;
	time_t expected; /* 0 = none */
} times[] = {
	{"2026-11-22T08:00:00Z", NOW},
	{"2026-11-22t08:00:00z", NOW},
	{"2026-11-22T08:00:00.999999Z", NOW},
	{"2026-11-22 08:00:00Z", 0},
	{"2026-11-22T10:00:00+02:00", NOW},
	{"2026-11-22T02:30:00-05:30", NOW},
	{"2026-11-22T08:00:00", 0},
	{"2026-11-22T08:00:00.Z", 0},
	{"2026-11-22T08:00:00+0200", 0},
	{"2026-11-22T08:00:00+02:00Z", 0},
	{"2026-13-22T08:00:00Z", 0},
	{"2026-11-22T08:00Z", 0},
	{" 2026-11-22T08:00:00Z", 0},
	{"1700-11-22T08:00:00Z", 0},
	{"tomorrow", 0},
};

START_TEST(time_is_understood)
{
	const struct exec_words words = {""};
	struct exec_answer a;
	struct err err = ERR_INIT;
	char text[200];
	bool ok;

	snprintf(text, sizeof text, "{\"status\":\"renewal\",\"start\":\"%s\",\"end\":\"2030-01-01T00:00:00Z\"}", times[_i].text);
	ok = exec_answer_read(EXEC_RENEWAL_INFO, "ca", &words, text, strlen(text), NOW, &a, &err);
	ck_assert_msg(ok == (times[_i].expected != 0), "%s: %s", times[_i].text, err.text);
	ck_assert_msg(!ok || a.start == times[_i].expected, "%s: %ld", times[_i].text, (long)a.start - NOW);
	exec_answer_clear(&a);
}
END_TEST

START_TEST(state_has_a_limit)
{
	const struct exec_words words = {""};
	struct exec_answer a;
	struct err err = ERR_INIT;
	struct buf text = BUF_INIT;

	buf_puts(&text, "{\"status\":\"pending\",\"state\":\"");
	for (int i = 0; i < EXEC_STATE_MAX; i++)
		buf_putc(&text, 'x');
	buf_puts(&text, "\"}");
	ck_assert(!exec_answer_read(EXEC_POLL, "ca", &words, buf_str(&text), text.len, NOW, &a, &err));
	ck_assert_msg(strstr(err.text, "\"state\" has more than 65536 octets") != NULL, "%s", err.text);
	buf_clear(&text);
}
END_TEST

/* ---- an order from its beginning to its end ---------------------------------------------------------------------------- */

static struct ca *ca_of(const char *body)
{
	struct err err = ERR_INIT;
	struct ca *ca;

	write_program(body);
	ca = ca_new(&config, &err);
	ck_assert_msg(ca != NULL, "%s", err.text);
	return ca;
}

static struct ca_order open_order(struct ca *ca)
{
	struct strlist addresses = {0};
	const struct ca_request request = {.addresses = &addresses, .profile = "mailbox-strict", .usage = "sign"};
	struct ca_order o;
	struct err err = ERR_INIT;

	ck_assert(strlist_add(&addresses, "alice@corp.example"));
	ck_assert_msg(ca_open(ca, &request, &o, &err), "%s", err.text);
	strlist_clear(&addresses);
	return o;
}

static void make_csr(struct buf *der)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	X509_REQ *req = X509_REQ_new();
	unsigned char *octets = NULL;
	int n;

	ck_assert(key && req && X509_REQ_set_pubkey(req, key) && X509_REQ_sign(req, key, EVP_sha256()));
	n = i2d_X509_REQ(req, &octets);
	ck_assert_int_gt(n, 0);
	buf_append(der, octets, (size_t)n);
	OPENSSL_free(octets);
	X509_REQ_free(req);
	EVP_PKEY_free(key);
}

/* The question that the program saw last. */
static json_t *asked(void)
{
	struct buf text = BUF_INIT;
	json_t *q;

	ck_assert(read_back("asked", &text));
	q = json_loads(buf_str(&text), 0, NULL);
	ck_assert(json_is_object(q));
	buf_clear(&text);
	unlink(in_folder("asked"));
	return q;
}

static const char *word(const json_t *q, const char *name)
{
	const char *text = json_string_value(json_object_get(q, name));

	return text ? text : "(none)";
}

#define KEEP "cat > FOLDER/asked; cat FOLDER/answer"

static void will_answer(const char *text)
{
	struct buf with_chain = BUF_INIT;
	const char *p = strstr(text, "CHAIN");

	if (p) {
		buf_append(&with_chain, text, (size_t)(p - text));
		buf_puts(&with_chain, chain);
		buf_puts(&with_chain, p + 5);
		text = buf_str(&with_chain);
	}
	ck_assert(file_write(in_folder("answer"), text, strlen(text), 0644, -1, NULL));
	buf_clear(&with_chain);
}

START_TEST(order_goes_its_way)
{
	struct ca *ca = ca_of(KEEP);
	struct ca_order o = open_order(ca);
	struct buf csr = BUF_INIT, pem = BUF_INIT;
	struct err err = ERR_INIT;
	char id[64];
	json_t *q;

	make_chain();
	make_csr(&csr);
	ck_assert_int_eq(o.progress, CA_READY);
	ck_assert_msg(ca_look(ca, &o, &err) && o.progress == CA_READY && !o.challenge_from, "%s", err.text);
	ck_assert_msg(access(in_folder("asked"), F_OK) != 0, "the program is not run before the request");
	will_answer("{\"status\":\"pending\",\"retry_after\":7,\"state\":{\"ticket\":[1,2]}}");
	ck_assert_msg(ca_finalize(ca, &o, csr.data, csr.len, &err), "%s", err.text);
	ck_assert_int_eq(o.progress, CA_PROCESSING);
	ck_assert(o.retry_at >= time(NULL) && o.retry_at <= time(NULL) + 7);
	q = asked();
	ck_assert_str_eq(word(q, "action"), "request");
	ck_assert_str_eq(word(q, "profile"), "mailbox-strict");
	ck_assert_str_eq(word(q, "usage"), "sign");
	ck_assert_str_eq(json_string_value(json_array_get(json_object_get(q, "addresses"), 0)), "alice@corp.example");
	ck_assert_ptr_nonnull(strstr(word(q, "csr"), "-----BEGIN CERTIFICATE REQUEST-----\n"));
	ck_assert(json_is_null(json_object_get(q, "state")) && json_is_null(json_object_get(q, "replaces")));
	snprintf(id, sizeof id, "%s", word(q, "id"));
	ck_assert_uint_ge(strlen(id), 22);
	json_decref(q);
	ck_assert(ca_finalize(ca, &o, csr.data, csr.len, &err) && o.progress == CA_PROCESSING);
	ck_assert_msg(access(in_folder("asked"), F_OK) != 0, "a request that was answered is not made again");
	will_answer("{\"status\":\"pending\"}");
	ck_assert_msg(ca_look(ca, &o, &err) && o.progress == CA_PROCESSING, "%s", err.text);
	q = asked();
	ck_assert_str_eq(word(q, "action"), "poll");
	ck_assert_str_eq(word(q, "id"), id);
	ck_assert_msg(json_object_get(json_object_get(q, "state"), "ticket") != NULL, "the state comes back");
	json_decref(q);
	will_answer("{\"status\":\"issued\",\"chain\":\"CHAIN\"}");
	ck_assert_msg(ca_look(ca, &o, &err) && o.progress == CA_ISSUED, "%s", err.text);
	q = asked();
	ck_assert_msg(json_object_get(json_object_get(q, "state"), "ticket") != NULL, "an answer without state leaves the old one");
	json_decref(q);
	ck_assert_msg(ca_look(ca, &o, &err) && o.progress == CA_ISSUED && ca_fetch(ca, &o, &pem, &err), "%s", err.text);
	ck_assert_msg(access(in_folder("asked"), F_OK) != 0, "what is here is not asked for");
	ck_assert_ptr_nonnull(strstr(buf_str(&pem), "-----BEGIN CERTIFICATE-----\n"));
	ck_assert_msg(!strstr(o.state, "BEGIN"), "the chain is not kept twice");
	ca_order_clear(&o);
	ca_free(ca);
	buf_clear(&csr);
	buf_clear(&pem);
	free(chain);
}
END_TEST

/* What the enrollment does after a crash: the state as it was stored, the same request again. */
START_TEST(repeated_request_has_the_same_id)
{
	struct ca *ca = ca_of(KEEP);
	struct ca_order o = open_order(ca), again = {.state = str_dup(o.state)}, other = open_order(ca);
	struct buf csr = BUF_INIT;
	struct err err = ERR_INIT;
	char id[64];
	json_t *q;

	make_csr(&csr);
	will_answer("rubbish");
	ck_assert(!ca_finalize(ca, &o, csr.data, csr.len, &err));
	ck_assert_str_eq(err.type, "malformed-answer");
	q = asked();
	snprintf(id, sizeof id, "%s", word(q, "id"));
	json_decref(q);
	will_answer("{\"status\":\"pending\"}");
	for (int i = 0; i < 2; i++) {
		ck_assert_msg(ca_finalize(ca, i ? &again : &o, csr.data, csr.len, &err), "%s", err.text);
		q = asked();
		ck_assert_str_eq(word(q, "action"), "request");
		ck_assert_str_eq(word(q, "id"), id);
		json_decref(q);
	}
	ck_assert_msg(ca_finalize(ca, &other, csr.data, csr.len, &err), "%s", err.text);
	q = asked();
	ck_assert_str_ne(word(q, "id"), id);
	json_decref(q);
	ca_order_clear(&o);
	ca_order_clear(&again);
	ca_order_clear(&other);
	ca_free(ca);
	buf_clear(&csr);
}
END_TEST

START_TEST(refusal_ends_the_order_other_failures_do_not)
{
	static const struct {
		const char *class;
		enum err_class expected;
	} classes[] = {{"ca", ERR_CA}, {"temporary", ERR_TEMPORARY}, {"policy", ERR_POLICY}, {"config", ERR_CONFIG}};
	struct ca *ca = ca_of(KEEP);
	struct buf csr = BUF_INIT;
	char text[160];

	make_csr(&csr);
	for (int i = 0; i < COUNT(classes); i++) {
		struct ca_order o = open_order(ca);
		struct err err = ERR_INIT;

		snprintf(text, sizeof text, "{\"status\":\"failed\",\"class\":\"%s\",\"text\":\"because\",\"retry_after\":90}", classes[i].class);
		will_answer(text);
		ck_assert(!ca_finalize(ca, &o, csr.data, csr.len, &err));
		ck_assert_int_eq(err.class, classes[i].expected);
		ck_assert_int_eq(o.progress == CA_INVALID, classes[i].expected == ERR_CA);
		ck_assert(err.retry_at > time(NULL) && err.retry_at <= time(NULL) + 90);
		ca_order_clear(&o);
	}
	ca_free(ca);
	buf_clear(&csr);
}
END_TEST

START_TEST(order_of_another_driver_is_given_up)
{
	struct ca *ca = ca_of("echo '{\"status\":\"pending\"}'");
	struct ca_order o = {.state = str_dup("{\"order\":\"https://ca.example/acme/order/1\"}")};
	struct err err = ERR_INIT;

	ck_assert(!ca_look(ca, &o, &err));
	ck_assert_int_eq(err.class, ERR_CA);
	ck_assert_int_eq(o.progress, CA_INVALID);
	ca_order_clear(&o);
	ca_free(ca);
}
END_TEST

START_TEST(certificate_is_shown_for_revocation_and_renewal)
{
	struct ca *ca = ca_of(KEEP);
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	X509 *x = X509_new();
	unsigned char *der = NULL;
	struct ca_renewal renewal;
	struct err err = ERR_INIT;
	size_t len;
	json_t *q;

	ck_assert(X509_set_pubkey(x, key) && X509_gmtime_adj(X509_getm_notBefore(x), 0) && X509_gmtime_adj(X509_getm_notAfter(x), 3600) &&
		X509_sign(x, key, EVP_sha256()));
	len = (size_t)i2d_X509(x, &der);
	will_answer("{\"status\":\"revoked\"}");
	ck_assert_msg(ca_revoke(ca, der, len, CA_REASON_KEY_COMPROMISE, NULL, &err), "%s", err.text);
	q = asked();
	ck_assert_str_eq(word(q, "action"), "revoke");
	ck_assert_str_eq(word(q, "reason"), "keyCompromise");
	ck_assert_ptr_nonnull(strstr(word(q, "certificate"), "-----BEGIN CERTIFICATE-----\n"));
	json_decref(q);
	will_answer("{\"status\":\"unsupported\"}");
	ck_assert(!ca_revoke(ca, der, len, CA_REASON_UNSPECIFIED, NULL, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert(ca_renewal(ca, der, len, &renewal, &err) && !renewal.known);
	will_answer("{\"status\":\"renewal\",\"start\":\"2026-11-22T08:00:00Z\",\"end\":\"2026-11-23T08:00:00Z\",\"retry_after\":1}");
	ck_assert_msg(ca_renewal(ca, der, len, &renewal, &err), "%s", err.text);
	ck_assert(renewal.known && renewal.start == NOW && renewal.end == NOW + 86400);
	ck_assert_msg(renewal.ask_again > time(NULL) + 30, "no oftener than each minute");
	ca_free(ca);
	X509_free(x);
	EVP_PKEY_free(key);
	OPENSSL_free(der);
}
END_TEST

START_TEST(check_is_asked_once_an_hour_and_whenever_somebody_wants_it_anew)
{
	struct ca *ca = ca_of("echo x >> FOLDER/count; cat FOLDER/answer");
	struct ca_info info;
	struct buf count = BUF_INIT;
	struct err err = ERR_INIT;
	bool found;

	will_answer("{\"status\":\"ok\",\"caa_identities\":[\"CA.example\"],\"terms\":\"https://ca.example/terms\"}");
	for (int i = 0; i < 3; i++) {
		ck_assert_msg(ca_prepare(ca, &info, &err), "%s", err.text);
		ck_assert(info.caa_identities.n == 1 && strcmp(info.caa_identities.v[0], "ca.example") == 0 && !info.account_uri);
		ck_assert_str_eq(info.terms, "https://ca.example/terms");
		ca_info_clear(&info);
	}
	ck_assert(read_back("count", &count));
	ck_assert_str_eq(buf_str(&count), "x\n");
	will_answer("{\"status\":\"failed\",\"class\":\"config\",\"text\":\"the CA's key is gone\"}");
	ck_assert(!ca_discover(ca, &info, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ca_info_clear(&info);
	ck_assert(!ca_account_look(ca, &(struct ca_account){0}, &found, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_null(ca_account_uri(ca));
	buf_clear(&count);
	ca_free(ca);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("exec answers");
	TCase *read = tcase_create("answers"), *order = tcase_create("orders");
	SRunner *sr;
	int failed;

	tcase_add_loop_test(read, answer_is_judged, 0, COUNT(texts));
	tcase_add_loop_test(read, retry_time_is_kept_within_a_week, 0, COUNT(retries));
	tcase_add_loop_test(read, time_is_understood, 0, COUNT(times));
	tcase_add_test(read, state_has_a_limit);
	suite_add_tcase(s, read);
	tcase_add_checked_fixture(order, setup, teardown);
	tcase_set_timeout(order, 120);
	tcase_add_test(order, order_goes_its_way);
	tcase_add_test(order, repeated_request_has_the_same_id);
	tcase_add_test(order, refusal_ends_the_order_other_failures_do_not);
	tcase_add_test(order, order_of_another_driver_is_given_up);
	tcase_add_test(order, certificate_is_shown_for_revocation_and_renewal);
	tcase_add_test(order, check_is_asked_once_an_hour_and_whenever_somebody_wants_it_anew);
	suite_add_tcase(s, order);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
