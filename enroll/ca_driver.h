/* enroll/ca_driver.h - what stands behind ca.h: one table of functions for each kind of CA.  Private to enroll/. */
#ifndef ENROLL_ENROLL_CA_DRIVER_H
#define ENROLL_ENROLL_CA_DRIVER_H

#include "enroll/ca.h"

/* The functions mean what those of ca.h mean; `self` is what `open_driver` gave. */
struct ca_driver {
	const char *name;
	void *(*new)(const struct ca_config *config, struct err *err);
	void (*free)(void *self);
	void (*stop)(void *self);
	bool (*prepare)(void *self, struct ca_info *out, struct err *err);
	bool (*probe)(const struct ca_config *config, struct ca_probe *out, struct err *err); /* NULL where there is nothing to see from outside */
	bool (*discover)(void *self, struct ca_info *out, struct err *err);
	bool (*open)(void *self, const struct ca_request *request, struct ca_order *out, struct err *err);
	bool (*look)(void *self, struct ca_order *o, struct err *err);
	bool (*methods)(void *self, struct ca_order *o, const struct strlist *addresses, struct strlist *methods, struct err *err); /* NULL: none */
	bool (*answer)(void *self, const struct ca_order *o, const char *token_part1, struct buf *response, struct err *err);
	bool (*ready)(void *self, struct ca_order *o, struct err *err);
	bool (*finalize)(void *self, struct ca_order *o, const void *csr, size_t len, struct err *err);
	bool (*fetch)(void *self, struct ca_order *o, struct buf *pem, struct err *err);
	bool (*revoke)(void *self, const void *der, size_t len, enum ca_reason reason, EVP_PKEY *key, struct err *err);
	bool (*renewal)(void *self, const void *der, size_t len, struct ca_renewal *out, struct err *err);
	/* NULL where there is no such thing as an account */
	bool (*account_look)(void *self, struct ca_account *out, bool *found, struct err *err);
	void (*account_thumbprint)(void *self, char out[64]);
	bool (*account_change_key)(void *self, const char *next_key, struct err *err);
	bool (*account_deactivate)(void *self, struct err *err);
	const char *(*account_uri)(void *self);
};

extern const struct ca_driver acme_driver, exec_driver;

#endif
