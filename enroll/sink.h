/*
 * enroll/sink.h - a mail receiver on loopback for `doctor`: takes the trial replies and keeps their DKIM-Signatures.  Private to enroll/.
 */
#ifndef ENROLL_ENROLL_SINK_H
#define ENROLL_ENROLL_SINK_H

#include "base/base.h"

#define SINK_PORT 10027

struct sink;
struct sink *sink_open(struct err *err);   /* NULL: the port is taken */
struct sink_mail {
	const char *message_id; /* NULL: is not waited for */
	struct buf signature;   /* the unfolded value of its first DKIM-Signature, or empty; the caller clears it */
	bool came;
};
/* Serve SMTP sessions until all messages with these Message-IDs came, or no more of them for so long, or four times as long is over. */
void sink_wait(struct sink *s, struct sink_mail *mails, size_t n, unsigned wait_ms);
void sink_close(struct sink *s);

#endif
