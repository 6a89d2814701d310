/*
 * ldap/directory.h - the organization's directory (RFC 4511): who is this person, which addresses does a login own, and
 * publishing certificates.
 *
 * One struct directory per process, any thread may call.  It keeps a small pool of connections (libldap handles are not shared
 * between threads while in use), reconnects, tries the URLs in order, follows no referrals.  Every call ends within the
 * settings' deadline.  Values from outside go into filters only escaped (RFC 4515) and into DNs only escaped (RFC 4514).
 */
#ifndef ENROLL_LDAP_DIRECTORY_H
#define ENROLL_LDAP_DIRECTORY_H

#include "base/base.h"

struct directory;

struct directory_settings {
	struct strlist urls;          /* ldap://, ldaps://, ldapi:// in order of preference; empty = no directory */
	bool starttls;                /* on ldap:// URLs; default true; false only with allow-cleartext */
	bool allow_cleartext;         /* said so by the admin: ldap:// without TLS; default false */
	char *ca_file;                /* anchors for TLS; NULL = the system's */
	char *bind;                   /* "simple" (default), "external" (SASL EXTERNAL), "anonymous" */
	char *bind_dn;
	char *password_file;          /* path or credential:NAME */
	char *base;                   /* search base */
	char *login_filter;           /* %s = login (escaped); default (uid=%s) */
	char *address_filter;         /* %s = address; default (mail=%s) */
	struct strlist address_attributes; /* what a person owns: mail (default), ... "proxyAddresses" is parsed (smtp:) */
	struct strlist shared_attributes;  /* on a shared mailbox's entry: DNs or logins of those who may send as it; empty = none */
	char *login_attribute;        /* default uid */
	char *disabled_filter;        /* entries that match are disabled; NULL = none */
	char *shared_filter;          /* entries that match are role or shared mailboxes; NULL = those with a value in a shared attribute */
	char *resource_filter;        /* entries that match are rooms and equipment; NULL = none */
	/* where the names are that a certificate may hold; NULL = not read, and so not asked for */
	char *given_name_attribute;   /* default givenName */
	char *surname_attribute;      /* default sn */
	char *display_name_attribute; /* default displayName; cn when an entry has none */
	char *organization_attribute; /* default o */
	char *organization_identifier_attribute; /* default organizationIdentifier */
	char *country_attribute, *organizational_unit_attribute, *title_attribute, *locality_attribute, *state_attribute; /* default NULL */
	char *certificate_attribute;  /* default userCertificate;binary */
	char *smime_attribute;        /* userSMIMECertificate; NULL (default) = not written */
	bool clear_foreign_smime;     /* values of userSMIMECertificate that are not ours may be taken away, and are kept in the store; default false */
	char *publish;                /* "required" (default), "best-effort", "none" */
	unsigned deadline_ms;         /* of one call, all retries included; default 3000 */
	unsigned connect_ms;          /* of one connection; default 1000 */
	unsigned cache_seconds;       /* ownership answers; default 300 */
	unsigned stale_seconds;       /* directory down: how old the last known answer may be; default 900 */
};
void directory_settings_init(struct directory_settings *s);
void directory_settings_clear(struct directory_settings *s);

/* What the configuration asks before it takes a setting: a URL of scheme, host and port alone; a DN; a filter (with `template`: one that
 * holds %s at least once and no other %). */
bool directory_url_valid(const char *url);
bool directory_dn_valid(const char *dn);
bool directory_filter_valid(const char *filter, bool template);

struct directory *directory_new(const struct directory_settings *s, struct err *err);
void directory_free(struct directory *d);

enum directory_kind {
	DIRECTORY_PERSON,
	DIRECTORY_SHARED,  /* a role or shared mailbox: several people write as it */
	DIRECTORY_RESOURCE /* a room, a projector */
};

const char *directory_kind_name(enum directory_kind k); /* "person", "shared", "resource" */

struct directory_person {
	char *identity;             /* what stays when the entry is renamed or moved: "uuid:" (RFC 4530), "guid:" (Active Directory), else "dn:" */
	char *dn;
	char *login;
	struct strlist addresses;   /* address keys (base.h), only well-formed ones */
	struct strlist spellings;   /* the same, in the same order, canonical but with the local part's case as it stands there */
	/* as they stand there, first value of each; NULL = none, or no single line of UTF-8 */
	char *given_name, *surname, *display_name, *organization, *organization_identifier;
	char *country, *organizational_unit, *title, *locality, *state;
	bool disabled;              /* these two are looked up by directory_find alone */
	enum directory_kind kind;
};
void directory_person_clear(struct directory_person *p);
/* Are these two identities of different entries?  False when that cannot be told. */
bool directory_identity_differs(const char *a, const char *b);
/* This address of the entry in the directory's spelling; NULL when the entry does not list it.  A certificate is asked for in the spelling of
 * the order's identifiers (RFC 8555 section 7.4), so whoever opens the enrollment chooses it. */
const char *directory_person_spelling(const struct directory_person *p, const char *address);

enum directory_found { DIRECTORY_NONE, DIRECTORY_ONE, DIRECTORY_SEVERAL };

/* The entry whose own address this is.  SEVERAL: owned by nobody.  false: the directory did not answer (ERR_TEMPORARY), refuses us
 * (ERR_CONFIG), or the address is none (ERR_POLICY). */
bool directory_find(struct directory *d, const char *address, struct directory_person *out, enum directory_found *found,
	struct err *err) BASE_MUST_CHECK;

/* Addresses of entries whose name (display_name_attribute or cn) has each of these words in it; some entries at most, *more when there are others.
 * For people who look for people: nothing is decided by it. */
bool directory_find_name(struct directory *d, const char *words, struct strlist *addresses, bool *more, struct err *err) BASE_MUST_CHECK;

/* Does this login own this address?  The question of the mail path: cached for cache_seconds; directory down: the last known answer up
 * to stale_seconds old; otherwise false with ERR_TEMPORARY.  *why is static text for the log: "owned", "unknown login", "address is not
 * listed for this login", "login is ambiguous", "address is listed by several entries", "disabled", each with *owned set accordingly.
 * A silent directory costs one deadline, then a short memory of the failure answers at once (cached failures live 5 s). */
bool directory_owns(struct directory *d, const char *login, const char *address, bool *owned, const char **why,
	struct err *err) BASE_MUST_CHECK;

/* Is the entry with this address a member of the group (groupOfNames member, or memberOf)?  Cached as above. */
bool directory_in_group(struct directory *d, const char *address, const char *group_dn, bool *member, struct err *err) BASE_MUST_CHECK;

/* Does the entry with this address match the filter?  No when there is no entry, or several.  Cached as above. */
bool directory_matches(struct directory *d, const char *address, const char *filter, bool *yes, struct err *err) BASE_MUST_CHECK;

/* Add the certificate (DER) to the entry with this address if it is missing: "add if missing", safe to repeat.  Other values stay.
 * *dn (freed by the caller) is where; with a failure, where a part of it is by now, else NULL.  ERR_TEMPORARY: server down; ERR_CONFIG: no right to write, schema; ERR_POLICY: no
 * entry or several. */
bool directory_publish(struct directory *d, const char *address, const void *der, size_t len, char **dn, struct err *err) BASE_MUST_CHECK;
/* Remove exactly this value, if it is there. */
bool directory_unpublish(struct directory *d, const char *dn, const void *der, size_t len, struct err *err) BASE_MUST_CHECK;

/* The same, and what was found: the value, an entry without it, no entry of this DN. */
enum directory_removed { DIRECTORY_REMOVED, DIRECTORY_NOT_THERE, DIRECTORY_ENTRY_GONE };
bool directory_remove(struct directory *d, const char *dn, const void *der, size_t len, enum directory_removed *what, struct err *err) BASE_MUST_CHECK;
/* The entry of this identity (struct directory_person), wherever it is now.  *dn (freed by the caller) is NULL when there is none, or the identity
 * is one that cannot be searched for. */
bool directory_find_identity(struct directory *d, const char *identity, char **dn, struct err *err) BASE_MUST_CHECK;

/* What one attribute of an entry holds, octet by octet; *gone: no such entry. */
struct directory_octets { unsigned char *data; size_t len; };
struct directory_values { struct directory_octets *v; size_t n; };
void directory_values_clear(struct directory_values *v);
bool directory_read_values(struct directory *d, const char *dn, const char *attribute, struct directory_values *out, bool *gone,
	struct err *err) BASE_MUST_CHECK;
/* Exactly this value added when it is missing, or taken away when it is there; the others stay.  ERR_POLICY when there is no entry to add it to. */
bool directory_value_set(struct directory *d, const char *dn, const char *attribute, const void *data, size_t len, bool add,
	struct err *err) BASE_MUST_CHECK;
/* What userSMIMECertificate holds for a certificate: always the same octets for the same one.  Appended to out. */
bool directory_smime_value(struct buf *out, const void *der, size_t len, struct err *err) BASE_MUST_CHECK;

/* ---- everybody who has a certificate, or an address -------------------------------------------------------------- */

/* A walk over all entries below the base that have a value in certificate_attribute, userCertificate or smime_attribute, in pages (RFC 2696).
 * It reads only.  A walk has a connection of its own until it is freed, beside those of the other calls; one thread at a time. */
struct directory_scan;
struct directory_value {
	const void *data;
	size_t len;
	bool smime;                     /* of smime_attribute: CMS; otherwise a certificate, if it is one */
};
struct directory_scanned {
	const char *dn;
	const char *identity;           /* as of struct directory_person; NULL in a walk over certificates */
	const struct strlist *addresses, *spellings; /* the same */
	const struct directory_value *values;
	size_t n;
	size_t left_out;                /* values larger than 256 KiB, or beyond the first 1,000 */
	bool more;                      /* the server kept values back (Active Directory above 1,500) */
};
/* `page` entries are asked for at a time; the server may send fewer. */
struct directory_scan *directory_scan_new(struct directory *d, unsigned page, struct err *err);
/* The same over all entries that have a value in one of address_attributes, without their certificates; `disabled`: of these only those that match
 * disabled_filter, which must be set.  Parts of the tree that another server has (continuation references) are not walked;
 * directory_scan_elsewhere tells. */
struct directory_scan *directory_scan_people(struct directory *d, bool disabled, unsigned page, struct err *err);
void directory_scan_free(struct directory_scan *s); /* accepts NULL */
/* The next page: `each` is called once an entry, with what lives until it returns; false ends the page as failed.  *more is false after the
 * last page.  Takes 15 s at most, or the settings' deadline when that is longer.  false (then the walk is over, whatever it has given so far):
 * as with directory_find. */
bool directory_scan_page(struct directory_scan *s, bool (*each)(void *arg, const struct directory_scanned *entry, struct err *err), void *arg,
	bool *more, struct err *err) BASE_MUST_CHECK;
/* After the last page: NULL, or a sentence why the server ended it before all entries were there (a size limit), and what to do about it. */
const char *directory_scan_cut(const struct directory_scan *s);
/* NULL, or where a part of the tree is that was not walked: an LDAP URL as the server gave it.  Active Directory's partitions of its own
 * (configuration, DNS zones) have no people and are no such part. */
const char *directory_scan_elsewhere(const struct directory_scan *s);

/* For doctor: connect, TLS, bind, base readable; `report` gets one line per fact. */
bool directory_check(struct directory *d, struct buf *report, struct err *err) BASE_MUST_CHECK;

/* For `directory check`: does the schema have the attributes, may we write certificates, does the server cut answers short or refer to others; with a
 * user's bind: can ownership attributes be written by the user.  Rights are tried by modifications that cannot succeed, so nothing changes.
 * `say` gets one fact a call: verdict "ok", "warning" or "error".  false when the directory stopped answering. */
struct directory_probe {
	const char *user_dn, *user_password; /* NULL = no user's bind */
	void (*say)(void *arg, const char *check, const char *verdict, const char *text);
	void *arg;
};
bool directory_probe(struct directory *d, const struct directory_probe *p, struct err *err) BASE_MUST_CHECK;

#endif
