/*
 * tests/unit/drive_dns.c - orders for host names at a real ACME server (Pebble knows no others), many at once.
 *
 * The product has no way to prove a host name, and gets none: what it lacks - POST {} to the http-01 challenge, which a Pebble that believes
 * everything takes for a proof - is here, by acme_post.  The orders, their looks, finalize and fetch are the product's.
 *
 *	dns-open N THREADS FOLDER	orders for host0.pebble.example ... host(N-1)
 *	dns-prove THREADS		each authorization to its end, until every order is ready
 *	dns-finish THREADS		finalize with FOLDER/I.csr, fetch, write FOLDER/I.pem
 *
 * Each answers {"ok", "good", "polls" (waiting for Pebble), "repeats" (other calls that failed in a temporary way), "bad_nonces" (so far), "err", "activity" (of order 0)}.
 * What is temporary is tried again as the enrollment would, without its patience.
 */
#include "config.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "enroll/acme.h"
#include "tests/unit/drive_dns.h"

#define ORDERS_MAX 500
#define THREADS_MAX 32
#define TRIES 100

struct order {
	struct ca_order o;
	struct err err;
	bool good, posted;
};

static struct acme *acme;
static struct order orders[ORDERS_MAX];
static size_t n_orders;
static char folder[512];
static atomic_size_t next_order;
static atomic_uint polls, repeats;

typedef bool step(size_t i, struct order *order, struct err *err);

/* ---- steps, each good to be repeated as a whole -------------------------------------------------------------------- */

static bool step_open(size_t i, struct order *order, struct err *err)
{
	struct strlist names = {0};
	char name[64];
	bool ok;

	snprintf(name, sizeof name, "host%zu.pebble.example", i);
	ok = strlist_add(&names, name);
	ca_order_clear(&order->o);
	order->posted = false;
	ok = ok && acme_open(acme, &(struct ca_request){.addresses = &names}, &order->o, err);
	strlist_clear(&names);
	return ok;
}

/* The URL of the http-01 challenge, when the authorization waits for it. */
static bool challenge_of(const char *authorization, char **url, bool *valid, struct err *err)
{
	struct acme_call call = {.op = "fetch authorization", .url = authorization};
	struct acme_answer answer = {0};
	json_t *j = NULL, *c;
	const char *status;
	size_t i;
	bool ok = acme_post(acme, &call, &answer, err);

	*url = NULL;
	*valid = false;
	if (ok) {
		j = json_loadb(buf_str(&answer.http.body), answer.http.body.len, 0, NULL);
		status = json_string_value(json_object_get(j, "status"));
		*valid = status && strcmp(status, "valid") == 0;
		ok = *valid || (status && strcmp(status, "pending") == 0) ||
		     err_set(err, ERR_CA, call.op, authorization, "it is %s", status ? status : "strange");
		json_array_foreach (json_object_get(j, "challenges"), i, c)
			if (strcmp(json_string_value(json_object_get(c, "type")), "http-01") == 0 &&
				strcmp(json_string_value(json_object_get(c, "status")), "pending") == 0)
				*url = str_dup(json_string_value(json_object_get(c, "url")));
	}
	json_decref(j);
	acme_answer_clear(&answer);
	return ok;
}

static bool prove(const char *authorization, bool *posted, struct err *err)
{
	struct acme_call call = {.op = "prove"};
	struct acme_answer answer = {0};
	json_t *empty = json_object();
	char *url = NULL;
	bool valid = false, ok = challenge_of(authorization, &url, &valid, err);

	if (ok && url && !*posted) {
		call.url = url;
		call.payload = empty;
		ok = *posted = acme_post(acme, &call, &answer, err);
	}
	if (ok && !valid)
		ok = err_set(err, ERR_TEMPORARY, call.op, authorization, "not valid yet");
	acme_answer_clear(&answer);
	json_decref(empty);
	free(url);
	return ok;
}

static bool step_prove(size_t i, struct order *order, struct err *err)
{
	struct acme_state s;
	bool ok;

	if (!acme_state_load(order->o.state, &s, err))
		return false;
	ok = s.authorizations.n > 0 || err_set(err, ERR_BUG, "prove", s.order, "an order without authorizations");
	for (size_t k = 0; ok && k < s.authorizations.n; k++)
		ok = prove(s.authorizations.v[k], &order->posted, err);
	acme_state_clear(&s);
	ok = ok && acme_look(acme, &order->o, err);
	return ok && (order->o.progress != CA_PENDING || err_set(err, ERR_TEMPORARY, "prove", "", "not ready yet"));
}

static bool step_finish(size_t i, struct order *order, struct err *err)
{
	struct buf csr = BUF_INIT, pem = BUF_INIT;
	char path[600];
	bool ok;

	snprintf(path, sizeof path, "%s/%zu.csr", folder, i);
	ok = file_read(&csr, path, 65536, err);
	if (ok && order->o.progress != CA_ISSUED)
		ok = acme_finalize(acme, &order->o, csr.data, csr.len, err);
	if (ok && order->o.progress == CA_PROCESSING)
		ok = acme_look(acme, &order->o, err) &&
		     (order->o.progress == CA_ISSUED || err_set(err, ERR_TEMPORARY, "finish", "", "not issued yet"));
	snprintf(path, sizeof path, "%s/%zu.pem", folder, i);
	ok = ok && acme_fetch(acme, &order->o, &pem, err) && file_write(path, pem.data, pem.len, 0600, -1, err);
	buf_clear(&csr);
	buf_clear(&pem);
	return ok;
}

/* ---- many ---------------------------------------------------------------------------------------------------------- */

static void *worker(void *arg)
{
	step *const *work = arg;
	size_t i;

	while ((i = atomic_fetch_add(&next_order, 1)) < n_orders) {
		struct order *order = &orders[i];

		order->good = false;
		for (int tries = 0; tries < TRIES && !order->good; tries++) {
			err_clear(&order->err);
			order->good = (*work)(i, order, &order->err);
			if (order->good || order->err.class != ERR_TEMPORARY)
				break;
			atomic_fetch_add(order->err.status ? &repeats : &polls, 1);
			usleep(100000); /* Pebble's own work takes that long */
		}
	}
	return NULL;
}

static json_t *run(step *work, unsigned threads)
{
	pthread_t ids[THREADS_MAX];
	const struct order *bad = NULL;
	size_t good = 0;
	json_t *out;

	atomic_store(&next_order, 0);
	atomic_store(&polls, 0);
	atomic_store(&repeats, 0);
	if (threads > THREADS_MAX)
		threads = THREADS_MAX;
	for (unsigned t = 0; t < threads; t++)
		pthread_create(&ids[t], NULL, worker, &work);
	for (unsigned t = 0; t < threads; t++)
		pthread_join(ids[t], NULL);
	for (size_t i = 0; i < n_orders; i++)
		if (orders[i].good)
			good++;
		else
			bad = &orders[i];
	pthread_mutex_lock(&acme->lock);
	out = json_pack("{s:b, s:i, s:i, s:i, s:i, s:s}", "ok", good == n_orders, "good", (int)good, "polls", (int)atomic_load(&polls), "repeats",
		(int)atomic_load(&repeats), "bad_nonces", (int)acme->nonces_refused, "activity", orders[0].o.activity);
	pthread_mutex_unlock(&acme->lock);
	if (bad)
		json_object_set_new(out, "err", error_json(&bad->err));
	return out;
}

static bool start(const struct ca_config *config, struct err *err)
{
	if (!acme)
		acme = acme_new(config, err);
	return acme != NULL;
}

json_t *drive_dns(const struct ca_config *config, const char *command, char *arguments)
{
	struct err err = ERR_INIT;
	unsigned threads = 1;

	if (!start(config, &err))
		return json_pack("{s:b, s:o}", "ok", 0, "err", error_json(&err));
	if (strcmp(command, "dns-open") == 0) {
		if (sscanf(arguments, "%zu %u %500s", &n_orders, &threads, folder) != 3 || n_orders > ORDERS_MAX)
			return json_pack("{s:b}", "ok", 0);
		return run(step_open, threads);
	}
	sscanf(arguments, "%u", &threads);
	return run(strcmp(command, "dns-prove") == 0 ? step_prove : step_finish, threads);
}

void drive_dns_end(void)
{
	for (size_t i = 0; i < ORDERS_MAX; i++)
		ca_order_clear(&orders[i].o);
	acme_free(acme);
	acme = NULL;
}
