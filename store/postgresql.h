/*
 * store/postgresql.h - what the PostgreSQL engine's files share.  Private to store/postgresql*.c and their tests.
 *
 * Every wait for the server ends at a deadline of our own clock (mono_ms), whatever the server or the network does; a connection that missed it is of no
 * more use and is closed.
 */
#ifndef ENROLL_STORE_POSTGRESQL_H
#define ENROLL_STORE_POSTGRESQL_H

#include <libpq-fe.h>

#include "store/db.h"

/* The schema of the database in which our tables are, and where changes are told. */
#define PG_SCHEMA "enroll"
#define PG_CHANNEL_CREDENTIALS "enroll_credentials" /* what the look-up of a credential could answer has changed */
#define PG_CHANNEL_WORK "enroll_work"		    /* and what enrolld has to do */
/* Keys of advisory locks: writers share the first or have it alone; who makes or changes tables has the second. */
#define PG_LOCK_WRITE "5640111"
#define PG_LOCK_SCHEMA "5640112"

/* How our connections are named: this, who, and the newest schema that the program knows. */
#define PG_NAME "enroll-milter "

/* Who connects; the first four are enum store_role. */
#define PG_OWNER (STORE_ROLE_ADMIN + 1)
#define PG_HELPDESK (PG_OWNER + 1)
#define PG_WHO_NUMBER (PG_HELPDESK + 1)
const char *pg_who_name(int who);

/* ---- connections (postgresql_handle.c) --------------------------------------------------------------------------- */

/* store.connection with %r replaced; freed by the caller; NULL without memory. */
char *pg_conninfo(const struct store_settings *s, int who);
/* The database role that this means; freed by the caller.  ERR_CONFIG when libpq cannot read the string. */
char *pg_user(const struct store_settings *s, int who, struct err *err);
/* How long the server works on a statement of this role, at most; 0 = as long as it takes. */
unsigned pg_statement_ms(const struct store_settings *s, int who);
/* How long the server lets a transaction stand still: less than others wait for what it holds. */
unsigned pg_idle_ms(const struct store_settings *s);

/* Connected, with our settings; NULL on failure.  Blocks for as long as connect_timeout says for each host (3 seconds unless the string says other). */
PGconn *pg_connect(const struct store_settings *s, int who, const char *op, struct err *err);
/* An error of a result, or (result NULL) of the connection, as one of ours.  Returns false. */
bool pg_error(struct err *err, const char *op, PGconn *conn, const PGresult *result);
/* Nobody but the server meant can be at the other end: a way inside of this host, or one that is encrypted and whose certificate was checked. */
bool pg_is_verified(PGconn *conn);
/* Its certificate, but not that its name is in it. */
bool pg_checks_ca_alone(PGconn *conn);
/* How many seconds our clock is ahead of the server's. */
bool pg_clock_ahead(PGconn *conn, int64_t *seconds, int64_t deadline, const char *op, struct err *err);
/* SQLSTATE of a result is this one. */
bool pg_state_is(const PGresult *result, const char *state);

/* What came back for one message: as many results as statements in it. */
#define PG_RESULTS_MAX 8
struct pg_results {
	PGresult *v[PG_RESULTS_MAX];
	size_t n;
};
void pg_results_clear(struct pg_results *r);
/* Waits for all results of what was sent before; false when one is an error or the deadline came (then the connection is BAD or unusable: *lost). */
bool pg_collect(PGconn *conn, int64_t deadline, struct pg_results *out, bool *lost, const char *op, struct err *err);
/* What pg_collect is made of: whatever we sent is under way; the next result (NULL: there is no more).  False: as its *lost. */
bool pg_flush(PGconn *conn, int64_t deadline, const char *op, struct err *err);
bool pg_next(PGconn *conn, int64_t deadline, PGresult **out, const char *op, struct err *err);
/* One or several statements without parameters, in one message. */
bool pg_run(PGconn *conn, const char *sql, int64_t deadline, struct pg_results *out, bool *lost, const char *op, struct err *err);
/* The same where the results do not matter. */
bool pg_do(PGconn *conn, const char *sql, int64_t deadline, const char *op, struct err *err);
/* First column of the first row of a statement, as text cut to `size`; "" when there is none or it is NULL. */
bool pg_ask(PGconn *conn, const char *sql, char *out, size_t size, int64_t deadline, const char *op, struct err *err);

/* For who makes tables, and waits as long as it takes. */
#define NO_HURRY (mono_ms() + INT32_MAX)

/* ---- schema (postgresql_schema.c, postgresql_tables.c) ------------------------------------------------------------ */

struct pg_migration {
	int version;
	const char *const *statements; /* from version - 1, closed by NULL */
	int readable_by;	       /* as struct migration has it */
};
extern const struct pg_migration pg_migrations[];
extern const size_t pg_migrations_n;

bool pg_create(const struct store_settings *s, struct err *err);
bool pg_upgrade(const struct store_settings *s, struct err *err);
bool pg_look(const struct store_settings *s, bool check, struct store_look *out, struct err *err);
/* Is the schema one that this role can work with? */
bool pg_schema_fits(PGconn *conn, int who, int64_t deadline, const char *op, struct err *err);
/* false when the store is marked as none. */
bool pg_unmarked(PGconn *conn, int64_t deadline, const char *op, struct err *err);
bool pg_settle(const struct store_settings *s, struct err *err);
bool pg_compact(const struct store_settings *s, struct err *err);
/* Tables, constraints and indexes are all there and valid. */
bool pg_verify(PGconn *conn, int64_t deadline, const char *op, struct err *err);
/* What an admin should know of this server and of how we are connected. */
bool pg_advice(PGconn *conn, const struct store_settings *s, int64_t deadline, struct strlist *out, const char *op, struct err *err);
/* "schema_version" or "readable_by": which number in table meta must not be newer than this program for this role. */
const char *pg_needs(int who);

/* ---- functions for a help desk (postgresql_helpdesk.c) -------------------------------------------------------------- */

/*
 * They are called by other programs' SQL, as the help desk's role alone:
 *
 *	enroll.helpdesk_retry(address text)			go on now with what waits, is blocked or failed
 *	enroll.helpdesk_renew(address text)			a new key and certificate now
 *	enroll.helpdesk_explain(address text)			a row for each enrollment of this person: state, since when, why, what is next, certificate
 *
 * The first two return a line that says what was done, or that nothing was to be done.  SQLSTATE: SM001 no such address, SM002 an address of several people,
 * SM003 the store is marked as none (marks.c), SM004 not in this state, SM005 busy, SM006 not READ COMMITTED, SM007 a second person in one transaction; nothing was done then.
 */

/* Make them, or make them anew, inside the transaction of who makes or upgrades the tables.  Nobody but the owner may call them then. */
bool pg_helpdesk_make(PGconn *conn, const struct store_settings *s, const char *op, struct err *err);
/* Statements that let this role, a quoted name, call those that are for it. */
void pg_helpdesk_put_grants(struct buf *out, const char *quoted);

/* ---- what has changed (postgresql_watch.c) ------------------------------------------------------------------------- */

/* A thread with a connection of its own that listens, and looks once a second whether the server still answers. */
struct pg_watch;
/* `cut` is called, with `arg`, by that thread each time the database is found to be away.  For milters that may be from the beginning; else, or when it is
 * nothing that passes, NULL is returned. */
struct pg_watch *pg_watch_start(const struct store_settings *s, int who, void (*cut)(void *arg), void *arg, struct err *err);
void pg_watch_stop(struct pg_watch *w);
int64_t pg_watch_counter(struct pg_watch *w); /* -1 when cut off */
int64_t pg_watch_answered(struct pg_watch *w); /* when the question was asked that was answered last */
void pg_watch_changed(struct pg_watch *w);    /* by ourselves */
int64_t pg_watch_generation(struct pg_watch *w); /* another one after each cut: what was connected before is not to be trusted */
/* Why it is cut off; *out is copied. */
void pg_watch_why(struct pg_watch *w, struct err *out);

#endif
