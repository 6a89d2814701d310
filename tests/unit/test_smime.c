/*
 * tests/unit/test_smime.c - milter/smime: which S/MIME-signed challenge is believed, and what of it.
 *
 * The mails are made here with OpenSSL's CMS, the RFC 7508 attribute octet by octet; nothing is shared with the code under test.
 *
 * This file is over 800 lines because signers, mails and what is done to them stand beside the one table that uses them.
 */
#include "config.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "milter/inbound.h"
#include "milter/smime.h"
#include "tests/unit/certificates.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define SECURE_HEADERS "1.2.840.113549.1.9.16.2.55"
#define TOKEN "LgYemJLy3F1LDkiJrdIGbEzyFJyOyf6vBdyZ1TG3sME"
#define FROM "From: ACME <acme@ca.example>\r\n"
#define TO "To: alice@example.org\r\n"
#define SUBJECT "Subject: ACME: " TOKEN "\r\n"
#define DATE "Date: Sun, 22 Nov 2026 08:00:00 +0000\r\n"
#define MESSAGE_ID "Message-ID: <1@ca.example>\r\n"
#define REPLY_TO "Reply-To: reply@ca.example\r\n"
#define AUTO "Auto-Submitted: auto-generated; type=acme\r\n"
#define FIELDS FROM TO SUBJECT DATE MESSAGE_ID REPLY_TO AUTO
#define TEXT "Content-Type: text/plain; charset=us-ascii\r\n"
#define NESTED                                                                                                                         \
	"--b1\r\nContent-Type: text/plain\r\n\r\nx\r\n--b1\r\nContent-Type: text/html\r\n\r\n<p>--b\r\n--b1--\r\n"

static X509_STORE *anchors;
static struct config config;

/* ---- signers ------------------------------------------------------------------------------------------------------------ */

enum who {
	CA, /* an EC key, under an intermediate */
	CA_RSA,
	CA_OTHER_CASE,
	CA_TWO_NAMES,
	OTHER_ADDRESS,
	NO_ADDRESS,
	SUBJECT_ADDRESS,
	NUL_ADDRESS,
	ENDED,
	NOT_YET,
	NO_PURPOSE,
	TLS_PURPOSE,
	ENCRYPTION_ONLY,
	UNDER_ENDED,
	UNDER_TLS,
	UNDER_OTHER,
	SHA1_CERTIFICATE,
	SMALL_KEY,
	SIGNERS
};
static struct {
	X509 *certificate;
	EVP_PKEY *key;
	struct authority *issuer;
} signers[SIGNERS];
static EVP_PKEY *small_key;

static void make_signer(enum who who, struct spec s)
{
	static char serials[SIGNERS][8];

	snprintf(serials[who], sizeof(serials[who]), "7F%02X", (unsigned)who + 1);
	s.serial = serials[who];
	signers[who].certificate = spec_make(&s);
	signers[who].key = s.key;
	signers[who].issuer = (struct authority *)s.issuer;
}

static struct spec spec_signer(void)
{
	struct spec s = spec_clean(VALIDATION_ORGANIZATION, GENERATION_STRICT, time(NULL));

	spec_set(&s, "subjectAltName", "email:acme@ca.example");
	return s;
}

#define MAKE(who, change)                                                                                                              \
	do {                                                                                                                           \
		struct spec s = spec_signer();                                                                                         \
		change;                                                                                                                \
		make_signer(who, s);                                                                                                   \
	} while (0)

static void nul_in_address(struct buf *der)
{
	char *at = memmem(der->data, der->len, "acme@ca.exampleX", 16);

	ck_assert_ptr_nonnull(at);
	at[15] = '\0'; /* the certificate's own signature is broken by that; its address is looked at first */
}

static void signers_setup(void)
{
	certificates_setup();
	small_key = key_of("RSA", "1024");
	MAKE(CA, (void)0);
	MAKE(CA_RSA, s.key = user_rsa);
	MAKE(CA_OTHER_CASE, spec_set(&s, "subjectAltName", "email:ACME@CA.Example"));
	MAKE(CA_TWO_NAMES, spec_set(&s, "subjectAltName", "DNS:ca.example,email:sales@ca.example,email:acme@ca.example"));
	MAKE(OTHER_ADDRESS, spec_set(&s, "subjectAltName", "email:acme@ca.example.evil.example"));
	MAKE(NO_ADDRESS, spec_set(&s, "subjectAltName", "DNS:ca.example,URI:mailto:acme@ca.example"));
	MAKE(SUBJECT_ADDRESS, (spec_set(&s, "subjectAltName", NULL), spec_name_typed(&s, "emailAddress", "acme@ca.example", V_ASN1_IA5STRING)));
	MAKE(NUL_ADDRESS, (spec_set(&s, "subjectAltName", "email:acme@ca.exampleX"), s.edit = nul_in_address));
	MAKE(ENDED, (s.not_before = time(NULL) - 10 * 86400, s.not_after = time(NULL) - 60));
	MAKE(NOT_YET, s.not_before = time(NULL) + 3600);
	MAKE(NO_PURPOSE, spec_set(&s, "extendedKeyUsage", NULL));
	MAKE(TLS_PURPOSE, spec_set(&s, "extendedKeyUsage", "clientAuth,serverAuth"));
	MAKE(ENCRYPTION_ONLY, spec_set(&s, "keyUsage", "critical,keyAgreement"));
	MAKE(UNDER_ENDED, s.issuer = &authority_ended);
	MAKE(UNDER_TLS, s.issuer = &authority_tls);
	MAKE(UNDER_OTHER, s.issuer = &authority_other);
	MAKE(SHA1_CERTIFICATE, s.digest = "SHA1");
	MAKE(SMALL_KEY, s.key = small_key);
	anchors = X509_STORE_new();
	X509_get_extension_flags(authority_root.certificate); /* read before threads share it, as certcheck_anchors does */
	ck_assert_int_eq(X509_STORE_add_cert(anchors, authority_root.certificate), 1);
	memset(&config, 0, sizeof(config));
	config.ca.authentication = CHALLENGE_DKIM_OR_SMIME;
	config.ca.require_auto_submitted = true;
	config.ca.challenge_anchor_file = (char[]){"/anchors.pem"};
}

static void signers_teardown(void)
{
	for (int i = 0; i < SIGNERS; i++)
		X509_free(signers[i].certificate);
	X509_STORE_free(anchors);
	EVP_PKEY_free(small_key);
	certificates_teardown();
}

/* ---- DER ---------------------------------------------------------------------------------------------------------------- */

static void tlv(struct buf *out, int tag, const void *data, size_t len)
{
	buf_putc(out, (char)tag);
	if (len > 65535)
		buf_putc(out, (char)0x83), buf_putc(out, (char)(len >> 16)), buf_putc(out, (char)(len >> 8));
	else if (len > 255)
		buf_putc(out, (char)0x82), buf_putc(out, (char)(len >> 8));
	else if (len > 127)
		buf_putc(out, (char)0x81);
	buf_putc(out, (char)len);
	buf_append(out, data, len);
}

/* One more HeaderField of the attribute; status < 0: left out. */
static void secure_field(struct buf *out, const char *name, const char *value, int status)
{
	struct buf field = BUF_INIT;
	char octet = (char)status;

	tlv(&field, 0x1a, name, strlen(name));
	tlv(&field, 0x0c, value, strlen(value));
	if (status >= 0)
		tlv(&field, 0x02, &octet, 1);
	tlv(out, 0x30, field.data, field.len);
	buf_clear(&field);
}

/* The attribute of header text.  `status` goes to Subject. */
static void secure_headers(struct buf *out, const char *text, char algorithm, int status)
{
	struct buf fields = BUF_INIT, set = BUF_INIT;
	char *copy = strdup(text), *line = copy, *next;

	for (; *line != '\0'; line = next) {
		char *colon = strchr(line, ':'), *end = strstr(line, "\r\n");

		while (end[2] == ' ' || end[2] == '\t')
			end = strstr(end + 2, "\r\n");
		next = end + 2;
		*end = *colon = '\0';
		secure_field(&fields, line, colon + 2, strcmp(line, "Subject") == 0 ? status : -1);
	}
	tlv(&set, 0x0a, &algorithm, 1);
	tlv(&set, 0x30, fields.data, fields.len);
	tlv(out, 0x31, set.data, set.len);
	free(copy);
	buf_clear(&set);
	buf_clear(&fields);
}

/* ---- mails -------------------------------------------------------------------------------------------------------------- */

struct mail {
	struct headers h;
	struct buf body;
};

enum form { WRAP, RFC7508, RFC9788, UNPROTECTED };

struct row {
	const char *sentence;
	enum form form;
	bool opaque;
	const char *protect;	   /* header text that is protected; NULL = all */
	const char *outer, *value; /* this outer field is so instead; value NULL = is missing */
	bool twice;		   /* or is there beside the other */
	enum who who;
	int second; /* one more signer; 0 = none */
	const char *digest;
	const char *part; /* header of the signed part (WRAP: in front of the message) */
	const char *text; /* its content */
	const char *from; /* outer From, if not the usual */
	bool no_intermediate, lf, embed, octets_behind;
	char algorithm;
	int status, attribute_tag;
	const char *attribute; /* hex of it instead */
	bool two_values;
	void (*edit)(struct mail *m);
	const char *how; /* part of the reason; NULL = it passes */
};

static void read_fields(struct headers *h, const char *text)
{
	char *copy = strdup(text), *line = copy, *next;

	for (; *line != '\0'; line = next) {
		char *end = strstr(line, "\r\n"), *colon = strchr(line, ':');

		while (end[2] == ' ' || end[2] == '\t')
			end = strstr(end + 2, "\r\n");
		next = end + 2;
		*end = *colon = '\0';
		ck_assert(headers_add(h, line, colon + 1));
	}
	free(copy);
}

static void replace(struct headers *h, const char *name, const char *value)
{
	for (size_t i = 0; i < h->n; i++) {
		if (!str_eq_nocase(h->v[i].name, name))
			continue;
		free(h->v[i].value);
		free(h->v[i].name);
		memmove(h->v + i, h->v + i + 1, (h->n - i - 1) * sizeof(*h->v));
		h->n--;
		break;
	}
	ck_assert(value == NULL || headers_add(h, name, value));
}

static void make_entity(const struct row *r, struct buf *out)
{
	const char *protect = r->protect ? r->protect : FIELDS, *text = r->text ? r->text : "Hello.\r\n";

	if (r->form == WRAP)
		buf_printf(out, "%s\r\n%s%s\r\n%s", r->part ? r->part : "Content-Type: message/rfc822\r\n", protect, TEXT, text);
	else if (r->form == RFC9788)
		buf_printf(out, "%s%s\r\n%s", protect, r->part ? r->part : "Content-Type: text/plain; hp=\"clear\"\r\n", text);
	else
		buf_printf(out, "%s\r\n%s", r->part ? r->part : TEXT, text);
	if (!r->lf)
		return;
	for (size_t from = 0, to = out->len, i = out->len = 0; i < to; i++, from++)
		if (out->data[from] != '\r')
			out->data[out->len++] = out->data[from];
}

static void add_attribute(const struct row *r, CMS_SignerInfo *signer)
{
	struct buf der = BUF_INIT;
	X509_ATTRIBUTE *attribute;
	unsigned char *octets;
	long len;

	if (r->attribute) {
		octets = OPENSSL_hexstr2buf(r->attribute, &len);
		buf_append(&der, octets, (size_t)len);
		OPENSSL_free(octets);
	} else {
		secure_headers(&der, r->protect ? r->protect : FIELDS, r->algorithm, r->status ? r->status : -1);
	}
	attribute = X509_ATTRIBUTE_create_by_txt(NULL, SECURE_HEADERS, r->attribute_tag ? r->attribute_tag : V_ASN1_SET, (unsigned char *)der.data, (int)der.len);
	ck_assert_ptr_nonnull(attribute);
	if (r->two_values)
		ck_assert_int_eq(X509_ATTRIBUTE_set1_data(attribute, V_ASN1_SET, der.data, (int)der.len), 1);
	ck_assert_int_eq(CMS_signed_add1_attr(signer, attribute), 1);
	X509_ATTRIBUTE_free(attribute);
	buf_clear(&der);
}

static void sign(const struct row *r, const struct buf *entity, struct buf *der)
{
	unsigned flags = CMS_PARTIAL | CMS_BINARY | CMS_NOSMIMECAP | (r->opaque || r->embed ? 0 : CMS_DETACHED);
	const int who[] = {(int)r->who, r->second};
	CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, flags);
	BIO *in = BIO_new_mem_buf(entity->data, (int)entity->len);
	unsigned char *out = NULL;
	int len;

	for (int i = 0; i < 1 + (r->second > 0); i++) {
		CMS_SignerInfo *signer = CMS_add1_signer(cms, signers[who[i]].certificate, signers[who[i]].key,
			EVP_get_digestbyname(r->digest ? r->digest : "SHA256"), CMS_NOSMIMECAP);

		ck_assert_ptr_nonnull(signer);
		if (r->form == RFC7508)
			add_attribute(r, signer);
		if (!r->no_intermediate && i == 0)
			ck_assert_int_eq(CMS_add1_cert(cms, signers[who[i]].issuer->certificate), 1);
	}
	ck_assert_int_eq(CMS_final(cms, in, NULL, flags), 1);
	len = i2d_CMS_ContentInfo(cms, &out);
	buf_append(der, out, (size_t)len);
	OPENSSL_free(out);
	BIO_free(in);
	CMS_ContentInfo_free(cms);
}

static void make_mail(const struct row *r, struct mail *m)
{
	struct buf entity = BUF_INIT, der = BUF_INIT;

	memset(m, 0, sizeof(*m));
	make_entity(r, &entity);
	sign(r, &entity, &der);
	if (r->octets_behind)
		buf_puts(&der, "more");
	read_fields(&m->h, FIELDS "MIME-Version: 1.0\r\n");
	if (r->from)
		replace(&m->h, "From", r->from);
	if (r->outer && r->twice)
		ck_assert(headers_add(&m->h, r->outer, r->value));
	else if (r->outer)
		replace(&m->h, r->outer, r->value);
	if (r->opaque) {
		read_fields(&m->h, "Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n");
		base64_encode(&m->body, der.data, der.len, 76, "\r\n");
	} else {
		read_fields(&m->h, "Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; micalg=sha-256;\r\n\tboundary=\"b\"\r\n");
		buf_puts(&m->body, "preamble\r\n--b\r\n");
		buf_append(&m->body, entity.data, entity.len);
		buf_puts(&m->body, "\r\n--b\r\nContent-Type: application/pkcs7-signature; name=smime.p7s\r\nContent-Transfer-Encoding: base64\r\n\r\n");
		base64_encode(&m->body, der.data, der.len, 76, "\r\n");
		buf_puts(&m->body, "--b--\r\n");
	}
	if (r->edit)
		r->edit(m);
	buf_clear(&entity);
	buf_clear(&der);
}

static void mail_clear(struct mail *m)
{
	headers_clear(&m->h);
	buf_clear(&m->body);
}

static enum smimecheck ask(const struct mail *m, const char *from, struct smime_proof *proof, char how[256])
{
	struct spool *s = spool_new("/tmp", NULL);
	enum smimecheck result;

	ck_assert(spool_write(s, m->body.data, m->body.len, NULL));
	result = smimecheck(&m->h, s, anchors, from, proof, how);
	spool_free(s);
	ck_assert_uint_eq(ERR_peek_error(), 0);
	return result;
}

/* ---- after it was signed ------------------------------------------------------------------------------------------------- */

static void swap(struct mail *m, const char *what, const char *by)
{
	char *at = memmem(m->body.data, m->body.len, what, strlen(what));
	struct buf out = BUF_INIT;
	size_t before;

	ck_assert_msg(at != NULL, "%s", what);
	before = (size_t)(at - m->body.data);
	buf_append(&out, m->body.data, before);
	buf_puts(&out, by);
	buf_append(&out, at + strlen(what), m->body.len - before - strlen(what));
	buf_clear(&m->body);
	m->body = out;
}

static void text_changed(struct mail *m) { swap(m, "Hello", "Hallo"); }
static void line_ends_changed(struct mail *m) { swap(m, "Hello.\r\n", "Hello.\n"); }
static void third_part(struct mail *m) { swap(m, "--b--", "--b\r\n\r\nmore\r\n--b--"); }
static void no_end(struct mail *m) { swap(m, "--b--", ""); }
static void one_part(struct mail *m) { swap(m, "\r\n--b\r\nContent-Type: application/pkcs7-signature", "\r\n--b--\r\nContent-Type: application/pkcs7-signature"); }
static void padding_behind(struct mail *m) { swap(m, "preamble\r\n--b\r\n", "--b \t\r\n"); }
static void epilogue(struct mail *m) { buf_puts(&m->body, "\r\nFrom here on nobody reads.\r\n"); }
static void other_second_part(struct mail *m) { swap(m, "application/pkcs7-signature; name", "application/octet-stream; name"); }
static void x_pkcs7(struct mail *m) { swap(m, "application/pkcs7-signature; name", "Application/X-PKCS7-Signature; name"); }
static void uuencoded(struct mail *m) { swap(m, "Encoding: base64", "Encoding: x-uuencode"); }
static void no_signature(struct mail *m) { swap(m, "base64\r\n\r\nMII", "base64\r\n\r\n--b--\r\n"); }
static void not_der(struct mail *m) { swap(m, "base64\r\n\r\nMII", "base64\r\n\r\nAAA"); }
static void pgp(struct mail *m) { replace(&m->h, "Content-Type", " multipart/signed; protocol=\"application/pgp-signature\"; boundary=b"); }
static void no_boundary(struct mail *m) { replace(&m->h, "Content-Type", " multipart/signed; protocol=\"application/pkcs7-signature\""); }
static void other_boundary(struct mail *m) { replace(&m->h, "Content-Type", " multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=c"); }
static void two_types(struct mail *m) { ck_assert(headers_add(&m->h, "Content-Type", " text/plain")); }
static void empty_body(struct mail *m) { buf_reset(&m->body); }
static void enveloped(struct mail *m)
{
	STACK_OF(X509) *to = sk_X509_new_null();
	BIO *in = BIO_new_mem_buf("x", 1);
	CMS_ContentInfo *cms;
	unsigned char *out = NULL;
	int len;

	sk_X509_push(to, signers[CA_RSA].certificate);
	cms = CMS_encrypt(to, in, EVP_aes_128_cbc(), CMS_BINARY);
	len = i2d_CMS_ContentInfo(cms, &out);
	buf_reset(&m->body);
	base64_encode(&m->body, out, (size_t)len, 76, "\r\n");
	OPENSSL_free(out);
	CMS_ContentInfo_free(cms);
	BIO_free(in);
	sk_X509_free(to);
}
static void certificates_only(struct mail *m)
{
	CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, CMS_PARTIAL | CMS_BINARY);
	BIO *in = BIO_new_mem_buf("x", 1);
	unsigned char *out = NULL;
	int len;

	CMS_add1_cert(cms, signers[CA].certificate);
	CMS_final(cms, in, NULL, CMS_BINARY);
	len = i2d_CMS_ContentInfo(cms, &out);
	buf_reset(&m->body);
	base64_encode(&m->body, out, (size_t)len, 76, "\r\n");
	OPENSSL_free(out);
	BIO_free(in);
	CMS_ContentInfo_free(cms);
}

/* What is inside the value that begins here, and what stands behind it. */
static const unsigned char *value_of(const unsigned char *p, const unsigned char *end, long *len)
{
	int tag, class;

	ck_assert_int_eq(ASN1_get_object(&p, len, &tag, &class, end - p) & 0x80, 0);
	return p;
}

/* As many digest algorithms as fit into a mail: OpenSSL would hash all of the content with each, one calling the next. */
static void many_digests(struct mail *m)
{
	static const unsigned char sha1[] = {0x30, 0x07, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a};
	struct buf digests = BUF_INIT, inner = BUF_INIT, outer = BUF_INIT, all = BUF_INIT;
	unsigned char *der = malloc(m->body.len);
	EVP_ENCODE_CTX *ctx = EVP_ENCODE_CTX_new();
	const unsigned char *p, *type, *signed_data, *digest, *rest, *end;
	int n, last;
	long len;

	EVP_DecodeInit(ctx);
	ck_assert_int_ge(EVP_DecodeUpdate(ctx, der, &n, (unsigned char *)m->body.data, (int)m->body.len), 0);
	ck_assert_int_eq(EVP_DecodeFinal(ctx, der + n, &last), 1);
	end = der + n + last;
	type = value_of(der, end, &len);
	p = value_of(type, end, &len) + len;
	signed_data = value_of(value_of(p, end, &len), end, &len);
	digest = value_of(signed_data, end, &len) + len;
	p = value_of(digest, end, &len);
	rest = p + len;
	buf_append(&digests, p, (size_t)len);
	for (int i = 0; i < 20000; i++)
		buf_append(&digests, sha1, sizeof(sha1));
	buf_append(&inner, signed_data, (size_t)(digest - signed_data));
	tlv(&inner, 0x31, digests.data, digests.len);
	buf_append(&inner, rest, (size_t)(end - rest));
	tlv(&outer, 0x30, inner.data, inner.len);
	p = value_of(type, end, &len) + len;
	buf_append(&all, type, (size_t)(p - type));
	tlv(&all, 0xa0, outer.data, outer.len);
	buf_reset(&outer);
	tlv(&outer, 0x30, all.data, all.len);
	buf_reset(&m->body);
	base64_encode(&m->body, outer.data, outer.len, 76, "\r\n");
	EVP_ENCODE_CTX_free(ctx);
	free(der);
	buf_clear(&digests);
	buf_clear(&inner);
	buf_clear(&outer);
	buf_clear(&all);
}

/* ---- the table ------------------------------------------------------------------------------------------------------------ */

static const struct row rows[] = {
	/* forms */
	{.sentence = "a message wrapped", .form = WRAP},
	{.sentence = "a message wrapped, opaque", .form = WRAP, .opaque = true},
	{.sentence = "a message wrapped, opaque, with bare LF", .form = WRAP, .opaque = true, .lf = true},
	{.sentence = "a message wrapped and said not to be forwarded", .form = WRAP, .part = "Content-Type: message/rfc822; forwarded=no\r\nContent-Disposition: inline\r\n"},
	{.sentence = "a forwarded message", .form = WRAP, .part = "Content-Type: message/rfc822; forwarded=yes\r\n", .how = "forwarded"},
	{.sentence = "a message wrapped twice", .form = WRAP, .part = "Content-Type: message/rfc822\r\n\r\nContent-Type: message/rfc822\r\n", .how = "From is not protected"},
	{.sentence = "a message among other parts", .form = UNPROTECTED, .part = "Content-Type: multipart/mixed; boundary=b1\r\n",
		.text = "--b1\r\nContent-Type: message/rfc822\r\n\r\n" FIELDS "\r\nx\r\n--b1--\r\n", .how = "the header is not protected"},
	{.sentence = "RFC 7508", .form = RFC7508},
	{.sentence = "RFC 7508, relaxed", .form = RFC7508, .algorithm = 1, .protect = "from: ACME <acme@ca.example>\r\nto: alice@example.org\r\nsubject: ACME: " TOKEN "\r\n"},
	{.sentence = "RFC 7508, opaque", .form = RFC7508, .opaque = true},
	{.sentence = "RFC 9788", .form = RFC9788},
	{.sentence = "RFC 9788, opaque", .form = RFC9788, .opaque = true},
	{.sentence = "RFC 9788 over parts whose boundary begins as the outer one", .form = RFC9788, .part = "Content-Type: multipart/alternative; hp=clear; boundary=b1\r\n", .text = NESTED},
	{.sentence = "RFC 9788 for what is encrypted", .form = RFC9788, .part = "Content-Type: text/plain; hp=cipher\r\n", .how = "the header is not protected"},
	{.sentence = "fields in the signed part, but nobody says they count", .form = RFC9788, .part = TEXT, .how = "the header is not protected"},
	{.sentence = "unprotected", .form = UNPROTECTED, .how = "the header is not protected"},
	{.sentence = "unprotected, opaque", .form = UNPROTECTED, .opaque = true, .how = "the header is not protected"},
	{.sentence = "a signed part without a header", .form = UNPROTECTED, .part = "\r\n", .how = "the header is not protected"},
	/* who signed */
	{.sentence = "an RSA key of 2048 bits", .form = WRAP, .who = CA_RSA},
	{.sentence = "SHA-512", .form = WRAP, .digest = "SHA512"},
	{.sentence = "an address in other case", .form = WRAP, .who = CA_OTHER_CASE},
	{.sentence = "one of several names", .form = WRAP, .who = CA_TWO_NAMES},
	{.sentence = "another address that begins so", .form = WRAP, .who = OTHER_ADDRESS, .how = "not for the address"},
	{.sentence = "the address in a URI", .form = WRAP, .who = NO_ADDRESS, .how = "not for the address"},
	{.sentence = "the address in the subject only", .form = WRAP, .who = SUBJECT_ADDRESS, .how = "not for the address"},
	{.sentence = "an address with NUL behind it", .form = WRAP, .who = NUL_ADDRESS, .how = "not for the address"},
	{.sentence = "From is somebody else", .form = WRAP, .from = " sales@ca.example", .how = "not for the address"},
	{.sentence = "an ended certificate", .form = WRAP, .who = ENDED, .how = "certificate has expired"},
	{.sentence = "a certificate that is not valid yet", .form = WRAP, .who = NOT_YET, .how = "certificate is not yet valid"},
	{.sentence = "a certificate without extended key usage", .form = WRAP, .who = NO_PURPOSE, .how = "not for mail"},
	{.sentence = "a certificate for TLS", .form = WRAP, .who = TLS_PURPOSE, .how = "not for mail"},
	{.sentence = "a certificate for encryption", .form = WRAP, .who = ENCRYPTION_ONLY, .how = "certificate purpose"},
	{.sentence = "under an intermediate that ended", .form = WRAP, .who = UNDER_ENDED, .how = "certificate has expired"},
	{.sentence = "under an intermediate for TLS", .form = WRAP, .who = UNDER_TLS, .how = "purpose"},
	{.sentence = "under another root, which the mail brings along", .form = WRAP, .who = UNDER_OTHER, .how = "self-signed certificate"},
	{.sentence = "the intermediate is not in the mail", .form = WRAP, .no_intermediate = true, .how = "unable to get local issuer"},
	{.sentence = "a certificate signed with SHA-1", .form = WRAP, .who = SHA1_CERTIFICATE, .how = "too weak"},
	{.sentence = "an RSA key of 1024 bits", .form = WRAP, .who = SMALL_KEY, .how = "1024 bits"},
	{.sentence = "SHA-1", .form = WRAP, .digest = "SHA1", .how = "too weak"},
	{.sentence = "MD5", .form = WRAP, .digest = "MD5", .who = CA_RSA, .how = "too weak"},
	{.sentence = "two good signers", .form = RFC7508, .second = CA_RSA},
	{.sentence = "the second signer is somebody else", .form = WRAP, .second = OTHER_ADDRESS, .how = "not for the address"},
	{.sentence = "the second signer's certificate ended", .form = RFC9788, .second = ENDED, .how = "certificate has expired"},
	/* outer and protected fields */
	{.sentence = "another Subject outside a wrap", .form = WRAP, .outer = "Subject", .value = " ACME: AAAAAAAAAAAAAAAAAAAAAAAAAAAA", .how = "Subject is not the protected one"},
	{.sentence = "another Subject outside RFC 7508", .form = RFC7508, .outer = "Subject", .value = " ACME: AAAAAAAAAAAAAAAAAAAAAAAAAAAA", .how = "Subject is not the protected one"},
	{.sentence = "another Subject outside RFC 9788", .form = RFC9788, .outer = "Subject", .value = " ACME: AAAAAAAAAAAAAAAAAAAAAAAAAAAA", .how = "Subject is not the protected one"},
	{.sentence = "the Subject folded and encoded outside", .form = WRAP, .outer = "Subject", .value = " =?utf-8?Q?ACME:_LgYemJLy3F1LDkiJrdIG?=\n =?utf-8?Q?bEzyFJyOyf6vBdyZ1TG3sME?="},
	{.sentence = "the Subject folded inside", .form = RFC7508, .protect = FROM TO "Subject: ACME:\r\n " TOKEN "\r\n"},
	{.sentence = "the Subject in other case", .form = WRAP, .outer = "Subject", .value = " ACME: lgYemJLy3F1LDkiJrdIGbEzyFJyOyf6vBdyZ1TG3sME", .how = "Subject is not the protected one"},
	{.sentence = "two Subjects outside", .form = WRAP, .outer = "Subject", .value = " ACME: " TOKEN, .twice = true, .how = "more than one Subject"},
	{.sentence = "two Subjects inside", .form = WRAP, .protect = FIELDS SUBJECT, .how = "more than one Subject"},
	{.sentence = "no Subject inside", .form = RFC9788, .protect = FROM TO DATE, .how = "Subject is not protected"},
	{.sentence = "no Subject outside", .form = RFC9788, .outer = "Subject", .how = "no Subject outside"},
	{.sentence = "From with another display name outside", .form = WRAP, .from = " \"The CA\" <acme@CA.example>"},
	{.sentence = "another From inside", .form = WRAP, .protect = "From: sales@ca.example\r\n" TO SUBJECT, .how = "From is not the protected one"},
	{.sentence = "no From inside", .form = RFC7508, .protect = TO SUBJECT DATE, .how = "From is not protected"},
	{.sentence = "two From inside", .form = RFC7508, .protect = FIELDS FROM, .how = "more than one From"},
	{.sentence = "another To", .form = RFC7508, .outer = "To", .value = " bob@example.org", .how = "To is not the protected one"},
	{.sentence = "one more in To", .form = WRAP, .outer = "To", .value = " alice@example.org, bob@example.org", .how = "To is not the protected one"},
	{.sentence = "the address in To is only a display name inside", .form = WRAP, .protect = FROM "To: \"alice@example.org\" <bob@example.org>\r\n" SUBJECT, .how = "To is not the protected one"},
	{.sentence = "no To inside", .form = RFC9788, .protect = FROM SUBJECT DATE, .how = "To is not protected"},
	{.sentence = "another Date", .form = WRAP, .outer = "Date", .value = " Mon, 23 Nov 2026 08:00:00 +0000", .how = "Date is not the protected one"},
	{.sentence = "another Message-ID", .form = RFC7508, .outer = "Message-ID", .value = " <2@ca.example>", .how = "Message-ID is not the protected one"},
	{.sentence = "another Reply-To", .form = RFC9788, .outer = "Reply-To", .value = " mallory@evil.example", .how = "Reply-To is not the protected one"},
	{.sentence = "another Auto-Submitted", .form = RFC9788, .outer = "Auto-Submitted", .value = " auto-replied", .how = "Auto-Submitted is not the protected one"},
	/* RFC 7508's syntax */
	{.sentence = "a field that is said to be modified outside", .form = RFC7508, .status = 2, .how = "Subject is not protected"},
	{.sentence = "an attribute that is no SET", .form = RFC7508, .attribute = "300d0a0100300830061a01460c0178", .attribute_tag = V_ASN1_SEQUENCE, .how = "(RFC 7508) cannot be read"},
	{.sentence = "an attribute of nonsense", .form = RFC7508, .attribute = "3103020105", .how = "(RFC 7508) cannot be read"},
	{.sentence = "an attribute with octets behind", .form = RFC7508, .attribute = "310f0a0100300830061a01460c01780500", .how = "(RFC 7508) cannot be read"},
	{.sentence = "an attribute without fields", .form = RFC7508, .attribute = "31050a01003000", .how = "From is not protected"},
	{.sentence = "a canonicalization nobody knows", .form = RFC7508, .algorithm = 2, .how = "(RFC 7508) cannot be read"},
	{.sentence = "NUL in a name", .form = RFC7508, .attribute = "31100a0100300b30091a034600720c027878", .how = "(RFC 7508) cannot be read"},
	{.sentence = "an attribute with two values", .form = RFC7508, .two_values = true, .how = "(RFC 7508) cannot be read"},
	/* structure */
	{.sentence = "the text is changed", .form = WRAP, .edit = text_changed, .how = "does not match"},
	{.sentence = "line ends are changed", .form = WRAP, .edit = line_ends_changed, .how = "does not match"},
	{.sentence = "padding behind a delimiter", .form = WRAP, .edit = padding_behind},
	{.sentence = "an epilogue", .form = WRAP, .edit = epilogue},
	{.sentence = "a third part", .form = WRAP, .edit = third_part, .how = "more than two parts"},
	{.sentence = "one part", .form = WRAP, .edit = one_part, .how = "without two parts"},
	{.sentence = "no end", .form = WRAP, .edit = no_end, .how = "without two parts"},
	{.sentence = "no body", .form = WRAP, .edit = empty_body, .how = "without two parts"},
	{.sentence = "no body, opaque", .form = WRAP, .opaque = true, .edit = empty_body, .how = "cannot be read"},
	{.sentence = "a second part that is no signature", .form = WRAP, .edit = other_second_part, .how = "no S/MIME signature"},
	{.sentence = "the signature's old name", .form = WRAP, .edit = x_pkcs7},
	{.sentence = "a signature in uuencode", .form = WRAP, .edit = uuencoded, .how = "an encoding"},
	{.sentence = "a signature of nothing", .form = WRAP, .edit = no_signature, .how = "cannot be read"},
	{.sentence = "a signature that is not DER", .form = WRAP, .edit = not_der, .how = "cannot be read"},
	{.sentence = "octets behind the signature", .form = WRAP, .opaque = true, .octets_behind = true, .how = "cannot be read"},
	{.sentence = "a detached signature with content of its own", .form = WRAP, .embed = true, .how = "content of its own"},
	{.sentence = "PGP", .form = WRAP, .edit = pgp, .how = "not signed"},
	{.sentence = "no boundary", .form = WRAP, .edit = no_boundary, .how = "without a boundary"},
	{.sentence = "another boundary", .form = WRAP, .edit = other_boundary, .how = "without two parts"},
	{.sentence = "two Content-Type fields", .form = WRAP, .edit = two_types, .how = "not signed"},
	{.sentence = "encrypted", .form = WRAP, .opaque = true, .edit = enveloped, .how = "not signed"},
	{.sentence = "certificates only", .form = WRAP, .opaque = true, .edit = certificates_only, .how = "nobody has signed"},
	/* OpenSSL takes as many as there are, and the signature would fit */
	{.sentence = "digests without number", .form = WRAP, .opaque = true, .edit = many_digests, .how = "too many digests"},
};

START_TEST(only_what_the_sender_signed_and_protects_is_believed)
{
	const struct row *r = &rows[_i];
	struct smime_proof proof;
	struct mail m;
	char how[256];
	enum smimecheck result;

	make_mail(r, &m);
	result = ask(&m, r->from && !strstr(r->from, "<") ? r->from + 1 : "acme@ca.example", &proof, how);
	ck_assert_msg(result == (r->how ? SMIMECHECK_FAIL : SMIMECHECK_PASS), "%s: %s", r->sentence, how);
	ck_assert_msg(strstr(how, r->how ? r->how : "smime CN=Example AG, anchor Root, form=") != NULL, "%s: %s", r->sentence, how);
	if (result == SMIMECHECK_PASS) {
		ck_assert_uint_eq(headers_count(&proof.fields, "Subject"), 1);
		ck_assert_int_lt(labs((long)(proof.signed_at - time(NULL))), 600);
	}
	smime_proof_clear(&proof);
	mail_clear(&m);
}
END_TEST

START_TEST(an_international_domain_is_the_same_in_both_spellings)
{
	static const char *const from[] = {" acme@b\303\274cher.example", " acme@xn--bcher-kva.example"};
	struct spec s = spec_signer();
	struct row r = {.form = WRAP, .protect = "From: acme@xn--bcher-kva.example\r\n" TO SUBJECT DATE};

	spec_set(&s, "subjectAltName", "email:acme@XN--bcher-kva.example");
	X509_free(signers[CA].certificate);
	make_signer(CA, s);
	for (int i = 0; i < COUNT(from); i++) {
		struct smime_proof proof;
		struct mail m;
		char how[256];

		r.from = from[i];
		make_mail(&r, &m);
		ck_assert_msg(ask(&m, from[i] + 1, &proof, how) == SMIMECHECK_PASS, "%s", how);
		smime_proof_clear(&proof);
		mail_clear(&m);
	}
}
END_TEST

START_TEST(no_part_of_a_mail_passes_for_the_whole)
{
	const struct row r = {.form = WRAP, .opaque = _i == 1};
	struct smime_proof proof;
	struct mail m, part;
	char how[256];
	size_t whole;

	make_mail(&r, &m);
	/* behind its last line end nothing is missed */
	whole = m.body.len - 2;
	for (size_t n = 0; n < whole; n++) {
		part = m;
		part.body.len = n;
		if (r.opaque && n + 4 > whole && ask(&part, "acme@ca.example", &proof, how) == SMIMECHECK_PASS)
			ck_assert_msg(memchr(m.body.data + n, '=', whole - n) != NULL, "cut to %zu of %zu", n, whole);
		else
			ck_assert_msg(ask(&part, "acme@ca.example", &proof, how) == SMIMECHECK_FAIL, "cut to %zu of %zu: %s", n, whole, how);
		smime_proof_clear(&proof);
	}
	mail_clear(&m);
}
END_TEST

START_TEST(a_change_anywhere_in_the_signed_part_is_seen)
{
	const struct row r = {.form = RFC9788};
	struct smime_proof proof;
	struct mail m;
	char how[256], *from, *to;

	make_mail(&r, &m);
	from = strstr(m.body.data, "From:");
	to = strstr(m.body.data, "\r\n--b\r\nContent-Type: application/pkcs7-signature");
	for (char *p = from; p < to; p++) {
		*p ^= 1;
		ck_assert_msg(ask(&m, "acme@ca.example", &proof, how) == SMIMECHECK_FAIL, "octet %zd", p - from);
		smime_proof_clear(&proof);
		*p ^= 1;
	}
	/* in the signature anything may be: no word about the answer, but there is one */
	for (char *p = to; p < m.body.data + m.body.len; p++) {
		*p ^= 4;
		ask(&m, "acme@ca.example", &proof, how);
		smime_proof_clear(&proof);
		*p ^= 4;
	}
	mail_clear(&m);
}
END_TEST

/* ---- what becomes of the candidate ------------------------------------------------------------------------------------------ */

static enum authentic authenticate(const struct mail *m, X509_STORE *store, struct candidate *c, char how[256])
{
	struct spool *s = spool_new("/tmp", NULL);
	enum authentic result;

	ck_assert_msg(inbound_parse(&config, &m->h, c, how), "%s", how);
	ck_assert(spool_write(s, m->body.data, m->body.len, NULL));
	result = inbound_authenticate(&config, &config.ca, NULL, store, &m->h, s, c, "192.0.2.1", how);
	spool_free(s);
	return result;
}

START_TEST(the_candidate_says_what_is_protected)
{
	const struct row all = {.form = RFC7508}, few = {.form = RFC7508, .protect = FROM TO SUBJECT};
	struct candidate c;
	struct mail m;
	char how[256];

	make_mail(&all, &m);
	ck_assert_int_eq(authenticate(&m, anchors, &c, how), AUTHENTIC_YES);
	ck_assert_str_eq(how, "smime CN=Example AG, anchor Root, form=rfc7508");
	ck_assert_str_eq(c.challenge.token_part1, TOKEN);
	ck_assert_str_eq(c.challenge.reply_to, "reply@ca.example");
	ck_assert_int_eq(c.challenge.date, 1795334400);
	ck_assert(!c.message_id_free);
	candidate_clear(&c);
	mail_clear(&m);

	/* Anybody may have written Reply-To, Date and Message-ID. */
	make_mail(&few, &m);
	ck_assert_int_eq(authenticate(&m, anchors, &c, how), AUTHENTIC_YES);
	ck_assert_ptr_null(c.challenge.reply_to);
	ck_assert_int_lt(labs((long)(c.challenge.date - time(NULL))), 600);
	ck_assert_str_eq(c.challenge.message_id, "<1@ca.example>");
	ck_assert(c.message_id_free);
	candidate_clear(&c);
	mail_clear(&m);
}
END_TEST

START_TEST(without_anchors_smime_counts_for_nothing)
{
	const struct row r = {.form = WRAP};
	struct candidate c;
	struct mail m;
	char how[256];

	make_mail(&r, &m);
	ck_assert_int_eq(authenticate(&m, NULL, &c, how), AUTHENTIC_NO);
	ck_assert_msg(strstr(how, "ca.challenge-anchor-file") && strstr(how, "dkim: "), "%s", how);
	candidate_clear(&c);
	mail_clear(&m);
}
END_TEST

START_TEST(auto_submitted_may_stand_inside_only)
{
	const struct row inside = {.form = WRAP, .outer = "Auto-Submitted"}, nowhere = {.form = WRAP, .outer = "Auto-Submitted", .protect = FROM TO SUBJECT DATE MESSAGE_ID};
	struct candidate c;
	struct mail m;
	char how[256];

	make_mail(&inside, &m);
	ck_assert_msg(authenticate(&m, anchors, &c, how) == AUTHENTIC_YES, "%s", how);
	candidate_clear(&c);
	config.ca.challenge_anchor_file = NULL; /* nothing to hope for: it is no challenge */
	ck_assert(!inbound_parse(&config, &m.h, &c, how));
	config.ca.challenge_anchor_file = (char[]){"/anchors.pem"};
	candidate_clear(&c);
	mail_clear(&m);
	make_mail(&nowhere, &m);
	ck_assert_int_eq(authenticate(&m, anchors, &c, how), AUTHENTIC_NO);
	ck_assert_msg(strstr(how, "no Auto-Submitted") != NULL, "%s", how);
	candidate_clear(&c);
	mail_clear(&m);
}
END_TEST

static void *ask_many(void *arg)
{
	struct smime_proof proof;
	char how[256];

	for (int i = 0; i < 20; i++) {
		ck_assert_msg(ask(arg, "acme@ca.example", &proof, how) == SMIMECHECK_PASS, "%s", how);
		smime_proof_clear(&proof);
	}
	return NULL;
}

START_TEST(threads_ask_at_once)
{
	const struct row r = {.form = RFC7508};
	pthread_t threads[8];
	struct mail m;

	make_mail(&r, &m);
	for (int i = 0; i < COUNT(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_many, &m), 0);
	for (int i = 0; i < COUNT(threads); i++)
		pthread_join(threads[i], NULL);
	mail_clear(&m);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("smime");
	TCase *tc = tcase_create("smime");
	SRunner *runner;
	int failed;

	tcase_add_unchecked_fixture(tc, signers_setup, signers_teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, only_what_the_sender_signed_and_protects_is_believed, 0, COUNT(rows));
	tcase_add_test(tc, an_international_domain_is_the_same_in_both_spellings);
	tcase_add_loop_test(tc, no_part_of_a_mail_passes_for_the_whole, 0, 2);
	tcase_add_test(tc, a_change_anywhere_in_the_signed_part_is_seen);
	tcase_add_test(tc, the_candidate_says_what_is_protected);
	tcase_add_test(tc, without_anchors_smime_counts_for_nothing);
	tcase_add_test(tc, auto_submitted_may_stand_inside_only);
	tcase_add_test(tc, threads_ask_at_once);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
