/*
 * ctl/masterkey.c - another master key: every user key is wrapped for it, while everything runs.
 *
 * The steps, each of which may be the last one before a kill -9; called again, it goes on where it was:
 *	1. KEY.next, then CERTIFICATE.next, beside the files of the configuration;
 *	2. the store says that the new one is in force: enrolld wraps for it, and what was wrapped for the old one meanwhile does not come in;
 *	3. all user keys, some hundred in a transaction, each opened once more before it counts;
 *	4. the old key stays as KEY.old, KEY.next becomes KEY, CERTIFICATE.next the certificate.
 * The outbound instance finds the new key by itself when it meets what is wrapped for it (store/keyring.c).
 */
#include "config.h"

#include "ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "store/store.h"

#define BATCH 200

struct paths {
	char *key, *certificate, *key_next, *certificate_next, *key_old;
};

/* What the child did, in memory that is shared. */
struct counts { size_t all, anew, damaged, others; char spki[65]; };

struct rotation {
	const struct config *config;
	const struct paths *paths;
	char actor[80];
	struct counts *counts;
};

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static char *with(const char *path, const char *end)
{
	char *s = NULL;

	return asprintf(&s, "%s%s", path, end) < 0 ? NULL : s;
}

static void paths_clear(struct paths *p)
{
	free(p->key_next);
	free(p->certificate_next);
	free(p->key_old);
}

static bool paths_init(struct paths *p, const struct config *cfg, struct err *err)
{
	*p = (struct paths){.key = cfg->master_key, .certificate = cfg->master_certificate};
	p->key_next = with(p->key, KEYRING_NEXT);
	p->certificate_next = with(p->certificate, KEYRING_NEXT);
	p->key_old = with(p->key, ".old");
	return (p->key_next && p->certificate_next && p->key_old) || err_nomem(err, "rotate master key");
}

static bool are_files(const struct config *cfg, struct err *err)
{
	const char *const both[] = {cfg->master_key, cfg->master_certificate};

	for (int i = 0; i < 2; i++)
		if (strncmp(both[i], "credential:", 11) == 0)
			return err_set(err, ERR_CONFIG, "rotate master key", both[i],
				"a credential is a copy, and is rotated where systemd takes it from: with the outbound instance stopped, and --config with a copy of the "
				"configuration that names the files there");
	return true;
}

/* ---- files ------------------------------------------------------------------------------------------------------------------- */

static int open_folder(const char *path)
{
	char *copy = str_dup(path);
	int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	free(copy);
	return fd;
}

static bool sync_folder(const char *path, struct err *err)
{
	int fd = open_folder(path);
	bool ok = fd >= 0 && fsync(fd) == 0;

	if (!ok)
		err_errno(err, errno, "rotate master key", path);
	if (fd >= 0)
		close(fd);
	return ok;
}

/* The certificate comes last and goes last: while CERTIFICATE.next is there a rotation is under way, and only then. */
static bool make_next(struct ctl *c, const struct paths *p, struct err *err)
{
	struct buf key = BUF_INIT, certificate = BUF_INIT;
	bool ok;

	if (exists(p->certificate_next)) {
		ctl_say(c, "going on with a rotation that was cut short");
		return true;
	}
	if (exists(p->key_old))
		return err_set(err, ERR_CONFIG, "rotate master key", p->key_old,
			"the key before the present one is still there: move it to where the backups from its time are, or delete it when there are none");
	ok = keyvault_master_new(&key, &certificate, err) && ctl_write_key(p->key_next, &key, c->config->users.outbound, c->config->users.group, err) &&
		sync_folder(p->key_next, err) && file_write(p->certificate_next, certificate.data, certificate.len, 0644, -1, err);
	buf_wipe(&key);
	buf_clear(&certificate);
	return ok;
}

static bool same_file(const char *a, const char *b)
{
	struct stat one, other;

	return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

static bool move(const char *from, const char *to, struct err *err)
{
	return (rename(from, to) == 0 || err_errno(err, errno, "rotate master key", to)) && sync_folder(to, err);
}

/* The key never misses from its place; that its certificate comes a moment later is known to whoever reads both. */
static bool install(const struct paths *p, struct err *err)
{
	if (exists(p->key_next)) {
		if (link(p->key, p->key_old) != 0 && !(errno == EEXIST && same_file(p->key, p->key_old)))
			return err_errno(err, errno, "keep the old master key", p->key_old);
		if (!sync_folder(p->key_old, err) || !move(p->key_next, p->key, err))
			return false;
	}
	return move(p->certificate_next, p->certificate, err);
}

/* ---- in the child: the outbound instance's user, who may read both keys ---------------------------------------------------- */

static bool rewrap_batch(struct store *store, const struct keyring *ring, const struct keyring_pair *to, struct store_wrapped_list *l,
	struct counts *n, struct err *err)
{
	size_t anew = 0;

	for (size_t i = 0; i < l->n; i++) {
		struct store_wrapped *w = &l->v[i];
		bool damaged;

		n->all++;
		if (keyvault_is_for(w->data, w->len, to->certificate))
			continue;
		if (keyring_rewrap(ring, to, w->data, w->len, &w->anew, &damaged, err)) {
			anew++;
		} else if (damaged || (err && err->class == ERR_CONFIG && !keyring_for(ring, w->data, w->len))) {
			buf_reset(&w->anew);
			err_clear(err);
			n->damaged++; /* nobody could open it before either (one left aside by an earlier rotation, too); it stays as it is */
		} else {
			return false;
		}
	}
	if (anew > 0 && !store_keys_rewrap(store, l, err))
		return false;
	n->anew += anew;
	return true;
}

static bool rewrap_all(struct store *store, const struct keyring *ring, const struct keyring_pair *to, struct counts *n, struct err *err)
{
	int64_t after = 0;
	bool ok = true, more = true;

	while (ok && more) {
		struct store_wrapped_list l = {0};

		ok = store_keys_wrapped(store, after, BATCH, &l, err) && rewrap_batch(store, ring, to, &l, n, err);
		more = l.n > 0;
		after = more ? l.v[l.n - 1].id : after;
		store_wrapped_list_clear(&l);
	}
	return ok;
}

static const struct keyring_pair *pair_of(const struct keyring *ring, X509 *certificate)
{
	for (size_t i = 0; i < ring->n; i++)
		if (X509_cmp(ring->v[i].certificate, certificate) == 0)
			return &ring->v[i];
	return NULL;
}

static bool tell_history(struct store *store, const struct rotation *r, struct err *err)
{
	char text[200];

	snprintf(text, sizeof text, "%zu user keys, %zu of them wrapped anew just now; the master key in force: SHA-256 of its public key %.16s...", r->counts->all,
		r->counts->anew, r->counts->spki);
	return store_event_add(store, 0, "master_key_rotated", r->actor, ERR_NONE, text, err);
}

static bool rotate_here(void *arg, struct err *err)
{
	struct rotation *r = arg;
	X509 *next = keyvault_master_certificate(r->paths->certificate_next, err);
	struct store *store = next ? admin_store_open(r->config, err) : NULL;
	const struct keyring_pair *to = NULL;
	struct keyring ring = {0};
	bool ok;

#ifndef BUILT_WITH_SANITIZERS
	CRYPTO_secure_malloc_init(1 << 20, 32);
#endif
	ok = store && keyring_load(&ring, r->paths->certificate, r->paths->key, err) && keyvault_spki(X509_get0_pubkey(next), r->counts->spki, err);
	if (ok && (to = pair_of(&ring, next)) == NULL)
		ok = err_set(err, ERR_CONFIG, "rotate master key", r->paths->key_next, "it does not belong to %s; remove both if no rotation was begun",
			r->paths->certificate_next);
	/* Keys for the one in force are not to be taken for damaged because it was put away. */
	if (ok && ring.n < KEYRING_MOST && access(r->paths->key_next, F_OK) == 0)
		ok = err_set(err, ERR_CONFIG, "rotate master key", r->paths->key, "it does not belong to %s: put the key from before the rotation back",
			r->paths->certificate);
	/* The one that is in force now has to be here before another one is. */
	ok = ok && keyring_is_of(store, &ring, r->paths->certificate, err) && keyring_put_in_force(store, to->certificate, r->actor, err) &&
		rewrap_all(store, &ring, to, r->counts, err) && tell_history(store, r, err);
	keyring_clear(&ring);
	store_close(store);
	X509_free(next);
	return ok;
}

/* ---- rotate ------------------------------------------------------------------------------------------------------------------ */

static void say_done(struct ctl *c, const struct paths *p, const struct counts *n)
{
	ctl_say(c, "master key: %s is new; %zu user keys, %zu of them wrapped anew just now", p->key, n->all, n->anew);
	if (n->damaged > 0)
		ctl_say(c, "warning: %zu user keys are damaged and could be opened by neither; they stay as they are", n->damaged);
	ctl_say(c, "keep a copy of %s in a safe place", p->key);
	if (exists(p->key_old))
		ctl_say(c, "%s is not needed any more but for backups from before: keep it with them, or delete it", p->key_old);
}

static bool rotate_locked(struct ctl *c, const struct paths *p, struct err *err)
{
	struct rotation r = {.config = c->config, .paths = p};
	bool ok;

	ctl_actor(r.actor, sizeof r.actor);
	r.counts = mmap(NULL, sizeof *r.counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r.counts == MAP_FAILED)
		return err_errno(err, errno, "rotate master key", NULL);
	ok = make_next(c, p, err) && as_store_user(c->config, c->config->users.outbound, rotate_here, &r, err) && install(p, err);
	if (ok)
		say_done(c, p, r.counts);
	munmap(r.counts, sizeof *r.counts);
	return ok;
}

static int rotate(struct ctl *c)
{
	struct paths p = {0};
	struct err err = ERR_INIT;
	int fd = -1;
	bool ok = are_files(c->config, &err) && paths_init(&p, c->config, &err);

	if (ok && ((fd = open_folder(p.key)) < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0))
		ok = errno == EWOULDBLOCK ? err_set(&err, ERR_TEMPORARY, "rotate master key", p.key, "another rotation, or a backup, is at work") : err_errno(&err, errno, "rotate master key", p.key);
	ok = ok && rotate_locked(c, &p, &err);
	if (fd >= 0)
		close(fd);
	paths_clear(&p);
	return ok ? ctl_done(c) : ctl_not_done(c, &err);
}

/* ---- status ------------------------------------------------------------------------------------------------------------------ */

static bool count_here(void *arg, struct err *err)
{
	struct rotation *r = arg;
	struct counts *n = r->counts;
	struct store *store = admin_store_open(r->config, err);
	X509 *force = store ? keyring_in_force(store, r->paths->certificate, false, err) : NULL;
	int64_t after = 0;
	bool ok = force && keyvault_spki(X509_get0_pubkey(force), n->spki, err), more = ok;

	while (ok && more) {
		struct store_wrapped_list l = {0};

		ok = store_keys_wrapped(store, after, BATCH, &l, err);
		for (size_t i = 0; i < l.n; i++) {
			n->all++;
			n->others += !keyvault_is_for(l.v[i].data, l.v[i].len, force);
		}
		more = l.n > 0;
		after = more ? l.v[l.n - 1].id : after;
		store_wrapped_list_clear(&l);
	}
	X509_free(force);
	store_close(store);
	return ok;
}

static void print_status(const struct ctl *c, json_t *r)
{
	(void)c;
	ctl_line(r, "key", "master key");
	ctl_line(r, "public_key_sha256", "SHA-256");
	ctl_line(r, "user_keys", "user keys");
	ctl_line(r, "for_another", "for another");
	ctl_line(r, "rotation", "rotation");
	ctl_line(r, "old_key", "old key");
}

static json_t *status_json(const struct paths *p, const struct counts *n)
{
	return json_pack("{s:s, s:s, s:I, s:I, s:s, s:s*}", "key", p->key, "public_key_sha256", n->spki, "user_keys", (json_int_t)n->all, "for_another",
		(json_int_t)n->others, "rotation", exists(p->certificate_next) ? "under way: `enrollctl masterkey rotate` goes on with it" : "none", "old_key",
		exists(p->key_old) ? p->key_old : NULL);
}

static int status(struct ctl *c)
{
	struct rotation r = {.config = c->config};
	struct paths p = {0};
	struct err err = ERR_INIT;
	json_t *o = NULL;

	r.paths = &p;
	r.counts = mmap(NULL, sizeof *r.counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r.counts == MAP_FAILED)
		return err_errno(&err, errno, "count keys", NULL), ctl_fail(c, &err);
	if (paths_init(&p, c->config, &err) && as_store_user(c->config, c->config->users.enrolld, count_here, &r, &err))
		o = status_json(&p, r.counts);
	else
		ctl_fail(c, &err);
	paths_clear(&p);
	munmap(r.counts, sizeof *r.counts);
	return ctl_print(c, o, print_status);
}

int ctl_masterkey(struct ctl *c, int argc, char **argv)
{
	if (argc != 1 || (strcmp(argv[0], "rotate") != 0 && strcmp(argv[0], "status") != 0))
		return ctl_usage(c, "masterkey takes rotate or status");
	if (!ctl_config(c))
		return 1;
	return strcmp(argv[0], "rotate") == 0 ? rotate(c) : status(c);
}
