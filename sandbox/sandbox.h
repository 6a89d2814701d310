/*
 * sandbox/sandbox.h - what a daemon gives up before it does its work.
 *
 * After sandbox_enter the process gains no privileges any more, leaves no core dump, and makes only those calls of the kernel that its role needs
 * (calls.c: the table, with a reason for each group).  Any other call gets ENOSYS and a log line; a short list of calls that only an intruder makes
 * ends the process with SIGSYS.  What it starts (ca.driver = "exec") inherits all of this.
 *
 * Once, at the start, after log_open and the change of user and before any thread.  Without libseccomp (configure --without-seccomp) and in builds
 * with sanitizers there is no filter, the rest is done all the same.
 */
#ifndef ENROLL_SANDBOX_SANDBOX_H
#define ENROLL_SANDBOX_SANDBOX_H

#include "base/base.h"

/* ON; LOG: everything is allowed, and what would not be is logged; OFF: no filter. */
enum sandbox_mode { SANDBOX_ON, SANDBOX_LOG, SANDBOX_OFF };

enum sandbox_role { SANDBOX_OUTBOUND, SANDBOX_INBOUND, SANDBOX_ENROLLD, SANDBOX_ENROLLD_EXEC };

/* False, with a sentence for the admin, when the filter cannot be had: then the program must not go on. */
bool sandbox_enter(enum sandbox_role role, enum sandbox_mode mode, struct err *err) BASE_MUST_CHECK;

/* False when starting a program would end this process: a configuration that is loaded later may ask for a program that was not there at the start. */
bool sandbox_may_execute(void);

#endif
