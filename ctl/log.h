/*
 * ctl/log.h - the events of the log and of the history: names, keys, what they mean and what to do.  Private to ctl/.
 *
 * One table, for `enrollctl log explain` and for the page enroll-milter-log(7), whose lists are written from it (tests/log_page.py --write).
 * tests/names.py compares it with what the programs log.  In texts `backquotes` stand around what is typed or stands in a file.
 */
#ifndef ENROLL_CTL_LOG_H
#define ENROLL_CTL_LOG_H

#include <stddef.h>

struct log_row {
	const char *name;
	const char *where;   /* programs that write it: outbound, inbound, enrolld, enrollctl; "history" alone: a row of the history */
	const char *levels;  /* error, warning, info, debug; NULL in the history */
	const char *keys;    /* as they stand in the line; "+error": and those of an error */
	const char *meaning;
	const char *action;  /* what to do; NULL: nothing */
};

/* What a key is, in general (event NULL) or in one event; with a value: what this value is. */
struct log_key {
	const char *event, *key, *value, *meaning;
};

extern const struct log_row log_rows[];
extern const size_t log_rows_count;
extern const struct log_key log_keys[];
extern const size_t log_keys_count;
extern const char log_error_keys[]; /* what "+error" stands for */

#endif
