/*
 * enroll/import.h - between reading a file with a key (import_read.c) and judging it (import.c).  Private to enroll/.
 */
#ifndef ENROLL_ENROLL_IMPORT_H
#define ENROLL_ENROLL_IMPORT_H

#include "enroll/enroll.h"

struct import_content {
	EVP_PKEY *key;
	X509 *leaf;               /* the certificate of this key */
	STACK_OF(X509) *others;
};
/* ERR_CONFIG says what is wrong with the file or its password, ERR_POLICY that there is no certificate of the key in it.  To be cleared in any case. */
bool import_read(struct import_content *out, const struct enroll_import *what, struct err *err) BASE_MUST_CHECK;
void import_content_clear(struct import_content *c);
/* All certificates of a PEM file, appended. */
bool import_pem_certificates(const void *data, size_t len, STACK_OF(X509) *out);

#endif
