/*
 * store/renewals.c - what is known of the renewal of certificates: the CA's window, delays that were told, and when to ask for revocation.
 */
#include "config.h"

#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#include "store/db.h"

void store_renewal_clear(struct store_renewal *r)
{
	free(r->explanation);
	memset(r, 0, sizeof(*r));
}

void store_late_list_clear(struct store_late_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->v[i].address);
		free(l->v[i].serial);
		free(l->v[i].why);
	}
	free(l->v);
	memset(l, 0, sizeof(*l));
}

/* ---- the CA's window ----------------------------------------------------------------------------------------------- */

static bool read_renewal(struct tx *tx, struct store_renewal *out)
{
	struct rows r;

	if (rows_open(&r, tx, "SELECT renew_at, window_start, window_end, explanation, ask_at, urged FROM renewals WHERE certificate_id = $1",
		    VALUES(V_INT(out->certificate_id))) &&
		rows_next(&r)) {
		out->renew_at = rows_int(&r, 0);
		out->window_start = rows_int(&r, 1);
		out->window_end = rows_int(&r, 2);
		out->explanation = rows_text(&r, 3);
		out->ask_at = rows_int(&r, 4);
		out->urged = rows_int(&r, 5) != 0;
	}
	return rows_close(&r);
}

bool store_renewal_get(struct store *store, int64_t certificate_id, struct store_renewal *out, struct err *err)
{
	struct tx tx;
	int64_t before = 0;
	bool ok;

	memset(out, 0, sizeof(*out));
	out->certificate_id = certificate_id;
	ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "read renewal", err) && read_renewal(&tx, out) &&
	     tx_number(&tx, &before, 0,
		     "SELECT COUNT(*) FROM certificates c JOIN renewals r ON r.certificate_id = c.id WHERE r.urged = 1 AND c.id < $1"
		     " AND c.enrollment_id = (SELECT o.enrollment_id FROM certificates o WHERE o.id = $1)",
		     VALUES(V_INT(certificate_id)));
	tx_end(&tx);
	out->urged_before = (unsigned)before;
	if (!ok)
		store_renewal_clear(out);
	return ok;
}

bool store_renewal_put(struct store *store, const struct store_renewal *r, struct err *err)
{
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "note renewal", err) &&
		  tx_run(&tx, NULL,
			  "INSERT INTO renewals (certificate_id, renew_at, window_start, window_end, explanation, ask_at, urged)"
			  " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (certificate_id) DO UPDATE SET renew_at = excluded.renew_at,"
			  " window_start = excluded.window_start, window_end = excluded.window_end, explanation = excluded.explanation,"
			  " ask_at = excluded.ask_at, urged = excluded.urged",
			  VALUES(V_INT(r->certificate_id), V_INT(r->renew_at), V_INT(r->window_start), V_INT(r->window_end), V_TEXT(r->explanation),
				  V_INT(r->ask_at), V_INT(r->urged))) &&
		  tx_commit(&tx);

	tx_end(&tx);
	return ok;
}

/* ---- late ---------------------------------------------------------------------------------------------------------- */

static unsigned stage_of(time_t due, time_t not_after, time_t now)
{
	time_t all = not_after - due, left = not_after - now;

	return left <= 0 ? 4 : left * 10 <= all ? 3 : left * 4 <= all ? 2 : left * 2 <= all ? 1 : 0;
}

static void read_late(struct rows *r, void *element)
{
	struct store_late *out = element;

	out->certificate_id = rows_int(r, 0);
	out->enrollment_id = rows_int(r, 1);
	out->address = rows_text(r, 2);
	out->serial = rows_text(r, 3);
	out->why = rows_text(r, 4);
	if (!enrollment_state_parse(rows_peek(r, 5), &out->state))
		rows_bad(r, "state of an enrollment");
	out->due = rows_int(r, 6);
	out->not_after = rows_int(r, 7);
	out->said = (unsigned)rows_int(r, 8);
}

/* Due by the CA's window or at two thirds of its life, and never before it came.  The renewal of an active row is the row's next step; the few that are
 * not active are looked at, not all certificates (CROSS JOIN: SQLite goes from left to right). */
static const char sql_late[] =
	"SELECT id, enrollment_id, address, serial, why, state, due, not_after, late FROM ("
	"SELECT c.id, c.enrollment_id, e.address, c.serial, e.why, e.state, c.not_after, COALESCE(r.late, 0) AS late,"
	" " RENEWAL_DUE " AS due"
	" FROM enrollments e CROSS JOIN certificates c LEFT JOIN renewals r ON r.certificate_id = c.id"
	" WHERE " RENEWAL_UNDER_WAY " AND e.disabled = 0 AND e.gone_since = 0 AND c.enrollment_id = e.id AND c.status = 'active') l"
	" WHERE due < not_after AND CASE WHEN not_after <= $1 THEN 4 WHEN (not_after - $1) * 10 <= not_after - due THEN 3"
	" WHEN (not_after - $1) * 4 <= not_after - due THEN 2 WHEN (not_after - $1) * 2 <= not_after - due THEN 1 ELSE 0 END > late"
	" ORDER BY not_after LIMIT $2";

bool store_renewals_late(struct store *store, time_t now, size_t limit, struct store_late_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct store_late, read_late);
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "list late renewals", err) &&
		  tx_list(&tx, &l, sql_late, VALUES(V_INT(now), V_INT(limit)));

	tx_end(&tx);
	*out = (struct store_late_list){.v = l.v, .n = l.n};
	for (size_t i = 0; i < out->n; i++)
		out->v[i].stage = stage_of(out->v[i].due, out->v[i].not_after, now);
	if (!ok)
		store_late_list_clear(out);
	return ok;
}

bool store_renewal_late_told(struct store *store, const struct store_late *l, const char *text, struct err *err)
{
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "note late renewal", err) &&
		  tx_run(&tx, NULL,
			  "INSERT INTO renewals (certificate_id, late) VALUES ($1, $2) ON CONFLICT (certificate_id) DO UPDATE SET late = excluded.late",
			  VALUES(V_INT(l->certificate_id), V_INT(l->stage))) &&
		  event_insert(&tx, l->enrollment_id, time(NULL), "renewal_late", "enrolld", ERR_TEMPORARY, text) && tx_commit(&tx);

	tx_end(&tx);
	return ok;
}

/* ---- revoked meanwhile? ---------------------------------------------------------------------------------------------- */

#define IN_USE "c.status = 'active' AND c.not_after > $2"
#define JOINED " FROM certificates c JOIN enrollments e ON e.id = c.enrollment_id "

static bool plan_watch(struct store *store, const char *ca, time_t now, unsigned period, struct err *err)
{
	static const char sql[] = "INSERT INTO renewals (certificate_id, watch_at) SELECT c.id, $2 + 1 + spread($3)" JOINED "WHERE c.id > $4 AND c.id <= $5"
				  " AND " IN_USE " AND " CERTIFICATE_CA
				  " = $1 ON CONFLICT (certificate_id) DO UPDATE SET watch_at = excluded.watch_at"
				  " WHERE renewals.watch_at = 0 OR renewals.watch_at > $2 + $3 * 2";
	int64_t first = 0, last = 1;
	bool ok = true;

	for (; ok && last != 0; first = last) {
		struct tx tx;

		ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "plan looks at revocation", err) && part_after(&tx, "certificates", first, &last) &&
		     (last == 0 ||
			     (tx_run(&tx, NULL, sql, VALUES(V_TEXT(ca), V_INT(now), V_INT(period), V_INT(first), V_INT(last))) && tx_commit(&tx)));
		tx_end(&tx);
	}
	return ok;
}

/* Also those whose time is too far away: the period became shorter. */
bool store_watch_plan(struct store *store, const char *ca, time_t now, unsigned period, struct err *err)
{
	struct tx tx;
	int64_t due = 0;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "plan looks at revocation", err) &&
		  tx_number(&tx, &due, 0,
			  "SELECT c.id" JOINED "LEFT JOIN renewals r ON r.certificate_id = c.id WHERE " IN_USE " AND " CERTIFICATE_CA " = $1"
			  " AND (r.watch_at IS NULL OR r.watch_at = 0 OR r.watch_at > $2 + $3 * 2) LIMIT 1",
			  VALUES(V_TEXT(ca), V_INT(now), V_INT(period)));

	tx_end(&tx);
	if (!ok || due == 0)
		return ok;
	return plan_watch(store, ca, now, period, err);
}

/* Its next time is set before anybody is asked: one whose answer kills us is not the first again.  Another enrolld may have taken it meanwhile. */
bool store_watch_claim(struct store *store, const char *ca, time_t now, unsigned period, struct store_certificate *out, bool *found, struct err *err)
{
	static const char due[] = "SELECT r.certificate_id FROM renewals r JOIN certificates c ON c.id = r.certificate_id JOIN enrollments e ON"
				  " e.id = c.enrollment_id WHERE r.watch_at > 0 AND r.watch_at <= $2 AND " IN_USE " AND " CERTIFICATE_CA " = $1"
				  " ORDER BY r.watch_at LIMIT 1";
	struct tx tx;
	int64_t id = 0, n = 0;
	bool ok;

	memset(out, 0, sizeof(*out));
	*found = false;
	ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "look for revocation", err) && tx_number(&tx, &id, 0, due, VALUES(V_TEXT(ca), V_INT(now)));
	tx_end(&tx);
	if (!ok || id == 0)
		return ok;
	ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "look for revocation", err) &&
	     tx_run(&tx, &n, "UPDATE renewals SET watch_at = $2 WHERE certificate_id = $1 AND watch_at > 0 AND watch_at <= $3",
		     VALUES(V_INT(id), V_INT(now + (time_t)period), V_INT(now))) &&
	     (n == 0 || (certificate_read_in(&tx, id, out, found) && tx_commit(&tx)));
	tx_end(&tx);
	if (!ok) {
		store_certificate_clear(out);
		*found = false;
	}
	return ok;
}
