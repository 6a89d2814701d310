/*
 * ctl/ctl.h - what the files of enrollctl share.  Private to ctl/.
 *
 * Every command is one row of the table in main.c and one function here: it gets its arguments and prints to standard output; it returns the exit code
 * (0 done, 1 refused or failed, 2 wrong use; `cert check`: 1 bad certificate, 2 nothing to check).  Errors go to standard error as one sentence.
 */
#ifndef ENROLL_CTL_CTL_H
#define ENROLL_CTL_CTL_H

#include <jansson.h>
#include <stdio.h>

#include "base/base.h"
#include "policy/policy.h"

struct option;
struct ctl_command;

struct ctl {
	const char *config_path;
	struct config *config;   /* loaded on first use by ctl_config */
	bool json, csv;
	const char *program;     /* "enrollctl show" for messages */
	/* options that several commands know */
	const char *state, *after, *reason, *ca, *message_id, *queue_id, *within;
	long limit;
	struct strlist to;       /* --to, several */
	bool observed, with_keys, no_account, yes, enroll, dry_run, no_replacement, with_key, all, fix, undo, confirm;
	const char *user_dn, *user_password_file; /* of directory check */
	const char *profile, *anchors, *chain, *at; /* of cert check */
	const char *pkcs12, *password_file, *serial; /* of export and import */
	bool certificates, legacy_format, old;
	const char *issuer, *issued_from, *serials, *all_of_ca, *by, *revoke; /* of replace */
	struct strlist addresses;
	const struct ctl_command *command;
	json_t *done;            /* what ctl_say has to tell, with --json */
};

/* A row of the table of commands in main.c.  How `arguments` is written is said in help.c: completion and the check of options read it. */
struct ctl_command {
	const char *name, *arguments, *role, *help, *example;
	int (*run)(struct ctl *, int argc, char **argv);
};
const struct ctl_command *ctl_commands(size_t *n);
const struct ctl_command *ctl_find_command(const char *name); /* NULL: there is none */
bool ctl_has_table(const struct ctl_command *command);        /* --csv can be asked of it */
bool ctl_option_argument(const char *name);                   /* does the option "reason" want a value */

/* The configuration; NULL after printing why. */
struct config *ctl_config(struct ctl *c);
/* The CA that --ca names, or that of the group ca; NULL after printing why.  The configuration was loaded before. */
const struct ca_config *ctl_ca_config(const struct ctl *c);
int ctl_fail(const struct ctl *c, const struct err *err);
int ctl_usage(const struct ctl *c, const char *text);

/* help.c */
#define CTL_WORD 32
struct ctl_synopsis {           /* .text and .at: the arguments of a command */
	const char *text, *at;
	char word[CTL_WORD];
	bool first, behind;     /* of an alternative; right behind the word before it */
	int depth;
};
bool ctl_synopsis_next(struct ctl_synopsis *s);
bool ctl_takes(const struct ctl_command *command, const char *option, char value[CTL_WORD]); /* and what its value is called; NULL: not asked */
const char *ctl_option_help(const char *name);
struct ctl_nearest { const char *word; size_t distance; };
void ctl_nearest(struct ctl_nearest *near, const char *typed, const char *word);
void ctl_print_help(FILE *to);
void ctl_print_command_help(const struct ctl_command *command);
int ctl_help(struct ctl *c, int argc, char **argv);
/* What was typed is none, with the nearest one: the exit code; or, of a sub-command, whether something was printed. */
int ctl_unknown_command(const char *typed);
int ctl_unknown_option(const char *typed, const struct option *options);
bool ctl_wrong_word(const struct ctl_command *command, const char *typed);

/* complete.c: the words that may stand at the end of this command line, one a line; ":files" for names of files */
int ctl_complete(struct ctl *c, int argc, char **argv);

/* confirm.c: may harm be done?  --yes, or yes typed on a terminal.  `act` is a verb, the question ends with a full stop. */
bool ctl_confirm(const struct ctl *c, const char *act, const char *what, const char *question, struct err *err) BASE_MUST_CHECK;
/* What enrolld can do, and can tell before by "dry_run". */
#define CTL_QUESTION 160
struct ctl_deed {
	const char *command;     /* of enrolld */
	const char *verb, *subject, *question; /* of ctl_confirm */
	void (*print)(json_t *plan, const char *subject);
	void (*tell)(json_t *result, const char *subject);
	/* optional: the question that this plan puts, and what of the plan goes along with the deed */
	void (*ask)(json_t *plan, json_t *arguments, char question[CTL_QUESTION]);
};
/* Ask for the plan and print it; then, but for --dry-run, ask whether, and have it done.  `arguments` is stolen.  The exit code. */
int ctl_do(struct ctl *c, const struct ctl_deed *d, json_t *arguments);

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

void ctl_csv_titles(const char *const *columns);
void ctl_csv_row(json_t *row, const char *const *columns);

/* table.c: texts come out with '?' in place of what strangers may have written to confuse a terminal. */
size_t ctl_width(void);                         /* of the terminal; 0 when standard output is none */
size_t ctl_cells(const char *s);                /* how wide a text is */
void ctl_put(const char *s);                    /* a text alone, as it is */
bool ctl_plain(const char *s);                  /* would be shown as it is: no control characters, nothing that turns the line around */
void ctl_text(const char *s, size_t indent);    /* a text that begins in this column, its lines broken to fit a terminal */
void ctl_sentence(const char *fmt, ...) BASE_PRINTF(1, 2); /* one or more, and a new line */
void ctl_cell(const char *s, size_t width);     /* with blanks up to this width */
void ctl_line(json_t *o, const char *key, const char *label); /* one fact a line; nothing when it is absent */
void ctl_bar(FILE *to, long long done, long long of);
/* How far it is, on standard error and in place of what was there before; `of` 0: nobody knows.  Without `what` the line is empty again. */
void ctl_progress(bool on, long long done, long long of, const char *what);
/* A table: as many texts a row as there are titles (closed by NULL; ">TITLE" is of numbers).  `least`: widths of the columns, for tables that are printed
 * row by row; otherwise they are as wide as what is in them.  The last column is for long texts. */
struct ctl_table {
	const char *const *titles;
	const unsigned char *least;
	struct strlist cells;
	bool failed;
};
void ctl_table_add(struct ctl_table *t, const char *text); /* copies; NULL is an empty text */
void ctl_table_number(struct ctl_table *t, long long n);
void ctl_table_titles(const struct ctl_table *t);
void ctl_table_rows(struct ctl_table *t);       /* and forgets them */
void ctl_table_print(struct ctl_table *t);      /* both */

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
/* {"checks": [...]} of ca check and directory check; the exit code: 1 when a fault is among them.  `r` is let go. */
int ctl_print_checks(struct ctl *c, json_t *r);

/* doctor.c */
int ctl_doctor(struct ctl *c, int argc, char **argv);
const char *ctl_doctor_check(size_t i);         /* the name of a check; NULL behind the last */

/* act.c */
int ctl_enroll(struct ctl *c, int argc, char **argv);
int ctl_retry(struct ctl *c, int argc, char **argv);
int ctl_disable(struct ctl *c, int argc, char **argv);
int ctl_enable(struct ctl *c, int argc, char **argv);
int ctl_pause(struct ctl *c, int argc, char **argv);
int ctl_resume(struct ctl *c, int argc, char **argv);
int ctl_config_command(struct ctl *c, int argc, char **argv);

/* departures.c */
int ctl_departures(struct ctl *c, int argc, char **argv);

/* revoke.c */
int ctl_rotate(struct ctl *c, int argc, char **argv);
int ctl_revoke(struct ctl *c, int argc, char **argv);
/* revoke_key.c: revoke --with-key */
int ctl_revoke_with_key(struct ctl *c, const char *serial);

/* directory.c */
int ctl_directory(struct ctl *c, int argc, char **argv);

/* replace.c */
int ctl_replace(struct ctl *c, int argc, char **argv);

/* setup.c: the commands that open the store themselves, as the service user */
int ctl_init(struct ctl *c, int argc, char **argv);
int ctl_backup(struct ctl *c, int argc, char **argv);
int ctl_restore(struct ctl *c, int argc, char **argv);
/* A key file with its last owner and mode from the first instant on; takes the place of what is there. */
bool ctl_write_key(const char *path, const struct buf *pem, const char *user, const char *group, struct err *err) BASE_MUST_CHECK;
/* One thing that was done, or that is to be known: a line, and with --json a text in the answer that ctl_done prints. */
void ctl_say(struct ctl *c, const char *fmt, ...) BASE_PRINTF(2, 3);
int ctl_done(struct ctl *c);
/* Who does this, for the history: "admin:root", and who that was before sudo. */
void ctl_actor(char *out, size_t size);
int ctl_not_done(struct ctl *c, const struct err *err);
/* The account key, made when it is missing, and the account at this CA.  Says what it did. */
bool ctl_account_ensure(struct ctl *c, const struct ca_config *ca, struct err *err) BASE_MUST_CHECK;

/* export.c, import.c */
int ctl_export(struct ctl *c, int argc, char **argv);
int ctl_import(struct ctl *c, int argc, char **argv);

/* store.c */
int ctl_store(struct ctl *c, int argc, char **argv);
/* As the service user, whose the files are; a database knows by itself who may.  What the child leaves in `arg` comes back. */
bool ctl_store_act(const struct config *cfg, bool (*act)(void *arg, struct err *err), void *arg, size_t size, struct err *err) BASE_MUST_CHECK;
bool ctl_enrolld_runs(struct ctl *c);
/* false, and what to stop, when a service of this host has the store open. */
bool ctl_nobody_runs(struct ctl *c, const char *act, struct err *err) BASE_MUST_CHECK;
/* store_check.c, store_move.c */
int ctl_store_check(struct ctl *c);
int ctl_store_compact(struct ctl *c);
int ctl_store_migrate(struct ctl *c);

/* masterkey.c */
int ctl_masterkey(struct ctl *c, int argc, char **argv);

/* account.c */
int ctl_ca(struct ctl *c, int argc, char **argv);
int ctl_caa(struct ctl *c, int argc, char **argv);
int ctl_account(struct ctl *c, int argc, char **argv);

/* log.c */
int ctl_log(struct ctl *c, int argc, char **argv);

/* policy.c */
int ctl_policy(struct ctl *c, int argc, char **argv);

/* cert.c */
int ctl_cert(struct ctl *c, int argc, char **argv);

/* report.c */
int ctl_report(struct ctl *c, int argc, char **argv);

/* asuser.c: run `act` in a child process as this user and group when we are root, directly otherwise. The child's error comes back in err. */
bool as_user(const char *user, const char *group, bool (*act)(void *arg, struct err *err), void *arg, struct err *err) BASE_MUST_CHECK;
/* The same for what works on the store as ADMIN.  A database knows that role by a key or a password that is root's alone, so it is connected before root
 * becomes somebody else: admin_store_ready, then in the child admin_store_open, whose answer is the caller's to close; at last, in the parent,
 * admin_store_done.  as_store_user is all but the second.  A file is opened by whose it is. */
bool as_store_user(const struct config *c, const char *user, bool (*act)(void *arg, struct err *err), void *arg, struct err *err) BASE_MUST_CHECK;
bool admin_store_ready(const struct config *c, struct err *err) BASE_MUST_CHECK;
struct store *admin_store_open(const struct config *c, struct err *err);
void admin_store_done(void);
bool user_ids(const char *user, const char *group, unsigned *uid, unsigned *gid, struct err *err) BASE_MUST_CHECK;

#endif
