/*
 * enroll/problem.c - problem documents become errors.
 *
 * "invalid" and nothing else is what admins of other systems complain about most; so everything a CA says is kept: type, detail,
 * each subproblem with the identifier it is about.  What it says is a stranger's text and is made printable.
 */
#include "config.h"

#include "enroll/problem.h"

#include <string.h>

#define ACME_PREFIX "urn:ietf:params:acme:error:"
#define WORDS_MAX ((size_t)980)
#define SUBPROBLEMS_MAX 100
#define IDENTIFIERS_TOLD 8
#define IDENTIFIER_MAX 320

static const struct problem_row rows[] = {
	{"accountDoesNotExist", ERR_CONFIG, "The CA does not know the account of ca.account-key; run `enrollctl init`."},
	{"alreadyReplaced", ERR_TEMPORARY, NULL},
	{"alreadyRevoked", ERR_CA, NULL},
	{"autoRenewalCanceled", ERR_CA, NULL},
	{"autoRenewalExpired", ERR_CA, NULL},
	{"badCSR", ERR_CA, "The CA does not take this certificate request; compare certificate.key-type, usage and the profile with what it offers."},
	{"badNonce", ERR_TEMPORARY, NULL},
	{"badPublicKey", ERR_CONFIG, "The CA does not take this kind of key; see ca.account-key-type and certificate.key-type."},
	{"badRevocationReason", ERR_CA, NULL},
	{"badSignatureAlgorithm", ERR_CONFIG, "The CA does not take this kind of account key; see ca.account-key-type."},
	{"caa", ERR_CA, "CAA records in DNS keep this CA from issuing."},
	{"compound", ERR_CA, NULL},
	{"connection", ERR_TEMPORARY, NULL},
	{"dns", ERR_TEMPORARY, NULL},
	{"externalAccountRequired", ERR_CONFIG, "This CA wants accounts bound to a contract: put what it gave you into ca.eab."},
	{"incorrectResponse", ERR_CA, "The reply that reached the CA was not the one expected; see ca.token-join, and whether something on the way alters mail."},
	{"invalidContact", ERR_CONFIG, "See ca.contact."},
	{"invalidProfile", ERR_CONFIG, "See ca.profile."},
	{"malformed", ERR_CA, NULL},
	{"orderNotReady", ERR_TEMPORARY, NULL},
	{"rateLimited", ERR_TEMPORARY, NULL},
	{"rejectedIdentifier", ERR_CA, "The CA does not issue for this address."},
	{"serverInternal", ERR_TEMPORARY, NULL},
	{"tls", ERR_TEMPORARY, NULL},
	{"unauthorized", ERR_CA, NULL},
	{"unsupportedContact", ERR_CONFIG, "See ca.contact."},
	{"unsupportedIdentifier", ERR_CONFIG, "This CA does not issue for this type of identifier; see ca.identifier-type."},
	{"userActionRequired", ERR_CONFIG, "Visit the URL the CA names, then `enrollctl retry`."},
	{NULL, ERR_TEMPORARY, NULL},
};

const struct problem_row *problem_rows(void)
{
	return rows;
}

const struct problem_row *problem_row(const char *type)
{
	const struct problem_row *row = rows;

	while (row->type && strcmp(row->type, type) != 0)
		row++;
	return row;
}

const char *problem_short_type(const char *type)
{
	size_t n = strlen(ACME_PREFIX);

	return strncmp(type, ACME_PREFIX, n) == 0 ? type + n : type;
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

/* Cut at a character: half of one would make the whole text useless for JSON. */
static void words_cut(struct buf *b, size_t max)
{
	if (b->len <= max)
		return;
	for (b->len = max; b->len > 0 && ((unsigned char)b->data[b->len] & 0xc0) == 0x80;)
		b->len--;
	b->data[b->len] = '\0';
}

/* Types are URIs: ASCII. */
static void type_copy(struct err *err, const char *type)
{
	size_t i;

	if (!err)
		return;
	for (i = 0; type[i] && i < sizeof err->type - 1; i++)
		err->type[i] = type[i] > ' ' && type[i] < 127 ? type[i] : '?';
	err->type[i] = '\0';
}

static void put_printable(struct buf *out, const char *s)
{
	for (; *s; s++)
		buf_putc(out, (unsigned char)*s < ' ' || *s == 127 ? ' ' : *s);
}

static void put_one(const json_t *problem, struct buf *out)
{
	const char *detail = text_of(problem, "detail"), *type = text_of(problem, "type"), *title = text_of(problem, "title");

	if (!detail || !*detail)
		detail = title && *title ? title : "no details given";
	put_printable(out, detail);
	if (type && *type) {
		buf_puts(out, " (");
		put_printable(out, problem_short_type(type));
		buf_putc(out, ')');
	}
}

void problem_words(const json_t *problem, struct buf *out)
{
	const json_t *list = json_object_get(problem, "subproblems"), *sub;
	const char *who;

	put_one(problem, out);
	for (size_t i = 0; i < json_array_size(list) && i < SUBPROBLEMS_MAX; i++) {
		sub = json_array_get(list, i);
		who = text_of(json_object_get(sub, "identifier"), "value");
		buf_puts(out, "; ");
		if (who) {
			buf_puts(out, "for ");
			put_printable(out, who);
			buf_puts(out, ": ");
		}
		put_one(sub, out);
	}
}

/* ---- errors ------------------------------------------------------------------------------------------------------ */

/* `words` are the CA's; the advice must not be what is cut off when they are long. */
static void fill(struct err *err, enum err_class class, const char *op, const char *url, long status, const char *type, struct buf *words,
	const char *advice)
{
	words_cut(words, WORDS_MAX - (advice ? strlen(advice) : 0));
	err_set(err, class, op, url, "the CA says: %s%s%s", buf_str(words), advice ? ". " : "", advice ? advice : "");
	if (err)
		err->status = (int)status;
	type_copy(err, type);
}

/* No problem document: a proxy, a maintenance page, a server that is no ACME server. */
static void fill_bare(const struct http_response *r, const char *op, const char *url, struct err *err)
{
	char status[24];
	bool busy = r->status >= 500 || r->status == 429 || r->status == 408;

	err_set(err, ERR_TEMPORARY, op, url, "the CA's server answered HTTP status %ld without saying why%s", r->status,
		busy ? "" : "; is ca.directory-url right, and is there a proxy on the way?");
	snprintf(status, sizeof status, "http-%ld", r->status);
	if (err)
		err->status = (int)r->status;
	type_copy(err, status);
}

/* RFC 8555 section 7.3.3: terms that changed come as a link, and the page where to agree as "instance". */
static void put_action(const struct http_response *r, const char *instance, struct buf *words)
{
	struct strlist terms = {0};

	if (r->url && http_links(&r->links, "terms-of-service", r->url, 1, &terms) && terms.n)
		buf_printf(words, "; its terms of service have changed: read %s", terms.v[0]);
	if (instance) {
		buf_puts(words, terms.n ? ", and agree at " : ", see ");
		put_printable(words, instance);
	}
	strlist_clear(&terms);
}

static void fill_problem(const struct http_response *r, const json_t *problem, const char *op, const char *url, struct err *err)
{
	const char *type = text_of(problem, "type"), *instance = text_of(problem, "instance");
	const struct problem_row *row;
	struct buf words = BUF_INIT;

	type = problem_short_type(type ? type : "");
	row = problem_row(type);
	problem_words(problem, &words);
	if (strcmp(type, "userActionRequired") == 0)
		put_action(r, instance, &words);
	fill(err, row->class, op, url, r->status, type, &words, row->advice);
	buf_clear(&words);
}

/* NULL when the answer is no problem document. */
static json_t *problem_of(const struct http_response *r)
{
	json_t *problem = NULL;

	/* Some servers label them application/json; what looks like a problem is read as one. */
	if (r->content_type && (strcmp(r->content_type, "application/problem+json") == 0 || strcmp(r->content_type, "application/json") == 0))
		problem = json_loadb(buf_str(&r->body), r->body.len, 0, NULL);
	if (text_of(problem, "type") || text_of(problem, "detail") || text_of(problem, "title"))
		return problem;
	json_decref(problem);
	return NULL;
}

bool problem_from_answer(const struct http_response *r, const char *op, const char *url, time_t now, struct err *err)
{
	json_t *problem = problem_of(r);

	if (problem)
		fill_problem(r, problem, op, url, err);
	else
		fill_bare(r, op, url, err);
	if (err)
		err->retry_at = http_retry_after(r->retry_after, now);
	json_decref(problem);
	return false;
}

static bool identifier_plain(const char *s)
{
	size_t n = 0;

	while (s && s[n] > ' ' && s[n] < 127)
		n++;
	return s && n > 0 && n < IDENTIFIER_MAX && s[n] == '\0';
}

char *problem_identifiers(const struct http_response *r)
{
	json_t *problem = problem_of(r);
	const json_t *list = json_object_get(problem, "subproblems");
	struct buf names = BUF_INIT;
	const char *name;
	size_t n = 0;

	for (size_t i = 0; i < json_array_size(list) && n < IDENTIFIERS_TOLD; i++) {
		name = text_of(json_object_get(json_array_get(list, i), "identifier"), "value");
		if (identifier_plain(name))
			buf_printf(&names, "%s%s", n++ ? " " : "", name);
	}
	json_decref(problem);
	if (n)
		return buf_take(&names);
	buf_clear(&names);
	return NULL;
}

bool problem_from_objects(const json_t *challenge_error, const json_t *order_error, const char *op, const char *url, long status,
	struct err *err)
{
	const json_t *first = challenge_error ? challenge_error : order_error;
	const char *type = text_of(first, "type");
	const struct problem_row *row;
	struct buf words = BUF_INIT;

	type = problem_short_type(type ? type : "");
	row = problem_row(type);
	problem_words(first, &words);
	if (challenge_error && order_error && !json_equal(challenge_error, order_error)) {
		buf_puts(&words, "; of the order: ");
		problem_words(order_error, &words);
	}
	fill(err, ERR_CA, op, url, status, type, &words, row->class == ERR_CA ? row->advice : NULL);
	buf_clear(&words);
	return false;
}
