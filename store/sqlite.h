/*
 * store/sqlite.h - what the SQLite engine's files share.  Private to store/sqlite*.c, store/schema.c and their tests.
 */
#ifndef ENROLL_STORE_SQLITE_H
#define ENROLL_STORE_SQLITE_H

#include <sqlite3.h>

#include "store/db.h"

/* Marks the file as ours (PRAGMA application_id): "ENRM". */
#define SQLITE_APPLICATION_ID 0x454e524d

/* An error of SQLite as one of ours.  `h` may be NULL.  Returns false. */
bool sqlite_error(struct err *err, const char *op, const char *subject, sqlite3 *h, int rc);
bool sqlite_run(sqlite3 *h, const char *sql, const char *op, const char *subject, struct err *err);
/* First column of the first row, as text cut to `size`; "" when there is none. */
bool sqlite_ask(sqlite3 *h, const char *sql, char *out, size_t size, const char *op, const char *subject, struct err *err);
/* A handle with our settings (foreign keys, full synchronous, nothing trusted); `flags` are those of sqlite3_open_v2. */
sqlite3 *sqlite_handle_new(const char *path, int flags, unsigned busy_ms, const char *op, struct err *err);
/* Puts the file into WAL mode, or says that this file system cannot. */
bool sqlite_use_wal(sqlite3 *h, const char *op, const char *path, struct err *err);
/* integrity_check and foreign_key_check; ERR_CONFIG with what was found. */
bool sqlite_verify(sqlite3 *h, const char *op, const char *path, struct err *err);

/* From here on the handle can do no more than the role needs. */
void sqlite_guard(sqlite3 *h, enum store_role role);

/* ---- files (sqlite_file.c) --------------------------------------------------------------------------------------- */

bool sqlite_create(const struct store_settings *s, struct err *err);
/* ERR_CONFIG with how one is made when there is none. */
bool sqlite_is_there(const char *path, const char *op, struct err *err);
bool sqlite_copy_out(const struct store_settings *s, const char *to, struct err *err);
bool sqlite_restore(const struct store_settings *s, const char *from, struct err *err);

/* ---- schema (schema.c) ------------------------------------------------------------------------------------------- */

/* One step of the schema: statements closed by NULL that lead from version - 1 to version.
 * readable_by: the oldest schema whose milters can go on with this one, because all that came since is additive: new tables, and new columns with a
 * default.  0 = none but this.  The highest of these is kept as PRAGMA user_version, where it costs nothing to look at it in each transaction. */
struct migration {
	int version;
	const char *const *statements;
	int readable_by;
};
enum schema_access {
	SCHEMA_CREATE, /* the file is empty: bring everything */
	SCHEMA_MIGRATE,
	SCHEMA_WRITE,  /* it has to be ours: an older one is an error with the command that upgrades it */
	SCHEMA_COPY,   /* ours or an older one, which stays as it is */
	SCHEMA_READ    /* an older schema is an error that passes by itself, a newer one may do */
};
/* Bring the database to the last version of `list` (ascending from 1), each step in a transaction of its own, its number with it. */
bool schema_apply(sqlite3 *h, const struct migration *list, size_t n, enum schema_access access, const char *op, const char *path,
	struct err *err);
/* The same with the schema of this program. */
bool schema_prepare(sqlite3 *h, enum schema_access access, const char *op, const char *path, struct err *err);
/* false when it is marked as none. */
bool schema_unmarked(sqlite3 *h, const char *op, const char *path, struct err *err);
/* What a store of any schema says of itself. */
bool schema_look(sqlite3 *h, struct store_look *out, const char *op, const char *path, struct err *err);

#endif
