/*
 * tests/bench/bench_fill.h - how users get into a store of either engine.  Private to bench_fill*.c.
 */
#ifndef ENROLL_TESTS_BENCH_BENCH_FILL_H
#define ENROLL_TESTS_BENCH_BENCH_FILL_H

#include "tests/bench/bench.h"

struct bench_fill_user {
	size_t id;           /* of the row in each table; from 1 */
	const char *address;
	const struct buf *der, *wrapped, *chain;
	time_t now;
};
/* All ends the program when it fails.  `end` commits: before it nothing is there. */
struct bench_fill_ops {
	void *(*begin)(const struct store_settings *s);
	void (*put)(void *to, const struct bench_fill_user *user);
	void (*end)(void *to);
};
extern const struct bench_fill_ops bench_fill_sqlite;
extern const struct bench_fill_ops *const bench_fill_postgresql; /* NULL: built without */

#endif
