/*
 * tests/fuzz/fuzz_main.c - runs a harness over files, so that its corpus is a plain test.
 *
 * Without arguments the files are those of $srcdir/tests/fuzz/corpus/NAME, where the program is called fuzz_NAME.  To fuzz, leave this
 * file out and link the harness with libFuzzer instead: build with CC=clang CFLAGS="-g -O1 -fsanitize=fuzzer-no-link" (or libFuzzer sees
 * nothing of the libraries) and --enable-sanitizers=address,undefined, compile the harness with -fsanitize=fuzzer, and give it a copy of the
 * corpus folder.
 */
#include "config.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

#define INPUT_MAX (8u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool run_file(const char *path)
{
	struct buf input = BUF_INIT;
	struct err err = ERR_INIT;
	unsigned char *exact;

	if (!file_read(&input, path, INPUT_MAX, &err)) {
		fprintf(stderr, "%s: %s\n", path, err.text);
		return false;
	}
	/* of the exact size, so that a sanitizer sees the first octet behind it */
	exact = malloc(input.len > 0 ? input.len : 1);
	if (exact != NULL) {
		memcpy(exact, buf_str(&input), input.len);
		LLVMFuzzerTestOneInput(exact, input.len);
	}
	free(exact);
	buf_clear(&input);
	return true;
}

static int run_folder(const char *name)
{
	const char *src = getenv("srcdir"), *base = strrchr(name, '/') != NULL ? strrchr(name, '/') + 1 : name;
	char folder[2048], path[4096];
	struct dirent **entries = NULL;
	int n, failed = 0, files = 0;

	snprintf(folder, sizeof folder, "%s/tests/fuzz/corpus/%s", src != NULL ? src : ".",
		strncmp(base, "fuzz_", 5) == 0 ? base + 5 : base);
	n = scandir(folder, &entries, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		if (entries[i]->d_name[0] != '.') {
			snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
			failed += !run_file(path);
			files++;
		}
		free(entries[i]);
	}
	free(entries);
	printf("%s: %d files of %s\n", base, files, folder);
	return files > 0 && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	bool ok = true;

	if (argc < 2)
		return run_folder(argv[0]);
	for (int i = 1; i < argc; i++)
		ok = run_file(argv[i]) && ok;
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
