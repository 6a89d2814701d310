/*
 * ctl/revoke.c - rotate and revoke.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <string.h>

int ctl_rotate(struct ctl *c, int argc, char **argv)
{
	json_t *a, *r;

	if (argc != 1)
		return ctl_usage(c, "expected one address");
	a = json_pack("{s:s}", "address", argv[0]);
	if (c->reason)
		json_object_set_new(a, "reason", json_string(c->reason));
	r = ctl_ask(c, "rotate", a);
	if (!r)
		return 1;
	if (!ctl_print_json(c, r))
		ctl_sentence("%s: %s", argv[0], json_is_true(json_object_get(r, "changed")) ? "a new key and certificate are asked for; the present one signs until then"
			: "a certificate is on its way already, see `enrollctl show`");
	json_decref(r);
	return 0;
}

static json_t *question(const struct ctl *c, const char *what, bool dry_run)
{
	json_t *a = json_pack("{s:s, s:s, s:b}", "what", what, "reason", c->reason, "dry_run", dry_run);

	if (c->no_replacement)
		json_object_set_new(a, "replace", json_false());
	return a;
}

static const char *member(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static void print_plan(json_t *r)
{
	json_t *o;
	size_t i;

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

int ctl_revoke(struct ctl *c, int argc, char **argv)
{
	struct err err = ERR_INIT;
	json_t *r;

	if (c->with_key)
		return argc == 1 && !c->reason && !c->dry_run && !c->no_replacement ? ctl_revoke_with_key(c, argv[0])
			: ctl_usage(c, "revoke --with-key takes a serial number and no other option");
	if (argc != 1 || !c->reason)
		return ctl_usage(c, "revoke takes an address or serial number, and --reason");
	r = ctl_ask(c, "revoke", question(c, argv[0], true));
	if (!r)
		return 1;
	if (c->dry_run && ctl_print_json(c, r)) {
		json_decref(r);
		return 0;
	}
	if (!c->json)
		print_plan(r);
	json_decref(r);
	if (c->dry_run)
		return 0;
	if (!ctl_confirm(c, "revoke", argv[0], "This cannot be undone.", &err))
		return ctl_fail(c, &err);
	r = ctl_ask(c, "revoke", question(c, argv[0], false));
	if (!r)
		return 1;
	if (!ctl_print_json(c, r))
		ctl_sentence("%s: nobody signs with it any more; `enrollctl show` tells when CA and directory have followed", argv[0]);
	json_decref(r);
	return 0;
}
