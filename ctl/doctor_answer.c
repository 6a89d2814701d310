/*
 * ctl/doctor_answer.c - `doctor`: what enrolld answered, taken for no more than it may be.
 *
 * enrolld is not root and talks to the network; who reads its lines is root, and told that what stands behind "fix:" can be taken as it stands.
 */
#include "config.h"

#include "ctl/doctor.h"

#include <string.h>

#include "enroll/enroll.h"

static const char *member(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static bool is_one_of(const char *text, const char *const *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(text, v[i]) == 0)
			return true;
	return false;
}

static bool is_known_command(const struct doctor *d, const char *text)
{
	static const char *const commands[] = {FIX_RESUME, FIX_CLOCK, FIX_TRIAL_ROUTE, FIX_POSTFIX_RELOAD, FIX_REGISTER};
	size_t n = strlen(FIX_REGISTER_AT);

	if (is_one_of(text, commands, sizeof commands / sizeof *commands))
		return true;
	for (size_t i = 0; strncmp(text, FIX_REGISTER_AT, n) == 0 && i < config_cas(d->config); i++)
		if (strcmp(text + n, config_ca_at(d->config, i)->name) == 0)
			return true;
	return false;
}

static bool is_known_line(const struct doctor *d, const char *group, const char *text)
{
	char report[512];

	snprintf(report, sizeof report, FIX_REPORTS, d->config->domains.n ? d->config->domains.v[0] : "");
	return (strcmp(group, "departures") == 0 && strcmp(text, FIX_LOOKS) == 0) || (strcmp(group, "ca") == 0 && strcmp(text, FIX_TERMS) == 0) ||
		(strcmp(group, "reply") == 0 && strcmp(text, report) == 0);
}

static bool is_known_fix(const struct doctor *d, const char *kind, const char *where, const char *text)
{
	if (!ctl_plain(text) || !ctl_plain(where))
		return false;
	if (strcmp(kind, FIX_COMMAND) == 0)
		return is_known_command(d, text);
	if (strcmp(kind, FIX_CONFIGURATION) == 0)
		return is_known_line(d, where, text);
	return strcmp(kind, FIX_DNS) == 0 && strlist_has(&d->config->domains, where);
}

/* How many fixes of it were left out. */
static size_t take_line(struct doctor *d, json_t *line)
{
	size_t i, out = 0;
	json_t *f;

	check_add(d->lines, member(line, "check"), member(line, "verdict"), "%s", member(line, "text"));
	json_array_foreach(json_object_get(line, "fix"), i, f) {
		const char *kind = member(f, "kind"), *where = member(f, "where"), *text = member(f, "text");

		if (is_known_fix(d, kind, where, text))
			check_fix(d->lines, kind, where, "%s", text);
		else
			out++;
	}
	return out;
}

void doctor_take(struct doctor *d, json_t *answer)
{
	static const char *const verdicts[] = {"ok", "warning", "fault"};
	size_t i, out = 0;
	json_t *line;

	json_array_foreach(json_object_get(answer, "checks"), i, line)
		if (doctor_asks_enrolld(member(line, "check")) && is_one_of(member(line, "verdict"), verdicts, 3))
			out += take_line(d, line);
		else
			out++;
	if (out)
		doctor_say(d, "fault", "enrolld answered what is none of its business, or named a remedy that it does not know; that was left out. Is it of another version than "
			"enrollctl (then restart it), or is it not ours any more?");
}
