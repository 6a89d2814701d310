/* tests/fuzz/fuzz_mail.h - what the harnesses that read mail share. */
#ifndef ENROLL_TESTS_FUZZ_FUZZ_MAIL_H
#define ENROLL_TESTS_FUZZ_FUZZ_MAIL_H
#include <stdlib.h>
#include <string.h>

#include "milter/mime.h"

/* MTAs take blanks in front of the colon away, and what has others in its name for no field. */
static inline bool fuzz_field_name(char *name)
{
	size_t len = strlen(name);

	while (len > 0 && (name[len - 1] == ' ' || name[len - 1] == '\t'))
		name[--len] = '\0';
	for (size_t i = 0; i < len; i++)
		if (name[i] <= ' ' || name[i] > '~')
			return false;
	return len > 0;
}

/* Fields up to the empty line; returns where the body begins. */
static inline size_t fuzz_read_header(struct headers *h, const char *data, size_t size)
{
	size_t at = 0;

	while (at < size && data[at] != '\n') {
		size_t end = at;
		char *field, *colon;

		do {
			const char *lf = memchr(data + end, '\n', size - end);

			end = lf ? (size_t)(lf - data) + 1 : size;
		} while (end < size && (data[end] == ' ' || data[end] == '\t'));
		field = strndup(data + at, end - at - (data[end - 1] == '\n'));
		colon = field ? strchr(field, ':') : NULL;
		if (colon) {
			*colon = '\0';
			if (fuzz_field_name(field) && !headers_add(h, field, colon + 1))
				abort();
		}
		free(field);
		at = end;
	}
	return at < size ? at + 1 : size;
}

#endif
