/*
 * milter/credentials.c - who can sign now, without asking the store for each mail.
 *
 * An entry is good as long as the store's change counter stands still.  When it moved, the entry is compared with the store's answer before it
 * is used again, so that a certificate that was superseded, revoked or disabled is dropped with the next mail.  While the store is away an
 * entry lives on for stale-limit seconds since it was last confirmed.
 */
#include "config.h"

#include "milter/credentials.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <glib.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/x509.h>

#include "metrics/metrics.h"

struct entry {
	char *key;
	struct signer *signer;  /* NULL: the store has none */
	const char *why;        /* then: its static text */
	char *rule;             /* of the enrollment; NULL = none */
	int64_t counter;        /* the store's change counter when it was confirmed */
	int64_t confirmed_ms;
	GList link;             /* in the order of use */
};

struct credentials {
	pthread_mutex_t lock;   /* all below */
	GHashTable *by_address; /* key owned by the entry */
	GQueue used;            /* newest first */
	struct store *store;
	struct keyring ring;
	char *certificate_file, *key_file; /* where it came from, and is loaded from again when the master key is another one */
	size_t most;
	int64_t stale_ms;
};

/* ---- the secure heap -------------------------------------------------------------------------------------------------- */

#define KEY_OCTETS 8192          /* what OpenSSL makes of an RSA key of 3072 bits when it signs with it is about that, after rounding up to powers of two */
#define HEAP_LEAST (1024 * 1024)
#define HEAP_MOST ((size_t)1 << 30)
#define HEAP_PIECE 32

/* Credentials that fit; SIZE_MAX: there is no such heap (tests), keys are wherever malloc puts them.  Written once, before threads. */
static size_t heap_credentials = SIZE_MAX;

#ifdef BUILT_WITH_SANITIZERS
/* They do not look into it: what OpenSSL keeps by pointers in there would count as lost. */
bool credentials_secure_heap(const struct config *config, struct err *err)
{
	return true;
}
#else
bool credentials_secure_heap(const struct config *config, struct err *err)
{
	/* Twice: keys that were dropped live on with the mail that uses them. */
	size_t wanted = 2 * (size_t)config->milter.cache_size * KEY_OCTETS, size = HEAP_LEAST;
	int made;

	while (size < wanted && size < HEAP_MOST)
		size *= 2;
	made = CRYPTO_secure_malloc_initialized() ? 1 : CRYPTO_secure_malloc_init(size, HEAP_PIECE);
	if (made == 0)
		return err_set(err, ERR_TEMPORARY, "make the secure heap", NULL, "no address space for %zu MiB of keys; milter.cache-size is too large",
			size / (1024 * 1024));
	if (made == 2)
		log_event(LOG_LEVEL_WARNING, "keys_not_locked", "mib", LOG_NUM(size / (1024 * 1024)), "text",
			"users' keys in use may be swapped out; let the outbound instance lock as much memory (systemd: LimitMEMLOCK, else ulimit -l), or make "
			"milter.cache-size smaller", NULL);
	heap_credentials = size / KEY_OCTETS / 2;
	return true;
}
#endif

static void entry_free(gpointer p)
{
	struct entry *e = p;

	signer_unref(e->signer);
	g_free(e->key);
	g_free(e->rule);
	g_free(e);
}

/* The master keys, where they may rest. */
static bool load_ring(struct credentials *c, struct keyring *ring, struct err *err)
{
	bool locked = true;

	if (!keyring_load(ring, c->certificate_file, c->key_file, err) || !keyring_park(ring, &locked, err)) {
		keyring_clear(ring);
		return false;
	}
	if (!locked)
		log_event(LOG_LEVEL_WARNING, "keys_not_locked", "text", "the master key may be swapped out: not even one page of memory may be locked (systemd: "
			"LimitMEMLOCK, and SystemCallFilter=mlock; else ulimit -l)", NULL);
	return true;
}

/* Key, certificate and store belong together: else every mail would find out by itself, as it does where the store is away. */
static bool master_fits(struct credentials *c, const struct config *config, struct err *err)
{
	if (!load_ring(c, &c->ring, err))
		return false;
	if (keyring_is_of(c->store, &c->ring, config->master_certificate, err))
		return true;
	if (store_change_counter(c->store) >= 0)
		return false;
	if (err)
		err_clear(err);
	return true;
}

struct credentials *credentials_new(struct store *store, const struct config *config, struct err *err)
{
	struct credentials *c = calloc(1, sizeof *c);

	if (!c) {
		err_nomem(err, "load master key");
		return NULL;
	}
	pthread_mutex_init(&c->lock, NULL);
	c->by_address = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, entry_free);
	g_queue_init(&c->used);
	c->store = store;
	c->most = config->milter.cache_size ? config->milter.cache_size : 1;
	if (c->most > heap_credentials)
		c->most = heap_credentials;
	metrics_set(METRIC_CREDENTIAL_CACHE, 0, 0, 0);
	c->stale_ms = (int64_t)config->milter.stale_limit * 1000;
	c->certificate_file = str_dup(config->master_certificate);
	c->key_file = str_dup(config->master_key);
	if (!c->certificate_file || !c->key_file) {
		err_nomem(err, "load master key");
	} else if (master_fits(c, config, err)) {
		return c;
	}
	credentials_free(c);
	return NULL;
}

void credentials_free(struct credentials *c)
{
	if (!c)
		return;
	g_hash_table_destroy(c->by_address);
	keyring_clear(&c->ring);
	free(c->certificate_file);
	free(c->key_file);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* ---- the cache; called with the lock held ---------------------------------------------------------------------------- */

static void touch(struct credentials *c, struct entry *e)
{
	g_queue_unlink(&c->used, &e->link);
	g_queue_push_head_link(&c->used, &e->link);
}

static void drop(struct credentials *c, struct entry *e)
{
	g_queue_unlink(&c->used, &e->link);
	g_hash_table_remove(c->by_address, e->key);
}

static struct entry *put(struct credentials *c, const char *key, struct signer *signer, const char *rule, const char *why, int64_t counter)
{
	struct entry *e = g_hash_table_lookup(c->by_address, key);

	if (e)
		drop(c, e);
	while (g_queue_get_length(&c->used) >= c->most)
		drop(c, g_queue_peek_tail(&c->used));
	e = g_new0(struct entry, 1);
	e->key = g_strdup(key);
	e->signer = signer;
	e->rule = g_strdup(rule);
	e->why = why;
	e->counter = counter;
	e->confirmed_ms = mono_ms();
	e->link.data = e;
	g_hash_table_insert(c->by_address, e->key, e);
	g_queue_push_head_link(&c->used, &e->link);
	metrics_set(METRIC_CREDENTIAL_CACHE, 0, 0, g_queue_get_length(&c->used));
	return e;
}

static struct signer *use(struct entry *e, time_t now, struct credential_words *words)
{
	snprintf(words->rule, sizeof words->rule, "%s", e->rule ? e->rule : "");
	if (!e->signer) {
		words->why = e->why;
		return NULL;
	}
	if (!signer_valid_at(e->signer, now)) {
		words->why = "expired";
		return NULL;
	}
	return signer_ref(e->signer);
}

static bool lookup(struct credentials *c, const char *key, int64_t counter, int64_t answered, time_t now, struct signer **out, struct credential_words *words)
{
	struct entry *e;
	bool fresh;

	pthread_mutex_lock(&c->lock);
	e = g_hash_table_lookup(c->by_address, key);
	fresh = e && counter >= 0 && e->counter == counter;
	if (fresh) {
		touch(c, e);
		/* By a database that may be away already and has not been missed yet: by its last answer. */
		if (e->confirmed_ms < answered)
			e->confirmed_ms = answered;
		*out = use(e, now, words);
	}
	pthread_mutex_unlock(&c->lock);
	return fresh;
}

/* The store did not answer: what was good a while ago still is, up to stale-limit. */
static bool lookup_stale(struct credentials *c, const char *key, time_t now, struct signer **out, struct credential_words *words)
{
	struct entry *e;
	bool usable;

	pthread_mutex_lock(&c->lock);
	e = g_hash_table_lookup(c->by_address, key);
	usable = e && mono_ms() - e->confirmed_ms <= c->stale_ms;
	if (usable)
		*out = use(e, now, words);
	pthread_mutex_unlock(&c->lock);
	return usable;
}

static bool same_certificate(struct credentials *c, const char *key, const struct store_credential *found, int64_t counter, time_t now,
	struct signer **out, struct credential_words *words)
{
	struct entry *e;
	bool same;

	pthread_mutex_lock(&c->lock);
	e = g_hash_table_lookup(c->by_address, key);
	same = e && e->signer && signer_certificate_id(e->signer) == found->certificate_id;
	if (same) {
		g_free(e->rule);
		e->rule = g_strdup(found->rule);
		e->counter = counter;
		e->confirmed_ms = mono_ms();
		touch(c, e);
		*out = use(e, now, words);
	}
	pthread_mutex_unlock(&c->lock);
	return same;
}

static struct signer *remember(struct credentials *c, const char *key, struct signer *signer, const char *rule, const char *static_why,
	int64_t counter, time_t now,
	struct credential_words *words)
{
	struct signer *out;

	pthread_mutex_lock(&c->lock);
	out = use(put(c, key, signer, rule, static_why, counter), now, words);
	pthread_mutex_unlock(&c->lock);
	return out;
}

/* References of the pair that opens this, or of the first one if none does: then its error is told. */
static bool take_pair(struct credentials *c, const struct store_credential *found, struct keyring_pair *out, bool any)
{
	const struct keyring_pair *pair;

	pthread_mutex_lock(&c->lock);
	pair = keyring_for(&c->ring, found->wrapped, found->wrapped_len);
	if (!pair && any)
		pair = &c->ring.v[0];
	*out = (struct keyring_pair){.key = pair ? keyring_key(&c->ring, pair) : NULL};
	if (out->key) {
		out->certificate = pair->certificate;
		X509_up_ref(out->certificate);
	}
	pthread_mutex_unlock(&c->lock);
	return out->key != NULL;
}

/* A rotation of the master key is under way, or over: both keys are looked for again. */
static void ring_again(struct credentials *c)
{
	struct keyring fresh, old;
	struct err err = ERR_INIT;

	if (!load_ring(c, &fresh, &err)) {
		log_error(LOG_LEVEL_WARNING, "master_key_not_loaded", &err, NULL);
		return;
	}
	pthread_mutex_lock(&c->lock);
	old = c->ring;
	c->ring = fresh;
	pthread_mutex_unlock(&c->lock);
	keyring_clear(&old);
}

static struct signer *load(struct credentials *c, const struct store_credential *found, const char *address, time_t now, struct err *err)
{
	struct keyring_pair pair;
	struct signer *s;

	if (!take_pair(c, found, &pair, false)) {
		ring_again(c);
		if (!take_pair(c, found, &pair, true)) {
			err_nomem(err, "unwrap user key");
			return NULL;
		}
	}
	s = signer_load(found, address, pair.certificate, pair.key, now, err);
	X509_free(pair.certificate);
	EVP_PKEY_free(pair.key);
	return s;
}

static struct signer *tell(enum metrics_lookup result, struct signer *s)
{
	metrics_count(METRIC_CREDENTIAL_LOOKUPS, result, 0, 0);
	return s;
}

struct signer *credentials_get(struct credentials *c, const char *address, time_t now, struct credential_words *words, struct err *err)
{
	char key[ADDRESS_MAX];
	struct store_credential found = {0};
	struct signer *out = NULL, *signer;
	const char *store_why = "no enrollment";
	bool there = false;
	int64_t counter, answered;

	*words = (struct credential_words){.why = "no enrollment"};
	if (!address_key_of(address, key, err))
		return NULL;
	/* Taken before the question: a change in between makes the entry old, never too new. */
	answered = store_answered_ms(c->store);
	counter = store_change_counter(c->store);
	if (lookup(c, key, counter, answered, now, &out, words))
		return tell(METRICS_LOOKUP_HIT, out);
	if (!store_credential_find(c->store, address, &found, &there, &store_why, err)) {
		if (!lookup_stale(c, key, now, &out, words))
			return tell(METRICS_LOOKUP_FAILED, NULL);
		err_clear(err);
		return tell(METRICS_LOOKUP_STALE, out);
	}
	if (!there) {
		out = tell(METRICS_LOOKUP_NONE, remember(c, key, NULL, found.rule, store_why, counter, now, words));
	} else if (same_certificate(c, key, &found, counter, now, &out, words)) {
		tell(METRICS_LOOKUP_CONFIRMED, out);
	} else {
		signer = load(c, &found, address, now, err);
		tell(signer ? METRICS_LOOKUP_LOADED : METRICS_LOOKUP_FAILED, signer);
		if (signer) {
			out = remember(c, key, signer, found.rule, NULL, counter, now, words);
		} else if (err->class == ERR_POLICY) {
			/* Expired, not yet valid, not for this address: as good as none, and remembered, or each mail would unwrap the key anew. */
			log_error(LOG_LEVEL_WARNING, "credential_unusable", err, "address", address, NULL);
			err_clear(err);
			out = remember(c, key, NULL, found.rule, "the certificate is not valid now", counter, now, words);
		}
	}
	store_credential_clear(&found);
	return out;
}
