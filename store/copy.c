/*
 * store/copy.c - a store copied whole into an empty one, whichever engines the two have.
 *
 * Rows are read in the order of their keys and put into the other store batch by batch, each batch a transaction there; the source is one transaction that
 * keeps writers out.  So what a copy that was killed has left is, table by table, the beginning of what the source has, if the source has not changed
 * since.  That is not believed but compared: then the copy goes on behind it, else everything there is removed first.
 *
 * A column that refers to a later table (an enrollment's key and certificate) is filled when all rows are there.  In the end both sides are read once
 * more, side by side, and compared value by value.
 */
#include "config.h"

#include "store/store.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "store/copy.h"
#include "store/db.h"
#include "store/tables.h"

#define BATCH 1000

/* ---- statements of a table ----------------------------------------------------------------------------------------- */

/* The engines keep a prepared statement by its text, so the texts live as long as any store is open. */
struct plan {
	const struct table *t;
	struct table_column c[TABLE_COLUMNS_MAX];
	size_t n, n_later;
	char *first, *after, *insert, *later, *empty;
	struct { size_t rows; char *text; } many[2]; /* the same for several rows, made when an engine wants it */
};

static void put_list(struct buf *b, const struct plan *p, size_t from, size_t to, const char *before)
{
	for (size_t i = from; i < to; i++)
		if (*before == '$')
			buf_printf(b, "%s$%zu", i > from ? ", " : "", i + 1);
		else
			buf_printf(b, "%s%s", i > from ? ", " : "", p->c[i].name);
}

static char *select_text(struct plan *p, bool after)
{
	struct buf b = BUF_INIT;

	buf_puts(&b, "SELECT ");
	put_list(&b, p, 0, p->n, "");
	buf_printf(&b, " FROM %s", p->t->name);
	if (after) {
		buf_puts(&b, " WHERE (");
		put_list(&b, p, 0, p->t->n_key, "");
		buf_puts(&b, ") > (");
		put_list(&b, p, 0, p->t->n_key, "$");
		buf_puts(&b, ")");
	}
	buf_puts(&b, " ORDER BY ");
	put_list(&b, p, 0, p->t->n_key, "");
	buf_printf(&b, " LIMIT %d", BATCH);
	return buf_take(&b);
}

static char *insert_text(struct plan *p, size_t rows)
{
	struct buf b = BUF_INIT;

	buf_printf(&b, "INSERT INTO %s (", p->t->name);
	put_list(&b, p, 0, p->n, "");
	buf_puts(&b, ") VALUES ");
	for (size_t k = 0; k < rows; k++) {
		buf_puts(&b, k > 0 ? ", (" : "(");
		for (size_t i = 0; i < p->n; i++)
			buf_printf(&b, "%s$%zu", i > 0 ? ", " : "", k * p->n + i + 1);
		buf_puts(&b, ")");
	}
	return buf_take(&b);
}

/* The statement for as many rows as the engine takes at once; one row where it takes no more. */
static const char *many_text(struct plan *p, const struct db_ops *ops, size_t *rows)
{
	size_t i = 0;

	*rows = ops->values_most / p->n;
	while (*rows > 1 && i < 2 && p->many[i].rows != *rows && p->many[i].rows != 0)
		i++;
	if (*rows > 1 && i < 2 && p->many[i].rows == 0) {
		p->many[i].text = insert_text(p, *rows);
		p->many[i].rows = p->many[i].text != NULL ? *rows : 0;
	}
	if (*rows > 1 && i < 2 && p->many[i].text != NULL)
		return p->many[i].text;
	*rows = 1;
	return p->insert;
}

/* The key, then the columns that are later. */
static char *later_text(struct plan *p)
{
	struct buf b = BUF_INIT;
	size_t k = 1;

	buf_printf(&b, "UPDATE %s SET ", p->t->name);
	for (size_t i = 0; i < p->n; i++)
		if (p->c[i].later) {
			k++;
			buf_printf(&b, "%s%s = $%zu", k > 2 ? ", " : "", p->c[i].name, k);
		}
	buf_printf(&b, " WHERE %s = $1", p->c[0].name);
	return buf_take(&b);
}

static char *text_of(const char *before, const char *table)
{
	char *s = NULL;

	return asprintf(&s, "%s%s", before, table) < 0 ? NULL : s;
}

static bool plan_make(struct plan *p, const struct table *t)
{
	p->t = t;
	p->n = table_columns(t, p->c);
	for (size_t i = 0; i < p->n; i++)
		p->n_later += p->c[i].later;
	p->empty = text_of("DELETE FROM ", t->name);
	p->first = select_text(p, false);
	p->after = select_text(p, true);
	p->insert = insert_text(p, 1);
	p->later = later_text(p);
	return p->empty != NULL && p->first != NULL && p->after != NULL && p->insert != NULL && p->later != NULL;
}

/* Made once, and never freed.  For one thread. */
static struct plan *plans_make(const char *doing, struct err *err)
{
	static struct plan *made;
	struct plan *v = made != NULL ? made : calloc(tables_n, sizeof(*v));
	bool ok = v != NULL;

	for (size_t i = 0; ok && made == NULL && i < tables_n; i++)
		ok = plan_make(&v[i], &tables[i]);
	if (ok) {
		made = v;
		return v;
	}
	err_nomem(err, doing);
	return NULL;
}

/* ---- rows ------------------------------------------------------------------------------------------------------------ */

/* Some rows of a table in memory, and where the next ones begin. */
struct batch {
	struct plan *p;
	struct db_value *v; /* n rows of p->n values, which own what they point to */
	size_t n;
	struct db_value key[TABLE_KEY_MAX]; /* of the last row that was read before */
	bool begun;
};

static void value_free(struct db_value *v)
{
	free((void *)(uintptr_t)v->p);
	*v = (struct db_value){.type = v->type};
}

static void batch_empty(struct batch *b)
{
	for (size_t i = 0; i < b->n * b->p->n; i++)
		value_free(&b->v[i]);
	b->n = 0;
}

static void batch_end(struct batch *b)
{
	batch_empty(b);
	for (size_t i = 0; i < TABLE_KEY_MAX; i++)
		value_free(&b->key[i]);
	free(b->v);
	b->v = NULL;
}

static bool batch_begin(struct batch *b, struct plan *p, struct tx *tx)
{
	*b = (struct batch){.p = p, .v = calloc(BATCH * p->n, sizeof(*b->v))};
	return b->v != NULL || err_nomem(tx->err, tx->op);
}

static bool value_copy(struct db_value *to, const void *data, size_t len)
{
	char *copy = malloc(len + 1);

	if (copy == NULL)
		return false;
	if (len > 0)
		memcpy(copy, data, len);
	copy[len] = '\0';
	to->p = copy;
	to->n = len;
	return true;
}

/* NULL is a text or octets without a place, and DB_NULL for a number. */
static bool value_read(struct rows *r, int column, enum db_type type, struct db_value *out)
{
	const void *data;
	size_t len;

	*out = (struct db_value){.type = type};
	if (rows_null(r, column)) {
		out->type = type == DB_INT ? DB_NULL : type;
		return true;
	}
	if (type == DB_INT) {
		out->i = rows_int(r, column);
		return true;
	}
	data = r->tx->ops->column_data(r->impl, column, &len);
	return value_copy(out, data, len) || err_nomem(r->tx->err, r->tx->op);
}

/* Where the next batch begins. */
static bool keep_key(struct batch *b, struct tx *tx)
{
	const struct db_value *last = b->n > 0 ? &b->v[(b->n - 1) * b->p->n] : NULL;

	for (size_t i = 0; last != NULL && i < b->p->t->n_key; i++) {
		value_free(&b->key[i]);
		b->key[i] = last[i];
		b->key[i].p = NULL;
		if (last[i].type == DB_TEXT && !value_copy(&b->key[i], last[i].p, last[i].n))
			return err_nomem(tx->err, tx->op);
		b->begun = true;
	}
	return true;
}

/* The next rows; none at the end. */
static bool batch_read(struct batch *b, struct tx *tx)
{
	struct plan *p = b->p;
	struct rows r;
	bool ok = true;

	batch_empty(b);
	if (b->begun ? rows_open(&r, tx, p->after, b->key, p->t->n_key) : rows_open(&r, tx, p->first, NO_VALUES))
		while (ok && b->n < BATCH && rows_next(&r)) {
			struct db_value *row = &b->v[b->n++ * p->n];

			for (size_t i = 0; ok && i < p->n; i++)
				ok = value_read(&r, (int)i, p->c[i].type, &row[i]);
		}
	return rows_close(&r) && ok && keep_key(b, tx);
}

/* What has more values than tx_run takes, and is in order as it is. */
static bool put(struct tx *tx, const char *sql, const struct db_value *v, size_t n)
{
	struct db_rows *rows = tx->ops->query(tx->impl, sql, v, n, false, tx->err);
	int got = rows != NULL ? 1 : -1;

	while (got > 0)
		got = tx->ops->next(rows, tx->err);
	if (rows != NULL)
		tx->ops->finish(rows);
	return got == 0;
}

static bool put_rows(struct tx *tx, struct plan *p, const char *sql, const struct db_value *from, size_t rows)
{
	struct db_value *v = malloc(rows * p->n * sizeof(*v));
	bool ok;

	if (v == NULL)
		return err_nomem(tx->err, tx->op);
	for (size_t i = 0; i < rows * p->n; i++)
		v[i] = p->c[i % p->n].later ? (struct db_value){.type = DB_NULL} : from[i];
	ok = put(tx, sql, v, rows * p->n);
	free(v);
	return ok;
}

static bool put_later(struct tx *tx, struct plan *p, const struct db_value *row)
{
	struct db_value v[TABLE_COLUMNS_MAX] = {row[0]};
	size_t n = 1;
	bool any = false;

	for (size_t i = 0; i < p->n; i++)
		if (p->c[i].later) {
			any = any || row[i].type != DB_NULL;
			v[n++] = row[i];
		}
	return !any || put(tx, p->later, v, n);
}

/* ---- comparing --------------------------------------------------------------------------------------------------------- */

static bool value_is(const struct db_value *a, const struct db_value *b)
{
	if (a->type != b->type || (a->p == NULL) != (b->p == NULL))
		return false;
	if (a->type == DB_INT)
		return a->i == b->i;
	return a->n == b->n && (a->n == 0 || memcmp(a->p, b->p, a->n) == 0);
}

static bool row_is(struct plan *p, const struct db_value *a, const struct db_value *b, bool later)
{
	for (size_t i = 0; i < p->n; i++)
		if ((later || !p->c[i].later) && !value_is(&a[i], &b[i]))
			return false;
	return true;
}

/* Each value with its type and length before it, so that no two rows look alike. */
static void hash_row(EVP_MD_CTX *md, struct plan *p, const struct db_value *row)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct db_value *v = &row[i];
		bool none = v->type == DB_NULL || (v->type != DB_INT && v->p == NULL);
		char head[64];
		int n = none ? snprintf(head, sizeof(head), "-;") : v->type == DB_INT ? snprintf(head, sizeof(head), "%lld;", (long long)v->i)
										  : snprintf(head, sizeof(head), "%zu:", v->n);

		EVP_DigestUpdate(md, head, (size_t)n);
		if (!none && v->type != DB_INT)
			EVP_DigestUpdate(md, v->p, v->n);
	}
}

static void hash_end(EVP_MD_CTX *md, char digest[65])
{
	unsigned char out[32];
	unsigned n = sizeof(out);

	EVP_DigestFinal_ex(md, out, &n);
	for (unsigned i = 0; i < sizeof(out); i++)
		snprintf(&digest[2 * i], 3, "%02x", out[i]);
}

/* Side by side; false when one could not be read. */
static bool compare_table(struct tx *a, struct tx *b, struct plan *p, bool *same, struct store_copied *out)
{
	struct batch x, y;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool ok = batch_begin(&x, p, a), more = true;

	ok = batch_begin(&y, p, b) && ok && md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;
	*same = true;
	out->table = p->t->name;
	while (ok && *same && more && (ok = batch_read(&x, a) && batch_read(&y, b))) {
		*same = x.n == y.n;
		for (size_t i = 0; *same && i < x.n; i++) {
			*same = row_is(p, &x.v[i * p->n], &y.v[i * p->n], true);
			hash_row(md, p, &x.v[i * p->n]);
		}
		out->rows += (int64_t)x.n;
		more = x.n == BATCH;
	}
	if (ok && *same)
		hash_end(md, out->digest);
	EVP_MD_CTX_free(md);
	batch_end(&x);
	batch_end(&y);
	return ok;
}

bool copy_is_same(struct tx *a, struct tx *b, char *table, size_t size)
{
	struct plan *plans = plans_make(a->op, a->err);
	bool ok = plans != NULL, same = true;

	for (size_t i = 0; ok && same && i < tables_n; i++) {
		struct store_copied c = {.rows = 0};

		ok = compare_table(a, b, &plans[i], &same, &c);
		if (ok && !same)
			snprintf(table, size, "%s", tables[i].name);
	}
	return ok && same;
}

/* ---- copying ------------------------------------------------------------------------------------------------------------ */

struct copying {
	struct store_copy_job *job;
	struct plan *plans;
	struct store *from, *to;
	char id[40], from_place[400], to_place[400];
	struct tx source; /* open from the first look to the mark */
	int64_t done;
	struct err *err;
};

static const char op[] = "copy store";

static void tell(const struct copying *c, const char *what)
{
	if (c->job->progress != NULL)
		c->job->progress(c->job->arg, what, c->done, c->job->rows);
}

/* One transaction in the new store. */
static bool target_do(struct copying *c, bool (*act)(struct copying *c, struct tx *tx, void *arg), void *arg)
{
	struct tx tx;
	bool ok = tx_begin(&tx, c->to, TX_WRITE, MAY_ADMIN, op, c->err) && act(c, &tx, arg) && tx_commit(&tx);

	tx_end(&tx);
	return ok;
}

static bool put_batch(struct copying *c, struct tx *tx, void *arg)
{
	const struct batch *b = arg;
	size_t many, done = 0;
	const char *sql = many_text(b->p, tx->ops, &many);
	bool ok = true;

	for (; ok && done + many <= b->n; done += many)
		ok = put_rows(tx, b->p, sql, &b->v[done * b->p->n], many);
	for (; ok && done < b->n; done++)
		ok = put_rows(tx, b->p, b->p->insert, &b->v[done * b->p->n], 1);
	return ok;
}

static bool put_batch_later(struct copying *c, struct tx *tx, void *arg)
{
	const struct batch *b = arg;
	bool ok = true;

	for (size_t i = 0; ok && i < b->n; i++)
		ok = put_later(tx, b->p, &b->v[i * b->p->n]);
	return ok;
}

static bool remove_all(struct copying *c, struct tx *tx, void *arg)
{
	bool ok = tx_run(tx, NULL, "UPDATE enrollments SET key_id = NULL, certificate_id = NULL", NO_VALUES);

	for (size_t i = tables_n; ok && i > 0; i--)
		ok = tx_run(tx, NULL, c->plans[i - 1].empty, NO_VALUES);
	return ok;
}

/* The rows behind the first `n` were read too early. */
static bool batch_cut(struct batch *b, struct tx *tx, size_t n)
{
	for (size_t i = n * b->p->n; i < b->n * b->p->n; i++)
		value_free(&b->v[i]);
	b->n = n;
	return keep_key(b, tx);
}

/* Does the source go on with the rows that are there, and how far?  Leaves `at` behind the last of them. */
static bool skip_batch(struct copying *c, const struct batch *there, struct batch *at, bool *fits)
{
	struct plan *p = there->p;

	if (!batch_read(at, &c->source))
		return false;
	*fits = at->n >= there->n;
	for (size_t i = 0; *fits && i < there->n; i++)
		*fits = row_is(p, &at->v[i * p->n], &there->v[i * p->n], false);
	if (!*fits)
		return true;
	c->done += (int64_t)there->n;
	c->job->there += (int64_t)there->n;
	tell(c, "comparing what is there");
	return at->n == there->n || batch_cut(at, &c->source, there->n);
}

/* What a copy before this one brought of a table; *fits is false when that is not what the source has. */
static bool skip_there(struct copying *c, struct plan *p, struct batch *at, bool *fits)
{
	struct batch there = {.p = p};
	struct tx tx;
	bool ok = tx_begin(&tx, c->to, TX_READ, MAY_ADMIN, op, c->err) && batch_begin(&there, p, &tx), more = true;

	while (ok && *fits && more && (ok = batch_read(&there, &tx)) && there.n > 0) {
		more = there.n == BATCH;
		ok = skip_batch(c, &there, at, fits);
	}
	batch_end(&there);
	tx_end(&tx);
	return ok;
}

static bool copy_table(struct copying *c, struct plan *p, bool *fits)
{
	struct batch b;
	bool ok = batch_begin(&b, p, &c->source), more = true;

	ok = ok && skip_there(c, p, &b, fits);
	while (ok && *fits && more && (ok = batch_read(&b, &c->source)) && b.n > 0) {
		more = b.n == BATCH;
		ok = target_do(c, put_batch, &b);
		c->done += (int64_t)b.n;
		tell(c, p->t->name);
	}
	batch_end(&b);
	return ok;
}

/* Ends early when what is there does not fit. */
static bool copy_rows(struct copying *c, bool *fits)
{
	bool ok = true;

	*fits = true;
	c->done = c->job->there = 0;
	for (size_t i = 0; ok && *fits && i < tables_n; i++)
		ok = copy_table(c, &c->plans[i], fits);
	return ok;
}

static bool fill_later(struct copying *c, struct plan *p)
{
	struct batch b;
	bool ok = batch_begin(&b, p, &c->source), more = true;

	while (ok && more && (ok = batch_read(&b, &c->source)) && b.n > 0) {
		more = b.n == BATCH;
		ok = target_do(c, put_batch_later, &b);
		tell(c, "linking rows");
	}
	batch_end(&b);
	return ok;
}

static bool compare_all(struct copying *c)
{
	struct tx tx;
	bool ok = tx_begin(&tx, c->to, TX_READ, MAY_ADMIN, op, c->err), same = true;

	c->done = 0;
	for (size_t i = 0; ok && i < tables_n; i++) {
		struct store_copied *t = &c->job->tables[i];

		*t = (struct store_copied){.rows = 0};
		ok = compare_table(&c->source, &tx, &c->plans[i], &same, t);
		c->job->n = i + 1;
		c->done += t->rows;
		tell(c, "comparing");
		if (ok && !same)
			ok = err_set(c->err, ERR_CONFIG, op, c->to_place,
				"table %s is not the same in both stores; the old one is untouched and goes on: look at the database's log, then run it again", t->table);
	}
	tx_end(&tx);
	return ok;
}

static bool count_rows(struct copying *c)
{
	for (size_t i = 0; i < tables_n; i++) {
		struct store_copied *t = &c->job->tables[i];

		*t = (struct store_copied){.table = tables[i].name};
		if (!tx_number(&c->source, &t->rows, 0, tables[i].count, NO_VALUES))
			return false;
		c->job->rows += t->rows;
		c->job->n = i + 1;
	}
	return true;
}

/* ---- the two stores ---------------------------------------------------------------------------------------------------- */

static bool is_none(const struct err *err)
{
	return strcmp(err->type, STORE_NONE) == 0 || strcmp(err->type, "SQLSTATE_42P01") == 0 || strcmp(err->type, "SQLSTATE_3F000") == 0;
}

/* NULL without an error: there is none, and it is a dry run. */
static struct store *open_target(const struct store_settings *to, struct store_copy_job *job, struct err *err)
{
	struct store_settings marked = *to; /* borrowed */
	struct store *s = marks_open(to, err);

	if (s != NULL || !is_none(err))
		return s;
	err_clear(err);
	job->made = true;
	marked.marked_too = true;
	if (job->dry_run || !(job->create != NULL ? job->create(job->arg, &marked, err) : store_create(&marked, err)))
		return NULL;
	return marks_open(to, err);
}

/* A copy that was cut short may go on, and one may be begun where nobody has put anything: what `init` leaves is no matter. */
static bool target_is_free(struct copying *c, struct tx *tx, const struct store_moved *here)
{
	struct store_moved m;
	int64_t rows = 0;

	if (!marks_read(tx, &m))
		return false;
	if (m.moved)
		return err_set(tx->err, ERR_CONFIG, op, c->to_place, "there is a store that was moved to %s itself; name another place", m.place);
	if (here->moved && strcmp(m.copying ? m.id : "", here->id) != 0)
		return err_set(tx->err, ERR_CONFIG, op, c->from_place, "this store was moved to %s already; `enrollctl store migrate --undo` makes it the store again", here->place);
	if (m.copying) {
		snprintf(c->id, sizeof(c->id), "%s", strcmp(m.id, MARK_NOT_BEGUN) != 0 ? m.id : "");
		return true;
	}
	for (size_t i = 0; i < tables_n && rows == 0; i++)
		if (strcmp(tables[i].name, "flags") != 0 && strcmp(tables[i].name, "events") != 0 && !tx_number(tx, &rows, 0, tables[i].count, NO_VALUES))
			return false;
	return rows == 0 || err_set(tx->err, ERR_CONFIG, op, c->to_place, "there is a store with rows in it already, which is never overwritten; name an empty database, or a new file");
}

static bool look_at_target(struct copying *c, const struct store_moved *here)
{
	struct tx tx;
	bool ok = tx_begin(&tx, c->to, TX_READ, MAY_ADMIN, op, c->err) && target_is_free(c, &tx, here);

	tx_end(&tx);
	return ok;
}

/* Marked as half copied before the first row comes, in the transaction that saw that it is free. */
static bool take_target(struct copying *c, struct tx *tx, void *arg)
{
	const struct store_moved *here = arg;

	if (!target_is_free(c, tx, here))
		return false;
	if (c->id[0] != '\0')
		return true;
	snprintf(c->id, sizeof(c->id), "%lld-%llx", (long long)time(NULL), (unsigned long long)random_below(UINT64_C(1) << 60));
	return marks_set(tx, MARK_COPYING, c->id, c->from_place) && remove_all(c, tx, NULL);
}

static bool is_a_store(struct tx *tx, const struct copying *c, struct store_moved *here)
{
	return marks_read(tx, here) &&
	       (!here->copying || err_set(tx->err, ERR_CONFIG, op, c->from_place, "a copy of %s is not complete here, and this is no store yet", here->place));
}

static bool let_go(struct copying *c, struct tx *tx, void *arg)
{
	return marks_remove(tx) && marks_note_origin(tx, c->id, c->from_place);
}

/* The source's mark first: between the two commits there is no store, rather than two; called again, this is done. */
static bool hand_over(struct copying *c)
{
	bool ok = marks_set(&c->source, MARK_MOVED, c->id, c->to_place) && tx_commit(&c->source);

	tx_end(&c->source);
	tell(c, "handing over");
	return ok && target_do(c, let_go, NULL);
}

static bool copy_all(struct copying *c, struct store_moved *here)
{
	bool fits = true;

	if (!target_do(c, take_target, here) || !copy_rows(c, &fits))
		return false;
	if (!fits) {
		c->job->anew = true;
		if (!target_do(c, remove_all, NULL) || !copy_rows(c, &fits))
			return false;
		if (!fits)
			return err_set(c->err, ERR_BUG, op, c->to_place, "what was removed is there again");
	}
	for (size_t i = 0; i < tables_n; i++)
		if (c->plans[i].n_later > 0 && !fill_later(c, &c->plans[i]))
			return false;
	return compare_all(c);
}

static bool run(struct copying *c, const struct store_settings *to)
{
	struct store_moved here = {0};
	bool ok = tx_begin(&c->source, c->from, TX_WRITE, MAY_ADMIN, op, c->err) && is_a_store(&c->source, c, &here) && count_rows(c);

	if (ok && c->to == NULL && c->job->dry_run && here.moved)
		ok = err_set(c->err, ERR_CONFIG, op, c->from_place, "this store was moved to %s already", here.place);
	if (ok && c->to != NULL && c->job->dry_run)
		ok = look_at_target(c, &here);
	else if (ok && c->to != NULL)
		ok = copy_all(c, &here) && engine_settle(to, c->err) && store_check(c->to, c->err) && hand_over(c);
	tx_end(&c->source);
	return ok;
}

static bool is_elsewhere(const struct store_settings *from, const struct store_settings *to, const char *place, struct err *err)
{
	if (store_is_file(from) != store_is_file(to) || strcmp(store_where(from), store_where(to)) != 0)
		return true;
	return err_set(err, ERR_CONFIG, op, place, "the store is there already");
}

bool store_copy(const struct store_settings *from, const struct store_settings *to, struct store_copy_job *job, struct err *err)
{
	struct err own = ERR_INIT;
	struct copying c = {.job = job, .err = err != NULL ? err : &own};
	bool ok;

	err_clear(c.err);
	store_place(from, c.from_place, sizeof(c.from_place));
	store_place(to, c.to_place, sizeof(c.to_place));
	ok = is_elsewhere(from, to, c.to_place, c.err) && (c.plans = plans_make(op, c.err)) != NULL && (c.from = marks_open(from, c.err)) != NULL;
	if (ok) {
		c.to = open_target(to, job, c.err);
		ok = (c.to != NULL || (job->made && job->dry_run)) && run(&c, to);
	}
	store_close(c.to);
	store_close(c.from);
	return ok;
}
