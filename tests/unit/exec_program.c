/*
 * tests/unit/exec_program.c - programs for driver "exec", written by the test that runs them.
 */
#include "config.h"

#include "tests/unit/exec_program.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <check.h>

char folder[64], program[96];
struct ca_config config;

const char *in_folder(const char *name)
{
	static char path[4][400];
	static unsigned turn;

	turn = (turn + 1) % 4;
	snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
	return path[turn];
}

/* FOLDER in the text is the test's folder, which everybody may use. */
void write_script(const char *text)
{
	FILE *f = fopen(program, "w");
	const char *p;

	ck_assert_ptr_nonnull(f);
	for (; (p = strstr(text, "FOLDER")) != NULL; text = p + 6)
		fprintf(f, "%.*s%s", (int)(p - text), text, folder);
	fputs(text, f);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(chmod(program, 0755), 0);
}

void write_program(const char *body)
{
	struct buf text = BUF_INIT;

	buf_printf(&text, "#!/bin/sh\n%s\n", body);
	write_script(buf_str(&text));
	buf_clear(&text);
}

bool read_back(const char *name, struct buf *out)
{
	buf_reset(out);
	return file_read(out, in_folder(name), 1 << 20, NULL);
}

void setup(void)
{
	snprintf(folder, sizeof folder, "/tmp/test_exec-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chmod(folder, 01777), 0);
	snprintf(program, sizeof program, "%s/program", folder);
	memset(&config, 0, sizeof config);
	config.driver = CA_DRIVER_EXEC;
	config.exec.program = program;
	config.exec.timeout_seconds = 60;
	config.exec.max_output = 65536;
	config.connections = 4;
}

void teardown(void)
{
	DIR *dir = opendir(folder);
	struct dirent *e;

	while (dir && (e = readdir(dir)) != NULL)
		unlink(in_folder(e->d_name));
	if (dir)
		closedir(dir);
	rmdir(folder);
	strlist_clear(&config.exec.environment);
}
