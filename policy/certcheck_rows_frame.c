/*
 * policy/certcheck_rows_frame.c - rows about the frame of a certificate, its validity and its key.
 *
 * Algorithm identifiers are compared as bytes, as the requirements list them: many of the ways to write the same algorithm are
 * refused by some client.  Keys are judged by their object identifier first, as OpenSSL 3.0 can parse a certificate with a
 * post-quantum key but not load the key.
 */
#include "config.h"

#include "policy/certcheck_rows.h"

#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>

struct octets {
	const char *data;
	size_t len;
	enum key_kind key; /* whose key may make this signature; KEY_UNKNOWN: nobody's */
	int curve; /* as in struct certcheck */
};
/* clang-format off */
#define OCTETS(text, key, curve) {text, sizeof(text) - 1, key, curve}

#define SHA2(n) "\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02" n "\x05\x00"
#define PSS(n, salt) "\x30\x41\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x34\xa0\x0f" SHA2(n) \
	"\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08" SHA2(n) "\xa2\x03\x02\x01" salt
#define ML_DSA(n) "\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03" n
#define ML_KEM(n) "\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x04" n
#define ED25519_ID "\x30\x05\x06\x03\x2b\x65\x70"
#define ED448_ID "\x30\x05\x06\x03\x2b\x65\x71"
/* clang-format on */

/* Section 7.1.3.2, with the ML-DSA ones of version 1.0.11 at the end. */
static const struct octets signature_algorithms[] = {
	OCTETS("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00", KEY_RSA, 0),
	OCTETS("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c\x05\x00", KEY_RSA, 0),
	OCTETS("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d\x05\x00", KEY_RSA, 0),
	OCTETS(PSS("\x01", "\x20"), KEY_RSA, 0),
	OCTETS(PSS("\x02", "\x30"), KEY_RSA, 0),
	OCTETS(PSS("\x03", "\x40"), KEY_RSA, 0),
	OCTETS("\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02", KEY_EC, NID_X9_62_prime256v1),
	OCTETS("\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03", KEY_EC, NID_secp384r1),
	OCTETS("\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04", KEY_EC, NID_secp521r1),
	OCTETS(ED25519_ID, KEY_ED25519, 0),
	OCTETS(ED448_ID, KEY_ED448, 0),
	OCTETS(ML_DSA("\x11"), KEY_ML_DSA, 0x11),
	OCTETS(ML_DSA("\x12"), KEY_ML_DSA, 0x12),
	OCTETS(ML_DSA("\x13"), KEY_ML_DSA, 0x13),
};

/* Section 7.1.3.1. */
static const struct octets key_algorithms[] = {
	OCTETS("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00", KEY_RSA, 0),
	OCTETS("\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07", KEY_EC, NID_X9_62_prime256v1),
	OCTETS("\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22", KEY_EC, NID_secp384r1),
	OCTETS("\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23", KEY_EC, NID_secp521r1),
	OCTETS(ED25519_ID, KEY_ED25519, 0),
	OCTETS(ED448_ID, KEY_ED448, 0),
	OCTETS(ML_DSA("\x11"), KEY_ML_DSA, 0x11),
	OCTETS(ML_DSA("\x12"), KEY_ML_DSA, 0x12),
	OCTETS(ML_DSA("\x13"), KEY_ML_DSA, 0x13),
	OCTETS(ML_KEM("\x01"), KEY_ML_KEM, 0),
	OCTETS(ML_KEM("\x02"), KEY_ML_KEM, 0),
	OCTETS(ML_KEM("\x03"), KEY_ML_KEM, 0),
};

static const struct octets *octets_find(const struct octets *table, size_t n, const X509_ALGOR *algorithm)
{
	unsigned char *der = NULL;
	const struct octets *found = NULL;
	int len = algorithm != NULL ? i2d_X509_ALGOR(algorithm, &der) : -1;

	for (size_t i = 0; i < n && len > 0 && found == NULL; i++)
		if (table[i].len == (size_t)len && memcmp(table[i].data, der, (size_t)len) == 0)
			found = &table[i];
	OPENSSL_free(der);
	return found;
}

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *algorithm_name(const X509_ALGOR *algorithm, char out[100])
{
	const ASN1_OBJECT *object = NULL;

	X509_ALGOR_get0(&object, NULL, NULL, algorithm);
	if (object == NULL || OBJ_obj2txt(out, 100, object, 0) <= 0)
		snprintf(out, 100, "unknown");
	return out;
}

/* ---- frame ------------------------------------------------------------------------------------------------------- */

void row_frm_1(struct certcheck *c)
{
	const ASN1_INTEGER *serial = X509_get0_serialNumber(c->leaf);
	BIGNUM *n = serial != NULL ? ASN1_INTEGER_to_BN(serial, NULL) : NULL;

	if (X509_get_version(c->leaf) != X509_VERSION_3)
		row_report(c, "X.509 version %ld instead of 3", X509_get_version(c->leaf) + 1);
	if (n == NULL || BN_is_zero(n) || BN_is_negative(n) || BN_num_bits(n) > 159)
		row_report(c, "serial number is not between 1 and 2^159 - 1");
	BN_free(n);
}

/* UTCTime through 2049, GeneralizedTime from 2050 (RFC 5280 section 4.1.2.5). */
static void frm_2_time(struct certcheck *c, const ASN1_TIME *t, const char *name)
{
	struct tm tm;
	int wanted;

	if (ASN1_TIME_to_tm(t, &tm) != 1) {
		row_report(c, "%s cannot be read", name);
		return;
	}
	wanted = tm.tm_year + 1900 >= 2050 ? V_ASN1_GENERALIZEDTIME : V_ASN1_UTCTIME;
	if (ASN1_STRING_type(t) != wanted)
		row_report(c, "%s is written as %s", name, wanted == V_ASN1_UTCTIME ? "GeneralizedTime before 2050" : "UTCTime after 2049");
}

static void frm_2_extensions(struct certcheck *c)
{
	/* cA FALSE is the DEFAULT, which DER leaves out (X.690 section 11.5) */
	static const unsigned char ca_false[] = {0x30, 0x03, 0x01, 0x01, 0x00};
	const void *decoded[EXT_COUNT] = {[EXT_POLICIES] = c->policies,
		[EXT_CRL] = c->crl,
		[EXT_AIA] = c->aia,
		[EXT_BASIC] = c->basic,
		[EXT_EKU] = c->eku,
		[EXT_AKI] = c->aki,
		[EXT_SAN] = c->san,
		[EXT_SKI] = c->ski};
	int n = X509_get_ext_count(c->leaf);

	for (int i = 0; i < n; i++) {
		X509_EXTENSION *e = X509_get_ext(c->leaf, i);
		const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(e);

		if (!der_is_strict(ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value), true))
			row_report(c, "extension %s is not valid DER", PRINTABLE_OID(X509_EXTENSION_get_object(e)));
		if (X509_get_ext_by_OBJ(c->leaf, X509_EXTENSION_get_object(e), i) >= 0)
			row_report(c, "extension %s is there twice", PRINTABLE_OID(X509_EXTENSION_get_object(e)));
	}
	for (int i = 0; i < EXT_OTHER; i++)
		if (c->ext[i] != NULL && decoded[i] == NULL && i != EXT_KU && (i <= EXT_SAN || i == EXT_SKI))
			row_report(c, "extension %s cannot be decoded", PRINTABLE_OID(X509_EXTENSION_get_object(c->ext[i])));
	if (c->basic != NULL) {
		const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(c->ext[EXT_BASIC]);

		if ((size_t)ASN1_STRING_length(value) == sizeof ca_false &&
			memcmp(ASN1_STRING_get0_data(value), ca_false, sizeof ca_false) == 0)
			row_report(c, "basic constraints spell out the default cA FALSE");
	}
}

void row_frm_2(struct certcheck *c)
{
	const ASN1_BIT_STRING *issuer_id = NULL, *subject_id = NULL;
	const X509_ALGOR *outer = NULL;

	if (!der_is_strict(c->der, c->der_len, false))
		row_report(c, "the certificate is not valid DER");
	frm_2_extensions(c);
	X509_get0_uids(c->leaf, &issuer_id, &subject_id);
	if (issuer_id != NULL || subject_id != NULL)
		row_report(c, "it has a unique identifier, which version 3 forbids");
	X509_get0_signature(NULL, &outer, c->leaf);
	if (outer == NULL || X509_ALGOR_cmp(outer, X509_get0_tbs_sigalg(c->leaf)) != 0)
		row_report(c, "inner and outer signature algorithm differ");
	frm_2_time(c, X509_get0_notBefore(c->leaf), "notBefore");
	frm_2_time(c, X509_get0_notAfter(c->leaf), "notAfter");
}

void row_frm_3(struct certcheck *c)
{
	const X509_ALGOR *algorithm = X509_get0_tbs_sigalg(c->leaf);
	const struct octets *found = octets_find(signature_algorithms, COUNT(signature_algorithms), algorithm);
	char name[100];

	if (found == NULL || (found->key == KEY_ML_DSA && c->row->first < BR_1_0_11))
		row_report(c, "signature algorithm %s is none of those that are listed", algorithm_name(algorithm, name));
}

void row_frm_4(struct certcheck *c)
{
	const struct octets *algorithm = octets_find(signature_algorithms, COUNT(signature_algorithms), X509_get0_tbs_sigalg(c->leaf));
	X509 *issuer = sk_X509_num(c->chain) > 1 ? sk_X509_value(c->chain, 1) : NULL;
	const unsigned char *a = NULL, *b = NULL;
	size_t a_len = 0, b_len = 0;
	enum key_kind key;
	int curve;

	if (issuer == NULL)
		return; /* OWN-CHAIN says that there is none */
	key = certcheck_key_kind(X509_get_X509_PUBKEY(issuer), &curve);
	if (algorithm != NULL && key != KEY_UNKNOWN && (algorithm->key != key || algorithm->curve != curve))
		row_report(c, "signature algorithm does not fit the issuer's key");
	X509_NAME_get0_der(X509_get_issuer_name(c->leaf), &a, &a_len);
	X509_NAME_get0_der(X509_get_subject_name(issuer), &b, &b_len);
	if (a == NULL || b == NULL || a_len != b_len || memcmp(a, b, a_len) != 0)
		row_report(c, "issuer name is not byte for byte the issuer's subject");
}

void row_frm_5(struct certcheck *c)
{
	if (c->ext_count[EXT_OTHER] > 0)
		row_report(c, "%u extension%s that the profile does not name, such as %s", c->ext_count[EXT_OTHER],
			c->ext_count[EXT_OTHER] > 1 ? "s" : "", PRINTABLE_OID(X509_EXTENSION_get_object(c->ext[EXT_OTHER])));
}

void row_val_1(struct certcheck *c)
{
	long long seconds, days;

	if (!c->times)
		return; /* FRM-2 */
	/* both ends included, a started day counts in full */
	seconds = (long long)c->not_after - (long long)c->not_before + 1;
	days = (seconds + 86399) / 86400;
	if (seconds <= 0)
		row_report(c, "it ends before it begins");
	else if (days > 825)
		row_report(c, "valid for %lld days, more than 825", days);
	else if (days == 825)
		row_report_as(c, FINDING_WARNING, "valid for the whole maximum of 825 days, which is advised against");
}

/* ---- key --------------------------------------------------------------------------------------------------------- */

static bool key_is_listed(const struct certcheck *c, bool post_quantum)
{
	switch (c->key) {
	case KEY_RSA:
	case KEY_ED25519:
	case KEY_ED448:
		return true;
	case KEY_EC:
		return c->curve == NID_X9_62_prime256v1 || c->curve == NID_secp384r1 || c->curve == NID_secp521r1;
	case KEY_ML_DSA:
	case KEY_ML_KEM:
		return post_quantum;
	default:
		return false;
	}
}

void row_key_1(struct certcheck *c)
{
	char name[100];

	if (!key_is_listed(c, c->row->first >= BR_1_0_11))
		row_report(c, "key algorithm %s%s is none of those that are listed",
			c->key_algorithm != NULL ? algorithm_name(c->key_algorithm, name) : "unreadable",
			c->key == KEY_EC ? " on another curve" : "");
}

void row_key_6(struct certcheck *c)
{
	const struct octets *found = octets_find(key_algorithms, COUNT(key_algorithms), c->key_algorithm);

	if (key_is_listed(c, c->row->first >= BR_1_0_11) && found == NULL)
		row_report(c, "key algorithm identifier is not written as listed");
}

/* Modulus or exponent of the RSA key, NULL when there is none. */
static BIGNUM *rsa_number(struct certcheck *c, const char *name)
{
	EVP_PKEY *key = c->key == KEY_RSA ? X509_get0_pubkey(c->leaf) : NULL;
	BIGNUM *n = NULL;

	if (key == NULL || EVP_PKEY_get_bn_param(key, name, &n) != 1)
		return NULL;
	return n;
}

void row_key_2(struct certcheck *c)
{
	BIGNUM *n = rsa_number(c, OSSL_PKEY_PARAM_RSA_N);
	int bits = n != NULL ? BN_num_bits(n) : 0;

	if (c->key != KEY_RSA)
		return;
	if (n == NULL)
		row_report(c, "RSA key cannot be read");
	else if (bits < 2048 || bits % 8 != 0)
		row_report(c, "RSA key of %d bits; at least 2048 are needed, divisible by 8", bits);
	BN_free(n);
}

void row_key_3(struct certcheck *c)
{
	BIGNUM *e = rsa_number(c, OSSL_PKEY_PARAM_RSA_E);

	if (e != NULL && (!BN_is_odd(e) || BN_is_negative(e) || BN_is_one(e)))
		row_report(c, "RSA exponent is not odd or below 3");
	BN_free(e);
}

#define SMALL_PRIMES 132
/* The odd primes below 752; their product is checked in pieces that fit a word. */
static size_t small_primes(unsigned primes[SMALL_PRIMES])
{
	size_t n = 0;

	for (unsigned p = 3; p < 752 && n < SMALL_PRIMES; p += 2) {
		bool prime = true;

		for (size_t i = 0; i < n && primes[i] * primes[i] <= p && prime; i++)
			prime = p % primes[i] != 0;
		if (prime)
			primes[n++] = p;
	}
	return n;
}

static unsigned power_mod(unsigned base, unsigned exponent, unsigned modulus)
{
	unsigned result = 1;

	for (base %= modulus; exponent > 0; exponent >>= 1, base = base * base % modulus)
		if (exponent & 1)
			result = result * base % modulus;
	return result;
}

/* The one odd number below 2^64 whose k-th power (k odd) ends in these 64 bits: raising to an odd power permutes the odd residues, and
 * the inverse of k, found by Newton's iteration, takes the root. */
static uint64_t root_by_low_word(uint64_t low, unsigned k)
{
	uint64_t inverse = k, root = 1;

	for (int i = 0; i < 6; i++)
		inverse *= 2 - k * inverse;
	for (; inverse > 0; inverse >>= 1, low *= low)
		if (inverse & 1)
			root *= low;
	return root;
}

/* Could the number be a k-th power (k prime)?  A k-th power is one modulo every prime q, and for q = 1 mod k only one residue in k
 * is; and where the root fits a word, the number's low word tells the root, which then must have the right length.  Nearly
 * every number that is none is found out here, at the price of a few multiplications. */
static bool may_be_power(unsigned bits, uint64_t low, const unsigned *primes, const unsigned *residues, size_t n, unsigned k)
{
	unsigned root_bits = (bits - 1) / k + 1;
	size_t asked = 0;

	for (size_t i = 0; i < n; i++) {
		if ((primes[i] - 1) % k != 0)
			continue;
		if (power_mod(residues[i], (primes[i] - 1) / k, primes[i]) != 1)
			return false;
		asked++;
	}
	if (k == 2 || root_bits > 63)
		return asked > 0;
	return root_by_low_word(low, k) >> (root_bits - 1) == 1;
}

static uint64_t low_word(const BIGNUM *n)
{
	unsigned char octets[OPENSSL_RSA_MAX_MODULUS_BITS / 8];
	uint64_t low = 0;
	int len = BN_bn2bin(n, octets);

	for (int i = len > 8 ? len - 8 : 0; i < len; i++)
		low = low << 8 | octets[i];
	return low;
}

/* n = p^k divides a^n - a in p for every a (Fermat, k times): a common divisor is the proof that the filter was right. */
static bool has_power_divisor(const BIGNUM *n)
{
	BN_CTX *ctx = BN_CTX_new();
	BIGNUM *a = BN_new(), *r = BN_new();
	bool found = false;

	if (ctx != NULL && a != NULL && r != NULL && BN_set_word(a, 2) && BN_mod_exp(r, a, n, n, ctx) && BN_mod_sub(r, r, a, n, ctx) &&
		BN_gcd(r, r, n, ctx))
		found = !BN_is_one(r);
	BN_free(a);
	BN_free(r);
	BN_CTX_free(ctx);
	return found;
}

static void key_4_modulus(struct certcheck *c, const BIGNUM *n)
{
	unsigned primes[SMALL_PRIMES], residues[SMALL_PRIMES];
	size_t count = small_primes(primes);
	unsigned bits = (unsigned)BN_num_bits(n);
	uint64_t low = low_word(n);

	if (!BN_is_odd(n)) {
		row_report(c, "RSA modulus is even");
		return;
	}
	for (size_t i = 0; i < count;) {
		size_t first = i;
		BN_ULONG product = 1, rest;

		while (i < count && product < (BN_ULONG)-1 / primes[i])
			product *= primes[i++];
		rest = BN_mod_word(n, product);
		for (size_t j = first; j < i; j++)
			residues[j] = (unsigned)(rest % primes[j]);
	}
	for (size_t i = 0; i < count; i++) {
		if (residues[i] == 0) {
			row_report(c, "RSA modulus has the small factor %u", primes[i]);
			return;
		}
	}
	/* with no factor below 752, the k-th power of a prime has more than 9 k bits */
	for (size_t i = 0; i <= count; i++) {
		unsigned k = i == 0 ? 2 : primes[i - 1];

		if (k * 9 > bits)
			break;
		if (may_be_power(bits, low, primes, residues, count, k) && has_power_divisor(n)) {
			row_report(c, "RSA modulus is a power of a prime");
			return;
		}
	}
}

void row_key_4(struct certcheck *c)
{
	BIGNUM *n = rsa_number(c, OSSL_PKEY_PARAM_RSA_N), *e = rsa_number(c, OSSL_PKEY_PARAM_RSA_E);

	if (e != NULL && (BN_num_bits(e) < 17 || BN_is_word(e, 65536) || BN_num_bits(e) > 256))
		row_report(c, "RSA exponent is not between 2^16+1 and 2^256-1");
	if (n != NULL && BN_num_bits(n) <= OPENSSL_RSA_MAX_MODULUS_BITS)
		key_4_modulus(c, n);
	BN_free(n);
	BN_free(e);
}

/* Is this the y coordinate of a point of the Edwards curve?  x^2 = (y^2 - 1) / (d y^2 + 1) on edwards25519 (RFC 8032 section 5.1.3),
 * (y^2 - 1) / (d y^2 - 1) on edwards448 (5.2.3): a square exists where the Legendre symbol of numerator times denominator is not -1. */
static bool edwards_point(const unsigned char *bits, size_t len, const char *prime, const char *d_text, bool plus)
{
	unsigned char y_octets[57];
	BN_CTX *ctx = BN_CTX_new();
	BIGNUM *p = NULL, *d = NULL, *y = NULL, *u = BN_new(), *v = BN_new();
	bool sign, point = false;

	memcpy(y_octets, bits, len);
	sign = (y_octets[len - 1] & 0x80) != 0;
	y_octets[len - 1] &= 0x7f;
	y = BN_lebin2bn(y_octets, (int)len, NULL);
	if (ctx == NULL || y == NULL || u == NULL || v == NULL || !BN_hex2bn(&p, prime) || !BN_hex2bn(&d, d_text) || BN_cmp(y, p) >= 0)
		goto out;
	if (!BN_mod_sqr(u, y, p, ctx) || !BN_mod_mul(v, d, u, p, ctx) || !BN_sub_word(u, 1) ||
		!(plus ? BN_add_word(v, 1) : BN_sub_word(v, 1)) || !BN_mod_mul(u, u, v, p, ctx))
		goto out;
	/* x = 0 has no sign */
	point = BN_is_zero(u) ? !sign : BN_kronecker(u, p, ctx) == 1;
out:
	BN_free(p);
	BN_free(d);
	BN_free(y);
	BN_free(u);
	BN_free(v);
	BN_CTX_free(ctx);
	return point;
}

#define P25519 "7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFED"
#define D25519 "52036CEE2B6FFE738CC740797779E89800700A4D4141D8AB75EB4DCA135978A3"
#define P448 "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"
#define D448 "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF6756"

void row_key_5(struct certcheck *c)
{
	bool valid = true;

	/* loading an EC key checks that the point is on the curve; one octet is the point at infinity */
	if (c->key == KEY_EC && key_is_listed(c, false))
		valid = c->key_bits_len > 1 && X509_get0_pubkey(c->leaf) != NULL;
	else if (c->key == KEY_ED25519)
		valid = c->key_bits_len == 32 && edwards_point(c->key_bits, 32, P25519, D25519, true);
	else if (c->key == KEY_ED448)
		valid = c->key_bits_len == 57 && (c->key_bits[56] & 0x7f) == 0 && edwards_point(c->key_bits, 57, P448, D448, false);
	if (!valid)
		row_report(c, "the public key is no point of its curve");
	ERR_clear_error();
}

static int rsa_bits(X509 *x)
{
	EVP_PKEY *key = X509_get0_pubkey(x);

	return key != NULL && EVP_PKEY_is_a(key, "RSA") ? EVP_PKEY_get_bits(key) : 0;
}

/* From 15 September 2027 no CA issues mail certificates with an RSA key below 3072 bits; before, its users shall know what is coming. */
void row_iss_1(struct certcheck *c)
{
	int bits = sk_X509_num(c->chain) > 1 ? rsa_bits(sk_X509_value(c->chain, 1)) : 0;

	if (bits > 0 && bits < 3072)
		row_report(c, "its issuer has an RSA key of %d bits, and may not issue from 15 September 2027 on", bits);
}

/* The rule is for the CA's certificate, and counts from that one's own first day on. */
void row_iss_2(struct certcheck *c)
{
	for (int i = 1; i < sk_X509_num(c->chain); i++) {
		X509 *ca = sk_X509_value(c->chain, i);
		int bits = rsa_bits(ca);

		if (bits > 0 && bits < 4096 && certcheck_day(X509_get0_notBefore(ca)) >= c->row->first)
			row_report(c, "certificate %d of the chain was made for a CA after 15 September 2026, with an RSA key of %d bits; 4096 are needed",
				i, bits);
	}
}
