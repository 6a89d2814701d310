/*
 * policy/config_running.c - with which configuration does a milter instance run?
 *
 * A milter has no control socket.  It notes the digest of what it took over, at its start and with each reload, in a small file beside the store; who
 * wants to know whether a reload is due compares that with the digest of the file as it is now (`enrollctl doctor`).
 */
#include "config.h"

#include "policy/policy.h"

#include <libgen.h>
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

bool config_running_note(const struct config *c, const char *instance, struct err *err)
{
	struct buf path = BUF_INIT, digest = BUF_INIT;
	bool ok = (path_of(c, instance, &path) || err_nomem(err, OP)) && digest_of(c, &digest, err) &&
		file_write(path.data, digest.data, digest.len, 0640, -1, err);

	buf_clear(&path);
	buf_clear(&digest);
	return ok;
}

bool config_running_is(const struct config *c, const char *instance, bool *known, bool *same, struct err *err)
{
	struct buf path = BUF_INIT, digest = BUF_INIT, noted = BUF_INIT;
	bool ok = (path_of(c, instance, &path) || err_nomem(err, OP)) && digest_of(c, &digest, err);

	*known = *same = false;
	if (ok && access(path.data, F_OK) == 0) {
		ok = file_read(&noted, path.data, 256, err);
		*known = ok;
		*same = ok && strcmp(buf_str(&noted), buf_str(&digest)) == 0;
	}
	buf_clear(&path);
	buf_clear(&digest);
	buf_clear(&noted);
	return ok;
}
