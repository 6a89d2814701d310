/*
 * policy/config_rules.c - what does not go together, and the values that follow from others.
 *
 * Each rule is here because the combination would do harm quietly: sign what nobody vouched for, lose mail, send a password in the
 * clear, or ignore what the admin wrote.  Rules look at values, not at whether a key was written, so that what config_show writes
 * loads again (exceptions: two, marked below, make a default follow from another key; a condition of a rule that is written has to say
 * something, and config_show leaves out those that say nothing).
 */
#include "config.h"

#include "policy/config_table.h"
#include "policy/subject.h"

#include <stdlib.h>
#include <string.h>

/* The setting of this path, or the nearest group around it that is in the file. */
static const config_setting_t *setting_at(struct config_source *src, const char *path)
{
	char text[200];
	char *dot;

	snprintf(text, sizeof(text), "%s", path);
	for (;;) {
		const config_setting_t *s = config_lookup(&src->lib, text);

		if (s)
			return s;
		dot = strrchr(text, '.');
		if (!dot)
			return NULL;
		*dot = '\0';
	}
}

static bool written(struct config_source *src, const char *path)
{
	return config_lookup(&src->lib, path) != NULL;
}

#define BAD(path, ...) config_bad(src, setting_at(src, path), path, __VA_ARGS__)

/* The same for a key of submission entry i. */
static const config_setting_t *submission_at(struct config_source *src, size_t i, const char *name)
{
	char path[200];

	snprintf(path, sizeof(path), "submission.[%zu].%s", i, name);
	return setting_at(src, path);
}

#define BAD_SUBMISSION(name, ...) config_bad(src, submission_at(src, i, name), "submission." name, __VA_ARGS__)

/* The group ca or an entry of cas, certificate or an entry of certificates: where its keys stand in the file. */
struct place {
	struct config_source *src;
	const char *entry;   /* "ca": how the key is called in a sentence */
	char group[40];      /* "cas.[0]": where it is */
};

static struct place place_of(struct config_source *src, const char *entry, const char *list, size_t i)
{
	struct place p = {.src = src, .entry = entry};

	if (i == 0)
		snprintf(p.group, sizeof(p.group), "%s", entry);
	else
		snprintf(p.group, sizeof(p.group), "%s.[%zu]", list, i - 1);
	return p;
}

static const config_setting_t *place_setting(const struct place *at, const char *name)
{
	char path[200];

	snprintf(path, sizeof(path), "%s.%s", at->group, name);
	return setting_at(at->src, path);
}

static bool place_written(const struct place *at, const char *name)
{
	char path[200];

	snprintf(path, sizeof(path), "%s.%s", at->group, name);
	return written(at->src, path);
}

static const char *place_key(const struct place *at, const char *name, char out[64])
{
	snprintf(out, 64, "%s.%s", at->entry, name);
	return out;
}

#define BAD_AT(at, name, ...) config_bad((at)->src, place_setting(at, name), place_key(at, name, (char[64]){0}), __VA_ARGS__)

/* 0.0.0.0/0 and ::/0: nobody means the whole Internet when naming peers that are trusted. */
static bool whole_internet(const struct network *nets, size_t n)
{
	static const unsigned char v4_mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

	for (size_t i = 0; i < n; i++)
		if (nets[i].prefix < 8 || (nets[i].prefix == 96 && memcmp(nets[i].addr, v4_mapped, sizeof(v4_mapped)) == 0))
			return true;
	return false;
}

static bool rules_domains(struct config_source *src)
{
	struct config *c = src->config;

	if (c->domains.n == 0)
		return BAD("domains", "expected at least one domain");
	for (size_t i = 0; i < c->domains.n; i++)
		for (size_t j = 0; j < i; j++)
			if (strcmp(c->domains.v[i], c->domains.v[j]) == 0)
				return BAD("domains", "\"%s\" is named twice", c->domains.v[i]);
	return true;
}

static bool rules_pilot(struct config_source *src)
{
	struct config *c = src->config;

	if (!written(src, "pilot"))
		return true;
	if (c->pilot_addresses.n == 0 && !c->pilot_group)
		return BAD("pilot",
			"expected addresses or a group; nobody would take part in an empty pilot; leave it out and everybody does");
	for (size_t i = 0; i < c->pilot_addresses.n; i++)
		if (!config_serves(c, strrchr(c->pilot_addresses.v[i], '@') + 1))
			return BAD("pilot.addresses", "\"%s\" is in none of the domains", c->pilot_addresses.v[i]);
	if (c->pilot_group && c->directory.urls.n == 0)
		return BAD("pilot.group", "a group needs a directory: set directory.urls");
	return true;
}

/* It is taken off every mail of the relay, and must not be among what is signed: structure fields move into the signed part, and header
 * protection repeats what users see there, with the secret. */
static bool own_field(const char *name)
{
	static const char *const fields[] = {"From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
		"Followup-To", "Mail-Followup-To", "Comments", "Keywords", "Importance", "Organization", "User-Agent", "MIME-Version", "Received",
		"Return-Path", "DKIM-Signature"};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (strcasecmp(name, fields[i]) == 0)
			return false;
	return strncasecmp(name, "Content-", 8) != 0;
}

static bool rules_relay(struct config_source *src, const struct submission *s, size_t i)
{
	if (s->vouch != VOUCH_RELAY) {
		if (s->own_mx.n > 0 || s->require_dkim_domain || s->secret_header || s->secret_file)
			return BAD_SUBMISSION("vouch",
				"own-mx, require-dkim-domain, secret-header and secret-file only have a meaning with vouch = "
				"\"relay\"; here they would check nothing");
		return true;
	}
	if (s->n_networks == 0)
		return BAD_SUBMISSION(
			"networks", "vouch = \"relay\" needs networks that name the relay; without them any client would be one");
	if (whole_internet(s->networks, s->n_networks))
		return BAD_SUBMISSION("networks", "expected the networks of the relay, found the whole Internet");
	if (s->own_mx.n == 0)
		return BAD_SUBMISSION("own-mx",
			"vouch = \"relay\" needs own-mx, the names of our MX hosts in Received lines; without them mail from "
			"outside that the relay redirects would be signed");
	if (!s->secret_header != !s->secret_file)
		return BAD_SUBMISSION("secret-header", "secret-header and secret-file go together");
	if (s->secret_header && !own_field(s->secret_header))
		return BAD_SUBMISSION("secret-header", "expected a field that has no other use, such as \"X-Tenant-Proof\": it is taken off, and \"%s\" "
			"belongs to the mail", s->secret_header);
	return true;
}

static bool rules_submission(struct config_source *src, size_t i)
{
	struct config *c = src->config;
	const struct submission *s = &c->submissions[i];

	if (!s->name)
		return BAD_SUBMISSION("name", "expected a name for the log");
	for (size_t j = 0; j < i; j++)
		if (strcmp(c->submissions[j].name, s->name) == 0)
			return BAD_SUBMISSION("name", "\"%s\" is the name of another entry too", s->name);
	if (!s->require_login && s->vouch != VOUCH_RELAY)
		return BAD_SUBMISSION(
			"require-login", "false is only possible with vouch = \"relay\": without a login nobody else can vouch for From");
	if (s->vouch == VOUCH_DIRECTORY && c->directory.urls.n == 0)
		return BAD_SUBMISSION("vouch", "\"directory\" needs a directory: set directory.urls, or choose \"login\" or \"map\"");
	if (s->vouch == VOUCH_MAP && !s->map_file)
		return BAD_SUBMISSION("map-file", "vouch = \"map\" needs a map-file");
	if (s->vouch != VOUCH_MAP && s->map_file)
		return BAD_SUBMISSION("map-file", "a map-file only has a meaning with vouch = \"map\"; here it would be ignored");
	if (c->no_certificate == NO_CERTIFICATE_TEMPFAIL && !s->mta_clients)
		return BAD("no-certificate",
			"\"tempfail\" is only for listeners whose clients are MTAs, which try again; submission \"%s\" has "
			"mta-clients = false and its users would see an error for every mail",
			s->name);
	return rules_relay(src, s, i);
}

static bool rules_submissions(struct config_source *src)
{
	if (src->config->n_submissions == 0)
		return BAD("submission", "expected at least one entry: how does mail of our own users arrive?");
	for (size_t i = 0; i < src->config->n_submissions; i++)
		if (!rules_submission(src, i))
			return false;
	return true;
}

static bool rules_challenge(struct config_source *src)
{
	struct config *c = src->config;
	bool redirect = strcmp(c->disposition, "redirect") == 0;

	if (redirect && !c->redirect_to)
		return BAD("challenge.disposition", "\"redirect\" needs redirect-to");
	if (!redirect && c->redirect_to)
		return BAD("challenge.redirect-to", "only has a meaning with disposition = \"redirect\"");
	return true;
}

static bool rules_authentication(const struct place *at, const struct ca_config *ca)
{
	if (ca->authentication == CHALLENGE_DKIM_OR_SMIME) {
		if (ca->n_challenge_networks > 0)
			return BAD_AT(at, "challenge-networks", "only has a meaning with challenge-authentication = \"authserv-id\" or "
				"\"none-from-network\"; here it would restrict nothing");
	} else if (ca->n_challenge_networks == 0) {
		return BAD_AT(at, "challenge-authentication", "needs challenge-networks: which clients may bring such challenges?");
	} else if (whole_internet(ca->challenge_networks, ca->n_challenge_networks)) {
		return BAD_AT(at, "challenge-networks", "expected networks of our own, found the whole Internet");
	}
	if (ca->authentication == CHALLENGE_AUTHSERV_ID && !ca->authserv_id)
		return BAD_AT(at, "challenge-authentication",
			"\"authserv-id\" needs the key authserv-id: whose Authentication-Results are believed?");
	if (ca->authentication != CHALLENGE_AUTHSERV_ID && ca->authserv_id)
		return BAD_AT(at, "authserv-id", "only has a meaning with challenge-authentication = \"authserv-id\"");
	return true;
}

/* What certificates name is written in vain, or is missing. */
static bool rules_subject(const struct place *at, const struct config *c, const struct certificate_profile *p)
{
	struct organization_id id;
	bool known = p->organization && p->organization_identifier;

	if (p->subject == SUBJECT_IS_EMPTY && p->validation != VALIDATION_MAILBOX)
		return BAD_AT(at, "subject", "\"empty\" only has a meaning with validation = \"mailbox\"");
	if ((p->organization || p->organization_identifier) &&
		(p->validation == VALIDATION_MAILBOX || p->validation == VALIDATION_INDIVIDUAL))
		return BAD_AT(at, p->organization ? "organization" : "organization-identifier",
			"mailbox- and individual-validated certificates name no organization; here it would be ignored");
	if (p->country && p->validation == VALIDATION_MAILBOX)
		return BAD_AT(at, "country", "mailbox-validated certificates name no country; here it would be ignored");
	if (p->country && p->organization_identifier &&
		organization_id_parse(&id, p->organization_identifier, strlen(p->organization_identifier)) &&
		!organization_id_fits(&id, p->country, strlen(p->country)))
		return BAD_AT(at, "country", "\"%s\" is not the country in organization-identifier, \"%s\"; a certificate needs the same",
			p->country, p->organization_identifier);
	if (p->validation == VALIDATION_MAILBOX || p->validation == VALIDATION_PRIVATE || c->directory.urls.n > 0)
		return true;
	if (p->validation == VALIDATION_ORGANIZATION && known)
		return true;
	return BAD_AT(at, "validation",
		"names of people and organizations in certificates come from the directory: set directory.urls, or choose "
		"\"mailbox\", or \"organization\" with certificate.organization and organization-identifier");
}

static bool rules_ca(const struct place *at, const struct config *c, const struct ca_config *ca)
{
	if (place_written(at, "eab") && (!ca->eab_kid || !ca->eab_key_file))
		return BAD_AT(at, ca->eab_kid ? "eab.key-file" : "eab.kid", "external account binding needs both kid and key-file");
	if (c->mode == MODE_OBSERVE)
		return rules_authentication(at, ca);
	if (ca->driver == CA_DRIVER_EXEC && !ca->exec.program)
		return BAD_AT(at, "exec.program", "driver = \"exec\" needs the program: exec = { program = \"/path\"; };");
	if (ca->driver == CA_DRIVER_EXEC && ca->directory_url)
		return BAD_AT(at, "directory-url", "has no meaning with driver = \"exec\"");
	if (ca->driver == CA_DRIVER_ACME && ca->exec.program)
		return BAD_AT(at, "exec.program", "only has a meaning with driver = \"exec\"");
	if (ca->driver == CA_DRIVER_ACME && !ca->directory_url)
		return BAD_AT(at, "directory-url", "expected the URL of the CA's ACME directory");
	if (!ca->anchor_file)
		return BAD_AT(at, "anchor-file",
			"expected a PEM file of the roots that user certificates must chain to; without it every certificate "
			"would be refused");
	return rules_authentication(at, ca);
}

/* One account key for two CAs would tie the two accounts together, and its rotation would break the other. */
static bool rules_cas(struct config_source *src)
{
	struct config *c = src->config;

	if (c->mode != MODE_OBSERVE && !written(src, "ca"))
		return BAD("ca", "mode = \"enroll\" and \"sign\" need a CA: a group ca = { ... };");
	for (size_t i = 0; i < config_cas(c); i++) {
		const struct ca_config *ca = config_ca_at(c, i);
		struct place at = place_of(src, "ca", "cas", i);

		if (i > 0 && !place_written(&at, "name"))
			return BAD_AT(&at, "name", "an entry of cas needs a name of its own");
		for (size_t j = 0; j < i; j++) {
			const struct ca_config *other = config_ca_at(c, j);

			if (strcmp(other->name, ca->name) == 0)
				return BAD_AT(&at, "name", "\"%s\" is the name of another CA too", ca->name);
			if (ca->driver == CA_DRIVER_ACME && other->driver == CA_DRIVER_ACME && strcmp(other->account_key, ca->account_key) == 0)
				return BAD_AT(&at, "account-key", "is the account key of \"%s\" too; every CA needs a file of its own", other->name);
		}
		if (!rules_ca(&at, c, ca))
			return false;
	}
	return true;
}

static bool name_certificate(struct config_source *src, struct certificate_profile *p)
{
	char name[PROFILE_STANDARD_SIZE];

	if (p->name)
		return true;
	p->name = str_dup(profile_standard(p, name));
	return p->name || err_nomem(src->err, "load configuration");
}

static bool rules_certificate(const struct place *at, const struct config *c, struct certificate_profile *p)
{
	if (p->usage != USAGE_SIGN && !c->decryption)
		return BAD_AT(at, "usage",
			"\"encrypt\", \"dual\" and \"split\" need decryption = \"exported-keys\" or \"gateway NAME\": who will read "
			"mail encrypted to these certificates?");
	if (p->ca && !config_ca(c, p->ca))
		return BAD_AT(at, "ca", "there is no CA \"%s\": see ca.name and cas", p->ca);
	if (!rules_subject(at, c, p))
		return false;
	if (p->validation != VALIDATION_PRIVATE) {
		if (p->policy_oids.n > 0 || p->ekus.n > 0 || p->max_days != 0)
			return BAD_AT(at, "validation",
				"policy-oids, ekus and max-days only have a meaning with \"private\"; here they would check "
				"nothing");
	} else {
		if (p->max_days == 0)
			p->max_days = 825;
		if (p->ekus.n == 0 && !strlist_add(&p->ekus, "1.3.6.1.5.5.7.3.4"))
			return err_nomem(at->src->err, "load configuration");
	}
	if (p->addresses == ADDRESSES_ALL && c->directory.urls.n == 0)
		return BAD_AT(at, "addresses", "\"all\" needs a directory, which knows them: set directory.urls");
	if (p->addresses == ADDRESSES_ALL && config_ca_of(c, p)->addresses_per_order < 2)
		return BAD_AT(at, "addresses", "\"all\" needs a CA that takes several in one order: ca.addresses-per-order of \"%s\" is 1",
			config_ca_of(c, p)->name);
	return true;
}

static bool rules_certificates(struct config_source *src)
{
	struct config *c = src->config;

	for (size_t i = 0; i < config_certificates(c); i++) {
		struct certificate_profile *p = (struct certificate_profile *)(uintptr_t)config_certificate_at(c, i);
		struct place at = place_of(src, "certificate", "certificates", i);

		if (!name_certificate(src, p))
			return false;
		if (strcmp(p->name, CERTIFICATE_NONE) == 0)
			return BAD_AT(&at, "name", "\"" CERTIFICATE_NONE "\" is what rules call having none");
		for (size_t j = 0; j < i; j++)
			if (strcmp(config_certificate_at(c, j)->name, p->name) == 0)
				return BAD_AT(&at, "name", "\"%s\" is the name of another kind of certificate too; give each entry a name", p->name);
		if (!rules_certificate(&at, c, p))
			return false;
	}
	return true;
}

/* ---- rules: who gets what ------------------------------------------------------------------------------------------ */

#define BAD_RULE(name, ...) config_bad(src, rule_at(src, i, name), "rules." name, __VA_ARGS__)

static const config_setting_t *rule_at(struct config_source *src, size_t i, const char *name)
{
	char path[200];

	snprintf(path, sizeof(path), "rules.[%zu].%s", i, name);
	return setting_at(src, path);
}

static bool rule_written(struct config_source *src, size_t i, const char *name)
{
	char path[200];

	snprintf(path, sizeof(path), "rules.[%zu].%s", i, name);
	return written(src, path);
}

static bool mta_clients_alone(const struct config *c)
{
	for (size_t i = 0; i < c->n_submissions; i++)
		if (!c->submissions[i].mta_clients)
			return false;
	return true;
}

/* A rule that can never match says something else than was meant. */
static bool rule_can_match(struct config_source *src, const struct rule *r, size_t i)
{
	const struct config *c = src->config;

	for (size_t k = 0; k < r->addresses.n; k++) {
		const char *domain = strrchr(r->addresses.v[k], '@') + 1;

		if (!config_serves(c, domain))
			return BAD_RULE("addresses", "\"%s\" is in none of the domains", r->addresses.v[k]);
		if (r->domains.n > 0 && !strlist_has(&r->domains, domain))
			return BAD_RULE("addresses", "\"%s\" is in none of this rule's domains, and both conditions have to hold", r->addresses.v[k]);
	}
	for (size_t k = 0; k < r->domains.n; k++)
		if (!config_serves(c, r->domains.v[k]))
			return BAD_RULE("domains", "\"%s\" is none of the domains that we serve", r->domains.v[k]);
	if (c->directory.urls.n == 0 && (r->filter || r->groups.n > 0 || r->kinds.n > 0))
		return BAD_RULE("filter", "filter, groups and kinds ask the directory: set directory.urls");
	if (i > 0 && config_rule(c, r->name) != r)
		return BAD_RULE("name", "\"%s\" is the name of another rule too", r->name);
	return true;
}

static bool is_everybody(const struct rule *r)
{
	return r->addresses.n == 0 && r->domains.n == 0 && !r->filter && r->groups.n == 0 && r->kinds.n == 0;
}

/* The last name taken out of a condition would make the rule one for everybody. */
static bool rule_conditions(struct config_source *src, const struct rule *r, size_t i)
{
	static const char words[] = "expected at least one; with none in it the condition would hold for everybody; leave the key out if that is meant";

	if (rule_written(src, i, "addresses") && r->addresses.n == 0)
		return BAD_RULE("addresses", "%s", words);
	if (rule_written(src, i, "domains") && r->domains.n == 0)
		return BAD_RULE("domains", "%s", words);
	if (rule_written(src, i, "groups") && r->groups.n == 0)
		return BAD_RULE("groups", "%s", words);
	if (rule_written(src, i, "kinds") && r->kinds.n == 0)
		return BAD_RULE("kinds", "%s", words);
	return true;
}

static bool rules_rule(struct config_source *src, const struct rule *r, size_t i)
{
	const struct config *c = src->config;
	bool none = r->certificate && strcmp(r->certificate, CERTIFICATE_NONE) == 0;

	if (!r->name)
		return BAD_RULE("name", "expected a name for the log and `enrollctl policy explain`");
	if (!rule_conditions(src, r, i) || !rule_can_match(src, r, i))
		return false;
	if (i + 1 < c->n_rules && is_everybody(r))
		return BAD_RULE("name", "rule \"%s\" has no condition, so the rules behind it would never be asked; put it last", r->name);
	if (r->certificate && !none && !config_certificate(c, r->certificate))
		return BAD_RULE("certificate", "there is no kind of certificate \"%s\": see certificate.name and certificates", r->certificate);
	if (none && (r->publish || r->sign != SIGN_ALL || r->unsigned_to.n > 0 || r->unsigned_header))
		return BAD_RULE("certificate", "with \"none\" there is nothing to publish or to sign with: leave publish, sign, unsigned-to and "
			"unsigned-header out");
	if (r->no_certificate == NO_CERTIFICATE_TEMPFAIL && (none || !mta_clients_alone(c)))
		return BAD_RULE("no-certificate", none ? "\"tempfail\" would have mail tried again for ever, as there will be no certificate"
			: "\"tempfail\" is only for listeners whose clients are MTAs, which try again; some submission has mta-clients = false");
	if (r->publish && strcmp(r->publish, "none") != 0 && c->directory.urls.n == 0)
		return BAD_RULE("publish", "\"%s\" needs a directory: set directory.urls", r->publish);
	if (r->publish && strcmp(r->publish, "none") != 0 && strcmp(c->directory.bind, "anonymous") == 0)
		return BAD_RULE("publish", "\"%s\" needs a bind that may write", r->publish);
	return true;
}

static bool rules_rules(struct config_source *src)
{
	for (size_t i = 0; i < src->config->n_rules; i++)
		if (!rules_rule(src, &src->config->rules[i], i))
			return false;
	return true;
}

/* ---- mail rules: which mail is signed how -------------------------------------------------------------------------- */

static const config_setting_t *mail_rule_at(struct config_source *src, size_t i, const char *name)
{
	char path[200];

	snprintf(path, sizeof(path), "mail-rules.[%zu].%s", i, name);
	return setting_at(src, path);
}

static bool mail_rule_written(struct config_source *src, size_t i, const char *name)
{
	char path[200];

	snprintf(path, sizeof(path), "mail-rules.[%zu].%s", i, name);
	return written(src, path);
}

#define BAD_MAIL_RULE(name, ...) config_bad(src, mail_rule_at(src, i, name), "mail-rules." name, __VA_ARGS__)

static bool rules_mail_rule(struct config_source *src, const struct mail_rule *r, size_t i)
{
	static const char none[] = "expected at least one; leave the key out where it is no condition";
	const struct config *c = src->config;

	if (!r->name)
		return BAD_MAIL_RULE("name", "expected a name for the log");
	for (size_t k = 0; k < i; k++)
		if (c->mail_rules[k].name && strcmp(c->mail_rules[k].name, r->name) == 0)
			return BAD_MAIL_RULE("name", "\"%s\" is the name of another mail rule too", r->name);
	if (mail_rule_written(src, i, "recipients") && r->recipients.n == 0)
		return BAD_MAIL_RULE("recipients", "%s", none);
	if (mail_rule_written(src, i, "content-types") && r->content_types.n == 0)
		return BAD_MAIL_RULE("content-types", "%s", none);
	if (r->header_contains && !r->header)
		return BAD_MAIL_RULE("header-contains", "expected the key header beside it: which field is looked at");
	if (r->header_contains && !*r->header_contains)
		return BAD_MAIL_RULE("header-contains", "expected some text; leave the key out where whatever is in the field will do");
	if (r->recipients.n == 0 && !r->header && r->content_types.n == 0 && r->larger_than == 0 && r->direction == DIRECTION_ANY)
		return BAD_MAIL_RULE("name", "rule \"%s\" has no condition, so no mail would ever be signed otherwise; see mode and signing.form", r->name);
	return true;
}

static bool rules_mail_rules(struct config_source *src)
{
	for (size_t i = 0; i < src->config->n_mail_rules; i++)
		if (!rules_mail_rule(src, &src->config->mail_rules[i], i))
			return false;
	return true;
}

/* An address that two entries list is nobody's; that can only be seen when the search looks at every attribute that counts. */
static bool rules_directory_filter(struct config_source *src)
{
	const struct directory_settings *d = &src->config->directory;

	if (d->address_attributes.n == 0)
		return BAD("directory.address-attributes", "expected at least one attribute, such as \"mail\"");
	for (size_t i = 0; i < d->address_attributes.n; i++) {
		char part[300];

		snprintf(part, sizeof(part), "(%s=", d->address_attributes.v[i]);
		if (!strcasestr(d->address_filter, part))
			return BAD("directory.address-filter",
				"expected it to look at every one of address-attributes, but \"%s\" is not in it: two "
				"entries with the same address there would not be noticed",
				d->address_attributes.v[i]);
	}
	return true;
}

static bool rules_directory_urls(struct config_source *src)
{
	const struct directory_settings *d = &src->config->directory;

	for (size_t i = 0; i < d->urls.n; i++) {
		bool plain = strncasecmp(d->urls.v[i], "ldap://", strlen("ldap://")) == 0;
		bool local = strncasecmp(d->urls.v[i], "ldapi://", strlen("ldapi://")) == 0;

		if (plain && !d->starttls && !d->allow_cleartext)
			return BAD("directory.starttls",
				"false would send the password and all answers over \"%s\" in the clear; if that is meant, "
				"say allow-cleartext = true",
				d->urls.v[i]);
		if (strcmp(d->bind, "external") == 0 && !local)
			return BAD("directory.bind", "\"external\" works over ldapi:// only, not over \"%s\"", d->urls.v[i]);
	}
	return true;
}

static bool rules_directory(struct config_source *src)
{
	struct directory_settings *d = &src->config->directory;

	if (d->urls.n == 0) {
		if (strcmp(d->publish, "none") == 0)
			return true;
		if (written(src, "directory.publish")) /* the default follows from urls */
			return BAD("directory.publish", "\"%s\" needs a directory: set directory.urls, or publish = \"none\"", d->publish);
		free(d->publish);
		d->publish = str_dup("none");
		return d->publish || err_nomem(src->err, "load configuration");
	}
	if (!d->base)
		return BAD("directory.base", "expected the search base, such as \"dc=example,dc=org\"");
	if (strcmp(d->bind, "simple") == 0 && (!d->bind_dn || !d->password_file))
		return BAD(
			d->bind_dn ? "directory.password-file" : "directory.bind-dn", "bind = \"simple\" needs bind-dn and password-file");
	if (strcmp(d->bind, "anonymous") == 0 && strcmp(d->publish, "none") != 0)
		return BAD("directory.publish", "\"%s\" needs a bind that may write; with bind = \"anonymous\" say publish = \"none\"",
			d->publish);
	if (d->connect_ms > d->deadline_ms)
		return BAD("directory.connect-ms", "expected at most deadline-ms (%u), found %u", d->deadline_ms, d->connect_ms);
	return rules_directory_urls(src) && rules_directory_filter(src);
}

static bool rules_milter(struct config_source *src)
{
	struct config *c = src->config;
	const char *sockets[] = {c->milter.outbound_socket, c->milter.inbound_socket};
	static const char *const keys[] = {"milter.outbound-socket", "milter.inbound-socket"};

	for (size_t i = 0; i < 2; i++)
		if (strncmp(sockets[i], "inet", 4) == 0 && c->milter.n_tcp_peers == 0)
			return BAD(keys[i], "an inet socket needs tcp-peers: who connects can have mail signed as anybody");
	if (whole_internet(c->milter.tcp_peers, c->milter.n_tcp_peers))
		return BAD("milter.tcp-peers", "expected the hosts of our MTAs, found the whole Internet");
	if (strcmp(sockets[0], sockets[1]) == 0)
		return BAD("milter.inbound-socket", "expected another socket than the outbound instance's");
	return true;
}

static bool rules_metrics(struct config_source *src)
{
	struct config *c = src->config;
	const char *sockets[] = {c->metrics.enrolld, c->metrics.outbound, c->metrics.inbound, c->milter.outbound_socket, c->milter.inbound_socket};
	static const char *const keys[] = {"metrics.enrolld", "metrics.outbound", "metrics.inbound"};

	for (size_t i = 0; i < 3; i++) {
		if (sockets[i] && strncmp(sockets[i], "unix:", 5) == 0 && strcmp(sockets[i] + 5, c->control.socket) == 0)
			return BAD(keys[i], "expected another socket than control.socket");
		for (size_t k = i + 1; sockets[i] && k < 5; k++)
			if (sockets[k] && strcmp(sockets[i], sockets[k]) == 0)
				return BAD(keys[i], "expected a socket of its own, found that of %s", k < 3 ? keys[k] : "a milter instance");
	}
	return true;
}

static bool rules_dns(struct config_source *src)
{
	const struct dns_settings *d = &src->config->dns;

	if (d->servers.n > 1 && strlist_has(&d->servers, "root"))
		return BAD("dns.servers", "\"root\" stands alone: either ask servers or start from the root");
	if (d->perspectives.n > DNS_PERSPECTIVES_MAX)
		return BAD("dns.perspectives", "expected at most %d, found %zu", DNS_PERSPECTIVES_MAX, d->perspectives.n);
	for (size_t i = 1; i < d->perspectives.n; i++)
		for (size_t j = 0; j < i; j++)
			if (strcmp(d->perspectives.v[i], d->perspectives.v[j]) == 0)
				return BAD("dns.perspectives", "\"%s\" stands there twice", d->perspectives.v[i]);
	return true;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* "password=", or "sslpassword=", as libpq reads it: with blanks around the sign, or octets written as %XX. */
static bool names_password(const char *connection)
{
	struct buf plain = BUF_INIT;
	bool found;

	for (const char *p = connection; *p; p++)
		if (*p == '%' && hex_digit(p[1]) >= 0 && hex_digit(p[2]) >= 0) {
			buf_putc(&plain, (char)(hex_digit(p[1]) * 16 + hex_digit(p[2])));
			p += 2;
		} else if (!strchr(" \t\r\n\f\v", *p)) {
			buf_putc(&plain, *p);
		}
	found = plain.failed || strstr(buf_str(&plain), "password=") != NULL;
	buf_wipe(&plain);
	return found;
}

/* A password would stand where everybody on this host may read it, and in messages.  In a URI it is between the first ':' and the '@' of its authority. */
bool config_names_password(const char *connection)
{
	const char *authority = strstr(connection, "://"), *at, *colon;

	if (names_password(connection))
		return true;
	if (!authority)
		return false;
	authority += 3;
	at = memchr(authority, '@', strcspn(authority, "/?"));
	colon = at ? memchr(authority, ':', (size_t)(at - authority)) : NULL;
	return colon && colon + 1 < at;
}

static bool rules_store(struct config_source *src)
{
	struct config *c = src->config;
	const char *connection = c->store.connection;
	bool database = !store_is_file(&c->store);

	if (database && (!connection || !connection[0]))
		return BAD("store.connection", "store.type \"postgresql\" needs it, as \"postgresql://enroll_%%r@db.example/enroll?sslmode=verify-full\"");
	if (!database && connection && connection[0])
		return BAD("store.connection", "it is for store.type \"postgresql\" alone");
	if (database && config_names_password(connection))
		return BAD("store.connection", "no password here, where all of this host may read it: use passfile=FILE, or a client certificate (sslcert, sslkey)");
	return true;
}

bool config_rules(struct config_source *src)
{
	struct config *c = src->config;

	c->store.group = str_dup(c->users.group);
	if (!c->store.group)
		return err_nomem(src->err, "load configuration");
	return rules_domains(src) && rules_pilot(src) && rules_submissions(src) && rules_cas(src) && rules_challenge(src)
		&& rules_certificates(src) && rules_rules(src) && rules_mail_rules(src) && rules_directory(src) && rules_milter(src) && rules_metrics(src) && rules_dns(src) && rules_store(src);
}
