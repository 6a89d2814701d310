/*
 * sandbox/internal.h - between the files of sandbox/.
 */
#ifndef ENROLL_SANDBOX_INTERNAL_H
#define ENROLL_SANDBOX_INTERNAL_H

#include "sandbox/sandbox.h"

/* ---- calls.c: the table ------------------------------------------------------------------------------------------ */

#define ROLE(r) (1U << (r))

/* WITHOUT_WORD: ENOSYS, but no log line, as it is asked for in normal work. */
enum verdict { ALLOWED, WITHOUT_WORD, DEADLY };

/* What else has to be so.  Only numbers can be looked at, never what a pointer points to. */
enum condition {
	ALWAYS,
	NEW_THREAD,       /* clone: a thread of this process */
	NO_NAMESPACE,     /* clone: a process or thread in the same namespaces */
	OURSELVES,        /* kill, tgkill: this process */
	COMMON_FAMILY,    /* socket: Unix, IP, routing information */
	HARMLESS_REQUEST, /* ioctl: of those that libraries make */
	NO_TYPING,        /* ioctl: not those that put input into a terminal */
};

struct call_group {
	const char *why;
	unsigned roles;       /* ROLE(...) | ... */
	enum verdict verdict;
	enum condition condition;
	const char *names;    /* with blanks between; one that this machine or libseccomp does not know is passed over */
};
extern const struct call_group sandbox_calls[]; /* closed by one without names */

/* Is this one of those that end a process of that role? */
bool sandbox_call_is_deadly(const char *name, enum sandbox_role role);

/* ---- filter.c: the table as a filter of the kernel ----------------------------------------------------------------- */

/* Load it; *listener becomes the descriptor from which denied calls are read, or -1 where the kernel has none (then denied calls are seen in the
 * audit log alone, and deadly ones are ended by the kernel). */
bool sandbox_filter_load(enum sandbox_role role, enum sandbox_mode mode, int *listener, struct err *err) BASE_MUST_CHECK;

/* ---- watcher.c: the process that answers -------------------------------------------------------------------------- */

/* Start it, before the filter; returns the socket on which it waits for the listener, or -1. */
int sandbox_watcher_start(enum sandbox_role role, enum sandbox_mode mode, struct err *err);
/* Hand the listener over (-1: there is none, it may go), and close both here. */
void sandbox_watcher_give(int to, int listener);

#endif
