/*
 * store/certificates.c - certificates looked up, and the credential the outbound instance signs with.
 */
#include "config.h"

#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#include "store/db.h"

/* ---- certificates ------------------------------------------------------------------------------------------------ */

#define CERTIFICATE_COLUMNS                                                                                                                \
	"id, enrollment_id, key_id, der, chain, serial, issuer, fingerprint, addresses, not_before, not_after, "                           \
	"CASE WHEN status = 'revoked' AND EXISTS (SELECT 1 FROM revocations r WHERE r.certificate_id = certificates.id AND r.done_at = 0)" \
	" THEN 'revoking' ELSE status END, why, in_directory, directory_dn, created_at, directory_class, directory_why, " \
	"CASE WHEN in_directory = 1 THEN directory_next_at ELSE 0 END, directory_attempts"

static bool read_certificate(struct rows *r, struct store_certificate *out)
{
	int c = 0;

	memset(out, 0, sizeof(*out));
	out->id = rows_int(r, c++);
	out->enrollment_id = rows_int(r, c++);
	out->key_id = rows_int(r, c++);
	out->der = rows_blob(r, c++, &out->der_len);
	out->chain = rows_blob(r, c++, &out->chain_len);
	out->serial = rows_text(r, c++);
	out->issuer = rows_text(r, c++);
	out->fingerprint = rows_text(r, c++);
	out->addresses = rows_text(r, c++);
	out->not_before = rows_int(r, c++);
	out->not_after = rows_int(r, c++);
	out->status = rows_text(r, c++);
	out->why = rows_text(r, c++);
	out->in_directory = rows_int(r, c++) != 0;
	out->directory_dn = rows_text(r, c++);
	out->obtained_at = rows_int(r, c++);
	out->directory_class = err_class_parse(rows_peek(r, c++));
	out->directory_why = rows_text(r, c++);
	out->directory_next_at = rows_int(r, c++);
	out->directory_attempts = (unsigned)rows_int(r, c++);
	if (r->failed)
		store_certificate_clear(out);
	return !r->failed;
}

static bool find_one(struct store *store, const char *sql, const struct db_value *v, size_t n, struct store_certificate *out, bool *found, struct err *err)
{
	struct tx tx;
	struct rows r;
	bool ok = false;

	*found = false;
	if (tx_begin(&tx, store, TX_READ, MAY_OUTBOUND | MAY_ENROLLD | MAY_ADMIN, "get certificate", err)) {
		if (rows_open(&r, &tx, sql, v, n) && rows_next(&r))
			*found = read_certificate(&r, out);
		ok = rows_close(&r);
	}
	tx_end(&tx);
	return ok;
}

bool store_certificate_get(struct store *store, int64_t id, struct store_certificate *out, bool *found, struct err *err)
{
	return find_one(store, "SELECT " CERTIFICATE_COLUMNS " FROM certificates WHERE id = $1", VALUES(V_INT(id)), out, found, err);
}

bool store_certificate_find(struct store *store, const char *fingerprint, struct store_certificate *out, bool *found, struct err *err)
{
	return find_one(store, "SELECT " CERTIFICATE_COLUMNS " FROM certificates WHERE fingerprint = $1 ORDER BY id", VALUES(V_TEXT(fingerprint)), out,
		found, err);
}

static void read_element(struct rows *r, void *element)
{
	read_certificate(r, element);
}


bool store_revocable(struct store *store, const char *about, struct store_certificate_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct store_certificate, read_element);
	time_t now = time(NULL);
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "list certificates", err);

	ok = ok && tx_list(&tx, &l, "SELECT " CERTIFICATE_COLUMNS " FROM certificates WHERE " CERTIFICATE_REVOCABLE " ORDER BY id",
			   VALUES(V_TEXT(about), V_INT(now), V_INT(about[0] == '#' ? strtoll(about + 1, NULL, 10) : 0)));
	tx_end(&tx);
	*out = (struct store_certificate_list){.v = l.v, .n = l.n};
	if (!ok)
		store_certificate_list_clear(out);
	return ok;
}

bool certificate_read_in(struct tx *tx, int64_t id, struct store_certificate *out, bool *found)
{
	struct rows r;

	*found = false;
	if (rows_open(&r, tx, "SELECT " CERTIFICATE_COLUMNS " FROM certificates WHERE id = $1", VALUES(V_INT(id))) && rows_next(&r))
		*found = read_certificate(&r, out);
	return rows_close(&r);
}

bool store_certificates_of(struct store *store, int64_t enrollment_id, struct store_certificate_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct store_certificate, read_element);
	struct tx tx;
	bool ok;

	ok = tx_begin(&tx, store, TX_READ, MAY_OUTBOUND | MAY_ENROLLD | MAY_ADMIN, "list certificates", err) &&
	     tx_list(&tx, &l, "SELECT " CERTIFICATE_COLUMNS " FROM certificates WHERE enrollment_id = $1 ORDER BY id",
		     VALUES(V_INT(enrollment_id)));
	tx_end(&tx);
	*out = (struct store_certificate_list){.v = l.v, .n = l.n};
	if (!ok)
		store_certificate_list_clear(out);
	return ok;
}

bool store_certificates_for(struct store *store, const char *address, struct store_certificate_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct store_certificate, read_element);
	char key[ADDRESS_MAX];
	struct tx tx;
	bool ok;

	*out = (struct store_certificate_list){0};
	if (!address_key_of(address, key, err))
		return false;
	ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "list certificates", err) &&
	     tx_list(&tx, &l, "SELECT " CERTIFICATE_COLUMNS " FROM certificates WHERE status <> 'refused' AND enrollment_id IN"
			      " (SELECT a.enrollment_id FROM enrollment_addresses a WHERE a.address_key = $1) ORDER BY id",
		     VALUES(V_TEXT(key)));
	tx_end(&tx);
	*out = (struct store_certificate_list){.v = l.v, .n = l.n};
	if (!ok)
		store_certificate_list_clear(out);
	return ok;
}

bool store_certificates_expiring(struct store *store, time_t until, size_t limit, struct store_certificate_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct store_certificate, read_element);
	struct tx tx;
	bool ok;

	ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "list certificates", err) &&
	     tx_list(&tx, &l, "SELECT " CERTIFICATE_COLUMNS " FROM certificates WHERE status = 'active' AND not_after <= $1 ORDER BY not_after, id LIMIT $2",
		     VALUES(V_INT(until), V_INT(limit)));
	tx_end(&tx);
	*out = (struct store_certificate_list){.v = l.v, .n = l.n};
	if (!ok)
		store_certificate_list_clear(out);
	return ok;
}

bool store_user_key(struct store *store, int64_t key_id, unsigned char **wrapped, size_t *len, struct err *err)
{
	struct tx tx;
	struct rows r;
	bool ok = false;

	*wrapped = NULL;
	*len = 0;
	if (tx_begin(&tx, store, TX_READ, MAY_ADMIN, "get user key", err)) {
		if (rows_open(&r, &tx, "SELECT wrapped FROM user_keys WHERE id = $1", VALUES(V_INT(key_id))) && rows_next(&r))
			*wrapped = rows_blob(&r, 0, len);
		ok = rows_close(&r) && (*wrapped || err_set(tx.err, ERR_BUG, "get user key", NULL, "the store has no such key"));
	}
	tx_end(&tx);
	return ok;
}

bool store_certificates_of_address(struct store *store, const char *address_key, struct store_certificate_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct store_certificate, read_element);
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "list certificates", err) &&
		  tx_list(&tx, &l, "SELECT " CERTIFICATE_COLUMNS " FROM certificates WHERE status NOT IN ('issued','refused') AND enrollment_id IN"
			  " (SELECT e.id FROM enrollments e WHERE e.address_key = $1) ORDER BY id", VALUES(V_TEXT(address_key)));

	tx_end(&tx);
	*out = (struct store_certificate_list){.v = l.v, .n = l.n};
	if (!ok)
		store_certificate_list_clear(out);
	return ok;
}

/* ---- the credential for signing ---------------------------------------------------------------------------------- */

/* Every row of the address, the open and newest one first; its active certificate and key beside it where there are any.  During a
 * renewal the row's certificate_id is the new one already, so the active one is found by its status. */
static const char sql_credential[] = "SELECT e.id, e.state, e.disabled, e.usage, c.id, k.wrapped, c.der, c.chain, e.rule, c.addresses,"
				     " CASE WHEN e.gone_since = 0 THEN 0 WHEN e.address_key = $1 THEN 2 ELSE 1 END"
				     " FROM enrollments e LEFT JOIN certificates c ON c.enrollment_id = e.id AND c.status = 'active' LEFT "
				     "JOIN user_keys k ON k.id = c.key_id"
				     " WHERE e.id IN (SELECT a.enrollment_id FROM enrollment_addresses a WHERE a.address_key = $1)"
				     " ORDER BY CASE WHEN e.state IN ('superseded','revoked','expired') THEN 1 ELSE 0 END, e.id DESC";

static const char *why_not(enum enrollment_state state)
{
	switch (state) {
	case ENROLLMENT_WAITING:
		return "waiting";
	case ENROLLMENT_BLOCKED:
		return "blocked";
	case ENROLLMENT_FAILED:
		return "failed";
	case ENROLLMENT_REVOKING:
	case ENROLLMENT_REVOKED:
		return "revoked";
	case ENROLLMENT_EXPIRED:
		return "expired";
	case ENROLLMENT_SUPERSEDED:
		return NULL; /* it gave way to another row; when that one does not have the address any more, there is none */
	default:
		return "enrollment in progress";
	}
}

static bool state_forbids(enum enrollment_state state)
{
	return state == ENROLLMENT_REVOKING || state == ENROLLMENT_REVOKED || state == ENROLLMENT_EXPIRED || state == ENROLLMENT_SUPERSEDED;
}

static bool read_credential(struct rows *r, enum enrollment_state state, struct store_credential *out)
{
	free(out->rule);
	memset(out, 0, sizeof(*out));
	out->enrollment_id = rows_int(r, 0);
	out->state = state;
	out->rule = rows_text(r, 8);
	out->certificate_id = rows_int(r, 4);
	out->wrapped = rows_blob(r, 5, &out->wrapped_len);
	out->der = rows_blob(r, 6, &out->der_len);
	out->chain = rows_blob(r, 7, &out->chain_len);
	return !r->failed;
}

/* Does the certificate of this row have the address?  The row may be ahead of it: a renewal that takes one more address in is under way. */
static bool lists(struct rows *r, const char *key)
{
	char *all = rows_text(r, 9), *rest = NULL, one[ADDRESS_MAX];
	bool found = false;

	for (char *a = all ? strtok_r(all, " ", &rest) : NULL; a && !found; a = strtok_r(NULL, " ", &rest))
		found = address_key_of(a, one, NULL) && strcmp(one, key) == 0;
	free(all);
	return found;
}

/* What rows of the answer say for the whole address. */
struct said { bool disabled, departed; };

/* One row of the answer.  *why speaks of the first row that says something; a disabled row says no for the whole address, one of somebody who left
 * for itself: who has one of its other addresses now may have a row of their own. */
static void consider(struct rows *r, const char *key, struct store_credential *out, bool *found, struct said *said, const char **why)
{
	enum enrollment_state state;

	if (!enrollment_state_parse(rows_peek(r, 1), &state)) {
		rows_bad(r, "state of an enrollment");
		return;
	}
	said->disabled = said->disabled || rows_int(r, 2) != 0;
	if (rows_int(r, 10) != 0) {
		said->departed = said->departed || rows_int(r, 10) == 2;
		return;
	}
	if (strcmp(rows_peek(r, 3), "encrypt") == 0)
		return;
	if (!*found && !rows_null(r, 4) && !state_forbids(state) && lists(r, key)) {
		*found = read_credential(r, state, out);
		if (!*found)
			store_credential_clear(out);
	}
	if (*why == NULL && (*why = why_not(state)) != NULL && !*found) {
		free(out->rule);
		out->rule = rows_text(r, 8);
	}
}

bool store_credential_find(
	struct store *store, const char *address, struct store_credential *out, bool *found, const char **why, struct err *err)
{
	char key[ADDRESS_MAX];
	struct tx tx;
	struct rows r;
	struct said said = {false, false};
	bool ok = false;

	memset(out, 0, sizeof(*out));
	*found = false;
	*why = NULL;
	if (!address_key_of(address, key, err))
		return false;
	if (tx_begin(&tx, store, TX_READ, MAY_OUTBOUND | MAY_ADMIN, "find credential", err)) {
		if (rows_open(&r, &tx, sql_credential, VALUES(V_TEXT(key))))
			while (rows_next(&r))
				consider(&r, key, out, found, &said, why);
		ok = rows_close(&r);
	}
	tx_end(&tx);
	if (*found && (!ok || said.disabled)) {
		store_credential_clear(out);
		*found = false;
	}
	if (said.disabled)
		*why = "disabled";
	else if (said.departed && !*found && *why == NULL)
		*why = "departed";
	else if (*why == NULL)
		*why = "no enrollment";
	return ok;
}
