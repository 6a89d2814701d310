/*
 * store/grants.h - what each role may do, table by table and column by column.  Private to store/.
 *
 * The rules worth knowing: the inbound instance sees no key and no certificate and writes challenges, reports and events only; enrolld writes wrapped
 * keys and never reads one.  Role ADMIN is not in the table: it may do all.
 *
 * SQLite's authorizer looks here while it compiles a statement; for PostgreSQL the table is made into GRANT statements.
 */
#ifndef ENROLL_STORE_GRANTS_H
#define ENROLL_STORE_GRANTS_H

#include "store/store.h"

enum grant_action { GRANT_READ, GRANT_INSERT, GRANT_UPDATE, GRANT_DELETE };
/* Beside enum store_role: whoever reads reports with tools of their own.  PostgreSQL only. */
#define GRANT_HELPDESK (STORE_ROLE_ADMIN + 1)

struct grant {
	int role;
	enum grant_action action;
	const char *table;
	const char *columns; /* " a b c " for READ and UPDATE; NULL = all */
};
extern const struct grant grants[];
extern const size_t grants_n;

/* May it?  `column` NULL or "": the table as such. */
bool grant_allows(int role, enum grant_action action, const char *table, const char *column);

#endif
