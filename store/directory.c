/*
 * store/directory.c - what is ours in the directory and has to leave it, and values of others that were taken away.
 */
#include "config.h"

#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#include "store/acts.h"
#include "store/db.h"

/* ---- what has to leave ------------------------------------------------------------------------------------------- */

/* $1 is the time.  One that was superseded stays as long as what took its place is not in the directory: never is there none.  A revoked one leaves by
 * its revocation; when that is done and it is there again (somebody published it at that very moment), by this list.  Two lists, so that each has an
 * index of its own and costs nothing while everybody's certificate is in order. */
#define OVER                                                                                                                               \
	"in_directory = 1 AND status IN ('superseded','expired','revoked') AND (status = 'expired'"                                        \
	" OR (status = 'superseded' AND (not_after <= $1 OR NOT EXISTS (SELECT 1 FROM certificates n"                                      \
	" WHERE n.enrollment_id = certificates.enrollment_id AND n.status = 'active' AND n.in_directory = 0)))"                            \
	" OR (status = 'revoked' AND NOT EXISTS (SELECT 1 FROM revocations r JOIN revocation_parts p ON p.revocation_id = r.id"            \
	" WHERE r.certificate_id = certificates.id AND p.part = 'directory' AND p.done_at = 0)))"
#define ENDED "in_directory = 1 AND status = 'active' AND not_after <= $1"
#define FIRST " AND directory_next_at <= $1 ORDER BY directory_next_at, id LIMIT 1"

/* The first of one list that is due, else when the next one is. */
static bool look(struct tx *tx, const char *due, const char *later, time_t now, int64_t *id, int64_t *when)
{
	int64_t at = 0;
	bool ok = *id != 0 || tx_number(tx, id, 0, due, VALUES(V_INT(now)));

	if (ok && *id == 0)
		ok = tx_number(tx, &at, 0, later, VALUES(V_INT(now)));
	if (at != 0 && (*when == 0 || at < *when))
		*when = at;
	return ok;
}

bool store_directory_due(struct store *store, time_t now, struct store_certificate *out, bool *found, time_t *next, struct err *err)
{
	struct tx tx;
	int64_t id = 0, when = 0;
	bool ok;

	memset(out, 0, sizeof(*out));
	*found = false;
	ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "find what leaves the directory", err) && 
	     look(&tx, "SELECT id FROM certificates WHERE " OVER FIRST, "SELECT MIN(directory_next_at) FROM certificates WHERE " OVER, now, &id, &when) &&
	     look(&tx, "SELECT id FROM certificates WHERE " ENDED FIRST, "SELECT MIN(directory_next_at) FROM certificates WHERE " ENDED, now, &id, &when) &&
	     (id == 0 || certificate_read_in(&tx, id, out, found));
	tx_end(&tx);
	*next = id != 0 ? 0 : when;
	return ok;
}

bool store_directory_left(struct store *store, const struct store_certificate *c, const struct store_directory_result *result, struct err *err)
{
	const struct err *f = result->failure;
	struct tx tx;
	int64_t n = 0;
	bool ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "note what left the directory", err) &&
		  tx_run(&tx, &n,
			  "UPDATE certificates SET in_directory = $2, directory_next_at = $3, directory_attempts = CASE WHEN $2 = 0 THEN 0 ELSE"
			  " directory_attempts + 1 END, directory_class = $4, directory_why = $5 WHERE id = $1 AND in_directory = 1",
			  VALUES(V_INT(c->id), V_INT(f != NULL), V_INT(f ? result->next_at : 0), V_TEXT(err_class_name(f ? f->class : ERR_NONE)),
				  V_TEXT(f ? f->text : NULL))) &&
		  (!result->event || n == 0 || event_insert(&tx, c->enrollment_id, time(NULL), result->event, result->actor, f ? f->class : ERR_NONE, result->text)) &&
		  tx_commit(&tx);

	tx_end(&tx);
	return ok;
}

bool store_directory_found(struct store *store, const struct store_certificate *c, const char *dn, const char *actor, const char *text, struct err *err)
{
	struct tx tx;
	int64_t n = 0;
	bool ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "note what is in the directory", err) &&
		  tx_run(&tx, &n,
			  "UPDATE certificates SET in_directory = 1, directory_dn = $2, directory_next_at = 0, directory_attempts = 0, directory_class = 'none',"
			  " directory_why = NULL WHERE id = $1",
			  VALUES(V_INT(c->id), V_TEXT(dn))) &&
		  (n == 0 || event_insert(&tx, c->enrollment_id, time(NULL), "published", actor, ERR_NONE, text)) && tx_commit(&tx);

	tx_end(&tx);
	return ok;
}

bool store_directory_retry(struct store *store, int64_t enrollment_id, bool *changed, struct err *err)
{
	struct tx tx;
	int64_t n = 0;
	bool ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "retry directory", err) &&
		  tx_run(&tx, &n, ACT_RETRY_DIRECTORY, VALUES(V_INT(enrollment_id))) && tx_commit(&tx);

	tx_end(&tx);
	*changed = ok && n > 0;
	return ok;
}

/* ---- values of others -------------------------------------------------------------------------------------------- */

void store_saved_list_clear(struct store_saved_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->v[i].address);
		free(l->v[i].dn);
		free(l->v[i].attribute);
		free(l->v[i].value);
	}
	free(l->v);
	memset(l, 0, sizeof(*l));
}

bool store_saved_add(struct store *store, const struct store_saved *s, struct err *err)
{
	struct tx tx;
	int64_t known = 0;
	char text[900];
	bool ok;

	snprintf(text, sizeof(text), "a value of %.200s that is not ours (%zu octets) is kept in the store and taken away from %.500s; `enrollctl directory "
		"restore` puts it back", s->attribute, s->value_len, s->dn);
	ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "save directory value", err) &&
	     tx_number(&tx, &known, 0, "SELECT id FROM directory_saved WHERE address_key = $1 AND dn = $2 AND attribute = $3 AND value = $4 AND restored_at = 0",
		     VALUES(V_TEXT(s->address), V_TEXT(s->dn), V_TEXT(s->attribute), V_BLOB(s->value, s->value_len))) &&
	     (known != 0 ||
		     (tx_run(&tx, NULL, "INSERT INTO directory_saved (enrollment_id, address_key, dn, attribute, value, at) VALUES ($1, $2, $3, $4, $5, $6)",
			      VALUES(V_INT(s->enrollment_id), V_TEXT(s->address), V_TEXT(s->dn), V_TEXT(s->attribute), V_BLOB(s->value, s->value_len),
				      V_INT(time(NULL)))) &&
			     event_insert(&tx, s->enrollment_id, time(NULL), "directory_cleared", "enrolld", ERR_NONE, text))) &&
	     tx_commit(&tx);
	tx_end(&tx);
	return ok;
}

static void read_saved(struct rows *r, void *element)
{
	struct store_saved *out = element;
	int c = 0;

	out->id = rows_int(r, c++);
	out->enrollment_id = rows_int(r, c++);
	out->address = rows_text(r, c++);
	out->dn = rows_text(r, c++);
	out->attribute = rows_text(r, c++);
	out->value = rows_blob(r, c++, &out->value_len);
	out->at = rows_int(r, c++);
	out->restored_at = rows_int(r, c++);
}

bool store_saved_list(struct store *store, const char *address, int64_t after, size_t limit, struct store_saved_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct store_saved, read_saved);
	char key[ADDRESS_MAX] = "";
	struct tx tx;
	bool ok;

	memset(out, 0, sizeof(*out));
	if (address && !address_key_of(address, key, err))
		return false;
	ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "list saved values", err) &&
	     tx_list(&tx, &l,
		     "SELECT id, enrollment_id, address_key, dn, attribute, value, at, restored_at FROM directory_saved"
		     " WHERE restored_at = 0 AND id > $2 AND ($1 = '' OR address_key = $1) ORDER BY id LIMIT $3",
		     VALUES(V_TEXT(key), V_INT(after), V_INT(limit)));
	tx_end(&tx);
	*out = (struct store_saved_list){.v = l.v, .n = l.n};
	if (!ok)
		store_saved_list_clear(out);
	return ok;
}

bool store_saved_restored(struct store *store, const struct store_saved *s, const char *actor, const char *text, struct err *err)
{
	struct tx tx;
	int64_t n = 0;
	bool ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "note restored value", err) &&
		  tx_run(&tx, &n, "UPDATE directory_saved SET restored_at = $2 WHERE id = $1 AND restored_at = 0", VALUES(V_INT(s->id), V_INT(time(NULL)))) &&
		  (n == 0 || event_insert(&tx, s->enrollment_id, time(NULL), "directory_restored", actor, ERR_NONE, text)) && tx_commit(&tx);

	tx_end(&tx);
	return ok;
}
