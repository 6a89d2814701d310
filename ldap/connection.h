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

struct pool;

/* Copies what it needs of the settings. */
struct pool *pool_new(const struct directory_settings *s, struct err *err);
void pool_free(struct pool *p);

enum outcome {
	OUTCOME_DONE,   /* there is a result */
	OUTCOME_FAILED, /* the server answered with an error; `err` is filled */
	OUTCOME_LOST    /* the connection is of no more use; `err` is filled; may be repeated elsewhere */
};

/* One operation on an open, bound connection that has to be over at `end` (mono_ms). */
typedef enum outcome pool_operation(LDAP *ld, int64_t end, void *arg, struct err *err);

/* Run it within deadline_ms.  *unreachable says whether false means that no server let us in or answered. */
bool pool_run(struct pool *p, pool_operation *op, void *arg, bool *unreachable, struct err *err) BASE_MUST_CHECK;

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
