/*
 * tests/unit/test_challenge.c - the response to a challenge, the reply mail around it, and whether the mail may have been taken.
 *
 * The SMTP server is a thread on a loopback port that follows a script: at one stage it refuses, hangs up or falls silent.
 */
#include "config.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <check.h>

#include "enroll/ca.h"
#include "enroll/challenge.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

/* ---- key authorization --------------------------------------------------------------------------------------------- */

static const struct vector {
	const char *name, *part1, *part2, *thumbprint, *strings, *decoded;
} vectors[] = {
	{"tokens of 16 octets, whose two joins differ", "V4nE8NhYh6edBpfQTg5qqQ", "x6I65YvEk6xC4KV0QMvdJw",
		"hC4xyXNn8ZDH4yrcp93Zj3qgQs7LyT_GUL45YD7IVMQ", "gtzugYfQ1gO_Pi-ripWZTUtKP_xzPoQe-brDkSOvX5c",
		"Fjt2SD7KoqSt3I6jwgg8ljjkP9Er7h1w0wF0UihvQIU"},
	{"a padded token-part1 keeps its padding when joined as text", "LgYemJLy3F1LDkiJrdIGbEzyFJyOyf6vBdyZ1TG3sME=", "DGyRejmCefe7v4NfDGDKfA",
		"1_nKJnlH9boVxdoO63T8zP7O2w42qZL4d6xj35Hy5aI", "AjXW0h9_4YMP6Sv-9tKQNUrapI0us7ayBn0nCGOkUsk",
		"xyC6Z01DHFuV0pZgacdI2xN9nIKkPSARDv1gLbxY8Xk"},
	{"a token-part1 of 30 octets makes both joins agree", "ABxfL5s4bjvmyVRvl6y-Y_GhdzTdWpKqlmrKAIVe", "DGyRejmCefe7v4NfDGDKfA",
		"1_nKJnlH9boVxdoO63T8zP7O2w42qZL4d6xj35Hy5aI", "QSjV-GzgoB5hHOujux_P9HcqrAD_uAnNzyDv4JOE9Lg",
		"QSjV-GzgoB5hHOujux_P9HcqrAD_uAnNzyDv4JOE9Lg"},
	{"tokens of all zeros and nearly all ones", "AAAAAAAAAAAAAAAAAAAAAA", "_____________________w", "hC4xyXNn8ZDH4yrcp93Zj3qgQs7LyT_GUL45YD7IVMQ",
		"fjnsVDw10ZDT-9jeXwpNFoI3DvpXHdmsOvEAhOM4YLQ", "jmR5O3eumNAgncxvvVfE0940v41kfLCApe3PBAOTg9E"},
};

static void check_join(const struct vector *v, enum token_join join, const char *expected)
{
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;

	ck_assert_msg(ca_key_authorization(join, v->part1, v->part2, v->thumbprint, &out, &err), "%s: %s", v->name, err.text);
	ck_assert_msg(strcmp(buf_str(&out), expected) == 0, "%s: %s is not %s", v->name, buf_str(&out), expected);
	buf_clear(&out);
}

START_TEST(response_matches_vector)
{
	check_join(&vectors[_i], JOIN_STRINGS, vectors[_i].strings);
	check_join(&vectors[_i], JOIN_DECODED, vectors[_i].decoded);
}
END_TEST

static const struct {
	const char *name, *part1, *part2;
	enum token_join join;
} bad_tokens[] = {
	{"an empty token-part1", "", "DGyRejmCefe7v4NfDGDKfA", JOIN_STRINGS},
	{"a token-part1 under 128 bits", "DGyRejmCefe7v4NfDGDKf", "DGyRejmCefe7v4NfDGDKfA", JOIN_STRINGS},
	{"a token-part1 with a blank in it", "V4nE8NhYh6e dBpfQTg5qqQ", "DGyRejmCefe7v4NfDGDKfA", JOIN_STRINGS},
	{"a token-part1 with a line break", "V4nE8NhYh6edBpfQTg5qqQ\r\nBcc: x@y", "DGyRejmCefe7v4NfDGDKfA", JOIN_STRINGS},
	{"a token-part1 in plain base64", "V4nE8NhYh6+dBp/QTg5qqQ", "DGyRejmCefe7v4NfDGDKfA", JOIN_STRINGS},
	{"a token-part1 with a character of another script", "V4nE8NhYh6edBpfQTg5qqQ\xc3\xa9", "DGyRejmCefe7v4NfDGDKfA", JOIN_STRINGS},
	{"three padding characters", "V4nE8NhYh6edBpfQTg5qqQ===", "DGyRejmCefe7v4NfDGDKfA", JOIN_STRINGS},
	{"an empty token-part2", "V4nE8NhYh6edBpfQTg5qqQ", "", JOIN_STRINGS},
	{"a length that no base64 has, to be decoded", "V4nE8NhYh6edBpfQTg5qqQQQQ", "DGyRejmCefe7v4NfDGDKfA", JOIN_DECODED},
};

START_TEST(bad_token_is_refused)
{
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;

	ck_assert_msg(!ca_key_authorization(bad_tokens[_i].join, bad_tokens[_i].part1, bad_tokens[_i].part2, "x", &out, &err), "%s was taken",
		bad_tokens[_i].name);
	ck_assert_int_eq(err.class, ERR_POLICY);
	ck_assert_uint_eq(out.len, 0);
	buf_clear(&out);
}
END_TEST

START_TEST(endless_token_is_refused)
{
	char token[2000];
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;

	memset(token, 'A', sizeof token - 1);
	token[sizeof token - 1] = '\0';
	ck_assert(!ca_key_authorization(JOIN_STRINGS, token, "AAAA", "x", &out, &err));
	ck_assert_int_eq(err.class, ERR_POLICY);
	buf_clear(&out);
}
END_TEST

/* ---- the text of the mail ------------------------------------------------------------------------------------------ */

#define WHEN 1795334400 /* Sun, 22 Nov 2026 08:00:00 UTC */
#define RESPONSE "gtzugYfQ1gO_Pi-ripWZTUtKP_xzPoQe-brDkSOvX5c"

static const struct challenge genuine = {
	.token_part1 = (char *)(uintptr_t)"V4nE8NhYh6edBpfQTg5qqQ",
	.message_id = (char *)(uintptr_t)"<12345@ca.example>",
	.from = (char *)(uintptr_t)"acme-challenge@ca.example",
	.reply_to = (char *)(uintptr_t)"acme-reply+7@ca.example",
};

START_TEST(reply_is_exactly_this)
{
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;

	ck_assert_msg(challenge_reply(&out, "Alice.O'Hara@Example.ORG", &genuine, "<r1@example.org>", RESPONSE, WHEN, &err), "%s", err.text);
	ck_assert_str_eq(buf_str(&out), "From: Alice.O'Hara@example.org\r\n"
					"To: acme-reply+7@ca.example\r\n"
					"Subject: Re: ACME: V4nE8NhYh6edBpfQTg5qqQ\r\n"
					"Date: Sun, 22 Nov 2026 08:00:00 +0000\r\n"
					"Message-ID: <r1@example.org>\r\n"
					"In-Reply-To: <12345@ca.example>\r\n"
					"References: <12345@ca.example>\r\n"
					"Auto-Submitted: auto-replied\r\n"
					"MIME-Version: 1.0\r\n"
					"Content-Type: text/plain; charset=us-ascii\r\n"
					"Content-Transfer-Encoding: 7bit\r\n"
					"\r\n"
					"-----BEGIN ACME RESPONSE-----\r\n" RESPONSE "\r\n"
					"-----END ACME RESPONSE-----\r\n");
	buf_clear(&out);
}
END_TEST

START_TEST(without_reply_to_it_goes_to_from)
{
	struct challenge c = genuine;
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;

	c.reply_to = NULL;
	ck_assert(challenge_reply(&out, "alice@example.org", &c, "<r1@example.org>", RESPONSE, WHEN, &err));
	ck_assert_ptr_nonnull(strstr(buf_str(&out), "\r\nTo: acme-challenge@ca.example\r\n"));
	buf_clear(&out);
}
END_TEST

static const struct injection {
	const char *name, *address, *token, *message_id, *from, *reply_to, *own_id, *response;
} injections[] = {
	{.name = "a line break in the token", .token = "AAAAAAAAAAAAAAAAAAAAAAAA\r\nBcc: eve@evil.example"},
	{.name = "a line break in the Message-ID", .message_id = "<a@b>\r\nBcc: eve@evil.example"},
	{.name = "a bare line feed in the Message-ID", .message_id = "<a\nb@c>"},
	{.name = "two Message-IDs", .message_id = "<a@b> <c@d>"},
	{.name = "a Message-ID without brackets", .message_id = "a@b"},
	{.name = "a Message-ID that ends early", .message_id = "<a@b>x"},
	{.name = "an empty Message-ID", .message_id = ""},
	{.name = "8-bit characters in the Message-ID", .message_id = "<\xc3\xa9@b>"},
	{.name = "a line break in Reply-To", .reply_to = "a@b.example\r\nBcc: eve@evil.example"},
	{.name = "two addresses in Reply-To", .reply_to = "a@b.example, eve@evil.example"},
	{.name = "a display name in Reply-To", .reply_to = "CA <a@b.example>"},
	{.name = "an empty Reply-To", .reply_to = ""},
	{.name = "no address at all in Reply-To", .reply_to = "nobody"},
	{.name = "an address of ours that needs SMTPUTF8", .address = "j\xc3\xb6rg@example.org"},
	{.name = "a line break in our own address", .address = "alice@example.org\r\nX: y"},
	{.name = "a line break in our Message-ID", .own_id = "<a@b>\r\nX: y"},
	{.name = "a line break in the response", .response = "AAAA\r\n-----END ACME RESPONSE-----"},
	{.name = "an empty response", .response = ""},
};

START_TEST(injection_is_refused)
{
	const struct injection *n = &injections[_i];
	struct challenge c = genuine;
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;

	if (n->token)
		c.token_part1 = (char *)(uintptr_t)n->token;
	if (n->message_id)
		c.message_id = (char *)(uintptr_t)n->message_id;
	if (n->reply_to)
		c.reply_to = (char *)(uintptr_t)n->reply_to;
	ck_assert_msg(!challenge_reply(&out, n->address ? n->address : "alice@example.org", &c, n->own_id ? n->own_id : "<r1@example.org>",
			      n->response ? n->response : RESPONSE, WHEN, &err),
		"%s was taken: %s", n->name, buf_str(&out));
	ck_assert_msg(err.class == ERR_POLICY, "%s: class %s", n->name, err_class_name(err.class));
	ck_assert_uint_eq(out.len, 0);
	buf_clear(&out);
}
END_TEST

START_TEST(message_ids_differ_and_carry_the_domain)
{
	struct buf a = BUF_INIT, b = BUF_INIT;

	challenge_message_id(&a, "alice@example.org");
	challenge_message_id(&b, "alice@example.org");
	ck_assert_str_ne(buf_str(&a), buf_str(&b));
	ck_assert_ptr_nonnull(strstr(buf_str(&a), "@example.org>"));
	ck_assert_int_eq(buf_str(&a)[0], '<');
	buf_clear(&a);
	buf_clear(&b);
}
END_TEST

/* ---- the SMTP server ----------------------------------------------------------------------------------------------- */

enum stage { AT_GREETING, AT_EHLO, AT_MAIL, AT_RCPT, AT_DATA, AT_DOT, STAGES };

/* What to say at each stage: NULL = the usual good answer, "" = hang up, "silence" = say nothing more. */
struct script {
	const char *say[STAGES];
	bool hang_up_in_data; /* read one line of the content, then close */
};

static struct {
	int listener, fd;
	unsigned port;
	pthread_t thread;
	struct script script;
	struct buf seen, mail;
	bool starttls_asked;
} server;

static bool server_say(enum stage stage)
{
	static const char *const usual[STAGES] = {"220 sink.example ESMTP\r\n",
		"250-sink.example\r\n250-PIPELINING\r\n250-STARTTLS\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 DSN\r\n", "250 2.1.0 Ok\r\n",
		"250 2.1.5 Ok\r\n", "354 go on\r\n", "250 2.0.0 Ok: queued as 4XyZ\r\n"};
	const char *text = server.script.say[stage] ? server.script.say[stage] : usual[stage];

	if (strcmp(text, "silence") == 0) {
		char c;

		while (read(server.fd, &c, 1) > 0)
			continue;
		return false;
	}
	return *text && write(server.fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* One line with its CRLF; false at the end. */
static bool server_line(struct buf *line)
{
	char c;

	buf_reset(line);
	while (read(server.fd, &c, 1) == 1) {
		buf_putc(line, c);
		if (c == '\n')
			return true;
	}
	return false;
}

static bool server_content(struct buf *line)
{
	while (server_line(line)) {
		if (server.script.hang_up_in_data)
			return false;
		if (strcmp(line->data, ".\r\n") == 0)
			return server_say(AT_DOT);
		buf_puts(&server.mail, line->data[0] == '.' ? line->data + 1 : line->data);
	}
	return false;
}

static void server_dialogue(void)
{
	struct buf line = BUF_INIT;
	bool on = server_say(AT_GREETING);

	while (on && server_line(&line)) {
		buf_puts(&server.seen, line.data);
		if (strncasecmp(line.data, "EHLO", 4) == 0 || strncasecmp(line.data, "HELO", 4) == 0)
			on = server_say(AT_EHLO);
		else if (strncasecmp(line.data, "MAIL", 4) == 0)
			on = server_say(AT_MAIL);
		else if (strncasecmp(line.data, "RCPT", 4) == 0)
			on = server_say(AT_RCPT);
		else if (strncasecmp(line.data, "DATA", 4) == 0)
			on = server_say(AT_DATA) && (server.script.say[AT_DATA] || server_content(&line));
		else if (strncasecmp(line.data, "QUIT", 4) == 0)
			on = write(server.fd, "221 bye\r\n", 9) < 0;
		else
			on = write(server.fd, "502 what?\r\n", 11) == 11;
	}
	buf_clear(&line);
}

static void *server_run(void *arg)
{
	server.fd = accept(server.listener, NULL, NULL);
	if (server.fd >= 0) {
		server_dialogue();
		close(server.fd);
	}
	return NULL;
}

static void server_start(const struct script *script)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof sin;

	server.script = *script;
	server.listener = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(server.listener, (struct sockaddr *)&sin, sizeof sin), 0);
	ck_assert_int_eq(listen(server.listener, 4), 0);
	ck_assert_int_eq(getsockname(server.listener, (struct sockaddr *)&sin, &len), 0);
	server.port = ntohs(sin.sin_port);
	ck_assert_int_eq(pthread_create(&server.thread, NULL, server_run, NULL), 0);
}

static void server_stop(void)
{
	shutdown(server.listener, SHUT_RDWR);
	pthread_join(server.thread, NULL);
	close(server.listener);
}

static void server_clear(void)
{
	buf_clear(&server.seen);
	buf_clear(&server.mail);
}

static void mail_make(struct buf *mail)
{
	struct err err = ERR_INIT;

	ck_assert(challenge_reply(mail, "alice@example.org", &genuine, "<r1@example.org>", RESPONSE, WHEN, &err));
}

static enum reply_outcome send_asking(const struct script *script, const char *envelope_id, struct err *err)
{
	struct buf mail = BUF_INIT;
	enum reply_outcome outcome;

	mail_make(&mail);
	server_start(script);
	outcome = challenge_send("127.0.0.1", server.port, 1, "alice@example.org", "acme-reply+7@ca.example", envelope_id, &mail, err);
	server_stop();
	buf_clear(&mail);
	return outcome;
}

static enum reply_outcome send_with(const struct script *script, struct err *err)
{
	return send_asking(script, NULL, err);
}

START_TEST(accepted_mail_arrives_octet_by_octet)
{
	const struct script all_well = {.hang_up_in_data = false};
	struct buf mail = BUF_INIT;
	struct err err = ERR_INIT;

	mail_make(&mail);
	ck_assert_int_eq(send_with(&all_well, &err), REPLY_ACCEPTED);
	ck_assert_str_eq(buf_str(&server.mail), buf_str(&mail));
	ck_assert_ptr_nonnull(strstr(buf_str(&server.seen), "MAIL FROM:<alice@example.org>\r\n"));
	ck_assert_ptr_nonnull(strstr(buf_str(&server.seen), "RCPT TO:<acme-reply+7@ca.example>\r\n"));
	ck_assert_msg(!strstr(buf_str(&server.seen), "STARTTLS"), "STARTTLS was used on the loopback");
	buf_clear(&mail);
	server_clear();
}
END_TEST

START_TEST(delivery_reports_are_asked_for_where_they_are_offered)
{
	static const struct script offers = {.hang_up_in_data = false}, none = {.say[AT_EHLO] = "250-sink.example\r\n250 PIPELINING\r\n"};
	struct err err = ERR_INIT;

	ck_assert_int_eq(send_asking(&offers, "r1=x+y@example.org", &err), REPLY_ACCEPTED);
	/* RFC 3461 section 4: xtext writes '=' and '+' as hexadecimal. */
	ck_assert_msg(strstr(buf_str(&server.seen), " RET=HDRS") && strstr(buf_str(&server.seen), " ENVID=r1+3Dx+2By@example.org") &&
			      strstr(buf_str(&server.seen), " NOTIFY=SUCCESS,FAILURE,DELAY"),
		"%s", buf_str(&server.seen));
	server_clear();
	ck_assert_int_eq(send_asking(&offers, NULL, &err), REPLY_ACCEPTED);
	ck_assert_msg(!strstr(buf_str(&server.seen), "RET=") && !strstr(buf_str(&server.seen), "NOTIFY="), "%s", buf_str(&server.seen));
	server_clear();
	/* Nobody there who reports: the mail goes out all the same. */
	ck_assert_msg(send_asking(&none, "r1@example.org", &err) == REPLY_ACCEPTED, "%s", err.text);
	ck_assert_msg(!strstr(buf_str(&server.seen), "RET=") && !strstr(buf_str(&server.seen), "NOTIFY="), "%s", buf_str(&server.seen));
	server_clear();
}
END_TEST

static const struct trouble {
	const char *name;
	struct script script;
	enum reply_outcome expected;
	const char *words; /* of the server that must be in the error */
} troubles[] = {
	{"the server sends us away at once", {.say[AT_GREETING] = "554 5.3.2 closed for today\r\n"}, REPLY_NOT_SENT, ""},
	{"the server hangs up at once", {.say[AT_GREETING] = ""}, REPLY_NOT_SENT, ""},
	{"the server says something that is no SMTP", {.say[AT_GREETING] = "HTTP/1.1 400 Bad Request\r\n"}, REPLY_NOT_SENT, ""},
	{"the server is silent", {.say[AT_GREETING] = "silence"}, REPLY_NOT_SENT, ""},
	{"EHLO is refused for now", {.say[AT_EHLO] = "421 4.3.2 try later\r\n"}, REPLY_NOT_SENT, ""},
	{"EHLO is not answered", {.say[AT_EHLO] = "silence"}, REPLY_NOT_SENT, ""},
	{"the sender is refused", {.say[AT_MAIL] = "550 5.7.1 not you\r\n"}, REPLY_NOT_SENT, "not you"},
	{"the connection is cut at MAIL", {.say[AT_MAIL] = ""}, REPLY_NOT_SENT, ""},
	{"the recipient is refused", {.say[AT_RCPT] = "554 5.7.1 relay access denied\r\n"}, REPLY_NOT_SENT, "relay access denied"},
	{"the recipient is refused for now", {.say[AT_RCPT] = "451 4.7.1 greylisted\r\n"}, REPLY_NOT_SENT, "greylisted"},
	{"the connection is cut at RCPT", {.say[AT_RCPT] = ""}, REPLY_NOT_SENT, ""},
	{"DATA is refused", {.say[AT_DATA] = "452 4.3.1 disk full\r\n"}, REPLY_NOT_SENT, "disk full"},
	{"DATA is not answered", {.say[AT_DATA] = "silence"}, REPLY_NOT_SENT, ""},
	{"the connection is cut at DATA", {.say[AT_DATA] = ""}, REPLY_NOT_SENT, ""},
	{"the whole mail is refused", {.say[AT_DOT] = "550 5.7.26 unsigned\r\n"}, REPLY_NOT_SENT, "unsigned"},
	{"the whole mail is refused for now", {.say[AT_DOT] = "451 4.3.0 milter down\r\n"}, REPLY_NOT_SENT, "milter down"},
	{"the connection is cut after the dot", {.say[AT_DOT] = ""}, REPLY_IN_DOUBT, ""},
	{"the dot is not answered", {.say[AT_DOT] = "silence"}, REPLY_IN_DOUBT, ""},
	{"the dot is answered by nonsense", {.say[AT_DOT] = "hm\r\n"}, REPLY_IN_DOUBT, ""},
	{"the dot is answered by an intermediate reply", {.say[AT_DOT] = "354 more\r\n"}, REPLY_IN_DOUBT, ""},
	{"the connection is cut within the mail", {.hang_up_in_data = true}, REPLY_IN_DOUBT, ""},
};

START_TEST(trouble_has_the_right_outcome)
{
	const struct trouble *t = &troubles[_i];
	struct err err = ERR_INIT;
	int64_t begun = mono_ms();
	enum reply_outcome outcome = send_with(&t->script, &err);

	ck_assert_msg(outcome == t->expected, "%s: outcome %d instead of %d (%s)", t->name, outcome, t->expected, err.text);
	ck_assert_msg(err.class == ERR_TEMPORARY && *err.text, "%s: no error", t->name);
	ck_assert_msg(strstr(err.text, t->words) != NULL, "%s: \"%s\" is not in: %s", t->name, t->words, err.text);
	ck_assert_msg(mono_ms() - begun < 25000, "%s: took %ld ms", t->name, (long)(mono_ms() - begun));
	server_clear();
}
END_TEST

START_TEST(nobody_listening_is_not_sent)
{
	struct buf mail = BUF_INIT;
	struct err err = ERR_INIT;

	mail_make(&mail);
	server_start(&(struct script){.hang_up_in_data = false});
	server_stop();
	ck_assert_int_eq(challenge_send("127.0.0.1", server.port, 1, "alice@example.org", "a@ca.example", NULL, &mail, &err), REPLY_NOT_SENT);
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	buf_clear(&mail);
	server_clear();
}
END_TEST

static const struct {
	const char *name, *host, *from, *to;
	enum err_class class;
} envelopes[] = {
	{"a recipient with a line break", "127.0.0.1", "alice@example.org", "a@ca.example>\r\nRCPT TO:<eve@evil.example", ERR_POLICY},
	{"a sender with a line break", "127.0.0.1", "alice@example.org>\r\nQUIT", "a@ca.example", ERR_POLICY},
	{"an empty recipient", "127.0.0.1", "alice@example.org", "", ERR_POLICY},
	{"a host that libesmtp would misread", "::1", "alice@example.org", "a@ca.example", ERR_CONFIG},
};

START_TEST(bad_envelope_is_refused_before_connecting)
{
	struct buf mail = BUF_INIT;
	struct err err = ERR_INIT;

	mail_make(&mail);
	ck_assert_int_eq(challenge_send(envelopes[_i].host, 9, 1, envelopes[_i].from, envelopes[_i].to, NULL, &mail, &err), REPLY_NOT_SENT);
	ck_assert_msg(err.class == envelopes[_i].class, "%s: %s", envelopes[_i].name, err.text);
	buf_clear(&mail);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("challenge");
	TCase *t = tcase_create("reply");
	SRunner *runner;
	int failed;

	tcase_set_timeout(t, 30);
	tcase_add_loop_test(t, response_matches_vector, 0, COUNT(vectors));
	tcase_add_loop_test(t, bad_token_is_refused, 0, COUNT(bad_tokens));
	tcase_add_test(t, endless_token_is_refused);
	tcase_add_test(t, reply_is_exactly_this);
	tcase_add_test(t, without_reply_to_it_goes_to_from);
	tcase_add_loop_test(t, injection_is_refused, 0, COUNT(injections));
	tcase_add_test(t, message_ids_differ_and_carry_the_domain);
	tcase_add_test(t, accepted_mail_arrives_octet_by_octet);
	tcase_add_test(t, delivery_reports_are_asked_for_where_they_are_offered);
	tcase_add_loop_test(t, trouble_has_the_right_outcome, 0, COUNT(troubles));
	tcase_add_test(t, nobody_listening_is_not_sent);
	tcase_add_loop_test(t, bad_envelope_is_refused_before_connecting, 0, COUNT(envelopes));
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
