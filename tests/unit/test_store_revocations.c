/*
 * tests/unit/test_store_revocations.c - revocations in the store: from one transaction on nobody signs; the two parts have leases and waiting times
 * of their own; what becomes of the row.
 */
#include "config.h"

#include "tests/unit/test_store.h"

#define ALICE "alice@corp.example"
#define S(text) ((char *)(uintptr_t)(text))

static int64_t activate(const char *address, const char *spki)
{
	char hex[65];

	memset(hex, spki[0], 64);
	hex[64] = '\0';
	return store_fixture_activate(enrolld, address, "wrapped", 7, hex, "der", 3, NULL, 0);
}

static const char *about(int64_t id)
{
	static char text[32];

	snprintf(text, sizeof text, "#%lld", (long long)id);
	return text;
}

static size_t revoke_it(const char *what, const char *reason, bool replace)
{
	struct store_revoke order = {.about = what, .reason = reason, .replace = replace, .actor = "admin:root"};
	size_t n;

	OK(store_revoke(enrolld, &order, &n, &err));
	return n;
}

static bool signs(const char *address, const char **why)
{
	struct store_credential c;
	bool found;

	OK(store_credential_find(outbound, address, &c, &found, why, &err));
	store_credential_clear(&c);
	return found;
}

static void check_status(int64_t id, const char *status)
{
	struct store_certificate_list l;

	OK(store_certificates_of(enrolld, id, &l, &err));
	ck_assert_uint_eq(l.n, 1);
	ck_assert_str_eq(l.v[0].status, status);
	store_certificate_list_clear(&l);
}

static bool claim_part(enum revocation_part part, const char *owner, time_t now, struct store_revocation *r)
{
	bool found;

	OK(store_revocation_claim(enrolld, part, owner, now, 600, r, &found, &err));
	return found;
}

static bool end_part(const struct store_revocation *r, enum revocation_part part, const struct err *failure, time_t next_at)
{
	struct store_revocation_result result = {.failure = failure, .next_at = next_at, .event = failure ? "revocation_failed" : "did", .text = "text"};
	bool stale;

	OK(store_revocation_commit(enrolld, r, part, &result, &stale, &err));
	return !stale;
}

START_TEST(from_the_first_transaction_on_nobody_signs_and_what_is_missing_is_said)
{
	int64_t id = activate(ALICE, "a");
	struct store_revocation r;
	struct store_revocation_list l;
	time_t due, now = time(NULL);
	const char *why;

	ck_assert(signs(ALICE, &why));
	ck_assert_uint_eq(revoke_it(about(id), "affiliationChanged", false), 1);
	ck_assert(!signs(ALICE, &why));
	ck_assert_int_eq(state_of(id), ENROLLMENT_REVOKING);
	check_status(id, "revoking");
	ck_assert_uint_eq(count_events(id, "revoking"), 1);
	OK(store_revocation_next_due(enrolld, &due, &err));
	ck_assert(due != 0 && due <= time(NULL));
	ck_assert_uint_eq(revoke_it(about(id), "superseded", true), 0);

	/* The directory is not before the CA, and not much later either. */
	ck_assert(!claim_part(REVOCATION_DIRECTORY, "b", now, &r));
	ck_assert(claim_part(REVOCATION_CA, "a", now, &r));
	ck_assert_str_eq(r.reason, "affiliationChanged");
	ck_assert_str_eq(r.address, ALICE);
	ck_assert_str_eq(r.certificate.serial, "01");
	ck_assert(end_part(&r, REVOCATION_CA, NULL, 0));
	store_revocation_clear(&r);
	ck_assert(!claim_part(REVOCATION_CA, "a", now + 86400, &r));
	ck_assert_int_eq(state_of(id), ENROLLMENT_REVOKING);
	ck_assert(claim_part(REVOCATION_DIRECTORY, "b", time(NULL), &r));
	ck_assert(end_part(&r, REVOCATION_DIRECTORY, NULL, 0));
	store_revocation_clear(&r);
	ck_assert_int_eq(state_of(id), ENROLLMENT_REVOKED);
	check_status(id, "revoked");
	ck_assert_uint_eq(count_events(id, "revoked"), 1);
	OK(store_revocations_of(enrolld, id, &l, &err));
	ck_assert_uint_eq(l.n, 1);
	ck_assert(l.v[0].done_at && l.v[0].parts[0].done_at && l.v[0].parts[1].done_at);
	store_revocation_list_clear(&l);
	OK(store_revocation_next_due(enrolld, &due, &err));
	ck_assert_int_eq(due, 0);
}
END_TEST

START_TEST(without_a_replacement_the_next_mail_brings_none_either)
{
	int64_t id = activate(ALICE, "a"), again;
	struct enrollment row;
	bool found;

	revoke_it("01", "cessationOfOperation", false);
	for (int i = 0; i < 2; i++) {
		struct store_revocation r;

		ck_assert(claim_part((enum revocation_part)i, "w", time(NULL) + 100, &r));
		ck_assert(end_part(&r, (enum revocation_part)i, NULL, 0));
		store_revocation_clear(&r);
	}
	ck_assert_int_eq(state_of(id), ENROLLMENT_REVOKED);
	again = request(ALICE);
	ck_assert(again != id);
	OK(store_enrollment_claim(enrolld, "w", time(NULL), 60, &row, &found, &err));
	ck_assert_msg(!found, "the address is disabled");
}
END_TEST

START_TEST(a_replacement_begins_at_once_and_waits_for_neither_part)
{
	int64_t id = activate(ALICE, "a");
	struct enrollment row;
	const char *why;

	ck_assert_uint_eq(revoke_it(about(id), "keyCompromise", true), 1);
	ck_assert(!signs(ALICE, &why));
	ck_assert_int_eq(state_of(id), ENROLLMENT_RENEWING);
	ck_assert(claim(&row, "w", time(NULL), 60));
	ck_assert_int_eq(row.id, id);
	enrollment_clear(&row);
	check_status(id, "revoking");
}
END_TEST

/* The step that was under way had loaded the certificate as active, or was about to make it so. */
START_TEST(a_step_under_way_brings_nothing_back)
{
	int64_t id = activate(ALICE, "a");
	struct enrollment row;
	struct store_certificate_list l;
	struct store_step step = {.row = &row, .actor = "enrolld"};
	const char *why;

	store_fixture_claim(enrolld, id, &row);
	OK(store_certificates_of(enrolld, id, &l, &err));
	revoke_it("01", "keyCompromise", true);
	step.certificate = &l.v[0];
	ck_assert_msg(!commit(&step), "stale");
	enrollment_clear(&row);
	store_fixture_claim(enrolld, id, &row);
	ck_assert_msg(commit(&step), "a later step that still has the old word");
	ck_assert(!signs(ALICE, &why));
	check_status(id, "revoking");
	store_certificate_list_clear(&l);
	enrollment_clear(&row);
}
END_TEST

START_TEST(parts_fail_and_wait_each_by_itself_and_leases_keep_workers_apart)
{
	int64_t id = activate(ALICE, "a");
	struct store_revocation r, other;
	struct err down = ERR_INIT;
	time_t now = time(NULL);
	bool changed;

	err_set(&down, ERR_TEMPORARY, "revoke", NULL, "the CA is down");
	revoke_it(about(id), "superseded", true);
	ck_assert(claim_part(REVOCATION_CA, "host:1:a", now, &r));
	ck_assert_msg(!claim_part(REVOCATION_CA, "host:1:b", now, &other), "leased");
	ck_assert_msg(claim_part(REVOCATION_DIRECTORY, "host:1:b", now + 11, &other), "a CA that hangs does not hold it up");
	store_revocation_clear(&other);
	/* Its worker was killed. */
	OK(store_leases_release(enrolld, "host:", &err));
	ck_assert_msg(!end_part(&r, REVOCATION_CA, NULL, 0), "stale");
	store_revocation_clear(&r);
	ck_assert(claim_part(REVOCATION_CA, "host:2:a", now, &r));
	ck_assert(end_part(&r, REVOCATION_CA, &down, now + 500));
	store_revocation_clear(&r);
	ck_assert(!claim_part(REVOCATION_CA, "host:2:a", now + 400, &r));
	OK(store_revocations_retry(enrolld, id, &changed, &err));
	ck_assert(changed);
	ck_assert(claim_part(REVOCATION_CA, "host:2:a", time(NULL), &r));
	ck_assert_uint_eq(r.parts[REVOCATION_CA].attempts, 1);
	ck_assert_str_eq(r.parts[REVOCATION_CA].why, "the CA is down");
	ck_assert(end_part(&r, REVOCATION_CA, NULL, 0));
	store_revocation_clear(&r);
	ck_assert_uint_eq(count_events(id, "revocation_failed"), 1);
}
END_TEST

START_TEST(by_address_everything_of_it_ends_and_nothing_of_others)
{
	int64_t id = activate(ALICE, "a"), bob = activate("bob@corp.example", "b");
	const char *why;

	/* A renewal is under way. */
	move(id, ENROLLMENT_ORDERED, NULL);
	ck_assert_uint_eq(revoke_it(about(id), "affiliationChanged", false), 1);
	ck_assert_int_eq(state_of(id), ENROLLMENT_REVOKING);
	ck_assert(!signs(ALICE, &why));
	ck_assert(signs("bob@corp.example", &why));
	ck_assert_int_eq(state_of(bob), ENROLLMENT_ACTIVE);
}
END_TEST

START_TEST(an_unknown_reason_is_refused_and_nothing_written)
{
	int64_t id = activate(ALICE, "a");
	struct store_revoke order = {.about = about(id), .reason = "boredom", .actor = "admin:root"};
	const char *why;
	size_t n;

	ck_assert(!store_revoke(enrolld, &order, &n, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	err_clear(&err);
	order.reason = "superseded";
	ck_assert_msg(!store_revoke(outbound, &order, &n, &err), "not the outbound instance");
	err_clear(&err);
	ck_assert(signs(ALICE, &why));
}
END_TEST

START_TEST(a_certificate_that_was_not_shown_is_not_revoked_and_no_other_one_either)
{
	int64_t id = activate(ALICE, "a");
	struct store_certificate_list l;
	struct strlist shown = {0};
	struct store_revoke order = {.about = about(id), .reason = "superseded", .actor = "admin:root", .shown = &shown};
	const char *why;
	size_t n;

	OK(store_revocable(enrolld, order.about, &l, &err));
	ck_assert_uint_eq(l.n, 1);
	ck_assert(strlist_add(&shown, l.v[0].fingerprint));
	store_fixture_sql(&f, "INSERT INTO user_keys (id, enrollment_id, wrapped, spki_sha256, created_at) SELECT id + 50, enrollment_id, x'77', '5555555555555555555555555555555555555555555555555555555555555555', 1"
		" FROM user_keys; INSERT INTO certificates (enrollment_id, key_id, der, serial, issuer, fingerprint, addresses, not_before, not_after, status, created_at)"
		" SELECT enrollment_id, key_id + 50, x'64', '77', 'i', 'another', addresses, not_before, not_after, 'issued', 1 FROM certificates");
	ck_assert(!store_revoke(enrolld, &order, &n, &err));
	ck_assert_int_eq(err.class, ERR_POLICY);
	ck_assert_ptr_nonnull(strstr(err.text, "has changed since it was shown"));
	err_clear(&err);
	ck_assert_uint_eq(n, 0);
	ck_assert(signs(ALICE, &why));
	ck_assert(strlist_add(&shown, "another"));
	OK(store_revoke(enrolld, &order, &n, &err));
	ck_assert_uint_eq(n, 2);
	store_certificate_list_clear(&l);
	strlist_clear(&shown);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_revocations");
	TCase *tc = tcase_create("store_revocations");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, from_the_first_transaction_on_nobody_signs_and_what_is_missing_is_said);
	tcase_add_test(tc, without_a_replacement_the_next_mail_brings_none_either);
	tcase_add_test(tc, a_replacement_begins_at_once_and_waits_for_neither_part);
	tcase_add_test(tc, a_step_under_way_brings_nothing_back);
	tcase_add_test(tc, parts_fail_and_wait_each_by_itself_and_leases_keep_workers_apart);
	tcase_add_test(tc, by_address_everything_of_it_ends_and_nothing_of_others);
	tcase_add_test(tc, an_unknown_reason_is_refused_and_nothing_written);
	tcase_add_test(tc, a_certificate_that_was_not_shown_is_not_revoked_and_no_other_one_either);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
