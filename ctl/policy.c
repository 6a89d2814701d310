/*
 * ctl/policy.c - `enrollctl policy explain`: which rule is about an address, and everything that follows from it.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <string.h>

static const char *text(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* A list of texts in one line. */
static void print_texts(json_t *o, const char *key, const char *label)
{
	struct buf line = BUF_INIT;
	json_t *one, *all;
	size_t i;

	json_array_foreach(json_object_get(o, key), i, one)
		buf_printf(&line, "%s%s", i ? ", " : "", json_string_value(one));
	all = json_pack("{s:s}", key, buf_str(&line));
	if (line.len)
		ctl_line(all, key, label);
	json_decref(all);
	buf_clear(&line);
}

static void print_rule(json_t *r)
{
	json_t *passed = json_object_get(r, "passed_by"), *one;
	size_t i;

	json_array_foreach(passed, i, one)
		printf("  passed by      %s\n", json_string_value(one));
	if (*text(r, "rule"))
		ctl_line(r, "rule", "rule");
	else
		puts("  rule           none is about it: all is as configured");
}

static void print_certificate(json_t *r)
{
	json_t *c = json_object_get(r, "certificate");
	bool empty = c && json_is_string(json_object_get(c, "subject")) && !*text(c, "subject");

	if (!c) {
		puts("  certificate    none");
		return;
	}
	printf("  certificate    %s: %s%s%s%s%s\n", text(c, "name"), text(c, "validation"), *text(c, "generation") ? ", " : "", text(c, "generation"),
		*text(c, "policy_oid") ? ", " : "", text(c, "policy_oid"));
	print_texts(c, "usages", "usage");
	print_texts(c, "addresses", "addresses");
	if (empty)
		puts("  subject        (empty)");
	else
		ctl_line(c, "subject", "subject");
	ctl_line(c, "key_type", "key");
	ctl_line(c, "ca", "CA");
	ctl_line(c, "ca_profile", "CA's profile");
	ctl_line(r, "publish", "publish");
}

static void print_has(json_t *h)
{
	if (!h) {
		puts("  enrollment     none yet");
		return;
	}
	printf("  enrollment     %s%s, %s (%s) from %s\n", json_is_true(json_object_get(h, "disabled")) ? "disabled, " : "", text(h, "state"), text(h, "profile"),
		text(h, "usage"), *text(h, "ca") ? text(h, "ca") : "a CA not chosen yet");
	if (json_is_true(json_object_get(h, "other_kind")))
		puts("                 of another kind than above: that comes with the next renewal, or now with `enrollctl enroll`");
}

static void print_explanation(const struct ctl *c, json_t *r)
{
	json_t *eligible = json_object_get(r, "eligible"), *mail = json_object_get(r, "mail"), *entry = json_object_get(r, "entry");

	(void)c;
	puts(text(r, "address"));
	if (entry && strcmp(text(entry, "found"), "one") == 0)
		printf("  entry          %s (%s%s)\n", text(entry, "dn"), text(entry, "kind"), json_is_true(json_object_get(entry, "disabled")) ? ", disabled" : "");
	else if (entry)
		printf("  entry          %s\n", strcmp(text(entry, "found"), "none") == 0 ? "none has this address" : "several have this address");
	print_rule(r);
	print_certificate(r);
	ctl_line(r, "covered_by", "covered by");
	printf("  eligible now   %s%s%s\n", text(eligible, "now"), *text(eligible, "why") ? ": " : "", text(eligible, "why"));
	ctl_line(r, "no_certificate", "without one");
	if (mail) {
		print_texts(mail, "to", "mail to");
		printf("                 %s%s%s\n", json_is_true(json_object_get(mail, "signed")) ? "is signed" : "is not signed", *text(mail, "why") ? ": " : "",
			text(mail, "why"));
		if (strcmp(text(mail, "form"), "opaque") == 0)
			puts("                 in the opaque form");
		ctl_line(mail, "mail_rule", "by mail rule");
		ctl_line(mail, "unsigned_header", "not signed with field");
	}
	print_has(json_object_get(r, "has"));
}

int ctl_policy(struct ctl *c, int argc, char **argv)
{
	json_t *arguments, *to;

	if (argc != 2 || strcmp(argv[0], "explain") != 0)
		return ctl_usage(c, "policy takes explain and an address");
	to = json_array();
	for (size_t i = 0; i < c->to.n; i++)
		json_array_append_new(to, json_string(c->to.v[i]));
	arguments = json_pack("{s:s, s:o}", "address", argv[1], "to", to);
	if (!arguments)
		return ctl_usage(c, "addresses are UTF-8");
	return ctl_print(c, ctl_ask(c, "policy-explain", arguments), print_explanation);
}
