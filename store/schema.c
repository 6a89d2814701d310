/*
 * store/schema.c - the tables in SQLite's words, and the steps from one schema to the next.
 *
 * The schema's number is in table meta, its history in table migrations.  A step and its number are one transaction: a crash leaves
 * the old schema or the new one.  A step that has been released is never edited; changes are a new step at the end of the list.
 *
 * Hosts are upgraded one after the other, and on one host enrolld before or after the milters.  So a step is additive wherever it can be, and says how
 * old a milter may be to go on with its result (struct migration).
 *
 * Tables are STRICT, and what must hold whatever the code does is written as a constraint: words of states, at most one open
 * enrollment of an address and one companion of it, at most one active certificate an enrollment, one row a challenge mail.
 */
#include "config.h"

#include "store/sqlite.h"

#include <stdlib.h>
#include <string.h>

#define STATES                                                                                                                             \
	"'requested','eligible','caa-checked','ordering','ordered','challenge-awaited','answered','validated','finalized','issued',"       \
	"'checked','published','active','waiting','blocked','failed','renewing','superseded','revoking','revoked','expired'"
#define CLASSES "'none','temporary','ca','policy','config','bug'"

/* enrollments.wake: a challenge came while a worker held the lease; its commit must not put the row to sleep again.
 * enrollments.address is the first of `addresses` (separated by newlines); enrollment_addresses is for finding rows by any of them. */
static const char *const version_1[] = {
	"CREATE TABLE meta ("
	"  name TEXT NOT NULL PRIMARY KEY,"
	"  value TEXT NOT NULL"
	") STRICT",
	"CREATE TABLE migrations ("
	"  version INTEGER NOT NULL PRIMARY KEY,"
	"  at INTEGER NOT NULL,"
	"  program TEXT NOT NULL"
	") STRICT",
	"CREATE TABLE flags ("
	"  name TEXT NOT NULL PRIMARY KEY CHECK (name <> ''),"
	"  value TEXT NOT NULL,"
	"  actor TEXT,"
	"  at INTEGER NOT NULL"
	") STRICT",
	"CREATE TABLE enrollments ("
	"  id INTEGER PRIMARY KEY,"
	"  address TEXT NOT NULL CHECK (address <> ''),"
	"  address_key TEXT NOT NULL CHECK (address_key <> ''),"
	"  addresses TEXT NOT NULL CHECK (addresses <> ''),"
	"  profile TEXT NOT NULL CHECK (profile <> ''),"
	"  usage TEXT NOT NULL CHECK (usage IN ('sign','encrypt','dual')),"
	"  ca TEXT NOT NULL DEFAULT '',"
	"  state TEXT NOT NULL CHECK (state IN (" STATES ")),"
	"  resume TEXT NOT NULL CHECK (resume IN (" STATES ")),"
	"  state_since INTEGER NOT NULL,"
	"  next_at INTEGER NOT NULL CHECK (next_at >= 0),"
	"  wake INTEGER NOT NULL DEFAULT 0 CHECK (wake IN (0, 1)),"
	"  version INTEGER NOT NULL DEFAULT 0,"
	"  lease_owner TEXT,"
	"  lease_until INTEGER NOT NULL DEFAULT 0,"
	"  intent TEXT,"
	"  attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),"
	"  orders INTEGER NOT NULL DEFAULT 0 CHECK (orders >= 0),"
	"  abandoned INTEGER NOT NULL DEFAULT 0 CHECK (abandoned >= 0),"
	"  why_class TEXT NOT NULL DEFAULT 'none' CHECK (why_class IN (" CLASSES ")),"
	"  why TEXT,"
	"  activity TEXT,"
	"  requested_by TEXT,"
	"  requested_at INTEGER NOT NULL,"
	"  disabled INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),"
	"  ca_state TEXT,"
	"  ordered_at INTEGER NOT NULL DEFAULT 0,"
	"  challenge_from TEXT,"
	"  trigger_at INTEGER NOT NULL DEFAULT 0,"
	"  answered_at INTEGER NOT NULL DEFAULT 0,"
	"  key_id INTEGER REFERENCES user_keys (id),"
	"  csr BLOB,"
	"  certificate_id INTEGER REFERENCES certificates (id),"
	"  CHECK ((lease_owner IS NULL) = (lease_until = 0))"
	") STRICT",
	"CREATE UNIQUE INDEX enrollments_open ON enrollments (address_key, profile, usage)"
	"  WHERE state NOT IN ('superseded','revoked','expired')",
	"CREATE INDEX enrollments_due ON enrollments (next_at, id) WHERE next_at > 0 AND disabled = 0",
	"CREATE INDEX enrollments_leased ON enrollments (lease_until) WHERE lease_owner IS NOT NULL",
	"CREATE INDEX enrollments_address ON enrollments (address_key, id)",
	"CREATE INDEX enrollments_state ON enrollments (state, address_key, id, disabled)",
	"CREATE TABLE enrollment_addresses ("
	"  enrollment_id INTEGER NOT NULL REFERENCES enrollments (id),"
	"  address_key TEXT NOT NULL CHECK (address_key <> ''),"
	"  PRIMARY KEY (address_key, enrollment_id)"
	") STRICT, WITHOUT ROWID",
	"CREATE INDEX enrollment_addresses_enrollment ON enrollment_addresses (enrollment_id)",
	"CREATE TABLE user_keys ("
	"  id INTEGER PRIMARY KEY,"
	"  enrollment_id INTEGER NOT NULL REFERENCES enrollments (id),"
	"  wrapped BLOB NOT NULL CHECK (length(wrapped) > 0),"
	"  spki_sha256 TEXT NOT NULL UNIQUE CHECK (length(spki_sha256) = 64),"
	"  created_at INTEGER NOT NULL"
	") STRICT",
	"CREATE TABLE certificates ("
	"  id INTEGER PRIMARY KEY,"
	"  enrollment_id INTEGER NOT NULL REFERENCES enrollments (id),"
	"  key_id INTEGER NOT NULL REFERENCES user_keys (id),"
	"  der BLOB NOT NULL CHECK (length(der) > 0),"
	"  chain BLOB,"
	"  serial TEXT NOT NULL,"
	"  issuer TEXT NOT NULL,"
	"  fingerprint TEXT NOT NULL,"
	"  addresses TEXT NOT NULL,"
	"  not_before INTEGER NOT NULL,"
	"  not_after INTEGER NOT NULL,"
	"  status TEXT NOT NULL CHECK (status IN ('issued','refused','checked','published','active','superseded','revoked','expired')),"
	"  why TEXT,"
	"  in_directory INTEGER NOT NULL DEFAULT 0 CHECK (in_directory IN (0, 1)),"
	"  directory_dn TEXT,"
	"  created_at INTEGER NOT NULL"
	") STRICT",
	"CREATE INDEX certificates_enrollment ON certificates (enrollment_id, status)",
	"CREATE UNIQUE INDEX certificates_active ON certificates (enrollment_id) WHERE status = 'active'",
	"CREATE INDEX certificates_fingerprint ON certificates (fingerprint)",
	"CREATE INDEX certificates_serial ON certificates (serial)",
	"CREATE TABLE orders ("
	"  id INTEGER PRIMARY KEY,"
	"  enrollment_id INTEGER NOT NULL REFERENCES enrollments (id),"
	"  ca TEXT NOT NULL,"
	"  opened_at INTEGER NOT NULL,"
	"  closed_at INTEGER NOT NULL DEFAULT 0,"
	"  outcome TEXT,"
	"  CHECK ((outcome IS NULL) = (closed_at = 0))"
	") STRICT",
	"CREATE INDEX orders_opened ON orders (opened_at)",
	"CREATE INDEX orders_enrollment ON orders (enrollment_id, id)",
	"CREATE TABLE challenges ("
	"  id INTEGER PRIMARY KEY,"
	"  enrollment_id INTEGER NOT NULL REFERENCES enrollments (id),"
	"  token_part1 TEXT NOT NULL CHECK (length(token_part1) BETWEEN 1 AND 1000),"
	"  message_id TEXT NOT NULL CHECK (length(message_id) <= 1000),"
	"  sender TEXT NOT NULL,"
	"  reply_to TEXT,"
	"  authentication TEXT,"
	"  disposition TEXT,"
	"  date INTEGER NOT NULL,"
	"  received_at INTEGER NOT NULL,"
	"  state TEXT NOT NULL DEFAULT 'new' CHECK (state IN ('new','replying','replied','in-doubt','refused','ignored')),"
	"  reply_message_id TEXT,"
	"  why TEXT,"
	"  UNIQUE (enrollment_id, message_id, token_part1)"
	") STRICT",
	"CREATE INDEX challenges_received ON challenges (enrollment_id, received_at)",
	"CREATE TABLE events ("
	"  id INTEGER PRIMARY KEY AUTOINCREMENT,"
	"  enrollment_id INTEGER REFERENCES enrollments (id),"
	"  at INTEGER NOT NULL,"
	"  name TEXT NOT NULL,"
	"  actor TEXT,"
	"  address TEXT,"
	"  text TEXT,"
	"  state TEXT CHECK (state IN (" STATES ")),"
	"  class TEXT NOT NULL CHECK (class IN (" CLASSES "))"
	") STRICT",
	"CREATE INDEX events_enrollment ON events (enrollment_id, id)",
	"CREATE TABLE mail_events ("
	"  id INTEGER PRIMARY KEY AUTOINCREMENT,"
	"  at INTEGER NOT NULL,"
	"  queue_id TEXT,"
	"  message_id TEXT,"
	"  login TEXT,"
	"  sender TEXT,"
	"  sender_key TEXT,"
	"  verdict TEXT NOT NULL,"
	"  reason TEXT"
	") STRICT",
	"CREATE INDEX mail_events_sender ON mail_events (sender_key, id)",
	"CREATE INDEX mail_events_verdict ON mail_events (verdict, sender_key, id)",
	NULL,
};

/* enrollments.planned_at: next_at as the last step wanted it, before a mail moved it forward.
 * What a failure was about, beside its sentence; limits that hold for other enrollments too; the fate of replies.  A report's token is a
 * secret of ours in the reply's envelope sender: whoever shows it has seen the reply's envelope.  orders_open serves the two questions
 * that ask for orders without an outcome. */
static const char *const version_2[] = {
	"ALTER TABLE enrollments ADD COLUMN why_subject TEXT",
	"ALTER TABLE enrollments ADD COLUMN why_type TEXT",
	"ALTER TABLE enrollments ADD COLUMN why_status INTEGER NOT NULL DEFAULT 0",
	"ALTER TABLE enrollments ADD COLUMN why_at INTEGER NOT NULL DEFAULT 0",
	"ALTER TABLE enrollments ADD COLUMN planned_at INTEGER NOT NULL DEFAULT 0",
	"ALTER TABLE enrollments ADD COLUMN retry_at INTEGER NOT NULL DEFAULT 0",
	"CREATE TABLE limits ("
	"  ca TEXT NOT NULL,"
	"  scope TEXT NOT NULL,"
	"  at INTEGER NOT NULL,"
	"  until INTEGER NOT NULL,"
	"  text TEXT,"
	"  PRIMARY KEY (ca, scope)"
	") STRICT, WITHOUT ROWID",
	"CREATE INDEX limits_until ON limits (until)",
	"CREATE INDEX orders_open ON orders (outcome, enrollment_id) WHERE outcome IS NULL",
	"ALTER TABLE challenges ADD COLUMN report_token TEXT CHECK (length(report_token) BETWEEN 16 AND 100)",
	"ALTER TABLE challenges ADD COLUMN report_token_at INTEGER NOT NULL DEFAULT 0",
	"CREATE UNIQUE INDEX challenges_report ON challenges (report_token) WHERE report_token IS NOT NULL",
	"CREATE TABLE reports ("
	"  id INTEGER PRIMARY KEY,"
	"  enrollment_id INTEGER NOT NULL REFERENCES enrollments (id),"
	"  challenge_id INTEGER NOT NULL REFERENCES challenges (id),"
	"  action TEXT NOT NULL CHECK (action IN ('relayed','delivered','failed','delayed','expanded')),"
	"  status TEXT,"
	"  diagnostic TEXT,"
	"  remote TEXT,"
	"  reporter TEXT,"
	"  received_at INTEGER NOT NULL,"
	"  seen INTEGER NOT NULL DEFAULT 0 CHECK (seen IN (0, 1))"
	") STRICT",
	"CREATE INDEX reports_challenge ON reports (challenge_id)",
	"CREATE INDEX reports_enrollment ON reports (enrollment_id, received_at)",
	NULL,
};

#define CLOSED "('superseded','revoked','expired')"
#define WORTH(t) "((EXISTS (SELECT 1 FROM certificates c WHERE c.enrollment_id = " t ".id AND c.status = 'active')) * 2 + (" t \
	".state NOT IN ('blocked','failed')))"

/* Rules: which one decided about an address; rows beside another row of the same person; orders for several addresses, one challenge each. */
static const char *const version_3[] = {
	"ALTER TABLE enrollments ADD COLUMN rule TEXT",
	"ALTER TABLE enrollments ADD COLUMN companion_of INTEGER REFERENCES enrollments (id)",
	"ALTER TABLE enrollments ADD COLUMN challenge_address TEXT",
	"ALTER TABLE enrollments ADD COLUMN entry TEXT",
	"ALTER TABLE challenges ADD COLUMN recipient TEXT",
	/* A changed profile could leave an address with two open rows; now there is one.  What signs stays, else what goes on, else the newest. */
	"UPDATE enrollments SET state = 'superseded', next_at = 0, lease_owner = NULL, lease_until = 0, version = version + 1"
	"  WHERE state NOT IN " CLOSED " AND EXISTS (SELECT 1 FROM enrollments b WHERE b.address_key = enrollments.address_key"
	"   AND b.id <> enrollments.id AND b.state NOT IN " CLOSED " AND (" WORTH("b") " > " WORTH("enrollments")
	"    OR (" WORTH("b") " = " WORTH("enrollments") " AND b.id > enrollments.id)))",
	"INSERT INTO events (enrollment_id, at, name, actor, class, text, address, state)"
	"  SELECT id, CAST(strftime('%s') AS INTEGER), 'state', 'migration', 'none', 'another enrollment of this address goes on', address, state"
	"  FROM enrollments e WHERE state = 'superseded' AND EXISTS (SELECT 1 FROM enrollments b WHERE b.address_key = e.address_key AND b.state NOT IN "
	CLOSED ")",
	"UPDATE certificates SET status = 'superseded' WHERE status = 'active' AND enrollment_id IN (SELECT id FROM enrollments WHERE state = 'superseded')",
	"UPDATE orders SET outcome = 'abandoned', closed_at = opened_at WHERE outcome IS NULL AND enrollment_id IN"
	"  (SELECT id FROM enrollments WHERE state = 'superseded')",
	"DROP INDEX enrollments_open",
	"CREATE UNIQUE INDEX enrollments_open ON enrollments (address_key) WHERE companion_of IS NULL AND state NOT IN ('superseded','revoked','expired')",
	"CREATE UNIQUE INDEX enrollments_companion ON enrollments (companion_of) WHERE companion_of IS NOT NULL"
	"  AND state NOT IN ('superseded','revoked','expired')",
	NULL,
};

/* A mail event keeps apart what was decided, the words behind it, what became of the mail, and which certificate signed it. */
static const char *const version_4[] = {
	"ALTER TABLE mail_events ADD COLUMN detail TEXT",
	"ALTER TABLE mail_events ADD COLUMN action TEXT",
	"ALTER TABLE mail_events ADD COLUMN certificate TEXT",
	NULL,
};

/* A certificate that is being revoked is a work item of its own: its row's replacement does not wait for it.  What has to follow outside are two
 * parts, each with a lease. */
static const char *const version_5[] = {
	"CREATE TABLE revocations ("
	"  id INTEGER PRIMARY KEY,"
	"  certificate_id INTEGER NOT NULL UNIQUE REFERENCES certificates (id),"
	"  ca TEXT NOT NULL,"
	"  reason TEXT NOT NULL CHECK (reason IN ('keyCompromise','affiliationChanged','superseded','cessationOfOperation','privilegeWithdrawn')),"
	"  requested_by TEXT,"
	"  requested_at INTEGER NOT NULL,"
	"  done_at INTEGER NOT NULL DEFAULT 0"
	") STRICT",
	"CREATE TABLE revocation_parts ("
	"  id INTEGER PRIMARY KEY,"
	"  revocation_id INTEGER NOT NULL REFERENCES revocations (id),"
	"  part TEXT NOT NULL CHECK (part IN ('ca','directory')),"
	"  next_at INTEGER NOT NULL,"
	"  attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),"
	"  lease_owner TEXT,"
	"  lease_until INTEGER NOT NULL DEFAULT 0,"
	"  why_class TEXT NOT NULL DEFAULT 'none' CHECK (why_class IN (" CLASSES ")),"
	"  why TEXT,"
	"  why_type TEXT,"
	"  done_at INTEGER NOT NULL DEFAULT 0,"
	"  UNIQUE (revocation_id, part),"
	"  CHECK ((lease_owner IS NULL) = (lease_until = 0))"
	") STRICT",
	"CREATE INDEX revocation_parts_due ON revocation_parts (part, next_at) WHERE done_at = 0",
	"CREATE INDEX revocation_parts_leased ON revocation_parts (lease_until) WHERE lease_owner IS NOT NULL",
	NULL,
};

/* What has to leave the directory: when it is tried next, and why it did not go.  Foreign values that the admin let us clear, as they were. */
static const char *const version_6[] = {
	"ALTER TABLE certificates ADD COLUMN directory_next_at INTEGER NOT NULL DEFAULT 0",
	"ALTER TABLE certificates ADD COLUMN directory_attempts INTEGER NOT NULL DEFAULT 0",
	"ALTER TABLE certificates ADD COLUMN directory_class TEXT NOT NULL DEFAULT 'none' CHECK (directory_class IN (" CLASSES "))",
	"ALTER TABLE certificates ADD COLUMN directory_why TEXT",
	"CREATE INDEX certificates_leaving ON certificates (directory_next_at) WHERE in_directory = 1 AND status IN ('superseded','expired','revoked')",
	"CREATE INDEX certificates_ending ON certificates (not_after) WHERE in_directory = 1 AND status = 'active'",
	"CREATE TABLE directory_saved ("
	"  id INTEGER PRIMARY KEY,"
	"  enrollment_id INTEGER NOT NULL,"
	"  address_key TEXT NOT NULL,"
	"  dn TEXT NOT NULL,"
	"  attribute TEXT NOT NULL,"
	"  value BLOB NOT NULL,"
	"  at INTEGER NOT NULL,"
	"  restored_at INTEGER NOT NULL DEFAULT 0"
	") STRICT",
	"CREATE INDEX directory_saved_address ON directory_saved (address_key, id)",
	/* People who left, by the directory: beside `disabled`, which is the admin's.  A row of somebody who is gone is due no more.  Who would be gone all at
	 * once is held until an admin looks. */
	"ALTER TABLE enrollments ADD COLUMN gone_since INTEGER NOT NULL DEFAULT 0 CHECK (gone_since >= 0)",
	"ALTER TABLE enrollments ADD COLUMN gone_ended INTEGER NOT NULL DEFAULT 0 CHECK (gone_ended >= 0)",
	"ALTER TABLE enrollments ADD COLUMN gone_why TEXT CHECK (gone_why IN ('disabled','gone','address'))",
	"ALTER TABLE enrollments ADD COLUMN gone_by TEXT",
	"DROP INDEX enrollments_due",
	"CREATE INDEX enrollments_due ON enrollments (next_at, id) WHERE next_at > 0 AND disabled = 0 AND gone_since = 0",
	"CREATE INDEX enrollments_gone ON enrollments (address_key) WHERE gone_since > 0",
	"CREATE TABLE departures_held ("
	"  address_key TEXT NOT NULL PRIMARY KEY CHECK (address_key <> ''),"
	"  address TEXT NOT NULL,"
	"  why TEXT NOT NULL CHECK (why IN ('disabled','gone','address')),"
	"  at INTEGER NOT NULL,"
	"  confirmed_by TEXT,"
	"  confirmed_at INTEGER NOT NULL DEFAULT 0"
	") STRICT, WITHOUT ROWID",
	/* What is known of a certificate's renewal: the moment chosen in the CA's window, how often and how loud its delay was told (late), and when its
	 * revocation is asked about next (watch_at).  A campaign replaces the certificates that are its rows; one goes on at a time. */
	"CREATE TABLE renewals ("
	"  certificate_id INTEGER NOT NULL PRIMARY KEY REFERENCES certificates (id),"
	"  renew_at INTEGER NOT NULL DEFAULT 0,"
	"  window_start INTEGER NOT NULL DEFAULT 0,"
	"  window_end INTEGER NOT NULL DEFAULT 0,"
	"  explanation TEXT,"
	"  ask_at INTEGER NOT NULL DEFAULT 0,"
	"  urged INTEGER NOT NULL DEFAULT 0 CHECK (urged IN (0, 1)),"
	"  late INTEGER NOT NULL DEFAULT 0 CHECK (late BETWEEN 0 AND 4),"
	"  watch_at INTEGER NOT NULL DEFAULT 0"
	") STRICT",
	"CREATE INDEX renewals_watch ON renewals (watch_at) WHERE watch_at > 0",
	"CREATE TABLE campaigns ("
	"  id INTEGER PRIMARY KEY,"
	"  state TEXT NOT NULL CHECK (state IN ('running','paused','done','cancelled')),"
	"  selection TEXT NOT NULL,"
	"  deadline INTEGER NOT NULL,"
	"  revoke TEXT,"
	"  created_by TEXT,"
	"  created_at INTEGER NOT NULL,"
	"  ended_at INTEGER NOT NULL DEFAULT 0"
	") STRICT",
	"CREATE UNIQUE INDEX campaigns_open ON campaigns ((1)) WHERE state IN ('running','paused')",
	"CREATE TABLE campaign_rows ("
	"  campaign_id INTEGER NOT NULL REFERENCES campaigns (id),"
	"  certificate_id INTEGER NOT NULL REFERENCES certificates (id),"
	"  state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending','begun','done','skipped')),"
	"  begun_at INTEGER NOT NULL DEFAULT 0,"
	"  done_at INTEGER NOT NULL DEFAULT 0,"
	"  why TEXT,"
	"  PRIMARY KEY (campaign_id, certificate_id)"
	") STRICT, WITHOUT ROWID",
	"CREATE INDEX campaign_rows_state ON campaign_rows (campaign_id, state, certificate_id)",
	"CREATE INDEX campaign_rows_certificate ON campaign_rows (certificate_id)",
	NULL,
};

/* For monitoring: to count without reading the rows. */
static const char *const version_7[] = {
	"CREATE INDEX enrollments_figures ON enrollments (state, why_class)",
	"CREATE INDEX certificates_expiry ON certificates (status, not_after) WHERE status = 'active'",
	"CREATE INDEX revocations_open ON revocations (requested_at) WHERE done_at = 0",
	NULL,
};

/* Any number of enrolld on one store: whose turn it is with what one of them does at a time (turns.c). */
static const char *const version_8[] = {
	"CREATE TABLE turns ("
	"  name TEXT NOT NULL PRIMARY KEY CHECK (name <> ''),"
	"  owner TEXT NOT NULL,"
	"  until INTEGER NOT NULL,"
	"  done_at INTEGER NOT NULL DEFAULT 0"
	") STRICT",
	NULL,
};

static const struct migration migrations[] = {
	{1, version_1, 0},
	{2, version_2, 0},
	{3, version_3, 0},
	{4, version_4, 0},
	{5, version_5, 0},
	{6, version_6, 0},
	{7, version_7, 6}, /* indexes alone */
	{8, version_8, 6}, /* enrolld's alone */
};
#define MIGRATIONS (sizeof(migrations) / sizeof(migrations[0]))

int store_schema_version(void)
{
	return migrations[MIGRATIONS - 1].version;
}

static int needed_by(const struct migration *m)
{
	return m->readable_by > 0 ? m->readable_by : m->version;
}

/* Raised with the step that brings what milters cannot do without, be it a column or, in PostgreSQL, a right (store/grants.c): an older store has given
 * its roles what its own version had for them.  Version 8 brought what enrolld alone uses. */
#define MILTERS_FROM 7

int store_schema_milters_from(void)
{
	return MILTERS_FROM;
}

int store_schema_readable_by(void)
{
	return needed_by(&migrations[MIGRATIONS - 1]);
}

/* The schema's number; 0 for an empty file; -1 and an error for a file that is something else. */
static int current_version(sqlite3 *h, const char *op, const char *path, struct err *err)
{
	char answer[32], id[32];
	int version;

	snprintf(id, sizeof(id), "%d", SQLITE_APPLICATION_ID);
	if (!sqlite_ask(h, "SELECT COUNT(*) FROM sqlite_master", answer, sizeof(answer), op, path, err))
		return -1;
	if (atoi(answer) == 0)
		return 0;
	if (!sqlite_ask(h, "PRAGMA application_id", answer, sizeof(answer), op, path, err))
		return -1;
	if (strcmp(answer, id) != 0) {
		err_set(err, ERR_CONFIG, op, path, "%s is a database of another program", path);
		return -1;
	}
	if (!sqlite_ask(h, "SELECT value FROM meta WHERE name = 'schema_version'", answer, sizeof(answer), op, path, err))
		return -1;
	version = atoi(answer);
	if (version > 0)
		return version;
	err_set(err, ERR_CONFIG, op, path, "%s does not say which schema it has", path);
	return -1;
}

/* What milters have to know after this step; a step before may have asked for more. */
static bool needed_after(sqlite3 *h, const struct migration *m, int *needed, const char *op, const char *path, struct err *err)
{
	char before[32];

	if (!sqlite_ask(h, "PRAGMA user_version", before, sizeof(before), op, path, err))
		return false;
	*needed = needed_by(m);
	if (*needed < atoi(before))
		*needed = atoi(before);
	return true;
}

static bool run_step(sqlite3 *h, const struct migration *m, const char *op, const char *path, struct err *err)
{
	char sql[512];
	int needed;

	if (!needed_after(h, m, &needed, op, path, err))
		return false;
	for (size_t i = 0; m->statements[i] != NULL; i++)
		if (!sqlite_run(h, m->statements[i], op, path, err))
			return false;
	snprintf(sql, sizeof(sql),
		"PRAGMA application_id = %d;"
		"PRAGMA user_version = %d;"
		"INSERT INTO meta (name, value) VALUES ('schema_version', '%d') ON CONFLICT (name) DO UPDATE SET value = excluded.value;"
		"INSERT INTO migrations (version, at, program) VALUES (%d, %lld, '%s');",
		SQLITE_APPLICATION_ID, needed, m->version, m->version, (long long)time(NULL), PACKAGE_STRING);
	return sqlite_run(h, sql, op, path, err);
}

/* Everything from the version that is there on, each step on its own.  The number is read again inside: another process may have
 * been faster. */
static bool run_steps(sqlite3 *h, const struct migration *list, size_t n, const char *op, const char *path, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		int version;
		bool ok;

		if (!sqlite_run(h, "BEGIN IMMEDIATE", op, path, err))
			return false;
		version = current_version(h, op, path, err);
		ok = version >= 0 && (version >= list[i].version || run_step(h, &list[i], op, path, err));
		if (!ok || !sqlite_run(h, "COMMIT", op, path, err)) {
			sqlite3_exec(h, "ROLLBACK", NULL, NULL, NULL);
			return false;
		}
	}
	return true;
}

bool schema_too_new(int needs, int newest, const char *op, const char *path, struct err *err)
{
	err_set(err, ERR_CONFIG, op, path,
		"%s was upgraded to a schema that needs programs of schema %d, this one knows schemas up to %d; install the newer program and restart this one",
		path, needs, newest);
	if (err != NULL)
		snprintf(err->type, sizeof(err->type), SCHEMA_TOO_NEW);
	return false;
}

bool store_is_too_new(const struct err *err)
{
	return strcmp(err->type, SCHEMA_TOO_NEW) == 0 || strcmp(err->type, STORE_MOVED) == 0;
}

/* Newer than we are: a milter goes on if that schema says so; who would write all of it must know all of it. */
static bool goes_on(sqlite3 *h, int version, int newest, enum schema_access access, const char *op, const char *path, struct err *err)
{
	char answer[32];
	int needs;

	if (access != SCHEMA_READ)
		return err_set(err, ERR_CONFIG, op, path, "%s has schema %d, this program knows schemas up to %d; install the newer program again", path,
			version, newest);
	if (!sqlite_ask(h, "PRAGMA user_version", answer, sizeof(answer), op, path, err))
		return false;
	needs = atoi(answer) % STORE_MARK;
	return (needs > 0 && needs <= newest) || schema_too_new(needs > 0 ? needs : version, newest, op, path, err);
}

bool schema_apply(
	sqlite3 *h, const struct migration *list, size_t n, enum schema_access access, const char *op, const char *path, struct err *err)
{
	int version = current_version(h, op, path, err), newest = list[n - 1].version;

	if (version < 0)
		return false;
	if (version > newest)
		return goes_on(h, version, newest, access, op, path, err);
	if (version == newest)
		return true;
	if (version == 0 && access != SCHEMA_CREATE)
		return err_set(err, ERR_CONFIG, op, path, "%s is empty; remove it and make the store with `enrollctl init`", path);
	if (access == SCHEMA_COPY)
		return true;
	if (access == SCHEMA_READ || access == SCHEMA_WRITE)
		return err_set(err, access == SCHEMA_READ ? ERR_TEMPORARY : ERR_CONFIG, op, path,
			"%s has schema %d, this program needs %d: start enrolld of this version, it upgrades the store, or run `enrollctl store upgrade`",
			path, version, newest);
	return run_steps(h, list, n, op, path, err);
}

bool schema_prepare(sqlite3 *h, enum schema_access access, const char *op, const char *path, struct err *err)
{
	return schema_apply(h, migrations, MIGRATIONS, access, op, path, err);
}

bool schema_unmarked(sqlite3 *h, const char *op, const char *path, struct err *err)
{
	char mark[MARK_SIZE];

	return sqlite_ask(h, MARK_SELECT, mark, sizeof(mark), op, path, err) && store_unmarked(mark, op, path, err);
}

static bool ask_number(sqlite3 *h, const char *sql, long long *out, const char *op, const char *path, struct err *err)
{
	char answer[32];
	bool ok = sqlite_ask(h, sql, answer, sizeof(answer), op, path, err);

	*out = ok ? atoll(answer) : 0;
	return ok;
}

bool schema_look(sqlite3 *h, struct store_look *out, const char *op, const char *path, struct err *err)
{
	long long needs = 0, at = 0;
	bool ok;

	memset(out, 0, sizeof(*out));
	out->schema = current_version(h, op, path, err);
	if (out->schema < 0)
		return false;
	if (out->schema == 0)
		return err_set(err, ERR_CONFIG, op, path, "%s is empty; remove it and make the store with `enrollctl init`", path);
	ok = ask_number(h, "PRAGMA user_version", &needs, op, path, err) &&
		ask_number(h, "SELECT at FROM migrations ORDER BY version DESC LIMIT 1", &at, op, path, err) &&
		sqlite_ask(h, "SELECT program FROM migrations ORDER BY version DESC LIMIT 1", out->upgraded_by, sizeof(out->upgraded_by), op, path, err);
	needs %= STORE_MARK;
	out->readable_by = needs > 0 ? (int)needs : out->schema;
	out->upgraded_at = (time_t)at;
	return ok;
}
