/*
 * test_directory_hygiene.c - single values taken out and put back, entries found wherever they are, and rights tried without changing anything:
 * against a real slapd of its own (a Unix socket in a temporary folder).  Without slapd it is skipped.
 */
#include "config.h"

#include <check.h>
#include <ldap.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ldap/directory.h"

#define SLAPD "/usr/sbin/slapd"
#define SUFFIX "dc=example"
#define PEOPLE "ou=people," SUFFIX
#define CERTIFICATE "userCertificate;binary"
#define SMIME "userSMIMECertificate"

static char folder[64], url[256];
static pid_t slapd;

/* ---- slapd ------------------------------------------------------------------------------------------------------- */

static void write_file(const char *name, mode_t mode, const char *text)
{
	struct err err = ERR_INIT;
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	ck_assert_msg(file_write(path, text, strlen(text), mode, -1, &err), "%s", err.text);
}

#define PERSON(uid) "dn: uid=" uid "," PEOPLE "\nobjectClass: inetOrgPerson\nuid: " uid "\ncn: " uid "\nsn: X\nmail: " uid "@example.org\nuserPassword: user\n\n"
#define ROLE(cn) "dn: cn=" cn "," SUFFIX "\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: " cn "\nuserPassword: secret\n\n"

static void make_folder(void)
{
	struct buf conf = BUF_INIT;
	char path[160];

	strcpy(folder, "/tmp/test-hygiene-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/db", folder);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	buf_printf(&conf, "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\ninclude /etc/ldap/schema/inetorgperson.schema\n"
		"modulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile %s/slapd.pid\n"
		"database mdb\nsuffix " SUFFIX "\nrootdn cn=admin," SUFFIX "\nrootpw secret\ndirectory %s/db\ndbnosync\nmaxsize 16777216\n"
		"limits dn.exact=cn=reader," SUFFIX " size=2\n"
		"access to attrs=userPassword by anonymous auth by * none\n"
		"access to attrs=userCertificate,userSMIMECertificate by dn.exact=cn=enroll," SUFFIX " write by users read\n"
		"access to dn.exact=uid=loose," PEOPLE " attrs=mail by self write by users read\n"
		"access to * by users read by * auth\n", folder, folder);
	write_file("slapd.conf", 0600, buf_str(&conf));
	write_file("password", 0600, "secret\n");
	write_file("data.ldif", 0600, "dn: " SUFFIX "\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n\n"
		"dn: " PEOPLE "\nobjectClass: organizationalUnit\nou: people\n\ndn: ou=moved," SUFFIX "\nobjectClass: organizationalUnit\nou: moved\n\n"
		ROLE("enroll") ROLE("reader") PERSON("one") PERSON("two") PERSON("three") PERSON("mover") PERSON("loose"));
	buf_clear(&conf);
}

static pid_t start(char *const argv[])
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execv(argv[0], argv);
	_exit(127);
}

static LDAP *administrator(void)
{
	struct berval cred = {.bv_val = (char[]){"secret"}, .bv_len = 6};
	int version = LDAP_VERSION3;
	LDAP *ld = NULL;

	ck_assert_int_eq(ldap_initialize(&ld, url), LDAP_SUCCESS);
	ldap_set_option(ld, LDAP_OPT_PROTOCOL_VERSION, &version);
	if (ldap_sasl_bind_s(ld, "cn=admin," SUFFIX, LDAP_SASL_SIMPLE, &cred, NULL, NULL, NULL) == LDAP_SUCCESS)
		return ld;
	ldap_unbind_ext(ld, NULL, NULL);
	return NULL;
}

static void start_slapd(void)
{
	char conf[160], ldif[160];
	char *add[] = {(char[]){"/usr/sbin/slapadd"}, (char[]){"-q"}, (char[]){"-f"}, conf, (char[]){"-l"}, ldif, NULL};
	char *serve[] = {(char[]){SLAPD}, (char[]){"-d"}, (char[]){"0"}, (char[]){"-f"}, conf, (char[]){"-h"}, url, NULL};
	LDAP *ld = NULL;
	size_t n;
	int status;

	make_folder();
	snprintf(conf, sizeof(conf), "%s/slapd.conf", folder);
	snprintf(ldif, sizeof(ldif), "%s/data.ldif", folder);
	n = (size_t)snprintf(url, sizeof(url), "ldapi://");
	for (const char *p = folder; *p; p++)
		n += (size_t)snprintf(url + n, sizeof(url) - n, *p == '/' ? "%%2F" : "%c", *p);
	snprintf(url + n, sizeof(url) - n, "%%2Fldapi");
	ck_assert_int_gt(waitpid(start(add), &status, 0), 0);
	ck_assert_int_eq(status, 0);
	slapd = start(serve);
	for (int i = 0; i < 400 && !(ld = administrator()); i++)
		usleep(50000);
	ck_assert_ptr_nonnull(ld);
	ldap_unbind_ext(ld, NULL, NULL);
}

static void stop_slapd(void)
{
	char command[128];

	kill(slapd, SIGTERM);
	waitpid(slapd, NULL, 0);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
}

static struct directory *open_as(const char *who, const char *smime)
{
	struct directory_settings s;
	struct err err = ERR_INIT;
	struct directory *d;
	char text[200];

	directory_settings_init(&s);
	ck_assert(strlist_add(&s.urls, url));
	snprintf(text, sizeof(text), "cn=%s," SUFFIX, who);
	s.bind_dn = str_dup(text);
	snprintf(text, sizeof(text), "%s/password", folder);
	s.password_file = str_dup(text);
	s.base = str_dup(SUFFIX);
	s.smime_attribute = str_dup(smime);
	s.cache_seconds = 0;
	d = directory_new(&s, &err);
	ck_assert_msg(d != NULL, "%s", err.text);
	directory_settings_clear(&s);
	return d;
}

static unsigned char *user_der(size_t *len)
{
	static long serial = 100;
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	unsigned char *der = NULL;

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
	X509_gmtime_adj(X509_getm_notBefore(x), -60);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const unsigned char *)"user", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	X509_set_pubkey(x, key);
	ck_assert_int_gt(X509_sign(x, key, EVP_sha256()), 0);
	*len = (size_t)i2d_X509(x, &der);
	X509_free(x);
	EVP_PKEY_free(key);
	return der;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static void check_values(struct directory *d, const char *dn, const char *attribute, size_t n, const void *one, size_t len)
{
	struct directory_values l = {0};
	struct err err = ERR_INIT;
	bool gone, found = false;

	ck_assert_msg(directory_read_values(d, dn, attribute, &l, &gone, &err), "%s", err.text);
	ck_assert(!gone);
	ck_assert_uint_eq(l.n, n);
	for (size_t i = 0; i < l.n; i++)
		found = found || (l.v[i].len == len && memcmp(l.v[i].data, one, len) == 0);
	ck_assert_msg(!one || found, "%s of %s", attribute, dn);
	directory_values_clear(&l);
}

START_TEST(a_removal_says_what_was_there)
{
	static const char dn[] = "uid=one," PEOPLE;
	struct directory *d = open_as("enroll", SMIME);
	struct err err = ERR_INIT;
	enum directory_removed what;
	char *where;
	size_t len, other_len;
	unsigned char *der = user_der(&len), *other = user_der(&other_len);

	ck_assert(directory_publish(d, "one@example.org", der, len, &where, &err));
	free(where);
	ck_assert(directory_publish(d, "one@example.org", other, other_len, &where, &err));
	free(where);
	check_values(d, dn, CERTIFICATE, 2, der, len);
	ck_assert(directory_remove(d, dn, der, len, &what, &err));
	ck_assert_int_eq(what, DIRECTORY_REMOVED);
	check_values(d, dn, CERTIFICATE, 1, other, other_len);
	check_values(d, dn, SMIME, 1, NULL, 0);
	ck_assert(directory_remove(d, dn, der, len, &what, &err));
	ck_assert_int_eq(what, DIRECTORY_NOT_THERE);
	ck_assert(directory_remove(d, "uid=gone," PEOPLE, der, len, &what, &err));
	ck_assert_int_eq(what, DIRECTORY_ENTRY_GONE);
	OPENSSL_free(der);
	OPENSSL_free(other);
	directory_free(d);
}
END_TEST

START_TEST(a_value_comes_and_goes_octet_by_octet)
{
	static const char dn[] = "uid=two," PEOPLE;
	struct directory *d = open_as("enroll", NULL);
	struct err err = ERR_INIT;

	for (int i = 0; i < 2; i++)
		ck_assert_msg(directory_value_set(d, dn, SMIME, "\0theirs", 7, true, &err), "%s", err.text);
	ck_assert(directory_value_set(d, dn, SMIME, "\0others", 7, true, &err));
	check_values(d, dn, SMIME, 2, "\0theirs", 7);
	ck_assert(directory_value_set(d, dn, SMIME, "\0their", 6, false, &err));
	check_values(d, dn, SMIME, 2, "\0theirs", 7);
	for (int i = 0; i < 2; i++)
		ck_assert(directory_value_set(d, dn, SMIME, "\0theirs", 7, false, &err));
	check_values(d, dn, SMIME, 1, "\0others", 7);
	ck_assert(!directory_value_set(d, "uid=gone," PEOPLE, SMIME, "x", 1, true, &err));
	ck_assert_int_eq(err.class, ERR_POLICY);
	directory_free(d);
}
END_TEST

START_TEST(a_part_of_a_publication_says_where_it_is)
{
	struct directory *d = open_as("enroll", "noSuchAttribute");
	struct err err = ERR_INIT;
	char *dn = NULL;
	size_t len;
	unsigned char *der = user_der(&len);

	ck_assert(!directory_publish(d, "three@example.org", der, len, &dn, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_str_eq(dn, "uid=three," PEOPLE);
	check_values(d, dn, CERTIFICATE, 1, der, len);
	free(dn);
	OPENSSL_free(der);
	directory_free(d);
}
END_TEST

START_TEST(an_entry_is_found_wherever_it_was_moved)
{
	static const char *const bad[] = {"uuid:", "uuid:*", "uuid:a)(uid=*", "guid:00zz", "dn:" SUFFIX, "uuid:00000000-0000-0000-0000-000000000000"};
	struct directory *d = open_as("enroll", NULL);
	struct directory_person p;
	enum directory_found found;
	struct err err = ERR_INIT;
	LDAP *ld = administrator();
	char *dn;

	ck_assert(directory_find(d, "mover@example.org", &p, &found, &err));
	ck_assert_int_eq(found, DIRECTORY_ONE);
	ck_assert_int_eq(ldap_rename_s(ld, p.dn, "uid=moved", "ou=moved," SUFFIX, 1, NULL, NULL), LDAP_SUCCESS);
	ck_assert(directory_find_identity(d, p.identity, &dn, &err));
	ck_assert_str_eq(dn, "uid=moved,ou=moved," SUFFIX);
	free(dn);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_msg(directory_find_identity(d, bad[i], &dn, &err), "%s: %s", bad[i], err.text);
		ck_assert_ptr_null(dn);
	}
	directory_person_clear(&p);
	ldap_unbind_ext(ld, NULL, NULL);
	directory_free(d);
}
END_TEST

/* ---- what directory check finds ------------------------------------------------------------------------------------ */

struct said { const char *check, *verdict, *text; bool found; };

static void listen(void *arg, const char *check, const char *verdict, const char *text)
{
	struct said *s = arg;

	s->found = s->found || (strcmp(check, s->check) == 0 && strcmp(verdict, s->verdict) == 0 && strstr(text, s->text));
}

static char *state_of(const char *dn)
{
	char *attributes[] = {(char[]){"*"}, (char[]){"+"}, NULL}, *out = NULL;
	LDAP *ld = administrator();
	LDAPMessage *result = NULL;
	struct berval **v;

	ck_assert_int_eq(ldap_search_ext_s(ld, dn, LDAP_SCOPE_BASE, "(objectClass=*)", attributes, 0, NULL, NULL, NULL, 0, &result), LDAP_SUCCESS);
	v = ldap_get_values_len(ld, ldap_first_entry(ld, result), "entryCSN");
	out = str_dup(v[0]->bv_val);
	ldap_value_free_len(v);
	ldap_msgfree(result);
	ldap_unbind_ext(ld, NULL, NULL);
	return out;
}

static const struct {
	const char *name, *who, *smime, *user;
	struct said said;
} probes[] = {
	{"may write", "enroll", NULL, NULL, {"write", "ok", CERTIFICATE, false}},
	{"may write the other one", "enroll", SMIME, NULL, {"write", "ok", SMIME, false}},
	{"may not write", "reader", NULL, NULL, {"write", "error", "may not write", false}},
	{"is cut short", "reader", NULL, NULL, {"limits", "warning", "after 2 entries", false}},
	{"is not cut short", "enroll", NULL, NULL, {"limits", "ok", "entries", false}},
	{"has the attribute", "enroll", SMIME, NULL, {"schema", "ok", SMIME, false}},
	{"has it not", "enroll", "noSuchAttribute", NULL, {"schema", "error", "noSuchAttribute", false}},
	{"a tight user", "enroll", NULL, "uid=one," PEOPLE, {"ownership", "ok", "cannot write mail", false}},
	{"a loose user", "enroll", NULL, "uid=loose," PEOPLE, {"ownership", "error", "can write mail", false}},
	{"no such user", "enroll", NULL, "uid=gone," PEOPLE, {"user", "error", "cannot bind", false}},
};

START_TEST(rights_are_tried_and_nothing_changes)
{
	struct directory *d = open_as(probes[_i].who, probes[_i].smime);
	struct said said = probes[_i].said;
	struct directory_probe p = {.user_dn = probes[_i].user, .user_password = probes[_i].user ? "user" : NULL, .say = listen, .arg = &said};
	struct err err = ERR_INIT;
	char *before[2] = {state_of("uid=one," PEOPLE), state_of("uid=loose," PEOPLE)}, *after[2];

	ck_assert_msg(directory_probe(d, &p, &err), "%s: %s", probes[_i].name, err.text);
	ck_assert_msg(said.found, "%s: nobody says %s: %s", probes[_i].name, said.check, said.verdict);
	after[0] = state_of("uid=one," PEOPLE);
	after[1] = state_of("uid=loose," PEOPLE);
	for (int i = 0; i < 2; i++) {
		ck_assert_str_eq(before[i], after[i]);
		free(before[i]);
		free(after[i]);
	}
	directory_free(d);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("directory_hygiene");
	TCase *t = tcase_create("with slapd");
	SRunner *r;
	int failed;

	if (access(SLAPD, X_OK) != 0) {
		printf("skipped, because " SLAPD " is not there (apt-get install slapd)\n");
		return 77;
	}
	tcase_set_timeout(t, 120);
	tcase_add_unchecked_fixture(t, start_slapd, stop_slapd);
	tcase_add_test(t, a_removal_says_what_was_there);
	tcase_add_test(t, a_value_comes_and_goes_octet_by_octet);
	tcase_add_test(t, a_part_of_a_publication_says_where_it_is);
	tcase_add_test(t, an_entry_is_found_wherever_it_was_moved);
	tcase_add_loop_test(t, rights_are_tried_and_nothing_changes, 0, sizeof(probes) / sizeof(probes[0]));
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
