/*
 * enroll/helpdesk.c - what the help desk asks: why was this mail not signed, who expires, whose certificate is this.  Nothing is changed here, and
 * nobody outside is asked but the directory, whose silence costs an answer some detail and no more.
 */
#include "config.h"

#include "enroll/answer.h"
#include "enroll/control.h"
#include "enroll/decide.h"
#include "enroll/enrollment.h"
#include "enroll/people.h"
#include "enroll/why.h"
#include "enroll/renewal.h"

#include <stdlib.h>
#include <string.h>

#define EXPIRING_MOST 1000
#define NAMES_MOST 50 /* asked of the directory for one answer */

/* ---- why ------------------------------------------------------------------------------------------------------------------------- */

struct looked_up {
	struct mail_event mail;
	struct enrollment row;
	struct store_certificate signed_by, active;
	struct verdict verdict;
	char address[ADDRESS_MAX], disabled_by[400];
	char *paused;
	struct why_facts facts;
};

static void looked_up_clear(struct looked_up *l)
{
	mail_event_clear(&l->mail);
	enrollment_clear(&l->row);
	store_certificate_clear(&l->signed_by);
	store_certificate_clear(&l->active);
	verdict_clear(&l->verdict);
	free(l->paused);
}

/* People copy a Message-ID with its angle brackets or without. */
static char *bracketed(const char *id)
{
	struct buf b = BUF_INIT;

	if (!id)
		return NULL;
	buf_printf(&b, "%s%s%s", *id == '<' ? "" : "<", id, *id == '<' ? "" : ">");
	return buf_take(&b);
}

/* A mail whose author could not be told (two of them, none) has no address to be found by, but its ids. */
static bool look_up_mail(struct store *store, const char *queue_id, const char *message_id, struct looked_up *l, struct err *err)
{
	char *id = bracketed(message_id);
	bool found = false, ok = store_mail_event_find(store, l->address, queue_id, id, &l->mail, &found, err);

	if (ok && !found && (queue_id || id))
		ok = store_mail_event_find(store, NULL, queue_id, id, &l->mail, &found, err);
	free(id);
	l->facts.asked_for_one = queue_id || message_id;
	l->facts.mail = found ? &l->mail : NULL;
	if (ok && found && l->mail.certificate) {
		ok = store_certificate_find(store, l->mail.certificate, &l->signed_by, &found, err);
		l->facts.signed_by = found ? &l->signed_by : NULL;
	}
	return ok;
}

static bool look_up_disabled(struct store *store, struct looked_up *l, struct err *err)
{
	struct event_list events = {0};
	bool ok = store_events(store, l->row.id, -1, 1000, &events, err);
	char at[32];

	for (size_t i = 0; ok && i < events.n; i++)
		if (strcmp(events.v[i].name, "disabled") == 0)
			snprintf(l->disabled_by, sizeof l->disabled_by, "since %s by %.90s%s%.250s", time_text(events.v[i].at, at),
				events.v[i].actor ? events.v[i].actor : "?", events.v[i].text ? ": " : "", events.v[i].text ? events.v[i].text : "");
	l->facts.disabled_by = l->disabled_by;
	event_list_clear(&events);
	return ok;
}

static bool look_up_row(struct store *store, struct looked_up *l, struct err *err)
{
	struct store_certificate_list certificates = {0};
	bool found = false, ok = store_enrollment_find(store, l->address, &l->row, &found, err);

	if (!ok || !found)
		return ok;
	l->facts.row = &l->row;
	ok = store_certificates_of(store, l->row.id, &certificates, err);
	for (size_t i = 0; ok && i < certificates.n; i++)
		if (strcmp(certificates.v[i].status, "active") == 0 && !l->facts.active) {
			l->active = certificates.v[i];
			memset(&certificates.v[i], 0, sizeof certificates.v[i]);
			l->facts.active = &l->active;
		}
	store_certificate_list_clear(&certificates);
	return ok && (!l->row.disabled || look_up_disabled(store, l, err));
}

static bool look_up_configuration(struct enroll_parts *p, const struct address *a, struct looked_up *l, struct err *err)
{
	struct why_facts *f = &l->facts;
	struct err silent = ERR_INIT;

	f->mode = p->config->mode;
	f->nobody_looks = !people_looks(p);
	f->served = config_serves(p->config, a->domain);
	if (!store_flag_get(p->store, "paused", &l->paused, err))
		return false;
	f->paused = l->paused;
	f->in_pilot = eligibility_pilot(p->config, l->address, false);
	if (f->served && decide(p, l->address, l->facts.row ? l->row.id : 0, &l->verdict, NULL, &silent)) {
		f->in_pilot = eligibility_pilot(p->config, l->address, l->verdict.in_pilot_group);
		f->rule = l->verdict.decision.rule ? l->verdict.decision.rule->name : NULL;
		f->excluded = l->verdict.decision.certificate == NULL;
	} else if (p->config->pilot_group) {
		f->in_pilot = true; /* who knows */
	}
	return true;
}

static json_t *answer_json(const struct why_facts *f)
{
	struct why_answer a;
	json_t *o = json_object();

	why_find(f, &a);
	answer_set(o, "address", json_string(f->address));
	answer_set(o, "cause", json_string(a.cause));
	answer_set(o, "signed", json_boolean(a.signed_));
	answer_set(o, "sentence", json_string(buf_str(&a.sentence)));
	answer_set(o, "what_to_do", answer_text(buf_str(&a.what_to_do)));
	answer_set(o, "mail", f->mail ? json_of_mail(f->mail) : NULL);
	answer_set(o, "certificate", f->signed_by ? json_of_certificate(f->signed_by) : f->active && !f->mail ? json_of_certificate(f->active) : NULL);
	answer_set(o, "enrollment", f->row ? json_of_enrollment(f->row, false) : NULL);
	why_answer_clear(&a);
	return o;
}

json_t *helpdesk_why(struct enroll_parts *p, const char *address, const char *queue_id, const char *message_id, struct err *err)
{
	struct looked_up l = {.facts = {.now = time(NULL)}};
	struct address a;
	json_t *o = NULL;

	if (!address) {
		err_set(err, ERR_CONFIG, "why", NULL, "an address is needed");
		return NULL;
	}
	if (!address_parse(&a, address, err))
		return NULL;
	address_text(&a, l.address);
	l.facts.address = l.address;
	if (look_up_mail(p->store, queue_id, message_id, &l, err) && look_up_row(p->store, &l, err) && look_up_configuration(p, &a, &l, err))
		o = answer_json(&l.facts);
	looked_up_clear(&l);
	return o;
}

/* ---- expiring ----------------------------------------------------------------------------------------------------------------------- */

/* What is being done about it. */
static json_t *renewal_json(const struct enrollment *e, const struct store_certificate *c, bool *under_way)
{
	char at[32], text[600];

	*under_way = false;
	if (e->disabled)
		return json_string("none: disabled by an admin");
	if (e->gone_since)
		return json_string("none: this person left, as the directory has it");
	switch (e->state) {
	case ENROLLMENT_ACTIVE:
		if (!e->next_at)
			return json_string("none planned");
		snprintf(text, sizeof text, "begins at %s", time_text(renewal_by_age(c), at)); /* next_at may be the daily look at rules */
		return json_string(text);
	case ENROLLMENT_WAITING:
	case ENROLLMENT_BLOCKED:
	case ENROLLMENT_FAILED:
		snprintf(text, sizeof text, "%s: %.500s", enrollment_state_name(e->state), e->why ? e->why : "no reason noted");
		return json_string(text);
	default:
		*under_way = true;
		snprintf(text, sizeof text, "under way: %s since %s", enrollment_state_name(e->state), time_text(e->state_since, at));
		return json_string(text);
	}
}

static bool expiring_one(struct enroll_parts *p, const struct store_certificate *c, time_t now, json_t *list, struct err *err)
{
	struct enrollment e = {0};
	bool found = false, under_way = false, ok = store_enrollment_get(p->store, c->enrollment_id, &e, &found, err);

	if (ok && found) {
		json_t *o = json_of_certificate(c);

		json_object_del(o, "status");
		answer_set(o, "address", e.addresses.n ? json_string(e.addresses.v[0]) : NULL);
		answer_set(o, "days", json_integer((json_int_t)((c->not_after - now) / 86400)));
		answer_set(o, "expired", json_boolean(c->not_after < now));
		answer_set(o, "usage", answer_text(e.usage));
		answer_set(o, "state", json_string(enrollment_state_name(e.state)));
		answer_set(o, "renewal", renewal_json(&e, c, &under_way));
		answer_set(o, "renewal_under_way", json_boolean(under_way));
		json_array_append_new(list, o);
	}
	enrollment_clear(&e);
	return ok;
}

json_t *helpdesk_expiring(struct enroll_parts *p, int64_t within, size_t limit, struct err *err)
{
	struct store_certificate_list l = {0};
	time_t now = time(NULL);
	json_t *list, *o;
	bool ok = true;

	if (limit == 0 || limit > EXPIRING_MOST)
		limit = EXPIRING_MOST;
	if (!store_certificates_expiring(p->store, now + within, limit, &l, err))
		return NULL;
	list = json_array();
	for (size_t i = 0; ok && i < l.n; i++)
		ok = expiring_one(p, &l.v[i], now, list, err);
	o = json_pack("{s:o}", "expiring", list);
	if (l.n == limit)
		answer_set(o, "more", json_true());
	store_certificate_list_clear(&l);
	if (ok)
		return o;
	json_decref(o);
	return NULL;
}

/* ---- search -------------------------------------------------------------------------------------------------------------------------- */

/* As the directory has it; *ask turns false when it does not answer, so that one silence is waited for. */
static json_t *name_json(struct enroll_parts *p, const char *address, bool *ask)
{
	struct directory_person person = {0};
	enum directory_found found = DIRECTORY_NONE;
	json_t *name = NULL;

	if (p->directory && *ask)
		*ask = directory_find(p->directory, address, &person, &found, NULL);
	if (found == DIRECTORY_ONE)
		name = answer_text(person.display_name);
	directory_person_clear(&person);
	return name;
}

static bool found_one(struct enroll_parts *p, const struct enrollment *e, bool *ask, json_t *list, struct err *err)
{
	struct store_certificate_list l = {0};
	const struct store_certificate *best = NULL;
	json_t *o;

	if (!store_certificates_of(p->store, e->id, &l, err))
		return false;
	for (size_t i = 0; i < l.n; i++)
		if (!best || strcmp(best->status, "active") != 0)
			best = &l.v[i];
	o = json_of_enrollment(e, false);
	answer_set(o, "name", e->addresses.n ? name_json(p, e->addresses.v[0], ask) : NULL);
	answer_set(o, "serial", best ? answer_text(best->serial) : NULL);
	answer_set(o, "fingerprint", best ? answer_text(best->fingerprint) : NULL);
	if (l.n) {
		json_t *all = json_array();

		for (size_t i = 0; i < l.n; i++)
			json_array_append_new(all, json_of_certificate(&l.v[i]));
		if (best)
			answer_set(o, "not_after", json_incref(json_object_get(json_array_get(all, (size_t)(best - l.v)), "not_after")));
		answer_set(o, "certificates", all);
	}
	json_array_append_new(list, o);
	store_certificate_list_clear(&l);
	return true;
}

static bool is_listed(json_t *list, const char *address)
{
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o)
		if (str_eq_nocase(json_string_value(json_object_get(o, "address")), address))
			return true;
	return false;
}

/* Somebody whom only the directory knows by this name: with an enrollment, or with none. */
static bool named_one(struct enroll_parts *p, const char *address, bool *ask, json_t *list, struct err *err)
{
	struct enrollment e = {0};
	struct address a;
	bool found = false, ok;

	if (!address_parse(&a, address, NULL) || !config_serves(p->config, a.domain) || is_listed(list, address))
		return true;
	ok = store_enrollment_find(p->store, address, &e, &found, err);
	if (ok && found && !is_listed(list, e.addresses.n ? e.addresses.v[0] : address)) {
		ok = found_one(p, &e, ask, list, err);
	} else if (ok && !found) {
		json_t *o = json_pack("{s:s}", "address", address);

		answer_set(o, "name", name_json(p, address, ask));
		json_array_append_new(list, o);
	}
	enrollment_clear(&e);
	return ok;
}

static bool add_named(struct enroll_parts *p, const char *text, size_t limit, bool *more, json_t *list, struct err *err)
{
	struct strlist addresses = {0};
	bool ok = true, ask = true;

	/* Silent, it is left out. */
	if (!p->directory || !directory_find_name(p->directory, text, &addresses, more, NULL))
		return true;
	for (size_t i = 0; ok && i < addresses.n && json_array_size(list) < limit; i++)
		ok = named_one(p, addresses.v[i], &ask, list, err);
	strlist_clear(&addresses);
	return ok;
}

json_t *helpdesk_search(struct enroll_parts *p, const char *text, size_t limit, struct err *err)
{
	struct enrollment_list l = {0};
	bool ok = true, ask = true, more = false;
	json_t *list, *o;

	if (!text || !text[strspn(text, " \t")]) {
		err_set(err, ERR_CONFIG, "search", NULL, "something to look for is needed");
		return NULL;
	}
	if (!store_enrollment_search(p->store, text, limit, &l, err))
		return NULL;
	list = json_array();
	for (size_t i = 0; ok && i < l.n; i++) {
		ask = ask && i < NAMES_MOST;
		ok = found_one(p, &l.v[i], &ask, list, err);
	}
	ok = ok && add_named(p, text, limit, &more, list, err);
	o = json_pack("{s:o}", "found", list);
	if (l.n == limit || more)
		answer_set(o, "more", json_true());
	enrollment_list_clear(&l);
	if (ok)
		return o;
	json_decref(o);
	return NULL;
}
