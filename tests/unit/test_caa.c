/*
 * tests/unit/test_caa.c - CAA decisions over a made-up DNS.
 *
 * dns_query is replaced by a table of records written as "name flags tag "value" | ...", so that no network is needed; what the
 * resolver itself does (CNAME, DNSSEC) is its own test's business.  A struct dns is such a table in disguise: one for each perspective.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <check.h>

#include "policy/policy.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define ACCOUNT "https://ca.example/acct/1"

/* ---- the made-up DNS --------------------------------------------------------------------------------------------- */

static struct zone {
	const char *records; /* as in the vectors */
	const char *failing; /* this name has no answer */
	bool bogus;	     /* ... because its signatures are broken */
	enum dns_security security;
	unsigned negative_ttl, positive_ttl;
	const char *canonical;
	unsigned slow_ms; /* so long it thinks about each question */
	char asked[1024]; /* names in the order they were asked for, blank separated */
} zones[3];
static size_t perspectives = 1;
static struct caa_result r; /* of the last check */
static const char *const names[] = {"system", "recursion", "192.0.2.53"};

struct rrset {
	struct dns_rdata rdata[16];
	unsigned char bytes[16][300];
	size_t n;
};

/* One record at *p, of this name: appended.  *p goes behind it. */
static void take_record(const char **p, const char *name, struct rrset *set)
{
	char owner[256], tag[32];
	unsigned flags;
	int used = 0;
	const char *value, *end;
	unsigned char *b = set->bytes[set->n];

	ck_assert_int_eq(sscanf(*p, " %255s %u %31s \"%n", owner, &flags, tag, &used), 3);
	ck_assert_int_gt(used, 0);
	value = *p + used;
	end = strchr(value, '"');
	ck_assert_ptr_nonnull(end);
	*p = strchr(end, '|') != NULL ? strchr(end, '|') + 1 : end + strlen(end);
	if (strcasecmp(owner, name) != 0)
		return;
	ck_assert_uint_lt(set->n, 16);
	b[0] = (unsigned char)flags;
	b[1] = (unsigned char)strlen(tag);
	memcpy(b + 2, tag, strlen(tag));
	memcpy(b + 2 + strlen(tag), value, (size_t)(end - value));
	set->rdata[set->n] = (struct dns_rdata){b, 2 + strlen(tag) + (size_t)(end - value)};
	set->n++;
}

void dns_query(struct dns *dns, const char *name, int type, unsigned deadline_ms, struct dns_answer *out)
{
	struct zone *z = (struct zone *)(void *)dns;
	const char *p = z->records != NULL ? z->records : "";
	struct rrset *set = calloc(1, sizeof *set);

	ck_assert_int_eq(type, 257);
	ck_assert_ptr_nonnull(set);
	usleep(z->slow_ms * 1000);
	snprintf(z->asked + strlen(z->asked), sizeof z->asked - strlen(z->asked), "%s%s", z->asked[0] ? " " : "", name);
	memset(out, 0, sizeof *out);
	out->impl = set;
	out->security = z->security;
	out->canonical = z->canonical;
	if (z->failing != NULL && strcmp(z->failing, name) == 0) {
		out->status = DNS_FAILED;
		out->security = z->bogus ? DNS_BOGUS : DNS_INSECURE;
		snprintf(out->why, sizeof out->why, "%s", z->bogus ? "signature expired" : "timed out after 5000 ms");
		return;
	}
	while (*p != 0)
		take_record(&p, name, set);
	out->status = set->n > 0 ? DNS_FOUND : DNS_NXDOMAIN;
	out->ttl = set->n > 0 ? z->positive_ttl : z->negative_ttl;
	out->rdata = set->rdata;
	out->n = set->n;
}

void dns_answer_clear(struct dns_answer *answer)
{
	free(answer->impl);
	memset(answer, 0, sizeof *answer);
}

static void check(
	const char *address, const char *records, const char *identities, const char *account, const char *method)
{
	struct strlist ids = {0};
	struct caa_request req = {.address = address, .identities = &ids, .account_uri = account, .method = method};
	struct dns_perspectives from = {.n = perspectives};
	char copy[256], *save = NULL;

	snprintf(copy, sizeof copy, "%s", identities);
	for (char *id = strtok_r(copy, ",", &save); id != NULL; id = strtok_r(NULL, ",", &save))
		ck_assert(strlist_add(&ids, id));
	for (size_t i = 0; i < perspectives; i++)
		from.v[i] = (struct dns_perspective){names[i], (struct dns *)(void *)&zones[i]};
	zones[0].records = records;
	caa_result_clear(&r);
	caa_check(&from, &req, &r);
	strlist_clear(&ids);
}

static void teardown(void)
{
	caa_result_clear(&r);
}

static void setup(void)
{
	for (int i = 0; i < COUNT(zones); i++)
		zones[i] = (struct zone){.security = DNS_SECURE, .negative_ttl = 3600, .positive_ttl = 3600};
	perspectives = 1;
}

/* ---- decisions --------------------------------------------------------------------------------------------------- */

static const struct vector {
	const char *name, *address, *records, *identities;
	enum caa_decision decision;
} vectors[] = {
	{"no record at all allows", "a@example.org", "", "ca.example", CAA_ALLOW},
	{"issue and issuewild do not speak about mail", "a@example.org", "example.org 0 issue \";\" | example.org 0 issuewild \";\"",
		"ca.example", CAA_ALLOW},
	{"our CA is named", "a@example.org", "example.org 0 issuemail \"ca.example\"", "ca.example", CAA_ALLOW},
	{"case counts neither in tags nor in names", "a@EXAMPLE.org", "example.org 0 ISSUEmail \"Ca.ExAmPlE\"", "cA.example", CAA_ALLOW},
	{"a dot at the end is malformed", "a@example.org", "example.org 0 issuemail \"ca.example.\"", "ca.example", CAA_DENY},
	{"another CA is named", "a@example.org", "example.org 0 issuemail \"other.example\"", "ca.example", CAA_DENY},
	{"a CA whose name begins with ours is another one", "a@example.org", "example.org 0 issuemail \"ca.example.net\"", "ca.example",
		CAA_DENY},
	{"one of two records is enough", "a@example.org", "example.org 0 issuemail \"o.example\" | example.org 0 issuemail \"ca.example\"",
		"ca.example", CAA_ALLOW},
	{"a semicolon alone authorizes nobody", "a@example.org", "example.org 0 issuemail \";\"", "ca.example", CAA_DENY},
	{"an empty value authorizes nobody", "a@example.org", "example.org 0 issuemail \"\"", "ca.example", CAA_DENY},
	{"nobody and our CA: our CA", "a@example.org", "example.org 0 issuemail \";\" | example.org 0 issuemail \"ca.example\"",
		"ca.example", CAA_ALLOW},
	{"a parameter without value is malformed", "a@example.org", "example.org 0 issuemail \"ca.example; accounturi\"", "ca.example",
		CAA_DENY},
	{"a parameter without semicolon is malformed", "a@example.org", "example.org 0 issuemail \"ca.example a=b\"", "ca.example",
		CAA_DENY},
	{"a semicolon behind the last parameter is malformed", "a@example.org", "example.org 0 issuemail \"ca.example; a=b;\"",
		"ca.example", CAA_DENY},
	{"a semicolon behind the issuer alone is well-formed", "a@example.org", "example.org 0 issuemail \"ca.example;\"", "ca.example",
		CAA_ALLOW},
	{"a hyphen at a label's end is malformed", "a@example.org", "example.org 0 issuemail \"ca-.example\"", "ca-.example", CAA_DENY},
	{"a record set farther up is found", "a@mail.dept.example.org", "example.org 0 issuemail \"ca.example\"", "ca.example", CAA_ALLOW},
	{"a record set farther up denies", "a@mail.dept.example.org", "example.org 0 issuemail \"other.example\"", "ca.example", CAA_DENY},
	{"the closest record set counts alone", "a@dept.example.org",
		"dept.example.org 0 issuemail \"ca.example\" | example.org 0 issuemail \";\"", "ca.example", CAA_ALLOW},
	{"the closest one counts even without issuemail", "a@dept.example.org",
		"dept.example.org 0 iodef \"mailto:x@y\" | example.org 0 issuemail \";\"", "ca.example", CAA_ALLOW},
	{"the top-level domain is asked too", "a@example.org", "org 0 issuemail \";\"", "ca.example", CAA_DENY},
	{"an unknown critical tag forbids, whatever stands beside it", "a@example.org",
		"example.org 128 tbs \"x\" | example.org 0 issuemail \"ca.example\"", "ca.example", CAA_DENY},
	{"an unknown tag without the critical flag is ignored", "a@example.org", "example.org 0 tbs \"x\"", "ca.example", CAA_ALLOW},
	{"other flag bits are not the critical flag", "a@example.org", "example.org 127 tbs \"x\"", "ca.example", CAA_ALLOW},
	{"the critical flag beside other bits is one", "a@example.org", "example.org 129 tbs \"x\"", "ca.example", CAA_DENY},
	{"the critical flag on a known tag changes nothing", "a@example.org", "example.org 128 issuemail \"ca.example\"", "ca.example",
		CAA_ALLOW},
	{"a critical issue record says nothing about mail", "a@example.org", "example.org 128 issue \"other.example\"", "ca.example",
		CAA_ALLOW},
	{"our account", "a@example.org", "example.org 0 issuemail \"ca.example; accounturi=" ACCOUNT "\"", "ca.example", CAA_ALLOW},
	{"another account", "a@example.org", "example.org 0 issuemail \"ca.example; accounturi=" ACCOUNT "2\"", "ca.example", CAA_DENY},
	{"our account, its tag in upper case", "a@example.org", "example.org 0 issuemail \"ca.example; AccountURI=" ACCOUNT "\"",
		"ca.example", CAA_ALLOW},
	{"our account twice can never be satisfied", "a@example.org",
		"example.org 0 issuemail \"ca.example; accounturi=" ACCOUNT "; accounturi=" ACCOUNT "\"", "ca.example", CAA_DENY},
	{"an account that is no URI", "a@example.org", "example.org 0 issuemail \"ca.example; accounturi=acct1\"", "ca.example", CAA_DENY},
	{"our method is in the list", "a@example.org", "example.org 0 issuemail \"ca.example; validationmethods=dns-01,email-reply-00\"",
		"ca.example", CAA_ALLOW},
	{"our method is not in the list", "a@example.org", "example.org 0 issuemail \"ca.example; validationmethods=email-reply-000\"",
		"ca.example", CAA_DENY},
	{"an empty list of methods", "a@example.org", "example.org 0 issuemail \"ca.example; validationmethods=\"", "ca.example", CAA_DENY},
	{"a list of methods with a hole", "a@example.org", "example.org 0 issuemail \"ca.example; validationmethods=email-reply-00,,x\"",
		"ca.example", CAA_DENY},
	{"two lists of methods can never be satisfied", "a@example.org",
		"example.org 0 issuemail \"ca.example; validationmethods=email-reply-00; validationmethods=email-reply-00\"", "ca.example",
		CAA_DENY},
	{"unknown parameters are ignored", "a@example.org", "example.org 0 issuemail \"ca.example; foo=bar; x=\"", "ca.example", CAA_ALLOW},
	{"a parameter of another CA's record is not ours", "a@example.org",
		"example.org 0 issuemail \"other.example; accounturi=" ACCOUNT "\"", "ca.example", CAA_DENY},
	{"one of the CA's names", "a@example.org", "example.org 0 issuemail \"ca2.example\"", "ca.example,ca2.example", CAA_ALLOW},
	{"a CA without a name is authorized by nobody", "a@example.org", "example.org 0 issuemail \"ca.example\"", "", CAA_DENY},
	{"an internationalized domain is asked as A-labels",
		"a@b\xc3\xbc"
		"cher.example",
		"xn--bcher-kva.example 0 issuemail \"other.example\"", "ca.example", CAA_DENY},
	{"white space around issuer and parameters", "a@example.org", "example.org 0 issuemail \"  ca.example \t ;  a  =  b  ;c=d \"",
		"ca.example", CAA_ALLOW},
	{"the domain is behind the last @", "\"a@b\"@example.org", "example.org 0 issuemail \"other.example\"", "ca.example", CAA_DENY},
	{"an address literal has no domain to ask", "a@[192.0.2.1]", "", "ca.example", CAA_DENY},
};

START_TEST(decides)
{
	const struct vector *v = &vectors[_i];

	check(v->address, v->records, v->identities, ACCOUNT, "email-reply-00");
	ck_assert_msg(r.decision == v->decision, "%s: %d instead of %d: %s", v->name, r.decision, v->decision, r.text);
	ck_assert_msg(r.text[0] != 0, "%s: no text", v->name);
}
END_TEST

START_TEST(climbs_by_the_original_name_and_stops_at_the_first_record_set)
{

	check("a@Mail.Dept.Example.org", "example.org 0 issuemail \"ca.example\" | org 0 issuemail \";\"", "ca.example", ACCOUNT,
		"email-reply-00");
	ck_assert_str_eq(zones[0].asked, "mail.dept.example.org dept.example.org example.org");
	ck_assert_str_eq(r.view->found_at, "example.org");
	zones[0].asked[0] = 0;
	check("a@example.org", "", "ca.example", ACCOUNT, "email-reply-00");
	ck_assert_str_eq(zones[0].asked, "example.org org");
	ck_assert_str_eq(r.view->found_at, "");
}
END_TEST

START_TEST(a_silent_server_is_neither_yes_nor_no)
{

	zones[0].failing = "example.org";
	check("a@mail.example.org", "org 0 issuemail \"ca.example\"", "ca.example", ACCOUNT, "email-reply-00");
	ck_assert_int_eq(r.decision, CAA_UNKNOWN);
	ck_assert_ptr_nonnull(strstr(r.text, "timed out"));
	ck_assert_str_eq(zones[0].asked, "mail.example.org example.org");
}
END_TEST

START_TEST(broken_signatures_are_a_refusal_and_not_no_record)
{

	zones[0].failing = "example.org";
	zones[0].bogus = true;
	check("a@example.org", "org 0 issuemail \"ca.example\"", "ca.example", ACCOUNT, "email-reply-00");
	ck_assert_int_eq(r.decision, CAA_DENY);
	ck_assert_int_eq(r.view->security, DNS_BOGUS);
	ck_assert_ptr_nonnull(strstr(r.text, "signature"));
}
END_TEST

START_TEST(an_answer_is_kept_no_longer_than_the_shortest_ttl_on_the_way)
{

	zones[0].negative_ttl = 60;
	check("a@mail.example.org", "example.org 0 issuemail \"ca.example\"", "ca.example", ACCOUNT, "email-reply-00");
	ck_assert_uint_eq(r.ttl, 60);
	zones[0].positive_ttl = 5;
	check("a@mail.example.org", "example.org 0 issuemail \"ca.example\"", "ca.example", ACCOUNT, "email-reply-00");
	ck_assert_uint_eq(r.ttl, 5);
}
END_TEST

START_TEST(a_refusal_shows_every_record_and_the_line_to_publish)
{

	check("a@mail.example.org",
		"example.org 0 issuemail \"other.example\" | example.org 0 issue \"tls.example\" | example.org 0 iodef \"mailto:x@y\"",
		"ca.example", ACCOUNT, "email-reply-00");
	ck_assert_ptr_nonnull(strstr(r.text, "0 issuemail \"other.example\""));
	ck_assert_ptr_nonnull(strstr(r.text, "0 issue \"tls.example\""));
	ck_assert_ptr_nonnull(strstr(r.text, "0 iodef \"mailto:x@y\""));
	ck_assert_ptr_nonnull(
		strstr(r.text, "example.org. IN CAA 0 issuemail \"ca.example; accounturi=" ACCOUNT "; validationmethods=email-reply-00\""));
}
END_TEST

START_TEST(an_account_or_method_that_is_not_known_yet_gives_no_answer)
{

	check("a@example.org", "example.org 0 issuemail \"ca.example; accounturi=" ACCOUNT "\"", "ca.example", NULL, "email-reply-00");
	ck_assert_int_eq(r.decision, CAA_UNKNOWN);
	check("a@example.org", "example.org 0 issuemail \"ca.example; validationmethods=email-reply-00\"", "ca.example", ACCOUNT, NULL);
	ck_assert_int_eq(r.decision, CAA_UNKNOWN);
	check("a@example.org", "example.org 0 issuemail \"ca.example\"", "ca.example", NULL, NULL);
	ck_assert_int_eq(r.decision, CAA_ALLOW);
}
END_TEST

/* ---- perspectives ------------------------------------------------------------------------------------------------ */

#define FORBIDS "example.org 0 issuemail \"other.example\""
#define ALLOWS "example.org 0 issuemail \"ca.example\""

static void see(const char *first, const char *second, const char *third)
{
	perspectives = third != NULL ? 3 : 2;
	zones[1].records = second;
	zones[2].records = third;
	check("a@example.org", first, "ca.example", ACCOUNT, "email-reply-00");
}

static const struct {
	const char *name, *seen[3];
	enum caa_decision decision;
	bool differ;
} views[] = {
	{"all allow", {ALLOWS, ALLOWS, ALLOWS}, CAA_ALLOW, false},
	{"all forbid", {FORBIDS, FORBIDS, FORBIDS}, CAA_DENY, false},
	{"one forbids", {ALLOWS, FORBIDS, ALLOWS}, CAA_DENY, true},
	{"the last one forbids", {ALLOWS, "", FORBIDS}, CAA_DENY, true},
	{"all allow for different reasons", {ALLOWS, "", ALLOWS}, CAA_ALLOW, true},
	{"the order of records is no difference", {FORBIDS " | " ALLOWS, ALLOWS " | " FORBIDS, NULL}, CAA_ALLOW, false},
};

START_TEST(every_perspective_has_to_allow)
{
	see(views[_i].seen[0], views[_i].seen[1], views[_i].seen[2]);
	ck_assert_msg(r.decision == views[_i].decision && r.differ == views[_i].differ, "%s: %d: %s", views[_i].name, r.decision, r.text);
	ck_assert_uint_eq(r.n_views, perspectives);
}
END_TEST

START_TEST(a_difference_is_told_by_name_and_what_each_saw)
{
	const char *refused, *allowed;

	see(ALLOWS, FORBIDS, ALLOWS);
	refused = strstr(r.text, "Seen from recursion: CAA of example.org (DNSSEC secure): no issuemail record authorizes ca.example");
	allowed = strstr(r.text, "Seen from system, 192.0.2.53: CAA of example.org (DNSSEC secure): an issuemail record authorizes ca.example");
	ck_assert_msg(refused != NULL && allowed != NULL && refused < allowed, "%s", r.text);
	ck_assert_ptr_nonnull(strstr(refused, "0 issuemail \"other.example\""));
	ck_assert_ptr_nonnull(strstr(r.text, "To allow it, publish: example.org. IN CAA 0 issuemail"));
	ck_assert_str_eq(r.view->perspective, "recursion");
	see(FORBIDS, FORBIDS, NULL);
	ck_assert_ptr_nonnull(strstr(r.text, "Seen alike from system, recursion"));
}
END_TEST

START_TEST(the_words_do_not_depend_on_the_order_of_records)
{
	static const char iodef[] = "example.org 0 iodef \"mailto:a@b\"";
	char one[300], other[300], first[sizeof r.text];

	snprintf(one, sizeof one, "%s | %s", FORBIDS, iodef);
	snprintf(other, sizeof other, "%s | %s", iodef, FORBIDS);
	check("a@example.org", one, "ca.example", ACCOUNT, "email-reply-00");
	memcpy(first, r.text, sizeof first);
	check("a@example.org", other, "ca.example", ACCOUNT, "email-reply-00");
	ck_assert_str_eq(r.text, first);
}
END_TEST

START_TEST(a_perspective_without_an_answer_is_neither_yes_nor_no)
{
	zones[1].failing = "example.org";
	see(ALLOWS, "", ALLOWS);
	ck_assert_int_eq(r.decision, CAA_UNKNOWN);
	ck_assert_msg(strstr(r.text, "Seen from recursion: CAA of example.org could not be looked up: timed out") != NULL, "%s", r.text);
	see(FORBIDS, "", ALLOWS);
	ck_assert_msg(r.decision == CAA_DENY, "what one forbids is forbidden, whatever another does not say: %s", r.text);
	zones[0].failing = "example.org";
	zones[2].failing = "org";
	see("", "", "");
	ck_assert_msg(r.decision == CAA_UNKNOWN && !r.differ && r.ttl == 0, "%s", r.text);
	ck_assert_msg(strncmp(r.text, "No DNS perspective had an answer\nSeen from system, recursion: CAA of example.org could", 80) == 0, "%s", r.text);
	zones[0].failing = zones[2].failing = NULL;
	zones[1].bogus = true;
	see(ALLOWS, "", ALLOWS);
	ck_assert_msg(r.decision == CAA_DENY, "broken signatures as seen from one place: %s", r.text);
}
END_TEST

START_TEST(perspectives_are_asked_at_the_same_time)
{
	int64_t began = mono_ms();

	for (int i = 0; i < 3; i++)
		zones[i].slow_ms = 2000;
	see("com 0 issue \"x\"", "", "");
	ck_assert_int_eq(r.decision, CAA_ALLOW);
	/* Two labels: four seconds if at once, twelve if one after the other. */
	ck_assert_int_lt(mono_ms() - began, 11000);
	for (int i = 0; i < 3; i++)
		ck_assert_str_eq(zones[i].asked, "example.org org");
}
END_TEST

START_TEST(the_shortest_ttl_of_those_who_forbid_counts)
{
	zones[0].positive_ttl = 5;
	zones[1].positive_ttl = 60;
	zones[2].positive_ttl = 90;
	see(ALLOWS, FORBIDS, FORBIDS);
	ck_assert_uint_eq(r.ttl, 60);
}
END_TEST

START_TEST(long_stories_fit_and_the_line_to_publish_is_whole)
{
	char longest[3][2048] = {"", "", ""};
	size_t len;

	for (int i = 0; i < 3; i++)
		for (int n = 0; n < 12; n++) {
			len = strlen(longest[i]);
			snprintf(longest[i] + len, sizeof longest[i] - len, "%sexample.org 0 issuemail \"other%d-%d.%0120d.example\"", n ? " | " : "", i, n, 0);
		}
	see(longest[0], longest[1], longest[2]);
	ck_assert_int_eq(r.decision, CAA_DENY);
	len = strlen(r.text);
	ck_assert_uint_lt(len, sizeof r.text);
	ck_assert_uint_gt(len, sizeof r.text - 200);
	for (size_t i = 0; i < 3; i++)
		ck_assert_ptr_nonnull(strstr(r.text, names[i]));
	ck_assert_str_eq(r.text + len - strlen(r.publish), r.publish);
}
END_TEST

/* ---- where to publish -------------------------------------------------------------------------------------------- */

START_TEST(the_line_stands_where_a_record_may_stand)
{
	check("a@mail.dept.example.org", FORBIDS, "ca.example", ACCOUNT, "email-reply-00");
	ck_assert_msg(strncmp(r.publish, "example.org. IN CAA", 19) == 0, "the records there are joined by one: %s", r.publish);
	check("a@mail.dept.example.org", "org 0 issuemail \";\"", "ca.example", ACCOUNT, "email-reply-00");
	ck_assert_msg(strncmp(r.publish, "example.org. IN CAA", 19) == 0, "a top-level domain is not ours: %s", r.publish);
	check("a@mail.example.org", "", "ca.example", NULL, "email-reply-00");
	ck_assert_str_eq(r.publish, "mail.example.org. IN CAA 0 issuemail \"ca.example; validationmethods=email-reply-00\"");
	zones[0].canonical = "target.example.net.";
	check("a@example.org", FORBIDS, "ca.example", NULL, NULL);
	ck_assert_str_eq(r.publish, "target.example.net. IN CAA 0 issuemail \"ca.example\"");
	ck_assert_msg(strstr(r.text, "an alias of target.example.net;") != NULL, "%s", r.text);
	ck_assert_str_eq(r.view->found_at, "example.org");
	ck_assert_str_eq(r.view->owner, "target.example.net");
}
END_TEST

START_TEST(iodef_is_shown)
{
	check("a@example.org",
		FORBIDS " | example.org 0 iodef \"mailto:sec@example.org\" | example.org 0 IODEF \"https://example.org/caa\" | example.org 0 iodef \"javascript:x\"",
		"ca.example", ACCOUNT, "email-reply-00");
	ck_assert_msg(strstr(r.text, "https://example.org/caa, mailto:sec@example.org\n") != NULL, "%s", r.text);
	ck_assert_msg(strstr(r.text, "0 iodef \"javascript:x\": no mailto: or https: URL") != NULL, "%s", r.text);
	ck_assert_uint_eq(r.view->iodef.n, 2);
	ck_assert_uint_eq(r.view->records.n, 4);
}
END_TEST

/* ---- hostile records --------------------------------------------------------------------------------------------- */

static const struct {
	const char *name, *bytes;
	size_t len;
	enum caa_decision decision;
} raw[] = {
	{"no octet at all", "", 0, CAA_DENY},
	{"flags alone", "\0", 1, CAA_DENY},
	{"an empty tag", "\0\0", 2, CAA_DENY},
	{"a tag longer than the record", "\0\x0aissuemail", 10, CAA_DENY},
	{"a tag without a value", "\0\x09issuemail", 11, CAA_DENY},
	{"NUL inside the issuer", "\0\x09issuemailca.example\0.net", 26, CAA_DENY},
	{"NUL inside the tag", "\0\x0aissuemail\0x", 13, CAA_ALLOW},
	{"a control character in a value", "\0\x09issuemailca.example; a=\x01", 26, CAA_DENY},
	{"bytes over 127 in a value", "\0\x09issuemailca.example; a=\xc3\xbc", 27, CAA_DENY},
};

START_TEST(hostile_records)
{
	struct strlist ids = {0};
	struct caa_request req = {.address = "a@example.org", .identities = &ids, .account_uri = ACCOUNT, .method = "email-reply-00"};
	unsigned char *copy = malloc(raw[_i].len + 1); /* of the exact size, so that the sanitizer sees a read beyond */
	struct dns_rdata rdata;
	struct buf why = BUF_INIT;
	enum caa_decision d;

	copy = realloc(copy, raw[_i].len > 0 ? raw[_i].len : 1);
	memcpy(copy, raw[_i].bytes, raw[_i].len);
	rdata = (struct dns_rdata){copy, raw[_i].len};
	ck_assert(strlist_add(&ids, "ca.example"));
	d = caa_decide(&rdata, 1, &req, &why);
	ck_assert_msg(d == raw[_i].decision, "%s: %d: %s", raw[_i].name, d, buf_str(&why));
	for (size_t i = 0; i < why.len; i++)
		ck_assert_msg(why.data[i] == '\n' || (why.data[i] >= 0x20 && why.data[i] < 0x7f), "%s: unescaped octet", raw[_i].name);
	strlist_clear(&ids);
	buf_clear(&why);
	free(copy);
}
END_TEST

START_TEST(a_thousand_records_are_shown_in_part_and_judged_in_full)
{
	enum { N = 1000 };
	static const unsigned char other[] = "\0\x09issuemailother.example", ours[] = "\0\x09issuemailca.example";
	struct dns_rdata *records = calloc(N, sizeof *records);
	struct strlist ids = {0};
	struct caa_request req = {.address = "a@example.org", .identities = &ids};
	struct buf why = BUF_INIT;

	ck_assert(strlist_add(&ids, "ca.example"));
	for (size_t i = 0; i < N; i++)
		records[i] = (struct dns_rdata){other, sizeof other - 1};
	records[N - 1] = (struct dns_rdata){ours, sizeof ours - 1};
	ck_assert_int_eq(caa_decide(records, N, &req, &why), CAA_ALLOW);
	ck_assert_uint_lt(why.len, 1500);
	ck_assert_ptr_nonnull(strstr(buf_str(&why), "more"));
	buf_clear(&why);
	strlist_clear(&ids);
	free(records);
}
END_TEST

/* ---- the project's vectors, when they are at hand ---------------------------------------------------------------- */

static FILE *open_vectors(void)
{
	const char *data = getenv("ENROLL_TESTDATA"), *src = getenv("srcdir");
	char path[4096];

	if (data != NULL)
		snprintf(path, sizeof path, "%s/caa/decisions.tsv", data);
	else
		snprintf(path, sizeof path, "%s/../shared/testdata/caa/decisions.tsv", src != NULL ? src : ".");
	return fopen(path, "r");
}

START_TEST(shared_vectors)
{
	FILE *f = open_vectors();
	char *line = NULL;
	size_t size = 0, rows = 0;

	if (f == NULL) {
		printf("skipped: shared CAA vectors, because caa/decisions.tsv is not there (set ENROLL_TESTDATA)\n");
		return;
	}
	while (getline(&line, &size, f) > 0) {
		char *p = line, *field[7];

		if (line[0] == '#')
			continue;
		for (int i = 0; i < 7; i++)
			field[i] = strsep(&p, "\t\n");
		if (field[6] == NULL)
			continue;
		check(field[1], field[2], field[3], field[4], field[5]);
		ck_assert_msg((r.decision == CAA_ALLOW) == (strcmp(field[6], "allow") == 0) && r.decision != CAA_UNKNOWN, "%s: %s",
			field[0], r.text);
		rows++;
	}
	ck_assert_uint_gt(rows, 30);
	free(line);
	fclose(f);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("caa");
	TCase *t = tcase_create("caa");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, decides, 0, COUNT(vectors));
	tcase_add_loop_test(t, hostile_records, 0, COUNT(raw));
	tcase_add_test(t, climbs_by_the_original_name_and_stops_at_the_first_record_set);
	tcase_add_test(t, a_silent_server_is_neither_yes_nor_no);
	tcase_add_test(t, broken_signatures_are_a_refusal_and_not_no_record);
	tcase_add_test(t, an_answer_is_kept_no_longer_than_the_shortest_ttl_on_the_way);
	tcase_add_test(t, a_refusal_shows_every_record_and_the_line_to_publish);
	tcase_add_test(t, an_account_or_method_that_is_not_known_yet_gives_no_answer);
	tcase_add_test(t, a_thousand_records_are_shown_in_part_and_judged_in_full);
	tcase_add_loop_test(t, every_perspective_has_to_allow, 0, COUNT(views));
	tcase_add_test(t, a_difference_is_told_by_name_and_what_each_saw);
	tcase_add_test(t, the_words_do_not_depend_on_the_order_of_records);
	tcase_add_test(t, a_perspective_without_an_answer_is_neither_yes_nor_no);
	tcase_add_test(t, perspectives_are_asked_at_the_same_time);
	tcase_add_test(t, the_shortest_ttl_of_those_who_forbid_counts);
	tcase_add_test(t, long_stories_fit_and_the_line_to_publish_is_whole);
	tcase_add_test(t, the_line_stands_where_a_record_may_stand);
	tcase_add_test(t, iodef_is_shown);
	tcase_add_test(t, shared_vectors);
	tcase_set_timeout(t, 60);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
