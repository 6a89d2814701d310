/*
 * ctl/main.c - command line of enrollctl: one table of commands.
 */
#include "config.h"

#include <getopt.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"

static const struct ctl_command commands[] = {
	{"status", "", "help desk", "what is going on: mode, counts by state, orders today",
		"enrollctl status", ctl_status},
	{"list", "[--state STATE] [--limit N] [--after ADDRESS] | [--observed]", "help desk", "enrollments; with --observed who would be enrolled and what would be signed",
		"enrollctl list --state blocked", ctl_list},
	{"show", "ADDRESS", "help desk", "one address: state, since when, why, what next, certificates, whole history",
		"enrollctl show alice@example.org", ctl_show},
	{"events", "[ADDRESS] [--limit N]", "help desk", "what happened, newest last",
		"enrollctl events alice@example.org --limit 20", ctl_events},
	{"mail", "[ADDRESS] [--limit N]", "help desk", "what became of recent mail, newest first",
		"enrollctl mail alice@example.org", ctl_mail},
	{"why", "ADDRESS [--message-id ID | --queue-id ID]", "help desk", "why a mail (default: the last one of this address) was not signed, and what to do",
		"enrollctl why alice@example.org --queue-id 4XkQ2z", ctl_why},
	{"expiring", "[--within 30d] [--limit N]", "help desk", "whose certificate ends when, and what is being done about it",
		"enrollctl expiring --within 30d", ctl_expiring},
	{"search", "TEXT [--limit N]", "help desk", "by words of an address or name, by the beginning of a serial number or fingerprint",
		"enrollctl search alice archer", ctl_search},
	{"doctor", "[CHECK]... [--fix [--dry-run]]", "help desk; root sees all, and may --fix",
		"look at everything that can be wrong, and say what mends it: configuration, files, keys, store, mail server, reply path, directory, DNS, CA; or at some of it",
		"enrollctl doctor postfix-order reply-path", ctl_doctor},
	{"ca", "check [--ca NAME]", "help desk; root when enrolld does not run", "look at the CA: TLS, terms, binding, profiles, account, limits",
		"enrollctl ca check", ctl_ca},
	{"caa", "check ADDRESS | check DOMAIN [--ca NAME]", "help desk; root when enrolld does not run",
		"does CAA in DNS let the CA issue: records, who sees what, the line to publish",
		"enrollctl caa check example.org", ctl_caa},
	{"account", "show | register | rotate-key | use-key | deactivate [--yes] [--ca NAME]", "help desk for show, admin for use-key, root for the others",
		"the ACME account: see it, make it, give it a new key, say that this host's key is the one in use, give it up for good",
		"enrollctl account show", ctl_account},
	{"policy", "explain ADDRESS [--to RECIPIENT]...", "help desk", "which rule is about an address, and what follows; changes nothing",
		"enrollctl policy explain alice@example.org --to partner@example.net", ctl_policy},
	{"report", "legacy [--enroll [--dry-run] [--yes]]", "help desk; admin with --enroll",
		"whose certificates in the directory have to be replaced, and why; --enroll asks for the replacements",
		"enrollctl report legacy", ctl_report},
	{"enroll", "ADDRESS", "help desk", "ask for a certificate now, without waiting for the user's mail",
		"enrollctl enroll alice@example.org", ctl_enroll},
	{"retry", "ADDRESS [--reason TEXT]", "help desk", "go on now with an enrollment that waits, is blocked or failed",
		"enrollctl retry alice@example.org", ctl_retry},
	{"rotate", "ADDRESS [--reason TEXT] [--dry-run]", "help desk", "a new key and certificate now; the present one signs until the new one is active",
		"enrollctl rotate alice@example.org --reason \"new laptop\"", ctl_rotate},
	{"departures", "[confirm [--dry-run] [--yes]]", "help desk; admin for confirm",
		"who left, as the directory has it, since when, and what becomes of their certificates when; confirm lets those go that the guard holds back",
		"enrollctl departures confirm --dry-run", ctl_departures},
	{"revoke", "ADDRESS|SERIAL --reason REASON [--no-replacement] [--dry-run] [--yes] | SERIAL --with-key", "admin; root with --with-key",
		"stop signing with it at once, have the CA revoke it, take it out of the directory; REASON is keyCompromise, superseded (both with a "
		"replacement), affiliationChanged, cessationOfOperation or privilegeWithdrawn; --with-key asks the CA by the certificate's own key, where it does not heed the account",
		"enrollctl revoke bob@example.org --reason affiliationChanged --dry-run", ctl_revoke},
	{"directory", "check [--user-dn DN --user-password-file FILE] | reconcile [--dry-run] [--yes] | restore ADDRESS|--all [--dry-run] [--yes]", "admin",
		"try schema, rights and limits, and with a user's bind that users cannot write their own addresses; put what has to be published into the "
		"directory and take what is over out of it; put back what directory.clear-foreign-smime took away",
		"enrollctl directory reconcile --dry-run", ctl_directory},
	{"replace", "[--issuer TEXT] [--issued-between A B] [--serials FILE] [--all-of-ca NAME] --by DEADLINE [--revoke REASON] [--dry-run] [--yes] | "
		"status | pause | resume | cancel", "admin; help desk for status",
		"new keys and certificates for many before a deadline, within the CA's limits; --dry-run says how long it takes",
		"enrollctl replace --issuer \"Example CA\" --by 120h --dry-run", ctl_replace},
	{"disable", "ADDRESS [--reason TEXT] [--dry-run] [--yes]", "admin", "stop signing and enrolling for this address",
		"enrollctl disable bob@example.org --reason \"on leave\"", ctl_disable},
	{"enable", "ADDRESS [--reason TEXT]", "admin", "undo disable; where nobody looks at who left, also take in again who was noted as gone",
		"enrollctl enable bob@example.org", ctl_enable},
	{"pause", "[--reason TEXT]", "admin", "stop all signing and ordering within two seconds",
		"enrollctl pause --reason \"the CA is being moved\"", ctl_pause},
	{"resume", "", "admin", "undo pause",
		"enrollctl resume", ctl_resume},
	{"cert", "check FILE [--profile PROFILE] [--anchors FILE] [--chain FILE] [--address A]... [--at TIME]", "anybody who can read the file",
		"hold a certificate against a profile: mailbox-strict and the like, private, configured; default: the one it claims",
		"enrollctl cert check new.pem --profile mailbox-strict --anchors roots.pem", ctl_cert},
	{"config", "check | show | running", "anybody who can read the file", "check the file; show it with defaults; show what enrolld runs with",
		"enrollctl config check", ctl_config_command},
	{"log", "explain [EVENT|LINE]", "anybody", "what an event of the log or the history means, what its keys are, what to do; without one: all; a pasted line works, too",
		"enrollctl log explain mail_done", ctl_log},
	{"help", "[COMMAND]", "anybody", "all commands, or one with its options and an example", "enrollctl help revoke", ctl_help},
	{"export", "ADDRESS --pkcs12 FILE [--serial SERIAL | --all] [--password-file FILE] [--legacy-format] | ADDRESS --certificates [--all]",
		"root; help desk with --certificates", "a key and certificate as a new PKCS#12 file, where export = \"keys\" allows it (--all: a folder, with the old "
		"ones); or the certificates alone, as PEM", "enrollctl export alice@example.org --pkcs12 /root/alice.p12", ctl_export},
	{"import", "FILE|FOLDER [--address ADDRESS] [--password-file FILE] [--old] [--dry-run]", "root",
		"bring keys and certificates in, from PKCS#12 or PEM; --old: what may not sign comes in for reading old mail",
		"enrollctl import /root/from-the-old-gateway --dry-run", ctl_import},
	{"masterkey", "rotate | status", "root", "a new master key: all user keys are wrapped for it, while everything runs; safe to repeat",
		"enrollctl masterkey status", ctl_masterkey},
	{"store", "check | upgrade [--dry-run] | migrate --to PLACE [--dry-run] | migrate --undo [--yes] | migrate --confirm | compact [--dry-run]", "root",
		"is the store sound, of which schema, and who can read it; bring an older one to this version's schema, as enrolld does when it starts, unless a "
		"milter that runs could not read it then; copy it whole to another place, which is then the store: PostgreSQL, or a new file; remove history that is "
		"older than store.retention-days, and give its room back",
		"enrollctl store migrate --to 'postgresql://enroll_%r@db.example.org/enroll'", ctl_store},
	{"init", "[--no-account]", "root", "make master key, store and ACME account; safe to repeat",
		"enrollctl init", ctl_init},
	{"backup", "FOLDER [--with-keys]", "root", "copy store and configuration, and with --with-keys the keys, into a new folder",
		"enrollctl backup /root/enroll-backup --with-keys", ctl_backup},
	{"restore", "FOLDER", "root", "put a backup in place on a host without a store",
		"enrollctl restore /root/enroll-backup", ctl_restore},
};
#define N_COMMANDS (sizeof commands / sizeof *commands)

const struct ctl_command *ctl_commands(size_t *n)
{
	*n = N_COMMANDS;
	return commands;
}

const struct ctl_command *ctl_find_command(const char *name)
{
	for (size_t i = 0; name && i < N_COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

bool ctl_has_table(const struct ctl_command *c)
{
	return c->run == ctl_list || c->run == ctl_events || c->run == ctl_mail || c->run == ctl_expiring || c->run == ctl_search || c->run == ctl_doctor ||
		c->run == ctl_ca || c->run == ctl_report || c->run == ctl_departures;
}

int ctl_usage(const struct ctl *c, const char *text)
{
	fprintf(stderr, "%s: %s\nTry: enrollctl %s%s\n", c->program, text, c->command ? "help " : "--help", c->command ? c->command->name : "");
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
	OPT_CHAIN, OPT_ADDRESS, OPT_AT, OPT_ENROLL, OPT_CSV, OPT_MESSAGE_ID, OPT_QUEUE_ID, OPT_WITHIN, OPT_DRY_RUN, OPT_NO_REPLACEMENT, OPT_WITH_KEY, OPT_USER_DN, OPT_USER_PASSWORD_FILE, OPT_ALL, OPT_PKCS12, OPT_PASSWORD_FILE, OPT_SERIAL, OPT_CERTIFICATES, OPT_LEGACY_FORMAT, OPT_OLD, OPT_ISSUER, OPT_ISSUED_BETWEEN, OPT_SERIALS, OPT_ALL_OF_CA, OPT_BY, OPT_REVOKE, OPT_FIX, OPT_UNDO, OPT_CONFIRM };
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
	{"no-replacement", no_argument, NULL, OPT_NO_REPLACEMENT}, {"with-key", no_argument, NULL, OPT_WITH_KEY}, {"user-dn", required_argument, NULL, OPT_USER_DN}, {"user-password-file", required_argument, NULL, OPT_USER_PASSWORD_FILE}, {"all", no_argument, NULL, OPT_ALL}, {"pkcs12", required_argument, NULL, OPT_PKCS12}, {"password-file", required_argument, NULL, OPT_PASSWORD_FILE}, {"serial", required_argument, NULL, OPT_SERIAL}, {"certificates", no_argument, NULL, OPT_CERTIFICATES}, {"legacy-format", no_argument, NULL, OPT_LEGACY_FORMAT}, {"old", no_argument, NULL, OPT_OLD}, {"issuer", required_argument, NULL, OPT_ISSUER}, {"issued-between", required_argument, NULL, OPT_ISSUED_BETWEEN}, {"serials", required_argument, NULL, OPT_SERIALS}, {"all-of-ca", required_argument, NULL, OPT_ALL_OF_CA}, {"by", required_argument, NULL, OPT_BY}, {"revoke", required_argument, NULL, OPT_REVOKE}, {"fix", no_argument, NULL, OPT_FIX}, {"undo", no_argument, NULL, OPT_UNDO}, {"confirm", no_argument, NULL, OPT_CONFIRM}, {NULL, 0, NULL, 0}};

bool ctl_option_argument(const char *name)
{
	for (size_t i = 0; options[i].name; i++)
		if (strcmp(options[i].name, name) == 0)
			return options[i].has_arg == required_argument;
	return false;
}

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
	case OPT_WITH_KEY: c->with_key = true; return -1;
	case OPT_USER_DN: c->user_dn = optarg; return -1;
	case OPT_USER_PASSWORD_FILE: c->user_password_file = optarg; return -1;
	case OPT_ALL: c->all = true; return -1;
	case OPT_PKCS12: c->pkcs12 = optarg; return -1;
	case OPT_PASSWORD_FILE: c->password_file = optarg; return -1;
	case OPT_SERIAL: c->serial = optarg; return -1;
	case OPT_CERTIFICATES: c->certificates = true; return -1;
	case OPT_LEGACY_FORMAT: c->legacy_format = true; return -1;
	case OPT_OLD: c->old = true; return -1;
	case OPT_ISSUER: c->issuer = optarg; return -1;
	case OPT_ISSUED_BETWEEN: c->issued_from = optarg; return -1;
	case OPT_SERIALS: c->serials = optarg; return -1;
	case OPT_ALL_OF_CA: c->all_of_ca = optarg; return -1;
	case OPT_BY: c->by = optarg; return -1;
	case OPT_REVOKE: c->revoke = optarg; return -1;
	case OPT_FIX: c->fix = true; return -1;
	case OPT_UNDO: c->undo = true; return -1;
	case OPT_CONFIRM: c->confirm = true; return -1;
	case OPT_LIMIT:
		return parse_limit(optarg, &c->limit) ? -1 : ctl_usage(c, "--limit takes a number from 1 to 1000");
	default:
		return -1;
	}
}

#define N_OPTIONS (sizeof options / sizeof *options)

/* Options as they stand; which ones in `used`. */
static int read_options(struct ctl *c, int argc, char **argv, bool used[N_OPTIONS], bool *help)
{
	int o, rc = -1, which = -1;

	opterr = 0;
	while (rc < 0 && (o = getopt_long(argc, argv, ":c:jhV", options, &which)) != -1) {
		if (o == ':') {
			fprintf(stderr, "enrollctl: %s needs a value\nTry: enrollctl --help\n", argv[optind - 1]);
			return 2;
		}
		if (o == '?' && optopt && !strchr("cjhV", optopt) && optopt < 256) {
			fprintf(stderr, "enrollctl: unknown option -%c\nTry: enrollctl --help\n", optopt);
			return 2;
		}
		if (o == '?')
			return ctl_unknown_option(argv[optind - 1], options);
		if (which >= 0)
			used[which] = true;
		which = -1;
		rc = read_option(c, o, help);
	}
	return rc;
}

/* An option that is another command's is refused: without what it promises, nothing must happen. */
static int check_options(struct ctl *c, const bool used[N_OPTIONS])
{
	char text[256];

	for (size_t i = 0; i < N_OPTIONS; i++) {
		if (!used[i] || (options[i].val < 256) || options[i].val == OPT_CSV || ctl_takes(c->command, options[i].name, NULL))
			continue;
		snprintf(text, sizeof text, "%s does not take --%s", c->command->name, options[i].name);
		return ctl_usage(c, text);
	}
	return -1;
}

static int check_csv(struct ctl *c)
{
	struct buf text = BUF_INIT;

	if (!c->csv || (!c->json && ctl_has_table(c->command)))
		return -1;
	buf_puts(&text, c->json ? "either --json or --csv" : "--csv is for tables:");
	for (size_t i = 0; !c->json && i < N_COMMANDS; i++)
		if (ctl_has_table(&commands[i]))
			buf_printf(&text, " %s", commands[i].name);
	ctl_usage(c, buf_str(&text));
	buf_clear(&text);
	return 2;
}

static int run(struct ctl *c, int argc, char **argv, const bool used[N_OPTIONS])
{
	int rc = check_options(c, used);

	if (rc < 0)
		rc = check_csv(c);
	if (rc < 0 && argc && ctl_wrong_word(c->command, argv[0]))
		rc = 2;
	return rc < 0 ? c->command->run(c, argc, argv) : rc;
}

int main(int argc, char **argv)
{
	struct ctl c = {.config_path = SYSCONFDIR "/enroll-milter/enroll-milter.conf", .program = "enrollctl"};
	bool help = false, used[N_OPTIONS] = {false};
	int rc;

	process_harden(); /* init and restore hold keys */
	setlocale(LC_CTYPE, "C.UTF-8"); /* for widths; texts are UTF-8 whatever the user's locale */
	if (argc > 1 && strcmp(argv[1], "--complete") == 0)
		return ctl_complete(&c, argc - 2, argv + 2);
	if ((rc = read_options(&c, argc, argv, used, &help)) >= 0)
		return rc;
	c.command = ctl_find_command(argv[optind]);
	if (help && c.command)
		return ctl_print_command_help(c.command), 0;
	if (help)
		return ctl_print_help(stdout), 0;
	if (!argv[optind])
		return ctl_print_help(stderr), 2;
	if (!c.command)
		return ctl_unknown_command(argv[optind]);
	log_open("enrollctl", LOG_TARGET_STDERR, "user", LOG_LEVEL_WARNING);
	rc = run(&c, argc - optind - 1, argv + optind + 1, used);
	config_unref(c.config);
	strlist_clear(&c.to);
	strlist_clear(&c.addresses);
	return rc;
}
