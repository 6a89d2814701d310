/*
 * policy/eligibility.c - may this address have a certificate now?
 *
 * A pure function of what the caller looked up: the same facts give the same answer, so `enrollctl` can ask without side effects.  The
 * order of the questions is the order in which an admin would want to hear of them: first what is wrong with the address, then who
 * it belongs to, then whether we are to act at all, then when.  Every answer but yes comes with what to do about it.
 */
#include "config.h"

#include <string.h>

#include "policy/policy.h"

#define OP "decide eligibility"
/* The cap looks back over 24 hours; an hour later the oldest orders may have left that window. */
#define CAP_RETRY 3600
#define PAUSE_RETRY 60

bool eligibility_pilot(const struct config *c, const char *address, bool in_pilot_group)
{
	char key[ADDRESS_MAX];

	if (c->pilot_addresses.n == 0 && c->pilot_group == NULL)
		return true;
	if (c->pilot_group != NULL && in_pilot_group)
		return true;
	return address_key_of(address, key, NULL) && strlist_has(&c->pilot_addresses, key);
}

static enum eligibility refuse(struct err *err, enum err_class class, const char *address, const char *text)
{
	err_set(err, class, OP, address, "%s", text);
	return NOT_ELIGIBLE;
}

static enum eligibility later(struct err *err, const char *address, time_t when, const char *text)
{
	err_set(err, ERR_POLICY, OP, address, "%s", text);
	if (err != NULL)
		err->retry_at = when;
	return ELIGIBLE_LATER;
}

/* What somebody else found wrong, as an answer about this address. */
static enum eligibility refuse_as(struct err *err, const struct err *why, const char *address)
{
	return refuse(err, why->class, address, why->text);
}

/* What the asked-for type of certificate says about a person or organization must be known. */
static enum eligibility decide_names(const struct decision *d, const struct eligibility_facts *f, struct err *err)
{
	struct err why = ERR_INIT;

	if (profile_names(d->certificate, f->person, &why))
		return ELIGIBLE;
	if (!f->has_directory)
		return refuse(err, ERR_CONFIG, f->address,
			"this certificate type names the organization or person, which only a directory can tell; configure "
			"directory.urls, or certificate.validation = \"mailbox\", or, for validation = \"organization\", "
			"certificate.organization and certificate.organization-identifier");
	return refuse_as(err, &why, f->address);
}

static enum eligibility decide_owner(const struct decision *d, const struct eligibility_facts *f, struct err *err)
{
	if (!f->has_directory)
		return decide_names(d, f, err);
	if (f->found == DIRECTORY_SEVERAL)
		return refuse(err, ERR_POLICY, f->address,
			"several directory entries list it as their own mail, so it is owned by nobody; leave it on one entry, "
			"and then run `enrollctl retry`");
	if (f->found == DIRECTORY_NONE)
		return refuse(err, ERR_POLICY, f->address,
			"no directory entry has this address; add it to the user's mail attribute (see directory.address-filter "
			"and address-attributes), and then run `enrollctl retry`");
	if (f->person == NULL)
		return refuse(err, ERR_BUG, f->address, "the directory entry was found but not handed over");
	if (f->person->disabled)
		return refuse(err, ERR_POLICY, f->address,
			"its directory entry is disabled (directory.disabled-filter); enable it there, and then run `enrollctl "
			"retry`, or leave it as it is for somebody who left");
	return decide_names(d, f, err);
}

/* What is counted lets this one wait; it goes on by itself when there is room. */
static enum eligibility decide_caps(const struct config *c, const struct eligibility_facts *f, struct err *err)
{
	if (c->cap_total > 0 && !f->has_certificate && f->enrolled >= c->cap_total)
		err_set(err, ERR_POLICY, OP, f->address,
			"%zu addresses have a certificate or are on the way to one, cap-total is %u; raise cap-total", f->enrolled, c->cap_total);
	else if (c->cap_per_day > 0 && f->orders_today >= c->cap_per_day)
		err_set(err, ERR_POLICY, OP, f->address,
			"%zu orders were opened in 24 hours, cap-per-day is %u; it goes on by itself, or raise cap-per-day",
			f->orders_today, c->cap_per_day);
	else
		return ELIGIBLE;
	if (err != NULL)
		err->retry_at = f->now + CAP_RETRY;
	return ELIGIBLE_LATER;
}

static enum eligibility excluded(const struct decision *d, const struct eligibility_facts *f, struct err *err)
{
	err_set(err, ERR_POLICY, OP, f->address, "rule \"%s\" says certificate = \"" CERTIFICATE_NONE "\": it gets none", d->rule->name);
	if (err != NULL)
		snprintf(err->type, sizeof err->type, "%s", ELIGIBILITY_EXCLUDED);
	return NOT_ELIGIBLE;
}

enum eligibility eligibility_decide(const struct config *c, const struct decision *d, const struct eligibility_facts *f, struct err *err)
{
	struct address address;
	struct err why = ERR_INIT;
	enum eligibility owner;

	if (!address_parse(&address, f->address, err))
		return NOT_ELIGIBLE;
	if (!profile_address(&address, &why))
		return refuse_as(err, &why, f->address);
	if (!config_serves(c, address.domain))
		return refuse(err, ERR_CONFIG, f->address,
			"its domain is none that we serve; add it to `domains` in the configuration if it is yours");
	if (d->certificate == NULL)
		return excluded(d, f, err);
	owner = decide_owner(d, f, err);
	if (owner != ELIGIBLE)
		return owner;
	if (!eligibility_pilot(c, f->address, f->in_pilot_group))
		return refuse(err, ERR_POLICY, f->address,
			"it does not take part in the pilot; add it to `pilot` in the configuration, or to the pilot group, or "
			"remove `pilot` to start for everybody");
	if (c->mode == MODE_OBSERVE)
		return refuse(err, ERR_POLICY, f->address,
			"mode = \"observe\": it would be enrolled, but nothing is ordered; set mode = \"enroll\" or \"sign\"");
	if (f->paused)
		return later(err, f->address, f->now + PAUSE_RETRY, "an admin paused the gateway; run `enrollctl resume` to go on");
	return decide_caps(c, f, err);
}
