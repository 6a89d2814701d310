/*
 * smime.c - find what an S/MIME message says is signed, and verify it with OpenSSL's CMS (smime.h).
 *
 * The hard idea: what is hashed are the octets between two delimiter lines of the mail as it came, and only those octets, once they are
 * verified, are read for meaning (smime_header.c).  So it does not matter whether other programs would find the parts in other places.
 * Before that a stranger's mail reaches no more than: the outer Content-Type, a search for lines, the header and the base64 of one part,
 * and OpenSSL's parser.
 *
 * Traps: CMS_verify takes a detached signature that brings content of its own along; a signer without signed attributes could be made of
 * one with them (the attributes' DER taken for content), so they have to be there; all of the signers are verified, but each may have its
 * own certificate, so each has to be the sender.
 */
#include "config.h"

#include "milter/smime.h"

#include <stdlib.h>
#include <string.h>

#include <gmime/gmime.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#define BODY_MAX (16u << 20)
/* What GMime gets to read of a stranger's: it remembers charset names for ever, and parameters may have some (RFC 2231). */
#define TYPE_MAX 2048
#define PART_HEADER_MAX 4096
#define BOUNDARY_MAX 200
#define SIGNERS_MAX 4
#define CERTIFICATES_MAX 20
#define DIGESTS_MAX 8
#define CHAIN_DEPTH_MAX 8
#define LEVEL_112_BITS 2 /* OpenSSL's security level: no SHA-1 in the chain, RSA and DH from 2048 bits, EC from 224 */

enum kind { KIND_NONE, KIND_DETACHED, KIND_OPAQUE };

/* One check. */
struct check {
	X509_STORE *anchors;
	char from_key[ADDRESS_MAX];
	char signer[80], anchor[80]; /* names for the log */
	bool temporary;		     /* what went wrong is no fault of the mail */
	char *why;		     /* 256 octets */
};

static bool no(struct check *c, const char *text)
{
	snprintf(c->why, 256, "%.255s", text);
	return false;
}

static bool no_memory(struct check *c)
{
	c->temporary = true;
	return no(c, "out of memory");
}

void smime_proof_clear(struct smime_proof *p)
{
	headers_clear(&p->fields);
	memset(p, 0, sizeof(*p));
}

/* ---- which octets ---------------------------------------------------------------------------------------------------- */

static bool is_pkcs7(const char *type, const char *what)
{
	if (strncmp(type, "application/", 12) != 0)
		return false;
	type += 12;
	if (strncmp(type, "x-", 2) == 0)
		type += 2;
	return strcmp(type, what) == 0;
}

static enum kind kind_of(const struct headers *h)
{
	const char *value = headers_get(h, "Content-Type", 0);
	char type[128], protocol[128];

	if (value == NULL || headers_count(h, "Content-Type") != 1 || strlen(value) > TYPE_MAX)
		return KIND_NONE;
	mime_content_type(value, type, "protocol", protocol);
	if (strcmp(type, "multipart/signed") == 0)
		return is_pkcs7(protocol, "pkcs7-signature") ? KIND_DETACHED : KIND_NONE;
	return is_pkcs7(type, "pkcs7-mime") ? KIND_OPAQUE : KIND_NONE;
}

bool smime_looks_signed(const struct headers *h)
{
	return kind_of(h) != KIND_NONE;
}

/* The boundary as it was written: mime_content_type gives lower case. */
static bool read_boundary(const struct headers *h, char out[BOUNDARY_MAX + 1])
{
	char *unfolded = g_mime_utils_header_unfold(headers_get(h, "Content-Type", 0));
	GMimeContentType *type = g_mime_content_type_parse(NULL, unfolded != NULL ? unfolded : "");
	const char *boundary = g_mime_content_type_get_parameter(type, "boundary");
	bool ok = boundary != NULL && boundary[0] != '\0' && strlen(boundary) <= BOUNDARY_MAX;

	if (ok)
		snprintf(out, BOUNDARY_MAX + 1, "%s", boundary);
	g_object_unref(type);
	g_free(unfolded);
	return ok;
}

/* A delimiter line: `at` is where the line end in front of it begins, which is part of it, `behind` what follows its own. */
struct delimiter {
	size_t at, behind;
	bool closing;
};

/* Does this line delimit?  Blanks at its end are padding of the transport (RFC 2046 section 5.1.1). */
static bool is_delimiter(const char *line, size_t len, const char *boundary, bool *closing)
{
	size_t n = strlen(boundary);

	while (len > 0 && strchr(" \t\r\n", line[len - 1]) != NULL && line[len - 1] != '\0')
		len--;
	if (len < n + 2 || memcmp(line, "--", 2) != 0 || memcmp(line + 2, boundary, n) != 0)
		return false;
	*closing = len == n + 4 && memcmp(line + 2 + n, "--", 2) == 0;
	return *closing || len == n + 2;
}

static bool next_delimiter(const struct buf *body, size_t from, const char *boundary, struct delimiter *out)
{
	for (size_t line = from; line < body->len; line = out->behind) {
		const char *lf = memchr(body->data + line, '\n', body->len - line);

		out->behind = lf != NULL ? (size_t)(lf - body->data) + 1 : body->len;
		if (!is_delimiter(body->data + line, out->behind - line, boundary, &out->closing))
			continue;
		out->at = line;
		if (out->at > from && body->data[out->at - 1] == '\n')
			out->at--;
		if (out->at > from && out->at < line && body->data[out->at - 1] == '\r')
			out->at--;
		return true;
	}
	return false;
}

/* A part's content without its transfer encoding. */
static bool decode_content(struct check *c, const struct headers *h, const char *data, size_t len, struct buf *out)
{
	const char *value = headers_get(h, "Content-Transfer-Encoding", 0);
	GMimeContentEncoding encoding =
		value != NULL ? g_mime_content_encoding_from_string(value + strspn(value, " \t\r\n")) : GMIME_CONTENT_ENCODING_DEFAULT;
	GMimeEncoding state;
	char *room;

	if (headers_count(h, "Content-Transfer-Encoding") > 1)
		return no(c, "more than one Content-Transfer-Encoding at the signature");
	if (encoding == GMIME_CONTENT_ENCODING_UUENCODE)
		return no(c, "the signature is in an encoding that S/MIME does not have");
	g_mime_encoding_init_decode(&state, encoding);
	room = malloc(g_mime_encoding_outlen(&state, len) + 1);
	if (room == NULL)
		return no_memory(c);
	buf_append(out, room, g_mime_encoding_step(&state, data, len, room));
	free(room);
	return !out->failed || no_memory(c);
}

/* Exactly two parts, one behind the other: what is signed, and the signature (RFC 1847 section 2.1). */
static bool take_detached(struct check *c, const struct headers *h, const struct buf *body, struct buf *entity, struct buf *signature)
{
	struct delimiter first, second, last;
	struct headers fields = {0};
	char boundary[BOUNDARY_MAX + 1], type[128];
	const char *value;
	size_t content;
	bool ok = false;

	if (!read_boundary(h, boundary))
		return no(c, "multipart/signed without a boundary");
	if (!next_delimiter(body, 0, boundary, &first) || first.closing || !next_delimiter(body, first.behind, boundary, &second) ||
		second.closing || !next_delimiter(body, second.behind, boundary, &last))
		return no(c, "multipart/signed without two parts");
	if (!last.closing)
		return no(c, "multipart/signed with more than two parts");
	if (!smime_read_header(body->data + second.behind, last.at - second.behind, PART_HEADER_MAX, &fields, &content)) {
		no(c, "the header of the signature cannot be read");
		goto out;
	}
	value = headers_get(&fields, "Content-Type", 0);
	mime_content_type(value != NULL ? value : "", type, NULL, NULL);
	if (!is_pkcs7(type, "pkcs7-signature")) {
		no(c, "the second part of multipart/signed is no S/MIME signature");
		goto out;
	}
	buf_append(entity, body->data + first.behind, second.at - first.behind);
	ok = !entity->failed || no_memory(c);
	content += second.behind;
	ok = ok && decode_content(c, &fields, body->data + content, last.at - content, signature);
out:
	headers_clear(&fields);
	return ok;
}

static bool read_body(struct check *c, const struct spool *body, struct buf *out)
{
	uint64_t size = spool_size(body);
	struct err err = ERR_INIT;
	char piece[16384];
	size_t got;

	if (size > BODY_MAX)
		return no(c, "the mail is too large");
	for (uint64_t at = 0; at < size; at += got) {
		if (!spool_read(body, at, piece, sizeof(piece), &got, &err)) {
			c->temporary = true;
			return no(c, err.text);
		}
		buf_append(out, piece, got);
	}
	return !out->failed || no_memory(c);
}

/* ---- is the signer the sender ---------------------------------------------------------------------------------------- */

/* The common name, or the whole name of who has none, as one short line. */
static void name_text(const X509 *x, char out[80])
{
	X509_NAME *name = X509_get_subject_name(x);
	int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
	unsigned long flags = ASN1_STRFLGS_ESC_CTRL | ASN1_STRFLGS_UTF8_CONVERT;
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL;
	long len;

	snprintf(out, 80, "?");
	if (bio == NULL)
		return;
	if (at >= 0)
		ASN1_STRING_print_ex(bio, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)), flags);
	else
		X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253);
	len = BIO_get_mem_data(bio, &text);
	if (len > 0) {
		snprintf(out, 80, "%.*s", (int)len, text);
		while (out[0] != '\0' && !text_is_utf8(out, strlen(out))) /* the cut may go through a character */
			out[strlen(out) - 1] = '\0';
	}
	BIO_free(bio);
}

static bool is_from(const ASN1_IA5STRING *mailbox, const char *from_key)
{
	char text[ADDRESS_MAX], key[ADDRESS_MAX];
	int len = ASN1_STRING_length(mailbox);

	if (len <= 0 || (size_t)len >= sizeof(text) || memchr(ASN1_STRING_get0_data(mailbox), '\0', (size_t)len) != NULL)
		return false;
	memcpy(text, ASN1_STRING_get0_data(mailbox), (size_t)len);
	text[len] = '\0';
	return address_key_of(text, key, NULL) && strcmp(key, from_key) == 0;
}

static bool names_sender(struct check *c, X509 *x)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	bool found = false;

	for (int i = 0; !found && i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		found = name->type == GEN_EMAIL && is_from(name->d.rfc822Name, c->from_key);
	}
	GENERAL_NAMES_free(names);
	return found || no(c, "the signer's certificate is not for the address the mail is from");
}

static bool digest_is_strong(int nid)
{
	return nid == NID_sha256 || nid == NID_sha384 || nid == NID_sha512;
}

static bool algorithms_are_strong(struct check *c, const X509_ALGOR *digest, const X509_ALGOR *signature)
{
	int nid = OBJ_obj2nid(digest->algorithm), beside = NID_undef;

	if (!digest_is_strong(nid))
		snprintf(c->why, 256, "the digest is too weak or not known (%.40s)", OBJ_nid2ln(nid) != NULL ? OBJ_nid2ln(nid) : "?");
	else if (OBJ_find_sigid_algs(OBJ_obj2nid(signature->algorithm), &beside, NULL) && beside != NID_undef && !digest_is_strong(beside))
		snprintf(c->why, 256, "the signature's digest is too weak (%.40s)", OBJ_nid2ln(beside));
	else
		return true;
	return false;
}

static bool key_is_strong(struct check *c, X509 *x)
{
	EVP_PKEY *key = X509_get0_pubkey(x);
	int bits = key != NULL ? EVP_PKEY_get_bits(key) : 0;

	switch (key != NULL ? EVP_PKEY_get_base_id(key) : EVP_PKEY_NONE) {
	case EVP_PKEY_RSA:
	case EVP_PKEY_RSA_PSS:
		if (bits >= 2048)
			return true;
		break;
	case EVP_PKEY_EC:
		if (bits >= 256)
			return true;
		break;
	case EVP_PKEY_ED25519:
	case EVP_PKEY_ED448:
		return true;
	default:
		return no(c, "the signer's key is of a kind that is not taken");
	}
	snprintf(c->why, 256, "the signer's key has %d bits, which is too few", bits);
	return false;
}

/* For mail by its extended key usage: no word about that would let certificates for other things in. */
static bool is_for_mail(struct check *c, X509 *x)
{
	return ((X509_get_extension_flags(x) & EXFLAG_XKUSAGE) != 0 && (X509_get_extended_key_usage(x) & XKU_SMIME) != 0) ||
	       no(c, "the signer's certificate is not for mail (extended key usage)");
}

/* Now, and by no other time: a signer whose certificate has ended may have lost the key since. */
static bool leads_to_anchor(struct check *c, X509 *x, STACK_OF(X509) * untrusted)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509_VERIFY_PARAM *param;
	bool ok = false;

	if (ctx == NULL || X509_STORE_CTX_init(ctx, c->anchors, x, untrusted) != 1 || X509_STORE_CTX_set_default(ctx, "smime_sign") != 1) {
		no_memory(c);
		goto out;
	}
	param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_auth_level(param, LEVEL_112_BITS);
	X509_VERIFY_PARAM_set_depth(param, CHAIN_DEPTH_MAX);
	ok = X509_verify_cert(ctx) == 1;
	if (ok) {
		STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(ctx);

		name_text(x, c->signer);
		name_text(sk_X509_value(chain, sk_X509_num(chain) - 1), c->anchor);
	} else {
		snprintf(c->why, 256, "the signer's certificate: %.150s", X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
	}
out:
	X509_STORE_CTX_free(ctx);
	return ok;
}

static bool signer_does(struct check *c, CMS_SignerInfo *signer, STACK_OF(X509) * untrusted)
{
	X509_ALGOR *digest = NULL, *signature = NULL;
	X509 *x = NULL;

	CMS_SignerInfo_get0_algs(signer, NULL, &x, &digest, &signature);
	if (x == NULL)
		return no(c, "the signer's certificate is not in the mail");
	if (CMS_signed_get_attr_count(signer) <= 0)
		return no(c, "the signature has no signed attributes");
	return algorithms_are_strong(c, digest, signature) && key_is_strong(c, x) && is_for_mail(c, x) && names_sender(c, x) &&
	       leads_to_anchor(c, x, untrusted);
}

static bool signers_do(struct check *c, CMS_ContentInfo *cms)
{
	STACK_OF(CMS_SignerInfo) *signers = CMS_get0_SignerInfos(cms);
	STACK_OF(X509) *certificates = CMS_get1_certs(cms);
	int n = signers != NULL ? sk_CMS_SignerInfo_num(signers) : 0;
	bool ok = true;

	if (n < 1)
		ok = no(c, "nobody has signed it");
	else if (n > SIGNERS_MAX || sk_X509_num(certificates) > CERTIFICATES_MAX)
		ok = no(c, "it has too many signers or certificates");
	else
		CMS_set1_signers_certs(cms, NULL, 0); /* those that are not there are seen below */
	for (int i = 0; ok && i < n; i++)
		ok = signer_does(c, sk_CMS_SignerInfo_value(signers, i), certificates);
	sk_X509_pop_free(certificates, X509_free);
	return ok;
}

/* ---- what the signers say beside the content ------------------------------------------------------------------------- */

static time_t time_of(const ASN1_TIME *t)
{
	struct tm tm;

	memset(&tm, 0, sizeof(tm));
	return t != NULL && ASN1_TIME_to_tm(t, &tm) == 1 ? timegm(&tm) : 0;
}

static time_t signing_time(const CMS_SignerInfo *signer)
{
	const ASN1_OBJECT *oid = OBJ_nid2obj(NID_pkcs9_signingTime);
	const ASN1_TIME *t = CMS_signed_get0_data_by_OBJ(signer, oid, -3, V_ASN1_UTCTIME); /* -3: there once, with one value */

	return time_of(t != NULL ? t : CMS_signed_get0_data_by_OBJ(signer, oid, -3, V_ASN1_GENERALIZEDTIME));
}

/* The RFC 7508 attribute: all signers say the same, or none says anything. */
static bool same_attribute(struct check *c, const CMS_SignerInfo *signer, const ASN1_OBJECT *oid, bool first, struct buf *out)
{
	const ASN1_STRING *value = NULL;
	bool there = CMS_signed_get_attr_by_OBJ(signer, oid, -1) >= 0;

	if (there && (value = CMS_signed_get0_data_by_OBJ(signer, oid, -3, V_ASN1_SET)) == NULL)
		return no(c, "the protected header fields (RFC 7508) cannot be read");
	if (first && value != NULL)
		buf_append(out, ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value));
	if (there != (out->len > 0) ||
		(value != NULL && ((size_t)ASN1_STRING_length(value) != out->len || memcmp(ASN1_STRING_get0_data(value), out->data, out->len) != 0)))
		return no(c, "its signers do not protect the same header fields");
	return !out->failed || no_memory(c);
}

static bool take_attributes(struct check *c, CMS_ContentInfo *cms, struct smime_entity *e)
{
	STACK_OF(CMS_SignerInfo) *signers = CMS_get0_SignerInfos(cms);
	ASN1_OBJECT *secure_headers = OBJ_txt2obj("1.2.840.113549.1.9.16.2.55", 1);
	bool ok = secure_headers != NULL || no_memory(c);

	for (int i = 0; ok && i < sk_CMS_SignerInfo_num(signers); i++) {
		const CMS_SignerInfo *signer = sk_CMS_SignerInfo_value(signers, i);
		time_t t = signing_time(signer);

		e->signed_at = i == 0 || t < e->signed_at ? t : e->signed_at;
		ok = same_attribute(c, signer, secure_headers, i == 0, &e->secure_headers);
	}
	ASN1_OBJECT_free(secure_headers);
	return ok;
}

/* ---- the signature --------------------------------------------------------------------------------------------------- */

/* Into what begins here. */
static bool step_in(const unsigned char **p, const unsigned char *end, int want, long *len, bool *endless)
{
	int tag, class, got = *p < end ? ASN1_get_object(p, len, &tag, &class, end - *p) : 0x80;

	*endless = (got & 1) != 0;
	return (got & 0x80) == 0 && tag == want;
}

/* The digests that SignedData announces.  Nothing signs that list, and OpenSSL hashes the content with each of them, one calling the next: a
 * long one takes seconds, a longer one the stack.  It has no accessor, so it is counted in the encoding; too many when that is odd. */
static int count_digests(const unsigned char *p, const unsigned char *end)
{
	const struct {
		int tag;
		bool over; /* step over it, not into it */
	} way[] = {{V_ASN1_SEQUENCE, false}, {V_ASN1_OBJECT, true}, {0, false}, {V_ASN1_SEQUENCE, false}, {V_ASN1_INTEGER, true}, {V_ASN1_SET, false}};
	bool endless = false;
	long len = 0;
	int n = 0;

	for (size_t i = 0; i < sizeof(way) / sizeof(way[0]); i++) {
		if (!step_in(&p, end, way[i].tag, &len, &endless))
			return DIGESTS_MAX + 1;
		p += way[i].over ? len : 0;
	}
	if (!endless)
		end = p + len;
	for (; n <= DIGESTS_MAX && end - p >= 2 && (p[0] != 0 || p[1] != 0); n++) { /* or the end of an endless one */
		if (!step_in(&p, end, V_ASN1_SEQUENCE, &len, &endless) || endless)
			return DIGESTS_MAX + 1;
		p += len;
	}
	return n;
}

static CMS_ContentInfo *read_cms(struct check *c, enum kind kind, const struct buf *der)
{
	const unsigned char *p = (const unsigned char *)der->data;
	CMS_ContentInfo *cms = der->len > 0 ? d2i_CMS_ContentInfo(NULL, &p, (long)der->len) : NULL;
	const char *trouble = NULL;
	int digests = cms != NULL ? count_digests((const unsigned char *)der->data, p) : 0;

	if (cms == NULL || (const char *)p != der->data + der->len)
		trouble = "the signature cannot be read";
	else if (OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed)
		trouble = "it is S/MIME, but not signed";
	else if (OBJ_obj2nid(CMS_get0_eContentType(cms)) != NID_pkcs7_data)
		trouble = "what is signed is no MIME entity";
	else if ((CMS_is_detached(cms) == 1) != (kind == KIND_DETACHED))
		trouble = kind == KIND_DETACHED ? "the signature brings content of its own along" : "the signature has no content";
	else if (digests > DIGESTS_MAX)
		trouble = "it has too many digests";
	if (trouble == NULL)
		return cms;
	no(c, trouble);
	CMS_ContentInfo_free(cms);
	return NULL;
}

/* To be read by CMS_verify.  Of content in memory that makes a BIO of its own, and loses it when the signature names a digest it does not know:
 * anybody's mail could eat our memory.  What stands behind a filter it reads as it is. */
static BIO *content_of(const struct buf *entity)
{
	BIO *memory = BIO_new_mem_buf(buf_str(entity), (int)entity->len), *filter = BIO_new(BIO_f_null());

	if (memory != NULL && filter != NULL)
		return BIO_push(filter, memory);
	BIO_free(memory);
	BIO_free(filter);
	return NULL;
}

/* The certificates are judged already.  CMS_BINARY: octets as they came, they have their CRLF. */
static bool verify_content(struct check *c, CMS_ContentInfo *cms, enum kind kind, struct buf *entity)
{
	BIO *in = kind == KIND_DETACHED ? content_of(entity) : NULL;
	BIO *out = kind == KIND_OPAQUE ? BIO_new(BIO_s_mem()) : NULL;
	char *text = NULL;
	bool ok = false;
	long len;

	if (in == NULL && out == NULL) {
		no_memory(c);
	} else if (CMS_verify(cms, NULL, NULL, in, out, CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY) != 1) {
		const char *reason = ERR_reason_error_string(ERR_peek_last_error());

		snprintf(c->why, 256, "the signature does not match what is signed (%.100s)", reason != NULL ? reason : "no reason given");
	} else {
		if (out != NULL && (len = BIO_get_mem_data(out, &text)) > 0)
			buf_append(entity, text, (size_t)len);
		ok = !entity->failed || no_memory(c);
	}
	BIO_free_all(in);
	BIO_free(out);
	return ok;
}

static bool verify(struct check *c, const struct headers *h, const struct spool *spool, struct smime_entity *e)
{
	enum kind kind = kind_of(h);
	struct buf body = BUF_INIT, signature = BUF_INIT;
	CMS_ContentInfo *cms = NULL;
	bool ok = false;

	mime_library();
	if (kind == KIND_NONE) {
		no(c, "it is not signed");
		goto out;
	}
	if (!read_body(c, spool, &body))
		goto out;
	ok = kind == KIND_DETACHED ? take_detached(c, h, &body, &e->octets, &signature)
				   : decode_content(c, h, buf_str(&body), body.len, &signature);
	ok = ok && (cms = read_cms(c, kind, &signature)) != NULL && signers_do(c, cms) && verify_content(c, cms, kind, &e->octets) &&
	     take_attributes(c, cms, e);
out:
	CMS_ContentInfo_free(cms);
	buf_clear(&signature);
	buf_clear(&body);
	ERR_clear_error();
	return ok;
}

enum smimecheck smimecheck(const struct headers *h, const struct spool *body, X509_STORE *anchors, const char *from, struct smime_proof *out,
	char how[256])
{
	struct check c = {.anchors = anchors, .why = how};
	struct smime_entity e = {0};
	const char *form = "";
	bool ok;

	memset(out, 0, sizeof(*out));
	how[0] = '\0';
	ok = address_key_of(from, c.from_key, NULL) || no(&c, "its From cannot be read");
	ok = ok && verify(&c, h, body, &e) && smime_header_check(&e, h, out, &form, how);
	if (ok)
		snprintf(how, 256, "smime CN=%s, anchor %s, form=%s", c.signer, c.anchor, form);
	buf_clear(&e.octets);
	buf_clear(&e.secure_headers);
	return ok ? SMIMECHECK_PASS : c.temporary ? SMIMECHECK_UNKNOWN : SMIMECHECK_FAIL;
}
