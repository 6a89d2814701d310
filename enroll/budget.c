/*
 * enroll/budget.c - what holds new orders back: an admin's pause and caps, and limits that the CA named.
 *
 * A CA that says "rateLimited" says it to one request, and means every order of the account, or every order for a domain.  Asking again for
 * the next enrollment would cost another refusal (some CAs lengthen the wait for each), so the limit is kept in the store where all workers
 * look before they open an order.  Orders that are open already go on: they hold their own Retry-After.
 */
#include "config.h"

#include "enroll/budget.h"

#include <stdlib.h>
#include <string.h>

#define LOOK_AGAIN 60          /* seconds: pause, orders in flight */
#define LOOK_FULL 2            /* the next look says which cap it was */
#define LIMIT_WITHOUT_TIME 120 /* "rateLimited" without a Retry-After */
#define LIMIT_MOST (2 * 86400) /* a CA that names a later time is asked again before */

static const char *subject_of(const struct enrollment *row)
{
	return row->addresses.n ? row->addresses.v[0] : "";
}

/* Every look is a claim and a commit, and the milters write to the same store: about this many in a second. */
#define LOOKS_A_SECOND 20
#define COUNT_EVERY_MS 60000

static unsigned long rows_waiting(struct enroll_parts *p)
{
	long long now = mono_ms(), last = atomic_load(&p->counted_ms);
	size_t counts[ENROLLMENT_STATES], disabled;

	if ((last == 0 || now - last > COUNT_EVERY_MS) && atomic_compare_exchange_strong(&p->counted_ms, &last, now) &&
		store_enrollment_counts(p->store, counts, &disabled, NULL))
		atomic_store(&p->waiting, counts[ENROLLMENT_WAITING]);
	return atomic_load(&p->waiting);
}

time_t budget_turn(struct enroll_parts *p, time_t when)
{
	return when + (time_t)random_below(rows_waiting(p) / LOOKS_A_SECOND + 1);
}

static bool held(struct enroll_parts *p, struct err *err, time_t until)
{
	if (err) {
		snprintf(err->type, sizeof err->type, "%s", BUDGET_HELD);
		err->retry_at = budget_turn(p, until);
	}
	return false;
}

static bool not_paused(struct enroll_parts *p, const struct enrollment *row, time_t now, struct err *err)
{
	char *paused = NULL;
	bool ok = store_flag_get(p->store, "paused", &paused, err);

	if (ok && paused) {
		err_set(err, ERR_TEMPORARY, "open order", subject_of(row), "an admin paused the gateway (%s); goes on after `enrollctl resume`", paused);
		ok = held(p, err, now + LOOK_AGAIN);
	}
	free(paused);
	return ok;
}

/* Orders of the last `seconds` against a cap of the configuration. */
static bool below(struct enroll_parts *p, const char *ca, const struct enrollment *row, const char *key, unsigned cap, unsigned seconds, time_t now, struct err *err)
{
	size_t n;

	if (cap == 0)
		return true;
	if (!store_orders_since(p->store, now - (time_t)seconds, ca, &n, err))
		return false;
	if (n < cap)
		return true;
	err_set(err, ERR_TEMPORARY, "open order", subject_of(row), "%s = %u is reached; goes on by itself", key, cap);
	return held(p, err, now + (time_t)seconds / 48);
}

static bool few_in_flight(struct enroll_parts *p, const struct ca_config *ca, const struct enrollment *row, time_t now, struct err *err)
{
	unsigned most = ca->orders_in_flight;
	size_t n;

	if (most == 0)
		return true;
	if (!store_orders_open(p->store, now - (time_t)ca->challenge_age, ca->name, &n, err))
		return false;
	if (n < most)
		return true;
	err_set(err, ERR_TEMPORARY, "open order", subject_of(row), "ca.orders-in-flight = %u are open already; goes on when some have ended", most);
	return held(p, err, now + LOOK_AGAIN / 2);
}

/* "" is everybody's; an address key or a domain is that of one of ours. */
static bool concerns(const char *scope, const struct enrollment *row)
{
	char key[ADDRESS_MAX];
	const char *at;

	if (!*scope)
		return true;
	for (size_t i = 0; i < row->addresses.n; i++) {
		if (!address_key_of(row->addresses.v[i], key, NULL))
			continue;
		at = strrchr(key, '@');
		if (strcmp(scope, key) == 0 || (at && strcmp(scope, at + 1) == 0))
			return true;
	}
	return false;
}

static bool within_limits(struct enroll_parts *p, const struct ca_config *ca, const struct enrollment *row, time_t now, struct err *err)
{
	struct store_limit_list list = {0};
	char since[32], until[32];
	bool ok = store_limits(p->store, ca->name, now, &list, err);

	for (size_t i = 0; ok && i < list.n; i++) {
		const struct store_limit *l = &list.v[i];

		if (!concerns(l->scope, row))
			continue;
		err_set(err, ERR_TEMPORARY, "open order", subject_of(row), "the CA takes no orders%s%s until %s, as it said at %s: %.600s", *l->scope ? " for " : "",
			l->scope, time_text(l->until, until), time_text(l->at, since), l->text ? l->text : "");
		ok = held(p, err, l->until);
	}
	store_limit_list_clear(&list);
	return ok;
}

bool budget_allows(struct enroll_parts *p, const struct ca_config *ca, const struct enrollment *row, time_t now, struct err *err)
{
	return not_paused(p, row, now, err) && below(p, NULL, row, "cap-per-day", p->config->cap_per_day, 86400, now, err) &&
	       below(p, ca->name, row, "ca.orders-per-hour", ca->orders_per_hour, 3600, now, err) && few_in_flight(p, ca, row, now, err) &&
	       within_limits(p, ca, row, now, err);
}

size_t budget_caps(const struct enroll_parts *p, const struct ca_config *ca, time_t now, struct store_cap out[BUDGET_CAPS])
{
	size_t n = 0;

	if (p->config->cap_per_day)
		out[n++] = (struct store_cap){.since = now - 86400, .most = p->config->cap_per_day};
	if (ca->orders_per_hour)
		out[n++] = (struct store_cap){.ca = ca->name, .since = now - 3600, .most = ca->orders_per_hour};
	if (ca->orders_in_flight)
		out[n++] = (struct store_cap){.ca = ca->name, .since = now - (time_t)ca->challenge_age, .kind = CAP_OPEN, .most = ca->orders_in_flight};
	return n;
}

bool budget_full(struct enroll_parts *p, const struct enrollment *row, time_t now, struct err *err)
{
	err_set(err, ERR_TEMPORARY, "open order", subject_of(row), "another one took the last place just now; goes on by itself");
	return held(p, err, now + LOOK_FULL);
}

/* ---- what the CA said ---------------------------------------------------------------------------------------------- */

static void remember(struct enroll_parts *p, const struct ca_config *ca, const char *scope, time_t until, const struct err *refusal)
{
	struct err err = ERR_INIT;

	if (!store_limit_set(p->store, ca->name, scope, until, refusal->text, &err))
		log_error(LOG_LEVEL_WARNING, "store_failed", &err, NULL);
}

void budget_heed(struct enroll_parts *p, const struct ca_config *ca, const char *identifiers, const struct err *refusal, time_t now)
{
	time_t until = refusal->retry_at > now ? refusal->retry_at : now + LIMIT_WITHOUT_TIME;
	char scope[ADDRESS_MAX], *list, *rest = NULL;
	unsigned named = 0;

	if (strcmp(refusal->type, "rateLimited") != 0 && strcmp(refusal->type, "http-429") != 0)
		return;
	if (until > now + LIMIT_MOST)
		until = now + LIMIT_MOST;
	list = str_dup(identifiers ? identifiers : "");
	for (char *one = list ? strtok_r(list, " ", &rest) : NULL; one; one = strtok_r(NULL, " ", &rest))
		if (strchr(one, '@') ? address_key_of(one, scope, NULL) : domain_canonical(one, scope)) {
			remember(p, ca, scope, until, refusal);
			named++;
		}
	if (!named)
		remember(p, ca, "", until, refusal);
	free(list);
}
