/* ldap/internal.h - the directory object and what find.c and publish.c share.  Private to ldap/. */
#ifndef ENROLL_LDAP_INTERNAL_H
#define ENROLL_LDAP_INTERNAL_H

#include <pthread.h>

#include "ldap/cache.h"
#include "ldap/connection.h"

#define DIRECTORY_CACHE_MAX 10000
#define DIRECTORY_FAILURE_MS 5000 /* how long a failure answers for the directory */

struct directory {
	struct pool *pool;
	struct cache *cache;
	struct directory_settings settings;
	char **attributes;        /* asked for of every entry; NULL-terminated, the strings are borrowed */
	pthread_mutex_t lock;     /* of what follows */
	int64_t failed_until;
	struct err failure;
};

/* The names of an entry: which setting says where each is read. */
struct directory_name {
	size_t setting, person;   /* offsets of char * in struct directory_settings and struct directory_person */
	const char *fallback;     /* default of the setting; NULL = not read */
};
extern const struct directory_name directory_names[];
extern const size_t directory_names_n;
#define DIRECTORY_TEXT(base, offset) ((char **)((uintptr_t)(base) + (offset)))

/* One entry as found. */
struct directory_entry {
	struct directory_person person;
	struct strlist shared;    /* values of shared_attributes as they stand there */
};
struct directory_entries {
	struct directory_entry *v;
	size_t n;
	bool more;                /* the size limit cut the answer */
};
void directory_entries_clear(struct directory_entries *e);

/* pool_run, with a short memory of failures. */
bool directory_run(struct directory *d, pool_operation *op, void *arg, struct err *err) BASE_MUST_CHECK;
/* What the entry lists in this attribute as its own addresses, added to those that the person has.  false without memory. */
bool directory_add_addresses(LDAP *ld, LDAPMessage *e, const char *attribute, struct directory_person *p);
/* What stays when the entry is renamed or moved; NULL without memory. */
char *directory_entry_identity(LDAP *ld, LDAPMessage *e, const char *dn);
/* The entries whose own address this is, told apart from those that the filter merely matches. */
enum outcome directory_search_address(
	struct directory *d, LDAP *ld, int64_t end, const struct address *address, struct directory_entries *out, struct err *err);

#endif
