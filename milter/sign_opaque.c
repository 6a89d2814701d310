/*
 * sign_opaque.c - the opaque form: a SignedData around the entity, written while the entity streams in (sign.h).
 *
 * OpenSSL's streaming CMS writes BER into a chain of BIOs: base64, and below it one of ours that writes lines into the spool.  What was
 * written is on disk or counted by the spool; nothing of the entity stays here.
 */
#include "config.h"

#include "milter/sign_cms.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>

struct opaque_op {
	struct signer *signer;
	CMS_ContentInfo *cms;
	BIO *content;       /* the entity is written here; below it: */
	BIO *base64, *sink;
	struct spool *out;
	struct err err;     /* of the spool */
};

/* ---- the sink: OpenSSL's base64 lines end in LF ------------------------------------------------------------------------ */

static BIO_METHOD *sink_method;

static bool put_lines(struct opaque_op *op, const char *data, size_t len)
{
	const char *end = data + len, *lf;

	while (data < end && (lf = memchr(data, '\n', (size_t)(end - data))) != NULL) {
		if (!spool_write(op->out, data, (size_t)(lf - data), &op->err) || !spool_write(op->out, "\r\n", 2, &op->err))
			return false;
		data = lf + 1;
	}
	return spool_write(op->out, data, (size_t)(end - data), &op->err);
}

static int sink_write(BIO *bio, const char *data, int len)
{
	return len <= 0 || put_lines(BIO_get_data(bio), data, (size_t)len) ? len : -1;
}

static long sink_ctrl(BIO *bio, int command, long number, void *pointer)
{
	return command == BIO_CTRL_FLUSH;
}

static void make_sink_method(void)
{
	sink_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "spool");
	if (sink_method != NULL && (!BIO_meth_set_write(sink_method, sink_write) || !BIO_meth_set_ctrl(sink_method, sink_ctrl))) {
		BIO_meth_free(sink_method);
		sink_method = NULL;
	}
}

static BIO *new_sink(struct opaque_op *op)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	BIO *bio;

	pthread_once(&once, make_sink_method);
	bio = sink_method != NULL ? BIO_new(sink_method) : NULL;
	if (bio != NULL) {
		BIO_set_data(bio, op);
		BIO_set_init(bio, 1);
	}
	return bio;
}

/* ---- the operation ----------------------------------------------------------------------------------------------------- */

static bool failed(const struct opaque_op *op, struct err *err)
{
	if (op->err.class == ERR_NONE)
		return err_openssl(err, ERR_BUG, OP_SIGN, op->signer->fingerprint);
	ERR_clear_error();
	if (err != NULL)
		*err = op->err;
	return false;
}

struct opaque_op *opaque_begin(struct signer *s, const struct sign_options *options, struct spool *out, struct err *err)
{
	struct opaque_op *op = calloc(1, sizeof(*op));
	CMS_SignerInfo *si;

	if (op == NULL) {
		err_nomem(err, OP_SIGN);
		return NULL;
	}
	op->signer = signer_ref(s);
	op->out = out;
	op->sink = new_sink(op);
	op->base64 = BIO_new(BIO_f_base64());
	op->cms = sign_cms(s, options, CMS_STREAM, &si);
	if (op->sink != NULL && op->base64 != NULL && op->cms != NULL) {
		BIO_push(op->base64, op->sink);
		op->content = BIO_new_CMS(op->base64, op->cms);
	}
	if (op->content == NULL) {
		failed(op, err);
		opaque_free(op);
		return NULL;
	}
	return op;
}

bool opaque_update(struct opaque_op *op, const void *data, size_t len, struct err *err)
{
	const char *p = data;

	while (len > 0) {
		int n = BIO_write(op->content, p, len < INT32_MAX ? (int)len : INT32_MAX);

		if (n <= 0 || op->err.class != ERR_NONE)
			return failed(op, err);
		p += n;
		len -= (size_t)n;
	}
	return true;
}

bool opaque_finish(struct opaque_op *op, struct err *err)
{
	bool ok;

	memory_secret_begin(); /* this is where it is signed */
	ok = BIO_flush(op->content) == 1;
	memory_secret_end();
	return (ok && op->err.class == ERR_NONE) || failed(op, err);
}

void opaque_free(struct opaque_op *op)
{
	if (op == NULL)
		return;
	/* Down to what we pushed below it: BIO_new_CMS puts several on top. */
	while (op->content != NULL && op->content != op->base64) {
		BIO *next = BIO_pop(op->content);

		BIO_free(op->content);
		op->content = next;
	}
	BIO_free(op->base64);
	BIO_free(op->sink);
	CMS_ContentInfo_free(op->cms);
	signer_unref(op->signer);
	free(op);
}
