/*
 * tests/fuzz/fuzz_acme_json.c - whatever a CA may send: directory, order, authorization, challenge, problem, chain, Retry-After, a
 * stored state, URLs.
 *
 * The first octet chooses the reader, the rest is what it reads.  Build as fuzz_main.c says, and with -DFUZZ_ENGINE, for fuzzing; without, it is a plain test that reads every file of its corpus (and of the folders given).
 */
#include "config.h"

#include <dirent.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "enroll/acme.h"
#include "enroll/problem.h"

#define URL "https://ca.example/acme/x"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An error must be something that JSON and the log can carry. */
static void check(bool ok, const struct err *err)
{
	if (!ok && (err->class == ERR_NONE || !*err->text || !text_is_utf8(err->text, strlen(err->text)) ||
			   !text_is_utf8(err->type, strlen(err->type)) || !text_is_utf8(err->subject, strlen(err->subject))))
		abort();
}

static void read_directory(const char *data, size_t size, struct err *err)
{
	struct acme_directory d;

	check(acme_directory_parse(data, size, URL, &d, err), err);
	acme_directory_clear(&d);
}

static void read_order(const char *data, size_t size, struct err *err)
{
	struct acme_order o;

	check(acme_order_parse(data, size, URL, &o, err), err);
	if (o.error)
		check(problem_from_objects(o.error, o.error, "look", URL, 200, err), err);
	acme_order_clear(&o);
}

static void read_authorization(const char *data, size_t size, struct err *err)
{
	struct acme_authorization z;

	check(acme_authorization_parse(data, size, URL, &z, err), err);
	if (z.error)
		check(problem_from_objects(z.error, NULL, "look", URL, 200, err), err);
	if (z.from && !text_is_one_line(z.from))
		abort();
	acme_authorization_clear(&z);
}

static void read_challenge(const char *data, size_t size, struct err *err)
{
	enum acme_status status;
	json_t *error = NULL;

	check(acme_challenge_parse(data, size, URL, &status, &error, err), err);
	json_decref(error);
}

static void read_problem(const char *data, size_t size, struct err *err)
{
	struct http_response r = HTTP_RESPONSE_INIT;

	r.status = 403;
	r.content_type = str_dup("application/problem+json");
	buf_append(&r.body, data, size);
	check(problem_from_answer(&r, "ask", URL, 1795334400, err), err);
	http_response_clear(&r);
}

static void read_chain(const char *data, size_t size, struct err *err)
{
	struct buf pem = BUF_INIT;

	check(acme_chain_parse(data, size, URL, &pem, err), err);
	buf_clear(&pem);
}

static void read_texts(const char *text, struct err *err)
{
	time_t at = http_retry_after(text, 1795334400);
	struct acme_state s;
	struct buf out = BUF_INIT;
	char *url = http_url_resolve(URL, text);

	if (at != 0 && at < 1795334400)
		abort();
	if (url && !http_url_good(url))
		abort();
	free(url);
	check(acme_state_load(text, &s, err), err);
	acme_state_clear(&s);
	check(ca_key_authorization(JOIN_DECODED, text, text, "thumbprint", &out, err), err);
	buf_clear(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const readers[])(const char *, size_t, struct err *) = {
		read_directory, read_order, read_authorization, read_challenge, read_problem, read_chain};
	struct err err = ERR_INIT;
	struct buf text = BUF_INIT;
	size_t n = sizeof readers / sizeof *readers;

	if (size == 0)
		return 0;
	/* '0' ... so that files of the corpus can be written by hand */
	if (data[0] % 8u < n) {
		readers[data[0] % 8u]((const char *)data + 1, size - 1, &err);
		return 0;
	}
	buf_append(&text, data + 1, size - 1);
	if (!memchr(buf_str(&text), '\0', text.len))
		read_texts(buf_str(&text), &err);
	buf_clear(&text);
	return 0;
}

#ifndef FUZZ_ENGINE
static int run_folder(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	int n = 0;

	while (dir && (entry = readdir(dir)) != NULL) {
		struct buf data = BUF_INIT, path = BUF_INIT;
		struct err err = ERR_INIT;

		buf_printf(&path, "%s/%s", folder, entry->d_name);
		if (entry->d_name[0] != '.' && file_read(&data, path.data, 1 << 20, &err)) {
			/* whole, and cut at every tenth */
			for (size_t i = 0; i <= 10; i++)
				LLVMFuzzerTestOneInput((const uint8_t *)buf_str(&data), data.len * i / 10);
			n++;
		}
		buf_clear(&data);
		buf_clear(&path);
	}
	if (dir)
		closedir(dir);
	return n;
}

int main(int argc, char **argv)
{
	const char *srcdir = getenv("srcdir");
	struct buf corpus = BUF_INIT;
	int n = 0;

	buf_printf(&corpus, "%s/tests/fuzz/corpus/acme_json", srcdir ? srcdir : ".");
	if (argc == 1)
		n = run_folder(corpus.data);
	for (int i = 1; i < argc; i++)
		n += run_folder(argv[i]);
	printf("%d files read\n", n);
	buf_clear(&corpus);
	return n > 0 ? 0 : 1;
}
#endif
