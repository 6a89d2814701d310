/*
 * enroll/instance.h - which enrolld this is, among any number of them on one store.  Private to enroll/.
 *
 * Each has a random name of its own, kept in control.instance-file, so that one that was killed and started again gives back its own leases and turns at
 * once, and nobody else's: a host's name is no such name, as two containers may have the same.  Where the file cannot be kept each start has another
 * name, and what a killed one held passes on when it is over.
 *
 * A turn "enrolld:NAME", renewed all the time, says that it lives; `enrollctl status` shows them.  It also shows that two have the same name, as after a
 * state directory was copied to another host: the one that finds its turn taken goes on under another name.
 */
#ifndef ENROLL_ENROLL_INSTANCE_H
#define ENROLL_ENROLL_INSTANCE_H

#include <jansson.h>

#include "enroll/enrollment.h"

/* Sets p->instance and p->owner; gives back what a predecessor of that name left. */
bool instance_begin(struct enroll_parts *p, struct err *err) BASE_MUST_CHECK;
/* "NAME:host:pid:" and something random: for a worker's leases. */
void instance_owner(const struct enroll_parts *p, char out[INSTANCE_OWNER]);
/* To be called about once a second.  *lost: another one lives by this name; a new name is in the file for the next instance_begin. */
bool instance_keep(struct enroll_parts *p, bool *lost, struct err *err) BASE_MUST_CHECK;
/* All threads have ended: what is still held goes to the others. */
void instance_end(struct enroll_parts *p);
/* Was another one seen in the last day?  True also when that cannot be read. */
bool instance_has_others(struct enroll_parts *p);
/* Of `status`: "enrollds": those of the last day, [{"instance", "host", "pid", "seen_at", "running", "here"}]; "account_key": what shut our gate. */
bool instance_status(struct enroll_parts *p, json_t *o, struct err *err) BASE_MUST_CHECK;

#endif
