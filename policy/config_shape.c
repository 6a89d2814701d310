/*
 * policy/config_shape.c - what single values have to look like.
 *
 * Each shape is judged by whoever uses the value later: addresses and domains by base, LDAP things by the directory room, OIDs by
 * OpenSSL.  The canonical spelling is what ends up in struct config, so that nobody has to normalize again.
 */
#include "config.h"

#include "policy/config_table.h"
#include "policy/subject.h"
#include "metrics/metrics.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <openssl/objects.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static bool begins(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Only letters, digits and these: what may stand in names of credentials, users, hosts, ACME profiles. */
static bool only(const char *text, const char *others)
{
	if (!*text)
		return false;
	for (; *text; text++)
		if (!isalnum((unsigned char)*text) && !strchr(others, *text))
			return false;
	return true;
}

static bool is_ip(const char *text)
{
	unsigned char addr[16];

	return inet_pton(AF_INET, text, addr) == 1 || inet_pton(AF_INET6, text, addr) == 1;
}

static bool is_port(const char *text)
{
	char *end;
	unsigned long port = strtoul(text, &end, 10);

	return isdigit((unsigned char)*text) && !*end && port >= 1 && port <= 65535;
}

bool shape_path(const char *text, struct buf *canonical, const char **expected)
{
	*expected = "an absolute path";
	return text[0] == '/' && text[1];
}

bool shape_place(const char *text, struct buf *canonical, const char **expected)
{
	*expected = "an absolute path or \"credential:NAME\"";
	if (begins(text, "credential:"))
		return only(text + strlen("credential:"), "-_.") && text[strlen("credential:")] != '.';
	return shape_path(text, canonical, &(const char *){NULL});
}

bool shape_unix_path(const char *text, struct buf *canonical, const char **expected)
{
	*expected = "an absolute path of at most 107 characters (a socket's name cannot be longer)";
	return text[0] == '/' && text[1] && strlen(text) < sizeof(((struct sockaddr_un *)NULL)->sun_path);
}

bool shape_socket(const char *text, struct buf *canonical, const char **expected)
{
	char port[16];
	const char *at = strchr(text, '@');

	if (begins(text, "unix:"))
		return shape_unix_path(text + strlen("unix:"), canonical, expected);
	*expected = "\"unix:/path\" or \"inet:PORT@HOST\"";
	if (!begins(text, "inet:") && !begins(text, "inet6:"))
		return false;
	text = strchr(text, ':') + 1;
	if (!at || (size_t)(at - text) >= sizeof(port))
		return false;
	memcpy(port, text, (size_t)(at - text));
	port[at - text] = '\0';
	return is_port(port) && shape_host(at + 1, &(struct buf)BUF_INIT, &(const char *){NULL});
}

/* What is served is nobody's secret, but there is no password either: no further than this host. */
bool shape_metrics(const char *text, struct buf *canonical, const char **expected)
{
	bool ok = shape_socket(text, canonical, expected) && (begins(text, "unix:") || metrics_host_is_loopback(strchr(text, '@') + 1));

	if (!begins(text, "unix:"))
		*expected = "\"unix:/path\" or \"inet:PORT@127.0.0.1\" (or @[::1]): metrics are served on loopback only, put a proxy in front for others";
	return ok;
}

/* A name and password in the URL would be a secret in the configuration, so "user@" is not taken. */
bool shape_https(const char *text, struct buf *canonical, const char **expected)
{
	const char *host = text + strlen("https://");

	*expected = "an https:// URL without user name, password or fragment";
	if (!begins(text, "https://") || !text_is_one_line(text) || strpbrk(text, " #\"<>\\"))
		return false;
	return strcspn(host, "/?:") > 0 && !memchr(host, '@', strcspn(host, "/?"));
}

/* A name in the folder of presets, or a path. */
bool shape_preset(const char *text, struct buf *canonical, const char **expected)
{
	*expected = "a name such as \"castle\", or an absolute path";
	return text[0] == '/' ? shape_path(text, canonical, &(const char *){NULL}) : *text && !strpbrk(text, "/.") && text_is_one_line(text);
}

/* No password in here either: a proxy that wants one is not supported. */
bool shape_proxy(const char *text, struct buf *canonical, const char **expected)
{
	const char *host = text + strlen("http://"), *port;

	*expected = "\"http://HOST:PORT\" without user name and password, or \"direct\"";
	if (strcmp(text, "direct") == 0)
		return true;
	if (!begins(text, "http://") || !text_is_one_line(text) || strpbrk(text, " #\"<>\\@?"))
		return false;
	port = strrchr(host, ':');
	return port && port > host && is_port(port + 1);
}

bool shape_environment(const char *text, struct buf *canonical, const char **expected)
{
	const char *equals = strchr(text, '=');

	*expected = "\"NAME=value\"";
	return equals && equals > text && text_is_one_line(text);
}

bool shape_address(const char *text, struct buf *canonical, const char **expected)
{
	struct address a;
	char out[ADDRESS_MAX];

	*expected = "a mail address";
	if (!address_parse(&a, text, NULL))
		return false;
	buf_puts(canonical, address_text(&a, out));
	return true;
}

/* RFC 5321 section 4.5.3.1.1 gives a local part 64 octets: here stand "+e", up to nine digits, "-" and 32 octets more. */
bool shape_report_address(const char *text, struct buf *canonical, const char **expected)
{
	struct address a;

	if (!shape_address(text, canonical, expected))
		return false;
	*expected = "a mail address with at most 20 plain characters before the @";
	return address_parse(&a, text, NULL) && strlen(a.local) <= 20 && a.local[0] != '"';
}

bool shape_address_key(const char *text, struct buf *canonical, const char **expected)
{
	char out[ADDRESS_MAX];

	*expected = "a mail address";
	if (!address_key_of(text, out, NULL))
		return false;
	buf_puts(canonical, out);
	return true;
}

bool shape_mailto(const char *text, struct buf *canonical, const char **expected)
{
	*expected = "\"mailto:\" and a mail address";
	if (!begins(text, "mailto:"))
		return false;
	buf_puts(canonical, "mailto:");
	return shape_address(text + strlen("mailto:"), canonical, &(const char *){NULL});
}

bool shape_domain(const char *text, struct buf *canonical, const char **expected)
{
	char out[256];

	*expected = "a domain name";
	if (is_ip(text) || !domain_canonical(text, out))
		return false;
	buf_puts(canonical, out);
	return true;
}

bool shape_host(const char *text, struct buf *canonical, const char **expected)
{
	*expected = "a host name or IP address";
	return is_ip(text) || shape_domain(text, canonical, &(const char *){NULL});
}

bool shape_loopback(const char *text, struct buf *canonical, const char **expected)
{
	struct network v4, v6;

	*expected = "a loopback address (replies must not cross a network in the clear)";
	if (!network_parse(&v4, "127.0.0.0/8") || !network_parse(&v6, "::1"))
		return false;
	return strcmp(text, "localhost") == 0 || (is_ip(text) && (network_contains(&v4, text) || network_contains(&v6, text)));
}

bool shape_oid(const char *text, struct buf *canonical, const char **expected)
{
	ASN1_OBJECT *object = only(text, ".") && isdigit((unsigned char)*text) ? OBJ_txt2obj(text, 1) : NULL;

	*expected = "an object identifier such as \"1.3.6.1.5.5.7.3.4\"";
	ASN1_OBJECT_free(object);
	return object != NULL;
}

bool shape_recipient(const char *text, struct buf *canonical, const char **expected)
{
	bool ok = strchr(text, '@') ? shape_address_key(text, canonical, expected) : shape_domain(text, canonical, expected);

	*expected = "a mail address or a domain name";
	return ok;
}

/* RFC 2045 section 5.1, without parameters; a star for all subtypes. */
bool shape_content_type(const char *text, struct buf *canonical, const char **expected)
{
	const char *slash = strchr(text, '/');

	*expected = "a content type such as \"text/calendar\", or with a star for all subtypes: \"video/*\"";
	if (strlen(text) >= 100 || !slash || slash == text || !slash[1] || (strcmp(slash + 1, "*") != 0 && !only(slash + 1, "!#$&^_.+-")))
		return false;
	for (const char *p = text; *p; p++) {
		if (p < slash && !isalnum((unsigned char)*p) && !strchr("-_.+", *p))
			return false;
		buf_putc(canonical, (char)tolower((unsigned char)*p));
	}
	return true;
}

bool shape_header_name(const char *text, struct buf *canonical, const char **expected)
{
	*expected = "a header field name";
	return strlen(text) < 128 && only(text, "-_");
}

bool shape_ldap_url(const char *text, struct buf *canonical, const char **expected)
{
	*expected = "ldap://HOST[:PORT], ldaps://HOST[:PORT] or ldapi://%2Fpath%2Fto%2Fsocket, with nothing behind it";
	return directory_url_valid(text);
}

bool shape_dn(const char *text, struct buf *canonical, const char **expected)
{
	*expected = "a distinguished name such as \"ou=people,dc=example,dc=org\"";
	return directory_dn_valid(text);
}

bool shape_filter(const char *text, struct buf *canonical, const char **expected)
{
	*expected = "an LDAP filter such as \"(employeeType=left)\"";
	return directory_filter_valid(text, false);
}

bool shape_filter_template(const char *text, struct buf *canonical, const char **expected)
{
	*expected = "an LDAP filter with %s where the name goes, such as \"(uid=%s)\"";
	return directory_filter_valid(text, true);
}

bool shape_attribute(const char *text, struct buf *canonical, const char **expected)
{
	*expected = "an LDAP attribute name";
	return isalpha((unsigned char)*text) && only(text, "-;");
}

bool shape_dns_server(const char *text, struct buf *canonical, const char **expected)
{
	const char *at = strchr(text, '@');
	char addr[64];

	*expected = "an IP address, \"addr@port\" or \"root\"";
	if (strcmp(text, "root") == 0)
		return true;
	if (!at)
		return is_ip(text);
	if ((size_t)(at - text) >= sizeof(addr))
		return false;
	memcpy(addr, text, (size_t)(at - text));
	addr[at - text] = '\0';
	return is_ip(addr) && is_port(at + 1);
}

bool shape_dns_perspective(const char *text, struct buf *canonical, const char **expected)
{
	*expected = "\"" DNS_SYSTEM "\", \"" DNS_RECURSION "\", an IP address or \"addr@port\"";
	if (strcmp(text, DNS_SYSTEM) == 0 || strcmp(text, DNS_RECURSION) == 0)
		return true;
	return strcmp(text, "root") != 0 && shape_dns_server(text, canonical, &(const char *){NULL});
}

bool shape_dns_stub(const char *text, struct buf *canonical, const char **expected)
{
	const char *eq = strchr(text, '=');
	char zone[256], name[256];

	*expected = "\"zone=addr\" or \"zone=addr@port\"";
	if (!eq || (size_t)(eq - text) >= sizeof(zone) || strcmp(eq + 1, "root") == 0)
		return false;
	memcpy(zone, text, (size_t)(eq - text));
	zone[eq - text] = '\0';
	return (strcmp(zone, ".") == 0 || domain_canonical(zone, name)) && shape_dns_server(eq + 1, canonical, &(const char *){NULL});
}

bool shape_decryption(const char *text, struct buf *canonical, const char **expected)
{
	*expected = "\"exported-keys\" or \"gateway NAME\"";
	return strcmp(text, "exported-keys") == 0 || (begins(text, "gateway ") && only(text + strlen("gateway "), "-_.:"));
}

bool shape_kind(const char *text, struct buf *canonical, const char **expected)
{
	(void)canonical;
	*expected = "\"person\", \"shared\" or \"resource\"";
	return strcmp(text, "person") == 0 || strcmp(text, "shared") == 0 || strcmp(text, "resource") == 0;
}

bool shape_organization(const char *text, struct buf *canonical, const char **expected)
{
	*expected = "the name of an organization of at most 64 characters";
	return !subject_says_nothing(text, strlen(text)) && subject_characters(text, strlen(text)) <= subject_bound(NID_organizationName);
}

bool shape_organization_identifier(const char *text, struct buf *canonical, const char **expected)
{
	struct organization_id id;

	*expected = "scheme (NTR, VAT, PSD, LEI, GOV, INT), country, hyphen and reference, such as \"NTRDE-DEK1101R.HRB116737\" or "
		"\"VATDE-123456789\"";
	if (!organization_id_parse(&id, text, strlen(text)))
		return false;
	return organization_id_trouble(&id) == NULL;
}

bool shape_country(const char *text, struct buf *canonical, const char **expected)
{
	char code[3] = {(char)toupper((unsigned char)text[0]), (char)toupper((unsigned char)text[1]), 0};

	*expected = "a country's code of two letters such as \"DE\" (ISO 3166-1)";
	if (strlen(text) != 2 || !subject_is_country(code, 2))
		return false;
	buf_puts(canonical, code);
	return true;
}

bool shape_token(const char *text, struct buf *canonical, const char **expected)
{
	*expected = "a name of letters, digits, '-', '_' and '.'";
	return strlen(text) < 256 && only(text, "-_.");
}
