/*
 * enroll/account.c - `enrollctl init`'s part: the account key and the account at the CA.
 *
 * A key that is there is never replaced: the CA knows the account by it, and every open order depends on it.
 */
#include "config.h"

#include "enroll/enroll.h"

#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enroll/ca.h"
#include "enroll/jws.h"

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

static bool key_make(const struct config *config, struct err *err)
{
	const char *type = config->ca.account_key_type ? config->ca.account_key_type : "ec:p256";
	struct buf pem = BUF_INIT;
	bool ok;

	ok = jws_key_generate(type, &pem, err) && file_write(config->ca.account_key, pem.data, pem.len, 0600, -1, err) &&
	     key_give(config->ca.account_key, config->users.enrolld, err);
	buf_wipe(&pem);
	return ok;
}

static bool key_ensure(const struct config *config, struct err *err)
{
	const char *where = config->ca.account_key;
	struct stat st;

	if (!where)
		return err_set(err, ERR_CONFIG, "make account key", "ca.account-key", "ca.account-key is not set");
	/* A credential is systemd's to bring; if it is missing, loading it says so. */
	if (strncmp(where, "credential:", 11) == 0 || lstat(where, &st) == 0)
		return true;
	if (errno != ENOENT)
		return err_errno(err, errno, "make account key", where);
	return key_make(config, err);
}

bool enroll_account_init(const struct config *config, char url[1024], struct err *err)
{
	struct ca_info info = {0};
	struct ca *ca = NULL;
	bool ok;

	url[0] = '\0';
	if (config->ca.driver == CA_DRIVER_EXEC)
		return true; /* the program has whatever account there is */
	ok = key_ensure(config, err) && (ca = ca_new(&config->ca, err)) != NULL && ca_prepare(ca, &info, err);
	if (ok)
		snprintf(url, 1024, "%s", info.account_uri);
	ca_info_clear(&info);
	ca_free(ca);
	return ok;
}
