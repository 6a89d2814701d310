/*
 * ctl/complete.c - which words may stand at the end of a command line, for the shell (ctl/enrollctl.bash): from the table of commands, and addresses
 * from enrolld.  Whatever goes wrong, it is silent; and it does not let anybody wait.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "ctl/log.h"
#include "store/store.h"

#define SECONDS 1
#define ADDRESSES 100

/* What was typed before the word that is to be completed. */
struct typed {
	const struct ctl_command *command;
	const char *option; /* whose value the word is */
	size_t words;       /* behind the command that are no options */
};

static void too_late(int number)
{
	(void)number;
	_exit(0);
}

/* A candidate, when it goes on where the user stopped.  Never what a shell would take for more than a word. */
static void offer(const char *prefix, const char *before, const char *word)
{
	static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@._+:-";

	if (strncmp(word, prefix, strlen(prefix)) == 0 && word[strspn(word, safe)] == '\0')
		printf("%s%s\n", before, word);
}

/* ---- values ------------------------------------------------------------------------------------------------------------------ */

static void offer_addresses(struct ctl *c, const char *prefix)
{
	struct err err = ERR_INIT;
	json_t *r, *o;
	bool reached;
	size_t i;

	signal(SIGALRM, too_late);
	alarm(SECONDS);
	c->config = config_load(c->config_path, &err);
	r = c->config ? ctl_try(c, "list", json_pack("{s:s, s:i}", "after", prefix, "limit", ADDRESSES), &reached, &err) : NULL;
	json_array_foreach(json_object_get(r, "enrollments"), i, o)
		if (json_is_string(json_object_get(o, "address")))
			offer(prefix, "", json_string_value(json_object_get(o, "address")));
	json_decref(r);
	config_unref(c->config);
}

static void offer_states(const char *prefix, const char *before)
{
	for (int i = 0; i < ENROLLMENT_STATES; i++)
		offer(prefix, before, enrollment_state_name((enum enrollment_state)i));
}

static void offer_reasons(const char *prefix, const char *before)
{
	static const char *const reasons[] = {"keyCompromise", "superseded", "affiliationChanged", "cessationOfOperation", "privilegeWithdrawn"};

	for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
		offer(prefix, before, reasons[i]);
}

static void offer_profiles(const char *prefix, const char *before)
{
	char name[64];

	offer(prefix, before, "private");
	offer(prefix, before, "configured");
	for (int v = VALIDATION_MAILBOX; v <= VALIDATION_INDIVIDUAL; v++) {
		snprintf(name, sizeof name, "%s-%s", validation_name((enum validation)v), generation_name(GENERATION_STRICT));
		offer(prefix, before, name);
		snprintf(name, sizeof name, "%s-%s", validation_name((enum validation)v), generation_name(GENERATION_MULTIPURPOSE));
		offer(prefix, before, name);
	}
}

static void offer_events(const char *prefix, const char *before)
{
	for (size_t i = 0; i < log_rows_count; i++)
		offer(prefix, before, log_rows[i].name);
}

/* What a word of the synopsis stands for. */
static void offer_value(struct ctl *c, const char *kind, const char *prefix, const char *before)
{
	if (strcmp(kind, "STATE") == 0)
		offer_states(prefix, before);
	else if (strcmp(kind, "REASON") == 0)
		offer_reasons(prefix, before);
	else if (strcmp(kind, "PROFILE") == 0)
		offer_profiles(prefix, before);
	else if (strcmp(kind, "EVENT") == 0)
		offer_events(prefix, before);
	else if (strcmp(kind, "CHECK") == 0)
		for (size_t i = 0; ctl_doctor_check(i); i++)
			offer(prefix, before, ctl_doctor_check(i));
	else if (strcmp(kind, "FILE") == 0 || strcmp(kind, "FOLDER") == 0)
		puts(":files");
	else if (strcmp(kind, "ADDRESS") == 0 && !*before)
		offer_addresses(c, prefix);
}

/* ---- words --------------------------------------------------------------------------------------------------------------------- */

static void offer_option_value(struct ctl *c, const struct ctl_command *command, const char *option, const char *prefix, const char *before)
{
	char kind[CTL_WORD] = "";

	if (strcmp(option, "config") == 0)
		snprintf(kind, sizeof kind, "FILE");
	else if (command)
		ctl_takes(command, option, kind);
	offer_value(c, kind, prefix, before);
}

static void offer_options(const struct ctl_command *command, const char *prefix)
{
	static const char *const always[] = {"--config", "--json", "--help", "--version"};
	struct ctl_synopsis s;

	for (size_t i = 0; i < sizeof always / sizeof *always; i++)
		offer(prefix, "", always[i]);
	if (!command || ctl_has_table(command))
		offer(prefix, "", "--csv");
	if (!command)
		return;
	s = (struct ctl_synopsis){.text = command->arguments, .at = command->arguments};
	while (ctl_synopsis_next(&s))
		if (strncmp(s.word, "--", 2) == 0)
			offer(prefix, "", s.word);
}

static void offer_commands(const char *prefix)
{
	size_t n;
	const struct ctl_command *commands = ctl_commands(&n);

	for (size_t i = 0; i < n; i++)
		offer(prefix, "", commands[i].name);
}

/* Sub-commands first; behind one, and where there are none, what the word stands for. */
static void offer_argument(struct ctl *c, const struct typed *t, const char *prefix)
{
	struct ctl_synopsis s = {.text = t->command->arguments, .at = t->command->arguments};
	char kinds[8][CTL_WORD];
	size_t n = 0, subs = 0;
	bool option = false;
	char last[CTL_WORD] = "";

	while (ctl_synopsis_next(&s)) {
		bool sub = s.first && s.word[0] >= 'a' && s.word[0] <= 'z', value = option && s.behind;

		subs += sub;
		if (sub && t->words == 0 && strcmp(s.word, last) != 0)
			offer(prefix, "", s.word);
		if (sub)
			snprintf(last, sizeof last, "%s", s.word);
		option = s.word[0] == '-';
		if (s.word[0] >= 'A' && s.word[0] <= 'Z' && !value && n < 8)
			snprintf(kinds[n++], CTL_WORD, "%s", s.word);
	}
	if (strcmp(t->command->name, "help") == 0 && t->words == 0)
		offer_commands(prefix);
	for (size_t i = 0; i < n && t->words == (subs > 0); i++)
		if (i == 0 || strcmp(kinds[i], kinds[i - 1]) != 0)
			offer_value(c, kinds[i], prefix, "");
}

static void read_typed(struct ctl *c, struct typed *t, int argc, char **argv)
{
	for (int i = 0; i + 1 < argc; i++) {
		const char *word = argv[i], *name = strncmp(word, "--", 2) == 0 ? word + 2 : strcmp(word, "-c") == 0 ? "config" : NULL;
		bool value = name && !strchr(name, '=') && ctl_option_argument(name);

		if (value && i + 2 == argc) {
			t->option = name;
		} else if (value) {
			if (strcmp(name, "config") == 0)
				c->config_path = argv[i + 1];
			i++;
		} else if (word[0] != '-') {
			if (!t->command)
				t->command = ctl_find_command(word);
			else
				t->words++;
			if (!t->command)
				t->words = SIZE_MAX; /* an unknown command has no arguments */
		}
	}
}

int ctl_complete(struct ctl *c, int argc, char **argv)
{
	const char *word = argc > 0 ? argv[argc - 1] : "", *equals = strchr(word, '=');
	struct typed t = {NULL};
	char name[CTL_WORD];

	read_typed(c, &t, argc, argv);
	if (t.option) {
		offer_option_value(c, t.command, t.option, word, "");
	} else if (word[0] == '-' && word[1] == '-' && equals && (size_t)(equals - word) < sizeof name) {
		char before[CTL_WORD + 1];

		snprintf(before, sizeof before, "%.*s", (int)(equals - word + 1), word);
		snprintf(name, sizeof name, "%.*s", (int)(equals - word - 2), word + 2);
		offer_option_value(c, t.command, name, equals + 1, before);
	} else if (word[0] == '-') {
		offer_options(t.command, word);
	} else if (t.command) {
		offer_argument(c, &t, word);
	} else if (t.words == 0) {
		offer_commands(word);
	}
	return 0;
}
