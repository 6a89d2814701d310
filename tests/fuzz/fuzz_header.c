/*
 * tests/fuzz/fuzz_header.c - a header as strangers may write it, through everything that reads a field, and the header that is signed.
 *
 * Input: header fields with LF, as the MTA gives them.  Beyond not crashing: an author that is accepted is a canonical address of ours, and fields
 * that may be protected (RFC 9788) are in the entity's header as they stand outside, in a form that no relay has to touch.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "milter/outbound.h"
#include "tests/fuzz/fuzz_mail.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool held)
{
	if (!held)
		abort();
}

/* ---- values ---------------------------------------------------------------------------------------------------------- */

/* Read again, an address says the same. */
static void check_addresses(const char *value)
{
	struct strlist found = {0}, again = {0};

	if (mime_addresses(&found, value)) {
		must(found.n > 0);
		for (size_t i = 0; i < found.n; i++) {
			struct address a;
			char text[ADDRESS_MAX];

			must(address_parse(&a, found.v[i], NULL) && strcmp(address_text(&a, text), found.v[i]) == 0);
			must(mime_addresses(&again, found.v[i]) && again.n == 1 && strcmp(again.v[0], found.v[i]) == 0);
			strlist_clear(&again);
		}
	} else {
		must(found.n == 0);
	}
	strlist_clear(&found);
}

static void check_type(const char *value)
{
	char type[128], parameter[128];

	mime_content_type(value, type, "boundary", parameter);
	must(strchr(type, '/') != NULL || strlen(type) == sizeof(type) - 1);
	for (const char *p = type; *p != '\0'; p++)
		must(*p < 'A' || *p > 'Z');
}

static void check_value(const char *value)
{
	struct buf text = BUF_INIT;
	time_t date;

	if (mime_decode_text(&text, value))
		must(text_is_utf8(buf_str(&text), text.len));
	buf_clear(&text);
	check_addresses(value);
	check_type(value);
	mime_date(value, &date);
}

/* ---- the author ------------------------------------------------------------------------------------------------------ */

static void check_author(struct mail_facts *m)
{
	static struct config config;
	struct address a;
	char text[ADDRESS_MAX];
	const char *why = NULL;

	if (config.domains.n == 0)
		must(strlist_add(&config.domains, "b.example") && strlist_add(&config.domains, "xn--bcher-kva.example"));
	if (!outbound_from(&config, m, &why)) {
		must(why != NULL && m->from[0] == '\0');
		return;
	}
	must(headers_count(&m->headers, "From") == 1);
	must(address_parse(&a, m->from, NULL) && strcmp(address_text(&a, text), m->from) == 0 && strlist_has(&config.domains, a.domain));
}

static void check_kind(const struct mail_facts *m)
{
	static struct submission relay = {.vouch = VOUCH_RELAY};
	const char *why = NULL;

	if (relay.own_mx.n == 0)
		must(strlist_add(&relay.own_mx, "mx.b.example"));
	if (outbound_from_outside(&relay, m, &why))
		must(why != NULL);
	why = NULL;
	if (outbound_untouched(m, &why))
		must(why != NULL);
	outbound_is_list_mail(m);
	outbound_is_auto_submitted(m);
}

/* ---- the protected header -------------------------------------------------------------------------------------------- */

static bool is_protected(const char *name)
{
	static const char *const fields[] = {"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "References"};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (str_eq_nocase(name, fields[i]))
			return true;
	return false;
}

/* Without line ends, and without blanks around it. */
static void unfold(struct buf *out, const char *value)
{
	value += strspn(value, " \t\r\n");
	for (; *value != '\0'; value++)
		if (*value != '\r' && *value != '\n')
			buf_putc(out, *value);
	while (out->len > 0 && strchr(" \t", out->data[out->len - 1]) != NULL)
		out->data[--out->len] = '\0';
}

static void same_value(const char *a, const char *b)
{
	struct buf left = BUF_INIT, right = BUF_INIT;

	must(a != NULL && b != NULL);
	unfold(&left, a);
	unfold(&right, b);
	must(strcmp(buf_str(&left), buf_str(&right)) == 0);
	buf_clear(&left);
	buf_clear(&right);
}

/* As relays may take them away. */
static void without_trailing_blanks(const char *value)
{
	size_t len = value ? strlen(value) : 0;

	must(value && !strstr(value, " \n") && !strstr(value, "\t\n") && (len == 0 || strchr(" \t", value[len - 1]) == NULL));
}

static void check_lines(const struct buf *text)
{
	size_t line = 0;

	must(text->len >= 4 && memcmp(text->data + text->len - 4, "\r\n\r\n", 4) == 0);
	must(memmem(text->data, text->len - 1, "\r\n\r\n", 4) == NULL);
	for (size_t i = 0; i < text->len; i++) {
		unsigned char c = (unsigned char)text->data[i];

		must(c != 0 && c < 128 && (c == '\r') == (i + 1 < text->len && text->data[i + 1] == '\n'));
		if (c == '\n') {
			must(i - 1 - line <= 998);
			line = i + 1;
		}
	}
}

static void check_protected(const struct headers *h, const struct buf *entity)
{
	struct headers inner = {0};
	struct buf text = BUF_INIT;
	char type[128], before[128], hp[128];

	for (size_t i = 0; i < entity->len; i++)
		if (entity->data[i] != '\r')
			buf_putc(&text, entity->data[i]);
	fuzz_read_header(&inner, buf_str(&text), text.len);
	for (size_t i = 0, nth; i < h->n; i++) {
		if (!is_protected(h->v[i].name))
			continue;
		nth = 0;
		for (size_t k = 0; k < i; k++)
			nth += str_eq_nocase(h->v[k].name, h->v[i].name);
		without_trailing_blanks(headers_get(&inner, h->v[i].name, nth));
		same_value(h->v[i].value, headers_get(&inner, h->v[i].name, nth));
	}
	must(headers_count(&inner, "Content-Type") == 1);
	mime_content_type(headers_get(&inner, "Content-Type", 0), type, "hp", hp);
	must(strcmp(hp, "clear") == 0);
	mime_content_type(headers_count(h, "Content-Type") ? headers_get(h, "Content-Type", 0) : "text/plain", before, NULL, NULL);
	must(strcmp(type, before) == 0);
	headers_clear(&inner);
	buf_clear(&text);
}

static void check_entity(const struct headers *h)
{
	struct buf plain = BUF_INIT, entity = BUF_INIT;
	struct mime_scan body = {0};
	const char *why, *unsafe;
	bool protect = mime_can_protect(h, &why);

	must(protect == (why == NULL));
	if (mime_classify(h, &unsafe) != MIME_PLAIN)
		protect = false;
	mime_scan_finish(&body);
	mime_entity_header(&plain, h, false);
	must(plain.len >= 2 && memcmp(plain.data + plain.len - 2, "\r\n", 2) == 0);
	if (protect) {
		mime_entity_header(&entity, h, true);
		/* Otherwise its structure fields are written anew. */
		if (!mime_needs_encoding(h, &body, &unsafe)) {
			check_lines(&entity);
			check_protected(h, &entity);
		}
	}
	buf_clear(&plain);
	buf_clear(&entity);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mail_facts m = {.envelope_from = "a@b.example"};

	fuzz_read_header(&m.headers, (const char *)data, size);
	for (size_t i = 0; i < m.headers.n; i++)
		check_value(m.headers.v[i].value);
	check_author(&m);
	check_kind(&m);
	check_entity(&m.headers);
	headers_clear(&m.headers);
	return 0;
}
