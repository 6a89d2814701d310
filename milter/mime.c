/*
 * mime.c - header lists, the streaming look at a body, and what kind of mail it is (mime.h).
 *
 * The scan runs over every signed body while it arrives, beside its hash, so it has to cost little: lines are found with memchr and
 * looked at eight octets at a time.  A line that is cut by the end of a piece goes on with the next one; all of that is in the few
 * fields of working state.
 */
#include "config.h"

#include "milter/mime.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEADERS_MAX (1024 * 1024)
#define LINE_MAX_OCTETS 990 /* RFC 5322 allows 998, but Sendmail's SMTP mailers break lines at 990 (L= in sendmail.cf), and with them the signature */

/* ---- header lists ---------------------------------------------------------------------------------------------------- */

bool headers_add(struct headers *h, const char *name, const char *value)
{
	size_t octets = strlen(name) + strlen(value) + 3; /* with colon and CRLF */
	struct header field;

	if (octets > HEADERS_MAX - h->octets)
		return false;
	if (h->n == h->size) {
		size_t size = h->size ? h->size * 2 : 16;
		struct header *v = reallocarray(h->v, size, sizeof(*v));

		if (v == NULL)
			return false;
		h->v = v;
		h->size = size;
	}
	field.name = str_dup(name);
	field.value = str_dup(value);
	if (field.name == NULL || field.value == NULL) {
		free(field.name);
		free(field.value);
		return false;
	}
	h->v[h->n++] = field;
	h->octets += octets;
	return true;
}

void headers_clear(struct headers *h)
{
	for (size_t i = 0; i < h->n; i++) {
		free(h->v[i].name);
		free(h->v[i].value);
	}
	free(h->v);
	memset(h, 0, sizeof(*h));
}

const char *headers_get(const struct headers *h, const char *name, size_t nth)
{
	for (size_t i = 0; i < h->n; i++) {
		if (str_eq_nocase(h->v[i].name, name) && nth-- == 0)
			return h->v[i].value;
	}
	return NULL;
}

size_t headers_count(const struct headers *h, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < h->n; i++)
		n += str_eq_nocase(h->v[i].name, name);
	return n;
}

/* ---- the streaming look ---------------------------------------------------------------------------------------------- */

#define EACH_OCTET(x) (UINT64_C(0x0101010101010101) * (x))

/* Octets over 127, NULs and CRs of a stretch without LF. */
static void scan_stretch(struct mime_scan *s, const unsigned char *p, size_t len)
{
	uint64_t high = 0, nul = 0, cr = 0, word;
	size_t i = 0;

	/* The subtraction marks zero octets; behind a real one it may mark too many, so it only says that there is one. */
	for (; i + 8 <= len; i += 8) {
		memcpy(&word, p + i, 8);
		high |= word;
		nul |= (word - EACH_OCTET(1)) & ~word;
		word ^= EACH_OCTET('\r');
		cr |= (word - EACH_OCTET(1)) & ~word;
	}
	nul &= EACH_OCTET(0x80);
	cr &= EACH_OCTET(0x80);
	for (; i < len; i++) {
		high |= p[i];
		nul |= p[i] == 0;
		cr |= p[i] == '\r';
	}
	s->nul |= nul != 0;
	if (high & EACH_OCTET(0x80)) {
		s->eight_bit = true;
		for (i = 0; i < len; i++)
			s->high += p[i] >> 7;
	}
	/* A CR is not bare only as the last octet before the LF, which the caller knows of. */
	s->bare_cr |= cr != 0;
}

static bool blank(unsigned char c)
{
	return c == ' ' || c == '\t';
}

/* Behind the field's name: the value on this line; NULL when it is another field. */
static const char *value_of(const char *line, size_t len, const char *field, size_t *left)
{
	size_t i = strlen(field);

	if (len < i || strncasecmp(line, field, i) != 0)
		return NULL;
	/* Blanks in front of the colon are obsolete syntax (RFC 5322 section 4.5.8), which some read; there may be more of them than are at hand. */
	while (i < len && blank((unsigned char)line[i]))
		i++;
	if (i < len && line[i++] != ':')
		return NULL;
	*left = len - i;
	return line + i;
}

/* What goes on behind what is at hand, or folded on the next line, may say anything; as may what has a comment in it. */
static bool may_begin(const char *value, size_t left, const char *word)
{
	for (size_t i = 0; i < left; i++) {
		unsigned char c = (unsigned char)value[i];

		/* Some read types with blanks around the slash. */
		if (c <= ' ')
			continue;
		/* "video/" and a star */
		if (c == '(' || *word == '\0' || *word == '*')
			return true;
		if (tolower(c) != *word++)
			return false;
	}
	return true;
}

/* `start` is the beginning of a line without its line end, of which `len` octets are at hand (at most sizeof(line_start) count). */
static void scan_line_start(struct mime_scan *s, const unsigned char *start, size_t len)
{
	const char *line = (const char *)start, *value;
	size_t left;

	if (len == 0)
		return;
	if (start[0] == 'F' && len >= 5 && memcmp(start, "From ", 5) == 0)
		s->from_line = true;
	if ((start[0] | 0x20) != 'c' || len < 12 || strncasecmp(line, "content-t", 9) != 0)
		return;
	value = value_of(line, len, "content-transfer-encoding", &left);
	if (value != NULL && (may_begin(value, left, "8bit") || may_begin(value, left, "binary")))
		s->declared_8bit = true;
	value = s->watch != NULL ? value_of(line, len, "content-type", &left) : NULL;
	for (size_t i = 0; value != NULL && i < s->watch->n; i++)
		s->watched |= may_begin(value, left, s->watch->v[i]);
}

/* A stretch of the line under way, without LF: looked at, and remembered as far as the line's end will want to know. */
static void scan_part_of_line(struct mime_scan *s, const unsigned char *p, size_t len)
{
	if (len == 0)
		return;
	/* A CR that ended the last piece and is not followed by LF. */
	if (s->line_length > 0 && s->prev == '\r')
		s->bare_cr = true;
	if (s->line_length < sizeof(s->line_start)) {
		size_t room = sizeof(s->line_start) - (size_t)s->line_length;

		memcpy(s->line_start + s->line_length, p, len < room ? len : room);
	}
	scan_stretch(s, p, p[len - 1] == '\r' ? len - 1 : len);
	s->prev2 = len > 1 ? p[len - 2] : s->line_length > 0 ? s->prev : 0;
	s->prev = p[len - 1];
	s->line_length += len;
}

/* The LF has come, or the end of all: judge the line that was gathered. */
static void scan_end_of_line(struct mime_scan *s)
{
	bool crlf = s->line_length > 0 && s->prev == '\r';
	uint64_t length = s->line_length - crlf;
	size_t at_hand = length < sizeof(s->line_start) ? (size_t)length : sizeof(s->line_start);

	s->long_line |= length > LINE_MAX_OCTETS;
	if (length > 0 && blank(crlf ? s->prev2 : s->prev))
		s->trailing_space = true;
	scan_line_start(s, s->line_start, at_hand);
	s->line_length = 0;
	s->prev = s->prev2 = 0;
}

/* A line that is whole in this piece, without its LF: nothing has to be remembered. */
static void scan_whole_line(struct mime_scan *s, const unsigned char *p, size_t len)
{
	if (len > 0 && p[len - 1] == '\r')
		len--;
	else
		s->bare_lf = true;
	if (len == 0)
		return;
	scan_stretch(s, p, len);
	s->long_line |= len > LINE_MAX_OCTETS;
	s->trailing_space |= blank(p[len - 1]);
	scan_line_start(s, p, len < sizeof(s->line_start) ? len : sizeof(s->line_start));
}

void mime_scan_feed(struct mime_scan *s, const void *data, size_t len)
{
	const unsigned char *p = data, *end, *lf;

	if (len == 0)
		return;
	end = p + len;
	s->octets += len;
	while (p < end && (lf = memchr(p, '\n', (size_t)(end - p))) != NULL) {
		if (s->line_length == 0) {
			scan_whole_line(s, p, (size_t)(lf - p));
		} else {
			scan_part_of_line(s, p, (size_t)(lf - p));
			s->bare_lf |= s->prev != '\r';
			scan_end_of_line(s);
		}
		p = lf + 1;
	}
	scan_part_of_line(s, p, (size_t)(end - p));
}

/* A part of one of these types need not say so (RFC 2045 section 5.2, RFC 2046 section 5.1.5). */
static bool by_default(const struct strlist *types)
{
	for (size_t i = 0; types != NULL && i < types->n; i++)
		if (may_begin("text/plain", 10, types->v[i]) || may_begin("message/rfc822", 14, types->v[i]))
			return true;
	return false;
}

void mime_scan_finish(struct mime_scan *s)
{
	s->watched |= by_default(s->watch);
	s->last_crlf = s->line_length == 0;
	if (s->line_length == 0)
		return;
	/* The last line has no LF; a CR at its end is bare: with the line end that follows in a multipart it would be CR CR LF. */
	s->bare_cr |= s->prev == '\r';
	scan_end_of_line(s);
}

bool mime_scan_unsafe(const struct mime_scan *s)
{
	return s->eight_bit || s->nul || s->bare_cr || s->bare_lf || s->long_line;
}

/* ---- what kind of mail ----------------------------------------------------------------------------------------------- */

static enum mime_kind classify_pkcs7(const char *smime_type, const char **why)
{
	if (strcmp(smime_type, "signed-data") == 0) {
		*why = "already signed (S/MIME, opaque)";
		return MIME_SIGNED;
	}
	if (strcmp(smime_type, "certs-only") == 0) {
		*why = "carries S/MIME certificates only";
		return MIME_SIGNED;
	}
	/* enveloped-data, authEnveloped-data, compressed-data, and no word at all, which old clients meant as enveloped. */
	*why = "already encrypted (S/MIME)";
	return MIME_ENCRYPTED;
}

/* Nearly all mail has none of the words that matter, and is spared the reading of its parameters. */
static bool may_be_special(const char *value)
{
	static const char *const words[] = {"signed", "encrypted", "pkcs7", "pgp"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcasestr(value, words[i]) != NULL)
			return true;
	return false;
}

static enum mime_kind classify_type(const char *value, const char **why)
{
	char type[128], parameter[128];

	mime_content_type(value, type, "protocol", parameter);
	if (strcmp(type, "multipart/signed") == 0) {
		bool pgp = strstr(parameter, "pgp") != NULL;

		*why = pgp ? "already signed (PGP)" : "already signed";
		return pgp ? MIME_PGP : MIME_SIGNED;
	}
	if (strcmp(type, "multipart/encrypted") == 0) {
		bool pgp = strstr(parameter, "pgp") != NULL;

		*why = pgp ? "already encrypted (PGP)" : "already encrypted";
		return pgp ? MIME_PGP : MIME_ENCRYPTED;
	}
	mime_content_type(value, type, "smime-type", parameter);
	if (strcmp(type, "application/pkcs7-mime") == 0 || strcmp(type, "application/x-pkcs7-mime") == 0)
		return classify_pkcs7(parameter, why);
	mime_content_type(value, type, "x-action", parameter);
	if (strncmp(type, "application/pgp", 15) == 0 || strncmp(parameter, "pgp", 3) == 0) {
		*why = "PGP";
		return MIME_PGP;
	}
	return MIME_PLAIN;
}

enum mime_kind mime_classify(const struct headers *h, const char **why)
{
	static const struct {
		const char *name, *why;
	} once[] = {
		{"Content-Type", "two Content-Type fields"},
		{"Content-Transfer-Encoding", "two Content-Transfer-Encoding fields"},
		{"Content-Disposition", "two Content-Disposition fields"},
	};
	const char *value = headers_get(h, "Content-Type", 0);

	*why = NULL;
	/* Clients differ in which of two they follow: what one of them shows would be signed, and another shown. */
	for (size_t i = 0; i < sizeof(once) / sizeof(once[0]); i++) {
		if (headers_count(h, once[i].name) > 1) {
			*why = once[i].why;
			return MIME_BROKEN_STRUCTURE;
		}
	}
	return value == NULL || !may_be_special(value) ? MIME_PLAIN : classify_type(value, why);
}

/* The structure fields as they would stand in the signed part. */
static void scan_structure(const struct headers *h, struct mime_scan *s)
{
	struct buf text = BUF_INIT;

	mime_entity_header(&text, h, false);
	if (text.failed)
		s->eight_bit = true; /* without memory the slow way is taken, which says so */
	else
		mime_scan_feed(s, text.data, text.len);
	mime_scan_finish(s);
	buf_clear(&text);
}

bool mime_needs_encoding(const struct headers *h, const struct mime_scan *s, const char **why)
{
	struct mime_scan fields = {0};

	scan_structure(h, &fields);
	*why = s->eight_bit				  ? "8-bit content"
	       : s->nul					  ? "NUL in the content"
	       : s->bare_cr				  ? "bare CR in the content"
	       : s->bare_lf				  ? "bare LF in the content"
	       : s->long_line				  ? "line over 990 octets"
	       : fields.eight_bit			  ? "8-bit structure header"
	       : mime_scan_unsafe(&fields)		  ? "structure header with long lines or control characters"
	       : fields.declared_8bit || s->declared_8bit ? "8-bit transfer encoding declared"
	       : s->from_line				  ? "line beginning with From"
	       : s->trailing_space			  ? "line ending in blanks"
							  : NULL;
	return *why != NULL;
}
