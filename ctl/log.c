/*
 * ctl/log.c - `enrollctl log explain`: what an event of the log or the history means, what its keys are and what to do; of a name, or of a whole line.
 *
 * No enrolld, no configuration, no role.  A line is taken as it is pasted: with or without what syslog puts before it, and also when the shell has taken
 * its quotation marks away.
 */
#include "config.h"

#include "ctl/log.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"

#define INDENT 2
#define KEY_COLUMN 15

/* What is in the line that was pasted; of a name alone there are no values. */
struct pair {
	const char *key;
	const char *value;
};
struct line {
	char *text; /* keys and values point into it */
	struct pair *pairs;
	size_t n;
};

/* ---- reading a line ----------------------------------------------------------------------------------------------------------------- */

static size_t key_length(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz_");

	return n > 0 && s[n] == '=' ? n : 0;
}

static const char *find_event(const char *s)
{
	for (const char *at = strstr(s, "event="); at; at = strstr(at + 1, "event="))
		if (at == s || isspace((unsigned char)at[-1]) || at[-1] == '>')
			return at;
	return NULL;
}

/* "\n" and "\xNN" stay as they are, which is how they can be shown. */
static char *take_quoted(char *s, const char **value)
{
	char *to = ++s;

	*value = to;
	for (; *s && *s != '"'; s++) {
		if (*s == '\\' && (s[1] == '"' || s[1] == '\\'))
			s++;
		*to++ = *s;
	}
	s += *s == '"';
	*to = '\0';
	return s;
}

/* Up to the next key: blanks are in it when a shell took the quotation marks away. */
static char *take_bare(char *s, const char **value)
{
	char *end = s;

	*value = s;
	while (*end && !(isspace((unsigned char)*end) && key_length(end + strspn(end, " \t"))))
		end++;
	if (*end)
		*end++ = '\0';
	return end;
}

static bool read_line(const char *from, struct line *l)
{
	char *s;

	l->text = strdup(from);
	l->pairs = calloc(strlen(from) / 2 + 1, sizeof *l->pairs); /* "k=" at least, each */
	if (!l->text || !l->pairs)
		return false;
	for (s = l->text; *s;) {
		size_t n = key_length(s);

		if (n == 0) {
			s++;
			continue;
		}
		l->pairs[l->n].key = s;
		s[n] = '\0';
		s = s[n + 1] == '"' ? take_quoted(s + n + 1, &l->pairs[l->n].value) : take_bare(s + n + 1, &l->pairs[l->n].value);
		l->n++;
	}
	return true;
}

static void line_clear(struct line *l)
{
	free(l->pairs);
	free(l->text);
}

/* ---- the table ------------------------------------------------------------------------------------------------------------------------ */

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* What a key is, or (value not NULL) what this value of it is: of this event, else in general. */
static const char *meaning_of(const char *event, const char *key, const char *value)
{
	for (int general = 0; general < 2; general++)
		for (size_t i = 0; i < log_keys_count; i++)
			if (same(log_keys[i].event, general ? NULL : event) && same(log_keys[i].key, key) && same(log_keys[i].value, value))
				return log_keys[i].meaning;
	return NULL;
}

#define TEXT 1024

/* Texts of the table for a terminal: without the marks around what is typed. */
static void plain_text(char out[TEXT], const char *s, size_t len)
{
	size_t n = 0;

	for (; *s && len > 0 && n < TEXT - 1; s++, len--)
		if (*s != '`')
			out[n++] = *s;
	out[n] = '\0';
}

static void put_text(const char *s, size_t indent)
{
	char plain[TEXT];

	plain_text(plain, s, strlen(s));
	ctl_text(plain, indent);
	puts("");
}

static size_t first_sentence(const char *s)
{
	const char *end = strstr(s, ".  ");

	return end ? (size_t)(end - s) : strlen(s) - (*s && s[strlen(s) - 1] == '.');
}

/* The keys of a row one after the other: true, and the next one. */
static bool next_key(const char **at, char key[CTL_WORD])
{
	size_t n;

	*at += strspn(*at, " ");
	if (strncmp(*at, "+error", 6) == 0)
		*at = log_error_keys;
	n = strcspn(*at, " ");
	snprintf(key, CTL_WORD, "%.*s", (int)n, *at);
	*at += n;
	return n > 0;
}

/* ---- for people ------------------------------------------------------------------------------------------------------------------------- */

static void put_label(const char *label, size_t indent)
{
	printf("%*s", (int)indent, "");
	ctl_cell(label, KEY_COLUMN);
	putchar(' ');
}

static void put_value(const char *event, const char *key, const char *value)
{
	const char *what = meaning_of(event, key, value);

	put_label(value, 2 * INDENT);
	put_text(what ? what : "", 2 * INDENT + KEY_COLUMN + 1);
}

static void put_key(const char *event, const char *key, const char *value)
{
	const char *what = meaning_of(event, key, NULL), *special = value ? meaning_of(event, key, value) : NULL;

	put_label(key, INDENT);
	if (value) {
		ctl_text(value, INDENT + KEY_COLUMN + 1);
		printf("\n%*s", INDENT + KEY_COLUMN + 1, "");
	}
	put_text(special ? special : what ? what : "(this version does not know this key)", INDENT + KEY_COLUMN + 1);
	for (size_t i = 0; !value && i < log_keys_count; i++)
		if (log_keys[i].value && same(log_keys[i].key, key) && (!log_keys[i].event || same(log_keys[i].event, event)))
			put_value(event, key, log_keys[i].value);
}

static void put_keys(const struct log_row *row)
{
	const char *at = row->keys;
	char key[CTL_WORD];

	while (next_key(&at, key))
		put_key(row->name, key, NULL);
}

static bool is_history(const struct log_row *row)
{
	return !row->levels;
}

static void put_row(const struct log_row *row, const struct line *l)
{
	printf("%s (%s%s%s)\n", row->name, is_history(row) ? "in the history, and as `what` of event=enrollment" : row->where, row->levels ? ": " : "",
		row->levels ? row->levels : "");
	printf("%*s", INDENT, "");
	put_text(row->meaning, INDENT);
	for (size_t i = 0; i < l->n && !is_history(row); i++)
		if (!same(l->pairs[i].key, "event"))
			put_key(row->name, l->pairs[i].key, l->pairs[i].value);
	if (l->n == 0)
		put_keys(row);
	printf("%*s", INDENT, "");
	fputs("What to do: ", stdout);
	put_text(row->action ? row->action : "Nothing.", INDENT + 12);
}

static void put_list(bool history)
{
	static const char *const titles[] = {"EVENT", "BY", "LEVEL", "WHAT", NULL};
	struct ctl_table t = {.titles = titles};

	for (size_t i = 0; i < log_rows_count; i++) {
		const struct log_row *row = &log_rows[i];
		char what[TEXT];

		if (is_history(row) != history)
			continue;
		plain_text(what, row->meaning, first_sentence(row->meaning));
		ctl_table_add(&t, row->name);
		ctl_table_add(&t, row->where);
		ctl_table_add(&t, row->levels);
		ctl_table_add(&t, what);
	}
	ctl_table_print(&t);
}

/* ---- for programs ------------------------------------------------------------------------------------------------------------------------- */

static json_t *words(const char *s)
{
	json_t *list = json_array();

	for (; s && *s; s += strspn(s, " ")) {
		size_t n = strcspn(s, " ");

		json_array_append_new(list, json_stringn(s, n));
		s += n;
	}
	return list;
}

static json_t *key_json(const char *event, const char *key, const char *value)
{
	const char *what = meaning_of(event, key, NULL);
	json_t *values = json_array();

	for (size_t i = 0; i < log_keys_count; i++)
		if (log_keys[i].value && same(log_keys[i].key, key) && (!log_keys[i].event || same(log_keys[i].event, event)) &&
			(!value || same(value, log_keys[i].value)))
			json_array_append_new(values, json_pack("{s:s, s:s}", "value", log_keys[i].value, "meaning", log_keys[i].meaning));
	return json_pack("{s:s, s:s?, s:s*, s:o}", "key", key, "meaning", what, "value", value, "values", values);
}

static json_t *row_json(const struct log_row *row, const struct line *l)
{
	json_t *keys = json_array();
	const char *at = row->keys;
	char key[CTL_WORD];

	for (size_t i = 0; i < l->n && !is_history(row); i++)
		if (!same(l->pairs[i].key, "event"))
			json_array_append_new(keys, key_json(row->name, l->pairs[i].key, l->pairs[i].value));
	while (l->n == 0 && next_key(&at, key))
		json_array_append_new(keys, key_json(row->name, key, NULL));
	return json_pack("{s:s, s:o, s:o, s:o, s:s, s:s?}", "event", row->name, "where", words(row->where), "levels", words(row->levels), "keys", keys,
		"meaning", row->meaning, "action", row->action);
}

static void collect(json_t *list, const char *name, const struct line *l)
{
	for (size_t i = 0; i < log_rows_count; i++)
		/* of a line of the log the history's row of the same name says nothing new */
		if (!name || (same(log_rows[i].name, name) && (l->n == 0 || !is_history(&log_rows[i]))))
			json_array_append_new(list, row_json(&log_rows[i], l));
}

/* ---- the command ---------------------------------------------------------------------------------------------------------------------------- */

static int unknown(const struct ctl *c, const char *name)
{
	struct ctl_nearest near = {NULL, 0};
	struct err err = ERR_INIT;
	struct buf like = BUF_INIT;

	for (size_t i = 0; i < log_rows_count; i++)
		ctl_nearest(&near, name, log_rows[i].name);
	for (size_t i = 0; i < log_rows_count; i++) {
		const struct log_row *row = &log_rows[i];
		bool part = strlen(name) >= 4 && strstr(row->name, name) != NULL;

		if ((part || same(row->name, near.word)) && !strstr(buf_str(&like), row->name))
			buf_printf(&like, "%s%s", like.len ? ", " : "", row->name);
	}
	/* What is no name at all is not said again: it may be anything. */
	err_set(&err, ERR_CONFIG, "explain event", name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-")] ? "what was typed" : name, "no event has this name%s%s%s  All of them: enrollctl log explain", like.len ? "; did you mean " : "",
		buf_str(&like), like.len ? "?" : ".");
	buf_clear(&like);
	return ctl_fail(c, &err);
}

static const char *event_of(const struct line *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (same(l->pairs[i].key, "event"))
			return l->pairs[i].value;
	return NULL;
}

static bool known(const char *name)
{
	for (size_t i = 0; i < log_rows_count; i++)
		if (same(log_rows[i].name, name))
			return true;
	return false;
}

/* The step of an enrollment has the history's event in `what`: that is explained as well. */
static const char *step_of(const char *name, const struct line *l)
{
	for (size_t i = 0; i < l->n && same(name, "enrollment"); i++)
		if (same(l->pairs[i].key, "what") && l->pairs[i].value[0])
			return l->pairs[i].value;
	return NULL;
}

static void put_rows(const char *name, const struct line *l)
{
	static const struct line nothing = {0};
	const char *step = step_of(name, l);

	for (size_t i = 0; i < log_rows_count; i++) {
		const struct log_row *row = &log_rows[i];

		if (same(row->name, name) && (l->n == 0 || !is_history(row)))
			put_row(row, l);
		else if (step && same(row->name, step) && is_history(row))
			put_row(row, &nothing);
	}
}

static int explain(struct ctl *c, const char *typed)
{
	const char *at = find_event(typed), *name = typed;
	struct line l = {0};
	int rc = 0;

	if (at && (!read_line(at, &l) || !(name = event_of(&l)))) {
		line_clear(&l);
		return ctl_usage(c, "out of memory");
	}
	if (!known(name)) {
		rc = unknown(c, name);
	} else if (c->json) {
		json_t *list = json_array();

		collect(list, name, &l);
		ctl_print_json(c, list);
		json_decref(list);
	} else {
		put_rows(name, &l);
	}
	line_clear(&l);
	return rc;
}

static int list_all(struct ctl *c)
{
	static const struct line nothing = {0};
	json_t *list;

	if (!c->json) {
		puts("In the log:");
		put_list(false);
		puts("\nIn the history (`enrollctl events`, `enrollctl show`):");
		put_list(true);
		return 0;
	}
	list = json_array();
	collect(list, NULL, &nothing);
	ctl_print_json(c, list);
	json_decref(list);
	return 0;
}

int ctl_log(struct ctl *c, int argc, char **argv)
{
	struct buf typed = BUF_INIT;
	int rc;

	if (argc < 1 || strcmp(argv[0], "explain") != 0)
		return ctl_usage(c, "log explain [EVENT|LINE]");
	if (argc == 1)
		return list_all(c);
	for (int i = 1; i < argc; i++)
		buf_printf(&typed, "%s%s", i > 1 ? " " : "", argv[i]);
	rc = typed.failed ? ctl_usage(c, "out of memory") : explain(c, buf_str(&typed));
	buf_clear(&typed);
	return rc;
}
