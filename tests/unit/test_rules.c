/*
 * tests/unit/test_rules.c - which rule is about an address, what follows from it, and which mail it signs.
 *
 * The rules are written as an admin writes them, in a file.  The directory is a function table, as for the product: entries, groups and filters
 * stand below, and each question is counted.
 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy/policy.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define IDN "b\xc3\xbc" "cher.example"
#define ACE "xn--bcher-kva.example"

static const char frame[] =
	"domains = [ \"example.org\", \"sub.example.org\", \"" IDN "\" ];\n"
	"submission = ( { name = \"s\"; vouch = \"login\"; } );\n"
	"directory = { urls = [ \"ldaps://ldap.example.org\" ]; base = \"dc=x\"; bind-dn = \"cn=x\"; password-file = \"/p\"; publish = \"best-effort\"; };\n"
	"no-certificate = \"hold\";\n"
	"decryption = \"exported-keys\";\n"
	"ca = { name = \"first-ca\"; directory-url = \"https://ca.example/d\"; anchor-file = \"/a\"; };\n"
	"cas = ( { name = \"inner-ca\"; directory-url = \"https://inner.example/d\"; anchor-file = \"/b\"; account-key = \"/k2\"; } );\n"
	"certificates = ( { name = \"board\"; usage = \"split\"; }, { name = \"inner\"; ca = \"inner-ca\"; validation = \"private\"; } );\n";

static struct config *load(const char *rules)
{
	char path[] = "/tmp/test-rules-XXXXXX";
	struct err err = ERR_INIT;
	struct config *c;
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(dprintf(fd, "%srules = ( %s );\n", frame, rules), (int)(strlen(frame) + strlen(rules) + strlen("rules = (  );\n")));
	close(fd);
	c = config_load(path, &err);
	unlink(path);
	ck_assert_msg(c != NULL, "%s\n%s", err.text, rules);
	return c;
}

/* ---- the directory ------------------------------------------------------------------------------------------------- */

/* Who is in which group, and whom a filter matches. */
static const struct {
	const char *about, *address;
} holds[] = {
	{"cn=sales", "alice@example.org"}, {"cn=sales", "carol@example.org"}, {"cn=board", "carol@example.org"},
	{"(l=Berlin)", "alice@example.org"}, {"(l=Berlin)", "bob@example.org"},
};

static unsigned asked;

/* What begins with "cn=down" or "(down" cannot be answered now. */
static bool answer(const char *address, const char *about, bool *yes, struct err *err)
{
	asked++;
	*yes = false;
	if (strstr(about, "down"))
		return err_set(err, ERR_TEMPORARY, "ask directory", about, "the directory does not answer");
	for (int i = 0; i < COUNT(holds); i++)
		*yes = *yes || (strcmp(holds[i].about, about) == 0 && strcasecmp(holds[i].address, address) == 0);
	return true;
}

static bool matches(void *context, const char *address, const char *filter, bool *yes, struct err *err)
{
	ck_assert_str_eq(context, "the directory");
	return answer(address, filter, yes, err);
}

static bool in_group(void *context, const char *address, const char *group, bool *yes, struct err *err)
{
	ck_assert_str_eq(context, "the directory");
	return answer(address, group, yes, err);
}

static char context[] = "the directory";
static const struct rules_directory directory = {context, matches, in_group};

/* ---- which rule ------------------------------------------------------------------------------------------------------ */

#define NO_ENTRY 99
#define R(name, conditions) "{ name = \"" name "\"; " conditions " }"
#define ALL R("all", "")
#define EVERY_CONDITION "addresses = [ \"alice@example.org\", \"dave@example.org\" ]; domains = [ \"example.org\" ]; filter = \"(l=Berlin)\"; " \
	"groups = [ \"cn=sales\" ]; kinds = [ \"person\" ]; "

enum how { ASKED, MAIL_PATH };

static const struct finding_case {
	const char *name, *rules, *address;
	int kind;              /* enum directory_kind, or NO_ENTRY */
	enum how how;
	const char *expected;  /* NULL = none; "!" = nobody can say now */
	int questions;         /* to the directory */
} cases[] = {
	{"no rules at all", "", "alice@example.org", 0, ASKED, NULL, 0},
	{"a rule without a condition is about everybody", ALL, "alice@example.org", 0, ASKED, "all", 0},
	{"also about an address without an entry", ALL, "ghost@example.org", NO_ENTRY, ASKED, "all", 0},

	{"its address", R("a", "addresses = [ \"alice@example.org\" ];"), "alice@example.org", 0, ASKED, "a", 0},
	{"its address in another case", R("a", "addresses = [ \"Alice@EXAMPLE.org\" ];"), "aLICE@Example.ORG", 0, ASKED, "a", 0},
	{"one of several addresses", R("a", "addresses = [ \"bob@example.org\", \"alice@example.org\" ];"), "alice@example.org", 0, ASKED, "a", 0},
	{"another address", R("a", "addresses = [ \"alice@example.org\" ];"), "alice2@example.org", 0, ASKED, NULL, 0},
	{"the same local part elsewhere", R("a", "addresses = [ \"alice@example.org\" ];"), "alice@sub.example.org", 0, ASKED, NULL, 0},
	{"a tag makes another address", R("a", "addresses = [ \"alice@example.org\" ];"), "alice+x@example.org", 0, ASKED, NULL, 0},
	{"an address of an IDN, by its A-label", R("a", "addresses = [ \"alice@" IDN "\" ];"), "alice@" ACE, 0, ASKED, "a", 0},

	{"its domain", R("d", "domains = [ \"example.org\" ];"), "alice@example.org", 0, ASKED, "d", 0},
	{"its domain in another case", R("d", "domains = [ \"Example.ORG\" ];"), "alice@EXAMPLE.org", 0, ASKED, "d", 0},
	{"one of several domains", R("d", "domains = [ \"sub.example.org\", \"example.org\" ];"), "alice@example.org", 0, ASKED, "d", 0},
	{"a domain below it is another", R("d", "domains = [ \"example.org\" ];"), "alice@sub.example.org", 0, ASKED, NULL, 0},
	{"a domain above it is another", R("d", "domains = [ \"sub.example.org\" ];"), "alice@example.org", 0, ASKED, NULL, 0},
	{"an IDN written as U-label, asked as A-label", R("d", "domains = [ \"" IDN "\" ];"), "alice@" ACE, 0, ASKED, "d", 0},
	{"an IDN written as A-label, asked as U-label", R("d", "domains = [ \"" ACE "\" ];"), "alice@" IDN, 0, ASKED, "d", 0},

	{"its entry matches", R("f", "filter = \"(l=Berlin)\";"), "alice@example.org", 0, ASKED, "f", 1},
	{"its entry does not match", R("f", "filter = \"(l=Berlin)\";"), "carol@example.org", 0, ASKED, NULL, 1},
	{"a filter needs an entry", R("f", "filter = \"(l=Berlin)\";"), "alice@example.org", NO_ENTRY, ASKED, NULL, 0},

	{"in the group", R("g", "groups = [ \"cn=sales\" ];"), "alice@example.org", 0, ASKED, "g", 1},
	{"not in the group", R("g", "groups = [ \"cn=sales\" ];"), "bob@example.org", 0, ASKED, NULL, 1},
	{"in the second group", R("g", "groups = [ \"cn=board\", \"cn=sales\" ];"), "alice@example.org", 0, ASKED, "g", 2},
	{"in the first of two: the other one is not asked", R("g", "groups = [ \"cn=sales\", \"cn=down\" ];"), "alice@example.org", 0, ASKED, "g", 1},
	{"in none of two", R("g", "groups = [ \"cn=board\", \"cn=sales\" ];"), "bob@example.org", 0, ASKED, NULL, 2},
	{"a group needs an entry", R("g", "groups = [ \"cn=sales\" ];"), "alice@example.org", NO_ENTRY, ASKED, NULL, 0},

	{"a person", R("k", "kinds = [ \"person\" ];"), "alice@example.org", DIRECTORY_PERSON, ASKED, "k", 0},
	{"a shared mailbox is no person", R("k", "kinds = [ \"person\" ];"), "alice@example.org", DIRECTORY_SHARED, ASKED, NULL, 0},
	{"a shared mailbox", R("k", "kinds = [ \"shared\" ];"), "alice@example.org", DIRECTORY_SHARED, ASKED, "k", 0},
	{"a room", R("k", "kinds = [ \"shared\", \"resource\" ];"), "alice@example.org", DIRECTORY_RESOURCE, ASKED, "k", 0},
	{"a person is no room", R("k", "kinds = [ \"shared\", \"resource\" ];"), "alice@example.org", DIRECTORY_PERSON, ASKED, NULL, 0},
	{"a kind needs an entry", R("k", "kinds = [ \"person\", \"shared\", \"resource\" ];"), "alice@example.org", NO_ENTRY, ASKED, NULL, 0},

	{"every condition holds", R("e", EVERY_CONDITION), "alice@example.org", 0, ASKED, "e", 2},
	{"every condition but the address", R("e", "addresses = [ \"dave@example.org\" ]; domains = [ \"example.org\" ]; filter = \"(l=Berlin)\"; "
		"groups = [ \"cn=sales\" ]; kinds = [ \"person\" ];"), "alice@example.org", 0, ASKED, NULL, 0},
	{"every condition but the domain", R("e", "domains = [ \"sub.example.org\" ]; filter = \"(l=Berlin)\"; groups = [ \"cn=sales\" ]; kinds = [ \"person\" ];"),
		"alice@example.org", 0, ASKED, NULL, 0},
	{"every condition but the filter", R("e", "domains = [ \"example.org\" ]; filter = \"(l=Bonn)\"; groups = [ \"cn=sales\" ]; kinds = [ \"person\" ];"),
		"alice@example.org", 0, ASKED, NULL, 1},
	{"every condition but the group", R("e", "domains = [ \"example.org\" ]; filter = \"(l=Berlin)\"; groups = [ \"cn=board\" ]; kinds = [ \"person\" ];"),
		"alice@example.org", 0, ASKED, NULL, 2},
	{"every condition but the kind", R("e", EVERY_CONDITION), "alice@example.org", DIRECTORY_SHARED, ASKED, NULL, 0},

	{"the first of two that fit", R("one", "domains = [ \"example.org\" ];") ", " R("two", "addresses = [ \"alice@example.org\" ];"),
		"alice@example.org", 0, ASKED, "one", 0},
	{"the nearer one is put first", R("two", "addresses = [ \"alice@example.org\" ];") ", " R("one", "domains = [ \"example.org\" ];"),
		"alice@example.org", 0, ASKED, "two", 0},
	{"one that does not fit is passed by", R("board", "groups = [ \"cn=board\" ];") ", " R("berlin", "filter = \"(l=Berlin)\";") ", " ALL,
		"bob@example.org", 0, ASKED, "berlin", 2},
	{"the last one is for the rest", R("board", "groups = [ \"cn=board\" ];") ", " R("berlin", "filter = \"(l=Berlin)\";") ", " ALL,
		"dave@example.org", 0, ASKED, "all", 2},
	{"behind the first that fits nothing is asked", R("a", "addresses = [ \"alice@example.org\" ];") ", " R("g", "groups = [ \"cn=down\" ];"),
		"alice@example.org", 0, ASKED, "a", 0},

	{"a group that cannot be asked is no \"no\"", R("g", "groups = [ \"cn=down\" ];") ", " ALL, "alice@example.org", 0, ASKED, "!", 1},
	{"a filter that cannot be asked is no \"no\"", R("f", "filter = \"(down=1)\";") ", " ALL, "alice@example.org", 0, ASKED, "!", 1},
	{"the second group of a rule cannot be asked", R("g", "groups = [ \"cn=board\", \"cn=down\" ];") ", " ALL, "alice@example.org", 0, ASKED, "!", 2},
	{"what does not depend on it is decided all the same", R("g", "domains = [ \"sub.example.org\" ]; groups = [ \"cn=down\" ];") ", " ALL,
		"alice@example.org", 0, ASKED, "all", 0},
	{"a filter that says no spares the group", R("g", "filter = \"(l=Bonn)\"; groups = [ \"cn=down\" ];") ", " ALL, "alice@example.org", 0, ASKED, "all", 1},
	{"nobody without an entry is in a group that cannot be asked", R("g", "groups = [ \"cn=down\" ];") ", " ALL, "alice@example.org", NO_ENTRY, ASKED, "all", 0},

	{"mail path: by address", R("a", "addresses = [ \"alice@example.org\" ];") ", " ALL, "alice@example.org", NO_ENTRY, MAIL_PATH, "a", 0},
	{"mail path: by domain", R("d", "domains = [ \"" IDN "\" ];") ", " ALL, "alice@" ACE, NO_ENTRY, MAIL_PATH, "d", 0},
	{"mail path: the rest", R("a", "addresses = [ \"bob@example.org\" ];") ", " ALL, "alice@example.org", NO_ENTRY, MAIL_PATH, "all", 0},
	{"mail path: stops at a group", R("g", "groups = [ \"cn=sales\" ];") ", " ALL, "bob@example.org", NO_ENTRY, MAIL_PATH, NULL, 0},
	{"mail path: stops at a filter", R("f", "filter = \"(l=Berlin)\";") ", " ALL, "carol@example.org", NO_ENTRY, MAIL_PATH, NULL, 0},
	{"mail path: stops at a kind", R("k", "kinds = [ \"resource\" ];") ", " ALL, "carol@example.org", NO_ENTRY, MAIL_PATH, NULL, 0},
	{"mail path: a rule of another address is passed by without asking", R("g", "addresses = [ \"bob@example.org\" ]; groups = [ \"cn=sales\" ];") ", " ALL,
		"alice@example.org", NO_ENTRY, MAIL_PATH, "all", 0},
	{"mail path: a rule of another domain is passed by without asking", R("g", "domains = [ \"sub.example.org\" ]; kinds = [ \"shared\" ];") ", " ALL,
		"alice@example.org", NO_ENTRY, MAIL_PATH, "all", 0},
	{"mail path: what stands before the question counts", R("a", "addresses = [ \"alice@example.org\" ];") ", " R("g", "groups = [ \"cn=down\" ];"),
		"alice@example.org", NO_ENTRY, MAIL_PATH, "a", 0},
};

START_TEST(the_first_rule_whose_conditions_all_hold_decides)
{
	const struct finding_case *f = &cases[_i];
	struct config *c = load(f->rules);
	struct directory_person person = {.kind = f->kind == NO_ENTRY ? DIRECTORY_PERSON : (enum directory_kind)f->kind};
	struct rules_facts facts = {.address = f->address, .person = f->kind == NO_ENTRY ? NULL : &person};
	const struct rule *rule = (const struct rule *)(uintptr_t)1;
	struct err err = ERR_INIT;
	bool ok;

	asked = 0;
	ok = rules_find(c, &facts, f->how == ASKED ? &directory : NULL, &rule, NULL, &err);
	ck_assert_msg(ok != (f->expected && strcmp(f->expected, "!") == 0), "%s: %s", f->name, err.text);
	if (!ok)
		ck_assert_msg(!rule && err.class == ERR_TEMPORARY, "%s: %s", f->name, err_class_name(err.class));
	else
		ck_assert_msg(rule ? f->expected && strcmp(rule->name, f->expected) == 0 : !f->expected, "%s: %s instead of %s", f->name,
			rule ? rule->name : "none", f->expected ? f->expected : "none");
	ck_assert_msg((int)asked == f->questions, "%s: %u questions", f->name, asked);
	config_unref(c);
}
END_TEST

START_TEST(what_is_no_address_has_no_rule)
{
	struct config *c = load(ALL);
	struct rules_facts facts = {.address = "alice"};
	const struct rule *rule = (const struct rule *)(uintptr_t)1;
	struct err err = ERR_INIT;

	ck_assert(!rules_find(c, &facts, &directory, &rule, NULL, &err));
	ck_assert_ptr_null(rule);
	ck_assert_int_ne(err.class, ERR_NONE);
	config_unref(c);
}
END_TEST

START_TEST(why_names_each_rule_that_was_passed_by_and_the_condition)
{
	struct config *c = load(R("boss", "addresses = [ \"bob@example.org\" ];") ", " R("west", "domains = [ \"sub.example.org\" ];") ", "
		R("rooms", "kinds = [ \"resource\" ];") ", " R("bonn", "filter = \"(l=Bonn)\";") ", " R("board", "groups = [ \"cn=board\" ];") ", " ALL);
	struct directory_person person = {.kind = DIRECTORY_PERSON};
	struct rules_facts facts = {.address = "alice@example.org", .person = &person};
	const struct rule *rule;
	struct buf why = BUF_INIT;
	struct err err = ERR_INIT;

	ck_assert(rules_find(c, &facts, &directory, &rule, &why, &err));
	ck_assert_str_eq(rule->name, "all");
	ck_assert_str_eq(buf_str(&why), "boss: addresses: it is none of them\n"
		"west: domains: its domain is none of them\n"
		"rooms: kinds: person\n"
		"bonn: filter: its entry does not match\n"
		"board: groups: its entry is in none of them\n");
	buf_clear(&why);
	facts.person = NULL;
	ck_assert(rules_find(c, &facts, &directory, &rule, &why, &err));
	ck_assert_ptr_nonnull(strstr(buf_str(&why), "rooms: kinds: no directory entry has this address\n"
		"bonn: filter: no directory entry has this address\nboard: groups: no directory entry has this address\n"));
	buf_clear(&why);
	config_unref(c);
}
END_TEST

/* ---- what follows ---------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name, *rule; /* NULL: no rule */
	const char *certificate, *ca, *publish;
	enum no_certificate no_certificate;
} outcomes[] = {
	{"no rule: as configured", NULL, "mailbox-strict", "first-ca", "best-effort", NO_CERTIFICATE_HOLD},
	{"a rule that says nothing: as configured", "", "mailbox-strict", "first-ca", "best-effort", NO_CERTIFICATE_HOLD},
	{"another certificate of the same CA", "certificate = \"board\";", "board", "first-ca", "best-effort", NO_CERTIFICATE_HOLD},
	{"another certificate of another CA", "certificate = \"inner\";", "inner", "inner-ca", "best-effort", NO_CERTIFICATE_HOLD},
	{"the first certificate, by its name", "certificate = \"mailbox-strict\";", "mailbox-strict", "first-ca", "best-effort", NO_CERTIFICATE_HOLD},
	{"no certificate", "certificate = \"none\";", NULL, NULL, "best-effort", NO_CERTIFICATE_PASS},
	{"no certificate, and mail goes", "certificate = \"none\"; no-certificate = \"pass\";", NULL, NULL, "best-effort", NO_CERTIFICATE_PASS},
	{"reject without one", "no-certificate = \"reject\";", "mailbox-strict", "first-ca", "best-effort", NO_CERTIFICATE_REJECT},
	{"pass without one", "no-certificate = \"pass\";", "mailbox-strict", "first-ca", "best-effort", NO_CERTIFICATE_PASS},
	{"as configured, in words", "no-certificate = \"as-configured\";", "mailbox-strict", "first-ca", "best-effort", NO_CERTIFICATE_HOLD},
	{"published or else", "publish = \"required\";", "mailbox-strict", "first-ca", "required", NO_CERTIFICATE_HOLD},
	{"not published", "publish = \"none\";", "mailbox-strict", "first-ca", "none", NO_CERTIFICATE_HOLD},
};

static void check_same(const char *name, const char *what, const char *is, const char *expected)
{
	ck_assert_msg(is && expected ? strcmp(is, expected) == 0 : is == expected, "%s: %s: %s instead of %s", name, what, is ? is : "none",
		expected ? expected : "none");
}

START_TEST(a_rule_overrules_what_it_names_and_nothing_else)
{
	const char *text = outcomes[_i].rule, *name = outcomes[_i].name;
	char rules[400] = "";
	struct config *c;
	struct decision d;

	if (text)
		snprintf(rules, sizeof rules, "{ name = \"r\"; %s }", text);
	c = load(rules);
	memset(&d, 0xff, sizeof d);
	rules_follow(c, config_rule(c, text ? "r" : NULL), &d);
	ck_assert_ptr_eq(d.rule, text ? &c->rules[0] : NULL);
	check_same(name, "certificate", d.certificate ? d.certificate->name : NULL, outcomes[_i].certificate);
	check_same(name, "CA", d.ca ? d.ca->name : NULL, outcomes[_i].ca);
	check_same(name, "publish", d.publish, outcomes[_i].publish);
	ck_assert_msg(d.no_certificate == outcomes[_i].no_certificate, "%s: no-certificate %d", name, d.no_certificate);
	config_unref(c);
}
END_TEST

/* The name is all that is kept with an enrollment: a rule that has left the configuration decides nothing. */
START_TEST(a_rule_that_is_gone_has_no_say)
{
	struct config *c = load(R("r", "certificate = \"none\";"));

	ck_assert_ptr_nonnull(config_rule(c, "r"));
	ck_assert_ptr_null(config_rule(c, "R"));
	ck_assert_ptr_null(config_rule(c, "gone"));
	ck_assert_ptr_null(config_rule(c, ""));
	ck_assert_ptr_null(config_rule(c, NULL));
	config_unref(c);
}
END_TEST

/* ---- which mail ------------------------------------------------------------------------------------------------------ */

#define OURS "bob@example.org"
#define OUT "eve@outside.example"
#define PARTNER "joe@partner.example"
#define UNSIGNED "unsigned-to = [ \"partner.example\", \"Other.Example\" ];"

static const struct {
	const char *name, *rule;
	const char *to[4];
	const char *why; /* NULL: it is signed */
} mails[] = {
	{"all: to nobody", "", {NULL}, NULL},
	{"all: inside", "", {OURS}, NULL},
	{"all: outside", "", {OUT}, NULL},
	{"all, in words: both", "sign = \"all\";", {OURS, OUT}, NULL},

	{"outgoing: outside", "sign = \"outgoing\";", {OUT}, NULL},
	{"outgoing: inside", "sign = \"outgoing\";", {OURS}, "outgoing mail only"},
	{"outgoing: two inside", "sign = \"outgoing\";", {OURS, "x@sub.example.org"}, "outgoing mail only"},
	{"outgoing: both", "sign = \"outgoing\";", {OURS, OUT}, NULL},
	{"outgoing: both, the other way round", "sign = \"outgoing\";", {OUT, OURS}, NULL},
	{"outgoing: to nobody that is known", "sign = \"outgoing\";", {NULL}, NULL},
	{"outgoing: inside in capitals", "sign = \"outgoing\";", {"Bob@EXAMPLE.Org"}, "outgoing mail only"},
	{"outgoing: inside by U-label", "sign = \"outgoing\";", {"bob@" IDN}, "outgoing mail only"},
	{"outgoing: inside by A-label in capitals", "sign = \"outgoing\";", {"bob@XN--BCHER-KVA.example"}, "outgoing mail only"},
	{"outgoing: a domain below ours is not ours", "sign = \"outgoing\";", {"bob@deep.sub.example.org"}, NULL},
	{"outgoing: ours as a beginning only", "sign = \"outgoing\";", {"bob@example.org.outside.example"}, NULL},
	{"outgoing: a local name", "sign = \"outgoing\";", {"postmaster"}, NULL},
	{"outgoing: inside and a local name", "sign = \"outgoing\";", {OURS, "postmaster"}, NULL},
	{"outgoing: an address literal", "sign = \"outgoing\";", {"bob@[192.0.2.1]"}, NULL},

	{"internal: inside", "sign = \"internal\";", {OURS}, NULL},
	{"internal: three inside", "sign = \"internal\";", {OURS, "x@SUB.example.org", "bob@" IDN}, NULL},
	{"internal: outside", "sign = \"internal\";", {OUT}, "internal mail only"},
	{"internal: both", "sign = \"internal\";", {OURS, OUT}, "internal mail only"},
	{"internal: what cannot be read is outside", "sign = \"internal\";", {OURS, ""}, "internal mail only"},
	{"internal: to nobody that is known", "sign = \"internal\";", {NULL}, NULL},

	{"none: inside", "sign = \"none\";", {OURS}, "signs no mail"},
	{"none: outside", "sign = \"none\";", {OUT}, "signs no mail"},
	{"none: to nobody", "sign = \"none\";", {NULL}, "signs no mail"},

	{"unsigned-to: one there", UNSIGNED, {PARTNER}, "unsigned-to"},
	{"unsigned-to: all there, in two domains", UNSIGNED, {PARTNER, "x@OTHER.example", "y@PARTNER.EXAMPLE"}, "unsigned-to"},
	{"unsigned-to: one there and one elsewhere", UNSIGNED, {PARTNER, OUT}, NULL},
	{"unsigned-to: one there and one inside", UNSIGNED, {OURS, PARTNER}, NULL},
	{"unsigned-to: elsewhere", UNSIGNED, {OUT}, NULL},
	{"unsigned-to: below it is elsewhere", UNSIGNED, {"joe@mail.partner.example"}, NULL},
	{"unsigned-to: there and what cannot be read", UNSIGNED, {PARTNER, "@@"}, NULL},
	{"unsigned-to: to nobody that is known", UNSIGNED, {NULL}, NULL},
	{"unsigned-to: an IDN, either way", "unsigned-to = [ \"" IDN "\" ];", {"a@" ACE, "b@" IDN}, "unsigned-to"},
	{"unsigned-to with outgoing: inside", "sign = \"outgoing\"; " UNSIGNED, {OURS}, "outgoing mail only"},
	{"unsigned-to with outgoing: there", "sign = \"outgoing\"; " UNSIGNED, {PARTNER}, "unsigned-to"},
	{"unsigned-to with outgoing: there and inside", "sign = \"outgoing\"; " UNSIGNED, {PARTNER, OURS}, NULL},
};

START_TEST(a_rule_signs_by_where_a_mail_goes)
{
	struct strlist to = {0};
	char rules[200];
	struct config *c;
	const char *why = "what stood there before";
	bool signs;

	for (size_t i = 0; i < 4 && mails[_i].to[i]; i++)
		ck_assert(strlist_add(&to, mails[_i].to[i]));
	snprintf(rules, sizeof rules, "{ name = \"r\"; %s }", mails[_i].rule);
	c = load(rules);
	signs = rules_sign(c, &c->rules[0], &to, &why);
	ck_assert_msg(signs == !mails[_i].why, "%s", mails[_i].name);
	ck_assert_msg(signs ? !why : strstr(why, mails[_i].why) != NULL, "%s: %s", mails[_i].name, why);
	config_unref(c);
	strlist_clear(&to);
}
END_TEST

START_TEST(without_a_rule_every_mail_is_signed)
{
	struct config *c = load("");
	char *one[] = {(char *)(uintptr_t)OUT};
	struct strlist none = {0}, to = {one, 1};
	const char *why = "what stood there before";

	ck_assert(rules_sign(c, NULL, &none, &why));
	ck_assert_ptr_null(why);
	ck_assert(rules_sign(c, NULL, &to, &why));
	config_unref(c);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rules");
	TCase *t = tcase_create("rules");
	SRunner *r;
	int failed;

	tcase_add_loop_test(t, the_first_rule_whose_conditions_all_hold_decides, 0, COUNT(cases));
	tcase_add_test(t, what_is_no_address_has_no_rule);
	tcase_add_test(t, why_names_each_rule_that_was_passed_by_and_the_condition);
	tcase_add_loop_test(t, a_rule_overrules_what_it_names_and_nothing_else, 0, COUNT(outcomes));
	tcase_add_test(t, a_rule_that_is_gone_has_no_say);
	tcase_add_loop_test(t, a_rule_signs_by_where_a_mail_goes, 0, COUNT(mails));
	tcase_add_test(t, without_a_rule_every_mail_is_signed);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
