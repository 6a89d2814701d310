/*
 * enroll/certificate.c - from PEM to a row of the store, and back to certcheck.
 */
#include "config.h"

#include "enroll/certificate.h"
#include "enroll/enrollment.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

static STACK_OF(X509) *read_pem_chain(const struct buf *pem, struct err *err)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	BIO *in = BIO_new_mem_buf(pem->data, (int)pem->len);
	X509 *x;

	while (chain && in && (x = PEM_read_bio_X509(in, NULL, NULL, NULL)))
		if (!sk_X509_push(chain, x))
			X509_free(x);
	BIO_free(in);
	ERR_clear_error();
	if (!chain || sk_X509_num(chain) == 0) {
		err_set(err, ERR_CA, "read certificate", NULL, "the CA delivered no certificate in PEM form");
		sk_X509_pop_free(chain, X509_free);
		return NULL;
	}
	return chain;
}

static bool chain_to_pem(STACK_OF(X509) *chain, int from, struct buf *out)
{
	BIO *mem = BIO_new(BIO_s_mem());
	char *data;
	long len;
	bool ok = mem != NULL;

	for (int i = from; ok && i < sk_X509_num(chain); i++)
		ok = PEM_write_bio_X509(mem, sk_X509_value(chain, i)) == 1;
	if (ok) {
		len = BIO_get_mem_data(mem, &data);
		buf_append(out, data, (size_t)len);
	}
	BIO_free(mem);
	return ok && !out->failed;
}

static bool time_of(const ASN1_TIME *t, time_t *out)
{
	struct tm tm;

	if (!t || ASN1_TIME_to_tm(t, &tm) != 1)
		return false;
	*out = timegm(&tm);
	return true;
}

static char *name_text(const X509_NAME *name)
{
	BIO *mem = BIO_new(BIO_s_mem());
	struct buf out = BUF_INIT;
	char *data;
	long len;

	if (mem && X509_NAME_print_ex(mem, name, 0, XN_FLAG_RFC2253) >= 0 && (len = BIO_get_mem_data(mem, &data)) > 0)
		buf_append(&out, data, (size_t)len);
	BIO_free(mem);
	return buf_take(&out);
}

/* Serial, names, times and digest, as they are shown and searched. */
static bool describe(struct store_certificate *c, X509 *leaf)
{
	unsigned char digest[32];
	unsigned digest_len = 0;
	struct buf hex = BUF_INIT;
	BIGNUM *serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(leaf), NULL);
	char *serial_hex = serial ? BN_bn2hex(serial) : NULL;
	bool ok = serial_hex && X509_digest(leaf, EVP_sha256(), digest, &digest_len) == 1 && time_of(X509_get0_notBefore(leaf), &c->not_before) &&
		time_of(X509_get0_notAfter(leaf), &c->not_after);

	if (ok) {
		hex_encode(&hex, digest, digest_len);
		c->fingerprint = buf_take(&hex);
		c->serial = str_dup(serial_hex);
		c->issuer = name_text(X509_get_issuer_name(leaf));
		ok = c->fingerprint && c->serial && c->issuer;
	}
	OPENSSL_free(serial_hex);
	BN_free(serial);
	return ok;
}

static bool fill(struct store_certificate *c, const struct enrollment *row, X509 *leaf, struct err *err)
{
	struct buf addresses = BUF_INIT;
	unsigned char *der = NULL;
	int len = i2d_X509(leaf, &der);
	bool ok = len > 0 && describe(c, leaf);

	c->enrollment_id = row->id;
	c->key_id = row->key_id;
	for (size_t i = 0; i < row->addresses.n; i++)
		buf_printf(&addresses, "%s%s", i ? " " : "", row->addresses.v[i]);
	if (ok) {
		c->der = malloc((size_t)len);
		c->der_len = (size_t)len;
		if (c->der)
			memcpy(c->der, der, (size_t)len);
		c->status = str_dup("issued");
		c->addresses = buf_take(&addresses);
		ok = c->der && c->status && c->addresses;
	}
	buf_clear(&addresses);
	OPENSSL_free(der);
	return ok || err_openssl(err, ERR_CA, "read certificate", row->addresses.n ? row->addresses.v[0] : NULL);
}

bool certificate_read(struct store_certificate *out, const struct enrollment *row, const struct buf *pem, X509_STORE *anchors, struct err *err)
{
	STACK_OF(X509) *sent = read_pem_chain(pem, err), *built;
	struct buf chain = BUF_INIT;
	X509 *leaf;
	bool ok;

	if (!sent)
		return false;
	leaf = sk_X509_value(sent, 0);
	/* What goes along with signatures later: the path to our anchor without root; when there is none, what came, for certcheck to refuse. */
	built = certcheck_chain(leaf, anchors, sent, NULL);
	ok = fill(out, row, leaf, err) && (chain_to_pem(built ? built : sent, built ? 0 : 1, &chain) || err_nomem(err, "read certificate"));
	if (ok) {
		out->chain_len = chain.len;
		out->chain = (unsigned char *)buf_take(&chain);
	}
	buf_clear(&chain);
	sk_X509_pop_free(built, X509_free);
	sk_X509_pop_free(sent, X509_free);
	return ok;
}

/* Our key is the one in the stored request: the certificate is compared with that, not with anything the CA said. */
static bool requested_key(const struct enrollment *row, char out[65], struct err *err)
{
	const unsigned char *p = row->csr;
	X509_REQ *req = d2i_X509_REQ(NULL, &p, (long)row->csr_len);
	EVP_PKEY *key = req ? X509_REQ_get_pubkey(req) : NULL;
	bool ok = key ? keyvault_spki(key, out, err) : err_openssl(err, ERR_BUG, "read stored CSR", row->addresses.n ? row->addresses.v[0] : NULL);

	EVP_PKEY_free(key);
	X509_REQ_free(req);
	return ok;
}

/* The addresses to ask at are the certificate's own: it has to be good in all other respects before anybody is asked. */
static bool judge_revocation(X509 *leaf, struct certcheck_request *req, const struct enroll_ca *ca, struct findings *out, struct err *err)
{
	struct revocation_answer answer = {0};
	X509 *issuer;
	bool ok;

	if (ca->config->revocation == REVOCATION_OFF || out->errors > 0)
		return true;
	issuer = certcheck_issuer(leaf, req->anchors, req->untrusted, req->now);
	if (issuer && ca->revocation)
		revocation_ask(ca->revocation, leaf, issuer, req->now, &answer);
	req->revocation = ca->config->revocation;
	req->evidence = &answer.evidence;
	findings_clear(out);
	ok = certcheck(leaf, req, out, err);
	X509_free(issuer);
	revocation_answer_clear(&answer);
	return ok;
}

bool certificate_judge(const struct store_certificate *c, const struct enrollment *row, const struct certificate_profile *profile,
	const struct enroll_ca *ca, time_t now, struct findings *out, struct err *err)
{
	const unsigned char *p = c->der;
	struct buf pem = {.data = (char *)c->chain, .len = c->chain_len};
	X509 *leaf = d2i_X509(NULL, &p, (long)c->der_len);
	STACK_OF(X509) *chain = pem.len ? read_pem_chain(&pem, NULL) : NULL;
	char spki[65];
	struct certcheck_request req = {.profile = profile, .addresses = &row->addresses, .spki_sha256 = spki, .anchors = ca->anchors,
		.untrusted = chain, .now = now};
	bool ok = leaf ? requested_key(row, spki, err) && certcheck(leaf, &req, out, err) && judge_revocation(leaf, &req, ca, out, err)
		       : err_openssl(err, ERR_BUG, "read stored certificate", row->addresses.n ? row->addresses.v[0] : NULL);

	sk_X509_pop_free(chain, X509_free);
	X509_free(leaf);
	return ok;
}

/* An issuer that no anchor of ours stands behind any more has nothing to say. */
enum revocation_status certificate_revoked(const struct store_certificate *c, const struct enroll_ca *ca, time_t now, unsigned keep_seconds, char *why, size_t size)
{
	const unsigned char *p = c->der;
	struct buf pem = {.data = (char *)c->chain, .len = c->chain_len};
	X509 *leaf = d2i_X509(NULL, &p, (long)c->der_len);
	STACK_OF(X509) *chain = pem.len ? read_pem_chain(&pem, NULL) : NULL;
	X509 *issuer = leaf ? certcheck_issuer(leaf, ca->anchors, chain, now) : NULL;
	struct revocation_answer answer = {0};
	enum revocation_status status = REVOCATION_UNKNOWN;

	snprintf(why, size, "its issuer is not known");
	if (issuer && ca->revocation) {
		revocation_ask_kept(ca->revocation, leaf, issuer, now, keep_seconds, &answer);
		status = certcheck_revocation(leaf, issuer, &answer.evidence, now, why, size);
		if (answer.why[0])
			snprintf(why, size, "%s", answer.why);
	}
	revocation_answer_clear(&answer);
	X509_free(issuer);
	sk_X509_pop_free(chain, X509_free);
	X509_free(leaf);
	return status;
}
