/*
 * tests/unit/log_catch.h - what a program logs to standard error, as text: log_catch(), then what is to be looked at, then log_caught(), to be freed.
 */
#ifndef ENROLL_TESTS_UNIT_LOG_CATCH_H
#define ENROLL_TESTS_UNIT_LOG_CATCH_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <check.h>

static int log_fd, old_stderr;

static inline void log_catch(void)
{
	log_fd = memfd_create("log", 0);
	fflush(stderr);
	old_stderr = dup(STDERR_FILENO);
	dup2(log_fd, STDERR_FILENO);
}

/* What was logged since log_catch. */
static inline char *log_caught(void)
{
	off_t size = lseek(log_fd, 0, SEEK_END);
	char *text = calloc(1, (size_t)size + 1);

	ck_assert_int_eq(pread(log_fd, text, (size_t)size, 0), size);
	dup2(old_stderr, STDERR_FILENO);
	close(old_stderr);
	close(log_fd);
	return text;
}

#endif
