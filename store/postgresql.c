/*
 * store/postgresql.c - the PostgreSQL engine: a pool of connections, transactions, statements that are prepared once a connection.
 *
 * A transaction owns its connection from begin to end.  Writers do not exclude each other by isolation, which would mean to try again in the middle of a
 * call, but by an advisory lock of the transaction: TX_WRITE has it alone, TX_WRITE_ROW shares it and locks rows.  A reader sees one snapshot (repeatable
 * read) and waits for nobody.
 *
 * A connection breaks now and then: the server is restarted, another one takes its place.  One that was idle is replaced before anything is done in it;
 * in the middle of a transaction that is an error that passes, since nothing was committed.  Only of a COMMIT whose answer is lost nobody knows: then the
 * server is asked by the transaction's id, over a new connection.
 *
 * Cut off (postgresql_watch.c), a call fails at once instead of trying to connect: a mail waits for it.
 */
#include "config.h"

#include "store/postgresql.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define POOL_SIZE 4
#define STATEMENTS_MAX 192 /* different SQL texts a connection keeps prepared; more than there are in store/ */
#define COLUMNS_MAX 64
#define VALUES_MOST 600 /* of one statement */
#define WRITER_MS 300 /* for the look at who is in the way */

enum { OID_BYTEA = 17, OID_INT8 = 20, OID_TEXT = 25, OID_BOOL = 16 };

struct db_rows {
	struct db_tx *tx;
	PGresult *result; /* all rows, or of many the one that is read */
	int row; /* -1 before the first */
	bool under_way;	/* many: the server has more to say */
	int64_t until;	/* and by then it has said all */
	unsigned char *octets[COLUMNS_MAX]; /* of this row */
};

struct db_tx {
	struct db *db;
	PGconn *conn; /* NULL = none yet, or lost */
	int fd;	      /* its socket, for whoever has the pool's lock; -1 = none */
	bool in_use, write, open;
	bool reading; /* rows are under way, and there is no other question before their end */
	const char *op;
	int64_t deadline;   /* of the whole call, where a mail waits for it; else 0 */
	int64_t generation; /* the watch's, when this was connected */
	int64_t affected;
	char xid[32], timeline[12];
	const char *statements[STATEMENTS_MAX];
	size_t n_statements;
};

struct db {
	struct db_base base;
	struct store_settings settings; /* of ours */
	int who;
	struct pg_watch *watch; /* NULL for a command, which ends before anything changes */
	pthread_mutex_t lock;	/* in_use of the pool */
	pthread_cond_t freed;
	struct db_tx pool[POOL_SIZE];
};

/* ---- the pool ---------------------------------------------------------------------------------------------------- */

static struct db_tx *free_slot(struct db *db)
{
	struct db_tx *best = NULL;

	/* One that is connected before one that is not. */
	for (size_t i = 0; i < POOL_SIZE; i++)
		if (!db->pool[i].in_use && (best == NULL || (best->conn == NULL && db->pool[i].conn != NULL)))
			best = &db->pool[i];
	return best;
}

static struct db_tx *take_slot(struct db *db, int64_t deadline)
{
	struct timespec until = {.tv_sec = (time_t)(deadline / 1000), .tv_nsec = (long)(deadline % 1000) * 1000000L};
	struct db_tx *tx;
	int rc = 0;

	pthread_mutex_lock(&db->lock);
	while ((tx = free_slot(db)) == NULL && rc == 0)
		rc = pthread_cond_timedwait(&db->freed, &db->lock, &until);
	if (tx != NULL)
		tx->in_use = true;
	pthread_mutex_unlock(&db->lock);
	return tx;
}

static void give_back(struct db_tx *tx)
{
	struct db *db = tx->db;

	pthread_mutex_lock(&db->lock);
	tx->in_use = false;
	pthread_cond_signal(&db->freed);
	pthread_mutex_unlock(&db->lock);
}

static void note_socket(struct db_tx *tx, int fd)
{
	pthread_mutex_lock(&tx->db->lock);
	tx->fd = fd;
	pthread_mutex_unlock(&tx->db->lock);
}

static bool connect_slot(struct db_tx *tx, struct err *err)
{
	tx->conn = pg_connect(&tx->db->settings, tx->db->who, tx->op, err);
	note_socket(tx, tx->conn != NULL ? PQsocket(tx->conn) : -1);
	return tx->conn != NULL;
}

static void disconnect(struct db_tx *tx)
{
	note_socket(tx, -1);
	PQfinish(tx->conn);
	tx->conn = NULL;
	tx->open = tx->reading = false;
	tx->n_statements = 0;
}

/* The database is away: whoever waits for it waits no longer.  Called by the thread that watches. */
static void break_off(void *arg)
{
	struct db *db = arg;

	pthread_mutex_lock(&db->lock);
	for (size_t i = 0; i < POOL_SIZE; i++)
		if (db->pool[i].fd >= 0)
			shutdown(db->pool[i].fd, SHUT_RDWR);
	pthread_mutex_unlock(&db->lock);
}

/* For as long as the server itself may take, and a little for the way. */
static int64_t answer_until(const struct db_tx *tx)
{
	unsigned ms = pg_statement_ms(&tx->db->settings, tx->db->who);

	return tx->deadline > 0 ? tx->deadline : mono_ms() + (ms > 0 ? (int64_t)ms + 1000 : INT32_MAX);
}

/* Callbacks wait for what is read, and for what inbound writes; what outbound writes is written by a thread that has time. */
static int64_t call_until(const struct db *db, enum tx_access access)
{
	bool mail = db->who == STORE_ROLE_INBOUND || (db->who == STORE_ROLE_OUTBOUND && access == TX_READ);

	return mail ? mono_ms() + (int64_t)db->settings.busy_ms + 1000 - store_patience_used() : 0;
}

/* ---- transactions ------------------------------------------------------------------------------------------------ */

/* The history of the server we are connected to: another one after a failover. */
#define TIMELINE "left(pg_walfile_name(pg_current_wal_lsn()), 8)"
#define NEEDS                                                                                                                              \
	"SELECT MAX(CASE WHEN name = '%s' THEN CAST(value AS BIGINT) ELSE 1000000 END) FROM meta WHERE name IN ('%s','" MARK_MOVED "','" MARK_COPYING "')"

static const char *opening(enum tx_access access, int who, char sql[400])
{
	const char *lock = access == TX_WRITE ? "SELECT pg_advisory_xact_lock(" PG_LOCK_WRITE ");" : "SELECT pg_advisory_xact_lock_shared(" PG_LOCK_WRITE ");";

	if (access == TX_READ)
		snprintf(sql, 400, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; " NEEDS, pg_needs(who), pg_needs(who));
	else
		snprintf(sql, 400, "BEGIN ISOLATION LEVEL READ COMMITTED; %s SELECT pg_current_xact_id(), " TIMELINE "; " NEEDS, lock, pg_needs(who), pg_needs(who));
	return sql;
}

/* What the opening brought: the transaction's id, and which schema a program must know by now. */
static bool read_opening(struct db_tx *tx, const struct pg_results *r, struct err *err)
{
	const PGresult *last = r->n > 0 ? r->v[r->n - 1] : NULL;
	int needs = last != NULL && PQntuples(last) > 0 ? atoi(PQgetvalue(last, 0, 0)) : 0;

	if (needs == 0)
		return err_set(err, ERR_CONFIG, tx->op, "postgresql", "there is no store in this database; `enrollctl init` makes one");
	if (needs >= STORE_MARK && !tx->db->settings.marked_too)
		return pg_unmarked(tx->conn, answer_until(tx), tx->op, err);
	if (needs > store_schema_version() && needs < STORE_MARK)
		return schema_too_new(needs, store_schema_version(), tx->op, "the store in PostgreSQL", err);
	if (tx->write) {
		snprintf(tx->xid, sizeof(tx->xid), "%s", PQgetvalue(r->v[r->n - 2], 0, 0));
		snprintf(tx->timeline, sizeof(tx->timeline), "%s", PQgetvalue(r->v[r->n - 2], 0, 1));
	}
	return true;
}

/* Who had the writers' lock while we waited for it in vain, and has it still. */
static void name_the_writer(struct db_tx *tx, struct err *err)
{
	static const char sql[] = "SELECT COALESCE(NULLIF(a.application_name, ''), 'a program without a name') || ' of role ' || a.usename || ', process ' || a.pid || ' of the database'"
		" FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid JOIN pg_database d ON d.oid = l.database WHERE d.datname = current_database()"
		" AND l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid = " PG_LOCK_WRITE " AND l.objsubid = 1 AND l.pid <> pg_backend_pid()"
		" ORDER BY l.mode LIMIT 1";
	int64_t until = mono_ms() + WRITER_MS;
	char who[200];
	size_t len;

	if (err == NULL || strcmp(err->type, "SQLSTATE_55P03") != 0 || !pg_do(tx->conn, "ROLLBACK", until, tx->op, NULL))
		return;
	len = strlen(err->text);
	tx->open = !pg_ask(tx->conn, sql, who, sizeof(who), until, tx->op, NULL);
	if (!tx->open && who[0] != '\0')
		snprintf(err->text + len, sizeof(err->text) - len, "; it is %s", who);
}

static bool begin_once(struct db_tx *tx, enum tx_access access, bool *lost, struct err *err)
{
	char sql[400];
	struct pg_results r = {.n = 0};
	bool ok;

	ok = pg_run(tx->conn, opening(access, tx->db->who, sql), answer_until(tx), &r, lost, tx->op, err);
	tx->open = !*lost;
	if (!ok && !*lost)
		name_the_writer(tx, err);
	ok = ok && read_opening(tx, &r, err);
	pg_results_clear(&r);
	return ok;
}

static bool is_cut_off(struct db *db, struct err *err)
{
	if (db->watch == NULL || pg_watch_counter(db->watch) >= 0)
		return false;
	pg_watch_why(db->watch, err);
	return true;
}

static void tx_release(struct db_tx *tx)
{
	if (tx->conn != NULL && tx->open && !pg_do(tx->conn, "ROLLBACK", mono_ms() + 1000, tx->op, NULL))
		disconnect(tx);
	tx->open = false;
	give_back(tx);
}

/* Once the watch has been cut off, what was connected before may lead to nobody, or to a server whose place another one took. */
static void leave_old(struct db_tx *tx)
{
	int64_t now = tx->db->watch != NULL ? pg_watch_generation(tx->db->watch) : 0;

	if (tx->conn != NULL && tx->generation != now)
		disconnect(tx);
	tx->generation = now;
}

static bool is_too_late(int64_t deadline, const char *op, struct err *err)
{
	if (deadline == 0 || mono_ms() < deadline)
		return false;
	err_set(err, ERR_TEMPORARY, op, "postgresql", "the database took all the time that a mail waits for it (store.busy-ms)");
	return true;
}

/* A connection that lay idle may have been dead for hours: another one is made, unless it took all the time to notice. */
static bool connect_and_begin(struct db_tx *tx, enum tx_access access, int64_t until, struct err *err)
{
	bool fresh = false, lost = true, ok = false;

	leave_old(tx);
	while (!ok && lost && !fresh) {
		fresh = tx->conn == NULL;
		if (fresh && (is_cut_off(tx->db, err) || !connect_slot(tx, err)))
			break;
		/* What took so long to be made is for the next one, or nobody would ever have it. */
		if (fresh && is_too_late(tx->deadline, tx->op, err))
			break;
		if (err != NULL)
			err_clear(err);
		ok = begin_once(tx, access, &lost, err);
		if (!ok && lost)
			disconnect(tx);
		if (!ok && mono_ms() >= until)
			break;
	}
	return ok;
}

static struct db_tx *tx_open(struct db *db, enum tx_access access, const char *op, struct err *err)
{
	int64_t until = mono_ms() + db->settings.busy_ms, deadline = call_until(db, access);
	struct db_tx *tx;

	if (is_cut_off(db, err))
		return NULL;
	if (deadline > 0 && deadline < until)
		until = deadline;
	if (is_too_late(deadline, op, err))
		return NULL;
	tx = take_slot(db, until);
	if (tx == NULL && is_too_late(deadline, op, err))
		return NULL;
	if (tx == NULL) {
		err_set(err, ERR_TEMPORARY, op, "postgresql", "the store is busy: other calls of this program did not finish within %u ms", db->settings.busy_ms);
		return NULL;
	}
	tx->op = op;
	tx->write = access != TX_READ;
	tx->deadline = deadline;
	tx->xid[0] = '\0';
	if (connect_and_begin(tx, access, until, err))
		return tx;
	tx_release(tx);
	return NULL;
}

/* What became of the transaction: "committed", "aborted", something else as long as nobody knows, ANOTHER when nobody ever will: the server whose number
 * it was has not come back, and on the one that took its place the number may be another transaction's. */
#define ANOTHER "another"
static void ask_status(struct db_tx *tx, char status[32])
{
	char sql[250];

	snprintf(sql, sizeof(sql), "SELECT CASE WHEN " TIMELINE " = '%s' THEN pg_xact_status('%s') ELSE '" ANOTHER "' END", tx->timeline, tx->xid);
	status[0] = '\0';
	if (tx->conn == NULL)
		connect_slot(tx, NULL);
	if (tx->conn != NULL && !pg_ask(tx->conn, sql, status, 32, mono_ms() + 2000, tx->op, NULL))
		disconnect(tx);
}

/* The connection broke while the COMMIT was under way: it is done, or it is not.  A server that did not get it ends the transaction by itself after a while. */
static bool find_out(struct db_tx *tx, struct err *err)
{
	int64_t until = mono_ms() + (int64_t)tx->db->settings.busy_ms + pg_idle_ms(&tx->db->settings) + 1000;
	struct timespec nap = {.tv_nsec = 100000000L};
	char status[32];

	for (;;) {
		ask_status(tx, status);
		if (status[0] == 'a' || strcmp(status, "committed") == 0 || mono_ms() >= until)
			break;
		nanosleep(&nap, NULL);
	}
	if (strcmp(status, "committed") == 0) {
		if (err != NULL)
			err_clear(err);
		return true;
	}
	return err_set(err, ERR_TEMPORARY, tx->op, "postgresql",
		strcmp(status, "aborted") == 0 ? "the connection to the database was lost, and nothing was written"
					       : "the connection to the database was lost at the end of a transaction, and it is not known whether it was written");
}

static bool tx_finish(struct db_tx *tx, struct err *err)
{
	struct pg_results r = {.n = 0};
	int64_t soon = mono_ms() + 1000, until = answer_until(tx) > soon ? answer_until(tx) : soon;
	bool lost = false, ok = tx->conn != NULL ? pg_run(tx->conn, "COMMIT", until, &r, &lost, tx->op, err)
					    : err_set(err, ERR_TEMPORARY, tx->op, "postgresql", "the connection to the database was lost");
	/* Of a transaction that failed before, COMMIT makes a ROLLBACK. */
	bool undone = ok && r.n > 0 && strcmp(PQcmdStatus(r.v[0]), "ROLLBACK") == 0;

	pg_results_clear(&r);
	tx->open = false;
	if (undone)
		return err_set(err, ERR_BUG, tx->op, "postgresql", "a statement failed before, and nothing was written");
	if (!ok && lost) {
		disconnect(tx);
		ok = tx->write && find_out(tx, err);
	}
	/* Others hear of it from the database; those of this process are to see it at once.  What the outbound instance writes for itself changes no
	 * credential, and what does comes back as everybody else's. */
	if (ok && tx->write && tx->db->watch != NULL && tx->db->who != STORE_ROLE_OUTBOUND)
		pg_watch_changed(tx->db->watch);
	return ok;
}

/* ---- statements -------------------------------------------------------------------------------------------------- */

/* The marks of db.h in PostgreSQL's words. */
static char *in_our_words(const char *sql)
{
	static const struct { const char *mark, *words; } marks[] = {
		{ROW_LOCK, "FOR NO KEY UPDATE"}, {ROW_LOCK_OR_SKIP, "FOR NO KEY UPDATE SKIP LOCKED"}};
	struct buf out = BUF_INIT;

	while (*sql != '\0') {
		size_t i = 0, n = sizeof(marks) / sizeof(marks[0]);

		while (i < n && strncmp(sql, marks[i].mark, strlen(marks[i].mark)) != 0)
			i++;
		if (i == n) {
			buf_putc(&out, *sql++);
			continue;
		}
		buf_puts(&out, marks[i].words);
		sql += strlen(marks[i].mark);
	}
	return buf_take(&out);
}

static Oid type_of(const struct db_value *v)
{
	return v->type == DB_TEXT ? OID_TEXT : v->type == DB_BLOB ? OID_BYTEA : OID_INT8;
}

/* The number of the statement; texts are literals, so the pointer mostly decides.  -1 on failure. */
static int prepared(struct db_tx *tx, const char *sql, const struct db_value *v, size_t n, bool *lost, struct err *err)
{
	Oid types[VALUES_MOST];
	char name[24], *words;
	struct pg_results r = {.n = 0};
	bool ok;

	*lost = false;
	for (size_t i = 0; i < tx->n_statements; i++)
		if (tx->statements[i] == sql || strcmp(tx->statements[i], sql) == 0)
			return (int)i;
	if (tx->n_statements == STATEMENTS_MAX || n > VALUES_MOST) {
		err_set(err, ERR_BUG, tx->op, "statement", "more than %d different statements", STATEMENTS_MAX);
		return -1;
	}
	for (size_t i = 0; i < n; i++)
		types[i] = type_of(&v[i]);
	words = in_our_words(sql);
	if (words == NULL) {
		err_nomem(err, tx->op);
		return -1;
	}
	snprintf(name, sizeof(name), "s%zu", tx->n_statements);
	*lost = PQsendPrepare(tx->conn, name, words, (int)n, types) == 0;
	free(words);
	ok = *lost ? pg_error(err, tx->op, tx->conn, NULL) : pg_collect(tx->conn, answer_until(tx), &r, lost, tx->op, err);
	pg_results_clear(&r);
	if (!ok)
		return -1;
	tx->statements[tx->n_statements] = sql;
	return (int)tx->n_statements++;
}

static bool send_values(struct db_tx *tx, int number, const struct db_value *v, size_t n)
{
	const char *values[VALUES_MOST];
	char digits[VALUES_MOST][24], name[24];
	int lengths[VALUES_MOST], formats[VALUES_MOST];

	for (size_t i = 0; i < n; i++) {
		values[i] = v[i].type == DB_TEXT || v[i].type == DB_BLOB ? v[i].p : v[i].type == DB_INT ? digits[i] : NULL;
		if (v[i].type == DB_INT)
			snprintf(digits[i], sizeof(digits[i]), "%lld", (long long)v[i].i);
		lengths[i] = v[i].type == DB_BLOB ? (int)v[i].n : 0;
		formats[i] = v[i].type == DB_BLOB;
	}
	snprintf(name, sizeof(name), "s%d", number);
	return PQsendQueryPrepared(tx->conn, name, (int)n, values, lengths, formats, 0) != 0;
}

/* All rows at once. */
static bool fetch_all(struct db_rows *rows, bool *lost, struct err *err)
{
	struct db_tx *tx = rows->tx;
	struct pg_results r = {.n = 0};

	if (pg_collect(tx->conn, answer_until(tx), &r, lost, tx->op, err) && r.n > 0)
		rows->result = r.v[--r.n];
	pg_results_clear(&r);
	if (rows->result != NULL)
		tx->affected = strtoll(PQcmdTuples(rows->result), NULL, 10);
	return rows->result != NULL;
}

/* One after the other, as they are read: a million of them never are in memory. */
static bool fetch_many(struct db_rows *rows, bool *lost, struct err *err)
{
	struct db_tx *tx = rows->tx;
	bool sent = false;

	rows->until = answer_until(tx);
	if (PQsetSingleRowMode(tx->conn) == 0)
		pg_error(err, tx->op, tx->conn, NULL);
	else
		sent = pg_flush(tx->conn, rows->until, tx->op, err);
	rows->under_way = tx->reading = sent;
	*lost = !sent;
	return sent;
}

static bool execute(struct db_rows *rows, int number, const struct db_value *v, size_t n, bool many, bool *lost, struct err *err)
{
	struct db_tx *tx = rows->tx;

	*lost = !send_values(tx, number, v, n);
	if (*lost)
		return pg_error(err, tx->op, tx->conn, NULL);
	return many ? fetch_many(rows, lost, err) : fetch_all(rows, lost, err);
}

/* Who stops in the middle has failed: what the server would still send is not waited for. */
static void rows_finish(struct db_rows *rows)
{
	if (rows->under_way)
		disconnect(rows->tx);
	for (size_t i = 0; i < COLUMNS_MAX; i++)
		PQfreemem(rows->octets[i]);
	PQclear(rows->result);
	free(rows);
}

/* After the last row, or an error instead of one, there is nothing but the end. */
static int rows_over(struct db_rows *rows, struct err *err)
{
	struct db_tx *tx = rows->tx;
	bool ok = PQresultStatus(rows->result) == PGRES_TUPLES_OK || PQresultStatus(rows->result) == PGRES_COMMAND_OK || pg_error(err, tx->op, tx->conn, rows->result);

	if (ok)
		tx->affected = strtoll(PQcmdTuples(rows->result), NULL, 10);
	while (rows->result != NULL) {
		PQclear(rows->result);
		if (!pg_next(tx->conn, rows->until, &rows->result, tx->op, ok ? err : NULL))
			return -1; /* rows_finish leaves the connection */
	}
	rows->under_way = tx->reading = false;
	if (PQstatus(tx->conn) == CONNECTION_BAD)
		disconnect(tx);
	return ok ? 0 : -1;
}

static int next_of_many(struct db_rows *rows, struct err *err)
{
	struct db_tx *tx = rows->tx;

	if (!rows->under_way)
		return 0;
	PQclear(rows->result);
	rows->row = 0;
	if (!pg_next(tx->conn, rows->until, &rows->result, tx->op, err))
		return -1;
	if (rows->result == NULL) {
		err_set(err, ERR_TEMPORARY, tx->op, "postgresql", "the database ended its answer too early");
		return -1;
	}
	return PQresultStatus(rows->result) == PGRES_SINGLE_TUPLE ? 1 : rows_over(rows, err);
}

static struct db_rows *rows_start(struct db_tx *tx, const char *sql, const struct db_value *v, size_t n, bool many, struct err *err)
{
	struct db_rows *rows;
	bool lost = false;
	int number;

	if (tx->conn == NULL) {
		err_set(err, ERR_TEMPORARY, tx->op, "postgresql", "the connection to the database was lost");
		return NULL;
	}
	if (tx->reading) {
		err_set(err, ERR_BUG, tx->op, "statement", "the rows of another one have not been read to their end");
		return NULL;
	}
	for (size_t i = 0; i < n; i++)
		if (v[i].type == DB_BLOB && v[i].n > INT32_MAX) {
			err_set(err, ERR_BUG, tx->op, "statement", "a value is too large");
			return NULL;
		}
	rows = calloc(1, sizeof(*rows));
	if (rows == NULL) {
		err_nomem(err, tx->op);
		return NULL;
	}
	*rows = (struct db_rows){.tx = tx, .row = -1};
	number = prepared(tx, sql, v, n, &lost, err);
	if (number >= 0 && execute(rows, number, v, n, many, &lost, err))
		return rows;
	if (lost)
		disconnect(tx);
	rows_finish(rows);
	return NULL;
}

static int rows_step(struct db_rows *rows, struct err *err)
{
	for (size_t i = 0; i < COLUMNS_MAX; i++) {
		PQfreemem(rows->octets[i]);
		rows->octets[i] = NULL;
	}
	if (rows->until != 0)
		return next_of_many(rows, err);
	if (rows->row + 1 >= PQntuples(rows->result))
		return 0;
	rows->row++;
	return 1;
}

static int64_t rows_affected(struct db_tx *tx)
{
	return tx->affected;
}

static bool column_is_null(struct db_rows *rows, int column)
{
	return PQgetisnull(rows->result, rows->row, column) != 0;
}

static int64_t column_number(struct db_rows *rows, int column)
{
	const char *s = PQgetvalue(rows->result, rows->row, column);

	return PQftype(rows->result, column) == OID_BOOL ? s[0] == 't' : strtoll(s, NULL, 10);
}

static const void *column_octets(struct db_rows *rows, int column, size_t *len)
{
	const char *s = PQgetvalue(rows->result, rows->row, column);

	*len = 0;
	if (column_is_null(rows, column))
		return NULL;
	if (PQftype(rows->result, column) != OID_BYTEA || column >= COLUMNS_MAX) {
		*len = (size_t)PQgetlength(rows->result, rows->row, column);
		return s;
	}
	PQfreemem(rows->octets[column]);
	rows->octets[column] = PQunescapeBytea((const unsigned char *)s, len);
	return rows->octets[column];
}

/* ---- open and close ---------------------------------------------------------------------------------------------- */

static void db_close(struct db *db)
{
	pg_watch_stop(db->watch);
	for (size_t i = 0; i < POOL_SIZE; i++)
		disconnect(&db->pool[i]);
	pthread_cond_destroy(&db->freed);
	pthread_mutex_destroy(&db->lock);
	store_settings_clear(&db->settings);
	free(db);
}

static struct db *db_new(const struct store_settings *s, int who)
{
	struct db *db = calloc(1, sizeof(*db));
	pthread_condattr_t attr;

	if (db == NULL)
		return NULL;
	db->base.ops = &postgresql_ops;
	db->who = who;
	db->settings.busy_ms = s->busy_ms;
	db->settings.marked_too = s->marked_too;
	db->settings.allow_unverified = s->allow_unverified;
	db->settings.clock_tolerance = s->clock_tolerance;
	db->settings.connection = strdup(s->connection);
	pthread_mutex_init(&db->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&db->freed, &attr);
	pthread_condattr_destroy(&attr);
	for (size_t i = 0; i < POOL_SIZE; i++)
		db->pool[i] = (struct db_tx){.db = db, .fd = -1};
	if (db->settings.connection == NULL) {
		db_close(db);
		return NULL;
	}
	return db;
}

static bool is_a_store_for_us(struct db *db, const char *op, struct err *err)
{
	struct db_tx *first = &db->pool[0];

	first->op = op;
	return connect_slot(first, err) && pg_schema_fits(first->conn, db->who, answer_until(first), op, err) &&
	       (db->settings.marked_too || pg_unmarked(first->conn, answer_until(first), op, err));
}

/* Milters begin without a database that is away, as mail goes on without it; whoever else opens it is to hear of it. */
static struct db *db_open(const struct store_settings *s, enum store_role role, struct err *err)
{
	static const char op[] = "open store";
	struct db *db = db_new(s, (int)role);
	bool ok = true;

	if (db == NULL) {
		err_nomem(err, op);
		return NULL;
	}
	if (role == STORE_ROLE_ADMIN || role == STORE_ROLE_ENROLLD)
		ok = is_a_store_for_us(db, op, err);
	if (ok && role != STORE_ROLE_ADMIN) {
		db->watch = pg_watch_start(s, (int)role, break_off, db, err);
		ok = db->watch != NULL;
	}
	if (ok)
		return db;
	db_close(db);
	return NULL;
}

/* A command has nobody who watches for it: it asks itself. */
static int64_t db_change_counter(struct db *db)
{
	struct db_tx *tx;

	if (db->watch != NULL)
		return pg_watch_counter(db->watch);
	tx = tx_open(db, TX_READ, "look at store", NULL);
	if (tx == NULL)
		return -1;
	tx_release(tx);
	return (int64_t)time(NULL);
}

static int64_t db_answered_ms(struct db *db)
{
	return db->watch != NULL ? pg_watch_answered(db->watch) : mono_ms();
}

static bool db_backup(const struct store_settings *s, const char *to, struct err *err)
{
	return err_set(err, ERR_CONFIG, "back up store", "postgresql",
		"a store in PostgreSQL is backed up with the database's own means, as `pg_dump --format=custom --schema=" PG_SCHEMA "`: its keys are wrapped in there too");
}

static bool db_restore(const struct store_settings *s, const char *from, struct err *err)
{
	return err_set(err, ERR_CONFIG, "restore store", "postgresql",
		"a store in PostgreSQL is brought back with the database's own means, as `pg_restore --clean --if-exists`");
}

static bool db_check(struct db *db, struct err *err)
{
	static const char op[] = "check store";
	PGconn *conn = pg_connect(&db->settings, db->who, op, err);
	bool ok = conn != NULL && pg_verify(conn, answer_until(&db->pool[0]), op, err);

	PQfinish(conn);
	return ok;
}

/* The rows of the marks are enough: every transaction reads them. */
static bool db_mark(struct db_tx *tx, bool on, struct err *err)
{
	return true;
}

static bool db_size(struct db *db, int64_t *out, struct err *err)
{
	static const char op[] = "look at store";
	PGconn *conn = pg_connect(&db->settings, db->who, op, err);
	char answer[32] = "";
	bool ok = conn != NULL && pg_ask(conn,
		"SELECT CAST(SUM(pg_total_relation_size(c.oid)) AS BIGINT) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
		" WHERE n.nspname = '" PG_SCHEMA "' AND c.relkind = 'r'", answer, sizeof(answer), answer_until(&db->pool[0]), op, err);

	*out = ok ? strtoll(answer, NULL, 10) : 0;
	PQfinish(conn);
	return ok;
}

static bool db_advice(struct db *db, struct strlist *out, struct err *err)
{
	static const char op[] = "look at the database";
	struct db_tx *tx = tx_open(db, TX_READ, op, err);
	bool ok;

	if (tx == NULL)
		return false;
	ok = pg_advice(tx->conn, &db->settings, answer_until(tx), out, op, err);
	tx_release(tx);
	return ok;
}

const struct db_ops postgresql_ops = {
	.name = "postgresql",
	.values_most = VALUES_MOST,
	.create = pg_create,
	.open = db_open,
	.close = db_close,
	.change_counter = db_change_counter,
	.answered_ms = db_answered_ms,
	.backup = db_backup,
	.restore = db_restore,
	.look = pg_look,
	.upgrade = pg_upgrade,
	.check = db_check,
	.mark = db_mark,
	.settle = pg_settle,
	.compact = pg_compact,
	.size = db_size,
	.advice = db_advice,
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
