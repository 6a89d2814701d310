/* enroll/member.c - typed access to members of JSON objects. */
#include "config.h"

#include "enroll/member.h"

#include <stdarg.h>
#include <string.h>

#include "enroll/http.h"

bool member_wrong(const struct member_source *from, const char *fmt, ...)
{
	char what[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	/* jansson quotes what it read, and may cut it within a character. */
	for (char *p = what; *p; p++)
		if (*p < ' ' || *p >= 127)
			*p = '?';
	err_set(from->err, ERR_TEMPORARY, from->op, from->url, "%s cannot be used: %s. %s", from->what ? from->what : "the CA's answer", what,
		from->advice ? from->advice : "Is ca.directory-url right, and does the CA work?");
	if (from->err)
		snprintf(from->err->type, sizeof from->err->type, "malformed-answer");
	return false;
}

static const char *type_name(const json_t *j)
{
	static const char *const names[] = {"an object", "an array", "a string", "a number", "a number", "true", "false", "null"};

	return names[json_typeof(j)];
}

json_t *member_parse(const struct member_source *from, const void *data, size_t len)
{
	json_error_t e;
	json_t *j = json_loadb(data ? data : "", len, JSON_REJECT_DUPLICATES, &e);

	if (!j) {
		member_wrong(from, "it is not JSON (line %d, column %d: %.*s)", e.line, e.column, JSON_ERROR_TEXT_LENGTH, e.text);
		return NULL;
	}
	if (!json_is_object(j)) {
		member_wrong(from, "it is JSON, but %s and not an object", type_name(j));
		json_decref(j);
		return NULL;
	}
	return j;
}

/* *out stays NULL for a missing optional one. */
static bool lookup(const struct member_source *from, const json_t *object, const char *name, enum member_need need, const char *expected,
	bool (*fits)(const json_t *), const json_t **out)
{
	const json_t *v = json_object_get(object, name);

	*out = NULL;
	if (!v || json_is_null(v))
		return need == MEMBER_OPTIONAL || member_wrong(from, "\"%s\" is missing", name);
	if (!fits(v))
		return member_wrong(from, "\"%s\" is %s, not %s", name, type_name(v), expected);
	*out = v;
	return true;
}

static bool fits_string(const json_t *j)
{
	return json_is_string(j);
}

static bool fits_object(const json_t *j)
{
	return json_is_object(j);
}

static bool fits_array(const json_t *j)
{
	return json_is_array(j);
}

static bool fits_number(const json_t *j)
{
	return json_is_number(j);
}

static bool fits_flag(const json_t *j)
{
	return json_is_boolean(j);
}

bool member_string(const struct member_source *from, const json_t *object, const char *name, enum member_need need, const char **out)
{
	const json_t *v;

	*out = NULL;
	if (!lookup(from, object, name, need, "a string", fits_string, &v))
		return false;
	*out = v ? json_string_value(v) : NULL;
	return true;
}

bool member_url(const struct member_source *from, const json_t *object, const char *name, enum member_need need, const char **out)
{
	if (!member_string(from, object, name, need, out))
		return false;
	if (!*out || http_url_good(*out))
		return true;
	*out = NULL;
	return member_wrong(from, "\"%s\" is no https URL", name);
}

bool member_object(const struct member_source *from, const json_t *object, const char *name, enum member_need need, const json_t **out)
{
	return lookup(from, object, name, need, "an object", fits_object, out);
}

bool member_array(const struct member_source *from, const json_t *object, const char *name, enum member_need need, const json_t **out)
{
	return lookup(from, object, name, need, "an array", fits_array, out);
}

bool member_number(const struct member_source *from, const json_t *object, const char *name, enum member_need need, const json_t **out)
{
	return lookup(from, object, name, need, "a number", fits_number, out);
}

bool member_flag(const struct member_source *from, const json_t *object, const char *name, bool *out)
{
	const json_t *v;

	*out = false;
	if (!lookup(from, object, name, MEMBER_OPTIONAL, "true or false", fits_flag, &v))
		return false;
	*out = v && json_is_true(v);
	return true;
}

bool member_strings(const struct member_source *from, const json_t *object, const char *name, enum member_need need, bool urls, size_t max,
	struct strlist *out)
{
	const json_t *list;
	const char *s;

	if (!member_array(from, object, name, need, &list))
		return false;
	if (list && json_array_size(list) > max)
		return member_wrong(from, "\"%s\" has %zu members, more than %zu", name, json_array_size(list), max);
	for (size_t i = 0; list && i < json_array_size(list); i++) {
		s = json_string_value(json_array_get(list, i));
		if (!s || (urls && !http_url_good(s)))
			return member_wrong(from, "\"%s\" holds something that is no %s", name, urls ? "https URL" : "string");
		if (!strlist_add(out, s))
			return err_nomem(from->err, from->op);
	}
	return true;
}
