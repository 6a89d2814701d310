/*
 * tests/unit/test_mail_rules.c - policy/mail_rules.c: in which form a mail leaves, and what the configuration may say of it.
 */
#include "config.h"

#include "test_config.h"

/* A mail, as the milter knows it at its end. */
struct mail {
	const char *to[3], *field, *value, *types[3];
	unsigned long long octets;
	bool list, automatic;
};

static const char *field(void *context, const char *name, size_t nth)
{
	const struct mail *m = context;

	return m->field && str_eq_nocase(name, m->field) && nth == 0 ? m->value : NULL;
}

static bool has_type(void *context, const char *type)
{
	const struct mail *m = context;

	for (int i = 0; i < 3 && m->types[i]; i++)
		if (mail_rules_type_is(m->types[i], type))
			return true;
	return false;
}

static void judge(const struct config *c, const struct mail *m, struct mail_form *out)
{
	struct strlist to = {0};
	struct mail_look look = {.recipients = &to, .list_mail = m->list, .auto_submitted = m->automatic, .context = (void *)m, .field = field,
		.has_type = has_type, .octets = m->octets};

	for (int i = 0; i < 3 && m->to[i]; i++)
		ck_assert(strlist_add(&to, m->to[i]));
	mail_rules_judge(c, &look, out);
	strlist_clear(&to);
}

#define CONFIG(signing, rules) BASE "signing = { " signing " };\nmail-rules = ( " rules " );\n"
#define TO "recipients = [ \"partner.example\", \"Joe@other.example\" ];"

static const struct {
	const char *name, *text;
	struct mail mail;
	enum signed_form form;
	const char *by; /* the rule's name, or a piece of the reason */
} rows[] = {
	{"nothing is said", CONFIG("", ""), {.to = {"x@y.example"}, .types = {"text/plain"}}, FORM_DETACHED, NULL},
	{"opaque for all", CONFIG("form = \"opaque\";", ""), {.to = {"x@y.example"}}, FORM_OPAQUE, NULL},
	{"an invitation", CONFIG("", ""), {.types = {"multipart/alternative", "text/plain", "text/calendar"}}, FORM_UNSIGNED, "calendar"},
	{"an invitation, opaque", CONFIG("calendar = \"opaque\";", ""), {.types = {"text/calendar"}}, FORM_OPAQUE, "calendar"},
	{"an invitation like any mail", CONFIG("calendar = \"detached\";", ""), {.types = {"text/calendar"}}, FORM_DETACHED, NULL},
	{"an invitation is no milder than all", CONFIG("calendar = \"detached\"; form = \"opaque\";", ""), {.types = {"text/calendar"}}, FORM_OPAQUE, NULL},
	{"list mail", CONFIG("", ""), {.list = true}, FORM_UNSIGNED, "list mail"},
	{"list mail, signed", CONFIG("list-mail = \"detached\";", ""), {.list = true}, FORM_DETACHED, NULL},
	{"an automatic reply", CONFIG("", ""), {.automatic = true}, FORM_UNSIGNED, "auto-submitted"},
	{"both: the strictest", CONFIG("list-mail = \"opaque\";", ""), {.automatic = true, .list = true}, FORM_UNSIGNED, "auto-submitted"},
	{"both, and none forbids", CONFIG("list-mail = \"opaque\"; auto-submitted = \"detached\";", ""), {.automatic = true, .list = true}, FORM_OPAQUE,
		"list mail"},

	{"a recipient's domain", CONFIG("", "{ name = \"r\"; " TO " }"), {.to = {"a@Partner.Example"}}, FORM_UNSIGNED, "r"},
	{"a recipient's address", CONFIG("", "{ name = \"r\"; " TO " }"), {.to = {"JOE@other.example"}}, FORM_UNSIGNED, "r"},
	{"one of the recipients is enough", CONFIG("", "{ name = \"r\"; " TO " }"), {.to = {"a@b.example", "b@partner.example"}}, FORM_UNSIGNED, "r"},
	{"another one there", CONFIG("", "{ name = \"r\"; " TO " }"), {.to = {"jim@other.example"}}, FORM_DETACHED, NULL},
	{"below it is elsewhere", CONFIG("", "{ name = \"r\"; " TO " }"), {.to = {"a@x.partner.example"}}, FORM_DETACHED, NULL},
	{"too many to know them all", CONFIG("", "{ name = \"r\"; " TO " }"), {.to = {"jim@other.example", ""}}, FORM_UNSIGNED, "r"},
	{"too many to know them all: some are outside", CONFIG("", "{ name = \"r\"; direction = \"internal\"; }"), {.to = {"a@example.org", ""}}, FORM_DETACHED, NULL},
	{"to nobody that is known", CONFIG("", "{ name = \"r\"; " TO " }"), {.to = {NULL}}, FORM_DETACHED, NULL},
	{"what cannot be read is nobody", CONFIG("", "{ name = \"r\"; " TO " }"), {.to = {"@@", "postmaster"}}, FORM_DETACHED, NULL},

	{"a field", CONFIG("", "{ name = \"r\"; header = \"X-No\"; }"), {.field = "x-no", .value = ""}, FORM_UNSIGNED, "r"},
	{"no such field", CONFIG("", "{ name = \"r\"; header = \"X-No\"; }"), {.field = "X-Nono", .value = ""}, FORM_DETACHED, NULL},
	{"a field that says it", CONFIG("", "{ name = \"r\"; header = \"X-Mailer\"; header-contains = \"outlook\"; }"),
		{.field = "X-Mailer", .value = " Microsoft OutLook 16"}, FORM_UNSIGNED, "r"},
	{"a field that says something else", CONFIG("", "{ name = \"r\"; header = \"X-Mailer\"; header-contains = \"outlook\"; }"),
		{.field = "X-Mailer", .value = " mutt"}, FORM_DETACHED, NULL},

	{"a type", CONFIG("", "{ name = \"r\"; content-types = [ \"Application/MS-TNEF\" ]; }"), {.types = {"application/ms-tnef"}}, FORM_UNSIGNED, "r"},
	{"any of a kind", CONFIG("", "{ name = \"r\"; content-types = [ \"video/*\" ]; form = \"opaque\"; }"), {.types = {"text/plain", "video/mp4"}},
		FORM_OPAQUE, "r"},
	{"the kind alone is none", CONFIG("", "{ name = \"r\"; content-types = [ \"video/*\" ]; }"), {.types = {"videos/mp4"}}, FORM_DETACHED, NULL},
	{"larger", CONFIG("", "{ name = \"r\"; larger-than = 1000; }"), {.octets = 1001}, FORM_UNSIGNED, "r"},
	{"as large", CONFIG("", "{ name = \"r\"; larger-than = 1000; }"), {.octets = 1000}, FORM_DETACHED, NULL},
	{"larger than 4 GiB", CONFIG("", "{ name = \"r\"; larger-than = 1000; }"), {.octets = 5ull << 32}, FORM_UNSIGNED, "r"},
	{"outgoing", CONFIG("", "{ name = \"r\"; direction = \"outgoing\"; }"), {.to = {"a@example.org", "b@c.example"}}, FORM_UNSIGNED, "r"},
	{"not outgoing", CONFIG("", "{ name = \"r\"; direction = \"outgoing\"; }"), {.to = {"a@example.org"}}, FORM_DETACHED, NULL},
	{"internal", CONFIG("", "{ name = \"r\"; direction = \"internal\"; }"), {.to = {"a@example.org", "b@EXAMPLE.org"}}, FORM_UNSIGNED, "r"},
	{"not internal", CONFIG("", "{ name = \"r\"; direction = \"internal\"; }"), {.to = {"a@example.org", "b@c.example"}}, FORM_DETACHED, NULL},
	{"a direction with nobody", CONFIG("", "{ name = \"r\"; direction = \"internal\"; }"), {.to = {NULL}}, FORM_DETACHED, NULL},

	{"all conditions hold", CONFIG("", "{ name = \"r\"; " TO " header = \"X\"; larger-than = 5; content-types = [ \"a/b\" ]; direction = \"outgoing\"; }"),
		{.to = {"a@partner.example"}, .field = "X", .value = "", .octets = 6, .types = {"a/b"}}, FORM_UNSIGNED, "r"},
	{"all but one", CONFIG("", "{ name = \"r\"; " TO " header = \"X\"; larger-than = 5; content-types = [ \"a/b\" ]; direction = \"outgoing\"; }"),
		{.to = {"a@partner.example"}, .field = "X", .value = "", .octets = 6, .types = {"a/c"}}, FORM_DETACHED, NULL},
	{"the strictest, first", CONFIG("", "{ name = \"no\"; " TO " }, { name = \"op\"; direction = \"outgoing\"; form = \"opaque\"; }"),
		{.to = {"a@partner.example"}}, FORM_UNSIGNED, "no"},
	{"the strictest, last", CONFIG("", "{ name = \"op\"; direction = \"outgoing\"; form = \"opaque\"; }, { name = \"no\"; " TO " }"),
		{.to = {"a@partner.example"}}, FORM_UNSIGNED, "no"},
	{"each recipient by another", CONFIG("", "{ name = \"op\"; recipients = [ \"a.example\" ]; form = \"opaque\"; }, { name = \"no\"; " TO " }"),
		{.to = {"a@a.example", "b@partner.example"}}, FORM_UNSIGNED, "no"},
	{"only the milder holds", CONFIG("", "{ name = \"op\"; recipients = [ \"a.example\" ]; form = \"opaque\"; }, { name = \"no\"; " TO " }"),
		{.to = {"a@a.example", "b@b.example"}}, FORM_OPAQUE, "op"},
};

START_TEST(the_strictest_rule_counts)
{
	struct config *c = load_good(rows[_i].text);
	struct mail_form form;

	judge(c, &rows[_i].mail, &form);
	ck_assert_msg(form.form == rows[_i].form, "%s: form %d", rows[_i].name, (int)form.form);
	if (!rows[_i].by)
		ck_assert_msg(!form.why && !form.rule, "%s: %s", rows[_i].name, form.why);
	else
		ck_assert_msg(form.rule ? strcmp(form.rule, rows[_i].by) == 0 : form.why && strstr(form.why, rows[_i].by), "%s: %s %s", rows[_i].name,
			form.why, form.rule);
	config_unref(c);
}
END_TEST

START_TEST(what_has_to_be_looked_at)
{
	struct config *c = load_good(CONFIG("", "{ name = \"a\"; content-types = [ \"video/*\", \"text/calendar\" ]; }, "
		"{ name = \"b\"; content-types = [ \"video/*\", \"a/b\" ]; }"));
	struct strlist types = {0};

	ck_assert(mail_rules_types(c, &types));
	ck_assert_uint_eq(types.n, 3);
	ck_assert_str_eq(types.v[0], "text/calendar");
	ck_assert(!mail_rules_ask_recipients(c));
	strlist_clear(&types);
	config_unref(c);
	c = load_good(CONFIG("calendar = \"detached\";", "{ name = \"a\"; direction = \"internal\"; }"));
	ck_assert(mail_rules_types(c, &types));
	ck_assert_uint_eq(types.n, 0);
	ck_assert(mail_rules_ask_recipients(c));
	config_unref(c);
	c = load_good(CONFIG("", "{ name = \"a\"; " TO " }"));
	ck_assert(mail_rules_ask_recipients(c));
	config_unref(c);
}
END_TEST

static const struct bad refusals[] = {
	{"", CONFIG("", "{ form = \"opaque\"; }"), "mail-rules.name: expected a name"},
	{"", CONFIG("", "{ name = \"r\"; }"), "rule \"r\" has no condition"},
	{"", CONFIG("", "{ name = \"r\"; direction = \"any\"; larger-than = 0; }"), "rule \"r\" has no condition"},
	{"", CONFIG("", "{ name = \"r\"; " TO " }, { name = \"r\"; header = \"X\"; }"), "the name of another mail rule too"},
	{"", CONFIG("", "{ name = \"r\"; recipients = [ ]; }"), "mail-rules.recipients: expected at least one"},
	{"", CONFIG("", "{ name = \"r\"; header = \"X\"; content-types = [ ]; }"), "mail-rules.content-types: expected at least one"},
	{"", CONFIG("", "{ name = \"r\"; recipients = [ \"*.example\" ]; }"), "expected a mail address or a domain name"},
	{"", CONFIG("", "{ name = \"r\"; header-contains = \"x\"; }"), "expected the key header beside it"},
	{"", CONFIG("", "{ name = \"r\"; header = \"X\"; header-contains = \"\"; }"), "mail-rules.header-contains: "},
	{"", CONFIG("", "{ name = \"r\"; header = \"X:\"; }"), "expected a header field name"},
	{"", CONFIG("", "{ name = \"r\"; content-types = [ \"calendar\" ]; }"), "expected a content type"},
	{"", CONFIG("", "{ name = \"r\"; content-types = [ \"text/*l\" ]; }"), "expected a content type"},
	{"", CONFIG("", "{ name = \"r\"; content-types = [ \"*/*\" ]; }"), "expected a content type"},
	{"", CONFIG("", "{ name = \"r\"; content-types = [ \"text/plain; charset=x\" ]; }"), "expected a content type"},
	{"", CONFIG("", "{ name = \"r\"; " TO " form = \"detached\"; }"), "expected \"unsigned\" or \"opaque\""},
	{"", CONFIG("", "{ name = \"r\"; " TO " direction = \"out\"; }"), "mail-rules.direction: "},
	{"", CONFIG("", "{ name = \"r\"; larger-than = -1; }"), "mail-rules.larger-than: "},
	{"", CONFIG("form = \"unsigned\";", ""), "expected \"detached\" or \"opaque\""},
	{"", CONFIG("unencodable = \"detached\";", ""), "signing.unencodable: "},
	{"", CONFIG("rsa-padding = \"oaep\";", ""), "expected \"pkcs1\" or \"pss\""},
};

START_TEST(what_makes_no_sense_is_refused)
{
	struct err err = ERR_INIT;

	check_refused(&(struct bad){refusals[_i].text, refusals[_i].text, refusals[_i].expected}, load(refusals[_i].text, &err), &err);
}
END_TEST

START_TEST(what_is_shown_loads_again)
{
	struct config *c = load_good(CONFIG("form = \"opaque\"; calendar = \"detached\"; rsa-padding = \"pss\"; header-protection = true;",
		"{ name = \"a\"; " TO " form = \"opaque\"; }, { name = \"b\"; header = \"X\"; header-contains = \"y\"; content-types = [ \"A/b\" ]; "
		"larger-than = 2000000000; direction = \"internal\"; }"));

	round_trip("mail rules", c);
	config_unref(c);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mail_rules");
	TCase *tc = tcase_create("forms");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, the_strictest_rule_counts, 0, sizeof rows / sizeof *rows);
	tcase_add_test(tc, what_has_to_be_looked_at);
	tcase_add_loop_test(tc, what_makes_no_sense_is_refused, 0, sizeof refusals / sizeof *refusals);
	tcase_add_test(tc, what_is_shown_loads_again);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
