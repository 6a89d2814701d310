/*
 * ctl/export.c - a user's key as a PKCS#12 file, for a telephone or an archive; and certificates, which are public, as PEM.
 *
 * A key leaves the vault in a child process that is the outbound instance's user, as that one alone may read the master key; what comes back to root is
 * the encrypted file.  The history knows of it before (store_key_export).  The password is shown once, on a terminal, or comes from a file.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>

#include "store/store.h"

/* As OWASP has it for PBKDF2 with SHA-256 (2023), and what Windows takes at most; OpenSSL, NSS and GnuPG take more. */
#define ITERATIONS 600000
#define ITERATIONS_LEGACY 100000
#define FILES_MOST 100
#define P12_MOST 49152
#define PASSWORD_LEAST 8
#define PASSWORD_GROUPS 5
#define PASSWORD_SIZE (6 * PASSWORD_GROUPS)

/* What comes back from the child, in memory that is shared. */
struct export_file {
	char serial[80], status[16], until[32];
	size_t len;
	unsigned char p12[P12_MOST];
};
struct export_files {
	size_t n;
	struct export_file v[FILES_MOST];
};

struct export_job {
	const struct ctl *c;
	const char *address, *password, *to;
	char actor[80];
	struct keyring ring;
	struct store *store;
	struct export_files *out;
};

/* ---- in the child: from the vault to PKCS#12 ----------------------------------------------------------------------------- */

static STACK_OF(X509) *chain_of(const struct store_certificate *c)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	BIO *in = BIO_new_mem_buf(c->chain_len ? (const void *)c->chain : "", (int)c->chain_len);
	X509 *x;

	while (chain && in && (x = PEM_read_bio_X509(in, NULL, NULL, NULL)))
		if (sk_X509_push(chain, x) <= 0)
			X509_free(x);
	BIO_free(in);
	ERR_clear_error();
	return chain;
}

static PKCS12 *pack(const struct export_job *j, EVP_PKEY *key, X509 *leaf, STACK_OF(X509) *chain)
{
	bool legacy = j->c->legacy_format;
	int cipher = legacy ? NID_pbe_WithSHA1And3_Key_TripleDES_CBC : NID_aes_256_cbc, iterations = legacy ? ITERATIONS_LEGACY : ITERATIONS;
	PKCS12 *p12 = PKCS12_create(j->password, j->address, key, leaf, chain, cipher, cipher, iterations, -1, 0);

	if (p12 && PKCS12_set_mac(p12, j->password, -1, NULL, 0, iterations, legacy ? EVP_sha1() : EVP_sha256()) == 1)
		return p12;
	PKCS12_free(p12);
	return NULL;
}

static bool put_file(const struct export_job *j, const struct store_certificate *c, EVP_PKEY *key, struct export_file *f, struct err *err)
{
	const unsigned char *p = c->der;
	unsigned char *at = f->p12;
	X509 *leaf = d2i_X509(NULL, &p, (long)c->der_len);
	STACK_OF(X509) *chain = chain_of(c);
	PKCS12 *p12 = leaf && chain ? pack(j, key, leaf, chain) : NULL;
	int len = p12 ? i2d_PKCS12(p12, NULL) : 0;
	bool ok = len > 0 && len <= P12_MOST && i2d_PKCS12(p12, &at) == len;

	f->len = ok ? (size_t)len : 0;
	snprintf(f->serial, sizeof f->serial, "%s", c->serial);
	snprintf(f->status, sizeof f->status, "%s", c->status);
	time_text(c->not_after, f->until);
	if (!ok)
		err_openssl(err, ERR_BUG, "make PKCS#12", j->address);
	PKCS12_free(p12);
	sk_X509_pop_free(chain, X509_free);
	X509_free(leaf);
	return ok;
}

static bool export_one(struct export_job *j, const struct store_certificate *c, struct err *err)
{
	unsigned char *wrapped = NULL;
	char text[1200];
	size_t len = 0;
	const struct keyring_pair *pair;
	EVP_PKEY *key;
	bool ok;

	snprintf(text, sizeof text, "key of certificate %s (SHA-256 %s) as PKCS#12%s to %.900s", c->serial, c->fingerprint,
		j->c->legacy_format ? " in the legacy format" : "", j->to);
	if (!store_key_export(j->store, c->id, j->actor, text, &wrapped, &len, err))
		return false;
	pair = keyring_for(&j->ring, wrapped, len);
	pair = pair ? pair : &j->ring.v[0]; /* says what is wrong */
	key = keyvault_unwrap(wrapped, len, pair->certificate, pair->key, err);
	ok = key && put_file(j, c, key, &j->out->v[j->out->n], err);
	j->out->n += ok;
	EVP_PKEY_free(key);
	OPENSSL_cleanse(wrapped, len);
	free(wrapped);
	return ok;
}

static bool hex_is(const char *given, const char *ours)
{
	while (*given == '0')
		given++;
	while (*ours == '0')
		ours++;
	return strcasecmp(given, ours) == 0;
}

static bool chosen(const struct ctl *c, const struct store_certificate *one)
{
	return c->serial ? hex_is(c->serial, one->serial) || strcasecmp(c->serial, one->fingerprint) == 0
			 : c->all || strcmp(one->status, "active") == 0;
}

/* How many are meant; a single file takes one. */
static bool choose(const struct export_job *j, const struct store_certificate_list *l, size_t *n, struct err *err)
{
	const struct ctl *c = j->c;

	*n = 0;
	for (size_t i = 0; i < l->n; i++)
		*n += chosen(c, &l->v[i]);
	if (*n == 0)
		return err_set(err, ERR_POLICY, "export key", j->address, "%s", c->serial ? "this address has no certificate of this number here"
			: l->n && !c->all ? "this address has no active certificate: name an old one by --serial, or take --all"
			: "this address has no certificate here");
	if (*n > FILES_MOST)
		return err_set(err, ERR_POLICY, "export key", j->address, "it has %zu certificates: name one by --serial", *n);
	return c->all || *n == 1 || err_set(err, ERR_POLICY, "export key", j->address,
		"it has %zu active certificates, one to sign with and one to be encrypted to: name one by --serial, or take --all, which makes a folder", *n);
}

static bool open_vault(struct export_job *j, struct err *err)
{
	const struct config *cfg = j->c->config;

	j->store = admin_store_open(cfg, err);
	return j->store && keyring_load(&j->ring, cfg->master_certificate, cfg->master_key, err) &&
		keyring_is_of(j->store, &j->ring, cfg->master_certificate, err);
}

static bool export_all(void *arg, struct err *err)
{
	struct export_job *j = arg;
	struct store_certificate_list l = {0};
	size_t n;
	bool ok;

#ifndef BUILT_WITH_SANITIZERS
	CRYPTO_secure_malloc_init(1 << 20, 32);
#endif
	ok = open_vault(j, err) && store_certificates_for(j->store, j->address, &l, err) && choose(j, &l, &n, err);
	for (size_t i = 0; ok && i < l.n; i++)
		if (chosen(j->c, &l.v[i]))
			ok = export_one(j, &l.v[i], err);
	store_certificate_list_clear(&l);
	store_close(j->store);
	keyring_clear(&j->ring);
	return ok;
}

/* ---- the password ---------------------------------------------------------------------------------------------------------- */

/* 25 letters and digits that look like no others, in groups: more than 120 bits. */
static void password_new(char out[PASSWORD_SIZE])
{
	static const char letters[] = "abcdefghjkmnpqrstuvwxyz23456789";
	char *p = out;

	for (int i = 0; i < 5 * PASSWORD_GROUPS; i++) {
		if (i && i % 5 == 0)
			*p++ = '-';
		*p++ = letters[random_below(sizeof letters - 1)];
	}
	*p = '\0';
}

static bool password_read(const char *file, struct buf *out, struct err *err)
{
	if (!secret_read(out, file, true, err))
		return false;
	for (size_t i = 0; i < out->len; i++)
		if ((unsigned char)out->data[i] < 0x20 || (unsigned char)out->data[i] > 0x7e)
			return err_set(err, ERR_CONFIG, "read password", file, "only ASCII letters, digits and signs: mail programs do not agree about others");
	return out->len >= PASSWORD_LEAST || err_set(err, ERR_CONFIG, "read password", file, "a password of less than %d characters protects no key", PASSWORD_LEAST);
}

static bool password_choose(const struct ctl *c, struct buf *out, struct err *err)
{
	char fresh[PASSWORD_SIZE];

	if (c->password_file)
		return password_read(c->password_file, out, err);
	if (c->json || !isatty(STDOUT_FILENO))
		return err_set(err, ERR_CONFIG, "export key", NULL,
			"a password is made and shown once on a terminal, and this is none: name a file that has one, by --password-file");
	password_new(fresh);
	buf_puts(out, fresh);
	explicit_bzero(fresh, sizeof fresh);
	return !out->failed || err_nomem(err, "export key");
}

/* ---- files: a name is there only with all that belongs under it, however this ends ------------------------------------------- */

static bool write_file(const char *path, const struct export_file *f, struct err *err)
{
	if (!f->serial[0] || f->serial[strspn(f->serial, "0123456789ABCDEFabcdef")] || f->len > sizeof f->p12)
		return err_set(err, ERR_BUG, "write key", path, "the serial number in the store is none");
	return file_create(path, f->p12, f->len, 0600, err);
}

static bool file_name(struct buf *out, const char *folder, const struct export_file *f, struct err *err)
{
	buf_reset(out);
	buf_printf(out, "%s/%s.p12", folder, f->serial);
	return !out->failed || err_nomem(err, "write key");
}

static bool fill_folder(const char *folder, const struct export_files *files, struct err *err)
{
	struct buf path = BUF_INIT;
	bool ok = true;

	for (size_t i = 0; ok && i < files->n; i++)
		ok = file_name(&path, folder, &files->v[i], err) && write_file(path.data, &files->v[i], err);
	buf_clear(&path);
	return ok;
}

static void remove_folder(const char *folder, const struct export_files *files)
{
	struct buf path = BUF_INIT;

	for (size_t i = 0; i < files->n; i++)
		if (file_name(&path, folder, &files->v[i], NULL))
			unlink(path.data);
	rmdir(folder);
	buf_clear(&path);
}

static bool write_folder(const char *to, const struct export_files *files, struct err *err)
{
	struct buf name = BUF_INIT;
	size_t len = strlen(to);
	bool ok = false;

	while (len > 1 && to[len - 1] == '/') /* beside it, not in it */
		len--;
	buf_printf(&name, "%.*s.new-XXXXXX", (int)len, to);
	if (name.failed)
		return err_nomem(err, "write key");
	if (!mkdtemp(name.data)) { /* 0700 */
		err_errno(err, errno, "make folder", to);
	} else {
		ok = fill_folder(name.data, files, err) && file_settle(name.data, to, err);
		if (!ok)
			remove_folder(name.data, files);
	}
	buf_clear(&name);
	return ok;
}

static bool write_files(struct ctl *c, const char *to, const struct export_files *files, struct err *err)
{
	bool ok = c->all ? write_folder(to, files, err) : write_file(to, &files->v[0], err);

	for (size_t i = 0; ok && i < files->n; i++) {
		const struct export_file *f = &files->v[i];

		ctl_say(c, "%s%s%s%s: key and certificate %s (%s, until %s)", to, c->all ? "/" : "", c->all ? f->serial : "", c->all ? ".p12" : "", f->serial, f->status,
			f->until);
	}
	return ok;
}

/* ---- export --pkcs12 ------------------------------------------------------------------------------------------------------- */

/* Before anything is written about it: may it be, and can the file be made? */
static bool may_export(const struct ctl *c, const char *address, const char *to, struct err *err)
{
	struct address parsed;
	struct stat st;

	if (c->config->export != EXPORT_KEYS)
		return err_set(err, ERR_POLICY, "export key", address, "the configuration does not allow it: export = \"none\"; \"keys\" does");
	if (!address_parse(&parsed, address, err))
		return false;
	return lstat(to, &st) != 0 || err_set(err, ERR_CONFIG, "export key", to, "is there already, and is not overwritten: choose another name");
}

static bool run_export(struct ctl *c, const char *address, const char *password, struct err *err)
{
	struct export_job j = {.c = c, .address = address, .password = password, .to = c->pkcs12};
	bool ok;

	ctl_actor(j.actor, sizeof j.actor);
	j.out = mmap(NULL, sizeof *j.out, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (j.out == MAP_FAILED)
		return err_errno(err, errno, "export key", address);
	ok = as_store_user(c->config, c->config->users.outbound, export_all, &j, err);
	/* Before the first file: none is ever there whose password nobody has seen. */
	if (ok && !c->password_file) {
		printf("password, shown this once: %s\n", password);
		fflush(stdout);
	}
	ok = ok && write_files(c, c->pkcs12, j.out, err);
	munmap(j.out, sizeof *j.out);
	return ok;
}

static int export_keys(struct ctl *c, const char *address)
{
	struct buf password = BUF_INIT;
	struct err err = ERR_INIT;
	bool ok = may_export(c, address, c->pkcs12, &err) && password_choose(c, &password, &err) && run_export(c, address, buf_str(&password), &err);

	if (ok && c->legacy_format)
		ctl_say(c, "warning: Triple DES and SHA-1, for old programs alone; whoever gets hold of the file tries passwords quickly. Delete it when it is read");
	if (ok)
		ctl_say(c, "Whoever has file and password signs as %s, and reads what was encrypted to this key: give them on two different ways.", address);
	buf_wipe(&password);
	return ok ? ctl_done(c) : ctl_not_done(c, &err);
}

/* ---- export --certificates: enrolld tells ------------------------------------------------------------------------------------ */

static void print_certificates(const struct ctl *c, json_t *r)
{
	json_t *one;
	size_t i;

	(void)c;
	json_array_foreach(json_object_get(r, "certificates"), i, one)
		fputs(json_string_value(json_object_get(one, "pem")), stdout);
}

static int export_certificates(struct ctl *c, const char *address)
{
	json_t *r = ctl_ask(c, "certificates", json_pack("{s:s, s:b}", "address", address, "all", c->all));

	return ctl_print(c, r, print_certificates);
}

int ctl_export(struct ctl *c, int argc, char **argv)
{
	if (argc != 1 || (c->pkcs12 != NULL) == c->certificates)
		return ctl_usage(c, "export takes an address, and either --pkcs12 FILE or --certificates");
	if (c->serial && c->all)
		return ctl_usage(c, "either --serial or --all");
	if (c->certificates && (c->serial || c->password_file || c->legacy_format))
		return ctl_usage(c, "export --certificates takes --all alone");
	if (c->certificates)
		return export_certificates(c, argv[0]);
	return ctl_config(c) ? export_keys(c, argv[0]) : 1;
}
