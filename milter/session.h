/*
 * milter/session.h - the libmilter callbacks, and the state of a connection and of a message in it.  Private to milter/.
 *
 * A callback is short: translate, ask the instance's half (session_outbound.c or session_inbound.c), translate back.  State of the message begins at
 * MAIL and ends at end of message or abort; several messages may follow each other on a connection.
 */
#ifndef ENROLL_MILTER_SESSION_H
#define ENROLL_MILTER_SESSION_H

#include <libmilter/mfapi.h>

#include "milter/compose.h"
#include "milter/outbound.h"
#include "milter/service.h"
#include "milter/watch.h"

enum verdict {
	VERDICT_UNDECIDED,
	VERDICT_NOT_OURS,       /* no rule, no login: not submitted by one of ours */
	VERDICT_UNTOUCHED,      /* ours, but left alone for a reason */
	VERDICT_SIGN,
	VERDICT_NO_CERTIFICATE,
	VERDICT_OBSERVED,       /* observe mode: reason says what would have happened */
	VERDICT_ERROR,
};

/* What a message still needs after end of headers. */
struct mail {
	struct mail_facts facts;
	const struct submission *submission;
	size_t submission_index;
	enum verdict verdict;
	const char *reason;          /* static text for the log */
	char detail[512];            /* more of it, when it is not static */
	struct spool *body;
	struct signer *signer;
	struct composition signed_mail; /* VERDICT_SIGN: what it becomes */
	char type[128];              /* the content type, lower case; "" = nobody asked yet */
	struct strlist types;        /* those of all parts; empty = nobody asked yet */
	struct mail_form form;       /* in which form, by the mail rules */
	struct err error;            /* what went wrong; class ERR_NONE = nothing */
	bool skip_body;              /* the body is of no interest */
	bool hold;                   /* quarantine at end of message */
	bool prove_tenant;           /* a relay's DKIM proof is judged at end of message, when the body is there */
	bool no_signer;              /* and only then is a certificate asked for */
	struct strlist recipients;   /* as given at RCPT, with angle brackets taken off; outbound: only where a rule looks at them */
	struct decision decision;    /* outbound: what the rules say of this author */
	bool rule_unknown;           /* but enrolld's rule is not in our configuration, and only the directory could tell ours */
	bool is_report;              /* inbound: to an envelope sender of ours, which says: */
	int64_t report_enrollment;
	char report_token[REPORT_TOKEN_SIZE];
	int64_t began_ms;
};

struct session {
	struct service *service;
	struct snapshot *snapshot;
	struct watched watched;
	bool counted, in_mail;       /* in the service's sessions, and mails */
	unsigned long steps;         /* as negotiated */
	struct connection_facts connection;
	bool leading_space;          /* SMFIP_HDR_LEADSPC is in force */
	bool quarantine_allowed;
	bool no_reply_mail, no_reply_rcpt, no_reply_header; /* SMFIP_NR_* in force: an answer would put the dialogue out of step */
	bool may_skip;               /* SMFIP_SKIP is in force */
	struct mail *mail;
};

/* Register the callbacks for this service (one a process: libmilter has no way to hand a pointer to its first callback). */
bool session_register(struct service *s, struct err *err) BASE_MUST_CHECK;

const char *session_queue_id(SMFICTX *ctx); /* "" when the MTA has not told it yet */

/* session_outbound.c */
sfsistat outbound_on_connect(SMFICTX *ctx, struct session *s);
sfsistat outbound_on_mail(SMFICTX *ctx, struct session *s);
sfsistat outbound_on_end_of_headers(SMFICTX *ctx, struct session *s);
bool outbound_on_body(struct session *s, const unsigned char *data, size_t len);
sfsistat outbound_on_end_of_message(SMFICTX *ctx, struct session *s);

/* session_edit.c: make the message what it has become; false when an edit was refused, and the mail must not go on. */
bool edit_message(SMFICTX *ctx, struct session *s, struct err *err) BASE_MUST_CHECK;
bool edit_strip_secret(SMFICTX *ctx, struct session *s);

/* session_inbound.c */
sfsistat inbound_on_data(SMFICTX *ctx, struct session *s);
sfsistat inbound_on_end_of_headers(SMFICTX *ctx, struct session *s);
bool inbound_on_body(struct session *s, const unsigned char *data, size_t len);
sfsistat inbound_on_end_of_message(SMFICTX *ctx, struct session *s);

/* session_report.c: is it for us alone, as a delivery report; and what becomes of it */
bool report_on_data(struct session *s);
sfsistat report_on_end_of_message(SMFICTX *ctx, struct session *s);

#endif
