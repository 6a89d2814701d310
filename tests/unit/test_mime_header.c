/*
 * tests/unit/test_mime_header.c - the header of what is signed: structure fields, protected fields (RFC 9788); and parts found by their type.
 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "milter/mime.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static struct err err;

/* Lines that begin with a blank belong to the field before. */
static struct headers headers_of(const char *text)
{
	struct headers h = {0};
	char *copy = strdup(text), *line = copy;

	while (*line != '\0') {
		char *end = line, *colon = strchr(line, ':');

		do
			end = end + 1 + strcspn(end + 1, "\n");
		while (*end != '\0' && (end[1] == ' ' || end[1] == '\t'));
		*colon = '\0';
		if (*end != '\0')
			*end++ = '\0';
		ck_assert(headers_add(&h, line, colon + 1));
		line = end;
	}
	free(copy);
	return h;
}

static struct spool *spool_of(const char *text)
{
	struct spool *s = spool_new("/tmp", &err);

	ck_assert(spool_write(s, text, strlen(text), &err));
	return s;
}

static bool gather(void *arg, const void *data, size_t len, struct err *e)
{
	buf_append(arg, data, len);
	return true;
}

/* ---- headers --------------------------------------------------------------------------------------------------------- */

#define HP ";\r\n\thp=\"clear\"\r\n"

static const struct {
	const char *name, *header, *plain, *protected;
} entities[] = {
	{"a mail of today",
		"Received: from x\n\tby y\nDate: Mon, 1 Jan 2026 00:00:00 +0000\nFrom: A <a@b.example>\nTo: c@d.example,\n e@f.example\nSubject: Hi\nMIME-Version: 1.0\n"
		"Content-Type: text/html; charset=utf-8\nX-Mailer: m\nMessage-ID: <1@b.example>",
		"Content-Type: text/html; charset=utf-8\r\n\r\n",
		"Date: Mon, 1 Jan 2026 00:00:00 +0000\r\nFrom: A <a@b.example>\r\nTo: c@d.example,\r\n e@f.example\r\nSubject: Hi\r\n"
		"Content-Type: text/html; charset=utf-8" HP "Message-ID: <1@b.example>\r\n\r\n"},
	{"no structure at all", "Subject: x\nFrom: a@b", "Content-Type: text/plain; charset=us-ascii\r\n\r\n",
		"Subject: x\r\nFrom: a@b\r\nContent-Type: text/plain; charset=us-ascii" HP "\r\n"},
	{"structure stays as it came", "content-TYPE:text/plain;\n\tx=\"a;b\" ;\nContent-Transfer-Encoding:  7bit",
		"content-TYPE:text/plain;\r\n\tx=\"a;b\" ;\r\nContent-Transfer-Encoding:  7bit\r\n\r\n",
		"content-TYPE:text/plain;\r\n\tx=\"a;b\"" HP "Content-Transfer-Encoding:  7bit\r\n\r\n"},
	{"blanks at the end do not reach everybody", "Subject: x  \t\nContent-Type: text/plain", "Content-Type: text/plain\r\n\r\n",
		"Subject: x\r\nContent-Type: text/plain" HP "\r\n"},
	{"an empty subject", "Subject:\nContent-Type: text/plain", "Content-Type: text/plain\r\n\r\n", "Subject:\r\nContent-Type: text/plain" HP "\r\n"},
};

START_TEST(entity_begins_with_its_structure)
{
	struct headers h = headers_of(entities[_i].header);
	struct buf plain = BUF_INIT, protected = BUF_INIT;
	const char *why;

	mime_entity_header(&plain, &h, false);
	ck_assert_str_eq(buf_str(&plain), entities[_i].plain);
	ck_assert_msg(mime_can_protect(&h, &why), "%s: %s", entities[_i].name, why);
	mime_entity_header(&protected, &h, true);
	ck_assert_str_eq(buf_str(&protected), entities[_i].protected);
	buf_clear(&plain);
	buf_clear(&protected);
	headers_clear(&h);
}
END_TEST

static const struct {
	const char *header, *why; /* NULL: protected */
} protections[] = {
	{"Subject: x\nX-Other: \xc3\xa4", NULL},
	{"Received: \xc3\xa4", NULL},
	{"Subject: \xc3\xa4", "8-bit header"},
	{"From: \xc3\xa4@b.example\nSubject: x", "8-bit header"},
	{"Subject: a \n b", "folded behind blanks"},
	{"Subject: a\rb", "control characters"},
	{"Subject: x\nContent-Type: text", "unusual Content-Type"},
	{"Subject: x\nContent-Type: text/plain (this; is)", "unusual Content-Type"},
	{"Subject: x\nContent-Type: text/plain; name=\"a;b", "unusual Content-Type"},
	{"Subject: x\nContent-Type: text/plain; x; charset=utf-8", "unusual Content-Type"},
	{"Subject: x\nContent-Type: text/plain; hp=\"clear\"", "already"},
	{"Subject: x\nContent-Type: multipart/mixed; boundary=\"a b;\\\" c\";", NULL},
	/* One more parameter would become a part of the last one. */
	{"Subject: x\nContent-Type: multipart/mixed; boundary=\"a", "unusual Content-Type"},
	{"Subject: x\nContent-Type: multipart/mixed; boundary=\"a;", "unusual Content-Type"},
	{"Subject: x\nContent-Type: multipart/mixed; boundary=\"a\\\"", "unusual Content-Type"},
	{"Subject: x\nContent-Type: multipart/mixed; boundary=a\\", "unusual Content-Type"},
	{"Subject: x\nContent-Type: text/plain; charset=", "unusual Content-Type"},
};

START_TEST(only_what_stays_as_it_is_gets_protected)
{
	struct headers h = headers_of(protections[_i].header);
	const char *why = "what stood there";

	ck_assert_msg(mime_can_protect(&h, &why) == !protections[_i].why, "%s: %s", protections[_i].header, why);
	if (protections[_i].why)
		ck_assert_msg(strstr(why, protections[_i].why), "%s: %s", protections[_i].header, why);
	else
		ck_assert_ptr_null(why);
	headers_clear(&h);
}
END_TEST

START_TEST(a_long_line_is_not_protected)
{
	struct headers h = {0};
	char value[1100];
	const char *why;

	memset(value, 'x', sizeof value - 1);
	value[sizeof value - 1] = '\0';
	ck_assert(headers_add(&h, "Subject", value));
	ck_assert(!mime_can_protect(&h, &why));
	ck_assert_ptr_nonnull(strstr(why, "long lines"));
	headers_clear(&h);
}
END_TEST

static const struct {
	const char *name, *header, *body, *holds[4];
} reencodings[] = {
	{"text in UTF-8", "Subject: x\nContent-Type: text/plain; charset=utf-8", "Hello, gr\xc3\xbc\xc3\x9f" "e\r\n",
		{"Subject: x\r\n", "charset=utf-8;\r\n\thp=\"clear\"\r\n", "Content-Transfer-Encoding: quoted-printable\r\n\r\nHello, gr=C3=BC=C3=9Fe\r\n"}},
	{"text nobody described", "Subject: x", "Hello, gr\xc3\xbc\xc3\x9f" "e\r\n",
		{"Subject: x\r\nContent-Type: text/plain;\r\n\thp=\"clear\";\r\n\tcharset=utf-8\r\n", "\r\n\r\nHello, gr=C3=BC=C3=9Fe\r\n"}},
	{"blanks at a line's end", "To: a@b\nSubject: x", "a \r\nb\r\n",
		{"To: a@b\r\nSubject: x\r\nContent-Type: text/plain;\r\n\thp=\"clear\"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na=20\r\nb\r\n"}},
	{"a multipart", "From: a@b\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit", "--b\r\n\r\nan \xe4 it is\r\n--b--\r\n",
		{"From: a@b\r\nContent-Type: multipart/mixed; boundary=b;\r\n\thp=\"clear\"\r\nContent-Transfer-Encoding: 7bit\r\n\r\n--b\r\n", "\r\nan =E4 it is\r\n--b--\r\n"}},
};

START_TEST(protected_fields_go_through_the_reencoding)
{
	struct headers h = headers_of(reencodings[_i].header);
	struct spool *in = spool_of(reencodings[_i].body), *out = spool_of("");
	struct buf have = BUF_INIT;

	ck_assert_msg(mime_reencode(&h, true, in, out, NULL, &err), "%s: %s", reencodings[_i].name, err.text);
	ck_assert(spool_each(out, gather, &have, &err));
	for (int i = 0; reencodings[_i].holds[i]; i++)
		ck_assert_msg(strstr(buf_str(&have), reencodings[_i].holds[i]), "%s: %s is missing in\n%s", reencodings[_i].name, reencodings[_i].holds[i],
			buf_str(&have));
	buf_clear(&have);
	spool_free(in);
	spool_free(out);
	headers_clear(&h);
}
END_TEST

/* ---- parts by type ---------------------------------------------------------------------------------------------------- */

#define BLANKS "                                                                "
#define ALTERNATIVE "Content-Type: multipart/alternative; boundary=b"

static const struct {
	const char *name, *header, *body;
	bool watched, has;
} parts[] = {
	{"an invitation", ALTERNATIVE, "--b\r\n\r\nx\r\n--b\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN\r\n--b--\r\n", true, true},
	{"in capitals", ALTERNATIVE, "--b\r\nCONTENT-TYPE:TEXT/CALENDAR\r\n\r\nBEGIN\r\n--b--\r\n", true, true},
	{"folded behind the colon", ALTERNATIVE, "--b\r\nContent-Type:\r\n text/calendar\r\n\r\nBEGIN\r\n--b--\r\n", true, true},
	{"behind a comment", ALTERNATIVE, "--b\r\nContent-Type: (what?) text/calendar\r\n\r\nBEGIN\r\n--b--\r\n", true, true},
	{"with blanks around the slash", ALTERNATIVE, "--b\r\nContent-Type: text / calendar\r\n\r\nBEGIN\r\n--b--\r\n", true, true},
	{"folded behind the slash", ALTERNATIVE, "--b\r\nContent-Type: text/ \r\n calendar\r\n\r\nBEGIN\r\n--b--\r\n", true, true},
	{"with a comment before the slash", ALTERNATIVE, "--b\r\nContent-Type: text(what?)/calendar\r\n\r\nBEGIN\r\n--b--\r\n", true, true},
	{"with many blanks in front of the colon", ALTERNATIVE, "--b\r\nContent-Type" BLANKS ": text/calendar\r\n\r\nBEGIN\r\n--b--\r\n", true, true},
	{"with many blanks behind the colon", ALTERNATIVE, "--b\r\nContent-Type:" BLANKS "text/calendar\r\n\r\nBEGIN\r\n--b--\r\n", true, true},
	{"no such part", ALTERNATIVE, "--b\r\nContent-Type: text/html\r\n\r\nBEGIN\r\n--b--\r\n", false, false},
	{"only spoken of", ALTERNATIVE, "--b\r\n\r\nContent-Type: text/calendar\r\nis what I mean\r\n--b--\r\n", true, false},
	{"a forwarded one", ALTERNATIVE, "--b\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: text/calendar\r\n\r\nBEGIN\r\n--b--\r\n", true, false},
	{"a type that begins like it", ALTERNATIVE, "--b\r\nContent-Type: text/calendars\r\n\r\nBEGIN\r\n--b--\r\n", true, false},
	{"deeper", "Content-Type: multipart/mixed; boundary=a",
		"--a\r\n" ALTERNATIVE "\r\n\r\n--b\r\nContent-Type: text/calendar\r\n\r\nBEGIN\r\n--b--\r\n--a--\r\n", true, true},
	{"not a multipart at all", "Subject: x", "Content-Type: text/calendar\r\n\r\nBEGIN\r\n", true, false},
	{"any image", "Content-Type: multipart/mixed; boundary=a", "--a\r\nContent-Type: image/png\r\n\r\nBEGIN\r\n--a--\r\n", true, true},
};

static bool calendar_or_image(const struct strlist *types)
{
	for (size_t i = 0; i < types->n; i++)
		if (strcmp(types->v[i], "text/calendar") == 0 || strncmp(types->v[i], "image/", 6) == 0)
			return true;
	return false;
}

START_TEST(parts_are_found_by_their_type)
{
	struct strlist watch = {0}, types = {0};
	struct headers h = headers_of(parts[_i].header);
	struct spool *body = spool_of(parts[_i].body);
	size_t len = strlen(parts[_i].body);

	ck_assert(strlist_add(&watch, "text/calendar") && strlist_add(&watch, "image/*"));
	for (size_t piece = 1; piece <= len; piece += len - 1) {
		struct mime_scan scan = {.watch = &watch};

		for (size_t at = 0; at < len; at += piece)
			mime_scan_feed(&scan, parts[_i].body + at, len - at < piece ? len - at : piece);
		mime_scan_finish(&scan);
		ck_assert_msg(scan.watched == parts[_i].watched, "%s, by %zu octets", parts[_i].name, piece);
	}
	ck_assert(mime_part_types(&h, body, &types, &err));
	ck_assert_msg(calendar_or_image(&types) == parts[_i].has, "%s", parts[_i].name);
	ck_assert(!strlist_has(&types, MIME_ANY_TYPE));
	strlist_clear(&types);
	strlist_clear(&watch);
	spool_free(body);
	headers_clear(&h);
}
END_TEST

/* Who asks for these gets to see parts that do not say what they are. */
START_TEST(types_by_default_are_always_looked_for)
{
	static const char *const types[] = {"text/plain", "text/*", "message/rfc822", "message/*"};
	char text[128];

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct strlist watch = {0};
		struct mime_scan scan = {.watch = &watch};

		ck_assert(strlist_add(&watch, types[i]));
		mime_scan_feed(&scan, "--b\r\n\r\nx\r\n--b--\r\n", 17);
		mime_scan_finish(&scan);
		ck_assert_msg(scan.watched, "%s", types[i]);
		strlist_clear(&watch);
	}
	mime_content_type("", text, NULL, NULL);
	ck_assert_str_eq(text, "text/plain");
	mime_content_type(" text", text, NULL, NULL);
	ck_assert_str_eq(text, "text/plain");
	mime_content_type(" application/octet-stream", text, NULL, NULL);
	ck_assert_str_eq(text, "application/octet-stream");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mime_header");
	TCase *tc = tcase_create("header");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tc, entity_begins_with_its_structure, 0, COUNT(entities));
	tcase_add_loop_test(tc, only_what_stays_as_it_is_gets_protected, 0, COUNT(protections));
	tcase_add_test(tc, a_long_line_is_not_protected);
	tcase_add_loop_test(tc, protected_fields_go_through_the_reencoding, 0, COUNT(reencodings));
	tcase_add_loop_test(tc, parts_are_found_by_their_type, 0, COUNT(parts));
	tcase_add_test(tc, types_by_default_are_always_looked_for);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
