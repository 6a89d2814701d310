/*
 * store/postgresql_handle.c - one connection to PostgreSQL: made with our settings, waited for with deadlines, its errors in our words.
 *
 * libpq's blocking calls wait for ever when a server stops to answer without closing the connection.  So everything but connecting is sent and then
 * waited for by poll() until a deadline; connecting has libpq's own connect_timeout.
 */
#include "config.h"

#include "store/postgresql.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

/* ---- who connects, and how --------------------------------------------------------------------------------------- */

const char *pg_who_name(int who)
{
	static const char *const names[] = {"outbound", "inbound", "enrolld", "admin", "owner", "helpdesk"};

	return names[who];
}

char *pg_conninfo(const struct store_settings *s, int who)
{
	struct buf out = BUF_INIT;

	for (const char *p = s->connection; *p != '\0'; p++)
		if (p[0] == '%' && p[1] == 'r') {
			buf_puts(&out, pg_who_name(who));
			p++;
		} else {
			buf_putc(&out, *p);
		}
	return buf_take(&out);
}

char *pg_user(const struct store_settings *s, int who, struct err *err)
{
	char *conninfo = pg_conninfo(s, who), *message = NULL, *user = NULL;
	PQconninfoOption *all = conninfo != NULL ? PQconninfoParse(conninfo, &message) : NULL;

	for (PQconninfoOption *o = all; o != NULL && o->keyword != NULL; o++)
		if (strcmp(o->keyword, "user") == 0)
			user = str_dup(o->val != NULL ? o->val : "");
	if (user == NULL && message != NULL)
		err_set(err, ERR_CONFIG, "read store.connection", "store.connection", "store.connection cannot be read: %s", message);
	else if (user == NULL)
		err_nomem(err, "read store.connection");
	PQfreemem(message);
	PQconninfoFree(all);
	free(conninfo);
	return user;
}

#define LOCK_FIRST_MS 500 /* who waits for a lock is to be told that it is one */

/* A mail waits for milters; enrolld counts and plans over all rows; an admin's command has all the time it needs. */
unsigned pg_statement_ms(const struct store_settings *s, int who)
{
	if (who == STORE_ROLE_OUTBOUND || who == STORE_ROLE_INBOUND)
		return s->busy_ms + LOCK_FIRST_MS;
	return who == STORE_ROLE_ENROLLD ? 60000 + s->busy_ms : 0;
}

unsigned pg_idle_ms(const struct store_settings *s)
{
	return s->busy_ms > 4000 ? s->busy_ms / 2 : 2000;
}

/* ---- errors ------------------------------------------------------------------------------------------------------ */

struct sentence {
	const char *state; /* SQLSTATE, or the beginning of it */
	enum err_class class;
	const char *text;
};
/* The first that fits. */
static const struct sentence sentences[] = {
	{"08", ERR_TEMPORARY, "the connection to the database was lost"},
	{"57P", ERR_TEMPORARY, "the database server is going down or coming up"},
	{"57014", ERR_TEMPORARY, "the database took too long"},
	{"55P03", ERR_TEMPORARY, "the store is busy: another writer kept it locked for too long"},
	{"40", ERR_TEMPORARY, "the store is busy: two writers were in each other's way"},
	{"53100", ERR_TEMPORARY, "the disk of the database server is full; make room"},
	{"53300", ERR_TEMPORARY, "the database server has no connection left; raise max_connections"},
	{"53", ERR_TEMPORARY, "the database server is short of something"},
	{"58", ERR_TEMPORARY, "the database server has trouble with its files"},
	{"25006", ERR_TEMPORARY, "the database server is a standby that only reads; is a failover under way?"},
	{"25P03", ERR_TEMPORARY, "the database server ended a transaction that stood still for too long"},
	{"XX001", ERR_CONFIG, "the database is damaged"},
	{"XX002", ERR_CONFIG, "the database is damaged"},
	{"XX", ERR_TEMPORARY, "the database server has met an error of its own; look at its log"},
	{"42501", ERR_CONFIG, "the database role may not do that; `enrollctl store upgrade` grants what each role needs"},
	{"42P01", ERR_CONFIG, "there is no store in this database, or not all of it; `enrollctl init` makes one"},
	{"3F000", ERR_CONFIG, "there is no store in this database; `enrollctl init` makes one"},
	{"3D000", ERR_CONFIG, "there is no such database; make it with createdb"},
	{"28", ERR_CONFIG, "the database server did not accept who we are"},
	{"23", ERR_BUG, "the store refused a value that breaks one of its rules"},
};

static const struct sentence *sentence_for(const char *state)
{
	static const struct sentence unknown = {"", ERR_BUG, "the store call failed"}, gone = {"", ERR_TEMPORARY, "the connection to the database was lost"};

	if (state == NULL || state[0] == '\0')
		return &gone;
	for (size_t i = 0; i < sizeof(sentences) / sizeof(sentences[0]); i++)
		if (strncmp(state, sentences[i].state, strlen(sentences[i].state)) == 0)
			return &sentences[i];
	return &unknown;
}

/* The server's words on one line. */
static void one_line(const char *text, char out[400])
{
	size_t n = 0;

	for (; text != NULL && *text != '\0' && n < 399; text++) {
		char c = *text == '\n' || *text == '\t' || *text == '\r' ? ' ' : *text;

		if (c != ' ' || (n > 0 && out[n - 1] != ' '))
			out[n++] = c;
	}
	while (n > 0 && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
}

/* Where we are connected, without anything secret. */
static void subject_of(PGconn *conn, char out[200])
{
	const char *host = conn != NULL ? PQhost(conn) : NULL, *db = conn != NULL ? PQdb(conn) : NULL, *user = conn != NULL ? PQuser(conn) : NULL;

	snprintf(out, 200, "postgresql %s@%s/%s", user != NULL ? user : "?", host != NULL && host[0] != '\0' ? host : "local", db != NULL ? db : "?");
}

bool pg_error(struct err *err, const char *op, PGconn *conn, const PGresult *result)
{
	const char *state = result != NULL ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
	const struct sentence *s = sentence_for(state);
	const char *words = result != NULL ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	char line[400], subject[200];

	if (words == NULL)
		words = result != NULL ? PQresultErrorMessage(result) : conn != NULL ? PQerrorMessage(conn) : "";
	one_line(words, line);
	subject_of(conn, subject);
	err_set(err, s->class, op, subject, "%s (PostgreSQL says: %s)", s->text, line);
	if (err != NULL && state != NULL)
		snprintf(err->type, sizeof(err->type), "SQLSTATE_%.5s", state);
	return false;
}

bool pg_state_is(const PGresult *result, const char *state)
{
	const char *is = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	return is != NULL && strcmp(is, state) == 0;
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

void pg_results_clear(struct pg_results *r)
{
	for (size_t i = 0; i < r->n; i++)
		PQclear(r->v[i]);
	r->n = 0;
}

static bool wait_for(PGconn *conn, short events, int64_t deadline)
{
	for (;;) {
		struct pollfd p = {.fd = PQsocket(conn), .events = events};
		int64_t left = deadline - mono_ms();
		int n;

		if (p.fd < 0 || left <= 0)
			return false;
		n = poll(&p, 1, left > 60000 ? 60000 : (int)left);
		if (n > 0)
			return true;
		if (n < 0 && errno != EINTR)
			return false;
	}
}

static bool flush_out(PGconn *conn, int64_t deadline)
{
	int rc;

	/* While it does not take ours it may want to be rid of its own first. */
	while ((rc = PQflush(conn)) > 0)
		if (!wait_for(conn, POLLIN | POLLOUT, deadline) || PQconsumeInput(conn) == 0)
			return false;
	return rc == 0;
}

static bool late(PGconn *conn, int64_t deadline, const char *op, struct err *err)
{
	char subject[200];

	if (PQstatus(conn) == CONNECTION_BAD || mono_ms() < deadline)
		return pg_error(err, op, conn, NULL);
	subject_of(conn, subject);
	return err_set(err, ERR_TEMPORARY, op, subject, "the database did not answer in time");
}

bool pg_flush(PGconn *conn, int64_t deadline, const char *op, struct err *err)
{
	return flush_out(conn, deadline) || late(conn, deadline, op, err);
}

bool pg_next(PGconn *conn, int64_t deadline, PGresult **out, const char *op, struct err *err)
{
	*out = NULL;
	while (PQisBusy(conn))
		if (!wait_for(conn, POLLIN, deadline) || PQconsumeInput(conn) == 0)
			return late(conn, deadline, op, err);
	*out = PQgetResult(conn);
	return true;
}

bool pg_collect(PGconn *conn, int64_t deadline, struct pg_results *out, bool *lost, const char *op, struct err *err)
{
	bool ok = true;

	out->n = 0;
	*lost = true;
	if (!pg_flush(conn, deadline, op, err))
		return false;
	for (;;) {
		PGresult *result;
		ExecStatusType status;

		if (!pg_next(conn, deadline, &result, op, err))
			return false;
		if (result == NULL)
			break;
		status = PQresultStatus(result);
		if (ok && status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
			ok = pg_error(err, op, conn, result);
		if (out->n < PG_RESULTS_MAX)
			out->v[out->n++] = result;
		else
			PQclear(result);
	}
	*lost = PQstatus(conn) == CONNECTION_BAD;
	return ok;
}

bool pg_run(PGconn *conn, const char *sql, int64_t deadline, struct pg_results *out, bool *lost, const char *op, struct err *err)
{
	out->n = 0;
	*lost = true;
	if (PQsendQuery(conn, sql) == 0)
		return pg_error(err, op, conn, NULL);
	return pg_collect(conn, deadline, out, lost, op, err);
}

bool pg_do(PGconn *conn, const char *sql, int64_t deadline, const char *op, struct err *err)
{
	struct pg_results r;
	bool lost, ok = pg_run(conn, sql, deadline, &r, &lost, op, err);

	pg_results_clear(&r);
	return ok;
}

bool pg_ask(PGconn *conn, const char *sql, char *out, size_t size, int64_t deadline, const char *op, struct err *err)
{
	struct pg_results r;
	bool lost, ok = pg_run(conn, sql, deadline, &r, &lost, op, err);

	out[0] = '\0';
	if (ok && r.n > 0 && PQntuples(r.v[r.n - 1]) > 0)
		snprintf(out, size, "%s", PQgetvalue(r.v[r.n - 1], 0, 0));
	pg_results_clear(&r);
	return ok;
}

bool pg_clock_ahead(PGconn *conn, int64_t *seconds, int64_t deadline, const char *op, struct err *err)
{
	time_t before = time(NULL), after;
	int64_t theirs;
	char answer[32];

	if (!pg_ask(conn, "SELECT CAST(floor(extract(epoch FROM clock_timestamp())) AS BIGINT)", answer, sizeof(answer), deadline, op, err))
		return false;
	after = time(NULL);
	theirs = strtoll(answer, NULL, 10);
	/* Somewhere between the question and the answer. */
	*seconds = before > theirs ? before - theirs : after < theirs ? after - theirs : 0;
	return true;
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

/* The server's notices ("relation exists, skipping") are of no interest to anybody. */
static void no_notice(void *arg, const PGresult *result)
{
}

#define SETTINGS_MS 3000

/* A transaction of ours that stands still, or whose client is gone, must not keep its locks: others wait for them; who copies a store keeps
 * them.  Parallel workers and compiled code take
 * longer to get going than a look-up takes, and a wrong estimate is enough to bring them. */
static bool set_session(PGconn *conn, const struct store_settings *s, int who, const char *op, struct err *err)
{
	unsigned lock_ms = s->busy_ms > 0 ? s->busy_ms : 1;
	int64_t deadline = mono_ms() + SETTINGS_MS;
	char sql[900];

	snprintf(sql, sizeof(sql),
		"SET search_path = " PG_SCHEMA ", pg_catalog; SET statement_timeout = %u; SET lock_timeout = %u; SET idle_in_transaction_session_timeout = %u;"
		" SET max_parallel_workers_per_gather = 0; SET jit = off; SET client_encoding = 'UTF8'; SET bytea_output = 'hex'; SET DateStyle = 'ISO'; SET TimeZone = 'UTC';"
		" SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off; SET client_min_messages = 'warning'",
		pg_statement_ms(s, who), lock_ms, s->marked_too ? 0 : pg_idle_ms(s));
	return pg_do(conn, sql, deadline, op, err) &&
	       /* Where the server's system has no way to tell, it is an error to ask for it. */
	       (pg_do(conn, "SET client_connection_check_interval = 1000", deadline, op, NULL) || PQstatus(conn) == CONNECTION_OK);
}

/* Of a key that it could not load, libpq 15 gives the reason from memory that it has freed. */
static void cut_freed_words(char *line)
{
	char *at = strstr(line, "could not load private key file \""), *end = at != NULL ? strstr(at, "\": ") : NULL;

	if (end != NULL)
		end[1] = '\0';
}

/* What libpq says of why it could not connect is text alone, and what it quotes of a server may be in the server's language.  What an admin has to mend is
 * ERR_CONFIG. */
static bool connect_failed(PGconn *conn, const char *op, struct err *err)
{
	static const char misused[] = "the database cannot be used in this way; look at store.connection", absent[] = "there is no such database or role; look at store.connection";
	static const struct { const char *words, *sentence; } known[] = {
		{"authentication failed", misused}, {"no password supplied", misused}, {"no pg_hba.conf entry", misused}, {"certificate verify failed", misused},
		{"certificate file", misused}, {"private key file", misused}, {"does not match host name", misused}, {"invalid connection option", misused},
		{"invalid sslmode", misused}, {"missing \"=\"", misused}, {"\" does not exist", absent},
	};
	const char *words = PQerrorMessage(conn), *sentence = NULL;
	char line[400], subject[200];

	for (size_t i = 0; sentence == NULL && i < sizeof(known) / sizeof(known[0]); i++)
		if (strstr(words, known[i].words) != NULL)
			sentence = known[i].sentence;
	one_line(words, line);
	cut_freed_words(line);
	subject_of(conn, subject);
	return err_set(err, sentence != NULL ? ERR_CONFIG : ERR_TEMPORARY, op, subject, "%s (PostgreSQL says: %s)",
		sentence != NULL ? sentence : "the database cannot be reached, or does not let us in", line);
}

typedef int name_getter(int fd, struct sockaddr *name, socklen_t *len);

/* The address of one end, in digits; "" for a Unix socket's. */
static bool end_of(PGconn *conn, name_getter *get, char out[NI_MAXHOST])
{
	struct sockaddr_storage name;
	socklen_t len = sizeof(name);

	out[0] = '\0';
	if (get(PQsocket(conn), (struct sockaddr *)&name, &len) != 0)
		return false;
	return name.ss_family == AF_UNIX || getnameinfo((struct sockaddr *)&name, len, out, NI_MAXHOST, NULL, 0, NI_NUMERICHOST) == 0;
}

/* Both ends are this host's. */
static bool way_is_inside(PGconn *conn)
{
	char ours[NI_MAXHOST], theirs[NI_MAXHOST];

	return end_of(conn, getsockname, ours) && end_of(conn, getpeername, theirs) && (strcmp(ours, theirs) == 0 || strncmp(theirs, "127.", 4) == 0);
}

/* Of libpq's options; "" when it is not set. */
static const char *option(const PQconninfoOption *all, const char *keyword)
{
	for (; all != NULL && all->keyword != NULL; all++)
		if (strcmp(all->keyword, keyword) == 0)
			return all->val != NULL ? all->val : "";
	return "";
}

static bool is_checked(const PQconninfoOption *all)
{
	return strncmp(option(all, "sslmode"), "verify-", 7) == 0;
}

bool pg_checks_ca_alone(PGconn *conn)
{
	PQconninfoOption *all = PQconninfo(conn);
	bool alone = PQsslInUse(conn) != 0 && strcmp(option(all, "sslmode"), "verify-ca") == 0;

	PQconninfoFree(all);
	return alone;
}

bool pg_is_verified(PGconn *conn)
{
	PQconninfoOption *all = NULL;
	bool checked = false;

	if (way_is_inside(conn) || PQgssEncInUse(conn))
		return true;
	if (PQsslInUse(conn) != 0)
		all = PQconninfo(conn);
	checked = is_checked(all);
	PQconninfoFree(all);
	return checked;
}

/* A socket, a loopback address, or the name of one. */
static bool names_this_host(const char *host, size_t n)
{
	char text[NI_MAXHOST];
	struct in_addr v4;
	struct in6_addr v6;

	if (n == 0 || host[0] == '/' || host[0] == '@')
		return true;
	snprintf(text, sizeof(text), "%.*s", (int)n, host);
	if (inet_pton(AF_INET, text, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	return (inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6)) || strcmp(text, "localhost") == 0;
}

/* Of two lists, one by one: the address where there is one, else the name. */
static bool name_this_host(const char *hosts, const char *addresses)
{
	for (;;) {
		size_t h = strcspn(hosts, ","), a = strcspn(addresses, ",");

		if (!(a > 0 ? names_this_host(addresses, a) : names_this_host(hosts, h)))
			return false;
		if (hosts[h] == '\0' && addresses[a] == '\0')
			return true;
		hosts += h + (hosts[h] == ',');
		addresses += a + (addresses[a] == ',');
	}
}

static bool not_verified(const char *subject, const char *why, const char *op, struct err *err)
{
	return err_set(err, ERR_CONFIG, op, subject,
		"the database may be on another host, and %s: add sslmode=verify-full (and sslrootcert=FILE) to store.connection, or say store.allow-unverified = true; this host is localhost, 127.0.0.1, ::1 or a socket", why);
}

/* Whatever the environment or a service file says beside. */
static bool string_says_enough(const char *conninfo)
{
	PQconninfoOption *all = PQconninfoParse(conninfo, NULL);
	bool enough = is_checked(all) || (option(all, "hostaddr")[0] != '\0' && name_this_host(option(all, "host"), option(all, "hostaddr")));

	PQconninfoFree(all);
	return enough;
}

/* Before anything is sent, as who stands between would be told the password.  A service file and the environment say something, too: only a connection that
 * was begun knows all of it. */
static bool way_will_be_good(const char *const *keywords, const char *const *values, const char *conninfo, const struct store_settings *s, const char *op,
	struct err *err)
{
	PGconn *begun;
	PQconninfoOption *all;
	bool ok;

	if (s->allow_unverified || string_says_enough(conninfo))
		return true;
	begun = PQconnectStartParams(keywords, values, 1);
	all = begun != NULL ? PQconninfo(begun) : NULL;
	/* A string that cannot be read connects nowhere. */
	ok = all == NULL || name_this_host(option(all, "host"), option(all, "hostaddr")) || is_checked(all) || strcmp(option(all, "gssencmode"), "require") == 0 ||
	     not_verified(option(all, "host"), "nobody would check that it is the one meant", op, err);
	PQconninfoFree(all);
	PQfinish(begun);
	return ok;
}

/* And afterwards, of what came of it. */
static bool way_is_good(PGconn *conn, const struct store_settings *s, const char *op, struct err *err)
{
	char subject[200];

	if (s->allow_unverified || pg_is_verified(conn))
		return true;
	subject_of(conn, subject);
	return not_verified(subject, PQsslInUse(conn) ? "nobody checks that it is the one meant" : "the connection to it is not encrypted", op, err);
}

PGconn *pg_connect(const struct store_settings *s, int who, const char *op, struct err *err)
{
	char name[64], *conninfo = pg_conninfo(s, who);
	/* The later wins: the string over our defaults. */
	const char *const keywords[] = {"connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
		"target_session_attrs", "dbname", "fallback_application_name", NULL};
	const char *const values[] = {"3", "5", "2", "3", "8000", "read-write", conninfo, name, NULL};
	PGconn *conn;

	/* Read by others before they upgrade the schema (postgresql_schema.c), and by people in pg_stat_activity. */
	snprintf(name, sizeof(name), PG_NAME "%s %d", pg_who_name(who), store_schema_version());
	if (conninfo != NULL && !way_will_be_good(keywords, values, conninfo, s, op, err)) {
		free(conninfo);
		return NULL;
	}
	conn = conninfo != NULL ? PQconnectdbParams(keywords, values, 1) : NULL;
	free(conninfo);
	if (conn == NULL) {
		err_nomem(err, op);
		return NULL;
	}
	PQsetNoticeReceiver(conn, no_notice, NULL);
	if (PQstatus(conn) != CONNECTION_OK)
		connect_failed(conn, op, err);
	else if (PQsetnonblocking(conn, 1) != 0)
		pg_error(err, op, conn, NULL);
	else if (way_is_good(conn, s, op, err) && set_session(conn, s, who, op, err))
		return conn;
	PQfinish(conn);
	return NULL;
}
