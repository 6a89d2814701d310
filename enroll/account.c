/*
 * enroll/account.c - the account key and the account at the CA: `enrollctl init` and `enrollctl account rotate-key`;
 * and what can be done without it.
 *
 * A key that is there is never replaced by `init`: the CA knows the account by it, and every open order depends on it.
 *
 * The hard idea of the rotation is that the key the CA has must be on disk at every instant.  So the new one is durable as KEY.next before
 * the CA hears of it, and takes the old one's place only after the CA has said yes; a KEY.next that is found is never overwritten but
 * tried again, as nobody knows whether the CA took it.  enrolld looks for KEY.next too (see acme_key.c).
 */
#include "config.h"

#include "enroll/enroll.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enroll/ca.h"
#include "enroll/jws.h"

static bool is_credential(const char *where)
{
	return strncmp(where, "credential:", 11) == 0;
}

/* Made by root, read by enrolld: the file belongs to its user then.  Without such a user on this host it stays root's, as where
 * systemd hands it over as a credential. */
static bool key_give(const char *path, const char *user, struct err *err)
{
	struct passwd pw, *found = NULL;
	char room[4096];

	if (geteuid() != 0 || !user || getpwnam_r(user, &pw, room, sizeof room, &found) != 0 || !found)
		return true;
	return lchown(path, found->pw_uid, (gid_t)-1) == 0 || err_errno(err, errno, "give account key to its user", path);
}

static bool key_make(const struct config *config, const struct ca_config *ca_config, struct err *err)
{
	const char *type = ca_config->account_key_type ? ca_config->account_key_type : "ec:p256";
	struct buf pem = BUF_INIT;
	bool ok;

	ok = jws_key_generate(type, &pem, err) && file_write(ca_config->account_key, pem.data, pem.len, 0600, -1, err) &&
	     key_give(ca_config->account_key, config->users.enrolld, err);
	buf_wipe(&pem);
	return ok;
}

static bool key_ensure(const struct config *config, const struct ca_config *ca_config, struct err *err)
{
	const char *where = ca_config->account_key;
	struct stat st;

	if (!where)
		return err_set(err, ERR_CONFIG, "make account key", "ca.account-key", "ca.account-key is not set");
	/* A credential is systemd's to bring; if it is missing, loading it says so. */
	if (is_credential(where) || lstat(where, &st) == 0)
		return true;
	if (errno != ENOENT)
		return err_errno(err, errno, "make account key", where);
	return key_make(config, ca_config, err);
}

bool enroll_account_init(const struct config *config, const struct ca_config *ca_config, char url[1024], struct err *err)
{
	struct ca_info info = {0};
	struct ca *ca = NULL;
	bool ok;

	url[0] = '\0';
	ok = key_ensure(config, ca_config, err) && (ca = ca_new(ca_config, err)) != NULL && ca_prepare(ca, &info, err);
	if (ok)
		snprintf(url, 1024, "%s", info.account_uri);
	ca_info_clear(&info);
	ca_free(ca);
	return ok;
}

/* ---- rotation ---------------------------------------------------------------------------------------------------- */

#define ROTATE "rotate account key"

/* An open descriptor of the folder that holds `path`, or -1. */
static int folder_open(const char *path)
{
	char *folder = str_dup(path), *slash;
	int fd;

	if (!folder)
		return -1;
	slash = strrchr(folder, '/');
	if (slash)
		slash[slash == folder ? 1 : 0] = '\0';
	fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(folder);
	return fd;
}

/* Two rotations at a time could each make a key, and the one that the CA took be overwritten. */
static int folder_lock(const char *path, struct err *err)
{
	int fd = folder_open(path);

	if (fd < 0) {
		err_errno(err, errno, ROTATE, path);
	} else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno == EWOULDBLOCK)
			err_set(err, ERR_TEMPORARY, ROTATE, path, "another rotation of this key is under way; wait for its end");
		else
			err_errno(err, errno, ROTATE, path);
		close(fd);
		fd = -1;
	}
	return fd;
}

static bool rotation_possible(const struct config *config, const struct ca_config *ca_config, struct stat *old, struct err *err)
{
	const char *where = ca_config->account_key;

	if (ca_config->driver != CA_DRIVER_ACME)
		return err_set(err, ERR_CONFIG, ROTATE, "ca.driver", "only the driver \"acme\" has an account");
	if (!where)
		return err_set(err, ERR_CONFIG, ROTATE, "ca.account-key", "ca.account-key is not set");
	if (is_credential(where))
		return err_set(err, ERR_CONFIG, ROTATE, where,
			"ca.account-key is a systemd credential, which is a copy: replace the key where systemd takes it from. Stop enrolld, run this command with a copy "
			"of the configuration whose ca.account-key names that file, and start enrolld again");
	if (lstat(where, old) != 0)
		return err_errno(err, errno, ROTATE, where);
	return S_ISREG(old->st_mode) || err_set(err, ERR_CONFIG, ROTATE, where, "%s is no regular file: name the file itself in ca.account-key", where);
}

/* KEY.next is there, readable by the owner of the old key.  One that a rotation cut short has left behind is taken as it is. */
static bool next_ensure(const struct config *config, const struct ca_config *ca_config, const char *next, const struct stat *old, struct err *err)
{
	const char *type = ca_config->account_key_type ? ca_config->account_key_type : "ec:p256";
	struct buf pem = BUF_INIT;
	struct stat st;
	bool ok = true;

	if (lstat(next, &st) != 0) {
		ok = errno == ENOENT || err_errno(err, errno, ROTATE, next);
		ok = ok && jws_key_generate(type, &pem, err) && file_write(next, pem.data, pem.len, 0600, -1, err);
		buf_wipe(&pem);
		if (ok && lstat(next, &st) != 0)
			ok = err_errno(err, errno, ROTATE, next);
	}
	if (ok && (st.st_uid != old->st_uid || st.st_gid != old->st_gid) && lchown(next, old->st_uid, old->st_gid) != 0)
		ok = err_errno(err, errno, ROTATE, next);
	return ok;
}

static bool next_into_place(const char *next, const char *path, int folder, struct err *err)
{
	if (rename(next, path) != 0)
		return err_errno(err, errno, ROTATE, path);
	return fsync(folder) == 0 || errno == EINVAL || err_errno(err, errno, ROTATE, path);
}

/* A key that the CA certainly does not take would be tried again for ever. */
static void next_forget_refused(const char *next, const struct err *err)
{
	if (strcmp(err->op, CA_OP_CHANGE_KEY) == 0 && err->status >= 400 && err->status < 500 && err->class != ERR_TEMPORARY)
		unlink(next);
}

struct key_change {
	const struct ca_config *ca_config;
	const char *next;
	char url[1024];
};

/* The part that talks to the CA. */
static bool key_change(void *arg, struct err *err)
{
	struct key_change *k = arg;
	struct ca_account account = {0};
	struct ca *ca = ca_new(k->ca_config, err);
	bool found = false, ok = ca && ca_account_change_key(ca, k->next, err);

	/* The same account, asked for by its new key. */
	if (ok && ca_account_look(ca, &account, &found, NULL) && found)
		snprintf(k->url, sizeof k->url, "%s", account.uri);
	ca_account_clear(&account);
	ca_free(ca);
	return ok;
}

/* The files are root's business, as their folder is root's; the key and the conversation with the CA are those of enrolld's user, who owns
 * the key. */
static bool key_change_as_owner(struct key_change *k, const struct stat *old, struct err *err)
{
	struct passwd pw, *found = NULL;
	char room[4096];
	gid_t gid = old->st_gid; /* may be root's */

	if (getpwuid_r(old->st_uid, &pw, room, sizeof room, &found) == 0 && found)
		gid = pw.pw_gid;
	return act_as(old->st_uid, gid, key_change, k, sizeof *k, err);
}

bool enroll_account_rotate(const struct config *config, const struct ca_config *ca_config, char url[1024], struct err *err)
{
	const char *path = ca_config->account_key;
	struct key_change change = {.ca_config = ca_config};
	struct err own = ERR_INIT;
	struct buf next = BUF_INIT;
	struct stat old;
	int folder = -1;
	bool ok = false;

	url[0] = '\0';
	if (!rotation_possible(config, ca_config, &old, err))
		return false;
	buf_printf(&next, "%s.next", path);
	if (next.failed) {
		err_nomem(err, ROTATE);
		goto out;
	}
	folder = folder_lock(path, err);
	if (folder < 0 || !next_ensure(config, ca_config, buf_str(&next), &old, err))
		goto out;
	change.next = buf_str(&next);
	if (key_change_as_owner(&change, &old, &own)) {
		ok = next_into_place(buf_str(&next), path, folder, err);
		snprintf(url, 1024, "%s", change.url);
	} else {
		next_forget_refused(buf_str(&next), &own);
		if (err)
			*err = own;
	}
out:
	if (folder >= 0)
		close(folder);
	buf_clear(&next);
	return ok;
}

/* ---- a certificate of another account ------------------------------------------------------------------------------ */

bool enroll_revoke_with_key(const struct ca_config *ca_config, const void *der, size_t len, const char *reason, EVP_PKEY *key, struct err *err)
{
	bool without_reason, ok;
	struct ca *ca;

	if (ca_config->driver != CA_DRIVER_ACME)
		return err_set(err, ERR_CONFIG, "revoke certificate", ca_config->name, "only a CA of driver \"acme\" can be asked by the certificate's own key");
	ca = ca_new(ca_config, err);
	ok = ca && ca_revoke_named(ca, der, len, reason, key, &without_reason, err);
	ca_free(ca);
	return ok;
}
