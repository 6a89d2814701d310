/*
 * tests/unit/test_config_lists.c - several CAs, several kinds of certificates, and rules: what is refused and with which words, what loads, what is
 * shown.
 */
#include "config.h"

#include <jansson.h>

#include "tests/unit/test_config.h"

#define RELAY_ONLY "domains = [ \"example.org\" ]; submission = ( { name = \"x\"; vouch = \"relay\"; require-login = false; " \
	"networks = [ \"192.0.2.1\" ]; own-mx = [ \"mx.example.org\" ]; mta-clients = true; } );\n"

/* ---- what is refused, and how -------------------------------------------------------------------------------------- */

static const struct bad bad[] = {
	/* several CAs */
	{"more CAs as a group", BASE CA("") "cas = { name = \"b\"; };\n", "t.conf:4: cas: expected a list of groups: ( { ... }, { ... } ), found a group { }"},
	{"more CAs as texts", BASE CA("") "cas = ( \"b\" );\n", "t.conf:4: cas: expected a list of groups: ( { ... }, { ... } ), found a text in it"},
	{"an unknown key in one of more CAs", BASE CA("") "cas = ( { name = \"b\";\n conections = 4; } );\n", "t.conf:5: ca.conections: expected a known key, found \"conections\"; did you mean ca.connections?"},
	{"an unknown word in one of more CAs", BASE CA("") "cas = ( { name = \"b\";\n caa = \"maybe\"; } );\n", "t.conf:5: ca.caa: expected \"enforce\", \"report\" or \"off\", found \"maybe\""},
	{"a secret in one of more CAs", BASE CA("") "cas = ( { name = \"b\";\n eab = { hmac-key = \"hunter2\"; }; } );\n", "t.conf:5: ca.eab.hmac-key: secrets do not stand in the configuration"},
	{"a second CA without a name", BASE CA("") "cas = ( { name = \"b\"; account-key = \"/b\"; },\n{ account-key = \"/c\"; } );\n", "t.conf:5: ca.name: an entry of cas needs a name of its own"},
	{"a second CA with the name of the first", BASE CA("name = \"a\";") "cas = (\n { name = \"a\"; account-key = \"/b\"; } );\n", "t.conf:5: ca.name: \"a\" is the name of another CA too"},
	{"a second CA with the default name of the first", BASE CA("") "cas = ( { name = \"ca\"; account-key = \"/b\"; } );\n", "ca.name: \"ca\" is the name of another CA too"},
	{"two of more CAs with one name", BASE CA("") "cas = ( { name = \"b\"; account-key = \"/b\"; },\n{ name = \"b\"; account-key = \"/c\"; } );\n", "t.conf:5: ca.name: \"b\" is the name of another CA too"},
	{"two CAs with one account key", BASE CA("account-key = \"/k\";") "cas = ( { name = \"b\";\n account-key = \"/k\"; } );\n", "t.conf:5: ca.account-key: is the account key of \"ca\" too; every CA needs a file of its own"},
	{"two CAs with the default account key", BASE CA("") "cas = ( { name = \"b\"; } );\n", "t.conf:4: ca.account-key: is the account key of \"ca\" too"},
	{"half of an account binding at a second CA", BASE CA("") "cas = ( { name = \"b\"; account-key = \"/b\";\n eab = { kid = \"k\"; }; } );\n", "t.conf:5: ca.eab.key-file: external account binding needs both"},
	{"a second CA without its URL", BASE "mode = \"sign\";\n" CA("") "cas = ( { name = \"b\"; account-key = \"/b\"; anchor-file = \"/a\"; } );\n", "t.conf:5: ca.directory-url: expected the URL of the CA's ACME directory"},
	{"a second CA without anchors", BASE "mode = \"sign\";\n" CA("") "cas = ( { name = \"b\"; account-key = \"/b\"; directory-url = \"https://b.example/d\"; } );\n", "t.conf:5: ca.anchor-file: expected a PEM file of the roots"},
	{"a second CA that is a program without one", BASE "mode = \"sign\";\n" CA("") "cas = ( { name = \"b\"; driver = \"exec\"; anchor-file = \"/a\"; } );\n", "t.conf:5: ca.exec.program: driver = \"exec\" needs the program"},
	{"a second CA whose challenges anybody may bring", BASE CA("") "cas = ( { name = \"b\"; account-key = \"/b\"; challenge-authentication = \"none-from-network\";\n challenge-networks = [ \"0.0.0.0/0\" ]; } );\n", "t.conf:5: ca.challenge-networks: expected networks of our own, found the whole Internet"},
	{"a second CA with networks that restrict nothing", BASE CA("") "cas = ( { name = \"b\"; account-key = \"/b\";\n challenge-networks = [ \"192.0.2.1\" ]; } );\n", "t.conf:5: ca.challenge-networks: only has a meaning with"},
	{"a second CA with a preset that is not there", BASE CA("") "cas = ( { name = \"b\"; account-key = \"/b\";\n preset = \"no-such-preset\"; } );\n", "t.conf:5: ca.preset: there is no preset \"no-such-preset\""},
	{"only more CAs", BASE "mode = \"sign\";\ncas = ( { name = \"b\"; } );\n", "ca: mode = \"enroll\" and \"sign\" need a CA"},

	/* several kinds of certificates */
	{"more certificates as a group", BASE "certificates = { name = \"b\"; };\n", "t.conf:3: certificates: expected a list of groups"},
	{"an unknown key in one of more certificates", BASE "certificates = ( { name = \"b\";\n usages = \"sign\"; } );\n", "t.conf:4: certificate.usages: expected a known key, found \"usages\"; did you mean certificate.usage?"},
	{"a Legacy certificate among more", BASE "certificates = ( { name = \"b\";\n generation = \"legacy\"; } );\n", "t.conf:4: certificate.generation: expected \"strict\" or \"multipurpose\", found \"legacy\": Legacy certificates ended"},
	{"two kinds with one name", BASE "certificates = ( { name = \"b\"; },\n { name = \"b\"; key-type = \"ec:p256\"; } );\n", "t.conf:4: certificate.name: \"b\" is the name of another kind of certificate too"},
	{"a kind with the name of the first", BASE "certificate = { name = \"b\"; };\ncertificates = ( { name = \"b\"; } );\n", "t.conf:4: certificate.name: \"b\" is the name of another kind of certificate too"},
	{"two kinds without names that come to the same", BASE "certificates = ( { key-type = \"ec:p256\"; } );\n", "t.conf:3: certificate.name: \"mailbox-strict\" is the name of another kind of certificate too; give each entry a name"},
	{"a kind that is called none", BASE "certificates = ( { name = \"none\"; } );\n", "t.conf:3: certificate.name: \"none\" is what rules call having none"},
	{"the first kind called none", BASE "certificate = { name = \"none\"; };\n", "t.conf:3: certificate.name: \"none\" is what rules call having none"},
	{"a kind from a CA that is not there", BASE CA("") "certificates = ( { name = \"b\";\n ca = \"inner\"; } );\n", "t.conf:5: certificate.ca: there is no CA \"inner\": see ca.name and cas"},
	{"the first kind from a CA that is not there", BASE CA("") "certificate = { ca = \"inner\"; };\n", "t.conf:4: certificate.ca: there is no CA \"inner\""},
	{"a split that nobody can read", BASE "certificates = ( { name = \"b\";\n usage = \"split\"; } );\n", "t.conf:4: certificate.usage: \"encrypt\", \"dual\" and \"split\" need decryption"},
	{"the first kind split, that nobody can read", BASE "certificate = { usage = \"split\"; };\n", "t.conf:3: certificate.usage: \"encrypt\", \"dual\" and \"split\" need decryption"},
	{"all addresses without a directory", BASE CA("addresses-per-order = 5;") "certificates = ( { name = \"b\";\n addresses = \"all\"; } );\n", "t.conf:5: certificate.addresses: \"all\" needs a directory, which knows them"},
	{"all addresses from a CA that takes one", BASE DIRECTORY("") CA("name = \"a\";") "certificate = {\n addresses = \"all\"; };\n", "t.conf:6: certificate.addresses: \"all\" needs a CA that takes several in one order: ca.addresses-per-order of \"a\" is 1"},
	{"all addresses from the one of two CAs that takes one", BASE DIRECTORY("") CA("addresses-per-order = 5;") "cas = ( { name = \"b\"; account-key = \"/b\"; } );\n"
		"certificates = ( { name = \"x\"; ca = \"b\";\n addresses = \"all\"; } );\n", "t.conf:7: certificate.addresses: \"all\" needs a CA that takes several in one order: ca.addresses-per-order of \"b\" is 1"},
	{"sponsors without a directory", BASE "certificates = ( { name = \"b\";\n validation = \"sponsor\"; } );\n", "t.conf:4: certificate.validation: names of people and organizations in certificates come from the directory"},
	{"private conditions on a public kind", BASE "certificates = ( { name = \"b\"; max-days = 90; } );\n", "t.conf:3: certificate.validation: policy-oids, ekus and max-days only have a meaning with \"private\""},

	/* rules */
	{"rules as a group", BASE "rules = { name = \"r\"; };\n", "t.conf:3: rules: expected a list of groups"},
	{"an unknown condition", BASE "rules = ( { name = \"r\";\n group = \"cn=x\"; } );\n", "t.conf:4: rules.group: expected a known key, found \"group\"; did you mean rules.groups?"},
	{"a rule without a name", BASE "rules = ( { name = \"r\"; domains = [ \"example.org\" ]; },\n { certificate = \"none\"; } );\n", "t.conf:4: rules.name: expected a name for the log and `enrollctl policy explain`"},
	{"a name that could not stand in a log", BASE "rules = ( { name = \"the board\"; } );\n", "t.conf:3: rules.name: expected a name of letters"},
	{"two rules with one name", BASE "rules = ( { name = \"r\"; domains = [ \"example.org\" ]; },\n {\n name = \"r\"; } );\n", "t.conf:5: rules.name: \"r\" is the name of another rule too"},
	{"a rule that none behind it outlives", BASE "rules = ( { name = \"first\"; addresses = [ \"a@example.org\" ]; },\n { name = \"all\"; },\n { name = \"last\"; domains = [ \"example.org\" ]; } );\n",
		"t.conf:4: rules.name: rule \"all\" has no condition, so the rules behind it would never be asked; put it last"},
	{"an address that is none", BASE "rules = ( { name = \"r\"; addresses = [ \"alice\" ]; } );\n", "t.conf:3: rules.addresses: expected a mail address, found \"alice\""},
	{"an address of another domain", BASE "rules = ( { name = \"r\";\n addresses = [ \"a@example.org\", \"a@example.net\" ]; } );\n", "t.conf:4: rules.addresses: \"a@example.net\" is in none of the domains"},
	{"an address outside the rule's own domains", "domains = [ \"example.org\", \"example.net\" ];\n" S "rules = ( { name = \"r\"; domains = [ \"example.net\" ];\n addresses = [ \"a@example.org\" ]; } );\n",
		"t.conf:4: rules.addresses: \"a@example.org\" is in none of this rule's domains, and both conditions have to hold"},
	{"a domain that we do not serve", BASE "rules = ( { name = \"r\";\n domains = [ \"sub.example.org\" ]; } );\n", "t.conf:4: rules.domains: \"sub.example.org\" is none of the domains that we serve"},
	{"a condition with nothing in it, which would be about everybody", BASE "rules = ( { name = \"r\"; certificate = \"none\";\n addresses = [ ]; } );\n", "t.conf:4: rules.addresses: expected at least one; with none in it the condition would hold for everybody; leave the key out if that is meant"},
	{"no domain in the condition", BASE "rules = ( { name = \"r\"; domains = [ ]; } );\n", "t.conf:3: rules.domains: expected at least one"},
	{"no group in the condition", BASE DIRECTORY("") "rules = ( { name = \"r\"; groups = [ ]; } );\n", "t.conf:4: rules.groups: expected at least one"},
	{"no kind in the condition", BASE DIRECTORY("") "rules = ( { name = \"r\"; kinds = [ ]; } );\n", "t.conf:4: rules.kinds: expected at least one"},
	{"a filter without a directory", BASE "rules = ( { name = \"r\";\n filter = \"(l=Berlin)\"; } );\n", "t.conf:4: rules.filter: filter, groups and kinds ask the directory: set directory.urls"},
	{"a group without a directory", BASE "rules = ( { name = \"r\"; groups = [ \"cn=x\" ]; } );\n", "filter, groups and kinds ask the directory"},
	{"a kind without a directory", BASE "rules = ( { name = \"r\"; kinds = [ \"shared\" ]; } );\n", "filter, groups and kinds ask the directory"},
	{"a filter that is none", BASE DIRECTORY("") "rules = ( { name = \"r\"; filter = \"l=Berlin\"; } );\n", "t.conf:4: rules.filter: expected an LDAP filter"},
	{"a group that is no DN", BASE DIRECTORY("") "rules = ( { name = \"r\"; groups = [ \"sales\" ]; } );\n", "t.conf:4: rules.groups: expected a distinguished name"},
	{"a kind that does not exist", BASE DIRECTORY("") "rules = ( { name = \"r\"; kinds = [ \"room\" ]; } );\n", "t.conf:4: rules.kinds: expected \"person\", \"shared\" or \"resource\", found \"room\""},
	{"a kind of certificate that is not there", BASE "rules = ( { name = \"r\";\n certificate = \"board\"; } );\n", "t.conf:4: rules.certificate: there is no kind of certificate \"board\": see certificate.name and certificates"},
	{"none, and published", BASE DIRECTORY("") "rules = ( { name = \"r\"; certificate = \"none\"; publish = \"required\"; } );\n", "t.conf:4: rules.certificate: with \"none\" there is nothing to publish or to sign with"},
	{"none, and signed", BASE "rules = ( { name = \"r\"; certificate = \"none\"; sign = \"outgoing\"; } );\n", "t.conf:3: rules.certificate: with \"none\" there is nothing to publish or to sign with"},
	{"none, and not signed there", BASE "rules = ( { name = \"r\"; certificate = \"none\"; unsigned-to = [ \"example.net\" ]; } );\n", "with \"none\" there is nothing to publish or to sign with"},
	{"none, and not signed by wish", BASE "rules = ( { name = \"r\"; certificate = \"none\"; unsigned-header = \"X-No\"; } );\n", "with \"none\" there is nothing to publish or to sign with"},
	{"tempfail by a rule for people's mail programs", BASE "rules = ( { name = \"r\";\n no-certificate = \"tempfail\"; } );\n", "t.conf:4: rules.no-certificate: \"tempfail\" is only for listeners whose clients are MTAs"},
	{"tempfail for ever by a rule", RELAY_ONLY "rules = ( { name = \"r\"; certificate = \"none\";\n no-certificate = \"tempfail\"; } );\n", "t.conf:3: rules.no-certificate: \"tempfail\" would have mail tried again for ever"},
	{"an unknown word for which mail", BASE "rules = ( { name = \"r\"; sign = \"external\"; } );\n", "t.conf:3: rules.sign: expected \"all\", \"outgoing\", \"internal\" or \"none\", found \"external\""},
	{"a header name with a colon", BASE "rules = ( { name = \"r\"; unsigned-header = \"X-No:\"; } );\n", "t.conf:3: rules.unsigned-header: expected"},
	{"a wildcard for partners", BASE "rules = ( { name = \"r\"; unsigned-to = [ \"*.example.net\" ]; } );\n", "t.conf:3: rules.unsigned-to: expected a domain name"},
	{"published by a rule without a directory", BASE "rules = ( { name = \"r\"; publish = \"best-effort\"; } );\n", "t.conf:3: rules.publish: \"best-effort\" needs a directory"},
	{"published by a rule with a bind that may not", BASE "directory = { urls = [ \"ldaps://l.example\" ]; base = \"dc=x\"; bind = \"anonymous\"; publish = \"none\"; };\nrules = ( { name = \"r\"; publish = \"required\"; } );\n",
		"t.conf:4: rules.publish: \"required\" needs a bind that may write"},
};

START_TEST(a_mistake_is_refused_with_its_place)
{
	struct err err = ERR_INIT;
	struct config *c = load(bad[_i].text, &err);

	check_refused(&bad[_i], c, &err);
}
END_TEST

/* ---- several of each ----------------------------------------------------------------------------------------------- */

/* The second of more CAs by a preset, or by what is in it. */
#define SEVERAL(preset) \
	"domains = [ \"example.org\", \"example.net\" ];\n" \
	"submission = ( { name = \"one\"; vouch = \"login\"; }, { name = \"two\"; vouch = \"login\"; daemons = [ \"ORIGINATING\" ]; } );\n" \
	"mode = \"sign\";\n" \
	"decryption = \"exported-keys\";\n" \
	DIRECTORY("address-attributes = [ \"mail\" ];") \
	CA("name = \"public\"; addresses-per-order = 3; eab = { kid = \"k1\"; key-file = \"/e1\"; };") \
	"cas = (\n" \
	" { name = \"inner\"; driver = \"exec\"; exec = { program = \"/usr/bin/sign\"; environment = [ \"A=b\" ]; }; anchor-file = \"/b\"; caa = \"off\";\n" \
	"   challenge-authentication = \"none-from-network\"; challenge-networks = [ \"192.0.2.0/24\", \"2001:db8::/64\" ]; },\n" \
	" { name = \"preset\"; " preset " directory-url = \"https://c.example/d\"; anchor-file = \"/c\";\n" \
	"   account-key = \"credential:c\"; eab = { kid = \"k2\"; key-file = \"/e2\"; algorithm = \"HS512\"; }; max-orders = 9; } );\n" \
	"certificate = { name = \"usual\"; addresses = \"all\"; };\n" \
	"certificates = (\n" \
	" { name = \"board\"; usage = \"split\"; key-type = \"ec:p384\"; generation = \"multipurpose\"; ca-profile = \"long\"; },\n" \
	" { validation = \"private\"; ca = \"inner\"; policy-oids = [ \"1.2.3\", \"1.2.4\" ]; max-days = 40; },\n" \
	" { validation = \"sponsor\"; ca = \"preset\"; organization = \"A\"; organization-identifier = \"VATDE-123456789\"; } );\n" \
	"rules = (\n" \
	" { name = \"board\"; groups = [ \"cn=board,dc=example\", \"cn=owners,dc=example\" ]; certificate = \"board\"; no-certificate = \"reject\"; publish = \"required\"; },\n" \
	" { name = \"machines\"; kinds = [ \"shared\", \"resource\" ]; domains = [ \"Example.NET\" ]; certificate = \"private\"; publish = \"none\"; sign = \"internal\"; },\n" \
	" { name = \"left\"; filter = \"(employeeType=left)\"; certificate = \"none\"; no-certificate = \"pass\"; },\n" \
	" { name = \"two\"; addresses = [ \"Alice@EXAMPLE.org\", \"bob@example.net\" ]; certificate = \"sponsor-strict\"; sign = \"outgoing\";\n" \
	"   unsigned-to = [ \"Partner.example\" ]; unsigned-header = \"X-No-Signature\"; },\n" \
	" { name = \"rest\"; no-certificate = \"hold\"; } );\n"

static const char by_preset[] = SEVERAL("preset = \"" TOP_SRCDIR "/examples/ca/castle.conf\";");
static const char by_hand[] = SEVERAL("token-join = \"decoded\";");

/* Whatever the way it came: the same lists. */
static void check_several(const struct config *c)
{
	const struct ca_config *inner = config_ca(c, "inner"), *preset = config_ca(c, "preset");
	const struct certificate_profile *board = config_certificate(c, "board"), *private = config_certificate(c, "private");
	const struct rule *two = config_rule(c, "two");

	ck_assert_uint_eq(config_cas(c), 3);
	ck_assert_ptr_eq(config_ca(c, "public"), &c->ca);
	ck_assert_ptr_eq(config_ca_at(c, 1), inner);
	ck_assert_ptr_eq(config_ca_at(c, 2), preset);
	ck_assert_ptr_null(config_ca(c, "Public"));
	ck_assert_str_eq(c->ca.eab_kid, "k1");
	ck_assert_str_eq(c->ca.eab_algorithm, "HS256");
	ck_assert_int_eq(inner->driver, CA_DRIVER_EXEC);
	ck_assert_str_eq(inner->exec.environment.v[0], "A=b");
	ck_assert_uint_eq(inner->n_challenge_networks, 2);
	ck_assert_int_eq(inner->caa, CAA_OFF);
	ck_assert_uint_eq(inner->addresses_per_order, 1); /* its own default, not the first one's value */
	ck_assert_ptr_null(inner->eab_kid);
	ck_assert_int_eq(preset->caa, CAA_ENFORCE);
	ck_assert_str_eq(preset->account_key, "credential:c");
	ck_assert_str_eq(preset->eab_algorithm, "HS512");
	ck_assert_uint_eq(preset->max_orders, 9);
	ck_assert_int_eq(preset->token_join, JOIN_DECODED);
	ck_assert_int_eq(c->ca.token_join, JOIN_STRINGS);

	ck_assert_uint_eq(config_certificates(c), 4);
	ck_assert_ptr_eq(config_certificate(c, "usual"), &c->certificate);
	ck_assert_int_eq(c->certificate.addresses, ADDRESSES_ALL);
	ck_assert_ptr_eq(config_ca_of(c, &c->certificate), &c->ca);
	ck_assert_int_eq(board->usage, USAGE_SPLIT);
	ck_assert_str_eq(board->ca_profile, "long");
	ck_assert_int_eq(board->addresses, ADDRESSES_ONE);
	ck_assert_ptr_null(board->organization);
	ck_assert_str_eq(config_certificate(c, "sponsor-strict")->organization, "A");
	ck_assert_ptr_eq(config_ca_of(c, private), inner);
	ck_assert_uint_eq(private->policy_oids.n, 2);
	ck_assert_uint_eq(private->max_days, 40);
	ck_assert_str_eq(private->ekus.v[0], "1.3.6.1.5.5.7.3.4");
	ck_assert_ptr_eq(config_ca_of(c, config_certificate(c, "sponsor-strict")), preset);

	ck_assert_uint_eq(c->n_rules, 5);
	ck_assert_ptr_eq(config_rule(c, "board"), &c->rules[0]);
	ck_assert_uint_eq(c->rules[0].groups.n, 2);
	ck_assert_int_eq(c->rules[0].no_certificate, NO_CERTIFICATE_REJECT);
	ck_assert_int_eq(c->rules[0].sign, SIGN_ALL);
	ck_assert_str_eq(c->rules[1].domains.v[0], "example.net");
	ck_assert_uint_eq(c->rules[1].kinds.n, 2);
	ck_assert_int_eq(c->rules[1].sign, SIGN_INTERNAL);
	ck_assert_str_eq(c->rules[2].filter, "(employeeType=left)");
	ck_assert_ptr_null(c->rules[2].publish);
	ck_assert_ptr_eq(two, &c->rules[3]);
	ck_assert_str_eq(two->addresses.v[0], "alice@example.org");
	ck_assert_str_eq(two->unsigned_to.v[0], "partner.example");
	ck_assert_str_eq(two->unsigned_header, "X-No-Signature");
	ck_assert_int_eq(two->no_certificate, NO_CERTIFICATE_AS_CONFIGURED);
	ck_assert_int_eq(c->rules[4].no_certificate, NO_CERTIFICATE_HOLD);
	ck_assert_uint_eq(c->rules[4].addresses.n + c->rules[4].domains.n + c->rules[4].groups.n + c->rules[4].kinds.n, 0);
}

START_TEST(several_of_each_load_are_shown_and_load_again)
{
	struct config *c = load_good(by_hand), *again;
	char *text;

	check_several(c);
	round_trip("several of each", c);
	config_unref(c);
	/* What came from a preset is said by the text itself when it is loaded again. */
	c = load_good(by_preset);
	text = shown(c, false);
	check_several(c);
	ck_assert_ptr_nonnull(strstr(text, "# CA preset, from preset "));
	again = load_good(text);
	check_several(again);
	config_unref(again);
	free(text);
	config_unref(c);
}
END_TEST

/* The text of one key, by names and numbers: "rules", 3, "name". */
static const char *at(const json_t *root, const char *list, size_t i, const char *key)
{
	return json_string_value(json_object_get(json_array_get(json_object_get(root, list), i), key));
}

START_TEST(several_of_each_stand_in_json_in_their_order)
{
	struct config *c = load_good(by_preset);
	char *text = shown(c, true);
	json_t *json = json_loads(text, 0, NULL), *rest;

	ck_assert_ptr_nonnull(json);
	ck_assert_uint_eq(json_array_size(json_object_get(json, "cas")), 2);
	ck_assert_uint_eq(json_array_size(json_object_get(json, "certificates")), 3);
	ck_assert_uint_eq(json_array_size(json_object_get(json, "rules")), 5);
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(json, "ca"), "name")), "public");
	ck_assert_str_eq(at(json, "cas", 0, "name"), "inner");
	ck_assert_str_eq(at(json, "cas", 1, "account-key"), "credential:c");
	ck_assert_ptr_nonnull(json_object_get(json_array_get(json_object_get(json, "cas"), 1), "from-preset"));
	ck_assert_ptr_null(json_object_get(json_array_get(json_object_get(json, "cas"), 0), "from-preset"));
	ck_assert_str_eq(at(json, "certificates", 0, "usage"), "split");
	ck_assert_str_eq(at(json, "certificates", 1, "ca"), "inner");
	ck_assert_str_eq(at(json, "rules", 0, "name"), "board");
	ck_assert_str_eq(at(json, "rules", 1, "sign"), "internal");
	ck_assert_str_eq(at(json, "rules", 3, "unsigned-header"), "X-No-Signature");
	/* Conditions that are not given are not there. */
	rest = json_array_get(json_object_get(json, "rules"), 4);
	ck_assert_str_eq(json_string_value(json_object_get(rest, "no-certificate")), "hold");
	ck_assert_ptr_null(json_object_get(rest, "addresses"));
	ck_assert_ptr_null(json_object_get(rest, "filter"));
	json_decref(json);
	free(text);
	config_unref(c);
}
END_TEST

START_TEST(empty_lists_are_none)
{
	struct config *c = load_good(BASE "cas = ( ); certificates = ( ); rules = ( );\n");

	ck_assert_uint_eq(config_cas(c), 1);
	ck_assert_uint_eq(config_certificates(c), 1);
	ck_assert_uint_eq(c->n_rules, 0);
	round_trip("empty lists", c);
	config_unref(c);
}
END_TEST

/* Which of the allowed things might look like mistakes. */
START_TEST(rules_of_every_kind_load)
{
	static const char *const texts[] = {
		BASE "rules = ( { name = \"all\"; certificate = \"none\"; } );\n",
		BASE "rules = ( { name = \"all\"; certificate = \"mailbox-strict\"; sign = \"none\"; } );\n",
		BASE "no-certificate = \"reject\";\nrules = ( { name = \"r\"; certificate = \"none\"; no-certificate = \"reject\"; } );\n",
		BASE "rules = ( { name = \"none\"; domains = [ \"example.org\" ]; }, { name = \"r\"; domains = [ \"example.org\" ]; } );\n",
		RELAY_ONLY "rules = ( { name = \"r\"; no-certificate = \"tempfail\"; } );\n",
		RELAY_ONLY "no-certificate = \"tempfail\";\nrules = ( { name = \"r\"; certificate = \"none\"; no-certificate = \"pass\"; } );\n",
		BASE "rules = ( { name = \"r\"; publish = \"none\"; unsigned-to = [ \"example.org\" ]; } );\n",
		BASE CA("") "cas = ( { name = \"b\"; driver = \"exec\"; exec = { program = \"/p\"; }; } );\n",
	};
	struct config *c = load_good(texts[_i]);

	round_trip(texts[_i], c);
	config_unref(c);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("config_lists");
	TCase *t = tcase_create("config_lists");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, a_mistake_is_refused_with_its_place, 0, (int)(sizeof(bad) / sizeof(bad[0])));
	tcase_add_test(t, several_of_each_load_are_shown_and_load_again);
	tcase_add_test(t, several_of_each_stand_in_json_in_their_order);
	tcase_add_test(t, empty_lists_are_none);
	tcase_add_loop_test(t, rules_of_every_kind_load, 0, 8);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
