/*
 * milter/session_inbound.c - one inbound message: is it a challenge mail for an order of ours, or a report about a reply (session_report.c)?
 *
 * Almost every message ends at DATA, when none of its recipients awaits a challenge, or at end of headers, when its Subject is no challenge's; its
 * body is never sent to us.  A candidate is spooled, authenticated at end of message, and its token is committed to the store before the mail is
 * taken out.  Whatever goes wrong on the way: the mail passes as any other, or (DNS silent, order not known yet) its MTA is told to come again.
 */
#include "config.h"

#include "milter/session.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "metrics/metrics.h"
#include "milter/inbound.h"

#define DATE_SKEW 10 /* as in the enrollment: the CA's clock may be this far behind ours */

static void report(SMFICTX *ctx, struct session *s, enum log_level level, const char *verdict, const char *recipient, const char *why)
{
	const struct headers *h = &s->mail->facts.headers;
	const char *id = headers_get(h, "Message-ID", 0), *from = headers_get(h, "From", 0);

	metrics_count_word(METRIC_CHALLENGE_MAILS, verdict);
	log_event(level, "challenge_mail", "qid", session_queue_id(ctx), "verdict", verdict, "to", recipient, "from", from ? from + strspn(from, " ") : NULL,
		"message_id", id ? id + strspn(id, " ") : NULL, "client", s->connection.client_ip, "reason", why, NULL);
}

/* ---- does anybody here await a challenge ---------------------------------------------------------------------------------- */

/* Awaits one, or got one lately that may come again. */
static bool concerns(struct session *s, const char *recipient, bool *yes, struct err *err)
{
	struct awaited a = {0};

	if (!store_challenge_awaited(s->service->store, recipient, &a, err))
		return false;
	*yes = a.enrollment_id != 0;
	awaited_clear(&a);
	return *yes || store_challenge_seen(s->service->store, recipient, NULL, NULL, yes, err);
}

sfsistat inbound_on_data(SMFICTX *ctx, struct session *s)
{
	struct mail *m = s->mail;

	(void)ctx;
	m->is_report = report_on_data(s);
	if (m->is_report)
		return SMFIS_CONTINUE;
	for (size_t i = 0; i < m->recipients.n; i++) {
		struct err err = ERR_INIT;
		struct address parsed;
		bool yes;

		if (!address_parse(&parsed, m->recipients.v[i], NULL) || !config_serves(s->snapshot->config, parsed.domain))
			continue;
		/* A challenge that passed now would be in somebody's mailbox for good; its sender comes again, or to another gateway. */
		if (!concerns(s, m->recipients.v[i], &yes, &err)) {
			log_error(LOG_LEVEL_WARNING | LOG_LIMITED, "store_away", &err, NULL);
			return SMFIS_CONTINUE;
		}
		if (yes)
			return SMFIS_CONTINUE;
	}
	return SMFIS_ACCEPT;
}

sfsistat inbound_on_end_of_headers(SMFICTX *ctx, struct session *s)
{
	struct mail *m = s->mail;

	if (!m->is_report && (m->error.class != ERR_NONE || !inbound_is_candidate(&m->facts.headers)))
		return SMFIS_ACCEPT;
	if (!m->is_report)
		metrics_count(METRIC_CANDIDATES, 0, 0, 0);
	m->body = spool_new(s->snapshot->config->milter.spool_directory, &m->error);
	if (!m->body) {
		log_error(LOG_LEVEL_ERROR, "spool_failed", &m->error, "qid", session_queue_id(ctx), NULL);
		return SMFIS_TEMPFAIL;
	}
	return SMFIS_CONTINUE;
}

bool inbound_on_body(struct session *s, const unsigned char *data, size_t len)
{
	struct mail *m = s->mail;

	if (spool_size(m->body) + len > s->snapshot->config->milter.max_candidate) {
		m->reason = "larger than milter.max-candidate";
		return false;
	}
	return spool_write(m->body, data, len, &m->error);
}

/* ---- whose challenge is it -------------------------------------------------------------------------------------------------- */

enum fit { FIT_YES, FIT_FOREIGN, FIT_ORDER_UNKNOWN };

#define CA_UNKNOWN SIZE_MAX

/* The CA that the order was opened at; CA_UNKNOWN: enrolld knows one that our configuration does not name. */
static size_t ca_of(const struct session *s, const struct awaited *a)
{
	const struct config *c = s->snapshot->config;

	if (!a->ca || !*a->ca)
		return 0;
	for (size_t i = 0; i < config_cas(c); i++)
		if (strcmp(config_ca_at(c, i)->name, a->ca) == 0)
			return i;
	return CA_UNKNOWN;
}

static bool sender_domain_listed(const struct ca_config *ca, const char *from)
{
	struct address a;

	return address_parse(&a, from, NULL) && strlist_has_nocase(&ca->challenge_domains, a.domain);
}

/* A stranger's DKIM signature makes a mail authentic, not interesting: only the CA's own domains are worth an event. */
static bool sender_is_ca(const struct session *s, const struct awaited *a, const char *from)
{
	struct address sender, named;

	return sender_domain_listed(config_ca_at(s->snapshot->config, ca_of(s, a)), from) ||
		(a->challenge_from && address_parse(&sender, from, NULL) && address_parse(&named, a->challenge_from, NULL) &&
			strcmp(sender.domain, named.domain) == 0);
}

/* An order for several addresses has a challenge for each, and the CA is asked about one after the other.  Who writes to one whose turn has not
 * come is not known yet: somebody of the same domain, and the rest is looked at in its turn. */
static bool for_later(const struct awaited *a, const struct challenge *c)
{
	struct address sender, named;
	char key[ADDRESS_MAX];

	return a->challenge_address && c->recipient && address_key_of(a->challenge_address, key, NULL) && strcmp(key, c->recipient) != 0 &&
	       address_parse(&sender, c->from, NULL) && address_parse(&named, a->challenge_from, NULL) && strcmp(sender.domain, named.domain) == 0;
}

static enum fit fit(const struct session *s, const struct awaited *a, const struct challenge *c, const char **why)
{
	char want[ADDRESS_MAX], have[ADDRESS_MAX];

	*why = "it is dated before the order";
	if (c->date + DATE_SKEW < a->ordered_at)
		return FIT_FOREIGN;
	*why = "the CA has not told yet who will write";
	if (!a->challenge_from)
		return sender_domain_listed(config_ca_at(s->snapshot->config, ca_of(s, a)), c->from) ? FIT_YES : FIT_ORDER_UNKNOWN;
	*why = "matches an open order";
	if (for_later(a, c))
		return FIT_YES;
	*why = "it is not from the address the CA named";
	if (!address_key_of(a->challenge_from, want, NULL) || !address_key_of(c->from, have, NULL) || strcmp(want, have) != 0)
		return FIT_FOREIGN;
	*why = "matches an open order";
	return FIT_YES;
}

/* The address being validated stands in To (RFC 8823 section 3.1): of several awaited recipients it is that one. */
static bool addressed_to(const struct candidate *cand, const char *recipient)
{
	char key[ADDRESS_MAX], other[ADDRESS_MAX];

	if (!address_key_of(recipient, key, NULL))
		return false;
	for (size_t i = 0; i < cand->to.n; i++)
		if (address_key_of(cand->to.v[i], other, NULL) && strcmp(key, other) == 0)
			return true;
	return false;
}

/* Of an order for several addresses: is it this one's turn? */
static bool has_turn(const struct awaited *a, const char *recipient)
{
	char key[ADDRESS_MAX], other[ADDRESS_MAX];

	return !a->challenge_address || (address_key_of(a->challenge_address, key, NULL) && address_key_of(recipient, other, NULL) && strcmp(key, other) == 0);
}

/* The recipient this is for, one whose turn it is before others; NULL when nobody in To awaits one. */
static const char *awaited_recipient(const struct session *s, const struct candidate *cand, struct awaited *a, struct err *err)
{
	const struct strlist *recipients = &s->mail->recipients;
	const char *best = NULL;

	for (size_t i = 0; i < recipients->n && !(best && has_turn(a, best)); i++) {
		struct awaited one = {0};

		if (!addressed_to(cand, recipients->v[i]))
			continue;
		if (!store_challenge_awaited(s->service->store, recipients->v[i], &one, err)) {
			awaited_clear(a);
			return NULL;
		}
		if (one.enrollment_id && (!best || has_turn(&one, recipients->v[i]))) {
			awaited_clear(a);
			*a = one;
			best = recipients->v[i];
		} else {
			awaited_clear(&one);
		}
	}
	return best;
}

/* ---- take it out --------------------------------------------------------------------------------------------------------------- */

static bool take_recipient_out(SMFICTX *ctx, const char *recipient, const char *redirect)
{
	char bracketed[ADDRESS_MAX + 2];

	snprintf(bracketed, sizeof bracketed, "<%s>", recipient);
	if (redirect) {
		char other[ADDRESS_MAX + 2];

		snprintf(other, sizeof other, "<%s>", redirect);
		if (smfi_addrcpt(ctx, other) != MI_SUCCESS)
			return false;
	}
	return smfi_delrcpt(ctx, bracketed) == MI_SUCCESS;
}

static sfsistat dispose(SMFICTX *ctx, struct session *s, const char *recipient)
{
	const struct config *c = s->snapshot->config;

	if (strcmp(c->disposition, "deliver") == 0)
		return SMFIS_ACCEPT;
	if (strcmp(c->disposition, "redirect") == 0)
		return take_recipient_out(ctx, recipient, c->redirect_to) ? SMFIS_ACCEPT : SMFIS_TEMPFAIL;
	if (s->mail->recipients.n == 1)
		return SMFIS_DISCARD;
	return take_recipient_out(ctx, recipient, NULL) ? SMFIS_ACCEPT : SMFIS_TEMPFAIL;
}

/* Token first: only when it is durable may the mail disappear. */
static sfsistat take(SMFICTX *ctx, struct session *s, struct candidate *cand, const struct awaited *a, const char *recipient, const char *how)
{
	struct challenge *c = &cand->challenge;
	struct err err = ERR_INIT;
	bool created = false;

	c->enrollment_id = a->enrollment_id;
	/* It came after the order that it is for, also when the clock of the host that ordered is ahead of ours. */
	c->received_at = time(NULL);
	if (c->received_at < a->ordered_at)
		c->received_at = a->ordered_at;
	/* At most one reply a challenge mail, also when somebody on the way gave it another Message-ID: the token tells that it is the same. */
	c->token_once = cand->message_id_free;
	free(c->authentication);
	free(c->disposition);
	c->authentication = str_dup(how);
	c->disposition = str_dup(s->snapshot->config->disposition);
	if (!c->authentication || !c->disposition || !store_challenge_add(s->service->store, c, &created, &err)) {
		log_error(LOG_LEVEL_ERROR, "challenge_not_stored", &err, "qid", session_queue_id(ctx), "to", recipient, NULL);
		return SMFIS_TEMPFAIL;
	}
	if (created)
		report(ctx, s, LOG_LEVEL_INFO, "taken", recipient, how);
	else
		report(ctx, s, (c->token_once ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO) | LOG_LIMITED, "seen-before", recipient,
			c->token_once ? "its token is in the store, with this or another Message-ID" : how);
	return dispose(ctx, s, recipient);
}

static sfsistat foreign(SMFICTX *ctx, struct session *s, int64_t enrollment, const char *recipient, const char *why)
{
	struct err err = ERR_INIT;
	char text[512];

	report(ctx, s, LOG_LEVEL_WARNING, "foreign", recipient, why);
	snprintf(text, sizeof text, "an authentic challenge mail for %.300s is not for an order of ours (%s): it is delivered", recipient, why);
	if (!store_event_add(s->service->store, enrollment, "foreign_challenge", "inbound", ERR_NONE, text, &err))
		log_error(LOG_LEVEL_WARNING, "event_not_stored", &err, NULL);
	return SMFIS_ACCEPT;
}

static sfsistat come_again(SMFICTX *ctx, struct session *s, const char *recipient, const char *why)
{
	report(ctx, s, LOG_LEVEL_WARNING | LOG_LIMITED, "come-again", recipient, why);
	smfi_setreply(ctx, (char *)"451", (char *)"4.7.1", (char *)"please try again in a moment");
	return SMFIS_TEMPFAIL;
}

static sfsistat for_order(SMFICTX *ctx, struct session *s, struct candidate *cand, const struct awaited *a, const char *recipient, const char *how)
{
	const char *why;
	char key[ADDRESS_MAX];

	if (!address_key_of(recipient, key, NULL) || !(cand->challenge.recipient = str_dup(key)))
		return come_again(ctx, s, recipient, "out of memory");
	switch (fit(s, a, &cand->challenge, &why)) {
	case FIT_YES:
		return take(ctx, s, cand, a, recipient, how);
	case FIT_FOREIGN:
		if (!sender_is_ca(s, a, cand->challenge.from)) {
			report(ctx, s, LOG_LEVEL_INFO | LOG_LIMITED, "not-ours", recipient, why);
			return SMFIS_ACCEPT;
		}
		return foreign(ctx, s, a->enrollment_id, recipient, why);
	case FIT_ORDER_UNKNOWN:
		return come_again(ctx, s, recipient, why);
	}
	return SMFIS_ACCEPT;
}

static sfsistat authenticate(SMFICTX *ctx, struct session *s, struct candidate *cand, const struct awaited *a, const char *recipient)
{
	size_t ca = ca_of(s, a);
	char how[256] = "";

	/* Another CA's ways must not judge it. */
	if (ca == CA_UNKNOWN)
		return come_again(ctx, s, recipient, "its order is of a CA that this configuration does not name: reload both programs");
	cand->awaited_from = a->challenge_from;
	switch (inbound_authenticate(s->snapshot->config, config_ca_at(s->snapshot->config, ca), s->service->dns, s->snapshot->challenge_anchors[ca], &s->mail->facts.headers, s->mail->body, cand,
		s->connection.client_ip, how)) {
	case AUTHENTIC_NO:
		report(ctx, s, LOG_LEVEL_WARNING | LOG_LIMITED, "not-authentic", recipient, how);
		return SMFIS_ACCEPT;
	case AUTHENTIC_ASK_AGAIN:
		return come_again(ctx, s, recipient, how);
	case AUTHENTIC_YES:
		break;
	}
	return for_order(ctx, s, cand, a, recipient, how);
}

/* This very mail came before and its token was committed, but we or the MTA ended before it was taken out: now it is, even if its enrollment
 * is over.  It was authentic then; whoever knows its Message-ID and token could at most have a mail of their own taken out. */
static const char *seen_recipient(const struct session *s, const struct candidate *cand, struct err *err)
{
	const struct strlist *recipients = &s->mail->recipients;
	bool seen;

	for (size_t i = 0; i < recipients->n; i++) {
		if (!addressed_to(cand, recipients->v[i]))
			continue;
		if (!store_challenge_seen(s->service->store, recipients->v[i], cand->challenge.message_id, cand->challenge.token_part1, &seen, err))
			return NULL;
		if (seen)
			return recipients->v[i];
	}
	return NULL;
}

static sfsistat judge(SMFICTX *ctx, struct session *s, struct candidate *cand)
{
	struct awaited a = {0};
	struct err err = ERR_INIT;
	const char *again = seen_recipient(s, cand, &err);
	const char *recipient = again || err.class != ERR_NONE ? NULL : awaited_recipient(s, cand, &a, &err);
	sfsistat answer = SMFIS_ACCEPT;

	if (again) {
		report(ctx, s, LOG_LEVEL_INFO | LOG_LIMITED, "seen-before", again, "its token is in the store");
		answer = dispose(ctx, s, again);
	} else if (recipient) {
		answer = authenticate(ctx, s, cand, &a, recipient);
	} else if (err.class != ERR_NONE) {
		log_error(LOG_LEVEL_WARNING | LOG_LIMITED, "store_away", &err, "qid", session_queue_id(ctx), NULL);
		answer = come_again(ctx, s, s->mail->recipients.n ? s->mail->recipients.v[0] : "", "the store does not answer");
	} else {
		report(ctx, s, LOG_LEVEL_WARNING | LOG_LIMITED, "not-ours", s->mail->recipients.v[0], "no recipient that stands in To awaits a challenge");
	}
	awaited_clear(&a);
	return answer;
}

sfsistat inbound_on_end_of_message(SMFICTX *ctx, struct session *s)
{
	struct mail *m = s->mail;
	struct candidate cand = {0};
	char why[256] = "";
	sfsistat answer;

	if (m->is_report)
		return report_on_end_of_message(ctx, s);
	if (m->error.class != ERR_NONE) {
		log_error(LOG_LEVEL_ERROR, "spool_failed", &m->error, "qid", session_queue_id(ctx), NULL);
		return SMFIS_TEMPFAIL;
	}
	if (m->reason || !inbound_parse(s->snapshot->config, &m->facts.headers, &cand, why)) {
		report(ctx, s, LOG_LEVEL_WARNING | LOG_LIMITED, "not-a-challenge", m->recipients.n ? m->recipients.v[0] : "", m->reason ? m->reason : why);
		answer = SMFIS_ACCEPT;
	} else {
		answer = judge(ctx, s, &cand);
	}
	candidate_clear(&cand);
	return answer;
}
