/*
 * enroll/people.c - one look at the directory: who left, who is back, whose time is over.  people.h has the scheme.
 */
#include "config.h"

#include "enroll/people.h"

#include <stdlib.h>
#include <string.h>

#include "enroll/hygiene.h"

#define OP "look at who left"
#define PAGE 500
#define DAY 86400
#define TURN "departures"
#define TURN_SECONDS 600     /* kept by asking for it between pages and people */
#define TURN_EVERY_MS 1000

/* What the directory shows of a person of the store. */
struct seen {
	bool listed;    /* an entry lists the address */
	bool disabled;  /* one that is disabled */
	bool entry;     /* their entry is there, whatever it lists */
	char *dn;       /* of that entry */
	char *address;  /* its first address, as it is spelled there */
};

struct look {
	struct enroll_parts *p;
	bool (*ending)(void *arg);
	void *arg;
	struct store_people people;     /* in order of address_key */
	struct seen *seen;              /* of the same places */
	size_t *by_entry;               /* places of those with an entry, in order of it */
	size_t n_by_entry;
	size_t entries;                 /* in the directory */
	char elsewhere[200];            /* where a part of it is that was not looked at */
	struct store_held_list held;    /* in order of address_key */
	time_t now;
	int64_t turn_ms;                /* when the turn was asked for last */
	bool lost;                      /* it is another enrolld's */
};

static bool departure_at_once(const struct look *l) { return l->p->config->departures.on_new_address == NEW_ADDRESS_AT_ONCE; }
static bool is_gone(const struct look *l, size_t i) { return l->people.v[i].gone_since != 0; }
static time_t over_at(const struct look *l, size_t i) { return l->people.v[i].gone_since + (time_t)l->p->config->departures.grace_days * DAY; }
/* Noted as gone, and it is time to end that. */
static bool is_due(const struct look *l, size_t i) { return is_gone(l, i) && !l->people.v[i].gone_ended && over_at(l, i) <= l->now; }
/* Noted by a look, and no admin said so. */
static bool by_itself(const struct store_person *row) { return row->gone_by && strcmp(row->gone_by, "enrolld") == 0; }
static bool looks_gone(const struct look *l, size_t i) { return !l->seen[i].listed || l->seen[i].disabled; }
/* Not seen, but another server may have them. */
static bool is_unsure(const struct look *l, size_t i) { return l->elsewhere[0] && !l->seen[i].listed && !l->seen[i].entry; }

/* Is enrolld ending, or the turn lost, as after this process was stopped for long? */
static bool must_end(struct look *l)
{
	bool mine = true;

	if (!l->lost && mono_ms() - l->turn_ms > TURN_EVERY_MS) {
		l->turn_ms = mono_ms();
		l->lost = store_turn_take(l->p->store, TURN, l->p->owner, time(NULL), TURN_SECONDS, 0, &mine, NULL) && !mine;
	}
	return l->lost || l->ending(l->arg);
}

/* ---- what the store knows ------------------------------------------------------------------------------------------------ */

static int by_entry(const void *a, const void *b, void *people)
{
	const struct store_person *v = people;

	return strcasecmp(v[*(const size_t *)a].entry, v[*(const size_t *)b].entry);
}

static bool load(struct look *l, struct err *err)
{
	if (!store_people_list(l->p->store, false, &l->people, err) || !store_departures_held(l->p->store, &l->held, err))
		return false;
	l->seen = calloc(l->people.n + 1, sizeof *l->seen);
	l->by_entry = calloc(l->people.n + 1, sizeof *l->by_entry);
	if (!l->seen || !l->by_entry)
		return err_nomem(err, OP);
	for (size_t i = 0; i < l->people.n; i++)
		if (l->people.v[i].entry)
			l->by_entry[l->n_by_entry++] = i;
	qsort_r(l->by_entry, l->n_by_entry, sizeof *l->by_entry, by_entry, l->people.v);
	return true;
}

static void unload(struct look *l)
{
	for (size_t i = 0; l->seen && i < l->people.n; i++) {
		free(l->seen[i].dn);
		free(l->seen[i].address);
	}
	free(l->seen);
	free(l->by_entry);
	store_people_clear(&l->people);
	store_held_list_clear(&l->held);
}

/* ---- what the directory shows -------------------------------------------------------------------------------------------- */

static int key_order(const void *key, const void *element)
{
	return strcmp(key, ((const struct store_person *)element)->address_key);
}

/* The place of an address; people.n when nobody has it. */
static size_t place(const struct look *l, const char *address_key)
{
	const struct store_person *v = l->people.v;
	const struct store_person *found = l->people.n ? bsearch(address_key, v, l->people.n, sizeof *v, key_order) : NULL;

	return found ? (size_t)(found - v) : l->people.n;
}

/* The first of those with this entry. */
static size_t first_of_entry(const struct look *l, const char *identity)
{
	size_t low = 0, high = l->n_by_entry;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcasecmp(l->people.v[l->by_entry[middle]].entry, identity) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool see_entry(struct look *l, const struct directory_scanned *e, struct err *err)
{
	for (size_t k = first_of_entry(l, e->identity); k < l->n_by_entry; k++) {
		struct seen *s = &l->seen[l->by_entry[k]];

		if (strcasecmp(l->people.v[l->by_entry[k]].entry, e->identity) != 0)
			break;
		s->entry = true;
		if (!s->dn && !(s->dn = str_dup(e->dn)))
			return err_nomem(err, OP);
		if (!s->address && e->spellings->n && !(s->address = str_dup(e->spellings->v[0])))
			return err_nomem(err, OP);
	}
	return true;
}

static bool see_person(void *arg, const struct directory_scanned *e, struct err *err)
{
	struct look *l = arg;

	l->entries++;
	for (size_t i = 0; i < e->addresses->n; i++) {
		size_t at = place(l, e->addresses->v[i]);

		if (at < l->people.n)
			l->seen[at].listed = true;
	}
	return see_entry(l, e, err);
}

static bool see_disabled(void *arg, const struct directory_scanned *e, struct err *err)
{
	struct look *l = arg;

	(void)err;
	for (size_t i = 0; i < e->addresses->n; i++) {
		size_t at = place(l, e->addresses->v[i]);

		if (at < l->people.n)
			l->seen[at].disabled = true;
	}
	return true;
}

static bool walk(struct look *l, bool disabled, struct err *err)
{
	struct directory_scan *s = directory_scan_people(l->p->directory, disabled, PAGE, err);
	bool more = true, ok = s != NULL;

	while (ok && more && !must_end(l))
		ok = directory_scan_page(s, disabled ? see_disabled : see_person, l, &more, err);
	if (ok && more)
		ok = err_set(err, ERR_TEMPORARY, OP, NULL, "enrolld is ending");
	if (ok && directory_scan_cut(s))
		ok = err_set(err, ERR_CONFIG, OP, l->p->config->directory.base, "%s", directory_scan_cut(s));
	if (ok && directory_scan_elsewhere(s))
		snprintf(l->elsewhere, sizeof l->elsewhere, "%s", directory_scan_elsewhere(s));
	directory_scan_free(s);
	return ok;
}

/* The whole of it, or nothing: false with the words of the alarm. */
static bool look_around(struct look *l, struct err *why)
{
	if (!walk(l, false, why) || (l->p->config->directory.disabled_filter && !walk(l, true, why)))
		return false;
	if (l->entries == 0)
		return err_set(why, ERR_CONFIG, OP, l->p->config->directory.base,
			"the directory shows no entry with an address; look at directory.base, address-attributes and the rights of the bind");
	return true;
}

/* ---- one person ---------------------------------------------------------------------------------------------------------- */

struct verdict_on {
	enum departure why;  /* DEPARTURE_NONE: there, or nothing is known for sure */
	bool back;           /* there, their own, and not disabled */
	bool another;        /* the address is of another entry than the row's */
};

/* Nobody is let go, or taken back, on the word of a list. */
static bool ask(struct look *l, size_t i, struct verdict_on *v, struct err *err)
{
	const struct store_person *row = &l->people.v[i];
	struct directory_person person = {0};
	enum directory_found found = DIRECTORY_NONE;

	memset(v, 0, sizeof *v);
	if (!directory_find(l->p->directory, row->address, &person, &found, err))
		return false;
	if (found == DIRECTORY_NONE)
		v->why = l->seen[i].entry ? DEPARTURE_ADDRESS : DEPARTURE_GONE;
	else if (found == DIRECTORY_ONE && person.disabled)
		v->why = DEPARTURE_DISABLED;
	else if (found == DIRECTORY_ONE)
		v->back = true;
	v->another = v->back && directory_identity_differs(row->entry, person.identity);
	directory_person_clear(&person);
	return true;
}

static void tell(int64_t enrollment_id, const char *address, const char *event, const char *text)
{
	log_event(LOG_LEVEL_INFO, event, "enrollment", LOG_NUM(enrollment_id), "address", address, "text", text, NULL);
}

/* Somebody who only has another name now does not wait for their first mail, if the configuration says so. */
static bool ask_for_new_address(struct look *l, size_t i, struct err *err)
{
	const struct certificate_profile *c = &l->p->config->certificate;
	struct address a;
	bool created;

	if (!departure_at_once(l) || !l->seen[i].address || !address_parse(&a, l->seen[i].address, NULL) || !config_serves(l->p->config, a.domain))
		return true;
	return store_enrollment_request(l->p->store, l->seen[i].address, c->name, usage_name(c->usage), "enrolld", &created, NULL, err);
}

static bool note_gone(struct look *l, size_t i, enum departure why, const char *actor, struct err *err)
{
	const struct store_person *row = &l->people.v[i];
	char text[900];
	bool changed;

	snprintf(text, sizeof text, "%s: nobody signs for %.250s any more, nothing is renewed",
		why == DEPARTURE_DISABLED ? "the entry in the directory is disabled" :
		why == DEPARTURE_ADDRESS ? "the entry in the directory does not list this address any more" : "the directory has no entry for this person any more",
		row->address);
	if (why == DEPARTURE_ADDRESS && !ask_for_new_address(l, i, err))
		return false;
	if (!store_departure_note(l->p->store, row->address_key, why, actor, text, &changed, err))
		return false;
	if (changed)
		tell(row->enrollment_id, row->address, "departed", text);
	return true;
}

/* What we put into the directory, wherever their entry is now. */
static bool take_back(struct look *l, size_t i, struct err *err)
{
	const struct store_person *row = &l->people.v[i];
	char text[HYGIENE_TEXT];
	struct store_certificate_list list = {0};
	bool ok = store_certificates_of_address(l->p->store, row->address_key, &list, err);

	for (size_t k = 0; ok && k < list.n; k++) {
		const struct store_certificate *c = &list.v[k];

		ok = hygiene_take_out(l->p, c, text, err) &&
			(!l->seen[i].dn || directory_unpublish(l->p->directory, l->seen[i].dn, c->der, c->der_len, err)) &&
			(!c->in_directory || store_certificate_unpublished(l->p->store, c->id, err));
	}
	store_certificate_list_clear(&list);
	return ok;
}

static bool revoke_all(struct look *l, size_t i, struct err *err)
{
	const struct departures_config *c = &l->p->config->departures;
	char about[32];
	struct store_revoke order = {.about = about, .reason = c->reason, .departed = true, .actor = "enrolld", .text = "the person left",
		.publish_seconds = l->p->config->directory.deadline_ms / 1000 + 5};
	size_t n;

	snprintf(about, sizeof about, "#%lld", (long long)l->people.v[i].enrollment_id);
	return c->on_departure != ON_DEPARTURE_REVOKE || store_revoke(l->p->store, &order, &n, err);
}

/* Each part may be done again; the last one says that it is done. */
static bool end_one(struct look *l, size_t i, const char *because, struct err *err)
{
	const struct store_person *row = &l->people.v[i];
	bool revoke = l->p->config->departures.on_departure == ON_DEPARTURE_REVOKE, changed;
	char text[400];

	snprintf(text, sizeof text, "%s: what was published is taken back, the certificate is %s; the key is kept", because, revoke ? "revoked" : "used no more");
	if (!revoke_all(l, i, err) || !take_back(l, i, err) || !store_departure_end(l->p->store, row->address_key, text, &changed, err))
		return false;
	if (changed)
		tell(row->enrollment_id, row->address, "departure_ended", text);
	return true;
}

/* What is over begins anew at once, beside a revocation that the CA has yet to follow. */
static bool begin_anew(struct enroll_parts *p, const char *address, const char *actor, struct err *err)
{
	const struct certificate_profile *c = &p->config->certificate;
	struct enrollment e = {0};
	bool found = false, changed, ok = store_enrollment_find(p->store, address, &e, &found, err);

	if (ok && found && e.state == ENROLLMENT_REVOKING)
		ok = store_enrollment_admin(p->store, e.id, ENROLLMENT_ADMIN_RENEW, actor, "back again", &changed, err);
	else if (ok)
		ok = store_enrollment_request(p->store, address, c->name, usage_name(c->usage), actor, &changed, NULL, err);
	enrollment_clear(&e);
	return ok;
}

/* Their end may have begun, and died before it was noted.  What an admin revoked and disabled is no part of it. */
static bool is_over(time_t ended, bool disabled, enum enrollment_state state)
{
	return ended || (!disabled && (state == ENROLLMENT_REVOKING || state == ENROLLMENT_REVOKED));
}

/* A certificate that may name somebody else is not what the next one with this address begins with.  The new row is there before the mark goes, so
 * that nobody who dies in between leaves them without. */
static bool take_in(struct look *l, size_t i, const struct verdict_on *v, struct err *err)
{
	const struct store_person *row = &l->people.v[i];
	bool anew = is_over(row->gone_ended, row->disabled, row->state);
	const char *text = v->another ? "another entry of the directory has this address now: a certificate of their own is asked for" :
		anew ? "the directory has this person again: a new certificate is asked for" :
		"the directory has this person again: mail is signed as before";
	bool changed;

	if (v->another && !row->gone_ended && !end_one(l, i, "the address went to somebody else", err))
		return false;
	if ((v->another || anew) && !begin_anew(l->p, row->address, "enrolld", err))
		return false;
	if (!store_departure_undo(l->p->store, row->address_key, "enrolld", text, &changed, err))
		return false;
	if (changed)
		tell(row->enrollment_id, row->address, "returned", text);
	return true;
}

bool people_return(struct enroll_parts *p, const struct enrollment *e, const char *actor, const char *reason, bool *changed, bool *anew, struct err *err)
{
	const char *address = e->addresses.n ? e->addresses.v[0] : "";
	char key[ADDRESS_MAX], text[600];

	*changed = *anew = false;
	if (!address_key_of(address, key, err))
		return false;
	*anew = is_over(e->gone_ended, e->disabled, e->state);
	snprintf(text, sizeof text, "an admin says that this person is here, and nobody looks at the directory for that%s%.300s%s: %s", reason ? " (" : "", reason ? reason : "",
		reason ? ")" : "", *anew ? "a new certificate is asked for" : "mail is signed as before");
	if ((*anew && !begin_anew(p, address, actor, err)) || !store_departure_undo(p->store, key, actor, text, changed, err))
		return false;
	if (*changed)
		tell(e->id, address, "returned", text);
	return true;
}

/* ---- all of them --------------------------------------------------------------------------------------------------------- */

static const struct store_held *confirmed(const struct look *l, const char *address_key)
{
	size_t low = 0, high = l->held.n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int c = strcmp(l->held.v[middle].address_key, address_key);

		if (c == 0)
			return l->held.v[middle].confirmed_at ? &l->held.v[middle] : NULL;
		if (c < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

struct count {
	size_t known;   /* not gone */
	size_t newly;   /* of them: gone by this look, and nobody confirmed it */
	size_t unsure;  /* of them: not seen, but another server may have them, and nobody confirmed it */
	size_t due;     /* as unsure, but noted as gone by an earlier look, whose grace period is over */
	size_t lately;  /* gone within a day, and nobody confirmed it */
};

static void count(const struct look *l, struct count *c)
{
	memset(c, 0, sizeof *c);
	for (size_t i = 0; i < l->people.n; i++) {
		const struct store_person *row = &l->people.v[i];

		if (row->gone_since) {
			c->lately += row->gone_since > l->now - DAY && by_itself(row);
			c->due += is_due(l, i) && is_unsure(l, i) && by_itself(row) && !confirmed(l, row->address_key);
		} else {
			c->known++;
			if (looks_gone(l, i) && !confirmed(l, row->address_key))
				*(is_unsure(l, i) ? &c->unsure : &c->newly) += 1;
		}
	}
}

/* Everybody at once is an accident, however few they are. */
static bool too_many(const struct look *l, const struct count *c, char words[600])
{
	size_t allowed = people_allowed(&l->p->config->departures, c->known + c->lately);

	if (c->newly == 0 || (c->newly + c->lately <= allowed && (c->newly < c->known || c->known == 1)))
		return false;
	snprintf(words, 600, "the directory says that %zu of %zu people are gone now, beside %zu in the last day; %zu a day go by themselves, so nobody is "
		"touched: look at the directory; if they did leave, `enrollctl departures confirm` lets exactly these go", c->newly, c->known, c->lately, allowed);
	return true;
}

static bool too_far(const struct look *l, const struct count *c, char words[600])
{
	if (c->unsure + c->due == 0)
		return false;
	snprintf(words, 600, "%zu of %zu people are not found, and another server has a part of the directory that was not looked at (%s): they may be there, so "
		"they are not touched; point directory.urls or directory.base at where all people are, or delete the referral; if they did leave, "
		"`enrollctl departures confirm` lets exactly these go", c->unsure + c->due, c->known + c->due, l->elsewhere);
	return true;
}

/* Of those who look gone: whom an admin is shown, and may confirm. */
static bool is_held(const struct look *l, size_t i, bool all)
{
	const struct store_person *row = &l->people.v[i];

	if (is_gone(l, i))
		return is_due(l, i) && is_unsure(l, i) && by_itself(row);
	return looks_gone(l, i) && (all || is_unsure(l, i) || confirmed(l, row->address_key));
}

static bool hold(struct look *l, bool all, struct err *err)
{
	struct store_held *v = calloc(l->people.n + 1, sizeof *v);
	size_t n = 0;
	bool ok;

	if (!v)
		return err_nomem(err, OP);
	for (size_t i = 0; i < l->people.n; i++)
		if (is_held(l, i, all))
			v[n++] = (struct store_held){.address = l->people.v[i].address, .address_key = l->people.v[i].address_key,
				.why = l->seen[i].disabled ? DEPARTURE_DISABLED : l->seen[i].entry ? DEPARTURE_ADDRESS : DEPARTURE_GONE};
	ok = store_departures_hold(l->p->store, v, n, err);
	free(v);
	return ok;
}

/* Nothing to do about this person, or nothing that an admin has not confirmed yet. */
static bool is_let_be(const struct look *l, size_t i, bool guarded, const struct store_held *by)
{
	if (!is_gone(l, i))
		return !looks_gone(l, i) || ((guarded || is_unsure(l, i)) && !by);
	return guarded || (looks_gone(l, i) && (!is_due(l, i) || (is_unsure(l, i) && by_itself(&l->people.v[i]) && !by)));
}

/* One person's part of a look.  With the guard up, those whom an admin confirmed are the only ones; the same where nobody can be sure. */
static bool act(struct look *l, size_t i, bool guarded, struct err *err)
{
	const struct store_person *row = &l->people.v[i];
	const struct store_held *by = confirmed(l, row->address_key);
	struct verdict_on v;

	if (is_let_be(l, i, guarded, by))
		return true;
	if (!ask(l, i, &v, err))
		return false;
	if (!is_gone(l, i))
		return v.why == DEPARTURE_NONE || note_gone(l, i, v.why, by ? by->confirmed_by : "enrolld", err);
	if (v.back)
		return take_in(l, i, &v, err);
	return v.why == DEPARTURE_NONE || !is_due(l, i) || end_one(l, i, "the grace period is over", err);
}

/* False when something was left over.  What is wrong with one entry does not keep the others; what is down would be down for them, too. */
static bool act_on_all(struct look *l, bool guarded)
{
	bool whole = true, up = true;

	for (size_t i = 0; i < l->people.n && up; i++) {
		struct err one = ERR_INIT;

		if (must_end(l))
			return false;
		if (act(l, i, guarded, &one))
			continue;
		log_error(LOG_LEVEL_WARNING, "departure_failed", &one, "address", l->people.v[i].address, NULL);
		whole = false;
		up = one.class != ERR_TEMPORARY;
	}
	return whole;
}

bool people_looks(const struct enroll_parts *p)
{
	return p->directory && p->config->departures.interval && p->config->mode != MODE_OBSERVE;
}

bool people_due(const struct enroll_parts *p, time_t now, bool *due, struct err *err)
{
	unsigned interval = p->config->departures.interval;

	*due = false;
	return !p->directory || !interval ||
	       store_turn_take(p->store, TURN, p->owner, now, TURN_SECONDS, atomic_load(&p->people_wanted) ? 0 : interval, due, err);
}

bool people_looked(const struct enroll_parts *p, time_t *at, struct err *err)
{
	struct store_turn t;
	bool ok = store_turn_get(p->store, TURN, &t, err);

	*at = t.done_at;
	store_turn_clear(&t);
	return ok;
}

static bool look(struct look *l, struct err *err)
{
	struct err why = ERR_INIT;
	char words[1200];
	struct count c;
	bool guarded, held;

	if (!load(l, err))
		return false;
	if (l->people.n == 0)
		return people_alarm(l->p, NULL, err) && store_departures_hold(l->p->store, NULL, 0, err);
	if (!look_around(l, &why)) {
		if (must_end(l))
			return true;
		snprintf(words, sizeof words, "the look at who left came to nothing, so nobody is touched: %.900s", why.text);
		return people_alarm(l->p, words, err);
	}
	count(l, &c);
	guarded = too_many(l, &c, words);
	held = guarded || too_far(l, &c, words);
	if (held && !hold(l, guarded, err))
		return false;
	if (!people_alarm(l->p, held ? words : NULL, err))
		return false;
	/* A confirmation lasts until all of it is done. */
	return !act_on_all(l, guarded) || held || l->held.n == 0 || store_departures_hold(l->p->store, NULL, 0, err);
}

bool people_look(struct enroll_parts *p, bool (*ending)(void *arg), void *arg, struct err *err)
{
	struct look l = {.p = p, .ending = ending, .arg = arg, .now = time(NULL)};
	struct err own = ERR_INIT;
	bool ok;

	atomic_store(&p->people_wanted, false);
	ok = look(&l, err);
	/* Also a look that came to nothing is one: the next is by the interval. */
	if (!store_turn_end(p->store, TURN, p->owner, l.lost || ending(arg) ? 0 : l.now, &own) && ok) {
		*err = own;
		ok = false;
	}
	unload(&l);
	return ok;
}
