/*
 * tests/fuzz/fuzz_caa_value.c - one CAA record, its value as issuemail, and each of its parameters as a list of methods.
 *
 * Input: RDATA.  Nothing is copied by the parsers, so what comes out has to lie within what went in; and an issuer or a parameter that
 * comes out has to be of the grammar's characters, as decisions print and compare them.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "policy/caa_value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void within(const struct caa_text *t, const uint8_t *data, size_t size)
{
	const char *first = (const char *)data;

	if (t->len > 0 && (t->data < first || t->data + t->len > first + size))
		abort();
}

static void printable(const struct caa_text *t)
{
	for (size_t i = 0; i < t->len; i++)
		if (t->data[i] <= ' ' || t->data[i] > '~')
			abort();
}

static void take_apart(const struct caa_text *value, const uint8_t *data, size_t size)
{
	struct caa_issue issue;

	if (!caa_issue_parse(value, &issue))
		return;
	within(&issue.issuer, data, size);
	printable(&issue.issuer);
	if (issue.n > CAA_PARAMETERS_MAX)
		abort();
	for (size_t i = 0; i < issue.n; i++) {
		bool included;

		within(&issue.parameters[i].tag, data, size);
		within(&issue.parameters[i].value, data, size);
		printable(&issue.parameters[i].tag);
		printable(&issue.parameters[i].value);
		if (issue.parameters[i].tag.len == 0 || memchr(issue.parameters[i].value.data, ';', issue.parameters[i].value.len) != NULL)
			abort();
		caa_methods_include(&issue.parameters[i].value, "email-reply-00", &included);
		caa_text_is_uri(&issue.parameters[i].value);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct dns_rdata rdata = {data, size};
	const struct caa_text whole = {(const char *)data, size};
	struct caa_record record;
	bool included;

	if (caa_record_parse(&rdata, &record)) {
		within(&record.tag, data, size);
		within(&record.value, data, size);
		if (record.tag.len == 0 || record.tag.len + record.value.len + 2 != size)
			abort();
		take_apart(&record.value, data, size);
	}
	take_apart(&whole, data, size);
	caa_methods_include(&whole, "email-reply-00", &included);
	return 0;
}
