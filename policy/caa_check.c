/*
 * policy/caa_check.c - CAA as seen from every configured perspective at once, and what follows from that.
 *
 * The CA looks from places that we cannot stand in.  So every perspective has to allow; one that denies is enough to deny, and one that has no
 * answer leaves the question open, unless another one denied it already.  Each has a thread of its own for the moment: a climb is a chain of
 * questions, and one silent server must not take the others' time.
 */
#include "config.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "policy/caa_value.h"

/* For the whole climb from all perspectives; the last query may pass it by the deadline of dns_settings. */
#define DEADLINE_MS 30000
#define IODEF_SHOWN 3

const char *caa_decision_name(enum caa_decision d)
{
	return d == CAA_ALLOW ? "allow" : d == CAA_DENY ? "deny" : "unknown";
}

void caa_result_clear(struct caa_result *r)
{
	for (size_t i = 0; i < r->n_views; i++) {
		strlist_clear(&r->views[i].records);
		strlist_clear(&r->views[i].iodef);
	}
	memset(r, 0, sizeof *r);
}

/* ---- look -------------------------------------------------------------------------------------------------------- */

struct look {
	pthread_t thread;
	bool started;
	struct dns *dns;
	const char *domain;
	int64_t deadline;
	const struct caa_request *req;
	struct caa_view *view;
};

static void *look_run(void *arg)
{
	struct look *l = arg;

	caa_look(l->dns, l->domain, l->deadline, l->req, l->view);
	return NULL;
}

static void look_from_all(const struct dns_perspectives *from, const char *domain, const struct caa_request *req, struct caa_result *out)
{
	struct look looks[DNS_PERSPECTIVES_MAX];
	int64_t deadline = mono_ms() + DEADLINE_MS;

	for (size_t i = 0; i < from->n; i++) {
		out->views[i].perspective = from->v[i].name;
		looks[i] = (struct look){.dns = from->v[i].dns, .domain = domain, .deadline = deadline, .req = req, .view = &out->views[i]};
	}
	out->n_views = from->n;
	/* The first one is looked at by this thread, as is what no thread can be had for. */
	for (size_t i = 1; i < from->n; i++)
		looks[i].started = pthread_create(&looks[i].thread, NULL, look_run, &looks[i]) == 0;
	for (size_t i = 0; i < from->n; i++)
		if (!looks[i].started)
			look_run(&looks[i]);
	for (size_t i = 1; i < from->n; i++)
		if (looks[i].started)
			pthread_join(looks[i].thread, NULL);
}

/* ---- judge ------------------------------------------------------------------------------------------------------- */

/* Did both find the same, or both nothing that can be told? */
static bool same_facts(const struct caa_view *a, const struct caa_view *b)
{
	if (a->decision != b->decision || a->security != b->security || a->records.n != b->records.n || strcasecmp(a->owner, b->owner) != 0)
		return false;
	for (size_t i = 0; i < a->records.n; i++)
		if (strcmp(a->records.v[i], b->records.v[i]) != 0)
			return false;
	return true;
}

/* Can the one's words stand for both?  Why there was no answer may differ; why a zone is bogus differs in the servers that it names. */
static bool alike(const struct caa_view *a, const struct caa_view *b)
{
	return same_facts(a, b) && (a->records.n > 0 || a->security == DNS_BOGUS || strcmp(a->text, b->text) == 0);
}

static const struct caa_view *view_that(const struct caa_result *r, enum caa_decision decision)
{
	for (size_t i = 0; i < r->n_views; i++)
		if (r->views[i].decision == decision)
			return &r->views[i];
	return NULL;
}

static void judge(struct caa_result *r)
{
	static const enum caa_decision by_weight[] = {CAA_DENY, CAA_UNKNOWN, CAA_ALLOW};

	for (size_t i = 0; i < 3 && !r->view; i++)
		r->view = view_that(r, by_weight[i]);
	r->decision = r->view ? r->view->decision : CAA_UNKNOWN;
	r->ttl = r->view ? r->view->ttl : 0;
	for (size_t i = 0; i < r->n_views; i++) {
		r->differ = r->differ || !same_facts(&r->views[0], &r->views[i]);
		if (r->views[i].decision == r->decision && r->views[i].ttl < r->ttl)
			r->ttl = r->views[i].ttl;
	}
}

/* ---- tell -------------------------------------------------------------------------------------------------------- */

/* Where a record has to stand.  Beside an alias there can be none, and a top-level domain is not ours to write into. */
static const char *place_to_publish(const struct caa_view *view, const char *domain)
{
	const char *place = view && view->owner[0] ? view->owner : domain, *last;

	if (strchr(place, '.') != NULL || (last = strrchr(domain, '.')) == NULL)
		return place;
	while (last > domain && last[-1] != '.')
		last--;
	return last;
}

static void make_line(struct caa_result *r, const char *domain, const struct caa_request *req)
{
	struct buf line = BUF_INIT;

	buf_printf(&line, "%.255s. IN CAA 0 issuemail \"%.100s", place_to_publish(r->view, domain), req->identities->n > 0 ? req->identities->v[0] : "ca.example");
	if (req->account_uri != NULL)
		buf_printf(&line, "; accounturi=%.240s", req->account_uri);
	if (req->method != NULL)
		buf_printf(&line, "; validationmethods=%.60s", req->method);
	buf_putc(&line, '"');
	snprintf(r->publish, sizeof r->publish, "%s", buf_str(&line));
	buf_clear(&line);
}

/* The names of all that saw what `first` saw. */
static void put_names(struct buf *out, const struct caa_result *r, const struct caa_view *first)
{
	const char *sep = "";

	for (size_t i = 0; i < r->n_views; i++) {
		if (!alike(first, &r->views[i]))
			continue;
		buf_printf(out, "%s%.60s", sep, r->views[i].perspective);
		sep = ", ";
	}
}

/* Is it the first one that saw this? */
static bool is_first(const struct caa_result *r, const struct caa_view *view)
{
	for (const struct caa_view *v = r->views; v < view; v++)
		if (alike(v, view))
			return false;
	return true;
}

/* Each group of perspectives that saw the same, those first that the decision is due to; `room` is shared fairly. */
static void put_groups(struct buf *out, const struct caa_result *r, size_t room)
{
	struct buf piece = BUF_INIT;
	size_t left = 0, share;

	for (size_t i = 0; i < r->n_views; i++)
		left += is_first(r, &r->views[i]);
	for (size_t turn = 0; turn < 2; turn++)
		for (size_t i = 0; i < r->n_views; i++) {
			const struct caa_view *v = &r->views[i];

			if ((v->decision == r->decision) != (turn == 0) || !is_first(r, v))
				continue;
			buf_reset(&piece);
			buf_puts(&piece, "\nSeen from ");
			put_names(&piece, r, v);
			buf_printf(&piece, ": %s", v->text);
			share = (room > out->len ? room - out->len : 0) / left--;
			if (piece.len <= share)
				buf_append(out, buf_str(&piece), piece.len);
			else if (share > 3)
				buf_printf(out, "%.*s...", (int)share - 3, buf_str(&piece));
		}
	buf_clear(&piece);
}

static void put_end(struct buf *out, const struct caa_result *r)
{
	const struct strlist *iodef = &r->view->iodef;

	if (r->decision == CAA_ALLOW)
		return;
	for (size_t i = 0; i < iodef->n && i < IODEF_SHOWN; i++)
		buf_printf(out, "%s%s", i == 0 ? "\nThe domain takes reports at (nothing is sent there from here): " : ", ", iodef->v[i]);
	if (r->view->records.n > 0)
		buf_printf(out, "\nTo allow it, publish: %s", r->publish);
}

static void make_text(struct caa_result *r)
{
	static const char *const heads[] = {
		[CAA_ALLOW] = "The DNS perspectives did not see the same, but each of them allows it",
		[CAA_DENY] = "The DNS perspectives did not see the same, and one that forbids it is enough: the CA may see that too",
		[CAA_UNKNOWN] = "The DNS perspectives did not see the same, and nothing is decided while one cannot tell; it is tried again"};
	struct buf text = BUF_INIT, end = BUF_INIT;
	bool one_word = true;
	size_t room;

	for (size_t i = 1; i < r->n_views; i++)
		one_word = one_word && alike(&r->views[0], &r->views[i]);
	put_end(&end, r);
	room = sizeof r->text - 1 - (end.len < sizeof r->text ? end.len : 0);
	if (!one_word) {
		buf_puts(&text, r->differ ? heads[r->decision] : "No DNS perspective had an answer");
		put_groups(&text, r, room);
	} else {
		buf_puts(&text, r->view->text);
		if (r->n_views > 1) {
			buf_puts(&text, "\nSeen alike from ");
			put_names(&text, r, r->view);
		}
	}
	snprintf(r->text, sizeof r->text, "%.*s%s", (int)room, buf_str(&text), buf_str(&end));
	buf_clear(&text);
	buf_clear(&end);
}

void caa_check(const struct dns_perspectives *from, const struct caa_request *req, struct caa_result *out)
{
	struct address address;
	struct err err = ERR_INIT;

	memset(out, 0, sizeof *out);
	if (!address_parse(&address, req->address, &err)) {
		out->decision = CAA_DENY;
		snprintf(out->text, sizeof out->text, "no domain name whose CAA could be asked: %.1000s", err.text);
		return;
	}
	look_from_all(from, address.domain, req, out);
	judge(out);
	make_line(out, address.domain, req);
	make_text(out);
}
