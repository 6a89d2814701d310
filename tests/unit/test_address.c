/*
 * tests/unit/test_address.c - base/: which spellings are addresses, domains and networks, and which are the same.
 */
#include "config.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <check.h>

#include "base/base.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

/* ---- addresses ----------------------------------------------------------------------------------------------------- */

#define LOCAL_64 "a123456789b123456789c123456789d123456789e123456789f123456789g123"

static const struct {
	const char *sentence, *text, *canonical, *key; /* canonical NULL: refused */
} addresses[] = {
	{"a plain address stays as it is", "alice@example.org", "alice@example.org", "alice@example.org"},
	{"case goes from the domain, and from the local part only in the key", "Alice@EXAMPLE.Org", "Alice@example.org", "alice@example.org"},
	{"an apostrophe and a plus need no quotes", "o'brien+tag@EXAMPLE.ORG", "o'brien+tag@example.org", "o'brien+tag@example.org"},
	{"a top-level domain may be long", "a@example.INTERNATIONAL", "a@example.international", "a@example.international"},
	{"and internationalized, too", "a@example.verm\xc3\xb6gensberatung", "a@example.xn--vermgensberatung-pwb", "a@example.xn--vermgensberatung-pwb"},
	{"64 octets before the @, the most of RFC 5321", LOCAL_64 "@example.org", LOCAL_64 "@example.org", LOCAL_64 "@example.org"},
	{"strangers write longer ones: policy refuses them for certificates", LOCAL_64 "4@example.org", LOCAL_64 "4@example.org", LOCAL_64 "4@example.org"},
	{"case of a local part that is not ASCII stays in the key", "J\xc3\x96RG@example.org", "J\xc3\x96RG@example.org", "j\xc3\x96rg@example.org"},
	{"plus tags are part of the local part", "alice+x@example.org", "alice+x@example.org", "alice+x@example.org"},
	{"quotes that nobody needs are dropped", "\"alice\"@example.org", "alice@example.org", "alice@example.org"},
	{"a backslash that nobody needs is dropped", "\"al\\ice\"@example.org", "alice@example.org", "alice@example.org"},
	{"quotes that are needed stay", "\"al ice\"@example.org", "\"al ice\"@example.org", "\"al ice\"@example.org"},
	{"an @ inside quotes belongs to the local part", "\"a@b\"@example.org", "\"a@b\"@example.org", "\"a@b\"@example.org"},
	{"a quoted quote stays quoted", "\"a\\\"b\"@example.org", "\"a\\\"b\"@example.org", "\"a\\\"b\"@example.org"},
	{"an empty quoted local part is a local part", "\"\"@example.org", "\"\"@example.org", "\"\"@example.org"},
	{"a UTF-8 local part is allowed", "j\xc3\xb6rg@example.org", "j\xc3\xb6rg@example.org", "j\xc3\xb6rg@example.org"},
	{"a U-label becomes an A-label", "a@b\xc3\xbc" "cher.example", "a@xn--bcher-kva.example", "a@xn--bcher-kva.example"},
	{"a decomposed U-label becomes the same A-label", "a@bu\xcc\x88" "cher.example", "a@xn--bcher-kva.example", "a@xn--bcher-kva.example"},
	{"sharp s is kept as UTS 46 non-transitional has it", "a@stra\xc3\x9f" "e.example", "a@xn--strae-oqa.example", "a@xn--strae-oqa.example"},
	{"an upper-case A-label becomes lower case", "a@XN--BCHER-KVA.example", "a@xn--bcher-kva.example", "a@xn--bcher-kva.example"},
	{"a full-width domain becomes the plain one", "a@\xef\xbd\x85xample.org", "a@example.org", "a@example.org"},
	{"one label is a domain", "root@localhost", "root@localhost", "root@localhost"},
	{"hyphens in third and fourth place are not ours to judge", "a@r3---sn.example", "a@r3---sn.example", "a@r3---sn.example"},
	{"nothing is no address", "", NULL, NULL},
	{"no @ is no address", "alice", NULL, NULL},
	{"no local part is no address", "@example.org", NULL, NULL},
	{"no domain is no address", "alice@", NULL, NULL},
	{"two @ are no address", "alice@example.org@evil.example", NULL, NULL},
	{"a display name is refused", "Alice <alice@example.org>", NULL, NULL},
	{"angle brackets are refused", "<alice@example.org>", NULL, NULL},
	{"a comment is refused", "alice(work)@example.org", NULL, NULL},
	{"a comment in the domain is refused", "alice@example.org(work)", NULL, NULL},
	{"a source route is refused", "@relay.example:alice@example.org", NULL, NULL},
	{"two addresses are refused", "alice@example.org,bob@example.org", NULL, NULL},
	{"a blank in front is refused", " alice@example.org", NULL, NULL},
	{"a blank behind is refused", "alice@example.org ", NULL, NULL},
	{"a newline is refused", "alice@example.org\n", NULL, NULL},
	{"a newline inside quotes is refused", "\"a\nb\"@example.org", NULL, NULL},
	{"a C1 control is refused", "a\xc2\x85@example.org", NULL, NULL},
	{"a right-to-left override is refused", "a\xe2\x80\xae@example.org", NULL, NULL},
	{"bytes that are not UTF-8 are refused", "j\xf6rg@example.org", NULL, NULL},
	{"overlong UTF-8 is refused", "a\xc0\xaf@example.org", NULL, NULL},
	{"a dot in front of the local part is refused", ".alice@example.org", NULL, NULL},
	{"two dots in a row are refused", "a..b@example.org", NULL, NULL},
	{"a dot at the end of the local part is refused", "alice.@example.org", NULL, NULL},
	{"an open quote is refused", "\"alice@example.org", NULL, NULL},
	{"a backslash at the very end is refused", "\"alice\\", NULL, NULL},
	{"text between quote and @ is refused", "\"alice\"x@example.org", NULL, NULL},
	{"an address literal is refused", "alice@[192.0.2.1]", NULL, NULL},
	{"an IPv4 address is no domain", "alice@192.0.2.1", NULL, NULL},
	{"a trailing dot is refused, no certificate would match it", "alice@example.org.", NULL, NULL},
	{"an ideographic full stop at the end is refused too", "alice@example.org\xe3\x80\x82", NULL, NULL},
	{"an empty label is refused", "alice@example..org", NULL, NULL},
	{"an underscore is no part of a mail domain", "alice@ex_ample.org", NULL, NULL},
	{"a hyphen in front of a label is refused", "alice@-example.org", NULL, NULL},
	{"a hyphen behind a label is refused", "alice@example-.org", NULL, NULL},
	{"a label of 64 octets is refused", "a@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.org", NULL, NULL},
	{"a character that maps to a slash is refused", "alice@\xe2\x84\x80.example", NULL, NULL},
	{"an underscore beside an umlaut is not dropped but refused", "alice@b\xc3\xbc_cher.example", NULL, NULL},
	{"an A-label that stands for nothing is refused", "alice@xn--a.example", NULL, NULL},
	{"a broken A-label is refused", "a@xn--\xc3\xbc.example", NULL, NULL},
};

START_TEST(address_table)
{
	struct address a;
	struct err err = ERR_INIT;
	char text[ADDRESS_MAX], key[ADDRESS_MAX];
	bool ok = address_parse(&a, addresses[_i].text, &err);

	if (!addresses[_i].canonical) {
		ck_assert_msg(!ok, "%s", addresses[_i].sentence);
		ck_assert_msg(err.class == ERR_POLICY && err.text[0], "%s", addresses[_i].sentence);
		ck_assert_msg(!address_key_of(addresses[_i].text, key, NULL) && key[0] == '\0', "%s", addresses[_i].sentence);
		return;
	}
	ck_assert_msg(ok, "%s: %s", addresses[_i].sentence, err.text);
	ck_assert_msg(strcmp(address_text(&a, text), addresses[_i].canonical) == 0, "%s: %s", addresses[_i].sentence, text);
	ck_assert_msg(address_key_of(addresses[_i].text, key, &err), "%s", addresses[_i].sentence);
	ck_assert_msg(strcmp(key, addresses[_i].key) == 0, "%s: %s", addresses[_i].sentence, key);
	/* What was made canonical is canonical: nothing changes the second time. */
	ck_assert_msg(address_parse(&a, text, &err), "%s: again", addresses[_i].sentence);
	ck_assert_msg(strcmp(address_text(&a, key), addresses[_i].canonical) == 0, "%s: again %s", addresses[_i].sentence, key);
}
END_TEST

START_TEST(address_of_any_length)
{
	struct address a;
	struct err err = ERR_INIT;
	char text[2000];
	char local[256 + 1];

	/* Every length of the local part, plain and in need of quotes: accepted or refused, never cut. */
	for (size_t n = 1; n < 1200; n++) {
		memset(text, 'a', n);
		strcpy(text + n, "@example.org");
		if (address_parse(&a, text, &err))
			ck_assert_uint_eq(strlen(a.local), n);
		else
			ck_assert_uint_gt(n, 64);
		text[0] = '"';
		memset(text + 1, '\\', n);
		strcpy(text + 1 + n, "\"@example.org");
		if (address_parse(&a, text, &err))
			ck_assert_uint_eq(strlen(a.local), n + 2);
	}
	memset(local, 'a', 255);
	local[255] = '\0';
	snprintf(text, sizeof(text), "%s@example.org", local);
	ck_assert(address_parse(&a, text, &err));
	ck_assert_str_eq(a.local, local);
	ck_assert(!address_parse(&a, NULL, &err));
}
END_TEST

START_TEST(address_equality)
{
	struct address a, b;
	struct err err = ERR_INIT;

	ck_assert(address_parse(&a, "\"Alice\"@B\xc3\x9c" "CHER.example", &err));
	ck_assert(address_parse(&b, "alice@xn--bcher-kva.example", &err));
	ck_assert(address_equal(&a, &b));
	ck_assert(address_parse(&b, "alice@xn--bcher-kva.example.org", &err));
	ck_assert(!address_equal(&a, &b));
}
END_TEST

START_TEST(domain_of_any_length)
{
	char text[1500], out[256];

	for (size_t n = 1; n < 1400; n++) {
		for (size_t i = 0; i < n; i++)
			text[i] = i % 64 == 63 ? '.' : 'a';
		text[n] = '\0';
		if (domain_canonical(text, out))
			ck_assert(n <= 254 && strlen(out) == (text[n - 1] == '.' ? n - 1 : n));
		else
			ck_assert(n > 253);
	}
	ck_assert(domain_canonical("Example.ORG.", out));
	ck_assert_str_eq(out, "example.org");
	ck_assert(!domain_canonical(".", out));
	ck_assert(!domain_canonical(NULL, out));
	ck_assert_str_eq(out, "");
}
END_TEST

/* ---- networks ------------------------------------------------------------------------------------------------------ */

static const struct {
	const char *sentence, *net, *ip;
	int expect; /* -1: no network */
} networks[] = {
	{"an address is its own network", "192.0.2.1", "192.0.2.1", 1},
	{"and no other", "192.0.2.1", "192.0.2.2", 0},
	{"a /24 contains its last address", "192.0.2.0/24", "192.0.2.255", 1},
	{"a /24 does not contain the next one", "192.0.2.0/24", "192.0.3.0", 0},
	{"a /25 splits an octet", "192.0.2.128/25", "192.0.2.127", 0},
	{"a /25 contains its half", "192.0.2.128/25", "192.0.2.129", 1},
	{"0.0.0.0/0 is all of IPv4", "0.0.0.0/0", "203.0.113.9", 1},
	{"0.0.0.0/0 has no IPv6", "0.0.0.0/0", "2001:db8::1", 0},
	{"an IPv4-mapped address is IPv4", "192.0.2.0/24", "::ffff:192.0.2.7", 1},
	{"a mapped network is IPv4", "::ffff:192.0.2.0/120", "192.0.2.7", 1},
	{"::/0 is all of IPv6", "::/0", "2001:db8::1", 1},
	{"::/0 has no IPv4", "::/0", "192.0.2.1", 0},
	{"::/64 has no IPv4 either, though the mapped form lies in it", "::/64", "192.0.2.1", 0},
	{"an IPv6 /32 contains its addresses", "2001:db8::/32", "2001:db8:ffff::1", 1},
	{"an IPv6 /32 contains no others", "2001:db8::/32", "2001:db9::1", 0},
	{"a /127 splits the last bit", "2001:db8::2/127", "2001:db8::3", 1},
	{"sendmail's IPv6: prefix is understood", "2001:db8::/32", "IPv6:2001:db8::1", 1},
	{"localhost is in ::1", "::1", "::1", 1},
	{"no address is in no network", "0.0.0.0/0", "", 0},
	{"a host name is in no network", "0.0.0.0/0", "localhost", 0},
	{"a newline behind an address is no address", "0.0.0.0/0", "192.0.2.1\n", 0},
	{"host bits are refused", "192.0.2.1/24", NULL, -1},
	{"a prefix of 33 is refused", "192.0.2.0/33", NULL, -1},
	{"a prefix of 129 is refused", "2001:db8::/129", NULL, -1},
	{"a negative prefix is refused", "192.0.2.0/-1", NULL, -1},
	{"an empty prefix is refused", "192.0.2.0/", NULL, -1},
	{"a netmask is refused", "192.0.2.0/255.255.255.0", NULL, -1},
	{"a blank is refused", " 192.0.2.0/24", NULL, -1},
	{"three octets are refused", "192.0.2/24", NULL, -1},
	{"a scope is refused", "fe80::1%lo", NULL, -1},
	{"a very long text is refused", "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000/1", NULL, -1},
	{"nothing is refused", "", NULL, -1},
};

START_TEST(network_table)
{
	struct network net;
	bool ok = network_parse(&net, networks[_i].net);

	ck_assert_msg(ok == (networks[_i].expect >= 0), "%s", networks[_i].sentence);
	if (ok)
		ck_assert_msg(network_contains(&net, networks[_i].ip) == (networks[_i].expect == 1), "%s", networks[_i].sentence);
}
END_TEST

START_TEST(socket_addresses_as_text)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000207)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr local = {.sa_family = AF_UNIX};
	char out[64];

	ck_assert_str_eq(sockaddr_ip((struct sockaddr *)&in, out), "192.0.2.7");
	ck_assert_str_eq(sockaddr_ip((struct sockaddr *)&in6, out), "::1");
	memset(&in6.sin6_addr, 0, 16);
	memcpy(in6.sin6_addr.s6_addr + 10, "\xff\xff\xc0\x00\x02\x08", 6);
	ck_assert_str_eq(sockaddr_ip((struct sockaddr *)&in6, out), "192.0.2.8");
	ck_assert_str_eq(sockaddr_ip(&local, out), "");
	ck_assert_str_eq(sockaddr_ip(NULL, out), "");
}
END_TEST

static Suite *address_suite(void)
{
	Suite *s = suite_create("address");
	TCase *t = tcase_create("addresses and networks");

	tcase_add_loop_test(t, address_table, 0, COUNT(addresses));
	tcase_add_test(t, address_of_any_length);
	tcase_add_test(t, address_equality);
	tcase_add_test(t, domain_of_any_length);
	tcase_add_loop_test(t, network_table, 0, COUNT(networks));
	tcase_add_test(t, socket_addresses_as_text);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(address_suite());
	int failed;

	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
