/*
 * milter/service.h - one running instance: what all its sessions share, its socket, its reload.  Private to milter/.
 *
 * A session takes a counted reference to the snapshot (configuration and what was made from it) when its connection begins and keeps it, so that a
 * reload never changes a mail half-way.
 */
#ifndef ENROLL_MILTER_SERVICE_H
#define ENROLL_MILTER_SERVICE_H

#include <stdatomic.h>

#include <openssl/x509.h>

#include "dns/dns.h"
#include "milter/credentials.h"
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
	atomic_int sessions;             /* open ones */
};

struct service *service_new(enum instance instance, struct config *config, struct err *err);
void service_free(struct service *s);
/* Put a new configuration in force for connections to come; false (and the old one stays) when it cannot be used. */
bool service_reload(struct service *s, struct config *config, struct err *err) BASE_MUST_CHECK;
struct snapshot *service_snapshot(struct service *s); /* snapshot_unref it */
void snapshot_unref(struct snapshot *n);
/* Open the socket with mode and group, run until SIGTERM; SIGUSR1 reloads `path`.  Exit code. */
int service_run(struct service *s, const char *path);
/* After service_run: sessions get a moment to finish, and what is queued is written.  Nothing is freed, as libmilter leaves open sessions alone and
 * says nothing of them: the process has to end by _exit. */
void service_end(struct service *s);

#endif
