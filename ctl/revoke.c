/*
 * ctl/revoke.c - rotate and revoke.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <string.h>

static const char *member(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* ---- rotate: no harm, so nobody is asked ------------------------------------------------------------------------------------ */

static void print_rotate(json_t *r, const char *address)
{
	ctl_sentence("%s: %s", address, json_is_true(json_object_get(r, "changed")) ? "a new key and certificate would be asked for; the present one would sign until then"
		: "a certificate is on its way already, see `enrollctl show`: nothing would be done");
}

static void tell_rotate(json_t *r, const char *address)
{
	ctl_sentence("%s: %s", address, json_is_true(json_object_get(r, "changed")) ? "a new key and certificate are asked for; the present one signs until then"
		: "a certificate is on its way already, see `enrollctl show`");
}

int ctl_rotate(struct ctl *c, int argc, char **argv)
{
	json_t *a, *r;

	if (argc != 1)
		return ctl_usage(c, "expected one address");
	a = json_pack("{s:s, s:b}", "address", argv[0], "dry_run", c->dry_run);
	if (c->reason)
		json_object_set_new(a, "reason", json_string(c->reason));
	r = ctl_ask(c, "rotate", a);
	if (!r)
		return 1;
	if (!ctl_print_json(c, r))
		(c->dry_run ? print_rotate : tell_rotate)(r, argv[0]);
	json_decref(r);
	return 0;
}

/* ---- revoke ------------------------------------------------------------------------------------------------------------------ */

static void print_revoke(json_t *r, const char *subject)
{
	json_t *o;
	size_t i;

	(void)subject;
	json_array_foreach(json_object_get(r, "certificates"), i, o) {
		printf("certificate %s (%s)\n", member(o, "serial"), member(o, "status"));
		ctl_line(o, "addresses", "addresses");
		ctl_line(o, "not_after", "until");
		ctl_line(o, "directory_dn", "directory");
	}
	ctl_sentence("reason %s: nobody signs with %s from then on; the CA revokes, what we published is taken out of the directory; %s", member(r, "reason"),
		json_array_size(json_object_get(r, "certificates")) == 1 ? "it" : "them", json_is_true(json_object_get(r, "replacement"))
			? "a new key and certificate follow at once" : "no new one until `enrollctl enable`, where it is the present one");
}

/* The yes is about these. */
static void ask_revoke(json_t *plan, json_t *arguments, char question[CTL_QUESTION])
{
	json_t *shown = json_array(), *o;
	size_t i;

	json_array_foreach(json_object_get(plan, "certificates"), i, o)
		json_array_append(shown, json_object_get(o, "fingerprint"));
	json_object_set_new(arguments, "shown", shown);
	snprintf(question, CTL_QUESTION, "This cannot be undone.");
}

static void tell_revoke(json_t *r, const char *what)
{
	(void)r;
	ctl_sentence("%s: nobody signs with it any more; `enrollctl show` tells when CA and directory have followed", what);
}

int ctl_revoke(struct ctl *c, int argc, char **argv)
{
	struct ctl_deed deed = {.command = "revoke", .verb = "revoke", .print = print_revoke, .tell = tell_revoke, .ask = ask_revoke};
	json_t *a;

	if (c->with_key)
		return argc == 1 && !c->reason && !c->dry_run && !c->no_replacement ? ctl_revoke_with_key(c, argv[0])
			: ctl_usage(c, "revoke --with-key takes a serial number and no other option");
	if (argc != 1 || !c->reason)
		return ctl_usage(c, "revoke takes an address or serial number, and --reason");
	deed.subject = argv[0];
	a = json_pack("{s:s, s:s}", "what", argv[0], "reason", c->reason);
	if (c->no_replacement)
		json_object_set_new(a, "replace", json_false());
	return ctl_do(c, &deed, a);
}
