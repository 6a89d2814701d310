/*
 * ctl/doctor.h - what the files of `enrollctl doctor` share.  Private to ctl/.
 *
 * doctor.c has the table of all checks.  A check is a function that says one line or more, by doctor_say, and what mends it, by doctor_fix: commands and
 * configuration lines that can be taken as they stand.  Nothing is changed but by doctor_expect with --fix.
 */
#ifndef ENROLL_CTL_DOCTOR_H
#define ENROLL_CTL_DOCTOR_H

#include "ctl/ctl.h"

#include <sys/stat.h>

struct postfix;

struct doctor {
	struct ctl *ctl;
	const struct config *config;  /* NULL: the file does not load; then only the check `configuration` runs */
	struct err config_error;
	const char *check;            /* the one that runs: the name of its lines */
	json_t *lines;                /* as of check_add (enroll/enroll.h) */
	bool root;
	bool reached;                 /* enrolld answers */
	struct err unreached;
	struct postfix *postfix;      /* doctor_postfix.c: asked once */
	bool postfix_asked, postfix_said;
	struct strlist skipped;       /* names of checks that take root */
};

void doctor_say(struct doctor *d, const char *verdict, const char *fmt, ...) BASE_PRINTF(3, 4);
/* A command that mends the line said last. */
void doctor_fix(struct doctor *d, const char *fmt, ...) BASE_PRINTF(2, 3);
/* A line of our configuration; `group` "" is the top level. */
void doctor_fix_line(struct doctor *d, const char *group, const char *fmt, ...) BASE_PRINTF(3, 4);
/* "start", "restart" or "reload" of enrolld, outbound or inbound, as this host does it. */
void doctor_fix_service(struct doctor *d, const char *verb, const char *name);
bool doctor_has_systemd(void);
/* Words of the shell's. */
void doctor_quote(struct buf *out, const char *text);
/* Only looked at by systemd, not a file. */
bool doctor_is_credential(const char *where);
/* Did systemd hand this one to us, too? */
bool doctor_credential_here(const char *where);

/* How a file or folder has to be.  With --fix, and as root, what is not is put right; a folder with `make` is made. */
struct doctor_file {
	const char *path;
	const char *user, *group;     /* NULL = anybody's */
	unsigned mode;                /* to be set when it is not right */
	unsigned needed, forbidden;   /* bits that have to be there, and that may not */
	bool folder, make, optional;
	const char *missing;          /* what to do where it is not there: a command; NULL = none known */
};
/* Says a line when it is not right (or was put right): false then.  A folder that is not ours alone, and a file of somebody who may have put it there,
 * is not mended, nor is it said how. */
bool doctor_expect(struct doctor *d, const struct doctor_file *f);
/* doctor_folders.c.  Where a package puts it, a service's, our group's, or with nothing of others in it. */
bool doctor_is_ours(struct doctor *d, const struct doctor_file *f, const struct stat *st);

/* doctor_answer.c.  The lines that enrolld answered, added to our own: those of its checks alone, and of what mends them only what it is known to name:
 * an enrolld that was taken over must not have root type its commands. */
void doctor_take(struct doctor *d, json_t *answer);
/* Is this a check of enrolld's? */
bool doctor_asks_enrolld(const char *check);

/* doctor_config.c */
void doctor_enrolld(struct doctor *d);
void doctor_configuration(struct doctor *d);
void doctor_running(struct doctor *d);
void doctor_users(struct doctor *d);
void doctor_systemd(struct doctor *d);
/* doctor_files.c */
void doctor_config_file(struct doctor *d);
void doctor_master_key(struct doctor *d);
void doctor_account_key(struct doctor *d);
void doctor_secrets(struct doctor *d);
void doctor_store_files(struct doctor *d);
void doctor_spool(struct doctor *d);
void doctor_control_folder(struct doctor *d);
void doctor_socket_folder(struct doctor *d);
void doctor_outbound(struct doctor *d);
void doctor_inbound(struct doctor *d);
void doctor_disk(struct doctor *d);
/* doctor_keys.c */
void doctor_master_match(struct doctor *d);
void doctor_signature(struct doctor *d);
/* doctor_milters.c */
void doctor_postfix_runs(struct doctor *d);
void doctor_postfix_outbound(struct doctor *d);
void doctor_postfix_inbound(struct doctor *d);
void doctor_postfix_socket(struct doctor *d);
void doctor_postfix_order(struct doctor *d);
void doctor_default_action(struct doctor *d);
void doctor_postfix_protocol(struct doctor *d);
void doctor_postfix_timeouts(struct doctor *d);
void doctor_postfix_override(struct doctor *d);
/* doctor_listeners.c */
void doctor_postfix_local(struct doctor *d);
void doctor_postfix_login(struct doctor *d);
void doctor_postfix_reply(struct doctor *d);
void doctor_postfix_reports(struct doctor *d);

/* ---- doctor_postfix.c: the configuration of Postfix ------------------------------------------------------------------ */

struct postfix_service {
	char *name, *type, *command;  /* "submission", "inet", "smtpd" */
	bool chroot;
	struct strlist parameters;    /* "name = value", its -o options */
};
struct postfix {
	struct postfix_service *v; size_t n;
	struct strlist main;          /* "name = value" */
};
/* NULL where it is not Postfix's business or cannot be asked, after a line that says so once. */
const struct postfix *doctor_postfix(struct doctor *d);
void doctor_postfix_free(struct postfix *p);
/* Of this service, or of main.cf when it has none of its own (or `s` is NULL); "" when there is none. */
const char *postfix_value(const struct postfix *p, const struct postfix_service *s, const char *name);
bool postfix_has_own(const struct postfix_service *s, const char *name);
/* The fix that sets a parameter, where it is set now, or `own`: for this service; and the reload. */
void postfix_fix(struct doctor *d, const struct postfix_service *s, bool own, const char *name, const char *value);
void postfix_reload_fix(struct doctor *d);
/* Seconds of "30s", "5m"; -1 for what is none. */
long postfix_seconds(const char *value);

/* One milter of a list: "unix:..." and its own settings, "" = none. */
struct postfix_milter { char *where, *settings; };
struct postfix_milters { struct postfix_milter *v; size_t n; };
void postfix_milters_read(const char *list, struct postfix_milters *out);
void postfix_milters_clear(struct postfix_milters *l);
void postfix_milters_write(const struct postfix_milters *l, struct buf *out);
/* Is it meant to be this socket of ours ("unix:/path", "inet:PORT@HOST")?  Postfix names it relative to its queue folder: the last two parts of the
 * path are the same. */
bool postfix_milter_is(const struct postfix_milter *m, const char *socket);
/* Does it lead there, for a service that is chrooted or not? */
bool postfix_milter_reaches(const struct postfix *p, const struct postfix_service *s, const struct postfix_milter *m, const char *socket);
/* The place of our socket in the list, -1 = it is not there. */
int postfix_milters_find(const struct postfix_milters *l, const char *socket);
/* How Postfix has to name it, in such a service. */
void postfix_name_of(const struct postfix *p, const char *socket, struct buf *out);

#endif
