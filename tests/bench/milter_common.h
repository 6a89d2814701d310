/*
 * tests/bench/milter_common.h - what the milters to compare with share with the product's: the socket and how it is made.
 */
#ifndef ENROLL_TESTS_BENCH_MILTER_COMMON_H
#define ENROLL_TESTS_BENCH_MILTER_COMMON_H

#include <stdbool.h>

#include <libmilter/mfapi.h>

/* Registers, opens the socket (TCP_NODELAY on one of TCP: libmilter hides its descriptor, but what listens is found), and runs; the exit code. */
int milter_run(struct smfiDesc *callbacks, const char *where);

/* Answers on_negotiate as the outbound instance does: the same steps, the same macros. */
sfsistat milter_negotiate(SMFICTX *ctx, unsigned long offered, unsigned long *actions, unsigned long *steps);

#endif
