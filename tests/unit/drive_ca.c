/*
 * tests/unit/drive_ca.c - the CA client on a string: one command a line on standard input, one JSON object a line on standard output.
 *
 *	drive_ca key=value ...
 *
 * The keys are those of struct ca_config (directory-url, ca-file, account-key, contact, eab-kid, eab-key-file, eab-algorithm, profile,
 * identifier-type, token-join, accept-terms, timeout).  Commands: prepare, open ADDRESS..., look, answer TOKEN, ready, finalize FILE, fetch,
 * state JSON (take this as the order's state), again (a new client, as after a restart; the order's state is kept), parallel N ADDRESS
 * (N threads, each opens and looks at M orders).  tests/ca_client.py drives it.
 */
#include "config.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "enroll/ca.h"
#include "enroll/enroll.h"

static struct config config;

static void usage(const char *what)
{
	fprintf(stderr, "drive_ca: %s\n", what);
	exit(2);
}

static void setting(char *pair)
{
	struct ca_config *c = &config.ca;
	const struct {
		const char *name;
		char **where;
	} strings[] = {
		{"directory-url", &c->directory_url}, {"ca-file", &c->ca_file}, {"account-key", &c->account_key}, {"contact", &c->contact},
		{"account-key-type", &c->account_key_type}, {"eab-kid", &c->eab_kid}, {"eab-key-file", &c->eab_key_file},
		{"eab-algorithm", &c->eab_algorithm}, {"profile", &c->profile}, {"identifier-type", &c->identifier_type},
	};
	char *value = strchr(pair, '=');

	if (!value)
		usage(pair);
	*value++ = '\0';
	for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
		if (strcmp(pair, strings[i].name) == 0) {
			*strings[i].where = value;
			return;
		}
	if (strcmp(pair, "accept-terms") == 0)
		c->accept_terms = strcmp(value, "true") == 0;
	else if (strcmp(pair, "token-join") == 0)
		c->token_join = strcmp(value, "decoded") == 0 ? JOIN_DECODED : JOIN_STRINGS;
	else if (strcmp(pair, "timeout") == 0)
		c->timeout_seconds = (unsigned)atoi(value);
	else
		usage(pair);
}

static void set(json_t *to, const char *name, const char *value)
{
	if (value)
		json_object_set_new(to, name, json_string(value));
}

static json_t *list(const struct strlist *l)
{
	json_t *a = json_array();

	for (size_t i = 0; i < l->n; i++)
		json_array_append_new(a, json_string(l->v[i]));
	return a;
}

static json_t *error_json(const struct err *err)
{
	json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "class", err_class_name(err->class), "op", err->op, "subject", err->subject, "type",
		err->type, "text", err->text, "retry_at", (json_int_t)err->retry_at);

	if (!j) {
		fprintf(stderr, "an error that is no UTF-8\n");
		abort();
	}
	return j;
}

static json_t *order_json(const struct ca_order *o)
{
	static const char *const names[] = {"pending", "ready", "processing", "issued", "invalid"};
	json_t *j = json_pack("{s:s, s:s, s:I}", "progress", names[o->progress], "activity", o->activity, "retry_at", (json_int_t)o->retry_at);

	set(j, "challenge_from", o->challenge_from);
	set(j, "challenge_address", o->challenge_address);
	if (o->state)
		json_object_set_new(j, "state", json_loads(o->state, 0, NULL));
	return j;
}

/* ---- many at once -------------------------------------------------------------------------------------------------- */

struct worker {
	pthread_t thread;
	struct ca *ca;
	int number;
	int good;
	struct err err;
};

#define ORDERS_A_WORKER 5

static void *worker_run(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < ORDERS_A_WORKER; i++) {
		struct strlist addresses = {0};
		struct ca_order o = {0};
		char address[64];

		snprintf(address, sizeof address, "user%d-%d@example.org", w->number, i);
		strlist_add(&addresses, address);
		if (ca_open(w->ca, &(struct ca_request){.addresses = &addresses}, &o, &w->err) && ca_look(w->ca, &o, &w->err))
			w->good++;
		ca_order_clear(&o);
		strlist_clear(&addresses);
	}
	return NULL;
}

static json_t *parallel(struct ca *ca, int n)
{
	struct worker *w = calloc((size_t)n, sizeof *w);
	struct err *err = NULL;
	int good = 0;
	json_t *j;

	for (int i = 0; i < n; i++) {
		w[i].ca = ca;
		w[i].number = i;
		pthread_create(&w[i].thread, NULL, worker_run, &w[i]);
	}
	for (int i = 0; i < n; i++) {
		pthread_join(w[i].thread, NULL);
		good += w[i].good;
		if (w[i].err.class != ERR_NONE)
			err = &w[i].err;
	}
	j = json_pack("{s:b, s:i, s:i}", "ok", good == n * ORDERS_A_WORKER, "good", good, "wanted", n * ORDERS_A_WORKER);
	if (err)
		json_object_set_new(j, "err", error_json(err));
	free(w);
	return j;
}

/* ---- commands ------------------------------------------------------------------------------------------------------ */

static bool prepare(struct ca *ca, json_t *out, struct err *err)
{
	struct ca_info info = {0};
	bool ok = ca_prepare(ca, &info, err);

	if (ok) {
		set(out, "account", info.account_uri);
		set(out, "terms", info.terms);
		json_object_set_new(out, "caa", list(&info.caa_identities));
		json_object_set_new(out, "profiles", list(&info.profiles));
		json_object_set_new(out, "eab_required", json_boolean(info.eab_required));
		json_object_set_new(out, "renewal_info", json_boolean(info.has_renewal_info));
	}
	ca_info_clear(&info);
	return ok;
}

static bool open_order(struct ca *ca, char *words, struct ca_order *o, struct err *err)
{
	struct strlist addresses = {0};
	bool ok;

	for (char *w = strtok(words, " "); w; w = strtok(NULL, " "))
		strlist_add(&addresses, w);
	ca_order_clear(o);
	ok = ca_open(ca, &(struct ca_request){.addresses = &addresses}, o, err);
	strlist_clear(&addresses);
	return ok;
}

static bool finalize(struct ca *ca, const char *file, struct ca_order *o, struct err *err)
{
	struct buf csr = BUF_INIT;
	bool ok = file_read(&csr, file, 65536, err) && ca_finalize(ca, o, csr.data, csr.len, err);

	buf_clear(&csr);
	return ok;
}

static bool run(struct ca **ca, const char *command, char *rest, struct ca_order *o, json_t *out, struct err *err)
{
	struct buf text = BUF_INIT;
	bool ok = false;

	if (strcmp(command, "prepare") == 0) {
		ok = prepare(*ca, out, err);
	} else if (strcmp(command, "open") == 0) {
		ok = open_order(*ca, rest, o, err);
	} else if (strcmp(command, "look") == 0) {
		ok = ca_look(*ca, o, err);
	} else if (strcmp(command, "answer") == 0) {
		ok = ca_answer(*ca, o, rest, &text, err);
		set(out, "response", buf_str(&text));
	} else if (strcmp(command, "ready") == 0) {
		ok = ca_ready(*ca, o, err);
	} else if (strcmp(command, "finalize") == 0) {
		ok = finalize(*ca, rest, o, err);
	} else if (strcmp(command, "fetch") == 0) {
		ok = ca_fetch(*ca, o, &text, err);
		set(out, "pem", buf_str(&text));
	} else if (strcmp(command, "state") == 0) {
		ca_order_clear(o);
		o->state = str_dup(rest);
		ok = true;
	} else if (strcmp(command, "again") == 0) {
		ca_free(*ca);
		*ca = ca_new(&config.ca, err);
		ok = *ca != NULL;
	} else {
		usage(command);
	}
	buf_clear(&text);
	return ok;
}

static void answer_line(json_t *out)
{
	json_dumpf(out, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
	json_decref(out);
}

static int init(void)
{
	char url[1024];
	struct err err = ERR_INIT;
	bool ok = enroll_account_init(&config, url, &err);

	answer_line(json_pack("{s:b, s:s, s:o}", "ok", ok, "account", url, "err", error_json(&err)));
	return ok ? 0 : 1;
}

static void command(struct ca **ca, char *line, struct ca_order *o)
{
	struct err err = ERR_INIT;
	char *rest = strchr(line, ' ');
	json_t *out;

	if (rest)
		*rest++ = '\0';
	if (strcmp(line, "parallel") == 0) {
		answer_line(parallel(*ca, atoi(rest ? rest : "1")));
		return;
	}
	out = json_object();
	json_object_set_new(out, "ok", json_boolean(run(ca, line, rest ? rest : line + strlen(line), o, out, &err)));
	json_object_set_new(out, "order", order_json(o));
	json_object_set_new(out, "err", error_json(&err));
	answer_line(out);
}

int main(int argc, char **argv)
{
	struct err err = ERR_INIT;
	struct ca_order o = {0};
	struct ca *ca;
	static char line[65536];
	bool only_init = argc > 1 && strcmp(argv[1], "init") == 0;

	for (int i = only_init ? 2 : 1; i < argc; i++)
		setting(argv[i]);
	if (only_init)
		return init();
	signal(SIGPIPE, SIG_IGN);
	ca = ca_new(&config.ca, &err);
	answer_line(json_pack("{s:b, s:o}", "ok", ca != NULL, "err", error_json(&err)));
	while (ca && fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\n")] = '\0';
		command(&ca, line, &o);
	}
	ca_order_clear(&o);
	ca_free(ca);
	return 0;
}
