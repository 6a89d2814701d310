/*
 * policy/config_table.h - what the files of the configuration share.  Private to policy/config_*.c and their test.
 *
 * ONE table describes every key: where its value lives in struct config, its type, words, range, shape, default and help.  Loading,
 * finding unknown keys, showing and describing all walk this table; nothing about a single key is written anywhere else but in
 * config_rules.c, which knows what does not go together.
 */
#ifndef ENROLL_POLICY_CONFIG_TABLE_H
#define ENROLL_POLICY_CONFIG_TABLE_H

#include <libconfig.h>

#include "policy/policy.h"

enum config_type {
	CONFIG_GROUP,    /* { ... }; holds no value itself */
	CONFIG_GROUPS,   /* ( { ... }, { ... } ): a pointer to structs, and right behind it size_t, how many */
	CONFIG_TEXT,     /* char * */
	CONFIG_WORD,     /* char *, one of words */
	CONFIG_ENUM,     /* an enum, one of words */
	CONFIG_FLAG,     /* bool */
	CONFIG_NUMBER,   /* unsigned */
	CONFIG_SIZE,     /* size_t */
	CONFIG_TEXTS,    /* struct strlist */
	CONFIG_NETWORKS  /* struct network *, and right behind it size_t, how many */
};

struct config_word {
	const char *word;
	int value;
};

/* Does `text` look right?  On success the canonical spelling may be appended to `canonical` (left empty: as given).  Otherwise
 * false, and *expected is static text that ends the sentence "expected ...". */
typedef bool config_shape(const char *text, struct buf *canonical, const char **expected);

struct config_key {
	const char *path;              /* "ca.eab.kid"; keys of the entries of a list begin with its `entry` */
	enum config_type type;
	size_t offset;                 /* in struct config, or in the struct that its group or the entries of its list are */
	const struct config_word *words; /* closed by a NULL word */
	const char *fallback;          /* the default as it would be written; NULL = none */
	unsigned min, max;             /* of numbers */
	config_shape *shape;
	size_t size;                   /* lists: of one entry */
	const char *entry;             /* lists, and groups that are structs of their own: how the paths of the keys in there begin; those of
	                                * `cas` with "ca", as its entries are what ca is */
	bool optional;                 /* groups: defaults inside count only when the group is written */
	bool preset;                   /* a preset (ca.preset) may set it: it tells how a CA behaves, not which one or on what terms */
	const char *help;
};

extern const struct config_key config_keys[];
extern const size_t config_keys_count;

/* The row of this path; NULL when there is none. */
const struct config_key *config_key_find(const char *path);
const char *config_key_name(const struct config_key *key); /* last part of its path */
/* Is its offset one in the struct of these entries ("ca", "rules"...); "": in struct config? */
bool config_key_of(const struct config_key *key, const char *entry);
/* Is it inside a group whose row is marked optional? */
bool config_key_is_optional(const struct config_key *key);
/* "strings" or "decoded": all words of a key, quoted, as they stand in a sentence. */
void config_words_text(const struct config_word *words, struct buf *out);
const char *config_word_name(const struct config_word *words, int value); /* NULL when there is none */

/* Shapes (config_shape.c). */
bool shape_path(const char *text, struct buf *canonical, const char **expected);
bool shape_place(const char *text, struct buf *canonical, const char **expected); /* path or credential:NAME; never echoed */
bool shape_preset(const char *text, struct buf *canonical, const char **expected);
bool shape_proxy(const char *text, struct buf *canonical, const char **expected);
bool shape_environment(const char *text, struct buf *canonical, const char **expected);
bool shape_unix_path(const char *text, struct buf *canonical, const char **expected);
bool shape_socket(const char *text, struct buf *canonical, const char **expected);
bool shape_metrics(const char *text, struct buf *canonical, const char **expected);
bool shape_https(const char *text, struct buf *canonical, const char **expected);
bool shape_mailto(const char *text, struct buf *canonical, const char **expected);
bool shape_domain(const char *text, struct buf *canonical, const char **expected);
bool shape_host(const char *text, struct buf *canonical, const char **expected);
bool shape_loopback(const char *text, struct buf *canonical, const char **expected);
bool shape_address(const char *text, struct buf *canonical, const char **expected);
bool shape_report_address(const char *text, struct buf *canonical, const char **expected);
bool shape_address_key(const char *text, struct buf *canonical, const char **expected);
bool shape_oid(const char *text, struct buf *canonical, const char **expected);
bool shape_recipient(const char *text, struct buf *canonical, const char **expected); /* an address key or a domain */
bool shape_content_type(const char *text, struct buf *canonical, const char **expected);
bool shape_header_name(const char *text, struct buf *canonical, const char **expected);
bool shape_ldap_url(const char *text, struct buf *canonical, const char **expected);
bool shape_dn(const char *text, struct buf *canonical, const char **expected);
bool shape_filter(const char *text, struct buf *canonical, const char **expected);
bool shape_filter_template(const char *text, struct buf *canonical, const char **expected);
bool shape_attribute(const char *text, struct buf *canonical, const char **expected);
bool shape_dns_server(const char *text, struct buf *canonical, const char **expected);
bool shape_dns_perspective(const char *text, struct buf *canonical, const char **expected);
bool shape_dns_stub(const char *text, struct buf *canonical, const char **expected);
bool shape_decryption(const char *text, struct buf *canonical, const char **expected);
bool shape_organization(const char *text, struct buf *canonical, const char **expected);
bool shape_organization_identifier(const char *text, struct buf *canonical, const char **expected);
bool shape_country(const char *text, struct buf *canonical, const char **expected);
bool shape_token(const char *text, struct buf *canonical, const char **expected);
bool shape_kind(const char *text, struct buf *canonical, const char **expected);

/* One loading. */
struct config_source {
	config_t lib;
	const char *path;
	struct err *err;
	struct config *config;
};

/* The file `path` into `lib`, from beside which include files come. */
bool config_source_read(struct config_source *src) BASE_MUST_CHECK;
/* One value, or everything that stands in a group (`path`: the group's, "" = the file), through the table. */
bool config_load_value(struct config_source *src, const config_setting_t *s, const struct config_key *key, void *where) BASE_MUST_CHECK;
bool config_load_group(struct config_source *src, const config_setting_t *group, const char *path, void *base) BASE_MUST_CHECK;
/* What the key preset of this group (ca, or an entry of cas) names (config_preset.c): loaded before the group's own settings, which so come
 * to stand above it. */
bool config_preset_load(struct config_source *src, const config_setting_t *group, struct ca_config *ca) BASE_MUST_CHECK;

/* Fill the error "FILE:LINE: KEY: ..." from a setting (NULL: the file as a whole) and return false. */
bool config_bad(struct config_source *src, const config_setting_t *at, const char *key, const char *fmt, ...) BASE_PRINTF(4, 5);
/* What libconfig does not notice by itself (config_source.c). */
bool config_source_scan(const char *path, const char *include_dir, struct err *err) BASE_MUST_CHECK;
/* What does not go together (config_rules.c); completes values that follow from others. */
bool config_rules(struct config_source *src) BASE_MUST_CHECK;

#endif
