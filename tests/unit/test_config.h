/*
 * tests/unit/test_config.h - what the test programs of the configuration share: beginnings of files, and short words for loading and showing.
 */
#ifndef ENROLL_TESTS_UNIT_TEST_CONFIG_H
#define ENROLL_TESTS_UNIT_TEST_CONFIG_H

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy/policy.h"

#define D "domains = [ \"example.org\" ];\n"                                   /* line 1 */
#define S "submission = ( { name = \"s\"; vouch = \"login\"; } );\n"           /* line 2 */
#define BASE D S                                                               /* the next line is 3 */
#define DIRECTORY(more) "directory = { urls = [ \"ldaps://ldap.example.org\" ]; base = \"dc=example\"; bind-dn = \"cn=x\"; " \
	"password-file = \"/p\"; " more "};\n"
#define CA(more) "ca = { directory-url = \"https://ca.example/d\"; anchor-file = \"/a\"; " more "};\n"

static char folder[64];

static inline void setup(void)
{
	strcpy(folder, "/tmp/test-config-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
}

static inline void teardown(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
}

static inline const char *path_of(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static inline const char *write_file(const char *name, const char *text, size_t len)
{
	FILE *f = fopen(path_of(name), "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(text, 1, len, f), len);
	ck_assert_int_eq(fclose(f), 0);
	return path_of(name);
}

static inline struct config *load(const char *text, struct err *err)
{
	err_clear(err);
	return config_load(write_file("t.conf", text, strlen(text)), err);
}

static inline struct config *load_good(const char *text)
{
	struct err err = ERR_INIT;
	struct config *c = load(text, &err);

	ck_assert_msg(c != NULL, "must load: %s\n%s", err.text, text);
	return c;
}

/* A mistake, and words that are in the answer. */
struct bad {
	const char *name, *text, *expected;
};

static inline void check_refused(const struct bad *b, const struct config *c, const struct err *err)
{
	ck_assert_msg(c == NULL, "%s: was taken", b->name);
	ck_assert_msg(err->class == ERR_CONFIG, "%s: class %s", b->name, err_class_name(err->class));
	ck_assert_msg(strstr(err->text, b->expected) != NULL, "%s:\n  expected %s\n  found    %s", b->name, b->expected, err->text);
	ck_assert_msg(!strstr(err->text, "hunter2"), "%s: the secret is repeated: %s", b->name, err->text);
}

static inline char *shown(const struct config *c, bool json)
{
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;

	ck_assert_msg(config_show(c, json, &out, &err), "%s", err.text);
	return buf_take(&out);
}

static inline void round_trip(const char *name, struct config *c)
{
	char *first = shown(c, false), *first_json = shown(c, true), *second, *second_json;
	struct err err = ERR_INIT;
	struct config *again = load(first, &err);

	ck_assert_msg(again != NULL, "%s: what is shown does not load: %s\n%s", name, err.text, first);
	second = shown(again, false);
	second_json = shown(again, true);
	ck_assert_msg(strcmp(first, second) == 0, "%s: loaded again it is shown as another text", name);
	ck_assert_msg(strcmp(first_json, second_json) == 0, "%s: loaded again it is shown as other JSON", name);
	config_unref(again);
	free(first);
	free(first_json);
	free(second);
	free(second_json);
}

#endif
