/*
 * milter/mime_stream.h - an entity as GMime reads it: its header text and the body in a spool, one after the other, without a copy.
 * Private to mime_*.c and report.c.
 *
 * GMime's parser takes memory for every part and every header field, so the number of both is limited here: over a limit the stream
 * ends early and says so.
 */
#ifndef ENROLL_MILTER_MIME_STREAM_H
#define ENROLL_MILTER_MIME_STREAM_H
#include <gmime/gmime.h>
#include "base/base.h"
#include "milter/spool.h"

/* What is read, shared by the stream and all its substreams; belongs to the caller and outlives them. */
struct mime_source {
	const char *header;      /* the entity's header with the empty line */
	size_t header_len;
	const struct spool *body;
	unsigned delimiters;     /* lines that begin with "--", as far as it was read */
	unsigned fields;         /* counted by the parser's callback */
	const char *stopped;     /* why no more is read; static text, NULL = all is well */
	struct err err;          /* of a failed read */
};
#define MIME_DELIMITERS_MAX 20000
#define MIME_FIELDS_MAX 50000

uint64_t mime_source_size(const struct mime_source *s);
/* Read at an offset of the whole entity; *got 0 = end. */
bool mime_source_read(const struct mime_source *s, uint64_t offset, void *data, size_t len, size_t *got, struct err *err) BASE_MUST_CHECK;
GMimeStream *mime_stream_new(struct mime_source *source);
/* The whole entity, for g_object_unref; NULL when there is none.  `source` says when it was read to no end. */
GMimeObject *mime_parse(struct mime_source *source);
#endif
