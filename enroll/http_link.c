/*
 * enroll/http_link.c - Link fields (RFC 8288 section 3): which URLs stand in them under one relation type.
 *
 * A CA names the alternates of a chain and its changed terms this way.  The fields are a stranger's text and are read as far as they make
 * sense: a link that does not is skipped, and what follows the first octet that fits nowhere is not read at all.
 */
#include "config.h"

#include "enroll/http.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SPACE " \t"
/* RFC 9110 section 5.6.2 */
#define TOKEN "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

struct link {
	struct buf target, rel;
	bool has_rel, has_anchor;
};

static void link_clear(struct link *l)
{
	buf_clear(&l->target);
	buf_clear(&l->rel);
	memset(l, 0, sizeof *l);
}

static const char *skip(const char *p, const char *set)
{
	return p + strspn(p, set);
}

/* A token or quoted-string into `out`; NULL when neither stands at `p`. */
static const char *value_read(const char *p, struct buf *out)
{
	size_t n = strspn(p, TOKEN);

	if (*p != '"') {
		buf_append(out, p, n);
		return n ? p + n : NULL;
	}
	for (p++; *p && *p != '"'; p++) {
		if (*p == '\\' && p[1])
			p++;
		buf_putc(out, *p);
	}
	return *p == '"' ? p + 1 : NULL;
}

/* Only the first "rel" counts (RFC 8288 section 3.3). */
static const char *parameter_read(const char *p, struct link *l)
{
	size_t n = strspn(p, TOKEN);
	bool is_rel = n == 3 && strncasecmp(p, "rel", 3) == 0, is_anchor = n == 6 && strncasecmp(p, "anchor", 6) == 0;
	struct buf value = BUF_INIT;

	p = skip(p + n, SPACE);
	if (*p == '=')
		p = value_read(skip(p + 1, SPACE), &value);
	if (is_rel && !l->has_rel)
		buf_puts(&l->rel, buf_str(&value));
	l->has_rel |= is_rel;
	l->has_anchor |= is_anchor;
	buf_clear(&value);
	return p;
}

/* One link from `p`, behind it when it could be read, else NULL. */
static const char *link_read(const char *p, struct link *l)
{
	const char *end;

	p = skip(p, SPACE ",");
	end = *p == '<' ? strchr(p, '>') : NULL;
	if (!end)
		return NULL;
	buf_append(&l->target, p + 1, (size_t)(end - p - 1));
	for (p = skip(end + 1, SPACE); p && *p == ';';) {
		p = parameter_read(skip(p + 1, SPACE), l);
		p = p ? skip(p, SPACE) : NULL;
	}
	return p && (*p == ',' || *p == '\0') ? p : NULL;
}

static bool has_type(const char *types, const char *wanted)
{
	size_t n;

	for (types = skip(types, SPACE); *types; types = skip(types + n, SPACE)) {
		n = strcspn(types, SPACE);
		if (n == strlen(wanted) && strncasecmp(types, wanted, n) == 0)
			return true;
	}
	return false;
}

static bool link_take(const struct link *l, const char *rel, const char *base, struct strlist *out)
{
	char *url = NULL;
	bool ok = true;

	if (!l->has_anchor && has_type(buf_str(&l->rel), rel))
		url = http_url_resolve(base, buf_str(&l->target));
	if (url && !strlist_has(out, url))
		ok = strlist_add(out, url);
	free(url);
	return ok;
}

bool http_links(const struct strlist *fields, const char *rel, const char *base, size_t max, struct strlist *out)
{
	struct link l = {0};
	size_t before = out->n;
	const char *p;
	bool ok = true;

	for (size_t i = 0; ok && i < fields->n; i++)
		for (p = fields->v[i]; ok && p && *p && out->n - before < max;) {
			p = link_read(p, &l);
			if (p)
				ok = link_take(&l, rel, base, out);
			ok = ok && !l.target.failed && !l.rel.failed;
			link_clear(&l);
		}
	return ok;
}
