/*
 * milter/mime_plan.h - what has to change in an entity before it can be signed.  Private to mime_encode.c.
 *
 * GMime reads the structure, nothing is written by it: the plan is a list of stretches of the original octets that get replaced, in
 * order.  Everything else (delimiters, untouched parts, preambles) is copied as it came.
 */
#ifndef ENROLL_MILTER_MIME_PLAN_H
#define ENROLL_MILTER_MIME_PLAN_H
#include "milter/mime_stream.h"

/* How octets that are merely copied are treated, when something unsafe is among them. */
enum mime_zone {
	ZONE_STRUCTURE, /* line ends become CRLF; anything else unsafe is an error */
	ZONE_PROTECTED, /* nothing may change: forwarded messages, inner signatures */
	ZONE_COMMENT    /* preambles and epilogues, which nobody is shown: 8-bit octets are written as =XX */
};

struct mime_edit {
	enum { EDIT_ZONE, EDIT_TEXT, EDIT_ENCODE } kind;
	uint64_t at, length;             /* the stretch that is replaced; length 0: an insertion, or the place where a zone begins */
	enum mime_zone zone;
	char *text;                      /* EDIT_TEXT: with CRLF */
	GMimeContentEncoding from, to;   /* EDIT_ENCODE: how the content is encoded, and how it shall be */
};
struct mime_plan { struct mime_edit *v; size_t n, size; };

bool mime_plan_make(struct mime_plan *plan, struct mime_source *source, struct err *err) BASE_MUST_CHECK;
void mime_plan_clear(struct mime_plan *plan);
#endif
