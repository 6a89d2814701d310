/* enroll/member.h - members of JSON objects that somebody else wrote, with errors that say what was wrong.  Private to enroll/. */
#ifndef ENROLL_ENROLL_MEMBER_H
#define ENROLL_ENROLL_MEMBER_H

#include <jansson.h>

#include "base/base.h"

/* Where the object came from, for the error.  A server that sends nonsense is most often one in trouble, or another server in its
 * place: ERR_TEMPORARY, type "malformed-answer". */
struct member_source {
	const char *op;  /* "fetch order" */
	const char *url; /* or the program */
	struct err *err;
	const char *what;   /* that cannot be used; NULL = "the CA's answer" */
	const char *advice; /* what to do; NULL = what helps with a server */
};

/* Parse one JSON object (duplicate names, NUL, invalid UTF-8, nesting over jansson's limit are refused).  NULL on failure. */
json_t *member_parse(const struct member_source *from, const void *data, size_t len);

enum member_need { MEMBER_OPTIONAL, MEMBER_REQUIRED };

/* Each gives a borrowed value; false only on failure.  A missing (or null) optional member leaves *out NULL or false. */
bool member_string(const struct member_source *from, const json_t *object, const char *name, enum member_need need, const char **out);
bool member_url(const struct member_source *from, const json_t *object, const char *name, enum member_need need, const char **out);
bool member_object(const struct member_source *from, const json_t *object, const char *name, enum member_need need, const json_t **out);
bool member_array(const struct member_source *from, const json_t *object, const char *name, enum member_need need, const json_t **out);
bool member_number(const struct member_source *from, const json_t *object, const char *name, enum member_need need, const json_t **out);
bool member_flag(const struct member_source *from, const json_t *object, const char *name, bool *out);
/* An array of strings appended to `out`; all of them https URLs when `urls`; more than `max` are refused. */
bool member_strings(const struct member_source *from, const json_t *object, const char *name, enum member_need need, bool urls, size_t max,
	struct strlist *out);

/* Fill the error by hand in the same words.  Returns false. */
bool member_wrong(const struct member_source *from, const char *fmt, ...) BASE_PRINTF(2, 3);

#endif
