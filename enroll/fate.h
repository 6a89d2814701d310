/* enroll/fate.h - what became of an enrollment's reply mail, as far as delivery reports tell.  Private to enroll/. */
#ifndef ENROLL_ENROLL_FATE_H
#define ENROLL_ENROLL_FATE_H

#include "base/base.h"
#include "store/store.h"

/* In order of weight: of two replies to two challenge mails the better fate counts. */
enum fate_kind { FATE_UNKNOWN, FATE_DELAYED, FATE_BOUNCED, FATE_RELAYED };

struct fate {
	enum fate_kind kind;
	time_t at;          /* when that was reported */
	int status;         /* SMTP reply code of the other server; 0 = it gave none */
	char type[32];      /* "smtp-550", else "dsn-5.4.4", else "dsn" */
	char server[256];   /* the other server; "" = not told */
	char text[1024];    /* "mx.ca.example refused the reply at 2026-...: 550 5.7.26 ..." */
	bool taken;         /* some server took it, whatever was reported later: there is nothing to wait for before the CA is told */
	int64_t newest;     /* id of the newest report; 0 = none */
	bool news;          /* some were not acted on yet (store_step.reports_seen) */
};
/* Of the replies to the row's present order. */
bool fate_read(struct store *store, const struct enrollment *row, struct fate *out, struct err *err) BASE_MUST_CHECK;

/* Of an order for several addresses: is this challenge of the one that is being validated?  Those of others had their turn, or will have it. */
bool fate_has_turn(const struct enrollment *row, const struct challenge *c);

#endif
