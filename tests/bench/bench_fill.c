/*
 * tests/bench/bench_fill.c - a store with many users (bench.h).
 */
#include "config.h"

#include "tests/bench/bench.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/pem.h>
#include <sqlite3.h>

#define KEYS 8
#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

struct fill {
	sqlite3 *db;
	struct bench_ca ca;
	EVP_PKEY *keys[KEYS];
	struct buf wrapped[KEYS];
	sqlite3_stmt *insert[4];
};

static const char *const inserts[] = {
	"INSERT INTO enrollments (id, address, address_key, addresses, profile, usage, state, resume, state_since, next_at, requested_at)"
	" VALUES (?1, ?2, ?2, ?2, 'mailbox-strict', 'sign', 'active', 'active', ?3, ?3 + 300 * 86400, ?3)",
	"INSERT INTO enrollment_addresses (enrollment_id, address_key) VALUES (?1, ?2)",
	"INSERT INTO user_keys (id, enrollment_id, wrapped, spki_sha256, created_at) VALUES (?1, ?1, ?4, printf('%064d', ?1), ?3)",
	"INSERT INTO certificates (id, enrollment_id, key_id, der, chain, serial, issuer, fingerprint, addresses, not_before, not_after, status, created_at)"
	" VALUES (?1, ?1, ?1, ?5, ?6, printf('%x', ?1), 'CN=Issuing', printf('%064d', ?1), ?2, ?3 - 86400, ?3 + 365 * 86400, 'active', ?3)",
};

static void run(struct fill *f, const char *sql)
{
	if (sqlite3_exec(f->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		bench_die("%s: %s", sql, sqlite3_errmsg(f->db));
}

/* Parameters that a statement has not are no matter. */
static void insert(struct fill *f, size_t user, const char *address, const struct buf *der, const struct buf *wrapped)
{
	for (int i = 0; i < COUNT(inserts); i++) {
		sqlite3_stmt *s = f->insert[i];

		sqlite3_bind_int64(s, 1, (sqlite3_int64)user + 1);
		sqlite3_bind_text(s, 2, address, -1, SQLITE_STATIC);
		sqlite3_bind_int64(s, 3, time(NULL));
		sqlite3_bind_blob(s, 4, wrapped->data, (int)wrapped->len, SQLITE_STATIC);
		sqlite3_bind_blob(s, 5, der->data, (int)der->len, SQLITE_STATIC);
		sqlite3_bind_blob(s, 6, f->ca.chain.data, (int)f->ca.chain.len, SQLITE_STATIC);
		if (sqlite3_step(s) != SQLITE_DONE)
			bench_die("%s: %s", inserts[i], sqlite3_errmsg(f->db));
		sqlite3_reset(s);
	}
}

static FILE *create(const char *folder, const char *name)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	file = fopen(path, "w");
	if (!file)
		bench_die("cannot write %s", path);
	return file;
}

static void leave_first(struct fill *f, const struct buf *der, const char *folder)
{
	const unsigned char *p = (const unsigned char *)der->data;
	X509 *x = d2i_X509(NULL, &p, (long)der->len);
	FILE *key = create(folder, "user.key"), *leaf = create(folder, "user.pem"), *chain = create(folder, "chain.pem");

	if (!x || PEM_write_PrivateKey(key, f->keys[0], NULL, NULL, 0, NULL, NULL) != 1 || PEM_write_X509(leaf, x) != 1 ||
		fwrite(f->ca.chain.data, 1, f->ca.chain.len, chain) != f->ca.chain.len)
		bench_die("cannot write the first user's files");
	if (fclose(key) != 0 || fclose(leaf) != 0 || fclose(chain) != 0)
		bench_die("cannot write into %s", folder);
	X509_free(x);
}

void bench_fill(const char *path, size_t users, const char *kind, X509 *master_certificate, const char *folder)
{
	struct fill f = {0};
	struct buf der = BUF_INIT;
	struct err err = ERR_INIT;
	char address[ADDRESS_MAX];

	if (sqlite3_open_v2(path, &f.db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
		bench_die("%s: %s", path, sqlite3_errmsg(f.db));
	bench_ca_init(&f.ca);
	for (int i = 0; i < KEYS; i++) {
		f.keys[i] = bench_key(kind);
		if (!keyvault_wrap(&f.wrapped[i], f.keys[i], master_certificate, &err))
			bench_die("%s", err.text);
	}
	run(&f, "BEGIN IMMEDIATE");
	for (int i = 0; i < COUNT(inserts); i++)
		if (sqlite3_prepare_v2(f.db, inserts[i], -1, &f.insert[i], NULL) != SQLITE_OK)
			bench_die("%s: %s", inserts[i], sqlite3_errmsg(f.db));
	for (size_t n = 0; n < users; n++) {
		snprintf(address, sizeof address, BENCH_USER, n);
		bench_certificate(&f.ca, address, f.keys[n % KEYS], &der);
		insert(&f, n, address, &der, &f.wrapped[n % KEYS]);
		if (n == 0 && folder)
			leave_first(&f, &der, folder);
	}
	for (int i = 0; i < COUNT(inserts); i++)
		sqlite3_finalize(f.insert[i]);
	run(&f, "COMMIT");
	for (int i = 0; i < KEYS; i++) {
		EVP_PKEY_free(f.keys[i]);
		buf_clear(&f.wrapped[i]);
	}
	buf_clear(&der);
	bench_ca_clear(&f.ca);
	sqlite3_close(f.db);
}
