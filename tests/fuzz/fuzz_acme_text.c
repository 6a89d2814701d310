/*
 * tests/fuzz/fuzz_acme_text.c - what a CA says outside of its objects: Retry-After, Link, times, PEM chains, problem documents, renewal
 * information, certificates that are to be named.
 *
 * The first octet chooses the reader ('0' ... so that files of the corpus can be written by hand), the rest is what it reads.
 */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "enroll/acme.h"
#include "enroll/problem.h"

#define URL "https://ca.example/acme/x"
#define NOW 1795334400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An error must be something that JSON and the log can carry. */
static void check(bool ok, const struct err *err)
{
	if (!ok && (err->class == ERR_NONE || !*err->text || !text_is_utf8(err->text, strlen(err->text)) ||
			   !text_is_utf8(err->type, strlen(err->type)) || !text_is_utf8(err->subject, strlen(err->subject))))
		abort();
}

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void read_retry_after(const char *text, size_t size, struct err *err)
{
	time_t at = http_retry_after(text, NOW);

	must(at == 0 || (at >= NOW && at <= NOW + 31 * 86400));
}

static void read_links(const char *text, size_t size, struct err *err)
{
	struct strlist fields = {0}, found = {0};

	/* twice: the limit holds over all fields */
	if (strlist_add(&fields, text) && strlist_add(&fields, text) && http_links(&fields, "alternate", URL, 8, &found)) {
		must(found.n <= 8);
		for (size_t i = 0; i < found.n; i++)
			must(http_url_good(found.v[i]));
	}
	strlist_clear(&fields);
	strlist_clear(&found);
}

static void read_time(const char *text, size_t size, struct err *err)
{
	char back[32];
	time_t t;

	/* what was taken has a place on the calendar */
	if (time_parse(text, &t) && t >= 0)
		must(strlen(time_text(t, back)) >= 20);
}

static void read_chain(const char *data, size_t size, struct err *err)
{
	struct buf pem = BUF_INIT, raw = BUF_INIT, again = BUF_INIT;
	bool ok = acme_chain_parse(data, size, URL, &pem, err);

	check(ok, err);
	/* in its clean form it reads the same */
	if (ok)
		must(acme_chain_parse(pem.data, pem.len, URL, &again, err) && again.len == pem.len && memcmp(again.data, pem.data, pem.len) == 0);
	acme_chain_ends_in(&pem, "Test CA root");
	buf_append(&raw, data, size);
	acme_chain_ends_in(&raw, "Test CA root");
	buf_clear(&pem);
	buf_clear(&raw);
	buf_clear(&again);
}

static void read_problem(const char *data, size_t size, struct err *err)
{
	struct http_response r = HTTP_RESPONSE_INIT;
	size_t n = 0;
	char *names;

	r.status = 429;
	r.url = str_dup(URL);
	r.content_type = str_dup("application/problem+json");
	strlist_add(&r.links, "<terms>;rel=terms-of-service");
	buf_append(&r.body, data, size);
	check(problem_from_answer(&r, "ask", URL, NOW, err), err);
	must(err->status == 429);
	names = problem_identifiers(&r);
	for (char *p = names; p && *p; p++)
		must(*p >= ' ' && *p < 127 && (n += *p == ' ') < 8);
	free(names);
	http_response_clear(&r);
}

static void read_renewal(const char *data, size_t size, struct err *err)
{
	struct ca_renewal r;
	bool ok = acme_renewal_parse(data, size, URL, &r, err);

	check(ok, err);
	must(r.known == ok && (!ok || r.end > r.start));
	must(!*r.explanation || http_url_good(r.explanation));
}

static void read_account(const char *data, size_t size, struct err *err)
{
	struct ca_account account = {0};

	check(acme_account_parse(data, size, URL, &account, err), err);
	ca_account_clear(&account);
}

static void read_certificate(const char *data, size_t size, struct err *err)
{
	struct buf id = BUF_INIT;

	if (acme_certificate_id(data, size, &id))
		must(strspn(buf_str(&id), "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") == id.len && strchr(id.data, '.'));
	buf_clear(&id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const readers[])(const char *, size_t, struct err *) = {
		read_retry_after, read_links, read_time, read_chain, read_problem, read_renewal, read_account, read_certificate};
	struct err err = ERR_INIT;
	struct buf text = BUF_INIT;

	if (size == 0)
		return 0;
	buf_append(&text, data + 1, size - 1);
	/* the first three read texts, where no NUL can be */
	if (data[0] % 8u > 2 || !memchr(buf_str(&text), '\0', text.len))
		readers[data[0] % 8u](buf_str(&text), text.len, &err);
	buf_clear(&text);
	return 0;
}
