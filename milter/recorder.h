/*
 * milter/recorder.h - writes to the store on behalf of callbacks, never from one: enrollment requests and mail events go into a bounded
 * queue, one thread writes them in batches.  Private to milter/.  Requests are kept once per address while queued; mail events
 * that do not fit are counted and logged, never waited for.  `config` is that of the session that asks: a reload changes what a request is for.
 */
#ifndef ENROLL_MILTER_RECORDER_H
#define ENROLL_MILTER_RECORDER_H
#include "policy/policy.h"
#include "store/store.h"
struct recorder;
struct recorder *recorder_new(struct store *store, struct err *err);
void recorder_free(struct recorder *r);                    /* writes what is queued, then ends the thread */
/* The same, but the memory stays: for an end of the process while callbacks may still run. Then neither _flush nor _free again. */
void recorder_flush(struct recorder *r);
void recorder_request(struct recorder *r, const struct config *config, const char *address, const char *login); /* wanted: an enrollment */
struct mail_record { const char *queue_id, *message_id, *login, *from, *verdict, *reason, *detail, *action, *certificate; }; /* see struct mail_event */
void recorder_mail(struct recorder *r, const struct config *config, const struct mail_record *m);
/* Asked once a second at most by its thread, kept for callbacks: is the installation paused? (the last known answer while the store is away) */
bool recorder_paused(struct recorder *r);
/* false, with ERR_TEMPORARY, as long as nobody could be asked since the start: then nothing may be signed. */
bool recorder_knows(struct recorder *r, struct err *err);
/* When its thread last began a turn (mono_ms). */
int64_t recorder_turned(struct recorder *r);
#endif
