/*
 * ctl/act.c - the commands that change something through enrolld, and the configuration.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <string.h>

static json_t *about(const struct ctl *c, const char *address)
{
	json_t *a = json_object();

	if (address)
		json_object_set_new(a, "address", json_string(address));
	if (c->reason)
		json_object_set_new(a, "reason", json_string(c->reason));
	return a;
}

/* Ask, print one sentence: `yes` when it changed something, `no` when it was so already. */
static int act(struct ctl *c, const char *command, const char *address, const char *fact, const char *yes, const char *no)
{
	json_t *r = ctl_ask(c, command, about(c, address));

	if (!r)
		return 1;
	if (!ctl_print_json(c, r))
		ctl_sentence("%s%s%s", address ? address : "", address ? ": " : "", !fact || json_is_true(json_object_get(r, fact)) ? yes : no);
	json_decref(r);
	return 0;
}

static int on_address(struct ctl *c, int argc, char **argv, const char *command, const char *fact, const char *yes, const char *no)
{
	return argc == 1 ? act(c, command, argv[0], fact, yes, no) : ctl_usage(c, "expected one address");
}

int ctl_enroll(struct ctl *c, int argc, char **argv)
{
	return on_address(c, argc, argv, "enroll", "created", "enrollment requested", "has an enrollment already, see `enrollctl show`");
}

int ctl_retry(struct ctl *c, int argc, char **argv)
{
	return on_address(c, argc, argv, "retry", "changed", "goes on now", "nothing to retry in its state, see `enrollctl show`");
}

/* ---- disable -------------------------------------------------------------------------------------------------------------------- */

static void print_disable(json_t *r, const char *address)
{
	ctl_sentence("%s: %s%s", address, json_string_value(json_object_get(r, "state")), json_is_true(json_object_get(r, "disabled")) ? ", disabled already"
		: "; its mail would be left unsigned, and it would get no new certificate");
}

static void tell_disable(json_t *r, const char *address)
{
	ctl_sentence("%s: %s", address, json_is_true(json_object_get(r, "changed")) ? "disabled: no signing, no new certificate" : "was disabled already");
}

int ctl_disable(struct ctl *c, int argc, char **argv)
{
	struct ctl_deed deed = {.command = "disable", .verb = "disable", .question = "Mail of this address will be left unsigned until `enrollctl enable`.",
		.print = print_disable, .tell = tell_disable};

	if (argc != 1)
		return ctl_usage(c, "expected one address");
	deed.subject = argv[0];
	return ctl_do(c, &deed, about(c, argv[0]));
}

int ctl_enable(struct ctl *c, int argc, char **argv)
{
	json_t *r;

	if (argc != 1)
		return ctl_usage(c, "expected one address");
	r = ctl_ask(c, "enable", about(c, argv[0]));
	if (!r)
		return 1;
	if (!ctl_print_json(c, r))
		ctl_sentence("%s: %s%s", argv[0], json_is_true(json_object_get(r, "changed")) ? "enabled" : "was enabled already",
			json_is_true(json_object_get(r, "anew")) ? "; is not noted as gone any more, and a new certificate is asked for" :
			json_is_true(json_object_get(r, "returned")) ? "; is not noted as gone any more, and everything goes on as before" :
			json_object_get(r, "gone_since") ? "; mail stays unsigned all the same, as this person left by the directory: `enrollctl why` says what to do" : "");
	json_decref(r);
	return 0;
}

int ctl_pause(struct ctl *c, int argc, char **argv)
{
	(void)argv;
	return argc ? ctl_usage(c, "pause takes no argument") : act(c, "pause", NULL, NULL, "paused: nothing is signed or ordered until `enrollctl resume`", NULL);
}

int ctl_resume(struct ctl *c, int argc, char **argv)
{
	(void)argv;
	return argc ? ctl_usage(c, "resume takes no argument") : act(c, "resume", NULL, NULL, "resumed", NULL);
}

static int check_config(struct ctl *c)
{
	struct config *config = ctl_config(c);
	struct buf report = BUF_INIT;
	struct err err = ERR_INIT;
	bool ok;

	if (!config)
		return 1;
	ok = config_check(config, &report, &err);
	if (c->json) {
		json_t *o = json_pack("{s:b, s:s}", "ok", ok, "report", buf_str(&report));

		json_dumpf(o, stdout, JSON_INDENT(2));
		puts("");
		json_decref(o);
	} else {
		fputs(buf_str(&report), stdout);
		puts(ok ? "configuration is good" : "configuration has errors");
	}
	buf_clear(&report);
	return ok ? 0 : 1;
}

static int show_config(struct ctl *c)
{
	struct config *config = ctl_config(c);
	struct buf out = BUF_INIT;
	struct err err = ERR_INIT;
	bool ok;

	if (!config)
		return 1;
	ok = config_show(config, c->json, &out, &err);
	if (ok)
		fputs(buf_str(&out), stdout);
	buf_clear(&out);
	return ok ? 0 : ctl_fail(c, &err);
}

static int running_config(struct ctl *c)
{
	json_t *r = ctl_ask(c, "config", NULL);

	if (!r)
		return 1;
	if (!ctl_print_json(c, r))
		fputs(json_string_value(json_object_get(r, "text")), stdout);
	json_decref(r);
	return 0;
}

int ctl_config_command(struct ctl *c, int argc, char **argv)
{
	if (argc == 1 && strcmp(argv[0], "check") == 0)
		return check_config(c);
	if (argc == 1 && strcmp(argv[0], "show") == 0)
		return show_config(c);
	if (argc == 1 && strcmp(argv[0], "running") == 0)
		return running_config(c);
	return ctl_usage(c, "config takes check, show or running");
}
