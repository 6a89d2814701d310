/*
 * tests/fuzz/fuzz_certcheck.c - any DER as the certificate a CA sent, judged for each kind of profile.
 */
#include "config.h"

#include <stdlib.h>

#include <openssl/err.h>

#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void judge(X509 *leaf, enum validation v, enum generation g)
{
	static char address[] = "alice@example.org", *addresses[] = {address};
	struct strlist list = {addresses, 1};
	struct certificate_profile profile = {.validation = v, .generation = g, .usage = USAGE_SIGN};
	X509_STORE *anchors = X509_STORE_new();
	struct certcheck_request req = {
		.profile = &profile, .addresses = &list, .spki_sha256 = "00", .anchors = anchors, .now = 1795305600};
	struct findings f = {0};
	struct buf text = BUF_INIT;
	struct err err = ERR_INIT;

	/* it has not our key, so one error at least */
	if (!certcheck(leaf, &req, &f, &err) || f.errors == 0 || ERR_peek_error() != 0)
		abort();
	findings_text(&f, &text);
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] != '\n' && (text.data[i] < 0x20 || text.data[i] > 0x7e))
			abort();
	findings_clear(&f);
	buf_clear(&text);
	X509_STORE_free(anchors);
}

/* As `enrollctl cert check` does: for the profile it claims, without our own questions, and with itself for an issuer. */
static void judge_stranger(X509 *leaf)
{
	STACK_OF(X509) *untrusted = sk_X509_new_null();
	struct certificate_profile profile;
	struct certcheck_request req = {.profile = &profile,
		.untrusted = untrusted,
		.now = 1795305600,
		.not_asked = CERTCHECK_NO_KEY | CERTCHECK_NO_ADDRESSES | CERTCHECK_NO_ANCHORS | CERTCHECK_NO_USAGE};
	struct findings f = {0};
	struct err err = ERR_INIT;

	if (untrusted != NULL && sk_X509_push(untrusted, leaf) > 0 && certcheck_claimed(leaf, &profile)) {
		if (!certcheck(leaf, &req, &f, &err) || ERR_peek_error() != 0)
			abort();
		/* nobody was asked: the answer is not "good" */
		findings_clear(&f);
		req.revocation = REVOCATION_REQUIRED;
		if (!certcheck(leaf, &req, &f, &err) || f.errors == 0)
			abort();
	}
	findings_clear(&f);
	sk_X509_free(untrusted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const unsigned char *p = data;
	X509 *leaf = size < 1u << 20 ? d2i_X509(NULL, &p, (long)size) : NULL;

	ERR_clear_error();
	if (leaf == NULL)
		return 0;
	judge(leaf, VALIDATION_MAILBOX, GENERATION_STRICT);
	judge(leaf, VALIDATION_SPONSOR, GENERATION_MULTIPURPOSE);
	judge(leaf, VALIDATION_ORGANIZATION, GENERATION_STRICT);
	judge(leaf, VALIDATION_PRIVATE, GENERATION_STRICT);
	judge_stranger(leaf);
	certcheck_has_address(leaf, "alice@example.org");
	X509_free(leaf);
	return 0;
}
