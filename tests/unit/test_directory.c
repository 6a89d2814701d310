/*
 * test_directory.c - the directory room against a real slapd of its own (loopback, ephemeral ports, temporary folder), and against
 * servers that are silent.  Without slapd only the latter run, and a line says so.
 *
 * It is over 800 lines because all its cases share one slapd and the helpers that steer it.
 */
#include "config.h"

#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ldap.h>
#include <openssl/pem.h>
#include <openssl/pkcs7.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ldap/cache.h"
#include "ldap/directory.h"
#include "tests/unit/nasty_names.h"

#define SLAPD "/usr/sbin/slapd"
#define SLAPADD "/usr/sbin/slapadd"
#define SUFFIX "dc=example"
#define PEOPLE "ou=people," SUFFIX

static char folder[64];
static int port, tls_port;
static pid_t slapd;

/* The signal is on its way for a moment, in which slapd still answers. */
static bool thread_stopped(const char *thread)
{
	char path[64 + sizeof(((struct dirent *)0)->d_name)], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%ld/task/%s/stat", (long)slapd, thread);
	f = fopen(path, "r");
	if (f) {
		ck_assert_int_eq(fscanf(f, "%*d %*s %c", &state), 1);
		fclose(f);
	}
	return !f || state == 'T';
}

static void freeze_slapd(void)
{
	bool all = false;
	char path[64];

	ck_assert_int_eq(kill(slapd, SIGSTOP), 0);
	snprintf(path, sizeof(path), "/proc/%ld/task", (long)slapd);
	while (!all) {
		DIR *d = opendir(path);
		struct dirent *e;

		ck_assert_ptr_nonnull(d);
		all = true;
		while ((e = readdir(d)))
			all = all && (e->d_name[0] == '.' || thread_stopped(e->d_name));
		closedir(d);
		usleep(all ? 0 : 1000);
	}
}

/* ---- files and certificates -------------------------------------------------------------------------------------- */

static char *path_of(const char *name, char out[160])
{
	snprintf(out, 160, "%s/%s", folder, name);
	return out;
}

static void write_file(const char *name, const void *data, size_t len, mode_t mode)
{
	char path[160];
	int fd = open(path_of(name, path), O_WRONLY | O_CREAT | O_TRUNC, mode);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fchmod(fd, mode), 0);
	ck_assert_int_eq(write(fd, data, len), (ssize_t)len);
	close(fd);
}

static void add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ck_assert_ptr_nonnull(e);
	X509_add_ext(x, e, -1);
	X509_EXTENSION_free(e);
}

static X509 *make_certificate(const char *name, long serial, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, const char *san)
{
	X509 *x = X509_new();
	X509_NAME *n = X509_get_subject_name(x);

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), serial);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x));
	X509_set_pubkey(x, key);
	if (san)
		add_extension(x, issuer ? issuer : x, NID_subject_alt_name, san);
	else
		add_extension(x, issuer ? issuer : x, NID_basic_constraints, "critical,CA:TRUE");
	ck_assert_int_gt(X509_sign(x, issuer_key ? issuer_key : key, EVP_sha256()), 0);
	return x;
}

static void write_certificate(const char *name, X509 *x)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data;
	long len;

	PEM_write_bio_X509(bio, x);
	len = BIO_get_mem_data(bio, &data);
	write_file(name, data, (size_t)len, 0644);
	BIO_free(bio);
}

static void write_key(const char *name, EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data;
	long len;

	PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
	len = BIO_get_mem_data(bio, &data);
	write_file(name, data, (size_t)len, 0600);
	BIO_free(bio);
}

static void write_pki(void)
{
	EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256"), *other_key = EVP_EC_gen("P-256");
	X509 *ca = make_certificate("Test CA", 1, ca_key, NULL, NULL, NULL);
	X509 *other = make_certificate("Other CA", 1, other_key, NULL, NULL, NULL);
	X509 *server = make_certificate("slapd", 2, key, ca, ca_key, "IP:127.0.0.1");

	write_certificate("ca.pem", ca);
	write_certificate("other.pem", other);
	write_certificate("server.pem", server);
	write_key("server.key", key);
	X509_free(ca);
	X509_free(other);
	X509_free(server);
	EVP_PKEY_free(ca_key);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other_key);
}

/* A user's certificate, DER, freed with OPENSSL_free.  One key does for all: a thousand of them take longer than slapd leaves a connection idle. */
static unsigned char *user_der(const char *name, long serial, size_t *len)
{
	static EVP_PKEY *key;
	X509 *x = make_certificate(name, serial, key ? key : (key = EVP_EC_gen("P-256")), NULL, NULL, "email:user@example.org");
	unsigned char *der = NULL;
	int n = i2d_X509(x, &der);

	ck_assert_int_gt(n, 0);
	*len = (size_t)n;
	X509_free(x);
	return der;
}

/* ---- slapd ------------------------------------------------------------------------------------------------------- */

static const char schema[] =
	"include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\ninclude /etc/ldap/schema/inetorgperson.schema\n"
	"attributetype ( 1.3.6.1.4.1.99999.1.1 NAME 'proxyAddresses' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )\n"
	"attributetype ( 1.3.6.1.4.1.99999.1.2 NAME 'sendAs' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )\n"
	/* in the schema of no Debian package */
	"attributetype ( 2.5.4.97 NAME 'organizationIdentifier' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )\n"
	"attributetype ( 1.3.6.1.4.1.99999.1.4 NAME 'company' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )\n"
	"attributetype ( 1.3.6.1.4.1.99999.1.3 NAME 'memberOf' EQUALITY distinguishedNameMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.12 )\n"
	"objectclass ( 1.3.6.1.4.1.99999.2.1 NAME 'mailThing' SUP top AUXILIARY MAY ( proxyAddresses $ sendAs $ memberOf $ organizationIdentifier $ company $ c ) )\n";

#define PERSON(uid, more) "dn: uid=" uid "," PEOPLE "\nobjectClass: inetOrgPerson\nobjectClass: mailThing\nuid: " uid "\ncn: " uid " X\nsn: X\n" more "\n"

static const char data[] =
	"dn: " SUFFIX "\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n\n"
	"dn: " PEOPLE "\nobjectClass: organizationalUnit\nou: people\n\n"
	"dn: cn=enroll," SUFFIX "\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: enroll\nuserPassword: enroll-secret\n\n"
	"dn: cn=reader," SUFFIX "\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: reader\nuserPassword: reader-secret\n\n"
	"dn: cn=limited," SUFFIX "\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: limited\nuserPassword: limited-secret\n\n"
	PERSON("alice", "givenName: Alice\nmail: alice@example.org\nmail: Alice.Archer@Example.ORG\n")
	PERSON("bob", "mail: bob@example.org\nproxyAddresses: SMTP:bob.main@example.org\nproxyAddresses: smtp:bob.alias@example.org\n"
		"proxyAddresses: x500:bob.x500@example.org\nproxyAddresses: bob.bare@example.org\n")
	PERSON("dup1", "mail: both@example.org\nmail: dup1@example.org\n")
	PERSON("dup2", "mail: both@example.org\n")
	PERSON("cross1", "mail: cross@example.org\n")
	PERSON("cross2", "mail: cross2@example.org\nproxyAddresses: smtp:cross@example.org\n")
	PERSON("left", "mail: left@example.org\nemployeeType: left\n")
	PERSON("team", "mail: team@example.org\nmanager: UID=Alice, OU=People, DC=example\nsendAs: bob\n")
	PERSON("carol", "mail: carol@xn--bcher-kva.example\nmemberOf: cn=byentry," SUFFIX "\n")
	PERSON("quirky", "mail: (star*)@example.org\n")
	PERSON("names", "mail: names@example.org\nmail: N.Ames@EXAMPLE.org\ngivenName: Nora\no: Example AG\norganizationIdentifier: VATDE-123456789\n"
		"company: Example Company\nc: DE\nl: Berlin\nst: Berlin\nou: Sales\ntitle: Dr.\ndisplayName: Ames, Nora\n")
	PERSON("broken", "mail: broken@example.org\ngivenName:: Q29uCm5v\no:: Q29uCm5v\n") /* with a line feed */
	PERSON("room", "mail: room@example.org\nemployeeType: room\nsendAs: bob\n")
	PERSON("role", "mail: role@example.org\nemployeeType: role\n")
	PERSON("boss", "mail: boss@example.org\nsendAs: alice\n")
	PERSON("pub1", "mail: pub1@example.org\n")
	PERSON("pub2", "mail: pub2@example.org\n")
	PERSON("pub3", "mail: pub3@example.org\n")
	PERSON("pub4", "mail: pub4@example.org\n")
	"dn: ou=more," SUFFIX "\nobjectClass: organizationalUnit\nou: more\n\n"
	"dn: uid=twin,ou=more," SUFFIX "\nobjectClass: inetOrgPerson\nuid: twin\ncn: t\nsn: t\nmail: twin@example.org\n\n"
	PERSON("twin", "mail: twin2@example.org\n")
	"dn: cn=pilot," SUFFIX "\nobjectClass: groupOfNames\ncn: pilot\nmember: uid=alice," PEOPLE "\nmember: uid=dup1," PEOPLE "\n\n";

/* An entry for each nasty name: its DN, its login and its addresses are nasty too.  Every octet of the DN's value is written as \XX, which
 * RFC 4514 allows and which shares nothing with the code under test. */
static void put_nasty(struct buf *ldif, const struct nasty *n)
{
	const struct {
		const char *attribute, *value;
	} values[] = {{"uid", n->display}, {"cn", n->display}, {"displayName", n->display}, {"givenName", n->given}, {"sn", n->surname},
		{"o", n->organization}};

	buf_puts(ldif, "dn: cn=");
	for (const char *p = n->display; *p; p++)
		buf_printf(ldif, "\\%02x", (unsigned char)*p);
	buf_puts(ldif, "," PEOPLE "\nobjectClass: inetOrgPerson\nobjectClass: mailThing\nmemberOf: cn=byentry," SUFFIX "\n");
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		buf_printf(ldif, "%s:: ", values[i].attribute);
		base64_encode(ldif, values[i].value, strlen(values[i].value), 0, NULL);
		buf_puts(ldif, "\n");
	}
	buf_printf(ldif, "proxyAddresses: smtp:%s\n\n", n->address);
}

static void write_data(void)
{
	struct buf ldif = BUF_INIT;

	buf_puts(&ldif, data);
	for (int i = 0; i < nasty_names_n; i++)
		put_nasty(&ldif, &nasty_names[i]);
	buf_puts(&ldif, "dn: cn=nasty," SUFFIX "\nobjectClass: groupOfNames\ncn: nasty\n");
	for (int i = 0; i < nasty_names_n; i++) {
		buf_puts(&ldif, "member: cn=");
		for (const char *p = nasty_names[i].display; *p; p++)
			buf_printf(&ldif, "\\%02x", (unsigned char)*p);
		buf_puts(&ldif, "," PEOPLE "\n");
	}
	write_file("data.ldif", ldif.data, ldif.len, 0600);
	buf_clear(&ldif);
}

static int free_port(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	close(fd);
	return ntohs(sa.sin_port);
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

static bool answers(int p)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)p)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	bool ok = connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0;

	close(fd);
	return ok;
}

static void ldapi_url(char out[256])
{
	size_t n = (size_t)snprintf(out, 256, "ldapi://");

	for (const char *p = folder; *p; p++)
		n += (size_t)snprintf(out + n, 256 - n, *p == '/' ? "%%2F" : "%c", *p);
	snprintf(out + n, 256 - n, "%%2Fldapi");
}

static void write_conf(void)
{
	struct buf conf = BUF_INIT;

	buf_puts(&conf, schema);
	buf_printf(&conf, "modulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile %s/slapd.pid\nidletimeout 2\n"
		"TLSCACertificateFile %s/ca.pem\nTLSCertificateFile %s/server.pem\nTLSCertificateKeyFile %s/server.key\nTLSVerifyClient never\n"
		"authz-regexp gidNumber=%u\\\\+uidNumber=%u,cn=peercred,cn=external,cn=auth cn=admin," SUFFIX "\n"
		"database mdb\nsuffix " SUFFIX "\nrootdn cn=admin," SUFFIX "\nrootpw admin-secret\ndirectory %s/db\ndbnosync\nmaxsize 16777216\n"
		"index objectClass,uid,mail eq\nlimits dn.exact=cn=limited," SUFFIX " size=10\n"
		"access to attrs=userPassword by anonymous auth by * none\n"
		"access to attrs=userCertificate,userSMIMECertificate by dn.exact=cn=enroll," SUFFIX " write by users read\n"
		"access to * by users read by * auth\n", folder, folder, folder, folder, (unsigned)getegid(), (unsigned)geteuid(), folder);
	write_file("slapd.conf", conf.data, conf.len, 0600);
	buf_clear(&conf);
}

static void make_folder(void)
{
	char path[160];

	strcpy(folder, "/tmp/test-directory-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(mkdir(path_of("db", path), 0700), 0);
	write_file("password", "enroll-secret\n", strlen("enroll-secret\n"), 0600);
	write_file("reader", "reader-secret\n", strlen("reader-secret\n"), 0600);
	write_file("limited", "limited-secret\n", strlen("limited-secret\n"), 0600);
	write_file("wrong", "not-the-secret\n", strlen("not-the-secret\n"), 0600);
	write_file("empty", "\n", 1, 0600);
	write_pki();
}

static void remove_folder(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
}

static void start_slapd(void)
{
	char conf[160], ldif[160], urls[512], ldapi[256];
	char *add[] = {(char[]){SLAPADD}, (char[]){"-q"}, (char[]){"-f"}, conf, (char[]){"-l"}, ldif, NULL};
	char *serve[] = {(char[]){SLAPD}, (char[]){"-d"}, (char[]){"0"}, (char[]){"-f"}, conf, (char[]){"-h"}, urls, NULL};
	int status;

	make_folder();
	write_conf();
	write_data();
	path_of("slapd.conf", conf);
	path_of("data.ldif", ldif);
	ck_assert_int_gt(waitpid(start(add), &status, 0), 0);
	ck_assert_int_eq(status, 0);
	port = free_port();
	tls_port = free_port();
	ldapi_url(ldapi);
	snprintf(urls, sizeof(urls), "ldap://127.0.0.1:%d/ ldaps://127.0.0.1:%d/ %s", port, tls_port, ldapi);
	slapd = start(serve);
	for (int i = 0; i < 200 && !(answers(port) && answers(tls_port)); i++)
		usleep(50000);
	ck_assert(answers(tls_port));
}

static void stop_slapd(void)
{
	kill(slapd, SIGCONT);
	kill(slapd, SIGTERM);
	waitpid(slapd, NULL, 0);
	remove_folder();
}

/* ---- settings ---------------------------------------------------------------------------------------------------- */

static void set(char **to, const char *value)
{
	free(*to);
	*to = str_dup(value);
}

static void set_url(struct directory_settings *s, const char *scheme, const char *host, int p)
{
	char url[128];

	snprintf(url, sizeof(url), "%s://%s:%d", scheme, host, p);
	strlist_clear(&s->urls);
	ck_assert(strlist_add(&s->urls, url));
}

/* What most tests use: StartTLS with the right CA, the service account, nothing cached. */
static struct directory_settings usual(void)
{
	struct directory_settings s;
	char path[160];

	directory_settings_init(&s);
	set_url(&s, "ldap", "127.0.0.1", port);
	set(&s.ca_file, path_of("ca.pem", path));
	set(&s.bind_dn, "cn=enroll," SUFFIX);
	set(&s.password_file, path_of("password", path));
	set(&s.base, SUFFIX);
	s.cache_seconds = 0;
	s.deadline_ms = 30000; /* for a busy machine; tests of deadlines have their own */
	return s;
}

static struct directory *open_directory(struct directory_settings *s)
{
	struct err err = ERR_INIT;
	struct directory *d = directory_new(s, &err);

	ck_assert_msg(d != NULL, "%s", err.text);
	directory_settings_clear(s);
	return d;
}

static struct directory *open_usual(void)
{
	struct directory_settings s = usual();

	return open_directory(&s);
}

static enum directory_found find(struct directory *d, const char *address, struct directory_person *p)
{
	enum directory_found found;
	struct err err = ERR_INIT;

	ck_assert_msg(directory_find(d, address, p, &found, &err), "%s: %s: %s", address, err.op, err.text);
	return found;
}

/* ---- finding ----------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name, *address;
	enum directory_found found;
	const char *login;
} finds[] = {
	{"one entry", "alice@example.org", DIRECTORY_ONE, "alice"},
	{"in another case", "ALICE@EXAMPLE.org", DIRECTORY_ONE, "alice"},
	{"by a further address", "alice.archer@example.org", DIRECTORY_ONE, "alice"},
	{"nobody", "nobody@example.org", DIRECTORY_NONE, NULL},
	{"two entries with one address", "both@example.org", DIRECTORY_SEVERAL, NULL},
	{"an internationalized domain as U-labels", "carol@b\xc3\xbc" "cher.example", DIRECTORY_ONE, "carol"},
	{"an internationalized domain as A-labels", "carol@XN--bcher-kva.example", DIRECTORY_ONE, "carol"},
	{"a star finds nobody", "*@example.org", DIRECTORY_NONE, NULL},
	{"a star within a name finds nobody", "ali*@example.org", DIRECTORY_NONE, NULL},
};

START_TEST(find_by_address)
{
	struct directory *d = open_usual();
	struct directory_person p;
	enum directory_found found = find(d, finds[_i].address, &p);

	ck_assert_msg(found == finds[_i].found, "%s: found %d", finds[_i].name, (int)found);
	if (finds[_i].login)
		ck_assert_str_eq(p.login, finds[_i].login);
	else
		ck_assert_ptr_null(p.dn);
	directory_person_clear(&p);
	directory_free(d);
}
END_TEST

START_TEST(a_person_is_filled_from_the_entry)
{
	struct directory *d = open_usual();
	struct directory_person p;

	ck_assert_int_eq(find(d, "alice@example.org", &p), DIRECTORY_ONE);
	ck_assert_str_eq(p.dn, "uid=alice," PEOPLE);
	ck_assert_str_eq(p.given_name, "Alice");
	ck_assert_str_eq(p.surname, "X");
	ck_assert_str_eq(p.display_name, "alice X");
	ck_assert_uint_eq(p.addresses.n, 2);
	ck_assert(strlist_has(&p.addresses, "alice@example.org"));
	ck_assert(strlist_has(&p.addresses, "alice.archer@example.org"));
	ck_assert(!p.disabled);
	directory_person_clear(&p);
	directory_free(d);
}
END_TEST

START_TEST(names_come_from_the_attributes_that_are_configured)
{
	struct directory_settings s = usual();
	struct directory *d = open_directory(&s);
	struct directory_person p;

	ck_assert_int_eq(find(d, "names@example.org", &p), DIRECTORY_ONE);
	ck_assert_str_eq(p.display_name, "Ames, Nora");
	ck_assert_str_eq(p.organization, "Example AG");
	ck_assert_str_eq(p.organization_identifier, "VATDE-123456789");
	/* what nobody asked for is not read */
	ck_assert(!p.country && !p.organizational_unit && !p.title && !p.locality && !p.state);
	directory_person_clear(&p);
	directory_free(d);
	s = usual();
	set(&s.organization_attribute, "company");
	set(&s.given_name_attribute, "noSuchAttribute");
	set(&s.display_name_attribute, "noSuchAttribute");
	set(&s.country_attribute, "c");
	set(&s.organizational_unit_attribute, "ou");
	set(&s.title_attribute, "title");
	set(&s.locality_attribute, "l");
	set(&s.state_attribute, "st");
	d = open_directory(&s);
	ck_assert_int_eq(find(d, "names@example.org", &p), DIRECTORY_ONE);
	ck_assert_str_eq(p.organization, "Example Company");
	ck_assert_ptr_null(p.given_name);
	ck_assert_str_eq(p.display_name, "names X"); /* cn */
	ck_assert_str_eq(p.country, "DE");
	ck_assert_str_eq(p.organizational_unit, "Sales");
	ck_assert_str_eq(p.title, "Dr.");
	ck_assert_str_eq(p.locality, "Berlin");
	ck_assert_str_eq(p.state, "Berlin");
	directory_person_clear(&p);
	directory_free(d);
}
END_TEST

START_TEST(a_value_that_is_no_single_line_is_none)
{
	struct directory *d = open_usual();
	struct directory_person p;

	ck_assert_int_eq(find(d, "broken@example.org", &p), DIRECTORY_ONE);
	ck_assert_ptr_null(p.given_name);
	ck_assert_ptr_null(p.organization);
	directory_person_clear(&p);
	directory_free(d);
}
END_TEST

START_TEST(addresses_keep_their_spelling)
{
	struct directory *d = open_usual();
	struct directory_person p;

	ck_assert_int_eq(find(d, "n.ames@example.org", &p), DIRECTORY_ONE);
	ck_assert_uint_eq(p.addresses.n, 2);
	ck_assert_uint_eq(p.spellings.n, 2);
	ck_assert(strlist_has(&p.addresses, "n.ames@example.org"));
	ck_assert_str_eq(directory_person_spelling(&p, "N.AMES@example.ORG"), "N.Ames@example.org");
	ck_assert_str_eq(directory_person_spelling(&p, "names@example.org"), "names@example.org");
	ck_assert_ptr_null(directory_person_spelling(&p, "alice@example.org"));
	ck_assert_ptr_null(directory_person_spelling(&p, "no address"));
	directory_person_clear(&p);
	directory_free(d);
}
END_TEST

static const struct {
	const char *name, *address, *shared_attribute, *shared_filter, *resource_filter;
	enum directory_kind kind;
} kinds[] = {
	{"a person", "alice@example.org", "sendAs", NULL, "(employeeType=room)", DIRECTORY_PERSON},
	{"others may send as it", "team@example.org", "sendAs", NULL, NULL, DIRECTORY_SHARED},
	{"no attribute is configured", "team@example.org", NULL, NULL, NULL, DIRECTORY_PERSON},
	{"a filter says so", "role@example.org", NULL, "(employeeType=role)", NULL, DIRECTORY_SHARED},
	{"a filter decides alone: the boss has a deputy", "boss@example.org", "sendAs", "(employeeType=role)", NULL, DIRECTORY_PERSON},
	{"without the filter, the boss is taken for a role", "boss@example.org", "sendAs", NULL, NULL, DIRECTORY_SHARED},
	{"a room", "room@example.org", NULL, NULL, "(employeeType=room)", DIRECTORY_RESOURCE},
	{"a room that others may send as", "room@example.org", "sendAs", "(sendAs=*)", "(employeeType=room)", DIRECTORY_RESOURCE},
	{"a filter for an attribute that the schema does not know", "alice@example.org", NULL, "(msExchRecipientTypeDetails=4)",
		"(msExchRecipientTypeDetails=16)", DIRECTORY_PERSON},
};

START_TEST(kinds_of_mailboxes)
{
	struct directory_settings s = usual();
	struct directory *d;
	struct directory_person p;

	if (kinds[_i].shared_attribute)
		ck_assert(strlist_add(&s.shared_attributes, kinds[_i].shared_attribute));
	set(&s.shared_filter, kinds[_i].shared_filter);
	set(&s.resource_filter, kinds[_i].resource_filter);
	d = open_directory(&s);
	ck_assert_int_eq(find(d, kinds[_i].address, &p), DIRECTORY_ONE);
	ck_assert_msg(p.kind == kinds[_i].kind, "%s: %d", kinds[_i].name, (int)p.kind);
	directory_person_clear(&p);
	directory_free(d);
}
END_TEST

START_TEST(a_bad_address_is_a_policy_error)
{
	struct directory *d = open_usual();
	struct directory_person p;
	enum directory_found found;
	struct err err = ERR_INIT;

	ck_assert(!directory_find(d, "alice", &p, &found, &err));
	ck_assert_int_eq(err.class, ERR_POLICY);
	directory_free(d);
}
END_TEST

/* ---- owning ------------------------------------------------------------------------------------------------------ */

static const struct {
	const char *name, *login, *address;
	bool owned;
	const char *why;
} owns[] = {
	{"her own address", "alice", "alice@example.org", true, "owned"},
	{"her other address in another case", "alice", "ALICE.archer@example.ORG", true, "owned"},
	{"the login in another case", "Alice", "alice@example.org", true, "owned"},
	{"somebody else's address", "bob", "alice@example.org", false, "address is not listed for this login"},
	{"an address of nobody", "alice", "nobody@example.org", false, "address is not listed for this login"},
	{"a login of nobody", "mallory", "alice@example.org", false, "unknown login"},
	{"a login of two entries", "twin", "twin@example.org", false, "login is ambiguous"},
	{"an address of two entries", "dup1", "both@example.org", false, "address is listed by several entries"},
	{"an address of two entries asked by a stranger", "alice", "both@example.org", false, "address is listed by several entries"},
	{"the other address of such an entry", "dup1", "dup1@example.org", true, "owned"},
	{"an address two entries list in different attributes", "cross1", "cross@example.org", false, "address is listed by several entries"},
	{"a disabled entry", "left", "left@example.org", false, "disabled"},
	{"a shared mailbox by DN, written in another way", "alice", "team@example.org", true, "owned"},
	{"a shared mailbox by login", "bob", "team@example.org", true, "owned"},
	{"a shared mailbox of others", "dup1", "team@example.org", false, "address is not listed for this login"},
	{"the main proxy address", "bob", "bob.main@example.org", true, "owned"},
	{"a further proxy address", "bob", "bob.alias@example.org", true, "owned"},
	{"a proxy address of another kind", "bob", "bob.x500@example.org", false, "address is not listed for this login"},
	{"a proxy address without its kind", "bob", "bob.bare@example.org", false, "address is not listed for this login"},
	{"a login that is a filter", "*)(uid=*", "alice@example.org", false, "unknown login"},
	{"a login that closes the filter", "alice)(|(objectClass=*", "alice@example.org", false, "unknown login"},
	{"a star as login", "*", "alice@example.org", false, "unknown login"},
	{"a blank behind the login, which the directory would ignore", "alice ", "alice@example.org", false, "unknown login"},
	{"a blank before the login", " alice", "alice@example.org", false, "unknown login"},
	{"a line break in the login", "alice\n", "alice@example.org", false, "unknown login"},
	{"a login that is no UTF-8", "al\xff", "alice@example.org", false, "unknown login"},
	{"no login", "", "alice@example.org", false, "unknown login"},
	{"a star as address", "alice", "*@example.org", false, "address is not listed for this login"},
	{"a subdomain", "alice", "alice@sub.example.org", false, "address is not listed for this login"},
};

static struct directory_settings with_everything(void)
{
	struct directory_settings s = usual();

	ck_assert(strlist_add(&s.address_attributes, "proxyAddresses"));
	set(&s.address_filter, "(|(mail=%s)(proxyAddresses=smtp:%s)(proxyAddresses=%s))");
	ck_assert(strlist_add(&s.shared_attributes, "manager") && strlist_add(&s.shared_attributes, "sendAs"));
	set(&s.disabled_filter, "(employeeType=left)");
	return s;
}

START_TEST(login_owns_address)
{
	struct directory_settings s = with_everything();
	struct directory *d = open_directory(&s);
	struct err err = ERR_INIT;
	const char *why = NULL;
	bool owned = !owns[_i].owned;

	ck_assert_msg(directory_owns(d, owns[_i].login, owns[_i].address, &owned, &why, &err), "%s: %s", owns[_i].name, err.text);
	ck_assert_msg(owned == owns[_i].owned && strcmp(why, owns[_i].why) == 0, "%s: %s", owns[_i].name, why);
	directory_free(d);
}
END_TEST

/* Found by address and by login, by DN in a group, written to, and asked a certificate for. */
START_TEST(nasty_names_go_through_everything)
{
	const struct nasty *n = &nasty_names[_i];
	struct directory_settings s = with_everything();
	struct directory *d = open_directory(&s);
	struct directory_person p;
	struct err err = ERR_INIT;
	const char *why;
	char *dn = NULL;
	bool yes = false;
	size_t len;
	unsigned char *der = user_der("nasty", 77, &len);

	ck_assert_msg(find(d, n->address, &p) == DIRECTORY_ONE, "%s: not found", n->what);
	ck_assert_msg(strcmp(p.given_name, n->given) == 0 && strcmp(p.surname, n->surname) == 0, "%s", n->what);
	ck_assert_msg(strcmp(p.display_name, n->display) == 0 && strcmp(p.organization, n->organization) == 0, "%s", n->what);
	ck_assert_str_eq(p.login, n->display);
	ck_assert_str_eq(directory_person_spelling(&p, n->address), n->canonical);
	ck_assert_msg(directory_owns(d, n->display, n->address, &yes, &why, &err) && yes, "%s: %s %s", n->what, why, err.text);
	ck_assert_msg(directory_in_group(d, n->address, "cn=nasty," SUFFIX, &yes, &err) && yes, "%s: %s", n->what, err.text);
	ck_assert_msg(directory_publish(d, n->address, der, len, &dn, &err), "%s: %s", n->what, err.text);
	ck_assert_str_eq(dn, p.dn);
	ck_assert_msg(directory_unpublish(d, dn, der, len, &err), "%s: %s", n->what, err.text);
	nasty_check(n, &p);
	free(dn);
	OPENSSL_free(der);
	directory_person_clear(&p);
	directory_free(d);
}
END_TEST

static const struct {
	const char *address, *group;
	bool member;
} members[] = {
	{"alice@example.org", "cn=pilot," SUFFIX, true},
	{"bob@example.org", "cn=pilot," SUFFIX, false},
	{"nobody@example.org", "cn=pilot," SUFFIX, false},
	{"both@example.org", "cn=pilot," SUFFIX, false},
	{"carol@xn--bcher-kva.example", "cn=byentry," SUFFIX, true},
};

START_TEST(group_membership)
{
	struct directory *d = open_usual();
	struct err err = ERR_INIT;
	bool member;

	ck_assert_msg(directory_in_group(d, members[_i].address, members[_i].group, &member, &err), "%s", err.text);
	ck_assert_msg(member == members[_i].member, "%s", members[_i].address);
	directory_free(d);
}
END_TEST

START_TEST(a_group_that_is_not_there_is_a_configuration_error)
{
	struct directory *d = open_usual();
	struct err err = ERR_INIT;
	bool member;

	ck_assert(!directory_in_group(d, "alice@example.org", "cn=nogroup," SUFFIX, &member, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	directory_free(d);
}
END_TEST

static const struct {
	const char *address, *filter;
	bool matches;
} filters[] = {
	{"alice@example.org", "(uid=alice)", true},
	{"ALICE@Example.org", "(uid=alice)", true},
	{"alice@example.org", "(uid=bob)", false},
	{"bob@example.org", "(uid=alice)", false},
	{"alice@example.org", "(&(objectClass=inetOrgPerson)(!(uid=bob)))", true},
	{"alice@example.org", "(|(uid=bob)(uid=al*))", true},
	{"alice@example.org", "(noSuchAttribute=x)", false},
	{"alice@example.org", "(objectClass=*)", true},
	{"nobody@example.org", "(objectClass=*)", false},
	{"both@example.org", "(objectClass=*)", false}, /* of two entries: of neither */
	{"carol@xn--bcher-kva.example", "(objectClass=*)", true},
};

START_TEST(the_entry_of_an_address_matches_a_filter)
{
	struct directory *d = open_usual();
	struct err err = ERR_INIT;
	bool yes = !filters[_i].matches;

	ck_assert_msg(directory_matches(d, filters[_i].address, filters[_i].filter, &yes, &err), "%s", err.text);
	ck_assert_msg(yes == filters[_i].matches, "%s %s", filters[_i].address, filters[_i].filter);
	directory_free(d);
}
END_TEST

/* A rule that takes people out must not be passed by because a server was down; and a group of that name is another question. */
START_TEST(a_filter_that_cannot_be_asked_is_an_error_and_a_known_answer_is_kept)
{
	struct directory_settings s = usual();
	struct directory *d;
	struct err err = ERR_INIT;
	bool yes = false;

	s.deadline_ms = 6000; /* it is waited for to its end */
	s.cache_seconds = 60;
	s.stale_seconds = 0;
	d = open_directory(&s);
	ck_assert(directory_matches(d, "alice@example.org", "(uid=alice)", &yes, &err) && yes);
	ck_assert(!directory_in_group(d, "alice@example.org", "(uid=alice)", &yes, &err));
	err_clear(&err);
	freeze_slapd();
	ck_assert(directory_matches(d, "Alice@example.org", "(uid=alice)", &yes, &err) && yes);
	ck_assert(!directory_matches(d, "alice@example.org", "(uid=al*)", &yes, &err));
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	ck_assert(!yes);
	kill(slapd, SIGCONT);
	ck_assert(!directory_matches(d, "alice", "(uid=alice)", &yes, &err));
	directory_free(d);
}
END_TEST

/* ---- publishing -------------------------------------------------------------------------------------------------- */

/* Values of an attribute as the administrator sees them. */
static struct berval **values_of(const char *dn, const char *attribute)
{
	char ldapi[256], *attributes[] = {(char *)(uintptr_t)attribute, NULL};
	struct berval cred = {.bv_val = (char[]){"admin-secret"}, .bv_len = strlen("admin-secret")}, **values;
	LDAPMessage *result = NULL;
	int version = LDAP_VERSION3;
	LDAP *ld;

	ldapi_url(ldapi);
	ck_assert_int_eq(ldap_initialize(&ld, ldapi), LDAP_SUCCESS);
	ldap_set_option(ld, LDAP_OPT_PROTOCOL_VERSION, &version);
	ck_assert_int_eq(ldap_sasl_bind_s(ld, "cn=admin," SUFFIX, LDAP_SASL_SIMPLE, &cred, NULL, NULL, NULL), LDAP_SUCCESS);
	ck_assert_int_eq(ldap_search_ext_s(ld, dn, LDAP_SCOPE_BASE, "(objectClass=*)", attributes, 0, NULL, NULL, NULL, 0, &result), LDAP_SUCCESS);
	values = ldap_get_values_len(ld, ldap_first_entry(ld, result), attribute);
	ldap_msgfree(result);
	ldap_unbind_ext(ld, NULL, NULL);
	return values;
}

static int count_values(const char *dn, const char *attribute)
{
	struct berval **values = values_of(dn, attribute);
	int n = ldap_count_values_len(values);

	ldap_value_free_len(values);
	return n;
}

static bool has_value(const char *dn, const char *attribute, const void *value, size_t len)
{
	struct berval **values = values_of(dn, attribute);
	bool found = false;

	for (size_t i = 0; values && values[i]; i++)
		found = found || (values[i]->bv_len == len && memcmp(values[i]->bv_val, value, len) == 0);
	ldap_value_free_len(values);
	return found;
}

static void publish(struct directory *d, const char *address, const void *der, size_t len, const char *expected_dn)
{
	struct err err = ERR_INIT;
	char *dn = NULL;

	ck_assert_msg(directory_publish(d, address, der, len, &dn, &err), "%s: %s", err.op, err.text);
	ck_assert_str_eq(dn, expected_dn);
	free(dn);
}

START_TEST(publishing_adds_once_and_keeps_foreign_values)
{
	static const char dn[] = "uid=pub1," PEOPLE, attribute[] = "userCertificate;binary";
	struct directory *d = open_usual();
	struct err err = ERR_INIT;
	size_t foreign_len, own_len;
	unsigned char *foreign = user_der("foreign", 7, &foreign_len), *own = user_der("own", 8, &own_len);

	publish(d, "pub1@example.org", foreign, foreign_len, dn);
	publish(d, "PUB1@example.org", own, own_len, dn);
	publish(d, "pub1@example.org", own, own_len, dn);
	ck_assert_int_eq(count_values(dn, attribute), 2);
	ck_assert(has_value(dn, attribute, foreign, foreign_len));
	ck_assert(has_value(dn, attribute, own, own_len));
	ck_assert_msg(directory_unpublish(d, dn, own, own_len, &err), "%s", err.text);
	ck_assert_msg(directory_unpublish(d, dn, own, own_len, &err), "twice: %s", err.text);
	ck_assert_int_eq(count_values(dn, attribute), 1);
	ck_assert(has_value(dn, attribute, foreign, foreign_len));
	ck_assert_msg(directory_unpublish(d, "uid=gone," PEOPLE, own, own_len, &err), "an entry that is gone: %s", err.text);
	OPENSSL_free(foreign);
	OPENSSL_free(own);
	directory_free(d);
}
END_TEST

/* Servers compare certificates by issuer and serial number: what differs in content must not be taken for ours. */
START_TEST(a_foreign_value_with_our_serial_number_is_not_removed)
{
	static const char dn[] = "uid=pub2," PEOPLE, attribute[] = "userCertificate;binary";
	struct directory *d = open_usual();
	struct err err = ERR_INIT;
	size_t foreign_len, own_len;
	unsigned char *foreign = user_der("same", 9, &foreign_len), *own = user_der("same", 9, &own_len);

	publish(d, "pub2@example.org", foreign, foreign_len, dn);
	ck_assert(directory_unpublish(d, dn, own, own_len, &err));
	ck_assert(has_value(dn, attribute, foreign, foreign_len));
	OPENSSL_free(foreign);
	OPENSSL_free(own);
	directory_free(d);
}
END_TEST

START_TEST(the_smime_attribute_holds_the_certificate_as_cms)
{
	static const char dn[] = "uid=pub3," PEOPLE;
	struct directory_settings s = usual();
	struct directory *d;
	struct err err = ERR_INIT;
	struct berval **values;
	const unsigned char *p;
	size_t len, foreign_len;
	unsigned char *der = user_der("own", 10, &len), *foreign = user_der("foreign", 12, &foreign_len);
	PKCS7 *p7;

	set(&s.smime_attribute, "userSMIMECertificate");
	d = open_directory(&s);
	publish(d, "pub3@example.org", foreign, foreign_len, dn);
	publish(d, "pub3@example.org", der, len, dn);
	publish(d, "pub3@example.org", der, len, dn);
	ck_assert_int_eq(count_values(dn, "userSMIMECertificate"), 2);
	ck_assert(directory_unpublish(d, dn, foreign, foreign_len, &err));
	values = values_of(dn, "userSMIMECertificate");
	ck_assert_int_eq(ldap_count_values_len(values), 1);
	p = (const unsigned char *)values[0]->bv_val;
	p7 = d2i_PKCS7(NULL, &p, (long)values[0]->bv_len);
	ck_assert_ptr_nonnull(p7);
	ck_assert_int_eq(sk_X509_num(p7->d.sign->cert), 1);
	PKCS7_free(p7);
	ldap_value_free_len(values);
	ck_assert(directory_unpublish(d, dn, der, len, &err));
	ck_assert_int_eq(count_values(dn, "userSMIMECertificate"), 0);
	ck_assert_int_eq(count_values(dn, "userCertificate;binary"), 0);
	OPENSSL_free(der);
	OPENSSL_free(foreign);
	directory_free(d);
}
END_TEST

static const struct {
	const char *name, *address, *attribute, *who, *password;
	enum err_class class;
	const char *text;
} refusals[] = {
	{"nobody has the address", "nobody@example.org", NULL, NULL, NULL, ERR_POLICY, "no entry"},
	{"two have the address", "both@example.org", NULL, NULL, NULL, ERR_POLICY, "several entries"},
	{"no right to write", "pub4@example.org", NULL, "cn=reader," SUFFIX, "reader", ERR_CONFIG, "Insufficient access"},
	{"the server wants ;binary", "pub4@example.org", "userCertificate", NULL, NULL, ERR_CONFIG, "userCertificate"},
	{"the schema knows no such attribute", "pub4@example.org", "noSuchThing", NULL, NULL, ERR_CONFIG, "noSuchThing"},
};

START_TEST(a_refused_publication_says_why)
{
	struct directory_settings s = usual();
	struct directory *d;
	struct directory_person p;
	struct err err = ERR_INIT;
	char path[160], *dn = NULL;
	size_t len;
	unsigned char *der = user_der("own", 11, &len);

	if (refusals[_i].attribute)
		set(&s.certificate_attribute, refusals[_i].attribute);
	if (refusals[_i].who)
		set(&s.bind_dn, refusals[_i].who);
	if (refusals[_i].password)
		set(&s.password_file, path_of(refusals[_i].password, path));
	d = open_directory(&s);
	ck_assert(!directory_publish(d, refusals[_i].address, der, len, &dn, &err));
	ck_assert_ptr_null(dn);
	ck_assert_msg(err.class == refusals[_i].class && strstr(err.text, refusals[_i].text), "%s: %s: %s", refusals[_i].name,
		err_class_name(err.class), err.text);
	/* such a refusal does not make the directory count as down */
	ck_assert_int_eq(find(d, "alice@example.org", &p), DIRECTORY_ONE);
	directory_person_clear(&p);
	OPENSSL_free(der);
	directory_free(d);
}
END_TEST

/* ---- everybody who has a certificate ------------------------------------------------------------------------------ */

#define WALK "ou=walk," SUFFIX

static LDAP *administrator(void)
{
	struct berval cred = {.bv_val = (char[]){"admin-secret"}, .bv_len = strlen("admin-secret")};
	int version = LDAP_VERSION3;
	char ldapi[256];
	LDAP *ld;

	ldapi_url(ldapi);
	ck_assert_int_eq(ldap_initialize(&ld, ldapi), LDAP_SUCCESS);
	ldap_set_option(ld, LDAP_OPT_PROTOCOL_VERSION, &version);
	ck_assert_int_eq(ldap_sasl_bind_s(ld, "cn=admin," SUFFIX, LDAP_SASL_SIMPLE, &cred, NULL, NULL, NULL), LDAP_SUCCESS);
	return ld;
}

/* Walked over are entries of a place of its own, which is made anew for each test: uid 0, 1 ... with address and one certificate each. */
/* On a connection of its own: slapd closes one that was idle while values were made. */
static void add_walked(int uid, const char *attribute, struct berval **values)
{
	LDAP *ld = administrator();
	char name[16], mail[64], dn[128];
	char *classes[] = {(char[]){"inetOrgPerson"}, NULL}, *names[] = {name, NULL}, *mails[] = {mail, NULL};
	LDAPMod class = {.mod_type = (char[]){"objectClass"}, .mod_values = classes}, u = {.mod_type = (char[]){"uid"}, .mod_values = names};
	LDAPMod cn = {.mod_type = (char[]){"cn"}, .mod_values = names}, sn = {.mod_type = (char[]){"sn"}, .mod_values = names};
	LDAPMod m = {.mod_type = (char[]){"mail"}, .mod_values = mails};
	LDAPMod v = {.mod_op = LDAP_MOD_BVALUES, .mod_type = (char *)(uintptr_t)attribute, .mod_bvalues = values};
	LDAPMod *mods[] = {&class, &u, &cn, &sn, &m, values ? &v : NULL, NULL};

	snprintf(name, sizeof(name), "%d", uid);
	snprintf(mail, sizeof(mail), "Walk.%d@Example.ORG", uid);
	snprintf(dn, sizeof(dn), "uid=%d," WALK, uid);
	ck_assert_int_eq(ldap_add_ext_s(ld, dn, mods, NULL, NULL), LDAP_SUCCESS);
	ldap_unbind_ext(ld, NULL, NULL);
}

static void add_certificates(int uid, int n)
{
	struct berval **values = calloc((size_t)n + 1, sizeof(*values)), *all = calloc((size_t)n, sizeof(*all));

	for (int i = 0; i < n; i++) {
		size_t len;

		all[i].bv_val = (char *)user_der("walk", 1000 + i, &len);
		all[i].bv_len = len;
		values[i] = &all[i];
	}
	add_walked(uid, "userCertificate;binary", values);
	for (int i = 0; i < n; i++)
		OPENSSL_free(all[i].bv_val);
	free(values);
	free(all);
}

static void empty_walk(void)
{
	char *classes[] = {(char[]){"organizationalUnit"}, NULL}, *names[] = {(char[]){"walk"}, NULL};
	LDAPMod class = {.mod_type = (char[]){"objectClass"}, .mod_values = classes}, ou = {.mod_type = (char[]){"ou"}, .mod_values = names};
	LDAPMod *mods[] = {&class, &ou, NULL};
	LDAP *ld = administrator();
	LDAPMessage *result = NULL;

	if (ldap_search_ext_s(ld, WALK, LDAP_SCOPE_ONELEVEL, "(objectClass=*)", NULL, 0, NULL, NULL, NULL, 0, &result) == LDAP_SUCCESS)
		for (LDAPMessage *e = ldap_first_entry(ld, result); e; e = ldap_next_entry(ld, e)) {
			char *dn = ldap_get_dn(ld, e);

			ldap_delete_ext_s(ld, dn, NULL, NULL);
			ldap_memfree(dn);
		}
	ldap_msgfree(result);
	ldap_delete_ext_s(ld, WALK, NULL, NULL);
	ck_assert_int_eq(ldap_add_ext_s(ld, WALK, mods, NULL, NULL), LDAP_SUCCESS);
	ldap_unbind_ext(ld, NULL, NULL);
}

static struct directory *open_walk(const char *account, const char *smime)
{
	struct directory_settings s = usual();
	char dn[128], path[160];

	set(&s.base, WALK);
	if (account) {
		snprintf(dn, sizeof(dn), "cn=%s," SUFFIX, account);
		set(&s.bind_dn, dn);
		set(&s.password_file, path_of(account, path));
	}
	set(&s.smime_attribute, smime);
	return open_directory(&s);
}

/* What a walk saw. */
struct walked {
	int entries[100];   /* how often this uid came */
	size_t n, values, smime, left_out;
	bool stop;
};

static bool see(void *arg, const struct directory_scanned *e, struct err *err)
{
	struct walked *w = arg;
	char mail[64];
	int uid = -1;

	ck_assert_int_eq(sscanf(e->dn, "uid=%d,", &uid), 1);
	ck_assert(uid >= 0 && uid < 100);
	w->entries[uid]++;
	w->n++;
	snprintf(mail, sizeof(mail), "walk.%d@example.org", uid);
	ck_assert_uint_eq(e->addresses->n, 1);
	ck_assert_str_eq(e->addresses->v[0], mail);
	snprintf(mail, sizeof(mail), "Walk.%d@example.org", uid);
	ck_assert_str_eq(e->spellings->v[0], mail);
	ck_assert(!e->more);
	for (size_t i = 0; i < e->n; i++) {
		ck_assert_uint_gt(e->values[i].len, 0);
		w->smime += e->values[i].smime;
	}
	w->values += e->n;
	w->left_out += e->left_out;
	return !w->stop || err_set(err, ERR_POLICY, "see", e->dn, "seen enough");
}

/* Pages until the end; how many. */
static unsigned walk(struct directory *d, unsigned page, struct walked *w, char cut[700])
{
	struct err err = ERR_INIT;
	struct directory_scan *s = directory_scan_new(d, page, &err);
	unsigned pages = 0;
	bool more = true;

	ck_assert_msg(s != NULL, "%s", err.text);
	memset(w, 0, sizeof(*w));
	while (more) {
		ck_assert_msg(directory_scan_page(s, see, w, &more, &err), "%s: %s", err.op, err.text);
		pages++;
	}
	snprintf(cut, 700, "%s", directory_scan_cut(s) ? directory_scan_cut(s) : "");
	directory_scan_free(s);
	return pages;
}

START_TEST(a_walk_sees_everybody_who_has_a_certificate_once)
{
	struct directory *d = open_walk(NULL, NULL);
	struct walked w;
	char cut[700];

	empty_walk();
	for (int i = 0; i < 25; i++)
		add_certificates(i, 1);
	add_walked(30, NULL, NULL);
	ck_assert_uint_ge(walk(d, 4, &w, cut), 7);
	ck_assert_str_eq(cut, "");
	ck_assert_uint_eq(w.n, 25);
	ck_assert_uint_eq(w.values, 25);
	for (int i = 0; i < 25; i++)
		ck_assert_int_eq(w.entries[i], 1);
	ck_assert_uint_eq(walk(d, 1000, &w, cut), 1);
	ck_assert_uint_eq(w.n, 25);
	directory_free(d);
}
END_TEST

START_TEST(a_walk_shows_values_that_are_no_certificates_and_bounds_their_number)
{
	static char garbage[] = "no CMS at all", none[] = "\x30\x00", large[300000];
	struct berval g = {.bv_val = garbage, .bv_len = sizeof(garbage)}, n = {.bv_val = none, .bv_len = 2};
	struct berval l = {.bv_val = large, .bv_len = sizeof(large)}, *values[] = {&g, &n, &l, NULL};
	struct directory *d = open_walk(NULL, "userSMIMECertificate"), *without = open_walk(NULL, NULL);
	struct walked w;
	char cut[700];

	empty_walk();
	add_walked(1, "userSMIMECertificate", values);
	add_certificates(2, 1050);
	walk(d, 10, &w, cut);
	ck_assert_uint_eq(w.n, 2);
	ck_assert_uint_eq(w.smime, 2);
	ck_assert_uint_eq(w.values, 1002);
	ck_assert_uint_eq(w.left_out, 51);
	walk(without, 10, &w, cut);
	ck_assert_uint_eq(w.n, 1);
	ck_assert_int_eq(w.entries[2], 1);
	ck_assert_uint_eq(w.smime, 0);
	directory_free(d);
	directory_free(without);
}
END_TEST

START_TEST(a_walk_cut_short_by_a_size_limit_says_so)
{
	struct directory *d = open_walk("limited", NULL);
	struct walked w;
	char cut[700];

	empty_walk();
	for (int i = 0; i < 25; i++)
		add_certificates(i, 1);
	walk(d, 4, &w, cut);
	ck_assert_uint_le(w.n, 10);
	ck_assert_uint_ge(w.n, 8);
	ck_assert_msg(strstr(cut, "size.prtotal") != NULL, "%s", cut);
	directory_free(d);
}
END_TEST

START_TEST(a_walk_that_fails_is_over)
{
	struct directory *d = open_walk(NULL, NULL);
	struct directory_scan *s;
	struct walked w = {.stop = true};
	struct err err = ERR_INIT;
	bool more;

	empty_walk();
	for (int i = 0; i < 3; i++)
		add_certificates(i, 1);
	/* by the caller's word */
	s = directory_scan_new(d, 2, &err);
	ck_assert(!directory_scan_page(s, see, &w, &more, &err));
	ck_assert_str_eq(err.text, "seen enough");
	ck_assert_uint_eq(w.n, 1);
	ck_assert(!directory_scan_page(s, see, &w, &more, &err) && err.class == ERR_BUG);
	directory_scan_free(s);
	/* by a connection that the server closed in between (idletimeout) */
	w.stop = false;
	s = directory_scan_new(d, 2, &err);
	ck_assert_msg(directory_scan_page(s, see, &w, &more, &err) && more, "%s", err.text);
	sleep(5);
	ck_assert(!directory_scan_page(s, see, &w, &more, &err));
	ck_assert_msg(err.class == ERR_TEMPORARY, "%s: %s", err_class_name(err.class), err.text);
	directory_scan_free(s);
	directory_free(d);
	/* before it began */
	d = open_walk("wrong", NULL);
	ck_assert_ptr_null(directory_scan_new(d, 2, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	directory_free(d);
}
END_TEST

/* ---- security of the connection ---------------------------------------------------------------------------------- */

static void ways_ldaps(struct directory_settings *s) { set_url(s, "ldaps", "127.0.0.1", tls_port); }
static void ways_starttls(struct directory_settings *s) { set_url(s, "ldap", "127.0.0.1", port); }
static void ways_second_url(struct directory_settings *s)
{
	char url[64];

	snprintf(url, sizeof(url), "ldap://127.0.0.1:%d", port);
	set_url(s, "ldap", "127.0.0.1", free_port());
	ck_assert(strlist_add(&s->urls, url));
}
static void ways_external(struct directory_settings *s)
{
	char url[256];

	ldapi_url(url);
	strlist_clear(&s->urls);
	ck_assert(strlist_add(&s->urls, url));
	set(&s->bind, "external");
	set(&s->bind_dn, NULL);
	set(&s->password_file, NULL);
}
static void ways_cleartext(struct directory_settings *s)
{
	s->starttls = false;
	s->allow_cleartext = true;
}

static const struct {
	const char *name;
	void (*change)(struct directory_settings *s);
} ways[] = {
	{"StartTLS", ways_starttls}, {"ldaps", ways_ldaps}, {"SASL EXTERNAL over ldapi", ways_external}, {"the second server when the first is down", ways_second_url},
	{"in the clear when that is allowed", ways_cleartext},
};

START_TEST(ways_to_connect)
{
	struct directory_settings s = usual();
	struct directory *d;
	struct directory_person p;
	struct buf report = BUF_INIT;
	struct err err = ERR_INIT;

	ways[_i].change(&s);
	d = open_directory(&s);
	ck_assert_msg(find(d, "alice@example.org", &p) == DIRECTORY_ONE, "%s", ways[_i].name);
	directory_person_clear(&p);
	ck_assert_msg(directory_check(d, &report, &err), "%s: %s", ways[_i].name, buf_str(&report));
	ck_assert(strstr(buf_str(&report), "ok: " SUFFIX ": readable") != NULL);
	buf_clear(&report);
	directory_free(d);
}
END_TEST

static void refused_wrong_ca(struct directory_settings *s)
{
	char path[160];

	set(&s->ca_file, path_of("other.pem", path));
}
static void refused_wrong_ca_ldaps(struct directory_settings *s)
{
	refused_wrong_ca(s);
	ways_ldaps(s);
}
static void refused_system_ca(struct directory_settings *s) { set(&s->ca_file, NULL); }
static void refused_name(struct directory_settings *s) { set_url(s, "ldap", "localhost", port); }
static void refused_clear(struct directory_settings *s) { s->starttls = false; }
static void refused_no_ca_file(struct directory_settings *s) { set(&s->ca_file, "/nonexistent/ca.pem"); }
static void refused_password(struct directory_settings *s)
{
	char path[160];

	set(&s->password_file, path_of("wrong", path));
}
static void refused_base(struct directory_settings *s) { set(&s->base, "dc=elsewhere"); }

static const struct {
	const char *name;
	void (*change)(struct directory_settings *s);
	const char *text;
} refused[] = {
	{"StartTLS with a certificate of another CA", refused_wrong_ca, "does not chain to the anchors in"},
	{"ldaps with a certificate of another CA", refused_wrong_ca_ldaps, "does not chain to the anchors in"},
	{"a private CA when only the system's are trusted", refused_system_ca, "/etc/ssl/certs"},
	{"a certificate for another name", refused_name, "is not for the host name \"localhost\""},
	{"an anchor file that is not there", refused_no_ca_file, "/nonexistent/ca.pem"},
	{"in the clear without allow-cleartext", refused_clear, "allow-cleartext"},
	{"a wrong password", refused_password, "check directory.bind-dn and directory.password-file"},
	{"a base that is not there", refused_base, "dc=elsewhere"},
};

START_TEST(what_an_admin_has_to_put_right)
{
	struct directory_settings s = usual();
	struct directory *d;
	struct directory_person p;
	enum directory_found found;
	struct buf report = BUF_INIT;
	struct err err = ERR_INIT;

	refused[_i].change(&s);
	/* Reading the system's anchors takes seconds under valgrind. */
	s.deadline_ms = s.connect_ms = 60000;
	d = open_directory(&s);
	ck_assert_msg(!directory_find(d, "alice@example.org", &p, &found, &err), "%s: accepted", refused[_i].name);
	ck_assert_msg(err.class == ERR_CONFIG, "%s: class %s: %s", refused[_i].name, err_class_name(err.class), err.text);
	ck_assert_msg(strstr(err.text, refused[_i].text) || strstr(err.subject, refused[_i].text), "%s: %s", refused[_i].name, err.text);
	ck_assert(!strstr(err.text, "not-the-secret"));
	ck_assert(!directory_check(d, &report, &err));
	ck_assert_ptr_nonnull(strstr(buf_str(&report), "error: "));
	buf_clear(&report);
	directory_free(d);
}
END_TEST

START_TEST(an_empty_or_open_password_file_is_refused_at_once)
{
	struct directory_settings s = usual();
	struct err err = ERR_INIT;
	char path[160];

	set(&s.password_file, path_of("empty", path));
	ck_assert_ptr_null(directory_new(&s, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	set(&s.password_file, path_of("password", path));
	ck_assert_int_eq(chmod(path, 0644), 0);
	ck_assert_ptr_null(directory_new(&s, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_int_eq(chmod(path, 0600), 0);
	directory_settings_clear(&s);
	ck_assert_ptr_null(directory_new(&s, &err)); /* nothing set at all */
}
END_TEST

/* ---- time -------------------------------------------------------------------------------------------------------- */

/* A test that failed while slapd was stopped must not take the next ones with it. */
static void wake_slapd(void)
{
	if (slapd > 0)
		kill(slapd, SIGCONT);
}

static bool ask(struct directory *d, bool *owned, const char **why, struct err *err, int64_t *ms)
{
	int64_t from = mono_ms();
	bool ok;

	err_clear(err);
	ok = directory_owns(d, "alice", "alice@example.org", owned, why, err);
	*ms = mono_ms() - from;
	return ok;
}

START_TEST(a_server_that_stops_answering_costs_one_deadline_and_stale_answers_serve_a_while)
{
	struct directory_settings s = usual();
	struct directory *d;
	struct err err = ERR_INIT;
	const char *why;
	int64_t ms;
	bool owned;

	/* Wide enough that a busy machine fails nothing: only the healthy first question has to end within the deadline. */
	s.deadline_ms = 4000;
	s.connect_ms = 3500;
	s.stale_seconds = 12;
	d = open_directory(&s);
	ck_assert(ask(d, &owned, &why, &err, &ms) && owned);
	freeze_slapd();
	ck_assert(ask(d, &owned, &why, &err, &ms));
	ck_assert_msg(owned && strcmp(why, "owned") == 0, "the last known answer serves: %s", why);
	ck_assert_msg(ms >= 3000 && ms < 9000, "one deadline: %lld ms", (long long)ms);
	ck_assert(ask(d, &owned, &why, &err, &ms) && owned);
	ck_assert_msg(ms < 2000, "the failure is remembered: %lld ms", (long long)ms);
	ck_assert(!directory_owns(d, "bob", "bob@example.org", &owned, &why, &err));
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	ck_assert(!owned);
	sleep(13);
	ck_assert_msg(!ask(d, &owned, &why, &err, &ms), "too old to serve");
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	ck_assert(!owned);
	kill(slapd, SIGCONT);
	sleep(6); /* the memory of the failure ends */
	ck_assert_msg(ask(d, &owned, &why, &err, &ms) && owned, "back again: %s", err.text);
	directory_free(d);
}
END_TEST

START_TEST(answers_are_cached_negative_ones_too)
{
	struct directory_settings s = usual();
	struct directory *d;
	struct err err = ERR_INIT;
	const char *why;
	bool owned, member;

	s.cache_seconds = 60;
	s.stale_seconds = 0;
	d = open_directory(&s);
	ck_assert(directory_owns(d, "alice", "alice@example.org", &owned, &why, &err) && owned);
	ck_assert(directory_owns(d, "bob", "alice@example.org", &owned, &why, &err) && !owned);
	ck_assert(directory_in_group(d, "alice@example.org", "cn=pilot," SUFFIX, &member, &err) && member);
	freeze_slapd();
	ck_assert(directory_owns(d, "alice", "ALICE@example.org", &owned, &why, &err) && owned);
	ck_assert(directory_owns(d, "bob", "alice@example.org", &owned, &why, &err) && !owned);
	ck_assert_str_eq(why, "address is not listed for this login");
	ck_assert(directory_in_group(d, "alice@example.org", "cn=pilot," SUFFIX, &member, &err) && member);
	kill(slapd, SIGCONT);
	directory_free(d);
}
END_TEST

START_TEST(an_idle_connection_closed_by_the_server_is_replaced)
{
	struct directory *d = open_usual();
	struct directory_person p;

	ck_assert_int_eq(find(d, "alice@example.org", &p), DIRECTORY_ONE);
	directory_person_clear(&p);
	sleep(4); /* idletimeout 2 */
	ck_assert_int_eq(find(d, "alice@example.org", &p), DIRECTORY_ONE);
	directory_person_clear(&p);
	directory_free(d);
}
END_TEST

static void *ask_often(void *arg)
{
	size_t wrong = 0;

	for (size_t i = 0; i < 20; i++) {
		const char *why;
		bool owned;

		if (!directory_owns(arg, i % 2 ? "alice" : "bob", i % 2 ? "alice@example.org" : "bob@example.org", &owned, &why, NULL) || !owned)
			wrong++;
	}
	return wrong ? arg : NULL;
}

START_TEST(more_threads_than_connections)
{
	struct directory_settings s = usual();
	struct directory *d;
	pthread_t threads[12];
	void *wrong;

	s.deadline_ms = 20000;
	s.connect_ms = 10000;
	d = open_directory(&s);
	for (size_t i = 0; i < 12; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_often, d), 0);
	for (size_t i = 0; i < 12; i++) {
		pthread_join(threads[i], &wrong);
		ck_assert_ptr_null(wrong);
	}
	directory_free(d);
}
END_TEST

/* ---- without slapd ----------------------------------------------------------------------------------------------- */

/* Listens and never accepts: connections succeed, nothing is ever answered. */
static int silent_server(int *p, int backlog)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(listen(fd, backlog), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	*p = ntohs(sa.sin_port);
	return fd;
}

/* Fill the backlog, so that further connections get no answer at all, as from a host that drops packets. */
static void fill_backlog(int p, int fds[8])
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)p)};

	for (size_t i = 0; i < 8; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		if (connect(fds[i], (struct sockaddr *)&sa, sizeof(sa)) != 0)
			ck_assert_int_eq(errno, EINPROGRESS);
	}
	usleep(100000);
}

static const struct {
	const char *name, *scheme;
	bool starttls, drops, twice;
} silences[] = {
	{"silent in the clear", "ldap", false, false, false},
	{"silent when StartTLS is asked", "ldap", true, false, false},
	{"silent in the handshake of ldaps", "ldaps", false, false, false},
	{"packets are dropped", "ldap", true, true, false},
	{"two silent servers", "ldap", true, false, true},
};

START_TEST(silence_ends_within_the_deadline)
{
	struct directory_settings s = usual();
	struct directory *d;
	struct directory_person person;
	enum directory_found found;
	struct err err = ERR_INIT;
	int p, fds[8], fd = silent_server(&p, silences[_i].drops ? 0 : 8);
	int64_t from, ms;

	if (silences[_i].drops)
		fill_backlog(p, fds);
	set_url(&s, silences[_i].scheme, "127.0.0.1", p);
	if (silences[_i].twice)
		ck_assert(strlist_add(&s.urls, s.urls.v[0]));
	s.starttls = silences[_i].starttls;
	s.allow_cleartext = true;
	s.deadline_ms = 600;
	s.connect_ms = 400;
	d = open_directory(&s);
	from = mono_ms();
	ck_assert(!directory_find(d, "alice@example.org", &person, &found, &err));
	ms = mono_ms() - from;
	ck_assert_msg(ms >= 250 && ms <= 5000, "%s: %lld ms", silences[_i].name, (long long)ms);
	ck_assert_msg(err.class == ERR_TEMPORARY, "%s: %s: %s", silences[_i].name, err_class_name(err.class), err.text);
	from = mono_ms();
	ck_assert(!directory_find(d, "alice@example.org", &person, &found, &err));
	ck_assert_int_lt(mono_ms() - from, 50);
	directory_free(d);
	close(fd);
	for (size_t i = 0; silences[_i].drops && i < 8; i++)
		close(fds[i]);
}
END_TEST

/* Whatever comes back, it is an error and no crash. */
static void *talk_garbage(void *arg)
{
	static const unsigned char garbage[] = {0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x02, 0x01, 0x01, 0x61, 0x80};
	int fd = accept(*(int *)arg, NULL, NULL);

	if (fd >= 0 && write(fd, garbage, sizeof(garbage)) < 0)
		errno = 0;
	usleep(50000);
	close(fd);
	return NULL;
}

START_TEST(garbage_and_a_closed_connection_are_temporary)
{
	struct directory_settings s = usual();
	struct directory *d;
	struct directory_person person;
	enum directory_found found;
	struct err err = ERR_INIT;
	pthread_t thread;
	int p, fd = silent_server(&p, 8);

	set_url(&s, "ldap", "127.0.0.1", p);
	s.starttls = false;
	s.allow_cleartext = true;
	s.deadline_ms = 600;
	s.connect_ms = 400;
	d = open_directory(&s);
	ck_assert_int_eq(pthread_create(&thread, NULL, talk_garbage, &fd), 0);
	ck_assert(!directory_find(d, "alice@example.org", &person, &found, &err));
	ck_assert_msg(err.class == ERR_TEMPORARY, "%s: %s", err_class_name(err.class), err.text);
	pthread_join(thread, NULL);
	directory_free(d);
	close(fd);
}
END_TEST

START_TEST(a_name_that_does_not_resolve_is_temporary)
{
	struct directory_settings s = usual();
	struct directory *d;
	struct directory_person person;
	enum directory_found found;
	struct err err = ERR_INIT;
	int64_t from = mono_ms();

	set_url(&s, "ldap", "no-such-host.invalid", 389);
	s.deadline_ms = 500;
	s.connect_ms = 500;
	d = open_directory(&s);
	ck_assert(!directory_find(d, "alice@example.org", &person, &found, &err));
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	ck_assert_int_lt(mono_ms() - from, 700);
	directory_free(d);
}
END_TEST

START_TEST(the_cache_is_bounded_and_forgets_what_was_not_used)
{
	struct cache *c = cache_new(100);
	struct cached v = {.yes = true, .why = "owned", .at = 1}, out;
	char key[32];

	cache_put(c, "kept", &v);
	for (int i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		v.at = i;
		cache_put(c, key, &v);
		ck_assert(cache_get(c, "kept", &out));
	}
	ck_assert_uint_eq(cache_count(c), 100);
	ck_assert(!cache_get(c, "key 900", &out));
	ck_assert(cache_get(c, "key 999", &out) && out.at == 999);
	v.at = 5000;
	cache_put(c, "key 999", &v);
	ck_assert(cache_get(c, "key 999", &out) && out.at == 5000);
	ck_assert_uint_eq(cache_count(c), 100);
	cache_free(c);
	cache_free(NULL);
}
END_TEST

static const struct {
	const char *text;
	bool url, dn, filter, template;
} syntax[] = {
	{"ldap://ldap.example.org", true, false, false, false}, {"ldaps://[2001:db8::1]:636", true, false, false, false},
	{"ldapi://%2Frun%2Fslapd%2Fldapi", true, false, false, false}, {"ldap://", false, false, false, false},
	{"ldap://h/dc=x", false, true, false, false}, {"ldap://h/????x=y", false, true, false, false}, {"ldap://a ldap://b", false, false, false, false},
	{"https://h", false, false, false, false}, {"ou=people,dc=example", false, true, false, false}, {"people", false, false, false, false},
	{"(a=b)", false, false, true, false}, {"(&(a=b)(!(c=d)))", false, false, true, false}, {"(&(a=b)(c=d)", false, false, false, false},
	{"(a=b)(c=d)", false, false, false, false}, {"a=b", false, true, false, false}, {"(uid=%s)", false, false, true, true},
	{"(|(mail=%s)(proxyAddresses=smtp:%s))", false, false, true, true}, {"(uid=%d)", false, false, true, false}, {"", false, false, false, false},
	{"(uid=%", false, false, false, false},
};

START_TEST(settings_are_judged_by_their_syntax)
{
	const char *text = syntax[_i].text;

	ck_assert_msg(directory_url_valid(text) == syntax[_i].url, "URL: %s", text);
	ck_assert_msg(directory_filter_valid(text, false) == syntax[_i].filter, "filter: %s", text);
	ck_assert_msg(directory_filter_valid(text, true) == syntax[_i].template, "template: %s", text);
	if (!syntax[_i].url && strncmp(text, "ldap:", 5) != 0)
		ck_assert_msg(directory_dn_valid(text) == syntax[_i].dn, "DN: %s", text);
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

static TCase *with_slapd(void)
{
	TCase *t = tcase_create("with slapd");

	tcase_set_timeout(t, 120);
	tcase_add_unchecked_fixture(t, start_slapd, stop_slapd);
	tcase_add_checked_fixture(t, wake_slapd, wake_slapd);
	tcase_add_loop_test(t, find_by_address, 0, COUNT(finds));
	tcase_add_test(t, a_person_is_filled_from_the_entry);
	tcase_add_test(t, names_come_from_the_attributes_that_are_configured);
	tcase_add_test(t, a_value_that_is_no_single_line_is_none);
	tcase_add_test(t, addresses_keep_their_spelling);
	tcase_add_loop_test(t, kinds_of_mailboxes, 0, COUNT(kinds));
	tcase_add_loop_test(t, nasty_names_go_through_everything, 0, nasty_names_n);
	tcase_add_test(t, a_bad_address_is_a_policy_error);
	tcase_add_loop_test(t, login_owns_address, 0, COUNT(owns));
	tcase_add_loop_test(t, group_membership, 0, COUNT(members));
	tcase_add_test(t, a_group_that_is_not_there_is_a_configuration_error);
	tcase_add_loop_test(t, the_entry_of_an_address_matches_a_filter, 0, COUNT(filters));
	tcase_add_test(t, a_filter_that_cannot_be_asked_is_an_error_and_a_known_answer_is_kept);
	tcase_add_test(t, publishing_adds_once_and_keeps_foreign_values);
	tcase_add_test(t, a_foreign_value_with_our_serial_number_is_not_removed);
	tcase_add_test(t, the_smime_attribute_holds_the_certificate_as_cms);
	tcase_add_loop_test(t, a_refused_publication_says_why, 0, COUNT(refusals));
	tcase_add_test(t, a_walk_sees_everybody_who_has_a_certificate_once);
	tcase_add_test(t, a_walk_shows_values_that_are_no_certificates_and_bounds_their_number);
	tcase_add_test(t, a_walk_cut_short_by_a_size_limit_says_so);
	tcase_add_test(t, a_walk_that_fails_is_over);
	tcase_add_loop_test(t, ways_to_connect, 0, COUNT(ways));
	tcase_add_loop_test(t, what_an_admin_has_to_put_right, 0, COUNT(refused));
	tcase_add_test(t, an_empty_or_open_password_file_is_refused_at_once);
	tcase_add_test(t, a_server_that_stops_answering_costs_one_deadline_and_stale_answers_serve_a_while);
	tcase_add_test(t, answers_are_cached_negative_ones_too);
	tcase_add_test(t, an_idle_connection_closed_by_the_server_is_replaced);
	tcase_add_test(t, more_threads_than_connections);
	return t;
}

static TCase *without_slapd(void)
{
	TCase *t = tcase_create("without slapd");

	tcase_set_timeout(t, 120);
	tcase_add_unchecked_fixture(t, make_folder, remove_folder);
	tcase_add_loop_test(t, silence_ends_within_the_deadline, 0, COUNT(silences));
	tcase_add_test(t, garbage_and_a_closed_connection_are_temporary);
	tcase_add_test(t, a_name_that_does_not_resolve_is_temporary);
	tcase_add_test(t, the_cache_is_bounded_and_forgets_what_was_not_used);
	tcase_add_loop_test(t, settings_are_judged_by_their_syntax, 0, COUNT(syntax));
	return t;
}

int main(void)
{
	Suite *s = suite_create("directory");
	SRunner *r;
	int failed;

	suite_add_tcase(s, without_slapd());
	if (access(SLAPD, X_OK) == 0)
		suite_add_tcase(s, with_slapd());
	else
		printf("skipped: everything that asks a directory server, because " SLAPD " is not there (apt-get install slapd)\n");
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
