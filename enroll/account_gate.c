/*
 * enroll/account_gate.c - is the account key of this host the one that the store's enrolld use?
 */
#include "config.h"

#include "enroll/account_gate.h"

#include <stdlib.h>
#include <string.h>

#include "enroll/budget.h"
#include "enroll/instance.h"

#define ASK_AGAIN_MS 30000     /* the CA, about the same key */
#define DOUBT_AGAIN 15         /* seconds until a row whose request was refused is looked at again */
#define OP "look at account key"

/* What the flag says. */
struct known {
	char *value;           /* NULL = unset */
	char thumbprint[64];
	const char *url;       /* in value; "" = not known yet */
};

static void flag_name(const struct enroll_ca *ca, char out[300])
{
	snprintf(out, 300, "account-key:%.250s", ca->config->name);
}

static bool known_get(struct enroll_parts *p, const struct enroll_ca *ca, struct known *k, struct err *err)
{
	char name[300];
	const char *blank;

	memset(k, 0, sizeof *k);
	flag_name(ca, name);
	if (!store_flag_get(p->store, name, &k->value, err))
		return false;
	blank = k->value ? strchr(k->value, ' ') : NULL;
	k->url = blank ? blank + 1 : "";
	snprintf(k->thumbprint, sizeof k->thumbprint, "%.*s", k->value ? (int)strcspn(k->value, " ") : 0, k->value ? k->value : "");
	return true;
}

static bool known_set(struct enroll_parts *p, const struct enroll_ca *ca, const struct known *was, const char *thumbprint, const char *url, const char *actor,
	bool *swapped, struct err *err)
{
	struct buf value = BUF_INIT;
	char name[300];
	bool ok;

	flag_name(ca, name);
	buf_printf(&value, "%s%s%s", thumbprint, url && *url ? " " : "", url ? url : "");
	ok = store_flag_swap(p->store, name, was->value, buf_str(&value), actor, swapped, err);
	buf_clear(&value);
	return ok;
}

/* ---- the gate --------------------------------------------------------------------------------------------------------------------- */

static void set(struct enroll_parts *p, struct enroll_ca *ca, const char *why)
{
	struct account_gate *g = &ca->gate;
	bool news;

	pthread_mutex_lock(&p->gate_lock);
	news = strcmp(g->why, why) != 0;
	snprintf(g->why, sizeof g->why, "%s", why);
	pthread_mutex_unlock(&p->gate_lock);
	atomic_store(&g->shut, *why != '\0');
	if (news && *why)
		log_event(LOG_LEVEL_ERROR, "account_key_wrong", "ca", ca->config->name, "class", err_class_name(ERR_CONFIG), "text", why, NULL);
	else if (news)
		log_event(LOG_LEVEL_INFO, "account_key_right", "ca", ca->config->name, "text", "enrollments go on here", NULL);
}

static const char *how_it_comes_here(const struct enroll_ca *ca)
{
	return strncmp(ca->config->account_key, "credential:", 11) == 0 ? "put it where systemd takes the credential from, and restart enrolld" :
		"enrolld goes on by itself then";
}

static void shut_for(struct enroll_parts *p, struct enroll_ca *ca, const char *mine, const struct known *k)
{
	char why[ACCOUNT_GATE_TEXT];

	snprintf(why, sizeof why,
		"%.300s holds another account key (thumbprint %.12s) than the one in use at CA %.60s (%.12s%s%.200s): no enrollment goes on here. Copy the file from a "
		"host where enrolld works (owner %.60s, mode 0600; %s); or, if this key is to be used from now on, run `enrollctl account use-key` here",
		ca->config->account_key, mine, ca->config->name, k->thumbprint, *k->url ? ", account " : "", k->url, p->config->users.enrolld, how_it_comes_here(ca));
	set(p, ca, why);
}

static void shut_changed(struct enroll_parts *p, struct enroll_ca *ca)
{
	char why[ACCOUNT_GATE_TEXT];

	snprintf(why, sizeof why,
		"the account at CA %.60s has another key by now, as after `enrollctl account rotate-key` on another host: no enrollment goes on here. Copy the new key "
		"from there to %.300s (owner %.60s, mode 0600; %s)",
		ca->config->name, ca->config->account_key, p->config->users.enrolld, how_it_comes_here(ca));
	set(p, ca, why);
}

/* ---- looking ---------------------------------------------------------------------------------------------------------------------- */

/* The same question was answered just now. */
static bool asked_lately(struct account_gate *g, const char *mine, const struct known *k)
{
	char about[sizeof g->asked_about];
	bool same;

	snprintf(about, sizeof about, "%s/%s/%.300s", mine, k->thumbprint, k->url);
	same = strcmp(g->asked_about, about) == 0 && g->asked_ms && mono_ms() - g->asked_ms < ASK_AGAIN_MS;
	if (!same) {
		snprintf(g->asked_about, sizeof g->asked_about, "%s", about);
		g->asked_ms = mono_ms();
	}
	return same;
}

/* Our key is another one than the flag's: whose is it? */
static bool ask_about_other(struct enroll_parts *p, struct enroll_ca *ca, const char *mine, const struct known *k, struct err *err)
{
	struct ca_account account = {0};
	struct err refusal = ERR_INIT;
	bool found = false, swapped = false, ok = true, others = instance_has_others(p);
	bool answered = ca_account_look(ca->ca, &account, &found, &refusal), same = answered && found && *k->url && account.uri && strcmp(account.uri, k->url) == 0;

	if (same || (answered && !others))
		ok = known_set(p, ca, k, mine, found ? account.uri : NULL, "enrolld", &swapped, err);
	if (swapped)
		log_event(LOG_LEVEL_WARNING, "account_key_changed", "ca", ca->config->name, "text",
			same ? "the account has a new key; every other host with an enrolld of this store needs a copy of the file" :
			       "another key than before, and no other enrolld of this store was seen in the last day: it is used from now on", NULL);
	if (swapped)
		set(p, ca, "");
	else if (ok)
		shut_for(p, ca, mine, k);
	ca_account_clear(&account);
	return ok;
}

/* The flag has our key, and a request was refused: does the CA know it still? */
static void ask_about_doubt(struct enroll_parts *p, struct enroll_ca *ca)
{
	struct ca_account account = {0};
	bool found = false;

	if (ca_account_look(ca->ca, &account, &found, NULL) && found) {
		pthread_mutex_lock(&p->gate_lock);
		ca->gate.doubted[0] = '\0';
		pthread_mutex_unlock(&p->gate_lock);
		set(p, ca, "");
	}
	ca_account_clear(&account);
}

static bool is_doubted(struct enroll_parts *p, struct enroll_ca *ca, const char *mine)
{
	bool doubted;

	pthread_mutex_lock(&p->gate_lock);
	doubted = strcmp(ca->gate.doubted, mine) == 0;
	pthread_mutex_unlock(&p->gate_lock);
	return doubted;
}

/* The flag has our key: and the account, as soon as it is known. */
static bool agree(struct enroll_parts *p, struct enroll_ca *ca, const char *mine, const struct known *k, bool ask, struct err *err)
{
	const char *url = ca_account_uri(ca->ca);
	struct ca_account account = {0};
	bool swapped, found, ok;

	if (is_doubted(p, ca, mine)) {
		if (ask && !asked_lately(&ca->gate, mine, k))
			ask_about_doubt(p, ca);
		return true;
	}
	set(p, ca, "");
	/* Before anybody gives it another key. */
	if (!url && !*k->url && ask && !asked_lately(&ca->gate, mine, k) && ca_account_look(ca->ca, &account, &found, NULL) && found)
		url = account.uri;
	ok = !url || strcmp(url, k->url) == 0 || known_set(p, ca, k, mine, url, "enrolld", &swapped, err);
	ca_account_clear(&account);
	return ok;
}

static bool look_at(struct enroll_parts *p, struct enroll_ca *ca, bool ask, struct err *err)
{
	struct known k;
	char mine[64];
	bool swapped = false, ok;

	if (!ca_account_thumbprint(ca->ca, mine))
		return true;
	ok = known_get(p, ca, &k, err);
	if (ok && !k.value) {
		ok = known_set(p, ca, &k, mine, ca_account_uri(ca->ca), "enrolld", &swapped, err);
		free(k.value);
		ok = known_get(p, ca, &k, ok ? err : NULL) && ok;
	}
	if (ok && strcmp(k.thumbprint, mine) == 0)
		ok = agree(p, ca, mine, &k, ask, err);
	else if (ok && !ask)
		atomic_store(&ca->gate.shut, true); /* it may be a newer one of the same account */
	else if (ok && !asked_lately(&ca->gate, mine, &k))
		ok = ask_about_other(p, ca, mine, &k, err);
	free(k.value);
	return ok;
}

bool account_gate_look(struct enroll_parts *p, bool ask, struct err *err)
{
	bool ok = true;

	for (size_t i = 0; ok && i < p->n_cas; i++)
		ok = look_at(p, &p->cas[i], ask, err);
	return ok;
}

bool account_gate_shut(struct enroll_parts *p)
{
	for (size_t i = 0; i < p->n_cas; i++)
		if (atomic_load(&p->cas[i].gate.shut))
			return true;
	return false;
}

void account_gate_why(struct enroll_parts *p, char out[ACCOUNT_GATE_TEXT])
{
	out[0] = '\0';
	pthread_mutex_lock(&p->gate_lock);
	for (size_t i = 0; i < p->n_cas && !out[0]; i++)
		snprintf(out, ACCOUNT_GATE_TEXT, "%s", p->cas[i].gate.why);
	pthread_mutex_unlock(&p->gate_lock);
}

/* ---- refused --------------------------------------------------------------------------------------------------------------------- */

/* As of acme.c: no problem type says that the key is another one by now. */
static bool may_be_the_key(const struct err *err)
{
	static const char *const types[] = {"malformed", "unauthorized", "badPublicKey", "badSignatureAlgorithm", "accountDoesNotExist", "http-400", "http-401",
		"http-403"};

	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (strcmp(err->type, types[i]) == 0)
			return true;
	return false;
}

bool account_gate_doubt(struct enroll_parts *p, const struct enroll_ca *which, struct err *err)
{
	struct enroll_ca *ca = &p->cas[which - p->cas];
	struct ca_account account = {0};
	char mine[64], why[ACCOUNT_GATE_TEXT];
	bool found = false, answered;

	if (!may_be_the_key(err) || !instance_has_others(p) || !ca_account_thumbprint(ca->ca, mine))
		return false;
	answered = ca_account_look(ca->ca, &account, &found, NULL);
	ca_account_clear(&account);
	if (!answered || found)
		return false;
	pthread_mutex_lock(&p->gate_lock);
	snprintf(ca->gate.doubted, sizeof ca->gate.doubted, "%s", mine);
	pthread_mutex_unlock(&p->gate_lock);
	shut_changed(p, ca);
	account_gate_why(p, why);
	err_set(err, ERR_TEMPORARY, OP, ca->config->account_key, "%s", why);
	snprintf(err->type, sizeof err->type, "%s", BUDGET_HELD);
	err->retry_at = time(NULL) + DOUBT_AGAIN;
	return true;
}

/* ---- an admin's word ---------------------------------------------------------------------------------------------------------------- */

bool account_gate_use(struct enroll_parts *p, const struct ca_config *config, const char *actor, struct err *err)
{
	const struct enroll_ca *which = enroll_ca_find(p, config->name);
	struct enroll_ca *ca = which ? &p->cas[which - p->cas] : NULL;
	struct known k = {0};
	bool swapped = false, ok;
	char mine[64];

	if (!ca)
		return err_set(err, ERR_CONFIG, "use account key", "mode", "in mode observe no account is used");
	if (!ca_account_thumbprint(ca->ca, mine))
		return err_set(err, ERR_CONFIG, "use account key", "ca.driver", "only the driver \"acme\" has an account");
	ok = known_get(p, ca, &k, err);
	if (ok && strcmp(k.thumbprint, mine) != 0)
		ok = known_set(p, ca, &k, mine, ca_account_uri(ca->ca), actor, &swapped, err) &&
		     (swapped || err_set(err, ERR_TEMPORARY, "use account key", ca->config->account_key, "another host said the same just now; look at `enrollctl status`"));
	free(k.value);
	return ok && look_at(p, ca, false, err);
}
