/*
 * enroll/control.h - the control socket of enrolld and its commands.  Private to enroll/; the protocol stands in enroll/enroll.h.
 */
#ifndef ENROLL_ENROLL_CONTROL_H
#define ENROLL_ENROLL_CONTROL_H

#include <jansson.h>

#include "enroll/enroll.h"
#include "enroll/enrollment.h"

struct control;

/* Who asks. `name` is for events: "admin:root", "helpdesk:anna". */
struct control_peer {
	enum control_role role;
	char user[64];
	char name[96];
};

/* The right to be the enrolld of this socket; a second one gets an error.  To be had before anything is done to the store. */
struct control *control_claim(const char *path, struct err *err);
/* Listen and serve on threads of its own until control_stop. */
bool control_start(struct control *c, struct enroll_parts *parts, struct err *err) BASE_MUST_CHECK;
/* Does the socket answer its own process within that time? */
bool control_answers(const struct control *c, int ms);
/* When somebody was let in last (mono_ms): where others crowd before the door, that is a sign of life too. */
int64_t control_turned(const struct control *c);
void control_stop(struct control *c); /* accepts NULL; waits for requests under way */

/* One command (commands.c): a new reference to the result, or NULL with err. */
json_t *command_run(struct enroll_parts *parts, const struct control_peer *peer, const char *command, json_t *arguments, struct err *err);

/* `doctor`: lines as of check_add, of one check or of all (NULL) that enrolld has (doctor.c). */
json_t *doctor_run(struct enroll_parts *parts, const char *check, bool admin, struct err *err);

/* `policy explain` (explain.c): what would be decided about this address now, and whether mail to these recipients would be signed. */
json_t *policy_explain(struct enroll_parts *parts, const char *address, const struct strlist *to, struct err *err);

/* `report legacy` (legacy.c): certificates that have to be replaced, one page a call; enroll/enroll.h has arguments and answers.  Walks over the
 * directory that are under way are kept in parts->walks, which ends before the directory does. */
json_t *legacy_report(struct enroll_parts *parts, const struct control_peer *peer, json_t *arguments, struct err *err);
struct legacy_walks *legacy_walks_new(struct err *err);
void legacy_walks_free(struct legacy_walks *w); /* accepts NULL */

/* Facts of the store as they stand in answers (commands.c); `whole`: more than a line of a list needs. */
json_t *json_of_enrollment(const struct enrollment *e, bool whole);
json_t *json_of_certificate(const struct store_certificate *c);
json_t *json_of_mail(const struct mail_event *m);

/* `why`, `expiring`, `search` (helpdesk.c).  `queue_id` and `message_id` may be NULL: the newest mail of this address.  `within`: seconds. */
json_t *helpdesk_why(struct enroll_parts *parts, const char *address, const char *queue_id, const char *message_id, struct err *err);
json_t *helpdesk_expiring(struct enroll_parts *parts, int64_t within, size_t limit, struct err *err);
json_t *helpdesk_search(struct enroll_parts *parts, const char *text, size_t limit, struct err *err);

/* `rotate` and `revoke` (revoke_control.c).  revoke: arguments "what" (address, serial number or fingerprint), "reason", "replace" (true, false;
 * absent: as the reason wants), "dry_run", "text"; the answer names the certificates. */
json_t *rotate_run(struct enroll_parts *parts, const struct control_peer *peer, json_t *arguments, struct err *err);
json_t *revoke_run(struct enroll_parts *parts, const struct control_peer *peer, json_t *arguments, struct err *err);
/* `directory check`, `reconcile` and `restore` (directory_control.c); enroll/enroll.h has arguments and answers. */
json_t *directory_check_run(struct enroll_parts *parts, json_t *arguments, struct err *err);
json_t *directory_reconcile_run(struct enroll_parts *parts, const struct control_peer *peer, json_t *arguments, struct err *err);
json_t *directory_restore_run(struct enroll_parts *parts, const struct control_peer *peer, json_t *arguments, struct err *err);
/* `departures` and `departures-confirm` (people_control.c): who left, who is held back; arguments of the latter: "dry_run", "as_of" (of the
 * answer to the former dry run). */
json_t *departures_run(struct enroll_parts *parts, struct err *err);
json_t *departures_confirm(struct enroll_parts *parts, const struct control_peer *peer, json_t *arguments, struct err *err);
/* `enable` (people_control.c): undoes disable and, where nobody looks at who left, the mark of having left. */
json_t *enable_run(struct enroll_parts *parts, const struct control_peer *peer, json_t *arguments, struct err *err);
/* Member "revocations" of `show`. */
bool revocations_show(struct store *store, int64_t enrollment_id, json_t *o, struct err *err);

/* `export --certificates` (certificates_show.c): {"certificates": [facts and "pem", with intermediates]}; the active ones, or all. */
json_t *certificates_show(struct enroll_parts *parts, const char *address, bool all, struct err *err);
/* As the store has serial numbers and fingerprints: hex in capitals, without colons and leading zero octets. */
#define SERIAL_DIGITS 128
bool serial_plain(const char *text, char out[SERIAL_DIGITS + 2], struct err *err) BASE_MUST_CHECK;

/* `replace` (replace_control.c).  replace: arguments "issuer", "issued_from", "issued_to", "serials" (array), "all_of_ca": together, and at least one;
 * "by" (times are RFC 3339), "revoke" (reason), "dry_run".  replace-set: argument "action": pause, resume, cancel. */
json_t *replace_run(struct enroll_parts *parts, const struct control_peer *peer, json_t *arguments, struct err *err);
json_t *replace_status(struct enroll_parts *parts, struct err *err);
json_t *replace_set(struct enroll_parts *parts, const struct control_peer *peer, json_t *arguments, struct err *err);

/* `ca check`: the same about the CA alone (ca_check.c).  `ca` and `store` may be NULL. */
json_t *ca_check_run(const struct ca_config *config, struct ca *ca, struct store *store, struct err *err);

/* `caa check`: what CAA says to an address, or to a domain, about this CA (caa_look.c).  `ca` may be NULL.  Nothing is registered or ordered. */
json_t *caa_look_at(const struct ca_config *config, struct ca *ca, const struct dns_perspectives *perspectives, const char *about, struct err *err);

/* `account show`: our account as the CA has it (account_look.c).  `ca` may be NULL. */
json_t *account_show(const struct ca_config *config, struct ca *ca, struct err *err);
/* `account use-key` (account_look.c): the key of this host is the one that all enrolld of the store are to use. */
json_t *account_use_key(struct enroll_parts *parts, const struct ca_config *config, const struct control_peer *peer, struct err *err);

#endif
