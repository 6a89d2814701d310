/*
 * ctl/doctor.c - `enrollctl doctor`: everything that an admin can get wrong, and what mends it.
 *
 * One table of checks, in the order in which they are shown.  A check runs in enrolld, which has the store, the directory and the CA, or here, where an
 * admin's eyes are needed; those that take root are left out for others, and the answer says which.  While enrolld does not run, root asks the same
 * questions in a child that is enrolld's user.
 */
#include "config.h"

#include "ctl/doctor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "enroll/enroll.h"

#define CHECK_COLUMN 11 /* where a check's name begins */
#define TEXT_COLUMN 29  /* and what it says */
#define FIX_COLUMN 11
#define NAME_WIDTH 17
#define WIDTH_LEAST 60

enum where { HERE, ROOT, MASTER, ENROLLD }; /* MASTER: root, or whom systemd hands the master key */
static const struct check {
	const char *name, *group;
	enum where where;
	void (*run)(struct doctor *d); /* not of ENROLLD */
	const char *by;                /* ENROLLD: the check that answers for this one; NULL = itself */
} table[] = {
	{"enrolld", "Configuration", HERE, doctor_enrolld, NULL},
	{"configuration", "Configuration", HERE, doctor_configuration, NULL},
	{"running", "Configuration", HERE, doctor_running, NULL},
	{"users", "Configuration", HERE, doctor_users, NULL},
	{"systemd", "Configuration", HERE, doctor_systemd, NULL},
	{"clock", "Configuration", ENROLLD, NULL, NULL},
	{"config-file", "Files", ROOT, doctor_config_file, NULL},
	{"master-key", "Files", ROOT, doctor_master_key, NULL},
	{"account-key", "Files", ROOT, doctor_account_key, NULL},
	{"secrets", "Files", ROOT, doctor_secrets, NULL},
	{"store-files", "Files", ROOT, doctor_store_files, NULL},
	{"spool", "Files", ROOT, doctor_spool, NULL},
	{"control-folder", "Files", ROOT, doctor_control_folder, NULL},
	{"socket-folder", "Files", ROOT, doctor_socket_folder, NULL},
	{"disk", "Files", HERE, doctor_disk, NULL},
	{"store", "Keys and certificates", ENROLLD, NULL, NULL},
	{"master-match", "Keys and certificates", MASTER, doctor_master_match, NULL},
	{"signature", "Keys and certificates", MASTER, doctor_signature, NULL},
	{"enrollments", "Keys and certificates", ENROLLD, NULL, NULL},
	{"outbound", "Mail", HERE, doctor_outbound, NULL},
	{"inbound", "Mail", HERE, doctor_inbound, NULL},
	{"postfix", "Mail", HERE, doctor_postfix_runs, NULL},
	{"postfix-outbound", "Mail", HERE, doctor_postfix_outbound, NULL},
	{"postfix-inbound", "Mail", HERE, doctor_postfix_inbound, NULL},
	{"postfix-socket", "Mail", HERE, doctor_postfix_socket, NULL},
	{"postfix-order", "Mail", HERE, doctor_postfix_order, NULL},
	{"milter-order", "Mail", ENROLLD, NULL, NULL},
	{"default-action", "Mail", HERE, doctor_default_action, NULL},
	{"postfix-protocol", "Mail", HERE, doctor_postfix_protocol, NULL},
	{"postfix-timeouts", "Mail", HERE, doctor_postfix_timeouts, NULL},
	{"postfix-override", "Mail", HERE, doctor_postfix_override, NULL},
	{"postfix-local", "Mail", HERE, doctor_postfix_local, NULL},
	{"postfix-login", "Mail", HERE, doctor_postfix_login, NULL},
	{"postfix-reply", "Mail", HERE, doctor_postfix_reply, NULL},
	{"postfix-reports", "Mail", HERE, doctor_postfix_reports, NULL},
	{"reply-path", "Mail", ENROLLD, NULL, NULL},
	{"dkim", "Mail", ENROLLD, NULL, "reply-path"},
	{"reply-reports", "Mail", ENROLLD, NULL, "reply-path"},
	{"directory", "Directory", ENROLLD, NULL, NULL},
	{"directory-rights", "Directory", ENROLLD, NULL, NULL},
	{"departures", "Directory", ENROLLD, NULL, NULL},
	{"dns", "DNS", ENROLLD, NULL, NULL},
	{"spf", "DNS", ENROLLD, NULL, NULL},
	{"dmarc", "DNS", ENROLLD, NULL, NULL},
	{"caa", "DNS", ENROLLD, NULL, "ca"},
	{"ca", "CA", ENROLLD, NULL, NULL},
	{"ca-details", "CA", ENROLLD, NULL, NULL},
};
#define N_CHECKS (sizeof table / sizeof *table)

/* ---- lines ----------------------------------------------------------------------------------------------------------------------- */

static char *BASE_PRINTF(1, 0) text_of(const char *fmt, va_list ap)
{
	char *s = NULL;

	return vasprintf(&s, fmt, ap) < 0 ? NULL : s;
}

void doctor_say(struct doctor *d, const char *verdict, const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	s = text_of(fmt, ap);
	va_end(ap);
	check_add(d->lines, d->check, verdict, "%s", s ? s : "out of memory");
	free(s);
}

void doctor_fix(struct doctor *d, const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	s = text_of(fmt, ap);
	va_end(ap);
	if (s)
		check_fix(d->lines, FIX_COMMAND, "", "%s", s);
	free(s);
}

void doctor_fix_line(struct doctor *d, const char *group, const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	s = text_of(fmt, ap);
	va_end(ap);
	if (s)
		check_fix(d->lines, FIX_CONFIGURATION, group, "%s", s);
	free(s);
}

bool doctor_has_systemd(void)
{
	return access("/run/systemd/system", F_OK) == 0;
}

void doctor_fix_service(struct doctor *d, const char *verb, const char *name)
{
	bool milter = strcmp(name, "enrolld") != 0;

	if (doctor_has_systemd())
		doctor_fix(d, "systemctl %s %s%s", verb, milter ? "enroll-milter@" : "", name);
	else
		doctor_fix(d, "service enroll-milter %s", verb); /* one script for all three */
}

void doctor_quote(struct buf *out, const char *text)
{
	if (text[strcspn(text, " \t'\"$\\|&;<>()*?[]#~`!{}")] == '\0' && *text) {
		buf_puts(out, text);
		return;
	}
	buf_putc(out, '\'');
	for (; *text; text++)
		if (*text == '\'')
			buf_puts(out, "'\\''");
		else
			buf_putc(out, *text);
	buf_putc(out, '\'');
}

bool doctor_is_credential(const char *where)
{
	return where && strncmp(where, "credential:", 11) == 0;
}

bool doctor_credential_here(const char *where)
{
	const char *folder = getenv("CREDENTIALS_DIRECTORY");
	struct buf path = BUF_INIT;
	bool yes;

	if (!doctor_is_credential(where) || !folder || !*folder)
		return false;
	buf_printf(&path, "%s/%s", folder, where + strlen("credential:"));
	yes = access(buf_str(&path), R_OK) == 0;
	buf_clear(&path);
	return yes;
}

bool doctor_asks_enrolld(const char *check)
{
	for (size_t i = 0; i < N_CHECKS; i++)
		if (strcmp(check, table[i].name) == 0)
			return table[i].where == ENROLLD;
	return false;
}

/* ---- what enrolld is asked ----------------------------------------------------------------------------------------------------------- */

/* In a child that is enrolld's user; the answer comes through a file that has no name. */
struct question {
	const struct config *config;
	const char *check;
	int file;
};

static bool ask_here(void *arg, struct err *err)
{
	const struct question *q = arg;
	char *text = enroll_doctor(q->config, q->check, err);
	size_t len = text ? strlen(text) : 0;
	bool ok = len > 0 && write(q->file, text, len) == (ssize_t)len;

	if (text && !ok)
		err_errno(err, errno, "answer", NULL);
	free(text);
	return ok;
}

static json_t *ask_directly(struct doctor *d, const char *check, struct err *err)
{
	struct question q = {.config = d->config, .check = check, .file = memfd_create("answer", MFD_CLOEXEC)};
	json_t *r = NULL;

	if (q.file < 0) {
		err_errno(err, errno, "answer", NULL);
		return NULL;
	}
	if (as_user(d->config->users.enrolld, d->config->users.group, ask_here, &q, err) && lseek(q.file, 0, SEEK_SET) == 0 &&
		!(r = json_loadfd(q.file, 0, NULL)))
		err_set(err, ERR_BUG, "answer", NULL, "the answer is no JSON");
	close(q.file);
	return r;
}

static void ask_enrolld(struct doctor *d, const struct check *c)
{
	const char *by = c->by ? c->by : c->name;
	struct err err = ERR_INIT;
	bool reached = false;
	json_t *r = NULL;

	if (d->reached)
		r = ctl_try(d->ctl, "doctor", json_pack("{s:s}", "check", by), &reached, &err);
	else if (d->root)
		r = ask_directly(d, by, &err);
	else
		err = d->unreached;
	if (!r && !d->reached && !d->root)
		return; /* said once, by the check `enrolld` */
	if (!r)
		doctor_say(d, "fault", "%s%s%s", err.subject, *err.subject ? ": " : "", err.text);
	doctor_take(d, r);
	if (r && json_array_size(json_object_get(r, "checks")) == 0)
		strlist_add(&d->skipped, c->name);
	json_decref(r);
}

/* ---- running ------------------------------------------------------------------------------------------------------------------------- */

static bool is_wanted(const char *name, int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return true;
	return argc == 0;
}

/* One that another check answers for is asked only when that one is not wanted itself. */
static bool is_answered(const struct check *c, int argc, char **argv)
{
	if (!c->by)
		return false;
	if (is_wanted(c->by, argc, argv))
		return true;
	for (const struct check *before = table; before < c; before++)
		if (before->by && strcmp(before->by, c->by) == 0 && is_wanted(before->name, argc, argv))
			return true;
	return false;
}

static void progress(const char *name)
{
	if (!isatty(STDOUT_FILENO))
		return;
	printf("\r\033[K%s%s%s", name ? "checking " : "", name ? name : "", name ? "..." : "");
	fflush(stdout);
}

static void run_one(struct doctor *d, const struct check *c)
{
	d->check = c->name;
	if (!d->config && c->run != doctor_configuration)
		return;
	if (!d->root && (c->where == ROOT || (c->where == MASTER && !doctor_credential_here(d->config->master_key))))
		strlist_add(&d->skipped, c->name);
	else if (c->where == ENROLLD)
		ask_enrolld(d, c);
	else
		c->run(d);
}

/* A command of ours is about this configuration. */
static void name_configuration(const struct ctl *c, json_t *line)
{
	json_t *f;
	size_t i;

	if (strcmp(c->config_path, SYSCONFDIR "/enroll-milter/enroll-milter.conf") == 0)
		return;
	json_array_foreach(json_object_get(line, "fix"), i, f) {
		const char *text = json_string_value(json_object_get(f, "text"));
		struct buf whole = BUF_INIT;

		if (strncmp(text, "enrollctl ", 10) != 0 || strncmp(text + 10, "--config", 8) == 0)
			continue;
		buf_puts(&whole, "enrollctl --config ");
		doctor_quote(&whole, c->config_path);
		buf_printf(&whole, " %s", text + 10);
		json_object_set_new(f, "text", json_string(buf_str(&whole)));
		buf_clear(&whole);
	}
}

/* Lines that nobody asked for came along with others. */
static json_t *chosen(json_t *lines, int argc, char **argv)
{
	json_t *some = json_array(), *line;
	size_t i;

	for (size_t k = 0; k < N_CHECKS; k++)
		json_array_foreach(lines, i, line)
			if (strcmp(json_string_value(json_object_get(line, "check")), table[k].name) == 0 && is_wanted(table[k].name, argc, argv))
				json_array_append(some, line);
	return some;
}

static void run_all(struct doctor *d, int argc, char **argv)
{
	for (size_t i = 0; i < N_CHECKS; i++) {
		if (!is_wanted(table[i].name, argc, argv) || is_answered(&table[i], argc, argv))
			continue;
		if (!d->ctl->json)
			progress(table[i].name);
		run_one(d, &table[i]);
	}
	if (!d->ctl->json)
		progress(NULL);
}

/* ---- printing ------------------------------------------------------------------------------------------------------------------------- */

static const char *member(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static size_t count_of(json_t *r, const char *verdict)
{
	json_t *o;
	size_t i, n = 0;

	json_array_foreach(json_object_get(r, "checks"), i, o)
		n += strcmp(member(o, "verdict"), verdict) == 0;
	return n;
}

/* One that is wider than the terminal goes on at the very beginning of the next line, behind a backslash, which the shell takes away with the line's
 * end; in quotes it does not.  What the cursor then stands at. */
static size_t put_long_word(const char *s, size_t n, size_t at, size_t width)
{
	bool quoted = memchr(s, '\'', n) || memchr(s, '"', n) || memchr(s, '\\', n);

	while (width && !quoted && at + n > width) {
		size_t some = width - 1 - at;

		printf("%.*s\\\n", (int)some, s);
		s += some;
		n -= some;
		at = 0;
	}
	printf("%.*s", (int)n, s);
	return at + n;
}

/* A command goes on in the next line behind a backslash, so that what is copied is what was meant: broken at blanks outside of quotes. */
static void put_command(const char *s, size_t column)
{
	size_t width = ctl_width(), at = column;
	char quote = '\0';

	while (*s) {
		size_t n = 0;

		while (s[n] && (quote || s[n] != ' ')) {
			quote = quote == s[n] ? '\0' : !quote && (s[n] == '\'' || s[n] == '"') ? s[n] : quote;
			n++;
		}
		if (width && at > column && at + 1 + n + 2 > width) {
			printf(" \\\n%*s", (int)column, "");
			at = column;
		} else if (at > column) {
			putchar(' ');
			at++;
		}
		at = put_long_word(s, n, at, width);
		s += n;
		s += *s == ' ';
	}
}

static void put_fixes(const struct ctl *c, json_t *line)
{
	json_t *f;
	size_t i;

	json_array_foreach(json_object_get(line, "fix"), i, f) {
		const char *kind = member(f, "kind"), *where = member(f, "where");

		fputs("      fix: ", stdout);
		if (strcmp(kind, FIX_COMMAND) == 0 && ctl_plain(member(f, "text"))) {
			put_command(member(f, "text"), FIX_COLUMN);
		} else {
			char text[4096];

			if (strcmp(kind, FIX_COMMAND) == 0)
				snprintf(text, sizeof text, "%s", member(f, "text")); /* a path with control characters: shown, and not to be taken */
			else if (strcmp(kind, FIX_DNS) == 0)
				snprintf(text, sizeof text, "in the zone of %s: %s", where, member(f, "text"));
			else
				snprintf(text, sizeof text, "in %s%s%s: %s", c->config->path, *where ? ", group " : "", where, member(f, "text"));
			ctl_text(text, FIX_COLUMN);
		}
		putchar('\n');
	}
}

static const char *group_of(const char *check)
{
	for (size_t i = 0; i < N_CHECKS; i++)
		if (strcmp(table[i].name, check) == 0)
			return table[i].group;
	return "";
}

static void put_summary(json_t *r)
{
	size_t faults = count_of(r, "fault"), warnings = count_of(r, "warning"), i;
	struct buf names = BUF_INIT;
	json_t *name;

	json_array_foreach(json_object_get(r, "skipped"), i, name)
		buf_printf(&names, "%s%s", i ? ", " : "", json_string_value(name));
	putchar('\n');
	if (names.len)
		ctl_sentence("Not looked at, as that takes an admin's rights or root's: %s.", buf_str(&names));
	if (faults + warnings == 0)
		ctl_sentence("%zu lines, all well.", json_array_size(json_object_get(r, "checks")));
	else
		ctl_sentence("%zu lines: %zu fault%s, %zu warning%s. What each check means: enroll-milter-doctor(7).", json_array_size(json_object_get(r, "checks")), faults,
			faults == 1 ? "" : "s", warnings, warnings == 1 ? "" : "s");
	buf_clear(&names);
}

static void print_doctor(const struct ctl *c, json_t *r)
{
	const char *group = "";
	json_t *o;
	size_t i;

	json_array_foreach(json_object_get(r, "checks"), i, o) {
		if (strcmp(group_of(member(o, "check")), group) != 0) {
			group = group_of(member(o, "check"));
			printf("%s%s\n", i ? "\n" : "", group);
		}
		printf("  %-8s ", member(o, "verdict"));
		ctl_cell(member(o, "check"), NAME_WIDTH);
		putchar(' ');
		ctl_text(member(o, "text"), TEXT_COLUMN);
		putchar('\n');
		put_fixes(c, o);
	}
	put_summary(r);
}

/* ---- the command ------------------------------------------------------------------------------------------------------------------------ */

const char *ctl_doctor_check(size_t i)
{
	return i < N_CHECKS ? table[i].name : NULL;
}

static int unknown_check(const char *typed)
{
	struct ctl_nearest near = {NULL, 0};

	for (size_t i = 0; i < N_CHECKS; i++) {
		if (strcmp(typed, table[i].name) == 0)
			return 0;
		ctl_nearest(&near, typed, table[i].name);
	}
	fprintf(stderr, "enrollctl: doctor has no check \"%s\"", typed);
	if (near.word)
		fprintf(stderr, "; did you mean \"%s\"?", near.word);
	fputs("\nTry: man enroll-milter-doctor\n", stderr);
	return 2;
}

/* Does it answer?  Its configuration is asked for, the cheapest question of all. */
static void reach(struct doctor *d)
{
	json_t *r;

	d->ctl->config = config_load(d->ctl->config_path, &d->config_error);
	d->config = d->ctl->config;
	if (!d->config)
		return;
	r = ctl_try(d->ctl, "config", NULL, &d->reached, &d->unreached);
	json_decref(r);
}

static json_t *answer_of(struct doctor *d, int argc, char **argv)
{
	json_t *r = json_object(), *skipped = json_array(), *line;
	size_t k;

	json_object_set_new(r, "checks", chosen(d->lines, argc, argv));
	json_array_foreach(json_object_get(r, "checks"), k, line)
		name_configuration(d->ctl, line);
	for (size_t i = 0; i < d->skipped.n; i++)
		json_array_append_new(skipped, json_string(d->skipped.v[i]));
	json_object_set_new(r, "skipped", skipped);
	json_object_set_new(r, "faults", json_integer((json_int_t)count_of(r, "fault")));
	json_object_set_new(r, "warnings", json_integer((json_int_t)count_of(r, "warning")));
	return r;
}

int ctl_doctor(struct ctl *c, int argc, char **argv)
{
	static const char *const columns[] = {"check", "verdict", "text", NULL};
	struct doctor d = {.ctl = c, .lines = json_array(), .root = geteuid() == 0};
	json_t *r;
	size_t faults;

	for (int i = 0; i < argc; i++)
		if (unknown_check(argv[i]))
			return json_decref(d.lines), 2;
	if (c->fix && !d.root)
		return json_decref(d.lines), ctl_usage(c, "--fix takes root");
	reach(&d);
	run_all(&d, argc, argv);
	r = answer_of(&d, argc, argv);
	faults = count_of(r, "fault");
	json_decref(d.lines);
	strlist_clear(&d.skipped);
	doctor_postfix_free(d.postfix);
	return ctl_print_table(c, r, print_doctor, "checks", columns) || faults ? 1 : 0;
}
