/*
 * store/turns.c - what one enrolld of a store does at a time: a lease by name, and when it was last done.
 *
 * Who asks in vain only reads, and so does who has half of the time left: fifty enrolld that ask once a second cost no writing.
 */
#include "config.h"

#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#include "store/db.h"

#define COLUMNS "name, owner, until, done_at"

void store_turn_clear(struct store_turn *t)
{
	free(t->name);
	free(t->owner);
	memset(t, 0, sizeof(*t));
}

void store_turn_list_clear(struct store_turn_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		store_turn_clear(&l->v[i]);
	free(l->v);
	*l = (struct store_turn_list){0};
}

static void read_turn(struct rows *r, void *element)
{
	struct store_turn *out = element;

	out->name = rows_text(r, 0);
	out->owner = rows_text(r, 1);
	out->until = rows_int(r, 2);
	out->done_at = rows_int(r, 3);
}

bool store_turn_get(struct store *store, const char *name, struct store_turn *out, struct err *err)
{
	struct tx tx;
	struct rows r;
	bool ok = false;

	memset(out, 0, sizeof(*out));
	if (tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "look at turn", err)) {
		if (rows_open(&r, &tx, "SELECT " COLUMNS " FROM turns WHERE name = $1", VALUES(V_TEXT(name))) && rows_next(&r))
			read_turn(&r, out);
		ok = rows_close(&r);
	}
	tx_end(&tx);
	return ok;
}

enum chance { NONE, SOME, HAS };

/* A clock that was put back makes due what was done in its future; two hosts' clocks may be apart twice store.clock-tolerance, which is less than this. */
#define FUTURE 60
static enum chance chance(const struct store_turn *t, const char *owner, time_t now, unsigned seconds, unsigned every)
{
	if (!t->name)
		return SOME;
	if (strcmp(t->owner ? t->owner : "", owner) == 0)
		return t->until - now > (time_t)seconds / 2 ? HAS : SOME;
	if (t->until > now)
		return NONE;
	return t->done_at + (time_t)every <= now || t->done_at > now + FUTURE ? SOME : NONE;
}

bool store_turn_take(struct store *store, const char *name, const char *owner, time_t now, unsigned seconds, unsigned every, bool *mine,
	struct err *err)
{
	struct store_turn t = {0};
	struct tx tx;
	int64_t n = 0;
	enum chance c;
	bool ok;

	*mine = false;
	if (!store_turn_get(store, name, &t, err))
		return false;
	c = chance(&t, owner, now, seconds, every);
	store_turn_clear(&t);
	*mine = c == HAS;
	if (c != SOME)
		return true;
	ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "take turn", err) &&
	     tx_run(&tx, &n,
		     "INSERT INTO turns (name, owner, until) VALUES ($1, $2, $3)"
		     " ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until"
		     " WHERE turns.owner = excluded.owner OR (turns.until <= $4 AND (turns.done_at + $5 <= $4 OR turns.done_at > $4 + $6))",
		     VALUES(V_TEXT(name), V_TEXT(owner), V_INT(now + (time_t)seconds), V_INT(now), V_INT(every), V_INT(FUTURE))) &&
	     tx_commit(&tx);
	tx_end(&tx);
	*mine = ok && n == 1;
	return ok;
}

bool store_turn_seize(struct store *store, const char *name, const char *owner, time_t until, struct err *err)
{
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "seize turn", err) &&
		  tx_run(&tx, NULL,
			  "INSERT INTO turns (name, owner, until) VALUES ($1, $2, $3)"
			  " ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until",
			  VALUES(V_TEXT(name), V_TEXT(owner), V_INT(until))) &&
		  tx_commit(&tx);

	tx_end(&tx);
	return ok;
}

bool store_turn_end(struct store *store, const char *name, const char *owner, time_t done_at, struct err *err)
{
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "end turn", err) &&
		  tx_run(&tx, NULL,
			  "UPDATE turns SET owner = '', until = 0, done_at = CASE WHEN $3 > 0 THEN $3 ELSE done_at END WHERE name = $1 AND owner = $2",
			  VALUES(V_TEXT(name), V_TEXT(owner), V_INT(done_at))) &&
		  tx_commit(&tx);

	tx_end(&tx);
	return ok;
}

bool store_turn_list(struct store *store, const char *prefix, struct store_turn_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct store_turn, read_turn);
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "list turns", err) &&
		  tx_list(&tx, &l, "SELECT " COLUMNS " FROM turns WHERE substr(name, 1, length($1)) = $1 ORDER BY name", VALUES(V_TEXT(prefix)));

	tx_end(&tx);
	*out = (struct store_turn_list){.v = l.v, .n = l.n};
	if (!ok)
		store_turn_list_clear(out);
	return ok;
}

bool store_turns_forget(struct store *store, const char *prefix, time_t before, struct err *err)
{
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "forget turns", err) &&
		  tx_run(&tx, NULL, "DELETE FROM turns WHERE substr(name, 1, length($1)) = $1 AND until < $2", VALUES(V_TEXT(prefix), V_INT(before))) &&
		  tx_commit(&tx);

	tx_end(&tx);
	return ok;
}
