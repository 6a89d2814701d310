/*
 * store/sound.c - what must fit together in a store and is no constraint of the database: what a lost write, a change by hand or half a backup leave.
 *
 * Each question brings the names of what does not fit, and none in a healthy store, whatever state its rows are in at the moment: what is between two
 * transactions of the programs is whole.
 */
#include "config.h"

#include "store/store.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "store/db.h"
#include "store/tables.h"

#define CLOSED "('superseded','revoked','expired')"
#define BACKUP "bring a backup back, or, where the row is a person's, `enrollctl rotate ADDRESS`: a new key and certificate"
/* Rows a and b have an address in common. */
#define SHARE(a, b)                                                                                                                        \
	"EXISTS (SELECT 1 FROM enrollment_addresses x JOIN enrollment_addresses y ON y.address_key = x.address_key WHERE x.enrollment_id = " a   \
	" AND y.enrollment_id = " b ")"

static const struct { const char *name, *text, *advice, *sql; } questions[] = {
	{"active-without-certificate", "enrollments are active, and have no certificate that is", "`enrollctl rotate ADDRESS` orders a new one",
		"SELECT address FROM enrollments e WHERE state = 'active' AND NOT EXISTS"
		" (SELECT 1 FROM certificates c WHERE c.enrollment_id = e.id AND c.status = 'active') ORDER BY id"},
	{"certificate-in-hand-missing", "enrollments have a certificate by their state, and none is named in them", "`enrollctl retry ADDRESS`",
		"SELECT address FROM enrollments WHERE state IN ('issued','checked','published','active') AND certificate_id IS NULL ORDER BY id"},
	{"certificate-of-another-row", "enrollments name a certificate that belongs to another enrollment", BACKUP,
		"SELECT e.address FROM enrollments e JOIN certificates c ON c.id = e.certificate_id WHERE c.enrollment_id <> e.id ORDER BY e.id"},
	{"key-of-another-address", "certificates have a key that belongs to somebody else's address", "revoke them (`enrollctl revoke SERIAL --reason keyCompromise`), "
		"and " BACKUP,
		"SELECT c.serial FROM certificates c JOIN user_keys k ON k.id = c.key_id WHERE k.enrollment_id <> c.enrollment_id AND NOT "
		SHARE("k.enrollment_id", "c.enrollment_id") " ORDER BY c.id"},
	{"row-with-key-of-another", "enrollments name a key that belongs to somebody else's address", BACKUP,
		"SELECT e.address FROM enrollments e JOIN user_keys k ON k.id = e.key_id WHERE k.enrollment_id <> e.id AND NOT " SHARE("k.enrollment_id", "e.id")
		" ORDER BY e.id"},
	{"active-in-closed-row", "certificates are active, and their enrollment is closed", "revoke them, if they are not to be used any more (`enrollctl revoke SERIAL`)",
		"SELECT c.serial FROM certificates c JOIN enrollments e ON e.id = c.enrollment_id WHERE c.status = 'active' AND e.state IN " CLOSED " ORDER BY c.id"},
	{"order-of-closed-row", "orders are open, and their enrollment is closed", "they count for the limits of the CA until they are old: nothing has to be done",
		"SELECT e.address FROM orders o JOIN enrollments e ON e.id = o.enrollment_id WHERE o.outcome IS NULL AND e.state IN " CLOSED " ORDER BY o.id"},
	{"lease-of-closed-row", "enrollments are closed, and somebody works on them", "restart enrolld, which gives its leases back",
		"SELECT address FROM enrollments WHERE lease_owner IS NOT NULL AND state IN " CLOSED " ORDER BY id"},
	{"address-not-found", "enrollments cannot be found by their own address", BACKUP,
		"SELECT address FROM enrollments e WHERE NOT EXISTS (SELECT 1 FROM enrollment_addresses a WHERE a.enrollment_id = e.id"
		" AND a.address_key = e.address_key) ORDER BY id"},
	{"companion-of-a-companion", "enrollments stand beside one that stands beside another itself", BACKUP,
		"SELECT e.address FROM enrollments e JOIN enrollments m ON m.id = e.companion_of WHERE m.companion_of IS NOT NULL ORDER BY e.id"},
	{"revoked-and-used", "certificates were revoked, and are taken for good ones again: an older copy of the store came back",
		"`enrollctl revoke SERIAL` once more, and stop signing with them (`enrollctl disable ADDRESS`) until that is done",
		"SELECT c.serial FROM revocations r JOIN certificates c ON c.id = r.certificate_id WHERE c.status <> 'revoked' ORDER BY c.id"},
	{"revocation-unfinished", "revocations count as done, and the CA or the directory has not followed", "`enrollctl retry ADDRESS`",
		"SELECT c.serial FROM revocations r JOIN certificates c ON c.id = r.certificate_id WHERE r.done_at > 0 AND EXISTS"
		" (SELECT 1 FROM revocation_parts p WHERE p.revocation_id = r.id AND p.done_at = 0) ORDER BY c.id"},
	{"revocation-without-parts", "revocations have nothing that the CA or the directory would do", "revoke these certificates at the CA by hand",
		"SELECT c.serial FROM revocations r JOIN certificates c ON c.id = r.certificate_id WHERE r.done_at = 0 AND NOT EXISTS"
		" (SELECT 1 FROM revocation_parts p WHERE p.revocation_id = r.id) ORDER BY c.id"},
	{"reply-of-another-row", "delivery reports belong to another enrollment than the challenge they are about", "they are hints alone: nothing has to be done",
		"SELECT e.address FROM reports r JOIN challenges h ON h.id = r.challenge_id JOIN enrollments e ON e.id = r.enrollment_id"
		" WHERE h.enrollment_id <> r.enrollment_id ORDER BY r.id"},
};
#define QUESTIONS (sizeof(questions) / sizeof(questions[0]))
_Static_assert(QUESTIONS + 2 <= STORE_FINDINGS_MAX, "room for what is found");

void store_finding_add(struct store_sound *out, const char *name, const char *text, const char *advice, const char *example)
{
	struct store_finding *f = out->n > 0 ? &out->v[out->n - 1] : NULL;
	size_t used;

	if (f == NULL || strcmp(f->name, name) != 0) {
		if (out->n == STORE_FINDINGS_MAX)
			return;
		f = &out->v[out->n++];
		*f = (struct store_finding){.name = name, .text = text, .advice = advice};
	}
	used = strlen(f->examples);
	if (++f->n <= STORE_EXAMPLES)
		snprintf(f->examples + used, sizeof(f->examples) - used, "%s%.90s", used > 0 ? ", " : "", example);
}

static bool ask(struct tx *tx, size_t i, struct store_sound *out)
{
	struct rows r;

	if (rows_open(&r, tx, questions[i].sql, NO_VALUES))
		while (rows_next(&r))
			store_finding_add(out, questions[i].name, questions[i].text, questions[i].advice, rows_peek(&r, 0));
	return rows_close(&r);
}

static bool is_fingerprint_of(const void *der, size_t len, const char *fingerprint)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	struct buf hex = BUF_INIT;
	unsigned n = 0;
	bool same = der != NULL && EVP_Digest(der, len, md, &n, EVP_sha256(), NULL) == 1;

	hex_encode(&hex, md, n);
	same = same && strcmp(buf_str(&hex), fingerprint) == 0;
	buf_clear(&hex);
	return same;
}

#define BATCH 500

/* In the order of their ids, some at a time: *after is 0 behind the last. */
static bool certificates_are_what_they_say(struct tx *tx, int64_t *after, struct store_sound *out)
{
	struct rows r;
	size_t n = 0;

	if (rows_open(&r, tx, "SELECT id, der, fingerprint, serial FROM certificates WHERE id > $1 ORDER BY id LIMIT 500", VALUES(V_INT(*after))))
		for (; rows_next(&r); n++) {
			size_t len;
			unsigned char *der = rows_blob(&r, 1, &len);

			*after = rows_int(&r, 0);
			if (!is_fingerprint_of(der, len, rows_peek(&r, 2)))
				store_finding_add(out, "certificate-damaged", "certificates are not what their fingerprints say", BACKUP, rows_peek(&r, 3));
			free(der);
		}
	if (n < BATCH)
		*after = 0;
	return rows_close(&r);
}

static bool count_tables(struct tx *tx, struct store_sound *out)
{
	for (size_t i = 0; i < tables_n && i < STORE_TABLES_MAX; i++) {
		struct store_copied *t = &out->tables[out->n_tables++];

		t->table = tables[i].name;
		if (!tx_number(tx, &t->rows, 0, tables[i].count, NO_VALUES))
			return false;
	}
	return true;
}

bool store_sound(struct store *store, struct store_sound *out, struct err *err)
{
	struct tx tx;
	int64_t after = 0;
	bool ok = tx_begin(&tx, store, TX_READ, MAY_ADMIN, "check store", err) && count_tables(&tx, out);

	for (size_t i = 0; ok && i < QUESTIONS; i++)
		ok = ask(&tx, i, out);
	while (ok && (ok = certificates_are_what_they_say(&tx, &after, out)) && after != 0)
		;
	tx_end(&tx);
	return ok && store_size(store, &out->octets, err);
}
