/*
 * tests/bench/bench_fill.c - a store with many users (bench.h), in either engine.
 */
#include "config.h"

#include "tests/bench/bench_fill.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/pem.h>

#define KEYS 8

struct fill {
	struct bench_ca ca;
	EVP_PKEY *keys[KEYS];
	struct buf wrapped[KEYS], shared[KEYS]; /* shared: certificates for who has none of their own */
	const struct bench_fill_ops *ops;
	void *to;
};

static FILE *create(const char *folder, const char *name)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	file = fopen(path, "w");
	if (!file)
		bench_die("cannot write %s", path);
	return file;
}

static void leave_first(struct fill *f, const struct buf *der, const char *folder)
{
	const unsigned char *p = (const unsigned char *)der->data;
	X509 *x = d2i_X509(NULL, &p, (long)der->len);
	FILE *key = create(folder, "user.key"), *leaf = create(folder, "user.pem"), *chain = create(folder, "chain.pem");

	if (!x || PEM_write_PrivateKey(key, f->keys[0], NULL, NULL, 0, NULL, NULL) != 1 || PEM_write_X509(leaf, x) != 1 ||
		fwrite(f->ca.chain.data, 1, f->ca.chain.len, chain) != f->ca.chain.len)
		bench_die("cannot write the first user's files");
	if (fclose(key) != 0 || fclose(leaf) != 0 || fclose(chain) != 0)
		bench_die("cannot write into %s", folder);
	X509_free(x);
}

static void fill_begin(struct fill *f, const struct bench_fill_options *o)
{
	struct err err = ERR_INIT;
	char address[ADDRESS_MAX];

	bench_ca_init(&f->ca);
	for (size_t i = 0; i < KEYS; i++) {
		f->keys[i] = bench_key(o->kind);
		if (!keyvault_wrap(&f->wrapped[i], f->keys[i], o->master_certificate, &err))
			bench_die("%s", err.text);
		snprintf(address, sizeof address, BENCH_USER, i);
		bench_certificate(&f->ca, address, f->keys[i], &f->shared[i]);
	}
	f->ops = store_is_file(o->store) ? &bench_fill_sqlite : bench_fill_postgresql;
	if (!f->ops)
		bench_die("built without PostgreSQL");
	f->to = f->ops->begin(o->store);
}

static void fill_end(struct fill *f)
{
	f->ops->end(f->to);
	for (int i = 0; i < KEYS; i++) {
		EVP_PKEY_free(f->keys[i]);
		buf_clear(&f->wrapped[i]);
		buf_clear(&f->shared[i]);
	}
	bench_ca_clear(&f->ca);
}

void bench_fill(const struct bench_fill_options *o)
{
	struct fill f = {0};
	struct buf own = BUF_INIT;
	char address[ADDRESS_MAX];

	fill_begin(&f, o);
	for (size_t n = 0; n < o->users; n++) {
		size_t key = n % KEYS;
		bool shares = o->own > 0 && n >= o->own;
		struct bench_fill_user user = {
			.id = n + 1, .address = address, .der = shares ? &f.shared[key] : &own, .wrapped = &f.wrapped[key], .chain = &f.ca.chain, .now = time(NULL)};

		snprintf(address, sizeof address, BENCH_USER, n);
		if (!shares)
			bench_certificate(&f.ca, address, f.keys[key], &own);
		f.ops->put(f.to, &user);
		if (n == 0 && o->folder)
			leave_first(&f, &own, o->folder);
	}
	buf_clear(&own);
	fill_end(&f);
}
