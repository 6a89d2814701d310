/*
 * milter/service.c - start, socket, reload.
 *
 * Signals are the first thread's: main blocks them before any other thread starts, and the kernel hands what is sent to the process to its first
 * thread if that one waits.  (libmilter's own thread waits for SIGHUP, SIGTERM and SIGINT too: if it ever gets one, smfi_main ends, and that is seen.)  At the
 * end libmilter is not asked to stop: it would take five seconds, the time its listener polls, and would destroy mutexes that others wait for.  Its
 * socket goes, sessions get a moment, what is queued is written, and the process ends by _exit, with nothing freed that a session may still touch.
 *
 * The socket's permissions are part of the security model (who can connect can claim any login): it is made 0660 for one group, before anybody can
 * reach it.
 */
#include "config.h"

#include "milter/service.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "milter/session.h"

/* ---- snapshot --------------------------------------------------------------------------------------------------------------- */

void snapshot_unref(struct snapshot *n)
{
	size_t count;

	if (!n || atomic_fetch_sub(&n->refs, 1) > 1)
		return;
	count = n->config ? n->config->n_submissions : 0;
	for (size_t i = 0; i < count; i++) {
		if (n->maps)
			sender_map_free(n->maps[i]);
		if (n->secrets && n->secrets[i]) {
			explicit_bzero(n->secrets[i], strlen(n->secrets[i]));
			free(n->secrets[i]);
		}
	}
	free(n->maps);
	free(n->secrets);
	strlist_clear(&n->watched_types);
	credentials_free(n->credentials);
	directory_free(n->directory);
	for (size_t i = 0; n->challenge_anchors && i < config_cas(n->config); i++)
		X509_STORE_free(n->challenge_anchors[i]);
	free(n->challenge_anchors);
	config_unref(n->config);
	free(n);
}

static bool load_rule(struct snapshot *n, size_t i, struct err *err)
{
	const struct submission *s = &n->config->submissions[i];
	struct buf secret = BUF_INIT;
	bool ok = true;

	if (s->vouch == VOUCH_MAP && s->map_file)
		ok = (n->maps[i] = sender_map_load(s->map_file, err)) != NULL;
	if (ok && s->secret_header && s->secret_file) {
		ok = secret_read(&secret, s->secret_file, true, err);
		n->secrets[i] = ok ? str_dup(buf_str(&secret)) : NULL;
		ok = ok && (n->secrets[i] || err_nomem(err, "read secret"));
		buf_wipe(&secret);
	}
	return ok;
}

static bool load_outbound(struct snapshot *n, struct store *store, struct err *err)
{
	const struct config *c = n->config;

	n->maps = calloc(c->n_submissions + 1, sizeof *n->maps);
	n->secrets = calloc(c->n_submissions + 1, sizeof *n->secrets);
	if (!n->maps || !n->secrets || !mail_rules_types(c, &n->watched_types))
		return err_nomem(err, "load configuration");
	for (size_t i = 0; i < c->n_submissions; i++)
		if (!load_rule(n, i, err))
			return false;
	if (c->directory.urls.n && !(n->directory = directory_new(&c->directory, err)))
		return false;
	/* Observing needs no key: it never signs. */
	return c->mode == MODE_OBSERVE || (n->credentials = credentials_new(store, c, err)) != NULL;
}

/* Observing opens no orders, so no challenge is awaited. */
static bool load_inbound(struct snapshot *n, struct err *err)
{
	const struct config *c = n->config;

	n->challenge_anchors = calloc(config_cas(c), sizeof *n->challenge_anchors);
	if (!n->challenge_anchors)
		return err_nomem(err, "load configuration");
	for (size_t i = 0; c->mode != MODE_OBSERVE && i < config_cas(c); i++) {
		const struct ca_config *ca = config_ca_at(c, i);

		if (ca->challenge_anchor_file && ca->authentication == CHALLENGE_DKIM_OR_SMIME &&
			!(n->challenge_anchors[i] = certcheck_anchors(ca->challenge_anchor_file, err)))
			return false;
	}
	return true;
}

static struct snapshot *snapshot_new(enum instance instance, struct store *store, struct config *config, struct err *err)
{
	struct snapshot *n = calloc(1, sizeof *n);

	if (!n) {
		err_nomem(err, "load configuration");
		return NULL;
	}
	atomic_init(&n->refs, 1);
	n->config = config_ref(config);
	if (instance == INSTANCE_OUTBOUND ? !load_outbound(n, store, err) : !load_inbound(n, err)) {
		snapshot_unref(n);
		return NULL;
	}
	return n;
}

static void note_running(const struct service *s)
{
	struct err err = ERR_INIT;

	if (!config_running_note(s->current->config, s->instance == INSTANCE_INBOUND ? "inbound" : "outbound", &err))
		log_error(LOG_LEVEL_WARNING, "configuration_not_noted", &err, NULL);
}

struct snapshot *service_snapshot(struct service *s)
{
	struct snapshot *n;

	pthread_mutex_lock(&s->lock);
	n = s->current;
	atomic_fetch_add(&n->refs, 1);
	pthread_mutex_unlock(&s->lock);
	return n;
}

/* ---- service ------------------------------------------------------------------------------------------------------------------ */

struct service *service_new(enum instance instance, struct config *config, struct err *err)
{
	struct service *s = calloc(1, sizeof *s);

	if (!s) {
		err_nomem(err, "start");
		return NULL;
	}
	pthread_mutex_init(&s->lock, NULL);
	s->instance = instance;
	s->store = store_open(&config->store, instance == INSTANCE_INBOUND ? STORE_ROLE_INBOUND : STORE_ROLE_OUTBOUND, err);
	if (!s->store || !(s->dns = dns_new(&config->dns, err)) || !(s->current = snapshot_new(instance, s->store, config, err)) ||
		(instance == INSTANCE_OUTBOUND && !(s->recorder = recorder_new(s->store, err)))) {
		service_free(s);
		return NULL;
	}
	return s;
}

void service_free(struct service *s)
{
	if (!s)
		return;
	recorder_free(s->recorder);
	snapshot_unref(s->current);
	dns_free(s->dns);
	store_close(s->store);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void service_end(struct service *s)
{
	struct timespec hundredth = {.tv_nsec = 10000000L};

	for (int i = 0; i < 100 && atomic_load(&s->sessions) > 0; i++)
		nanosleep(&hundredth, NULL);
	if (s->recorder)
		recorder_flush(s->recorder);
}

bool service_reload(struct service *s, struct config *config, struct err *err)
{
	struct snapshot *n = snapshot_new(s->instance, s->store, config, err), *old;

	if (!n)
		return false;
	pthread_mutex_lock(&s->lock);
	old = s->current;
	s->current = n;
	pthread_mutex_unlock(&s->lock);
	snapshot_unref(old);
	note_running(s);
	return true;
}

/* ---- socket --------------------------------------------------------------------------------------------------------------------- */

static bool socket_group(const char *path, const char *group, struct err *err)
{
	struct group buf, *found = NULL;
	char space[4096];

	if (getgrnam_r(group, &buf, space, sizeof space, &found) != 0 || !found)
		return err_set(err, ERR_CONFIG, "open milter socket", path, "group %s (milter.socket-group) does not exist", group);
	if (chown(path, (uid_t)-1, found->gr_gid) != 0)
		return err_set(err, ERR_CONFIG, "open milter socket", path,
			"cannot give the socket to group %s: %s; make the folder belong to that group with mode 2710 or put this user into the group",
			group, strerror(errno));
	if (chmod(path, 0660) != 0)
		return err_errno(err, errno, "open milter socket", path);
	return true;
}

/* Only loopback: libmilter does not tell who connects, so named peers cannot be enforced any further away. */
static bool inet_is_loopback(const char *where)
{
	const char *at = strchr(where, '@');

	return at && (strcmp(at + 1, "127.0.0.1") == 0 || strcmp(at + 1, "[127.0.0.1]") == 0 || strcmp(at + 1, "::1") == 0 || strcmp(at + 1, "[::1]") == 0);
}

/* Without it Nagle's algorithm and delayed acknowledgements keep every mail waiting for 40 ms.  libmilter does not tell its listening
 * descriptor; accepted ones inherit the option. */
static void no_delay(void)
{
	int on = 1, listening = 0;
	socklen_t len = sizeof listening;

	for (int fd = 3; fd < 1024; fd++) /* it is one of the first */
		if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening)
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static bool open_socket(struct service *s, struct err *err)
{
	const struct config *c = s->current->config;
	const char *where = s->instance == INSTANCE_INBOUND ? c->milter.inbound_socket : c->milter.outbound_socket;
	bool is_unix = strncmp(where, "unix:", 5) == 0;
	mode_t mask;
	bool ok;

	if (!is_unix && !inet_is_loopback(where))
		return err_set(err, ERR_CONFIG, "open milter socket", where, "a TCP socket must be on 127.0.0.1 or ::1: who can connect can sign as anybody");
	if (smfi_setconn((char *)where) != MI_SUCCESS)
		return err_set(err, ERR_CONFIG, "open milter socket", where, "not understood; expected unix:/path or inet:PORT@HOST");
	mask = umask(0177);
	ok = smfi_opensocket(true) == MI_SUCCESS ||
		err_set(err, ERR_CONFIG, "open milter socket", where, "cannot be opened: %s; does the folder exist and belong to this user?", strerror(errno));
	umask(mask);
	if (ok && !is_unix)
		no_delay();
	return ok && (!is_unix || socket_group(where + 5, c->milter.socket_group, err));
}

/* ---- run -------------------------------------------------------------------------------------------------------------------------- */

struct listener {
	struct service *service;
	const char *path;    /* of the configuration */
	pthread_t waits;     /* the thread that waits for signals */
	atomic_bool ended;
	int rc;
};

static void *listen_thread(void *arg)
{
	struct timespec moment = {.tv_nsec = 20000000L};
	struct listener *l = arg;

	/* By then the first thread waits for signals, and has taken what came before. */
	nanosleep(&moment, NULL);
	l->rc = smfi_main();
	atomic_store(&l->ended, true);
	pthread_kill(l->waits, SIGUSR1);
	return NULL;
}

/* On a thread of its own: while the first one does not wait, libmilter would get a SIGTERM. */
static void *reload_thread(void *arg)
{
	static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
	struct listener *l = arg;
	struct err err = ERR_INIT;
	struct config *c;

	pthread_mutex_lock(&one_at_a_time);
	c = config_load(l->path, &err);
	if (c && service_reload(l->service, c, &err))
		log_event(LOG_LEVEL_INFO, "reloaded", "config", l->path, NULL);
	else
		log_error(LOG_LEVEL_ERROR, "reload_failed", &err, "text", "the old configuration stays in force", NULL);
	config_unref(c);
	pthread_mutex_unlock(&one_at_a_time);
	return NULL;
}

/* Nobody waits for this thread: the process may end while it works. */
static bool start_thread(void *(*run)(void *), struct listener *l, struct err *err)
{
	pthread_t thread;
	int rc = pthread_create(&thread, NULL, run, l);

	if (rc != 0)
		return err_errno(err, rc, "start thread", NULL);
	pthread_detach(thread);
	return true;
}

/* Until the end: SIGUSR1 reloads, the others end. */
static void wait_for_signals(struct listener *l)
{
	struct err err = ERR_INIT;
	sigset_t set;
	int sig = SIGTERM;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	while (sigwait(&set, &sig) == 0 && !atomic_load(&l->ended) && sig == SIGUSR1)
		if (!start_thread(reload_thread, l, &err))
			log_error(LOG_LEVEL_ERROR, "reload_failed", &err, "text", "the old configuration stays in force", NULL);
}

static void say_ready(const struct service *s)
{
	const struct config *c = s->current->config;
	bool inbound = s->instance == INSTANCE_INBOUND;

#ifdef HAVE_SYSTEMD
	sd_notify(0, "READY=1");
#endif
	log_event(LOG_LEVEL_INFO, "started", "instance", inbound ? "inbound" : "outbound", "version", PACKAGE_VERSION, "socket",
		inbound ? c->milter.inbound_socket : c->milter.outbound_socket, "mode",
		c->mode == MODE_SIGN ? "sign" : c->mode == MODE_ENROLL ? "enroll" : "observe", NULL);
	if (strncmp(inbound ? c->milter.inbound_socket : c->milter.outbound_socket, "unix:", 5) != 0)
		log_event(LOG_LEVEL_WARNING, "tcp_socket", "text", "every user of this host can connect to the milter and claim any login", NULL);
	for (size_t i = 0; inbound && i < config_cas(c); i++)
		if (config_ca_at(c, i)->authentication == CHALLENGE_NONE_FROM_NETWORK)
			log_event(LOG_LEVEL_WARNING, "unauthenticated_challenges", "text",
			"ca.challenge-authentication = \"none-from-network\": whoever sends from challenge-networks can pose as the CA", NULL);
}

static int run_failed(const struct err *err)
{
	log_error(LOG_LEVEL_ERROR, "start_failed", err, NULL);
	return 1;
}

int service_run(struct service *s, const char *path)
{
	/* Outlives this function: its threads are left alone at the end. */
	static struct listener listener;
	const struct config *c = s->current->config;
	char *where = str_dup(s->instance == INSTANCE_INBOUND ? c->milter.inbound_socket : c->milter.outbound_socket);
	struct err err = ERR_INIT;

	signal(SIGPIPE, SIG_IGN);
	listener = (struct listener){.service = s, .path = path, .waits = pthread_self(), .rc = MI_SUCCESS};
	if (!where || !session_register(s, &err) || !open_socket(s, &err)) {
		free(where);
		return run_failed(&err);
	}
	note_running(s);
	say_ready(s);
	if (!start_thread(listen_thread, &listener, &err)) {
		free(where);
		return run_failed(&err);
	}
	wait_for_signals(&listener);
	if (strncmp(where, "unix:", 5) == 0)
		unlink(where + 5);
	free(where);
	log_event(LOG_LEVEL_INFO, "stopped", "instance", s->instance == INSTANCE_INBOUND ? "inbound" : "outbound", NULL);
	return atomic_load(&listener.ended) && listener.rc != MI_SUCCESS ? 1 : 0;
}
