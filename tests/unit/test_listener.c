/*
 * tests/unit/test_listener.c - the milter socket is nobody else's at any moment of its making.
 *
 * Calls that change what others see of it are taken over by this file (the linker prefers its own), and before and after each of them the folder is
 * looked at: no socket in it may be open to others, or to a group that is not the configured one, and none may be listened on before it has its group.
 */
#include "config.h"

#include <check.h>
#include <dirent.h>
#include <dlfcn.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libmilter/mfapi.h>

#include "milter/listener.h"

#define STARTS 200

static char folder[64], path[80], where[90], group[64];
static gid_t gid;
static unsigned looks, sockets, bad;
static char first_bad[256];

/* ---- the watch -------------------------------------------------------------------------------------------------------------------- */

static void look_at(const char *name, const char *when)
{
	char whole[400];
	struct stat st;

	snprintf(whole, sizeof whole, "%s/%s", folder, name);
	if (lstat(whole, &st) != 0 || !S_ISSOCK(st.st_mode))
		return;
	sockets++;
	if (!(st.st_mode & 0007) && (!(st.st_mode & 0070) || st.st_gid == gid))
		return;
	if (bad++ == 0)
		snprintf(first_bad, sizeof first_bad, "%s: %.60s has mode %04o and group %u", when, name, (unsigned)(st.st_mode & 07777), (unsigned)st.st_gid);
}

static void look(const char *when)
{
	DIR *d = *folder ? opendir(folder) : NULL;
	struct dirent *e;

	if (!d)
		return;
	looks++;
	while ((e = readdir(d)))
		look_at(e->d_name, when);
	closedir(d);
}

/* The one that was meant; a pointer to a function has no cast from one to data. */
#define REAL(name, type)                                                                                                                        \
	__typeof__(type) *real;                                                                                                                   \
	void *found = dlsym(RTLD_NEXT, name);                                                                                                     \
	int rc;                                                                                                                                  \
	memcpy(&real, &found, sizeof real);                                                                                                       \
	look("before " name)
#define AND_LOOK(name)                                                                                                                          \
	look("after " name);                                                                                                                     \
	return rc

int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	REAL("bind", int (int, const struct sockaddr *, socklen_t));
	rc = real(fd, addr, len);
	AND_LOOK("bind");
}

int listen(int fd, int n)
{
	REAL("listen", int (int, int));
	rc = real(fd, n);
	AND_LOOK("listen");
}

int rename(const char *from, const char *to)
{
	REAL("rename", int (const char *, const char *));
	rc = real(from, to);
	AND_LOOK("rename");
}

int chown(const char *name, uid_t u, gid_t g)
{
	REAL("chown", int (const char *, uid_t, gid_t));
	rc = real(name, u, g);
	AND_LOOK("chown");
}

int chmod(const char *name, mode_t mode)
{
	REAL("chmod", int (const char *, mode_t));
	rc = real(name, mode);
	AND_LOOK("chmod");
}

/* ---- the tests --------------------------------------------------------------------------------------------------------------------- */

/* As root a group that is not ours at first; otherwise our own. */
static void pick_group(void)
{
	struct group *g = getgrgid(geteuid() == 0 ? 1 : getegid());

	ck_assert_ptr_nonnull(g);
	gid = g->gr_gid;
	snprintf(group, sizeof group, "%s", g->gr_name);
}

static void setup(void)
{
	snprintf(folder, sizeof folder, "/tmp/test_listener.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chmod(folder, 0755), 0); /* others may look for the name, and connect if they can */
	snprintf(path, sizeof path, "%s/m.sock", folder);
	snprintf(where, sizeof where, "unix:%s", path);
	pick_group();
	looks = sockets = bad = 0;
	umask(0); /* a careless start: that is not what protects the socket */
}

static void teardown(void)
{
	unlink(path);
	rmdir(folder);
}

static void open_once(struct listener *l)
{
	static struct smfiDesc filter = {.xxfi_name = (char *)"test", .xxfi_version = SMFI_VERSION};
	struct err err = ERR_INIT;

	ck_assert_int_eq(smfi_register(filter), MI_SUCCESS);
	ck_assert_msg(listener_open(l, where, group, &err), "%s", err.text);
}

static void assert_closed_to_others(void)
{
	ck_assert_msg(bad == 0, "%u of %u looks: %s", bad, looks, first_bad);
	ck_assert_uint_gt(sockets, 2);
	ck_assert_uint_gt(looks, 6);
}

static void assert_made_well(void)
{
	struct stat st;

	ck_assert_int_eq(lstat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0660);
	ck_assert_uint_eq(st.st_gid, gid);
}

START_TEST(a_socket_is_nobody_elses_before_it_has_group_and_mode)
{
	struct listener l;

	open_once(&l);
	assert_made_well();
	assert_closed_to_others();
	listener_release(&l);
	free(l.where);
}
END_TEST

START_TEST(nor_while_it_takes_the_place_of_another)
{
	struct listener l;
	int old = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	strcpy(a.sun_path, path);
	umask(0117);
	ck_assert_int_eq(bind(old, (struct sockaddr *)&a, sizeof a), 0);
	ck_assert_int_eq(listen(old, 1), 0);
	umask(0);
	ck_assert_int_eq(chown(path, (uid_t)-1, gid), 0);
	looks = sockets = bad = 0;
	open_once(&l);
	assert_made_well();
	assert_closed_to_others();
	listener_release(&l);
	free(l.where);
	close(old);
}
END_TEST

/* Where the group cannot be had nothing stays, and a predecessor keeps the name. */
START_TEST(without_its_group_there_is_no_socket)
{
	struct listener l;
	static struct smfiDesc filter = {.xxfi_name = (char *)"test", .xxfi_version = SMFI_VERSION};
	struct err err = ERR_INIT;

	ck_assert_int_eq(smfi_register(filter), MI_SUCCESS);
	ck_assert(!listener_open(&l, where, "no-such-group", &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_uint_eq(bad, 0);
	free(l.where);
	ck_assert_int_ne(access(path, F_OK), 0);
	ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

/* ---- somebody else who tries all the time ------------------------------------------------------------------------------------------------ */

static bool can_connect(const char *name)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool yes;

	snprintf(a.sun_path, sizeof a.sun_path, "%.30s/%.70s", folder, name);
	yes = connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
	close(fd);
	return yes;
}

static bool is_let_in(void)
{
	DIR *d = opendir(folder);
	struct dirent *e;
	bool yes = false;

	while (d && !yes && (e = readdir(d)))
		yes = *e->d_name != '.' && can_connect(e->d_name);
	if (d)
		closedir(d);
	return yes;
}

/* A child that ends with 1 as soon as it is let in; `told` is written to as soon as it tries. */
static pid_t intruder(int told)
{
	struct passwd *nobody = getpwnam("nobody");
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	if (!nobody || setgroups(0, NULL) != 0 || setgid(nobody->pw_gid) != 0 || setuid(nobody->pw_uid) != 0 || write(told, "", 1) != 1)
		_exit(2);
	while (!is_let_in())
		;
	_exit(1);
}

/* libmilter opens one socket a process. */
static void start_in_child(bool release)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct listener l;

		open_once(&l);
		if (release)
			listener_release(&l); /* otherwise the next one takes its place */
		_exit(bad ? 1 : 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "a start ended with status %d", status);
}

START_TEST(who_tries_all_the_time_is_never_let_in)
{
	int ends[2], status;
	char word;
	pid_t pid;

	if (geteuid() != 0)
		return;
	ck_assert_int_eq(pipe(ends), 0);
	pid = intruder(ends[1]);
	ck_assert_int_eq(read(ends[0], &word, 1), 1);
	for (int i = 0; i < STARTS; i++)
		start_in_child(i % 2);
	ck_assert_int_eq(waitpid(pid, &status, WNOHANG), 0);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("listener");
	TCase *t = tcase_create("listener");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, a_socket_is_nobody_elses_before_it_has_group_and_mode);
	tcase_add_test(t, nor_while_it_takes_the_place_of_another);
	tcase_add_test(t, without_its_group_there_is_no_socket);
	tcase_add_test(t, who_tries_all_the_time_is_never_let_in);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
