/*
 * tests/fuzz/fuzz_caa.c - CAA records and issuemail values are bytes from strangers.
 *
 * Input: the RDATA of one record after the other, each behind one octet with its length.
 */
#include "config.h"

#include <stdlib.h>

#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_rdata records[64];
	struct strlist ids = {0};
	struct caa_request req = {.identities = &ids, .account_uri = "https://ca.example/acct/1", .method = "email-reply-00"};
	struct buf why = BUF_INIT;
	size_t n = 0;

	for (size_t at = 0; at < size && n < 64; n++) {
		size_t len = data[at] < size - at - 1 ? data[at] : size - at - 1;

		records[n] = (struct dns_rdata){data + at + 1, len};
		at += 1 + len;
	}
	if (strlist_add(&ids, "ca.example"))
		caa_decide(records, n, &req, &why);
	for (size_t i = 0; i < why.len; i++)
		if (why.data[i] != '\n' && (why.data[i] < 0x20 || why.data[i] > 0x7e))
			abort();
	strlist_clear(&ids);
	buf_clear(&why);
	return 0;
}
