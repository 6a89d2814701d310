/* enroll/ca_count.h - requests to CAs, counted for monitoring.  Private to enroll/. */
#ifndef ENROLL_ENROLL_CA_COUNT_H
#define ENROLL_ENROLL_CA_COUNT_H

#include "enroll/http.h"
#include "metrics/metrics.h"

/* http_perform for the CA of this label (metrics_ca); `op` are the words of the errors: "new order". */
enum http_fate ca_count_http(struct http *http, unsigned ca, const char *op, const struct http_request *q, struct http_response *r, struct err *err);
/* One run of the program of driver exec; `err` (may be NULL) counts when it is not ok. */
void ca_count_program(unsigned ca, const char *action, int64_t microseconds, bool ok, const struct err *err);

#endif
