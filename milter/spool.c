/*
 * spool.c - a message body on its way through (spool.h).
 *
 * Up to SPOOL_MEMORY octets stay in memory, which is where nearly all mail ends; what is larger moves to a file that has no name: a
 * crash leaves nothing behind and nobody else can open it.  Reading is by offset (pread), so several readers do not disturb each
 * other, nor the writer's place.
 */
#include "config.h"

#include "milter/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPOOL_PIECE 65535 /* what a milter may hand over or take at once */

struct spool {
	char *directory;
	unsigned char *memory; /* NULL once the file is in use */
	size_t allocated;
	int fd; /* -1 while in memory */
	uint64_t size;
};

struct spool *spool_new(const char *directory, struct err *err)
{
	struct spool *s = calloc(1, sizeof(*s));

	if (s == NULL || (s->directory = str_dup(directory)) == NULL) {
		free(s);
		err_nomem(err, "make a spool");
		return NULL;
	}
	s->fd = -1;
	return s;
}

void spool_free(struct spool *s)
{
	if (s == NULL)
		return;
	if (s->fd >= 0)
		close(s->fd);
	free(s->memory);
	free(s->directory);
	free(s);
}

/* A full or broken disk passes by: the sender is told to come again, whatever errno's usual class is. */
static bool write_failed(struct err *err, int errnum, const struct spool *s)
{
	err_errno(err, errnum, "write to the spool", s->directory);
	if (err != NULL)
		err->class = ERR_TEMPORARY;
	return false;
}

static bool file_append(struct spool *s, const unsigned char *data, size_t len, uint64_t offset, struct err *err)
{
	while (len > 0) {
		ssize_t n = pwrite(s->fd, data, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return write_failed(err, n < 0 ? errno : ENOSPC, s);
		data += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return true;
}

/* O_TMPFILE is missing on some file systems (old NFS, overlayfs of old kernels): there the name lives for two system calls. */
static int open_nameless(const char *directory)
{
	char path[PATH_MAX];
	int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL && errno != ENOENT))
		return fd;
	if (snprintf(path, sizeof(path), "%s/body.XXXXXX", directory) >= (int)sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

static bool move_to_file(struct spool *s, struct err *err)
{
	s->fd = open_nameless(s->directory);
	if (s->fd < 0)
		return err_errno(err, errno, "create a spool file", s->directory);
	if (!file_append(s, s->memory, (size_t)s->size, 0, err)) {
		close(s->fd);
		s->fd = -1;
		return false;
	}
	free(s->memory);
	s->memory = NULL;
	s->allocated = 0;
	return true;
}

static bool memory_append(struct spool *s, const void *data, size_t len, struct err *err)
{
	size_t wanted = (size_t)s->size + len;

	if (wanted > s->allocated) {
		size_t allocate = s->allocated ? s->allocated : 4096;
		unsigned char *memory;

		while (allocate < wanted)
			allocate *= 2;
		if (allocate > SPOOL_MEMORY)
			allocate = SPOOL_MEMORY;
		memory = realloc(s->memory, allocate);
		if (memory == NULL)
			return err_nomem(err, "keep a body");
		s->memory = memory;
		s->allocated = allocate;
	}
	memcpy(s->memory + s->size, data, len);
	return true;
}

bool spool_write(struct spool *s, const void *data, size_t len, struct err *err)
{
	bool ok;

	if (len == 0)
		return true;
	if (s->fd < 0 && len <= SPOOL_MEMORY - s->size)
		ok = memory_append(s, data, len, err);
	else
		ok = (s->fd >= 0 || move_to_file(s, err)) && file_append(s, data, len, s->size, err);
	if (ok)
		s->size += len;
	return ok;
}

uint64_t spool_size(const struct spool *s)
{
	return s->size;
}

bool spool_read(const struct spool *s, uint64_t offset, void *data, size_t len, size_t *got, struct err *err)
{
	*got = 0;
	if (offset >= s->size)
		return true;
	if (len > s->size - offset)
		len = (size_t)(s->size - offset);
	if (s->fd < 0) {
		memcpy(data, s->memory + offset, len);
		*got = len;
		return true;
	}
	while (*got < len) {
		ssize_t n = pread(s->fd, (char *)data + *got, len - *got, (off_t)(offset + *got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, errno, "read from the spool", s->directory);
		if (n == 0)
			return err_set(
				err, ERR_BUG, "read from the spool", s->directory, "the file is shorter than what was written to it");
		*got += (size_t)n;
	}
	return true;
}

bool spool_each(const struct spool *s, bool (*each)(void *arg, const void *data, size_t len, struct err *err), void *arg, struct err *err)
{
	unsigned char piece[SPOOL_PIECE];
	uint64_t offset = 0;
	size_t got;

	/* Straight from memory: most bodies are here, and need no copy. */
	for (; s->fd < 0 && offset < s->size; offset += got) {
		got = s->size - offset < SPOOL_PIECE ? (size_t)(s->size - offset) : SPOOL_PIECE;
		if (!each(arg, s->memory + offset, got, err))
			return false;
	}
	for (; offset < s->size; offset += got) {
		if (!spool_read(s, offset, piece, sizeof(piece), &got, err) || !each(arg, piece, got, err))
			return false;
	}
	return true;
}

int spool_fd(struct spool *s, struct err *err)
{
	if (s->fd < 0 && !move_to_file(s, err))
		return -1;
	return s->fd;
}
