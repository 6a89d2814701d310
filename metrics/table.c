/*
 * metrics/table.c - every metric, once: doc/enroll-milter-metrics.7 has the same, and a test compares.
 *
 * Names are an interface: dashboards and alerts are written against them.  Base units (seconds), _total for counters, no unit in disguise.
 */
#include "config.h"

#include "metrics/table.h"

#define VALUES(...) {.values = (const char *const[]){__VA_ARGS__, NULL}}
#define CA {.is_ca = true}
#define SECONDS(...) .bounds = (const int64_t[]){__VA_ARGS__, 0}, .per_second = 1000000
#define MS(x) ((int64_t)((x) * 1000))
#define S(x) MS((x) * 1000)
#define DAYS(x) ((int64_t)(x) * 86400)

#define MILTERS (METRICS_OUTBOUND | METRICS_INBOUND)
#define ALL (METRICS_ENROLLD | MILTERS)
#define MAIL(id, verdict, reason, sentences) "verdict=\"" verdict "\",reason=\"" reason "\"",

static const char *const mail_values[] = {METRICS_MAIL_TABLE(MAIL) NULL};

/* In the order of enum enrollment_state and enum err_class; a unit test compares. */
#define STATES                                                                                                                             \
	VALUES("state=\"requested\"", "state=\"eligible\"", "state=\"caa-checked\"", "state=\"ordering\"", "state=\"ordered\"",            \
		"state=\"challenge-awaited\"", "state=\"answered\"", "state=\"validated\"", "state=\"finalized\"", "state=\"issued\"",     \
		"state=\"checked\"", "state=\"published\"", "state=\"active\"", "state=\"waiting\"", "state=\"blocked\"",                  \
		"state=\"failed\"", "state=\"renewing\"", "state=\"superseded\"", "state=\"revoking\"", "state=\"revoked\"",               \
		"state=\"expired\"")
#define CLASSES VALUES("class=\"none\"", "class=\"temporary\"", "class=\"ca\"", "class=\"policy\"", "class=\"config\"", "class=\"bug\"")

const struct metrics_row metrics_rows[METRICS] = {
	[METRIC_BUILD_INFO] = {"enroll_milter_build_info", METRICS_GAUGE, ALL, "Which version this is; always 1.",
		{VALUES("version=\"" PACKAGE_VERSION "\"")}},
	[METRIC_START_TIME] = {"process_start_time_seconds", METRICS_GAUGE, ALL, "When this process started, in seconds since the epoch."},
	[METRIC_MODE] = {"enroll_milter_mode", METRICS_GAUGE, ALL, "1 for the mode in force.",
		{VALUES("mode=\"observe\"", "mode=\"enroll\"", "mode=\"sign\"")}},
	[METRIC_STORE_UP] = {"enroll_milter_store_up", METRICS_GAUGE, ALL, "1 when the store answered this scrape and has the schema of this program."},
	[METRIC_STORE_LAST_ANSWER] = {"enroll_milter_store_last_answer_timestamp_seconds", METRICS_GAUGE, ALL, "When the store last answered a scrape."},
	[METRIC_STORE_SECONDS] = {"enroll_milter_store_transaction_seconds", METRICS_HISTOGRAM, ALL, "Transactions of the store, waiting for it included.",
		{VALUES("access=\"read\"", "access=\"write\"")}, SECONDS(MS(0.25), MS(1), MS(5), MS(25), MS(100), MS(500), S(2), S(10))},
	[METRIC_STORE_FAILURES] = {"enroll_milter_store_failures_total", METRICS_COUNTER, ALL, "Transactions that could not begin or be committed."},
	[METRIC_PAUSED] = {"enroll_milter_paused", METRICS_GAUGE, METRICS_ENROLLD | METRICS_OUTBOUND, "1 while an admin has paused the installation."},
	[METRIC_DIRECTORY_SECONDS] = {"enroll_milter_directory_request_seconds", METRICS_HISTOGRAM, METRICS_ENROLLD | METRICS_OUTBOUND,
		"Questions to the directory that no cache answered, repetitions included.",
		{VALUES("result=\"ok\"", "result=\"error\"")}, SECONDS(MS(1), MS(5), MS(25), MS(100), MS(500), S(1), S(3), S(10))},

	[METRIC_ENROLLMENTS] = {"enroll_milter_enrollments", METRICS_GAUGE, METRICS_ENROLLD,
		"Enrollments by state; those that wait, are blocked or failed by the class of the failure too.", {STATES, CLASSES}, .sparse = true},
	[METRIC_CERTIFICATE_REMAINING] = {"enroll_milter_certificate_remaining_seconds", METRICS_HISTOGRAM, METRICS_ENROLLD,
		"How long the certificates in use are still valid, counted anew for each scrape; those that have ended are in the first bucket.",
		.bounds = (const int64_t[]){DAYS(1), DAYS(3), DAYS(7), DAYS(14), DAYS(30), DAYS(60), DAYS(90), DAYS(180), DAYS(365), DAYS(730), 0},
		.per_second = 1},
	[METRIC_EARLIEST_EXPIRY] = {"enroll_milter_certificate_earliest_expiry_seconds", METRICS_GAUGE, METRICS_ENROLLD,
		"Seconds until the first certificate in use ends; negative when it has.  Who is disabled or left does not count."},
	[METRIC_UNRENEWED] = {"enroll_milter_certificates_unrenewed", METRICS_GAUGE, METRICS_ENROLLD,
		"Certificates in use whose renewal was due, did not come, and half of the time that was left has passed."},
	[METRIC_OLDEST_WAITING] = {"enroll_milter_oldest_waiting_seconds", METRICS_GAUGE, METRICS_ENROLLD,
		"How long the one has been without a certificate in use who waits for longest, by what became of the enrollment so far.",
		{VALUES("state=\"under-way\"", "state=\"waiting\"", "state=\"blocked\"", "state=\"failed\"")}},
	[METRIC_QUEUE_OLDEST] = {"enroll_milter_queue_oldest_seconds", METRICS_GAUGE, METRICS_ENROLLD,
		"How long the oldest entry has been waiting for us: enrollments that are due, revocations not done everywhere, delivery reports not looked at.",
		{VALUES("queue=\"enrollments\"", "queue=\"revocations\"", "queue=\"reports\"")}},
	[METRIC_DIRECTORY_GUARD] = {"enroll_milter_directory_guard", METRICS_GAUGE, METRICS_ENROLLD,
		"1 while the look at who left holds people back until an admin confirms it, or failed."},
	[METRIC_FOUND_REVOKED] = {"enroll_milter_certificates_found_revoked_total", METRICS_COUNTER, METRICS_ENROLLD,
		"Certificates in use that turned out to be revoked at the CA without our asking for it."},
	[METRIC_CA_REQUESTS] = {"enroll_milter_ca_requests_total", METRICS_COUNTER, METRICS_ENROLLD, "Requests to a CA by what they were for and what came back.",
		{CA, VALUES("kind=\"directory\"", "kind=\"nonce\"", "kind=\"account\"", "kind=\"new-order\"", "kind=\"look\"", "kind=\"challenge\"", "kind=\"finalize\"",
			"kind=\"certificate\"", "kind=\"revoke\"", "kind=\"renewal-info\"", "kind=\"other\""),
			VALUES("status=\"ok\"", "status=\"4xx\"", "status=\"rate-limited\"", "status=\"5xx\"", "status=\"unsent\"", "status=\"lost\"",
				"status=\"refused\"", "status=\"failed\"")}},
	[METRIC_CA_SECONDS] = {"enroll_milter_ca_request_seconds", METRICS_HISTOGRAM, METRICS_ENROLLD, "Requests to a CA, from the first to the last octet.",
		{CA}, SECONDS(MS(50), MS(100), MS(250), MS(500), S(1), S(3), S(10), S(30), S(120))},
	[METRIC_CA_LAST_SUCCESS] = {"enroll_milter_ca_last_success_timestamp_seconds", METRICS_GAUGE, METRICS_ENROLLD,
		"When a CA last did what it was asked to.", {CA}},
	[METRIC_CA_LAST_FAILURE] = {"enroll_milter_ca_last_failure_timestamp_seconds", METRICS_GAUGE, METRICS_ENROLLD,
		"When a CA last did not, for whatever reason.", {CA}},
	[METRIC_REPLIES] = {"enroll_milter_replies_total", METRICS_COUNTER, METRICS_ENROLLD, "Replies to challenge mails, handed to our mail server.",
		{VALUES("outcome=\"accepted\"", "outcome=\"not-sent\"", "outcome=\"in-doubt\"")}},

	[METRIC_SESSIONS] = {"enroll_milter_sessions", METRICS_GAUGE, MILTERS, "Connections of the mail server that are open."},
	[METRIC_MAILS_SEEN] = {"enroll_milter_mails_seen_total", METRICS_COUNTER, MILTERS, "Mails that began (MAIL), whatever became of them."},
	[METRIC_MAILS] = {"enroll_milter_mails_total", METRICS_COUNTER, METRICS_OUTBOUND, "Mails by what became of them and why.", {{.values = mail_values}}},
	[METRIC_SIGNING_SECONDS] = {"enroll_milter_signing_seconds", METRICS_HISTOGRAM, METRICS_OUTBOUND,
		"Signing and editing at the end of a mail; its transmission is not in it.", .bounds = (const int64_t[]){MS(1), MS(2), MS(5), MS(10), MS(25),
		MS(50), MS(100), MS(500), S(2), S(10), 0}, .per_second = 1000000},
	[METRIC_ON_ERROR] = {"enroll_milter_on_error_total", METRICS_COUNTER, METRICS_OUTBOUND,
		"Mails that could not be signed because of an error, by what on-error made of them.", {VALUES("action=\"pass\"", "action=\"tempfail\"")}},
	[METRIC_CREDENTIAL_LOOKUPS] = {"enroll_milter_credential_lookups_total", METRICS_COUNTER, METRICS_OUTBOUND,
		"Looks for a certificate to sign with: in the cache, confirmed by the store, loaded, there is none, from the cache while the store is away, failed.",
		{VALUES("result=\"hit\"", "result=\"confirmed\"", "result=\"loaded\"", "result=\"none\"", "result=\"stale\"", "result=\"failed\"")}},
	[METRIC_CREDENTIAL_CACHE] = {"enroll_milter_credential_cache_entries", METRICS_GAUGE, METRICS_OUTBOUND, "Addresses in the cache of certificates."},
	[METRIC_MAIL_RECORDS_LOST] = {"enroll_milter_mail_records_lost_total", METRICS_COUNTER, METRICS_OUTBOUND,
		"Mails that enrollctl why knows nothing of, as their record could not be written."},

	[METRIC_CANDIDATES] = {"enroll_milter_challenge_candidates_total", METRICS_COUNTER, METRICS_INBOUND,
		"Mails to somebody who awaits a challenge with the Subject of one."},
	[METRIC_CHALLENGE_MAILS] = {"enroll_milter_challenge_mails_total", METRICS_COUNTER, METRICS_INBOUND, "What candidates turned out to be.",
		{VALUES("verdict=\"taken\"", "verdict=\"seen-before\"", "verdict=\"foreign\"", "verdict=\"not-ours\"", "verdict=\"not-authentic\"",
			"verdict=\"come-again\"", "verdict=\"not-a-challenge\"")}},
	[METRIC_DELIVERY_REPORTS] = {"enroll_milter_delivery_reports_total", METRICS_COUNTER, METRICS_INBOUND, "Delivery reports for our replies.",
		{VALUES("verdict=\"taken\"", "verdict=\"trial\"", "verdict=\"refused\"", "verdict=\"dropped\"", "verdict=\"come-again\"")}},
};
