/* tests/unit/exec_program.h - programs for driver "exec": shell scripts that a test writes into a folder of its own. */
#ifndef ENROLL_TESTS_UNIT_EXEC_PROGRAM_H
#define ENROLL_TESTS_UNIT_EXEC_PROGRAM_H

#include "policy/policy.h"

extern char folder[64], program[96]; /* paths */
extern struct ca_config config;      /* of the program: 60 seconds, 64 KiB, four at one time */

/* A fixture. */
void setup(void);
void teardown(void);

/* The path of a file in the folder; good until the fourth call after. */
const char *in_folder(const char *name);
/* The whole text of the program, or what a shell is to do.  FOLDER stands for the folder. */
void write_script(const char *text);
void write_program(const char *body);
/* What is in a file of the folder; false when it is not there. */
bool read_back(const char *name, struct buf *out);

#endif
