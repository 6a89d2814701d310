/*
 * ldap/directory.c - the directory object: settings, life, the memory of failures, and what doctor asks.
 */
#include "config.h"

#include "ldap/internal.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* ---- settings ---------------------------------------------------------------------------------------------------- */

#define NAME(member, fallback) \
	{offsetof(struct directory_settings, member##_attribute), offsetof(struct directory_person, member), fallback}
/* Country has no default: Active Directory's c says where somebody works, not where the organization is registered. */
const struct directory_name directory_names[] = {
	NAME(given_name, "givenName"),
	NAME(surname, "sn"),
	NAME(display_name, "displayName"),
	NAME(organization, "o"),
	NAME(organization_identifier, "organizationIdentifier"),
	NAME(country, NULL),
	NAME(organizational_unit, NULL),
	NAME(title, NULL),
	NAME(locality, NULL),
	NAME(state, NULL),
};
const size_t directory_names_n = sizeof(directory_names) / sizeof(directory_names[0]);

void directory_settings_init(struct directory_settings *s)
{
	memset(s, 0, sizeof(*s));
	s->starttls = true;
	s->bind = str_dup("simple");
	s->login_filter = str_dup("(uid=%s)");
	s->address_filter = str_dup("(mail=%s)");
	strlist_add(&s->address_attributes, "mail");
	s->login_attribute = str_dup("uid");
	for (size_t i = 0; i < directory_names_n; i++)
		*DIRECTORY_TEXT(s, directory_names[i].setting) = str_dup(directory_names[i].fallback);
	s->certificate_attribute = str_dup("userCertificate;binary");
	s->publish = str_dup("required");
	s->deadline_ms = 3000;
	s->connect_ms = 1000;
	s->cache_seconds = 300;
	s->stale_seconds = 900;
}

void directory_settings_clear(struct directory_settings *s)
{
	strlist_clear(&s->urls);
	strlist_clear(&s->address_attributes);
	strlist_clear(&s->shared_attributes);
	free(s->ca_file);
	free(s->bind);
	free(s->bind_dn);
	free(s->password_file);
	free(s->base);
	free(s->login_filter);
	free(s->address_filter);
	free(s->login_attribute);
	free(s->disabled_filter);
	free(s->shared_filter);
	free(s->resource_filter);
	for (size_t i = 0; i < directory_names_n; i++)
		free(*DIRECTORY_TEXT(s, directory_names[i].setting));
	free(s->certificate_attribute);
	free(s->smime_attribute);
	free(s->publish);
	memset(s, 0, sizeof(*s));
}

static bool copy_list(struct strlist *to, const struct strlist *from)
{
	for (size_t i = 0; i < from->n; i++)
		if (!strlist_add(to, from->v[i]))
			return false;
	return true;
}

static bool copy_text(char **to, const char *from)
{
	*to = str_dup(from);
	return *to || !from;
}

/* Everything but what the pool keeps. */
static bool copy_settings(struct directory_settings *to, const struct directory_settings *from)
{
	memset(to, 0, sizeof(*to));
	to->deadline_ms = from->deadline_ms;
	to->cache_seconds = from->cache_seconds;
	to->stale_seconds = from->stale_seconds;
	to->clear_foreign_smime = from->clear_foreign_smime;
	for (size_t i = 0; i < directory_names_n; i++) {
		size_t at = directory_names[i].setting;

		if (!copy_text(DIRECTORY_TEXT(to, at), *DIRECTORY_TEXT(from, at)))
			return false;
	}
	return copy_list(&to->address_attributes, &from->address_attributes) &&
	       copy_list(&to->shared_attributes, &from->shared_attributes) && copy_text(&to->base, from->base) &&
	       copy_text(&to->login_filter, from->login_filter) && copy_text(&to->address_filter, from->address_filter) &&
	       copy_text(&to->login_attribute, from->login_attribute) && copy_text(&to->disabled_filter, from->disabled_filter) &&
	       copy_text(&to->shared_filter, from->shared_filter) && copy_text(&to->resource_filter, from->resource_filter) &&
	       copy_text(&to->certificate_attribute, from->certificate_attribute) && copy_text(&to->smime_attribute, from->smime_attribute);
}

bool directory_url_valid(const char *url)
{
	LDAPURLDesc *desc = NULL;
	bool ok;

	if (!text_is_one_line(url) || strchr(url, ' ') || ldap_url_parse(url, &desc) != LDAP_URL_SUCCESS)
		return false;
	/* a path, attributes or extensions (which could carry a password) have no meaning here */
	ok = (strcmp(desc->lud_scheme, "ldap") == 0 || strcmp(desc->lud_scheme, "ldaps") == 0 || strcmp(desc->lud_scheme, "ldapi") == 0) &&
	     desc->lud_host && *desc->lud_host && !strchr(desc->lud_host, '@') && (!desc->lud_dn || !*desc->lud_dn) && !desc->lud_attrs &&
	     !desc->lud_filter && !desc->lud_exts && !desc->lud_next && !strchr(url, '?') && desc->lud_port >= 0 && desc->lud_port <= 65535;
	ldap_free_urldesc(desc);
	return ok;
}

bool directory_dn_valid(const char *dn)
{
	LDAPDN parsed = NULL;
	bool ok = *dn && ldap_str2dn(dn, &parsed, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS;

	ldap_dnfree(parsed);
	return ok;
}

/* libldap judges filters only while it encodes a search, before it connects: so one is begun on a handle that leads nowhere. */
static bool filter_encodes(const char *filter)
{
	LDAP *ld = NULL;
	int id, rc;

	if (ldap_initialize(&ld, "ldapi://%2Fdev%2Fnull") != LDAP_SUCCESS)
		return false;
	rc = ldap_search_ext(ld, "", LDAP_SCOPE_BASE, filter, NULL, 0, NULL, NULL, NULL, 0, &id);
	ldap_unbind_ext(ld, NULL, NULL);
	return rc != LDAP_FILTER_ERROR;
}

bool directory_filter_valid(const char *filter, bool template)
{
	struct buf text = BUF_INIT;
	size_t places = 0;
	bool ok = filter[0] == '(' && text_is_one_line(filter);

	for (const char *p = filter; *p && ok; p++) {
		if (template && *p == '%') {
			ok = *++p == 's';
			places++;
			buf_putc(&text, 'x');
			if (!ok)
				break;
		} else {
			buf_putc(&text, *p);
		}
	}
	ok = ok && (places > 0) == template && !text.failed && filter_encodes(buf_str(&text));
	buf_clear(&text);
	return ok;
}

/* ---- the object -------------------------------------------------------------------------------------------------- */

static bool list_attributes(struct directory *d)
{
	static char common_name[] = "cn", uuid[] = "entryUUID", guid[] = "objectGUID";
	struct directory_settings *s = &d->settings;
	size_t n = 0;

	d->attributes = calloc(s->address_attributes.n + s->shared_attributes.n + directory_names_n + 5, sizeof(char *));
	if (!d->attributes)
		return false;
	for (size_t i = 0; i < s->address_attributes.n; i++)
		d->attributes[n++] = s->address_attributes.v[i];
	for (size_t i = 0; i < s->shared_attributes.n; i++)
		d->attributes[n++] = s->shared_attributes.v[i];
	for (size_t i = 0; i < directory_names_n; i++)
		if (*DIRECTORY_TEXT(s, directory_names[i].setting))
			d->attributes[n++] = *DIRECTORY_TEXT(s, directory_names[i].setting);
	d->attributes[n++] = common_name;
	d->attributes[n++] = uuid;
	d->attributes[n++] = guid;
	d->attributes[n++] = s->login_attribute;
	return true;
}

static bool check_settings(const struct directory_settings *s, struct err *err)
{
	if (!s->base || !s->login_filter || !s->address_filter || !s->login_attribute || !s->certificate_attribute ||
		s->address_attributes.n == 0)
		return err_set(err, ERR_CONFIG, "use directory", NULL, "directory.base, a filter or an attribute name is not set");
	if (!directory_filter_valid(s->login_filter, true))
		return err_set(err, ERR_CONFIG, "use directory", s->login_filter, "\"%s\" is no filter with %%s in it", s->login_filter);
	if (!directory_filter_valid(s->address_filter, true))
		return err_set(
			err, ERR_CONFIG, "use directory", s->address_filter, "\"%s\" is no filter with %%s in it", s->address_filter);
	return true;
}

struct directory *directory_new(const struct directory_settings *s, struct err *err)
{
	struct directory *d = calloc(1, sizeof(*d));

	if (!d) {
		err_nomem(err, "use directory");
		return NULL;
	}
	pthread_mutex_init(&d->lock, NULL);
	d->cache = cache_new(DIRECTORY_CACHE_MAX);
	if (!d->cache || !copy_settings(&d->settings, s) || !list_attributes(d))
		err_nomem(err, "use directory");
	else if (check_settings(&d->settings, err) && (d->pool = pool_new(s, err)))
		return d;
	directory_free(d);
	return NULL;
}

void directory_free(struct directory *d)
{
	if (!d)
		return;
	pool_free(d->pool);
	cache_free(d->cache);
	free(d->attributes);
	directory_settings_clear(&d->settings);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

/* A silent directory, or one that refuses our password (which may lock the account when tried too often), is asked again only after
 * a while; until then the failure is the answer. */
bool directory_run(struct directory *d, pool_operation *op, void *arg, struct err *err)
{
	struct err local = ERR_INIT;
	bool unreachable = false, remembered, ok;

	pthread_mutex_lock(&d->lock);
	remembered = mono_ms() < d->failed_until;
	if (remembered && err)
		*err = d->failure;
	pthread_mutex_unlock(&d->lock);
	if (remembered)
		return false;
	ok = pool_run(d->pool, op, arg, &unreachable, &local);
	pthread_mutex_lock(&d->lock);
	if (ok) {
		d->failed_until = 0;
	} else if (unreachable) {
		d->failed_until = mono_ms() + DIRECTORY_FAILURE_MS;
		d->failure = local;
	}
	pthread_mutex_unlock(&d->lock);
	if (!ok && err)
		*err = local;
	return ok;
}

/* ---- for doctor -------------------------------------------------------------------------------------------------- */

struct probe {
	struct directory *d;
	int code;
};

static enum outcome probe_base(LDAP *ld, int64_t end, void *arg, struct err *err)
{
	struct probe *p = arg;
	char none[] = LDAP_NO_ATTRS, *attributes[] = {none, NULL};
	LDAPMessage *result;
	enum outcome o =
		connection_search(ld, end, p->d->settings.base, LDAP_SCOPE_BASE, "(objectClass=*)", attributes, 1, &result, &p->code, err);

	ldap_msgfree(result);
	return o;
}

static enum outcome probe_filters(LDAP *ld, int64_t end, void *arg, struct err *err)
{
	struct probe *p = arg;
	struct directory_entries entries = {0};
	struct address nobody = {.local = "enroll-milter-doctor", .domain = "invalid"};
	enum outcome o = directory_search_address(p->d, ld, end, &nobody, &entries, err);

	directory_entries_clear(&entries);
	return o;
}

bool directory_check(struct directory *d, struct buf *report, struct err *err)
{
	struct probe p = {.d = d};
	struct err local = ERR_INIT;

	if (!pool_check(d->pool, report, err))
		return false;
	pthread_mutex_lock(&d->lock);
	d->failed_until = 0;
	pthread_mutex_unlock(&d->lock);
	if (!directory_run(d, probe_base, &p, &local) || p.code != LDAP_SUCCESS) {
		if (local.class == ERR_NONE)
			err_set(&local, ERR_CONFIG, "search directory", d->settings.base,
				"%s; check directory.base and the rights of the bind", ldap_err2string(p.code));
		goto bad;
	}
	buf_printf(report, "ok: %s: readable\n", d->settings.base);
	if (!directory_run(d, probe_filters, &p, &local))
		goto bad;
	buf_printf(report, "ok: %s: can be searched for\n", d->settings.address_filter);
	return true;
bad:
	buf_printf(report, "error: %s: %s\n", d->settings.base, local.text);
	if (err)
		*err = local;
	return false;
}
