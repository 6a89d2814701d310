/*
 * base/address.c - mail addresses in one canonical spelling.
 *
 * Who may sign as whom is decided by comparing addresses, so two spellings of one mailbox must become the same text: a quoted
 * local part is reduced to what it means and quoted again only where it has to be ("al\ice" and "alice" are alice), a domain
 * goes through UTS #46 to lower-case A-labels.  What has no such spelling is refused.
 */
#include "config.h"

#include <string.h>

#include <idn2.h>

#include "base/base.h"
#include "base/internal.h"

#define OP "parse address"

static bool refuse(struct err *err, const char *text, const char *why)
{
	return err_set(err, ERR_POLICY, OP, text, "not a mail address: %s", why);
}

/* RFC 5322 atext with RFC 6532's UTF8-non-ascii. */
static bool is_atext(unsigned char c)
{
	return c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

static bool is_dot_atom(const char *s)
{
	bool dot = true;

	for (; *s; s++) {
		if (*s == '.' && dot)
			return false;
		if (*s != '.' && !is_atext((unsigned char)*s))
			return false;
		dot = *s == '.';
	}
	return !dot;
}

/* The whole text, before any grammar. */
static const char *text_trouble(const char *text, size_t len)
{
	uint32_t cp;
	size_t n;

	if (len == 0)
		return "it is empty";
	if (len >= ADDRESS_MAX)
		return "it is too long";
	for (size_t i = 0; i < len; i += n) {
		n = utf8_next(text + i, len - i, &cp);
		if (n == 0)
			return "it is not UTF-8";
		if (codepoint_is_hostile(cp))
			return "it has a control character";
	}
	return NULL;
}

/* A quoted-string at text: its meaning to `out`; the character behind the closing quote, or NULL. */
static const char *unquote(const char *text, char *out, size_t size)
{
	size_t n = 0;

	for (text++; *text && *text != '"'; text++) {
		if (*text == '\\' && *++text == '\0')
			return NULL;
		if (n + 1 >= size)
			return NULL;
		out[n++] = *text;
	}
	out[n] = '\0';
	return *text == '"' ? text + 1 : NULL;
}

static bool quote(const char *meaning, char *out, size_t size)
{
	size_t n = 0;

	out[n++] = '"';
	for (; *meaning; meaning++) {
		if (n + 4 > size)
			return false;
		if (*meaning == '"' || *meaning == '\\')
			out[n++] = '\\';
		out[n++] = *meaning;
	}
	if (n + 2 > size)
		return false;
	out[n++] = '"';
	out[n] = '\0';
	return true;
}

/* The local part; the '@' behind it, or NULL with *why. */
static const char *parse_local(struct address *out, const char *text, const char **why)
{
	char meaning[sizeof(out->local)];
	const char *at;

	if (*text == '"') {
		at = unquote(text, meaning, sizeof(meaning));
		if (!at || *at != '@') {
			*why = "the quoted local part does not end before an @, or is too long";
			return NULL;
		}
	} else {
		at = strchr(text, '@');
		if (!at || (size_t)(at - text) >= sizeof(meaning)) {
			*why = at ? "the local part is too long" : "it has no @";
			return NULL;
		}
		memcpy(meaning, text, (size_t)(at - text));
		meaning[at - text] = '\0';
		if (!is_dot_atom(meaning)) {
			*why = "the local part is empty or has characters that need quotes";
			return NULL;
		}
	}
	if (is_dot_atom(meaning)) {
		memcpy(out->local, meaning, strlen(meaning) + 1);
	} else if (!quote(meaning, out->local, sizeof(out->local))) {
		*why = "the local part is too long";
		return NULL;
	}
	return at;
}

bool address_parse(struct address *out, const char *text, struct err *err)
{
	struct address a;
	const char *why, *at;

	memset(out, 0, sizeof(*out));
	if (!text)
		return refuse(err, "", "it is empty");
	why = text_trouble(text, strnlen(text, ADDRESS_MAX));
	if (why)
		return refuse(err, text, why);
	at = parse_local(&a, text, &why);
	if (!at)
		return refuse(err, text, why);
	if (at[1] == '[')
		return refuse(err, text, "an address literal is no domain");
	/* A DNS name may end in a dot, a mail domain may not: no certificate would match that spelling. */
	if (at[1] == '\0' || at[strlen(at) - 1] == '.' || !domain_canonical(at + 1, a.domain))
		return refuse(err, text, "what follows the @ is no domain");
	*out = a;
	return true;
}

/* ---- domains ------------------------------------------------------------------------------------------------------- */

/* Letters, digits, hyphens inside labels of 1 to 63; the last label not all digits (that would be an IP address). */
static bool is_host_name(const char *s)
{
	size_t label = 0;
	bool digits = true;

	if (strlen(s) > 253)
		return false;
	for (; *s; s++) {
		if (*s == '.') {
			if (label == 0 || s[-1] == '-')
				return false;
			label = 0;
			digits = true;
			continue;
		}
		if (!((*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9') || (*s == '-' && label > 0)) || ++label > 63)
			return false;
		digits = digits && *s >= '0' && *s <= '9';
	}
	return label > 0 && !digits && s[-1] != '-';
}

static void lower(char *s)
{
	for (; *s; s++)
		if (*s >= 'A' && *s <= 'Z')
			*s = (char)(*s + ('a' - 'A'));
}

/* libidn2 is asked only where there is something to map or check: it refuses plain labels such as r3---sn, which exist.  And never
 * with IDN2_USE_STD3_ASCII_RULES, under which it silently drops what it does not like (ex_ample.org becomes example.org); foreign
 * characters, also those that only appear by mapping, are found by is_host_name afterwards. */
static bool to_a_labels(const char *name, char *out, size_t size)
{
	char *ascii = NULL;
	bool plain = !strcasestr(name, "xn--");
	bool fits;

	for (const char *p = name; *p; p++)
		plain = plain && (unsigned char)*p < 0x80;
	if (!plain && idn2_to_ascii_8z(name, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
		return false;
	if (!plain)
		name = ascii;
	fits = strlen(name) < size;
	if (fits)
		memcpy(out, name, strlen(name) + 1);
	idn2_free(ascii);
	return fits;
}

bool domain_canonical(const char *text, char out[256])
{
	char name[1024];
	size_t len = text ? strnlen(text, sizeof(name)) : 0;

	out[0] = '\0';
	if (len == 0 || len == sizeof(name) || !text_is_utf8(text, len))
		return false;
	memcpy(name, text, len + 1);
	if (name[len - 1] == '.')
		name[--len] = '\0';
	if (len == 0 || !to_a_labels(name, out, 256))
		return false;
	lower(out);
	if (is_host_name(out))
		return true;
	out[0] = '\0';
	return false;
}

/* ---- texts --------------------------------------------------------------------------------------------------------- */

const char *address_text(const struct address *a, char out[ADDRESS_MAX])
{
	snprintf(out, ADDRESS_MAX, "%s@%s", a->local, a->domain);
	return out;
}

const char *address_key(const struct address *a, char out[ADDRESS_MAX])
{
	address_text(a, out);
	lower(out);
	return out;
}

bool address_equal(const struct address *a, const struct address *b)
{
	return str_eq_nocase(a->local, b->local) && str_eq_nocase(a->domain, b->domain);
}

bool address_key_of(const char *text, char out[ADDRESS_MAX], struct err *err)
{
	struct address a;

	out[0] = '\0';
	if (!address_parse(&a, text, err))
		return false;
	address_key(&a, out);
	return true;
}
