/* ldap/cache.h - a bounded memory of yes-or-no answers, least recently used goes first.  Any thread.  Private to ldap/. */
#ifndef ENROLL_LDAP_CACHE_H
#define ENROLL_LDAP_CACHE_H

#include "base/base.h"

struct cache;
struct cached {
	bool yes;
	const char *why; /* static text */
	int64_t at;      /* mono_ms of the answer */
};

struct cache *cache_new(size_t max);
void cache_free(struct cache *c); /* accepts NULL */
bool cache_get(struct cache *c, const char *key, struct cached *out);
/* Without memory the answer is just not kept. */
void cache_put(struct cache *c, const char *key, const struct cached *value);
size_t cache_count(struct cache *c);

#endif
