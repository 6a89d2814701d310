/*
 * tests/fuzz/fuzz_compose.c - a whole message, signed: from the end of its header to what replaces its body.
 *
 * Input: an octet of choices ("@" and up: 1 opaque, 2 header protection, 4 what cannot be re-encoded becomes opaque), an octet that says in pieces
 * of which size the body comes, header fields with LF, an empty line, the body.  What leaves is 7-bit in lines, its signature verifies over
 * exactly what stands between the boundaries, and that is the message that came in, or what the re-encoding by itself makes of it; nothing
 * but a message that cannot be made safe stays unsigned.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "milter/compose.h"
#include "tests/fuzz/fuzz_mail.h"

#define ALICE "alice@b.example"
#define DAY 86400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool held)
{
	if (!held)
		abort();
}

/* ---- one signer for all ------------------------------------------------------------------------------------------------ */

static X509 *leaf;

static void extend(X509 *x, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	must(e != NULL && X509_add_ext(x, e, -1) == 1);
	X509_EXTENSION_free(e);
}

static X509 *certificate(EVP_PKEY *key)
{
	X509 *x = X509_new();

	must(x != NULL && X509_set_version(x, X509_VERSION_3) == 1);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const unsigned char *)"Alice", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	X509_gmtime_adj(X509_getm_notBefore(x), -DAY);
	X509_gmtime_adj(X509_getm_notAfter(x), DAY);
	X509_set_pubkey(x, key);
	extend(x, NID_key_usage, "critical,digitalSignature");
	extend(x, NID_subject_alt_name, "email:" ALICE);
	must(X509_sign(x, key, EVP_sha256()) > 0);
	return x;
}

static struct signer *load(EVP_PKEY *key, X509 *master, EVP_PKEY *master_key)
{
	struct buf wrapped = BUF_INIT;
	unsigned char *der = NULL;
	int len = i2d_X509(leaf, &der);
	struct store_credential c = {.der = der, .der_len = (size_t)len};
	struct err err = ERR_INIT;
	struct signer *s;

	must(len > 0 && keyvault_wrap(&wrapped, key, master, NULL));
	c.wrapped = (unsigned char *)wrapped.data;
	c.wrapped_len = wrapped.len;
	s = signer_load(&c, ALICE, master, master_key, time(NULL), &err);
	must(s != NULL);
	OPENSSL_free(der);
	buf_clear(&wrapped);
	return s;
}

static struct signer *the_signer(void)
{
	static struct signer *s;
	struct buf key_pem = BUF_INIT, pem = BUF_INIT;
	EVP_PKEY *key, *master_key;
	X509 *master;
	BIO *bio;

	if (s != NULL)
		return s;
	must(keyvault_master_new(&key_pem, &pem, NULL));
	bio = BIO_new_mem_buf(key_pem.data, (int)key_pem.len);
	master_key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	BIO_free(bio);
	bio = BIO_new_mem_buf(pem.data, (int)pem.len);
	master = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	BIO_free(bio);
	key = EVP_EC_gen("P-256");
	must(master != NULL && master_key != NULL && key != NULL);
	leaf = certificate(key);
	s = load(key, master, master_key);
	X509_free(master);
	EVP_PKEY_free(master_key);
	EVP_PKEY_free(key);
	buf_clear(&pem);
	buf_clear(&key_pem);
	return s;
}

/* ---- what came of it ------------------------------------------------------------------------------------------------------ */

static bool gather(void *arg, const void *data, size_t len, struct err *err)
{
	buf_append(arg, data, len);
	return true;
}

static void check_lines(const struct buf *text)
{
	size_t line = 0;

	must(text->len >= 2 && memcmp(text->data + text->len - 2, "\r\n", 2) == 0);
	for (size_t i = 0; i < text->len; i++) {
		unsigned char c = (unsigned char)text->data[i];

		must(c != 0 && c < 128 && (c == '\r') == (i + 1 < text->len && text->data[i + 1] == '\n'));
		if (c == '\n') {
			must(i - 1 - line <= 998);
			line = i + 1;
		}
	}
}

/* The signature's content, of `entity` when it is detached. */
static void verify(const char *base64, size_t len, const char *entity, size_t entity_len, struct buf *content)
{
	BIO *source = BIO_new_mem_buf(base64, (int)len), *decoder = BIO_push(BIO_new(BIO_f_base64()), source);
	BIO *detached = entity != NULL ? BIO_new_mem_buf(entity_len > 0 ? entity : "", (int)entity_len) : NULL, *out = BIO_new(BIO_s_mem());
	CMS_ContentInfo *cms = d2i_CMS_bio(decoder, NULL);
	STACK_OF(X509) * signers;
	char *data;
	long got;

	must(cms != NULL && CMS_is_detached(cms) == (entity != NULL));
	must(CMS_verify(cms, NULL, NULL, detached, out, CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY) == 1);
	signers = CMS_get0_signers(cms);
	must(sk_X509_num(signers) == 1 && X509_cmp(sk_X509_value(signers, 0), leaf) == 0);
	got = BIO_get_mem_data(out, &data);
	buf_append(content, data, (size_t)got);
	sk_X509_free(signers);
	CMS_ContentInfo_free(cms);
	BIO_free(detached);
	BIO_free(out);
	BIO_free_all(decoder);
}

static const char *find(const char *in, const char *end, const char *what)
{
	return in ? memmem(in, (size_t)(end - in), what, strlen(what)) : NULL;
}

/* Between the boundaries, which stand nowhere else. */
static void take_apart(const struct composition *c, const struct buf *body, struct buf *content)
{
	const char *boundary = strstr(buf_str(&c->content_type), "boundary=\""), *end = body->data + body->len, *first, *second, *last, *base64;
	char delimiter[100];

	must(boundary != NULL && strncmp(buf_str(&c->content_type), "multipart/signed;", 17) == 0);
	must(strstr(buf_str(&c->content_type), "micalg=sha-256;") != NULL);
	boundary += strlen("boundary=\"");
	snprintf(delimiter, sizeof(delimiter), "\r\n--%.*s", (int)strcspn(boundary, "\""), boundary);
	first = find(body->data, end, delimiter);
	second = first ? find(first + 1, end, delimiter) : NULL;
	last = second ? find(second + 1, end, delimiter) : NULL;
	must(last != NULL && find(last + 1, end, delimiter + 2) == last + 2 && find(last + 3, end, delimiter + 2) == NULL);
	must((size_t)(end - last) == strlen(delimiter) + 4 && memcmp(end - 4, "--\r\n", 4) == 0);
	first += strlen(delimiter);
	must(memcmp(first, "\r\n", 2) == 0 && memcmp(second + strlen(delimiter), "\r\n", 2) == 0);
	first += 2;
	base64 = find(second, end, "\r\n\r\n");
	must(base64 != NULL && base64 < last && first <= second);
	verify(base64 + 4, (size_t)(last + 2 - base64 - 4), first, (size_t)(second - first), content);
}

/* What the message is without a signature: as it came, or made safe. */
static void expected(const struct composition *c, struct buf *out)
{
	struct spool *made;

	if (!c->reencoded) {
		mime_entity_header(out, c->headers, c->protect);
		must(spool_each(c->body, gather, out, NULL));
		return;
	}
	made = spool_new("/tmp", NULL);
	must(made && mime_reencode(c->headers, c->protect, c->body, made, NULL, NULL) && spool_each(made, gather, out, NULL));
	spool_free(made);
}

static void check_protection(const struct composition *c, const struct buf *entity)
{
	struct headers inner = {0};
	struct buf text = BUF_INIT;
	char type[128], hp[128];

	for (size_t i = 0; i < entity->len; i++)
		if (entity->data[i] != '\r' || i + 1 == entity->len || entity->data[i + 1] != '\n')
			buf_putc(&text, entity->data[i]);
	fuzz_read_header(&inner, buf_str(&text), text.len);
	must(headers_count(&inner, "Content-Type") == 1);
	mime_content_type(headers_get(&inner, "Content-Type", 0), type, "hp", hp);
	/* An opaque one that was not made safe is inside as it came, which need not be readable. */
	must(strcmp(hp, "clear") == 0 || (c->form == FORM_OPAQUE && !c->reencoded && c->why));
	must(headers_count(&inner, "Subject") == headers_count(c->headers, "Subject"));
	headers_clear(&inner);
	buf_clear(&text);
}

static void check_result(const struct composition *c, enum signed_form wanted)
{
	struct buf body = BUF_INIT, content = BUF_INIT, entity = BUF_INIT;

	must(c->form == wanted || (c->form == FORM_OPAQUE && c->unencodable == FORM_OPAQUE && c->why && !c->reencoded));
	buf_append(&body, c->head.data, c->head.len);
	must(spool_each(c->middle, gather, &body, NULL));
	buf_append(&body, c->tail.data, c->tail.len);
	check_lines(&body);
	if (c->form == FORM_OPAQUE)
		verify(body.data, body.len, NULL, 0, &content);
	else
		take_apart(c, &body, &content);
	expected(c, &entity);
	must(content.len == entity.len && memcmp(content.data, entity.data, entity.len) == 0);
	if (c->protect)
		check_protection(c, &entity);
	buf_clear(&body);
	buf_clear(&content);
	buf_clear(&entity);
}

static bool feed(struct composition *c, const uint8_t *body, size_t len, size_t piece)
{
	bool ok = true;

	for (size_t at = 0; ok && at < len; at += piece)
		ok = compose_body(c, body + at, len - at < piece ? len - at : piece, NULL);
	return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct headers h = {0};
	struct err err = ERR_INIT;
	struct composition c = {.headers = &h, .signer = the_signer(), .spool_directory = "/tmp"};
	enum signed_form form;
	const char *why;
	size_t at;

	if (size < 2)
		return 0;
	form = data[0] & 1 ? FORM_OPAQUE : FORM_DETACHED;
	c.protect = data[0] & 2;
	c.unencodable = data[0] & 4 ? FORM_OPAQUE : FORM_UNSIGNED;
	at = fuzz_read_header(&h, (const char *)data + 2, size - 2) + 2;
	if (mime_classify(&h, &why) == MIME_PLAIN) {
		c.body = spool_new("/tmp", NULL);
		must(compose_begin(&c, &err) && feed(&c, data + at, size - at, data[1] + 1u));
		mime_scan_finish(&c.scan);
		if (compose_finish(&c, form, &err))
			check_result(&c, form);
		else
			must(err.class == ERR_POLICY && form == FORM_DETACHED && c.unencodable == FORM_UNSIGNED);
		must(ERR_peek_error() == 0);
		spool_free(c.body);
		compose_clear(&c);
	}
	headers_clear(&h);
	return 0;
}
