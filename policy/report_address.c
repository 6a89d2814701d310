/*
 * policy/report_address.c - the envelope sender of a reply, by which a delivery report finds its way: local+eNN-TOKEN@domain of
 * reply.report-address.
 *
 * The token is the right to report: 128 random bits that stand in the store beside the challenge.  Servers on the way may change the case
 * of a local part, so it is lower-case hex, and read in either case.
 */
#include "config.h"

#include "policy/policy.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ID_DIGITS_MAX 18

void report_token_new(char token[REPORT_TOKEN_SIZE])
{
	for (size_t i = 0; i < REPORT_TOKEN_SIZE - 1; i++)
		token[i] = "0123456789abcdef"[random_below(16)];
	token[REPORT_TOKEN_SIZE - 1] = '\0';
}

bool report_address_write(char out[ADDRESS_MAX], const char *report_address, int64_t enrollment, const char *token)
{
	struct address a;
	int n;

	if (!address_parse(&a, report_address, NULL))
		return false;
	n = snprintf(out, ADDRESS_MAX, "%s+e%lld-%s@%s", a.local, (long long)enrollment, token, a.domain);
	return n > 0 && n < ADDRESS_MAX && address_parse(&a, out, NULL);
}

bool report_address_read(const char *recipient, const char *report_address, int64_t *enrollment, char token[REPORT_TOKEN_SIZE])
{
	struct address a, ours;
	size_t len, digits, i;
	const char *p;

	if (report_address == NULL || !address_parse(&ours, report_address, NULL) || !address_parse(&a, recipient, NULL))
		return false;
	len = strlen(ours.local);
	if (strcmp(a.domain, ours.domain) != 0 || strncasecmp(a.local, ours.local, len) != 0 || strncasecmp(a.local + len, "+e", 2) != 0)
		return false;
	p = a.local + len + 2;
	digits = strspn(p, "0123456789");
	if (digits == 0 || digits > ID_DIGITS_MAX || p[digits] != '-')
		return false;
	*enrollment = strtoll(p, NULL, 10);
	p += digits + 1;
	for (i = 0; i < REPORT_TOKEN_SIZE - 1 && isxdigit((unsigned char)p[i]); i++)
		token[i] = (char)tolower((unsigned char)p[i]);
	token[i] = '\0';
	return i == REPORT_TOKEN_SIZE - 1 && p[i] == '\0';
}
