/*
 * ctl/confirm.c - asked before harm is done: yes on a terminal, or --yes.  Without a terminal nobody sits there, and nothing is done.
 *
 * What enrolld is asked to do is asked for as a dry run first, so that whoever has to say yes sees what the yes is about.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool ctl_confirm(const struct ctl *c, const char *act, const char *what, const char *question, struct err *err)
{
	char *line = NULL;
	size_t size = 0;
	bool yes;

	if (c->yes)
		return true;
	if (c->json || c->csv || !isatty(STDIN_FILENO))
		return err_set(err, ERR_POLICY, act, what, "%s Nothing was done: say --yes, or type yes on a terminal; --dry-run shows what would happen", question);
	printf("%s Type yes to %s: ", question, act);
	fflush(stdout);
	yes = getline(&line, &size, stdin) > 0 && (line[strcspn(line, "\r\n")] = '\0', strcmp(line, "yes") == 0);
	free(line);
	return yes || err_set(err, ERR_POLICY, act, what, "nothing was done");
}

static json_t *ask(struct ctl *c, const struct ctl_deed *d, json_t *arguments, bool dry_run)
{
	json_t *copy = json_copy(arguments);

	json_object_set_new(copy, "dry_run", json_boolean(dry_run));
	return ctl_ask(c, d->command, copy);
}

static int carry_out(struct ctl *c, const struct ctl_deed *d, json_t *arguments, const char *question)
{
	struct err err = ERR_INIT;
	json_t *r;

	if (question && !ctl_confirm(c, d->verb, d->subject, question, &err))
		return ctl_fail(c, &err);
	r = ask(c, d, arguments, false);
	if (!r)
		return 1;
	if (!ctl_print_json(c, r))
		d->tell(r, d->subject);
	json_decref(r);
	return 0;
}

int ctl_do(struct ctl *c, const struct ctl_deed *d, json_t *arguments)
{
	char asked[CTL_QUESTION] = "";
	json_t *plan = ask(c, d, arguments, true);
	int rc = plan ? 0 : 1;

	if (plan && !(c->dry_run && ctl_print_json(c, plan)) && !c->json)
		d->print(plan, d->subject);
	if (plan && d->ask)
		d->ask(plan, arguments, asked);
	json_decref(plan);
	if (rc == 0 && !c->dry_run)
		rc = carry_out(c, d, arguments, d->ask ? asked : d->question);
	json_decref(arguments);
	return rc;
}
