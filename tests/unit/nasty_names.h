/*
 * tests/unit/nasty_names.h - names and addresses that break what is escaped in the wrong place or not at all, and the way they go: from an
 * entry into a request, a subject as text, and a log line.
 */
#ifndef ENROLL_TESTS_UNIT_NASTY_NAMES_H
#define ENROLL_TESTS_UNIT_NASTY_NAMES_H

#include "policy/policy.h"

struct nasty {
	const char *what, *given, *surname, *display, *organization;
	const char *address, *canonical;
	bool utf8; /* SmtpUTF8Mailbox */
};
extern const struct nasty nasty_names[];
extern const int nasty_names_n;

/* Ask for a sponsor-validated certificate for this person, who comes from the table; read everything back and compare octets. */
void nasty_check(const struct nasty *n, const struct directory_person *person);

#endif
