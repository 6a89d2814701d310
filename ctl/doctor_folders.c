/*
 * ctl/doctor_folders.c - `doctor`: is a folder ours?
 *
 * The folders that doctor looks at are those of paths in the configuration, and such a path can lie anywhere: in /tmp, in /run, in Postfix's queue
 * folder.  Of one that others use too it is said what is wrong, and no more: closed or given away it would fail them.
 */
#include "config.h"

#include "ctl/doctor.h"

#include <dirent.h>
#include <grp.h>
#include <libgen.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#define SHARED 01002u /* everybody puts things there, and nobody takes another one's away: empty it may be by chance */

static bool is_our_user(const struct config *c, uid_t uid)
{
	const char *const users[] = {c->users.outbound, c->users.inbound, c->users.enrolld};

	for (size_t i = 0; uid != 0 && i < sizeof users / sizeof *users; i++) {
		const struct passwd *p = getpwnam(users[i]);

		if (p && p->pw_uid == uid)
			return true;
	}
	return false;
}

/* Where a package puts things. */
static bool is_built_in(const char *path)
{
	static const char *const folders[] = {SYSCONFDIR "/enroll-milter", STATEDIR, RUNDIR, SPOOLDIR, POSTFIXQUEUEDIR "/enroll-milter"};

	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
		if (strcmp(path, folders[i]) == 0)
			return true;
	return false;
}

static bool is_folder_of(const char *folder, const char *path)
{
	char *copy = str_dup(path);
	bool same = copy && strcmp(dirname(copy), folder) == 0;

	free(copy);
	return same;
}

/* One that our users have to be able to write to. */
static bool is_worked_in(const struct config *c, const char *path)
{
	return strcmp(path, c->milter.spool_directory) == 0 || is_folder_of(path, c->store.path) || is_folder_of(path, c->control.socket);
}

/* Is this the value of any key? */
static bool is_named(json_t *value, const char *path, size_t len)
{
	const char *s = json_string_value(value), *key;
	bool found = false;
	json_t *one;
	size_t i;

	if (s) {
		s += strncmp(s, "unix:", 5) == 0 ? 5 : 0;
		return strlen(s) == len && strncmp(s, path, len) == 0;
	}
	json_object_foreach(value, key, one)
		found = found || is_named(one, path, len);
	json_array_foreach(value, i, one)
		found = found || is_named(one, path, len);
	return found;
}

/* Named in the configuration, perhaps with an end of ours (store.db-wal, master.key.old), or a service's own. */
static bool is_entry_ours(struct doctor *d, json_t *values, const char *path)
{
	const char *name = strrchr(path, '/') + 1, *dot = strrchr(name, '.'), *dash = strrchr(name, '-'), *end = dash && (!dot || dash > dot) ? dash : dot;
	struct stat st;

	return (lstat(path, &st) == 0 && is_our_user(d->config, st.st_uid)) || strcmp(path, d->config->path) == 0 || is_named(values, path, strlen(path)) ||
		(end > name && is_named(values, path, (size_t)(end - path)));
}

static void count_entries(struct doctor *d, json_t *values, DIR *dir, const char *folder, size_t *ours, size_t *others)
{
	const struct dirent *e;

	while ((e = readdir(dir))) {
		struct buf path = BUF_INIT;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		buf_printf(&path, "%s/%s", folder, e->d_name);
		++*(is_entry_ours(d, values, buf_str(&path)) ? ours : others);
		buf_clear(&path);
	}
}

static bool holds_ours_alone(struct doctor *d, const char *folder, bool shared)
{
	struct buf text = BUF_INIT;
	json_t *values = config_show(d->config, true, &text, NULL) ? json_loads(buf_str(&text), 0, NULL) : NULL;
	DIR *dir = values ? opendir(folder) : NULL;
	size_t n = 0, others = 0;
	bool ours;

	if (dir) {
		count_entries(d, values, dir, folder, &n, &others);
		closedir(dir);
	}
	ours = dir && !others && (n || !shared);

	json_decref(values);
	buf_clear(&text);
	return ours;
}

bool doctor_is_ours(struct doctor *d, const struct doctor_file *f, const struct stat *st)
{
	const struct config *c = d->config;
	const struct group *g = getgrnam(c->users.group);

	if (!f->user && !f->group && is_worked_in(c, f->path))
		return false; /* to be closed for a key in it */
	if (is_built_in(f->path) || is_our_user(c, st->st_uid) || (g && g->gr_gid != 0 && g->gr_gid == st->st_gid && st->st_uid == 0))
		return true;
	return holds_ours_alone(d, f->path, (st->st_mode & SHARED) == SHARED);
}
