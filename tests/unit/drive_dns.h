/* tests/unit/drive_dns.h - see drive_dns.c */
#ifndef ENROLL_TESTS_UNIT_DRIVE_DNS_H
#define ENROLL_TESTS_UNIT_DRIVE_DNS_H

#include <jansson.h>

#include "policy/policy.h"

/* One of its commands; a new object that tells the outcome. */
json_t *drive_dns(const struct ca_config *config, const char *command, char *arguments);
void drive_dns_end(void);

json_t *error_json(const struct err *err); /* drive_ca.c */

#endif
