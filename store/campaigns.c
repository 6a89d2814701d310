/*
 * store/campaigns.c - many certificates replaced before a deadline.
 *
 * A campaign's rows are certificates, chosen in the transaction that creates it; whatever is issued later is not among them.  A row begins in one
 * transaction with the renewal of its enrollment, and only while its certificate is the one that signs: so nobody is replaced twice, whenever
 * enrolld dies.  It is done when the certificate has been superseded or revoked and the enrollment has an active one again.
 */
#include "config.h"

#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#include "store/db.h"

void store_campaign_clear(struct store_campaign *c)
{
	free(c->state);
	free(c->selection);
	free(c->revoke);
	free(c->created_by);
	memset(c, 0, sizeof(*c));
}

void store_selected_list_clear(struct store_selected_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i].ca);
	free(l->v);
	memset(l, 0, sizeof(*l));
}

/* ---- the selection --------------------------------------------------------------------------------------------------- */

/* $1 now, $2 issuer, $3 from, $4 to, $5 serial number, $6 CA. */
#define SELECTED                                                                                                                           \
	" FROM certificates c JOIN enrollments e ON e.id = c.enrollment_id WHERE c.status IN ('issued','checked','published','active')"    \
	" AND c.not_after > $1 AND e.disabled = 0 AND e.gone_since = 0 AND e.state NOT IN ('superseded','revoking','revoked','expired')" \
	" AND ($2 IS NULL OR instr(lower(c.issuer), lower($2)) > 0) AND ($3 = 0 OR c.not_before >= $3) AND ($4 = 0 OR c.not_before <= $4)" \
	" AND ($5 IS NULL OR c.serial = $5) AND ($6 IS NULL OR " CERTIFICATE_CA " = $6)"

/* The statement once, or once for each serial number. */
static size_t times(const struct store_selection *what)
{
	return what->serials != NULL ? what->serials->n : 1;
}

static const char *serial(const struct store_selection *what, size_t i)
{
	return what->serials != NULL ? what->serials->v[i] : NULL;
}

static void read_selected(struct rows *r, void *element)
{
	struct store_selected *out = element;

	out->ca = rows_text(r, 0);
	out->n = (size_t)rows_int(r, 1);
}

/* Lines of the same CA become one. */
static void merge(struct store_selected_list *l)
{
	size_t kept = 0;

	for (size_t i = 0; i < l->n; i++) {
		size_t at = 0;

		while (at < kept && strcmp(l->v[at].ca ? l->v[at].ca : "", l->v[i].ca ? l->v[i].ca : "") != 0)
			at++;
		if (at == kept) {
			l->v[kept++] = l->v[i];
			continue;
		}
		l->v[at].n += l->v[i].n;
		free(l->v[i].ca);
	}
	l->n = kept;
}

bool store_select(struct store *store, const struct store_selection *what, struct store_selected_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct store_selected, read_selected);
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "select certificates", err);

	for (size_t i = 0; ok && i < times(what); i++)
		ok = tx_list(&tx, &l, "SELECT " CERTIFICATE_CA " AS ca, COUNT(*)" SELECTED " GROUP BY 1 ORDER BY 1",
			VALUES(V_INT(time(NULL)), V_TEXT(what->issuer), V_INT(what->issued_from), V_INT(what->issued_to), V_TEXT(serial(what, i)),
				V_TEXT(what->ca)));
	tx_end(&tx);
	*out = (struct store_selected_list){.v = l.v, .n = l.n};
	merge(out);
	if (!ok)
		store_selected_list_clear(out);
	return ok;
}

static bool insert_rows(struct tx *tx, int64_t campaign, const struct store_selection *what, time_t now, int64_t *n)
{
	int64_t some = 0;

	for (size_t i = 0; i < times(what); i++, *n += some)
		if (!tx_run(tx, &some, "INSERT INTO campaign_rows (campaign_id, certificate_id) SELECT $7, c.id" SELECTED " ON CONFLICT DO NOTHING",
			    VALUES(V_INT(now), V_TEXT(what->issuer), V_INT(what->issued_from), V_INT(what->issued_to), V_TEXT(serial(what, i)),
				    V_TEXT(what->ca), V_INT(campaign))))
			return false;
	return *n > 0 || err_set(tx->err, ERR_POLICY, tx->op, "campaign", "no certificate in use is meant by this");
}

static bool insert_campaign(struct tx *tx, const struct store_selection *what, const struct store_campaign *c, int64_t *n)
{
	time_t now = time(NULL);
	int64_t id = 0;

	if (!tx_number(tx, &id, 0, "SELECT id FROM campaigns WHERE state IN ('running','paused')", NO_VALUES))
		return false;
	if (id != 0)
		return err_set(tx->err, ERR_POLICY, tx->op, "campaign", "a replacement is under way already: `enrollctl replace status`; `enrollctl replace cancel` ends it");
	return tx_number(tx, &id, 0,
		       "INSERT INTO campaigns (state, selection, deadline, revoke, created_by, created_at) VALUES ('running', $1, $2, $3, $4, $5) RETURNING id",
		       VALUES(V_TEXT(c->selection), V_INT(c->deadline), V_TEXT(c->revoke), V_TEXT(c->created_by), V_INT(now))) &&
	       insert_rows(tx, id, what, now, n);
}

bool store_campaign_create(struct store *store, const struct store_selection *what, const struct store_campaign *c, size_t *n, struct err *err)
{
	char text[700];
	struct tx tx;
	int64_t rows = 0;
	bool ok;

	*n = 0;
	ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "begin replacement", err) && insert_campaign(&tx, what, c, &rows);
	if (ok) {
		snprintf(text, sizeof(text), "%lld certificates are to be replaced (%.500s)", (long long)rows, c->selection);
		ok = event_insert(&tx, 0, time(NULL), "campaign", c->created_by, ERR_NONE, text) && tx_commit(&tx);
	}
	tx_end(&tx);
	*n = ok ? (size_t)rows : 0;
	return ok;
}

/* ---- reading --------------------------------------------------------------------------------------------------------- */

static bool read_campaign(struct tx *tx, struct store_campaign *out, bool *found)
{
	struct rows r;

	*found = false;
	if (rows_open(&r, tx, "SELECT id, state, selection, revoke, created_by, deadline, created_at, ended_at FROM campaigns ORDER BY id DESC LIMIT 1",
		    NO_VALUES) &&
		rows_next(&r)) {
		out->id = rows_int(&r, 0);
		out->state = rows_text(&r, 1);
		out->selection = rows_text(&r, 2);
		out->revoke = rows_text(&r, 3);
		out->created_by = rows_text(&r, 4);
		out->deadline = rows_int(&r, 5);
		out->created_at = rows_int(&r, 6);
		out->ended_at = rows_int(&r, 7);
		*found = true;
	}
	return rows_close(&r);
}

static bool count_rows(struct tx *tx, struct store_campaign *out)
{
	struct rows r;

	if (rows_open(&r, tx,
		    "SELECT SUM(CASE WHEN w.state = 'pending' THEN 1 ELSE 0 END), SUM(CASE WHEN w.state = 'begun' THEN 1 ELSE 0 END),"
		    " SUM(CASE WHEN w.state = 'done' THEN 1 ELSE 0 END), SUM(CASE WHEN w.state = 'skipped' THEN 1 ELSE 0 END),"
		    " SUM(CASE WHEN w.state = 'begun' AND e.state IN ('blocked','failed') THEN 1 ELSE 0 END), MIN(CASE WHEN w.begun_at > 0 THEN w.begun_at END), MAX(w.begun_at), MAX(w.done_at)"
		    " FROM campaign_rows w JOIN certificates c ON c.id = w.certificate_id JOIN enrollments e ON e.id = c.enrollment_id WHERE w.campaign_id = $1",
		    VALUES(V_INT(out->id))) &&
		rows_next(&r)) {
		out->pending = (size_t)rows_int(&r, 0);
		out->begun = (size_t)rows_int(&r, 1);
		out->done = (size_t)rows_int(&r, 2);
		out->skipped = (size_t)rows_int(&r, 3);
		out->stuck = (size_t)rows_int(&r, 4);
		out->first_begun = rows_int(&r, 5);
		out->last_begun = rows_int(&r, 6);
		out->last_done = rows_int(&r, 7);
	}
	return rows_close(&r);
}

bool store_campaign_underway(struct store *store, bool *underway, struct err *err)
{
	struct tx tx;
	int64_t id = 0;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "read replacement", err) &&
		  tx_number(&tx, &id, 0, "SELECT id FROM campaigns WHERE state IN ('running','paused')", NO_VALUES);

	tx_end(&tx);
	*underway = id != 0;
	return ok;
}

bool store_campaign_get(struct store *store, struct store_campaign *out, bool *found, struct err *err)
{
	struct tx tx;
	bool ok;

	memset(out, 0, sizeof(*out));
	ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "read replacement", err) && read_campaign(&tx, out, found) &&
	     (!*found || count_rows(&tx, out));
	tx_end(&tx);
	if (!ok)
		store_campaign_clear(out);
	return ok;
}

bool store_campaign_pending(struct store *store, int64_t id, struct store_selected_list *out, struct err *err)
{
	struct row_list l = ROW_LIST(struct store_selected, read_selected);
	struct tx tx;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "read replacement", err) &&
		  tx_list(&tx, &l,
			  "SELECT " CERTIFICATE_CA " AS ca, COUNT(*) FROM campaign_rows w JOIN certificates c ON c.id = w.certificate_id"
			  " JOIN enrollments e ON e.id = c.enrollment_id WHERE w.campaign_id = $1 AND w.state = 'pending' GROUP BY 1 ORDER BY 1",
			  VALUES(V_INT(id)));

	tx_end(&tx);
	*out = (struct store_selected_list){.v = l.v, .n = l.n};
	if (!ok)
		store_selected_list_clear(out);
	return ok;
}

bool store_order_seconds(struct store *store, const char *ca, unsigned *seconds, struct err *err)
{
	struct tx tx;
	int64_t n = 0;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "look at orders", err) &&
		  tx_number(&tx, &n, 0,
			  "SELECT CAST(ROUND(AVG(d)) AS INTEGER) FROM (SELECT closed_at - opened_at AS d FROM orders WHERE ca = $1 AND outcome = 'finalized'"
			  " ORDER BY id DESC LIMIT 50) o",
			  VALUES(V_TEXT(ca)));

	tx_end(&tx);
	*seconds = ok && n > 0 ? (unsigned)n : 0;
	return ok;
}

bool store_orders_nth(struct store *store, time_t since, const char *ca, size_t nth, time_t *when, struct err *err)
{
	struct tx tx;
	int64_t at = 0;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "look at orders", err) &&
		  tx_number(&tx, &at, 0,
			  "SELECT opened_at FROM orders WHERE opened_at >= $1 AND COALESCE(outcome, '') <> 'unsent' AND ($2 IS NULL OR ca = $2)"
			  " ORDER BY opened_at, id LIMIT 1 OFFSET $3",
			  VALUES(V_INT(since), V_TEXT(ca), V_INT(nth ? nth - 1 : 0)));

	tx_end(&tx);
	*when = ok ? (time_t)at : 0;
	return ok;
}

/* ---- what is done to it ------------------------------------------------------------------------------------------------ */

bool store_campaign_set(struct store *store, int64_t id, const char *state, const char *actor, bool *changed, struct err *err)
{
	bool ends = strcmp(state, "cancelled") == 0;
	struct tx tx;
	int64_t n = 0;
	char text[64];
	bool ok;

	snprintf(text, sizeof(text), "the replacement is %s", state);
	ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "change replacement", err) &&
	     tx_run(&tx, &n, "UPDATE campaigns SET state = $2, ended_at = $3 WHERE id = $1 AND state IN ('running','paused') AND state <> $2",
		     VALUES(V_INT(id), V_TEXT(state), V_INT(ends ? time(NULL) : 0))) &&
	     (n == 0 || (event_insert(&tx, 0, time(NULL), "campaign", actor, ERR_NONE, text) && tx_commit(&tx)));
	tx_end(&tx);
	*changed = ok && n > 0;
	return ok;
}

/* A row whose enrollment is on its way to another certificate already has begun; one that a worker looks at right now comes next time. */
static bool begin_row(struct tx *tx, int64_t campaign, int64_t certificate, int64_t enrollment, const char *state, size_t *begun)
{
	bool active = strcmp(state, "active") == 0, changed = false;

	if (active && !enrollment_renew(tx, enrollment, "enrolld", "mass replacement", &changed))
		return false;
	if (active && !changed)
		return true;
	(*begun)++;
	return tx_run(tx, NULL, "UPDATE campaign_rows SET state = 'begun', begun_at = $3 WHERE campaign_id = $1 AND certificate_id = $2",
		VALUES(V_INT(campaign), V_INT(certificate), V_INT(time(NULL))));
}

struct candidate { int64_t certificate, enrollment; char *state; };

static void read_candidate(struct rows *r, void *element)
{
	struct candidate *out = element;

	out->certificate = rows_int(r, 0);
	out->enrollment = rows_int(r, 1);
	out->state = rows_text(r, 2);
}

bool store_campaign_begin(struct store *store, int64_t id, const char *ca, size_t n, size_t *begun, struct err *err)
{
	struct row_list l = ROW_LIST(struct candidate, read_candidate);
	struct tx tx;
	bool ok;

	*begun = 0;
	/* The state is asked once more, in the transaction that begins: somebody may have paused it. */
	ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "go on with replacement", err) &&
	     tx_list(&tx, &l,
		     "SELECT c.id, e.id, e.state FROM campaign_rows w JOIN campaigns k ON k.id = w.campaign_id AND k.state = 'running'"
		     " JOIN certificates c ON c.id = w.certificate_id JOIN enrollments e ON e.id = c.enrollment_id"
		     " WHERE w.campaign_id = $1 AND w.state = 'pending' AND c.status = 'active' AND e.gone_since = 0 AND " CERTIFICATE_CA " = $2"
		     " ORDER BY e.lease_owner IS NOT NULL, c.id LIMIT $3",
		     VALUES(V_INT(id), V_TEXT(ca), V_INT(n)));
	for (size_t i = 0; ok && i < l.n; i++) {
		const struct candidate *c = (const struct candidate *)l.v + i;

		ok = begin_row(&tx, id, c->certificate, c->enrollment, c->state, begun);
	}
	ok = ok && (*begun == 0 || tx_commit(&tx));
	tx_end(&tx);
	for (size_t i = 0; i < l.n; i++)
		free(((struct candidate *)l.v)[i].state);
	free(l.v);
	if (!ok)
		*begun = 0;
	return ok;
}

/* Its place is taken: whoever began that. */
#define REPLACED                                                                                                                           \
	"SELECT w.certificate_id FROM campaign_rows w JOIN certificates c ON c.id = w.certificate_id WHERE w.campaign_id = $1"               \
	" AND w.state IN ('pending','begun') AND c.status IN ('superseded','revoked') AND EXISTS (SELECT 1 FROM certificates n"             \
	" WHERE n.enrollment_id = c.enrollment_id AND n.status = 'active' AND n.id > c.id)"
/* Nothing is to be replaced any more. */
#define GONE                                                                                                                               \
	"SELECT w.certificate_id FROM campaign_rows w JOIN certificates c ON c.id = w.certificate_id JOIN enrollments e ON e.id = c.enrollment_id"   \
	" WHERE w.campaign_id = $1 AND w.state IN ('pending','begun') AND (e.disabled = 1 OR e.gone_since > 0 OR e.state IN ('superseded','revoking','revoked','expired')" \
	" OR c.status IN ('refused','expired') OR (c.status IN ('issued','checked','published') AND COALESCE(e.certificate_id, 0) <> c.id)"     \
	" OR (c.status = 'superseded' AND NOT EXISTS (SELECT 1 FROM certificates n"                             \
	" WHERE n.enrollment_id = c.enrollment_id AND n.id > c.id)))"

struct number { int64_t n; };

static void read_number(struct rows *r, void *element)
{
	((struct number *)element)->n = rows_int(r, 0);
}

static bool revoke_replaced(struct tx *tx, const struct store_campaign *c, unsigned publish_seconds)
{
	struct row_list l = ROW_LIST(struct number, read_number);
	struct store_revoke what = {.reason = c->revoke, .publish_seconds = publish_seconds, .actor = c->created_by, .text = "mass replacement"};
	size_t n = 0;
	bool ok;

	if (!c->revoke)
		return true;
	ok = tx_list(tx, &l, REPLACED " AND c.status = 'superseded'", VALUES(V_INT(c->id)));
	for (size_t i = 0; ok && i < l.n; i++)
		ok = revocation_begin(tx, &what, ((struct number *)l.v)[i].n, &n);
	free(l.v);
	return ok;
}

static bool end_campaign(struct tx *tx, const struct store_campaign *c, time_t now, bool *ended)
{
	int64_t n = 0;

	if (!tx_run(tx, &n,
		    "UPDATE campaigns SET state = 'done', ended_at = $2 WHERE id = $1 AND state IN ('running','paused')"
		    " AND NOT EXISTS (SELECT 1 FROM campaign_rows w WHERE w.campaign_id = $1 AND w.state IN ('pending','begun'))",
		    VALUES(V_INT(c->id), V_INT(now))))
		return false;
	*ended = n > 0;
	return n == 0 || event_insert(tx, 0, now, "campaign", "enrolld", ERR_NONE, "the replacement is done");
}

/* Is there anything new to write? */
static bool anything(struct store *store, const struct store_campaign *c, bool *news, struct err *err)
{
	struct tx tx;
	int64_t n = 0;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "follow replacement", err) &&
		  tx_number(&tx, &n, 0,
			  "SELECT (SELECT COUNT(*) FROM (" REPLACED ") r) + (SELECT COUNT(*) FROM (" GONE ") g) + (SELECT CASE WHEN EXISTS (SELECT 1 FROM campaign_rows w"
			  " WHERE w.campaign_id = $1 AND w.state IN ('pending','begun')) THEN 0 ELSE 1 END)",
			  VALUES(V_INT(c->id)));

	tx_end(&tx);
	*news = n > 0;
	return ok;
}

bool store_campaign_follow(struct store *store, const struct store_campaign *c, unsigned publish_seconds, bool *ended, struct err *err)
{
	time_t now = time(NULL);
	struct tx tx;
	bool ok, news;

	*ended = false;
	if (!anything(store, c, &news, err))
		return false;
	if (!news)
		return true;
	ok = tx_begin(&tx, store, TX_WRITE, MAY_ENROLLD | MAY_ADMIN, "follow replacement", err) && revoke_replaced(&tx, c, publish_seconds) &&
	     tx_run(&tx, NULL,
		     "UPDATE campaign_rows SET why = CASE WHEN state = 'pending' THEN 'replaced before its turn' END, state = CASE WHEN state = 'pending'"
		     " THEN 'skipped' ELSE 'done' END, done_at = $2 WHERE campaign_id = $1 AND certificate_id IN (" REPLACED ")",
		     VALUES(V_INT(c->id), V_INT(now))) &&
	     tx_run(&tx, NULL,
		     "UPDATE campaign_rows SET state = 'skipped', done_at = $2, why = 'not in use any more' WHERE campaign_id = $1 AND certificate_id IN (" GONE ")",
		     VALUES(V_INT(c->id), V_INT(now))) &&
	     end_campaign(&tx, c, now, ended) && tx_commit(&tx);
	tx_end(&tx);
	return ok;
}
