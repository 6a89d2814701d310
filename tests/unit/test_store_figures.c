/*
 * tests/unit/test_store_figures.c - what monitoring is told of the store, and whether it can be used.
 *
 * ENROLL_TEST_ROWS=1000000 makes the large store as large as that; the time it takes is printed.
 */
#include "config.h"

#include "tests/unit/test_store.h"

#define NOW 1800000000
#define DAY 86400

static const int64_t bounds[] = {DAY, 7 * DAY, 30 * DAY};
#define BOUNDS 3

static struct store_figures figures(void)
{
	struct store_figures is;

	OK(store_figures(enrolld, NOW, bounds, BOUNDS, &is, &err));
	return is;
}

/* A row with this id, and a certificate in use that ends then; 0 = none. */
static void row(int id, const char *state, const char *class, long long next_at, long long ends)
{
	char sql[2048];

	snprintf(sql, sizeof sql,
		"INSERT INTO enrollments (id, address, address_key, addresses, profile, usage, state, resume, state_since, next_at, why_class, requested_at)"
		" VALUES (%d, 'u%d@x', 'u%d@x', 'u%d@x', 'p', 'sign', '%s', 'requested', 1, %lld, '%s', 1)",
		id, id, id, id, state, next_at, class);
	store_fixture_sql(&f, sql);
	if (!ends)
		return;
	snprintf(sql, sizeof sql,
		"INSERT INTO user_keys (id, enrollment_id, wrapped, spki_sha256, created_at) VALUES (%d, %d, x'77', '%064d', 1);"
		"INSERT INTO certificates (id, enrollment_id, key_id, der, serial, issuer, fingerprint, addresses, not_before, not_after, status, created_at)"
		" VALUES (%d, %d, %d, x'64', '%d', 'i', 'f', 'a', %lld, %lld, 'active', 1)",
		id, id, id, id, id, id, id, ends - 300LL * DAY, ends);
	store_fixture_sql(&f, sql);
}

START_TEST(an_empty_store)
{
	struct store_figures is = figures(), nothing;

	memset(&nothing, 0, sizeof nothing);
	ck_assert_mem_eq(&is, &nothing, sizeof is);
}
END_TEST

START_TEST(rows_by_state_and_class)
{
	struct store_figures is;

	row(1, "active", "temporary", 0, 0); /* of something that is over */
	row(2, "active", "none", 0, 0);
	row(3, "waiting", "temporary", 0, 0);
	row(4, "waiting", "ca", 0, 0);
	row(5, "blocked", "config", 0, 0);
	row(6, "failed", "bug", 0, 0);
	is = figures();
	ck_assert_uint_eq(is.enrollments[ENROLLMENT_ACTIVE][ERR_NONE], 2);
	ck_assert_uint_eq(is.enrollments[ENROLLMENT_ACTIVE][ERR_TEMPORARY], 0);
	ck_assert_uint_eq(is.enrollments[ENROLLMENT_WAITING][ERR_TEMPORARY], 1);
	ck_assert_uint_eq(is.enrollments[ENROLLMENT_WAITING][ERR_CA], 1);
	ck_assert_uint_eq(is.enrollments[ENROLLMENT_BLOCKED][ERR_CONFIG], 1);
	ck_assert_uint_eq(is.enrollments[ENROLLMENT_FAILED][ERR_BUG], 1);
}
END_TEST

START_TEST(certificates_by_what_is_left)
{
	struct store_figures is;

	row(1, "active", "none", 0, NOW - 5);         /* ended */
	row(2, "active", "none", 0, NOW + DAY);       /* a bound belongs to its bucket */
	row(3, "active", "none", 0, NOW + DAY + 1);
	row(4, "active", "none", 0, NOW + 300 * DAY);
	row(5, "active", "none", 0, NOW + 301 * DAY);
	store_fixture_sql(&f, "UPDATE certificates SET status = 'superseded' WHERE id = 5");
	is = figures();
	ck_assert_uint_eq(is.remaining[0], 2);
	ck_assert_uint_eq(is.remaining[1], 1);
	ck_assert_uint_eq(is.remaining[2], 0);
	ck_assert_uint_eq(is.remaining[3], 1);
	ck_assert_int_eq(is.remaining_sum, -5 + DAY + DAY + 1 + 300 * DAY);
	ck_assert_int_eq(is.earliest, NOW - 5);
}
END_TEST

START_TEST(who_is_disabled_or_gone_has_no_certificate_that_must_not_end)
{
	row(1, "active", "none", 0, NOW - 50 * DAY);
	row(2, "active", "none", 0, NOW - 40 * DAY);
	row(3, "active", "none", 0, NOW + 30 * DAY);
	store_fixture_sql(&f, "UPDATE enrollments SET disabled = 1 WHERE id = 1; UPDATE enrollments SET gone_since = 1 WHERE id = 2");
	ck_assert_int_eq(figures().earliest, NOW + 30 * DAY);
	store_fixture_sql(&f, "UPDATE enrollments SET disabled = 0 WHERE id = 1");
	ck_assert_int_eq(figures().earliest, NOW - 50 * DAY);
}
END_TEST

/* Due at two thirds of 300 days, so that half of what remains is over 50 days before the end. */
START_TEST(unrenewed_are_those_that_are_told_as_late)
{
	struct store_late_list late;

	row(1, "active", "none", 0, NOW + 10 * DAY);          /* its renewal has yet to begin: the queue's age tells that */
	row(2, "waiting", "temporary", 0, NOW + 49 * DAY);
	row(3, "waiting", "temporary", 0, NOW + 51 * DAY);
	row(4, "blocked", "ca", 0, NOW - DAY);
	row(5, "failed", "ca", 0, NOW + DAY);
	row(6, "blocked", "ca", 0, NOW + DAY);
	row(7, "superseded", "none", 0, NOW + DAY);
	store_fixture_sql(&f, "UPDATE enrollments SET disabled = 1 WHERE id = 5; UPDATE enrollments SET gone_since = 1 WHERE id = 6");
	ck_assert_int_eq(figures().unrenewed, 2);
	OK(store_renewals_late(enrolld, NOW, 100, &late, &err));
	ck_assert_uint_eq(late.n, 2);
	store_late_list_clear(&late);
	/* told once, it is still not renewed */
	store_fixture_sql(&f, "INSERT INTO renewals (certificate_id, late) VALUES (2, 1), (4, 4)");
	ck_assert_int_eq(figures().unrenewed, 2);
}
END_TEST

START_TEST(the_oldest_that_waits)
{
	row(1, "requested", "none", NOW + 50, 0);
	row(2, "requested", "none", NOW - 70, 0);
	row(3, "requested", "none", NOW - 90, 0);
	row(4, "active", "none", NOW + 50, NOW + DAY);
	row(5, "answered", "none", 0, 0);
	row(6, "active", "none", 0, 0);
	store_fixture_sql(&f, "UPDATE enrollments SET disabled = 1 WHERE id = 3;"
		"INSERT INTO revocations (certificate_id, ca, reason, requested_at, done_at) VALUES (4, 'c', 'superseded', 1234, 0);"
		"INSERT INTO challenges (id, enrollment_id, token_part1, message_id, sender, date, received_at) VALUES (1, 5, 't', 'm', 's', 1, 1), (2, 6, 't', 'm', 's', 1, 1);"
		"INSERT INTO reports (enrollment_id, challenge_id, action, received_at, seen) VALUES (5, 1, 'failed', 40, 1), (5, 1, 'failed', 50, 0), (6, 2, 'failed', 10, 0)");
	ck_assert_int_eq(figures().due_since, NOW - 70);
	ck_assert_int_eq(figures().revocation_since, 1234);
	ck_assert_int_eq(figures().report_since, 50);
	store_fixture_sql(&f, "UPDATE revocations SET done_at = 1; UPDATE reports SET seen = 1");
	ck_assert_int_eq(figures().revocation_since, 0);
	ck_assert_int_eq(figures().report_since, 0);
}
END_TEST

/* run_sql on columns that row() does not know. */
static void set(int id, const char *what)
{
	char sql[256];

	snprintf(sql, sizeof sql, "UPDATE enrollments SET %s WHERE id = %d", what, id);
	store_fixture_sql(&f, sql);
}

START_TEST(who_is_without_a_certificate_for_longest)
{
	row(1, "waiting", "temporary", 0, 0);
	set(1, "requested_at = 500");
	row(2, "waiting", "temporary", 0, 0);
	set(2, "requested_at = 400");
	row(3, "waiting", "temporary", 0, 0); /* as the cap-per-day says */
	set(3, "requested_at = 10, why_type = 'held'");
	row(4, "blocked", "policy", 0, 0); /* as a rule says */
	set(4, "requested_at = 10, why_type = 'excluded'");
	row(5, "blocked", "config", 0, 0);
	set(5, "requested_at = 10, disabled = 1");
	row(6, "blocked", "config", 0, 0);
	set(6, "requested_at = 10, gone_since = 20");
	row(7, "waiting", "ca", 0, NOW + DAY); /* one is in use: this is a renewal */
	set(7, "requested_at = 10");
	row(8, "active", "none", 0, 0);
	row(9, "challenge-awaited", "none", 0, 0);
	set(9, "requested_at = 300");
	row(10, "blocked", "ca", 0, NOW - DAY);
	row(11, "failed", "bug", 0, NOW + 300LL * DAY);
	store_fixture_sql(&f, "UPDATE certificates SET status = 'expired' WHERE id = 10; UPDATE certificates SET status = 'revoked' WHERE id = 11;"
		"INSERT INTO revocations (certificate_id, ca, reason, requested_at, done_at) VALUES (11, 'c', 'keyCompromise', 1234, 0)");
	ck_assert_int_eq(figures().without_since[ENROLLMENT_WAITING], 400);
	ck_assert_int_eq(figures().without_since[ENROLLMENT_CHALLENGE_AWAITED], 300);
	ck_assert_int_eq(figures().without_since[ENROLLMENT_BLOCKED], NOW - DAY);
	ck_assert_int_eq(figures().without_since[ENROLLMENT_FAILED], 1234);
	ck_assert_int_eq(figures().without_since[ENROLLMENT_ACTIVE], 0);
}
END_TEST

START_TEST(many_rows)
{
	const char *wanted = getenv("ENROLL_TEST_ROWS");
	long rows = wanted ? atol(wanted) : 5000;
	struct store_figures is;
	char sql[8192];
	int64_t began;

	snprintf(sql, sizeof sql, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %ld)"
		" INSERT INTO enrollments (id, address, address_key, addresses, profile, usage, state, resume, state_since, next_at, requested_at, csr)"
		" SELECT i, i || '@x.example', i || '@x.example', i || '@x.example', 'p', 'sign', 'active', 'active', 1, %d + i, 1, x'%01600d' FROM n;"
		"INSERT INTO user_keys (id, enrollment_id, wrapped, spki_sha256, created_at) SELECT id, id, x'77', substr('%064d' || id, length(CAST(id AS TEXT)) + 1), 1 FROM enrollments;"
		"INSERT INTO certificates (id, enrollment_id, key_id, der, serial, issuer, fingerprint, addresses, not_before, not_after, status, created_at)"
		" SELECT id, id, id, x'%03000d', CAST(id AS TEXT), 'i', 'f', 'a', 1, %d + id * 40, 'active', 1 FROM enrollments;", rows, NOW, 0, 0, 0, NOW);
	store_fixture_sql(&f, sql);
	began = mono_ms();
	is = figures();
	printf("figures of %ld rows: %lld ms\n", rows, (long long)(mono_ms() - began));
	ck_assert_uint_eq(is.enrollments[ENROLLMENT_ACTIVE][ERR_NONE], rows);
	ck_assert_int_eq(is.earliest, NOW + 40);
	ck_assert_uint_eq(is.remaining[0] + is.remaining[1] + is.remaining[2] + is.remaining[3], rows);
	ck_assert_int_eq(is.remaining_sum, 40 * (int64_t)rows * (rows + 1) / 2);
}
END_TEST

START_TEST(ready_with_the_store_and_its_schema)
{
	OK(store_ready(enrolld, &err));
	OK(store_ready(outbound, &err));
	OK(store_ready(inbound, &err));
	/* A newer one that milters can go on with, and one that is not there yet. */
	store_fixture_sql(&f, "UPDATE meta SET value = '999' WHERE name = 'schema_version'");
	OK(store_ready(outbound, &err));
	OK(store_ready(inbound, &err));
	ck_assert(!store_ready(enrolld, &err));
	ck_assert_int_eq(counter_after(enrolld, store_change_counter(enrolld)), -1);
	err_clear(&err);
	store_fixture_sql(&f, "UPDATE meta SET value = '1' WHERE name = 'schema_version'");
	ck_assert(!store_ready(outbound, &err));
	/* In PostgreSQL the thread that watches may have seen it first, to which it is something that passes. */
	ck_assert(err.class == ERR_CONFIG || (store_on_postgresql() && err.class == ERR_TEMPORARY));
	ck_assert_ptr_nonnull(strstr(err.text, "has schema 1,"));
}
END_TEST

START_TEST(not_ready_when_the_file_is_gone)
{
	char gone[600];

	snprintf(gone, sizeof gone, "%s.gone", f.settings.path);
	ck_assert_int_eq(rename(f.settings.path, gone), 0);
	ck_assert(!store_ready(inbound, &err));
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	ck_assert_ptr_nonnull(strstr(err.text, "removed or replaced"));
	ck_assert_int_eq(rename(gone, f.settings.path), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("store_figures");
	TCase *t = tcase_create("store_figures");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 600);
	tcase_add_test(t, an_empty_store);
	tcase_add_test(t, rows_by_state_and_class);
	tcase_add_test(t, certificates_by_what_is_left);
	tcase_add_test(t, who_is_disabled_or_gone_has_no_certificate_that_must_not_end);
	tcase_add_test(t, unrenewed_are_those_that_are_told_as_late);
	tcase_add_test(t, the_oldest_that_waits);
	tcase_add_test(t, who_is_without_a_certificate_for_longest);
	tcase_add_test(t, many_rows);
	tcase_add_test(t, ready_with_the_store_and_its_schema);
	add_sqlite_test(t, not_ready_when_the_file_is_gone, "its own file");
	suite_add_tcase(s, t);
	return run_suite(s);
}
