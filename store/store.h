/*
 * store/store.h - the only thing the programs share and the only queue between them, and the vault of user keys.
 *
 * The store speaks of enrollments, keys, certificates, challenges and events; SQL stays behind it (sqlite.c; PostgreSQL can
 * stand there too: no call depends on rowids, locks held between calls, or a single writer process).
 *
 * Call order: store_open, calls, store_close.  A struct store is a pool of a few database handles behind one lock: any thread
 * may call at any time; a call blocks while all handles are busy.  Every write is one BEGIN IMMEDIATE transaction that is
 * durable (synchronous=FULL) when the call returns true.  On false nothing was written and `err` says why: ERR_TEMPORARY for a
 * busy or full database, ERR_CONFIG for one that cannot be opened or written, is damaged or of a newer schema, ERR_POLICY for an address
 * that is none, ERR_BUG otherwise.  "Not found" is a normal result and never an error.  Structs filled here own their strings; each has a
 * _clear.  Text that is not UTF-8 is stored with '?' for every octet above 127.  A store does not survive fork: a child opens it anew.
 *
 * Events that the store writes by itself, beside those of store_step_commit and store_event_add: requested, retry, disabled, enabled,
 * challenge_received, reply_reported, flag, revoking, revoked, directory_cleared, exported, imported, found_revoked, renewal_late, campaign, departed, returned, departure_ended, departures_confirmed, and state (a change of state whose step named no event).
 *
 * This file is over 800 lines because a room has one header.
 */
#ifndef ENROLL_STORE_STORE_H
#define ENROLL_STORE_STORE_H

#include <string.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/base.h"

struct store;

struct store_settings {
	char *type;             /* "sqlite" (default) or "postgresql" */
	char *path;             /* database file; default /var/lib/enroll-milter/store.db */
	char *group;            /* the one group that owns the files; default enroll-milter; NULL or "": that of whoever creates them */
	char *connection;       /* PostgreSQL: libpq's connection string or URI; %r becomes outbound, inbound, enrolld, admin, owner; default NULL */
	unsigned busy_ms;       /* how long a write waits for another writer, and a mail for an answer of the database; default 5000 */
	bool allow_unverified;  /* PostgreSQL on another host: that nobody checks whose it is, or that it is no TLS, is meant; default false */
	unsigned clock_tolerance; /* PostgreSQL: seconds that enrolld's clock may be off the database's; default 10; 0 = it is not looked at */
	unsigned retention_days; /* enrolld removes history that is older (store_old_remove); 0 (default) = never */
	bool marked_too;        /* of store_copy and its kin alone: opens a store that was moved away or is half copied */
};
void store_settings_init(struct store_settings *s);
void store_settings_clear(struct store_settings *s);
/* SQLite: the store is the file s->path. */
static inline bool store_is_file(const struct store_settings *s)
{
	return s->type == NULL || strcmp(s->type, "sqlite") == 0;
}
/* What retention_days means: tokens of replies and challenges are asked for in the first days. */
#define STORE_RETENTION_LEAST 30
static inline unsigned store_retention_days(const struct store_settings *s)
{
	return s->retention_days > 0 && s->retention_days < STORE_RETENTION_LEAST ? STORE_RETENTION_LEAST : s->retention_days;
}
/* For people: the file, or the connection string; lives as long as the settings. */
static inline const char *store_where(const struct store_settings *s)
{
	const char *where = store_is_file(s) ? s->path : s->connection;

	return where != NULL ? where : "the store";
}

/* Who opens decides what may be done; a call outside a role fails with ERR_BUG before it reaches the data (SQLite's authorizer
 * denies it as well, so that a subverted inbound process stays in its limits as far as the file allows). */
enum store_role {
	STORE_ROLE_OUTBOUND, /* reads credentials and flags; requests enrollments; adds mail events */
	STORE_ROLE_INBOUND,  /* reads awaited addresses; adds challenges, events, delivery reports */
	STORE_ROLE_ENROLLD,  /* everything but user keys in wrapped form may be read: they are written only */
	STORE_ROLE_ADMIN     /* export, import, masterkey: everything, in a store of this program's schema */
};

/* Create the database with its schema, files 0660 and folder 2770 for the group, whatever the umask.  The folder is made when it is not
 * there (its parent must be); an existing one that does not fit is put right only while it is empty.  ERR_CONFIG when the store is already
 * there.  A crash leaves no store or a whole one. */
bool store_create(const struct store_settings *s, struct err *err) BASE_MUST_CHECK;
/* Open, migrating an older schema first: role ENROLLD alone does that.  OUTBOUND and INBOUND fail with ERR_TEMPORARY until it is done, ADMIN with
 * ERR_CONFIG and a sentence that names store_upgrade's command.  In PostgreSQL nobody migrates by opening: ENROLLD fails with ERR_TEMPORARY, too.  OUTBOUND
 * and INBOUND work there with a schema that is not older than store_schema_milters_from, and are given a store that is away for now as one that is cut off.
 *
 * A rolling upgrade: schemas change by adding, and each says which schema a program must know to go on with it.  OUTBOUND and INBOUND of that age, or
 * newer, open a newer store and work with what they know of it; opened before, they do not notice.  Too old for it, they are cut off: every call fails with
 * ERR_CONFIG, and store_change_counter is -1, also when the store is upgraded while they have it open.  ENROLLD and ADMIN write all of it and refuse
 * every schema newer than theirs. */
struct store *store_open(const struct store_settings *s, enum store_role role, struct err *err);
void store_close(struct store *store);
int store_schema_version(void); /* of this program */
int store_schema_readable_by(void); /* and the oldest one whose milters go on with it */
int store_schema_milters_from(void); /* and the oldest one that this program's milters find all they need in */
/* And of the store, to compare; false also when it has become too new to be read. */
bool store_schema_found(struct store *store, int *version, struct err *err) BASE_MUST_CHECK;
bool store_is_too_new(const struct err *err); /* is that what this error says, or that the store was moved away? */
/* Cheap answer to "did anything change since": a number that differs after any commit, of this or another process.  -1 when cut off
 * (cannot be read, or the file was removed or replaced). */
int64_t store_change_counter(struct store *store);
/* When (mono_ms) it was last known that the counter misses no change: now, or when the database server last answered. */
int64_t store_answered_ms(struct store *store);
/* A mail waits for the calling thread: from _begin to _end all its calls together spend no more time with the database than busy_ms and a second (what
 * OUTBOUND writes excepted), as one of them would otherwise; those that come later fail with ERR_TEMPORARY.  What the thread does beside is not counted.
 * Only when a connection has to be made, and an address does not answer, that may take three seconds an address more.  Not nested.  SQLite makes no difference. */
void store_patience_begin(void);
void store_patience_end(void);
/* For whoever has something in hand that must not be lost: is this an error that passes, and worth another try?  Rests before it says so, longer each time,
 * for a quarter of a minute in all; *tries begins with 0. */
bool store_worth_another_try(unsigned *tries, const struct err *err);
/* What a store says of itself, be its schema older or newer than ours; nothing is changed.  With `check` also structurally sound, as store_check: damage is
 * ERR_CONFIG, and *out is filled as far as it could be read. */
struct store_look {
	int schema;
	int readable_by;        /* the oldest schema whose milters go on with it */
	time_t upgraded_at;     /* made, or upgraded to this schema */
	char upgraded_by[64];   /* program and version that did it */
};
bool store_look(const struct store_settings *s, bool check, struct store_look *out, struct err *err) BASE_MUST_CHECK;
/* Bring an older store to our schema, beside who has it open: each step is a transaction.  A damaged one is left alone.  Nothing to do is true;
 * in a database the roles get their rights anew all the same. */
bool store_upgrade(const struct store_settings *s, struct err *err) BASE_MUST_CHECK;
/* Online copy into a new file (SQLite's backup interface), mode 0600, checked; and back, with owner and modes as store_create sets them.  Both take
 * and leave an older schema as it is, and refuse to overwrite a file. */
bool store_backup(const struct store_settings *s, const char *to, struct err *err) BASE_MUST_CHECK;
bool store_restore(const struct store_settings *s, const char *from, struct err *err) BASE_MUST_CHECK;
/* Structural check (integrity, foreign keys). */
bool store_check(struct store *store, struct err *err) BASE_MUST_CHECK;
/* What an admin should know of how the database is set up (PostgreSQL), a sentence each with what to do, appended to *out; none when all is well. */
bool store_advice(struct store *store, struct strlist *out, struct err *err) BASE_MUST_CHECK;

/* ---- enrollments ------------------------------------------------------------------------------------------------- */

/* One row per (address set, profile, usage); of an address there is one row to sign with, and at most one companion of it, to be encrypted
 * to.  The names are those of the log, the events and enrollctl (enrollment_state_name). */
enum enrollment_state {
	ENROLLMENT_REQUESTED,
	ENROLLMENT_ELIGIBLE,
	ENROLLMENT_CAA_CHECKED,
	ENROLLMENT_ORDERING,
	ENROLLMENT_ORDERED,
	ENROLLMENT_CHALLENGE_AWAITED,
	ENROLLMENT_ANSWERED,
	ENROLLMENT_VALIDATED,
	ENROLLMENT_FINALIZED,
	ENROLLMENT_ISSUED,
	ENROLLMENT_CHECKED,
	ENROLLMENT_PUBLISHED,
	ENROLLMENT_ACTIVE,
	ENROLLMENT_WAITING,  /* until, why; goes on in `resume` */
	ENROLLMENT_BLOCKED,  /* an admin has to do something, then `enrollctl retry`; with next_at looked at again by itself, in `resume` */
	ENROLLMENT_FAILED,
	ENROLLMENT_RENEWING,
	ENROLLMENT_SUPERSEDED,
	ENROLLMENT_REVOKING,
	ENROLLMENT_REVOKED,
	ENROLLMENT_EXPIRED,
	ENROLLMENT_STATES    /* how many */
};
const char *enrollment_state_name(enum enrollment_state s);            /* "challenge-awaited" */
bool enrollment_state_parse(const char *name, enum enrollment_state *out);

struct enrollment {
	int64_t id;
	struct strlist addresses;  /* canonical; the first is the one users name it by */
	char *profile;             /* "mailbox-strict", "private" ... */
	char *usage;               /* "sign", "encrypt", "dual" */
	char *ca;                  /* which CA of the configuration; "" until chosen */
	char *rule;                /* the rule of the configuration that decided about it; NULL = none, or not decided yet */
	char *entry;               /* identity of the directory entry it was decided for (ldap/directory.h); NULL = none, or not decided yet */
	int64_t companion_of;      /* the row of the same address that signs, when this one is its certificate for encryption; 0 = no companion */
	enum enrollment_state state, resume;
	time_t state_since;        /* kept by the store */
	time_t next_at;            /* when the next step is due; 0 = nothing to do by itself */
	time_t planned_at;         /* what the last step set next_at to; later than now = a mail or report woke the row; kept by the store */
	int64_t version;           /* counts commits and claims */
	char *lease_owner;         /* NULL when nobody works on it */
	time_t lease_until;
	char *intent;              /* what was about to happen outside when the lease was taken: "newOrder", "reply" ...; NULL = none */
	unsigned attempts;         /* failures in a row at this step */
	unsigned orders;           /* orders opened for this need */
	unsigned abandoned;        /* of them: answer lost, left to expire */
	enum err_class why_class;  /* for waiting, blocked, failed */
	char *why;                 /* sentence for the admin */
	char *why_subject;         /* what the failure was about: URL, file, address; NULL = nothing more to say */
	char *why_type;            /* ACME problem type, "smtp-550" ... */
	int why_status;            /* HTTP or SMTP status; 0 = none */
	time_t why_at;             /* when it failed */
	char *activity;            /* what was being tried last, in plain words */
	char *requested_by;        /* login, or the admin's user name */
	time_t requested_at;
	bool disabled;             /* by an admin: no new certificate, no signing */
	/* by the directory, the same: kept by store_departure_*, whatever the admin says */
	time_t gone_since;         /* 0 = not gone */
	time_t gone_ended;         /* the grace period is over, and what was published is taken back; 0 = not yet */
	char *gone_why;            /* a departure's name (departure_name) */
	char *gone_by;             /* who let it through: "enrolld", or the admin who confirmed it */
	/* the order */
	char *ca_state;            /* opaque to everybody but the CA driver (JSON) */
	time_t ordered_at;         /* before newOrder was sent */
	time_t retry_at;           /* the CA asked not to be asked about the order before; 0 = no word */
	char *challenge_from;      /* address the challenge mail will come from; NULL until known */
	char *challenge_address;   /* which of `addresses` it will go to: one at a time; NULL = the first */
	time_t trigger_at;         /* when the challenge was POSTed; 0 = not yet */
	time_t answered_at;        /* when the reply mail was accepted by our MTA */
	int64_t key_id;            /* 0 = none yet */
	unsigned char *csr; size_t csr_len; /* DER */
	int64_t certificate_id;    /* the one in hand or active; 0 = none */
};
void enrollment_clear(struct enrollment *e);

/* Somebody wants a certificate for this address: creates a row in state requested when there is none that is open, and says in *created
 * whether it did.  Which certificate is decided later, by the worker (store_step.decided); `profile` and `usage` stand there until then.  An
 * existing row is left alone, whatever its state.  *id may be NULL.  The row of an address that an admin disabled is created disabled. */
bool store_enrollment_request(struct store *store, const char *address, const char *profile, const char *usage,
	const char *requested_by, bool *created, int64_t *id, struct err *err) BASE_MUST_CHECK;

/* The companion of a row that signs: created in state requested, with the row's addresses, profile and rule and usage encrypt, when it has
 * no open one. */
bool store_enrollment_companion_request(struct store *store, const struct enrollment *row, bool *created, struct err *err) BASE_MUST_CHECK;
/* *found is false when it has none that is open. */
bool store_enrollment_companion(struct store *store, int64_t id, struct enrollment *out, bool *found, struct err *err) BASE_MUST_CHECK;

/* Claim one due row (next_at <= now, no live lease, not disabled): sets the lease and gives the row as it is, including the
 * intent a crashed worker left.  *found is false when nothing is due.  Oldest next_at first.  Read the row's challenges after the claim. */
bool store_enrollment_claim(struct store *store, const char *owner, time_t now, unsigned lease_seconds, struct enrollment *out,
	bool *found, struct err *err) BASE_MUST_CHECK;

/* Give back all leases and turns whose owner begins with this prefix: those of a predecessor of the same instance that was killed.  Its intents stay. */
bool store_leases_release(struct store *store, const char *owner_prefix, struct err *err) BASE_MUST_CHECK;

struct store_key {              /* a new user key, already wrapped for the master certificate */
	const unsigned char *wrapped; size_t wrapped_len;
	char spki_sha256[65];   /* hex of the public key's SHA-256 */
	char master[65];        /* the same of the master certificate; "" = not said, and not compared with the one in force */
};
struct store_certificate {
	int64_t id;
	int64_t enrollment_id, key_id;
	unsigned char *der; size_t der_len;      /* leaf */
	unsigned char *chain; size_t chain_len;  /* PEM of the intermediates, in order, without root; may be empty */
	char *serial;           /* hex */
	char *issuer;           /* RFC 2253 text */
	char *fingerprint;      /* SHA-256, hex */
	char *addresses;        /* blank separated */
	time_t not_before, not_after;
	time_t obtained_at;     /* when it came into the store; kept by the store */
	char *status;           /* "issued", "refused", "checked", "published", "active", "superseded", "revoked", "expired"; read as "revoking"
	                         * as long as the CA or the directory have not followed a revocation.  Once revoked no step writes another */
	char *why;              /* findings of certcheck when refused; warnings otherwise; NULL = none */
	bool in_directory;      /* we put it there */
	char *directory_dn;     /* where */
	enum err_class directory_class; /* it has to leave the directory, and did not: of the last failure */
	char *directory_why;    /* NULL = none */
	time_t directory_next_at; /* and when that is tried next */
	unsigned directory_attempts; /* failures in a row */
};
void store_certificate_clear(struct store_certificate *c);

/* What one commit of a claimed row writes, in one transaction, if lease and version still match: the row's new values, an event,
 * and whatever goes with it.  Members that are NULL are not written.
 * Of the row, requested_*, companion_of and disabled are never written, and addresses, profile, usage, rule and entry with `decided` alone; orders and
 * abandoned are the caller's to count.
 * next_at: kept as it is with keep_lease (so that the row is found again when this worker dies), kept in blocked (looked at again by itself), 0 in failed, superseded, revoked;
 * a challenge that came during the step makes a row that still awaits one due at once (see steps.c).
 * On success the row has its new version, state_since, next_at, key_id, certificate_id, and no lease unless it was kept. */
/* How many there may be: orders opened since then (CAP_OPENED), of them those not ended (CAP_OPEN), at this CA, NULL = at any; or what store_enrolled counts. */
enum store_cap_kind { CAP_OPENED, CAP_OPEN, CAP_ENROLLED };
struct store_cap { enum store_cap_kind kind; const char *ca; time_t since; size_t most; };
struct store_step {
	struct enrollment *row;
	bool decided;                      /* what the rules say of this address: the row's addresses, profile, usage, rule and entry are written too */
	bool keep_lease;                   /* transaction 1: the intent is stored, the lease stays (lease_until may be moved) */
	const char *event;                 /* such as "state", "newOrder", "reply_sent"; NULL: "state" if the state changed, else none */
	const char *actor;                 /* "enrolld", "admin:root" ... */
	const char *text;                  /* what and why, for people; may be NULL */
	enum err_class class;
	const struct store_key *new_key;   /* sets row->key_id */
	struct store_certificate *certificate; /* id 0: inserted, sets row->certificate_id and its own id; else its status, why, directory
	                                        * are updated.  Status "active" makes the one that was active before "superseded". */
	bool count_order;                  /* one line in the order book (caps a day count these) */
	const struct store_cap *caps;      /* counted in the same transaction, whoever else does the same */
	size_t n_caps;
	bool full;                         /* out: one of them was reached, so nothing was written (result true) */
	const char *order_outcome;         /* "abandoned", "unsent", "finalized", "invalid", "expired": closes the row's open line */
	int64_t challenge_id;              /* this challenge's reply state is updated too (0 = none) */
	const char *challenge_state;       /* see struct challenge; from replied or in-doubt never back to new or replying: ERR_BUG.  For
	                                    * refused, ignored, in-doubt, `text` becomes the challenge's why */
	const char *challenge_reply_id;    /* Message-ID of our reply */
	const char *challenge_report_token; /* by which a delivery report names this reply: 16 to 100 octets that nobody can guess, of no other
	                                    * challenge; with the intent, before the reply leaves */
	int64_t reports_seen;              /* reports of this row with an id up to this were acted on; 0 = none */
};
/* *stale is true (and nothing written, result true) when the lease or version no longer matches: drop the work. */
bool store_step_commit(struct store *store, struct store_step *step, bool *stale, struct err *err) BASE_MUST_CHECK;

/* Look-ups. `address` in any spelling that address_parse takes.  Of several rows of an address: one that is open, one that is no companion,
 * then the newest. */
bool store_enrollment_find(struct store *store, const char *address, struct enrollment *out, bool *found,
	struct err *err) BASE_MUST_CHECK;
bool store_enrollment_get(struct store *store, int64_t id, struct enrollment *out, bool *found, struct err *err) BASE_MUST_CHECK;
/* All rows in order of address, in pages: those with address key > `after` (NULL = from the start), at most `limit`; `state` -1 = any.
 * Rows of one address are never torn apart, so a page may be a few rows longer.  The next page is after the address_key of the last row. */
struct enrollment_list { struct enrollment *v; size_t n; };
bool store_enrollment_list(struct store *store, int state, const char *after, size_t limit,
	struct enrollment_list *out, struct err *err) BASE_MUST_CHECK;
/* Rows of people somebody looks for: every word of `text` (the first four) is in one of their addresses, or, colons and blanks left out, it is how
 * the serial number or fingerprint of one of their certificates begins.  In order of address. */
bool store_enrollment_search(struct store *store, const char *text, size_t limit, struct enrollment_list *out, struct err *err) BASE_MUST_CHECK;
void enrollment_list_clear(struct enrollment_list *l);
bool store_enrollment_counts(struct store *store, size_t counts[ENROLLMENT_STATES], size_t *disabled, struct err *err) BASE_MUST_CHECK;
/* The configuration has other rules, or other certificates: rows that are active, or blocked and looked at again by themselves, are now, a few each
 * second. */
bool store_enrollments_review(struct store *store, struct err *err) BASE_MUST_CHECK;
/* Active rows that became due while nobody worked: due a few each second, so that those who have no certificate yet come in between. */
bool store_enrollments_spread(struct store *store, struct err *err) BASE_MUST_CHECK;
/* Earliest next_at of any row that waits for a step; 0 = none. */
bool store_enrollment_next_due(struct store *store, time_t *when, struct err *err) BASE_MUST_CHECK;
/* Orders opened since `since` (cap-per-day), without those that never reached the CA (outcome "unsent"); at this CA, NULL = at any. */
bool store_orders_since(struct store *store, time_t since, const char *ca, size_t *n, struct err *err) BASE_MUST_CHECK;
/* When the nth of them (from 1, the oldest first) was opened; 0 = there are not so many. */
bool store_orders_nth(struct store *store, time_t since, const char *ca, size_t nth, time_t *when, struct err *err) BASE_MUST_CHECK;
/* Who has this address: an open row that signs, other than `except`, and is neither blocked nor failed; the oldest.  id 0 = nobody. */
struct store_taken { int64_t enrollment_id; bool undecided; };
bool store_address_taken(struct store *store, const char *address, int64_t except, struct store_taken *out, struct err *err) BASE_MUST_CHECK;
/* Has another row of one of this row's addresses an order opened since `since` and not ended?  *found is its id, 0 = none. */
bool store_order_elsewhere(struct store *store, int64_t id, time_t since, int64_t *found, struct err *err) BASE_MUST_CHECK;
/* Rows that sign and have a certificate, or an order, or are past being eligible (cap-total counts these). */
bool store_enrolled(struct store *store, size_t *n, struct err *err) BASE_MUST_CHECK;
/* Orders opened since `since` and not ended.  Older ones have expired at the CA, whatever became of their rows. */
bool store_orders_open(struct store *store, time_t since, const char *ca, size_t *n, struct err *err) BASE_MUST_CHECK;

/* What a CA refuses for a while, and not only to the enrollment that was told so. */
struct store_limit {
	char *ca;
	char *scope;            /* "" = the whole account; else an address key or a domain */
	char *text;             /* the CA's words */
	time_t at, until;
};
/* Takes the place of what is there for (ca, scope); limits that are over are deleted by the way. */
bool store_limit_set(struct store *store, const char *ca, const char *scope, time_t until, const char *text,
	struct err *err) BASE_MUST_CHECK;
struct store_limit_list { struct store_limit *v; size_t n; };
/* Those in force: until > now; in order of scope, so that the whole account's comes first. */
bool store_limits(struct store *store, const char *ca, time_t now, struct store_limit_list *out, struct err *err) BASE_MUST_CHECK;
void store_limit_list_clear(struct store_limit_list *l);

/* What an admin does to a row, outside the lease scheme (version is counted up, so that a step under way becomes stale).
 * RETRY: waiting rows go on now; blocked and failed ones from requested, with a new order, new key and counters at 0, or from
 * where they are when the CA may have finalized already (resume validated to published); a row
 * with a live lease is left alone.  DISABLE/ENABLE: the flag, on every row of this row's address.  RENEW: an active row gets a new certificate
 * now, the present one signs until then; one in revoking too, whose revocation goes on beside it. */
enum enrollment_admin { ENROLLMENT_ADMIN_RETRY, ENROLLMENT_ADMIN_DISABLE, ENROLLMENT_ADMIN_ENABLE, ENROLLMENT_ADMIN_RENEW };
bool store_enrollment_admin(struct store *store, int64_t id, enum enrollment_admin what, const char *actor, const char *text, bool *changed,
	struct err *err) BASE_MUST_CHECK;

bool store_certificate_get(struct store *store, int64_t id, struct store_certificate *out, bool *found, struct err *err) BASE_MUST_CHECK;
/* By the SHA-256 of its DER in hex, lower case: is it one of ours? */
bool store_certificate_find(struct store *store, const char *fingerprint, struct store_certificate *out, bool *found, struct err *err) BASE_MUST_CHECK;
struct store_certificate_list { struct store_certificate *v; size_t n; };
bool store_certificates_of(struct store *store, int64_t enrollment_id, struct store_certificate_list *out,
	struct err *err) BASE_MUST_CHECK;
/* Those that sign now and end by then, the next one to end first. */
bool store_certificates_expiring(struct store *store, time_t until, size_t limit, struct store_certificate_list *out,
	struct err *err) BASE_MUST_CHECK;
void store_certificate_list_clear(struct store_certificate_list *l);

/* ---- revocations --------------------------------------------------------------------------------------------------- */

/* The reasons of RFC 5280 section 5.3.1 that an admin may name. */
bool store_revocation_reason(const char *name);

/* What has to follow a revocation outside.  The parts have leases and waiting times of their own: neither holds up the other. */
enum revocation_part { REVOCATION_CA, REVOCATION_DIRECTORY, REVOCATION_PARTS };
const char *revocation_part_name(enum revocation_part part);

struct store_revocation_part {
	time_t done_at;         /* 0 = not yet */
	time_t next_at;         /* when it is tried next; 0 when done */
	unsigned attempts;      /* failures in a row */
	enum err_class why_class;
	char *why, *why_type;   /* of the last failure; NULL = none */
};
struct store_revocation {
	int64_t id, enrollment_id;
	struct store_certificate certificate;
	char *address;          /* the enrollment's */
	char *ca;               /* which CA of the configuration issued it */
	char *reason;           /* "keyCompromise" ... */
	char *requested_by;
	time_t requested_at;
	time_t done_at;         /* both parts */
	struct store_revocation_part parts[REVOCATION_PARTS];
	char *lease_owner;      /* of the part that store_revocation_claim gave */
};
void store_revocation_clear(struct store_revocation *r);
struct store_revocation_list { struct store_revocation *v; size_t n; };
void store_revocation_list_clear(struct store_revocation_list *l);

/* Which certificates could be revoked: issued, not revoked yet, valid still.  `about` is an enrollment's id as text ("#12": of all rows of that
 * row's address), or a serial number or fingerprint in hex.  Oldest first. */
bool store_revocable(struct store *store, const char *about, struct store_certificate_list *out, struct err *err) BASE_MUST_CHECK;
/* One transaction: from here on nobody signs with what store_revocable lists for `about`, and a revocation of each is due.
 * Of a row whose certificate signed, or was about to: with `replace` a new key and certificate begin at once; without, its order is given up, the
 * row is in revoking until both parts are done and in revoked then, and its address is disabled as by an admin; of all rows of an
 * address ("#12") the same is true whatever they have.  A worker may be publishing such a
 * certificate at this moment: then the directory is left alone for `publish_seconds`, in which that call ends.  *n is how many. */
struct store_revoke {
	const char *about, *reason;
	bool replace;
	bool departed;          /* of somebody who left by the directory: their address is not disabled, as they may come back */
	unsigned publish_seconds;
	const char *actor, *text;
	const struct strlist *shown; /* fingerprints that somebody agreed to; with any other one nothing is done (ERR_POLICY).  NULL: whatever there is */
};
bool store_revoke(struct store *store, const struct store_revoke *what, size_t *n, struct err *err) BASE_MUST_CHECK;
/* Claim one due part of this kind: transaction 1 of a step, its lease is the intent.  Of all that are due, the one longest so. */
bool store_revocation_claim(struct store *store, enum revocation_part part, const char *owner, time_t now, unsigned lease_seconds,
	struct store_revocation *out, bool *found, struct err *err) BASE_MUST_CHECK;
/* Transaction 2: done (`failure` NULL), or tried again at next_at.  `event` and `text` go into the history; NULL = none.  When both parts are done the
 * certificate is revoked, with an event "revoked".  *stale as with store_step_commit. */
struct store_revocation_result { const struct err *failure; time_t next_at; const char *event, *text; };
bool store_revocation_commit(struct store *store, const struct store_revocation *r, enum revocation_part part, const struct store_revocation_result *result,
	bool *stale, struct err *err) BASE_MUST_CHECK;
/* The revocation of the certificate with this serial number, if its CA has not followed yet; whoever works on that part loses it (asked twice, a CA
 * does no harm).  Role ADMIN, who goes on with store_revocation_commit. */
bool store_revocation_take(struct store *store, const char *serial, const char *owner, unsigned lease_seconds, struct store_revocation *out, bool *found,
	struct err *err) BASE_MUST_CHECK;
/* All parts of this row's address that wait are due now. */
bool store_revocations_retry(struct store *store, int64_t enrollment_id, bool *changed, struct err *err) BASE_MUST_CHECK;
/* Earliest next_at of any part; 0 = none. */
bool store_revocation_next_due(struct store *store, time_t *when, struct err *err) BASE_MUST_CHECK;
/* All of an enrollment, oldest first. */
bool store_revocations_of(struct store *store, int64_t enrollment_id, struct store_revocation_list *out, struct err *err) BASE_MUST_CHECK;

/* The wrapped private key (struct store_certificate.key_id), for keyvault_unwrap; freed by the caller.  Role ADMIN. */
bool store_user_key(struct store *store, int64_t key_id, unsigned char **wrapped, size_t *len, struct err *err) BASE_MUST_CHECK;
/* ---- what is ours in the directory ---------------------------------------------------------------------------------- */

/* The first of those that we put into the directory and that have to leave it: superseded, with the one that took their place there as well (or with
 * none that signs), or past their end.  Revoked ones leave by their revocation.  What the work list is needs no other mark than the certificate's
 * own columns: whoever dies in the middle finds it again.  *found is false when none is due; *next is then when one will be tried again, 0 = none. */
bool store_directory_due(struct store *store, time_t now, struct store_certificate *out, bool *found, time_t *next, struct err *err) BASE_MUST_CHECK;
/* It is not in the directory any more (`failure` NULL), or will be tried again at next_at.  `event` (NULL = none) and `text` go into the history of
 * its enrollment. */
struct store_directory_result { const struct err *failure; time_t next_at; const char *event, *actor, *text; };
bool store_directory_left(struct store *store, const struct store_certificate *c, const struct store_directory_result *result, struct err *err) BASE_MUST_CHECK;
/* It is in the directory, at `dn`, with an event "published". */
bool store_directory_found(struct store *store, const struct store_certificate *c, const char *dn, const char *actor, const char *text,
	struct err *err) BASE_MUST_CHECK;
/* What waits of this row's address is due now. */
bool store_directory_retry(struct store *store, int64_t enrollment_id, bool *changed, struct err *err) BASE_MUST_CHECK;

/* A value of somebody else's that the admin's option lets us take away: as it was, and where.  Kept for ever. */
struct store_saved {
	int64_t id, enrollment_id;
	char *address;          /* address key */
	char *dn, *attribute;
	unsigned char *value; size_t value_len;
	time_t at, restored_at; /* 0 = not put back */
};
struct store_saved_list { struct store_saved *v; size_t n; };
void store_saved_list_clear(struct store_saved_list *l);
/* Before it is taken away.  One that is kept already and was not put back is kept once. */
bool store_saved_add(struct store *store, const struct store_saved *s, struct err *err) BASE_MUST_CHECK;
/* Those not put back, with an id > after, at most `limit`, oldest first; `address` NULL = of all. */
bool store_saved_list(struct store *store, const char *address, int64_t after, size_t limit, struct store_saved_list *out, struct err *err) BASE_MUST_CHECK;
/* It is back: an event "directory_restored". */
bool store_saved_restored(struct store *store, const struct store_saved *s, const char *actor, const char *text, struct err *err) BASE_MUST_CHECK;

/* ---- keys in and out (role ADMIN) -------------------------------------------------------------------------------- */

/* All certificates of all rows of this address that have a key here (refused ones have none to speak of), oldest first. */
bool store_certificates_for(struct store *store, const char *address, struct store_certificate_list *out, struct err *err) BASE_MUST_CHECK;
/* The wrapped key of a certificate, for keyvault_unwrap; freed by the caller.  An event "exported" with this text is committed before it is given. */
bool store_key_export(struct store *store, int64_t certificate_id, const char *actor, const char *text, unsigned char **wrapped, size_t *len,
	struct err *err) BASE_MUST_CHECK;

/* Bring a key and its certificate in.  Of `row` count addresses (canonical, the one users name it by first), profile, usage, ca and rule; of
 * `certificate` everything but ids, status and directory.  It comes in as `checked`, in a row of that state, from where enrolld goes on
 * (publish, active); with `old` as `superseded`, for reading alone, and a row that is there stays as it is.  A certificate that is here already
 * changes nothing: created is false, and status says what it is.  ERR_POLICY when the address has an active certificate, another address has
 * this key, or the one to sign with has to come first (type STORE_IMPORT_NOT_YET); ERR_TEMPORARY when an enrollment is under way.  With
 * `dry_run` nothing is written.  Event: imported. */
#define STORE_IMPORT_NOT_YET "not-yet"
struct store_import {
	const struct enrollment *row;
	const struct store_key *key;
	const struct store_certificate *certificate;
	bool old, dry_run;
	const char *actor, *text;
};
/* For another master key: keys with an id above `after`, by id; and what of them has an `anew` in its place, in one transaction, where they are still
 * as they were read. */
struct store_wrapped { int64_t id; unsigned char *data; size_t len; struct buf anew; };
struct store_wrapped_list { struct store_wrapped *v; size_t n; };
void store_wrapped_list_clear(struct store_wrapped_list *l);
bool store_keys_wrapped(struct store *store, int64_t after, size_t limit, struct store_wrapped_list *out, struct err *err) BASE_MUST_CHECK;
bool store_keys_rewrap(struct store *store, const struct store_wrapped_list *l, struct err *err) BASE_MUST_CHECK;

struct store_imported { int64_t enrollment_id; bool created; char status[16]; };
bool store_import(struct store *store, const struct store_import *what, struct store_imported *out, struct err *err) BASE_MUST_CHECK;

/* ---- people who left ---------------------------------------------------------------------------------------------- */

/* Somebody is gone as far as the directory knows: their entry is disabled, is not there, or does not list the address any more.  It is about the
 * rows of an address, as `disabled` is, and apart from that: neither undoes the other. */
enum departure { DEPARTURE_NONE, DEPARTURE_DISABLED, DEPARTURE_GONE, DEPARTURE_ADDRESS, DEPARTURES };
const char *departure_name(enum departure d);  /* "disabled", "gone", "address" */
enum departure departure_parse(const char *name); /* DEPARTURE_NONE for any other text */

struct store_person {
	int64_t enrollment_id;  /* the row that signs, or did: open before closed, then the newest */
	char *address, *address_key, *entry; /* the second is the first where they do not differ: there are many of them */
	enum enrollment_state state;
	bool disabled;
	time_t gone_since, gone_ended;
	char *gone_why, *gone_by;
};
struct store_people { struct store_person *v; size_t n; };
/* Each address once, in order of address_key: those with an open row that an entry of the directory stands behind, and those who left. */
bool store_people_list(struct store *store, bool gone_only, struct store_people *out, struct err *err) BASE_MUST_CHECK;
void store_people_clear(struct store_people *l);

/* From here on nobody signs for the rows of this address, and nothing is renewed.  *changed is false when they are gone already. */
bool store_departure_note(struct store *store, const char *address_key, enum departure why, const char *actor, const char *text, bool *changed,
	struct err *err) BASE_MUST_CHECK;
/* They are back: what was not ended goes on, active rows ask rules and directory at once. */
bool store_departure_undo(struct store *store, const char *address_key, const char *actor, const char *text, bool *changed,
	struct err *err) BASE_MUST_CHECK;
/* The grace period is over: open rows are superseded (those in revoking go their own way), keys and certificates stay in the store. */
bool store_departure_end(struct store *store, const char *address_key, const char *text, bool *changed, struct err *err) BASE_MUST_CHECK;
/* Those that may have been published, of all rows of this address, oldest first. */
bool store_certificates_of_address(struct store *store, const char *address_key, struct store_certificate_list *out, struct err *err) BASE_MUST_CHECK;
/* Our value is not in the directory any more. */
bool store_certificate_unpublished(struct store *store, int64_t certificate_id, struct err *err) BASE_MUST_CHECK;

/* Those who would be gone all at once: held until an admin confirms them, or the directory is itself again. */
struct store_held { char *address, *address_key, *confirmed_by; enum departure why; time_t at, confirmed_at; };
struct store_held_list { struct store_held *v; size_t n; };
void store_held_list_clear(struct store_held_list *l);
/* These and no others are held; who was confirmed before stays so.  Only address, address_key and why are read.  n 0: none are held.
 * `at` of those who were not held before is later than that of all who ever were. */
bool store_departures_hold(struct store *store, const struct store_held *v, size_t n, struct err *err) BASE_MUST_CHECK;
/* In order of address_key. */
bool store_departures_held(struct store *store, struct store_held_list *out, struct err *err) BASE_MUST_CHECK;
/* Those whose `at` is no later than `as_of`; *n is how many were not confirmed yet. */
bool store_departures_confirm(struct store *store, const char *actor, time_t as_of, size_t *n, struct err *err) BASE_MUST_CHECK;

/* What is needed to note that a certificate in use is revoked at the CA already: from here on nobody signs with it, and the directory follows.
 * With `replace` a new key and certificate begin at once; else its address is disabled as by an admin.  *news is false when it was known. */
struct store_found_revoked { int64_t certificate_id; bool replace; unsigned publish_seconds; const char *text; };
bool store_found_revoked(struct store *store, const struct store_found_revoked *what, bool *news, struct err *err) BASE_MUST_CHECK;

/* ---- renewals ------------------------------------------------------------------------------------------------------ */

/* What the CA said of the renewal of a certificate. */
struct store_renewal {
	int64_t certificate_id;
	time_t renew_at;        /* the moment chosen in its window; 0 = it named none */
	time_t window_start, window_end;
	char *explanation;      /* URL for people; NULL = none */
	time_t ask_at;          /* when it is to be asked again; 0 = it was never asked */
	bool urged;             /* the window was over when we heard of it */
	unsigned urged_before;  /* how many certificates of the same enrollment before this one were urged; kept by the store */
};
void store_renewal_clear(struct store_renewal *r);
/* All zero when nothing is known yet. */
bool store_renewal_get(struct store *store, int64_t certificate_id, struct store_renewal *out, struct err *err) BASE_MUST_CHECK;
bool store_renewal_put(struct store *store, const struct store_renewal *r, struct err *err) BASE_MUST_CHECK;

/* A certificate that signs and is to be replaced, whose enrollment has no new one yet. */
struct store_late {
	int64_t certificate_id, enrollment_id;
	char *address, *serial, *why;
	enum enrollment_state state;
	time_t due, not_after;  /* when its renewal was due */
	unsigned stage, said;   /* 1 half of what remained at `due` is over, 2 three quarters, 3 nine tenths, 4 it has expired; what was told already */
};
struct store_late_list { struct store_late *v; size_t n; };
/* Those whose stage was not told yet, at most `limit`. */
bool store_renewals_late(struct store *store, time_t now, size_t limit, struct store_late_list *out, struct err *err) BASE_MUST_CHECK;
/* Told: an event renewal_late, and not again for this stage. */
bool store_renewal_late_told(struct store *store, const struct store_late *l, const char *text, struct err *err) BASE_MUST_CHECK;
void store_late_list_clear(struct store_late_list *l);

/* Certificates in use of this CA get a time for their next look at OCSP or CRL, spread over `period` seconds. */
bool store_watch_plan(struct store *store, const char *ca, time_t now, unsigned period, struct err *err) BASE_MUST_CHECK;
/* One whose time has come; its next time is `period` from now. */
bool store_watch_claim(struct store *store, const char *ca, time_t now, unsigned period, struct store_certificate *out, bool *found, struct err *err) BASE_MUST_CHECK;

/* ---- campaigns: many certificates replaced before a deadline ---------------------------------------------------------- */

struct store_selection {
	const char *issuer;            /* part of the issuer's name, whatever the case; NULL = any */
	time_t issued_from, issued_to; /* notBefore, both included; 0 = open */
	const struct strlist *serials; /* hex in capitals, as the store has them; NULL = any */
	const char *ca;                /* name of the CA; NULL = any */
};
struct store_campaign {
	int64_t id;
	char *state;                   /* "running", "paused", "done", "cancelled" */
	char *selection;               /* in words */
	char *revoke;                  /* reason with which the old ones are revoked when the new ones are active; NULL = they are not */
	char *created_by;
	time_t deadline, created_at, ended_at;
	size_t pending, begun, done, skipped, stuck; /* stuck: begun, and blocked or failed */
	time_t first_begun, last_begun, last_done;
};
void store_campaign_clear(struct store_campaign *c);
/* How many certificates are meant, and of which CAs.  Those that sign or are about to, and have not expired. */
struct store_selected { char *ca; size_t n; };
struct store_selected_list { struct store_selected *v; size_t n; };
void store_selected_list_clear(struct store_selected_list *l);
bool store_select(struct store *store, const struct store_selection *what, struct store_selected_list *out, struct err *err) BASE_MUST_CHECK;
/* One transaction: the campaign and its rows.  ERR_POLICY when another one goes on, or nothing is meant. */
bool store_campaign_create(struct store *store, const struct store_selection *what, const struct store_campaign *c, size_t *n, struct err *err) BASE_MUST_CHECK;
/* Cheap: is one running or paused? */
bool store_campaign_underway(struct store *store, bool *underway, struct err *err) BASE_MUST_CHECK;
/* The newest one. */
bool store_campaign_get(struct store *store, struct store_campaign *out, bool *found, struct err *err) BASE_MUST_CHECK;
/* Certificates that wait for their turn, by CA. */
bool store_campaign_pending(struct store *store, int64_t id, struct store_selected_list *out, struct err *err) BASE_MUST_CHECK;
/* "paused", "running" or "cancelled"; *changed is false when it cannot go there. */
bool store_campaign_set(struct store *store, int64_t id, const char *state, const char *actor, bool *changed, struct err *err) BASE_MUST_CHECK;
/* Up to n pending certificates of this CA are renewed from now on; those that a worker looks at right now come next time.  *begun is how many. */
bool store_campaign_begin(struct store *store, int64_t id, const char *ca, size_t n, size_t *begun, struct err *err) BASE_MUST_CHECK;
/* What became of its certificates goes into its rows; old ones are revoked when it says so; done when nothing is left to do. */
bool store_campaign_follow(struct store *store, const struct store_campaign *c, unsigned publish_seconds, bool *ended, struct err *err) BASE_MUST_CHECK;
/* Mean seconds from opening to end of the last orders at this CA that gave a certificate; 0 = there were none. */
bool store_order_seconds(struct store *store, const char *ca, unsigned *seconds, struct err *err) BASE_MUST_CHECK;

/* ---- what the outbound instance signs with ----------------------------------------------------------------------- */

struct store_credential {
	int64_t enrollment_id, certificate_id;
	unsigned char *wrapped; size_t wrapped_len; /* private key, for keyvault_unwrap */
	unsigned char *der; size_t der_len;
	unsigned char *chain; size_t chain_len;
	enum enrollment_state state;  /* of the enrollment */
	char *rule;                   /* of the enrollment; see struct enrollment */
};
void store_credential_clear(struct store_credential *c);
/* The active credential for signing as `address`: found only when its certificate has status active, the enrollment is not
 * disabled, revoking, revoked or expired.  Otherwise *found is false, out->rule is what is known (to be cleared all the same), and *why (static
 * text) says: "no enrollment",
 * "enrollment in progress", "disabled", "departed", "waiting", "blocked", "failed", "revoked", "expired".  All rows of the address are looked at,
 * except those for usage encrypt; one that is disabled says no for all. */
bool store_credential_find(struct store *store, const char *address, struct store_credential *out, bool *found, const char **why,
	struct err *err) BASE_MUST_CHECK;

/* ---- challenges -------------------------------------------------------------------------------------------------- */

struct challenge {
	int64_t id;
	int64_t enrollment_id;
	char *token_part1;      /* as it stood in the Subject, white space removed */
	char *message_id;       /* with angle brackets */
	char *from, *reply_to;  /* bare addresses; reply_to NULL when there was none */
	char *recipient;        /* address key of who got it, which the proof is about; NULL = not noted, the row's first address */
	char *authentication;   /* "dkim d=ca.example" */
	char *disposition;      /* "discard", "deliver", "redirect" */
	time_t date;            /* of its Date field */
	time_t received_at;
	char *state;            /* "new", "replying" (intent stored), "replied", "in-doubt", "refused", "ignored" */
	char *reply_message_id;
	char *why;
	char *report_token;     /* NULL = our reply asked for no report */
	bool token_once;        /* for store_challenge_add: another mail with this token is the same one, whatever its Message-ID */
};
void challenge_clear(struct challenge *c);
/* Addresses that may get a challenge now: enrollments in ordering, ordered, challenge-awaited or answered, or waiting between steps
 * of these (disabled ones too: the order is ours all the same).  *enrollment_id 0 = not awaited.
 * `challenge_from` (freed by the caller) is NULL while the order's answer is not known. */
struct awaited { int64_t enrollment_id; char *challenge_from, *challenge_address; char *ca; time_t ordered_at; };
void awaited_clear(struct awaited *a);
bool store_challenge_awaited(struct store *store, const char *address, struct awaited *out, struct err *err) BASE_MUST_CHECK;
/* Was this mail's token committed for the newest order of this address in the last week, whatever has become of that order since?  It comes
 * again when the inbound instance was killed, or its answer lost, in between.  `message_id` or `token_part1` NULL: whatever it is. */
bool store_challenge_seen(struct store *store, const char *address, const char *message_id, const char *token_part1, bool *seen,
	struct err *err) BASE_MUST_CHECK;
/* Commit a token once: (message_id, token_part1, enrollment) is unique, and with token_once (token_part1, enrollment); *created says whether
 * it is new.  Wakes an enrollment in ordering, ordered, challenge-awaited or answered (next_at = now), also when a worker is in the middle of
 * a step for it, without making that step stale.  ERR_POLICY for a token or field of more than 1,000 octets. */
bool store_challenge_add(struct store *store, const struct challenge *c, bool *created, struct err *err) BASE_MUST_CHECK;
struct challenge_list { struct challenge *v; size_t n; };
/* All of an enrollment received since `since`, oldest first. */
bool store_challenges_of(struct store *store, int64_t enrollment_id, time_t since, struct challenge_list *out,
	struct err *err) BASE_MUST_CHECK;
void challenge_list_clear(struct challenge_list *l);

/* What became of a reply, as a delivery report (RFC 3464) says.  A hint: whoever saw the reply's envelope can write one. */
struct report {
	int64_t id;
	int64_t enrollment_id, challenge_id;
	char *action;           /* "relayed", "delivered", "failed", "delayed", "expanded" */
	char *status;           /* "5.7.26" */
	char *diagnostic;       /* the remote server's words */
	char *remote;           /* which server said them */
	char *reporter;         /* which server wrote the report */
	time_t received_at;
	bool seen;              /* a step has acted on it (store_step.reports_seen) */
};
void report_clear(struct report *r);
/* Adds it to the challenge whose reply carries this token.  *known is false, and nothing written, when no reply of the last 7 days carries
 * it, or another enrollment's does (enrollment_id 0: any; challenge_id is not looked at).  Of the same token 20 are kept, later ones are
 * known and dropped.  Wakes the enrollment as a challenge does, in challenge-awaited and answered, if the reply is of its present order.
 * ERR_POLICY for another action, or a field of more than 1,000 octets. */
bool store_report_add(struct store *store, const char *token, const struct report *r, bool *known, struct err *err) BASE_MUST_CHECK;
/* Would store_report_add know this token, of this enrollment? */
bool store_report_awaited(struct store *store, const char *token, int64_t enrollment_id, bool *awaited, struct err *err) BASE_MUST_CHECK;
struct report_list { struct report *v; size_t n; };
/* All of an enrollment received since `since`, oldest first. */
bool store_reports_of(struct store *store, int64_t enrollment_id, time_t since, struct report_list *out,
	struct err *err) BASE_MUST_CHECK;
void report_list_clear(struct report_list *l);

/* ---- events, mail events, flags ---------------------------------------------------------------------------------- */

struct event {
	int64_t id, enrollment_id;  /* enrollment_id 0 = about the installation */
	time_t at;
	char *name, *actor, *address, *text;
	enum enrollment_state state; /* after it; ENROLLMENT_STATES when about the installation */
	enum err_class class;
};
struct event_list { struct event *v; size_t n; };
void event_list_clear(struct event_list *l);
bool store_event_add(struct store *store, int64_t enrollment_id, const char *name, const char *actor, enum err_class class,
	const char *text, struct err *err) BASE_MUST_CHECK;
/* enrollment_id 0 = of all; those with id > after, oldest first; with after = -1 the newest `limit` ones, oldest first. */
bool store_events(struct store *store, int64_t enrollment_id, int64_t after, size_t limit, struct event_list *out,
	struct err *err) BASE_MUST_CHECK;

/* The reason of a mail event that tells of a wrong order of filters; looked for by `enrollctl doctor`. */
#define OUTBOUND_AFTER_DKIM "signed, but a DKIM signature of ours was there before and is broken now: enroll-milter has to come first"

struct mail_event {
	time_t at;
	char *queue_id, *message_id, *login;
	char *from;             /* the author; the envelope sender where it was not, or could not be, looked at */
	char *verdict, *reason; /* words of the milter, the same for all mails of a kind */
	char *detail;           /* more of this one: the mail rule, the error; NULL = nothing */
	char *action;           /* "pass", "reject", "tempfail", "hold"; NULL = went on */
	char *certificate;      /* SHA-256, hex, of the one that signed it; NULL = none did */
};
void mail_event_clear(struct mail_event *m);
/* A batch in one transaction; keeps the newest `keep` rows. */
bool store_mail_events_add(struct store *store, const struct mail_event *v, size_t n, size_t keep, struct err *err) BASE_MUST_CHECK;
struct mail_event_list { struct mail_event *v; size_t n; };
void mail_event_list_clear(struct mail_event_list *l);
/* Newest first; `address` NULL = all; otherwise by address key (or the raw text, for what is no address). */
bool store_mail_events(struct store *store, const char *address, size_t limit, struct mail_event_list *out,
	struct err *err) BASE_MUST_CHECK;
/* The newest of this sender with this queue id and Message-ID (NULL: whichever); with `address` NULL of any sender. */
bool store_mail_event_find(struct store *store, const char *address, const char *queue_id, const char *message_id, struct mail_event *out,
	bool *found, struct err *err) BASE_MUST_CHECK;
/* What observe mode saw (verdict "observed"): per From address how many mails would have been signed or enrolled, and the newest reason. */
struct observed { char *from, *login, *verdict, *reason; size_t mails; time_t first, last; };
struct observed_list { struct observed *v; size_t n; };
void observed_list_clear(struct observed_list *l);
bool store_observed(struct store *store, struct observed_list *out, struct err *err) BASE_MUST_CHECK;
/* And which mail of ours would have been left alone, by reason: verdict neither "observed" nor "signed", the most frequent first. */
struct mail_reason { char *verdict, *reason; size_t mails; time_t last; };
struct mail_reason_list { struct mail_reason *v; size_t n; };
void mail_reason_list_clear(struct mail_reason_list *l);
bool store_left_alone(struct store *store, size_t limit, struct mail_reason_list *out, struct err *err) BASE_MUST_CHECK;

/* Small shared facts by name: "paused" = "1 by admin:root ...".  *value is NULL when unset; freed by the caller.  NULL deletes.
 * Every set is an event "flag". */
bool store_flag_get(struct store *store, const char *name, char **value, struct err *err) BASE_MUST_CHECK;
bool store_flag_set(struct store *store, const char *name, const char *value, const char *actor, struct err *err) BASE_MUST_CHECK;
/* Only if it is `expected` still (NULL = unset): of several who find the same, one does it.  *swapped says whether. */
bool store_flag_swap(struct store *store, const char *name, const char *expected, const char *value, const char *actor, bool *swapped,
	struct err *err) BASE_MUST_CHECK;

/* ---- turns: what one enrolld of the store does at a time -------------------------------------------------------------- */

/* A turn is a lease by name: one transaction decides who has it, and that of whoever died passes on when it is over.  Times are those of the hosts'
 * clocks, which have to agree as well as NTP makes them. */
struct store_turn {
	char *name, *owner;    /* owner "" = nobody's */
	time_t until;
	time_t done_at;        /* when it was last done, by whomever; 0 = never */
};
void store_turn_clear(struct store_turn *t);
/* Mine for `seconds` from now, if it is nobody else's and was not done in the last `every` seconds (0 = whenever that was).  Whoever has it calls again and
 * goes on having it; nothing is written as long as half of the time is left. */
bool store_turn_take(struct store *store, const char *name, const char *owner, time_t now, unsigned seconds, unsigned every, bool *mine,
	struct err *err) BASE_MUST_CHECK;
/* Mine, whoever had it. */
bool store_turn_seize(struct store *store, const char *name, const char *owner, time_t until, struct err *err) BASE_MUST_CHECK;
/* Given back, if it is mine; `done_at` 0: it was not done. */
bool store_turn_end(struct store *store, const char *name, const char *owner, time_t done_at, struct err *err) BASE_MUST_CHECK;
/* All zero when there is none. */
bool store_turn_get(struct store *store, const char *name, struct store_turn *out, struct err *err) BASE_MUST_CHECK;
/* Those whose names begin so, in order of name; and forget those of them that were over before then. */
struct store_turn_list { struct store_turn *v; size_t n; };
void store_turn_list_clear(struct store_turn_list *l);
bool store_turn_list(struct store *store, const char *prefix, struct store_turn_list *out, struct err *err) BASE_MUST_CHECK;
bool store_turns_forget(struct store *store, const char *prefix, time_t before, struct err *err) BASE_MUST_CHECK;

/* ---- monitoring --------------------------------------------------------------------------------------------------- */

/* Can the store be read, is it the one that was opened, and has it the schema of this program?  Any role. */
bool store_ready(struct store *store, struct err *err) BASE_MUST_CHECK;

/* One short read transaction, whose time does not grow with what a row holds. */
#define STORE_FIGURES_BOUNDS 16
struct store_figures {
	uint64_t enrollments[ENROLLMENT_STATES][ERR_BUG + 1]; /* by why_class where it waits, is blocked or failed; else under ERR_NONE */
	uint64_t remaining[STORE_FIGURES_BOUNDS]; /* certificates in use, by the seconds they are still valid: up to bounds[0], up to bounds[1] ...,
	                                           * and behind the last bound the others */
	int64_t remaining_sum;     /* of these seconds */
	int64_t earliest;          /* when the first of them ends whose enrollment is neither disabled nor of somebody who left; 0 = there is none */
	int64_t unrenewed;         /* of them: those that store_renewals_late would tell of, told or not */
	int64_t without_since[ENROLLMENT_STATES]; /* since when the one is without a certificate in use who is so for longest; 0 = nobody.  Of rows on their
	                                           * way only, and not of who is disabled, gone, held back by a cap or excluded by a rule */
	int64_t due_since;         /* the oldest next_at; may be in the future.  0 = none */
	int64_t revocation_since;  /* when the oldest revocation that is not done was asked for; 0 = none */
	int64_t report_since;      /* when the oldest delivery report came that no step has looked at; 0 = none */
};
bool store_figures(struct store *store, time_t now, const int64_t *bounds, size_t n, struct store_figures *out, struct err *err) BASE_MUST_CHECK;

#include "store/keyvault.h"
#include "store/maintenance.h"

#endif
