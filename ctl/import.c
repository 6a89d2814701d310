/*
 * ctl/import.c - keys and certificates from files of other gateways, or of an export, into the store.
 *
 * Root reads the file; what is in it is looked at in a child process that is enrolld's user, as that one may write to the store and wrap keys.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "enroll/enroll.h"
#include "store/store.h"

#define FILE_MOST (1u << 20)

struct job {
	struct enroll_import what;
	struct enroll_imported *out; /* in memory that is shared with the child */
};

struct run {
	struct ctl *c;
	const char *password;
	char actor[80];
	struct enroll_imported *out;
	json_t *list;
	size_t done, there, failed;
	size_t looked, of;           /* a folder's files, while they are read */
	bool progress;
};

static bool import_here(void *arg, struct err *err)
{
	struct job *j = arg;
	struct store *store;
	bool ok;

#ifndef BUILT_WITH_SANITIZERS
	CRYPTO_secure_malloc_init(1 << 20, 32);
#endif
	store = admin_store_open(j->what.config, err);
	ok = store && enroll_import(store, &j->what, j->out, err);
	store_close(store);
	return ok;
}

static bool import_file(struct run *r, const char *path, struct err *err)
{
	const struct config *cfg = r->c->config;
	struct buf data = BUF_INIT;
	struct job j = {.out = r->out};
	bool ok = file_read(&data, path, FILE_MOST, err);

	j.what = (struct enroll_import){.config = cfg, .name = path, .data = buf_str(&data), .len = data.len, .password = r->password,
		.address = r->c->addresses.n ? r->c->addresses.v[0] : NULL, .old = r->c->old, .dry_run = r->c->dry_run, .actor = r->actor};
	ok = ok && as_store_user(cfg, cfg->users.enrolld, import_here, &j, err);
	buf_wipe(&data);
	return ok;
}

/* ---- what came of it ------------------------------------------------------------------------------------------------------- */

static const char *what_next(const struct run *r)
{
	const struct enroll_imported *i = r->out;

	if (!i->created)
		return "was here already";
	if (strcmp(i->status, "checked") == 0)
		return r->c->dry_run ? "would come in; enrolld would publish it and sign with it" : "came in; enrolld publishes it and signs with it";
	return r->c->dry_run ? "would come in for reading old mail alone" : "came in for reading old mail alone";
}

static void tell_good(struct run *r, const char *path)
{
	const struct enroll_imported *i = r->out;

	r->done += i->created;
	r->there += !i->created;
	json_array_append_new(r->list, json_pack("{s:s, s:b, s:s, s:s, s:s, s:s, s:b, s:s}", "file", path, "ok", 1, "address", i->address, "serial", i->serial,
		"sha256", i->fingerprint, "status", i->status, "created", i->created, "why", i->why));
	if (!r->c->json) {
		ctl_put(path); /* whoever made the folder chose the names */
		printf(": %s: certificate %s %s (%s)%s%s\n", i->address, i->serial, what_next(r), i->status, i->why[0] ? ": " : "", i->why);
	}
}

static void tell_bad(struct run *r, const char *path, const struct err *err)
{
	r->failed++;
	json_array_append_new(r->list, json_pack("{s:s, s:b, s:{s:s, s:s}}", "file", path, "ok", 0, "error", "class", err_class_name(err->class), "text", err->text));
	if (r->c->json)
		return;
	fprintf(stderr, "%s: ", r->c->program);
	for (const char *p = path; *p; p++)
		fputc((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f ? '?' : *p, stderr);
	fprintf(stderr, ": %s\n", err->text);
}

/* ---- a file, a folder ------------------------------------------------------------------------------------------------------ */

/* false: to be tried again when all others are in. */
static bool one(struct run *r, const char *path, bool last)
{
	struct err err = ERR_INIT;
	bool ok;

	ctl_progress(r->progress, (long long)r->looked, (long long)r->of, "files");
	ok = import_file(r, path, &err);
	ctl_progress(r->progress, 0, 0, NULL);
	if (ok)
		tell_good(r, path);
	else if (!last && strcmp(err.type, STORE_IMPORT_NOT_YET) == 0)
		return false;
	else
		tell_bad(r, path, &err);
	r->looked++;
	fflush(stdout);
	return true;
}

static int has_key_name(const struct dirent *d)
{
	static const char *const ends[] = {".p12", ".pfx", ".pem"};
	size_t len = strlen(d->d_name);

	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
		if (d->d_name[0] != '.' && len > 4 && strcasecmp(d->d_name + len - 4, ends[i]) == 0)
			return 1;
	return 0;
}

static bool folder(struct run *r, const char *path, struct err *err)
{
	struct dirent **names;
	struct strlist again = {0};
	struct buf file = BUF_INIT;
	int n = scandir(path, &names, has_key_name, alphasort);
	bool ok = n >= 0;

	if (!ok)
		return err_errno(err, errno, "read folder", path);
	if (n == 0)
		ok = err_set(err, ERR_CONFIG, "import", path, "no file in it ends in .p12, .pfx or .pem");
	r->of = (size_t)n;
	r->progress = isatty(STDERR_FILENO) && !r->c->json;
	for (int i = 0; i < n; i++) {
		buf_reset(&file);
		buf_printf(&file, "%s/%s", path, names[i]->d_name);
		if (ok && (file.failed || (!one(r, file.data, false) && !strlist_add(&again, file.data))))
			ok = err_nomem(err, "import");
		free(names[i]);
	}
	for (size_t i = 0; ok && i < again.n; i++)
		one(r, again.v[i], true);
	free(names);
	strlist_clear(&again);
	buf_clear(&file);
	return ok;
}

static int finish(struct run *r, bool is_folder)
{
	struct ctl *c = r->c;
	json_t *o;

	if (c->json && (o = json_pack("{s:b, s:O, s:I, s:I, s:I}", "ok", r->failed == 0, "files", r->list, "imported", (json_int_t)r->done, "already_here",
			(json_int_t)r->there, "failed", (json_int_t)r->failed))) {
		ctl_print_json(c, o);
		json_decref(o);
	} else if (is_folder) {
		printf("%zu %s, %zu were here already, %zu failed\n", r->done, c->dry_run ? "would come in" : "came in", r->there, r->failed);
	}
	return r->failed ? 1 : 0;
}

static bool run_import(struct run *r, const char *path, bool *is_folder, struct err *err)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return err_errno(err, errno, "import", path);
	*is_folder = S_ISDIR(st.st_mode);
	ctl_actor(r->actor, sizeof r->actor);
	r->out = mmap(NULL, sizeof *r->out, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r->out == MAP_FAILED)
		return err_errno(err, errno, "import", path);
	r->list = json_array();
	return *is_folder ? folder(r, path, err) : one(r, path, true);
}

int ctl_import(struct ctl *c, int argc, char **argv)
{
	struct run r = {.c = c};
	struct buf password = BUF_INIT;
	struct err err = ERR_INIT;
	bool is_folder = false, ok;
	int rc;

	if (argc != 1 || c->addresses.n > 1)
		return ctl_usage(c, "import takes a file or a folder, and at most one --address");
	if (!ctl_config(c))
		return 1;
	ok = !c->password_file || secret_read(&password, c->password_file, true, &err);
	r.password = c->password_file ? buf_str(&password) : NULL;
	ok = ok && run_import(&r, argv[0], &is_folder, &err);
	rc = ok ? finish(&r, is_folder) : ctl_fail(c, &err);
	if (r.out && r.out != MAP_FAILED)
		munmap(r.out, sizeof *r.out);
	json_decref(r.list);
	buf_wipe(&password);
	return rc;
}
