/*
 * milter/main.c - command line of enroll-milter.
 */
#include "config.h"

#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#include "milter/service.h"

static const char help[] =
	"Usage: enroll-milter --instance outbound|inbound [--config FILE] [--daemon] [--pid-file FILE]\n"
	"       [--user NAME]\n"
	"Sign outbound mail by S/MIME and ask for the certificates it takes (outbound), or\n"
	"recognise the CA's challenge mails (inbound).\n"
	"\n"
	"  -i, --instance NAME  outbound or inbound; each runs as its own user\n"
	"  -c, --config FILE    configuration (default " SYSCONFDIR "/enroll-milter/enroll-milter.conf)\n"
	"  -f, --foreground     stay in the foreground (default)\n"
	"  -d, --daemon         go into the background as soon as mail is served\n"
	"  -p, --pid-file FILE  write the process id there\n"
	"  -u, --user NAME      whom root starts it as (default: users.outbound, users.inbound)\n"
	"  -h, --help           this text\n"
	"  -V, --version        version\n"
	"\n"
	"SIGUSR1 reloads the configuration; SIGTERM ends, after open sessions.  See enroll-milter(8).\n";

#define ARENAS 4
#define LARGE_BLOCK (256 * 1024)

static int usage_error(const char *text)
{
	fprintf(stderr, "enroll-milter: %s\nTry: enroll-milter --help\n", text);
	return 2;
}

static int give_up(struct config *config, char *path, int rc)
{
	daemon_end();
	config_unref(config);
	free(path);
	return rc;
}

static int run(enum instance instance, const char *path, const struct daemon_options *options)
{
	struct err err = ERR_INIT;
	char *whole = daemon_path(path); /* kept: a reload reads it */
	struct config *config = whole ? config_load(whole, &err) : NULL;
	struct service *service;
	int rc;

	if (!whole)
		err_nomem(&err, "start");
	if (!config || !daemon_start(options, instance == INSTANCE_INBOUND ? config->users.inbound : config->users.outbound, config->users.group, &err)) {
		fprintf(stderr, "enroll-milter: %s\n", err.text);
		return give_up(config, whole, 1);
	}
	if (!log_open(instance == INSTANCE_INBOUND ? "enroll-milter-inbound" : "enroll-milter-outbound", config->log.target, config->log.facility,
		    config->log.level)) {
		return give_up(config, whole, usage_error("log.facility is unknown"));
	}
	service = sandbox_enter(instance == INSTANCE_INBOUND ? SANDBOX_INBOUND : SANDBOX_OUTBOUND, config->sandbox, &err) &&
			  (instance == INSTANCE_INBOUND || credentials_secure_heap(config, &err)) ?
			  service_new(instance, config, &err) : NULL;
	if (!service) {
		log_error(LOG_LEVEL_ERROR, "start_failed", &err, NULL);
		return give_up(config, whole, 1);
	}
	/* The service holds what it needs of it, and gives it up when it is reloaded. */
	config_unref(config);
	rc = service_run(service, whole);
	fflush(NULL);
#ifdef __SANITIZE_ADDRESS__
	__lsan_do_leak_check(); /* _exit would leave it out */
#endif
	/* Sessions that libmilter left open may still run: no destructors under their feet. */
	_exit(rc);
}

/* Before any thread: they inherit it, and only the first thread and libmilter's signal thread wait for signals. */
static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2); /* between our own threads */
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"instance", required_argument, NULL, 'i'}, {"config", required_argument, NULL, 'c'},
		{"foreground", no_argument, NULL, 'f'}, {"daemon", no_argument, NULL, 'd'}, {"pid-file", required_argument, NULL, 'p'},
		{"user", required_argument, NULL, 'u'}, {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {NULL, 0, NULL, 0}};
	const char *path = SYSCONFDIR "/enroll-milter/enroll-milter.conf", *name = NULL;
	struct daemon_options how = {0};
	int o;

	process_harden();
	(void)memory_guard(0);
	/* libmilter has a thread for each connection, and each of glibc's arenas keeps the most that any of its threads ever had: a few are enough. */
	mallopt(M_ARENA_MAX, ARENAS);
	/* And a large body's memory goes back at its end: left to itself glibc raises this bound with every large block that is freed. */
	mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK);
	/* SQLite makes -wal and -shm by the umask and only then gives them the database's mode; another of our programs that looks in between
	 * would find them unwritable, and keep them so until its end. */
	umask(0007);
	while ((o = getopt_long(argc, argv, "i:c:fdp:u:hV", options, NULL)) != -1) {
		switch (o) {
		case 'i':
			name = optarg;
			break;
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
		case 'h':
			fputs(help, stdout);
			return 0;
		case 'V':
			puts(PACKAGE_STRING);
			return 0;
		default:
			return usage_error("unknown option");
		}
	}
	if (optind < argc)
		return usage_error("unexpected argument");
	if (!name || (strcmp(name, "outbound") != 0 && strcmp(name, "inbound") != 0))
		return usage_error("--instance must be outbound or inbound");
	block_signals();
	return run(strcmp(name, "inbound") == 0 ? INSTANCE_INBOUND : INSTANCE_OUTBOUND, path, &how);
}
