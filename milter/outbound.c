/*
 * milter/outbound.c - may this message be signed in its author's name?
 *
 * The order of the questions is the security of the product: who submitted (proven login or a named relay), then which author address, then
 * whether the one owns the other.  Nothing a sender can write into a header can turn an answer from no to yes; headers can only turn it from
 * yes to no (untouched, from outside).
 */
#include "config.h"

#include "milter/outbound.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAP_FILE_MAX (16u << 20)
#define REPLY_SUBJECT "Re: ACME:"
#define TOKEN_LEAST 22 /* base64url of 128 bits */

/* ---- who submitted ------------------------------------------------------------------------------------------------ */

static bool in_networks(const struct network *v, size_t n, const char *ip)
{
	if (n == 0)
		return true;
	for (size_t i = 0; i < n; i++)
		if (network_contains(&v[i], ip))
			return true;
	return false;
}

static bool listener_matches(const struct submission *s, const struct connection_facts *conn)
{
	return (s->daemons.n == 0 || strlist_has(&s->daemons, conn->daemon)) && in_networks(s->networks, s->n_networks, conn->client_ip);
}

bool outbound_connection(const struct config *c, const struct connection_facts *conn)
{
	for (size_t i = 0; i < c->n_submissions; i++)
		if (listener_matches(&c->submissions[i], conn))
			return true;
	return false;
}

const struct submission *outbound_submission(const struct config *c, const struct connection_facts *conn, const char *login, const char **why)
{
	*why = "no submission rule names this listener and client";
	for (size_t i = 0; i < c->n_submissions; i++) {
		const struct submission *s = &c->submissions[i];

		if (!listener_matches(s, conn))
			continue;
		if (!s->require_login || login[0])
			return s;
		*why = "not authenticated";
	}
	return NULL;
}

/* ---- the author ------------------------------------------------------------------------------------------------------ */

bool outbound_from(const struct config *c, struct mail_facts *m, const char **why)
{
	struct strlist found = {0};
	struct address a;
	bool ok = false;

	if (headers_count(&m->headers, "From") != 1) {
		*why = headers_count(&m->headers, "From") ? "more than one From field" : "no From field";
		return false;
	}
	if (!mime_addresses(&found, headers_get(&m->headers, "From", 0))) {
		*why = "From is not well-formed";
	} else if (found.n != 1) {
		*why = found.n ? "more than one From address" : "no From address";
	} else if (!address_parse(&a, found.v[0], NULL)) {
		*why = "From is not well-formed";
	} else if (!config_serves(c, a.domain)) {
		*why = "From is not in a served domain";
	} else {
		address_text(&a, m->from);
		ok = true;
	}
	strlist_clear(&found);
	return ok;
}

/* ---- came from outside ------------------------------------------------------------------------------------------------- */

static bool has_prefix(const struct headers *h, const char *prefix)
{
	for (size_t i = 0; i < h->n; i++)
		if (strncasecmp(h->v[i].name, prefix, strlen(prefix)) == 0)
			return true;
	return false;
}

static bool is_host_char(char c)
{
	return c == '-' || c == '.' || c == ':' || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

/* A host name or address as a word of its own: "mx.example.org" is not found in "mx.example.org.evil". */
static bool names_host(const char *received, const char *host)
{
	size_t len = strlen(host);

	for (const char *p = received; (p = strcasestr(p, host)); p++) {
		const char *end = p + len;

		if ((p == received || !is_host_char(p[-1])) && (!is_host_char(*end) || (*end == '.' && !is_host_char(end[1]))))
			return true;
	}
	return false;
}

static bool received_by_own_mx(const struct submission *s, const struct headers *h)
{
	const char *received;

	for (size_t i = 0; (received = headers_get(h, "Received", i)); i++)
		for (size_t k = 0; k < s->own_mx.n; k++)
			if (names_host(received, s->own_mx.v[k]))
				return true;
	return false;
}

bool outbound_from_outside(const struct submission *s, const struct mail_facts *m, const char **why)
{
	if (s->vouch != VOUCH_RELAY)
		return false;
	if (!m->envelope_from[0])
		*why = "from outside: empty envelope sender";
	else if (has_prefix(&m->headers, "Resent-"))
		*why = "from outside: Resent- fields";
	else if (has_prefix(&m->headers, "List-"))
		*why = "from outside: List- fields";
	else if (received_by_own_mx(s, &m->headers))
		*why = "from outside: a Received line names one of our MX hosts";
	else
		return false;
	return true;
}

/* ---- ownership --------------------------------------------------------------------------------------------------------- */

struct sender_map {
	struct sender_entry {
		char *login;
		struct strlist addresses; /* keys */
	} *v;
	size_t n;
};

static int entry_order(const void *a, const void *b)
{
	return strcmp(((const struct sender_entry *)a)->login, ((const struct sender_entry *)b)->login);
}

static char *trim(char *s)
{
	size_t n;

	s += strspn(s, " \t\r");
	for (n = strlen(s); n > 0 && strchr(" \t\r", s[n - 1]);)
		s[--n] = '\0';
	return s;
}

static bool map_error(struct err *err, const char *path, unsigned line, const char *text)
{
	return err_set(err, ERR_CONFIG, "read sender map", path, "line %u: %s; expected \"login: address, address\"", line, text);
}

static bool map_line(struct sender_map *m, char *text, const char *path, unsigned line, struct err *err)
{
	struct sender_entry *e, *grown;
	char *colon, *save = NULL, key[ADDRESS_MAX];
	struct err why = ERR_INIT;

	text = trim(text);
	if (!*text || *text == '#')
		return true;
	colon = strchr(text, ':');
	if (!colon)
		return map_error(err, path, line, "no colon");
	*colon = '\0';
	grown = realloc(m->v, (m->n + 1) * sizeof *m->v);
	if (!grown)
		return err_nomem(err, "read sender map");
	m->v = grown;
	e = &m->v[m->n];
	memset(e, 0, sizeof *e);
	e->login = str_dup(trim(text));
	if (!e->login)
		return err_nomem(err, "read sender map");
	m->n++;
	if (!e->login[0])
		return map_error(err, path, line, "no login before the colon");
	for (char *a = strtok_r(colon + 1, ",", &save); a; a = strtok_r(NULL, ",", &save)) {
		if (!address_key_of(trim(a), key, &why))
			return map_error(err, path, line, why.text);
		if (!strlist_add(&e->addresses, key))
			return err_nomem(err, "read sender map");
	}
	return true;
}

struct sender_map *sender_map_load(const char *path, struct err *err)
{
	struct sender_map *m = calloc(1, sizeof *m);
	struct buf text = BUF_INIT;
	char *save = NULL;
	unsigned line = 0;
	bool ok;

	if (!m) {
		err_nomem(err, "read sender map");
		return NULL;
	}
	ok = file_read(&text, path, MAP_FILE_MAX, err);
	for (char *l = ok && text.len ? text.data : NULL; l && ok; l = save) {
		save = strchr(l, '\n');
		if (save)
			*save++ = '\0';
		ok = map_line(m, l, path, ++line, err);
	}
	buf_clear(&text);
	if (!ok) {
		sender_map_free(m);
		return NULL;
	}
	if (m->n)
		qsort(m->v, m->n, sizeof *m->v, entry_order);
	return m;
}

void sender_map_free(struct sender_map *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->n; i++) {
		free(m->v[i].login);
		strlist_clear(&m->v[i].addresses);
	}
	free(m->v);
	free(m);
}

static bool map_owns(const struct sender_map *map, const char *login, const char *from, const char **why)
{
	struct sender_entry key = {.login = (char *)login}, *e;
	char from_key[ADDRESS_MAX];

	e = map && map->n ? bsearch(&key, map->v, map->n, sizeof *map->v, entry_order) : NULL;
	*why = e ? "address is not listed for this login" : "unknown login";
	if (!e || !address_key_of(from, from_key, NULL) || !strlist_has(&e->addresses, from_key))
		return false;
	*why = "owned";
	return true;
}

/* "CORP\bob" and "bob@corp.example" are both bob where the configuration says so. */
static void strip_login(const struct submission *s, const char *login, char out[256])
{
	size_t len, n;

	snprintf(out, 256, "%s", login);
	for (size_t i = 0; i < s->login_strip.n; i++) {
		const char *part = s->login_strip.v[i];

		len = strlen(out);
		n = strlen(part);
		if (n == 0 || len <= n)
			continue;
		if (part[0] == '@' && strcasecmp(out + len - n, part) == 0)
			out[len - n] = '\0';
		else if (part[0] != '@' && strncasecmp(out, part, n) == 0)
			memmove(out, out + n, len - n + 1);
	}
}

static bool secret_shown(const struct submission *s, const char *secret, const struct headers *h)
{
	const char *value;

	if (headers_count(h, s->secret_header) != 1)
		return false;
	value = headers_get(h, s->secret_header, 0);
	return secret && *secret && secret_equal(value + strspn(value, " \t"), secret);
}

static bool relay_owns(const struct submission *s, const char *secret, const struct mail_facts *m, const char **why)
{
	if (s->secret_header && !secret_shown(s, secret, &m->headers)) {
		*why = "the relay did not show the secret header";
		return false;
	}
	*why = "the relay vouches for it";
	return true;
}

static bool login_is(const char *login, const char *from, const char **why)
{
	char a[ADDRESS_MAX], b[ADDRESS_MAX];

	*why = "the login is not this address";
	if (!address_key_of(login, a, NULL) || !address_key_of(from, b, NULL) || strcmp(a, b) != 0)
		return false;
	*why = "owned";
	return true;
}

bool outbound_owned(const struct submission *s, struct directory *d, const struct sender_map *map, const char *secret, const struct mail_facts *m,
	bool *owned, const char **why, struct err *err)
{
	char login[256];

	*owned = false;
	strip_login(s, m->login, login);
	switch (s->vouch) {
	case VOUCH_DIRECTORY:
		*why = "no directory is configured";
		return !d || directory_owns(d, login, m->from, owned, why, err);
	case VOUCH_LOGIN:
		*owned = login_is(m->login, m->from, why);
		return true;
	case VOUCH_MAP:
		*owned = map_owns(map, login, m->from, why);
		return true;
	case VOUCH_RELAY:
		*owned = relay_owns(s, secret, m, why);
		return true;
	}
	return err_set(err, ERR_BUG, "ask who owns the address", m->from, "unknown kind of vouching");
}

/* ---- untouched ---------------------------------------------------------------------------------------------------------- */

static bool value_begins(const struct headers *h, const char *name, const char *word)
{
	const char *v = headers_get(h, name, 0);

	return v && strncasecmp(v + strspn(v, " \t\r\n"), word, strlen(word)) == 0;
}

/* The reply to a challenge is recognised in case it meets this instance by a wrong configuration; the worst a forger gets from
 * writing this subject is that the own mail stays unsigned.  A token has to follow: there is a company of that name. */
static bool is_challenge_reply(const struct headers *h)
{
	const char *subject = headers_get(h, "Subject", 0);
	size_t token;

	if (!value_begins(h, "Subject", REPLY_SUBJECT))
		return false;
	subject = strchr(subject, ':') + 1;         /* behind "Re:" */
	subject = strchr(subject, ':') + 1;         /* behind "ACME:" */
	subject += strspn(subject, " \t\r\n");
	token = strspn(subject, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/");
	return token >= TOKEN_LEAST && subject[token + strspn(subject + token, " \t\r\n")] == '\0';
}

bool outbound_untouched(const struct mail_facts *m, const char **why)
{
	const struct headers *h = &m->headers;

	if (mime_classify(h, why) != MIME_PLAIN)
		return true;
	if (!m->envelope_from[0])
		*why = "delivery report (empty envelope sender)";
	else if (value_begins(h, "Content-Type", "multipart/report") || value_begins(h, "Content-Type", "message/"))
		*why = "report";
	else if (is_challenge_reply(h))
		*why = "reply to a CA's challenge";
	else
		return false;
	return true;
}

bool outbound_is_list_mail(const struct mail_facts *m)
{
	const struct headers *h = &m->headers;

	return has_prefix(h, "List-") || value_begins(h, "Precedence", "list") || value_begins(h, "Precedence", "bulk") ||
		value_begins(h, "Precedence", "junk");
}

bool outbound_is_auto_submitted(const struct mail_facts *m)
{
	return headers_get(&m->headers, "Auto-Submitted", 0) && !value_begins(&m->headers, "Auto-Submitted", "no");
}
