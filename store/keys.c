/*
 * store/keys.c - user keys in and out: taken out for an export, brought in by an import.  Wrapped all the time: what stands here opens none.
 *
 * An export is in the history before the key is out of the store: both are one transaction, and the caller gets the key after its commit.
 *
 * An import goes the way of a certificate that came from the CA, from `checked` on: enrolld publishes it where that is wanted, and only then is it
 * used.  It never takes the place of something that works or is under way, and what is there already stays as it is.
 */
#include "config.h"

#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#include "store/db.h"

/* ---- out --------------------------------------------------------------------------------------------------------- */

bool store_key_export(struct store *store, int64_t certificate_id, const char *actor, const char *text, unsigned char **wrapped, size_t *len,
	struct err *err)
{
	struct tx tx;
	struct rows r;
	int64_t row = 0;
	bool ok = false;

	*wrapped = NULL;
	*len = 0;
	if (tx_begin(&tx, store, TX_WRITE, MAY_ADMIN, "export key", err)) {
		if (rows_open(&r, &tx, "SELECT k.wrapped, c.enrollment_id FROM certificates c JOIN user_keys k ON k.id = c.key_id WHERE c.id = $1",
			    VALUES(V_INT(certificate_id))) &&
			rows_next(&r)) {
			*wrapped = rows_blob(&r, 0, len);
			row = rows_int(&r, 1);
		}
		ok = rows_close(&r) && (*wrapped != NULL || err_set(tx.err, ERR_BUG, tx.op, "certificate", "certificate %lld has no key in the store",
								    (long long)certificate_id));
		ok = ok && event_insert(&tx, row, time(NULL), "exported", actor, ERR_NONE, text) && tx_commit(&tx);
	}
	tx_end(&tx);
	if (!ok) {
		free(*wrapped);
		*wrapped = NULL;
		*len = 0;
	}
	return ok;
}

/* ---- in: which row ----------------------------------------------------------------------------------------------- */

struct target {
	int64_t id, companion_of; /* id 0 = a new row */
	enum enrollment_state state, resume;
	bool leased, has_active, order_open;
};

static const char sql_row[] =
	"SELECT id, state, resume, lease_until, EXISTS (SELECT 1 FROM certificates c WHERE c.enrollment_id = e.id AND c.status = 'active'),"
	" EXISTS (SELECT 1 FROM orders o WHERE o.enrollment_id = e.id AND o.outcome IS NULL) FROM enrollments e WHERE id = $1";

static bool read_target(struct tx *tx, struct target *t)
{
	struct rows r;

	if (rows_open(&r, tx, sql_row, VALUES(V_INT(t->id))) && rows_next(&r)) {
		if (!enrollment_state_parse(rows_peek(&r, 1), &t->state) || !enrollment_state_parse(rows_peek(&r, 2), &t->resume))
			rows_bad(&r, "state of an enrollment");
		t->leased = rows_int(&r, 3) > time(NULL);
		t->has_active = rows_int(&r, 4) != 0;
		t->order_open = rows_int(&r, 5) != 0;
	}
	return rows_close(&r);
}

/* The open row of one of the addresses that signs; those of all of them have to be the same. */
static bool find_open(struct tx *tx, const struct strlist *addresses, int64_t *id)
{
	char key[ADDRESS_MAX];
	int64_t found;

	*id = 0;
	for (size_t i = 0; i < addresses->n; i++) {
		if (!address_key_of(addresses->v[i], key, tx->err) ||
			!tx_number(tx, &found, 0,
				"SELECT id FROM enrollments WHERE id IN (SELECT enrollment_id FROM enrollment_addresses WHERE address_key = $1)"
				" AND companion_of IS NULL AND state NOT IN ('superseded','revoked','expired') ORDER BY id DESC LIMIT 1",
				VALUES(V_TEXT(key))))
			return false;
		if (found != 0 && *id != 0 && found != *id)
			return err_set(tx->err, ERR_POLICY, tx->op, addresses->v[i],
				"the certificate has addresses that are of two enrollments here; it may only come in for reading (--old)");
		*id = found != 0 ? found : *id;
	}
	return true;
}

static bool find_companion(struct tx *tx, const struct store_import *what, struct target *t)
{
	if (t->id == 0) {
		err_set(tx->err, ERR_POLICY, tx->op, what->row->addresses.v[0],
			"this certificate is for encryption alone, and the address has none to sign with yet: import that one first");
		snprintf(tx->err->type, sizeof(tx->err->type), "%s", STORE_IMPORT_NOT_YET);
		return false;
	}
	t->companion_of = t->id;
	return tx_number(tx, &t->id, 0, "SELECT id FROM enrollments WHERE companion_of = $1 AND state NOT IN ('superseded','revoked','expired')",
		VALUES(V_INT(t->companion_of)));
}

/* Where nothing will sign with it any row of the address will do, the one that is open first. */
static bool find_for_reading(struct tx *tx, const struct store_import *what, struct target *t)
{
	char key[ADDRESS_MAX];

	return address_key_of(what->row->addresses.v[0], key, tx->err) &&
	       tx_number(tx, &t->id, 0,
		       "SELECT id FROM enrollments WHERE id IN (SELECT enrollment_id FROM enrollment_addresses WHERE address_key = $1)"
		       " ORDER BY CASE WHEN state IN ('superseded','revoked','expired') THEN 1 ELSE 0 END,"
		       " CASE WHEN companion_of IS NULL THEN 0 ELSE 1 END, id DESC LIMIT 1",
		       VALUES(V_TEXT(key)));
}

/* Past this the CA may have issued: what it made is not thrown away. */
static bool may_be_issued(enum enrollment_state s)
{
	return s >= ENROLLMENT_VALIDATED && s <= ENROLLMENT_PUBLISHED;
}

static bool row_is_free(struct tx *tx, const struct target *t, const char *address)
{
	bool stands = t->state == ENROLLMENT_BLOCKED || t->state == ENROLLMENT_FAILED;
	bool waits = stands || t->state == ENROLLMENT_WAITING;

	if (t->has_active)
		return err_set(tx->err, ERR_POLICY, tx->op, address,
			"the address has an active certificate already: `enrollctl show %s`; --old takes another one in for reading alone", address);
	if (t->state == ENROLLMENT_REVOKING)
		return err_set(tx->err, ERR_POLICY, tx->op, address, "a certificate of this address is being revoked; when that is done, try again");
	if (t->leased || may_be_issued(waits ? t->resume : t->state) || (t->order_open && !stands))
		return err_set(tx->err, ERR_TEMPORARY, tx->op, address,
			"an enrollment of this address is under way (%s): see `enrollctl show %s`, and try again when it is active, blocked or failed",
			enrollment_state_name(t->state), address);
	return true;
}

static bool find_target(struct tx *tx, const struct store_import *what, struct target *t)
{
	const char *address = what->row->addresses.v[0];

	memset(t, 0, sizeof(*t));
	if (what->old)
		return find_for_reading(tx, what, t);
	if (!find_open(tx, &what->row->addresses, &t->id) || (strcmp(what->row->usage, "encrypt") == 0 && !find_companion(tx, what, t)))
		return false;
	return t->id == 0 || (read_target(tx, t) && row_is_free(tx, t, address));
}

/* ---- in: writing ------------------------------------------------------------------------------------------------- */

static bool insert_row(struct tx *tx, const struct store_import *what, const struct target *t, time_t now, int64_t *id)
{
	const struct enrollment *row = what->row;
	const char *state = what->old ? "superseded" : "checked";
	char key[ADDRESS_MAX];
	int64_t disabled;

	return address_key_of(row->addresses.v[0], key, tx->err) &&
	       tx_number(tx, &disabled, 0,
		       "SELECT MAX(disabled) FROM enrollments WHERE id IN (SELECT enrollment_id FROM enrollment_addresses WHERE address_key = $1)",
		       VALUES(V_TEXT(key))) &&
	       tx_number(tx, id, 0,
		       "INSERT INTO enrollments (address, address_key, addresses, profile, usage, companion_of, state, resume, state_since, next_at,"
		       " requested_by, requested_at, disabled, gone_since, gone_ended, gone_why, gone_by)"
		       " SELECT $1, $2, $1, $3, $4, $5, $6, $6, $7, 0, $8, $7, $9, COALESCE(MAX(g.gone_since), 0), COALESCE(MAX(g.gone_ended), 0),"
		       " MAX(g.gone_why), MAX(g.gone_by) FROM enrollments g WHERE g.address_key = $2 AND g.gone_since > 0 RETURNING id",
		       VALUES(V_TEXT(row->addresses.v[0]), V_TEXT(key), V_TEXT(row->profile), V_TEXT(row->usage), V_ID(t->companion_of), V_TEXT(state),
			       V_INT(now), V_TEXT(what->actor), V_INT(disabled)));
}

/* The key may be here with another certificate; then it has to be this row's. */
static bool put_key(struct tx *tx, const struct store_import *what, int64_t row, time_t now, int64_t *id)
{
	int64_t same_address = 0;

	if (!key_master_in_force(tx, what->key) || !tx_number(tx, id, 0, "SELECT id FROM user_keys WHERE spki_sha256 = $1", VALUES(V_TEXT(what->key->spki_sha256))))
		return false;
	if (*id == 0)
		return tx_number(tx, id, 0, "INSERT INTO user_keys (enrollment_id, wrapped, spki_sha256, created_at) VALUES ($1, $2, $3, $4) RETURNING id",
			VALUES(V_INT(row), V_BLOB(what->key->wrapped, what->key->wrapped_len), V_TEXT(what->key->spki_sha256), V_INT(now)));
	return tx_number(tx, &same_address, 0,
		       "SELECT 1 FROM user_keys k JOIN enrollment_addresses a ON a.enrollment_id = k.enrollment_id JOIN enrollment_addresses b"
		       " ON b.address_key = a.address_key WHERE k.id = $1 AND b.enrollment_id = $2 LIMIT 1",
		       VALUES(V_INT(*id), V_INT(row))) &&
	       (same_address != 0 || err_set(tx->err, ERR_POLICY, tx->op, what->row->addresses.v[0],
					     "this private key is in the store already, as that of another address: it is not taken in twice"));
}

static bool put_in_force(struct tx *tx, const struct store_import *what, int64_t row, int64_t key_id, int64_t certificate_id, time_t now)
{
	return tx_run(tx, NULL, "UPDATE orders SET outcome = 'abandoned', closed_at = $2 WHERE enrollment_id = $1 AND outcome IS NULL",
		       VALUES(V_INT(row), V_INT(now))) &&
	       tx_run(tx, NULL,
		       "UPDATE enrollments SET state = 'checked', resume = 'checked', state_since = $2, next_at = $2, planned_at = $2, wake = 0,"
		       " version = version + 1, lease_owner = NULL, lease_until = 0, intent = NULL, attempts = 0, orders = 0, abandoned = 0, why_class = 'none',"
		       " why = NULL, why_subject = NULL, why_type = NULL, why_status = 0, why_at = 0, activity = NULL, ca_state = NULL, ordered_at = 0,"
		       " retry_at = 0, challenge_from = NULL, challenge_address = NULL, trigger_at = 0, answered_at = 0, csr = NULL, entry = NULL,"
		       " key_id = $3, certificate_id = $4, ca = $5, profile = $6, usage = $7, rule = $8 WHERE id = $1",
		       VALUES(V_INT(row), V_INT(now), V_INT(key_id), V_INT(certificate_id), V_TEXT(what->row->ca == NULL ? "" : what->row->ca),
			       V_TEXT(what->row->profile), V_TEXT(what->row->usage), V_TEXT(what->row->rule)));
}

static bool write_import(struct tx *tx, const struct store_import *what, struct target *t, struct store_imported *out)
{
	struct store_certificate c = *what->certificate;
	int64_t key_id = 0, certificate_id = 0, row = t->id;
	time_t now = time(NULL);
	bool made = row == 0;

	c.status = what->old ? (char *)(uintptr_t) "superseded" : (char *)(uintptr_t) "checked";
	if (made && !insert_row(tx, what, t, now, &row))
		return false;
	/* What is for reading alone leaves a row that was there as it is. */
	if ((made || !what->old) && !enrollment_addresses_write(tx, row, &what->row->addresses))
		return false;
	out->enrollment_id = row;
	out->created = true;
	snprintf(out->status, sizeof(out->status), "%s", c.status);
	return put_key(tx, what, row, now, &key_id) && certificate_insert(tx, row, key_id, &c, now, &certificate_id) &&
	       (what->old || put_in_force(tx, what, row, key_id, certificate_id, now)) &&
	       event_insert(tx, row, now, "imported", what->actor, ERR_NONE, what->text);
}

static bool find_present(struct tx *tx, const char *fingerprint, struct store_imported *out)
{
	struct rows r;

	memset(out, 0, sizeof(*out));
	if (rows_open(&r, tx, "SELECT enrollment_id, status FROM certificates WHERE fingerprint = $1 ORDER BY id DESC LIMIT 1", VALUES(V_TEXT(fingerprint))) &&
		rows_next(&r)) {
		out->enrollment_id = rows_int(&r, 0);
		snprintf(out->status, sizeof(out->status), "%s", rows_peek(&r, 1));
	}
	return rows_close(&r);
}

bool store_import(struct store *store, const struct store_import *what, struct store_imported *out, struct err *err)
{
	struct target t;
	struct tx tx;
	bool ok;

	memset(out, 0, sizeof(*out));
	if (what->row->addresses.n == 0)
		return err_set(err, ERR_BUG, "import key", NULL, "no address");
	ok = tx_begin(&tx, store, TX_WRITE, MAY_ADMIN, "import key", err) && find_present(&tx, what->certificate->fingerprint, out);
	if (ok && out->enrollment_id == 0)
		ok = find_target(&tx, what, &t) && write_import(&tx, what, &t, out) && (what->dry_run || tx_commit(&tx));
	tx_end(&tx);
	return ok;
}

/* ---- all of them, for another master key ------------------------------------------------------------------------- */

void store_wrapped_list_clear(struct store_wrapped_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->v[i].data);
		buf_clear(&l->v[i].anew);
	}
	free(l->v);
	memset(l, 0, sizeof(*l));
}

static void read_wrapped(struct rows *r, void *element)
{
	struct store_wrapped *w = element;

	w->id = rows_int(r, 0);
	w->data = rows_blob(r, 1, &w->len);
}

bool store_keys_wrapped(struct store *store, int64_t after, size_t limit, struct store_wrapped_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct store_wrapped, read_wrapped);
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ADMIN, "list keys", err) &&
		  tx_list(&tx, &l, "SELECT id, wrapped FROM user_keys WHERE id > $1 ORDER BY id LIMIT $2", VALUES(V_INT(after), V_INT(limit)));

	tx_end(&tx);
	*out = (struct store_wrapped_list){.v = l.v, .n = l.n};
	if (!ok)
		store_wrapped_list_clear(out);
	return ok;
}

/* Each takes the place of what it was made from, and of nothing else. */
bool store_keys_rewrap(struct store *store, const struct store_wrapped_list *l, struct err *err)
{
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_WRITE, MAY_ADMIN, "wrap keys anew", err);

	for (size_t i = 0; ok && i < l->n; i++)
		if (l->v[i].anew.len > 0)
			ok = tx_run(&tx, NULL, "UPDATE user_keys SET wrapped = $3 WHERE id = $1 AND wrapped = $2",
				VALUES(V_INT(l->v[i].id), V_BLOB(l->v[i].data, l->v[i].len), V_BLOB(l->v[i].anew.data, l->v[i].anew.len)));
	ok = ok && tx_commit(&tx);
	tx_end(&tx);
	return ok;
}

/* A key that was wrapped while the master key changed must not come in: the old master key may be gone when it is wanted. */
bool key_master_in_force(struct tx *tx, const struct store_key *key)
{
	int64_t other = 0;

	return key->master[0] == '\0' ||
	       (tx_number(tx, &other, 0, "SELECT 1 FROM flags WHERE name = 'master-key' AND value <> $1", VALUES(V_TEXT(key->master))) &&
		       (other == 0 || err_set(tx->err, ERR_TEMPORARY, tx->op, "master key",
					      "the master key was changed at this moment: the key is made, or brought in, once more")));
}
