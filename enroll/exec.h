/*
 * enroll/exec.h - the parts of the exec driver: running a program contained, and reading what it answers.  Private to enroll/.
 *
 * The program is the admin's, so it is trusted with the CA, but not to work: it may hang, crash, flood, leave children behind.
 * Whatever it does, exec_run comes back within the time limit and a few seconds, with an answer or with an error.
 */
#ifndef ENROLL_ENROLL_EXEC_H
#define ENROLL_ENROLL_EXEC_H

#include "base/base.h"
#include "policy/policy.h"

/* ---- running ----------------------------------------------------------------------------------------------------- */

struct exec_runner;

/* Copies what it needs. NULL with ERR_CONFIG when the program, its user or its environment cannot work. Any thread may use it. */
struct exec_runner *exec_runner_new(const struct ca_config *config, struct err *err);
void exec_runner_free(struct exec_runner *r); /* no run may be under way; accepts NULL */
/* Runs under way are killed, later ones refused (ERR_TEMPORARY). */
void exec_runner_stop(struct exec_runner *r);
const char *exec_runner_program(const struct exec_runner *r);

/* The last line a program wrote to its stderr, printable; "" = it said nothing. */
struct exec_words {
	char text[240];
};

/* One run: `question` is its stdin, what it writes to stdout is appended to `answer` (empty on entry).  True only when it ended by
 * itself, in time, with code 0.  err.type: "exec-program" (cannot be run: ERR_CONFIG), and of class ERR_TEMPORARY "exec-timeout",
 * "exec-signal", "exec-exit", "exec-flood", "exec-busy", "exec-stopped". */
bool exec_run(struct exec_runner *r, const char *action, const void *question, size_t len, struct buf *answer, struct exec_words *words,
	struct err *err) BASE_MUST_CHECK;

/* ---- reading ----------------------------------------------------------------------------------------------------- */

enum exec_action { EXEC_CHECK, EXEC_REQUEST, EXEC_POLL, EXEC_REVOKE, EXEC_RENEWAL_INFO, EXEC_ACTIONS };
const char *exec_action_name(enum exec_action action); /* "request" */

enum exec_status { EXEC_OK, EXEC_PENDING, EXEC_ISSUED, EXEC_REVOKED, EXEC_RENEWAL, EXEC_UNSUPPORTED };

#define EXEC_STATE_MAX 65536

/* Owned by the caller, cleared by exec_answer_clear. */
struct exec_answer {
	enum exec_status status;
	long retry_after;              /* seconds; 0 = no word */
	char *state;                   /* pending: JSON text of any kind; NULL = none given */
	char *chain;                   /* issued: PEM, leaf first */
	struct strlist caa_identities; /* ok */
	char *terms, *account_uri;     /* ok */
	time_t start, end;             /* renewal */
	char explanation[512];         /* renewal: URL for people */
};

/* True for an answer that fits the action.  An answer of status "failed" is an error of the class it names, type "exec-failed", with
 * retry_at; one that is none is ERR_TEMPORARY, type "malformed-answer".  `words` go into the error's sentence. */
bool exec_answer_read(enum exec_action action, const char *program, const struct exec_words *words, const void *data, size_t len, time_t now,
	struct exec_answer *out, struct err *err) BASE_MUST_CHECK;
void exec_answer_clear(struct exec_answer *a);

#endif
