/*
 * store/sqlite.c - the SQLite engine: a pool of handles behind one lock, transactions, statements that are prepared once.
 *
 * A transaction owns its handle from begin to end, so handles need no lock of their own.  Among the threads of a process at most one
 * writes: the others wait at the pool in the order of the condition variable instead of polling the file's lock against each other.
 * Between processes SQLite's write lock decides, asked for with BEGIN IMMEDIATE and waited for until the call's deadline (busy_ms, the
 * time at the pool included).
 *
 * A handle keeps working on a file that was deleted or replaced under it.  Every transaction therefore compares the path with the file
 * that was opened: what is committed into a deleted file is lost, and this must be an error.
 *
 * Handles do not survive fork (POSIX locks belong to the process): a child opens the store anew.
 */
#include "config.h"

#include "store/sqlite.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define POOL_SIZE 4
#define WATCH_BUSY_MS 200
#define STATEMENTS_MAX 128 /* different SQL texts a handle keeps prepared; more than there are in store/ */

struct db_rows {
	struct db_tx *tx;
	const char *sql;
	sqlite3_stmt *statement;
	bool in_use;
};

struct db_tx {
	struct db *db;
	sqlite3 *handle;
	sqlite3_stmt *needs;	/* which schema a program must know by now */
	bool in_use, write, open;
	const char *op;
	int64_t deadline;
	struct db_rows statements[STATEMENTS_MAX];
};

struct db {
	struct db_base base;
	char *path;
	unsigned busy_ms;
	bool marked_too;
	dev_t device;
	ino_t inode;
	pthread_mutex_t lock; /* in_use of the handles, writing */
	pthread_cond_t freed;
	bool writing;
	struct db_tx pool[POOL_SIZE];
	pthread_mutex_t watch_lock; /* watch */
	sqlite3 *watch;		    /* never writes, so data_version tells it of every commit, our own included */
	sqlite3_stmt *watch_statement, *watch_needs;
};

/* ---- the pool ---------------------------------------------------------------------------------------------------- */

static bool file_is_the_same(const struct db *db)
{
	struct stat st;

	return stat(db->path, &st) == 0 && st.st_dev == db->device && st.st_ino == db->inode;
}

/* Short sleeps with chance in them, so that several processes do not meet again and again. */
static int wait_for_lock(void *arg, int count)
{
	const struct db_tx *tx = arg;
	unsigned span = count < 10 ? 1u + (unsigned)count : 10u;
	struct timespec nap = {.tv_nsec = (long)(1 + random_below(span)) * 1000000L};

	if (mono_ms() >= tx->deadline)
		return 0;
	nanosleep(&nap, NULL);
	return 1;
}

static struct db_tx *free_handle(struct db *db)
{
	for (size_t i = 0; i < POOL_SIZE; i++)
		if (!db->pool[i].in_use)
			return &db->pool[i];
	return NULL;
}

/* A handle for us alone.  Readers wait as long as it takes, since every holder is done within its own deadline; writers wait until
 * `deadline`, then get NULL. */
static struct db_tx *take_handle(struct db *db, bool write, int64_t deadline)
{
	struct timespec until = {.tv_sec = (time_t)(deadline / 1000), .tv_nsec = (long)(deadline % 1000) * 1000000L};
	struct db_tx *tx = NULL;
	int rc = 0;

	pthread_mutex_lock(&db->lock);
	while ((write && db->writing) || (tx = free_handle(db)) == NULL) {
		tx = NULL;
		if (rc != 0)
			break;
		rc = write ? pthread_cond_timedwait(&db->freed, &db->lock, &until) : pthread_cond_wait(&db->freed, &db->lock);
	}
	if (tx != NULL) {
		tx->in_use = true;
		tx->write = write;
		db->writing = db->writing || write;
	}
	pthread_mutex_unlock(&db->lock);
	return tx;
}

static void give_back(struct db_tx *tx)
{
	struct db *db = tx->db;

	pthread_mutex_lock(&db->lock);
	if (tx->write)
		db->writing = false;
	tx->in_use = tx->write = false;
	pthread_cond_broadcast(&db->freed);
	pthread_mutex_unlock(&db->lock);
}

/* ---- a schema that moves on under us ------------------------------------------------------------------------------ */

/* Part of the transaction that is open: what it says holds until its end. */
static int schema_needed(sqlite3_stmt *statement)
{
	int needs = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int(statement, 0) : 0;

	sqlite3_reset(statement);
	return needs;
}

static bool prepare(sqlite3 *h, const char *sql, sqlite3_stmt **out, const char *op, const char *path, struct err *err)
{
	int rc = sqlite3_prepare_v3(h, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL);

	return rc == SQLITE_OK || sqlite_error(err, op, path, h, rc);
}

/* ---- transactions ------------------------------------------------------------------------------------------------ */

static void tx_release(struct db_tx *tx)
{
	/* Some errors (a full disk) have rolled back already; then there is nothing to end. */
	if (tx->open && sqlite3_get_autocommit(tx->handle) == 0)
		sqlite3_exec(tx->handle, "ROLLBACK", NULL, NULL, NULL);
	tx->open = false;
	give_back(tx);
}

static struct db_tx *tx_open(struct db *db, enum tx_access access, const char *op, struct err *err)
{
	bool write = access != TX_READ;
	int64_t deadline = mono_ms() + db->busy_ms;
	struct db_tx *tx = take_handle(db, write, deadline);
	int rc;

	if (tx == NULL) {
		err_set(err, ERR_TEMPORARY, op, db->path, "the store is busy: other writers of this program did not finish within %u ms",
			db->busy_ms);
		return NULL;
	}
	tx->op = op;
	tx->deadline = deadline;
	if (!file_is_the_same(db)) {
		err_set(err, ERR_CONFIG, op, db->path, "%s was removed or replaced while it was in use; restart the service", db->path);
		give_back(tx);
		return NULL;
	}
	rc = sqlite3_exec(tx->handle, write ? "BEGIN IMMEDIATE" : "BEGIN", NULL, NULL, NULL);
	if (rc != SQLITE_OK) {
		sqlite_error(err, op, db->path, tx->handle, rc);
		give_back(tx);
		return NULL;
	}
	tx->open = true;
	rc = schema_needed(tx->needs);
	if (rc > store_schema_version() && !(rc >= STORE_MARK && db->marked_too)) {
		if (rc < STORE_MARK || schema_unmarked(tx->handle, op, db->path, err))
			schema_too_new(rc % STORE_MARK, store_schema_version(), op, db->path, err);
		tx_release(tx);
		return NULL;
	}
	return tx;
}

static bool tx_finish(struct db_tx *tx, struct err *err)
{
	int rc = sqlite3_exec(tx->handle, "COMMIT", NULL, NULL, NULL);

	if (rc != SQLITE_OK)
		return sqlite_error(err, tx->op, tx->db->path, tx->handle, rc);
	tx->open = false;
	return true;
}

/* ---- statements -------------------------------------------------------------------------------------------------- */

/* The prepared form of a text: texts are literals, so the pointer mostly decides. */
static struct db_rows *statement_for(struct db_tx *tx, const char *sql, struct err *err)
{
	struct db_rows *slot = NULL;
	int rc;

	for (size_t i = 0; i < STATEMENTS_MAX && slot == NULL; i++) {
		struct db_rows *s = &tx->statements[i];

		if (s->sql == NULL || ((s->sql == sql || strcmp(s->sql, sql) == 0) && !s->in_use))
			slot = s;
	}
	if (slot == NULL) {
		err_set(err, ERR_BUG, tx->op, "statement", "more than %d different statements", STATEMENTS_MAX);
		return NULL;
	}
	if (slot->sql != NULL)
		return slot;
	rc = sqlite3_prepare_v3(tx->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &slot->statement, NULL);
	if (rc != SQLITE_OK) {
		sqlite_error(err, tx->op, tx->db->path, tx->handle, rc);
		return NULL;
	}
	slot->sql = sql;
	slot->tx = tx;
	return slot;
}

/* $1, $2 ... are names to SQLite, numbered as they are met; so they are looked up. */
static int bind_value(sqlite3_stmt *statement, size_t number, const struct db_value *v)
{
	char name[24];
	int index;

	snprintf(name, sizeof(name), "$%zu", number);
	index = sqlite3_bind_parameter_index(statement, name);
	if (index == 0)
		return SQLITE_RANGE;
	switch (v->type) {
	case DB_INT:
		return sqlite3_bind_int64(statement, index, v->i);
	case DB_TEXT:
		return sqlite3_bind_text(statement, index, v->p, -1, SQLITE_TRANSIENT);
	case DB_BLOB:
		if (v->n > INT32_MAX)
			return SQLITE_TOOBIG;
		if (v->p != NULL)
			return sqlite3_bind_blob(statement, index, v->p, (int)v->n, SQLITE_TRANSIENT);
		return sqlite3_bind_null(statement, index);
	case DB_NULL:
		break;
	}
	return sqlite3_bind_null(statement, index);
}

static void rows_finish(struct db_rows *rows)
{
	sqlite3_reset(rows->statement);
	sqlite3_clear_bindings(rows->statement);
	rows->in_use = false;
}

static struct db_rows *rows_start(struct db_tx *tx, const char *sql, const struct db_value *v, size_t n, bool many, struct err *err)
{
	struct db_rows *rows = statement_for(tx, sql, err);

	if (rows == NULL)
		return NULL;
	rows->in_use = true;
	for (size_t i = 0; i < n; i++) {
		int rc = bind_value(rows->statement, i + 1, &v[i]);

		if (rc != SQLITE_OK) {
			sqlite_error(err, tx->op, sql, NULL, rc);
			rows_finish(rows);
			return NULL;
		}
	}
	return rows;
}

static int rows_step(struct db_rows *rows, struct err *err)
{
	int rc = sqlite3_step(rows->statement);

	if (rc == SQLITE_ROW)
		return 1;
	if (rc == SQLITE_DONE)
		return 0;
	sqlite_error(err, rows->tx->op, rows->tx->db->path, rows->tx->handle, rc);
	return -1;
}

static int64_t rows_affected(struct db_tx *tx)
{
	return sqlite3_changes64(tx->handle);
}

static bool column_is_null(struct db_rows *rows, int column)
{
	return sqlite3_column_type(rows->statement, column) == SQLITE_NULL;
}

static int64_t column_number(struct db_rows *rows, int column)
{
	return sqlite3_column_int64(rows->statement, column);
}

static const void *column_octets(struct db_rows *rows, int column, size_t *len)
{
	const void *data;

	if (sqlite3_column_type(rows->statement, column) == SQLITE_TEXT)
		data = sqlite3_column_text(rows->statement, column);
	else
		data = sqlite3_column_blob(rows->statement, column);
	*len = (size_t)sqlite3_column_bytes(rows->statement, column);
	return data;
}

/* ---- open and close ---------------------------------------------------------------------------------------------- */

static void db_close(struct db *db)
{
	for (size_t i = 0; i < POOL_SIZE; i++) {
		struct db_tx *tx = &db->pool[i];

		for (size_t j = 0; j < STATEMENTS_MAX; j++)
			sqlite3_finalize(tx->statements[j].statement);
		sqlite3_finalize(tx->needs);
		sqlite3_close(tx->handle);
	}
	sqlite3_finalize(db->watch_needs);
	sqlite3_finalize(db->watch_statement);
	sqlite3_close(db->watch);
	pthread_cond_destroy(&db->freed);
	pthread_mutex_destroy(&db->watch_lock);
	pthread_mutex_destroy(&db->lock);
	free(db->path);
	free(db);
}

static struct db *db_new(const struct store_settings *s)
{
	struct db *db = calloc(1, sizeof(*db));
	pthread_condattr_t attr;

	if (db == NULL)
		return NULL;
	db->base.ops = &sqlite_ops;
	db->busy_ms = s->busy_ms;
	db->marked_too = s->marked_too;
	db->path = strdup(s->path);
	pthread_mutex_init(&db->lock, NULL);
	pthread_mutex_init(&db->watch_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&db->freed, &attr);
	pthread_condattr_destroy(&attr);
	for (size_t i = 0; i < POOL_SIZE; i++)
		db->pool[i].db = db;
	if (db->path == NULL) {
		db_close(db);
		return NULL;
	}
	return db;
}

/* What a schema needs of the programs that go on with it: who would write all of it must know all of it, milters what it says itself. */
static const char *needs_of(enum store_role role)
{
	if (role == STORE_ROLE_ENROLLD || role == STORE_ROLE_ADMIN)
		return "SELECT MAX(CASE WHEN name = 'schema_version' THEN CAST(value AS INTEGER) ELSE 1000000 END) FROM meta"
		       " WHERE name IN ('schema_version','" MARK_MOVED "','" MARK_COPYING "')";
	return "PRAGMA user_version";
}

/* The first handle looks at the schema (and migrates) before it is fenced in. */
static bool open_handles(struct db *db, enum store_role role, const char *op, struct err *err)
{
	enum schema_access access = role == STORE_ROLE_ENROLLD ? SCHEMA_MIGRATE : role == STORE_ROLE_ADMIN ? SCHEMA_WRITE : SCHEMA_READ;

	for (size_t i = 0; i < POOL_SIZE; i++) {
		struct db_tx *tx = &db->pool[i];

		tx->handle = sqlite_handle_new(db->path, SQLITE_OPEN_READWRITE, db->busy_ms, op, err);
		if (tx->handle == NULL)
			return false;
		if (i == 0 && (!schema_prepare(tx->handle, access, op, db->path, err) ||
				      !sqlite_use_wal(tx->handle, op, db->path, err) ||
				      (!db->marked_too && !schema_unmarked(tx->handle, op, db->path, err))))
			return false;
		sqlite3_busy_handler(tx->handle, wait_for_lock, tx);
		sqlite_guard(tx->handle, role);
		if (!prepare(tx->handle, needs_of(role), &tx->needs, op, db->path, err))
			return false;
	}
	/* Asked on the path of every mail: "cut off" is a better answer than a late one. */
	db->watch = sqlite_handle_new(db->path, SQLITE_OPEN_READWRITE, WATCH_BUSY_MS, op, err);
	if (db->watch == NULL)
		return false;
	sqlite_guard(db->watch, role);
	return prepare(db->watch, "PRAGMA data_version", &db->watch_statement, op, db->path, err) &&
	       prepare(db->watch, needs_of(role), &db->watch_needs, op, db->path, err);
}

static struct db *db_open(const struct store_settings *s, enum store_role role, struct err *err)
{
	static const char op[] = "open store";
	struct stat st;
	struct db *db;

	if (!sqlite_is_there(s->path, op, err))
		return NULL;
	db = db_new(s);
	if (db == NULL) {
		err_nomem(err, op);
		return NULL;
	}
	if (!open_handles(db, role, op, err))
		goto failed;
	if (stat(db->path, &st) != 0) {
		err_errno(err, errno, op, db->path);
		goto failed;
	}
	db->device = st.st_dev;
	db->inode = st.st_ino;
	return db;
failed:
	db_close(db);
	return NULL;
}

static int64_t db_change_counter(struct db *db)
{
	int64_t version = -1;

	if (!file_is_the_same(db))
		return -1;
	pthread_mutex_lock(&db->watch_lock);
	if (sqlite3_step(db->watch_statement) == SQLITE_ROW)
		version = sqlite3_column_int64(db->watch_statement, 0);
	sqlite3_reset(db->watch_statement);
	/* Upgraded beyond us: cut off. */
	if (version >= 0 && schema_needed(db->watch_needs) > store_schema_version())
		version = -1;
	pthread_mutex_unlock(&db->watch_lock);
	return version;
}

static bool db_look(const struct store_settings *s, bool check, struct store_look *out, struct err *err)
{
	static const char op[] = "look at store";
	sqlite3 *h = sqlite_is_there(s->path, op, err) ? sqlite_handle_new(s->path, SQLITE_OPEN_READWRITE, s->busy_ms, op, err) : NULL;
	bool ok = h != NULL && schema_look(h, out, op, s->path, err) && (!check || sqlite_verify(h, op, s->path, err));

	sqlite3_close(h);
	return ok;
}

static bool db_upgrade(const struct store_settings *s, struct err *err)
{
	static const char op[] = "upgrade store";
	sqlite3 *h = sqlite_is_there(s->path, op, err) ? sqlite_handle_new(s->path, SQLITE_OPEN_READWRITE, s->busy_ms, op, err) : NULL;
	bool ok = h != NULL && sqlite_verify(h, op, s->path, err) && schema_prepare(h, SCHEMA_MIGRATE, op, s->path, err);

	sqlite3_close(h);
	return ok;
}

static bool db_check(struct db *db, struct err *err)
{
	static const char op[] = "check store";
	sqlite3 *h = sqlite_handle_new(db->path, SQLITE_OPEN_READWRITE, db->busy_ms, op, err);
	bool ok = h != NULL && sqlite_verify(h, op, db->path, err);

	sqlite3_close(h);
	return ok;
}

/* In the file's header, which each transaction of a milter looks at; also one of an older version takes it for a schema beyond its own. */
static bool db_mark(struct db_tx *tx, bool on, struct err *err)
{
	char answer[32], sql[64];

	if (!sqlite_ask(tx->handle, "PRAGMA user_version", answer, sizeof(answer), tx->op, tx->db->path, err))
		return false;
	snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", atoi(answer) % STORE_MARK + (on ? STORE_MARK : 0));
	return sqlite_run(tx->handle, sql, tx->op, tx->db->path, err);
}

/* A row's id is one more than the highest that is there. */
static bool db_settle(const struct store_settings *s, struct err *err)
{
	static const char op[] = "settle store";
	sqlite3 *h = sqlite_handle_new(s->path, SQLITE_OPEN_READWRITE, s->busy_ms, op, err);
	bool ok = h != NULL && sqlite_run(h, "PRAGMA wal_checkpoint(TRUNCATE)", op, s->path, err);

	sqlite3_close(h);
	return ok;
}

/* VACUUM writes the whole file anew, in the log; then into its place. */
static bool db_compact(const struct store_settings *s, struct err *err)
{
	static const char op[] = "compact store";
	sqlite3 *h = sqlite_is_there(s->path, op, err) ? sqlite_handle_new(s->path, SQLITE_OPEN_READWRITE, s->busy_ms, op, err) : NULL;
	bool ok = h != NULL && sqlite_run(h, "VACUUM", op, s->path, err) && sqlite_run(h, "PRAGMA wal_checkpoint(TRUNCATE)", op, s->path, err);

	sqlite3_close(h);
	return ok;
}

static bool db_size(struct db *db, int64_t *out, struct err *err)
{
	struct stat st;

	*out = 0;
	if (stat(db->path, &st) != 0)
		return err_errno(err, errno, "look at store", db->path);
	*out = st.st_size;
	return true;
}

const struct db_ops sqlite_ops = {
	.name = "sqlite",
	.values_most = 64,
	.create = sqlite_create,
	.open = db_open,
	.close = db_close,
	.change_counter = db_change_counter,
	.backup = sqlite_copy_out,
	.restore = sqlite_restore,
	.look = db_look,
	.upgrade = db_upgrade,
	.check = db_check,
	.mark = db_mark,
	.settle = db_settle,
	.compact = db_compact,
	.size = db_size,
	.begin = tx_open,
	.commit = tx_finish,
	.end = tx_release,
	.query = rows_start,
	.next = rows_step,
	.affected = rows_affected,
	.finish = rows_finish,
	.is_null = column_is_null,
	.column_int = column_number,
	.column_data = column_octets,
};
