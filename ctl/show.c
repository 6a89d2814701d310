/*
 * ctl/show.c - the reading commands, for people.  Texts from the store may hold what strangers wrote: control characters are shown as '?'.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <string.h>

static const char *text(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static json_t *common_arguments(const struct ctl *c)
{
	json_t *a = json_object();

	if (c->state)
		json_object_set_new(a, "state", json_string(c->state));
	if (c->after)
		json_object_set_new(a, "after", json_string(c->after));
	if (c->limit)
		json_object_set_new(a, "limit", json_integer(c->limit));
	if (c->observed)
		json_object_set_new(a, "observed", json_true());
	return a;
}

/* ---- status ------------------------------------------------------------------------------------------------------- */

/* Of one alone there is nothing to tell. */
static void print_instances(json_t *list)
{
	json_t *one;
	size_t i;

	if (json_array_size(list) < 2)
		return;
	puts("enrolld");
	json_array_foreach(list, i, one)
	{
		bool runs = json_is_true(json_object_get(one, "running"));

		printf("  %-18s ", text(one, "instance"));
		ctl_put(text(one, "host"));
		printf(" %s%s%s\n", runs ? "runs" : "seen last at ", runs ? "" : text(one, "seen_at"), json_is_true(json_object_get(one, "here")) ? ", this one" : "");
	}
}

static void print_status(const struct ctl *c, json_t *r)
{
	json_t *v, *states = json_object_get(r, "enrollments");
	long long cap = (long long)json_integer_value(json_object_get(r, "cap_per_day"));
	const char *name;

	printf("mode %s%s\n", text(r, "mode"), json_is_true(json_object_get(r, "pilot")) ? " (pilot)" : "");
	ctl_line(r, "configuration", "configuration");
	if (json_is_string(json_object_get(r, "paused"))) {
		printf("PAUSED ");
		ctl_put(text(r, "paused"));
		puts("");
	}
	ctl_line(r, "ca", "CA");
	ctl_line(r, "profile", "profile");
	printf("  %-14s %lld", "orders in 24 h", (long long)json_integer_value(json_object_get(r, "orders_in_24h")));
	if (cap)
		printf(" of %lld (cap-per-day)\n", cap);
	else
		puts(" (no cap-per-day)");
	if (json_object_size(states) == 0)
		puts("  no enrollments yet");
	else
		puts("enrollments");
	json_object_foreach(states, name, v)
		printf("  %-18s %lld\n", name, (long long)json_integer_value(v));
	if (json_integer_value(json_object_get(r, "disabled")))
		printf("  %-18s %lld\n", "disabled", (long long)json_integer_value(json_object_get(r, "disabled")));
	ctl_line(r, "departed", "left");
	ctl_line(r, "directory_guard", "ALARM");
	ctl_line(r, "account_key", "ALARM");
	print_instances(json_object_get(r, "enrollds"));
}

int ctl_status(struct ctl *c, int argc, char **argv)
{
	(void)argv;
	return argc ? ctl_usage(c, "status takes no argument") : ctl_print(c, ctl_ask(c, "status", NULL), print_status);
}

/* ---- list --------------------------------------------------------------------------------------------------------- */

static const char *const list_columns[] = {"address", "state", "since", "why", "why_class", "why_type", "next_at", "disabled", "profile", "usage", NULL};
static const char *const observed_columns[] = {"address", "mails", "last", "reason", NULL};

static void print_observed(json_t *list)
{
	static const char *const titles[] = {"ADDRESS", ">MAILS", "LAST", "WHAT WOULD HAPPEN", NULL};
	struct ctl_table t = {.titles = titles};
	json_t *o;
	size_t i;

	if (json_array_size(list) == 0) {
		puts("(no mail seen yet that would be signed)");
		return;
	}
	json_array_foreach(list, i, o) {
		ctl_table_add(&t, text(o, "address"));
		ctl_table_number(&t, (long long)json_integer_value(json_object_get(o, "mails")));
		ctl_table_add(&t, text(o, "last"));
		ctl_table_add(&t, text(o, "reason"));
	}
	ctl_table_print(&t);
	printf("%zu addresses\n", json_array_size(list));
}

static void print_left_alone(json_t *list)
{
	static const char *const titles[] = {">MAILS", "LAST", "WHY", NULL};
	struct ctl_table t = {.titles = titles};
	json_t *o;
	size_t i;

	if (json_array_size(list) == 0)
		return;
	puts("\nWould leave unsigned (which mail: enrollctl mail):");
	json_array_foreach(list, i, o) {
		ctl_table_number(&t, (long long)json_integer_value(json_object_get(o, "mails")));
		ctl_table_add(&t, text(o, "last"));
		ctl_table_add(&t, text(o, "reason"));
	}
	ctl_table_print(&t);
}

static void print_enrollments(json_t *list)
{
	static const char *const titles[] = {"ADDRESS", "STATE", "SINCE", "WHY", NULL};
	struct ctl_table t = {.titles = titles};
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o) {
		ctl_table_add(&t, text(o, "address"));
		ctl_table_add(&t, json_is_true(json_object_get(o, "disabled")) ? "disabled" : text(o, "state"));
		ctl_table_add(&t, text(o, "since"));
		ctl_table_add(&t, text(o, "why"));
	}
	ctl_table_print(&t);
	if (json_array_size(list) == 0)
		puts("(none)");
}

static void print_list(const struct ctl *c, json_t *r)
{
	if (c->observed) {
		print_observed(json_object_get(r, "observed"));
		print_left_alone(json_object_get(r, "left_alone"));
	} else {
		print_enrollments(json_object_get(r, "enrollments"));
	}
	if (json_object_get(r, "more_after"))
		printf("... more: enrollctl list --after %s\n", text(r, "more_after"));
}

int ctl_list(struct ctl *c, int argc, char **argv)
{
	(void)argv;
	return argc ? ctl_usage(c, "list takes no argument") : ctl_print_table(c, ctl_ask(c, "list", common_arguments(c)), print_list,
		c->observed ? "observed" : "enrollments", c->observed ? observed_columns : list_columns);
}

/* ---- show --------------------------------------------------------------------------------------------------------- */

/* Whose they are is said unless they are one's history. */
static void print_events(json_t *list, bool whose)
{
	static const char *const titles[] = {"AT", "STATE", "EVENT", "ACTOR", "TEXT", NULL};
	static const char *const titles_all[] = {"AT", "ADDRESS", "STATE", "EVENT", "ACTOR", "TEXT", NULL};
	struct ctl_table t = {.titles = whose ? titles_all : titles};
	json_t *e;
	size_t i;

	json_array_foreach(list, i, e) {
		ctl_table_add(&t, text(e, "at"));
		if (whose)
			ctl_table_add(&t, text(e, "address"));
		ctl_table_add(&t, text(e, "state"));
		ctl_table_add(&t, text(e, "event"));
		ctl_table_add(&t, text(e, "actor"));
		ctl_table_add(&t, text(e, "text"));
	}
	ctl_table_print(&t);
	if (json_array_size(list) == 0)
		puts("(none)");
}

static void print_enrollment(json_t *e)
{
	ctl_put(text(e, "address"));
	printf(": %s%s since %s\n", json_is_true(json_object_get(e, "disabled")) ? "disabled, " : "", text(e, "state"), text(e, "since"));
	ctl_line(e, "why", "why");
	ctl_line(e, "why_url", "about");
	ctl_line(e, "why_type", "type");
	ctl_line(e, "why_status", "status");
	ctl_line(e, "why_at", "failed at");
	ctl_line(e, "what_next", "what next");
	ctl_line(e, "next_at", "next step at");
	ctl_line(e, "resumes_in", "goes on in");
	ctl_line(e, "profile", "profile");
	ctl_line(e, "usage", "usage");
	ctl_line(e, "rule", "rule");
	ctl_line(e, "ca", "CA");
	ctl_line(e, "requested_by", "requested by");
	ctl_line(e, "requested_at", "requested at");
	ctl_line(e, "orders", "orders");
	ctl_line(e, "abandoned_orders", "abandoned");
	ctl_line(e, "challenge_from", "challenge from");
	ctl_line(e, "activity", "last activity");
}

static void print_part(json_t *revocation, const char *part)
{
	json_t *o = json_object_get(revocation, part);
	const char *done = text(o, "done_at"), *why = text(o, "why");
	struct buf line = BUF_INIT;
	json_t *told;

	buf_printf(&line, "%s%s%s%s%s", text(o, "state"), *done ? " " : *why ? ": " : "", *done ? done : why, *done || !*text(o, "next_at") ? "" : "; tried at ",
		*done ? "" : text(o, "next_at"));
	told = json_pack("{s:s}", "part", buf_str(&line));
	ctl_line(told, "part", part);
	json_decref(told);
	buf_clear(&line);
}

static void print_revocations(json_t *list)
{
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o) {
		printf("revocation of %s (%s)\n", text(o, "serial"), text(o, "reason"));
		ctl_line(o, "requested_at", "asked for");
		ctl_line(o, "requested_by", "by");
		print_part(o, "ca");
		print_part(o, "directory");
	}
}

static void print_certificates(json_t *list)
{
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o) {
		printf("certificate %s (%s)\n", text(o, "serial"), text(o, "status"));
		ctl_line(o, "issuer", "issuer");
		ctl_line(o, "not_before", "from");
		ctl_line(o, "not_after", "until");
		ctl_line(o, "fingerprint", "SHA-256");
		ctl_line(o, "directory_dn", "directory");
		ctl_line(o, "directory_why", "stays there");
		ctl_line(o, "directory_next_at", "next try");
		ctl_line(o, "findings", "findings");
	}
}

static void print_challenges(json_t *list)
{
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o) {
		printf("challenge mail of %s (%s)\n", text(o, "received_at"), text(o, "state"));
		ctl_line(o, "from", "from");
		ctl_line(o, "message_id", "Message-ID");
		ctl_line(o, "authentication", "authentic by");
		ctl_line(o, "disposition", "taken out by");
		ctl_line(o, "reply_message_id", "our reply");
	}
}

static void print_reports(json_t *list)
{
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o) {
		printf("delivery report of %s: our reply was %s\n", text(o, "received_at"), text(o, "action"));
		ctl_line(o, "remote", "by");
		ctl_line(o, "diagnostic", "words");
		ctl_line(o, "status", "status");
		ctl_line(o, "reporter", "reported by");
	}
}

static void print_show(const struct ctl *c, json_t *r)
{
	json_t *beside = json_object_get(r, "encryption");

	print_enrollment(json_object_get(r, "enrollment"));
	print_certificates(json_object_get(r, "certificates"));
	print_revocations(json_object_get(r, "revocations"));
	print_challenges(json_object_get(r, "challenges"));
	print_reports(json_object_get(r, "reports"));
	puts("history");
	print_events(json_object_get(r, "events"), false);
	if (beside) {
		puts("\nthe certificate for encryption beside it");
		print_show(c, beside);
	}
}

int ctl_show(struct ctl *c, int argc, char **argv)
{
	return argc != 1 ? ctl_usage(c, "show takes one address") : ctl_print(c, ctl_ask(c, "show", json_pack("{s:s}", "address", argv[0])), print_show);
}

/* ---- events, mail ------------------------------------------------------------------------------------------------- */

static void print_only_events(const struct ctl *c, json_t *r)
{
	(void)c;
	print_events(json_object_get(r, "events"), true);
}

/* A page of what happened, to one address or to all. */
static int ask_about(struct ctl *c, int argc, char **argv, const char *command, void (*print)(const struct ctl *, json_t *), const char *const *columns)
{
	json_t *a = common_arguments(c);

	if (argc)
		json_object_set_new(a, "address", json_string(argv[0]));
	return ctl_print_table(c, ctl_ask(c, command, a), print, command, columns);
}

static const char *const event_columns[] = {"at", "address", "state", "event", "actor", "class", "text", NULL};
static const char *const mail_columns[] = {"at", "queue_id", "message_id", "login", "from", "verdict", "reason", "detail", "action", "certificate", NULL};

int ctl_events(struct ctl *c, int argc, char **argv)
{
	c->after = NULL; /* pages of list are by address */
	return argc > 1 ? ctl_usage(c, "events takes at most one address") : ask_about(c, argc, argv, "events", print_only_events, event_columns);
}

/* The reason in the log's words, and what else is known. */
static void add_reason(struct ctl_table *t, json_t *mail)
{
	struct buf reason = BUF_INIT;

	buf_printf(&reason, "%s%s%s", text(mail, "reason"), text(mail, "detail")[0] ? ": " : "", text(mail, "detail"));
	ctl_table_add(t, buf_str(&reason));
	buf_clear(&reason);
}

static void print_mail(const struct ctl *c, json_t *r)
{
	static const char *const titles[] = {"AT", "QUEUE ID", "FROM", "VERDICT", "WHY", NULL};
	struct ctl_table t = {.titles = titles};
	json_t *list = json_object_get(r, "mail"), *o;
	size_t i;

	(void)c;
	json_array_foreach(list, i, o) {
		ctl_table_add(&t, text(o, "at"));
		ctl_table_add(&t, text(o, "queue_id"));
		ctl_table_add(&t, text(o, "from"));
		ctl_table_add(&t, text(o, "verdict"));
		add_reason(&t, o);
	}
	ctl_table_print(&t);
	if (json_array_size(list) == 0)
		puts("(none)");
}

int ctl_mail(struct ctl *c, int argc, char **argv)
{
	return argc > 1 ? ctl_usage(c, "mail takes at most one address") : ask_about(c, argc, argv, "mail", print_mail, mail_columns);
}

/* ---- checks ------------------------------------------------------------------------------------------------------- */

static size_t errors_among(json_t *r)
{
	size_t i, errors = 0;
	json_t *o;

	json_array_foreach(json_object_get(r, "checks"), i, o)
		errors += strcmp(text(o, "verdict"), "fault") == 0;
	return errors;
}

static void print_checks(const struct ctl *c, json_t *r)
{
	static const char *const titles[] = {"VERDICT", "CHECK", "WHAT WAS SEEN", NULL};
	struct ctl_table t = {.titles = titles};
	json_t *o;
	size_t i;

	(void)c;
	json_array_foreach(json_object_get(r, "checks"), i, o) {
		ctl_table_add(&t, text(o, "verdict"));
		ctl_table_add(&t, text(o, "check"));
		ctl_table_add(&t, text(o, "text"));
	}
	ctl_table_rows(&t);
	puts(errors_among(r) ? "something needs attention" : "all well");
}

int ctl_print_checks(struct ctl *c, json_t *r)
{
	static const char *const columns[] = {"check", "verdict", "text", NULL};
	size_t errors = errors_among(r);

	return ctl_print_table(c, r, print_checks, "checks", columns) || errors ? 1 : 0;
}
