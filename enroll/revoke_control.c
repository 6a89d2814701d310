/*
 * enroll/revoke_control.c - what enrollctl rotate and revoke ask for, and what show tells of revocations.
 */
#include "config.h"

#include "enroll/answer.h"
#include "enroll/control.h"
#include "enroll/people.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROTATE_TRIES 20
#define ROTATE_WAIT_US 50000

static const char *text_of(json_t *arguments, const char *name)
{
	return json_string_value(json_object_get(arguments, name));
}

static bool find(struct enroll_parts *p, const char *address, struct enrollment *e, struct err *err)
{
	struct address parsed;
	bool found;

	if (!address_parse(&parsed, address, err) || !store_enrollment_find(p->store, address, e, &found, err))
		return false;
	return found || err_set(err, ERR_POLICY, "find enrollment", address, "no enrollment for this address");
}

/* ---- rotate ------------------------------------------------------------------------------------------------------------ */

/* A worker looks at an active row now and then, for a moment. */
static bool renew(struct enroll_parts *p, int64_t id, const char *actor, const char *reason, bool *changed, struct err *err)
{
	struct enrollment e = {0};
	bool found = true, ok = true, held = true;

	*changed = false;
	for (int i = 0; ok && held && !*changed && i < ROTATE_TRIES; i++) {
		if (i > 0)
			usleep(ROTATE_WAIT_US);
		enrollment_clear(&e);
		ok = store_enrollment_admin(p->store, id, ENROLLMENT_ADMIN_RENEW, actor, reason ? reason : "rotate", changed, err) &&
			store_enrollment_get(p->store, id, &e, &found, err);
		held = ok && found && e.state == ENROLLMENT_ACTIVE && e.lease_owner;
	}
	enrollment_clear(&e);
	return ok;
}

/* The certificate for encryption beside it, too.  A row that is not active is on its way to another certificate already. */
static bool rotate_any(struct enroll_parts *p, const struct control_peer *peer, const struct enrollment *e, json_t *arguments, bool *changed, struct err *err)
{
	bool dry_run = json_is_true(json_object_get(arguments, "dry_run")), there = false, also = false, ok;
	const char *reason = text_of(arguments, "reason");
	struct enrollment beside = {0};

	ok = store_enrollment_companion(p->store, e->id, &beside, &there, err);
	if (ok && dry_run) {
		*changed = e->state == ENROLLMENT_ACTIVE;
		also = there && beside.state == ENROLLMENT_ACTIVE;
	} else if (ok) {
		ok = renew(p, e->id, peer->name, reason, changed, err) && (!there || renew(p, beside.id, peer->name, reason, &also, err));
	}
	*changed = *changed || also;
	enrollment_clear(&beside);
	return ok;
}

json_t *rotate_run(struct enroll_parts *p, const struct control_peer *peer, json_t *arguments, struct err *err)
{
	const char *address = text_of(arguments, "address");
	struct enrollment e = {0};
	bool changed = false;
	json_t *o = NULL;

	if (!address)
		err_set(err, ERR_CONFIG, "rotate", NULL, "an address is needed");
	if (!address || !find(p, address, &e, err))
		goto out;
	if (e.state == ENROLLMENT_REVOKING || e.disabled) {
		err_set(err, ERR_POLICY, "rotate", address, "its enrollment is %s: `enrollctl enable %s`, then `enrollctl enroll %s`",
			e.disabled ? "disabled" : enrollment_state_name(e.state), address, address);
		goto out;
	}
	if (e.gone_since) {
		err_set(err, ERR_POLICY, "rotate", address, "this person left, as far as the directory knows (%s): %s, then try again",
			e.gone_why ? e.gone_why : "gone", people_looks(p) ? "put their entry right" : "if they are here, `enrollctl enable`");
		goto out;
	}
	if (rotate_any(p, peer, &e, arguments, &changed, err))
		o = json_pack("{s:s, s:b, s:s, s:b}", "address", e.addresses.n ? e.addresses.v[0] : "", "changed", changed, "state_before",
			enrollment_state_name(e.state), "dry_run", json_is_true(json_object_get(arguments, "dry_run")));
out:
	enrollment_clear(&e);
	return o;
}

/* ---- revoke ------------------------------------------------------------------------------------------------------------ */

/* As the store has serial numbers: hex in capitals, without colons and leading zero octets. */
bool serial_plain(const char *text, char out[SERIAL_DIGITS + 2], struct err *err)
{
	size_t n = 0;

	out[n] = '\0';
	for (const char *p = text; *p; p++) {
		if (*p == ':' || *p == ' ')
			continue;
		if (!isxdigit((unsigned char)*p) || n >= SERIAL_DIGITS)
			return err_set(err, ERR_CONFIG, "revoke", text, "this is no address, and no serial number or fingerprint in hex");
		out[n++] = (char)toupper((unsigned char)*p);
		out[n] = '\0';
	}
	if (n % 2 == 1) {
		memmove(out + 1, out, n + 1);
		out[0] = '0';
		n++;
	}
	while (n > 2 && n < 64 && strncmp(out, "00", 2) == 0) {
		memmove(out, out + 2, n - 1);
		n -= 2;
	}
	return n > 0 || err_set(err, ERR_CONFIG, "revoke", text, "an address or a serial number is needed");
}

static bool certificates_meant(struct enroll_parts *p, const char *what, char about[SERIAL_DIGITS + 2], struct store_certificate_list *out, struct err *err)
{
	struct enrollment e = {0};
	bool ok;

	if (strchr(what, '@')) {
		ok = find(p, what, &e, err);
		snprintf(about, SERIAL_DIGITS + 2, "#%lld", (long long)e.id);
		enrollment_clear(&e);
	} else {
		ok = serial_plain(what, about, err);
	}
	if (!ok || !store_revocable(p->store, about, out, err))
		return false;
	if (out->n > 0 && (about[0] == '#' || out->n == 1))
		return true;
	if (out->n > 1)
		err_set(err, ERR_POLICY, "revoke", what, "%zu certificates of several issuers have this serial number: name the one by its SHA-256 fingerprint", out->n);
	else
		err_set(err, ERR_POLICY, "revoke", what,
			"there is no certificate of ours that is valid and not revoked yet; `enrollctl disable` stops enrolling for an address");
	store_certificate_list_clear(out);
	return false;
}

/* A compromised or superseded key is replaced: the user stays.  For the other reasons somebody or something is gone. */
static bool replaces(const char *reason, json_t *said)
{
	bool by_reason = strcmp(reason, "keyCompromise") == 0 || strcmp(reason, "superseded") == 0;

	return by_reason && !json_is_false(said);
}

static json_t *answer(const struct store_certificate_list *l, const char *reason, bool replace, bool dry_run, size_t n)
{
	json_t *a = json_array();
	char until[32];

	for (size_t i = 0; i < l->n; i++) {
		const struct store_certificate *c = &l->v[i];

		json_array_append_new(a, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "serial", c->serial ? c->serial : "", "fingerprint", c->fingerprint ?
			c->fingerprint : "", "addresses", c->addresses ? c->addresses : "", "status", c->status ? c->status : "", "not_after", time_text(c->not_after, until), "directory_dn", c->in_directory && c->directory_dn ?
			c->directory_dn : "", "signs", c->status && strcmp(c->status, "active") == 0));
	}
	return json_pack("{s:o, s:s, s:b, s:b, s:I}", "certificates", a, "reason", reason, "replacement", replace, "dry_run", dry_run, "revoked", (json_int_t)n);
}

/* Which ones the caller was shown; not said: true, and nothing is in the list. */
static bool read_shown(json_t *list, struct strlist *out, struct err *err)
{
	json_t *one;
	size_t i;

	json_array_foreach(list, i, one)
		if (json_string_value(one) && !strlist_add(out, json_string_value(one)))
			return err_nomem(err, "revoke");
	return true;
}

static bool revoke_shown(struct enroll_parts *p, struct store_revoke *order, json_t *list, size_t *n, struct err *err)
{
	struct strlist shown = {0};
	bool ok = read_shown(list, &shown, err);

	order->shown = json_is_array(list) ? &shown : NULL;
	ok = ok && store_revoke(p->store, order, n, err);
	strlist_clear(&shown);
	return ok;
}

json_t *revoke_run(struct enroll_parts *p, const struct control_peer *peer, json_t *arguments, struct err *err)
{
	const char *what = text_of(arguments, "what"), *reason = text_of(arguments, "reason");
	bool dry_run = json_is_true(json_object_get(arguments, "dry_run"));
	char about[SERIAL_DIGITS + 2];
	struct store_revoke order = {.about = about, .reason = reason, .actor = peer->name, .text = text_of(arguments, "text")};
	struct store_certificate_list l = {0};
	json_t *o = NULL;
	size_t n = 0;

	if (!what || !reason || !store_revocation_reason(reason)) {
		err_set(err, ERR_CONFIG, "revoke", what ? what : "",
			"a reason is needed: keyCompromise, affiliationChanged, superseded, cessationOfOperation or privilegeWithdrawn");
		return NULL;
	}
	if (!certificates_meant(p, what, about, &l, err))
		return NULL;
	order.publish_seconds = p->config->directory.deadline_ms / 1000 + 5;
	order.replace = replaces(reason, json_object_get(arguments, "replace"));
	if (dry_run || revoke_shown(p, &order, json_object_get(arguments, "shown"), &n, err))
		o = answer(&l, reason, order.replace, dry_run, n);
	store_certificate_list_clear(&l);
	return o;
}

/* ---- show -------------------------------------------------------------------------------------------------------------- */

static json_t *revocation_part_json(const struct store_revocation_part *p)
{
	json_t *o = json_object();
	bool stands = p->why_class == ERR_CONFIG || p->why_class == ERR_CA || p->why_class == ERR_POLICY;

	answer_set(o, "state", json_string(p->done_at ? "done" : !p->why ? "pending" : stands ? "blocked" : "waiting"));
	answer_set(o, "done_at", answer_time(p->done_at));
	answer_set(o, "next_at", answer_time(p->next_at));
	answer_set(o, "attempts", p->attempts ? json_integer((json_int_t)p->attempts) : NULL);
	answer_set(o, "why", answer_text(p->why));
	answer_set(o, "why_type", answer_text(p->why_type));
	return o;
}

bool revocations_show(struct store *store, int64_t id, json_t *o, struct err *err)
{
	struct store_revocation_list l = {0};
	json_t *a;

	if (!store_revocations_of(store, id, &l, err))
		return false;
	a = json_array();
	for (size_t i = 0; i < l.n; i++) {
		json_t *r = json_object();

		answer_set(r, "serial", answer_text(l.v[i].certificate.serial));
		answer_set(r, "reason", answer_text(l.v[i].reason));
		answer_set(r, "requested_by", answer_text(l.v[i].requested_by));
		answer_set(r, "requested_at", answer_time(l.v[i].requested_at));
		answer_set(r, "done_at", answer_time(l.v[i].done_at));
		for (int k = 0; k < REVOCATION_PARTS; k++)
			answer_set(r, revocation_part_name((enum revocation_part)k), revocation_part_json(&l.v[i].parts[k]));
		json_array_append_new(a, r);
	}
	answer_set(o, "revocations", a);
	store_revocation_list_clear(&l);
	return true;
}
