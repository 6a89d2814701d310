/*
 * enroll/main.c - command line of enrolld.
 */
#include "config.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "enroll/enroll.h"
#include "enroll/enrollment.h"

#define KEY_HEAP (1024 * 1024) /* for keys that are made, until they are wrapped */

static const char help[] =
	"Usage: enrolld [--config FILE] [--daemon] [--pid-file FILE] [--user NAME]\n"
	"Obtain, check, publish and renew S/MIME certificates, and serve enrollctl.\n"
	"\n"
	"  -c, --config FILE    configuration (default " SYSCONFDIR "/enroll-milter/enroll-milter.conf)\n"
	"  -f, --foreground     stay in the foreground (default)\n"
	"  -d, --daemon         go into the background as soon as requests are served\n"
	"  -p, --pid-file FILE  write the process id there\n"
	"  -u, --user NAME      whom root starts it as (default: users.enrolld)\n"
	"      --states         print the states of an enrollment, what each asks outside, and where it leads\n"
	"      --states-json    the same as JSON\n"
	"  -h, --help           this text\n"
	"  -V, --version        version\n"
	"\n"
	"SIGHUP or SIGUSR1 reloads the configuration; SIGTERM ends.  See enrolld(8).\n";

static int print_states(bool json)
{
	struct buf out = BUF_INIT;

	enrollment_describe(&out, json);
	fputs(buf_str(&out), stdout);
	buf_clear(&out);
	return 0;
}

/* The program of a CA may be named in any of them; a role for those who have one. */
static enum sandbox_role role_of(const struct config *c)
{
	for (size_t i = 0; i < config_cas(c); i++)
		if (config_ca_at(c, i)->driver == CA_DRIVER_EXEC)
			return SANDBOX_ENROLLD_EXEC;
	return SANDBOX_ENROLLD;
}

static int run(const char *path, const struct daemon_options *options)
{
	struct err err = ERR_INIT;
	char *whole = daemon_path(path);
	struct config *config = whole ? config_load(whole, &err) : NULL;
	int rc;

	if (!whole)
		err_nomem(&err, "start");
	free(whole); /* the configuration knows it */
	if (!config || !daemon_start(options, config->users.enrolld, config->users.group, &err)) {
		fprintf(stderr, "enrolld: %s\n", err.text);
		config_unref(config);
		return 1;
	}
	(void)memory_guard(KEY_HEAP); /* not before: a child of ours would have it unlocked */
	if (!log_open("enrolld", config->log.target, config->log.facility, config->log.level)) {
		fputs("enrolld: log.facility is unknown\n", stderr);
		rc = 1;
	} else if (!sandbox_enter(role_of(config), config->sandbox, &err)) {
		log_error(LOG_LEVEL_ERROR, "start_failed", &err, NULL);
		rc = 1;
	} else {
		rc = enrolld_run(config);
	}
	daemon_end();
	config_unref(config);
	return rc;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'}, {"foreground", no_argument, NULL, 'f'},
		{"daemon", no_argument, NULL, 'd'}, {"pid-file", required_argument, NULL, 'p'}, {"user", required_argument, NULL, 'u'}, {"states", no_argument, NULL, 's'},
		{"states-json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {NULL, 0, NULL, 0}};
	const char *path = SYSCONFDIR "/enroll-milter/enroll-milter.conf";
	struct daemon_options how = {0};
	int o;

	process_harden();
	(void)memory_guard(0);
	/* SQLite makes -wal and -shm by the umask and only then gives them the database's mode; another of our programs that looks in between
	 * would find them unwritable, and keep them so until its end. */
	umask(0007);
	while ((o = getopt_long(argc, argv, "c:fdp:u:hV", options, NULL)) != -1) {
		switch (o) {
		case 'c':
			path = optarg;
			break;
		case 'f':
		case 'd':
			how.background = o == 'd';
			break;
		case 'p':
			how.pid_file = optarg;
			break;
		case 'u':
			how.user = optarg;
			break;
		case 's':
		case 'j':
			return print_states(o == 'j');
		case 'h':
			fputs(help, stdout);
			return 0;
		case 'V':
			puts(PACKAGE_STRING);
			return 0;
		default:
			fputs("Try: enrolld --help\n", stderr);
			return 2;
		}
	}
	if (optind < argc) {
		fputs("enrolld: unexpected argument\nTry: enrolld --help\n", stderr);
		return 2;
	}
	return run(path, &how);
}
