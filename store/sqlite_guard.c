/*
 * store/sqlite_guard.c - what each role may do to the SQLite file, enforced while statements are compiled (sqlite3_set_authorizer).
 *
 * This is the second fence: store.c refuses a call outside a role first.  Here the roles are spelled out table by table and column by
 * column, so that a statement made from what a stranger sent, or by a subverted process through our own handle, compiles to nothing.
 * The rules worth knowing: the inbound instance sees no key and no certificate and writes challenges, reports and events only; enrolld writes
 * wrapped keys and never reads one.  Role ADMIN has no fence.
 */
#include "config.h"

#include "store/sqlite.h"

#include <string.h>

struct grant {
	enum store_role role;
	int action; /* SQLITE_READ, SQLITE_INSERT, SQLITE_UPDATE, SQLITE_DELETE */
	const char *table;
	const char *columns; /* " a b c " for READ and UPDATE; NULL = all */
};

static const struct grant grants[] = {
	{STORE_ROLE_OUTBOUND, SQLITE_READ, "meta", NULL},
	{STORE_ROLE_OUTBOUND, SQLITE_READ, "flags", NULL},
	{STORE_ROLE_OUTBOUND, SQLITE_READ, "enrollments", NULL},
	{STORE_ROLE_OUTBOUND, SQLITE_READ, "enrollment_addresses", NULL},
	{STORE_ROLE_OUTBOUND, SQLITE_READ, "certificates", NULL},
	{STORE_ROLE_OUTBOUND, SQLITE_READ, "revocations", " certificate_id done_at "},
	{STORE_ROLE_OUTBOUND, SQLITE_READ, "user_keys", NULL},
	{STORE_ROLE_OUTBOUND, SQLITE_READ, "mail_events", " id "},
	/* A new enrollment could be what rows of these tables refer to: the foreign keys look. */
	{STORE_ROLE_OUTBOUND, SQLITE_READ, "events", " enrollment_id "},
	{STORE_ROLE_OUTBOUND, SQLITE_READ, "challenges", " enrollment_id "},
	{STORE_ROLE_OUTBOUND, SQLITE_READ, "orders", " enrollment_id "},
	{STORE_ROLE_OUTBOUND, SQLITE_READ, "reports", " enrollment_id "},
	{STORE_ROLE_OUTBOUND, SQLITE_INSERT, "enrollments", NULL},
	{STORE_ROLE_OUTBOUND, SQLITE_INSERT, "enrollment_addresses", NULL},
	{STORE_ROLE_OUTBOUND, SQLITE_INSERT, "events", NULL},
	{STORE_ROLE_OUTBOUND, SQLITE_INSERT, "mail_events", NULL},
	{STORE_ROLE_OUTBOUND, SQLITE_DELETE, "mail_events", NULL},

	{STORE_ROLE_INBOUND, SQLITE_READ, "meta", NULL},
	{STORE_ROLE_INBOUND, SQLITE_READ, "flags", NULL},
	{STORE_ROLE_INBOUND, SQLITE_READ, "enrollments", " id address ca state resume challenge_from challenge_address ordered_at next_at wake "},
	{STORE_ROLE_INBOUND, SQLITE_READ, "enrollment_addresses", NULL},
	{STORE_ROLE_INBOUND, SQLITE_READ, "challenges", NULL},
	{STORE_ROLE_INBOUND, SQLITE_INSERT, "challenges", NULL},
	/* To count those of a challenge, and because a new challenge could be what rows of this table refer to. */
	{STORE_ROLE_INBOUND, SQLITE_READ, "reports", " challenge_id "},
	{STORE_ROLE_INBOUND, SQLITE_INSERT, "reports", NULL},
	{STORE_ROLE_INBOUND, SQLITE_INSERT, "events", NULL},
	{STORE_ROLE_INBOUND, SQLITE_UPDATE, "enrollments", " next_at wake "},

	{STORE_ROLE_ENROLLD, SQLITE_READ, "meta", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_READ, "migrations", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_READ, "flags", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_READ, "enrollments", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_READ, "enrollment_addresses", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_READ, "user_keys", " id enrollment_id spki_sha256 created_at "},
	{STORE_ROLE_ENROLLD, SQLITE_READ, "certificates", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_READ, "revocations", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_READ, "revocation_parts", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_READ, "directory_saved", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_INSERT, "directory_saved", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_UPDATE, "directory_saved", " restored_at "},
	{STORE_ROLE_ENROLLD, SQLITE_READ, "departures_held", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_INSERT, "departures_held", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_UPDATE, "departures_held", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_DELETE, "departures_held", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_READ, "renewals", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_READ, "campaigns", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_READ, "campaign_rows", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_READ, "challenges", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_READ, "orders", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_READ, "reports", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_READ, "limits", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_READ, "events", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_READ, "mail_events", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_INSERT, "flags", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_INSERT, "enrollments", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_INSERT, "enrollment_addresses", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_INSERT, "user_keys", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_INSERT, "certificates", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_INSERT, "revocations", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_INSERT, "revocation_parts", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_INSERT, "renewals", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_INSERT, "campaigns", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_INSERT, "campaign_rows", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_INSERT, "orders", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_INSERT, "limits", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_INSERT, "events", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_UPDATE, "flags", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_UPDATE, "enrollments", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_UPDATE, "certificates", " status why in_directory directory_dn directory_next_at directory_attempts directory_class directory_why "},
	{STORE_ROLE_ENROLLD, SQLITE_UPDATE, "revocations", " done_at "},
	{STORE_ROLE_ENROLLD, SQLITE_UPDATE, "revocation_parts", " next_at attempts lease_owner lease_until why_class why why_type done_at "},
	{STORE_ROLE_ENROLLD, SQLITE_UPDATE, "renewals", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_UPDATE, "campaigns", " state ended_at "},
	{STORE_ROLE_ENROLLD, SQLITE_UPDATE, "campaign_rows", " state begun_at done_at why "},
	{STORE_ROLE_ENROLLD, SQLITE_UPDATE, "challenges", " state reply_message_id why report_token report_token_at "},
	{STORE_ROLE_ENROLLD, SQLITE_UPDATE, "orders", " closed_at outcome "},
	{STORE_ROLE_ENROLLD, SQLITE_UPDATE, "reports", " seen "},
	{STORE_ROLE_ENROLLD, SQLITE_UPDATE, "limits", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_DELETE, "flags", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_DELETE, "limits", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_DELETE, "enrollment_addresses", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_READ, "turns", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_INSERT, "turns", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_UPDATE, "turns", NULL},
	{STORE_ROLE_ENROLLD, SQLITE_DELETE, "turns", NULL},
};

static bool column_listed(const char *columns, const char *column)
{
	size_t len = strlen(column);

	for (const char *at = columns; len > 0 && (at = strstr(at, column)) != NULL; at++)
		if (at[-1] == ' ' && at[len] == ' ')
			return true;
	return false;
}

static bool granted(enum store_role role, int action, const char *table, const char *column)
{
	for (size_t i = 0; i < sizeof(grants) / sizeof(grants[0]); i++) {
		const struct grant *g = &grants[i];

		if (g->role != role || g->action != action || strcmp(g->table, table) != 0)
			continue;
		/* A table read for its number of rows alone has the column "". */
		if (g->columns == NULL || action == SQLITE_INSERT || column == NULL || column[0] == '\0' ||
			column_listed(g->columns, column))
			return true;
	}
	return false;
}

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
	case SQLITE_INSERT:
	case SQLITE_UPDATE:
	case SQLITE_DELETE:
		return granted(role, action, first, second) ? SQLITE_OK : SQLITE_DENY;
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
