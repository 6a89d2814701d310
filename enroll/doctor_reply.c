/*
 * enroll/doctor_reply.c - is the CA going to believe our reply?  Tried with a real mail.
 *
 * It is handed to the reply listener, addressed to a domain of ours alone (doctor.invalid) that the sample configuration routes back to a loopback
 * port, where a one-shot receiver (sink.c) looks at the DKIM-Signature that was put on it (RFC 8823 section 3.2 names the fields it has to cover).
 */
#include "config.h"

#include "enroll/doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "enroll/challenge.h"
#include "enroll/sink.h"

#define WAIT_MS 15000

_Static_assert(FIX_TRIAL_PORT == SINK_PORT, "the route that is named leads to where we listen");

static const char *const reply_fields[] = {"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "In-Reply-To", "References", "Message-ID",
	"Content-Type", "Content-Transfer-Encoding"};

/* Is `field` a member of the colon-separated h= list? */
static bool listed(const char *list, size_t len, const char *field)
{
	const char *end = list + len;

	while (list < end) {
		const char *colon = memchr(list, ':', (size_t)(end - list)), *stop = colon ? colon : end, *last = stop;

		while (list < last && strchr(" \t\r\n", *list))
			list++;
		while (last > list && strchr(" \t\r\n", last[-1]))
			last--;
		if ((size_t)(last - list) == strlen(field) && strncasecmp(list, field, strlen(field)) == 0)
			return true;
		list = stop + 1;
	}
	return false;
}

/* The value of a tag in a DKIM-Signature (RFC 6376 section 3.2), up to its semicolon. */
static const char *tag_value(const char *signature, const char *tag, size_t *len)
{
	for (const char *p = signature; p; p = strchr(p, ';')) {
		p += *p == ';';
		p += strspn(p, " \t\r\n");
		if (strncmp(p, tag, strlen(tag)) == 0 && p[strlen(tag) + strspn(p + strlen(tag), " \t")] == '=') {
			p = strchr(p, '=') + 1;
			*len = strcspn(p, ";");
			return p;
		}
		if (!*p)
			break;
	}
	return NULL;
}

static void judge_signature(json_t *checks, struct enroll_parts *p, const char *signature, const char *domain)
{
	size_t h_len = 0, d_len = 0, s_len = 0;
	const char *h = tag_value(signature, "h", &h_len), *d = tag_value(signature, "d", &d_len), *s = tag_value(signature, "s", &s_len);
	char selector[256];
	struct buf missing = BUF_INIT;

	for (size_t i = 0; i < sizeof reply_fields / sizeof *reply_fields; i++)
		if (!h || !listed(h, h_len, reply_fields[i]))
			buf_printf(&missing, " %s", reply_fields[i]);
	if (!d || d_len != strlen(domain) || strncasecmp(d, domain, d_len) != 0)
		check_add(checks, "reply-path", "fault", "the reply is DKIM-signed for d=%.*s, the CA wants d=%s", (int)(d_len < 200 ? d_len : 200), d ? d : "", domain);
	else if (missing.len)
		check_add(checks, "reply-path", "fault", "the DKIM signature on replies does not cover:%s; set SignHeaders and OversignHeaders of the reply listener's OpenDKIM",
			buf_str(&missing));
	else
		check_add(checks, "reply-path", "ok", "a trial reply came back DKIM-signed by %s over all fields that RFC 8823 names", domain);
	buf_clear(&missing);
	snprintf(selector, sizeof selector, "%.*s", (int)strcspn(s ? s : "", "; \t\r\n"), s ? s : "");
	doctor_dkim_key(checks, p, selector, domain);
}

static void say_lost(json_t *checks)
{
	check_add(checks, "reply-path", "warning", "the reply listener took a trial mail, but it did not come back to 127.0.0.1:%u, so it could not be looked at", SINK_PORT);
	check_fix(checks, FIX_COMMAND, "", "%s", FIX_TRIAL_ROUTE);
	check_fix(checks, FIX_COMMAND, "", "%s", FIX_POSTFIX_RELOAD);
}

static void try_reply(json_t *checks, struct enroll_parts *p, struct sink *sink)
{
	const struct config *c = p->config;
	struct challenge trial = {.from = (char *)"reply@doctor.invalid", .message_id = (char *)"<trial@doctor.invalid>",
		.token_part1 = (char *)"ZG9jdG9yLXRyaWFsLXRva2Vu"};
	struct buf mail = BUF_INIT, id = BUF_INIT, signature = BUF_INIT;
	struct trial_report report;
	struct err err = ERR_INIT;
	char from[300];
	bool asks = doctor_report_begin(checks, p, &report), sent = false;

	snprintf(from, sizeof from, "postmaster@%.255s", c->domains.v[0]);
	challenge_message_id(&id, from);
	if (!challenge_reply(&mail, from, &trial, buf_str(&id), "trial", time(NULL), &err) ||
		challenge_send(c->reply_host, c->reply_port, c->reply_timeout, asks ? report.from : from, trial.from, asks ? "doctor" : NULL, &mail,
			&err) != REPLY_ACCEPTED)
		check_add(checks, "reply-path", "fault", "the reply listener %s:%u does not take mail: %s", c->reply_host, c->reply_port, err.text);
	else if (!(sent = sink_wait(sink, buf_str(&id), WAIT_MS, &signature)))
		say_lost(checks);
	else if (signature.len == 0)
		check_add(checks, "reply-path", "fault", "replies leave without a DKIM signature: CAs refuse them; is OpenDKIM the milter of the reply listener?");
	else
		judge_signature(checks, p, buf_str(&signature), c->domains.v[0]);
	if (asks)
		doctor_report_end(checks, p, &report, sent);
	buf_clear(&mail);
	buf_clear(&id);
	buf_clear(&signature);
}

void doctor_reply_path(json_t *checks, struct enroll_parts *p)
{
	struct err err = ERR_INIT;
	struct sink *sink;

	if (p->config->domains.n == 0)
		return;
	sink = sink_open(&err);
	if (!sink) {
		check_add(checks, "reply-path", "warning", "cannot be tried: %s", err.text);
		return;
	}
	try_reply(checks, p, sink);
	sink_close(sink);
}
