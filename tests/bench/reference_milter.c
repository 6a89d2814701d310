/*
 * tests/bench/reference_milter.c - the plainest milter that signs: one key, loaded once; the whole body in memory; CMS_sign over it at the end,
 * multipart/signed put in its place.  No question who may sign, no look at the mail's structure, no log.
 *
 *     reference_milter SOCKET KEY CERTIFICATE CHAIN
 *
 * The mail has to be one without structure fields besides Content-Type, Content-Transfer-Encoding and MIME-Version, each at most once.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/cms.h>
#include <openssl/pem.h>

#include "tests/bench/bench.h"
#include "tests/bench/milter_common.h"

#define PIECE 65535
#define BOUNDARY "=_reference_boundary_of_the_bench"

static EVP_PKEY *key;
static X509 *certificate;
static STACK_OF(X509) *chain;

struct mail {
	struct buf entity; /* its header, then its body */
	bool type, encoding, version;
};

static void mail_reset(struct mail *m)
{
	if (!m)
		return;
	buf_clear(&m->entity);
	*m = (struct mail){.entity = BUF_INIT};
}

/* ---- callbacks before the end ---------------------------------------------------------------------------------------- */

static sfsistat on_negotiate(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2, unsigned long f3, unsigned long *pf0,
	unsigned long *pf1, unsigned long *pf2, unsigned long *pf3)
{
	(void)f0, (void)f2, (void)f3;
	*pf2 = *pf3 = 0;
	return milter_negotiate(ctx, f1, pf0, pf1);
}

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *address)
{
	struct mail *m = calloc(1, sizeof *m);

	(void)host, (void)address;
	return m && smfi_setpriv(ctx, m) == MI_SUCCESS ? SMFIS_CONTINUE : SMFIS_TEMPFAIL;
}

static sfsistat on_mail(SMFICTX *ctx, char **argv)
{
	(void)argv;
	mail_reset(smfi_getpriv(ctx));
	return SMFIS_CONTINUE;
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
	struct mail *m = smfi_getpriv(ctx);

	if (strcasecmp(name, "Content-Type") == 0 || strcasecmp(name, "Content-Transfer-Encoding") == 0) {
		*(strcasecmp(name, "Content-Type") == 0 ? &m->type : &m->encoding) = true;
		buf_printf(&m->entity, "%s:%s\r\n", name, value);
	}
	m->version = m->version || strcasecmp(name, "MIME-Version") == 0;
	return SMFIS_NOREPLY;
}

static sfsistat on_end_of_headers(SMFICTX *ctx)
{
	struct mail *m = smfi_getpriv(ctx);

	buf_puts(&m->entity, "\r\n");
	return SMFIS_CONTINUE;
}

static sfsistat on_body(SMFICTX *ctx, unsigned char *data, size_t len)
{
	struct mail *m = smfi_getpriv(ctx);

	buf_append(&m->entity, data, len);
	return SMFIS_CONTINUE;
}

static sfsistat on_data(SMFICTX *ctx)
{
	(void)ctx;
	return SMFIS_CONTINUE;
}

static sfsistat on_abort(SMFICTX *ctx)
{
	mail_reset(smfi_getpriv(ctx));
	return SMFIS_CONTINUE;
}

static sfsistat on_close(SMFICTX *ctx)
{
	struct mail *m = smfi_getpriv(ctx);

	mail_reset(m);
	free(m);
	smfi_setpriv(ctx, NULL);
	return SMFIS_CONTINUE;
}

/* ---- the end ------------------------------------------------------------------------------------------------------------ */

static bool signature(const struct buf *entity, struct buf *der)
{
	BIO *in = BIO_new_mem_buf(entity->data, (int)entity->len);
	CMS_ContentInfo *cms = in ? CMS_sign(certificate, key, chain, in, CMS_DETACHED | CMS_BINARY | CMS_NOSMIMECAP) : NULL;
	unsigned char *data = NULL;
	int len = cms ? i2d_CMS_ContentInfo(cms, &data) : 0;

	if (len > 0)
		buf_append(der, data, (size_t)len);
	OPENSSL_free(data);
	CMS_ContentInfo_free(cms);
	BIO_free(in);
	return len > 0;
}

static bool replace(SMFICTX *ctx, const struct buf *b)
{
	for (size_t at = 0; at < b->len; at += PIECE)
		if (smfi_replacebody(ctx, (unsigned char *)b->data + at, (int)(b->len - at < PIECE ? b->len - at : PIECE)) != MI_SUCCESS)
			return false;
	return true;
}

static sfsistat on_end_of_message(SMFICTX *ctx)
{
	static const char type[] = " multipart/signed; protocol=\"application/pkcs7-signature\";\n\tmicalg=sha-256; boundary=\"" BOUNDARY "\"";
	struct mail *m = smfi_getpriv(ctx);
	struct buf der = BUF_INIT, body = BUF_INIT;
	bool ok = signature(&m->entity, &der);

	buf_puts(&body, "This is a cryptographically signed message in MIME format.\r\n\r\n--" BOUNDARY "\r\n");
	buf_append(&body, m->entity.data, m->entity.len);
	buf_puts(&body, "\r\n--" BOUNDARY "\r\nContent-Type: application/pkcs7-signature; name=\"smime.p7s\"\r\n"
			"Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"smime.p7s\"\r\n\r\n");
	base64_encode(&body, der.data, der.len, 76, "\r\n");
	buf_puts(&body, "\r\n--" BOUNDARY "--\r\n");
	ok = ok && !body.failed && (!m->encoding || smfi_chgheader(ctx, (char *)(uintptr_t) "Content-Transfer-Encoding", 1, NULL) == MI_SUCCESS) &&
		(m->version || smfi_addheader(ctx, (char *)(uintptr_t) "MIME-Version", (char *)(uintptr_t) " 1.0") == MI_SUCCESS) &&
		smfi_chgheader(ctx, (char *)(uintptr_t) "Content-Type", 1, (char *)(uintptr_t)type) == MI_SUCCESS && replace(ctx, &body);
	buf_clear(&der);
	buf_clear(&body);
	mail_reset(m);
	return ok ? SMFIS_ACCEPT : SMFIS_TEMPFAIL;
}

/* ---- start ---------------------------------------------------------------------------------------------------------------- */

static BIO *open_file(const char *path)
{
	BIO *bio = BIO_new_file(path, "r");

	if (!bio)
		bench_die("%s cannot be read", path);
	return bio;
}

static void load(char **paths)
{
	BIO *in[] = {open_file(paths[0]), open_file(paths[1]), open_file(paths[2])};
	X509 *next;

	key = PEM_read_bio_PrivateKey(in[0], NULL, NULL, NULL);
	certificate = PEM_read_bio_X509(in[1], NULL, NULL, NULL);
	chain = sk_X509_new_null();
	while ((next = PEM_read_bio_X509(in[2], NULL, NULL, NULL)))
		sk_X509_push(chain, next);
	if (!key || !certificate || sk_X509_num(chain) != 2)
		bench_die("key, certificate or chain is not what was expected");
	for (int i = 0; i < 3; i++)
		BIO_free(in[i]);
}

int main(int argc, char **argv)
{
	struct smfiDesc callbacks = {
		.xxfi_name = (char *)(uintptr_t) "reference",
		.xxfi_version = SMFI_VERSION,
		.xxfi_flags = SMFIF_CHGHDRS | SMFIF_ADDHDRS | SMFIF_CHGBODY,
		.xxfi_connect = on_connect,
		.xxfi_envfrom = on_mail,
		.xxfi_header = on_header,
		.xxfi_eoh = on_end_of_headers,
		.xxfi_body = on_body,
		.xxfi_eom = on_end_of_message,
		.xxfi_abort = on_abort,
		.xxfi_close = on_close,
		.xxfi_data = on_data,
		.xxfi_negotiate = on_negotiate,
	};

	if (argc != 5)
		bench_die("reference_milter SOCKET KEY CERTIFICATE CHAIN");
	load(argv + 2);
	return milter_run(&callbacks, argv[1]);
}
