/*
 * policy/config_running.c - with which configuration does a milter instance run, and of which version is it?
 *
 * A milter has no control socket.  It notes the digest of what it took over, at its start and with each reload, in a small file beside the store, and
 * which version it is of; who wants to know whether a reload is due compares that with the digest of the file as it is now (`enrollctl doctor`), or the
 * version with the installed one.
 */
#include "config.h"

#include "policy/policy.h"

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#define OP "note configuration"

static bool path_of(const struct config *c, const char *instance, struct buf *out)
{
	char *copy = str_dup(c->store.path);

	if (copy)
		buf_printf(out, "%s/running-%s", dirname(copy), instance);
	free(copy);
	return copy && !out->failed;
}

static bool digest_of(const struct config *c, struct buf *out, struct err *err)
{
	struct buf text = BUF_INIT;
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	bool ok = config_show(c, false, &text, err) &&
		(EVP_Digest(buf_str(&text), text.len, digest, &len, EVP_sha256(), NULL) == 1 || err_openssl(err, ERR_BUG, OP, NULL));

	if (ok)
		hex_encode(out, digest, len);
	buf_clear(&text);
	return ok && (!out->failed || err_nomem(err, OP));
}

/* When a process began, in ticks of the kernel's: with its number that is a name nobody else gets.  0 = there is none, or it may not be seen. */
static unsigned long long began(long pid)
{
	struct buf text = BUF_INIT;
	char path[64], *at = NULL;
	unsigned long long ticks = 0;

	snprintf(path, sizeof path, "/proc/%ld/stat", pid);
	if (pid > 0 && file_read(&text, path, 4096, NULL))
		at = strrchr(buf_str(&text), ')'); /* of the name, which may hold anything */
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (at)
		ticks = strtoull(at, NULL, 10);
	buf_clear(&text);
	return ticks;
}

bool config_running_note(const struct config *c, const char *instance, struct err *err)
{
	struct buf path = BUF_INIT, text = BUF_INIT;
	bool ok = (path_of(c, instance, &path) || err_nomem(err, OP)) && digest_of(c, &text, err);

	if (ok)
		buf_printf(&text, " version=%s schema=%d pid=%ld began=%llu\n", PACKAGE_VERSION, store_schema_version(), (long)getpid(), began(getpid()));
	ok = ok && (!text.failed || err_nomem(err, OP)) && file_write(path.data, text.data, text.len, 0640, -1, err);
	buf_clear(&path);
	buf_clear(&text);
	return ok;
}

/* Older ones have the digest alone. */
static void read_note(const char *text, const char *digest, struct config_running *out)
{
	size_t n = strcspn(text, " \n");
	unsigned long long since = 0;
	long pid = 0;

	out->known = true;
	out->same = n == strlen(digest) && strncmp(text, digest, n) == 0;
	if (sscanf(text + n, " version=%31s schema=%d pid=%ld began=%llu", out->version, &out->schema, &pid, &since) == 4)
		out->runs = since > 0 && began(pid) == since;
}

bool config_running_look(const struct config *c, const char *instance, struct config_running *out, struct err *err)
{
	struct buf path = BUF_INIT, digest = BUF_INIT, noted = BUF_INIT;
	bool ok = (path_of(c, instance, &path) || err_nomem(err, OP)) && digest_of(c, &digest, err);

	memset(out, 0, sizeof *out);
	if (ok && access(path.data, F_OK) == 0 && (ok = file_read(&noted, path.data, 512, err)))
		read_note(buf_str(&noted), buf_str(&digest), out);
	buf_clear(&path);
	buf_clear(&digest);
	buf_clear(&noted);
	return ok;
}
