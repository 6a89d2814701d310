/*
 * enroll/doctor.c - `enrollctl doctor`, as far as enrolld knows more than who asks: can everything this installation leans on be reached, and does it
 * answer as it must?
 *
 * One table: a name, a function.  A function may answer for several names.  What enrollctl looks at by itself (files, keys, Postfix) is in
 * ctl/doctor.c, which has the table of all checks.
 */
#include "config.h"

#include "enroll/doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "enroll/people.h"

#define ROWS_MOST 1000
#define LONG_WAIT (24 * 3600)

/* ---- lines ------------------------------------------------------------------------------------------------------------------------ */

/* Half of a character at its end would lose the whole line. */
static void trim(char *text)
{
	size_t n = strlen(text);

	for (unsigned cut = 0; cut < 3 && n && !text_is_utf8(text, n); cut++)
		text[--n] = '\0';
	for (char *p = text; *p && !text_is_utf8(text, n); p++)
		if ((unsigned char)*p > 127)
			*p = '?';
}

void check_add(json_t *checks, const char *check, const char *verdict, const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	trim(text);
	json_array_append_new(checks, json_pack("{s:s, s:s, s:s}", "check", check, "verdict", verdict, "text", text));
}

void check_fix(json_t *checks, const char *kind, const char *where, const char *fmt, ...)
{
	json_t *line = json_array_get(checks, json_array_size(checks) - 1);
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	trim(text);
	if (line && !json_object_get(line, "fix"))
		json_object_set_new(line, "fix", json_array());
	json_array_append_new(json_object_get(line, "fix"), json_pack("{s:s, s:s, s:s}", "kind", kind, "where", where, "text", text));
}

/* ---- the store -------------------------------------------------------------------------------------------------------------------- */

static void check_store(json_t *checks, struct enroll_parts *p)
{
	struct strlist advice = {0};
	struct err err = ERR_INIT;

	if (store_check(p->store, &err) && store_advice(p->store, &advice, &err))
		check_add(checks, "store", "ok", "%s is sound, schema version %d", store_where(&p->config->store), store_schema_version());
	else
		check_add(checks, "store", "fault", "%s", err.text);
	for (size_t i = 0; i < advice.n; i++)
		check_add(checks, "store", "warning", "%s", advice.v[i]);
	strlist_clear(&advice);
}

/* How many wait longer than they should; what they wait for is said by `enrollctl list`. */
static bool count_waiting(struct enroll_parts *p, size_t *n, struct err *err)
{
	struct enrollment_list l = {0};
	time_t now = time(NULL);

	*n = 0;
	if (!store_enrollment_list(p->store, ENROLLMENT_WAITING, NULL, ROWS_MOST, &l, err))
		return false;
	for (size_t i = 0; i < l.n; i++)
		*n += l.v[i].state_since < now - LONG_WAIT;
	enrollment_list_clear(&l);
	return true;
}

static void check_paused(json_t *checks, struct enroll_parts *p)
{
	struct err err = ERR_INIT;
	char *paused = NULL;

	if (!store_flag_get(p->store, "paused", &paused, &err)) {
		check_add(checks, "enrollments", "fault", "%s", err.text);
	} else if (paused) {
		check_add(checks, "enrollments", "warning", "nothing is signed or ordered: paused %s", paused);
		check_fix(checks, FIX_COMMAND, "", "%s", FIX_RESUME);
	}
	free(paused);
}

static void check_enrollments(json_t *checks, struct enroll_parts *p)
{
	size_t counts[ENROLLMENT_STATES] = {0}, disabled = 0, waiting = 0;
	struct err err = ERR_INIT;

	check_paused(checks, p);
	if (!store_enrollment_counts(p->store, counts, &disabled, &err) || !count_waiting(p, &waiting, &err))
		check_add(checks, "enrollments", "fault", "%s", err.text);
	else if (counts[ENROLLMENT_BLOCKED] + counts[ENROLLMENT_FAILED] + waiting > 0)
		check_add(checks, "enrollments", "warning",
			"%zu blocked, %zu failed, %zu waiting for more than a day: `enrollctl list --state blocked` (failed, waiting) says why, and `enrollctl retry ADDRESS` "
			"goes on", counts[ENROLLMENT_BLOCKED], counts[ENROLLMENT_FAILED], waiting);
	else if (p->config->mode == MODE_OBSERVE)
		check_add(checks, "enrollments", "ok", "mode is \"observe\": nothing is ordered or signed yet");
	else
		check_add(checks, "enrollments", "ok", "%zu active, nobody is blocked", counts[ENROLLMENT_ACTIVE]);
}

/* What the order of filters does to mail.  The newest mail that can tell decides: what was wrong before does not matter any more. */
static void check_order(json_t *checks, struct enroll_parts *p)
{
	struct mail_event_list l = {0};
	struct err err = ERR_INIT;
	const struct mail_event *last = NULL;
	bool wrong = false;
	char when[32];

	if (!store_mail_events(p->store, NULL, 200, &l, &err)) {
		check_add(checks, "milter-order", "fault", "%s", err.text);
		return;
	}
	for (size_t i = 0; i < l.n && !last; i++) {
		wrong = l.v[i].reason && strcmp(l.v[i].reason, OUTBOUND_AFTER_DKIM) == 0;
		last = wrong || (l.v[i].verdict && strcmp(l.v[i].verdict, "signed") == 0) ? &l.v[i] : NULL;
	}
	if (l.n == 0)
		check_add(checks, "milter-order", "warning", "no mail of our users was seen yet: is the outbound socket in smtpd_milters of the submission service?");
	else if (wrong)
		check_add(checks, "milter-order", "fault",
			"mail of %s was DKIM-signed before enroll-milter signed it, which breaks that signature: put its socket before OpenDKIM's in smtpd_milters, then send "
			"a mail", time_text(last->at, when));
	else
		check_add(checks, "milter-order", "ok", "mail of our users was last seen %s, %s", time_text((last ? last : l.v)->at, when),
			last ? "not DKIM-signed before us" : "none of it signed");
	mail_event_list_clear(&l);
}

/* ---- the directory ---------------------------------------------------------------------------------------------------------------- */

/* The lines "ok: what" of directory_check as one. */
static void add_report(json_t *checks, struct buf *report)
{
	struct buf text = BUF_INIT;
	char *rest = NULL;

	for (char *line = report->data ? strtok_r(report->data, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
		buf_printf(&text, "%s%s", text.len ? "; " : "", strncmp(line, "ok: ", 4) == 0 ? line + 4 : line);
	check_add(checks, "directory", "ok", "%s", buf_str(&text));
	buf_clear(&text);
}

static void check_directory(json_t *checks, struct enroll_parts *p)
{
	struct buf report = BUF_INIT;
	struct err err = ERR_INIT;

	if (!p->directory)
		check_add(checks, "directory", "warning", "none is configured: logins can only vouch by map or by being the address, nothing is published");
	else if (directory_check(p->directory, &report, &err))
		add_report(checks, &report);
	else
		check_add(checks, "directory", "fault", "%s", err.text);
	buf_clear(&report);
}

/* Whoever was noted as gone before stays so. */
static void check_nobody_looks(json_t *checks, struct enroll_parts *p)
{
	struct store_people gone = {0};
	struct err err = ERR_INIT;

	if (p->config->mode == MODE_OBSERVE)
		return;
	if (p->directory) {
		check_add(checks, "departures", "warning", "nobody looks at who left (departures.interval = 0): their mail may go on being signed");
		check_fix(checks, FIX_CONFIGURATION, "departures", "%s", FIX_LOOKS);
	}
	if (!store_people_list(p->store, true, &gone, &err))
		check_add(checks, "departures", "fault", "%s", err.text);
	else if (gone.n)
		check_add(checks, "departures", "warning", "%zu people were noted as gone by an earlier look and stay so, as nobody looks any more: `enrollctl departures` "
			"lists them, and `enrollctl enable ADDRESS` takes one in again", gone.n);
	store_people_clear(&gone);
}

/* The lines of `directory check` that are not as they should be, or one that says what was tried. */
static void check_rights(json_t *checks, struct enroll_parts *p)
{
	struct err err = ERR_INIT;
	json_t *r, *one, *nothing = json_object();
	size_t i, bad = 0;

	r = p->directory ? directory_check_run(p, nothing, &err) : NULL;
	json_array_foreach(json_object_get(r, "checks"), i, one) {
		const char *verdict = json_string_value(json_object_get(one, "verdict")), *check = json_string_value(json_object_get(one, "check"));

		if (strcmp(verdict, "ok") == 0 || strcmp(check, "ownership") == 0 || strcmp(check, "connection") == 0)
			continue; /* whether users can write their addresses takes a user's password: `enrollctl directory check` */
		bad++;
		check_add(checks, "directory-rights", verdict, "%s: %s", check, json_string_value(json_object_get(one, "text")));
	}
	if (!p->directory)
		check_add(checks, "directory-rights", "ok", "no directory is configured");
	else if (!r)
		check_add(checks, "directory-rights", "fault", "%s", err.text);
	else if (!bad)
		check_add(checks, "directory-rights", "ok", "the schema has the attributes, and certificates can be written");
	json_decref(r);
	json_decref(nothing);
}

static void add_look(json_t *checks, const struct enroll_parts *p, time_t looked)
{
	char when[32];
	const char *at = looked ? time_text(looked, when) : "", *words = looked ? "the directory was looked at for who left at " :
		"the directory was not yet looked at for who left";

	if (p->config->directory.disabled_filter)
		check_add(checks, "departures", "ok", "%s%s", words, at);
	else
		check_add(checks, "departures", "warning", "%s%s; but directory.disabled-filter is not set, so mail of people who are disabled there and not deleted goes on "
			"being signed: set it to what your directory marks them with (Active Directory: (userAccountControl:1.2.840.113556.1.4.803:=2))", words, at);
}

/* The last look at who left. */
static void check_people(json_t *checks, struct enroll_parts *p)
{
	time_t looked = 0;
	struct err err = ERR_INIT;
	char *guard = NULL;

	if (!people_looks(p)) {
		check_nobody_looks(checks, p);
		return;
	}
	if (!store_flag_get(p->store, PEOPLE_GUARD_FLAG, &guard, &err) || !people_looked(p, &looked, &err))
		check_add(checks, "departures", "fault", "%s", err.text);
	else if (guard)
		check_add(checks, "departures", "fault", "%s", guard);
	else
		add_look(checks, p, looked);
	free(guard);
}

/* ---- the table -------------------------------------------------------------------------------------------------------------------- */

#define ADMIN true
static const struct {
	const char *name;
	void (*run)(json_t *checks, struct enroll_parts *p);
	bool admin; /* not for the help desk: tries rights */
} table[] = {
	{"store", check_store, false}, {"enrollments", check_enrollments, false}, {"departures", check_people, false}, {"milter-order", check_order, false},
	{"reply-path", doctor_reply_path, false}, {"directory", check_directory, false}, {"directory-rights", check_rights, ADMIN}, {"dns", doctor_mx, false},
	{"spf", doctor_spf, false}, {"dmarc", doctor_dmarc, false}, {"ca", doctor_cas, false}, {"ca-details", doctor_ca_details, false},
	{"clock", doctor_clock, false},
};

json_t *doctor_run(struct enroll_parts *p, const char *check, bool admin, struct err *err)
{
	json_t *checks = json_array();
	bool found = check == NULL;

	if (!checks) {
		err_nomem(err, "doctor");
		return NULL;
	}
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		if (check && strcmp(check, table[i].name) != 0)
			continue;
		found = true;
		if (admin || !table[i].admin)
			table[i].run(checks, p);
	}
	if (found)
		return checks;
	err_set(err, ERR_CONFIG, "doctor", check, "enrolld has no such check; is it of another version than enrollctl?");
	json_decref(checks);
	return NULL;
}

/* ---- without enrolld ---------------------------------------------------------------------------------------------------------------- */

/* enrolld would migrate an older store; who only looks does not. */
static bool store_fits(const struct config *config, struct err *err)
{
	/* In a database enrolld migrates nothing, and has a key of its own there. */
	struct store *store = store_open(&config->store, store_is_file(&config->store) ? STORE_ROLE_OUTBOUND : STORE_ROLE_ENROLLD, err);

	store_close(store);
	return store != NULL;
}

char *enroll_doctor(const struct config *config, const char *check, struct err *err)
{
	struct enroll_parts parts;
	json_t *checks, *o;
	char *text = NULL;

	if (!store_fits(config, err))
		return NULL;
	if (enroll_parts_init(&parts, config, false, err) && (checks = doctor_run(&parts, check, true, err))) {
		o = json_pack("{s:o}", "checks", checks);
		text = o ? json_dumps(o, JSON_COMPACT) : NULL;
		if (!text)
			err_nomem(err, "doctor");
		json_decref(o);
	}
	enroll_parts_clear(&parts);
	return text;
}
