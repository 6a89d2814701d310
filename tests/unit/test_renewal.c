/*
 * tests/unit/test_renewal.c - enroll/renewal.c with CAs that this file plays: who is asked for a window, and who is left in peace.
 */
#include "config.h"

#include "enroll/renewal.h"
#include "tests/unit/test_store.h"

#define LIFE 86400
#define LATER (7 * 3600) /* by then every new certificate's window is asked for */

static struct enroll_ca cas[2];
static struct enroll_parts parts;
static unsigned asked[2];
static bool down[2];

/* What stands in the place of ca.c. */
bool ca_renewal(struct ca *ca, const void *der, size_t len, struct ca_renewal *out, struct err *e)
{
	size_t i = (struct ca *)&cas[1] == ca;

	(void)der;
	(void)len;
	asked[i]++;
	*out = (struct ca_renewal){.known = !down[i], .start = time(NULL) + 40000, .end = time(NULL) + 50000};
	return !down[i] || err_set(e, ERR_TEMPORARY, "ask for renewal window", "ca", "it does not answer");
}

static void start(void)
{
	setup();
	memset(asked, 0, sizeof asked);
	down[0] = down[1] = false;
	parts = (struct enroll_parts){.store = enrolld, .cas = cas, .n_cas = 2};
	for (size_t i = 0; i < 2; i++) {
		atomic_store(&cas[i].quiet_ms, 0);
		cas[i].ca = (struct ca *)&cas[i];
	}
}

/* The certificate of an address is due to be looked at. */
static void look(const char *address, size_t ca, struct renewal_plan *out)
{
	char hex[65];
	struct store_certificate_list l = {0};
	int64_t id;

	memset(hex, address[0], 64);
	hex[64] = '\0';
	id = store_fixture_activate(enrolld, address, "wrapped", 7, hex, "der", 3, NULL, 0);
	OK(store_certificates_of(enrolld, id, &l, &err));
	ck_assert_uint_eq(l.n, 1);
	l.v[0].not_before = l.v[0].obtained_at = time(NULL);
	l.v[0].not_after = time(NULL) + LIFE;
	OK(renewal_plan(&parts, &cas[ca], &l.v[0], time(NULL), out, &err)); /* sets the time of its first look */
	OK(renewal_plan(&parts, &cas[ca], &l.v[0], time(NULL) + LATER, out, &err));
	store_certificate_list_clear(&l);
}

START_TEST(a_ca_that_is_down_is_left_in_peace_and_the_others_are_asked)
{
	struct renewal_plan plan;

	down[0] = true;
	look("alice@corp.example", 0, &plan);
	ck_assert_uint_eq(asked[0], 1);
	look("bob@corp.example", 0, &plan);
	ck_assert_msg(asked[0] == 1, "not once for each certificate");
	ck_assert_int_gt(plan.look, time(NULL) + LATER);
	look("carol@corp.example", 1, &plan);
	ck_assert_msg(asked[1] == 1, "the other one is well");
	ck_assert(plan.at >= time(NULL) + 39990 && plan.at <= time(NULL) + 50010);
	look("dave@corp.example", 0, &plan);
	ck_assert_msg(asked[0] == 1, "that the other one answered says nothing of this one");
	/* A minute later it is asked again. */
	down[0] = false;
	atomic_store(&cas[0].quiet_ms, mono_ms() - 1);
	look("erin@corp.example", 0, &plan);
	ck_assert_uint_eq(asked[0], 2);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("renewal");
	TCase *t = tcase_create("quiet");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, start, teardown);
	tcase_add_test(t, a_ca_that_is_down_is_left_in_peace_and_the_others_are_asked);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
