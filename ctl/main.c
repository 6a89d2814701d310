/*
 * ctl/main.c - command line of enrollctl: one table of commands.
 */
#include "config.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"

static const struct command {
	const char *name, *arguments, *role, *help;
	int (*run)(struct ctl *, int argc, char **argv);
} commands[] = {
	{"status", "", "help desk", "what is going on: mode, counts by state, orders today", ctl_status},
	{"list", "[--state STATE] [--observed]", "help desk", "enrollments; with --observed who would be enrolled and what would be signed", ctl_list},
	{"show", "ADDRESS", "help desk", "one address: state, since when, why, what next, certificates, whole history", ctl_show},
	{"events", "[ADDRESS] [--limit N]", "help desk", "what happened, newest last", ctl_events},
	{"mail", "[ADDRESS] [--limit N]", "help desk", "what became of recent mail, newest first", ctl_mail},
	{"why", "ADDRESS [--message-id ID | --queue-id ID]", "help desk", "why a mail (default: the last one of this address) was not signed, and what to do",
		ctl_why},
	{"expiring", "[--within 30d] [--limit N]", "help desk", "whose certificate ends when, and what is being done about it", ctl_expiring},
	{"search", "TEXT [--limit N]", "help desk", "by words of an address or name, by the beginning of a serial number or fingerprint", ctl_search},
	{"doctor", "", "help desk", "check sockets, milter order, reply path, directory, CA, DNS", ctl_doctor},
	{"ca", "check [--ca NAME]", "help desk; root when enrolld does not run", "look at the CA: TLS, terms, binding, profiles, account, limits", ctl_ca},
	{"caa", "check ADDRESS | check DOMAIN [--ca NAME]", "help desk; root when enrolld does not run",
		"does CAA in DNS let the CA issue: records, who sees what, the line to publish", ctl_caa},
	{"account", "show | register | rotate-key | deactivate [--yes] [--ca NAME]", "help desk for show, root for the others",
		"the ACME account: see it, make it, give it a new key, give it up for good", ctl_account},
	{"policy", "explain ADDRESS [--to RECIPIENT]...", "help desk", "which rule is about an address, and what follows; changes nothing", ctl_policy},
	{"report", "legacy [--enroll]", "help desk; admin with --enroll",
		"whose certificates in the directory have to be replaced, and why; --enroll asks for the replacements", ctl_report},
	{"enroll", "ADDRESS", "help desk", "ask for a certificate now, without waiting for the user's mail", ctl_enroll},
	{"retry", "ADDRESS", "help desk", "go on now with an enrollment that waits, is blocked or failed", ctl_retry},
	{"rotate", "ADDRESS [--reason TEXT]", "help desk", "a new key and certificate now; the present one signs until the new one is active", ctl_rotate},
	{"revoke", "ADDRESS|SERIAL --reason REASON [--no-replacement] [--dry-run] [--yes]", "admin",
		"stop signing with it at once, have the CA revoke it, take it out of the directory; REASON is keyCompromise, superseded (both with a "
		"replacement), affiliationChanged, cessationOfOperation or privilegeWithdrawn", ctl_revoke},
	{"replace", "[--issuer TEXT] [--issued-between A B] [--serials FILE] [--all-of-ca NAME] --by DEADLINE [--revoke REASON] [--dry-run] [--yes] | "
		"status | pause | resume | cancel", "admin; help desk for status",
		"new keys and certificates for many before a deadline, within the CA's limits; --dry-run says how long it takes", ctl_replace},
	{"disable", "ADDRESS [--reason TEXT]", "admin", "stop signing and enrolling for this address", ctl_disable},
	{"enable", "ADDRESS [--reason TEXT]", "admin", "undo disable", ctl_enable},
	{"pause", "[--reason TEXT]", "admin", "stop all signing and ordering within two seconds", ctl_pause},
	{"resume", "", "admin", "undo pause", ctl_resume},
	{"cert", "check FILE [--profile PROFILE] [--anchors FILE] [--chain FILE] [--address A]... [--at TIME]", "anybody who can read the file",
		"hold a certificate against a profile: mailbox-strict and the like, private, configured; default: the one it claims", ctl_cert},
	{"config", "check | show | running", "anybody who can read the file", "check the file; show it with defaults; show what enrolld runs with", ctl_config_command},
	{"init", "[--no-account]", "root", "make master key, store and ACME account; safe to repeat", ctl_init},
	{"backup", "FOLDER [--with-keys]", "root", "copy store and configuration, and with --with-keys the keys, into a new folder", ctl_backup},
	{"restore", "FOLDER", "root", "put a backup in place on a host without a store", ctl_restore},
};
#define N_COMMANDS (sizeof commands / sizeof *commands)

static void print_help(FILE *to)
{
	fputs("Usage: enrollctl [--config FILE] [--json | --csv] COMMAND [ARGUMENTS]\n"
	      "See and steer the S/MIME certificates of this installation.\n\n", to);
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(to, "  %s%s%s\n      %s (%s)\n", commands[i].name, commands[i].arguments[0] ? " " : "", commands[i].arguments, commands[i].help,
			commands[i].role);
	fputs("\nOptions:\n"
	      "  -c, --config FILE  configuration (default " SYSCONFDIR "/enroll-milter/enroll-milter.conf)\n"
	      "  -j, --json         answer in JSON\n"
	      "  --csv              answer in comma separated values, where the answer is a table\n"
	      "  -h, --help         this text, or that of a command\n"
	      "  -V, --version      version\n\n"
	      "Exit code: 0 done, 1 failed or refused, 2 wrong use.  See enrollctl(8).\n", to);
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; name && i < N_COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* Those whose answer --csv can be asked of. */
static bool has_table(const struct command *c)
{
	return c->run == ctl_list || c->run == ctl_events || c->run == ctl_mail || c->run == ctl_expiring || c->run == ctl_search;
}

int ctl_usage(const struct ctl *c, const char *text)
{
	fprintf(stderr, "%s: %s\nTry: enrollctl --help\n", c->program, text);
	return 2;
}

int ctl_fail(const struct ctl *c, const struct err *err)
{
	if (c->json) {
		json_t *o = json_pack("{s:b, s:{s:s, s:s, s:s, s:s}}", "ok", 0, "error", "class", err_class_name(err->class), "op", err->op, "subject",
			err->subject, "text", err->text);

		json_dumpf(o, stdout, JSON_INDENT(2));
		puts("");
		json_decref(o);
	} else {
		fprintf(stderr, "%s: %s%s%s\n", c->program, err->subject[0] ? err->subject : "", err->subject[0] ? ": " : "", err->text);
	}
	return 1;
}

struct config *ctl_config(struct ctl *c)
{
	struct err err = ERR_INIT;

	if (!c->config) {
		c->config = config_load(c->config_path, &err);
		if (!c->config) {
			/* The text names file and line itself. */
			err.subject[0] = '\0';
			ctl_fail(c, &err);
		}
	}
	return c->config;
}

const struct ca_config *ctl_ca_config(const struct ctl *c)
{
	const struct ca_config *ca = c->ca ? config_ca(c->config, c->ca) : &c->config->ca;
	struct err err = ERR_INIT;

	if (!ca) {
		err_set(&err, ERR_CONFIG, "find CA", c->ca, "the configuration has no CA of this name");
		ctl_fail(c, &err);
	}
	return ca;
}

static bool parse_limit(const char *text, long *out)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (*end || n < 1 || n > 1000)
		return false;
	*out = n;
	return true;
}

enum { OPT_STATE = 256, OPT_AFTER, OPT_REASON, OPT_LIMIT, OPT_OBSERVED, OPT_WITH_KEYS, OPT_NO_ACCOUNT, OPT_YES, OPT_CA, OPT_TO, OPT_PROFILE, OPT_ANCHORS,
	OPT_CHAIN, OPT_ADDRESS, OPT_AT, OPT_ENROLL, OPT_CSV, OPT_MESSAGE_ID, OPT_QUEUE_ID, OPT_WITHIN, OPT_DRY_RUN, OPT_NO_REPLACEMENT, OPT_ISSUER,
	OPT_ISSUED_BETWEEN, OPT_SERIALS, OPT_ALL_OF_CA, OPT_BY, OPT_REVOKE };
static const struct option options[] = {{"config", required_argument, NULL, 'c'}, {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'}, {"state", required_argument, NULL, OPT_STATE}, {"after", required_argument, NULL, OPT_AFTER},
	{"reason", required_argument, NULL, OPT_REASON}, {"limit", required_argument, NULL, OPT_LIMIT}, {"observed", no_argument, NULL, OPT_OBSERVED},
	{"with-keys", no_argument, NULL, OPT_WITH_KEYS}, {"no-account", no_argument, NULL, OPT_NO_ACCOUNT},
	{"yes", no_argument, NULL, OPT_YES}, {"ca", required_argument, NULL, OPT_CA}, {"to", required_argument, NULL, OPT_TO},
	{"profile", required_argument, NULL, OPT_PROFILE}, {"anchors", required_argument, NULL, OPT_ANCHORS},
	{"chain", required_argument, NULL, OPT_CHAIN}, {"address", required_argument, NULL, OPT_ADDRESS}, {"at", required_argument, NULL, OPT_AT},
	{"enroll", no_argument, NULL, OPT_ENROLL}, {"csv", no_argument, NULL, OPT_CSV},
	{"message-id", required_argument, NULL, OPT_MESSAGE_ID}, {"queue-id", required_argument, NULL, OPT_QUEUE_ID},
	{"within", required_argument, NULL, OPT_WITHIN}, {"dry-run", no_argument, NULL, OPT_DRY_RUN},
	{"no-replacement", no_argument, NULL, OPT_NO_REPLACEMENT}, {"issuer", required_argument, NULL, OPT_ISSUER},
	{"issued-between", required_argument, NULL, OPT_ISSUED_BETWEEN}, {"serials", required_argument, NULL, OPT_SERIALS},
	{"all-of-ca", required_argument, NULL, OPT_ALL_OF_CA}, {"by", required_argument, NULL, OPT_BY}, {"revoke", required_argument, NULL, OPT_REVOKE}, {NULL, 0, NULL, 0}};

/* -1: go on; else the exit code. */
static int read_option(struct ctl *c, int o, bool *help)
{
	switch (o) {
	case 'c': c->config_path = optarg; return -1;
	case 'j': c->json = true; return -1;
	case 'h': *help = true; return -1;
	case 'V': puts(PACKAGE_STRING); return 0;
	case OPT_STATE: c->state = optarg; return -1;
	case OPT_AFTER: c->after = optarg; return -1;
	case OPT_REASON: c->reason = optarg; return -1;
	case OPT_OBSERVED: c->observed = true; return -1;
	case OPT_WITH_KEYS: c->with_keys = true; return -1;
	case OPT_NO_ACCOUNT: c->no_account = true; return -1;
	case OPT_TO: return strlist_add(&c->to, optarg) ? -1 : ctl_usage(c, "out of memory");
	case OPT_CA: c->ca = optarg; return -1;
	case OPT_YES: c->yes = true; return -1;
	case OPT_PROFILE: c->profile = optarg; return -1;
	case OPT_ANCHORS: c->anchors = optarg; return -1;
	case OPT_CHAIN: c->chain = optarg; return -1;
	case OPT_AT: c->at = optarg; return -1;
	case OPT_ADDRESS: return strlist_add(&c->addresses, optarg) ? -1 : ctl_usage(c, "out of memory");
	case OPT_ENROLL: c->enroll = true; return -1;
	case OPT_CSV: c->csv = true; return -1;
	case OPT_MESSAGE_ID: c->message_id = optarg; return -1;
	case OPT_QUEUE_ID: c->queue_id = optarg; return -1;
	case OPT_WITHIN: c->within = optarg; return -1;
	case OPT_DRY_RUN: c->dry_run = true; return -1;
	case OPT_NO_REPLACEMENT: c->no_replacement = true; return -1;
	case OPT_ISSUER: c->issuer = optarg; return -1;
	case OPT_ISSUED_BETWEEN: c->issued_from = optarg; return -1;
	case OPT_SERIALS: c->serials = optarg; return -1;
	case OPT_ALL_OF_CA: c->all_of_ca = optarg; return -1;
	case OPT_BY: c->by = optarg; return -1;
	case OPT_REVOKE: c->revoke = optarg; return -1;
	case OPT_LIMIT:
		return parse_limit(optarg, &c->limit) ? -1 : ctl_usage(c, "--limit takes a number from 1 to 1000");
	default:
		return ctl_usage(c, "unknown option");
	}
}

int main(int argc, char **argv)
{
	struct ctl c = {.config_path = SYSCONFDIR "/enroll-milter/enroll-milter.conf", .program = "enrollctl"};
	const struct command *command;
	bool help = false;
	int o, rc;

	process_harden(); /* init and restore hold keys */
	opterr = 0;
	while ((o = getopt_long(argc, argv, "c:jhV", options, NULL)) != -1)
		if ((rc = read_option(&c, o, &help)) >= 0)
			return rc;
	command = find_command(argv[optind]);
	if (help && command) {
		printf("Usage: enrollctl [--config FILE] [--json%s] %s %s\n%s.  Who may: %s.\n", has_table(command) ? " | --csv" : "", command->name, command->arguments, command->help, command->role);
		return 0;
	}
	if (help) {
		print_help(stdout);
		return 0;
	}
	if (!command) {
		if (!argv[optind])
			return print_help(stderr), 2;
		fprintf(stderr, "enrollctl: unknown command \"%s\"\nTry: enrollctl --help\n", argv[optind]);
		return 2;
	}
	if (c.csv && (c.json || !has_table(command)))
		return ctl_usage(&c, c.json ? "either --json or --csv" : "--csv is for tables: list, events, mail, expiring, search");
	log_open("enrollctl", LOG_TARGET_STDERR, "user", LOG_LEVEL_WARNING);
	rc = command->run(&c, argc - optind - 1, argv + optind + 1);
	config_unref(c.config);
	strlist_clear(&c.to);
	strlist_clear(&c.addresses);
	return rc;
}
