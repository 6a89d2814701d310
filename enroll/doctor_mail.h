/* enroll/doctor_mail.h - what `doctor` asks of Postfix: do delivery reports come back, may the outbound instance be skipped.  Private to
 * enroll/. */
#ifndef ENROLL_ENROLL_DOCTOR_MAIL_H
#define ENROLL_ENROLL_DOCTOR_MAIL_H

#include "enroll/control.h"

/* An envelope sender for the trial reply whose delivery report the inbound instance will note; false when none is configured or can be had.
 * After a true one doctor_report_end, which waits for the report when the mail was sent. */
struct trial_report {
	char from[ADDRESS_MAX];
	char token[REPORT_TOKEN_SIZE];
	int64_t last_event;
};
bool doctor_report_begin(json_t *checks, struct enroll_parts *p, struct trial_report *t);
void doctor_report_end(json_t *checks, struct enroll_parts *p, const struct trial_report *t, bool sent);

/* Does Postfix let mail pass unsigned when the outbound instance is away?  Says nothing where no Postfix is. */
void doctor_default_action(json_t *checks, struct enroll_parts *p);

#endif
