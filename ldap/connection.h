/*
 * ldap/connection.h - connections to the directory's servers, and running one operation on one of them within a deadline.
 * Private to ldap/.
 *
 * libldap handles are used by one thread at a time: a handle is taken from the pool, used, and put back or dropped.  An operation
 * that finds its connection dead is repeated on a fresh one, then on the next server, as long as the deadline allows; every operation
 * here may safely be repeated.
 */
#ifndef ENROLL_LDAP_CONNECTION_H
#define ENROLL_LDAP_CONNECTION_H

#include <ldap.h>

#include "ldap/directory.h"

/* How long reading and writing under TLS may take (secure.c); lives as long as its handle. */
struct io_limit {
	int64_t end;  /* mono_ms; while `waiting` */
	bool waiting; /* wait on the socket instead of saying EAGAIN: during a handshake only */
};

struct connection {
	LDAP *ld;
	struct io_limit limit;
	size_t server;           /* which of the URLs */
	int64_t used_at;
	struct connection *next; /* among the idle ones, last used first */
};

struct pool;

/* Copies what it needs of the settings. */
struct pool *pool_new(const struct directory_settings *s, struct err *err);
void pool_free(struct pool *p);

enum outcome {
	OUTCOME_DONE,   /* there is a result */
	OUTCOME_FAILED, /* the server answered with an error; `err` is filled */
	OUTCOME_LOST    /* the connection is of no more use; `err` is filled; may be repeated elsewhere */
};

/* Connect, make safe and bind to one server before `end`.  *out is NULL unless the outcome is DONE. */
enum outcome connection_open(const struct directory_settings *s, size_t server, int64_t end, struct connection **out, struct err *err);
void connection_close(struct connection *c); /* accepts NULL */
/* The same without TLS and bind, for secure.c. */
enum outcome connection_start(const char *url, const LDAPURLDesc *desc, int64_t end, struct connection **out, struct err *err);
/* Is the password file there and not empty?  The text goes to `password` (wiped by the caller). */
bool connection_password(const struct directory_settings *s, struct buf *password, struct err *err) BASE_MUST_CHECK;
/* The whole answer to one request: LDAP_SUCCESS, or a code of the library's. */
int connection_wait(LDAP *ld, int id, int64_t end, LDAPMessage **result);
/* TLS as the URL and the settings ask for it (secure.c). */
enum outcome secure_connection(
	const struct directory_settings *s, struct connection *c, const char *url, const LDAPURLDesc *desc, int64_t end, struct err *err);
/* Put the layer that knows deadlines under whatever comes later. */
bool secure_prepare(struct connection *c);

/* One operation on an open, bound connection that has to be over at `end` (mono_ms). */
typedef enum outcome pool_operation(LDAP *ld, int64_t end, void *arg, struct err *err);

/* Run it within deadline_ms.  *unreachable says whether false means that no server let us in or answered. */
bool pool_run(struct pool *p, pool_operation *op, void *arg, bool *unreachable, struct err *err) BASE_MUST_CHECK;

/* A connection of its own, which is not counted among the pool's and never repeated on: for a search in pages, whose state lives in it.  NULL
 * on failure; closed with pool_close_own. */
struct connection *pool_open_own(struct pool *p, struct err *err);
enum outcome pool_run_own(struct connection *c, pool_operation *op, int64_t end, void *arg, struct err *err);
void pool_close_own(struct connection *c); /* accepts NULL */

/* Send a search, wait for its end.  *result (freed with ldap_msgfree) holds all entries.  Size limit exceeded and "no such object" are
 * no failures here but told in *code. */
enum outcome connection_search(LDAP *ld, int64_t end, const char *base, int scope, const char *filter, char **attributes, int size_limit,
	LDAPMessage **result, int *code, struct err *err);
/* Send a modification, wait for its answer, which is given in *code; OUTCOME_DONE for any answer of the server's. */
enum outcome connection_modify(LDAP *ld, int64_t end, const char *dn, LDAPMod **mods, int *code, char text[256], struct err *err);
/* Fill err from an LDAP result code. */
enum outcome connection_failed(LDAP *ld, int code, const char *op, const char *subject, struct err *err);

/* One line per server: connect, TLS, bind.  False when none works. */
bool pool_check(struct pool *p, struct buf *report, struct err *err) BASE_MUST_CHECK;

/* Open a TCP or Unix connection to the host of this URL before `end` (resolve.c): resolving, too, ends in time.  -1 on failure. */
int resolve_connect(const LDAPURLDesc *url, int64_t end, struct err *err);

#endif
