/*
 * milter/report.c - what a delivery report says (report.h).
 *
 * GMime finds the part message/delivery-status among the parts of multipart/report, within the limits of mime_stream.c; its content is
 * groups of header fields with an empty line between them, the first about the mail, the others each about a recipient.  Each group is
 * read by GMime as the header of a message.  A reply has one recipient, so the first group with an Action is ours.
 *
 * Everything here was written by strangers and will be shown to people: texts become one line of printable ASCII, cut to length.
 */
#include "config.h"

#include "milter/report.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "milter/mime_stream.h"

#define STATUS_PART_MAX 65536
#define GROUPS_MAX 20
#define WORDS_MAX 600 /* of a server; what is behind that helps nobody */

static bool no(char why[256], const char *text)
{
	snprintf(why, 256, "%s", text);
	return false;
}

/* ---- the part -------------------------------------------------------------------------------------------------------- */

/* The first one among the parts; borrowed. */
static GMimePart *status_part(GMimeObject *object)
{
	GMimeMultipart *parts;

	if (object == NULL || !GMIME_IS_MULTIPART(object) ||
		!g_mime_content_type_is_type(g_mime_object_get_content_type(object), "multipart", "report"))
		return NULL;
	parts = GMIME_MULTIPART(object);
	for (int i = 0; i < g_mime_multipart_get_count(parts); i++) {
		GMimeObject *part = g_mime_multipart_get_part(parts, i);
		GMimeContentType *type = g_mime_object_get_content_type(part);

		/* RFC 6533 has its own name for one with addresses in UTF-8. */
		if (GMIME_IS_PART(part) && (g_mime_content_type_is_type(type, "message", "delivery-status") ||
						   g_mime_content_type_is_type(type, "message", "global-delivery-status")))
			return GMIME_PART(part);
	}
	return NULL;
}

/* Its content with LF, at most so much of it. */
static bool read_part(GMimePart *part, struct buf *out)
{
	GMimeDataWrapper *content = g_mime_part_get_content(part);
	GMimeStream *memory, *filtered;
	GMimeFilter *filter;
	GByteArray *octets;
	bool ok;

	if (content == NULL)
		return false;
	memory = g_mime_stream_mem_new();
	filtered = g_mime_stream_filter_new(memory);
	filter = g_mime_filter_dos2unix_new(FALSE);
	g_mime_stream_filter_add(GMIME_STREAM_FILTER(filtered), filter);
	ok = g_mime_data_wrapper_write_to_stream(content, filtered) >= 0 && g_mime_stream_flush(filtered) == 0;
	octets = g_mime_stream_mem_get_byte_array(GMIME_STREAM_MEM(memory));
	if (ok)
		buf_append(out, octets->data, octets->len > STATUS_PART_MAX ? STATUS_PART_MAX : octets->len);
	g_object_unref(filter);
	g_object_unref(filtered);
	g_object_unref(memory);
	return ok && out->len > 0 && !out->failed;
}

/* ---- its fields ------------------------------------------------------------------------------------------------------ */

/* One line of printable ASCII; blanks run together. */
static char *tidy(const char *text, size_t max)
{
	struct buf out = BUF_INIT;
	bool blank = false;

	for (; *text != '\0' && out.len < max; text++) {
		unsigned char c = (unsigned char)*text;

		if (c <= ' ' || c == 127) {
			blank = out.len > 0;
			continue;
		}
		if (blank)
			buf_putc(&out, ' ');
		blank = false;
		buf_putc(&out, c < 127 ? (char)c : '?');
	}
	if (out.len == 0) {
		buf_clear(&out);
		return NULL;
	}
	return buf_take(&out);
}

/* The value of "type; value" (RFC 3464 section 2.1.2), or of a field that forgot its type. */
static char *typed_value(const char *field, size_t max)
{
	const char *semicolon = field != NULL ? strchr(field, ';') : NULL;

	return field != NULL ? tidy(semicolon != NULL ? semicolon + 1 : field, max) : NULL;
}

/* "5.7.26" at the front (RFC 3463); a comment may follow. */
static char *status_value(const char *field)
{
	size_t len, dots = 0;

	if (field == NULL)
		return NULL;
	field += strspn(field, " \t\r\n");
	len = strspn(field, "0123456789.");
	for (size_t i = 0; i < len; i++)
		dots += field[i] == '.';
	return dots == 2 && len <= 11 && strchr("245", field[0]) != NULL ? strndup(field, len) : NULL;
}

static char *action_value(const char *field)
{
	static const char *const actions[] = {"relayed", "delivered", "failed", "delayed", "expanded"};

	if (field == NULL)
		return NULL;
	field += strspn(field, " \t\r\n");
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		size_t len = strlen(actions[i]);

		if (strncasecmp(field, actions[i], len) == 0 && !isalnum((unsigned char)field[len]))
			return strdup(actions[i]);
	}
	return NULL;
}

/* As it stands there: there is nothing to decode in these fields, and GMime never forgets the name of a charset it met. */
static const char *field_of(GMimeObject *group, const char *name)
{
	GMimeHeader *header = g_mime_header_list_get_header(g_mime_object_get_header_list(group), name);

	return header != NULL ? g_mime_header_get_raw_value(header) : NULL;
}

static void read_fields(GMimeObject *group, struct report *out)
{
	const char *reporter = field_of(group, "Reporting-MTA");

	if (reporter != NULL && out->reporter == NULL)
		out->reporter = typed_value(reporter, 255);
	if (out->action != NULL)
		return;
	out->action = action_value(field_of(group, "Action"));
	if (out->action == NULL)
		return;
	out->status = status_value(field_of(group, "Status"));
	out->remote = typed_value(field_of(group, "Remote-MTA"), 255);
	out->diagnostic = typed_value(field_of(group, "Diagnostic-Code"), WORDS_MAX);
}

static void read_group(const char *text, size_t len, struct report *out)
{
	GMimeStream *stream = g_mime_stream_mem_new_with_buffer(text, len);
	GMimeParser *parser = g_mime_parser_new_with_stream(stream);
	GMimeMessage *group = g_mime_parser_construct_message(parser, NULL);

	if (group != NULL) {
		read_fields(GMIME_OBJECT(group), out);
		g_object_unref(group);
	}
	g_object_unref(parser);
	g_object_unref(stream);
}

/* Groups end at an empty line. */
static void read_groups(const struct buf *part, struct report *out)
{
	const char *at = part->data, *end = part->data + part->len;

	for (int i = 0; i < GROUPS_MAX && at < end; i++) {
		const char *stop;

		while (at < end && *at == '\n')
			at++;
		stop = memmem(at, (size_t)(end - at), "\n\n", 2);
		if (stop == NULL)
			stop = end;
		read_group(at, (size_t)(stop - at), out);
		at = stop;
	}
}

bool report_parse(const struct headers *h, const struct spool *body, struct report *out, char why[256])
{
	struct mime_source source = {.body = body};
	struct buf header = BUF_INIT, part = BUF_INIT;
	GMimeObject *object = NULL;
	GMimePart *status;
	bool ok = false;

	memset(out, 0, sizeof(*out));
	why[0] = '\0';
	mime_library();
	mime_entity_header(&header, h, false);
	source.header = buf_str(&header);
	source.header_len = header.len;
	if (!header.failed)
		object = mime_parse(&source);
	status = status_part(object);
	if (source.stopped != NULL)
		no(why, source.stopped);
	else if (status == NULL || !read_part(status, &part))
		no(why, "it is no multipart/report with a message/delivery-status (RFC 3464)");
	else {
		read_groups(&part, out);
		ok = out->action != NULL || no(why, "its delivery status tells of no action that RFC 3464 knows");
	}
	if (object != NULL)
		g_object_unref(object);
	buf_clear(&header);
	buf_clear(&part);
	return ok;
}
