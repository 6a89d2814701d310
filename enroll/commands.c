/*
 * enroll/commands.c - what enrollctl can ask of enrolld: one table, one function a command.  Times are RFC 3339 texts, absent facts are left out.
 */
#include "config.h"

#include "enroll/answer.h"
#include "enroll/control.h"
#include "enroll/decide.h"
#include "enroll/instance.h"
#include "enroll/people.h"

#include <stdlib.h>
#include <string.h>

#define LIST_MOST 1000
#define REASONS_MOST 30
#define SHOW_TRIES 5
#define WITHIN (30 * 86400) /* of expiring, when not said */

struct call {
	struct enroll_parts *parts;
	const struct control_peer *peer;
	json_t *arguments;
};

/* ---- arguments and values --------------------------------------------------------------------------------------------------- */

static const char *text_argument(const struct call *c, const char *name)
{
	return json_string_value(json_object_get(c->arguments, name));
}

static size_t limit_argument(const struct call *c, size_t otherwise)
{
	json_int_t n = json_integer_value(json_object_get(c->arguments, "limit"));

	return n > 0 && n <= LIST_MOST ? (size_t)n : otherwise;
}

/* The enrollment an admin means by an address; an error when there is none. */
static bool find(const struct call *c, struct enrollment *e, struct err *err)
{
	const char *address = text_argument(c, "address");
	struct address parsed;
	bool found;

	if (!address)
		return err_set(err, ERR_CONFIG, "find enrollment", NULL, "an address is needed");
	if (!address_parse(&parsed, address, err) || !store_enrollment_find(c->parts->store, address, e, &found, err))
		return false;
	return found || err_set(err, ERR_POLICY, "find enrollment", address,
				"no enrollment for this address yet; it begins with the user's next mail, or with `enrollctl enroll %s`", address);
}

/* ---- facts as JSON ------------------------------------------------------------------------------------------------------------ */

static const char *what_next(const struct enroll_parts *p, const struct enrollment *e)
{
	if (e->disabled)
		return "nothing until `enrollctl enable`";
	if (e->gone_since && !people_looks(p))
		return "nothing: this person was noted as gone, and nobody looks at the directory for that any more; if they are here, `enrollctl enable`";
	if (e->gone_since)
		return e->gone_ended ? "nothing: this person left; if the directory has them again, a new certificate is asked for"
			: "nothing until the directory has this person again; `enrollctl departures` says what becomes of the certificate, and when";
	switch (e->state) {
	case ENROLLMENT_BLOCKED:
		return e->next_at ? "is looked at again by itself, or now with `enrollctl retry`" : "an admin has to act on the reason, then `enrollctl retry`";
	case ENROLLMENT_FAILED:
		return "please report this as a defect; `enrollctl retry` begins again";
	case ENROLLMENT_WAITING:
		return "goes on by itself, or now with `enrollctl retry`";
	case ENROLLMENT_ACTIVE:
		return e->why_type && strcmp(e->why_type, ELIGIBILITY_EXCLUDED) == 0 ? "mail is not signed, as the rule says; it is when a rule says so again"
			: "mail is signed; renewal begins by itself";
	case ENROLLMENT_CHALLENGE_AWAITED:
		return "waits for the CA's challenge mail";
	case ENROLLMENT_ANSWERED:
		return "waits for the CA's verdict";
	case ENROLLMENT_REVOKING:
		return "nobody signs with it; CA and directory are told until they follow";
	default:
		return e->next_at ? "goes on by itself" : "nothing";
	}
}

json_t *json_of_enrollment(const struct enrollment *e, bool whole)
{
	json_t *o = json_object();

	answer_set(o, "id", json_integer(e->id));
	answer_set(o, "address", e->addresses.n ? json_string(e->addresses.v[0]) : NULL);
	answer_set(o, "state", json_string(enrollment_state_name(e->state)));
	answer_set(o, "since", answer_time(e->state_since));
	answer_set(o, "why", answer_text(e->why));
	answer_set(o, "why_class", e->why ? json_string(err_class_name(e->why_class)) : NULL);
	answer_set(o, "why_type", answer_text(e->why_type));
	answer_set(o, "why_url", answer_text(e->why_subject));
	answer_set(o, "why_status", e->why_status ? json_integer(e->why_status) : NULL);
	answer_set(o, "why_at", answer_time(e->why_at));
	answer_set(o, "next_at", answer_time(e->next_at));
	answer_set(o, "disabled", json_boolean(e->disabled));
	answer_set(o, "gone_since", answer_time(e->gone_since));
	answer_set(o, "gone_why", answer_text(e->gone_why));
	answer_set(o, "profile", answer_text(e->profile));
	answer_set(o, "usage", answer_text(e->usage));
	if (!whole)
		return o;
	answer_set(o, "addresses", answer_texts(&e->addresses));
	answer_set(o, "ca", answer_text(e->ca));
	answer_set(o, "rule", answer_text(e->rule));
	answer_set(o, "resumes_in", e->state == ENROLLMENT_WAITING || e->state == ENROLLMENT_BLOCKED ? json_string(enrollment_state_name(e->resume)) : NULL);
	answer_set(o, "requested_by", answer_text(e->requested_by));
	answer_set(o, "requested_at", answer_time(e->requested_at));
	answer_set(o, "attempts", json_integer((json_int_t)e->attempts));
	answer_set(o, "orders", json_integer((json_int_t)e->orders));
	answer_set(o, "abandoned_orders", json_integer((json_int_t)e->abandoned));
	answer_set(o, "ordered_at", answer_time(e->ordered_at));
	answer_set(o, "challenge_from", answer_text(e->challenge_from));
	answer_set(o, "answered_at", answer_time(e->answered_at));
	answer_set(o, "activity", answer_text(e->activity));
	answer_set(o, "intent", answer_text(e->intent));
	return o;
}

json_t *json_of_certificate(const struct store_certificate *c)
{
	json_t *o = json_object();

	answer_set(o, "serial", answer_text(c->serial));
	answer_set(o, "fingerprint", answer_text(c->fingerprint));
	answer_set(o, "issuer", answer_text(c->issuer));
	answer_set(o, "addresses", answer_text(c->addresses));
	answer_set(o, "not_before", answer_time(c->not_before));
	answer_set(o, "not_after", answer_time(c->not_after));
	answer_set(o, "status", answer_text(c->status));
	answer_set(o, "findings", answer_text(c->why));
	answer_set(o, "directory_dn", c->in_directory ? answer_text(c->directory_dn) : NULL);
	answer_set(o, "directory_why", c->in_directory ? answer_text(c->directory_why) : NULL);
	answer_set(o, "directory_class", c->in_directory && c->directory_why ? json_string(err_class_name(c->directory_class)) : NULL);
	answer_set(o, "directory_next_at", c->in_directory && c->directory_why ? answer_time(c->directory_next_at) : NULL);
	return o;
}

static json_t *challenge_json(const struct challenge *c)
{
	json_t *o = json_object();

	answer_set(o, "received_at", answer_time(c->received_at));
	answer_set(o, "from", answer_text(c->from));
	answer_set(o, "message_id", answer_text(c->message_id));
	answer_set(o, "authentication", answer_text(c->authentication));
	answer_set(o, "disposition", answer_text(c->disposition));
	answer_set(o, "state", answer_text(c->state));
	answer_set(o, "reply_message_id", answer_text(c->reply_message_id));
	return o;
}

json_t *json_of_mail(const struct mail_event *m)
{
	json_t *o = json_object();

	answer_set(o, "at", answer_time(m->at));
	answer_set(o, "queue_id", answer_text(m->queue_id));
	answer_set(o, "message_id", answer_text(m->message_id));
	answer_set(o, "login", answer_text(m->login));
	answer_set(o, "from", answer_text(m->from));
	answer_set(o, "verdict", answer_text(m->verdict));
	answer_set(o, "reason", answer_text(m->reason));
	answer_set(o, "detail", answer_text(m->detail));
	answer_set(o, "action", answer_text(m->action));
	answer_set(o, "certificate", answer_text(m->certificate));
	return o;
}

/* The token stays out: whoever has it can report. */
static json_t *report_json(const struct report *r)
{
	json_t *o = json_object();

	answer_set(o, "received_at", answer_time(r->received_at));
	answer_set(o, "action", answer_text(r->action));
	answer_set(o, "status", answer_text(r->status));
	answer_set(o, "diagnostic", answer_text(r->diagnostic));
	answer_set(o, "remote", answer_text(r->remote));
	answer_set(o, "reporter", answer_text(r->reporter));
	return o;
}

static json_t *event_json(const struct event *e)
{
	json_t *o = json_object();

	answer_set(o, "id", json_integer(e->id));
	answer_set(o, "at", answer_time(e->at));
	answer_set(o, "event", answer_text(e->name));
	answer_set(o, "actor", answer_text(e->actor));
	answer_set(o, "address", answer_text(e->address));
	answer_set(o, "state", e->enrollment_id ? json_string(enrollment_state_name(e->state)) : NULL);
	answer_set(o, "class", e->class == ERR_NONE ? NULL : json_string(err_class_name(e->class)));
	answer_set(o, "text", answer_text(e->text));
	return o;
}

/* ---- reading commands ---------------------------------------------------------------------------------------------------------- */

static const char *mode_name(enum config_mode m)
{
	return m == MODE_SIGN ? "sign" : m == MODE_ENROLL ? "enroll" : "observe";
}

static json_t *do_status(const struct call *c, struct err *err)
{
	size_t counts[ENROLLMENT_STATES], disabled, today;
	char *paused = NULL, *guard = NULL;
	struct store_people gone = {0};
	json_t *o, *states;

	if (!store_enrollment_counts(c->parts->store, counts, &disabled, err) || !store_orders_since(c->parts->store, time(NULL) - 86400, NULL, &today, err) ||
		!store_flag_get(c->parts->store, "paused", &paused, err) || !store_flag_get(c->parts->store, PEOPLE_GUARD_FLAG, &guard, err) ||
		!store_people_list(c->parts->store, true, &gone, err)) {
		free(paused);
		free(guard);
		return NULL;
	}
	o = json_object();
	states = json_object();
	for (int i = 0; i < ENROLLMENT_STATES; i++)
		if (counts[i])
			answer_set(states, enrollment_state_name((enum enrollment_state)i), json_integer((json_int_t)counts[i]));
	answer_set(o, "version", json_string(PACKAGE_VERSION));
	answer_set(o, "mode", json_string(mode_name(c->parts->config->mode)));
	answer_set(o, "configuration", answer_text(c->parts->trouble));
	answer_set(o, "paused", paused ? json_string(paused) : json_false());
	answer_set(o, "enrollments", states);
	answer_set(o, "disabled", json_integer((json_int_t)disabled));
	answer_set(o, "departed", json_integer((json_int_t)gone.n));
	answer_set(o, "directory_guard", answer_text(guard));
	answer_set(o, "orders_in_24h", json_integer((json_int_t)today));
	answer_set(o, "cap_total", c->parts->config->cap_total ? json_integer((json_int_t)c->parts->config->cap_total) : NULL);
	answer_set(o, "cap_per_day", json_integer((json_int_t)c->parts->config->cap_per_day));
	answer_set(o, "ca", answer_text(c->parts->config->ca.directory_url ? c->parts->config->ca.directory_url : c->parts->config->ca.exec.program));
	for (size_t i = 0; c->parts->config->n_more_cas && i < config_cas(c->parts->config); i++) {
		if (i == 0)
			answer_set(o, "cas", json_array());
		json_array_append_new(json_object_get(o, "cas"), json_string(config_ca_at(c->parts->config, i)->name));
	}
	answer_set(o, "profile", answer_text(c->parts->config->certificate.name));
	answer_set(o, "pilot", json_boolean(c->parts->config->pilot_addresses.n || c->parts->config->pilot_group));
	free(paused);
	free(guard);
	store_people_clear(&gone);
	if (instance_status(c->parts, o, err))
		return o;
	json_decref(o);
	return NULL;
}

/* Mail of ours that would go out unsigned, by reason: the other half of what observe mode is for. */
static json_t *list_left_alone(const struct call *c, struct err *err)
{
	struct mail_reason_list l = {0};
	json_t *a;

	if (!store_left_alone(c->parts->store, REASONS_MOST, &l, err))
		return NULL;
	a = json_array();
	for (size_t i = 0; i < l.n; i++) {
		json_t *o = json_object();

		answer_set(o, "verdict", answer_text(l.v[i].verdict));
		answer_set(o, "reason", answer_text(l.v[i].reason));
		answer_set(o, "mails", json_integer((json_int_t)l.v[i].mails));
		answer_set(o, "last", answer_time(l.v[i].last));
		json_array_append_new(a, o);
	}
	mail_reason_list_clear(&l);
	return a;
}

static json_t *list_observed(const struct call *c, struct err *err)
{
	json_t *a, *left_alone = list_left_alone(c, err);
	struct observed_list l = {0};

	if (!left_alone)
		return NULL;
	if (!store_observed(c->parts->store, &l, err)) {
		json_decref(left_alone);
		return NULL;
	}
	a = json_array();
	for (size_t i = 0; i < l.n; i++) {
		json_t *o = json_object();

		answer_set(o, "address", answer_text(l.v[i].from));
		answer_set(o, "login", answer_text(l.v[i].login));
		answer_set(o, "verdict", answer_text(l.v[i].verdict));
		answer_set(o, "reason", answer_text(l.v[i].reason));
		answer_set(o, "mails", json_integer((json_int_t)l.v[i].mails));
		answer_set(o, "first", answer_time(l.v[i].first));
		answer_set(o, "last", answer_time(l.v[i].last));
		json_array_append_new(a, o);
	}
	observed_list_clear(&l);
	return json_pack("{s:o, s:o}", "observed", a, "left_alone", left_alone);
}

static json_t *do_list(const struct call *c, struct err *err)
{
	const char *state = text_argument(c, "state"), *after = text_argument(c, "after");
	size_t limit = limit_argument(c, 200);
	enum enrollment_state wanted = ENROLLMENT_REQUESTED;
	struct enrollment_list l = {0};
	json_t *a, *o;

	if (json_is_true(json_object_get(c->arguments, "observed")))
		return list_observed(c, err);
	if (state && !enrollment_state_parse(state, &wanted)) {
		err_set(err, ERR_CONFIG, "list", state, "no such state");
		return NULL;
	}
	if (!store_enrollment_list(c->parts->store, state ? (int)wanted : -1, after, limit, &l, err))
		return NULL;
	a = json_array();
	for (size_t i = 0; i < l.n; i++)
		json_array_append_new(a, json_of_enrollment(&l.v[i], false));
	o = json_pack("{s:o}", "enrollments", a);
	if (l.n == limit && l.v[l.n - 1].addresses.n)
		answer_set(o, "more_after", json_string(l.v[l.n - 1].addresses.v[0]));
	enrollment_list_clear(&l);
	return o;
}

static bool show_certificates(const struct call *c, int64_t id, json_t *o, struct err *err)
{
	struct store_certificate_list l = {0};
	json_t *a;

	if (!store_certificates_of(c->parts->store, id, &l, err))
		return false;
	a = json_array();
	for (size_t i = 0; i < l.n; i++)
		json_array_append_new(a, json_of_certificate(&l.v[i]));
	answer_set(o, "certificates", a);
	store_certificate_list_clear(&l);
	return true;
}

static bool show_challenges(const struct call *c, int64_t id, json_t *o, struct err *err)
{
	struct challenge_list l = {0};
	json_t *a;

	if (!store_challenges_of(c->parts->store, id, 0, &l, err))
		return false;
	a = json_array();
	for (size_t i = 0; i < l.n; i++)
		json_array_append_new(a, challenge_json(&l.v[i]));
	answer_set(o, "challenges", a);
	challenge_list_clear(&l);
	return true;
}

static bool show_reports(const struct call *c, int64_t id, json_t *o, struct err *err)
{
	struct report_list l = {0};
	json_t *a;

	if (!store_reports_of(c->parts->store, id, 0, &l, err))
		return false;
	a = json_array();
	for (size_t i = 0; i < l.n; i++)
		json_array_append_new(a, report_json(&l.v[i]));
	answer_set(o, "reports", a);
	report_list_clear(&l);
	return true;
}

static bool show_events(const struct call *c, int64_t id, int64_t after, size_t limit, json_t *o, struct err *err)
{
	struct event_list l = {0};
	json_t *a;

	if (!store_events(c->parts->store, id, after, limit, &l, err))
		return false;
	a = json_array();
	for (size_t i = 0; i < l.n; i++)
		json_array_append_new(a, event_json(&l.v[i]));
	answer_set(o, "events", a);
	event_list_clear(&l);
	return true;
}

static json_t *show_once(const struct call *c, const struct enrollment *e, struct err *err)
{
	json_t *row = json_of_enrollment(e, true), *o = json_pack("{s:o}", "enrollment", row);

	answer_set(row, "what_next", json_string(what_next(c->parts, e)));

	if (show_certificates(c, e->id, o, err) && revocations_show(c->parts->store, e->id, o, err) && show_challenges(c, e->id, o, err) && show_reports(c, e->id, o, err) &&
		show_events(c, e->id, -1, limit_argument(c, 200), o, err))
		return o;
	json_decref(o);
	return NULL;
}

/* The row of the certificate for encryption beside it, if there is one. */
static bool show_companion(const struct call *c, int64_t id, json_t *o, struct err *err)
{
	struct enrollment e = {0};
	bool found, ok = store_enrollment_companion(c->parts->store, id, &e, &found, err);

	if (ok && found) {
		json_t *beside = show_once(c, &e, err);

		ok = beside != NULL;
		answer_set(o, "encryption", beside);
	}
	enrollment_clear(&e);
	return ok;
}

/* Row, certificates and events are read one after the other while a worker may commit: the answer is given when the row was the same
 * before and after, or a reader would see an event of a state that the row beside it is not in.  A row that never rests is shown as
 * it was last. */
static json_t *do_show(const struct call *c, struct err *err)
{
	struct enrollment e = {0}, after = {0};
	json_t *o = NULL;
	bool same = false;

	if (!find(c, &e, err))
		return NULL;
	for (int tries = 0; tries < SHOW_TRIES && !same; tries++) {
		json_decref(o);
		o = show_once(c, &e, err);
		if (!o || !show_companion(c, e.id, o, err) || !find(c, &after, err))
			break;
		same = after.version == e.version && after.id == e.id;
		enrollment_clear(&e);
		e = after;
		after = (struct enrollment){0};
	}
	if (err->class != ERR_NONE) {
		json_decref(o);
		o = NULL;
	}
	enrollment_clear(&e);
	return o;
}

static json_t *do_events(const struct call *c, struct err *err)
{
	struct enrollment e = {0};
	json_t *after = json_object_get(c->arguments, "after"), *o = NULL;

	if (!text_argument(c, "address") || find(c, &e, err)) {
		o = json_object();
		if (!show_events(c, e.id, after ? (int64_t)json_integer_value(after) : -1, limit_argument(c, 100), o, err)) {
			json_decref(o);
			o = NULL;
		}
	}
	enrollment_clear(&e);
	return o;
}

static json_t *do_mail(const struct call *c, struct err *err)
{
	struct mail_event_list l = {0};
	json_t *a;

	if (!store_mail_events(c->parts->store, text_argument(c, "address"), limit_argument(c, 50), &l, err))
		return NULL;
	a = json_array();
	for (size_t i = 0; i < l.n; i++)
		json_array_append_new(a, json_of_mail(&l.v[i]));
	mail_event_list_clear(&l);
	return json_pack("{s:o}", "mail", a);
}

static json_t *do_why(const struct call *c, struct err *err)
{
	return helpdesk_why(c->parts, text_argument(c, "address"), text_argument(c, "queue_id"), text_argument(c, "message_id"), err);
}

static json_t *do_expiring(const struct call *c, struct err *err)
{
	json_int_t within = json_integer_value(json_object_get(c->arguments, "within"));

	return helpdesk_expiring(c->parts, within > 0 ? within : WITHIN, limit_argument(c, 200), err);
}

static json_t *do_search(const struct call *c, struct err *err)
{
	return helpdesk_search(c->parts, text_argument(c, "text"), limit_argument(c, 50), err);
}

static json_t *do_certificates(const struct call *c, struct err *err)
{
	return certificates_show(c->parts, text_argument(c, "address"), json_is_true(json_object_get(c->arguments, "all")), err);
}

static json_t *do_config(const struct call *c, struct err *err)
{
	struct buf text = BUF_INIT;
	json_t *o = NULL;

	if (config_show(c->parts->config, false, &text, err))
		o = json_pack("{s:s, s:s}", "path", c->parts->config->path, "text", buf_str(&text));
	buf_clear(&text);
	return o;
}

static json_t *do_doctor(const struct call *c, struct err *err)
{
	json_t *checks = doctor_run(c->parts, text_argument(c, "check"), c->peer->role >= CONTROL_ADMIN, err);

	return checks ? json_pack("{s:o}", "checks", checks) : NULL;
}

/* The CA that argument "ca" names, or the first. */
static const struct ca_config *ca_argument(const struct call *c, struct ca **ca, struct err *err)
{
	const char *name = text_argument(c, "ca");
	const struct ca_config *config = name ? config_ca(c->parts->config, name) : &c->parts->config->ca;
	const struct enroll_ca *one = enroll_ca_find(c->parts, name);

	if (!config)
		err_set(err, ERR_CONFIG, "find CA", name, "the configuration has no CA of this name");
	*ca = one ? one->ca : NULL;
	return config;
}

static json_t *do_ca_check(const struct call *c, struct err *err)
{
	struct ca *ca;
	const struct ca_config *config = ca_argument(c, &ca, err);
	json_t *checks = config ? ca_check_run(config, ca, c->parts->store, err) : NULL;

	return checks ? json_pack("{s:o}", "checks", checks) : NULL;
}

/* Which CA's certificate an address is to get is a matter of rules, where there are several. */
static const struct ca_config *ca_of_address(const struct call *c, const char *address, struct ca **ca, struct err *err)
{
	const struct ca_config *config = NULL;
	const struct enroll_ca *one;
	struct verdict v = {0};

	if (decide(c->parts, address, 0, &v, NULL, err))
		config = v.decision.ca ? v.decision.ca : &c->parts->config->ca;
	verdict_clear(&v);
	one = config ? enroll_ca_find(c->parts, config->name) : NULL;
	*ca = one ? one->ca : NULL;
	return config;
}

static json_t *do_caa_check(const struct call *c, struct err *err)
{
	const char *about = text_argument(c, "about");
	struct address a;
	bool ours = about && address_parse(&a, about, NULL) && config_serves(c->parts->config, a.domain);
	bool by_rules = ours && !text_argument(c, "ca") && c->parts->config->n_more_cas;
	struct ca *ca;
	const struct ca_config *config = by_rules ? ca_of_address(c, about, &ca, err) : ca_argument(c, &ca, err);

	return config ? caa_look_at(config, ca, &c->parts->perspectives, about, err) : NULL;
}

static json_t *do_account(const struct call *c, struct err *err)
{
	struct ca *ca;
	const struct ca_config *config = ca_argument(c, &ca, err);

	return config ? account_show(config, ca, err) : NULL;
}

static json_t *do_account_use_key(const struct call *c, struct err *err)
{
	struct ca *ca;
	const struct ca_config *config = ca_argument(c, &ca, err);

	return config ? account_use_key(c->parts, config, c->peer, err) : NULL;
}

static json_t *do_policy_explain(const struct call *c, struct err *err)
{
	const char *address = text_argument(c, "address");
	json_t *one, *o = NULL;
	struct strlist to = {0};
	bool ok = true;
	size_t i;

	json_array_foreach(json_object_get(c->arguments, "to"), i, one)
		ok = ok && strlist_add(&to, json_string_value(one) ? json_string_value(one) : "");
	if (!address)
		err_set(err, ERR_CONFIG, "explain policy", NULL, "an address is needed");
	else if (!ok)
		err_nomem(err, "explain policy");
	else
		o = policy_explain(c->parts, address, &to, err);
	strlist_clear(&to);
	return o;
}

/* ---- changing commands ------------------------------------------------------------------------------------------------------------ */

/* Whether what the address has is of another kind than what it should have; then it is renewed. */
static bool enroll_anew(const struct call *c, const char *address, bool *renewed, struct err *err)
{
	struct enrollment e = {0};
	struct verdict v = {0};
	bool found = false, ok = store_enrollment_find(c->parts->store, address, &e, &found, err);

	if (ok && found && e.state == ENROLLMENT_REVOKING && !e.disabled) {
		ok = store_enrollment_admin(c->parts->store, e.id, ENROLLMENT_ADMIN_RENEW, c->peer->name, "a new certificate is asked for after a revocation", renewed,
			err);
	} else if (ok && found && e.state == ENROLLMENT_ACTIVE) {
		ok = decide(c->parts, address, e.id, &v, NULL, err);
		if (ok && v.decision.certificate) {
			struct certificate_profile p = profile_for(v.decision.certificate, NULL);

			if (strcmp(p.name, e.profile) != 0 || strcmp(usage_name(p.usage), e.usage) != 0 || strcmp(v.decision.ca->name, e.ca) != 0)
				ok = store_enrollment_admin(c->parts->store, e.id, ENROLLMENT_ADMIN_RENEW, c->peer->name, "another kind of certificate is asked for",
					renewed, err);
		}
	}
	verdict_clear(&v);
	enrollment_clear(&e);
	return ok;
}

static json_t *do_enroll(const struct call *c, struct err *err)
{
	struct certificate_profile p = profile_for(&c->parts->config->certificate, NULL);
	const char *text = text_argument(c, "address");
	char address[ADDRESS_MAX];
	struct address parsed;
	bool created = false, renewed = false;
	int64_t id = 0;

	if (!text || !address_parse(&parsed, text, err)) {
		if (!text)
			err_set(err, ERR_CONFIG, "enroll", NULL, "an address is needed");
		return NULL;
	}
	if (!config_serves(c->parts->config, parsed.domain)) {
		err_set(err, ERR_POLICY, "enroll", text, "%s is not among the domains of the configuration", parsed.domain);
		return NULL;
	}
	address_text(&parsed, address);
	if (!store_enrollment_request(c->parts->store, address, p.name, usage_name(p.usage), c->peer->name, &created, &id, err) ||
		(!created && !enroll_anew(c, address, &renewed, err)))
		return NULL;
	return json_pack("{s:s, s:b, s:b, s:I}", "address", address, "created", created, "renewed", renewed, "id", (json_int_t)id);
}

/* Who says "try again" of an address means all of it. */
static bool retry_companion(const struct call *c, int64_t id, bool *changed, struct err *err)
{
	struct enrollment e = {0};
	bool found, also = false, ok = store_enrollment_companion(c->parts->store, id, &e, &found, err);

	if (ok && found)
		ok = store_enrollment_admin(c->parts->store, e.id, ENROLLMENT_ADMIN_RETRY, c->peer->name, text_argument(c, "reason"), &also, err);
	*changed = *changed || also;
	ok = ok && store_revocations_retry(c->parts->store, id, &also, err);
	*changed = *changed || also;
	ok = ok && store_directory_retry(c->parts->store, id, &also, err);
	*changed = *changed || also;
	enrollment_clear(&e);
	return ok;
}

static json_t *admin_act(const struct call *c, enum enrollment_admin what, struct err *err)
{
	struct enrollment e = {0};
	bool changed = false;
	json_t *o = NULL;

	if (find(c, &e, err) && store_enrollment_admin(c->parts->store, e.id, what, c->peer->name, text_argument(c, "reason"), &changed, err) &&
		(what != ENROLLMENT_ADMIN_RETRY || retry_companion(c, e.id, &changed, err)))
		o = json_pack("{s:s, s:b, s:s}", "address", e.addresses.n ? e.addresses.v[0] : "", "changed", changed, "state_before",
			enrollment_state_name(e.state));
	enrollment_clear(&e);
	return o;
}

static json_t *do_retry(const struct call *c, struct err *err)
{
	return admin_act(c, ENROLLMENT_ADMIN_RETRY, err);
}

static json_t *do_disable(const struct call *c, struct err *err)
{
	struct enrollment e = {0};
	json_t *o = NULL;

	if (!json_is_true(json_object_get(c->arguments, "dry_run")))
		return admin_act(c, ENROLLMENT_ADMIN_DISABLE, err);
	if (find(c, &e, err))
		o = json_pack("{s:s, s:s, s:b, s:b, s:b}", "address", e.addresses.n ? e.addresses.v[0] : "", "state", enrollment_state_name(e.state), "disabled",
			e.disabled, "changed", !e.disabled, "dry_run", 1);
	enrollment_clear(&e);
	return o;
}

static json_t *do_directory_check(const struct call *c, struct err *err)
{
	return directory_check_run(c->parts, c->arguments, err);
}

static json_t *do_departures(const struct call *c, struct err *err)
{
	return departures_run(c->parts, err);
}

static json_t *do_replace_status(const struct call *c, struct err *err)
{
	return replace_status(c->parts, err);
}

static json_t *set_paused(const struct call *c, const char *value, struct err *err)
{
	if (!store_flag_set(c->parts->store, "paused", value, c->peer->name, err))
		return NULL;
	return json_pack("{s:b}", "paused", value != NULL);
}

static json_t *do_pause(const struct call *c, struct err *err)
{
	const char *reason = text_argument(c, "reason");
	char now[32], value[512];

	snprintf(value, sizeof value, "by %s at %s%s%.300s", c->peer->name, time_text(time(NULL), now), reason ? ": " : "", reason ? reason : "");
	return set_paused(c, value, err);
}

static json_t *do_resume(const struct call *c, struct err *err)
{
	return set_paused(c, NULL, err);
}

/* ---- the table ----------------------------------------------------------------------------------------------------------------------- */

static const struct command {
	const char *name;
	enum control_role role;
	json_t *(*run)(const struct call *, struct err *);
	/* in the place of `run`: one of another file, that looks at the arguments itself */
	json_t *(*whole)(struct enroll_parts *, const struct control_peer *, json_t *arguments, struct err *);
} commands[] = {
	{"status", CONTROL_HELPDESK, .run = do_status}, {"list", CONTROL_HELPDESK, .run = do_list}, {"show", CONTROL_HELPDESK, .run = do_show},
	{"events", CONTROL_HELPDESK, .run = do_events}, {"mail", CONTROL_HELPDESK, .run = do_mail}, {"why", CONTROL_HELPDESK, .run = do_why},
	{"expiring", CONTROL_HELPDESK, .run = do_expiring}, {"search", CONTROL_HELPDESK, .run = do_search}, {"config", CONTROL_HELPDESK, .run = do_config},
	{"doctor", CONTROL_HELPDESK, .run = do_doctor}, {"ca-check", CONTROL_HELPDESK, .run = do_ca_check}, {"account", CONTROL_HELPDESK, .run = do_account},
	{"policy-explain", CONTROL_HELPDESK, .run = do_policy_explain}, {"caa-check", CONTROL_HELPDESK, .run = do_caa_check},
	{"report-legacy", CONTROL_HELPDESK, .whole = legacy_report}, {"certificates", CONTROL_HELPDESK, .run = do_certificates},
	{"enroll", CONTROL_HELPDESK, .run = do_enroll}, {"retry", CONTROL_HELPDESK, .run = do_retry},
	{"departures", CONTROL_HELPDESK, .run = do_departures}, {"departures-confirm", CONTROL_ADMIN, .whole = departures_confirm},
	{"rotate", CONTROL_HELPDESK, .whole = rotate_run}, {"revoke", CONTROL_ADMIN, .whole = revoke_run},
	{"directory-check", CONTROL_ADMIN, .run = do_directory_check}, {"directory-reconcile", CONTROL_ADMIN, .whole = directory_reconcile_run},
	{"directory-restore", CONTROL_ADMIN, .whole = directory_restore_run},
	{"replace", CONTROL_ADMIN, .whole = replace_run}, {"replace-status", CONTROL_HELPDESK, .run = do_replace_status}, {"replace-set", CONTROL_ADMIN, .whole = replace_set},
	{"disable", CONTROL_ADMIN, .run = do_disable}, {"enable", CONTROL_ADMIN, .whole = enable_run}, {"pause", CONTROL_ADMIN, .run = do_pause},
	{"resume", CONTROL_ADMIN, .run = do_resume}, {"account-use-key", CONTROL_ADMIN, .run = do_account_use_key},
};

static const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

enum control_role control_required_role(const char *name)
{
	const struct command *c = command_find(name);

	return c ? c->role : CONTROL_NOBODY;
}

json_t *command_run(struct enroll_parts *parts, const struct control_peer *peer, const char *name, json_t *arguments, struct err *err)
{
	struct call call = {parts, peer, arguments};
	const struct command *c = command_find(name);
	json_t *result = !c ? NULL : c->whole ? c->whole(parts, peer, arguments, err) : c->run(&call, err);

	/* A dry run changes nothing. */
	if (c && c->role == CONTROL_ADMIN && !json_is_true(json_object_get(arguments, "dry_run")))
		log_event(LOG_LEVEL_INFO, "control", "command", name, "by", peer->name, "address", text_argument(&call, "address"), "what",
			text_argument(&call, "what"), "reason", text_argument(&call, "reason"), "result", result ? "done" : "refused", NULL);
	if (!result && err->class == ERR_NONE)
		err_nomem(err, name);
	return result;
}
