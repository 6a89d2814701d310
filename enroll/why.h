/*
 * enroll/why.h - "why was this mail not signed": one table of causes, each with the words by which it is recognised, a sentence for people and what
 * they can do.  Private to enroll/.  Pure: who asks brings the facts (helpdesk.c).
 */
#ifndef ENROLL_ENROLL_WHY_H
#define ENROLL_ENROLL_WHY_H

#include "policy/policy.h"
#include "store/store.h"

struct why_facts {
	const char *address;
	time_t now;
	bool asked_for_one;                       /* a certain mail was asked about, and `mail` NULL says that nobody saw it */
	const struct mail_event *mail;            /* NULL: none */
	const struct store_certificate *signed_by; /* that of the mail, or NULL */
	const struct enrollment *row;             /* NULL: none */
	const struct store_certificate *active;   /* what the row signs with, or NULL */
	const char *disabled_by;                  /* who took the address out, and why, or NULL */
	/* the configuration as it is now */
	const char *rule;                         /* the one that is about the address, or NULL */
	const char *paused;                       /* by whom, or NULL */
	enum config_mode mode;
	bool served, in_pilot, excluded;
	bool nobody_looks;                        /* at who left */
};

struct why_answer {
	const char *cause;          /* a stable word, static */
	bool signed_;               /* the mail was signed; without a mail: the next one is expected to be */
	struct buf sentence, what_to_do;
};

void why_find(const struct why_facts *f, struct why_answer *out);
void why_answer_clear(struct why_answer *a);

/* For the manual and the tests: the words of all causes, in the order of the table; NULL behind the last one. */
const char *why_cause_name(size_t i);

#endif
