/*
 * dkim.c - libopendkim asked the right questions (dkim.h).
 *
 * A DKIM pass alone says little: it may cover half of the body (l=), a few of the fields, the lower one of two equal fields, be made with a
 * weak or a test key.  So after the library's verdict each signature is looked at once more, by our own rules.
 *
 * The library's own resolver is replaced by hooks over dns/: another server than /etc/resolv.conf's, a deadline, and the difference
 * between "there is no such key", "the answer is bogus" and "nobody answered", which all look the same in the library's status.
 */
#include "config.h"

#include "milter/dkim.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>

#include <dkim.h>

#define SIGNATURES_MAX 5 /* of the right domains; each costs a look-up */
#define KEY_BITS_MIN 1024
#define NO_SIGNATURE "it has no DKIM signature of the domain it claims to be from"

/* What the hooks and callbacks of one check share. */
struct check {
	struct dns *dns;
	const struct dkimcheck_request *request;
	const struct headers *headers;
	int64_t until_ms;
	bool silent;	  /* a look-up got no answer */
	char reason[160]; /* of the last signature that was of the right domain and did not do */
	char key_trouble[160];
};

/* ---- the resolver's hooks -------------------------------------------------------------------------------------------- */

struct query {
	struct dns_pending *pending;
	unsigned char *room;
	size_t size;
};

static int service_init(void **service)
{
	*service = NULL;
	return DKIM_DNS_SUCCESS;
}

static void service_close(void *service)
{
	(void)service;
}

static int query_start(void *service, int type, unsigned char *name, unsigned char *room, size_t size, void **handle)
{
	struct check *c = service;
	struct query *q = calloc(1, sizeof(*q));

	if (q == NULL || (q->pending = dns_start(c->dns, (const char *)name, type)) == NULL) {
		free(q);
		c->silent = true;
		snprintf(c->key_trouble, sizeof(c->key_trouble), "out of memory");
		return DKIM_DNS_ERROR;
	}
	q->room = room;
	q->size = size;
	*handle = q;
	return DKIM_DNS_SUCCESS;
}

static int query_cancel(void *service, void *handle)
{
	struct query *q = handle;

	(void)service;
	if (q != NULL)
		dns_pending_free(q->pending);
	free(q);
	return DKIM_DNS_SUCCESS;
}

static int query_failed(struct check *c, bool silent, const char *why)
{
	c->silent |= silent;
	snprintf(c->key_trouble, sizeof(c->key_trouble), "%.150s", why);
	return DKIM_DNS_ERROR;
}

static int query_wait(void *service, void *handle, struct timeval *timeout, size_t *bytes, int *error, int *dnssec)
{
	struct check *c = service;
	struct query *q = handle;
	int64_t left = c->until_ms - mono_ms();
	const struct dns_answer *answer;
	const void *packet;
	size_t len = 0;

	(void)timeout; /* the library's is one for each look-up; ours is for all of them */
	if (error != NULL)
		*error = 0;
	if (!dns_wait(q->pending, left > 0 ? (unsigned)left : 0))
		return query_failed(c, true, "the key's name servers did not answer in time");
	answer = dns_pending_answer(q->pending);
	if (dnssec != NULL)
		*dnssec = answer->security == DNS_BOGUS	   ? DKIM_DNSSEC_BOGUS
			  : answer->security == DNS_SECURE ? DKIM_DNSSEC_SECURE
							   : DKIM_DNSSEC_INSECURE;
	if (answer->status == DNS_FAILED)
		return query_failed(c, answer->security != DNS_BOGUS, answer->why);
	packet = dns_pending_packet(q->pending, &len);
	if (packet == NULL || len > q->size)
		return query_failed(c, false, packet == NULL ? "the key's DNS answer is empty" : "the key's DNS answer is too large");
	memcpy(q->room, packet, len);
	*bytes = len;
	return DKIM_DNS_SUCCESS;
}

/* ---- which signatures ------------------------------------------------------------------------------------------------ */

static bool right_domain(const struct check *c, DKIM_SIGINFO *signature)
{
	const char *d = (const char *)dkim_sig_getdomain(signature);
	char domain[256];

	return d != NULL && domain_canonical(d, domain) && strlist_has_nocase(c->request->domains, domain);
}

/* Called by the library before it looks up any key. */
static DKIM_CBSTAT prescreen(DKIM *dkim, DKIM_SIGINFO **signatures, int n)
{
	const struct check *c = dkim_get_user_context(dkim);
	int kept = 0;

	for (int i = 0; i < n; i++) {
		if (kept < SIGNATURES_MAX && right_domain(c, signatures[i]))
			kept++;
		else
			dkim_sig_ignore(signatures[i]);
	}
	return DKIM_CBSTAT_CONTINUE;
}

/* Is the name in an h= value?  Names are separated by colons, with blanks and folds around them (RFC 6376 section 3.5). */
static bool listed(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = list; p != NULL; p = strchr(p, ':')) {
		p += strspn(p, ": \t\r\n");
		if (strncasecmp(p, name, len) == 0 && p[len + strspn(p + len, " \t\r\n")] == (strchr(p, ':') != NULL ? ':' : '\0'))
			return true;
	}
	return false;
}

static const char *tag(DKIM_SIGINFO *signature, const char *name)
{
	return (const char *)dkim_sig_gettagvalue(signature, false, (unsigned char *)(uintptr_t)name);
}

static bool fields_covered(const struct check *c, DKIM_SIGINFO *signature, char reason[160])
{
	const char *h = tag(signature, "h");

	for (size_t i = 0; c->request->covered[i] != NULL; i++) {
		const char *name = c->request->covered[i];
		size_t n = headers_count(c->headers, name);

		if (n > 1 || (n == 1 && (h == NULL || !listed(h, name)))) {
			snprintf(reason, 160, n > 1 ? "more than one %s field" : "%s is not signed", name);
			return false;
		}
	}
	return true;
}

/* l= may say that only the first octets of the canonicalized body are signed: anybody can write behind them.  The library canonicalizes no
 * further than that, so how long the whole would be is not known; but it is never longer than the body as it came. */
static bool whole_body(DKIM *dkim, DKIM_SIGINFO *signature)
{
	ssize_t body, canonical, covered;

	if (tag(signature, "l") == NULL)
		return true;
	return dkim_sig_getcanonlen(dkim, signature, &body, &canonical, &covered) == DKIM_STAT_OK && covered >= body;
}

/* By our rules, not only the library's. */
static bool signature_does(const struct check *c, DKIM *dkim, DKIM_SIGINFO *signature, char reason[160])
{
	unsigned flags = dkim_sig_getflags(signature), bits = 0;
	dkim_alg_t algorithm = DKIM_SIGN_UNKNOWN;

	if ((flags & DKIM_SIGFLAG_PASSED) == 0)
		snprintf(
			reason, 160, "%s", c->key_trouble[0] != '\0' ? c->key_trouble : dkim_sig_geterrorstr(dkim_sig_geterror(signature)));
	else if (dkim_sig_getbh(signature) != DKIM_SIGBH_MATCH)
		snprintf(reason, 160, "the body was changed");
	else if ((flags & DKIM_SIGFLAG_TESTKEY) != 0)
		snprintf(reason, 160, "the key is marked as a test (t=y)");
	else if (dkim_sig_getsignalg(signature, &algorithm) != DKIM_STAT_OK ||
		 (algorithm != DKIM_SIGN_RSASHA256 && algorithm != DKIM_SIGN_ED25519SHA256))
		snprintf(reason, 160, "the algorithm is too weak (%.40s)", tag(signature, "a") != NULL ? tag(signature, "a") : "unknown");
	else if (algorithm == DKIM_SIGN_RSASHA256 && (dkim_sig_getkeysize(signature, &bits) != DKIM_STAT_OK || bits < KEY_BITS_MIN))
		snprintf(reason, 160, "the key has %u bits, which is too few", bits);
	else if (!whole_body(dkim, signature))
		snprintf(reason, 160, "only a part of the body is signed (l=)");
	else
		return fields_covered(c, signature, reason);
	return false;
}

/* What RFC 8823 section 3.1 wants in h=, there or not; CAs do without, so it is told and nothing more. */
static void describe_pass(DKIM_SIGINFO *signature, char how[256])
{
	static const char *const wanted[] = {"From", "Sender", "Reply-To", "To", "CC", "Subject", "Date", "In-Reply-To", "References",
		"Message-ID", "Auto-Submitted", "Content-Type", "Content-Transfer-Encoding"};
	const char *h = tag(signature, "h"), *selector = (const char *)dkim_sig_getselector(signature);
	struct buf text = BUF_INIT;
	bool first = true;

	buf_printf(&text, "dkim d=%.100s s=%.60s", (const char *)dkim_sig_getdomain(signature), selector != NULL ? selector : "");
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		if (h != NULL && listed(h, wanted[i]))
			continue;
		buf_printf(&text, first ? "; warning: h= lacks %s" : ", %s", wanted[i]);
		first = false;
	}
	snprintf(how, 256, "%s", buf_str(&text));
	buf_clear(&text);
}

/* ---- one mail -------------------------------------------------------------------------------------------------------- */

/* dkim_init calls res_init, which shares state between threads; libc guards it by a lock that thread checkers cannot see. */
static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER;

static DKIM_LIB *library(struct check *c)
{
	DKIM_LIB *lib;
	unsigned bits = KEY_BITS_MIN;

	pthread_mutex_lock(&init_lock);
	lib = dkim_init(NULL, NULL);
	pthread_mutex_unlock(&init_lock);
	if (lib == NULL)
		return NULL;
	dkim_options(lib, DKIM_OP_SETOPT, DKIM_OPTS_MINKEYBITS, &bits, sizeof(bits));
	/* Its own resolver is neither started (it reads /etc/resolv.conf each time) nor put in place of ours, which it would do later on.
	 */
	dkim_dns_set_init(lib, service_init);
	dkim_dns_set_close(lib, service_close);
	dkim_dns_init(lib);
	dkim_dns_set_query_service(lib, c);
	dkim_dns_set_query_start(lib, query_start);
	dkim_dns_set_query_waitreply(lib, query_wait);
	dkim_dns_set_query_cancel(lib, query_cancel);
	dkim_set_prescreen(lib, prescreen);
	return lib;
}

/* A field exactly as it came, with the CRLF in folds that the milter protocol takes away. */
static bool give_field(DKIM *dkim, const struct header *field)
{
	struct buf text = BUF_INIT;
	bool ok;

	buf_printf(&text, "%s:", field->name);
	for (const char *p = field->value; *p != '\0'; p++) {
		if (*p == '\n' && (p == field->value || p[-1] != '\r'))
			buf_putc(&text, '\r');
		buf_putc(&text, *p);
	}
	ok = !text.failed;
	if (ok) {
		DKIM_STAT status = dkim_header(dkim, (unsigned char *)text.data, text.len);

		/* A signature that cannot be read does not spoil those that can. */
		ok = status == DKIM_STAT_OK || (status == DKIM_STAT_SYNTAX && str_eq_nocase(field->name, DKIM_SIGNHEADER));
	}
	buf_clear(&text);
	return ok;
}

static bool give_piece(void *arg, const void *data, size_t len, struct err *err)
{
	(void)err;
	return dkim_body(arg, (unsigned char *)(uintptr_t)data, len) == DKIM_STAT_OK;
}

static bool give_mail(DKIM *dkim, const struct headers *h, const struct spool *body, char reason[160])
{
	struct err err = ERR_INIT;
	DKIM_STAT status;

	for (size_t i = 0; i < h->n; i++) {
		if (!give_field(dkim, &h->v[i])) {
			snprintf(reason, 160, "a header field cannot be read");
			return false;
		}
	}
	status = dkim_eoh(dkim);
	if (status == DKIM_STAT_NOSIG || status == DKIM_STAT_SYNTAX) {
		snprintf(reason, 160, "%s", status == DKIM_STAT_NOSIG ? NO_SIGNATURE : "its DKIM signature cannot be read");
		return false;
	}
	if (!spool_each(body, give_piece, dkim, &err)) {
		snprintf(reason, 160, "%.159s", err.class != ERR_NONE ? err.text : "its body cannot be checked");
		return false;
	}
	dkim_eom(dkim, NULL); /* what it returns is about one of the signatures; each is looked at */
	return true;
}

static enum dkimcheck look_at_signatures(struct check *c, DKIM *dkim, char how[256])
{
	DKIM_SIGINFO **signatures = NULL;
	int n = 0;

	if (dkim_getsiglist(dkim, &signatures, &n) != DKIM_STAT_OK)
		n = 0;
	snprintf(c->reason, sizeof(c->reason), NO_SIGNATURE);
	for (int i = 0; i < n; i++) {
		if ((dkim_sig_getflags(signatures[i]) & DKIM_SIGFLAG_IGNORE) != 0 || !right_domain(c, signatures[i]))
			continue;
		if (signature_does(c, dkim, signatures[i], c->reason)) {
			describe_pass(signatures[i], how);
			return DKIMCHECK_PASS;
		}
	}
	return c->silent ? DKIMCHECK_UNKNOWN : DKIMCHECK_FAIL;
}

enum dkimcheck dkimcheck(
	struct dns *dns, const struct headers *h, const struct spool *body, const struct dkimcheck_request *request, char how[256])
{
	struct check c = {.dns = dns, .request = request, .headers = h, .until_ms = mono_ms() + request->deadline_ms};
	DKIM_LIB *lib = library(&c);
	DKIM_STAT status = DKIM_STAT_NORESOURCE;
	DKIM *dkim = lib != NULL ? dkim_verify(lib, (const unsigned char *)"mail", NULL, &status) : NULL;
	enum dkimcheck result = DKIMCHECK_FAIL;

	if (dkim == NULL) {
		snprintf(c.reason, sizeof(c.reason), "libopendkim: %s", dkim_getresultstr(status));
		result = DKIMCHECK_UNKNOWN;
	} else {
		dkim_set_user_context(dkim, &c);
		if (give_mail(dkim, h, body, c.reason))
			result = look_at_signatures(&c, dkim, how);
		dkim_free(dkim);
	}
	if (lib != NULL)
		dkim_close(lib);
	if (result != DKIMCHECK_PASS)
		snprintf(how, 256, "dkim: %s", c.reason);
	return result;
}
