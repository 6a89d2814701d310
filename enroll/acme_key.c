/* enroll/acme_key.c - the account's key while the program runs, and what people do with the account. */
#include "config.h"

#include "enroll/acme.h"

bool acme_account_look(struct acme *a, struct ca_account *out, bool *found, struct err *err)
{
	return err_set(err, ERR_CONFIG, "look at account", a->set.directory_url, "the CA does not offer this");
}

bool acme_account_change_key(struct acme *a, const char *next_key, struct err *err)
{
	return err_set(err, ERR_CONFIG, "change account key", a->set.directory_url, "the CA does not offer this");
}

bool acme_account_deactivate(struct acme *a, struct err *err)
{
	return err_set(err, ERR_CONFIG, "deactivate account", a->set.directory_url, "the CA does not offer this");
}
