/*
 * enroll/decide.c - the questions to configuration, directory and store that an enrollment begins with.
 *
 * One certificate for all addresses of a person needs care: mail may be sent from each of them before the first certificate is there, and each
 * sender gets a row.  An address belongs to one row.  Rows that are not decided yet give way to the oldest of the same person, whose
 * certificate will have their addresses; a row that was decided keeps what it has.
 */
#include "config.h"

#include "enroll/decide.h"

#include <stdlib.h>
#include <string.h>

void verdict_clear(struct verdict *v)
{
	directory_person_clear(&v->person);
	strlist_clear(&v->addresses);
	memset(v, 0, sizeof *v);
}

static bool ask_matches(void *context, const char *address, const char *filter, bool *yes, struct err *err)
{
	return directory_matches(context, address, filter, yes, err);
}

static bool ask_in_group(void *context, const char *address, const char *group, bool *yes, struct err *err)
{
	return directory_in_group(context, address, group, yes, err);
}

static bool find_rule(struct enroll_parts *p, const char *address, struct verdict *v, struct buf *why, struct err *err)
{
	struct rules_directory directory = {p->directory, ask_matches, ask_in_group};
	struct rules_facts facts = {.address = address, .person = v->found == DIRECTORY_ONE ? &v->person : NULL};
	const struct rule *rule;

	if (!rules_find(p->config, &facts, &directory, &rule, why, err))
		return false;
	rules_follow(p->config, rule, &v->decision);
	return true;
}

/* May this other address of the person stand beside the first one: is it theirs alone, would it get the same by itself, and has nobody taken it
 * out?  Or whoever may write into their own entry would get a certificate for somebody else's address. */
static bool goes_along(struct enroll_parts *p, const char *address, const struct verdict *v, bool *along, struct err *err)
{
	struct directory_person person = {0};
	struct enrollment row = {0};
	struct rules_directory directory = {p->directory, ask_matches, ask_in_group};
	struct rules_facts facts = {.address = address, .person = &person};
	const struct rule *rule = NULL;
	enum directory_found found = DIRECTORY_NONE;
	struct address parsed;
	bool ok, there = false;

	*along = false;
	ok = address_parse(&parsed, address, err) && directory_find(p->directory, address, &person, &found, err);
	if (ok && found == DIRECTORY_ONE && str_eq_nocase(person.dn, v->person.dn) && profile_address(&parsed, NULL) &&
		eligibility_pilot(p->config, address, v->in_pilot_group)) {
		ok = rules_find(p->config, &facts, &directory, &rule, NULL, err) && store_enrollment_find(p->store, address, &row, &there, err);
		*along = ok && rule == v->decision.rule && !(there && row.disabled);
	}
	enrollment_clear(&row);
	directory_person_clear(&person);
	return ok;
}

/* Would a certificate that begins with `first` have room for `address`?  It takes them in the order of the entry. */
static bool has_room(const struct verdict *v, const char *first, const char *address)
{
	size_t place = 1;

	for (size_t i = 0; i < v->person.addresses.n && strcmp(v->person.addresses.v[i], address) != 0; i++)
		place += strcmp(v->person.addresses.v[i], first) != 0;
	return place < v->decision.ca->addresses_per_order;
}

/* Whether one more of a person's addresses goes into the certificate of row `id`, or that row into another one's. */
static bool add_address(struct enroll_parts *p, const char *own, const char *address, int64_t id, struct verdict *v, struct err *err)
{
	struct store_taken taken;
	bool along;

	if (!goes_along(p, address, v, &along, err))
		return false;
	if (!along)
		return true;
	if (!store_address_taken(p->store, address, id, &taken, err))
		return false;
	if (taken.enrollment_id && taken.undecided && (id == 0 || taken.enrollment_id < id)) {
		if (has_room(v, address, own))
			v->covered_by = taken.enrollment_id;
		return true;
	}
	if (taken.enrollment_id && !taken.undecided)
		return true;
	address = directory_person_spelling(&v->person, address);
	return strlist_add(&v->addresses, address) || err_nomem(err, "gather addresses");
}

static bool add_all(struct enroll_parts *p, int64_t id, struct verdict *v, struct err *err)
{
	const struct ca_config *ca = v->decision.ca;
	char key[ADDRESS_MAX];

	if (!address_key_of(v->addresses.v[0], key, err))
		return false;
	for (size_t i = 0; i < v->person.addresses.n && v->addresses.n < ca->addresses_per_order && !v->covered_by; i++) {
		const char *one = v->person.addresses.v[i];

		if (strcmp(one, key) != 0 && config_serves(p->config, strrchr(one, '@') + 1) && !add_address(p, key, one, id, v, err))
			return false;
	}
	return true;
}

static bool gather_addresses(struct enroll_parts *p, const char *address, int64_t id, struct verdict *v, struct err *err)
{
	const struct certificate_profile *c = v->decision.certificate;
	const char *spelling = v->found == DIRECTORY_ONE ? directory_person_spelling(&v->person, address) : NULL;
	struct store_taken taken = {0};

	/* As the directory spells it, whoever typed what into a From. */
	if (!strlist_add(&v->addresses, spelling ? spelling : address))
		return err_nomem(err, "gather addresses");
	if (!c || c->addresses != ADDRESSES_ALL || v->found != DIRECTORY_ONE)
		return true;
	if (!store_address_taken(p->store, address, id, &taken, err))
		return false;
	v->covered_by = taken.enrollment_id;
	if (v->covered_by)
		return true;
	if (!add_all(p, id, v, err))
		return false;
	/* Once more: a row that was undecided at the first question may have taken this address in before its own was asked about. */
	if (!v->covered_by && !store_address_taken(p->store, address, id, &taken, err))
		return false;
	if (!v->covered_by)
		v->covered_by = taken.enrollment_id;
	return true;
}

bool decide(struct enroll_parts *p, const char *address, int64_t id, struct verdict *out, struct buf *why, struct err *err)
{
	memset(out, 0, sizeof *out);
	if (p->directory && !directory_find(p->directory, address, &out->person, &out->found, err))
		return false;
	if (p->config->pilot_group && p->directory &&
		!directory_in_group(p->directory, address, p->config->pilot_group, &out->in_pilot_group, err))
		return false;
	return find_rule(p, address, out, why, err) && gather_addresses(p, address, id, out, err);
}

bool decide_eligible(struct enroll_parts *p, const char *address, const struct verdict *v, bool has_certificate, time_t now, enum eligibility *answer,
	struct err *err)
{
	struct eligibility_facts facts = {.address = address, .now = now, .has_directory = p->directory != NULL, .found = v->found,
		.person = v->found == DIRECTORY_ONE ? &v->person : NULL, .in_pilot_group = v->in_pilot_group, .has_certificate = has_certificate};
	char *paused = NULL;

	if (!store_flag_get(p->store, "paused", &paused, err))
		return false;
	facts.paused = paused != NULL;
	free(paused);
	if (!store_orders_since(p->store, now - 86400, NULL, &facts.orders_today, err) ||
		(p->config->cap_total && !store_enrolled(p->store, &facts.enrolled, err)))
		return false;
	*answer = eligibility_decide(p->config, &v->decision, &facts, err);
	return true;
}
