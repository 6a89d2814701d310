/*
 * policy/config_load.c - from a file to a struct config: defaults, then the preset of the CA when one is named, then every setting of the
 * file through the table, then the rules.
 *
 * The first mistake ends it, with file, line, key, what was expected and what was found.  Values of keys that name a place of a
 * secret are never repeated in an error: somebody may have written the secret itself.
 */
#include "config.h"

#include "policy/config_table.h"

#include <errno.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* What config_load hands out is the first member of this. */
struct shared_config {
	struct config config;
	atomic_uint references;
};

bool config_bad(struct config_source *src, const config_setting_t *at, const char *key, const char *fmt, ...)
{
	struct buf text = BUF_INIT;
	const char *file = at && config_setting_source_file(at) ? config_setting_source_file(at) : src->path;
	char sentence[700];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	buf_puts(&text, file);
	if (at && config_setting_source_line(at) > 0)
		buf_printf(&text, ":%u", (unsigned)config_setting_source_line(at));
	buf_printf(&text, ": %s%s%s", key, *key ? ": " : "", sentence);
	err_set(src->err, ERR_CONFIG, "load configuration", src->path, "%s", buf_str(&text));
	buf_clear(&text);
	return false;
}

static bool no_memory(struct config_source *src)
{
	return err_nomem(src->err, "load configuration");
}

/* ---- words for what was found ------------------------------------------------------------------------------------ */

static const char *type_words(int type)
{
	switch (type) {
	case CONFIG_TYPE_GROUP:
		return "a group { }";
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:
		return "a number";
	case CONFIG_TYPE_FLOAT:
		return "a number with a fraction";
	case CONFIG_TYPE_STRING:
		return "a text";
	case CONFIG_TYPE_BOOL:
		return "true or false";
	case CONFIG_TYPE_ARRAY:
		return "an array [ ]";
	case CONFIG_TYPE_LIST:
		return "a list ( )";
	default:
		return "nothing";
	}
}

static bool wrong_type(struct config_source *src, const config_setting_t *s, const struct config_key *key, const char *expected)
{
	return config_bad(src, s, key->path, "expected %s, found %s", expected, type_words(config_setting_type(s)));
}

/* ---- unknown keys ------------------------------------------------------------------------------------------------ */

/* Optimal string alignment: one insertion, deletion, replacement or swap of neighbours counts one. */
static unsigned distance(const char *a, const char *b)
{
	enum { MOST = 48 };
	unsigned d[MOST + 1][MOST + 1];
	size_t n = strlen(a), m = strlen(b);

	if (n > MOST || m > MOST)
		return MOST;
	for (size_t i = 0; i <= n; i++)
		d[i][0] = (unsigned)i;
	for (size_t j = 0; j <= m; j++)
		d[0][j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		for (size_t j = 1; j <= m; j++) {
			unsigned best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

			if (d[i - 1][j] + 1 < best)
				best = d[i - 1][j] + 1;
			if (d[i][j - 1] + 1 < best)
				best = d[i][j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
				best = d[i - 2][j - 2] + 1;
			d[i][j] = best;
		}
	}
	return d[n][m];
}

/* The key that was probably meant: the nearest name in the same group, or the very name elsewhere; one slip of the pen comes before that. */
static const struct config_key *nearest(const char *group, const char *name)
{
	const struct config_key *best = NULL;
	size_t len = strlen(group);
	unsigned best_cost = UINT32_MAX, limit = (unsigned)strlen(name) / 3 + 1;

	for (size_t i = 0; i < config_keys_count; i++) {
		const struct config_key *key = &config_keys[i];
		const char *own = config_key_name(key);
		bool same = (size_t)(own - key->path) == (len ? len + 1 : 0) && strncmp(key->path, group, len) == 0;
		unsigned d = distance(name, own);

		unsigned cost = same ? 2 * d : 3;

		if (d > (same ? limit : 0) || cost >= best_cost)
			continue;
		best_cost = cost;
		best = key;
	}
	return best;
}

static bool looks_secret(const char *name)
{
	static const char *const words[] = {"password", "passwd", "passphrase", "secret", "bindpw", "hmac", "pin", NULL};

	for (size_t i = 0; words[i]; i++)
		if (strcmp(words[i], "pin") == 0 ? strcmp(name, "pin") == 0 : strcasestr(name, words[i]) != NULL)
			return true;
	return false;
}

static bool unknown_key(struct config_source *src, const config_setting_t *s, const char *group, const char *path)
{
	const char *name = config_setting_name(s);
	const struct config_key *near;

	if (looks_secret(name))
		return config_bad(src, s, path, "secrets do not stand in the configuration: they come from files of mode 0600 or systemd "
			"credentials, named by keys such as password-file and key-file");
	near = nearest(group, name);
	return config_bad(src, s, path, "expected a known key, found \"%s\"%s%s%s", name, near ? "; did you mean " : "",
		near ? near->path : "", near ? "?" : "");
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

/* One text through length, character and shape checks; *out (from malloc) is what to keep. */
static bool take_text(struct config_source *src, const config_setting_t *at, const struct config_key *key, const char *text, char **out)
{
	struct buf canonical = BUF_INIT;
	const char *expected = "a text";
	bool secret = key->shape == shape_place;

	if (!*text)
		return config_bad(src, at, key->path, "expected a text, found an empty one; leave the key out instead");
	if (!text_is_one_line(text) || !text_is_utf8(text, strlen(text)) || strlen(text) > 4096)
		return config_bad(src, at, key->path, "expected one line of UTF-8 text");
	if (key->shape && !key->shape(text, &canonical, &expected)) {
		buf_clear(&canonical);
		return config_bad(src, at, key->path, "expected %s, found %s%s%s", expected, secret ? "something else" : "\"",
			secret ? "" : text, secret ? " (not repeated here)" : "\"");
	}
	*out = canonical.len ? buf_take(&canonical) : str_dup(text);
	buf_clear(&canonical);
	return *out ? true : no_memory(src);
}

static bool take_word(struct config_source *src, const config_setting_t *at, const struct config_key *key, const char *text, int *value)
{
	struct buf words = BUF_INIT;

	for (const struct config_word *w = key->words; w->word; w++) {
		if (strcmp(w->word, text) == 0) {
			*value = w->value;
			return true;
		}
	}
	config_words_text(key->words, &words);
	if (strcmp(key->path, "certificate.generation") == 0 && strcmp(text, "legacy") == 0)
		config_bad(src, at, key->path, "expected %s, found \"legacy\": Legacy certificates ended with the S/MIME Baseline "
			"Requirements of July 2025 and are never accepted", buf_str(&words));
	else
		config_bad(src, at, key->path, "expected %s, found \"%s\"", buf_str(&words), text);
	buf_clear(&words);
	return false;
}

static bool add_network(struct config_source *src, const config_setting_t *at, const struct config_key *key, void *where, const char *text)
{
	struct network *list, net;
	size_t n;

	if (!network_parse(&net, text))
		return config_bad(src, at, key->path,
			"expected a network such as \"192.0.2.0/24\" or \"2001:db8::1\" (host bits zero), found \"%s\"", text);
	memcpy(&list, where, sizeof(list));
	memcpy(&n, (char *)where + sizeof(list), sizeof(n));
	list = reallocarray(list, n + 1, sizeof(*list));
	if (!list)
		return no_memory(src);
	list[n++] = net;
	memcpy(where, &list, sizeof(list));
	memcpy((char *)where + sizeof(list), &n, sizeof(n));
	return true;
}

static bool add_text(struct config_source *src, const config_setting_t *at, const struct config_key *key, void *where, const char *text)
{
	char *value = NULL;
	bool ok;

	if (key->type == CONFIG_NETWORKS)
		return add_network(src, at, key, where, text);
	if (!take_text(src, at, key, text, &value))
		return false;
	ok = strlist_add(where, value) || no_memory(src);
	free(value);
	return ok;
}

static bool set_text(struct config_source *src, const config_setting_t *at, const struct config_key *key, void *where, const char *text)
{
	char *value = NULL, *old;

	if (!take_text(src, at, key, text, &value))
		return false;
	memcpy(&old, where, sizeof(old));
	free(old);
	memcpy(where, &value, sizeof(value));
	return true;
}

static void set_number(const struct config_key *key, void *where, long long value)
{
	if (key->type == CONFIG_FLAG)
		*(bool *)where = value != 0;
	else if (key->type == CONFIG_SIZE)
		*(size_t *)where = (size_t)value;
	else
		*(unsigned *)where = (unsigned)value;
}

static bool load_texts(struct config_source *src, const config_setting_t *s, const struct config_key *key, void *where)
{
	const char *expected = "an array of texts: [ \"...\", \"...\" ]";

	if (config_setting_type(s) != CONFIG_TYPE_ARRAY && config_setting_type(s) != CONFIG_TYPE_LIST)
		return wrong_type(src, s, key, expected);
	if (key->type == CONFIG_TEXTS)
		strlist_clear(where); /* the default */
	for (int i = 0; i < config_setting_length(s); i++) {
		const config_setting_t *e = config_setting_get_elem(s, (unsigned)i);

		if (config_setting_type(e) != CONFIG_TYPE_STRING)
			return config_bad(src, e, key->path, "expected %s, found %s in it", expected, type_words(config_setting_type(e)));
		if (!add_text(src, e, key, where, config_setting_get_string(e)))
			return false;
	}
	return true;
}

static bool load_number(struct config_source *src, const config_setting_t *s, const struct config_key *key, void *where)
{
	char expected[80];
	long long value;

	snprintf(expected, sizeof(expected), "a whole number from %u to %u", key->min, key->max);
	if (config_setting_type(s) == CONFIG_TYPE_INT)
		value = config_setting_get_int(s);
	else if (config_setting_type(s) == CONFIG_TYPE_INT64)
		value = config_setting_get_int64(s);
	else
		return wrong_type(src, s, key, expected);
	if (value < (long long)key->min || value > (long long)key->max)
		return config_bad(src, s, key->path, "expected %s, found %lld", expected, value);
	set_number(key, where, value);
	return true;
}

static bool load_word(struct config_source *src, const config_setting_t *s, const struct config_key *key, void *where)
{
	struct buf words = BUF_INIT;
	int value = 0;

	if (config_setting_type(s) != CONFIG_TYPE_STRING) {
		config_words_text(key->words, &words);
		wrong_type(src, s, key, buf_str(&words));
		buf_clear(&words);
		return false;
	}
	if (!take_word(src, s, key, config_setting_get_string(s), &value))
		return false;
	if (key->type == CONFIG_WORD)
		return set_text(src, s, key, where, config_setting_get_string(s));
	memcpy(where, &value, sizeof(value));
	return true;
}

bool config_load_value(struct config_source *src, const config_setting_t *s, const struct config_key *key, void *where)
{
	switch (key->type) {
	case CONFIG_TEXTS:
	case CONFIG_NETWORKS:
		return load_texts(src, s, key, where);
	case CONFIG_NUMBER:
	case CONFIG_SIZE:
		return load_number(src, s, key, where);
	case CONFIG_ENUM:
	case CONFIG_WORD:
		return load_word(src, s, key, where);
	case CONFIG_FLAG:
		if (config_setting_type(s) != CONFIG_TYPE_BOOL)
			return wrong_type(src, s, key, "true or false");
		set_number(key, where, config_setting_get_bool(s));
		return true;
	default:
		if (config_setting_type(s) != CONFIG_TYPE_STRING)
			return wrong_type(src, s, key, "a text in quotes");
		return set_text(src, s, key, where, config_setting_get_string(s));
	}
}

/* ---- groups ------------------------------------------------------------------------------------------------------ */

/* The defaults of all keys of these entries ("" = of struct config) whose paths begin with `prefix`; those of optional groups only when
 * the prefix names one. */
static bool set_defaults(struct config_source *src, void *base, const char *entry, const char *prefix)
{
	for (size_t i = 0; i < config_keys_count; i++) {
		const struct config_key *key = &config_keys[i];
		void *where = (char *)base + key->offset;
		int value = 0;
		bool ok = true;

		if (!config_key_of(key, entry) || strncmp(key->path, prefix, strlen(prefix)) != 0 || (!*prefix && config_key_is_optional(key)))
			continue;
		if (key->type == CONFIG_GROUP && key->entry)
			ok = set_defaults(src, where, key->entry, "");
		else if (!key->fallback)
			continue;
		else if (key->type == CONFIG_FLAG)
			set_number(key, where, strcmp(key->fallback, "true") == 0);
		else if (key->type == CONFIG_NUMBER || key->type == CONFIG_SIZE)
			set_number(key, where, strtoll(key->fallback, NULL, 10));
		else if (key->type == CONFIG_ENUM && (ok = take_word(src, NULL, key, key->fallback, &value)))
			memcpy(where, &value, sizeof(value));
		else if (key->type == CONFIG_TEXTS)
			ok = add_text(src, NULL, key, where, key->fallback);
		else if (key->type == CONFIG_TEXT || key->type == CONFIG_WORD)
			ok = set_text(src, NULL, key, where, key->fallback);
		if (!ok)
			return false;
	}
	return true;
}

/* A group that is written, through its preset when it can have one. */
static bool load_written(struct config_source *src, const config_setting_t *group, const char *path, void *base)
{
	return (strcmp(path, "ca") != 0 || config_preset_load(src, group, base)) && config_load_group(src, group, path, base);
}

static bool load_list(struct config_source *src, const config_setting_t *s, const struct config_key *key, void *where)
{
	size_t n = 0, most = (size_t)config_setting_length(s);
	char *list;

	if (config_setting_type(s) != CONFIG_TYPE_LIST)
		return wrong_type(src, s, key, "a list of groups: ( { ... }, { ... } )");
	list = calloc(most + 1, key->size);
	if (!list)
		return no_memory(src);
	memcpy(where, &list, sizeof(list));
	while (n < most) {
		const config_setting_t *e = config_setting_get_elem(s, (unsigned)n);
		char *one = list + n * key->size;

		n++;
		memcpy((char *)where + sizeof(list), &n, sizeof(n));
		if (config_setting_type(e) != CONFIG_TYPE_GROUP)
			return config_bad(src, e, key->path, "expected a list of groups: ( { ... }, { ... } ), found %s in it",
				type_words(config_setting_type(e)));
		if (!set_defaults(src, one, key->entry, "") || !load_written(src, e, key->entry, one))
			return false;
	}
	return true;
}

/* Of which entries a group in a group is: "ca" of "ca.eab"; "" of one in struct config. */
static const char *entry_of(const char *path)
{
	for (size_t i = 0; i < config_keys_count; i++) {
		const struct config_key *key = &config_keys[i];

		if (key->entry && strncmp(path, key->entry, strlen(key->entry)) == 0 && path[strlen(key->entry)] == '.')
			return key->entry;
	}
	return "";
}

static bool load_setting(struct config_source *src, const config_setting_t *s, const char *path, const char *group, void *base)
{
	const struct config_key *key = config_key_find(path);
	char prefix[168];

	if (!key)
		return unknown_key(src, s, group, path);
	if (key->type == CONFIG_GROUPS)
		return load_list(src, s, key, (char *)base + key->offset);
	if (key->type != CONFIG_GROUP)
		return config_load_value(src, s, key, (char *)base + key->offset);
	if (config_setting_type(s) != CONFIG_TYPE_GROUP)
		return wrong_type(src, s, key, "a group: { ... }");
	if (key->entry)
		base = (char *)base + key->offset;
	snprintf(prefix, sizeof(prefix), "%s.", path);
	if (key->optional && !set_defaults(src, base, entry_of(path), prefix))
		return false;
	return load_written(src, s, path, base);
}

bool config_load_group(struct config_source *src, const config_setting_t *group, const char *path, void *base)
{
	for (int i = 0; i < config_setting_length(group); i++) {
		const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
		char sub[160];

		if ((size_t)snprintf(sub, sizeof(sub), "%s%s%s", path, *path ? "." : "", config_setting_name(s)) >= sizeof(sub))
			return config_bad(src, s, path, "expected a known key, found one with a very long name");
		if (!load_setting(src, s, sub, path, base))
			return false;
	}
	return true;
}

bool config_source_read(struct config_source *src)
{
	char *copy = str_dup(src->path);
	const char *dir = copy ? dirname(copy) : NULL;
	bool ok = dir || no_memory(src);

	if (!ok || !(ok = config_source_scan(src->path, dir, src->err)))
		goto out;
	config_set_include_dir(&src->lib, dir);
	ok = config_read_file(&src->lib, src->path) == CONFIG_TRUE;
	if (ok)
		goto out;
	if (config_error_type(&src->lib) == CONFIG_ERR_PARSE)
		err_set(src->err, ERR_CONFIG, "load configuration", src->path, "%s:%d: %s%s",
			config_error_file(&src->lib) ? config_error_file(&src->lib) : src->path, config_error_line(&src->lib),
			config_error_text(&src->lib), strcmp(config_error_text(&src->lib), "syntax error") == 0
			? " here or just before (a missing \";\", \",\", quote or bracket?)" : "");
	else
		err_errno(src->err, errno, "load configuration", src->path);
out:
	free(copy);
	return ok;
}

struct config *config_load(const char *path, struct err *err)
{
	struct shared_config *shared = calloc(1, sizeof(*shared));
	struct config_source src = {.path = path, .err = err, .config = shared ? &shared->config : NULL};
	bool ok;

	if (!shared) {
		err_nomem(err, "load configuration");
		return NULL;
	}
	atomic_init(&shared->references, 1);
	config_init(&src.lib);
	shared->config.path = str_dup(path);
	ok = (shared->config.path || no_memory(&src)) && config_source_read(&src) && set_defaults(&src, src.config, "", "")
		&& config_load_group(&src, config_root_setting(&src.lib), "", src.config) && config_rules(&src);
	config_destroy(&src.lib);
	if (ok)
		return &shared->config;
	config_unref(&shared->config);
	return NULL;
}

/* ---- references -------------------------------------------------------------------------------------------------- */

struct config *config_ref(struct config *c)
{
	atomic_fetch_add(&((struct shared_config *)c)->references, 1);
	return c;
}

static void free_values(void *base, const char *entry);

static void free_ca(struct ca_config *ca)
{
	strlist_clear(&ca->preset_keys);
	strlist_clear(&ca->preset_overruled);
	free(ca->preset_file);
}

static void free_list(const struct config_key *key, void *where)
{
	char *list;
	size_t n;

	memcpy(&list, where, sizeof(list));
	memcpy(&n, (char *)where + sizeof(list), sizeof(n));
	for (size_t i = 0; i < n; i++) {
		if (strcmp(key->entry, "ca") == 0)
			free_ca((struct ca_config *)(void *)(list + i * key->size));
		free_values(list + i * key->size, key->entry);
	}
	free(list);
}

static void free_values(void *base, const char *entry)
{
	for (size_t i = 0; i < config_keys_count; i++) {
		const struct config_key *key = &config_keys[i];
		void *where = (char *)base + key->offset;

		if (!config_key_of(key, entry))
			continue;
		if (key->type == CONFIG_GROUPS)
			free_list(key, where);
		else if (key->type == CONFIG_GROUP && key->entry)
			free_values(where, key->entry);
		else if (key->type == CONFIG_TEXTS)
			strlist_clear(where);
		else if (key->type == CONFIG_TEXT || key->type == CONFIG_WORD || key->type == CONFIG_NETWORKS)
			free(*(void **)where);
	}
}

void config_unref(struct config *c)
{
	struct shared_config *shared = (struct shared_config *)c;

	if (!c || atomic_fetch_sub(&shared->references, 1) != 1)
		return;
	free_ca(&c->ca);
	free_values(c, "");
	free(c->store.group);
	free(c->path);
	free(shared);
}

bool config_serves(const struct config *c, const char *domain)
{
	char name[256];

	return domain_canonical(domain, name) && strlist_has(&c->domains, name);
}

/* ---- what has a name ----------------------------------------------------------------------------------------------- */

size_t config_cas(const struct config *c)
{
	return 1 + c->n_more_cas;
}

const struct ca_config *config_ca_at(const struct config *c, size_t i)
{
	return i == 0 ? &c->ca : &c->more_cas[i - 1];
}

const struct ca_config *config_ca(const struct config *c, const char *name)
{
	for (size_t i = 0; name && i < config_cas(c); i++)
		if (strcmp(config_ca_at(c, i)->name, name) == 0)
			return config_ca_at(c, i);
	return NULL;
}

size_t config_certificates(const struct config *c)
{
	return 1 + c->n_more_certificates;
}

const struct certificate_profile *config_certificate_at(const struct config *c, size_t i)
{
	return i == 0 ? &c->certificate : &c->more_certificates[i - 1];
}

const struct certificate_profile *config_certificate(const struct config *c, const char *name)
{
	for (size_t i = 0; name && i < config_certificates(c); i++)
		if (strcmp(config_certificate_at(c, i)->name, name) == 0)
			return config_certificate_at(c, i);
	return NULL;
}

const struct rule *config_rule(const struct config *c, const char *name)
{
	for (size_t i = 0; name && i < c->n_rules; i++)
		if (strcmp(c->rules[i].name, name) == 0)
			return &c->rules[i];
	return NULL;
}

const struct ca_config *config_ca_of(const struct config *c, const struct certificate_profile *p)
{
	return p->ca ? config_ca(c, p->ca) : &c->ca;
}
