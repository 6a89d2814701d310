/*
 * ctl/helpdesk.c - the help desk's questions: why, expiring, search.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <stdlib.h>
#include <string.h>

static const char *text(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* ---- why ------------------------------------------------------------------------------------------------------------------------- */

static void print_why(const struct ctl *c, json_t *r)
{
	json_t *mail = json_object_get(r, "mail");
	struct buf advice = BUF_INIT;

	(void)c;
	ctl_text(text(r, "sentence"), 0);
	puts("");
	if (text(r, "what_to_do")[0]) {
		buf_printf(&advice, "What to do: %s", text(r, "what_to_do"));
		ctl_text(buf_str(&advice), 0);
		puts("");
	}
	buf_clear(&advice);
	ctl_line(r, "cause", "cause");
	if (!mail)
		return;
	ctl_line(mail, "at", "mail of");
	ctl_line(mail, "from", "from");
	ctl_line(mail, "login", "login");
	ctl_line(mail, "queue_id", "queue id");
	ctl_line(mail, "message_id", "Message-ID");
}

int ctl_why(struct ctl *c, int argc, char **argv)
{
	if (argc != 1)
		return ctl_usage(c, "why takes one address");
	if (c->message_id && c->queue_id)
		return ctl_usage(c, "either --message-id or --queue-id");
	return ctl_print(c, ctl_ask(c, "why", json_pack("{s:s, s:s*, s:s*}", "address", argv[0], "message_id", c->message_id, "queue_id", c->queue_id)),
		print_why);
}

/* ---- expiring ------------------------------------------------------------------------------------------------------------------------ */

static const char *const expiring_columns[] = {"address", "not_after", "days", "serial", "fingerprint", "issuer", "state", "renewal", NULL};

static void print_expiring(const struct ctl *c, json_t *r)
{
	static const char *const titles[] = {"ADDRESS", "UNTIL", ">DAYS", "RENEWAL", NULL};
	struct ctl_table t = {.titles = titles};
	json_t *list = json_object_get(r, "expiring"), *o;
	size_t i;

	(void)c;
	if (json_array_size(list) == 0) {
		puts("(nobody's certificate ends in this time)");
		return;
	}
	json_array_foreach(list, i, o) {
		ctl_table_add(&t, text(o, "address"));
		ctl_table_add(&t, text(o, "not_after"));
		ctl_table_number(&t, (long long)json_integer_value(json_object_get(o, "days")));
		ctl_table_add(&t, text(o, "renewal"));
	}
	ctl_table_print(&t);
	if (json_is_true(json_object_get(r, "more")))
		puts("... and more: ask for a shorter time, or for more with --limit");
}

/* "30d", "12h", "2w"; days without a unit.  0: not one of these. */
static long long seconds_of(const char *s)
{
	char *end;
	long n = strtol(s, &end, 10);
	long long unit = strcmp(end, "h") == 0 ? 3600 : strcmp(end, "d") == 0 || !*end ? 86400 : strcmp(end, "w") == 0 ? 7 * 86400 : 0;

	return end == s || n < 1 || n > 100000 ? 0 : n * unit;
}

int ctl_expiring(struct ctl *c, int argc, char **argv)
{
	long long within = c->within ? seconds_of(c->within) : 30 * 86400;
	json_t *a;

	(void)argv;
	if (argc)
		return ctl_usage(c, "expiring takes no argument");
	if (within == 0)
		return ctl_usage(c, "--within takes a number with h, d or w: 12h, 30d, 2w");
	a = json_pack("{s:I}", "within", (json_int_t)within);
	if (c->limit)
		json_object_set_new(a, "limit", json_integer(c->limit));
	return ctl_print_table(c, ctl_ask(c, "expiring", a), print_expiring, "expiring", expiring_columns);
}

/* ---- search -------------------------------------------------------------------------------------------------------------------------- */

static const char *const search_columns[] = {"address", "name", "state", "since", "serial", "not_after", "fingerprint", "disabled", NULL};

static void print_search(const struct ctl *c, json_t *r)
{
	json_t *list = json_object_get(r, "found"), *o;
	size_t i, width = 0;

	(void)c;
	if (json_array_size(list) == 0) {
		puts("(nothing found, neither among enrollments nor by name in the directory)");
		return;
	}
	json_array_foreach(list, i, o)
		if (ctl_cells(text(o, "address")) > width)
			width = ctl_cells(text(o, "address"));
	json_array_foreach(list, i, o) {
		ctl_cell(text(o, "address"), width + 2);
		ctl_put(json_is_true(json_object_get(o, "disabled")) ? "disabled" : text(o, "state")[0] ? text(o, "state") : "(no enrollment)");
		puts("");
		ctl_line(o, "name", "name");
		ctl_line(o, "serial", "serial");
		ctl_line(o, "not_after", "until");
		ctl_line(o, "fingerprint", "SHA-256");
	}
	if (json_is_true(json_object_get(r, "more")))
		puts("... and more: look for something longer, or ask for more with --limit");
}

int ctl_search(struct ctl *c, int argc, char **argv)
{
	struct buf words = BUF_INIT;
	json_t *a;

	if (argc < 1)
		return ctl_usage(c, "search takes a part of an address or name, a serial number or a fingerprint");
	for (int i = 0; i < argc; i++)
		buf_printf(&words, "%s%s", i ? " " : "", argv[i]);
	a = json_pack("{s:s}", "text", buf_str(&words));
	buf_clear(&words);
	if (c->limit)
		json_object_set_new(a, "limit", json_integer(c->limit));
	return ctl_print_table(c, ctl_ask(c, "search", a), print_search, "found", search_columns);
}
