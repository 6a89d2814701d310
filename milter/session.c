/*
 * milter/session.c - translate libmilter's calls, nothing more.
 *
 *   negotiate  connect  MAIL  RCPT  DATA  header...  end-of-headers  body...  end-of-message   (abort, close at any time)
 *   outbound:  .  x  x  -  -  x  x  x  x          inbound:  .  x  x  x  x  x  x  x  x
 *
 * A missing context is a bug of ours: it is logged as such and answered by a temporary failure, never by letting the mail pass silently.
 * Callbacks of one session never overlap, but may run on different threads: all state hangs on the context.
 */
#include "config.h"

#include "milter/session.h"

#include <stdlib.h>
#include <string.h>

#include "metrics/metrics.h"

/* libmilter calls xxfi_negotiate before any context exists: the service has to be reachable from here. Set once before smfi_main. */
static struct service *the_service;

#define RECIPIENTS_INBOUND 1000   /* a challenge mail has one */
#define RECIPIENTS_OUTBOUND 10000 /* ten times what Postfix takes unless told otherwise */

const char *session_queue_id(SMFICTX *ctx)
{
	const char *id = smfi_getsymval(ctx, (char *)"i");

	return id ? id : "";
}

static void mail_free(struct mail *m)
{
	if (!m)
		return;
	compose_clear(&m->signed_mail);
	signer_unref(m->signer);
	spool_free(m->body);
	headers_clear(&m->facts.headers);
	strlist_clear(&m->recipients);
	strlist_clear(&m->types);
	free(m);
}

static void end_mail(struct session *s)
{
	mail_free(s->mail);
	s->mail = NULL;
}

static struct session *session_of(SMFICTX *ctx, const char *callback)
{
	struct session *s = smfi_getpriv(ctx);

	if (!s)
		log_event(LOG_LEVEL_ERROR, "bug", "text", "a milter callback has no session", "callback", callback, NULL);
	return s;
}

static struct session *with_mail(SMFICTX *ctx, const char *callback)
{
	struct session *s = session_of(ctx, callback);

	if (s && !s->mail)
		log_event(LOG_LEVEL_ERROR, "bug", "text", "a milter callback has no message", "callback", callback, NULL);
	return s && s->mail ? s : NULL;
}

/* ---- who would be hurt by our end, and what runs -------------------------------------------------------------------------------- */

static void set_counted(struct session *s, bool yes)
{
	if (s->counted != yes)
		atomic_fetch_add(&s->service->sessions, yes ? 1 : -1);
	s->counted = yes;
}

static void set_in_mail(struct session *s, bool yes)
{
	if (s->in_mail != yes)
		atomic_fetch_add(&s->service->mails, yes ? 1 : -1);
	s->in_mail = yes;
}

/* No more will be asked about this message, or about this connection if there is none. */
static bool is_final(sfsistat answer)
{
	return answer == SMFIS_ACCEPT || answer == SMFIS_REJECT || answer == SMFIS_TEMPFAIL || answer == SMFIS_DISCARD;
}

static struct session *enter(SMFICTX *ctx)
{
	struct session *s = smfi_getpriv(ctx);

	store_patience_begin();
	if (s)
		watch_enter(&s->watched);
	return s;
}

static sfsistat leave(struct session *s, sfsistat answer)
{
	store_patience_end();
	if (s) {
		if (is_final(answer))
			set_in_mail(s, false);
		watch_leave(s->service->watch, &s->watched);
	}
	return answer;
}

/* ---- negotiation: ask for exactly what is used ------------------------------------------------------------------------- */

static bool may_hold(const struct config *c)
{
	bool may = c->no_certificate == NO_CERTIFICATE_HOLD;

	for (size_t i = 0; i < c->n_rules; i++)
		may = may || c->rules[i].no_certificate == NO_CERTIFICATE_HOLD;
	return may;
}

/* Recipients are asked for only where a rule looks at them. */
static bool rules_ask_recipients(const struct config *c)
{
	for (size_t i = 0; i < c->n_rules; i++)
		if (c->rules[i].sign == SIGN_OUTGOING || c->rules[i].sign == SIGN_INTERNAL || c->rules[i].unsigned_to.n > 0)
			return true;
	return mail_rules_ask_recipients(c);
}

static unsigned long wanted_actions(const struct service *s, const struct config *c)
{
	if (s->instance == INSTANCE_INBOUND)
		return SMFIF_DELRCPT | SMFIF_ADDRCPT;
	return SMFIF_CHGHDRS | SMFIF_ADDHDRS | SMFIF_CHGBODY | (may_hold(c) ? SMFIF_QUARANTINE : 0);
}

static unsigned long wanted_steps(const struct service *s, const struct config *c)
{
	unsigned long steps = SMFIP_NOHELO | SMFIP_NOUNKNOWN | SMFIP_HDR_LEADSPC | SMFIP_SKIP | SMFIP_NR_HDR;

	if (s->instance == INSTANCE_INBOUND)
		return steps | SMFIP_NR_MAIL | SMFIP_NR_RCPT;
	return steps | (rules_ask_recipients(c) ? SMFIP_NR_RCPT : SMFIP_NORCPT);
}

static sfsistat on_negotiate(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2, unsigned long f3, unsigned long *pf0,
	unsigned long *pf1, unsigned long *pf2, unsigned long *pf3)
{
	struct snapshot *n = service_snapshot(the_service);
	struct session *s = calloc(1, sizeof *s);
	unsigned long actions = wanted_actions(the_service, n->config), steps = wanted_steps(the_service, n->config) & f1;

	if (!s || (actions & f0) != actions || smfi_setpriv(ctx, s) != MI_SUCCESS) {
		log_event(LOG_LEVEL_ERROR, "negotiation_failed", "text",
			s ? "the MTA does not allow what this milter needs (change headers and body, or delete recipients)" : "out of memory", NULL);
		snapshot_unref(n);
		free(s);
		return SMFIS_REJECT;
	}
	s->service = the_service;
	s->snapshot = n;
	s->steps = steps;
	watch_add(the_service->watch, &s->watched);
	set_counted(s, true);
	s->leading_space = steps & SMFIP_HDR_LEADSPC;
	s->no_reply_header = steps & SMFIP_NR_HDR;
	s->no_reply_mail = steps & SMFIP_NR_MAIL;
	s->no_reply_rcpt = steps & SMFIP_NR_RCPT;
	s->may_skip = steps & SMFIP_SKIP;
	s->quarantine_allowed = actions & SMFIF_QUARANTINE;
	/* {client_addr} and {daemon_name} are not sent by every MTA unless asked for; {i} only where it is known. */
	smfi_setsymlist(ctx, SMFIM_CONNECT, (char *)"j {daemon_name} {client_addr}");
	smfi_setsymlist(ctx, SMFIM_ENVFROM, (char *)"i {auth_authen} {auth_type}");
	smfi_setsymlist(ctx, SMFIM_EOM, (char *)"i");
	*pf0 = actions;
	*pf1 = steps;
	*pf2 = *pf3 = 0;
	return SMFIS_CONTINUE;
}

/* ---- connection ------------------------------------------------------------------------------------------------------------- */

static void copy_symbol(SMFICTX *ctx, const char *name, char *out, size_t size)
{
	const char *v = smfi_getsymval(ctx, (char *)name);

	snprintf(out, size, "%s", v ? v : "");
}

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *addr)
{
	struct session *s = session_of(ctx, "connect");

	if (!s)
		return SMFIS_TEMPFAIL;
	sockaddr_ip((const struct sockaddr *)addr, s->connection.client_ip);
	copy_symbol(ctx, "{daemon_name}", s->connection.daemon, sizeof s->connection.daemon);
	return s->service->instance == INSTANCE_OUTBOUND ? outbound_on_connect(ctx, s) : SMFIS_CONTINUE;
}

static sfsistat on_close(SMFICTX *ctx)
{
	struct session *s = smfi_getpriv(ctx);

	log_settle(false); /* the inbound instance may have nothing to say for hours */
	if (!s)
		return SMFIS_CONTINUE;
	smfi_setpriv(ctx, NULL);
	end_mail(s);
	snapshot_unref(s->snapshot);
	set_in_mail(s, false);
	set_counted(s, false);
	watch_remove(s->service->watch, &s->watched);
	free(s);
	return SMFIS_CONTINUE;
}

/* ---- message ------------------------------------------------------------------------------------------------------------------ */

static void bare_address(const char *arg, char out[ADDRESS_MAX])
{
	size_t len;

	snprintf(out, ADDRESS_MAX, "%s", arg && *arg == '<' ? arg + 1 : arg ? arg : "");
	len = strlen(out);
	if (len && out[len - 1] == '>')
		out[len - 1] = '\0';
}

/* A reload holds from the next mail on, unless it asks for more than was agreed with the MTA when the connection began. */
static void follow_reload(struct session *s)
{
	struct snapshot *n = service_snapshot(s->service);
	unsigned long unwanted = SMFIP_NORCPT & s->steps & ~wanted_steps(s->service, n->config);
	bool fits = unwanted == 0 && (s->quarantine_allowed || !(wanted_actions(s->service, n->config) & SMFIF_QUARANTINE));

	if (n != s->snapshot && fits) {
		snapshot_unref(s->snapshot);
		s->snapshot = n;
	} else {
		snapshot_unref(n);
	}
}

static sfsistat on_mail(SMFICTX *ctx, char **argv)
{
	struct session *s = session_of(ctx, "MAIL");

	if (!s)
		return SMFIS_TEMPFAIL;
	end_mail(s);
	follow_reload(s);
	set_in_mail(s, true);
	watch_count_mail(s->service->watch);
	s->mail = calloc(1, sizeof *s->mail);
	if (!s->mail)
		return SMFIS_TEMPFAIL;
	s->mail->began_ms = mono_ms();
	metrics_count(METRIC_MAILS_SEEN, 0, 0, 0);
	bare_address(argv[0], s->mail->facts.envelope_from);
	copy_symbol(ctx, "{auth_authen}", s->mail->facts.login, sizeof s->mail->facts.login);
	if (s->service->instance == INSTANCE_INBOUND)
		return s->no_reply_mail ? SMFIS_NOREPLY : SMFIS_CONTINUE;
	return outbound_on_mail(ctx, s);
}

/* Outbound, what is not kept counts as one more recipient that may be anybody, or a rule would judge a part of the mail. */
static sfsistat on_rcpt(SMFICTX *ctx, char **argv)
{
	struct session *s = with_mail(ctx, "RCPT");
	char address[ADDRESS_MAX];
	bool keep, last;

	if (!s)
		return SMFIS_TEMPFAIL;
	bare_address(argv[0], address);
	keep = s->mail->recipients.n < (s->service->instance == INSTANCE_INBOUND ? RECIPIENTS_INBOUND : RECIPIENTS_OUTBOUND);
	last = s->service->instance == INSTANCE_OUTBOUND && s->mail->recipients.n == RECIPIENTS_OUTBOUND;
	if ((keep || last) && !strlist_add(&s->mail->recipients, keep ? address : ""))
		err_nomem(&s->mail->error, "read recipients");
	return s->no_reply_rcpt ? SMFIS_NOREPLY : SMFIS_CONTINUE;
}

static sfsistat on_data(SMFICTX *ctx)
{
	struct session *s = with_mail(ctx, "DATA");

	if (!s)
		return SMFIS_TEMPFAIL;
	return s->service->instance == INSTANCE_INBOUND ? inbound_on_data(ctx, s) : SMFIS_CONTINUE;
}

/* Header values are kept with their leading space, as DKIM needs them to the octet; an MTA that cannot send it takes off exactly one. */
static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
	struct session *s = with_mail(ctx, "header");
	struct buf spaced = BUF_INIT;
	bool ok;

	if (!s)
		return SMFIS_TEMPFAIL;
	if (s->leading_space) {
		ok = headers_add(&s->mail->facts.headers, name, value);
	} else {
		buf_printf(&spaced, " %s", value);
		ok = !spaced.failed && headers_add(&s->mail->facts.headers, name, buf_str(&spaced));
	}
	buf_clear(&spaced);
	if (!ok && s->mail->error.class == ERR_NONE)
		err_set(&s->mail->error, ERR_POLICY, "read header", NULL, "the header is larger than 1 MiB");
	return s->no_reply_header ? SMFIS_NOREPLY : SMFIS_CONTINUE;
}

static sfsistat on_end_of_headers(SMFICTX *ctx)
{
	struct session *s = with_mail(ctx, "end of headers");

	if (!s)
		return SMFIS_TEMPFAIL;
	return s->service->instance == INSTANCE_OUTBOUND ? outbound_on_end_of_headers(ctx, s) : inbound_on_end_of_headers(ctx, s);
}

static sfsistat on_body(SMFICTX *ctx, unsigned char *data, size_t len)
{
	struct session *s = with_mail(ctx, "body");
	bool more;

	if (!s)
		return SMFIS_TEMPFAIL;
	if (s->mail->skip_body)
		return s->may_skip ? SMFIS_SKIP : SMFIS_CONTINUE;
	more = s->service->instance == INSTANCE_OUTBOUND ? outbound_on_body(s, data, len) : inbound_on_body(s, data, len);
	if (!more) {
		s->mail->skip_body = true;
		return s->may_skip ? SMFIS_SKIP : SMFIS_CONTINUE;
	}
	return SMFIS_CONTINUE;
}

static sfsistat on_end_of_message(SMFICTX *ctx)
{
	struct session *s = with_mail(ctx, "end of message");
	sfsistat answer;

	if (!s)
		return SMFIS_TEMPFAIL;
	answer = s->service->instance == INSTANCE_OUTBOUND ? outbound_on_end_of_message(ctx, s) : inbound_on_end_of_message(ctx, s);
	end_mail(s);
	return answer;
}

static sfsistat on_abort(SMFICTX *ctx)
{
	struct session *s = smfi_getpriv(ctx);

	if (s)
		end_mail(s);
	return SMFIS_CONTINUE;
}

/* ---- the callbacks, watched ------------------------------------------------------------------------------------------------------ */

static sfsistat connected(SMFICTX *ctx, char *host, _SOCK_ADDR *addr)
{
	struct session *s = enter(ctx);
	sfsistat answer = on_connect(ctx, host, addr);

	if (s && is_final(answer))
		set_counted(s, false);
	return leave(s, answer);
}

static sfsistat mail_begun(SMFICTX *ctx, char **argv)
{
	struct session *s = enter(ctx);

	return leave(s, on_mail(ctx, argv));
}

/* An answer to RCPT is about that recipient alone. */
static sfsistat recipient_named(SMFICTX *ctx, char **argv)
{
	struct session *s = enter(ctx);
	sfsistat answer = on_rcpt(ctx, argv);

	leave(s, SMFIS_CONTINUE);
	return answer;
}

static sfsistat data_begun(SMFICTX *ctx)
{
	struct session *s = enter(ctx);

	return leave(s, on_data(ctx));
}

static sfsistat header_came(SMFICTX *ctx, char *name, char *value)
{
	struct session *s = enter(ctx);

	return leave(s, on_header(ctx, name, value));
}

static sfsistat headers_ended(SMFICTX *ctx)
{
	struct session *s = enter(ctx);

	return leave(s, on_end_of_headers(ctx));
}

static sfsistat body_came(SMFICTX *ctx, unsigned char *data, size_t len)
{
	struct session *s = enter(ctx);

	return leave(s, on_body(ctx, data, len));
}

static sfsistat message_ended(SMFICTX *ctx)
{
	struct session *s = enter(ctx);
	sfsistat answer = on_end_of_message(ctx);

	if (s)
		set_in_mail(s, false);
	return leave(s, answer);
}

static sfsistat message_aborted(SMFICTX *ctx)
{
	struct session *s = enter(ctx);
	sfsistat answer = on_abort(ctx);

	if (s)
		set_in_mail(s, false);
	return leave(s, answer);
}

bool session_register(struct service *service, struct err *err)
{
	bool inbound = service->instance == INSTANCE_INBOUND;
	struct smfiDesc callbacks = {
		.xxfi_name = (char *)(inbound ? "enroll-milter inbound" : "enroll-milter outbound"),
		.xxfi_version = SMFI_VERSION,
		.xxfi_flags = inbound ? SMFIF_DELRCPT | SMFIF_ADDRCPT : SMFIF_CHGHDRS | SMFIF_ADDHDRS | SMFIF_CHGBODY | SMFIF_QUARANTINE,
		.xxfi_connect = connected,
		.xxfi_envfrom = mail_begun,
		.xxfi_envrcpt = recipient_named, /* outbound: negotiated away unless a rule asks */
		.xxfi_header = header_came,
		.xxfi_eoh = headers_ended,
		.xxfi_body = body_came,
		.xxfi_eom = message_ended,
		.xxfi_abort = message_aborted,
		.xxfi_close = on_close,
		.xxfi_data = data_begun,
		.xxfi_negotiate = on_negotiate,
	};

	the_service = service;
	return smfi_register(callbacks) == MI_SUCCESS || err_set(err, ERR_BUG, "register callbacks", NULL, "smfi_register refused");
}
