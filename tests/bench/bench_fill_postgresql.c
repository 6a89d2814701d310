/*
 * tests/bench/bench_fill_postgresql.c - users into PostgreSQL, by COPY as the owner of the tables, in one transaction.
 */
#include "config.h"

#include "tests/bench/bench_fill.h"

#ifdef HAVE_POSTGRESQL
#include <stdlib.h>
#include <string.h>

#include "store/postgresql.h"

#define BATCH 500 /* users whose rows are sent together: each table has to know what it refers to */

static const struct { const char *copy, *table; } tables[] = {
	{"enrollments (id, address, address_key, addresses, profile, usage, state, resume, state_since, next_at, requested_at, entry)", "enrollments"},
	{"enrollment_addresses (enrollment_id, address_key)", NULL},
	{"user_keys (id, enrollment_id, wrapped, spki_sha256, created_at)", "user_keys"},
	{"certificates (id, enrollment_id, key_id, der, chain, serial, issuer, fingerprint, addresses, not_before, not_after, status, created_at)", "certificates"},
};
#define TABLES (sizeof(tables) / sizeof(tables[0]))

struct server {
	PGconn *conn;
	struct buf rows[TABLES];
	size_t waiting;
};

static void run(struct server *s, const char *sql, ExecStatusType wanted)
{
	PGresult *r = PQexec(s->conn, sql);

	if (PQresultStatus(r) != wanted)
		bench_die("%s: %s", sql, PQerrorMessage(s->conn));
	PQclear(r);
}

static void *begin(const struct store_settings *settings)
{
	struct err err = ERR_INIT;
	struct server *s = calloc(1, sizeof *s);

	if (!s || !(s->conn = pg_connect(settings, PG_OWNER, "fill", &err)) || PQsetnonblocking(s->conn, 0) != 0)
		bench_die("%s", err.text);
	run(s, "SET idle_in_transaction_session_timeout = 0", PGRES_COMMAND_OK);
	run(s, "BEGIN", PGRES_COMMAND_OK);
	return s;
}

static void send_rows(struct server *s, size_t table)
{
	char sql[256];

	snprintf(sql, sizeof sql, "COPY %s FROM STDIN", tables[table].copy);
	run(s, sql, PGRES_COPY_IN);
	if (PQputCopyData(s->conn, s->rows[table].data, (int)s->rows[table].len) != 1 || PQputCopyEnd(s->conn, NULL) != 1)
		bench_die("%s: %s", sql, PQerrorMessage(s->conn));
	for (PGresult *r; (r = PQgetResult(s->conn)) != NULL; PQclear(r))
		if (PQresultStatus(r) != PGRES_COMMAND_OK)
			bench_die("%s: %s", sql, PQerrorMessage(s->conn));
	buf_reset(&s->rows[table]);
}

static void send_batch(struct server *s)
{
	for (size_t i = 0; s->waiting > 0 && i < TABLES; i++)
		send_rows(s, i);
	s->waiting = 0;
}

static void put_octets(struct buf *to, const struct buf *octets, char end)
{
	static const char digits[] = "0123456789abcdef";

	buf_puts(to, "\\\\x");
	for (size_t i = 0; i < octets->len; i++) {
		unsigned char c = (unsigned char)octets->data[i];
		char two[2] = {digits[c >> 4], digits[c & 15]};

		buf_append(to, two, 2);
	}
	buf_putc(to, end);
}

static void put(void *to, const struct bench_fill_user *u)
{
	struct server *s = to;
	long long now = u->now;
	const char *a = u->address;
	size_t id = u->id;

	buf_printf(&s->rows[0], "%zu\t%s\t%s\t%s\tmailbox-strict\tsign\tactive\tactive\t%lld\t%lld\t%lld\t%036zu\n", id, a, a, a, now, now + 300 * 86400LL, now,
		id);
	buf_printf(&s->rows[1], "%zu\t%s\n", id, a);
	buf_printf(&s->rows[2], "%zu\t%zu\t", id, id);
	put_octets(&s->rows[2], u->wrapped, '\t');
	buf_printf(&s->rows[2], "%064zu\t%lld\n", id, now);
	buf_printf(&s->rows[3], "%zu\t%zu\t%zu\t", id, id, id);
	put_octets(&s->rows[3], u->der, '\t');
	put_octets(&s->rows[3], u->chain, '\t');
	buf_printf(&s->rows[3], "%zx\tCN=Issuing\t%064zu\t%s\t%lld\t%lld\tactive\t%lld\n", id, id, a, now - 86400, now + 365 * 86400LL, now);
	if (++s->waiting == BATCH)
		send_batch(s);
}

/* The counters of ids go on behind ours. */
static void end(void *to)
{
	struct server *s = to;
	char sql[256];

	send_batch(s);
	for (size_t i = 0; i < TABLES; i++)
		if (tables[i].table) {
			snprintf(sql, sizeof sql, "SELECT setval(pg_get_serial_sequence('" PG_SCHEMA ".%s', 'id'), max(id)) FROM %s", tables[i].table, tables[i].table);
			run(s, sql, PGRES_TUPLES_OK);
		}
	run(s, "COMMIT", PGRES_COMMAND_OK);
	run(s, "VACUUM ANALYZE enrollments, enrollment_addresses, user_keys, certificates", PGRES_COMMAND_OK); /* as the server does it by and by */
	PQfinish(s->conn);
	for (size_t i = 0; i < TABLES; i++)
		buf_clear(&s->rows[i]);
	free(s);
}

static const struct bench_fill_ops ops = {begin, put, end};
const struct bench_fill_ops *const bench_fill_postgresql = &ops;
#else
const struct bench_fill_ops *const bench_fill_postgresql = NULL;
#endif
