/*
 * milter/mime.h - what the signer has to know of MIME (RFC 2045, 2046, RFC 1847).  Private to milter/.
 *
 * Three parts: a streaming look at the body while it arrives (is it safe to sign as it is? mime.c, mime_header.c, mime_find.c), the re-encoding, leaf by leaf, of
 * a mail that is not (by GMime, from spool to spool; mime_encode.c), and texts, addresses and dates of header fields (mime_text.c).
 * Knows nothing of milters and CMS.  Everything is thread safe; objects belong to one thread at a time.
 */
#ifndef ENROLL_MILTER_MIME_H
#define ENROLL_MILTER_MIME_H
#include "base/base.h"
#include "milter/spool.h"

/* One header field as the MTA gave it: value with LF folds, without the final newline, leading space kept as it came. */
struct header { char *name; char *value; };
struct headers { struct header *v; size_t n; size_t octets; size_t size; };
bool headers_add(struct headers *h, const char *name, const char *value); /* copies; false without memory or over 1 MiB in all */
void headers_clear(struct headers *h);
size_t headers_count(const struct headers *h, const char *name);          /* ASCII case ignored */
const char *headers_get(const struct headers *h, const char *name, size_t nth); /* nth from 0; NULL */

/* Streaming look. Zero-init; feed in order; finish. */
struct mime_scan {
	bool eight_bit, nul, bare_cr, bare_lf, long_line; /* no relay has to carry these (RFC 5321 2.3.1, 4.5.3.1.6) */
	bool trailing_space, from_line;                   /* some relays rewrite these */
	bool declared_8bit;  /* a line reads Content-Transfer-Encoding: 8bit or binary: a relay without 8BITMIME converts that part */
	bool last_crlf;      /* ends with CRLF (or is empty) */
	uint64_t octets;
	uint64_t high;       /* octets over 127 */
	const struct strlist *watch; /* set before the first piece: content types to look out for; NULL = none */
	bool watched;        /* a line may be the Content-Type field of a part of one of them, or they are what a part without one has */
	/* working state: the line that is not complete yet */
	uint64_t line_length;
	unsigned char prev, prev2;
	unsigned char line_start[64];
};
void mime_scan_feed(struct mime_scan *s, const void *data, size_t len);
void mime_scan_finish(struct mime_scan *s);
/* Holds something that must not be signed as it is, whatever kind of part it stands in. */
bool mime_scan_unsafe(const struct mime_scan *s);

/* What kind of mail it is by its header: decides "untouched" (design: already signed, encrypted, PGP, duplicate structure headers). */
enum mime_kind { MIME_PLAIN, MIME_SIGNED, MIME_ENCRYPTED, MIME_PGP, MIME_BROKEN_STRUCTURE };
enum mime_kind mime_classify(const struct headers *h, const char **why);
/* Are these structure headers (Content-*, which move into the signed part)? */
bool mime_is_structure(const char *name);
/* Must the body be re-encoded before it is signed? *why is static text. */
bool mime_needs_encoding(const struct headers *h, const struct mime_scan *s, const char **why);
/* The header of the entity to be signed: the structure fields as they came, with CRLF, and the empty line.  A mail without Content-Type
 * gets the one it has by default (RFC 2045 section 5.2).  Followed by the body as it came this is what is signed when nothing needs
 * encoding.  `protect`: with the fields that users see repeated in it, and hp="clear" (RFC 9788 section 4). */
void mime_entity_header(struct buf *out, const struct headers *h, bool protect);
/* The same before re-encoding: without the Content-Type that a mail has by default, as the charset is not known yet. */
void mime_entity_header_open(struct buf *out, const struct headers *h, bool protect);
/* Can a parameter be put behind this Content-Type value?  Not behind a comment, quotes that do not end, or a parameter without a value: it would
 * become part of what stands there, such as the boundary. */
bool mime_takes_parameter(const char *value);
/* Can they be repeated, unchanged and safe from relays?  *why (static text) otherwise. */
bool mime_can_protect(const struct headers *h, const char **why);

/* The content types of the entity and its parts, each once, in lower case; forwarded messages are not looked into.  MIME_ANY_TYPE is among them
 * when not all could be read: who asks wants to be careful with such a mail. */
bool mime_part_types(const struct headers *h, const struct spool *body, struct strlist *types, struct err *err) BASE_MUST_CHECK;
#define MIME_ANY_TYPE "*/*"

/* Re-encode: reads the structure headers and the body, writes a whole MIME entity (its header, empty line, content; CRLF) to `out` that is
 * 7-bit, lines <= 76 where it encoded, leaf by leaf; leaves that need nothing keep their encoding and octets, as do boundaries,
 * preambles and epilogues.  message/rfc822 parts and inner signatures are never re-encoded: then ERR_POLICY (the caller leaves the mail
 * unsigned and says so), as for more than 100 levels, 20,000 lines like delimiters or 50,000 part headers.  `out` may hold part of an
 * entity on failure.  *changed (may be NULL): is it another one than came?  What only relays rewrite stays as it is inside what must not change. */
bool mime_reencode(const struct headers *h, bool protect, struct spool *body, struct spool *out, bool *changed, struct err *err) BASE_MUST_CHECK;

/* The decoded text of a header value (RFC 2047 and folding undone), UTF-8, for the Subject of candidates.  False for more than 16 KiB,
 * here and in mime_addresses. */
bool mime_decode_text(struct buf *out, const char *value);
/* The addresses of a From/To/Reply-To value (RFC 5322) as canonical texts into an empty list; false, and nothing in the list, when it is
 * not well-formed (groups and routes count as that). */
bool mime_addresses(struct strlist *out, const char *value);
/* A Date field (RFC 5322 section 3.3); false when it is none. */
bool mime_date(const char *value, time_t *out);
/* The type and subtype of a Content-Type value in lower case, "text/plain" when it cannot be read (RFC 2045 section 5.2), and one
 * parameter's value in lower case ("" when not there). `parameter` may be NULL. */
void mime_content_type(const char *value, char type[128], const char *parameter, char parameter_value[128]);
/* GMime made ready, once in a process; called by whatever needs it. */
void mime_library(void);
#endif
