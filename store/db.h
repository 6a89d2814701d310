/*
 * store/db.h - what stands between the store's rooms and a database engine.  Private to store/.
 *
 * Above this line SQL text is written once, in the part of the language that SQLite and PostgreSQL share: parameters are $1, $2 ...,
 * new ids come back by RETURNING, collisions by ON CONFLICT, truth is 0 or 1, times are integers.  Below it an engine brings its own
 * connections, locking, schema text and files (struct db_ops).  Two functions more than the language has are in both: spread(n), a random number from
 * 0 to n - 1, and instr(text, part), the position of a part in a text, 0 for none.
 *
 * A call of store.h is one transaction: tx_begin, statements, tx_commit, tx_end.  tx_end belongs on every way out, also after a failed
 * tx_begin; what was not committed is rolled back.  Errors go to the err given to tx_begin, filled where they arise.
 */
#ifndef ENROLL_STORE_DB_H
#define ENROLL_STORE_DB_H

#include "store/store.h"

/* ---- values ------------------------------------------------------------------------------------------------------ */

enum db_type { DB_NULL, DB_INT, DB_TEXT, DB_BLOB };
struct db_value {
	enum db_type type;
	int64_t i;
	const void *p; /* text with NUL, or octets; borrowed for the call; a NULL text is NULL in the database */
	size_t n;
};
#define V_INT(x) {.type = DB_INT, .i = (int64_t)(x)}
#define V_ID(x) {.type = (x) != 0 ? DB_INT : DB_NULL, .i = (int64_t)(x)} /* 0 = none = NULL */
#define V_TEXT(s) {.type = DB_TEXT, .p = (s)}
#define V_BLOB(data, len) {.type = DB_BLOB, .p = (data), .n = (len)}
/* The two last arguments of a statement. */
#define VALUES(...) (const struct db_value[]){__VA_ARGS__}, sizeof((const struct db_value[]){__VA_ARGS__}) / sizeof(struct db_value)
#define NO_VALUES NULL, 0

/* ---- an engine --------------------------------------------------------------------------------------------------- */

/* Reading sees one moment.  TX_WRITE: no other writer before it ends.  TX_WRITE_ROW, for what is done often: beside others of its kind, so what it decides
 * by it reads with ROW_LOCK, or leaves to a constraint; SQLite makes no difference. */
enum tx_access { TX_READ, TX_WRITE, TX_WRITE_ROW };
/* At the end of a SELECT from one table: nobody else writes these rows before our transaction ends; or: rows that somebody else has are not there.
 * Comments to SQLite. */
#define ROW_LOCK "/*lock*/"
#define ROW_LOCK_OR_SKIP "/*skip*/"

struct db;      /* begins with struct db_base */
struct db_tx;   /* a connection with a transaction open */
struct db_rows; /* a statement being read */

struct db_ops {
	const char *name; /* store_settings.type */
	size_t values_most; /* values that one statement may have; with many of them each costs less, as far as the engine likes it */
	bool (*create)(const struct store_settings *s, struct err *err);
	struct db *(*open)(const struct store_settings *s, enum store_role role, struct err *err);
	void (*close)(struct db *db);
	int64_t (*change_counter)(struct db *db);
	int64_t (*answered_ms)(struct db *db); /* NULL: there is nobody who could be away */
	bool (*backup)(const struct store_settings *s, const char *to, struct err *err);
	bool (*restore)(const struct store_settings *s, const char *from, struct err *err);
	bool (*look)(const struct store_settings *s, bool check, struct store_look *out, struct err *err);
	bool (*upgrade)(const struct store_settings *s, struct err *err);
	bool (*check)(struct db *db, struct err *err);
	/* Inside a transaction that writes: nobody takes this store for one, from the next transaction on (marks.c), or does again. */
	bool (*mark)(struct db_tx *tx, bool on, struct err *err);
	/* Rows came in with the ids they had: the next new ids come after them, and the planner knows what there is. */
	bool (*settle)(const struct store_settings *s, struct err *err);
	/* Rows that went give their room back; and what the store takes, in octets. */
	bool (*compact)(const struct store_settings *s, struct err *err);
	bool (*size)(struct db *db, int64_t *out, struct err *err);
	bool (*advice)(struct db *db, struct strlist *out, struct err *err); /* NULL: there is never any */
	/* Blocks for a connection, or fails with ERR_TEMPORARY.  `op` is static text. */
	struct db_tx *(*begin)(struct db *db, enum tx_access access, const char *op, struct err *err);
	bool (*commit)(struct db_tx *tx, struct err *err);
	void (*end)(struct db_tx *tx);
	/* many: all rows are to be read, and nothing else is asked before they are; so they need not be in memory together. */
	struct db_rows *(*query)(struct db_tx *tx, const char *sql, const struct db_value *v, size_t n, bool many, struct err *err);
	int (*next)(struct db_rows *rows, struct err *err); /* 1 a row, 0 no more, -1 failed */
	int64_t (*affected)(struct db_tx *tx);              /* rows changed by the statement that just ended */
	void (*finish)(struct db_rows *rows);
	bool (*is_null)(struct db_rows *rows, int column);
	int64_t (*column_int)(struct db_rows *rows, int column);
	const void *(*column_data)(struct db_rows *rows, int column, size_t *len); /* valid until next; text ends with NUL */
};
struct db_base { const struct db_ops *ops; };

extern const struct db_ops sqlite_ops;
#ifdef HAVE_POSTGRESQL
extern const struct db_ops postgresql_ops;
#endif

/* ---- transactions ------------------------------------------------------------------------------------------------ */

/* Which roles may make a call. */
enum {
	MAY_OUTBOUND = 1 << STORE_ROLE_OUTBOUND,
	MAY_INBOUND = 1 << STORE_ROLE_INBOUND,
	MAY_ENROLLD = 1 << STORE_ROLE_ENROLLD,
	MAY_ADMIN = 1 << STORE_ROLE_ADMIN,
	MAY_ALL = MAY_OUTBOUND | MAY_INBOUND | MAY_ENROLLD | MAY_ADMIN
};


struct tx {
	const struct db_ops *ops;
	struct db_tx *impl;   /* NULL before begin and after a failed one */
	const char *op;
	struct err *err;      /* never NULL */
	struct err scratch;   /* when the caller wants none */
	enum tx_access access;
	int64_t began;        /* metrics_now */
	int64_t began_ms;     /* mono_ms; 0 = over, or never */
};
bool tx_begin(struct tx *tx, struct store *store, enum tx_access access, unsigned may, const char *op, struct err *err);
bool tx_commit(struct tx *tx);
void tx_end(struct tx *tx);

/* One statement without rows of interest.  *affected may be NULL. */
bool tx_run(struct tx *tx, int64_t *affected, const char *sql, const struct db_value *v, size_t n);
/* The first column of the first row as a number (a count, a new id); *out = `otherwise` when there is no row or it is NULL. */
bool tx_number(struct tx *tx, int64_t *out, int64_t otherwise, const char *sql, const struct db_value *v, size_t n);

/* Reading: rows_open, while (rows_next) rows_int ..., rows_close, which says whether all went well (also after a failed open). */
struct rows {
	struct tx *tx;
	struct db_rows *impl;
	bool failed;
};
bool rows_open(struct rows *r, struct tx *tx, const char *sql, const struct db_value *v, size_t n);
bool rows_next(struct rows *r);
bool rows_close(struct rows *r);
bool rows_null(struct rows *r, int column);
int64_t rows_int(struct rows *r, int column);
const char *rows_peek(struct rows *r, int column);                            /* "" for NULL; valid until rows_next */
char *rows_text(struct rows *r, int column);                                  /* a copy; NULL for NULL */
unsigned char *rows_blob(struct rows *r, int column, size_t *len);            /* a copy; NULL and 0 when empty */
bool rows_bad(struct rows *r, const char *what);                              /* the row makes no sense: fails the reading, returns false */

/* ---- shared by the rooms of the store ---------------------------------------------------------------------------- */

/* Every row of a statement as an element of an array.  `read` gets a zeroed element; what it leaves when it fails is counted, so that the
 * caller clears one list whatever happened.  It asks the store nothing itself.  Called again, it goes on where it was. */
struct row_list {
	void *v;
	size_t n, size;
	void (*read)(struct rows *r, void *element);
};
#define ROW_LIST(type, reader) {.size = sizeof(type), .read = (reader)}
bool tx_list(struct tx *tx, struct row_list *l, const char *sql, const struct db_value *v, size_t n);

/* Milliseconds that this thread has spent in transactions while a mail waits for it (store_patience_begin); 0, when none does. */
int64_t store_patience_used(void);

/* ERR_CONFIG of this type: the store is newer than this program, and not readable by it.  Returns false (schema.c). */
#define SCHEMA_TOO_NEW "STORE_NEWER"
bool schema_too_new(int needs, int newest, const char *op, const char *subject, struct err *err);

/* There is no store at all. */
#define STORE_NONE "STORE_NONE"
/* It is marked as none at present. */
#define STORE_MOVED "STORE_MOVED"

/* Marks in table meta, of a store that is none at present (marks.c).  What a transaction reads of the schema it needs is at least STORE_MARK then. */
#define STORE_MARK 1000000
#define MARK_MOVED "moved"
#define MARK_COPYING "copying"
#define MARKS "('" MARK_MOVED "','" MARK_COPYING "')"
/* One text, the name of the mark and its value, or no row. */
#define MARK_SELECT "SELECT name || ' ' || value FROM meta WHERE name IN " MARKS " ORDER BY name LIMIT 1"
#define MARK_SIZE 700
/* What create adds when settings say marked_too: the new store is half copied from its first instant on. */
#define MARK_NOT_BEGUN "0"
void store_mark_at_birth(char sql[200]);
/* "" or what MARK_SELECT brought: ERR_CONFIG that says where the store is instead. */
bool store_unmarked(const char *mark, const char *op, const char *subject, struct err *err);

/* An event of an enrollment inside a transaction; its address and state are taken from the row.  enrollment_id 0: about the
 * installation. */
bool event_insert(struct tx *tx, int64_t enrollment_id, time_t at, const char *name, const char *actor, enum err_class class,
	const char *text);

/* Which certificates can be revoked: $1 is what is meant (store_revocable), $2 the time, $3 the row's id in it. */
#define CERTIFICATE_REVOCABLE                                                                                                              \
	"status <> 'revoked' AND not_after > $2 AND (serial = $1 OR fingerprint = lower($1) OR enrollment_id IN (SELECT i.id"             \
	" FROM enrollments i WHERE i.address_key = (SELECT e.address_key FROM enrollments e WHERE e.id = $3)))"

/* A certificate inside a transaction. */
bool certificate_read_in(struct tx *tx, int64_t id, struct store_certificate *out, bool *found);

/* A new certificate of this row, and the addresses that it has, inside a transaction (steps.c). */
bool certificate_insert(struct tx *tx, int64_t enrollment_id, int64_t key_id, const struct store_certificate *c, time_t now, int64_t *id);
bool enrollment_addresses_write(struct tx *tx, int64_t id, const struct strlist *addresses);

/* What changes everybody's rows does it so many ids at a time, each by a transaction of its own: mails and other writers come in between.  *last is the
 * last id of the next part of this table after `after`; 0 = there is none (enrollments.c). */
#define PART_ROWS 5000
bool part_after(struct tx *tx, const char *table, int64_t after, int64_t *last);

/* Was this key wrapped for the master key that is in force?  ERR_TEMPORARY otherwise (keys.c). */
bool key_master_in_force(struct tx *tx, const struct store_key *key);
/* When a certificate c, with its row r of renewals or none, is to be renewed: by the CA's window or at two thirds of its life, and never before it came. */
#define RENEWAL_ASKED "CASE WHEN COALESCE(r.renew_at, 0) > 0 THEN r.renew_at ELSE c.not_before + (c.not_after - c.not_before) * 2 / 3 END"
#define RENEWAL_DUE "CASE WHEN c.created_at > " RENEWAL_ASKED " THEN c.created_at ELSE " RENEWAL_ASKED " END"
/* An enrollment e on the way to another certificate, or kept from it. */
#define RENEWAL_UNDER_WAY                                                                                                                  \
	"e.state IN ('requested','eligible','caa-checked','ordering','ordered','challenge-awaited','answered','validated','finalized','issued'," \
	"'checked','waiting','blocked','failed','renewing')"
/* Which CA a certificate c of enrollment e came from: the row may have another one by now. */
#define CERTIFICATE_CA                                                                                                                     \
	"COALESCE((SELECT o.ca FROM orders o WHERE o.enrollment_id = c.enrollment_id AND o.outcome = 'finalized'"                          \
	" AND o.closed_at = c.created_at ORDER BY o.id DESC LIMIT 1), e.ca)"

/* store_revoke of one certificate inside a transaction; *n is counted up when it was not revoked already. */
bool revocation_begin(struct tx *tx, const struct store_revoke *what, int64_t certificate_id, size_t *n);

/* Those that a cap counts, inside a transaction (enrollments.c). */
bool orders_count(struct tx *tx, const struct store_cap *cap, int64_t *n);
bool enrolled_count(struct tx *tx, int64_t *n);

/* ENROLLMENT_ADMIN_RENEW inside a transaction. */
bool enrollment_renew(struct tx *tx, int64_t id, const char *actor, const char *text, bool *changed);

/* ENROLLMENT_ADMIN_RETRY inside a transaction. */
bool enrollment_retry(struct tx *tx, int64_t id, const char *actor, const char *text, bool *changed);

/* States in which a challenge mail is expected: for these the row is woken by one. */
bool enrollment_state_awaits(enum enrollment_state s);

#endif
