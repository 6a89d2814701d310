/*
 * enroll/acme.h - an ACME client (RFC 8555, RFC 8823): the driver behind ca.h.  Private to enroll/.
 *
 * Three layers, each in its file or two: acme.c sends one signed request (nonce, signature, badNonce, lost or not); acme_account.c keeps
 * directory and account, acme_key.c the account's key; acme_order.c does what ca.h promises for an order, acme_certificate.c for a
 * certificate.  What a CA sends is taken apart in acme_parse.c, which knows no network, and an order's memory between calls is acme_state.c.
 *
 * Threads: any number.  `lock` guards directory, key, account, nonces and tickets, and is never held while waiting for the network;
 * `preparing` lets one thread at a time fetch the directory, register, or look for another key, and is taken before `lock`.  A key is
 * counted: who signs holds a reference, so that another may take its place meanwhile.  The settings never change after acme_new.
 */
#ifndef ENROLL_ENROLL_ACME_H
#define ENROLL_ENROLL_ACME_H

#include <jansson.h>
#include <pthread.h>

#include "base/base.h"
#include "enroll/ca.h"
#include "enroll/http.h"
#include "enroll/jws.h"

/* ---- what a CA sends (acme_parse.c) ------------------------------------------------------------------------------ */

enum acme_resource {
	ACME_NEW_NONCE,
	ACME_NEW_ACCOUNT,
	ACME_NEW_ORDER,
	ACME_REVOKE_CERT,
	ACME_KEY_CHANGE,
	ACME_RENEWAL_INFO,
	ACME_RESOURCES /* how many */
};

struct acme_directory {
	char *url[ACME_RESOURCES]; /* the first three are always there, the others may be NULL */
	char *terms;
	struct strlist caa_identities, profiles;
	bool eab_required;
};
const char *acme_resource_name(enum acme_resource which); /* "newNonce" */
bool acme_directory_parse(const void *data, size_t len, const char *url, struct acme_directory *out, struct err *err) BASE_MUST_CHECK;
void acme_directory_clear(struct acme_directory *d);

/* Status ("valid" when the CA says nothing) and contacts; `out` is cleared by the caller in every case. */
bool acme_account_parse(const void *data, size_t len, const char *url, struct ca_account *out, struct err *err) BASE_MUST_CHECK;

enum acme_status {
	ACME_PENDING,
	ACME_READY,
	ACME_PROCESSING,
	ACME_VALID,
	ACME_INVALID,
	ACME_EXPIRED,
	ACME_DEACTIVATED,
	ACME_REVOKED
};

struct acme_order {
	enum acme_status status;
	char *finalize, *certificate; /* certificate: NULL until valid */
	struct strlist authorizations;
	json_t *error; /* NULL = none */
};
bool acme_order_parse(const void *data, size_t len, const char *url, struct acme_order *out, struct err *err) BASE_MUST_CHECK;
void acme_order_clear(struct acme_order *o);

struct acme_authorization {
	enum acme_status status;
	char *identifier;             /* its value */
	/* the email-reply-00 challenge, when there is one */
	bool has_challenge;
	enum acme_status challenge_status;
	char *challenge, *token, *from;
	char *validated;              /* type of the challenge that is valid; NULL = none */
	char *offered;                /* types of the challenges there are, for an error */
	json_t *error;                /* of the challenge, or of whichever challenge failed; NULL = none */
};
bool acme_authorization_parse(const void *data, size_t len, const char *url, struct acme_authorization *out, struct err *err) BASE_MUST_CHECK;
void acme_authorization_clear(struct acme_authorization *a);

/* The answer to a POST to a challenge: its status, and its error (a new reference) when it has one. */
bool acme_challenge_parse(const void *data, size_t len, const char *url, enum acme_status *status, json_t **error, struct err *err) BASE_MUST_CHECK;

/* A chain as RFC 8555 section 9.1 wants it: certificates and nothing that OpenSSL cannot read; appended to `pem` in clean form. */
bool acme_chain_parse(const void *data, size_t len, const char *url, struct buf *pem, struct err *err) BASE_MUST_CHECK;

/* Does the topmost certificate of this chain carry the common name, as its issuer's or its own? */
bool acme_chain_ends_in(const struct buf *pem, const char *issuer);

/* The suggested window of renewal information (RFC 9773 section 4.2); ask_again is not its matter. */
bool acme_renewal_parse(const void *data, size_t len, const char *url, struct ca_renewal *out, struct err *err) BASE_MUST_CHECK;

#define ACME_AUTHORIZATIONS_MAX 100
#define ACME_ALTERNATES_MAX 8
#define ACME_TOKEN_MAX 512

/* ---- what an order remembers between calls (acme_state.c) ---------------------------------------------------------- */

/* The opaque text of struct ca_order. */
struct acme_state {
	char *order;                  /* URL; the only member that is always there */
	char *finalize, *certificate;
	struct strlist authorizations, addresses;
	char *challenge, *token, *address; /* of the validation under way */
	char *ticket, *seen;          /* see acme_ticket_new; seen: "pending" or "ready" */
};
bool acme_state_load(const char *text, struct acme_state *out, struct err *err) BASE_MUST_CHECK;
/* Replaces *text only on success. */
bool acme_state_save(const struct acme_state *s, char **text, struct err *err) BASE_MUST_CHECK;
void acme_state_clear(struct acme_state *s);

/* ---- one request (acme.c) ------------------------------------------------------------------------------------------ */

#define ACME_NONCES 32
#define ACME_NONCE_MAX 256
#define ACME_TICKETS 1024 /* orders in flight */
#define ACME_BAD_NONCE_TRIES 2 /* beside the first: a fourth would be no luckier, and the enrollment has its own patience */

struct acme_settings {
	char *directory_url, *contact, *account_key, *eab_kid, *eab_key_file, *eab_algorithm, *profile, *identifier_type, *preferred_issuer;
	bool accept_terms;
	enum token_join token_join;
};

struct acme {
	struct acme_settings set;
	unsigned label;                /* metrics_ca */
	struct jws_key *key;           /* see acme_key_hold */
	char file_key[64];             /* thumbprint of what ca.account-key held when it was last read: ours may come from KEY.next and be newer */
	struct http *http;
	pthread_mutex_t preparing;
	int64_t failed_ms;             /* under `preparing`: when the last preparation that failed began (mono_ms), and why it did */
	struct err failed;
	pthread_mutex_t lock;
	struct acme_directory directory;
	bool has_directory;
	int64_t directory_ms;          /* when it was fetched (mono_ms) */
	char *account;                 /* URL = kid; NULL = not known */
	struct strlist former_accounts; /* URLs that acme_account_uri lent out */
	bool contact_judged, contact_stale; /* compared with the CA's, once; and found to differ */
	struct { char text[ACME_NONCE_MAX]; int64_t ms; } nonces[ACME_NONCES]; /* newest last */
	size_t n_nonces;
	unsigned nonces_refused;       /* badNonce answers so far */
	char tickets[ACME_TICKETS][24];
	size_t next_ticket;
};

struct acme *acme_new(const struct ca_config *config, struct err *err);
void acme_free(struct acme *a);

struct acme_call {
	const char *op;        /* "new order" */
	const char *url;
	const json_t *payload; /* NULL = POST-as-GET */
	const char *accept;    /* NULL = JSON */
	/* Whose request it is: the account's, found or registered when needed - or, when `key` is set, that key's, under the account URL `kid`
	 * or, without one, with the key itself in the header. */
	struct jws_key *key;
	const char *kid;
	bool once;             /* not idempotent */
	size_t max_body;
};
struct acme_answer {
	struct http_response http;
	bool sent;             /* on failure: this request, and not only one that had to go before, may have been acted upon */
};
/* True for a 2xx answer.  Otherwise err says why; out->http.status is 0 when there was no answer.  `out` is cleared by the caller in every
 * case (acme_answer_clear).  A rejected nonce is replaced, an account that the CA forgot is registered again, and a key that was rolled over
 * by another process is found, each within limits; a call with a key of its own only gets other nonces. */
bool acme_post(struct acme *a, const struct acme_call *call, struct acme_answer *out, struct err *err) BASE_MUST_CHECK;
void acme_answer_clear(struct acme_answer *answer);

void acme_nonce_put(struct acme *a, const char *nonce); /* NULL and nonsense are ignored */

/* A ticket says "this order was just seen in that status, and nothing was sent since": the next call need not ask for it again.  It is
 * given out by newOrder and by a look, taken back once, and lost when the program ends - after a crash the order is looked at before
 * anything is finalized. */
void acme_ticket_new(struct acme *a, char out[24]);
bool acme_ticket_take(struct acme *a, const char *ticket);

/* Note the answer's HTTP status in an error about what it says.  Returns false. */
bool acme_blame(const struct acme_answer *answer, struct err *err);

/* ---- directory and account (acme_account.c) ------------------------------------------------------------------------ */

/* Directory fetched and account known; does nothing when both are fresh. */
bool acme_ready(struct acme *a, struct err *err) BASE_MUST_CHECK;
/* A copy of one of the directory's URLs, fetching the directory when needed. */
bool acme_resource(struct acme *a, enum acme_resource which, char **out, struct err *err) BASE_MUST_CHECK;
/* Does the directory of acme_ready list this profile?  ERR_CONFIG that lists those it has. */
bool acme_profile_offered(struct acme *a, const char *name, struct err *err) BASE_MUST_CHECK;
bool acme_prepare(struct acme *a, struct ca_info *out, struct err *err) BASE_MUST_CHECK;
bool acme_discover(struct acme *a, struct ca_info *out, struct err *err) BASE_MUST_CHECK;
/* acme_probe.c: as ca_probe. */
bool acme_probe(const struct ca_config *config, struct ca_probe *out, struct err *err) BASE_MUST_CHECK;
/* Ask for the account of this key; nothing is registered and nothing remembered.  *found is false, with true returned, when there is none. */
bool acme_account_find(struct acme *a, struct jws_key *key, struct ca_account *out, bool *found, struct err *err) BASE_MUST_CHECK;
/* The same for our own key, or whatever took its place meanwhile (acme_key_search).  Call with `preparing` held. */
bool acme_account_locate(struct acme *a, struct ca_account *out, bool *found, struct err *err) BASE_MUST_CHECK;
/* The CA does not know account `url` any more: forget it, unless another thread has replaced it already. */
void acme_account_forget(struct acme *a, const char *url);
/* Key and account URL that belong together; *kid is NULL when no account is known.  Both are the caller's. */
struct jws_key *acme_identity(struct acme *a, char **kid);
const char *acme_account_uri(struct acme *a);

/* ---- the account's key, and the account for people (acme_key.c) ------------------------------------------------------ */

/* A reference to the key as it is now. */
struct jws_key *acme_key_hold(struct acme *a);
/* Put `fresh` (a reference is taken over) in the place of the key; the account is looked up anew. */
void acme_key_replace(struct acme *a, struct jws_key *fresh);

enum acme_key_found {
	ACME_KEY_SAME,    /* there is no other */
	ACME_KEY_OTHER,   /* another has taken its place */
	ACME_KEY_UNCLEAR  /* a rollover is under way, and how far it is cannot be told now: err says so */
};
/* The CA would not have what `used` signed: has another process given the account a new key (enroll_account_rotate)?  Call with `preparing`
 * held. */
enum acme_key_found acme_key_search(struct acme *a, const struct jws_key *used, struct err *err);
/* The same, taking the lock. */
enum acme_key_found acme_key_search_locked(struct acme *a, const struct jws_key *used, struct err *err);
/* Take the key of ca.account-key when it is another one by now.  No network. */
void acme_key_notice(struct acme *a);

bool acme_account_look(struct acme *a, struct ca_account *out, bool *found, struct err *err) BASE_MUST_CHECK;
bool acme_account_change_key(struct acme *a, const char *next_key, struct err *err) BASE_MUST_CHECK;
bool acme_account_deactivate(struct acme *a, struct err *err) BASE_MUST_CHECK;

/* ---- orders (acme_order.c): as in ca.h ------------------------------------------------------------------------------- */

bool acme_open(struct acme *a, const struct ca_request *request, struct ca_order *out, struct err *err) BASE_MUST_CHECK;
bool acme_look(struct acme *a, struct ca_order *o, struct err *err) BASE_MUST_CHECK;
bool acme_methods(struct acme *a, struct ca_order *o, const struct strlist *addresses, struct strlist *methods, struct err *err) BASE_MUST_CHECK;
bool acme_answer_for(struct acme *a, const struct ca_order *o, const char *token_part1, struct buf *response, struct err *err) BASE_MUST_CHECK;
bool acme_challenge_ready(struct acme *a, struct ca_order *o, struct err *err) BASE_MUST_CHECK;
bool acme_finalize(struct acme *a, struct ca_order *o, const void *csr, size_t len, struct err *err) BASE_MUST_CHECK;
bool acme_fetch(struct acme *a, struct ca_order *o, struct buf *pem, struct err *err) BASE_MUST_CHECK;

/* ---- an issued certificate (acme_certificate.c): as in ca.h ---------------------------------------------------------- */

/* The identifier of RFC 9773 section 4.1 appended to `out`; false, and nothing appended, for a certificate that has none. */
bool acme_certificate_id(const void *der, size_t len, struct buf *out);
bool acme_revoke(struct acme *a, const void *der, size_t len, enum ca_reason reason, EVP_PKEY *key, struct err *err) BASE_MUST_CHECK;
bool acme_renewal(struct acme *a, const void *der, size_t len, struct ca_renewal *out, struct err *err) BASE_MUST_CHECK;

#endif
