/* enroll/challenge.h - the reply mail (RFC 8823 section 3.2).  Private to enroll/. */
#ifndef ENROLL_ENROLL_CHALLENGE_H
#define ENROLL_ENROLL_CHALLENGE_H

#include "base/base.h"
#include "store/store.h"

/* A new Message-ID in the domain of `address`, with angle brackets. */
void challenge_message_id(struct buf *out, const char *address);

/* The whole reply with CRLF line ends: From = address, To = Reply-To or From of the challenge, In-Reply-To, References, Subject
 * "Re: ACME: token-part1", Date, Message-ID, MIME-Version, Content-Type text/plain us-ascii, 7bit, Auto-Submitted: auto-replied, and the block.
 * ERR_POLICY when a value from the challenge cannot stand in a header. */
bool challenge_reply(struct buf *out, const char *address, const struct challenge *c, const char *message_id, const char *response, time_t now, struct err *err) BASE_MUST_CHECK;

enum reply_outcome {
	REPLY_ACCEPTED, /* 250 after the data */
	REPLY_NOT_SENT, /* certainly not: refused or never reached; may be tried again with the same Message-ID */
	REPLY_IN_DOUBT  /* the connection was lost after the data went out: never sent again */
};
/* Hand it to the reply listener by SMTP (libesmtp). Envelope sender and recipient are bare addresses.  With an envelope id, delivery
 * reports are asked for (RFC 3461), of success, failure and delay, with headers only; a listener that offers none gets the mail all the
 * same. */
enum reply_outcome challenge_send(const char *host, unsigned port, unsigned timeout_seconds, const char *envelope_from, const char *envelope_to,
	const char *envelope_id, const struct buf *mail, struct err *err);

#endif
