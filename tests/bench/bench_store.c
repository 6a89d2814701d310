/*
 * tests/bench/bench_store.c - puts users with credentials into the store that a configuration names (see bench_fill in bench.h).
 *
 *     bench_store CONFIG USERS KEY [FOLDER]
 */
#include "config.h"

#include <stdlib.h>

#include "policy/policy.h"
#include "tests/bench/bench.h"

int main(int argc, char **argv)
{
	struct err err = ERR_INIT;
	struct config *config = argc >= 4 ? config_load(argv[1], &err) : NULL;
	X509 *master = config ? keyvault_master_certificate(config->master_certificate, &err) : NULL;

	if (!master)
		bench_die("bench_store: %s", argc >= 4 ? err.text : "CONFIG USERS KEY [FOLDER]");
	bench_fill(config->store.path, strtoul(argv[2], NULL, 10), argv[3], master, argc > 4 ? argv[4] : NULL);
	X509_free(master);
	config_unref(config);
	return 0;
}
