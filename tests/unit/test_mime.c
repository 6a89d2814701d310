/*
 * tests/unit/test_mime.c - milter/mime: what is safe to sign as it is, and that re-encoding changes what it must and nothing else.
 *
 * The content of leaves is compared after decoders that share nothing with GMime (OpenSSL's base64, a quoted-printable decoder below).
 */
#include "config.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <check.h>
#include <gmime/gmime.h>
#include <openssl/evp.h>

#include "milter/mime.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define BODY(s) s, sizeof(s) - 1

static struct err err;

static struct headers headers_of(const char *text)
{
	struct headers h = {0};
	char *copy = strdup(text), *line = copy;

	while (line && *line) {
		char *end = line, *colon;

		do
			end = strchr(end + 1, '\n');
		while (end && (end[1] == ' ' || end[1] == '\t'));
		if (end)
			*end++ = '\0';
		colon = strchr(line, ':');
		ck_assert_ptr_nonnull(colon);
		*colon = '\0';
		ck_assert(headers_add(&h, line, colon + 1));
		line = end;
	}
	free(copy);
	return h;
}

static struct spool *spool_of(const void *data, size_t len)
{
	struct spool *s = spool_new("/tmp", &err);

	ck_assert_ptr_nonnull(s);
	ck_assert(spool_write(s, data, len, &err));
	return s;
}

static bool gather(void *arg, const void *data, size_t len, struct err *e)
{
	(void)e;
	buf_append(arg, data, len);
	return true;
}

static void contents(const struct spool *s, struct buf *out)
{
	ck_assert(spool_each(s, gather, out, &err));
	ck_assert(!out->failed);
}

/* ---- headers --------------------------------------------------------------------------------------------------------- */

START_TEST(header_list_keeps_order_and_instances)
{
	struct headers h = headers_of("From: a\nSubject: one\nX: y\n\tz\nSUBJECT: two\n");

	ck_assert_uint_eq(h.n, 4);
	ck_assert_uint_eq(headers_count(&h, "subject"), 2);
	ck_assert_str_eq(headers_get(&h, "Subject", 1), " two");
	ck_assert_str_eq(headers_get(&h, "x", 0), " y\n\tz");
	ck_assert_ptr_null(headers_get(&h, "Subject", 2));
	headers_clear(&h);
	ck_assert_uint_eq(h.n, 0);
}
END_TEST

START_TEST(header_memory_has_a_cap)
{
	struct headers h = {0};
	char value[100001];
	size_t n = 0;

	memset(value, 'a', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	while (headers_add(&h, "X", value))
		ck_assert_uint_lt(n++, 20);
	ck_assert_uint_eq(n, 10);
	ck_assert(headers_add(&h, "X", "short"));
	headers_clear(&h);
}
END_TEST

/* ---- scan ------------------------------------------------------------------------------------------------------------ */

enum { EIGHT = 1, NUL = 2, CR = 4, LF = 8, LONG = 16, SPACE = 32, FROM = 64, DECLARED = 128, NO_CRLF = 256 };

#define X10 "xxxxxxxxxx"
#define X90 X10 X10 X10 X10 X10 X10 X10 X10 X10
#define X990 X90 X90 X90 X90 X90 X90 X90 X90 X90 X90 X90

static const struct {
	const char *sentence;
	const char *data;
	size_t len;
	unsigned flags;
} scans[] = {
	{"an empty body is safe and counts as complete", BODY(""), 0},
	{"plain lines are safe", BODY("hello\r\nworld\r\n"), 0},
	{"a body of only dots is safe", BODY(".\r\n..\r\n.\r\n"), 0},
	{"an octet over 127", BODY("gr\xc3\xbc\xc3\x9f\r\n"), EIGHT},
	{"an octet over 127 behind a long stretch", BODY(X90 "\xff" X10 "\r\n"), EIGHT},
	{"a NUL", BODY("a\0b\r\n"), NUL},
	{"a NUL in the middle of a word", BODY(X10 "abc\0defgh" X10 "\r\n"), NUL},
	{"a NUL as the whole line", BODY("\0\r\n"), NUL},
	{"a bare CR", BODY("a\rb\r\n"), CR},
	{"a bare CR among many", BODY(X10 "\r" X10 "\r\n"), CR},
	{"two CRs before the LF", BODY("a\r\r\n"), CR},
	{"a CR at the very end", BODY("a\r\nb\r"), CR | NO_CRLF},
	{"a bare LF", BODY("a\nb\r\n"), LF},
	{"a bare LF as the first octet", BODY("\nb\r\n"), LF},
	{"a line of 990 octets stays", BODY(X990 "\r\n"), 0},
	{"a line of 991 octets would be broken by Sendmail", BODY(X990 "1\r\n"), LONG},
	{"a long last line without its end", BODY(X990 "1"), LONG | NO_CRLF},
	{"no final CRLF", BODY("a\r\nb"), NO_CRLF},
	{"a blank at the end of a line", BODY("a \r\nb\r\n"), SPACE},
	{"a tab at the end of a line", BODY("a\t\r\nb\r\n"), SPACE},
	{"a line that is one blank", BODY("a\r\n \r\n"), SPACE},
	{"a blank at the end of all", BODY("a\r\nb "), SPACE | NO_CRLF},
	{"blanks elsewhere are safe", BODY(" a b\r\n"), 0},
	{"From at the beginning of a line", BODY("a\r\nFrom here\r\n"), FROM},
	{"From as the first line", BODY("From here\r\n"), FROM},
	{"From is the whole line but for its blank", BODY("From \r\n"), FROM | SPACE},
	{"From within a line is safe", BODY("a From here\r\n>From here\r\nfrom here\r\nFromage\r\n"), 0},
	{"a part that says it is 8bit", BODY("--b\r\nContent-Transfer-Encoding: 8bit\r\n\r\nx\r\n"), DECLARED},
	{"a part that says it is BINARY", BODY("--b\r\ncontent-transfer-ENCODING:\tBinary\r\n\r\nx\r\n"), DECLARED},
	{"a part that says it is 8bit, in obsolete syntax", BODY("Content-Transfer-Encoding : 8bit\r\n"), DECLARED},
	{"another field that begins so", BODY("Content-Transfer-Encoding-X: 8bit\r\nContent-Transfer-Encoding8bit\r\n"), 0},
	{"a part whose encoding is folded away", BODY("Content-Transfer-Encoding:\r\n 8bit\r\n"), DECLARED},
	{"7bit, base64 and quoted-printable say nothing new", BODY("Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n"), 0},
};

static unsigned scan_flags(const char *data, size_t len, size_t piece)
{
	struct mime_scan s = {0};

	for (size_t at = 0; at < len; at += piece)
		mime_scan_feed(&s, data + at, len - at < piece ? len - at : piece);
	mime_scan_finish(&s);
	ck_assert_uint_eq(s.octets, len);
	return (s.eight_bit ? EIGHT : 0) | (s.nul ? NUL : 0) | (s.bare_cr ? CR : 0) | (s.bare_lf ? LF : 0) | (s.long_line ? LONG : 0) |
		(s.trailing_space ? SPACE : 0) | (s.from_line ? FROM : 0) | (s.declared_8bit ? DECLARED : 0) | (s.last_crlf ? 0 : NO_CRLF);
}

START_TEST(scan_sees_what_is_unsafe_however_it_arrives)
{
	static const size_t pieces[] = {1, 2, 3, 5, 8, 64, 65535};

	for (int i = 0; i < COUNT(pieces); i++)
		ck_assert_msg(scan_flags(scans[_i].data, scans[_i].len, pieces[i]) == scans[_i].flags, "%s, in pieces of %zu: 0x%x, not 0x%x",
			scans[_i].sentence, pieces[i], scan_flags(scans[_i].data, scans[_i].len, pieces[i]), scans[_i].flags);
}
END_TEST

/* ---- what kind of mail ----------------------------------------------------------------------------------------------- */

static const struct {
	const char *sentence, *headers;
	enum mime_kind kind;
} kinds[] = {
	{"no MIME fields at all", "Subject: x\n", MIME_PLAIN},
	{"plain text", "Content-Type: text/plain\n", MIME_PLAIN},
	{"an attachment of certificates is none of our business", "Content-Type: multipart/mixed; boundary=b\n", MIME_PLAIN},
	{"signed", "Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=b\n", MIME_SIGNED},
	{"signed, folded and in odd case", "CONTENT-TYPE: Multipart/SIGNED;\n\tprotocol=application/pkcs7-signature;\n boundary=b\n", MIME_SIGNED},
	{"signed by PGP", "Content-Type: multipart/signed; protocol=\"application/pgp-signature\"; boundary=b\n", MIME_PGP},
	{"opaque signed", "Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\n", MIME_SIGNED},
	{"opaque signed by an old client", "Content-Type: application/x-pkcs7-mime; smime-type=\"signed-data\"\n", MIME_SIGNED},
	{"encrypted", "Content-Type: application/pkcs7-mime; smime-type=enveloped-data\n", MIME_ENCRYPTED},
	{"authenticated encryption", "Content-Type: application/pkcs7-mime; smime-type=authEnveloped-data\n", MIME_ENCRYPTED},
	{"S/MIME without a word what", "Content-Type: application/pkcs7-mime\n", MIME_ENCRYPTED},
	{"encrypted by PGP", "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b\n", MIME_PGP},
	{"old inline PGP", "Content-Type: text/plain; charset=us-ascii; x-action=pgp-signed\n", MIME_PGP},
	{"application/pgp", "Content-Type: application/pgp; format=text\n", MIME_PGP},
	{"two Content-Type fields", "Content-Type: text/plain\ncontent-type: text/html\n", MIME_BROKEN_STRUCTURE},
	{"two Content-Transfer-Encoding fields", "Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: 7bit\n", MIME_BROKEN_STRUCTURE},
	{"a Content-Type that cannot be read", "Content-Type: ;;;\n", MIME_PLAIN},
};

START_TEST(kind_of_mail_shows_in_its_header)
{
	struct headers h = headers_of(kinds[_i].headers);
	const char *why = "unset";

	ck_assert_msg(mime_classify(&h, &why) == kinds[_i].kind, "%s: %s", kinds[_i].sentence, why);
	ck_assert_msg((why != NULL) == (kinds[_i].kind != MIME_PLAIN), "%s", kinds[_i].sentence);
	headers_clear(&h);
}
END_TEST

/* ---- decoders of our own --------------------------------------------------------------------------------------------- */

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void decode_quoted(struct buf *out, const char *p, size_t len)
{
	size_t column = 0;

	for (size_t i = 0; i < len; i++) {
		column = p[i] == '\n' ? 0 : column + 1;
		ck_assert_msg(column <= 77, "a quoted-printable line is longer than 76");
		if (p[i] != '=') {
			buf_putc(out, p[i]);
		} else if (i + 2 < len && p[i + 1] == '\r' && p[i + 2] == '\n') {
			i += 2;
			column = 0;
		} else {
			ck_assert(i + 2 < len && hex(p[i + 1]) >= 0 && hex(p[i + 2]) >= 0);
			buf_putc(out, (char)(hex(p[i + 1]) * 16 + hex(p[i + 2])));
			i += 2;
		}
	}
}

static void decode_base64(struct buf *out, const char *p, size_t len)
{
	EVP_ENCODE_CTX *ctx = EVP_ENCODE_CTX_new();
	unsigned char *room = malloc(len + 64);
	int n, more;

	EVP_DecodeInit(ctx);
	ck_assert_int_ge(EVP_DecodeUpdate(ctx, room, &n, (const unsigned char *)p, (int)len), 0);
	ck_assert_int_eq(EVP_DecodeFinal(ctx, room + n, &more), 1);
	buf_append(out, room, (size_t)(n + more));
	free(room);
	EVP_ENCODE_CTX_free(ctx);
}

/* ---- trees ----------------------------------------------------------------------------------------------------------- */

/* An entity as text: one line a part with depth, type and decoded content, to compare two by. */
struct tree {
	struct buf text;
	GMimeObject *object;
	struct buf leaf[8];
	size_t leaves;
};

static void tree_leaf(struct tree *t, GMimePart *part)
{
	GMimeDataWrapper *wrapper = g_mime_part_get_content(part);
	GMimeStream *stream = wrapper ? g_mime_data_wrapper_get_stream(wrapper) : NULL, *memory = g_mime_stream_mem_new();
	GMimeContentEncoding encoding = g_mime_part_get_content_encoding(part);
	GByteArray *raw;
	struct buf decoded = BUF_INIT;

	if (stream) {
		g_mime_stream_reset(stream);
		g_mime_stream_write_to_stream(stream, memory);
	}
	raw = g_mime_stream_mem_get_byte_array(GMIME_STREAM_MEM(memory));
	if (encoding == GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE)
		decode_quoted(&decoded, (const char *)raw->data, raw->len);
	else if (encoding == GMIME_CONTENT_ENCODING_BASE64)
		decode_base64(&decoded, (const char *)raw->data, raw->len);
	else
		buf_append(&decoded, raw->data, raw->len);
	if (t->leaves < sizeof(t->leaf) / sizeof(t->leaf[0]))
		t->leaf[t->leaves++] = decoded;
	else
		buf_clear(&decoded);
	g_object_unref(memory);
}

static void tree_walk(struct tree *t, GMimeObject *object, int depth)
{
	char *type = g_mime_content_type_get_mime_type(g_mime_object_get_content_type(object));

	buf_printf(&t->text, "%d %s\n", depth, type);
	g_free(type);
	if (GMIME_IS_MULTIPART(object))
		for (int i = 0; i < g_mime_multipart_get_count(GMIME_MULTIPART(object)); i++)
			tree_walk(t, g_mime_multipart_get_part(GMIME_MULTIPART(object), i), depth + 1);
	else if (GMIME_IS_PART(object))
		tree_leaf(t, GMIME_PART(object));
}

static void tree_read(struct tree *t, const char *entity, size_t len)
{
	GMimeStream *stream = g_mime_stream_mem_new_with_buffer(entity, len);
	GMimeParser *parser = g_mime_parser_new_with_stream(stream);

	memset(t, 0, sizeof(*t));
	t->object = g_mime_parser_construct_part(parser, NULL);
	ck_assert_ptr_nonnull(t->object);
	tree_walk(t, t->object, 0);
	g_object_unref(parser);
	g_object_unref(stream);
}

static void tree_clear(struct tree *t)
{
	for (size_t i = 0; i < t->leaves; i++)
		buf_clear(&t->leaf[i]);
	buf_clear(&t->text);
	g_object_unref(t->object);
}

/* ---- re-encoding ----------------------------------------------------------------------------------------------------- */

#define LEAVES 4
#define TEN(x) x x x x x x x x x x
#define GRUSS "Gr\xc3\xbc\xc3\x9f"
static const struct reencoding {
	const char *sentence, *headers, *body;
	size_t len;
	const char *why;             /* why it needs encoding; NULL = it does not, and must come through unchanged all the same */
	const char *leaf[LEAVES];    /* decoded contents, in order */
	size_t leaf_len[LEAVES];
	const char *holds[LEAVES];   /* stretches of the result, to the octet */
	const char *refused;         /* part of the sentence, when it cannot be done */
} reencodings[] = {
	{"8-bit text without MIME fields gets charset and encoding", "Subject: x\n", BODY("Hallo, " GRUSS "\r\n"), "8-bit content",
		{"Hallo, " GRUSS "\r\n"}, {0}, {"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nHallo, Gr=C3=BC"}, NULL},
	{"ISO 8859-1 is told from UTF-8", "Subject: x\n", BODY("Hallo, Gr\xfc\xdf!\r\n"), "8-bit content",
		{"Hallo, Gr\xfc\xdf!\r\n"}, {0}, {"charset=iso-8859-1\r\n"}, NULL},
	{"Windows quotes are told from ISO 8859-1", "Content-Type: text/plain\n", BODY("he said \x93hello to everybody\x94\r\n"), "8-bit content",
		{"he said \x93hello to everybody\x94\r\n"}, {0}, {"Content-Type: text/plain;\r\n\tcharset=windows-1252\r\n"}, NULL},
	{"a charset that is declared stays", "Content-Type: text/plain; charset=ISO-8859-15; format=flowed\nContent-Transfer-Encoding: 8bit\nContent-Language: de\n",
		BODY("10 \xa4 only, please\r\n"), "8-bit content", {"10 \xa4 only, please\r\n"}, {0},
		{"Content-Type: text/plain; charset=ISO-8859-15; format=flowed\r\n", "Content-Transfer-Encoding: quoted-printable\r\nContent-Language: de\r\n\r\n10 =A4"}, NULL},
	{"quotes that do not end would swallow the charset", "Content-Type: text/plain; name=\"letter\n", BODY(GRUSS "\r\n"), "8-bit content", {GRUSS "\r\n"}, {0},
		{"name=\"\\\"letter\"; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n"}, NULL},
	{"HTML that is not UTF-8 names its charset itself", "Content-Type: text/html\n", BODY("<meta charset=koi8-r>............................\xc1\xc2\r\n"), "8-bit content",
		{"<meta charset=koi8-r>............................\xc1\xc2\r\n"}, {0}, {"Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n"}, NULL},
	{"text of mostly 8-bit octets becomes base64", "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n",
		BODY("\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82\r\n"), "8-bit content", {"\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82\r\n"}, {0},
		{"Content-Transfer-Encoding: base64\r\n"}, NULL},
	{"a line over 990 octets", "Content-Type: text/plain\n", BODY(X990 "123456789\r\nend\r\n"), "line over 990 octets", {X990 "123456789\r\nend\r\n"}, {0},
		{"Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n"}, NULL},
	{"quoted-printable with many CRs stays in short lines", "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n",
		BODY(TEN("=0D=0D=0D=0D=0D") "=\r\n" GRUSS "\r\nx\r\n"), "8-bit content", {TEN("\r\r\r\r\r") GRUSS "\r\nx\r\n"}, {0},
		{"=0D=0D=\r\n"}, NULL},
	{"a NUL", "Subject: x\n", BODY("a\0b\r\n"), "NUL in the content", {"a\0b\r\n"}, {5}, {"Content-Transfer-Encoding: base64\r\n"}, NULL},
	{"a bare LF is kept as what it is", "Subject: x\n", BODY("a\nb\r\nc"), "bare LF in the content", {"a\nb\r\nc"}, {0}, {"base64\r\n"}, NULL},
	{"a bare CR", "Subject: x\n", BODY("a\rb\r\n"), "bare CR in the content", {"a\rb\r\n"}, {0}, {NULL}, NULL},
	{"no final CRLF, and none is added", "Subject: x\n", BODY(GRUSS " and more"), "8-bit content", {GRUSS " and more"}, {0}, {"=C3=9F and more"}, NULL},
	{"format=flowed: blanks at line ends survive relays", "Content-Type: text/plain; format=flowed\n", BODY("one \r\ntwo\r\n-- \r\nsig\r\n"), "line ending in blanks",
		{"one \r\ntwo\r\n-- \r\nsig\r\n"}, {0}, {"\r\n\r\none=20\r\ntwo\r\n--=20\r\nsig\r\n"}, NULL},
	{"From lines survive mailboxes", "Content-Type: text/plain\n", BODY("x\r\nFrom me\r\n\r\nFrom you\r\n"), "line beginning with From",
		{"x\r\nFrom me\r\n\r\nFrom you\r\n"}, {0}, {"x\r\n=46rom me\r\n\r\n=46rom you\r\n"}, NULL},
	{"a body of only dots needs nothing", "Content-Type: text/plain\n", BODY(".\r\n..\r\n.\r\n"), NULL, {".\r\n..\r\n.\r\n"}, {0}, {"text/plain\r\n\r\n.\r\n..\r\n.\r\n"}, NULL},
	{"an empty body needs nothing", "Content-Type: text/html\n", BODY(""), NULL, {""}, {0}, {"Content-Type: text/html\r\n\r\n"}, NULL},
	{"7-bit text that says 8bit says 7bit", "Content-Type: text/plain\nContent-Transfer-Encoding: 8bit\n", BODY("plain\r\n"), "8-bit transfer encoding declared",
		{"plain\r\n"}, {0}, {"Content-Type: text/plain\r\nContent-Transfer-Encoding: 7bit\r\n\r\nplain\r\n"}, NULL},
	{"untouched leaves, delimiters, preamble and epilogue stay to the octet",
		"Content-Type: multipart/mixed;\n\tboundary=\"b\"\nContent-Transfer-Encoding: 8bit\n",
		BODY("preamble \r\n--b  \r\nContent-type:text/plain ; charset = \"utf-8\"\r\ncontent-transfer-encoding:   8BIT\r\nX-Odd:  a\r\n\t b \r\n\r\n" GRUSS ", greetings\r\n--b\r\n"
		     "Content-Type: application/octet-stream;\r\n\tname=x\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\nAwQ=\r\n\r\n--b\r\n\r\nno header\r\n--b--  \r\n"
		     "epilogue\r\n--not a delimiter\r\n"),
		"8-bit content", {GRUSS ", greetings", "\0\1\2\3\4", "no header"}, {0, 5},
		{"Content-Type: multipart/mixed;\r\n\tboundary=\"b\"\r\nContent-Transfer-Encoding: 7bit\r\n\r\npreamble \r\n--b  \r\nContent-type:text/plain ; charset = \"utf-8\"\r\n",
			"X-Odd:  a\r\n\t b \r\n\r\nGr=C3=BC=C3=9F, greetings\r\n--b\r\n",
			"\r\n--b\r\nContent-Type: application/octet-stream;\r\n\tname=x\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\nAwQ=\r\n\r\n--b\r\n\r\nno header\r\n--b--  \r\n"
			"epilogue\r\n--not a delimiter\r\n"}, NULL},
	{"nested multiparts: only the leaf that needs it changes", "Content-Type: multipart/mixed; boundary=outer\n",
		BODY("outer preamble\r\n--outer\r\nContent-Type: multipart/alternative; boundary=\"in ner\"\r\n\r\ninner preamble\r\n--in ner\r\nContent-Type: text/plain\r\n\r\nplain\r\n"
		     "--in ner\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>" GRUSS " to everybody there</p>\r\n\r\n--in ner--\r\ninner epilogue\r\n--outer\r\n"
		     "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0K\r\n--outer--\r\nouter epilogue"),
		"8-bit content", {"plain", "<p>" GRUSS " to everybody there</p>\r\n", "\x89PNG\r\n"}, {0, 0, 6},
		{"outer preamble\r\n--outer\r\nContent-Type: multipart/alternative; boundary=\"in ner\"\r\n\r\ninner preamble\r\n--in ner\r\nContent-Type: text/plain\r\n\r\nplain\r\n--in ner\r\n",
			"there</p>\r\n\r\n--in ner--\r\ninner epilogue\r\n--outer\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0K\r\n--outer--\r\nouter epilogue"}, NULL},
	{"an unterminated multipart", "Content-Type: multipart/mixed; boundary=b\n",
		BODY("--b\r\nContent-Type: text/plain\r\n\r\nfirst\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" GRUSS ", all of you there\r\n"), "8-bit content",
		{"first", GRUSS ", all of you there\r\n"}, {0}, {"--b\r\nContent-Type: text/plain\r\n\r\nfirst\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n"}, NULL},
	{"the last delimiter at the very end", "Content-Type: multipart/mixed; boundary=b\n", BODY("--b\r\n\r\n" GRUSS " to you there\r\n--b--"), "8-bit content",
		{NULL}, {0}, {"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9F to you there\r\n--b--"}, NULL},
	{"an empty part in front of a delimiter", "Content-Type: multipart/mixed; boundary=b\n", BODY("--b\r\nContent-Type: text/plain\r\n\r\n--b\r\n\r\n" GRUSS " to you there\r\n--b--\r\n"),
		"8-bit content", {"", GRUSS " to you there"}, {0}, {"--b\r\nContent-Type: text/plain\r\n\r\n--b\r\nContent-Type: text/plain; charset"}, NULL},
	{"bare LFs around a delimiter lose no octet", "Content-Type: multipart/mixed; boundary=b\n", BODY("--b\r\n\r\n" GRUSS " and end\n--b\r\n\r\nsecond\r\n--b--\r\n"), "8-bit content",
		{GRUSS " and end", "second"}, {0}, {" and end\r\n--b\r\n\r\nsecond\r\n--b--\r\n"}, NULL},
	{"a mail with bare LFs only", "Content-Type: multipart/mixed; boundary=b\n", BODY("--b\nContent-Type: text/plain\n\nfirst\n--b\n\nsecond\n--b--\n"), "bare LF in the content",
		{"first", "second"}, {0}, {"--b\r\nContent-Type: text/plain\r\n\r\nfirst\r\n--b\r\n\r\nsecond\r\n--b--\r\n"}, NULL},
	{"an 8-bit preamble is armoured, the parts stay", "Content-Type: multipart/mixed; boundary=b\n", BODY("f\xc3\xbcr alte Programme\r\n--b\r\n\r\nx\r\n--b--\r\nschlu\xdf\r\n"), "8-bit content",
		{"x"}, {0}, {"f=C3=BCr alte Programme\r\n--b\r\n\r\nx\r\n--b--\r\nschlu=DF\r\n"}, NULL},
	{"a file name in raw UTF-8 becomes RFC 2231", "Content-Type: multipart/mixed; boundary=b\n",
		BODY("--b\r\nContent-Type: application/pdf;\r\n name=\"" GRUSS ".pdf\"\r\nContent-Disposition: attachment; filename=\"" GRUSS ".pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n"),
		"8-bit content", {"\0\1\2"}, {3}, {"name*=iso-8859-1''Gr%FC%DF.pdf\r\nContent-Disposition: attachment;", "filename*=iso-8859-1''Gr%FC%DF.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n"}, NULL},
	{"a description in raw UTF-8 becomes RFC 2047", "Content-Type: multipart/mixed; boundary=b\n", BODY("--b\r\nContent-Description: " GRUSS "\r\n\r\nx\r\n--b--\r\n"), "8-bit content",
		{"x"}, {0}, {"Content-Description: =?"}, NULL},
	{"a structure field of the mail itself in raw UTF-8", "Content-Type: text/plain; name=\"" GRUSS ".txt\"\n", BODY("x\r\n"), "8-bit structure header", {"x\r\n"}, {0},
		{"name*=iso-8859-1''Gr%FC%DF.txt\r\n\r\nx\r\n"}, NULL},
	{"base64 on one long line is wrapped", "Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n",
		BODY("eHh4" X990 "xx" "eHh4\r\n"), "line over 990 octets", {NULL}, {0}, {"Content-Transfer-Encoding: base64\r\n\r\neHh4"}, NULL},
	{"quoted-printable with raw 8-bit octets is encoded once", "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n",
		BODY("a=3Db \xc3\xbc=\r\n end=20\r\nFrom x\r\n"), "8-bit content", {"a=b \xc3\xbc end \r\nFrom x\r\n"}, {0}, {"a=3Db =C3=BC end=20\r\n=46rom x\r\n"}, NULL},
	{"an unknown encoding is none", "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: utf-8\n", BODY(GRUSS " to all of you\r\n"), "8-bit content",
		{GRUSS " to all of you\r\n"}, {0}, {"Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC"}, NULL},
	{"a forwarded message is not touched beside a part that is", "Content-Type: multipart/mixed; boundary=b\n",
		BODY("--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" GRUSS " to all of you\r\n--b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
		     "Subject: x \r\nContent-Transfer-Encoding: 8bit\r\n\r\nFrom here \r\n--b--\r\n"), "8-bit content", {GRUSS " to all of you"}, {0},
		{"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: x \r\nContent-Transfer-Encoding: 8bit\r\n\r\nFrom here \r\n--b--\r\n"}, NULL},
	{"a forwarded message with 8-bit data cannot be encoded", "Content-Type: multipart/mixed; boundary=b\n",
		BODY("--b\r\n\r\nx\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n" GRUSS "\r\n--b--\r\n"), "8-bit content", {NULL}, {0}, {NULL}, "forwarded message"},
	{"a digest of 8-bit messages cannot be encoded", "Content-Type: multipart/digest; boundary=b\n", BODY("--b\r\n\r\nSubject: x\r\n\r\n" GRUSS "\r\n--b--\r\n"), "8-bit content", {NULL}, {0},
		{NULL}, "forwarded message"},
	{"an inner signature is not touched beside a part that is", "Content-Type: multipart/mixed; boundary=b\n",
		BODY("--b\r\nContent-Type: multipart/signed; boundary=s; protocol=\"application/pkcs7-signature\"\r\n\r\n--s\r\nContent-Type: text/plain\r\n\r\nsigned \r\nFrom x\r\n--s\r\n"
		     "Content-Type: application/pkcs7-signature\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--s--\r\n--b\r\n\r\n" GRUSS " to all of you\r\n--b--\r\n"),
		"8-bit content", {"signed \r\nFrom x", "\0\1\2", GRUSS " to all of you"}, {0, 3},
		{"--s\r\nContent-Type: text/plain\r\n\r\nsigned \r\nFrom x\r\n--s\r\nContent-Type: application/pkcs7-signature\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--s--\r\n--b\r\n"}, NULL},
	{"an inner signature over 8-bit data cannot be encoded", "Content-Type: multipart/mixed; boundary=b\n",
		BODY("--b\r\nContent-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n\r\n" GRUSS "\r\n--s\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--s--\r\n--b--\r\n"), "8-bit content", {NULL}, {0},
		{NULL}, "inner signature"},
	{"a multipart without a part may be text to others", "Content-Type: multipart/mixed; boundary=x\n", BODY("--y\r\n\r\n" GRUSS "\r\n--y--\r\n"), "8-bit content", {NULL}, {0}, {NULL}, "multipart without parts"},
	{"a delivery status has to be 7-bit", "Content-Type: multipart/report; boundary=x\n",
		BODY("--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\nDiagnostic-Code: x; " GRUSS "\r\n--x--\r\n"), "8-bit content", {NULL}, {0}, {NULL}, "of type message"},
	{"two encodings in a part that needs one", "Content-Type: multipart/mixed; boundary=x\n",
		BODY("--x\r\nContent-Transfer-Encoding: 8bit\r\nContent-Transfer-Encoding: base64\r\n\r\n" GRUSS "\r\n--x--\r\n"), "8-bit content", {NULL}, {0}, {NULL}, "two Content-Type"},
};

static void check_tree(const struct reencoding *r, const struct buf *before, const struct buf *after)
{
	struct tree was, is;

	tree_read(&was, before->data, before->len);
	tree_read(&is, after->data, after->len);
	ck_assert_msg(strcmp(buf_str(&was.text), buf_str(&is.text)) == 0, "%s: the structure was\n%sand is\n%s", r->sentence, buf_str(&was.text), buf_str(&is.text));
	for (size_t i = 0; i < LEAVES && r->leaf[i] != NULL; i++) {
		size_t len = r->leaf_len[i] ? r->leaf_len[i] : strlen(r->leaf[i]);

		ck_assert_msg(i < is.leaves && is.leaf[i].len == len && memcmp(buf_str(&is.leaf[i]), r->leaf[i], len) == 0, "%s: leaf %zu is now '%s'", r->sentence, i,
			i < is.leaves ? buf_str(&is.leaf[i]) : "gone");
	}
	tree_clear(&was);
	tree_clear(&is);
}

static void check_result(const struct reencoding *r, const struct headers *h, const struct buf *after)
{
	struct buf before = BUF_INIT;
	unsigned flags = scan_flags(buf_str(after), after->len, 65535);

	ck_assert_msg((flags & (EIGHT | NUL | CR | LF | LONG)) == 0, "%s: still unsafe, 0x%x:\n%s", r->sentence, flags, buf_str(after));
	for (size_t i = 0; i < LEAVES && r->holds[i] != NULL; i++)
		ck_assert_msg(strstr(buf_str(after), r->holds[i]) != NULL, "%s: '%s' is missing in\n%s", r->sentence, r->holds[i], buf_str(after));
	mime_entity_header(&before, h, false);
	buf_append(&before, r->body, r->len);
	check_tree(r, &before, after);
	buf_clear(&before);
}

START_TEST(reencoding_changes_what_it_must_and_nothing_else)
{
	const struct reencoding *r = &reencodings[_i];
	struct headers h = headers_of(r->headers);
	struct spool *body = spool_of(r->body, r->len), *out = spool_of("", 0);
	struct mime_scan s = {0};
	struct buf after = BUF_INIT;
	const char *why;
	bool ok;

	mime_library();
	mime_scan_feed(&s, r->body, r->len);
	mime_scan_finish(&s);
	ck_assert_msg(mime_needs_encoding(&h, &s, &why) == (r->why != NULL), "%s: %s", r->sentence, why);
	if (r->why)
		ck_assert_msg(strcmp(why, r->why) == 0, "%s: %s", r->sentence, why);
	ok = mime_reencode(&h, false, body, out, NULL, &err);
	if (r->refused) {
		ck_assert_msg(!ok && err.class == ERR_POLICY && strstr(err.text, r->refused), "%s: %s", r->sentence, ok ? "went through" : err.text);
	} else {
		ck_assert_msg(ok, "%s: %s", r->sentence, err.text);
		contents(out, &after);
		check_result(r, &h, &after);
	}
	buf_clear(&after);
	spool_free(body);
	spool_free(out);
	headers_clear(&h);
}
END_TEST

START_TEST(a_mail_that_needs_nothing_comes_out_as_it_would_be_signed)
{
	struct headers h = headers_of("Subject: x\nContent-Type: multipart/mixed;\n\tboundary=b\nMIME-Version: 1.0\nContent-Language:  de\n");
	static const char body[] = "pre\r\n--b\r\n\r\nx\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: y\r\n\r\nz\r\n--b--\r\npost\r\n--b--\r\n--x\r\n";
	struct spool *in = spool_of(BODY(body)), *out = spool_of("", 0);
	struct buf want = BUF_INIT, have = BUF_INIT;

	mime_entity_header(&want, &h, false);
	ck_assert_str_eq(want.data, "Content-Type: multipart/mixed;\r\n\tboundary=b\r\nContent-Language:  de\r\n\r\n");
	buf_puts(&want, body);
	ck_assert(mime_reencode(&h, false, in, out, NULL, &err));
	contents(out, &have);
	ck_assert_str_eq(have.data, want.data);
	buf_clear(&want);
	buf_clear(&have);
	spool_free(in);
	spool_free(out);
	headers_clear(&h);
}
END_TEST

/* ---- hostile sizes --------------------------------------------------------------------------------------------------- */

static void nested(struct buf *body, int levels)
{
	for (int i = 0; i < levels; i++)
		buf_printf(body, "--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n", i, i + 1);
	buf_printf(body, "--b%d\r\n\r\nGr\xc3\xbc\xc3\x9f to all of you\r\n", levels);
	for (int i = levels; i >= 0; i--)
		buf_printf(body, "--b%d--\r\n", i);
}

static bool reencode_nested(int levels)
{
	struct headers h = headers_of("Content-Type: multipart/mixed; boundary=b0\n");
	struct buf body = BUF_INIT;
	struct spool *in, *out = spool_of("", 0);
	bool ok;

	nested(&body, levels);
	in = spool_of(body.data, body.len);
	ok = mime_reencode(&h, false, in, out, NULL, &err);
	buf_clear(&body);
	spool_free(in);
	spool_free(out);
	headers_clear(&h);
	return ok;
}

START_TEST(depth_is_capped)
{
	ck_assert_msg(reencode_nested(98), "%s", err.text);
	ck_assert(!reencode_nested(101));
	ck_assert_int_eq(err.class, ERR_POLICY);
	ck_assert_ptr_nonnull(strstr(err.text, "100 deep"));
	ck_assert(!reencode_nested(1000));
	ck_assert(!reencode_nested(9000));
	ck_assert_int_eq(err.class, ERR_POLICY);
}
END_TEST

static bool reencode_repeated(const char *line, size_t times)
{
	struct headers h = headers_of("Content-Type: multipart/mixed; boundary=b\n");
	struct spool *in = spool_of("--b\r\n", 5), *out = spool_of("", 0);
	bool ok = true;

	for (size_t i = 0; i < times; i++)
		ck_assert(spool_write(in, line, strlen(line), &err));
	ck_assert(spool_write(in, BODY("\r\n\xc3\xbc and some more text\r\n--b--\r\n"), &err));
	ok = mime_reencode(&h, false, in, out, NULL, &err);
	spool_free(in);
	spool_free(out);
	headers_clear(&h);
	return ok;
}

START_TEST(number_of_parts_and_fields_is_capped)
{
	ck_assert_msg(reencode_repeated("\r\nx\r\n--b\r\n", 1000), "%s", err.text);
	ck_assert(!reencode_repeated("\r\nx\r\n--b\r\n", 100000));
	ck_assert_ptr_nonnull(strstr(err.text, "too many delimiter lines"));
	ck_assert(!reencode_repeated("--b\r\n", 100000));
	ck_assert_msg(reencode_repeated("X: y\r\n", 1000), "%s", err.text);
	ck_assert(!reencode_repeated("X: y\r\n", 1000000));
	ck_assert_ptr_nonnull(strstr(err.text, "too many header fields"));
	ck_assert_int_eq(err.class, ERR_POLICY);
}
END_TEST

START_TEST(a_large_mail_takes_little_memory)
{
	struct headers h = headers_of("Content-Type: multipart/mixed; boundary=b\n");
	struct spool *in = spool_of(BODY("--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGr\xc3\xbc\xc3\x9f to all of you\r\n--b\r\nContent-Type: application/pdf\r\n"
					 "Content-Transfer-Encoding: base64\r\n\r\n")), *out = spool_of("", 0);
	struct rusage before, after;
	char line[79];

	memset(line, 'A', 76);
	memcpy(line + 76, "\r\n", 3);
	mime_library();
	ck_assert(reencode_repeated("X: y\r\n", 10));
	getrusage(RUSAGE_SELF, &before);
	for (int i = 0; i < 50 * 1024 * 1024 / 78; i++)
		ck_assert(spool_write(in, line, 78, &err));
	ck_assert(spool_write(in, BODY("--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"), &err));
	for (int i = 0; i < 100000; i++)
		ck_assert(spool_write(in, BODY("\0\1\2\3\xff\xfe\r\n\n\r more"), &err));
	ck_assert(spool_write(in, BODY("\r\n--b--\r\n"), &err));
	ck_assert_msg(mime_reencode(&h, false, in, out, NULL, &err), "%s", err.text);
	getrusage(RUSAGE_SELF, &after);
#ifndef BUILT_WITH_SANITIZERS
	ck_assert_msg(after.ru_maxrss - before.ru_maxrss < 4096, "it took %ld KiB", after.ru_maxrss - before.ru_maxrss);
#endif
	ck_assert_uint_gt(spool_size(out), spool_size(in));
	spool_free(in);
	spool_free(out);
	headers_clear(&h);
}
END_TEST

static void *reencode_all(void *arg)
{
	for (int round = 0; round < 20; round++)
		for (int i = 0; i < COUNT(reencodings); i++) {
			struct headers h = headers_of(reencodings[i].headers);
			struct spool *body = spool_of(reencodings[i].body, reencodings[i].len), *out = spool_of("", 0);
			struct err e = ERR_INIT;

			ck_assert(mime_reencode(&h, false, body, out, NULL, &e) == (reencodings[i].refused == NULL));
			spool_free(body);
			spool_free(out);
			headers_clear(&h);
		}
	return arg;
}

START_TEST(threads_do_not_disturb_each_other)
{
	pthread_t threads[8];

	for (int i = 0; i < COUNT(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, reencode_all, NULL), 0);
	for (int i = 0; i < COUNT(threads); i++)
		pthread_join(threads[i], NULL);
}
END_TEST

/* ---- texts ----------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *sentence, *value, *text;
} texts[] = {
	{"plain text", " ACME: abc", "ACME: abc"},
	{"a fold is one blank", " ACME: abc\n def", "ACME: abc def"},
	{"a tab in a fold", " ACME:\n\tabc", "ACME:\tabc"},
	{"Q encoding", "=?utf-8?Q?ACME:_abc?=", "ACME: abc"},
	{"B encoding over two words", "=?UTF-8?B?QUNNRTog?=\n =?UTF-8?B?YWJj?=", "ACME: abc"},
	{"B encoding over two words with padding in the first", "=?UTF-8?B?QUM=?=\n =?UTF-8?B?TUU6IGE=?= b", "ACME: a b"},
	{"a language tag", "=?us-ascii*en?q?ACME=3A_abc?=", "ACME: abc"},
	{"Latin 1 becomes UTF-8", "=?iso-8859-1?Q?Gr=FC=DFe?=", GRUSS "e"},
};

START_TEST(header_text_is_decoded)
{
	struct buf out = BUF_INIT;

	ck_assert(mime_decode_text(&out, texts[_i].value));
	ck_assert_msg(strcmp(buf_str(&out) + strspn(buf_str(&out), " "), texts[_i].text) == 0, "%s: '%s'", texts[_i].sentence, buf_str(&out));
	buf_clear(&out);
}
END_TEST

static const struct {
	const char *sentence, *value;
	const char *found; /* blank separated; NULL = refused */
} addresses[] = {
	{"a bare address", " alice@example.org", "alice@example.org"},
	{"a display name", " Alice <alice@Example.ORG>", "alice@example.org"},
	{"a quoted display name with a comma and an @", " \"Smith, alice@work\" <alice@example.org>", "alice@example.org"},
	{"an encoded display name", " =?utf-8?Q?J=C3=BCrgen?= <j@example.org>", "j@example.org"},
	{"a display name in UTF-8", " J\xc3\xbcrgen <j@example.org>", "j@example.org"},
	{"a comment", " alice@example.org (Alice, at home)", "alice@example.org"},
	{"two addresses", " alice@example.org,\n\tBob <bob@example.net>", "alice@example.org bob@example.net"},
	{"a domain in UTF-8 becomes A-labels", " alice@b\xc3\xbc" "cher.example", "alice@xn--bcher-kva.example"},
	{"an apostrophe and a plus", " o'neil+tag@example.org", "o'neil+tag@example.org"},
	{"a folded name", " Alice\n of Wonderland\n <alice@example.org>", "alice@example.org"},
	{"a name in quotes", " \"Smith, A. B.\"   <alice@example.org> ", "alice@example.org"},
	{"a name with an apostrophe", " Pat O'Neil-Smith 2 <pat.o-neil+x@sub.example.org>", "pat.o-neil+x@sub.example.org"},
	{"words without brackets", " Alice alice@example.org", NULL},
	{"words behind a quoted name", " \"A\" B <alice@example.org>", "alice@example.org"},
	{"two quoted names", " \"A\" \"B\" <alice@example.org>", "alice@example.org"},
	{"two dots", " Alice <al..ice@example.org>", NULL},
	{"a dot at the end of the local part", " alice.@example.org", NULL},
	{"a dot in front", " .alice@example.org", NULL},
	{"two dots in the domain", " alice@example..org", NULL},
	{"a dot at the end", " alice@example.org.", NULL},
	{"blanks in the brackets", " Alice < alice@example.org >", "alice@example.org"},
	{"two signs", " alice@bob@example.org", NULL},
	{"nothing", " ", NULL},
	{"a group", " Friends: alice@example.org;", NULL},
	{"an empty group", " undisclosed-recipients:;", NULL},
	{"no domain", " alice", NULL},
	{"a name only", " Alice <>", NULL},
	{"two addresses without a comma", " alice@example.org bob@example.org", NULL},
	{"an unquoted address as the name of another", " alice@example.org <bob@example.org>", NULL},
	{"two bracketed addresses", " <alice@example.org> <bob@example.org>", NULL},
	{"an address in a comment that does not end", " alice@example.org (bob@example.org", NULL},
	{"a quote that does not end", " \"alice <alice@example.org>", NULL},
	{"a bracket that does not end", " Alice <alice@example.org", NULL},
	{"a bracket too many", " Alice <alice@example.org>>", NULL},
	{"a route", " <@a.example,@b.example:alice@example.org>", NULL},
	{"an address literal", " alice@[192.0.2.1]", NULL},
	{"a second address hidden behind a comma in brackets", " <alice@example.org,bob@example.org>", NULL},
	{"rubbish behind the address", " Alice <alice@example.org> bob", NULL},
};

START_TEST(addresses_are_read_strictly)
{
	struct strlist found = {0};
	struct buf joined = BUF_INIT;
	bool ok = mime_addresses(&found, addresses[_i].value);

	for (size_t i = 0; i < found.n; i++)
		buf_printf(&joined, "%s%s", i ? " " : "", found.v[i]);
	ck_assert_msg(ok == (addresses[_i].found != NULL), "%s: '%s'", addresses[_i].sentence, buf_str(&joined));
	ck_assert_msg(strcmp(buf_str(&joined), ok ? addresses[_i].found : "") == 0, "%s: '%s'", addresses[_i].sentence, buf_str(&joined));
	buf_clear(&joined);
	strlist_clear(&found);
}
END_TEST

START_TEST(dates_are_read)
{
	time_t t;

	ck_assert(mime_date(" Sun, 22 Nov 2026 08:00:00 +0100", &t));
	ck_assert_int_eq(t, 1795330800);
	ck_assert(mime_date("22 Nov 2026 07:00:00 GMT", &t));
	ck_assert_int_eq(t, 1795330800);
	ck_assert(!mime_date("", &t));
	ck_assert(!mime_date(" yesterday", &t));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mime");
	TCase *tc = tcase_create("mime"), *large = tcase_create("large");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, header_list_keeps_order_and_instances);
	tcase_add_test(tc, header_memory_has_a_cap);
	tcase_add_loop_test(tc, scan_sees_what_is_unsafe_however_it_arrives, 0, COUNT(scans));
	tcase_add_loop_test(tc, kind_of_mail_shows_in_its_header, 0, COUNT(kinds));
	tcase_add_loop_test(tc, reencoding_changes_what_it_must_and_nothing_else, 0, COUNT(reencodings));
	tcase_add_test(tc, a_mail_that_needs_nothing_comes_out_as_it_would_be_signed);
	tcase_add_loop_test(tc, header_text_is_decoded, 0, COUNT(texts));
	tcase_add_loop_test(tc, addresses_are_read_strictly, 0, COUNT(addresses));
	tcase_add_test(tc, dates_are_read);
	suite_add_tcase(suite, tc);
	tcase_set_timeout(large, 120);
	tcase_add_test(large, depth_is_capped);
	tcase_add_test(large, number_of_parts_and_fields_is_capped);
	tcase_add_test(large, a_large_mail_takes_little_memory);
	tcase_add_test(large, threads_do_not_disturb_each_other);
	suite_add_tcase(suite, large);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
