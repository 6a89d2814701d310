/*
 * tests/unit/store_postgresql.h - databases for unit tests in the PostgreSQL that $ENROLL_TEST_POSTGRESQL names; tests/postgresql.py starts one.
 *
 * The variable is a libpq connection string without dbname whose user has %r in it: there the product's roles go, and "super" for who makes and
 * drops databases and pokes in them behind the store's back.  Everything aborts with the server's words when it fails.
 */
#ifndef ENROLL_TESTS_UNIT_STORE_POSTGRESQL_H
#define ENROLL_TESTS_UNIT_STORE_POSTGRESQL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Whether the stores of this run are in PostgreSQL. */
static inline bool store_on_postgresql(void)
{
	const char *where = getenv("ENROLL_TEST_POSTGRESQL");

	return where != NULL && where[0] != '\0';
}

#ifdef HAVE_POSTGRESQL
#include <libpq-fe.h>

static inline PGconn *postgresql_connect_as(const char *who, const char *database)
{
	const char *where = getenv("ENROLL_TEST_POSTGRESQL"), *role = strstr(where, "%r");
	char text[1000];
	PGconn *c;

	if (role == NULL) {
		fprintf(stderr, "ENROLL_TEST_POSTGRESQL has no %%r in the user's name\n");
		abort();
	}
	snprintf(text, sizeof(text), "%.*s%s%s dbname=%s options='-c client_min_messages=warning'", (int)(role - where), where, who, role + 2, database);
	c = PQconnectdb(text);
	if (PQstatus(c) != CONNECTION_OK) {
		fprintf(stderr, "%s", PQerrorMessage(c));
		abort();
	}
	return c;
}

static inline PGconn *postgresql_connect(const char *database)
{
	return postgresql_connect_as("super", database);
}

/* Any statements; the number in the first column of the last one's first row, 0 without one. */
static inline int64_t postgresql_run(PGconn *c, const char *sql)
{
	PGresult *r = PQexec(c, sql);
	int64_t n;

	if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK) {
		fprintf(stderr, "%s: %s", sql, PQerrorMessage(c));
		abort();
	}
	n = PQntuples(r) > 0 && PQnfields(r) > 0 ? strtoll(PQgetvalue(r, 0, 0), NULL, 10) : 0;
	PQclear(r);
	return n;
}

static inline void postgresql_run_in(const char *database, const char *sql)
{
	PGconn *c = postgresql_connect(database);

	postgresql_run(c, sql);
	PQfinish(c);
}

/* A new empty database; its name is this process' and counted. */
static inline void postgresql_make(char name[64])
{
	static int made;
	char sql[200];

	snprintf(name, 64, "test_%ld_%d", (long)getpid(), ++made);
	snprintf(sql, sizeof(sql), "DROP DATABASE IF EXISTS %s WITH (FORCE)", name); /* of a test that died, when process ids come round */
	postgresql_run_in("postgres", sql);
	snprintf(sql, sizeof(sql), "CREATE DATABASE %s OWNER enroll_owner", name);
	postgresql_run_in("postgres", sql);
}

static inline void postgresql_drop(const char *name)
{
	char sql[200];

	snprintf(sql, sizeof(sql), "DROP DATABASE %s WITH (FORCE)", name);
	postgresql_run_in("postgres", sql);
}

/* All that pg_dump has to say of it; freed by the caller. */
static inline char *postgresql_dump(const char *database)
{
	const char *where = getenv("ENROLL_TEST_POSTGRESQL"), *role = strstr(where, "%r");
	char command[1200], *out = NULL;
	size_t n = 0, got = 1;
	FILE *p;

	snprintf(command, sizeof(command), "pg_dump -d '%.*ssuper%s dbname=%s'", (int)(role - where), where, role + 2, database);
	p = popen(command, "r");
	while (p != NULL && got > 0) {
		out = realloc(out, n + 65537);
		if (out == NULL)
			abort();
		got = fread(out + n, 1, 65536, p);
		n += got;
	}
	if (p == NULL || pclose(p) != 0)
		abort();
	out[n] = '\0';
	return out;
}

/* What the product gets as store.connection. */
static inline char *postgresql_connection(const char *database)
{
	char *text = NULL;

	if (asprintf(&text, "%s dbname=%s", getenv("ENROLL_TEST_POSTGRESQL"), database) < 0)
		abort();
	return text;
}

/* Octets as SQLite writes them, x'00ff', are a string of bits in PostgreSQL: make them '\x00ff'::bytea. */
static inline char *postgresql_dialect(const char *sql)
{
	char *out = malloc(strlen(sql) * 12 + 1), *to = out;

	if (out == NULL)
		abort();
	for (const char *at = sql; *at != '\0';) {
		bool octets = (*at == 'x' || *at == 'X') && at[1] == '\'' && (at == sql || strchr(" ,(=", at[-1]) != NULL);
		const char *end = octets ? strchr(at + 2, '\'') : NULL;

		if (end == NULL) {
			*to++ = *at++;
			continue;
		}
		to += sprintf(to, "'\\x%.*s'::bytea", (int)(end - at - 2), at + 2);
		at = end + 1;
	}
	*to = '\0';
	return out;
}

/* Rows put in with ids of their own do not move the counters of ids along. */
static const char postgresql_after[] =
	"DO $$ DECLARE c record; BEGIN"
	" FOR c IN SELECT table_name AS t, column_name AS n FROM information_schema.columns WHERE table_schema = 'enroll'"
	"  AND pg_get_serial_sequence(quote_ident(table_schema) || '.' || quote_ident(table_name), column_name) IS NOT NULL LOOP"
	"  EXECUTE format('SELECT setval(s, m) FROM (SELECT pg_get_serial_sequence(%L, %L) AS s, max(%I) AS m FROM enroll.%I) AS q"
	" WHERE m > coalesce(pg_sequence_last_value(s::regclass), 0)', 'enroll.' || c.t, c.n, c.n, c.t);"
	" END LOOP; END $$";

static inline int64_t postgresql_poke(const char *database, const char *sql, bool change)
{
	PGconn *c = postgresql_connect(database);
	char *text = postgresql_dialect(sql);
	int64_t n;

	postgresql_run(c, "SET search_path = enroll");
	n = postgresql_run(c, text);
	if (change && strstr(sql, "INSERT") != NULL)
		postgresql_run(c, postgresql_after);
	free(text);
	PQfinish(c);
	return n;
}
#endif

#endif
