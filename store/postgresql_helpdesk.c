/*
 * store/postgresql_helpdesk.c - what a help desk may do with one person by SQL: functions of the database, for tools that know no enrollctl.
 *
 * They run as the owner of the tables, whatever the caller has set, and the help desk's role alone may call those that are for it; what it may read it
 * reads by itself (store/grants.c).  They do what `enrollctl retry` and `rotate` do, by the same SQL (store/acts.h), and leave the same
 * events, of actor helpdesk:ROLE.  What is not here, is not on purpose: `revoke`, which nobody takes back and which asks the CA; `pause`, `replace` and
 * the like, which are about everybody; `disable` and `enable`, which enrollctl leaves to admins, too; keys and tokens, which a help desk never sees.
 *
 * An address is compared as it stands in the store, but for the case of ASCII letters: what address_parse makes of quotes and of domains in other
 * scripts is not made here.
 *
 * Like TX_WRITE_ROW they share the writers' lock and lock the rows of the person, those in order of id, before they look.  Whoever leaves the transaction
 * open is cut off as a program of ours would be, or everybody waited for them.
 *
 * They are made anew by `enrollctl init` and each `enrollctl store upgrade`.  To change a function's arguments or result, drop the one before first.
 */
#include "config.h"

#include "store/postgresql.h"

#include "store/acts.h"

/* SQLSTATEs of our own. */
#define UNKNOWN "'SM001'"
#define AMBIGUOUS "'SM002'"
#define NO_STORE "'SM003'"
#define REFUSED "'SM004'"
#define BUSY "'SM005'"
#define ISOLATION "'SM006'"
#define ONE_PERSON "'SM007'"
#define WHEN_BUSY " EXCEPTION WHEN lock_not_available OR deadlock_detected THEN" FAIL(BUSY, "'the store is busy; nothing was done, try again in a moment'")
#define FAIL(state, ...) " RAISE EXCEPTION USING ERRCODE = " state ", MESSAGE = " __VA_ARGS__ "; "

struct function {
	const char *name, *arguments, *returns;
	const char *types; /* of the arguments; NULL = for the others here alone */
	const char *body;  /* declarations, BEGIN ... END; columns go before variables of their name */
};

#define KEY "lower($1 COLLATE \"C\")"
/* The rows of the person whose row is v_id. */
#define OF_PERSON "address_key = (SELECT o.address_key FROM enrollments o WHERE o.id = v_id)"
#define ONE_TEXT "address text"

/* In an order in which each calls those before it alone. */
static const struct function functions[] = {
	/* An address key: the row that is meant. */
	{"helpdesk_find", "text", "bigint", NULL,
		"v_mark text; v_place text; v_n bigint; v_all text; v_id bigint;"
		" BEGIN"
		" v_mark := (" MARK_SELECT ");"
		" v_place := regexp_replace(v_mark, '^[^ ]+ [^ ]+ [^ ]+ ', '');"
		" IF v_mark LIKE '" MARK_MOVED " %' THEN"
		FAIL(NO_STORE, "format('this store was moved to %s and is not used any more: connect to the new one', v_place)")
		" ELSIF v_mark IS NOT NULL THEN"
		FAIL(NO_STORE, "format('this is a copy of %s that is not complete, and no store yet: an admin runs `enrollctl store migrate` again', v_place)")
		" END IF;"
		" SELECT count(*), string_agg(address, ', ' ORDER BY id), max(id) FILTER (WHERE address_key = $1) INTO v_n, v_all, v_id FROM enrollments"
		" WHERE " ACT_FIND_WHERE " AND companion_of IS NULL AND state NOT IN (" ACT_CLOSED ");"
		" IF v_n > 1 AND v_id IS NULL THEN"
		FAIL(AMBIGUOUS, "format('%s is an address of several people: say which by their first address: %s', $1, v_all)")
		" END IF;"
		" IF v_n <= 1 OR v_id IS NULL THEN"
		"  SELECT id INTO v_id FROM enrollments WHERE " ACT_FIND_WHERE " ORDER BY " ACT_FIND_ORDER " LIMIT 1;"
		" END IF;"
		" IF v_id IS NULL AND COALESCE(strpos($1, '@'), 0) = 0 THEN"
		FAIL(UNKNOWN, "format('an address is needed, as alice@example.org; this is none: %s', COALESCE($1, 'nothing'))")
		" ELSIF v_id IS NULL THEN"
		FAIL(UNKNOWN, "format('no enrollment for %s yet; it begins with the user''s next mail, or with `enrollctl enroll`; a domain in another script has to be"
			" written as it is in DNS (xn--...)', $1)")
		" END IF;"
		" RETURN v_id;"
		" END"},
	/* The same, and nobody else writes it before our end. */
	{"helpdesk_begin", "text", "bigint", NULL,
		"v_id bigint; v_key text;"
		" BEGIN"
		/* A snapshot from before the lock would not show what was written until then. */
		" IF current_setting('transaction_isolation') <> 'read committed' THEN"
		FAIL(ISOLATION, "'the transaction has to be READ COMMITTED; nothing was done'")
		" END IF;"
		" PERFORM set_config('idle_in_transaction_session_timeout', idle_ms, true);"
		" PERFORM pg_advisory_xact_lock_shared(" PG_LOCK_WRITE ");"
		" PERFORM 1 FROM enrollments WHERE address_key IN (SELECT e.address_key FROM enrollments e WHERE e." ACT_FIND_WHERE ") ORDER BY id FOR NO KEY UPDATE;"
		" v_id := helpdesk_find($1);"
		" v_key := (SELECT address_key FROM enrollments WHERE id = v_id);"
		/* No guard against malice, but against a SELECT that calls it for every row. */
		" IF COALESCE(current_setting('enroll.helpdesk_person', true), '') NOT IN ('', v_key) THEN"
		FAIL(ONE_PERSON, "'one person in one transaction; nothing was done'")
		" END IF;"
		" PERFORM set_config('enroll.helpdesk_person', v_key, true);"
		" RETURN v_id;"
		" END"},
	{"helpdesk_event", "bigint, bigint, text, text, text, text", "void", NULL, " BEGIN " ACT_EVENT "; END"},
	/* What keeps a row from going on whatever is done to it. */
	{"helpdesk_note", "bigint", "text", NULL,
		" BEGIN"
		" RETURN (SELECT CASE WHEN e.disabled = 1 THEN '; it is disabled all the same, and gets no certificate before it is enabled'"
		"  WHEN e.gone_since > 0 THEN format('; mail stays unsigned all the same, as this person left by the directory (%s): their entry has to be put right', e.gone_why)"
		"  ELSE '' END FROM enrollments e WHERE e.id = $1);"
		" END"},
	/* enrollment_retry */
	{"helpdesk_retry_row", "bigint, bigint, text, text", "boolean", NULL,
		"v_later bigint; v_anew bigint := 0;"
		" BEGIN"
		" " ACT_RETRY_LATER "; GET DIAGNOSTICS v_later = ROW_COUNT;"
		" IF v_later = 0 THEN " ACT_RETRY_ANEW "; GET DIAGNOSTICS v_anew = ROW_COUNT; END IF;"
		" IF v_anew > 0 THEN " ACT_RETRY_ORDERS "; END IF;"
		" IF v_later + v_anew > 0 THEN PERFORM helpdesk_event($1, $2, 'retry', $3, 'none', $4); END IF;"
		" RETURN v_later + v_anew > 0;"
		" END"},
	/* All that `enrollctl retry` does (enroll/commands.c). */
	{"helpdesk_retry_all", "bigint, bigint, text", "boolean", NULL,
		"v_changed boolean; v_n bigint; v_beside bigint;"
		" BEGIN"
		" v_changed := helpdesk_retry_row($1, $2, $3, NULL);"
		" v_beside := (SELECT id FROM enrollments WHERE " ACT_COMPANION_WHERE ");"
		" IF v_beside IS NOT NULL THEN v_changed := helpdesk_retry_row(v_beside, $2, $3, NULL) OR v_changed; END IF;"
		" " ACT_RETRY_REVOCATIONS "; GET DIAGNOSTICS v_n = ROW_COUNT; v_changed := v_changed OR v_n > 0;"
		/* Of which no trigger tells. */
		" " ACT_RETRY_DIRECTORY "; GET DIAGNOSTICS v_n = ROW_COUNT;"
		" IF v_n > 0 THEN PERFORM pg_notify('" PG_CHANNEL_WORK "', ''); END IF;"
		" RETURN v_changed OR v_n > 0;"
		" END"},
	/* enrollment_renew */
	{"helpdesk_renew_row", "bigint, bigint, text, text", "boolean", NULL,
		"v_n bigint;"
		" BEGIN"
		" " ACT_RENEW "; GET DIAGNOSTICS v_n = ROW_COUNT;"
		" IF v_n > 0 THEN PERFORM helpdesk_event($1, $2, 'renew', $3, 'none', $4); END IF;"
		" RETURN v_n > 0;"
		" END"},
	/* All that `enrollctl rotate` does (enroll/revoke_control.c). */
	{"helpdesk_renew_all", "bigint, bigint, text", "boolean", NULL,
		"v_changed boolean; v_beside bigint;"
		" BEGIN"
		" v_changed := helpdesk_renew_row($1, $2, $3, 'rotate');"
		" v_beside := (SELECT id FROM enrollments WHERE " ACT_COMPANION_WHERE ");"
		" IF v_beside IS NOT NULL THEN v_changed := helpdesk_renew_row(v_beside, $2, $3, 'rotate') OR v_changed; END IF;"
		" RETURN v_changed;"
		" END"},

	{"helpdesk_retry", ONE_TEXT, "text", "text",
		"v_id bigint; v_changed boolean;"
		" BEGIN"
		" v_id := helpdesk_begin(" KEY ");"
		" v_changed := helpdesk_retry_all(v_id, now_s, who);"
		" RETURN (SELECT e.address || CASE WHEN v_changed THEN ': goes on now' || helpdesk_note(v_id)"
		"  ELSE ': nothing to retry, its enrollment is ' || e.state || ', see helpdesk_explain' END FROM enrollments e WHERE e.id = v_id);"
		WHEN_BUSY " END"},
	{"helpdesk_renew", ONE_TEXT, "text", "text",
		"v_id bigint; v_row enrollments%ROWTYPE;"
		" BEGIN"
		" v_id := helpdesk_begin(" KEY ");"
		" SELECT * INTO v_row FROM enrollments WHERE id = v_id;"
		" IF v_row.state = 'revoking' OR v_row.disabled = 1 THEN"
		FAIL(REFUSED, "format('%s: its enrollment is %s; it has to be enabled, and an admin says `enrollctl enroll %s`', v_row.address,"
			" CASE v_row.disabled WHEN 1 THEN 'disabled' ELSE v_row.state END, v_row.address)")
		" ELSIF v_row.gone_since > 0 THEN"
		FAIL(REFUSED, "format('%s: this person left, as far as the directory knows (%s): their entry has to be put right', v_row.address, v_row.gone_why)")
		" END IF;"
		" IF helpdesk_renew_all(v_id, now_s, who) THEN"
		"  RETURN v_row.address || ': gets a new key and certificate; the present one signs until the new one is active';"
		" ELSIF v_row.state = 'active' THEN"
		"  RETURN v_row.address || ': enrolld works on it at this moment; nothing was done, try again in a moment';"
		" END IF;"
		" RETURN v_row.address || ': nothing to renew, its enrollment is ' || v_row.state || ', see helpdesk_explain';"
		WHEN_BUSY " END"},
	/* A row for each enrollment of this person, the one that the others are about first. */
	{"helpdesk_explain", "text",
		"TABLE (address text, usage text, state text, since timestamptz, disabled boolean, left_since timestamptz, why_class text, why text, about text,"
		" next_step timestamptz, goes_on_in text, serial text, certificate_status text, not_after timestamptz)",
		"text",
		"v_id bigint;"
		" BEGIN"
		" v_id := helpdesk_find(" KEY ");"
		" RETURN QUERY SELECT e.address, e.usage, e.state, to_timestamp(e.state_since), e.disabled = 1,"
		"  CASE WHEN e.gone_since > 0 THEN to_timestamp(e.gone_since) END, nullif(e.why_class, 'none'), e.why, e.why_subject,"
		"  CASE WHEN e.next_at > 0 AND e.disabled = 0 AND e.gone_since = 0 THEN to_timestamp(e.next_at) END,"
		"  CASE WHEN e.state IN ('waiting','blocked','failed') THEN e.resume END, c.serial, c.status, to_timestamp(c.not_after)"
		"  FROM enrollments e LEFT JOIN LATERAL (SELECT k.serial, k.status, k.not_after FROM certificates k WHERE k.enrollment_id = e.id"
		"   ORDER BY CASE k.status WHEN 'active' THEN 0 ELSE 1 END, k.id DESC LIMIT 1) c ON true"
		"  WHERE e." OF_PERSON " ORDER BY CASE e.id WHEN v_id THEN 0 ELSE 1 END, e.id DESC;"
		" END"},
};
#define FUNCTIONS (sizeof(functions) / sizeof(functions[0]))

/* now_s is the beginning of the transaction, as the triggers have it that wake enrolld. */
static void put_function(struct buf *out, const struct store_settings *s, const struct function *f)
{
	buf_printf(out,
		"CREATE OR REPLACE FUNCTION " PG_SCHEMA ".%s(%s) RETURNS %s LANGUAGE plpgsql SECURITY DEFINER"
		" SET search_path = " PG_SCHEMA ", pg_catalog, pg_temp SET lock_timeout = %u AS $desk$\n#variable_conflict use_column\n"
		"DECLARE idle_ms CONSTANT text := '%u'; who CONSTANT text := 'helpdesk:' || session_user;"
		" now_s CONSTANT bigint := floor(extract(epoch FROM now())); ",
		f->name, f->arguments, f->returns, s->busy_ms > 0 ? s->busy_ms : 1, pg_idle_ms(s));
	buf_puts(out, f->body);
	buf_printf(out, "$desk$; REVOKE ALL ON FUNCTION " PG_SCHEMA ".%s(%s) FROM PUBLIC;", f->name, f->types != NULL ? f->types : f->arguments);
}

bool pg_helpdesk_make(PGconn *conn, const struct store_settings *s, const char *op, struct err *err)
{
	bool ok = true;

	for (size_t i = 0; ok && i < FUNCTIONS; i++) {
		struct buf sql = BUF_INIT;

		put_function(&sql, s, &functions[i]);
		ok = sql.failed ? err_nomem(err, op) : pg_do(conn, buf_str(&sql), NO_HURRY, op, err);
		buf_clear(&sql);
	}
	return ok;
}

void pg_helpdesk_put_grants(struct buf *out, const char *quoted)
{
	for (size_t i = 0; i < FUNCTIONS; i++)
		if (functions[i].types != NULL)
			buf_printf(out, "GRANT EXECUTE ON FUNCTION " PG_SCHEMA ".%s(%s) TO %s;", functions[i].name, functions[i].types, quoted);
}
