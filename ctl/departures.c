/*
 * ctl/departures.c - who left, as the directory has it; and letting those go whom the guard holds back.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <stdio.h>
#include <string.h>

static const char *text(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static const char *const columns[] = {"address", "since", "kind", "why", "by", "ends_at", "ended_at", "then", "state", NULL};

static void print_held(json_t *list)
{
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o) {
		printf("%-36s %-30s ", text(o, "address"), text(o, "why"));
		if (text(o, "confirmed_by")[0]) {
			printf("confirmed by ");
			ctl_put(text(o, "confirmed_by"));
		} else {
			printf("held since %s", text(o, "since"));
		}
		puts("");
	}
}

static void print_departures(const struct ctl *c, json_t *r)
{
	json_t *list = json_object_get(r, "departures"), *held = json_object_get(r, "held"), *o;
	size_t i;

	(void)c;
	if (!json_is_true(json_object_get(r, "looks")))
		puts("nobody looks at who left (departures.interval, directory.urls, mode): whoever is noted as gone stays so until `enrollctl enable ADDRESS`");
	ctl_line(r, "looked_at", "last look");
	if (text(r, "guard")[0]) {
		printf("ALARM ");
		ctl_put(text(r, "guard"));
		puts("");
	}
	if (json_array_size(list) == 0)
		puts("(nobody left)");
	else
		printf("%-36s %-20s %-30s %-20s %s\n", "ADDRESS", "SINCE", "WHY", "UNTIL", "THEN");
	json_array_foreach(list, i, o)
		printf("%-36s %-20s %-30s %-20s %s\n", text(o, "address"), text(o, "since"), text(o, "why"), text(o, "ends_at"), text(o, "then"));
	if (json_array_size(held)) {
		puts("Held back, nobody of these is touched:");
		print_held(held);
	}
}

static void print_plan(json_t *r, const char *subject)
{
	(void)subject;
	print_held(json_object_get(r, "held"));
}

/* The yes is about those who were shown. */
static void ask_confirm(json_t *plan, json_t *arguments, char question[CTL_QUESTION])
{
	json_object_set(arguments, "as_of", json_object_get(plan, "as_of"));
	snprintf(question, CTL_QUESTION, "Nobody will sign for these %zu any more.", json_array_size(json_object_get(plan, "held")));
}

static void tell_confirmed(json_t *r, const char *subject)
{
	(void)subject;
	printf("%lld are let go by the look that begins now; each is asked about once more before, so who is there after all stays\n",
		(long long)json_integer_value(json_object_get(r, "confirmed")));
}

static int confirm(struct ctl *c)
{
	static const struct ctl_deed deed = {.command = "departures-confirm", .verb = "confirm", .print = print_plan, .ask = ask_confirm, .tell = tell_confirmed};

	return ctl_do(c, &deed, json_object());
}

int ctl_departures(struct ctl *c, int argc, char **argv)
{
	if (argc == 1 && strcmp(argv[0], "confirm") == 0)
		return c->csv ? ctl_usage(c, "--csv is for the list") : confirm(c);
	if (argc)
		return ctl_usage(c, "departures takes nothing, or \"confirm\"");
	return ctl_print_table(c, ctl_ask(c, "departures", json_object()), print_departures, "departures", columns);
}
