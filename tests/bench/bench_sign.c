/*
 * tests/bench/bench_sign.c - what signing a mail costs above the private key operation, in process.
 *
 *     bench_sign [--quick] [KEY SIZE]      KEY rsa2048 or p256, SIZE 4k or 10m; without: all four
 *     bench_sign --loop KEY                sign 4 KiB until killed, for a profiler
 *
 * "Raw" is EVP_DigestSign with the same key over as many octets as the signed attributes have.  At 10 MiB one pass of SHA-256 over the entity
 * belongs to it.  Both are taken in turns, one operation each, by the thread's CPU time; of a round the median counts, of the rounds
 * theirs.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/cms.h>
#include <openssl/pem.h>

#include "milter/sign.h"
#include "tests/bench/bench.h"

#define ALICE "alice@example.org"
#define PIECE 65535 /* as libmilter hands a body on */
#define MOST 1000   /* operations in a round */

struct subject {
	EVP_PKEY *key;
	struct signer *signer;
	size_t attributes; /* octets of the signed attributes */
};

static struct bench_ca ca;
static X509 *master;
static EVP_PKEY *master_key;

static void make_master(void)
{
	struct buf key = BUF_INIT, pem = BUF_INIT;
	struct err err = ERR_INIT;
	BIO *bio;

	if (!keyvault_master_new(&key, &pem, &err))
		bench_die("%s", err.text);
	bio = BIO_new_mem_buf(key.data, (int)key.len);
	master_key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	BIO_free(bio);
	bio = BIO_new_mem_buf(pem.data, (int)pem.len);
	master = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	BIO_free(bio);
	buf_wipe(&key);
	buf_clear(&pem);
}

static struct signer *load(EVP_PKEY *key)
{
	struct buf wrapped = BUF_INIT, der = BUF_INIT;
	struct err err = ERR_INIT;
	struct store_credential c = {.certificate_id = 1};
	struct signer *s;

	bench_certificate(&ca, ALICE, key, &der);
	if (!keyvault_wrap(&wrapped, key, master, &err))
		bench_die("%s", err.text);
	c.der = (unsigned char *)der.data;
	c.der_len = der.len;
	c.chain = (unsigned char *)ca.chain.data;
	c.chain_len = ca.chain.len;
	c.wrapped = (unsigned char *)wrapped.data;
	c.wrapped_len = wrapped.len;
	s = signer_load(&c, ALICE, master, master_key, time(NULL), &err);
	if (!s)
		bench_die("%s", err.text);
	buf_clear(&wrapped);
	buf_clear(&der);
	return s;
}

/* ---- the two operations ------------------------------------------------------------------------------------------------ */

static void sign_mail(struct signer *s, const unsigned char *entity, size_t len, struct buf *der)
{
	static const struct sign_options options = {.capabilities = true};
	struct err err = ERR_INIT;
	struct sign_op *op = sign_begin(s, &options, &err);

	if (!op)
		bench_die("%s", err.text);
	for (size_t at = 0; at < len; at += PIECE)
		if (!sign_update(op, entity + at, len - at < PIECE ? len - at : PIECE, &err))
			bench_die("%s", err.text);
	if (!sign_finish(op, der, &err))
		bench_die("%s", err.text);
	sign_free(op);
}

static void sign_raw(EVP_PKEY *key, const unsigned char *data, size_t len)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char signature[512];
	size_t n = sizeof signature;

	if (!ctx || EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) != 1 || EVP_DigestSign(ctx, signature, &n, data, len) != 1)
		bench_die("EVP_DigestSign");
	EVP_MD_CTX_free(ctx);
}

static void hash_once(const unsigned char *entity, size_t len)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n;

	if (EVP_Digest(entity, len, md, &n, EVP_sha256(), NULL) != 1)
		bench_die("EVP_Digest");
}

/* Octets of the signed attributes of what comes out; and it has to be whole: leaf, two intermediates, five attributes. */
static size_t attributes_of(const struct buf *der)
{
	const unsigned char *p = (const unsigned char *)der->data;
	CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)der->len);
	CMS_SignerInfo *si = cms ? sk_CMS_SignerInfo_value(CMS_get0_SignerInfos(cms), 0) : NULL;
	STACK_OF(X509) *certificates = cms ? CMS_get1_certs(cms) : NULL;
	size_t len = 0;

	if (!si || CMS_signed_get_attr_count(si) != 5 || sk_X509_num(certificates) != 3)
		bench_die("not a whole signature came out");
	for (int i = 0; i < CMS_signed_get_attr_count(si); i++)
		len += (size_t)i2d_X509_ATTRIBUTE(CMS_signed_get_attr(si, i), NULL);
	sk_X509_pop_free(certificates, X509_free);
	CMS_ContentInfo_free(cms);
	return len;
}

static struct subject subject_new(const char *kind)
{
	static const unsigned char hello[] = "Content-Type: text/plain\r\n\r\nHello\r\n";
	struct subject s = {.key = bench_key(kind)};
	struct buf der = BUF_INIT;

	s.signer = load(s.key);
	sign_mail(s.signer, hello, sizeof hello - 1, &der);
	s.attributes = attributes_of(&der);
	buf_clear(&der);
	return s;
}

static void subject_free(struct subject *s)
{
	signer_unref(s->signer);
	EVP_PKEY_free(s->key);
}

/* ---- rounds -------------------------------------------------------------------------------------------------------------- */

static void round_of(const struct subject *s, const unsigned char *entity, size_t len, bool hash, int times, double *raw, double *whole)
{
	double raws[MOST], wholes[MOST], began;
	struct buf der = BUF_INIT;

	for (int i = 0; i < times; i++) {
		began = bench_cpu_us();
		if (hash)
			hash_once(entity, len);
		sign_raw(s->key, entity, s->attributes);
		raws[i] = bench_cpu_us() - began;
		buf_reset(&der);
		began = bench_cpu_us();
		sign_mail(s->signer, entity, len, &der);
		wholes[i] = bench_cpu_us() - began;
	}
	buf_clear(&der);
	*raw = bench_median(raws, (size_t)times);
	*whole = bench_median(wholes, (size_t)times);
}

static void bench(const char *kind, const char *size, bool quick)
{
	bool large = strcmp(size, "10m") == 0;
	size_t len = large ? 10 << 20 : 4096;
	int rounds = quick ? 5 : 11, times = large ? quick ? 3 : 15 : quick ? 50 : 300;
	unsigned char *entity = malloc(len);
	double raw[16], above[16], ratio[16], whole;
	struct subject s = subject_new(kind);
	char name[64];

	if (!entity)
		bench_die("no memory");
	memset(entity, 'x', len);
	for (int i = 0; i <= rounds; i++) {
		int at = i ? i - 1 : 0; /* the first round is for warming up */

		round_of(&s, entity, len, large, times, &raw[at], &whole);
		above[at] = whole - raw[at];
		ratio[at] = whole / raw[at];
	}
	snprintf(name, sizeof name, "sign-%s-%s", kind, size);
	bench_line(name, bench_median(above, (size_t)rounds), "us-above", bench_median(raw, (size_t)rounds), bench_median(ratio, (size_t)rounds));
	subject_free(&s);
	free(entity);
}

_Noreturn static void loop(const char *kind)
{
	static unsigned char entity[4096];
	struct subject s = subject_new(kind);
	struct buf der = BUF_INIT;

	for (;;) {
		buf_reset(&der);
		sign_mail(s.signer, entity, sizeof entity, &der);
	}
}

int main(int argc, char **argv)
{
	static const char *const kinds[] = {"rsa2048", "p256"}, *const sizes[] = {"4k", "10m"};
	bool quick = argc > 1 && strcmp(argv[1], "--quick") == 0;

	bench_ca_init(&ca);
	make_master();
	if (argc == 3 && strcmp(argv[1], "--loop") == 0)
		loop(argv[2]);
	for (int k = 0; k < 2; k++)
		for (int n = 0; n < 2; n++)
			if (argc - quick < 3 || (strcmp(kinds[k], argv[1 + quick]) == 0 && strcmp(sizes[n], argv[2 + quick]) == 0))
				bench(kinds[k], sizes[n], quick);
	bench_ca_clear(&ca);
	X509_free(master);
	EVP_PKEY_free(master_key);
	return 0;
}
