/*
 * tests/unit/test_acme.c - what a CA may send and what becomes of it: problems, directory, order, authorization, chain; and a few
 * CAs that lie, as scripts of an HTTPS server.  Whole exchanges are in tests/ca_client.py.
 */
#include "config.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>

#include "enroll/acme.h"
#include "enroll/problem.h"
#include "tests/unit/https_server.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define URL "https://ca.example/x"
#define NOW 1795334400

/* ---- problems ------------------------------------------------------------------------------------------------------ */

static const struct {
	const char *type;
	enum err_class class;
} types[] = {
	{"urn:ietf:params:acme:error:rateLimited", ERR_TEMPORARY},
	{"urn:ietf:params:acme:error:serverInternal", ERR_TEMPORARY},
	{"urn:ietf:params:acme:error:badNonce", ERR_TEMPORARY},
	{"urn:ietf:params:acme:error:dns", ERR_TEMPORARY},
	{"urn:ietf:params:acme:error:orderNotReady", ERR_TEMPORARY},
	{"urn:ietf:params:acme:error:unauthorized", ERR_CA},
	{"urn:ietf:params:acme:error:malformed", ERR_CA},
	{"urn:ietf:params:acme:error:badCSR", ERR_CA},
	{"urn:ietf:params:acme:error:caa", ERR_CA},
	{"urn:ietf:params:acme:error:rejectedIdentifier", ERR_CA},
	{"urn:ietf:params:acme:error:incorrectResponse", ERR_CA},
	{"urn:ietf:params:acme:error:compound", ERR_CA},
	{"urn:ietf:params:acme:error:externalAccountRequired", ERR_CONFIG},
	{"urn:ietf:params:acme:error:userActionRequired", ERR_CONFIG},
	{"urn:ietf:params:acme:error:accountDoesNotExist", ERR_CONFIG},
	{"urn:ietf:params:acme:error:invalidContact", ERR_CONFIG},
	{"urn:ietf:params:acme:error:badSignatureAlgorithm", ERR_CONFIG},
	{"urn:ietf:params:acme:error:unsupportedIdentifier", ERR_CONFIG},
	{"urn:ietf:params:acme:error:invalidProfile", ERR_CONFIG},
	{"urn:ietf:params:acme:error:inventedTomorrow", ERR_TEMPORARY},
	{"https://ca.example/problems/rateLimited", ERR_TEMPORARY},
	{"about:blank", ERR_TEMPORARY},
};

static bool problem(const char *content_type, long status, const char *body, const char *retry_after, struct err *err)
{
	struct http_response r = HTTP_RESPONSE_INIT;
	bool ok;

	r.status = status;
	r.content_type = str_dup(content_type);
	r.retry_after = str_dup(retry_after);
	buf_puts(&r.body, body);
	ok = problem_from_answer(&r, "new order", URL, NOW, err);
	http_response_clear(&r);
	return ok;
}

START_TEST(problem_type_gives_the_class)
{
	char body[256];
	struct err err = ERR_INIT;

	snprintf(body, sizeof body, "{\"type\":\"%s\",\"detail\":\"because\"}", types[_i].type);
	ck_assert(!problem("application/problem+json", 403, body, NULL, &err));
	ck_assert_msg(err.class == types[_i].class, "%s is %s", types[_i].type, err_class_name(err.class));
	ck_assert_ptr_nonnull(strstr(err.text, "because"));
	ck_assert_str_eq(err.subject, URL);
	ck_assert_int_eq(err.status, 403);
	ck_assert_str_eq(err.op, "new order");
}
END_TEST

START_TEST(all_of_rfc_8555_is_in_the_table)
{
	static const char *const names[] = {"accountDoesNotExist", "alreadyRevoked", "badCSR", "badNonce", "badPublicKey", "badRevocationReason",
		"badSignatureAlgorithm", "caa", "compound", "connection", "dns", "externalAccountRequired", "incorrectResponse", "invalidContact",
		"malformed", "orderNotReady", "rateLimited", "rejectedIdentifier", "serverInternal", "tls", "unauthorized", "unsupportedContact",
		"unsupportedIdentifier", "userActionRequired"};

	for (int i = 0; i < COUNT(names); i++)
		ck_assert_msg(problem_row(names[i])->type != NULL, "%s is missing", names[i]);
	for (const struct problem_row *r = problem_rows(); r[0].type && r[1].type; r++)
		ck_assert_msg(strcmp(r[0].type, r[1].type) < 0, "%s is out of order", r[1].type);
}
END_TEST

START_TEST(subproblems_are_shown_with_whom_they_are_about)
{
	struct err err = ERR_INIT;

	problem("application/problem+json", 403,
		"{\"type\":\"urn:ietf:params:acme:error:compound\",\"detail\":\"two failed\",\"subproblems\":["
		"{\"type\":\"urn:ietf:params:acme:error:caa\",\"detail\":\"not here\",\"identifier\":{\"type\":\"email\",\"value\":\"a@example.org\"}},"
		"{\"type\":\"urn:ietf:params:acme:error:dns\",\"identifier\":{\"value\":\"b@example.org\"}}, 7]}",
		NULL, &err);
	ck_assert_str_eq(err.text,
		"the CA says: two failed (compound); for a@example.org: not here (caa); for b@example.org: no details given (dns); no details given");
	ck_assert_str_eq(err.type, "compound");
}
END_TEST

START_TEST(rate_limit_says_when_to_come_back)
{
	struct err err = ERR_INIT;

	problem("application/problem+json", 429, "{\"type\":\"urn:ietf:params:acme:error:rateLimited\"}", "3600", &err);
	ck_assert_int_eq(err.retry_at, NOW + 3600);
	problem("text/html", 503, "<html>", "Sun, 22 Nov 2026 08:01:00 GMT", &err);
	ck_assert_int_eq(err.retry_at, NOW + 60);
	problem("text/html", 503, "<html>", NULL, &err);
	ck_assert_int_eq(err.retry_at, 0);
}
END_TEST

static const struct {
	const char *name, *content_type, *body;
} no_problems[] = {
	{"a maintenance page", "text/html", "<html><h1>503</h1></html>"},
	{"no body", NULL, ""},
	{"a problem that is no JSON", "application/problem+json", "{\"type\":"},
	{"a problem that is a list", "application/problem+json", "[\"type\"]"},
	{"a problem without words", "application/problem+json", "{\"status\":500}"},
	{"members of the wrong types", "application/problem+json", "{\"type\":7,\"detail\":[],\"subproblems\":\"x\"}"},
};

START_TEST(error_without_words_is_temporary)
{
	struct err err = ERR_INIT;

	problem(no_problems[_i].content_type, 502, no_problems[_i].body, NULL, &err);
	ck_assert_msg(err.class == ERR_TEMPORARY && strstr(err.text, "HTTP status 502"), "%s: %s", no_problems[_i].name, err.text);
	ck_assert_str_eq(err.type, "http-502");
}
END_TEST

START_TEST(words_of_a_stranger_are_made_printable)
{
	struct buf body = BUF_INIT;
	struct err err = ERR_INIT;

	problem("application/problem+json", 400, "{\"type\":\"x\\ny\\u00e4\",\"detail\":\"one\\r\\ntwo\\u001b[31m\"}", NULL, &err);
	ck_assert_ptr_null(strpbrk(err.text, "\r\n\033"));
	ck_assert_str_eq(err.type, "x?y??");
	/* cut within a character of three octets, at every offset */
	for (int shift = 0; shift < 3; shift++) {
		buf_reset(&body);
		buf_printf(&body, "{\"type\":\"urn:ietf:params:acme:error:badCSR\",\"detail\":\"%.*s", shift, "abc");
		for (int i = 0; i < 600; i++)
			buf_puts(&body, "\xe2\x82\xac");
		buf_puts(&body, "\"}");
		problem("application/problem+json", 400, body.data, NULL, &err);
		ck_assert(text_is_utf8(err.text, strlen(err.text)));
		ck_assert_msg(strstr(err.text, "compare certificate.key-type") != NULL, "the advice was cut off: %s", err.text);
	}
	buf_clear(&body);
}
END_TEST

START_TEST(failed_order_tells_both_reasons)
{
	json_t *challenge = json_loads("{\"type\":\"urn:ietf:params:acme:error:dns\",\"detail\":\"no DKIM key\"}", 0, NULL);
	json_t *order = json_loads("{\"type\":\"urn:ietf:params:acme:error:unauthorized\",\"detail\":\"see authorization\"}", 0, NULL);
	struct err err = ERR_INIT;

	problem_from_objects(challenge, order, "look at order", URL, 200, &err);
	ck_assert_int_eq(err.class, ERR_CA);
	ck_assert_str_eq(err.type, "dns");
	ck_assert_str_eq(err.text, "the CA says: no DKIM key (dns); of the order: see authorization (unauthorized)");
	json_decref(challenge);
	json_decref(order);
}
END_TEST

/* ---- objects ------------------------------------------------------------------------------------------------------- */

enum object { DIRECTORY, ORDER, AUTHORIZATION, CHALLENGE };

static bool parse(enum object kind, const char *text, struct err *err)
{
	struct acme_directory d;
	struct acme_order o;
	struct acme_authorization z;
	enum acme_status status;
	json_t *error = NULL;
	bool ok = false;

	switch (kind) {
	case DIRECTORY:
		ok = acme_directory_parse(text, strlen(text), URL, &d, err);
		acme_directory_clear(&d);
		break;
	case ORDER:
		ok = acme_order_parse(text, strlen(text), URL, &o, err);
		acme_order_clear(&o);
		break;
	case AUTHORIZATION:
		ok = acme_authorization_parse(text, strlen(text), URL, &z, err);
		acme_authorization_clear(&z);
		break;
	case CHALLENGE:
		ok = acme_challenge_parse(text, strlen(text), URL, &status, &error, err);
		json_decref(error);
		break;
	}
	return ok;
}

#define RESOURCES "\"newNonce\":\"https://c/n\",\"newAccount\":\"https://c/a\",\"newOrder\":\"https://c/o\""
#define AUTHZ(challenges) "{\"status\":\"pending\",\"identifier\":{\"type\":\"email\",\"value\":\"a@b.example\"},\"challenges\":" challenges "}"
#define MAIL(members) AUTHZ("[{\"type\":\"email-reply-00\",\"url\":\"https://c/1\",\"status\":\"pending\"" members "}]")

static const struct object_case {
	const char *name;
	enum object kind;
	const char *text;
	const char *word; /* of the error; NULL = fine */
} objects[] = {
	{"the least directory", DIRECTORY, "{" RESOURCES "}", NULL},
	{"a directory with everything", DIRECTORY,
		"{" RESOURCES ",\"renewalInfo\":\"https://c/r\",\"x\":[1],\"meta\":{\"termsOfService\":\"t\",\"externalAccountRequired\":true,"
		"\"caaIdentities\":[\"c\"],\"profiles\":{\"p\":\"d\"},\"website\":7}}", NULL},
	{"an optional member that is null", DIRECTORY, "{" RESOURCES ",\"meta\":null,\"revokeCert\":null}", NULL},
	{"a directory without newOrder", DIRECTORY, "{\"newNonce\":\"https://c/n\",\"newAccount\":\"https://c/a\"}", "\"newOrder\" is missing"},
	{"a directory that leads to plain http", DIRECTORY, "{" RESOURCES ",\"renewalInfo\":\"http://c/r\"}", "\"renewalInfo\" is no https URL"},
	{"a URL that is a number", DIRECTORY, "{\"newNonce\":1}", "\"newNonce\" is a number, not a string"},
	{"meta that is a list", DIRECTORY, "{" RESOURCES ",\"meta\":[]}", "\"meta\" is an array, not an object"},
	{"caaIdentities that is a string", DIRECTORY, "{" RESOURCES ",\"meta\":{\"caaIdentities\":\"c\"}}", "\"caaIdentities\" is a string, not an array"},
	{"caaIdentities of numbers", DIRECTORY, "{" RESOURCES ",\"meta\":{\"caaIdentities\":[1]}}", "no string"},
	{"profiles that is a list", DIRECTORY, "{" RESOURCES ",\"meta\":{\"profiles\":[\"p\"]}}", "\"profiles\" is an array"},
	{"externalAccountRequired that is a string", DIRECTORY, "{" RESOURCES ",\"meta\":{\"externalAccountRequired\":\"yes\"}}", "not true or false"},
	{"an HTML page", DIRECTORY, "<html></html>", "not JSON"},
	{"nothing", DIRECTORY, "", "not JSON"},
	{"a list", DIRECTORY, "[]", "not an object"},
	{"a name that is there twice", DIRECTORY, "{" RESOURCES ",\"newOrder\":\"https://evil/o\"}", "not JSON"},
	{"text that is no UTF-8", DIRECTORY, "{\"newNonce\":\"\xff\xfe\"}", "not JSON"},
	{"a NUL in a string", DIRECTORY, "{\"newNonce\":\"a\\u0000b\"}", "not JSON"},
	{"a number that is too big", DIRECTORY, "{" RESOURCES ",\"x\":99999999999999999999999999}", "not JSON"},

	{"a pending order", ORDER, "{\"status\":\"pending\",\"finalize\":\"https://c/f\",\"authorizations\":[\"https://c/1\"]}", NULL},
	{"a valid order without certificate", ORDER, "{\"status\":\"valid\",\"finalize\":\"https://c/f\",\"authorizations\":[]}",
		"\"certificate\" is missing"},
	{"an order without status", ORDER, "{\"finalize\":\"https://c/f\",\"authorizations\":[]}", "\"status\" is missing"},
	{"an order in an unknown status", ORDER, "{\"status\":\"dreaming\",\"finalize\":\"https://c/f\",\"authorizations\":[]}", "\"dreaming\" is unknown"},
	{"an order whose finalize is plain http", ORDER, "{\"status\":\"ready\",\"finalize\":\"http://c/f\",\"authorizations\":[]}", "no https URL"},
	{"an authorization that is an object", ORDER, "{\"status\":\"ready\",\"finalize\":\"https://c/f\",\"authorizations\":[{}]}", "no https URL"},
	{"an order without authorizations", ORDER, "{\"status\":\"ready\",\"finalize\":\"https://c/f\"}", "\"authorizations\" is missing"},

	{"an authorization with a mail challenge", AUTHORIZATION, MAIL(",\"token\":\"abc_-=\",\"from\":\"ca@c.example\""), NULL},
	{"an authorization for another way of validation", AUTHORIZATION, AUTHZ("[{\"type\":\"dns-01\"}]"), NULL},
	{"a mail challenge without token", AUTHORIZATION, MAIL(",\"from\":\"ca@c.example\""), "\"token\" is missing"},
	{"a mail challenge without sender", AUTHORIZATION, MAIL(",\"token\":\"abc\""), "\"from\" is missing"},
	{"a sender that is no address", AUTHORIZATION, MAIL(",\"token\":\"abc\",\"from\":\"the CA\""), "\"from\" of the challenge is no mail address"},
	{"a sender with a line break", AUTHORIZATION, MAIL(",\"token\":\"abc\",\"from\":\"a@b.example\\r\\nX: y\""), "no mail address"},
	{"a token with a line break", AUTHORIZATION, MAIL(",\"token\":\"abc\\r\\n\",\"from\":\"ca@c.example\""), "\"token\" is no base64url text"},
	{"an empty token", AUTHORIZATION, MAIL(",\"token\":\"\",\"from\":\"ca@c.example\""), "\"token\" is no base64url text"},
	{"challenges that are no objects", AUTHORIZATION, AUTHZ("[\"x\"]"), "no object"},
	{"a challenge without type", AUTHORIZATION, AUTHZ("[{}]"), "\"type\" is missing"},
	{"an authorization without identifier", AUTHORIZATION, "{\"status\":\"valid\"}", "\"identifier\" is missing"},

	{"a challenge under way", CHALLENGE, "{\"status\":\"processing\"}", NULL},
	{"a challenge whose error is a string", CHALLENGE, "{\"status\":\"invalid\",\"error\":\"no\"}", NULL},
	{"a challenge without status", CHALLENGE, "{}", "\"status\" is missing"},
};

START_TEST(object_is_judged)
{
	const struct object_case *c = &objects[_i];
	struct err err = ERR_INIT;

	if (!c->word) {
		ck_assert_msg(parse(c->kind, c->text, &err), "%s: %s", c->name, err.text);
		return;
	}
	ck_assert_msg(!parse(c->kind, c->text, &err), "%s was taken", c->name);
	ck_assert_msg(err.class == ERR_TEMPORARY && strcmp(err.type, "malformed-answer") == 0, "%s: %s", c->name, err.type);
	ck_assert_msg(strstr(err.text, c->word) != NULL, "%s: %s", c->name, err.text);
	ck_assert_str_eq(err.subject, URL);
}
END_TEST

START_TEST(deep_nesting_is_refused)
{
	struct buf text = BUF_INIT;
	struct err err = ERR_INIT;

	buf_puts(&text, "{\"x\":");
	for (int i = 0; i < 200000; i++)
		buf_putc(&text, '[');
	ck_assert(!parse(DIRECTORY, text.data, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "not JSON"));
	buf_clear(&text);
}
END_TEST

START_TEST(endless_lists_are_refused)
{
	struct buf text = BUF_INIT;
	struct err err = ERR_INIT;

	buf_puts(&text, "{\"status\":\"pending\",\"finalize\":\"https://c/f\",\"authorizations\":[\"https://c/0\"");
	for (int i = 1; i <= ACME_AUTHORIZATIONS_MAX; i++)
		buf_printf(&text, ",\"https://c/%d\"", i);
	buf_puts(&text, "]}");
	ck_assert(!parse(ORDER, text.data, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "more than 100"));
	buf_clear(&text);
}
END_TEST

START_TEST(chain_must_be_certificates)
{
	static const char *const bad[] = {"", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"-----BEGIN CERTIFICATE-----\n", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"};
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;

	for (int i = 0; i < COUNT(bad); i++) {
		ck_assert_msg(!acme_chain_parse(bad[i], strlen(bad[i]), URL, &out, &err), "\"%s\" was taken", bad[i]);
		ck_assert_str_eq(err.type, "malformed-answer");
		ck_assert_uint_eq(out.len, 0);
	}
	buf_clear(&out);
}
END_TEST

START_TEST(state_survives_the_store)
{
	struct acme_state s = {.order = str_dup("https://c/o"), .challenge = str_dup("https://c/c"), .token = str_dup("tok")}, back;
	struct err err = ERR_INIT;
	char *text = NULL;

	strlist_add(&s.authorizations, "https://c/1");
	strlist_add(&s.addresses, "j\xc3\xb6rg@example.org");
	ck_assert(acme_state_save(&s, &text, &err));
	ck_assert_msg(acme_state_load(text, &back, &err), "%s", err.text);
	ck_assert_str_eq(back.order, s.order);
	ck_assert_str_eq(back.token, "tok");
	ck_assert_ptr_null(back.finalize);
	ck_assert_str_eq(back.addresses.v[0], s.addresses.v[0]);
	ck_assert_uint_eq(back.authorizations.n, 1);
	acme_state_clear(&s);
	acme_state_clear(&back);
	free(text);
}
END_TEST

START_TEST(order_of_another_driver_is_no_defect)
{
	struct acme_state s;
	struct err err = ERR_INIT;

	ck_assert(!acme_state_load("{\"id\":\"Yp3kq0mGB1uWn2vEwX1cS8aT\",\"addresses\":[\"alice@example.org\"]}", &s, &err));
	ck_assert_int_eq(err.class, ERR_CA);
	ck_assert(!acme_state_load("[]", &s, &err));
	ck_assert_int_eq(err.class, ERR_BUG);
}
END_TEST

/* ---- the account key ----------------------------------------------------------------------------------------------- */

static void key_write(const char *path, struct buf *pem)
{
	struct err err = ERR_INIT;

	buf_reset(pem);
	ck_assert(jws_key_generate("ec:p256", pem, &err) && file_write(path, pem->data, pem->len, 0600, -1, &err));
}

static void assert_signs_with(struct acme *a, const struct jws_key *expected)
{
	struct jws_key *key = acme_key_hold(a);

	ck_assert_str_eq(jws_thumbprint(key), jws_thumbprint(expected));
	jws_key_free(key);
}

START_TEST(key_file_counts_only_when_it_changes)
{
	struct ca_config config = {.directory_url = (char *)URL};
	struct buf pem = BUF_INIT;
	struct err err = ERR_INIT;
	struct jws_key *next, *brought;
	char path[] = "/tmp/test-acme-key-XXXXXX";
	struct acme *a;

	close(mkstemp(path));
	key_write(path, &pem);
	config.account_key = path;
	a = acme_new(&config, &err);
	ck_assert_msg(a != NULL, "%s", err.text);
	/* Found as KEY.next, while whoever rotates the key has not moved it into place yet, or died before. */
	buf_reset(&pem);
	ck_assert(jws_key_generate("ec:p256", &pem, &err));
	next = jws_key_read(pem.data, pem.len, "next", &err);
	acme_key_replace(a, jws_key_ref(next));
	acme_key_notice(a);
	assert_signs_with(a, next);
	ck_assert_int_eq(acme_key_search_locked(a, next, &err), ACME_KEY_SAME);
	assert_signs_with(a, next);
	/* Moved into place; later an admin brings another one. */
	ck_assert(file_write(path, pem.data, pem.len, 0600, -1, &err));
	acme_key_notice(a);
	assert_signs_with(a, next);
	key_write(path, &pem);
	brought = jws_key_read(pem.data, pem.len, "brought", &err);
	ck_assert_int_eq(acme_key_search_locked(a, next, &err), ACME_KEY_OTHER);
	assert_signs_with(a, brought);
	jws_key_free(next);
	jws_key_free(brought);
	acme_free(a);
	buf_wipe(&pem);
	unlink(path);
}
END_TEST

/* ---- CAs that lie -------------------------------------------------------------------------------------------------- */

static char dir[64], base[64], ca_file[128], key_file[128];
static struct https_server *server;
static const char *order_text, *authz_text, *location = "/order/1", *account_status = "valid", *finalize_refusal;
static unsigned finalized, looked, directories;
static bool down;
static struct ca *ca;

/* The text with $ replaced by the server's URL. */
static void put(struct https_answer *a, int status, const char *headers, const char *text)
{
	struct buf body = BUF_INIT, head = BUF_INIT;

	buf_puts(&body, "");
	for (; *text; text++)
		if (*text == '$')
			buf_puts(&body, base);
		else
			buf_putc(&body, *text);
	buf_printf(&head, "Replay-Nonce: abc\r\nContent-Type: application/json\r\n%s", headers);
	https_answer_put(a, status, head.data, buf_str(&body));
	buf_clear(&body);
	buf_clear(&head);
}

static void handle(const struct https_request *q, struct https_answer *a, void *arg)
{
	char head[256];

	if (strcmp(q->path, "/directory") == 0 && down) {
		directories++;
		usleep(300000); /* a CA that takes its time to say no */
		put(a, 503, "", "");
	} else if (strcmp(q->path, "/directory") == 0) {
		put(a, 200, "", "{\"newNonce\":\"$/nonce\",\"newAccount\":\"$/account\",\"newOrder\":\"$/new-order\"}");
	} else if (strcmp(q->path, "/account") == 0) {
		snprintf(head, sizeof head, "{\"status\":\"%s\"}", account_status);
		put(a, 200, "Location: /account/1\r\n", head);
	} else if (strcmp(q->path, "/new-order") == 0) {
		snprintf(head, sizeof head, "%s%s%s", *location ? "Location: " : "", location, *location ? "\r\n" : "");
		put(a, 201, head, order_text);
	} else if (strcmp(q->path, "/order/1") == 0) {
		looked++;
		put(a, 200, "", order_text);
	} else if (strcmp(q->path, "/authz") == 0) {
		put(a, 200, "", authz_text);
	} else if (strcmp(q->path, "/finalize") == 0) {
		finalized++;
		if (finalize_refusal != NULL) {
			order_text = finalize_refusal; /* from now on the order shows why */
			put(a, 403, "", "{\"type\":\"urn:ietf:params:acme:error:orderNotReady\",\"detail\":\"not ready\"}");
			return;
		}
		put(a, 200, "", "{\"status\":\"processing\",\"finalize\":\"$/finalize\",\"authorizations\":[\"$/authz\"]}");
	} else {
		put(a, 200, "", "");
	}
}

static void setup(void)
{
	struct ca_config config = {.accept_terms = true, .timeout_seconds = 5};
	struct buf pem = BUF_INIT;
	struct err err = ERR_INIT;
	char url[128];

	strcpy(dir, "/tmp/test-acme-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(ca_file, sizeof ca_file, "%s/https.pem", dir);
	snprintf(key_file, sizeof key_file, "%s/account.key", dir);
	ck_assert(jws_key_generate("ec:p256", &pem, &err) && file_write(key_file, pem.data, pem.len, 0600, -1, &err));
	buf_wipe(&pem);
	server = https_server_start(dir, handle, NULL);
	snprintf(base, sizeof base, "https://127.0.0.1:%u", https_server_port(server));
	snprintf(url, sizeof url, "%s/directory", base);
	config.directory_url = url;
	config.ca_file = ca_file;
	config.account_key = key_file;
	order_text = "{\"status\":\"pending\",\"finalize\":\"$/finalize\",\"authorizations\":[\"$/authz\"]}";
	authz_text = "{\"status\":\"valid\",\"identifier\":{\"type\":\"email\",\"value\":\"alice@example.org\"}}";
	ca = ca_new(&config, &err);
	ck_assert_msg(ca != NULL, "%s", err.text);
}

static void teardown(void)
{
	ca_free(ca);
	https_server_stop(server);
	unlink(ca_file);
	unlink(key_file);
	rmdir(dir);
}

static bool open_alice(struct ca_order *o, struct err *err)
{
	struct strlist addresses = {0};
	bool ok;

	strlist_add(&addresses, "Alice@example.org");
	ok = ca_open(ca, &(struct ca_request){.addresses = &addresses}, o, err);
	strlist_clear(&addresses);
	return ok;
}

static pthread_barrier_t together;

static void *ask_too(void *arg)
{
	struct ca_info info;
	struct err *err = arg;

	pthread_barrier_wait(&together);
	ck_assert(!ca_prepare(ca, &info, err));
	return NULL;
}

START_TEST(many_who_wait_for_a_ca_that_is_down_share_its_answer)
{
	pthread_t threads[8];
	struct err errors[COUNT(threads)];

	down = true;
	pthread_barrier_init(&together, NULL, COUNT(threads));
	for (int i = 0; i < COUNT(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_too, &errors[i]), 0);
	for (int i = 0; i < COUNT(threads); i++) {
		pthread_join(threads[i], NULL);
		ck_assert_int_eq(errors[i].class, ERR_TEMPORARY);
		ck_assert_int_eq(errors[i].status, 503);
	}
	ck_assert_msg(directories < COUNT(threads), "asked %u times", directories);
	pthread_barrier_destroy(&together);
}
END_TEST

static const struct {
	const char *name, *authz, *word;
} lies[] = {
	{"a proof about somebody else is asked for",
		"{\"status\":\"pending\",\"identifier\":{\"type\":\"email\",\"value\":\"bob@example.org\"},\"challenges\":[{\"type\":\"email-reply-00\","
		"\"url\":\"$/c\",\"status\":\"pending\",\"token\":\"abc\",\"from\":\"ca@ca.example\"}]}",
		"bob@example.org"},
	{"only DNS validation is offered",
		"{\"status\":\"pending\",\"identifier\":{\"type\":\"email\",\"value\":\"alice@example.org\"},\"challenges\":[{\"type\":\"dns-01\"},"
		"{\"type\":\"http-01\"}]}",
		"dns-01, http-01"},
	{"the authorization expired", "{\"status\":\"expired\",\"identifier\":{\"type\":\"email\",\"value\":\"alice@example.org\"}}", "without saying why"},
	{"the challenge is over though the authorization is pending",
		"{\"status\":\"pending\",\"identifier\":{\"type\":\"email\",\"value\":\"alice@example.org\"},\"challenges\":[{\"type\":\"email-reply-00\","
		"\"url\":\"$/c\",\"status\":\"invalid\",\"error\":{\"detail\":\"too late\"}}]}",
		"too late"},
};

START_TEST(order_that_cannot_go_on_is_dead)
{
	struct ca_order o = {0};
	struct err err = ERR_INIT;

	authz_text = lies[_i].authz;
	ck_assert_msg(open_alice(&o, &err), "%s", err.text);
	ck_assert_msg(!ca_look(ca, &o, &err), "%s", lies[_i].name);
	ck_assert_msg(o.progress == CA_INVALID, "%s: progress %d", lies[_i].name, o.progress);
	ck_assert_int_eq(err.class, ERR_CA);
	ck_assert_ptr_null(o.challenge_from);
	ck_assert_msg(strstr(err.text, lies[_i].word) != NULL, "%s: %s", lies[_i].name, err.text);
	ca_order_clear(&o);
}
END_TEST

START_TEST(our_own_spelling_of_the_address_is_kept)
{
	struct ca_order o = {0};
	struct err err = ERR_INIT;

	authz_text = "{\"status\":\"pending\",\"identifier\":{\"type\":\"email\",\"value\":\"ALICE@EXAMPLE.org\"},\"challenges\":[{\"type\":"
		     "\"email-reply-00\",\"url\":\"$/c\",\"status\":\"pending\",\"token\":\"abc\",\"from\":\"ca@CA.example\"}]}";
	ck_assert(open_alice(&o, &err) && ca_look(ca, &o, &err));
	ck_assert_int_eq(o.progress, CA_PENDING);
	ck_assert_str_eq(o.challenge_address, "Alice@example.org");
	ck_assert_str_eq(o.challenge_from, "ca@ca.example");
	ca_order_clear(&o);
}
END_TEST

START_TEST(order_without_url_is_lost)
{
	static const char *const locations[] = {"", "http://evil.example/o", "https://a b/"};
	struct err err = ERR_INIT;

	for (int i = 0; i < COUNT(locations); i++) {
		struct ca_order o = {0};

		location = locations[i];
		ck_assert(!open_alice(&o, &err));
		ck_assert_str_eq(err.type, "lost");
		ck_assert_int_eq(err.class, ERR_TEMPORARY);
		ck_assert_ptr_null(o.state);
		ca_order_clear(&o);
	}
}
END_TEST

START_TEST(account_that_was_given_up_is_a_configuration_error)
{
	struct ca_info info;
	struct err err = ERR_INIT;

	account_status = "deactivated";
	ck_assert(!ca_prepare(ca, &info, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(err.text, "deactivated"));
}
END_TEST

#define ORDER_IN(status) "{\"status\":\"" status "\",\"finalize\":\"$/finalize\",\"authorizations\":[\"$/authz\"]}"

/* The CA goes on saying "ready", so that nothing but our own care keeps a second CSR back. */
START_TEST(finalize_goes_out_once_for_each_look)
{
	struct ca_order o = {0};
	struct err err = ERR_INIT;
	char *before;

	order_text = "{\"status\":\"ready\",\"finalize\":\"$/finalize\",\"authorizations\":[\"$/authz\"]}";
	ck_assert(open_alice(&o, &err) && ca_look(ca, &o, &err));
	before = str_dup(o.state);
	looked = 0;
	ck_assert_msg(ca_finalize(ca, &o, "csr", 3, &err), "%s", err.text);
	ck_assert_int_eq(o.progress, CA_PROCESSING);
	ck_assert_uint_eq(finalized, 1);
	ck_assert_uint_eq(looked, 0);
	/* the same state once more, as when its successor was never stored: looked at first */
	free(o.state);
	o.state = before;
	order_text = "{\"status\":\"processing\",\"finalize\":\"$/finalize\",\"authorizations\":[\"$/authz\"]}";
	ck_assert(ca_finalize(ca, &o, "csr", 3, &err));
	ck_assert_int_eq(o.progress, CA_PROCESSING);
	ck_assert_uint_eq(finalized, 1);
	ck_assert_uint_eq(looked, 1);
	ca_order_clear(&o);
}
END_TEST

/* We saw it ready; then another enrolld took the row, sent its CSR, and died.  What we saw is no news any more. */
START_TEST(finalize_in_doubt_is_looked_at_first)
{
	struct ca_order o = {0};
	struct err err = ERR_INIT;

	order_text = ORDER_IN("ready");
	ck_assert(open_alice(&o, &err) && ca_look(ca, &o, &err));
	looked = 0;
	order_text = ORDER_IN("processing");
	o.in_doubt = true;
	ck_assert_msg(ca_finalize(ca, &o, "csr", 3, &err), "%s", err.text);
	ck_assert_int_eq(o.progress, CA_PROCESSING);
	ck_assert_uint_eq(finalized, 0);
	ck_assert_uint_eq(looked, 1);
	/* and one that is ready is finalized, once */
	order_text = ORDER_IN("ready");
	ck_assert_msg(ca_finalize(ca, &o, "csr", 3, &err), "%s", err.text);
	ck_assert_uint_eq(finalized, 1);
	ca_order_clear(&o);
}
END_TEST

/* "orderNotReady": where the order is past that it goes on, where not it is tried again later; it is given up by neither. */
START_TEST(finalize_refused_as_not_ready_is_looked_up)
{
	static const struct { const char *order; bool ok; enum ca_progress progress; } cases[] = {
		{ORDER_IN("processing"), true, CA_PROCESSING},
		{"{\"status\":\"valid\",\"finalize\":\"$/finalize\",\"authorizations\":[\"$/authz\"],\"certificate\":\"$/certificate\"}", true, CA_ISSUED},
		{ORDER_IN("ready"), false, CA_READY},
		{ORDER_IN("pending"), false, CA_PENDING},
	};

	for (int i = 0; i < COUNT(cases); i++) {
		struct ca_order o = {0};
		struct err err = ERR_INIT;

		finalize_refusal = NULL;
		order_text = ORDER_IN("ready");
		ck_assert(open_alice(&o, &err) && ca_look(ca, &o, &err));
		finalize_refusal = cases[i].order;
		ck_assert_msg(ca_finalize(ca, &o, "csr", 3, &err) == cases[i].ok, "%d: %s", i, err.text);
		ck_assert_int_eq(o.progress, cases[i].progress);
		if (!cases[i].ok)
			ck_assert_int_eq(err.class, ERR_TEMPORARY);
		ca_order_clear(&o);
	}
	ck_assert_uint_eq(finalized, COUNT(cases));
}
END_TEST

START_TEST(chain_with_one_damaged_certificate_is_refused)
{
	struct buf text = BUF_INIT, out = BUF_INIT;
	struct err err = ERR_INIT;

	ck_assert(file_read(&text, ca_file, 65536, &err));
	buf_puts(&text, "some words\n");
	ck_assert_msg(acme_chain_parse(text.data, text.len, URL, &out, &err), "%s", err.text);
	ck_assert_msg(!strstr(out.data, "words"), "text between certificates was kept");
	buf_reset(&out);
	buf_puts(&text, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
	ck_assert(!acme_chain_parse(text.data, text.len, URL, &out, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "after 1 of them"));
	buf_clear(&text);
	buf_clear(&out);
}
END_TEST

START_TEST(answer_needs_a_challenge)
{
	struct ca_order o = {0};
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;

	ck_assert(open_alice(&o, &err));
	ck_assert(!ca_answer(ca, &o, "AAAAAAAAAAAAAAAAAAAAAAAA", &out, &err));
	ck_assert_int_eq(err.class, ERR_BUG);
	ca_order_clear(&o);
	buf_clear(&out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("acme");
	TCase *pure = tcase_create("pure"), *lying = tcase_create("lying");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(pure, problem_type_gives_the_class, 0, COUNT(types));
	tcase_add_test(pure, all_of_rfc_8555_is_in_the_table);
	tcase_add_test(pure, subproblems_are_shown_with_whom_they_are_about);
	tcase_add_test(pure, rate_limit_says_when_to_come_back);
	tcase_add_loop_test(pure, error_without_words_is_temporary, 0, COUNT(no_problems));
	tcase_add_test(pure, words_of_a_stranger_are_made_printable);
	tcase_add_test(pure, failed_order_tells_both_reasons);
	tcase_add_loop_test(pure, object_is_judged, 0, COUNT(objects));
	tcase_add_test(pure, deep_nesting_is_refused);
	tcase_add_test(pure, endless_lists_are_refused);
	tcase_add_test(pure, chain_must_be_certificates);
	tcase_add_test(pure, state_survives_the_store);
	tcase_add_test(pure, order_of_another_driver_is_no_defect);
	tcase_add_test(pure, key_file_counts_only_when_it_changes);
	suite_add_tcase(s, pure);
	tcase_set_timeout(lying, 30);
	tcase_add_checked_fixture(lying, setup, teardown);
	tcase_add_loop_test(lying, order_that_cannot_go_on_is_dead, 0, COUNT(lies));
	tcase_add_test(lying, our_own_spelling_of_the_address_is_kept);
	tcase_add_test(lying, order_without_url_is_lost);
	tcase_add_test(lying, account_that_was_given_up_is_a_configuration_error);
	tcase_add_test(lying, finalize_goes_out_once_for_each_look);
	tcase_add_test(lying, finalize_in_doubt_is_looked_at_first);
	tcase_add_test(lying, finalize_refused_as_not_ready_is_looked_up);
	tcase_add_test(lying, chain_with_one_damaged_certificate_is_refused);
	tcase_add_test(lying, answer_needs_a_challenge);
	tcase_add_test(lying, many_who_wait_for_a_ca_that_is_down_share_its_answer);
	suite_add_tcase(s, lying);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
