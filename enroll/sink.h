/*
 * enroll/sink.h - a one-shot mail receiver on loopback for `doctor`: takes the trial reply and keeps its DKIM-Signature.  Private to enroll/.
 */
#ifndef ENROLL_ENROLL_SINK_H
#define ENROLL_ENROLL_SINK_H

#include "base/base.h"

#define SINK_PORT 10027

struct sink;
struct sink *sink_open(struct err *err);   /* NULL: the port is taken */
/* Serve SMTP sessions until a message with this Message-ID came or the time is over.  `signature` gets the unfolded value of its first
 * DKIM-Signature, or stays empty. */
bool sink_wait(struct sink *s, const char *message_id, unsigned wait_ms, struct buf *signature);
void sink_close(struct sink *s);

#endif
