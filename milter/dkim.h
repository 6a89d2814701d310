/*
 * milter/dkim.h - is this mail signed by that domain (RFC 6376), by libopendkim over our resolver.  Private to milter/; the names
 * dkim_* belong to the library.
 *
 * Only signatures of the domains asked for are looked at, so a stranger's mail full of signatures costs no look-ups.  Thread safe: every
 * check has library handles of its own.
 */
#ifndef ENROLL_MILTER_DKIM_H
#define ENROLL_MILTER_DKIM_H
#include "dns/dns.h"
#include "milter/mime.h"

enum dkimcheck { DKIMCHECK_PASS, DKIMCHECK_FAIL, DKIMCHECK_UNKNOWN /* DNS silent: nobody can say now */ };

struct dkimcheck_request {
	const struct strlist *domains;   /* d= has to be equal to one of them */
	const char *const *covered;      /* NULL-terminated: fields of which every instance has to be signed, each there at most once */
	unsigned deadline_ms;            /* for all look-ups together */
};
/* On a pass `how` is "dkim d=... s=..." and what RFC 8823 would like to see signed and is not; else the reason. */
enum dkimcheck dkimcheck(struct dns *dns, const struct headers *h, const struct spool *body, const struct dkimcheck_request *request,
	char how[256]);
#endif
