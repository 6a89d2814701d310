/*
 * store/sqlite_file.c - the database as a file: created, copied out, brought back.
 *
 * A store comes into being under a temporary name beside its place, complete and synced, and is then renamed without replacing
 * anything: there is a whole store or none, and an existing one is never overwritten.  A write-ahead log left behind by a store that is
 * gone would be replayed into the new file, so its presence refuses the place.
 *
 * Modes are set on the open file, since the umask may be anything.  SQLite gives -wal and -shm the mode of the database file, the
 * folder's set-group-id bit gives them its group: any member of the group can open the store, whoever came first.
 */
#include "config.h"

#include "store/sqlite.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MODE 0660
#define FOLDER_MODE 02770

/* ---- group and folder -------------------------------------------------------------------------------------------- */

/* No group named: the process's own. */
static bool group_id(const char *name, gid_t *out, const char *op, struct err *err)
{
	unsigned gid = getegid();

	if (name != NULL && name[0] != '\0' && !group_find(name, &gid))
		return err_set(err, ERR_CONFIG, op, name,
			"there is no group %s; make it (systemd-sysusers or addgroup --system %s) or name another one", name, name);
	*out = gid;
	return true;
}

static char *folder_of(const char *path)
{
	char *copy = strdup(path), *folder = NULL;

	if (copy != NULL)
		folder = strdup(dirname(copy));
	free(copy);
	return folder;
}

static bool folder_is_empty(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	bool empty = dir != NULL;

	while (empty && (entry = readdir(dir)) != NULL)
		empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
	if (dir != NULL)
		closedir(dir);
	return empty;
}

/* chown takes set-id bits away, so it comes first. */
static bool set_folder(const char *folder, gid_t gid)
{
	return chown(folder, (uid_t)-1, gid) == 0 && chmod(folder, FOLDER_MODE) == 0;
}

static bool sync_path(const char *path, const char *op, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0 && fsync(fd) == 0;

	if (!ok)
		err_errno(err, errno, op, path);
	if (fd >= 0)
		close(fd);
	return ok;
}

/* Its name, in the folder that it lies in. */
static bool sync_name(const char *path, const char *op, struct err *err)
{
	char *folder = folder_of(path);
	bool ok = folder != NULL ? sync_path(folder, op, err) : err_nomem(err, op);

	free(folder);
	return ok;
}

/* Make the folder, or see that an existing one lets the whole group work in it.  A folder that holds other things is never changed. */
static bool prepare_folder(const char *folder, gid_t gid, const char *group, const char *op, struct err *err)
{
	struct stat st;

	if (mkdir(folder, 0700) == 0)
		return set_folder(folder, gid) ? sync_name(folder, op, err) : err_errno(err, errno, op, folder);
	if (errno != EEXIST || stat(folder, &st) != 0)
		return err_errno(err, errno, op, folder);
	if ((st.st_gid == gid && (st.st_mode & 02070) == 02070) || group == NULL || group[0] == '\0')
		return true;
	if (folder_is_empty(folder) && set_folder(folder, gid))
		return true;
	return err_set(err, ERR_CONFIG, op, folder,
		"the folder of the store must belong to group %s with mode 2770; give the store a folder of its own and run: chgrp %s %s "
		"&& chmod 2770 %s",
		group, group, folder, folder);
}

/* ---- a new file -------------------------------------------------------------------------------------------------- */

/* A file that is being filled under a temporary name in the folder of its place. */
struct draft {
	char *path, *folder;
	char *temporary;
};

static void draft_discard(struct draft *d)
{
	static const char *const tails[] = {"", "-wal", "-shm", "-journal"};

	for (size_t i = 0; d->temporary != NULL && i < sizeof(tails) / sizeof(tails[0]); i++) {
		char *name = NULL;

		if (asprintf(&name, "%s%s", d->temporary, tails[i]) < 0)
			break;
		unlink(name);
		free(name);
	}
	free(d->temporary);
	free(d->folder);
	free(d->path);
	memset(d, 0, sizeof(*d));
}

static bool is_there(const char *path, const char *tail)
{
	char *name = NULL;
	struct stat st;
	bool there = asprintf(&name, "%s%s", path, tail) < 0 || lstat(name, &st) == 0;

	free(name);
	return there;
}

/* Refuses a place that is taken. */
static bool draft_plan(struct draft *d, const char *path, const char *op, struct err *err)
{
	d->path = strdup(path);
	d->folder = folder_of(path);
	if (d->path == NULL || d->folder == NULL)
		return err_nomem(err, op);
	if (is_there(path, ""))
		return err_set(err, ERR_CONFIG, op, path, "%s is there already and is not overwritten; move it away first", path);
	if (is_there(path, "-wal") || is_there(path, "-journal"))
		return err_set(err, ERR_CONFIG, op, path,
			"%s-wal or %s-journal is left over from another store and would be mixed into the new one; move it away first",
			path, path);
	return true;
}

/* The empty temporary file, with its final group and mode. */
static bool draft_start(struct draft *d, mode_t mode, gid_t gid, const char *op, struct err *err)
{
	char *name = NULL;
	int fd;
	bool ok;

	if (asprintf(&name, "%s.new-XXXXXX", d->path) < 0)
		return err_nomem(err, op);
	fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0) {
		err_errno(err, errno, op, d->path);
		free(name);
		return false;
	}
	d->temporary = name;
	ok = (gid == (gid_t)-1 || fchown(fd, (uid_t)-1, gid) == 0) && fchmod(fd, mode) == 0;
	if (!ok)
		err_errno(err, errno, op, d->path);
	close(fd);
	return ok;
}

/* Synced and under its own name, unless somebody was faster. */
static bool draft_publish(struct draft *d, const char *op, struct err *err)
{
	bool ok;

	if (!sync_path(d->temporary, op, err))
		return false;
	ok = renameat2(AT_FDCWD, d->temporary, AT_FDCWD, d->path, RENAME_NOREPLACE) == 0;
	if (!ok && (errno == EINVAL || errno == ENOSYS)) /* a file system that has no such rename has links */
		ok = link(d->temporary, d->path) == 0 && unlink(d->temporary) == 0;
	if (!ok)
		return err_errno(err, errno, op, d->path);
	return sync_path(d->folder, op, err);
}

/* ---- create ------------------------------------------------------------------------------------------------------ */

static bool mark_at_birth(sqlite3 *h, const char *op, const char *path, struct err *err)
{
	char sql[200], pragma[64];

	store_mark_at_birth(sql);
	snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %d", store_schema_readable_by() + STORE_MARK);
	return sqlite_run(h, sql, op, path, err) && sqlite_run(h, pragma, op, path, err);
}

bool sqlite_create(const struct store_settings *s, struct err *err)
{
	static const char op[] = "create store";
	struct draft d = {0};
	sqlite3 *h = NULL;
	gid_t gid;
	bool ok;

	ok = group_id(s->group, &gid, op, err) && draft_plan(&d, s->path, op, err) && prepare_folder(d.folder, gid, s->group, op, err) &&
	     draft_start(&d, FILE_MODE, gid, op, err) &&
	     (h = sqlite_handle_new(d.temporary, SQLITE_OPEN_READWRITE, s->busy_ms, op, err)) != NULL &&
	     schema_prepare(h, SCHEMA_CREATE, op, s->path, err) && (!s->marked_too || mark_at_birth(h, op, s->path, err)) && sqlite_use_wal(h, op, s->path, err);
	/* Closing the only handle moves the log into the file and removes it. */
	sqlite3_close(h);
	ok = ok && draft_publish(&d, op, err);
	draft_discard(&d);
	return ok;
}

/* ---- copy -------------------------------------------------------------------------------------------------------- */

#define COPY_PAUSE_MS 20

/* Everything in one go, from one state of the source; writers go on meanwhile. */
static bool copy_pages(sqlite3 *to, sqlite3 *from, unsigned busy_ms, const char *op, const char *path, struct err *err)
{
	sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
	int64_t deadline = mono_ms() + busy_ms;
	int rc;

	if (backup == NULL)
		return sqlite_error(err, op, path, to, sqlite3_errcode(to));
	while ((rc = sqlite3_backup_step(backup, -1)) == SQLITE_BUSY || rc == SQLITE_LOCKED) {
		if (mono_ms() >= deadline)
			break;
		sqlite3_sleep(COPY_PAUSE_MS);
	}
	sqlite3_backup_finish(backup);
	return rc == SQLITE_DONE || sqlite_error(err, op, path, to, rc);
}

bool sqlite_is_there(const char *path, const char *op, struct err *err)
{
	struct stat st;

	if (stat(path, &st) == 0 || errno != ENOENT)
		return true;
	err_set(err, ERR_CONFIG, op, path, "there is no store at %s; make it with `enrollctl init`, or bring a backup back with `enrollctl restore`", path);
	if (err != NULL)
		snprintf(err->type, sizeof(err->type), STORE_NONE);
	return false;
}

/* The copy is taken out of WAL mode, so that it is one file; and looked at, as nobody wants to learn later that a backup is none.  A store of an older
 * schema is copied as it is: a backup is what an upgrade begins with. */
static bool fill_copy(const char *temporary, const char *path, unsigned busy_ms, const char *to, const char *op, struct err *err)
{
	sqlite3 *source = sqlite_is_there(path, op, err) ? sqlite_handle_new(path, SQLITE_OPEN_READWRITE, busy_ms, op, err) : NULL, *copy = NULL;
	char mode[16];
	bool ok;

	ok = source != NULL && schema_prepare(source, SCHEMA_COPY, op, path, err) &&
	     (copy = sqlite_handle_new(temporary, SQLITE_OPEN_READWRITE, busy_ms, op, err)) != NULL && copy_pages(copy, source, busy_ms, op, to, err) &&
	     sqlite_ask(copy, "PRAGMA journal_mode = DELETE", mode, sizeof(mode), op, to, err) && sqlite_verify(copy, op, to, err);
	sqlite3_close(copy);
	sqlite3_close(source);
	return ok;
}

bool sqlite_copy_out(const struct store_settings *s, const char *to, struct err *err)
{
	static const char op[] = "back up store";
	struct draft d = {0};
	bool ok;

	ok = draft_plan(&d, to, op, err) && draft_start(&d, 0600, (gid_t)-1, op, err) &&
	     fill_copy(d.temporary, s->path, s->busy_ms, to, op, err) && draft_publish(&d, op, err);
	draft_discard(&d);
	return ok;
}

/* Is this a store of ours, whole, and not newer than we are?  An older one stays that: enrolld upgrades it when it starts. */
/* Who was at work when the copy was made is not at work here.  An older schema has no such table. */
static bool nobody_is_there(sqlite3 *h, const char *op, const char *path, struct err *err)
{
	char answer[8];

	return sqlite_ask(h, "SELECT COUNT(*) FROM sqlite_master WHERE name = 'turns'", answer, sizeof(answer), op, path, err) &&
	       (answer[0] == '0' || sqlite_run(h, "UPDATE turns SET until = 0", op, path, err));
}

static bool fill_restored(const char *temporary, const struct store_settings *s, const char *from, const char *op, struct err *err)
{
	sqlite3 *source = sqlite_handle_new(from, SQLITE_OPEN_READONLY, s->busy_ms, op, err), *copy = NULL;
	bool ok;

	ok = source != NULL && (copy = sqlite_handle_new(temporary, SQLITE_OPEN_READWRITE, s->busy_ms, op, err)) != NULL &&
	     copy_pages(copy, source, s->busy_ms, op, from, err) && sqlite_verify(copy, op, from, err) &&
	     schema_prepare(copy, SCHEMA_COPY, op, from, err) && nobody_is_there(copy, op, from, err) && sqlite_use_wal(copy, op, s->path, err);
	sqlite3_close(copy);
	sqlite3_close(source);
	return ok;
}

bool sqlite_restore(const struct store_settings *s, const char *from, struct err *err)
{
	static const char op[] = "restore store";
	struct draft d = {0};
	gid_t gid;
	bool ok;

	ok = group_id(s->group, &gid, op, err) && draft_plan(&d, s->path, op, err) && prepare_folder(d.folder, gid, s->group, op, err) &&
	     draft_start(&d, FILE_MODE, gid, op, err) && fill_restored(d.temporary, s, from, op, err) && draft_publish(&d, op, err);
	draft_discard(&d);
	return ok;
}
