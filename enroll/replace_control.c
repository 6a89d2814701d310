/*
 * enroll/replace_control.c - what enrollctl replace asks for: the plan, the beginning, how far it is, pause, resume, cancel.
 */
#include "config.h"

#include "enroll/answer.h"
#include "enroll/campaign.h"
#include "enroll/control.h"

#include <stdlib.h>
#include <string.h>

#define SERIALS_MOST 100000

struct replace_order {
	struct store_selection what;
	struct strlist serials;
	char words[700];
	time_t deadline;
	const char *revoke;
};

static const char *text_of(json_t *arguments, const char *name)
{
	return json_string_value(json_object_get(arguments, name));
}

/* ---- what is asked for --------------------------------------------------------------------------------------------------- */

static bool time_of(json_t *arguments, const char *name, time_t *out, struct err *err)
{
	const char *text = text_of(arguments, name);

	return !text || time_parse(text, out) || err_set(err, ERR_CONFIG, "replace", text, "this is no time: 2026-12-05T12:00:00Z");
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Each once. */
static void sort_serials(struct strlist *l)
{
	size_t kept = 0;

	qsort(l->v, l->n, sizeof *l->v, by_text);
	for (size_t i = 0; i < l->n; i++)
		if (kept && strcmp(l->v[kept - 1], l->v[i]) == 0)
			free(l->v[i]);
		else
			l->v[kept++] = l->v[i];
	l->n = kept;
}

static bool read_serials(struct replace_order *o, json_t *list, struct err *err)
{
	char plain[SERIAL_DIGITS + 2];
	json_t *one;
	size_t i;

	if (!json_is_array(list))
		return true;
	if (json_array_size(list) == 0 || json_array_size(list) > SERIALS_MOST)
		return err_set(err, ERR_CONFIG, "replace", "serials", "the file has to name between 1 and %d serial numbers", SERIALS_MOST);
	json_array_foreach(list, i, one)
		if (!serial_plain(json_string_value(one) ? json_string_value(one) : "", plain, err))
			return false;
		else if (!strlist_add(&o->serials, plain))
			return err_nomem(err, "replace");
	sort_serials(&o->serials);
	o->what.serials = &o->serials;
	return true;
}

static void add_words(struct replace_order *o, const char *fmt, ...) BASE_PRINTF(2, 3);
static void add_words(struct replace_order *o, const char *fmt, ...)
{
	size_t used = strlen(o->words);
	va_list ap;

	if (used)
		snprintf(o->words + used, sizeof o->words - used, ", ");
	used = strlen(o->words);
	va_start(ap, fmt);
	vsnprintf(o->words + used, sizeof o->words - used, fmt, ap);
	va_end(ap);
}

static void describe(struct replace_order *o)
{
	char from[32], to[32];

	if (o->what.issuer)
		add_words(o, "issuer \"%.200s\"", o->what.issuer);
	if (o->what.issued_from)
		add_words(o, "issued between %s and %s", time_text(o->what.issued_from, from), time_text(o->what.issued_to, to));
	if (o->what.serials)
		add_words(o, "%zu serial numbers", o->serials.n);
	if (o->what.ca)
		add_words(o, "all of CA %.100s", o->what.ca);
}

/* Everybody is meant only when that is said. */
static bool read_order(struct enroll_parts *p, json_t *arguments, struct replace_order *o, struct err *err)
{
	o->what.issuer = text_of(arguments, "issuer");
	o->what.ca = text_of(arguments, "all_of_ca");
	o->revoke = text_of(arguments, "revoke");
	if (!time_of(arguments, "issued_from", &o->what.issued_from, err) || !time_of(arguments, "issued_to", &o->what.issued_to, err) ||
		!time_of(arguments, "by", &o->deadline, err) || !read_serials(o, json_object_get(arguments, "serials"), err))
		return false;
	if (p->config->mode == MODE_OBSERVE)
		return err_set(err, ERR_POLICY, "replace", NULL, "mode = \"observe\" orders nothing");
	if (!(o->what.issuer && *o->what.issuer) && !o->what.issued_from && !o->what.serials && !o->what.ca)
		return err_set(err, ERR_CONFIG, "replace", NULL, "say which ones: --issuer, --issued-between, --serials or --all-of-ca");
	if (o->what.ca && !config_ca(p->config, o->what.ca))
		return err_set(err, ERR_CONFIG, "replace", o->what.ca, "the configuration has no CA of this name");
	if (o->revoke && !store_revocation_reason(o->revoke))
		return err_set(err, ERR_CONFIG, "replace", o->revoke,
			"a reason is one of keyCompromise, affiliationChanged, superseded, cessationOfOperation and privilegeWithdrawn");
	if (o->deadline <= time(NULL))
		return err_set(err, ERR_CONFIG, "replace", NULL, "a deadline is needed that is not over: --by 2026-12-05T12:00:00Z, or --by 120h");
	describe(o);
	return true;
}

/* ---- the plan -------------------------------------------------------------------------------------------------------------- */

static double per_hour(size_t n, time_t seconds)
{
	return seconds > 0 ? (double)(long long)((double)n * 36000 / (double)seconds) / 10 : 0;
}

static size_t sum(const struct store_selected_list *l)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++)
		n += l->v[i].n;
	return n;
}

/* Which limit holds it up, and what to do when the deadline cannot be kept because of it. */
static void answer_limit(json_t *o, const struct campaign_estimate *e, time_t now, time_t deadline)
{
	bool possible = now + e->soonest <= deadline;
	char advice[300] = "";

	if (e->key) {
		answer_set(o, "limit", json_string(e->key));
		answer_set(o, "limit_value", json_integer((json_int_t)e->key_value));
	}
	answer_set(o, "possible", json_boolean(possible));
	if (!possible && e->key && e->key_value)
		snprintf(advice, sizeof advice, "%s = %u makes the deadline impossible: raise it to about %.0f, if the CA allows that, or take a later deadline", e->key,
			e->key_value, (double)e->key_value * (double)e->soonest / (double)(deadline > now ? deadline - now : 1) + 1);
	else if (!possible)
		snprintf(advice, sizeof advice, "%s makes the deadline impossible: take a later one, or ask the CA", e->key ? e->key : "what an order takes");
	answer_set(o, "advice", answer_text(advice));
}

static json_t *answer_plan(const struct replace_order *order, const struct store_selected_list *l, const struct campaign_estimate *e, time_t now, bool dry_run)
{
	json_t *o = json_object(), *cas = json_array();

	for (size_t i = 0; i < l->n; i++)
		json_array_append_new(cas, json_pack("{s:s, s:I}", "ca", l->v[i].ca ? l->v[i].ca : "", "certificates", (json_int_t)l->v[i].n));
	answer_set(o, "certificates", json_integer((json_int_t)sum(l)));
	answer_set(o, "cas", cas);
	answer_set(o, "selection", json_string(order->words));
	answer_set(o, "deadline", answer_time(order->deadline));
	answer_set(o, "estimated_end", answer_time(e->end));
	answer_set(o, "rate_per_hour", json_real(per_hour(sum(l), e->end - now)));
	answer_set(o, "most_per_hour", json_real(per_hour(sum(l), e->soonest)));
	answer_set(o, "in_time", json_boolean(e->end <= order->deadline));
	answer_set(o, "revoke", answer_text(order->revoke));
	answer_limit(o, e, now, order->deadline);
	answer_set(o, "dry_run", json_boolean(dry_run));
	return o;
}

static json_t *plan_or_begin(struct enroll_parts *p, const struct control_peer *peer, struct replace_order *o, bool dry_run, struct err *err)
{
	struct store_campaign c = {.selection = o->words, .revoke = (char *)(uintptr_t)o->revoke, .created_by = (char *)(uintptr_t)peer->name, .deadline = o->deadline};
	struct store_selected_list l = {0};
	struct campaign_estimate e;
	time_t now = time(NULL);
	json_t *answer = NULL;
	size_t n;

	if (store_select(p->store, &o->what, &l, err) && campaign_estimate(p, &l, now, o->deadline, now, &e, err) &&
		(dry_run || store_campaign_create(p->store, &o->what, &c, &n, err)))
		answer = answer_plan(o, &l, &e, now, dry_run);
	store_selected_list_clear(&l);
	return answer;
}

json_t *replace_run(struct enroll_parts *p, const struct control_peer *peer, json_t *arguments, struct err *err)
{
	struct replace_order o = {.deadline = 0};
	json_t *answer = NULL;

	if (read_order(p, arguments, &o, err))
		answer = plan_or_begin(p, peer, &o, json_is_true(json_object_get(arguments, "dry_run")), err);
	strlist_clear(&o.serials);
	return answer;
}

/* ---- how far ----------------------------------------------------------------------------------------------------------------- */

static bool is_open(const struct store_campaign *c)
{
	return strcmp(c->state, "running") == 0 || strcmp(c->state, "paused") == 0;
}

static json_t *answer_counts(const struct store_campaign *c)
{
	json_t *o = json_object();

	answer_set(o, "state", json_string(c->state));
	answer_set(o, "selection", json_string(c->selection));
	answer_set(o, "created_at", answer_time(c->created_at));
	answer_set(o, "created_by", answer_text(c->created_by));
	answer_set(o, "deadline", answer_time(c->deadline));
	answer_set(o, "ended_at", answer_time(c->ended_at));
	answer_set(o, "revoke", answer_text(c->revoke));
	answer_set(o, "of", json_integer((json_int_t)(c->pending + c->begun + c->done + c->skipped)));
	answer_set(o, "done", json_integer((json_int_t)c->done));
	answer_set(o, "skipped", json_integer((json_int_t)c->skipped));
	answer_set(o, "begun", json_integer((json_int_t)c->begun));
	answer_set(o, "pending", json_integer((json_int_t)c->pending));
	answer_set(o, "stuck", json_integer((json_int_t)c->stuck));
	if (c->done > 1 && c->last_done > c->first_begun)
		answer_set(o, "rate_per_hour", json_real(per_hour(c->done, c->last_done - c->first_begun)));
	return o;
}

static bool add_estimate(struct enroll_parts *p, const struct store_campaign *c, json_t *o, struct err *err)
{
	struct store_selected_list l = {0};
	struct campaign_estimate e;
	time_t now = time(NULL);
	bool ok = store_campaign_pending(p->store, c->id, &l, err) && campaign_estimate(p, &l, c->created_at, c->deadline, now, &e, err);

	if (ok) {
		answer_set(o, "estimated_end", answer_time(e.end));
		answer_set(o, "in_time", json_boolean(e.end <= c->deadline));
		answer_limit(o, &e, now, c->deadline);
	}
	store_selected_list_clear(&l);
	return ok;
}

json_t *replace_status(struct enroll_parts *p, struct err *err)
{
	struct store_campaign c = {0};
	json_t *o = NULL, *answer = NULL;
	bool found;

	if (!store_campaign_get(p->store, &c, &found, err))
		return NULL;
	if (found) {
		o = answer_counts(&c);
		if (!is_open(&c) || p->n_cas == 0 || add_estimate(p, &c, o, err))
			answer = json_pack("{s:O}", "replacement", o);
		json_decref(o);
	} else {
		answer = json_pack("{s:n}", "replacement");
	}
	store_campaign_clear(&c);
	return answer;
}

json_t *replace_set(struct enroll_parts *p, const struct control_peer *peer, json_t *arguments, struct err *err)
{
	static const struct { const char *action, *state; } actions[] = {{"pause", "paused"}, {"resume", "running"}, {"cancel", "cancelled"}};
	const char *action = text_of(arguments, "action"), *state = NULL;
	struct store_campaign c = {0};
	bool found, changed = false, ok;

	for (size_t i = 0; action && i < sizeof actions / sizeof *actions; i++)
		if (strcmp(actions[i].action, action) == 0)
			state = actions[i].state;
	if (!state) {
		err_set(err, ERR_CONFIG, "replace", action, "status, pause, resume or cancel");
		return NULL;
	}
	ok = store_campaign_get(p->store, &c, &found, err) &&
	     ((found && is_open(&c)) || err_set(err, ERR_POLICY, "replace", action, "no replacement is under way")) &&
	     store_campaign_set(p->store, c.id, state, peer->name, &changed, err);
	store_campaign_clear(&c);
	return ok ? json_pack("{s:s, s:b}", "state", state, "changed", changed) : NULL;
}
