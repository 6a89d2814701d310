/*
 * tests/bench/bench_fill_sqlite.c - users into a file, by one transaction.
 */
#include "config.h"

#include "tests/bench/bench_fill.h"

#include <stdlib.h>

#include <sqlite3.h>

static const char *const inserts[] = {
	"INSERT INTO enrollments (id, address, address_key, addresses, profile, usage, state, resume, state_since, next_at, requested_at, entry)"
	" VALUES (?1, ?2, ?2, ?2, 'mailbox-strict', 'sign', 'active', 'active', ?3, ?3 + 300 * 86400, ?3, printf('%036d', ?1))",
	"INSERT INTO enrollment_addresses (enrollment_id, address_key) VALUES (?1, ?2)",
	"INSERT INTO user_keys (id, enrollment_id, wrapped, spki_sha256, created_at) VALUES (?1, ?1, ?4, printf('%064d', ?1), ?3)",
	"INSERT INTO certificates (id, enrollment_id, key_id, der, chain, serial, issuer, fingerprint, addresses, not_before, not_after, status, created_at)"
	" VALUES (?1, ?1, ?1, ?5, ?6, printf('%x', ?1), 'CN=Issuing', printf('%064d', ?1), ?2, ?3 - 86400, ?3 + 365 * 86400, 'active', ?3)",
};
#define INSERTS ((int)(sizeof(inserts) / sizeof(inserts[0])))

struct file {
	sqlite3 *db;
	sqlite3_stmt *insert[INSERTS];
};

static void run(struct file *f, const char *sql)
{
	if (sqlite3_exec(f->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		bench_die("%s: %s", sql, sqlite3_errmsg(f->db));
}

static void *begin(const struct store_settings *s)
{
	struct file *f = calloc(1, sizeof *f);

	if (!f || sqlite3_open_v2(s->path, &f->db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
		bench_die("%s: %s", s->path, f ? sqlite3_errmsg(f->db) : "no memory");
	run(f, "BEGIN IMMEDIATE");
	for (int i = 0; i < INSERTS; i++)
		if (sqlite3_prepare_v2(f->db, inserts[i], -1, &f->insert[i], NULL) != SQLITE_OK)
			bench_die("%s: %s", inserts[i], sqlite3_errmsg(f->db));
	return f;
}

/* Parameters that a statement has not are no matter. */
static void put(void *to, const struct bench_fill_user *u)
{
	struct file *f = to;

	for (int i = 0; i < INSERTS; i++) {
		sqlite3_stmt *s = f->insert[i];

		sqlite3_bind_int64(s, 1, (sqlite3_int64)u->id);
		sqlite3_bind_text(s, 2, u->address, -1, SQLITE_STATIC);
		sqlite3_bind_int64(s, 3, u->now);
		sqlite3_bind_blob(s, 4, u->wrapped->data, (int)u->wrapped->len, SQLITE_STATIC);
		sqlite3_bind_blob(s, 5, u->der->data, (int)u->der->len, SQLITE_STATIC);
		sqlite3_bind_blob(s, 6, u->chain->data, (int)u->chain->len, SQLITE_STATIC);
		if (sqlite3_step(s) != SQLITE_DONE)
			bench_die("%s: %s", inserts[i], sqlite3_errmsg(f->db));
		sqlite3_reset(s);
	}
}

static void end(void *to)
{
	struct file *f = to;

	for (int i = 0; i < INSERTS; i++)
		sqlite3_finalize(f->insert[i]);
	run(f, "COMMIT");
	sqlite3_close(f->db);
	free(f);
}

const struct bench_fill_ops bench_fill_sqlite = {begin, put, end};
