/*
 * enroll/doctor_reply.c - is the CA going to believe our reply?  Tried with a real mail.
 *
 * One of each domain is handed to the reply listener, addressed to a domain of ours alone (doctor.invalid) that the sample configuration routes back to a loopback
 * port, where a receiver of ours (sink.c) looks at the DKIM-Signature that was put on it (RFC 8823 section 3.2 names the fields it has to cover).
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
#define DOMAINS_MOST 20u

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

/* ---- one trial a domain --------------------------------------------------------------------------------------------------------------- */

struct trial {
	const char *domain;
	struct buf id;
	bool sent;
};

static const char to[] = "reply@doctor.invalid";

/* A listener that cannot be reached is so for every domain: then false, and no other one is tried. */
static bool send_trial(json_t *checks, const struct config *c, struct trial *t, const struct trial_report *report)
{
	struct challenge trial = {.from = (char *)to, .message_id = (char *)"<trial@doctor.invalid>", .token_part1 = (char *)"ZG9jdG9yLXRyaWFsLXRva2Vu"};
	struct buf mail = BUF_INIT;
	struct err err = ERR_INIT;
	char from[300];

	snprintf(from, sizeof from, "postmaster@%.255s", t->domain);
	challenge_message_id(&t->id, from);
	t->sent = challenge_reply(&mail, from, &trial, buf_str(&t->id), "trial", time(NULL), &err) &&
		challenge_send(c->reply_host, c->reply_port, c->reply_timeout, report ? report->from : from, trial.from, report ? "doctor" : NULL, &mail, &err) ==
			REPLY_ACCEPTED;
	if (!t->sent)
		check_add(checks, "reply-path", "fault", "the reply listener %s:%u does not take mail from %s: %s", c->reply_host, c->reply_port, t->domain, err.text);
	buf_clear(&mail);
	return t->sent || strncmp(err.type, "smtp-", 5) == 0;
}

static void say_lost(json_t *checks, const char *domain, bool first)
{
	check_add(checks, "reply-path", "warning", "the reply listener took a trial mail from %s, but it did not come back to 127.0.0.1:%u, so it could not be looked at",
		domain, SINK_PORT);
	if (!first)
		return; /* what mends the first mends them all */
	check_fix(checks, FIX_COMMAND, "", "%s", FIX_TRIAL_ROUTE);
	check_fix(checks, FIX_COMMAND, "", "%s", FIX_POSTFIX_RELOAD);
}

static void judge(json_t *checks, struct enroll_parts *p, const struct trial *trials, const struct sink_mail *mails, size_t n)
{
	bool lost = false;

	for (size_t i = 0; i < n; i++) {
		if (!trials[i].sent)
			continue;
		if (!mails[i].came) {
			say_lost(checks, trials[i].domain, !lost);
			lost = true;
		} else if (mails[i].signature.len == 0) {
			check_add(checks, "reply-path", "fault", "replies from %s leave without a DKIM signature: CAs refuse them; is OpenDKIM the milter of the reply listener, "
				"and is this domain in its SigningTable?", trials[i].domain);
		} else {
			judge_signature(checks, p, buf_str(&mails[i].signature), trials[i].domain);
		}
	}
}

/* One mail a domain, all of them before the first is waited for.  Only the first asks for a delivery report: their way is the same for all. */
static void try_domains(json_t *checks, struct enroll_parts *p, struct sink *sink)
{
	const struct config *c = p->config;
	struct trial trials[DOMAINS_MOST] = {0};
	struct sink_mail mails[DOMAINS_MOST] = {0};
	struct trial_report report;
	bool asks = doctor_report_begin(checks, p, &report), goes_on = true;
	size_t n = 0;

	for (; goes_on && n < c->domains.n && n < DOMAINS_MOST; n++) {
		trials[n].domain = c->domains.v[n];
		goes_on = send_trial(checks, c, &trials[n], asks && n == 0 ? &report : NULL);
		mails[n].message_id = trials[n].sent ? buf_str(&trials[n].id) : NULL;
	}
	sink_wait(sink, mails, n, WAIT_MS);
	judge(checks, p, trials, mails, n);
	if (goes_on && n < c->domains.n)
		check_add(checks, "reply-path", "ok", "%zu more domains were not tried, from %s on: %u are the most", c->domains.n - n, c->domains.v[n], DOMAINS_MOST);
	if (asks)
		doctor_report_end(checks, p, &report, trials[0].sent && mails[0].came);
	for (size_t i = 0; i < n; i++) {
		buf_clear(&trials[i].id);
		buf_clear(&mails[i].signature);
	}
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
	try_domains(checks, p, sink);
	sink_close(sink);
}
