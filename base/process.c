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

static bool two(const char *s, int least, int most, int *out)
{
	if (s[0] < '0' || s[0] > '9' || s[1] < '0' || s[1] > '9')
		return false;
	*out = (s[0] - '0') * 10 + s[1] - '0';
	return *out >= least && *out <= most;
}

/* "Z" or "+hh:mm" and nothing behind it. */
static bool zone_of(const char *s, long *seconds)
{
	int hours, minutes;

	*seconds = 0;
	if ((*s == 'Z' || *s == 'z') && s[1] == '\0')
		return true;
	if ((*s != '+' && *s != '-') || !two(s + 1, 0, 23, &hours) || s[3] != ':' || !two(s + 4, 0, 59, &minutes) || s[6] != '\0')
		return false;
	*seconds = (*s == '-' ? -60L : 60L) * (hours * 60 + minutes);
	return true;
}

/* Octet by octet, so that nothing is read behind an early end; a leap second is taken for the one after it. */
bool time_parse(const char *s, time_t *out)
{
	struct tm tm = {0}, check;
	int century, year;
	long zone;
	time_t t;

	if (!two(s, 19, 99, &century) || !two(s + 2, 0, 99, &year) || s[4] != '-' || !two(s + 5, 1, 12, &tm.tm_mon) || s[7] != '-' ||
		!two(s + 8, 1, 31, &tm.tm_mday) || (s[10] != 'T' && s[10] != 't'))
		return false;
	if (!two(s + 11, 0, 23, &tm.tm_hour) || s[13] != ':' || !two(s + 14, 0, 59, &tm.tm_min) || s[16] != ':' || !two(s + 17, 0, 60, &tm.tm_sec))
		return false;
	s += 19;
	if (*s == '.') {
		if (strspn(s + 1, "0123456789") == 0)
			return false;
		s += 1 + strspn(s + 1, "0123456789");
	}
	if (!zone_of(s, &zone))
		return false;
	tm.tm_year = century * 100 + year - 1900;
	tm.tm_mon--;
	check = tm;
	check.tm_sec = 0;
	t = timegm(&check);
	*out = t + tm.tm_sec - zone;
	return check.tm_mday == tm.tm_mday && check.tm_mon == tm.tm_mon; /* else there is no such day */
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
