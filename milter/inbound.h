/*
 * milter/inbound.h - recognising and authenticating challenge mail (RFC 8823 section 3).  Private to milter/; knows nothing of libmilter.
 *
 * Call order: inbound_is_candidate at end of headers, inbound_parse, then inbound_authenticate with the whole body.  Thread safe.
 */
#ifndef ENROLL_MILTER_INBOUND_H
#define ENROLL_MILTER_INBOUND_H
#include <openssl/x509.h>

#include "dns/dns.h"
#include "milter/mime.h"
#include "policy/policy.h"
#include "store/store.h"

struct candidate {
	struct challenge challenge;  /* token_part1, message_id, from, reply_to, date, filled by inbound_parse */
	bool auto_submitted;         /* auto-generated */
	bool message_id_free;        /* set by inbound_authenticate: authentic, but anybody could have changed the Message-ID */
	struct strlist to;           /* canonical, filled by inbound_parse: the address being validated has to stand here */
	const char *awaited_from;    /* set by the caller (borrowed): where the open order's challenge comes from; NULL = not known */
};
void candidate_clear(struct candidate *c);
/* Does the decoded Subject begin with "ACME:" ("Re:" never)?  Only looks at headers. */
bool inbound_is_candidate(const struct headers *h);
/* Exactly one From, one Subject, one To, one Date, one Message-ID, token of >= 128 bits, Auto-Submitted when required ...  `why` says what
 * is missing.  candidate_clear(out) is the caller's in both cases.  Auto-Submitted of a mail that S/MIME may protect is not missed before
 * inbound_authenticate. */
bool inbound_parse(const struct config *c, const struct headers *h, struct candidate *out, char why[256]);

enum authentic { AUTHENTIC_YES, AUTHENTIC_NO, AUTHENTIC_ASK_AGAIN /* DNS silent: 451 */ };
/* By the way the configuration names for this CA, which the order was opened at: DKIM (d= equal to From's domain or a listed one; every instance of From, Subject, To, Date,
 * Message-ID, Reply-To, Auto-Submitted signed and each there at most once; whole body; not rsa-sha1; key >= 1024 bits; not t=y), or else
 * S/MIME (smime.h; `anchors` NULL: it counts for nothing), Authentication-Results of a named relay, or the client's network.  `body` is
 * the raw body; `how` gets "dkim d=...", "smime CN=..." or the reason.  DNS silent is ASK_AGAIN only when From is of a configured challenge
 * domain or of awaited_from's domain; NO for everybody else.  After a YES by S/MIME the candidate says what the signature protects: its
 * Reply-To is that or none, its date when it was signed if Date is not protected. */
enum authentic inbound_authenticate(const struct config *c, const struct ca_config *ca, struct dns *dns, X509_STORE *anchors, const struct headers *h, struct spool *body,
	struct candidate *cand, const char *client_ip, char how[256]);

/* Is the mail signed by this domain: From, Subject, Date, Message-ID, Content-Type and Content-Transfer-Encoding where present, and the
 * whole body?  For relays that have to prove the tenant; false when DNS is silent. */
bool inbound_dkim_by(struct dns *dns, const struct headers *h, const struct spool *body, const char *domain, char how[256]);
#endif
