/*
 * enroll/why.c - why a mail left as it did.  Everything that the help desk can be told is a row of the table below.
 *
 * A mail event has a verdict and a reason in the milter's words; the first row of the table whose verdict and reason fit names the cause.  A mail
 * that lacked nothing but a certificate leads on to the enrollment: its rows are recognised by a function, as are those about the configuration,
 * which speak where there is no mail.  The state of an enrollment is that of now, that of a mail is of then: where they differ, both are said.
 *
 * In sentences {word} is replaced by a fact; see `value`.
 */
#include "config.h"

#include "enroll/why.h"

#include <string.h>

struct cause {
	const char *word;
	const char *verdict;        /* of a mail event; NULL: recognised by `is` */
	const char *reasons;        /* separated by '|'; a star at the end stands for anything; "!word" is the action instead */
	bool (*is)(const struct why_facts *f);
	const char *sentence, *what_to_do;
};

/* ---- how enrollments and configurations are recognised ------------------------------------------------------------------------------- */

static bool is_in(const struct why_facts *f, enum enrollment_state state)
{
	return f->row && f->row->state == state;
}

static bool row_disabled(const struct why_facts *f) { return f->row && f->row->disabled; }
static bool row_departed(const struct why_facts *f) { return f->row && f->row->gone_since; }
static bool row_left_for_good(const struct why_facts *f) { return row_departed(f) && f->nobody_looks; }
static bool row_waiting(const struct why_facts *f) { return is_in(f, ENROLLMENT_WAITING) && !f->active; }
static bool row_failed(const struct why_facts *f) { return is_in(f, ENROLLMENT_FAILED) && !f->active; }
static bool row_revoked(const struct why_facts *f) { return is_in(f, ENROLLMENT_REVOKING) || is_in(f, ENROLLMENT_REVOKED); }
static bool row_awaits(const struct why_facts *f) { return is_in(f, ENROLLMENT_CHALLENGE_AWAITED) && !f->active; }
static bool row_answered(const struct why_facts *f) { return is_in(f, ENROLLMENT_ANSWERED) && !f->active; }
static bool row_blocked(const struct why_facts *f) { return is_in(f, ENROLLMENT_BLOCKED) && !f->active; }
static bool row_any(const struct why_facts *f) { return f->row && f->row->state != ENROLLMENT_SUPERSEDED; }
static bool row_none(const struct why_facts *f) { (void)f; return true; }

static bool row_excluded(const struct why_facts *f)
{
	return f->row && f->row->why_type && strcmp(f->row->why_type, ELIGIBILITY_EXCLUDED) == 0;
}

static bool row_expired(const struct why_facts *f)
{
	return is_in(f, ENROLLMENT_EXPIRED) || (f->active && f->active->not_after < f->now);
}

static bool row_not_yet(const struct why_facts *f) { return f->active && f->active->not_before > f->now; }
static bool row_signs(const struct why_facts *f) { return f->active != NULL; }

static bool no_such_mail(const struct why_facts *f) { return f->asked_for_one; }
static bool not_served(const struct why_facts *f) { return !f->served; }
static bool paused(const struct why_facts *f) { return f->paused != NULL; }
static bool observing(const struct why_facts *f) { return f->mode == MODE_OBSERVE; }
static bool enrolling(const struct why_facts *f) { return f->mode == MODE_ENROLL && row_signs(f) && !row_disabled(f) && !row_departed(f); }
static bool not_in_pilot(const struct why_facts *f) { return !f->in_pilot; }
static bool excluded(const struct why_facts *f) { return f->excluded && !row_disabled(f) && !row_departed(f); }

/* ---- the table --------------------------------------------------------------------------------------------------------------------- */

#define NOTHING "Nothing needs to be done."
#define WAIT "Nothing: mail sent after that is signed.  A mail that has left cannot be signed later."
#define ADMIN_RULE "If this is not wanted, an admin changes the rule in the configuration (enrollctl policy explain {address})."

/* Which of its own rows the enrollment has to be asked about besides; they follow the mail's row. */
#define FOLLOWS_UP "unsigned"

static const struct cause mail_causes[] = {
	{"signed-after-dkim", "signed", "signed, but a DKIM signature*", NULL,
		"The mail of {at} was signed with certificate {serial}, but a DKIM signature of ours was there before and is broken by it.",
		"An admin puts enroll-milter before the DKIM signer (enrollctl doctor)."},
	{"signed-opaque", "signed", "signed, opaque*", NULL,
		"The mail of {at} was signed in opaque form{because}, with certificate {serial}, valid until {expires}.",
		"Nothing, unless the recipient cannot read it: a program without S/MIME shows an opaque mail as an attachment smime.p7m."},
	{"signed-reencoded", "signed", "signed after re-encoding", NULL,
		"The mail of {at} was signed after its content was encoded anew so that it survives the way{because}, with certificate {serial}, valid until "
		"{expires}.", NOTHING "  What it says was not changed."},
	{"signed-detached", "signed", "*", NULL,
		"The mail of {at} was signed (detached: readable without S/MIME){because}, with certificate {serial}, valid until {expires}.",
		"Nothing.  If the recipient sees no signature, something behind this gateway changed the mail, or their program shows none."},

	{"not-submitted-by-login", "not-ours", "*", NULL,
		"The mail of {at} was not handed in by somebody who logged in, or by a system that the configuration names ({reason}): nobody vouches for its sender.",
		"Have the mail program use the submission port with login.  For a system that sends without, an admin adds it to `submission`."},

	{"two-from-addresses", "untouched", "more than one From*", NULL,
		"The mail of {at} names more than one author in From; a signature is made for exactly one.", "Send it with a single From address."},
	{"from-unreadable", "untouched", "no From*|From is not well-formed", NULL,
		"The mail of {at} has no From address that can be read ({reason}).", "Look at how the sending program writes its From field."},
	{"domain-not-served", "untouched", "From is not in a served domain", NULL,
		"The From address of the mail of {at} is in a domain that this gateway signs nothing for.",
		"Send from an address of the organization; an admin adds the domain to `domains` if it is one of ours."},
	{"from-outside", "untouched", "from outside:*", NULL,
		"The mail of {at} came to the relay from outside ({reason}), so the relay cannot vouch for its author.",
		"Nothing for forwarded mail and lists; mail of our own users has to reach the relay directly."},
	{"pgp", "untouched", "already signed (PGP)|already encrypted (PGP)|PGP", NULL,
		"The mail of {at} is signed or encrypted with PGP already, and was left as it is.", NOTHING},
	{"already-signed", "untouched", "already signed*|carries S/MIME certificates only", NULL,
		"The mail of {at} was already signed by the sender's own program, and was left as it is.",
		"Nothing, or switch signing off in the sender's mail program: the gateway does it."},
	{"encrypted", "untouched", "already encrypted*", NULL,
		"The mail of {at} was already encrypted by the sender's own program, and was left as it is.",
		"Nothing, or have the sender's program sign as well when it encrypts."},
	{"delivery-report", "untouched", "delivery report*|report", NULL,
		"The mail of {at} is a report about another mail (delivery, read receipt); such mail is never signed.", NOTHING},
	{"challenge-reply", "untouched", "reply to a CA's challenge", NULL,
		"The mail of {at} looks like a reply to a CA's challenge, which has to leave as it is.",
		"Nothing; if a user wrote it, choose another subject than \"Re: ACME: ...\"."},
	{"auto-submitted", "untouched", "auto-submitted", NULL,
		"The mail of {at} was sent by a program by itself (Auto-Submitted), and such mail is not signed here.",
		"Nothing; an admin can have it signed with signing.auto-submitted."},
	{"list-mail", "untouched", "list mail", NULL, "The mail of {at} is list or bulk mail (List-, Precedence), and such mail is not signed here.",
		"Nothing; an admin can have it signed with signing.list-mail."},
	{"calendar", "untouched", "calendar mail", NULL,
		"The mail of {at} is an invitation or answer of a calendar, and such mail is not signed here, as some calendars cannot read it signed.",
		"Nothing; an admin can have it signed with signing.calendar."},
	{"mail-rule", "untouched", "a mail rule says so", NULL, "The mail of {at} was left unsigned as a rule about mails says so: {detail}.",
		"If this is not wanted, an admin changes that rule in `mail-rules`."},
	{"login-not-owner", "untouched", "address is not listed for this login|the login is not this address", NULL,
		"The mail of {at} was sent with the login {login}, which the address {from} does not belong to.",
		"Send with the login that owns the address, or have the address listed for {login} (directory or sender map)."},
	{"login-unknown", "untouched", "unknown login|login is ambiguous", NULL,
		"The mail of {at} was sent with the login {login}, about which the directory or sender map says nothing clear ({reason}).",
		"An admin looks at how logins are found (directory.login-filter, login-strip, the sender map)."},
	{"address-of-several", "untouched", "address is listed by several entries", NULL,
		"The address {from} stands in several entries of the directory as their own, so it belongs to nobody.",
		"Leave it on one entry, or make it a shared mailbox by a named attribute or group."},
	{"directory-disabled", "untouched", "disabled", NULL, "The mail of {at} was sent by a login whose entry in the directory is disabled.",
		"Enable the entry in the directory, if this person is still with us."},
	{"not-in-pilot", "untouched", "not in the pilot", NULL,
		"The mail of {at} was not signed as {from} does not take part in the pilot.",
		"An admin adds the address to `pilot`, or the person to the pilot group."},
	{"paused", "untouched", "paused by an admin", NULL, "When the mail of {at} was sent, all signing was paused by an admin{paused-now}.",
		"Mail sent after `enrollctl resume` (admin) is signed."},
	{"unsigned-header", "untouched", "the author asked for no signature*", NULL,
		"The author asked for no signature on the mail of {at}, by the header field that rule {rule} gives them for that (unsigned-header).",
		"Send without that field."},
	{"rule-outgoing-only", "untouched", "the rule signs outgoing mail only", NULL,
		"The mail of {at} went to our own people only, and rule {rule} signs mail to others alone.", ADMIN_RULE},
	{"rule-internal-only", "untouched", "the rule signs internal mail only", NULL,
		"The mail of {at} went to somebody outside, and rule {rule} signs mail among our own people alone.", ADMIN_RULE},
	{"unsigned-to", "untouched", "the rule signs no mail to these domains*", NULL,
		"All recipients of the mail of {at} are in domains that rule {rule} signs no mail to (unsigned-to).", ADMIN_RULE},
	{"rule-signs-nothing", "untouched", "the rule signs no mail", NULL,
		"Rule {rule} signs no mail of {address}.", ADMIN_RULE},
	{"rule-unknown", "untouched", "its rule is not in this configuration*", NULL,
		"When the mail of {at} was sent, the rules had just changed and {address} had not been looked at again.",
		"Nothing: enrolld decides anew by itself; mail after that goes by the new rules."},
	{"cannot-be-reencoded", "untouched", "cannot be signed without changing*", NULL,
		"The mail of {at} could not be signed without changing what may not be changed: {detail}",
		"Send forwarded mails without raw 8-bit content (as most programs do); an admin can choose signing.unencodable = \"opaque\"."},
	{"header-too-large", "untouched", "the header is larger than 1 MiB", NULL,
		"The header of the mail of {at} is larger than 1 MiB, and such mail is left as it is.", "Look at what program writes such a header."},
	{"relay-proof-missing", "untouched", "the relay did not show*|the relay's mail has no valid DKIM*", NULL,
		"The mail of {at} came by a relay that others use, too, and the proof that it is ours was missing: {reason}.",
		"An admin looks at the relay: it has to add the secret header, or our DKIM signature."},
	{"duplicate-structure-headers", "untouched", "two *", NULL,
		"The mail of {at} has {reason}: programs read such a mail differently, so it is not signed.", "Look at what program wrote the mail."},

	{"rejected", FOLLOWS_UP, "!reject", NULL,
		"The mail of {at} was rejected and not sent, as the configuration wants for senders without a certificate ({reason}).", ""},
	{"held", FOLLOWS_UP, "!hold", NULL,
		"The mail of {at} was put into the hold queue, as the configuration wants for senders without a certificate ({reason}); released, it leaves unsigned.",
		""},
	{"told-to-come-again", FOLLOWS_UP, "!tempfail", NULL,
		"The mail of {at} was not taken yet, as the configuration wants for senders without a certificate ({reason}); the server in front tries again.", ""},
	{"mode-enroll", FOLLOWS_UP, "mode is enroll*", NULL,
		"The mode is enroll: certificates are obtained, but the mail of {at} was not to be signed yet.",
		"An admin sets mode = \"sign\" when certificates are there."},
	{"no-enrollment", FOLLOWS_UP, "no enrollment", NULL,
		"When the mail of {at} was sent, {address} had no certificate, and nobody had asked for one; this mail did.", ""},
	{"in-progress", FOLLOWS_UP, "enrollment in progress", NULL, "When the mail of {at} was sent, the certificate of {address} was still on its way.", ""},
	{"disabled", FOLLOWS_UP, "disabled", NULL, "When the mail of {at} was sent, an admin had switched signing off for {address}.", ""},
	{"departed", FOLLOWS_UP, "departed", NULL, "When the mail of {at} was sent, {address} belonged to nobody who is with us, as the directory has it.", ""},
	{"waiting", FOLLOWS_UP, "waiting", NULL, "When the mail of {at} was sent, the certificate of {address} had to wait.", ""},
	{"blocked", FOLLOWS_UP, "blocked", NULL, "When the mail of {at} was sent, the certificate of {address} was blocked.", ""},
	{"failed", FOLLOWS_UP, "failed", NULL, "When the mail of {at} was sent, getting a certificate for {address} had failed.", ""},
	{"revoked", FOLLOWS_UP, "revoked", NULL, "When the mail of {at} was sent, the certificate of {address} was revoked.", ""},
	{"expired", FOLLOWS_UP, "expired", NULL, "When the mail of {at} was sent, the certificate of {address} had expired.", ""},
	{"not-valid", FOLLOWS_UP, "the certificate is not valid now", NULL,
		"When the mail of {at} was sent, the certificate of {address} was not valid at that moment (not yet, not any more, or not for signing).", ""},
	{"excluded", FOLLOWS_UP, "the rule says: no certificate", NULL, "Rule {rule} says that {address} gets no certificate.", ADMIN_RULE},

	{"mode-observe", "observed", "*", NULL,
		"The mode is observe: the gateway only looked at the mail of {at} and noted what would happen ({reason}).",
		"An admin sets mode = \"sign\" when the report (enrollctl list --observed) is as wanted."},
	{"error-tempfail", "error", "!tempfail", NULL,
		"The mail of {at} was not taken yet as it could not be signed ({detail}); the client is told to come again.",
		"An admin looks at the error (enrollctl doctor)."},
	{"error-passed", "error", "*", NULL,
		"The mail of {at} could not be signed because of an error and left unsigned, as on-error = pass says: {detail}.",
		"An admin looks at the error (enrollctl doctor)."},
	{"other", NULL, NULL, row_none, "The mail of {at} was {verdict}: {reason}.", "Ask an admin to look into the log of enroll-milter for queue id {queue}."},
};

/* About the enrollment, in the order of importance; the words are those of the mail's rows where they mean the same. */
static const struct cause row_causes[] = {
	{"disabled", NULL, NULL, row_disabled, "Signing for {address} is switched off by an admin{disabled-by}.",
		"An admin switches it on again with `enrollctl enable {address}`."},
	{"departed", NULL, NULL, row_left_for_good,
		"Mail of {address} is not signed since {gone-since}, as this person left: {gone-why}.  That was then: nobody looks at the directory for that any more.",
		"If they are still with us, an admin says so: `enrollctl enable {address}` ({gone-then})."},
	{"departed", NULL, NULL, row_departed, "Mail of {address} is not signed since {gone-since}, as this person left: {gone-why}.",
		"If they are still with us, have their entry in the directory put right: the next look at it sees that ({gone-then}; enrollctl departures)."},
	{"excluded", NULL, NULL, row_excluded, "Rule {rule} says that {address} gets no certificate.", ADMIN_RULE},
	{"revoked", NULL, NULL, row_revoked, "The certificate of {address} was revoked ({state} since {since}).",
		"If this person still sends mail, ask for a new one: `enrollctl enroll {address}`."},
	{"not-yet-valid", NULL, NULL, row_not_yet, "The certificate {active-serial} of {address} is valid from {active-from} on.",
		"Wait until then; if that is long past, the clock of this host is wrong."},
	{"expired", NULL, NULL, row_expired, "The certificate of {address} has expired{active-until}, and there is no newer one{because-row}.",
		"`enrollctl show {address}` says what became of its renewal; `enrollctl retry {address}` tries again now."},
	{"waiting", NULL, NULL, row_waiting, "The certificate of {address} waits until {until}: {why}.",
		"It goes on by itself then; `enrollctl retry {address}` tries now."},
	{"blocked", NULL, NULL, row_blocked, "The certificate of {address} is blocked since {since}: {why}.",
		"Have that put right, then `enrollctl retry {address}`."},
	{"failed", NULL, NULL, row_failed, "Getting a certificate for {address} failed at {since}: {why}.",
		"`enrollctl retry {address}` begins again; please report it if it fails again."},
	{"challenge-awaited", NULL, NULL, row_awaits,
		"The certificate of {address} is on its way: since {since} the gateway waits for the CA's challenge mail to {address}.",
		"Nothing for some minutes; after that see whether mail from the CA reaches this gateway (enrollctl doctor)."},
	{"answered", NULL, NULL, row_answered,
		"The certificate of {address} is on its way: the CA's challenge was answered, and since {since} the gateway waits for the CA's verdict.",
		"Nothing for some minutes; enrollctl show {address} tells whether the reply was delivered."},
	{"has-certificate", NULL, NULL, row_signs,
		"{address} has certificate {active-serial}, valid until {active-expires}: mail sent from now on is signed.", WAIT},
	{"in-progress", NULL, NULL, row_any, "The certificate of {address} is on its way: since {since} {doing} (state {state}).",
		"Wait a moment: mail sent once it is there is signed."},
	{"no-enrollment", NULL, NULL, row_none, "Nobody has asked for a certificate for {address} yet.",
		"The user's next mail asks for one, or `enrollctl enroll {address}` does."},
};

/* Where there is no mail to speak of: what keeps any mail of the address from being signed. */
static const struct cause configuration_causes[] = {
	{"domain-not-served", NULL, NULL, not_served, "The domain of {address} is none that this gateway signs for.",
		"An admin adds it to `domains` if it is one of ours."},
	{"no-such-mail", NULL, NULL, no_such_mail,
		"No such mail of {address} is on record: it took another way than this gateway's outbound filter, or is older than what is kept.",
		"Look for the queue id in the mail server's log: which server and port took the mail?"},
	{"paused", NULL, NULL, paused, "All signing is paused{paused-now}.", "Mail sent after `enrollctl resume` (admin) is signed."},
	{"mode-observe", NULL, NULL, observing, "The mode is observe: nothing is enrolled or signed, and no mail of {address} was seen.",
		"An admin sets mode = \"sign\"."},
	{"not-in-pilot", NULL, NULL, not_in_pilot, "{address} does not take part in the pilot, and no mail of it was seen.",
		"An admin adds the address to `pilot`, or the person to the pilot group."},
	{"excluded", NULL, NULL, excluded, "Rule {rule} says that {address} gets no certificate.", ADMIN_RULE},
	{"mode-enroll", NULL, NULL, enrolling, "{address} has a certificate, but the mode is enroll: nothing is signed yet.", "An admin sets mode = \"sign\"."},
};

#define N(table) (sizeof(table) / sizeof((table)[0]))

const char *why_cause_name(size_t i)
{
	if (i < N(mail_causes))
		return mail_causes[i].word;
	i -= N(mail_causes);
	if (i < N(row_causes))
		return row_causes[i].word;
	i -= N(row_causes);
	return i < N(configuration_causes) ? configuration_causes[i].word : NULL;
}

/* ---- facts in words ------------------------------------------------------------------------------------------------------------------ */

static const char *const doing[ENROLLMENT_STATES] = {
	[ENROLLMENT_REQUESTED] = "it is looked at by rules, directory and caps", [ENROLLMENT_ELIGIBLE] = "DNS is asked whether the CA may issue (CAA)",
	[ENROLLMENT_CAA_CHECKED] = "it is about to be ordered", [ENROLLMENT_ORDERING] = "it is being ordered at the CA",
	[ENROLLMENT_ORDERED] = "the CA has the order", [ENROLLMENT_VALIDATED] = "the CA has the proof and is asked for the certificate",
	[ENROLLMENT_FINALIZED] = "the CA makes the certificate", [ENROLLMENT_ISSUED] = "the certificate is being checked",
	[ENROLLMENT_CHECKED] = "the certificate goes into the directory", [ENROLLMENT_PUBLISHED] = "it is about to be used",
	[ENROLLMENT_RENEWING] = "it is being renewed",
};

static void put(struct buf *out, const char *text, const char *otherwise)
{
	buf_puts(out, text && *text ? text : otherwise);
}

static void put_time(struct buf *out, time_t t)
{
	char text[32];

	buf_puts(out, t ? time_text(t, text) : "?");
}

/* " (something)", or nothing. */
static void put_aside(struct buf *out, const char *text)
{
	if (text && *text)
		buf_printf(out, " (%s)", text);
}

static void value_of_mail(const struct mail_event *m, const struct store_certificate *c, const char *name, struct buf *out)
{
	if (!m)
		return;
	if (strcmp(name, "at") == 0)
		put_time(out, m->at);
	else if (strcmp(name, "login") == 0)
		put(out, m->login, "(none)");
	else if (strcmp(name, "from") == 0)
		put(out, m->from, "(none)");
	else if (strcmp(name, "queue") == 0)
		put(out, m->queue_id, "(none)");
	else if (strcmp(name, "verdict") == 0)
		put(out, m->verdict, "(none)");
	else if (strcmp(name, "reason") == 0)
		put(out, m->reason, "no reason noted");
	else if (strcmp(name, "detail") == 0)
		put(out, m->detail, m->reason ? m->reason : "no more is known");
	else if (strcmp(name, "because") == 0)
		put_aside(out, m->detail);
	else if (strcmp(name, "serial") == 0)
		put(out, c ? c->serial : NULL, "(not known any more)");
	else if (strcmp(name, "expires") == 0)
		put_time(out, c ? c->not_after : 0);
}

static void value_of_row(const struct enrollment *e, const char *name, struct buf *out)
{
	if (!e)
		return;
	if (strcmp(name, "state") == 0)
		buf_puts(out, enrollment_state_name(e->state));
	else if (strcmp(name, "since") == 0)
		put_time(out, e->state_since);
	else if (strcmp(name, "until") == 0)
		put_time(out, e->next_at);
	else if (strcmp(name, "why") == 0)
		put(out, e->why, "no reason noted");
	else if (strcmp(name, "because-row") == 0)
		put_aside(out, e->why);
	else if (strcmp(name, "gone-since") == 0)
		put_time(out, e->gone_since);
	else if (strcmp(name, "gone-why") == 0)
		buf_puts(out, departure_parse(e->gone_why) == DEPARTURE_DISABLED ? "their entry in the directory is disabled" :
			departure_parse(e->gone_why) == DEPARTURE_ADDRESS ? "their entry in the directory does not list this address any more" :
			"the directory has no entry for them any more");
	else if (strcmp(name, "gone-then") == 0)
		buf_puts(out, e->gone_ended ? "a new certificate is asked for then" : "mail after that is signed");
	else if (strcmp(name, "doing") == 0)
		put(out, doing[e->state], "it is worked on");
}

static void value_of_active(const struct store_certificate *c, const char *name, struct buf *out)
{
	if (!c)
		return;
	if (strcmp(name, "active-serial") == 0)
		put(out, c->serial, "?");
	else if (strcmp(name, "active-from") == 0)
		put_time(out, c->not_before);
	else if (strcmp(name, "active-expires") == 0)
		put_time(out, c->not_after);
	else if (strcmp(name, "active-until") == 0) {
		buf_puts(out, " at ");
		put_time(out, c->not_after);
	}
}

static void value(const struct why_facts *f, const char *name, struct buf *out)
{
	if (strcmp(name, "address") == 0)
		buf_puts(out, f->address);
	else if (strcmp(name, "rule") == 0)
		put(out, f->row && f->row->rule ? f->row->rule : f->rule, "(not known)");
	else if (strcmp(name, "paused-now") == 0)
		put_aside(out, f->paused);
	else if (strcmp(name, "disabled-by") == 0)
		put_aside(out, f->disabled_by);
	else {
		value_of_mail(f->mail, f->signed_by, name, out);
		value_of_row(f->row, name, out);
		value_of_active(f->active, name, out);
	}
}

static void fill(struct buf *out, const char *text, const struct why_facts *f)
{
	while (*text) {
		size_t plain = strcspn(text, "{"), len;
		char name[32];

		buf_append(out, text, plain);
		text += plain;
		if (!*text)
			return;
		len = strcspn(++text, "}");
		snprintf(name, sizeof name, "%.*s", (int)len, text);
		value(f, name, out);
		text += len + (text[len] == '}');
	}
}

/* ---- which row it is --------------------------------------------------------------------------------------------------------------------- */

/* Is `text` one of these, separated by '|'? */
static bool fits(const char *patterns, const char *text)
{
	while (true) {
		size_t len = strcspn(patterns, "|");
		bool star = len > 0 && patterns[len - 1] == '*';

		if (star ? strncmp(text, patterns, len - 1) == 0 : strlen(text) == len && strncmp(text, patterns, len) == 0)
			return true;
		if (!patterns[len])
			return false;
		patterns += len + 1;
	}
}

static bool is_cause(const struct cause *c, const struct why_facts *f)
{
	const struct mail_event *m = f->mail;

	if (!c->verdict)
		return c->is(f);
	if (!m->verdict || strcmp(m->verdict, c->verdict) != 0)
		return false;
	return c->reasons[0] == '!' ? fits(c->reasons + 1, m->action ? m->action : "") : fits(c->reasons, m->reason ? m->reason : "");
}

static const struct cause *first(const struct cause *table, size_t n, const struct why_facts *f)
{
	for (size_t i = 0; i < n; i++)
		if (is_cause(&table[i], f))
			return &table[i];
	return NULL;
}

/* The more exact words that an enrollment has for one on its way, and for a certificate out of its time. */
static bool means_the_same(const char *of_mail, const char *of_row)
{
	return strcmp(of_mail, of_row) == 0 ||
	       (strcmp(of_mail, "in-progress") == 0 && (strcmp(of_row, "challenge-awaited") == 0 || strcmp(of_row, "answered") == 0)) ||
	       (strcmp(of_mail, "not-valid") == 0 && (strcmp(of_row, "not-yet-valid") == 0 || strcmp(of_row, "expired") == 0));
}

static void say(struct why_answer *out, const struct cause *c, const struct why_facts *f)
{
	if (out->sentence.len)
		buf_puts(&out->sentence, "  ");
	fill(&out->sentence, c->sentence, f);
	buf_reset(&out->what_to_do);
	fill(&out->what_to_do, c->what_to_do, f);
}

static void about_mail(const struct why_facts *f, struct why_answer *out)
{
	const struct cause *c = first(mail_causes, N(mail_causes), f), *row;

	out->cause = c->word;
	out->signed_ = f->mail->verdict && strcmp(f->mail->verdict, "signed") == 0;
	if (!c->verdict || strcmp(c->verdict, FOLLOWS_UP) != 0 || c->what_to_do[0]) {
		say(out, c, f);
		return;
	}
	row = first(row_causes, N(row_causes), f);
	if (means_the_same(c->word, row->word))
		out->cause = row->word;
	/* Asked for, looked at, refused: to the milter that is two other things, one after the other. */
	if (row_excluded(f) && (strcmp(c->word, "no-enrollment") == 0 || strcmp(c->word, "blocked") == 0))
		out->cause = row->word;
	else
		say(out, c, f);
	say(out, row, f);
}

void why_find(const struct why_facts *f, struct why_answer *out)
{
	const struct cause *c;

	memset(out, 0, sizeof *out);
	if (f->mail) {
		about_mail(f, out);
		return;
	}
	c = first(configuration_causes, N(configuration_causes), f);
	if (!c)
		c = first(row_causes, N(row_causes), f);
	out->cause = c->word;
	out->signed_ = strcmp(c->word, "has-certificate") == 0;
	say(out, c, f);
}

void why_answer_clear(struct why_answer *a)
{
	buf_clear(&a->sentence);
	buf_clear(&a->what_to_do);
}
