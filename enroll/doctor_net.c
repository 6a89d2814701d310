/*
 * enroll/doctor_net.c - `doctor`: our domains as the CA will see them, the CA, and the clock.
 */
#include "config.h"

#include "enroll/doctor.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "enroll/account_gate.h"

#define TYPE_TXT 16
#define CLOCK_WARNING 10 /* seconds; an HTTP date has whole ones */
#define CLOCK_FAULT 120  /* signing times that look wrong, OCSP answers that seem to come from the future */

/* ---- records ------------------------------------------------------------------------------------------------------------------------ */

void doctor_mx(json_t *checks, struct enroll_parts *p)
{
	for (size_t i = 0; i < p->config->domains.n; i++) {
		const char *domain = p->config->domains.v[i];
		struct dns_answer a;

		dns_query(p->dns, domain, 15 /* MX */, 0, &a);
		if (a.status == DNS_FAILED)
			check_add(checks, "dns", "fault", "MX of %s: %s%s", domain, a.security == DNS_BOGUS ? "DNSSEC is broken: " : "", a.why);
		else if (a.status == DNS_FOUND)
			check_add(checks, "dns", "ok", "MX of %s found, DNSSEC %s", domain, a.security == DNS_SECURE ? "secure" : "not signed");
		else
			check_add(checks, "dns", "warning", "%s has no MX record: the CA's challenge mail will go to its address record", domain);
		dns_answer_clear(&a);
	}
}

/* The strings of a TXT record as one (RFC 7208 section 3.3, RFC 6376 section 3.6.2.2). */
static void txt_of(const struct dns_rdata *r, struct buf *out)
{
	buf_reset(out);
	for (size_t at = 0; at < r->len && at + 1 + r->data[at] <= r->len; at += 1 + (size_t)r->data[at])
		buf_append(out, r->data + at + 1, r->data[at]);
}

/* How many TXT records at this name begin so, and the last of them.  Nobody knows: *failed. */
static size_t txt_records(struct enroll_parts *p, const char *name, const char *begins, struct buf *found, bool *failed, char why[256])
{
	struct buf one = BUF_INIT;
	struct dns_answer a;
	size_t n = 0;

	dns_query(p->dns, name, TYPE_TXT, 0, &a);
	*failed = a.status == DNS_FAILED;
	snprintf(why, 256, "%s", a.why);
	for (size_t i = 0; i < a.n; i++) {
		txt_of(&a.rdata[i], &one);
		if (strncasecmp(buf_str(&one), begins, strlen(begins)) != 0)
			continue;
		n++;
		buf_reset(found);
		buf_append(found, one.data, one.len);
	}
	dns_answer_clear(&a);
	buf_clear(&one);
	return n;
}

static void spf_of(json_t *checks, struct enroll_parts *p, const char *domain)
{
	struct buf record = BUF_INIT;
	bool failed;
	char why[256];
	size_t n = txt_records(p, domain, "v=spf1", &record, &failed, why);

	if (failed) {
		check_add(checks, "spf", "warning", "%s: %s", domain, why);
	} else if (n == 0) {
		check_add(checks, "spf", "warning", "%s has no SPF record: a CA's mail server may refuse replies under this domain", domain);
		check_fix(checks, FIX_DNS, domain, "%s. TXT \"v=spf1 mx ~all\"", domain);
	} else if (n > 1) {
		check_add(checks, "spf", "fault", "%s has %zu SPF records, which is an error to every receiver (RFC 7208 section 4.5): leave one", domain, n);
	} else {
		check_add(checks, "spf", "ok", "%s: %s", domain, buf_str(&record));
	}
	buf_clear(&record);
}

void doctor_spf(json_t *checks, struct enroll_parts *p)
{
	for (size_t i = 0; i < p->config->domains.n; i++)
		spf_of(checks, p, p->config->domains.v[i]);
}

/* The records that count for a domain: its own, or those of the nearest domain above it that has any, its organizational domain (RFC 7489 section 6.6.3)
 * by all that can be told without a list of public suffixes.  `at`: where. */
static size_t dmarc_records(struct enroll_parts *p, const char *domain, const char **at, struct buf *record, bool *failed, char why[256])
{
	char name[300];
	size_t n;

	for (*at = domain;; *at = strchr(*at, '.') + 1) {
		snprintf(name, sizeof name, "_dmarc.%.255s", *at);
		n = txt_records(p, name, "v=DMARC1", record, failed, why);
		if (n || *failed || !strchr(*at, '.') || !strchr(strchr(*at, '.') + 1, '.'))
			return n;
	}
}

static void dmarc_of(json_t *checks, struct enroll_parts *p, const char *domain)
{
	struct buf record = BUF_INIT;
	bool failed;
	char why[256];
	const char *at;
	size_t n = dmarc_records(p, domain, &at, &record, &failed, why);

	if (failed) {
		check_add(checks, "dmarc", "warning", "_dmarc.%s: %s", at, why);
	} else if (n == 0) {
		check_add(checks, "dmarc", "warning", "%s has no DMARC record: some CAs take no reply from such a domain", domain);
		check_fix(checks, FIX_DNS, domain, "_dmarc.%s. TXT \"v=DMARC1; p=none\"", domain);
	} else if (n > 1) {
		check_add(checks, "dmarc", "fault", "%s has %zu DMARC records, so that none counts (RFC 7489 section 6.6.3): leave one", at, n);
	} else {
		check_add(checks, "dmarc", "ok", "%s: %s%s%s%s", domain, at == domain ? "" : "by ", at == domain ? "" : at, at == domain ? "" : "'s: ", buf_str(&record));
	}
	buf_clear(&record);
}

void doctor_dmarc(json_t *checks, struct enroll_parts *p)
{
	for (size_t i = 0; i < p->config->domains.n; i++)
		dmarc_of(checks, p, p->config->domains.v[i]);
}

/* The tag p= of a key record (RFC 6376 section 3.6.1); empty: revoked. */
static bool has_key(const char *record)
{
	for (const char *at = record; at; at = strchr(at, ';')) {
		at += strspn(at, "; \t");
		if (at[0] == 'p' && at[1 + strspn(at + 1, " \t")] == '=') {
			at = strchr(at, '=') + 1;
			at += strspn(at, " \t");
			return *at && *at != ';';
		}
		if (!*at)
			break;
	}
	return false;
}

void doctor_dkim_key(json_t *checks, struct enroll_parts *p, const char *selector, const char *domain)
{
	struct buf record = BUF_INIT;
	bool failed;
	char why[256], name[600];
	size_t n;

	snprintf(name, sizeof name, "%.255s._domainkey.%.255s", selector, domain);
	n = txt_records(p, name, "", &record, &failed, why);
	if (failed)
		check_add(checks, "dkim", "warning", "%s: %s", name, why);
	else if (n == 0)
		check_add(checks, "dkim", "fault",
			"replies are DKIM-signed by a key that is not in DNS: publish at %s what OpenDKIM's key generator wrote into %s.txt", name, selector);
	else if (!has_key(buf_str(&record)))
		check_add(checks, "dkim", "fault", "%s names no key, which means that it is revoked: publish the one that OpenDKIM signs with", name);
	else
		check_add(checks, "dkim", "ok", "the key that replies are signed by is at %s", name);
	buf_clear(&record);
}

/* ---- the CA ---------------------------------------------------------------------------------------------------------------------------- */

static void check_caa(json_t *checks, struct enroll_parts *p, const struct ca_config *ca, const struct ca_info *info)
{
	for (size_t i = 0; ca->caa != CAA_OFF && i < p->config->domains.n; i++) {
		struct caa_request req = caa_request_of(ca, info);
		struct caa_result r;
		char address[300];

		snprintf(address, sizeof address, "postmaster@%.255s", p->config->domains.v[i]);
		req.address = address;
		caa_check(&p->perspectives, &req, &r);
		/* Where all is well the records themselves are too much: `enrollctl caa check` shows them. */
		check_add(checks, "caa", r.decision == CAA_ALLOW ? "ok" : ca->caa == CAA_REPORT ? "warning" : "fault", "%s: %.*s", p->config->domains.v[i],
			(int)(r.decision == CAA_ALLOW ? strcspn(r.text, "\n;") : strlen(r.text)), r.text);
		if (r.decision != CAA_ALLOW && *r.publish)
			check_fix(checks, FIX_DNS, p->config->domains.v[i], "%s", r.publish);
		caa_result_clear(&r);
	}
}

/* Asked anew, not from memory: this is what an admin runs after mending the program. */
static void check_exec(json_t *checks, struct enroll_parts *p, const struct enroll_ca *one)
{
	const struct ca_config *ca = one->config;
	struct ca_info info = {0};
	struct err err = ERR_INIT;

	if (!ca_discover(one->ca, &info, &err)) {
		check_add(checks, "ca", "fault", "%s: %s", err.op, err.text);
	} else {
		check_add(checks, "ca", "ok", "%s answers%s%s", ca->exec.program, info.terms ? "; terms of service: " : "", info.terms ? info.terms : "");
		if (ca->caa != CAA_OFF && ca->caa_identities.n == 0 && info.caa_identities.n == 0)
			check_add(checks, "caa", "warning",
				"the CA's name in CAA records is not known: a domain that has issuemail records gets no certificate; set ca.caa-identities, have the "
				"program answer caa_identities, or set ca.caa = \"off\"");
		check_caa(checks, p, one->config, &info);
	}
	ca_info_clear(&info);
}

/* Looked up by our key: who only looks registers nothing.  No account: account_uri stays NULL. */
static bool take_account(struct ca *ca, struct ca_info *info, struct err *err)
{
	struct ca_account account = {0};
	bool found = false, ok = ca_account_look(ca, &account, &found, err);

	if (ok && found && account.status && strcmp(account.status, "valid") != 0)
		ok = err_set(err, ERR_CA, "look at account", account.uri, "our account %s is %s: `enrollctl ca check` says what to do", account.uri ? account.uri : "", account.status);
	if (ok && found) {
		free(info->account_uri);
		info->account_uri = account.uri;
		account.uri = NULL;
	}
	ca_account_clear(&account);
	return ok;
}

static void say_account(json_t *checks, struct enroll_parts *p, const struct ca_config *ca, const struct ca_info *info)
{
	const char *binding = info->eab_required ? ", external account binding required" : "";

	if (info->account_uri) {
		check_add(checks, "ca", "ok", "%s answers, our account is %s%s", ca->directory_url, info->account_uri, binding);
		return;
	}
	check_add(checks, "ca", "warning", "%s answers, but has no account for our key yet%s: the first order would make it", ca->directory_url, binding);
	if (ca == config_ca_at(p->config, 0))
		check_fix(checks, FIX_COMMAND, "", FIX_REGISTER);
	else
		check_fix(checks, FIX_COMMAND, "", FIX_REGISTER_AT "%s", ca->name);
}

static void say_gate(json_t *checks, struct enroll_parts *p, const struct enroll_ca *one)
{
	char why[ACCOUNT_GATE_TEXT];

	account_gate_why(p, why);
	if (atomic_load(&one->gate.shut) && why[0])
		check_add(checks, "ca", "fault", "%s", why);
}

static void check_ca(json_t *checks, struct enroll_parts *p, const struct enroll_ca *one)
{
	struct ca_info info = {0};
	struct err err = ERR_INIT;

	if (one->config->driver == CA_DRIVER_EXEC) {
		check_exec(checks, p, one);
		return;
	}
	if (ca_discover(one->ca, &info, &err) && take_account(one->ca, &info, &err)) {
		say_account(checks, p, one->config, &info);
		say_gate(checks, p, one);
		check_caa(checks, p, one->config, &info);
	} else {
		check_add(checks, "ca", "fault", "%s: %s", err.op, err.text);
	}
	ca_info_clear(&info);
}

void doctor_cas(json_t *checks, struct enroll_parts *p)
{
	if (!p->n_cas)
		check_add(checks, "ca", "warning", "not used while mode is \"observe\"");
	for (size_t i = 0; i < p->n_cas; i++)
		check_ca(checks, p, &p->cas[i]);
}

/* `ca check`, of which what is as it should be makes one line. */
static void details_of(json_t *checks, struct enroll_parts *p, const struct enroll_ca *one)
{
	struct err err = ERR_INIT;
	json_t *lines = ca_check_run(one->config, one->ca, p->store, &err), *line, *fix;
	struct buf good = BUF_INIT;
	size_t i, k;

	json_array_foreach(lines, i, line) {
		const char *verdict = json_string_value(json_object_get(line, "verdict")), *name = json_string_value(json_object_get(line, "check"));

		if (strcmp(verdict, "ok") == 0) {
			buf_printf(&good, "%s%s", good.len ? ", " : "", name);
			continue;
		}
		check_add(checks, "ca-details", verdict, "%s: %s: %s", one->config->name, name, json_string_value(json_object_get(line, "text")));
		json_array_foreach(json_object_get(line, "fix"), k, fix)
			check_fix(checks, json_string_value(json_object_get(fix, "kind")), json_string_value(json_object_get(fix, "where")), "%s",
				json_string_value(json_object_get(fix, "text")));
	}
	if (!lines)
		check_add(checks, "ca-details", "fault", "%s: %s", one->config->name, err.text);
	else if (good.len)
		check_add(checks, "ca-details", "ok", "%s: well: %s (enrollctl ca check shows them)", one->config->name, buf_str(&good));
	json_decref(lines);
	buf_clear(&good);
}

void doctor_ca_details(json_t *checks, struct enroll_parts *p)
{
	if (!p->n_cas)
		check_add(checks, "ca-details", "ok", "no CA is asked while mode is \"observe\"");
	for (size_t i = 0; i < p->n_cas; i++)
		details_of(checks, p, &p->cas[i]);
}

/* ---- the clock ------------------------------------------------------------------------------------------------------------------------- */

static void clock_by(json_t *checks, const char *who, long long off)
{
	long long much = off < 0 ? -off : off;

	if (much <= CLOCK_WARNING) {
		check_add(checks, "clock", "ok", "as that of %s, give or take %d seconds", who, CLOCK_WARNING);
		return;
	}
	check_add(checks, "clock", much > CLOCK_FAULT ? "fault" : "warning", "this host's clock is %lld seconds %s that of %s: signatures get wrong times, and "
		"what others signed seems %s", much, off < 0 ? "behind" : "ahead of", who, off < 0 ? "not to be valid yet" : "to have expired");
	check_fix(checks, FIX_COMMAND, "", "%s", FIX_CLOCK);
}

void doctor_clock(json_t *checks, struct enroll_parts *p)
{
	bool told = false;

	for (size_t i = 0; i < p->n_cas && !told; i++) {
		const struct ca_config *ca = p->cas[i].config;
		struct ca_probe probe = {0};

		if (ca->driver == CA_DRIVER_ACME && ca_probe(ca, &probe, NULL) && probe.date) {
			clock_by(checks, ca->name, (long long)(time(NULL) - probe.date));
			told = true;
		}
		ca_probe_clear(&probe);
	}
	if (!told)
		check_add(checks, "clock", "ok", "no CA tells the time: not compared");
}
