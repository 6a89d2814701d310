/*
 * base/process.c - time, chance, and what a process that holds keys does to itself.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <openssl/rand.h>

#include "base/base.h"

int64_t mono_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

const char *time_text(time_t t, char out[32])
{
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(out, 32, "?");
	return out;
}

static void random_octets(void *out, size_t len)
{
	if (RAND_bytes(out, (int)len) != 1) {
		log_event(LOG_LEVEL_ERROR, "no_randomness", "reason", "OpenSSL has no random numbers; this program cannot go on", NULL);
		abort();
	}
}

uint64_t random_below(uint64_t limit)
{
	uint64_t value, first_even;

	if (limit == 0)
		return 0;
	/* The 2^64 values are no multiple of limit: drop the first 2^64 mod limit of them, or small results would come more often. */
	first_even = -limit % limit;
	do {
		random_octets(&value, sizeof(value));
	} while (value < first_even);
	return value % limit;
}

void random_text(struct buf *out, size_t bytes)
{
	unsigned char piece[48]; /* a multiple of 3: the pieces' texts join to the text of the whole */

	while (bytes > 0) {
		size_t n = bytes < sizeof(piece) ? bytes : sizeof(piece);

		random_octets(piece, n);
		base64url_encode(out, piece, n);
		bytes -= n;
	}
	explicit_bzero(piece, sizeof(piece));
}

void process_harden(void)
{
#ifndef BUILT_WITH_SANITIZERS
	const struct rlimit none = {0, 0};

	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}
