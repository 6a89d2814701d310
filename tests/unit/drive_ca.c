/*
 * tests/unit/drive_ca.c - the CA client on a string: one command a line on standard input, one JSON object a line on standard output.
 *
 *	drive_ca key=value ...
 *	drive_ca init key=value ...	(enroll_account_init and no more)
 *	drive_ca rotate key=value ...	(enroll_account_rotate and no more)
 *
 * The keys are those of struct ca_config (directory-url, ca-file, account-key, contact, eab-kid, eab-key-file, eab-algorithm, profile,
 * identifier-type, token-join, accept-terms, timeout, preferred-issuer, proxy, connections).  Commands: prepare, discover, open ADDRESS...,
 * replace FILE ADDRESS... (open, in the place of that certificate), look, answer TOKEN, ready, finalize FILE, fetch, revoke FILE REASON
 * [KEY FILE], renewal FILE, account, change-key FILE, deactivate, state JSON (take this as the order's state), again (a new client, as after
 * a restart; the order's state is kept), parallel N (N threads, each opens and looks at M orders), and dns-..., see drive_dns.c.  FILE is
 * DER.  tests/ca_client.py and tests/e2e/test_acme_pebble.py drive it.
 */
#include "config.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <openssl/pem.h>

#include "enroll/ca.h"
#include "enroll/enroll.h"
#include "tests/unit/drive_dns.h"

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
		{"preferred-issuer", &c->preferred_issuer}, {"proxy", &c->proxy},
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
	else if (strcmp(pair, "connections") == 0)
		c->connections = (unsigned)atoi(value);
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

json_t *error_json(const struct err *err)
{
	json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:i}", "class", err_class_name(err->class), "op", err->op, "subject", err->subject, "type",
		err->type, "text", err->text, "retry_at", (json_int_t)err->retry_at, "status", err->status);

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
	set(j, "limited", o->limited);
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
#define TRIES 5

/* Three rejected nonces in a row are an error, and another try is the enrollment's matter: here, ours. */
static bool open_and_look(struct worker *w, const struct strlist *addresses, struct ca_order *o)
{
	bool opened = false, ok = false;

	for (int i = 0; i < TRIES && !ok; i++) {
		if (!opened)
			ca_order_clear(o);
		opened = opened || ca_open(w->ca, &(struct ca_request){.addresses = addresses}, o, &w->err);
		ok = opened && ca_look(w->ca, o, &w->err);
		if (!ok && strcmp(w->err.type, "badNonce") != 0)
			break;
	}
	return ok;
}

static void *worker_run(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < ORDERS_A_WORKER; i++) {
		struct strlist addresses = {0};
		struct ca_order o = {0};
		char address[64];

		snprintf(address, sizeof address, "user%d-%d@example.org", w->number, i);
		strlist_add(&addresses, address);
		if (open_and_look(w, &addresses, &o))
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

static bool directory_told(bool ok, struct ca_info *info, json_t *out)
{
	if (ok) {
		set(out, "account", info->account_uri);
		set(out, "terms", info->terms);
		set(out, "warning", info->warning);
		json_object_set_new(out, "caa", list(&info->caa_identities));
		json_object_set_new(out, "profiles", list(&info->profiles));
		json_object_set_new(out, "eab_required", json_boolean(info->eab_required));
		json_object_set_new(out, "renewal_info", json_boolean(info->has_renewal_info));
		json_object_set_new(out, "revocation", json_boolean(info->has_revocation));
		json_object_set_new(out, "key_change", json_boolean(info->has_key_change));
	}
	ca_info_clear(info);
	return ok;
}

static bool prepare(struct ca *ca, json_t *out, struct err *err)
{
	struct ca_info info = {0};

	return directory_told(ca_prepare(ca, &info, err), &info, out);
}

static bool discover(struct ca *ca, json_t *out, struct err *err)
{
	struct ca_info info = {0};

	return directory_told(ca_discover(ca, &info, err), &info, out);
}

/* `replaced` names the predecessor's file; NULL = none */
static bool open_order(struct ca *ca, const char *replaced, char *words, struct ca_order *o, struct err *err)
{
	struct strlist addresses = {0};
	struct buf der = BUF_INIT;
	bool ok = !replaced || file_read(&der, replaced, 65536, err);

	for (char *w = strtok(words, " "); w; w = strtok(NULL, " "))
		strlist_add(&addresses, w);
	ca_order_clear(o);
	ok = ok && ca_open(ca, &(struct ca_request){.addresses = &addresses, .replaces = der.data, .replaces_len = der.len}, o, err);
	strlist_clear(&addresses);
	buf_clear(&der);
	return ok;
}

static EVP_PKEY *key_of(const char *path)
{
	FILE *f = fopen(path, "r");
	EVP_PKEY *key = f ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;

	if (f)
		fclose(f);
	if (!key)
		usage(path);
	return key;
}

static bool revoke_file(struct ca *ca, char *words, struct err *err)
{
	const char *file = strtok(words, " "), *reason = strtok(NULL, " "), *key_file = strtok(NULL, " ");
	EVP_PKEY *key = key_file ? key_of(key_file) : NULL;
	struct buf der = BUF_INIT;
	bool ok = file_read(&der, file, 65536, err) && ca_revoke(ca, der.data, der.len, (enum ca_reason)atoi(reason), key, err);

	EVP_PKEY_free(key);
	buf_clear(&der);
	return ok;
}

static bool renewal(struct ca *ca, const char *file, json_t *out, struct err *err)
{
	struct ca_renewal r = {0};
	struct buf der = BUF_INIT;
	bool ok = file_read(&der, file, 65536, err) && ca_renewal(ca, der.data, der.len, &r, err);

	buf_clear(&der);
	if (ok)
		json_object_set_new(out, "renewal", json_pack("{s:b, s:I, s:I, s:I, s:s}", "known", r.known, "start", (json_int_t)r.start, "end",
			(json_int_t)r.end, "ask_again", (json_int_t)r.ask_again, "explanation", r.explanation));
	return ok;
}

static bool account(struct ca *ca, json_t *out, struct err *err)
{
	struct ca_account a = {0};
	bool found = false, ok = ca_account_look(ca, &a, &found, err);

	if (ok) {
		json_object_set_new(out, "found", json_boolean(found));
		set(out, "uri", a.uri);
		set(out, "status", a.status);
		set(out, "key_type", a.key_type);
		set(out, "thumbprint", a.thumbprint);
		json_object_set_new(out, "contacts", list(&a.contacts));
	}
	ca_account_clear(&a);
	return ok;
}

static bool methods(struct ca *ca, char *words, struct ca_order *o, json_t *out, struct err *err)
{
	struct strlist addresses = {0}, found = {0};
	bool ok;

	for (char *w = strtok(words, " "); w; w = strtok(NULL, " "))
		strlist_add(&addresses, w);
	ok = ca_methods(ca, o, &addresses, &found, err);
	if (ok)
		json_object_set_new(out, "methods", list(&found));
	strlist_clear(&addresses);
	strlist_clear(&found);
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
		ok = open_order(*ca, NULL, rest, o, err);
	} else if (strcmp(command, "replace") == 0) {
		char *file = strsep(&rest, " ");

		ok = open_order(*ca, file, rest, o, err);
	} else if (strcmp(command, "discover") == 0) {
		ok = discover(*ca, out, err);
	} else if (strcmp(command, "revoke") == 0) {
		ok = revoke_file(*ca, rest, err);
	} else if (strcmp(command, "renewal") == 0) {
		ok = renewal(*ca, rest, out, err);
	} else if (strcmp(command, "account") == 0) {
		ok = account(*ca, out, err);
	} else if (strcmp(command, "change-key") == 0) {
		ok = ca_account_change_key(*ca, rest, err);
	} else if (strcmp(command, "deactivate") == 0) {
		ok = ca_account_deactivate(*ca, err);
	} else if (strcmp(command, "look") == 0) {
		ok = ca_look(*ca, o, err);
	} else if (strcmp(command, "methods") == 0) {
		ok = methods(*ca, rest, o, out, err);
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

static int once(bool rotate)
{
	char url[1024];
	struct err err = ERR_INIT;
	bool ok = rotate ? enroll_account_rotate(&config, &config.ca, url, &err) : enroll_account_init(&config, &config.ca, url, &err);

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
	if (strncmp(line, "dns-", 4) == 0) {
		answer_line(drive_dns(&config.ca, line, rest ? rest : line + strlen(line)));
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
	bool only_init = argc > 1 && strcmp(argv[1], "init") == 0, only_rotate = argc > 1 && strcmp(argv[1], "rotate") == 0;

	for (int i = only_init || only_rotate ? 2 : 1; i < argc; i++)
		setting(argv[i]);
	if (only_init || only_rotate)
		return once(only_rotate);
	signal(SIGPIPE, SIG_IGN);
	ca = ca_new(&config.ca, &err);
	answer_line(json_pack("{s:b, s:o}", "ok", ca != NULL, "err", error_json(&err)));
	while (ca && fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\n")] = '\0';
		command(&ca, line, &o);
	}
	ca_order_clear(&o);
	drive_dns_end();
	ca_free(ca);
	return 0;
}
