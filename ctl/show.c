/*
 * ctl/show.c - the reading commands, for people.  Texts from the store may hold what strangers wrote: control characters are shown as '?'.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <string.h>

/* Further lines of a text stand under its first one. */
static void put(const char *s)
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

static void line(json_t *o, const char *key, const char *label)
{
	json_t *v = json_object_get(o, key);

	if (json_is_string(v)) {
		printf("  %-14s ", label);
		put(json_string_value(v));
		puts("");
	} else if (json_is_integer(v) && json_integer_value(v)) {
		printf("  %-14s %lld\n", label, (long long)json_integer_value(v));
	}
}

static int wrong_arguments(struct ctl *c, int argc, int most, const char *expected)
{
	return argc > most ? ctl_usage(c, expected) : 0;
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

int ctl_status(struct ctl *c, int argc, char **argv)
{
	json_t *r, *v, *states;
	const char *name;

	(void)argv;
	if (argc)
		return ctl_usage(c, "status takes no argument");
	r = ctl_ask(c, "status", NULL);
	if (!r)
		return 1;
	if (!ctl_print_json(c, r)) {
		printf("mode %s%s\n", text(r, "mode"), json_is_true(json_object_get(r, "pilot")) ? " (pilot)" : "");
		if (json_is_string(json_object_get(r, "paused"))) {
			printf("PAUSED ");
			put(text(r, "paused"));
			puts("");
		}
		line(r, "ca", "CA");
		line(r, "profile", "profile");
		printf("  %-14s %lld of %lld\n", "orders in 24 h", (long long)json_integer_value(json_object_get(r, "orders_in_24h")),
			(long long)json_integer_value(json_object_get(r, "cap_per_day")));
		states = json_object_get(r, "enrollments");
		if (json_object_size(states) == 0)
			puts("  no enrollments yet");
		json_object_foreach(states, name, v)
			printf("  %-18s %lld\n", name, (long long)json_integer_value(v));
		line(r, "disabled", "disabled");
	}
	json_decref(r);
	return 0;
}

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
		put(text(o, "reason"));
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
		put(text(o, "reason"));
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
		put(text(o, "why"));
		puts("");
	}
	if (json_array_size(list) == 0)
		puts("(none)");
}

int ctl_list(struct ctl *c, int argc, char **argv)
{
	json_t *r;
	int rc = wrong_arguments(c, argc, 0, "list takes no argument");

	(void)argv;
	if (rc)
		return rc;
	r = ctl_ask(c, "list", common_arguments(c));
	if (!r)
		return 1;
	if (!ctl_print_json(c, r)) {
		if (c->observed) {
			print_observed(json_object_get(r, "observed"));
			print_left_alone(json_object_get(r, "left_alone"));
		} else {
			print_enrollments(json_object_get(r, "enrollments"));
		}
		if (json_object_get(r, "more_after"))
			printf("... more: enrollctl list --after %s\n", text(r, "more_after"));
	}
	json_decref(r);
	return 0;
}

static void print_events(json_t *list)
{
	json_t *e;
	size_t i;

	json_array_foreach(list, i, e) {
		printf("  %s  %-18s %-16s %-18s ", text(e, "at"), text(e, "state"), text(e, "event"), text(e, "actor"));
		put(text(e, "text"));
		puts("");
	}
	if (json_array_size(list) == 0)
		puts("  (none)");
}

static void print_enrollment(json_t *e)
{
	put(text(e, "address"));
	printf(": %s%s since %s\n", json_is_true(json_object_get(e, "disabled")) ? "disabled, " : "", text(e, "state"), text(e, "since"));
	line(e, "why", "why");
	line(e, "what_next", "what next");
	line(e, "next_at", "next step at");
	line(e, "resumes_in", "goes on in");
	line(e, "profile", "profile");
	line(e, "ca", "CA");
	line(e, "requested_by", "requested by");
	line(e, "requested_at", "requested at");
	line(e, "orders", "orders");
	line(e, "abandoned_orders", "abandoned");
	line(e, "challenge_from", "challenge from");
	line(e, "activity", "last activity");
}

static void print_certificates(json_t *list)
{
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o) {
		printf("certificate %s (%s)\n", text(o, "serial"), text(o, "status"));
		line(o, "issuer", "issuer");
		line(o, "not_before", "from");
		line(o, "not_after", "until");
		line(o, "fingerprint", "SHA-256");
		line(o, "directory_dn", "directory");
		line(o, "findings", "findings");
	}
}

static void print_challenges(json_t *list)
{
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o) {
		printf("challenge mail of %s (%s)\n", text(o, "received_at"), text(o, "state"));
		line(o, "from", "from");
		line(o, "message_id", "Message-ID");
		line(o, "authentication", "authentic by");
		line(o, "disposition", "taken out by");
		line(o, "reply_message_id", "our reply");
	}
}

static void print_reports(json_t *list)
{
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o) {
		printf("delivery report of %s: our reply was %s\n", text(o, "received_at"), text(o, "action"));
		line(o, "remote", "by");
		line(o, "diagnostic", "words");
		line(o, "status", "status");
		line(o, "reporter", "reported by");
	}
}

int ctl_show(struct ctl *c, int argc, char **argv)
{
	json_t *r;

	if (argc != 1)
		return ctl_usage(c, "show takes one address");
	r = ctl_ask(c, "show", json_pack("{s:s}", "address", argv[0]));
	if (!r)
		return 1;
	if (!ctl_print_json(c, r)) {
		print_enrollment(json_object_get(r, "enrollment"));
		print_certificates(json_object_get(r, "certificates"));
		print_challenges(json_object_get(r, "challenges"));
		print_reports(json_object_get(r, "reports"));
		puts("history");
		print_events(json_object_get(r, "events"));
	}
	json_decref(r);
	return 0;
}

int ctl_events(struct ctl *c, int argc, char **argv)
{
	json_t *a = common_arguments(c), *r;
	int rc = wrong_arguments(c, argc, 1, "events takes at most one address");

	if (rc) {
		json_decref(a);
		return rc;
	}
	json_object_del(a, "after");
	if (argc)
		json_object_set_new(a, "address", json_string(argv[0]));
	r = ctl_ask(c, "events", a);
	if (!r)
		return 1;
	if (!ctl_print_json(c, r))
		print_events(json_object_get(r, "events"));
	json_decref(r);
	return 0;
}

int ctl_mail(struct ctl *c, int argc, char **argv)
{
	json_t *a = common_arguments(c), *r, *o, *list;
	int rc = wrong_arguments(c, argc, 1, "mail takes at most one address");
	size_t i;

	if (rc) {
		json_decref(a);
		return rc;
	}
	if (argc)
		json_object_set_new(a, "address", json_string(argv[0]));
	r = ctl_ask(c, "mail", a);
	if (!r)
		return 1;
	if (!ctl_print_json(c, r)) {
		list = json_object_get(r, "mail");
		json_array_foreach(list, i, o) {
			printf("%s  %-14s %-10s %-36s ", text(o, "at"), text(o, "queue_id"), text(o, "verdict"), text(o, "from"));
			put(text(o, "reason"));
			puts("");
		}
	}
	json_decref(r);
	return 0;
}

int ctl_doctor(struct ctl *c, int argc, char **argv)
{
	json_t *r, *list, *o;
	int errors = 0;
	size_t i;

	(void)argv;
	if (argc)
		return ctl_usage(c, "doctor takes no argument");
	r = ctl_ask(c, "doctor", NULL);
	if (!r)
		return 1;
	list = json_object_get(r, "checks");
	json_array_foreach(list, i, o)
		errors += strcmp(text(o, "verdict"), "error") == 0;
	if (!ctl_print_json(c, r)) {
		json_array_foreach(list, i, o) {
			printf("%-8s %-16s ", text(o, "verdict"), text(o, "check"));
			put(text(o, "text"));
			puts("");
		}
		puts(errors ? "something needs attention" : "all well");
	}
	json_decref(r);
	return errors ? 1 : 0;
}
