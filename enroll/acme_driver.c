/* enroll/acme_driver.c - the ACME client in the shape that ca.c wants. */
#include "config.h"

#include "enroll/ca_driver.h"

#include "enroll/acme.h"

static void *driver_new(const struct ca_config *config, struct err *err)
{
	return acme_new(config, err);
}

static void driver_free(void *self)
{
	acme_free(self);
}

static void driver_stop(void *self)
{
	http_stop(((struct acme *)self)->http);
}

static bool driver_prepare(void *self, struct ca_info *out, struct err *err)
{
	return acme_prepare(self, out, err);
}

static bool driver_discover(void *self, struct ca_info *out, struct err *err)
{
	return acme_discover(self, out, err);
}

static bool driver_open(void *self, const struct ca_request *request, struct ca_order *out, struct err *err)
{
	return acme_open(self, request, out, err);
}

static bool driver_look(void *self, struct ca_order *o, struct err *err)
{
	return acme_look(self, o, err);
}

static bool driver_methods(void *self, struct ca_order *o, const struct strlist *addresses, struct strlist *methods, struct err *err)
{
	return acme_methods(self, o, addresses, methods, err);
}

static bool driver_answer(void *self, const struct ca_order *o, const char *token_part1, struct buf *response, struct err *err)
{
	return acme_answer_for(self, o, token_part1, response, err);
}

static bool driver_ready(void *self, struct ca_order *o, struct err *err)
{
	return acme_challenge_ready(self, o, err);
}

static bool driver_finalize(void *self, struct ca_order *o, const void *csr, size_t len, struct err *err)
{
	return acme_finalize(self, o, csr, len, err);
}

static bool driver_fetch(void *self, struct ca_order *o, struct buf *pem, struct err *err)
{
	return acme_fetch(self, o, pem, err);
}

static bool driver_revoke(void *self, const void *der, size_t len, enum ca_reason reason, EVP_PKEY *key, struct err *err)
{
	return acme_revoke(self, der, len, reason, key, err);
}

static bool driver_renewal(void *self, const void *der, size_t len, struct ca_renewal *out, struct err *err)
{
	return acme_renewal(self, der, len, out, err);
}

static bool driver_account_look(void *self, struct ca_account *out, bool *found, struct err *err)
{
	return acme_account_look(self, out, found, err);
}

static void driver_account_thumbprint(void *self, char out[64])
{
	struct jws_key *key;

	acme_key_notice(self);
	key = acme_key_hold(self);
	snprintf(out, 64, "%s", jws_thumbprint(key));
	jws_key_free(key);
}

static bool driver_account_change_key(void *self, const char *next_key, struct err *err)
{
	return acme_account_change_key(self, next_key, err);
}

static bool driver_account_deactivate(void *self, struct err *err)
{
	return acme_account_deactivate(self, err);
}

static const char *driver_account_uri(void *self)
{
	return acme_account_uri(self);
}

const struct ca_driver acme_driver = {
	.name = "acme",
	.new = driver_new,
	.free = driver_free,
	.stop = driver_stop,
	.prepare = driver_prepare,
	.probe = acme_probe,
	.discover = driver_discover,
	.open = driver_open,
	.look = driver_look,
	.methods = driver_methods,
	.answer = driver_answer,
	.ready = driver_ready,
	.finalize = driver_finalize,
	.fetch = driver_fetch,
	.revoke = driver_revoke,
	.renewal = driver_renewal,
	.account_look = driver_account_look,
	.account_thumbprint = driver_account_thumbprint,
	.account_change_key = driver_account_change_key,
	.account_deactivate = driver_account_deactivate,
	.account_uri = driver_account_uri,
};
