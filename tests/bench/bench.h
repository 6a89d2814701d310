/*
 * tests/bench/bench.h - what the benches share: time, medians, keys and certificates, a credential as the store gives it.
 *
 * Everything ends the program with a sentence when it fails: a bench without its parts measures nothing.
 */
#ifndef ENROLL_TESTS_BENCH_BENCH_H
#define ENROLL_TESTS_BENCH_BENCH_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "store/store.h"

/* `format` and a newline to standard error, then exit code 1. */
_Noreturn void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Microseconds.  CPU time of the calling thread: what else the machine does is left out. */
double bench_cpu_us(void);
double bench_wall_us(void);
double bench_median(double *v, size_t n); /* sorts it */

/* One line of result; value, baseline and ratio as they are. */
void bench_line(const char *name, double value, const char *unit, double baseline, double ratio);

/* A root, an issuing intermediate under it, and one more between them: what comes with a mail is two intermediates. */
struct bench_ca {
	EVP_PKEY *root_key, *upper_key, *issuing_key;
	X509 *root, *upper, *issuing;
	struct buf chain; /* PEM of issuing and upper */
};
void bench_ca_init(struct bench_ca *ca);
void bench_ca_clear(struct bench_ca *ca);
EVP_PKEY *bench_key(const char *kind); /* "rsa2048", "p256" */
/* DER of a certificate for this address, from yesterday for a year. */
void bench_certificate(const struct bench_ca *ca, const char *address, EVP_PKEY *key, struct buf *der);

/* Users user000000@corp.example and on with an active credential each, put into a store that is there, by the tables of its engine (through the
 * store's calls a hundred thousand would take an hour).  A few keys of this kind are shared by all. */
struct bench_fill_options {
	const struct store_settings *store;
	size_t users;
	size_t own;         /* so many have a certificate of their own, the others' is that of one of the first: a million is there sooner; 0 = all */
	const char *kind;   /* of bench_key */
	X509 *master_certificate;
	const char *folder; /* the first one's user.key, user.pem and chain.pem are left there; NULL = nowhere */
};
void bench_fill(const struct bench_fill_options *o);
#define BENCH_USER "user%06zu@corp.example"

#endif
