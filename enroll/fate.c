/*
 * enroll/fate.c - from delivery reports to one word about the reply.
 *
 * A report is a hint, and of one reply the last word counts: a forged bounce is undone by our own MTA's "relayed", and a server behind the
 * CA's MX may refuse what that one took.  A delay is no last word.
 */
#include "config.h"

#include "enroll/fate.h"

#include <ctype.h>
#include <string.h>

static enum fate_kind kind_of(const struct report *r)
{
	if (strcmp(r->action, "failed") == 0)
		return FATE_BOUNCED;
	return strcmp(r->action, "delayed") == 0 ? FATE_DELAYED : FATE_RELAYED;
}

/* The report that says what became of this challenge's reply; NULL = there is none. */
static const struct report *last_word(const struct report_list *reports, int64_t challenge_id, bool *taken)
{
	const struct report *last = NULL;

	for (size_t i = 0; i < reports->n; i++) {
		const struct report *r = &reports->v[i];

		if (r->challenge_id != challenge_id)
			continue;
		*taken = *taken || kind_of(r) == FATE_RELAYED;
		if (!last || kind_of(r) != FATE_DELAYED || kind_of(last) == FATE_DELAYED)
			last = r;
	}
	return last;
}

/* RFC 5321 section 4.2: three digits, then a blank, a hyphen or the end. */
static int reply_code(const char *s)
{
	if (!s || s[0] < '2' || s[0] > '5' || !isdigit((unsigned char)s[1]) || !isdigit((unsigned char)s[2]) || isalnum((unsigned char)s[3]))
		return 0;
	return (s[0] - '0') * 100 + (s[1] - '0') * 10 + (s[2] - '0');
}

static void describe(const struct report *r, struct fate *f)
{
	static const char *const did[] = {
		[FATE_DELAYED] = "keeps the reply waiting", [FATE_BOUNCED] = "refused the reply", [FATE_RELAYED] = "took the reply"};
	const char *words = r->diagnostic ? r->diagnostic : r->status ? r->status : "it gave no reason";
	char when[32];

	f->kind = kind_of(r);
	f->at = r->received_at;
	f->status = reply_code(r->diagnostic);
	if (f->status)
		snprintf(f->type, sizeof f->type, "smtp-%d", f->status);
	else
		snprintf(f->type, sizeof f->type, "dsn%s%.20s", r->status ? "-" : "", r->status ? r->status : "");
	snprintf(f->server, sizeof f->server, "%s", r->remote ? r->remote : "");
	snprintf(f->text, sizeof f->text, "%s %s at %s: %.600s", *f->server ? f->server : "the mail system", did[f->kind],
		time_text(r->received_at, when), words);
}

bool fate_has_turn(const struct enrollment *row, const struct challenge *c)
{
	const char *address = row->challenge_address ? row->challenge_address : row->addresses.n ? row->addresses.v[0] : "";
	char key[ADDRESS_MAX];

	return !c->recipient || !address_key_of(address, key, NULL) || strcmp(c->recipient, key) == 0;
}

static void weigh(const struct enrollment *row, const struct challenge_list *challenges, const struct report_list *reports, struct fate *f)
{
	for (size_t i = 0; i < challenges->n; i++) {
		if (!fate_has_turn(row, &challenges->v[i]))
			continue;
		const struct report *r = last_word(reports, challenges->v[i].id, &f->taken);

		if (r && kind_of(r) >= f->kind)
			describe(r, f);
	}
	for (size_t i = 0; i < reports->n; i++) {
		f->news = f->news || !reports->v[i].seen;
		if (reports->v[i].id > f->newest)
			f->newest = reports->v[i].id;
	}
}

bool fate_read(struct store *store, const struct enrollment *row, struct fate *out, struct err *err)
{
	struct challenge_list challenges = {0};
	struct report_list reports = {0};
	bool ok;

	memset(out, 0, sizeof *out);
	ok = store_reports_of(store, row->id, row->ordered_at, &reports, err) &&
	     (reports.n == 0 || store_challenges_of(store, row->id, row->ordered_at, &challenges, err));
	if (ok)
		weigh(row, &challenges, &reports, out);
	challenge_list_clear(&challenges);
	report_list_clear(&reports);
	return ok;
}
