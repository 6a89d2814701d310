/*
 * enroll/explain.c - `policy explain`: what rules, directory and configuration say of an address, as enrolld would decide it now.  Nothing is
 * written and nobody outside is asked but the directory.
 */
#include "config.h"

#include "enroll/answer.h"
#include "enroll/control.h"
#include "enroll/decide.h"

#include <string.h>

/* The lines of `why`, one text each. */
static json_t *lines_json(const struct buf *why)
{
	json_t *a = json_array();

	for (const char *p = buf_str(why), *end; *p; p = end + (*end == '\n')) {
		end = strchrnul(p, '\n');
		json_array_append_new(a, json_stringn(p, (size_t)(end - p)));
	}
	return a;
}

static json_t *usages_json(const struct certificate_profile *p)
{
	if (p->usage == USAGE_SPLIT)
		return json_pack("[s, s]", usage_name(USAGE_SIGN), usage_name(USAGE_ENCRYPT));
	return json_pack("[s]", usage_name(p->usage));
}

static json_t *certificate_json(const struct verdict *v)
{
	const struct certificate_profile *p = v->decision.certificate;
	const struct directory_person *person = v->found == DIRECTORY_ONE ? &v->person : NULL;
	struct buf subject = BUF_INIT;
	struct err err = ERR_INIT;
	json_t *o = json_object();

	answer_set(o, "name", json_string(p->name));
	answer_set(o, "validation", json_string(validation_name(p->validation)));
	answer_set(o, "generation", p->validation == VALIDATION_PRIVATE ? NULL : json_string(generation_name(p->generation)));
	answer_set(o, "policy_oid", answer_text(profile_policy_oid(p)));
	answer_set(o, "usages", usages_json(p));
	answer_set(o, "key_type", answer_text(p->key_type));
	answer_set(o, "ca", answer_text(v->decision.ca->name));
	answer_set(o, "ca_profile", answer_text(p->ca_profile ? p->ca_profile : v->decision.ca->profile));
	answer_set(o, "addresses", answer_texts(&v->addresses));
	/* What is missing for a subject is among the reasons for not being eligible. */
	if (profile_describe(p, &v->addresses, person, &subject, &err))
		answer_set(o, "subject", json_string(buf_str(&subject)));
	buf_clear(&subject);
	return o;
}

static json_t *entry_json(const struct verdict *v)
{
	json_t *o = json_object();

	answer_set(o, "found", json_string(v->found == DIRECTORY_ONE ? "one" : v->found == DIRECTORY_SEVERAL ? "several" : "none"));
	if (v->found == DIRECTORY_ONE) {
		answer_set(o, "dn", answer_text(v->person.dn));
		answer_set(o, "kind", json_string(directory_kind_name(v->person.kind)));
		answer_set(o, "disabled", json_boolean(v->person.disabled));
	}
	return o;
}

static const char *no_certificate_name(enum no_certificate n)
{
	static const char *const names[] = {[NO_CERTIFICATE_AS_CONFIGURED] = "pass", [NO_CERTIFICATE_PASS] = "pass", [NO_CERTIFICATE_REJECT] = "reject",
		[NO_CERTIFICATE_HOLD] = "hold", [NO_CERTIFICATE_TEMPFAIL] = "tempfail"};

	return names[n];
}

/* Nothing is known of the mail but where it goes. */
static const char *no_field(void *context, const char *name, size_t nth)
{
	return NULL;
}

static bool no_type(void *context, const char *type)
{
	return false;
}

/* Is mail to these recipients signed, once there is a certificate, and in which form? */
static json_t *mail_json(const struct config *c, const struct verdict *v, const struct strlist *to)
{
	struct mail_look look = {.recipients = to, .field = no_field, .has_type = no_type};
	struct mail_form form;
	const char *why = NULL;
	bool is = v->decision.certificate && rules_sign(c, v->decision.rule, to, &why);
	json_t *o;

	mail_rules_judge(c, &look, &form);
	if (!v->decision.certificate)
		why = "the rule says: no certificate";
	else if (is && form.form == FORM_UNSIGNED)
		why = form.why;
	else if (is && c->mode != MODE_SIGN)
		why = "as soon as mode = \"sign\"";
	is = is && form.form != FORM_UNSIGNED;
	o = json_pack("{s:o, s:b}", "to", answer_texts(to), "signed", is);
	answer_set(o, "why", answer_text(why));
	answer_set(o, "form", is ? json_string(form.form == FORM_OPAQUE ? "opaque" : "detached") : NULL);
	answer_set(o, "mail_rule", answer_text(form.rule));
	if (v->decision.rule && v->decision.rule->unsigned_header)
		answer_set(o, "unsigned_header", json_string(v->decision.rule->unsigned_header));
	return o;
}

/* What the address has, and whether that is something else than what it would get. */
static json_t *now_json(const struct enrollment *e, const struct decision *d)
{
	json_t *o = json_pack("{s:I, s:s, s:s, s:s, s:s}", "id", (json_int_t)e->id, "state", enrollment_state_name(e->state), "profile", e->profile, "usage",
		e->usage, "ca", e->ca ? e->ca : "");
	struct certificate_profile p;

	answer_set(o, "rule", answer_text(e->rule));
	answer_set(o, "disabled", json_boolean(e->disabled));
	if (e->state == ENROLLMENT_ACTIVE && d->certificate) {
		p = profile_for(d->certificate, NULL);
		answer_set(o, "other_kind", json_boolean(strcmp(p.name, e->profile) != 0 || strcmp(usage_name(p.usage), e->usage) != 0 ||
			strcmp(d->ca->name, e->ca ? e->ca : "") != 0));
	}
	return o;
}

static json_t *eligible_json(struct enroll_parts *p, const char *address, const struct verdict *v, bool has, struct err *err)
{
	static const char *const words[] = {[ELIGIBLE] = "yes", [ELIGIBLE_LATER] = "later", [NOT_ELIGIBLE] = "no"};
	struct err why = ERR_INIT;
	enum eligibility answer;
	json_t *o;

	if (!decide_eligible(p, address, v, has, time(NULL), &answer, &why)) {
		if (err)
			*err = why;
		return NULL;
	}
	o = json_pack("{s:s}", "now", words[answer]);
	if (answer != ELIGIBLE) {
		answer_set(o, "class", json_string(err_class_name(why.class)));
		answer_set(o, "why", json_string(why.text));
	}
	return o;
}

static json_t *explanation(struct enroll_parts *p, const char *address, const struct verdict *v, const struct buf *passed, const struct enrollment *row,
	const struct strlist *to, struct err *err)
{
	const struct decision *d = &v->decision;
	json_t *eligible = eligible_json(p, address, v, row && row->certificate_id, err), *o;

	if (!eligible)
		return NULL;
	o = json_pack("{s:s, s:o, s:o}", "address", v->addresses.v[0], "passed_by", lines_json(passed), "eligible", eligible);
	answer_set(o, "rule", answer_text(d->rule ? d->rule->name : NULL));
	answer_set(o, "entry", p->directory ? entry_json(v) : NULL);
	answer_set(o, "certificate", d->certificate ? certificate_json(v) : NULL);
	answer_set(o, "covered_by", v->covered_by ? json_integer((json_int_t)v->covered_by) : NULL);
	answer_set(o, "publish", d->certificate ? answer_text(d->publish) : NULL);
	answer_set(o, "no_certificate", json_string(no_certificate_name(d->no_certificate)));
	answer_set(o, "mail", to->n ? mail_json(p->config, v, to) : NULL);
	answer_set(o, "has", row ? now_json(row, d) : NULL);
	return o;
}

json_t *policy_explain(struct enroll_parts *p, const char *address, const struct strlist *to, struct err *err)
{
	struct enrollment row = {0};
	struct buf passed = BUF_INIT;
	struct address parsed;
	struct verdict v = {0};
	char canonical[ADDRESS_MAX];
	bool found = false;
	json_t *o = NULL;

	if (!address_parse(&parsed, address, err))
		return NULL;
	address_text(&parsed, canonical);
	if (store_enrollment_find(p->store, canonical, &row, &found, err) && decide(p, canonical, found ? row.id : 0, &v, &passed, err))
		o = explanation(p, canonical, &v, &passed, found ? &row : NULL, to, err);
	verdict_clear(&v);
	enrollment_clear(&row);
	buf_clear(&passed);
	return o;
}
