/*
 * enroll/exec_driver.c - a CA behind a program of the admin's; enroll-milter-exec(7) is the contract.
 *
 * Opening an order asks nobody: it makes up an id, which the enrollment stores before anything leaves.  ca_finalize sends the request under
 * that id.  When its answer is lost (a crash, a time limit), the same request goes out again under the same id, and the program has to answer
 * what became of the first: so that there is never more than one certificate for one need, although we cannot know what it did.
 */
#include "config.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "enroll/ca_driver.h"
#include "enroll/ca_count.h"
#include "enroll/exec.h"

#define CONTRACT_VERSION 1
#define ID_OCTETS 18
#define CHECK_SECONDS 3600
#define ASK_AGAIN_LEAST 60
#define ASK_AGAIN_MOST 86400

struct exec {
	struct exec_runner *runner;
	pthread_mutex_t lock; /* below */
	struct ca_info info;  /* what the last check said */
	time_t checked_at;    /* 0 = never */
	unsigned label;       /* metrics_ca */
};

/* ---- one question -------------------------------------------------------------------------------------------------- */

/* Takes the question; adds what every question has. */
static bool ask(struct exec *x, enum exec_action action, json_t *question, struct exec_answer *out, struct err *err)
{
	struct buf answer = BUF_INIT;
	struct exec_words words;
	int64_t began = metrics_now();
	char *text = NULL;
	bool ok = false;

	memset(out, 0, sizeof *out);
	if (question && json_object_set_new(question, "version", json_integer(CONTRACT_VERSION)) == 0 &&
		json_object_set_new(question, "action", json_string(exec_action_name(action))) == 0)
		text = json_dumps(question, JSON_COMPACT);
	if (!text)
		err_nomem(err, "ask the CA's program");
	else
		ok = exec_run(x->runner, exec_action_name(action), text, strlen(text), &answer, &words, err) &&
		     exec_answer_read(action, exec_runner_program(x->runner), &words, buf_str(&answer), answer.len, time(NULL), out, err);
	ca_count_program(x->label, exec_action_name(action), metrics_now() - began, ok, err);
	free(text);
	buf_clear(&answer);
	json_decref(question);
	return ok;
}

static json_t *pem_json(int (*write)(BIO *, const void *), const void *what)
{
	BIO *mem = BIO_new(BIO_s_mem());
	json_t *j = NULL;
	char *text;
	long n;

	if (mem && what && write(mem, what) && (n = BIO_get_mem_data(mem, &text)) > 0)
		j = json_stringn(text, (size_t)n);
	BIO_free(mem);
	return j;
}

static int write_certificate(BIO *out, const void *what)
{
	return PEM_write_bio_X509(out, what);
}

static int write_request(BIO *out, const void *what)
{
	return PEM_write_bio_X509_REQ(out, what);
}

static json_t *certificate_json(const void *der, size_t len, struct err *err)
{
	const unsigned char *p = der;
	X509 *x = d2i_X509(NULL, &p, (long)len);
	json_t *j = pem_json(write_certificate, x);

	if (!j)
		err_openssl(err, ERR_BUG, "ask the CA's program", "certificate");
	X509_free(x);
	return j;
}

/* ---- an order's state: {"id", "addresses", "profile", "usage", "replaces", "pending", "state", "chain"} ---------------- */

/* NULL when it cannot be used: a state that another driver wrote belongs to an order that this one cannot go on with. */
static json_t *state_load(struct ca_order *o, struct err *err)
{
	json_t *s = o->state ? json_loads(o->state, 0, NULL) : NULL;

	if (json_is_string(json_object_get(s, "id")) && json_is_array(json_object_get(s, "addresses")))
		return s;
	json_decref(s);
	o->progress = CA_INVALID;
	err_set(err, ERR_CA, "read order", "", "the order was not opened through driver \"exec\"; a new one follows");
	return NULL;
}

static bool state_save(struct ca_order *o, const json_t *s, struct err *err)
{
	char *text = s ? json_dumps(s, JSON_COMPACT) : NULL;

	if (!text)
		return err_nomem(err, "keep order");
	free(o->state);
	o->state = text;
	return true;
}

/* What the program is told of the order, whatever the question. */
static json_t *question_of(const json_t *s)
{
	return json_pack("{s:O, s:O, s:O, s:O, s:O?, s:O*}", "id", json_object_get(s, "id"), "addresses", json_object_get(s, "addresses"), "profile",
		json_object_get(s, "profile"), "usage", json_object_get(s, "usage"), "state", json_object_get(s, "state"),
		"ca_profile", json_object_get(s, "ca_profile"));
}

static void activity(struct ca_order *o, const struct exec *x, enum exec_action action)
{
	snprintf(o->activity, sizeof o->activity, "asking %.200s to \"%s\"", exec_runner_program(x->runner), exec_action_name(action));
}

/* Put what was answered to a request or poll into state and order. */
static bool take_answer(struct ca_order *o, json_t *s, const struct exec_answer *a, struct err *err)
{
	bool ok;

	if (a->status == EXEC_ISSUED) {
		json_object_del(s, "pending");
		json_object_del(s, "state");
		ok = json_object_set_new(s, "chain", json_string(a->chain)) == 0;
		o->progress = CA_ISSUED;
	} else {
		/* No new state: the old one is still good. */
		ok = json_object_set_new(s, "pending", json_true()) == 0 &&
		     (!a->state || json_object_set_new(s, "state", json_loads(a->state, JSON_DECODE_ANY, NULL)) == 0);
		o->progress = CA_PROCESSING;
		o->retry_at = a->retry_after ? time(NULL) + a->retry_after : 0;
	}
	return (ok || err_nomem(err, "keep order")) && state_save(o, s, err);
}

static bool ask_about(struct exec *x, struct ca_order *o, json_t *s, enum exec_action action, json_t *question, struct err *err)
{
	struct exec_answer a;
	struct err why = ERR_INIT;
	bool ok;

	activity(o, x, action);
	ok = ask(x, action, question, &a, &why);
	if (ok)
		ok = take_answer(o, s, &a, &why);
	else if (why.class == ERR_CA)
		o->progress = CA_INVALID;
	if (!ok && err)
		*err = why;
	exec_answer_clear(&a);
	return ok;
}

/* ---- the functions of ca.h ----------------------------------------------------------------------------------------- */

static bool exec_open(void *self, const struct ca_request *request, struct ca_order *out, struct err *err)
{
	json_t *s = NULL, *addresses = json_array(), *replaces = NULL;
	struct buf id = BUF_INIT;
	bool ok = addresses != NULL;

	(void)self;
	for (size_t i = 0; ok && i < request->addresses->n; i++)
		ok = json_array_append_new(addresses, json_string(request->addresses->v[i])) == 0;
	random_text(&id, ID_OCTETS);
	ok = (ok && !id.failed) || err_nomem(err, "open order");
	if (ok && request->replaces)
		ok = (replaces = certificate_json(request->replaces, request->replaces_len, err)) != NULL;
	if (ok) {
		s = json_pack("{s:s, s:O, s:s, s:s, s:O*, s:s*}", "id", buf_str(&id), "addresses", addresses, "profile", request->profile, "usage",
			request->usage, "replaces", replaces, "ca_profile", request->ca_profile);
		ok = state_save(out, s, err);
	}
	if (ok)
		snprintf(out->activity, sizeof out->activity, "order noted down as %s", buf_str(&id));
	out->progress = CA_READY;
	buf_clear(&id);
	json_decref(s);
	json_decref(addresses);
	json_decref(replaces);
	return ok;
}

static bool exec_look(void *self, struct ca_order *o, struct err *err)
{
	json_t *s = state_load(o, err);
	bool ok = s != NULL;

	if (!s)
		return false;
	if (json_object_get(s, "chain"))
		o->progress = CA_ISSUED;
	else if (!json_object_get(s, "pending"))
		o->progress = CA_READY;
	else
		ok = ask_about(self, o, s, EXEC_POLL, question_of(s), err);
	json_decref(s);
	return ok;
}

/* The CSR is ours and in the store: the program gets it with the request, and with every repetition of it. */
static json_t *request_question(const json_t *s, const void *csr, size_t len, struct err *err)
{
	const unsigned char *p = csr;
	X509_REQ *req = d2i_X509_REQ(NULL, &p, (long)len);
	json_t *q = question_of(s), *pem = pem_json(write_request, req), *replaces = json_object_get(s, "replaces");

	X509_REQ_free(req);
	if (!pem) {
		json_decref(q);
		err_openssl(err, ERR_BUG, "ask the CA's program", "certificate request");
		return NULL;
	}
	if (!q || json_object_set_new(q, "csr", pem) != 0 || json_object_set(q, "replaces", replaces ? replaces : json_null()) != 0) {
		json_decref(q);
		err_nomem(err, "ask the CA's program");
		return NULL;
	}
	return q;
}

static bool exec_finalize(void *self, struct ca_order *o, const void *csr, size_t len, struct err *err)
{
	json_t *s = state_load(o, err), *q;
	bool ok = s != NULL;

	if (!s)
		return false;
	if (json_object_get(s, "chain")) {
		o->progress = CA_ISSUED;
	} else if (json_object_get(s, "pending")) {
		o->progress = CA_PROCESSING;
	} else {
		q = request_question(s, csr, len, err);
		ok = q && ask_about(self, o, s, EXEC_REQUEST, q, err);
	}
	json_decref(s);
	return ok;
}

/* The chain leaves the state with this: the enrollment stores it where certificates are.  Should that fail, the order is looked at as one that
 * was not sent yet, and the program answers the repeated request with the certificate. */
static bool exec_fetch(void *self, struct ca_order *o, struct buf *pem, struct err *err)
{
	json_t *s = NULL;
	bool ok = exec_look(self, o, err);

	if (ok && o->progress != CA_ISSUED)
		return err_set(err, ERR_TEMPORARY, "fetch certificate", "", "the certificate is not there yet");
	ok = ok && (s = state_load(o, err)) != NULL;
	if (ok) {
		buf_puts(pem, json_string_value(json_object_get(s, "chain")));
		json_object_del(s, "chain");
		ok = (!pem->failed || err_nomem(err, "fetch certificate")) && state_save(o, s, err);
		o->progress = CA_ISSUED;
	}
	json_decref(s);
	return ok;
}

/* No challenge is ever offered, so nobody comes here but by a defect. */
static bool exec_answer_mail(void *self, const struct ca_order *o, const char *token_part1, struct buf *response, struct err *err)
{
	(void)self, (void)o, (void)token_part1, (void)response;
	return err_set(err, ERR_POLICY, "answer challenge", "", "a CA behind driver \"exec\" is not answered by mail");
}

static bool exec_ready(void *self, struct ca_order *o, struct err *err)
{
	(void)self, (void)err;
	o->progress = CA_READY;
	return true;
}

static const char *reason_name(enum ca_reason reason)
{
	switch (reason) {
	case CA_REASON_UNSPECIFIED:
		break;
	case CA_REASON_KEY_COMPROMISE:
		return "keyCompromise";
	case CA_REASON_AFFILIATION_CHANGED:
		return "affiliationChanged";
	case CA_REASON_SUPERSEDED:
		return "superseded";
	case CA_REASON_CESSATION:
		return "cessationOfOperation";
	case CA_REASON_PRIVILEGE_WITHDRAWN:
		return "privilegeWithdrawn";
	}
	return "unspecified";
}

static bool exec_revoke(void *self, const void *der, size_t len, enum ca_reason reason, EVP_PKEY *key, struct err *err)
{
	struct exec *x = self;
	json_t *certificate = certificate_json(der, len, err);
	struct exec_answer a;
	bool ok;

	(void)key; /* the program has its own way to show the CA who asks */
	if (!certificate)
		return false;
	ok = ask(x, EXEC_REVOKE, json_pack("{s:o, s:s}", "certificate", certificate, "reason", reason_name(reason)), &a, err);
	if (ok && a.status == EXEC_UNSUPPORTED)
		ok = err_set(err, ERR_CONFIG, "revoke certificate", exec_runner_program(x->runner), "%s cannot revoke; have it done at the CA by hand",
			exec_runner_program(x->runner));
	exec_answer_clear(&a);
	return ok;
}

static bool exec_renewal(void *self, const void *der, size_t len, struct ca_renewal *out, struct err *err)
{
	json_t *certificate = certificate_json(der, len, err);
	struct exec_answer a;
	long again;
	bool ok;

	if (!certificate)
		return false;
	ok = ask(self, EXEC_RENEWAL_INFO, json_pack("{s:o}", "certificate", certificate), &a, err);
	if (ok && a.status == EXEC_RENEWAL) {
		again = a.retry_after < ASK_AGAIN_LEAST ? ASK_AGAIN_LEAST : a.retry_after;
		if (a.retry_after == 0 || again > ASK_AGAIN_MOST)
			again = ASK_AGAIN_MOST;
		*out = (struct ca_renewal){.known = true, .start = a.start, .end = a.end, .ask_again = time(NULL) + again};
		snprintf(out->explanation, sizeof out->explanation, "%s", a.explanation);
	}
	exec_answer_clear(&a);
	return ok;
}

/* ---- what the CA says about itself --------------------------------------------------------------------------------- */

static bool info_copy(const struct ca_info *from, struct ca_info *to, struct err *err)
{
	bool ok = true;

	memset(to, 0, sizeof *to);
	to->account_uri = str_dup(from->account_uri);
	to->terms = str_dup(from->terms);
	to->has_renewal_info = from->has_renewal_info;
	to->has_revocation = from->has_revocation;
	ok = (!from->account_uri || to->account_uri) && (!from->terms || to->terms);
	for (size_t i = 0; ok && i < from->caa_identities.n; i++)
		ok = strlist_add(&to->caa_identities, from->caa_identities.v[i]);
	if (!ok)
		ca_info_clear(to);
	return ok || err_nomem(err, "check CA");
}

static bool exec_discover(void *self, struct ca_info *out, struct err *err)
{
	struct exec *x = self;
	struct exec_answer a;
	struct ca_info info;
	bool ok = ask(x, EXEC_CHECK, json_object(), &a, err);

	if (!ok)
		return false;
	/* Moved, not copied: the answer owns nothing of it any more. */
	info = (struct ca_info){.account_uri = a.account_uri, .terms = a.terms, .caa_identities = a.caa_identities, .has_renewal_info = true,
		.has_revocation = true};
	memset(&a, 0, sizeof a);
	ok = info_copy(&info, out, err);
	pthread_mutex_lock(&x->lock);
	ca_info_clear(&x->info);
	x->info = info;
	x->checked_at = time(NULL);
	pthread_mutex_unlock(&x->lock);
	return ok;
}

static bool exec_prepare(void *self, struct ca_info *out, struct err *err)
{
	struct exec *x = self;
	time_t now = time(NULL);
	bool fresh, ok = false;

	pthread_mutex_lock(&x->lock);
	fresh = x->checked_at && now >= x->checked_at && now - x->checked_at < CHECK_SECONDS;
	if (fresh)
		ok = info_copy(&x->info, out, err);
	pthread_mutex_unlock(&x->lock);
	return fresh ? ok : exec_discover(self, out, err);
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

static void *exec_new(const struct ca_config *config, struct err *err)
{
	struct exec *x = calloc(1, sizeof *x);

	if (!x) {
		err_nomem(err, "prepare CA");
		return NULL;
	}
	x->runner = exec_runner_new(config, err);
	if (!x->runner) {
		free(x);
		return NULL;
	}
	pthread_mutex_init(&x->lock, NULL);
	x->label = metrics_ca(config->name ? config->name : "ca");
	return x;
}

static void exec_free(void *self)
{
	struct exec *x = self;

	exec_runner_free(x->runner);
	ca_info_clear(&x->info);
	pthread_mutex_destroy(&x->lock);
	free(x);
}

static void exec_stop(void *self)
{
	exec_runner_stop(((struct exec *)self)->runner);
}

static const char *exec_account_uri(void *self)
{
	(void)self;
	return NULL;
}

const struct ca_driver exec_driver = {
	.name = "exec",
	.new = exec_new,
	.free = exec_free,
	.stop = exec_stop,
	.prepare = exec_prepare,
	.discover = exec_discover,
	.open = exec_open,
	.look = exec_look,
	.answer = exec_answer_mail,
	.ready = exec_ready,
	.finalize = exec_finalize,
	.fetch = exec_fetch,
	.revoke = exec_revoke,
	.renewal = exec_renewal,
	.account_uri = exec_account_uri,
};
