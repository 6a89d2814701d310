/*
 * store/figures.c - numbers for monitoring, and whether the store can be used at all.
 *
 * All figures come from one read transaction.  Each statement is answered by an index that holds nothing else (enrollments_figures,
 * certificates_expiry), or looks at rows in flight only, so that a million rows are counted without being read.
 */
#include "config.h"

#include "store/store.h"

#include <string.h>

#include "store/db.h"

/* A class is of interest, and kept, where something went wrong. */
static bool shows_class(enum enrollment_state s)
{
	return s == ENROLLMENT_WAITING || s == ENROLLMENT_BLOCKED || s == ENROLLMENT_FAILED;
}

static bool count_enrollments(struct tx *tx, struct store_figures *out)
{
	struct rows r;

	if (rows_open(&r, tx, "SELECT state, why_class, COUNT(*) FROM enrollments GROUP BY state, why_class", NO_VALUES))
		while (rows_next(&r)) {
			enum err_class class = err_class_parse(rows_peek(&r, 1));
			enum enrollment_state state;

			if (enrollment_state_parse(rows_peek(&r, 0), &state))
				out->enrollments[state][shows_class(state) ? class : ERR_NONE] += (uint64_t)rows_int(&r, 2);
			else
				rows_bad(&r, "state of an enrollment");
		}
	return rows_close(&r);
}

/* Of those who sign: whoever is disabled or gone gets no other one, so that theirs ends one day. */
static const char sql_earliest[] = "SELECT c.not_after FROM certificates c CROSS JOIN enrollments e WHERE c.status = 'active' AND e.id = c.enrollment_id"
				   " AND e.disabled = 0 AND e.gone_since = 0 ORDER BY c.not_after LIMIT 1";

/* Certificates in use by how long they are still valid: more than the bound before, up to this one; the last: above all. */
static bool count_certificates(struct tx *tx, time_t now, const int64_t *bounds, size_t n, struct store_figures *out)
{
	static const char sql[] = "SELECT COUNT(*), COALESCE(SUM(not_after), 0) FROM certificates"
				  " WHERE status = 'active' AND not_after > $1 AND not_after <= $2";
	bool ok = n < STORE_FIGURES_BOUNDS || err_set(tx->err, ERR_BUG, tx->op, NULL, "%zu buckets are too many", n);
	int64_t sum = 0;

	for (size_t i = 0; ok && i <= n; i++) {
		int64_t from = i ? now + bounds[i - 1] : INT64_MIN, to = i < n ? now + bounds[i] : INT64_MAX;
		struct rows r;

		if (rows_open(&r, tx, sql, VALUES(V_INT(from), V_INT(to))) && rows_next(&r)) {
			out->remaining[i] = (uint64_t)rows_int(&r, 0);
			sum += rows_int(&r, 1) - rows_int(&r, 0) * (int64_t)now;
		}
		ok = rows_close(&r);
	}
	out->remaining_sum = sum > 0 ? sum : 0;
	return ok && tx_number(tx, &out->earliest, 0, sql_earliest, NO_VALUES);
}

/* As store_renewals_late, from its first stage on, by the rows that are on their way to a new one. */
static const char sql_unrenewed[] =
	"SELECT COUNT(*) FROM (SELECT c.not_after AS ends,"
	" " RENEWAL_DUE " AS due"
	" FROM enrollments e CROSS JOIN certificates c LEFT JOIN renewals r ON r.certificate_id = c.id"
	" WHERE " RENEWAL_UNDER_WAY " AND e.disabled = 0 AND e.gone_since = 0"
	" AND c.enrollment_id = e.id AND c.status = 'active') l"
	" WHERE due < ends AND (ends - $1) * 2 <= ends - due";

/* Without a certificate in use since it was asked for, or since the last one ended.  Whoever a cap or a rule keeps waiting is meant to wait. */
static const char sql_without[] =
	"SELECT e.state, MIN(COALESCE((SELECT MAX(COALESCE(r.requested_at, c.not_after)) FROM certificates c LEFT JOIN revocations r ON r.certificate_id = c.id"
	" WHERE c.enrollment_id = e.id), e.requested_at)) FROM enrollments e WHERE " RENEWAL_UNDER_WAY " AND e.disabled = 0 AND e.gone_since = 0"
	" AND COALESCE(e.why_type, '') NOT IN ('held','excluded')"
	" AND NOT EXISTS (SELECT 1 FROM certificates a WHERE a.enrollment_id = e.id AND a.status = 'active') GROUP BY e.state";

static bool find_oldest(struct tx *tx, struct store_figures *out)
{
	struct rows r;

	if (rows_open(&r, tx, sql_without, NO_VALUES))
		while (rows_next(&r)) {
			enum enrollment_state state;

			if (enrollment_state_parse(rows_peek(&r, 0), &state))
				out->without_since[state] = rows_int(&r, 1);
			else
				rows_bad(&r, "state of an enrollment");
		}
	return rows_close(&r);
}

static const char sql_reports[] = "SELECT MIN(r.received_at) FROM enrollments e CROSS JOIN reports r"
				  " WHERE e.state IN ('challenge-awaited','answered') AND r.enrollment_id = e.id AND r.seen = 0";

bool store_figures(struct store *store, time_t now, const int64_t *bounds, size_t n, struct store_figures *out, struct err *err)
{
	struct tx tx;
	bool ok;

	memset(out, 0, sizeof(*out));
	ok = tx_begin(&tx, store, TX_READ, MAY_ENROLLD | MAY_ADMIN, "count for monitoring", err) && count_enrollments(&tx, out) &&
	     count_certificates(&tx, now, bounds, n, out) && tx_number(&tx, &out->unrenewed, 0, sql_unrenewed, VALUES(V_INT(now))) && find_oldest(&tx, out) &&
	     tx_number(&tx, &out->due_since, 0, "SELECT MIN(next_at) FROM enrollments WHERE next_at > 0 AND disabled = 0 AND gone_since = 0", NO_VALUES) &&
	     tx_number(&tx, &out->revocation_since, 0, "SELECT MIN(requested_at) FROM revocations WHERE done_at = 0", NO_VALUES) &&
	     tx_number(&tx, &out->report_since, 0, sql_reports, NO_VALUES);
	tx_end(&tx);
	return ok;
}

bool store_ready(struct store *store, struct err *err)
{
	struct tx tx;
	int64_t version = 0;
	bool ok;

	ok = tx_begin(&tx, store, TX_READ, MAY_ALL, "look at the store", err) &&
	     tx_number(&tx, &version, 0, "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'schema_version'", NO_VALUES);
	tx_end(&tx);
	/* What the transaction found out says more, unless it is what becomes of a file that was taken away. */
	if (store_change_counter(store) < 0 && (ok || err == NULL || (err->class != ERR_TEMPORARY && !store_is_too_new(err))))
		return err_set(err, ERR_TEMPORARY, "look at the store", NULL, "the store cannot be read, or its file was removed or replaced");
	/* Of a newer one we know that we can go on with it: the transaction has begun. */
	if (ok && version < store_schema_version())
		return err_set(err, ERR_CONFIG, "look at the store", NULL, "the store has schema %lld, this program is made for %d", (long long)version,
			store_schema_version());
	return ok;
}
