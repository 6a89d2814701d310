/*
 * mime_plan.c - read the structure of an entity with GMime and say what has to change in it (mime_plan.h).
 *
 * The hard idea: a signature covers octets, so the safest part is one that nobody wrote anew.  GMime's writer would fold headers and
 * rebuild multiparts its own way; its parser on the other hand tells where every header field and every leaf's content lie.  From those
 * places a list of edits is made, and what no edit names stays as it came, to the octet.
 *
 * A trap: GMime takes the line end before a delimiter to be of the same kind as the one behind it.  With a bare LF in one of the two
 * places its content is an octet too short or too long; leaf_end() looks for itself.
 */
#include "config.h"

#include "milter/mime_plan.h"

#include <stdlib.h>
#include <string.h>

#include "milter/mime.h"

#define OP "re-encode a mail"
#define DEPTH_MAX 100
#define FIELD_MAX (1024 * 1024)
#define PARAMETER_NAME_MAX 30

/* A header field of a part: where it lies, with its line end. */
struct field {
	GMimeHeader *header;
	const char *name;  /* GMime's */
	const char *value; /* GMime's, raw */
	uint64_t at, end;
};

struct planner {
	struct mime_plan *plan;
	struct mime_source *source;
	struct err *err;
	GMimeFormatOptions *format;
};

/* One object of the tree while it is looked at. */
struct part {
	GMimeObject *object;
	GMimeContentType *type;
	struct field *fields;
	size_t n;
	uint64_t content, end; /* of a leaf */
	bool leaf, top;
	/* what is to be done */
	const char *encoding; /* new Content-Transfer-Encoding; NULL = as it is */
	const char *charset;  /* to be declared; NULL = nothing to add */
};

static bool refuse(struct planner *p, const char *why)
{
	return err_set(p->err, ERR_POLICY, OP, "", "The mail cannot be made safe for signing: %s.", why);
}

/* ---- the list of edits ----------------------------------------------------------------------------------------------- */

static struct mime_edit *add_edit(struct planner *p, int kind, uint64_t at, uint64_t end)
{
	struct mime_plan *plan = p->plan;

	if (plan->n == plan->size) {
		size_t size = plan->size ? plan->size * 2 : 16;
		struct mime_edit *v = reallocarray(plan->v, size, sizeof(*v));

		if (v == NULL) {
			err_nomem(p->err, OP);
			return NULL;
		}
		plan->v = v;
		plan->size = size;
	}
	memset(&plan->v[plan->n], 0, sizeof(*plan->v));
	plan->v[plan->n].kind = kind;
	plan->v[plan->n].at = at;
	plan->v[plan->n].length = end - at;
	return &plan->v[plan->n++];
}

static bool add_zone(struct planner *p, uint64_t at, enum mime_zone zone)
{
	struct mime_edit *e = add_edit(p, EDIT_ZONE, at, at);

	if (e != NULL)
		e->zone = zone;
	return e != NULL;
}

/* Takes the text over. */
static bool add_text(struct planner *p, uint64_t at, uint64_t end, struct buf *text)
{
	struct mime_edit *e = text->failed ? NULL : add_edit(p, EDIT_TEXT, at, end);

	if (e != NULL)
		e->text = buf_take(text);
	else
		buf_clear(text);
	return (e != NULL && e->text != NULL) || err_nomem(p->err, OP);
}

void mime_plan_clear(struct mime_plan *plan)
{
	for (size_t i = 0; i < plan->n; i++)
		free(plan->v[i].text);
	free(plan->v);
	memset(plan, 0, sizeof(*plan));
}

/* ---- looking at the original octets ---------------------------------------------------------------------------------- */

static bool scan_range(struct planner *p, uint64_t at, uint64_t end, struct mime_scan *scan)
{
	char piece[16384];
	size_t got;

	for (; at < end; at += got) {
		size_t len = end - at < sizeof(piece) ? (size_t)(end - at) : sizeof(piece);

		if (!mime_source_read(p->source, at, piece, len, &got, p->err))
			return false;
		mime_scan_feed(scan, piece, got);
	}
	mime_scan_finish(scan);
	return true;
}

/* Up to `want` octets from `at`; fewer at the end of the entity, none in front of it. */
static bool peek(struct planner *p, uint64_t at, char *out, size_t want, size_t *got)
{
	size_t part;

	for (*got = 0; *got < want; *got += part) {
		if (!mime_source_read(p->source, at + *got, out + *got, want - *got, &part, p->err))
			return false;
		if (part == 0)
			break;
	}
	return true;
}

/* Where the field of this name begins: at the place GMime names, or some lines on, as GMime counts lines in front that are no fields as
 * part of it. */
static bool field_start(struct planner *p, const char *name, uint64_t *at)
{
	size_t len = strlen(name), got, i, line = 0;
	char text[4096];

	if (!peek(p, *at, text, sizeof(text), &got))
		return false;
	for (i = 0; len > 0 && i + len < got; i++) {
		if (i == line && memcmp(text + i, name, len) == 0 && strchr(": \t", text[i + len]) != NULL) {
			*at += line;
			return true;
		}
		if (text[i] == '\n')
			line = i + 1;
	}
	return refuse(p, "the header of a part cannot be read");
}

/* The end of the field that begins at `at`: behind the first line end that no blank follows (RFC 5322 section 2.2.3). */
static bool field_end(struct planner *p, uint64_t at, uint64_t *end)
{
	char piece[1024];
	bool line_end = false;
	size_t got;

	for (*end = at; *end - at <= FIELD_MAX; *end += got) {
		if (!mime_source_read(p->source, *end, piece, sizeof(piece), &got, p->err))
			return false;
		if (got == 0)
			return true;
		for (size_t i = 0; i < got; i++) {
			if (line_end && piece[i] != ' ' && piece[i] != '\t') {
				*end += i;
				return true;
			}
			line_end = piece[i] == '\n';
		}
	}
	return refuse(p, "a header field of a part is larger than 1 MiB");
}

/* Where a leaf's content ends: in front of the line end that belongs to the delimiter.  GMime's idea of it may be off by one. */
static bool leaf_end(struct planner *p, uint64_t content, uint64_t *end)
{
	uint64_t delimiter, from = *end > content + 2 ? *end - 2 : content;
	char near[8];
	size_t got;

	if (*end >= mime_source_size(p->source))
		return true;
	if (!peek(p, from, near, sizeof(near), &got))
		return false;
	/* The delimiter line begins one or two octets behind GMime's end, or right there when the content is empty. */
	for (delimiter = *end; delimiter <= *end + 2; delimiter++) {
		size_t i = (size_t)(delimiter - from);

		if (i + 2 > got || memcmp(near + i, "--", 2) != 0 || (i > 0 && near[i - 1] != '\n'))
			continue;
		*end = delimiter;
		if (i > 0 && *end > content)
			*end -= 1 + (i > 1 && near[i - 2] == '\r' && *end - 1 > content);
		return true;
	}
	return refuse(p, "the end of a part cannot be told");
}

/* Where the empty line in front of a leaf's content begins; `content` itself when there is none. */
static bool empty_line(struct planner *p, uint64_t content, uint64_t *at)
{
	char before[3];
	size_t back = content < sizeof(before) ? (size_t)content : sizeof(before), got;

	*at = content;
	if (!peek(p, content - back, before, back, &got))
		return false;
	if (got < 1 || before[got - 1] != '\n')
		return true;
	if (got >= 2 && before[got - 2] == '\r')
		*at = got == 2 || before[got - 3] == '\n' ? content - 2 : content;
	else
		*at = got == 1 || before[got - 2] == '\n' ? content - 1 : content;
	return true;
}

/* ---- one object of the tree ------------------------------------------------------------------------------------------ */

static bool read_fields(struct planner *p, struct part *part)
{
	GMimeHeaderList *list = g_mime_object_get_header_list(part->object);
	int n = g_mime_header_list_get_count(list);

	if (n == 0)
		return true;
	part->fields = calloc((size_t)n, sizeof(*part->fields));
	if (part->fields == NULL)
		return err_nomem(p->err, OP);
	for (int i = 0; i < n; i++) {
		GMimeHeader *header = g_mime_header_list_get_header_at(list, i);
		gint64 offset = g_mime_header_get_offset(header);
		struct field *f = &part->fields[part->n];

		if (offset < 0)
			continue;
		f->header = header;
		f->name = g_mime_header_get_name(header);
		f->value = g_mime_header_get_raw_value(header);
		f->at = (uint64_t)offset;
		if (f->value == NULL || !field_start(p, g_mime_header_get_raw_name(header), &f->at) || !field_end(p, f->at, &f->end))
			return false;
		part->n++;
	}
	return true;
}

static const struct field *find_field(const struct part *part, const char *name, size_t *count)
{
	const struct field *found = NULL;

	*count = 0;
	for (size_t i = 0; i < part->n; i++) {
		if (!str_eq_nocase(part->fields[i].name, name))
			continue;
		(*count)++;
		if (found == NULL)
			found = &part->fields[i];
	}
	return found;
}

static bool composite(const struct part *part)
{
	return g_mime_content_type_is_type(part->type, "multipart", "*") || g_mime_content_type_is_type(part->type, "message", "*");
}

static bool read_leaf(struct planner *p, struct part *part)
{
	GMimeDataWrapper *content = g_mime_part_get_content(GMIME_PART(part->object));
	GMimeStream *stream = content != NULL ? g_mime_data_wrapper_get_stream(content) : NULL;

	part->leaf = true;
	/* A part that ends within its header has no content at all: its end is taken for both. */
	if (stream == NULL) {
		part->content = part->n > 0 ? part->fields[part->n - 1].end : mime_source_size(p->source);
		part->end = part->content;
		return true;
	}
	part->content = (uint64_t)stream->bound_start;
	part->end = stream->bound_end < 0 ? mime_source_size(p->source) : (uint64_t)stream->bound_end;
	if (part->end < part->content)
		part->end = part->content;
	return leaf_end(p, part->content, &part->end);
}

/* ---- what a leaf needs ----------------------------------------------------------------------------------------------- */

/* Is the content UTF-8, and if not, is it free of C1 controls (then ISO 8859-1 says it all)? */
struct text_look {
	bool utf8, c1;
	char carry[4];
	size_t carried;
};

static void look_at_text(struct text_look *t, const char *data, size_t len)
{
	char joined[16384 + 4];
	const gchar *end;

	for (size_t i = 0; i < len; i++)
		t->c1 |= (data[i] & 0xe0) == 0x80;
	memcpy(joined, t->carry, t->carried);
	memcpy(joined + t->carried, data, len);
	len += t->carried;
	/* To GLib no text holds a NUL; mail may, and is no less UTF-8 for it. */
	for (size_t i = 0; i < len; i++) {
		if (joined[i] == '\0')
			joined[i] = ' ';
	}
	t->carried = 0;
	if (!t->utf8 || g_utf8_validate(joined, (gssize)len, &end))
		return;
	t->carried = len - (size_t)(end - joined);
	/* A character may be cut by the end of the piece; anything else is none. */
	if (t->carried > 3 || g_utf8_get_char_validated(end, (gssize)t->carried) != (gunichar)-2)
		t->utf8 = false;
	if (t->utf8)
		memcpy(t->carry, end, t->carried);
	else
		t->carried = 0;
}

static bool guess_charset(struct planner *p, const struct part *part, const char **charset)
{
	struct text_look t = {.utf8 = true};
	char piece[16384];
	size_t got;

	for (uint64_t at = part->content; at < part->end; at += got) {
		size_t len = part->end - at < sizeof(piece) ? (size_t)(part->end - at) : sizeof(piece);

		if (!mime_source_read(p->source, at, piece, len, &got, p->err))
			return false;
		look_at_text(&t, piece, got);
	}
	*charset = t.utf8 && t.carried == 0 ? "utf-8" : t.c1 ? "windows-1252" : "iso-8859-1";
	return true;
}

/* 8-bit text whose charset nobody named has to get one, as its octets are about to be hidden behind an encoding.  Text that is UTF-8
 * by its form is UTF-8.  Else ISO 8859-1, or its superset Windows-1252 when there are octets that only the latter gives a meaning to: what
 * mail programs assume as well.  Only for text/plain: HTML, XML and their like name their charset inside, and MIME's word would overrule
 * that. */
static bool charset_to_declare(struct planner *p, struct part *part)
{
	const char *guess;

	if (!g_mime_content_type_is_type(part->type, "text", "*") || g_mime_content_type_get_parameter(part->type, "charset") != NULL)
		return true;
	if (!guess_charset(p, part, &guess))
		return false;
	if (strcmp(guess, "utf-8") == 0 || g_mime_content_type_is_type(part->type, "text", "plain"))
		part->charset = guess;
	return true;
}

/* Quoted-printable keeps text of Latin scripts readable; other scripts are much shorter as base64.  GMime's encoder takes a bare LF for a
 * line end, so content with one (or a CR or NUL) is base64, which keeps every octet. */
static GMimeContentEncoding choose_encoding(const struct part *part, const struct mime_scan *scan)
{
	bool text = g_mime_content_type_is_type(part->type, "text", "*");

	if (scan->nul || scan->bare_cr || scan->bare_lf || scan->high * 3 > scan->octets || (scan->eight_bit && !text))
		return GMIME_CONTENT_ENCODING_BASE64;
	return GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE;
}

/* Sets part->encoding when the content has to be encoded, or when its encoding is declared as more than it is. */
static bool judge_leaf(struct planner *p, struct part *part, GMimeContentEncoding *from, GMimeContentEncoding *to)
{
	size_t encodings, types;
	const struct field *field = find_field(part, "Content-Transfer-Encoding", &encodings);
	bool encoded, unsafe;
	struct mime_scan scan = {0};

	*from = field != NULL ? g_mime_content_encoding_from_string(field->value) : GMIME_CONTENT_ENCODING_DEFAULT;
	*to = GMIME_CONTENT_ENCODING_DEFAULT;
	encoded = *from == GMIME_CONTENT_ENCODING_BASE64 || *from == GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE ||
		  *from == GMIME_CONTENT_ENCODING_UUENCODE;
	if (!scan_range(p, part->content, part->end, &scan))
		return false;
	unsafe = mime_scan_unsafe(&scan);
	if (composite(part))
		return unsafe ? refuse(p, "a part of type message or multipart that cannot be encoded holds 8-bit data, long lines or "
					  "control characters")
			      : true;
	/* Blanks at line ends belong to the content only where it is not encoded. */
	if (unsafe || (scan.from_line && *from != GMIME_CONTENT_ENCODING_BASE64) || (scan.trailing_space && !encoded)) {
		find_field(part, "Content-Type", &types);
		if (encodings > 1 || types > 1)
			return refuse(p, "a part that needs encoding has two Content-Type or Content-Transfer-Encoding fields");
		if (*from == GMIME_CONTENT_ENCODING_UUENCODE)
			return unsafe ? refuse(p, "a part in uuencode holds 8-bit data, long lines or control characters") : true;
		*to = encoded ? *from : choose_encoding(part, &scan);
		part->encoding = g_mime_content_encoding_to_string(*to);
		return encoded || !scan.eight_bit || charset_to_declare(p, part);
	}
	if (*from == GMIME_CONTENT_ENCODING_8BIT || *from == GMIME_CONTENT_ENCODING_BINARY)
		part->encoding = "7bit";
	return true;
}

/* ---- header fields --------------------------------------------------------------------------------------------------- */

/* GMime 3.2 folds a parameter for ever when its name leaves no room for a piece of its value on a line; and an empty value, which is what it
 * makes of raw octets that it cannot read, is written without quotes, so that nobody reads the parameters behind it. */
static bool can_be_written(GMimeParamList *list)
{
	for (int i = 0; i < g_mime_param_list_length(list); i++) {
		GMimeParam *parameter = g_mime_param_list_get_parameter_at(list, i);
		const char *name = g_mime_param_get_name(parameter), *value = g_mime_param_get_value(parameter);
		size_t len = strlen(name);

		for (size_t k = 0; k < len; k++) {
			if (name[k] <= ' ' || name[k] > '~')
				return false;
		}
		if (value == NULL || value[0] == '\0' || len == 0 || len > PARAMETER_NAME_MAX)
			return false;
	}
	return true;
}

/* GMime takes what it cannot read for application/octet-stream, which would hide a text from its readers. */
static bool type_was_read(GMimeContentType *type, const char *value)
{
	return !g_mime_content_type_is_type(type, "application", "octet-stream") || strcasestr(value, "octet-stream") != NULL;
}

/* A field written anew, without name; NULL when it cannot be written: folded, 7-bit (RFC 2231 for parameters, RFC 2047 for the rest),
 * ending in CRLF. */
static char *format_field(struct planner *p, const struct field *f, const char *charset)
{
	char *unfolded = g_mime_utils_header_unfold(f->value), *decoded, *formatted = NULL;

	if (str_eq_nocase(f->name, "Content-Type")) {
		GMimeContentType *type = g_mime_content_type_parse(NULL, unfolded);

		if (charset != NULL)
			g_mime_content_type_set_parameter(type, "charset", charset);
		if (type_was_read(type, unfolded) && can_be_written(g_mime_content_type_get_parameters(type)))
			formatted = g_mime_content_type_encode(type, p->format);
		g_object_unref(type);
	} else if (str_eq_nocase(f->name, "Content-Disposition")) {
		GMimeContentDisposition *disposition = g_mime_content_disposition_parse(NULL, unfolded);

		if (can_be_written(g_mime_content_disposition_get_parameters(disposition)))
			formatted = g_mime_content_disposition_encode(disposition, p->format);
		g_object_unref(disposition);
	} else {
		decoded = g_mime_utils_header_decode_text(NULL, unfolded);
		formatted = g_mime_header_format_default(f->header, p->format, decoded, "utf-8");
		g_free(decoded);
	}
	g_free(unfolded);
	return formatted;
}

static bool rewrite_field(struct planner *p, const struct field *f, const char *charset)
{
	struct buf text = BUF_INIT;
	char *formatted = format_field(p, f, charset);

	if (formatted == NULL)
		return refuse(p, "a header field of a part cannot be written in 7-bit");
	buf_printf(&text, "%s:", f->name);
	for (const char *c = formatted; *c != '\0'; c++) {
		if (*c == '\n' && (c == formatted || c[-1] != '\r'))
			buf_putc(&text, '\r');
		buf_putc(&text, *c);
	}
	if (text.len < 2 || memcmp(text.data + text.len - 2, "\r\n", 2) != 0)
		buf_puts(&text, "\r\n");
	g_free(formatted);
	return add_text(p, f->at, f->end, &text);
}

/* Content-Type with a charset added at its end: everything the sender wrote stays, if there is a type in it at all. */
static bool declare_charset(struct planner *p, const struct field *f, const char *charset)
{
	size_t len = strlen(f->value);
	struct buf text = BUF_INIT;

	if (!mime_takes_parameter(f->value))
		return rewrite_field(p, f, charset);
	while (len > 0 && strchr(" \t\r\n;", f->value[len - 1]) != NULL)
		len--;
	buf_printf(&text, "%s:", f->name);
	for (size_t i = 0; i < len; i++) {
		if (f->value[i] == '\n' && (i == 0 || f->value[i - 1] != '\r'))
			buf_putc(&text, '\r');
		buf_putc(&text, f->value[i]);
	}
	buf_printf(&text, ";\r\n\tcharset=%s\r\n", charset);
	return add_text(p, f->at, f->end, &text);
}

/* A delimiter cannot be written in another way, so the parameter that names it must come through a new folding as it was. */
static bool plain_boundary(const struct part *part)
{
	const char *boundary = g_mime_content_type_get_parameter(part->type, "boundary");
	size_t len = boundary != NULL ? strlen(boundary) : 0;

	for (size_t i = 0; i < len; i++) {
		if (boundary[i] < ' ' || boundary[i] > '~')
			return false;
	}
	return len > 0 && len <= 70;
}

/* Content-Transfer-Encoding: the new one, or, where the field itself is unsafe, what GMime took it for. */
static bool plan_encoding_field(struct planner *p, struct part *part, const struct field *f, bool unsafe)
{
	GMimeContentEncoding declared = g_mime_content_encoding_from_string(f->value);
	bool more_than_7bit = declared == GMIME_CONTENT_ENCODING_8BIT || declared == GMIME_CONTENT_ENCODING_BINARY;
	const char *name = part->encoding;
	struct buf text = BUF_INIT;

	if (name != NULL && strcmp(name, "7bit") == 0 && !more_than_7bit)
		name = NULL;
	if (name == NULL && unsafe)
		name = declared == GMIME_CONTENT_ENCODING_DEFAULT ? "7bit" : g_mime_content_encoding_to_string(declared);
	if (name == NULL)
		return true;
	buf_printf(&text, "%s: %s\r\n", f->name, name);
	return add_text(p, f->at, f->end, &text);
}

static bool plan_field(struct planner *p, struct part *part, const struct field *f)
{
	struct mime_scan scan = {0};
	bool unsafe;

	if (!scan_range(p, f->at, f->end, &scan))
		return false;
	unsafe = scan.eight_bit || scan.nul || scan.bare_cr || scan.long_line;
	if (str_eq_nocase(f->name, "Content-Transfer-Encoding"))
		return plan_encoding_field(p, part, f, unsafe);
	if (unsafe) {
		if (str_eq_nocase(f->name, "Content-Type") && GMIME_IS_MULTIPART(part->object) && !plain_boundary(part))
			return refuse(p, "a multipart's boundary is too long or not US-ASCII");
		return rewrite_field(p, f, str_eq_nocase(f->name, "Content-Type") ? part->charset : NULL);
	}
	if (part->charset != NULL && str_eq_nocase(f->name, "Content-Type"))
		return declare_charset(p, f, part->charset);
	return true;
}

/* Fields that the part does not have yet, behind those it has. */
static bool plan_new_fields(struct planner *p, struct part *part)
{
	struct buf text = BUF_INIT;
	uint64_t at;
	size_t count;

	if (find_field(part, "Content-Type", &count) == NULL && (part->charset != NULL || (part->top && part->leaf)))
		buf_printf(&text, "Content-Type: text/plain; charset=%s\r\n", part->charset != NULL ? part->charset : "us-ascii");
	if (part->encoding != NULL && find_field(part, "Content-Transfer-Encoding", &count) == NULL)
		buf_printf(&text, "Content-Transfer-Encoding: %s\r\n", part->encoding);
	if (text.len == 0 && !text.failed)
		return true;
	if (part->n > 0) {
		at = part->fields[part->n - 1].end;
	} else {
		if (!empty_line(p, part->content, &at)) {
			buf_clear(&text);
			return false;
		}
		if (at == part->content)
			buf_puts(&text, "\r\n");
	}
	return add_text(p, at, at, &text);
}

/* ---- the tree -------------------------------------------------------------------------------------------------------- */

/* A comment zone ends where a part begins.  That is certain only when a delimiter line stands right in front of it: between the two
 * may be what GMime took for a broken header and others show as text, which must not be changed. */
static bool end_comment(struct planner *p, uint64_t start)
{
	char before[256];
	size_t back = start < sizeof(before) ? (size_t)start : sizeof(before), got, line;

	if (!peek(p, start - back, before, back, &got))
		return false;
	for (line = got > 0 ? got - 1 : 0; line > 0 && before[line - 1] != '\n'; line--)
		;
	if (got - line < 2 || memcmp(before + line, "--", 2) != 0) {
		for (size_t i = p->plan->n; i-- > 0;) {
			if (p->plan->v[i].kind != EDIT_ZONE)
				continue;
			if (p->plan->v[i].zone == ZONE_COMMENT)
				p->plan->v[i].zone = ZONE_STRUCTURE;
			break;
		}
	}
	return add_zone(p, start, ZONE_STRUCTURE);
}

static bool plan_fields(struct planner *p, struct part *part)
{
	uint64_t start = part->n > 0 ? part->fields[0].at : part->content;

	if (part->n == 0 && part->leaf && !empty_line(p, part->content, &start))
		return false;
	if (!part->top && (part->n > 0 || part->leaf) && !end_comment(p, start))
		return false;
	for (size_t i = 0; i < part->n; i++) {
		if (!plan_field(p, part, &part->fields[i]))
			return false;
	}
	return plan_new_fields(p, part);
}

static bool plan_leaf(struct planner *p, struct part *part)
{
	GMimeContentEncoding from, to;
	struct mime_edit *e;

	if (!read_leaf(p, part) || !judge_leaf(p, part, &from, &to) || !plan_fields(p, part))
		return false;
	if (to != GMIME_CONTENT_ENCODING_DEFAULT) {
		e = add_edit(p, EDIT_ENCODE, part->content, part->end);
		if (e == NULL)
			return false;
		e->from = from;
		e->to = to;
	}
	return add_zone(p, part->end, ZONE_COMMENT);
}

/* A composite part's own header may be changed, but what is inside stays under protection until the next part begins. */
static bool plan_composite(struct planner *p, struct part *part, bool protect)
{
	size_t count;
	const struct field *encoding = find_field(part, "Content-Transfer-Encoding", &count);
	GMimeContentEncoding declared =
		encoding != NULL ? g_mime_content_encoding_from_string(encoding->value) : GMIME_CONTENT_ENCODING_DEFAULT;

	if (declared == GMIME_CONTENT_ENCODING_8BIT || declared == GMIME_CONTENT_ENCODING_BINARY)
		part->encoding = "7bit";
	if (!plan_fields(p, part))
		return false;
	/* Without fields (in a multipart/digest) its beginning is not known: then the delimiter in front of it is protected as well. */
	return add_zone(p,
		part->n > 0	 ? part->fields[part->n - 1].end
		: p->plan->n > 0 ? p->plan->v[p->plan->n - 1].at + p->plan->v[p->plan->n - 1].length
				 : 0,
		protect ? ZONE_PROTECTED : ZONE_COMMENT);
}

static bool plan_object(struct planner *p, GMimeObject *object, unsigned depth);

static bool plan_multipart(struct planner *p, struct part *part, unsigned depth)
{
	GMimeMultipart *multipart = GMIME_MULTIPART(part->object);
	bool protect = g_mime_content_type_is_type(part->type, "multipart", "signed") ||
		       g_mime_content_type_is_type(part->type, "multipart", "encrypted");
	int n = g_mime_multipart_get_count(multipart);

	/* Where no part was found all of the content would be a comment: it is not, to the next parser. */
	if (!plan_composite(p, part, protect || n == 0))
		return false;
	for (int i = 0; i < n && !protect; i++) {
		if (!plan_object(p, g_mime_multipart_get_part(multipart, i), depth + 1))
			return false;
	}
	return true;
}

static bool plan_object(struct planner *p, GMimeObject *object, unsigned depth)
{
	struct part part = {.object = object, .top = depth == 0};
	bool ok;

	if (depth > DEPTH_MAX)
		return refuse(p, "its parts are nested more than 100 deep");
	part.type = g_mime_object_get_content_type(object);
	ok = read_fields(p, &part);
	if (ok && GMIME_IS_MULTIPART(object))
		ok = plan_multipart(p, &part, depth);
	else if (ok && GMIME_IS_MESSAGE_PART(object))
		ok = plan_composite(p, &part, true);
	else if (ok && GMIME_IS_PART(object))
		ok = plan_leaf(p, &part);
	else if (ok)
		ok = refuse(p, "a part is of a kind that is not known");
	free(part.fields);
	return ok;
}

bool mime_plan_make(struct mime_plan *plan, struct mime_source *source, struct err *err)
{
	struct planner p = {.plan = plan, .source = source, .err = err};
	GMimeObject *object;
	bool ok;

	mime_library();
	object = mime_parse(source);
	if (source->stopped != NULL && source->err.class != ERR_NONE) {
		if (err != NULL)
			*err = source->err;
		ok = false;
	} else if (source->stopped != NULL || object == NULL) {
		ok = refuse(&p, source->stopped != NULL ? source->stopped : "its structure cannot be read");
	} else {
		p.format = g_mime_format_options_new();
		g_mime_format_options_set_newline_format(p.format, GMIME_NEWLINE_FORMAT_DOS);
		g_mime_format_options_set_param_encoding_method(p.format, GMIME_PARAM_ENCODING_METHOD_RFC2231);
		ok = plan_object(&p, object, 0);
		g_mime_format_options_free(p.format);
	}
	if (object != NULL)
		g_object_unref(object);
	return ok;
}
