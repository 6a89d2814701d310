/*
 * base/actas.c - do one thing as another user, in a child process, so that this one keeps its rights.
 *
 * Root must not do it itself: what it makes would be root's (SQLite's side files, which would lock the services out), and a key of a service's
 * user is not root's to read.
 */
#include "config.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"

#define GROUP_MOST (16u << 20) /* octets of an entry with all its members */

static bool read_whole(int fd, void *data, size_t len)
{
	size_t have = 0;
	ssize_t n;

	while (have < len && ((n = read(fd, (char *)data + have, len - have)) > 0 || (n < 0 && errno == EINTR)))
		have += n > 0 ? (size_t)n : 0;
	return have == len;
}

static bool write_whole(int fd, const void *data, size_t len)
{
	size_t done = 0;
	ssize_t n;

	while (done < len && ((n = write(fd, (const char *)data + done, len - done)) > 0 || (n < 0 && errno == EINTR)))
		done += n > 0 ? (size_t)n : 0;
	return done == len;
}

bool group_find(const char *name, unsigned *gid)
{
	size_t size = 4096;
	struct group gr, *found = NULL;
	char *room = NULL;
	int rc = ERANGE;

	for (; rc == ERANGE && size <= GROUP_MOST; size *= 4) {
		free(room);
		room = malloc(size);
		rc = room ? getgrnam_r(name, &gr, room, size, &found) : ENOMEM;
	}
	if (rc == 0 && found)
		*gid = gr.gr_gid;
	free(room);
	return rc == 0 && found;
}

/* With the other groups of that user and its home, where libraries look for files of theirs, if there is an entry for it. */
static bool become(uid_t uid, gid_t gid)
{
	struct passwd pw, *found = NULL;
	char room[4096];
	bool named = getpwuid_r(uid, &pw, room, sizeof room, &found) == 0 && found;

	if (named ? setenv("HOME", pw.pw_dir, 1) != 0 : unsetenv("HOME") != 0)
		return false;
	return (named ? initgroups(pw.pw_name, gid) : setgroups(0, NULL)) == 0 && setresgid(gid, gid, gid) == 0 && setresuid(uid, uid, uid) == 0;
}

/* What comes back from the child, before the octets of arg. */
struct outcome {
	bool ok;
	struct err err;
};

static _Noreturn void child(uid_t uid, gid_t gid, bool (*act)(void *, struct err *), void *arg, size_t len, int out)
{
	struct outcome o;

	memset(&o, 0, sizeof o);
	if (become(uid, gid)) {
		process_harden(); /* the kernel takes it back with the change of the user */
		o.ok = act(arg, &o.err);
	} else {
		err_errno(&o.err, errno, "become another user", NULL);
	}
	fflush(NULL);
	_exit(write_whole(out, &o, sizeof o) && write_whole(out, arg, len) ? 0 : 1);
}

bool act_as(unsigned uid, unsigned gid, bool (*act)(void *arg, struct err *err), void *arg, size_t len, struct err *err)
{
	struct outcome o;
	int ends[2];
	bool told;
	pid_t pid;

	if (geteuid() != 0 || uid == 0)
		return act(arg, err);
	if (pipe(ends) != 0)
		return err_errno(err, errno, "become another user", NULL);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		child(uid, gid, act, arg, len, ends[1]);
	}
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return err_errno(err, errno, "become another user", NULL);
	}
	told = read_whole(ends[0], &o, sizeof o) && read_whole(ends[0], arg, len);
	close(ends[0]);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	if (!told)
		return err_set(err, ERR_TEMPORARY, "act as another user", "", "the process that was to do it ended early; run this again");
	if (err)
		*err = o.err;
	return o.ok;
}
