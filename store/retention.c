/*
 * store/retention.c - what is old and of no more use: the history of rows that were closed long ago, and of mail.
 *
 * Enrollments, keys and certificates stay for ever: a key whose certificate was published is needed for as long as somebody reads old mail.  So do the
 * orders that brought a certificate, which say what CA it came from.  What belongs to a row that is open stays, however old: the help desk asks for it.
 */
#include "config.h"

#include "store/store.h"

#include <string.h>

#include "store/db.h"

/* Closed before $1. */
#define LONG_CLOSED "(SELECT e.id FROM enrollments e WHERE e.state IN ('superseded','revoked','expired') AND e.state_since < $1)"

#define OLD_EVENTS "at < $1 AND (enrollment_id IS NULL OR enrollment_id IN " LONG_CLOSED ")"
#define OLD_MAIL "at < $1"
#define OLD_CHALLENGES "received_at < $1 AND enrollment_id IN " LONG_CLOSED
/* Of a challenge that goes, however late it came. */
#define OLD_REPORTS "challenge_id IN (SELECT h.id FROM challenges h WHERE h." OLD_CHALLENGES ")"
#define OLD_ORDERS "opened_at < $1 AND outcome IS NOT NULL AND outcome <> 'finalized' AND enrollment_id IN " LONG_CLOSED

/* A report before its challenge. */
static const struct { const char *count, *remove; } kinds[STORE_OLD_KINDS] = {
#define KIND(table, which)                                                                                                                 \
	{"SELECT COUNT(*) FROM " table " WHERE " which, "DELETE FROM " table " WHERE id IN (SELECT id FROM " table " WHERE " which " ORDER BY id LIMIT $2)"}
	[STORE_OLD_EVENTS] = KIND("events", OLD_EVENTS),
	[STORE_OLD_MAIL] = KIND("mail_events", OLD_MAIL),
	[STORE_OLD_REPORTS] = KIND("reports", OLD_REPORTS),
	[STORE_OLD_CHALLENGES] = KIND("challenges", OLD_CHALLENGES " AND NOT EXISTS (SELECT 1 FROM reports r WHERE r.challenge_id = challenges.id)"),
	[STORE_OLD_ORDERS] = KIND("orders", OLD_ORDERS),
};

const char *store_old_name(enum store_old kind)
{
	static const char *const names[STORE_OLD_KINDS] = {[STORE_OLD_EVENTS] = "events", [STORE_OLD_MAIL] = "mail_events", [STORE_OLD_REPORTS] = "reports",
		[STORE_OLD_CHALLENGES] = "challenges", [STORE_OLD_ORDERS] = "orders"};

	return names[kind];
}

bool store_old_count(struct store *store, time_t before, int64_t counts[STORE_OLD_KINDS], struct err *err)
{
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "count what is old", err);

	memset(counts, 0, STORE_OLD_KINDS * sizeof(*counts));
	for (int i = 0; ok && i < STORE_OLD_KINDS; i++)
		ok = tx_number(&tx, &counts[i], 0, kinds[i].count, VALUES(V_INT(before)));
	tx_end(&tx);
	return ok;
}

bool store_old_remove(struct store *store, time_t before, size_t most, int64_t counts[STORE_OLD_KINDS], bool *more, struct err *err)
{
	struct tx tx;
	int64_t gone[STORE_OLD_KINDS] = {0};
	bool ok = tx_begin(&tx, store, TX_WRITE_ROW, MAY_ENROLLD | MAY_ADMIN, "remove what is old", err);

	*more = false;
	for (int i = 0; ok && i < STORE_OLD_KINDS; i++) {
		ok = tx_run(&tx, &gone[i], kinds[i].remove, VALUES(V_INT(before), V_INT(most)));
		*more = *more || gone[i] >= (int64_t)most;
	}
	ok = ok && tx_commit(&tx);
	tx_end(&tx);
	for (int i = 0; ok && i < STORE_OLD_KINDS; i++)
		counts[i] += gone[i];
	return ok;
}
