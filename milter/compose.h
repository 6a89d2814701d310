/*
 * milter/compose.h - what replaces a message's structure fields and body, computed whole before the first edit (RFC 8551 section 3.5).
 * Private to milter/; knows nothing of libmilter.
 *
 * compose_begin at the end of the headers, compose_body while the body streams in, compose_finish at its end.  One thread at a time.
 */
#ifndef ENROLL_MILTER_COMPOSE_H
#define ENROLL_MILTER_COMPOSE_H
#include "milter/mime.h"
#include "milter/sign.h"
#include "policy/policy.h"

struct composition {
	/* set by the caller, borrowed */
	const struct headers *headers;
	struct signer *signer;
	const char *spool_directory;
	struct sign_options options;
	enum signed_form unencodable;   /* see struct signing_config */
	bool protect;                   /* header protection is wanted */
	struct mime_scan scan;          /* its `watch` may be set */
	struct spool *body;             /* empty; filled by compose_body */
	/* what came of it, after compose_finish */
	enum signed_form form;          /* DETACHED or OPAQUE */
	bool reencoded;
	const char *why;                /* of the re-encoding, or of the opaque form where detached was asked for; static text */
	const char *unprotected;        /* why header protection was left out; static text, NULL = it was not */
	struct buf content_type;        /* the new value, LF folds */
	struct buf head;                /* the new body: this, */
	struct spool *middle;           /* then this (body, or an own one), */
	struct buf tail;                /* then this; CRLF */
	/* inside */
	struct sign_op *op;
	struct spool *made;
};

bool compose_begin(struct composition *c, struct err *err) BASE_MUST_CHECK;
bool compose_body(struct composition *c, const void *data, size_t len, struct err *err) BASE_MUST_CHECK;
/* The scan is finished before (mime_scan_finish).  ERR_POLICY: it cannot be signed without changing what it says. */
bool compose_finish(struct composition *c, enum signed_form form, struct err *err) BASE_MUST_CHECK;
void compose_clear(struct composition *c);
#endif
