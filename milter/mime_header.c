/*
 * mime_header.c - the header of the entity that is signed, and the fields that are repeated in it (mime.h).
 */
#include "config.h"

#include "milter/mime.h"

#include <string.h>
#include <strings.h>

#define PROTECTED "hp=\"clear\""

bool mime_is_structure(const char *name)
{
	return strncasecmp(name, "Content-", 8) == 0;
}

/* ---- header protection (RFC 9788) ------------------------------------------------------------------------------------------ */

/* What mail programs show or act upon.  Traces, and whatever relays add or change, would only cause false alarms. */
static bool is_protected(const char *name)
{
	static const char *const fields[] = {"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
		"Followup-To", "Mail-Followup-To", "Comments", "Keywords", "Importance", "Organization", "User-Agent"};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (str_eq_nocase(name, fields[i]))
			return true;
	return false;
}

static size_t without_blanks(const char *value, size_t len)
{
	while (len > 0 && strchr(" \t\r\n", value[len - 1]) != NULL)
		len--;
	return len;
}

static void put_value(struct buf *out, const char *value, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (value[i] == '\n' && (i == 0 || value[i - 1] != '\r'))
			buf_putc(out, '\r');
		buf_putc(out, value[i]);
	}
}

/* Blanks at a line's end do not reach everybody. */
static void put_protected(struct buf *out, const struct header *h)
{
	buf_printf(out, "%s:", h->name);
	put_value(out, h->value, without_blanks(h->value, strlen(h->value)));
	buf_puts(out, "\r\n");
}

static void put_type_with_parameter(struct buf *out, const struct header *h)
{
	size_t len = without_blanks(h->value, strlen(h->value));

	while (len > 0 && h->value[len - 1] == ';')
		len = without_blanks(h->value, len - 1);
	buf_printf(out, "%s:", h->name);
	put_value(out, h->value, len);
	buf_puts(out, ";\r\n\t" PROTECTED "\r\n");
}

bool mime_takes_parameter(const char *value)
{
	bool quoted = false;
	char last = '\0';

	for (const char *p = value; *p != '\0'; p++) {
		if (quoted && *p == '\\' && p[1] != '\0')
			p++;
		else if (*p == '"')
			quoted = !quoted;
		if (strchr(" \t\r\n;", *p) == NULL)
			last = *p;
	}
	return strchr(value, '/') != NULL && strchr(value, '(') == NULL && !quoted && last != '=' && last != '\\';
}

/* A stray word further in front makes some give up before they come to the parameter; the type must be read as before, too. */
static bool parameter_is_read(const char *value)
{
	struct header field = {.name = (char *)"", .value = (char *)value};
	char before[128], after[128], parameter[128];
	struct buf text = BUF_INIT;
	bool ok;

	put_type_with_parameter(&text, &field);
	mime_content_type(value, before, NULL, NULL);
	mime_content_type(buf_str(&text) + 1, after, "hp", parameter);
	ok = !text.failed && strcmp(before, after) == 0 && strcmp(parameter, "clear") == 0;
	buf_clear(&text);
	return ok;
}

bool mime_can_protect(const struct headers *h, const char **why)
{
	const char *type = headers_get(h, "Content-Type", 0);
	struct buf text = BUF_INIT;
	struct mime_scan scan = {0};

	for (size_t i = 0; i < h->n; i++)
		if (is_protected(h->v[i].name))
			put_protected(&text, &h->v[i]);
	mime_scan_feed(&scan, text.data, text.len);
	mime_scan_finish(&scan);
	*why = text.failed					    ? "out of memory"
	       : scan.eight_bit					    ? "8-bit header"
	       : mime_scan_unsafe(&scan)			    ? "header with long lines or control characters"
	       : scan.trailing_space				    ? "header folded behind blanks"
	       : type && !mime_takes_parameter(type)		    ? "unusual Content-Type"
	       : type && strcasestr(type, "hp=")		    ? "its Content-Type speaks of header protection already"
	       : type && !parameter_is_read(type)		    ? "unusual Content-Type"
								    : NULL;
	buf_clear(&text);
	return *why == NULL;
}

/* ---- the entity's header ----------------------------------------------------------------------------------------------------- */

static void put_fields(struct buf *out, const struct headers *h, bool protect)
{
	for (size_t i = 0; i < h->n; i++) {
		if (protect && is_protected(h->v[i].name)) {
			put_protected(out, &h->v[i]);
		} else if (protect && str_eq_nocase(h->v[i].name, "Content-Type")) {
			put_type_with_parameter(out, &h->v[i]);
		} else if (mime_is_structure(h->v[i].name)) {
			buf_printf(out, "%s:", h->v[i].name);
			put_value(out, h->v[i].value, strlen(h->v[i].value));
			buf_puts(out, "\r\n");
		}
	}
}

void mime_entity_header_open(struct buf *out, const struct headers *h, bool protect)
{
	put_fields(out, h, protect);
	/* The parameter needs a field to be in; a charset is declared when the content is known. */
	if (protect && headers_count(h, "Content-Type") == 0)
		buf_puts(out, "Content-Type: text/plain;\r\n\t" PROTECTED "\r\n");
	buf_puts(out, "\r\n");
}

void mime_entity_header(struct buf *out, const struct headers *h, bool protect)
{
	put_fields(out, h, protect);
	if (headers_count(h, "Content-Type") == 0)
		buf_puts(out, protect ? "Content-Type: text/plain; charset=us-ascii;\r\n\t" PROTECTED "\r\n" : "Content-Type: text/plain; charset=us-ascii\r\n");
	buf_puts(out, "\r\n");
}
