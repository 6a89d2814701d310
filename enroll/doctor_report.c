/*
 * enroll/doctor_report.c - do delivery reports of replies come back?
 *
 * Whether reports come back is tried, not read from a configuration: the trial reply asks for one, under a sender with enrollment 0 and a
 * token that stands in flag "trial-report" meanwhile; the inbound instance notes a report with that token as event trial_report.
 */
#include "config.h"

#include "enroll/doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FLAG "trial-report"
#define WAIT_MS 15000
#define EVENTS_MOST 200

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
		check_fix(checks, FIX_CONFIGURATION, "reply", FIX_REPORTS, p->config->domains.n ? p->config->domains.v[0] : "");
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
