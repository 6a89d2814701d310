/*
 * tests/unit/test_inbound.c - milter/inbound and milter/dkim: which mail is a challenge, and which challenge is believed.
 *
 * Mails are signed here with libopendkim; the keys are served by a small name server in this process.
 */
#include "config.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <check.h>
#include <dkim.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "milter/inbound.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define TOKEN "LgYemJLy3F1LDkiJrdIGbEzyFJyOyf6vBdyZ1TG3sME"

static struct err err;
static struct config config;

static void set_value(char **where, const char *value)
{
	free(*where);
	*where = str_dup(value);
}

static void config_reset(void)
{
	memset(&config, 0, sizeof(config));
	config.ca.require_auto_submitted = true;
	config.ca.authentication = CHALLENGE_DKIM_OR_SMIME;
	config.dns.deadline_ms = 5000;
}

static void config_done(void)
{
	strlist_clear(&config.ca.challenge_domains);
	free(config.ca.authserv_id);
	free(config.ca.challenge_networks);
}

/* ---- mails ----------------------------------------------------------------------------------------------------------- */

#define GENUINE                                                                                                                                                 \
	"From: ACME <acme@ca.example>\nTo: alice@example.org\nSubject: ACME: " TOKEN "\nDate: Sun, 22 Nov 2026 08:00:00 +0000\nMessage-ID: <1@ca.example>\n"           \
	"Reply-To: reply@ca.example\nAuto-Submitted: auto-generated; type=acme\nMIME-Version: 1.0\nContent-Type: text/plain;\n\tcharset=us-ascii\n"

static void headers_read(struct headers *h, const char *text)
{
	char *copy = strdup(text), *line = copy;

	while (line && *line) {
		char *end = line, *colon;

		do
			end = strchr(end + 1, '\n');
		while (end && (end[1] == ' ' || end[1] == '\t'));
		if (end)
			*end++ = '\0';
		colon = strchr(line, ':');
		ck_assert_ptr_nonnull(colon);
		*colon = '\0';
		ck_assert(headers_add(h, line, colon + 1));
		line = end;
	}
	free(copy);
}

/* A field in front of all others, as a forger or a relay puts it. */
static void headers_prepend(struct headers *h, const char *name, const char *value)
{
	struct header last;

	ck_assert(headers_add(h, name, value));
	last = h->v[h->n - 1];
	memmove(h->v + 1, h->v, (h->n - 1) * sizeof(*h->v));
	h->v[0] = last;
}

static void headers_replace(struct headers *h, const char *name, const char *value)
{
	for (size_t i = 0; i < h->n; i++) {
		if (!str_eq_nocase(h->v[i].name, name))
			continue;
		if (value) {
			set_value(&h->v[i].value, value);
			return;
		}
		free(h->v[i].name);
		free(h->v[i].value);
		memmove(h->v + i, h->v + i + 1, (h->n - i - 1) * sizeof(*h->v));
		h->n--;
		return;
	}
	ck_assert(value == NULL || headers_add(h, name, value));
}

/* ---- what is a challenge --------------------------------------------------------------------------------------------- */

static const struct {
	const char *sentence, *subject;
	bool candidate;
} subjects[] = {
	{"the plain form", " ACME: " TOKEN, true},
	{"without a blank", " ACME:" TOKEN, true},
	{"encoded", " =?utf-8?Q?ACME=3A_abc?=", true},
	{"encoded in pieces", " =?utf-8?B?QUM=?=\n =?utf-8?B?TUU6IHg=?=", true},
	{"folded behind the word", " ACME:\n " TOKEN, true},
	{"a reply", " Re: ACME: " TOKEN, false},
	{"a reply in other case", " RE:ACME: " TOKEN, false},
	{"something else", " Hello", false},
	{"the word elsewhere", " about ACME: x", false},
	{"nothing", "", false},
};

START_TEST(candidate_shows_in_its_subject)
{
	struct headers h = {0};

	ck_assert(headers_add(&h, "Subject", subjects[_i].subject));
	ck_assert_msg(inbound_is_candidate(&h) == subjects[_i].candidate, "%s", subjects[_i].sentence);
	headers_clear(&h);
	ck_assert(!inbound_is_candidate(&h));
}
END_TEST

static const struct {
	const char *sentence, *name, *value; /* replaces the field; NULL = it is missing */
	bool twice;                          /* added as another one instead */
	const char *why;                     /* part of the refusal; NULL = accepted */
	const char *token;
} parses[] = {
	{"the genuine mail", "X", " y", false, NULL, TOKEN},
	{"a folded token", "Subject", " ACME: LgYemJLy3F1LDkiJrdIG\n\tbEzyFJyOyf6v BdyZ1TG3sME", false, NULL, TOKEN},
	{"a token in two encoded words", "Subject", " =?utf-8?Q?ACME=3A_LgYemJLy3F1LDkiJrdIGbEzy?=\n =?utf-8?Q?FJyOyf6vBdyZ1TG3sME?=", false, NULL, TOKEN},
	{"plain base64 with padding", "Subject", " ACME: LgYemJLy3F1LDk+/rdIGbEzyFJyOyf6vBdyZ1TG3sME=", false, NULL, "LgYemJLy3F1LDk+/rdIGbEzyFJyOyf6vBdyZ1TG3sME="},
	{"the shortest token", "Subject", " ACME: AAAAAAAAAAAAAAAAAAAAAA", false, NULL, "AAAAAAAAAAAAAAAAAAAAAA"},
	{"a token that is too short", "Subject", " ACME: AAAAAAAAAAAAAAAAAAAAA", false, "128 bits", NULL},
	{"padding does not make it longer", "Subject", " ACME: AAAAAAAAAAAAAAAAAAAAA=", false, "128 bits", NULL},
	{"a token of both alphabets", "Subject", " ACME: LgYemJLy3F1LDk+-rdIGbEzyFJyOyf6v", false, "128 bits", NULL},
	{"a token with other characters", "Subject", " ACME: LgYemJLy3F1LDk.rdIGbEzyFJyOyf6v", false, "128 bits", NULL},
	{"a token with UTF-8 in it", "Subject", " =?utf-8?Q?ACME=3A_LgYemJLy3F1LD=C3=BCrdIGbEzyFJyOyf6v?=", false, "128 bits", NULL},
	{"padding in the middle", "Subject", " ACME: LgYemJLy3F1LDk=rdIGbEzyFJyOyf6v", false, "128 bits", NULL},
	{"no token", "Subject", " ACME:", false, "128 bits", NULL},
	{"a second Subject", "Subject", " ACME: AAAAAAAAAAAAAAAAAAAAAAAA", true, "more than one Subject", NULL},
	{"a second From", "From", " mallory@evil.example", true, "From", NULL},
	{"two addresses in From", "From", " acme@ca.example, mallory@evil.example", false, "From", NULL},
	{"no From", "From", NULL, false, "From", NULL},
	{"a broken From", "From", " acme@ca.example <mallory@evil.example>", false, "From", NULL},
	{"no To", "To", NULL, false, "To", NULL},
	{"a second To", "To", " bob@example.org", true, "To", NULL},
	{"no Reply-To is fine", "Reply-To", NULL, false, NULL, TOKEN},
	{"a second Reply-To", "Reply-To", " mallory@evil.example", true, "Reply-To", NULL},
	{"two addresses in Reply-To", "Reply-To", " a@ca.example, b@ca.example", false, "Reply-To", NULL},
	{"no Message-ID", "Message-ID", NULL, false, "Message-ID", NULL},
	{"a second Message-ID", "Message-ID", " <2@ca.example>", true, "Message-ID", NULL},
	{"a Message-ID without brackets", "Message-ID", " 1@ca.example", false, "Message-ID", NULL},
	{"a Message-ID with a blank", "Message-ID", " <1 @ca.example>", false, "Message-ID", NULL},
	{"a Message-ID with a fold", "Message-ID", " <1@ca.example>\n\tX: y", false, "Message-ID", NULL},
	{"no Date", "Date", NULL, false, "Date", NULL},
	{"a Date that is none", "Date", " soon", false, "Date", NULL},
	{"a second Date", "Date", " Sun, 22 Nov 2026 08:00:00 +0000", true, "Date", NULL},
	{"no Auto-Submitted", "Auto-Submitted", NULL, false, "Auto-Submitted", NULL},
	{"Auto-Submitted without type", "Auto-Submitted", " auto-generated", false, NULL, TOKEN},
	{"Auto-Submitted in other case, with a comment", "Auto-Submitted", " Auto-Generated (by acme)", false, NULL, TOKEN},
	{"an auto-reply", "Auto-Submitted", " auto-replied", false, "Auto-Submitted", NULL},
	{"a word that only begins so", "Auto-Submitted", " auto-generatedx", false, "Auto-Submitted", NULL},
	{"a second Auto-Submitted", "Auto-Submitted", " auto-generated", true, "Auto-Submitted", NULL},
};

START_TEST(challenge_says_everything_once)
{
	struct headers h = {0};
	struct candidate c = {0};
	char why[256];
	bool ok;

	config_reset();
	headers_read(&h, GENUINE);
	if (parses[_i].twice)
		headers_prepend(&h, parses[_i].name, parses[_i].value);
	else
		headers_replace(&h, parses[_i].name, parses[_i].value);
	ok = inbound_parse(&config, &h, &c, why);
	ck_assert_msg(ok == (parses[_i].why == NULL), "%s: %s", parses[_i].sentence, why);
	if (ok) {
		ck_assert_str_eq(c.challenge.token_part1, parses[_i].token);
		ck_assert_str_eq(c.challenge.from, "acme@ca.example");
		ck_assert_str_eq(c.challenge.message_id, "<1@ca.example>");
		ck_assert_int_eq(c.challenge.date, 1795334400);
		ck_assert(strlist_has(&c.to, "alice@example.org"));
		ck_assert(c.auto_submitted);
	} else {
		ck_assert_msg(strstr(why, parses[_i].why) != NULL, "%s: %s", parses[_i].sentence, why);
	}
	candidate_clear(&c);
	headers_clear(&h);
	config_done();
}
END_TEST

START_TEST(auto_submitted_is_waived_by_configuration)
{
	struct headers h = {0};
	struct candidate c = {0};
	char why[256];

	config_reset();
	config.ca.require_auto_submitted = false;
	headers_read(&h, GENUINE);
	headers_replace(&h, "Auto-Submitted", NULL);
	ck_assert_msg(inbound_parse(&config, &h, &c, why), "%s", why);
	ck_assert(!c.auto_submitted);
	candidate_clear(&c);
	headers_clear(&h);
	config_done();
}
END_TEST

/* ---- a name server --------------------------------------------------------------------------------------------------- */

static struct server {
	int fd;
	unsigned port;
	pthread_t thread;
	atomic_uint questions;
	atomic_bool stop;
} server;

enum { KEY_GOOD, KEY_OTHER, KEY_WEAK, KEYS };
static EVP_PKEY *keys[KEYS];
static char *private_pem[KEYS], *public_text[KEYS];

static const struct record {
	const char *name;
	int key;            /* -1: none, see text */
	const char *before; /* in front of p= */
	int rcode;          /* 0, 2 = SERVFAIL, 3 = NXDOMAIN, -1 = silence */
} records[] = {
	{"s._domainkey.ca.example", KEY_GOOD, "v=DKIM1; k=rsa; ", 0},
	{"s._domainkey.mail.ca-provider.example", KEY_GOOD, "v=DKIM1; k=rsa; ", 0},
	{"s._domainkey.evil.example", KEY_GOOD, "v=DKIM1; k=rsa; ", 0},
	{"s._domainkey.sub.ca.example", KEY_GOOD, "v=DKIM1; k=rsa; ", 0},
	{"other._domainkey.ca.example", KEY_OTHER, "v=DKIM1; k=rsa; ", 0},
	{"weak._domainkey.ca.example", KEY_WEAK, "v=DKIM1; k=rsa; ", 0},
	{"test._domainkey.ca.example", KEY_GOOD, "v=DKIM1; k=rsa; t=y; ", 0},
	{"revoked._domainkey.ca.example", -1, "v=DKIM1; k=rsa; p=", 0},
	{"silent._domainkey.ca.example", -1, "", -1},
	{"broken._domainkey.ca.example", -1, "", 2},
};

static const struct record *find_record(const char *name)
{
	for (int i = 0; i < COUNT(records); i++)
		if (strcasecmp(records[i].name, name) == 0)
			return &records[i];
	return NULL;
}

/* A TXT record; its text in strings of at most 255 octets. */
static size_t put_txt(unsigned char *out, const char *text)
{
	size_t len = strlen(text), n = 12, strings = len / 255 + 1;

	memcpy(out, "\xc0\x0c\0\x10\0\1\0\0\0\x3c", 10);
	out[10] = (unsigned char)((len + strings) >> 8);
	out[11] = (unsigned char)(len + strings);
	for (size_t i = 0; i < len; i++) {
		if (i % 255 == 0)
			out[n++] = (unsigned char)(len - i > 255 ? 255 : len - i);
		out[n++] = (unsigned char)text[i];
	}
	if (len % 255 == 0)
		out[n++] = 0;
	return n;
}

static void answer(unsigned char *packet, size_t len, const struct sockaddr_in *to)
{
	char name[256] = "", text[1024];
	size_t at = 12, question;
	const struct record *r;

	while (at < len && packet[at] != 0) {
		snprintf(name + strlen(name), sizeof(name) - strlen(name), "%s%.*s", name[0] ? "." : "", packet[at], packet + at + 1);
		at += packet[at] + 1u;
	}
	question = at + 5;
	if (question > len)
		return;
	r = find_record(name);
	if (strstr(name, "_domainkey"))
		atomic_fetch_add(&server.questions, 1);
	if (r && r->rcode < 0)
		return;
	packet[2] = 0x85;
	packet[3] = (unsigned char)(0x80 | (r ? r->rcode : 3));
	memset(packet + 6, 0, 6);
	len = question;
	if (r && r->rcode == 0 && packet[question - 3] == 16) {
		snprintf(text, sizeof(text), "%s%s%s", r->before, r->key >= 0 ? "p=" : "", r->key >= 0 ? public_text[r->key] : "");
		packet[7] = 1;
		len += put_txt(packet + len, text);
	}
	sendto(server.fd, packet, len, 0, (const struct sockaddr *)to, sizeof(*to));
}

static void *serve(void *arg)
{
	while (!atomic_load(&server.stop)) {
		unsigned char packet[4096];
		struct sockaddr_in from;
		socklen_t from_len = sizeof(from);
		struct pollfd p = {.fd = server.fd, .events = POLLIN};
		ssize_t n;

		if (poll(&p, 1, 50) <= 0)
			continue;
		n = recvfrom(server.fd, packet, 1024, 0, (struct sockaddr *)&from, &from_len);
		if (n > 17)
			answer(packet, (size_t)n, &from);
	}
	return arg;
}

static char *pem_of(EVP_PKEY *key, bool private)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data, *out;
	long len;

	if (private)
		PEM_write_bio_PrivateKey_traditional(bio, key, NULL, NULL, 0, NULL, NULL);
	else
		PEM_write_bio_PUBKEY(bio, key);
	len = BIO_get_mem_data(bio, &data);
	out = strndup(data, (size_t)len);
	BIO_free(bio);
	return out;
}

/* The lines between the armour: what stands in p=. */
static char *key_text(EVP_PKEY *key)
{
	char *pem = pem_of(key, false), *out = calloc(1, strlen(pem) + 1), *save = NULL;

	for (char *line = strtok_r(pem, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (line[0] != '-')
			strcat(out, line);
	free(pem);
	return out;
}

static struct dns *dns;

static void dns_setup(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	struct dns_settings settings;
	char name[64];

	config_reset();
	for (int i = 0; i < KEYS; i++) {
		keys[i] = EVP_RSA_gen(i == KEY_WEAK ? 768 : 1024);
		private_pem[i] = pem_of(keys[i], true);
		public_text[i] = key_text(keys[i]);
	}
	server.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(server.fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(getsockname(server.fd, (struct sockaddr *)&address, &len), 0);
	ck_assert_int_eq(pthread_create(&server.thread, NULL, serve, NULL), 0);
	snprintf(name, sizeof(name), "127.0.0.1@%u", ntohs(address.sin_port));
	dns_settings_init(&settings);
	settings.dnssec = false;
	ck_assert(strlist_add(&settings.servers, name));
	dns = dns_new(&settings, &err);
	ck_assert_msg(dns != NULL, "%s", err.text);
	dns_settings_clear(&settings);
}

static void dns_teardown(void)
{
	dns_free(dns);
	atomic_store(&server.stop, true);
	pthread_join(server.thread, NULL);
	close(server.fd);
	for (int i = 0; i < KEYS; i++) {
		EVP_PKEY_free(keys[i]);
		free(private_pem[i]);
		free(public_text[i]);
	}
	config_done();
}

/* ---- signing --------------------------------------------------------------------------------------------------------- */

struct signature {
	const char *domain, *selector;
	int key;
	dkim_alg_t algorithm;
	dkim_canon_t canon;
	ssize_t length;          /* l=; -1 = none */
	const char *fields[16];  /* h=; none = the usual ones */
};

static const char *usual[] = {"From", "Sender", "Reply-To", "To", "CC", "Subject", "Date", "In-Reply-To", "References", "Message-ID", "Auto-Submitted", "Content-Type",
	"Content-Transfer-Encoding", NULL};

/* A field in the form in which it is signed: folds with CRLF. */
static void give(DKIM *d, const struct header *field)
{
	char text[4096];
	size_t n = (size_t)snprintf(text, sizeof(text), "%s:", field->name);

	for (const char *p = field->value; *p; p++) {
		if (*p == '\n')
			text[n++] = '\r';
		text[n++] = *p;
	}
	ck_assert_int_eq(dkim_header(d, (unsigned char *)text, n), DKIM_STAT_OK);
}

static void sign(struct headers *h, const char *body, const struct signature *s)
{
	DKIM_LIB *lib = dkim_init(NULL, NULL);
	unsigned flags = DKIM_LIBFLAGS_SIGNLEN, bits = 512;
	DKIM_STAT status;
	DKIM *d;
	unsigned char *value;
	size_t len;
	char text[4096];

	dkim_options(lib, DKIM_OP_SETOPT, DKIM_OPTS_MINKEYBITS, &bits, sizeof(bits));
	if (s->length >= 0)
		dkim_options(lib, DKIM_OP_SETOPT, DKIM_OPTS_FLAGS, &flags, sizeof(flags));
	d = dkim_sign(lib, (const unsigned char *)"test", NULL, (dkim_sigkey_t)private_pem[s->key], (const unsigned char *)s->selector,
		(const unsigned char *)s->domain, s->canon, s->canon, s->algorithm, s->length, &status);
	ck_assert_msg(d != NULL, "dkim_sign: %s", dkim_getresultstr(status));
	ck_assert_int_eq(dkim_signhdrs(d, s->fields[0] ? (const char **)(uintptr_t)s->fields : usual), DKIM_STAT_OK);
	for (size_t i = 0; i < h->n; i++)
		give(d, &h->v[i]);
	ck_assert_int_eq(dkim_eoh(d), DKIM_STAT_OK);
	if (body[0])
		ck_assert_int_eq(dkim_body(d, (unsigned char *)(uintptr_t)body, strlen(body)), DKIM_STAT_OK);
	status = dkim_eom(d, NULL);
	ck_assert_msg(status == DKIM_STAT_OK, "dkim_eom: %s %s", dkim_getresultstr(status), dkim_geterror(d));
	ck_assert_int_eq(dkim_getsighdr_d(d, 16, &value, &len), DKIM_STAT_OK);
	text[0] = ' ';
	for (size_t i = 0, n = 1; i <= len; i++)
		if (i == len || value[i] != '\r')
			text[n++] = i == len ? '\0' : (char)value[i];
	headers_prepend(h, "DKIM-Signature", text);
	dkim_free(d);
	dkim_close(lib);
}

/* ---- who is believed ------------------------------------------------------------------------------------------------- */

#define SIGNED(d, s) d, s, KEY_GOOD, DKIM_SIGN_RSASHA256, DKIM_CANON_RELAXED, -1, {NULL}
#define BODY "Dear user,\r\n\r\nplease answer.\r\n"

static const struct belief {
	const char *sentence;
	struct signature signature; /* domain NULL: unsigned */
	const char *add, *value;    /* put on top after signing */
	const char *change, *to;    /* replaced after signing */
	const char *body;           /* after signing; NULL = as signed */
	const char *from_domain;    /* challenge_domains, or NULL */
	enum authentic answer;
	const char *how;            /* part of it */
} beliefs[] = {
	{.sentence = "a genuine challenge", .signature = {SIGNED("ca.example", "s")}, .answer = AUTHENTIC_YES, .how = "dkim d=ca.example s=s"},
	{.sentence = "a genuine one in simple canonicalization", .signature = {"ca.example", "s", KEY_GOOD, DKIM_SIGN_RSASHA256, DKIM_CANON_SIMPLE, -1, {NULL}},
		.answer = AUTHENTIC_YES, .how = "dkim d=ca.example"},
	{.sentence = "the domain in other case", .signature = {SIGNED("CA.Example", "s")}, .answer = AUTHENTIC_YES, .how = "dkim d="},
	{.sentence = "only what is needed is signed: a warning",
		.signature = {"ca.example", "s", KEY_GOOD, DKIM_SIGN_RSASHA256, DKIM_CANON_RELAXED, -1, {"From", "To", "Subject", "Date", "Message-ID", "Reply-To", "Auto-Submitted"}},
		.answer = AUTHENTIC_YES, .how = "h= lacks Sender, CC, In-Reply-To"},
	{.sentence = "names signed twice against additions",
		.signature = {"ca.example", "s", KEY_GOOD, DKIM_SIGN_RSASHA256, DKIM_CANON_RELAXED, -1,
			{"From", "From", "To", "Subject", "Subject", "Date", "Message-ID", "Reply-To", "Auto-Submitted"}},
		.answer = AUTHENTIC_YES, .how = "dkim d="},
	{.sentence = "a second signature by somebody else above it", .signature = {SIGNED("ca.example", "s")}, .add = "DKIM-Signature",
		.value = " v=1; a=rsa-sha256; d=evil.example; s=s; c=relaxed/relaxed; h=from; bh=AAAA; b=AAAA", .answer = AUTHENTIC_YES, .how = "dkim d=ca.example"},
	{.sentence = "a broken signature above the good one", .signature = {SIGNED("ca.example", "s")}, .add = "DKIM-Signature", .value = " v=1; rubbish", .answer = AUTHENTIC_YES,
		.how = "dkim d=ca.example"},
	{.sentence = "a provider's domain that is configured", .signature = {SIGNED("mail.ca-provider.example", "s")}, .from_domain = "mail.ca-provider.example",
		.answer = AUTHENTIC_YES, .how = "dkim d=mail.ca-provider.example"},
	{.sentence = "a provider's domain that is not", .signature = {SIGNED("mail.ca-provider.example", "s")}, .answer = AUTHENTIC_NO, .how = "no DKIM signature of the domain"},
	{.sentence = "unsigned", .answer = AUTHENTIC_NO, .how = "no DKIM signature"},
	{.sentence = "signed by another domain", .signature = {SIGNED("evil.example", "s")}, .answer = AUTHENTIC_NO, .how = "no DKIM signature of the domain"},
	{.sentence = "signed by a subdomain", .signature = {SIGNED("sub.ca.example", "s")}, .answer = AUTHENTIC_NO, .how = "no DKIM signature of the domain"},
	{.sentence = "a second From above", .signature = {SIGNED("ca.example", "s")}, .add = "From", .value = " mallory@evil.example", .answer = AUTHENTIC_NO, .how = "more than one From"},
	{.sentence = "a second Subject above", .signature = {SIGNED("ca.example", "s")}, .add = "Subject", .value = " ACME: AAAAAAAAAAAAAAAAAAAAAAAAA", .answer = AUTHENTIC_NO,
		.how = "more than one Subject"},
	{.sentence = "a second To below", .signature = {SIGNED("ca.example", "s")}, .add = "To", .value = " bob@example.org", .answer = AUTHENTIC_NO, .how = "more than one To"},
	{.sentence = "Subject is not signed",
		.signature = {"ca.example", "s", KEY_GOOD, DKIM_SIGN_RSASHA256, DKIM_CANON_RELAXED, -1, {"From", "To", "Date", "Message-ID", "Reply-To", "Auto-Submitted"}},
		.answer = AUTHENTIC_NO, .how = "Subject is not signed"},
	{.sentence = "Reply-To is not signed",
		.signature = {"ca.example", "s", KEY_GOOD, DKIM_SIGN_RSASHA256, DKIM_CANON_RELAXED, -1, {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"}},
		.answer = AUTHENTIC_NO, .how = "Reply-To is not signed"},
	{.sentence = "To was changed", .signature = {SIGNED("ca.example", "s")}, .change = "To", .to = " bob@example.org", .answer = AUTHENTIC_NO, .how = "dkim: "},
	{.sentence = "the body was changed", .signature = {SIGNED("ca.example", "s")}, .body = BODY "more\r\n", .answer = AUTHENTIC_NO, .how = "dkim: "},
	{.sentence = "l= covers the beginning only", .signature = {"ca.example", "s", KEY_GOOD, DKIM_SIGN_RSASHA256, DKIM_CANON_SIMPLE, 10, {NULL}}, .answer = AUTHENTIC_NO,
		.how = "only a part of the body"},
	{.sentence = "l= covered all, then something was added", .signature = {"ca.example", "s", KEY_GOOD, DKIM_SIGN_RSASHA256, DKIM_CANON_SIMPLE, 1000, {NULL}},
		.body = BODY "more\r\n", .answer = AUTHENTIC_NO, .how = "only a part of the body"},
	{.sentence = "l=0", .signature = {"ca.example", "s", KEY_GOOD, DKIM_SIGN_RSASHA256, DKIM_CANON_SIMPLE, 0, {NULL}}, .answer = AUTHENTIC_NO, .how = "only a part of the body"},
	{.sentence = "l= covers all of it", .signature = {"ca.example", "s", KEY_GOOD, DKIM_SIGN_RSASHA256, DKIM_CANON_SIMPLE, 1000, {NULL}}, .answer = AUTHENTIC_YES, .how = "dkim d="},
	{.sentence = "rsa-sha1", .signature = {"ca.example", "s", KEY_GOOD, DKIM_SIGN_RSASHA1, DKIM_CANON_RELAXED, -1, {NULL}}, .answer = AUTHENTIC_NO, .how = "too weak"},
	{.sentence = "a key that is marked as a test", .signature = {SIGNED("ca.example", "test")}, .answer = AUTHENTIC_NO, .how = "t=y"},
	{.sentence = "a key of 768 bits", .signature = {"ca.example", "weak", KEY_WEAK, DKIM_SIGN_RSASHA256, DKIM_CANON_RELAXED, -1, {NULL}}, .answer = AUTHENTIC_NO, .how = "key"},
	{.sentence = "another key than the one in DNS", .signature = {SIGNED("ca.example", "other")}, .answer = AUTHENTIC_NO, .how = "dkim: "},
	{.sentence = "a key that is not in DNS", .signature = {SIGNED("ca.example", "missing")}, .from_domain = "ca.example", .answer = AUTHENTIC_NO, .how = "dkim: "},
	{.sentence = "a revoked key", .signature = {SIGNED("ca.example", "revoked")}, .from_domain = "ca.example", .answer = AUTHENTIC_NO, .how = "dkim: "},
	{.sentence = "DNS fails for a configured sender", .signature = {SIGNED("ca.example", "broken")}, .from_domain = "ca.example", .answer = AUTHENTIC_ASK_AGAIN, .how = "SERVFAIL"},
	{.sentence = "DNS fails for a stranger", .signature = {SIGNED("ca.example", "broken")}, .answer = AUTHENTIC_NO, .how = "SERVFAIL"},
};

static enum authentic ask(const struct headers *h, const char *body, const char *client_ip, const char *awaited_from, char how[256])
{
	struct candidate c = {0};
	struct spool *s = spool_new("/tmp", &err);
	enum authentic answer;

	c.challenge.from = str_dup("acme@ca.example");
	c.auto_submitted = true;
	c.awaited_from = awaited_from;
	for (size_t at = 0, len = strlen(body); at < len; at += 11)
		ck_assert(spool_write(s, body + at, len - at < 11 ? len - at : 11, &err));
	answer = inbound_authenticate(&config, &config.ca, dns, NULL, h, s, &c, client_ip, how);
	spool_free(s);
	candidate_clear(&c);
	return answer;
}

START_TEST(only_what_the_ca_signed_as_a_whole_is_believed)
{
	const struct belief *b = &beliefs[_i];
	struct headers h = {0};
	char how[256];
	enum authentic answer_got;

	if (b->from_domain)
		ck_assert(strlist_add(&config.ca.challenge_domains, b->from_domain));
	headers_read(&h, GENUINE);
	if (b->signature.domain)
		sign(&h, BODY, &b->signature);
	if (b->add)
		headers_prepend(&h, b->add, b->value);
	if (b->change)
		headers_replace(&h, b->change, b->to);
	answer_got = ask(&h, b->body ? b->body : BODY, "192.0.2.1", NULL, how);
	ck_assert_msg(answer_got == b->answer, "%s: %d, %s", b->sentence, answer_got, how);
	ck_assert_msg(strstr(how, b->how) != NULL, "%s: %s", b->sentence, how);
	headers_clear(&h);
}
END_TEST

START_TEST(an_empty_body_is_a_body)
{
	struct signature s = {SIGNED("ca.example", "s")};
	struct headers h = {0};
	char how[256];

	headers_read(&h, GENUINE);
	sign(&h, "", &s);
	ck_assert_msg(ask(&h, "", "192.0.2.1", NULL, how) == AUTHENTIC_YES, "%s", how);
	headers_clear(&h);
}
END_TEST

START_TEST(silent_dns_is_told_from_no_key_and_ends_in_time)
{
	struct signature s = {SIGNED("ca.example", "silent")};
	struct headers h = {0};
	int64_t start;
	char how[256];

	config.dns.deadline_ms = 500;
	headers_read(&h, GENUINE);
	sign(&h, BODY, &s);
	start = mono_ms();
	ck_assert_int_eq(ask(&h, BODY, "192.0.2.1", "Challenges@CA.example", how), AUTHENTIC_ASK_AGAIN);
	ck_assert_msg(strstr(how, "in time") != NULL, "%s", how);
	ck_assert_int_eq(ask(&h, BODY, "192.0.2.1", "acme@other.example", how), AUTHENTIC_NO);
	ck_assert_int_eq(ask(&h, BODY, "192.0.2.1", NULL, how), AUTHENTIC_NO);
	ck_assert(strlist_add(&config.ca.challenge_domains, "CA.example"));
	ck_assert_int_eq(ask(&h, BODY, "192.0.2.1", NULL, how), AUTHENTIC_ASK_AGAIN);
	ck_assert_int_lt(mono_ms() - start, 4000);
	headers_clear(&h);
}
END_TEST

START_TEST(a_mail_full_of_signatures_costs_few_lookups)
{
	struct signature s = {SIGNED("ca.example", "s")};
	struct headers h = {0};
	char how[256], value[256];

	headers_read(&h, GENUINE);
	sign(&h, BODY, &s);
	for (int i = 0; i < 200; i++) {
		snprintf(value, sizeof(value), " v=1; a=rsa-sha256; d=%s; s=x%d; c=relaxed/relaxed; h=from; bh=AAAA; b=AAAA", i < 100 ? "evil.example" : "ca.example", i);
		headers_prepend(&h, "DKIM-Signature", value);
	}
	atomic_store(&server.questions, 0);
	ask(&h, BODY, "192.0.2.1", NULL, how);
	ck_assert_uint_le(atomic_load(&server.questions), 20);
	headers_clear(&h);
}
END_TEST

START_TEST(tenant_is_proven_by_its_domain)
{
	struct signature s = {"ca.example", "s", KEY_GOOD, DKIM_SIGN_RSASHA256, DKIM_CANON_RELAXED, -1, {"From", "Subject", "Date", "Message-ID", "Content-Type"}};
	struct headers h = {0};
	struct spool *body = spool_new("/tmp", &err);
	char how[256];

	headers_read(&h, GENUINE);
	sign(&h, BODY, &s);
	ck_assert(spool_write(body, BODY, strlen(BODY), &err));
	ck_assert_msg(inbound_dkim_by(dns, &h, body, "ca.example", how), "%s", how);
	ck_assert(!inbound_dkim_by(dns, &h, body, "evil.example", how));
	/* What is about to be signed as the tenant's must not be read in another way than it was written. */
	ck_assert(headers_add(&h, "Content-Transfer-Encoding", " base64"));
	ck_assert(!inbound_dkim_by(dns, &h, body, "ca.example", how));
	headers_replace(&h, "Content-Transfer-Encoding", NULL);
	ck_assert(inbound_dkim_by(dns, &h, body, "ca.example", how));
	headers_prepend(&h, "From", " mallory@evil.example");
	ck_assert(!inbound_dkim_by(dns, &h, body, "ca.example", how));
	spool_free(body);
	headers_clear(&h);
}
END_TEST

static void *ask_many(void *arg)
{
	char how[256];

	for (int i = 0; i < 10; i++)
		ck_assert_msg(ask(arg, BODY, "192.0.2.1", NULL, how) == AUTHENTIC_YES, "%s", how);
	return NULL;
}

START_TEST(threads_ask_at_once)
{
	struct signature s = {SIGNED("ca.example", "s")};
	struct headers h = {0};
	pthread_t threads[8];

	headers_read(&h, GENUINE);
	sign(&h, BODY, &s);
	for (int i = 0; i < COUNT(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_many, &h), 0);
	for (int i = 0; i < COUNT(threads); i++)
		pthread_join(threads[i], NULL);
	headers_clear(&h);
}
END_TEST

/* ---- the other ways -------------------------------------------------------------------------------------------------- */

static void named_network(const char *text)
{
	config.ca.challenge_networks = calloc(1, sizeof(struct network));
	config.ca.n_challenge_networks = 1;
	ck_assert(network_parse(config.ca.challenge_networks, text));
}

START_TEST(network_is_believed_only_when_configured)
{
	struct headers h = {0};
	char how[256];

	headers_read(&h, GENUINE);
	named_network("192.0.2.0/24");
	ck_assert_int_eq(ask(&h, BODY, "192.0.2.1", NULL, how), AUTHENTIC_NO);
	config.ca.authentication = CHALLENGE_NONE_FROM_NETWORK;
	ck_assert_int_eq(ask(&h, BODY, "192.0.2.1", NULL, how), AUTHENTIC_YES);
	ck_assert_str_eq(how, "network 192.0.2.1");
	ck_assert_int_eq(ask(&h, BODY, "198.51.100.1", NULL, how), AUTHENTIC_NO);
	ck_assert_int_eq(ask(&h, BODY, "", NULL, how), AUTHENTIC_NO);
	headers_clear(&h);
}
END_TEST

static const struct {
	const char *sentence, *top, *below; /* Authentication-Results */
	const char *client;
	bool genuine;
} relays[] = {
	{"the relay says pass", " mx.example.org;\n\tdkim=pass (1024-bit key) header.d=ca.example header.i=@ca.example header.b=abc", NULL, "192.0.2.1", true},
	{"in other case, with version and other results first", " MX.example.org 1; spf=pass smtp.mailfrom=x; DKIM=Pass reason=\"a; b\" header.s=s header.d=\"CA.example\"", NULL, "192.0.2.1", true},
	{"another client says the same", " mx.example.org; dkim=pass header.d=ca.example", NULL, "198.51.100.1", false},
	{"another authserv-id", " mx.evil.example; dkim=pass header.d=ca.example", NULL, "192.0.2.1", false},
	{"the relay says fail", " mx.example.org; dkim=fail header.d=ca.example", NULL, "192.0.2.1", false},
	{"the relay says fail, a forged one below says pass", " mx.example.org; dkim=fail header.d=ca.example", " mx.example.org; dkim=pass header.d=ca.example", "192.0.2.1", false},
	{"a pass of another domain", " mx.example.org; dkim=pass header.d=evil.example", NULL, "192.0.2.1", false},
	{"a pass of another domain, and a fail of the right one", " mx.example.org; dkim=pass header.d=evil.example; dkim=fail header.d=ca.example", NULL, "192.0.2.1", false},
	{"two signatures, one passes", " mx.example.org; dkim=fail header.d=evil.example; dkim=pass header.d=ca.example", NULL, "192.0.2.1", true},
	{"a pass within a comment", " mx.example.org; dkim=none (dkim=pass header.d=ca.example)", NULL, "192.0.2.1", false},
	{"a pass within quotes", " mx.example.org; dkim=fail reason=\"; dkim=pass header.d=ca.example\"", NULL, "192.0.2.1", false},
	{"the authserv-id within a comment", " (mx.example.org; dkim=pass header.d=ca.example) other; dkim=fail", NULL, "192.0.2.1", false},
	{"a comment that does not end", " mx.example.org; dkim=pass header.d=ca.example (", NULL, "192.0.2.1", false},
	{"no results", " mx.example.org; none", NULL, "192.0.2.1", false},
};

START_TEST(relay_is_believed_about_what_it_saw)
{
	struct headers h = {0};
	char how[256];

	config.ca.authentication = CHALLENGE_AUTHSERV_ID;
	set_value(&config.ca.authserv_id, "mx.example.org");
	named_network("192.0.2.0/24");
	headers_read(&h, GENUINE);
	ck_assert_int_eq(ask(&h, BODY, "192.0.2.1", NULL, how), AUTHENTIC_NO);
	if (relays[_i].below)
		headers_prepend(&h, "Authentication-Results", relays[_i].below);
	headers_prepend(&h, "Authentication-Results", relays[_i].top);
	ck_assert_msg((ask(&h, BODY, relays[_i].client, NULL, how) == AUTHENTIC_YES) == relays[_i].genuine, "%s: %s", relays[_i].sentence, how);
	headers_clear(&h);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("inbound");
	TCase *parse = tcase_create("parse"), *tc = tcase_create("authenticate");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(parse, candidate_shows_in_its_subject, 0, COUNT(subjects));
	tcase_add_loop_test(parse, challenge_says_everything_once, 0, COUNT(parses));
	tcase_add_test(parse, auto_submitted_is_waived_by_configuration);
	suite_add_tcase(suite, parse);
	tcase_add_checked_fixture(tc, dns_setup, dns_teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, only_what_the_ca_signed_as_a_whole_is_believed, 0, COUNT(beliefs));
	tcase_add_test(tc, an_empty_body_is_a_body);
	tcase_add_test(tc, silent_dns_is_told_from_no_key_and_ends_in_time);
	tcase_add_test(tc, a_mail_full_of_signatures_costs_few_lookups);
	tcase_add_test(tc, tenant_is_proven_by_its_domain);
	tcase_add_test(tc, threads_ask_at_once);
	tcase_add_test(tc, network_is_believed_only_when_configured);
	tcase_add_loop_test(tc, relay_is_believed_about_what_it_saw, 0, COUNT(relays));
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
