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
struct credentials *credentials_new(struct store *store, const struct config *config, struct err *err); /* loads the master key */
void credentials_free(struct credentials *c);
/* A signer for this address (signer_unref it), or NULL: then *why is static text when there is simply none (err->class ERR_NONE), else err is set. */
struct signer *credentials_get(struct credentials *c, const char *address, time_t now, const char **why, struct err *err);
#endif
