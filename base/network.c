/*
 * base/network.c - IP networks in one form: 128 bits, IPv4 as ::ffff:a.b.c.d.
 *
 * The trap is that all of IPv4 lies inside ::/64 then, so an IPv6 network shorter than /96 never contains an IPv4 address.
 */
#include "config.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/base.h"

static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* *bits: how long a prefix may be written for this family. */
static bool ip_parse(unsigned char addr[16], const char *text, unsigned *bits)
{
	memcpy(addr, mapped, sizeof(mapped));
	*bits = 32;
	if (inet_pton(AF_INET, text, addr + 12) == 1)
		return true;
	*bits = 128;
	return inet_pton(AF_INET6, text, addr) == 1;
}

static bool prefix_parse(const char *text, unsigned bits, unsigned *out)
{
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > 3 || text[digits] != '\0')
		return false;
	*out = (unsigned)strtoul(text, NULL, 10);
	return *out <= bits;
}

static bool same_prefix(const unsigned char a[16], const unsigned char b[16], unsigned prefix)
{
	unsigned char mask = (unsigned char)(0xff00 >> (prefix % 8));

	if (memcmp(a, b, prefix / 8) != 0)
		return false;
	return prefix % 8 == 0 || (a[prefix / 8] & mask) == (b[prefix / 8] & mask);
}

static bool host_bits_are_zero(const struct network *net)
{
	for (unsigned i = net->prefix; i < 128; i++)
		if (net->addr[i / 8] & (0x80 >> (i % 8)))
			return false;
	return true;
}

bool network_parse(struct network *out, const char *text)
{
	char ip[INET6_ADDRSTRLEN + 1];
	const char *slash;
	size_t len;
	unsigned bits;

	memset(out, 0, sizeof(*out));
	if (!text)
		return false;
	slash = strchr(text, '/');
	len = slash ? (size_t)(slash - text) : strlen(text);
	if (len >= sizeof(ip))
		return false;
	memcpy(ip, text, len);
	ip[len] = '\0';
	if (!ip_parse(out->addr, ip, &bits))
		return false;
	out->prefix = bits;
	if (slash && !prefix_parse(slash + 1, bits, &out->prefix))
		return false;
	out->prefix += 128 - bits;
	return host_bits_are_zero(out);
}

bool network_contains(const struct network *net, const char *ip)
{
	unsigned char addr[16];
	unsigned bits;

	if (!ip)
		return false;
	if (strncmp(ip, "IPv6:", 5) == 0) /* as sendmail's {client_addr} has it */
		ip += 5;
	if (!ip_parse(addr, ip, &bits))
		return false;
	if (net->prefix < 96 && memcmp(addr, mapped, sizeof(mapped)) == 0)
		return false;
	return same_prefix(net->addr, addr, net->prefix);
}

const char *sockaddr_ip(const struct sockaddr *sa, char out[64])
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	out[0] = '\0';
	if (sa && sa->sa_family == AF_INET) {
		memcpy(&in, sa, sizeof(in));
		inet_ntop(AF_INET, &in.sin_addr, out, 64);
	} else if (sa && sa->sa_family == AF_INET6) {
		memcpy(&in6, sa, sizeof(in6));
		if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr))
			inet_ntop(AF_INET, in6.sin6_addr.s6_addr + 12, out, 64);
		else
			inet_ntop(AF_INET6, &in6.sin6_addr, out, 64);
	}
	return out;
}
