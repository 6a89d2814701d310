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

static int confirm(struct ctl *c)
{
	struct err err = ERR_INIT;
	char question[80];
	json_t *r = ctl_ask(c, "departures-confirm", json_pack("{s:b}", "dry_run", 1));
	size_t n = r ? json_array_size(json_object_get(r, "held")) : 0;
	json_int_t as_of; /* the yes is about those who were shown */

	if (!r)
		return 1;
	if (c->dry_run && ctl_print_json(c, r)) {
		json_decref(r);
		return 0;
	}
	if (!c->json)
		print_held(json_object_get(r, "held"));
	as_of = json_integer_value(json_object_get(r, "as_of"));
	json_decref(r);
	if (c->dry_run)
		return 0;
	snprintf(question, sizeof question, "Nobody will sign for these %zu any more.", n);
	if (!ctl_confirm(c, "confirm", NULL, question, &err))
		return ctl_fail(c, &err);
	r = ctl_ask(c, "departures-confirm", json_pack("{s:I}", "as_of", as_of));
	if (!r)
		return 1;
	if (!ctl_print_json(c, r))
		printf("%lld are let go by the look that begins now; each is asked about once more before, so who is there after all stays\n",
			(long long)json_integer_value(json_object_get(r, "confirmed")));
	json_decref(r);
	return 0;
}

int ctl_departures(struct ctl *c, int argc, char **argv)
{
	if (argc == 1 && strcmp(argv[0], "confirm") == 0)
		return c->csv ? ctl_usage(c, "--csv is for the list") : confirm(c);
	if (argc)
		return ctl_usage(c, "departures takes nothing, or \"confirm\"");
	return ctl_print_table(c, ctl_ask(c, "departures", json_object()), print_departures, "departures", columns);
}
