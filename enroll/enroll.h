/*
 * enroll/enroll.h - what the enrollment room offers to others: running enrolld, the ACME account for `enrollctl init`, and the
 * words of the control protocol.
 *
 * Control protocol: a client connects to the Unix socket, writes one JSON object and a newline, reads one JSON object and a
 * newline, and closes.  Request: {"command": "show", "arguments": {...}}.  Answer: {"ok": true, "result": {...}} or
 * {"ok": false, "error": {"class": "policy", "text": "..."}}.  The peer's user is read by SO_PEERCRED; its groups decide the
 * role.  Requests are capped at 64 KiB, an idle client is dropped after 10 s.
 *
 * why: {"address", "queue_id", "message_id"}, the ids if a certain mail is meant: {"cause": a stable word (why.c), "signed", "sentence", "what_to_do",
 * and the facts "mail", "certificate", "enrollment"}.  expiring: {"within": seconds}.  search: {"text"}.
 *
 * directory-check: {"user_dn", "user_password"}, both or none: {"checks": as of doctor}.
 * directory-reconcile: {"dry_run", "after"}: one page: {"actions": [{"address", "action", "serial", "status", "dn", "text"}], "counts": {by action, and
 * "addresses", "present"}, "after": asked for next, as long as there is one}.
 * directory-restore: {"address"} or {"all": true}, {"dry_run", "after"}: {"actions", "after", "warning"}.
 * departures: {"looks", "looked_at", "guard": the alarm's words, "departures": [...], "held": [...]}; departures-confirm: {"dry_run"}.
 * enable: {"changed", "returned": was noted as gone and is not any more, "anew": a new certificate is asked for, "gone_since": still noted as gone}.
 *
 * report-legacy is asked again and again, for a directory of 100,000 entries is no single answer; each takes seconds at most:
 *   {}                          the first page of the directory; {"walk": "..."} the next one, as long as the answer has "walk".  A walk that
 *                               nobody asks about is given up when another one needs its place.
 *   {"after": ""}               certificates in the store that are active, whether published or not; next page: "after" of the answer
 *   {"addresses": [...]}        what is to be done about these (64 at most); with "enroll": true it is done.  The answer may be about
 *                               fewer of them: ask again for the rest.
 */
#ifndef ENROLL_ENROLL_ENROLL_H
#define ENROLL_ENROLL_ENROLL_H

#include <jansson.h>

#include <openssl/evp.h>

#include "base/base.h"
#include "policy/policy.h"

enum control_role { CONTROL_NOBODY, CONTROL_HELPDESK, CONTROL_ADMIN };

/* Role a command needs; CONTROL_NOBODY for an unknown command.  status, list, show, events, mail, why, expiring, search, certificates, config (show), doctor, ca-check, caa-check, account (show): help desk;
 * report-legacy: help desk, with "enroll" admin; enroll, retry, departures, replace-status: help desk; replace, replace-set, departures-confirm, disable, enable, pause, resume, directory-*: admin. */
enum control_role control_required_role(const char *command);

#define CONTROL_REQUEST_MAX (5 * 1024 * 1024) /* of an admin: some 100,000 serial numbers to replace */
#define CONTROL_REQUEST_OTHERS 65536

/* Run enrolld until SIGTERM or SIGINT.  Returns the exit code. */
int enrolld_run(struct config *config);

/* Make the account key when it is missing and register (or find again) the account at this CA of the configuration.  Safe to repeat.  The account URL
 * is copied to url. */
bool enroll_account_init(const struct config *config, const struct ca_config *ca, char url[1024], struct err *err) BASE_MUST_CHECK;

/* Give the account a new key of ca.account-key-type (RFC 8555 section 7.3.5): made as ACCOUNT_KEY.next, told to the CA, moved into the place of
 * the old one.  Killed at any point, it goes on where it was when called again, and enrolld copes with each state in between, running or
 * started anew.  A key that is a systemd credential cannot be replaced from here: ERR_CONFIG says what to do. */
bool enroll_account_rotate(const struct config *config, const struct ca_config *ca, char url[1024], struct err *err) BASE_MUST_CHECK;

/* Give the account up (RFC 8555 section 7.3.6).  Cannot be undone. */
bool enroll_account_deactivate(const struct ca_config *ca, struct err *err) BASE_MUST_CHECK;

/* Have this CA revoke a certificate (DER), asked by the certificate's own key (RFC 8555 section 7.6): for one that was issued to another account.
 * `reason` as `enrollctl revoke` takes it.  ERR_CONFIG with driver exec, whose program has no such way. */
bool enroll_revoke_with_key(const struct ca_config *ca, const void *der, size_t len, const char *reason, EVP_PKEY *key, struct err *err) BASE_MUST_CHECK;

/* What the control commands ca-check and account answer, when there is no enrolld to ask: JSON, freed by the caller; NULL with an error. */
char *enroll_ca_check(const struct ca_config *ca, struct err *err);
/* caa-check */
char *enroll_caa_check(const struct config *config, const struct ca_config *ca, const char *about, struct err *err);
char *enroll_account_show(const struct ca_config *ca, struct err *err);
/* doctor: one check of enrolld's, or all of them (NULL).  Migrates no store. */
char *enroll_doctor(const struct config *config, const char *check, struct err *err);

/* ---- lines of doctor, ca check and directory check ------------------------------------------------------------------ */

/* {"check", "verdict": "ok", "warning" or "fault", "text"}, and with check_fix "fix": [{"kind", "text", "where"}...].  A text is cut to some 2,000
 * octets. */
void check_add(json_t *checks, const char *check, const char *verdict, const char *fmt, ...) BASE_PRINTF(4, 5);
/* What mends the line that was added last, to be taken literally: a command of the shell's, a line of the configuration (`where`: its group, ""
 * for the top level), a record of a DNS zone. */
#define FIX_COMMAND "command"
#define FIX_CONFIGURATION "configuration"
#define FIX_DNS "dns"
void check_fix(json_t *checks, const char *kind, const char *where, const char *fmt, ...) BASE_PRINTF(4, 5);
/* All commands and lines of the configuration that enrolld ever names: enrollctl, which is root's, prints no other. */
#define FIX_RESUME "enrollctl resume"
#define FIX_CLOCK "timedatectl set-ntp true"
#define FIX_REGISTER "enrollctl account register"
#define FIX_REGISTER_AT FIX_REGISTER " --ca " /* and the CA's name */
#define FIX_TEXT_OF(n) #n
#define FIX_TEXT(n) FIX_TEXT_OF(n)
#define FIX_TRIAL_PORT 10027 /* SINK_PORT, a plain number here */
#define FIX_TRIAL_ROUTE "postconf -e \"transport_maps=$(postconf -h transport_maps) inline:{ doctor.invalid=smtp:[127.0.0.1]:" FIX_TEXT(FIX_TRIAL_PORT) " }\""
#define FIX_POSTFIX_RELOAD "postfix reload"
#define FIX_LOOKS "interval = 3600;"                              /* group departures */
#define FIX_TERMS "accept-terms = true;"                          /* group ca */
#define FIX_REPORTS "report-address = \"smime-reports@%.255s\";" /* group reply; %s: the first domain */
/* The names of enrolld's checks, closed by NULL. */
extern const char *const enroll_doctor_checks[];

/* A user's key and certificate from a file of PKCS#12 or PEM into the store (role ADMIN).  It comes in to be used when the key belongs to the
 * certificate, all its addresses are in domains of ours, it is valid now, chains to the anchors of a CA of the configuration, and certcheck
 * accepts it as one of the kinds of the configuration or as the Multipurpose or Strict one that it claims; usage encrypt and dual only with
 * `decryption`.  With `old` what is not good for that, or has a successor here, comes in for reading alone; why says what was against it.
 * ERR_CONFIG: the file, its password; ERR_POLICY: what is in it.  As store_import otherwise. */
struct enroll_import {
	const struct config *config;
	const char *name;             /* of the file, for history and errors */
	const void *data; size_t len;
	const char *password;         /* NULL = none */
	const char *address;          /* it has to have this one, which comes first then; NULL = whichever it has */
	bool old, dry_run;
	const char *actor;
};
struct enroll_imported { char address[ADDRESS_MAX], serial[80], fingerprint[65], status[16], why[800]; bool created; };
bool enroll_import(struct store *store, const struct enroll_import *what, struct enroll_imported *out, struct err *err) BASE_MUST_CHECK;

#endif
