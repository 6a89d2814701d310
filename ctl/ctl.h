/*
 * ctl/ctl.h - what the files of enrollctl share.  Private to ctl/.
 *
 * Every command is one row of the table in main.c and one function here: it gets its arguments and prints to standard output; it returns the exit code
 * (0 done, 1 refused or failed, 2 wrong use; `cert check`: 1 bad certificate, 2 nothing to check).  Errors go to standard error as one sentence.
 */
#ifndef ENROLL_CTL_CTL_H
#define ENROLL_CTL_CTL_H

#include <jansson.h>

#include "base/base.h"
#include "policy/policy.h"

struct ctl {
	const char *config_path;
	struct config *config;   /* loaded on first use by ctl_config */
	bool json, csv;
	const char *program;     /* "enrollctl show" for messages */
	/* options that several commands know */
	const char *state, *after, *reason, *ca, *message_id, *queue_id, *within;
	long limit;
	struct strlist to;       /* --to, several */
	bool observed, with_keys, no_account, yes, enroll, dry_run, no_replacement;
	const char *profile, *anchors, *chain, *at; /* of cert check */
	const char *issuer, *issued_from, *serials, *all_of_ca, *by, *revoke; /* of replace */
	struct strlist addresses;
	json_t *done;            /* what ctl_say has to tell, with --json */
};

/* The configuration; NULL after printing why. */
struct config *ctl_config(struct ctl *c);
/* The CA that --ca names, or that of the group ca; NULL after printing why.  The configuration was loaded before. */
const struct ca_config *ctl_ca_config(const struct ctl *c);
int ctl_fail(const struct ctl *c, const struct err *err);
int ctl_usage(const struct ctl *c, const char *text);

/* client.c: ask enrolld.  A new reference to the result; NULL after printing why. `arguments` is stolen. */
json_t *ctl_ask(struct ctl *c, const char *command, json_t *arguments);
/* The same without printing, and with the configuration loaded before; *reached is false when enrolld does not run. */
json_t *ctl_try(struct ctl *c, const char *command, json_t *arguments, bool *reached, struct err *err);
/* Print as JSON when --json, and then true. */
bool ctl_print_json(const struct ctl *c, json_t *result);
/* Print a result, by `print` or as JSON, and let it go.  The exit code: 1 when there is none. */
int ctl_print(struct ctl *c, json_t *result, void (*print)(const struct ctl *c, json_t *result));

/* csv.c: the same where the answer has a table: with --csv the array `key` of it, these columns (closed by NULL) in this order. */
int ctl_print_table(struct ctl *c, json_t *result, void (*print)(const struct ctl *c, json_t *result), const char *key, const char *const *columns);

/* helpdesk.c */
int ctl_why(struct ctl *c, int argc, char **argv);
int ctl_expiring(struct ctl *c, int argc, char **argv);
int ctl_search(struct ctl *c, int argc, char **argv);

/* show.c */
int ctl_status(struct ctl *c, int argc, char **argv);
int ctl_list(struct ctl *c, int argc, char **argv);
int ctl_show(struct ctl *c, int argc, char **argv);
int ctl_events(struct ctl *c, int argc, char **argv);
int ctl_mail(struct ctl *c, int argc, char **argv);
int ctl_doctor(struct ctl *c, int argc, char **argv);
/* One fact a line; for the commands of other files too.  Control characters, which strangers may have written, come out as '?'. */
void ctl_line(json_t *o, const char *key, const char *label);
void ctl_put(const char *s); /* a text alone */
/* {"checks": [...]} of doctor and ca check; the exit code: 1 when an error is among them.  `r` is let go. */
int ctl_print_checks(struct ctl *c, json_t *r);

/* act.c */
int ctl_enroll(struct ctl *c, int argc, char **argv);
int ctl_retry(struct ctl *c, int argc, char **argv);
int ctl_disable(struct ctl *c, int argc, char **argv);
int ctl_enable(struct ctl *c, int argc, char **argv);
int ctl_pause(struct ctl *c, int argc, char **argv);
int ctl_resume(struct ctl *c, int argc, char **argv);
int ctl_config_command(struct ctl *c, int argc, char **argv);

/* revoke.c */
int ctl_rotate(struct ctl *c, int argc, char **argv);
int ctl_revoke(struct ctl *c, int argc, char **argv);

/* replace.c */
int ctl_replace(struct ctl *c, int argc, char **argv);

/* setup.c: the commands that open the store themselves, as the service user */
int ctl_init(struct ctl *c, int argc, char **argv);
int ctl_backup(struct ctl *c, int argc, char **argv);
int ctl_restore(struct ctl *c, int argc, char **argv);
/* One thing that was done, or that is to be known: a line, and with --json a text in the answer that ctl_done prints. */
void ctl_say(struct ctl *c, const char *fmt, ...) BASE_PRINTF(2, 3);
int ctl_done(struct ctl *c);
int ctl_not_done(struct ctl *c, const struct err *err);
/* The account key, made when it is missing, and the account at this CA.  Says what it did. */
bool ctl_account_ensure(struct ctl *c, const struct ca_config *ca, struct err *err) BASE_MUST_CHECK;

/* account.c */
int ctl_ca(struct ctl *c, int argc, char **argv);
int ctl_caa(struct ctl *c, int argc, char **argv);
int ctl_account(struct ctl *c, int argc, char **argv);

/* policy.c */
int ctl_policy(struct ctl *c, int argc, char **argv);

/* cert.c */
int ctl_cert(struct ctl *c, int argc, char **argv);

/* report.c */
int ctl_report(struct ctl *c, int argc, char **argv);

/* asuser.c: run `act` in a child process as this user and group when we are root, directly otherwise. The child's error comes back in err. */
bool as_user(const char *user, const char *group, bool (*act)(void *arg, struct err *err), void *arg, struct err *err) BASE_MUST_CHECK;
bool user_ids(const char *user, const char *group, unsigned *uid, unsigned *gid, struct err *err) BASE_MUST_CHECK;

#endif
