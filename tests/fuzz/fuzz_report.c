/*
 * tests/fuzz/fuzz_report.c - a stranger's mail to the envelope sender of a reply, read as a delivery report.
 *
 * Input: a mail with LF.  What is taken has to be fit for the store and for a terminal: known words, one line of printable text each, within the
 * store's limits.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "milter/report.h"
#include "tests/fuzz/fuzz_mail.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(const char *s)
{
	if (s == NULL)
		return;
	if (*s == '\0' || strlen(s) > 1000)
		abort();
	for (; *s != '\0'; s++)
		if (*s < ' ' || *s > '~')
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct headers h = {0};
	struct report r;
	struct spool *body = spool_new("/tmp", NULL);
	size_t at = fuzz_read_header(&h, (const char *)data, size);
	char why[256];

	if (body == NULL || !spool_write(body, data + at, size - at, NULL))
		abort();
	if (report_parse(&h, body, &r, why)) {
		if (r.action == NULL)
			abort();
		check_line(r.action);
		check_line(r.status);
		check_line(r.diagnostic);
		check_line(r.remote);
		check_line(r.reporter);
	} else if (why[0] == '\0') {
		abort();
	}
	report_clear(&r);
	headers_clear(&h);
	spool_free(body);
	return 0;
}
