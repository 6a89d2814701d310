/*
 * store/sqlite_guard.c - what each role may do to the SQLite file, enforced while statements are compiled (sqlite3_set_authorizer).
 *
 * This is the second fence: store.c refuses a call outside a role first.  Here a statement made from what a stranger sent, or by a subverted process
 * through our own handle, compiles to nothing that store/grants.c does not list.
 */
#include "config.h"

#include "store/sqlite.h"

#include <string.h>

#include "store/grants.h"

static int authorize(void *arg, int action, const char *first, const char *second, const char *database, const char *inner)
{
	enum store_role role = *(const enum store_role *)arg;

	switch (action) {
	case SQLITE_SELECT:
	case SQLITE_TRANSACTION:
		return SQLITE_OK;
	case SQLITE_FUNCTION:
		return second != NULL && strcmp(second, "load_extension") == 0 ? SQLITE_DENY : SQLITE_OK;
	case SQLITE_PRAGMA:
		/* To read it; with a value it would be set. */
		return strcmp(first, "data_version") == 0 || (strcmp(first, "user_version") == 0 && second == NULL) ? SQLITE_OK : SQLITE_DENY;
	case SQLITE_READ:
		return grant_allows((int)role, GRANT_READ, first, second) ? SQLITE_OK : SQLITE_DENY;
	case SQLITE_INSERT:
		return grant_allows((int)role, GRANT_INSERT, first, second) ? SQLITE_OK : SQLITE_DENY;
	case SQLITE_UPDATE:
		return grant_allows((int)role, GRANT_UPDATE, first, second) ? SQLITE_OK : SQLITE_DENY;
	case SQLITE_DELETE:
		return grant_allows((int)role, GRANT_DELETE, first, second) ? SQLITE_OK : SQLITE_DENY;
	default:
		return SQLITE_DENY;
	}
}

void sqlite_guard(sqlite3 *h, enum store_role role)
{
	static enum store_role roles[] = {STORE_ROLE_OUTBOUND, STORE_ROLE_INBOUND, STORE_ROLE_ENROLLD, STORE_ROLE_ADMIN};

	if (role != STORE_ROLE_ADMIN)
		sqlite3_set_authorizer(h, authorize, &roles[role]);
}
