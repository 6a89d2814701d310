/*
 * Who may be signed for: the questions of milter/outbound.h, case by case.
 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "milter/outbound.h"

/* ---- fixtures ------------------------------------------------------------------------------------------------------------ */

static char *domains[] = {(char *)"corp.example", (char *)"xn--bcher-kva.example"};
static char *daemons[] = {(char *)"ORIGINATING"};
static char *own_mx[] = {(char *)"mx.corp.example", (char *)"192.0.2.10"};
static char *strip[] = {(char *)"CORP\\", (char *)"@corp.example"};
static struct network relay_net[1];
static struct submission rules[3];
static struct config config;

static void set_up(void)
{
	memset(&config, 0, sizeof config);
	memset(rules, 0, sizeof rules);
	ck_assert(network_parse(&relay_net[0], "192.0.2.40/32"));
	rules[0] = (struct submission){.name = (char *)"submission", .daemons = {daemons, 1}, .require_login = true, .vouch = VOUCH_MAP,
		.login_strip = {strip, 2}};
	rules[1] = (struct submission){.name = (char *)"relay", .networks = relay_net, .n_networks = 1, .vouch = VOUCH_RELAY, .own_mx = {own_mx, 2}};
	rules[2] = (struct submission){.name = (char *)"login", .daemons = {daemons, 1}, .require_login = true, .vouch = VOUCH_LOGIN};
	config.domains = (struct strlist){domains, 2};
	config.submissions = rules;
	config.n_submissions = 2;
}

/* Header text "Name: value\nName: value" into facts. */
static void facts(struct mail_facts *m, const char *sender, const char *text)
{
	char *copy = str_dup(text), *save = NULL;

	memset(m, 0, sizeof *m);
	snprintf(m->envelope_from, sizeof m->envelope_from, "%s", sender);
	for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *colon = strchr(line, ':');

		ck_assert_ptr_nonnull(colon);
		*colon = '\0';
		ck_assert(headers_add(&m->headers, line, colon + 1));
	}
	free(copy);
}

/* ---- who submitted --------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *what, *ip, *daemon, *login, *rule;
} submissions[] = {
	{"a login on the submission service", "203.0.113.7", "ORIGINATING", "bob", "submission"},
	{"no login on the submission service", "203.0.113.7", "ORIGINATING", "", NULL},
	{"a login on another service", "203.0.113.7", "smtpd", "bob", NULL},
	{"the relay without a login", "192.0.2.40", "smtpd", "", "relay"},
	{"a neighbour of the relay", "192.0.2.41", "smtpd", "", NULL},
	{"the relay by an IPv4-mapped address", "::ffff:192.0.2.40", "smtpd", "", "relay"},
	{"sendmail(1) without a client", "", "", "", NULL},
};

START_TEST(submission_rule)
{
	struct connection_facts conn;
	const struct submission *s;
	const char *why = NULL;

	snprintf(conn.client_ip, sizeof conn.client_ip, "%s", submissions[_i].ip);
	snprintf(conn.daemon, sizeof conn.daemon, "%s", submissions[_i].daemon);
	s = outbound_submission(&config, &conn, submissions[_i].login, &why);
	ck_assert_msg(submissions[_i].rule ? s && strcmp(s->name, submissions[_i].rule) == 0 : !s, "%s", submissions[_i].what);
	if (!s)
		ck_assert_ptr_nonnull(why);
}
END_TEST

/* ---- the author -------------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *what, *header, *from;
} authors[] = {
	{"a plain address", "From: alice@corp.example", "alice@corp.example"},
	{"a display name", "From: \"Alice, A.\" <alice@corp.example>", "alice@corp.example"},
	{"the domain in capitals", "From: Alice <alice@CORP.Example>", "alice@corp.example"},
	{"an internationalized domain", "From: alice@b\xc3\xbc" "cher.example", "alice@xn--bcher-kva.example"},
	{"an encoded display name that looks like an address", "From: =?utf-8?q?bob=40corp=2Eexample?= <alice@corp.example>", "alice@corp.example"},
	{"two addresses", "From: alice@corp.example, bob@corp.example", NULL},
	{"two fields", "From: alice@corp.example\nFrom: bob@corp.example", NULL},
	{"two fields in other case", "From: alice@corp.example\nFROM: bob@corp.example", NULL},
	{"no field", "To: bob@corp.example", NULL},
	{"a group", "From: all: alice@corp.example;", NULL},
	{"an empty group", "From: nobody:;", NULL},
	{"a domain that is not ours", "From: alice@other.example", NULL},
	{"a subdomain that is not listed", "From: alice@sub.corp.example", NULL},
	{"a broken address", "From: alice@@corp.example", NULL},
	{"only a name", "From: Alice", NULL},
};

START_TEST(author)
{
	struct mail_facts m;
	const char *why = NULL;
	bool ok;

	facts(&m, "x@corp.example", authors[_i].header);
	ok = outbound_from(&config, &m, &why);
	ck_assert_msg(ok == (authors[_i].from != NULL), "%s: %s", authors[_i].what, why ? why : "taken");
	if (ok)
		ck_assert_str_eq(m.from, authors[_i].from);
	else
		ck_assert_ptr_nonnull(why);
	headers_clear(&m.headers);
}
END_TEST

/* ---- from outside -------------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *what, *sender, *header;
	bool outside;
} relayed[] = {
	{"mail the relay made", "alice@corp.example", "From: alice@corp.example\nReceived: from pc by exchange.corp.example; x", false},
	{"received by our MX", "alice@corp.example", "Received: from evil by mx.corp.example (Postfix); x", true},
	{"received by our MX in capitals", "alice@corp.example", "Received: from evil by MX.Corp.Example (Postfix); x", true},
	{"received by our MX with a trailing dot", "alice@corp.example", "Received: from evil by mx.corp.example. (Postfix); x", true},
	{"our MX named second", "alice@corp.example", "Received: from a by b; x\nReceived: from evil by mx.corp.example; x", true},
	{"our MX by address", "alice@corp.example", "Received: from mx ([192.0.2.10]) by exchange; x", true},
	{"a name that only begins like our MX", "alice@corp.example", "Received: from a by mx.corp.example.evil.example; x", false},
	{"a name that only ends like our MX", "alice@corp.example", "Received: from a by amx.corp.example; x", false},
	{"resent", "alice@corp.example", "Resent-From: bob@corp.example", true},
	{"a list's", "alice@corp.example", "List-Id: <l.example>", true},
	{"the empty sender", "", "From: alice@corp.example", true},
};

START_TEST(from_outside)
{
	struct mail_facts m;
	const char *why = NULL;

	facts(&m, relayed[_i].sender, relayed[_i].header);
	ck_assert_msg(outbound_from_outside(&rules[1], &m, &why) == relayed[_i].outside, "%s", relayed[_i].what);
	ck_assert_msg(!outbound_from_outside(&rules[0], &m, &why), "only relays are asked: %s", relayed[_i].what);
	headers_clear(&m.headers);
}
END_TEST

/* ---- untouched -------------------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *what, *sender, *header;
	bool untouched;
} kinds[] = {
	{"plain mail", "a@corp.example", "Subject: x\nContent-Type: text/plain", false},
	{"a signed mail", "a@corp.example", "Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=x", true},
	{"an opaque signed mail", "a@corp.example", "Content-Type: application/pkcs7-mime; smime-type=signed-data", true},
	{"an encrypted mail", "a@corp.example", "Content-Type: application/x-pkcs7-mime; smime-type=enveloped-data", true},
	{"a PGP mail", "a@corp.example", "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=x", true},
	{"two Content-Type fields", "a@corp.example", "Content-Type: text/plain\nContent-Type: text/html", true},
	{"an automatic reply, which the mail rules are about", "a@corp.example", "Auto-Submitted: auto-replied", false},
	{"a delivery report", "", "Subject: x", true},
	{"a disposition notification", "a@corp.example", "Content-Type: multipart/report; report-type=disposition-notification; boundary=x", true},
	{"list mail, which the mail rules are about", "a@corp.example", "List-Unsubscribe: <mailto:x@y>", false},
	{"our reply to a CA", "a@corp.example", "Subject: Re: ACME: LgYemJLy3F1LDkiJrdIGbEzyFJyOyf6v", true},
	{"an answer to a company called ACME", "a@corp.example", "Subject: Re: ACME: offer", false},
	{"a longer answer to it", "a@corp.example", "Subject: Re: ACME: responsibilitiesandcompetences of the board", false},
	{"a subject about ACME", "a@corp.example", "Subject: The ACME: a history", false},
};

START_TEST(untouched)
{
	struct mail_facts m;
	const char *why = NULL;

	facts(&m, kinds[_i].sender, kinds[_i].header);
	ck_assert_msg(outbound_untouched(&m, &why) == kinds[_i].untouched, "%s", kinds[_i].what);
	if (kinds[_i].untouched)
		ck_assert_ptr_nonnull(why);
	headers_clear(&m.headers);
}
END_TEST

static const struct {
	const char *header;
	bool list, automatic;
} of_rules[] = {
	{"Subject: x", false, false},
	{"List-Unsubscribe: <mailto:x@y>", true, false},
	{"Precedence: bulk", true, false},
	{"Precedence: list", true, false},
	{"Precedence: junk", true, false},
	{"Precedence: first-class", false, false},
	{"Auto-Submitted: auto-replied", false, true},
	{"Auto-Submitted: auto-generated (vacation)", false, true},
	{"Auto-Submitted: no", false, false},
	{"Precedence: bulk\nAuto-Submitted: auto-notified", true, true},
};

START_TEST(lists_and_robots)
{
	struct mail_facts m;

	facts(&m, "a@corp.example", of_rules[_i].header);
	ck_assert_msg(outbound_is_list_mail(&m) == of_rules[_i].list, "%s", of_rules[_i].header);
	ck_assert_msg(outbound_is_auto_submitted(&m) == of_rules[_i].automatic, "%s", of_rules[_i].header);
	headers_clear(&m.headers);
}
END_TEST

/* ---- ownership ---------------------------------------------------------------------------------------------------------------------- */

static struct sender_map *map_of(const char *text, struct err *err)
{
	char path[] = "/tmp/test_outbound_XXXXXX";
	int fd = mkstemp(path);
	struct sender_map *m;

	ck_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
	m = sender_map_load(path, err);
	unlink(path);
	return m;
}

static const struct {
	const char *what, *login, *from;
	bool owned;
} owners[] = {
	{"the listed address", "bob", "bob@corp.example", true},
	{"the second listed address", "bob", "info@corp.example", true},
	{"the local part in other case", "bob", "Bob@corp.example", true},
	{"somebody else's address", "bob", "alice@corp.example", false},
	{"an unknown login", "eve", "bob@corp.example", false},
	{"a Windows login", "CORP\\bob", "bob@corp.example", true},
	{"a user principal name", "bob@corp.example", "bob@corp.example", true},
	{"another realm", "OTHER\\bob", "bob@corp.example", false},
	{"a subaddress that is not listed", "bob", "bob+x@corp.example", false},
	{"a login that is a prefix", "bo", "bob@corp.example", false},
};

START_TEST(map_ownership)
{
	struct err err = ERR_INIT;
	struct sender_map *map = map_of("# senders\nalice: alice@corp.example\n\n bob : bob@corp.example , info@corp.example\n", &err);
	struct mail_facts m = {0};
	const char *why = NULL;
	bool owned = false;

	ck_assert_msg(map != NULL, "%s", err.text);
	snprintf(m.login, sizeof m.login, "%s", owners[_i].login);
	snprintf(m.from, sizeof m.from, "%s", owners[_i].from);
	ck_assert(outbound_owned(&rules[0], NULL, map, NULL, &m, &owned, &why, &err));
	ck_assert_msg(owned == owners[_i].owned, "%s: %s", owners[_i].what, why);
	sender_map_free(map);
}
END_TEST

START_TEST(map_errors_name_the_line)
{
	struct err err = ERR_INIT;

	ck_assert_ptr_null(map_of("alice: alice@corp.example\nbob bob@corp.example\n", &err));
	ck_assert_ptr_nonnull(strstr(err.text, "line 2"));
	ck_assert_ptr_null(map_of("alice: not-an-address\n", &err));
	ck_assert_ptr_nonnull(strstr(err.text, "line 1"));
	ck_assert_ptr_null(map_of(": alice@corp.example\n", &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
}
END_TEST

START_TEST(login_is_the_address)
{
	struct mail_facts m = {.login = "Alice@corp.example", .from = "alice@corp.example"};
	struct err err = ERR_INIT;
	const char *why;
	bool owned;

	ck_assert(outbound_owned(&rules[2], NULL, NULL, NULL, &m, &owned, &why, &err) && owned);
	snprintf(m.from, sizeof m.from, "bob@corp.example");
	ck_assert(outbound_owned(&rules[2], NULL, NULL, NULL, &m, &owned, &why, &err) && !owned);
	snprintf(m.login, sizeof m.login, "alice");
	ck_assert(outbound_owned(&rules[2], NULL, NULL, NULL, &m, &owned, &why, &err) && !owned);
}
END_TEST

START_TEST(a_shared_relay_shows_its_secret)
{
	struct err err = ERR_INIT;
	struct mail_facts m;
	const char *why;
	bool owned;

	rules[1].secret_header = (char *)"X-Tenant";
	facts(&m, "alice@corp.example", "X-Tenant: open sesame");
	ck_assert(outbound_owned(&rules[1], NULL, NULL, "open sesame", &m, &owned, &why, &err) && owned);
	ck_assert(outbound_owned(&rules[1], NULL, NULL, "other", &m, &owned, &why, &err) && !owned);
	ck_assert_msg(outbound_owned(&rules[1], NULL, NULL, "", &m, &owned, &why, &err) && !owned, "an empty secret opens nothing");
	headers_clear(&m.headers);
	facts(&m, "alice@corp.example", "X-Tenant: open sesame\nX-Tenant: open sesame");
	ck_assert(outbound_owned(&rules[1], NULL, NULL, "open sesame", &m, &owned, &why, &err) && !owned);
	headers_clear(&m.headers);
}
END_TEST

#define LOOP(test, table) tcase_add_loop_test(tc, test, 0, (int)(sizeof table / sizeof *table))

int main(void)
{
	Suite *s = suite_create("outbound");
	TCase *tc = tcase_create("questions");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(tc, set_up, NULL);
	LOOP(submission_rule, submissions);
	LOOP(author, authors);
	LOOP(from_outside, relayed);
	LOOP(untouched, kinds);
	LOOP(lists_and_robots, of_rules);
	LOOP(map_ownership, owners);
	tcase_add_test(tc, map_errors_name_the_line);
	tcase_add_test(tc, login_is_the_address);
	tcase_add_test(tc, a_shared_relay_shows_its_secret);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
