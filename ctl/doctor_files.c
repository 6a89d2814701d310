/*
 * ctl/doctor_files.c - `doctor`: files, folders, sockets and room on the disk.
 *
 * What must be so is a struct doctor_file; what is not is said with the chown and chmod that mend it, and with --fix done.  Root works here in folders
 * that service users own: a file is opened without following links, and changed by that descriptor if it is a plain one of its own.
 */
#include "config.h"

#include "ctl/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MODE_BITS 07777u
#define ROOM_WARNING (100ull << 20) /* or 5 % */
#define ROOM_FAULT (16ull << 20)    /* or 1 % */

/* ---- as it has to be ------------------------------------------------------------------------------------------------------------ */

#define NOBODYS ((unsigned)-1) /* as chown takes it: left as it is */
#define NOT_OURS "others use this folder too, so it is not touched: name one of its own in the configuration"
#define FOREIGN "it belongs to another user, who may have put it there: look at it first"

/* What is wrong with one, and what it is to be. */
struct wrong {
	bool owner, mode;
	unsigned uid, gid;
	struct stat st;
	const char *refused;       /* why it is not to be mended; NULL = it is */
	struct buf text, commands; /* commands: one a line */
};

static void name_owner(const struct stat *st, char out[80])
{
	const struct passwd *p = getpwuid(st->st_uid);
	const struct group *g;
	char user[33];

	snprintf(user, sizeof user, "%.32s", p ? p->pw_name : "?");
	g = getgrgid(st->st_gid);
	snprintf(out, 80, "%s:%.32s", user, g ? g->gr_name : "?");
}

static void judge_owner(const struct doctor_file *f, struct wrong *w, struct buf *path)
{
	const struct passwd *p = f->user ? getpwnam(f->user) : NULL;
	const struct group *g = f->group ? getgrnam(f->group) : NULL;
	char now[80];

	w->uid = p ? p->pw_uid : NOBODYS;
	w->gid = g ? g->gr_gid : NOBODYS;
	w->owner = (p && w->uid != w->st.st_uid) || (g && w->gid != w->st.st_gid);
	if (!w->owner)
		return;
	/* What somebody put there in the name of another would count as that one's. */
	if (p && w->uid != w->st.st_uid && w->st.st_uid != 0)
		w->refused = FOREIGN;
	name_owner(&w->st, now);
	buf_printf(&w->text, "belongs to %s instead of %s%s%s", now, f->user ? f->user : "", f->group ? ":" : "", f->group ? f->group : "");
	buf_printf(&w->commands, "chown %s%s%s %s\n", f->user ? f->user : "", f->group ? ":" : "", f->group ? f->group : "", buf_str(path));
}

static void judge_mode(const struct doctor_file *f, struct wrong *w, struct buf *path)
{
	unsigned mode = w->st.st_mode & MODE_BITS;

	w->mode = (mode & f->forbidden) != 0 || (mode & f->needed) != f->needed;
	if (!w->mode)
		return;
	buf_printf(&w->text, "%shas mode %04o instead of %04o%s", w->text.len ? ", " : "", mode, f->mode,
		mode & f->forbidden & 04 ? ": everybody on this host can read it" : "");
	buf_printf(&w->commands, "chmod %04o %s\n", f->mode, buf_str(path));
}

/* The one that was judged, and not what its folder's owner put in its place since. */
static bool is_the_same(const struct wrong *w, const struct stat *st)
{
	return w->st.st_dev == st->st_dev && w->st.st_ino == st->st_ino && w->st.st_uid == st->st_uid;
}

static bool mend(const struct doctor_file *f, const struct wrong *w, struct err *err)
{
	int fd = open(f->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (f->folder ? O_DIRECTORY : 0));
	struct stat st;
	bool ok;

	if (fd < 0 || fstat(fd, &st) != 0)
		ok = err_errno(err, errno, "mend", f->path);
	else if (f->folder ? !S_ISDIR(st.st_mode) : !S_ISREG(st.st_mode) || st.st_nlink != 1)
		ok = err_set(err, ERR_CONFIG, "mend", f->path, "it is not a plain file of its own (a link, a pipe?): it is not touched");
	else if (!is_the_same(w, &st))
		ok = err_set(err, ERR_CONFIG, "mend", f->path, "another one came into its place meanwhile, which is not touched: ask again, and see who moves things there");
	else
		/* first nobody else may, then the owner, then all of the mode */
		ok = (fchmod(fd, st.st_mode & MODE_BITS & ~f->forbidden) == 0 && (!w->owner || fchown(fd, w->uid, w->gid) == 0) &&
			(!(w->owner || w->mode) || fchmod(fd, w->mode ? f->mode : st.st_mode & MODE_BITS) == 0)) || err_errno(err, errno, "mend", f->path);
	if (fd >= 0)
		close(fd);
	return ok;
}

static bool make_folder(const struct doctor_file *f, struct err *err)
{
	struct wrong w = {.owner = true, .mode = true};

	if (!user_ids(f->user, f->group, &w.uid, &w.gid, err))
		return false;
	if (mkdir(f->path, 0700) != 0 || lstat(f->path, &w.st) != 0)
		return err_errno(err, errno, "make folder", f->path);
	return mend(f, &w, err);
}

static bool may_mend(const struct doctor *d)
{
	return d->ctl->fix && !d->ctl->dry_run && d->root;
}

/* The commands, or that they were done. */
static void say_wrong(struct doctor *d, const struct doctor_file *f, const char *what, char *commands, bool (*act)(const struct doctor_file *, const void *, struct err *),
	const void *arg)
{
	struct err err = ERR_INIT;
	char *rest = NULL;

	if (may_mend(d) && act) {
		if (act(f, arg, &err))
			doctor_say(d, "ok", "%s: %s; put right", f->path, what);
		else
			doctor_say(d, "fault", "%s: %s; not put right: %s", f->path, what, err.text);
		return;
	}
	doctor_say(d, "fault", "%s: %s%s", f->path, what, d->ctl->fix && act ? " (--fix would put that right)" : "");
	for (char *one = strtok_r(commands, "\n", &rest); one; one = strtok_r(NULL, "\n", &rest))
		doctor_fix(d, "%s", one);
}

static bool act_mend(const struct doctor_file *f, const void *arg, struct err *err)
{
	return mend(f, arg, err);
}

static bool act_make(const struct doctor_file *f, const void *arg, struct err *err)
{
	(void)arg;
	return make_folder(f, err);
}

static bool say_missing(struct doctor *d, const struct doctor_file *f, int errnum)
{
	struct buf command = BUF_INIT;

	if (errnum == ENOENT && f->optional)
		return true;
	if (errnum == ENOENT && f->make) {
		buf_printf(&command, "install -d -o %s -g %s -m %04o ", f->user, f->group, f->mode);
		doctor_quote(&command, f->path);
	} else if (f->missing) {
		buf_puts(&command, f->missing);
	}
	say_wrong(d, f, strerror(errnum), command.data ? command.data : (char[]){""}, errnum == ENOENT && f->make ? act_make : NULL, NULL);
	buf_clear(&command);
	return false;
}

bool doctor_expect(struct doctor *d, const struct doctor_file *f)
{
	struct wrong w = {.text = BUF_INIT};
	struct buf path = BUF_INIT;
	bool good;

	if (lstat(f->path, &w.st) != 0)
		return say_missing(d, f, errno);
	if (f->folder ? !S_ISDIR(w.st.st_mode) : !S_ISREG(w.st.st_mode)) {
		doctor_say(d, "fault", "%s is no %s", f->path, f->folder ? "folder" : "plain file (a link?)");
		return false;
	}
	doctor_quote(&path, f->path);
	judge_owner(f, &w, &path);
	judge_mode(f, &w, &path);
	good = !w.owner && !w.mode;
	if (!good && f->folder && !doctor_is_ours(d, f, &w.st))
		w.refused = NOT_OURS;
	if (w.refused)
		doctor_say(d, "fault", "%s: %s; %s", f->path, buf_str(&w.text), w.refused);
	else if (!good)
		say_wrong(d, f, buf_str(&w.text), w.commands.data ? w.commands.data : (char[]){""}, act_mend, &w);
	buf_clear(&path);
	buf_clear(&w.text);
	buf_clear(&w.commands);
	return good;
}

/* The folder of a file: nobody but its owner, and root, may put another one in its place.  Of those in `seen` (NULL = none) nothing more is said. */
static bool expect_folder_of(struct doctor *d, const char *path, struct strlist *seen)
{
	char *copy = str_dup(path), *real = copy ? realpath(dirname(copy), NULL) : NULL; /* an admin may have it elsewhere, by a link */
	struct doctor_file f = {.path = real, .forbidden = 022, .folder = true};
	struct stat st;
	bool good = true;

	if (f.path && !(seen && strlist_has(seen, f.path)) && stat(f.path, &st) == 0) {
		if (seen)
			strlist_add(seen, f.path);
		f.mode = st.st_mode & MODE_BITS & ~022u;
		good = doctor_expect(d, &f);
	}
	free(real);
	free(copy);
	return good;
}

/* ---- our files ---------------------------------------------------------------------------------------------------------------------- */

void doctor_config_file(struct doctor *d)
{
	struct stat st;
	bool all = stat(d->config->path, &st) == 0 && (st.st_mode & 04), good;
	struct doctor_file f = {.path = d->config->path, .user = "root", .mode = all ? 0644 : 0640, .needed = all ? 0444 : 0440, .forbidden = all ? 0133 : 0137};

	if (!all)
		f.group = d->config->users.group;
	good = doctor_expect(d, &f);
	if (expect_folder_of(d, f.path, NULL) && good)
		doctor_say(d, "ok", "%s is root's, and the services can read it", f.path);
}

static bool expect_secret(struct doctor *d, const char *path, const char *user, const char *missing)
{
	struct doctor_file f = {.path = path, .user = user, .mode = 0600, .needed = 0400, .forbidden = 0177, .missing = missing};

	return !path || doctor_is_credential(path) || doctor_expect(d, &f);
}

/* With its folder, in which nobody else may put another one. */
static bool expect_secret_and_folder(struct doctor *d, const char *path, const char *user, const char *missing, struct strlist *seen)
{
	bool good = expect_secret(d, path, user, missing);

	return !path || doctor_is_credential(path) || (expect_folder_of(d, path, seen) && good);
}

void doctor_master_key(struct doctor *d)
{
	const struct config *c = d->config;
	bool good;

	if (doctor_is_credential(c->master_key)) {
		doctor_say(d, "ok", "%s is handed to the outbound instance by systemd", c->master_key);
		return;
	}
	if (c->mode == MODE_OBSERVE && access(c->master_key, F_OK) != 0) {
		doctor_say(d, "ok", "none yet, and none is needed while mode is \"observe\"");
		return;
	}
	good = expect_secret(d, c->master_key, c->users.outbound, access(c->master_certificate, F_OK) != 0 ? "enrollctl init" : NULL);
	if (!good && access(c->master_key, F_OK) != 0 && access(c->master_certificate, F_OK) == 0)
		doctor_say(d, "fault", "its certificate %s is there: put the key back from your copy; without it no user key opens", c->master_certificate);
	if (good & expect_folder_of(d, c->master_key, NULL))
		doctor_say(d, "ok", "%s is %s's alone", c->master_key, c->users.outbound);
}

void doctor_account_key(struct doctor *d)
{
	const struct config *c = d->config;
	struct strlist seen = {0};
	bool good = true, any = false, handed = false;

	for (size_t i = 0; i < config_cas(c); i++) {
		const struct ca_config *ca = config_ca_at(c, i);

		if (!ca->directory_url || (c->mode == MODE_OBSERVE && access(ca->account_key, F_OK) != 0))
			continue;
		if (doctor_is_credential(ca->account_key)) {
			handed = true;
			doctor_say(d, "ok", "%s is handed to enrolld by systemd: there is no file to look at; whether the CA takes it is tried by `enrollctl doctor ca-details`",
				ca->account_key);
			continue;
		}
		any = true;
		good = expect_secret_and_folder(d, ca->account_key, c->users.enrolld, "enrollctl init", &seen) && good;
	}
	strlist_clear(&seen);
	if (good && (any || !handed))
		doctor_say(d, "ok", any ? "%s's alone" : "none is needed (%s)", c->users.enrolld);
}

/* The directory's password is for two: root's, and their group's to read. */
static bool expect_shared(struct doctor *d, const char *path, struct strlist *seen)
{
	const struct config *c = d->config;
	struct doctor_file f = {.path = path, .user = "root", .group = c->users.group, .mode = 0640, .needed = 0440, .forbidden = 0137};
	bool good;

	if (!path || strcmp(c->directory.bind, "simple") != 0 || doctor_is_credential(path))
		return true;
	if (strcmp(c->users.outbound, c->users.enrolld) == 0)
		return expect_secret_and_folder(d, path, c->users.outbound, NULL, seen);
	good = doctor_expect(d, &f);
	return expect_folder_of(d, path, seen) && good;
}

static void note_handed(struct buf *names, const char *where)
{
	if (doctor_is_credential(where))
		buf_printf(names, "%s%s", names->len ? ", " : "", where);
}

void doctor_secrets(struct doctor *d)
{
	const struct config *c = d->config;
	struct strlist seen = {0};
	struct buf handed = BUF_INIT;
	bool good = expect_shared(d, c->directory.password_file, &seen);

	for (size_t i = 0; i < config_cas(c); i++)
		good = expect_secret_and_folder(d, config_ca_at(c, i)->eab_key_file, c->users.enrolld, NULL, &seen) && good;
	for (size_t i = 0; i < c->n_submissions; i++)
		good = expect_secret_and_folder(d, c->submissions[i].secret_file, c->users.outbound, NULL, &seen) && good;
	strlist_clear(&seen);
	note_handed(&handed, c->directory.password_file);
	for (size_t i = 0; i < config_cas(c); i++)
		note_handed(&handed, config_ca_at(c, i)->eab_key_file);
	for (size_t i = 0; i < c->n_submissions; i++)
		note_handed(&handed, c->submissions[i].secret_file);
	if (good)
		doctor_say(d, "ok", "passwords and other secrets are readable by who needs them alone%s%s%s", handed.len ? "; not looked at, as systemd hands them over: " : "",
			buf_str(&handed), handed.len ? ". They are tried by `enrollctl doctor directory ca-details`, which asks enrolld" : "");
	buf_clear(&handed);
}

void doctor_store_files(struct doctor *d)
{
	static const char *const ends[] = {"", "-wal", "-shm"};
	const struct config *c = d->config;
	char *copy = str_dup(c->store.path);
	struct doctor_file folder = {.path = copy ? dirname(copy) : "", .user = c->users.enrolld, .group = c->users.group, .mode = 02770, .needed = 02770,
		.forbidden = 07, .folder = true, .make = true};
	bool good = copy && doctor_expect(d, &folder);

	for (size_t i = 0; good && store_is_file(&c->store) && i < sizeof ends / sizeof *ends; i++) {
		struct buf path = BUF_INIT;
		struct doctor_file f = {.group = c->users.group, .mode = 0660, .needed = 0660, .forbidden = 0117, .optional = i > 0, .missing = "enrollctl init"};

		buf_printf(&path, "%s%s", c->store.path, ends[i]);
		f.path = buf_str(&path);
		good = doctor_expect(d, &f) && good;
		buf_clear(&path);
	}
	if (good)
		doctor_say(d, "ok", "%s is group %s's alone", store_is_file(&c->store) ? c->store.path : folder.path, c->users.group);
	free(copy);
}

void doctor_spool(struct doctor *d)
{
	struct doctor_file f = {.path = d->config->milter.spool_directory, .user = "root", .group = d->config->users.group, .mode = 01770, .needed = 01770,
		.forbidden = 07, .folder = true, .make = true};

	if (doctor_expect(d, &f))
		doctor_say(d, "ok", "%s is closed to others", f.path);
}

void doctor_control_folder(struct doctor *d)
{
	char *copy = str_dup(d->config->control.socket);
	struct doctor_file f = {.path = copy ? dirname(copy) : "", .user = d->config->users.enrolld, .group = d->config->users.group, .mode = 0755,
		.needed = 0711, .forbidden = 022, .folder = true, .make = true};

	if (copy && doctor_expect(d, &f))
		doctor_say(d, "ok", "%s: everybody may connect, enrolld looks who it is", f.path);
	free(copy);
}

/* ---- the milter sockets --------------------------------------------------------------------------------------------------------------- */

static bool can_write(void *arg, struct err *err)
{
	(void)err;
	return access(*(const char **)arg, W_OK | X_OK) == 0;
}

static bool makes_sockets(struct doctor *d, const struct doctor_file *f, const char *user)
{
	const char *path = f->path;
	struct err err = ERR_INIT;
	struct stat st;

	if (as_user(user, d->config->users.group, can_write, &path, &err))
		return true;
	if (*err.text) {
		doctor_say(d, "fault", "%s", err.text);
		return false;
	}
	if (lstat(path, &st) == 0 && !doctor_is_ours(d, f, &st)) {
		doctor_say(d, "fault", "%s: user %s cannot make its socket there; " NOT_OURS, path, user);
		return false;
	}
	doctor_say(d, "fault", "%s: user %s cannot make its socket there", path, user);
	if (doctor_has_systemd())
		doctor_fix(d, "systemd-tmpfiles --create enroll-milter.conf");
	else
		doctor_fix(d, "setfacl -m u:%s:rwx,u:%s:rwx,u:%s:x,m::rwx %s", d->config->users.outbound, d->config->users.inbound, d->config->users.enrolld, path);
	return false;
}

static bool expect_socket_folder(struct doctor *d, const char *socket, const char *user)
{
	const struct config *c = d->config;
	bool postfix = strcmp(c->milter.socket_group, "postfix") == 0;
	char *copy = strncmp(socket, "unix:", 5) == 0 ? str_dup(socket + 5) : NULL;
	/* Sendmail wants another one, see examples/sendmail. */
	struct doctor_file f = {.path = copy ? dirname(copy) : "", .user = postfix ? "root" : NULL, .group = postfix ? c->milter.socket_group : NULL, .mode = 03770,
		.needed = postfix ? 03070 : 0, .forbidden = postfix ? 07 : 02, .folder = true, .make = postfix};
	bool good = !copy || (doctor_expect(d, &f) && makes_sockets(d, &f, user));

	free(copy);
	return good;
}

void doctor_socket_folder(struct doctor *d)
{
	const struct config *c = d->config;
	bool good = expect_socket_folder(d, c->milter.outbound_socket, c->users.outbound);

	if (good && expect_socket_folder(d, c->milter.inbound_socket, c->users.inbound))
		doctor_say(d, "ok", "the two instances make their sockets there, group %s reaches them", c->milter.socket_group);
}

/* A milter's socket has the name at which it was made, which is this and the process id (milter/listener.h). */
static bool is_name_of(const char *name, const char *path)
{
	size_t len = strlen(path);

	return strncmp(name, path, len) == 0 && (!name[len] || (name[len] == '.' && !name[len + 1 + strspn(name + len + 1, "0123456789")]));
}

/* The folder may be closed to who asks; the kernel's list of sockets tells all the same whether somebody listens. */
static bool is_listening(const char *path)
{
	FILE *list = fopen("/proc/net/unix", "re");
	char *line = NULL, name[256];
	size_t size = 0;
	unsigned flags;
	bool found = false;

	while (list && !found && getline(&line, &size, list) > 0)
		found = sscanf(line, "%*s %*s %*s %x %*s %*s %*s %255s", &flags, name) == 2 && (flags & 0x10000) && is_name_of(name, path);
	free(line);
	if (list)
		fclose(list);
	return found;
}

static void look_at_socket(struct doctor *d, const char *where)
{
	const struct group *g = getgrnam(d->config->milter.socket_group);
	const char *path = where + 5;
	struct stat st;
	bool seen;

	if (strncmp(where, "unix:", 5) != 0) {
		doctor_say(d, "warning", "%s is a TCP socket: whoever reaches it can sign as anybody", where);
		return;
	}
	seen = lstat(path, &st) == 0;
	if (!is_listening(path)) {
		doctor_say(d, "fault", "nobody listens on %s: enroll-milter@%s does not run", path, d->check);
		doctor_fix_service(d, "start", d->check);
	} else if (seen && (st.st_mode & 07)) {
		doctor_say(d, "fault", "%s can be used by every local user (mode %04o): whoever connects can sign as anybody", path, st.st_mode & MODE_BITS);
		doctor_fix(d, "chmod 0660 %s", path);
	} else if (seen && ((st.st_mode & 060) != 060 || (g && st.st_gid != g->gr_gid))) {
		doctor_say(d, "fault", "%s: group %s cannot connect (mode %04o)", path, d->config->milter.socket_group, st.st_mode & MODE_BITS);
		doctor_fix(d, "chgrp %s %s", d->config->milter.socket_group, path);
		doctor_fix(d, "chmod 0660 %s", path);
	} else {
		doctor_say(d, "ok", "enroll-milter@%s listens on %s", d->check, path);
	}
}

void doctor_outbound(struct doctor *d)
{
	look_at_socket(d, d->config->milter.outbound_socket);
}

void doctor_inbound(struct doctor *d)
{
	look_at_socket(d, d->config->milter.inbound_socket);
}

/* ---- room on the disk -------------------------------------------------------------------------------------------------------------------- */

static bool has_room(struct doctor *d, const char *path)
{
	struct statvfs v;
	unsigned long long free_octets, all;
	bool little, least;

	if (statvfs(path, &v) != 0 || v.f_blocks == 0)
		return true; /* that it is not there is said elsewhere */
	free_octets = (unsigned long long)v.f_bavail * v.f_frsize;
	all = (unsigned long long)v.f_blocks * v.f_frsize;
	least = free_octets < ROOM_FAULT || free_octets < all / 100;
	little = free_octets < ROOM_WARNING || (v.f_files && v.f_favail < v.f_files / 50);
	if (!least && !little)
		return true;
	doctor_say(d, least ? "fault" : "warning", "%s: %llu MiB of %llu are left, %llu file names: %s", path, free_octets >> 20, all >> 20, (unsigned long long)v.f_favail,
		least ? "mail will soon be passed on unsigned; make room on this file system" : "make room on this file system");
	return false;
}

void doctor_disk(struct doctor *d)
{
	char *copy = str_dup(d->config->store.path);
	bool good = !copy || has_room(d, dirname(copy));

	good = has_room(d, d->config->milter.spool_directory) && good;
	if (good)
		doctor_say(d, "ok", "there is room for the store and for mail in the spool");
	free(copy);
}
