/*
 * ldap/find.c - who is this, and does this login own this address?
 *
 * Ownership.  A login owns an address when its entry, and no other, lists it as its own; or when the one entry that lists it (a
 * shared mailbox) names the login or its DN in one of the shared attributes.  An address that two entries list is owned by nobody,
 * whatever the rest says.  The filters only narrow down what the server sends: what counts is compared here, by address keys
 * (domains as A-labels, local parts ignoring case).
 *
 * Names from outside reach filters only escaped (RFC 4515).  Directories ignore blanks around and doubled within a value, so a login
 * with such blanks would match somebody else's entry: it is nobody's.
 */
#include "config.h"

#include "ldap/internal.h"

#include <idn2.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES_MAX 20

static const char why_owned[] = "owned";
static const char why_unknown[] = "unknown login";
static const char why_not_listed[] = "address is not listed for this login";
static const char why_ambiguous[] = "login is ambiguous";
static const char why_several[] = "address is listed by several entries";
static const char why_disabled[] = "disabled";

void directory_person_clear(struct directory_person *p)
{
	free(p->dn);
	free(p->identity);
	free(p->login);
	strlist_clear(&p->addresses);
	strlist_clear(&p->spellings);
	for (size_t i = 0; i < directory_names_n; i++)
		free(*DIRECTORY_TEXT(p, directory_names[i].person));
	memset(p, 0, sizeof(*p));
}

const char *directory_kind_name(enum directory_kind k)
{
	return k == DIRECTORY_SHARED ? "shared" : k == DIRECTORY_RESOURCE ? "resource" : "person";
}

const char *directory_person_spelling(const struct directory_person *p, const char *address)
{
	char key[ADDRESS_MAX];

	if (!address_key_of(address, key, NULL))
		return NULL;
	for (size_t i = 0; i < p->addresses.n; i++)
		if (strcmp(p->addresses.v[i], key) == 0)
			return p->spellings.v[i];
	return NULL;
}

void directory_entries_clear(struct directory_entries *e)
{
	for (size_t i = 0; i < e->n; i++) {
		directory_person_clear(&e->v[i].person);
		strlist_clear(&e->v[i].shared);
	}
	free(e->v);
	memset(e, 0, sizeof(*e));
}

/* ---- filters ----------------------------------------------------------------------------------------------------- */

static void fill_filter(struct buf *out, const char *template, const char *value)
{
	struct berval in = {.bv_val = (char *)(uintptr_t)value, .bv_len = strlen(value)}, escaped = {0};

	if (ldap_bv2escaped_filter_value(&in, &escaped) != 0) {
		out->failed = true;
		return;
	}
	for (; *template; template++) {
		if (template[0] == '%' && template[1] == 's') {
			buf_append(out, escaped.bv_val, escaped.bv_len);
			template++;
		} else {
			buf_putc(out, *template);
		}
	}
	if (escaped.bv_val != in.bv_val)
		ldap_memfree(escaped.bv_val);
}

/* An internationalized domain may stand in the directory in either spelling. */
static void address_filter(struct buf *out, const struct directory *d, const struct address *address)
{
	char text[ADDRESS_MAX], *unicode = NULL;
	struct buf other = BUF_INIT;

	address_text(address, text);
	if (strncmp(address->domain, "xn--", 4) == 0 || strstr(address->domain, ".xn--"))
		if (idn2_to_unicode_8z8z(address->domain, &unicode, 0) != IDN2_OK)
			unicode = NULL;
	if (unicode) {
		buf_puts(out, "(|");
		buf_printf(&other, "%s@%s", address->local, unicode);
		fill_filter(out, d->settings.address_filter, buf_str(&other));
	}
	fill_filter(out, d->settings.address_filter, text);
	if (unicode)
		buf_putc(out, ')');
	buf_clear(&other);
	idn2_free(unicode);
}

/* ---- entries ----------------------------------------------------------------------------------------------------- */

static char *first_value(LDAP *ld, LDAPMessage *e, const char *attribute)
{
	struct berval **values = ldap_get_values_len(ld, e, attribute);
	char *text = NULL;

	if (values && values[0] && values[0]->bv_len > 0 && values[0]->bv_len < 1024 && !memchr(values[0]->bv_val, 0, values[0]->bv_len)
		&& text_is_utf8(values[0]->bv_val, values[0]->bv_len))
		text = strndup(values[0]->bv_val, values[0]->bv_len);
	ldap_value_free_len(values);
	if (text && !text_is_one_line(text)) {
		free(text);
		text = NULL;
	}
	return text;
}

/* All values that are text; NUL and overlong ones are passed over. */
static bool add_values(LDAP *ld, LDAPMessage *e, const char *attribute, struct strlist *out)
{
	struct berval **values = ldap_get_values_len(ld, e, attribute);
	bool ok = true;

	for (size_t i = 0; values && values[i] && ok; i++) {
		char *text;

		if (values[i]->bv_len == 0 || values[i]->bv_len > 4096 || memchr(values[i]->bv_val, 0, values[i]->bv_len))
			continue;
		text = strndup(values[i]->bv_val, values[i]->bv_len);
		ok = text && strlist_add(out, text);
		free(text);
	}
	ldap_value_free_len(values);
	return ok;
}

/* "SMTP:" (the main one) and "smtp:" stand before mail addresses in proxyAddresses; other kinds ("x500:", "sip:") are no addresses. */
bool directory_add_addresses(LDAP *ld, LDAPMessage *e, const char *attribute, struct directory_person *p)
{
	struct strlist values = {0};
	bool ok = add_values(ld, e, attribute, &values);

	for (size_t i = 0; i < values.n && ok; i++) {
		const char *text = values.v[i];
		char key[ADDRESS_MAX], spelling[ADDRESS_MAX];
		struct address a;
		bool marked = strncasecmp(text, "smtp:", strlen("smtp:")) == 0;

		if (strncasecmp(attribute, "proxyAddresses", strlen("proxyAddresses")) == 0 && !marked)
			continue;
		if (address_parse(&a, marked ? text + strlen("smtp:") : text, NULL) && !strlist_has(&p->addresses, address_key(&a, key)))
			ok = strlist_add(&p->addresses, key) && strlist_add(&p->spellings, address_text(&a, spelling));
	}
	strlist_clear(&values);
	return ok;
}

char *directory_entry_identity(LDAP *ld, LDAPMessage *e, const char *dn)
{
	struct berval **guid = ldap_get_values_len(ld, e, "objectGUID");
	char *uuid = first_value(ld, e, "entryUUID");
	struct buf out = BUF_INIT;

	if (uuid) {
		buf_printf(&out, "uuid:%s", uuid);
	} else if (guid && guid[0] && guid[0]->bv_len == 16) {
		buf_puts(&out, "guid:");
		hex_encode(&out, guid[0]->bv_val, 16);
	} else {
		buf_printf(&out, "dn:%s", dn ? dn : "");
	}
	ldap_value_free_len(guid);
	free(uuid);
	return buf_take(&out);
}

bool directory_identity_differs(const char *a, const char *b)
{
	size_t kind = a ? strcspn(a, ":") : 0;

	return kind > 0 && b && strncmp(a, b, kind + 1) == 0 && !str_eq_nocase(a, b);
}

static bool read_entry(struct directory *d, LDAP *ld, LDAPMessage *e, struct directory_entry *out)
{
	const struct directory_settings *s = &d->settings;
	struct directory_person *p = &out->person;
	char *dn = ldap_get_dn(ld, e);
	bool ok = true;

	p->dn = str_dup(dn);
	p->identity = directory_entry_identity(ld, e, dn);
	ldap_memfree(dn);
	p->login = first_value(ld, e, s->login_attribute);
	for (size_t i = 0; i < directory_names_n; i++)
		if (*DIRECTORY_TEXT(s, directory_names[i].setting))
			*DIRECTORY_TEXT(p, directory_names[i].person) = first_value(ld, e, *DIRECTORY_TEXT(s, directory_names[i].setting));
	if (!p->display_name)
		p->display_name = first_value(ld, e, "cn");
	for (size_t i = 0; i < s->address_attributes.n && ok; i++)
		ok = directory_add_addresses(ld, e, s->address_attributes.v[i], p);
	for (size_t i = 0; i < s->shared_attributes.n && ok; i++)
		ok = add_values(ld, e, s->shared_attributes.v[i], &out->shared);
	return ok && p->dn && p->identity;
}

static bool read_entries(struct directory *d, LDAP *ld, LDAPMessage *result, struct directory_entries *out)
{
	int n = ldap_count_entries(ld, result);

	out->v = calloc((size_t)(n > 0 ? n : 0) + 1, sizeof(*out->v));
	if (!out->v)
		return false;
	for (LDAPMessage *e = ldap_first_entry(ld, result); e; e = ldap_next_entry(ld, e))
		if (!read_entry(d, ld, e, &out->v[out->n++]))
			return false;
	return true;
}

static enum outcome search(struct directory *d, LDAP *ld, int64_t end, struct buf *filter, struct directory_entries *out, struct err *err)
{
	LDAPMessage *result = NULL;
	enum outcome o;
	int code = LDAP_SUCCESS;

	if (filter->failed) {
		err_nomem(err, "search directory");
		return OUTCOME_FAILED;
	}
	o = connection_search(
		ld, end, d->settings.base, LDAP_SCOPE_SUBTREE, buf_str(filter), d->attributes, ENTRIES_MAX, &result, &code, err);
	if (o == OUTCOME_DONE && code == LDAP_NO_SUCH_OBJECT)
		o = connection_failed(ld, code, "search directory", d->settings.base, err);
	if (o == OUTCOME_DONE && !read_entries(d, ld, result, out)) {
		err_nomem(err, "search directory");
		o = OUTCOME_FAILED;
	}
	out->more = code == LDAP_SIZELIMIT_EXCEEDED;
	ldap_msgfree(result);
	return o;
}

enum outcome directory_search_address(
	struct directory *d, LDAP *ld, int64_t end, const struct address *address, struct directory_entries *out, struct err *err)
{
	struct buf filter = BUF_INIT;
	char key[ADDRESS_MAX];
	enum outcome o;
	size_t kept = 0;

	address_filter(&filter, d, address);
	o = search(d, ld, end, &filter, out, err);
	address_key(address, key);
	for (size_t i = 0; i < out->n; i++) {
		if (strlist_has(&out->v[i].person.addresses, key)) {
			struct directory_entry e = out->v[i];

			out->v[i] = out->v[kept];
			out->v[kept++] = e;
		}
	}
	for (size_t i = kept; i < out->n; i++) {
		directory_person_clear(&out->v[i].person);
		strlist_clear(&out->v[i].shared);
	}
	out->n = kept;
	buf_clear(&filter);
	return o;
}

/* Does the entry match the filter?  NULL matches nothing. */
static enum outcome look_filter(LDAP *ld, int64_t end, const char *dn, const char *filter, bool *yes, struct err *err)
{
	char none[] = LDAP_NO_ATTRS, *attributes[] = {none, NULL};
	LDAPMessage *result = NULL;
	enum outcome o;
	int code;

	*yes = false;
	if (!filter)
		return OUTCOME_DONE;
	o = connection_search(ld, end, dn, LDAP_SCOPE_BASE, filter, attributes, 1, &result, &code, err);
	if (o == OUTCOME_DONE)
		*yes = ldap_count_entries(ld, result) > 0;
	ldap_msgfree(result);
	return o;
}

/* A filter for shared mailboxes decides alone: with delegation among people ("may send as the boss") a shared attribute makes nobody a role. */
static enum outcome look_kind(struct directory *d, LDAP *ld, int64_t end, struct directory_entry *e, struct err *err)
{
	const struct directory_settings *s = &d->settings;
	bool resource = false, shared = false;
	enum outcome o = look_filter(ld, end, e->person.dn, s->resource_filter, &resource, err);

	if (o == OUTCOME_DONE)
		o = look_filter(ld, end, e->person.dn, s->shared_filter, &shared, err);
	if (!s->shared_filter)
		shared = e->shared.n > 0;
	if (resource)
		e->person.kind = DIRECTORY_RESOURCE;
	else if (shared)
		e->person.kind = DIRECTORY_SHARED;
	return o;
}

/* ---- find -------------------------------------------------------------------------------------------------------- */

struct find_question {
	struct directory *d;
	struct address address;
	struct directory_entries entries;
};

static enum outcome find_operation(LDAP *ld, int64_t end, void *arg, struct err *err)
{
	struct find_question *q = arg;
	struct directory_entry *e;
	enum outcome o;

	directory_entries_clear(&q->entries); /* of an earlier attempt */
	o = directory_search_address(q->d, ld, end, &q->address, &q->entries, err);
	if (o != OUTCOME_DONE || q->entries.n != 1 || q->entries.more)
		return o;
	e = &q->entries.v[0];
	o = look_filter(ld, end, e->person.dn, q->d->settings.disabled_filter, &e->person.disabled, err);
	return o == OUTCOME_DONE ? look_kind(q->d, ld, end, e, err) : o;
}

bool directory_find(struct directory *d, const char *address, struct directory_person *out, enum directory_found *found, struct err *err)
{
	struct find_question q = {.d = d};
	bool ok;

	memset(out, 0, sizeof(*out));
	*found = DIRECTORY_NONE;
	if (!address_parse(&q.address, address, err))
		return false;
	ok = directory_run(d, find_operation, &q, err);
	if (ok && (q.entries.n > 1 || q.entries.more)) {
		*found = DIRECTORY_SEVERAL;
	} else if (ok && q.entries.n == 1) {
		*found = DIRECTORY_ONE;
		*out = q.entries.v[0].person;
		memset(&q.entries.v[0].person, 0, sizeof(q.entries.v[0].person));
	}
	directory_entries_clear(&q.entries);
	return ok;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

struct name_question {
	struct directory *d;
	const char *words;
	struct directory_entries entries;
};

static void name_filter(struct buf *out, const struct directory *d, const char *words)
{
	char word[256], template[256];

	snprintf(template, sizeof(template), "(|(%s=*%%s*)(cn=*%%s*))", d->settings.display_name_attribute ? d->settings.display_name_attribute : "cn");
	buf_puts(out, "(&");
	for (words += strspn(words, " \t"); *words != '\0'; words += strspn(words, " \t")) {
		size_t len = strcspn(words, " \t");

		snprintf(word, sizeof(word), "%.*s", (int)len, words);
		fill_filter(out, template, word);
		words += len;
	}
	buf_putc(out, ')');
}

static enum outcome name_operation(LDAP *ld, int64_t end, void *arg, struct err *err)
{
	struct name_question *q = arg;
	struct buf filter = BUF_INIT;
	enum outcome o;

	directory_entries_clear(&q->entries); /* of an earlier attempt */
	name_filter(&filter, q->d, q->words);
	o = search(q->d, ld, end, &filter, &q->entries, err);
	buf_clear(&filter);
	return o;
}

bool directory_find_name(struct directory *d, const char *words, struct strlist *addresses, bool *more, struct err *err)
{
	struct name_question q = {.d = d, .words = words};
	bool ok = true;

	*more = false;
	if (strlen(words) > 256 || !text_is_one_line(words) || !text_is_utf8(words, strlen(words)) || words[strspn(words, " \t")] == '\0')
		return true;
	ok = directory_run(d, name_operation, &q, err);
	for (size_t i = 0; ok && i < q.entries.n; i++)
		for (size_t k = 0; ok && k < q.entries.v[i].person.addresses.n; k++)
			ok = strlist_add(addresses, q.entries.v[i].person.addresses.v[k]) || err_nomem(err, "find name");
	*more = q.entries.more;
	directory_entries_clear(&q.entries);
	return ok;
}

/* ---- owns -------------------------------------------------------------------------------------------------------- */

struct owns_question {
	struct directory *d;
	const char *login;
	struct address address;
	const char *why;
};

static bool dn_equal(const char *a, const char *b)
{
	char *na = NULL, *nb = NULL;
	bool equal = ldap_dn_normalize(a, LDAP_DN_FORMAT_LDAPV3, &na, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS
		&& ldap_dn_normalize(b, LDAP_DN_FORMAT_LDAPV3, &nb, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS && str_eq_nocase(na, nb);

	ldap_memfree(na);
	ldap_memfree(nb);
	return equal;
}

static bool shared_with(const struct directory_entry *mailbox, const struct directory_person *person)
{
	for (size_t i = 0; i < mailbox->shared.n; i++) {
		const char *value = mailbox->shared.v[i];

		if ((person->login && str_eq_nocase(value, person->login)) || dn_equal(value, person->dn))
			return true;
	}
	return false;
}

static const char *judge(const struct directory_entries *logins, const struct directory_entries *owners)
{
	const struct directory_person *person = &logins->v[0].person;

	if (person->disabled)
		return why_disabled;
	if (owners->n > 1 || owners->more)
		return why_several;
	if (owners->n == 0)
		return why_not_listed;
	if (dn_equal(owners->v[0].person.dn, person->dn) || shared_with(&owners->v[0], person))
		return why_owned;
	return why_not_listed;
}

static bool login_possible(const char *login)
{
	size_t len = strlen(login);

	return len > 0 && len <= 512 && text_is_one_line(login) && text_is_utf8(login, len) && login[0] != ' ' && login[len - 1] != ' '
		&& !strstr(login, "  ");
}

static enum outcome owns_operation(LDAP *ld, int64_t end, void *arg, struct err *err)
{
	struct owns_question *q = arg;
	struct directory_entries logins = {0}, owners = {0};
	struct buf filter = BUF_INIT;
	enum outcome o;

	fill_filter(&filter, q->d->settings.login_filter, q->login);
	o = search(q->d, ld, end, &filter, &logins, err);
	if (o == OUTCOME_DONE && (logins.n != 1 || logins.more)) {
		q->why = logins.n == 0 && !logins.more ? why_unknown : why_ambiguous;
		goto out;
	}
	if (o == OUTCOME_DONE)
		o = look_filter(ld, end, logins.v[0].person.dn, q->d->settings.disabled_filter, &logins.v[0].person.disabled, err);
	if (o == OUTCOME_DONE)
		o = directory_search_address(q->d, ld, end, &q->address, &owners, err);
	if (o == OUTCOME_DONE)
		q->why = judge(&logins, &owners);
out:
	directory_entries_clear(&logins);
	directory_entries_clear(&owners);
	buf_clear(&filter);
	return o;
}

static bool young(const struct cached *c, unsigned seconds)
{
	return mono_ms() - c->at <= (int64_t)seconds * 1000;
}

/* Ask with the cache around: fresh answers at once, stale ones when nobody can be asked. */
static bool ask_cached(struct directory *d, const struct buf *key, pool_operation *op, void *question, const char *const *why,
	struct cached *answer, struct err *err)
{
	bool known;

	if (key->failed)
		return err_nomem(err, "ask directory");
	known = cache_get(d->cache, buf_str(key), answer);
	if (known && young(answer, d->settings.cache_seconds) && d->settings.cache_seconds > 0)
		return true;
	if (!directory_run(d, op, question, err)) {
		if (!known || d->settings.stale_seconds == 0 || !young(answer, d->settings.stale_seconds))
			return false;
		err_clear(err);
		return true;
	}
	*answer = (struct cached){.yes = *why == why_owned, .why = *why, .at = mono_ms()};
	cache_put(d->cache, buf_str(key), answer);
	return true;
}

bool directory_owns(struct directory *d, const char *login, const char *address, bool *owned, const char **why, struct err *err)
{
	struct owns_question q = {.d = d, .login = login, .why = why_unknown};
	struct cached answer = {.why = why_unknown};
	struct buf key = BUF_INIT;
	char text[ADDRESS_MAX];
	bool ok;

	*owned = false;
	*why = why_unknown;
	if (!address_parse(&q.address, address, err))
		return false;
	if (!login_possible(login))
		return true;
	buf_printf(&key, "owns\n%s\n%s", login, address_key(&q.address, text));
	ok = ask_cached(d, &key, owns_operation, &q, &q.why, &answer, err);
	buf_clear(&key);
	if (ok) {
		*owned = answer.yes;
		*why = answer.why;
	}
	return ok;
}

/* ---- groups ------------------------------------------------------------------------------------------------------ */

/* About the entry of an address: is it in this group, does it match this filter. */
struct about_question {
	struct directory *d;
	struct address address;
	const char *about;
	const char *why;
};

static enum outcome matches(
	LDAP *ld, int64_t end, const char *dn, const char *template, const char *value, bool *yes, bool *there, struct err *err)
{
	char none[] = LDAP_NO_ATTRS, *attributes[] = {none, NULL};
	struct buf filter = BUF_INIT;
	LDAPMessage *result = NULL;
	enum outcome o = OUTCOME_FAILED;
	int code;

	fill_filter(&filter, template, value);
	if (filter.failed)
		err_nomem(err, "ask directory for group");
	else
		o = connection_search(ld, end, dn, LDAP_SCOPE_BASE, buf_str(&filter), attributes, 1, &result, &code, err);
	if (o == OUTCOME_DONE) {
		*there = code != LDAP_NO_SUCH_OBJECT;
		*yes = ldap_count_entries(ld, result) > 0;
	}
	ldap_msgfree(result);
	buf_clear(&filter);
	return o;
}

static enum outcome group_operation(LDAP *ld, int64_t end, void *arg, struct err *err)
{
	struct about_question *q = arg;
	struct directory_entries entries = {0};
	bool yes = false, group_there = true, there;
	enum outcome o = directory_search_address(q->d, ld, end, &q->address, &entries, err);

	q->why = why_not_listed;
	if (o != OUTCOME_DONE || entries.n != 1 || entries.more)
		goto out;
	o = matches(ld, end, q->about, "(|(member=%s)(uniqueMember=%s))", entries.v[0].person.dn, &yes, &group_there, err);
	if (o == OUTCOME_DONE && !yes)
		o = matches(ld, end, entries.v[0].person.dn, "(memberOf=%s)", q->about, &yes, &there, err);
	if (o == OUTCOME_DONE && !yes && !group_there) {
		err_set(err, ERR_CONFIG, "ask directory for group", q->about, "there is no group \"%s\", or the bind may not read it",
			q->about);
		o = OUTCOME_FAILED;
	}
	if (yes)
		q->why = why_owned;
out:
	directory_entries_clear(&entries);
	return o;
}

static bool ask_about(struct directory *d, const char *address, const char *kind, const char *about, pool_operation *op, bool *yes, struct err *err)
{
	struct about_question q = {.d = d, .about = about, .why = why_not_listed};
	struct cached answer = {0};
	struct buf key = BUF_INIT;
	char text[ADDRESS_MAX];
	bool ok;

	*yes = false;
	if (!address_parse(&q.address, address, err))
		return false;
	buf_printf(&key, "%s\n%s\n%s", kind, about, address_key(&q.address, text));
	ok = ask_cached(d, &key, op, &q, &q.why, &answer, err);
	buf_clear(&key);
	*yes = ok && answer.yes;
	return ok;
}

bool directory_in_group(struct directory *d, const char *address, const char *group_dn, bool *member, struct err *err)
{
	return ask_about(d, address, "group", group_dn, group_operation, member, err);
}

/* ---- a filter ----------------------------------------------------------------------------------------------------- */

static enum outcome filter_operation(LDAP *ld, int64_t end, void *arg, struct err *err)
{
	char none[] = LDAP_NO_ATTRS, *attributes[] = {none, NULL};
	struct about_question *q = arg;
	struct directory_entries entries = {0};
	LDAPMessage *result = NULL;
	enum outcome o = directory_search_address(q->d, ld, end, &q->address, &entries, err);
	int code;

	q->why = why_not_listed;
	if (o == OUTCOME_DONE && entries.n == 1 && !entries.more) {
		o = connection_search(ld, end, entries.v[0].person.dn, LDAP_SCOPE_BASE, q->about, attributes, 1, &result, &code, err);
		if (o == OUTCOME_DONE && ldap_count_entries(ld, result) > 0)
			q->why = why_owned;
		ldap_msgfree(result);
	}
	directory_entries_clear(&entries);
	return o;
}

bool directory_matches(struct directory *d, const char *address, const char *filter, bool *yes, struct err *err)
{
	return ask_about(d, address, "filter", filter, filter_operation, yes, err);
}
