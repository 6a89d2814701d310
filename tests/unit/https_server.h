/* tests/unit/https_server.h - an HTTPS server on the loopback, in threads of the test, that answers what a function of the test says. */
#ifndef ENROLL_TESTS_UNIT_HTTPS_SERVER_H
#define ENROLL_TESTS_UNIT_HTTPS_SERVER_H

#include "base/base.h"

struct https_server;

struct https_request {
	char method[8];
	char path[512];
	struct buf head, body;
	size_t connection; /* counted from 1, over the server's life */
};

struct https_answer {
	struct buf raw;     /* everything, from the status line on; empty = close without an answer */
	unsigned hold_ms;   /* wait before it is sent */
	bool close;         /* close after it */
};

/* Called with a lock held: one request at a time. */
typedef void https_handler(const struct https_request *q, struct https_answer *a, void *arg);

/* A certificate for 127.0.0.1 is made and left as PEM in `directory`/https.pem, to be trusted as it is. */
struct https_server *https_server_start(const char *directory, https_handler *handler, void *arg);
void https_server_stop(struct https_server *s);
unsigned https_server_port(const struct https_server *s);

/* A whole answer with Content-Length.  `headers` are complete lines with CRLF, or "". */
void https_answer_put(struct https_answer *a, int status, const char *headers, const char *body);

#endif
