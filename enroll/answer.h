/*
 * enroll/answer.h - building the answers of the control socket: what is not known is left out.  Private to enroll/.
 */
#ifndef ENROLL_ENROLL_ANSWER_H
#define ENROLL_ENROLL_ANSWER_H

#include <jansson.h>

#include "base/base.h"

void answer_set(json_t *object, const char *key, json_t *value); /* takes value over; NULL: left out */
json_t *answer_text(const char *s);                 /* NULL for NULL and "" */
json_t *answer_texts(const struct strlist *l);      /* an array */
json_t *answer_time(time_t t);                      /* as text; NULL for 0 */

#endif
