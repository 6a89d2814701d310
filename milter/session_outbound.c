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

#include "metrics/metrics.h"
#include "milter/inbound.h"

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

static const char *form_name(const struct mail *m)
{
	return m->verdict != VERDICT_SIGN ? NULL : m->signed_mail.form == FORM_OPAQUE ? "opaque" : "detached";
}

static bool is_served(const struct session *s, const char *address)
{
	struct address a;

	return address_parse(&a, address, NULL) && config_serves(s->snapshot->config, a.domain);
}

/* For the help desk.  Where the author was not looked at, or is none, whoever asks knows the envelope sender.  Mail that nobody vouches for is kept
 * only when it claims to be from one of us: its sender will wonder. */
static void record(SMFICTX *ctx, struct session *s, const char *action, const char *certificate)
{
	struct mail *m = s->mail;
	const char *id = headers_get(&m->facts.headers, "Message-ID", 0);
	struct mail_record r = {.queue_id = session_queue_id(ctx), .message_id = id ? id + strspn(id, " \t\r\n") : NULL, .login = m->facts.login,
		.from = m->facts.from[0] ? m->facts.from : m->facts.envelope_from, .verdict = verdict_name(m->verdict), .reason = m->reason,
		.detail = m->detail[0] ? m->detail : NULL, .action = action, .certificate = certificate};

	if (m->submission || is_served(s, m->facts.envelope_from))
		recorder_mail(s->service->recorder, s->snapshot->config, &r);
}

/* Whoever reaches the listener can begin mails without a login, as many as they like. */
static enum log_level level_of(const struct mail *m)
{
	if (m->verdict == VERDICT_ERROR)
		return LOG_LEVEL_ERROR;
	return m->verdict == VERDICT_NOT_OURS && !m->facts.login[0] ? LOG_LEVEL_INFO | LOG_LIMITED : LOG_LEVEL_INFO;
}

/* The one closing line of a message. */
static void report(SMFICTX *ctx, struct session *s, const char *action)
{
	struct mail *m = s->mail;
	const char *certificate = m->verdict == VERDICT_SIGN && m->signer ? signer_fingerprint(m->signer) : NULL;

	log_event(level_of(m), "mail_done", "qid", session_queue_id(ctx), "verdict",
		verdict_name(m->verdict), "action", action, "reason", m->reason, "detail", m->detail[0] ? m->detail : NULL, "login",
		m->facts.login[0] ? m->facts.login : NULL, "from", m->facts.from[0] ? m->facts.from : NULL, "rule",
		m->submission ? m->submission->name : NULL, "policy", m->decision.rule ? m->decision.rule->name : NULL, "client", s->connection.client_ip, "cert",
		certificate, "form", form_name(m), "ms", LOG_NUM(mono_ms() - m->began_ms), NULL);
	metrics_count(METRIC_MAILS, metrics_mail_kind(verdict_name(m->verdict), m->reason), 0, 0);
	record(ctx, s, action, certificate);
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
	metrics_count(METRIC_ON_ERROR, tempfail ? METRICS_TEMPFAILED : METRICS_PASSED, 0, 0);
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
	/* Somebody whom an admin took out, or who left as far as the directory knows, is not kept from sending. */
	if (strcmp(why, "disabled") == 0 || strcmp(why, "departed") == 0)
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
	log_event(LOG_LEVEL_INFO | LOG_LIMITED, "connection_done", "verdict", "not-ours", "reason", "no submission rule names this listener and client", "client",
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

/* ---- the mail rules -------------------------------------------------------------------------------------------------------------- */

struct looking {
	struct mail *mail;
	struct buf text;    /* a field, decoded */
	bool whole;         /* the body is there */
	struct err *err;
};

static const char *look_field(void *context, const char *name, size_t nth)
{
	struct looking *l = context;
	const char *value = headers_get(&l->mail->facts.headers, name, nth);

	buf_reset(&l->text);
	return value && mime_decode_text(&l->text, value) ? buf_str(&l->text) : value;
}

/* Could the field name this type?  Nearly always not, and reading it takes longer than all the rules. */
static bool names_type(const char *value, const char *wanted)
{
	const char *slash = strchr(wanted, '/');
	char word[128];

	if (strcmp(slash, "/*") != 0)
		return strcasestr(value, slash + 1) != NULL;
	snprintf(word, sizeof word, "%.*s", (int)(slash - wanted), wanted);
	return strcasestr(value, word) != NULL;
}

/* The types of all parts, read once; an error makes it a mail of any type, which does not leave before the error is looked at. */
static bool part_is(struct mail *m, const char *wanted, struct err *err)
{
	if (m->types.n == 0 && !mime_part_types(&m->facts.headers, m->body, &m->types, err))
		return true;
	for (size_t i = 0; i < m->types.n; i++)
		if (mail_rules_type_is(m->types.v[i], wanted))
			return true;
	return false;
}

static bool look_type(void *context, const char *wanted)
{
	struct looking *l = context;
	struct mail *m = l->mail;
	const char *value = headers_get(&m->facts.headers, "Content-Type", 0);

	if (!value)
		value = "text/plain"; /* RFC 2045 section 5.2 */
	if (names_type(value, wanted) && !m->type[0])
		mime_content_type(value, m->type, NULL, NULL);
	if (m->type[0] && mail_rules_type_is(m->type, wanted))
		return true;
	return l->whole && m->signed_mail.scan.watched && part_is(m, wanted, l->err);
}

/* In which form it leaves, as far as can be told.  false: it leaves unsigned. */
static bool judge_form(struct session *s, bool whole)
{
	struct mail *m = s->mail;
	struct looking l = {.mail = m, .whole = whole, .err = &m->error};
	struct mail_look look = {.recipients = &m->recipients, .list_mail = outbound_is_list_mail(&m->facts),
		.auto_submitted = outbound_is_auto_submitted(&m->facts), .context = &l, .field = look_field, .has_type = look_type,
		.octets = m->facts.headers.octets + m->signed_mail.scan.octets};

	mail_rules_judge(s->snapshot->config, &look, &m->form);
	buf_clear(&l.text);
	return m->form.form != FORM_UNSIGNED;
}

/* Only where the form is what decided: beside any other reason the rule's name would be read as the reason. */
static void detail_of_form(struct mail *m)
{
	snprintf(m->detail, sizeof m->detail, "%s%.200s", m->form.rule ? "mail rule " : "", m->form.rule ? m->form.rule : "");
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
	if (!judge_form(s, false)) {
		detail_of_form(m);
		*answer = let_go(ctx, s, VERDICT_UNTOUCHED, m->form.why);
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

static bool begin_signing(struct session *s)
{
	struct mail *m = s->mail;
	const struct config *c = s->snapshot->config;

	m->body = spool_new(c->milter.spool_directory, &m->error);
	m->signed_mail = (struct composition){.headers = &m->facts.headers, .signer = m->signer, .spool_directory = c->milter.spool_directory,
		.options = {.pss = c->signing.rsa_padding == RSA_PADDING_PSS, .capabilities = c->decryption != NULL},
		.unencodable = c->signing.unencodable, .protect = c->signing.header_protection, .body = m->body,
		.scan = {.watch = s->snapshot->watched_types.n > 0 ? &s->snapshot->watched_types : NULL}};
	return m->body && compose_begin(&m->signed_mail, &m->error);
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
	if (!recorder_knows(s->service->recorder, &m->error))
		return by_on_error(ctx, s);
	if (recorder_paused(s->service->recorder))
		return let_go(ctx, s, VERDICT_UNTOUCHED, "paused by an admin");
	if (s->snapshot->config->mode == MODE_OBSERVE)
		return observe(ctx, s);
	m->prove_tenant = m->submission->vouch == VOUCH_RELAY && m->submission->require_dkim_domain;
	watch_count_look(s->service->watch);
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

	if (m->no_signer)
		return spool_write(m->body, data, len, &m->error);
	return compose_body(&m->signed_mail, data, len, &m->error);
}

/* ---- end of message: compute, then edit -------------------------------------------------------------------------------------------- */

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
	if (!edit_strip_secret(ctx, s))
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

static const char *signed_reason(const struct session *s)
{
	const struct composition *made = &s->mail->signed_mail;

	if (dkim_came_first(s->snapshot->config, &s->mail->facts.headers))
		return OUTBOUND_AFTER_DKIM;
	if (made->form == FORM_OPAQUE)
		return s->mail->form.form == FORM_OPAQUE ? "signed, opaque" : "signed, opaque as it must not be re-encoded";
	return made->reencoded ? "signed after re-encoding" : "signed";
}

/* Why it was re-encoded, beside the rule that asked for its form. */
static void signed_detail(struct mail *m)
{
	const char *parts[] = {m->signed_mail.why, m->signed_mail.unprotected ? "header not protected: " : NULL, m->signed_mail.unprotected};
	size_t len;

	detail_of_form(m);
	len = strlen(m->detail);
	for (size_t i = 0; i < sizeof parts / sizeof *parts && len < sizeof m->detail; i++)
		if (parts[i])
			len += (size_t)snprintf(m->detail + len, sizeof m->detail - len, "%s%s", len && i < 2 ? "; " : "", parts[i]);
}

static sfsistat sign_and_edit(SMFICTX *ctx, struct session *s)
{
	struct mail *m = s->mail;
	int64_t began = metrics_now();

	if (m->error.class != ERR_NONE || !compose_finish(&m->signed_mail, m->form.form, &m->error))
		return not_signed(ctx, s);
	if (!edit_message(ctx, s, &m->error))
		return half_edited(ctx, s);
	metrics_observe(METRIC_SIGNING_SECONDS, 0, metrics_now() - began);
	m->reason = signed_reason(s);
	signed_detail(m);
	report(ctx, s, NULL);
	return SMFIS_ACCEPT;
}

sfsistat outbound_on_end_of_message(SMFICTX *ctx, struct session *s)
{
	struct mail *m = s->mail;
	sfsistat answer;

	if (m->verdict != VERDICT_SIGN && !m->no_signer)
		return finish_unsigned(ctx, s);
	if (m->error.class == ERR_NONE && !tenant_proven(s))
		return leave(ctx, s, VERDICT_UNTOUCHED, "the relay's mail has no valid DKIM signature of ours");
	m->detail[0] = '\0'; /* what the proof was is of no interest now */
	if (m->error.class == ERR_NONE && m->no_signer) {
		answer = without_signer(ctx, s, m->reason);
		return answer == SMFIS_CONTINUE ? finish_unsigned(ctx, s) : answer;
	}
	/* The body may have taken an hour to come: what was true at its beginning is looked at again. */
	if (recorder_paused(s->service->recorder))
		return leave(ctx, s, VERDICT_UNTOUCHED, "paused by an admin");
	if (m->signer && !signer_valid_at(m->signer, time(NULL))) {
		answer = by_no_certificate(ctx, s, "expired");
		return answer == SMFIS_CONTINUE ? finish_unsigned(ctx, s) : answer;
	}
	mime_scan_finish(&m->signed_mail.scan);
	if (m->error.class == ERR_NONE && !judge_form(s, true) && m->error.class == ERR_NONE) {
		detail_of_form(m);
		return leave(ctx, s, VERDICT_UNTOUCHED, m->form.why);
	}
	return sign_and_edit(ctx, s);
}
