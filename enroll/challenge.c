/*
 * enroll/challenge.c - the reply mail (RFC 8823 section 3.2): its text, and handing it to our MTA.
 *
 * The text comes from two strangers (a mail and a CA), so every value is checked for what it is before it stands in a header.  The
 * mail is as plain as can be: CAs are known to fail silently over a fold, a quoted-printable body or one line too many.
 *
 * At most one reply leaves for a challenge, so challenge_send must know whether the mail may have been taken.  libesmtp tells by
 * events: MESSAGEDATA when the content begins to go out (after the server's 354), MESSAGESENT when the server's word on the whole
 * message is in.  Between the two everything is in doubt.
 */
#include "config.h"

#include "enroll/challenge.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <libesmtp.h>

#include "metrics/metrics.h"

/* RFC 5322 section 2.1.1, without the name of the field. */
#define VALUE_MAX 900

/* ---- text -------------------------------------------------------------------------------------------------------- */

void challenge_message_id(struct buf *out, const char *address)
{
	const char *at = strrchr(address, '@');

	buf_putc(out, '<');
	random_text(out, 18);
	buf_printf(out, "@%s>", at ? at + 1 : "localhost");
}

static bool ascii_line(const char *s, size_t max)
{
	size_t n = 0;

	if (!s)
		return false;
	for (; s[n]; n++)
		if (s[n] < ' ' || s[n] >= 127 || n >= max)
			return false;
	return n > 0;
}

static bool refuse(struct err *err, const char *what, const char *hint)
{
	return err_set(err, ERR_POLICY, "write reply mail", "", "%s cannot stand in a mail header%s", what, hint);
}

/* A bare address that needs no SMTPUTF8. */
static bool plain_address(const char *s, struct address *out, const char *what, struct err *err)
{
	if (!ascii_line(s, VALUE_MAX) || !address_parse(out, s, NULL))
		return refuse(err, what, ": it is no plain mail address in ASCII");
	return true;
}

/* "<left@right>" of printable ASCII without blanks. */
static bool message_id_good(const char *s)
{
	size_t n;

	if (!ascii_line(s, VALUE_MAX) || s[0] != '<')
		return false;
	n = strlen(s);
	return n > 4 && s[n - 1] == '>' && strcspn(s, " ") == n && strcspn(s + 1, "<>") == n - 2 && strchr(s, '@') != NULL;
}

static bool token_good(const char *s)
{
	size_t n = 0;

	while (s && (isalnum((unsigned char)s[n]) || s[n] == '-' || s[n] == '_' || s[n] == '='))
		n++;
	return n > 0 && n <= VALUE_MAX && s[n] == '\0';
}

/* Not strftime: its names follow the locale. */
static void put_date(struct buf *out, time_t now)
{
	static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
	static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	struct tm tm;

	gmtime_r(&now, &tm);
	buf_printf(out, "Date: %s, %d %s %d %02d:%02d:%02d +0000\r\n", days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900,
		tm.tm_hour, tm.tm_min, tm.tm_sec);
}

bool challenge_reply(struct buf *out, const char *address, const struct challenge *c, const char *message_id, const char *response, time_t now,
	struct err *err)
{
	struct address from, to;
	char text[ADDRESS_MAX];

	if (!plain_address(address, &from, "the address to be validated", err) ||
		!plain_address(c->reply_to ? c->reply_to : c->from, &to, "the address to reply to", err))
		return false;
	if (!message_id_good(c->message_id))
		return refuse(err, "the challenge's Message-ID", "");
	if (!message_id_good(message_id))
		return refuse(err, "our own Message-ID", "");
	if (!token_good(c->token_part1))
		return refuse(err, "the challenge's token", ": it is no base64url text");
	if (!token_good(response))
		return refuse(err, "the response", ": it is no base64url text");
	buf_printf(out, "From: %s\r\n", address_text(&from, text));
	buf_printf(out, "To: %s\r\n", address_text(&to, text));
	buf_printf(out, "Subject: Re: ACME: %s\r\n", c->token_part1);
	put_date(out, now);
	buf_printf(out, "Message-ID: %s\r\n", message_id);
	buf_printf(out, "In-Reply-To: %s\r\n", c->message_id);
	buf_printf(out, "References: %s\r\n", c->message_id);
	buf_puts(out, "Auto-Submitted: auto-replied\r\n"
		      "MIME-Version: 1.0\r\n"
		      "Content-Type: text/plain; charset=us-ascii\r\n"
		      "Content-Transfer-Encoding: 7bit\r\n"
		      "\r\n"
		      "-----BEGIN ACME RESPONSE-----\r\n");
	buf_printf(out, "%s\r\n", response);
	buf_puts(out, "-----END ACME RESPONSE-----\r\n");
	return !out->failed || err_nomem(err, "write reply mail");
}

/* ---- handing over ------------------------------------------------------------------------------------------------ */

struct dialogue {
	const struct buf *mail;
	bool given;    /* the callback handed the mail to the library */
	bool data;     /* content began to go out */
	bool answered; /* the server's word on the message is in */
};

/* libesmtp looks at errno after it ran us, and takes a leftover for its own failure. */
static void on_event(smtp_session_t session, int event, void *arg, ...)
{
	struct dialogue *d = arg;
	int saved = errno, *flag;
	va_list ap;

	va_start(ap, arg);
	switch (event) {
	case SMTP_EV_MESSAGEDATA:
		d->data = true;
		break;
	case SMTP_EV_MESSAGESENT:
		d->answered = true;
		break;
	case SMTP_EV_SYNTAXWARNING:
		flag = va_arg(ap, int *); /* a missing enhanced status code is no reason to quit */
		*flag = 0;
		break;
	case SMTP_EV_EXTNA_DSN:
		flag = va_arg(ap, int *); /* nor is a server that makes no reports */
		*flag = 0;
		break;
	default:
		break;
	}
	va_end(ap);
	errno = saved;
}

/* The library asks with len == NULL to begin anew, then for the next piece until it gets none. */
static const char *on_content(void **context, int *len, void *arg)
{
	struct dialogue *d = arg;

	if (!len) {
		d->given = false;
		return NULL;
	}
	*len = d->given ? 0 : (int)d->mail->len;
	d->given = true;
	return *len ? d->mail->data : NULL;
}

/* libesmtp writes to its socket with write(2): a peer that closes would end the program by SIGPIPE.  The signal is held back for
 * this thread, and taken off again if it came by us. */
static void sigpipe_hold(sigset_t *old, bool *was_pending)
{
	sigset_t pipe, pending;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	sigpending(&pending);
	*was_pending = sigismember(&pending, SIGPIPE) == 1;
	pthread_sigmask(SIG_BLOCK, &pipe, old);
}

static void sigpipe_release(const sigset_t *old, bool was_pending)
{
	const struct timespec at_once = {0};
	sigset_t pipe;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	if (!was_pending)
		while (sigtimedwait(&pipe, NULL, &at_once) < 0 && errno == EINTR)
			continue;
	pthread_sigmask(SIG_SETMASK, old, NULL);
}

/* RFC 3461: all that can become of it, and of the mail no more than its header. */
static bool ask_reports(smtp_message_t message, smtp_recipient_t recipient, const char *envelope_id)
{
	return !envelope_id || (smtp_dsn_set_ret(message, Ret_HDRS) && smtp_dsn_set_envid(message, envelope_id) &&
				       smtp_dsn_set_notify(recipient, Notify_SUCCESS | Notify_FAILURE | Notify_DELAY));
}

/* No STARTTLS, no authentication, no extension but DSN: it is our own MTA on the loopback. */
static bool session_set(smtp_session_t session, const char *host, unsigned port, unsigned timeout_seconds, struct dialogue *d)
{
	static const int timeouts[] = {Timeout_GREETING, Timeout_ENVELOPE, Timeout_DATA, Timeout_TRANSFER, Timeout_DATA2};
	long ms = (timeout_seconds ? timeout_seconds : 60) * 1000L;
	struct buf server = BUF_INIT;
	bool ok;

	buf_printf(&server, "%s:%u", host, port);
	ok = !server.failed && smtp_set_server(session, server.data) && smtp_set_eventcb(session, on_event, d) &&
	     smtp_option_require_all_recipients(session, 1) && smtp_starttls_enable(session, Starttls_DISABLED);
	for (size_t i = 0; ok && i < sizeof timeouts / sizeof *timeouts; i++)
		ok = smtp_set_timeout(session, timeouts[i] | Timeout_OVERRIDE_RFC2822_MINIMUM, ms) != 0;
	buf_clear(&server);
	return ok;
}

/* A server's text is a stranger's: one printable line of it. */
static void server_words(const smtp_status_t *status, char out[300])
{
	size_t n = 0;

	for (const char *p = status && status->text ? status->text : ""; *p && n < 299; p++)
		out[n++] = *p < ' ' || *p >= 127 ? ' ' : *p;
	while (n && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
}

/* A refusal at some stage; `code` is 0 when the server did not get that far. */
static bool refused(const smtp_status_t *status, const char *stage, const char *where, struct err *err)
{
	char words[300];

	if (!status || status->code < 400)
		return false;
	server_words(status, words);
	/* 5xx from our own listener is mostly its configuration, yet it may be mended there without anybody telling us. */
	err_set(err, ERR_TEMPORARY, "send reply mail", where,
		"the reply listener refused %s: %d %s. See `reply` in the configuration and that listener's log", stage, status->code, words);
	if (err)
		snprintf(err->type, sizeof err->type, "smtp-%d", status->code);
	return true;
}

static enum reply_outcome outcome_of(const struct dialogue *d, smtp_message_t message, smtp_recipient_t recipient, bool ran, const char *where,
	struct err *err)
{
	const smtp_status_t *status = smtp_message_transfer_status(message);
	char why[128] = "";
	int code = smtp_errno();

	if (code)
		smtp_strerror(code, why, sizeof why);
	if (d->data && d->answered && status->code >= 200 && status->code < 300)
		return REPLY_ACCEPTED;
	if (d->data && !(d->answered && status->code >= 400 && status->code < 600)) {
		err_set(err, ERR_TEMPORARY, "send reply mail", where,
			"the connection to the reply listener was lost after the mail had gone out%s%s; it is not sent again, as it may have arrived",
			*why ? ": " : "", why);
		return REPLY_IN_DOUBT;
	}
	if (refused(status, d->data ? "the mail" : "DATA", where, err) || refused(smtp_recipient_status(recipient), "the recipient", where, err) ||
		refused(smtp_reverse_path_status(message), "the sender", where, err))
		return REPLY_NOT_SENT;
	err_set(err, ERR_TEMPORARY, "send reply mail", where, "the reply listener %s%s%s. Does it run, as `reply` in the configuration says?",
		ran ? "would not take the mail" : "could not be reached", *why ? ": " : "", why);
	return REPLY_NOT_SENT;
}

static bool envelope_good(const char *host, const char *from, const char *to, struct err *err)
{
	struct address a;

	/* libesmtp splits "host:port" at the first colon. */
	if (strchr(host, ':'))
		return err_set(err, ERR_CONFIG, "send reply mail", host,
			"reply.host = \"%s\": write a name, such as \"localhost\", instead of an IPv6 address", host);
	return (!*from || plain_address(from, &a, "the envelope sender", err)) && plain_address(to, &a, "the envelope recipient", err);
}

static enum reply_outcome hand_over(const char *host, unsigned port, unsigned timeout_seconds, const char *envelope_from, const char *envelope_to,
	const char *envelope_id, const struct buf *mail, struct err *err)
{
	struct dialogue d = {.mail = mail};
	enum reply_outcome outcome = REPLY_NOT_SENT;
	smtp_session_t session = NULL;
	smtp_message_t message;
	smtp_recipient_t recipient;
	char where[300];
	sigset_t old;
	bool was_pending, ran;

	if (!envelope_good(host, envelope_from, envelope_to, err))
		return REPLY_NOT_SENT;
	snprintf(where, sizeof where, "%.250s:%u", host, port);
	sigpipe_hold(&old, &was_pending);
	session = smtp_create_session();
	message = session ? smtp_add_message(session) : NULL;
	recipient = message ? smtp_add_recipient(message, envelope_to) : NULL;
	if (!recipient || !session_set(session, host, port, timeout_seconds, &d) || !smtp_set_reverse_path(message, envelope_from) ||
		!smtp_set_messagecb(message, on_content, &d) || !ask_reports(message, recipient, envelope_id)) {
		err_nomem(err, "send reply mail");
		goto out;
	}
	ran = smtp_start_session(session) != 0;
	outcome = outcome_of(&d, message, recipient, ran, where, err);
out:
	if (session)
		smtp_destroy_session(session);
	sigpipe_release(&old, was_pending);
	return outcome;
}

enum reply_outcome challenge_send(const char *host, unsigned port, unsigned timeout_seconds, const char *envelope_from, const char *envelope_to,
	const char *envelope_id, const struct buf *mail, struct err *err)
{
	enum reply_outcome outcome = hand_over(host, port, timeout_seconds, envelope_from, envelope_to, envelope_id, mail, err);

	metrics_count(METRIC_REPLIES, outcome == REPLY_ACCEPTED ? METRICS_REPLY_ACCEPTED
		: outcome == REPLY_NOT_SENT ? METRICS_REPLY_NOT_SENT : METRICS_REPLY_IN_DOUBT, 0, 0);
	return outcome;
}
