/*
 * mime_text.c - texts, addresses, dates and types out of header fields, by GMime (mime.h).
 *
 * GMime's address parser forgives a lot, as a mail reader should.  Here an address decides whose key signs, and a reader elsewhere may
 * forgive in another way: so a look at the punctuation, which knows quoted strings and comments but no addresses, has to agree with what GMime found.
 */
#include "config.h"

#include "milter/mime.h"

#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <gmime/gmime.h>

static void library_init(void)
{
	g_mime_init();
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

bool mime_decode_text(struct buf *out, const char *value)
{
	char *unfolded, *decoded, *cut, *next;

	mime_library();
	unfolded = g_mime_utils_header_unfold(value);
	if (unfolded == NULL)
		return false;
	for (char *rest = unfolded; rest != NULL; rest = next) {
		next = NULL;
		cut = behind_padded_word(rest, &next);
		if (cut != NULL)
			*cut = '\0';
		decoded = g_mime_utils_header_decode_text(NULL, rest);
		if (decoded != NULL)
			buf_puts(out, decoded);
		g_free(decoded);
	}
	g_free(unfolded);
	return !out->failed;
}

/* ---- addresses ------------------------------------------------------------------------------------------------------- */

struct punctuation { size_t at, brackets, commas; bool inside, broken; };

/* Behind a quoted string that begins at s[0], or behind everything when it does not end. */
static const char *skip_quoted(const char *s, bool *broken)
{
	for (s++; *s != '\0'; s++) {
		if (*s == '\\' && s[1] != '\0')
			s++;
		else if (*s == '"')
			return s + 1;
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

static void punctuation_octet(struct punctuation *p, char c)
{
	switch (c) {
	case '@':
		p->at++;
		break;
	case '<':
		p->brackets++;
		p->broken |= p->inside;
		p->inside = true;
		break;
	case '>':
		p->broken |= !p->inside;
		p->inside = false;
		break;
	case ',':
		p->commas++;
		p->broken |= p->inside;
		break;
	case ':': /* groups and routes */
	case ';':
	case ')':
	case '\\':
		p->broken = true;
		break;
	default:
		p->broken |= iscntrl((unsigned char)c) && c != '\t';
	}
}

/* How many addresses there are, by punctuation: one @ each, a comma between two, brackets in pairs.  0 = that does not add up.  Asked before
 * GMime, which also loses memory over some lists that fail here. */
static size_t addresses_by_punctuation(const char *s)
{
	struct punctuation p = {0};

	while (*s != '\0') {
		if (*s == '"')
			s = skip_quoted(s, &p.broken);
		else if (*s == '(')
			s = skip_comment(s, &p.broken);
		else
			punctuation_octet(&p, *s++);
	}
	return p.broken || p.inside || p.at != p.commas + 1 || p.brackets > p.at ? 0 : p.at;
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

static bool add_mailbox(struct strlist *out, InternetAddress *address)
{
	char text[ADDRESS_MAX];
	struct address parsed;
	const char *addr;

	if (!INTERNET_ADDRESS_IS_MAILBOX(address))
		return false;
	addr = internet_address_mailbox_get_addr(INTERNET_ADDRESS_MAILBOX(address));
	return addr != NULL && address_parse(&parsed, addr, NULL) && strlist_add(out, address_text(&parsed, text));
}

bool mime_addresses(struct strlist *out, const char *value)
{
	bool warned = false, ok;
	InternetAddressList *list = NULL;
	char *unfolded;
	size_t expected;

	mime_library();
	unfolded = g_mime_utils_header_unfold(value);
	expected = unfolded != NULL ? addresses_by_punctuation(unfolded) : 0;
	if (expected > 0)
		list = parse_strictly(unfolded, &warned);
	ok = list != NULL && !warned && (size_t)internet_address_list_length(list) == expected;
	for (int i = 0; ok && i < internet_address_list_length(list); i++)
		ok = add_mailbox(out, internet_address_list_get_address(list, i));
	if (!ok)
		strlist_clear(out);
	if (list != NULL)
		g_object_unref(list);
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

void mime_content_type(const char *value, char type[128], const char *parameter, char parameter_value[128])
{
	GMimeContentType *parsed;
	char *unfolded, *text;

	mime_library();
	unfolded = g_mime_utils_header_unfold(value);
	parsed = g_mime_content_type_parse(NULL, unfolded != NULL ? unfolded : "");
	text = g_mime_content_type_get_mime_type(parsed);
	copy_lower(type, text);
	if (parameter != NULL)
		copy_lower(parameter_value, g_mime_content_type_get_parameter(parsed, parameter));
	g_free(text);
	g_object_unref(parsed);
	g_free(unfolded);
}
