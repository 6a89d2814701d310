/*
 * policy/rules.c - which of the configuration's rules is about an address, and what follows from it.
 *
 * The first rule whose conditions all hold decides; without one all is as the configuration says.  Conditions about the directory need it:
 * whoever asks hands over how (enrolld asks while it decides; the mail path never does: the name of the rule that enrolld found is in
 * the store, and rules_follow says what it means today).  A question the directory cannot answer now is an error and no "no": a rule that
 * takes people out must not be passed by because a server was down.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "policy/policy.h"

enum answer { ANSWER_NO, ANSWER_YES, ANSWER_UNKNOWN, ANSWER_ERROR };

/* What is asked for one rule. */
struct asking {
	const struct rules_facts *facts;
	const struct rules_directory *directory;
	char key[ADDRESS_MAX];
	const char *domain;
	const char *failed; /* the condition that did not hold, for explanation */
	char detail[300];
};

static enum answer no(struct asking *a, const char *condition, const char *detail)
{
	a->failed = condition;
	snprintf(a->detail, sizeof a->detail, "%s", detail);
	return ANSWER_NO;
}

static enum answer ask_groups(struct asking *a, const struct rule *r, struct err *err)
{
	bool member = false;

	for (size_t i = 0; i < r->groups.n; i++) {
		if (!a->directory->in_group(a->directory->context, a->facts->address, r->groups.v[i], &member, err))
			return ANSWER_ERROR;
		if (member)
			return ANSWER_YES;
	}
	return no(a, "groups", "its entry is in none of them");
}

static enum answer ask_filter(struct asking *a, const struct rule *r, struct err *err)
{
	bool matches = false;

	if (!a->directory->matches(a->directory->context, a->facts->address, r->filter, &matches, err))
		return ANSWER_ERROR;
	return matches ? ANSWER_YES : no(a, "filter", "its entry does not match");
}

static enum answer ask_entry(struct asking *a, const struct rule *r, struct err *err)
{
	const char *kind;

	if (r->kinds.n == 0 && !r->filter && r->groups.n == 0)
		return ANSWER_YES;
	if (!a->directory)
		return ANSWER_UNKNOWN;
	if (!a->facts->person)
		return no(a, r->kinds.n ? "kinds" : r->filter ? "filter" : "groups", "no directory entry has this address");
	kind = directory_kind_name(a->facts->person->kind);
	if (r->kinds.n > 0 && !strlist_has(&r->kinds, kind))
		return no(a, "kinds", kind);
	if (r->filter) {
		enum answer answer = ask_filter(a, r, err);

		if (answer != ANSWER_YES)
			return answer;
	}
	return r->groups.n > 0 ? ask_groups(a, r, err) : ANSWER_YES;
}

static enum answer ask(struct asking *a, const struct rule *r, struct err *err)
{
	if (r->addresses.n > 0 && !strlist_has(&r->addresses, a->key))
		return no(a, "addresses", "it is none of them");
	if (r->domains.n > 0 && !strlist_has(&r->domains, a->domain))
		return no(a, "domains", "its domain is none of them");
	return ask_entry(a, r, err);
}

bool rules_find(const struct config *c, const struct rules_facts *facts, const struct rules_directory *directory, const struct rule **rule,
	struct buf *why, struct err *err)
{
	struct asking a = {.facts = facts, .directory = directory};
	struct address parsed;

	*rule = NULL;
	if (!address_parse(&parsed, facts->address, err))
		return false;
	address_key(&parsed, a.key);
	a.domain = parsed.domain;
	for (size_t i = 0; i < c->n_rules; i++) {
		const struct rule *r = &c->rules[i];
		enum answer answer = ask(&a, r, err);

		if (answer == ANSWER_ERROR)
			return false;
		if (answer == ANSWER_UNKNOWN)
			return true;
		if (answer == ANSWER_YES) {
			*rule = r;
			return true;
		}
		if (why)
			buf_printf(why, "%s: %s: %s\n", r->name, a.failed, a.detail);
	}
	return true;
}

bool rules_ask_directory(const struct config *c, const char *address)
{
	struct rules_facts facts = {.address = address};
	struct asking a = {.facts = &facts};
	struct address parsed;
	enum answer answer = ANSWER_NO;

	if (!address_parse(&parsed, address, NULL))
		return false;
	address_key(&parsed, a.key);
	a.domain = parsed.domain;
	for (size_t i = 0; i < c->n_rules && answer == ANSWER_NO; i++)
		answer = ask(&a, &c->rules[i], NULL);
	return answer == ANSWER_UNKNOWN;
}

void rules_follow(const struct config *c, const struct rule *rule, struct decision *out)
{
	*out = (struct decision){.rule = rule, .certificate = &c->certificate, .no_certificate = c->no_certificate, .publish = c->directory.publish};
	if (rule && rule->certificate)
		out->certificate = strcmp(rule->certificate, CERTIFICATE_NONE) == 0 ? NULL : config_certificate(c, rule->certificate);
	/* Who will never have one is not kept waiting for it, unless the rule itself says so. */
	if (!out->certificate)
		out->no_certificate = NO_CERTIFICATE_PASS;
	if (rule && rule->no_certificate != NO_CERTIFICATE_AS_CONFIGURED)
		out->no_certificate = rule->no_certificate;
	if (rule && rule->publish)
		out->publish = rule->publish;
	if (out->certificate)
		out->ca = config_ca_of(c, out->certificate);
}

/* ---- which mail ---------------------------------------------------------------------------------------------------- */

/* How many recipients are in one of the domains; an address that cannot be read is in none. */
static size_t count_in(const struct strlist *recipients, const struct strlist *domains)
{
	size_t n = 0;

	for (size_t i = 0; i < recipients->n; i++) {
		struct address a;

		n += address_parse(&a, recipients->v[i], NULL) && strlist_has(domains, a.domain);
	}
	return n;
}

bool rules_sign(const struct config *c, const struct rule *rule, const struct strlist *recipients, const char **why)
{
	size_t ours;

	*why = NULL;
	if (!rule)
		return true;
	ours = count_in(recipients, &c->domains);
	if (rule->sign == SIGN_NONE)
		*why = "the rule signs no mail";
	else if (rule->sign == SIGN_OUTGOING && recipients->n > 0 && ours == recipients->n)
		*why = "the rule signs outgoing mail only";
	else if (rule->sign == SIGN_INTERNAL && ours < recipients->n)
		*why = "the rule signs internal mail only";
	else if (rule->unsigned_to.n > 0 && recipients->n > 0 && count_in(recipients, &rule->unsigned_to) == recipients->n)
		*why = "the rule signs no mail to these domains (unsigned-to)";
	return *why == NULL;
}
