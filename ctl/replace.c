/*
 * ctl/replace.c - mass replacement: plan, begin, status, pause, resume, cancel.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SERIALS_FILE_MAX (4u * 1024 * 1024)

static const char *member(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static long long number(json_t *o, const char *key)
{
	return (long long)json_integer_value(json_object_get(o, key));
}

/* ---- what is asked for --------------------------------------------------------------------------------------------------- */

/* A day (its beginning or its end), RFC 3339, or with `from` a span from then on: 120h, 5d. */
static bool put_time(json_t *a, const char *key, const char *text, bool day_ends, time_t from, struct err *err)
{
	char whole[64], out[32], *end;
	long long n = strtoll(text, &end, 10);
	time_t t;

	if (from && n > 0 && n < 100000 && end != text && (strcmp(end, "h") == 0 || strcmp(end, "d") == 0 || strcmp(end, "w") == 0)) {
		t = from + (time_t)(n * (*end == 'h' ? 3600 : *end == 'd' ? 86400 : 7 * 86400));
	} else {
		snprintf(whole, sizeof whole, "%.40s%s", text, strlen(text) != 10 ? "" : day_ends ? "T23:59:59Z" : "T00:00:00Z");
		if (!time_parse(whole, &t))
			return err_set(err, ERR_CONFIG, "replace", text, "this is no time: 2026-12-05, 2026-12-05T12:00:00Z%s", from ? ", or 120h from now" : "");
	}
	json_object_set_new(a, key, json_string(time_text(t, out)));
	return true;
}

/* One serial number a line, in hex; what is behind '#' is a comment. */
static bool put_serials(json_t *a, const char *path, struct err *err)
{
	struct buf text = BUF_INIT;
	json_t *list = json_array();
	char *rest = NULL, *line;

	if (!file_read(&text, path, SERIALS_FILE_MAX, err)) {
		json_decref(list);
		return false;
	}
	buf_putc(&text, '\0');
	for (line = strtok_r(text.data, "\r\n", &rest); line; line = strtok_r(NULL, "\r\n", &rest)) {
		line[strcspn(line, "#")] = '\0';
		line += strspn(line, " \t,;");
		for (size_t n = strlen(line); n && strchr(" \t,;", line[n - 1]); n--)
			line[n - 1] = '\0';
		if (*line)
			json_array_append_new(list, json_string(line));
	}
	json_object_set_new(a, "serials", list);
	buf_clear(&text);
	return true;
}

static json_t *question(const struct ctl *c, const char *issued_to, struct err *err)
{
	json_t *a = json_object();
	bool ok = put_time(a, "by", c->by, true, time(NULL), err);

	if (c->issuer)
		json_object_set_new(a, "issuer", json_string(c->issuer));
	if (c->all_of_ca)
		json_object_set_new(a, "all_of_ca", json_string(c->all_of_ca));
	if (c->revoke)
		json_object_set_new(a, "revoke", json_string(c->revoke));
	ok = ok && (!c->issued_from || (put_time(a, "issued_from", c->issued_from, false, 0, err) && put_time(a, "issued_to", issued_to, true, 0, err))) &&
	     (!c->serials || put_serials(a, c->serials, err));
	if (ok)
		return a;
	json_decref(a);
	return NULL;
}

/* ---- the plan -------------------------------------------------------------------------------------------------------------- */

static void print_plan(json_t *r, const char *subject)
{
	json_t *o;
	size_t i;

	(void)subject;
	printf("%lld certificates (", number(r, "certificates"));
	ctl_put(member(r, "selection"));
	puts(")");
	json_array_foreach(json_object_get(r, "cas"), i, o)
		printf("  %6lld from CA %s\n", number(o, "certificates"), member(o, "ca")[0] ? member(o, "ca") : "(default)");
	printf("deadline       %s\nestimated end  %s (%s)\n", member(r, "deadline"), member(r, "estimated_end"),
		json_is_true(json_object_get(r, "in_time")) ? "in time" : "TOO LATE");
	printf("rate           %.1f an hour", json_real_value(json_object_get(r, "rate_per_hour")));
	if (json_object_get(r, "limit"))
		printf("; at most %.1f, as %s = %lld says", json_real_value(json_object_get(r, "most_per_hour")), member(r, "limit"), number(r, "limit_value"));
	puts("");
	if (*member(r, "revoke"))
		printf("each old certificate is revoked (%s) when the new one is active\n", member(r, "revoke"));
	if (*member(r, "advice"))
		printf("! %s\n", member(r, "advice"));
}

static void tell_begun(json_t *r, const char *subject)
{
	(void)r;
	(void)subject;
	puts("begun; `enrollctl replace status` tells how far it is");
}

static int begin(struct ctl *c, json_t *a)
{
	static const struct ctl_deed deed = {.command = "replace", .verb = "begin", .question = "All these get a new key and certificate.", .print = print_plan,
		.tell = tell_begun};

	return ctl_do(c, &deed, a);
}

/* ---- status ---------------------------------------------------------------------------------------------------------------- */

static void print_status(const struct ctl *c, json_t *r)
{
	json_t *o = json_object_get(r, "replacement");
	long long over = number(o, "done") + number(o, "skipped"), of = number(o, "of");

	(void)c;
	if (!json_is_object(o)) {
		puts("no replacement was ever begun");
		return;
	}
	if (isatty(STDOUT_FILENO))
		ctl_bar(stdout, over, of);
	printf("%s: %lld of %lld, %lld on their way, %lld waiting", member(o, "state"), over, of, number(o, "begun"), number(o, "pending"));
	if (number(o, "stuck"))
		printf("; %lld blocked or failed", number(o, "stuck"));
	puts("");
	ctl_line(o, "selection", "which");
	if (json_object_get(o, "rate_per_hour"))
		printf("  %-16s %.1f an hour\n", "rate", json_real_value(json_object_get(o, "rate_per_hour")));
	ctl_line(o, "estimated_end", "estimated end");
	ctl_line(o, "deadline", "deadline");
	ctl_line(o, "ended_at", "ended");
	ctl_line(o, "advice", "advice");
	if (json_is_false(json_object_get(o, "in_time")))
		puts("! it is expected to end after its deadline");
}

static int steer(struct ctl *c, const char *action)
{
	json_t *r;

	if (strcmp(action, "status") == 0)
		return ctl_print(c, ctl_ask(c, "replace-status", json_object()), print_status);
	if (strcmp(action, "pause") != 0 && strcmp(action, "resume") != 0 && strcmp(action, "cancel") != 0)
		return ctl_usage(c, "replace takes status, pause, resume or cancel, or which certificates and --by");
	r = ctl_ask(c, "replace-set", json_pack("{s:s}", "action", action));
	if (!r)
		return 1;
	if (!ctl_print_json(c, r))
		printf("the replacement is %s%s\n", member(r, "state"), json_is_true(json_object_get(r, "changed")) ? "" : " already");
	json_decref(r);
	return 0;
}

int ctl_replace(struct ctl *c, int argc, char **argv)
{
	struct err err = ERR_INIT;
	json_t *a;

	if (argc == 1 && !c->issued_from && !c->by)
		return c->dry_run || c->issuer || c->serials || c->all_of_ca || c->revoke ? ctl_usage(c, "status, pause, resume and cancel take no options")
			: steer(c, argv[0]);
	if (argc != (c->issued_from ? 1 : 0))
		return ctl_usage(c, c->issued_from ? "--issued-between takes two times" : "replace takes no address");
	if (!c->by)
		return ctl_usage(c, "replace needs a deadline: --by 120h, or --by 2026-12-05T12:00:00Z");
	a = question(c, argc ? argv[0] : NULL, &err);
	return a ? begin(c, a) : ctl_fail(c, &err);
}
