/*
 * tests/bench/bench_lookup.c - what it costs to find out who signs, in process.
 *
 *     bench_lookup [--quick] SMALL LARGE      two configurations, each with its store: of 100 users, and of many
 *
 *     lookup-hot    microseconds of a look-up that the cache answers: 1,000 users of the large store in turns, against 100 users of the small one
 *     lookup-miss   microseconds of the first look-up of a user of the large store, against one signature with such a key
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "milter/credentials.h"
#include "tests/bench/bench.h"

#define FEW 100
#define HOT 1000
#define MOST 2000 /* misses */

struct side {
	struct config *config;
	struct store *store;
	struct credentials *credentials;
	size_t users; /* asked for in turns */
	char (*addresses)[64];
};

static void look(const struct side *s, size_t user)
{
	struct err err = ERR_INIT;
	struct credential_words words;
	char address[64];
	struct signer *signer;

	if (user >= s->users)
		snprintf(address, sizeof address, BENCH_USER, user);
	signer = credentials_get(s->credentials, user < s->users ? s->addresses[user] : address, time(NULL), &words, &err);
	if (!signer)
		bench_die("user %zu: %s", user, err.class != ERR_NONE ? err.text : words.why);
	signer_unref(signer);
}

static void open_side(struct side *s, const char *path, size_t users)
{
	struct err err = ERR_INIT;

	s->config = config_load(path, &err);
	s->store = s->config ? store_open(&s->config->store, STORE_ROLE_OUTBOUND, &err) : NULL;
	s->credentials = s->store ? credentials_new(s->store, s->config, &err) : NULL;
	s->users = users;
	s->addresses = calloc(users, sizeof *s->addresses);
	if (!s->credentials || !s->addresses)
		bench_die("%s: %s", path, err.text);
	for (size_t i = 0; i < users; i++)
		snprintf(s->addresses[i], sizeof s->addresses[i], BENCH_USER, i);
	for (size_t i = 0; i < users; i++)
		look(s, i); /* everybody's first mail */
}

static void close_side(struct side *s)
{
	credentials_free(s->credentials);
	store_close(s->store);
	config_unref(s->config);
	free(s->addresses);
}

/* Microseconds of one look-up; the users in turns, in an order that is not the one they came in. */
static double hot(const struct side *s, size_t times)
{
	double began = bench_cpu_us();

	for (size_t i = 0; i < times; i++)
		look(s, i * 389 % s->users);
	return (bench_cpu_us() - began) / (double)times;
}

static void bench_hot(const struct side *small, const struct side *large, bool quick)
{
	size_t rounds = quick ? 7 : 21, times = quick ? 5000 : 20000;
	double value[32], baseline[32], ratio[32];

	for (size_t i = 0; i < rounds; i++) {
		baseline[i] = hot(small, times);
		value[i] = hot(large, times);
		ratio[i] = value[i] / baseline[i];
	}
	bench_line("lookup-hot", bench_median(value, rounds), "us", bench_median(baseline, rounds), bench_median(ratio, rounds));
}

static double signature(EVP_PKEY *key)
{
	static const unsigned char data[190];
	unsigned char out[512];
	size_t n = sizeof out;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	double began = bench_cpu_us();

	if (!ctx || EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) != 1 || EVP_DigestSign(ctx, out, &n, data, sizeof data) != 1)
		bench_die("EVP_DigestSign");
	EVP_MD_CTX_free(ctx);
	return bench_cpu_us() - began;
}

static void bench_miss(const struct side *large, bool quick)
{
	size_t times = quick ? 200 : MOST;
	EVP_PKEY *key = bench_key("rsa2048");
	static double value[MOST], baseline[MOST];
	double v, b;

	for (size_t i = 0; i < times; i++) {
		double began = bench_cpu_us();

		look(large, HOT + i);
		value[i] = bench_cpu_us() - began;
		baseline[i] = signature(key);
	}
	v = bench_median(value, times);
	b = bench_median(baseline, times);
	bench_line("lookup-miss", v, "us", b, v / b);
	EVP_PKEY_free(key);
}

int main(int argc, char **argv)
{
	bool quick = argc > 1 && strcmp(argv[1], "--quick") == 0;
	struct side small, large;

	if (argc - quick != 3)
		bench_die("bench_lookup [--quick] SMALL LARGE");
	open_side(&small, argv[1 + quick], FEW);
	open_side(&large, argv[2 + quick], HOT);
	bench_hot(&small, &large, quick);
	bench_miss(&large, quick);
	close_side(&small);
	close_side(&large);
	return 0;
}
