/*
 * store/limits.c - what a CA refuses for a while: one line for (CA, scope), so that every enrollment knows what one of them was told.
 */
#include "config.h"

#include "store/store.h"

#include "store/db.h"

bool store_limit_set(struct store *store, const char *ca, const char *scope, time_t until, const char *text, struct err *err)
{
	time_t now = time(NULL);
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "set limit", err) &&
		  tx_run(&tx, NULL, "DELETE FROM limits WHERE until <= $1", VALUES(V_INT(now))) &&
		  tx_run(&tx, NULL,
			  "INSERT INTO limits (ca, scope, at, until, text) VALUES ($1, $2, $3, $4, $5)"
			  " ON CONFLICT (ca, scope) DO UPDATE SET at = excluded.at, until = excluded.until, text = excluded.text",
			  VALUES(V_TEXT(ca), V_TEXT(scope), V_INT(now), V_INT(until), V_TEXT(text))) &&
		  tx_commit(&tx);

	tx_end(&tx);
	return ok;
}

static void read_limit(struct rows *r, void *element)
{
	struct store_limit *out = element;

	out->ca = rows_text(r, 0);
	out->scope = rows_text(r, 1);
	out->at = rows_int(r, 2);
	out->until = rows_int(r, 3);
	out->text = rows_text(r, 4);
}

bool store_limits(struct store *store, const char *ca, time_t now, struct store_limit_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct store_limit, read_limit);
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "list limits", err) &&
		  tx_list(&tx, &l, "SELECT ca, scope, at, until, text FROM limits WHERE ca = $1 AND until > $2 ORDER BY scope",
			  VALUES(V_TEXT(ca), V_INT(now)));

	tx_end(&tx);
	*out = (struct store_limit_list){.v = l.v, .n = l.n};
	if (!ok)
		store_limit_list_clear(out);
	return ok;
}
