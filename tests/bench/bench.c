/*
 * tests/bench/bench.c - what the benches share (bench.h).
 */
#include "config.h"

#include "tests/bench/bench.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/conf.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#define DAY 86400

void bench_die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static double clock_us(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

double bench_cpu_us(void)
{
	return clock_us(CLOCK_THREAD_CPUTIME_ID);
}

double bench_wall_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_median(double *v, size_t n)
{
	qsort(v, n, sizeof *v, by_size);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

void bench_line(const char *name, double value, const char *unit, double baseline, double ratio)
{
	printf("bench=%s value=%.3f unit=%s baseline=%.3f ratio=%.3f\n", name, value, unit, baseline, ratio);
	fflush(stdout);
}

/* ---- keys and certificates ------------------------------------------------------------------------------------------- */

EVP_PKEY *bench_key(const char *kind)
{
	EVP_PKEY *key = strcmp(kind, "rsa2048") == 0 ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");

	if (!key)
		bench_die("no key of kind %s", kind);
	return key;
}

static void extend(X509 *x, X509 *issuer, int nid, const char *value)
{
	CONF *none = NCONF_new(NULL); /* policies are refused without one */
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	X509V3_set_nconf(&ctx, none);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	if (!e || X509_add_ext(x, e, -1) != 1)
		bench_die("extension %s", value);
	X509_EXTENSION_free(e);
	NCONF_free(none);
}

/* What certificates of users are like in size: without policies and addresses of revocation lists they would be half.  For encryption
 * too, so that a signature may say what the owner can decrypt. */
static void extend_for_user(X509 *x, X509 *issuer, EVP_PKEY *key, const char *address)
{
	bool rsa = EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA;
	char san[ADDRESS_MAX + 8];

	snprintf(san, sizeof san, "email:%s", address);
	extend(x, issuer, NID_key_usage, rsa ? "critical,digitalSignature,keyEncipherment" : "critical,digitalSignature,keyAgreement");
	extend(x, issuer, NID_subject_alt_name, san);
	extend(x, issuer, NID_ext_key_usage, "emailProtection");
	extend(x, issuer, NID_certificate_policies, "2.23.140.1.5.1.3");
	extend(x, issuer, NID_crl_distribution_points, "URI:http://crl.ca.example/issuing.crl");
	extend(x, issuer, NID_info_access, "caIssuers;URI:http://crl.ca.example/issuing.cer");
}

static X509 *certificate(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, const char *address)
{
	static long serial = 1000;
	X509 *x = X509_new();
	time_t now = time(NULL);

	if (!x)
		bench_die("no memory");
	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x));
	ASN1_TIME_set(X509_getm_notBefore(x), now - DAY);
	ASN1_TIME_set(X509_getm_notAfter(x), now + 365 * DAY);
	X509_set_pubkey(x, key);
	extend(x, issuer ? issuer : x, NID_basic_constraints, address ? "critical,CA:FALSE" : "critical,CA:TRUE");
	extend(x, issuer ? issuer : x, NID_subject_key_identifier, "hash");
	if (issuer)
		extend(x, issuer, NID_authority_key_identifier, "keyid");
	if (address)
		extend_for_user(x, issuer, key, address);
	else
		extend(x, issuer ? issuer : x, NID_key_usage, "critical,keyCertSign,cRLSign");
	if (X509_sign(x, issuer_key, EVP_sha256()) <= 0)
		bench_die("certificate of %s", name);
	return x;
}

void bench_ca_init(struct bench_ca *ca)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	long len;

	*ca = (struct bench_ca){.root_key = bench_key("p256"), .upper_key = bench_key("p256"), .issuing_key = bench_key("p256")};
	ca->root = certificate("Root", ca->root_key, NULL, ca->root_key, NULL);
	ca->upper = certificate("Upper", ca->upper_key, ca->root, ca->root_key, NULL);
	ca->issuing = certificate("Issuing", ca->issuing_key, ca->upper, ca->upper_key, NULL);
	if (!bio || !PEM_write_bio_X509(bio, ca->issuing) || !PEM_write_bio_X509(bio, ca->upper))
		bench_die("no memory");
	len = BIO_get_mem_data(bio, &text);
	buf_append(&ca->chain, text, (size_t)len);
	BIO_free(bio);
}

void bench_ca_clear(struct bench_ca *ca)
{
	X509_free(ca->root);
	X509_free(ca->upper);
	X509_free(ca->issuing);
	EVP_PKEY_free(ca->root_key);
	EVP_PKEY_free(ca->upper_key);
	EVP_PKEY_free(ca->issuing_key);
	buf_clear(&ca->chain);
}

void bench_certificate(const struct bench_ca *ca, const char *address, EVP_PKEY *key, struct buf *der)
{
	X509 *x = certificate(address, key, ca->issuing, ca->issuing_key, address);
	unsigned char *data = NULL;
	int len = i2d_X509(x, &data);

	if (len <= 0)
		bench_die("certificate of %s", address);
	buf_reset(der);
	buf_append(der, data, (size_t)len);
	OPENSSL_free(data);
	X509_free(x);
}
