/*
 * tests/unit/test_store_keys.c - keys out of the store and into it: what comes in goes on from `checked`, takes nothing's place, comes in once; what
 * goes out is on record; and all of them wrapped for another master key.
 */
#include "config.h"

#include "tests/unit/test_store.h"

#define ALICE "alice@corp.example"
#define BOB "bob@corp.example"
#define S(text) ((char *)(uintptr_t)(text))

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

struct incoming {
	char *addresses[2];
	size_t n;
	const char *usage;
	char digit; /* key and fingerprint are made of it */
	bool old, dry_run;
};

static bool try_import(const struct incoming *in, struct store_imported *out)
{
	struct enrollment row = {.addresses = {.v = (char **)(uintptr_t)in->addresses, .n = in->n}, .profile = S("mailbox-strict"), .usage = S(in->usage), .ca = S("ca"),
		.rule = S("everybody")};
	struct store_key key = {.wrapped = (const unsigned char *)"wrapped-in", .wrapped_len = 10};
	char fingerprint[65] = {0};
	struct store_certificate c = {.der = (unsigned char *)S("der"), .der_len = 3, .serial = S("0A"), .issuer = S("CN=Elsewhere"), .fingerprint = fingerprint,
		.addresses = in->addresses[0], .not_before = time(NULL) - 60, .not_after = time(NULL) + 86400};
	struct store_import what = {&row, &key, &c, in->old, in->dry_run, "admin:root", "from elsewhere"};

	memset(key.spki_sha256, in->digit, 64);
	memset(fingerprint, in->digit, 64);
	err_clear(&err);
	return store_import(admin, &what, out, &err);
}

static struct store_imported import_it(struct incoming in)
{
	struct store_imported out;

	OK(try_import(&in, &out));
	return out;
}

#define INCOMING(who, c) ((struct incoming){.addresses = {S(who)}, .n = 1, .usage = "sign", .digit = (c)})

static bool signs(const char *address)
{
	struct store_credential c;
	const char *why;
	bool found;

	OK(store_credential_find(outbound, address, &c, &found, &why, &err));
	store_credential_clear(&c);
	return found;
}

static size_t certificates_of(const char *address)
{
	struct store_certificate_list l;
	size_t n;

	OK(store_certificates_for(admin, address, &l, &err));
	n = l.n;
	store_certificate_list_clear(&l);
	return n;
}

/* What enrolld does with a checked row. */
static void go_on(int64_t id)
{
	struct enrollment row;
	struct store_certificate c;
	struct store_step step = {.row = &row, .actor = "test", .certificate = &c};
	bool found;

	store_fixture_claim(enrolld, id, &row);
	ck_assert_int_eq(row.state, ENROLLMENT_CHECKED);
	OK(store_certificate_get(enrolld, row.certificate_id, &c, &found, &err));
	ck_assert(found);
	ck_assert_str_eq(c.status, "checked");
	free(c.status);
	c.status = strdup("active");
	row.state = ENROLLMENT_ACTIVE;
	ck_assert(commit(&step));
	store_certificate_clear(&c);
	enrollment_clear(&row);
}

START_TEST(what_comes_in_is_due_as_checked_and_signs_when_enrolld_went_on)
{
	struct store_imported out = import_it(INCOMING(ALICE, 'a'));
	struct enrollment row = get(out.enrollment_id);

	ck_assert(out.created);
	ck_assert_str_eq(out.status, "checked");
	ck_assert_int_eq(row.state, ENROLLMENT_CHECKED);
	ck_assert(row.next_at != 0 && row.next_at <= time(NULL));
	ck_assert_str_eq(row.ca, "ca");
	ck_assert_str_eq(row.rule, "everybody");
	ck_assert_int_ne(row.key_id, 0);
	ck_assert(!signs(ALICE));
	ck_assert_uint_eq(count_events(row.id, "imported"), 1);
	go_on(row.id);
	ck_assert(signs(ALICE));
	enrollment_clear(&row);
}
END_TEST

START_TEST(the_same_again_changes_nothing_and_a_dry_run_neither)
{
	struct incoming in = INCOMING(ALICE, 'a');
	struct store_imported out;

	in.dry_run = true;
	out = import_it(in);
	ck_assert(out.created);
	ck_assert_uint_eq(certificates_of(ALICE), 0);
	in.dry_run = false;
	out = import_it(in);
	go_on(out.enrollment_id);
	for (int i = 0; i < 2; i++) {
		in.old = i == 1;
		out = import_it(in);
		ck_assert(!out.created);
		ck_assert_str_eq(out.status, "active");
	}
	ck_assert_uint_eq(certificates_of(ALICE), 1);
	ck_assert(signs(ALICE));
}
END_TEST

START_TEST(an_active_certificate_stays_and_a_second_one_is_for_reading)
{
	struct store_imported first = import_it(INCOMING(ALICE, 'a')), out;
	struct incoming in = INCOMING(ALICE, 'b');
	struct enrollment before, after;

	go_on(first.enrollment_id);
	before = get(first.enrollment_id);
	ck_assert(!try_import(&in, &out));
	ck_assert_int_eq(err.class, ERR_POLICY);
	in.old = true;
	out = import_it(in);
	ck_assert(out.created);
	ck_assert_str_eq(out.status, "superseded");
	after = get(first.enrollment_id);
	ck_assert_int_eq(after.version, before.version);
	ck_assert_int_eq(after.certificate_id, before.certificate_id);
	ck_assert_uint_eq(certificates_of(ALICE), 2);
	enrollment_clear(&before);
	enrollment_clear(&after);
}
END_TEST

START_TEST(for_reading_alone_it_stands_in_nobodys_way)
{
	struct incoming in = INCOMING(ALICE, 'a');
	struct store_imported out;
	int64_t id;

	in.old = true;
	out = import_it(in);
	ck_assert_int_eq(state_of(out.enrollment_id), ENROLLMENT_SUPERSEDED);
	ck_assert(!signs(ALICE));
	id = request(ALICE);
	ck_assert_int_ne(id, out.enrollment_id);
	ck_assert_int_eq(state_of(id), ENROLLMENT_REQUESTED);
}
END_TEST

START_TEST(a_row_that_waits_for_its_order_takes_it_in_one_under_way_does_not)
{
	static const struct { enum enrollment_state state; bool taken; } table[] = {
		{ENROLLMENT_REQUESTED, true}, {ENROLLMENT_ELIGIBLE, true}, {ENROLLMENT_BLOCKED, true}, {ENROLLMENT_FAILED, true},
		{ENROLLMENT_VALIDATED, false}, {ENROLLMENT_FINALIZED, false}, {ENROLLMENT_CHECKED, false}, {ENROLLMENT_REVOKING, false},
	};
	struct incoming in = INCOMING(ALICE, 'a');
	int64_t id = store_fixture_enroll(enrolld, ALICE, table[_i].state);
	struct enrollment row;
	struct store_imported out;

	ck_assert_msg(try_import(&in, &out) == table[_i].taken, "%s: %s", enrollment_state_name(table[_i].state), err.text);
	row = get(id);
	ck_assert_int_eq(row.state, table[_i].taken ? ENROLLMENT_CHECKED : table[_i].state);
	ck_assert_uint_eq(certificates_of(ALICE), table[_i].taken ? 1 : 0);
	if (table[_i].taken)
		ck_assert_int_eq(out.enrollment_id, id);
	enrollment_clear(&row);
}
END_TEST

START_TEST(a_worker_that_holds_the_row_is_not_disturbed)
{
	struct incoming in = INCOMING(ALICE, 'a');
	struct store_imported out;
	struct enrollment row;

	request(ALICE);
	ck_assert(claim(&row, "w", time(NULL), 600));
	ck_assert(!try_import(&in, &out));
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	enrollment_clear(&row);
}
END_TEST

START_TEST(the_key_of_one_is_not_taken_in_for_another)
{
	struct incoming in = INCOMING(BOB, 'a');
	struct store_imported out;

	import_it(INCOMING(ALICE, 'a'));
	store_fixture_sql(&f, "UPDATE certificates SET fingerprint = 'other'");
	ck_assert(!try_import(&in, &out));
	ck_assert_int_eq(err.class, ERR_POLICY);
	ck_assert_uint_eq(certificates_of(BOB), 0);
}
END_TEST

START_TEST(the_one_for_encryption_stands_beside_the_one_that_signs)
{
	struct incoming in = INCOMING(ALICE, 'b');
	struct store_imported out, first;
	struct enrollment row;

	in.usage = "encrypt";
	ck_assert(!try_import(&in, &out));
	ck_assert_str_eq(err.type, STORE_IMPORT_NOT_YET);
	first = import_it(INCOMING(ALICE, 'a'));
	out = import_it(in);
	row = get(out.enrollment_id);
	ck_assert_int_eq(row.companion_of, first.enrollment_id);
	ck_assert_str_eq(row.usage, "encrypt");
	enrollment_clear(&row);
}
END_TEST

START_TEST(addresses_of_two_rows_are_refused_and_a_disabled_one_stays_disabled)
{
	struct incoming in = {.addresses = {S(ALICE), S(BOB)}, .n = 2, .usage = "sign", .digit = 'a'};
	struct store_imported out;
	struct enrollment row;
	int64_t id = store_fixture_enroll(enrolld, ALICE, ENROLLMENT_FAILED);
	bool changed;

	store_fixture_enroll(enrolld, BOB, ENROLLMENT_FAILED);
	ck_assert(!try_import(&in, &out));
	ck_assert_int_eq(err.class, ERR_POLICY);
	OK(store_enrollment_admin(enrolld, id, ENROLLMENT_ADMIN_DISABLE, "admin", "gone", &changed, &err));
	out = import_it(INCOMING(ALICE, 'a'));
	row = get(out.enrollment_id);
	ck_assert(row.disabled);
	ck_assert(!signs(ALICE));
	enrollment_clear(&row);
}
END_TEST

START_TEST(nobody_signs_with_what_came_in_for_somebody_who_left)
{
	struct store_imported out;
	struct enrollment row;
	bool changed;

	store_fixture_enroll(enrolld, ALICE, ENROLLMENT_FAILED);
	OK(store_departure_note(enrolld, ALICE, DEPARTURE_GONE, "enrolld", "left", &changed, &err));
	OK(store_departure_end(enrolld, ALICE, "over", &changed, &err));
	out = import_it(INCOMING(ALICE, 'a'));
	ck_assert(out.created);
	row = get(out.enrollment_id);
	ck_assert_int_ne(row.gone_since, 0); /* so no worker takes it up */
	enrollment_clear(&row);
	ck_assert(!signs(ALICE));
	OK(store_departure_undo(enrolld, ALICE, "enrolld", "back", &changed, &err));
	go_on(out.enrollment_id);
	ck_assert(signs(ALICE));
}
END_TEST

START_TEST(what_goes_out_is_on_record_and_only_for_an_admin)
{
	struct store_imported in = import_it(INCOMING(ALICE, 'a'));
	struct store_certificate_list l;
	unsigned char *wrapped;
	size_t len;

	OK(store_certificates_for(admin, "Alice@CORP.example", &l, &err));
	ck_assert_uint_eq(l.n, 1);
	OK(store_key_export(admin, l.v[0].id, "admin:root", "to a file", &wrapped, &len, &err));
	ck_assert_uint_eq(len, 10);
	ck_assert_mem_eq(wrapped, "wrapped-in", 10);
	free(wrapped);
	ck_assert_uint_eq(count_events(in.enrollment_id, "exported"), 1);
	ck_assert(!store_key_export(admin, 4711, "admin:root", "to a file", &wrapped, &len, &err));
	ck_assert(!store_key_export(enrolld, l.v[0].id, "x", "y", &wrapped, &len, &err));
	ck_assert(!store_key_export(outbound, l.v[0].id, "x", "y", &wrapped, &len, &err));
	ck_assert_ptr_null(wrapped);
	ck_assert_uint_eq(count_events(in.enrollment_id, "exported"), 1);
	store_certificate_list_clear(&l);
}
END_TEST

/* ---- the master key ----------------------------------------------------------------------------------------------- */

static void path_of(char out[400], const char *name)
{
	snprintf(out, 400, "%s/%s", f.dir, name);
}

static void put_file(const char *name, const struct buf *content)
{
	char path[400];

	path_of(path, name);
	OK(file_write(path, content->data, content->len, 0600, -1, &err));
}

static void make_master(const char *key, const char *certificate)
{
	struct buf k = BUF_INIT, c = BUF_INIT;

	OK(keyvault_master_new(&k, &c, &err));
	put_file(key, &k);
	put_file(certificate, &c);
	buf_wipe(&k);
	buf_clear(&c);
}

static bool load_ring(struct keyring *r)
{
	char key[400], certificate[400];

	path_of(key, "k");
	path_of(certificate, "c");
	return keyring_load(r, certificate, key, &err);
}

static void move_file(const char *from, const char *to)
{
	char a[400], b[400];

	path_of(a, from);
	path_of(b, to);
	ck_assert_int_eq(rename(a, b), 0);
}

START_TEST(a_pair_is_what_fits_wherever_it_lies)
{
	struct keyring r;
	X509 *next;

	make_master("k", "c");
	OK(load_ring(&r));
	ck_assert_uint_eq(r.n, 1);
	keyring_clear(&r);
	make_master("k.next", "c.next");
	OK(load_ring(&r));
	ck_assert_uint_eq(r.n, 2);
	next = r.v[1].certificate;
	X509_up_ref(next);
	keyring_clear(&r);
	move_file("k.next", "k");
	OK(load_ring(&r));
	ck_assert_uint_eq(r.n, 1);
	ck_assert_int_eq(X509_cmp(r.v[0].certificate, next), 0);
	keyring_clear(&r);
	move_file("c.next", "c");
	OK(load_ring(&r));
	ck_assert_int_eq(X509_cmp(r.v[0].certificate, next), 0);
	keyring_clear(&r);
	make_master("k", "other");
	ck_assert(!load_ring(&r));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	X509_free(next);
}
END_TEST

static EVP_PKEY *wrapped_for(X509 *master, struct buf *out)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");

	OK(keyvault_wrap(out, key, master, &err));
	return key;
}

START_TEST(a_key_goes_from_one_to_the_other_and_a_damaged_one_is_told)
{
	struct buf old = BUF_INIT, anew = BUF_INIT;
	struct keyring r;
	EVP_PKEY *key, *back;
	bool damaged;

	make_master("k", "c");
	make_master("k.next", "c.next");
	OK(load_ring(&r));
	key = wrapped_for(r.v[0].certificate, &old);
	ck_assert_ptr_eq(keyring_for(&r, old.data, old.len), &r.v[0]);
	OK(keyring_rewrap(&r, &r.v[1], old.data, old.len, &anew, &damaged, &err));
	ck_assert(keyvault_is_for(anew.data, anew.len, r.v[1].certificate));
	ck_assert(!keyvault_is_for(anew.data, anew.len, r.v[0].certificate));
	back = keyvault_unwrap(anew.data, anew.len, r.v[1].certificate, r.v[1].key, &err);
	ck_assert_int_eq(EVP_PKEY_eq(key, back), 1);
	old.data[old.len - 1] ^= 1; /* the tag */
	ck_assert(!keyring_rewrap(&r, &r.v[1], old.data, old.len, &anew, &damaged, &err));
	ck_assert(damaged);
	ck_assert(!keyring_rewrap(&r, &r.v[1], "x", 1, &old, &damaged, &err));
	ck_assert(damaged);
	keyring_clear(&r);
	make_master("k", "c"); /* not the one it is wrapped for */
	move_file("k.next", "away");
	OK(load_ring(&r));
	ck_assert(!keyring_rewrap(&r, &r.v[0], anew.data, anew.len, &old, &damaged, &err));
	ck_assert(!damaged);
	ck_assert_int_eq(err.class, ERR_CONFIG);
	EVP_PKEY_free(key);
	EVP_PKEY_free(back);
	buf_clear(&old);
	buf_clear(&anew);
	keyring_clear(&r);
}
END_TEST

START_TEST(the_store_says_which_one_is_in_force_and_what_is_for_another_does_not_come_in)
{
	struct store_key key = {.wrapped = (const unsigned char *)"w", .wrapped_len = 1};
	struct enrollment row;
	struct store_step step = {.row = &row, .event = "key", .actor = "test", .new_key = &key, .keep_lease = true};
	char certificate[400];
	struct keyring r;
	X509 *force;
	bool stale;

	make_master("k", "c");
	make_master("k.next", "c.next");
	OK(load_ring(&r));
	path_of(certificate, "c");
	for (size_t i = 0; i < 2; i++) {
		if (i == 1)
			OK(keyring_put_in_force(admin, r.v[1].certificate, "admin:root", &err));
		force = keyring_in_force(enrolld, certificate, true, &err);
		ck_assert_msg(force != NULL, "%s", err.text);
		ck_assert_int_eq(X509_cmp(force, r.v[i].certificate), 0);
		ck_assert(keyring_is_of(outbound, &r, certificate, &err));
		X509_free(force);
	}
	request(ALICE);
	ck_assert(claim(&row, "w", time(NULL), 600));
	memset(key.spki_sha256, 'a', 64);
	OK(keyvault_spki(r.v[0].key, key.master, &err));
	ck_assert(!store_step_commit(enrolld, &step, &stale, &err));
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	OK(keyvault_spki(r.v[1].key, key.master, &err));
	OK(store_step_commit(enrolld, &step, &stale, &err));
	enrollment_clear(&row);
	keyring_clear(&r);
}
END_TEST

START_TEST(a_key_that_changed_meanwhile_is_not_written_over)
{
	struct store_wrapped_list l;

	import_it(INCOMING(ALICE, 'a'));
	import_it(INCOMING(BOB, 'b'));
	OK(store_keys_wrapped(admin, 0, 10, &l, &err));
	ck_assert_uint_eq(l.n, 2);
	for (size_t i = 0; i < 2; i++)
		buf_puts(&l.v[i].anew, "anew");
	store_fixture_sql(&f, "UPDATE user_keys SET wrapped = X'00' WHERE id = 2");
	OK(store_keys_rewrap(admin, &l, &err));
	store_wrapped_list_clear(&l);
	OK(store_keys_wrapped(admin, 0, 1, &l, &err));
	ck_assert_uint_eq(l.n, 1);
	ck_assert_mem_eq(l.v[0].data, "anew", 4);
	store_wrapped_list_clear(&l);
	OK(store_keys_wrapped(admin, 1, 10, &l, &err));
	ck_assert_uint_eq(l.v[0].len, 1);
	store_wrapped_list_clear(&l);
	ck_assert(!store_keys_wrapped(enrolld, 0, 10, &l, &err));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store keys");
	TCase *t = tcase_create("keys");

	tcase_add_checked_fixture(t, setup_admin, teardown_admin);
	tcase_add_test(t, what_comes_in_is_due_as_checked_and_signs_when_enrolld_went_on);
	tcase_add_test(t, the_same_again_changes_nothing_and_a_dry_run_neither);
	tcase_add_test(t, an_active_certificate_stays_and_a_second_one_is_for_reading);
	tcase_add_test(t, for_reading_alone_it_stands_in_nobodys_way);
	tcase_add_loop_test(t, a_row_that_waits_for_its_order_takes_it_in_one_under_way_does_not, 0, 8);
	tcase_add_test(t, a_worker_that_holds_the_row_is_not_disturbed);
	tcase_add_test(t, the_key_of_one_is_not_taken_in_for_another);
	tcase_add_test(t, the_one_for_encryption_stands_beside_the_one_that_signs);
	tcase_add_test(t, addresses_of_two_rows_are_refused_and_a_disabled_one_stays_disabled);
	tcase_add_test(t, nobody_signs_with_what_came_in_for_somebody_who_left);
	tcase_add_test(t, what_goes_out_is_on_record_and_only_for_an_admin);
	tcase_add_test(t, a_pair_is_what_fits_wherever_it_lies);
	tcase_add_test(t, a_key_goes_from_one_to_the_other_and_a_damaged_one_is_told);
	tcase_add_test(t, the_store_says_which_one_is_in_force_and_what_is_for_another_does_not_come_in);
	tcase_add_test(t, a_key_that_changed_meanwhile_is_not_written_over);
	suite_add_tcase(suite, t);
	return run_suite(suite);
}
