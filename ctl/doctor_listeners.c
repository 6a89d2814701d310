/*
 * ctl/doctor_listeners.c - `doctor`: what else of Postfix matters: who may write as whom, mail of this host, and the listeners for replies and reports.
 */
#include "config.h"

#include "ctl/doctor.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_smtpd(const struct postfix_service *s)
{
	return strcmp(s->command, "smtpd") == 0 && strcmp(s->type, "inet") == 0;
}

static bool has_socket(const struct postfix *p, const struct postfix_service *s, const char *parameter, const char *socket)
{
	struct postfix_milters l;
	bool found;

	postfix_milters_read(postfix_value(p, s, parameter), &l);
	found = postfix_milters_find(&l, socket) >= 0;
	postfix_milters_clear(&l);
	return found;
}

/* The list without our sockets. */
static void without_ours(struct doctor *d, const char *list, struct buf *out)
{
	struct postfix_milters l, rest = {0};

	postfix_milters_read(list, &l);
	rest.v = calloc(l.n ? l.n : 1, sizeof *rest.v);
	for (size_t i = 0; rest.v && i < l.n; i++)
		if (!postfix_milter_is(&l.v[i], d->config->milter.outbound_socket) && !postfix_milter_is(&l.v[i], d->config->milter.inbound_socket))
			rest.v[rest.n++] = l.v[i]; /* borrowed */
	postfix_milters_write(&rest, out);
	free(rest.v);
	postfix_milters_clear(&l);
}

/* ---- mail that programs of this host hand in ---------------------------------------------------------------------------------- */

void doctor_postfix_local(struct doctor *d)
{
	const struct postfix *p = doctor_postfix(d);
	bool ours;
	struct buf rest = BUF_INIT;

	if (!p)
		return;
	ours = has_socket(p, NULL, "non_smtpd_milters", d->config->milter.outbound_socket);
	if (ours && *postfix_value(p, NULL, "internal_mail_filter_classes")) {
		doctor_say(d, "fault", "internal_mail_filter_classes has Postfix's own notices and bounces go through non_smtpd_milters, our outbound socket among them");
		postfix_fix(d, NULL, false, "internal_mail_filter_classes", "");
		postfix_reload_fix(d);
	} else if (ours) {
		doctor_say(d, "warning", "non_smtpd_milters has the outbound socket: mail of sendmail(1) has no login that could own its sender, and is never signed");
		without_ours(d, postfix_value(p, NULL, "non_smtpd_milters"), &rest);
		postfix_fix(d, NULL, false, "non_smtpd_milters", buf_str(&rest));
		postfix_reload_fix(d);
	} else {
		doctor_say(d, "ok", "mail of sendmail(1) and Postfix's own notices pass by us");
	}
	buf_clear(&rest);
}

/* ---- who may write as whom ------------------------------------------------------------------------------------------------------ */

static bool restricts_senders(const struct postfix *p, const struct postfix_service *s)
{
	static const char *const lists[] = {"smtpd_client_restrictions", "smtpd_helo_restrictions", "smtpd_sender_restrictions", "smtpd_relay_restrictions",
		"smtpd_recipient_restrictions", "smtpd_data_restrictions"};

	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
		if (strstr(postfix_value(p, s, lists[i]), "sender_login_mismatch"))
			return true;
	return false;
}

static bool look_at_login(struct doctor *d, const struct postfix *p, const struct postfix_service *s)
{
	const char *maps = postfix_value(p, s, "smtpd_sender_login_maps"), *senders = postfix_value(p, s, "smtpd_sender_restrictions");
	struct buf value = BUF_INIT;

	if (*maps && restricts_senders(p, s))
		return false;
	if (!*maps) {
		doctor_say(d, "warning", "%s: smtpd_sender_login_maps is empty, so every login may use every sender. What it does not own is not signed, but leaves: tell Postfix "
			"which addresses a login has, see SASL_README of Postfix", s->name);
	} else {
		doctor_say(d, "warning", "%s: nothing keeps a login from using another one's sender. That is not signed, but it leaves", s->name);
		buf_printf(&value, "reject_authenticated_sender_login_mismatch%s%s", *senders ? "," : "", senders);
		postfix_fix(d, s, true, "smtpd_sender_restrictions", buf_str(&value));
		postfix_reload_fix(d);
	}
	buf_clear(&value);
	return true;
}

void doctor_postfix_login(struct doctor *d)
{
	const struct postfix *p = doctor_postfix(d);
	size_t said = 0;

	for (size_t i = 0; p && i < p->n; i++)
		if (is_smtpd(&p->v[i]) && has_socket(p, &p->v[i], "smtpd_milters", d->config->milter.outbound_socket) &&
			strcmp(postfix_value(p, &p->v[i], "smtpd_sasl_auth_enable"), "yes") == 0)
			said += look_at_login(d, p, &p->v[i]);
	if (p && !said)
		doctor_say(d, "ok", "Postfix refuses senders that are not the login's");
}

/* ---- the listener for replies ----------------------------------------------------------------------------------------------------- */

static const struct postfix_service *listener_at(const struct postfix *p, const char *host, unsigned port)
{
	char names[4][300];

	snprintf(names[0], sizeof names[0], "%.255s:%u", host, port);
	snprintf(names[1], sizeof names[1], "[%.255s]:%u", host, port);
	snprintf(names[2], sizeof names[2], "localhost:%u", port);
	snprintf(names[3], sizeof names[3], "%u", port);
	for (size_t k = 0; k < 4; k++)
		for (size_t i = 0; i < p->n; i++)
			if (strcmp(p->v[i].type, "inet") == 0 && strcmp(p->v[i].name, names[k]) == 0)
				return &p->v[i];
	return NULL;
}

/* A signer's socket that other listeners have, to begin with; which fields it signs is seen by a trial reply. */
static void guess_signer(const struct postfix *p, struct buf *out)
{
	for (size_t i = 0; i < p->n && !out->len; i++) {
		struct postfix_milters l;

		postfix_milters_read(postfix_value(p, &p->v[i], "smtpd_milters"), &l);
		for (size_t k = 0; k < l.n && !out->len; k++)
			if (strcasestr(l.v[k].where, "dkim"))
				buf_puts(out, l.v[k].where);
		postfix_milters_clear(&l);
	}
	if (!out->len)
		buf_puts(out, "unix:opendkim/reply.sock");
}

/* A new listener as examples/postfix has it; `options` are closed by NULL. */
static void add_listener_fix(struct doctor *d, const struct postfix *p, const char *name, const char *milter, const char *const *options)
{
	bool chroot = false;
	struct buf whole = BUF_INIT, first = BUF_INIT;

	for (size_t i = 0; i < p->n; i++)
		chroot = chroot || (strcmp(p->v[i].command, "smtpd") == 0 && p->v[i].chroot);
	doctor_fix(d, "postconf -M '%s/inet=%s inet n - %c - - smtpd'", name, name, chroot ? 'y' : 'n');
	buf_printf(&whole, "%s/inet/smtpd_milters=%s", name, milter);
	doctor_quote(&first, buf_str(&whole));
	doctor_fix(d, "postconf -P %s", buf_str(&first));
	buf_clear(&first);
	for (; *options; options++) {
		struct buf quoted = BUF_INIT;

		buf_reset(&whole);
		buf_printf(&whole, "%s/inet/%s", name, *options);
		doctor_quote(&quoted, buf_str(&whole));
		doctor_fix(d, "postconf -P %s", buf_str(&quoted));
		buf_clear(&quoted);
	}
	postfix_reload_fix(d);
	buf_clear(&whole);
}

static void say_no_reply_listener(struct doctor *d, const struct postfix *p)
{
	static const char *const options[] = {"content_filter=", "always_bcc=", "smtpd_tls_security_level=none", "mynetworks=127.0.0.0/8,[::1]/128",
		"smtpd_client_restrictions=permit_mynetworks,reject", "smtpd_relay_restrictions=permit_mynetworks,reject", NULL};
	struct buf signer = BUF_INIT, name = BUF_INIT;

	buf_printf(&name, strchr(d->config->reply_host, ':') ? "[%s]:%u" : "%s:%u", d->config->reply_host, d->config->reply_port);
	guess_signer(p, &signer);
	doctor_say(d, "fault", "no listener of Postfix is at %s (reply.host, reply.port), where replies to the CA are handed in", buf_str(&name));
	add_listener_fix(d, p, buf_str(&name), buf_str(&signer), options);
	buf_clear(&signer);
	buf_clear(&name);
}

static bool look_at_reply_milters(struct doctor *d, const struct postfix *p, const struct postfix_service *s)
{
	struct buf rest = BUF_INIT, signer = BUF_INIT;
	bool ours = has_socket(p, s, "smtpd_milters", d->config->milter.outbound_socket) || has_socket(p, s, "smtpd_milters", d->config->milter.inbound_socket);
	bool none = !*postfix_value(p, s, "smtpd_milters");

	if (ours) {
		doctor_say(d, "fault", "%s: the listener for replies has a socket of ours among its milters: it is for the DKIM signer alone", s->name);
		without_ours(d, postfix_value(p, s, "smtpd_milters"), &rest);
		postfix_fix(d, s, true, "smtpd_milters", buf_str(&rest));
		postfix_reload_fix(d);
	} else if (none) {
		doctor_say(d, "fault", "%s: the listener for replies has no milter: without a DKIM signature CAs refuse them", s->name);
		guess_signer(p, &signer);
		postfix_fix(d, s, true, "smtpd_milters", buf_str(&signer));
		postfix_reload_fix(d);
	}
	buf_clear(&rest);
	buf_clear(&signer);
	return ours || none;
}

/* What is set for all mail, and must not be for this. */
static bool look_at_reply_settings(struct doctor *d, const struct postfix *p, const struct postfix_service *s)
{
	static const char *const names[] = {"content_filter", "always_bcc"};
	bool wrong = false;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (!*postfix_value(p, s, names[i]))
			continue;
		wrong = true;
		doctor_say(d, "fault", "%s: %s = %s is for replies to the CA too: CAs refuse an answer that was touched", s->name, names[i], postfix_value(p, s, names[i]));
		postfix_fix(d, s, true, names[i], "");
		postfix_reload_fix(d);
	}
	return wrong;
}

void doctor_postfix_reply(struct doctor *d)
{
	const struct postfix *p = doctor_postfix(d);
	const struct postfix_service *s = p ? listener_at(p, d->config->reply_host, d->config->reply_port) : NULL;
	bool wrong;

	if (!p)
		return;
	if (!s) {
		say_no_reply_listener(d, p);
		return;
	}
	wrong = look_at_reply_milters(d, p, s);
	if (!look_at_reply_settings(d, p, s) && !wrong)
		doctor_say(d, "ok", "%s is for replies alone, its milter is %s", s->name, postfix_value(p, s, "smtpd_milters"));
}

/* ---- the listener for delivery reports ---------------------------------------------------------------------------------------------- */

static const struct postfix_service *reports_listener(struct doctor *d, const struct postfix *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (is_smtpd(&p->v[i]) && (strncmp(p->v[i].name, "127.", 4) == 0 || strncmp(p->v[i].name, "localhost", 9) == 0 || strncmp(p->v[i].name, "[::1]", 5) == 0) &&
			has_socket(p, &p->v[i], "smtpd_milters", d->config->milter.inbound_socket))
			return &p->v[i];
	return NULL;
}

static void say_no_reports_listener(struct doctor *d, const struct postfix *p)
{
	static const char *const options[] = {"content_filter=discard:", "smtpd_tls_security_level=none", "mynetworks=127.0.0.0/8,[::1]/128",
		"smtpd_client_restrictions=permit_mynetworks,reject", "smtpd_relay_restrictions=permit_mynetworks,reject", NULL};
	struct buf inbound = BUF_INIT;

	doctor_say(d, "fault", "reply.report-address is set, but no listener on loopback has the inbound socket: delivery reports of replies arrive nowhere (examples/postfix has "
		"the tables that lead them there)");
	postfix_name_of(p, d->config->milter.inbound_socket, &inbound);
	add_listener_fix(d, p, "127.0.0.1:10028", buf_str(&inbound), options);
	buf_clear(&inbound);
}

void doctor_postfix_reports(struct doctor *d)
{
	const struct postfix *p = d->config->report_address ? doctor_postfix(d) : NULL;
	const struct postfix_service *s = p ? reports_listener(d, p) : NULL;
	const char *limit = p ? postfix_value(p, NULL, "reports_destination_recipient_limit") : "";

	if (!d->config->report_address) {
		doctor_say(d, "ok", "none is needed: reply.report-address is not set");
	} else if (p && !s) {
		say_no_reports_listener(d, p);
	} else if (p && *limit && strcmp(limit, "1") != 0) {
		doctor_say(d, "fault", "reports_destination_recipient_limit = %s: reports have to come one by one, or one that is refused takes others along", limit);
		postfix_fix(d, NULL, false, "reports_destination_recipient_limit", "1");
		postfix_reload_fix(d);
	} else if (p) {
		doctor_say(d, "ok", "%s takes delivery reports of replies", s->name);
	}
}
