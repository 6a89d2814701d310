/*
 * ctl/confirm.c - asked before harm is done: yes on a terminal, or --yes.  Without a terminal nobody sits there, and nothing is done.
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
