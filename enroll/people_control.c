/*
 * enroll/people_control.c - what `enrollctl departures` asks for: who left, what becomes of them when, who is held back; letting those go; and
 * `enrollctl enable`, which takes somebody in again where nobody looks.
 */
#include "config.h"

#include "enroll/answer.h"
#include "enroll/control.h"
#include "enroll/people.h"

#include <stdlib.h>
#include <string.h>

#define DAY 86400

static const char *why_text(enum departure d)
{
	return d == DEPARTURE_DISABLED ? "disabled in the directory" : d == DEPARTURE_ADDRESS ? "the entry lists another address" : "not in the directory";
}

static const char *then_text(const struct enroll_parts *p, const struct store_person *row)
{
	const struct config *c = p->config;

	if (!people_looks(p))
		return "nothing by itself, as nobody looks at the directory: `enrollctl enable` takes this person in again";
	if (row->gone_ended)
		return "over: what was published was taken back; the key is kept";
	return c->departures.on_departure == ON_DEPARTURE_REVOKE ? "what was published is taken back and the certificate revoked; the key is kept"
		: "what was published is taken back; certificate and key are kept";
}

static json_t *person_json(const struct enroll_parts *p, const struct store_person *row)
{
	json_t *o = json_object();

	answer_set(o, "address", answer_text(row->address));
	answer_set(o, "since", answer_time(row->gone_since));
	answer_set(o, "kind", answer_text(row->gone_why));
	answer_set(o, "why", json_string(why_text(departure_parse(row->gone_why))));
	answer_set(o, "by", answer_text(row->gone_by));
	answer_set(o, "ends_at", row->gone_ended || !people_looks(p) ? NULL : answer_time(row->gone_since + (time_t)p->config->departures.grace_days * DAY));
	answer_set(o, "ended_at", answer_time(row->gone_ended));
	answer_set(o, "then", json_string(then_text(p, row)));
	answer_set(o, "state", json_string(enrollment_state_name(row->state)));
	answer_set(o, "disabled", json_boolean(row->disabled));
	return o;
}

static json_t *held_json(const struct store_held *h)
{
	json_t *o = json_object();

	answer_set(o, "address", answer_text(h->address));
	answer_set(o, "kind", json_string(departure_name(h->why)));
	answer_set(o, "why", json_string(why_text(h->why)));
	answer_set(o, "since", answer_time(h->at));
	answer_set(o, "confirmed_by", answer_text(h->confirmed_by));
	answer_set(o, "confirmed_at", answer_time(h->confirmed_at));
	return o;
}

/* *newest: since when the last of them is held; the store gives nobody who comes later the same moment. */
static json_t *held_list(struct enroll_parts *p, time_t *newest, struct err *err)
{
	struct store_held_list l = {0};
	json_t *a;

	if (!store_departures_held(p->store, &l, err))
		return NULL;
	a = json_array();
	*newest = 0;
	for (size_t i = 0; i < l.n; i++) {
		*newest = l.v[i].at > *newest ? l.v[i].at : *newest;
		json_array_append_new(a, held_json(&l.v[i]));
	}
	store_held_list_clear(&l);
	return a;
}

json_t *departures_run(struct enroll_parts *p, struct err *err)
{
	struct store_people l = {0};
	time_t newest, looked = 0;
	json_t *held = held_list(p, &newest, err), *o = json_object(), *a;
	char *guard = NULL;

	if (!held || !store_people_list(p->store, true, &l, err) || !store_flag_get(p->store, PEOPLE_GUARD_FLAG, &guard, err) ||
		!people_looked(p, &looked, err)) {
		free(guard);
		json_decref(held);
		json_decref(o);
		store_people_clear(&l);
		return NULL;
	}
	a = json_array();
	for (size_t i = 0; i < l.n; i++)
		json_array_append_new(a, person_json(p, &l.v[i]));
	answer_set(o, "looks", json_boolean(people_looks(p)));
	answer_set(o, "looked_at", answer_time(looked));
	answer_set(o, "guard", answer_text(guard));
	answer_set(o, "departures", a);
	answer_set(o, "held", held);
	store_people_clear(&l);
	free(guard);
	return o;
}

json_t *departures_confirm(struct enroll_parts *p, const struct control_peer *peer, json_t *arguments, struct err *err)
{
	bool dry_run = json_is_true(json_object_get(arguments, "dry_run"));
	time_t newest = 0;
	json_t *held = people_looks(p) ? held_list(p, &newest, err) : NULL;
	/* Who is held after the list was shown was not agreed to. */
	json_int_t as_of = dry_run ? (json_int_t)newest : json_integer_value(json_object_get(arguments, "as_of"));
	size_t n = 0;

	if (!people_looks(p))
		err_set(err, ERR_POLICY, "confirm departures", NULL, "nobody looks at who left (departures.interval, directory.urls, mode), so nobody would be let go: set "
			"that right; the next look says who is held back");
	else if (held && json_array_size(held) == 0)
		err_set(err, ERR_POLICY, "confirm departures", NULL, "nobody is held back: `enrollctl departures` says what the directory showed last; a list that "
			"was empty, cut short or refused cannot be confirmed");
	if (!held || json_array_size(held) == 0 || (!dry_run && !store_departures_confirm(p->store, peer->name, (time_t)as_of, &n, err))) {
		json_decref(held);
		return NULL;
	}
	if (!dry_run)
		atomic_store(&p->people_wanted, true);
	return json_pack("{s:o, s:b, s:I, s:I}", "held", held, "dry_run", dry_run, "confirmed", (json_int_t)n, "as_of", as_of);
}

/* ---- enable ---------------------------------------------------------------------------------------------------------------- */

static bool find(struct enroll_parts *p, const char *address, struct enrollment *e, struct err *err)
{
	struct address parsed;
	bool found;

	if (!address)
		return err_set(err, ERR_CONFIG, "enable", NULL, "an address is needed");
	if (!address_parse(&parsed, address, err) || !store_enrollment_find(p->store, address, e, &found, err))
		return false;
	return found || err_set(err, ERR_POLICY, "enable", address, "no enrollment for this address yet, so nothing is disabled");
}

/* Where nobody looks at who left, the mark that an earlier look made has nobody else to take it away. */
json_t *enable_run(struct enroll_parts *p, const struct control_peer *peer, json_t *arguments, struct err *err)
{
	const char *reason = json_string_value(json_object_get(arguments, "reason"));
	struct enrollment e = {0};
	bool enabled = false, back = false, anew = false, ok = find(p, json_string_value(json_object_get(arguments, "address")), &e, err);
	json_t *o = NULL;

	if (ok && e.gone_since && !people_looks(p))
		ok = people_return(p, &e, peer->name, reason, &back, &anew, err);
	if (ok && store_enrollment_admin(p->store, e.id, ENROLLMENT_ADMIN_ENABLE, peer->name, reason, &enabled, err)) {
		o = json_pack("{s:s, s:b, s:s, s:b, s:b}", "address", e.addresses.n ? e.addresses.v[0] : "", "changed", enabled || back, "state_before",
			enrollment_state_name(e.state), "returned", back, "anew", back && anew);
		answer_set(o, "gone_since", back ? NULL : answer_time(e.gone_since));
	}
	enrollment_clear(&e);
	return o;
}
