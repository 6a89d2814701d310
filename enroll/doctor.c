/*
 * enroll/doctor.c - `enrollctl doctor`: can everything this installation leans on be reached, and does it answer as it must?
 *
 * Each check adds one or more lines {check, verdict, text}.  The reply path is tried with a real mail: it is handed to the reply listener, addressed
 * to a domain of ours alone (doctor.invalid) that the sample configuration routes back to a loopback port, where a one-shot receiver (sink.c) looks
 * at the DKIM-Signature that was put on it (RFC 8823 section 3.2 names the fields it has to cover).
 */
#include "config.h"

#include "enroll/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "enroll/challenge.h"
#include "enroll/doctor_mail.h"
#include "enroll/people.h"
#include "enroll/sink.h"

void check_add(json_t *checks, const char *check, const char *verdict, const char *fmt, ...)
{
	char text[2048];
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	n = strlen(text);
	for (unsigned cut = 0; cut < 3 && !text_is_utf8(text, n); cut++)
		text[--n] = '\0'; /* half of a character at its end would lose the whole line */
	for (char *p = text; *p && !text_is_utf8(text, n); p++)
		if ((unsigned char)*p > 127)
			*p = '?';
	json_array_append_new(checks, json_pack("{s:s, s:s, s:s}", "check", check, "verdict", verdict, "text", text));
}

/* ---- milter sockets --------------------------------------------------------------------------------------------------------------- */

/* A milter's socket has the name at which it was made, which is this and the process id (milter/listener.h). */
static bool is_name_of(const char *name, const char *path)
{
	size_t len = strlen(path);

	return strncmp(name, path, len) == 0 && (!name[len] || (name[len] == '.' && !name[len + 1 + strspn(name + len + 1, "0123456789")]));
}

/* The folder is closed to enrolld, as it should be; the kernel's list of sockets tells all the same whether somebody listens. */
static bool is_listening(const char *path)
{
	FILE *list = fopen("/proc/net/unix", "re");
	char *line = NULL, name[256];
	size_t size = 0;
	unsigned flags;
	bool found = false;

	while (list && !found && getline(&line, &size, list) > 0)
		found = sscanf(line, "%*s %*s %*s %x %*s %*s %*s %255s", &flags, name) == 2 && (flags & 0x10000) && is_name_of(name, path);
	free(line);
	if (list)
		fclose(list);
	return found;
}

static void check_socket(json_t *checks, const char *name, const char *where)
{
	const char *path = where + 5;
	struct stat st;

	if (strncmp(where, "unix:", 5) != 0)
		check_add(checks, name, "warning", "%s is a TCP socket: whoever reaches it can sign as anybody", where);
	else if (!is_listening(path))
		check_add(checks, name, "error", "nobody listens on %s: is enroll-milter@%s running?", path, name);
	else if (lstat(path, &st) == 0 && (st.st_mode & 07))
		check_add(checks, name, "error", "%s can be used by every local user (mode %o): whoever connects can sign as anybody", path, st.st_mode & 0777);
	else
		check_add(checks, name, "ok", "enroll-milter@%s listens on %s", name, path);
}

/* The order of filters cannot be read from here; what it does to mail can. */
static void check_order(json_t *checks, struct enroll_parts *p)
{
	struct mail_event_list l = {0};
	struct err err = ERR_INIT;
	size_t wrong = 0;
	char when[32];

	if (!store_mail_events(p->store, NULL, 200, &l, &err)) {
		check_add(checks, "milter-order", "error", "%s", err.text);
		return;
	}
	for (size_t i = 0; i < l.n; i++)
		wrong += l.v[i].reason && strcmp(l.v[i].reason, OUTBOUND_AFTER_DKIM) == 0;
	if (l.n == 0)
		check_add(checks, "milter-order", "warning", "no mail of our users was seen yet: is the outbound socket in smtpd_milters of the submission service?");
	else if (wrong)
		check_add(checks, "milter-order", "error",
			"%zu of the last %zu mails were DKIM-signed before enroll-milter signed them, which breaks that signature: put its socket before OpenDKIM's in smtpd_milters",
			wrong, l.n);
	else
		check_add(checks, "milter-order", "ok", "last mail of our users seen %s, none was DKIM-signed before us", time_text(l.v[0].at, when));
	mail_event_list_clear(&l);
}

/* ---- directory, DNS, CA -------------------------------------------------------------------------------------------------------------- */

static void check_directory(json_t *checks, struct enroll_parts *p)
{
	struct buf report = BUF_INIT;
	struct err err = ERR_INIT;

	if (!p->directory)
		check_add(checks, "directory", "warning", "none is configured: logins can only vouch by map or by being the address, nothing is published");
	else if (directory_check(p->directory, &report, &err))
		check_add(checks, "directory", "ok", "%s", buf_str(&report));
	else
		check_add(checks, "directory", "error", "%s", err.text);
	buf_clear(&report);
}

/* The last look at who left. */
static void check_people(json_t *checks, struct enroll_parts *p)
{
	long long looked = atomic_load(&p->people_looked);
	struct err err = ERR_INIT;
	char *guard = NULL, when[32];

	if (!p->directory || p->config->mode == MODE_OBSERVE)
		return;
	if (!p->config->departures.interval)
		check_add(checks, "departures", "warning", "nobody looks at who left (departures.interval = 0): their mail may go on being signed");
	else if (!store_flag_get(p->store, PEOPLE_GUARD_FLAG, &guard, &err))
		check_add(checks, "departures", "error", "%s", err.text);
	else if (guard)
		check_add(checks, "departures", "error", "%s", guard);
	else
		check_add(checks, "departures", "ok", "the directory was looked at for who left%s%s%s", looked ? " at " : ": not yet",
			looked ? time_text((time_t)looked, when) : "", p->config->directory.disabled_filter ? "" :
			"; directory.disabled-filter is not set, so who is disabled there, but not deleted, is not recognised");
	free(guard);
}

static void check_dns(json_t *checks, struct enroll_parts *p)
{
	for (size_t i = 0; i < p->config->domains.n; i++) {
		const char *domain = p->config->domains.v[i];
		struct dns_answer a;

		dns_query(p->dns, domain, 15 /* MX */, 0, &a);
		if (a.status == DNS_FAILED)
			check_add(checks, "dns", "error", "MX of %s: %s%s", domain, a.security == DNS_BOGUS ? "DNSSEC is broken: " : "", a.why);
		else if (a.status == DNS_FOUND)
			check_add(checks, "dns", "ok", "MX of %s found, DNSSEC %s", domain, a.security == DNS_SECURE ? "secure" : "not signed");
		else
			check_add(checks, "dns", "warning", "%s has no MX record: the CA's challenge mail will go to its address record", domain);
		dns_answer_clear(&a);
	}
}

static void check_caa(json_t *checks, struct enroll_parts *p, const struct ca_config *ca, const struct ca_info *info)
{

	for (size_t i = 0; ca->caa != CAA_OFF && i < p->config->domains.n; i++) {
		struct caa_request req = caa_request_of(ca, info);
		struct caa_result r;
		char address[300];

		snprintf(address, sizeof address, "postmaster@%.255s", p->config->domains.v[i]);
		req.address = address;
		caa_check(&p->perspectives, &req, &r);
		check_add(checks, "caa", r.decision == CAA_ALLOW ? "ok" : ca->caa == CAA_REPORT ? "warning" : "error", "%s: %s", p->config->domains.v[i], r.text);
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
		check_add(checks, "ca", "error", "%s: %s", err.op, err.text);
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

static void check_ca(json_t *checks, struct enroll_parts *p, const struct enroll_ca *one)
{
	struct ca_info info = {0};
	struct err err = ERR_INIT;

	if (one->config->driver == CA_DRIVER_EXEC) {
		check_exec(checks, p, one);
		return;
	}
	if (ca_prepare(one->ca, &info, &err)) {
		check_add(checks, "ca", "ok", "%s answers, our account is %s%s", one->config->directory_url, info.account_uri ? info.account_uri : "unknown",
			info.eab_required ? ", external account binding required" : "");
		if (info.warning)
			check_add(checks, "ca", "warning", "%s", info.warning);
		check_caa(checks, p, one->config, &info);
	} else {
		check_add(checks, "ca", "error", "%s: %s", err.op, err.text);
	}
	ca_info_clear(&info);
}

static void check_cas(json_t *checks, struct enroll_parts *p)
{
	if (!p->n_cas)
		check_add(checks, "ca", "warning", "not used while mode is \"observe\"");
	for (size_t i = 0; i < p->n_cas; i++)
		check_ca(checks, p, &p->cas[i]);
}

/* ---- the reply path -------------------------------------------------------------------------------------------------------------------- */

static const char *const reply_fields[] = {"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "In-Reply-To", "References", "Message-ID",
	"Content-Type", "Content-Transfer-Encoding"};

/* Is `field` a member of the colon-separated h= list? */
static bool listed(const char *list, size_t len, const char *field)
{
	const char *end = list + len;

	while (list < end) {
		const char *colon = memchr(list, ':', (size_t)(end - list)), *stop = colon ? colon : end, *last = stop;

		while (list < last && strchr(" \t\r\n", *list))
			list++;
		while (last > list && strchr(" \t\r\n", last[-1]))
			last--;
		if ((size_t)(last - list) == strlen(field) && strncasecmp(list, field, strlen(field)) == 0)
			return true;
		list = stop + 1;
	}
	return false;
}

/* The value of a tag in a DKIM-Signature (RFC 6376 section 3.2), up to its semicolon. */
static const char *tag_value(const char *signature, const char *tag, size_t *len)
{
	for (const char *p = signature; p; p = strchr(p, ';')) {
		p += *p == ';';
		p += strspn(p, " \t\r\n");
		if (strncmp(p, tag, strlen(tag)) == 0 && p[strlen(tag) + strspn(p + strlen(tag), " \t")] == '=') {
			p = strchr(p, '=') + 1;
			*len = strcspn(p, ";");
			return p;
		}
		if (!*p)
			break;
	}
	return NULL;
}

static void judge_signature(json_t *checks, const char *signature, const char *domain)
{
	size_t h_len = 0, d_len = 0;
	const char *h = tag_value(signature, "h", &h_len), *d = tag_value(signature, "d", &d_len);
	struct buf missing = BUF_INIT;

	for (size_t i = 0; i < sizeof reply_fields / sizeof *reply_fields; i++)
		if (!h || !listed(h, h_len, reply_fields[i]))
			buf_printf(&missing, " %s", reply_fields[i]);
	if (!d || d_len != strlen(domain) || strncasecmp(d, domain, d_len) != 0)
		check_add(checks, "reply-path", "error", "the reply is DKIM-signed for d=%.*s, the CA wants d=%s", (int)(d_len < 200 ? d_len : 200), d ? d : "", domain);
	else if (missing.len)
		check_add(checks, "reply-path", "error", "the DKIM signature on replies does not cover:%s; set SignHeaders and OversignHeaders of the reply listener's OpenDKIM",
			buf_str(&missing));
	else
		check_add(checks, "reply-path", "ok", "a trial reply came back DKIM-signed by %s over all fields that RFC 8823 names", domain);
	buf_clear(&missing);
}

static void try_reply(json_t *checks, struct enroll_parts *p, struct sink *sink)
{
	const struct config *c = p->config;
	struct challenge trial = {.from = (char *)"reply@doctor.invalid", .message_id = (char *)"<trial@doctor.invalid>",
		.token_part1 = (char *)"ZG9jdG9yLXRyaWFsLXRva2Vu"};
	struct buf mail = BUF_INIT, id = BUF_INIT, signature = BUF_INIT;
	struct trial_report report;
	struct err err = ERR_INIT;
	char from[300];
	bool asks = doctor_report_begin(checks, p, &report), sent = false;

	snprintf(from, sizeof from, "postmaster@%.255s", c->domains.v[0]);
	challenge_message_id(&id, from);
	if (!challenge_reply(&mail, from, &trial, buf_str(&id), "trial", time(NULL), &err) ||
		challenge_send(c->reply_host, c->reply_port, c->reply_timeout, asks ? report.from : from, trial.from, asks ? "doctor" : NULL, &mail,
			&err) != REPLY_ACCEPTED)
		check_add(checks, "reply-path", "error", "the reply listener %s:%u does not take mail: %s", c->reply_host, c->reply_port, err.text);
	else if (!(sent = sink_wait(sink, buf_str(&id), 15000, &signature)))
		check_add(checks, "reply-path", "warning",
			"the reply listener took a trial mail, but it did not come back to 127.0.0.1:%u; add transport_maps = inline:{ doctor.invalid=smtp:[127.0.0.1]:%u } to Postfix to have it checked",
			SINK_PORT, SINK_PORT);
	else if (signature.len == 0)
		check_add(checks, "reply-path", "error", "replies leave without a DKIM signature: CAs refuse them; is OpenDKIM the milter of the reply listener?");
	else
		judge_signature(checks, buf_str(&signature), c->domains.v[0]);
	if (asks)
		doctor_report_end(checks, p, &report, sent);
	buf_clear(&mail);
	buf_clear(&id);
	buf_clear(&signature);
}

static void check_reply_path(json_t *checks, struct enroll_parts *p)
{
	struct err err = ERR_INIT;
	struct sink *sink;

	if (p->config->domains.n == 0)
		return;
	sink = sink_open(&err);
	if (!sink) {
		check_add(checks, "reply-path", "warning", "cannot be tried: %s", err.text);
		return;
	}
	try_reply(checks, p, sink);
	sink_close(sink);
}

static void check_store(json_t *checks, struct enroll_parts *p)
{
	struct err err = ERR_INIT;

	if (store_check(p->store, &err))
		check_add(checks, "store", "ok", "%s is sound, schema version %d", p->config->store.path, store_schema_version());
	else
		check_add(checks, "store", "error", "%s", err.text);
}

json_t *doctor_run(struct enroll_parts *p, struct err *err)
{
	json_t *checks = json_array();

	if (!checks) {
		err_nomem(err, "doctor");
		return NULL;
	}
	check_store(checks, p);
	check_socket(checks, "outbound", p->config->milter.outbound_socket);
	check_socket(checks, "inbound", p->config->milter.inbound_socket);
	check_order(checks, p);
	doctor_default_action(checks, p);
	check_directory(checks, p);
	check_people(checks, p);
	check_dns(checks, p);
	check_cas(checks, p);
	check_reply_path(checks, p);
	return checks;
}
