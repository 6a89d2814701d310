/*
 * enroll/acme_order.c - one order at an ACME CA: what ca.h promises.
 *
 * The hard idea is recovery.  Whatever was sent before a crash, the order's URL is enough to find out where it stands, and so every
 * function here but acme_open begins from what the CA says, not from what we believe.  acme_open is the exception that cannot be
 * repaired: an order whose URL never reached us is lost, and the caller is told so (err.type "lost").
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "enroll/acme.h"
#include "enroll/member.h"
#include "enroll/problem.h"

#define CHAIN_OCTETS_MAX (256u * 1024u)

static void activity(struct ca_order *o, const char *what, const char *url)
{
	snprintf(o->activity, sizeof o->activity, "%s %s", what, url);
}

static void replace_string(char **where, const char *s)
{
	char *copy = str_dup(s);

	free(*where);
	*where = copy;
}

/* The later of two times not to come back before.  The present second has partly gone: counted as a whole one, we would come early. */
static void heed_retry_after(struct ca_order *o, const struct http_response *r)
{
	time_t at = http_retry_after(r->retry_after, time(NULL));

	if (at)
		at++;
	if (at > o->retry_at)
		o->retry_at = at;
}

static void forget_challenge(struct ca_order *o)
{
	free(o->challenge_from);
	free(o->challenge_address);
	o->challenge_from = o->challenge_address = NULL;
}

/* Take over what an order object says.  Lists and URLs are moved out of `order`. */
static void learn(struct acme_state *s, struct acme_order *order)
{
	free(s->finalize);
	s->finalize = order->finalize;
	order->finalize = NULL;
	if (order->certificate && order->status == ACME_VALID) {
		free(s->certificate);
		s->certificate = order->certificate;
		order->certificate = NULL;
	}
	strlist_clear(&s->authorizations);
	s->authorizations = order->authorizations;
	order->authorizations = (struct strlist){0};
}

static enum ca_progress progress_of(enum acme_status status)
{
	switch (status) {
	case ACME_PENDING:
		return CA_PENDING;
	case ACME_READY:
		return CA_READY;
	case ACME_PROCESSING:
		return CA_PROCESSING;
	case ACME_VALID:
		return CA_ISSUED;
	default:
		return CA_INVALID;
	}
}

/* What the CA has just said need not be asked again by the next call. */
static void keep_word(struct acme *a, struct acme_state *s, enum ca_progress progress)
{
	char ticket[24];

	if (progress != CA_READY && progress != CA_PENDING)
		return;
	acme_ticket_new(a, ticket);
	replace_string(&s->ticket, ticket);
	replace_string(&s->seen, progress == CA_READY ? "ready" : "pending");
}

static bool seen(struct acme *a, struct acme_state *s, const char *status)
{
	bool is = s->seen && strcmp(s->seen, status) == 0 && acme_ticket_take(a, s->ticket);

	if (is)
		replace_string(&s->ticket, NULL);
	return is;
}

static bool post_as_get(struct acme *a, const char *op, const char *url, struct acme_answer *answer, struct err *err)
{
	struct acme_call call = {.op = op, .url = url};

	return acme_post(a, &call, answer, err);
}

/* ---- new order --------------------------------------------------------------------------------------------------- */

static json_t *new_order_payload(const struct acme *a, const struct ca_request *request, const char *replaces)
{
	const struct strlist *addresses = request->addresses;
	json_t *identifiers = json_array();
	int bad = 0;

	for (size_t i = 0; i < addresses->n; i++)
		bad |= json_array_append_new(identifiers, json_pack("{s:s, s:s}", "type", a->set.identifier_type, "value", addresses->v[i]));
	if (bad || !identifiers) {
		json_decref(identifiers);
		return NULL;
	}
	return json_pack("{s:o, s:s*, s:s*}", "identifiers", identifiers, "profile",
		request->ca_profile ? request->ca_profile : a->set.profile, "replaces", replaces);
}

/* The predecessor as RFC 9773 section 5 names it; NULL without one, or when this CA knows no such word. */
static char *replaces_of(struct acme *a, const struct ca_request *request)
{
	struct buf id = BUF_INIT;
	char *url = NULL, *text = NULL;

	if (request->replaces && acme_resource(a, ACME_RENEWAL_INFO, &url, NULL) && acme_certificate_id(request->replaces, request->replaces_len, &id))
		text = buf_take(&id);
	buf_clear(&id);
	free(url);
	return text;
}

/* The order would be fine without the predecessor: it was replaced already, or it is of an account that we had before.  What the CA calls
 * that is its own choice, except for the first; another refusal comes again without it. */
static bool predecessor_refused(const struct acme_answer *answer, const struct err *err)
{
	if (answer->http.status < 400 || answer->http.status >= 500)
		return false; /* the CA may hold an order all the same */
	return strcmp(err->type, "alreadyReplaced") == 0 || answer->http.status == 409 || strcmp(err->type, "malformed") == 0 ||
	       strcmp(err->type, "unauthorized") == 0;
}

/* Only "lost" means that the CA may hold an order we know nothing of.  503 says that the server was "unable to handle the request"
 * (RFC 9110 section 15.6.4) and 4xx that it would not; any other 5xx can come from a server that had done half of it. */
static void name_fate(const struct acme_answer *answer, struct err *err)
{
	const char *fate = NULL;

	if (!err)
		return;
	if (!answer->sent) {
		if (err->class == ERR_TEMPORARY)
			fate = "unsent";
	} else if (answer->http.status == 503) {
		fate = "unsent";
	} else if (answer->http.status < 300 || answer->http.status >= 500) {
		fate = "lost";
	}
	if (fate)
		snprintf(err->type, sizeof err->type, "%s", fate);
	acme_blame(answer, err);
}

/* With a URL the order is ours, even when nothing else of the answer can be read: the next look finds the rest. */
static bool opened(struct acme *a, const struct acme_answer *answer, const char *url, const struct strlist *addresses, struct ca_order *out,
	struct err *err)
{
	struct acme_state s = {0};
	struct acme_order order = {0};
	bool ok = true;

	s.order = http_url_resolve(url, answer->http.location);
	if (!s.order) {
		struct member_source from = {.op = "new order", .url = url, .err = err};

		return member_wrong(&from, "it names no URL for the order");
	}
	for (size_t i = 0; ok && i < addresses->n; i++)
		ok = strlist_add(&s.addresses, addresses->v[i]) || err_nomem(err, "new order");
	out->progress = CA_PENDING;
	if (acme_order_parse(answer->http.body.data, answer->http.body.len, s.order, &order, NULL)) {
		out->progress = order.status == ACME_INVALID ? CA_PENDING : progress_of(order.status); /* a look will say why */
		if (order.status != ACME_INVALID)
			keep_word(a, &s, out->progress);
		learn(&s, &order);
	}
	acme_order_clear(&order);
	ok = ok && acme_state_save(&s, &out->state, err);
	acme_state_clear(&s);
	return ok;
}

/* One newOrder.  A refusal is a certain one when answer->http.status is 4xx. */
static bool order_post(struct acme *a, const char *url, const struct ca_request *request, const char *replaces, struct acme_answer *answer,
	struct ca_order *out, struct err *err)
{
	json_t *payload = new_order_payload(a, request, replaces);
	struct acme_call call = {.op = "new order", .url = url, .payload = payload, .once = true};
	bool taken;

	if (!payload)
		return err_set(err, ERR_BUG, call.op, url, "the addresses cannot be written as JSON");
	taken = acme_post(a, &call, answer, err);
	json_decref(payload);
	/* An answer cut off behind its header still tells where the order is. */
	if (taken || (answer->sent && answer->http.location && answer->http.status >= 200 && answer->http.status < 300))
		return opened(a, answer, url, request->addresses, out, err);
	return false;
}

bool acme_open(struct acme *a, const struct ca_request *request, struct ca_order *out, struct err *err)
{
	struct acme_answer answer = {0};
	struct err own = ERR_INIT;
	char *url = NULL, *replaces = NULL;
	bool ok = false;

	activity(out, "opening an order at", a->set.directory_url);
	if (acme_ready(a, &own) && (!request->ca_profile || acme_profile_offered(a, request->ca_profile, &own)) &&
		acme_resource(a, ACME_NEW_ORDER, &url, &own)) {
		activity(out, "opening an order at", url);
		replaces = replaces_of(a, request);
		ok = order_post(a, url, request, replaces, &answer, out, &own);
		if (!ok && replaces && predecessor_refused(&answer, &own)) {
			activity(out, "opening an order, without its predecessor, at", url);
			acme_answer_clear(&answer);
			ok = order_post(a, url, request, NULL, &answer, out, &own);
		}
	}
	if (ok) {
		heed_retry_after(out, &answer.http);
		err_clear(&own);
	} else {
		if (strcmp(own.type, "rateLimited") == 0)
			out->limited = problem_identifiers(&answer.http);
		name_fate(&answer, &own);
	}
	if (err)
		*err = own;
	acme_answer_clear(&answer);
	free(replaces);
	free(url);
	return ok;
}

/* ---- looking ----------------------------------------------------------------------------------------------------- */

static bool authorization_fetch(struct acme *a, const char *url, struct ca_order *o, struct acme_authorization *out, struct err *err)
{
	struct acme_answer answer = {0};
	bool ok;

	memset(out, 0, sizeof *out);
	activity(o, "asking the CA for authorization", url);
	ok = post_as_get(a, "fetch authorization", url, &answer, err) &&
	     (acme_authorization_parse(answer.http.body.data, answer.http.body.len, url, out, err) || acme_blame(&answer, err));
	if (ok)
		heed_retry_after(o, &answer.http);
	acme_answer_clear(&answer);
	return ok;
}

/* Our own spelling of an identifier; NULL when it is none of ours.  A state written before addresses were kept has none to compare
 * with. */
static const char *our_address(const struct acme_state *s, const char *identifier)
{
	char wanted[ADDRESS_MAX] = "", have[ADDRESS_MAX];
	bool is_address = address_key_of(identifier, wanted, NULL);

	for (size_t i = 0; i < s->addresses.n; i++)
		if (strcmp(identifier, s->addresses.v[i]) == 0 ||
			(is_address && address_key_of(s->addresses.v[i], have, NULL) && strcmp(wanted, have) == 0))
			return s->addresses.v[i];
	return s->addresses.n ? NULL : identifier;
}

static void dead(struct ca_order *o)
{
	o->progress = CA_INVALID;
	forget_challenge(o);
}

/* A pending authorization: note what the mail will look like, or find that there is no way on. */
static void await_challenge(struct acme_state *s, struct ca_order *o, const char *url, const struct acme_authorization *z, struct err *err)
{
	const char *address = our_address(s, z->identifier);

	if (!address) {
		dead(o);
		err_set(err, ERR_CA, "validate address", url, "the CA asks for a proof about \"%s\", which this order was not for", z->identifier);
	} else if (!z->has_challenge) {
		dead(o);
		err_set(err, ERR_CA, "validate address", url,
			"the CA offers no validation by mail (email-reply-00) for %s, only: %s. Ask the CA to enable RFC 8823, or to validate the domain beforehand",
			address, *z->offered ? z->offered : "nothing");
	} else if (z->challenge_status == ACME_INVALID) {
		dead(o);
		problem_from_objects(z->error, NULL, "validate address", z->challenge, 200, err);
	} else if (!o->challenge_address) {
		/* One at a time: the next one's turn comes when this one is valid. */
		replace_string(&s->challenge, z->challenge);
		replace_string(&s->token, z->token);
		replace_string(&s->address, address);
		replace_string(&o->challenge_address, address);
		replace_string(&o->challenge_from, z->from);
	}
}

/* An order that is pending: look at each authorization. */
static bool look_pending(struct acme *a, struct acme_state *s, struct ca_order *o, struct err *err)
{
	struct acme_authorization z;

	for (size_t i = 0; i < s->authorizations.n && o->progress == CA_PENDING; i++) {
		const char *url = s->authorizations.v[i];

		if (!authorization_fetch(a, url, o, &z, err))
			return false;
		if (z.status == ACME_PENDING) {
			await_challenge(s, o, url, &z, err);
		} else if (z.status != ACME_VALID) {
			dead(o);
			problem_from_objects(z.error, NULL, "validate address", url, 200, err);
			if (!z.error)
				err_set(err, ERR_CA, "validate address", url, "the CA ended the validation of %s without saying why", z.identifier);
		}
		acme_authorization_clear(&z);
	}
	return true;
}

/* An order that is invalid: the words that matter are mostly those of the challenge that failed. */
static void look_invalid(struct acme *a, struct acme_state *s, struct ca_order *o, const struct acme_order *order, struct err *err)
{
	struct acme_authorization z = {0};
	const char *where = s->order;

	dead(o);
	for (size_t i = 0; i < s->authorizations.n && !z.error; i++) {
		acme_authorization_clear(&z);
		if (!authorization_fetch(a, s->authorizations.v[i], o, &z, NULL))
			break;
		where = z.error ? s->authorizations.v[i] : s->order;
	}
	if (z.error || order->error)
		problem_from_objects(z.error, order->error, "look at order", where, 200, err);
	else
		err_set(err, ERR_CA, "look at order", s->order,
			"the CA made the order invalid without saying why. Often the reply was late, was altered on its way, or failed DMARC at the CA");
	acme_authorization_clear(&z);
}

static bool look_by_status(struct acme *a, struct acme_state *s, struct ca_order *o, const struct acme_order *order, struct err *err)
{
	o->progress = progress_of(order->status);
	if (o->progress != CA_PENDING)
		forget_challenge(o);
	if (o->progress == CA_READY)
		keep_word(a, s, CA_READY);
	if (o->progress == CA_INVALID)
		look_invalid(a, s, o, order, err);
	return o->progress != CA_PENDING || look_pending(a, s, o, err);
}

/* The CA does not know the order, or not as ours: it will never be anything but dead.  A bare 404 may be a broken proxy and proves
 * nothing. */
static bool order_gone(const struct acme_answer *answer, const struct err *err)
{
	long status = answer->http.status;

	return strcmp(err->type, "unauthorized") == 0 || ((status == 404 || status == 410) && strncmp(err->type, "http-", 5) != 0);
}

static bool look_state(struct acme *a, struct acme_state *s, struct ca_order *o, struct err *err)
{
	struct acme_answer answer = {0};
	struct acme_order order = {0};
	bool ok;

	o->retry_at = 0;
	activity(o, "asking the CA for order", s->order);
	replace_string(&s->ticket, NULL);
	ok = post_as_get(a, "look at order", s->order, &answer, err);
	if (!ok && order_gone(&answer, err)) {
		dead(o);
		err->class = ERR_CA;
		ok = true;
	} else if (ok) {
		heed_retry_after(o, &answer.http);
		ok = acme_order_parse(answer.http.body.data, answer.http.body.len, s->order, &order, err) || acme_blame(&answer, err);
		if (ok) {
			learn(s, &order);
			forget_challenge(o);
			ok = look_by_status(a, s, o, &order, err);
		}
	}
	acme_order_clear(&order);
	acme_answer_clear(&answer);
	return ok;
}

/* State in, work, state out - also when the work failed, as something may have been learned. */
static bool with_state(struct acme *a, struct ca_order *o, bool (*work)(struct acme *, struct acme_state *, struct ca_order *, void *, struct err *),
	void *arg, struct err *err)
{
	struct acme_state s;
	struct err own = ERR_INIT;
	bool ok;

	if (!acme_state_load(o->state, &s, err))
		return false;
	if (o->progress == CA_INVALID)
		o->progress = CA_PENDING; /* of an earlier call */
	/* A ticket says that we saw the order ourselves, and not what another enrolld on this store did with it since. */
	if (o->in_doubt)
		replace_string(&s.ticket, NULL);
	ok = work(a, &s, o, arg, &own);
	if (o->progress == CA_INVALID)
		ok = false; /* own says why */
	if (!acme_state_save(&s, &o->state, ok ? &own : NULL))
		ok = false;
	acme_state_clear(&s);
	if (err)
		*err = own;
	return ok;
}

/* An order that is valid stays so, and is fetched from where it said; one that was just opened or seen ready is as it was.  What the
 * authorizations of a new order say is all there is to know while one of them is pending. */
static bool work_look(struct acme *a, struct acme_state *s, struct ca_order *o, void *arg, struct err *err)
{
	o->retry_at = 0;
	if (s->certificate) {
		forget_challenge(o);
		o->progress = CA_ISSUED;
		return true;
	}
	if (seen(a, s, "ready")) {
		forget_challenge(o);
		o->progress = CA_READY;
		keep_word(a, s, CA_READY);
		return true;
	}
	if (seen(a, s, "pending") && s->authorizations.n) {
		forget_challenge(o);
		o->progress = CA_PENDING;
		if (!look_pending(a, s, o, err))
			return false;
		if (o->progress != CA_PENDING || o->challenge_address)
			return true;
	}
	return look_state(a, s, o, err);
}

bool acme_look(struct acme *a, struct ca_order *o, struct err *err)
{
	return with_state(a, o, work_look, NULL, err);
}

/* ---- what the authorizations show -------------------------------------------------------------------------------- */

struct methods_wanted {
	const struct strlist *addresses;
	struct strlist *methods;
};

/* Is the authorization about this address?  A CA that validates domains may name the domain instead. */
static bool is_about(const char *identifier, const char *address)
{
	char wanted[ADDRESS_MAX], have[ADDRESS_MAX];
	const char *at;

	if (!address_key_of(address, have, NULL))
		return false;
	if (address_key_of(identifier, wanted, NULL))
		return strcmp(wanted, have) == 0;
	at = strrchr(have, '@');
	return at && domain_canonical(identifier, wanted) && strcmp(wanted, at + 1) == 0;
}

static const char *method_of(const struct acme_authorization *z)
{
	if (z->status == ACME_VALID)
		return z->validated ? z->validated : "";
	return z->status == ACME_PENDING && z->has_challenge ? CA_METHOD_MAIL : "";
}

static bool work_methods(struct acme *a, struct acme_state *s, struct ca_order *o, void *arg, struct err *err)
{
	const struct methods_wanted *w = arg;
	struct acme_authorization z;
	bool ok = true;

	if (!s->authorizations.n && !look_state(a, s, o, err))
		return false;
	for (size_t i = 0; ok && i < w->addresses->n; i++)
		ok = strlist_add(w->methods, "") || err_nomem(err, "fetch authorization");
	for (size_t i = 0; ok && i < s->authorizations.n; i++) {
		ok = authorization_fetch(a, s->authorizations.v[i], o, &z, err);
		for (size_t n = 0; ok && n < w->addresses->n; n++)
			if (is_about(z.identifier, w->addresses->v[n]))
				replace_string(&w->methods->v[n], method_of(&z));
		if (ok)
			acme_authorization_clear(&z);
	}
	for (size_t i = 0; ok && i < w->methods->n; i++)
		ok = w->methods->v[i] || err_nomem(err, "fetch authorization");
	return ok;
}

bool acme_methods(struct acme *a, struct ca_order *o, const struct strlist *addresses, struct strlist *methods, struct err *err)
{
	struct methods_wanted wanted = {addresses, methods};

	return with_state(a, o, work_methods, &wanted, err);
}

/* ---- the challenge ----------------------------------------------------------------------------------------------- */

bool acme_answer_for(struct acme *a, const struct ca_order *o, const char *token_part1, struct buf *response, struct err *err)
{
	struct acme_state s;
	struct jws_key *key;
	bool ok;

	if (!acme_state_load(o->state, &s, err))
		return false;
	/* No request goes out here that would show that the account has another key by now; and one challenge mail gets one answer. */
	acme_key_notice(a);
	key = acme_key_hold(a);
	ok = s.token ? ca_key_authorization(a->set.token_join, token_part1, s.token, jws_thumbprint(key), response, err) :
		       err_set(err, ERR_BUG, "answer challenge", s.order, "the order has no challenge to answer");
	jws_key_free(key);
	acme_state_clear(&s);
	return ok;
}

/* What the CA answered to the POST.  An answer that cannot be read matters little: the next look says where things stand. */
static void challenge_answered(struct acme_state *s, struct ca_order *o, const struct http_response *r, struct err *err)
{
	enum acme_status status;
	json_t *error = NULL;

	heed_retry_after(o, r);
	if (acme_challenge_parse(r->body.data, r->body.len, s->challenge, &status, &error, NULL) && status == ACME_INVALID) {
		dead(o);
		problem_from_objects(error, NULL, "start validation", s->challenge, r->status, err);
	}
	json_decref(error);
}

/* A refusal may mean that the validation is over already, as after a POST whose answer was lost: then the look says so. */
static bool challenge_refused(struct acme *a, struct acme_state *s, struct ca_order *o, const struct err *refusal, struct err *err)
{
	err_clear(err);
	if (refusal->class == ERR_CA && look_state(a, s, o, err) && o->progress != CA_PENDING)
		return true;
	*err = *refusal;
	return false;
}

static bool work_challenge_ready(struct acme *a, struct acme_state *s, struct ca_order *o, void *arg, struct err *err)
{
	struct acme_call call = {.op = "start validation"};
	struct acme_answer answer = {0};
	struct err refusal;
	bool ok;

	if (!s->challenge) {
		if (!look_state(a, s, o, err))
			return false;
		if (!s->challenge)
			return o->progress != CA_PENDING || err_set(err, ERR_TEMPORARY, call.op, s->order, "the CA has no challenge open for this order");
	}
	call.url = s->challenge;
	call.payload = json_object();
	if (!call.payload)
		return err_nomem(err, call.op);
	o->retry_at = 0;
	o->progress = CA_PENDING;
	activity(o, "telling the CA to validate, at", s->challenge);
	ok = acme_post(a, &call, &answer, err);
	if (ok) {
		challenge_answered(s, o, &answer.http, err);
	} else if (answer.http.status >= 400) {
		refusal = *err;
		ok = challenge_refused(a, s, o, &refusal, err);
	}
	acme_answer_clear(&answer);
	json_decref((json_t *)(uintptr_t)call.payload);
	return ok;
}

bool acme_challenge_ready(struct acme *a, struct ca_order *o, struct err *err)
{
	return with_state(a, o, work_challenge_ready, NULL, err);
}

/* ---- finalize and fetch ------------------------------------------------------------------------------------------ */

struct csr {
	const void *der;
	size_t len;
};

static json_t *finalize_payload(const struct csr *csr)
{
	struct buf text = BUF_INIT;
	json_t *payload;

	base64url_encode(&text, csr->der, csr->len);
	payload = text.failed ? NULL : json_pack("{s:s}", "csr", buf_str(&text));
	buf_clear(&text);
	return payload;
}

/* The CSR was taken.  Whatever the answer looks like, the order is past "ready". */
static void finalized(struct acme_state *s, struct ca_order *o, const struct http_response *r, struct err *err)
{
	struct acme_order order = {0};

	heed_retry_after(o, r);
	o->progress = CA_PROCESSING;
	if (acme_order_parse(r->body.data, r->body.len, s->order, &order, NULL)) {
		if (order.status == ACME_VALID)
			o->progress = CA_ISSUED;
		if (order.status == ACME_INVALID) {
			dead(o);
			problem_from_objects(NULL, order.error, "finalize order", s->order, r->status, err);
		}
		learn(s, &order);
	}
	acme_order_clear(&order);
}

/* After "orderNotReady": fine when that is because the order is past it. */
static bool finalize_over(const struct acme_state *s, const struct ca_order *o, struct err *err)
{
	if (o->progress != CA_READY && o->progress != CA_PENDING)
		return true;
	return err_set(err, ERR_TEMPORARY, "finalize order", s->finalize, "the CA says that the order is not ready%s",
		o->progress == CA_READY ? ", and that it is" : "");
}

static bool finalize_post(struct acme *a, struct acme_state *s, struct ca_order *o, const struct csr *csr, struct err *err)
{
	json_t *payload = finalize_payload(csr);
	struct acme_call call = {.op = "finalize order", .url = s->finalize, .payload = payload, .once = true};
	struct acme_answer answer = {0};
	bool ok;

	if (!payload)
		return err_nomem(err, call.op);
	o->retry_at = 0;
	activity(o, "sending the certificate request to", s->finalize);
	ok = acme_post(a, &call, &answer, err);
	if (ok) {
		finalized(s, o, &answer.http, err);
	} else if (strcmp(err->type, "orderNotReady") == 0) {
		err_clear(err);
		ok = look_state(a, s, o, err) && finalize_over(s, o, err);
	}
	acme_answer_clear(&answer);
	json_decref(payload);
	return ok;
}

static bool work_finalize(struct acme *a, struct acme_state *s, struct ca_order *o, void *arg, struct err *err)
{
	bool seen_ready = seen(a, s, "ready") && s->finalize;

	if (!seen_ready && !look_state(a, s, o, err))
		return false;
	if (!seen_ready && o->progress == CA_PENDING)
		return err_set(err, ERR_TEMPORARY, "finalize order", s->order, "the CA has not validated every address of the order yet");
	if (!seen_ready && o->progress != CA_READY)
		return true;
	acme_ticket_take(a, s->ticket); /* of the look above */
	replace_string(&s->ticket, NULL);
	o->progress = CA_READY;
	return finalize_post(a, s, o, arg, err);
}

bool acme_finalize(struct acme *a, struct ca_order *o, const void *csr, size_t len, struct err *err)
{
	struct csr arg = {csr, len};

	return with_state(a, o, work_finalize, &arg, err);
}

static bool chain_taken(const struct http_response *r, const char *url, struct buf *pem, struct err *err)
{
	struct member_source from = {.op = "fetch certificate", .url = url, .err = err};

	if (!r->content_type || strcmp(r->content_type, "application/pem-certificate-chain") != 0)
		return member_wrong(&from, "its type is \"%.60s\", not application/pem-certificate-chain", r->content_type ? r->content_type : "");
	return acme_chain_parse(r->body.data, r->body.len, url, pem, err);
}

/* One chain; `alternates`, when not NULL, takes the URLs of the others. */
static bool chain_fetch(struct acme *a, const char *url, struct buf *pem, struct strlist *alternates, struct err *err)
{
	struct acme_call call = {.op = "fetch certificate", .url = url, .accept = "application/pem-certificate-chain", .max_body = CHAIN_OCTETS_MAX};
	struct acme_answer answer = {0};
	bool ok = acme_post(a, &call, &answer, err) && (chain_taken(&answer.http, url, pem, err) || acme_blame(&answer, err));

	if (ok && alternates)
		ok = http_links(&answer.http.links, "alternate", url, ACME_ALTERNATES_MAX, alternates) || err_nomem(err, call.op);
	acme_answer_clear(&answer);
	return ok;
}

/* Look for a chain that ends in the preferred issuer (RFC 8555 section 7.4.2).  The default chain is as good a certificate, so that an alternate
 * that cannot be had is passed over. */
static void chain_prefer(struct acme *a, struct ca_order *o, const struct strlist *alternates, struct buf *pem)
{
	struct buf other = BUF_INIT;
	bool found = false;

	for (size_t i = 0; i < alternates->n && !found; i++) {
		buf_reset(&other);
		found = chain_fetch(a, alternates->v[i], &other, NULL, NULL) && acme_chain_ends_in(&other, a->set.preferred_issuer);
		if (found)
			activity(o, "took the preferred chain from", alternates->v[i]);
	}
	if (found) {
		buf_clear(pem);
		*pem = other;
		return;
	}
	snprintf(o->activity, sizeof o->activity, "took the CA's default chain: of %zu alternates, none ends in \"%.100s\" (ca.preferred-issuer)",
		alternates->n, a->set.preferred_issuer);
	buf_clear(&other);
}

static bool work_fetch(struct acme *a, struct acme_state *s, struct ca_order *o, void *arg, struct err *err)
{
	const char *preferred = a->set.preferred_issuer;
	struct strlist alternates = {0};
	struct buf *pem = arg;
	bool ok;

	if (!s->certificate) {
		if (!look_state(a, s, o, err))
			return false;
		if (!s->certificate)
			return o->progress == CA_INVALID || err_set(err, ERR_TEMPORARY, "fetch certificate", s->order, "the CA has no certificate for this order yet");
	}
	o->retry_at = 0;
	activity(o, "fetching the certificate from", s->certificate);
	ok = chain_fetch(a, s->certificate, pem, preferred ? &alternates : NULL, err);
	if (ok && preferred && !acme_chain_ends_in(pem, preferred))
		chain_prefer(a, o, &alternates, pem);
	if (ok)
		o->progress = CA_ISSUED;
	else
		replace_string(&s->certificate, NULL); /* next time the order is asked again where it is */
	strlist_clear(&alternates);
	return ok;
}

bool acme_fetch(struct acme *a, struct ca_order *o, struct buf *pem, struct err *err)
{
	return with_state(a, o, work_fetch, pem, err);
}
