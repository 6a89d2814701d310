/*
 * ctl/help.c - what enrollctl says of itself, all of it from the table of commands in main.c.
 *
 * A command's arguments are written in one way, which is read here and by complete.c: words in small letters that begin an alternative are
 * sub-commands, words that begin with -- are options of this command (the word behind one stands for its value), and ADDRESS, FILE, FOLDER, STATE,
 * REASON, PROFILE, CHECK say what can stand in their place.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <ctype.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 80
#define SLIPS 2 /* of the finger; with more of them it is another word */

static const struct {
	const char *name, *help;
} option_help[] = {
	{"config", "configuration file (default " SYSCONFDIR "/enroll-milter/enroll-milter.conf)"},
	{"json", "answer in JSON"},
	{"csv", "answer in comma separated values, where the answer is a table"},
	{"help", "this text, or that of a command"},
	{"version", "version"},
	{"state", "only those in this state, as `enrollctl status` counts them"},
	{"after", "go on behind this address"},
	{"limit", "at most so many, 1 to 1000"},
	{"observed", "whose mail was seen in the mode observe, and what would have been done"},
	{"message-id", "this mail, by its Message-ID"},
	{"queue-id", "this mail, by the queue id that the mail log has"},
	{"within", "in this time: 12h, 30d, 2w"},
	{"ca", "another CA than that of the group ca in the configuration"},
	{"to", "mail to this recipient; several times for several"},
	{"reason", "why: a few words, kept in the history"},
	{"no-replacement", "no new key and certificate"},
	{"with-key", "ask the CA by the certificate's own key"},
	{"with-key", "by the certificate's own key, which root alone can have opened"},
	{"dry-run", "tell what would be done, and do nothing"},
	{"yes", "do not ask; needed where nobody sits at a terminal"},
	{"enroll", "ask for the replacements, after asking back"},
	{"profile", "the profile it is to have: mailbox-strict and the like, private, configured"},
	{"anchors", "roots that its chain has to end at, PEM"},
	{"chain", "certificates between, PEM"},
	{"address", "an address it has to be for; several times for several"},
	{"at", "as of this time: 2026-11-22, or 2026-11-22T12:00:00Z"},
	{"user-dn", "try rights with this user's bind, too"},
	{"user-password-file", "where that user's password is"},
	{"all", "all of them"},
	{"pkcs12", "into this new file"},
	{"password-file", "where the password is; without it one is made and shown"},
	{"serial", "the one with this serial number"},
	{"certificates", "no key"},
	{"legacy-format", "for old readers: weak encryption"},
	{"old", "also what may not sign any more, for reading old mail"},
	{"issuer", "those with this text in the name of their issuer"},
	{"issued-between", "those whose validity begins between these two times"},
	{"serials", "those whose serial numbers this file has, one a line"},
	{"all-of-ca", "those of this CA of the configuration"},
	{"by", "until when: 120h, 5d, or a time"},
	{"revoke", "and revoke each old one for this reason, when its new one is active"},
	{"fix", "put modes and owners of our files right, make our folders; nothing else"},
	{"undo", "the old place is the store again; what is new in the new one is lost, which --yes agrees to"},
	{"confirm", "the move is for good, and the old place is of no more use"},
	{"with-keys", "master key and account key too: whoever has the folder can sign as everybody"},
	{"no-account", "without the account at the CA"},
};

const char *ctl_option_help(const char *name)
{
	for (size_t i = 0; i < sizeof option_help / sizeof *option_help; i++)
		if (strcmp(option_help[i].name, name) == 0)
			return option_help[i].help;
	return NULL;
}

/* ---- the arguments of a command, word by word ------------------------------------------------------------------------------- */

bool ctl_synopsis_next(struct ctl_synopsis *s)
{
	size_t n;

	s->first = s->at == s->text;
	s->behind = !s->first; /* nothing but a blank since the last word */
	for (; *s->at && strchr(" |[].", *s->at); s->at++) {
		s->depth += *s->at == '[' ? 1 : *s->at == ']' ? -1 : 0;
		s->first = s->first || (*s->at == '|' && s->depth == 0);
		s->behind = s->behind && *s->at == ' ';
	}
	n = strcspn(s->at, " |[]");
	snprintf(s->word, sizeof s->word, "%.*s", (int)n, s->at);
	s->at += n;
	return n > 0;
}

bool ctl_takes(const struct ctl_command *command, const char *option, char value[CTL_WORD])
{
	struct ctl_synopsis s = {.text = command->arguments, .at = command->arguments};
	bool found = false;

	if (value)
		value[0] = '\0';
	while (ctl_synopsis_next(&s)) {
		if (found) {
			if (value && s.behind)
				snprintf(value, CTL_WORD, "%s", s.word);
			return true;
		}
		found = strncmp(s.word, "--", 2) == 0 && strcmp(s.word + 2, option) == 0;
	}
	return found;
}

/* ---- the nearest word --------------------------------------------------------------------------------------------------------- */

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Letters to add, leave out, replace, or change places of. */
static size_t distance(const char *a, const char *b)
{
	enum { MOST = 32 };
	size_t d[MOST + 1][MOST + 1], n = strlen(a), m = strlen(b);

	if (n > MOST || m > MOST)
		return MOST;
	for (size_t i = 0; i <= n; i++)
		for (size_t k = 0; k <= m; k++) {
			if (i == 0 || k == 0) {
				d[i][k] = i + k;
				continue;
			}
			d[i][k] = least(least(d[i - 1][k], d[i][k - 1]) + 1, d[i - 1][k - 1] + (a[i - 1] != b[k - 1]));
			if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
				d[i][k] = least(d[i][k], d[i - 2][k - 2] + 1);
		}
	return d[n][m];
}

void ctl_nearest(struct ctl_nearest *near, const char *typed, const char *word)
{
	size_t d = strlen(typed) >= 2 && strncmp(word, typed, strlen(typed)) == 0 ? 1 : distance(typed, word);

	if (d <= (strlen(word) < 4 ? 1 : SLIPS) && (!near->word || d < near->distance)) {
		near->word = word;
		near->distance = d;
	}
}

/* ---- help ------------------------------------------------------------------------------------------------------------------------ */

/* From this column on, lines broken at blanks. */
static void put_wrapped(FILE *to, const char *s, size_t indent, size_t column)
{
	for (bool first = true; *s; first = false) {
		size_t n = strcspn(s, " ");

		if (!first && column + 1 + n > WIDTH - 1) {
			fprintf(to, "\n%*s", (int)indent, "");
			column = indent;
		} else if (!first) {
			fputc(' ', to);
			column++;
		}
		fprintf(to, "%.*s", (int)n, s);
		column += n;
		s += n;
		s += strspn(s, " ");
	}
	fputc('\n', to);
}

static void put_option(FILE *to, const char *name, const char *value, char letter)
{
	char text[64];
	const char *help = strcmp(value, "REASON") == 0 ? "why: one of the words above" : ctl_option_help(name);

	snprintf(text, sizeof text, "%c%c%s--%s%s%s", letter ? '-' : ' ', letter ? letter : ' ', letter ? ", " : "  ", name, *value ? " " : "", value);
	fprintf(to, "  %-28s ", text);
	put_wrapped(to, help ? help : "", 31, 31);
}

static void put_synopsis(FILE *to, const struct ctl_command *c)
{
	char line[512];

	snprintf(line, sizeof line, "%s%s%s", c->name, c->arguments[0] ? " " : "", c->arguments);
	fputs("  ", to);
	put_wrapped(to, line, 10, 2);
}

void ctl_print_help(FILE *to)
{
	size_t n;
	const struct ctl_command *commands = ctl_commands(&n);
	char line[512];

	fputs("Usage: enrollctl [--config FILE] [--json | --csv] COMMAND [ARGUMENTS]\n"
	      "See and steer the S/MIME certificates of this installation.\n\n", to);
	for (size_t i = 0; i < n; i++) {
		put_synopsis(to, &commands[i]);
		snprintf(line, sizeof line, "%s (%s)", commands[i].help, commands[i].role);
		fputs("      ", to);
		put_wrapped(to, line, 6, 6);
	}
	fputs("\nOptions:\n", to);
	put_option(to, "config", "FILE", 'c');
	put_option(to, "json", "", 'j');
	put_option(to, "csv", "", 0);
	put_option(to, "help", "", 'h');
	put_option(to, "version", "", 'V');
	fputs("\nMore about a command, with an example: enrollctl help COMMAND\n"
	      "Exit code: 0 done, 1 failed or refused, 2 wrong use.  See enrollctl(8).\n", to);
}

static void put_options(const struct ctl_command *command)
{
	struct ctl_synopsis s = {.text = command->arguments, .at = command->arguments};
	char value[CTL_WORD];
	struct strlist told = {0};

	while (ctl_synopsis_next(&s)) {
		if (strncmp(s.word, "--", 2) != 0 || strlist_has(&told, s.word) || !strlist_add(&told, s.word))
			continue;
		if (told.n == 1)
			puts("Options:");
		ctl_takes(command, s.word + 2, value);
		put_option(stdout, s.word + 2, value, 0);
	}
	if (told.n)
		puts("");
	strlist_clear(&told);
}

void ctl_print_command_help(const struct ctl_command *command)
{
	bool table = ctl_has_table(command);
	char line[512];

	snprintf(line, sizeof line, "Usage: enrollctl [--config FILE] [--json%s] %s %s", table ? " | --csv" : "", command->name, command->arguments);
	put_wrapped(stdout, line, 8, 0);
	puts("");
	snprintf(line, sizeof line, "%c%s.", toupper((unsigned char)command->help[0]), command->help + 1);
	put_wrapped(stdout, line, 0, 0);
	snprintf(line, sizeof line, "Who may: %s.", command->role);
	put_wrapped(stdout, line, 0, 0);
	puts("");
	put_options(command);
	printf("Example:\n  %s\n", command->example);
}

int ctl_help(struct ctl *c, int argc, char **argv)
{
	const struct ctl_command *command = argc == 1 ? ctl_find_command(argv[0]) : NULL;

	if (argc > 1)
		return ctl_usage(c, "help takes the name of a command");
	if (argc == 1 && !command)
		return ctl_unknown_command(argv[0]);
	if (command)
		ctl_print_command_help(command);
	else
		ctl_print_help(stdout);
	return 0;
}

/* ---- wrong use ---------------------------------------------------------------------------------------------------------------------- */

static int unknown(const char *kind, const char *typed, const struct ctl_nearest *near)
{
	fprintf(stderr, "enrollctl: unknown %s \"%s\"", kind, typed);
	if (near->word)
		fprintf(stderr, "; did you mean \"%s\"?", near->word);
	fputs("\nTry: enrollctl --help\n", stderr);
	return 2;
}

int ctl_unknown_command(const char *typed)
{
	struct ctl_nearest near = {NULL, 0};
	size_t n;
	const struct ctl_command *commands = ctl_commands(&n);

	for (size_t i = 0; i < n; i++)
		ctl_nearest(&near, typed, commands[i].name);
	return unknown("command", typed, &near);
}

int ctl_unknown_option(const char *typed, const struct option *options)
{
	struct ctl_nearest near = {NULL, 0};
	char name[CTL_WORD], best[CTL_WORD + 2];

	snprintf(name, sizeof name, "%.*s", (int)strcspn(typed, "="), typed);
	for (size_t i = 0; strncmp(name, "--", 2) == 0 && options[i].name; i++)
		ctl_nearest(&near, name + 2, options[i].name);
	if (near.word) {
		snprintf(best, sizeof best, "--%s", near.word);
		near.word = best;
	}
	return unknown("option", name, &near);
}

bool ctl_wrong_word(const struct ctl_command *command, const char *typed)
{
	struct ctl_synopsis s = {.text = command->arguments, .at = command->arguments};
	struct ctl_nearest near = {NULL, 0};
	char best[CTL_WORD] = "";

	while (typed && ctl_synopsis_next(&s)) {
		if (!s.first || s.word[0] < 'a' || s.word[0] > 'z')
			continue;
		if (strcmp(s.word, typed) == 0)
			return false;
		ctl_nearest(&near, typed, s.word);
		if (near.word == s.word) {
			snprintf(best, sizeof best, "%s", s.word);
			near.word = best;
		}
	}
	if (near.word)
		fprintf(stderr, "enrollctl: %s has no \"%s\"; did you mean \"%s\"?\nTry: enrollctl help %s\n", command->name, typed, near.word, command->name);
	return near.word != NULL;
}
