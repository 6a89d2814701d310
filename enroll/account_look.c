/*
 * enroll/account_look.c - the account for people: `enrollctl account show` and `deactivate`; and the ways into enrollctl itself, for when enrolld
 * does not run.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "enroll/account_gate.h"
#include "enroll/answer.h"
#include "enroll/control.h"

static bool has_account_at_all(const struct ca_config *config, struct err *err)
{
	if (config->driver != CA_DRIVER_ACME)
		return err_set(err, ERR_CONFIG, "look at account", "ca.driver", "only the driver \"acme\" has an account");
	return config->directory_url || err_set(err, ERR_CONFIG, "look at account", "ca.directory-url", "the configuration names no CA: set ca.directory-url");
}

json_t *account_show(const struct ca_config *config, struct ca *ca, struct err *err)
{
	struct ca_account a = {0};
	struct ca *own = NULL;
	bool found = false;
	json_t *o = NULL;

	if (!has_account_at_all(config, err))
		return NULL;
	/* While mode is "observe" enrolld has none. */
	if (!ca)
		ca = own = ca_new(config, err);
	if (ca && ca_account_look(ca, &a, &found, err))
		o = json_pack("{s:b, s:s*, s:s*, s:o, s:s*, s:s*, s:s, s:s}", "registered", found, "url", a.uri, "status", a.status, "contacts",
			answer_texts(&a.contacts), "key_type", a.key_type, "thumbprint", a.thumbprint, "directory", config->directory_url, "key",
			config->account_key);
	ca_account_clear(&a);
	ca_free(own);
	return o;
}

json_t *account_use_key(struct enroll_parts *p, const struct ca_config *config, const struct control_peer *peer, struct err *err)
{
	if (!account_gate_use(p, config, peer->name, err))
		return NULL;
	return json_pack("{s:s, s:s}", "ca", config->name, "key", config->account_key ? config->account_key : "");
}

static char *text_of(json_t *o, struct err *err)
{
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

	if (o && !text)
		err_nomem(err, "answer");
	json_decref(o);
	return text;
}

char *enroll_account_show(const struct ca_config *config, struct err *err)
{
	return text_of(account_show(config, NULL, err), err);
}

char *enroll_ca_check(const struct ca_config *config, struct err *err)
{
	json_t *checks = ca_check_run(config, NULL, NULL, err);

	return text_of(checks ? json_pack("{s:o}", "checks", checks) : NULL, err);
}

bool enroll_account_deactivate(const struct ca_config *config, struct err *err)
{
	struct ca *ca;
	bool ok;

	if (!has_account_at_all(config, err))
		return false;
	ca = ca_new(config, err);
	ok = ca && ca_account_deactivate(ca, err);
	ca_free(ca);
	return ok;
}
