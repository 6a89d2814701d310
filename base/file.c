/*
 * base/file.c - whole files, written so that a power cut leaves the old or the new content, and secrets read with suspicion.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base.h"

#define SECRET_MAX (64 * 1024)
#define CREDENTIAL "credential:"
#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1u
#endif

/* O_NONBLOCK: opening a FIFO by mistake must not hang; regular files do not care. */
static int open_regular(const char *path, struct stat *st, const char *op, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0 || fstat(fd, st) != 0) {
		err_errno(err, errno, op, path);
	} else if (!S_ISREG(st->st_mode)) {
		err_set(err, ERR_CONFIG, op, path, "%s is not a regular file", path);
	} else {
		return fd;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool read_all(struct buf *out, int fd, const char *path, size_t max, const char *op, struct err *err)
{
	char piece[16384];
	size_t start = out->len;
	ssize_t n;
	bool ok = false;

	for (;;) {
		n = read(fd, piece, sizeof(piece));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		if ((size_t)n > max - (out->len - start)) {
			err_set(err, ERR_CONFIG, op, path, "%s is larger than the %zu octets such a file may have", path, max);
			goto done;
		}
		buf_append(out, piece, (size_t)n);
		if (out->failed)
			break;
	}
	if (n < 0)
		err_errno(err, errno, op, path);
	else if (out->failed)
		err_nomem(err, op);
	else
		ok = true;
done:
	explicit_bzero(piece, sizeof(piece));
	return ok;
}

bool file_read(struct buf *out, const char *path, size_t max, struct err *err)
{
	struct stat st;
	int fd = open_regular(path, &st, "read file", err);
	bool ok;

	if (fd < 0)
		return false;
	ok = read_all(out, fd, path, max, "read file", err);
	close(fd);
	return ok;
}

/* ---- writing ------------------------------------------------------------------------------------------------------- */

static bool write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

/* A rename is on disk when its directory is. */
static bool sync_directory_of(const char *path)
{
	char *directory = strdup(path);
	char *slash;
	bool ok;
	int fd;

	if (!directory)
		return false;
	slash = strrchr(directory, '/');
	if (slash)
		slash[slash == directory ? 1 : 0] = '\0';
	fd = open(slash ? directory : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(directory);
	if (fd < 0)
		return false;
	ok = fsync(fd) == 0 || errno == EINVAL; /* a file system that cannot says EINVAL */
	close(fd);
	return ok;
}

/* Owner first: chown takes set-id bits away; and both before the content is there. */
static bool fill_file(int fd, const void *data, size_t len, unsigned mode, long gid)
{
	if (gid != -1 && fchown(fd, (uid_t)-1, (gid_t)gid) != 0)
		return false;
	return fchmod(fd, (mode_t)mode) == 0 && write_all(fd, data, len) && fsync(fd) == 0;
}

bool file_write(const char *path, const void *data, size_t len, unsigned mode, long gid, struct err *err)
{
	struct buf name = BUF_INIT;
	bool ok = false;
	int fd = -1;

	buf_printf(&name, "%s.new-XXXXXX", path);
	if (name.failed)
		return err_nomem(err, "write file");
	fd = mkostemp(name.data, O_CLOEXEC); /* 0600 until fchmod */
	if (fd < 0) {
		err_errno(err, errno, "write file", path);
		goto done;
	}
	if (!fill_file(fd, data, len, mode, gid) || rename(name.data, path) != 0) {
		err_errno(err, errno, "write file", path);
		unlink(name.data);
		goto done;
	}
	if (!sync_directory_of(path)) {
		err_errno(err, errno, "write file", path);
		goto done;
	}
	ok = true;
done:
	if (fd >= 0)
		close(fd);
	buf_clear(&name);
	return ok;
}

/* NFS knows no such rename.  There a second name does the same for a file; a folder may take the place of an empty one. */
static bool rename_new(const char *from, const char *to)
{
	struct stat st;

	if (syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return true;
	if ((errno != EINVAL && errno != ENOSYS) || lstat(from, &st) != 0)
		return false;
	if (S_ISDIR(st.st_mode))
		return rename(from, to) == 0;
	return link(from, to) == 0 && unlink(from) == 0;
}

bool file_settle(const char *from, const char *to, struct err *err)
{
	if (rename_new(from, to) && sync_directory_of(to))
		return true;
	if (errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR)
		return err_set(err, ERR_CONFIG, "write file", to, "is there already, and is not overwritten: choose another name");
	return err_errno(err, errno, "write file", to);
}

bool file_create(const char *path, const void *data, size_t len, unsigned mode, struct err *err)
{
	struct buf name = BUF_INIT;
	bool ok = false;
	int fd = -1;

	buf_printf(&name, "%s.new-XXXXXX", path);
	if (name.failed)
		return err_nomem(err, "write file");
	fd = mkostemp(name.data, O_CLOEXEC); /* 0600 until fchmod */
	if (fd < 0 || !fill_file(fd, data, len, mode, -1))
		err_errno(err, errno, "write file", path);
	else
		ok = file_settle(name.data, path, err);
	if (fd >= 0)
		close(fd);
	if (fd >= 0 && !ok)
		unlink(name.data);
	buf_clear(&name);
	return ok;
}

/* ---- secrets ------------------------------------------------------------------------------------------------------- */

static bool secret_path(struct buf *path, const char *where, bool *credential, struct err *err)
{
	const char *name, *directory;

	*credential = strncmp(where, CREDENTIAL, strlen(CREDENTIAL)) == 0;
	if (*credential) {
		name = where + strlen(CREDENTIAL);
		directory = getenv("CREDENTIALS_DIRECTORY");
		if (*name == '\0' || *name == '.' || strchr(name, '/'))
			return err_set(err, ERR_CONFIG, "read secret", where, "the name of a credential is a file name, without directories");
		if (!directory || !*directory)
			return err_set(err, ERR_CONFIG, "read secret", where,
				"there are no systemd credentials here; add LoadCredential=%s:FILE to the unit, or name a file", name);
		buf_printf(path, "%s/%s", directory, name);
	} else {
		buf_puts(path, where);
	}
	return path->failed ? err_nomem(err, "read secret") : true;
}

/* systemd hands credentials over as root's, readable by the service through an access list, whose mask shows as group bits.  A shared secret
 * is root's and readable by one group. */
static bool secret_is_private(const struct stat *st, const char *path, bool group_may_read, struct err *err)
{
	unsigned others = group_may_read ? 037 : 077;

	if (st->st_uid != 0 && st->st_uid != geteuid())
		return err_set(err, ERR_CONFIG, "read secret", path,
			"%s holds a secret but belongs to user %ld, neither root nor the user of this program; chown it", path, (long)st->st_uid);
	if (st->st_mode & others)
		return err_set(err, ERR_CONFIG, "read secret", path, "%s holds a secret but others may read it; chmod 600 %s", path, path);
	return true;
}

static bool secret_text(struct buf *out, const char *path, struct err *err)
{
	if (out->len > 0 && out->data[out->len - 1] == '\n')
		out->data[--out->len] = '\0';
	if (out->len > 0 && out->data[out->len - 1] == '\r')
		out->data[--out->len] = '\0';
	if (memchr(buf_str(out), '\0', out->len))
		return err_set(err, ERR_CONFIG, "read secret", path, "%s is no text: it has a NUL octet", path);
	return true;
}

static bool secret_load(struct buf *out, const char *where, bool text, bool shared, struct err *err)
{
	struct buf path = BUF_INIT;
	struct stat st;
	bool credential, ok = false;
	int fd = -1;

	if (!secret_path(&path, where, &credential, err))
		goto done;
	fd = open_regular(path.data, &st, "read secret", err);
	if (fd < 0 || !secret_is_private(&st, path.data, credential || (shared && st.st_uid == 0), err))
		goto done;
	buf_wipe(out);
	if (!read_all(out, fd, path.data, SECRET_MAX, "read secret", err) || (text && !secret_text(out, path.data, err)))
		goto done;
	if (out->len == 0) {
		err_set(err, ERR_CONFIG, "read secret", path.data, "%s is empty", path.data);
		goto done;
	}
	ok = true;
done:
	if (!ok)
		buf_wipe(out);
	if (fd >= 0)
		close(fd);
	buf_clear(&path);
	return ok;
}

bool secret_read(struct buf *out, const char *where, bool text, struct err *err)
{
	return secret_load(out, where, text, false, err);
}

bool secret_read_shared(struct buf *out, const char *where, bool text, struct err *err)
{
	return secret_load(out, where, text, true, err);
}
