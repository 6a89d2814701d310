/*
 * store/marks.c - a store that is none at present: moved away, or half copied.
 *
 * A mark is a row in table meta, "ID TIME PLACE".  Each engine sees it at the beginning of every transaction, at no cost beside what it reads there
 * anyhow, so that also a daemon that has the store open writes no more into it.
 */
#include "config.h"

#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#include "store/copy.h"
#include "store/db.h"

#define MARK_FINAL "moved_final"
#define NOTE_ORIGIN "copied_from"

/* ---- places -------------------------------------------------------------------------------------------------------- */

/* What stands between the colon and the @ of a URI, and what follows password=. */
static void without_password(const char *s, char *out, size_t size)
{
	const char *host = strstr(s, "://"), *at = host != NULL ? strchr(host, '@') : NULL, *word = strstr(s, "password=");
	const char *colon = at != NULL ? memchr(host + 3, ':', (size_t)(at - host - 3)) : NULL;

	if (colon != NULL)
		snprintf(out, size, "%.*s%s", (int)(colon - s), s, at);
	else if (word != NULL)
		snprintf(out, size, "%.*spassword=...%s", (int)(word - s), s, word + strcspn(word, " &"));
	else
		snprintf(out, size, "%s", s);
}

void store_place(const struct store_settings *s, char *out, size_t size)
{
	if (store_is_file(s))
		snprintf(out, size, "%s", store_where(s));
	else
		without_password(store_where(s), out, size);
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

/* "ID TIME PLACE" */
static void read_value(const char *value, struct store_moved *out)
{
	long long at = 0;
	int n = 0;

	if (sscanf(value, "%39s %lld %n", out->id, &at, &n) >= 2 && n > 0)
		snprintf(out->place, sizeof(out->place), "%s", value + n);
	out->at = (time_t)at;
}

bool store_unmarked(const char *mark, const char *op, const char *subject, struct err *err)
{
	struct store_moved m = {0};
	const char *value = strchr(mark, ' ');
	char at[32];

	if (value == NULL)
		return true;
	read_value(value + 1, &m);
	time_text(m.at, at);
	if (strncmp(mark, MARK_MOVED " ", sizeof(MARK_MOVED)) == 0)
		err_set(err, ERR_CONFIG, op, subject,
			"this store was moved to %s at %s, and is not used any more: the configuration has to name the new one (store.type, and store.connection or "
			"store.path); `enrollctl store migrate --undo` makes this one the store again", m.place, at);
	else
		err_set(err, ERR_CONFIG, op, subject,
			"a copy of %s, begun at %s, is not complete here, and this is no store yet: run `enrollctl store migrate` again", m.place, at);
	if (err != NULL)
		snprintf(err->type, sizeof(err->type), STORE_MOVED);
	return false;
}

void store_mark_at_birth(char sql[200])
{
	snprintf(sql, 200, "INSERT INTO meta (name, value) VALUES ('" MARK_COPYING "', '" MARK_NOT_BEGUN " %lld another store')", (long long)time(NULL));
}

static bool read_mark(struct tx *tx, const char *name, bool *there, struct store_moved *out)
{
	struct rows r;

	*there = false;
	if (rows_open(&r, tx, "SELECT value FROM meta WHERE name = $1", VALUES(V_TEXT(name))) && rows_next(&r)) {
		*there = true;
		if (out != NULL)
			read_value(rows_peek(&r, 0), out);
	}
	return rows_close(&r);
}

bool marks_read(struct tx *tx, struct store_moved *out)
{
	memset(out, 0, sizeof(*out));
	return read_mark(tx, MARK_COPYING, &out->copying, out) && read_mark(tx, MARK_MOVED, &out->moved, out) && read_mark(tx, MARK_FINAL, &out->final, NULL);
}

static bool read_origin(struct tx *tx, struct store_moved *m)
{
	struct store_moved from = {0};
	bool ok = read_mark(tx, NOTE_ORIGIN, &(bool){false}, &from);

	snprintf(m->origin, sizeof(m->origin), "%s", from.place);
	return ok;
}

/* ---- writing ------------------------------------------------------------------------------------------------------- */

static bool write_value(struct tx *tx, const char *name, const char *id, const char *place)
{
	char value[MARK_SIZE];

	snprintf(value, sizeof(value), "%s %lld %s", id, (long long)time(NULL), place);
	return tx_run(tx, NULL, "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
		VALUES(V_TEXT(name), V_TEXT(value)));
}

bool marks_set(struct tx *tx, const char *mark, const char *id, const char *place)
{
	return write_value(tx, mark, id, place) && tx->ops->mark(tx->impl, true, tx->err);
}

bool marks_note_origin(struct tx *tx, const char *id, const char *place)
{
	return write_value(tx, NOTE_ORIGIN, id, place);
}

bool marks_remove(struct tx *tx)
{
	return tx_run(tx, NULL, "DELETE FROM meta WHERE name IN ('" MARK_MOVED "','" MARK_COPYING "','" MARK_FINAL "')", NO_VALUES) &&
	       tx->ops->mark(tx->impl, false, tx->err);
}

struct store *marks_open(const struct store_settings *s, struct err *err)
{
	struct store_settings too = *s; /* borrowed */

	too.marked_too = true;
	return store_open(&too, STORE_ROLE_ADMIN, err);
}

/* ---- looked at, confirmed, undone ---------------------------------------------------------------------------------- */

bool store_moved_look(const struct store_settings *s, struct store_moved *out, struct err *err)
{
	struct store *store = marks_open(s, err);
	struct tx tx;
	bool ok;

	memset(out, 0, sizeof(*out));
	if (store == NULL)
		return false;
	ok = tx_begin(&tx, store, TX_READ, MAY_ADMIN, "look at store", err) && marks_read(&tx, out) && read_origin(&tx, out);
	tx_end(&tx);
	store_close(store);
	return ok;
}

static bool is_moved(const struct store_moved *m, const char *op, const struct store_settings *s, struct err *err)
{
	char place[400];

	store_place(s, place, sizeof(place));
	if (!m->moved)
		return err_set(err, ERR_CONFIG, op, place, "this store was not moved anywhere");
	return !m->final || err_set(err, ERR_CONFIG, op, place, "the move to %s was confirmed, and is not undone: copy it back with `enrollctl store migrate --to`", m->place);
}

bool store_move_confirm(const struct store_settings *old, struct err *err)
{
	static const char op[] = "confirm move";
	struct store *store = marks_open(old, err);
	struct store_moved m;
	struct tx tx;
	bool ok;

	if (store == NULL)
		return false;
	ok = tx_begin(&tx, store, TX_WRITE, MAY_ADMIN, op, err) && marks_read(&tx, &m) && is_moved(&m, op, old, tx.err) &&
	     tx_run(&tx, NULL, "INSERT INTO meta (name, value) VALUES ('" MARK_FINAL "', '1') ON CONFLICT (name) DO NOTHING", NO_VALUES) && tx_commit(&tx);
	tx_end(&tx);
	store_close(store);
	return ok;
}

/* Both with their writers kept out.  The new one first: between the two commits there is no store, rather than two. */
static bool turn_back(struct tx *old, struct store *now, const struct store_settings *old_place, bool lose, struct err *err)
{
	static const char op[] = "undo move";
	struct store_moved there, here;
	char place[400], table[64] = "";
	struct tx tx = {.impl = NULL};
	bool ok;

	store_place(old_place, place, sizeof(place));
	ok = marks_read(old, &here) && tx_begin(&tx, now, TX_WRITE, MAY_ADMIN, op, err) && marks_read(&tx, &there);
	if (ok && there.moved)
		ok = err_set(err, ERR_CONFIG, op, here.place, "the new store was moved on to %s: undo that first", there.place);
	if (ok && !there.copying)
		ok = (lose || copy_is_same(old, &tx, table, sizeof(table))) && marks_set(&tx, MARK_COPYING, here.id, place) && tx_commit(&tx);
	if (!ok && table[0] != '\0')
		err_set(err, ERR_POLICY, op, here.place,
			"the new store has changed since (%s), and what is new in it, keys of certificates among it, is not in the old one: copy it back with `enrollctl "
			"store migrate --to NEW-FILE`; or say --yes to lose it", table);
	tx_end(&tx);
	return ok;
}

bool store_move_undo(const struct store_settings *old, const struct store_settings *now, bool lose, struct err *err)
{
	static const char op[] = "undo move";
	struct store *store = marks_open(old, err), *other = store != NULL && now != NULL ? marks_open(now, err) : NULL;
	struct store_moved m;
	struct tx tx;
	bool ok;

	if (store == NULL || (now != NULL && other == NULL)) {
		store_close(store);
		return false;
	}
	ok = tx_begin(&tx, store, TX_WRITE, MAY_ADMIN, op, err) && marks_read(&tx, &m) && is_moved(&m, op, old, tx.err) &&
	     (other == NULL || turn_back(&tx, other, old, lose, tx.err)) && marks_remove(&tx) && tx_commit(&tx);
	tx_end(&tx);
	store_close(other);
	store_close(store);
	return ok;
}
