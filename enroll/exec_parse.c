/*
 * enroll/exec_parse.c - what the admin's program answers: one JSON object.
 *
 * A program that was written in an afternoon gets types, names and encodings wrong, so every error says which member it was and what stood
 * there.  Unknown members are let be: a program may answer more than we ask.
 */
#include "config.h"

#include "enroll/exec.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "enroll/acme.h"
#include "enroll/member.h"

#define RETRY_MOST (7 * 86400L)
#define IDENTITIES_MAX 20

static const char *const action_names[EXEC_ACTIONS] = {"check", "request", "poll", "revoke", "renewal-info"};

const char *exec_action_name(enum exec_action action)
{
	return action_names[action];
}

/* Which answers fit which question. */
#define IS(action) (1U << (action))
static const struct {
	const char *name;
	enum exec_status status;
	unsigned fits;
} statuses[] = {
	{"ok", EXEC_OK, IS(EXEC_CHECK)},
	{"pending", EXEC_PENDING, IS(EXEC_REQUEST) | IS(EXEC_POLL)},
	{"issued", EXEC_ISSUED, IS(EXEC_REQUEST) | IS(EXEC_POLL)},
	{"revoked", EXEC_REVOKED, IS(EXEC_REVOKE)},
	{"renewal", EXEC_RENEWAL, IS(EXEC_RENEWAL_INFO)},
	{"unsupported", EXEC_UNSUPPORTED, IS(EXEC_REVOKE) | IS(EXEC_RENEWAL_INFO)},
};
#define N_STATUSES (sizeof statuses / sizeof *statuses)

static const struct {
	const char *name;
	enum err_class class;
} classes[] = {{"temporary", ERR_TEMPORARY}, {"ca", ERR_CA}, {"policy", ERR_POLICY}, {"config", ERR_CONFIG}};
#define N_CLASSES (sizeof classes / sizeof *classes)

struct reading {
	enum exec_action action;
	time_t now;
	struct member_source from;
};

void exec_answer_clear(struct exec_answer *a)
{
	free(a->state);
	free(a->chain);
	free(a->terms);
	free(a->account_uri);
	strlist_clear(&a->caa_identities);
	memset(a, 0, sizeof *a);
}

/* ---- errors -------------------------------------------------------------------------------------------------------- */

static void printable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 127)
			*text = ' ';
}

static bool no_memory(const struct reading *r)
{
	return err_nomem(r->from.err, r->from.op);
}

/* ---- members ------------------------------------------------------------------------------------------------------- */

static bool copy_of(const struct reading *r, const json_t *o, const char *name, char **out)
{
	const char *text;

	if (!member_string(&r->from, o, name, MEMBER_OPTIONAL, &text))
		return false;
	if (text && !text_is_one_line(text))
		return member_wrong(&r->from, "\"%s\" has a control character", name);
	*out = str_dup(text);
	return !text || *out || no_memory(r);
}

/* Nothing, or seconds: rounded up, and no longer than a week, so that a slip of the pen does not stop an enrollment for years. */
static bool retry_of(const struct reading *r, const json_t *o, long *out)
{
	const json_t *v;
	double seconds;

	*out = 0;
	if (!member_number(&r->from, o, "retry_after", MEMBER_OPTIONAL, &v))
		return false;
	if (!v)
		return true;
	seconds = json_number_value(v);
	if (!(seconds >= 0))
		return member_wrong(&r->from, "\"retry_after\" is negative");
	*out = seconds > (double)RETRY_MOST ? RETRY_MOST : (long)seconds + (seconds > (double)(long)seconds);
	return true;
}

static bool time_of(const struct reading *r, const json_t *o, const char *name, time_t *out)
{
	const char *text;

	if (!member_string(&r->from, o, name, MEMBER_REQUIRED, &text))
		return false;
	return time_parse(text, out) || member_wrong(&r->from, "\"%s\" is no time like 2026-11-22T08:00:00Z", name);
}

/* ---- what each answer has ------------------------------------------------------------------------------------------ */

static bool read_ok(const struct reading *r, const json_t *o, struct exec_answer *out)
{
	const json_t *list;

	if (!member_array(&r->from, o, "caa_identities", MEMBER_OPTIONAL, &list))
		return false;
	if (json_array_size(list) > IDENTITIES_MAX)
		return member_wrong(&r->from, "\"caa_identities\" has more than %d names", IDENTITIES_MAX);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *name = json_string_value(json_array_get(list, i));
		char canonical[256];

		if (!name || !domain_canonical(name, canonical))
			return member_wrong(&r->from, "\"caa_identities\" has an entry that is no domain name");
		if (!strlist_add(&out->caa_identities, canonical))
			return no_memory(r);
	}
	return copy_of(r, o, "terms", &out->terms) && copy_of(r, o, "account_uri", &out->account_uri);
}

static bool read_pending(const struct reading *r, const json_t *o, struct exec_answer *out)
{
	const json_t *state = json_object_get(o, "state");

	if (!retry_of(r, o, &out->retry_after))
		return false;
	if (!state || json_is_null(state))
		return true;
	out->state = json_dumps(state, JSON_COMPACT | JSON_ENCODE_ANY);
	if (!out->state)
		return no_memory(r);
	return strlen(out->state) <= EXEC_STATE_MAX || member_wrong(&r->from, "\"state\" has more than %d octets", EXEC_STATE_MAX);
}

static bool read_issued(const struct reading *r, const json_t *o, struct exec_answer *out)
{
	struct buf pem = BUF_INIT;
	const char *text;
	struct err why = ERR_INIT;
	bool ok = false;

	if (!member_string(&r->from, o, "chain", MEMBER_REQUIRED, &text))
		return false;
	if (acme_chain_parse(text, strlen(text), r->from.url, &pem, &why)) {
		out->chain = buf_take(&pem);
		ok = out->chain || no_memory(r);
	} else if (strcmp(why.type, "malformed-answer") == 0) {
		member_wrong(&r->from, "\"chain\" is no PEM chain of certificates, the user's first, or too long a one");
	} else {
		no_memory(r);
	}
	buf_clear(&pem);
	return ok;
}

static bool read_renewal(const struct reading *r, const json_t *o, struct exec_answer *out)
{
	const char *url;

	if (!time_of(r, o, "start", &out->start) || !time_of(r, o, "end", &out->end) || !retry_of(r, o, &out->retry_after) ||
		!member_string(&r->from, o, "explanation_url", MEMBER_OPTIONAL, &url))
		return false;
	if (out->end <= out->start)
		return member_wrong(&r->from, "\"end\" is not after \"start\"");
	if (url && (!http_url_good(url) || strlen(url) >= sizeof out->explanation))
		return member_wrong(&r->from, "\"explanation_url\" is no https URL");
	snprintf(out->explanation, sizeof out->explanation, "%s", url ? url : "");
	return true;
}

/* An error, in the program's own words. */
static bool read_failed(const struct reading *r, const json_t *o)
{
	const char *name, *text;
	char said[700];
	size_t i = 0;
	long retry;

	if (!member_string(&r->from, o, "class", MEMBER_REQUIRED, &name) || !member_string(&r->from, o, "text", MEMBER_REQUIRED, &text) || !retry_of(r, o, &retry))
		return false;
	while (i < N_CLASSES && strcmp(classes[i].name, name) != 0)
		i++;
	if (i == N_CLASSES)
		return member_wrong(&r->from, "\"class\" is \"%.40s\", not one of temporary, ca, policy, config", name);
	/* err_set cuts at a character, which the first cut here may not */
	err_set(r->from.err, classes[i].class, "ask the CA's program", r->from.url, "%s", text);
	if (!r->from.err)
		return false;
	snprintf(said, sizeof said, "%.690s", r->from.err->text);
	while (!text_is_utf8(said, strlen(said)))
		said[strlen(said) - 1] = '\0';
	printable(said);
	err_set(r->from.err, classes[i].class, "ask the CA's program", r->from.url, "%s, asked to \"%s\", says: %s", r->from.url, exec_action_name(r->action),
		said[0] ? said : "(nothing)");
	snprintf(r->from.err->type, sizeof r->from.err->type, "exec-failed");
	r->from.err->retry_at = retry ? r->now + retry : 0;
	return false;
}

static bool read_status(const struct reading *r, const json_t *o, struct exec_answer *out)
{
	const char *name;

	if (!member_string(&r->from, o, "status", MEMBER_REQUIRED, &name))
		return false;
	if (strcmp(name, "failed") == 0)
		return read_failed(r, o);
	for (size_t i = 0; i < N_STATUSES; i++) {
		if (strcmp(statuses[i].name, name) != 0 || !(statuses[i].fits & IS(r->action)))
			continue;
		out->status = statuses[i].status;
		switch (out->status) {
		case EXEC_OK:
			return read_ok(r, o, out);
		case EXEC_PENDING:
			return read_pending(r, o, out);
		case EXEC_ISSUED:
			return read_issued(r, o, out);
		case EXEC_RENEWAL:
			return read_renewal(r, o, out);
		case EXEC_REVOKED:
		case EXEC_UNSUPPORTED:
			return true;
		}
	}
	return member_wrong(&r->from, "\"status\" is \"%.40s\", which is no answer to this", name);
}

bool exec_answer_read(enum exec_action action, const char *program, const struct exec_words *words, const void *data, size_t len, time_t now,
	struct exec_answer *out, struct err *err)
{
	char what[400], advice[700];
	const struct reading r = {.action = action, .now = now, .from = {"read answer", program, err, what, advice}};
	json_t *o;
	bool ok;

	snprintf(what, sizeof what, "what %.300s answered to \"%s\"", program, exec_action_name(action));
	snprintf(advice, sizeof advice, "%s%.500s%sRun it by hand with such a question, see enroll-milter-exec(7)",
		words->text[0] ? "Its last words: \"" : "", words->text, words->text[0] ? "\". " : "");
	memset(out, 0, sizeof *out);
	if (len == 0)
		return member_wrong(&r.from, "it wrote nothing to stdout");
	o = member_parse(&r.from, data, len);
	ok = o && read_status(&r, o, out);
	if (!ok)
		exec_answer_clear(out);
	json_decref(o);
	return ok;
}
