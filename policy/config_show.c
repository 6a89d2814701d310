/*
 * policy/config_show.c - the configuration in effect, and the description of every key, both straight from the table.
 *
 * The values are gathered in one JSON tree; JSON prints that tree, libconfig syntax is the same tree copied into libconfig and
 * written by it.  What config_show writes, config_load reads again with the same result (a test holds it to that).  There is nothing
 * to redact: struct config knows only where secrets are.
 */
#include "config.h"

#include "policy/config_table.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>

static const unsigned char v4_mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static json_t *network_json(const struct network *net)
{
	bool v4 = net->prefix >= 96 && memcmp(net->addr, v4_mapped, sizeof(v4_mapped)) == 0;
	unsigned prefix = v4 ? net->prefix - 96 : net->prefix;
	char text[INET6_ADDRSTRLEN];

	if (!inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? net->addr + 12 : net->addr, text, sizeof(text)))
		return NULL;
	return json_sprintf("%s/%u", text, prefix);
}

static json_t *texts_json(const struct strlist *texts)
{
	json_t *list = json_array();

	for (size_t i = 0; i < texts->n; i++)
		json_array_append_new(list, json_string(texts->v[i]));
	return list;
}

static json_t *list_json(const struct config_key *key, const void *where)
{
	json_t *list;

	if (key->type == CONFIG_TEXTS) {
		list = texts_json(where);
	} else {
		const struct network *nets = *(struct network *const *)where;
		size_t n;

		memcpy(&n, (const char *)where + sizeof(nets), sizeof(n));
		list = json_array();
		for (size_t i = 0; i < n; i++)
			json_array_append_new(list, network_json(&nets[i]));
	}
	return list;
}

static json_t *value_json(const struct config_key *key, const void *base)
{
	const void *where = (const char *)base + key->offset;
	const char *text;
	int word;

	switch (key->type) {
	case CONFIG_FLAG:
		return json_boolean(*(const bool *)where);
	case CONFIG_NUMBER:
		return json_integer(*(const unsigned *)where);
	case CONFIG_SIZE:
		return json_integer((json_int_t)*(const size_t *)where);
	case CONFIG_ENUM:
		memcpy(&word, where, sizeof(word));
		return json_string(config_word_name(key->words, word));
	case CONFIG_TEXTS:
	case CONFIG_NETWORKS:
		return list_json(key, where);
	default:
		text = *(char *const *)where;
		return text ? json_string(text) : json_null();
	}
}

static bool is_empty(const json_t *value)
{
	return json_is_null(value) || (json_is_array(value) && json_array_size(value) == 0);
}

/* Put a value where its path says, making the groups on the way. */
static bool place(json_t *root, const char *path, json_t *value)
{
	const char *dot;

	while (root && (dot = strchr(path, '.'))) {
		char name[64];
		json_t *next;

		snprintf(name, sizeof(name), "%.*s", (int)(dot - path), path);
		next = json_object_get(root, name);
		if (!next && json_object_set_new(root, name, json_object()) == 0)
			next = json_object_get(root, name);
		root = next;
		path = dot + 1;
	}
	return json_object_set_new(root, path, value) == 0;
}

static bool gather(json_t *into, const void *base, const char *entry);

static json_t *entries_json(const struct config_key *key, const void *where)
{
	json_t *all = json_array();
	const char *list;
	size_t n;

	memcpy(&list, where, sizeof(list));
	memcpy(&n, (const char *)where + sizeof(list), sizeof(n));
	for (size_t i = 0; i < n; i++) {
		json_t *one = json_object();

		if (!gather(one, list + i * key->size, key->entry) || json_array_append_new(all, one) != 0) {
			json_decref(all);
			return NULL;
		}
	}
	return all;
}

static json_t *group_json(const struct config_key *key, const void *where)
{
	json_t *group = json_object();

	if (gather(group, where, key->entry))
		return group;
	json_decref(group);
	return NULL;
}

/* All keys of one base; the name of the entry is left off the paths. */
static bool gather(json_t *into, const void *base, const char *entry)
{
	size_t skip = *entry ? strlen(entry) + 1 : 0;

	for (size_t i = 0; i < config_keys_count; i++) {
		const struct config_key *key = &config_keys[i];
		const void *where = (const char *)base + key->offset;
		json_t *value;

		if ((key->type == CONFIG_GROUP && !key->entry) || !config_key_of(key, entry))
			continue;
		if (key->type == CONFIG_GROUPS)
			value = entries_json(key, where);
		else
			value = key->type == CONFIG_GROUP ? group_json(key, where) : value_json(key, base);
		/* A rule's condition that is not there and one with nothing in it are not the same (config_rules.c). */
		if (value && (config_key_is_optional(key) || strcmp(entry, "rules") == 0 || strcmp(entry, "mail-rules") == 0) && is_empty(value)) {
			json_decref(value);
			continue;
		}
		if (!value || !place(into, key->path + skip, value))
			return false;
	}
	return true;
}

/* Where values come from that neither the file says nor the programs' own defaults.  No key of the file, so in JSON alone. */
static bool preset_json(json_t *ca_group, const struct ca_config *ca)
{
	return !ca->preset_file || json_object_set_new(ca_group, "from-preset", json_pack("{s:s, s:o, s:o}", "file", ca->preset_file, "keys",
		texts_json(&ca->preset_keys), "overruled", texts_json(&ca->preset_overruled))) == 0;
}

/* ---- JSON to libconfig ------------------------------------------------------------------------------------------- */

static int libconfig_type(const char *name, const json_t *value)
{
	const struct config_key *key = name ? config_key_find(name) : NULL;

	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return CONFIG_TYPE_GROUP;
	case JSON_ARRAY:
		return key && key->type == CONFIG_GROUPS ? CONFIG_TYPE_LIST : CONFIG_TYPE_ARRAY;
	case JSON_INTEGER:
		return CONFIG_TYPE_INT;
	case JSON_TRUE:
	case JSON_FALSE:
		return CONFIG_TYPE_BOOL;
	default:
		return CONFIG_TYPE_STRING;
	}
}

static bool copy_setting(config_setting_t *parent, const char *name, json_t *value)
{
	config_setting_t *s;
	const char *key;
	json_t *v;
	size_t i;

	if (json_is_null(value)) /* libconfig has no word for "not set" */
		return true;
	s = config_setting_add(parent, name, libconfig_type(name, value));
	if (!s)
		return false;
	if (json_is_string(value))
		return config_setting_set_string(s, json_string_value(value)) == CONFIG_TRUE;
	if (json_is_integer(value))
		return config_setting_set_int(s, (int)json_integer_value(value)) == CONFIG_TRUE;
	if (json_is_boolean(value))
		return config_setting_set_bool(s, json_is_true(value)) == CONFIG_TRUE;
	json_object_foreach (value, key, v)
		if (!copy_setting(s, key, v))
			return false;
	json_array_foreach (value, i, v)
		if (!copy_setting(s, NULL, v))
			return false;
	return true;
}

static bool write_libconfig(json_t *tree, struct buf *out)
{
	config_t lib;
	const char *key;
	char *text = NULL;
	size_t len = 0;
	json_t *v;
	FILE *f = open_memstream(&text, &len);
	bool ok = f != NULL;

	if (!f)
		return false;
	config_init(&lib);
	config_set_options(&lib, CONFIG_OPTION_SEMICOLON_SEPARATORS);
	json_object_foreach (tree, key, v)
		ok = ok && copy_setting(config_root_setting(&lib), key, v);
	if (ok)
		config_write(&lib, f);
	config_destroy(&lib);
	ok = fclose(f) == 0 && ok;
	if (ok)
		buf_append(out, text, len);
	free(text);
	return ok;
}

/* The same as a comment. */
static void preset_comment(const struct ca_config *ca, struct buf *out)
{
	if (!ca->preset_file)
		return;
	buf_printf(out, "# CA %s, from preset %s:", ca->name, ca->preset_file);
	for (size_t i = 0; i < ca->preset_keys.n; i++)
		buf_printf(out, "%s %s", i ? "," : "", ca->preset_keys.v[i]);
	buf_puts(out, ca->preset_keys.n ? "\n" : " nothing\n");
	if (ca->preset_overruled.n)
		buf_puts(out, "# in the preset too, but the configuration says it itself:");
	for (size_t i = 0; i < ca->preset_overruled.n; i++)
		buf_printf(out, "%s %s%s", i ? "," : "", ca->preset_overruled.v[i], i + 1 == ca->preset_overruled.n ? "\n" : "");
}

static bool presets_json(json_t *root, const struct config *c)
{
	bool ok = preset_json(root, &c->ca);

	for (size_t i = 0; ok && i < c->n_more_cas; i++)
		ok = preset_json(json_array_get(json_object_get(root, "cas"), i), &c->more_cas[i]);
	return ok;
}

bool config_show(const struct config *c, bool json, struct buf *out, struct err *err)
{
	json_t *tree = json_object();
	char *text = NULL;
	bool ok = gather(tree, c, "");

	if (ok && json) {
		text = presets_json(tree, c) ? json_dumps(tree, JSON_INDENT(2)) : NULL;
		ok = text != NULL;
		if (ok) {
			buf_puts(out, text);
			buf_putc(out, '\n');
		}
		free(text);
	} else if (ok) {
		for (size_t i = 0; i < config_cas(c); i++)
			preset_comment(config_ca_at(c, i), out);
		ok = write_libconfig(tree, out);
	}
	json_decref(tree);
	return (ok && !out->failed) || err_nomem(err, "show configuration");
}

/* ---- description ------------------------------------------------------------------------------------------------- */

static void describe_type(const struct config_key *key, struct buf *out)
{
	switch (key->type) {
	case CONFIG_GROUP:
		buf_puts(out, "group { ... }");
		break;
	case CONFIG_GROUPS:
		buf_puts(out, "list of groups ( { ... }, ... )");
		break;
	case CONFIG_FLAG:
		buf_puts(out, "true or false");
		break;
	case CONFIG_NUMBER:
	case CONFIG_SIZE:
		buf_printf(out, "number %u to %u", key->min, key->max);
		break;
	case CONFIG_TEXTS:
		buf_puts(out, "array of texts");
		break;
	case CONFIG_NETWORKS:
		buf_puts(out, "array of networks");
		break;
	case CONFIG_TEXT:
		buf_puts(out, "text");
		break;
	default:
		config_words_text(key->words, out);
	}
}

void config_describe(struct buf *out)
{
	for (size_t i = 0; i < config_keys_count; i++) {
		const struct config_key *key = &config_keys[i];

		buf_printf(out, "%s\n    ", key->path);
		describe_type(key, out);
		if (key->fallback)
			buf_printf(out, "; default %s", key->fallback);
		buf_printf(out, "\n    %s\n", key->help);
	}
}
