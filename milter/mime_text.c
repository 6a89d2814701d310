/*
 * mime_text.c - texts, addresses, dates and types out of header fields, by GMime (mime.h).
 *
 * GMime's address parser forgives a lot, as a mail reader should.  Here an address decides whose key signs, and a reader elsewhere may
 * forgive in another way.  So a list is first taken apart by its punctuation, which knows quoted strings, comments and brackets and nothing
 * that is forgiven; then GMime has to find the same addresses.  (GMime also loses memory over some malformed lists; those no longer reach
 * it.)
 */
#include "config.h"

#include "milter/mime.h"

#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <gmime/gmime.h>

/* GMime remembers every charset name it meets for ever, so a field full of made-up ones is not given to it. */
#define VALUE_MAX 16384

/* GLib makes its types when they are first used.  That happens here, once, rather than in several threads at the same time. */
static void library_init(void)
{
	static const char mail[] = "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b\nContent-Type: message/rfc822\n\nSubject: x\n\ny\n--b--\n";
	static const char addresses[] = "a@b.example, A <a@b.example>, g: c@b.example;";
	InternetAddressList *list;
	GMimeStream *stream;
	GMimeParser *parser;
	GMimeObject *object;

	g_mime_init();
	list = internet_address_list_parse(NULL, addresses);
	if (list != NULL)
		g_object_unref(list);
	stream = g_mime_stream_mem_new_with_buffer(mail, sizeof(mail) - 1);
	parser = g_mime_parser_new_with_stream(stream);
	object = g_mime_parser_construct_part(parser, NULL);
	if (object != NULL)
		g_object_unref(object);
	g_object_unref(parser);
	g_object_unref(stream);
}

void mime_library(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, library_init);
}

/* Behind an encoded word that ends in base64 padding, when another one follows (what lies between is not text, RFC 2047 section 6.2): NULL
 * when there is none.  GMime decodes neighbouring words as one and stops at the padding, so they are given to it apart. */
static char *behind_padded_word(char *text, char **next)
{
	for (char *p = text; (p = strstr(p, "=?=")) != NULL; p += 3) {
		char *after = p + 3 + strspn(p + 3, " \t\r\n");

		if (after > p + 3 && strncmp(after, "=?", 2) == 0) {
			*next = after;
			return p + 3;
		}
	}
	return NULL;
}

/* GMime lets raw octets through that look like UTF-8 from afar. */
static void put_decoded(struct buf *out, const char *text)
{
	char *decoded = g_mime_utils_header_decode_text(NULL, text), *valid = decoded != NULL ? g_utf8_make_valid(decoded, -1) : NULL;

	if (valid != NULL)
		buf_puts(out, valid);
	g_free(valid);
	g_free(decoded);
}

bool mime_decode_text(struct buf *out, const char *value)
{
	char *unfolded, *cut, *next;

	if (strlen(value) > VALUE_MAX)
		return false;
	mime_library();
	unfolded = g_mime_utils_header_unfold(value);
	if (unfolded == NULL)
		return false;
	for (char *rest = unfolded; rest != NULL; rest = next) {
		next = NULL;
		cut = behind_padded_word(rest, &next);
		if (cut != NULL)
			*cut = '\0';
		put_decoded(out, rest);
	}
	g_free(unfolded);
	return !out->failed;
}

/* ---- addresses ------------------------------------------------------------------------------------------------------- */

/* One address of a list while it is read. */
struct mailbox {
	struct buf plain; /* outside of brackets, without comments */
	struct buf inner; /* inside brackets */
	bool inside, bracketed, broken;
	bool at; /* an @ stood outside of brackets and quotes */
};

/* The quoted string that begins at s[0] goes to `out` as it is; returns what is behind it. */
static const char *take_quoted(const char *s, struct buf *out, bool *broken)
{
	buf_putc(out, *s++);
	for (; *s != '\0'; s++) {
		buf_putc(out, *s);
		if (*s == '"')
			return s + 1;
		if (*s == '\\' && s[1] != '\0')
			buf_putc(out, *++s);
	}
	*broken = true;
	return s;
}

static const char *skip_comment(const char *s, bool *broken)
{
	size_t depth = 0;

	for (; *s != '\0'; s++) {
		if (*s == '\\' && s[1] != '\0')
			s++;
		else if (*s == '(')
			depth++;
		else if (*s == ')' && --depth == 0)
			return s + 1;
	}
	*broken = true;
	return s;
}

static void take_octet(struct mailbox *m, char c)
{
	switch (c) {
	case '<':
		m->broken |= m->inside || m->bracketed;
		m->inside = m->bracketed = true;
		break;
	case '>':
		m->broken |= !m->inside;
		m->inside = false;
		break;
	case ':': /* groups and routes */
	case ';':
	case ')':
	case '\\':
		m->broken = true;
		break;
	default:
		m->broken |= iscntrl((unsigned char)c) && c != '\t';
		/* Nothing but comments may follow the bracket. */
		m->broken |= m->bracketed && !m->inside && c != ' ' && c != '\t';
		m->at |= c == '@' && !m->inside;
		buf_putc(m->inside ? &m->inner : &m->plain, c);
	}
}

/* The address alone: inside the brackets, or all there is. */
static bool add_mailbox(struct strlist *out, struct mailbox *m)
{
	struct buf *spec = m->bracketed ? &m->inner : &m->plain;
	char text[ADDRESS_MAX], *start = spec->data;
	struct address parsed;
	bool ok;

	while (spec->len > 0 && strchr(" \t", spec->data[spec->len - 1]) != NULL)
		spec->data[--spec->len] = '\0';
	ok = !m->broken && !m->inside && !(m->bracketed && m->at) && !m->plain.failed && !m->inner.failed && spec->len > 0 &&
	     address_parse(&parsed, start + strspn(start, " \t"), NULL) && strlist_add(out, address_text(&parsed, text));
	buf_clear(&m->plain);
	buf_clear(&m->inner);
	memset(m, 0, sizeof(*m));
	return ok;
}

static bool addresses_by_punctuation(struct strlist *out, const char *s)
{
	struct mailbox m = {0};

	while (*s != '\0') {
		if (*s == '"') {
			m.broken |= m.bracketed && !m.inside;
			s = take_quoted(s, m.inside ? &m.inner : &m.plain, &m.broken);
		} else if (*s == '(') {
			s = skip_comment(s, &m.broken);
		} else if (*s == ',' && !m.inside) {
			if (!add_mailbox(out, &m))
				return false;
			s++;
		} else {
			take_octet(&m, *s++);
		}
	}
	return add_mailbox(out, &m);
}

static void note_warning(gint64 offset, GMimeParserWarning code, const gchar *item, gpointer warned)
{
	*(bool *)warned = true;
}

static InternetAddressList *parse_strictly(const char *text, bool *warned)
{
	GMimeParserOptions *options = g_mime_parser_options_new();
	InternetAddressList *list;

	g_mime_parser_options_set_address_compliance_mode(options, GMIME_RFC_COMPLIANCE_STRICT);
	g_mime_parser_options_set_allow_addresses_without_domain(options, FALSE);
	g_mime_parser_options_set_warning_callback(options, note_warning, warned);
	list = internet_address_list_parse(options, text);
	g_mime_parser_options_free(options);
	return list;
}

static bool same_mailbox(InternetAddress *address, const char *expected)
{
	char text[ADDRESS_MAX];
	struct address parsed;
	const char *addr;

	if (!INTERNET_ADDRESS_IS_MAILBOX(address))
		return false;
	addr = internet_address_mailbox_get_addr(INTERNET_ADDRESS_MAILBOX(address));
	return addr != NULL && address_parse(&parsed, addr, NULL) && strcmp(address_text(&parsed, text), expected) == 0;
}

static bool gmime_agrees(const struct strlist *found, const char *text)
{
	bool warned = false, ok;
	InternetAddressList *list = parse_strictly(text, &warned);

	ok = list != NULL && !warned && (size_t)internet_address_list_length(list) == found->n;
	for (size_t i = 0; ok && i < found->n; i++)
		ok = same_mailbox(internet_address_list_get_address(list, (int)i), found->v[i]);
	if (list != NULL)
		g_object_unref(list);
	return ok;
}

#define WORD "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"

static const char *behind_plain_address(const char *s)
{
	size_t local = strspn(s, WORD ".+-"), domain;

	if (local == 0 || s[local] != '@' || s[0] == '.' || s[local - 1] == '.')
		return NULL;
	domain = strspn(s + local + 1, WORD ".-");
	for (size_t i = 1; i < local + domain; i++)
		if (s[i] == '.' && s[i + 1] == '.')
			return NULL;
	return domain > 0 && s[local + 1] != '.' && s[local + domain] != '.' ? s + local + 1 + domain : NULL;
}

/* One mailbox in the form that nearly all have: an address, or some words, quoted or not, and the address in brackets.  Nothing is in it that
 * another reader could take for something else, so nobody else has to be asked. */
static bool is_plain_mailbox(const char *s)
{
	const char *name = s += strspn(s, " \t");

	if (*s == '"') {
		s++;
		s += strspn(s, WORD " .,'-");
		if (*s++ != '"')
			return false;
		s += strspn(s, " ");
	} else {
		s += strspn(s, WORD " '-");
	}
	if (*s != '<')
		s = behind_plain_address(name);
	else if ((s = behind_plain_address(s + 1)) != NULL && *s++ != '>')
		return false;
	return s != NULL && s[strspn(s, " \t")] == '\0';
}

bool mime_addresses(struct strlist *out, const char *value)
{
	char *unfolded;
	bool ok;

	if (strlen(value) > VALUE_MAX)
		return false;
	mime_library();
	unfolded = g_mime_utils_header_unfold(value);
	ok = unfolded != NULL && addresses_by_punctuation(out, unfolded) && (is_plain_mailbox(unfolded) || gmime_agrees(out, unfolded));
	if (!ok)
		strlist_clear(out);
	g_free(unfolded);
	return ok;
}

/* ---- dates and types ------------------------------------------------------------------------------------------------- */

bool mime_date(const char *value, time_t *out)
{
	GDateTime *date;

	mime_library();
	while (isspace((unsigned char)*value))
		value++;
	date = g_mime_utils_header_decode_date(value);
	if (date == NULL)
		return false;
	*out = (time_t)g_date_time_to_unix(date);
	g_date_time_unref(date);
	return true;
}

static void copy_lower(char out[128], const char *text)
{
	size_t i;

	for (i = 0; text != NULL && text[i] != '\0' && i < 127; i++)
		out[i] = (char)g_ascii_tolower(text[i]);
	out[i] = '\0';
}

static void note_no_type(gint64 offset, GMimeParserWarning code, const gchar *item, gpointer unreadable)
{
	*(bool *)unreadable |= code == GMIME_WARN_INVALID_CONTENT_TYPE;
}

void mime_content_type(const char *value, char type[128], const char *parameter, char parameter_value[128])
{
	GMimeParserOptions *options;
	GMimeContentType *parsed;
	char *unfolded, *text;
	bool unreadable = false;

	mime_library();
	options = g_mime_parser_options_new();
	g_mime_parser_options_set_warning_callback(options, note_no_type, &unreadable);
	unfolded = g_mime_utils_header_unfold(value);
	parsed = g_mime_content_type_parse(options, unfolded != NULL ? unfolded : "");
	g_mime_parser_options_free(options);
	text = g_mime_content_type_get_mime_type(parsed);
	/* GMime says application/octet-stream. */
	copy_lower(type, unreadable ? "text/plain" : text);
	if (parameter != NULL)
		copy_lower(parameter_value, g_mime_content_type_get_parameter(parsed, parameter));
	g_free(text);
	g_object_unref(parsed);
	g_free(unfolded);
}
