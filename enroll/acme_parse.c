/*
 * enroll/acme_parse.c - directory, account, order, authorization, challenge, renewal information and certificate chain as a CA sends them.
 *
 * Everything in here is a function of bytes: nothing is asked, nothing is remembered.  Members that we do not use are not looked
 * at, so that a CA may add what it likes; those that we use must have their type.
 */
#include "config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "enroll/acme.h"
#include "enroll/member.h"

#define CHAIN_MAX 16
#define NAMES_MAX 200

static const struct {
	const char *name;
	enum member_need need;
} resources[ACME_RESOURCES] = {
	[ACME_NEW_NONCE] = {"newNonce", MEMBER_REQUIRED},
	[ACME_NEW_ACCOUNT] = {"newAccount", MEMBER_REQUIRED},
	[ACME_NEW_ORDER] = {"newOrder", MEMBER_REQUIRED},
	[ACME_REVOKE_CERT] = {"revokeCert", MEMBER_OPTIONAL},
	[ACME_KEY_CHANGE] = {"keyChange", MEMBER_OPTIONAL},
	[ACME_RENEWAL_INFO] = {"renewalInfo", MEMBER_OPTIONAL},
};

const char *acme_resource_name(enum acme_resource which)
{
	return resources[which].name;
}

static const char *const status_names[] = {
	[ACME_PENDING] = "pending",
	[ACME_READY] = "ready",
	[ACME_PROCESSING] = "processing",
	[ACME_VALID] = "valid",
	[ACME_INVALID] = "invalid",
	[ACME_EXPIRED] = "expired",
	[ACME_DEACTIVATED] = "deactivated",
	[ACME_REVOKED] = "revoked",
};

static bool status_of(const struct member_source *from, const json_t *object, enum acme_status *out)
{
	const char *s;

	if (!member_string(from, object, "status", MEMBER_REQUIRED, &s))
		return false;
	for (size_t i = 0; i < sizeof status_names / sizeof *status_names; i++)
		if (strcmp(s, status_names[i]) == 0) {
			*out = (enum acme_status)i;
			return true;
		}
	return member_wrong(from, "status \"%.40s\" is unknown", s);
}

static bool copy_string(const struct member_source *from, const char *s, char **out)
{
	*out = str_dup(s);
	return *out || !s || err_nomem(from->err, from->op);
}

/* ---- directory --------------------------------------------------------------------------------------------------- */

void acme_directory_clear(struct acme_directory *d)
{
	for (size_t i = 0; i < ACME_RESOURCES; i++)
		free(d->url[i]);
	free(d->terms);
	strlist_clear(&d->caa_identities);
	strlist_clear(&d->profiles);
	memset(d, 0, sizeof *d);
}

static bool profiles_of(const struct member_source *from, const json_t *meta, struct strlist *out)
{
	const json_t *profiles;

	if (!member_object(from, meta, "profiles", MEMBER_OPTIONAL, &profiles))
		return false;
	if (json_object_size(profiles) > NAMES_MAX)
		return member_wrong(from, "\"profiles\" has %zu members", json_object_size(profiles));
	for (void *i = json_object_iter((json_t *)(uintptr_t)profiles); i; i = json_object_iter_next((json_t *)(uintptr_t)profiles, i))
		if (!strlist_add(out, json_object_iter_key(i)))
			return err_nomem(from->err, from->op);
	return true;
}

static bool meta_of(const struct member_source *from, const json_t *directory, struct acme_directory *out)
{
	const json_t *meta;
	const char *terms;

	if (!member_object(from, directory, "meta", MEMBER_OPTIONAL, &meta))
		return false;
	if (!meta)
		return true;
	return member_string(from, meta, "termsOfService", MEMBER_OPTIONAL, &terms) && copy_string(from, terms, &out->terms) &&
	       member_flag(from, meta, "externalAccountRequired", &out->eab_required) &&
	       member_strings(from, meta, "caaIdentities", MEMBER_OPTIONAL, false, NAMES_MAX, &out->caa_identities) &&
	       profiles_of(from, meta, &out->profiles);
}

bool acme_directory_parse(const void *data, size_t len, const char *url, struct acme_directory *out, struct err *err)
{
	struct member_source from = {.op = "fetch directory", .url = url, .err = err};
	json_t *j = member_parse(&from, data, len);
	const char *s;
	bool ok = j != NULL;

	memset(out, 0, sizeof *out);
	for (size_t i = 0; ok && i < ACME_RESOURCES; i++)
		ok = member_url(&from, j, resources[i].name, resources[i].need, &s) && copy_string(&from, s, &out->url[i]);
	ok = ok && meta_of(&from, j, out);
	if (!ok)
		acme_directory_clear(out);
	json_decref(j);
	return ok;
}

/* ---- account ----------------------------------------------------------------------------------------------------- */

/* RFC 8555 section 7.1.2 makes status mandatory; what a CA leaves out is what it was asked about, and so no reason to stop. */
bool acme_account_parse(const void *data, size_t len, const char *url, struct ca_account *out, struct err *err)
{
	struct member_source from = {.op = "look at account", .url = url, .err = err};
	json_t *j = member_parse(&from, data, len);
	const char *status = NULL;
	bool ok = j && member_string(&from, j, "status", MEMBER_OPTIONAL, &status) && copy_string(&from, status ? status : "valid", &out->status) &&
	          member_strings(&from, j, "contact", MEMBER_OPTIONAL, false, NAMES_MAX, &out->contacts);

	json_decref(j);
	return ok;
}

/* ---- order ------------------------------------------------------------------------------------------------------- */

void acme_order_clear(struct acme_order *o)
{
	free(o->finalize);
	free(o->certificate);
	strlist_clear(&o->authorizations);
	json_decref(o->error);
	memset(o, 0, sizeof *o);
}

static json_t *error_of(const json_t *object)
{
	json_t *e = json_object_get(object, "error");

	return json_is_object(e) ? json_incref(e) : NULL;
}

bool acme_order_parse(const void *data, size_t len, const char *url, struct acme_order *out, struct err *err)
{
	struct member_source from = {.op = "fetch order", .url = url, .err = err};
	json_t *j = member_parse(&from, data, len);
	const char *finalize = NULL, *certificate = NULL;
	bool ok;

	memset(out, 0, sizeof *out);
	ok = j && status_of(&from, j, &out->status) && member_url(&from, j, "finalize", MEMBER_REQUIRED, &finalize) &&
	     member_strings(&from, j, "authorizations", MEMBER_REQUIRED, true, ACME_AUTHORIZATIONS_MAX, &out->authorizations) &&
	     member_url(&from, j, "certificate", out->status == ACME_VALID ? MEMBER_REQUIRED : MEMBER_OPTIONAL, &certificate) &&
	     copy_string(&from, finalize, &out->finalize) && copy_string(&from, certificate, &out->certificate);
	if (ok)
		out->error = error_of(j);
	else
		acme_order_clear(out);
	json_decref(j);
	return ok;
}

/* ---- authorization and challenge --------------------------------------------------------------------------------- */

void acme_authorization_clear(struct acme_authorization *a)
{
	free(a->identifier);
	free(a->challenge);
	free(a->token);
	free(a->from);
	free(a->validated);
	free(a->offered);
	json_decref(a->error);
	memset(a, 0, sizeof *a);
}

static bool token_good(const char *s)
{
	size_t n = 0;

	while (isalnum((unsigned char)s[n]) || s[n] == '-' || s[n] == '_')
		n++;
	while (s[n] == '=')
		n++;
	return n > 0 && n <= ACME_TOKEN_MAX && s[n] == '\0';
}

/* RFC 8823 section 4 makes token and from mandatory.  A challenge that is over may come without. */
static bool mail_challenge(const struct member_source *from, const json_t *c, struct acme_authorization *out)
{
	enum acme_status status = ACME_PENDING;
	enum member_need need;
	const char *url, *token, *sender;
	struct address a;
	char text[ADDRESS_MAX];

	if (!status_of(from, c, &status) || !member_url(from, c, "url", MEMBER_REQUIRED, &url))
		return false;
	need = status == ACME_PENDING || status == ACME_PROCESSING ? MEMBER_REQUIRED : MEMBER_OPTIONAL;
	if (!member_string(from, c, "token", need, &token) || !member_string(from, c, "from", need, &sender))
		return false;
	if (token && !token_good(token))
		return member_wrong(from, "\"token\" is no base64url text");
	if (sender && !address_parse(&a, sender, NULL))
		return member_wrong(from, "\"from\" of the challenge is no mail address");
	if (out->has_challenge)
		return true; /* the first one of its type counts */
	out->has_challenge = true;
	out->challenge_status = status;
	return copy_string(from, url, &out->challenge) && copy_string(from, token, &out->token) &&
	       copy_string(from, sender ? address_text(&a, text) : NULL, &out->from);
}

/* Of types that are not ours nothing else is looked at. */
static bool is_valid(const json_t *challenge)
{
	const char *status = json_string_value(json_object_get(challenge, "status"));

	return status && strcmp(status, "valid") == 0;
}

static bool challenges_of(const struct member_source *from, const json_t *list, struct acme_authorization *out)
{
	struct buf offered = BUF_INIT;
	const json_t *c;
	const char *type;
	bool ok = true;

	for (size_t i = 0; ok && i < json_array_size(list); i++) {
		c = json_array_get(list, i);
		ok = json_is_object(c) ? member_string(from, c, "type", MEMBER_REQUIRED, &type) :
					 member_wrong(from, "\"challenges\" holds something that is no object");
		if (ok && strcmp(type, CA_METHOD_MAIL) == 0)
			ok = mail_challenge(from, c, out);
		if (ok && !out->validated && is_valid(c))
			ok = copy_string(from, type, &out->validated);
		if (ok && offered.len < 200)
			buf_printf(&offered, "%s%.40s", offered.len ? ", " : "", type);
		if (ok && !out->error)
			out->error = error_of(c);
	}
	out->offered = buf_take(&offered);
	return ok && (out->offered || err_nomem(from->err, from->op));
}

bool acme_authorization_parse(const void *data, size_t len, const char *url, struct acme_authorization *out, struct err *err)
{
	struct member_source from = {.op = "fetch authorization", .url = url, .err = err};
	json_t *j = member_parse(&from, data, len);
	const json_t *identifier, *challenges;
	const char *value;
	bool ok;

	memset(out, 0, sizeof *out);
	ok = j && status_of(&from, j, &out->status) && member_object(&from, j, "identifier", MEMBER_REQUIRED, &identifier) &&
	     member_string(&from, identifier, "value", MEMBER_REQUIRED, &value) && copy_string(&from, value, &out->identifier) &&
	     member_array(&from, j, "challenges", out->status == ACME_PENDING ? MEMBER_REQUIRED : MEMBER_OPTIONAL, &challenges) &&
	     challenges_of(&from, challenges, out);
	if (!ok)
		acme_authorization_clear(out);
	json_decref(j);
	return ok;
}

bool acme_challenge_parse(const void *data, size_t len, const char *url, enum acme_status *status, json_t **error, struct err *err)
{
	struct member_source from = {.op = "start validation", .url = url, .err = err};
	json_t *j = member_parse(&from, data, len);
	bool ok = j && status_of(&from, j, status);

	*error = ok ? error_of(j) : NULL;
	json_decref(j);
	return ok;
}

/* ---- renewal information (RFC 9773) -------------------------------------------------------------------------------- */

static bool moment_of(const struct member_source *from, const json_t *window, const char *name, time_t *out)
{
	const char *s;

	if (!member_string(from, window, name, MEMBER_REQUIRED, &s))
		return false;
	return time_parse(s, out) || member_wrong(from, "\"%s\" of the suggested window is no time: \"%.40s\"", name, s);
}

/* Section 4.2: a window that ends before it begins is as good as no answer. */
bool acme_renewal_parse(const void *data, size_t len, const char *url, struct ca_renewal *out, struct err *err)
{
	struct member_source from = {.op = "fetch renewal information", .url = url, .err = err};
	json_t *j = member_parse(&from, data, len);
	const json_t *window;
	const char *explanation = NULL;
	bool ok;

	memset(out, 0, sizeof *out);
	ok = j && member_object(&from, j, "suggestedWindow", MEMBER_REQUIRED, &window) && moment_of(&from, window, "start", &out->start) &&
	     moment_of(&from, window, "end", &out->end) && member_string(&from, j, "explanationURL", MEMBER_OPTIONAL, &explanation);
	if (ok && out->end <= out->start)
		ok = member_wrong(&from, "its suggested window ends before it begins");
	out->known = ok;
	if (ok && http_url_good(explanation) && strlen(explanation) < sizeof out->explanation)
		snprintf(out->explanation, sizeof out->explanation, "%s", explanation);
	json_decref(j);
	return ok;
}

/* ---- chain ------------------------------------------------------------------------------------------------------- */

bool acme_chain_parse(const void *data, size_t len, const char *url, struct buf *pem, struct err *err)
{
	struct member_source from = {.op = "fetch certificate", .url = url, .err = err};
	BIO *in = BIO_new_mem_buf(data ? data : "", (int)len), *out = BIO_new(BIO_s_mem());
	X509 *x = NULL;
	char *text;
	long n;
	size_t certificates = 0;
	bool ok = in && out;

	while (ok && (x = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL) {
		ok = ++certificates <= CHAIN_MAX && PEM_write_bio_X509(out, x);
		X509_free(x);
	}
	/* The only good end is that no further PEM block begins. */
	if (!in || !out)
		ok = err_nomem(err, from.op);
	else if (!ok)
		ok = member_wrong(&from, "the chain has more than %d certificates", CHAIN_MAX);
	else if (certificates == 0 || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		ok = member_wrong(&from, "what should be a PEM chain of certificates cannot be read after %zu of them", certificates);
	if (ok) {
		n = BIO_get_mem_data(out, &text);
		buf_append(pem, text, (size_t)n);
		ok = !pem->failed || err_nomem(err, from.op);
	}
	ERR_clear_error();
	BIO_free(in);
	BIO_free(out);
	return ok;
}

static bool name_has(const X509_NAME *name, const char *wanted)
{
	unsigned char *text;
	bool found = false;
	int n;

	for (int i = -1; !found && (i = X509_NAME_get_index_by_NID(name, NID_commonName, i)) >= 0;) {
		text = NULL;
		n = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, i)));
		found = n >= 0 && (size_t)n == strlen(wanted) && memcmp(text, wanted, (size_t)n) == 0;
		OPENSSL_free(text);
	}
	return found;
}

bool acme_chain_ends_in(const struct buf *pem, const char *issuer)
{
	BIO *in = BIO_new_mem_buf(buf_str(pem), (int)pem->len);
	X509 *x, *top = NULL;
	bool ends;

	while (in && (x = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL) {
		X509_free(top);
		top = x;
	}
	ends = top && (name_has(X509_get_issuer_name(top), issuer) || name_has(X509_get_subject_name(top), issuer));
	ERR_clear_error();
	X509_free(top);
	BIO_free(in);
	return ends;
}
