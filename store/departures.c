/*
 * store/departures.c - people who left, as the directory has it: noted, come back, over; and those who are held back because there are too many.
 *
 * What is noted stands in the rows of an address (gone_since), so that one look finds it together with everything else that forbids signing, and
 * the admin's `disabled` stays what it was.  When the grace period is over the open rows are closed: somebody who comes back after that begins
 * anew, with a new key.
 */
#include "config.h"

#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#include "store/db.h"

#define CLOSED "('superseded','revoked','expired')"
#define HELD_FLAG "departures-held-at" /* of table flags: the moment of the newest who was ever held */

static const char *const names[] = {[DEPARTURE_NONE] = "none", [DEPARTURE_DISABLED] = "disabled", [DEPARTURE_GONE] = "gone", [DEPARTURE_ADDRESS] = "address"};

const char *departure_name(enum departure d)
{
	return d < DEPARTURES ? names[d] : names[DEPARTURE_NONE];
}

enum departure departure_parse(const char *name)
{
	for (int i = DEPARTURE_NONE + 1; name && i < DEPARTURES; i++)
		if (strcmp(names[i], name) == 0)
			return (enum departure)i;
	return DEPARTURE_NONE;
}

/* ---- who is known -------------------------------------------------------------------------------------------------- */

static void person_clear(struct store_person *p)
{
	if (p->address_key != p->address)
		free(p->address_key);
	free(p->address);
	free(p->entry);
	free(p->gone_why);
	free(p->gone_by);
	memset(p, 0, sizeof(*p));
}

void store_people_clear(struct store_people *l)
{
	for (size_t i = 0; i < l->n; i++)
		person_clear(&l->v[i]);
	free(l->v);
	memset(l, 0, sizeof(*l));
}

static void read_person(struct rows *r, void *element)
{
	struct store_person *p = element;

	p->enrollment_id = rows_int(r, 0);
	p->address = rows_text(r, 1);
	p->address_key = p->address && strcmp(p->address, rows_peek(r, 2)) == 0 ? p->address : rows_text(r, 2);
	p->entry = rows_text(r, 3);
	if (!enrollment_state_parse(rows_peek(r, 4), &p->state))
		rows_bad(r, "state of an enrollment");
	p->disabled = rows_int(r, 5) != 0;
	p->gone_since = rows_int(r, 6);
	p->gone_ended = rows_int(r, 7);
	p->gone_why = rows_text(r, 8);
	p->gone_by = rows_text(r, 9);
	if (!r->failed && (!p->address || !p->address_key))
		rows_bad(r, "address of an enrollment");
}

/* Of the rows of an address the first one counts. */
static void keep_first(struct store_people *l)
{
	size_t kept = 0;

	for (size_t i = 0; i < l->n; i++) {
		if (kept > 0 && strcmp(l->v[kept - 1].address_key, l->v[i].address_key) == 0) {
			person_clear(&l->v[i]);
			continue;
		}
		if (kept != i)
			l->v[kept] = l->v[i];
		kept++;
	}
	l->n = kept;
}

#define PERSON "SELECT id, address, address_key, entry, state, disabled, gone_since, gone_ended, gone_why, gone_by FROM enrollments WHERE "
#define PERSON_ORDER " ORDER BY address_key, CASE WHEN state IN " CLOSED " THEN 1 ELSE 0 END, id DESC"
static const char sql_people[] = PERSON "companion_of IS NULL AND (gone_since > 0 OR (entry IS NOT NULL AND state NOT IN " CLOSED "))" PERSON_ORDER;
static const char sql_gone[] = PERSON "companion_of IS NULL AND gone_since > 0" PERSON_ORDER;

bool store_people_list(struct store *store, bool gone_only, struct store_people *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct store_person, read_person);
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "list people", err) &&
		  tx_list(&tx, &l, gone_only ? sql_gone : sql_people, NO_VALUES);

	tx_end(&tx);
	*out = (struct store_people){.v = l.v, .n = l.n};
	if (ok)
		keep_first(out);
	else
		store_people_clear(out);
	return ok;
}

/* ---- one of them --------------------------------------------------------------------------------------------------- */

/* In the history of the row that signs, or did. */
static bool tell(struct tx *tx, const char *key, const char *event, const char *actor, const char *text)
{
	int64_t id = 0;

	return tx_number(tx, &id, 0, "SELECT id FROM enrollments WHERE address_key = $1 AND companion_of IS NULL" PERSON_ORDER " LIMIT 1", VALUES(V_TEXT(key))) &&
	       event_insert(tx, id, time(NULL), event, actor, ERR_NONE, text);
}

/* A worker that is in the middle of a step for one of the rows loses it. */
bool store_departure_note(struct store *store, const char *address_key, enum departure why, const char *actor, const char *text, bool *changed,
	struct err *err)
{
	struct tx tx;
	int64_t n = 0;
	bool ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "note departure", err) &&
		  tx_run(&tx, &n,
			  "UPDATE enrollments SET gone_since = $2, gone_ended = 0, gone_why = $3, gone_by = $4, version = version + 1"
			  " WHERE address_key = $1 AND gone_since = 0",
			  VALUES(V_TEXT(address_key), V_INT(time(NULL)), V_TEXT(departure_name(why)), V_TEXT(actor))) &&
		  tx_run(&tx, NULL, "DELETE FROM departures_held WHERE address_key = $1", VALUES(V_TEXT(address_key))) &&
		  (n == 0 || tell(&tx, address_key, "departed", actor, text)) && tx_commit(&tx);

	tx_end(&tx);
	*changed = ok && n > 0;
	return ok;
}

bool store_departure_undo(struct store *store, const char *address_key, const char *actor, const char *text, bool *changed, struct err *err)
{
	struct tx tx;
	int64_t n = 0;
	bool ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "undo departure", err) &&
		  tx_run(&tx, &n,
			  "UPDATE enrollments SET gone_since = 0, gone_ended = 0, gone_why = NULL, gone_by = NULL, version = version + 1,"
			  " next_at = CASE WHEN state = 'active' THEN $2 ELSE next_at END WHERE address_key = $1 AND gone_since > 0",
			  VALUES(V_TEXT(address_key), V_INT(time(NULL)))) &&
		  /* A mass replacement passed them over; it is their turn now. */
		  tx_run(&tx, NULL,
			  "UPDATE campaign_rows SET state = 'pending', done_at = 0, why = NULL WHERE state = 'skipped' AND campaign_id IN"
			  " (SELECT id FROM campaigns WHERE state IN ('running','paused')) AND certificate_id IN (SELECT c.id FROM certificates c"
			  " JOIN enrollments e ON e.id = c.enrollment_id WHERE e.address_key = $1 AND c.status = 'active')",
			  VALUES(V_TEXT(address_key))) &&
		  (n == 0 || tell(&tx, address_key, "returned", actor, text)) && tx_commit(&tx);

	tx_end(&tx);
	*changed = ok && n > 0;
	return ok;
}

/* Orders that nobody will answer any more, and certificates that sign no more even when a row is opened by hand. */
static bool close_rows(struct tx *tx, const char *key, time_t now)
{
	return tx_run(tx, NULL,
		       "UPDATE orders SET outcome = 'abandoned', closed_at = $2 WHERE outcome IS NULL AND enrollment_id IN"
		       " (SELECT id FROM enrollments WHERE address_key = $1 AND gone_since > 0 AND state NOT IN " CLOSED ")",
		       VALUES(V_TEXT(key), V_INT(now))) &&
	       tx_run(tx, NULL,
		       "UPDATE certificates SET status = 'superseded' WHERE status = 'active' AND enrollment_id IN"
		       " (SELECT id FROM enrollments WHERE address_key = $1 AND gone_since > 0)",
		       VALUES(V_TEXT(key))) &&
	       tx_run(tx, NULL,
		       "UPDATE enrollments SET state = 'superseded', resume = 'superseded', state_since = $2, next_at = 0, planned_at = 0, wake = 0,"
		       " lease_owner = NULL, lease_until = 0, intent = NULL, version = version + 1"
		       " WHERE address_key = $1 AND gone_since > 0 AND state NOT IN ('superseded','revoking','revoked','expired')",
		       VALUES(V_TEXT(key), V_INT(now)));
}

bool store_departure_end(struct store *store, const char *address_key, const char *text, bool *changed, struct err *err)
{
	struct tx tx;
	time_t now = time(NULL);
	int64_t n = 0;
	bool ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "end departure", err) &&
		  tx_run(&tx, &n, "UPDATE enrollments SET gone_ended = $2, version = version + 1 WHERE address_key = $1 AND gone_since > 0 AND gone_ended = 0",
			  VALUES(V_TEXT(address_key), V_INT(now))) &&
		  (n == 0 || (close_rows(&tx, address_key, now) && tell(&tx, address_key, "departure_ended", "enrolld", text))) && tx_commit(&tx);

	tx_end(&tx);
	*changed = ok && n > 0;
	return ok;
}

bool store_certificate_unpublished(struct store *store, int64_t certificate_id, struct err *err)
{
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "note certificate", err) &&
		  tx_run(&tx, NULL, "UPDATE certificates SET in_directory = 0 WHERE id = $1 AND in_directory = 1", VALUES(V_INT(certificate_id))) &&
		  tx_commit(&tx);

	tx_end(&tx);
	return ok;
}

/* ---- held ---------------------------------------------------------------------------------------------------------- */

void store_held_list_clear(struct store_held_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->v[i].address);
		free(l->v[i].address_key);
		free(l->v[i].confirmed_by);
	}
	free(l->v);
	memset(l, 0, sizeof(*l));
}

/* A moment later than that of whoever was held before, even in the same second, or if the clock went back: who confirms a list that was shown names
 * its newest moment. */
static bool next_moment(struct tx *tx, int64_t *at)
{
	int64_t last = 0;

	if (!tx_number(tx, &last, 0, "SELECT CAST(value AS INTEGER) FROM flags WHERE name = '" HELD_FLAG "'", NO_VALUES))
		return false;
	*at = last >= time(NULL) ? last + 1 : time(NULL);
	return tx_run(tx, NULL,
		"INSERT INTO flags (name, value, actor, at) VALUES ('" HELD_FLAG "', $1, 'enrolld', $1)"
		" ON CONFLICT (name) DO UPDATE SET value = excluded.value, at = excluded.at",
		VALUES(V_INT(*at)));
}

/* A negative `at` marks, inside the transaction, who is held no more. */
bool store_departures_hold(struct store *store, const struct store_held *v, size_t n, struct err *err)
{
	struct tx tx;
	int64_t at = 0;
	bool ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "hold departures", err) && (n == 0 || next_moment(&tx, &at)) &&
		  tx_run(&tx, NULL, n == 0 ? "DELETE FROM departures_held" : "UPDATE departures_held SET at = -at", NO_VALUES);

	for (size_t i = 0; ok && i < n; i++)
		ok = tx_run(&tx, NULL,
			"INSERT INTO departures_held (address_key, address, why, at) VALUES ($1, $2, $3, $4)"
			" ON CONFLICT (address_key) DO UPDATE SET why = excluded.why, at = CASE WHEN departures_held.at < 0 THEN -departures_held.at"
			" ELSE departures_held.at END",
			VALUES(V_TEXT(v[i].address_key), V_TEXT(v[i].address), V_TEXT(departure_name(v[i].why)), V_INT(at)));
	ok = ok && (n == 0 || tx_run(&tx, NULL, "DELETE FROM departures_held WHERE at < 0", NO_VALUES)) && tx_commit(&tx);
	tx_end(&tx);
	return ok;
}

static void read_held(struct rows *r, void *element)
{
	struct store_held *h = element;

	h->address = rows_text(r, 0);
	h->address_key = rows_text(r, 1);
	h->why = departure_parse(rows_peek(r, 2));
	h->at = rows_int(r, 3);
	h->confirmed_by = rows_text(r, 4);
	h->confirmed_at = rows_int(r, 5);
}

bool store_departures_held(struct store *store, struct store_held_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct store_held, read_held);
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "list held departures", err) &&
		  tx_list(&tx, &l, "SELECT address, address_key, why, at, confirmed_by, confirmed_at FROM departures_held ORDER BY address_key", NO_VALUES);

	tx_end(&tx);
	*out = (struct store_held_list){.v = l.v, .n = l.n};
	if (!ok)
		store_held_list_clear(out);
	return ok;
}

bool store_departures_confirm(struct store *store, const char *actor, time_t as_of, size_t *n, struct err *err)
{
	struct tx tx;
	int64_t count = 0;
	char text[100];
	bool ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "confirm departures", err) &&
		  tx_run(&tx, &count, "UPDATE departures_held SET confirmed_by = $1, confirmed_at = $2 WHERE confirmed_at = 0 AND at <= $3",
			  VALUES(V_TEXT(actor), V_INT(time(NULL)), V_INT(as_of)));

	snprintf(text, sizeof(text), "%lld addresses", (long long)count);
	ok = ok && (count == 0 || event_insert(&tx, 0, time(NULL), "departures_confirmed", actor, ERR_NONE, text)) && tx_commit(&tx);
	tx_end(&tx);
	*n = ok ? (size_t)count : 0;
	return ok;
}
