/*
 * enroll/doctor_mail.c - `doctor` and Postfix (doctor_mail.h).
 *
 * Whether reports come back is tried, not read from a configuration: the trial reply asks for one, under a sender with enrollment 0 and a
 * token that stands in flag "trial-report" meanwhile; the inbound instance notes a report with that token as event trial_report.
 */
#include "config.h"

#include "enroll/doctor_mail.h"
#include "sandbox/sandbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FLAG "trial-report"
#define WAIT_MS 15000
#define EVENTS_MOST 200

/* ---- delivery reports ---------------------------------------------------------------------------------------------- */

static bool newest_event(struct store *store, int64_t *id, struct err *err)
{
	struct event_list l = {0};

	if (!store_events(store, 0, -1, 1, &l, err))
		return false;
	*id = l.n ? l.v[0].id : 0;
	event_list_clear(&l);
	return true;
}

bool doctor_report_begin(json_t *checks, struct enroll_parts *p, struct trial_report *t)
{
	struct err err = ERR_INIT;

	memset(t, 0, sizeof *t);
	if (!p->config->report_address) {
		check_add(checks, "reply-reports", "warning", "reply.report-address is not set: what became of a reply is known by the CA's verdict alone");
		return false;
	}
	report_token_new(t->token);
	if (report_address_write(t->from, p->config->report_address, 0, t->token) && newest_event(p->store, &t->last_event, &err) &&
		store_flag_set(p->store, FLAG, t->token, "doctor", &err))
		return true;
	check_add(checks, "reply-reports", "warning", "%s", *err.text ? err.text : "reply.report-address cannot be used as an envelope sender");
	return false;
}

/* The inbound instance's event with our token, after those that were there. */
static bool arrived(struct enroll_parts *p, const struct trial_report *t, char text[512])
{
	struct event_list l = {0};
	bool found = false;

	if (!store_events(p->store, 0, t->last_event, EVENTS_MOST, &l, NULL))
		return false;
	for (size_t i = 0; !found && i < l.n; i++) {
		found = l.v[i].enrollment_id == 0 && strcmp(l.v[i].name, "trial_report") == 0 && l.v[i].text;
		if (found)
			snprintf(text, 512, "a delivery report of the trial reply came back: %.400s", l.v[i].text);
	}
	event_list_clear(&l);
	return found;
}

void doctor_report_end(json_t *checks, struct enroll_parts *p, const struct trial_report *t, bool sent)
{
	const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};
	int64_t until = mono_ms() + WAIT_MS;
	struct err err = ERR_INIT;
	char text[512];
	bool there = false;

	while (sent && !(there = arrived(p, t, text)) && mono_ms() < until)
		nanosleep(&pause, NULL);
	if (there)
		check_add(checks, "reply-reports", "ok", "%s", text);
	else if (sent)
		check_add(checks, "reply-reports", "warning",
			"no delivery report of the trial reply came back in 15 seconds: transport_maps has to send those addresses to a listener with the "
			"inbound instance on it (examples/postfix/main.cf). Until then replies are as good as without reply.report-address");
	/* Left behind it does no harm: the next trial has another token. */
	if (!store_flag_set(p->store, FLAG, NULL, "doctor", &err))
		check_add(checks, "reply-reports", "warning", "%s", err.text);
}

/* ---- what happens while the outbound instance is away ------------------------------------------------------------------ */

/* The value of "...NAME = value" in postconf's answer whose line begins with `service`; "" when there is none. */
static void parameter(const char *answer, const char *service, size_t service_len, const char *name, char out[64])
{
	size_t name_len = strlen(name);

	out[0] = '\0';
	for (const char *line = answer; *line; line += strcspn(line, "\n"), line += *line == '\n')
		if (strncmp(line, service, service_len) == 0 && strncmp(line + service_len, name, name_len) == 0 &&
			strncmp(line + service_len + name_len, " = ", 3) == 0)
			snprintf(out, 64, "%.*s", (int)strcspn(line + service_len + name_len + 3, "\n"), line + service_len + name_len + 3);
}

/* One line "SERVICE/inet/smtpd_milters = ..." (or of main.cf, without service) that names our socket: what happens without it. */
static void action_of(const char *answer, const char *line, size_t len, const char *socket, char out[64])
{
	const char *equals = memchr(line, '=', len), *slash = equals ? memrchr(line, '/', (size_t)(equals - line)) : NULL;
	const char *at = equals ? memmem(equals, len - (size_t)(equals - line), socket, strlen(socket)) : NULL, *end, *own;
	size_t service_len = slash ? (size_t)(slash - line) + 1 : 0;

	out[0] = '\0';
	if (!at)
		return;
	end = at + strcspn(at, "{}\n");
	own = *end == '}' ? memmem(at, (size_t)(end - at), "default_action", 14) : NULL;
	if (own && own[14 + strspn(own + 14, " ")] == '=') {
		own += 14 + strspn(own + 14, " =");
		snprintf(out, 64, "%.*s", (int)strcspn(own, " ,}\n"), own);
	}
	if (!*out && service_len)
		parameter(answer, line, service_len, "milter_default_action", out);
	if (!*out)
		parameter(answer, "", 0, "milter_default_action", out);
}

static bool ask_postconf(struct buf *answer)
{
	FILE *f = !sandbox_may_execute() ? NULL : popen("PATH=/usr/sbin:/usr/bin:/sbin:/bin; exec 2>/dev/null; postconf -P '*/*/smtpd_milters' '*/*/milter_default_action'; "
			"postconf smtpd_milters milter_default_action",
		"re");
	char piece[4096];
	size_t n;

	answer->max = 1 << 20;
	while (f && (n = fread(piece, 1, sizeof piece, f)) > 0)
		buf_append(answer, piece, n);
	return f && pclose(f) == 0 && !answer->failed;
}

void doctor_default_action(json_t *checks, struct enroll_parts *p)
{
	const char *path = p->config->milter.outbound_socket, *name = strrchr(path, '/');
	struct buf answer = BUF_INIT;
	char action[64], text[512];
	unsigned lines = 0, bad = 0;

	/* Postfix names it relative to its queue directory: the last two parts are the same. */
	while (name && name > path && name[-1] != '/' && name[-1] != ':')
		name--;
	if (!name || !ask_postconf(&answer))
		goto out;
	for (const char *line = buf_str(&answer); *line; line += strcspn(line, "\n"), line += *line == '\n') {
		action_of(buf_str(&answer), line, strcspn(line, "\n"), name, action);
		lines += *action != '\0';
		if (strcmp(action, "accept") != 0)
			continue;
		bad++;
		snprintf(text, sizeof text, "%.*s: default_action=accept lets mail pass unsigned, and half-edited, when the outbound instance dies; write "
			"{ unix:%.100s, default_action=tempfail }", (int)strcspn(line, "= \n"), line, name);
		check_add(checks, "default-action", "warning", "%s", text);
	}
	if (lines && !bad)
		check_add(checks, "default-action", "ok", "mail waits while the outbound instance is away");
out:
	buf_clear(&answer);
}
