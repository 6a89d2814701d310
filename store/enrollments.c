/*
 * store/enrollments.c - enrollments: asked for, claimed by a worker, looked up, counted, and what an admin does to them.
 *
 * A row belongs to the worker that claimed it until its lease ends; store/steps.c writes what the worker did.  The claim counts the
 * version up, so that a worker whose lease ran out and was taken over is recognised even when both carry the same name.
 *
 * An address may have several rows in time (another profile, another usage).  Look-ups by address prefer a row that is still open, then
 * the newest.  Disabling is about the person: it covers every row of the address, and a new one is born disabled.
 */
#include "config.h"

#include "store/store.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "store/acts.h"
#include "store/db.h"

/* ---- a row ------------------------------------------------------------------------------------------------------- */

#define ENROLLMENT_COLUMNS                                                                                                                 \
	"id, addresses, profile, usage, ca, state, resume, state_since, next_at, version, lease_owner, lease_until, intent, attempts, "    \
	"orders, "                                                                                                                         \
	"abandoned, why_class, why, activity, requested_by, requested_at, disabled, ca_state, ordered_at, challenge_from, trigger_at, "    \
	"answered_at, key_id, csr, certificate_id, why_subject, why_type, why_status, why_at, planned_at, retry_at, rule, companion_of, challenge_address, entry, "     \
	"gone_since, gone_ended, gone_why, gone_by"

static bool read_addresses(struct rows *r, int column, struct strlist *out)
{
	char *all = rows_text(r, column), *rest = all, *one;
	bool ok = all != NULL;

	while (ok && (one = strsep(&rest, "\n")) != NULL)
		ok = strlist_add(out, one);
	free(all);
	return ok || r->failed || rows_bad(r, "list of addresses");
}

static bool enrollment_read(struct rows *r, struct enrollment *out)
{
	int c = 0;

	memset(out, 0, sizeof(*out));
	out->id = rows_int(r, c++);
	read_addresses(r, c++, &out->addresses);
	out->profile = rows_text(r, c++);
	out->usage = rows_text(r, c++);
	out->ca = rows_text(r, c++);
	if (!enrollment_state_parse(rows_peek(r, c++), &out->state) || !enrollment_state_parse(rows_peek(r, c++), &out->resume))
		rows_bad(r, "state of an enrollment");
	out->state_since = rows_int(r, c++);
	out->next_at = rows_int(r, c++);
	out->version = rows_int(r, c++);
	out->lease_owner = rows_text(r, c++);
	out->lease_until = rows_int(r, c++);
	out->intent = rows_text(r, c++);
	out->attempts = (unsigned)rows_int(r, c++);
	out->orders = (unsigned)rows_int(r, c++);
	out->abandoned = (unsigned)rows_int(r, c++);
	out->why_class = err_class_parse(rows_peek(r, c++));
	out->why = rows_text(r, c++);
	out->activity = rows_text(r, c++);
	out->requested_by = rows_text(r, c++);
	out->requested_at = rows_int(r, c++);
	out->disabled = rows_int(r, c++) != 0;
	out->ca_state = rows_text(r, c++);
	out->ordered_at = rows_int(r, c++);
	out->challenge_from = rows_text(r, c++);
	out->trigger_at = rows_int(r, c++);
	out->answered_at = rows_int(r, c++);
	out->key_id = rows_int(r, c++);
	out->csr = rows_blob(r, c++, &out->csr_len);
	out->certificate_id = rows_int(r, c++);
	out->why_subject = rows_text(r, c++);
	out->why_type = rows_text(r, c++);
	out->why_status = (int)rows_int(r, c++);
	out->why_at = rows_int(r, c++);
	out->planned_at = rows_int(r, c++);
	out->retry_at = rows_int(r, c++);
	out->rule = rows_text(r, c++);
	out->companion_of = rows_int(r, c++);
	out->challenge_address = rows_text(r, c++);
	out->entry = rows_text(r, c++);
	out->gone_since = rows_int(r, c++);
	out->gone_ended = rows_int(r, c++);
	out->gone_why = rows_text(r, c++);
	out->gone_by = rows_text(r, c++);
	if (r->failed)
		enrollment_clear(out);
	return !r->failed;
}

/* The first row of a statement. */
static bool read_one(struct tx *tx, struct enrollment *out, bool *found, const char *sql, const struct db_value *v, size_t n)
{
	struct rows r;

	*found = false;
	if (rows_open(&r, tx, sql, v, n) && rows_next(&r))
		*found = enrollment_read(&r, out);
	/* To the end, as UPDATE ... RETURNING wants it. */
	while (rows_next(&r))
		;
	if (rows_close(&r))
		return true;
	if (*found)
		enrollment_clear(out);
	*found = false;
	return false;
}

/* ---- request ----------------------------------------------------------------------------------------------------- */

/* An open row of the address that signs, or will.  That of somebody who left covers their own address, and no other that it has.  COALESCE keeps the index
 * of all open rows out of it, which PostgreSQL would go through when it has no statistics yet. */
static const char sql_existing[] =
	"SELECT id FROM enrollments WHERE id IN (SELECT enrollment_id FROM enrollment_addresses WHERE address_key = $1)"
	" AND COALESCE(companion_of, 0) = 0 AND (gone_since = 0 OR address_key = $1) AND state NOT IN ('superseded','revoked','expired') ORDER BY id DESC LIMIT 1";

static bool insert_request(
	struct tx *tx, const char *address, const char *key, const char *profile, const char *usage, const char *requested_by, int64_t *id)
{
	time_t now = time(NULL);
	int64_t disabled;

	return tx_number(tx, &disabled, 0,
		       "SELECT MAX(disabled) FROM enrollments WHERE id IN (SELECT enrollment_id FROM enrollment_addresses WHERE "
		       "address_key = $1)",
		       VALUES(V_TEXT(key))) &&
	       tx_number(tx, id, 0,
		       "INSERT INTO enrollments (address, address_key, addresses, profile, usage, state, resume, state_since, next_at, "
		       "requested_by,"
		       " requested_at, disabled, gone_since, gone_ended, gone_why, gone_by)"
		       " SELECT $1, $2, $1, $3, $4, 'requested', 'requested', $5, $5, $6, $5, $7, COALESCE(MAX(g.gone_since), 0),"
		       " COALESCE(MAX(g.gone_ended), 0), MAX(g.gone_why), MAX(g.gone_by)"
		       " FROM enrollments g WHERE g.address_key = $2 AND g.gone_since > 0 RETURNING id",
		       VALUES(V_TEXT(address), V_TEXT(key), V_TEXT(profile), V_TEXT(usage), V_INT(now), V_TEXT(requested_by),
			       V_INT(disabled))) &&
	       tx_run(tx, NULL, "INSERT INTO enrollment_addresses (enrollment_id, address_key) VALUES ($1, $2)",
		       VALUES(V_INT(*id), V_TEXT(key))) &&
	       event_insert(tx, *id, now, "requested", requested_by, ERR_NONE, NULL);
}

/* Most requests are for rows that are there: looked up without the write lock first, then again with it. */
bool store_enrollment_request(struct store *store, const char *address, const char *profile, const char *usage, const char *requested_by,
	bool *created, int64_t *id, struct err *err)
{
	static const char op[] = "request enrollment";
	struct address parsed;
	char text[ADDRESS_MAX], key[ADDRESS_MAX];
	int64_t row = 0;
	bool ok = true;

	*created = false;
	if (!address_parse(&parsed, address, err))
		return false;
	address_text(&parsed, text);
	address_key(&parsed, key);
	for (int access = TX_READ; ok && row == 0 && access <= TX_WRITE; access++) {
		struct tx tx;

		ok = tx_begin(&tx, store, (enum tx_access)access, MAY_OUTBOUND | MAY_ENROLLD | MAY_ADMIN, op, err) &&
		     tx_number(&tx, &row, 0, sql_existing, VALUES(V_TEXT(key)));
		if (ok && row == 0 && access == TX_WRITE)
			*created = ok = insert_request(&tx, text, key, profile, usage, requested_by, &row) && tx_commit(&tx);
		tx_end(&tx);
	}
	if (ok && id != NULL)
		*id = row;
	return ok;
}

static const char sql_companion[] = "SELECT id FROM enrollments WHERE companion_of = $1 AND state NOT IN ('superseded','revoked','expired')";

static bool insert_companion(struct tx *tx, const struct enrollment *row, int64_t *id)
{
	time_t now = time(NULL);

	return tx_number(tx, id, 0,
		       "INSERT INTO enrollments (address, address_key, addresses, profile, usage, rule, companion_of, state, resume, state_since, next_at,"
		       " requested_by, requested_at, disabled, gone_since, gone_ended, gone_why, gone_by)"
		       " SELECT address, address_key, addresses, profile, 'encrypt', rule, id, 'requested', 'requested', $2, $2, 'enrolld', $2, disabled,"
		       " gone_since, gone_ended, gone_why, gone_by"
		       " FROM enrollments WHERE id = $1 RETURNING id",
		       VALUES(V_INT(row->id), V_INT(now))) &&
	       (*id != 0 || err_set(tx->err, ERR_BUG, tx->op, "enrollment", "enrollment %lld is not there", (long long)row->id)) &&
	       tx_run(tx, NULL,
		       "INSERT INTO enrollment_addresses (enrollment_id, address_key)"
		       " SELECT $2, address_key FROM enrollment_addresses WHERE enrollment_id = $1",
		       VALUES(V_INT(row->id), V_INT(*id))) &&
	       event_insert(tx, *id, now, "requested", "enrolld", ERR_NONE, "the certificate for encryption beside the one for signing");
}

bool store_enrollment_companion_request(struct store *store, const struct enrollment *row, bool *created, struct err *err)
{
	struct tx tx;
	int64_t id = 0;
	bool ok;

	*created = false;
	ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "request companion", err) &&
	     tx_number(&tx, &id, 0, sql_companion, VALUES(V_INT(row->id)));
	if (ok && id == 0)
		*created = ok = insert_companion(&tx, row, &id) && tx_commit(&tx);
	tx_end(&tx);
	return ok;
}

/* ---- claim ------------------------------------------------------------------------------------------------------- */

#define DUE "next_at > 0 AND disabled = 0 AND gone_since = 0"

static const char sql_due[] = "SELECT id FROM enrollments WHERE " DUE
			      " AND next_at <= $1 AND (lease_owner IS NULL OR lease_until <= $1) ORDER BY next_at, id LIMIT 1";
/* What another worker is claiming at this moment is not waited for. */
static const char sql_next[] = "SELECT id FROM enrollments WHERE " DUE
			       " AND next_at <= $1 AND (lease_owner IS NULL OR lease_until <= $1) ORDER BY next_at, id LIMIT 1 " ROW_LOCK_OR_SKIP;

static const char sql_claim[] = "UPDATE enrollments SET lease_owner = $2, lease_until = $3, wake = 0, version = version + 1 WHERE id = $1 "
				"RETURNING " ENROLLMENT_COLUMNS;

static bool something_due(struct store *store, time_t now, bool *due, const char *op, struct err *err)
{
	struct tx tx;
	int64_t id = 0;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, op, err) && tx_number(&tx, &id, 0, sql_due, VALUES(V_INT(now)));

	tx_end(&tx);
	*due = id != 0;
	return ok;
}

/* Idle workers ask often: the write lock is taken only when there is something. */
bool store_enrollment_claim(
	struct store *store, const char *owner, time_t now, unsigned lease_seconds, struct enrollment *out, bool *found, struct err *err)
{
	static const char op[] = "claim enrollment";
	struct tx tx;
	int64_t id;
	bool ok, due;

	*found = false;
	if (!something_due(store, now, &due, op, err))
		return false;
	if (!due)
		return true;
	ok = tx_begin(&tx, store, TX_WRITE_ROW, MAY_ENROLLD | MAY_ADMIN, op, err) && tx_number(&tx, &id, 0, sql_next, VALUES(V_INT(now)));
	if (ok && id != 0) {
		ok = read_one(&tx, out, found, sql_claim, VALUES(V_INT(id), V_TEXT(owner), V_INT(now + (time_t)lease_seconds)));
		if (ok && *found && !tx_commit(&tx)) {
			enrollment_clear(out);
			ok = *found = false;
		}
	}
	tx_end(&tx);
	return ok;
}

/* A predecessor that was killed holds leases that nobody will end; its intents stay for whoever claims the rows next. */
bool store_leases_release(struct store *store, const char *owner_prefix, struct err *err)
{
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "release leases", err) &&
		  tx_run(&tx, NULL,
			  "UPDATE enrollments SET lease_owner = NULL, lease_until = 0, version = version + 1"
			  " WHERE lease_owner IS NOT NULL AND substr(lease_owner, 1, length($1)) = $1",
			  VALUES(V_TEXT(owner_prefix))) &&
		  tx_run(&tx, NULL,
			  "UPDATE revocation_parts SET lease_owner = NULL, lease_until = 0"
			  " WHERE lease_owner IS NOT NULL AND substr(lease_owner, 1, length($1)) = $1",
			  VALUES(V_TEXT(owner_prefix))) &&
		  tx_run(&tx, NULL, "UPDATE turns SET owner = '', until = 0 WHERE owner <> '' AND substr(owner, 1, length($1)) = $1",
			  VALUES(V_TEXT(owner_prefix))) &&
		  tx_commit(&tx);

	tx_end(&tx);
	return ok;
}

/* ---- look-ups ---------------------------------------------------------------------------------------------------- */

bool store_enrollment_find(struct store *store, const char *address, struct enrollment *out, bool *found, struct err *err)
{
	char key[ADDRESS_MAX];
	struct tx tx;
	bool ok;

	*found = false;
	if (!address_key_of(address, key, err))
		return false;
	ok = tx_begin(&tx, store, TX_READ, MAY_OUTBOUND | MAY_ENROLLD | MAY_ADMIN, "find enrollment", err) &&
	     read_one(&tx, out, found,
		     "SELECT " ENROLLMENT_COLUMNS " FROM enrollments WHERE " ACT_FIND_WHERE " ORDER BY " ACT_FIND_ORDER " LIMIT 1",
		     VALUES(V_TEXT(key)));
	tx_end(&tx);
	return ok;
}

bool store_enrollment_get(struct store *store, int64_t id, struct enrollment *out, bool *found, struct err *err)
{
	struct tx tx;
	bool ok;

	*found = false;
	ok = tx_begin(&tx, store, TX_READ, MAY_OUTBOUND | MAY_ENROLLD | MAY_ADMIN, "get enrollment", err) &&
	     read_one(&tx, out, found, "SELECT " ENROLLMENT_COLUMNS " FROM enrollments WHERE id = $1", VALUES(V_INT(id)));
	tx_end(&tx);
	return ok;
}

bool store_enrollment_companion(struct store *store, int64_t id, struct enrollment *out, bool *found, struct err *err)
{
	struct tx tx;
	bool ok;

	*found = false;
	ok = tx_begin(&tx, store, TX_READ, MAY_OUTBOUND | MAY_ENROLLD | MAY_ADMIN, "find companion", err) &&
	     read_one(&tx, out, found, "SELECT " ENROLLMENT_COLUMNS " FROM enrollments WHERE " ACT_COMPANION_WHERE, VALUES(V_INT(id)));
	tx_end(&tx);
	return ok;
}

static void read_element(struct rows *r, void *element)
{
	enrollment_read(r, element);
}

static const char sql_list_all[] =
	"SELECT " ENROLLMENT_COLUMNS " FROM enrollments WHERE address_key > $1 ORDER BY address_key, id LIMIT $2";
static const char sql_list_state[] =
	"SELECT " ENROLLMENT_COLUMNS " FROM enrollments WHERE address_key > $1 AND state = $3 ORDER BY address_key, id LIMIT $2";
/* What the limit cut off from the last address. */
static const char sql_rest_all[] = "SELECT " ENROLLMENT_COLUMNS " FROM enrollments WHERE address_key = $1 AND id > $2 ORDER BY id";
static const char sql_rest_state[] =
	"SELECT " ENROLLMENT_COLUMNS " FROM enrollments WHERE address_key = $1 AND id > $2 AND state = $3 ORDER BY id";

bool store_enrollment_list(struct store *store, int state, const char *after, size_t limit, struct enrollment_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct enrollment, read_element);
	bool any = state < 0 || state >= ENROLLMENT_STATES, ok;
	const char *name = any ? NULL : enrollment_state_name((enum enrollment_state)state);
	size_t n_values = any ? 2 : 3;
	struct tx tx;

	ok = tx_begin(&tx, store, TX_READ, MAY_OUTBOUND | MAY_ENROLLD | MAY_ADMIN, "list enrollments", err) &&
	     tx_list(&tx, &l, any ? sql_list_all : sql_list_state,
		     (const struct db_value[]){V_TEXT(after == NULL ? "" : after), V_INT(limit), V_TEXT(name)}, n_values);
	if (ok && limit > 0 && l.n == limit) {
		const struct enrollment *last = (const struct enrollment *)l.v + (l.n - 1);
		char key[ADDRESS_MAX];

		ok = address_key_of(last->addresses.v[0], key, tx.err) &&
		     tx_list(&tx, &l, any ? sql_rest_all : sql_rest_state,
			     (const struct db_value[]){V_TEXT(key), V_INT(last->id), V_TEXT(name)}, n_values);
	}
	tx_end(&tx);
	*out = (struct enrollment_list){.v = l.v, .n = l.n};
	if (!ok)
		enrollment_list_clear(out);
	return ok;
}

/* ---- what somebody looks for ------------------------------------------------------------------------------------- */

#define WORDS_MOST 4 /* further ones are not looked at */

static const char sql_search[] =
	"SELECT " ENROLLMENT_COLUMNS " FROM enrollments WHERE"
	" id IN (SELECT enrollment_id FROM enrollment_addresses WHERE address_key LIKE $1 ESCAPE '!' AND address_key LIKE $2 ESCAPE '!'"
	" AND address_key LIKE $3 ESCAPE '!' AND address_key LIKE $4 ESCAPE '!')"
	" OR id IN (SELECT enrollment_id FROM certificates WHERE serial LIKE $5 OR serial LIKE $6 OR fingerprint LIKE $7)"
	" ORDER BY address_key, id LIMIT $8";

/* The pattern "contains this word", in the case of address keys; of no word, "contains anything". */
static void contains(struct buf *out, const char *word, size_t len)
{
	buf_putc(out, '%');
	for (size_t i = 0; i < len; i++) {
		if (strchr("%_!", word[i]) != NULL)
			buf_putc(out, '!');
		buf_putc(out, (char)tolower((unsigned char)word[i]));
	}
	if (len > 0)
		buf_putc(out, '%');
}

/* Hex digits alone, as people copy them from a certificate viewer; "" when it is something else, or so short that it is in everything. */
static void hex_digits(const char *text, char out[65])
{
	size_t n = 0;

	for (; *text != '\0' && n < 64; text++)
		if (isxdigit((unsigned char)*text))
			out[n++] = (char)toupper((unsigned char)*text);
		else if (strchr(": ", *text) == NULL)
			n = 65;
	out[n < 4 || n > 64 || *text != '\0' ? 0 : n] = '\0';
}

bool store_enrollment_search(struct store *store, const char *text, size_t limit, struct enrollment_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct enrollment, read_element);
	char hex[65], serial[72] = "", padded[72] = "", fingerprint[72] = "";
	struct buf words[WORDS_MOST] = {BUF_INIT, BUF_INIT, BUF_INIT, BUF_INIT};
	struct tx tx;
	bool ok;

	for (size_t i = 0; i < WORDS_MOST; i++) {
		size_t len;

		text += strspn(text, " \t");
		len = strcspn(text, " \t");
		contains(&words[i], text, len);
		if (i == 0)
			hex_digits(text, hex);
		text += len;
	}
	if (hex[0] != '\0') {
		snprintf(serial, sizeof(serial), "%s%%", hex);
		snprintf(padded, sizeof(padded), "0%s%%", hex);
		for (size_t i = 0; i <= strlen(serial); i++)
			fingerprint[i] = (char)tolower((unsigned char)serial[i]);
	}
	ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "search enrollments", err) &&
	     tx_list(&tx, &l, sql_search,
		     VALUES(V_TEXT(buf_str(&words[0])), V_TEXT(buf_str(&words[1])), V_TEXT(buf_str(&words[2])), V_TEXT(buf_str(&words[3])),
			     V_TEXT(serial), V_TEXT(padded), V_TEXT(fingerprint), V_INT(limit)));
	tx_end(&tx);
	for (size_t i = 0; i < WORDS_MOST; i++)
		buf_clear(&words[i]);
	*out = (struct enrollment_list){.v = l.v, .n = l.n};
	if (!ok)
		enrollment_list_clear(out);
	return ok;
}

bool store_enrollment_counts(struct store *store, size_t counts[ENROLLMENT_STATES], size_t *disabled, struct err *err)
{
	struct tx tx;
	struct rows r;
	bool ok = false;

	memset(counts, 0, ENROLLMENT_STATES * sizeof(*counts));
	*disabled = 0;
	if (tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "count enrollments", err)) {
		if (rows_open(&r, &tx, "SELECT state, COUNT(*), SUM(disabled) FROM enrollments GROUP BY state", NO_VALUES))
			while (rows_next(&r)) {
				enum enrollment_state state;

				if (!enrollment_state_parse(rows_peek(&r, 0), &state)) {
					rows_bad(&r, "state of an enrollment");
					break;
				}
				counts[state] = (size_t)rows_int(&r, 1);
				*disabled += (size_t)rows_int(&r, 2);
			}
		ok = rows_close(&r);
	}
	tx_end(&tx);
	return ok;
}

/* Two questions, each answered by an index: the first row that nobody holds, and the first lease that will have run out. */
bool store_enrollment_next_due(struct store *store, time_t *when, struct err *err)
{
	struct tx tx;
	int64_t unheld = 0, held = 0;
	bool ok;

	*when = 0;
	ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "find next due enrollment", err) &&
	     tx_number(&tx, &unheld, 0,
		     "SELECT next_at FROM enrollments WHERE " DUE " AND lease_owner IS NULL ORDER BY next_at, id LIMIT 1", NO_VALUES) &&
	     tx_number(&tx, &held, 0,
		     /* The few that are held, by their own index: SQLite would take that of all that wait. */
		     "SELECT MIN(CASE WHEN next_at > lease_until THEN next_at ELSE lease_until END) FROM enrollments"
		     /* DUE in words that only that index fits. */
		     " WHERE lease_owner IS NOT NULL AND lease_until > 0 AND next_at > 0 AND disabled + gone_since = 0",
		     NO_VALUES);
	tx_end(&tx);
	if (ok)
		*when = (time_t)(unheld == 0 || (held != 0 && held < unheld) ? held : unheld);
	return ok;
}

bool orders_count(struct tx *tx, const struct store_cap *cap, int64_t *n)
{
	return tx_number(tx, n, 0,
		cap->kind == CAP_OPEN ? "SELECT COUNT(*) FROM orders WHERE outcome IS NULL AND opened_at >= $1 AND ($2 IS NULL OR ca = $2)"
			  : "SELECT COUNT(*) FROM orders WHERE opened_at >= $1 AND COALESCE(outcome, '') <> 'unsent' AND ($2 IS NULL OR ca = $2)",
		VALUES(V_INT(cap->since), V_TEXT(cap->ca)));
}

static bool count_orders(struct store *store, const struct store_cap *cap, const char *op, size_t *n, struct err *err)
{
	struct tx tx;
	int64_t count = 0;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, op, err) && orders_count(&tx, cap, &count);

	tx_end(&tx);
	*n = (size_t)count;
	return ok;
}

bool store_orders_since(struct store *store, time_t since, const char *ca, size_t *n, struct err *err)
{
	return count_orders(store, &(struct store_cap){.since = since, .ca = ca}, "count orders", n, err);
}

bool store_address_taken(struct store *store, const char *address, int64_t except, struct store_taken *out, struct err *err)
{
	char key[ADDRESS_MAX];
	struct tx tx;
	struct rows r;
	bool ok = false;

	*out = (struct store_taken){0};
	if (!address_key_of(address, key, err))
		return false;
	if (tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "find address", err)) {
		if (rows_open(&r, &tx,
			    "SELECT id, CASE WHEN state = 'requested' OR (state = 'waiting' AND resume = 'requested') THEN 1 ELSE 0 END FROM enrollments"
			    " WHERE id IN (SELECT enrollment_id FROM enrollment_addresses WHERE address_key = $1) AND id <> $2"
			    " AND companion_of IS NULL AND disabled = 0 AND gone_since = 0 AND state NOT IN ('superseded','revoked','expired','blocked','failed')"
			    " ORDER BY id LIMIT 1",
			    VALUES(V_TEXT(key), V_INT(except))) &&
			rows_next(&r)) {
			out->enrollment_id = rows_int(&r, 0);
			out->undecided = rows_int(&r, 1) != 0;
		}
		ok = rows_close(&r);
	}
	tx_end(&tx);
	return ok;
}

/* The CA may still mail about an order whose answer was lost just now. */
#define ABANDONED_SECONDS 60

/* The line in the order book is there before the request leaves, so of two rows that look after writing theirs at least one sees the other. */
bool store_order_elsewhere(struct store *store, int64_t id, time_t since, int64_t *found, struct err *err)
{
	struct tx tx;
	bool ok;

	*found = 0;
	ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "find order", err) &&
	     tx_number(&tx, found, 0,
		     "SELECT o.enrollment_id FROM orders o JOIN enrollment_addresses a ON a.enrollment_id = o.enrollment_id"
		     " WHERE ((o.outcome IS NULL AND o.opened_at >= $2) OR (o.outcome = 'abandoned' AND o.closed_at >= $3)) AND o.enrollment_id <> $1"
		     " AND a.address_key IN (SELECT b.address_key FROM enrollment_addresses b WHERE b.enrollment_id = $1) LIMIT 1",
		     VALUES(V_INT(id), V_INT(since), V_INT(time(NULL) - ABANDONED_SECONDS)));
	tx_end(&tx);
	return ok;
}

#define CLOSED "'superseded','revoked','expired'"
#define ON_THE_WAY "'eligible','caa-checked','ordering','ordered','challenge-awaited','answered','validated','finalized','issued','checked'," \
	"'published','active','renewing','revoking'"
/* Said of the rest, which are fewer: a renewal passes by these states too, and the certificate it takes over from signs meanwhile. */
#define ENROLLED_AT_REST "state IN ('requested','waiting','blocked','failed') AND ((state IN ('waiting','blocked') AND resume <> 'requested')" \
	" OR EXISTS (SELECT 1 FROM certificates c WHERE c.enrollment_id = enrollments.id AND c.status = 'active'))"

/* Each part goes by an index: this is asked before each order while cap-total is set.  Companions are few beside all, so they are counted by
 * themselves and taken off. */
bool enrolled_count(struct tx *tx, int64_t *n)
{
	int64_t all = 0, companions = 0;
	bool ok = tx_number(tx, &all, 0,
			  "SELECT (SELECT COUNT(*) FROM enrollments WHERE state IN (" ON_THE_WAY ")) +"
			  " (SELECT COUNT(*) FROM enrollments WHERE " ENROLLED_AT_REST ")",
			  NO_VALUES) &&
		  tx_number(tx, &companions, 0,
			  "SELECT COUNT(*) FROM enrollments WHERE companion_of IS NOT NULL AND companion_of > 0 AND state NOT IN (" CLOSED ")"
			  " AND (state || '' IN (" ON_THE_WAY ") OR (" ENROLLED_AT_REST "))",
			  NO_VALUES);

	*n = ok ? all - companions : 0;
	return ok;
}

bool store_enrolled(struct store *store, size_t *n, struct err *err)
{
	struct tx tx;
	int64_t count = 0;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "count enrolled", err) && enrolled_count(&tx, &count);

	tx_end(&tx);
	*n = (size_t)count;
	return ok;
}

bool store_orders_open(struct store *store, time_t since, const char *ca, size_t *n, struct err *err)
{
	return count_orders(store, &(struct store_cap){.since = since, .ca = ca, .kind = CAP_OPEN}, "count open orders", n, err);
}

/* ---- the admin --------------------------------------------------------------------------------------------------- */

bool enrollment_retry(struct tx *tx, int64_t id, const char *actor, const char *text, bool *changed)
{
	time_t now = time(NULL);
	int64_t later = 0, anew = 0;

	if (!tx_run(tx, &later, ACT_RETRY_LATER, VALUES(V_INT(id), V_INT(now))))
		return false;
	if (later == 0 && !tx_run(tx, &anew, ACT_RETRY_ANEW, VALUES(V_INT(id), V_INT(now))))
		return false;
	*changed = later + anew > 0;
	if (anew > 0 && !tx_run(tx, NULL, ACT_RETRY_ORDERS, VALUES(V_INT(id), V_INT(now))))
		return false;
	return !*changed || event_insert(tx, id, now, "retry", actor, ERR_NONE, text);
}

static bool set_disabled(struct tx *tx, int64_t id, bool disabled, const char *actor, const char *text, bool *changed)
{
	int64_t n = 0;

	if (!tx_run(tx, &n,
		    "UPDATE enrollments SET disabled = $2, version = version + 1"
		    " WHERE disabled <> $2 AND address_key = (SELECT e.address_key FROM enrollments e WHERE e.id = $1)",
		    VALUES(V_INT(id), V_INT(disabled))))
		return false;
	*changed = n > 0;
	return !*changed || event_insert(tx, id, time(NULL), disabled ? "disabled" : "enabled", actor, ERR_NONE, text);
}

bool enrollment_renew(struct tx *tx, int64_t id, const char *actor, const char *text, bool *changed)
{
	time_t now = time(NULL);
	int64_t n = 0;

	if (!tx_run(tx, &n, ACT_RENEW, VALUES(V_INT(id), V_INT(now))))
		return false;
	*changed = n > 0;
	return !*changed || event_insert(tx, id, now, "renew", actor, ERR_NONE, text);
}

static bool admin_act(struct tx *tx, int64_t id, enum enrollment_admin what, const char *actor, const char *text, bool *changed)
{
	switch (what) {
	case ENROLLMENT_ADMIN_RETRY:
		return enrollment_retry(tx, id, actor, text, changed);
	case ENROLLMENT_ADMIN_RENEW:
		return enrollment_renew(tx, id, actor, text, changed);
	default:
		return set_disabled(tx, id, what == ENROLLMENT_ADMIN_DISABLE, actor, text, changed);
	}
}

#define REVIEWED_A_SECOND 20

bool part_after(struct tx *tx, const char *table, int64_t after, int64_t *last)
{
	/* Literals: a handle keeps what it has prepared by the text's address, and looks there again. */
	const char *sql = strcmp(table, "certificates") == 0
				  ? "SELECT MAX(id) FROM (SELECT id FROM certificates WHERE id > $1 ORDER BY id LIMIT $2) part"
				  : "SELECT MAX(id) FROM (SELECT id FROM enrollments WHERE id > $1 ORDER BY id LIMIT $2) part";

	return tx_number(tx, last, 0, sql, VALUES(V_INT(after), V_INT(PART_ROWS)));
}

/* `sql` moves rows with $3 < id <= $4 to $1 + id % $2, part by part.  Who dies in the middle does it once more. */
static bool move_due(struct store *store, const char *op, const char *sql, int64_t n, time_t now, struct err *err)
{
	int64_t first = 0, last = 1;
	bool ok = true;

	for (; ok && last != 0; first = last) {
		struct tx tx;

		ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, op, err) && part_after(&tx, "enrollments", first, &last) &&
		     (last == 0 || (tx_run(&tx, NULL, sql, VALUES(V_INT(now), V_INT(n / REVIEWED_A_SECOND + 1), V_INT(first), V_INT(last))) && tx_commit(&tx)));
		tx_end(&tx);
	}
	return ok;
}

static bool count_due(struct store *store, const char *op, const char *sql, const struct db_value *v, size_t values, int64_t *n, struct err *err)
{
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, op, err) && tx_number(&tx, n, 0, sql, v, values);

	tx_end(&tx);
	return ok;
}

bool store_enrollments_review(struct store *store, struct err *err)
{
	static const char op[] = "review enrollments";
	int64_t n = 0;

	return count_due(store, op, "SELECT COUNT(*) FROM enrollments WHERE state IN ('active','blocked')", NO_VALUES, &n, err) &&
	       move_due(store, op,
		       "UPDATE enrollments SET next_at = $1 + id % $2, planned_at = $1 + id % $2, version = version + 1,"
		       " resume = CASE WHEN state = 'blocked' THEN 'requested' ELSE resume END"
		       " WHERE id > $3 AND id <= $4 AND (state = 'active' OR (state = 'blocked' AND resume IN ('requested','eligible') AND next_at > 0"
		       " AND COALESCE(why_type, '') NOT LIKE 'caa:%')) AND lease_owner IS NULL",
		       n, time(NULL), err);
}

bool store_enrollments_spread(struct store *store, struct err *err)
{
	static const char op[] = "spread enrollments";
	time_t now = time(NULL);
	int64_t n = 0;

	return count_due(store, op, "SELECT COUNT(*) FROM enrollments WHERE state = 'active' AND next_at > 0 AND next_at < $1", VALUES(V_INT(now)), &n, err) &&
	       (n <= REVIEWED_A_SECOND ||
		       move_due(store, op,
			       "UPDATE enrollments SET next_at = $1 + id % $2, planned_at = $1 + id % $2, version = version + 1"
			       " WHERE id > $3 AND id <= $4 AND state = 'active' AND next_at > 0 AND next_at < $1 AND lease_owner IS NULL",
			       n, now, err));
}

bool store_enrollment_admin(
	struct store *store, int64_t id, enum enrollment_admin what, const char *actor, const char *text, bool *changed, struct err *err)
{
	struct tx tx;
	bool ok;

	*changed = false;
	ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "change enrollment", err) &&
	     admin_act(&tx, id, what, actor, text, changed) && tx_commit(&tx);
	tx_end(&tx);
	if (!ok)
		*changed = false;
	return ok;
}
