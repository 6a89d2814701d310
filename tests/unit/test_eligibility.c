/*
 * tests/unit/test_eligibility.c - who may have a certificate now, and what the admin is told otherwise.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "policy/policy.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define NOW 1795000000

/* A case starts from a user who may, in mode enroll, and changes something. */
struct given {
	struct config c;
	struct eligibility_facts f;
	struct directory_person person;
	bool excluded; /* by a rule */
	char *domains[1], *pilots[1];
	char group[32], given_name[16], surname[16], organization[16], identifier[32], domain[16], pilot[32];
};

static void given_init(struct given *g)
{
	memset(g, 0, sizeof *g);
	snprintf(g->domain, sizeof g->domain, "example.org");
	snprintf(g->pilot, sizeof g->pilot, "alice@example.org");
	snprintf(g->group, sizeof g->group, "cn=pilot,dc=example");
	snprintf(g->given_name, sizeof g->given_name, "Alice");
	snprintf(g->surname, sizeof g->surname, "Doe");
	snprintf(g->organization, sizeof g->organization, "Example AG");
	snprintf(g->identifier, sizeof g->identifier, "VATDE-123456789");
	g->domains[0] = g->domain;
	g->pilots[0] = g->pilot;
	g->c.mode = MODE_ENROLL;
	g->c.domains = (struct strlist){g->domains, 1};
	g->c.cap_per_day = 50;
	g->c.certificate.validation = VALIDATION_MAILBOX;
	g->c.certificate.generation = GENERATION_STRICT;
	g->person = (struct directory_person){.given_name = g->given_name, .surname = g->surname, .organization = g->organization,
		.organization_identifier = g->identifier};
	g->f = (struct eligibility_facts){
		.address = "alice@example.org", .person = &g->person, .found = DIRECTORY_ONE, .has_directory = true, .now = NOW};
}

static void as_is(struct given *g)
{
}
static void foreign_domain(struct given *g)
{
	g->f.address = "alice@example.net";
}
static void sub_domain(struct given *g)
{
	g->f.address = "alice@sub.example.org";
}
static void no_address(struct given *g)
{
	g->f.address = "alice";
}
static void upper_domain(struct given *g)
{
	g->f.address = "alice@EXAMPLE.ORG";
}
static void nobody(struct given *g)
{
	g->f.found = DIRECTORY_NONE;
	g->f.person = NULL;
}
static void several(struct given *g)
{
	g->f.found = DIRECTORY_SEVERAL;
	g->f.person = NULL;
}
static void lost_person(struct given *g)
{
	g->f.person = NULL;
}
static void no_directory(struct given *g)
{
	g->f.has_directory = false;
	g->f.found = DIRECTORY_NONE;
	g->f.person = NULL;
}
static void disabled(struct given *g)
{
	g->person.disabled = true;
}
static void pilot_other(struct given *g)
{
	snprintf(g->pilot, sizeof g->pilot, "bob@example.org");
	g->c.pilot_addresses = (struct strlist){g->pilots, 1};
}
static void pilot_in(struct given *g)
{
	g->c.pilot_addresses = (struct strlist){g->pilots, 1};
	g->f.address = "Alice@Example.org";
}
static void pilot_group_out(struct given *g)
{
	g->c.pilot_group = g->group;
}
static void pilot_group_in(struct given *g)
{
	pilot_other(g);
	g->c.pilot_group = g->group;
	g->f.in_pilot_group = true;
}
static void group_without_configuration(struct given *g)
{
	pilot_other(g);
	g->f.in_pilot_group = true;
}
static void observe(struct given *g)
{
	g->c.mode = MODE_OBSERVE;
}
static void sign_mode(struct given *g)
{
	g->c.mode = MODE_SIGN;
}
static void paused(struct given *g)
{
	g->f.paused = true;
}
static void cap_reached(struct given *g)
{
	g->f.orders_today = 50;
}
static void cap_nearly(struct given *g)
{
	g->f.orders_today = 49;
}
static void excluded(struct given *g)
{
	g->excluded = true;
}
static void total_reached(struct given *g)
{
	g->c.cap_total = 100;
	g->f.enrolled = 100;
}
static void total_reached_by_itself(struct given *g)
{
	total_reached(g);
	g->f.has_certificate = true;
}
static void no_cap(struct given *g)
{
	g->c.cap_per_day = 0;
	g->f.orders_today = 100000;
}
static void sponsor(struct given *g)
{
	g->c.certificate.validation = VALIDATION_SPONSOR;
}
static void role_as_sponsor(struct given *g)
{
	sponsor(g);
	g->person.given_name = NULL;
	g->person.surname = NULL;
}
static void role_as_mailbox(struct given *g)
{
	g->person.given_name = NULL;
	g->person.surname = NULL;
}
static void sponsor_without_organization(struct given *g)
{
	sponsor(g);
	g->person.organization = NULL;
}
static void sponsor_without_directory(struct given *g)
{
	sponsor(g);
	no_directory(g);
}
static void sponsor_without_identifier(struct given *g)
{
	sponsor(g);
	g->person.organization_identifier = NULL;
}
static void sponsor_with_broken_identifier(struct given *g)
{
	sponsor(g);
	snprintf(g->identifier, sizeof g->identifier, "HRB 4711");
}
static void sponsor_by_configuration(struct given *g)
{
	sponsor_without_organization(g);
	g->person.organization_identifier = NULL;
	g->c.certificate.organization = g->organization;
	g->c.certificate.organization_identifier = g->identifier;
}
static void shared_as_sponsor(struct given *g)
{
	sponsor(g);
	g->person.kind = DIRECTORY_SHARED;
}
static void room_as_individual(struct given *g)
{
	g->c.certificate.validation = VALIDATION_INDIVIDUAL;
	g->person.kind = DIRECTORY_RESOURCE;
}
static void shared_as_mailbox(struct given *g)
{
	g->person.kind = DIRECTORY_SHARED;
}
static void shared_as_organization(struct given *g)
{
	g->c.certificate.validation = VALIDATION_ORGANIZATION;
	g->person.kind = DIRECTORY_SHARED;
}
static void organization_without_directory(struct given *g)
{
	no_directory(g);
	g->c.certificate.validation = VALIDATION_ORGANIZATION;
}
static void organization_by_configuration(struct given *g)
{
	sponsor_by_configuration(g);
	organization_without_directory(g);
}
static void longest_local_part(struct given *g)
{
	g->f.address = "a123456789b123456789c123456789d123456789e123456789f123456789g123@example.org";
}
static void too_long_local_part(struct given *g)
{
	g->f.address = "a123456789b123456789c123456789d123456789e123456789f123456789g1234@example.org";
}
static void disabled_and_paused(struct given *g)
{
	disabled(g);
	paused(g);
}

static const struct {
	const char *name;
	void (*change)(struct given *);
	enum eligibility answer;
	enum err_class class;
	time_t retry_at;
	const char *says;
} cases[] = {
	{"a user of our domain may", as_is, ELIGIBLE, ERR_NONE, 0, NULL},
	{"a domain that is not ours", foreign_domain, NOT_ELIGIBLE, ERR_CONFIG, 0, "domains"},
	{"a subdomain that is not listed", sub_domain, NOT_ELIGIBLE, ERR_CONFIG, 0, "domains"},
	{"something that is no address", no_address, NOT_ELIGIBLE, ERR_POLICY, 0, ""},
	{"an upper-case domain is the same domain", upper_domain, ELIGIBLE, ERR_NONE, 0, NULL},
	{"an address that no entry has", nobody, NOT_ELIGIBLE, ERR_POLICY, 0, "enrollctl retry"},
	{"an address that several entries have", several, NOT_ELIGIBLE, ERR_POLICY, 0, "owned by nobody"},
	{"one entry found, but none given", lost_person, NOT_ELIGIBLE, ERR_BUG, 0, ""},
	{"no directory, no question", no_directory, ELIGIBLE, ERR_NONE, 0, NULL},
	{"a disabled person", disabled, NOT_ELIGIBLE, ERR_POLICY, 0, "disabled"},
	{"not in the pilot", pilot_other, NOT_ELIGIBLE, ERR_POLICY, 0, "pilot"},
	{"in the pilot, written in other case", pilot_in, ELIGIBLE, ERR_NONE, 0, NULL},
	{"not in the pilot group", pilot_group_out, NOT_ELIGIBLE, ERR_POLICY, 0, "pilot"},
	{"in the pilot group, not among the addresses", pilot_group_in, ELIGIBLE, ERR_NONE, 0, NULL},
	{"a group that nobody configured lets nobody in", group_without_configuration, NOT_ELIGIBLE, ERR_POLICY, 0, "pilot"},
	{"observe mode orders nothing", observe, NOT_ELIGIBLE, ERR_POLICY, 0, "observe"},
	{"sign mode enrolls as well", sign_mode, ELIGIBLE, ERR_NONE, 0, NULL},
	{"paused by an admin", paused, ELIGIBLE_LATER, ERR_POLICY, NOW + 60, "enrollctl resume"},
	{"the day's cap is reached", cap_reached, ELIGIBLE_LATER, ERR_POLICY, NOW + 3600, "cap-per-day is 50"},
	{"one order is left of the day's cap", cap_nearly, ELIGIBLE, ERR_NONE, 0, NULL},
	{"a rule says none", excluded, NOT_ELIGIBLE, ERR_POLICY, 0, "rule \"robots\""},
	{"the total cap is reached", total_reached, ELIGIBLE_LATER, ERR_POLICY, NOW + 3600, "cap-total is 100"},
	{"who counts in the total already is renewed", total_reached_by_itself, ELIGIBLE, ERR_NONE, 0, NULL},
	{"no cap", no_cap, ELIGIBLE, ERR_NONE, 0, NULL},
	{"a person by name", sponsor, ELIGIBLE, ERR_NONE, 0, NULL},
	{"a role mailbox gets no certificate of a person", role_as_sponsor, NOT_ELIGIBLE, ERR_POLICY, 0, "role and shared mailboxes"},
	{"a role mailbox gets one of a mailbox", role_as_mailbox, ELIGIBLE, ERR_NONE, 0, NULL},
	{"a sponsor that nobody names", sponsor_without_organization, NOT_ELIGIBLE, ERR_POLICY, 0, "certificate.organization"},
	{"a sponsor without an identifier", sponsor_without_identifier, NOT_ELIGIBLE, ERR_POLICY, 0, "certificate.organization-identifier"},
	{"a sponsor whose identifier is none", sponsor_with_broken_identifier, NOT_ELIGIBLE, ERR_POLICY, 0, "has not the form"},
	{"a sponsor that the configuration names", sponsor_by_configuration, ELIGIBLE, ERR_NONE, 0, NULL},
	{"a shared mailbox with the names of a person", shared_as_sponsor, NOT_ELIGIBLE, ERR_POLICY, 0, "role or shared mailbox"},
	{"a room with the names of a person", room_as_individual, NOT_ELIGIBLE, ERR_POLICY, 0, "room or equipment"},
	{"a shared mailbox gets one of a mailbox", shared_as_mailbox, ELIGIBLE, ERR_NONE, 0, NULL},
	{"a shared mailbox gets one of its organization", shared_as_organization, ELIGIBLE, ERR_NONE, 0, NULL},
	{"an organization that nobody names", organization_without_directory, NOT_ELIGIBLE, ERR_CONFIG, 0, "certificate.organization"},
	{"an organization that the configuration names needs no directory", organization_by_configuration, ELIGIBLE, ERR_NONE, 0, NULL},
	{"64 octets before the @", longest_local_part, ELIGIBLE, ERR_NONE, 0, NULL},
	{"65 octets before the @", too_long_local_part, NOT_ELIGIBLE, ERR_POLICY, 0, "more than 64 octets"},
	{"a person's certificate without a directory", sponsor_without_directory, NOT_ELIGIBLE, ERR_CONFIG, 0, "directory.urls"},
	{"what will not pass by itself is said first", disabled_and_paused, NOT_ELIGIBLE, ERR_POLICY, 0, "disabled"},
};

static char robots[] = "robots", none[] = CERTIFICATE_NONE;
static const struct rule no_certificate = {.name = robots, .certificate = none};

static enum eligibility decide(struct given *g, struct err *err)
{
	struct decision d;

	rules_follow(&g->c, g->excluded ? &no_certificate : NULL, &d);
	return eligibility_decide(&g->c, &d, &g->f, err);
}

START_TEST(decides)
{
	struct given g;
	struct err err = ERR_INIT;
	enum eligibility answer;

	given_init(&g);
	cases[_i].change(&g);
	answer = decide(&g, &err);
	ck_assert_msg(answer == cases[_i].answer, "%s: %d: %s", cases[_i].name, answer, err.text);
	ck_assert_msg(err.class == cases[_i].class, "%s: class %s", cases[_i].name, err_class_name(err.class));
	ck_assert_msg(err.retry_at == cases[_i].retry_at, "%s: retry at %lld", cases[_i].name, (long long)err.retry_at);
	if (cases[_i].says != NULL) {
		ck_assert_msg(strstr(err.text, cases[_i].says) != NULL, "%s: \"%s\"", cases[_i].name, err.text);
		ck_assert_str_eq(err.subject, g.f.address);
	}
}
END_TEST

START_TEST(no_sentence_is_needed_to_decide)
{
	struct given g;

	given_init(&g);
	cases[_i].change(&g);
	ck_assert_int_eq(decide(&g, NULL), cases[_i].answer);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("eligibility");
	TCase *t = tcase_create("eligibility");
	SRunner *r;
	int failed;

	tcase_add_loop_test(t, decides, 0, COUNT(cases));
	tcase_add_loop_test(t, no_sentence_is_needed_to_decide, 0, COUNT(cases));
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
