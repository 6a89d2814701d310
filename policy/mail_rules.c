/*
 * policy/mail_rules.c - in which form does a mail leave: multipart/signed, opaque, or not signed.
 *
 * The rules are about the mail, not about its author (that is rules.c).  One mail goes to all its recipients as it is, as a milter cannot
 * send some of them another one.  So nothing here is decided by order: of all rules whose conditions hold the strictest counts, and
 * one recipient is enough for a condition about recipients.  Facts come in while the mail does; a condition about something that is not known
 * yet does not hold, and with more facts the answer can only become stricter.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "policy/policy.h"

static bool recipient_is(const char *recipient, const struct strlist *wanted)
{
	struct address a;
	char key[ADDRESS_MAX];

	if (!address_parse(&a, recipient, NULL))
		return false;
	address_key(&a, key);
	return strlist_has(wanted, key) || strlist_has(wanted, a.domain);
}

/* An empty one stands for those that there were too many of to be kept: they may be anybody. */
static bool some_recipient(const struct strlist *recipients, const struct strlist *wanted)
{
	for (size_t i = 0; i < recipients->n; i++)
		if (!*recipients->v[i] || recipient_is(recipients->v[i], wanted))
			return true;
	return false;
}

/* An address that cannot be read is none of ours. */
static bool direction_is(const struct config *c, const struct strlist *recipients, enum mail_direction direction)
{
	size_t ours = 0;

	for (size_t i = 0; i < recipients->n; i++)
		ours += recipient_is(recipients->v[i], &c->domains);
	return direction == DIRECTION_ANY || (recipients->n > 0 && (direction == DIRECTION_INTERNAL) == (ours == recipients->n));
}

static bool has_field(const struct mail_look *look, const char *name, const char *text)
{
	const char *value;

	for (size_t i = 0; (value = look->field(look->context, name, i)) != NULL; i++)
		if (text == NULL || strcasestr(value, text) != NULL)
			return true;
	return false;
}

static bool some_type(const struct mail_look *look, const struct strlist *types)
{
	for (size_t i = 0; i < types->n; i++)
		if (look->has_type(look->context, types->v[i]))
			return true;
	return false;
}

static bool rule_holds(const struct config *c, const struct mail_rule *r, const struct mail_look *look)
{
	return (r->recipients.n == 0 || some_recipient(look->recipients, &r->recipients)) &&
	       direction_is(c, look->recipients, r->direction) && (r->larger_than == 0 || look->octets > r->larger_than) &&
	       (r->header == NULL || has_field(look, r->header, r->header_contains)) &&
	       (r->content_types.n == 0 || some_type(look, &r->content_types));
}

static void stricter(struct mail_form *out, enum signed_form form, const char *why, const char *rule)
{
	if (form <= out->form)
		return;
	*out = (struct mail_form){.form = form, .why = why, .rule = rule};
}

void mail_rules_judge(const struct config *c, const struct mail_look *look, struct mail_form *out)
{
	const struct signing_config *s = &c->signing;

	*out = (struct mail_form){.form = s->form};
	if (look->auto_submitted)
		stricter(out, s->auto_submitted, "auto-submitted", NULL);
	if (look->list_mail)
		stricter(out, s->list_mail, "list mail", NULL);
	if (s->calendar != FORM_DETACHED && look->has_type(look->context, CALENDAR_TYPE))
		stricter(out, s->calendar, "calendar mail", NULL);
	for (size_t i = 0; i < c->n_mail_rules; i++)
		if (c->mail_rules[i].form > out->form && rule_holds(c, &c->mail_rules[i], look))
			stricter(out, c->mail_rules[i].form, "a mail rule says so", c->mail_rules[i].name);
}

bool mail_rules_ask_recipients(const struct config *c)
{
	for (size_t i = 0; i < c->n_mail_rules; i++)
		if (c->mail_rules[i].recipients.n > 0 || c->mail_rules[i].direction != DIRECTION_ANY)
			return true;
	return false;
}

bool mail_rules_types(const struct config *c, struct strlist *out)
{
	if (c->signing.calendar != FORM_DETACHED && !strlist_add(out, CALENDAR_TYPE))
		return false;
	for (size_t i = 0; i < c->n_mail_rules; i++)
		for (size_t k = 0; k < c->mail_rules[i].content_types.n; k++)
			if (!strlist_has(out, c->mail_rules[i].content_types.v[k]) && !strlist_add(out, c->mail_rules[i].content_types.v[k]))
				return false;
	return true;
}

bool mail_rules_type_is(const char *type, const char *wanted)
{
	size_t len = strlen(wanted);

	if (strcmp(type, "*/*") == 0)
		return true;
	if (len >= 2 && strcmp(wanted + len - 2, "/*") == 0)
		return strncmp(type, wanted, len - 1) == 0;
	return strcmp(type, wanted) == 0;
}
