/*
 * milter/session_outbound.c - one outbound message, from MAIL to the edits.
 *
 * The decision is made at end of headers (outbound.c has the questions); mail that will not be signed is let go there, before its body is sent.
 * What will be signed is hashed while its body streams into the spool.  At end of message everything is computed first; then all edits are made
 * together; an edit that fails ends in a temporary failure, so that no half-altered mail goes on.
 */
#include "config.h"

#include "milter/session.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "milter/inbound.h"

#define PIECE 65535 /* the milter protocol's limit */

static const struct {
	enum verdict verdict;
	const char *name;
} verdict_names[] = {
	{VERDICT_UNDECIDED, "undecided"}, {VERDICT_NOT_OURS, "not-ours"}, {VERDICT_UNTOUCHED, "untouched"}, {VERDICT_SIGN, "signed"},
	{VERDICT_NO_CERTIFICATE, "unsigned"}, {VERDICT_OBSERVED, "observed"}, {VERDICT_ERROR, "error"},
};

static const char *verdict_name(enum verdict v)
{
	for (size_t i = 0; i < sizeof verdict_names / sizeof *verdict_names; i++)
		if (verdict_names[i].verdict == v)
			return verdict_names[i].name;
	return "?";
}

/* The one closing line of a message. */
static void report(SMFICTX *ctx, struct session *s, const char *action)
{
	struct mail *m = s->mail;
	const char *id = headers_get(&m->facts.headers, "Message-ID", 0);

	id = id ? id + strspn(id, " \t\r\n") : NULL;
	log_event(m->verdict == VERDICT_ERROR ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, "mail_done", "qid", session_queue_id(ctx), "verdict",
		verdict_name(m->verdict), "action", action, "reason", m->reason, "detail", m->detail[0] ? m->detail : NULL, "login",
		m->facts.login[0] ? m->facts.login : NULL, "from", m->facts.from[0] ? m->facts.from : NULL, "rule",
		m->submission ? m->submission->name : NULL, "policy", m->decision.rule ? m->decision.rule->name : NULL, "client", s->connection.client_ip, "cert",
		m->verdict == VERDICT_SIGN && m->signer ? signer_fingerprint(m->signer) : NULL, "ms", LOG_NUM(mono_ms() - m->began_ms), NULL);
	if (m->submission)
		recorder_mail(s->service->recorder, s->snapshot->config, session_queue_id(ctx), id, m->facts.login, m->facts.from,
			verdict_name(m->verdict), m->detail[0] ? m->detail : m->reason);
}

static bool wants_end_of_message(const struct mail *m)
{
	/* A secret header is stripped whatever else happens; hold is only possible there. */
	return m->hold || (m->submission && m->submission->secret_header && headers_get(&m->facts.headers, m->submission->secret_header, 0));
}

/* This message needs nothing more from us. */
static sfsistat let_go(SMFICTX *ctx, struct session *s, enum verdict verdict, const char *reason)
{
	s->mail->verdict = verdict;
	s->mail->reason = reason;
	if (wants_end_of_message(s->mail)) {
		s->mail->skip_body = true;
		return SMFIS_CONTINUE;
	}
	report(ctx, s, NULL);
	return SMFIS_ACCEPT;
}

/* What was tried, on what, and what came of it: for the closing line. */
static void explain_error(struct mail *m)
{
	const struct err *e = &m->error;
	bool named = e->subject[0] && !strstr(e->text, e->subject);

	snprintf(m->detail, sizeof m->detail, "%.63s%s%.200s: %.220s", e->op, named ? " " : "", named ? e->subject : "", e->text);
}

/* ---- the answer table: what went wrong, by policy ------------------------------------------------------------------------- */

static sfsistat reply(SMFICTX *ctx, bool permanent, const char *text)
{
	smfi_setreply(ctx, (char *)(permanent ? "550" : "451"), (char *)(permanent ? "5.7.1" : "4.7.1"), (char *)text);
	return permanent ? SMFIS_REJECT : SMFIS_TEMPFAIL;
}

static sfsistat by_on_error(SMFICTX *ctx, struct session *s)
{
	struct mail *m = s->mail;
	bool tempfail = s->snapshot->config->on_error == ON_ERROR_TEMPFAIL;

	m->verdict = VERDICT_ERROR;
	m->reason = tempfail ? "could not be signed, the client is told to come again" : "could not be signed, passed unsigned (on-error = pass)";
	explain_error(m);
	if (!tempfail && wants_end_of_message(m)) {
		m->skip_body = true;
		return SMFIS_CONTINUE;
	}
	report(ctx, s, tempfail ? "tempfail" : "pass");
	return tempfail ? reply(ctx, false, "message cannot be signed now, please try again") : SMFIS_ACCEPT;
}

static sfsistat by_no_certificate(SMFICTX *ctx, struct session *s, const char *why)
{
	struct mail *m = s->mail;
	enum no_certificate what = m->decision.no_certificate;

	m->verdict = VERDICT_NO_CERTIFICATE;
	m->reason = why;
	/* Somebody whom an admin took out is not kept from sending. */
	if (strcmp(why, "disabled") == 0)
		what = NO_CERTIFICATE_PASS;
	if (what == NO_CERTIFICATE_TEMPFAIL && !m->submission->mta_clients)
		what = NO_CERTIFICATE_PASS;
	switch (what) {
	case NO_CERTIFICATE_REJECT:
		report(ctx, s, "reject");
		return reply(ctx, true, m->decision.certificate ? "no certificate for this sender yet, please send again later"
			: "mail of this sender has to be signed, and there is no certificate for this sender");
	case NO_CERTIFICATE_TEMPFAIL:
		report(ctx, s, "tempfail");
		return reply(ctx, false, "no certificate for this sender yet, please try again");
	case NO_CERTIFICATE_HOLD:
		m->hold = s->quarantine_allowed;
		break;
	case NO_CERTIFICATE_AS_CONFIGURED:
	case NO_CERTIFICATE_PASS:
		break;
	}
	return let_go(ctx, s, VERDICT_NO_CERTIFICATE, why);
}

/* ---- connect and MAIL --------------------------------------------------------------------------------------------------------- */

sfsistat outbound_on_connect(SMFICTX *ctx, struct session *s)
{
	if (outbound_connection(s->snapshot->config, &s->connection))
		return SMFIS_CONTINUE;
	log_event(LOG_LEVEL_INFO, "connection_done", "verdict", "not-ours", "reason", "no submission rule names this listener and client", "client",
		s->connection.client_ip, "daemon", s->connection.daemon, NULL);
	return SMFIS_ACCEPT;
}

sfsistat outbound_on_mail(SMFICTX *ctx, struct session *s)
{
	const struct config *c = s->snapshot->config;
	const char *why = NULL;

	s->mail->submission = outbound_submission(c, &s->connection, s->mail->facts.login, &why);
	if (!s->mail->submission)
		return let_go(ctx, s, VERDICT_NOT_OURS, why);
	s->mail->submission_index = (size_t)(s->mail->submission - c->submissions);
	return SMFIS_CONTINUE;
}

/* ---- end of headers: the decision -------------------------------------------------------------------------------------------- */

static bool in_pilot(struct session *s, bool *in, struct err *err)
{
	const struct config *c = s->snapshot->config;
	bool member = false;

	*in = eligibility_pilot(c, s->mail->facts.from, false);
	if (*in || !c->pilot_group || !s->snapshot->directory)
		return true;
	if (!directory_in_group(s->snapshot->directory, s->mail->facts.from, c->pilot_group, &member, err))
		return false;
	*in = eligibility_pilot(c, s->mail->facts.from, member);
	return true;
}

/* From, ownership, untouched, pilot.  true: go on to the credential; false: *answer is it. */
static bool may_sign(SMFICTX *ctx, struct session *s, sfsistat *answer)
{
	struct mail *m = s->mail;
	const char *why = NULL;
	bool owned = false, pilot = false;

	if (!outbound_from(s->snapshot->config, &m->facts, &why) || outbound_from_outside(m->submission, &m->facts, &why) ||
		outbound_untouched(&m->facts, &why)) {
		*answer = let_go(ctx, s, VERDICT_UNTOUCHED, why);
		return false;
	}
	if (!outbound_owned(m->submission, s->snapshot->directory, s->snapshot->maps[m->submission_index], s->snapshot->secrets[m->submission_index],
		    &m->facts, &owned, &why, &m->error) ||
		(owned && !in_pilot(s, &pilot, &m->error))) {
		*answer = by_on_error(ctx, s);
		return false;
	}
	if (!owned || !pilot) {
		*answer = let_go(ctx, s, VERDICT_UNTOUCHED, owned ? "not in the pilot" : why);
		return false;
	}
	return true;
}

/* Header of the signed entity: the structure fields, with CRLF folds, in their order, and the empty line. */
static void put_header(struct buf *out, const struct header *h)
{
	buf_printf(out, "%s:", h->name);
	for (const char *p = h->value; *p; p++) {
		if (*p == '\n')
			buf_putc(out, '\r');
		if (*p != '\r')
			buf_putc(out, *p);
	}
	buf_puts(out, "\r\n");
}

static void entity_header(struct buf *out, const struct headers *h)
{
	for (size_t i = 0; i < h->n; i++)
		if (mime_is_structure(h->v[i].name))
			put_header(out, &h->v[i]);
	buf_puts(out, "\r\n");
}

static bool begin_signing(struct session *s)
{
	struct mail *m = s->mail;
	struct buf header = BUF_INIT;
	bool ok;

	m->body = spool_new(s->snapshot->config->milter.spool_directory, &m->error);
	m->op = m->body ? sign_begin(m->signer, &m->error) : NULL;
	if (!m->op)
		return false;
	entity_header(&header, &m->facts.headers);
	ok = header.failed ? err_nomem(&m->error, "sign") : sign_update(m->op, header.data, header.len, &m->error);
	buf_clear(&header);
	return ok;
}

/* The rule that enrolld found for this author, whose name is beside the credential.  Of somebody new only what can be told without the
 * directory, which the mail path does not ask for this. */
static void follow_rule(struct session *s, const char *name)
{
	struct mail *m = s->mail;
	const struct config *c = s->snapshot->config;
	const struct rule *rule = config_rule(c, *name ? name : NULL);
	struct rules_facts facts = {.address = m->facts.from};

	m->rule_unknown = *name && !rule && rules_ask_directory(c, m->facts.from);
	if (!rule && !rules_find(c, &facts, NULL, &rule, NULL, &m->error))
		err_clear(&m->error);
	rules_follow(c, rule, &m->decision);
}

/* Is this mail one that the author's rule signs?  Asked of mail that would be signed. */
static bool rule_signs(const struct session *s, const char **why)
{
	const struct mail *m = s->mail;
	const struct rule *rule = m->decision.rule;

	if (m->rule_unknown)
		*why = "its rule is not in this configuration; enrolld has yet to look at it again";
	else if (rule && !m->decision.certificate)
		*why = "the rule says: no certificate";
	else if (rule && rule->unsigned_header && headers_get(&m->facts.headers, rule->unsigned_header, 0))
		*why = "the author asked for no signature (unsigned-header)";
	else
		return rules_sign(s->snapshot->config, rule, &m->recipients, why);
	return false;
}

static sfsistat observe(SMFICTX *ctx, struct session *s)
{
	struct enrollment e = {0};
	const char *from = s->mail->facts.from, *what = "would be enrolled, then signed", *why;
	bool found = false;

	follow_rule(s, "");
	if (!s->mail->decision.certificate)
		what = "would get no certificate, by a rule";
	else if (rules_ask_directory(s->snapshot->config, from))
		what = "would be enrolled, then signed, unless a rule says otherwise (see policy explain)";
	else if (!rule_signs(s, &why))
		what = "would be enrolled, this mail not signed, by a rule";
	else if (s->snapshot->config->mode == MODE_OBSERVE && store_enrollment_find(s->service->store, from, &e, &found, NULL) && found &&
		e.state == ENROLLMENT_ACTIVE)
		what = "would be signed";
	enrollment_clear(&e);
	return let_go(ctx, s, VERDICT_OBSERVED, what);
}

/* Nobody gets a certificate on the word of a tenant who has yet to prove who he is. */
static sfsistat after_proof(SMFICTX *ctx, struct session *s, const char *why)
{
	struct mail *m = s->mail;

	m->no_signer = true;
	m->reason = why;
	m->body = spool_new(s->snapshot->config->milter.spool_directory, &m->error);
	return m->body ? SMFIS_CONTINUE : by_on_error(ctx, s);
}

static sfsistat without_signer(SMFICTX *ctx, struct session *s, const char *why)
{
	if (strcmp(why, "no enrollment") == 0)
		recorder_request(s->service->recorder, s->snapshot->config, s->mail->facts.from,
			s->mail->facts.login[0] ? s->mail->facts.login : s->mail->submission->name);
	if (s->snapshot->config->mode == MODE_ENROLL)
		return let_go(ctx, s, VERDICT_NO_CERTIFICATE, "mode is enroll: nothing is signed yet");
	return by_no_certificate(ctx, s, why);
}

sfsistat outbound_on_end_of_headers(SMFICTX *ctx, struct session *s)
{
	struct mail *m = s->mail;
	struct credential_words words;
	const char *why = NULL;
	sfsistat answer;

	if (m->error.class == ERR_POLICY)
		return let_go(ctx, s, VERDICT_UNTOUCHED, "the header is larger than 1 MiB");
	if (m->error.class != ERR_NONE)
		return by_on_error(ctx, s);
	if (!may_sign(ctx, s, &answer))
		return answer;
	if (recorder_paused(s->service->recorder))
		return let_go(ctx, s, VERDICT_UNTOUCHED, "paused by an admin");
	if (s->snapshot->config->mode == MODE_OBSERVE)
		return observe(ctx, s);
	m->prove_tenant = m->submission->vouch == VOUCH_RELAY && m->submission->require_dkim_domain;
	m->signer = credentials_get(s->snapshot->credentials, m->facts.from, time(NULL), &words, &m->error);
	if (!m->signer && m->error.class != ERR_NONE)
		return by_on_error(ctx, s);
	follow_rule(s, words.rule);
	if (!m->signer)
		return m->prove_tenant ? after_proof(ctx, s, words.why) : without_signer(ctx, s, words.why);
	if (s->snapshot->config->mode == MODE_ENROLL)
		return let_go(ctx, s, VERDICT_NO_CERTIFICATE, "mode is enroll: nothing is signed yet");
	if (!rule_signs(s, &why))
		return m->decision.certificate ? let_go(ctx, s, VERDICT_UNTOUCHED, why) : by_no_certificate(ctx, s, why);
	m->verdict = VERDICT_SIGN;
	if (!begin_signing(s))
		return by_on_error(ctx, s);
	return SMFIS_CONTINUE;
}

/* ---- body ------------------------------------------------------------------------------------------------------------------------ */

bool outbound_on_body(struct session *s, const unsigned char *data, size_t len)
{
	struct mail *m = s->mail;

	mime_scan_feed(&m->scan, data, len);
	return spool_write(m->body, data, len, &m->error) && (m->no_signer || sign_update(m->op, data, len, &m->error));
}

/* ---- end of message: compute, then edit -------------------------------------------------------------------------------------------- */

/* What replaces the message's body and structure fields. */
struct result {
	struct spool *encoded;    /* the whole entity, re-encoded; NULL: entity header and the body as it came */
	struct buf header;        /* entity header, when the body stays as it came */
	struct buf prologue, epilogue, content_type;
};

static void result_clear(struct result *r)
{
	spool_free(r->encoded);
	buf_clear(&r->header);
	buf_clear(&r->prologue);
	buf_clear(&r->epilogue);
	buf_clear(&r->content_type);
}

static bool hash_piece(void *arg, const void *data, size_t len, struct err *err)
{
	return sign_update(arg, data, len, err);
}

static bool reencode(struct session *s, struct result *r)
{
	struct mail *m = s->mail;

	r->encoded = spool_new(s->snapshot->config->milter.spool_directory, &m->error);
	if (!r->encoded || !mime_reencode(&m->facts.headers, m->body, r->encoded, &m->error))
		return false;
	sign_free(m->op);
	m->op = sign_begin(m->signer, &m->error);
	return m->op && spool_each(r->encoded, hash_piece, m->op, &m->error);
}

static bool compute(struct session *s, struct result *r)
{
	struct mail *m = s->mail;
	struct buf der = BUF_INIT;
	char boundary[64];
	const char *why;
	bool ok;

	mime_scan_finish(&m->scan);
	if (mime_needs_encoding(&m->facts.headers, &m->scan, &why) && !reencode(s, r))
		return false;
	if (!r->encoded)
		entity_header(&r->header, &m->facts.headers);
	sign_boundary(boundary);
	ok = sign_finish(m->op, &der, &m->error);
	if (ok) {
		sign_content_type(&r->content_type, boundary);
		sign_prologue(&r->prologue, boundary);
		sign_epilogue(&r->epilogue, boundary, &der);
		if (r->header.failed || r->content_type.failed || r->prologue.failed || r->epilogue.failed)
			ok = err_nomem(&m->error, "sign");
	}
	buf_clear(&der);
	return ok;
}

static bool edit_failed(struct err *err, const char *what)
{
	return err_set(err, ERR_TEMPORARY, "edit message", NULL, "the MTA refused an edit: %s", what);
}

static bool set_header(SMFICTX *ctx, struct session *s, const char *name, int index, const char *value, struct err *err)
{
	struct buf spaced = BUF_INIT;
	int rc;

	buf_printf(&spaced, "%s%s", s->leading_space ? " " : "", value);
	if (spaced.failed)
		rc = MI_FAILURE;
	else if (index)
		rc = smfi_chgheader(ctx, (char *)name, index, spaced.data);
	else
		rc = smfi_addheader(ctx, (char *)name, spaced.data);
	buf_clear(&spaced);
	return rc == MI_SUCCESS || edit_failed(err, name);
}

/* Content-Type changes in its place, other structure fields leave (last first: smfi_chgheader counts what is left). */
static bool edit_headers(SMFICTX *ctx, struct session *s, const char *content_type, struct err *err)
{
	const struct headers *h = &s->mail->facts.headers;
	bool has_type = headers_count(h, "Content-Type") > 0;

	for (size_t i = h->n; i-- > 0;) {
		const char *name = h->v[i].name;
		int index = 1;

		if (!mime_is_structure(name) || strcasecmp(name, "Content-Type") == 0)
			continue;
		for (size_t k = 0; k < i; k++)
			index += strcasecmp(h->v[k].name, name) == 0;
		if (smfi_chgheader(ctx, (char *)name, index, NULL) != MI_SUCCESS)
			return edit_failed(err, name);
	}
	if (!headers_get(h, "MIME-Version", 0) && !set_header(ctx, s, "MIME-Version", 0, "1.0", err))
		return false;
	return set_header(ctx, s, "Content-Type", has_type ? 1 : 0, content_type, err);
}

static bool replace(SMFICTX *ctx, const void *data, size_t len, struct err *err)
{
	const char *p = data;

	while (len > 0) {
		size_t n = len < PIECE ? len : PIECE;

		if (smfi_replacebody(ctx, (unsigned char *)p, (int)n) != MI_SUCCESS)
			return edit_failed(err, "body");
		p += n;
		len -= n;
	}
	return true;
}

static bool replace_piece(void *arg, const void *data, size_t len, struct err *err)
{
	return replace(arg, data, len, err);
}

static bool edit_body(SMFICTX *ctx, struct session *s, const struct result *r, struct err *err)
{
	struct buf head = BUF_INIT;
	bool ok;

	/* Small pieces together: each replacebody is a packet of its own. */
	buf_append(&head, r->prologue.data, r->prologue.len);
	if (!r->encoded)
		buf_append(&head, r->header.data, r->header.len);
	ok = head.failed ? err_nomem(err, "edit message") : replace(ctx, head.data, head.len, err);
	buf_clear(&head);
	return ok && spool_each(r->encoded ? r->encoded : s->mail->body, replace_piece, ctx, err) &&
		replace(ctx, r->epilogue.data, r->epilogue.len, err);
}

static bool strip_secret(SMFICTX *ctx, struct session *s)
{
	const struct submission *rule = s->mail->submission;

	if (!rule || !rule->secret_header)
		return true;
	for (size_t i = headers_count(&s->mail->facts.headers, rule->secret_header); i > 0; i--)
		if (smfi_chgheader(ctx, rule->secret_header, (int)i, NULL) != MI_SUCCESS)
			return false;
	return true;
}

/* Edits that were begun and did not come through: the mail must not go on, whatever on-error says. */
static sfsistat half_edited(SMFICTX *ctx, struct session *s)
{
	struct mail *m = s->mail;

	m->verdict = VERDICT_ERROR;
	m->reason = "an edit failed: the client is told to come again, nothing half-altered goes on";
	explain_error(m);
	report(ctx, s, "tempfail");
	return reply(ctx, false, "message cannot be edited now, please try again");
}

static sfsistat finish_unsigned(SMFICTX *ctx, struct session *s)
{
	struct mail *m = s->mail;

	if (m->hold && smfi_quarantine(ctx, (char *)"enroll-milter: no certificate for this sender yet") != MI_SUCCESS)
		return half_edited(ctx, s);
	if (!strip_secret(ctx, s))
		return half_edited(ctx, s);
	report(ctx, s, m->hold ? "hold" : NULL);
	return SMFIS_ACCEPT;
}

static bool tenant_proven(struct session *s)
{
	struct mail *m = s->mail;

	return !m->prove_tenant || inbound_dkim_by(s->service->dns, &m->facts.headers, m->body, m->submission->require_dkim_domain, m->detail);
}

static sfsistat leave(SMFICTX *ctx, struct session *s, enum verdict verdict, const char *reason)
{
	s->mail->verdict = verdict;
	s->mail->reason = reason;
	return finish_unsigned(ctx, s);
}

/* A mail that cannot be signed without damage is left as it is; coming again would change nothing. Everything else goes by on-error. */
static sfsistat not_signed(SMFICTX *ctx, struct session *s)
{
	struct mail *m = s->mail;
	sfsistat answer;

	if (m->error.class == ERR_POLICY) {
		m->verdict = VERDICT_UNTOUCHED;
		m->reason = "cannot be signed without changing what it says";
		snprintf(m->detail, sizeof m->detail, "%.250s", m->error.text);
		return finish_unsigned(ctx, s);
	}
	answer = by_on_error(ctx, s);
	return answer == SMFIS_CONTINUE ? finish_unsigned(ctx, s) : answer;
}

/* A DKIM signature of our own domain that is there before us was made by a filter that runs before us: our edits break it. */
static bool dkim_came_first(const struct config *c, const struct headers *h)
{
	const char *signature;

	for (size_t i = 0; (signature = headers_get(h, "DKIM-Signature", i)); i++)
		for (size_t k = 0; k < c->domains.n; k++) {
			const char *d = strcasestr(signature, "d=");

			if (d && strncasecmp(d + 2, c->domains.v[k], strlen(c->domains.v[k])) == 0)
				return true;
		}
	return false;
}

static const char *signed_reason(const struct session *s, const struct result *r)
{
	if (dkim_came_first(s->snapshot->config, &s->mail->facts.headers))
		return OUTBOUND_AFTER_DKIM;
	return r->encoded ? "signed after re-encoding" : "signed";
}

sfsistat outbound_on_end_of_message(SMFICTX *ctx, struct session *s)
{
	struct mail *m = s->mail;
	struct result r = {0};
	sfsistat answer;

	if (m->verdict != VERDICT_SIGN && !m->no_signer)
		return finish_unsigned(ctx, s);
	if (m->error.class == ERR_NONE && !tenant_proven(s))
		return leave(ctx, s, VERDICT_UNTOUCHED, "the relay's mail has no valid DKIM signature of ours");
	if (m->error.class == ERR_NONE && m->no_signer) {
		m->detail[0] = '\0';
		answer = without_signer(ctx, s, m->reason);
		return answer == SMFIS_CONTINUE ? finish_unsigned(ctx, s) : answer;
	}
	/* The body may have taken an hour to come: what was true at its beginning is looked at again. */
	if (recorder_paused(s->service->recorder))
		return leave(ctx, s, VERDICT_UNTOUCHED, "paused by an admin");
	if (m->signer && !signer_valid_at(m->signer, time(NULL)))
		return leave(ctx, s, VERDICT_NO_CERTIFICATE, "expired");
	if (m->error.class != ERR_NONE || !compute(s, &r)) {
		answer = not_signed(ctx, s);
	} else if (!strip_secret(ctx, s) || !edit_headers(ctx, s, buf_str(&r.content_type), &m->error) || !edit_body(ctx, s, &r, &m->error)) {
		answer = half_edited(ctx, s);
	} else {
		m->reason = signed_reason(s, &r);
		report(ctx, s, NULL);
		answer = SMFIS_ACCEPT;
	}
	result_clear(&r);
	return answer;
}
