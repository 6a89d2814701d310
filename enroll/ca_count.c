/*
 * enroll/ca_count.c - requests to CAs, counted for monitoring: what for, what came back, how long it took.
 */
#include "config.h"

#include "enroll/ca_count.h"

#include <string.h>

static enum metrics_ca_kind kind_of(const char *op)
{
	static const struct {
		const char *op;
		enum metrics_ca_kind kind;
	} kinds[] = {
		{"fetch directory", METRICS_CA_DIRECTORY}, {"check", METRICS_CA_DIRECTORY}, {"fetch nonce", METRICS_CA_NONCE}, {"look for account", METRICS_CA_ACCOUNT},
		{"register account", METRICS_CA_ACCOUNT}, {"update contact", METRICS_CA_ACCOUNT}, {"look at account", METRICS_CA_ACCOUNT},
		{"change account key", METRICS_CA_ACCOUNT}, {"deactivate account", METRICS_CA_ACCOUNT}, {"new order", METRICS_CA_NEW_ORDER},
		{"request", METRICS_CA_NEW_ORDER}, {"look at order", METRICS_CA_LOOK}, {"fetch authorization", METRICS_CA_LOOK}, {"poll", METRICS_CA_LOOK},
		{"start validation", METRICS_CA_CHALLENGE}, {"finalize order", METRICS_CA_FINALIZE}, {"fetch certificate", METRICS_CA_CERTIFICATE},
		{"revoke certificate", METRICS_CA_REVOKE}, {"revoke", METRICS_CA_REVOKE}, {"fetch renewal information", METRICS_CA_RENEWAL},
		{"renewal-info", METRICS_CA_RENEWAL},
	};

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (strcmp(kinds[i].op, op) == 0)
			return kinds[i].kind;
	return METRICS_CA_OTHER;
}

static enum metrics_ca_status status_of(enum http_fate fate, long status)
{
	if (fate == HTTP_UNSENT)
		return METRICS_CA_UNSENT;
	if (fate == HTTP_LOST)
		return METRICS_CA_LOST;
	if (status == 429)
		return METRICS_CA_LIMITED;
	return status >= 500 ? METRICS_CA_5XX : status >= 400 ? METRICS_CA_4XX : METRICS_CA_OK;
}

static void count(unsigned ca, const char *op, enum metrics_ca_status status, int64_t microseconds)
{
	metrics_count(METRIC_CA_REQUESTS, ca, kind_of(op), status);
	metrics_observe(METRIC_CA_SECONDS, ca, microseconds);
	metrics_set(status == METRICS_CA_OK ? METRIC_CA_LAST_SUCCESS : METRIC_CA_LAST_FAILURE, ca, 0, time(NULL));
}

enum http_fate ca_count_http(struct http *http, unsigned ca, const char *op, const struct http_request *q, struct http_response *r, struct err *err)
{
	int64_t began = metrics_now();
	enum http_fate fate = http_perform(http, q, r, err);

	/* Its own time, without what it waited for its turn. */
	count(ca, op, status_of(fate, r->status), fate == HTTP_ANSWERED ? (int64_t)r->ms * 1000 : metrics_now() - began);
	return fate;
}

void ca_count_program(unsigned ca, const char *action, int64_t microseconds, bool ok, const struct err *err)
{
	count(ca, action, ok ? METRICS_CA_OK : err && err->class == ERR_CA ? METRICS_CA_REFUSED : METRICS_CA_FAILED, microseconds);
}
