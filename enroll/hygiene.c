/*
 * enroll/hygiene.c - take what is ours and over out of the directory; clear what an option lets us clear, and put it back.
 */
#include "config.h"

#include "enroll/hygiene.h"

#include <stdlib.h>
#include <string.h>

#define BACKOFF_FIRST 5
#define BACKOFF_MOST 3600
#define TURN "directory-cleaning"
#define TURN_SECONDS 120    /* and what the directory may take for one certificate */
#define TURN_AGAIN 10        /* another one cleans: until it is looked whether it still does */
#define TURN_ASKS 5          /* of the directory, for that */

/* ---- taking out ---------------------------------------------------------------------------------------------------- */

struct places {
	struct enroll_parts *p;
	const struct store_certificate *c;
	char *v[3];            /* DNs looked at */
	size_t n;
	bool removed, gone;    /* anywhere; the entry where it was put */
};

static bool take_from(struct places *w, char *dn, struct err *err)
{
	enum directory_removed what;

	for (size_t i = 0; i < w->n; i++)
		if (str_eq_nocase(w->v[i], dn)) {
			free(dn);
			return true;
		}
	w->v[w->n++] = dn;
	if (!directory_remove(w->p->directory, dn, w->c->der, w->c->der_len, &what, err))
		return false;
	w->removed = w->removed || what == DIRECTORY_REMOVED;
	if (w->n == 1)
		w->gone = what == DIRECTORY_ENTRY_GONE;
	return true;
}

/* Where was it put? */
static bool take_from_noted(struct places *w, struct err *err)
{
	char *dn = w->c->in_directory ? str_dup(w->c->directory_dn) : NULL;

	return !dn || take_from(w, dn, err);
}

/* The entry that the certificate was decided for, whatever it is called now. */
static bool take_from_moved(struct places *w, const struct enrollment *e, struct err *err)
{
	char *dn = NULL;

	return directory_find_identity(w->p->directory, e->entry, &dn, err) && (!dn || take_from(w, dn, err));
}

/* The entry that has the address now. */
static bool take_from_address(struct places *w, const char *address, struct err *err)
{
	struct directory_person person = {0};
	enum directory_found found = DIRECTORY_NONE;
	bool ok = directory_find(w->p->directory, address, &person, &found, err);
	char *dn = ok && found == DIRECTORY_ONE ? str_dup(person.dn) : NULL;

	directory_person_clear(&person);
	if (ok && found == DIRECTORY_SEVERAL && w->gone && w->n == 1)
		return err_set(err, ERR_POLICY, "remove certificate from directory", w->c->directory_dn,
			"certificate %.120s was published at %.400s, which is gone, and several entries list %.200s: none of them is touched until one alone lists it",
			w->c->serial, w->c->directory_dn, address);
	return ok && (!dn || take_from(w, dn, err));
}

static void tell(const struct places *w, char text[HYGIENE_TEXT])
{
	const struct store_certificate *c = w->c;
	const char *last = w->n ? w->v[w->n - 1] : "";

	if (w->gone && w->removed)
		snprintf(text, HYGIENE_TEXT, "certificate %.120s is not in the directory any more: the entry %.500s was moved, it was taken out of %.500s", c->serial,
			w->v[0], last);
	else if (w->gone)
		snprintf(text, HYGIENE_TEXT, "certificate %.120s is not in the directory any more: the entry %.900s is gone", c->serial, w->v[0]);
	else
		snprintf(text, HYGIENE_TEXT, "certificate %.120s is not in the directory%s%.900s", c->serial, c->in_directory || w->removed ? " any more: " : "",
			c->in_directory && c->directory_dn ? c->directory_dn : w->removed ? last : "");
}

static bool no_directory(const struct store_certificate *c, char text[HYGIENE_TEXT], struct err *err)
{
	snprintf(text, HYGIENE_TEXT, "certificate %.120s was not published", c->serial);
	return !c->in_directory || err_set(err, ERR_CONFIG, "remove certificate from directory", c->directory_dn,
					   "certificate %.120s was published there, and the configuration names no directory any more", c->serial);
}

bool hygiene_take_out(struct enroll_parts *p, const struct store_certificate *c, char text[HYGIENE_TEXT], struct err *err)
{
	struct places w = {.p = p, .c = c};
	struct enrollment e = {0};
	bool found = false, ok;

	if (!p->directory)
		return no_directory(c, text, err);
	ok = store_enrollment_get(p->store, c->enrollment_id, &e, &found, err) && take_from_noted(&w, err) && (!found || take_from_moved(&w, &e, err)) &&
		(!found || !e.addresses.n || take_from_address(&w, e.addresses.v[0], err));
	if (ok)
		tell(&w, text);
	for (size_t i = 0; i < w.n; i++)
		free(w.v[i]);
	enrollment_clear(&e);
	return ok;
}

/* ---- the work list --------------------------------------------------------------------------------------------------- */

static time_t again_at(unsigned attempts)
{
	time_t wait = BACKOFF_FIRST;

	for (unsigned i = 0; i < attempts && wait < BACKOFF_MOST; i++)
		wait *= 2;
	wait = wait < BACKOFF_MOST ? wait : BACKOFF_MOST;
	return time(NULL) + wait + (time_t)random_below((uint64_t)wait / 2 + 1);
}

static void log_removal(const struct store_certificate *c, const struct err *why, const struct store_directory_result *result)
{
	char until[32];

	if (result->failure)
		log_event(LOG_LEVEL_WARNING, "unpublish_failed", "enrollment", LOG_NUM(c->enrollment_id), "addresses", c->addresses, "serial", c->serial, "class",
			err_class_name(why->class), "type", why->type[0] ? why->type : NULL, "until", time_text(result->next_at, until), "text", why->text, NULL);
	else
		log_event(LOG_LEVEL_INFO, "unpublished", "enrollment", LOG_NUM(c->enrollment_id), "addresses", c->addresses, "serial", c->serial, "text",
			result->text, NULL);
}

/* What was done outside is worth more than one try; if it cannot be noted it is done once more later, which does no harm. */
static bool commit(struct enroll_parts *p, const struct store_certificate *c, const struct store_directory_result *result, struct err *err)
{
	for (unsigned tries = 0; !store_directory_left(p->store, c, result, err);) {
		if (!store_worth_another_try(&tries, err))
			return false;
		err_clear(err);
	}
	return true;
}

/* One enrolld at a time, or each would do what the other does. */
static bool turn(struct enroll_parts *p, bool due, bool *mine, struct err *err)
{
	unsigned seconds = TURN_SECONDS + 2 * TURN_ASKS * (p->config->directory.deadline_ms / 1000);
	bool had = p->cleans;

	*mine = p->cleans = false;
	if (!due)
		return !had || store_turn_end(p->store, TURN, p->owner, 0, err);
	if (!store_turn_take(p->store, TURN, p->owner, time(NULL), seconds, 0, mine, err))
		return false;
	p->cleans = *mine;
	return true;
}

bool hygiene_step(struct enroll_parts *p, bool *did, time_t *next, struct err *err)
{
	struct store_directory_result result = {.event = "unpublished", .actor = "enrolld"};
	struct store_certificate c = {0};
	struct err why = ERR_INIT;
	char text[HYGIENE_TEXT];
	bool ok, due;

	*did = false;
	if (!store_directory_due(p->store, time(NULL), &c, &due, next, err) || !turn(p, due, did, err) || !*did) {
		store_certificate_clear(&c);
		*next = due ? time(NULL) + TURN_AGAIN : *next;
		return err->class == ERR_NONE;
	}
	result.text = text;
	if (!hygiene_take_out(p, &c, text, &why)) {
		result.failure = &why;
		result.next_at = again_at(c.directory_attempts);
		/* The same again and again is in the history once. */
		result.event = c.directory_why && strcmp(c.directory_why, why.text) == 0 ? NULL : "unpublish_failed";
		result.text = why.text;
	}
	ok = commit(p, &c, &result, err);
	if (ok)
		log_removal(&c, &why, &result);
	store_certificate_clear(&c);
	return ok;
}

/* ---- userSMIMECertificate of others -------------------------------------------------------------------------------------- */

const char *hygiene_smime_attribute(const struct enroll_parts *p)
{
	return p->config->directory.smime_attribute ? p->config->directory.smime_attribute : "userSMIMECertificate";
}

static bool ours_with(struct enroll_parts *p, X509 *x, struct store_certificate *c, bool *found, struct err *err)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	struct buf hex = BUF_INIT;
	bool ok;

	if (!X509_digest(x, EVP_sha256(), md, &n))
		return err_openssl(err, ERR_BUG, "look at directory", NULL);
	hex_encode(&hex, md, n);
	ok = store_certificate_find(p->store, buf_str(&hex), c, found, err);
	buf_clear(&hex);
	return ok;
}

bool hygiene_smime_foreign(struct enroll_parts *p, const void *value, size_t len, bool *foreign, struct err *err)
{
	X509 *x = legacy_read(value, len, true);
	struct store_certificate c = {0};
	struct buf own = BUF_INIT;
	bool found = false, ok = true;

	*foreign = true;
	if (x)
		ok = ours_with(p, x, &c, &found, err);
	/* A user's own mail program may have put our certificate there in a form of its own. */
	if (ok && found && c.status && strcmp(c.status, "active") == 0)
		*foreign = false;
	else if (ok && found && (ok = directory_smime_value(&own, c.der, c.der_len, err)))
		*foreign = own.len != len || memcmp(own.data, value, len) != 0;
	buf_clear(&own);
	store_certificate_clear(&c);
	X509_free(x);
	return ok;
}

/* First into the store, then out of the directory. */
static bool clear_one(struct enroll_parts *p, const struct store_saved *s, struct err *err)
{
	if (!store_saved_add(p->store, s, err) || !directory_value_set(p->directory, s->dn, s->attribute, s->value, s->value_len, false, err))
		return false;
	log_event(LOG_LEVEL_WARNING, "directory_cleared", "enrollment", LOG_NUM(s->enrollment_id), "address", s->address, "dn", s->dn, "attribute", s->attribute,
		"octets", LOG_NUM(s->value_len), "text", "a value that is not ours was taken away, as directory.clear-foreign-smime says; it is in the store", NULL);
	return true;
}

bool hygiene_clear_foreign(struct enroll_parts *p, int64_t enrollment_id, const char *address, const char *dn, size_t *n, struct err *err)
{
	struct store_saved s = {.enrollment_id = enrollment_id, .dn = (char *)(uintptr_t)dn, .attribute = (char *)(uintptr_t)hygiene_smime_attribute(p)};
	struct directory_values l = {0};
	char key[ADDRESS_MAX];
	bool ok, gone, foreign;

	*n = 0;
	if (!p->config->directory.clear_foreign_smime)
		return true;
	s.address = key;
	ok = address_key_of(address, key, err) && directory_read_values(p->directory, dn, s.attribute, &l, &gone, err);
	for (size_t i = 0; ok && i < l.n; i++) {
		s.value = l.v[i].data;
		s.value_len = l.v[i].len;
		ok = hygiene_smime_foreign(p, s.value, s.value_len, &foreign, err) && (!foreign || clear_one(p, &s, err));
		*n += ok && foreign;
	}
	directory_values_clear(&l);
	return ok;
}

/* Where its entry is now: by what stays when it is moved, else by the address. */
static bool place_of(struct enroll_parts *p, const struct store_saved *s, char **dn, struct err *err)
{
	struct directory_person person = {0};
	enum directory_found found = DIRECTORY_NONE;
	struct enrollment e = {0};
	bool there = false, ok = store_enrollment_get(p->store, s->enrollment_id, &e, &there, err) && directory_find_identity(p->directory, e.entry, dn, err);

	if (ok && !*dn && (ok = directory_find(p->directory, s->address, &person, &found, err)) && found == DIRECTORY_ONE)
		*dn = str_dup(person.dn);
	if (ok && !*dn)
		ok = err_set(err, ERR_POLICY, "restore directory value", s->address, "the entry %.500s is gone, and %s entry lists this address: nothing is put back",
			s->dn, found == DIRECTORY_SEVERAL ? "more than one" : "no");
	directory_person_clear(&person);
	enrollment_clear(&e);
	return ok;
}

bool hygiene_restore(struct enroll_parts *p, const struct store_saved *s, const char *actor, char text[HYGIENE_TEXT], struct err *err)
{
	struct directory_values l = {0};
	char *dn = NULL;
	bool gone = false, ok;

	if (!p->directory)
		return err_set(err, ERR_CONFIG, "restore directory value", s->address, "the configuration names no directory");
	ok = directory_read_values(p->directory, s->dn, s->attribute, &l, &gone, err) && (!gone || place_of(p, s, &dn, err)) &&
		directory_value_set(p->directory, dn ? dn : s->dn, s->attribute, s->value, s->value_len, true, err);
	if (ok) {
		snprintf(text, HYGIENE_TEXT, "a value of %.200s (%zu octets) is back at %.900s", s->attribute, s->value_len, dn ? dn : s->dn);
		ok = store_saved_restored(p->store, s, actor, text, err);
	}
	if (ok)
		log_event(LOG_LEVEL_INFO, "directory_restored", "enrollment", LOG_NUM(s->enrollment_id), "address", s->address, "dn", dn ? dn : s->dn, "attribute",
			s->attribute, "by", actor, NULL);
	directory_values_clear(&l);
	free(dn);
	return ok;
}
