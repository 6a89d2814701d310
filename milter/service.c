/*
 * milter/service.c - start, socket, reload.
 *
 * Signals are the first thread's: main blocks them before any other thread starts, and the kernel hands what is sent to the process to its first
 * thread if that one waits.  (libmilter's own thread waits for SIGHUP, SIGTERM and SIGINT too: if it ever gets one, smfi_main ends, and that is seen.)
 *
 * At the end libmilter is not asked to stop: it would answer open sessions no more, and take five seconds for it.  Sessions go on for a while
 * (END_IDLE_MS), then until none of them is inside a mail (END_MAIL_MS at most); what is queued is written, and the process ends by _exit, with
 * nothing freed that a session may still touch.  The MTA makes no new connection for an SMTP session that has lost its own: a mail that it takes in
 * such a session after that is dealt with by its milter_default_action.  That is why sessions are waited for, and why not for ever.
 */
#include "config.h"

#include "milter/service.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "milter/measure.h"
#include "milter/session.h"
#include "milter/watch.h"

/* Together below the 30 s that an MTA waits for the first answer of a milter, and that systemd gives us (TimeoutStopSec): who connects meanwhile
 * waits for our successor. */
#define END_IDLE_MS 15000 /* sessions, whatever they do */
#define END_MAIL_MS 25000 /* mails under way */
#define END_QUIET_MS 200  /* the last answers are still to be written when their callbacks have ended */

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
	if (!s->store || !(s->watch = watch_new(s, err)) || !(s->dns = dns_new(&config->dns, err)) || !(s->current = snapshot_new(instance, s->store, config, err)) ||
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
	watch_free(s->watch);
	recorder_free(s->recorder);
	snapshot_unref(s->current);
	dns_free(s->dns);
	store_close(s->store);
	pthread_mutex_destroy(&s->lock);
	free(s);
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

/* ---- run -------------------------------------------------------------------------------------------------------------------------- */

struct running {
	struct service *service;
	const char *path;    /* of the configuration */
	pthread_t waits;     /* the thread that waits for signals */
	atomic_bool waiting; /* and does so by now */
	atomic_bool ended;
	int rc;
};

static const char *instance_name(const struct service *s)
{
	return s->instance == INSTANCE_INBOUND ? "inbound" : "outbound";
}

static const char *socket_of(const struct service *s, const struct config *c)
{
	return s->instance == INSTANCE_INBOUND ? c->milter.inbound_socket : c->milter.outbound_socket;
}

static void *listen_thread(void *arg)
{
	struct timespec moment = {.tv_nsec = 20000000L};
	struct running *r = arg;

	/* Only when the first thread waits for signals, and has taken what came before: libmilter's would end all sessions. */
	pthread_kill(r->waits, SIGUSR2);
	while (!atomic_load(&r->waiting))
		nanosleep(&moment, NULL);
	nanosleep(&moment, NULL);
	r->rc = smfi_main();
	atomic_store(&r->ended, true);
	pthread_kill(r->waits, SIGUSR1);
	return NULL;
}

static bool differs(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") != 0;
}

/* What was opened at the start stays open: the new value holds from the next start on. */
static void name_what_needs_restart(const struct service *s, const struct config *was, const struct config *now)
{
	const struct { const char *key; bool differs; } fixed[] = {
		{s->instance == INSTANCE_INBOUND ? "milter.inbound-socket" : "milter.outbound-socket", differs(socket_of(s, was), socket_of(s, now))},
		{"milter.socket-group", differs(was->milter.socket_group, now->milter.socket_group)},
		{"store", differs(was->store.type, now->store.type) || differs(was->store.path, now->store.path) || differs(was->store.connection, now->store.connection) || was->store.busy_ms != now->store.busy_ms || was->store.allow_unverified != now->store.allow_unverified},
		{"users", differs(was->users.inbound, now->users.inbound) || differs(was->users.outbound, now->users.outbound) ||
			differs(was->users.group, now->users.group)},
		{"log", was->log.target != now->log.target || differs(was->log.facility, now->log.facility)},
	};

	for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
		if (fixed[i].differs)
			log_event(LOG_LEVEL_WARNING, "restart_needed", "key", fixed[i].key, "text",
				"a reload cannot change this; the old value stays in force until the next start", NULL);
}

static bool reload(struct running *r, struct err *err)
{
	struct snapshot *before = service_snapshot(r->service);
	struct config *c = config_load(r->path, err);
	bool ok = c && service_reload(r->service, c, err);

	if (ok) {
		log_set_level(c->log.level);
		name_what_needs_restart(r->service, before->config, c);
		measure_reloaded(c);
	}
	config_unref(c);
	snapshot_unref(before);
	return ok;
}

/* On a thread of its own: while the first one does not wait, libmilter would get a SIGTERM. */
static void *reload_thread(void *arg)
{
	static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
	struct running *r = arg;
	struct err err = ERR_INIT;

	pthread_mutex_lock(&one_at_a_time);
	notify_reloading("reading the configuration again");
	if (reload(r, &err))
		log_event(LOG_LEVEL_INFO, "reloaded", "config", r->path, NULL);
	else
		log_error(LOG_LEVEL_ERROR, "reload_failed", &err, "text", "the old configuration stays in force", NULL);
	watch_reloaded(r->service->watch, err.class == ERR_NONE ? NULL : &err);
	pthread_mutex_unlock(&one_at_a_time);
	return NULL;
}

/* Nobody waits for this thread: the process may end while it works. */
static bool start_thread(void *(*run)(void *), struct running *r, struct err *err)
{
	pthread_t thread;
	int rc = pthread_create(&thread, NULL, run, r);

	if (rc != 0)
		return err_errno(err, rc, "start thread", NULL);
	pthread_detach(thread);
	return true;
}

static void our_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGUSR1);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
}

/* Until the end: SIGUSR1 reloads, the others end. */
static void wait_for_signals(struct running *r)
{
	struct err err = ERR_INIT;
	sigset_t set;
	int sig = SIGTERM;

	our_signals(&set);
	sigaddset(&set, SIGUSR2);
	while (sigwait(&set, &sig) == 0 && !atomic_load(&r->ended) && (sig == SIGUSR1 || sig == SIGUSR2))
		if (sig == SIGUSR2)
			atomic_store(&r->waiting, true);
		else if (!start_thread(reload_thread, r, &err))
			log_error(LOG_LEVEL_ERROR, "reload_failed", &err, "text", "the old configuration stays in force", NULL);
}

/* The socket answers. */
static void say_started(struct service *s)
{
	struct snapshot *n = service_snapshot(s);
	const struct config *c = n->config;
	bool inbound = s->instance == INSTANCE_INBOUND;

	log_event(LOG_LEVEL_INFO, "started", "instance", instance_name(s), "version", PACKAGE_VERSION, "socket", socket_of(s, c), "mode",
		c->mode == MODE_SIGN ? "sign" : c->mode == MODE_ENROLL ? "enroll" : "observe", NULL);
	if (strncmp(socket_of(s, c), "unix:", 5) != 0)
		log_event(LOG_LEVEL_WARNING, "tcp_socket", "text", "every user of this host can connect to the milter and claim any login", NULL);
	for (size_t i = 0; inbound && i < config_cas(c); i++)
		if (config_ca_at(c, i)->authentication == CHALLENGE_NONE_FROM_NETWORK)
			log_event(LOG_LEVEL_WARNING, "unauthenticated_challenges", "text",
			"ca.challenge-authentication = \"none-from-network\": whoever sends from challenge-networks can pose as the CA", NULL);
	daemon_ready(c->log.target == LOG_TARGET_STDERR);
	snapshot_unref(n);
}

/* ---- the end ----------------------------------------------------------------------------------------------------------------------- */

/* Whom the process' end would hurt: at first everybody with a session, later who is inside a mail. */
static bool somebody_is_here(struct service *s, int64_t since)
{
	return since < END_IDLE_MS ? atomic_load(&s->sessions) > 0 : atomic_load(&s->mails) > 0;
}

/* Waits for signals all the time: libmilter's thread would take one for the end of all sessions.  Another one to end means: not for who is idle. */
static void drain(struct running *r)
{
	struct timespec moment = {.tv_nsec = 20000000L};
	int64_t began = mono_ms(), quiet = began, now;
	sigset_t set;

	our_signals(&set);
	while ((now = mono_ms()) - began < END_MAIL_MS && !atomic_load(&r->ended)) {
		int sig;

		/* Looked at now: on a busy machine the look before may be long ago. */
		if (somebody_is_here(r->service, now - began))
			quiet = now;
		else if (now - quiet >= END_QUIET_MS)
			break;
		sig = sigtimedwait(&set, NULL, &moment);
		if (sig > 0 && sig != SIGUSR1 && now - began < END_IDLE_MS)
			began = now - END_IDLE_MS;
	}
}

/* Where the supervisor keeps the socket, who connects from now on waits for the successor.  Where nobody does, they are served as before until
 * there is nobody to wait for, or a successor has taken the name; only then it goes. */
static void end_sessions(struct running *r)
{
	struct service *s = r->service;
	struct listener *l = &s->listener;
	int open = atomic_load(&s->sessions);

	notify("STOPPING=1\nSTATUS=stopping; %d sessions may finish", open);
	log_event(LOG_LEVEL_INFO, "stopping", "instance", instance_name(s), "sessions", LOG_NUM(open), NULL);
	watch_stopping(s->watch);
	if (l->kept)
		listener_park(l);
	drain(r);
	listener_release(l);
	listener_park(l);
	if (s->recorder)
		recorder_flush(s->recorder);
	log_settle(true);
	log_event(LOG_LEVEL_INFO, "stopped", "instance", instance_name(s), "sessions", LOG_NUM(atomic_load(&s->sessions)), "mails",
		LOG_NUM(atomic_load(&s->mails)), NULL);
}

static int run_failed(const struct err *err)
{
	log_error(LOG_LEVEL_ERROR, "start_failed", err, NULL);
	daemon_end();
	return 1;
}

int service_run(struct service *s, const char *path)
{
	/* Outlives this function: its threads are left alone at the end. */
	static struct running running;
	const struct config *c = s->current->config;
	struct err err = ERR_INIT;

	signal(SIGPIPE, SIG_IGN);
	running = (struct running){.service = s, .path = path, .waits = pthread_self(), .rc = MI_SUCCESS};
	if (!session_register(s, &err) || !listener_open(&s->listener, socket_of(s, c), c->milter.socket_group, &err))
		return run_failed(&err);
	measure_start(s);
	if (!start_thread(listen_thread, &running, &err) || !watch_start(s->watch, say_started, &err)) {
		measure_stop();
		listener_release(&s->listener);
		return run_failed(&err);
	}
	note_running(s);
	wait_for_signals(&running);
	end_sessions(&running);
	measure_stop(); /* waits for who is being answered, and nobody waits for signals then: not before sessions have ended */
	daemon_end();
	return atomic_load(&running.ended) && running.rc != MI_SUCCESS ? 1 : 0;
}
