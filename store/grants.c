/*
 * store/grants.c - the table of what each role may do.
 */
#include "config.h"

#include "store/grants.h"

#include <string.h>

const struct grant grants[] = {
	{STORE_ROLE_OUTBOUND, GRANT_READ, "meta", NULL},
	{STORE_ROLE_OUTBOUND, GRANT_READ, "flags", NULL},
	{STORE_ROLE_OUTBOUND, GRANT_READ, "enrollments", NULL},
	{STORE_ROLE_OUTBOUND, GRANT_READ, "enrollment_addresses", NULL},
	{STORE_ROLE_OUTBOUND, GRANT_READ, "certificates", NULL},
	{STORE_ROLE_OUTBOUND, GRANT_READ, "revocations", " certificate_id done_at "},
	{STORE_ROLE_OUTBOUND, GRANT_READ, "user_keys", NULL},
	{STORE_ROLE_OUTBOUND, GRANT_READ, "mail_events", " id "},
	/* A new enrollment could be what rows of these tables refer to: the foreign keys look. */
	{STORE_ROLE_OUTBOUND, GRANT_READ, "events", " enrollment_id "},
	{STORE_ROLE_OUTBOUND, GRANT_READ, "challenges", " enrollment_id "},
	{STORE_ROLE_OUTBOUND, GRANT_READ, "orders", " enrollment_id "},
	{STORE_ROLE_OUTBOUND, GRANT_READ, "reports", " enrollment_id "},
	{STORE_ROLE_OUTBOUND, GRANT_INSERT, "enrollments", NULL},
	{STORE_ROLE_OUTBOUND, GRANT_INSERT, "enrollment_addresses", NULL},
	{STORE_ROLE_OUTBOUND, GRANT_INSERT, "events", NULL},
	{STORE_ROLE_OUTBOUND, GRANT_INSERT, "mail_events", NULL},
	{STORE_ROLE_OUTBOUND, GRANT_DELETE, "mail_events", NULL},

	{STORE_ROLE_INBOUND, GRANT_READ, "meta", NULL},
	{STORE_ROLE_INBOUND, GRANT_READ, "flags", NULL},
	{STORE_ROLE_INBOUND, GRANT_READ, "enrollments", " id address ca state resume challenge_from challenge_address ordered_at next_at wake "},
	{STORE_ROLE_INBOUND, GRANT_READ, "enrollment_addresses", NULL},
	{STORE_ROLE_INBOUND, GRANT_READ, "challenges", NULL},
	{STORE_ROLE_INBOUND, GRANT_INSERT, "challenges", NULL},
	/* To count those of a challenge, and because a new challenge could be what rows of this table refer to. */
	{STORE_ROLE_INBOUND, GRANT_READ, "reports", " challenge_id "},
	{STORE_ROLE_INBOUND, GRANT_INSERT, "reports", NULL},
	{STORE_ROLE_INBOUND, GRANT_INSERT, "events", NULL},
	{STORE_ROLE_INBOUND, GRANT_UPDATE, "enrollments", " next_at wake "},

	{STORE_ROLE_ENROLLD, GRANT_READ, "meta", NULL},
	{STORE_ROLE_ENROLLD, GRANT_READ, "migrations", NULL},
	{STORE_ROLE_ENROLLD, GRANT_READ, "flags", NULL},
	{STORE_ROLE_ENROLLD, GRANT_READ, "enrollments", NULL},
	{STORE_ROLE_ENROLLD, GRANT_READ, "enrollment_addresses", NULL},
	{STORE_ROLE_ENROLLD, GRANT_READ, "user_keys", " id enrollment_id spki_sha256 created_at "},
	{STORE_ROLE_ENROLLD, GRANT_READ, "certificates", NULL},
	{STORE_ROLE_ENROLLD, GRANT_READ, "revocations", NULL},
	{STORE_ROLE_ENROLLD, GRANT_READ, "revocation_parts", NULL},
	{STORE_ROLE_ENROLLD, GRANT_READ, "directory_saved", NULL},
	{STORE_ROLE_ENROLLD, GRANT_INSERT, "directory_saved", NULL},
	{STORE_ROLE_ENROLLD, GRANT_UPDATE, "directory_saved", " restored_at "},
	{STORE_ROLE_ENROLLD, GRANT_READ, "departures_held", NULL},
	{STORE_ROLE_ENROLLD, GRANT_INSERT, "departures_held", NULL},
	{STORE_ROLE_ENROLLD, GRANT_UPDATE, "departures_held", NULL},
	{STORE_ROLE_ENROLLD, GRANT_DELETE, "departures_held", NULL},
	{STORE_ROLE_ENROLLD, GRANT_READ, "renewals", NULL},
	{STORE_ROLE_ENROLLD, GRANT_READ, "campaigns", NULL},
	{STORE_ROLE_ENROLLD, GRANT_READ, "campaign_rows", NULL},
	{STORE_ROLE_ENROLLD, GRANT_READ, "challenges", NULL},
	{STORE_ROLE_ENROLLD, GRANT_READ, "orders", NULL},
	{STORE_ROLE_ENROLLD, GRANT_READ, "reports", NULL},
	{STORE_ROLE_ENROLLD, GRANT_READ, "limits", NULL},
	{STORE_ROLE_ENROLLD, GRANT_READ, "events", NULL},
	{STORE_ROLE_ENROLLD, GRANT_READ, "mail_events", NULL},
	{STORE_ROLE_ENROLLD, GRANT_INSERT, "flags", NULL},
	{STORE_ROLE_ENROLLD, GRANT_INSERT, "enrollments", NULL},
	{STORE_ROLE_ENROLLD, GRANT_INSERT, "enrollment_addresses", NULL},
	{STORE_ROLE_ENROLLD, GRANT_INSERT, "user_keys", NULL},
	{STORE_ROLE_ENROLLD, GRANT_INSERT, "certificates", NULL},
	{STORE_ROLE_ENROLLD, GRANT_INSERT, "revocations", NULL},
	{STORE_ROLE_ENROLLD, GRANT_INSERT, "revocation_parts", NULL},
	{STORE_ROLE_ENROLLD, GRANT_INSERT, "renewals", NULL},
	{STORE_ROLE_ENROLLD, GRANT_INSERT, "campaigns", NULL},
	{STORE_ROLE_ENROLLD, GRANT_INSERT, "campaign_rows", NULL},
	{STORE_ROLE_ENROLLD, GRANT_INSERT, "orders", NULL},
	{STORE_ROLE_ENROLLD, GRANT_INSERT, "limits", NULL},
	{STORE_ROLE_ENROLLD, GRANT_INSERT, "events", NULL},
	{STORE_ROLE_ENROLLD, GRANT_UPDATE, "flags", NULL},
	{STORE_ROLE_ENROLLD, GRANT_UPDATE, "enrollments", NULL},
	{STORE_ROLE_ENROLLD, GRANT_UPDATE, "certificates", " status why in_directory directory_dn directory_next_at directory_attempts directory_class directory_why "},
	{STORE_ROLE_ENROLLD, GRANT_UPDATE, "revocations", " done_at "},
	{STORE_ROLE_ENROLLD, GRANT_UPDATE, "revocation_parts", " next_at attempts lease_owner lease_until why_class why why_type done_at "},
	{STORE_ROLE_ENROLLD, GRANT_UPDATE, "renewals", NULL},
	{STORE_ROLE_ENROLLD, GRANT_UPDATE, "campaigns", " state ended_at "},
	{STORE_ROLE_ENROLLD, GRANT_UPDATE, "campaign_rows", " state begun_at done_at why "},
	{STORE_ROLE_ENROLLD, GRANT_UPDATE, "challenges", " state reply_message_id why report_token report_token_at "},
	{STORE_ROLE_ENROLLD, GRANT_UPDATE, "orders", " closed_at outcome "},
	{STORE_ROLE_ENROLLD, GRANT_UPDATE, "reports", " seen "},
	{STORE_ROLE_ENROLLD, GRANT_UPDATE, "limits", NULL},
	{STORE_ROLE_ENROLLD, GRANT_DELETE, "flags", NULL},
	{STORE_ROLE_ENROLLD, GRANT_DELETE, "limits", NULL},
	{STORE_ROLE_ENROLLD, GRANT_DELETE, "enrollment_addresses", NULL},
	{STORE_ROLE_ENROLLD, GRANT_READ, "turns", NULL},
	{STORE_ROLE_ENROLLD, GRANT_INSERT, "turns", NULL},
	{STORE_ROLE_ENROLLD, GRANT_UPDATE, "turns", NULL},
	{STORE_ROLE_ENROLLD, GRANT_DELETE, "turns", NULL},
	/* By policy alone (store.retention-days), and never of a row that is open. */
	{STORE_ROLE_ENROLLD, GRANT_DELETE, "events", NULL},
	{STORE_ROLE_ENROLLD, GRANT_DELETE, "mail_events", NULL},
	{STORE_ROLE_ENROLLD, GRANT_DELETE, "reports", NULL},
	{STORE_ROLE_ENROLLD, GRANT_DELETE, "challenges", NULL},
	{STORE_ROLE_ENROLLD, GRANT_DELETE, "orders", NULL},

	/* Reports by a tool of one's own: everything that `enrollctl show` tells, no key, no token. */
	{GRANT_HELPDESK, GRANT_READ, "meta", NULL},
	{GRANT_HELPDESK, GRANT_READ, "flags", NULL},
	{GRANT_HELPDESK, GRANT_READ, "enrollments",
		" id address address_key addresses profile usage rule ca state resume state_since next_at attempts orders why_class why why_subject why_type why_status"
		" why_at activity requested_by requested_at disabled gone_since gone_ended gone_why gone_by ordered_at answered_at companion_of certificate_id "},
	{GRANT_HELPDESK, GRANT_READ, "enrollment_addresses", NULL},
	{GRANT_HELPDESK, GRANT_READ, "certificates", NULL},
	{GRANT_HELPDESK, GRANT_READ, "renewals", NULL},
	{GRANT_HELPDESK, GRANT_READ, "revocations", NULL},
	{GRANT_HELPDESK, GRANT_READ, "revocation_parts", NULL},
	{GRANT_HELPDESK, GRANT_READ, "campaigns", NULL},
	{GRANT_HELPDESK, GRANT_READ, "campaign_rows", NULL},
	{GRANT_HELPDESK, GRANT_READ, "orders", NULL},
	{GRANT_HELPDESK, GRANT_READ, "limits", NULL},
	{GRANT_HELPDESK, GRANT_READ, "events", NULL},
	{GRANT_HELPDESK, GRANT_READ, "mail_events", NULL},
};
const size_t grants_n = sizeof(grants) / sizeof(grants[0]);

static bool column_listed(const char *columns, const char *column)
{
	size_t len = strlen(column);

	for (const char *at = columns; len > 0 && (at = strstr(at, column)) != NULL; at++)
		if (at[-1] == ' ' && at[len] == ' ')
			return true;
	return false;
}

bool grant_allows(int role, enum grant_action action, const char *table, const char *column)
{
	for (size_t i = 0; i < grants_n; i++) {
		const struct grant *g = &grants[i];

		if (g->role != role || g->action != action || strcmp(g->table, table) != 0)
			continue;
		/* A table read for its number of rows alone has the column "". */
		if (g->columns == NULL || action == GRANT_INSERT || column == NULL || column[0] == '\0' || column_listed(g->columns, column))
			return true;
	}
	return false;
}
