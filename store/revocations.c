/*
 * store/revocations.c - certificates on their way to being revoked.
 *
 * The hard idea: the certificate is a work item of its own, beside the enrollment it came from.  Its status is revoked with the first
 * transaction, so that no look-up finds it any more; what the CA and the directory have to do about it are two parts, each with a lease, tried for
 * ever.  Meanwhile the enrollment goes its own way: on to a new key, or to rest in revoking.
 */
#include "config.h"

#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#include "store/acts.h"
#include "store/db.h"

/* The directory follows the CA, unless the CA lets us wait. */
#define CA_FIRST_SECONDS 10

static const char *const part_names[] = {[REVOCATION_CA] = "ca", [REVOCATION_DIRECTORY] = "directory"};

const char *revocation_part_name(enum revocation_part part)
{
	return part < REVOCATION_PARTS ? part_names[part] : "none";
}

bool store_revocation_reason(const char *name)
{
	static const char *const names[] = {"keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation", "privilegeWithdrawn"};

	for (size_t i = 0; name && i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

void store_revocation_clear(struct store_revocation *r)
{
	store_certificate_clear(&r->certificate);
	for (int i = 0; i < REVOCATION_PARTS; i++) {
		free(r->parts[i].why);
		free(r->parts[i].why_type);
	}
	free(r->address);
	free(r->ca);
	free(r->reason);
	free(r->requested_by);
	free(r->lease_owner);
	memset(r, 0, sizeof(*r));
}

void store_revocation_list_clear(struct store_revocation_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		store_revocation_clear(&l->v[i]);
	free(l->v);
	memset(l, 0, sizeof(*l));
}

/* ---- the beginning ------------------------------------------------------------------------------------------------- */

/* What the certificate is to its row at this moment. */
struct subject {
	int64_t enrollment_id;
	bool revoked;      /* already */
	bool current;      /* it signs, or the row has it in hand */
	bool in_hand;
	bool publishing;   /* a worker may be at it now */
	bool never_published;
	bool open;         /* the row */
	bool active;       /* the row */
};

#define TRUTH(x) "CASE WHEN " x " THEN 1 ELSE 0 END"
#define CLOSED "('superseded','revoked','expired')"

static bool read_subject(struct tx *tx, int64_t certificate_id, time_t now, struct subject *s)
{
	struct rows r;

	memset(s, 0, sizeof(*s));
	if (rows_open(&r, tx,
		    "SELECT e.id, " TRUTH("c.status = 'revoked'") ", " TRUTH("c.status = 'active'") ", " TRUTH("e.certificate_id = c.id") ", "
		    TRUTH("c.status = 'checked' AND e.lease_owner IS NOT NULL AND e.lease_until > $2") ", " TRUTH("c.status IN ('issued','refused')") ", "
		    TRUTH("e.state NOT IN " CLOSED) ", " TRUTH("e.state = 'active'")
		    " FROM certificates c JOIN enrollments e ON e.id = c.enrollment_id WHERE c.id = $1",
		    VALUES(V_INT(certificate_id), V_INT(now))) &&
		rows_next(&r)) {
		s->enrollment_id = rows_int(&r, 0);
		s->revoked = rows_int(&r, 1) != 0;
		s->in_hand = rows_int(&r, 3) != 0;
		s->current = s->in_hand || rows_int(&r, 2) != 0;
		s->publishing = rows_int(&r, 4) != 0;
		s->never_published = rows_int(&r, 5) != 0;
		s->open = rows_int(&r, 6) != 0;
		s->active = rows_int(&r, 7) != 0;
	}
	return rows_close(&r) && (s->enrollment_id != 0 || err_set(tx->err, ERR_BUG, tx->op, "certificate", "no certificate %lld", (long long)certificate_id));
}

/* Which CA it came from: the row may have another one by now.  The order was closed in the transaction that brought the certificate. */
static bool write_revocation(struct tx *tx, const struct store_revoke *what, int64_t certificate_id, const struct subject *s, time_t now)
{
	int64_t id = 0;
	time_t directory_at = now + CA_FIRST_SECONDS + (s->publishing ? (time_t)what->publish_seconds : 0);

	return tx_run(tx, NULL, "UPDATE certificates SET status = 'revoked' WHERE id = $1", VALUES(V_INT(certificate_id))) &&
	       tx_number(tx, &id, 0,
		       "INSERT INTO revocations (certificate_id, ca, reason, requested_by, requested_at)"
		       " SELECT c.id, " CERTIFICATE_CA ", $2, $3, $4"
		       " FROM certificates c JOIN enrollments e ON e.id = c.enrollment_id WHERE c.id = $1 RETURNING id",
		       VALUES(V_INT(certificate_id), V_TEXT(what->reason), V_TEXT(what->actor), V_INT(now))) &&
	       tx_run(tx, NULL, "INSERT INTO revocation_parts (revocation_id, part, next_at) VALUES ($1, 'ca', $2)", VALUES(V_INT(id), V_INT(now))) &&
	       tx_run(tx, NULL, "INSERT INTO revocation_parts (revocation_id, part, next_at, done_at) VALUES ($1, 'directory', $2, $3)",
		       VALUES(V_INT(id), V_INT(s->never_published ? 0 : directory_at), V_INT(s->never_published ? now : 0)));
}

/* A step under way is for a certificate that is worth nothing now: it becomes stale, and its order is given up. */
static bool turn_row(struct tx *tx, int64_t id, const char *state, time_t next_at, time_t now)
{
	return tx_run(tx, NULL,
		       "UPDATE enrollments SET state = $2, resume = $2, state_since = $4, next_at = $3, planned_at = $3, wake = 0, attempts = 0,"
		       " lease_owner = NULL, lease_until = 0, intent = NULL, why_class = 'none', why = NULL, why_subject = NULL, why_type = NULL,"
		       " why_status = 0, why_at = 0, version = version + 1 WHERE id = $1",
		       VALUES(V_INT(id), V_TEXT(state), V_INT(next_at), V_INT(now))) &&
	       tx_run(tx, NULL, "UPDATE orders SET outcome = 'abandoned', closed_at = $2 WHERE enrollment_id = $1 AND outcome IS NULL",
		       VALUES(V_INT(id), V_INT(now)));
}

/* With a renewal under way its key is new already: that is the replacement, and goes on now. */
static bool move_row(struct tx *tx, const struct store_revoke *what, const struct subject *s, time_t now)
{
	bool changed;

	if (!s->current || !s->open)
		return true;
	if (!what->replace)
		return turn_row(tx, s->enrollment_id, "revoking", 0, now) &&
		       (what->departed || tx_run(tx, NULL,
			       "UPDATE enrollments SET disabled = 1, version = version + 1"
			       " WHERE disabled = 0 AND address_key = (SELECT e.address_key FROM enrollments e WHERE e.id = $1)",
			       VALUES(V_INT(s->enrollment_id))));
	if (s->active || s->in_hand)
		return turn_row(tx, s->enrollment_id, "renewing", now, now);
	return enrollment_retry(tx, s->enrollment_id, what->actor, "its certificate was revoked", &changed);
}

bool revocation_begin(struct tx *tx, const struct store_revoke *what, int64_t certificate_id, size_t *n)
{
	struct subject s;
	struct store_certificate c = {0};
	time_t now = time(NULL);
	char text[1200];
	bool found, ok = read_subject(tx, certificate_id, now, &s);

	if (!ok || s.revoked)
		return ok;
	ok = write_revocation(tx, what, certificate_id, &s, now) && move_row(tx, what, &s, now) && certificate_read_in(tx, certificate_id, &c, &found);
	if (ok) {
		snprintf(text, sizeof(text), "certificate %.120s (%s)%s%.600s: nobody signs with it any more%s", c.serial ? c.serial : "", what->reason,
			what->text ? ", " : "", what->text ? what->text : "",
			!s.current || !s.open ? "" : what->replace ? "; a new key and certificate follow" :
			what->departed ? "; no new one as long as this person is gone" : "; no new one until `enrollctl enable`");
		ok = event_insert(tx, s.enrollment_id, now, "revoking", what->actor, ERR_NONE, text);
		*n += ok;
	}
	store_certificate_clear(&c);
	return ok;
}

/* Who said an address meant all of it: what is on its way to another certificate ends too. */
static bool end_rows(struct tx *tx, int64_t of, time_t now)
{
	int64_t id = 0;

	do {
		if (!tx_number(tx, &id, 0,
			    "SELECT id FROM enrollments WHERE address_key = (SELECT e.address_key FROM enrollments e WHERE e.id = $1)"
			    " AND state NOT IN ('superseded','revoked','expired','revoking') LIMIT 1",
			    VALUES(V_INT(of))) ||
			(id != 0 && !turn_row(tx, id, "revoking", 0, now)))
			return false;
	} while (id != 0);
	/* Those of which nothing is to be revoked are done. */
	return tx_run(tx, NULL,
		"UPDATE enrollments SET state = 'revoked', resume = 'revoked' WHERE state = 'revoking'"
		" AND address_key = (SELECT e.address_key FROM enrollments e WHERE e.id = $1) AND NOT EXISTS (SELECT 1 FROM revocations v"
		" JOIN certificates c ON c.id = v.certificate_id WHERE c.enrollment_id = enrollments.id AND v.done_at = 0)",
		VALUES(V_INT(of)));
}

/* Between the list that was shown and the yes a renewal may have brought another one. */
static bool was_shown(struct tx *tx, const struct store_revoke *what, int64_t id)
{
	struct store_certificate c = {0};
	bool found = false, ok = !what->shown || certificate_read_in(tx, id, &c, &found);

	if (ok && what->shown && !(found && c.fingerprint && strlist_has(what->shown, c.fingerprint)))
		ok = err_set(tx->err, ERR_POLICY, tx->op, c.serial, "what would be revoked has changed since it was shown: this certificate is new; nothing was done, so "
			"try again");
	store_certificate_clear(&c);
	return ok;
}

bool store_revoke(struct store *store, const struct store_revoke *what, size_t *n, struct err *err)
{
	int64_t of = what->about[0] == '#' ? strtoll(what->about + 1, NULL, 10) : 0, id = 0;
	time_t now = time(NULL);
	struct tx tx;
	bool ok;

	*n = 0;
	ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "revoke", err) &&
	     (store_revocation_reason(what->reason) || err_set(tx.err, ERR_CONFIG, "revoke", what->reason, "no such reason"));
	/* Each one leaves the list by being revoked. */
	do {
		ok = ok && tx_number(&tx, &id, 0, "SELECT id FROM certificates WHERE " CERTIFICATE_REVOCABLE " ORDER BY id LIMIT 1",
				   VALUES(V_TEXT(what->about), V_INT(now), V_INT(of))) &&
		     (id == 0 || (was_shown(&tx, what, id) && revocation_begin(&tx, what, id, n)));
	} while (ok && id != 0);
	ok = ok && (of == 0 || what->replace || *n == 0 || end_rows(&tx, of, now)) && tx_commit(&tx);
	tx_end(&tx);
	if (!ok)
		*n = 0;
	return ok;
}

/* The CA has done its part before we knew. */
bool store_found_revoked(struct store *store, const struct store_found_revoked *what, bool *news, struct err *err)
{
	struct store_revoke order = {.reason = what->replace ? "superseded" : "privilegeWithdrawn", .replace = what->replace,
		.publish_seconds = what->publish_seconds, .actor = "enrolld", .text = what->text};
	time_t now = time(NULL);
	size_t n = 0;
	struct tx tx;
	bool ok;

	ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "note revocation", err) && revocation_begin(&tx, &order, what->certificate_id, &n) &&
	     (n == 0 || (tx_run(&tx, NULL,
				"UPDATE revocation_parts SET done_at = $2 WHERE part = 'ca' AND revocation_id = (SELECT r.id FROM revocations r WHERE r.certificate_id = $1)",
				VALUES(V_INT(what->certificate_id), V_INT(now))) &&
				tx_commit(&tx)));
	tx_end(&tx);
	*news = ok && n > 0;
	return ok;
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

#define REVOCATION_SELECT                                                                                                                  \
	"SELECT r.id, c.enrollment_id, r.certificate_id, e.address, r.ca, r.reason, r.requested_by, r.requested_at, r.done_at,"            \
	" a.done_at, CASE WHEN a.done_at > 0 THEN 0 ELSE a.next_at END, a.attempts, a.why_class, a.why, a.why_type,"                       \
	" d.done_at, CASE WHEN d.done_at > 0 THEN 0 ELSE d.next_at END, d.attempts, d.why_class, d.why, d.why_type"                        \
	" FROM revocations r JOIN certificates c ON c.id = r.certificate_id JOIN enrollments e ON e.id = c.enrollment_id"                  \
	" JOIN revocation_parts a ON a.revocation_id = r.id AND a.part = 'ca'"                                                             \
	" JOIN revocation_parts d ON d.revocation_id = r.id AND d.part = 'directory' "

static void read_revocation(struct rows *r, void *element)
{
	struct store_revocation *out = element;
	int c = 0;

	out->id = rows_int(r, c++);
	out->enrollment_id = rows_int(r, c++);
	out->certificate.id = rows_int(r, c++);
	out->address = rows_text(r, c++);
	out->ca = rows_text(r, c++);
	out->reason = rows_text(r, c++);
	out->requested_by = rows_text(r, c++);
	out->requested_at = rows_int(r, c++);
	out->done_at = rows_int(r, c++);
	for (int i = 0; i < REVOCATION_PARTS; i++) {
		struct store_revocation_part *p = &out->parts[i];

		p->done_at = rows_int(r, c++);
		p->next_at = rows_int(r, c++);
		p->attempts = (unsigned)rows_int(r, c++);
		p->why_class = err_class_parse(rows_peek(r, c++));
		p->why = rows_text(r, c++);
		p->why_type = rows_text(r, c++);
	}
}

static bool read_certificates(struct tx *tx, struct store_revocation_list *l)
{
	bool found, ok = true;

	for (size_t i = 0; ok && i < l->n; i++)
		ok = certificate_read_in(tx, l->v[i].certificate.id, &l->v[i].certificate, &found);
	return ok;
}

bool store_revocations_of(struct store *store, int64_t enrollment_id, struct store_revocation_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct store_revocation, read_revocation);
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "list revocations", err) &&
		  tx_list(&tx, &l, REVOCATION_SELECT "WHERE c.enrollment_id = $1 ORDER BY r.id", VALUES(V_INT(enrollment_id)));

	*out = (struct store_revocation_list){.v = l.v, .n = l.n};
	ok = ok && read_certificates(&tx, out);
	tx_end(&tx);
	if (!ok)
		store_revocation_list_clear(out);
	return ok;
}

bool store_revocation_next_due(struct store *store, time_t *when, struct err *err)
{
	struct tx tx;
	int64_t due = 0;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "find next revocation", err) &&
		  tx_number(&tx, &due, 0,
			  "SELECT MIN(CASE WHEN next_at > lease_until THEN next_at ELSE lease_until END) FROM revocation_parts WHERE done_at = 0",
			  NO_VALUES);

	tx_end(&tx);
	*when = ok ? (time_t)due : 0;
	return ok;
}

/* ---- the steps ----------------------------------------------------------------------------------------------------- */

/* The one whose id the statement returned, whole; *found is false when it returned none. */
static bool claimed(struct tx *tx, int64_t id, const char *owner, struct store_revocation *out, bool *found)
{
	struct row_list l = ROW_LIST(struct store_revocation, read_revocation);
	struct store_revocation_list list;
	bool ok = tx_list(tx, &l, REVOCATION_SELECT "WHERE r.id = $1", VALUES(V_INT(id)));

	list = (struct store_revocation_list){.v = l.v, .n = l.n};
	ok = ok && read_certificates(tx, &list) && tx_commit(tx);
	if (ok && list.n == 1) {
		*out = list.v[0];
		memset(&list.v[0], 0, sizeof(list.v[0]));
		out->lease_owner = str_dup(owner);
		*found = out->lease_owner != NULL;
		ok = *found || err_nomem(tx->err, tx->op);
	}
	store_revocation_list_clear(&list);
	return ok;
}

#define PART_DUE                                                                                                                           \
	"SELECT p.id FROM revocation_parts p WHERE p.part = $1 AND p.done_at = 0 AND p.next_at <= $2"                                      \
	" AND (p.lease_owner IS NULL OR p.lease_until <= $2) ORDER BY p.next_at, p.id LIMIT 1 "

static bool part_is_due(struct store *store, enum revocation_part part, time_t now, bool *due, const char *op, struct err *err)
{
	struct tx tx;
	int64_t id = 0;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, op, err) &&
		  tx_number(&tx, &id, 0, PART_DUE, VALUES(V_TEXT(revocation_part_name(part)), V_INT(now)));

	tx_end(&tx);
	*due = id != 0;
	return ok;
}

/* Asked whenever anything changed: no writer waits for it as long as nothing is due. */
bool store_revocation_claim(struct store *store, enum revocation_part part, const char *owner, time_t now, unsigned lease_seconds,
	struct store_revocation *out, bool *found, struct err *err)
{
	static const char op[] = "claim revocation";
	struct tx tx;
	int64_t id = 0;
	bool ok, due;

	memset(out, 0, sizeof(*out));
	*found = false;
	if (!part_is_due(store, part, now, &due, op, err))
		return false;
	if (!due)
		return true;
	ok = tx_begin(&tx, store, TX_WRITE_ROW, MAY_ENROLLD | MAY_ADMIN, op, err) &&
	     tx_number(&tx, &id, 0,
		     "UPDATE revocation_parts SET lease_owner = $3, lease_until = $4 WHERE id = (" PART_DUE ROW_LOCK_OR_SKIP ") RETURNING revocation_id",
		     VALUES(V_TEXT(revocation_part_name(part)), V_INT(now), V_TEXT(owner), V_INT(now + (time_t)lease_seconds))) &&
	     (id == 0 || claimed(&tx, id, owner, out, found));
	tx_end(&tx);
	return ok;
}

bool store_revocation_take(struct store *store, const char *serial, const char *owner, unsigned lease_seconds, struct store_revocation *out, bool *found,
	struct err *err)
{
	struct tx tx;
	int64_t id = 0;
	bool ok;

	memset(out, 0, sizeof(*out));
	*found = false;
	ok = tx_begin(&tx, store, TX_WRITE, MAY_ADMIN, "take revocation", err) &&
	     tx_number(&tx, &id, 0,
		     "UPDATE revocation_parts SET lease_owner = $2, lease_until = $3 WHERE part = 'ca' AND done_at = 0 AND revocation_id ="
		     " (SELECT r.id FROM revocations r JOIN certificates c ON c.id = r.certificate_id WHERE c.serial = upper($1)) RETURNING revocation_id",
		     VALUES(V_TEXT(serial), V_TEXT(owner), V_INT(time(NULL) + (time_t)lease_seconds))) &&
	     (id == 0 || claimed(&tx, id, owner, out, found));
	tx_end(&tx);
	return ok;
}

static bool write_part(struct tx *tx, const struct store_revocation *r, enum revocation_part part, const struct store_revocation_result *result, time_t now,
	int64_t *n)
{
	const struct err *f = result->failure;

	return tx_run(tx, n,
		"UPDATE revocation_parts SET lease_owner = NULL, lease_until = 0, done_at = $4, next_at = $5, attempts = CASE WHEN $4 > 0 THEN 0"
		" ELSE attempts + 1 END, why_class = $6, why = $7, why_type = $8"
		" WHERE revocation_id = $1 AND part = $2 AND lease_owner = $3 AND done_at = 0",
		VALUES(V_INT(r->id), V_TEXT(revocation_part_name(part)), V_TEXT(r->lease_owner), V_INT(f ? 0 : now), V_INT(f ? result->next_at : 0),
			V_TEXT(err_class_name(f ? f->class : ERR_NONE)), V_TEXT(f ? f->text : NULL), V_TEXT(f && f->type[0] ? f->type : NULL)));
}

/* Whatever the CA's answer was, it is the directory's turn. */
static bool directory_next(struct tx *tx, const struct store_revocation *r, time_t now)
{
	return tx_run(tx, NULL,
		"UPDATE revocation_parts SET next_at = $2 WHERE revocation_id = $1 AND part = 'directory' AND done_at = 0 AND attempts = 0"
		" AND next_at > $2 AND next_at <= $3",
		VALUES(V_INT(r->id), V_INT(now), V_INT(now + CA_FIRST_SECONDS)));
}

static bool end_when_done(struct tx *tx, const struct store_revocation *r, time_t now)
{
	char text[400];
	int64_t n = 0;

	if (!tx_run(tx, &n,
		    "UPDATE revocations SET done_at = $2 WHERE id = $1 AND done_at = 0"
		    " AND NOT EXISTS (SELECT 1 FROM revocation_parts p WHERE p.revocation_id = $1 AND p.done_at = 0)",
		    VALUES(V_INT(r->id), V_INT(now))))
		return false;
	if (n == 0)
		return true;
	if (!tx_run(tx, NULL,
		    "UPDATE enrollments SET state = 'revoked', resume = 'revoked', state_since = $2, version = version + 1 WHERE id = $1 AND state = 'revoking'"
		    " AND NOT EXISTS (SELECT 1 FROM revocations v JOIN certificates c ON c.id = v.certificate_id WHERE c.enrollment_id = $1 AND v.done_at = 0)",
		    VALUES(V_INT(r->enrollment_id), V_INT(now))))
		return false;
	snprintf(text, sizeof(text), "certificate %.120s (%s): CA and directory have followed", r->certificate.serial ? r->certificate.serial : "", r->reason);
	return event_insert(tx, r->enrollment_id, now, "revoked", "enrolld", ERR_NONE, text);
}

bool store_revocation_commit(struct store *store, const struct store_revocation *r, enum revocation_part part, const struct store_revocation_result *result,
	bool *stale, struct err *err)
{
	struct tx tx;
	time_t now = time(NULL);
	int64_t n = 0;
	bool ok;

	*stale = false;
	ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "commit revocation", err) && write_part(&tx, r, part, result, now, &n);
	if (ok && n == 0) {
		*stale = true;
	} else if (ok) {
		ok = (part != REVOCATION_CA || directory_next(&tx, r, now)) &&
		     (part != REVOCATION_DIRECTORY || result->failure ||
			     tx_run(&tx, NULL, "UPDATE certificates SET in_directory = 0 WHERE id = $1", VALUES(V_INT(r->certificate.id)))) &&
		     (!result->event || event_insert(&tx, r->enrollment_id, now, result->event, "enrolld",
						result->failure ? result->failure->class : ERR_NONE, result->text)) &&
		     (result->failure || end_when_done(&tx, r, now)) && tx_commit(&tx);
	}
	tx_end(&tx);
	return ok;
}

bool store_revocations_retry(struct store *store, int64_t enrollment_id, bool *changed, struct err *err)
{
	struct tx tx;
	int64_t n = 0;
	bool ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "retry revocations", err) &&
		  tx_run(&tx, &n, ACT_RETRY_REVOCATIONS, VALUES(V_INT(enrollment_id), V_INT(time(NULL)))) && tx_commit(&tx);

	tx_end(&tx);
	*changed = ok && n > 0;
	return ok;
}
