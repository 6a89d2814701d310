/*
 * store/acts.h - what somebody does for one enrollment by hand, as SQL text.  Private to store/.
 *
 * The calls of store.h say it with parameters, and the help desk's functions in PostgreSQL (postgresql_helpdesk.c) with their arguments, which have the same
 * numbers: both do the same because it is the same text.
 */
#ifndef ENROLL_STORE_ACTS_H
#define ENROLL_STORE_ACTS_H

#define ACT_CLOSED "'superseded','revoked','expired'"
/* Where the CA may have finalized, or has: going on from there, or a second certificate would be made for one need. */
#define ACT_CERTIFIED "'validated','finalized','issued','checked','published'"

/* $1 an address key: the rows that have it, and in which order they are meant. */
#define ACT_FIND_WHERE "id IN (SELECT enrollment_id FROM enrollment_addresses WHERE address_key = $1)"
#define ACT_FIND_ORDER                                                                                                                     \
	"CASE WHEN state IN (" ACT_CLOSED ") THEN 1 ELSE 0 END, CASE WHEN companion_of IS NULL THEN 0 ELSE 1 END, id DESC"
/* $1 the id of a row: its companion. */
#define ACT_COMPANION_WHERE "companion_of = $1 AND state NOT IN (" ACT_CLOSED ")"

/* $1 the row, $2 now.  One that somebody works on at this moment is left alone: it is going on already. */
#define ACT_RETRY_LATER                                                                                                                    \
	"UPDATE enrollments SET next_at = $2, planned_at = $2, attempts = 0, lease_owner = NULL, lease_until = 0, version = version + 1"   \
	" WHERE id = $1 AND (state = 'waiting' OR (state IN ('blocked','failed') AND resume IN (" ACT_CERTIFIED ")))"                      \
	" AND (lease_owner IS NULL OR lease_until <= $2)"
/* The same, where that changed nothing; and where this one did, the orders that it had. */
#define ACT_RETRY_ANEW                                                                                                                     \
	"UPDATE enrollments SET state = 'requested', resume = 'requested', state_since = $2, next_at = $2, planned_at = $2, wake = 0,"     \
	" attempts = 0, orders = 0,"                                                                                                       \
	" abandoned = 0, lease_owner = NULL, lease_until = 0, intent = NULL, why_class = 'none', why = NULL,"                              \
	" why_subject = NULL, why_type = NULL, why_status = 0, why_at = 0, ca_state = NULL, ordered_at = 0, retry_at = 0,"                 \
	" challenge_from = NULL, challenge_address = NULL, trigger_at = 0, answered_at = 0, key_id = NULL, csr = NULL,"                    \
	" version = version + 1,"                                                                                                          \
	" certificate_id = (SELECT c.id FROM certificates c WHERE c.enrollment_id = enrollments.id AND c.status = 'active')"               \
	" WHERE id = $1 AND state IN ('blocked','failed') AND resume NOT IN (" ACT_CERTIFIED ")"
#define ACT_RETRY_ORDERS "UPDATE orders SET outcome = 'abandoned', closed_at = $2 WHERE enrollment_id = $1 AND outcome IS NULL"
/* $1 the row, $2 now: what a revocation of this person still has to do outside. */
#define ACT_RETRY_REVOCATIONS                                                                                                              \
	"UPDATE revocation_parts SET next_at = $2 WHERE done_at = 0 AND next_at > $2 AND attempts > 0 AND lease_owner IS NULL"             \
	" AND revocation_id IN (SELECT r.id FROM revocations r JOIN certificates c ON c.id = r.certificate_id JOIN enrollments e ON"       \
	" e.id = c.enrollment_id WHERE e.address_key = (SELECT o.address_key FROM enrollments o WHERE o.id = $1))"
/* $1 the row: what still has to leave the directory. */
#define ACT_RETRY_DIRECTORY                                                                                                                \
	"UPDATE certificates SET directory_next_at = 0 WHERE in_directory = 1 AND directory_next_at > 0 AND enrollment_id IN"              \
	" (SELECT e.id FROM enrollments e WHERE e.address_key = (SELECT o.address_key FROM enrollments o WHERE o.id = $1))"

/* $1 the row, $2 now.  An active row whose worker is at it already is left to it. */
#define ACT_RENEW                                                                                                                          \
	"UPDATE enrollments SET state = 'renewing', resume = 'renewing', state_since = $2, next_at = $2, planned_at = $2,"                 \
	" version = version + 1"                                                                                                           \
	" WHERE id = $1 AND state IN ('active','revoking') AND lease_owner IS NULL"

/* $1 the row, $2 now, $3 the name, $4 who, $5 the class, $6 a text. */
#define ACT_EVENT                                                                                                                          \
	"INSERT INTO events (enrollment_id, at, name, actor, class, text, address, state)"                                                 \
	" SELECT id, $2, $3, $4, $5, $6, address, state FROM enrollments WHERE id = $1"

#endif
