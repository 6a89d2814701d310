/*
 * store/sqlite_handle.c - one SQLite handle: opened with our settings, its errors in our words, its content verified.
 */
#include "config.h"

#include "store/sqlite.h"

#include <errno.h>
#include <string.h>

/* ---- errors ------------------------------------------------------------------------------------------------------ */

struct sentence {
	int rc;
	enum err_class class;
	const char *type, *text;
};
/* Primary result codes; anything else is a defect of ours. */
static const struct sentence sentences[] = {
	{SQLITE_BUSY, ERR_TEMPORARY, "SQLITE_BUSY", "the store is busy: another process kept it locked for too long"},
	{SQLITE_LOCKED, ERR_TEMPORARY, "SQLITE_LOCKED", "the store is busy"},
	{SQLITE_FULL, ERR_TEMPORARY, "SQLITE_FULL", "the disk of the store is full; make room"},
	{SQLITE_IOERR, ERR_TEMPORARY, "SQLITE_IOERR", "the store cannot be read or written; look at the disk"},
	{SQLITE_NOMEM, ERR_TEMPORARY, "SQLITE_NOMEM", "out of memory"},
	{SQLITE_INTERRUPT, ERR_TEMPORARY, "SQLITE_INTERRUPT", "the store call was interrupted"},
	{SQLITE_PROTOCOL, ERR_TEMPORARY, "SQLITE_PROTOCOL", "the store's locks are confused; is it on a network file system?"},
	{SQLITE_READONLY, ERR_CONFIG, "SQLITE_READONLY",
		"the store cannot be written; the file must have mode 0660 and its folder 2770, both with the group of store.group"},
	{SQLITE_CANTOPEN, ERR_CONFIG, "SQLITE_CANTOPEN",
		"the store cannot be opened; this user must be in the group of store.group, the folder must have mode 2770"},
	{SQLITE_PERM, ERR_CONFIG, "SQLITE_PERM", "no permission to use the store"},
	{SQLITE_NOTADB, ERR_CONFIG, "SQLITE_NOTADB", "this file is not a store of enroll-milter"},
	{SQLITE_CORRUPT, ERR_CONFIG, "SQLITE_CORRUPT",
		"the store is damaged; stop the services and bring a backup back with `enrollctl restore`"},
	{SQLITE_AUTH, ERR_BUG, "SQLITE_AUTH", "this role may not do that to the store"},
	{SQLITE_CONSTRAINT, ERR_BUG, "SQLITE_CONSTRAINT", "the store refused a value that breaks one of its rules"},
};

static const struct sentence *sentence_for(int rc)
{
	static const struct sentence unknown = {SQLITE_ERROR, ERR_BUG, "SQLITE_ERROR", "the store call failed"};

	for (size_t i = 0; i < sizeof(sentences) / sizeof(sentences[0]); i++)
		if (sentences[i].rc == (rc & 0xff))
			return &sentences[i];
	return &unknown;
}

bool sqlite_error(struct err *err, const char *op, const char *subject, sqlite3 *h, int rc)
{
	const struct sentence *s = sentence_for(rc);
	const char *detail = h != NULL ? sqlite3_errmsg(h) : sqlite3_errstr(rc);
	int errnum = h != NULL ? sqlite3_system_errno(h) : 0;

	if (errnum != 0 && (s->rc == SQLITE_IOERR || s->rc == SQLITE_CANTOPEN || s->rc == SQLITE_FULL)) {
		errno = errnum;
		err_set(err, s->class, op, subject, "%s (SQLite says: %s; system: %m)", s->text, detail);
	} else {
		err_set(err, s->class, op, subject, "%s (SQLite says: %s)", s->text, detail);
	}
	if (err != NULL)
		snprintf(err->type, sizeof(err->type), "%s", s->type);
	return false;
}

/* ---- small statements -------------------------------------------------------------------------------------------- */

bool sqlite_run(sqlite3 *h, const char *sql, const char *op, const char *subject, struct err *err)
{
	int rc = sqlite3_exec(h, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK || sqlite_error(err, op, subject, h, rc);
}

bool sqlite_ask(sqlite3 *h, const char *sql, char *out, size_t size, const char *op, const char *subject, struct err *err)
{
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(h, sql, -1, &statement, NULL);

	out[0] = '\0';
	if (rc == SQLITE_OK) {
		rc = sqlite3_step(statement);
		if (rc == SQLITE_ROW && sqlite3_column_type(statement, 0) != SQLITE_NULL)
			snprintf(out, size, "%s", (const char *)sqlite3_column_text(statement, 0));
	}
	if (rc != SQLITE_OK && rc != SQLITE_ROW && rc != SQLITE_DONE)
		sqlite_error(err, op, subject, h, rc);
	sqlite3_finalize(statement);
	return rc == SQLITE_OK || rc == SQLITE_ROW || rc == SQLITE_DONE;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* synchronous=FULL: a commit is on disk when it returns.  The rest: content of the file is data, never code, also when somebody
 * prepared it; temporary tables stay in memory; the log does not grow for ever.  Half a MiB of pages a handle holds the upper levels of every
 * index with 100,000 users; SQLite's own 2 MiB fill slowly in each of the handles, which looks like a leak to whoever watches a milter. */
static const char handle_settings[] = "PRAGMA synchronous = FULL;"
				      "PRAGMA foreign_keys = ON;"
				      "PRAGMA trusted_schema = OFF;"
				      "PRAGMA cell_size_check = ON;"
				      "PRAGMA temp_store = MEMORY;"
				      "PRAGMA cache_size = -512;"
				      "PRAGMA journal_size_limit = 67108864;";

static void spread(sqlite3_context *context, int argc, sqlite3_value **argv)
{
	int64_t n = sqlite3_value_int64(argv[0]);

	sqlite3_result_int64(context, n > 0 && n <= UINT32_MAX ? (int64_t)random_below((uint32_t)n) : 0);
}

sqlite3 *sqlite_handle_new(const char *path, int flags, unsigned busy_ms, const char *op, struct err *err)
{
	sqlite3 *h = NULL;
	int rc = sqlite3_open_v2(path, &h, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE, NULL);

	if (rc != SQLITE_OK) {
		sqlite_error(err, op, path, h, rc);
		goto failed;
	}
	sqlite3_busy_timeout(h, busy_ms > INT32_MAX ? INT32_MAX : (int)busy_ms);
	sqlite3_db_config(h, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	rc = sqlite3_create_function(h, "spread", 1, SQLITE_UTF8, NULL, spread, NULL, NULL);
	if (rc != SQLITE_OK) {
		sqlite_error(err, op, path, h, rc);
		goto failed;
	}
	if (!sqlite_run(h, handle_settings, op, path, err))
		goto failed;
	/* Without the right to write, SQLite opens for reading and says nothing. */
	if ((flags & SQLITE_OPEN_READWRITE) != 0 && sqlite3_db_readonly(h, "main") == 1) {
		sqlite_error(err, op, path, NULL, SQLITE_READONLY);
		goto failed;
	}
	return h;
failed:
	sqlite3_close(h);
	return NULL;
}

bool sqlite_use_wal(sqlite3 *h, const char *op, const char *path, struct err *err)
{
	char mode[16];

	if (!sqlite_ask(h, "PRAGMA journal_mode = WAL", mode, sizeof(mode), op, path, err))
		return false;
	return strcmp(mode, "wal") == 0 ||
	       err_set(err, ERR_CONFIG, op, path,
		       "the store needs write-ahead logging, which this file system does not offer; put it on a local disk");
}

bool sqlite_verify(sqlite3 *h, const char *op, const char *path, struct err *err)
{
	char answer[256];

	if (!sqlite_ask(h, "PRAGMA integrity_check(1)", answer, sizeof(answer), op, path, err))
		return false;
	if (strcmp(answer, "ok") != 0)
		return err_set(
			err, ERR_CONFIG, op, path, "the store is damaged (%s); bring a backup back with `enrollctl restore`", answer);
	if (!sqlite_ask(h, "PRAGMA foreign_key_check", answer, sizeof(answer), op, path, err))
		return false;
	return answer[0] == '\0' ||
	       err_set(err, ERR_CONFIG, op, path,
		       "table %s of the store refers to rows that are not there; bring a backup back with `enrollctl restore`", answer);
}
