/*
 * store/reports.c - delivery reports of our replies.
 *
 * The reply's envelope sender carries a random token, the token names the challenge that was answered.  Nobody can guess one, but every
 * server on the reply's way has seen it: so what a report says is a hint, a token's reports are counted, and it is forgotten after a week,
 * which is longer than any server keeps a mail in its queue.
 */
#include "config.h"

#include "store/store.h"

#include <string.h>

#include "store/db.h"

#define TEXT_MAX 1000
#define REPORTS_MAX 20 /* of one reply: a server that delays says so now and then, and says in the end what became of it */
#define TOKEN_SECONDS (7 * 86400)

static bool check_report(const struct report *r, const char *op, struct err *err)
{
	static const char *const actions[] = {"relayed", "delivered", "failed", "delayed", "expanded"};
	const char *const all[] = {r->status, r->diagnostic, r->remote, r->reporter};
	bool known = false;

	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
		known = known || (r->action != NULL && strcmp(r->action, actions[i]) == 0);
	if (!known)
		return err_set(err, ERR_POLICY, op, "action", "a delivery report says relayed, delivered, failed, delayed or expanded");
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i] != NULL && strlen(all[i]) > TEXT_MAX)
			return err_set(err, ERR_POLICY, op, r->action, "a field of the report is longer than %d octets", TEXT_MAX);
	return true;
}

/* The challenge that was answered with this token, and how many reports it has. */
static bool find_challenge(struct tx *tx, const char *token, struct report *named, time_t *challenged_at, int64_t *reports)
{
	struct rows rows;

	if (rows_open(&rows, tx,
		    "SELECT c.id, c.enrollment_id, c.received_at, (SELECT COUNT(*) FROM reports r WHERE r.challenge_id = c.id) FROM challenges c"
		    " WHERE c.report_token = $1 AND c.report_token_at > $2",
		    VALUES(V_TEXT(token), V_INT(time(NULL) - TOKEN_SECONDS))) &&
		rows_next(&rows)) {
		named->challenge_id = rows_int(&rows, 0);
		named->enrollment_id = rows_int(&rows, 1);
		*challenged_at = rows_int(&rows, 2);
		*reports = rows_int(&rows, 3);
	}
	return rows_close(&rows);
}

/* As a challenge does (see steps.c), but only a row whose present order was answered, or is being answered, by this reply: a report that comes
 * after its order is over must not hurry the next one. */
static bool wake(struct tx *tx, int64_t enrollment_id, time_t challenged_at)
{
	return tx_run(tx, NULL,
		"UPDATE enrollments SET next_at = $2, wake = 1"
		" WHERE id = $1 AND state IN ('challenge-awaited','answered') AND ordered_at > 0 AND ordered_at <= $3",
		VALUES(V_INT(enrollment_id), V_INT(time(NULL)), V_INT(challenged_at)));
}

/* "failed (5.7.26) by mx.ca.example: 550 5.7.26 ..." */
static bool insert_event(struct tx *tx, const struct report *r, int64_t enrollment_id)
{
	struct buf text = BUF_INIT;
	bool ok;

	buf_printf(&text, "%s", r->action);
	if (r->status != NULL)
		buf_printf(&text, " (%s)", r->status);
	if (r->remote != NULL)
		buf_printf(&text, " by %s", r->remote);
	if (r->diagnostic != NULL)
		buf_printf(&text, ": %s", r->diagnostic);
	ok = event_insert(tx, enrollment_id, time(NULL), "reply_reported", "inbound", ERR_NONE, buf_str(&text));
	buf_clear(&text);
	return ok;
}

bool store_report_awaited(struct store *store, const char *token, int64_t enrollment_id, bool *awaited, struct err *err)
{
	struct report named = {0};
	time_t challenged_at = 0;
	int64_t reports = 0;
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_INBOUND | MAY_ADMIN, "look for reply", err) &&
		  find_challenge(&tx, token, &named, &challenged_at, &reports);

	tx_end(&tx);
	*awaited = ok && named.challenge_id != 0 && named.enrollment_id == enrollment_id;
	return ok;
}

bool store_report_add(struct store *store, const char *token, const struct report *r, bool *known, struct err *err)
{
	static const char op[] = "add delivery report";
	struct report named = {0};
	time_t challenged_at = 0;
	int64_t reports = 0;
	struct tx tx;
	bool ok;

	*known = false;
	if (!check_report(r, op, err))
		return false;
	ok = tx_begin(&tx, store, TX_WRITE, MAY_INBOUND | MAY_ADMIN, op, err) && find_challenge(&tx, token, &named, &challenged_at, &reports);
	*known = ok && named.challenge_id != 0 && (r->enrollment_id == 0 || r->enrollment_id == named.enrollment_id);
	if (*known && reports < REPORTS_MAX)
		ok = tx_run(&tx, NULL,
			     "INSERT INTO reports (enrollment_id, challenge_id, action, status, diagnostic, remote, reporter, received_at)"
			     " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
			     VALUES(V_INT(named.enrollment_id), V_INT(named.challenge_id), V_TEXT(r->action), V_TEXT(r->status),
				     V_TEXT(r->diagnostic), V_TEXT(r->remote), V_TEXT(r->reporter), V_INT(r->received_at))) &&
		     wake(&tx, named.enrollment_id, challenged_at) && insert_event(&tx, r, named.enrollment_id) && tx_commit(&tx);
	tx_end(&tx);
	*known = *known && ok;
	return ok;
}

static void read_report(struct rows *r, void *element)
{
	struct report *out = element;
	int c = 0;

	out->id = rows_int(r, c++);
	out->enrollment_id = rows_int(r, c++);
	out->challenge_id = rows_int(r, c++);
	out->action = rows_text(r, c++);
	out->status = rows_text(r, c++);
	out->diagnostic = rows_text(r, c++);
	out->remote = rows_text(r, c++);
	out->reporter = rows_text(r, c++);
	out->received_at = rows_int(r, c++);
	out->seen = rows_int(r, c++) != 0;
}

bool store_reports_of(struct store *store, int64_t enrollment_id, time_t since, struct report_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct report, read_report);
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "list delivery reports", err) &&
		  tx_list(&tx, &l,
			  "SELECT id, enrollment_id, challenge_id, action, status, diagnostic, remote, reporter, received_at, seen FROM reports"
			  " WHERE enrollment_id = $1 AND received_at >= $2 ORDER BY received_at, id",
			  VALUES(V_INT(enrollment_id), V_INT(since)));

	tx_end(&tx);
	*out = (struct report_list){.v = l.v, .n = l.n};
	if (!ok)
		report_list_clear(out);
	return ok;
}
