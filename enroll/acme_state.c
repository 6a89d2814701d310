/*
 * enroll/acme_state.c - an order's memory, as JSON in the store.
 *
 * It is our own text, yet it comes from a database that an older or newer version may have written, so it is read with the same
 * care as a CA's: what cannot be read is a defect (ERR_BUG), never a crash.  What another driver wrote is an order that this one cannot go
 * on with (ERR_CA: a new one follows).
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "enroll/acme.h"

static const struct {
	const char *name;
	size_t offset;
} strings[] = {
	{"order", offsetof(struct acme_state, order)},
	{"finalize", offsetof(struct acme_state, finalize)},
	{"certificate", offsetof(struct acme_state, certificate)},
	{"challenge", offsetof(struct acme_state, challenge)},
	{"token", offsetof(struct acme_state, token)},
	{"address", offsetof(struct acme_state, address)},
	{"ticket", offsetof(struct acme_state, ticket)},
	{"seen", offsetof(struct acme_state, seen)},
};
static const struct {
	const char *name;
	size_t offset;
} lists[] = {
	{"authorizations", offsetof(struct acme_state, authorizations)},
	{"addresses", offsetof(struct acme_state, addresses)},
};
#define N_STRINGS (sizeof strings / sizeof *strings)
#define N_LISTS (sizeof lists / sizeof *lists)

static char **string_at(const struct acme_state *s, size_t i)
{
	return (char **)(void *)((char *)(uintptr_t)s + strings[i].offset);
}

static struct strlist *list_at(const struct acme_state *s, size_t i)
{
	return (struct strlist *)(void *)((char *)(uintptr_t)s + lists[i].offset);
}

void acme_state_clear(struct acme_state *s)
{
	for (size_t i = 0; i < N_STRINGS; i++)
		free(*string_at(s, i));
	for (size_t i = 0; i < N_LISTS; i++)
		strlist_clear(list_at(s, i));
	memset(s, 0, sizeof *s);
}

static bool list_load(const json_t *from, struct strlist *to)
{
	const char *s;

	for (size_t i = 0; i < json_array_size(from); i++) {
		s = json_string_value(json_array_get(from, i));
		if (!s || !strlist_add(to, s))
			return false;
	}
	return true;
}

bool acme_state_load(const char *text, struct acme_state *out, struct err *err)
{
	json_t *j = text ? json_loads(text, 0, NULL) : NULL;
	const char *v;
	bool ok = json_is_object(j);

	memset(out, 0, sizeof *out);
	for (size_t i = 0; ok && i < N_STRINGS; i++) {
		v = json_string_value(json_object_get(j, strings[i].name));
		*string_at(out, i) = str_dup(v);
		ok = !v || *string_at(out, i);
	}
	for (size_t i = 0; ok && i < N_LISTS; i++)
		ok = list_load(json_object_get(j, lists[i].name), list_at(out, i));
	if (ok && !out->order) {
		acme_state_clear(out);
		ok = err_set(err, ERR_CA, "read order state", "", "the order was not opened through driver \"acme\"; a new one follows");
	} else if (!ok || !http_url_good(out->order)) {
		acme_state_clear(out);
		ok = err_set(err, ERR_BUG, "read order state", "", "what the store holds about the order at the CA cannot be read");
	}
	json_decref(j);
	return ok;
}

static json_t *list_save(const struct strlist *from)
{
	json_t *list = json_array();

	for (size_t i = 0; i < from->n; i++)
		if (json_array_append_new(list, json_string(from->v[i])) != 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

bool acme_state_save(const struct acme_state *s, char **text, struct err *err)
{
	json_t *j = json_object();
	char *dump = NULL;
	bool ok = j != NULL;

	for (size_t i = 0; ok && i < N_STRINGS; i++)
		if (*string_at(s, i))
			ok = json_object_set_new(j, strings[i].name, json_string(*string_at(s, i))) == 0;
	for (size_t i = 0; ok && i < N_LISTS; i++)
		if (list_at(s, i)->n)
			ok = json_object_set_new(j, lists[i].name, list_save(list_at(s, i))) == 0;
	if (ok)
		dump = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	if (!dump)
		return err_nomem(err, "keep order state");
	free(*text);
	*text = dump;
	return true;
}
