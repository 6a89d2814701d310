/*
 * enroll/legacy.c - `report legacy`: whose published certificates have to be replaced, and asking for the replacements.
 *
 * A directory of 100,000 entries takes longer to read than any answer should, and nothing of it may be kept here for a client that is gone.
 * So a report is many questions: the client asks for one page after the other.  Between two of them the walk over the directory waits
 * here, which is one connection to the directory and nothing more; there are a few such places, and who has been silent for longest gives his
 * up.  What is found is judged (policy/legacy.c) and answered at once.
 *
 * What would become of an address is decided as enrolld does it when it has a row for it (decide.h), without writing anything; with "enroll" the
 * row is written, as by `enrollctl enroll`.  Caps are no concern of this file: rows above them wait.
 */
#include "config.h"

#include "enroll/answer.h"
#include "enroll/control.h"
#include "enroll/decide.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/err.h>

#define OP "report legacy certificates"
#define WALKS_MOST 6
#define PAGE 200              /* entries, or rows of the store */
#define ADDRESSES_MOST 64     /* of one question about what is to be done */
#define PLAN_MS 8000          /* and how long it may take */
#define SHOWN_MOST 20         /* certificates of one entry that are told in full */
#define JUDGED_MOST 200       /* and that are looked at */
#define SERIAL_MOST 64

/* ---- walks under way ------------------------------------------------------------------------------------------------- */

struct walk {
	char id[33];
	struct directory_scan *scan;  /* NULL: a free place */
	bool busy;                    /* somebody's page is being read */
	int64_t used_ms;
};

struct legacy_walks {
	pthread_mutex_t lock;
	struct walk v[WALKS_MOST];
};

struct legacy_walks *legacy_walks_new(struct err *err)
{
	struct legacy_walks *w = calloc(1, sizeof *w);

	if (w)
		pthread_mutex_init(&w->lock, NULL);
	else
		err_nomem(err, OP);
	return w;
}

void legacy_walks_free(struct legacy_walks *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < WALKS_MOST; i++)
		directory_scan_free(w->v[i].scan);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

/* A place for a new walk: a free one, else that of who has been silent for longest.  NULL when all are being read at this moment. */
static struct walk *place_take(struct legacy_walks *w)
{
	struct walk *found = NULL;
	struct directory_scan *old = NULL;

	pthread_mutex_lock(&w->lock);
	for (size_t i = 0; i < WALKS_MOST; i++) {
		struct walk *one = &w->v[i];

		if (!one->busy && (!found || (found->scan && (!one->scan || one->used_ms < found->used_ms))))
			found = one;
	}
	if (found) {
		old = found->scan;
		*found = (struct walk){.busy = true};
	}
	pthread_mutex_unlock(&w->lock);
	directory_scan_free(old);
	return found;
}

static struct walk *walk_begin(struct enroll_parts *p, struct err *err)
{
	struct buf id = BUF_INIT;
	struct walk *walk = place_take(p->walks);

	if (!walk) {
		err_set(err, ERR_TEMPORARY, OP, NULL, "%d reports are being made at this moment; try again in a moment", WALKS_MOST);
		return NULL;
	}
	random_text(&id, 16);
	snprintf(walk->id, sizeof walk->id, "%s", buf_str(&id));
	buf_clear(&id);
	walk->scan = directory_scan_new(p->directory, PAGE, err);
	if (walk->scan)
		return walk;
	pthread_mutex_lock(&p->walks->lock);
	*walk = (struct walk){.busy = false};
	pthread_mutex_unlock(&p->walks->lock);
	return NULL;
}

static struct walk *walk_find(struct enroll_parts *p, const char *id, struct err *err)
{
	struct walk *found = NULL;

	pthread_mutex_lock(&p->walks->lock);
	for (size_t i = 0; i < WALKS_MOST && !found; i++)
		if (!p->walks->v[i].busy && p->walks->v[i].scan && strcmp(p->walks->v[i].id, id) == 0)
			found = &p->walks->v[i];
	if (found)
		found->busy = true;
	pthread_mutex_unlock(&p->walks->lock);
	if (!found)
		err_set(err, ERR_TEMPORARY, OP, NULL, "enrolld has given this report up, or was restarted; begin anew");
	return found;
}

/* Back into its place, or with `over` out of it. */
static void walk_give(struct enroll_parts *p, struct walk *walk, bool over)
{
	struct directory_scan *scan = over ? walk->scan : NULL;

	pthread_mutex_lock(&p->walks->lock);
	if (over)
		*walk = (struct walk){.busy = false};
	walk->busy = false;
	walk->used_ms = mono_ms();
	pthread_mutex_unlock(&p->walks->lock);
	directory_scan_free(scan);
}

/* ---- one certificate --------------------------------------------------------------------------------------------------- */

static void count(json_t *counts, const char *key, size_t n)
{
	json_object_set_new(counts, key, json_integer(json_integer_value(json_object_get(counts, key)) + (json_int_t)n));
}

static json_t *asn1_time_json(const ASN1_TIME *t)
{
	struct tm tm;
	char text[32];

	return t && ASN1_TIME_to_tm(t, &tm) == 1 ? json_string(time_text(timegm(&tm), text)) : NULL;
}

static json_t *serial_json(const X509 *x)
{
	BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
	char *hex = n ? BN_bn2hex(n) : NULL;
	json_t *o = hex ? json_stringn(hex, strnlen(hex, SERIAL_MOST)) : NULL;

	OPENSSL_free(hex);
	BN_free(n);
	return o;
}

/* Who issued it, in a word: the common name, else the organization, escaped so that it is ASCII. */
static json_t *issuer_json(const X509 *x)
{
	const X509_NAME *name = X509_get_issuer_name(x);
	int at = X509_NAME_get_index_by_NID((X509_NAME *)(uintptr_t)name, NID_commonName, -1);
	BIO *mem = BIO_new(BIO_s_mem());
	json_t *o = NULL;
	char *data;
	long len;

	if (at < 0)
		at = X509_NAME_get_index_by_NID((X509_NAME *)(uintptr_t)name, NID_organizationName, -1);
	if (mem && at >= 0 && ASN1_STRING_print_ex(mem, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)), ASN1_STRFLGS_RFC2253) > 0 &&
		(len = BIO_get_mem_data(mem, &data)) > 0)
		o = json_stringn(data, len > 200 ? 200 : (size_t)len);
	BIO_free(mem);
	return o;
}

/* A certificate of an entry, while the entry is judged. */
struct judged {
	X509 *x;
	char fingerprint[65];
	struct legacy_judgement j;
	bool ours;
};

static bool fingerprint(X509 *x, char out[65])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	struct buf hex = BUF_INIT;
	unsigned n = 0;

	if (X509_digest(x, EVP_sha256(), digest, &n))
		hex_encode(&hex, digest, n);
	snprintf(out, 65, "%s", buf_str(&hex));
	buf_clear(&hex);
	return out[0] != '\0';
}

/* One of a private profile is what the admin wants: that it names no public one is nothing against it. */
static bool is_private(struct enroll_parts *p, int64_t enrollment, bool *yes, struct err *err)
{
	const struct certificate_profile *profile;
	struct enrollment e = {0};
	bool found, ok = store_enrollment_get(p->store, enrollment, &e, &found, err);

	profile = ok && found ? config_certificate(p->config, e.profile) : NULL;
	*yes = ok && found && (profile ? profile->validation == VALIDATION_PRIVATE : strcmp(e.profile, "private") == 0);
	enrollment_clear(&e);
	return ok;
}

static bool judge(struct enroll_parts *p, struct judged *c, struct err *err)
{
	struct store_certificate stored = {0};
	bool private = false, ok;

	if (!fingerprint(c->x, c->fingerprint))
		return err_openssl(err, ERR_BUG, OP, NULL);
	if (!legacy_judge(c->x, time(NULL), &c->j, err))
		return false;
	ok = !c->j.current || store_certificate_find(p->store, c->fingerprint, &stored, &c->ours, err);
	if (ok && c->ours && (c->j.reasons & (1u << LEGACY_NO_PROFILE)))
		ok = is_private(p, stored.enrollment_id, &private, err);
	if (private)
		c->j.reasons &= ~(1u << LEGACY_NO_PROFILE);
	store_certificate_clear(&stored);
	return ok;
}

static json_t *certificate_json(const struct judged *c)
{
	json_t *o = json_object(), *reasons = json_array();

	answer_set(o, "serial", serial_json(c->x));
	answer_set(o, "issuer", issuer_json(c->x));
	answer_set(o, "not_before", asn1_time_json(X509_get0_notBefore(c->x)));
	answer_set(o, "not_after", asn1_time_json(X509_get0_notAfter(c->x)));
	answer_set(o, "fingerprint", json_string(c->fingerprint));
	answer_set(o, "ours", json_boolean(c->ours));
	for (int r = 0; r < LEGACY_REASONS; r++)
		if (c->j.reasons & (1u << r))
			json_array_append_new(reasons, json_pack("{s:s, s:s}", "reason", legacy_reason_name((enum legacy_reason)r), "text", c->j.text[r]));
	answer_set(o, "reasons", reasons);
	return o;
}

/* ---- one entry ----------------------------------------------------------------------------------------------------------- */

/* What the pages add up. */
struct page {
	struct enroll_parts *parts;
	json_t *users, *counts;
};

struct entry {
	const struct directory_scanned *from;
	struct judged *v;
	size_t n;
};

static bool known(const struct entry *e, const char *print)
{
	for (size_t i = 0; i < e->n; i++)
		if (strcmp(e->v[i].fingerprint, print) == 0)
			return true;
	return false;
}

static bool read_values(struct page *p, struct entry *e, struct err *err)
{
	size_t left_out = e->from->left_out;

	for (size_t i = 0; i < e->from->n; i++) {
		struct judged c = {.x = NULL};

		if (e->n >= JUDGED_MOST) {
			left_out++;
			continue;
		}
		c.x = legacy_read(e->from->values[i].data, e->from->values[i].len, e->from->values[i].smime);
		if (!c.x) {
			count(p->counts, "unreadable", 1);
			continue;
		}
		if (!judge(p->parts, &c, err)) {
			X509_free(c.x);
			return false;
		}
		if (known(e, c.fingerprint)) /* the same in both attributes */
			X509_free(c.x);
		else
			e->v[e->n++] = c;
	}
	if (left_out || e->from->more)
		count(p->counts, "left_out", left_out ? left_out : 1);
	return true;
}

/* The entry's addresses that the certificate is for; the entry's first one when it is for none of them. */
static json_t *addresses_of(const struct entry *e, const struct judged *c)
{
	const struct strlist *all = e->from->spellings;
	json_t *a = json_array();

	for (size_t i = 0; i < all->n; i++)
		if (certcheck_has_address(c->x, all->v[i]))
			json_array_append_new(a, json_string(all->v[i]));
	if (json_array_size(a) == 0 && all->n > 0)
		json_array_append_new(a, json_string(all->v[0]));
	return a;
}

/* Is there another CA's certificate beside it that has nothing against it, for the same use and the same addresses? */
static bool is_covered(const struct entry *e, const struct judged *c, json_t *addresses)
{
	for (size_t i = 0; i < e->n; i++) {
		const struct judged *other = &e->v[i];
		bool all = json_array_size(addresses) > 0;
		json_t *one;
		size_t k;

		if (other->ours || !other->j.current || other->j.reasons || (c->j.uses & ~other->j.uses))
			continue;
		json_array_foreach(addresses, k, one)
			all = all && certcheck_has_address(other->x, json_string_value(one));
		if (all)
			return true;
	}
	return false;
}

static json_t *bad_certificates(struct page *p, const struct entry *e)
{
	json_t *list = json_array();

	for (size_t i = 0; i < e->n; i++) {
		const struct judged *c = &e->v[i];
		json_t *o, *addresses;

		count(p->counts, c->j.expired ? "expired" : !c->j.current ? "not_begun" : c->j.reasons ? "bad" : "clean", 1);
		count(p->counts, "ours", c->ours);
		if (!c->j.current || !c->j.reasons)
			continue;
		if (json_array_size(list) >= SHOWN_MOST) {
			count(p->counts, "left_out", 1);
			continue;
		}
		o = certificate_json(c);
		addresses = addresses_of(e, c);
		answer_set(o, "covered", json_boolean(is_covered(e, c, addresses)));
		answer_set(o, "addresses", addresses);
		json_array_append_new(list, o);
	}
	return list;
}

static bool see_entry(void *arg, const struct directory_scanned *from, struct err *err)
{
	struct page *p = arg;
	struct entry e = {.from = from, .v = calloc(JUDGED_MOST, sizeof(struct judged))};
	bool ok = e.v ? read_values(p, &e, err) : err_nomem(err, OP);
	json_t *bad = ok ? bad_certificates(p, &e) : NULL;

	count(p->counts, "entries", 1);
	count(p->counts, "certificates", e.n);
	if (json_array_size(bad) > 0) {
		json_t *user = json_pack("{s:O}", "certificates", bad);

		answer_set(user, "dn", from->dn ? json_string(from->dn) : NULL);
		json_array_append_new(p->users, user);
	}
	json_decref(bad);
	for (size_t i = 0; i < e.n; i++)
		X509_free(e.v[i].x);
	free(e.v);
	return ok;
}

/* ---- pages --------------------------------------------------------------------------------------------------------------- */

static struct page page_new(struct enroll_parts *parts)
{
	return (struct page){.parts = parts, .users = json_array(), .counts = json_object()};
}

static void page_clear(struct page *p)
{
	json_decref(p->users);
	json_decref(p->counts);
}

static json_t *page_json(struct page *p)
{
	return json_pack("{s:O, s:O}", "users", p->users, "counts", p->counts);
}

static json_t *directory_page(struct enroll_parts *parts, const char *id, struct err *err)
{
	struct page p;
	struct walk *walk;
	json_t *o = NULL;
	bool more = false;

	if (!parts->directory)
		return json_pack("{s:[], s:{}, s:b}", "users", "counts", "no_directory", 1);
	walk = id ? walk_find(parts, id, err) : walk_begin(parts, err);
	if (!walk)
		return NULL;
	p = page_new(parts);
	if (directory_scan_page(walk->scan, see_entry, &p, &more, err)) {
		o = page_json(&p);
		if (more)
			answer_set(o, "walk", json_string(walk->id));
		else if (directory_scan_cut(walk->scan))
			answer_set(o, "incomplete", json_string(directory_scan_cut(walk->scan)));
	}
	walk_give(parts, walk, !o || !more);
	page_clear(&p);
	return o;
}

/* The active certificate of a row as if it stood in an entry of its addresses. */
static bool see_row(struct page *p, const struct enrollment *row, struct err *err)
{
	struct store_certificate_list l = {0};
	bool ok = store_certificates_of(p->parts->store, row->id, &l, err);

	for (size_t i = 0; i < l.n && ok; i++) {
		struct directory_value value = {l.v[i].der, l.v[i].der_len, false};
		struct directory_scanned entry = {.addresses = &row->addresses, .spellings = &row->addresses, .values = &value, .n = 1};

		if (strcmp(l.v[i].status, "active") == 0)
			ok = see_entry(p, &entry, err);
	}
	store_certificate_list_clear(&l);
	return ok;
}

static json_t *store_page(struct enroll_parts *parts, const char *after, struct err *err)
{
	struct page p = page_new(parts);
	struct enrollment_list l = {0};
	char key[ADDRESS_MAX];
	json_t *o = NULL;
	bool ok = store_enrollment_list(parts->store, -1, after, PAGE, &l, err);

	for (size_t i = 0; i < l.n && ok; i++)
		ok = see_row(&p, &l.v[i], err);
	if (ok)
		o = page_json(&p);
	if (ok && l.n >= PAGE && address_key_of(l.v[l.n - 1].addresses.v[0], key, NULL))
		answer_set(o, "after", json_string(key));
	enrollment_list_clear(&l);
	page_clear(&p);
	return o;
}

/* ---- what is to be done ---------------------------------------------------------------------------------------------------- */

struct plan {
	struct enroll_parts *parts;
	const struct control_peer *peer;
	bool enroll;
	size_t queued;
};

static void plan_set(json_t *o, const char *plan, const char *text)
{
	answer_set(o, "plan", json_string(plan));
	answer_set(o, "text", text && *text ? json_string(text) : NULL);
}

/* A row with an active certificate: that one has taken the old one's place, unless it is as bad. */
static bool plan_active(struct plan *p, const struct store_certificate *c, json_t *o, struct err *err)
{
	struct judged own = {.x = legacy_read(c->der, c->der_len, false)};
	char text[200], until[32];
	bool ok = !own.x || judge(p->parts, &own, err);

	snprintf(text, sizeof text, "our certificate %.40s, valid until %s", c->serial, time_text(c->not_after, until));
	if (ok)
		plan_set(o, own.x && own.j.reasons ? "renewal" : "replaced", text);
	X509_free(own.x);
	return ok;
}

static bool plan_row(struct plan *p, const struct enrollment *e, json_t *o, struct err *err)
{
	struct store_certificate_list l = {0};
	const struct store_certificate *active = NULL;
	char text[1200];
	bool ok = store_certificates_of(p->parts->store, e->id, &l, err);

	for (size_t i = 0; i < l.n; i++)
		if (strcmp(l.v[i].status, "active") == 0 && l.v[i].not_after > time(NULL))
			active = &l.v[i];
	snprintf(text, sizeof text, "%s%s%s", enrollment_state_name(e->state), e->why ? ": " : "", e->why ? e->why : "");
	if (ok && e->disabled)
		plan_set(o, "refused", "an admin disabled it; `enrollctl enable` undoes that");
	else if (ok && active)
		ok = plan_active(p, active, o, err);
	else if (ok)
		plan_set(o, e->state == ENROLLMENT_BLOCKED || e->state == ENROLLMENT_FAILED ? "stuck" : "under-way", text);
	store_certificate_list_clear(&l);
	return ok;
}

static bool plan_request(struct plan *p, const char *address, json_t *o, struct err *err)
{
	struct certificate_profile profile = profile_for(&p->parts->config->certificate, NULL);
	bool created = false;

	if (!store_enrollment_request(p->parts->store, address, profile.name, usage_name(profile.usage), p->peer->name, &created, NULL, err))
		return false;
	p->queued += created;
	answer_set(o, "queued", json_boolean(created));
	return true;
}

/* Nobody has asked for this address yet: what would enrolld say? */
static bool plan_new(struct plan *p, const char *address, json_t *o, struct err *err)
{
	enum eligibility answer = NOT_ELIGIBLE;
	struct verdict v = {0};
	struct err why = ERR_INIT;
	bool ok = true;

	if (!decide(p->parts, address, 0, &v, NULL, &why)) {
		plan_set(o, "unknown", why.text);
	} else if (v.covered_by) {
		plan_set(o, "under-way", "another enrollment of the same person is for this address too");
	} else if (!decide_eligible(p->parts, address, &v, false, time(NULL), &answer, &why)) {
		*err = why;
		ok = false;
	} else {
		plan_set(o, answer == NOT_ELIGIBLE ? "refused" : "enroll", answer == ELIGIBLE ? NULL : why.text);
		if (answer != NOT_ELIGIBLE && p->enroll)
			ok = plan_request(p, address, o, err);
	}
	verdict_clear(&v);
	return ok;
}

static bool is_closed(enum enrollment_state s)
{
	return s == ENROLLMENT_SUPERSEDED || s == ENROLLMENT_REVOKED || s == ENROLLMENT_EXPIRED;
}

static bool plan_address(struct plan *p, const char *text, json_t *o, struct err *err)
{
	struct address parsed;
	char address[ADDRESS_MAX];
	struct enrollment e = {0};
	struct err why = ERR_INIT;
	bool found, ok;

	if (!address_parse(&parsed, text, &why)) {
		plan_set(o, "refused", why.text);
		return true;
	}
	address_text(&parsed, address);
	ok = store_enrollment_find(p->parts->store, address, &e, &found, err);
	if (ok)
		ok = found && (!is_closed(e.state) || e.disabled) ? plan_row(p, &e, o, err) : plan_new(p, address, o, err);
	enrollment_clear(&e);
	return ok;
}

static json_t *plans(struct plan *p, json_t *addresses, struct err *err)
{
	int64_t until = mono_ms() + PLAN_MS;
	json_t *list = json_array(), *one;
	bool ok = true;
	size_t i;

	json_array_foreach(addresses, i, one) {
		const char *address = json_string_value(one);
		json_t *o = json_object();

		if (!ok || i >= ADDRESSES_MOST || (i > 0 && mono_ms() > until)) {
			json_decref(o);
			break;
		}
		answer_set(o, "address", json_string(address ? address : ""));
		ok = plan_address(p, address ? address : "", o, err);
		json_array_append_new(list, o);
	}
	if (p->queued)
		log_event(LOG_LEVEL_INFO, "control", "command", "report-legacy", "by", p->peer->name, "result", "done", "queued", LOG_NUM(p->queued), NULL);
	if (ok)
		return json_pack("{s:o}", "plans", list);
	json_decref(list);
	return NULL;
}

json_t *legacy_report(struct enroll_parts *parts, const struct control_peer *peer, json_t *arguments, struct err *err)
{
	json_t *addresses = json_object_get(arguments, "addresses");
	const char *after = json_string_value(json_object_get(arguments, "after"));
	struct plan p = {parts, peer, json_is_true(json_object_get(arguments, "enroll")), 0};

	if (p.enroll && peer->role < CONTROL_ADMIN) {
		err_set(err, ERR_POLICY, OP, peer->user, "only members of group %s (or root) may ask for the replacements", parts->config->control.admin_group);
		return NULL;
	}
	if (addresses)
		return plans(&p, addresses, err);
	return after ? store_page(parts, after, err) : directory_page(parts, json_string_value(json_object_get(arguments, "walk")), err);
}
