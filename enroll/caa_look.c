/*
 * enroll/caa_look.c - `enrollctl caa check`: what CAA says about an address or domain, in the words that would block its enrollment.
 *
 * It runs in enrolld, or in enrollctl itself when enrolld does not run.  Unlike an enrollment it registers no account: a record that names one
 * cannot be judged before there is ours.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "enroll/answer.h"
#include "enroll/control.h"

#define OP "check CAA"

struct caa_request caa_request_of(const struct ca_config *config, const struct ca_info *info)
{
	return (struct caa_request){.identities = config->caa_identities.n ? &config->caa_identities : &info->caa_identities,
		.account_uri = info->account_uri, .method = config->caa_method};
}

/* ---- what the CA goes by ------------------------------------------------------------------------------------------------- */

static bool take_account(struct ca *ca, struct ca_info *info, struct err *err)
{
	struct ca_account account = {0};
	bool found = false, ok = ca_account_look(ca, &account, &found, err);

	if (ok && found && account.uri) {
		free(info->account_uri);
		info->account_uri = account.uri;
		account.uri = NULL;
	}
	ca_account_clear(&account);
	return ok;
}

/* Without a key yet, or with the CA down, there is no account to know; without any name of the CA nothing can be told. */
static bool facts(const struct ca_config *config, struct ca *ca, struct ca_info *info, char **warning, struct err *err)
{
	struct ca_probe probe = {0};
	struct err why = ERR_INIT;
	struct ca *own = NULL;
	bool known;

	if (!config->directory_url && !config->exec.program)
		return config->caa_identities.n > 0 || err_set(err, ERR_CONFIG, OP, "ca", "the configuration names no CA: set ca.directory-url");
	if (!ca)
		ca = own = ca_new(config, &why);
	if (ca) {
		known = ca_discover(ca, info, &why) && (config->driver != CA_DRIVER_ACME || take_account(ca, info, &why));
	} else {
		known = false;
		if (config->driver == CA_DRIVER_ACME && ca_probe(config, &probe, NULL)) {
			*info = probe.info;
			memset(&probe.info, 0, sizeof probe.info);
		}
		ca_probe_clear(&probe);
	}
	ca_free(own);
	if (known || info->caa_identities.n || config->caa_identities.n) {
		*warning = known ? NULL : str_dup(why.text);
		return true;
	}
	if (err)
		*err = why;
	return false;
}

/* ---- the answer ---------------------------------------------------------------------------------------------------------- */

static const char *security_name(enum dns_security s)
{
	return s == DNS_SECURE ? "secure" : s == DNS_BOGUS ? "bogus" : "insecure";
}

static void put_seen(json_t *o, const struct caa_view *v)
{
	json_object_set_new(o, "decision", json_string(caa_decision_name(v->decision)));
	json_object_set_new(o, "dnssec", json_string(security_name(v->security)));
	json_object_set_new(o, "ttl", json_integer((json_int_t)v->ttl));
	json_object_set_new(o, "records", answer_texts(&v->records));
	json_object_set_new(o, "iodef", answer_texts(&v->iodef));
	if (v->found_at[0]) {
		json_object_set_new(o, "found_at", json_string(v->found_at));
		json_object_set_new(o, "owner", json_string(v->owner));
	}
}

static json_t *result_json(const struct caa_result *r)
{
	json_t *o = json_object(), *seen = json_array();

	if (r->view)
		put_seen(o, r->view);
	for (size_t i = 0; i < r->n_views; i++) {
		json_t *one = json_pack("{s:s, s:s}", "name", r->views[i].perspective, "text", r->views[i].text);

		if (one)
			put_seen(one, &r->views[i]);
		json_array_append_new(seen, one);
	}
	json_object_set_new(o, "decision", json_string(caa_decision_name(r->decision)));
	json_object_set_new(o, "ttl", json_integer((json_int_t)r->ttl));
	json_object_set_new(o, "differ", json_boolean(r->differ));
	json_object_set_new(o, "perspectives", seen);
	json_object_set_new(o, "text", json_string(r->text));
	if (r->publish[0])
		json_object_set_new(o, "publish", json_string(r->publish));
	return o;
}

static const char *mode_name(enum caa_mode mode)
{
	return mode == CAA_ENFORCE ? "enforce" : mode == CAA_REPORT ? "report" : "off";
}

json_t *caa_look_at(const struct ca_config *config, struct ca *ca, const struct dns_perspectives *perspectives, const char *about, struct err *err)
{
	struct ca_info info = {0};
	struct caa_request req;
	struct caa_result result;
	char address[ADDRESS_MAX], *warning = NULL;
	json_t *o = NULL;

	if (!about || !*about || strlen(about) + sizeof "postmaster@" > sizeof address) {
		err_set(err, ERR_CONFIG, OP, NULL, "an address or a domain is needed");
		return NULL;
	}
	snprintf(address, sizeof address, "%s%s", strchr(about, '@') ? "" : "postmaster@", about);
	if (facts(config, ca, &info, &warning, err)) {
		req = caa_request_of(config, &info);
		req.address = address;
		caa_check(perspectives, &req, &result);
		o = result_json(&result);
		caa_result_clear(&result);
		json_object_set_new(o, "about", json_string(about));
		json_object_set_new(o, "ca", json_string(config->name));
		json_object_set_new(o, "mode", json_string(mode_name(config->caa)));
		json_object_set_new(o, "identities", answer_texts(req.identities));
		json_object_set_new(o, "method", json_string(config->caa_method));
		if (info.account_uri)
			json_object_set_new(o, "account", json_string(info.account_uri));
		if (warning)
			json_object_set_new(o, "warning", json_string(warning));
	}
	free(warning);
	ca_info_clear(&info);
	return o;
}

char *enroll_caa_check(const struct config *config, const struct ca_config *ca, const char *about, struct err *err)
{
	struct dns_perspectives perspectives;
	struct dns *dns = dns_new(&config->dns, err);
	json_t *o = NULL;
	char *text = NULL;

	if (dns && dns_perspectives_open(&perspectives, &config->dns, dns, err)) {
		o = caa_look_at(ca, NULL, &perspectives, about, err);
		text = o ? json_dumps(o, JSON_COMPACT) : NULL;
		if (o && !text)
			err_nomem(err, OP);
		json_decref(o);
		dns_perspectives_close(&perspectives, dns);
	}
	dns_free(dns);
	return text;
}
