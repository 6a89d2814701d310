/*
 * enroll/doctor.h - what the files of `doctor` share.  Private to enroll/.
 *
 * A check adds at least one line by check_add (enroll/enroll.h), under its name or that of another check of the table in doctor.c that it answers
 * by the way; never does it change anything but what it takes back at once.
 */
#ifndef ENROLL_ENROLL_DOCTOR_H
#define ENROLL_ENROLL_DOCTOR_H

#include "enroll/control.h"

/* doctor_net.c */
void doctor_mx(json_t *checks, struct enroll_parts *p);
void doctor_spf(json_t *checks, struct enroll_parts *p);
void doctor_dmarc(json_t *checks, struct enroll_parts *p);
void doctor_cas(json_t *checks, struct enroll_parts *p);        /* ca, caa */
void doctor_ca_details(json_t *checks, struct enroll_parts *p);
void doctor_clock(json_t *checks, struct enroll_parts *p);
/* Is there a public key at this name?  For `dkim`, which the reply path answers. */
void doctor_dkim_key(json_t *checks, struct enroll_parts *p, const char *selector, const char *domain);

/* doctor_reply.c: reply-path, dkim, reply-reports */
void doctor_reply_path(json_t *checks, struct enroll_parts *p);

/* doctor_report.c.  An envelope sender for the trial reply whose delivery report the inbound instance will note; false when none is configured or
 * can be had.  After a true one doctor_report_end, which waits for the report when the mail was sent. */
struct trial_report {
	char from[ADDRESS_MAX];
	char token[REPORT_TOKEN_SIZE];
	int64_t last_event;
};
bool doctor_report_begin(json_t *checks, struct enroll_parts *p, struct trial_report *t);
void doctor_report_end(json_t *checks, struct enroll_parts *p, const struct trial_report *t, bool sent);

#endif
