/*
 * tests/fuzz/fuzz_address.c - mail addresses come from strangers' mail, from the directory and from certificates.
 *
 * Input: text.  What is taken has one spelling: it parses to itself, its key compares equal to it, and neither can break a line of a
 * header, of SMTP or of the log.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one_line(const char *s)
{
	if (!text_is_one_line(s) || !text_is_utf8(s, strlen(s)))
		abort();
}

static void check(const struct address *a)
{
	char text[ADDRESS_MAX], key[ADDRESS_MAX], again[ADDRESS_MAX], key_of[ADDRESS_MAX];
	struct address second;

	one_line(address_text(a, text));
	one_line(address_key(a, key));
	if (!address_parse(&second, text, NULL) || strcmp(address_text(&second, again), text) != 0 || !address_equal(a, &second))
		abort();
	if (!address_key_of(text, key_of, NULL) || strcmp(key, key_of) != 0)
		abort();
	/* a key is an address too, and its own key */
	if (!address_key_of(key, again, NULL) || strcmp(key, again) != 0)
		abort();
	for (const char *p = a->domain; *p != '\0'; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '-' || *p == '.'))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = ERR_INIT;
	struct address a;
	char *text, domain[256], again[256];

	if (size > 4096 || (size > 0 && memchr(data, 0, size) != NULL))
		return 0;
	text = malloc(size + 1);
	if (text == NULL)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (address_parse(&a, text, &err))
		check(&a);
	else if (err.class != ERR_POLICY || err.text[0] == '\0')
		abort();
	if (domain_canonical(text, domain) && (!domain_canonical(domain, again) || strcmp(domain, again) != 0))
		abort();
	free(text);
	return 0;
}
