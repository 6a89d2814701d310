/*
 * tests/unit/test_store_sound.c - what does not fit together is found, each kind with what it is about; and what is old goes, and nothing else.
 */
#include "config.h"

#include "tests/unit/test_store.h"

#include <openssl/evp.h>

#define DAY 86400

static struct store *admin;

static void setup_admin(void)
{
	setup();
	admin = store_fixture_open(&f, STORE_ROLE_ADMIN);
}

static void teardown_admin(void)
{
	store_close(admin);
	teardown();
}

static struct store_sound look(void)
{
	struct store_sound s = {.n = 0};

	OK(store_sound(admin, &s, &err));
	return s;
}

static void healthy(void)
{
	struct store_sound s = look();

	ck_assert_msg(s.n == 0, "%s: %s", s.v[0].name, s.v[0].examples);
	OK(store_check(admin, &err));
}

/* A row with a certificate that is what its fingerprint says. */
static int64_t with_certificate(const char *address, char mark)
{
	int64_t id = request(address);
	struct enrollment row;
	unsigned char md[32], der[] = {'d', 'e', 'r', (unsigned char)mark};
	char spki[65];
	struct buf hex = BUF_INIT;
	struct store_certificate c = {.der = der, .der_len = sizeof(der), .issuer = (char *)(uintptr_t) "CN=ca", .addresses = (char *)(uintptr_t)address,
		.not_before = 1, .not_after = time(NULL) + 90 * DAY, .status = (char *)(uintptr_t) "active"};
	struct store_key key = {.wrapped = der, .wrapped_len = sizeof(der)};
	struct store_step step = {.row = &row, .actor = "test", .certificate = &c, .new_key = &key, .count_order = true};

	ck_assert_int_eq(EVP_Digest(der, sizeof(der), md, NULL, EVP_sha256(), NULL), 1);
	hex_encode(&hex, md, sizeof(md));
	c.fingerprint = (char *)(uintptr_t)buf_str(&hex);
	snprintf(spki, sizeof(spki), "%064d", mark);
	memcpy(key.spki_sha256, spki, sizeof(spki));
	c.serial = &spki[60];
	store_fixture_claim(enrolld, id, &row);
	row.state = ENROLLMENT_ACTIVE;
	ck_assert(commit(&step));
	enrollment_clear(&row);
	buf_clear(&hex);
	return id;
}

static const struct { const char *name, *sql; } wounds[] = {
	{"active-without-certificate", "UPDATE certificates SET status = 'superseded' WHERE enrollment_id = 1"},
	{"certificate-in-hand-missing", "UPDATE enrollments SET certificate_id = NULL WHERE id = 1"},
	{"certificate-of-another-row", "UPDATE enrollments SET certificate_id = 2 WHERE id = 1"},
	{"key-of-another-address", "UPDATE certificates SET key_id = 2 WHERE id = 1"},
	{"row-with-key-of-another", "UPDATE enrollments SET key_id = 2 WHERE id = 1"},
	{"active-in-closed-row", "UPDATE enrollments SET state = 'superseded' WHERE id = 1"},
	{"order-of-closed-row", "UPDATE enrollments SET state = 'superseded' WHERE id = 1"},
	{"lease-of-closed-row", "UPDATE enrollments SET state = 'revoked', lease_owner = 'x', lease_until = 5 WHERE id = 1"},
	{"address-not-found", "DELETE FROM enrollment_addresses WHERE enrollment_id = 1"},
	{"revoked-and-used", "INSERT INTO revocations (certificate_id, ca, reason, requested_at) VALUES (1, 'ca', 'superseded', 1)"},
	{"revocation-without-parts", "INSERT INTO revocations (certificate_id, ca, reason, requested_at) VALUES (1, 'ca', 'superseded', 1)"},
	{"certificate-damaged", "UPDATE certificates SET der = x'3000' WHERE id = 1"},
};

START_TEST(what_a_lost_write_or_half_a_backup_leaves_is_found)
{
	struct store_sound s;
	bool found = false;

	with_certificate("a@example.org", 'a');
	with_certificate("b@example.org", 'b');
	healthy();
	store_fixture_sql(&f, wounds[_i].sql);
	s = look();
	for (size_t i = 0; i < s.n; i++)
		if (strcmp(s.v[i].name, wounds[_i].name) == 0) {
			found = true;
			ck_assert_int_eq(s.v[i].n, 1);
			ck_assert_uint_gt(strlen(s.v[i].examples), 0);
			ck_assert_uint_gt(strlen(s.v[i].advice), 0);
		}
	ck_assert_msg(found, "%s", wounds[_i].name);
}
END_TEST

START_TEST(rows_and_room_are_counted)
{
	struct store_sound s;

	with_certificate("a@example.org", 'a');
	s = look();
	ck_assert_uint_eq(s.n_tables, 19);
	ck_assert_int_gt(s.octets, 10000);
	for (size_t i = 0; i < s.n_tables; i++)
		if (strcmp(s.tables[i].table, "certificates") == 0)
			ck_assert_int_eq(s.tables[i].rows, 1);
}
END_TEST

/* A row of which everything happened long ago. */
static void history(int64_t id)
{
	char sql[2000];

	snprintf(sql, sizeof(sql),
		"INSERT INTO challenges (id, enrollment_id, token_part1, message_id, sender, date, received_at, state) VALUES (%lld, %lld, 't', '<m>', 's', 5, 5, 'replied');"
		"INSERT INTO reports (enrollment_id, challenge_id, action, received_at) VALUES (%lld, %lld, 'relayed', 5);"
		"INSERT INTO orders (enrollment_id, ca, opened_at, closed_at, outcome) VALUES (%lld, 'ca', 5, 6, 'abandoned');"
		"INSERT INTO orders (enrollment_id, ca, opened_at, closed_at, outcome) VALUES (%lld, 'ca', 5, 6, 'finalized');"
		"INSERT INTO events (enrollment_id, at, name, class) VALUES (%lld, 5, 'old', 'none')",
		(long long)id, (long long)id, (long long)id, (long long)id, (long long)id, (long long)id, (long long)id);
	store_fixture_sql(&f, sql);
}

static int64_t count(const char *what)
{
	char sql[200];

	snprintf(sql, sizeof(sql), "SELECT COUNT(*) FROM %s", what);
	return store_fixture_number(&f, sql);
}

START_TEST(what_is_old_goes_and_what_is_needed_stays)
{
	int64_t open = with_certificate("a@example.org", 'a'), closed = with_certificate("b@example.org", 'b'), counts[STORE_OLD_KINDS] = {0}, seen[STORE_OLD_KINDS];
	time_t before = time(NULL) - 30 * DAY;
	bool more = true;
	int rounds = 0;

	history(open);
	history(closed);
	store_fixture_sql(&f, "UPDATE enrollments SET state = 'revoked', resume = 'revoked', state_since = 6 WHERE id = 2;"
			      " UPDATE certificates SET status = 'revoked' WHERE enrollment_id = 2; UPDATE orders SET outcome = 'finalized', closed_at = 9 WHERE outcome IS NULL;"
			      " INSERT INTO events (at, name, class) VALUES (5, 'old', 'none'); INSERT INTO events (at, name, class) VALUES (6, 'old', 'none');"
			      " INSERT INTO mail_events (at, verdict) VALUES (5, 'signed')");
	OK(store_old_count(enrolld, before, seen, &err));
	for (; more; rounds++)
		OK(store_old_remove(enrolld, before, 2, counts, &more, &err));
	ck_assert_int_gt(rounds, 1);
	for (int i = 0; i < STORE_OLD_KINDS; i++)
		ck_assert_msg(counts[i] == seen[i] || i == STORE_OLD_CHALLENGES, "%s", store_old_name((enum store_old)i));
	ck_assert_int_eq(counts[STORE_OLD_EVENTS], 3);
	ck_assert_int_eq(counts[STORE_OLD_MAIL], 1);
	ck_assert_int_eq(counts[STORE_OLD_REPORTS], 1);
	ck_assert_int_eq(counts[STORE_OLD_CHALLENGES], 1);
	ck_assert_int_eq(counts[STORE_OLD_ORDERS], 1);
	ck_assert_int_eq(count("events WHERE enrollment_id = 1 AND name = 'old'"), 1);
	ck_assert_int_eq(count("events WHERE name = 'old'"), 1);
	ck_assert_int_gt(count("events WHERE enrollment_id = 2"), 0);
	ck_assert_int_eq(count("challenges"), 1);
	ck_assert_int_eq(count("orders WHERE outcome = 'finalized' AND enrollment_id = 2"), 2);
	ck_assert_int_eq(count("certificates"), 2);
	ck_assert_int_eq(count("user_keys"), 2);
	ck_assert_int_eq(count("enrollments"), 2);
	healthy();
	OK(store_compact(&f.settings, &err));
	healthy();
}
END_TEST

START_TEST(only_enrolld_and_the_admin_remove_and_a_small_number_of_days_is_thirty)
{
	int64_t counts[STORE_OLD_KINDS] = {0};
	struct store_settings s = {.retention_days = 7};
	bool more;

	ck_assert(!store_old_remove(outbound, 1, 10, counts, &more, &err));
	ck_assert(!store_old_remove(inbound, 1, 10, counts, &more, &err));
	OK(store_old_remove(admin, 1, 10, counts, &more, &err));
	ck_assert(!more);
	ck_assert_uint_eq(store_retention_days(&s), STORE_RETENTION_LEAST);
	s.retention_days = 0;
	ck_assert_uint_eq(store_retention_days(&s), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_sound");
	TCase *tc = tcase_create("sound");

	tcase_add_checked_fixture(tc, setup_admin, teardown_admin);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, what_a_lost_write_or_half_a_backup_leaves_is_found, 0, (int)(sizeof(wounds) / sizeof(wounds[0])));
	tcase_add_test(tc, rows_and_room_are_counted);
	tcase_add_test(tc, what_is_old_goes_and_what_is_needed_stays);
	tcase_add_test(tc, only_enrolld_and_the_admin_remove_and_a_small_number_of_days_is_thirty);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
