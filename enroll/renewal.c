/*
 * enroll/renewal.c - when a certificate is renewed: the CA's window (RFC 9773), or two thirds of its life.
 *
 * The moment is chosen at random in the window and stored, so that a restart neither moves it nor draws again.  A CA that calls every new
 * certificate overdue must not be ordered from in a loop: after a certificate that was urged, the word about the next one is heeded later, and
 * later each time.
 */
#include "config.h"

#include "enroll/renewal.h"

#include <stdlib.h>
#include <string.h>

#define RENEW_LEAST 60         /* seconds between getting a certificate that has little left of its life and asking for the next: a hundredth of */
#define RENEW_LEAST_MOST 3600  /* that life, within these */
#define FIRST_LOOK_LEAST 10    /* a new certificate's window is asked for after a two hundredth of its life, within these */
#define FIRST_LOOK_MOST (6 * 3600)
#define LOOK_FAILED 1800       /* the CA could not be asked: seconds until the next try */
#define QUIET 60               /* and until anybody asks it again */
#define LOOK_NONE 86400        /* it has no window for this one */
#define MARGIN 20              /* a window is taken at its word but for the last twentieth of the life */
#define LATE_AT_ONCE 50

bool renewal_came_late(const struct store_certificate *c)
{
	return c->obtained_at > c->not_before + (c->not_after - c->not_before) * 2 / 3;
}

static time_t between(time_t least, time_t x, time_t most)
{
	return x < least ? least : x > most ? most : x;
}

static time_t life_of(const struct store_certificate *c)
{
	return c->not_after - c->not_before;
}

/* Two thirds of its life, spread over a tenth of it, so that users who came together do not renew together.  The moment follows from the
 * certificate, so that it is the same whenever it is asked for.  Of one that came late it is two thirds of what was left then; and never so soon
 * that a CA that always answers with such a one is asked in a loop. */
time_t renewal_by_age(const struct store_certificate *c)
{
	bool late = renewal_came_late(c);
	time_t begin = late ? c->obtained_at : c->not_before, life = c->not_after - begin, spread = life > 0 ? life / 10 : 0;
	time_t least = between(RENEW_LEAST, life_of(c) / 100, RENEW_LEAST_MOST), at;
	char digits[9] = "";

	snprintf(digits, sizeof digits, "%.8s", c->fingerprint ? c->fingerprint : "");
	at = begin + life * 2 / 3 + (time_t)(strtoul(digits, NULL, 16) % ((unsigned long)spread + 1));
	return late && at < c->obtained_at + least ? c->obtained_at + least : at;
}

/* ---- the CA's window -------------------------------------------------------------------------------------------------------- */

/* Random in [seconds, 1.5 * seconds). */
static time_t spread(time_t seconds)
{
	return seconds + (time_t)random_below((uint64_t)seconds / 2 + 1);
}

/* Not before this is a window heeded. */
static time_t earliest(const struct store_certificate *c, const struct store_renewal *r)
{
	time_t wait = between(RENEW_LEAST, life_of(c) / 100, RENEW_LEAST_MOST), most = life_of(c) / 10;

	if (r->urged_before == 0)
		return c->obtained_at;
	for (unsigned i = 1; i < r->urged_before && wait < most; i++)
		wait *= 2;
	return c->obtained_at + (wait < most || most < RENEW_LEAST ? wait : most);
}

static void choose(const struct store_certificate *c, const struct ca_renewal *w, time_t now, struct store_renewal *r)
{
	time_t last = c->not_after - life_of(c) / MARGIN, first = earliest(c, r);
	time_t at = w->start + (time_t)random_below((uint64_t)(w->end > w->start ? w->end - w->start : 0) + 1);

	r->window_start = w->start;
	r->window_end = w->end;
	r->urged = w->end <= now;
	at = r->urged ? now : at > last ? last : at;
	r->renew_at = at < first ? first : at;
}

static bool ask(struct enroll_parts *p, const struct enroll_ca *ca, const struct store_certificate *c, time_t now, struct store_renewal *r)
{
	atomic_llong *quiet_ms = &p->cas[ca - p->cas].quiet_ms;
	struct ca_renewal w = {0};
	struct err err = ERR_INIT;
	bool was_urged = r->urged;

	/* A CA that is down does not keep every worker waiting, once for each certificate; those of other CAs are none of its business. */
	if (mono_ms() < atomic_load(quiet_ms)) {
		r->ask_at = now + spread(LOOK_FAILED);
		return false;
	}
	if (!ca_renewal(ca->ca, c->der, c->der_len, &w, &err)) {
		log_error(LOG_LEVEL_INFO, "renewal_unknown", &err, "serial", c->serial, NULL);
		r->ask_at = now + spread(LOOK_FAILED);
		atomic_store(quiet_ms, mono_ms() + QUIET * 1000);
		return false;
	}
	/* Of one that came late the CA means the life that was over before we had it. */
	if (!w.known || (renewal_came_late(c) && w.end <= c->obtained_at)) {
		r->renew_at = r->window_start = r->window_end = 0;
		r->urged = was_urged;
		r->ask_at = now + spread(LOOK_NONE);
		return false;
	}
	/* What was chosen stands as long as the window does; one that was over when we heard of it stays so. */
	if (!was_urged && (r->renew_at == 0 || w.start != r->window_start || w.end != r->window_end))
		choose(c, &w, now, r);
	r->ask_at = (w.ask_again > now ? w.ask_again : now) + (time_t)random_below(RENEW_LEAST);
	free(r->explanation);
	r->explanation = w.explanation[0] ? str_dup(w.explanation) : NULL;
	return r->urged && !was_urged;
}

static void tell_urged(const struct store_certificate *c, const struct store_renewal *r, struct renewal_plan *out)
{
	char end[32], at[32];

	snprintf(out->urged, sizeof out->urged, "the CA wanted certificate %.120s replaced by %s already: it is %s%s%s%.300s", c->serial ? c->serial : "",
		time_text(r->window_end, end), r->renew_at <= c->obtained_at || r->renew_at <= time(NULL) ? "replaced now" : "replaced at ",
		r->renew_at <= time(NULL) ? "" : time_text(r->renew_at, at), r->explanation ? "; the CA explains: " : "", r->explanation ? r->explanation : "");
}

bool renewal_plan(struct enroll_parts *p, const struct enroll_ca *ca, const struct store_certificate *c, time_t now, struct renewal_plan *out,
	struct err *err)
{
	struct store_renewal r = {0};
	time_t first = c->obtained_at + between(FIRST_LOOK_LEAST, life_of(c) / 200, FIRST_LOOK_MOST);
	bool ok = store_renewal_get(p->store, c->id, &r, err), before = r.ask_at != 0;

	memset(out, 0, sizeof *out);
	if (ok && !before) {
		r.ask_at = first + (time_t)random_below((uint64_t)(first - c->obtained_at) / 2 + 1);
		ok = store_renewal_put(p->store, &r, err);
	}
	if (ok && ca && now >= r.ask_at && now < c->not_after) {
		if (ask(p, ca, c, now, &r))
			tell_urged(c, &r, out);
		ok = store_renewal_put(p->store, &r, err);
	}
	out->at = r.renew_at ? r.renew_at : renewal_by_age(c);
	out->look = ca ? r.ask_at : 0;
	store_renewal_clear(&r);
	return ok;
}

/* ---- late ------------------------------------------------------------------------------------------------------------------- */

static void span_text(time_t seconds, char out[32])
{
	if (seconds >= 2 * 86400)
		snprintf(out, 32, "%lld days", (long long)(seconds / 86400));
	else if (seconds >= 2 * 3600)
		snprintf(out, 32, "%lld hours", (long long)(seconds / 3600));
	else
		snprintf(out, 32, "%lld minutes", (long long)(seconds / 60));
}

static bool tell_late(struct enroll_parts *p, const struct store_late *l, time_t now, struct err *err)
{
	char text[1400], end[32], left[32];

	span_text(l->not_after - now, left);
	if (l->stage >= 4)
		snprintf(text, sizeof text, "certificate %.120s has ended at %s, and there is no new one: mail of %.256s is not signed; the enrollment is %s%s%.600s",
			l->serial, time_text(l->not_after, end), l->address, enrollment_state_name(l->state), l->why ? ": " : "", l->why ? l->why : "");
	else
		snprintf(text, sizeof text, "certificate %.120s ends at %s, in %s, and the new one is not there; the enrollment is %s%s%.600s", l->serial,
			time_text(l->not_after, end), left, enrollment_state_name(l->state), l->why ? ": " : "", l->why ? l->why : "");
	if (!store_renewal_late_told(p->store, l, text, err))
		return false;
	log_event(l->stage >= 3 ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, "renewal_late", "enrollment", LOG_NUM(l->enrollment_id), "address", l->address, "serial",
		l->serial, "until", time_text(l->not_after, end), "text", text, NULL);
	return true;
}

bool renewal_tell_late(struct enroll_parts *p, time_t now, struct err *err)
{
	struct store_late_list list = {0};
	bool ok = store_renewals_late(p->store, now, LATE_AT_ONCE, &list, err);

	for (size_t i = 0; ok && i < list.n; i++)
		ok = tell_late(p, &list.v[i], now, err);
	store_late_list_clear(&list);
	return ok;
}
