/*
 * ctl/directory.c - directory check, reconcile, restore.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *member(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* ---- check ---------------------------------------------------------------------------------------------------------- */

static int check(struct ctl *c)
{
	struct buf password = BUF_INIT;
	struct err err = ERR_INIT;
	json_t *a = json_object();

	if (!c->user_dn != !c->user_password_file) {
		json_decref(a);
		return ctl_usage(c, "--user-dn and --user-password-file go together");
	}
	if (c->user_dn) {
		if (!secret_read(&password, c->user_password_file, true, &err)) {
			json_decref(a);
			return ctl_fail(c, &err);
		}
		json_object_set_new(a, "user_dn", json_string(c->user_dn));
		json_object_set_new(a, "user_password", json_string(buf_str(&password)));
		buf_wipe(&password);
	}
	return ctl_print_checks(c, ctl_ask(c, "directory-check", a));
}

/* ---- what comes in pages --------------------------------------------------------------------------------------------- */

#define WALK_BROKEN 2 /* not all was looked at; said already */

struct walk {
	struct ctl *c;
	json_t *actions, *counts, *warning;
	size_t lines;
	bool progress;
};

static void print_action(struct walk *w, json_t *o)
{
	w->lines++;
	ctl_put(member(o, "address"));
	printf(": %s", member(o, "action"));
	if (*member(o, "serial"))
		printf(" %s", member(o, "serial"));
	if (*member(o, "text")) {
		fputs(": ", stdout);
		ctl_put(member(o, "text"));
	}
	puts("");
}

static void add_page(struct walk *w, json_t *page)
{
	json_t *actions = json_object_get(page, "actions"), *o, *n;
	const char *key;
	size_t i;

	ctl_progress(w->progress, 0, 0, NULL);
	json_array_foreach(actions, i, o)
		if (!w->c->json)
			print_action(w, o);
	json_array_extend(w->actions, actions);
	json_object_foreach(json_object_get(page, "counts"), key, n)
		json_object_set_new(w->counts, key, json_integer(json_integer_value(json_object_get(w->counts, key)) + json_integer_value(n)));
	if (json_object_get(page, "warning"))
		json_object_set(w->warning, "warning", json_object_get(page, "warning"));
	ctl_progress(w->progress, (long long)json_integer_value(json_object_get(w->counts, "addresses")), 0, "addresses looked at");
}

/* `arguments` is borrowed; "after" goes on from page to page. */
static bool pages(struct walk *w, const char *command, json_t *arguments)
{
	bool ok = true, more = true;

	while (ok && more) {
		json_t *page = ctl_ask(w->c, command, json_copy(arguments)), *after = json_object_get(page, "after");

		ok = page != NULL;
		more = ok && after;
		if (ok)
			add_page(w, page);
		if (more)
			json_object_set(arguments, "after", after);
		json_decref(page);
	}
	ctl_progress(w->progress, 0, 0, NULL);
	return ok;
}

static size_t failures(json_t *actions)
{
	size_t i, n = 0;
	json_t *o;

	json_array_foreach(actions, i, o)
		n += strcmp(member(o, "action"), "failed") == 0;
	return n;
}

/* Whether all of it was done, or can be. */
static int walk(struct ctl *c, const char *command, json_t *arguments, bool dry_run, void (*sums)(const struct walk *))
{
	struct walk w = {.c = c, .actions = json_array(), .counts = json_object(), .warning = json_object(), .progress = isatty(STDERR_FILENO) && !c->json};
	bool ok, bad;
	json_t *o;

	json_object_set_new(arguments, "dry_run", json_boolean(dry_run));
	ok = pages(&w, command, arguments);
	bad = failures(w.actions) > 0;
	if (ok && c->json) {
		o = json_pack("{s:O, s:O, s:b, s:O*}", "actions", w.actions, "counts", w.counts, "dry_run", dry_run, "warning",
			json_object_get(w.warning, "warning"));
		ctl_print_json(c, o);
		json_decref(o);
	} else if (ok) {
		sums(&w);
	}
	if (ok && !c->json && *member(w.warning, "warning"))
		fprintf(stderr, "%s: %s\n", c->program, member(w.warning, "warning"));
	json_decref(w.actions);
	json_decref(w.counts);
	json_decref(w.warning);
	json_decref(arguments);
	return !ok ? WALK_BROKEN : bad ? 1 : 0;
}

/* First what would be done, for whoever sits there to say yes to; --yes needs no look that may take as long as the deed. */
static int walk_asked(struct ctl *c, const char *command, json_t *arguments, const char *verb, const char *question, void (*sums)(const struct walk *))
{
	struct err err = ERR_INIT;
	bool shown = c->dry_run || (!c->yes && !c->json);
	int rc = shown ? walk(c, command, json_copy(arguments), true, sums) : 0;

	if (rc == WALK_BROKEN || c->dry_run) {
		json_decref(arguments);
		return rc ? 1 : 0;
	}
	if (!ctl_confirm(c, verb, NULL, question, &err)) {
		json_decref(arguments);
		return ctl_fail(c, &err);
	}
	return walk(c, command, arguments, false, sums) ? 1 : 0;
}

static void reconcile_sums(const struct walk *w)
{
	static const char *const labels[][2] = {{"addresses", "addresses that have or had a certificate of ours"}, {"present", "certificates are where they should be"},
		{"published", "were missing, and are there now"}, {"publish", "are missing and would be put there"}, {"noted", "were there without our knowing where"},
		{"note", "are there without our knowing where"}, {"removed", "of ours had no business there and were taken out"},
		{"remove", "of ours have no business there and would be taken out"}, {"kept", "are over, and stay until their successors are there"},
		{"cleared", "entries had a foreign userSMIMECertificate, which is in the store now"}, {"foreign", "values are not ours and were left alone"},
		{"elsewhere", "of ours are at an entry of another address and were left alone"}, {"no-entry", "addresses have no entry"},
		{"several-entries", "addresses have several entries, which were left alone"}, {"failed", "could not be done"}};

	if (w->lines)
		puts("");
	for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
		long long n = (long long)json_integer_value(json_object_get(w->counts, labels[i][0]));

		if (n || i < 2)
			printf("  %6lld  %s\n", n, labels[i][1]);
	}
}

static void restore_sums(const struct walk *w)
{
	if (!w->lines)
		puts("nothing is kept that was not put back");
}

static int restore(struct ctl *c, const char *address)
{
	if (!address == !c->all)
		return ctl_usage(c, "directory restore takes an address, or --all");
	if (c->all)
		return walk_asked(c, "directory-restore", json_pack("{s:b}", "all", 1), "restore", "Foreign values of all these addresses are put back into the directory.",
			restore_sums);
	return walk(c, "directory-restore", json_pack("{s:s}", "address", address), c->dry_run, restore_sums) ? 1 : 0;
}

int ctl_directory(struct ctl *c, int argc, char **argv)
{
	if (argc == 1 && strcmp(argv[0], "check") == 0)
		return check(c);
	if (argc == 1 && strcmp(argv[0], "reconcile") == 0)
		return walk_asked(c, "directory-reconcile", json_object(), "reconcile", "Values of ours are put into the directory and taken out of it.", reconcile_sums);
	if ((argc == 1 || argc == 2) && strcmp(argv[0], "restore") == 0)
		return restore(c, argc == 2 ? argv[1] : NULL);
	return ctl_usage(c, "directory takes check, reconcile, or restore and an address");
}
