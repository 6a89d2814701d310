/*
 * ctl/asuser.c - act as a service user.  SQLite makes its side files with the owner of the process that first needs them: root opening the store
 * would lock the services out of it.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

bool user_ids(const char *user, const char *group, unsigned *uid, unsigned *gid, struct err *err)
{
	const struct passwd *p = getpwnam(user);
	const struct group *g = getgrnam(group);

	if (!p)
		return err_set(err, ERR_CONFIG, "find user", user, "no such user; systemd-sysusers makes it (sysusers.d/enroll-milter.conf)");
	if (!g)
		return err_set(err, ERR_CONFIG, "find group", group, "no such group; systemd-sysusers makes it (sysusers.d/enroll-milter.conf)");
	*uid = p->pw_uid;
	*gid = g->gr_gid;
	return true;
}

static void child(const char *user, unsigned uid, unsigned gid, int out, bool (*act)(void *, struct err *), void *arg)
{
	struct err err = ERR_INIT;
	bool ok = true;

	umask(0007); /* the group owns the store, its side files too */
	if (initgroups(user, gid) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
		ok = err_errno(&err, errno, "become user", user);
	ok = ok && act(arg, &err);
	if (!ok && write(out, &err, sizeof err) != (ssize_t)sizeof err)
		_exit(3);
	fflush(NULL);
	_exit(ok ? 0 : 1);
}

bool as_user(const char *user, const char *group, bool (*act)(void *arg, struct err *err), void *arg, struct err *err)
{
	unsigned uid, gid;
	int pipes[2], status = 0;
	struct err theirs;
	ssize_t got;
	pid_t pid;

	if (geteuid() != 0)
		return act(arg, err);
	if (!user_ids(user, group, &uid, &gid, err))
		return false;
	if (pipe(pipes) != 0)
		return err_errno(err, errno, "become user", user);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		close(pipes[0]);
		child(user, uid, gid, pipes[1], act, arg);
	}
	close(pipes[1]);
	if (pid < 0) {
		close(pipes[0]);
		return err_errno(err, errno, "become user", user);
	}
	got = read(pipes[0], &theirs, sizeof theirs);
	close(pipes[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	if (got == (ssize_t)sizeof theirs && err) {
		*err = theirs;
		return false;
	}
	return err_set(err, ERR_BUG, "act as service user", user, "the helper process ended without a word");
}
