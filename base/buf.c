/*
 * base/buf.c - growing byte strings and the encodings that append to them.
 *
 * A buffer may hold a private key, so growing never leaves a copy behind: the old block is overwritten before it is freed, which
 * realloc would not do.
 */
#include "config.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/base.h"

#define BUF_FIRST 64

/* Room for `more` octets and the NUL.  `max` caps len, not the allocation. */
static bool buf_reserve(struct buf *b, size_t more)
{
	size_t need, size;
	char *data;

	if (b->failed)
		return false;
	if (more >= SIZE_MAX - b->len || (b->max && b->len + more > b->max)) {
		b->failed = true;
		return false;
	}
	need = b->len + more + 1;
	if (need <= b->size)
		return true;
	size = b->size > SIZE_MAX / 2 ? need : b->size * 2;
	if (size < need)
		size = need;
	if (size < BUF_FIRST)
		size = BUF_FIRST;
	data = malloc(size);
	if (!data) {
		b->failed = true;
		return false;
	}
	if (b->data) {
		memcpy(data, b->data, b->len);
		OPENSSL_cleanse(b->data, b->size);
		free(b->data);
	}
	data[b->len] = '\0';
	b->data = data;
	b->size = size;
	return true;
}

void buf_append(struct buf *b, const void *data, size_t len)
{
	if (!buf_reserve(b, len))
		return;
	if (len > 0)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
}

void buf_puts(struct buf *b, const char *s)
{
	buf_append(b, s, strlen(s));
}

void buf_putc(struct buf *b, char c)
{
	buf_append(b, &c, 1);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (n < 0) {
		b->failed = true;
		return;
	}
	if (!buf_reserve(b, (size_t)n))
		return;
	va_start(args, fmt);
	vsnprintf(b->data + b->len, (size_t)n + 1, fmt, args);
	va_end(args);
	b->len += (size_t)n;
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->data)
		b->data[0] = '\0';
}

static void buf_forget(struct buf *b)
{
	b->data = NULL;
	b->len = b->size = 0;
	b->failed = false;
}

void buf_clear(struct buf *b)
{
	free(b->data);
	buf_forget(b);
}

void buf_wipe(struct buf *b)
{
	if (b->data)
		OPENSSL_cleanse(b->data, b->size);
	buf_clear(b);
}

char *buf_take(struct buf *b)
{
	char *data = NULL;

	if (buf_reserve(b, 0))
		data = b->data;
	else
		free(b->data);
	buf_forget(b);
	return data;
}

const char *buf_str(const struct buf *b)
{
	return b->data ? b->data : "";
}

/* ---- encodings: OpenSSL's codec in pieces that fit its int lengths ------------------------------------------------- */

#define PIECE (3 * 4096) /* a multiple of 3: padding only in the last piece */

static void base64_pieces(struct buf *out, const unsigned char *data, size_t len)
{
	unsigned char text[PIECE / 3 * 4 + 1];
	size_t used = ((len < PIECE ? len : PIECE) + 2) / 3 * 4 + 1;

	while (len > 0) {
		size_t n = len < PIECE ? len : PIECE;
		int written = EVP_EncodeBlock(text, data, (int)n);

		buf_append(out, text, (size_t)written);
		data += n;
		len -= n;
	}
	/* What was used of it: this is called for each line of a signature. */
	OPENSSL_cleanse(text, used);
}

void base64_encode(struct buf *out, const void *data, size_t len, size_t line_length, const char *eol)
{
	const unsigned char *p = data;
	size_t per_line = line_length / 4 * 3;

	if (line_length == 0) {
		base64_pieces(out, p, len);
		return;
	}
	if (per_line == 0)
		per_line = 3;
	while (len > 0) {
		size_t n = len < per_line ? len : per_line;

		base64_pieces(out, p, n);
		buf_puts(out, eol);
		p += n;
		len -= n;
	}
}

void base64url_encode(struct buf *out, const void *data, size_t len)
{
	size_t start = out->len;

	base64_pieces(out, data, len);
	if (out->failed)
		return;
	while (out->len > start && out->data[out->len - 1] == '=')
		out->len--;
	if (out->data)
		out->data[out->len] = '\0';
	for (size_t i = start; i < out->len; i++) {
		if (out->data[i] == '+')
			out->data[i] = '-';
		else if (out->data[i] == '/')
			out->data[i] = '_';
	}
}

/* EVP_DecodeBlock skips blanks and takes '=' anywhere in the last quantum, so it only sees text that was checked before. */
static bool base64url_to_base64(struct buf *out, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
			buf_putc(out, c);
		else if (c == '-')
			buf_putc(out, '+');
		else if (c == '_')
			buf_putc(out, '/');
		else
			return false;
	}
	for (size_t fill = (4 - len % 4) % 4; fill > 0; fill--)
		buf_putc(out, '=');
	return !out->failed && out->len <= INT_MAX;
}

bool base64url_decode(struct buf *out, const char *text, size_t len)
{
	struct buf plain = BUF_INIT;
	unsigned char *data = NULL;
	size_t fill, room;
	bool ok = false;
	int n;

	if (len > 0 && len % 4 == 0 && text[len - 1] == '=')
		len -= text[len - 2] == '=' ? 2 : 1;
	if (len == 0)
		return buf_append(out, "", 0), !out->failed;
	fill = (4 - len % 4) % 4;
	if (fill == 3 || !base64url_to_base64(&plain, text, len))
		goto done;
	room = plain.len / 4 * 3;
	data = malloc(room);
	if (!data)
		goto done;
	n = EVP_DecodeBlock(data, (const unsigned char *)plain.data, (int)plain.len);
	if (n < 0 || (size_t)n < fill)
		goto done;
	buf_append(out, data, (size_t)n - fill);
	ok = !out->failed;
	OPENSSL_cleanse(data, room);
done:
	free(data);
	buf_wipe(&plain);
	return ok;
}

void hex_encode(struct buf *out, const void *data, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *p = data;

	for (size_t i = 0; i < len; i++) {
		buf_putc(out, digits[p[i] >> 4]);
		buf_putc(out, digits[p[i] & 15]);
	}
}
