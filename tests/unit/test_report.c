/*
 * tests/unit/test_report.c - milter/report: which mail is a delivery report and what it says; policy/report_address: to whom it was sent.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "milter/report.h"
#include "policy/policy.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static void headers_read(struct headers *h, const char *text)
{
	while (*text) {
		const char *end = text, *colon = strchr(text, ':');
		char *name, *value;

		do
			end = strchr(end, '\n') + 1;
		while (*end == ' ' || *end == '\t');
		name = strndup(text, (size_t)(colon - text));
		value = strndup(colon + 1, (size_t)(end - colon - 2));
		ck_assert(headers_add(h, name, value));
		free(name);
		free(value);
		text = end;
	}
}

static bool parse(const char *header, const char *body, struct report *r, char why[256])
{
	struct headers h = {0};
	struct spool *s = spool_new("/tmp", NULL);
	bool ok;

	headers_read(&h, header);
	ck_assert_ptr_nonnull(s);
	/* As libmilter gives it: CRLF. */
	for (const char *p = body; *p; p++)
		ck_assert(*p == '\n' ? spool_write(s, "\r\n", 2, NULL) : spool_write(s, p, 1, NULL));
	ok = report_parse(&h, s, r, why);
	headers_clear(&h);
	spool_free(s);
	return ok;
}

#define REPORT "MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status;\n\tboundary=\"b\"\n"
#define TEXT "This is the mail system.\n\n--b\nContent-Type: text/plain\n\nYour message ...\n\n--b\n"
#define STATUS TEXT "Content-Description: Delivery report\nContent-Type: message/delivery-status\n\n"
#define MAIL "\n--b\nContent-Type: text/rfc822-headers\n\nSubject: Re: ACME: x\nAction: delivered\n\n--b--\n"

static const struct {
	const char *name, *header, *body;
	const char *action, *status, *diagnostic, *remote, *reporter; /* action NULL: it is no report */
} cases[] = {
	{"Postfix relayed it", REPORT,
		STATUS "Reporting-MTA: dns; mx.corp.example\nOriginal-Envelope-Id: e1-c1\nX-Postfix-Queue-ID: 4Xk9\nArrival-Date: Sun, 22 Nov 2026 08:00:00 +0000\n\n"
		       "Final-Recipient: rfc822; acme@ca.example\nOriginal-Recipient: rfc822;acme@ca.example\nAction: relayed\nStatus: 2.0.0\n"
		       "Remote-MTA: dns; mx.ca.example\nDiagnostic-Code: smtp; 250 2.0.0 Taken\n" MAIL,
		"relayed", "2.0.0", "250 2.0.0 Taken", "mx.ca.example", "mx.corp.example"},
	{"Postfix could not", REPORT,
		STATUS "Reporting-MTA: dns; mx.corp.example\n\nFinal-Recipient: rfc822; acme@ca.example\nAction: failed\nStatus: 5.7.26\n"
		       "Remote-MTA: dns; mx.ca.example\nDiagnostic-Code: smtp; 550 5.7.26 Unauthenticated email from corp.example is\n"
		       "    not accepted; see\thttps://ca.example/dmarc\n" MAIL,
		"failed", "5.7.26", "550 5.7.26 Unauthenticated email from corp.example is not accepted; see https://ca.example/dmarc", "mx.ca.example",
		"mx.corp.example"},
	{"nobody was reached", REPORT,
		STATUS "Reporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; a@b\nAction: failed\nStatus: 5.4.4\n"
		       "Diagnostic-Code: X-Postfix; Host or domain name not found\n" MAIL,
		"failed", "5.4.4", "Host or domain name not found", NULL, "mx"},
	{"words in other spelling, with comments", REPORT,
		STATUS "REPORTING-MTA: DNS;mx\n\nfinal-recipient: rfc822;a@b\naction: Delayed (three hours)\nstatus: 4.7.1 (greylisted)\n" MAIL, "delayed", "4.7.1",
		NULL, NULL, "mx"},
	{"base64 around it, as gateways do", REPORT,
		TEXT "Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n"
		     "UmVwb3J0aW5nLU1UQTogZG5zOyBteAoKQWN0aW9uOiBkZWxpdmVyZWQKU3RhdHVzOiAyLjEuNQo=\n" MAIL,
		"delivered", "2.1.5", NULL, NULL, "mx"},
	{"one of RFC 6533", REPORT, TEXT "Content-Type: message/global-delivery-status\n\nReporting-MTA: dns; mx\n\nAction: expanded\n" MAIL, "expanded", NULL, NULL,
		NULL, "mx"},
	{"several recipients: the first one counts", REPORT,
		STATUS "Reporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; a@b\nAction: failed\n\nFinal-Recipient: rfc822; c@d\nAction: delivered\n" MAIL, "failed",
		NULL, NULL, NULL, "mx"},
	{"no empty line between mail and recipient", REPORT, STATUS "Reporting-MTA: dns; mx\nAction: failed\nStatus: 5.1.1\n" MAIL, "failed", "5.1.1", NULL, NULL,
		"mx"},
	{"it is cut off", REPORT, STATUS "Reporting-MTA: dns; mx\n\nAction: failed", "failed", NULL, NULL, NULL, "mx"},
	{"control characters and foreign letters", REPORT,
		STATUS "Reporting-MTA: dns; m\x1b[31mx\n\nAction: failed\nDiagnostic-Code: smtp; 550 gr\xc3\xbc\xc3\x9f\x07 gott\x7f!\n" MAIL, "failed", NULL,
		"550 gr???? gott !", NULL, "m [31mx"},
	{"an encoded word stays as it is", REPORT, STATUS "\nAction: failed\nDiagnostic-Code: smtp; 550 =?x-made-up?q?no?=\n" MAIL, "failed", NULL,
		"550 =?x-made-up?q?no?=", NULL, NULL},
	{"a status that is none", REPORT, STATUS "\nAction: failed\nStatus: see below\n" MAIL, "failed", NULL, NULL, NULL, NULL},
	{"a status of another world", REPORT, STATUS "\nAction: failed\nStatus: 9.1.1\n" MAIL, "failed", NULL, NULL, NULL, NULL},
	{"an unknown action", REPORT, STATUS "Reporting-MTA: dns; mx\n\nAction: vanished\n" MAIL, .action = NULL},
	{"an action with something behind it", REPORT, STATUS "\nAction: failedly\n" MAIL, .action = NULL},
	{"no action but in the returned mail", REPORT, STATUS "Reporting-MTA: dns; mx\n\n" MAIL, .action = NULL},
	{"no delivery status at all", REPORT, TEXT "Content-Type: text/plain\n\nAction: failed\n" MAIL, .action = NULL},
	{"a read receipt", "Content-Type: multipart/report; report-type=disposition-notification; boundary=b\n",
		TEXT "Content-Type: message/disposition-notification\n\nAction: failed\n" MAIL, .action = NULL},
	{"a delivery status that is no report's", "Content-Type: multipart/mixed; boundary=b\n", STATUS "\nAction: failed\n" MAIL, .action = NULL},
	{"a delivery status deeper inside", REPORT,
		"--b\nContent-Type: multipart/report; boundary=c\n\n--c\nContent-Type: message/delivery-status\n\n\nAction: failed\n\n--c--\n--b--\n", .action = NULL},
	{"an answer of a person who is away", "Content-Type: text/plain\n", "Action: failed\n", .action = NULL},
	{"no Content-Type", "Subject: x\n", "Action: failed\n", .action = NULL},
	{"no boundary", "Content-Type: multipart/report\n", STATUS "\nAction: failed\n" MAIL, .action = NULL},
	{"an empty body", REPORT, "", .action = NULL},
};

static void check_text(const char *name, const char *what, const char *have, const char *want)
{
	ck_assert_msg((have == NULL) == (want == NULL) && (!have || strcmp(have, want) == 0), "%s: %s is \"%s\"", name, what, have ? have : "(none)");
}

START_TEST(a_report_is_read_and_nothing_else_is_one)
{
	struct report r;
	char why[256];
	bool ok = parse(cases[_i].header, cases[_i].body, &r, why);

	ck_assert_msg(ok == (cases[_i].action != NULL), "%s: %s", cases[_i].name, why);
	if (ok) {
		check_text(cases[_i].name, "action", r.action, cases[_i].action);
		check_text(cases[_i].name, "status", r.status, cases[_i].status);
		check_text(cases[_i].name, "diagnostic", r.diagnostic, cases[_i].diagnostic);
		check_text(cases[_i].name, "remote", r.remote, cases[_i].remote);
		check_text(cases[_i].name, "reporter", r.reporter, cases[_i].reporter);
	} else {
		ck_assert_msg(why[0] != '\0', "%s: no reason", cases[_i].name);
	}
	report_clear(&r);
}
END_TEST

START_TEST(endless_words_are_cut_to_what_the_store_takes)
{
	struct buf body = BUF_INIT;
	struct report r;
	char why[256];

	buf_puts(&body, STATUS "Reporting-MTA: dns; ");
	for (int i = 0; i < 5000; i++)
		buf_puts(&body, "m.");
	buf_puts(&body, "\n\nAction: failed\nStatus: 5.999999999999999.1\nRemote-MTA: dns; ");
	for (int i = 0; i < 5000; i++)
		buf_puts(&body, "r.");
	buf_puts(&body, "\nDiagnostic-Code: smtp; 550 ");
	for (int i = 0; i < 5000; i++)
		buf_puts(&body, "no ");
	buf_puts(&body, "\n" MAIL);
	ck_assert_msg(parse(REPORT, buf_str(&body), &r, why), "%s", why);
	ck_assert_uint_le(strlen(r.reporter), 256);
	ck_assert_uint_le(strlen(r.remote), 256);
	ck_assert_uint_le(strlen(r.diagnostic), 601);
	ck_assert_ptr_null(r.status);
	report_clear(&r);
	buf_clear(&body);
}
END_TEST

/* Boundaries in boundaries, parts without number, fields without number, groups without number: an answer, soon, and no crash. */
START_TEST(a_mail_made_to_hurt_is_read_or_refused)
{
	struct buf body = BUF_INIT;
	struct report r;
	char why[256];

	for (int i = 0; i < 6000; i++) {
		if (_i == 0)
			buf_printf(&body, "--%s\nContent-Type: multipart/report; boundary=%d\n\n", i ? "" : "b", i);
		else if (_i == 1)
			buf_puts(&body, "--b\nContent-Type: message/rfc822\n\n");
		else if (_i == 2)
			buf_puts(&body, "--b\n\nx\n--b\n\ny\n--b\n\nz\n--b\n\n");
		else if (_i == 3)
			buf_printf(&body, "%sx%d: y\nx: z\nx: z\nx: z\nx: z\nx: z\nx: z\nx: z\nx: z\n", i ? "" : "--b\n", i);
		else
			buf_printf(&body, "%sx: y\n\n", i ? "" : STATUS);
	}
	ck_assert(!parse(REPORT, buf_str(&body), &r, why));
	report_clear(&r);
	buf_clear(&body);
}
END_TEST

/* ---- addresses ------------------------------------------------------------------------------------------------------- */

#define BASE "smime-reports@example.org"
#define TOKEN "0123456789abcdef0123456789abcdef"

static const struct {
	const char *recipient, *base;
	int64_t enrollment; /* -1: it is none */
} addresses[] = {
	{"smime-reports+e0-" TOKEN "@example.org", BASE, 0}, /* doctor's */
	{"smime-reports+e17-" TOKEN "@example.org", BASE, 17},
	{"smime-reports+e999999999-" TOKEN "@example.org", BASE, 999999999},
	{"SMIME-Reports+E17-0123456789ABCDEF0123456789abcdef@EXAMPLE.ORG", BASE, 17},
	{"smime-reports+e17-" TOKEN "@example.org", NULL, -1},
	{"smime-reports+e17-" TOKEN "@example.net", BASE, -1},
	{"smime-reports+e17-" TOKEN "@mail.example.org", BASE, -1},
	{"other+e17-" TOKEN "@example.org", BASE, -1},
	{"smime-reports@example.org", BASE, -1},
	{"smime-reports+e17@example.org", BASE, -1},
	{"smime-reports+17-" TOKEN "@example.org", BASE, -1},
	{"smime-reports-e17-" TOKEN "@example.org", BASE, -1},
	{"smime-reports+e-" TOKEN "@example.org", BASE, -1},
	{"smime-reports+e1x-" TOKEN "@example.org", BASE, -1},
	{"smime-reports+e9999999999999999999-" TOKEN "@example.org", BASE, -1},
	{"smime-reports+e17-0123456789abcdef0123456789abcde@example.org", BASE, -1},
	{"smime-reports+e17-" TOKEN "0@example.org", BASE, -1},
	{"smime-reports+e17-0123456789abcdef0123456789abcdeg@example.org", BASE, -1},
	{"smime-reports+e17-" TOKEN "+x@example.org", BASE, -1},
	{"\"smime-reports+e17-" TOKEN " \"@example.org", BASE, -1},
	{"", BASE, -1},
	{"postmaster", BASE, -1},
};

START_TEST(only_an_envelope_sender_of_ours_takes_reports)
{
	char token[REPORT_TOKEN_SIZE];
	int64_t enrollment = 0;
	bool is = report_address_read(addresses[_i].recipient, addresses[_i].base, &enrollment, token);

	ck_assert_msg(is == (addresses[_i].enrollment >= 0), "%s", addresses[_i].recipient);
	if (is) {
		ck_assert_int_eq(enrollment, addresses[_i].enrollment);
		ck_assert_str_eq(token, TOKEN);
	}
}
END_TEST

START_TEST(what_is_written_is_read_back)
{
	char out[ADDRESS_MAX], token[REPORT_TOKEN_SIZE];
	int64_t enrollment;

	ck_assert(report_address_write(out, "Bounce@Example.ORG", 4711, TOKEN));
	ck_assert_str_eq(out, "Bounce+e4711-" TOKEN "@example.org");
	ck_assert(report_address_read(out, "bounce@example.org", &enrollment, token));
	ck_assert_int_eq(enrollment, 4711);
	ck_assert_str_eq(token, TOKEN);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("report");
	TCase *t = tcase_create("report");
	SRunner *runner;
	int failed;

	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, a_report_is_read_and_nothing_else_is_one, 0, COUNT(cases));
	tcase_add_test(t, endless_words_are_cut_to_what_the_store_takes);
	tcase_add_loop_test(t, a_mail_made_to_hurt_is_read_or_refused, 0, 5);
	tcase_add_loop_test(t, only_an_envelope_sender_of_ours_takes_reports, 0, COUNT(addresses));
	tcase_add_test(t, what_is_written_is_read_back);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
