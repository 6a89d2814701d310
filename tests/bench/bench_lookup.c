/*
 * tests/bench/bench_lookup.c - what it costs to find out who signs, in process.
 *
 *     bench_lookup [--quick] SMALL LARGE [USERS]      two configurations, each with its store: of 100 users, and of so many (default 10,000)
 *
 *     lookup-hot    microseconds of a look-up that the cache answers: 1,000 users of the large store in turns, against 100 users of the small one
 *     lookup-miss   microseconds of the first look-up of a user of the large store, against one signature with such a key
 *     lookup-first  the same, users of the whole large store, against users of the small one
 *     lookup-cached KiB of memory for a user in the cache, of the large store against the small one
 *     lookup-find   what of that is the store's, which is also what a look-up costs after any change
 *
 * CPU time: of this thread, and for the last two lines that of PostgreSQL's processes which work for the role enroll_outbound, on this host.
 */
#include "config.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "milter/credentials.h"
#include "tests/bench/bench.h"

#define FEW 100
#define HOT 1000
#define MOST 2000 /* misses */
#define ROUND 100 /* of those that are compared: as many as there are users in the small store */

struct side {
	struct config *config;
	struct store *store;
	struct credentials *credentials;
	size_t users; /* asked for in turns */
	char (*addresses)[64];
	double cached;                  /* KiB for one of them */
};

static double resident_kib(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	long size, resident;

	if (!file || fscanf(file, "%ld %ld", &size, &resident) != 2)
		bench_die("/proc/self/statm");
	fclose(file);
	return (double)resident * (double)sysconf(_SC_PAGESIZE) / 1024;
}

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
	look(s, 0);
	s->cached = resident_kib();
	for (size_t i = 1; i < users; i++)
		look(s, i); /* everybody's first mail */
	s->cached = (resident_kib() - s->cached) / (double)users;
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

/* ---- the store's part ------------------------------------------------------------------------------------------------- */

/* One that works for us: it has the role in its title. */
static bool is_server(const char *pid)
{
	char path[64], title[200] = "";
	FILE *file;

	snprintf(path, sizeof path, "/proc/%.20s/cmdline", pid);
	file = fopen(path, "r");
	if (file && !fgets(title, sizeof title, file))
		title[0] = '\0';
	if (file)
		fclose(file);
	return strncmp(title, "postgres: ", 10) == 0 && strstr(title, "enroll_outbound") != NULL;
}

/* All that has to do with it: ours, and that of the database's processes which work for us. */
static double all_us(const struct side *s)
{
	double sum = bench_cpu_us();
	DIR *all = store_is_file(&s->config->store) ? NULL : opendir("/proc");

	for (struct dirent *e; all && (e = readdir(all)) != NULL;) {
		struct timespec t;
		clockid_t clock;

		if (e->d_name[0] > '0' && e->d_name[0] <= '9' && is_server(e->d_name) && clock_getcpuclockid(atoi(e->d_name), &clock) == 0 &&
			clock_gettime(clock, &t) == 0)
			sum += (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
	}
	if (all)
		closedir(all);
	return sum;
}

static double finds(const struct side *s, size_t from, size_t users)
{
	double began = all_us(s);

	for (size_t i = 0; i < ROUND; i++) {
		struct store_credential found;
		struct err err = ERR_INIT;
		const char *why;
		char address[64];
		bool there;

		snprintf(address, sizeof address, BENCH_USER, (from + i) * 7919 % users);
		if (!store_credential_find(s->store, address, &found, &there, &why, &err) || !there)
			bench_die("%s: %s", address, err.class != ERR_NONE ? err.text : why);
		store_credential_clear(&found);
	}
	return (all_us(s) - began) / ROUND;
}

/* Everybody's first mail after a start. */
static double firsts(struct side *s, size_t from, size_t users)
{
	struct err err = ERR_INIT;
	struct credentials *before = s->credentials;
	size_t known = s->users;
	double began;

	s->credentials = credentials_new(s->store, s->config, &err);
	if (!s->credentials)
		bench_die("%s", err.text);
	s->users = 0;
	began = all_us(s);
	for (size_t i = 0; i < ROUND; i++)
		look(s, (from + i) * 7919 % users);
	began = all_us(s) - began;
	credentials_free(s->credentials);
	s->credentials = before;
	s->users = known;
	return began / ROUND;
}

static void bench_first(struct side *small, struct side *large, size_t users, bool quick)
{
	size_t rounds = quick ? 7 : 31;
	double first[2][32], find[2][32], ratio[2][32];

	for (size_t i = 0; i < rounds; i++) {
		find[0][i] = finds(small, i * ROUND, FEW);
		find[1][i] = finds(large, i * ROUND, users);
		first[0][i] = firsts(small, i * ROUND, FEW);
		first[1][i] = firsts(large, i * ROUND, users);
		ratio[0][i] = first[1][i] / first[0][i];
		ratio[1][i] = find[1][i] / find[0][i];
	}
	bench_line("lookup-first", bench_median(first[1], rounds), "us", bench_median(first[0], rounds), bench_median(ratio[0], rounds));
	bench_line("lookup-find", bench_median(find[1], rounds), "us", bench_median(find[0], rounds), bench_median(ratio[1], rounds));
}

int main(int argc, char **argv)
{
	bool quick = argc > 1 && strcmp(argv[1], "--quick") == 0;
	struct side small, large;
	size_t users = argc - quick == 4 ? strtoul(argv[3 + quick], NULL, 10) : 10000;

	if (argc - quick != 3 && argc - quick != 4)
		bench_die("bench_lookup [--quick] SMALL LARGE [USERS]");
	open_side(&small, argv[1 + quick], FEW);
	open_side(&large, argv[2 + quick], HOT);
	bench_line("lookup-cached", large.cached, "KiB", small.cached, small.cached > 0 ? large.cached / small.cached : 1);
	bench_hot(&small, &large, quick);
	bench_miss(&large, quick);
	bench_first(&small, &large, users, quick);
	close_side(&small);
	close_side(&large);
	return 0;
}
