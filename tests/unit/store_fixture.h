/*
 * tests/unit/store_fixture.h - a store of one's own for a unit test: a temporary folder, the database in it, handles by role.
 * With $ENROLL_TEST_POSTGRESQL the database is in that PostgreSQL instead.
 *
 *	struct store_fixture f;
 *	store_fixture_start(&f);
 *	struct store *s = store_fixture_open(&f, STORE_ROLE_ENROLLD);
 *	...
 *	store_close(s);
 *	store_fixture_end(&f);
 *
 * Everything aborts the test with the error's text when it fails.
 */
#ifndef ENROLL_TESTS_UNIT_STORE_FIXTURE_H
#define ENROLL_TESTS_UNIT_STORE_FIXTURE_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/store.h"
#include "tests/unit/store_postgresql.h"

struct store_fixture {
	char dir[256];			/* temporary, for the test's own files too */
	char database[64];		/* in PostgreSQL; else empty */
	struct store_settings settings; /* path = dir/store/store.db, the group of the process; or connection = this database */
};

/* Told on a line of its own, which tests/lib.sh counts as skipped. */
static inline bool store_left_out(const char *what, const char *why)
{
	if (store_on_postgresql())
		printf("left out on PostgreSQL: %s: %s\n", what, why);
	return store_on_postgresql();
}

static inline void store_fixture_fail(const char *what, const struct err *err)
{
	fprintf(stderr, "%s: %s [%s] %s: %s\n", what, err->op, err_class_name(err->class), err->subject, err->text);
	abort();
}

static inline void store_fixture_database(struct store_fixture *f)
{
	f->database[0] = '\0';
	if (!store_on_postgresql())
		return;
#ifdef HAVE_POSTGRESQL
	postgresql_make(f->database);
	free(f->settings.type);
	free(f->settings.connection);
	f->settings.type = strdup("postgresql");
	f->settings.connection = postgresql_connection(f->database);
#else
	fprintf(stderr, "ENROLL_TEST_POSTGRESQL is set, but this is built without libpq\n");
	abort();
#endif
}

static inline void store_fixture_start(struct store_fixture *f)
{
	const char *base = getenv("TMPDIR");
	struct err err = ERR_INIT;
	char path[300];

	snprintf(f->dir, sizeof(f->dir), "%s/store-test-XXXXXX", base != NULL ? base : "/tmp");
	if (mkdtemp(f->dir) == NULL)
		abort();
	store_settings_init(&f->settings);
	snprintf(path, sizeof(path), "%s/store/store.db", f->dir);
	free(f->settings.path);
	free(f->settings.group);
	f->settings.path = strdup(path);
	f->settings.group = strdup("");
	store_fixture_database(f);
	if (!store_create(&f->settings, &err))
		store_fixture_fail("store_create", &err);
}

static inline struct store *store_fixture_open(const struct store_fixture *f, enum store_role role)
{
	struct err err = ERR_INIT;
	struct store *store = store_open(&f->settings, role, &err);

	if (store == NULL)
		store_fixture_fail("store_open", &err);
	return store;
}

static inline void store_fixture_remove(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *entry;

	while (d != NULL && (entry = readdir(d)) != NULL) {
		char *path = NULL;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (asprintf(&path, "%s/%s", dir, entry->d_name) < 0)
			abort();
		if (entry->d_type == DT_DIR)
			store_fixture_remove(path);
		else
			unlink(path);
		free(path);
	}
	if (d != NULL)
		closedir(d);
	rmdir(dir);
}

static inline void store_fixture_end(struct store_fixture *f)
{
#ifdef HAVE_POSTGRESQL
	if (f->database[0] != '\0')
		postgresql_drop(f->database);
#endif
	store_fixture_remove(f->dir);
	store_settings_clear(&f->settings);
}

/* Claim this row for ten years, as a worker named "fixture"; other due rows are claimed on the way and given back as they were. */
static inline void store_fixture_claim(struct store *enrolld, int64_t id, struct enrollment *out)
{
	const time_t now = time(NULL) + 10 * 365 * 86400;
	struct err err = ERR_INIT;
	struct enrollment others[64] = {{0}};
	size_t n = 0;
	bool found, stale;

	for (;;) {
		if (n == 64 || !store_enrollment_claim(enrolld, "fixture", now, 10 * 365 * 86400, &others[n], &found, &err) || !found)
			store_fixture_fail("no such row to claim", &err);
		if (others[n].id == id)
			break;
		n++;
	}
	*out = others[n];
	while (n > 0) {
		struct store_step back = {.row = &others[--n]};

		if (!store_step_commit(enrolld, &back, &stale, &err) || stale)
			store_fixture_fail("store_step_commit", &err);
		enrollment_clear(&others[n]);
	}
}

/* An enrollment of this address in the state given, by the store's own calls; nobody holds it, and unless it rests in that state it is
 * due now. */
static inline int64_t store_fixture_enroll(struct store *enrolld, const char *address, enum enrollment_state state)
{
	struct err err = ERR_INIT;
	struct enrollment row;
	struct store_step step = {.row = &row, .event = "state", .actor = "test"};
	bool created, stale;
	int64_t id;

	if (!store_enrollment_request(enrolld, address, "mailbox-strict", "sign", "test", &created, &id, &err))
		store_fixture_fail("store_enrollment_request", &err);
	store_fixture_claim(enrolld, id, &row);
	row.state = state;
	row.ordered_at = time(NULL);
	if (!store_step_commit(enrolld, &step, &stale, &err) || stale)
		store_fixture_fail("store_step_commit", &err);
	enrollment_clear(&row);
	return id;
}

/* An active certificate for signing: `wrapped` is a key wrapped by keyvault_wrap (any octets will do where nothing unwraps it), `der`
 * the certificate.  The row is due in a year, as for a renewal.  Gives the enrollment's id. */
static inline int64_t store_fixture_activate(struct store *enrolld, const char *address, const void *wrapped, size_t wrapped_len,
	const char spki[65], const void *der, size_t der_len, const void *chain, size_t chain_len)
{
	struct err err = ERR_INIT;
	struct enrollment row;
	struct store_key key = {.wrapped = wrapped, .wrapped_len = wrapped_len};
	struct store_certificate certificate = {
		.der = (unsigned char *)(uintptr_t)der,
		.der_len = der_len,
		.chain = (unsigned char *)(uintptr_t)chain,
		.chain_len = chain_len,
		.serial = (char *)(uintptr_t) "01",
		.issuer = (char *)(uintptr_t) "CN=Test CA",
		.fingerprint = (char *)(uintptr_t) "00",
		.addresses = (char *)(uintptr_t)address,
		.not_before = time(NULL) - 60,
		.not_after = time(NULL) + 86400,
		.status = (char *)(uintptr_t) "active",
	};
	struct store_step step = {.row = &row, .event = "state", .actor = "test", .new_key = &key, .certificate = &certificate};
	bool stale;
	int64_t id = store_fixture_enroll(enrolld, address, ENROLLMENT_PUBLISHED);

	memcpy(key.spki_sha256, spki, sizeof(key.spki_sha256));
	store_fixture_claim(enrolld, id, &row);
	row.state = ENROLLMENT_ACTIVE;
	row.next_at = time(NULL) + 365 * 86400;
	if (!store_step_commit(enrolld, &step, &stale, &err) || stale)
		store_fixture_fail("store_step_commit", &err);
	enrollment_clear(&row);
	return id;
}

#endif
