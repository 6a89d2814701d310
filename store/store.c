/*
 * store/store.c - the store's front: settings, who may open what, the engine behind it, and transactions as the other files use them.
 *
 * Which call a role may make is said where the call is (the MAY_ bits given to tx_begin) and refused here, before any data is touched.
 */
#include "config.h"

#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#include "metrics/metrics.h"
#include "store/copy.h"
#include "store/db.h"

struct store {
	struct db *db;
	enum store_role role;
};

static const char *const role_names[] = {
	[STORE_ROLE_OUTBOUND] = "outbound",
	[STORE_ROLE_INBOUND] = "inbound",
	[STORE_ROLE_ENROLLD] = "enrolld",
	[STORE_ROLE_ADMIN] = "admin",
};

/* Every engine this build knows. */
static const struct db_ops *const engines[] = {
	&sqlite_ops,
#ifdef HAVE_POSTGRESQL
	&postgresql_ops,
#endif
};

/* ---- settings ---------------------------------------------------------------------------------------------------- */

void store_settings_init(struct store_settings *s)
{
	s->type = strdup("sqlite");
	s->path = strdup(STATEDIR "/store.db");
	s->connection = NULL;
	s->group = strdup("enroll-milter");
	s->busy_ms = 5000;
	s->allow_unverified = false;
	s->clock_tolerance = 10;
	s->retention_days = 0;
	s->marked_too = false;
}

void store_settings_clear(struct store_settings *s)
{
	free(s->type);
	free(s->path);
	free(s->connection);
	free(s->group);
	memset(s, 0, sizeof(*s));
}

/* Each kind of store has one setting that it cannot do without. */
static bool is_named(const struct store_settings *s, const struct db_ops *ops, const char *op, struct err *err)
{
	bool file = ops == &sqlite_ops;
	const char *value = file ? s->path : s->connection;

	if (value != NULL && value[0] != '\0')
		return true;
	if (file)
		return err_set(err, ERR_CONFIG, op, "store.path", "store.path is empty; name the database file");
	return err_set(err, ERR_CONFIG, op, "store.connection",
		"store.connection is empty; say how the database is reached, as \"postgresql://enroll_%%r@db.example/enroll?sslmode=verify-full\"");
}

static const struct db_ops *engine_of(const struct store_settings *s, const char *op, struct err *err)
{
	const char *type = s->type == NULL ? "sqlite" : s->type;

	for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		if (strcmp(engines[i]->name, type) == 0)
			return is_named(s, engines[i], op, err) ? engines[i] : NULL;
	if (strcmp(type, "postgresql") == 0)
		err_set(err, ERR_CONFIG, op, type, "this program was built without PostgreSQL (configure --with-postgresql); use store.type = \"sqlite\"");
	else
		err_set(err, ERR_CONFIG, op, type, "store.type = \"%s\" is not known; use \"sqlite\" or \"postgresql\"", type);
	return NULL;
}

/* ---- the whole store --------------------------------------------------------------------------------------------- */

bool store_create(const struct store_settings *s, struct err *err)
{
	const struct db_ops *ops = engine_of(s, "create store", err);

	return ops != NULL && ops->create(s, err);
}

struct store *store_open(const struct store_settings *s, enum store_role role, struct err *err)
{
	const struct db_ops *ops = engine_of(s, "open store", err);
	struct store *store;

	if (ops == NULL)
		return NULL;
	store = calloc(1, sizeof(*store));
	if (store == NULL) {
		err_nomem(err, "open store");
		return NULL;
	}
	store->role = role;
	store->db = ops->open(s, role, err);
	if (store->db == NULL) {
		free(store);
		return NULL;
	}
	return store;
}

static const struct db_ops *ops_of(const struct store *store)
{
	return ((const struct db_base *)store->db)->ops;
}

void store_close(struct store *store)
{
	if (store == NULL)
		return;
	ops_of(store)->close(store->db);
	free(store);
}

bool store_schema_found(struct store *store, int *version, struct err *err)
{
	int64_t found = 0;
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ALL, "read schema version", err) &&
		  tx_number(&tx, &found, 0, "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'schema_version'", NO_VALUES);

	tx_end(&tx);
	*version = (int)found;
	return ok;
}

int64_t store_answered_ms(struct store *store)
{
	const struct db_ops *ops = ops_of(store);

	return ops->answered_ms != NULL ? ops->answered_ms(store->db) : mono_ms();
}

int64_t store_change_counter(struct store *store)
{
	return ops_of(store)->change_counter(store->db);
}

static bool role_may(const struct store *store, unsigned may, const char *op, struct err *err)
{
	if (may & 1u << store->role)
		return true;
	return err_set(err, ERR_BUG, op, role_names[store->role], "this call is not for role %s", role_names[store->role]);
}

static _Thread_local bool has_patience;	/* a mail waits for this thread */
static _Thread_local int64_t patience_used; /* milliseconds in transactions since that began */

void store_patience_begin(void)
{
	has_patience = true;
	patience_used = 0;
}

void store_patience_end(void)
{
	has_patience = false;
}

int64_t store_patience_used(void)
{
	return has_patience ? patience_used : 0;
}

#define TRIES_MOST 12

bool store_worth_another_try(unsigned *tries, const struct err *err)
{
	struct timespec rest;
	unsigned ms = 100u << (*tries < 4 ? *tries : 4);

	if (err->class != ERR_TEMPORARY || *tries == TRIES_MOST)
		return false;
	++*tries;
	rest = (struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000L};
	nanosleep(&rest, NULL);
	return true;
}

bool store_backup(const struct store_settings *s, const char *to, struct err *err)
{
	const struct db_ops *ops = engine_of(s, "back up store", err);

	return ops != NULL && ops->backup(s, to, err);
}

bool store_look(const struct store_settings *s, bool check, struct store_look *out, struct err *err)
{
	const struct db_ops *ops = engine_of(s, "look at store", err);

	memset(out, 0, sizeof(*out));
	return ops != NULL && ops->look(s, check, out, err);
}

bool store_upgrade(const struct store_settings *s, struct err *err)
{
	const struct db_ops *ops = engine_of(s, "upgrade store", err);

	return ops != NULL && ops->upgrade(s, err);
}

bool store_restore(const struct store_settings *s, const char *from, struct err *err)
{
	const struct db_ops *ops = engine_of(s, "restore store", err);

	return ops != NULL && ops->restore(s, from, err);
}

bool store_compact(const struct store_settings *s, struct err *err)
{
	const struct db_ops *ops = engine_of(s, "compact store", err);

	return ops != NULL && ops->compact(s, err);
}

bool store_size(struct store *store, int64_t *octets, struct err *err)
{
	return ops_of(store)->size(store->db, octets, err);
}

bool engine_settle(const struct store_settings *s, struct err *err)
{
	const struct db_ops *ops = engine_of(s, "settle store", err);

	return ops != NULL && ops->settle(s, err);
}

bool store_check(struct store *store, struct err *err)
{
	return role_may(store, MAY_ENROLLD | MAY_ADMIN, "check store", err) && ops_of(store)->check(store->db, err);
}

bool store_advice(struct store *store, struct strlist *out, struct err *err)
{
	return ops_of(store)->advice == NULL || ops_of(store)->advice(store->db, out, err);
}

/* ---- transactions ------------------------------------------------------------------------------------------------ */

bool tx_begin(struct tx *tx, struct store *store, enum tx_access access, unsigned may, const char *op, struct err *err)
{
	memset(tx, 0, sizeof(*tx));
	tx->ops = ops_of(store);
	tx->op = op;
	tx->err = err != NULL ? err : &tx->scratch;
	if (!role_may(store, may, op, tx->err))
		return false;
	tx->access = access;
	tx->began_ms = mono_ms();
	tx->began = metrics_now();
	tx->impl = tx->ops->begin(store->db, access, op, tx->err);
	if (tx->impl == NULL)
		metrics_count(METRIC_STORE_FAILURES, 0, 0, 0);
	return tx->impl != NULL;
}

bool tx_commit(struct tx *tx)
{
	bool ok = tx->ops->commit(tx->impl, tx->err);

	if (!ok)
		metrics_count(METRIC_STORE_FAILURES, 0, 0, 0);
	return ok;
}

void tx_end(struct tx *tx)
{
	if (tx->impl != NULL) {
		tx->ops->end(tx->impl);
		metrics_observe(METRIC_STORE_SECONDS, tx->access != TX_READ, metrics_now() - tx->began);
	}
	if (tx->began_ms > 0)
		patience_used += mono_ms() - tx->began_ms;
	tx->began_ms = 0;
	tx->impl = NULL;
}

bool tx_run(struct tx *tx, int64_t *affected, const char *sql, const struct db_value *v, size_t n)
{
	struct rows r;

	if (rows_open(&r, tx, sql, v, n))
		while (rows_next(&r))
			;
	if (!r.failed && affected != NULL)
		*affected = tx->ops->affected(tx->impl);
	return rows_close(&r);
}

bool tx_number(struct tx *tx, int64_t *out, int64_t otherwise, const char *sql, const struct db_value *v, size_t n)
{
	struct rows r;

	*out = otherwise;
	if (rows_open(&r, tx, sql, v, n) && rows_next(&r)) {
		if (!rows_null(&r, 0))
			*out = rows_int(&r, 0);
		/* To the end: an INSERT ... RETURNING is only done when it was read out. */
		while (rows_next(&r))
			;
	}
	return rows_close(&r);
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

/* Text from outside may hold anything; the database is UTF-8.  NULL when `s` can stay as it is or there is no memory. */
static char *repair_text(const char *s)
{
	char *copy = strdup(s);

	for (char *p = copy; p != NULL && *p != '\0'; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	return copy;
}

#define VALUES_MAX 40

static bool open_rows(struct rows *r, struct tx *tx, const char *sql, const struct db_value *v, size_t n, bool many)
{
	struct db_value copy[VALUES_MAX];
	char *repaired[VALUES_MAX];
	size_t n_repaired = 0;

	*r = (struct rows){.tx = tx, .failed = true};
	if (n > VALUES_MAX)
		return err_set(tx->err, ERR_BUG, tx->op, "statement", "%zu parameters are too many", n);
	for (size_t i = 0; i < n; i++) {
		copy[i] = v[i];
		if (v[i].type != DB_TEXT || v[i].p == NULL || text_is_utf8(v[i].p, strlen(v[i].p)))
			continue;
		copy[i].p = repaired[n_repaired] = repair_text(v[i].p);
		if (repaired[n_repaired++] == NULL) {
			err_nomem(tx->err, tx->op);
			goto done;
		}
	}
	r->impl = tx->ops->query(tx->impl, sql, copy, n, many, tx->err);
	r->failed = r->impl == NULL;
done:
	while (n_repaired > 0)
		free(repaired[--n_repaired]);
	return !r->failed;
}

bool rows_open(struct rows *r, struct tx *tx, const char *sql, const struct db_value *v, size_t n)
{
	return open_rows(r, tx, sql, v, n, false);
}

bool rows_next(struct rows *r)
{
	int got;

	if (r->failed)
		return false;
	got = r->tx->ops->next(r->impl, r->tx->err);
	r->failed = got < 0;
	return got > 0;
}

bool rows_close(struct rows *r)
{
	if (r->impl != NULL)
		r->tx->ops->finish(r->impl);
	r->impl = NULL;
	return !r->failed;
}

bool rows_null(struct rows *r, int column)
{
	return r->tx->ops->is_null(r->impl, column);
}

int64_t rows_int(struct rows *r, int column)
{
	return r->tx->ops->column_int(r->impl, column);
}

const char *rows_peek(struct rows *r, int column)
{
	size_t len;
	const char *s = r->tx->ops->column_data(r->impl, column, &len);

	return s == NULL ? "" : s;
}

char *rows_text(struct rows *r, int column)
{
	char *copy;

	if (rows_null(r, column))
		return NULL;
	copy = strdup(rows_peek(r, column));
	if (copy == NULL) {
		r->failed = true;
		err_nomem(r->tx->err, r->tx->op);
	}
	return copy;
}

unsigned char *rows_blob(struct rows *r, int column, size_t *len)
{
	const void *data = r->tx->ops->column_data(r->impl, column, len);
	unsigned char *copy;

	if (data == NULL || *len == 0) {
		*len = 0;
		return NULL;
	}
	copy = malloc(*len);
	if (copy == NULL) {
		*len = 0;
		r->failed = true;
		err_nomem(r->tx->err, r->tx->op);
		return NULL;
	}
	memcpy(copy, data, *len);
	return copy;
}

bool rows_bad(struct rows *r, const char *what)
{
	r->failed = true;
	return err_set(r->tx->err, ERR_BUG, r->tx->op, what, "the store holds a %s this program does not know", what);
}

/* ---- lists ------------------------------------------------------------------------------------------------------- */

/* Room for one more, doubling: full exactly when n is zero or a power of two. */
static void *list_grow(void *v, size_t n, size_t size)
{
	char *grown = v;

	if ((n & (n - 1)) == 0) {
		size_t room = n == 0 ? 1 : 2 * n;

		grown = room > SIZE_MAX / size ? NULL : realloc(v, room * size);
		if (grown == NULL)
			return NULL;
	}
	memset(grown + n * size, 0, size);
	return grown;
}

bool tx_list(struct tx *tx, struct row_list *l, const char *sql, const struct db_value *v, size_t n)
{
	struct rows r;

	if (open_rows(&r, tx, sql, v, n, true))
		while (rows_next(&r)) {
			void *grown = list_grow(l->v, l->n, l->size);

			if (grown == NULL) {
				r.failed = true;
				err_nomem(tx->err, tx->op);
				break;
			}
			l->v = grown;
			l->read(&r, (char *)grown + l->n++ * l->size);
		}
	return rows_close(&r);
}
