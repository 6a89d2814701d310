/*
 * store/events.c - what happened: events of enrollments and of the installation, mails as the outbound instance saw them, and flags.
 *
 * Events are kept.  Mail events are a window of bounded size, written in batches; ids only grow, so the window is cut by id.
 */
#include "config.h"

#include "store/store.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "store/acts.h"
#include "store/db.h"

/* ---- events ------------------------------------------------------------------------------------------------------ */

bool event_insert(
	struct tx *tx, int64_t enrollment_id, time_t at, const char *name, const char *actor, enum err_class class, const char *text)
{
	int64_t n = 0;

	if (enrollment_id == 0)
		return tx_run(tx, NULL, "INSERT INTO events (at, name, actor, class, text) VALUES ($1, $2, $3, $4, $5)",
			VALUES(V_INT(at), V_TEXT(name), V_TEXT(actor), V_TEXT(err_class_name(class)), V_TEXT(text)));
	return tx_run(tx, &n, ACT_EVENT,
		       VALUES(V_INT(enrollment_id), V_INT(at), V_TEXT(name), V_TEXT(actor), V_TEXT(err_class_name(class)), V_TEXT(text))) &&
	       (n == 1 || err_set(tx->err, ERR_BUG, tx->op, name, "there is no enrollment %lld", (long long)enrollment_id));
}

bool store_event_add(struct store *store, int64_t enrollment_id, const char *name, const char *actor, enum err_class class,
	const char *text, struct err *err)
{
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_WRITE_ROW, MAY_ALL, "add event", err) &&
		  event_insert(&tx, enrollment_id, time(NULL), name, actor, class, text) && tx_commit(&tx);

	tx_end(&tx);
	return ok;
}

static void read_event(struct rows *r, void *element)
{
	struct event *out = element;

	out->id = rows_int(r, 0);
	out->enrollment_id = rows_int(r, 1);
	out->at = rows_int(r, 2);
	out->name = rows_text(r, 3);
	out->actor = rows_text(r, 4);
	out->address = rows_text(r, 5);
	out->text = rows_text(r, 6);
	out->state = ENROLLMENT_STATES;
	if (!rows_null(r, 7) && !enrollment_state_parse(rows_peek(r, 7), &out->state))
		rows_bad(r, "state of an event");
	out->class = err_class_parse(rows_peek(r, 8));
}

#define EVENT_COLUMNS "id, enrollment_id, at, name, actor, address, text, state, class"

/* By enrollment or not, from the front or the back. */
static const char *const sql_events[2][2] = {
	{
		"SELECT " EVENT_COLUMNS " FROM events WHERE id > $1 ORDER BY id LIMIT $2",
		"SELECT " EVENT_COLUMNS " FROM events WHERE id > $1 ORDER BY id DESC LIMIT $2",
	},
	{
		"SELECT " EVENT_COLUMNS " FROM events WHERE enrollment_id = $3 AND id > $1 ORDER BY id LIMIT $2",
		"SELECT " EVENT_COLUMNS " FROM events WHERE enrollment_id = $3 AND id > $1 ORDER BY id DESC LIMIT $2",
	},
};

static void reverse_events(struct event_list *l)
{
	for (size_t i = 0; i < l->n / 2; i++) {
		struct event swap = l->v[i];

		l->v[i] = l->v[l->n - 1 - i];
		l->v[l->n - 1 - i] = swap;
	}
}

bool store_events(struct store *store, int64_t enrollment_id, int64_t after, size_t limit, struct event_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct event, read_event);
	bool newest = after < 0;
	const struct db_value values[] = {V_INT(newest ? 0 : after), V_INT(limit), V_INT(enrollment_id)};
	struct tx tx;
	bool ok;

	ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "list events", err) &&
	     tx_list(&tx, &l, sql_events[enrollment_id != 0][newest], values, enrollment_id != 0 ? 3 : 2);
	tx_end(&tx);
	*out = (struct event_list){.v = l.v, .n = l.n};
	if (!ok)
		event_list_clear(out);
	else if (newest)
		reverse_events(out);
	return ok;
}

/* ---- mail events ------------------------------------------------------------------------------------------------- */

/* The address key; for what is no address the text itself, so that it can be found as well. */
static void sender_key(const char *from, char out[ADDRESS_MAX])
{
	struct err ignored = ERR_INIT;

	if (address_key_of(from, out, &ignored))
		return;
	snprintf(out, ADDRESS_MAX, "%s", from);
	for (char *p = out; *p != '\0'; p++)
		*p = (char)tolower((unsigned char)*p);
}

static bool insert_mail_event(struct tx *tx, const struct mail_event *m)
{
	char key[ADDRESS_MAX] = "";

	if (m->from != NULL)
		sender_key(m->from, key);
	return tx_run(tx, NULL,
		"INSERT INTO mail_events (at, queue_id, message_id, login, sender, sender_key, verdict, reason, detail, action, certificate)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
		VALUES(V_INT(m->at), V_TEXT(m->queue_id), V_TEXT(m->message_id), V_TEXT(m->login), V_TEXT(m->from), V_TEXT(key),
			V_TEXT(m->verdict == NULL ? "" : m->verdict), V_TEXT(m->reason), V_TEXT(m->detail), V_TEXT(m->action), V_TEXT(m->certificate)));
}

bool store_mail_events_add(struct store *store, const struct mail_event *v, size_t n, size_t keep, struct err *err)
{
	struct tx tx;
	bool ok;

	if (n == 0)
		return true;
	ok = tx_begin(&tx, store, TX_WRITE_ROW, MAY_OUTBOUND | MAY_ADMIN, "add mail events", err);
	for (size_t i = 0; ok && i < n; i++)
		ok = insert_mail_event(&tx, &v[i]);
	/* With both ends PostgreSQL takes the index, whatever it knows of the table. */
	ok = ok &&
	     tx_run(&tx, NULL,
		     "DELETE FROM mail_events WHERE id >= (SELECT MIN(f.id) FROM mail_events f) AND id <= (SELECT MAX(m.id) FROM mail_events m) - $1",
		     VALUES(V_INT(keep))) &&
	     tx_commit(&tx);
	tx_end(&tx);
	return ok;
}

static void read_mail_event(struct rows *r, void *element)
{
	struct mail_event *out = element;

	out->at = rows_int(r, 0);
	out->queue_id = rows_text(r, 1);
	out->message_id = rows_text(r, 2);
	out->login = rows_text(r, 3);
	out->from = rows_text(r, 4);
	out->verdict = rows_text(r, 5);
	out->reason = rows_text(r, 6);
	out->detail = rows_text(r, 7);
	out->action = rows_text(r, 8);
	out->certificate = rows_text(r, 9);
}

#define MAIL_EVENT_COLUMNS "at, queue_id, message_id, login, sender, verdict, reason, detail, action, certificate"

bool store_mail_events(struct store *store, const char *address, size_t limit, struct mail_event_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct mail_event, read_mail_event);
	char key[ADDRESS_MAX] = "";
	struct tx tx;
	bool ok;

	if (address != NULL)
		sender_key(address, key);
	ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "list mail events", err) &&
	     tx_list(&tx, &l,
		     address == NULL ? "SELECT " MAIL_EVENT_COLUMNS " FROM mail_events ORDER BY id DESC LIMIT $1"
				     : "SELECT " MAIL_EVENT_COLUMNS " FROM mail_events WHERE sender_key = $2 ORDER BY id DESC LIMIT $1",
		     (const struct db_value[]){V_INT(limit), V_TEXT(key)}, address == NULL ? 1 : 2);
	tx_end(&tx);
	*out = (struct mail_event_list){.v = l.v, .n = l.n};
	if (!ok)
		mail_event_list_clear(out);
	return ok;
}

static const char sql_find_of_sender[] = "SELECT " MAIL_EVENT_COLUMNS " FROM mail_events WHERE sender_key = $3 AND ($1 = '' OR queue_id = $1)"
					 " AND ($2 = '' OR message_id = $2) ORDER BY id DESC LIMIT 1";
static const char sql_find_of_anybody[] = "SELECT " MAIL_EVENT_COLUMNS " FROM mail_events WHERE ($1 = '' OR queue_id = $1)"
					  " AND ($2 = '' OR message_id = $2) ORDER BY id DESC LIMIT 1";

bool store_mail_event_find(struct store *store, const char *address, const char *queue_id, const char *message_id, struct mail_event *out,
	bool *found, struct err *err)
{
	char key[ADDRESS_MAX] = "";
	const struct db_value values[] = {V_TEXT(queue_id ? queue_id : ""), V_TEXT(message_id ? message_id : ""), V_TEXT(key)};
	struct tx tx;
	struct rows r;
	bool ok = false;

	memset(out, 0, sizeof(*out));
	*found = false;
	if (address != NULL)
		sender_key(address, key);
	if (tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "find mail event", err)) {
		if (rows_open(&r, &tx, address ? sql_find_of_sender : sql_find_of_anybody, values, address ? 3 : 2) && rows_next(&r)) {
			read_mail_event(&r, out);
			*found = true;
		}
		ok = rows_close(&r);
	}
	tx_end(&tx);
	if (!ok)
		mail_event_clear(out);
	*found = *found && ok;
	return ok;
}

static void read_observed(struct rows *r, void *element)
{
	struct observed *out = element;

	out->from = rows_text(r, 0);
	out->login = rows_text(r, 1);
	out->verdict = rows_text(r, 2);
	out->reason = rows_text(r, 3);
	out->mails = (size_t)rows_int(r, 4);
	out->first = rows_int(r, 5);
	out->last = rows_int(r, 6);
}

bool store_observed(struct store *store, struct observed_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct observed, read_observed);
	struct tx tx;
	bool ok;

	ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "list observed senders", err) &&
	     tx_list(&tx, &l,
		     "SELECT m.sender, m.login, m.verdict, m.reason, g.mails, g.first_at, g.last_at FROM"
		     " (SELECT sender_key, COUNT(*) AS mails, MIN(at) AS first_at, MAX(at) AS last_at, MAX(id) AS last_id FROM mail_events"
		     " WHERE verdict = 'observed' GROUP BY sender_key) g JOIN mail_events m ON m.id = g.last_id ORDER BY m.sender_key",
		     NO_VALUES);
	tx_end(&tx);
	*out = (struct observed_list){.v = l.v, .n = l.n};
	if (!ok)
		observed_list_clear(out);
	return ok;
}

static void read_mail_reason(struct rows *r, void *element)
{
	struct mail_reason *out = element;

	out->verdict = rows_text(r, 0);
	out->reason = rows_text(r, 1);
	out->mails = (size_t)rows_int(r, 2);
	out->last = rows_int(r, 3);
}

bool store_left_alone(struct store *store, size_t limit, struct mail_reason_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct mail_reason, read_mail_reason);
	struct tx tx;
	bool ok;

	ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "list why mail is left alone", err) &&
	     tx_list(&tx, &l,
		     "SELECT verdict, reason, COUNT(*) AS mails, MAX(at) FROM mail_events WHERE verdict NOT IN ('observed', 'signed')"
		     " GROUP BY verdict, reason ORDER BY mails DESC, verdict, reason LIMIT $1",
		     VALUES(V_INT(limit)));
	tx_end(&tx);
	*out = (struct mail_reason_list){.v = l.v, .n = l.n};
	if (!ok)
		mail_reason_list_clear(out);
	return ok;
}

/* ---- flags ------------------------------------------------------------------------------------------------------- */

bool store_flag_get(struct store *store, const char *name, char **value, struct err *err)
{
	struct tx tx;
	struct rows r;
	bool ok = false;

	*value = NULL;
	if (tx_begin(&tx, store, TX_READ, MAY_ALL, "get flag", err)) {
		if (rows_open(&r, &tx, "SELECT value FROM flags WHERE name = $1", VALUES(V_TEXT(name))) && rows_next(&r))
			*value = rows_text(&r, 0);
		ok = rows_close(&r);
	}
	tx_end(&tx);
	return ok;
}

static bool flag_write(struct tx *tx, const char *name, const char *value, const char *actor)
{
	time_t now = time(NULL);
	struct buf text = BUF_INIT;
	bool ok;

	buf_printf(&text, value == NULL ? "%s removed" : "%s = %s", name, value);
	ok = (value == NULL ? tx_run(tx, NULL, "DELETE FROM flags WHERE name = $1", VALUES(V_TEXT(name)))
			    : tx_run(tx, NULL,
				      "INSERT INTO flags (name, value, actor, at) VALUES ($1, $2, $3, $4)"
				      " ON CONFLICT (name) DO UPDATE SET value = excluded.value, actor = excluded.actor, at = excluded.at",
				      VALUES(V_TEXT(name), V_TEXT(value), V_TEXT(actor), V_INT(now)))) &&
	     event_insert(tx, 0, now, "flag", actor, ERR_NONE, buf_str(&text));
	buf_clear(&text);
	return ok;
}

bool store_flag_set(struct store *store, const char *name, const char *value, const char *actor, struct err *err)
{
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "set flag", err) && flag_write(&tx, name, value, actor) && tx_commit(&tx);

	tx_end(&tx);
	return ok;
}

/* The transaction has to be alone among writers. */
bool store_flag_swap(struct store *store, const char *name, const char *expected, const char *value, const char *actor, bool *swapped,
	struct err *err)
{
	struct tx tx;
	int64_t there = 0, same = 0;
	bool ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "swap flag", err) &&
		  tx_number(&tx, &there, 0, "SELECT COUNT(*) FROM flags WHERE name = $1", VALUES(V_TEXT(name))) &&
		  tx_number(&tx, &same, 0, "SELECT COUNT(*) FROM flags WHERE name = $1 AND value = $2", VALUES(V_TEXT(name), V_TEXT(expected ? expected : "")));

	*swapped = ok && (expected ? same : !there);
	if (*swapped)
		ok = flag_write(&tx, name, value, actor) && tx_commit(&tx);
	tx_end(&tx);
	*swapped = ok && *swapped;
	return ok;
}
