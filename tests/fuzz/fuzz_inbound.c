/*
 * tests/fuzz/fuzz_inbound.c - a stranger's header through everything that reads challenge mail: candidate, parse, Authentication-Results.
 *
 * Input: header fields with LF.  What is accepted has to be fit for our reply: one line of printable text each.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "milter/inbound.h"
#include "tests/fuzz/fuzz_mail.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct candidate *c)
{
	const struct challenge *m = &c->challenge;

	if (!text_is_one_line(m->token_part1) || strlen(m->token_part1) < 22 || !text_is_one_line(m->message_id) || !text_is_one_line(m->from))
		abort();
	if (m->reply_to && !text_is_one_line(m->reply_to))
		abort();
	if (m->message_id[strcspn(m->message_id, " \t")] != '\0' || c->to.n == 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct network everywhere;
	struct config config;
	struct headers h = {0};
	struct candidate c = {0};
	struct spool *body = spool_new("/tmp", NULL);
	char why[256], how[256];

	network_parse(&everywhere, "0.0.0.0/0");
	memset(&config, 0, sizeof(config));
	config.ca.authentication = CHALLENGE_AUTHSERV_ID;
	config.ca.authserv_id = (char[]){"mx.example.org"};
	config.ca.challenge_networks = &everywhere;
	config.ca.n_challenge_networks = 1;
	fuzz_read_header(&h, (const char *)data, size);
	inbound_is_candidate(&h);
	if (inbound_parse(&config, &h, &c, why)) {
		check(&c);
		inbound_authenticate(&config, &config.ca, NULL, NULL, &h, body, &c, "192.0.2.1", how);
		if (strlen(how) >= sizeof(how))
			abort();
	}
	candidate_clear(&c);
	headers_clear(&h);
	spool_free(body);
	return 0;
}
