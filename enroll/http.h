/*
 * enroll/http.h - HTTPS requests to a CA, and plain HTTP where what comes is signed in itself.  Private to enroll/.
 *
 * http_new once, http_perform from any thread, http_free when no request is under way.  Requests block until there is an answer
 * or the time is up.  What may not happen here, whatever a CA sends: plain http that was not asked for, a certificate that is not verified, a redirected
 * POST, an answer larger than its cap, a wait longer than the time limit.
 */
#ifndef ENROLL_ENROLL_HTTP_H
#define ENROLL_ENROLL_HTTP_H

#include "base/base.h"

struct http;

struct http_settings {
	const char *ca_file;     /* PEM anchors, instead of the system's; NULL = the system's */
	const char *contact;     /* said in User-Agent; may be NULL */
	unsigned total_seconds;  /* of one request, connecting included; 0 = 30 */
	unsigned connect_seconds; /* 0 = 10; never more than total_seconds */
	const char *proxy;       /* "http://host:port", "direct", NULL = what the environment says (https_proxy, no_proxy) */
	bool plain;              /* http URLs and no others: OCSP responses and CRLs are signed, and come this way (RFC 6960, RFC 5280) */
	unsigned connections;    /* requests at one time; further ones wait their turn, which is not part of their time; 0 = any number */
};

/* All of `settings` is copied.  ERR_CONFIG when ca_file holds no certificate that can be read. */
struct http *http_new(const struct http_settings *settings, struct err *err);
void http_free(struct http *http);
/* Requests under way, and all later ones, end within about a second: for an orderly end of the program. */
void http_stop(struct http *http);

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST };

struct http_request {
	enum http_method method;
	const char *url;
	const char *accept;       /* NULL = any */
	const char *content_type; /* of the body */
	const void *body;
	size_t len;
	size_t max_body;          /* of the answer; 0 = HTTP_BODY_MAX */
	/* The request is not idempotent.  On a kept connection that the server is just closing it would be "lost" for nothing; so a
	 * connection of its own is made for it. */
	bool once;
};

#define HTTP_BODY_MAX (1024u * 1024u)
#define HTTP_HEADER_MAX (64u * 1024u)

struct http_response {
	long status;          /* 0 = no status line was seen */
	char *url;            /* of the answer, after redirects */
	char *content_type;   /* without parameters, lower case; NULL = none */
	char *location;
	char *replay_nonce;
	char *retry_after;
	time_t date;          /* 0 = none, or none that can be read */
	struct strlist links; /* values of Link fields as they came */
	struct buf body;
	char tls[24];         /* "TLSv1.3" */
	unsigned ms;          /* how long it took, connecting included */
};
#define HTTP_RESPONSE_INIT {0}
void http_response_clear(struct http_response *r);

/* What became of a request. */
enum http_fate {
	HTTP_ANSWERED, /* whole answer is here, whatever its status */
	HTTP_UNSENT,   /* it certainly did not reach the server: no address, no connection, no TLS */
	HTTP_LOST      /* it may have been acted upon.  Status and header fields are filled as far as they came */
};
/* `r` is empty on entry and cleared by the caller in every case.  err is filled unless HTTP_ANSWERED; its type is then "unsent" or
 * "lost", its class ERR_TEMPORARY (ERR_CONFIG for what is no https URL, or no http URL where `plain` was set). */
enum http_fate http_perform(struct http *http, const struct http_request *q, struct http_response *r, struct err *err);

/* An absolute https URL, at most 2,048 octets of printable ASCII, without user name or fragment? */
bool http_url_good(const char *url);
/* The same for http. */
bool http_plain_url_good(const char *url);
/* `reference` (absolute or relative) as seen from `base`; NULL when no good URL comes out. Freed by the caller. */
char *http_url_resolve(const char *base, const char *reference);

/* Retry-After (RFC 9110 section 10.2.3): seconds or an HTTP date.  0 for none or nonsense; never before now, never more than 31 days ahead. */
time_t http_retry_after(const char *value, time_t now);

/* The targets of the links of relation type `rel` (RFC 8288; case ignored) in Link fields, made absolute from `base` and appended to `out`, at
 * most `max` of them.  What cannot be read, is no good URL, or is about another resource ("anchor") is passed over.  False only without memory. */
bool http_links(const struct strlist *fields, const char *rel, const char *base, size_t max, struct strlist *out) BASE_MUST_CHECK;

#endif
