/*
 * test_preset.c - ca.preset: every preset that is shipped, what a preset may not say, and who wins.
 */
#include "config.h"

#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy/policy.h"

#define SHIPPED TOP_SRCDIR "/examples/ca"
#define BASE "domains = [ \"example.org\" ];\nsubmission = ( { name = \"s\"; vouch = \"login\"; } );\n" /* the next line is 3 */
#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static char folder[64];

static void setup(void)
{
	strcpy(folder, "/tmp/test-preset-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(setenv("ENROLL_CA_PRESETS", SHIPPED, 1), 0);
}

static void teardown(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
}

static void write_file(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

/* The configuration with these lines in ca; "@" is the folder of this test. */
static struct config *load(const char *ca, struct err *err)
{
	struct buf text = BUF_INIT;
	char path[128];

	buf_puts(&text, BASE "ca = { ");
	for (; *ca; ca++)
		*ca == '@' ? buf_puts(&text, folder) : buf_putc(&text, *ca);
	buf_puts(&text, " };\n");
	write_file("t.conf", buf_str(&text));
	buf_clear(&text);
	snprintf(path, sizeof(path), "%s/t.conf", folder);
	err_clear(err);
	return config_load(path, err);
}

static struct config *load_good(const char *ca)
{
	struct err err = ERR_INIT;
	struct config *c = load(ca, &err);

	ck_assert_msg(c != NULL, "must load: %s\n%s", err.text, ca);
	return c;
}

/* ---- those that are shipped ---------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	enum token_join join;
	enum challenge_trigger trigger;
	bool auto_submitted;
	unsigned addresses, delay_least;
	const char *identifier_type;
} shipped[] = {
	{"rfc", JOIN_STRINGS, TRIGGER_AUTO, true, 1, 1, "email"},
	{"rapidmx", JOIN_STRINGS, TRIGGER_MAIL_FIRST, true, 1, 0, "email"},
	{"acme2certifier", JOIN_STRINGS, TRIGGER_MAIL_FIRST, false, 1, 20, "dns"},
	{"castle", JOIN_DECODED, TRIGGER_MAIL_FIRST, true, 10, 30, "email"},
	{"platynum", JOIN_DECODED, TRIGGER_MAIL_FIRST, true, 1, 0, "email"},
	{"secsy-pki", JOIN_STRINGS, TRIGGER_POST_FIRST, true, 1, 0, "email"},
	{"akamu", JOIN_STRINGS, TRIGGER_POST_FIRST, true, 1, 0, "email"},
	{"step-ca", JOIN_DECODED, TRIGGER_AUTO, true, 1, 0, "email"},
	{"prevalidated-eab", JOIN_STRINGS, TRIGGER_MAIL_FIRST, true, 1, 0, "email"},
};

START_TEST(a_shipped_preset_says_what_is_known_of_its_ca)
{
	struct config *c;
	char text[64];

	snprintf(text, sizeof(text), "preset = \"%s\";", shipped[_i].name);
	c = load_good(text);
	ck_assert_str_eq(c->ca.preset, shipped[_i].name);
	ck_assert_int_eq(strncmp(c->ca.preset_file, SHIPPED "/", strlen(SHIPPED "/")), 0);
	ck_assert_int_eq(c->ca.token_join, shipped[_i].join);
	ck_assert_int_eq(c->ca.trigger, shipped[_i].trigger);
	ck_assert_int_eq(c->ca.require_auto_submitted, shipped[_i].auto_submitted);
	ck_assert_int_eq(c->ca.authentication, CHALLENGE_DKIM_OR_SMIME);
	ck_assert_uint_eq(c->ca.addresses_per_order, shipped[_i].addresses);
	ck_assert_uint_ge(c->ca.reply_delay, shipped[_i].delay_least);
	ck_assert_str_eq(c->ca.identifier_type, shipped[_i].identifier_type);
	ck_assert_uint_gt(c->ca.preset_keys.n, 1);
	ck_assert_uint_eq(c->ca.preset_overruled.n, 0);
	config_unref(c);
}
END_TEST

/* ---- who wins ---------------------------------------------------------------------------------------------------- */

START_TEST(what_the_configuration_says_itself_wins)
{
	struct config *c = load_good("token-join = \"strings\"; preset = \"castle\"; reply-delay = 7; challenge-domains = [ \"a.example\" ];");

	ck_assert_int_eq(c->ca.token_join, JOIN_STRINGS);
	ck_assert_uint_eq(c->ca.reply_delay, 7);
	ck_assert_int_eq(c->ca.trigger, TRIGGER_MAIL_FIRST);
	ck_assert_uint_eq(c->ca.challenge_domains.n, 1);
	ck_assert(strlist_has(&c->ca.preset_keys, "ca.challenge-trigger"));
	ck_assert(!strlist_has(&c->ca.preset_keys, "ca.token-join"));
	ck_assert(strlist_has(&c->ca.preset_overruled, "ca.token-join"));
	ck_assert(strlist_has(&c->ca.preset_overruled, "ca.reply-delay"));
	config_unref(c);
}
END_TEST

START_TEST(a_list_of_the_configuration_takes_the_place_of_the_presets)
{
	struct config *c;

	write_file("p.conf", "challenge-domains = [ \"one.example\", \"two.example\" ];\n");
	c = load_good("preset = \"@/p.conf\"; challenge-domains = [ \"three.example\" ];");
	ck_assert_uint_eq(c->ca.challenge_domains.n, 1);
	ck_assert_str_eq(c->ca.challenge_domains.v[0], "three.example");
	config_unref(c);
	c = load_good("preset = \"@/p.conf\";");
	ck_assert_uint_eq(c->ca.challenge_domains.n, 2);
	config_unref(c);
}
END_TEST

START_TEST(the_admin_may_loosen_what_a_preset_may_not)
{
	struct config *c = load_good("preset = \"acme2certifier\"; challenge-authentication = \"none-from-network\"; challenge-networks = [ \"192.0.2.20\" ];");

	ck_assert_int_eq(c->ca.authentication, CHALLENGE_NONE_FROM_NETWORK);
	config_unref(c);
}
END_TEST

START_TEST(show_tells_where_values_come_from)
{
	struct config *c = load_good("preset = \"castle\"; reply-delay = 7;"), *again;
	struct buf text = BUF_INIT, json = BUF_INIT;
	struct err err = ERR_INIT;
	char path[128];
	json_t *o;

	ck_assert(config_show(c, false, &text, &err) && config_show(c, true, &json, &err));
	ck_assert_msg(strstr(buf_str(&text), "# CA ca, from preset " SHIPPED "/castle.conf: ca.token-join, ca.challenge-trigger, "), "%s", buf_str(&text));
	ck_assert_msg(strstr(buf_str(&text), "the configuration says it itself: ca.reply-delay\n"), "%s", buf_str(&text));
	ck_assert(strstr(buf_str(&text), "token-join = \"decoded\""));
	o = json_loads(buf_str(&json), 0, NULL);
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(o, "from-preset"), "file")), SHIPPED "/castle.conf");
	ck_assert_uint_gt(json_array_size(json_object_get(json_object_get(o, "from-preset"), "keys")), 2);
	json_decref(o);
	/* What is shown loads to the same. */
	write_file("shown.conf", buf_str(&text));
	snprintf(path, sizeof(path), "%s/shown.conf", folder);
	again = config_load(path, &err);
	ck_assert_msg(again != NULL, "%s", err.text);
	ck_assert_int_eq(again->ca.token_join, JOIN_DECODED);
	ck_assert_uint_eq(again->ca.reply_delay, 7);
	ck_assert_uint_eq(again->ca.addresses_per_order, c->ca.addresses_per_order);
	config_unref(again);
	config_unref(c);
	buf_clear(&text);
	buf_clear(&json);
}
END_TEST

START_TEST(check_names_the_preset_and_says_when_it_does_nothing)
{
	static const struct {
		const char *ca, *line;
	} rows[] = {
		{"preset = \"akamu\";", "ok: ca.preset: " SHIPPED "/akamu.conf\n"},
		{"preset = \"akamu\";", "ok: ca.preset: \"akamu\" sets ca.token-join, ca.challenge-trigger, ca.reply-delay, ca.addresses-per-order\n"},
		{"preset = \"akamu\"; reply-delay = 1;", "ok: ca.preset: \"akamu\" has ca.reply-delay too, but the configuration says it itself\n"},
		{"preset = \"@/one.conf\"; token-join = \"strings\";", "has ca.token-join too, but the configuration says it itself: the preset does nothing"},
	};

	write_file("one.conf", "token-join = \"decoded\";\n");
	for (int i = 0; i < COUNT(rows); i++) {
		struct config *c = load_good(rows[i].ca);
		struct buf report = BUF_INIT;
		struct err err = ERR_INIT;

		if (config_check(c, &report, &err))
			err_clear(&err);
		ck_assert_msg(strstr(buf_str(&report), rows[i].line), "%s\n%s", rows[i].line, buf_str(&report));
		buf_clear(&report);
		config_unref(c);
	}
}
END_TEST

/* ---- what is refused ---------------------------------------------------------------------------------------------- */

static const struct {
	const char *name, *ca, *preset, *expected;
} bad[] = {
	{"a preset that is not there", "\npreset = \"casle\";", "",
		"t.conf:4: ca.preset: there is no preset \"casle\" in " SHIPPED "; there are acme2certifier, akamu, castle, "},
	{"a path that is not there", "preset = \"/nonexistent/x.conf\";", "", "t.conf:3: ca.preset: /nonexistent/x.conf: No such file or directory"},
	{"a name that climbs", "preset = \"../castle\";", "", "t.conf:3: ca.preset: expected a name such as \"castle\", or an absolute path"},
	{"a number for a name", "preset = 3;", "", "t.conf:3: ca.preset: expected a text in quotes, found a number"},
	{"an unknown key", "preset = \"@/p.conf\";", "\ntokenjoin = \"strings\";\n",
		"p.conf:2: ca.tokenjoin: expected a known key, found \"tokenjoin\"; did you mean ca.token-join?"},
	{"a wrong word", "preset = \"@/p.conf\";", "token-join = \"string\";\n", "p.conf:1: ca.token-join: expected \"strings\" or \"decoded\", found \"string\""},
	{"a number that is too large", "preset = \"@/p.conf\";", "connections = 65;\n", "p.conf:1: ca.connections: expected a whole number from 1 to 64, found 65"},
	{"a wrong value that the configuration overrules", "preset = \"@/p.conf\"; connections = 4;", "connections = 65;\n", "p.conf:1: ca.connections: expected"},
	{"a missing quote", "preset = \"@/p.conf\";", "token-join = \"decoded;\n", "p.conf"},
	{"the group around it", "preset = \"@/p.conf\";", "ca = { token-join = \"decoded\"; };\n", "p.conf:1: ca.ca: expected a known key"},
	{"another group", "preset = \"@/p.conf\";", "mode = \"sign\";\n", "p.conf:1: ca.mode: expected a known key, found \"mode\""},
	{"which CA it is", "preset = \"@/p.conf\";", "directory-url = \"https://evil.example/d\";\n", "p.conf:1: ca.directory-url: a preset tells how a kind of CA behaves"},
	{"the anchors", "preset = \"@/p.conf\";", "anchor-file = \"/a\";\n", "ca.anchor-file: a preset tells"},
	{"the account key", "preset = \"@/p.conf\";", "account-key = \"/a\";\n", "ca.account-key: a preset tells"},
	{"the binding", "preset = \"@/p.conf\";", "eab = { kid = \"k\"; };\n", "ca.eab: a preset tells"},
	{"the program", "preset = \"@/p.conf\";", "exec = { program = \"/bin/sh\"; };\n", "ca.exec: a preset tells"},
	{"consent to terms", "preset = \"@/p.conf\";", "accept-terms = true;\n", "ca.accept-terms: a preset tells"},
	{"CAA switched off", "preset = \"@/p.conf\";", "caa = \"off\";\n", "ca.caa: a preset tells"},
	{"another preset", "preset = \"@/p.conf\";", "preset = \"rfc\";\n", "ca.preset: a preset tells"},
	{"networks that are believed", "preset = \"@/p.conf\";", "challenge-networks = [ \"192.0.2.0/24\" ];\n", "ca.challenge-networks: a preset tells"},
	{"challenges without proof", "preset = \"@/p.conf\";", "challenge-authentication = \"none-from-network\";\n",
		"p.conf:1: ca.challenge-authentication: a preset may only say \"dkim-or-smime\""},
	{"challenges believed on a relay's word", "preset = \"@/p.conf\"; challenge-networks = [ \"192.0.2.1\" ]; authserv-id = \"mx\";",
		"challenge-authentication = \"authserv-id\";\n", "a preset may only say \"dkim-or-smime\""},
};

START_TEST(a_mistake_is_refused_with_its_place)
{
	struct err err = ERR_INIT;
	struct config *c;

	write_file("p.conf", bad[_i].preset);
	c = load(bad[_i].ca, &err);
	ck_assert_msg(c == NULL, "%s: was taken", bad[_i].name);
	ck_assert_msg(err.class == ERR_CONFIG, "%s: class %s", bad[_i].name, err_class_name(err.class));
	ck_assert_msg(strstr(err.text, bad[_i].expected) != NULL, "%s:\n  expected %s\n  found    %s", bad[_i].name, bad[_i].expected, err.text);
}
END_TEST

START_TEST(without_any_presets_that_is_said)
{
	struct err err = ERR_INIT;

	ck_assert_int_eq(setenv("ENROLL_CA_PRESETS", "/nonexistent", 1), 0);
	ck_assert_ptr_null(load("preset = \"castle\";", &err));
	ck_assert_msg(strstr(err.text, "there is no preset \"castle\", and no other in /nonexistent either") != NULL, "%s", err.text);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("preset");
	TCase *t = tcase_create("preset");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, a_shipped_preset_says_what_is_known_of_its_ca, 0, COUNT(shipped));
	tcase_add_test(t, what_the_configuration_says_itself_wins);
	tcase_add_test(t, a_list_of_the_configuration_takes_the_place_of_the_presets);
	tcase_add_test(t, the_admin_may_loosen_what_a_preset_may_not);
	tcase_add_test(t, show_tells_where_values_come_from);
	tcase_add_test(t, check_names_the_preset_and_says_when_it_does_nothing);
	tcase_add_loop_test(t, a_mistake_is_refused_with_its_place, 0, COUNT(bad));
	tcase_add_test(t, without_any_presets_that_is_said);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
