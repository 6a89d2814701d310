/*
 * tests/fuzz/fuzz_smime.c - a stranger's S/MIME message through everything that looks at one.
 *
 * Input: a mail, header fields with LF, an empty line, the body.  Twice: as it would be judged, against an anchor; and, because a
 * signature stops nearly all of what a fuzzer makes, its body once more as what is read behind the signature: a signed entity, and the
 * RFC 7508 attribute.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/pem.h>

#include "milter/inbound.h"
#include "milter/smime.h"
#include "tests/fuzz/fuzz_mail.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The root of the corpus; its key is gone. */
static const char root[] =
	"-----BEGIN CERTIFICATE-----\n"
	"MIIBtTCCAVqgAwIBAgIUPl4pTD6CzsJCo8azgT0N8iyVLd0wCgYIKoZIzj0EAwIw\n"
	"ODELMAkGA1UEBhMCWFgxEDAOBgNVBAoMB1Rlc3QgQ0ExFzAVBgNVBAMMDlRlc3Qg\n"
	"TWFpbCBSb290MB4XDTI2MTEyMTA0MTAzOVoXDTM2MTExOTA0MTAzOVowODELMAkG\n"
	"A1UEBhMCWFgxEDAOBgNVBAoMB1Rlc3QgQ0ExFzAVBgNVBAMMDlRlc3QgTWFpbCBS\n"
	"b290MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE2wEo6b0orbEclQtDIX2CJzBt\n"
	"CsIIfBHP5qw98QDp7iCW8jaWibIMusFlQ3jUMHSMN+RAoAWcx7N+pCXOAQQTVqNC\n"
	"MEAwDwYDVR0TAQH/BAUwAwEB/zAOBgNVHQ8BAf8EBAMCAQYwHQYDVR0OBBYEFLNI\n"
	"YqGOQY2MLAuiErXcVcCYXGuRMAoGCCqGSM49BAMCA0kAMEYCIQCrepy5w8P4nrgN\n"
	"8bNO0AlRznk6VOThOuJdGKyUHCYq8wIhAON52Y75aAj0l9y7D3Vls0wU3mXdmcsL\n"
	"eQxZLMsLRRo6\n"
	"-----END CERTIFICATE-----\n";

static X509_STORE *anchors(void)
{
	static X509_STORE *store;
	BIO *bio;
	X509 *x;

	if (store != NULL)
		return store;
	bio = BIO_new_mem_buf(root, -1);
	x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	store = X509_STORE_new();
	if (x == NULL || X509_STORE_add_cert(store, x) != 1)
		abort();
	X509_free(x);
	BIO_free(bio);
	return store;
}

/* What passes is said once. */
static void check_proof(const struct smime_proof *p)
{
	static const char *const names[] = {"From", "To", "Subject"};

	for (size_t i = 0; i < 3; i++)
		if (headers_count(&p->fields, names[i]) != 1)
			abort();
	if (headers_count(&p->fields, "Reply-To") > 1 || headers_count(&p->fields, "Date") > 1)
		abort();
}

static void behind_the_signature(const struct headers *h, const char *data, size_t size, bool attribute)
{
	struct smime_entity e = {0};
	struct smime_proof proof = {0};
	const char *form = "";
	char why[256] = "";

	buf_append(attribute ? &e.secure_headers : &e.octets, data, size);
	if (smime_header_check(&e, h, &proof, &form, why))
		check_proof(&proof);
	if (strlen(why) >= sizeof(why))
		abort();
	smime_proof_clear(&proof);
	buf_clear(&e.octets);
	buf_clear(&e.secure_headers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct headers h = {0};
	struct smime_proof proof;
	struct spool *body = spool_new("/tmp", NULL);
	size_t at = fuzz_read_header(&h, (const char *)data, size);
	char how[256];

	if (!spool_write(body, data + at, size - at, NULL))
		abort();
	if (smimecheck(&h, body, anchors(), "acme@ca.example", &proof, how) == SMIMECHECK_PASS)
		check_proof(&proof);
	if (strlen(how) >= sizeof(how))
		abort();
	smime_proof_clear(&proof);
	behind_the_signature(&h, (const char *)data + at, size - at, false);
	if (size > at)
		behind_the_signature(&h, (const char *)data + at, size - at, true);
	headers_clear(&h);
	spool_free(body);
	return 0;
}
