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
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/pem.h>

#include "enroll/enroll.h"
#include "store/store.h"

#define FILE_MOST (1u << 20)

/* ---- small help --------------------------------------------------------------------------------------------------------------- */

void ctl_say(struct ctl *c, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (c->json) {
		if (!c->done)
			c->done = json_array();
		json_array_append_new(c->done, json_string(text));
	} else {
		puts(text);
		fflush(stdout);
	}
}

int ctl_done(struct ctl *c)
{
	json_t *o;

	if (c->json && (o = json_pack("{s:b, s:O*}", "ok", 1, "done", c->done))) {
		ctl_print_json(c, o);
		json_decref(o);
	}
	json_decref(c->done);
	c->done = NULL;
	return 0;
}

int ctl_not_done(struct ctl *c, const struct err *err)
{
	json_decref(c->done);
	c->done = NULL;
	return ctl_fail(c, err);
}

void ctl_actor(char *out, size_t size)
{
	const struct passwd *pw = getpwuid(getuid());
	const char *before = getenv("SUDO_USER");
	bool told = before && *before && strspn(before, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == strlen(before);

	snprintf(out, size, "admin:%s%s%.32s%s", pw ? pw->pw_name : "?", told ? " (" : "", told ? before : "", told ? ")" : "");
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

/* -1 when we are not root: then everything is one user's. */
static bool service_ids(const char *user, const char *group, long *uid, long *gid, struct err *err)
{
	unsigned u, g;

	*uid = *gid = -1;
	if (geteuid() != 0)
		return true;
	if (!user_ids(user, group, &u, &g, err))
		return false;
	*uid = u;
	*gid = g;
	return true;
}

static bool write_to(int fd, const struct buf *b, long uid, long gid)
{
	return (uid < 0 || fchown(fd, (uid_t)uid, (gid_t)gid) == 0) && write(fd, b->data, b->len) == (ssize_t)b->len && fsync(fd) == 0;
}

/* A private key file never exists with another owner or mode than its last one: it is written beside, as a new file, and renamed. */
bool ctl_write_key(const char *path, const struct buf *pem, const char *user, const char *group, struct err *err)
{
	struct buf beside = BUF_INIT;
	long uid = -1, gid = -1;
	int fd = -1;
	bool ok;

	buf_printf(&beside, "%s.new", path);
	ok = beside.failed ? err_nomem(err, "write key") : service_ids(user, group, &uid, &gid, err);
	if (ok) {
		unlink(beside.data); /* left by an init that was killed */
		fd = open(beside.data, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		ok = (fd >= 0 && write_to(fd, pem, uid, gid)) || err_errno(err, errno, "write key", beside.data);
	}
	if (fd >= 0)
		close(fd);
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
		ctl_say(c, "master key: %s stays as it is", cfg->master_key);
		return true;
	}
	if (exists(cfg->master_key))
		return err_set(err, ERR_CONFIG, "make master key", cfg->master_key,
			"the key is there but its certificate %s is not; put the certificate back, or remove the key if nothing was ever wrapped for it",
			cfg->master_certificate);
	ok = keyvault_master_new(&key, &certificate, err) && ctl_write_key(cfg->master_key, &key, cfg->users.outbound, cfg->users.group, err) &&
		file_write(cfg->master_certificate, certificate.data, certificate.len, 0644, -1, err);
	buf_wipe(&key);
	buf_clear(&certificate);
	if (ok)
		ctl_say(c, "master key: made %s (0600, user %s); keep a copy in a safe place", cfg->master_key, cfg->users.outbound);
	return ok;
}

static bool create_store(void *arg, struct err *err)
{
	const struct config *cfg = arg;

	return store_create(&cfg->store, err);
}

static bool store_is_there(const struct store_settings *s)
{
	struct store_look look;

	return store_is_file(s) ? exists(s->path) : store_look(s, false, &look, NULL);
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
	if (store_is_there(&cfg->store)) {
		ctl_say(c, "store: %s stays as it is", store_where(&cfg->store));
		return true;
	}
	/* In a database it is made by who owns its tables; a file by who works with it. */
	ok = store_is_file(&cfg->store) ? as_user(cfg->users.enrolld, cfg->users.group, create_store, cfg, err) : create_store(cfg, err);
	if (ok)
		ctl_say(c, "store: made %s", store_where(&cfg->store));
	return ok;
}

static bool init_account_key(struct ctl *c, const struct config *cfg, const struct ca_config *ca, struct err *err)
{
	struct certificate_profile profile = {.key_type = ca->account_key_type};
	struct buf pem = BUF_INIT;
	EVP_PKEY *key;
	BIO *mem;
	char *data;
	long len;
	bool ok = false;

	if (!is_file(ca->account_key) || exists(ca->account_key)) {
		ctl_say(c, "account key: %s stays as it is", ca->account_key);
		return true;
	}
	key = profile_key_new(&profile, err);
	mem = key ? BIO_new(BIO_s_secmem()) : NULL;
	if (mem && PEM_write_bio_PKCS8PrivateKey(mem, key, NULL, NULL, 0, NULL, NULL) == 1 && (len = BIO_get_mem_data(mem, &data)) > 0) {
		buf_append(&pem, data, (size_t)len);
		ok = pem.failed ? err_nomem(err, "make account key") : ctl_write_key(ca->account_key, &pem, cfg->users.enrolld, cfg->users.group, err);
	} else if (key) {
		err_openssl(err, ERR_BUG, "make account key", ca->account_key);
	}
	buf_wipe(&pem);
	BIO_free(mem);
	EVP_PKEY_free(key);
	if (ok)
		ctl_say(c, "account key: made %s (0600, user %s)", ca->account_key, cfg->users.enrolld);
	return ok;
}

/* What the child that registers has to tell: it runs as another user, in memory that is shared. */
struct registration {
	const struct config *config;
	const struct ca_config *ca;
	char *url;
};
#define URL_MOST 1024

static bool register_account(void *arg, struct err *err)
{
	const struct registration *r = arg;

	return enroll_account_init(r->config, r->ca, r->url, err);
}

bool ctl_account_ensure(struct ctl *c, const struct ca_config *ca, struct err *err)
{
	const struct config *cfg = c->config;
	struct registration r = {.config = cfg, .ca = ca};
	bool ok;

	r.url = mmap(NULL, URL_MOST, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r.url == MAP_FAILED)
		return err_errno(err, errno, "register account", NULL);
	ok = init_account_key(c, cfg, ca, err) && as_user(cfg->users.enrolld, cfg->users.group, register_account, &r, err);
	if (ok)
		ctl_say(c, "ACME account: %.1000s", r.url);
	munmap(r.url, URL_MOST);
	return ok;
}

static bool init_account(struct ctl *c, const struct ca_config *ca, struct err *err)
{
	if (ca->directory_url && !c->no_account)
		return ctl_account_ensure(c, ca, err);
	ctl_say(c, "ACME account: not registered (%s)",
		c->no_account			  ? "--no-account"
		: ca->driver == CA_DRIVER_EXEC ? "the CA is a program, ca.driver = \"exec\""
						  : "no ca in the configuration");
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
		return ctl_not_done(c, &err);
	for (size_t i = 0; i < config_cas(cfg); i++)
		if (!init_account(c, config_ca_at(cfg, i), &err))
			return ctl_not_done(c, &err);
	return ctl_done(c);
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

/* Root reads and writes in a folder that service users own: what is opened must be a plain file, and the one that was meant, not where a link of
 * theirs leads. */
static int open_plain(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0) {
		err_errno(err, errno, "copy file", path);
	} else if (!S_ISREG(st.st_mode) || st.st_nlink != 1) {
		err_set(err, ERR_CONFIG, "copy file", path, "it is not a plain file of its own (a link, a pipe?): it is not touched");
	} else {
		return fd;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Into a new file with its final mode and owner (uid -1: ours); an existing one is never overwritten. */
static bool copy_file(const char *from, const char *to, unsigned mode, long uid, long gid, struct err *err)
{
	int in = open_plain(from, err), out;
	bool ok;

	if (in < 0)
		return false;
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0) {
		ok = err_errno(err, errno, "copy file", to);
	} else {
		ok = ((uid < 0 || fchown(out, (uid_t)uid, (gid_t)gid) == 0) && fchmod(out, mode) == 0) || err_errno(err, errno, "copy file", to);
		ok = ok && copy_bytes(in, out, to, err);
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

	return store_backup(&b->config->store, b->file, err);
}

/* Account keys in a backup: account.key, and account-NAME.key for each of `cas`. */
static const char *account_key_name(const struct config *cfg, size_t i, char name[300])
{
	if (i == 0)
		snprintf(name, 300, "account.key");
	else
		snprintf(name, 300, "account-%s.key", config_ca_at(cfg, i)->name);
	return name;
}

static bool backup_file(const char *from, const char *folder, const char *name, struct err *err)
{
	struct buf to = BUF_INIT;
	bool ok = !from || !is_file(from) || !exists(from) ||
		  (path_in(&to, folder, name, err) && copy_file(from, to.data, 0600, -1, -1, err));

	buf_clear(&to);
	return ok;
}

static bool backup_files(const struct ctl *c, const struct config *cfg, const char *folder, struct err *err)
{
	char name[300];
	bool ok = backup_file(cfg->path, folder, "enroll-milter.conf", err) && backup_file(cfg->master_certificate, folder, "master.pem", err);

	if (!c->with_keys)
		return ok;
	ok = ok && backup_file(cfg->master_key, folder, "master.key", err);
	for (size_t i = 0; ok && i < config_cas(cfg); i++)
		ok = backup_file(config_ca_at(cfg, i)->account_key, folder, account_key_name(cfg, i, name), err);
	return ok;
}

/* Half a backup is none: the next try must not find its folder taken. */
static void discard_backup(const struct config *cfg, const char *folder)
{
	static const char *const names[] = {"store.db", "enroll-milter.conf", "master.pem", "master.key"};
	struct buf path = BUF_INIT;
	char name[300];

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (path_in(&path, folder, names[i], NULL))
			unlink(path.data);
	for (size_t i = 0; i < config_cas(cfg); i++)
		if (path_in(&path, folder, account_key_name(cfg, i, name), NULL))
			unlink(path.data);
	rmdir(folder);
	buf_clear(&path);
}

/* Between two master keys a backup would need both. */
static bool no_rotation(const struct config *cfg, struct err *err)
{
	struct buf next = BUF_INIT;
	bool ok;

	buf_printf(&next, "%s" KEYRING_NEXT, cfg->master_certificate);
	ok = next.failed ? err_nomem(err, "back up")
		: !exists(next.data) || err_set(err, ERR_TEMPORARY, "back up", next.data,
			"a rotation of the master key is under way: `enrollctl masterkey rotate` ends it");
	buf_clear(&next);
	return ok;
}

/* And none begins while it is made: the lock that a rotation takes, shared with other backups.  *fd -1 where there is no such folder. */
static bool rotation_lock(const struct config *cfg, int *fd, struct err *err)
{
	char *copy = is_file(cfg->master_key) ? str_dup(cfg->master_key) : NULL;

	*fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	free(copy);
	if (*fd < 0 || flock(*fd, LOCK_SH | LOCK_NB) == 0)
		return true;
	close(*fd);
	return err_set(err, ERR_TEMPORARY, "back up", cfg->master_key, "a rotation of the master key is at work: try again when it has ended");
}

static void rotation_unlock(int fd)
{
	if (fd >= 0)
		close(fd);
}

int ctl_backup(struct ctl *c, int argc, char **argv)
{
	struct config *cfg;
	struct err err = ERR_INIT;
	struct buf beside = BUF_INIT, to = BUF_INIT;
	struct store_copy copy;
	int lock;
	bool ok;

	if (argc != 1)
		return ctl_usage(c, "backup takes one new folder");
	cfg = ctl_config(c);
	if (!cfg)
		return 1;
	if (!rotation_lock(cfg, &lock, &err))
		return ctl_not_done(c, &err);
	if (!no_rotation(cfg, &err) || (mkdir(argv[0], 0700) != 0 && !err_errno(&err, errno, "make backup folder", argv[0]))) {
		rotation_unlock(lock);
		return ctl_not_done(c, &err);
	}
	/* The service user copies next to the store, where it may write; from there root takes it into the folder. */
	buf_printf(&beside, "%s.backup-%ld", cfg->store.path, (long)getpid());
	copy = (struct store_copy){cfg, buf_str(&beside)};
	ok = !store_is_file(&cfg->store) ||
	     (as_user(cfg->users.enrolld, cfg->users.group, backup_store, &copy, &err) && path_in(&to, argv[0], "store.db", &err) &&
		     copy_file(buf_str(&beside), to.data, 0600, -1, -1, &err));
	ok = ok && backup_files(c, cfg, argv[0], &err);
	unlink(buf_str(&beside));
	rotation_unlock(lock);
	buf_clear(&beside);
	buf_clear(&to);
	if (!ok) {
		discard_backup(cfg, argv[0]);
		return ctl_not_done(c, &err);
	}
	ctl_say(c, "backup written to %s", argv[0]);
	if (!store_is_file(&cfg->store))
		ctl_say(c, "The store is in PostgreSQL and is backed up with its means, as: pg_dump --format=custom --schema=enroll");
	ctl_say(c, "%s", c->with_keys ? "It holds the master key: whoever has this folder can sign as every user. Keep it locked away."
				  : "It holds no private key in clear. Without copies of the master key and the account key its user keys cannot be opened and its open "
				    "orders not continued: keep both elsewhere.");
	return ctl_done(c);
}

/* ---- restore -------------------------------------------------------------------------------------------------------------------------------- */

static bool restore_store(void *arg, struct err *err)
{
	const struct store_copy *r = arg;

	return store_restore(&r->config->store, r->file, err);
}

static bool restore_key(struct ctl *c, const char *folder, const char *name, const char *where, const char *user, struct err *err)
{
	const struct config *cfg = c->config;
	struct buf from = BUF_INIT, pem = BUF_INIT;
	bool ok = path_in(&from, folder, name, err);

	if (ok && where && is_file(where) && exists(from.data) && !exists(where)) {
		ok = file_read(&pem, from.data, FILE_MOST, err) && ctl_write_key(where, &pem, user, cfg->users.group, err);
		if (ok)
			ctl_say(c, "restored %s", where);
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
		ok = copy_file(from.data, c->config->master_certificate, 0644, -1, -1, err);
	buf_clear(&from);
	return ok;
}

static bool restore_into(struct ctl *c, const char *folder, struct err *err)
{
	struct config *cfg = c->config;
	struct buf from = BUF_INIT, beside = BUF_INIT;
	char name[300];
	struct store_copy copy = {.config = cfg};
	char *path = str_dup(cfg->store.path);
	long uid = -1, gid = -1;
	bool file = store_is_file(&cfg->store), ok = path && path_in(&from, folder, "store.db", err);

	if (ok && file && exists(cfg->store.path))
		ok = err_set(err, ERR_CONFIG, "restore", cfg->store.path, "a store is there already; move it away first if it is to be replaced");
	ok = ok && make_folder(dirname(path), cfg->users.enrolld, cfg->users.group, 02770, err) &&
		make_folder(cfg->milter.spool_directory, "root", cfg->users.group, 01770, err);
	buf_printf(&beside, "%s.restore-%ld", cfg->store.path, (long)getpid());
	copy.file = buf_str(&beside);
	ok = ok && (!file || (service_ids(cfg->users.enrolld, cfg->users.group, &uid, &gid, err) && copy_file(from.data, copy.file, 0600, uid, gid, err) &&
				as_user(cfg->users.enrolld, cfg->users.group, restore_store, &copy, err)));
	unlink(copy.file);
	buf_clear(&from);
	buf_clear(&beside);
	free(path);
	ok = ok && restore_certificate(c, folder, err) && restore_key(c, folder, "master.key", cfg->master_key, cfg->users.outbound, err);
	for (size_t i = 0; ok && i < config_cas(cfg); i++)
		ok = restore_key(c, folder, account_key_name(cfg, i, name), config_ca_at(cfg, i)->account_key, cfg->users.enrolld, err);
	return ok;
}

static bool is_missing(const char *where)
{
	return where && is_file(where) && !exists(where);
}

/* What has to be put back by hand before the services can start. */
static void say_missing(struct ctl *c)
{
	const struct config *cfg = c->config;
	bool all = true;

	if (is_missing(cfg->master_key)) {
		ctl_say(c, "the master key is missing: put your copy to %s (owner %s, mode 0600)", cfg->master_key, cfg->users.outbound);
		all = false;
	}
	if (is_missing(cfg->master_certificate)) {
		ctl_say(c, "the master certificate is missing: put your copy to %s", cfg->master_certificate);
		all = false;
	}
	for (size_t i = 0; i < config_cas(cfg); i++) {
		const struct ca_config *ca = config_ca_at(cfg, i);

		if (!ca->directory_url || !is_missing(ca->account_key))
			continue;
		ctl_say(c, "the account key is missing: put your copy to %s (owner %s, mode 0600); without one, `enrollctl init` registers a new account, and orders "
		       "under way begin anew",
			ca->account_key, cfg->users.enrolld);
		all = false;
	}
	ctl_say(c, all ? "start the services: signing goes on" : "then start the services: signing goes on");
	ctl_say(c, "passwords and other secrets in files of their own are not part of a backup");
}

int ctl_restore(struct ctl *c, int argc, char **argv)
{
	struct err err = ERR_INIT;

	if (argc != 1)
		return ctl_usage(c, "restore takes the folder of a backup");
	if (!ctl_config(c))
		return 1;
	if (!restore_into(c, argv[0], &err))
		return ctl_not_done(c, &err);
	if (store_is_file(&c->config->store))
		ctl_say(c, "restored %s", c->config->store.path);
	else
		ctl_say(c, "The store is in PostgreSQL and is brought back with its means, as: pg_restore --clean --if-exists; then `enrollctl store check`");
	say_missing(c);
	return ctl_done(c);
}
