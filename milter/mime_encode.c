/*
 * mime_encode.c - a mail made safe for signing, from spool to spool (mime_reencode in mime.h).
 *
 * mime_plan.c says which stretches change; here they are written, and everything between them is copied.  Memory stays flat: content
 * goes through in pieces, whatever its size.  At the end what was written has been looked at by the same scan that sent the mail here: if
 * it is still not safe, that is said rather than signed.
 */
#include "config.h"

#include "milter/mime.h"

#include <stdlib.h>
#include <string.h>

#include "milter/mime_plan.h"

#define OP "re-encode a mail"
#define PIECE 8192
#define QUOTED_LINE 76
#define COMMENT_LINE 990 /* a longer line of a preamble is broken */

struct writer {
	const struct mime_source *source;
	struct spool *out;
	struct mime_scan scan; /* of what was written */
	bool changed;          /* something is written otherwise than it came */
	struct err *err;
};

static bool put(struct writer *w, const char *data, size_t len)
{
	mime_scan_feed(&w->scan, data, len);
	return spool_write(w->out, data, len, w->err);
}

static bool refuse(struct writer *w, const char *why)
{
	return err_set(w->err, ERR_POLICY, OP, "", "The mail cannot be made safe for signing: %s.", why);
}

/* ---- copying --------------------------------------------------------------------------------------------------------- */

struct copy {
	enum mime_zone zone;
	bool cr;       /* the last octet was a CR that is not written yet */
	size_t column; /* of what is written */
	struct buf out;
	/* the line under way, as it came */
	size_t length;
	char first[2], last[2]; /* last: blanks do not count */
	bool delimiter;		/* the last line that began with "--" was no closing one, or this is such a line */
};

static void copy_end_of_line(struct copy *c)
{
	if (c->delimiter && c->length >= 2 && memcmp(c->first, "--", 2) == 0)
		c->delimiter = memcmp(c->last, "--", 2) != 0 || c->length < 4;
	c->length = 0;
}

static void copy_look(struct copy *c, char octet)
{
	if (c->length < 2)
		c->first[c->length] = octet;
	if (octet != ' ' && octet != '\t') {
		c->last[0] = c->last[1];
		c->last[1] = octet;
	}
	if (++c->length == 2 && memcmp(c->first, "--", 2) == 0)
		c->delimiter = true;
}

static void copy_put(struct copy *c, const char *text, size_t len)
{
	if (c->zone == ZONE_COMMENT && c->column + len > COMMENT_LINE) {
		buf_append(&c->out, "\r\n ", 3);
		c->column = 1;
	}
	buf_append(&c->out, text, len);
	c->column += len;
}

/* An octet that cannot stay: false when it cannot be written in another way.  Behind an opening delimiter is no comment, even where
 * GMime found no part: another reader may. */
static bool copy_unsafe(struct copy *c, unsigned char octet)
{
	char text[4];

	if (c->zone != ZONE_COMMENT || c->delimiter)
		return false;
	snprintf(text, sizeof(text), "=%02X", octet);
	copy_put(c, text, 3);
	return true;
}

static bool copy_octet(struct copy *c, unsigned char octet)
{
	bool cr = c->cr;

	c->cr = octet == '\r';
	if (octet == '\n') {
		buf_append(&c->out, "\r\n", 2);
		c->column = 0;
		copy_end_of_line(c);
		return true;
	}
	if (cr && !copy_unsafe(c, '\r'))
		return false;
	if (c->cr)
		return true;
	copy_look(c, (char)octet);
	if (octet == 0 || octet > 127)
		return copy_unsafe(c, octet);
	copy_put(c, (const char *)&octet, 1);
	return true;
}

static bool copy_piece(struct writer *w, struct copy *c, const char *data, size_t len)
{
	buf_reset(&c->out);
	for (size_t i = 0; i < len; i++) {
		if (!copy_octet(c, (unsigned char)data[i]))
			return refuse(w, "8-bit data or control characters stand between its parts or in their headers");
	}
	w->changed |= c->out.len != len || memcmp(c->out.data, data, len) != 0;
	return c->out.failed ? err_nomem(w->err, OP) : put(w, c->out.data, c->out.len);
}

static bool copy_protected(struct writer *w, uint64_t at, uint64_t end)
{
	char piece[PIECE];
	struct mime_scan scan = {0};
	size_t got;

	for (; at < end; at += got) {
		size_t len = end - at < sizeof(piece) ? (size_t)(end - at) : sizeof(piece);

		if (!mime_source_read(w->source, at, piece, len, &got, w->err))
			return false;
		mime_scan_feed(&scan, piece, got);
		if (!put(w, piece, got))
			return false;
	}
	mime_scan_finish(&scan);
	return mime_scan_unsafe(&scan)
		       ? refuse(w, "a forwarded message, an inner signature or a multipart without parts holds 8-bit data, long lines or "
				   "control characters")
		       : true;
}

static bool copy_range(struct writer *w, uint64_t at, uint64_t end, enum mime_zone zone)
{
	char piece[PIECE];
	struct copy c = {.zone = zone};
	bool ok = true;
	size_t got;

	if (zone == ZONE_PROTECTED)
		return copy_protected(w, at, end);
	for (; ok && at < end; at += got) {
		size_t len = end - at < sizeof(piece) ? (size_t)(end - at) : sizeof(piece);

		ok = mime_source_read(w->source, at, piece, len, &got, w->err) && copy_piece(w, &c, piece, got);
	}
	if (ok && c.cr) {
		buf_reset(&c.out);
		ok = copy_unsafe(&c, '\r') ? put(w, c.out.data, c.out.len) : refuse(w, "a bare CR stands in a header of a part");
	}
	buf_clear(&c.out);
	return ok;
}

/* ---- encoding -------------------------------------------------------------------------------------------------------- */

/* GMime's encoders write LF; their output is gathered to lines here, of which quoted-printable has at most 76 octets and base64 as many. */
struct encoder {
	struct writer *w;
	GMimeEncoding decode, encode;
	bool decoding, quoted;
	char line[128];
	size_t len, escape; /* octets that are to come of an escape */
	char *decoded, *encoded; /* room for a piece, decoded and encoded */
};

static bool begins_with_from(const struct encoder *e)
{
	return e->quoted && e->len >= 5 && memcmp(e->line, "From ", 5) == 0;
}

/* A line that relays would quote begins otherwise: "=46rom" reads the same (RFC 2049 section 3). */
static bool end_line(struct encoder *e, bool newline)
{
	bool from = begins_with_from(e);
	bool ok = !from || put(e->w, "=46", 3);

	ok = ok && put(e->w, e->line + from, e->len - from) && (!newline || put(e->w, "\r\n", 2));
	e->len = 0;
	return ok;
}

/* GMime does not count CRs, so their escapes make lines longer than quoted-printable may have them (RFC 2045 section 6.7): is it time for a
 * soft break in front of what begins at data[0]?  GMime hands escapes and its own soft breaks out whole. */
static bool line_is_full(struct encoder *e, const char *data, size_t len)
{
	size_t octets = data[0] == '=' ? 3 : 1;
	bool last;

	if (e->escape > 0) {
		e->escape--;
		return false;
	}
	if (len < 2 || data[0] == '\n' || (data[0] == '=' && data[1] == '\n'))
		return false;
	e->escape = octets - 1;
	/* Where the line goes on behind it, there must be room for a soft break. */
	last = len > octets && data[octets] == '\n';
	return e->len + octets + (last ? 0 : 1) + (begins_with_from(e) ? 2 : 0) > QUOTED_LINE;
}

static bool take_encoded(struct encoder *e, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (e->quoted && line_is_full(e, data + i, len - i)) {
			e->line[e->len++] = '=';
			if (!end_line(e, true))
				return false;
		}
		if (data[i] == '\n') {
			if (!end_line(e, true))
				return false;
		} else if (e->len == sizeof(e->line)) {
			return err_set(e->w->err, ERR_BUG, OP, "", "GMime wrote an encoded line of more than %zu octets", sizeof(e->line));
		} else {
			e->line[e->len++] = data[i];
		}
	}
	return true;
}

static bool encode_piece(struct encoder *e, const char *data, size_t len)
{
	if (e->decoding) {
		len = g_mime_encoding_step(&e->decode, data, len, e->decoded);
		data = e->decoded;
	}
	return take_encoded(e, e->encoded, g_mime_encoding_step(&e->encode, data, len, e->encoded));
}

/* The last line end GMime writes is none of the content: base64 closes its last line, quoted-printable hides it behind a soft break.  The
 * line end that belongs to the delimiter follows anyway. */
static bool encode_end(struct encoder *e)
{
	size_t len = g_mime_encoding_flush(&e->encode, "", 0, e->encoded);

	if (len > 0 && e->encoded[len - 1] == '\n') {
		if (!e->quoted)
			len--;
		else if (len > 1 && e->encoded[len - 2] == '=')
			len -= 2;
	}
	return take_encoded(e, e->encoded, len) && end_line(e, false);
}

static bool encode_range(struct writer *w, const struct mime_edit *edit)
{
	char piece[PIECE];
	struct encoder e = {.w = w, .quoted = edit->to == GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE};
	uint64_t at = edit->at, end = edit->at + edit->length;
	bool ok = true;
	size_t got;

	e.decoding = edit->from == GMIME_CONTENT_ENCODING_BASE64 || edit->from == GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE;
	/* Nothing decodes to more than it was, but for what the last piece left over; nothing grows more than fourfold when encoded. */
	e.decoded = malloc(2 * PIECE);
	e.encoded = malloc(9 * PIECE);
	if (e.decoded == NULL || e.encoded == NULL)
		ok = err_nomem(w->err, OP);
	g_mime_encoding_init_decode(&e.decode, edit->from);
	g_mime_encoding_init_encode(&e.encode, edit->to);
	for (; ok && at < end; at += got) {
		size_t len = end - at < sizeof(piece) ? (size_t)(end - at) : sizeof(piece);

		ok = mime_source_read(w->source, at, piece, len, &got, w->err) && encode_piece(&e, piece, got);
	}
	ok = ok && encode_end(&e);
	free(e.decoded);
	free(e.encoded);
	return ok;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------- */

static bool write_all(struct writer *w, const struct mime_plan *plan)
{
	enum mime_zone zone = ZONE_STRUCTURE;
	uint64_t done = 0, size = mime_source_size(w->source);

	for (size_t i = 0; i < plan->n; i++) {
		const struct mime_edit *e = &plan->v[i];

		if (e->at < done || e->length > size - e->at)
			return err_set(
				w->err, ERR_BUG, OP, "", "the edits of a mail are out of order at octet %llu", (unsigned long long)e->at);
		if (e->at > done && !copy_range(w, done, e->at, zone))
			return false;
		done = e->at + e->length;
		w->changed |= e->kind != EDIT_ZONE;
		if (e->kind == EDIT_ZONE)
			zone = e->zone;
		else if (e->kind == EDIT_TEXT && !put(w, e->text, strlen(e->text)))
			return false;
		else if (e->kind == EDIT_ENCODE && !encode_range(w, e))
			return false;
	}
	if (size > done && !copy_range(w, done, size, zone))
		return false;
	mime_scan_finish(&w->scan);
	return mime_scan_unsafe(&w->scan) ? refuse(w, "something in its structure cannot be encoded") : true;
}

bool mime_reencode(const struct headers *h, bool protect, struct spool *body, struct spool *out, bool *changed, struct err *err)
{
	struct buf header = BUF_INIT;
	struct mime_plan plan = {0};
	struct mime_source source = {.body = body, .err = ERR_INIT};
	struct writer w = {.source = &source, .out = out, .err = err};
	bool ok;

	mime_entity_header_open(&header, h, protect);
	source.header = header.data;
	source.header_len = header.len;
	ok = header.failed ? err_nomem(err, OP) : mime_plan_make(&plan, &source, err) && write_all(&w, &plan);
	if (changed != NULL)
		*changed = w.changed;
	mime_plan_clear(&plan);
	buf_clear(&header);
	return ok;
}
