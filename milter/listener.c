/*
 * milter/listener.c - the milter socket; listener.h says how it changes hands.
 *
 * Its permissions are part of the security model (who can connect can claim any login): it has mode 0660 and its group before it gets the name under
 * which it can be reached.
 */
#include "config.h"

#include "milter/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <libmilter/mfapi.h>

#define BACKLOG 512 /* who comes while a successor starts waits here */
#define KEPT "milter-" /* FDNAME: with device and inode of the name that leads to it */
#define FDS_MOST 1024

static const char op[] = "open milter socket";

/* ---- addresses ------------------------------------------------------------------------------------------------------------------ */

/* Only loopback: libmilter does not tell who connects, so named peers cannot be enforced any further away. */
static bool inet_address(const char *where, struct sockaddr_storage *out, socklen_t *len)
{
	const char *at = strchr(where, '@');
	bool v4, v6;
	struct sockaddr_in *a4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *a6 = (struct sockaddr_in6 *)out;
	int port = at ? atoi(strchr(where, ':') + 1) : 0;

	v4 = at && (strcmp(at + 1, "127.0.0.1") == 0 || strcmp(at + 1, "[127.0.0.1]") == 0);
	v6 = at && (strcmp(at + 1, "::1") == 0 || strcmp(at + 1, "[::1]") == 0);
	if ((!v4 && !v6) || port < 1 || port > 65535)
		return false;
	memset(out, 0, sizeof *out);
	if (v6) {
		*a6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
		*len = sizeof *a6;
	} else {
		*a4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
		*len = sizeof *a4;
	}
	return true;
}

static bool unix_address(const char *path, struct sockaddr_un *out, struct err *err)
{
	memset(out, 0, sizeof *out);
	out->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof out->sun_path)
		return err_set(err, ERR_CONFIG, op, path, "the path of a socket has at most %zu octets", sizeof out->sun_path - 1);
	strcpy(out->sun_path, path);
	return true;
}

static bool cannot_open(const char *where, struct err *err)
{
	return err_set(err, ERR_CONFIG, op, where, "cannot be opened: %s; does the folder exist and belong to this user?", strerror(errno));
}

/* ---- a name that changes hands --------------------------------------------------------------------------------------------------- */

/* Whoever gives the name to a socket, or takes it away, holds this; best effort. */
static int lock_folder(const char *path)
{
	char *copy = str_dup(path);
	int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	free(copy);
	if (fd >= 0)
		flock(fd, LOCK_EX);
	return fd;
}

static void remember_name(struct listener *l)
{
	struct stat st;

	if (l->path && lstat(l->path, &st) == 0) {
		l->device = st.st_dev;
		l->inode = st.st_ino;
	}
}

bool listener_is_ours(const struct listener *l)
{
	struct stat st;

	return !l->path || (lstat(l->path, &st) == 0 && st.st_dev == l->device && st.st_ino == l->inode);
}

/* ---- our socket ------------------------------------------------------------------------------------------------------------------- */

static bool socket_group(const char *path, const char *group, struct err *err)
{
	unsigned gid;

	if (!group_find(group, &gid))
		return err_set(err, ERR_CONFIG, op, path, "group %s (milter.socket-group) does not exist", group);
	if (chown(path, (uid_t)-1, gid) != 0)
		return err_set(err, ERR_CONFIG, op, path,
			"cannot give the socket to group %s: %s; make the folder belong to that group with mode 2710 or put this user into the group",
			group, strerror(errno));
	if (chmod(path, 0660) != 0)
		return err_errno(err, errno, op, path);
	return true;
}

/* The name that a socket has first: nobody looks for it. */
static bool draft_address(const struct listener *l, struct sockaddr_un *addr, struct err *err)
{
	char draft[sizeof addr->sun_path + 24];

	snprintf(draft, sizeof draft, "%.107s.%ld", l->path, (long)getpid());
	return unix_address(draft, addr, err);
}

/* Complete under a name of its own, then renamed: it takes the place of a predecessor's socket, or of what one left that was killed.  Until it has
 * group and mode it belongs to this user alone and does not listen: the draft's name can be seen in the folder. */
static bool make_unix(struct listener *l, const char *group, struct err *err)
{
	struct sockaddr_un addr;
	int lock;
	bool ok;

	if (!draft_address(l, &addr, err))
		return false;
	unlink(addr.sun_path);
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l->fd < 0 || fchmod(l->fd, 0600) != 0 || bind(l->fd, (struct sockaddr *)&addr, sizeof addr) != 0)
		return cannot_open(l->where, err);
	ok = socket_group(addr.sun_path, group, err) && (listen(l->fd, BACKLOG) == 0 || cannot_open(l->where, err));
	lock = lock_folder(l->path);
	ok = ok && (rename(addr.sun_path, l->path) == 0 || cannot_open(l->where, err));
	if (ok)
		remember_name(l);
	if (lock >= 0)
		close(lock);
	if (!ok)
		unlink(addr.sun_path);
	return ok;
}

/* Without TCP_NODELAY Nagle's algorithm and delayed acknowledgements keep every mail waiting for 40 ms; accepted sockets inherit it. */
static bool make_inet(struct listener *l, struct err *err)
{
	struct sockaddr_storage addr;
	socklen_t len;
	int on = 1;

	if (!inet_address(l->where, &addr, &len))
		return err_set(err, ERR_CONFIG, op, l->where, "a TCP socket must be on 127.0.0.1 or ::1: who can connect can sign as anybody");
	l->fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l->fd >= 0) {
		setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
		setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	}
	return (l->fd >= 0 && bind(l->fd, (struct sockaddr *)&addr, len) == 0 && listen(l->fd, BACKLOG) == 0) || cannot_open(l->where, err);
}

/* What the supervisor kept, if it is what is configured now and the name still leads to it. */
static bool take_kept(struct listener *l, const char *group)
{
	char name[256] = "", now[64];
	struct err ignored = ERR_INIT;

	l->fd = notify_take_fd(KEPT, name, sizeof name);
	if (l->fd < 0)
		return false;
	remember_name(l);
	snprintf(now, sizeof now, KEPT "%llx-%llx", (unsigned long long)l->device, (unsigned long long)l->inode);
	/* To listen again makes us the one whom the kernel names to those who connect. */
	if (l->path && strcmp(name, now) == 0 && socket_group(l->path, group, &ignored) && listen(l->fd, BACKLOG) == 0)
		return true;
	notify("FDSTOREREMOVE=1\nFDNAME=%s", name);
	close(l->fd);
	l->fd = -1;
	return false;
}

/* A TCP socket can be opened again at once by its number and needs no keeping: its name cannot be compared. */
static void have_kept(struct listener *l)
{
	char state[128];

	snprintf(state, sizeof state, "FDSTORE=1\nFDNAME=" KEPT "%llx-%llx", (unsigned long long)l->device, (unsigned long long)l->inode);
	l->kept = l->path && notify_keeps_fds() && notify_fd(state, l->fd);
}

/* ---- libmilter's descriptor -------------------------------------------------------------------------------------------------------- */

static bool is_listening(int fd)
{
	int yes = 0;
	socklen_t len = sizeof yes;

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &len) == 0 && yes;
}

/* It does not tell; so it is the one that listens and did not before. */
static int find_new(const bool before[FDS_MOST])
{
	for (int fd = 3; fd < FDS_MOST; fd++) /* it is one of the first */
		if (!before[fd] && is_listening(fd))
			return fd;
	return -1;
}

/* Its own, of the same family as ours, where nobody finds it: the name is gone before anybody knew it. */
static bool open_decoy(struct listener *l, struct err *err)
{
	static char place[160]; /* libmilter keeps the pointer */
	struct sockaddr_un draft;
	bool before[FDS_MOST];
	mode_t mask;
	bool ok;

	for (int fd = 0; fd < FDS_MOST; fd++)
		before[fd] = is_listening(fd);
	if (l->path && !draft_address(l, &draft, err))
		return false;
	if (l->path)
		snprintf(place, sizeof place, "unix:%s", draft.sun_path);
	else
		snprintf(place, sizeof place, "%s", strstr(l->where, "::1") ? "inet6:0@[::1]" : "inet:0@[127.0.0.1]");
	if (smfi_setconn(place) != MI_SUCCESS)
		return err_set(err, ERR_CONFIG, op, l->where, "not understood; expected unix:/path or inet:PORT@HOST");
	mask = umask(0177);
	ok = smfi_opensocket(true) == MI_SUCCESS || cannot_open(l->where, err);
	umask(mask);
	if (l->path)
		unlink(draft.sun_path);
	l->milter = ok ? find_new(before) : -1;
	return ok && (l->milter >= 0 || err_set(err, ERR_BUG, op, l->where, "libmilter's socket was not found"));
}

/* A port has no name that could be taken away: whoever looked for it would be let in.  There it is a pipe in which nothing ever comes. */
static int make_parking(const struct listener *l)
{
	int ends[2]; /* the other one stays open */

	if (!l->path)
		return pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0 ? ends[0] : -1;
	return fcntl(l->milter, F_DUPFD_CLOEXEC, 0);
}

/* What libmilter has already is its own from here on to park at.  It must not block there: poll may have told it of the other one. */
static bool put_under(struct listener *l, struct err *err)
{
	l->parked = make_parking(l);
	if (l->parked < 0 || fcntl(l->parked, F_SETFL, O_NONBLOCK) != 0 || dup3(l->fd, l->milter, O_CLOEXEC) < 0)
		return err_errno(err, errno, op, l->where);
	return true;
}

bool listener_open(struct listener *l, const char *where, const char *group, struct err *err)
{
	*l = (struct listener){.where = str_dup(where), .fd = -1, .parked = -1, .milter = -1};
	if (!l->where)
		return err_nomem(err, op);
	if (strncmp(l->where, "unix:", 5) == 0)
		l->path = l->where + 5;
	/* The name last: a predecessor that serves under it shall not lose it to somebody who cannot start. */
	if (!open_decoy(l, err))
		return false;
	if (take_kept(l, group)) {
		if (!put_under(l, err))
			return false;
	} else if (!(l->path ? make_unix(l, group, err) : make_inet(l, err)) || !put_under(l, err)) {
		listener_release(l);
		return false;
	}
	have_kept(l);
	return true;
}

/* ---- does it answer? ----------------------------------------------------------------------------------------------------------------- */

static int reach(const struct listener *l)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(struct sockaddr_un);
	int fd;

	if (l->path ? !unix_address(l->path, (struct sockaddr_un *)&addr, NULL) : !inet_address(l->where, &addr, &len))
		return -1;
	fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, len) != 0 && errno != EINPROGRESS) {
		int why = errno;

		close(fd);
		errno = why;
		return -1;
	}
	return fd;
}

/* A successor has the name, and lives: the kernel refuses for the dead, and of a full queue it says that it is one. */
static bool somebody_serves(const struct listener *l)
{
	int fd = reach(l);

	if (fd < 0)
		return errno == EAGAIN;
	close(fd);
	return true;
}

static bool wait_until(int fd, short what, int64_t deadline)
{
	struct pollfd p = {.fd = fd, .events = what};
	int64_t left = deadline - mono_ms();

	return left > 0 && poll(&p, 1, (int)left) == 1 && (p.revents & what);
}

bool listener_answers(const struct listener *l, int ms)
{
	/* SMFIC_OPTNEG: length, command, version 6, all actions and steps that there are. */
	static const unsigned char hello[] = {0, 0, 0, 13, 'O', 0, 0, 0, 6, 0, 0, 1, 0xff, 0, 0x1f, 0xff, 0xff};
	int64_t deadline = mono_ms() + ms;
	unsigned char answer[5];
	int fd;
	bool ok;

	if (!listener_is_ours(l))
		return somebody_serves(l);
	fd = reach(l);
	if (fd < 0)
		return false;
	ok = wait_until(fd, POLLOUT, deadline) && send(fd, hello, sizeof hello, MSG_NOSIGNAL) == sizeof hello && wait_until(fd, POLLIN, deadline) &&
	     recv(fd, answer, sizeof answer, 0) == sizeof answer && answer[4] == 'O';
	close(fd);
	return ok;
}

/* ---- the end ---------------------------------------------------------------------------------------------------------------------------- */

void listener_park(struct listener *l)
{
	if (l->fd < 0)
		return;
	/* From here on connections wait for whoever else has the socket; where nobody has, the kernel refuses them. */
	dup3(l->parked, l->milter, O_CLOEXEC);
	close(l->fd);
	l->fd = -1;
}

void listener_release(struct listener *l)
{
	int lock;

	if (!l->path || l->kept)
		return;
	lock = lock_folder(l->path);
	if (listener_is_ours(l))
		unlink(l->path);
	if (lock >= 0)
		close(lock);
}
