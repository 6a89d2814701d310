/*
 * enroll/acme.h - an ACME client (RFC 8555, RFC 8823): the driver behind ca.h.  Private to enroll/.
 *
 * Three layers, each in its file: acme.c sends one signed request (nonce, signature, badNonce, lost or not); acme_account.c keeps
 * directory and account; acme_order.c does what ca.h promises for an order.  What a CA sends is taken apart in acme_parse.c, which
 * knows no network, and an order's memory between calls is acme_state.c.
 *
 * Threads: any number.  `lock` guards directory, account, nonces and tickets, and is never held while waiting for the network;
 * `preparing` lets one thread at a time fetch the directory and register.  The settings and the key never change after acme_new.
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
bool acme_directory_parse(const void *data, size_t len, const char *url, struct acme_directory *out, struct err *err) BASE_MUST_CHECK;
void acme_directory_clear(struct acme_directory *d);

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
	char *offered;                /* types of the challenges there are, for an error */
	json_t *error;                /* of the challenge, or of whichever challenge failed; NULL = none */
};
bool acme_authorization_parse(const void *data, size_t len, const char *url, struct acme_authorization *out, struct err *err) BASE_MUST_CHECK;
void acme_authorization_clear(struct acme_authorization *a);

/* The answer to a POST to a challenge: its status, and its error (a new reference) when it has one. */
bool acme_challenge_parse(const void *data, size_t len, const char *url, enum acme_status *status, json_t **error, struct err *err) BASE_MUST_CHECK;

/* A chain as RFC 8555 section 9.1 wants it: certificates and nothing that OpenSSL cannot read; appended to `pem` in clean form. */
bool acme_chain_parse(const void *data, size_t len, const char *url, struct buf *pem, struct err *err) BASE_MUST_CHECK;

#define ACME_AUTHORIZATIONS_MAX 100
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
#define ACME_BAD_NONCE_TRIES 2 /* more than the first one */

struct acme_settings {
	char *directory_url, *contact, *account_key, *eab_kid, *eab_key_file, *eab_algorithm, *profile, *identifier_type;
	bool accept_terms;
	enum token_join token_join;
};

struct acme {
	struct acme_settings set;
	struct jws_key *key;
	struct http *http;
	pthread_mutex_t preparing;
	pthread_mutex_t lock;
	struct acme_directory directory;
	bool has_directory;
	int64_t directory_ms;          /* when it was fetched (mono_ms) */
	char *account;                 /* URL = kid; NULL = not known */
	struct strlist former_accounts; /* URLs that acme_account_uri lent out */
	struct { char text[ACME_NONCE_MAX]; int64_t ms; } nonces[ACME_NONCES]; /* newest last */
	size_t n_nonces;
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
	bool by_key;           /* the key itself in the header instead of the account's URL: newAccount */
	bool once;             /* not idempotent */
	size_t max_body;
};
struct acme_answer {
	struct http_response http;
	bool sent;             /* on failure: this request, and not only one that had to go before, may have been acted upon */
};
/* True for a 2xx answer.  Otherwise err says why; out->http.status is 0 when there was no answer.  `out` is cleared by the caller in every
 * case (acme_answer_clear).  A rejected nonce is replaced and an account that the CA forgot is registered again, each within limits. */
bool acme_post(struct acme *a, const struct acme_call *call, struct acme_answer *out, struct err *err) BASE_MUST_CHECK;
void acme_answer_clear(struct acme_answer *answer);

void acme_nonce_put(struct acme *a, const char *nonce); /* NULL and nonsense are ignored */

/* A ticket says "this order was just seen in that status, and nothing was sent since": the next call need not ask for it again.  It is
 * given out by newOrder and by a look, taken back once, and lost when the program ends - after a crash the order is looked at before
 * anything is finalized. */
void acme_ticket_new(struct acme *a, char out[24]);
bool acme_ticket_take(struct acme *a, const char *ticket);

/* ---- directory and account (acme_account.c) ------------------------------------------------------------------------ */

/* Directory fetched and account known; does nothing when both are fresh. */
bool acme_ready(struct acme *a, struct err *err) BASE_MUST_CHECK;
/* A copy of one of the directory's URLs, fetching the directory when needed. */
bool acme_resource(struct acme *a, enum acme_resource which, char **out, struct err *err) BASE_MUST_CHECK;
bool acme_prepare(struct acme *a, struct ca_info *out, struct err *err) BASE_MUST_CHECK;
/* The CA does not know account `url` any more: forget it, unless another thread has replaced it already. */
void acme_account_forget(struct acme *a, const char *url);
char *acme_account_copy(struct acme *a);
const char *acme_account_uri(struct acme *a);

/* ---- orders (acme_order.c): as in ca.h ------------------------------------------------------------------------------- */

bool acme_open(struct acme *a, const struct ca_request *request, struct ca_order *out, struct err *err) BASE_MUST_CHECK;
bool acme_look(struct acme *a, struct ca_order *o, struct err *err) BASE_MUST_CHECK;
bool acme_answer_for(struct acme *a, const struct ca_order *o, const char *token_part1, struct buf *response, struct err *err) BASE_MUST_CHECK;
bool acme_challenge_ready(struct acme *a, struct ca_order *o, struct err *err) BASE_MUST_CHECK;
bool acme_finalize(struct acme *a, struct ca_order *o, const void *csr, size_t len, struct err *err) BASE_MUST_CHECK;
bool acme_fetch(struct acme *a, struct ca_order *o, struct buf *pem, struct err *err) BASE_MUST_CHECK;

#endif
