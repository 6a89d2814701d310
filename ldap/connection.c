/*
 * ldap/connection.c - one connection: open it, bind, ask, and say what went wrong.
 *
 * Deadlines.  The socket is connected by resolve.c and handed to libldap, which then never resolves or connects by itself, and it is
 * non-blocking throughout.  Every request is sent asynchronously and waited for with what is left of the time; the TLS handshake is
 * a story of its own, told in secure.c.
 */
#include "config.h"

#include "ldap/connection.h"

#include <openldap.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

/* ---- errors ------------------------------------------------------------------------------------------------------ */

/* What an admin has to put right; everything else may pass by itself. */
static bool is_config(int code)
{
	switch (code) {
	case LDAP_INVALID_CREDENTIALS:
	case LDAP_INAPPROPRIATE_AUTH:
	case LDAP_STRONG_AUTH_REQUIRED:
	case LDAP_AUTH_METHOD_NOT_SUPPORTED:
	case LDAP_CONFIDENTIALITY_REQUIRED:
	case LDAP_INSUFFICIENT_ACCESS:
	case LDAP_NO_SUCH_OBJECT:
	case LDAP_UNDEFINED_TYPE:
	case LDAP_INVALID_SYNTAX:
	case LDAP_INVALID_DN_SYNTAX:
	case LDAP_INAPPROPRIATE_MATCHING:
	case LDAP_OBJECT_CLASS_VIOLATION:
	case LDAP_CONSTRAINT_VIOLATION:
	case LDAP_NAMING_VIOLATION:
	case LDAP_REFERRAL:
	case LDAP_FILTER_ERROR:
	case LDAP_PROTOCOL_ERROR:
		return true;
	default:
		return false;
	}
}

static const char *advice(int code)
{
	switch (code) {
	case LDAP_INVALID_CREDENTIALS:
		return "; check directory.bind-dn and directory.password-file";
	case LDAP_INSUFFICIENT_ACCESS:
		return "; the bind needs this right in the directory";
	case LDAP_NO_SUCH_OBJECT:
		return "; check directory.base";
	case LDAP_UNDEFINED_TYPE:
	case LDAP_OBJECT_CLASS_VIOLATION:
		return "; the directory's schema does not allow this attribute there";
	case LDAP_REFERRAL:
		return "; the server refers to another one, which is not followed: name that one in directory.urls";
	case LDAP_CONFIDENTIALITY_REQUIRED:
	case LDAP_STRONG_AUTH_REQUIRED:
		return "; the server wants TLS: use ldaps:// or starttls = true";
	default:
		return "";
	}
}

static bool is_lost(int code)
{
	return code == LDAP_SERVER_DOWN || code == LDAP_TIMEOUT || code == LDAP_CONNECT_ERROR || code == LDAP_UNAVAILABLE ||
	       code == LDAP_BUSY || code == LDAP_DECODING_ERROR || code == LDAP_ENCODING_ERROR || code == LDAP_LOCAL_ERROR;
}

enum outcome connection_failed(LDAP *ld, int code, const char *op, const char *subject, struct err *err)
{
	char *diagnostic = NULL;

	if (code == LDAP_NO_MEMORY) {
		err_nomem(err, op);
		return OUTCOME_FAILED;
	}
	if (ld)
		ldap_get_option(ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &diagnostic);
	err_set(err, is_config(code) ? ERR_CONFIG : ERR_TEMPORARY, op, subject, "%s%s%s%s%s%s",
		is_lost(code) ? "the directory did not answer: " : "", ldap_err2string(code),
		diagnostic && *diagnostic ? " (" : "", diagnostic && *diagnostic ? diagnostic : "", diagnostic && *diagnostic ? ")" : "",
		advice(code));
	if (err)
		snprintf(err->type, sizeof(err->type), "ldap:%d", code);
	ldap_memfree(diagnostic);
	return is_lost(code) ? OUTCOME_LOST : OUTCOME_FAILED;
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static struct timeval time_left(int64_t end)
{
	int64_t left = end - mono_ms();

	if (left < 1)
		left = 1;
	return (struct timeval){.tv_sec = (time_t)(left / 1000), .tv_usec = (suseconds_t)(left % 1000) * 1000};
}

int connection_wait(LDAP *ld, int id, int64_t end, LDAPMessage **result)
{
	struct timeval tv = time_left(end);
	int code = LDAP_SERVER_DOWN;
	int rc = ldap_result(ld, id, LDAP_MSG_ALL, &tv, result);

	if (rc > 0)
		return LDAP_SUCCESS;
	if (rc == 0) {
		ldap_abandon_ext(ld, id, NULL, NULL);
		return LDAP_TIMEOUT;
	}
	ldap_get_option(ld, LDAP_OPT_RESULT_CODE, &code);
	return code == LDAP_SUCCESS ? LDAP_SERVER_DOWN : code;
}

enum outcome connection_search(LDAP *ld, int64_t end, const char *base, int scope, const char *filter, char **attributes, int size_limit,
	LDAPMessage **result, int *code, struct err *err)
{
	struct timeval tv = time_left(end);
	int id, rc, parsed;

	*result = NULL;
	rc = ldap_search_ext(ld, base, scope, filter, attributes, 0, NULL, NULL, &tv, size_limit, &id);
	if (rc == LDAP_SUCCESS)
		rc = connection_wait(ld, id, end, result);
	if (rc == LDAP_SUCCESS) {
		parsed = ldap_parse_result(ld, *result, code, NULL, NULL, NULL, NULL, 0);
		rc = parsed == LDAP_SUCCESS ? *code : parsed;
		if (parsed == LDAP_SUCCESS && (rc == LDAP_SUCCESS || rc == LDAP_SIZELIMIT_EXCEEDED || rc == LDAP_NO_SUCH_OBJECT))
			return OUTCOME_DONE;
	}
	ldap_msgfree(*result);
	*result = NULL;
	return connection_failed(ld, rc, "search directory", base, err);
}

enum outcome connection_modify(LDAP *ld, int64_t end, const char *dn, LDAPMod **mods, int *code, char text[256], struct err *err)
{
	LDAPMessage *result = NULL;
	char *diagnostic = NULL;
	int id, rc;

	text[0] = '\0';
	rc = ldap_modify_ext(ld, dn, mods, NULL, NULL, &id);
	if (rc == LDAP_SUCCESS)
		rc = connection_wait(ld, id, end, &result);
	if (rc == LDAP_SUCCESS)
		rc = ldap_parse_result(ld, result, code, NULL, &diagnostic, NULL, NULL, 0);
	if (rc == LDAP_SUCCESS && is_lost(*code))
		rc = *code;
	if (rc == LDAP_SUCCESS && diagnostic)
		snprintf(text, 256, "%s", diagnostic);
	ldap_memfree(diagnostic);
	ldap_msgfree(result);
	return rc == LDAP_SUCCESS ? OUTCOME_DONE : connection_failed(ld, rc, "change directory", dn, err);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

void connection_close(struct connection *c)
{
	if (!c)
		return;
	if (c->ld)
		ldap_unbind_ext(c->ld, NULL, NULL);
	free(c);
}

/* Whatever ldap.conf, ~/.ldaprc or the environment say, these decide. */
static bool set_options(LDAP *ld, int64_t end)
{
	int version = LDAP_VERSION3, never = LDAP_DEREF_NEVER;
	struct timeval tv = time_left(end), unlimited = {.tv_sec = -1};

	return ldap_set_option(ld, LDAP_OPT_PROTOCOL_VERSION, &version) == LDAP_OPT_SUCCESS
		&& ldap_set_option(ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF) == LDAP_OPT_SUCCESS
		&& ldap_set_option(ld, LDAP_OPT_RESTART, LDAP_OPT_ON) == LDAP_OPT_SUCCESS
		&& ldap_set_option(ld, LDAP_OPT_DEREF, &never) == LDAP_OPT_SUCCESS
		&& ldap_set_option(ld, LDAP_OPT_NETWORK_TIMEOUT, &unlimited) == LDAP_OPT_SUCCESS
		&& ldap_set_option(ld, LDAP_OPT_TIMEOUT, &tv) == LDAP_OPT_SUCCESS;
}

enum outcome connection_start(const char *url, const LDAPURLDesc *desc, int64_t end, struct connection **out, struct err *err)
{
	struct connection *c = calloc(1, sizeof(*c));
	int fd = c ? resolve_connect(desc, end, err) : -1;

	*out = NULL;
	if (!c) {
		err_nomem(err, "connect to directory");
		return OUTCOME_FAILED;
	}
	if (fd < 0) {
		free(c);
		return OUTCOME_LOST;
	}
	if (ldap_init_fd(fd, strcmp(desc->lud_scheme, "ldapi") == 0 ? LDAP_PROTO_IPC : LDAP_PROTO_TCP, url, &c->ld) != LDAP_SUCCESS) {
		close(fd);
		free(c);
		err_nomem(err, "connect to directory");
		return OUTCOME_FAILED;
	}
	if (!set_options(c->ld, end) || !secure_prepare(c)) {
		connection_close(c);
		err_set(err, ERR_BUG, "connect to directory", url, "libldap refuses an option");
		return OUTCOME_FAILED;
	}
	*out = c;
	return OUTCOME_DONE;
}

/* An empty password would be an "unauthenticated bind", which servers accept as anonymous (RFC 4513 section 5.1.2): secret_read_shared
 * refuses an empty secret. */
bool connection_password(const struct directory_settings *s, struct buf *password, struct err *err)
{
	return secret_read_shared(password, s->password_file, true, err);
}

static enum outcome bind_connection(const struct directory_settings *s, LDAP *ld, const char *url, int64_t end, struct err *err)
{
	struct buf password = BUF_INIT;
	struct berval cred = {.bv_val = (char *)(uintptr_t)"", .bv_len = 0};
	LDAPMessage *result = NULL;
	bool external = strcmp(s->bind, "external") == 0;
	int id, rc, code = LDAP_SUCCESS;

	if (strcmp(s->bind, "anonymous") == 0)
		return OUTCOME_DONE;
	if (!external) {
		if (!connection_password(s, &password, err)) {
			buf_wipe(&password);
			return OUTCOME_FAILED;
		}
		cred = (struct berval){.bv_val = password.data, .bv_len = password.len};
	}
	rc = ldap_sasl_bind(ld, external ? "" : s->bind_dn, external ? "EXTERNAL" : LDAP_SASL_SIMPLE, &cred, NULL, NULL, &id);
	buf_wipe(&password);
	if (rc == LDAP_SUCCESS)
		rc = connection_wait(ld, id, end, &result);
	if (rc == LDAP_SUCCESS)
		rc = ldap_parse_result(ld, result, &code, NULL, NULL, NULL, NULL, 1);
	if (rc == LDAP_SUCCESS && code == LDAP_SUCCESS)
		return OUTCOME_DONE;
	return connection_failed(ld, rc != LDAP_SUCCESS ? rc : code, "bind to directory", url, err);
}

enum outcome connection_open(const struct directory_settings *s, size_t server, int64_t end, struct connection **out, struct err *err)
{
	const char *url = s->urls.v[server];
	LDAPURLDesc *desc = NULL;
	enum outcome o;

	*out = NULL;
	if (ldap_url_parse(url, &desc) != LDAP_URL_SUCCESS) {
		err_set(err, ERR_CONFIG, "connect to directory", url, "\"%s\" is no LDAP URL", url);
		return OUTCOME_FAILED;
	}
	o = connection_start(url, desc, end, out, err);
	if (o == OUTCOME_DONE)
		o = secure_connection(s, *out, url, desc, end, err);
	if (o == OUTCOME_DONE)
		o = bind_connection(s, (*out)->ld, url, end, err);
	if (o == OUTCOME_DONE) {
		(*out)->server = server;
	} else {
		connection_close(*out);
		*out = NULL;
	}
	ldap_free_urldesc(desc);
	return o;
}
