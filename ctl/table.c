/*
 * ctl/table.c - texts and tables for people.
 *
 * Texts may hold what strangers wrote: control characters, octets that are no UTF-8 and marks that turn the direction of writing come out as '?'.
 * Widths are counted in cells of a terminal.  On a terminal everything fits its width: texts go on under themselves, and columns that have no room
 * stand below their row.  Elsewhere a row is one line.  Nothing is ever cut.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#define LINE_INDENT 17 /* of ctl_line's values */
#define BELOW 4        /* indent of columns below their row */
#define TEXT_LEAST 28  /* narrower than this no text is read with pleasure */
#define WIDTH_LEAST 40
#define GAP 2
#define COLUMNS_MOST 16
#define BAR 40

size_t ctl_width(void)
{
	static size_t width = SIZE_MAX;
	struct winsize size;

	if (width == SIZE_MAX)
		width = !isatty(STDOUT_FILENO) ? 0 : ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= WIDTH_LEAST ? size.ws_col : 80;
	return width;
}

/* ---- texts ---------------------------------------------------------------------------------------------------------------- */

static bool is_unwelcome(wchar_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

/* The next character of s: how many octets it has, how to show it, how many cells that takes. */
static size_t glyph(const char *s, const char **shown, size_t *shown_len, size_t *cells)
{
	mbstate_t state = {0};
	wchar_t c;
	size_t n = mbrtowc(&c, s, strnlen(s, 4), &state);
	int w;

	if (n == 0 || n > 4 || is_unwelcome(c)) {
		*shown = "?";
		*shown_len = *cells = 1;
		return n == 0 || n > 4 ? 1 : n;
	}
	w = wcwidth(c);
	*shown = s;
	*shown_len = n;
	*cells = w < 0 ? 1 : (size_t)w;
	return n;
}

size_t ctl_cells(const char *s)
{
	const char *shown;
	size_t len, cells, sum = 0;

	for (; *s; sum += cells)
		s += glyph(s, &shown, &len, &cells);
	return sum;
}

/* Whatever the locale: by octets of UTF-8, those of is_unwelcome. */
bool ctl_plain(const char *s)
{
	if (!text_is_utf8(s, strlen(s)))
		return false;
	for (const unsigned char *p = (const unsigned char *)s; *p; p++)
		if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0) ||
			(*p == 0xe2 && p[1] == 0x80 && (p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xa8 && p[2] <= 0xae))) || (*p == 0xe2 && p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9))
			return false;
	return true;
}

static void put_word(const char *s, const char *end)
{
	const char *shown;
	size_t len, cells;

	while (s < end) {
		s += glyph(s, &shown, &len, &cells);
		fwrite(shown, 1, len, stdout);
	}
}

static size_t word_cells(const char *s, const char *end)
{
	const char *shown;
	size_t len, cells, sum = 0;

	for (; s < end; sum += cells)
		s += glyph(s, &shown, &len, &cells);
	return sum;
}

static void put_spaces(size_t n)
{
	while (n-- > 0)
		putchar(' ');
}

static void new_line(size_t indent)
{
	putchar('\n');
	put_spaces(indent);
}

/* From `column` on; further lines are indented.  Lines are broken at blanks, with a width. */
static void flow(const char *s, size_t indent, size_t column, size_t width)
{
	bool first = true;

	while (*s) {
		size_t blanks = strspn(s, " "), cells;
		const char *word = s + blanks, *end = word + strcspn(word, " \n");

		cells = word_cells(word, end);
		if (width && !first && column + blanks + cells > width) {
			column = indent + cells <= width ? indent : cells < width ? width - cells : 0; /* the longest words stand further left */
			new_line(column);
		} else {
			put_spaces(blanks);
			column += blanks;
		}
		put_word(word, end);
		column += cells;
		first = false;
		if (*end == '\n' && end[1]) {
			new_line(indent);
			column = indent;
			first = true;
		}
		s = *end == '\n' ? end + 1 : end;
	}
}

/* Further lines of a text stand under its first one. */
void ctl_put(const char *s)
{
	if (s)
		flow(s, LINE_INDENT, 0, 0);
}

void ctl_text(const char *s, size_t indent)
{
	if (s)
		flow(s, indent, indent, ctl_width());
}

void ctl_sentence(const char *fmt, ...)
{
	char *s = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		s = NULL;
	va_end(ap);
	ctl_text(s, 0);
	puts("");
	free(s);
}

void ctl_cell(const char *s, size_t width)
{
	size_t cells = ctl_cells(s);

	put_word(s, s + strlen(s));
	put_spaces(width > cells ? width - cells : 0);
}

void ctl_line(json_t *o, const char *key, const char *label)
{
	json_t *v = json_object_get(o, key);
	const char *s = json_string_value(v);

	if (s && ctl_width() && !strchr(s, ' ') && LINE_INDENT + ctl_cells(s) > ctl_width()) {
		printf("  %s\n", label); /* one long word, a fingerprint for example: most of it fits */
		put_spaces(BELOW);
		ctl_text(s, BELOW);
		puts("");
	} else if (s) {
		printf("  %-14s ", label);
		ctl_text(s, LINE_INDENT);
		puts("");
	} else if (json_is_integer(v) && json_integer_value(v)) {
		printf("  %-14s %lld\n", label, (long long)json_integer_value(v));
	}
}

/* ---- tables ------------------------------------------------------------------------------------------------------------------ */

void ctl_table_add(struct ctl_table *t, const char *text)
{
	if (!strlist_add(&t->cells, text ? text : ""))
		t->failed = true;
}

void ctl_table_number(struct ctl_table *t, long long n)
{
	char text[24];

	snprintf(text, sizeof text, "%lld", n);
	ctl_table_add(t, text);
}

static bool is_number(const char *title)
{
	return title[0] == '>';
}

static const char *title_text(const char *title)
{
	return title + is_number(title);
}

struct layout {
	size_t columns, first; /* so many in the row itself; the last column is one of those when it has room */
	size_t widths[COLUMNS_MOST];
	size_t used;           /* where the last column begins */
};

/* How much room the last column wants: for its longest word, and to be read; not more than it has texts for. */
static size_t room_for_text(const struct ctl_table *t, const struct layout *l)
{
	size_t longest = TEXT_LEAST;

	for (size_t i = l->columns - 1; i < t->cells.n; i += l->columns)
		for (const char *s = t->cells.v[i], *end; *s; s = end + strspn(end, " \n")) {
			end = s + strcspn(s, " \n");
			longest = word_cells(s, end) > longest ? word_cells(s, end) : longest;
		}
	return l->widths[l->columns - 1] < longest ? l->widths[l->columns - 1] : longest;
}

static void measure(const struct ctl_table *t, struct layout *l)
{
	size_t cells, width = ctl_width();

	for (l->columns = 0; l->columns < COLUMNS_MOST && t->titles[l->columns]; l->columns++)
		l->widths[l->columns] = t->least ? t->least[l->columns] : ctl_cells(title_text(t->titles[l->columns]));
	for (size_t i = 0; i < t->cells.n; i++) {
		cells = ctl_cells(t->cells.v[i]);
		if (cells > l->widths[i % l->columns])
			l->widths[i % l->columns] = cells;
	}
	l->used = 0;
	for (size_t k = 0; k + 1 < l->columns; k++)
		l->used += l->widths[k] + GAP;
	l->first = l->columns;
	if (!width || l->used + room_for_text(t, l) <= width)
		return;
	l->used = 0;
	for (l->first = 0; l->first + 1 < l->columns && (l->first == 0 || l->used + l->widths[l->first] <= width); l->first++)
		l->used += l->widths[l->first] + GAP;
}

static void put_below(const struct layout *l, char *const *row)
{
	struct buf text = BUF_INIT;

	for (size_t k = l->first; k < l->columns; k++)
		if (row[k][0])
			buf_printf(&text, "%s%s", text.len ? "  " : "", row[k]);
	if (text.len) {
		new_line(BELOW);
		ctl_text(buf_str(&text), BELOW);
	}
	buf_clear(&text);
}

/* Nothing follows on the line behind the last of its cells that is not empty. */
static size_t row_end(const struct layout *l, char *const *row)
{
	size_t end = l->first;

	while (end > 1 && !row[end - 1][0])
		end--;
	return end;
}

static void put_row(const struct ctl_table *t, const struct layout *l, char *const *row)
{
	size_t end = row_end(l, row), pad;

	for (size_t k = 0; k < end; k++) {
		pad = l->widths[k] - ctl_cells(row[k]);
		if (is_number(t->titles[k]))
			put_spaces(pad);
		if (k + 1 == l->columns)
			flow(row[k], l->used, l->used, ctl_width());
		else
			put_word(row[k], row[k] + strlen(row[k]));
		if (k + 1 < end)
			put_spaces((is_number(t->titles[k]) ? 0 : pad) + GAP);
	}
	if (l->first < l->columns)
		put_below(l, row);
	puts("");
}

void ctl_bar(FILE *to, long long done, long long of)
{
	long long full = of > 0 ? done * BAR / of : BAR;

	fputc('[', to);
	for (long long i = 0; i < BAR; i++)
		fputc(i < full ? '#' : '.', to);
	fputs("] ", to);
}

void ctl_progress(bool on, long long done, long long of, const char *what)
{
	if (!on)
		return;
	fputs("\r\033[K", stderr);
	if (what && of)
		ctl_bar(stderr, done, of);
	if (what && of)
		fprintf(stderr, "%lld of %lld %s", done, of, what);
	else if (what)
		fprintf(stderr, "%lld %s", done, what);
	fflush(stderr);
}

void ctl_table_titles(const struct ctl_table *t)
{
	const char *row[COLUMNS_MOST];
	struct layout l;

	measure(t, &l);
	for (size_t k = 0; k < l.columns; k++)
		row[k] = title_text(t->titles[k]);
	put_row(t, &l, (char *const *)row);
}

void ctl_table_rows(struct ctl_table *t)
{
	struct layout l;

	measure(t, &l);
	for (size_t i = 0; i + l.columns <= t->cells.n; i += l.columns)
		put_row(t, &l, t->cells.v + i);
	if (t->failed)
		puts("(out of memory: rows are missing)");
	strlist_clear(&t->cells);
}

void ctl_table_print(struct ctl_table *t)
{
	ctl_table_titles(t);
	ctl_table_rows(t);
}
