/*
 * enroll/ca.h - the seam between the enrollment and a CA.  Private to enroll/.
 *
 * enrollment.c talks to "a CA": open an order, look at it, say that the challenge was answered, finalize, fetch.  Nothing of ACME
 * (URLs, nonces, JWS) is seen above this line: a driver keeps what it needs in `state`, an opaque JSON text that the enrollment
 * stores for it.  Every call is one or a few HTTP requests with a deadline; no call waits for the CA to make up its mind.
 * Any thread may call; a driver serializes what it must.
 *
 * A driver without validation by mail (exec) opens an order by noting it down, says CA_READY at once, and asks its CA at ca_finalize.
 *
 * Errors: the class is by the CA's problem type (rateLimited, server trouble: ERR_TEMPORARY, with retry_at when the CA named a time;
 * refusals: ERR_CA; account, terms, EAB, profile: ERR_CONFIG).  err.type is the problem type ("rateLimited") or one of
 *   "lost"    the request was sent, its fate is unknown.  From ca_open: the CA may hold an order that we know nothing of
 *   "unsent"  it certainly was not acted upon
 *   "malformed-answer", "http-502"  an answer that is no ACME
 * err.status is the HTTP status where there was one.
 */
#ifndef ENROLL_ENROLL_CA_H
#define ENROLL_ENROLL_CA_H

#include <openssl/evp.h>

#include "base/base.h"
#include "policy/policy.h"

struct ca;

/* What the CA told about itself, for CAA and doctor. Owned by the caller, cleared by ca_info_clear. */
struct ca_info {
	char *account_uri;
	struct strlist caa_identities;
	struct strlist profiles;
	char *terms;
	char *warning;           /* for the admin, of something that hinders no order: said once, by the ca_prepare that met it; NULL = none */
	bool eab_required, has_renewal_info, has_revocation, has_key_change;
};
void ca_info_clear(struct ca_info *i);

/* What can be seen of a CA from outside, for `enrollctl ca check`. Owned by the caller, cleared by ca_probe_clear. */
struct ca_probe {
	struct ca_info info;             /* of the directory; account_uri stays NULL */
	struct strlist profile_texts;    /* its descriptions of info.profiles, one each, "" where there is none */
	int status;                      /* HTTP; 0 = no answer */
	unsigned ms;                     /* from the first packet to the last */
	time_t date;                     /* what time it is there; 0 = it did not tell */
	char tls[24];                    /* "TLSv1.3"; "" = there was none */
};
void ca_probe_clear(struct ca_probe *p);

/* The account as the CA shows it (RFC 8555 section 7.1.2). Owned by the caller. */
struct ca_account {
	char *uri, *status;      /* "valid", "deactivated", "revoked" */
	struct strlist contacts;
	char *key_type;          /* "ec:p256" */
	char *thumbprint;        /* RFC 7638, of its key */
};
void ca_account_clear(struct ca_account *a);

/* What an order is for.  Borrowed. */
struct ca_request {
	const struct strlist *addresses;
	const char *profile, *usage;  /* ours: "mailbox-strict", "sign" */
	const char *ca_profile;       /* the CA's name for this kind (draft-ietf-acme-profiles); NULL = as ca.profile says */
	const void *replaces;         /* DER of the certificate that this one takes over from (RFC 9773 section 5); NULL = none */
	size_t replaces_len;
};

/* When the CA would have a certificate renewed (RFC 9773 section 4.2). */
struct ca_renewal {
	bool known;              /* false: the CA does not tell (no ARI, or not for this certificate); nothing else is set */
	time_t start, end;       /* a random moment in between is to be chosen; in the past: now */
	time_t ask_again;        /* its Retry-After, kept between a minute and a day */
	char explanation[512];   /* URL for people; "" = none */
};

/* RFC 5280 section 5.3.1, by number. */
enum ca_reason {
	CA_REASON_UNSPECIFIED = 0,
	CA_REASON_KEY_COMPROMISE = 1,
	CA_REASON_AFFILIATION_CHANGED = 3,
	CA_REASON_SUPERSEDED = 4,
	CA_REASON_CESSATION = 5,
	CA_REASON_PRIVILEGE_WITHDRAWN = 9,
};

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
	char *limited;           /* ca_open refused as rateLimited: the addresses or domains it is about, a few, blank separated; NULL = the whole account */
	char activity[256];      /* the last thing tried, in plain words, with the URL */
	bool in_doubt;           /* in: whoever asked before died in between.  What was seen before that is not believed: the CA is asked */
};
void ca_order_clear(struct ca_order *o);

/* NULL with an error when the configuration cannot work (account key unreadable...). No network yet. */
struct ca *ca_new(const struct ca_config *config, struct err *err);
void ca_free(struct ca *ca);
/* Calls under way, and later ones, fail within about a second (ERR_TEMPORARY): for the end of the program. */
void ca_stop(struct ca *ca);

/* Directory and account (registered when new, found by key otherwise). Cached, refreshed after an hour or an account error. */
bool ca_prepare(struct ca *ca, struct ca_info *out, struct err *err) BASE_MUST_CHECK;
/* The directory alone, asked anew: works before there is an account. out->account_uri stays NULL. */
bool ca_discover(struct ca *ca, struct ca_info *out, struct err *err) BASE_MUST_CHECK;
/* Look at the CA with nothing but the configuration: no key, no account, a connection of its own.  Also on failure `out` tells how far it came.
 * ERR_CONFIG for a driver that cannot do that. */
bool ca_probe(const struct ca_config *config, struct ca_probe *out, struct err *err) BASE_MUST_CHECK;
/* NOT idempotent: the caller has stored its intent before.  Nothing of the order is looked at yet, as that may send the challenge mail:
 * store out->state, then ca_look.  When the CA says that the certificate of `replaces` was replaced already, the order is opened
 * without that word. */
bool ca_open(struct ca *ca, const struct ca_request *request, struct ca_order *out, struct err *err) BASE_MUST_CHECK;
/* Look at order and authorizations; sets progress, challenge_from.  All that is needed after a crash at any point. */
bool ca_look(struct ca *ca, struct ca_order *o, struct err *err) BASE_MUST_CHECK;
/* What the reply mail must say for this token-part1 (RFC 8823 section 3.1): the base64url digest. ERR_POLICY for a token that cannot be one. */
bool ca_answer(struct ca *ca, const struct ca_order *o, const char *token_part1, struct buf *response, struct err *err) BASE_MUST_CHECK;
/* By which method each of these addresses was or will be validated, as its authorization shows (RFC 8555 section 7.1.4: the challenge that was
 * validated): methods->v[i] is that of addresses->v[i], "" when it shows none; an empty list when this CA has no authorizations. */
#define CA_METHOD_MAIL "email-reply-00"
bool ca_methods(struct ca *ca, struct ca_order *o, const struct strlist *addresses, struct strlist *methods, struct err *err) BASE_MUST_CHECK;
/* Tell the CA to validate (POST {} to the challenge URL). Safe to repeat. True also when the validation turns out
 * to be over already: see progress. */
bool ca_ready(struct ca *ca, struct ca_order *o, struct err *err) BASE_MUST_CHECK;
/* Send the CSR (DER). Unless a ca_look by this process just saw CA_READY it looks first: an order that is already processing or valid is
 * never finalized twice.  True: the order is past it (CA_PROCESSING or CA_ISSUED), whoever's request that was. */
bool ca_finalize(struct ca *ca, struct ca_order *o, const void *csr, size_t len, struct err *err) BASE_MUST_CHECK;
/* Download: PEM, leaf first; of several chains the one of ca.preferred-issuer, when it is among them. Safe to repeat. */
bool ca_fetch(struct ca *ca, struct ca_order *o, struct buf *pem, struct err *err) BASE_MUST_CHECK;
/* Revoke (RFC 8555 section 7.6), signed by the account key, or by the certificate's own when `key` is given.  Safe to repeat: one that is
 * revoked already is a success. */
bool ca_revoke(struct ca *ca, const void *der, size_t len, enum ca_reason reason, EVP_PKEY *key, struct err *err) BASE_MUST_CHECK;
/* The same for a reason by its name ("keyCompromise"; others: unspecified).  A CA may refuse reasons; that it is revoked matters more, so one that does
 * is asked again without, and *without_reason says so. */
bool ca_revoke_named(struct ca *ca, const void *der, size_t len, const char *reason, EVP_PKEY *key, bool *without_reason, struct err *err) BASE_MUST_CHECK;
/* Renewal information for this certificate (DER). */
bool ca_renewal(struct ca *ca, const void *der, size_t len, struct ca_renewal *out, struct err *err) BASE_MUST_CHECK;

/* ---- the account: for `enrollctl account` and `enrollctl ca check` ---- */
/* Look, never register. *found is false when the CA has none for our key; out->key_type and thumbprint are set anyway. */
bool ca_account_look(struct ca *ca, struct ca_account *out, bool *found, struct err *err) BASE_MUST_CHECK;
/* The thumbprint of our key as it is now, after a look at its file.  No network.  false: this driver has no account. */
bool ca_account_thumbprint(struct ca *ca, char out[64]);
/* Key rollover (RFC 8555 section 7.3.5).  `next_key` is the path of the new key, which must be durable before; the caller puts it in the
 * place of the old one afterwards.  Says true as well when the CA has the new key already.  An error whose op is CA_OP_CHANGE_KEY and
 * whose status is 4xx and class not temporary: the CA certainly does not take this key. */
#define CA_OP_CHANGE_KEY "change account key"
bool ca_account_change_key(struct ca *ca, const char *next_key, struct err *err) BASE_MUST_CHECK;
/* RFC 8555 section 7.3.6: cannot be undone. */
bool ca_account_deactivate(struct ca *ca, struct err *err) BASE_MUST_CHECK;

/* The account's key pair as public key text "sha256..." for the log; and URL. */
const char *ca_account_uri(struct ca *ca);

/* The key authorization of RFC 8823 itself, for the vectors: response = base64url(SHA-256(token "." thumbprint)). */
bool ca_key_authorization(enum token_join join, const char *token_part1, const char *token_part2, const char *thumbprint, struct buf *response, struct err *err) BASE_MUST_CHECK;

#endif
