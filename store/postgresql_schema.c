/*
 * store/postgresql_schema.c - the store in PostgreSQL: made, upgraded, granted to its roles, looked at.
 *
 * The tables belong to role owner, which no daemon has; what the others may do is granted from the table in store/grants.c, anew with each upgrade.
 * Whoever changes tables holds an advisory lock for it, and an upgrade is one transaction, so two at once are one after the other, and a crash leaves the
 * old schema or the new one.
 */
#include "config.h"

#include "store/postgresql.h"

#include <stdlib.h>
#include <string.h>

#include "store/grants.h"
#include "store/tables.h"

/* ---- which schema there is --------------------------------------------------------------------------------------- */

const char *pg_needs(int who)
{
	return who == STORE_ROLE_OUTBOUND || who == STORE_ROLE_INBOUND ? "readable_by" : "schema_version";
}

static bool meta_number(PGconn *conn, const char *name, int *out, int64_t deadline, const char *op, struct err *err)
{
	char sql[100], answer[32];

	snprintf(sql, sizeof(sql), "SELECT value FROM meta WHERE name = '%s'", name);
	*out = 0;
	if (!pg_ask(conn, sql, answer, sizeof(answer), deadline, op, err))
		return false;
	*out = atoi(answer);
	return true;
}

static bool there_is_none(const char *op, struct err *err)
{
	err_set(err, ERR_CONFIG, op, "postgresql", "there is no store in this database; `enrollctl init` makes one");
	if (err != NULL)
		snprintf(err->type, sizeof(err->type), STORE_NONE);
	return false;
}

bool pg_unmarked(PGconn *conn, int64_t deadline, const char *op, struct err *err)
{
	char mark[MARK_SIZE];

	return pg_ask(conn, MARK_SELECT, mark, sizeof(mark), deadline, op, err) && store_unmarked(mark, op, "the store in PostgreSQL", err);
}

bool pg_schema_fits(PGconn *conn, int who, int64_t deadline, const char *op, struct err *err)
{
	static const char there[] = "schema_version";
	bool mail = who == STORE_ROLE_OUTBOUND || who == STORE_ROLE_INBOUND;
	int version, needs, newest = store_schema_version();

	if (!meta_number(conn, there, &version, deadline, op, err))
		return false;
	needs = version;
	if (strcmp(pg_needs(who), there) != 0 && !meta_number(conn, pg_needs(who), &needs, deadline, op, err))
		return false;
	if (version == 0 || needs == 0)
		return there_is_none(op, err);
	if (needs > newest)
		return schema_too_new(needs, newest, op, "the store in PostgreSQL", err);
	return version >= (mail ? store_schema_milters_from() : newest) ||
	       err_set(err, who == STORE_ROLE_ADMIN ? ERR_CONFIG : ERR_TEMPORARY, op, "postgresql",
		       "the store has schema %d, this program needs %d: run `enrollctl store upgrade`, which connects as the owner of the tables", version, newest);
}

/* 0 where there is none. */
static bool version_there(PGconn *conn, int *version, const char *op, struct err *err)
{
	char answer[16];

	*version = 0;
	return pg_ask(conn, "SELECT to_regclass('" PG_SCHEMA ".meta') IS NOT NULL", answer, sizeof(answer), NO_HURRY, op, err) &&
	       (answer[0] != 't' || meta_number(conn, "schema_version", version, NO_HURRY, op, err));
}

/* ---- steps -------------------------------------------------------------------------------------------------------- */

static bool run_step(PGconn *conn, const struct pg_migration *m, const char *op, struct err *err)
{
	char sql[700];

	for (size_t i = 0; m->statements[i] != NULL; i++)
		if (!pg_do(conn, m->statements[i], NO_HURRY, op, err))
			return false;
	snprintf(sql, sizeof(sql),
		"INSERT INTO meta (name, value) VALUES ('schema_version', '%d') ON CONFLICT (name) DO UPDATE SET value = excluded.value;"
		"INSERT INTO meta (name, value) VALUES ('readable_by', '%d') ON CONFLICT (name) DO UPDATE SET value ="
		" CASE WHEN CAST(meta.value AS BIGINT) > CAST(excluded.value AS BIGINT) THEN meta.value ELSE excluded.value END;"
		"INSERT INTO migrations (version, at, program) VALUES (%d, %lld, '%s')",
		m->version, m->readable_by > 0 ? m->readable_by : m->version, m->version, (long long)time(NULL), PACKAGE_STRING);
	return pg_do(conn, sql, NO_HURRY, op, err);
}

static bool run_steps(PGconn *conn, const char *op, struct err *err)
{
	for (size_t i = 0; i < pg_migrations_n; i++) {
		int version;

		if (!version_there(conn, &version, op, err))
			return false;
		if (version < pg_migrations[i].version && !run_step(conn, &pg_migrations[i], op, err))
			return false;
	}
	return true;
}

/* ---- grants ------------------------------------------------------------------------------------------------------- */

static bool role_is_there(PGconn *conn, const char *role, const char *op, struct err *err)
{
	char *name = PQescapeLiteral(conn, role, strlen(role)), *sql = NULL, answer[16] = "";
	bool ok = name != NULL && asprintf(&sql, "SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = %s)", name) >= 0 &&
		  pg_ask(conn, sql, answer, sizeof(answer), NO_HURRY, op, err);

	PQfreemem(name);
	free(sql);
	return ok && (answer[0] == 't' || err_set(err, ERR_CONFIG, op, role,
						 "the database has no role %s, which store.connection names; make it: CREATE ROLE \"%s\" LOGIN", role, role));
}

/* " a b " as "a, b". */
static void put_columns(struct buf *out, const char *columns)
{
	const char *between = "";

	while (*(columns += strspn(columns, " ")) != '\0') {
		size_t n = strcspn(columns, " ");

		buf_printf(out, "%s%.*s", between, (int)n, columns);
		between = ", ";
		columns += n;
	}
}

static void put_grants(struct buf *out, int role, const char *quoted)
{
	static const char *const words[] = {"SELECT", "INSERT", "UPDATE", "DELETE"};

	buf_printf(out, "REVOKE ALL ON ALL TABLES IN SCHEMA " PG_SCHEMA " FROM %s; REVOKE ALL ON ALL FUNCTIONS IN SCHEMA " PG_SCHEMA " FROM %s;"
		" GRANT USAGE ON SCHEMA " PG_SCHEMA " TO %s;", quoted, quoted, quoted);
	if (role == STORE_ROLE_ADMIN) {
		buf_printf(out, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA " PG_SCHEMA " TO %s;", quoted);
		return;
	}
	for (size_t i = 0; i < grants_n; i++) {
		const struct grant *g = &grants[i];

		if (g->role != role)
			continue;
		buf_printf(out, "GRANT %s", words[g->action]);
		if (g->columns != NULL) {
			buf_puts(out, " (");
			put_columns(out, g->columns);
			buf_puts(out, ")");
		}
		buf_printf(out, " ON %s TO %s;", g->table, quoted);
	}
	if (role == GRANT_HELPDESK)
		pg_helpdesk_put_grants(out, quoted);
}

/* A role's own name is in store.connection; the help desk's need not be there.  With one role for all there is nothing to grant. */
static bool grant_role(PGconn *conn, const struct store_settings *s, int who, const char *owner, const char *op, struct err *err)
{
	char *user = pg_user(s, who, err), *quoted = NULL;
	struct buf sql = BUF_INIT;
	bool ok = user != NULL, skip = ok && (strcmp(user, owner) == 0 || user[0] == '\0');

	if (ok && !skip && who == PG_HELPDESK)
		skip = !role_is_there(conn, user, op, NULL);
	if (ok && !skip) {
		quoted = PQescapeIdentifier(conn, user, strlen(user));
		ok = quoted != NULL && role_is_there(conn, user, op, err);
		if (ok)
			put_grants(&sql, who == PG_HELPDESK ? GRANT_HELPDESK : who, quoted);
		ok = ok && pg_do(conn, buf_str(&sql), NO_HURRY, op, err);
	}
	buf_clear(&sql);
	PQfreemem(quoted);
	free(user);
	return ok;
}

static bool grant_roles(PGconn *conn, const struct store_settings *s, const char *op, struct err *err)
{
	const char *owner = PQuser(conn);

	for (int who = 0; who < PG_WHO_NUMBER; who++)
		if (who != PG_OWNER && !grant_role(conn, s, who, owner, op, err))
			return false;
	return true;
}

/* ---- made and upgraded -------------------------------------------------------------------------------------------- */

/* Who is connected, of any host, and would be cut off by the schema that we bring.  An enrolld of an older version would write as it knows it. */
static bool nobody_is_cut_off(PGconn *conn, const char *op, struct err *err)
{
	char sql[600], answer[100];

	snprintf(sql, sizeof(sql),
		"SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
		" AND application_name ~ '^" PG_NAME "(outbound|inbound|enrolld) [0-9]+$' AND CAST(substring(application_name from '[0-9]+$') AS INTEGER) <"
		" CASE WHEN application_name LIKE '%%enrolld%%' THEN %d ELSE %d END LIMIT 1",
		store_schema_version(), store_schema_readable_by());
	return pg_ask(conn, sql, answer, sizeof(answer), NO_HURRY, op, err) &&
	       (answer[0] == '\0' || err_set(err, ERR_CONFIG, op, "postgresql",
					     "%s (the number is the newest schema it knows) is connected, here or from another host, and would be cut off by schema %d: stop it, upgrade the"
					     " store, and start it of this version", answer, store_schema_version()));
}

/* Addresses and what strangers write in their mails are UTF-8, which another encoding has no room for. */
static bool holds_utf8(PGconn *conn, const char *op, struct err *err)
{
	char encoding[32];

	return pg_ask(conn, "SHOW server_encoding", encoding, sizeof(encoding), NO_HURRY, op, err) &&
	       (strcmp(encoding, "UTF8") == 0 ||
		       err_set(err, ERR_CONFIG, op, PQdb(conn), "the database has the encoding %s; the store needs UTF8: createdb --encoding=UTF8 --template=template0",
			       encoding));
}

static bool mark_at_birth(PGconn *conn, const char *op, struct err *err)
{
	char sql[200];

	store_mark_at_birth(sql);
	return pg_do(conn, sql, NO_HURRY, op, err);
}

static bool prepare(PGconn *conn, const struct store_settings *s, bool create, const char *op, struct err *err)
{
	int version;

	if (!pg_do(conn, "BEGIN; SELECT pg_advisory_xact_lock(" PG_LOCK_SCHEMA ")", NO_HURRY, op, err) || !version_there(conn, &version, op, err))
		return false;
	if (create && version > 0)
		return err_set(err, ERR_CONFIG, op, "postgresql", "there is a store in this database already; it was left as it is");
	if (!create && version == 0)
		return there_is_none(op, err);
	if (version > store_schema_version())
		return err_set(err, ERR_CONFIG, op, "postgresql", "the store has schema %d, this program knows schemas up to %d; install the newer program again",
			version, store_schema_version());
	if (!create && version < store_schema_version() && !nobody_is_cut_off(conn, op, err))
		return false;
	if (create && !holds_utf8(conn, op, err))
		return false;
	if (create && !pg_do(conn, "CREATE SCHEMA IF NOT EXISTS " PG_SCHEMA, NO_HURRY, op, err))
		return false;
	return run_steps(conn, op, err) && (!create || !s->marked_too || mark_at_birth(conn, op, err)) && pg_helpdesk_make(conn, s, op, err) &&
	       grant_roles(conn, s, op, err) && pg_do(conn, "COMMIT", NO_HURRY, op, err);
}

bool pg_create(const struct store_settings *s, struct err *err)
{
	static const char op[] = "create store";
	PGconn *conn = pg_connect(s, PG_OWNER, op, err);
	bool ok = conn != NULL && prepare(conn, s, true, op, err);

	PQfinish(conn);
	return ok;
}

bool pg_upgrade(const struct store_settings *s, struct err *err)
{
	static const char op[] = "upgrade store";
	PGconn *conn = pg_connect(s, PG_OWNER, op, err);
	bool ok = conn != NULL && prepare(conn, s, false, op, err);

	PQfinish(conn);
	return ok;
}

/* ---- put in order ------------------------------------------------------------------------------------------------- */

bool pg_settle(const struct store_settings *s, struct err *err)
{
	static const char op[] = "settle store", sql[] = "DO $$ DECLARE c record; BEGIN"
		" FOR c IN SELECT table_name AS t, column_name AS n FROM information_schema.columns"
		"  WHERE table_schema = '" PG_SCHEMA "' AND is_identity = 'YES' LOOP"
		"  EXECUTE format('SELECT setval(pg_get_serial_sequence(%L, %L), greatest(coalesce(max(%I), 0), 1), max(%I) IS NOT NULL) FROM " PG_SCHEMA ".%I',"
		"   '" PG_SCHEMA ".' || quote_ident(c.t), c.n, c.n, c.n, c.t);"
		" END LOOP; END $$";
	PGconn *conn = pg_connect(s, PG_OWNER, op, err);
	bool ok = conn != NULL && pg_do(conn, sql, NO_HURRY, op, err);

	PQfinish(conn);
	return ok && pg_compact(s, err);
}

/* One statement a table: VACUUM is no part of a transaction. */
bool pg_compact(const struct store_settings *s, struct err *err)
{
	static const char op[] = "compact store";
	PGconn *conn = pg_connect(s, PG_OWNER, op, err);
	char sql[100];
	bool ok = conn != NULL;

	for (size_t i = 0; ok && i < tables_n; i++) {
		snprintf(sql, sizeof(sql), "VACUUM (ANALYZE) %s", tables[i].name);
		ok = pg_do(conn, sql, NO_HURRY, op, err);
	}
	PQfinish(conn);
	return ok;
}

/* ---- looked at ---------------------------------------------------------------------------------------------------- */

/* Each brings the name of what is wrong, and nothing where all is well. */
static const struct { const char *sql, *before, *after; } questions[] = {
	{"SELECT conname FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace WHERE n.nspname = '" PG_SCHEMA "' AND NOT convalidated LIMIT 1",
		"constraint", "is not valid"},
	{"SELECT i.indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
	 " WHERE n.nspname = '" PG_SCHEMA "' AND NOT i.indisvalid LIMIT 1",
		"index", "is not valid"},
	{"SELECT t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
	 " WHERE n.nspname = '" PG_SCHEMA "' AND t.tgenabled NOT IN ('O', 'A') LIMIT 1",
		"trigger", "is switched off"},
	{"SELECT address_key FROM enrollments WHERE companion_of IS NULL AND state NOT IN ('superseded','revoked','expired') GROUP BY address_key"
	 " HAVING COUNT(*) > 1 LIMIT 1",
		"address", "has two enrollments"},
	{"SELECT c.serial FROM certificates c LEFT JOIN user_keys k ON k.id = c.key_id WHERE k.id IS NULL LIMIT 1", "certificate", "has no key"},
};

bool pg_verify(PGconn *conn, int64_t deadline, const char *op, struct err *err)
{
	char answer[200];

	for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
		if (!pg_ask(conn, questions[i].sql, answer, sizeof(answer), deadline, op, err))
			return false;
		if (answer[0] != '\0')
			return err_set(err, ERR_CONFIG, op, "postgresql", "the store is damaged: %s %s %s; bring a backup back", questions[i].before, answer,
				questions[i].after);
	}
	return true;
}

bool pg_look(const struct store_settings *s, bool check, struct store_look *out, struct err *err)
{
	static const char op[] = "look at store";
	PGconn *conn = pg_connect(s, STORE_ROLE_ADMIN, op, err);
	char at[32];
	bool ok = conn != NULL && version_there(conn, &out->schema, op, err) && (out->schema > 0 || there_is_none(op, err)) &&
		  meta_number(conn, "readable_by", &out->readable_by, NO_HURRY, op, err) &&
		  pg_ask(conn, "SELECT at FROM migrations ORDER BY version DESC LIMIT 1", at, sizeof(at), NO_HURRY, op, err) &&
		  pg_ask(conn, "SELECT program FROM migrations ORDER BY version DESC LIMIT 1", out->upgraded_by, sizeof(out->upgraded_by), NO_HURRY, op, err);

	out->upgraded_at = ok ? (time_t)atoll(at) : 0;
	ok = ok && (!check || pg_verify(conn, NO_HURRY, op, err));
	PQfinish(conn);
	return ok;
}

/* ---- advice -------------------------------------------------------------------------------------------------------- */

static bool advise_on_tls(PGconn *conn, struct strlist *out)
{
	if (pg_is_verified(conn))
		return !pg_checks_ca_alone(conn) ||
		       strlist_add(out, "whoever has any certificate of the CA in sslrootcert could take the database's place: sslmode=verify-full in store.connection checks its name, too");
	if (PQsslInUse(conn) == 0)
		return strlist_add(out, "the connection to the database is not encrypted: add sslmode=verify-full to store.connection");
	return strlist_add(out, "nobody checks that the database server is who it says: add sslmode=verify-full and sslrootcert=FILE to store.connection");
}

#define CLOCK_NOTED 5 /* seconds */

static bool advise_on_clock(PGconn *conn, const struct store_settings *s, int64_t deadline, struct strlist *out, const char *op, struct err *err)
{
	char sentence[300], then[100] = "";
	int64_t ahead;

	if (!pg_clock_ahead(conn, &ahead, deadline, op, err))
		return false;
	if (llabs(ahead) < CLOCK_NOTED)
		return true;
	if (s->clock_tolerance > 0)
		snprintf(then, sizeof(then), ", and enrolld stops where it is more than %u (store.clock-tolerance)", s->clock_tolerance);
	snprintf(sentence, sizeof(sentence), "this host's clock is %lld seconds %s the database's: all gateways' clocks have to agree%s; set them by NTP",
		(long long)llabs(ahead), ahead > 0 ? "ahead of" : "behind", then);
	return strlist_add(out, sentence) || err_nomem(err, op);
}

bool pg_advice(PGconn *conn, const struct store_settings *s, int64_t deadline, struct strlist *out, const char *op, struct err *err)
{
	static const struct { const char *sql, *sentence; } looks[] = {
		{"SELECT current_setting('server_version_num')::int < 140000",
			"the database server is older than PostgreSQL 14: it notices late when a gateway is gone, and keeps its locks; use a newer one"},
		{"SELECT current_setting('fsync') = 'off' OR current_setting('full_page_writes') = 'off'",
			"the database server does not write to its disk (fsync or full_page_writes is off): a crash loses keys; switch both on"},
		{"SELECT current_setting('synchronous_commit') = 'off'",
			"synchronous_commit is off: a crash of the database forgets steps that were done, and they may be done twice; switch it on for our roles"},
		{"SELECT rolsuper FROM pg_roles WHERE rolname = current_user",
			"the database role is a superuser: use roles of your own, %r in store.connection, so that each program can do no more than it needs"},
		{"SELECT EXISTS (SELECT 1 FROM pg_class WHERE oid = '" PG_SCHEMA ".enrollments'::regclass AND reltuples < 0 AND pg_relation_size(oid) > 1048576)",
			"the database knows nothing of how its tables are filled, as after a restore, and may answer slowly: run ANALYZE in it"},
		{"SELECT has_database_privilege('public', current_database(), 'CONNECT')",
			"every role of the database server may connect to this database, and could hold locks that ours wait for: REVOKE CONNECT ON DATABASE ... FROM PUBLIC, and"
			" GRANT it to our roles"},
		{"SELECT EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = '" PG_SCHEMA "' AND tableowner = current_user)",
			"all programs use the role that owns the tables: use roles of your own, %r in store.connection, so that each can do no more than it needs"},
	};
	char answer[16];

	for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++)
		if (!pg_ask(conn, looks[i].sql, answer, sizeof(answer), deadline, op, err))
			return false;
		else if (answer[0] == 't' && !strlist_add(out, looks[i].sentence))
			return err_nomem(err, op);
	if (!advise_on_tls(conn, out))
		return err_nomem(err, op);
	return advise_on_clock(conn, s, deadline, out, op, err);
}
