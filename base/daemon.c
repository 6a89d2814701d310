/*
 * base/daemon.c - a service without a supervisor: into the background, a pid file, and from root to a user of its own.
 *
 * Before any thread.  The one who typed the command waits until the service is ready, so that its exit code is worth something; what went wrong
 * before is on its standard error.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"

/* One a process; main sets it, before there are threads. */
static struct {
	int tell;             /* to the one who waits; -1 = nobody */
	int fd;               /* the pid file, until the pid is in it; -1 = none, or it is */
	char pid_file[4096];  /* "" = none of ours */
} self = {.tell = -1, .fd = -1};

static const char op[] = "start service";

static bool find_user(const char *user, struct passwd *pw, char *room, size_t size, struct err *err)
{
	struct passwd *found = NULL;

	if (getpwnam_r(user, pw, room, size, &found) == 0 && found)
		return true;
	return err_set(err, ERR_CONFIG, op, user, "there is no user %s; make it (systemd-sysusers, or adduser --system), or name another one by --user", user);
}

static bool find_group(const char *name, unsigned *gid, struct err *err)
{
	return group_find(name, gid) ||
		err_set(err, ERR_CONFIG, op, name, "there is no group %s (users.group); make it (systemd-sysusers, or addgroup --system)", name);
}

/* For good: real, effective and saved ids.  Proven by trying to come back. */
static bool drop_to(const struct passwd *pw, gid_t gid, struct err *err)
{
	if (initgroups(pw->pw_name, gid) != 0 || setresgid(gid, gid, gid) != 0 ||
		setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) != 0)
		return err_errno(err, errno, op, pw->pw_name);
	if (pw->pw_uid != 0 && setuid(0) == 0)
		return err_set(err, ERR_BUG, op, pw->pw_name, "the rights of root could not be given up");
	/* Libraries look there for files of their own (libpq: certificates), and may not look into root's. */
	setenv("HOME", pw->pw_dir, 1);
	process_harden(); /* the kernel takes it back with the change of the user */
	return true;
}

static bool become_user(const char *user, const char *group, struct err *err)
{
	struct passwd pw;
	char room[16384];
	unsigned gid = 0;

	if (!find_user(user, &pw, room, sizeof room, err))
		return false;
	if (geteuid() == 0)
		return find_group(group, &gid, err) && drop_to(&pw, gid, err);
	return pw.pw_uid == geteuid() || err_set(err, ERR_CONFIG, op, user, "only root can start this as user %s", user);
}

/* Whoever runs already may be named in it: nothing is changed until we are ready to take its place. */
static bool open_pid_file(const char *path, struct err *err)
{
	struct stat st;

	if (strlen(path) >= sizeof self.pid_file || path[0] != '/')
		return err_set(err, ERR_CONFIG, op, path, "a pid file is named by its whole path");
	self.fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
	if (self.fd < 0 || fstat(self.fd, &st) != 0)
		return err_errno(err, errno, op, path);
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1 || st.st_uid != geteuid())
		return err_set(err, ERR_CONFIG, op, path, "this is not a file of this user alone; remove it, or name another pid file");
	if (fchmod(self.fd, 0644) != 0)
		return err_errno(err, errno, op, path);
	snprintf(self.pid_file, sizeof self.pid_file, "%s", path);
	return true;
}

static void write_pid(void)
{
	struct err err = ERR_INIT;
	char text[24];
	int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());

	if (self.fd < 0)
		return;
	if (ftruncate(self.fd, 0) != 0 || pwrite(self.fd, text, (size_t)n, 0) != n) {
		err_errno(&err, errno, op, self.pid_file);
		log_error(LOG_LEVEL_ERROR, "pid_file_failed", &err, NULL);
	}
	close(self.fd);
	self.fd = -1;
}

/* The parent: until the child is ready, or gone. */
static _Noreturn void wait_for_child(int fd, pid_t pid)
{
	char answer = 0;
	int status = 0;
	ssize_t n;

	while ((n = read(fd, &answer, 1)) < 0 && errno == EINTR)
		;
	if (n == 1)
		_exit(0);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	_exit(WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1);
}

static bool into_background(struct err *err)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return err_errno(err, errno, op, NULL);
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		close(ends[0]);
		close(ends[1]);
		return err_errno(err, errno, op, NULL);
	}
	if (pid > 0) {
		close(ends[1]);
		wait_for_child(ends[0], pid);
	}
	close(ends[0]);
	self.tell = ends[1];
	if (setsid() < 0 || chdir("/") != 0)
		return err_errno(err, errno, op, NULL);
	return true;
}

char *daemon_path(const char *path)
{
	char here[4096], whole[8192];

	if (path[0] == '/' || !getcwd(here, sizeof here))
		return str_dup(path);
	snprintf(whole, sizeof whole, "%s/%s", here, path);
	return str_dup(whole);
}

bool daemon_start(const struct daemon_options *o, const char *user, const char *group, struct err *err)
{
	if ((o->pid_file && !open_pid_file(o->pid_file, err)) || (o->background && !into_background(err)))
		return false;
	if (o->user)
		return become_user(o->user, group, err);
	return geteuid() != 0 || become_user(user, group, err);
}

void daemon_ready(bool keep_stderr)
{
	int null;

	write_pid();
	if (self.tell < 0)
		return;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		if (!keep_stderr)
			dup2(null, STDERR_FILENO);
		if (null > STDERR_FILENO)
			close(null);
	}
	if (write(self.tell, "", 1) != 1)
		errno = 0; /* whoever waited is gone */
	close(self.tell);
	self.tell = -1;
}

void daemon_end(void)
{
	char text[24] = "";
	int fd;

	if (!self.pid_file[0])
		return;
	fd = open(self.pid_file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	/* A successor may have written its own into it. */
	if (fd >= 0 && read(fd, text, sizeof text - 1) > 0 && strtol(text, NULL, 10) == (long)getpid())
		unlink(self.pid_file);
	if (fd >= 0)
		close(fd);
	self.pid_file[0] = '\0';
}
