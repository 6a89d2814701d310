/*
 * policy/caa.c - does the domain let our CA issue for mail, as seen from one place?  (RFC 8659, 9495, 8657)
 *
 * The CA must check the same before it issues; we check first, so that no order is opened that must fail and the admin reads why,
 * with every record that was read and the line to publish.  Only `issuemail` speaks about mail.  The record set that counts is
 * the one closest to the name, found by taking labels off the left; names are climbed as they were asked for, CNAMEs are the
 * resolver's business.
 *
 * Three answers: allowed, denied, and "nobody knows" for a name server that is silent or broken, which is neither.  An answer with
 * broken DNSSEC signatures is a denial: CAs validate, and somebody may be at work there.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "policy/caa_value.h"

#define RR_TYPE_CAA 257
/* How much of the records is shown; caa_view.text has to hold the rest too. */
#define LIST_MAX 900
#define SHOWN_MAX 200   /* of one value, in a text for people */
#define WHOLE_MAX 65535

/* ---- texts ------------------------------------------------------------------------------------------------------- */

/* DNS bytes as they would stand in a zone file, capped. */
static void put_text(struct buf *out, const struct caa_text *t, size_t most)
{
	size_t shown = t->len > most ? most : t->len;

	for (size_t i = 0; i < shown; i++) {
		unsigned char ch = (unsigned char)t->data[i];

		if (ch == '"' || ch == '\\')
			buf_printf(out, "\\%c", ch);
		else if (ch >= 0x20 && ch < 0x7f)
			buf_putc(out, (char)ch);
		else
			buf_printf(out, "\\%03u", ch);
	}
	if (shown < t->len)
		buf_puts(out, "...");
}

static void put_record(struct buf *out, const struct caa_record *r, size_t most)
{
	buf_printf(out, "%u ", r->flags);
	put_text(out, &r->tag, most);
	buf_puts(out, " \"");
	put_text(out, &r->value, most);
	buf_putc(out, '"');
}

static void put_identities(struct buf *out, const struct strlist *identities)
{
	for (size_t i = 0; i < identities->n && i < 3; i++)
		buf_printf(out, "%s%.100s", i > 0 ? ", " : "", identities->v[i]);
	if (identities->n == 0)
		buf_puts(out, "a CA without a name (set ca.caa-identities)");
}

/* ---- one record set ---------------------------------------------------------------------------------------------- */

enum authorization { AUTHORIZED, NOT_AUTHORIZED, NOT_KNOWN };

static enum authorization judge_parameters(const struct caa_issue *issue, const struct caa_request *req, const char **why)
{
	size_t accounts = 0, methods = 0;
	const struct caa_text *account = NULL, *list = NULL;
	bool included;

	for (size_t i = 0; i < issue->n; i++) {
		if (caa_text_is_nocase(&issue->parameters[i].tag, "accounturi")) {
			account = &issue->parameters[i].value;
			accounts++;
		} else if (caa_text_is_nocase(&issue->parameters[i].tag, "validationmethods")) {
			list = &issue->parameters[i].value;
			methods++;
		}
	}
	*why = "several accounturi or validationmethods in one record can never be satisfied";
	if (accounts > 1 || methods > 1)
		return NOT_AUTHORIZED;
	*why = "accounturi is no URI, which can never be satisfied";
	if (account != NULL && !caa_text_is_uri(account))
		return NOT_AUTHORIZED;
	*why = "validationmethods is malformed, which can never be satisfied";
	if (list != NULL && !caa_methods_include(list, req->method, &included))
		return NOT_AUTHORIZED;
	*why = "names our CA, but not the validation method that we use";
	if (list != NULL && req->method != NULL && !included)
		return NOT_AUTHORIZED;
	*why = "names our CA, but another account";
	if (account != NULL && req->account_uri != NULL && !caa_text_is(account, req->account_uri))
		return NOT_AUTHORIZED;
	*why = "names our CA with conditions that cannot be judged while our account or method is not known";
	if ((account != NULL && req->account_uri == NULL) || (list != NULL && req->method == NULL))
		return NOT_KNOWN;
	*why = "authorizes our CA";
	return AUTHORIZED;
}

static enum authorization judge_issuemail(const struct caa_record *r, const struct caa_request *req, const char **why)
{
	struct caa_issue issue;
	bool ours = false;

	*why = "malformed, so it authorizes nobody";
	if (!caa_issue_parse(&r->value, &issue)) {
		if (r->value.len > 0 && r->value.data[r->value.len - 1] == '.')
			*why = "malformed (no dot may stand at the end of the CA's name), so it authorizes nobody";
		return NOT_AUTHORIZED;
	}
	*why = "authorizes nobody";
	if (issue.issuer.len == 0)
		return NOT_AUTHORIZED;
	for (size_t i = 0; i < req->identities->n && !ours; i++)
		ours = caa_text_is_nocase(&issue.issuer, req->identities->v[i]);
	*why = "names another CA";
	return ours ? judge_parameters(&issue, req, why) : NOT_AUTHORIZED;
}

/* Tags that a CA for mail knows; any other one with the critical flag forbids. */
static bool tag_is_known(const struct caa_text *tag)
{
	return caa_text_is_nocase(tag, "issue") || caa_text_is_nocase(tag, "issuewild") || caa_text_is_nocase(tag, "issuemail") ||
	       caa_text_is_nocase(tag, "iodef");
}

struct tally {
	size_t issuemail, authorized, unknown, forbidding;
};

/* RFC 8659 section 4.4. */
static bool is_report_url(const struct caa_text *value)
{
	static const char *const schemes[] = {"mailto:", "https:", "http:"};

	for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
		if (value->len > strlen(schemes[i]) && strncasecmp(value->data, schemes[i], strlen(schemes[i])) == 0)
			return true;
	return false;
}

static void judge_record(const struct dns_rdata *rdata, const struct caa_request *req, struct tally *t, struct buf *why)
{
	const char *verdict = "does not speak about mail";
	struct caa_record r;

	if (!caa_record_parse(rdata, &r)) {
		/* what it says cannot be known, so it may be a critical one */
		t->forbidding++;
		buf_puts(why, "\n  (unreadable record): forbids, as it cannot be understood");
		return;
	}
	if (caa_text_is_nocase(&r.tag, "issuemail")) {
		enum authorization a = judge_issuemail(&r, req, &verdict);

		t->issuemail++;
		t->authorized += a == AUTHORIZED;
		t->unknown += a == NOT_KNOWN;
	} else if ((r.flags & CAA_CRITICAL) != 0 && !tag_is_known(&r.tag)) {
		t->forbidding++;
		verdict = "unknown and critical, so it forbids";
	} else if (caa_text_is_nocase(&r.tag, "iodef")) {
		verdict = is_report_url(&r.value) ? "where a CA may report" : "no mailto: or https: URL, so nobody can report there";
	}
	buf_puts(why, "\n  ");
	put_record(why, &r, SHOWN_MAX);
	buf_printf(why, ": %s", verdict);
}

enum caa_decision caa_decide(const struct dns_rdata *records, size_t n, const struct caa_request *req, struct buf *why)
{
	struct tally t = {0};
	struct buf list = BUF_INIT, scratch = BUF_INIT;
	size_t hidden = 0;
	enum caa_decision decision = CAA_DENY;

	for (size_t i = 0; i < n; i++) {
		buf_reset(&scratch);
		judge_record(&records[i], req, &t, &scratch);
		if (list.len + scratch.len > LIST_MAX)
			hidden++;
		else
			buf_append(&list, buf_str(&scratch), scratch.len);
	}
	if (n == 0) {
		buf_puts(why, "no CAA record, so any CA may issue");
		decision = CAA_ALLOW;
	} else if (t.forbidding > 0) {
		buf_puts(why, "a CAA record that CAs cannot understand forbids every certificate; remove it or its critical flag");
	} else if (t.issuemail == 0) {
		buf_puts(why, "no issuemail record, so any CA may issue for mail");
		decision = CAA_ALLOW;
	} else if (t.authorized > 0) {
		buf_puts(why, "an issuemail record authorizes ");
		put_identities(why, req->identities);
		decision = CAA_ALLOW;
	} else if (t.unknown > 0) {
		buf_puts(why, "an issuemail record may authorize ");
		put_identities(why, req->identities);
		decision = CAA_UNKNOWN;
	} else {
		buf_puts(why, "no issuemail record authorizes ");
		put_identities(why, req->identities);
	}
	if (n > 0)
		buf_puts(why, "; records read:");
	buf_append(why, buf_str(&list), list.len);
	if (hidden > 0)
		buf_printf(why, "\n  ... and %zu more", hidden);
	buf_clear(&list);
	buf_clear(&scratch);
	return decision;
}

/* ---- look-up ----------------------------------------------------------------------------------------------------- */

const char *caa_security_text(enum dns_security s)
{
	return s == DNS_SECURE ? "DNSSEC secure" : s == DNS_BOGUS ? "DNSSEC bogus" : "without DNSSEC";
}

static int compare_rdata(const void *a, const void *b)
{
	const struct dns_rdata *x = a, *y = b;
	int order = memcmp(x->data, y->data, x->len < y->len ? x->len : y->len);

	return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

static bool keep_records(struct caa_view *view, const struct dns_answer *answer)
{
	struct buf text = BUF_INIT;
	struct caa_record r;
	bool ok = true;

	for (size_t i = 0; ok && i < answer->n; i++) {
		bool readable = caa_record_parse(&answer->rdata[i], &r);

		buf_reset(&text);
		if (readable)
			put_record(&text, &r, WHOLE_MAX);
		else
			buf_puts(&text, "(unreadable record)");
		ok = !text.failed && strlist_add(&view->records, buf_str(&text));
		if (!ok || !readable || !caa_text_is_nocase(&r.tag, "iodef") || !is_report_url(&r.value))
			continue;
		buf_reset(&text);
		put_text(&text, &r.value, SHOWN_MAX);
		ok = !text.failed && strlist_add(&view->iodef, buf_str(&text));
	}
	buf_clear(&text);
	return ok;
}

/* Name servers give the records of a set in any order, by turns; what is told of them stays the same. */
static void decide_at(
	const char *name, struct dns_answer *answer, const struct caa_request *req, struct caa_view *view, struct buf *text)
{
	qsort(answer->rdata, answer->n, sizeof *answer->rdata, compare_rdata);
	snprintf(view->found_at, sizeof view->found_at, "%s", name);
	snprintf(view->owner, sizeof view->owner, "%s", answer->canonical ? answer->canonical : name);
	if (view->owner[0] && view->owner[strlen(view->owner) - 1] == '.')
		view->owner[strlen(view->owner) - 1] = '\0';
	view->security = answer->security;
	buf_printf(text, "CAA of %s (", name);
	if (strcasecmp(view->owner, name) != 0)
		buf_printf(text, "an alias of %s; ", view->owner);
	buf_printf(text, "%s): ", caa_security_text(answer->security));
	view->decision = caa_decide(answer->rdata, answer->n, req, text);
	if (!keep_records(view, answer))
		view->decision = CAA_UNKNOWN;
}

static void decide_failed(const char *name, const struct dns_answer *answer, struct caa_view *view, struct buf *text)
{
	view->security = answer->security;
	view->decision = answer->security == DNS_BOGUS ? CAA_DENY : CAA_UNKNOWN;
	if (answer->security == DNS_BOGUS)
		buf_printf(text, "CAA of %s: its DNSSEC signatures are broken (DNSSEC bogus), and CAs must refuse then; repair the zone's signatures (%s)",
			name, answer->why);
	else
		buf_printf(text,
			"CAA of %s could not be looked up: %s; this is neither yes nor no and is tried again; look at the zone's name "
			"servers if it "
			"stays",
			name, answer->why);
}

/* From the name up to its top-level domain; true when a decision was made on the way. */
static bool climb(struct dns *dns, const char *domain, int64_t deadline, const struct caa_request *req, struct caa_view *view, struct buf *text)
{
	const char *next;

	view->security = DNS_SECURE;
	for (const char *name = domain; name != NULL; name = next) {
		struct dns_answer answer;
		bool decided = true;

		memset(&answer, 0, sizeof answer);
		next = strchr(name, '.');
		next = next != NULL && next[1] != 0 ? next + 1 : NULL;
		dns_query(dns, name, RR_TYPE_CAA, 0, &answer);
		if (name == domain || answer.ttl < view->ttl)
			view->ttl = answer.ttl;
		if (answer.security != DNS_SECURE)
			view->security = DNS_INSECURE;
		if (answer.status == DNS_FAILED)
			decide_failed(name, &answer, view, text);
		else if (answer.status == DNS_FOUND && answer.n > 0)
			decide_at(name, &answer, req, view, text);
		else
			decided = false;
		dns_answer_clear(&answer);
		if (decided)
			return true;
		if (next != NULL && mono_ms() > deadline) {
			view->decision = CAA_UNKNOWN;
			buf_printf(text, "CAA of %s: no answer in time while going up from %s; it is tried again", next, domain);
			return true;
		}
	}
	return false;
}

void caa_look(struct dns *dns, const char *domain, int64_t deadline, const struct caa_request *req, struct caa_view *view)
{
	struct buf text = BUF_INIT;

	if (!climb(dns, domain, deadline, req, view, &text)) {
		view->decision = CAA_ALLOW;
		buf_printf(&text, "no CAA record at %s or above (%s), so any CA may issue for mail", domain, caa_security_text(view->security));
	}
	snprintf(view->text, sizeof view->text, "%s", buf_str(&text));
	buf_clear(&text);
}
