/*
 * tests/fuzz/fuzz_mime.c - a mail as strangers may write it: header list, scan, classification, re-encoding.
 *
 * Input: header fields with LF, an empty line, the body.  Beyond not crashing: whatever comes out of the re-encoding is safe to sign, a mail that
 * needs none comes out as it went in, and a second round changes nothing more.  Parts of a type that is watched for are noticed by the streaming
 * look.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "milter/mime.h"
#include "policy/policy.h"
#include "tests/fuzz/fuzz_mail.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool gather(void *arg, const void *data, size_t len, struct err *err)
{
	(void)err;
	buf_append(arg, data, len);
	return true;
}

/* One type, one kind of types, and those that a part has by default. */
static const char *const watched_types[] = {CALENDAR_TYPE, "image/*", "application/pdf", "text/plain", "message/rfc822"};
static const struct strlist *watch;

static struct spool *spool_of(const char *data, size_t len)
{
	struct spool *s = spool_new("/tmp", NULL);

	if (!s || !spool_write(s, data, len, NULL))
		abort();
	return s;
}

static void scan_pieces(struct mime_scan *s, const char *data, size_t len, size_t piece)
{
	memset(s, 0, sizeof(*s));
	s->watch = watch;
	for (size_t at = 0; at < len; at += piece)
		mime_scan_feed(s, data + at, len - at < piece ? len - at : piece);
	mime_scan_finish(s);
}

static unsigned flags(const struct mime_scan *s)
{
	return s->eight_bit | s->nul << 1 | s->bare_cr << 2 | s->bare_lf << 3 | s->long_line << 4 | s->trailing_space << 5 | s->from_line << 6 |
		s->declared_8bit << 7 | s->last_crlf << 8 | s->watched << 9;
}

/* What a parser finds below the top, the streaming look has seen.  Without a structure there are no parts. */
static void check_types(const struct headers *h, const char *body, size_t len)
{
	const char *type = headers_get(h, "Content-Type", 0);
	struct spool *in = spool_of(body, len);
	struct strlist types = {0};
	char top[128];

	mime_content_type(type ? type : "", top, NULL, NULL);
	if (!mime_part_types(h, in, &types, NULL))
		abort();
	for (size_t i = 0; i < sizeof(watched_types) / sizeof(*watched_types); i++) {
		struct strlist one = {0};
		struct mime_scan s;
		bool has = false;

		if (!strlist_add(&one, watched_types[i]))
			abort();
		watch = &one;
		scan_pieces(&s, body, len, 100);
		watch = NULL;
		for (size_t k = 0; k < types.n; k++)
			has |= mail_rules_type_is(types.v[k], watched_types[i]);
		if (has && !s.watched && !mail_rules_type_is(top, watched_types[i]))
			abort();
		strlist_clear(&one);
	}
	strlist_clear(&types);
	spool_free(in);
}

static bool reencode(const struct headers *h, const char *body, size_t len, struct buf *result)
{
	struct spool *in = spool_of(body, len), *out = spool_of("", 0);
	struct err err = ERR_INIT;
	bool ok = mime_reencode(h, false, in, out, NULL, &err);

	if (!ok && err.class != ERR_POLICY)
		abort();
	if (ok && !spool_each(out, gather, result, NULL))
		abort();
	spool_free(in);
	spool_free(out);
	return ok;
}

/* What was written is safe, and a second round, with it as the mail, gives the same. */
static void check(const struct buf *out)
{
	const char *end = memmem(out->data, out->len, "\r\n\r\n", 4);
	struct headers h = {0};
	struct buf text = BUF_INIT, again = BUF_INIT;
	struct mime_scan s;
	size_t body;

	scan_pieces(&s, out->data, out->len, 4096);
	if (mime_scan_unsafe(&s))
		abort();
	if (!end)
		return;
	body = (size_t)(end - out->data) + 4;
	for (const char *p = out->data; p < end + 2; p++)
		if (*p != '\r')
			buf_putc(&text, *p);
	fuzz_read_header(&h, buf_str(&text), text.len);
	buf_reset(&text);
	mime_entity_header_open(&text, &h, false);
	/* A header that does not come back as it is written (a line without a colon) has no second round. */
	if (text.len == body && memcmp(text.data, out->data, text.len) == 0 &&
		(!reencode(&h, out->data + body, out->len - body, &again) || again.len != out->len || memcmp(again.data, out->data, out->len) != 0))
		abort();
	buf_clear(&text);
	buf_clear(&again);
	headers_clear(&h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct headers h = {0};
	struct mime_scan s, byte_by_byte;
	struct buf result = BUF_INIT, plain = BUF_INIT;
	const char *why;
	size_t body = fuzz_read_header(&h, (const char *)data, size);

	scan_pieces(&s, (const char *)data + body, size - body, 65535);
	scan_pieces(&byte_by_byte, (const char *)data + body, size - body, 1);
	if (flags(&s) != flags(&byte_by_byte))
		abort();
	if (mime_classify(&h, &why) == MIME_PLAIN)
		check_types(&h, (const char *)data + body, size - body);
	if (reencode(&h, (const char *)data + body, size - body, &result)) {
		check(&result);
		if (!mime_needs_encoding(&h, &s, &why)) {
			mime_entity_header(&plain, &h, false);
			buf_append(&plain, data + body, size - body);
			if (headers_count(&h, "Content-Type") == 1 && (plain.len != result.len || memcmp(plain.data, result.data, plain.len) != 0))
				abort();
		}
	}
	buf_clear(&plain);
	buf_clear(&result);
	headers_clear(&h);
	return 0;
}
