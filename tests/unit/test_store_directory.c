/*
 * tests/unit/test_store_directory.c - which certificates have to leave the directory and when, and values of others that are kept.
 */
#include "config.h"

#include "tests/unit/test_store.h"

#define ALICE "alice@corp.example"
#define BOB "bob@corp.example"

/* An enrollment with an active certificate, and one before it; both in the directory. */
static int64_t renewed(const char *address, const char *spki)
{
	char hex[65];
	int64_t id;

	memset(hex, spki[0], 64);
	hex[64] = '\0';
	id = store_fixture_activate(enrolld, address, "wrapped", 7, hex, "der", 3, NULL, 0);
	store_fixture_sql(&f, "UPDATE certificates SET in_directory = 1, directory_dn = 'cn=there'");
	store_fixture_sql(&f, "INSERT INTO certificates (enrollment_id, key_id, der, serial, issuer, fingerprint, addresses, not_before, not_after, status, in_directory,"
		" directory_dn, created_at) SELECT enrollment_id, key_id, X'6f6c64', '00', issuer, '11', addresses, not_before, not_after, 'superseded', 1,"
		" 'cn=there', created_at FROM certificates WHERE status = 'active' AND NOT EXISTS (SELECT 1 FROM certificates o WHERE o.enrollment_id ="
		" certificates.enrollment_id AND o.status = 'superseded')");
	return id;
}

/* The serial number of what is due; NULL: nothing. */
static const char *due(time_t now, time_t *next)
{
	static char serial[64];
	struct store_certificate c;
	time_t ignored;
	bool found;

	OK(store_directory_due(enrolld, now, &c, &found, next ? next : &ignored, &err));
	snprintf(serial, sizeof serial, "%s", found ? c.serial : "");
	store_certificate_clear(&c);
	return found ? serial : NULL;
}

static struct store_certificate certificate(const char *serial)
{
	struct store_certificate_list l;
	struct store_certificate out;

	OK(store_certificates_of(enrolld, 1, &l, &err));
	ck_assert_uint_eq(l.n, 2);
	for (size_t i = 0; i < l.n; i++)
		if (strcmp(l.v[i].serial, serial) == 0) {
			out = l.v[i];
			memset(&l.v[i], 0, sizeof l.v[i]);
		}
	store_certificate_list_clear(&l);
	return out;
}

static void end(const char *serial, const struct err *failure, time_t next_at)
{
	struct store_directory_result r = {.failure = failure, .next_at = next_at, .event = failure ? "unpublish_failed" : "unpublished", .actor = "enrolld",
		.text = "text"};
	struct store_certificate c = certificate(serial);

	OK(store_directory_left(enrolld, &c, &r, &err));
	store_certificate_clear(&c);
}

START_TEST(what_was_superseded_leaves_when_its_successor_is_there)
{
	time_t now = time(NULL), next;

	renewed(ALICE, "a");
	ck_assert_str_eq(due(now, NULL), "00");
	store_fixture_sql(&f, "UPDATE certificates SET in_directory = 0 WHERE status = 'active'");
	ck_assert_ptr_null(due(now, &next));
	ck_assert_int_eq(next, 0);
	ck_assert_msg(due(now + 200000, NULL) != NULL, "past its end it goes whatever is there");
	store_fixture_sql(&f, "UPDATE certificates SET status = 'superseded'");
	ck_assert_msg(due(now, NULL) != NULL, "with nothing active there is nothing to wait for");
}
END_TEST

START_TEST(others_stay_and_what_has_ended_goes)
{
	time_t now = time(NULL);

	renewed(ALICE, "a");
	store_fixture_sql(&f, "UPDATE certificates SET in_directory = 0 WHERE status = 'superseded'");
	ck_assert_ptr_null(due(now, NULL));
	ck_assert_str_eq(due(now + 200000, NULL), "01");
	store_fixture_sql(&f, "UPDATE certificates SET status = 'revoked' WHERE serial = '01'");
	store_fixture_sql(&f, "INSERT INTO revocations (id, certificate_id, ca, reason, requested_at) SELECT 1, id, 'ca', 'superseded', 1 FROM certificates WHERE serial = '01'");
	store_fixture_sql(&f, "INSERT INTO revocation_parts (revocation_id, part, next_at) VALUES (1, 'ca', 1), (1, 'directory', 1)");
	ck_assert_msg(due(now + 200000, NULL) == NULL, "a revocation does it by itself");
	store_fixture_sql(&f, "UPDATE revocation_parts SET done_at = 1 WHERE part = 'directory'");
	ck_assert_msg(due(now, NULL) != NULL, "but when it is over");
}
END_TEST

START_TEST(a_failure_waits_and_is_told_and_a_retry_does_not_wait)
{
	struct err why = {.class = ERR_CONFIG, .text = "no right"};
	int64_t id = renewed(ALICE, "a");
	time_t now = time(NULL), next;
	struct store_certificate c;
	bool changed;

	end("00", &why, now + 300);
	ck_assert_ptr_null(due(now, &next));
	ck_assert_int_eq(next, now + 300);
	c = certificate("00");
	ck_assert(c.in_directory && c.directory_class == ERR_CONFIG && c.directory_attempts == 1);
	ck_assert_str_eq(c.directory_why, "no right");
	store_certificate_clear(&c);
	ck_assert_msg(due(now + 300, NULL) != NULL, "in its time");
	OK(store_directory_retry(enrolld, id, &changed, &err));
	ck_assert(changed);
	ck_assert_str_eq(due(now, NULL), "00");
	end("00", NULL, 0);
	ck_assert_ptr_null(due(now + 300, NULL));
	c = certificate("00");
	ck_assert(!c.in_directory && !c.directory_why && c.directory_attempts == 0);
	store_certificate_clear(&c);
	OK(store_directory_retry(enrolld, id, &changed, &err));
	ck_assert(!changed);
}
END_TEST

START_TEST(what_was_found_is_known_and_what_has_left_is_not_noted_twice)
{
	struct store_certificate c;
	struct event_list l;
	size_t before;

	renewed(ALICE, "a");
	store_fixture_sql(&f, "UPDATE certificates SET in_directory = 0");
	OK(store_events(enrolld, 1, 0, 100, &l, &err));
	before = l.n;
	event_list_clear(&l);
	end("00", NULL, 0);
	OK(store_events(enrolld, 1, 0, 100, &l, &err));
	ck_assert_uint_eq(l.n, before);
	event_list_clear(&l);
	c = certificate("01");
	OK(store_directory_found(enrolld, &c, "cn=here", "admin:root", "it is there", &err));
	store_certificate_clear(&c);
	c = certificate("01");
	ck_assert(c.in_directory);
	ck_assert_str_eq(c.directory_dn, "cn=here");
	store_certificate_clear(&c);
	ck_assert(!store_directory_found(outbound, &c, "cn=x", "x", "x", &err));
	ck_assert_msg(err.class == ERR_BUG, "not the outbound instance");
	err_clear(&err);
}
END_TEST

static size_t saved(const char *address, struct store_saved *first)
{
	struct store_saved_list l;
	size_t n;

	OK(store_saved_list(enrolld, address, 0, 10, &l, &err));
	n = l.n;
	if (n && first) {
		*first = l.v[0];
		memset(&l.v[0], 0, sizeof l.v[0]);
	}
	store_saved_list_clear(&l);
	return n;
}

START_TEST(a_foreign_value_is_kept_once_until_it_is_back)
{
	struct store_saved s = {.address = (char *)(uintptr_t)ALICE, .dn = (char *)(uintptr_t) "cn=a", .attribute = (char *)(uintptr_t) "userSMIMECertificate",
		.value = (unsigned char *)(uintptr_t) "\0\1two", .value_len = 5}, got;

	s.enrollment_id = renewed(ALICE, "a");
	OK(store_saved_add(enrolld, &s, &err));
	OK(store_saved_add(enrolld, &s, &err)); /* killed in between, it comes again */
	ck_assert_uint_eq(saved("Alice@CORP.example", &got), 1);
	ck_assert(got.value_len == 5 && memcmp(got.value, "\0\1two", 5) == 0);
	ck_assert_str_eq(got.dn, "cn=a");
	ck_assert_uint_eq(saved(BOB, NULL), 0);
	ck_assert_uint_eq(saved(NULL, NULL), 1);
	OK(store_saved_restored(enrolld, &got, "admin:root", "back", &err));
	ck_assert_uint_eq(saved(NULL, NULL), 0);
	OK(store_saved_add(enrolld, &s, &err));
	ck_assert_msg(saved(ALICE, NULL) == 1, "taken away again, it is kept again");
	free(got.address);
	free(got.dn);
	free(got.attribute);
	free(got.value);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_directory");
	TCase *tc = tcase_create("store_directory");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_was_superseded_leaves_when_its_successor_is_there);
	tcase_add_test(tc, others_stay_and_what_has_ended_goes);
	tcase_add_test(tc, a_failure_waits_and_is_told_and_a_retry_does_not_wait);
	tcase_add_test(tc, what_was_found_is_known_and_what_has_left_is_not_noted_twice);
	tcase_add_test(tc, a_foreign_value_is_kept_once_until_it_is_back);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
