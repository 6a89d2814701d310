/*
 * enroll/ca.c - the seam between the enrollment and a CA: passes each call to the driver, and what all drivers share.
 *
 * The key authorization of RFC 8823 is here because it is arithmetic, not protocol: any driver whose CA validates by mail needs it.
 */
#include "config.h"

#include "enroll/ca.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "enroll/ca_driver.h"

/* RFC 8823 section 3 wants 128 bits in token-part1: 22 characters of base64url. */
#define TOKEN_PART1_MIN 22
#define TOKEN_MAX 512

struct ca {
	const struct ca_driver *driver;
	void *self;
};

void ca_info_clear(struct ca_info *i)
{
	free(i->account_uri);
	free(i->terms);
	free(i->warning);
	strlist_clear(&i->caa_identities);
	strlist_clear(&i->profiles);
	memset(i, 0, sizeof *i);
}

void ca_account_clear(struct ca_account *a)
{
	free(a->uri);
	free(a->status);
	free(a->key_type);
	free(a->thumbprint);
	strlist_clear(&a->contacts);
	memset(a, 0, sizeof *a);
}

void ca_probe_clear(struct ca_probe *p)
{
	ca_info_clear(&p->info);
	strlist_clear(&p->profile_texts);
	memset(p, 0, sizeof *p);
}

void ca_order_clear(struct ca_order *o)
{
	free(o->state);
	free(o->challenge_from);
	free(o->challenge_address);
	free(o->limited);
	memset(o, 0, sizeof *o);
}

struct ca *ca_new(const struct ca_config *config, struct err *err)
{
	struct ca *ca = calloc(1, sizeof *ca);

	if (!ca) {
		err_nomem(err, "prepare CA");
		return NULL;
	}
	ca->driver = config->driver == CA_DRIVER_EXEC ? &exec_driver : &acme_driver;
	ca->self = ca->driver->new(config, err);
	if (ca->self)
		return ca;
	free(ca);
	return NULL;
}

void ca_free(struct ca *ca)
{
	if (!ca)
		return;
	ca->driver->free(ca->self);
	free(ca);
}

void ca_stop(struct ca *ca)
{
	ca->driver->stop(ca->self);
}

bool ca_prepare(struct ca *ca, struct ca_info *out, struct err *err)
{
	memset(out, 0, sizeof *out);
	return ca->driver->prepare(ca->self, out, err);
}

bool ca_discover(struct ca *ca, struct ca_info *out, struct err *err)
{
	memset(out, 0, sizeof *out);
	return ca->driver->discover(ca->self, out, err);
}

bool ca_probe(const struct ca_config *config, struct ca_probe *out, struct err *err)
{
	memset(out, 0, sizeof *out);
	if (config->driver != CA_DRIVER_ACME)
		return err_set(err, ERR_CONFIG, "look at the CA", "ca.driver", "only an ACME server can be looked at from outside");
	return acme_driver.probe(config, out, err);
}

bool ca_open(struct ca *ca, const struct ca_request *request, struct ca_order *out, struct err *err)
{
	memset(out, 0, sizeof *out);
	return ca->driver->open(ca->self, request, out, err);
}

bool ca_look(struct ca *ca, struct ca_order *o, struct err *err)
{
	return ca->driver->look(ca->self, o, err);
}

bool ca_methods(struct ca *ca, struct ca_order *o, const struct strlist *addresses, struct strlist *methods, struct err *err)
{
	return !ca->driver->methods || ca->driver->methods(ca->self, o, addresses, methods, err);
}

bool ca_answer(struct ca *ca, const struct ca_order *o, const char *token_part1, struct buf *response, struct err *err)
{
	return ca->driver->answer(ca->self, o, token_part1, response, err);
}

bool ca_ready(struct ca *ca, struct ca_order *o, struct err *err)
{
	return ca->driver->ready(ca->self, o, err);
}

bool ca_finalize(struct ca *ca, struct ca_order *o, const void *csr, size_t len, struct err *err)
{
	return ca->driver->finalize(ca->self, o, csr, len, err);
}

bool ca_fetch(struct ca *ca, struct ca_order *o, struct buf *pem, struct err *err)
{
	return ca->driver->fetch(ca->self, o, pem, err);
}

bool ca_revoke(struct ca *ca, const void *der, size_t len, enum ca_reason reason, EVP_PKEY *key, struct err *err)
{
	return ca->driver->revoke(ca->self, der, len, reason, key, err);
}

static enum ca_reason reason_of(const char *name)
{
	static const struct {
		const char *name;
		enum ca_reason reason;
	} reasons[] = {{"keyCompromise", CA_REASON_KEY_COMPROMISE}, {"affiliationChanged", CA_REASON_AFFILIATION_CHANGED}, {"superseded", CA_REASON_SUPERSEDED},
		{"cessationOfOperation", CA_REASON_CESSATION}, {"privilegeWithdrawn", CA_REASON_PRIVILEGE_WITHDRAWN}};

	for (size_t i = 0; name && i < sizeof reasons / sizeof *reasons; i++)
		if (strcmp(reasons[i].name, name) == 0)
			return reasons[i].reason;
	return CA_REASON_UNSPECIFIED;
}

bool ca_revoke_named(struct ca *ca, const void *der, size_t len, const char *reason, EVP_PKEY *key, bool *without_reason, struct err *err)
{
	struct err own = ERR_INIT;
	bool ok = ca_revoke(ca, der, len, reason_of(reason), key, &own);

	*without_reason = !ok && strcmp(own.type, "badRevocationReason") == 0; /* RFC 8555 section 7.6 */
	if (*without_reason) {
		err_clear(&own);
		ok = ca_revoke(ca, der, len, CA_REASON_UNSPECIFIED, key, &own);
	}
	if (!ok && err)
		*err = own;
	return ok;
}

bool ca_renewal(struct ca *ca, const void *der, size_t len, struct ca_renewal *out, struct err *err)
{
	memset(out, 0, sizeof *out);
	return ca->driver->renewal(ca->self, der, len, out, err);
}

/* ---- account ------------------------------------------------------------------------------------------------------- */

static bool no_account(const struct ca *ca, struct err *err)
{
	return err_set(err, ERR_CONFIG, "look at account", "ca.driver", "the driver \"%s\" knows no account", ca->driver->name);
}

bool ca_account_look(struct ca *ca, struct ca_account *out, bool *found, struct err *err)
{
	memset(out, 0, sizeof *out);
	*found = false;
	return ca->driver->account_look ? ca->driver->account_look(ca->self, out, found, err) : no_account(ca, err);
}

bool ca_account_thumbprint(struct ca *ca, char out[64])
{
	if (ca->driver->account_thumbprint)
		ca->driver->account_thumbprint(ca->self, out);
	return ca->driver->account_thumbprint != NULL;
}

bool ca_account_change_key(struct ca *ca, const char *next_key, struct err *err)
{
	return ca->driver->account_change_key ? ca->driver->account_change_key(ca->self, next_key, err) : no_account(ca, err);
}

bool ca_account_deactivate(struct ca *ca, struct err *err)
{
	return ca->driver->account_deactivate ? ca->driver->account_deactivate(ca->self, err) : no_account(ca, err);
}

const char *ca_account_uri(struct ca *ca)
{
	return ca->driver->account_uri(ca->self);
}

/* ---- key authorization ------------------------------------------------------------------------------------------- */

/* base64url, padding allowed: RFC 8823's examples carry it. */
static bool token_good(const char *s, size_t least)
{
	size_t n = 0, padding;

	while (isalnum((unsigned char)s[n]) || s[n] == '-' || s[n] == '_')
		n++;
	padding = strspn(s + n, "=");
	return n >= least && n + padding <= TOKEN_MAX && padding <= 2 && s[n + padding] == '\0';
}

/* The two readings of "token-part1 concatenated with token-part2" that CAs are built on (see ca.token-join). */
static bool token_join(enum token_join join, const char *part1, const char *part2, struct buf *out)
{
	struct buf raw = BUF_INIT;
	bool ok = true;

	if (join == JOIN_STRINGS) {
		buf_puts(out, part1);
		buf_puts(out, part2);
	} else {
		ok = base64url_decode(&raw, part1, strlen(part1)) && base64url_decode(&raw, part2, strlen(part2)) && !raw.failed;
		if (ok)
			base64url_encode(out, raw.data, raw.len);
	}
	buf_clear(&raw);
	return ok;
}

bool ca_key_authorization(enum token_join join, const char *token_part1, const char *token_part2, const char *thumbprint, struct buf *response,
	struct err *err)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	struct buf text = BUF_INIT;
	bool ok = false;

	if (!token_good(token_part1, TOKEN_PART1_MIN))
		err_set(err, ERR_POLICY, "answer challenge", "", "what stands in the challenge mail's subject is no token of 128 bits or more in base64url");
	else if (!token_good(token_part2, 1))
		err_set(err, ERR_POLICY, "answer challenge", "", "the token in the CA's challenge is no base64url text");
	else if (!token_join(join, token_part1, token_part2, &text))
		err_set(err, ERR_POLICY, "answer challenge", "", "a token cannot be decoded as base64url; does ca.token-join = \"decoded\" suit this CA?");
	else
		ok = true;
	if (ok) {
		buf_printf(&text, ".%s", thumbprint);
		if (text.failed)
			ok = err_nomem(err, "answer challenge");
		else if (!EVP_Digest(text.data, text.len, digest, &n, EVP_sha256(), NULL))
			ok = err_openssl(err, ERR_BUG, "answer challenge", "");
		else
			base64url_encode(response, digest, n);
	}
	buf_clear(&text);
	return ok && (!response->failed || err_nomem(err, "answer challenge"));
}
