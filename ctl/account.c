/*
 * ctl/account.c - `enrollctl ca check`, `enrollctl caa check` and `enrollctl account`.
 *
 * What only looks is asked of enrolld, so that the help desk may; when enrolld does not run (before its first start, or because of what is to
 * be found out) it is done here, in a child that is enrolld's user.  What changes the account is root's: register as `init` does it, rotate-key
 * because the key's folder is written to, deactivate because it ends everything.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "enroll/enroll.h"

/* ---- what only looks ------------------------------------------------------------------------------------------------------------ */

/* One of the questions of enroll/enroll.h, asked in the child; the answer comes through a file that has no name. */
struct direct {
	const struct config *config;
	const struct ca_config *ca;
	char *(*ask)(const struct direct *d, struct err *err);
	const char *about;
	int file;
};

static char *ask_ca(const struct direct *d, struct err *err)
{
	return enroll_ca_check(d->ca, err);
}

static char *ask_account(const struct direct *d, struct err *err)
{
	return enroll_account_show(d->ca, err);
}

static char *ask_caa(const struct direct *d, struct err *err)
{
	return enroll_caa_check(d->config, d->ca, d->about, err);
}

static bool ask_directly(void *arg, struct err *err)
{
	const struct direct *d = arg;
	char *text = d->ask(d, err);
	size_t len = text ? strlen(text) : 0, done = 0;
	ssize_t n;

	while (done < len) {
		n = write(d->file, text + done, len - done);
		if (n < 0 && errno != EINTR)
			break;
		done += n > 0 ? (size_t)n : 0;
	}
	free(text);
	return len > 0 && (done == len || err_errno(err, errno, "answer", NULL));
}

static json_t *direct(struct ctl *c, const struct ca_config *ca, char *(*ask)(const struct direct *, struct err *), const char *about, struct err *err)
{
	struct direct d = {.config = c->config, .ca = ca, .ask = ask, .about = about, .file = memfd_create("answer", MFD_CLOEXEC)};
	json_t *result = NULL;

	if (d.file < 0) {
		err_errno(err, errno, "answer", NULL);
		return NULL;
	}
	if (as_user(c->config->users.enrolld, c->config->users.group, ask_directly, &d, err)) {
		if (lseek(d.file, 0, SEEK_SET) == 0)
			result = json_loadfd(d.file, 0, NULL);
		if (!result)
			err_set(err, ERR_BUG, "answer", NULL, "the answer is no JSON");
	}
	close(d.file);
	return result;
}

/* By enrolld when it runs, by ourselves when it does not and we are root.  Which CA an address is for enrolld knows best. */
static json_t *look(struct ctl *c, const char *command, char *(*ask)(const struct direct *, struct err *), const char *about)
{
	const struct ca_config *ca;
	struct err err = ERR_INIT;
	json_t *result;
	bool reached;

	if (!ctl_config(c) || !(ca = ctl_ca_config(c)))
		return NULL;
	result = ctl_try(c, command, about ? json_pack("{s:s, s:s*}", "about", about, "ca", c->ca) : json_pack("{s:s}", "ca", ca->name), &reached, &err);
	if (!result && !reached && geteuid() == 0)
		result = direct(c, ca, ask, about, &err);
	if (!result)
		ctl_fail(c, &err);
	return result;
}

int ctl_ca(struct ctl *c, int argc, char **argv)
{
	if (argc != 1 || strcmp(argv[0], "check") != 0)
		return ctl_usage(c, "ca takes check");
	return ctl_print_checks(c, look(c, "ca-check", ask_ca, NULL));
}

/* ---- CAA ------------------------------------------------------------------------------------------------------------------------ */

static const char *member(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static void print_view(json_t *view)
{
	size_t n = json_array_size(json_object_get(view, "records"));
	const char *found = member(view, "found_at"), *owner = member(view, "owner");
	bool alias = strcmp(found, owner) != 0;
	json_t *o;

	if (*found)
		o = json_pack("{s:s+++++++++}", "seen", member(view, "decision"), ", ", n == 1 ? "one record" : "records", " at ", found, alias ? " (alias of " : "",
			alias ? owner : "", alias ? ")" : "", ", DNSSEC ", member(view, "dnssec"));
	else
		o = json_pack("{s:s++}", "seen", member(view, "decision"), ", DNSSEC ", member(view, "dnssec"));
	ctl_line(o, "seen", member(view, "name"));
	json_decref(o);
}

static void print_caa(const struct ctl *c, json_t *r)
{
	static const char *const says[][2] = {{"allow", "allowed"}, {"deny", "forbidden"}, {"unknown", "neither allowed nor forbidden: it is not known"}};
	json_t *views = json_object_get(r, "perspectives"), *iodef = json_object_get(r, "iodef"), *one, *o;
	size_t i;

	for (i = 0; i < 3; i++)
		if (strcmp(member(r, "decision"), says[i][0]) == 0)
			printf("%s: %s (CA %s, ca.caa = \"%s\")\n", member(r, "about"), says[i][1], member(r, "ca"), member(r, "mode"));
	ctl_line(r, "text", "CAA");
	json_array_foreach(views, i, one)
		print_view(one);
	json_array_foreach(iodef, i, one) {
		o = json_pack("{s:O}", "url", one);
		ctl_line(o, "url", "iodef");
		json_decref(o);
	}
	ctl_line(r, "publish", "to publish");
	ctl_line(r, "warning", "warning");
}

int ctl_caa(struct ctl *c, int argc, char **argv)
{
	json_t *r;
	int rc;

	if (argc != 2 || strcmp(argv[0], "check") != 0)
		return ctl_usage(c, "caa takes check and an address or domain");
	r = look(c, "caa-check", ask_caa, argv[1]);
	rc = strcmp(member(r, "decision"), "allow") == 0 ? 0 : 1;
	return ctl_print(c, r, print_caa) ? 1 : rc;
}

/* ---- the account, seen ------------------------------------------------------------------------------------------------------------ */

static void print_account(const struct ctl *c, json_t *r)
{
	json_t *contacts = json_object_get(r, "contacts"), *one;
	size_t i;

	if (json_is_true(json_object_get(r, "registered")))
		puts("account");
	else
		puts("no account at the CA for this key: `enrollctl account register` makes it");
	ctl_line(r, "url", "URL");
	ctl_line(r, "status", "status");
	json_array_foreach(contacts, i, one) {
		json_t *o = json_pack("{s:O}", "contact", one);

		ctl_line(o, "contact", "contact");
		json_decref(o);
	}
	ctl_line(r, "directory", "directory");
	ctl_line(r, "key", "key");
	ctl_line(r, "key_type", "key type");
	ctl_line(r, "thumbprint", "thumbprint");
}

/* ---- what changes it -------------------------------------------------------------------------------------------------------------- */

/* Not root: only in a trial, where everything is one user's. */
static bool may_change(const struct ca_config *ca, struct err *err)
{
	const char *key = ca->account_key;

	if (ca->driver != CA_DRIVER_ACME)
		return err_set(err, ERR_CONFIG, "change account", "ca.driver", "only the driver \"acme\" has an account");
	if (!ca->directory_url)
		return err_set(err, ERR_CONFIG, "change account", "ca.directory-url", "the configuration names no CA: set ca.directory-url");
	return geteuid() == 0 || access(key, R_OK) == 0 || err_set(err, ERR_POLICY, "change account", NULL, "only root may do this");
}

static int register_account(struct ctl *c, const struct ca_config *ca)
{
	struct err err = ERR_INIT;

	return ctl_account_ensure(c, ca, &err) ? ctl_done(c) : ctl_not_done(c, &err);
}

static int rotate_key(struct ctl *c, const struct ca_config *ca)
{
	struct err err = ERR_INIT;
	char url[1024];

	if (!enroll_account_rotate(c->config, ca, url, &err))
		return ctl_not_done(c, &err);
	ctl_say(c, "ACME account %s has a new key: %s", url, ca->account_key);
	ctl_say(c, "enrolld notices by itself with its next request; orders under way go on");
	ctl_say(c, "every other host with an enrolld of this store needs a copy of the file: until then that enrolld begins nothing and says so");
	ctl_say(c, "the old key opens nothing any longer: a backup made with --with-keys before now holds that one; make a new backup");
	return ctl_done(c);
}

static void print_used(const struct ctl *c, json_t *r)
{
	(void)c;
	printf("%s is the account key in use at CA %s from now on; every other host with an enrolld of this store needs a copy of it\n", member(r, "key"), member(r, "ca"));
}

/* Of enrolld: it has the store. */
static int use_key(struct ctl *c)
{
	const struct ca_config *ca;

	if (!ctl_config(c) || !(ca = ctl_ca_config(c)))
		return 1;
	return ctl_print(c, ctl_ask(c, "account-use-key", json_pack("{s:s}", "ca", ca->name)), print_used);
}

/* Does whoever sits there type the account's URL?  Without a terminal nobody sits there. */
static bool confirmed(const struct ctl *c, const char *url, struct err *err)
{
	char *line = NULL;
	size_t size = 0;
	bool same;

	if (c->yes)
		return true;
	if (c->json || !isatty(STDIN_FILENO))
		return err_set(err, ERR_POLICY, "deactivate account", url, "this cannot be undone: say --yes, or type the account's URL on a terminal");
	printf("Type the URL of the account to give it up for good:\n");
	fflush(stdout);
	if (getline(&line, &size, stdin) < 0)
		line ? line[0] = '\0' : 0;
	if (line)
		line[strcspn(line, "\r\n")] = '\0';
	same = line && strcmp(line, url) == 0;
	free(line);
	return same || err_set(err, ERR_POLICY, "deactivate account", url, "that is another text: nothing was done");
}

static bool do_deactivate(void *arg, struct err *err)
{
	return enroll_account_deactivate(arg, err);
}

static int deactivate(struct ctl *c, const struct ca_config *ca)
{
	const struct config *cfg = c->config;
	struct err err = ERR_INIT;
	json_t *account = direct(c, ca, ask_account, NULL, &err);
	const char *url = json_string_value(json_object_get(account, "url"));
	bool ok = account != NULL;

	if (ok && !json_is_true(json_object_get(account, "registered")))
		ok = err_set(&err, ERR_POLICY, "deactivate account", NULL, "the CA has no account for this key");
	if (ok && !c->json) {
		printf("%s will be deactivated. This cannot be undone.\n"
		       "Nothing is ordered, renewed or revoked with it any longer, and orders under way end.  Certificates that were issued stay valid, and mail\n"
		       "is signed with them until they expire.\n",
			url ? url : "the account");
	}
	ok = ok && confirmed(c, url ? url : "", &err) && as_user(cfg->users.enrolld, cfg->users.group, do_deactivate, (void *)(uintptr_t)ca, &err);
	if (ok) {
		ctl_say(c, "ACME account %s is deactivated", url ? url : "");
		ctl_say(c, "for a new one move %s away and run `enrollctl account register`", ca->account_key);
	}
	json_decref(account);
	return ok ? ctl_done(c) : ctl_not_done(c, &err);
}

int ctl_account(struct ctl *c, int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(struct ctl *, const struct ca_config *);
	} acts[] = {{"register", register_account}, {"rotate-key", rotate_key}, {"deactivate", deactivate}};
	const struct ca_config *ca;
	struct err err = ERR_INIT;

	if (argc == 1 && strcmp(argv[0], "show") == 0)
		return ctl_print(c, look(c, "account", ask_account, NULL), print_account);
	if (argc == 1 && strcmp(argv[0], "use-key") == 0)
		return use_key(c);
	for (size_t i = 0; argc == 1 && i < sizeof acts / sizeof *acts; i++) {
		if (strcmp(argv[0], acts[i].name) != 0)
			continue;
		if (!ctl_config(c) || !(ca = ctl_ca_config(c)))
			return 1;
		return may_change(ca, &err) ? acts[i].run(c, ca) : ctl_fail(c, &err);
	}
	return ctl_usage(c, "account takes show, register, rotate-key, use-key or deactivate");
}
