/*
 * ldap/cache.c - the last known answers: a balanced tree (tsearch) to find them, a list in order of use to forget them.
 */
#include "config.h"

#include "ldap/cache.h"

#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct answer {
	TAILQ_ENTRY(answer) link;
	struct cached value;
	char *key;
};

TAILQ_HEAD(answer_list, answer);

struct cache {
	pthread_mutex_t lock;
	struct answer_list used; /* last used first */
	void *tree;
	size_t n, max;
};

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct answer *)a)->key, ((const struct answer *)b)->key);
}

struct cache *cache_new(size_t max)
{
	struct cache *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	pthread_mutex_init(&c->lock, NULL);
	TAILQ_INIT(&c->used);
	c->max = max;
	return c;
}

static void forget(struct cache *c, struct answer *e)
{
	tdelete(e, &c->tree, compare);
	TAILQ_REMOVE(&c->used, e, link);
	c->n--;
	free(e->key);
	free(e);
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	while (!TAILQ_EMPTY(&c->used))
		forget(c, TAILQ_FIRST(&c->used));
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static struct answer *find(struct cache *c, const char *key)
{
	struct answer probe = {.key = (char *)(uintptr_t)key};
	struct answer **found = tfind(&probe, &c->tree, compare);

	if (!found)
		return NULL;
	TAILQ_REMOVE(&c->used, *found, link);
	TAILQ_INSERT_HEAD(&c->used, *found, link);
	return *found;
}

bool cache_get(struct cache *c, const char *key, struct cached *out)
{
	struct answer *e;

	pthread_mutex_lock(&c->lock);
	e = find(c, key);
	if (e)
		*out = e->value;
	pthread_mutex_unlock(&c->lock);
	return e != NULL;
}

static struct answer *add(struct cache *c, const char *key)
{
	struct answer *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->key = str_dup(key);
	if (!e->key || !tsearch(e, &c->tree, compare)) {
		free(e->key);
		free(e);
		return NULL;
	}
	TAILQ_INSERT_HEAD(&c->used, e, link);
	c->n++;
	return e;
}

void cache_put(struct cache *c, const char *key, const struct cached *value)
{
	struct answer *e;

	pthread_mutex_lock(&c->lock);
	e = find(c, key);
	if (!e)
		e = add(c, key);
	if (e)
		e->value = *value;
	while (c->n > c->max)
		forget(c, TAILQ_LAST(&c->used, answer_list));
	pthread_mutex_unlock(&c->lock);
}

size_t cache_count(struct cache *c)
{
	size_t n;

	pthread_mutex_lock(&c->lock);
	n = c->n;
	pthread_mutex_unlock(&c->lock);
	return n;
}
