/*
 * enroll/import_read.c - a private key and its certificates from PKCS#12 (old algorithms too, as other gateways write them) or PEM.
 */
#include "config.h"

#include "enroll/import.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/provider.h>

static const char op[] = "import key";

static bool no_password(const struct enroll_import *what, struct err *err)
{
	return err_set(err, ERR_CONFIG, op, what->name, "it is protected by a password: name a file that has it, by --password-file");
}

static bool wrong_password(const struct enroll_import *what, struct err *err)
{
	return what->password ? err_set(err, ERR_CONFIG, op, what->name, "the password is wrong, or the file is damaged") : no_password(what, err);
}

/* ---- PEM ------------------------------------------------------------------------------------------------------------------- */

bool import_pem_certificates(const void *data, size_t len, STACK_OF(X509) *out)
{
	BIO *in = BIO_new_mem_buf(data, (int)len);
	X509 *x = NULL;
	bool ok = in != NULL;

	while (ok && (x = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL)
		ok = sk_X509_push(out, x) > 0;
	/* the end of the file and a broken block look alike but for this code */
	ok = ok && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
	BIO_free(in);
	ERR_clear_error();
	return ok;
}

struct asked { const char *password; bool was; };

static int give_password(char *out, int size, int writing, void *arg)
{
	struct asked *a = arg;
	int len = a->password ? (int)strlen(a->password) : -1;

	(void)writing;
	a->was = true;
	if (len < 0 || len > size)
		return -1;
	memcpy(out, a->password, (size_t)len);
	return len;
}

static bool read_pem(struct import_content *out, const struct enroll_import *what, struct err *err)
{
	BIO *in = BIO_new_mem_buf(what->data, (int)what->len);
	struct asked asked = {.password = what->password};

	out->key = in ? PEM_read_bio_PrivateKey(in, NULL, give_password, &asked) : NULL;
	BIO_free(in);
	ERR_clear_error();
	if (!out->key && asked.was)
		return wrong_password(what, err);
	if (!out->key)
		return err_set(err, ERR_CONFIG, op, what->name, "there is no private key in it, or the file is cut short or damaged");
	return import_pem_certificates(what->data, what->len, out->others) ||
		err_set(err, ERR_CONFIG, op, what->name, "a certificate in it cannot be read: the file is cut short or damaged");
}

/* ---- PKCS#12 --------------------------------------------------------------------------------------------------------------- */

static int keys_in(const STACK_OF(PKCS12_SAFEBAG) *bags)
{
	int n = 0;

	for (int i = 0; i < sk_PKCS12_SAFEBAG_num(bags); i++) {
		int kind = PKCS12_SAFEBAG_get_nid(sk_PKCS12_SAFEBAG_value(bags, i));

		n += kind == NID_keyBag || kind == NID_pkcs8ShroudedKeyBag;
	}
	return n;
}

/* PKCS12_parse takes one and says nothing of others. */
static int count_keys(PKCS12 *p12, const char *password)
{
	STACK_OF(PKCS7) *safes = PKCS12_unpack_authsafes(p12);
	int n = 0;

	for (int i = 0; i < sk_PKCS7_num(safes); i++) {
		PKCS7 *safe = sk_PKCS7_value(safes, i);
		STACK_OF(PKCS12_SAFEBAG) *bags = PKCS7_type_is_data(safe) ? PKCS12_unpack_p7data(safe)
			: PKCS7_type_is_encrypted(safe) ? PKCS12_unpack_p7encdata(safe, password, password ? (int)strlen(password) : 0) : NULL;

		n += bags ? keys_in(bags) : 0;
		sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
	}
	sk_PKCS7_pop_free(safes, PKCS7_free);
	ERR_clear_error();
	return n;
}

/* No password is either none at all or an empty one; programs differ. */
static bool find_password(PKCS12 *p12, const char *given, const char **password)
{
	*password = given;
	if (PKCS12_verify_mac(p12, given, given ? -1 : 0) == 1)
		return true;
	*password = "";
	return !given && PKCS12_verify_mac(p12, "", 0) == 1;
}

static bool unpack(struct import_content *out, PKCS12 *p12, const struct enroll_import *what, const char *password, struct err *err)
{
	STACK_OF(X509) *others = NULL;
	X509 *leaf = NULL;
	int keys = count_keys(p12, password);
	bool ok;

	if (keys > 1)
		return err_set(err, ERR_CONFIG, op, what->name, "there are %d private keys in it: a file for each, please", keys);
	if (PKCS12_parse(p12, password, &out->key, &leaf, &others) != 1)
		return err_openssl(err, ERR_CONFIG, op, what->name);
	ok = !leaf || sk_X509_push(out->others, leaf) > 0;
	for (X509 *x; ok && (x = sk_X509_pop(others)) != NULL;)
		ok = sk_X509_push(out->others, x) > 0;
	sk_X509_pop_free(others, X509_free);
	if (!ok)
		return err_nomem(err, op);
	return out->key || err_set(err, ERR_CONFIG, op, what->name, "there is no private key in it");
}

static bool read_pkcs12(struct import_content *out, const struct enroll_import *what, struct err *err)
{
	const unsigned char *p = what->data;
	PKCS12 *p12 = d2i_PKCS12(NULL, &p, (long)what->len);
	const char *password;
	bool ok;

	ERR_clear_error();
	if (!p12 || p != (const unsigned char *)what->data + what->len) {
		PKCS12_free(p12);
		return err_set(err, ERR_CONFIG, op, what->name, "it is neither PKCS#12 nor PEM, or it is cut short or damaged");
	}
	if (!PKCS12_mac_present(p12))
		ok = err_set(err, ERR_CONFIG, op, what->name, "it has no check of its integrity (MAC): export it once more, with one");
	else
		ok = find_password(p12, what->password, &password) ? unpack(out, p12, what, password, err) : wrong_password(what, err);
	PKCS12_free(p12);
	ERR_clear_error();
	return ok;
}

/* ---- both ------------------------------------------------------------------------------------------------------------------ */

/* Which of the certificates is the key's is said by the key alone. */
static bool take_leaf(struct import_content *c, const struct enroll_import *what, struct err *err)
{
	for (int i = 0; i < sk_X509_num(c->others) && !c->leaf; i++)
		if (X509_check_private_key(sk_X509_value(c->others, i), c->key) == 1)
			c->leaf = sk_X509_delete(c->others, i);
	ERR_clear_error();
	if (c->leaf)
		return true;
	return err_set(err, ERR_POLICY, op, what->name, sk_X509_num(c->others) > 0 ? "the private key in it does not belong to the certificate in it"
		: "there is no certificate in it, only a private key");
}

bool import_read(struct import_content *out, const struct enroll_import *what, struct err *err)
{
	OSSL_PROVIDER *usual = OSSL_PROVIDER_load(NULL, "default"), *legacy = OSSL_PROVIDER_load(NULL, "legacy"); /* RC2, as it was usual once */
	bool ok;

	memset(out, 0, sizeof *out);
	ERR_clear_error();
	out->others = sk_X509_new_null();
	if (!out->others)
		ok = err_nomem(err, op);
	else if (memmem(what->data, what->len, "-----BEGIN ", 11))
		ok = read_pem(out, what, err);
	else
		ok = read_pkcs12(out, what, err);
	ok = ok && take_leaf(out, what, err);
	if (legacy)
		OSSL_PROVIDER_unload(legacy);
	if (usual)
		OSSL_PROVIDER_unload(usual);
	return ok;
}

void import_content_clear(struct import_content *c)
{
	EVP_PKEY_free(c->key);
	X509_free(c->leaf);
	sk_X509_pop_free(c->others, X509_free);
	memset(c, 0, sizeof *c);
}
