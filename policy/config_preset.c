/*
 * policy/config_preset.c - ca.preset: how one kind of CA behaves, as a file of defaults for the group ca.
 *
 * A preset is a file of bare keys of that group (token-join = "decoded";), read like the configuration itself: same table, same errors.
 * It comes from somebody who knows the CA's software and nothing of this installation.  So it may set what the table marks for it: how
 * tokens are joined, who moves first, delays, limits.  It may not say which CA that is, on what terms, with which key or account; nor
 * believe challenge mails for a weaker reason than a signature, as the networks that would take its place are those of the admin.
 */
#include "config.h"

#include "policy/config_table.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where presets are when the programs run without being installed. */
#define FOLDER_VARIABLE "ENROLL_CA_PRESETS"
#define SUFFIX ".conf"

static const char *folder(void)
{
	const char *other = secure_getenv(FOLDER_VARIABLE);

	return other && *other == '/' ? other : PKGDATADIR "/ca";
}

/* ---- which file -------------------------------------------------------------------------------------------------- */

static int is_preset(const struct dirent *e)
{
	size_t len = strlen(e->d_name);

	return e->d_name[0] != '.' && len > strlen(SUFFIX) && strcmp(e->d_name + len - strlen(SUFFIX), SUFFIX) == 0;
}

/* "akamu, castle and step-ca": what could have been meant. */
static void list_presets(struct buf *out)
{
	struct dirent **found = NULL;
	int n = scandir(folder(), &found, is_preset, alphasort);

	for (int i = 0; i < n; i++) {
		buf_printf(out, "%s%.*s", i == 0 ? "" : i + 1 < n ? ", " : " and ", (int)(strlen(found[i]->d_name) - strlen(SUFFIX)),
			found[i]->d_name);
		free(found[i]);
	}
	free(found);
}

static bool no_such_preset(struct config_source *src, const config_setting_t *at, const char *name)
{
	struct buf there = BUF_INIT;

	list_presets(&there);
	if (there.len)
		config_bad(src, at, "ca.preset", "there is no preset \"%s\" in %s; there are %s", name, folder(), buf_str(&there));
	else
		config_bad(src, at, "ca.preset", "there is no preset \"%s\", and no other in %s either", name, folder());
	buf_clear(&there);
	return false;
}

static bool find(struct config_source *src, const config_setting_t *at, struct ca_config *ca)
{
	struct buf path = BUF_INIT;
	bool ok = true;

	if (ca->preset[0] == '/')
		buf_puts(&path, ca->preset);
	else
		buf_printf(&path, "%s/%s" SUFFIX, folder(), ca->preset);
	if (path.failed)
		ok = err_nomem(src->err, "load configuration");
	else if (ca->preset[0] != '/' && access(buf_str(&path), F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR))
		ok = no_such_preset(src, at, ca->preset);
	else if (access(buf_str(&path), R_OK) != 0)
		ok = config_bad(src, at, "ca.preset", "%s: %s", buf_str(&path), strerror(errno));
	if (ok)
		ca->preset_file = buf_take(&path);
	buf_clear(&path);
	return ok;
}

/* ---- what is in it ----------------------------------------------------------------------------------------------- */

static bool allowed(struct config_source *preset, const config_setting_t *s, const char *path)
{
	const struct config_key *key = config_key_find(path);

	if (!key || key->preset)
		return true; /* an unknown one is refused by the table, with the nearest that it knows */
	return config_bad(preset, s, path, "a preset tells how a kind of CA behaves; this key is for the configuration itself to say");
}

static bool load(struct config_source *src, const config_setting_t *group, struct ca_config *ca, struct config_source *preset)
{
	const config_setting_t *all, *s;
	char path[160];

	if (!config_source_read(preset))
		return false;
	all = config_root_setting(&preset->lib);
	for (int i = 0; i < config_setting_length(all); i++) {
		s = config_setting_get_elem(all, (unsigned)i);
		snprintf(path, sizeof(path), "ca.%.100s", config_setting_name(s));
		if (!allowed(preset, s, path))
			return false;
		if (!strlist_add(config_setting_get_member(group, config_setting_name(s)) ? &ca->preset_overruled : &ca->preset_keys, path))
			return err_nomem(src->err, "load configuration");
	}
	if (!config_load_group(preset, all, "ca", ca))
		return false;
	if (ca->authentication != CHALLENGE_DKIM_OR_SMIME)
		return config_bad(preset, config_lookup(&preset->lib, "challenge-authentication"), "ca.challenge-authentication",
			"a preset may only say \"dkim-or-smime\"; what believes a challenge without a signature is for the configuration "
			"itself to say, with the networks it may come from");
	return true;
}

bool config_preset_load(struct config_source *src, const config_setting_t *group, struct ca_config *ca)
{
	const config_setting_t *at = config_setting_get_member(group, "preset");
	struct config_source preset = {.err = src->err, .config = src->config};
	bool ok;

	if (!at)
		return true;
	if (!config_load_value(src, at, config_key_find("ca.preset"), &ca->preset) || !find(src, at, ca))
		return false;
	preset.path = ca->preset_file;
	config_init(&preset.lib);
	ok = load(src, group, ca, &preset);
	config_destroy(&preset.lib);
	return ok;
}
