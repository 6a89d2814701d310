/* enroll/problem.h - what a CA says when it says no (RFC 8555 section 6.7, RFC 9457).  Private to enroll/. */
#ifndef ENROLL_ENROLL_PROBLEM_H
#define ENROLL_ENROLL_PROBLEM_H

#include <jansson.h>

#include "base/base.h"
#include "enroll/http.h"

/* One row per type of problem: what kind of failure it is for us, and what the admin can do. */
struct problem_row {
	const char *type; /* without "urn:ietf:params:acme:error:" */
	enum err_class class;
	const char *advice; /* a sentence; NULL = the CA's words are enough */
};
/* Never NULL; an unknown type gets a row that says temporary. */
const struct problem_row *problem_row(const char *type);
/* All rows, ended by one without type: for tests and documentation. */
const struct problem_row *problem_rows(void);

/* The type as it stands in struct err: ACME's own without their prefix ("rateLimited"), others whole. */
const char *problem_short_type(const char *type);

/* Turn an answer that is no success into an error: class by the table, the CA's words with all subproblems, HTTP status and URL as
 * subject, retry_at from Retry-After.  Returns false. */
bool problem_from_answer(const struct http_response *r, const char *op, const char *url, time_t now, struct err *err);

/* The same for the "error" member of a challenge and of its order; each may be NULL.  The class is ERR_CA always, as a validation that
 * failed is final for this order. */
bool problem_from_objects(const json_t *challenge_error, const json_t *order_error, const char *op, const char *url, long status,
	struct err *err);

/* The identifiers that the answer's problem is about, by its subproblems: a few, blank separated; NULL = none named. Freed by the caller. */
char *problem_identifiers(const struct http_response *r);

/* The words alone: `detail (type); for ADDRESS: detail (type); ...`, made printable. */
void problem_words(const json_t *problem, struct buf *out);

#endif
