/*
 * enroll/account_gate.h - one account at a CA, whichever enrolld of the store asks.  Private to enroll/.
 *
 * The account is who has its key, and the key is a file on each host, never in the store.  What the store has, in the flag "account-key:NAME" of each CA, is the
 * key's thumbprint and the account's URL; the first enrolld that comes writes it.  Whoever has another key in its file would work with another
 * account: its orders would be beside the budget, and those of the others unknown to it.  So it does nothing for anybody (the gate is shut) and says what to
 * do, until the file is right, which it finds by itself.
 *
 * Is the other key a newer one of the same account (`enrollctl account rotate-key` on this host)?  The CA knows: an account has one key.  Then the flag
 * follows, and the gates of the others shut.  An enrolld that was alone in the last day may have whichever key it likes.
 *
 * account_gate_look asks the CA when it has to, so it is for a thread that may wait.
 */
#ifndef ENROLL_ENROLL_ACCOUNT_GATE_H
#define ENROLL_ENROLL_ACCOUNT_GATE_H

#include "enroll/enrollment.h"

/* Before the workers begin (`ask` false: the CA is not asked, a gate in doubt is shut), then every few seconds.  false only when the store failed. */
bool account_gate_look(struct enroll_parts *p, bool ask, struct err *err) BASE_MUST_CHECK;
/* Nothing is to be begun here.  Thread safe, as are the following. */
bool account_gate_shut(struct enroll_parts *p);
/* Why; "" when they are open. */
void account_gate_why(struct enroll_parts *p, char out[ACCOUNT_GATE_TEXT]);
/* The CA refused what this account signed.  True: because it has another key by now, which is on another host; the gate is shut and `err` says so, as
 * something that waits. */
bool account_gate_doubt(struct enroll_parts *p, const struct enroll_ca *ca, struct err *err);
/* An admin says that the keys of this host are the ones to be used. */
bool account_gate_use(struct enroll_parts *p, const struct ca_config *ca, const char *actor, struct err *err) BASE_MUST_CHECK;

#endif
