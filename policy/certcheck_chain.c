/*
 * policy/certcheck_chain.c - anchors, and the chain from a certificate to one of them.
 *
 * OpenSSL does the work.  What is chosen here: only self-signed certificates of the anchor file end a chain (no partial chains: an
 * intermediate in the file does not become an anchor by accident); every CA in the chain must be good for S/MIME; security
 * level 2 (112 bits), so no SHA-1 and no RSA below 2048.  The leaf's own times and usages are questions with rows of their
 * own, which say more than OpenSSL's one error code, so these two errors are let pass for the leaf alone.
 */
#include "config.h"

#include "policy/certcheck_rows.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#define ANCHORS_MAX (4u << 20)
#define CHAIN_DEPTH 8
#define SECURITY_LEVEL 2

static int leaf_is_judged_elsewhere(int ok, X509_STORE_CTX *ctx)
{
	if (ok || X509_STORE_CTX_get_error_depth(ctx) != 0)
		return ok;
	switch (X509_STORE_CTX_get_error(ctx)) {
	case X509_V_ERR_CERT_NOT_YET_VALID:
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD:
	case X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD:
	case X509_V_ERR_INVALID_PURPOSE:
		X509_STORE_CTX_set_error(ctx, X509_V_OK);
		return 1;
	default:
		return 0;
	}
}

/* "unable to get local issuer certificate (at CN=...)". */
static void explain(X509_STORE_CTX *ctx, char *why, size_t size)
{
	X509 *at = X509_STORE_CTX_get_current_cert(ctx);
	BIO *bio = BIO_new(BIO_s_mem());
	char *name = NULL;
	long len = 0;

	if (at != NULL && bio != NULL && X509_NAME_print_ex(bio, X509_get_subject_name(at), 0, XN_FLAG_RFC2253) >= 0)
		len = BIO_get_mem_data(bio, &name);
	snprintf(why, size, "%s (certificate %d of the chain%s%s)", X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)),
		X509_STORE_CTX_get_error_depth(ctx), len > 0 ? ": " : "", len > 0 ? PRINTABLE(name, (size_t)len) : "");
	BIO_free(bio);
}

bool certcheck_verify(X509 *leaf, X509_STORE *anchors, STACK_OF(X509) * untrusted, enum usage usage, time_t now, STACK_OF(X509) * *chain,
	char *why, size_t why_size)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509_VERIFY_PARAM *param;
	bool verified = false;

	*chain = NULL;
	snprintf(why, why_size, "it could not be checked: out of memory");
	if (ctx == NULL || X509_STORE_CTX_init(ctx, anchors, leaf, untrusted) != 1)
		goto out;
	param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_time(param, now);
	X509_VERIFY_PARAM_set_depth(param, CHAIN_DEPTH);
	X509_VERIFY_PARAM_set_auth_level(param, SECURITY_LEVEL);
	if (X509_STORE_CTX_set_purpose(ctx, usage == USAGE_ENCRYPT ? X509_PURPOSE_SMIME_ENCRYPT : X509_PURPOSE_SMIME_SIGN) != 1)
		goto out;
	X509_STORE_CTX_set_verify_cb(ctx, leaf_is_judged_elsewhere);
	verified = X509_verify_cert(ctx) == 1;
	if (verified)
		why[0] = 0;
	else
		explain(ctx, why, why_size);
	*chain = X509_STORE_CTX_get1_chain(ctx);
out:
	X509_STORE_CTX_free(ctx);
	ERR_clear_error();
	return verified;
}

X509_STORE *certcheck_anchors(const char *pem_file, struct err *err)
{
	struct buf pem = BUF_INIT;
	X509_STORE *store = NULL;
	BIO *bio = NULL;
	X509 *x;
	size_t anchors = 0;
	bool ok = false;

	if (!file_read(&pem, pem_file, ANCHORS_MAX, err))
		goto out;
	store = X509_STORE_new();
	bio = BIO_new_mem_buf(pem.data != NULL ? pem.data : "", (int)pem.len);
	if (store == NULL || bio == NULL) {
		err_nomem(err, "read anchors");
		goto out;
	}
	while ((x = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
		if ((X509_get_extension_flags(x) & EXFLAG_SS) != 0)
			anchors++;
		ok = X509_STORE_add_cert(store, x) == 1;
		X509_free(x);
		if (!ok) {
			err_openssl(err, ERR_CONFIG, "read anchors", pem_file);
			goto out;
		}
	}
	/* the end of the file and a broken block look alike but for this code */
	ok = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
	if (!ok)
		err_openssl(err, ERR_CONFIG, "read anchors", pem_file);
	else if (anchors == 0)
		ok = err_set(err, ERR_CONFIG, "read anchors", pem_file,
			"no self-signed certificate in it; put the CA's root certificate there, in PEM form");
out:
	ERR_clear_error();
	BIO_free(bio);
	buf_clear(&pem);
	if (!ok) {
		X509_STORE_free(store);
		store = NULL;
	}
	return store;
}

STACK_OF(X509) * certcheck_chain(X509 *leaf, X509_STORE *anchors, STACK_OF(X509) * untrusted, struct err *err)
{
	STACK_OF(X509) *chain = NULL;
	char why[256];

	if (anchors == NULL || !certcheck_verify(leaf, anchors, untrusted, USAGE_SIGN, time(NULL), &chain, why, sizeof why)) {
		err_set(err, ERR_POLICY, "build chain", "",
			"no chain to a configured anchor: %s; name the CA's root in anchor-file and its intermediates in "
			"intermediate-file",
			anchors == NULL ? "no anchors are configured" : why);
		sk_X509_pop_free(chain, X509_free);
		return NULL;
	}
	/* the leaf is sent anyway, the root is what recipients must have already; a leaf that is its own root leaves nothing */
	X509_free(sk_X509_shift(chain));
	if (sk_X509_num(chain) > 0)
		X509_free(sk_X509_pop(chain));
	return chain;
}
