/*
 * store/tables.c - the one list of tables and columns that a copy of a store goes by (store/copy.c).
 */
#include "config.h"

#include "store/tables.h"

#include <string.h>

#define TABLE(name, n_key, columns) {name, n_key, columns, "SELECT COUNT(*) FROM " name}

const struct table tables[] = {
	TABLE("flags", 1, "name value actor at#"),
	TABLE("enrollments", 1,
		"id# address address_key addresses profile usage ca state resume state_since# next_at# wake# version# lease_owner lease_until# intent attempts# orders#"
		" abandoned# why_class why activity requested_by requested_at# disabled# ca_state ordered_at# challenge_from trigger_at# answered_at# key_id> csr!"
		" certificate_id> why_subject why_type why_status# why_at# planned_at# retry_at# rule companion_of# challenge_address entry gone_since# gone_ended#"
		" gone_why gone_by"),
	TABLE("enrollment_addresses", 2, "address_key enrollment_id#"),
	TABLE("user_keys", 1, "id# enrollment_id# wrapped! spki_sha256 created_at#"),
	TABLE("certificates", 1,
		"id# enrollment_id# key_id# der! chain! serial issuer fingerprint addresses not_before# not_after# status why in_directory# directory_dn created_at#"
		" directory_next_at# directory_attempts# directory_class directory_why"),
	TABLE("orders", 1, "id# enrollment_id# ca opened_at# closed_at# outcome"),
	TABLE("limits", 2, "ca scope at# until# text"),
	TABLE("challenges", 1,
		"id# enrollment_id# token_part1 message_id sender reply_to authentication disposition date# received_at# state reply_message_id why report_token"
		" report_token_at# recipient"),
	TABLE("reports", 1, "id# enrollment_id# challenge_id# action status diagnostic remote reporter received_at# seen#"),
	TABLE("events", 1, "id# enrollment_id# at# name actor address text state class"),
	TABLE("mail_events", 1, "id# at# queue_id message_id login sender sender_key verdict reason detail action certificate"),
	TABLE("revocations", 1, "id# certificate_id# ca reason requested_by requested_at# done_at#"),
	TABLE("revocation_parts", 1, "id# revocation_id# part next_at# attempts# lease_owner lease_until# why_class why why_type done_at#"),
	TABLE("directory_saved", 1, "id# enrollment_id# address_key dn attribute value! at# restored_at#"),
	TABLE("departures_held", 1, "address_key address why at# confirmed_by confirmed_at#"),
	TABLE("renewals", 1, "certificate_id# renew_at# window_start# window_end# explanation ask_at# urged# late# watch_at#"),
	TABLE("campaigns", 1, "id# state selection deadline# revoke created_by created_at# ended_at#"),
	TABLE("turns", 1, "name owner until# done_at#"),
	TABLE("campaign_rows", 2, "campaign_id# certificate_id# state begun_at# done_at# why"),
};
const size_t tables_n = sizeof(tables) / sizeof(tables[0]);

size_t table_columns(const struct table *t, struct table_column out[TABLE_COLUMNS_MAX])
{
	size_t n = 0;

	for (const char *at = t->columns; *(at += strspn(at, " ")) != '\0' && n < TABLE_COLUMNS_MAX; n++) {
		size_t len = strcspn(at, " #!>");
		char kind = at[len];

		snprintf(out[n].name, sizeof(out[n].name), "%.*s", (int)len, at);
		out[n].type = kind == '#' || kind == '>' ? DB_INT : kind == '!' ? DB_BLOB : DB_TEXT;
		out[n].later = kind == '>';
		at += strcspn(at, " ");
	}
	return n;
}
