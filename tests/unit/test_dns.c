/*
 * tests/unit/test_dns.c - dns/: what comes back, and when, from a server that answers, lies, refuses or says nothing.
 *
 * The server is a thread with one UDP socket on a loopback port.  It knows what to do from the first label of the question.  The
 * zone signed.example has one Ed25519 key, made anew for each test, which is also the trust anchor.  This file is over 800 lines because every
 * case needs that server.
 */
#include "config.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <check.h>
#include <openssl/evp.h>

#include "dns/dns.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define TYPE_CNAME 5
#define TYPE_SOA 6
#define TYPE_TXT 16
#define TYPE_OPT 41
#define TYPE_DS 43
#define TYPE_RRSIG 46
#define TYPE_DNSKEY 48
#define ED25519 15
#define TTL 300
#define SHORT_TTL 4
#define OUTAGE_MS 20000 /* long enough for libunbound to ask a silent server hardly any more */
#define SILENT_FREE_MS 2000 /* what dns_free may take, whatever is under way */

static const unsigned char zone_wire[] = "\x06signed\x07" "example";
#define ZONE_WIRE_LEN sizeof(zone_wire)

static int server_fd;
static unsigned server_port;
static pthread_t server_thread;
static atomic_int questions;
static atomic_bool mute; /* the server says nothing at all */
static atomic_bool changed; /* what "short", "gone" and "mended" are has become another */
static EVP_PKEY *zone_key;
static unsigned char dnskey[36]; /* RDATA */
static char anchor_path[64];

/* ---- the server ---------------------------------------------------------------------------------------------------- */

static void put16(struct buf *b, unsigned v)
{
	buf_putc(b, (char)(v >> 8));
	buf_putc(b, (char)v);
}

static void put32(struct buf *b, unsigned long v)
{
	put16(b, (unsigned)(v >> 16) & 0xffff);
	put16(b, (unsigned)v & 0xffff);
}

static void put_rr_for(unsigned ttl, struct buf *b, const void *owner, size_t owner_len, unsigned type, const void *rdata, size_t len)
{
	buf_append(b, owner, owner_len);
	put16(b, type);
	put16(b, 1);
	put32(b, ttl);
	put16(b, (unsigned)len);
	buf_append(b, rdata, len);
}

static void put_rr(struct buf *b, const void *owner, size_t owner_len, unsigned type, const void *rdata, size_t len)
{
	put_rr_for(TTL, b, owner, owner_len, type, rdata, len);
}

static unsigned key_tag(void)
{
	unsigned long sum = 0;

	for (size_t i = 0; i < sizeof(dnskey); i++)
		sum += i & 1 ? dnskey[i] : (unsigned long)dnskey[i] << 8;
	return (unsigned)((sum + (sum >> 16)) & 0xffff);
}

/* RFC 4034 section 3: an RRSIG over one record, spoiled when asked for. */
static void put_rrsig(struct buf *b, const unsigned char *owner, size_t owner_len, unsigned type, const void *rdata, size_t len, bool spoil)
{
	struct buf sig = BUF_INIT, signed_data = BUF_INIT;
	unsigned char raw[64];
	size_t raw_len = sizeof(raw);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned labels = 0;

	for (size_t i = 0; owner[i]; i += owner[i] + 1u)
		labels++;
	put16(&sig, type);
	buf_putc(&sig, ED25519);
	buf_putc(&sig, (char)labels);
	put32(&sig, TTL);
	put32(&sig, (unsigned long)time(NULL) + 3600);
	put32(&sig, (unsigned long)time(NULL) - 3600);
	put16(&sig, key_tag());
	buf_append(&sig, zone_wire, ZONE_WIRE_LEN);
	buf_append(&signed_data, sig.data, sig.len);
	put_rr(&signed_data, owner, owner_len, type, rdata, len);
	if (EVP_DigestSignInit(ctx, NULL, NULL, NULL, zone_key) == 1)
		EVP_DigestSign(ctx, raw, &raw_len, (unsigned char *)signed_data.data, signed_data.len);
	if (spoil)
		raw[5] ^= 1;
	buf_append(&sig, raw, raw_len);
	put_rr(b, owner, owner_len, TYPE_RRSIG, sig.data, sig.len);
	EVP_MD_CTX_free(ctx);
	buf_clear(&sig);
	buf_clear(&signed_data);
}

struct question {
	const unsigned char *packet, *name;
	size_t name_len, question_len; /* the latter with type and class */
	unsigned type;
	char text[256]; /* dotted, lower case */
};

static bool question_parse(struct question *q, const unsigned char *packet, size_t len)
{
	size_t at = 12, out = 0;

	if (len < 17)
		return false;
	while (at < len && packet[at] != 0) {
		if (packet[at] > 63 || at + packet[at] + 1u >= len || out + packet[at] + 2u > sizeof(q->text))
			return false;
		memcpy(q->text + out, packet + at + 1, packet[at]);
		out += packet[at];
		q->text[out++] = '.';
		at += packet[at] + 1u;
	}
	if (at + 5 > len)
		return false;
	q->text[out] = '\0';
	q->packet = packet;
	q->name = packet + 12;
	q->name_len = at + 1 - 12;
	q->question_len = q->name_len + 4;
	q->type = (unsigned)packet[at + 1] << 8 | packet[at + 2];
	return true;
}

static bool starts(const struct question *q, const char *label)
{
	return strncmp(q->text, label, strlen(label)) == 0;
}

/* The answer section; returns how many records. */
static unsigned put_answer(struct buf *b, const struct question *q)
{
	static const unsigned char hello[] = "\x05hello", world[] = "\x05world";
	static const unsigned char target[] = "\x04" "data\x07" "example";

	if (q->type == TYPE_DNSKEY && strcmp(q->text, "signed.example.") == 0) {
		put_rr(b, q->name, q->name_len, TYPE_DNSKEY, dnskey, sizeof(dnskey));
		put_rrsig(b, q->name, q->name_len, TYPE_DNSKEY, dnskey, sizeof(dnskey), false);
		return 2;
	}
	if (q->type != TYPE_TXT)
		return 0;
	if (starts(q, "alias")) {
		put_rr(b, q->name, q->name_len, TYPE_CNAME, target, sizeof(target));
		put_rr(b, target, sizeof(target), TYPE_TXT, hello, 6);
		return 2;
	}
	if (starts(q, "two")) {
		put_rr(b, q->name, q->name_len, TYPE_TXT, hello, 6);
		put_rr(b, q->name, q->name_len, TYPE_TXT, world, 6);
		return 2;
	}
	if (starts(q, "ok.") || starts(q, "spoiled.")) {
		put_rr(b, q->name, q->name_len, TYPE_TXT, hello, 6);
		put_rrsig(b, q->name, q->name_len, TYPE_TXT, hello, 6, starts(q, "spoiled."));
		return 2;
	}
	if (starts(q, "mended.")) {
		put_rr(b, q->name, q->name_len, TYPE_TXT, hello, 6);
		put_rrsig(b, q->name, q->name_len, TYPE_TXT, hello, 6, !atomic_load(&changed));
		return 2;
	}
	if (starts(q, "short")) {
		put_rr_for(SHORT_TTL, b, q->name, q->name_len, TYPE_TXT, atomic_load(&changed) ? world : hello, 6);
		return 1;
	}
	if (starts(q, "gone") && atomic_load(&changed)) {
		put_rr(b, q->name, q->name_len, TYPE_TXT, hello, 6);
		return 1;
	}
	if (starts(q, "data") || starts(q, "slow") || starts(q, "bare")) {
		put_rr(b, q->name, q->name_len, TYPE_TXT, hello, 6);
		return 1;
	}
	return 0;
}

/* RFC 2308 section 5: a negative answer lives as long as the last number of the SOA says. */
static unsigned put_authority(struct buf *b, const struct question *q)
{
	static const unsigned char zone[] = "\x07" "example";
	struct buf soa = BUF_INIT;

	if (!starts(q, "gone") || atomic_load(&changed))
		return 0;
	buf_append(&soa, "\0\0", 2); /* both names are the root */
	for (int i = 0; i < 4; i++)
		put32(&soa, 3600);
	put32(&soa, SHORT_TTL);
	put_rr(b, zone, sizeof(zone), TYPE_SOA, soa.data, soa.len);
	buf_clear(&soa);
	return 1;
}

static void answer(int fd, const struct question *q, const struct sockaddr_in *from)
{
	static const unsigned char opt[] = {0, 0, TYPE_OPT, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0};
	struct buf answers = BUF_INIT, packet = BUF_INIT;
	unsigned n = put_answer(&answers, q), authorities = put_authority(&answers, q);
	unsigned rcode = starts(q, "nx") ? 3 : starts(q, "servfail") ? 2 : starts(q, "refused") ? 5 : 0;

	if (starts(q, "slow"))
		usleep(300 * 1000);
	buf_append(&packet, q->packet, 2);
	put16(&packet, 0x8580 | rcode);
	put16(&packet, 1);
	put16(&packet, n);
	put16(&packet, authorities);
	put16(&packet, 1);
	buf_append(&packet, q->name, q->question_len);
	buf_append(&packet, answers.data, answers.len);
	buf_append(&packet, opt, sizeof(opt));
	if (sendto(fd, packet.data, packet.len, 0, (const struct sockaddr *)from, sizeof(*from)) < 0)
		perror("sendto");
	buf_clear(&answers);
	buf_clear(&packet);
}

/* An empty datagram ends it. */
static void *serve(void *arg)
{
	unsigned char packet[4096];
	struct sockaddr_in from;
	struct question q;

	for (;;) {
		socklen_t from_len = sizeof(from);
		ssize_t n = recvfrom(server_fd, packet, sizeof(packet), 0, (struct sockaddr *)&from, &from_len);

		if (n <= 0)
			return NULL;
		if (!question_parse(&q, packet, (size_t)n) || starts(&q, "silent") || atomic_load(&mute))
			continue;
		atomic_fetch_add(&questions, 1);
		answer(server_fd, &q, &from);
	}
}

static void write_anchor(void)
{
	struct buf line = BUF_INIT;
	struct err err = ERR_INIT;
	size_t len = 32;

	zone_key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	memcpy(dnskey, "\x01\x01\x03\x0f", 4);
	ck_assert_int_eq(EVP_PKEY_get_raw_public_key(zone_key, dnskey + 4, &len), 1);
	buf_puts(&line, "signed.example. IN DNSKEY 257 3 15 ");
	base64_encode(&line, dnskey + 4, 32, 0, "");
	buf_puts(&line, "\n");
	strcpy(anchor_path, "/tmp/test-dns-XXXXXX");
	close(mkstemp(anchor_path));
	ck_assert(file_write(anchor_path, line.data, line.len, 0600, -1, &err));
	buf_clear(&line);
}

static void server_start(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);

	write_anchor();
	server_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(server_fd, (struct sockaddr *)&at, len), 0);
	ck_assert_int_eq(getsockname(server_fd, (struct sockaddr *)&at, &len), 0);
	server_port = ntohs(at.sin_port);
	ck_assert_int_eq(pthread_create(&server_thread, NULL, serve, NULL), 0);
}

static void server_stop(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)server_port)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	sendto(fd, "", 0, 0, (struct sockaddr *)&at, sizeof(at));
	pthread_join(server_thread, NULL);
	close(fd);
	close(server_fd);
	EVP_PKEY_free(zone_key);
	unlink(anchor_path);
}

static struct dns *resolver(bool dnssec)
{
	struct dns_settings s;
	struct err err = ERR_INIT;
	char server[32];
	struct dns *dns;

	dns_settings_init(&s);
	snprintf(server, sizeof(server), "127.0.0.1@%u", server_port);
	ck_assert(strlist_add(&s.servers, server));
	s.dnssec = dnssec;
	s.trust_anchor_file = dnssec ? strdup(anchor_path) : NULL;
	dns = dns_new(&s, &err);
	ck_assert_msg(dns != NULL, "%s", err.text);
	dns_settings_clear(&s);
	return dns;
}

/* ---- answers ------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *sentence, *name;
	bool dnssec;
	enum dns_status status;
	enum dns_security security;
	size_t n;
	const char *why; /* part of it */
} cases[] = {
	{"a record is found", "data.example", false, DNS_FOUND, DNS_INSECURE, 1, ""},
	{"a trailing dot changes nothing", "data.example.", false, DNS_FOUND, DNS_INSECURE, 1, ""},
	{"two records are two", "two.example", false, DNS_FOUND, DNS_INSECURE, 2, ""},
	{"an alias is followed", "alias.example", false, DNS_FOUND, DNS_INSECURE, 1, ""},
	{"a name without this type has no data", "nodata.example", false, DNS_NODATA, DNS_INSECURE, 0, ""},
	{"a name that does not exist is told apart", "nx.example", false, DNS_NXDOMAIN, DNS_INSECURE, 0, ""},
	{"SERVFAIL is no answer", "servfail.example", false, DNS_FAILED, DNS_INSECURE, 0, "SERVFAIL"},
	{"REFUSED is no answer", "refused.example", false, DNS_FAILED, DNS_INSECURE, 0, "SERVFAIL"},
	{"a name that is none is no answer", "a..b", false, DNS_FAILED, DNS_INSECURE, 0, "syntax error"},
	{"a signed record is secure", "ok.signed.example", true, DNS_FOUND, DNS_SECURE, 1, ""},
	{"a record outside signed zones is insecure", "data.example", true, DNS_FOUND, DNS_INSECURE, 1, ""},
	{"a spoiled signature is bogus and gives no data", "spoiled.signed.example", true, DNS_FAILED, DNS_BOGUS, 0, "DNSSEC"},
	{"an unsigned record in a signed zone is bogus", "bare.signed.example", true, DNS_FAILED, DNS_BOGUS, 0, "DNSSEC"},
	{"an unproven no in a signed zone is bogus", "nx.signed.example", true, DNS_FAILED, DNS_BOGUS, 0, "DNSSEC"},
	{"without DNSSEC nothing is checked", "spoiled.signed.example", false, DNS_FOUND, DNS_INSECURE, 1, ""},
};

START_TEST(answer_table)
{
	struct dns *dns = resolver(cases[_i].dnssec);
	struct dns_answer a;

	dns_query(dns, cases[_i].name, TYPE_TXT, 10000, &a);
	ck_assert_msg(a.status == cases[_i].status, "%s: status %d, %s", cases[_i].sentence, (int)a.status, a.why);
	ck_assert_msg(a.security == cases[_i].security, "%s: security %d", cases[_i].sentence, (int)a.security);
	ck_assert_msg(a.n == cases[_i].n, "%s: %zu records", cases[_i].sentence, a.n);
	ck_assert_msg(strstr(a.why, cases[_i].why) != NULL, "%s: %s", cases[_i].sentence, a.why);
	ck_assert_msg(a.status != DNS_FAILED || a.ttl == 0, "%s: ttl %u", cases[_i].sentence, a.ttl);
	ck_assert_msg((a.status == DNS_FAILED) == (a.why[0] != '\0'), "%s: says why", cases[_i].sentence);
	for (size_t i = 0; i < a.n; i++)
		ck_assert_msg(a.rdata[i].len == 6 && (memcmp(a.rdata[i].data, "\x05hello", 6) == 0 ||
			memcmp(a.rdata[i].data, "\x05world", 6) == 0), "%s: data", cases[_i].sentence);
	if (a.n)
		ck_assert_msg(a.ttl > TTL - 10 && a.ttl <= TTL, "%s: ttl %u", cases[_i].sentence, a.ttl);
	dns_answer_clear(&a);
	dns_answer_clear(&a);
	dns_free(dns);
}
END_TEST

START_TEST(an_answer_is_remembered)
{
	struct dns *dns = resolver(false);
	struct dns_answer a;
	int before;

	dns_query(dns, "data.example", TYPE_TXT, 0, &a);
	dns_answer_clear(&a);
	before = atomic_load(&questions);
	dns_query(dns, "DATA.example", TYPE_TXT, 0, &a);
	ck_assert_int_eq(a.status, DNS_FOUND);
	ck_assert_int_eq(atomic_load(&questions), before);
	dns_answer_clear(&a);
	dns_free(dns);
}
END_TEST

static unsigned ask(struct dns *dns, const char *name, struct dns_answer *a)
{
	int before = atomic_load(&questions);

	dns_query(dns, name, TYPE_TXT, 10000, a);
	return (unsigned)(atomic_load(&questions) - before);
}

/* What it was before is kept for SHORT_TTL seconds, and then is what it has become. */
static void outlives_its_ttl(const char *name, enum dns_status first, const char *then)
{
	struct dns *dns = resolver(false);
	struct dns_answer a;
	int64_t asked;

	ck_assert_uint_gt(ask(dns, name, &a), 0);
	asked = mono_ms();
	ck_assert_int_eq(a.status, first);
	ck_assert_msg(a.ttl >= SHORT_TTL - 1 && a.ttl <= SHORT_TTL, "ttl %u", a.ttl);
	dns_answer_clear(&a);
	atomic_store(&changed, true);
	while (mono_ms() < asked + 1500) {
		unsigned packets = ask(dns, name, &a);

		/* A machine that slept meanwhile has shown nothing. */
		if (mono_ms() < asked + SHORT_TTL * 1000 - 1000) {
			ck_assert_uint_eq(packets, 0);
			ck_assert_int_eq(a.status, first);
		}
		dns_answer_clear(&a);
		usleep(200000);
	}
	while (mono_ms() < asked + SHORT_TTL * 1000 + 1000)
		usleep(100000);
	ck_assert_uint_gt(ask(dns, name, &a), 0);
	ck_assert_int_eq(a.status, DNS_FOUND);
	ck_assert_int_eq(memcmp(a.rdata[0].data, then, 6), 0);
	dns_answer_clear(&a);
	dns_free(dns);
}

START_TEST(an_answer_is_kept_as_long_as_its_ttl)
{
	outlives_its_ttl("short.example", DNS_FOUND, "\x05world");
}
END_TEST

START_TEST(a_negative_answer_is_kept_as_long_as_its_soa_says)
{
	outlives_its_ttl("gone.example", DNS_NODATA, "\x05hello");
}
END_TEST

START_TEST(a_bogus_answer_is_not_kept)
{
	struct dns *dns = resolver(true);
	struct dns_answer a;

	ask(dns, "mended.signed.example", &a);
	ck_assert_int_eq(a.security, DNS_BOGUS);
	ck_assert_uint_eq(a.ttl, 0);
	dns_answer_clear(&a);
	atomic_store(&changed, true);
	usleep(1100000); /* the library counts whole seconds */
	ask(dns, "mended.signed.example", &a);
	ck_assert_msg(a.status == DNS_FOUND && a.security == DNS_SECURE, "%s", a.why);
	dns_answer_clear(&a);
	dns_free(dns);
}
END_TEST

START_TEST(an_alias_names_where_it_leads)
{
	struct dns *dns = resolver(false);
	struct dns_answer a;

	ask(dns, "alias.example", &a);
	ck_assert_str_eq(a.canonical, "data.example.");
	dns_answer_clear(&a);
	ask(dns, "data.example", &a);
	ck_assert_ptr_null(a.canonical);
	dns_answer_clear(&a);
	dns_free(dns);
}
END_TEST

/* ---- perspectives --------------------------------------------------------------------------------------------------- */

START_TEST(perspectives_are_resolvers_of_their_own)
{
	static const char *const wanted[] = {DNS_SYSTEM, DNS_RECURSION, "127.0.0.1@1"};
	struct dns_perspectives p;
	struct dns_settings s;
	struct err err = ERR_INIT;
	struct dns_answer a;
	char text[64];
	struct dns *dns;

	dns_settings_init(&s);
	s.dnssec = false;
	snprintf(text, sizeof(text), "127.0.0.1@%u", server_port);
	ck_assert(strlist_add(&s.servers, text));
	snprintf(text, sizeof(text), ".=127.0.0.1@%u", server_port);
	ck_assert(strlist_add(&s.stubs, text) && strlist_add(&s.stubs, "example=127.0.0.1@1"));
	for (int i = 0; i < COUNT(wanted); i++)
		ck_assert(strlist_add(&s.perspectives, wanted[i]));
	dns = dns_new(&s, &err);
	ck_assert_msg(dns && dns_perspectives_open(&p, &s, dns, &err), "%s", err.text);
	ck_assert_uint_eq(p.n, 3);
	ck_assert(p.v[0].dns == dns && p.v[1].dns != dns && p.v[2].dns != dns);
	for (int i = 0; i < COUNT(wanted); i++)
		ck_assert_str_eq(p.v[i].name, wanted[i]);
	/* The system's stub for example leads nowhere, as does the third one's server; a stub for the root leaves the first alone.  (Recursion
	 * needs a root whose servers have port 53: that is for tests/e2e/test_policy_caa.py.) */
	dns_query(p.v[0].dns, "data.net", TYPE_TXT, 20000, &a);
	ck_assert_msg(a.status == DNS_FOUND, "system: %s", a.why);
	dns_answer_clear(&a);
	for (int i = 0; i < 3; i += 2) {
		dns_query(p.v[i].dns, "data.example", TYPE_TXT, 20000, &a);
		ck_assert_int_eq(a.status, DNS_FAILED);
		dns_answer_clear(&a);
	}
	dns_perspectives_close(&p, dns);
	dns_free(dns);
	dns_settings_clear(&s);
}
END_TEST

START_TEST(without_perspectives_there_is_one_and_one_that_cannot_be_is_an_error)
{
	struct dns *dns = resolver(false);
	struct dns_perspectives p;
	struct dns_settings s;
	struct err err = ERR_INIT;

	dns_settings_init(&s);
	s.dnssec = false;
	ck_assert(dns_perspectives_open(&p, &s, dns, &err));
	ck_assert(p.n == 1 && p.v[0].dns == dns && strcmp(p.v[0].name, DNS_SYSTEM) == 0);
	dns_perspectives_close(&p, dns);
	ck_assert(strlist_add(&s.perspectives, "127.0.0.1") && strlist_add(&s.perspectives, "somewhere"));
	ck_assert(!dns_perspectives_open(&p, &s, dns, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_str_eq(err.subject, "somewhere");
	dns_settings_clear(&s);
	dns_free(dns);
}
END_TEST

START_TEST(a_stub_is_asked_for_its_zone_even_below_test)
{
	struct dns_settings s;
	struct err err = ERR_INIT;
	struct dns_answer a;
	char stub[64];
	struct dns *dns;

	dns_settings_init(&s);
	s.dnssec = false;
	ck_assert(strlist_add(&s.servers, "127.0.0.1@1")); /* nobody there */
	snprintf(stub, sizeof(stub), "corp.test=127.0.0.1@%u", server_port);
	ck_assert(strlist_add(&s.stubs, stub));
	dns = dns_new(&s, &err);
	ck_assert_msg(dns != NULL, "%s", err.text);
	dns_query(dns, "data.corp.test", TYPE_TXT, 5000, &a);
	ck_assert_msg(a.status == DNS_FOUND, "%s", a.why);
	dns_answer_clear(&a);
	dns_free(dns);
	dns_settings_clear(&s);
}
END_TEST

/* ---- deadlines and cancelling -------------------------------------------------------------------------------------- */

START_TEST(a_silent_server_is_given_up_at_the_deadline)
{
	struct dns *dns = resolver(false);
	struct dns_answer a;
	int64_t start = mono_ms(), took;

	dns_query(dns, "silent.example", TYPE_TXT, 400, &a);
	took = mono_ms() - start;
	ck_assert_int_eq(a.status, DNS_FAILED);
	ck_assert_int_ne(a.security, DNS_BOGUS);
	ck_assert_str_eq(a.why, "timed out after 400 ms");
	ck_assert_msg(took >= 400 && took < 1500, "took %lld ms", (long long)took);
	dns_answer_clear(&a);
	/* It holds nobody else up. */
	dns_query(dns, "data.example", TYPE_TXT, 5000, &a);
	ck_assert_int_eq(a.status, DNS_FOUND);
	dns_answer_clear(&a);
	start = mono_ms();
	dns_free(dns);
	ck_assert_int_lt(mono_ms() - start, SILENT_FREE_MS);
}
END_TEST

START_TEST(a_hundred_silent_questions_do_not_stop_the_next)
{
	struct dns_pending *p[100];
	struct dns *dns = resolver(false);
	struct dns_answer a;
	char name[64];

	for (int i = 0; i < COUNT(p); i++) {
		snprintf(name, sizeof(name), "silent%d.example", i);
		p[i] = dns_start(dns, name, TYPE_TXT);
	}
	/* With libunbound's own 16 ports it would take more than two seconds. */
	dns_query(dns, "data.example", TYPE_TXT, 1500, &a);
	ck_assert_msg(a.status == DNS_FOUND, "%s", a.why);
	dns_answer_clear(&a);
	for (int i = 0; i < COUNT(p); i++) {
		ck_assert(!dns_wait(p[i], 0));
		dns_pending_free(p[i]);
	}
	dns_free(dns);
}
END_TEST

START_TEST(a_pending_query_can_be_waited_for_in_steps)
{
	struct dns *dns = resolver(false);
	struct dns_pending *p = dns_start(dns, "slow.example", TYPE_TXT);
	const unsigned char *packet;
	size_t len;

	ck_assert(!dns_wait(p, 50));
	ck_assert(dns_wait(p, 5000));
	ck_assert(dns_wait(p, 0));
	ck_assert_int_eq(dns_pending_answer(p)->status, DNS_FOUND);
	packet = dns_pending_packet(p, &len);
	ck_assert_ptr_nonnull(packet);
	ck_assert_uint_gt(len, 12);
	ck_assert_int_eq(packet[7], 1); /* one answer */
	ck_assert_int_eq(packet[12], 4);
	ck_assert_int_eq(memcmp(packet + 13, "slow", 4), 0);
	dns_pending_free(p);
	dns_pending_free(NULL);
	dns_free(dns);
}
END_TEST

START_TEST(a_bogus_answer_gives_no_packet)
{
	struct dns *dns = resolver(true);
	struct dns_pending *p = dns_start(dns, "spoiled.signed.example", TYPE_TXT);
	size_t len = 1;

	ck_assert(dns_wait(p, 10000));
	ck_assert_int_eq(dns_pending_answer(p)->security, DNS_BOGUS);
	ck_assert_ptr_null(dns_pending_packet(p, &len));
	ck_assert_uint_eq(len, 0);
	dns_pending_free(p);
	dns_free(dns);
}
END_TEST

START_TEST(cancelling_while_the_answer_arrives_frees_once)
{
	struct dns *dns = resolver(false);
	char name[64];

	for (int i = 0; i < 400; i++) {
		struct dns_pending *p;

		snprintf(name, sizeof(name), "data%d.example", i);
		p = dns_start(dns, name, TYPE_TXT);
		if (i % 3)
			usleep((useconds_t)random_below(600));
		dns_pending_free(p);
	}
	dns_free(dns);
}
END_TEST

/* Told by what the questions come to, not by a clock: libunbound alone would answer SERVFAIL from memory for a long time. */
START_TEST(after_an_outage_the_next_question_finds_the_server_again)
{
	struct dns *dns = resolver(false);
	int64_t until = mono_ms() + OUTAGE_MS;
	struct dns_answer a;
	char name[64];

	atomic_store(&mute, true);
	for (int i = 0; mono_ms() < until; i++) {
		snprintf(name, sizeof(name), "data%d.example", i % 3);
		dns_query(dns, name, TYPE_TXT, 1500, &a);
		ck_assert_int_eq(a.status, DNS_FAILED);
		dns_answer_clear(&a);
		usleep(10000);
	}
	atomic_store(&mute, false);
	/* One that is asked in the last context may still fail; it is young, and its successor knows nothing of the outage. */
	for (int i = 0; i < 2; i++) {
		dns_query(dns, "data0.example", TYPE_TXT, 5000, &a);
		if (a.status == DNS_FOUND)
			break;
		dns_answer_clear(&a);
	}
	ck_assert_msg(a.status == DNS_FOUND, "%s", a.why);
	dns_answer_clear(&a);
	dns_free(dns);
}
END_TEST

START_TEST(an_outage_frees_every_question_once)
{
	struct dns *dns = resolver(false);
	struct dns_pending *p[40];
	struct dns_answer a;
	char name[64];

	/* Each of these waits in the context that was current when it was asked; there are several by the end. */
	atomic_store(&mute, true);
	for (int i = 0; i < COUNT(p); i++) {
		snprintf(name, sizeof(name), "data%d.example", i);
		p[i] = dns_start(dns, name, TYPE_TXT);
		ck_assert_ptr_nonnull(p[i]);
		if (i % 8 == 7)
			dns_query(dns, "data.example", TYPE_TXT, 1200, &a), dns_answer_clear(&a);
	}
	atomic_store(&mute, false);
	for (int i = 0; i < COUNT(p); i++)
		dns_pending_free(p[i]);
	dns_query(dns, "data.example", TYPE_TXT, 10000, &a);
	ck_assert_msg(a.status == DNS_FOUND, "%s", a.why);
	dns_answer_clear(&a);
	dns_free(dns);
}
END_TEST

static void *ask_often(void *arg)
{
	struct dns *dns = arg;
	struct dns_answer a;
	char name[64];
	size_t wrong = 0;

	for (int i = 0; i < 20; i++) {
		/* Half of them the same for everybody, half of them not. */
		snprintf(name, sizeof(name), "data%llu.example", (unsigned long long)(i % 2 ? (unsigned)i : random_below(1000000)));
		dns_query(dns, name, TYPE_TXT, 20000, &a);
		if (a.status != DNS_FOUND || a.n != 1 || a.rdata[0].len != 6)
			wrong++;
		dns_answer_clear(&a);
	}
	return wrong ? dns : NULL;
}

START_TEST(fifty_threads_ask_at_once)
{
	struct dns *dns = resolver(false);
	pthread_t threads[50];
	void *wrong;

	for (int i = 0; i < COUNT(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_often, dns), 0);
	for (int i = 0; i < COUNT(threads); i++) {
		pthread_join(threads[i], &wrong);
		ck_assert_ptr_null(wrong);
	}
	dns_free(dns);
}
END_TEST

/* ---- settings ------------------------------------------------------------------------------------------------------ */

static const struct {
	const char *sentence, *server, *stub, *anchor, *subject;
} broken[] = {
	{"a server that is no address", "resolver.example", NULL, NULL, "resolver.example"},
	{"a port that is no number", "127.0.0.1@x", NULL, NULL, "127.0.0.1@x"},
	{"root beside a server", "127.0.0.1", NULL, NULL, "root"},
	{"a stub without a zone", NULL, "=127.0.0.1", NULL, "=127.0.0.1"},
	{"a stub without a server", NULL, "example", NULL, "example"},
	{"a stub with a host name", NULL, "example=ns.example", NULL, "example=ns.example"},
	{"an anchor file that is not there", NULL, NULL, "/nonexistent/root.key", "/nonexistent/root.key"},
	{"an anchor file that holds none", NULL, NULL, "/proc/self/status", "/proc/self/status"},
};

START_TEST(broken_settings_table)
{
	struct dns_settings s;
	struct err err = ERR_INIT;

	dns_settings_init(&s);
	ck_assert(strlist_add(&s.servers, broken[_i].server ? broken[_i].server : "127.0.0.1"));
	if (strcmp(broken[_i].subject, "root") == 0)
		ck_assert(strlist_add(&s.servers, "root"));
	if (broken[_i].stub)
		ck_assert(strlist_add(&s.stubs, broken[_i].stub));
	s.dnssec = broken[_i].anchor != NULL;
	s.trust_anchor_file = str_dup(broken[_i].anchor);
	ck_assert_msg(dns_new(&s, &err) == NULL, "%s", broken[_i].sentence);
	ck_assert_msg(err.class == ERR_CONFIG, "%s: %s", broken[_i].sentence, err.text);
	ck_assert_msg(strcmp(err.subject, broken[_i].subject) == 0, "%s: %s", broken[_i].sentence, err.subject);
	dns_settings_clear(&s);
}
END_TEST

static Suite *dns_suite(void)
{
	Suite *s = suite_create("dns");
	TCase *t = tcase_create("answers");
	TCase *c = tcase_create("settings");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, server_start, server_stop);
	tcase_add_loop_test(t, answer_table, 0, COUNT(cases));
	tcase_add_test(t, an_answer_is_remembered);
	tcase_add_test(t, an_answer_is_kept_as_long_as_its_ttl);
	tcase_add_test(t, a_negative_answer_is_kept_as_long_as_its_soa_says);
	tcase_add_test(t, a_bogus_answer_is_not_kept);
	tcase_add_test(t, an_alias_names_where_it_leads);
	tcase_add_test(t, perspectives_are_resolvers_of_their_own);
	tcase_add_test(t, without_perspectives_there_is_one_and_one_that_cannot_be_is_an_error);
	tcase_add_test(t, a_stub_is_asked_for_its_zone_even_below_test);
	tcase_add_test(t, a_silent_server_is_given_up_at_the_deadline);
	tcase_add_test(t, a_hundred_silent_questions_do_not_stop_the_next);
	tcase_add_test(t, a_pending_query_can_be_waited_for_in_steps);
	tcase_add_test(t, a_bogus_answer_gives_no_packet);
	tcase_add_test(t, cancelling_while_the_answer_arrives_frees_once);
	tcase_add_test(t, fifty_threads_ask_at_once);
	tcase_add_test(t, after_an_outage_the_next_question_finds_the_server_again);
	tcase_add_test(t, an_outage_frees_every_question_once);
	suite_add_tcase(s, t);
	tcase_add_loop_test(c, broken_settings_table, 0, COUNT(broken));
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(dns_suite());
	int failed;

	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
