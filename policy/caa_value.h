/*
 * policy/caa_value.h - private to caa: one CAA record and one issuemail value, taken apart strictly; and the look from one place.
 *
 * Both are what strangers put into DNS: bytes with a length, nothing is copied, nothing is longer than what came in.
 */
#ifndef ENROLL_POLICY_CAA_VALUE_H
#define ENROLL_POLICY_CAA_VALUE_H

#include "policy/policy.h"

struct caa_text {
	const char *data;
	size_t len;
};
bool caa_text_is(const struct caa_text *t, const char *s);	  /* exactly */
bool caa_text_is_nocase(const struct caa_text *t, const char *s); /* ASCII case ignored */

/* RFC 8659 section 4.1: flags, tag, value.  false: the RDATA is cut short or its tag is empty. */
struct caa_record {
	unsigned char flags;
	struct caa_text tag, value;
};
#define CAA_CRITICAL 128
bool caa_record_parse(const struct dns_rdata *rdata, struct caa_record *out);

/* RFC 8659 section 4.2 (issuemail has the same syntax, RFC 9495 section 3): [issuer] *(";" tag "=" value). */
#define CAA_PARAMETERS_MAX 32
struct caa_issue {
	struct caa_text issuer; /* empty: nobody */
	size_t n;
	struct {
		struct caa_text tag, value;
	} parameters[CAA_PARAMETERS_MAX];
};
/* false: malformed (or more parameters than anybody writes), which authorizes nobody. */
bool caa_issue_parse(const struct caa_text *value, struct caa_issue *out);

/* RFC 8657 section 4: a comma-separated list of method labels.  false: malformed. */
bool caa_methods_include(const struct caa_text *list, const char *method, bool *included);
/* Does it begin like a URI (RFC 3986 section 3.1: scheme and colon)? */
bool caa_text_is_uri(const struct caa_text *t);

/* caa.c: the look from one place, without a word on what to publish.  `view` is all zeros but for its name; `deadline` is by mono_ms, and
 * may be passed by one query's. */
void caa_look(struct dns *dns, const char *domain, int64_t deadline, const struct caa_request *req, struct caa_view *view);
const char *caa_security_text(enum dns_security s);

#endif
