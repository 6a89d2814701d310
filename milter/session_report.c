/*
 * milter/session_report.c - one inbound message to an envelope sender of our replies: a delivery report, or refused.
 *
 * The address is ours alone and no user's, so whatever comes ends here: a report goes to the store and the mail is discarded, everything else is
 * refused.  A report comes alone: a mail that has other recipients as well is left to them (session_inbound.c).
 */
#include "config.h"

#include "milter/session.h"

#include <stdlib.h>
#include <string.h>

#include "metrics/metrics.h"
#include "milter/report.h"

static void note(SMFICTX *ctx, struct session *s, enum log_level level, const char *verdict, const struct report *r, const char *why)
{
	metrics_count_word(METRIC_DELIVERY_REPORTS, verdict);
	log_event(level, "delivery_report", "qid", session_queue_id(ctx), "verdict", verdict, "enrollment", LOG_NUM(s->mail->report_enrollment), "action",
		r->action, "status", r->status, "remote", r->remote, "text", r->diagnostic, "reporter", r->reporter, "client", s->connection.client_ip,
		"reason", why, NULL);
}

bool report_on_data(struct session *s)
{
	struct mail *m = s->mail;

	return m->recipients.n == 1 &&
	       report_address_read(m->recipients.v[0], s->snapshot->config->report_address, &m->report_enrollment, m->report_token);
}

static bool is_loopback(const char *ip)
{
	return strncmp(ip, "127.", 4) == 0 || strcmp(ip, "::1") == 0;
}

/* A report has an empty sender, so that a refusal goes back to nobody.  Mail of our own MTA with another one is a stranger's that it took in
 * together with mail to others; refused here it would be returned to whoever is named as its sender. */
static sfsistat refuse(SMFICTX *ctx, struct session *s, const struct report *r, const char *why)
{
	bool drop = *s->mail->facts.envelope_from && is_loopback(s->connection.client_ip);

	note(ctx, s, LOG_LEVEL_WARNING | LOG_LIMITED, drop ? "dropped" : "refused", r, why);
	if (drop)
		return SMFIS_DISCARD;
	smfi_setreply(ctx, (char *)"550", (char *)"5.7.1", (char *)"this address takes delivery reports of mail that was sent from it, nothing else");
	return SMFIS_REJECT;
}

static sfsistat come_again(SMFICTX *ctx, struct session *s, const struct err *err)
{
	metrics_count_word(METRIC_DELIVERY_REPORTS, "come-again");
	log_error(LOG_LEVEL_WARNING | LOG_LIMITED, "delivery_report_not_stored", err, "qid", session_queue_id(ctx), NULL);
	smfi_setreply(ctx, (char *)"451", (char *)"4.3.0", (char *)"please try again in a moment");
	return SMFIS_TEMPFAIL;
}

/* Who wrote it, and who brought it: a report of our own MTA comes from loopback. */
static bool name_reporter(const struct session *s, struct report *r)
{
	struct buf text = BUF_INIT;

	buf_printf(&text, "%s [%s]", r->reporter ? r->reporter : "?", s->connection.client_ip);
	free(r->reporter);
	r->reporter = buf_take(&text);
	return r->reporter != NULL;
}

/* Asked before the mail is parsed: a stranger can write to the address, but not name a token.  That of doctor's trial reply stands in a flag
 * for a moment. */
static bool is_awaited(const struct session *s, bool *awaited, struct err *err)
{
	const struct mail *m = s->mail;
	char *token = NULL;

	if (m->report_enrollment != 0)
		return store_report_awaited(s->service->store, m->report_token, m->report_enrollment, awaited, err);
	if (!store_flag_get(s->service->store, "trial-report", &token, err))
		return false;
	*awaited = token && secret_equal(token, m->report_token);
	free(token);
	return true;
}

/* The event tells doctor that the report came. */
static sfsistat take_trial(SMFICTX *ctx, struct session *s, const struct report *r)
{
	struct err err = ERR_INIT;
	char text[1000];

	snprintf(text, sizeof text, "%s by %.200s: %.600s", r->action, r->remote ? r->remote : "?", r->diagnostic ? r->diagnostic : "?");
	if (!store_event_add(s->service->store, 0, "trial_report", "inbound", ERR_NONE, text, &err))
		return come_again(ctx, s, &err);
	metrics_count_word(METRIC_DELIVERY_REPORTS, "trial");
	return SMFIS_DISCARD;
}

static sfsistat judge(SMFICTX *ctx, struct session *s, struct report *r)
{
	struct err err = ERR_INIT;
	char why[256];
	bool known;

	if (s->mail->reason)
		return refuse(ctx, s, r, s->mail->reason);
	if (!is_awaited(s, &known, &err))
		return come_again(ctx, s, &err);
	if (!known)
		return refuse(ctx, s, r, s->mail->report_enrollment ? "no reply of the last week carries its token" : "no trial is under way");
	if (!report_parse(&s->mail->facts.headers, s->mail->body, r, why))
		return refuse(ctx, s, r, why);
	if (s->mail->report_enrollment == 0)
		return take_trial(ctx, s, r);
	r->enrollment_id = s->mail->report_enrollment;
	r->received_at = time(NULL);
	if (!name_reporter(s, r))
		err_nomem(&err, "read delivery report");
	if (err.class != ERR_NONE || !store_report_add(s->service->store, s->mail->report_token, r, &known, &err))
		return come_again(ctx, s, &err);
	if (!known)
		return refuse(ctx, s, r, "its reply is a week old by now");
	note(ctx, s, LOG_LEVEL_INFO, "taken", r, NULL);
	return SMFIS_DISCARD;
}

sfsistat report_on_end_of_message(SMFICTX *ctx, struct session *s)
{
	struct report r = {0};
	sfsistat answer;

	if (s->mail->error.class == ERR_POLICY)
		answer = refuse(ctx, s, &r, s->mail->error.text);
	else if (s->mail->error.class != ERR_NONE)
		answer = come_again(ctx, s, &s->mail->error);
	else
		answer = judge(ctx, s, &r);
	report_clear(&r);
	return answer;
}
