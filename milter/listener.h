/*
 * milter/listener.h - the socket of an instance, and how it goes from one process to the next without a mail noticing.  Private to milter/.
 *
 * libmilter opens a socket of its own and knows no other.  It is let open one in a place nobody knows, and then ours is put under its descriptor:
 * made complete under another name and renamed, so that who connects finds the old process' socket or this one's and never none; or kept by the
 * supervisor for us since our predecessor ended, with the connections that have come since.
 *
 * Once a process, before smfi_main: listener_open.  At its end: listener_park takes the socket away from libmilter, while sessions go on; where the
 * supervisor keeps it, who connects then waits for the successor.  listener_release takes the name away if no successor has it.
 */
#ifndef ENROLL_MILTER_LISTENER_H
#define ENROLL_MILTER_LISTENER_H

#include <sys/stat.h>

#include "base/base.h"

struct listener {
	char *where;          /* as configured */
	const char *path;     /* in it; NULL = TCP */
	int fd, parked, milter; /* the socket, one that nobody can reach, and libmilter's descriptor; -1 = not open */
	dev_t device;
	ino_t inode;          /* of the name */
	bool kept;            /* the supervisor has the socket too */
};

bool listener_open(struct listener *l, const char *where, const char *group, struct err *err) BASE_MUST_CHECK;
/* Does the name still lead to us?  A successor takes it. */
bool listener_is_ours(const struct listener *l);
/* Does a connection that is made now reach a worker?  The MTA's first words are said and an answer is waited for, for so long.  Also true when a
 * successor has the name and serves: then there is nothing to answer here.  Where it has gone, and the name with it, nobody can reach us. */
bool listener_answers(const struct listener *l, int ms);
void listener_park(struct listener *l);
void listener_release(struct listener *l);

#endif
