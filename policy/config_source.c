/*
 * policy/config_source.c - what libconfig 1.5 does not notice by itself, looked for before it reads the file:
 *
 *   - a number that does not fit an int is cut silently: "cap-per-day = 4294967296" would become 0, which means no cap;
 *   - an @include that names a folder ends the whole process in its scanner, also on a reload of a running daemon;
 *   - a comment that is never closed swallows the rest of the file without a word.
 *
 * This is no parser: it only steps over strings and comments the way libconfig's scanner does, and leaves every judgement of syntax
 * to the library.  Include files are looked for beside the main file, as libconfig is told to do.
 */
#include "config.h"

#include "policy/config_table.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (1024 * 1024)
#define DEPTH_MAX 10 /* libconfig's own limit */

struct scan {
	const char *path, *include_dir;
	const char *p, *end;
	unsigned line, depth;
	bool line_start; /* only white space since the last line end */
	struct err *err;
};

static bool scan_file(const char *path, const char *include_dir, unsigned depth, struct err *err);

static bool scan_bad(struct scan *s, const char *text)
{
	return err_set(s->err, ERR_CONFIG, "load configuration", s->path, "%s:%u: %s", s->path, s->line, text);
}

static bool starts(const struct scan *s, const char *word)
{
	size_t len = strlen(word);

	return (size_t)(s->end - s->p) >= len && memcmp(s->p, word, len) == 0;
}

static bool skip_comment(struct scan *s)
{
	if (starts(s, "/*")) {
		unsigned from = s->line;

		for (s->p += 2; s->p < s->end && !starts(s, "*/"); s->p++)
			s->line += *s->p == '\n';
		if (s->p >= s->end) {
			s->line = from;
			return scan_bad(s, "expected \"*/\" somewhere behind this \"/*\", found the end of the file");
		}
		s->p += 2;
		return true;
	}
	while (s->p < s->end && *s->p != '\n')
		s->p++;
	return true;
}

static void skip_string(struct scan *s)
{
	for (s->p++; s->p < s->end && *s->p != '"'; s->p++) {
		s->line += *s->p == '\n';
		if (*s->p == '\\' && s->p + 1 < s->end)
			s->line += *++s->p == '\n';
	}
	if (s->p < s->end)
		s->p++;
}

static bool is_word(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-' || c == '*' || c == '.';
}

/* A name or a number: only a number that does not fit is our business. */
static bool skip_word(struct scan *s)
{
	const char *from = s->p;
	char text[32] = "";
	char *rest;

	while (s->p < s->end && is_word(*s->p))
		s->p++;
	if (!(*from >= '0' && *from <= '9') && *from != '-')
		return true;
	if ((size_t)(s->p - from) >= sizeof(text))
		return scan_bad(s, "expected a smaller number");
	memcpy(text, from, (size_t)(s->p - from));
	errno = 0;
	long long value = strtoll(text, &rest, text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? 16 : 10);
	if (errno == ERANGE || value > INT_MAX || value < INT_MIN)
		return scan_bad(s, "expected a smaller number, found one that does not fit 32 bits");
	return true;
}

static bool follow_include(struct scan *s)
{
	const char *from, *end;
	char path[PATH_MAX];

	s->p += strlen("@include");
	from = memchr(s->p, '"', (size_t)(s->end - s->p));
	end = from ? memchr(from + 1, '"', (size_t)(s->end - from - 1)) : NULL;
	if (!end || memchr(s->p, '\n', (size_t)(end - s->p)))
		return scan_bad(s, "expected @include \"FILE\"");
	if (s->depth + 1 >= DEPTH_MAX)
		return scan_bad(s, "@include: too many files within files");
	from++;
	if (from < end && *from == '/')
		return scan_bad(s, "@include: expected a file name relative to the folder of this file, found an absolute one");
	if ((size_t)snprintf(path, sizeof(path), "%s/%.*s", s->include_dir, (int)(end - from), from) >= sizeof(path))
		return scan_bad(s, "@include: the file name is too long");
	s->p = end + 1;
	if (access(path, R_OK) != 0)
		return err_set(s->err, ERR_CONFIG, "load configuration", s->path, "%s:%u: @include: %s: %s", s->path, s->line, path,
			strerror(errno));
	return scan_file(path, s->include_dir, s->depth + 1, s->err);
}

static bool scan_text(struct scan *s)
{
	while (s->p < s->end) {
		bool fine = true, start = s->line_start;
		char c = *s->p;

		s->line_start = c == '\n' || (start && (c == ' ' || c == '\t'));
		if (c == '\0')
			return scan_bad(s, "expected text, found a NUL octet");
		if (c == '#' || starts(s, "//") || starts(s, "/*"))
			fine = skip_comment(s);
		else if (c == '"')
			skip_string(s);
		else if (start && starts(s, "@include"))
			fine = follow_include(s);
		else if (is_word(c))
			fine = skip_word(s);
		else {
			s->line += c == '\n';
			s->p++;
		}
		if (!fine)
			return false;
	}
	return true;
}

static bool scan_file(const char *path, const char *include_dir, unsigned depth, struct err *err)
{
	struct buf text = BUF_INIT;
	struct stat st;
	bool ok;

	if (stat(path, &st) != 0)
		return err_set(err, ERR_CONFIG, "load configuration", path, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_CONFIG, "load configuration", path, "%s: expected a file, found something else", path);
	ok = file_read(&text, path, FILE_MAX, err);
	if (ok) {
		struct scan s = {.path = path, .include_dir = include_dir, .p = buf_str(&text), .end = buf_str(&text) + text.len,
			.line = 1, .depth = depth, .line_start = true, .err = err};

		ok = scan_text(&s);
	}
	buf_clear(&text);
	return ok;
}

bool config_source_scan(const char *path, const char *include_dir, struct err *err)
{
	return scan_file(path, include_dir, 0, err);
}
