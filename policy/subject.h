/*
 * policy/subject.h - what the S/MIME Baseline Requirements say of single values of a subject, once for both sides: profile.c asks for no
 * value that certcheck would refuse when it comes back, and the configuration takes none.
 *
 * Texts are bytes with a length: those of a certificate may hold anything.  Pure functions.  Private to policy/.
 */
#ifndef ENROLL_POLICY_SUBJECT_H
#define ENROLL_POLICY_SUBJECT_H

#include <stdbool.h>
#include <stddef.h>

/* Characters of UTF-8 text, not octets. */
size_t subject_characters(const char *text, size_t len);
/* RFC 5280 appendix A.1: the most characters this attribute (NID) may have; 0 = no bound that matters. */
size_t subject_bound(int nid);
/* DN-2: nothing but dots, hyphens and blanks ("-" where a directory demands a value)... */
bool subject_is_filler(const char *text, size_t len);
/* ...or a word that says that there is no value ("n/a").  Not for names of people: somebody may be called Na. */
bool subject_says_nothing(const char *text, size_t len);
/* DN-11: assigned by ISO 3166-1 alpha-2, upper case, or XX. */
bool subject_is_country(const char *text, size_t len);

/* NTRDE+BY-HRB.12345: scheme, country, optional subdivision, optional reference (GOV and INT have none). */
struct organization_id {
	char scheme[4], country[3], subdivision[4];
	const char *reference; /* into the text; NULL = none */
	size_t reference_len;
};
/* ORG-1: has it that form? */
bool organization_id_parse(struct organization_id *out, const char *text, size_t len);
/* ORG-2: do its parts go together?  NULL, or static text that says what is wrong. */
const char *organization_id_trouble(const struct organization_id *id);
/* ORG-3: may countryName be this one beside it? */
bool organization_id_fits(const struct organization_id *id, const char *country, size_t len);
/* ORG-4: the reference of a German register entry is an EUID (true for all others). */
bool organization_id_is_euid(const struct organization_id *id);

/* 20 letters and digits with the check digits of ISO 17442. */
bool lei_is_valid(const char *text, size_t len);

#endif
