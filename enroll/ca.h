/*
 * enroll/ca.h - the seam between the enrollment and a CA.  Private to enroll/.
 *
 * enrollment.c talks to "a CA": open an order, look at it, say that the challenge was answered, finalize, fetch.  Nothing of ACME
 * (URLs, nonces, JWS) is seen above this line: a driver keeps what it needs in `state`, an opaque JSON text that the enrollment
 * stores for it.  Every call is one or a few HTTP requests with a deadline; no call waits for the CA to make up its mind.
 * Any thread may call; a driver serializes what it must.
 *
 * Errors: the class is by the CA's problem type (rateLimited, server trouble: ERR_TEMPORARY, with retry_at when the CA named a time;
 * refusals: ERR_CA; account, terms, EAB, profile: ERR_CONFIG).  err.type is the problem type ("rateLimited") or one of
 *   "lost"    the request was sent, its fate is unknown.  From ca_open: the CA may hold an order that we know nothing of
 *   "unsent"  it certainly was not acted upon
 *   "malformed-answer", "http-502"  an answer that is no ACME
 */
#ifndef ENROLL_ENROLL_CA_H
#define ENROLL_ENROLL_CA_H

#include "base/base.h"
#include "policy/policy.h"

struct ca;

/* What the CA told about itself, for CAA and doctor. Owned by the caller, cleared by ca_info_clear. */
struct ca_info {
	char *account_uri;
	struct strlist caa_identities;
	struct strlist profiles;
	char *terms;
	bool eab_required, has_renewal_info;
};
void ca_info_clear(struct ca_info *i);

enum ca_progress {
	CA_PENDING,     /* validation not done yet */
	CA_READY,       /* every address is validated: finalize */
	CA_PROCESSING,  /* finalized, certificate not there yet */
	CA_ISSUED,      /* certificate can be fetched */
	CA_INVALID,     /* the order is dead: whichever call finds that returns false, and err says why (ERR_CA, the CA's words) */
};

struct ca_order {
	char *state;             /* opaque; in and out: replaced by each call, also on failure when something was learned */
	enum ca_progress progress;
	time_t retry_at;         /* the CA asked not to come back before; 0 = no word */
	char *challenge_from;    /* set while an address awaits its challenge mail; NULL when no mail is needed.  By ca_look alone */
	char *challenge_address; /* which address */
	char activity[256];      /* the last thing tried, in plain words, with the URL */
};
void ca_order_clear(struct ca_order *o);

/* NULL with an error when the configuration cannot work (account key unreadable...). No network yet. */
struct ca *ca_new(const struct ca_config *config, struct err *err);
void ca_free(struct ca *ca);
/* Calls under way, and later ones, fail within about a second (ERR_TEMPORARY): for the end of the program. */
void ca_stop(struct ca *ca);

/* Directory and account (registered when new, found by key otherwise). Cached, refreshed after an hour or an account error. */
bool ca_prepare(struct ca *ca, struct ca_info *out, struct err *err) BASE_MUST_CHECK;
/* NOT idempotent: the caller has stored its intent before.  Nothing of the order is looked at yet, as that may send the challenge mail:
 * store out->state, then ca_look. */
bool ca_open(struct ca *ca, const struct strlist *addresses, struct ca_order *out, struct err *err) BASE_MUST_CHECK;
/* Look at order and authorizations; sets progress, challenge_from.  All that is needed after a crash at any point. */
bool ca_look(struct ca *ca, struct ca_order *o, struct err *err) BASE_MUST_CHECK;
/* What the reply mail must say for this token-part1 (RFC 8823 section 3.1): the base64url digest. ERR_POLICY for a token that cannot be one. */
bool ca_answer(struct ca *ca, const struct ca_order *o, const char *token_part1, struct buf *response, struct err *err) BASE_MUST_CHECK;
/* Tell the CA to validate (POST {} to the challenge URL). Safe to repeat. True also when the validation turns out
 * to be over already: see progress. */
bool ca_ready(struct ca *ca, struct ca_order *o, struct err *err) BASE_MUST_CHECK;
/* Send the CSR (DER). Unless a ca_look by this process just saw CA_READY it looks first: an order that is already processing or valid is
 * never finalized twice.  True: the order is past it (CA_PROCESSING or CA_ISSUED), whoever's request that was. */
bool ca_finalize(struct ca *ca, struct ca_order *o, const void *csr, size_t len, struct err *err) BASE_MUST_CHECK;
/* Download: PEM, leaf first. Safe to repeat. */
bool ca_fetch(struct ca *ca, struct ca_order *o, struct buf *pem, struct err *err) BASE_MUST_CHECK;
/* The account's key pair as public key text "sha256..." for the log; and URL. */
const char *ca_account_uri(struct ca *ca);

/* The key authorization of RFC 8823 itself, for the vectors: response = base64url(SHA-256(token "." thumbprint)). */
bool ca_key_authorization(enum token_join join, const char *token_part1, const char *token_part2, const char *thumbprint, struct buf *response, struct err *err) BASE_MUST_CHECK;

#endif
