/*
 * ctl/show.c - the reading commands, for people.  Texts from the store may hold what strangers wrote: control characters are shown as '?'.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <string.h>

/* Further lines of a text stand under its first one. */
void ctl_put(const char *s)
{
	for (; s && *s; s++) {
		if (*s == '\n') {
			if (s[1])
				fputs("\n                 ", stdout);
		} else {
			putchar((unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s);
		}
	}
}

static const char *text(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

void ctl_line(json_t *o, const char *key, const char *label)
{
	json_t *v = json_object_get(o, key);

	if (json_is_string(v)) {
		printf("  %-14s ", label);
		ctl_put(json_string_value(v));
		puts("");
	} else if (json_is_integer(v) && json_integer_value(v)) {
		printf("  %-14s %lld\n", label, (long long)json_integer_value(v));
	}
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

static void print_status(const struct ctl *c, json_t *r)
{
	json_t *v, *states = json_object_get(r, "enrollments");
	const char *name;

	printf("mode %s%s\n", text(r, "mode"), json_is_true(json_object_get(r, "pilot")) ? " (pilot)" : "");
	if (json_is_string(json_object_get(r, "paused"))) {
		printf("PAUSED ");
		ctl_put(text(r, "paused"));
		puts("");
	}
	ctl_line(r, "ca", "CA");
	ctl_line(r, "profile", "profile");
	printf("  %-14s %lld of %lld\n", "orders in 24 h", (long long)json_integer_value(json_object_get(r, "orders_in_24h")),
		(long long)json_integer_value(json_object_get(r, "cap_per_day")));
	if (json_object_size(states) == 0)
		puts("  no enrollments yet");
	json_object_foreach(states, name, v)
		printf("  %-18s %lld\n", name, (long long)json_integer_value(v));
	ctl_line(r, "disabled", "disabled");
	ctl_line(r, "departed", "left");
	ctl_line(r, "directory_guard", "ALARM");
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
	json_t *o;
	size_t i;

	if (json_array_size(list) == 0) {
		puts("(no mail seen yet that would be signed)");
		return;
	}
	printf("%-36s %6s  %-20s %s\n", "ADDRESS", "MAILS", "LAST", "WHAT WOULD HAPPEN");
	json_array_foreach(list, i, o) {
		printf("%-36s %6lld  %-20s ", text(o, "address"), (long long)json_integer_value(json_object_get(o, "mails")), text(o, "last"));
		ctl_put(text(o, "reason"));
		puts("");
	}
	printf("%zu addresses\n", json_array_size(list));
}

static void print_left_alone(json_t *list)
{
	json_t *o;
	size_t i;

	if (json_array_size(list) == 0)
		return;
	printf("\nWould leave unsigned (which mail: enrollctl mail):\n%6s  %-20s %s\n", "MAILS", "LAST", "WHY");
	json_array_foreach(list, i, o) {
		printf("%6lld  %-20s ", (long long)json_integer_value(json_object_get(o, "mails")), text(o, "last"));
		ctl_put(text(o, "reason"));
		puts("");
	}
}

static void print_enrollments(json_t *list)
{
	json_t *o;
	size_t i;

	printf("%-36s %-18s %-20s %s\n", "ADDRESS", "STATE", "SINCE", "WHY");
	json_array_foreach(list, i, o) {
		printf("%-36s %-18s %-20s ", text(o, "address"), json_is_true(json_object_get(o, "disabled")) ? "disabled" : text(o, "state"), text(o, "since"));
		ctl_put(text(o, "why"));
		puts("");
	}
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

static void print_events(json_t *list)
{
	json_t *e;
	size_t i;

	json_array_foreach(list, i, e) {
		printf("  %s  %-18s %-16s %-18s ", text(e, "at"), text(e, "state"), text(e, "event"), text(e, "actor"));
		ctl_put(text(e, "text"));
		puts("");
	}
	if (json_array_size(list) == 0)
		puts("  (none)");
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

	printf("  %-14s %s%s%s%s%s\n", part, text(o, "state"), *done ? " " : *why ? ": " : "", *done ? done : why, *done || !*text(o, "next_at") ? "" : "; tried at ",
		*done ? "" : text(o, "next_at"));
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
	print_events(json_object_get(r, "events"));
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
	print_events(json_object_get(r, "events"));
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

static void print_mail(const struct ctl *c, json_t *r)
{
	json_t *o;
	size_t i;

	json_array_foreach(json_object_get(r, "mail"), i, o) {
		printf("%s  %-14s %-10s %-36s ", text(o, "at"), text(o, "queue_id"), text(o, "verdict"), text(o, "from"));
		ctl_put(text(o, "reason"));
		if (text(o, "detail")[0]) {
			fputs(": ", stdout);
			ctl_put(text(o, "detail"));
		}
		puts("");
	}
}

int ctl_mail(struct ctl *c, int argc, char **argv)
{
	return argc > 1 ? ctl_usage(c, "mail takes at most one address") : ask_about(c, argc, argv, "mail", print_mail, mail_columns);
}

/* ---- doctor ------------------------------------------------------------------------------------------------------- */

static size_t errors_among(json_t *r)
{
	size_t i, errors = 0;
	json_t *o;

	json_array_foreach(json_object_get(r, "checks"), i, o)
		errors += strcmp(text(o, "verdict"), "error") == 0;
	return errors;
}

static void print_checks(const struct ctl *c, json_t *r)
{
	json_t *o;
	size_t i;

	json_array_foreach(json_object_get(r, "checks"), i, o) {
		printf("%-8s %-16s ", text(o, "verdict"), text(o, "check"));
		ctl_put(text(o, "text"));
		puts("");
	}
	puts(errors_among(r) ? "something needs attention" : "all well");
}

int ctl_print_checks(struct ctl *c, json_t *r)
{
	size_t errors = errors_among(r);

	return ctl_print(c, r, print_checks) || errors ? 1 : 0;
}

int ctl_doctor(struct ctl *c, int argc, char **argv)
{
	(void)argv;
	return argc ? ctl_usage(c, "doctor takes no argument") : ctl_print_checks(c, ctl_ask(c, "doctor", NULL));
}
