/*
 * dns/dns.h - DNS with DNSSEC validation and a deadline of our own, by libunbound.
 *
 * One struct dns per process; its functions may be called from any thread at once.  A query is answered by libunbound's
 * worker thread, the caller waits no longer than its deadline.  The forking default of libunbound is never used.
 */
#ifndef ENROLL_DNS_DNS_H
#define ENROLL_DNS_DNS_H

#include "base/base.h"

struct dns;

/* Where answers come from.  All strings are borrowed for dns_new only. */
struct dns_settings {
	struct strlist servers;   /* "addr" or "addr@port" to forward to; empty: the hosts of /etc/resolv.conf; "root": recurse */
	char *trust_anchor_file;  /* DNSSEC anchors (DS or DNSKEY records); NULL: Debian's /usr/share/dns/root.key when there */
	struct strlist stubs;     /* "zone=addr@port": ask this server for this zone (tests, split DNS); of zone ".": instead of the root's servers */
	struct strlist perspectives; /* see dns_perspectives_open; dns_new does not look at it */
	bool dnssec;              /* validate; default true */
	unsigned deadline_ms;     /* of one query; default 5000 */
};
void dns_settings_init(struct dns_settings *s); /* the defaults */
void dns_settings_clear(struct dns_settings *s);

enum dns_security { DNS_INSECURE, DNS_SECURE, DNS_BOGUS };

enum dns_status {
	DNS_FOUND,     /* at least one record */
	DNS_NODATA,    /* the name is there, not this type */
	DNS_NXDOMAIN,
	DNS_FAILED     /* SERVFAIL, timeout, bogus: nobody knows. A bogus answer is FAILED with security DNS_BOGUS, never data */
};

struct dns_answer {
	enum dns_status status;
	enum dns_security security;
	unsigned ttl;   /* seconds that are left; of a negative answer by the zone's SOA (RFC 2308); 0 for DNS_FAILED */
	const char *canonical; /* the name at the end of CNAME and DNAME, owned by the answer; NULL when there was none */
	size_t n;
	struct dns_rdata { const unsigned char *data; size_t len; } *rdata; /* RDATA in wire form, owned by the answer */
	char why[256];  /* for DNS_FAILED: "timed out after 5000 ms", why bogus, ... */
	void *impl;
};

/* What was answered is kept by libunbound, in each struct dns of its own, as long as its TTL says but an hour at most; a refusal to answer
 * (SERVFAIL, timeout) some seconds; a bogus answer not at all, but a zone whose keys do not fit its parent's DS is given up for a minute.
 *
 * NULL with ERR_CONFIG when an anchor file or server cannot be used.  With dnssec and without any anchor file there is no resolver:
 * answers would silently be taken for insecure.  Every pending query is freed before dns_free. */
struct dns *dns_new(const struct dns_settings *settings, struct err *err);
void dns_free(struct dns *dns);

/* Ask and wait, at most deadline_ms (0: the settings' deadline).  Never fails otherwise than by status. `name` without or with
 * trailing dot, A-labels; `type` an RR type number.  The answer is cleared by dns_answer_clear. */
void dns_query(struct dns *dns, const char *name, int type, unsigned deadline_ms, struct dns_answer *out);
void dns_answer_clear(struct dns_answer *answer);

/* Asynchronous form, for libopendkim's query hooks: start (NULL only without memory), wait (true when the answer is there),
 * cancel/free.  A pending query belongs to one thread and is always ended by dns_pending_free, which may be called at any time,
 * accepts NULL, and frees its answer and packet too. */
struct dns_pending;
struct dns_pending *dns_start(struct dns *dns, const char *name, int type);
bool dns_wait(struct dns_pending *p, unsigned wait_ms);
const struct dns_answer *dns_pending_answer(const struct dns_pending *p); /* after dns_wait gave true */
void dns_pending_free(struct dns_pending *p);

/* The answer as a DNS message would carry it for callers that parse one themselves (libopendkim): the raw packet;
 * NULL when there is none to trust (DNS_FAILED, bogus among it).  To be called after dns_wait gave true. */
const void *dns_pending_packet(const struct dns_pending *p, size_t *len);

/* ---- perspectives: the same question asked in several places ------------------------------------------------------- */

#define DNS_SYSTEM "system"       /* as the settings say: their servers and stubs */
#define DNS_RECURSION "recursion" /* from the root, or from the servers that a stub for "." names; other stubs do not count */
#define DNS_PERSPECTIVES_MAX 8

/* Any other name is "addr" or "addr@port" of a resolver or authoritative server that is asked for everything. */
struct dns_perspectives {
	size_t n;
	struct dns_perspective {
		const char *name;
		struct dns *dns;
	} v[DNS_PERSPECTIVES_MAX];
};

/* One resolver, validating by itself, for each of settings->perspectives; DNS_SYSTEM alone when that is empty.  `system`, made by dns_new of
 * the same settings, is the one of that name.  It and `settings` are borrowed until dns_perspectives_close; false as dns_new, nothing to close. */
bool dns_perspectives_open(struct dns_perspectives *out, const struct dns_settings *settings, struct dns *system, struct err *err) BASE_MUST_CHECK;
void dns_perspectives_close(struct dns_perspectives *p, const struct dns *system); /* also of one that is all zeros */

#endif
