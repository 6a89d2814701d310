/*
 * enroll/ca_check.c - `enrollctl ca check`: everything that can be known about the CA without ordering anything.
 *
 * Each check adds one or more lines {check, verdict, text}, as doctor does.  It runs in enrolld, which has account and store, and in enrollctl itself
 * before enrolld was ever started: then without a store, and maybe without a key.  What ACME does not announce, whether the CA takes
 * addresses at all, is told from what became of orders so far.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "enroll/control.h"

#define BLOCKED_MOST 200 /* rows that are looked through for a refusal */

struct look {
	const struct ca_config *config;
	struct ca *ca;           /* NULL: cannot be made, see ca_error */
	struct err ca_error;
	struct store *store;     /* NULL: enrolld does not run */
	struct ca_probe probe;
	struct ca_account account;
	bool has_account;
	json_t *checks;
};

static void add_error(struct look *l, const char *check, const struct err *err)
{
	if (err->status)
		check_add(l->checks, check, "fault", "%s: %s (HTTP %d, %s)", err->op, err->text, err->status, err->subject);
	else
		check_add(l->checks, check, "fault", "%s: %s", err->op, err->text);
}

static void join(const struct strlist *list, struct buf *out)
{
	for (size_t i = 0; i < list->n; i++)
		buf_printf(out, "%s%s", i ? ", " : "", list->v[i]);
}

/* ---- the way there ------------------------------------------------------------------------------------------------------- */

/* As libcurl looks them up for https. */
static const char *environment_proxy(void)
{
	static const char *const names[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const char *value = getenv(names[i]);

		if (value && *value)
			return value;
	}
	return NULL;
}

static void check_proxy(struct look *l)
{
	const char *ours = l->config->proxy, *theirs = environment_proxy(), *at;

	if (ours && strcmp(ours, "direct") == 0) {
		check_add(l->checks, "proxy", "ok", "none (ca.proxy)");
	} else if (ours) {
		check_add(l->checks, "proxy", "ok", "%s (ca.proxy)", ours);
	} else if (theirs) {
		at = strrchr(theirs, '@'); /* a name and password in front of it are nobody's business */
		check_add(l->checks, "proxy", "ok", "%s (environment), unless no_proxy names the CA", at ? at + 1 : theirs);
	} else {
		check_add(l->checks, "proxy", "ok", "none");
	}
}

static void check_directory(struct look *l, const struct err *err)
{
	const struct ca_probe *p = &l->probe;

	if (err)
		add_error(l, "directory", err);
	else
		check_add(l->checks, "directory", "ok", "%s answers (HTTP %d, %u ms)", l->config->directory_url, p->status, p->ms);
	if (p->tls[0] && l->config->ca_file)
		check_add(l->checks, "tls", "ok", "%s, verified by %s (ca.ca-file)", p->tls, l->config->ca_file);
	else if (p->tls[0])
		check_add(l->checks, "tls", "ok", "%s, verified by the anchors of this system", p->tls);
}

/* ---- what the CA says of itself ------------------------------------------------------------------------------------------ */

static void check_terms(struct look *l)
{
	const char *terms = l->probe.info.terms;

	if (!terms)
		check_add(l->checks, "terms", "ok", "the CA names none");
	else if (l->config->accept_terms)
		check_add(l->checks, "terms", "ok", "%s, accepted (ca.accept-terms)", terms);
	else {
		check_add(l->checks, "terms", "fault", "%s are not accepted: read them and set ca.accept-terms = true if you agree", terms);
		check_fix(l->checks, FIX_CONFIGURATION, "ca", "%s", FIX_TERMS);
	}
}

static void check_eab(struct look *l)
{
	const struct ca_config *ca = l->config;

	if (!l->probe.info.eab_required)
		check_add(l->checks, "eab", "ok", "external account binding is not asked for%s", ca->eab_kid ? "; the one configured is offered all the same" : "");
	else if (ca->eab_kid)
		check_add(l->checks, "eab", "ok", "external account binding is asked for and configured (kid %s)", ca->eab_kid);
	else if (l->has_account)
		check_add(l->checks, "eab", "ok", "external account binding is asked for of new accounts; ours is registered already");
	else
		check_add(l->checks, "eab", "fault", "this CA wants accounts bound to a contract (external account binding): put the key id and key that it gave you into ca.eab");
}

static void check_profiles(struct look *l)
{
	const struct strlist *names = &l->probe.info.profiles;
	const char *wanted = l->config->profile;
	struct buf offers = BUF_INIT;

	for (size_t i = 0; i < names->n; i++) {
		const char *text = i < l->probe.profile_texts.n ? l->probe.profile_texts.v[i] : "";

		buf_printf(&offers, "%s\"%s\"%s%s%s", i ? ", " : "", names->v[i], *text ? " (" : "", text, *text ? ")" : "");
	}
	if (wanted && !strlist_has(names, wanted))
		check_add(l->checks, "profiles", "fault", "the CA has no profile \"%s\" (ca.profile); it offers %s", wanted,
			names->n ? buf_str(&offers) : "none at all: leave ca.profile out");
	else if (!names->n)
		check_add(l->checks, "profiles", "ok", "the CA offers none");
	else if (wanted)
		check_add(l->checks, "profiles", "ok", "\"%s\" is asked for (ca.profile); the CA offers %s", wanted, buf_str(&offers));
	else
		check_add(l->checks, "profiles", "ok", "none is asked for (ca.profile); the CA offers %s", buf_str(&offers));
	buf_clear(&offers);
}

static void check_offers(struct look *l)
{
	const struct ca_info *i = &l->probe.info;

	check_add(l->checks, "renewal-info", "ok", "%s", i->has_renewal_info ? "offered (RFC 9773)" : "not offered: certificates are renewed by their lifetime");
	if (i->has_revocation)
		check_add(l->checks, "revocation", "ok", "offered");
	else
		check_add(l->checks, "revocation", "warning", "not offered: certificates can only be revoked by the CA's own ways");
	if (i->has_key_change)
		check_add(l->checks, "key-change", "ok", "offered");
	else
		check_add(l->checks, "key-change", "warning", "not offered: `enrollctl account rotate-key` cannot work");
}

static void check_caa_identities(struct look *l)
{
	const struct ca_config *ca = l->config;
	const struct strlist *theirs = &l->probe.info.caa_identities;
	struct buf names = BUF_INIT;

	join(ca->caa_identities.n ? &ca->caa_identities : theirs, &names);
	if (ca->caa == CAA_OFF)
		check_add(l->checks, "caa", "warning", "CAA is not looked at (ca.caa = \"off\")");
	else if (names.len)
		check_add(l->checks, "caa", "ok", "CAA records that let this CA issue name %s (%s)", buf_str(&names), ca->caa_identities.n ? "ca.caa-identities" : "its directory");
	else
		check_add(l->checks, "caa", "warning", "the CA does not say by which name CAA records mean it: no domain with CAA records can be ordered for; set ca.caa-identities");
	buf_clear(&names);
}

/* ---- what orders have shown ------------------------------------------------------------------------------------------------ */

/* The sentence of an enrollment whose order was refused because of the identifier; freed by the caller. */
static char *refusal(struct look *l)
{
	struct enrollment_list list = {0};
	struct err err = ERR_INIT;
	char *words = NULL;

	if (!store_enrollment_list(l->store, ENROLLMENT_BLOCKED, NULL, BLOCKED_MOST, &list, &err))
		return NULL;
	for (size_t i = 0; i < list.n && !words; i++)
		if (list.v[i].why_type && strcmp(list.v[i].why_type, "unsupportedIdentifier") == 0)
			words = str_dup(list.v[i].why);
	enrollment_list_clear(&list);
	return words;
}

static void check_email(struct look *l)
{
	size_t counts[ENROLLMENT_STATES] = {0}, disabled;
	struct err err = ERR_INIT;
	char *words;

	if (!l->store || !store_enrollment_counts(l->store, counts, &disabled, &err)) {
		check_add(l->checks, "email", "ok", "ACME does not announce whether a CA takes addresses: the first order will tell");
		return;
	}
	words = counts[ENROLLMENT_ACTIVE] ? NULL : refusal(l);
	if (counts[ENROLLMENT_ACTIVE])
		check_add(l->checks, "email", "ok", "%zu enrollment%s active by orders with identifiers of type %s", counts[ENROLLMENT_ACTIVE],
			counts[ENROLLMENT_ACTIVE] == 1 ? " is" : "s are", l->config->identifier_type);
	else if (words)
		check_add(l->checks, "email", "fault", "the CA refused an order with identifiers of type %s: %s", l->config->identifier_type, words);
	else
		check_add(l->checks, "email", "ok", "ACME does not announce whether a CA takes addresses: no order has shown it yet, the first one will tell");
	free(words);
}

static void check_limits(struct look *l)
{
	struct store_limit_list limits = {0};
	struct err err = ERR_INIT;
	char until[32];

	if (!l->store)
		return;
	if (!store_limits(l->store, l->config->name, time(NULL), &limits, &err)) {
		add_error(l, "limits", &err);
		return;
	}
	for (size_t i = 0; i < limits.n; i++)
		check_add(l->checks, "limits", "warning", "%s until %s: %s", *limits.v[i].scope ? limits.v[i].scope : "the whole account", time_text(limits.v[i].until, until),
			limits.v[i].text);
	if (limits.n == 0)
		check_add(l->checks, "limits", "ok", "none in force that the CA told us of");
	store_limit_list_clear(&limits);
}

/* ---- the account ------------------------------------------------------------------------------------------------------------ */

static bool key_is_missing(const char *where)
{
	return where && strncmp(where, "credential:", 11) != 0 && access(where, F_OK) != 0 && errno == ENOENT;
}

static void check_contact(struct look *l)
{
	const char *ours = l->config->contact;
	struct buf theirs = BUF_INIT;

	join(&l->account.contacts, &theirs);
	if (ours && !strlist_has(&l->account.contacts, ours))
		check_add(l->checks, "contact", "warning", "the CA knows %s, the configuration says %s (ca.contact)", theirs.len ? buf_str(&theirs) : "none", ours);
	else
		check_add(l->checks, "contact", "ok", "the CA knows %s", theirs.len ? buf_str(&theirs) : "none");
	buf_clear(&theirs);
}

/* RFC 8555 section 7.3.6: the CA refuses such a key for ever, mostly without telling the account's status. */
#define GIVEN_UP "An account that was given up cannot be used again: move the key file %s away, `enrollctl account register` makes a new one"

/* Looked up before anything is said, as other checks depend on it. */
static void check_account(struct look *l, bool looked, const struct err *err)
{
	const struct ca_account *a = &l->account;

	if (!l->ca && key_is_missing(l->config->account_key))
		check_add(l->checks, "account", "warning", "there is no account key yet: `enrollctl init` makes %s and registers the account", l->config->account_key);
	else if (!l->ca)
		add_error(l, "account", &l->ca_error);
	else if (!looked && strcmp(err->type, "unauthorized") == 0)
		check_add(l->checks, "account", "fault", "%s. " GIVEN_UP, err->text, l->config->account_key);
	else if (!looked)
		add_error(l, "account", err);
	else if (!l->has_account)
		check_add(l->checks, "account", "warning", "the CA has no account for our key (%s): `enrollctl account register` makes it", a->key_type);
	else if (!a->status || strcmp(a->status, "valid") != 0)
		check_add(l->checks, "account", "fault", "%s is %s. " GIVEN_UP, a->uri ? a->uri : "our account", a->status ? a->status : "of unknown status",
			l->config->account_key);
	else
		check_add(l->checks, "account", "ok", "%s is valid (key %s)", a->uri, a->key_type);
	if (l->has_account)
		check_contact(l);
}

static void check_acme(struct look *l)
{
	struct err probe_error = ERR_INIT, account_error = ERR_INIT;
	bool there = ca_probe(l->config, &l->probe, &probe_error);
	bool looked = there && l->ca && ca_account_look(l->ca, &l->account, &l->has_account, &account_error);

	check_proxy(l);
	check_directory(l, there ? NULL : &probe_error);
	if (there) {
		check_terms(l);
		check_eab(l);
		check_profiles(l);
	}
	check_email(l);
	if (there) {
		check_offers(l);
		check_caa_identities(l);
		check_account(l, looked, &account_error);
	}
	check_limits(l);
}

/* A program of the admin's: what it can be asked without a certificate request. */
static void check_exec(struct look *l)
{
	struct err err = ERR_INIT;

	if (!l->ca)
		add_error(l, "program", &l->ca_error);
	else if (ca_discover(l->ca, &l->probe.info, &err))
		check_add(l->checks, "program", "ok", "%s answers", l->config->exec.program);
	else
		add_error(l, "program", &err);
	check_caa_identities(l);
	check_email(l);
	check_limits(l);
}

json_t *ca_check_run(const struct ca_config *config, struct ca *ca, struct store *store, struct err *err)
{
	struct look l = {.config = config, .ca = ca, .store = store, .checks = json_array()};
	struct ca *own = NULL;

	if (!l.checks) {
		err_nomem(err, "ca check");
		return NULL;
	}
	/* While mode is "observe" enrolld has none. */
	if (!ca && (config->directory_url || config->exec.program))
		l.ca = own = ca_new(config, &l.ca_error);
	if (config->driver == CA_DRIVER_EXEC)
		check_exec(&l);
	else if (!config->directory_url)
		check_add(l.checks, "directory", "fault", "the configuration names no CA: set ca.directory-url");
	else
		check_acme(&l);
	ca_account_clear(&l.account);
	ca_probe_clear(&l.probe);
	ca_free(own);
	return l.checks;
}
