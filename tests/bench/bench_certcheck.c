/*
 * tests/bench/bench_certcheck.c - what the profile rows of certcheck cost, against taking the certificate apart.
 *
 *     bench_certcheck            one line for each kind of certificate: microseconds, and their ratio; a ratio above LIMIT is a failure
 *
 * "Apart" is d2i_X509 and certcheck_parts_init: nobody can ask a certificate anything for less.  "Rows" is every row of the profile on what came
 * of it (not the gateway's own questions: a chain costs the signatures in it), each time on a certificate that was just parsed, so that nothing
 * is warm.  Both are taken in one run, in turns; of many rounds the fastest counts for each, so that what else the machine does is left out; and
 * as long as the ratio is above the limit it goes on, until MOST rounds were not quiet enough.
 */
#include "config.h"

#include <stdlib.h>
#include <time.h>

#include <check.h>

#include "policy/certcheck_rows.h"
#include "tests/unit/certificates.h"

#define LIMIT 1.3
#define ROUNDS 20
#define MOST 400
#define HOPELESS 8 /* no other load does that */
#define KEYS 3
#define TIMES 100 /* a round */
#define SKIPPED 77
#define NOW 1795305600 /* 2026-11-22 */

struct subject {
	const char *name;
	enum validation validation;
	enum generation generation;
	const char *algorithm, *group;
};

static const struct subject subjects[] = {
	{"mailbox-strict, P-256", VALIDATION_MAILBOX, GENERATION_STRICT, "EC", "P-256"},
	{"mailbox-strict, RSA 2048", VALIDATION_MAILBOX, GENERATION_STRICT, "RSA", "2048"},
	{"mailbox-strict, RSA 4096", VALIDATION_MAILBOX, GENERATION_STRICT, "RSA", "4096"},
	{"mailbox-strict, Ed25519", VALIDATION_MAILBOX, GENERATION_STRICT, "ED25519", NULL},
	{"sponsor-multipurpose, P-256", VALIDATION_SPONSOR, GENERATION_MULTIPURPOSE, "EC", "P-256"},
	{"sponsor-multipurpose, RSA 2048", VALIDATION_SPONSOR, GENERATION_MULTIPURPOSE, "RSA", "2048"},
	{"organization-strict, P-384", VALIDATION_ORGANIZATION, GENERATION_STRICT, "EC", "P-384"},
	{"private, RSA 2048", VALIDATION_PRIVATE, GENERATION_STRICT, "RSA", "2048"},
};
#define N_SUBJECTS (sizeof subjects / sizeof subjects[0])

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void run_rows(struct certcheck *c)
{
	int len = i2d_X509(c->leaf, &c->der); /* certcheck does it for FRM-2 */

	c->der_len = len > 0 ? (size_t)len : 0;
	for (size_t i = 0; i < certcheck_rows_n; i++) {
		const struct certcheck_row *row = &certcheck_rows[i];

		if (row->scope == ROW_OWN || row->scope == ROW_PRIVATE || !row_applies(c, row))
			continue;
		c->row = row;
		c->reported = 0;
		row->check(c);
	}
}

/* One round: microseconds for one certificate. */
static void measure(const unsigned char *der, long len, const struct certcheck_request *req, double *apart, double *rows)
{
	*apart = *rows = 0;
	for (int i = 0; i < TIMES; i++) {
		const unsigned char *p = der;
		struct findings found = {0};
		struct certcheck c = {.out = &found};
		double began = now_us(), parsed;
		X509 *x = d2i_X509(NULL, &p, len);

		if (x == NULL || !certcheck_parts_init(&c, x, req))
			abort();
		parsed = now_us();
		*apart += parsed - began;
		/* a chain of two, for the rows about the issuer */
		c.chain = sk_X509_new_reserve(NULL, 2);
		sk_X509_push(c.chain, x);
		sk_X509_push(c.chain, authority_ca.certificate);
		X509_up_ref(x);
		X509_up_ref(authority_ca.certificate);
		parsed = now_us();
		run_rows(&c);
		*rows += now_us() - parsed;
		if (found.n > 0)
			abort(); /* findings would be measured as well */
		certcheck_parts_clear(&c);
		X509_free(x);
	}
	*apart /= TIMES;
	*rows /= TIMES;
}

/* The fastest of many rounds with a certificate of its own key, in microseconds. */
static void measure_one(const struct subject *s, double *best_apart, double *best_rows)
{
	struct spec spec = spec_clean(s->validation, s->generation, NOW);
	struct certificate_profile profile = {.validation = s->validation, .generation = s->generation, .usage = USAGE_SIGN};
	struct certcheck_request req = {.profile = &profile, .now = NOW};
	unsigned char *der = NULL;
	EVP_PKEY *key = key_of(s->algorithm, s->group);
	X509 *x;
	int len;

	*best_apart = *best_rows = 1e9;
	spec.key = key;
	x = spec_make(&spec);
	len = i2d_X509(x, &der);
	for (int i = 0; i < ROUNDS || (*best_rows > LIMIT * *best_apart && *best_rows < HOPELESS * *best_apart && i < MOST); i++) {
		double apart, rows;

		measure(der, len, &req, &apart, &rows);
		*best_apart = apart < *best_apart ? apart : *best_apart;
		*best_rows = rows < *best_rows ? rows : *best_rows;
	}
	OPENSSL_free(der);
	X509_free(x);
	EVP_PKEY_free(key);
}

START_TEST(rows_cost_little_more_than_parsing)
{
	const struct subject *s = &subjects[_i];
	double apart = 0, rows = 0;

	/* Of RSA 4096 one modulus in some sixty looks like the 59th power of a prime until it is raised to itself, and costs that: another key. */
	for (int keys = 0; keys < KEYS && (keys == 0 || rows >= HOPELESS * apart); keys++)
		measure_one(s, &apart, &rows);
	printf("%-32s apart %7.1f us, rows %7.1f us, ratio %.2f\n", s->name, apart, rows, rows / apart);
	fflush(stdout);
	ck_assert_msg(rows <= LIMIT * apart, "%s: %.2f is above %.1f", s->name, rows / apart, LIMIT);
}
END_TEST

int main(void)
{
	Suite *s;
	TCase *t;
	SRunner *r;
	int failed;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
	printf("skipped: built with a sanitizer or without optimisation, while libcrypto is not\n");
	return SKIPPED;
#endif
	s = suite_create("bench_certcheck");
	t = tcase_create("bench_certcheck");
	tcase_add_unchecked_fixture(t, certificates_setup, certificates_teardown);
	tcase_add_loop_test(t, rows_cost_little_more_than_parsing, 0, (int)N_SUBJECTS);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
