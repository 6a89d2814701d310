/*
 * enroll/enrollment.h - the state machine of one enrollment.  Private to enroll/.
 *
 * enrollment_step takes one due row, does one step of it and stores what came of it.  Any number of threads may call it at once:
 * leases in the store keep them apart.  See the head of enrollment.c for the scheme.
 */
#ifndef ENROLL_ENROLL_ENROLLMENT_H
#define ENROLL_ENROLL_ENROLLMENT_H

#include <pthread.h>
#include <stdatomic.h>

#include "dns/dns.h"
#include "enroll/ca.h"
#include "enroll/revocation.h"
#include "ldap/directory.h"
#include "policy/policy.h"
#include "store/store.h"

/* account_gate.c: is this host's account key the one in use? */
#define ACCOUNT_GATE_TEXT 1000
struct account_gate {
	atomic_bool shut;
	char why[ACCOUNT_GATE_TEXT], doubted[64]; /* under gate_lock; the key that the CA does not know any more, though the store does */
	char asked_about[500];         /* of the thread that looks */
	int64_t asked_ms;
};

/* A CA of the configuration, and what is needed to work with it. */
struct enroll_ca {
	const struct ca_config *config;
	struct ca *ca;
	X509_STORE *anchors;
	struct revocation *revocation; /* NULL when its revocation-check is off */
	atomic_llong quiet_ms;         /* renewal.c: until then, by mono_ms, it is not asked for windows, as it did not answer; 0 = it is */
	struct account_gate gate;
};

#define INSTANCE_NAME 40
#define INSTANCE_OWNER 360

/* What the steps work with; everything is borrowed and thread safe. */
struct enroll_parts {
	const struct config *config;
	const char *trouble;           /* with the file that is there now, which is not `config`: when and why; NULL = none */
	struct store *store;
	struct enroll_ca *cas;         /* in the order of config_ca_at; NULL when observing */
	size_t n_cas;
	struct directory *directory;   /* NULL when none is configured */
	struct legacy_walks *walks;    /* legacy.c: reports that are being read page by page */
	struct dns *dns;
	struct dns_perspectives perspectives; /* for CAA */
	X509 *master_certificate;
	char host[256];
	char instance[INSTANCE_NAME];  /* instance.c: which of the store's enrolld this is, */
	char owner[INSTANCE_OWNER];    /* and who has its turns in this run */
	bool lost;                     /* another one has them: the name is its */
	bool cleans;                   /* hygiene.c: the turn is ours; of the thread that cleans */
	pthread_mutex_t gate_lock;     /* account_gate.c */
	atomic_llong counted_ms;       /* budget.c: when, by mono_ms, waiting rows were counted; 0 = never */
	atomic_ulong waiting;          /* and how many there were */
	atomic_bool people_wanted;     /* people.c: a look at who left is wanted now */
};

/* All that enrolld works with (daemon.c); to be cleared whatever came of it.  `claim`: as of keyring_in_force; not by who only looks. */
bool enroll_parts_init(struct enroll_parts *p, const struct config *c, bool claim, struct err *err) BASE_MUST_CHECK;
void enroll_parts_clear(struct enroll_parts *p);

/* By name, "" = the group ca; NULL when the configuration has none of that name, or nothing is ordered. */
const struct enroll_ca *enroll_ca_find(const struct enroll_parts *p, const char *name);

/* What a CA goes by, `address` left to the caller; `info` is what it told (ca_prepare), borrowed. */
struct caa_request caa_request_of(const struct ca_config *config, const struct ca_info *info);

/* One step of one due row.  *did is false when nothing was due.  false only when the store failed. */
bool enrollment_step(struct enroll_parts *p, const char *owner, bool *did, struct err *err) BASE_MUST_CHECK;

/* The transition table as text, one line a state: "ordering | newOrder | ordered waiting ...", or JSON.  For `enrolld --states`,
 * the manual and the tests that kill the daemon at every outside call. */
void enrollment_describe(struct buf *out, bool json);

#endif
