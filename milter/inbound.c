/*
 * inbound.c - is this mail the challenge of a CA, and is it genuine (inbound.h).
 *
 * Everything that is believed later has to stand in the header exactly once: a second From or Subject above the signed one is shown by
 * some programs and not covered by the signature.  The body is for people and is never read for meaning.
 */
#include "config.h"

#include "milter/inbound.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "milter/dkim.h"
#include "milter/smime.h"

#define TOKEN_MIN 22 /* base64 characters: 132 bits, the first length that holds the 128 of RFC 8823 section 3.1 */
#define TOKEN_MAX 512
#define MESSAGE_ID_MAX 900
#define DKIM_DEADLINE_MS 5000
#define AR_MAX 8192

/* ---- is it a candidate ----------------------------------------------------------------------------------------------- */

void candidate_clear(struct candidate *c)
{
	challenge_clear(&c->challenge);
	strlist_clear(&c->to);
	memset(c, 0, sizeof(*c));
}

/* What follows "ACME:" in the decoded Subject, appended to `text`; NULL when it does not begin so. */
static const char *subject_token(const char *value, struct buf *text)
{
	const char *p;

	buf_reset(text);
	if (!mime_decode_text(text, value))
		return NULL;
	p = buf_str(text) + strspn(buf_str(text), " \t\r\n");
	return strncmp(p, "ACME:", 5) == 0 ? p + 5 : NULL;
}

bool inbound_is_candidate(const struct headers *h)
{
	struct buf text = BUF_INIT;
	const char *value;
	bool found = false;

	/* Any of several: that there may be only one is for inbound_parse to say. */
	for (size_t i = 0; !found && (value = headers_get(h, "Subject", i)) != NULL; i++)
		found = subject_token(value, &text) != NULL;
	buf_clear(&text);
	return found;
}

/* ---- what it says ---------------------------------------------------------------------------------------------------- */

static bool no(char why[256], const char *text)
{
	snprintf(why, 256, "%s", text);
	return false;
}

/* Token-part1: white space inside is to be ignored, folding puts it there.  Either base64 alphabet, but not both, padding at the end only.
 */
static char *read_token(const char *text)
{
	struct buf token = BUF_INIT;
	bool url = false, plain = false, padding = false, bad = false;
	size_t n = 0;

	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
			continue;
		url |= c == '-' || c == '_';
		plain |= c == '+' || c == '/';
		bad |= padding && c != '=';
		padding |= c == '=';
		bad |= c > 127 || (!isalnum(c) && strchr("-_+/=", c) == NULL);
		n += c != '=';
		buf_putc(&token, (char)c);
	}
	if (bad || (url && plain) || n < TOKEN_MIN || token.len > TOKEN_MAX || token.len - n > 2) {
		buf_clear(&token);
		return NULL;
	}
	return buf_take(&token);
}

static bool parse_subject(const struct headers *h, struct challenge *out, char why[256])
{
	struct buf text = BUF_INIT;
	const char *token;

	if (headers_count(h, "Subject") != 1)
		return no(why, "more than one Subject");
	token = subject_token(headers_get(h, "Subject", 0), &text);
	if (token != NULL)
		out->token_part1 = read_token(token);
	buf_clear(&text);
	return out->token_part1 != NULL || no(why, "no token of at least 128 bits in the Subject");
}

/* The only address of a field that may be there once; NULL when that does not hold. */
static char *one_address(const struct headers *h, const char *name)
{
	struct strlist found = {0};
	char *address = NULL;

	if (headers_count(h, name) == 1 && mime_addresses(&found, headers_get(h, name, 0)) && found.n == 1)
		address = str_dup(found.v[0]);
	strlist_clear(&found);
	return address;
}

static bool parse_addresses(const struct headers *h, struct candidate *out, char why[256])
{
	out->challenge.from = one_address(h, "From");
	if (out->challenge.from == NULL)
		return no(why, "not exactly one From with one address");
	if (headers_count(h, "To") != 1 || !mime_addresses(&out->to, headers_get(h, "To", 0)))
		return no(why, "not exactly one To with addresses");
	if (headers_count(h, "Reply-To") == 0)
		return true;
	out->challenge.reply_to = one_address(h, "Reply-To");
	return out->challenge.reply_to != NULL || no(why, "not exactly one Reply-To with one address");
}

/* It goes into In-Reply-To and References as it is, so it has to be one word of printable US-ASCII in brackets. */
static bool parse_message_id(const struct headers *h, struct challenge *out, char why[256])
{
	const char *value = headers_get(h, "Message-ID", 0);
	size_t len;

	if (headers_count(h, "Message-ID") != 1)
		return no(why, "not exactly one Message-ID");
	value += strspn(value, " \t\r\n");
	len = strlen(value);
	while (len > 0 && strchr(" \t\r\n", value[len - 1]) != NULL)
		len--;
	if (len < 5 || len > MESSAGE_ID_MAX || value[0] != '<' || value[len - 1] != '>')
		return no(why, "a Message-ID that cannot be answered");
	for (size_t i = 1; i < len - 1; i++) {
		if (value[i] <= ' ' || value[i] > '~' || value[i] == '<' || value[i] == '>')
			return no(why, "a Message-ID that cannot be answered");
	}
	out->message_id = strndup(value, len);
	return out->message_id != NULL || no(why, "out of memory");
}

/* RFC 3834 section 5: a keyword, then parameters (type=acme should be there) or a comment. */
static bool is_auto_generated(const struct headers *h)
{
	static const char word[] = "auto-generated";
	const char *value = headers_get(h, "Auto-Submitted", 0);

	if (headers_count(h, "Auto-Submitted") != 1)
		return false;
	value += strspn(value, " \t\r\n");
	if (strncasecmp(value, word, sizeof(word) - 1) != 0)
		return false;
	value += sizeof(word) - 1;
	return *value == '\0' || strchr("; \t\r\n(", *value) != NULL;
}

/* Its Auto-Submitted may stand among what S/MIME protects, and nowhere else. */
static bool may_say_more(const struct ca_config *ca, const struct headers *h)
{
	return ca->authentication == CHALLENGE_DKIM_OR_SMIME && ca->challenge_anchor_file != NULL && smime_looks_signed(h);
}

static bool says_enough(const struct ca_config *ca, const struct candidate *cand, char why[256])
{
	return cand->auto_submitted || !ca->require_auto_submitted || no(why, "no Auto-Submitted: auto-generated");
}

bool inbound_parse(const struct config *c, const struct headers *h, struct candidate *out, char why[256])
{
	memset(out, 0, sizeof(*out));
	why[0] = '\0';
	if (!parse_subject(h, &out->challenge, why) || !parse_addresses(h, out, why) || !parse_message_id(h, &out->challenge, why))
		return false;
	if (headers_count(h, "Date") != 1 || !mime_date(headers_get(h, "Date", 0), &out->challenge.date))
		return no(why, "not exactly one Date");
	out->auto_submitted = is_auto_generated(h);
	/* Whose challenge it is shows later: now it is enough that one CA might send it. */
	for (size_t i = 0; i < config_cas(c); i++)
		if (may_say_more(config_ca_at(c, i), h) || says_enough(config_ca_at(c, i), out, why))
			return true;
	return false;
}

/* ---- is it genuine --------------------------------------------------------------------------------------------------- */

static bool in_networks(const struct ca_config *ca, const char *client_ip)
{
	for (size_t i = 0; i < ca->n_challenge_networks; i++) {
		if (network_contains(&ca->challenge_networks[i], client_ip))
			return true;
	}
	return false;
}

static bool domain_of(const char *address, char out[256])
{
	struct address a;

	if (address == NULL || !address_parse(&a, address, NULL))
		return false;
	snprintf(out, 256, "%s", a.domain);
	return true;
}

/* d= values that will do: From's domain, and those the configuration names. */
static bool accepted_domains(const struct ca_config *ca, const struct candidate *cand, struct strlist *out, char from[256])
{
	char domain[256];

	if (!domain_of(cand->challenge.from, from) || !strlist_add(out, from))
		return false;
	for (size_t i = 0; i < ca->challenge_domains.n; i++) {
		if (domain_canonical(ca->challenge_domains.v[i], domain) && !strlist_add(out, domain))
			return false;
	}
	return true;
}

/* Strangers must not be able to make our MX answer 451 at will. */
static bool worth_asking_again(const struct strlist *accepted, const struct candidate *cand, const char *from)
{
	char awaited[256];

	if (domain_of(cand->awaited_from, awaited) && strcmp(awaited, from) == 0)
		return true;
	for (size_t i = 1; i < accepted->n; i++) { /* the first is From's own */
		if (strcmp(accepted->v[i], from) == 0)
			return true;
	}
	return false;
}

static enum authentic by_dkim(struct dns *dns, const struct config *c, const struct headers *h, const struct spool *body,
	const struct candidate *cand, const struct strlist *accepted, const char *from, char how[256])
{
	static const char *const covered[] = {"From", "Subject", "To", "Date", "Message-ID", "Reply-To", "Auto-Submitted", NULL};
	struct dkimcheck_request request = {
		.domains = accepted, .covered = covered, .deadline_ms = c->dns.deadline_ms ? c->dns.deadline_ms : DKIM_DEADLINE_MS};

	switch (dkimcheck(dns, h, body, &request, how)) {
	case DKIMCHECK_PASS:
		return AUTHENTIC_YES;
	case DKIMCHECK_UNKNOWN:
		return worth_asking_again(accepted, cand, from) ? AUTHENTIC_ASK_AGAIN : AUTHENTIC_NO;
	case DKIMCHECK_FAIL:
		break;
	}
	return AUTHENTIC_NO;
}

/* What it says is what is protected; the outer fields only had to agree.  An old mail can be sent again, but not be made younger: without
 * a protected Date the time of the signature counts. */
static bool believe_protected(const struct config *c, const struct smime_proof *proof, struct candidate *cand, char why[256])
{
	struct candidate inner;
	const char *awaited_from = cand->awaited_from;
	bool ok = inbound_parse(c, &proof->fields, &inner, why);

	if (ok && !proof->date_protected && proof->signed_at == 0)
		ok = no(why, "Date is not protected, and the signature does not say when it was made");
	if (ok && !proof->date_protected)
		inner.challenge.date = proof->signed_at;
	if (!ok) {
		candidate_clear(&inner);
		return false;
	}
	candidate_clear(cand);
	*cand = inner;
	cand->awaited_from = awaited_from;
	cand->message_id_free = !proof->message_id_protected;
	return true;
}

static enum authentic by_smime(const struct config *c, X509_STORE *anchors, const struct headers *h, const struct spool *body,
	const struct strlist *accepted, const char *from, struct candidate *cand, char how[256])
{
	struct smime_proof proof = {0};
	enum authentic result = AUTHENTIC_NO;
	char why[256];

	if (anchors == NULL) {
		no(how, "no anchors are configured (ca.challenge-anchor-file)");
		return AUTHENTIC_NO;
	}
	switch (smimecheck(h, body, anchors, cand->challenge.from, &proof, how)) {
	case SMIMECHECK_PASS:
		if (believe_protected(c, &proof, cand, why))
			result = AUTHENTIC_YES;
		else
			snprintf(how, 256, "%s", why);
		break;
	case SMIMECHECK_UNKNOWN:
		if (worth_asking_again(accepted, cand, from))
			result = AUTHENTIC_ASK_AGAIN;
		break;
	case SMIMECHECK_FAIL:
		break;
	}
	smime_proof_clear(&proof);
	return result;
}

/* Either is enough.  DKIM first: it covers more of what CAs send, Reply-To above all. */
static enum authentic by_signature(const struct config *c, struct dns *dns, X509_STORE *anchors, const struct headers *h, struct spool *body,
	const struct strlist *accepted, const char *from, struct candidate *cand, char how[256])
{
	char dkim_how[256], smime_how[256];
	enum authentic dkim = by_dkim(dns, c, h, body, cand, accepted, from, dkim_how), smime;

	snprintf(how, 256, "%s", dkim_how);
	if (dkim == AUTHENTIC_YES || !smime_looks_signed(h))
		return dkim;
	smime = by_smime(c, anchors, h, body, accepted, from, cand, smime_how);
	if (smime == AUTHENTIC_YES)
		snprintf(how, 256, "%s", smime_how);
	else
		snprintf(how, 256, "smime: %.150s; %.90s", smime_how, dkim_how);
	return smime == AUTHENTIC_NO ? dkim : smime;
}

/* ---- Authentication-Results (RFC 8601) ------------------------------------------------------------------------------- */

/* The value without comments; line ends become blanks.  Quoted strings are kept as they are. */
static bool without_comments(const char *value, char out[AR_MAX])
{
	size_t n = 0, depth = 0;
	bool quoted = false;

	for (const char *p = value; *p != '\0'; p++) {
		if (n + 3 > AR_MAX)
			return false;
		if (depth == 0 && *p == '"')
			quoted = !quoted;
		if (!quoted && *p == '(')
			depth++;
		else if (!quoted && *p == ')' && depth > 0)
			depth--;
		else if (depth == 0)
			out[n++] = isspace((unsigned char)*p) ? ' ' : *p;
		if (*p == '\\' && p[1] != '\0') {
			p++;
			if (depth == 0)
				out[n++] = *p;
		}
	}
	out[n] = '\0';
	return depth == 0 && !quoted;
}

/* One word or quoted string, lower case, with what follows it up to `stop` characters skipped. */
static void next_word(const char **p, const char *stops, char out[256])
{
	size_t n = 0;
	bool quoted;

	*p += strspn(*p, " ");
	quoted = **p == '"';
	*p += quoted;
	for (; **p != '\0' && (quoted ? **p != '"' : strchr(stops, **p) == NULL); (*p)++) {
		if (n < 255)
			out[n++] = (char)tolower((unsigned char)**p);
	}
	*p += quoted && **p == '"';
	*p += strspn(*p, " ");
	out[n] = '\0';
}

/* "dkim=pass reason="..." header.d=ca.example header.s=x": is it a pass of an accepted domain? */
static bool result_passes(const char *text, const struct strlist *accepted, char domain[256])
{
	char name[256], value[256], canonical[256];
	bool first = true, found = false;

	while (*text != '\0') {
		next_word(&text, " =", name);
		if (*text != '=')
			return false;
		text++;
		next_word(&text, " ", value);
		if (first && (strcmp(name, "dkim") != 0 || strcmp(value, "pass") != 0))
			return false;
		first = false;
		if (strcmp(name, "header.d") == 0 && domain_canonical(value, canonical) && strlist_has_nocase(accepted, canonical)) {
			snprintf(domain, 256, "%s", canonical);
			found = true;
		}
	}
	return found;
}

/* Cut at the next semicolon outside of quotes. */
static char *cut_result(char **rest)
{
	char *start = *rest, *p = start;
	bool quoted = false;

	for (; *p != '\0' && (quoted || *p != ';'); p++) {
		if (*p == '\\' && quoted && p[1] != '\0')
			p++;
		else if (*p == '"')
			quoted = !quoted;
	}
	*rest = *p == ';' ? p + 1 : NULL;
	*p = '\0';
	return start;
}

/* The topmost field of that authserv-id is the relay's own; what is below may have come with the mail. */
static bool authserv_says_pass(const struct headers *h, const char *authserv_id, const struct strlist *accepted, char how[256])
{
	char text[AR_MAX], id[256], domain[256];
	const char *value, *p;
	char *rest;

	for (size_t i = 0; (value = headers_get(h, "Authentication-Results", i)) != NULL; i++) {
		if (!without_comments(value, text))
			continue;
		rest = text;
		p = cut_result(&rest);
		next_word(&p, " ", id);
		if (!str_eq_nocase(id, authserv_id))
			continue;
		while (rest != NULL) {
			if (result_passes(cut_result(&rest), accepted, domain)) {
				snprintf(how, 256, "authserv-id %.100s dkim d=%.100s", authserv_id, domain);
				return true;
			}
		}
		return no(how, "the relay's Authentication-Results has no dkim=pass of the domain it claims to be from");
	}
	return no(how, "no Authentication-Results of the configured authserv-id");
}

/* ---- which way ------------------------------------------------------------------------------------------------------- */

static enum authentic by_network(
	const struct ca_config *ca, const struct headers *h, const struct strlist *accepted, const char *client_ip, char how[256])
{
	if (!in_networks(ca, client_ip)) {
		snprintf(how, 256, "it came from %.64s, which is not in challenge-networks", client_ip);
		return AUTHENTIC_NO;
	}
	if (ca->authentication == CHALLENGE_AUTHSERV_ID)
		return ca->authserv_id != NULL && authserv_says_pass(h, ca->authserv_id, accepted, how) ? AUTHENTIC_YES : AUTHENTIC_NO;
	snprintf(how, 256, "network %.64s", client_ip);
	return AUTHENTIC_YES;
}

enum authentic inbound_authenticate(const struct config *c, const struct ca_config *ca, struct dns *dns, X509_STORE *anchors, const struct headers *h, struct spool *body,
	struct candidate *cand, const char *client_ip, char how[256])
{
	struct strlist accepted = {0};
	char from[256];
	enum authentic result = AUTHENTIC_NO;

	how[0] = '\0';
	if (!accepted_domains(ca, cand, &accepted, from))
		snprintf(how, 256, "its From cannot be read");
	else if (ca->authentication == CHALLENGE_DKIM_OR_SMIME)
		result = by_signature(c, dns, anchors, h, body, &accepted, from, cand, how);
	else
		result = by_network(ca, h, &accepted, client_ip, how);
	strlist_clear(&accepted);
	return result != AUTHENTIC_YES || says_enough(ca, cand, how) ? result : AUTHENTIC_NO;
}

bool inbound_dkim_by(struct dns *dns, const struct headers *h, const struct spool *body, const char *domain, char how[256])
{
	static const char *const covered[] = {"From", "Subject", "Date", "Message-ID", "Content-Type", "Content-Transfer-Encoding", NULL};
	struct strlist domains = {0};
	struct dkimcheck_request request = {.domains = &domains, .covered = covered, .deadline_ms = DKIM_DEADLINE_MS};
	char canonical[256];
	bool ok = false;

	if (!domain_canonical(domain, canonical) || !strlist_add(&domains, canonical))
		snprintf(how, 256, "the domain to be proven cannot be read");
	else
		ok = dkimcheck(dns, h, body, &request, how) == DKIMCHECK_PASS;
	strlist_clear(&domains);
	return ok;
}
