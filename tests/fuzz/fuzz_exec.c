/*
 * tests/fuzz/fuzz_exec.c - what a program behind driver "exec" may answer.
 *
 * The first octet ('0' ...) chooses the question, the rest is the answer.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "enroll/exec.h"

#define NOW 1795334400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool held)
{
	if (!held)
		abort();
}

/* What the driver relies on. */
static void check_good(enum exec_action action, const struct exec_answer *a)
{
	json_t *state = a->state ? json_loads(a->state, JSON_DECODE_ANY, NULL) : NULL;

	must(!a->state || (state && strlen(a->state) <= EXEC_STATE_MAX));
	must((a->status == EXEC_ISSUED) == (a->chain != NULL));
	must(!a->chain || strncmp(a->chain, "-----BEGIN CERTIFICATE-----", 27) == 0);
	must(a->retry_after >= 0 && a->retry_after <= 7 * 86400);
	must(a->status != EXEC_RENEWAL || a->start < a->end);
	must(a->status != EXEC_OK || action == EXEC_CHECK);
	must(!a->terms || text_is_one_line(a->terms));
	json_decref(state);
}

/* It goes into the log, the store and JSON. */
static void check_bad(const struct err *err)
{
	must(err->class == ERR_TEMPORARY || err->class == ERR_CA || err->class == ERR_POLICY || err->class == ERR_CONFIG);
	must(err->text[0] && text_is_one_line(err->text) && text_is_utf8(err->text, strlen(err->text)));
	must(err->retry_at == 0 || (err->retry_at > NOW && err->retry_at <= NOW + 7 * 86400));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct exec_words words = {"no words"};
	struct exec_answer a;
	struct err err = ERR_INIT;
	enum exec_action action;

	if (size == 0)
		return 0;
	action = data[0] % EXEC_ACTIONS;
	if (exec_answer_read(action, "/usr/local/bin/ca", &words, data + 1, size - 1, NOW, &a, &err))
		check_good(action, &a);
	else
		check_bad(&err);
	exec_answer_clear(&a);
	return 0;
}
