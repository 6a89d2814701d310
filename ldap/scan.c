/*
 * ldap/scan.c - everybody who has a certificate, or an address, page by page (RFC 2696).
 *
 * The server keeps its place in the list with the connection, so a walk has one of its own.  Entries are taken from the connection one at a
 * time as they come: a page of people with hundreds of certificates each is never in memory as a whole.  The control is not critical: a
 * server that knows no pages sends everything at once, which is bounded here.
 *
 * Attributes are asked for without options: servers send "userCertificate;binary" as well as "userCertificate" for that, and Active Directory
 * "userCertificate;range=0-1499".
 */
#include "config.h"

#include "ldap/internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PAGE_MS 15000
#define VALUE_MOST (256u << 10)
#define VALUES_MOST 1000
#define SETS_MOST 8
#define UNPAGED_MOST 20000 /* entries that a server without pages may send */
#define OP "search directory"

struct directory_scan {
	struct directory *directory;
	struct connection *connection; /* NULL: over */
	unsigned page;
	bool people;                   /* all with an address; else all with a certificate */
	char *attributes[4];           /* certificates (base names) or identities; owned; NULL-terminated */
	struct buf filter;
	struct berval *cookie;
	char cut[600];
	char elsewhere[200];           /* another server has a part of the tree */
};

/* What one page is asked with. */
struct page {
	struct directory_scan *scan;
	bool (*each)(void *arg, const struct directory_scanned *entry, struct err *err);
	void *arg;
	size_t n;
	bool more;
};

/* ---- a walk ------------------------------------------------------------------------------------------------------ */

/* Name without options; the same one twice is one. */
static bool add_attribute(struct directory_scan *s, const char *name)
{
	size_t n = 0, len = name ? strcspn(name, ";") : 0;
	char *base = len ? strndup(name, len) : NULL;

	if (!len)
		return true;
	if (!base)
		return false;
	for (; s->attributes[n]; n++) {
		if (strcasecmp(s->attributes[n], base) == 0) {
			free(base);
			return true;
		}
	}
	s->attributes[n] = base;
	buf_printf(&s->filter, "(%s=*)", base);
	return true;
}

static bool prepare_people(struct directory_scan *s, bool disabled)
{
	const struct directory_settings *set = &s->directory->settings;

	s->people = true;
	s->attributes[0] = str_dup("entryUUID");
	s->attributes[1] = str_dup("objectGUID");
	buf_puts(&s->filter, disabled ? "(&(|" : "(|");
	for (size_t i = 0; i < set->address_attributes.n; i++)
		buf_printf(&s->filter, "(%s=*)", set->address_attributes.v[i]);
	buf_putc(&s->filter, ')');
	if (disabled)
		buf_printf(&s->filter, "%s)", set->disabled_filter);
	return s->attributes[0] && s->attributes[1] && !s->filter.failed;
}

static bool prepare_certificates(struct directory_scan *s)
{
	const struct directory_settings *set = &s->directory->settings;
	bool ok;

	buf_puts(&s->filter, "(|");
	ok = add_attribute(s, set->certificate_attribute) && add_attribute(s, "userCertificate") && add_attribute(s, set->smime_attribute);
	buf_putc(&s->filter, ')');
	return ok && !s->filter.failed;
}

enum what { CERTIFICATES, PEOPLE, DISABLED };

static struct directory_scan *scan_new(struct directory *d, enum what what, unsigned page, struct err *err)
{
	struct directory_scan *s = calloc(1, sizeof(*s));

	if (!s) {
		err_nomem(err, OP);
		return NULL;
	}
	s->directory = d;
	s->page = page;
	if (!(what == CERTIFICATES ? prepare_certificates(s) : prepare_people(s, what == DISABLED)))
		err_nomem(err, OP);
	else if ((s->connection = pool_open_own(d->pool, err)))
		return s;
	directory_scan_free(s);
	return NULL;
}

struct directory_scan *directory_scan_new(struct directory *d, unsigned page, struct err *err)
{
	return scan_new(d, CERTIFICATES, page, err);
}

struct directory_scan *directory_scan_people(struct directory *d, bool disabled, unsigned page, struct err *err)
{
	if (!disabled || d->settings.disabled_filter)
		return scan_new(d, disabled ? DISABLED : PEOPLE, page, err);
	err_set(err, ERR_BUG, OP, NULL, "there is no directory.disabled-filter");
	return NULL;
}

void directory_scan_free(struct directory_scan *s)
{
	if (!s)
		return;
	if (s->connection)
		pool_close_own(s->connection);
	for (size_t i = 0; s->attributes[i]; i++)
		free(s->attributes[i]);
	buf_clear(&s->filter);
	ber_bvfree(s->cookie);
	free(s);
}

const char *directory_scan_cut(const struct directory_scan *s)
{
	return s->cut[0] ? s->cut : NULL;
}

const char *directory_scan_elsewhere(const struct directory_scan *s)
{
	return s->elsewhere[0] ? s->elsewhere : NULL;
}

/* ---- one entry --------------------------------------------------------------------------------------------------- */

/* The values of an entry while it is shown around. */
struct shown {
	struct directory_scanned entry;
	struct directory_person person;
	struct directory_value *values;
	struct berval **sets[SETS_MOST];
	size_t n_sets;
};

static void shown_clear(struct shown *s)
{
	for (size_t i = 0; i < s->n_sets; i++)
		ldap_value_free_len(s->sets[i]);
	free(s->values);
	directory_person_clear(&s->person);
}

/* "userCertificate;binary" is of userCertificate. */
static bool is_of(const char *description, const char *attribute)
{
	size_t len = strcspn(description, ";"), n = attribute ? strcspn(attribute, ";") : 0;

	return n > 0 && len == n && strncasecmp(description, attribute, n) == 0;
}

static bool is_partial(const char *description)
{
	const char *range = strcasestr(description, ";range=");

	return range && !strstr(range, "-*");
}

static bool add_values(struct shown *s, struct berval **set, bool smime)
{
	size_t n = (size_t)ldap_count_values_len(set);
	struct directory_value *more = realloc(s->values, (s->entry.n + n + 1) * sizeof(*more));

	if (!more)
		return false;
	s->values = more;
	for (size_t i = 0; i < n; i++) {
		if (set[i]->bv_len > VALUE_MOST || s->entry.n >= VALUES_MOST)
			s->entry.left_out++;
		else
			s->values[s->entry.n++] = (struct directory_value){set[i]->bv_val, set[i]->bv_len, smime};
	}
	s->entry.values = s->values;
	return true;
}

/* Values, of whatever options, of the attributes that hold certificates. */
static bool read_values(const struct directory_scan *scan, LDAP *ld, LDAPMessage *e, struct shown *s)
{
	const struct directory_settings *set = &scan->directory->settings;
	BerElement *at = NULL;
	char *name = ldap_first_attribute(ld, e, &at);
	bool ok = true;

	while (name && ok) {
		bool smime = is_of(name, set->smime_attribute);

		if ((smime || is_of(name, set->certificate_attribute) || is_of(name, "userCertificate")) && s->n_sets < SETS_MOST) {
			struct berval **values = ldap_get_values_len(ld, e, name);

			if (values) {
				s->sets[s->n_sets++] = values;
				ok = add_values(s, values, smime);
				s->entry.more = s->entry.more || is_partial(name);
			}
		}
		ldap_memfree(name);
		name = ldap_next_attribute(ld, e, at);
	}
	ldap_memfree(name);
	ber_free(at, 0);
	return ok;
}

static bool show(struct page *p, LDAP *ld, LDAPMessage *e, struct err *err)
{
	const struct strlist *addresses = &p->scan->directory->settings.address_attributes;
	char *dn = ldap_get_dn(ld, e);
	struct shown s = {.entry = {.dn = dn}};
	bool ok = dn && (p->scan->people || read_values(p->scan, ld, e, &s));

	for (size_t i = 0; i < addresses->n && ok; i++)
		ok = directory_add_addresses(ld, e, addresses->v[i], &s.person);
	if (ok && p->scan->people)
		ok = (s.person.identity = directory_entry_identity(ld, e, dn)) != NULL;
	s.entry.identity = s.person.identity;
	s.entry.addresses = &s.person.addresses;
	s.entry.spellings = &s.person.spellings;
	if (ok)
		ok = (s.entry.n + s.entry.left_out == 0 && !p->scan->people) || p->each(p->arg, &s.entry, err);
	else
		err_nomem(err, OP);
	shown_clear(&s);
	ldap_memfree(dn);
	return ok;
}

/* ---- one page ---------------------------------------------------------------------------------------------------- */

static void cut(struct directory_scan *s, int code)
{
	snprintf(s->cut, sizeof(s->cut),
		"the directory ended the list before all entries were there: %s; let the account of directory.bind-dn read more (OpenLDAP: "
		"\"limits dn.exact=... size=unlimited size.prtotal=unlimited\", Active Directory: MaxResultSetSize)", ldap_err2string(code));
}

static bool is_without_people(const char *url)
{
	static const char *const partitions[] = {"CN=Configuration,", "DC=DomainDnsZones,", "DC=ForestDnsZones,"};
	LDAPURLDesc *parts = NULL;
	bool without = false;

	if (ldap_url_parse(url, &parts) != LDAP_URL_SUCCESS)
		return false;
	for (size_t i = 0; parts->lud_dn && i < sizeof(partitions) / sizeof(partitions[0]); i++)
		without = without || strncasecmp(parts->lud_dn, partitions[i], strlen(partitions[i])) == 0;
	ldap_free_urldesc(parts);
	return without;
}

/* What cannot be read is somewhere else, too. */
static void note_elsewhere(struct directory_scan *s, LDAP *ld, LDAPMessage *reference)
{
	char **urls = NULL;
	bool read = ldap_parse_reference(ld, reference, &urls, NULL, 0) == LDAP_SUCCESS && urls && urls[0];

	if (!s->elsewhere[0] && !(read && is_without_people(urls[0]))) {
		snprintf(s->elsewhere, sizeof(s->elsewhere), "%s", read ? urls[0] : "it did not say where");
		for (char *p = s->elsewhere; *p; p++)
			if ((unsigned char)*p < ' ' || (unsigned char)*p > '~')
				*p = '?';
	}
	ldap_memvfree((void **)urls);
}

/* The end of a page: is there another one? */
static enum outcome page_end(struct page *p, LDAP *ld, LDAPMessage *result, struct err *err)
{
	struct directory_scan *s = p->scan;
	LDAPControl **controls = NULL, *paged;
	struct berval cookie = {0};
	ber_int_t estimate = 0;
	int code = LDAP_SUCCESS, rc = ldap_parse_result(ld, result, &code, NULL, NULL, NULL, &controls, 0);
	bool limit = code == LDAP_SIZELIMIT_EXCEEDED || code == LDAP_ADMINLIMIT_EXCEEDED;

	paged = rc == LDAP_SUCCESS && controls ? ldap_control_find(LDAP_CONTROL_PAGEDRESULTS, controls, NULL) : NULL;
	if (paged && ldap_parse_pageresponse_control(ld, paged, &estimate, &cookie) != LDAP_SUCCESS)
		rc = LDAP_DECODING_ERROR;
	ldap_controls_free(controls);
	ber_bvfree(s->cookie);
	s->cookie = cookie.bv_len > 0 ? ber_bvdup(&cookie) : NULL;
	ber_memfree(cookie.bv_val);
	p->more = s->cookie != NULL;
	if (rc == LDAP_SUCCESS && limit && !p->more)
		cut(s, code);
	else if (rc != LDAP_SUCCESS || (code != LDAP_SUCCESS && !limit))
		return connection_failed(ld, rc != LDAP_SUCCESS ? rc : code, OP, s->directory->settings.base, err);
	return OUTCOME_DONE;
}

/* Messages of a search, one at a time, until its end. */
static enum outcome receive(struct page *p, LDAP *ld, int id, int64_t end, struct err *err)
{
	enum outcome o = OUTCOME_DONE;
	bool going = true;

	while (going && o == OUTCOME_DONE) {
		int64_t left = end - mono_ms();
		struct timeval tv = {.tv_sec = left > 0 ? (time_t)(left / 1000) : 0, .tv_usec = left > 0 ? (suseconds_t)(left % 1000) * 1000 : 0};
		LDAPMessage *message = NULL;
		int type = ldap_result(ld, id, LDAP_MSG_ONE, &tv, &message), code = LDAP_SERVER_DOWN;

		if (type == LDAP_RES_SEARCH_ENTRY) {
			o = show(p, ld, message, err) ? OUTCOME_DONE : OUTCOME_FAILED;
			if (o == OUTCOME_DONE && ++p->n >= p->scan->page + UNPAGED_MOST) {
				cut(p->scan, LDAP_SIZELIMIT_EXCEEDED);
				ldap_abandon_ext(ld, id, NULL, NULL);
				going = false;
			}
		} else if (type == LDAP_RES_SEARCH_REFERENCE) {
			note_elsewhere(p->scan, ld, message);
		} else if (type == LDAP_RES_SEARCH_RESULT) {
			o = page_end(p, ld, message, err);
			going = false;
		} else if (type <= 0) {
			if (type < 0)
				ldap_get_option(ld, LDAP_OPT_RESULT_CODE, &code);
			o = connection_failed(ld, type == 0 ? LDAP_TIMEOUT : code == LDAP_SUCCESS ? LDAP_SERVER_DOWN : code, OP,
				p->scan->directory->settings.base, err);
		}
		ldap_msgfree(message);
	}
	return o;
}

static enum outcome page_operation(LDAP *ld, int64_t end, void *arg, struct err *err)
{
	struct page *p = arg;
	struct directory_scan *s = p->scan;
	const struct strlist *addresses = &s->directory->settings.address_attributes;
	char **attributes = calloc(addresses->n + sizeof(s->attributes) / sizeof(s->attributes[0]), sizeof(char *));
	LDAPControl *control = NULL, *controls[2] = {NULL, NULL};
	struct timeval limit = {.tv_sec = (time_t)((end - mono_ms()) / 1000 + 1)};
	enum outcome o;
	size_t n = 0;
	int id, rc;

	if (!attributes) {
		err_nomem(err, OP);
		return OUTCOME_FAILED;
	}
	for (size_t i = 0; i < addresses->n; i++)
		attributes[n++] = addresses->v[i];
	for (size_t i = 0; s->attributes[i]; i++)
		attributes[n++] = s->attributes[i];
	rc = ldap_create_page_control(ld, (ber_int_t)s->page, s->cookie, 0, &control);
	controls[0] = control;
	if (rc == LDAP_SUCCESS)
		rc = ldap_search_ext(ld, s->directory->settings.base, LDAP_SCOPE_SUBTREE, buf_str(&s->filter), attributes, 0, controls, NULL, &limit,
			LDAP_NO_LIMIT, &id);
	o = rc == LDAP_SUCCESS ? receive(p, ld, id, end, err) : connection_failed(ld, rc, OP, s->directory->settings.base, err);
	ldap_control_free(control);
	free(attributes);
	return o;
}

/* Every page is a search of all entries when the attribute has no index. */
static void advise(const struct directory_scan *s, struct err *err)
{
	size_t len = strlen(err->text);

	if (strcmp(err->type, "ldap:3") == 0 || strcmp(err->type, "ldap:-5") == 0)
		snprintf(err->text + len, sizeof(err->text) - len, "; does it have an index for the presence of %s?", s->people ? s->directory->settings.address_attributes.v[0] : "userCertificate");
}

bool directory_scan_page(struct directory_scan *s, bool (*each)(void *arg, const struct directory_scanned *entry, struct err *err), void *arg,
	bool *more, struct err *err)
{
	struct page p = {.scan = s, .each = each, .arg = arg};
	unsigned ms = s->directory->settings.deadline_ms > PAGE_MS ? s->directory->settings.deadline_ms : PAGE_MS;
	struct err own = ERR_INIT;
	bool ok;

	*more = false;
	if (!s->connection)
		return err_set(err, ERR_BUG, OP, NULL, "the walk over the directory is over");
	ok = pool_run_own(s->connection, page_operation, mono_ms() + ms, &p, &own) == OUTCOME_DONE;
	*more = ok && p.more;
	if (*more)
		return true;
	pool_close_own(s->connection);
	s->connection = NULL;
	if (ok)
		return true;
	advise(s, &own);
	if (err)
		*err = own;
	return false;
}
