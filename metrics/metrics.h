/*
 * metrics/metrics.h - numbers for monitoring: what is counted, the Prometheus text, and the small HTTP server that gives it out.
 *
 * One table (table.c) says of each metric its name, type, help, labels and who serves it; everything else goes by the enum below.  Counting is one
 * atomic addition in memory that is there from the start: nothing is allocated and nothing waits, so the mail path may count.  Any thread may call.
 *
 * Values of labels are fixed lists, here as enums, and the names of CAs, which are the admin's.  Nothing that a user or a stranger wrote is ever one.
 */
#ifndef ENROLL_METRICS_METRICS_H
#define ENROLL_METRICS_METRICS_H

#include "base/base.h"

enum metrics_program { METRICS_ENROLLD = 1, METRICS_OUTBOUND = 2, METRICS_INBOUND = 4 };

enum metric {
	/* all programs */
	METRIC_BUILD_INFO,
	METRIC_START_TIME,
	METRIC_MODE,                  /* enum config_mode of policy/policy.h */
	METRIC_STORE_UP,
	METRIC_STORE_LAST_ANSWER,
	METRIC_STORE_SECONDS,         /* 0 read, 1 write */
	METRIC_STORE_FAILURES,
	METRIC_PAUSED,
	METRIC_DIRECTORY_SECONDS,     /* enum metrics_result */
	/* enrolld */
	METRIC_ENROLLMENTS,           /* state, class: enums of store/store.h and base/base.h */
	METRIC_CERTIFICATE_REMAINING,
	METRIC_EARLIEST_EXPIRY,
	METRIC_UNRENEWED,
	METRIC_OLDEST_WAITING,        /* enum metrics_waiting */
	METRIC_QUEUE_OLDEST,          /* enum metrics_queue */
	METRIC_DIRECTORY_GUARD,
	METRIC_FOUND_REVOKED,
	METRIC_CA_REQUESTS,           /* metrics_ca, enum metrics_ca_kind, enum metrics_ca_status */
	METRIC_CA_SECONDS,            /* metrics_ca */
	METRIC_CA_LAST_SUCCESS,       /* metrics_ca */
	METRIC_CA_LAST_FAILURE,       /* metrics_ca */
	METRIC_REPLIES,               /* enum metrics_reply */
	/* both milter instances */
	METRIC_SESSIONS,
	METRIC_MAILS_SEEN,
	/* outbound */
	METRIC_MAILS,                 /* enum metrics_mail */
	METRIC_SIGNING_SECONDS,
	METRIC_ON_ERROR,              /* enum metrics_on_error */
	METRIC_CREDENTIAL_LOOKUPS,    /* enum metrics_lookup */
	METRIC_CREDENTIAL_CACHE,
	METRIC_MAIL_RECORDS_LOST,
	/* inbound */
	METRIC_CANDIDATES,
	METRIC_CHALLENGE_MAILS,       /* the verdicts of event=challenge_mail */
	METRIC_DELIVERY_REPORTS,      /* the verdicts of event=delivery_report, and trial, come-again */
	METRICS
};

enum metrics_result { METRICS_OK, METRICS_ERROR };
enum metrics_queue { METRICS_QUEUE_ENROLLMENTS, METRICS_QUEUE_REVOCATIONS, METRICS_QUEUE_REPORTS, METRICS_QUEUES };
enum metrics_waiting { METRICS_UNDER_WAY, METRICS_WAITING, METRICS_BLOCKED, METRICS_FAILED_ROW, METRICS_WAITINGS };
enum metrics_reply { METRICS_REPLY_ACCEPTED, METRICS_REPLY_NOT_SENT, METRICS_REPLY_IN_DOUBT };
enum metrics_on_error { METRICS_PASSED, METRICS_TEMPFAILED };
enum metrics_lookup { METRICS_LOOKUP_HIT, METRICS_LOOKUP_CONFIRMED, METRICS_LOOKUP_LOADED, METRICS_LOOKUP_NONE, METRICS_LOOKUP_STALE, METRICS_LOOKUP_FAILED };
enum metrics_ca_kind {
	METRICS_CA_DIRECTORY, METRICS_CA_NONCE, METRICS_CA_ACCOUNT, METRICS_CA_NEW_ORDER, METRICS_CA_LOOK, METRICS_CA_CHALLENGE, METRICS_CA_FINALIZE,
	METRICS_CA_CERTIFICATE, METRICS_CA_REVOKE, METRICS_CA_RENEWAL, METRICS_CA_OTHER
};
/* By what came back; unsent and lost: nothing did.  refused: a no without an HTTP status (driver exec). */
enum metrics_ca_status {
	METRICS_CA_OK, METRICS_CA_4XX, METRICS_CA_LIMITED, METRICS_CA_5XX, METRICS_CA_UNSENT, METRICS_CA_LOST, METRICS_CA_REFUSED, METRICS_CA_FAILED
};

/* What became of an outbound mail: verdict and reason, in the words of `enrollctl why`, and the milter's sentences by which a reason is recognised
 * (separated by '|', a star at the end stands for anything).  The first row that fits counts; each verdict ends with one that takes the rest. */
#define METRICS_MAIL_TABLE(ROW)                                                                                                            \
	ROW(SIGNED_AFTER_DKIM, "signed", "signed-after-dkim", "signed, but a DKIM signature*")                                             \
	ROW(SIGNED_OPAQUE, "signed", "signed-opaque", "signed, opaque*")                                                                   \
	ROW(SIGNED_REENCODED, "signed", "signed-reencoded", "signed after re-encoding")                                                    \
	ROW(SIGNED_DETACHED, "signed", "signed-detached", "*")                                                                             \
	ROW(NOT_OURS, "not-ours", "not-submitted-by-login", "*")                                                                           \
	ROW(TWO_FROM, "untouched", "two-from-addresses", "more than one From*")                                                            \
	ROW(FROM_UNREADABLE, "untouched", "from-unreadable", "no From*|From is not well-formed")                                           \
	ROW(NOT_SERVED, "untouched", "domain-not-served", "From is not in a served domain")                                                \
	ROW(FROM_OUTSIDE, "untouched", "from-outside", "from outside:*")                                                                   \
	ROW(PGP, "untouched", "pgp", "already signed (PGP)|already encrypted (PGP)|PGP")                                                   \
	ROW(ALREADY_SIGNED, "untouched", "already-signed", "already signed*|carries S/MIME certificates only")                             \
	ROW(ENCRYPTED, "untouched", "encrypted", "already encrypted*")                                                                     \
	ROW(DELIVERY_REPORT, "untouched", "delivery-report", "delivery report*|report")                                                    \
	ROW(CHALLENGE_REPLY, "untouched", "challenge-reply", "reply to a CA's challenge")                                                  \
	ROW(AUTO_SUBMITTED, "untouched", "auto-submitted", "auto-submitted")                                                               \
	ROW(LIST_MAIL, "untouched", "list-mail", "list mail")                                                                              \
	ROW(CALENDAR, "untouched", "calendar", "calendar mail")                                                                            \
	ROW(MAIL_RULE, "untouched", "mail-rule", "a mail rule says so")                                                                    \
	ROW(NOT_OWNER, "untouched", "login-not-owner", "address is not listed for this login|the login is not this address")               \
	ROW(LOGIN_UNKNOWN, "untouched", "login-unknown", "unknown login|login is ambiguous")                                               \
	ROW(ADDRESS_OF_SEVERAL, "untouched", "address-of-several", "address is listed by several entries")                                 \
	ROW(DIRECTORY_DISABLED, "untouched", "directory-disabled", "disabled")                                                             \
	ROW(NOT_IN_PILOT, "untouched", "not-in-pilot", "not in the pilot")                                                                 \
	ROW(PAUSED, "untouched", "paused", "paused by an admin")                                                                           \
	ROW(UNSIGNED_HEADER, "untouched", "unsigned-header", "the author asked for no signature*")                                         \
	ROW(OUTGOING_ONLY, "untouched", "rule-outgoing-only", "the rule signs outgoing mail only")                                         \
	ROW(INTERNAL_ONLY, "untouched", "rule-internal-only", "the rule signs internal mail only")                                         \
	ROW(UNSIGNED_TO, "untouched", "unsigned-to", "the rule signs no mail to these domains*")                                           \
	ROW(SIGNS_NOTHING, "untouched", "rule-signs-nothing", "the rule signs no mail")                                                    \
	ROW(RULE_UNKNOWN, "untouched", "rule-unknown", "its rule is not in this configuration*")                                           \
	ROW(NOT_REENCODED, "untouched", "cannot-be-reencoded", "cannot be signed without changing*")                                       \
	ROW(HEADER_TOO_LARGE, "untouched", "header-too-large", "the header is larger than 1 MiB")                                          \
	ROW(NO_PROOF, "untouched", "relay-proof-missing", "the relay did not show*|the relay's mail has no valid DKIM*")                   \
	ROW(DUPLICATE_HEADERS, "untouched", "duplicate-structure-headers", "two *")                                                        \
	ROW(UNTOUCHED_OTHER, "untouched", "other", "*")                                                                                    \
	ROW(MODE_ENROLL, "unsigned", "mode-enroll", "mode is enroll*")                                                                     \
	ROW(NO_ENROLLMENT, "unsigned", "no-enrollment", "no enrollment")                                                                   \
	ROW(IN_PROGRESS, "unsigned", "in-progress", "enrollment in progress")                                                              \
	ROW(DISABLED, "unsigned", "disabled", "disabled")                                                                                  \
	ROW(DEPARTED, "unsigned", "departed", "departed")                                                                                  \
	ROW(WAITING, "unsigned", "waiting", "waiting")                                                                                     \
	ROW(BLOCKED, "unsigned", "blocked", "blocked")                                                                                     \
	ROW(FAILED, "unsigned", "failed", "failed")                                                                                        \
	ROW(REVOKED, "unsigned", "revoked", "revoked")                                                                                     \
	ROW(EXPIRED, "unsigned", "expired", "expired")                                                                                     \
	ROW(NOT_VALID, "unsigned", "not-valid", "the certificate is not valid now")                                                        \
	ROW(EXCLUDED, "unsigned", "excluded", "the rule says: no certificate")                                                             \
	ROW(UNSIGNED_OTHER, "unsigned", "other", "*")                                                                                      \
	ROW(OBSERVED, "observed", "mode-observe", "*")                                                                                     \
	ROW(EDIT_FAILED, "error", "edit-failed", "an edit failed*")                                                                        \
	ROW(ERROR_PASSED, "error", "error-passed", "could not be signed, passed*")                                                         \
	ROW(ERROR_TEMPFAIL, "error", "error-tempfail", "*")                                                                                \
	ROW(UNDECIDED, "undecided", "other", "*")

enum metrics_mail {
#define METRICS_MAIL_ENUM(id, verdict, reason, sentences) METRICS_MAIL_##id,
	METRICS_MAIL_TABLE(METRICS_MAIL_ENUM)
#undef METRICS_MAIL_ENUM
	METRICS_MAIL_KINDS
};
/* The row for the milter's own words; METRICS_MAIL_UNDECIDED for a verdict that is in no row. */
enum metrics_mail metrics_mail_kind(const char *verdict, const char *reason);

/* ---- counting ---------------------------------------------------------------------------------------------------------- */

/* One more.  Labels that a metric does not have are 0; one that is out of its range is a bug and counts nothing. */
void metrics_count(enum metric m, unsigned a, unsigned b, unsigned c);
/* The same for a metric with one label, by its value; a word that is no value of it counts nothing. */
void metrics_count_word(enum metric m, const char *word);
void metrics_add(enum metric m, unsigned a, unsigned b, unsigned c, uint64_t n);
/* A gauge.  As long as it was never set it is not shown; unset: all of it is unknown again. */
void metrics_set(enum metric m, unsigned a, unsigned b, int64_t value);
void metrics_unset(enum metric m);
/* One span of a histogram of seconds, in microseconds; metrics_now gives such. */
void metrics_observe(enum metric m, unsigned a, int64_t microseconds);
int64_t metrics_now(void);
/* A histogram that is counted anew each time: how many in each bucket (not cumulated; the last one: above all bounds), and the sum of all. */
void metrics_fill(enum metric m, const uint64_t *counts, int64_t sum);
/* The upper bounds of its buckets and how many, in the unit of metrics_fill or metrics_observe. */
const int64_t *metrics_bounds(enum metric m, size_t *n);

/* The label of a CA of the configuration.  There are METRICS_CAS; further ones share the last, "other".  Never forgotten. */
#define METRICS_CAS 32
unsigned metrics_ca(const char *name);

/* At the start of a program: build info and start time. */
void metrics_begin(void);
/* What this program serves, as Prometheus text (version 0.0.4). */
void metrics_text(struct buf *out, enum metrics_program program);

/* ---- serving ------------------------------------------------------------------------------------------------------------ */

/* Asked by the server's thread, one question at a time; each may take a moment, but has to end.  `collect` brings gauges up to date before /metrics.
 * `healthy` (/healthz) and `ready` (/readyz): true, or false with a sentence and a newline for each thing that is wrong. */
struct metrics_source {
	void *context;
	void (*collect)(void *context);
	bool (*healthy)(void *context, struct buf *why);
	bool (*ready)(void *context, struct buf *why);
};
struct metrics_server;
/* Listen at "unix:/path" (mode 0660; `group` NULL: the folder's or our own) or "inet:PORT@HOST", loopback only, and serve by a thread of its own.  NULL
 * with ERR_CONFIG when that is not possible.  After metrics_stop the socket is gone; nothing is asked of `source` any more. */
struct metrics_server *metrics_serve(const char *where, const char *group, enum metrics_program program, const struct metrics_source *source, struct err *err);
void metrics_stop(struct metrics_server *s); /* accepts NULL */
/* Is this a loopback HOST of "inet:PORT@HOST", by number? */
bool metrics_host_is_loopback(const char *host);

#endif
