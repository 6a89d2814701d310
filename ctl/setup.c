/*
 * ctl/setup.c - init, backup, restore: the commands that work on files and store themselves, without enrolld.
 *
 * init is safe to repeat: what is there stays, what is missing is made.  Private keys come into being with their final owner and mode.
 * A backup is a folder: store.db, the configuration, the master certificate, and with --with-keys both keys.  Without the master key a store opens
 * nothing, so either take the keys along or keep copies of them elsewhere; the text printed at the end says so.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/pem.h>

#include "enroll/enroll.h"
#include "store/store.h"

#define FILE_MOST (1u << 20)

/* ---- small help --------------------------------------------------------------------------------------------------------------- */

static void say(const struct ctl *c, const char *fmt, ...) BASE_PRINTF(2, 3);
static void say(const struct ctl *c, const char *fmt, ...)
{
	va_list ap;

	if (c->json)
		return;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	fflush(stdout);
}

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static bool is_file(const char *where)
{
	return strncmp(where, "credential:", 11) != 0;
}

/* Hand a file to a service user. Not root: everything is one user's (a trial in one's own folder). */
static bool give(const char *path, const char *user, const char *group, unsigned mode, struct err *err)
{
	unsigned uid, gid;

	if (geteuid() == 0) {
		if (!user_ids(user, group, &uid, &gid, err))
			return false;
		if (chown(path, uid, gid) != 0)
			return err_errno(err, errno, "change owner", path);
	}
	return chmod(path, mode) == 0 || err_errno(err, errno, "change mode", path);
}

static bool make_folder(const char *path, const char *user, const char *group, unsigned mode, struct err *err)
{
	if (mkdir(path, 0700) != 0)
		return errno == EEXIST || err_errno(err, errno, "make folder", path);
	return give(path, user, group, mode, err);
}

/* A private key file never exists with another owner or mode than its last one: it is written beside, given, and renamed. */
static bool write_key(const char *path, const struct buf *pem, const char *user, const char *group, struct err *err)
{
	struct buf beside = BUF_INIT;
	bool ok;

	buf_printf(&beside, "%s.new", path);
	ok = beside.failed ? err_nomem(err, "write key") : file_write(beside.data, pem->data, pem->len, 0600, -1, err) && give(beside.data, user, group, 0600, err);
	if (ok && rename(beside.data, path) != 0)
		ok = err_errno(err, errno, "write key", path);
	if (!ok && beside.data)
		unlink(beside.data);
	buf_clear(&beside);
	return ok;
}

/* ---- init ------------------------------------------------------------------------------------------------------------------------ */

static bool init_master(struct ctl *c, const struct config *cfg, struct err *err)
{
	struct buf key = BUF_INIT, certificate = BUF_INIT;
	bool ok;

	if (!is_file(cfg->master_key) || exists(cfg->master_certificate)) {
		say(c, "master key: %s stays as it is\n", cfg->master_key);
		return true;
	}
	if (exists(cfg->master_key))
		return err_set(err, ERR_CONFIG, "make master key", cfg->master_key,
			"the key is there but its certificate %s is not; put the certificate back, or remove the key if nothing was ever wrapped for it",
			cfg->master_certificate);
	ok = keyvault_master_new(&key, &certificate, err) && write_key(cfg->master_key, &key, cfg->users.outbound, cfg->users.group, err) &&
		file_write(cfg->master_certificate, certificate.data, certificate.len, 0644, -1, err);
	buf_wipe(&key);
	buf_clear(&certificate);
	if (ok)
		say(c, "master key: made %s (0600, user %s); keep a copy in a safe place\n", cfg->master_key, cfg->users.outbound);
	return ok;
}

static bool create_store(void *arg, struct err *err)
{
	const struct config *cfg = arg;

	return store_create(&cfg->store, err);
}

static bool init_store(struct ctl *c, struct config *cfg, struct err *err)
{
	char *copy = str_dup(cfg->store.path);
	bool ok;

	if (!copy)
		return err_nomem(err, "make store");
	ok = make_folder(dirname(copy), cfg->users.enrolld, cfg->users.group, 02770, err) &&
		make_folder(cfg->milter.spool_directory, "root", cfg->users.group, 01770, err);
	free(copy);
	if (!ok)
		return false;
	if (exists(cfg->store.path)) {
		say(c, "store: %s stays as it is\n", cfg->store.path);
		return true;
	}
	ok = as_user(cfg->users.enrolld, cfg->users.group, create_store, cfg, err);
	if (ok)
		say(c, "store: made %s\n", cfg->store.path);
	return ok;
}

static bool init_account_key(struct ctl *c, const struct config *cfg, struct err *err)
{
	struct certificate_profile profile = {.key_type = cfg->ca.account_key_type};
	struct buf pem = BUF_INIT;
	EVP_PKEY *key;
	BIO *mem;
	char *data;
	long len;
	bool ok = false;

	if (!is_file(cfg->ca.account_key) || exists(cfg->ca.account_key)) {
		say(c, "account key: %s stays as it is\n", cfg->ca.account_key);
		return true;
	}
	key = profile_key_new(&profile, err);
	mem = key ? BIO_new(BIO_s_secmem()) : NULL;
	if (mem && PEM_write_bio_PKCS8PrivateKey(mem, key, NULL, NULL, 0, NULL, NULL) == 1 && (len = BIO_get_mem_data(mem, &data)) > 0) {
		buf_append(&pem, data, (size_t)len);
		ok = pem.failed ? err_nomem(err, "make account key") : write_key(cfg->ca.account_key, &pem, cfg->users.enrolld, cfg->users.group, err);
	} else if (key) {
		err_openssl(err, ERR_BUG, "make account key", cfg->ca.account_key);
	}
	buf_wipe(&pem);
	BIO_free(mem);
	EVP_PKEY_free(key);
	if (ok)
		say(c, "account key: made %s (0600, user %s)\n", cfg->ca.account_key, cfg->users.enrolld);
	return ok;
}

static bool register_account(void *arg, struct err *err)
{
	const struct ctl *c = arg;
	char url[1024];

	if (!enroll_account_init(c->config, url, err))
		return false;
	if (!c->json)
		printf("ACME account: %s\n", url);
	return true;
}

int ctl_init(struct ctl *c, int argc, char **argv)
{
	struct config *cfg;
	struct err err = ERR_INIT;

	(void)argv;
	if (argc)
		return ctl_usage(c, "init takes no argument");
	cfg = ctl_config(c);
	if (!cfg)
		return 1;
	if (!init_master(c, cfg, &err) || !init_store(c, cfg, &err))
		return ctl_fail(c, &err);
	if (!cfg->ca.directory_url || c->no_account) {
		say(c, "ACME account: not registered (%s)\n", c->no_account ? "--no-account" : "no ca in the configuration");
		return 0;
	}
	if (!init_account_key(c, cfg, &err) || !as_user(cfg->users.enrolld, cfg->users.group, register_account, c, &err))
		return ctl_fail(c, &err);
	return 0;
}

/* ---- copying files -------------------------------------------------------------------------------------------------------------------- */

static bool copy_bytes(int in, int out, const char *to, struct err *err)
{
	char piece[65536];
	ssize_t n, done, w;

	while ((n = read(in, piece, sizeof piece)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, errno, "copy file", to);
		for (done = 0; done < n; done += w) {
			w = write(out, piece + done, (size_t)(n - done));
			if (w < 0 && errno != EINTR)
				return err_errno(err, errno, "copy file", to);
			w = w < 0 ? 0 : w;
		}
	}
	explicit_bzero(piece, sizeof piece);
	return fsync(out) == 0 || err_errno(err, errno, "copy file", to);
}

/* Into a new file; an existing one is never overwritten. */
static bool copy_file(const char *from, const char *to, unsigned mode, struct err *err)
{
	int in = open(from, O_RDONLY | O_CLOEXEC), out;
	bool ok;

	if (in < 0)
		return err_errno(err, errno, "copy file", from);
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (out < 0) {
		ok = err_errno(err, errno, "copy file", to);
	} else {
		ok = copy_bytes(in, out, to, err);
		if (close(out) != 0 && ok)
			ok = err_errno(err, errno, "copy file", to);
		if (!ok)
			unlink(to);
	}
	close(in);
	return ok;
}

static bool path_in(struct buf *out, const char *folder, const char *name, struct err *err)
{
	buf_reset(out);
	buf_printf(out, "%s/%s", folder, name);
	return !out->failed || err_nomem(err, "name file");
}

/* ---- backup ------------------------------------------------------------------------------------------------------------------------------ */

struct store_copy {
	const struct config *config;
	const char *file;
};

static bool backup_store(void *arg, struct err *err)
{
	const struct store_copy *b = arg;
	struct store *store = store_open(&b->config->store, STORE_ROLE_ADMIN, err);
	bool ok = store && store_backup(store, b->file, err);

	store_close(store);
	return ok;
}

static bool backup_files(const struct ctl *c, const struct config *cfg, const char *folder, struct err *err)
{
	const struct {
		const char *from, *name;
		bool key;
	} files[] = {{cfg->path, "enroll-milter.conf", false}, {cfg->master_certificate, "master.pem", false}, {cfg->master_key, "master.key", true},
		{cfg->ca.account_key, "account.key", true}};
	struct buf to = BUF_INIT;
	bool ok = true;

	for (size_t i = 0; ok && i < sizeof files / sizeof *files; i++) {
		if (!files[i].from || !is_file(files[i].from) || (files[i].key && !c->with_keys) || !exists(files[i].from))
			continue;
		ok = path_in(&to, folder, files[i].name, err) && copy_file(files[i].from, to.data, 0600, err);
	}
	buf_clear(&to);
	return ok;
}

int ctl_backup(struct ctl *c, int argc, char **argv)
{
	struct config *cfg;
	struct err err = ERR_INIT;
	struct buf beside = BUF_INIT, to = BUF_INIT;
	struct store_copy copy;
	bool ok;

	if (argc != 1)
		return ctl_usage(c, "backup takes one new folder");
	cfg = ctl_config(c);
	if (!cfg)
		return 1;
	if (mkdir(argv[0], 0700) != 0) {
		err_errno(&err, errno, "make backup folder", argv[0]);
		return ctl_fail(c, &err);
	}
	/* The service user copies next to the store, where it may write; from there root takes it into the folder. */
	buf_printf(&beside, "%s.backup-%ld", cfg->store.path, (long)getpid());
	copy = (struct store_copy){cfg, buf_str(&beside)};
	ok = as_user(cfg->users.enrolld, cfg->users.group, backup_store, &copy, &err) && path_in(&to, argv[0], "store.db", &err) &&
		copy_file(buf_str(&beside), to.data, 0600, &err) && backup_files(c, cfg, argv[0], &err);
	unlink(buf_str(&beside));
	buf_clear(&beside);
	buf_clear(&to);
	if (!ok)
		return ctl_fail(c, &err);
	say(c, "backup written to %s\n%s", argv[0],
		c->with_keys ? "It holds the master key: whoever has this folder can sign as every user. Keep it locked away.\n"
			     : "It holds no private key in clear. Without a copy of the master key its user keys cannot be opened: keep one elsewhere.\n");
	return 0;
}

/* ---- restore -------------------------------------------------------------------------------------------------------------------------------- */

static bool restore_store(void *arg, struct err *err)
{
	const struct store_copy *r = arg;

	return store_restore(&r->config->store, r->file, err);
}

static bool restore_key(const struct ctl *c, const char *folder, const char *name, const char *where, const char *user, struct err *err)
{
	const struct config *cfg = c->config;
	struct buf from = BUF_INIT, pem = BUF_INIT;
	bool ok = path_in(&from, folder, name, err);

	if (ok && where && is_file(where) && exists(from.data) && !exists(where)) {
		ok = file_read(&pem, from.data, FILE_MOST, err) && write_key(where, &pem, user, cfg->users.group, err);
		if (ok)
			say(c, "restored %s\n", where);
	}
	buf_wipe(&pem);
	buf_clear(&from);
	return ok;
}

static bool restore_certificate(const struct ctl *c, const char *folder, struct err *err)
{
	struct buf from = BUF_INIT;
	bool ok = path_in(&from, folder, "master.pem", err);

	if (ok && exists(from.data) && !exists(c->config->master_certificate))
		ok = copy_file(from.data, c->config->master_certificate, 0644, err);
	buf_clear(&from);
	return ok;
}

static bool restore_into(struct ctl *c, const char *folder, struct err *err)
{
	struct config *cfg = c->config;
	struct buf from = BUF_INIT, beside = BUF_INIT;
	struct store_copy copy = {.config = cfg};
	char *path = str_dup(cfg->store.path);
	bool ok = path && path_in(&from, folder, "store.db", err);

	if (ok && exists(cfg->store.path))
		ok = err_set(err, ERR_CONFIG, "restore", cfg->store.path, "a store is there already; move it away first if it is to be replaced");
	ok = ok && make_folder(dirname(path), cfg->users.enrolld, cfg->users.group, 02770, err) &&
		make_folder(cfg->milter.spool_directory, "root", cfg->users.group, 01770, err);
	buf_printf(&beside, "%s.restore-%ld", cfg->store.path, (long)getpid());
	copy.file = buf_str(&beside);
	ok = ok && copy_file(from.data, copy.file, 0600, err) && give(copy.file, cfg->users.enrolld, cfg->users.group, 0600, err) &&
		as_user(cfg->users.enrolld, cfg->users.group, restore_store, &copy, err);
	unlink(copy.file);
	buf_clear(&from);
	buf_clear(&beside);
	free(path);
	return ok && restore_certificate(c, folder, err) && restore_key(c, folder, "master.key", cfg->master_key, cfg->users.outbound, err) &&
		restore_key(c, folder, "account.key", cfg->ca.account_key, cfg->users.enrolld, err);
}

int ctl_restore(struct ctl *c, int argc, char **argv)
{
	struct err err = ERR_INIT;

	if (argc != 1)
		return ctl_usage(c, "restore takes the folder of a backup");
	if (!ctl_config(c))
		return 1;
	if (!restore_into(c, argv[0], &err))
		return ctl_fail(c, &err);
	say(c, "restored %s\n%s", c->config->store.path,
		exists(c->config->master_key) || !is_file(c->config->master_key)
			? "start the services: signing goes on\n"
			: "the master key is missing: put your copy in its place before starting the services\n");
	return 0;
}
