/*
 * store/steps.c - what a worker did to the row it holds, written in one transaction.
 *
 * The commit counts only if lease and version are still those of the claim; otherwise nothing is written and the worker drops its work.
 *
 * The hard idea is the wake-up.  A challenge mail may come while a worker is in the middle of a step for the same row: the worker has
 * read the challenges before and will now write "look again in an hour".  store_challenge_add therefore sets `wake` beside next_at and
 * leaves the version alone (the step under way is not wrong); a commit that gives the row back while it still awaits a mail and finds
 * `wake` set makes it due at once; the next claim clears it, and whoever claims reads the challenges afterwards.  The version is not
 * counted up on purpose: a stranger's mail must not be able to throw away the answer to a newOrder.
 */
#include "config.h"

#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#include "store/db.h"

/* The row as the database has it. */
struct held {
	bool mine;
	bool wake;
	enum enrollment_state state;
	time_t state_since, next_at, planned_at;
};

/* What the row will be; the caller's struct gets it after the commit only. */
struct outcome {
	time_t now, state_since, next_at, planned_at;
	bool wake;
	int64_t key_id, certificate_id;
};

static bool read_held(struct tx *tx, const struct enrollment *row, struct held *out)
{
	struct rows r;

	memset(out, 0, sizeof(*out));
	if (rows_open(&r, tx, "SELECT version, lease_owner, wake, state, state_since, next_at, planned_at FROM enrollments WHERE id = $1 " ROW_LOCK,
		    VALUES(V_INT(row->id))) &&
		rows_next(&r)) {
		out->mine = rows_int(&r, 0) == row->version && row->lease_owner != NULL && !rows_null(&r, 1) &&
			    strcmp(rows_peek(&r, 1), row->lease_owner) == 0;
		out->wake = rows_int(&r, 2) != 0;
		out->state_since = rows_int(&r, 4);
		out->next_at = rows_int(&r, 5);
		out->planned_at = rows_int(&r, 6);
		if (!enrollment_state_parse(rows_peek(&r, 3), &out->state))
			rows_bad(&r, "state of an enrollment");
	}
	return rows_close(&r);
}

/* Nothing happens by itself in these, whatever next_at says. */
static bool state_rests(enum enrollment_state s)
{
	return s == ENROLLMENT_FAILED || s == ENROLLMENT_SUPERSEDED || s == ENROLLMENT_REVOKED;
}

/* While the lease is kept the row stays due as it was, so that another worker finds it when this one dies. */
static void plan_outcome(const struct store_step *step, const struct held *held, struct outcome *o)
{
	const struct enrollment *row = step->row;

	o->now = time(NULL);
	/* A state that leads to itself begins anew when the caller says so: another address's turn. */
	o->state_since = row->state == held->state && row->state_since <= held->state_since ? held->state_since : o->now;
	o->key_id = row->key_id;
	o->certificate_id = row->certificate_id;
	o->next_at = o->planned_at = row->next_at;
	o->wake = held->wake;
	if (step->keep_lease) {
		o->next_at = held->next_at;
		o->planned_at = held->planned_at;
	} else if (!enrollment_state_awaits(row->state)) {
		o->wake = false;
		if (state_rests(row->state))
			o->next_at = 0;
	} else if (held->wake && (row->next_at == 0 || row->next_at > o->now)) {
		o->next_at = o->now;
	}
}

static bool write_key(struct tx *tx, const struct store_step *step, struct outcome *o)
{
	const struct store_key *key = step->new_key;

	return key == NULL ||
	       (key_master_in_force(tx, key) &&
		       tx_number(tx, &o->key_id, 0,
			       "INSERT INTO user_keys (enrollment_id, wrapped, spki_sha256, created_at) VALUES ($1, $2, $3, $4) RETURNING id",
			       VALUES(V_INT(step->row->id), V_BLOB(key->wrapped, key->wrapped_len), V_TEXT(key->spki_sha256), V_INT(o->now))));
}

bool certificate_insert(struct tx *tx, int64_t enrollment_id, int64_t key_id, const struct store_certificate *c, time_t now, int64_t *id)
{
	return tx_number(tx, id, 0,
		"INSERT INTO certificates (enrollment_id, key_id, der, chain, serial, issuer, fingerprint, addresses, not_before, "
		"not_after, status,"
		" why, in_directory, directory_dn, created_at)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) RETURNING id",
		VALUES(V_INT(enrollment_id), V_ID(key_id), V_BLOB(c->der, c->der_len), V_BLOB(c->chain, c->chain_len), V_TEXT(c->serial),
			V_TEXT(c->issuer), V_TEXT(c->fingerprint), V_TEXT(c->addresses), V_INT(c->not_before), V_INT(c->not_after),
			V_TEXT(c->status), V_TEXT(c->why), V_INT(c->in_directory), V_TEXT(c->directory_dn), V_INT(now)));
}

static bool insert_certificate(struct tx *tx, const struct store_step *step, struct outcome *o)
{
	const struct store_certificate *c = step->certificate;

	return certificate_insert(tx, step->row->id, c->key_id != 0 ? c->key_id : o->key_id, c, o->now, &o->certificate_id);
}

static bool update_certificate(struct tx *tx, const struct store_step *step)
{
	const struct store_certificate *c = step->certificate;
	int64_t n = 0;

	return tx_run(tx, &n,
		       "UPDATE certificates SET status = CASE WHEN status = 'revoked' THEN status ELSE $2 END, why = $3, in_directory = $4, directory_dn = $5 WHERE id = $1 AND "
		       "enrollment_id = $6",
		       VALUES(V_INT(c->id), V_TEXT(c->status), V_TEXT(c->why), V_INT(c->in_directory), V_TEXT(c->directory_dn),
			       V_INT(step->row->id))) &&
	       (n == 1 || err_set(tx->err, ERR_BUG, tx->op, "certificate", "enrollment %lld has no certificate %lld",
				  (long long)step->row->id, (long long)c->id));
}

/* A certificate that becomes active takes the place of the one before: there is never a moment with two, nor one with none. */
static bool write_certificate(struct tx *tx, const struct store_step *step, struct outcome *o)
{
	const struct store_certificate *c = step->certificate;

	if (c == NULL)
		return true;
	if (c->status != NULL && strcmp(c->status, "active") == 0 &&
		!tx_run(tx, NULL,
			"UPDATE certificates SET status = 'superseded' WHERE enrollment_id = $1 AND status = 'active' AND id <> $2",
			VALUES(V_INT(step->row->id), V_INT(c->id))))
		return false;
	return c->id == 0 ? insert_certificate(tx, step, o) : update_certificate(tx, step);
}

/* An order left open from before is closed first, then the new line is written. */
static bool write_order(struct tx *tx, const struct store_step *step, const struct outcome *o)
{
	if (step->order_outcome != NULL &&
		!tx_run(tx, NULL,
			"UPDATE orders SET outcome = $2, closed_at = $3"
			" WHERE id = (SELECT MAX(p.id) FROM orders p WHERE p.enrollment_id = $1 AND p.outcome IS NULL)",
			VALUES(V_INT(step->row->id), V_TEXT(step->order_outcome), V_INT(o->now))))
		return false;
	return !step->count_order ||
	       tx_run(tx, NULL, "INSERT INTO orders (enrollment_id, ca, opened_at) VALUES ($1, $2, $3)",
		       VALUES(V_INT(step->row->id), V_TEXT(step->row->ca == NULL ? "" : step->row->ca), V_INT(o->now)));
}

/* Once a reply left, or may have left, its challenge never goes back to a state from which another one would be sent. */
static bool write_challenge(struct tx *tx, const struct store_step *step, const struct outcome *o)
{
	int64_t n = 0;

	if (step->challenge_id == 0)
		return true;
	return tx_run(tx, &n,
		       "UPDATE challenges SET state = COALESCE($3, state), reply_message_id = COALESCE($4, reply_message_id),"
		       " why = CASE WHEN $3 IN ('refused','ignored','in-doubt') THEN $5 ELSE why END,"
		       " report_token = COALESCE($6, report_token), report_token_at = CASE WHEN $6 IS NULL THEN report_token_at ELSE $7 END"
		       " WHERE id = $1 AND enrollment_id = $2 AND NOT (state IN ('replied','in-doubt') AND $3 IN ('new','replying'))",
		       VALUES(V_INT(step->challenge_id), V_INT(step->row->id), V_TEXT(step->challenge_state),
			       V_TEXT(step->challenge_reply_id), V_TEXT(step->text), V_TEXT(step->challenge_report_token),
			       V_INT(o->now))) &&
	       (n == 1 || err_set(tx->err, ERR_BUG, tx->op, "challenge",
				  "challenge %lld of enrollment %lld is not there or was answered already", (long long)step->challenge_id,
				  (long long)step->row->id));
}

static bool write_reports_seen(struct tx *tx, const struct store_step *step)
{
	return step->reports_seen == 0 || tx_run(tx, NULL, "UPDATE reports SET seen = 1 WHERE enrollment_id = $1 AND id <= $2 AND seen = 0",
						  VALUES(V_INT(step->row->id), V_INT(step->reports_seen)));
}

/* Another enrolld may have counted at the same moment: a step with caps has to be alone among writers. */
static bool has_room(struct tx *tx, const struct store_step *step, bool *full)
{
	bool ok = true;

	*full = false;
	for (size_t i = 0; ok && i < step->n_caps && !*full; i++) {
		const struct store_cap *c = &step->caps[i];
		int64_t n = 0;

		ok = c->kind == CAP_ENROLLED ? enrolled_count(tx, &n) : orders_count(tx, c, &n);
		*full = ok && (size_t)n >= c->most;
	}
	return ok;
}

static char *joined(const struct strlist *addresses)
{
	struct buf all = BUF_INIT;

	for (size_t i = 0; i < addresses->n; i++)
		buf_printf(&all, "%s%s", i ? "\n" : "", addresses->v[i]);
	return buf_take(&all);
}

/* The keys with a line end before and behind each. */
static bool joined_keys(struct tx *tx, const struct strlist *addresses, struct buf *out)
{
	char key[ADDRESS_MAX];

	buf_puts(out, "\n");
	for (size_t i = 0; i < addresses->n; i++) {
		if (!address_key_of(addresses->v[i], key, tx->err))
			return false;
		buf_printf(out, "%s\n", key);
	}
	return !out->failed || err_nomem(tx->err, tx->op);
}

/* What stays is not touched: every gateway is told of what is written here. */
bool enrollment_addresses_write(struct tx *tx, int64_t id, const struct strlist *addresses)
{
	char key[ADDRESS_MAX], *all = joined(addresses);
	struct buf keys = BUF_INIT;
	bool ok = (all != NULL || err_nomem(tx->err, tx->op)) && joined_keys(tx, addresses, &keys);

	ok = ok && address_key_of(addresses->v[0], key, tx->err) &&
	     tx_run(tx, NULL, "UPDATE enrollments SET address = $2, address_key = $3, addresses = $4 WHERE id = $1",
		     VALUES(V_INT(id), V_TEXT(addresses->v[0]), V_TEXT(key), V_TEXT(all))) &&
	     tx_run(tx, NULL, "DELETE FROM enrollment_addresses WHERE enrollment_id = $1 AND instr($2, $3 || address_key || $3) = 0",
		     VALUES(V_INT(id), V_TEXT(buf_str(&keys)), V_TEXT("\n")));
	for (size_t i = 0; ok && i < addresses->n; i++)
		ok = address_key_of(addresses->v[i], key, tx->err) &&
		     tx_run(tx, NULL, "INSERT INTO enrollment_addresses (enrollment_id, address_key) VALUES ($1, $2) ON CONFLICT DO NOTHING",
			     VALUES(V_INT(id), V_TEXT(key)));
	buf_clear(&keys);
	free(all);
	return ok;
}

/* What the row is about may be decided anew before each order. */
static bool write_decision(struct tx *tx, const struct store_step *step)
{
	const struct enrollment *row = step->row;

	return !step->decided ||
	       (tx_run(tx, NULL, "UPDATE enrollments SET profile = $2, usage = $3, rule = $4, entry = $5 WHERE id = $1",
			VALUES(V_INT(row->id), V_TEXT(row->profile), V_TEXT(row->usage), V_TEXT(row->rule), V_TEXT(row->entry))) &&
		       enrollment_addresses_write(tx, row->id, &row->addresses));
}

/* Who asked never changes.  `disabled` is the admin's. */
static bool write_row(struct tx *tx, const struct store_step *step, const struct outcome *o)
{
	const struct enrollment *row = step->row;
	int64_t n = 0;

	return tx_run(tx, &n,
		       "UPDATE enrollments SET ca = $3, state = $4, resume = $5, state_since = $6, next_at = $7, wake = $8, version = "
		       "version + 1,"
		       " lease_owner = $9, lease_until = $10, intent = $11, attempts = $12, orders = $13, abandoned = $14, why_class = "
		       "$15, why = $16,"
		       " activity = $17, ca_state = $18, ordered_at = $19, challenge_from = $20, trigger_at = $21, answered_at = $22, "
		       "key_id = $23,"
		       " csr = $24, certificate_id = $25, why_subject = $26, why_type = $27, why_status = $28, why_at = $29, planned_at = $30, retry_at = $31,"
		       " challenge_address = $32 WHERE id = $1 AND version = $2",
		       VALUES(V_INT(row->id), V_INT(row->version), V_TEXT(row->ca == NULL ? "" : row->ca),
			       V_TEXT(enrollment_state_name(row->state)), V_TEXT(enrollment_state_name(row->resume)), V_INT(o->state_since),
			       V_INT(o->next_at), V_INT(o->wake), V_TEXT(step->keep_lease ? row->lease_owner : NULL),
			       V_INT(step->keep_lease ? row->lease_until : 0), V_TEXT(row->intent), V_INT(row->attempts),
			       V_INT(row->orders), V_INT(row->abandoned), V_TEXT(err_class_name(row->why_class)), V_TEXT(row->why),
			       V_TEXT(row->activity), V_TEXT(row->ca_state), V_INT(row->ordered_at), V_TEXT(row->challenge_from),
			       V_INT(row->trigger_at), V_INT(row->answered_at), V_ID(o->key_id), V_BLOB(row->csr, row->csr_len),
			       V_ID(o->certificate_id), V_TEXT(row->why_subject), V_TEXT(row->why_type), V_INT(row->why_status),
			       V_INT(row->why_at), V_INT(o->planned_at), V_INT(row->retry_at), V_TEXT(row->challenge_address))) &&
	       (n == 1 ||
		       err_set(tx->err, ERR_BUG, tx->op, "enrollment", "enrollment %lld changed inside a transaction", (long long)row->id));
}

/* No change of state goes by without an event, also when the caller named none. */
static bool write_event(struct tx *tx, const struct store_step *step, const struct held *held, const struct outcome *o)
{
	const char *name = step->event != NULL ? step->event : step->row->state != held->state ? "state" : NULL;

	return name == NULL || event_insert(tx, step->row->id, o->now, name, step->actor, step->class, step->text);
}

static void take_outcome(struct store_step *step, const struct outcome *o)
{
	struct enrollment *row = step->row;

	row->version++;
	row->state_since = o->state_since;
	row->next_at = o->next_at;
	row->planned_at = o->planned_at;
	row->key_id = o->key_id;
	row->certificate_id = o->certificate_id;
	if (step->certificate != NULL && step->certificate->id == 0) {
		step->certificate->id = o->certificate_id;
		step->certificate->enrollment_id = row->id;
		if (step->certificate->key_id == 0)
			step->certificate->key_id = o->key_id;
	}
	if (!step->keep_lease) {
		free(row->lease_owner);
		row->lease_owner = NULL;
		row->lease_until = 0;
	}
}

bool store_step_commit(struct store *store, struct store_step *step, bool *stale, struct err *err)
{
	struct tx tx;
	struct held held;
	struct outcome o;
	bool ok;

	*stale = step->full = false;
	ok = tx_begin(&tx, store, step->n_caps > 0 ? TX_WRITE : TX_WRITE_ROW, MAY_ENROLLD | MAY_ADMIN, "commit step", err) && read_held(&tx, step->row, &held) &&
	     (!held.mine || has_room(&tx, step, &step->full));
	if (ok && held.mine && !step->full) {
		plan_outcome(step, &held, &o);
		ok = write_key(&tx, step, &o) && write_certificate(&tx, step, &o) && write_row(&tx, step, &o) &&
		     write_decision(&tx, step) && write_order(&tx, step, &o) && write_challenge(&tx, step, &o) && write_reports_seen(&tx, step) &&
		     write_event(&tx, step, &held, &o) && tx_commit(&tx);
		if (ok)
			take_outcome(step, &o);
	} else if (ok) {
		*stale = !held.mine;
	}
	tx_end(&tx);
	return ok;
}
