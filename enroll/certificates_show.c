/*
 * enroll/certificates_show.c - an address's certificates, which are public, for whoever wants them as files.
 */
#include "config.h"

#include "enroll/answer.h"
#include "enroll/control.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

/* The certificate and what stands between it and the root. */
static json_t *pem_of(const struct store_certificate *c)
{
	const unsigned char *p = c->der;
	X509 *x = d2i_X509(NULL, &p, (long)c->der_len);
	BIO *mem = BIO_new(BIO_s_mem());
	json_t *text = NULL;
	char *data;
	long len;

	if (x && mem && PEM_write_bio_X509(mem, x) == 1 && (!c->chain_len || BIO_write(mem, c->chain, (int)c->chain_len) == (int)c->chain_len) &&
		(len = BIO_get_mem_data(mem, &data)) > 0)
		text = json_stringn(data, (size_t)len);
	BIO_free(mem);
	X509_free(x);
	ERR_clear_error();
	return text;
}

json_t *certificates_show(struct enroll_parts *p, const char *address, bool all, struct err *err)
{
	struct store_certificate_list l = {0};
	json_t *list;

	if (!address) {
		err_set(err, ERR_CONFIG, "list certificates", NULL, "an address is needed");
		return NULL;
	}
	if (!store_certificates_for(p->store, address, &l, err))
		return NULL;
	list = json_array();
	for (size_t i = 0; i < l.n; i++)
		if (all || strcmp(l.v[i].status, "active") == 0) {
			json_t *o = json_of_certificate(&l.v[i]);

			answer_set(o, "pem", pem_of(&l.v[i]));
			json_array_append_new(list, o);
		}
	store_certificate_list_clear(&l);
	if (json_array_size(list) > 0)
		return json_pack("{s:o}", "certificates", list);
	json_decref(list);
	err_set(err, ERR_POLICY, "list certificates", address, all ? "this address has no certificate here" : "this address has no active certificate; --all: old ones too");
	return NULL;
}
