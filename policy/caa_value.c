/*
 * policy/caa_value.c - CAA records and issuemail values, taken apart.
 *
 * A CA that reads a value more strictly than we do refuses an order that we opened; one that reads it more loosely is wrong.  So
 * the grammar of RFC 8659 is taken by the letter: no dot at the end of the issuer, no semicolon behind the last parameter.
 */
#include "config.h"

#include "policy/caa_value.h"

#include <string.h>
#include <strings.h>

static bool is_alnum(char ch)
{
	return (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
}

bool caa_text_is(const struct caa_text *t, const char *s)
{
	return t->len == strlen(s) && memcmp(t->data, s, t->len) == 0;
}

bool caa_text_is_nocase(const struct caa_text *t, const char *s)
{
	return t->len == strlen(s) && strncasecmp(t->data, s, t->len) == 0 && memchr(t->data, 0, t->len) == NULL;
}

bool caa_text_is_uri(const struct caa_text *t)
{
	size_t i = 0;

	while (i < t->len && (is_alnum(t->data[i]) || (i > 0 && strchr("+-.", t->data[i]) != NULL && t->data[i] != 0)))
		i++;
	return i > 0 && i + 1 < t->len && t->data[i] == ':' && !(t->data[0] >= '0' && t->data[0] <= '9');
}

bool caa_record_parse(const struct dns_rdata *rdata, struct caa_record *out)
{
	size_t tag_len;

	if (rdata->len < 2)
		return false;
	tag_len = rdata->data[1];
	if (tag_len == 0 || tag_len > rdata->len - 2)
		return false;
	out->flags = rdata->data[0];
	out->tag = (struct caa_text){(const char *)rdata->data + 2, tag_len};
	out->value = (struct caa_text){(const char *)rdata->data + 2 + tag_len, rdata->len - 2 - tag_len};
	return true;
}

/* ---- the grammar ------------------------------------------------------------------------------------------------- */

struct cursor {
	const char *p, *end;
};

static void skip_blanks(struct cursor *c)
{
	while (c->p < c->end && (*c->p == ' ' || *c->p == '\t'))
		c->p++;
}

/* (ALPHA / DIGIT) *( *("-") (ALPHA / DIGIT)): a label and a parameter's tag alike. */
static bool take_label(struct cursor *c, struct caa_text *out)
{
	const char *start = c->p;

	while (c->p < c->end && (is_alnum(*c->p) || *c->p == '-'))
		c->p++;
	*out = (struct caa_text){start, (size_t)(c->p - start)};
	return out->len > 0 && start[0] != '-' && c->p[-1] != '-';
}

static bool take_issuer(struct cursor *c, struct caa_text *out)
{
	const char *start = c->p;
	struct caa_text label;

	for (;;) {
		if (!take_label(c, &label))
			return false;
		if (c->p == c->end || *c->p != '.')
			break;
		c->p++;
	}
	*out = (struct caa_text){start, (size_t)(c->p - start)};
	return true;
}

/* tag *WSP "=" *WSP value, where value = *(%x21-3A / %x3C-7E) */
static bool take_parameter(struct cursor *c, struct caa_text *tag, struct caa_text *value)
{
	if (!take_label(c, tag))
		return false;
	skip_blanks(c);
	if (c->p == c->end || *c->p != '=')
		return false;
	c->p++;
	skip_blanks(c);
	value->data = c->p;
	while (c->p < c->end && *c->p >= 0x21 && *c->p <= 0x7e && *c->p != ';')
		c->p++;
	value->len = (size_t)(c->p - value->data);
	return true;
}

bool caa_issue_parse(const struct caa_text *value, struct caa_issue *out)
{
	struct cursor c = {value->data, value->data + value->len};

	out->issuer = (struct caa_text){"", 0};
	out->n = 0;
	skip_blanks(&c);
	if (c.p < c.end && *c.p != ';') {
		if (!take_issuer(&c, &out->issuer))
			return false;
		skip_blanks(&c);
	}
	if (c.p == c.end)
		return true;
	if (*c.p++ != ';')
		return false;
	skip_blanks(&c);
	/* "ca.example;" is well-formed, "ca.example; a=b;" is not */
	while (c.p < c.end || out->n > 0) {
		if (out->n == CAA_PARAMETERS_MAX || !take_parameter(&c, &out->parameters[out->n].tag, &out->parameters[out->n].value))
			return false;
		out->n++;
		skip_blanks(&c);
		if (c.p == c.end)
			return true;
		if (*c.p++ != ';')
			return false;
		skip_blanks(&c);
	}
	return true;
}

bool caa_methods_include(const struct caa_text *list, const char *method, bool *included)
{
	const char *p = list->data, *end = list->data + list->len;

	*included = false;
	if (list->len == 0)
		return true; /* an empty list is well-formed and includes nothing */
	for (;;) {
		struct caa_text label = {p, 0};

		while (p < end && (is_alnum(*p) || *p == '-'))
			p++;
		label.len = (size_t)(p - label.data);
		if (label.len == 0)
			return false;
		*included |= method != NULL && caa_text_is(&label, method);
		if (p == end)
			return true;
		if (*p++ != ',')
			return false;
	}
}
