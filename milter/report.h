/*
 * milter/report.h - reading delivery reports (RFC 3464), inside multipart/report (RFC 6522).  Private to milter/; knows nothing of libmilter.
 */
#ifndef ENROLL_MILTER_REPORT_H
#define ENROLL_MILTER_REPORT_H
#include "milter/mime.h"
#include "store/store.h"

/* What a delivery report says of the first recipient it speaks of: action, status, diagnostic, remote, reporter, each a line of printable
 * ASCII that the store takes.  false and `why` when the mail is none.  report_clear(out) is the caller's in both cases. */
bool report_parse(const struct headers *h, const struct spool *body, struct report *out, char why[256]);
#endif
