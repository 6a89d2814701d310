/*
 * enroll/answer.c - building the answers of the control socket.
 */
#include "config.h"

#include "enroll/answer.h"

void answer_set(json_t *object, const char *key, json_t *value)
{
	if (value)
		json_object_set_new(object, key, value);
}

json_t *answer_text(const char *s)
{
	return s && *s ? json_string(s) : NULL;
}

json_t *answer_texts(const struct strlist *l)
{
	json_t *a = json_array();

	for (size_t i = 0; i < l->n; i++)
		json_array_append_new(a, json_string(l->v[i]));
	return a;
}

json_t *answer_time(time_t t)
{
	char text[32];

	return t ? json_string(time_text(t, text)) : NULL;
}
