/*
 * enroll/acme_probe.c - an ACME server seen from outside: its directory, fetched over a connection of its own.
 *
 * For `enrollctl ca check`, which has to work before there is an account or even a key, and to say how far it came when it did not get there.
 */
#include "config.h"

#include <string.h>

#include "enroll/acme.h"
#include "enroll/member.h"
#include "enroll/problem.h"

#define TOTAL_SECONDS 10 /* somebody sits and waits */

/* One description for each profile, in their order. */
static bool describe_profiles(const struct http_response *r, const char *url, struct ca_probe *out, struct err *err)
{
	struct member_source from = {.op = "fetch directory", .url = url, .err = err};
	json_t *j = member_parse(&from, r->body.data, r->body.len);
	json_t *profiles = json_object_get(json_object_get(j, "meta"), "profiles");
	bool ok = j != NULL;

	for (size_t i = 0; ok && i < out->info.profiles.n; i++) {
		const char *text = json_string_value(json_object_get(profiles, out->info.profiles.v[i]));

		ok = strlist_add(&out->profile_texts, text ? text : "") || err_nomem(err, from.op);
	}
	json_decref(j);
	return ok;
}

/* Moves what is in the directory. */
static void take_info(struct acme_directory *d, struct ca_info *out)
{
	out->terms = d->terms;
	out->caa_identities = d->caa_identities;
	out->profiles = d->profiles;
	out->eab_required = d->eab_required;
	out->has_renewal_info = d->url[ACME_RENEWAL_INFO] != NULL;
	out->has_revocation = d->url[ACME_REVOKE_CERT] != NULL;
	out->has_key_change = d->url[ACME_KEY_CHANGE] != NULL;
	d->terms = NULL;
	d->caa_identities = d->profiles = (struct strlist){0};
}

static bool fetch(struct http *http, const char *url, struct ca_probe *out, struct err *err)
{
	struct http_request q = {.method = HTTP_GET, .url = url, .accept = "application/json"};
	struct http_response r = HTTP_RESPONSE_INIT;
	struct acme_directory directory;
	bool ok = false;

	if (http_perform(http, &q, &r, err) != HTTP_ANSWERED) {
		if (err)
			snprintf(err->op, sizeof err->op, "fetch directory");
	} else if (r.status != 200) {
		problem_from_answer(&r, "fetch directory", url, time(NULL), err);
	} else if (acme_directory_parse(r.body.data, r.body.len, url, &directory, err)) {
		take_info(&directory, &out->info);
		acme_directory_clear(&directory);
		ok = describe_profiles(&r, url, out, err);
	}
	out->status = (int)r.status;
	if (!ok && err)
		err->status = out->status;
	out->ms = r.ms;
	out->date = r.date;
	snprintf(out->tls, sizeof out->tls, "%s", r.tls);
	http_response_clear(&r);
	return ok;
}

bool acme_probe(const struct ca_config *config, struct ca_probe *out, struct err *err)
{
	struct http_settings settings = {.ca_file = config->ca_file, .contact = config->contact, .total_seconds = TOTAL_SECONDS,
		.proxy = config->proxy};
	struct http *http;
	bool ok;

	memset(out, 0, sizeof *out);
	if (!http_url_good(config->directory_url))
		return err_set(err, ERR_CONFIG, "fetch directory", config->directory_url, "ca.directory-url \"%s\" is no https URL",
			config->directory_url ? config->directory_url : "");
	http = http_new(&settings, err);
	if (!http)
		return false;
	ok = fetch(http, config->directory_url, out, err);
	http_free(http);
	return ok;
}
