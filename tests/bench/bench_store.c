/*
 * tests/bench/bench_store.c - puts users with credentials into the store that a configuration names (see bench_fill in bench.h).
 *
 *     bench_store CONFIG USERS[:OWN] KEY [FOLDER]
 *
 * OWN: only so many of them have a certificate of their own, and can sign.
 */
#include "config.h"

#include <stdlib.h>

#include "policy/policy.h"
#include "tests/bench/bench.h"

int main(int argc, char **argv)
{
	struct err err = ERR_INIT;
	struct config *config = argc >= 4 ? config_load(argv[1], &err) : NULL;
	char *rest = NULL;
	size_t users;
	X509 *master = config ? keyvault_master_certificate(config->master_certificate, &err) : NULL;

	if (!master)
		bench_die("bench_store: %s", argc >= 4 ? err.text : "CONFIG USERS[:OWN] KEY [FOLDER]");
	users = strtoul(argv[2], &rest, 10);
	bench_fill(&(struct bench_fill_options){.store = &config->store, .users = users, .own = *rest == ':' ? strtoul(rest + 1, NULL, 10) : 0,
		.kind = argv[3], .master_certificate = master, .folder = argc > 4 ? argv[4] : NULL});
	X509_free(master);
	config_unref(config);
	return 0;
}
