/*
 * tests/unit/test_store_renewals.c - the CA's window, late renewals, certificates found revoked, and campaigns: nobody is replaced twice.
 */
#include "config.h"

#include "tests/unit/test_store.h"

#define ALICE "alice@corp.example"
#define BOB "bob@corp.example"
#define CAROL "carol@corp.example"

/* The fixture's certificate has the serial number 01, and a life of its own. */
static int64_t activate(const char *address, char spki)
{
	char hex[65];

	memset(hex, spki, 64);
	hex[64] = '\0';
	return store_fixture_activate(enrolld, address, "wrapped", 7, hex, "der", 3, NULL, 0);
}

static void certificate_of(int64_t id, struct store_certificate *out)
{
	struct store_certificate_list l;

	OK(store_certificates_of(enrolld, id, &l, &err));
	ck_assert_uint_ge(l.n, 1);
	*out = l.v[l.n - 1];
	memset(&l.v[l.n - 1], 0, sizeof(l.v[0]));
	store_certificate_list_clear(&l);
}

static int64_t certificate_id(int64_t id)
{
	struct store_certificate c;
	int64_t result;

	certificate_of(id, &c);
	result = c.id;
	store_certificate_clear(&c);
	return result;
}

/* A worker brings the row a new certificate. */
static void renewed(int64_t id, char spki)
{
	struct enrollment row;
	struct store_certificate c;
	struct store_key key = {.wrapped = (const unsigned char *)"w", .wrapped_len = 1};
	struct store_step step = {.row = &row, .actor = "enrolld", .new_key = &key, .certificate = &c};

	store_fixture_claim(enrolld, id, &row);
	certificate_of(id, &c);
	c.id = 0;
	c.key_id = 0;
	memset(key.spki_sha256, spki, 64);
	free(c.status);
	c.status = strdup("active");
	row.state = ENROLLMENT_ACTIVE;
	ck_assert(commit(&step));
	store_certificate_clear(&c);
	enrollment_clear(&row);
}

START_TEST(a_window_is_kept_and_how_often_it_was_urged_is_known)
{
	int64_t id = activate(ALICE, 'a'), first = certificate_id(id);
	char text[] = "https://ca.example/why";
	struct store_renewal r, put = {.certificate_id = first, .renew_at = 1000, .window_start = 900, .window_end = 1100, .explanation = text, .ask_at = 5, .urged = true};

	OK(store_renewal_get(enrolld, first, &r, &err));
	ck_assert(r.renew_at == 0 && r.ask_at == 0 && !r.urged);
	OK(store_renewal_put(enrolld, &put, &err));
	put.ask_at = 6;
	OK(store_renewal_put(enrolld, &put, &err));
	OK(store_renewal_get(enrolld, first, &r, &err));
	ck_assert(r.renew_at == 1000 && r.window_start == 900 && r.window_end == 1100 && r.ask_at == 6 && r.urged && r.urged_before == 0);
	ck_assert_str_eq(r.explanation, text);
	store_renewal_clear(&r);
	renewed(id, 'b');
	OK(store_renewal_get(enrolld, certificate_id(id), &r, &err));
	ck_assert(r.renew_at == 0 && r.urged_before == 1);
	ck_assert_msg(!store_renewal_put(outbound, &put, &err), "the outbound instance has no business here");
}
END_TEST

static unsigned late_stage(time_t now)
{
	struct store_late_list l;
	unsigned stage;

	OK(store_renewals_late(enrolld, now, 10, &l, &err));
	stage = l.n ? l.v[0].stage : 0;
	if (l.n) {
		ck_assert_str_eq(l.v[0].address, ALICE);
		OK(store_renewal_late_told(enrolld, &l.v[0], "late", &err));
	}
	store_late_list_clear(&l);
	return stage;
}

START_TEST(a_late_renewal_is_told_once_a_stage)
{
	int64_t id = activate(ALICE, 'a');
	struct store_certificate c;
	struct store_renewal r = {0};
	time_t due;
	bool changed;

	certificate_of(id, &c);
	due = time(NULL) + 10;
	r.certificate_id = c.id;
	r.renew_at = due;
	OK(store_renewal_put(enrolld, &r, &err));
	ck_assert_msg(late_stage(c.not_after - 1) == 0, "an active row renews by itself");
	OK(store_enrollment_admin(enrolld, id, ENROLLMENT_ADMIN_RENEW, "enrolld", "due", &changed, &err));
	ck_assert_uint_eq(late_stage(due + (c.not_after - due) / 3), 0);
	ck_assert_uint_eq(late_stage(due + (c.not_after - due) / 2 + 1), 1);
	ck_assert_uint_eq(late_stage(due + (c.not_after - due) / 2 + 2), 0);
	ck_assert_uint_eq(late_stage(due + (c.not_after - due) * 8 / 10), 2);
	ck_assert_uint_eq(late_stage(due + (c.not_after - due) * 95 / 100), 3);
	ck_assert_uint_eq(late_stage(c.not_after), 4);
	ck_assert_uint_eq(late_stage(c.not_after + 1000), 0);
	ck_assert_uint_eq(count_events(id, "renewal_late"), 4);
	store_certificate_clear(&c);
}
END_TEST

START_TEST(one_found_revoked_signs_no_more_and_only_the_directory_has_to_follow)
{
	int64_t id = activate(ALICE, 'a');
	struct store_found_revoked what = {.certificate_id = certificate_id(id), .replace = true, .text = "by CRL"};
	struct store_revocation r;
	struct store_credential c;
	const char *why;
	bool news, found;

	OK(store_found_revoked(enrolld, &what, &news, &err));
	ck_assert(news);
	OK(store_credential_find(outbound, ALICE, &c, &found, &why, &err));
	ck_assert(!found);
	store_credential_clear(&c);
	ck_assert_int_eq(state_of(id), ENROLLMENT_RENEWING);
	OK(store_revocation_claim(enrolld, REVOCATION_CA, "w", time(NULL) + 86400, 60, &r, &found, &err));
	ck_assert_msg(!found, "the CA has done its part");
	OK(store_revocation_claim(enrolld, REVOCATION_DIRECTORY, "w", time(NULL) + 86400, 60, &r, &found, &err));
	ck_assert(found);
	store_revocation_clear(&r);
	OK(store_found_revoked(enrolld, &what, &news, &err));
	ck_assert(!news);
}
END_TEST

START_TEST(looks_are_spread_and_each_is_taken_once_a_period)
{
	struct store_certificate c;
	time_t now = time(NULL);
	bool found;
	int n = 0;

	activate(ALICE, 'a');
	activate(BOB, 'b');
	OK(store_watch_plan(enrolld, "", now, 1000, &err));
	OK(store_watch_claim(enrolld, "", now, 1000, &c, &found, &err));
	ck_assert(!found);
	for (int i = 0; i < 5; i++) {
		OK(store_watch_claim(enrolld, "", now + 1001, 1000, &c, &found, &err));
		n += found;
		store_certificate_clear(&c);
	}
	ck_assert_int_eq(n, 2);
	OK(store_watch_claim(enrolld, "other", now + 5000, 1000, &c, &found, &err));
	ck_assert(!found);
	/* A shorter period counts at once. */
	OK(store_watch_plan(enrolld, "", now, 10, &err));
	OK(store_watch_claim(enrolld, "", now + 11, 10, &c, &found, &err));
	ck_assert(found);
	store_certificate_clear(&c);
}
END_TEST

/* ---- campaigns ---- */

static bool create(const struct store_selection *what, const char *revoke, size_t *n)
{
	char words[] = "all", by[] = "admin:root", reason[32];
	struct store_campaign c = {.selection = words, .created_by = by, .deadline = time(NULL) + 3600};

	if (revoke) {
		snprintf(reason, sizeof(reason), "%s", revoke);
		c.revoke = reason;
	}
	return store_campaign_create(enrolld, what, &c, n, &err);
}

static void newest(struct store_campaign *c)
{
	bool found;

	OK(store_campaign_get(enrolld, c, &found, &err));
	ck_assert(found);
}

static size_t begin(const struct store_campaign *c, size_t n)
{
	size_t begun;

	OK(store_campaign_begin(enrolld, c->id, "", n, &begun, &err));
	return begun;
}

static void check_counts(size_t pending, size_t begun, size_t done, size_t skipped)
{
	struct store_campaign c;

	newest(&c);
	ck_assert_msg(c.pending == pending && c.begun == begun && c.done == done && c.skipped == skipped, "%zu pending, %zu begun, %zu done, %zu skipped", c.pending,
		c.begun, c.done, c.skipped);
	store_campaign_clear(&c);
}

static void follow(const struct store_campaign *c, bool end)
{
	bool ended;

	OK(store_campaign_follow(enrolld, c, 5, &ended, &err));
	ck_assert(ended == end);
}

START_TEST(nobody_is_replaced_twice_and_what_is_newer_is_left_alone)
{
	int64_t alice = activate(ALICE, 'a'), bob = activate(BOB, 'b'), carol = activate(CAROL, 'c');
	struct store_selection all = {0};
	struct store_campaign c;
	bool changed;
	size_t n;

	OK(create(&all, NULL, &n));
	ck_assert_uint_eq(n, 3);
	ck_assert_msg(!create(&all, NULL, &n), "one at a time");
	ck_assert_int_eq(err.class, ERR_POLICY);
	newest(&c);
	/* Carol's is replaced by somebody else before her turn. */
	OK(store_enrollment_admin(enrolld, carol, ENROLLMENT_ADMIN_RENEW, "helpdesk:h", "rotate", &changed, &err));
	renewed(carol, 'd');
	ck_assert_uint_eq(begin(&c, 1), 1);
	check_counts(2, 1, 0, 0);
	ck_assert_int_eq(state_of(alice), ENROLLMENT_RENEWING);
	follow(&c, false);
	check_counts(1, 1, 0, 1);
	ck_assert_uint_eq(begin(&c, 10), 1);
	ck_assert_uint_eq(begin(&c, 10), 0);
	renewed(alice, 'e');
	renewed(bob, 'f');
	ck_assert_uint_eq(begin(&c, 10), 0);
	follow(&c, true);
	check_counts(0, 0, 2, 1);
	ck_assert_uint_eq(count_events(alice, "renew"), 1);
	ck_assert_int_eq(state_of(alice), ENROLLMENT_ACTIVE);
	store_campaign_clear(&c);
	OK(create(&all, NULL, &n));
	ck_assert_uint_eq(n, 3);
}
END_TEST

START_TEST(paused_and_cancelled_nothing_begins)
{
	int64_t alice = activate(ALICE, 'a');
	struct store_selection all = {0};
	struct store_campaign c;
	bool changed;
	size_t n;

	OK(create(&all, NULL, &n));
	newest(&c);
	OK(store_campaign_set(enrolld, c.id, "paused", "admin:root", &changed, &err));
	ck_assert(changed);
	ck_assert_uint_eq(begin(&c, 1), 0);
	OK(store_campaign_set(enrolld, c.id, "running", "admin:root", &changed, &err));
	OK(store_campaign_set(enrolld, c.id, "cancelled", "admin:root", &changed, &err));
	ck_assert(changed);
	ck_assert_uint_eq(begin(&c, 1), 0);
	OK(store_campaign_set(enrolld, c.id, "running", "admin:root", &changed, &err));
	ck_assert_msg(!changed, "what is over stays so");
	ck_assert_int_eq(state_of(alice), ENROLLMENT_ACTIVE);
	store_campaign_clear(&c);
}
END_TEST

START_TEST(a_row_that_a_worker_has_comes_next_time_and_one_that_left_is_skipped)
{
	int64_t alice = activate(ALICE, 'a'), bob = activate(BOB, 'b');
	struct store_selection all = {0};
	struct enrollment row;
	struct store_step step = {.row = &row, .actor = "enrolld"};
	struct store_campaign c;
	bool changed;
	size_t n;

	OK(create(&all, NULL, &n));
	newest(&c);
	store_fixture_claim(enrolld, alice, &row);
	ck_assert_uint_eq(begin(&c, 5), 1);
	check_counts(1, 1, 0, 0);
	ck_assert(commit(&step));
	OK(store_enrollment_admin(enrolld, alice, ENROLLMENT_ADMIN_DISABLE, "admin:root", "left", &changed, &err));
	follow(&c, false);
	check_counts(0, 1, 0, 1);
	renewed(bob, 'd');
	follow(&c, true);
	enrollment_clear(&row);
	store_campaign_clear(&c);
}
END_TEST

START_TEST(who_left_holds_up_nobody_and_has_their_turn_when_back)
{
	struct store_selection all = {0};
	struct store_campaign c;
	bool changed;
	size_t n;

	activate(ALICE, 'a');
	activate(BOB, 'b');
	OK(store_departure_note(enrolld, ALICE, DEPARTURE_DISABLED, "enrolld", "left", &changed, &err));
	OK(create(&all, NULL, &n));
	ck_assert_uint_eq(n, 1);
	newest(&c);
	OK(store_departure_note(enrolld, BOB, DEPARTURE_GONE, "enrolld", "left", &changed, &err));
	ck_assert_uint_eq(begin(&c, 5), 0);
	check_counts(1, 0, 0, 0);
	OK(store_departure_undo(enrolld, BOB, "enrolld", "back", &changed, &err));
	ck_assert_uint_eq(begin(&c, 5), 1);
	check_counts(0, 1, 0, 0);
	store_campaign_clear(&c);
}
END_TEST

START_TEST(one_that_was_passed_over_comes_back_into_the_replacement)
{
	struct store_selection all = {0};
	struct store_campaign c;
	bool changed;
	size_t n;

	activate(ALICE, 'a');
	activate(BOB, 'b');
	OK(create(&all, NULL, &n));
	newest(&c);
	OK(store_departure_note(enrolld, ALICE, DEPARTURE_DISABLED, "enrolld", "left", &changed, &err));
	follow(&c, false);
	check_counts(1, 0, 0, 1);
	OK(store_departure_undo(enrolld, ALICE, "enrolld", "back", &changed, &err));
	check_counts(2, 0, 0, 0);
	ck_assert_uint_eq(begin(&c, 5), 2);
	store_campaign_clear(&c);
}
END_TEST

START_TEST(the_old_one_is_revoked_after_the_new_one_is_active)
{
	int64_t alice = activate(ALICE, 'a');
	struct store_selection all = {0};
	struct store_revocation_list l;
	struct store_credential credential;
	struct store_campaign c;
	const char *why;
	bool found;
	size_t n;

	OK(create(&all, "superseded", &n));
	newest(&c);
	begin(&c, 1);
	follow(&c, false);
	OK(store_revocations_of(enrolld, alice, &l, &err));
	ck_assert_uint_eq(l.n, 0);
	renewed(alice, 'b');
	follow(&c, true);
	OK(store_revocations_of(enrolld, alice, &l, &err));
	ck_assert_uint_eq(l.n, 1);
	store_revocation_list_clear(&l);
	ck_assert_int_eq(state_of(alice), ENROLLMENT_ACTIVE);
	OK(store_credential_find(outbound, ALICE, &credential, &found, &why, &err));
	ck_assert(found);
	store_credential_clear(&credential);
	store_campaign_clear(&c);
}
END_TEST

static size_t meant(const struct store_selection *what)
{
	struct store_selected_list l;
	size_t n = 0;

	OK(store_select(enrolld, what, &l, &err));
	for (size_t i = 0; i < l.n; i++)
		n += l.v[i].n;
	store_selected_list_clear(&l);
	return n;
}

START_TEST(what_is_meant)
{
	int64_t id = activate(ALICE, 'a');
	struct store_certificate c;
	struct strlist serials = {0}, others = {0};
	struct store_selection s = {0};
	size_t n;

	certificate_of(id, &c);
	ck_assert(strlist_add(&serials, "FF") && strlist_add(&serials, c.serial) && strlist_add(&others, "FF"));
	ck_assert_uint_eq(meant(&s), 1);
	s.issuer = "no such";
	ck_assert_uint_eq(meant(&s), 0);
	s.issuer = c.issuer;
	s.issued_from = c.not_before;
	s.issued_to = c.not_before;
	s.serials = &serials;
	s.ca = "";
	ck_assert_uint_eq(meant(&s), 1);
	s.serials = &others;
	ck_assert_uint_eq(meant(&s), 0);
	s.serials = NULL;
	s.issued_from = c.not_before + 1;
	s.issued_to = 0;
	ck_assert_uint_eq(meant(&s), 0);
	ck_assert(!create(&s, NULL, &n));
	ck_assert_int_eq(err.class, ERR_POLICY);
	strlist_clear(&serials);
	strlist_clear(&others);
	store_certificate_clear(&c);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("store_renewals");
	TCase *t = tcase_create("renewals");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_window_is_kept_and_how_often_it_was_urged_is_known);
	tcase_add_test(t, a_late_renewal_is_told_once_a_stage);
	tcase_add_test(t, one_found_revoked_signs_no_more_and_only_the_directory_has_to_follow);
	tcase_add_test(t, looks_are_spread_and_each_is_taken_once_a_period);
	tcase_add_test(t, nobody_is_replaced_twice_and_what_is_newer_is_left_alone);
	tcase_add_test(t, paused_and_cancelled_nothing_begins);
	tcase_add_test(t, a_row_that_a_worker_has_comes_next_time_and_one_that_left_is_skipped);
	tcase_add_test(t, who_left_holds_up_nobody_and_has_their_turn_when_back);
	tcase_add_test(t, one_that_was_passed_over_comes_back_into_the_replacement);
	tcase_add_test(t, the_old_one_is_revoked_after_the_new_one_is_active);
	tcase_add_test(t, what_is_meant);
	suite_add_tcase(s, t);
	return run_suite(s);
}
