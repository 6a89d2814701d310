/*
 * ctl/csv.c - a table as comma separated values (RFC 4180), for scripts and spreadsheets.
 *
 * Columns are fixed by each command and named in the first line.  Texts may be of strangers: control characters are shown as '?', and a text that a
 * spreadsheet would take for a formula gets an apostrophe in front, which spreadsheets do not show.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <string.h>

static void put_text(const char *s)
{
	putchar('"');
	if (*s && strchr("=+-@", *s))
		putchar('\'');
	for (; *s; s++) {
		if (*s == '"')
			putchar('"');
		putchar(((unsigned char)*s < 0x20 && *s != '\n') || *s == 0x7f ? '?' : *s);
	}
	putchar('"');
}

static void put_value(json_t *v)
{
	if (json_is_string(v))
		put_text(json_string_value(v));
	else if (json_is_integer(v))
		printf("%lld", (long long)json_integer_value(v));
	else if (json_is_boolean(v))
		fputs(json_is_true(v) ? "true" : "false", stdout);
}

void ctl_csv_titles(const char *const *columns)
{
	for (size_t k = 0; columns[k]; k++)
		printf("%s%s", k ? "," : "", columns[k]);
	fputs("\r\n", stdout);
}

void ctl_csv_row(json_t *row, const char *const *columns)
{
	for (size_t k = 0; columns[k]; k++) {
		if (k)
			putchar(',');
		put_value(json_object_get(row, columns[k]));
	}
	fputs("\r\n", stdout);
}

static void print_csv(json_t *list, const char *const *columns)
{
	json_t *o;
	size_t i;

	ctl_csv_titles(columns);
	json_array_foreach(list, i, o)
		ctl_csv_row(o, columns);
}

int ctl_print_table(struct ctl *c, json_t *result, void (*print)(const struct ctl *c, json_t *result), const char *key, const char *const *columns)
{
	if (!result || !c->csv)
		return ctl_print(c, result, print);
	print_csv(json_object_get(result, key), columns);
	json_decref(result);
	return 0;
}
