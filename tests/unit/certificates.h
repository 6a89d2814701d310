/*
 * tests/unit/certificates.h - a small CA for unit tests: makes certificates of a specification, right or wrong in any detail.
 *
 * Everything is made with OpenSSL calls and shares nothing with the code under test.  The CA is made once, before Check forks.
 */
#ifndef ENROLL_TESTS_UNIT_CERTIFICATES_H
#define ENROLL_TESTS_UNIT_CERTIFICATES_H

#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "policy/policy.h"

#define SPEC_EXTENSIONS 24
#define SPEC_NAMES 16

struct spec_name {
	const char *attribute; /* short name or OID */
	const char *value;
	int type; /* MBSTRING_UTF8 or an exact ASN.1 string type */
};

struct spec {
	enum validation validation;
	enum generation generation;
	struct {
		const char *name, *value;
	} extensions[SPEC_EXTENSIONS]; /* in the syntax of openssl.cnf */
	size_t n_extensions;
	const char *sections; /* more of openssl.cnf, for @section values */
	struct spec_name subject[SPEC_NAMES];
	size_t n_subject;
	EVP_PKEY *key;		       /* borrowed */
	const char *key_oid;	       /* this algorithm identifier instead of the key's own, parameters absent */
	int key_null;		       /* 1: with parameters NULL */
	const unsigned char *key_bits; /* this public key instead of the key's own */
	size_t key_bits_len;
	time_t not_before, not_after;
	bool generalized_time;
	long version;
	const char *serial; /* hex, may have a minus sign */
	const struct authority *issuer;
	const char *digest; /* NULL: none (Edwards keys) */
	bool pss;
	bool printable_issuer;	       /* issuer name in other string types than the issuer's subject */
	const char *duplicate;	       /* name of an extension to add again */
	void (*edit)(struct buf *der); /* last, on the bytes */
};

struct authority {
	X509 *certificate;
	EVP_PKEY *key;
};

/* Root with intermediate; an intermediate with an RSA key; one that ended in 2024; one for TLS servers only; one with an RSA key of 3072 bits made in
 * October 2026; another root. */
extern struct authority authority_root, authority_ca, authority_rsa, authority_ended, authority_tls, authority_small, authority_other;
extern EVP_PKEY *user_key, *user_rsa;
void certificates_setup(void);
void certificates_teardown(void);

/* A certificate without fault for alice@example.org. */
struct spec spec_clean(enum validation v, enum generation g, time_t now);
void spec_set(struct spec *s, const char *extension, const char *value);		  /* NULL takes it away */
void spec_name(struct spec *s, const char *attribute, const char *value);		  /* replaces, or adds; NULL takes it away */
void spec_name_typed(struct spec *s, const char *attribute, const char *value, int type); /* adds */
X509 *spec_make(const struct spec *s);
/* A public RSA key of this modulus and exponent. */
EVP_PKEY *rsa_public(const BIGNUM *n, unsigned long e);
EVP_PKEY *key_of(const char *algorithm, const char *group);

#endif
