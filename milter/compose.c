/*
 * compose.c - a message's new body (compose.h).
 *
 * Most mail is hashed as it comes in, and nothing of it is written anew: the middle of the new body is the old one.  What is not safe to be
 * relayed is re-encoded into a spool of its own and hashed from there.  The opaque form needs neither, being base64 all over; there the
 * content is still re-encoded where it can be, as whoever takes the wrapping off may send it on.
 */
#include "config.h"

#include "milter/compose.h"

#include <string.h>

#define OPAQUE_TYPE "application/pkcs7-mime; smime-type=signed-data;\n\tname=\"smime.p7m\""

bool compose_begin(struct composition *c, struct err *err)
{
	struct buf header = BUF_INIT;
	bool ok;

	if (c->protect && !mime_can_protect(c->headers, &c->unprotected))
		c->protect = false;
	c->op = sign_begin(c->signer, &c->options, err);
	if (!c->op)
		return false;
	mime_entity_header(&header, c->headers, c->protect);
	ok = header.failed ? err_nomem(err, "sign") : sign_update(c->op, header.data, header.len, err);
	buf_clear(&header);
	return ok;
}

bool compose_body(struct composition *c, const void *data, size_t len, struct err *err)
{
	mime_scan_feed(&c->scan, data, len);
	return spool_write(c->body, data, len, err) && sign_update(c->op, data, len, err);
}

void compose_clear(struct composition *c)
{
	sign_free(c->op);
	spool_free(c->made);
	buf_clear(&c->content_type);
	buf_clear(&c->head);
	buf_clear(&c->tail);
	c->op = NULL;
	c->made = c->middle = NULL;
}

/* ---- re-encoding ----------------------------------------------------------------------------------------------------------- */

/* The entity into a spool of its own, if it becomes another one.  false with ERR_POLICY when that would change what may not be changed. */
static bool reencode(struct composition *c, struct err *err)
{
	c->made = spool_new(c->spool_directory, err);
	if (!c->made || !mime_reencode(c->headers, c->protect, c->body, c->made, &c->reencoded, err))
		return false;
	if (!c->reencoded) {
		spool_free(c->made);
		c->made = NULL;
	}
	return true;
}

static bool hash_piece(void *arg, const void *data, size_t len, struct err *err)
{
	return sign_update(arg, data, len, err);
}

static bool hash_again(struct composition *c, struct err *err)
{
	sign_free(c->op);
	c->op = sign_begin(c->signer, &c->options, err);
	return c->op && spool_each(c->made, hash_piece, c->op, err);
}

/* ---- the two forms ----------------------------------------------------------------------------------------------------------- */

static bool detached(struct composition *c, struct err *err)
{
	struct buf der = BUF_INIT;
	char boundary[64];
	bool ok = sign_finish(c->op, &der, err);

	sign_boundary(boundary);
	if (ok) {
		sign_content_type(&c->content_type, boundary, signer_micalg(c->signer));
		sign_prologue(&c->head, boundary);
		if (!c->made)
			mime_entity_header(&c->head, c->headers, c->protect);
		sign_epilogue(&c->tail, boundary, &der);
		c->middle = c->made ? c->made : c->body;
		ok = !(c->content_type.failed || c->head.failed || c->tail.failed) || err_nomem(err, "sign");
	}
	buf_clear(&der);
	return ok;
}

static bool opaque_piece(void *arg, const void *data, size_t len, struct err *err)
{
	return opaque_update(arg, data, len, err);
}

static bool wrap(struct composition *c, struct opaque_op *op, struct err *err)
{
	struct buf header = BUF_INIT;
	bool ok = true;

	if (!c->made) {
		mime_entity_header(&header, c->headers, c->protect);
		ok = header.failed ? err_nomem(err, "sign") : opaque_update(op, header.data, header.len, err);
		buf_clear(&header);
	}
	return ok && spool_each(c->made ? c->made : c->body, opaque_piece, op, err) && opaque_finish(op, err);
}

static bool opaque(struct composition *c, struct err *err)
{
	struct spool *out = spool_new(c->spool_directory, err);
	struct opaque_op *op = out ? opaque_begin(c->signer, &c->options, out, err) : NULL;
	bool ok = op && wrap(c, op, err);

	opaque_free(op);
	spool_free(c->made);
	c->middle = c->made = out;
	buf_puts(&c->content_type, OPAQUE_TYPE);
	return ok && (!c->content_type.failed || err_nomem(err, "sign"));
}

bool compose_finish(struct composition *c, enum signed_form form, struct err *err)
{
	struct err refused = ERR_INIT;
	const char *why;

	c->form = form;
	if (mime_needs_encoding(c->headers, &c->scan, &why)) {
		c->why = why;
		if (!reencode(c, &refused)) {
			/* Inside base64 it is as safe as it came. */
			if (refused.class != ERR_POLICY || (form != FORM_OPAQUE && c->unencodable != FORM_OPAQUE)) {
				*err = refused;
				return false;
			}
			spool_free(c->made);
			c->made = NULL;
			c->reencoded = false;
			c->form = FORM_OPAQUE;
		} else if (!c->reencoded) {
			c->why = NULL;
		}
	}
	if (c->form == FORM_OPAQUE)
		return opaque(c, err);
	return (!c->made || hash_again(c, err)) && detached(c, err);
}
