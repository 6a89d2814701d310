/*
 * enroll/enrollment.c - the life of an enrollment, top to bottom.
 *
 * The scheme.  A worker claims a due row (the store gives it a lease), runs the one function that belongs to the row's state, and commits
 * what came of it together with an event; lease and version must still match, or the result is dropped.  While something outside is asked
 * (CA, DNS, directory, the reply listener) no transaction is open.  Before anything outside that must not happen twice, the *intent* is
 * committed with the lease kept; a worker that finds an intent in a row it just claimed knows that its predecessor died in between, and
 * resolves it: an order whose answer was lost is abandoned and counted, a reply in doubt is not sent again, everything else is looked up at
 * the CA before it is repeated.
 *
 * The state functions below stand in the order of the states.  Each returns STEP_MOVE (it called to()), STEP_STAY (look again at
 * row.next_at), or STEP_FAIL with an error; fail() turns the error's class into waiting, blocked or failed, in one place.
 *
 * This file is over 800 lines because an enrollment is to be followed by reading one file, top to bottom.
 */
#include "config.h"

#include "enroll/enrollment.h"

#include <stdlib.h>
#include <string.h>

#include "enroll/account_gate.h"
#include "enroll/budget.h"
#include "enroll/certificate.h"
#include "enroll/challenge.h"
#include "enroll/decide.h"
#include "enroll/fate.h"
#include "enroll/hygiene.h"
#include "enroll/renewal.h"

#define LEASE_SECONDS 600        /* longer than the longest chain of deadlines in one step */
#define ALONE_RETRY 10           /* seconds after which a row looks whether another one's order has ended */
#define REVIEW_SECONDS 86400     /* an active row asks the rules and the directory this often */
#define BACKOFF_FIRST 30
#define BACKOFF_MOST (6 * 3600)
#define RECHECK_CONFIG 3600      /* blocked by configuration: look again by itself this often */
#define RECHECK_POLICY (6 * 3600) /* not eligible: the same */
#define DATE_SKEW 10             /* the CA's clock may be this far behind ours when a challenge is matched by its Date */
#define POLL_MOST 60
#define BOUNCE_PATIENCE 900      /* a refused reply does not come again; if the refusal is forged, the CA's word is due within many polls */
#define RETRY_MOST (2 * 86400)   /* a server that names a later time is asked again before */
#define CAA_RECHECK_LEAST 60     /* a record with a shorter TTL, or none: seconds until CAA that forbids is looked at again */
#define FINALIZED_TRIES 6        /* refusals in a row before an order whose certificate may be there is given up */

enum step_result { STEP_MOVE, STEP_STAY, STEP_FAIL };

struct step {
	struct enroll_parts *p;
	const struct enroll_ca *ca;   /* the row's */
	struct certificate_profile profile; /* what the row asks for */
	struct enrollment row;
	struct store_step out;
	struct store_certificate certificate;
	struct renewal_plan plan;     /* of an active row */
	struct store_cap cap;         /* cap-total, of a row that becomes eligible */
	time_t now;
	enum enrollment_state began;  /* the state whose function runs */
	char text[2560];              /* what happened, for event and log */
	char event[32];
	bool interrupted;             /* a predecessor died in the middle of this step */
	bool stale;                   /* somebody else has the row now */
	char *limited;                /* addresses or domains that the CA named when it refused as rateLimited; NULL = the account */
	bool order_dead;              /* this failure ends the order: the next try opens a new one */
	bool caa_first;               /* and before that CAA is looked at again */
};

struct state_rule {
	enum enrollment_state state;
	const char *outside;          /* what is asked outside in this state; NULL = nothing */
	enum step_result (*run)(struct step *, struct err *);
	uint32_t next;                /* states this one may go to, beside waiting, blocked, failed */
};
#define TO(state) (UINT32_C(1) << (state))

static const struct state_rule *rule_of(enum enrollment_state state);

/* ---- small help for the state functions -------------------------------------------------------------------------- */

static void note(struct step *s, const char *event, const char *fmt, ...) BASE_PRINTF(3, 4);
static void note(struct step *s, const char *event, const char *fmt, ...)
{
	va_list ap;

	snprintf(s->event, sizeof s->event, "%s", event);
	va_start(ap, fmt);
	vsnprintf(s->text, sizeof s->text, fmt, ap);
	va_end(ap);
}

static bool set_text(char **where, const char *text, struct err *err)
{
	char *copy = str_dup(text);

	if (text && !copy)
		return err_nomem(err, "enrollment");
	free(*where);
	*where = copy;
	return true;
}

static void forget_why(struct step *s)
{
	s->row.why_class = ERR_NONE;
	free(s->row.why);
	free(s->row.why_subject);
	free(s->row.why_type);
	s->row.why = s->row.why_subject = s->row.why_type = NULL;
	s->row.why_status = 0;
	s->row.why_at = 0;
}

static enum step_result to(struct step *s, enum enrollment_state next)
{
	s->row.state = next;
	s->row.state_since = s->now;
	s->row.next_at = s->now;
	s->row.attempts = 0;
	forget_why(s);
	return STEP_MOVE;
}

static enum step_result stay(struct step *s, time_t until)
{
	s->row.next_at = until > s->now ? until : s->now + 1;
	return STEP_STAY;
}

static const char *address_of(const struct step *s)
{
	return s->row.addresses.n ? s->row.addresses.v[0] : "";
}

/* The one of the row's addresses that is being validated. */
static const char *challenged(const struct step *s)
{
	return s->row.challenge_address ? s->row.challenge_address : address_of(s);
}

static void move_aside(struct step *s, enum enrollment_state aside, enum enrollment_state resume, time_t next_at)
{
	s->row.state = aside;
	s->row.resume = resume;
	s->row.state_since = s->now;
	s->row.next_at = next_at;
}

/* "caa", or "caa:" and the method that the CA's authorizations showed: what the next look at CAA goes by. */
#define CAA_REFUSED "caa"
#define CAA_REFUSED_METHOD "caa:"

/* Is it looked at again and again by itself, and in vain mostly? */
static bool repeats(const struct err *err)
{
	return strcmp(err->type, BUDGET_HELD) == 0 || strcmp(err->type, CAA_REFUSED) == 0 ||
	       strncmp(err->type, CAA_REFUSED_METHOD, strlen(CAA_REFUSED_METHOD)) == 0;
}

/* False when the row is held back for the reason it was held back for already: once in the history is enough. */
static bool tell_trouble(struct step *s, const struct err *err)
{
	bool news = !repeats(err) || !s->row.why || strcmp(s->row.why, err->text) != 0;

	forget_why(s);
	s->row.why_class = err->class;
	s->row.why_status = err->status;
	s->row.why_at = s->now;
	s->row.why = str_dup(err->text);
	s->row.why_subject = err->subject[0] ? str_dup(err->subject) : NULL;
	s->row.why_type = err->type[0] ? str_dup(err->type) : NULL;
	return news;
}

/* Write what we have so far and keep the lease: transaction 1 of the scheme, or a fact that must be durable before the next act. */
static bool commit_keep(struct step *s, const char *event, const char *text, struct err *err)
{
	bool ok, full;

	s->out.row = &s->row;
	s->out.keep_lease = true;
	s->out.event = event;
	s->out.actor = "enrolld";
	s->out.text = text;
	s->out.class = ERR_NONE;
	ok = store_step_commit(s->p->store, &s->out, &s->stale, err);
	full = s->out.full;
	/* Also when it failed: what did not become durable must not slip into the commit that ends the step. */
	memset(&s->out, 0, sizeof s->out);
	if (ok && full)
		return budget_full(s->p, &s->row, s->now, err);
	if (ok && s->stale)
		return err_set(err, ERR_TEMPORARY, "keep lease", address_of(s), "the enrollment was changed by somebody else meanwhile");
	return ok;
}

static bool intend(struct step *s, const char *intent, struct err *err)
{
	return set_text(&s->row.intent, intent, err) && commit_keep(s, "intent", intent, err);
}

/* Random in [seconds, 1.5 * seconds): a thousand rows that failed together do not come back together. */
static time_t jittered(time_t seconds)
{
	return seconds + (time_t)random_below((uint64_t)seconds / 2 + 1);
}

static time_t backoff(unsigned attempts)
{
	time_t wait = BACKOFF_FIRST;

	while (attempts-- > 1 && wait < BACKOFF_MOST)
		wait *= 2;
	return jittered(wait < BACKOFF_MOST ? wait : BACKOFF_MOST);
}

/* When the CA would see us again; but when the order's time is over we look, however late it says. */
static time_t retry_of(const struct step *s, const struct ca_order *o)
{
	time_t deadline = s->row.ordered_at + (time_t)s->ca->config->challenge_age;

	return deadline > s->now && o->retry_at > deadline ? deadline : o->retry_at;
}

/* Polls of a pending order: the CA's word, else poll-seconds growing with the age of the state. */
static time_t poll_at(const struct step *s, const struct ca_order *o)
{
	time_t wait = (s->now - s->row.state_since) / 4;

	if (o->retry_at > s->now)
		return retry_of(s, o);
	if (wait < (time_t)s->ca->config->poll_seconds)
		wait = (time_t)s->ca->config->poll_seconds;
	return s->now + (wait > POLL_MOST ? POLL_MOST : wait);
}

static bool order_from_row(struct step *s, struct ca_order *o, struct err *err)
{
	memset(o, 0, sizeof *o);
	o->in_doubt = s->interrupted;
	o->state = str_dup(s->row.ca_state);
	if (s->row.ca_state && !o->state)
		return err_nomem(err, "read order");
	return true;
}

/* What a CA call left in `o` goes back into the row, also when it failed. */
static bool order_to_row(struct step *s, struct ca_order *o, struct err *err)
{
	if (o->retry_at > s->row.retry_at)
		s->row.retry_at = o->retry_at;
	return set_text(&s->row.ca_state, o->state, err) && (!o->activity[0] || set_text(&s->row.activity, o->activity, err));
}

/* After a CA call: what was learned goes into the row.  A call that went well may have found the order dead; then err holds the CA's words. */
static bool order_lives(struct step *s, struct ca_order *o, bool ok, struct err *err)
{
	if (!order_to_row(s, o, ok ? err : NULL))
		return false;
	if (ok && o->progress == CA_INVALID) {
		if (err->class == ERR_NONE)
			err_set(err, ERR_CA, "look at order", address_of(s), "the CA declared the order invalid without a reason");
		ok = false;
	}
	if (!ok && (o->progress == CA_INVALID || err->class == ERR_CA))
		s->order_dead = true;
	return ok;
}

static bool look(struct step *s, struct ca_order *o, struct err *err)
{
	return order_from_row(s, o, err) && order_lives(s, o, ca_look(s->ca->ca, o, err), err);
}

/* No order is waited for longer than challenge-age: then it is dead and a new one follows. */
static bool order_in_time(struct step *s, const char *what, struct err *err)
{
	if (s->now < s->row.ordered_at + (time_t)s->ca->config->challenge_age)
		return true;
	s->order_dead = true;
	return err_set(err, ERR_CA, "await the CA", address_of(s), "the CA did not %s in %u seconds (ca.challenge-age)", what,
		s->ca->config->challenge_age);
}

static void forget_order(struct step *s)
{
	free(s->row.ca_state);
	free(s->row.challenge_from);
	free(s->row.challenge_address);
	s->row.ca_state = s->row.challenge_from = s->row.challenge_address = NULL;
	s->row.ordered_at = s->row.retry_at = s->row.trigger_at = s->row.answered_at = 0;
}

/* ---- requested: may this address have a certificate now ------------------------------------------------------------ */

/* What was decided goes into the row.  Key and request of an order that came to nothing were for what was decided then: they are made anew. */
static bool take_decision(struct step *s, const struct verdict *v, struct err *err)
{
	const struct decision *d = &v->decision;
	const char *rule = d->rule ? d->rule->name : NULL, *profile = d->certificate ? d->certificate->name : s->row.profile;
	struct certificate_profile p = {.usage = USAGE_SIGN};
	struct strlist addresses = {0};

	if (d->certificate)
		p = profile_for(d->certificate, s->row.companion_of ? usage_name(USAGE_ENCRYPT) : NULL);
	s->out.decided = true;
	s->row.key_id = 0;
	free(s->row.csr);
	s->row.csr = NULL;
	s->row.csr_len = 0;
	for (size_t i = 0; i < v->addresses.n; i++)
		if (!strlist_add(&addresses, v->addresses.v[i])) {
			strlist_clear(&addresses);
			return err_nomem(err, "decide");
		}
	strlist_clear(&s->row.addresses);
	s->row.addresses = addresses;
	if (!set_text(&s->row.rule, rule, err))
		return false;
	/* Of somebody who is not there any more it stays known who they were: whether they left is for people.c to say. */
	if ((v->found == DIRECTORY_ONE || !s->p->directory) && !set_text(&s->row.entry, v->person.identity, err))
		return false;
	return !d->certificate || (set_text(&s->row.profile, profile, err) && set_text(&s->row.usage, usage_name(p.usage), err) &&
					  set_text(&s->row.ca, d->ca->name, err));
}

/* A companion asks for the same addresses as the row it stands beside, and only as long as the rules want two certificates. */
static bool decide_companion(struct step *s, struct verdict *v, struct err *err)
{
	struct enrollment first = {0};
	bool found = false, ok;

	if (v->decision.certificate && v->decision.certificate->usage != USAGE_SPLIT)
		return err_set(err, ERR_POLICY, "decide eligibility", address_of(s),
			"a certificate for encryption beside the one for signing is not asked for any more (certificate.usage of \"%s\")",
			v->decision.certificate->name);
	ok = store_enrollment_get(s->p->store, s->row.companion_of, &first, &found, err);
	if (ok && found) {
		strlist_clear(&v->addresses);
		v->addresses = first.addresses;
		first.addresses = (struct strlist){0};
		/* Whatever took the place of the first row has a companion of its own. */
		v->covered_by = first.state >= ENROLLMENT_SUPERSEDED ? first.id : 0;
	}
	enrollment_clear(&first);
	return ok;
}

/* The row's certificate that is active, into s->certificate; *active is false when it has none. */
static bool find_active(struct step *s, bool *active, struct err *err)
{
	struct store_certificate_list list = {0};
	bool ok = store_certificates_of(s->p->store, s->row.id, &list, err);
	int64_t id = 0;

	*active = false;
	for (size_t i = 0; ok && i < list.n; i++)
		if (strcmp(list.v[i].status, "active") == 0)
			id = list.v[i].id;
	store_certificate_list_clear(&list);
	store_certificate_clear(&s->certificate);
	return ok && (!id || store_certificate_get(s->p->store, id, &s->certificate, active, err));
}

/* With the commit that ends this step the row's certificate signs no longer.  Not to know whether there is one is a failure: it must not go on
 * signing because the store was busy. */
static bool retire(struct step *s, struct err *err)
{
	bool active;

	if (!find_active(s, &active, err))
		return false;
	if (!active)
		return true;
	s->out.certificate = &s->certificate;
	return set_text(&s->certificate.status, "superseded", err);
}

/* Would a certificate of this kind tell of somebody, so that it must not be used by whoever has the address later? */
static bool names_somebody(const struct certificate_profile *p, const struct enrollment *row)
{
	return p->validation == VALIDATION_SPONSOR || p->validation == VALIDATION_INDIVIDUAL || p->validation == VALIDATION_PRIVATE || row->addresses.n > 1;
}

static bool went_to_another(const struct step *s, const struct verdict *v)
{
	return v->found == DIRECTORY_ONE && directory_identity_differs(s->row.entry, v->person.identity) && names_somebody(&s->profile, &s->row);
}

/* Another row's certificate has this address, or will have.  As long as it has not, what this row has goes on signing. */
static enum step_result give_way(struct step *s, int64_t other, struct err *err)
{
	struct store_certificate_list list = {0};
	char key[ADDRESS_MAX], word[ADDRESS_MAX + 2], words[2200];
	bool active, there;

	if (!find_active(s, &active, err) || !address_key_of(address_of(s), key, err))
		return STEP_FAIL;
	snprintf(word, sizeof word, " %s ", key);
	there = !active || s->row.companion_of;
	if (!there && !store_certificates_of(s->p->store, other, &list, err))
		return STEP_FAIL;
	for (size_t i = 0; i < list.n && !there; i++) {
		snprintf(words, sizeof words, " %s ", list.v[i].addresses ? list.v[i].addresses : "");
		there = strcmp(list.v[i].status, "active") == 0 && strcasestr(words, word);
	}
	store_certificate_list_clear(&list);
	if (!there) {
		err_set(err, ERR_TEMPORARY, "decide eligibility", address_of(s), "enrollment %lld takes this address in; goes on when its certificate is there",
			(long long)other);
		snprintf(err->type, sizeof err->type, "%s", BUDGET_HELD);
		err->retry_at = s->now + jittered(RECHECK_CONFIG / 4);
		return STEP_FAIL;
	}
	note(s, "state", s->row.companion_of ? "enrollment %lld, beside which it stood, is over" : "the certificate of enrollment %lld has this address too",
		(long long)other);
	if (!retire(s, err))
		return STEP_FAIL;
	to(s, ENROLLMENT_SUPERSEDED);
	s->row.next_at = 0;
	return STEP_MOVE;
}

static enum step_result eligible_or_not(struct step *s, const struct verdict *v, struct err *err)
{
	enum eligibility answer;
	char list[600] = "";
	bool active;

	if (!find_active(s, &active, err) || !decide_eligible(s->p, address_of(s), v, s->row.companion_of || active, s->now, &answer, err))
		return STEP_FAIL;
	if (answer == ELIGIBLE_LATER) {
		/* Pause and cap pass by themselves: the row waits, nobody has to act on it. */
		err->class = ERR_TEMPORARY;
		snprintf(err->type, sizeof err->type, "%s", BUDGET_HELD);
		err->retry_at = budget_turn(s->p, err->retry_at);
	}
	if (answer != ELIGIBLE)
		return STEP_FAIL;
	if (s->p->config->cap_total && !s->row.companion_of && !active) {
		s->cap = (struct store_cap){.kind = CAP_ENROLLED, .most = s->p->config->cap_total};
		s->out.caps = &s->cap;
		s->out.n_caps = 1;
	}
	for (size_t i = 1; i < s->row.addresses.n; i++)
		snprintf(list + strlen(list), sizeof list - strlen(list), "%s %.200s", i == 1 ? ", with" : ",", s->row.addresses.v[i]);
	note(s, "state", "eligible for %s (%s) from %s%s%s%s", s->row.profile, s->row.usage, s->row.ca, v->decision.rule ? " by rule " : "",
		v->decision.rule ? v->decision.rule->name : "", list);
	return to(s, ENROLLMENT_ELIGIBLE);
}

static enum step_result run_requested(struct step *s, struct err *err)
{
	struct verdict v;
	enum step_result r = STEP_FAIL;

	if (!decide(s->p, address_of(s), s->row.id, &v, NULL, err) || (s->row.companion_of && !decide_companion(s, &v, err)))
		goto out;
	if (v.covered_by) {
		r = give_way(s, v.covered_by, err);
		goto out;
	}
	if (went_to_another(s, &v)) {
		if (!retire(s, err) || !commit_keep(s, "owner", "the address is of another directory entry now: its old certificate signs no longer", err))
			goto out;
	}
	if (take_decision(s, &v, err))
		r = eligible_or_not(s, &v, err);
out:
	verdict_clear(&v);
	return r;
}

/* ---- eligible: does CAA allow our CA (RFC 9495) -------------------------------------------------------------------- */

/* True when the order may be; a refusal is looked at again when the record may have changed. */
static bool caa_permits(struct step *s, const struct ca_config *ca, const struct caa_result *caa, const char *address, const char *type, struct err *err)
{
	if (ca->caa == CAA_REPORT || caa->decision == CAA_ALLOW) {
		note(s, "state", "CAA%s: %s", caa->decision == CAA_ALLOW ? "" : " (reported only)", caa->text);
		return true;
	}
	err_set(err, caa->decision == CAA_DENY ? ERR_POLICY : ERR_TEMPORARY, "check CAA", address, "%s", caa->text);
	snprintf(err->type, sizeof err->type, "%s", type);
	if (caa->decision == CAA_DENY)
		err->retry_at = s->now + (caa->ttl > CAA_RECHECK_LEAST ? (time_t)caa->ttl : CAA_RECHECK_LEAST);
	return false;
}

/* The account comes first: a record may name its URL (RFC 8657 accounturi). */
static bool caa_facts(struct step *s, struct ca_info *info, struct err *err)
{
	if (!ca_prepare(s->ca->ca, info, err))
		return false;
	if (info->warning)
		log_event(LOG_LEVEL_WARNING, "ca_warning", "text", info->warning, NULL);
	return true;
}

static enum step_result run_eligible(struct step *s, struct err *err)
{
	const struct ca_config *ca = s->ca->config;
	bool shown = s->row.why_type && strncmp(s->row.why_type, CAA_REFUSED_METHOD, strlen(CAA_REFUSED_METHOD)) == 0;
	char type[128] = CAA_REFUSED, *method = type + strlen(CAA_REFUSED_METHOD);
	struct ca_info info = {0};
	struct caa_result result;
	struct caa_request req;
	bool ok;

	if (ca->caa == CAA_OFF) {
		note(s, "state", "CAA is not checked (ca.caa = \"off\")");
		return to(s, ENROLLMENT_CAA_CHECKED);
	}
	if (shown)
		snprintf(type, sizeof type, "%s", s->row.why_type);
	ok = caa_facts(s, &info, err);
	req = caa_request_of(ca, &info);
	if (shown)
		req.method = method;
	for (size_t i = 0; ok && i < s->row.addresses.n; i++) {
		req.address = s->row.addresses.v[i];
		caa_check(&s->p->perspectives, &req, &result);
		ok = caa_permits(s, ca, &result, req.address, type, err);
		caa_result_clear(&result);
	}
	ca_info_clear(&info);
	return ok ? to(s, ENROLLMENT_CAA_CHECKED) : STEP_FAIL;
}

/* ---- caa-checked: key and CSR, stored together before the CSR leaves ------------------------------------------------ */

static bool person_of(struct step *s, struct directory_person *person, struct err *err)
{
	enum directory_found found = DIRECTORY_NONE;

	if (!s->p->directory || s->profile.validation == VALIDATION_MAILBOX)
		return true;
	if (!directory_find(s->p->directory, address_of(s), person, &found, err))
		return false;
	if (s->row.entry && (found != DIRECTORY_ONE || directory_identity_differs(s->row.entry, person->identity))) {
		s->order_dead = true; /* decided anew */
		return err_set(err, ERR_TEMPORARY, "make CSR", address_of(s), "the address went to another directory entry just now; it is decided anew");
	}
	return true;
}

static bool make_key(struct step *s, struct buf *wrapped, struct store_key *key, struct err *err)
{
	const struct certificate_profile *profile = &s->profile;
	struct directory_person person = {0};
	struct buf csr = BUF_INIT;
	EVP_PKEY *pkey = NULL;
	X509 *master = NULL;
	bool ok = false;

	if (!person_of(s, &person, err))
		goto out;
	pkey = profile_key_new(profile, err);
	if (!pkey || !profile_csr(&csr, profile, pkey, &s->row.addresses, person.dn ? &person : NULL, err))
		goto out;
	master = keyring_in_force(s->p->store, s->p->config->master_certificate, false, err);
	if (!master || !keyvault_wrap(wrapped, pkey, master, err) || !keyvault_spki(pkey, key->spki_sha256, err) ||
		!keyvault_spki(X509_get0_pubkey(master), key->master, err))
		goto out;
	key->wrapped = (unsigned char *)wrapped->data;
	key->wrapped_len = wrapped->len;
	free(s->row.csr);
	s->row.csr_len = csr.len;
	s->row.csr = (unsigned char *)buf_take(&csr);
	ok = s->row.csr || err_nomem(err, "make CSR");
out:
	X509_free(master);
	EVP_PKEY_free(pkey);
	buf_clear(&csr);
	directory_person_clear(&person);
	return ok;
}

static enum step_result run_caa_checked(struct step *s, struct err *err)
{
	struct buf wrapped = BUF_INIT;
	struct store_key key;

	if (s->row.key_id == 0) {
		bool made = make_key(s, &wrapped, &key, err);

		if (made) {
			s->out.new_key = &key;
			made = commit_keep(s, "key", "new key, wrapped for the master certificate", err);
		}
		buf_wipe(&wrapped);
		if (!made)
			return STEP_FAIL;
	}
	note(s, "state", "key (%s) and certificate request are stored", s->profile.key_type);
	return to(s, ENROLLMENT_ORDERING);
}

/* ---- ordering: newOrder, which cannot be repeated -------------------------------------------------------------------- */

/* The predecessor died, or the answer was lost: that order may exist at the CA, we cannot know it, it expires there. */
static enum step_result abandon(struct step *s, const char *why)
{
	struct err lost = ERR_INIT;
	time_t wait;

	s->row.abandoned++;
	/* Not one of max-orders: nobody refused it, and a CA that is down for an hour would stop every enrollment until an admin comes. */
	s->row.orders -= s->row.orders > 0;
	s->out.order_outcome = "abandoned";
	forget_order(s);
	note(s, "order_abandoned", "%s; the CA may hold an order that will expire unused (%u so far)", why, s->row.abandoned);
	err_set(&lost, ERR_TEMPORARY, "open order", address_of(s), "%s", s->text);
	tell_trouble(s, &lost);
	/* Late enough that a challenge mail of the lost order is dated before the next one; whoever loses a second answer is in trouble. */
	wait = s->row.abandoned > 1 ? backoff(s->row.abandoned) : jittered(BACKOFF_FIRST / 10);
	move_aside(s, ENROLLMENT_WAITING, ENROLLMENT_ORDERING, time(NULL) + DATE_SKEW + wait);
	return STEP_STAY;
}

/* A challenge mail names an address and no order: of the rows of an address one at a time has an open order.  Each looks before, and once more
 * after its own line in the order book is written, so of two that begin together at least one sees the other. */
static bool alone(struct step *s, struct err *err)
{
	unsigned longest = 0;
	int64_t other;

	for (size_t i = 0; i < s->p->n_cas; i++)
		longest = s->p->cas[i].config->challenge_age > longest ? s->p->cas[i].config->challenge_age : longest;
	if (!store_order_elsewhere(s->p->store, s->row.id, s->now - (time_t)longest, &other, err))
		return false;
	if (!other)
		return true;
	err_set(err, ERR_TEMPORARY, "open order", address_of(s), "enrollment %lld has an order open for the same address; goes on after it", (long long)other);
	if (err) {
		snprintf(err->type, sizeof err->type, "%s", BUDGET_HELD);
		err->retry_at = s->now + ALONE_RETRY + (time_t)random_below(ALONE_RETRY);
	}
	return false;
}

static bool may_order(struct step *s, struct err *err)
{
	if (s->row.orders >= s->ca->config->max_orders)
		return err_set(err, ERR_CA, "open order", address_of(s),
			"%u orders led to no certificate; see `enrollctl show %s` for what the CA said, then `enrollctl retry %s`", s->row.orders,
			address_of(s), address_of(s));
	return alone(s, err) && budget_allows(s->p, s->ca->config, &s->row, s->now, err);
}

/* Counting and claiming the order is one transaction, or two workers, of one enrolld or of two, would pass the cap together. */
static bool begin_order(struct step *s, struct err *err)
{
	struct store_cap caps[BUDGET_CAPS];
	bool begun;

	if (!may_order(s, err))
		return false;
	forget_order(s);
	s->row.orders++;
	s->row.ordered_at = s->now;
	s->out.caps = caps;
	s->out.n_caps = budget_caps(s->p, s->ca->config, s->now, caps);
	s->out.count_order = true;
	begun = set_text(&s->row.ca, s->ca->config->name, err) && intend(s, "newOrder", err);
	if (begun && alone(s, err))
		return true;
	s->row.orders--;
	s->row.ordered_at = 0;
	memset(&s->out, 0, sizeof s->out);
	/* The line in the book, if it was written. */
	if (begun || strcmp(err->type, BUDGET_HELD) != 0)
		s->out.order_outcome = "unsent";
	return false;
}

/* A renewal tells the CA which certificate it takes over from (RFC 9773 section 5): the one that still signs. */
static bool open_order(struct step *s, struct ca_order *o, struct err *err)
{
	char standard[PROFILE_STANDARD_SIZE];
	struct ca_request request = {.addresses = &s->row.addresses, .profile = profile_standard(&s->profile, standard), .usage = s->row.usage,
		.ca_profile = s->profile.ca_profile};
	struct store_certificate_list list = {0};
	bool ok;

	/* Not to know it must not keep anybody from a certificate. */
	if (store_certificates_of(s->p->store, s->row.id, &list, NULL))
		for (size_t i = 0; i < list.n; i++)
			if (strcmp(list.v[i].status, "active") == 0) {
				request.replaces = list.v[i].der;
				request.replaces_len = list.v[i].der_len;
			}
	ok = ca_open(s->ca->ca, &request, o, err);
	s->limited = o->limited;
	o->limited = NULL;
	store_certificate_list_clear(&list);
	return ok;
}

static enum step_result run_ordering(struct step *s, struct err *err)
{
	struct ca_order o = {0};
	enum step_result r = STEP_FAIL;

	if (s->row.intent)
		return abandon(s, "the answer to newOrder was lost when enrolld ended");
	if (!begin_order(s, err))
		return STEP_FAIL;
	if (open_order(s, &o, err)) {
		if (order_to_row(s, &o, err)) {
			note(s, "state", "order %u opened", s->row.orders);
			r = to(s, ENROLLMENT_ORDERED);
		}
	} else if (strcmp(err->type, "lost") == 0) {
		r = abandon(s, err->text);
	} else {
		/* No order exists. One that the CA refused counts towards max-orders: the next will be refused as well. */
		s->out.order_outcome = err->class == ERR_CA ? "refused" : "unsent";
		if (err->class != ERR_CA)
			s->row.orders--;
		forget_order(s);
	}
	ca_order_clear(&o);
	return r;
}

/* ---- ordered: the authorizations (fetching them makes many CAs send their mail) -------------------------------------- */

/* Of several addresses one after the other: this one's turn begins. */
static enum step_result await_challenge_of(struct step *s, const struct ca_order *o, struct err *err)
{
	if (!set_text(&s->row.challenge_from, o->challenge_from, err) || !set_text(&s->row.challenge_address, o->challenge_address, err))
		return STEP_FAIL;
	s->row.trigger_at = s->row.answered_at = 0;
	note(s, "state", "waiting for the challenge mail to %s from %s", challenged(s), o->challenge_from);
	return to(s, ENROLLMENT_CHALLENGE_AWAITED);
}

/* Has the CA validated the address whose turn it was, and named another one? */
static bool next_address(const struct step *s, const struct ca_order *o)
{
	return o->progress == CA_PENDING && o->challenge_address && o->challenge_from && strcmp(o->challenge_address, challenged(s)) != 0;
}

/* The method that an address's authorization shows, when it is another one than CAA was asked about before. */
static bool method_permitted(struct step *s, const struct ca_config *ca, struct caa_request *req, const char *method, struct err *err)
{
	struct caa_result result;
	char type[128];
	bool ok;

	req->method = method;
	snprintf(type, sizeof type, CAA_REFUSED_METHOD "%.100s", method);
	caa_check(&s->p->perspectives, req, &result);
	ok = caa_permits(s, ca, &result, req->address, type, err);
	if (!ok && result.decision == CAA_DENY)
		s->order_dead = s->caa_first = true;
	if (ok && result.decision != CAA_ALLOW)
		ok = commit_keep(s, "caa_reported", s->text, err);
	caa_result_clear(&result);
	return ok;
}

/* Does CAA allow it whatever the method? */
static bool any_method_permitted(struct step *s, struct caa_request *req)
{
	struct caa_result result;
	bool all = true;

	req->method = NULL;
	for (size_t i = 0; all && i < s->row.addresses.n; i++) {
		req->address = s->row.addresses.v[i];
		caa_check(&s->p->perspectives, req, &result);
		all = result.decision == CAA_ALLOW;
		caa_result_clear(&result);
	}
	return all;
}

/* RFC 8657 validationmethods: a CA may hold an address for validated by another method than the one that CAA was asked about.  It must not
 * issue then, so the request for the certificate is not sent.  The CA is asked only where a record makes a difference between methods. */
static bool methods_permitted(struct step *s, struct ca_order *o, struct err *err)
{
	const struct ca_config *ca = s->ca->config;
	struct strlist methods = {0};
	struct ca_info info = {0};
	struct caa_request req;
	bool ok;

	if (ca->caa == CAA_OFF || (o->challenge_from && s->row.addresses.n == 1 && strcmp(ca->caa_method, CA_METHOD_MAIL) == 0))
		return true;
	ok = caa_facts(s, &info, err);
	req = caa_request_of(ca, &info);
	if (ok && !any_method_permitted(s, &req)) {
		ok = order_lives(s, o, ca_methods(s->ca->ca, o, &s->row.addresses, &methods, err), err);
		for (size_t i = 0; ok && i < methods.n; i++) {
			req.address = s->row.addresses.v[i];
			ok = !*methods.v[i] || strcmp(methods.v[i], ca->caa_method) == 0 || method_permitted(s, ca, &req, methods.v[i], err);
		}
	}
	strlist_clear(&methods);
	ca_info_clear(&info);
	return ok;
}

static enum step_result run_ordered(struct step *s, struct err *err)
{
	struct ca_order o;
	enum step_result r = STEP_FAIL;

	if (!look(s, &o, err))
		goto out;
	if ((o.progress == CA_READY || o.challenge_from) && !methods_permitted(s, &o, err))
		goto out;
	if (o.progress == CA_READY) {
		note(s, "state", "the CA holds every address for validated: no challenge mail needed");
		r = to(s, ENROLLMENT_VALIDATED);
	} else if (o.progress == CA_PROCESSING || o.progress == CA_ISSUED) {
		r = to(s, ENROLLMENT_FINALIZED);
	} else if (o.challenge_from) {
		r = await_challenge_of(s, &o, err);
	} else {
		r = order_in_time(s, "name the challenge", err) ? stay(s, poll_at(s, &o)) : STEP_FAIL;
	}
out:
	ca_order_clear(&o);
	return r;
}

/* ---- challenge-awaited: answer the challenge mail, once (RFC 8823 section 3) ------------------------------------------ */

static bool challenge_fits(const struct step *s, const struct challenge *c, const char **why)
{
	char want[ADDRESS_MAX], have[ADDRESS_MAX];

	*why = "it is not from the address the CA named";
	if (!address_key_of(s->row.challenge_from, want, NULL) || !address_key_of(c->from, have, NULL) || strcmp(want, have) != 0)
		return false;
	*why = "it is dated before the order";
	return c->date + DATE_SKEW >= s->row.ordered_at;
}

static bool ignore_challenge(struct step *s, const struct challenge *c, const char *why, struct err *err)
{
	char text[512];

	snprintf(text, sizeof text, "challenge mail %.200s is not answered: %.250s", c->message_id, why);
	s->out.challenge_id = c->id;
	s->out.challenge_state = "ignored";
	return commit_keep(s, "challenge_ignored", text, err);
}

/* The newest fitting one in state new; others that do not fit are marked.  A cap an hour holds back older ones, never the newest. */
static bool choose_challenge(struct step *s, struct challenge_list *l, struct challenge **chosen, struct err *err)
{
	const char *why;

	*chosen = NULL;
	for (size_t i = l->n; i-- > 0;) {
		struct challenge *c = &l->v[i];

		if (strcmp(c->state, "new") != 0 || !fate_has_turn(&s->row, c))
			continue;
		if (!challenge_fits(s, c, &why)) {
			if (!ignore_challenge(s, c, why, err))
				return false;
			continue;
		}
		if (!*chosen)
			*chosen = c;
	}
	return true;
}

static struct challenge *interrupted_challenge(struct challenge_list *l)
{
	for (size_t i = l->n; i-- > 0;)
		if (strcmp(l->v[i].state, "replying") == 0)
			return &l->v[i];
	return NULL;
}

static enum step_result answered(struct step *s, const struct challenge *c, const char *state, const char *what)
{
	s->out.challenge_id = c->id;
	s->out.challenge_state = state;
	/* The first one counts for reply-delay: further mails must not put the POST off. */
	if (!s->row.answered_at)
		s->row.answered_at = s->now;
	note(s, strcmp(state, "replied") == 0 ? "reply_sent" : "reply_in_doubt", "reply to %s: %s", c->message_id, what);
	return to(s, ENROLLMENT_ANSWERED);
}

/* Who sends the reply, and what names it in delivery reports. */
struct envelope {
	char from[ADDRESS_MAX];
	char id[64];  /* "" = none are asked for */
	char token[REPORT_TOKEN_SIZE];
};

static bool make_envelope(const struct step *s, const struct challenge *c, struct envelope *e, struct err *err)
{
	const char *reports = s->p->config->report_address;

	memset(e, 0, sizeof *e);
	snprintf(e->from, sizeof e->from, "%s", challenged(s));
	if (!reports)
		return true;
	report_token_new(e->token);
	if (c->report_token)
		snprintf(e->token, sizeof e->token, "%s", c->report_token);
	snprintf(e->id, sizeof e->id, "e%lld-c%lld", (long long)s->row.id, (long long)c->id);
	return report_address_write(e->from, reports, s->row.id, e->token) ||
	       err_set(err, ERR_CONFIG, "write envelope sender", reports, "reply.report-address = \"%s\" cannot carry the number of an enrollment", reports);
}

/* Message-ID and intent are stored before the mail leaves: whatever happens in between, it leaves at most once. */
static enum step_result send_reply(struct step *s, const struct challenge *c, const struct buf *response, struct err *err)
{
	const struct config *cfg = s->p->config;
	struct buf id = BUF_INIT, mail = BUF_INIT;
	struct envelope envelope;
	enum step_result r = STEP_FAIL;

	/* A reply that certainly did not leave is tried again under its own name. */
	if (c->reply_message_id)
		buf_puts(&id, c->reply_message_id);
	else
		challenge_message_id(&id, challenged(s));
	if (id.failed || !challenge_reply(&mail, challenged(s), c, buf_str(&id), buf_str(response), s->now, err)) {
		/* What it says cannot stand in a reply: this mail is given up, not the enrollment. */
		if (err->class == ERR_POLICY && ignore_challenge(s, c, err->text, err)) {
			err_clear(err);
			r = stay(s, s->now + 1);
		}
		goto out;
	}
	if (!make_envelope(s, c, &envelope, err))
		goto out;
	s->out.challenge_id = c->id;
	s->out.challenge_state = "replying";
	s->out.challenge_reply_id = buf_str(&id);
	s->out.challenge_report_token = *envelope.token ? envelope.token : NULL;
	if (!intend(s, "reply", err))
		goto out;
	switch (challenge_send(cfg->reply_host, cfg->reply_port, cfg->reply_timeout, envelope.from, c->reply_to ? c->reply_to : c->from,
		*envelope.id ? envelope.id : NULL, &mail, err)) {
	case REPLY_ACCEPTED:
		r = answered(s, c, "replied", "accepted by the reply listener");
		break;
	case REPLY_IN_DOUBT:
		r = answered(s, c, "in-doubt", "it may have left and is not sent again, the CA is asked");
		break;
	case REPLY_NOT_SENT:
		s->out.challenge_id = c->id;
		s->out.challenge_state = "new";
		break;
	}
out:
	buf_clear(&id);
	buf_clear(&mail);
	return r;
}

static enum step_result answer_challenge(struct step *s, const struct challenge *c, struct err *err)
{
	struct ca_order o;
	struct buf response = BUF_INIT;
	enum step_result r = STEP_FAIL;

	if (!order_from_row(s, &o, err))
		return STEP_FAIL;
	if (ca_answer(s->ca->ca, &o, c->token_part1, &response, err))
		r = send_reply(s, c, &response, err);
	else if (err->class == ERR_POLICY && ignore_challenge(s, c, err->text, err)) {
		err_clear(err);
		r = stay(s, s->now + 1);
	}
	buf_clear(&response);
	ca_order_clear(&o);
	return r;
}

static enum step_result post_challenge(struct step *s, const char *why, struct err *err)
{
	struct ca_order o;
	time_t next = s->now + (time_t)s->ca->config->poll_seconds;
	bool ok;

	if (!order_from_row(s, &o, err) || !intend(s, "challenge", err)) {
		ca_order_clear(&o);
		return STEP_FAIL;
	}
	ok = order_lives(s, &o, ca_ready(s->ca->ca, &o, err), err);
	if (retry_of(s, &o) > next)
		next = retry_of(s, &o);
	ca_order_clear(&o);
	if (!ok)
		return STEP_FAIL;
	s->row.trigger_at = s->now;
	note(s, "challenge_posted", "%s", why);
	return stay(s, next);
}

/* No mail yet: who moves first is the CA's way (reference: challenge-trigger). */
static enum step_result await_mail(struct step *s, struct err *err)
{
	const struct ca_config *ca = s->ca->config;
	time_t deadline = s->row.ordered_at + (time_t)ca->challenge_age;
	time_t grace = s->row.state_since + (time_t)ca->trigger_grace;
	struct ca_order o;
	enum step_result r = STEP_FAIL;

	if (s->row.answered_at) {
		note(s, "state", "one challenge mail was answered, the other one could not be: the CA is asked");
		return to(s, ENROLLMENT_ANSWERED);
	}
	if (s->now >= deadline) {
		s->order_dead = true;
		err_set(err, ERR_CA, "await challenge mail", address_of(s),
			"no authentic challenge mail from %s arrived in %u seconds; look for it in the mail log and check that mail for %s passes the inbound instance",
			s->row.challenge_from, ca->challenge_age, address_of(s));
		return STEP_FAIL;
	}
	if (s->row.trigger_at == 0) {
		if (ca->trigger == TRIGGER_MAIL_FIRST)
			return stay(s, deadline);
		if (ca->trigger == TRIGGER_AUTO && s->now < grace)
			return stay(s, grace);
		return post_challenge(s, "told the CA to go on before its mail has come", err);
	}
	/* A mail that is of no use woke us. */
	if (s->row.retry_at > s->now)
		return stay(s, s->row.retry_at < deadline ? s->row.retry_at : deadline);
	if (!look(s, &o, err))
		goto out;
	if (o.progress == CA_READY) {
		note(s, "state", "the CA validated the address");
		r = to(s, ENROLLMENT_VALIDATED);
	} else if (next_address(s, &o)) {
		r = await_challenge_of(s, &o, err);
	} else {
		time_t next = o.retry_at > s->now + POLL_MOST ? o.retry_at : s->now + POLL_MOST;

		r = stay(s, next < deadline ? next : deadline);
	}
out:
	ca_order_clear(&o);
	return r;
}

/* Replies of the last hour, and whether a mail newer than this one is there: the cap holds back older mails, never the newest. */
static bool held_by_cap(const struct step *s, const struct challenge_list *l, const struct challenge *c)
{
	unsigned n = 0;
	bool newest = true;

	for (size_t i = 0; i < l->n; i++) {
		if (!fate_has_turn(&s->row, &l->v[i]))
			continue;
		n += &l->v[i] != c && l->v[i].reply_message_id && l->v[i].received_at > s->now - 3600;
		newest = newest && l->v[i].id <= c->id;
	}
	return !newest && n >= s->ca->config->replies_per_hour;
}

static enum step_result run_challenge_awaited(struct step *s, struct err *err)
{
	struct challenge_list list = {0};
	struct challenge *c;
	enum step_result r = STEP_FAIL;

	if (!store_challenges_of(s->p->store, s->row.id, s->row.ordered_at, &list, err))
		goto out;
	c = interrupted_challenge(&list);
	if (c) {
		r = answered(s, c, "in-doubt", "enrolld ended while it was leaving; it is not sent again, the CA is asked");
		goto out;
	}
	if (!choose_challenge(s, &list, &c, err))
		goto out;
	if (c && held_by_cap(s, &list, c)) {
		if (ignore_challenge(s, c, "replies-per-hour is reached, and newer mails were answered", err))
			r = stay(s, s->now + 1);
	} else if (c) {
		r = answer_challenge(s, c, err);
	} else {
		r = await_mail(s, err);
	}
out:
	challenge_list_clear(&list);
	return r;
}

/* ---- answered: tell the CA, wait for its verdict --------------------------------------------------------------------- */

static bool another_challenge(struct step *s, bool *there, struct err *err)
{
	struct challenge_list list = {0};

	*there = false;
	if (!store_challenges_of(s->p->store, s->row.id, s->row.ordered_at, &list, err))
		return false;
	for (size_t i = 0; i < list.n; i++)
		*there = *there || (strcmp(list.v[i].state, "new") == 0 && fate_has_turn(&s->row, &list.v[i]));
	challenge_list_clear(&list);
	return true;
}

/* What is known of the reply, where `enrollctl show` looks: a refusal is the reason why it takes so long, if the CA does not know better. */
static bool show_fate(struct step *s, const struct fate *fate, struct err *err)
{
	if (fate->kind == FATE_BOUNCED) {
		s->row.why_class = ERR_CA;
		s->row.why_status = fate->status;
		s->row.why_at = fate->at;
		return set_text(&s->row.why, fate->text, err) && set_text(&s->row.why_type, fate->type, err) &&
		       set_text(&s->row.why_subject, *fate->server ? fate->server : NULL, err);
	}
	if (fate->kind == FATE_RELAYED)
		forget_why(s);
	return true;
}

/* Delivery reports are hints: they shorten our own waiting, and say why; an order is ended by the CA or by the clock alone. */
static bool heed_reports(struct step *s, struct fate *fate, struct err *err)
{
	static const char *const events[] = {
		[FATE_UNKNOWN] = NULL, [FATE_DELAYED] = "reply_delayed", [FATE_BOUNCED] = "reply_bounced", [FATE_RELAYED] = "reply_relayed"};

	if (!fate_read(s->p->store, &s->row, fate, err))
		return false;
	if (!fate->news)
		return true;
	s->out.reports_seen = fate->newest;
	return show_fate(s, fate, err) && commit_keep(s, events[fate->kind], fate->text, err);
}

/* As order_in_time; a reply that was refused is not waited for all day. */
static bool verdict_in_time(struct step *s, const struct fate *fate, struct err *err)
{
	if (fate->kind == FATE_BOUNCED && s->now >= fate->at + BOUNCE_PATIENCE) {
		s->order_dead = true;
		err_set(err, ERR_CA, "await the CA", *fate->server ? fate->server : address_of(s),
			"%s. The CA did not judge the order otherwise in the %d seconds since", fate->text, BOUNCE_PATIENCE);
		if (err) {
			snprintf(err->type, sizeof err->type, "%s", fate->type);
			err->status = fate->status;
		}
		return false;
	}
	if (order_in_time(s, "judge the reply", err))
		return true;
	if (err && fate->kind != FATE_UNKNOWN)
		snprintf(err->text + strlen(err->text), sizeof err->text - strlen(err->text), "; %s", fate->text);
	return false;
}

static enum step_result await_verdict(struct step *s, const struct ca_order *o, const struct fate *fate, struct err *err)
{
	char text[1200];

	if (!verdict_in_time(s, fate, err))
		return STEP_FAIL;
	snprintf(text, sizeof text, "%s%s", fate->text, fate->kind == FATE_RELAYED ? "; the CA has not judged it yet" : "");
	if (fate->kind != FATE_UNKNOWN && !set_text(&s->row.activity, text, err))
		return STEP_FAIL;
	return stay(s, poll_at(s, o));
}

static enum step_result run_answered(struct step *s, struct err *err)
{
	time_t told_at = s->row.answered_at + (time_t)s->ca->config->reply_delay;
	struct fate fate;
	struct ca_order o;
	enum step_result r = STEP_FAIL;
	bool another;

	/* Somebody may have opened an order for this address with an account of their own: the one we answered first need not be ours. */
	if (!another_challenge(s, &another, err))
		return STEP_FAIL;
	if (another) {
		note(s, "state", "one more authentic challenge mail came: the CA repeats itself, or somebody else asks for a certificate in this name");
		return to(s, ENROLLMENT_CHALLENGE_AWAITED);
	}
	if (!heed_reports(s, &fate, err))
		return STEP_FAIL;
	if (s->now < told_at && !fate.taken)
		return stay(s, told_at);
	if (s->row.trigger_at == 0)
		return post_challenge(s, fate.taken ? "told the CA that its mail server has the reply" : "told the CA that the reply is on its way", err);
	/* A report woke us: of the waiting, only reply-delay is ours to shorten. */
	if (s->row.planned_at > s->now && s->row.planned_at != told_at)
		return stay(s, s->row.planned_at);
	if (s->row.retry_at > s->now)
		return stay(s, s->row.retry_at);
	if (!look(s, &o, err))
		goto out;
	if (o.progress == CA_READY || o.progress == CA_PROCESSING || o.progress == CA_ISSUED) {
		note(s, "state", "the CA validated the address");
		r = to(s, ENROLLMENT_VALIDATED);
	} else if (next_address(s, &o)) {
		r = await_challenge_of(s, &o, err);
	} else {
		r = await_verdict(s, &o, &fate, err);
	}
out:
	ca_order_clear(&o);
	return r;
}

/* ---- validated, finalized: the certificate comes into being, once ---------------------------------------------------- */

static enum step_result run_validated(struct step *s, struct err *err)
{
	struct ca_order o;
	bool ok;

	if (!order_from_row(s, &o, err) || !intend(s, "finalize", err)) {
		ca_order_clear(&o);
		return STEP_FAIL;
	}
	ok = order_lives(s, &o, ca_finalize(s->ca->ca, &o, s->row.csr, s->row.csr_len, err), err);
	if (ok) {
		note(s, "state", "certificate request sent");
		to(s, ENROLLMENT_FINALIZED);
		if (o.retry_at > s->now)
			s->row.next_at = retry_of(s, &o);
	}
	ca_order_clear(&o);
	return ok ? STEP_MOVE : STEP_FAIL;
}

static bool keep_certificate(struct step *s, const struct buf *pem, struct err *err)
{
	s->out.certificate = &s->certificate;
	return certificate_read(&s->certificate, &s->row, pem, s->ca->anchors, err);
}

static enum step_result run_finalized(struct step *s, struct err *err)
{
	struct ca_order o;
	struct buf pem = BUF_INIT;
	enum step_result r = STEP_FAIL;

	if (!look(s, &o, err)) {
		/* A refusal of the question says nothing of the order, and giving it up could mean a second certificate.  What the order itself
		 * says (a status of 200) counts at once. */
		if (s->order_dead && err->status >= 400 && s->row.attempts < FINALIZED_TRIES) {
			s->order_dead = false;
			err->class = ERR_TEMPORARY;
		}
		goto out;
	}
	if (o.progress == CA_READY || o.progress == CA_PENDING) {
		/* The request never reached the CA; or this CA takes it and stays as it is, for ever. */
		if (!order_in_time(s, "take the certificate request", err))
			goto out;
		note(s, "state", "the CA has not seen the certificate request: it is sent again");
		r = to(s, ENROLLMENT_VALIDATED);
		s->row.next_at = s->now + jittered(POLL_MOST / 2);
	} else if (o.progress == CA_PROCESSING) {
		r = order_in_time(s, "issue the certificate", err) ? stay(s, poll_at(s, &o)) : STEP_FAIL;
	} else {
		bool ok = ca_fetch(s->ca->ca, &o, &pem, err);

		if (order_to_row(s, &o, ok ? err : NULL) && ok && keep_certificate(s, &pem, err)) {
			s->out.order_outcome = "finalized";
			note(s, "state", "certificate %s issued by %s", s->certificate.serial, s->certificate.issuer);
			r = to(s, ENROLLMENT_ISSUED);
		}
	}
out:
	buf_clear(&pem);
	ca_order_clear(&o);
	return r;
}

/* ---- issued: believe nothing that comes back --------------------------------------------------------------------------- */

static bool load_certificate(struct step *s, struct err *err)
{
	bool found;

	if (!store_certificate_get(s->p->store, s->row.certificate_id, &s->certificate, &found, err))
		return false;
	if (!found)
		return err_set(err, ERR_BUG, "load certificate", address_of(s), "certificate %lld is not in the store", (long long)s->row.certificate_id);
	s->out.certificate = &s->certificate;
	return true;
}

static enum step_result run_issued(struct step *s, struct err *err)
{
	struct findings findings = {0};
	struct buf text = BUF_INIT;
	enum step_result r = STEP_FAIL;

	if (!load_certificate(s, err) || !certificate_judge(&s->certificate, &s->row, &s->profile, s->ca, s->now, &findings, err))
		goto out;
	findings_text(&findings, &text);
	if (findings.errors > 0 && findings.errors == findings.passing) {
		err_set(err, ERR_TEMPORARY, "check certificate", address_of(s), "%.900s", buf_str(&text));
		goto out;
	}
	if (!set_text(&s->certificate.why, findings.n ? buf_str(&text) : NULL, err) ||
		!set_text(&s->certificate.status, findings.errors ? "refused" : "checked", err))
		goto out;
	if (findings.errors) {
		/* The key was certified, if wrongly: it is not used for another request. */
		s->row.key_id = 0;
		s->row.certificate_id = 0;
		s->order_dead = true;
		err_set(err, ERR_POLICY, "check certificate", address_of(s),
			"the certificate is not what was asked for and is not used: %.700s; talk to the CA, then `enrollctl retry %s`", buf_str(&text), address_of(s));
		goto out;
	}
	note(s, "state", "certificate checked against %s: good%s%.600s", s->profile.name, findings.n ? ", with advice: " : "", buf_str(&text));
	r = to(s, ENROLLMENT_CHECKED);
out:
	findings_clear(&findings);
	buf_clear(&text);
	return r;
}

/* ---- checked, published, active ---------------------------------------------------------------------------------------- */

static enum step_result run_checked(struct step *s, struct err *err)
{
	struct decision d;
	const char *publish;
	size_t cleared;
	char *dn = NULL;
	bool ok;

	rules_follow(s->p->config, config_rule(s->p->config, s->row.rule), &d);
	publish = d.publish;

	if (!load_certificate(s, err))
		return STEP_FAIL;
	if (!s->p->directory || strcmp(publish, "none") == 0) {
		note(s, "state", "not published (publish = \"none\")");
		return set_text(&s->certificate.status, "published", err) ? to(s, ENROLLMENT_PUBLISHED) : STEP_FAIL;
	}
	ok = directory_publish(s->p->directory, address_of(s), s->certificate.der, s->certificate.der_len, &dn, err);
	if (dn) { /* or a part of it, when that is all that succeeded */
		s->certificate.in_directory = true;
		free(s->certificate.directory_dn);
		s->certificate.directory_dn = dn;
	}
	ok = ok && hygiene_clear_foreign(s->p, s->row.id, address_of(s), dn, &cleared, err);
	if (ok) {
		note(s, "published", "certificate is in the directory at %s", dn);
	} else if (strcmp(publish, "best-effort") == 0) {
		note(s, "not_published", "going on without the directory (publish = \"best-effort\"): %.900s", err->text);
		err_clear(err);
	} else {
		return STEP_FAIL;
	}
	return set_text(&s->certificate.status, "published", err) ? to(s, ENROLLMENT_PUBLISHED) : STEP_FAIL;
}

/* Once a certificate. */
static bool warn_if_late(struct step *s, struct err *err)
{
	char text[400], begin[32], end[32], again[32];

	if (!renewal_came_late(&s->certificate))
		return true;
	snprintf(text, sizeof text, "the certificate is valid from %s to %s: more than two thirds of that were over when it came, so it is renewed at %s; "
		"look at the clock of this host and at what the CA issues", time_text(s->certificate.not_before, begin),
		time_text(s->certificate.not_after, end), time_text(renewal_by_age(&s->certificate), again));
	log_event(LOG_LEVEL_WARNING, "short_life", "enrollment", LOG_NUM(s->row.id), "address", address_of(s), "serial", s->certificate.serial, "text", text, NULL);
	return commit_keep(s, "short_life", text, err);
}

/* When an active row is due: its renewal, the next question to the CA about that, or the next look at rules and directory. */
static enum step_result rest(struct step *s)
{
	time_t next = s->now + jittered(REVIEW_SECONDS);

	if (s->plan.at < next)
		next = s->plan.at;
	if (s->plan.look > s->now && s->plan.look < next)
		next = s->plan.look;
	return stay(s, next);
}

/* The certificate for encryption is asked for when the one for signing is there. */
static bool companion_wanted(struct step *s, const struct decision *d, struct err *err)
{
	bool created;

	if (s->row.companion_of || !d->certificate || d->certificate->usage != USAGE_SPLIT || strcmp(s->row.usage, usage_name(USAGE_SIGN)) != 0)
		return true; /* a dual one is enough until its renewal */
	return store_enrollment_companion_request(s->p->store, &s->row, &created, err);
}

static enum step_result run_published(struct step *s, struct err *err)
{
	struct decision d;

	rules_follow(s->p->config, config_rule(s->p->config, s->row.rule), &d);
	if (!load_certificate(s, err))
		return STEP_FAIL;
	s->out.certificate = NULL;
	if (!warn_if_late(s, err) || !set_text(&s->certificate.status, "active", err))
		return STEP_FAIL;
	s->out.certificate = &s->certificate;
	if (s->row.companion_of)
		note(s, "state", "mail to %s can be encrypted with it from now on", address_of(s));
	else if (d.certificate)
		note(s, "state", "mail of %s is signed from now on", address_of(s));
	else
		note(s, "state", "rule \"%s\" says that mail of %s is not signed", s->row.rule, address_of(s));
	to(s, ENROLLMENT_ACTIVE);
	s->row.orders = 0;
	/* The rules are asked at once: they may have changed while the CA had the order.  A companion is asked for then as well, as until this
	 * commit there is nothing to stand beside. */
	s->row.next_at = s->now;
	return STEP_MOVE;
}

/* Why an active row's mail is not signed: what `enrollctl show` says, and how a later look knows that it was said. */
static bool tell_barred(struct step *s, const struct rule *rule, struct err *err)
{
	char text[400];

	forget_why(s);
	snprintf(text, sizeof text, "rule \"%s\" says certificate = \"" CERTIFICATE_NONE "\": its mail is not signed any more", rule->name);
	s->row.why_class = ERR_POLICY;
	s->row.why_at = s->now;
	return set_text(&s->row.why, text, err) && set_text(&s->row.why_type, ELIGIBILITY_EXCLUDED, err);
}

/* Another rule decides than before, or the same one says something else: who signs by it sees its name in the row.  Another kind of certificate
 * comes with the renewal. */
static enum step_result follow_rules(struct step *s, const struct verdict *v, struct err *err)
{
	const char *was = s->row.rule ? s->row.rule : "", *is = v->decision.rule ? v->decision.rule->name : "";
	bool barred = s->row.why_type && strcmp(s->row.why_type, ELIGIBILITY_EXCLUDED) == 0, bar = !v->decision.certificate;
	const char *then = bar ? "; by it, its mail is not signed any more" : barred ? "; its mail is signed again" : "";

	if (!companion_wanted(s, &v->decision, err))
		return STEP_FAIL;
	if (strcmp(was, is) != 0 || bar != barred) {
		if (!*is)
			note(s, "rule", "no rule is about this address any more; it was \"%s\"%s", was, then);
		else if (strcmp(was, is) == 0)
			note(s, "rule", "rule \"%s\" is about this address, and has changed%s", is, then);
		else
			note(s, "rule", "rule \"%s\" is about this address%s%s%s%s", is, *was ? " now; it was \"" : " now", was, *was ? "\"" : "", then);
		s->out.decided = true;
		if (!set_text(&s->row.rule, *is ? is : NULL, err) || (bar && !tell_barred(s, v->decision.rule, err)))
			return STEP_FAIL;
	}
	if (barred && !bar)
		forget_why(s);
	return rest(s);
}

/* Addresses of the certificate, behind the first, that are in its entry no more: whoever has them now does not sign with it. */
static bool drop_lost_addresses(struct step *s, const struct verdict *v, bool *lost, struct err *err)
{
	struct strlist kept = {0};

	*lost = false;
	for (size_t i = 0; i < s->row.addresses.n; i++) {
		if (i > 0 && !directory_person_spelling(&v->person, s->row.addresses.v[i]))
			*lost = true;
		else if (!strlist_add(&kept, s->row.addresses.v[i])) {
			strlist_clear(&kept);
			return err_nomem(err, "look at addresses");
		}
	}
	strlist_clear(&s->row.addresses);
	s->row.addresses = kept;
	s->out.decided = s->out.decided || *lost;
	return true;
}

/* A companion goes the way of its first row: when that is over, or of other addresses or another entry, so is this. */
static bool companion_fits(struct step *s, bool *fits, struct err *err)
{
	struct enrollment first = {0};
	bool found = false, ok = store_enrollment_get(s->p->store, s->row.companion_of, &first, &found, err);

	*fits = ok && found && first.state < ENROLLMENT_SUPERSEDED && !directory_identity_differs(first.entry, s->row.entry) &&
		first.addresses.n == s->row.addresses.n;
	for (size_t i = 0; *fits && i < first.addresses.n; i++)
		*fits = strcmp(first.addresses.v[i], s->row.addresses.v[i]) == 0;
	enrollment_clear(&first);
	return ok;
}

static enum step_result follow_first(struct step *s, const struct verdict *v, struct err *err)
{
	bool fits;

	if (!companion_fits(s, &fits, err))
		return STEP_FAIL;
	if (fits)
		return follow_rules(s, v, err);
	note(s, "owner", "the certificate for signing is over, or of other addresses: this one follows");
	return to(s, ENROLLMENT_RENEWING);
}

/* Is the certificate still that of whoever has the address now?  One that names somebody else, or addresses of somebody else, signs no longer. */
static enum step_result follow_owner(struct step *s, const struct verdict *v, struct err *err)
{
	bool lost;

	if (s->row.companion_of)
		return follow_first(s, v, err);
	if (v->found != DIRECTORY_ONE)
		return follow_rules(s, v, err);
	if (went_to_another(s, v)) {
		note(s, "owner", "the address is of another directory entry now, %.300s: its mail is not signed until a new certificate is there", v->person.dn);
		return retire(s, err) ? to(s, ENROLLMENT_RENEWING) : STEP_FAIL;
	}
	if (!drop_lost_addresses(s, v, &lost, err))
		return STEP_FAIL;
	if (lost) {
		note(s, "owner", "an address of the certificate is not in its directory entry any more: a new certificate is asked for");
		return to(s, ENROLLMENT_RENEWING);
	}
	if (!s->row.entry && set_text(&s->row.entry, v->person.identity, NULL)) /* a row of before */
		s->out.decided = true;
	return follow_rules(s, v, err);
}

/* Another CA than the one it came from is not asked. */
static bool plan_renewal(struct step *s, struct err *err)
{
	const struct enroll_ca *ca = enroll_ca_find(s->p, s->row.ca);

	if (!renewal_plan(s->p, ca, &s->certificate, s->now, &s->plan, err))
		return false;
	if (!s->plan.urged[0])
		return true;
	log_event(LOG_LEVEL_WARNING, "renewal_urged", "enrollment", LOG_NUM(s->row.id), "address", address_of(s), "serial", s->certificate.serial, "text",
		s->plan.urged, NULL);
	return commit_keep(s, "renewal_urged", s->plan.urged, err);
}

/* Between two renewals the row is looked at once a day, and when the configuration changed.  That the directory cannot be asked is no trouble of
 * this row: its certificate stands. */
static enum step_result run_active(struct step *s, struct err *err)
{
	struct verdict v;
	enum step_result r;

	if (!load_certificate(s, err))
		return STEP_FAIL;
	s->out.certificate = NULL; /* read only */
	if (!plan_renewal(s, err))
		return STEP_FAIL;
	if (s->now >= s->plan.at) {
		note(s, "state", "time for a new certificate; the present one signs until the new one is active");
		return to(s, ENROLLMENT_RENEWING);
	}
	if (decide(s->p, address_of(s), s->row.id, &v, NULL, err)) {
		r = follow_owner(s, &v, err);
	} else {
		err_clear(err);
		r = rest(s);
		s->row.next_at = s->now + jittered(RECHECK_CONFIG) < s->row.next_at ? s->now + jittered(RECHECK_CONFIG) : s->row.next_at;
	}
	verdict_clear(&v);
	return r;
}

/* Always a new key (reference: renewal on the same key made old mail unreadable); the old certificate row stays active meanwhile. */
static enum step_result run_renewing(struct step *s, struct err *err)
{
	s->row.key_id = 0;
	s->row.certificate_id = 0;
	s->row.orders = s->row.abandoned = 0;
	forget_order(s);
	note(s, "state", "renewal begins");
	return to(s, ENROLLMENT_REQUESTED);
}

/* ---- the table ------------------------------------------------------------------------------------------------------------ */

static const struct state_rule rules[] = {
	{ENROLLMENT_REQUESTED, "directory", run_requested, TO(ENROLLMENT_ELIGIBLE) | TO(ENROLLMENT_SUPERSEDED)},
	{ENROLLMENT_ELIGIBLE, "dns", run_eligible, TO(ENROLLMENT_CAA_CHECKED)},
	{ENROLLMENT_CAA_CHECKED, NULL, run_caa_checked, TO(ENROLLMENT_ORDERING)},
	{ENROLLMENT_ORDERING, "newOrder", run_ordering, TO(ENROLLMENT_ORDERED)},
	{ENROLLMENT_ORDERED, "authorization", run_ordered, TO(ENROLLMENT_CHALLENGE_AWAITED) | TO(ENROLLMENT_VALIDATED) | TO(ENROLLMENT_FINALIZED)},
	{ENROLLMENT_CHALLENGE_AWAITED, "reply", run_challenge_awaited, TO(ENROLLMENT_CHALLENGE_AWAITED) | TO(ENROLLMENT_ANSWERED) | TO(ENROLLMENT_VALIDATED)},
	{ENROLLMENT_ANSWERED, "challenge", run_answered, TO(ENROLLMENT_CHALLENGE_AWAITED) | TO(ENROLLMENT_VALIDATED)},
	{ENROLLMENT_VALIDATED, "finalize", run_validated, TO(ENROLLMENT_FINALIZED)},
	{ENROLLMENT_FINALIZED, "certificate", run_finalized, TO(ENROLLMENT_ISSUED) | TO(ENROLLMENT_VALIDATED)},
	{ENROLLMENT_ISSUED, NULL, run_issued, TO(ENROLLMENT_CHECKED)},
	{ENROLLMENT_CHECKED, "publish", run_checked, TO(ENROLLMENT_PUBLISHED)},
	{ENROLLMENT_PUBLISHED, NULL, run_published, TO(ENROLLMENT_ACTIVE)},
	{ENROLLMENT_ACTIVE, NULL, run_active, TO(ENROLLMENT_RENEWING)},
	{ENROLLMENT_RENEWING, NULL, run_renewing, TO(ENROLLMENT_REQUESTED)},
};

static const struct state_rule *rule_of(enum enrollment_state state)
{
	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
		if (rules[i].state == state)
			return &rules[i];
	return NULL;
}

/* ---- failure: one place decides what a class of error means --------------------------------------------------------------- */

static void tell(struct step *s, const struct err *err)
{
	char status[24] = "";

	if (err->status)
		snprintf(status, sizeof status, " (status %d)", err->status);
	note(s, enrollment_state_name(s->row.state), "%s%s%s%s: %s", err->op, err->subject[0] ? " " : "", err->subject, status, err->text);
}

static void fail(struct step *s, const struct err *err)
{
	enum enrollment_state resume = s->caa_first ? ENROLLMENT_ELIGIBLE : s->order_dead ? ENROLLMENT_REQUESTED : s->began;
	time_t again;
	bool news;

	if (s->order_dead) {
		if (!s->out.order_outcome)
			s->out.order_outcome = "invalid";
		forget_order(s);
	}
	news = tell_trouble(s, err);
	/* What is held back has not failed: it does not come back later and later. */
	again = strcmp(err->type, BUDGET_HELD) == 0 ? err->retry_at : s->now + backoff(++s->row.attempts);
	/* Somebody's word not to come before is kept, and spread: a thousand rows heard the same word. */
	if (err->retry_at > again)
		again = (err->retry_at < s->now + RETRY_MOST ? err->retry_at : s->now + RETRY_MOST) + (time_t)random_below(POLL_MOST);
	switch (err->class) {
	case ERR_CONFIG:
		move_aside(s, ENROLLMENT_BLOCKED, resume, s->now + jittered(RECHECK_CONFIG));
		break;
	case ERR_POLICY:
		/* Who may have a certificate changes with directory and pilot: such rows look again by themselves. */
		if (resume == ENROLLMENT_REQUESTED && !s->order_dead && err->retry_at <= s->now)
			move_aside(s, ENROLLMENT_BLOCKED, resume, s->now + jittered(RECHECK_POLICY));
		else
			move_aside(s, ENROLLMENT_BLOCKED, resume, err->retry_at > s->now ? err->retry_at : 0);
		break;
	case ERR_CA:
		if (s->row.orders >= s->ca->config->max_orders)
			move_aside(s, ENROLLMENT_BLOCKED, ENROLLMENT_REQUESTED, 0);
		else
			move_aside(s, ENROLLMENT_WAITING, resume, again);
		break;
	case ERR_BUG:
		move_aside(s, ENROLLMENT_FAILED, resume, 0);
		break;
	case ERR_NONE:
	case ERR_TEMPORARY:
		move_aside(s, ENROLLMENT_WAITING, resume, again);
		break;
	}
	if (news)
		tell(s, err);
	/* A limit on another request holds that request: it has its own Retry-After. */
	if (s->began == ENROLLMENT_ORDERING)
		budget_heed(s->p, s->ca->config, s->limited, err, s->now);
}

/* Nothing of it was about the order: the account's key is another one, and somebody who has it goes on with the row. */
static void heed_key(struct step *s, struct err *err)
{
	if (!s->ca || !account_gate_doubt(s->p, s->ca, err))
		return;
	s->order_dead = false;
	if (s->out.order_outcome && strcmp(s->out.order_outcome, "refused") == 0) {
		s->out.order_outcome = "unsent";
		s->row.orders -= s->row.orders > 0;
	}
}

/* ---- one step ---------------------------------------------------------------------------------------------------------------- */

static void log_step(const struct step *s, const struct err *err)
{
	bool meant = strcmp(err->type, ELIGIBILITY_EXCLUDED) == 0; /* the admin said so */
	bool trouble = (s->row.state == ENROLLMENT_BLOCKED && !meant) || s->row.state == ENROLLMENT_FAILED;
	enum log_level level = trouble ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO;
	char until[32];

	if (!s->event[0] && (s->row.state == s->began || s->row.state == ENROLLMENT_WAITING || s->row.state == ENROLLMENT_BLOCKED))
		return; /* neither polls are news, nor what is held back still */
	log_event(level, "enrollment", "enrollment", LOG_NUM(s->row.id), "address", address_of(s), "from", enrollment_state_name(s->began), "state",
		enrollment_state_name(s->row.state), "what", s->event, "class", err->class == ERR_NONE ? NULL : err_class_name(err->class), "type",
		err->type[0] ? err->type : NULL, "until", s->row.state == ENROLLMENT_WAITING ? time_text(s->row.next_at, until) : NULL, "text", s->text, NULL);
}

/* Which CA and which kind of certificate the row is about.  Either may have left the configuration since it was decided: then what was begun
 * is given up, and decided anew.  Another CA is not asked for an order that it never had, with an account that it does not know. */
static bool find_subject(struct step *s, struct err *err)
{
	const struct config *c = s->p->config;
	const struct certificate_profile *profile = config_certificate(c, s->row.profile);
	bool begun = s->began >= ENROLLMENT_ELIGIBLE && s->began <= ENROLLMENT_ISSUED;
	/* What the CA may have certified already is fetched all the same, so that the store has it; it is given up when it would be judged. */
	bool certified = s->began >= ENROLLMENT_VALIDATED && s->began <= ENROLLMENT_FINALIZED;

	s->ca = enroll_ca_find(s->p, s->row.ca);
	s->profile = profile_for(profile ? profile : &c->certificate, s->row.usage);
	if (begun && (!s->ca || (!profile && !certified)))
		s->order_dead = true;
	if (!s->ca && begun)
		err_set(err, ERR_CA, "read order", address_of(s),
			"the order was opened at \"%s\", and the configuration now names \"%s\" (ca.name); a new one follows", s->row.ca, c->ca.name);
	else if (!profile && begun && !certified)
		err_set(err, ERR_CA, "read order", address_of(s),
			"it asked for a certificate of kind \"%s\", which the configuration has no more; a new one follows", s->row.profile);
	if (!s->ca)
		s->ca = enroll_ca_find(s->p, "");
	return !s->order_dead;
}

static void run(struct step *s, struct err *err)
{
	const struct state_rule *rule;
	enum step_result r;

	if ((s->row.state == ENROLLMENT_WAITING || s->row.state == ENROLLMENT_BLOCKED || s->row.state == ENROLLMENT_FAILED) && rule_of(s->row.resume)) {
		s->row.state = s->row.resume;
		s->row.state_since = s->now;
	}
	s->began = s->row.state;
	rule = rule_of(s->began);
	if (!rule) {
		s->row.next_at = 0; /* nothing happens by itself in this state */
		return;
	}
	r = find_subject(s, err) ? rule->run(s, err) : STEP_FAIL;
	if (r == STEP_MOVE && !(rule->next & TO(s->row.state))) {
		err_set(err, ERR_BUG, "enrollment step", address_of(s), "%s does not lead to %s", enrollment_state_name(s->began),
			enrollment_state_name(s->row.state));
		r = STEP_FAIL;
	}
	if (r == STEP_FAIL) {
		heed_key(s, err);
		fail(s, err);
	}
}

static bool finish(struct step *s, struct err *why, struct err *err);

/* Another row took the last place of cap-total between counting and writing. */
static bool finish_full(struct step *s, struct err *why, struct err *err)
{
	memset(&s->out, 0, sizeof s->out);
	err_clear(why);
	budget_full(s->p, &s->row, s->now, why);
	fail(s, why);
	return finish(s, why, err);
}

static bool finish(struct step *s, struct err *why, struct err *err)
{
	free(s->row.intent);
	s->row.intent = NULL;
	s->out.row = &s->row;
	s->out.keep_lease = false;
	s->out.event = s->event[0] ? s->event : NULL;
	s->out.actor = "enrolld";
	s->out.text = s->text;
	s->out.class = why->class;
	/* What was learned outside (an order's URL, a certificate) is worth more than one try. */
	for (unsigned tries = 0; !store_step_commit(s->p->store, &s->out, &s->stale, err);) {
		if (!err || !store_worth_another_try(&tries, err))
			return false;
		err_clear(err);
	}
	return !s->out.full || finish_full(s, why, err);
}

const struct enroll_ca *enroll_ca_find(const struct enroll_parts *p, const char *name)
{
	if (!name || !*name)
		return p->n_cas ? &p->cas[0] : NULL;
	for (size_t i = 0; i < p->n_cas; i++)
		if (strcmp(p->cas[i].config->name, name) == 0)
			return &p->cas[i];
	return NULL;
}

/* Somebody changed the row, or it was we, by a commit whose answer was lost: it goes on as it is now.  The lease that is still on it would keep everybody
 * away until it ends. */
static bool leave_changed(struct step *s, const char *owner, struct err *err)
{
	log_event(LOG_LEVEL_INFO, "enrollment_stale", "enrollment", LOG_NUM(s->row.id), "address", address_of(s), NULL);
	return store_leases_release(s->p->store, owner, err);
}

bool enrollment_step(struct enroll_parts *p, const char *owner, bool *did, struct err *err)
{
	struct step s = {.p = p, .now = time(NULL)};
	struct err why = ERR_INIT;
	bool ok;

	*did = false;
	if (account_gate_shut(p))
		return true;
	if (!store_enrollment_claim(p->store, owner, s.now, LEASE_SECONDS, &s.row, did, err) || !*did)
		return !(err && err->class != ERR_NONE);
	s.interrupted = s.row.intent != NULL;
	run(&s, &why);
	/* A step whose own transaction found the row changed has lost it: whoever changed it decides. */
	ok = s.stale || finish(&s, &why, err);
	if (ok && !s.stale)
		log_step(&s, &why);
	else if (ok)
		ok = leave_changed(&s, owner, err);
	store_certificate_clear(&s.certificate);
	enrollment_clear(&s.row);
	free(s.limited);
	return ok;
}

void enrollment_describe(struct buf *out, bool json)
{
	buf_puts(out, json ? "[" : "");
	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
		const struct state_rule *r = &rules[i];
		const char *sep = "";

		if (json)
			buf_printf(out, "%s{\"state\": \"%s\", \"outside\": %s%s%s, \"next\": [", i ? ",\n " : "", enrollment_state_name(r->state),
				r->outside ? "\"" : "", r->outside ? r->outside : "null", r->outside ? "\"" : "");
		else
			buf_printf(out, "%-18s %-14s ", enrollment_state_name(r->state), r->outside ? r->outside : "-");
		for (int n = 0; n < ENROLLMENT_STATES; n++) {
			if (!(r->next & TO(n)))
				continue;
			buf_printf(out, json ? "%s\"%s\"" : "%s%s", sep, enrollment_state_name((enum enrollment_state)n));
			sep = json ? ", " : " ";
		}
		buf_puts(out, json ? "]}" : "\n");
	}
	buf_puts(out, json ? "]\n" : "");
}
