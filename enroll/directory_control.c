/*
 * enroll/directory_control.c - what enrollctl directory asks for: check, reconcile, restore.
 *
 * Reconciling goes through the enrollments address by address, some seconds a call: what has to be in the directory is put there, what is ours and has
 * no business there is taken out, what is not ours is counted and left alone.
 */
#include "config.h"

#include "enroll/answer.h"
#include "enroll/control.h"
#include "enroll/decide.h"
#include "enroll/hygiene.h"

#include <stdlib.h>
#include <string.h>

#define PAGE 50
#define BUDGET_MS 4000

/* ---- check ---------------------------------------------------------------------------------------------------------- */

/* The lines of directory_check: "ok: what", "error: what". */
static void add_lines(json_t *checks, char *report)
{
	char *rest = NULL;

	for (char *line = strtok_r(report, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *colon = strstr(line, ": ");

		if (colon)
			*colon = '\0';
		check_add(checks, "connection", colon && (strcmp(line, "ok") == 0 || strcmp(line, "warning") == 0) ? line : "fault", "%s", colon ? colon + 2 : line);
	}
}

static void add_check(void *arg, const char *check, const char *verdict, const char *text)
{
	check_add(arg, check, strcmp(verdict, "error") == 0 ? "fault" : verdict, "%s", text);
}

json_t *directory_check_run(struct enroll_parts *p, json_t *arguments, struct err *err)
{
	json_t *checks, *password = json_object_get(arguments, "user_password");
	struct directory_probe probe = {.user_dn = json_string_value(json_object_get(arguments, "user_dn")), .user_password = json_string_value(password),
		.say = add_check};
	struct err local = ERR_INIT;
	struct buf report = BUF_INIT;
	bool reached;

	if (!p->directory) {
		err_set(err, ERR_CONFIG, "check directory", NULL, "the configuration names no directory");
		return NULL;
	}
	if (!probe.user_dn != !probe.user_password || (probe.user_dn && !directory_dn_valid(probe.user_dn))) {
		err_set(err, ERR_CONFIG, "check directory", probe.user_dn, "a user's bind needs a DN and a password: --user-dn and --user-password-file");
		return NULL;
	}
	checks = json_array();
	probe.arg = checks;
	reached = directory_check(p->directory, &report, &local);
	add_lines(checks, report.data ? report.data : (char[]){""});
	if (reached && !directory_probe(p->directory, &probe, &local))
		check_add(checks, "connection", "fault", "%s", local.text);
	if (!reached && json_array_size(checks) == 0)
		check_add(checks, "connection", "fault", "%s", local.text);
	if (reached && !probe.user_dn)
		check_add(checks, "ownership", "warning", "not tried: with --user-dn and --user-password-file it is tried whether a user can write their own addresses");
	if (password)
		explicit_bzero((char *)(uintptr_t)json_string_value(password), json_string_length(password));
	buf_clear(&report);
	return json_pack("{s:o}", "checks", checks);
}

/* ---- reconcile ------------------------------------------------------------------------------------------------------ */

struct reconcile {
	struct enroll_parts *p;
	const struct control_peer *peer;
	bool dry_run;
	json_t *actions, *counts;
	/* the address at hand */
	char *address;
	const struct enrollment *rows;
	size_t n_rows;
	char *dn;
	struct directory_values values, smime;
	bool *known, *known_smime;   /* one a value: ours */
	bool missing;                /* what has to be there is not */
};

static void count(struct reconcile *r, const char *name)
{
	json_object_set_new(r->counts, name, json_integer(json_integer_value(json_object_get(r->counts, name)) + 1));
}

static void act(struct reconcile *r, const struct store_certificate *c, const char *action, const char *text)
{
	json_t *o = json_object();

	count(r, action);
	answer_set(o, "address", json_string(r->address));
	answer_set(o, "action", json_string(action));
	answer_set(o, "serial", c ? answer_text(c->serial) : NULL);
	answer_set(o, "status", c ? answer_text(c->status) : NULL);
	answer_set(o, "dn", answer_text(r->dn));
	answer_set(o, "text", answer_text(text));
	json_array_append_new(r->actions, o);
}

static bool failed(struct reconcile *r, const struct store_certificate *c, struct err *why, struct err *err)
{
	/* One entry's trouble is no other one's; without the directory there is nothing to go on with. */
	if (why->class == ERR_TEMPORARY) {
		*err = *why;
		return false;
	}
	act(r, c, "failed", why->text);
	err_clear(why);
	return true;
}

static bool among(const struct directory_values *l, bool *known, const void *data, size_t len)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->v[i].len == len && memcmp(l->v[i].data, data, len) == 0)
			return known[i] = true;
	return false;
}

/* Is it at the entry, as a certificate and as the CMS of it?  *some: as one of them. */
static bool is_there(struct reconcile *r, const struct store_certificate *c, bool *all, bool *some, struct err *err)
{
	struct buf own = BUF_INIT;
	bool one = among(&r->values, r->known, c->der, c->der_len), two = one, ok = true;

	if (r->p->config->directory.smime_attribute) {
		ok = directory_smime_value(&own, c->der, c->der_len, err);
		two = ok && among(&r->smime, r->known_smime, own.data, own.len);
	}
	buf_clear(&own);
	*all = one && two;
	*some = one || two;
	return ok;
}

static bool wanted(const struct reconcile *r, const struct enrollment *e, const struct store_certificate *c)
{
	struct decision d;

	rules_follow(r->p->config, config_rule(r->p->config, e->rule), &d);
	return c->status && strcmp(c->status, "active") == 0 && c->not_after > time(NULL) && strcmp(d.publish, "none") != 0;
}

static bool put_there(struct reconcile *r, const struct store_certificate *c, struct err *err)
{
	struct err why = ERR_INIT;
	char *dn = NULL, text[HYGIENE_TEXT];
	bool ok;

	if (r->dry_run) {
		act(r, c, "publish", "is not there");
		return true;
	}
	ok = directory_publish(r->p->directory, r->address, c->der, c->der_len, &dn, &why);
	if (ok)
		snprintf(text, sizeof text, "certificate %.120s was not in the directory, and is now: %.900s", c->serial, dn);
	ok = ok && store_directory_found(r->p->store, c, dn, r->peer->name, text, &why);
	free(dn);
	if (ok)
		act(r, c, "published", text);
	else
		r->missing = true;
	return ok || failed(r, c, &why, err);
}

static bool keep_active(struct reconcile *r, const struct store_certificate *c, struct err *err)
{
	char text[HYGIENE_TEXT];
	bool all, some;

	if (!is_there(r, c, &all, &some, err))
		return false;
	if (!all)
		return put_there(r, c, err);
	if (c->in_directory && c->directory_dn && str_eq_nocase(c->directory_dn, r->dn)) {
		count(r, "present");
		return true;
	}
	snprintf(text, sizeof text, "certificate %.120s is in the directory at %.900s", c->serial, r->dn);
	if (!r->dry_run && !store_directory_found(r->p->store, c, r->dn, r->peer->name, text, err))
		return false;
	act(r, c, r->dry_run ? "note" : "noted", text);
	return true;
}

/* Ours and over; a superseded one stays as long as its successor is not there. */
static bool drop_old(struct reconcile *r, const struct store_certificate *c, struct err *err)
{
	bool superseded = strcmp(c->status, "superseded") == 0 && c->not_after > time(NULL), all, some;
	struct store_directory_result left = {.event = "unpublished", .actor = r->peer->name};
	enum directory_removed what;
	struct err why = ERR_INIT;
	char text[HYGIENE_TEXT];

	if (!is_there(r, c, &all, &some, err))
		return false;
	if (!some)
		return true;
	if (superseded && r->missing) {
		act(r, c, "kept", "the one that took its place is not in the directory");
		return true;
	}
	if (r->dry_run) {
		act(r, c, "remove", "is over");
		return true;
	}
	snprintf(text, sizeof text, "certificate %.120s (%.20s) is not in the directory any more: %.900s", c->serial, c->status, r->dn);
	left.text = text;
	if (!directory_remove(r->p->directory, r->dn, c->der, c->der_len, &what, &why))
		return failed(r, c, &why, err);
	if (c->in_directory && c->directory_dn && str_eq_nocase(c->directory_dn, r->dn) && !store_directory_left(r->p->store, c, &left, err))
		return false;
	act(r, c, "removed", text);
	return true;
}

static bool is_over(const struct store_certificate *c)
{
	static const char *const over[] = {"superseded", "expired", "revoked", "revoking"};

	for (size_t i = 0; c->status && i < sizeof over / sizeof *over; i++)
		if (strcmp(c->status, over[i]) == 0)
			return true;
	return c->status && strcmp(c->status, "active") == 0 && c->not_after <= time(NULL);
}

/* What was on its way when its row was given up. */
static bool is_closed(const struct enrollment *e)
{
	return e->state == ENROLLMENT_SUPERSEDED || e->state == ENROLLMENT_REVOKED || e->state == ENROLLMENT_EXPIRED;
}

/* All certificates of the rows: first those that have to be there, then (`old`) those that must not. */
static bool each_certificate(struct reconcile *r, bool old, struct err *err)
{
	struct store_certificate_list l;
	bool ok = true;

	for (size_t i = 0; ok && i < r->n_rows; i++) {
		l = (struct store_certificate_list){0};
		ok = store_certificates_of(r->p->store, r->rows[i].id, &l, err);
		for (size_t k = 0; ok && k < l.n; k++) {
			const struct store_certificate *c = &l.v[k];
			bool all, some;

			if (wanted(r, &r->rows[i], c))
				ok = old || keep_active(r, c, err);
			else if (is_over(c) || is_closed(&r->rows[i]))
				ok = !old || drop_old(r, c, err);
			else
				ok = is_there(r, c, &all, &some, err); /* on its way, or not to be published: ours */
		}
		store_certificate_list_clear(&l);
	}
	return ok;
}

/* What is left belongs to others, or to another address. */
static bool look_at_others(struct reconcile *r, struct err *err)
{
	struct store_certificate c;
	struct buf hex = BUF_INIT;
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n;
	bool found, ok = true;

	for (size_t i = 0; ok && i < r->values.n; i++) {
		if (r->known[i])
			continue;
		buf_reset(&hex);
		if (!EVP_Digest(r->values.v[i].data, r->values.v[i].len, md, &n, EVP_sha256(), NULL)) {
			ok = err_openssl(err, ERR_BUG, "reconcile directory", NULL);
			break;
		}
		hex_encode(&hex, md, n);
		memset(&c, 0, sizeof c);
		ok = store_certificate_find(r->p->store, buf_str(&hex), &c, &found, err);
		if (ok && !found)
			act(r, NULL, "foreign", "a certificate that is not ours: left alone");
		else if (ok && is_over(&c))
			ok = drop_old(r, &c, err);
		else if (ok)
			act(r, &c, "elsewhere", "a certificate of ours for another address: left alone");
		store_certificate_clear(&c);
	}
	buf_clear(&hex);
	for (size_t i = 0; ok && i < r->smime.n; i++)
		if (!r->known_smime[i])
			act(r, NULL, "foreign", "a value of userSMIMECertificate that is not ours: left alone");
	return ok;
}

static bool clear_foreign(struct reconcile *r, struct err *err)
{
	struct err why = ERR_INIT;
	size_t n = 0;
	bool signs = false;

	for (size_t i = 0; i < r->n_rows; i++)
		signs = signs || r->rows[i].state == ENROLLMENT_ACTIVE || r->rows[i].state == ENROLLMENT_RENEWING;
	if (r->dry_run || r->missing || !signs)
		return true;
	if (!hygiene_clear_foreign(r->p, r->rows[0].id, r->address, r->dn, &n, &why))
		return failed(r, NULL, &why, err);
	if (n > 0)
		act(r, NULL, "cleared", "values of userSMIMECertificate that were not ours: kept in the store");
	return true;
}

static bool read_entry(struct reconcile *r, struct err *err)
{
	const struct directory_settings *s = &r->p->config->directory;
	bool gone, ok = directory_read_values(r->p->directory, r->dn, s->certificate_attribute, &r->values, &gone, err) &&
		(!s->smime_attribute || directory_read_values(r->p->directory, r->dn, s->smime_attribute, &r->smime, &gone, err));

	if (!ok)
		return false;
	r->known = calloc(r->values.n + 1, sizeof *r->known);
	r->known_smime = calloc(r->smime.n + 1, sizeof *r->known_smime);
	return (r->known && r->known_smime) || err_nomem(err, "reconcile directory");
}

static bool anything(struct reconcile *r, bool *some, struct err *err)
{
	struct store_certificate_list l;
	bool ok = true;

	*some = false;
	for (size_t i = 0; ok && i < r->n_rows; i++) {
		l = (struct store_certificate_list){0};
		ok = store_certificates_of(r->p->store, r->rows[i].id, &l, err);
		*some = *some || l.n > 0;
		store_certificate_list_clear(&l);
	}
	return ok;
}

static bool one_address(struct reconcile *r, struct err *err)
{
	struct directory_person person = {0};
	enum directory_found found = DIRECTORY_NONE;
	struct err why = ERR_INIT;
	bool some, ok = anything(r, &some, err);

	if (!ok || !some)
		return ok;
	r->missing = false;
	count(r, "addresses");
	if (!directory_find(r->p->directory, r->address, &person, &found, &why)) {
		ok = failed(r, NULL, &why, err);
	} else if (found != DIRECTORY_ONE) {
		act(r, NULL, found == DIRECTORY_NONE ? "no-entry" : "several-entries", found == DIRECTORY_NONE ? "no entry of the directory lists this address"
			: "several entries of the directory list this address; none is touched");
	} else {
		r->dn = str_dup(person.dn);
		ok = r->dn ? read_entry(r, &why) || failed(r, NULL, &why, err) : err_nomem(err, "reconcile directory");
		if (ok && r->known)
			ok = each_certificate(r, false, err) && each_certificate(r, true, err) && look_at_others(r, err) && clear_foreign(r, err);
	}
	directory_person_clear(&person);
	directory_values_clear(&r->values);
	directory_values_clear(&r->smime);
	free(r->known);
	free(r->known_smime);
	free(r->dn);
	r->known = r->known_smime = NULL;
	r->dn = NULL;
	return ok;
}

/* Rows of one address stand together. */
static size_t same_address(const struct enrollment_list *l, size_t from, char key[ADDRESS_MAX])
{
	char other[ADDRESS_MAX];
	size_t n = 1;

	key[0] = '\0';
	if (!l->v[from].addresses.n || !address_key_of(l->v[from].addresses.v[0], key, NULL))
		return n;
	while (from + n < l->n && l->v[from + n].addresses.n && address_key_of(l->v[from + n].addresses.v[0], other, NULL) && strcmp(key, other) == 0)
		n++;
	return n;
}

static bool one_page(struct reconcile *r, const char *after, char last[ADDRESS_MAX], bool *more, struct err *err)
{
	struct enrollment_list l = {0};
	int64_t until = mono_ms() + BUDGET_MS;
	size_t i = 0;
	bool ok = store_enrollment_list(r->p->store, -1, after, PAGE, &l, err);

	while (ok && i < l.n && mono_ms() < until) {
		r->rows = &l.v[i];
		r->n_rows = same_address(&l, i, last);
		r->address = l.v[i].addresses.n ? l.v[i].addresses.v[0] : (char[]){""};
		ok = one_address(r, err);
		i += r->n_rows;
	}
	*more = ok && last[0] && (i < l.n || l.n >= PAGE);
	enrollment_list_clear(&l);
	return ok;
}

json_t *directory_reconcile_run(struct enroll_parts *p, const struct control_peer *peer, json_t *arguments, struct err *err)
{
	const char *after = json_string_value(json_object_get(arguments, "after"));
	struct reconcile r = {.p = p, .peer = peer, .dry_run = json_is_true(json_object_get(arguments, "dry_run"))};
	char last[ADDRESS_MAX] = "";
	bool more = false, ok;
	json_t *o;

	if (!p->directory) {
		err_set(err, ERR_CONFIG, "reconcile directory", NULL, "the configuration names no directory");
		return NULL;
	}
	r.actions = json_array();
	r.counts = json_object();
	ok = one_page(&r, after && *after ? after : NULL, last, &more, err);
	o = ok ? json_pack("{s:O, s:O, s:b}", "actions", r.actions, "counts", r.counts, "dry_run", r.dry_run) : NULL;
	if (o && more)
		answer_set(o, "after", json_string(last));
	json_decref(r.actions);
	json_decref(r.counts);
	return o;
}

/* ---- restore -------------------------------------------------------------------------------------------------------- */

static json_t *restore_one(struct enroll_parts *p, const struct control_peer *peer, const struct store_saved *s, bool dry_run)
{
	struct err err = ERR_INIT;
	char text[HYGIENE_TEXT];
	json_t *o = json_object();
	bool ok = dry_run || hygiene_restore(p, s, peer->name, text, &err);

	if (dry_run)
		snprintf(text, sizeof text, "%zu octets of %.200s from %.900s", s->value_len, s->attribute, s->dn);
	answer_set(o, "address", json_string(s->address));
	answer_set(o, "action", json_string(dry_run ? "restore" : ok ? "restored" : "failed"));
	answer_set(o, "dn", json_string(s->dn));
	answer_set(o, "attribute", json_string(s->attribute));
	answer_set(o, "taken_at", answer_time(s->at));
	answer_set(o, "text", json_string(ok ? text : err.text));
	return o;
}

json_t *directory_restore_run(struct enroll_parts *p, const struct control_peer *peer, json_t *arguments, struct err *err)
{
	const char *address = json_string_value(json_object_get(arguments, "address"));
	bool dry_run = json_is_true(json_object_get(arguments, "dry_run"));
	int64_t after = json_integer_value(json_object_get(arguments, "after")), until = mono_ms() + BUDGET_MS;
	struct store_saved_list l = {0};
	size_t i = 0;
	json_t *o, *actions;

	if (!address && !json_is_true(json_object_get(arguments, "all"))) {
		err_set(err, ERR_CONFIG, "restore directory values", NULL, "an address, or --all");
		return NULL;
	}
	if (!store_saved_list(p->store, address, after, PAGE, &l, err))
		return NULL;
	actions = json_array();
	for (; i < l.n && mono_ms() < until; i++) {
		json_array_append_new(actions, restore_one(p, peer, &l.v[i], dry_run));
		after = l.v[i].id;
	}
	o = json_pack("{s:o, s:b}", "actions", actions, "dry_run", dry_run);
	if (i < l.n || l.n == PAGE)
		answer_set(o, "after", json_integer(after));
	if (p->config->directory.clear_foreign_smime)
		answer_set(o, "warning", json_string("directory.clear-foreign-smime is set: the next certificate that is published takes such values away again"));
	store_saved_list_clear(&l);
	return o;
}
