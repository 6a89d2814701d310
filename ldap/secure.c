/*
 * ldap/secure.c - TLS for a connection, within the deadline, and a word about what is wrong with a certificate.
 *
 * Deadline.  Debian's libldap (GnuTLS) turns in circles for ever when a socket says EAGAIN during a handshake, and waits for ever when
 * the socket blocks; its LDAP_OPT_NETWORK_TIMEOUT changes nothing about that.  So a layer of our own lies under the TLS layer: while a
 * handshake goes on it waits for the socket itself, and at the deadline answers ETIMEDOUT, which TLS takes for the end.  Afterwards it
 * passes everything through.
 *
 * Words.  A refused certificate and a server that hangs up look the same from outside ("Connect error").  The difference matters: the
 * first stays until an admin acts, the second passes.  So after a failure the handshake is done once more on a new connection that
 * believes any certificate, to look at it; nothing else is ever sent there.
 */
#include "config.h"

#include "ldap/connection.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define SYSTEM_ANCHORS "/etc/ssl/certs/ca-certificates.crt"

/* ---- the layer that knows the deadline --------------------------------------------------------------------------- */

static int limit_setup(Sockbuf_IO_Desc *d, void *arg)
{
	d->sbiod_pvt = arg;
	return 0;
}

static int limit_nothing(Sockbuf_IO_Desc *d)
{
	return 0;
}

static int limit_ctrl(Sockbuf_IO_Desc *d, int opt, void *arg)
{
	return LBER_SBIOD_CTRL_NEXT(d, opt, arg);
}

/* After EAGAIN: true when it is worth another try. */
static bool limit_wait(Sockbuf_IO_Desc *d, short events)
{
	const struct io_limit *limit = d->sbiod_pvt;
	struct pollfd p = {.fd = -1, .events = events};
	int64_t left = limit->end - mono_ms();

	if (!limit->waiting || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
		return false;
	if (left > 0 && ber_sockbuf_ctrl(d->sbiod_sb, LBER_SB_OPT_GET_FD, &p.fd) == 1 && (poll(&p, 1, (int)left) > 0 || errno == EINTR))
		return true;
	errno = ETIMEDOUT;
	return false;
}

static ber_slen_t limit_read(Sockbuf_IO_Desc *d, void *buf, ber_len_t len)
{
	ber_slen_t n;

	do
		n = LBER_SBIOD_READ_NEXT(d, buf, len);
	while (n < 0 && limit_wait(d, POLLIN));
	return n;
}

static ber_slen_t limit_write(Sockbuf_IO_Desc *d, void *buf, ber_len_t len)
{
	ber_slen_t n;

	do
		n = LBER_SBIOD_WRITE_NEXT(d, buf, len);
	while (n < 0 && limit_wait(d, POLLOUT));
	return n;
}

/* Not const: liblber takes a plain pointer, but changes nothing. */
static Sockbuf_IO limit_io = {limit_setup, limit_nothing, limit_ctrl, limit_read, limit_write, limit_nothing};

bool secure_prepare(struct connection *c)
{
	Sockbuf *sb = NULL;

	return ldap_get_option(c->ld, LDAP_OPT_SOCKBUF, &sb) == LDAP_OPT_SUCCESS && sb
		&& ber_sockbuf_add_io(sb, &limit_io, (LBER_SBIOD_LEVEL_PROVIDER + LBER_SBIOD_LEVEL_TRANSPORT) / 2, &c->limit) == 0;
}

/* ---- handshake --------------------------------------------------------------------------------------------------- */

static const char *anchors_of(const struct directory_settings *s)
{
	return s->ca_file ? s->ca_file : SYSTEM_ANCHORS;
}

/* Whatever ldap.conf, ~/.ldaprc or the environment say, these decide. */
static bool set_tls(const struct directory_settings *s, LDAP *ld, bool verify, struct err *err)
{
	int demand = verify ? LDAP_OPT_X_TLS_DEMAND : LDAP_OPT_X_TLS_NEVER, no = 0, least = LDAP_OPT_X_TLS_PROTOCOL_TLS1_2;
	int rc;

	ldap_set_option(ld, LDAP_OPT_X_TLS_PROTOCOL_MIN, &least); /* not every TLS library behind libldap knows it */
	rc = ldap_set_option(ld, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand);
	if (rc == LDAP_OPT_SUCCESS && verify)
		rc = ldap_set_option(ld, LDAP_OPT_X_TLS_CACERTFILE, anchors_of(s));
	if (rc == LDAP_OPT_SUCCESS)
		rc = ldap_set_option(ld, LDAP_OPT_X_TLS_NEWCTX, &no);
	return rc == LDAP_OPT_SUCCESS
		|| err_set(err, ERR_CONFIG, "set up TLS for directory", anchors_of(s), "the anchors in %s cannot be used", anchors_of(s));
}

static enum outcome ask_starttls(LDAP *ld, const char *url, int64_t end, struct err *err)
{
	LDAPMessage *result = NULL;
	int id, code = LDAP_SUCCESS;
	int rc = ldap_start_tls(ld, NULL, NULL, &id);

	if (rc == LDAP_SUCCESS)
		rc = connection_wait(ld, id, end, &result);
	if (rc == LDAP_SUCCESS)
		rc = ldap_parse_result(ld, result, &code, NULL, NULL, NULL, NULL, 1);
	if (rc == LDAP_SUCCESS && code == LDAP_SUCCESS)
		return OUTCOME_DONE;
	return connection_failed(ld, rc != LDAP_SUCCESS ? rc : code, "ask directory for StartTLS", url, err);
}

/* Everything up to an encrypted connection.  *refused: the handshake failed, and not for lack of time. */
static enum outcome handshake(const struct directory_settings *s, struct connection *c, const char *url, bool starttls, bool verify,
	int64_t end, bool *refused, struct err *err)
{
	enum outcome o;
	int rc;

	*refused = false;
	if (!set_tls(s, c->ld, verify, err))
		return OUTCOME_FAILED;
	o = starttls ? ask_starttls(c->ld, url, end, err) : OUTCOME_DONE;
	if (o != OUTCOME_DONE)
		return o;
	c->limit = (struct io_limit){.end = end, .waiting = true};
	rc = ldap_install_tls(c->ld);
	c->limit.waiting = false;
	if (rc == LDAP_SUCCESS && ldap_tls_inplace(c->ld))
		return OUTCOME_DONE;
	if (rc == LDAP_SUCCESS) {
		err_set(err, ERR_BUG, "start TLS with directory", url, "the connection is still in the clear");
		return OUTCOME_FAILED;
	}
	if (mono_ms() >= end) {
		err_set(err, ERR_TEMPORARY, "start TLS with directory", url, "the directory did not answer in time");
		return OUTCOME_LOST;
	}
	*refused = true;
	return connection_failed(c->ld, rc, "start TLS with directory", url, err);
}

/* ---- what is wrong with the certificate -------------------------------------------------------------------------- */

static bool names_host(X509 *x, const char *host)
{
	return X509_check_ip_asc(x, host, 0) == 1 || X509_check_host(x, host, 0, 0, NULL) == 1;
}

static bool describe(const struct directory_settings *s, const char *url, const char *host, X509 *x, struct err *err)
{
	char subject[200], issuer[200];

	X509_NAME_oneline(X509_get_subject_name(x), subject, sizeof(subject));
	X509_NAME_oneline(X509_get_issuer_name(x), issuer, sizeof(issuer));
	if (X509_cmp_current_time(X509_get0_notAfter(x)) < 0 || X509_cmp_current_time(X509_get0_notBefore(x)) > 0)
		return err_set(err, ERR_CONFIG, "start TLS with directory", url,
			"the server's certificate (%s, by %s) has expired or is not valid yet", subject, issuer);
	if (!names_host(x, host))
		return err_set(err, ERR_CONFIG, "start TLS with directory", url,
			"the server's certificate (%s, by %s) is not for the host name \"%s\" "
			"of directory.urls",
			subject, issuer, host);
	return err_set(err, ERR_CONFIG, "start TLS with directory", url,
		"the server's certificate (%s, by %s) does not chain to the anchors in %s; "
		"check directory.ca-file",
		subject, issuer, anchors_of(s));
}

/* true: it is the certificate, and err says how. */
static bool diagnose(
	const struct directory_settings *s, const char *url, const LDAPURLDesc *desc, bool starttls, int64_t end, struct err *err)
{
	struct connection *c = NULL;
	struct berval der = {0};
	const unsigned char *p;
	bool refused;
	X509 *x = NULL;

	if (connection_start(url, desc, end, &c, NULL) == OUTCOME_DONE &&
		handshake(s, c, url, starttls, false, end, &refused, NULL) == OUTCOME_DONE &&
		ldap_get_option(c->ld, LDAP_OPT_X_TLS_PEERCERT, &der) == LDAP_OPT_SUCCESS && der.bv_val) {
		p = (const unsigned char *)der.bv_val;
		x = d2i_X509(NULL, &p, (long)der.bv_len);
		ERR_clear_error();
	}
	if (x)
		describe(s, url, desc->lud_host, x, err);
	X509_free(x);
	ldap_memfree(der.bv_val);
	connection_close(c);
	return x != NULL;
}

enum outcome secure_connection(
	const struct directory_settings *s, struct connection *c, const char *url, const LDAPURLDesc *desc, int64_t end, struct err *err)
{
	bool whole = strcmp(desc->lud_scheme, "ldaps") == 0, refused;
	enum outcome o;

	if (strcmp(desc->lud_scheme, "ldapi") == 0)
		return OUTCOME_DONE;
	if (!whole && !s->starttls) {
		if (s->allow_cleartext)
			return OUTCOME_DONE;
		err_set(err, ERR_CONFIG, "connect to directory", url, "%s without TLS needs allow-cleartext = true", url);
		return OUTCOME_FAILED;
	}
	o = handshake(s, c, url, !whole, true, end, &refused, err);
	if (refused && diagnose(s, url, desc, !whole, end, err))
		o = OUTCOME_FAILED;
	return o;
}
