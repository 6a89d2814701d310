/*
 * tests/unit/nasty_names.c - the table, and the way from a person to a request, a subject as text and a log line.
 *
 * What is written by OpenSSL is read by OpenSSL as a structure, what is written as a DN by libldap, the log line by hand: nothing that
 * escapes here also unescapes.
 */
#include "config.h"

#include "tests/unit/nasty_names.h"

#include <string.h>
#include <unistd.h>

#include <check.h>
#include <ldap.h>
#include <openssl/x509v3.h>

#define LOCAL_64 "a123456789b123456789c123456789d123456789e123456789f123456789g123"

const struct nasty nasty_names[] = {
	{"umlauts, and a domain in upper case", "J\xc3\xb6rg", "M\xc3\xbcller-L\xc3\xbc" "denscheidt", "M\xc3\xbcller-L\xc3\xbc" "denscheidt, J\xc3\xb6rg",
		"B\xc3\xbc" "cher & S\xc3\xb6hne GmbH", "Joerg.Mueller@EXAMPLE.ORG", "Joerg.Mueller@example.org", false},
	{"apostrophe and plus", "Conan", "O'Brien", "Conan O'Brien + Tag", "O'Brien, Smith + Co.", "o'brien+tag@example.org", "o'brien+tag@example.org", false},
	{"quotes, backslash, comma, semicolon, angle brackets", "\"Billy\"", "Bob\\Thornton", "\"Billy\" Bob\\Thornton, Jr.; <x>=#1",
		"#1 \"Best\", Inc. <=>; + Co\\", "\"a b\\\"c\"@example.org", "\"a b\\\"c\"@example.org", false},
	{"all that means something in a filter", "*", "(star*)", "*)(objectClass=*", "(&(o=*)(!(x=y)))", "st*r!#$%&'*+-/=?^_`{|}~@example.org",
		"st*r!#$%&'*+-/=?^_`{|}~@example.org", false},
	{"SMTPUTF8, and a domain of U-labels", "\xe7\x94\xa8", "\xe6\x88\xb7", "#\xe7\x94\xa8\xe6\x88\xb7 \xe2\x98\x83", "\xe4\xbe\x8b\xe5\xad\x90",
		"\xe7\x94\xa8\xe6\x88\xb7@b\xc3\xbc" "cher.example", "\xe7\x94\xa8\xe6\x88\xb7@xn--bcher-kva.example", true},
	{"a local part of 64 octets below a long top-level domain", "Ann", "d'A\xc3\xb1o", "event=forged class=\"none\"", "Example AG",
		LOCAL_64 "@example.xn--vermgensberatung-pwb", LOCAL_64 "@example.xn--vermgensberatung-pwb", false},
};
const int nasty_names_n = sizeof(nasty_names) / sizeof(nasty_names[0]);

static void same_octets(const struct nasty *n, const char *what, const char *want, const void *have, size_t len)
{
	ck_assert_msg(len == strlen(want) && memcmp(have, want, len) == 0, "%s: %s is \"%.*s\", not \"%s\"", n->what, what, (int)len,
		(const char *)have, want);
}

/* ---- the request ------------------------------------------------------------------------------------------------- */

static void check_attribute(const struct nasty *n, const X509_NAME *name, int nid, const char *want)
{
	int at = X509_NAME_get_index_by_NID(name, nid, -1);
	const ASN1_STRING *value;

	ck_assert_msg(at >= 0, "%s: no %s", n->what, OBJ_nid2sn(nid));
	value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
	ck_assert_int_eq(ASN1_STRING_type(value), V_ASN1_UTF8STRING);
	same_octets(n, OBJ_nid2sn(nid), want, ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value));
	ck_assert_int_eq(X509_NAME_get_index_by_NID(name, nid, at), -1);
}

static void check_san(const struct nasty *n, X509_REQ *req)
{
	STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(req);
	GENERAL_NAMES *names = X509V3_get_d2i(extensions, NID_subject_alt_name, NULL, NULL);
	const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, 0);
	const ASN1_STRING *value;

	ck_assert_int_eq(sk_GENERAL_NAME_num(names), 1);
	ck_assert_int_eq(name->type, n->utf8 ? GEN_OTHERNAME : GEN_EMAIL);
	value = n->utf8 ? name->d.otherName->value->value.utf8string : name->d.rfc822Name;
	same_octets(n, "the alternative name", n->canonical, ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value));
	GENERAL_NAMES_free(names);
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
}

static void check_request(const struct nasty *n, const struct buf *der)
{
	const unsigned char *at = (const unsigned char *)der->data;
	X509_REQ *req = d2i_X509_REQ(NULL, &at, (long)der->len);
	const X509_NAME *name;

	ck_assert_ptr_nonnull(req);
	name = X509_REQ_get_subject_name(req);
	check_attribute(n, name, NID_givenName, n->given);
	check_attribute(n, name, NID_surname, n->surname);
	check_attribute(n, name, NID_commonName, n->display);
	check_attribute(n, name, NID_organizationName, n->organization);
	check_san(n, req);
	X509_REQ_free(req);
}

/* ---- the subject as text (RFC 4514) ------------------------------------------------------------------------------- */

static void check_dn(const struct nasty *n, const char *text)
{
	const struct {
		const char *type, *want;
	} parts[] = {{"GN", n->given}, {"SN", n->surname}, {"CN", n->display}, {"O", n->organization}};
	LDAPDN dn = NULL;
	size_t found = 0;

	ck_assert_msg(ldap_str2dn(text, &dn, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS, "%s: no DN: %s", n->what, text);
	for (size_t i = 0; dn[i] != NULL; i++) {
		const LDAPAVA *ava = dn[i][0];

		ck_assert_ptr_null(dn[i][1]);
		for (size_t j = 0; j < sizeof parts / sizeof parts[0]; j++) {
			if (strlen(parts[j].type) != ava->la_attr.bv_len || memcmp(parts[j].type, ava->la_attr.bv_val, ava->la_attr.bv_len) != 0)
				continue;
			same_octets(n, parts[j].type, parts[j].want, ava->la_value.bv_val, ava->la_value.bv_len);
			found++;
		}
	}
	ck_assert_uint_eq(found, sizeof parts / sizeof parts[0]);
	ldap_dnfree(dn);
}

/* ---- a log line --------------------------------------------------------------------------------------------------- */

/* The value behind " key=": bare up to the next blank, or in quotes with backslashes. */
static void log_value(const char *line, const char *key, char out[2048])
{
	char start[32];
	const char *p;
	size_t len = 0;
	bool quoted;

	snprintf(start, sizeof start, " %s=", key);
	p = strstr(line, start);
	ck_assert_ptr_nonnull(p);
	p += strlen(start);
	quoted = *p == '"';
	for (p += quoted; *p != 0 && *p != (quoted ? '"' : ' ') && *p != '\n'; p++) {
		p += quoted && *p == '\\';
		out[len++] = *p;
	}
	ck_assert_int_eq(*p == '"', quoted);
	out[len] = 0;
}

static void check_log(const struct nasty *n, const char *subject)
{
	char line[8192], have[2048];
	int fds[2], saved = dup(STDERR_FILENO);
	ssize_t len;

	ck_assert_int_eq(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	log_event(LOG_LEVEL_WARNING, "certificate_asked", "subject", subject, "address", n->canonical, "organization", n->organization, NULL);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(fds[1]);
	len = read(fds[0], line, sizeof line - 1);
	close(fds[0]);
	ck_assert_int_gt(len, 0);
	line[len] = 0;
	ck_assert_msg(strchr(line, '\n') == line + len - 1, "%s: not one line: %s", n->what, line);
	for (const char *p = line; p[1] != 0; p++)
		ck_assert_msg((unsigned char)*p >= ' ' && *p != 0x7f, "%s: a control character: %s", n->what, line);
	/* the first event= is the only one that counts */
	ck_assert_ptr_eq(strstr(line, "event="), strstr(line, "event=certificate_asked"));
	log_value(line, "subject", have);
	same_octets(n, "subject in the log", subject, have, strlen(have));
	log_value(line, "address", have);
	same_octets(n, "address in the log", n->canonical, have, strlen(have));
	log_value(line, "organization", have);
	same_octets(n, "organization in the log", n->organization, have, strlen(have));
}

void nasty_check(const struct nasty *n, const struct directory_person *person)
{
	static char key_type[] = "ec:p256", identifier[] = "VATDE-123456789", country[] = "DE";
	struct certificate_profile p = {.validation = VALIDATION_SPONSOR, .generation = GENERATION_STRICT, .key_type = key_type,
		.organization_identifier = identifier, .country = country};
	struct strlist addresses = {0};
	struct buf der = BUF_INIT, text = BUF_INIT;
	struct err err = ERR_INIT;
	EVP_PKEY *key = profile_key_new(&p, &err);

	ck_assert(strlist_add(&addresses, n->address));
	ck_assert_msg(profile_csr(&der, &p, key, &addresses, person, &err), "%s: %s", n->what, err.text);
	check_request(n, &der);
	ck_assert_msg(profile_describe(&p, &addresses, person, &text, &err), "%s: %s", n->what, err.text);
	check_dn(n, buf_str(&text));
	check_log(n, buf_str(&text));
	strlist_clear(&addresses);
	buf_clear(&der);
	buf_clear(&text);
	EVP_PKEY_free(key);
}
