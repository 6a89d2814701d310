/*
 * store/challenges.c - which addresses await a challenge mail, and the tokens that came.
 *
 * Called by the inbound instance with what strangers sent: lengths are checked here, text that is not UTF-8 is mended on the way in
 * (store.c), and a mail that comes twice is one row.
 */
#include "config.h"

#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#include "store/db.h"

#define TEXT_MAX 1000 /* octets; the schema's CHECKs count characters */
#define SEEN_SECONDS (7 * 86400) /* longer than any MTA keeps a mail in its queue */

/* The states in which a challenge mail may come, in SQL and in C: the two lists are the same.  `answered` is among them, since somebody may
 * have opened an order for this address with an account of their own, and the mail that was answered was not ours.  A row that waits
 * (for the CA, the directory, a rate limit) between two steps of such a state still has its mail to come. */
#define AWAITS(column) column " IN ('ordering','ordered','challenge-awaited','answered')"
#define AWAITING AWAITS("CASE WHEN e.state = 'waiting' THEN e.resume ELSE e.state END")

bool enrollment_state_awaits(enum enrollment_state s)
{
	return s == ENROLLMENT_ORDERING || s == ENROLLMENT_ORDERED || s == ENROLLMENT_CHALLENGE_AWAITED || s == ENROLLMENT_ANSWERED;
}

bool store_challenge_awaited(struct store *store, const char *address, struct awaited *out, struct err *err)
{
	char key[ADDRESS_MAX];
	struct tx tx;
	struct rows r;
	bool ok = false;

	memset(out, 0, sizeof(*out));
	if (!address_key_of(address, key, err))
		return false;
	if (tx_begin(&tx, store, TX_READ, MAY_INBOUND | MAY_ENROLLD | MAY_ADMIN, "find awaited challenge", err)) {
		if (rows_open(&r, &tx,
			    "SELECT e.id, e.challenge_from, e.ordered_at, e.ca, e.challenge_address FROM enrollments e"
			    " WHERE e.id IN (SELECT a.enrollment_id FROM enrollment_addresses a WHERE a.address_key = $1) AND e.ordered_at > 0 AND " AWAITING
			    " ORDER BY e.ordered_at DESC, e.id DESC LIMIT 1",
			    VALUES(V_TEXT(key))) &&
			rows_next(&r)) {
			out->enrollment_id = rows_int(&r, 0);
			out->challenge_from = rows_text(&r, 1);
			out->ordered_at = rows_int(&r, 2);
			out->ca = rows_text(&r, 3);
			out->challenge_address = rows_text(&r, 4);
		}
		ok = rows_close(&r);
	}
	tx_end(&tx);
	if (!ok)
		awaited_clear(out);
	return ok;
}

bool store_challenge_seen(
	struct store *store, const char *address, const char *message_id, const char *token_part1, bool *seen, struct err *err)
{
	char key[ADDRESS_MAX];
	int64_t found = 0;
	struct tx tx;
	bool ok;

	*seen = false;
	if (!address_key_of(address, key, err))
		return false;
	ok = tx_begin(&tx, store, TX_READ, MAY_INBOUND | MAY_ADMIN, "find challenge", err) &&
	     tx_number(&tx, &found, 0,
		     "SELECT c.id FROM enrollment_addresses a JOIN enrollments e ON e.id = a.enrollment_id"
		     " JOIN challenges c ON c.enrollment_id = e.id"
		     " WHERE a.address_key = $1 AND e.ordered_at > 0 AND c.received_at >= e.ordered_at AND c.received_at > $2"
		     " AND ($3 IS NULL OR c.message_id = $3) AND ($4 IS NULL OR c.token_part1 = $4) LIMIT 1",
		     VALUES(V_TEXT(key), V_INT(time(NULL) - SEEN_SECONDS), V_TEXT(message_id), V_TEXT(token_part1)));
	tx_end(&tx);
	*seen = ok && found != 0;
	return ok;
}

static bool check_challenge(const struct challenge *c, const char *op, struct err *err)
{
	const char *const all[] = {c->message_id, c->from, c->reply_to, c->authentication, c->disposition, c->why};

	if (c->token_part1 == NULL || c->token_part1[0] == '\0' || strlen(c->token_part1) > TEXT_MAX)
		return err_set(err, ERR_POLICY, op, "token-part1", "a challenge has a token of 1 to %d octets", TEXT_MAX);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i] != NULL && strlen(all[i]) > TEXT_MAX)
			return err_set(
				err, ERR_POLICY, op, c->token_part1, "a header field of the challenge is longer than %d octets", TEXT_MAX);
	return true;
}

/* While the row awaits a mail only, and not when it waits for something else: the token will be read when that is over. */
static bool wake(struct tx *tx, int64_t enrollment_id)
{
	return tx_run(tx, NULL, "UPDATE enrollments SET next_at = $2, wake = 1 WHERE id = $1 AND " AWAITS("state"),
		VALUES(V_INT(enrollment_id), V_INT(time(NULL))));
}

bool store_challenge_add(struct store *store, const struct challenge *c, bool *created, struct err *err)
{
	static const char op[] = "add challenge";
	struct tx tx;
	int64_t id = 0;
	bool ok;

	*created = false;
	if (!check_challenge(c, op, err))
		return false;
	/* The same mail may come to two gateways at once. */
	ok = tx_begin(&tx, store, TX_WRITE_ROW, MAY_INBOUND | MAY_ADMIN, op, err) &&
	     tx_number(&tx, &id, 0, "SELECT id FROM enrollments WHERE id = $1 " ROW_LOCK, VALUES(V_INT(c->enrollment_id))) &&
	     tx_number(&tx, &id, 0,
		     "INSERT INTO challenges (enrollment_id, token_part1, message_id, sender, reply_to, authentication, disposition, date, "
		     "received_at,"
		     " state, why, recipient) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $13 WHERE NOT ($12 = 1 AND EXISTS"
		     " (SELECT 1 FROM challenges WHERE enrollment_id = $1 AND token_part1 = $2)) ON CONFLICT DO NOTHING RETURNING id",
		     VALUES(V_INT(c->enrollment_id), V_TEXT(c->token_part1), V_TEXT(c->message_id == NULL ? "" : c->message_id),
			     V_TEXT(c->from == NULL ? "" : c->from), V_TEXT(c->reply_to), V_TEXT(c->authentication), V_TEXT(c->disposition),
			     V_INT(c->date), V_INT(c->received_at), V_TEXT(c->state == NULL ? "new" : c->state), V_TEXT(c->why), V_INT(c->token_once),
			     V_TEXT(c->recipient)));
	if (ok && id != 0)
		ok = wake(&tx, c->enrollment_id) &&
		     event_insert(&tx, c->enrollment_id, time(NULL), "challenge_received", "inbound", ERR_NONE, c->authentication) &&
		     tx_commit(&tx);
	tx_end(&tx);
	*created = ok && id != 0;
	return ok;
}

static void read_challenge(struct rows *r, void *element)
{
	struct challenge *out = element;
	int c = 0;

	out->id = rows_int(r, c++);
	out->enrollment_id = rows_int(r, c++);
	out->token_part1 = rows_text(r, c++);
	out->message_id = rows_text(r, c++);
	out->from = rows_text(r, c++);
	out->reply_to = rows_text(r, c++);
	out->authentication = rows_text(r, c++);
	out->disposition = rows_text(r, c++);
	out->date = rows_int(r, c++);
	out->received_at = rows_int(r, c++);
	out->state = rows_text(r, c++);
	out->reply_message_id = rows_text(r, c++);
	out->why = rows_text(r, c++);
	out->report_token = rows_text(r, c++);
	out->recipient = rows_text(r, c++);
}

bool store_challenges_of(struct store *store, int64_t enrollment_id, time_t since, struct challenge_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct challenge, read_challenge);
	struct tx tx;
	bool ok;

	ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "list challenges", err) &&
	     tx_list(&tx, &l,
		     "SELECT id, enrollment_id, token_part1, message_id, sender, reply_to, authentication, disposition, date, received_at, "
		     "state,"
		     " reply_message_id, why, report_token, recipient FROM challenges WHERE enrollment_id = $1 AND received_at >= $2 ORDER BY received_at, id",
		     VALUES(V_INT(enrollment_id), V_INT(since)));
	tx_end(&tx);
	*out = (struct challenge_list){.v = l.v, .n = l.n};
	if (!ok)
		challenge_list_clear(out);
	return ok;
}
