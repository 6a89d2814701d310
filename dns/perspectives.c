/*
 * dns/perspectives.c - one resolver for each place that answers are wanted from.
 *
 * A CA looks from the Internet, and at some CAs from several places of it; behind split DNS the system's resolver may see other records.  So
 * each perspective is a struct dns of its own, with its own cache and its own validation: none believes another's word.
 */
#include "config.h"

#include <string.h>

#include "dns/dns.h"

/* What the perspective of this name goes by; anchors, validation and deadline are everybody's. */
static bool settings_of(struct dns_settings *to, const struct dns_settings *from, const char *name)
{
	bool recursion = strcmp(name, DNS_RECURSION) == 0, ok;

	dns_settings_init(to);
	to->dnssec = from->dnssec;
	to->deadline_ms = from->deadline_ms;
	to->trust_anchor_file = str_dup(from->trust_anchor_file);
	ok = (to->trust_anchor_file || !from->trust_anchor_file) && strlist_add(&to->servers, recursion ? "root" : name);
	for (size_t i = 0; ok && recursion && i < from->stubs.n; i++)
		if (strncmp(from->stubs.v[i], ".=", 2) == 0)
			ok = strlist_add(&to->stubs, from->stubs.v[i]);
	return ok;
}

static struct dns *open_one(const struct dns_settings *settings, const char *name, struct err *err)
{
	struct dns_settings own;
	struct dns *dns = NULL;

	if (settings_of(&own, settings, name))
		dns = dns_new(&own, err);
	else
		err_nomem(err, "open resolver");
	dns_settings_clear(&own);
	return dns;
}

bool dns_perspectives_open(struct dns_perspectives *out, const struct dns_settings *settings, struct dns *system, struct err *err)
{
	const struct strlist *names = &settings->perspectives;

	memset(out, 0, sizeof *out);
	if (names->n > DNS_PERSPECTIVES_MAX)
		return err_set(err, ERR_CONFIG, "open resolver", "dns.perspectives", "at most %d are asked, found %zu", DNS_PERSPECTIVES_MAX, names->n);
	if (names->n == 0)
		out->v[out->n++] = (struct dns_perspective){DNS_SYSTEM, system};
	for (size_t i = 0; i < names->n; i++) {
		struct dns *dns = strcmp(names->v[i], DNS_SYSTEM) == 0 ? system : open_one(settings, names->v[i], err);

		if (!dns) {
			dns_perspectives_close(out, system);
			return false;
		}
		out->v[out->n++] = (struct dns_perspective){names->v[i], dns};
	}
	return true;
}

void dns_perspectives_close(struct dns_perspectives *p, const struct dns *system)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->v[i].dns != system)
			dns_free(p->v[i].dns);
	p->n = 0;
}
