/*
 * milter/credentials.h - cache of ready signers for the outbound instance.  Private to milter/.
 * Any thread.  When the store's change counter moved, an entry is compared with the store again (certificate id) before it is used.  Store cut off: an entry
 * younger than stale-limit since its last confirmation still signs, older ones do not.  Bounded, least recently used goes first.
 */
#ifndef ENROLL_MILTER_CREDENTIALS_H
#define ENROLL_MILTER_CREDENTIALS_H
#include "milter/sign.h"
#include "policy/policy.h"
struct credentials;
/* Private keys live in OpenSSL's secure heap: locked in memory as far as the system lets us (RLIMIT_MEMLOCK), out of core dumps, wiped when
 * freed.  Once in a process, before the first key and thread; large enough for milter.cache-size keys (address space: memory is taken as it is
 * used).  A later configuration with a larger cache keeps as many as fit. */
bool credentials_secure_heap(const struct config *config, struct err *err) BASE_MUST_CHECK;
struct credentials *credentials_new(struct store *store, const struct config *config, struct err *err); /* loads the master key */
void credentials_free(struct credentials *c);
/* What is said beside the signer: why there is none (static text), and the rule of the configuration that enrolld found for the address, "" = none. */
struct credential_words { const char *why; char rule[256]; };
/* A signer for this address (signer_unref it), or NULL: when there is simply none err->class is ERR_NONE, else err is set. */
struct signer *credentials_get(struct credentials *c, const char *address, time_t now, struct credential_words *words, struct err *err);
#endif
