/*
 * milter/outbound.h - the questions of "what the milter does with an outbound message", in the order they are asked, as functions of
 * what the session found.  Private to milter/; knows nothing of libmilter.
 */
#ifndef ENROLL_MILTER_OUTBOUND_H
#define ENROLL_MILTER_OUTBOUND_H

#include "milter/mime.h"
#include "policy/policy.h"

struct connection_facts {
	char client_ip[64];  /* "" for a submission without a network client (sendmail(1)) */
	char daemon[64];     /* {daemon_name} */
};

struct mail_facts {
	char login[256];           /* {auth_authen}; "" = none */
	char envelope_from[ADDRESS_MAX]; /* without angle brackets; "" = the empty sender */
	struct headers headers;
	char from[ADDRESS_MAX];    /* canonical, filled by outbound_from */
};

/* A map file "login: address, address" read into memory; read only afterwards. */
struct sender_map;
struct sender_map *sender_map_load(const char *path, struct err *err);
void sender_map_free(struct sender_map *m); /* accepts NULL */

/* Could any rule take a message of this connection, whatever the login?  Asked at connect. */
bool outbound_connection(const struct config *c, const struct connection_facts *conn);
/* Which rule takes it, at MAIL; NULL = not ours, *why (static text) says why. */
const struct submission *outbound_submission(const struct config *c, const struct connection_facts *conn, const char *login, const char **why);

/* At end of headers: exactly one From field with exactly one address, in a domain we serve; fills m->from.  *why when false. */
bool outbound_from(const struct config *c, struct mail_facts *m, const char **why);

/* Mail of a relay that came from outside is vouched for by nobody: a Received line of one of our MX hosts, Resent-*, List-*, an empty
 * envelope sender.  *why when true. */
bool outbound_from_outside(const struct submission *s, const struct mail_facts *m, const char **why);

/* Does whoever submitted own the From address?  `map` for VOUCH_MAP, `secret` for a relay with a secret header, each may be NULL when the rule does
 * not use it.  false with err when nobody can say now. */
bool outbound_owned(const struct submission *s, struct directory *d, const struct sender_map *map, const char *secret, const struct mail_facts *m,
	bool *owned, const char **why, struct err *err) BASE_MUST_CHECK;

/* Left alone whatever the configuration says: already signed or encrypted, DSN, MDN, our own reply to the CA.  *why says which. */
bool outbound_untouched(const struct mail_facts *m, const char **why);
/* What signing.list-mail and signing.auto-submitted are about. */
bool outbound_is_list_mail(const struct mail_facts *m);
bool outbound_is_auto_submitted(const struct mail_facts *m);

#endif
