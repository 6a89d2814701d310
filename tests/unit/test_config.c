/*
 * test_config.c - the configuration as an admin meets it: what loads, what is refused and with which words, what is shown.
 */
#include "config.h"

#include <jansson.h>
#include <libconfig.h>
#include <pthread.h>
#include <regex.h>
#include <sys/stat.h>

#include "policy/config_table.h"
#include "tests/unit/test_config.h"

static char *example_text(void)
{
	struct buf text = BUF_INIT;

	ck_assert(file_read(&text, TOP_SRCDIR "/examples/enroll-milter.conf", 1 << 20, NULL));
	return buf_take(&text);
}

/* ---- what is refused, and how -------------------------------------------------------------------------------------- */

static const struct bad bad[] = {
	{"a word that is none of the words", BASE CA("\n token-join = \"string\"; "), "t.conf:4: ca.token-join: expected \"strings\" or \"decoded\", found \"string\""},
	{"an unknown key gets the nearest name", BASE "mod = \"sign\";\n", "t.conf:3: mod: expected a known key, found \"mod\"; did you mean mode?"},
	{"swapped letters are recognised", BASE "directory = { sratttls = true; };\n", "did you mean directory.starttls?"},
	{"an underscore instead of a hyphen", BASE "cap_per_day = 3;\n", "did you mean cap-per-day?"},
	{"a key in the wrong group is pointed home", BASE "token-join = \"strings\";\n", "did you mean ca.token-join?"},
	{"a key that is like no other gets no guess", BASE "quux-frobnicate = 1;\n", "t.conf:3: quux-frobnicate: expected a known key, found \"quux-frobnicate\""},
	{"an unknown key in a submission", D "submission = (\n { name = \"s\";\n vouches = \"login\"; } );\n", "t.conf:4: submission.vouches: expected a known key, found \"vouches\"; did you mean submission.vouch?"},
	{"a password in the configuration", BASE "directory = { password = \"hunter2\"; };\n", "t.conf:3: directory.password: secrets do not stand in the configuration"},
	{"a secret in the configuration", BASE "ca = { eab = { hmac-key = \"hunter2\"; }; };\n", "ca.eab.hmac-key: secrets do not stand in the configuration"},
	{"a password where its file should be named is not repeated", BASE "directory = { password-file = \"hunter2\"; };\n", "t.conf:3: directory.password-file: expected an absolute path or \"credential:NAME\", found something else (not repeated here)"},
	{"a credential without a name", BASE "master = { key = \"credential:\"; };\n", "t.conf:3: master.key: expected an absolute path or \"credential:NAME\""},
	{"a credential that climbs out of its folder", BASE "master = { key = \"credential:../x\"; };\n", "t.conf:3: master.key: expected an absolute path or"},
	{"a number for a text", BASE "users = { outbound = 12; };\n", "t.conf:3: users.outbound: expected a text in quotes, found a number"},
	{"a text for a number", BASE "cap-per-day = \"50\";\n", "t.conf:3: cap-per-day: expected a whole number from 0 to 10000000, found a text"},
	{"a fraction", BASE "cap-per-day = 0.5;\n", "t.conf:3: cap-per-day: expected a whole number from 0 to 10000000, found a number with a fraction"},
	{"a text for a switch", BASE "dns = { dnssec = \"yes\"; };\n", "t.conf:3: dns.dnssec: expected true or false, found a text"},
	{"a text for an array", "domains = \"example.org\";\n" S, "t.conf:1: domains: expected an array of texts: [ \"...\", \"...\" ], found a text"},
	{"numbers in an array of texts", "domains = [ 1, 2 ];\n" S, "t.conf:1: domains: expected an array of texts: [ \"...\", \"...\" ], found a number in it"},
	{"a group for a list of groups", D "submission = { name = \"s\"; };\n", "t.conf:2: submission: expected a list of groups: ( { ... }, { ... } ), found a group { }"},
	{"texts in the list of groups", D "submission = ( \"s\" );\n", "t.conf:2: submission: expected a list of groups: ( { ... }, { ... } ), found a text in it"},
	{"a text for a group", BASE "ca = \"example-ca\";\n", "t.conf:3: ca: expected a group: { ... }, found a text"},
	{"a group for a text", BASE "store = { path = { x = 1; }; };\n", "t.conf:3: store.path: expected a text in quotes, found a group { }"},
	{"a negative cap", BASE "cap-per-day = -1;\n", "t.conf:3: cap-per-day: expected a whole number from 0 to 10000000, found -1"},
	{"a port above 65535", BASE "reply = { port = 65536; };\n", "t.conf:3: reply.port: expected a whole number from 1 to 65535, found 65536"},
	{"a number that libconfig would cut to 0", BASE "cap-per-day = 4294967296;\n", "t.conf:3: expected a smaller number, found one that does not fit 32 bits"},
	{"a number with more digits than any type has", BASE "cap-per-day = 99999999999999999999999999999999999999999;\n", "t.conf:3: expected a smaller number"},
	{"a hexadecimal number that would come out negative", BASE "cap-per-day = 0xFFFFFFFF;\n", "t.conf:3: expected a smaller number"},
	{"an unknown mode", BASE "mode = \"test\";\n", "t.conf:3: mode: expected \"observe\", \"enroll\" or \"sign\", found \"test\""},
	{"a key given twice", BASE "cap-per-day = 1;\ncap-per-day = 2;\n", "t.conf:4: duplicate setting name"},
	{"a missing bracket", "domains = [ \"example.org\" ;\n" S, "t.conf:1: syntax error here or just before"},
	{"a comment that is never closed", BASE "/* cap-per-day = 1;\n", "t.conf:3: expected \"*/\" somewhere behind this \"/*\", found the end of the file"},
	{"a NUL octet", "", "expected text, found a NUL octet"}, /* written by the test */
	{"an empty text", BASE "users = { group = \"\"; };\n", "t.conf:3: users.group: expected a text, found an empty one"},
	{"a line break in a text", BASE "submission-name = 1;\n", "t.conf:3: submission-name: expected a known key"},
	{"a text of two lines", D "submission = ( { name = \"a\\nb\"; vouch = \"login\"; } );\n", "t.conf:2: submission.name: expected one line of UTF-8 text"},
	{"a text that is no UTF-8", D "submission = ( { name = \"\\xff\"; vouch = \"login\"; } );\n", "t.conf:2: submission.name: expected one line of UTF-8 text"},
	{"an include file that is not there", BASE "@include \"more.conf\"\n", "more.conf: No such file or directory"},
	{"an include that names a folder", BASE "@include \".\"\n", "expected a file, found something else"},
	{"an include by absolute path", BASE "@include \"/etc/passwd\"\n", "t.conf:3: @include: expected a file name relative to the folder"},
	{"a file that includes itself", BASE "@include \"t.conf\"\n", "too many files within files"},
	{"no domains", S, "domains: expected at least one domain"},
	{"empty domains", "domains = [ ];\n" S, "t.conf:1: domains: expected at least one domain"},
	{"a domain with a blank", "domains = [ \"exam ple.org\" ];\n" S, "t.conf:1: domains: expected a domain name, found \"exam ple.org\""},
	{"an IP address as domain", "domains = [ \"192.0.2.1\" ];\n" S, "t.conf:1: domains: expected a domain name"},
	{"a domain named twice, in two spellings", "domains = [ \"B\xc3\xbc" "cher.example\", \"xn--bcher-kva.example\" ];\n" S, "t.conf:1: domains: \"xn--bcher-kva.example\" is named twice"},
	{"no submission", D, "submission: expected at least one entry"},
	{"a submission without a name", D "submission = ( { vouch = \"login\"; } );\n", "t.conf:2: submission.name: expected a name"},
	{"two submissions of one name", D "submission = ( { name = \"s\"; vouch = \"login\"; },\n{ name = \"s\"; vouch = \"login\"; } );\n", "t.conf:3: submission.name: \"s\" is the name of another entry too"},
	{"a network with host bits", D "submission = ( { name = \"s\"; vouch = \"login\"; networks = [ \"192.0.2.1/24\" ]; } );\n", "t.conf:2: submission.networks: expected a network such as"},
	{"a relay without networks", D "submission = ( { name = \"s\"; vouch = \"relay\"; own-mx = [ \"mx.example.org\" ]; } );\n", "t.conf:2: submission.networks: vouch = \"relay\" needs networks"},
	{"a relay that is the whole Internet", D "submission = ( { name = \"s\"; vouch = \"relay\"; own-mx = [ \"mx.example.org\" ]; networks = [ \"0.0.0.0/0\" ]; } );\n", "found the whole Internet"},
	{"a relay that is all of IPv6", D "submission = ( { name = \"s\"; vouch = \"relay\"; own-mx = [ \"mx.example.org\" ]; networks = [ \"::/0\" ]; } );\n", "found the whole Internet"},
	{"a relay that does not know our MX", D "submission = ( { name = \"s\"; vouch = \"relay\"; networks = [ \"192.0.2.1\" ]; } );\n", "submission.own-mx: vouch = \"relay\" needs own-mx"},
	{"a relay with half a secret", D "submission = ( { name = \"s\"; vouch = \"relay\"; networks = [ \"192.0.2.1\" ]; own-mx = [ \"mx.example.org\" ];\nsecret-header = \"X-T\"; } );\n", "t.conf:3: submission.secret-header: secret-header and secret-file go together"},
	{"a secret in a field that is signed with the mail", D "submission = ( { name = \"s\"; vouch = \"relay\"; networks = [ \"192.0.2.1\" ]; own-mx = [ \"mx.example.org\" ];\nsecret-header = \"Content-Secret\"; secret-file = \"/s\"; } );\n", "t.conf:3: submission.secret-header: expected a field that has no other use"},
	{"a secret in a field that header protection would send out", D "submission = ( { name = \"s\"; vouch = \"relay\"; networks = [ \"192.0.2.1\" ]; own-mx = [ \"mx.example.org\" ];\nsecret-header = \"comments\"; secret-file = \"/s\"; } );\n", "t.conf:3: submission.secret-header: expected a field that has no other use"},
	{"a secret in a field that every mail needs", D "submission = ( { name = \"s\"; vouch = \"relay\"; networks = [ \"192.0.2.1\" ]; own-mx = [ \"mx.example.org\" ];\nsecret-header = \"From\"; secret-file = \"/s\"; } );\n", "t.conf:3: submission.secret-header: expected a field that has no other use"},
	{"relay conditions without a relay", D "submission = ( { name = \"s\"; vouch = \"login\"; require-dkim-domain = \"example.org\"; } );\n", "only have a meaning with vouch = \"relay\""},
	{"no login and no relay", D "submission = ( { name = \"s\"; vouch = \"login\"; require-login = false; } );\n", "t.conf:2: submission.require-login: false is only possible with vouch = \"relay\""},
	{"the directory vouches and there is none", D "submission = ( { name = \"s\"; } );\n", "t.conf:2: submission.vouch: \"directory\" needs a directory"},
	{"a map without its file", D "submission = ( { name = \"s\"; vouch = \"map\"; } );\n", "t.conf:2: submission.map-file: vouch = \"map\" needs a map-file"},
	{"a map file without a map", D "submission = ( { name = \"s\"; vouch = \"login\"; map-file = \"/m\"; } );\n", "only has a meaning with vouch = \"map\""},
	{"tempfail for people's mail programs", BASE "no-certificate = \"tempfail\";\n", "t.conf:3: no-certificate: \"tempfail\" is only for listeners whose clients are MTAs"},
	{"an empty pilot", BASE "pilot = { };\n", "t.conf:3: pilot: expected addresses or a group"},
	{"a pilot address that is none", BASE "pilot = { addresses = [ \"alice\" ]; };\n", "t.conf:3: pilot.addresses: expected a mail address, found \"alice\""},
	{"a pilot address of another domain", BASE "pilot = { addresses = [ \"alice@example.net\" ]; };\n", "\"alice@example.net\" is in none of the domains"},
	{"a pilot group without a directory", BASE "pilot = { group = \"cn=x\"; };\n", "t.conf:3: pilot.group: a group needs a directory"},
	{"a pilot group that is no DN", BASE DIRECTORY("") "pilot = { group = \"pilots\"; };\n", "t.conf:4: pilot.group: expected a distinguished name"},
	{"enroll without a CA", BASE "mode = \"enroll\";\n", "ca: mode = \"enroll\" and \"sign\" need a CA"},
	{"sign without anchors", BASE "mode = \"sign\";\nca = { directory-url = \"https://ca.example/d\"; };\n", "t.conf:4: ca.anchor-file: expected a PEM file of the roots"},
	{"enroll without the CA's URL", BASE "mode = \"enroll\";\nca = { anchor-file = \"/a\"; };\n", "t.conf:4: ca.directory-url: expected the URL"},
	{"ACME over plain HTTP", BASE "ca = { directory-url = \"http://ca.example/d\"; };\n", "t.conf:3: ca.directory-url: expected an https:// URL"},
	{"a password in the CA's URL", BASE "ca = { directory-url = \"https://me:pw@ca.example/d\"; };\n", "t.conf:3: ca.directory-url: expected an https:// URL without user name, password"},
	{"a contact that is no mailto", BASE "ca = { contact = \"postmaster@example.org\"; };\n", "t.conf:3: ca.contact: expected \"mailto:\" and a mail address"},
	{"EAB without a key", BASE "ca = { eab = { kid = \"k\"; }; };\n", "t.conf:3: ca.eab.key-file: external account binding needs both kid and key-file"},
	{"EAB without anything", BASE "ca = { eab = { }; };\n", "t.conf:3: ca.eab.kid: external account binding needs both kid and key-file"},
	{"challenges believed from anywhere", BASE "ca = { challenge-authentication = \"none-from-network\"; };\n", "t.conf:3: ca.challenge-authentication: needs challenge-networks"},
	{"challenges believed from the whole Internet", BASE "ca = { challenge-authentication = \"none-from-network\"; challenge-networks = [ \"0.0.0.0/0\" ]; };\n", "ca.challenge-networks: expected networks of our own"},
	{"authserv-id without networks", BASE "ca = { challenge-authentication = \"authserv-id\"; authserv-id = \"mx\"; };\n", "needs challenge-networks"},
	{"authserv-id without its name", BASE "ca = { challenge-authentication = \"authserv-id\"; challenge-networks = [ \"192.0.2.1\" ]; };\n", "whose Authentication-Results"},
	{"challenge networks that would restrict nothing", BASE "ca = { challenge-networks = [ \"192.0.2.1\" ]; };\n", "here it would restrict nothing"},
	{"encryption that nobody can read", BASE "certificate = { usage = \"encrypt\"; };\n", "t.conf:3: certificate.usage: \"encrypt\", \"dual\" and \"split\" need decryption"},
	{"dual use that nobody can read", BASE "certificate = { usage = \"dual\"; };\n", "certificate.usage: \"encrypt\", \"dual\" and \"split\" need decryption"},
	{"decryption by nobody in particular", BASE "decryption = \"gateway\";\n", "t.conf:3: decryption: expected \"exported-keys\" or \"gateway NAME\", found \"gateway\""},
	{"Legacy certificates", BASE "certificate = { generation = \"legacy\"; };\n", "t.conf:3: certificate.generation: expected \"strict\" or \"multipurpose\", found \"legacy\": Legacy certificates ended"},
	{"private rules for a public profile", BASE "certificate = { max-days = 90; };\n", "only have a meaning with \"private\""},
	{"an OID that is none", BASE "certificate = { validation = \"private\"; policy-oids = [ \"emailProtection\" ]; };\n", "t.conf:3: certificate.policy-oids: expected an object identifier"},
	{"an organization for certificates that name none", BASE "certificate = { organization = \"Example AG\"; };\n", "t.conf:3: certificate.organization: mailbox- and individual-validated certificates name no organization"},
	{"its identifier for such", BASE DIRECTORY("") "certificate = { validation = \"individual\"; organization-identifier = \"VATDE-1\"; };\n", "certificate.organization-identifier: mailbox- and individual-validated"},
	{"a country for certificates that name none", BASE "certificate = { country = \"DE\"; };\n", "t.conf:3: certificate.country: mailbox-validated certificates name no country"},
	{"a country that is none", BASE "certificate = { country = \"QQ\"; };\n", "t.conf:3: certificate.country: expected a country's code of two letters"},
	{"a country by its name", BASE "certificate = { country = \"Germany\"; };\n", "t.conf:3: certificate.country: expected a country's code of two letters"},
	{"an identifier without its hyphen", BASE "certificate = { organization-identifier = \"VATDE123456789\"; };\n", "t.conf:3: certificate.organization-identifier: expected scheme"},
	{"an identifier of an unknown scheme", BASE "certificate = { organization-identifier = \"ABCDE-1\"; };\n", "t.conf:3: certificate.organization-identifier: expected scheme"},
	{"an organization with too long a name", BASE "certificate = { organization = \"A very long name of an organization that nobody wants to write in full\"; };\n", "t.conf:3: certificate.organization: expected the name of an organization of at most 64 characters"},
	{"an organization that says that there is none", BASE "certificate = { organization = \"n/a\"; };\n", "t.conf:3: certificate.organization: expected the name of an organization"},
	{"an identifier of another country", BASE "certificate = { validation = \"organization\"; organization = \"Example AG\"; organization-identifier = \"VATAT-U1\"; country = \"DE\"; };\n", "t.conf:3: certificate.country: \"DE\" is not the country in organization-identifier"},
	{"an empty subject for a person", BASE DIRECTORY("") "certificate = { validation = \"sponsor\"; subject = \"empty\"; };\n", "certificate.subject: \"empty\" only has a meaning with validation = \"mailbox\""},
	{"an organization without directory and identifier", BASE "certificate = { validation = \"organization\"; organization = \"Example AG\"; };\n", "certificate.validation: names of people and organizations"},
	{"a filter for shared mailboxes that is none", BASE "directory = { shared-filter = \"msExchRecipientTypeDetails=4\"; };\n", "t.conf:3: directory.shared-filter: expected an LDAP filter"},
	{"a sponsor without a directory", BASE "certificate = { validation = \"sponsor\"; };\n", "t.conf:3: certificate.validation: names of people and organizations in certificates come from the directory"},
	{"publishing without a directory", BASE "directory = { publish = \"required\"; };\n", "t.conf:3: directory.publish: \"required\" needs a directory"},
	{"a directory in the clear", BASE "directory = { urls = [ \"ldap://l.example\" ]; base = \"dc=x\"; bind-dn = \"cn=x\"; password-file = \"/p\";\nstarttls = false; };\n", "t.conf:4: directory.starttls: false would send the password"},
	{"SASL EXTERNAL over the network", BASE "directory = { urls = [ \"ldaps://l.example\" ]; base = \"dc=x\"; bind = \"external\"; };\n", "t.conf:3: directory.bind: \"external\" works over ldapi:// only"},
	{"a simple bind without a password", BASE "directory = { urls = [ \"ldaps://l.example\" ]; base = \"dc=x\"; bind-dn = \"cn=x\"; };\n", "t.conf:3: directory.password-file: bind = \"simple\" needs"},
	{"an anonymous bind that is to publish", BASE "directory = { urls = [ \"ldaps://l.example\" ]; base = \"dc=x\"; bind = \"anonymous\"; };\n", "directory.publish: \"required\" needs a bind that may write"},
	{"a directory without a base", BASE "directory = { urls = [ \"ldaps://l.example\" ]; bind-dn = \"cn=x\"; password-file = \"/p\"; };\n", "t.conf:3: directory.base: expected the search base"},
	{"an LDAP URL with a bind password", BASE "directory = { urls = [ \"ldap://l.example/dc=x????bindname=cn=x\" ]; };\n", "t.conf:3: directory.urls: expected ldap://HOST"},
	{"a web address as directory", BASE "directory = { urls = [ \"https://l.example\" ]; };\n", "t.conf:3: directory.urls: expected ldap://HOST"},
	{"a filter without a place for the login", BASE "directory = { login-filter = \"(uid=alice)\"; };\n", "t.conf:3: directory.login-filter: expected an LDAP filter with %s"},
	{"a filter with another %", BASE "directory = { login-filter = \"(uid=%n%s)\"; };\n", "directory.login-filter: expected an LDAP filter with %s"},
	{"a filter with a bracket too few", BASE "directory = { login-filter = \"(&(uid=%s)(x=y)\"; };\n", "directory.login-filter: expected an LDAP filter with %s"},
	{"an address attribute that is not searched", BASE DIRECTORY("address-attributes = [ \"mail\", \"mailAlternateAddress\" ]; "), "\"mailAlternateAddress\" is not in it"},
	{"an attribute name that could be a filter", BASE "directory = { login-attribute = \"uid=*)(\"; };\n", "t.conf:3: directory.login-attribute: expected an LDAP attribute name"},
	{"connecting longer than the whole question", BASE DIRECTORY("connect-ms = 5000; "), "directory.connect-ms: expected at most deadline-ms (3000), found 5000"},
	{"a DNS server by name", BASE "dns = { servers = [ \"resolver.example\" ]; };\n", "t.conf:3: dns.servers: expected an IP address"},
	{"root among other servers", BASE "dns = { servers = [ \"root\", \"192.0.2.1\" ]; };\n", "t.conf:3: dns.servers: \"root\" stands alone"},
	{"a stub without a server", BASE "dns = { stubs = [ \"example.org\" ]; };\n", "t.conf:3: dns.stubs: expected \"zone=addr\""},
	{"a perspective by name", BASE "dns = { perspectives = [ \"outside\" ]; };\n", "t.conf:3: dns.perspectives: expected \"system\", \"recursion\", an IP address"},
	{"a perspective by the other word for recursion", BASE "dns = { perspectives = [ \"root\" ]; };\n", "t.conf:3: dns.perspectives: expected \"system\""},
	{"a perspective twice", BASE "dns = { perspectives = [ \"system\", \"192.0.2.1\", \"system\" ]; };\n", "t.conf:3: dns.perspectives: \"system\" stands there twice"},
	{"nine perspectives", BASE "dns = { perspectives = [ \"::1\", \"::2\", \"::3\", \"::4\", \"::5\", \"::6\", \"::7\", \"::8\", \"::9\" ]; };\n",
		"t.conf:3: dns.perspectives: expected at most 8, found 9"},
	{"a store that does not exist here", BASE "store = { type = \"mysql\"; };\n", "t.conf:3: store.type: expected \"sqlite\" or \"postgresql\", found \"mysql\""},
	{"a database and no word of where", BASE "store = { type = \"postgresql\"; };\n", "store.connection: store.type \"postgresql\" needs it"},
	{"a database for a store in a file", BASE "store = { connection = \"host=db1\"; };\n", "t.conf:3: store.connection: it is for store.type \"postgresql\" alone"},
	{"a password in a connection string", BASE "store = { type = \"postgresql\"; connection = \"host=db1 password=x\"; };\n", "t.conf:3: store.connection: no password here"},
	{"a password with blanks", BASE "store = { type = \"postgresql\"; connection = \"host=db1 password = x\"; };\n", "t.conf:3: store.connection: no password here"},
	{"a password in octets", BASE "store = { type = \"postgresql\"; connection = \"postgresql://enroll_%r@db1/enroll?pass%77ord=x\"; };\n", "t.conf:3: store.connection: no password here"},
	{"a password in a URI", BASE "store = { type = \"postgresql\"; connection = \"postgresql://enroll_%r:x@db1/enroll\"; };\n", "t.conf:3: store.connection: no password here"},
	{"a relative store path", BASE "store = { path = \"store.db\"; };\n", "t.conf:3: store.path: expected an absolute path"},
	{"replies across the network", BASE "reply = { host = \"192.0.2.25\"; };\n", "t.conf:3: reply.host: expected a loopback address"},
	{"a report address that leaves no room for a token", BASE "reply = { report-address = \"a-local-part-of-many-words@example.org\"; };\n",
		"t.conf:3: reply.report-address: expected a mail address with at most 20 plain characters before the @"},
	{"a report address that is quoted", BASE "reply = { report-address = \"\\\"a b\\\"@example.org\"; };\n", "at most 20 plain characters before the @"},
	{"redirect to nobody", BASE "challenge = { disposition = \"redirect\"; };\n", "t.conf:3: challenge.disposition: \"redirect\" needs redirect-to"},
	{"a redirect that is not in force", BASE "challenge = { redirect-to = \"a@example.org\"; };\n", "only has a meaning with disposition = \"redirect\""},
	{"an inet socket open to all", BASE "milter = { outbound-socket = \"inet:8891@127.0.0.1\"; };\n", "t.conf:3: milter.outbound-socket: an inet socket needs tcp-peers"},
	{"an inet socket without a host", BASE "milter = { inbound-socket = \"inet:8891\"; };\n", "t.conf:3: milter.inbound-socket: expected \"unix:/path\" or \"inet:PORT@HOST\""},
	{"a relative socket", BASE "milter = { outbound-socket = \"unix:out.sock\"; };\n", "t.conf:3: milter.outbound-socket: expected an absolute path of at most 107"},
	{"a socket name that does not fit", BASE "control = { socket = \"/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"; };\n", "t.conf:3: control.socket: expected an absolute path of at most 107"},
	{"both instances on one socket", BASE "milter = { outbound-socket = \"unix:/s\"; inbound-socket = \"unix:/s\"; };\n", "expected another socket than the outbound instance's"},
	{"a user name with a slash", BASE "users = { outbound = \"../root\"; };\n", "t.conf:3: users.outbound: expected a name"},
	{"an unknown syslog facility", BASE "log = { facility = \"post\"; };\n", "t.conf:3: log.facility: expected \"mail\""},
};

START_TEST(a_mistake_is_refused_with_its_place)
{
	const struct bad *b = &bad[_i];
	struct err err = ERR_INIT;
	struct config *c;

	if (*b->text) {
		c = load(b->text, &err);
	} else {
		static const char nul[] = BASE "mode\0 = \"sign\";\n";

		c = config_load(write_file("t.conf", nul, sizeof(nul) - 1), &err);
	}
	check_refused(b, c, &err);
}
END_TEST

START_TEST(an_unreadable_file_is_named)
{
	struct err err = ERR_INIT;

	ck_assert_ptr_null(config_load("/nonexistent/enroll-milter.conf", &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_str_eq(err.subject, "/nonexistent/enroll-milter.conf");
	err_clear(&err);
	ck_assert_ptr_null(config_load("/tmp", &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_ptr_null(config_load("/tmp", NULL));
}
END_TEST

START_TEST(a_mistake_in_an_included_file_names_that_file)
{
	struct err err = ERR_INIT;

	write_file("more.conf", "\ncap-per-day = true;\n", strlen("\ncap-per-day = true;\n"));
	ck_assert_ptr_null(load(BASE "@include \"more.conf\"\n", &err));
	ck_assert_msg(strstr(err.text, "more.conf:2: cap-per-day: expected a whole number"), "%s", err.text);
}
END_TEST

/* ---- what loads -------------------------------------------------------------------------------------------------- */

static const struct good {
	const char *name, *text;
} good[] = {
	{"observe needs domains and a submission only", BASE},
	{"a number and a bracket inside a text or comment mean nothing", BASE "# 99999999999999 /* \n// 99999999999999 \"\nlog = { level = \"info\"; }; /* \" 4294967296 */\n"},
	{"a value that looks like a path in a name", D "submission = ( { name = \"4294967296 /* @include\"; vouch = \"login\"; } );\n"},
	{"sign with a CA", BASE "mode = \"sign\";\n" CA("")},
	{"a relay with everything", D "submission = ( { name = \"x\"; vouch = \"relay\"; require-login = false; networks = [ \"192.0.2.1\", \"2001:db8::/64\" ]; "
		"own-mx = [ \"mx.example.org\", \"192.0.2.9\" ]; require-dkim-domain = \"Example.ORG\"; secret-header = \"X-T\"; secret-file = \"credential:t\"; "
		"mta-clients = true; } );\nno-certificate = \"tempfail\";\n"},
	{"a directory over ldapi with SASL EXTERNAL", BASE "directory = { urls = [ \"ldapi://%2Frun%2Fldapi\" ]; base = \"dc=x\"; bind = \"external\"; };\n"},
	{"a directory in the clear, said so", BASE "directory = { urls = [ \"ldap://127.0.0.1:3890\" ]; base = \"dc=x\"; bind-dn = \"cn=x\"; password-file = \"/p\"; starttls = false; allow-cleartext = true; };\n"},
	{"proxyAddresses with a filter that looks there", BASE DIRECTORY("address-attributes = [ \"mail\", \"proxyAddresses\" ]; address-filter = \"(|(mail=%s)(proxyAddresses=smtp:%s))\"; ")},
	{"names of people and their organization from everywhere", BASE DIRECTORY("given-name-attribute = \"gn\"; surname-attribute = \"surname;lang-de\"; "
		"display-name-attribute = \"cn\"; organization-attribute = \"company\"; organization-identifier-attribute = \"extensionAttribute1\"; "
		"country-attribute = \"c\"; organizational-unit-attribute = \"department\"; title-attribute = \"title\"; locality-attribute = \"l\"; "
		"state-attribute = \"st\"; shared-filter = \"(msExchRecipientTypeDetails=4)\"; "
		"resource-filter = \"(|(msExchRecipientTypeDetails=16)(msExchRecipientTypeDetails=32))\"; ")
		"certificate = { validation = \"sponsor\"; organization = \"\\\"B\xc3\xbc" "cher\\\" & Co\"; organization-identifier = \"NTRDE-DEK1101R.HRB116737\"; "
		"country = \"de\"; };\n"},
	{"an empty subject", BASE "certificate = { subject = \"empty\"; };\n"},
	{"dual use with exported keys", BASE "decryption = \"exported-keys\";\ncertificate = { usage = \"dual\"; };\n"},
	{"a private profile without anything to check", BASE "certificate = { validation = \"private\"; };\n"},
	{"an inet socket with peers", BASE "milter = { outbound-socket = \"inet:8891@127.0.0.1\"; tcp-peers = [ \"127.0.0.1/32\" ]; };\n"},
	{"external account binding", BASE CA("eab = { kid = \"k\"; key-file = \"credential:eab\"; }; ")},
	{"a pilot by address", BASE "pilot = { addresses = [ \"Alice@EXAMPLE.org\" ]; };\n"},
	{"challenges from an inner CA", BASE "ca = { challenge-authentication = \"none-from-network\"; challenge-networks = [ \"192.0.2.20\" ]; };\n"},
	{"quotes, backslashes and umlauts in texts", D "submission = ( { name = \"a \\\"b\\\" \\\\ \xc3\xbc\"; vouch = \"login\"; login-strip = [ \"CORP\\\\\" ]; } );\n"},
	{"a wide character in a long list", "domains = ( \"b\xc3\xbc" "cher.example\", \"EXAMPLE.org\" );\n" S},
};

START_TEST(what_is_shown_loads_to_the_same)
{
	struct config *c = load_good(good[_i].text);

	round_trip(good[_i].name, c);
	config_unref(c);
}
END_TEST

START_TEST(defaults_are_those_of_the_headers)
{
	struct config *c = load_good(BASE);
	struct directory_settings d;

	ck_assert_int_eq(c->mode, MODE_OBSERVE);
	ck_assert_uint_eq(c->cap_per_day, 50);
	ck_assert_int_eq(c->no_certificate, NO_CERTIFICATE_PASS);
	ck_assert_int_eq(c->on_error, ON_ERROR_PASS);
	ck_assert_str_eq(c->ca.account_key_type, "ec:p256");
	ck_assert_ptr_null(c->ca.directory_url);
	ck_assert_ptr_null(c->ca.eab_algorithm);
	ck_assert(!c->ca.accept_terms);
	ck_assert(c->ca.require_auto_submitted);
	ck_assert_uint_eq(c->ca.challenge_age, 86400);
	ck_assert_int_eq(c->certificate.usage, USAGE_SIGN);
	ck_assert_int_eq(c->certificate.generation, GENERATION_STRICT);
	ck_assert_str_eq(c->certificate.name, "mailbox-strict");
	ck_assert_str_eq(c->store.group, "enroll-milter");
	ck_assert_str_eq(c->directory.publish, "none");
	ck_assert_uint_eq(c->milter.max_candidate, 262144);
	ck_assert_str_eq(c->disposition, "discard");
	ck_assert(c->submissions[0].require_login && !c->submissions[0].mta_clients);
	directory_settings_init(&d);
	ck_assert_str_eq(c->directory.login_filter, d.login_filter);
	ck_assert_str_eq(c->directory.address_filter, d.address_filter);
	ck_assert_str_eq(c->directory.certificate_attribute, d.certificate_attribute);
	ck_assert_str_eq(c->directory.address_attributes.v[0], d.address_attributes.v[0]);
	ck_assert_str_eq(c->directory.given_name_attribute, d.given_name_attribute);
	ck_assert_str_eq(c->directory.surname_attribute, d.surname_attribute);
	ck_assert_str_eq(c->directory.display_name_attribute, d.display_name_attribute);
	ck_assert_str_eq(c->directory.organization_attribute, d.organization_attribute);
	ck_assert_str_eq(c->directory.organization_identifier_attribute, d.organization_identifier_attribute);
	/* what is asked for only when it is configured */
	ck_assert(!c->directory.country_attribute && !d.country_attribute && !c->directory.title_attribute && !d.title_attribute);
	ck_assert(!c->directory.organizational_unit_attribute && !d.organizational_unit_attribute);
	ck_assert(!c->directory.locality_attribute && !d.locality_attribute && !c->directory.state_attribute && !d.state_attribute);
	ck_assert(!c->directory.shared_filter && !d.shared_filter && !c->directory.resource_filter && !d.resource_filter);
	ck_assert_int_eq(c->certificate.subject, SUBJECT_IS_ADDRESS);
	ck_assert_uint_eq(c->directory.deadline_ms, d.deadline_ms);
	ck_assert_uint_eq(c->directory.connect_ms, d.connect_ms);
	ck_assert_uint_eq(c->directory.cache_seconds, d.cache_seconds);
	ck_assert_uint_eq(c->directory.stale_seconds, d.stale_seconds);
	ck_assert(c->directory.starttls == d.starttls && c->directory.allow_cleartext == d.allow_cleartext);
	directory_settings_clear(&d);
	config_unref(c);
}
END_TEST

START_TEST(an_organization_needs_no_directory_when_all_is_said)
{
	struct config *c = load_good(BASE "certificate = { validation = \"organization\"; organization = \"B\xc3\xbc" "cher & S\xc3\xb6hne\"; "
		"organization-identifier = \"VATEL-123456789\"; country = \"gr\"; };\n");

	ck_assert_str_eq(c->certificate.name, "organization-strict");
	ck_assert_str_eq(c->certificate.organization, "B\xc3\xbc" "cher & S\xc3\xb6hne");
	ck_assert_str_eq(c->certificate.organization_identifier, "VATEL-123456789");
	ck_assert_str_eq(c->certificate.country, "GR");
	config_unref(c);
}
END_TEST

START_TEST(values_arrive_in_canonical_spelling)
{
	struct config *c = load_good("domains = [ \"B\xc3\xbc" "cher.Example\", \"Example.ORG\" ];\n" S "pilot = { addresses = [ \"Alice@EXAMPLE.org\" ]; };\n"
		"certificate = { validation = \"private\"; };\nca = { challenge-domains = [ \"CA.Example\" ]; };\n");

	ck_assert_str_eq(c->domains.v[0], "xn--bcher-kva.example");
	ck_assert_str_eq(c->domains.v[1], "example.org");
	ck_assert_str_eq(c->pilot_addresses.v[0], "alice@example.org");
	ck_assert_str_eq(c->ca.challenge_domains.v[0], "ca.example");
	ck_assert_str_eq(c->certificate.name, "private");
	ck_assert_uint_eq(c->certificate.max_days, 825);
	ck_assert_str_eq(c->certificate.ekus.v[0], "1.3.6.1.5.5.7.3.4");
	ck_assert(config_serves(c, "EXAMPLE.org"));
	ck_assert(config_serves(c, "b\xc3\xbc" "cher.example"));
	ck_assert(!config_serves(c, "sub.example.org"));
	ck_assert(!config_serves(c, "example.org.evil.example"));
	ck_assert(!config_serves(c, ""));
	config_unref(c);
}
END_TEST

static void *ref_and_unref(void *arg)
{
	for (int i = 0; i < 10000; i++)
		config_unref(config_ref(arg));
	return NULL;
}

START_TEST(references_are_counted_across_threads)
{
	struct config *c = load_good(BASE);
	pthread_t threads[4];

	for (size_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ref_and_unref, c), 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_str_eq(c->domains.v[0], "example.org");
	config_unref(c);
	config_unref(NULL);
}
END_TEST

/* ---- the example ------------------------------------------------------------------------------------------------- */

START_TEST(the_example_loads_and_its_check_misses_only_files)
{
	struct err err = ERR_INIT;
	struct buf report = BUF_INIT;
	struct config *c = config_load(TOP_SRCDIR "/examples/enroll-milter.conf", &err);
	char *rest = NULL;

	ck_assert_msg(c != NULL, "%s", err.text);
	round_trip("the example", c);
	if (config_check(c, &report, &err))
		ck_assert_int_eq(err.class, ERR_NONE);
	for (char *line = strtok_r(report.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		bool expected = strncmp(line, "ok: ", 4) == 0 || strstr(line, "No such file or directory") || strstr(line, "there is no user")
			|| strstr(line, "there is no group") || strstr(line, "no permission to look");

		ck_assert_msg(expected, "%s", line);
	}
	buf_clear(&report);
	config_unref(c);
}
END_TEST

static const char *const samples[] = {"submission", "edge", "after-queue"};

START_TEST(the_samples_for_the_usual_places_load)
{
	char path[256];
	struct err err = ERR_INIT;
	struct config *c;

	snprintf(path, sizeof(path), TOP_SRCDIR "/examples/postfix/%s/enroll-milter.conf", samples[_i]);
	c = config_load(path, &err);
	ck_assert_msg(c != NULL, "%s", err.text);
	ck_assert_msg(c->mode == MODE_OBSERVE, "a sample starts by observing");
	round_trip(samples[_i], c);
	config_unref(c);
}
END_TEST

/* Everything that is commented out as "key = ..." or a bracket of a sample comes in. */
static char *uncommented(const char *text)
{
	struct buf out = BUF_INIT;
	regex_t sample;
	regmatch_t m[3];

	ck_assert_int_eq(regcomp(&sample, "^[ ]*#[ ]*(#[ ]*)?([a-z-]+ = |,? ?\\{( name|$)|\\},?$|\\);$)", REG_EXTENDED), 0);
	while (*text) {
		const char *end = strchrnul(text, '\n');
		char *line = strndup(text, (size_t)(end - text));

		buf_puts(&out, regexec(&sample, line, 3, m, 0) == 0 ? line + m[2].rm_so : line);
		buf_putc(&out, '\n');
		free(line);
		text = *end ? end + 1 : end;
	}
	regfree(&sample);
	return buf_take(&out);
}

static void collect(const config_setting_t *group, const char *path, struct strlist *keys)
{
	for (int i = 0; i < config_setting_length(group); i++) {
		const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
		char sub[200];

		if (config_setting_name(s))
			snprintf(sub, sizeof(sub), "%s%s%s", path, *path ? "." : "", config_setting_name(s));
		else
			snprintf(sub, sizeof(sub), "%s", path);
		if (!strlist_has(keys, sub))
			ck_assert(strlist_add(keys, sub));
		if (config_setting_is_group(s) || config_setting_is_list(s)) {
			const struct config_key *key = config_key_find(sub);

			/* An entry of a list has the keys of what it is one more of. */
			collect(s, key && key->entry ? key->entry : sub, keys);
		}
	}
}

START_TEST(the_example_shows_every_key_and_no_other)
{
	struct strlist in_example = {0}, known = {0};
	struct buf text = BUF_INIT;
	char *example = example_text(), *full = uncommented(example), *rest = NULL;
	config_t lib;

	config_init(&lib);
	ck_assert_msg(config_read_string(&lib, full), "line %d: %s", config_error_line(&lib), config_error_text(&lib));
	collect(config_root_setting(&lib), "", &in_example);
	config_describe(&text);
	for (char *line = strtok_r(text.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		if (*line != ' ')
			ck_assert(strlist_add(&known, line));
	ck_assert_uint_gt(known.n, 100);
	for (size_t i = 0; i < known.n; i++)
		ck_assert_msg(strlist_has(&in_example, known.v[i]), "%s is not in the example", known.v[i]);
	for (size_t i = 0; i < in_example.n; i++)
		ck_assert_msg(strlist_has(&known, in_example.v[i]), "%s in the example is no key", in_example.v[i]);
	config_destroy(&lib);
	strlist_clear(&in_example);
	strlist_clear(&known);
	buf_clear(&text);
	free(example);
	free(full);
}
END_TEST

START_TEST(json_holds_every_key_and_no_secret_value)
{
	struct config *c = load_good(BASE DIRECTORY(""));
	char *text = shown(c, true);
	json_t *json = json_loads(text, 0, NULL);

	ck_assert_ptr_nonnull(json);
	ck_assert_str_eq(json_string_value(json_object_get(json, "mode")), "observe");
	ck_assert_int_eq(json_integer_value(json_object_get(json, "cap-per-day")), 50);
	ck_assert(json_is_null(json_object_get(json_object_get(json, "ca"), "directory-url")));
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(json, "directory"), "password-file")), "/p");
	ck_assert_ptr_null(json_object_get(json, "pilot"));
	json_decref(json);
	free(text);
	config_unref(c);
}
END_TEST

/* ---- config check ------------------------------------------------------------------------------------------------ */

static const char certificate[] = "-----BEGIN CERTIFICATE-----\n"
	"@CERT@"
	"-----END CERTIFICATE-----\n";

static bool check_says(const char *text, const char *expected)
{
	struct config *c = load_good(text);
	struct buf report = BUF_INIT;
	struct err err = ERR_INIT;
	bool found;

	ck_assert(config_check(c, &report, &err) == !strstr(buf_str(&report), "error: "));
	found = strstr(buf_str(&report), expected) != NULL;
	if (!found)
		fprintf(stderr, "expected: %s\n%s", expected, buf_str(&report));
	buf_clear(&report);
	config_unref(c);
	return found;
}

START_TEST(check_looks_at_files)
{
	char text[1024], name[128];

	strcpy(name, write_file("secret", "x", 1));
	ck_assert_int_eq(chmod(name, 0644), 0);
	snprintf(text, sizeof(text), BASE "master = { key = \"%s\"; };\n", name);
	ck_assert(check_says(text, "error: master.key: "));
	ck_assert(check_says(text, "mode 0644 lets others read it; chmod 0600"));
	ck_assert_int_eq(chmod(name, 0600), 0);
	snprintf(text, sizeof(text), BASE "users = { outbound = \"nobody\"; };\nmaster = { key = \"%s\"; };\n", name);
	ck_assert(check_says(text, geteuid() == 0 ? "must belong to user nobody, belongs to root" : "must belong to user nobody"));
	snprintf(text, sizeof(text), BASE "ca = { anchor-file = \"%s\"; };\n", name);
	ck_assert(check_says(text, "no PEM certificate in it"));
	strcpy(name, write_file("ldap", "x", 1));
	ck_assert_int_eq(chmod(name, 0640), 0);
	snprintf(text, sizeof(text), BASE "users = { group = \"%s\"; };\ndirectory = { urls = [ \"ldaps://l\" ]; base = \"dc=x\"; bind-dn = \"cn=x\"; "
		"password-file = \"%s\"; };\n", geteuid() == 0 ? "root" : "daemon", name);
	ck_assert(check_says(text, geteuid() == 0 ? "warning: directory.password-file: " : "chmod 0640"));
	ck_assert_int_eq(chmod(name, 0644), 0);
	ck_assert(check_says(text, "error: directory.password-file: "));
	ck_assert_int_eq(chmod(name, 0600), 0);
	ck_assert(check_says(text, "have to read it and nobody else: chown root:"));
	strcpy(name, write_file("broken.pem", certificate, strlen(certificate)));
	snprintf(text, sizeof(text), BASE "ca = { anchor-file = \"%s\"; };\n", name);
	ck_assert(check_says(text, "damaged: not all of it can be read as PEM certificates"));
	ck_assert_int_eq(chmod(name, 0600), 0);
	snprintf(text, sizeof(text), BASE "mode = \"sign\";\nusers = { inbound = \"nobody\"; };\n" CA("challenge-anchor-file = \"%s\";"), name);
	ck_assert(check_says(text, "error: ca.challenge-anchor-file: "));
	ck_assert(check_says(text, "user nobody, which checks the challenges, cannot read it (mode 0600); chmod 0644"));
	ck_assert_int_eq(chmod(name, 0644), 0);
	ck_assert(!check_says(text, "cannot read it"));
	ck_assert(check_says(BASE CA("challenge-anchor-file = \"/b\"; challenge-authentication = \"none-from-network\"; challenge-networks = [ \"192.0.2.0/24\" ];"),
		"warning: ca.challenge-anchor-file: nothing uses it"));
	snprintf(text, sizeof(text), BASE "milter = { spool-directory = \"%s\"; };\n", folder);
	ck_assert_int_eq(chmod(folder, 0755), 0);
	ck_assert(check_says(text, "mode 0755, mail rests in it; chmod 1770"));
	snprintf(text, sizeof(text), BASE "milter = { outbound-socket = \"unix:%s/none/x.sock\"; };\n", folder);
	ck_assert(check_says(text, "error: milter.outbound-socket: "));
	ck_assert(check_says(BASE "users = { inbound = \"no-such-user-here\"; };\n", "error: users.inbound: there is no user \"no-such-user-here\""));
	ck_assert(check_says(BASE "master = { key = \"credential:master\"; };\n", "ok: master.key: credential:master"));
	ck_assert(check_says(BASE "mode = \"sign\";\n" CA(""), "error: ca.anchor-file: /a: No such file"));
	ck_assert(check_says(BASE CA(""), "warning: ca.anchor-file: /a: No such file"));
}
END_TEST

START_TEST(check_fails_when_an_error_is_among_the_lines)
{
	struct config *c = load_good(BASE "users = { inbound = \"no-such-user-here\"; };\n");
	struct buf report = BUF_INIT;
	struct err err = ERR_INIT;

	ck_assert(!config_check(c, &report, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	buf_clear(&report);
	config_unref(c);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("config");
	TCase *t = tcase_create("config");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, a_mistake_is_refused_with_its_place, 0, (int)(sizeof(bad) / sizeof(bad[0])));
	tcase_add_test(t, an_unreadable_file_is_named);
	tcase_add_test(t, a_mistake_in_an_included_file_names_that_file);
	tcase_add_loop_test(t, what_is_shown_loads_to_the_same, 0, (int)(sizeof(good) / sizeof(good[0])));
	tcase_add_test(t, defaults_are_those_of_the_headers);
	tcase_add_test(t, an_organization_needs_no_directory_when_all_is_said);
	tcase_add_test(t, values_arrive_in_canonical_spelling);
	tcase_add_test(t, references_are_counted_across_threads);
	tcase_add_test(t, the_example_loads_and_its_check_misses_only_files);
	tcase_add_loop_test(t, the_samples_for_the_usual_places_load, 0, (int)(sizeof(samples) / sizeof(samples[0])));
	tcase_add_test(t, the_example_shows_every_key_and_no_other);
	tcase_add_test(t, json_holds_every_key_and_no_secret_value);
	tcase_add_test(t, check_looks_at_files);
	tcase_add_test(t, check_fails_when_an_error_is_among_the_lines);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
