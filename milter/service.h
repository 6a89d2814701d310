/*
 * milter/service.h - one running instance: what all its sessions share, its socket, its reload.  Private to milter/.
 *
 * A session has a counted reference to the snapshot (configuration and what was made from it), which it changes for the current one between mails
 * only, so that a reload never changes a mail half-way.
 */
#ifndef ENROLL_MILTER_SERVICE_H
#define ENROLL_MILTER_SERVICE_H

#include <stdatomic.h>

#include <openssl/x509.h>

#include "dns/dns.h"
#include "milter/credentials.h"
#include "milter/listener.h"
#include "milter/outbound.h"
#include "milter/recorder.h"
#include "policy/policy.h"

enum instance { INSTANCE_OUTBOUND, INSTANCE_INBOUND };

struct snapshot {
	atomic_uint refs;
	struct config *config;
	struct directory *directory;     /* outbound; NULL when none is configured */
	struct credentials *credentials; /* outbound; NULL in observe mode without a master key */
	struct sender_map **maps;        /* one a submission rule, NULL where there is none */
	struct strlist watched_types;    /* outbound: content types that mail rules ask for */
	char **secrets;                  /* the same, for relays with a secret header */
	X509_STORE **challenge_anchors;  /* inbound: one for each of config_ca_at; NULL = S/MIME-signed challenges are not believed */
};

struct service {
	enum instance instance;
	struct store *store;
	struct dns *dns;
	struct recorder *recorder;       /* outbound */
	pthread_mutex_t lock;            /* current */
	struct snapshot *current;
	struct listener listener;
	struct watch *watch;
	atomic_int sessions, mails;      /* open sessions that we have a say in; mails under way in them */
};

struct service *service_new(enum instance instance, struct config *config, struct err *err);
void service_free(struct service *s);
/* Put a new configuration in force for mails to come; false (and the old one stays) when it cannot be used. */
bool service_reload(struct service *s, struct config *config, struct err *err) BASE_MUST_CHECK;
struct snapshot *service_snapshot(struct service *s); /* snapshot_unref it */
void snapshot_unref(struct snapshot *n);
/* Open the socket with mode and group, run until SIGTERM; SIGUSR1 reloads `path`.  Then sessions may finish, and what is queued is written.  Exit code.
 * Nothing is freed, as libmilter leaves open sessions alone and says nothing of them: the process has to end by _exit. */
int service_run(struct service *s, const char *path);

#endif
