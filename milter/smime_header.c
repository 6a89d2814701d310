/*
 * smime_header.c - the protected header fields of a verified S/MIME message, and whether the outer ones agree (smime.h).
 *
 * The three forms are told apart by what the signed entity is, and what is read here was signed by the sender: only its outer header can
 * be a stranger's work.  Fields are compared by what they mean to us (addresses; decoded text; words), as relays fold and re-encode; and
 * where the outer field is there twice, or not at all, nobody could say which one was protected.
 *
 * What is not protected is believed only where that does no harm: Auto-Submitted (somebody would have to say that the CA's mail is
 * automatic, which it is), Message-ID and Date when the caller makes up for it, Reply-To never.
 */
#include "config.h"

#include "milter/smime.h"

#include <string.h>

#include <gmime/gmime.h>
#include <openssl/asn1t.h>
#include <openssl/err.h>

#define HEADER_MAX 65536
#define FIELDS_MAX 200

/* ---- RFC 7508 section 5: the signed attribute ------------------------------------------------------------------------ */

typedef struct {
	ASN1_VISIBLESTRING *name;
	ASN1_UTF8STRING *value;
	ASN1_INTEGER *status; /* duplicated(0) by default, deleted(1), modified(2) */
} SECURE_FIELD;

typedef struct {
	ASN1_ENUMERATED *canonicalization; /* simple(0), relaxed(1) */
	STACK_OF(SECURE_FIELD) * fields;
} SECURE_FIELDS;

DEFINE_STACK_OF(SECURE_FIELD)

ASN1_SEQUENCE(SECURE_FIELD) = {
	ASN1_SIMPLE(SECURE_FIELD, name, ASN1_VISIBLESTRING),
	ASN1_SIMPLE(SECURE_FIELD, value, ASN1_UTF8STRING),
	ASN1_OPT(SECURE_FIELD, status, ASN1_INTEGER),
} static_ASN1_SEQUENCE_END(SECURE_FIELD)

ASN1_SEQUENCE(SECURE_FIELDS) = {
	ASN1_SIMPLE(SECURE_FIELDS, canonicalization, ASN1_ENUMERATED),
	ASN1_SEQUENCE_OF(SECURE_FIELDS, fields, SECURE_FIELD),
} static_ASN1_SEQUENCE_END(SECURE_FIELDS)

/* It is a SET, not a SEQUENCE; in DER its members stand in the order of their tags, which is the order above.  OpenSSL has no template for
 * that, but takes the other one under SET's tag. */
ASN1_ITEM_TEMPLATE(SECURE_SET) = ASN1_EX_TEMPLATE_TYPE(ASN1_TFLG_IMPTAG | ASN1_TFLG_UNIVERSAL, V_ASN1_SET, SECURE_SET, SECURE_FIELDS)
static_ASN1_ITEM_TEMPLATE_END(SECURE_SET)

static bool no(char why[256], const char *text)
{
	snprintf(why, 256, "%s", text);
	return false;
}

/* The text of a string without NUL; NULL for others. */
static char *string_text(const ASN1_STRING *s)
{
	size_t len = (size_t)ASN1_STRING_length(s);
	const char *data = (const char *)ASN1_STRING_get0_data(s);

	return len > 0 && len <= HEADER_MAX && memchr(data, '\0', len) == NULL && text_is_utf8(data, len) ? strndup(data, len) : NULL;
}

/* The fields we look at must not be said to be deleted or changed in the outer header. */
static bool take_secure_field(const SECURE_FIELD *f, struct headers *out)
{
	char *name = string_text(f->name), *value = string_text(f->value);
	bool ok = name != NULL && strchr(name, ':') == NULL;

	/* A field with nothing in it, or one of odd octets, is none of ours. */
	if (ok && value != NULL && (f->status == NULL || ASN1_INTEGER_get(f->status) == 0))
		ok = headers_add(out, name, value);
	free(name);
	free(value);
	return ok;
}

static bool fields_of_attribute(const struct buf *der, struct headers *out, char why[256])
{
	const unsigned char *p = (const unsigned char *)der->data;
	SECURE_FIELDS *set = (SECURE_FIELDS *)ASN1_item_d2i(NULL, &p, (long)der->len, ASN1_ITEM_rptr(SECURE_SET));
	int64_t canonicalization = -1;
	bool ok = set != NULL && (const char *)p == der->data + der->len &&
		  ASN1_ENUMERATED_get_int64(&canonicalization, set->canonicalization) == 1 && canonicalization >= 0 && canonicalization <= 1 &&
		  sk_SECURE_FIELD_num(set->fields) <= FIELDS_MAX;

	for (int i = 0; ok && i < sk_SECURE_FIELD_num(set->fields); i++)
		ok = take_secure_field(sk_SECURE_FIELD_value(set->fields, i), out);
	ASN1_item_free((ASN1_VALUE *)set, ASN1_ITEM_rptr(SECURE_SET));
	ERR_clear_error();
	return ok || no(why, "the protected header fields (RFC 7508) cannot be read");
}

/* ---- header blocks --------------------------------------------------------------------------------------------------- */

/* Behind the empty line that ends the header; 0 when there is none. */
static size_t header_end(const char *text, size_t len)
{
	size_t line = 0;

	while (line < len) {
		const char *lf = memchr(text + line, '\n', len - line);
		size_t n = lf != NULL ? (size_t)(lf - text) - line : len - line;

		if (lf == NULL)
			return 0;
		if (n == 0 || (n == 1 && text[line] == '\r'))
			return line + n + 1;
		line += n + 1;
	}
	return 0;
}

/* A value as headers_add wants it: no CR, nothing at the end. */
static bool add_field(struct headers *out, GMimeHeader *header)
{
	const char *name = g_mime_header_get_name(header), *raw = g_mime_header_get_raw_value(header);
	struct buf value = BUF_INIT;
	bool ok;

	for (const char *p = raw != NULL ? raw : ""; *p != '\0'; p++)
		if (*p != '\r')
			buf_putc(&value, *p);
	while (value.len > 0 && strchr(" \t\n", value.data[value.len - 1]) != NULL)
		value.data[--value.len] = '\0';
	ok = !value.failed && name != NULL && headers_add(out, name, buf_str(&value));
	buf_clear(&value);
	return ok;
}

bool smime_read_header(const char *text, size_t len, size_t max, struct headers *out, size_t *content_at)
{
	size_t end = header_end(text, len);
	GMimeStream *stream;
	GMimeParser *parser;
	GMimeObject *object;
	GMimeHeaderList *list;
	bool ok = true;

	if (end == 0 || end > max || memchr(text, '\0', end) != NULL)
		return false;
	mime_library();
	/* Only the header: whatever type it names, there is nothing below it to be parsed. */
	stream = g_mime_stream_mem_new_with_buffer(text, end);
	parser = g_mime_parser_new_with_stream(stream);
	object = g_mime_parser_construct_part(parser, NULL);
	list = object != NULL ? g_mime_object_get_header_list(object) : NULL;
	for (int i = 0; ok && list != NULL && i < g_mime_header_list_get_count(list); i++)
		ok = add_field(out, g_mime_header_list_get_header_at(list, i));
	if (object != NULL)
		g_object_unref(object);
	g_object_unref(parser);
	g_object_unref(stream);
	*content_at = end;
	return ok;
}

/* message/rfc822 cannot be encoded (RFC 2046 section 5.2.1), and a mail that is forwarded speaks for somebody else. */
static bool fields_of_message(const struct headers *entity, const char *content, size_t len, struct headers *out, char why[256])
{
	char type[128], forwarded[128];
	size_t at;

	mime_content_type(headers_get(entity, "Content-Type", 0), type, "forwarded", forwarded);
	if (forwarded[0] != '\0' && strcmp(forwarded, "no") != 0)
		return no(why, "what is signed is a forwarded message");
	return smime_read_header(content, len, HEADER_MAX, out, &at) || no(why, "the header of the signed message cannot be read");
}

/* The protected fields, by the form the signer chose. */
static bool protected_fields(const struct smime_entity *e, struct headers *out, const char **form, char why[256])
{
	struct headers entity = {0};
	char type[128], hp[128];
	const char *value;
	size_t content;
	bool ok = false;

	if (e->secure_headers.len > 0) {
		*form = "rfc7508";
		return fields_of_attribute(&e->secure_headers, out, why);
	}
	if (!smime_read_header(buf_str(&e->octets), e->octets.len, HEADER_MAX, &entity, &content)) {
		no(why, "the header of the signed part cannot be read");
		goto out;
	}
	value = headers_get(&entity, "Content-Type", 0);
	mime_content_type(value != NULL ? value : "", type, "hp", hp);
	if (headers_count(&entity, "Content-Type") != 1) {
		no(why, "the header is not protected");
	} else if (strcmp(type, "message/rfc822") == 0) {
		*form = "message/rfc822";
		ok = fields_of_message(&entity, e->octets.data + content, e->octets.len - content, out, why);
	} else if (strcmp(hp, "clear") == 0) {
		*form = "rfc9788";
		*out = entity;
		memset(&entity, 0, sizeof(entity));
		ok = true;
	} else {
		no(why, "the header is not protected");
	}
out:
	headers_clear(&entity);
	return ok;
}

/* ---- do the outer fields agree --------------------------------------------------------------------------------------- */

static bool same_addresses(const char *a, const char *b)
{
	struct strlist left = {0}, right = {0};
	char key[ADDRESS_MAX], other[ADDRESS_MAX];
	bool same = mime_addresses(&left, a) && mime_addresses(&right, b) && left.n == right.n;

	for (size_t i = 0; same && i < left.n; i++)
		same = address_key_of(left.v[i], key, NULL) && address_key_of(right.v[i], other, NULL) && strcmp(key, other) == 0;
	strlist_clear(&left);
	strlist_clear(&right);
	return same;
}

/* White space is one blank, and none at the ends: folding may be anywhere. */
static void collapse(const char *text, struct buf *out)
{
	for (const char *p = text; *p != '\0';) {
		size_t blanks = strspn(p, " \t\r\n");

		p += blanks;
		if (blanks > 0 && out->len > 0 && *p != '\0')
			buf_putc(out, ' ');
		if (*p != '\0')
			buf_putc(out, *p++);
	}
}

static bool same_words(const char *a, const char *b)
{
	struct buf left = BUF_INIT, right = BUF_INIT;
	bool same;

	collapse(a, &left);
	collapse(b, &right);
	same = !left.failed && !right.failed && strcmp(buf_str(&left), buf_str(&right)) == 0;
	buf_clear(&left);
	buf_clear(&right);
	return same;
}

static bool same_text(const char *a, const char *b)
{
	struct buf left = BUF_INIT, right = BUF_INIT;
	bool same = mime_decode_text(&left, a) && mime_decode_text(&right, b) && same_words(buf_str(&left), buf_str(&right));

	buf_clear(&left);
	buf_clear(&right);
	return same;
}

static const struct rule {
	const char *name;
	bool (*same)(const char *a, const char *b);
	bool needed;	/* has to be protected */
	bool outer_too; /* if it is not, the outer one is taken */
} rules[] = {
	{"From", same_addresses, true, false},
	{"To", same_addresses, true, false},
	{"Subject", same_text, true, false},
	{"Reply-To", same_addresses, false, false},
	{"Date", same_words, false, true},
	{"Message-ID", same_words, false, true},
	{"Auto-Submitted", same_words, false, true},
};

static bool field_does(
	const struct rule *r, const struct headers *protected, const struct headers *outer, struct headers *out, char why[256])
{
	const char *inner = headers_get(protected, r->name, 0), *shown = headers_get(outer, r->name, 0);

	if (headers_count(protected, r->name) > 1 || headers_count(outer, r->name) > 1)
		snprintf(why, 256, "more than one %s", r->name);
	else if (inner == NULL && r->needed)
		snprintf(why, 256, "%s is not protected", r->name);
	else if (inner != NULL && shown != NULL && !r->same(inner, shown))
		snprintf(why, 256, "%s is not the protected one", r->name);
	else if (inner != NULL && shown == NULL && r->needed)
		snprintf(why, 256, "no %s outside", r->name);
	else if (inner == NULL && (shown == NULL || !r->outer_too))
		return true;
	else
		return headers_add(out, r->name, inner != NULL ? inner : shown) || no(why, "out of memory");
	return false;
}

bool smime_header_check(const struct smime_entity *e, const struct headers *outer, struct smime_proof *out, const char **form, char why[256])
{
	struct headers protected = {0};
	bool ok = protected_fields(e, &protected, form, why);

	for (size_t i = 0; ok && i < sizeof(rules) / sizeof(rules[0]); i++)
		ok = field_does(&rules[i], &protected, outer, &out->fields, why);
	out->date_protected = headers_count(&protected, "Date") > 0;
	out->message_id_protected = headers_count(&protected, "Message-ID") > 0;
	out->signed_at = e->signed_at;
	headers_clear(&protected);
	return ok;
}
