/*
 * policy/config_table.c - every key of the configuration file, once.
 *
 * Order is that of the file.  To add a key: a row here, its place in struct config, a line in examples/enroll-milter.conf (a test
 * compares both ways), and a rule in config_rules.c when it contradicts another.
 */
#include "config.h"

#include "policy/config_table.h"

#include <limits.h>
#include <string.h>

#define AT(member) offsetof(struct config, member)
#define IN(member) offsetof(struct submission, member)
#define CA(member) offsetof(struct ca_config, member)
#define CERT(member) offsetof(struct certificate_profile, member)
#define RULE(member) offsetof(struct rule, member)
#define MAIL(member) offsetof(struct mail_rule, member)
#define FORMS WORDS({"detached", FORM_DETACHED}, {"opaque", FORM_OPAQUE}, {"unsigned", FORM_UNSIGNED})
#define ENTRIES(list, type, of) .offset = AT(list), .size = sizeof(struct type), .entry = of
#define COUNT_FOLLOWS(type, list, count) \
	_Static_assert(offsetof(type, count) == offsetof(type, list) + sizeof(void *), "the count follows the list")
COUNT_FOLLOWS(struct submission, networks, n_networks);
COUNT_FOLLOWS(struct ca_config, challenge_networks, n_challenge_networks);
COUNT_FOLLOWS(struct config, submissions, n_submissions);
COUNT_FOLLOWS(struct config, more_cas, n_more_cas);
COUNT_FOLLOWS(struct config, more_certificates, n_more_certificates);
COUNT_FOLLOWS(struct config, rules, n_rules);
COUNT_FOLLOWS(struct config, mail_rules, n_mail_rules);
COUNT_FOLLOWS(struct config, milter.tcp_peers, milter.n_tcp_peers);
_Static_assert(sizeof(enum vouch) == sizeof(int), "enums are written through int");

#define WORDS(...) (const struct config_word[]){__VA_ARGS__, {NULL, 0}}
#define DAY 86400u
#define YEAR (366u * DAY)

static const struct config_word key_types[] = {{"rsa:2048", 0}, {"rsa:3072", 0}, {"ec:p256", 0}, {"ec:p384", 0}, {NULL, 0}};

const struct config_key config_keys[] = {
	{"mode", CONFIG_ENUM, AT(mode), WORDS({"observe", MODE_OBSERVE}, {"enroll", MODE_ENROLL}, {"sign", MODE_SIGN}), "observe",
		.help = "observe: only say what would happen; enroll: obtain certificates, leave mail alone; sign: sign mail too"},
	{"pilot", CONFIG_GROUP, .optional = true, .help = "only these take part; leave it out for everybody"},
	{"pilot.addresses", CONFIG_TEXTS, AT(pilot_addresses), .shape = shape_address_key, .help = "addresses that take part"},
	{"pilot.group", CONFIG_TEXT, AT(pilot_group), .shape = shape_dn, .help = "members of this directory group take part"},
	{"cap-per-day", CONFIG_NUMBER, AT(cap_per_day), NULL, "50", 0, 10000000, .help = "orders opened in 24 hours; 0 = no limit"},
	{"cap-total", CONFIG_NUMBER, AT(cap_total), NULL, "0", 0, 10000000,
		.help = "addresses that have a certificate or are on the way to one; 0 = no limit"},
	{"domains", CONFIG_TEXTS, AT(domains), .shape = shape_domain, .help = "domains of our users; mail from others is never touched"},

	{"submission", CONFIG_GROUPS, ENTRIES(submissions, submission, "submission"),
		.help = "how mail of our own users arrives and who vouches for its From; the first match wins"},
	{"submission.name", CONFIG_TEXT, IN(name), .help = "for the log"},
	{"submission.daemons", CONFIG_TEXTS, IN(daemons), .help = "values of {daemon_name}; empty = any"},
	{"submission.networks", CONFIG_NETWORKS, IN(networks), .help = "client networks; empty = any"},
	{"submission.require-login", CONFIG_FLAG, IN(require_login), NULL, "true", .help = "a login is required; false only for a relay"},
	{"submission.vouch", CONFIG_ENUM, IN(vouch),
		WORDS({"directory", VOUCH_DIRECTORY}, {"login", VOUCH_LOGIN}, {"map", VOUCH_MAP}, {"relay", VOUCH_RELAY}), "directory",
		.help = "who says that a login may use a From address"},
	{"submission.map-file", CONFIG_TEXT, IN(map_file), .shape = shape_path,
		.help = "for vouch = map: lines \"login: address, address\""},
	{"submission.login-strip", CONFIG_TEXTS, IN(login_strip), .help = "realms and domains taken off a login before it is looked up"},
	{"submission.own-mx", CONFIG_TEXTS, IN(own_mx), .shape = shape_host,
		.help = "for a relay: our MX hosts as Received lines name them; mail that passed one came from outside"},
	{"submission.require-dkim-domain", CONFIG_TEXT, IN(require_dkim_domain), .shape = shape_domain,
		.help = "for a relay shared with strangers: a valid DKIM signature of this domain is required"},
	{"submission.secret-header", CONFIG_TEXT, IN(secret_header), .shape = shape_header_name,
		.help = "for a relay shared with strangers: this header carries the secret; it is taken off"},
	{"submission.secret-file", CONFIG_TEXT, IN(secret_file), .shape = shape_place, .help = "where that secret is"},
	{"submission.mta-clients", CONFIG_FLAG, IN(mta_clients), NULL, "false", .help = "clients are MTAs, which try again later"},

	{"ca", CONFIG_GROUP, .offset = AT(ca), .entry = "ca", .help = "the CA; needed unless mode = observe"},
	{"ca.name", CONFIG_TEXT, CA(name), NULL, "ca", .shape = shape_token, .help = "name in logs and in the store"},
	{"ca.driver", CONFIG_ENUM, CA(driver), WORDS({"acme", CA_DRIVER_ACME}, {"exec", CA_DRIVER_EXEC}), "acme",
		.preset = true, .help = "how the CA is spoken to: ACME (RFC 8555), or a program of yours"},
	{"ca.preset", CONFIG_TEXT, CA(preset), .shape = shape_preset,
		.help = "a file of defaults for this group: a name in the folder of presets, or a path"},
	{"ca.exec", CONFIG_GROUP, .help = "the program of driver exec"},
	{"ca.exec.program", CONFIG_TEXT, CA(exec.program), .shape = shape_path, .help = "its path; it is run once a question"},
	{"ca.exec.user", CONFIG_TEXT, CA(exec.user), .shape = shape_token, .help = "who it runs as; default: as enrolld"},
	{"ca.exec.environment", CONFIG_TEXTS, CA(exec.environment), .shape = shape_environment,
		.help = "\"NAME=value\", beside PATH and LANG"},
	{"ca.exec.timeout-seconds", CONFIG_NUMBER, CA(exec.timeout_seconds), NULL, "60", 1, 240, .help = "of one run"},
	{"ca.exec.max-output", CONFIG_SIZE, CA(exec.max_output), NULL, "1048576", 4096, 16 * 1024 * 1024, .help = "octets it may answer"},
	{"ca.directory-url", CONFIG_TEXT, CA(directory_url), .shape = shape_https, .help = "ACME directory"},
	{"ca.ca-file", CONFIG_TEXT, CA(ca_file), .shape = shape_path, .help = "anchors for its HTTPS; default: the system's"},
	{"ca.proxy", CONFIG_TEXT, CA(proxy), .shape = shape_proxy,
		.help = "\"http://HOST:PORT\" or \"direct\"; default: the environment's https_proxy"},
	{"ca.anchor-file", CONFIG_TEXT, CA(anchor_file), .shape = shape_path, .help = "roots that user certificates must chain to"},
	{"ca.intermediate-file", CONFIG_TEXT, CA(intermediate_file), .shape = shape_path, .help = "more intermediates for the chain"},
	{"ca.preferred-issuer", CONFIG_TEXT, CA(preferred_issuer),
		.help = "common name of the root to choose when the CA offers several chains"},
	{"ca.contact", CONFIG_TEXT, CA(contact), .shape = shape_mailto, .help = "contact of the ACME account, \"mailto:...\""},
	{"ca.accept-terms", CONFIG_FLAG, CA(accept_terms), NULL, "false",
		.help = "the CA's terms of service were read and are accepted"},
	{"ca.account-key", CONFIG_TEXT, CA(account_key), NULL, SYSCONFDIR "/enroll-milter/account.key", .shape = shape_place,
		.help = "key of the ACME account, made by `enrollctl init`"},
	{"ca.account-key-type", CONFIG_WORD, CA(account_key_type), key_types, "ec:p256", .help = "its type when it is made"},
	{"ca.eab", CONFIG_GROUP, .optional = true, .help = "external account binding, when the CA asks for one"},
	{"ca.eab.kid", CONFIG_TEXT, CA(eab_kid), .help = "key identifier given by the CA"},
	{"ca.eab.key-file", CONFIG_TEXT, CA(eab_key_file), .shape = shape_place, .help = "the MAC key as base64url text"},
	{"ca.eab.algorithm", CONFIG_WORD, CA(eab_algorithm), WORDS({"HS256", 0}, {"HS384", 0}, {"HS512", 0}), "HS256", .help = "MAC"},
	{"ca.profile", CONFIG_TEXT, CA(profile), .shape = shape_token, .preset = true,
		.help = "ACME profile name, as the CA's directory lists it"},
	{"ca.token-join", CONFIG_ENUM, CA(token_join), WORDS({"strings", JOIN_STRINGS}, {"decoded", JOIN_DECODED}), "strings",
		.preset = true, .help = "how the two halves of a challenge token are put together"},
	{"ca.challenge-trigger", CONFIG_ENUM, CA(trigger),
		WORDS({"auto", TRIGGER_AUTO}, {"mail-first", TRIGGER_MAIL_FIRST}, {"post-first", TRIGGER_POST_FIRST}), "auto",
		.preset = true, .help = "does the CA mail before or after the challenge was POSTed"},
	{"ca.trigger-grace", CONFIG_NUMBER, CA(trigger_grace), NULL, "60", 0, DAY,
		.preset = true, .help = "auto: seconds to wait for the mail before the POST"},
	{"ca.identifier-type", CONFIG_WORD, CA(identifier_type), WORDS({"email", 0}, {"dns", 0}), "email",
		.preset = true, .help = "type of order identifiers"},
	{"ca.challenge-authentication", CONFIG_ENUM, CA(authentication),
		WORDS({"dkim-or-smime", CHALLENGE_DKIM_OR_SMIME}, {"none-from-network", CHALLENGE_NONE_FROM_NETWORK},
			{"authserv-id", CHALLENGE_AUTHSERV_ID}), "dkim-or-smime", .preset = true,
		.help = "why a challenge mail is believed"},
	{"ca.challenge-networks", CONFIG_NETWORKS, CA(challenge_networks),
		.help = "for authserv-id and none-from-network: the clients that bring it"},
	{"ca.authserv-id", CONFIG_TEXT, CA(authserv_id), .shape = shape_token, .help = "whose Authentication-Results are believed"},
	{"ca.challenge-domains", CONFIG_TEXTS, CA(challenge_domains), .shape = shape_domain,
		.preset = true, .help = "DKIM d= accepted beside the challenge's own From domain"},
	{"ca.challenge-anchor-file", CONFIG_TEXT, CA(challenge_anchor_file), .shape = shape_path,
		.help = "roots of S/MIME-signed challenges; without it only DKIM counts"},
	{"ca.require-auto-submitted", CONFIG_FLAG, CA(require_auto_submitted), NULL, "true",
		.preset = true, .help = "challenges must say Auto-Submitted"},
	{"ca.challenge-age", CONFIG_NUMBER, CA(challenge_age), NULL, "86400", 60, 30 * DAY,
		.preset = true, .help = "seconds an order waits for its mail"},
	{"ca.reply-delay", CONFIG_NUMBER, CA(reply_delay), NULL, "5", 0, DAY, .preset = true,
		.help = "seconds between the accepted reply and the POST"},
	{"ca.replies-per-hour", CONFIG_NUMBER, CA(replies_per_hour), NULL, "6", 1, 1000, .preset = true,
		.help = "replies for one address"},
	{"ca.poll-seconds", CONFIG_NUMBER, CA(poll_seconds), NULL, "5", 1, DAY,
		.preset = true, .help = "between polls when the CA names no Retry-After"},
	{"ca.timeout-seconds", CONFIG_NUMBER, CA(timeout_seconds), NULL, "30", 1, 120, .help = "of one HTTP request"},
	{"ca.caa", CONFIG_ENUM, CA(caa), WORDS({"enforce", CAA_ENFORCE}, {"report", CAA_REPORT}, {"off", CAA_OFF}), "enforce",
		.help = "what a CAA record that forbids the CA means"},
	{"ca.caa-identities", CONFIG_TEXTS, CA(caa_identities), .shape = shape_domain,
		.preset = true, .help = "the CA's names in CAA records; empty: those its directory names"},
	{"ca.caa-method", CONFIG_TEXT, CA(caa_method), NULL, "email-reply-00", .shape = shape_token,
		.preset = true, .help = "validation method for CAA"},
	{"ca.revocation-check", CONFIG_ENUM, CA(revocation),
		WORDS({"off", REVOCATION_OFF}, {"best-effort", REVOCATION_BEST_EFFORT}, {"required", REVOCATION_REQUIRED}), "off",
		.help = "is a new certificate asked about at its OCSP responder or CRL"},
	{"ca.revocation-watch", CONFIG_NUMBER, CA(revocation_watch), NULL, "43200", 0, 30 * DAY,
		.help = "seconds between two looks at the OCSP responder or CRL of a certificate in use; 0 = never"},
	{"ca.replace-revoked", CONFIG_FLAG, CA(replace_revoked), NULL, "true", .help = "one that is found revoked there is replaced at once"},
	{"ca.max-orders", CONFIG_NUMBER, CA(max_orders), NULL, "5", 1, 1000, .help = "for one certificate, then an admin has to look"},
	{"ca.addresses-per-order", CONFIG_NUMBER, CA(addresses_per_order), NULL, "1", 1, 100, .preset = true,
		.help = "addresses in one order"},
	{"ca.orders-per-hour", CONFIG_NUMBER, CA(orders_per_hour), NULL, "0", 0, 10000000, .preset = true, .help = "0 = no limit"},
	{"ca.orders-in-flight", CONFIG_NUMBER, CA(orders_in_flight), NULL, "500", 0, 10000000,
		.preset = true, .help = "orders opened and not ended; 0 = no limit"},
	{"ca.connections", CONFIG_NUMBER, CA(connections), NULL, "4", 1, 64, .preset = true, .help = "requests to the CA at one time"},

	{"cas", CONFIG_GROUPS, ENTRIES(more_cas, ca_config, "ca"), .help = "more CAs: entries with the keys of ca, each with a name"},

	{"certificate", CONFIG_GROUP, .offset = AT(certificate), .entry = "certificate", .help = "what is asked for"},
	{"certificate.name", CONFIG_TEXT, CERT(name), .shape = shape_token,
		.help = "name of this kind of certificate; default: validation-generation"},
	{"certificate.ca", CONFIG_TEXT, CERT(ca), .shape = shape_token, .help = "name of the CA it comes from; default: that of the group ca"},
	{"certificate.ca-profile", CONFIG_TEXT, CERT(ca_profile), .shape = shape_token,
		.help = "ACME profile name for this kind; default: ca.profile"},
	{"certificate.addresses", CONFIG_ENUM, CERT(addresses), WORDS({"one", ADDRESSES_ONE}, {"all", ADDRESSES_ALL}), "one",
		.help = "one address a certificate, or all of a person's in one, as many as ca.addresses-per-order"},
	{"certificate.validation", CONFIG_ENUM, CERT(validation),
		WORDS({"mailbox", VALIDATION_MAILBOX}, {"organization", VALIDATION_ORGANIZATION}, {"sponsor", VALIDATION_SPONSOR},
			{"individual", VALIDATION_INDIVIDUAL}, {"private", VALIDATION_PRIVATE}), "mailbox",
		.help = "validation type of the S/MIME Baseline Requirements, or private for an internal CA"},
	{"certificate.generation", CONFIG_ENUM, CERT(generation),
		WORDS({"strict", GENERATION_STRICT}, {"multipurpose", GENERATION_MULTIPURPOSE}), "strict",
		.help = "of no meaning for private"},
	{"certificate.usage", CONFIG_ENUM, CERT(usage),
		WORDS({"sign", USAGE_SIGN}, {"encrypt", USAGE_ENCRYPT}, {"dual", USAGE_DUAL}, {"split", USAGE_SPLIT}), "sign",
		.help = "split: one for signing and one for encryption; all but sign only with decryption"},
	{"certificate.key-type", CONFIG_WORD, CERT(key_type), key_types, "rsa:2048", .help = "of user keys"},
	{"certificate.subject", CONFIG_ENUM, CERT(subject), WORDS({"address", SUBJECT_IS_ADDRESS}, {"empty", SUBJECT_IS_EMPTY}), "address",
		.help = "mailbox: the address as common name, or no subject at all"},
	{"certificate.organization", CONFIG_TEXT, CERT(organization), .shape = shape_organization,
		.help = "sponsor, organization: the name of everybody's organization, unless the entry says another"},
	{"certificate.organization-identifier", CONFIG_TEXT, CERT(organization_identifier), .shape = shape_organization_identifier,
		.help = "its organizationIdentifier, such as \"NTRDE-DEK1101R.HRB116737\""},
	{"certificate.country", CONFIG_TEXT, CERT(country), .shape = shape_country,
		.help = "its country, two letters; without it none is asked for"},
	{"certificate.policy-oids", CONFIG_TEXTS, CERT(policy_oids), .shape = shape_oid,
		.help = "private: one of them must be in the certificate; empty = any"},
	{"certificate.ekus", CONFIG_TEXTS, CERT(ekus), .shape = shape_oid,
		.help = "private: these must be in the certificate; empty: emailProtection"},
	{"certificate.max-days", CONFIG_NUMBER, CERT(max_days), NULL, "0", 0, 36500, .help = "private: longest life; 0 = 825"},

	{"certificates", CONFIG_GROUPS, ENTRIES(more_certificates, certificate_profile, "certificate"),
		.help = "more kinds of certificates, for rules: entries with the keys of certificate, each with a name"},

	{"rules", CONFIG_GROUPS, ENTRIES(rules, rule, "rules"),
		.help = "who gets which certificate and when mail is signed; the first entry whose conditions all hold"},
	{"rules.name", CONFIG_TEXT, RULE(name), .shape = shape_token, .help = "for the log and `policy explain`"},
	{"rules.addresses", CONFIG_TEXTS, RULE(addresses), .shape = shape_address_key, .help = "condition: one of these addresses"},
	{"rules.domains", CONFIG_TEXTS, RULE(domains), .shape = shape_domain, .help = "condition: an address in one of these domains"},
	{"rules.filter", CONFIG_TEXT, RULE(filter), .shape = shape_filter, .help = "condition: its directory entry matches"},
	{"rules.groups", CONFIG_TEXTS, RULE(groups), .shape = shape_dn, .help = "condition: its entry is in one of these directory groups"},
	{"rules.kinds", CONFIG_TEXTS, RULE(kinds), .shape = shape_kind, .help = "condition: \"person\", \"shared\" or \"resource\""},
	{"rules.certificate", CONFIG_TEXT, RULE(certificate), .shape = shape_token,
		.help = "name of the kind of certificate, or \"none\"; default: that of the group certificate"},
	{"rules.no-certificate", CONFIG_ENUM, RULE(no_certificate),
		WORDS({"as-configured", NO_CERTIFICATE_AS_CONFIGURED}, {"pass", NO_CERTIFICATE_PASS}, {"reject", NO_CERTIFICATE_REJECT},
			{"hold", NO_CERTIFICATE_HOLD}, {"tempfail", NO_CERTIFICATE_TEMPFAIL}), "as-configured",
		.help = "mail of such a sender without a certificate; default: the key no-certificate"},
	{"rules.publish", CONFIG_WORD, RULE(publish), WORDS({"required", 0}, {"best-effort", 0}, {"none", 0}),
		.help = "default: directory.publish"},
	{"rules.sign", CONFIG_ENUM, RULE(sign),
		WORDS({"all", SIGN_ALL}, {"outgoing", SIGN_OUTGOING}, {"internal", SIGN_INTERNAL}, {"none", SIGN_NONE}), "all",
		.help = "which mail: all, with a recipient outside our domains, with none outside, or none"},
	{"rules.unsigned-to", CONFIG_TEXTS, RULE(unsigned_to), .shape = shape_domain,
		.help = "mail whose recipients are all in these domains is not signed"},
	{"rules.unsigned-header", CONFIG_TEXT, RULE(unsigned_header), .shape = shape_header_name,
		.help = "mail with this field is not signed: the author's choice"},

	{"signing", CONFIG_GROUP, .help = "how mail is signed"},
	{"signing.form", CONFIG_ENUM, AT(signing.form), WORDS({"detached", FORM_DETACHED}, {"opaque", FORM_OPAQUE}), "detached",
		.help = "detached: everybody can read it; opaque: only who has S/MIME, but no gateway breaks it"},
	{"signing.rsa-padding", CONFIG_ENUM, AT(signing.rsa_padding), WORDS({"pkcs1", RSA_PADDING_PKCS1}, {"pss", RSA_PADDING_PSS}), "pkcs1",
		.help = "of RSA signatures; old mail programs know pkcs1 only"},
	{"signing.unencodable", CONFIG_ENUM, AT(signing.unencodable), WORDS({"unsigned", FORM_UNSIGNED}, {"opaque", FORM_OPAQUE}), "unsigned",
		.help = "8-bit mail that must not be re-encoded: a forwarded message or another signature is in it"},
	{"signing.header-protection", CONFIG_FLAG, AT(signing.header_protection), NULL, "false",
		.help = "repeat From, To, Subject, Date... in what is signed (RFC 9788)"},
	{"signing.calendar", CONFIG_ENUM, AT(signing.calendar), FORMS, "unsigned", .help = "mail with a part of type text/calendar"},
	{"signing.list-mail", CONFIG_ENUM, AT(signing.list_mail), FORMS, "unsigned", .help = "mail with List-* or Precedence: list, bulk, junk"},
	{"signing.auto-submitted", CONFIG_ENUM, AT(signing.auto_submitted), FORMS, "unsigned", .help = "automatic replies and notices"},

	{"mail-rules", CONFIG_GROUPS, ENTRIES(mail_rules, mail_rule, "mail-rules"),
		.help = "which mail leaves opaque or unsigned; of the entries whose conditions all hold the strictest counts"},
	{"mail-rules.name", CONFIG_TEXT, MAIL(name), .shape = shape_token, .help = "for the log"},
	{"mail-rules.recipients", CONFIG_TEXTS, MAIL(recipients), .shape = shape_recipient,
		.help = "condition: some recipient is one of these addresses, or in one of these domains"},
	{"mail-rules.header", CONFIG_TEXT, MAIL(header), .shape = shape_header_name, .help = "condition: it has this field"},
	{"mail-rules.header-contains", CONFIG_TEXT, MAIL(header_contains), .help = "condition: with this text in it, upper and lower case alike"},
	{"mail-rules.content-types", CONFIG_TEXTS, MAIL(content_types), .shape = shape_content_type,
		.help = "condition: it has a part of one of these types, such as \"application/ms-tnef\" or \"video/*\""},
	{"mail-rules.larger-than", CONFIG_SIZE, MAIL(larger_than), NULL, "0", 0, UINT_MAX, .help = "condition: it has more octets; 0 = none"},
	{"mail-rules.direction", CONFIG_ENUM, MAIL(direction),
		WORDS({"any", DIRECTION_ANY}, {"outgoing", DIRECTION_OUTGOING}, {"internal", DIRECTION_INTERNAL}), "any",
		.help = "condition: some recipient is outside our domains, or none is"},
	{"mail-rules.form", CONFIG_ENUM, MAIL(form), WORDS({"unsigned", FORM_UNSIGNED}, {"opaque", FORM_OPAQUE}), "unsigned",
		.help = "how it leaves"},

	{"decryption", CONFIG_TEXT, AT(decryption), .shape = shape_decryption,
		.help = "who can read mail encrypted to these certificates: \"exported-keys\" or \"gateway NAME\""},
	{"export", CONFIG_ENUM, AT(export), WORDS({"none", EXPORT_NONE}, {"keys", EXPORT_KEYS}), "none",
		.help = "keys: root may hand out users' keys by enrollctl export --pkcs12"},

	{"directory", CONFIG_GROUP, .help = "the LDAP directory; without urls there is none"},
	{"directory.urls", CONFIG_TEXTS, AT(directory.urls), .shape = shape_ldap_url,
		.help = "ldap://, ldaps://, ldapi:// in order of preference"},
	{"directory.starttls", CONFIG_FLAG, AT(directory.starttls), NULL, "true", .help = "on ldap:// URLs"},
	{"directory.allow-cleartext", CONFIG_FLAG, AT(directory.allow_cleartext), NULL, "false", .help = "ldap:// without TLS is meant"},
	{"directory.ca-file", CONFIG_TEXT, AT(directory.ca_file), .shape = shape_path, .help = "anchors for TLS; default: the system's"},
	{"directory.bind", CONFIG_WORD, AT(directory.bind), WORDS({"simple", 0}, {"external", 0}, {"anonymous", 0}), "simple",
		.help = "external is SASL EXTERNAL over ldapi://"},
	{"directory.bind-dn", CONFIG_TEXT, AT(directory.bind_dn), .shape = shape_dn, .help = "who we are, for bind = simple"},
	{"directory.password-file", CONFIG_TEXT, AT(directory.password_file), .shape = shape_place, .help = "where its password is"},
	{"directory.base", CONFIG_TEXT, AT(directory.base), .shape = shape_dn, .help = "search base"},
	{"directory.login-filter", CONFIG_TEXT, AT(directory.login_filter), NULL, "(uid=%s)", .shape = shape_filter_template,
		.help = "finds the entry of a login (%s)"},
	{"directory.address-filter", CONFIG_TEXT, AT(directory.address_filter), NULL, "(mail=%s)", .shape = shape_filter_template,
		.help = "finds the entries of an address (%s)"},
	{"directory.address-attributes", CONFIG_TEXTS, AT(directory.address_attributes), NULL, "mail", .shape = shape_attribute,
		.help = "what a person owns; proxyAddresses is understood"},
	{"directory.shared-attributes", CONFIG_TEXTS, AT(directory.shared_attributes), .shape = shape_attribute,
		.help = "on a shared mailbox's entry: DNs or logins that may send as it"},
	{"directory.login-attribute", CONFIG_TEXT, AT(directory.login_attribute), NULL, "uid", .shape = shape_attribute,
		.help = "where an entry's login is"},
	{"directory.disabled-filter", CONFIG_TEXT, AT(directory.disabled_filter), .shape = shape_filter,
		.help = "entries that match are disabled"},
	{"directory.shared-filter", CONFIG_TEXT, AT(directory.shared_filter), .shape = shape_filter,
		.help = "entries that match are role or shared mailboxes; default: those with a value in shared-attributes"},
	{"directory.resource-filter", CONFIG_TEXT, AT(directory.resource_filter), .shape = shape_filter,
		.help = "entries that match are rooms and equipment"},
	{"directory.given-name-attribute", CONFIG_TEXT, AT(directory.given_name_attribute), NULL, "givenName", .shape = shape_attribute,
		.help = "given name"},
	{"directory.surname-attribute", CONFIG_TEXT, AT(directory.surname_attribute), NULL, "sn", .shape = shape_attribute,
		.help = "surname"},
	{"directory.display-name-attribute", CONFIG_TEXT, AT(directory.display_name_attribute), NULL, "displayName",
		.shape = shape_attribute, .help = "common name of people; cn where it is missing"},
	{"directory.organization-attribute", CONFIG_TEXT, AT(directory.organization_attribute), NULL, "o", .shape = shape_attribute,
		.help = "organization; Active Directory: company"},
	{"directory.organization-identifier-attribute", CONFIG_TEXT, AT(directory.organization_identifier_attribute), NULL,
		"organizationIdentifier", .shape = shape_attribute, .help = "organizationIdentifier"},
	{"directory.country-attribute", CONFIG_TEXT, AT(directory.country_attribute), .shape = shape_attribute,
		.help = "country of the organization, two letters; default: none"},
	{"directory.organizational-unit-attribute", CONFIG_TEXT, AT(directory.organizational_unit_attribute), .shape = shape_attribute,
		.help = "organizational unit; default: none"},
	{"directory.title-attribute", CONFIG_TEXT, AT(directory.title_attribute), .shape = shape_attribute, .help = "title; default: none"},
	{"directory.locality-attribute", CONFIG_TEXT, AT(directory.locality_attribute), .shape = shape_attribute,
		.help = "locality; default: none"},
	{"directory.state-attribute", CONFIG_TEXT, AT(directory.state_attribute), .shape = shape_attribute,
		.help = "state or province; default: none"},
	{"directory.certificate-attribute", CONFIG_TEXT, AT(directory.certificate_attribute), NULL, "userCertificate;binary",
		.shape = shape_attribute, .help = "where certificates are published; Active Directory: userCertificate"},
	{"directory.smime-attribute", CONFIG_TEXT, AT(directory.smime_attribute), .shape = shape_attribute,
		.help = "userSMIMECertificate, when it is to be written too"},
	{"directory.clear-foreign-smime", CONFIG_FLAG, AT(directory.clear_foreign_smime), NULL, "false",
		.help = "take values of userSMIMECertificate that are not ours away when a certificate is published; they are kept in the store first"},
	{"directory.publish", CONFIG_WORD, AT(directory.publish), WORDS({"required", 0}, {"best-effort", 0}, {"none", 0}), "required",
		.help = "must a certificate be in the directory before it is used; without a directory: none"},
	{"directory.deadline-ms", CONFIG_NUMBER, AT(directory.deadline_ms), NULL, "3000", 50, 60000,
		.help = "of one question, retries included"},
	{"directory.connect-ms", CONFIG_NUMBER, AT(directory.connect_ms), NULL, "1000", 10, 60000, .help = "of one connection"},
	{"directory.cache-seconds", CONFIG_NUMBER, AT(directory.cache_seconds), NULL, "300", 0, DAY, .help = "life of cached answers"},
	{"directory.stale-seconds", CONFIG_NUMBER, AT(directory.stale_seconds), NULL, "900", 0, DAY,
		.help = "directory down: how old the last known answer may be"},

	{"departures", CONFIG_GROUP, .help = "people who left, as the directory has it: disabled there, not there, or without the address"},
	{"departures.interval", CONFIG_NUMBER, AT(departures.interval), NULL, "3600", 0, 7 * DAY,
		.help = "seconds between two looks; who left is not signed for any more; 0 = nobody looks"},
	{"departures.grace-days", CONFIG_NUMBER, AT(departures.grace_days), NULL, "30", 0, 3650,
		.help = "after these days what we published is taken out of the directory, and on-departure follows; the key is kept"},
	{"departures.on-departure", CONFIG_ENUM, AT(departures.on_departure), WORDS({"keep", ON_DEPARTURE_KEEP}, {"revoke", ON_DEPARTURE_REVOKE}), "keep",
		.help = "what becomes of the certificate then"},
	{"departures.reason", CONFIG_WORD, AT(departures.reason), WORDS({"affiliationChanged", 0}, {"cessationOfOperation", 0}), "affiliationChanged",
		.help = "of that revocation"},
	{"departures.guard-percent", CONFIG_NUMBER, AT(departures.guard_percent), NULL, "5", 0, 100,
		.help = "if more of all people than this would be gone within a day, nobody is touched until `enrollctl departures confirm`"},
	{"departures.guard-people", CONFIG_NUMBER, AT(departures.guard_people), NULL, "3", 1, 1000000,
		.help = "so many may go in a day, however few there are"},
	{"departures.on-new-address", CONFIG_ENUM, AT(departures.on_new_address),
		WORDS({"first-mail", NEW_ADDRESS_FIRST_MAIL}, {"at-once", NEW_ADDRESS_AT_ONCE}), "first-mail",
		.help = "when is a certificate asked for who has another address now"},

	{"dns", CONFIG_GROUP, .help = "name resolution for CAA and DKIM"},
	{"dns.servers", CONFIG_TEXTS, AT(dns.servers), .shape = shape_dns_server,
		.help = "\"addr\" or \"addr@port\"; empty: /etc/resolv.conf; \"root\": ask from the root"},
	{"dns.trust-anchor-file", CONFIG_TEXT, AT(dns.trust_anchor_file), .shape = shape_path, .help = "DNSSEC anchors; default: Debian's"},
	{"dns.stubs", CONFIG_TEXTS, AT(dns.stubs), .shape = shape_dns_stub, .help = "\"zone=addr@port\": ask this server for this zone"},
	{"dns.perspectives", CONFIG_TEXTS, AT(dns.perspectives), .shape = shape_dns_perspective,
		.help = "where CAA is asked: \"system\", \"recursion\", \"addr@port\"; empty: \"system\""},
	{"dns.dnssec", CONFIG_FLAG, AT(dns.dnssec), NULL, "true", .help = "validate"},
	{"dns.deadline-ms", CONFIG_NUMBER, AT(dns.deadline_ms), NULL, "5000", 50, 60000, .help = "of one question"},

	{"store", CONFIG_GROUP, .help = "what the programs share"},
	{"store.type", CONFIG_WORD, AT(store.type), WORDS({"sqlite", 0}, {"postgresql", 1}), "sqlite", .help = "kind of store: a file, for one gateway, or a database that several share"},
	{"store.path", CONFIG_TEXT, AT(store.path), NULL, STATEDIR "/store.db", .shape = shape_path, .help = "database file; its folder is also used when the store is elsewhere"},
	{"store.connection", CONFIG_TEXT, AT(store.connection), .help = "how PostgreSQL is reached, as libpq reads it; %r is who connects: outbound, inbound, enrolld, admin, owner"},
	{"store.busy-ms", CONFIG_NUMBER, AT(store.busy_ms), NULL, "5000", 0, 60000, .help = "how long a write waits for another writer, and a mail for the database"},
	{"store.allow-unverified", CONFIG_FLAG, AT(store.allow_unverified), NULL, "false", .help = "a database on another host that nobody checks is meant"},
	{"store.clock-tolerance", CONFIG_NUMBER, AT(store.clock_tolerance), NULL, "10", 0, 12, .help = "seconds that enrolld's clock may be off the database's; 0: not looked at"},
	{"store.retention-days", CONFIG_NUMBER, AT(store.retention_days), NULL, "0", 0, 36500, .help = "history that is older is removed, but for what belongs to open rows; 0: never"},

	{"master", CONFIG_GROUP, .help = "what user keys are wrapped for"},
	{"master.certificate", CONFIG_TEXT, AT(master_certificate), NULL, SYSCONFDIR "/enroll-milter/master.pem", .shape = shape_place,
		.help = "master certificate"},
	{"master.key", CONFIG_TEXT, AT(master_key), NULL, SYSCONFDIR "/enroll-milter/master.key", .shape = shape_place,
		.help = "master key, for the outbound instance alone"},

	{"reply", CONFIG_GROUP, .help = "where replies to challenges are handed to the MTA"},
	{"reply.host", CONFIG_TEXT, AT(reply_host), NULL, "127.0.0.1", .shape = shape_loopback, .help = "a loopback address"},
	{"reply.port", CONFIG_NUMBER, AT(reply_port), NULL, "10025", 1, 65535, .help = "its port"},
	{"reply.timeout-seconds", CONFIG_NUMBER, AT(reply_timeout), NULL, "60", 1, 600, .help = "of one SMTP dialogue"},
	{"reply.report-address", CONFIG_TEXT, AT(report_address), .shape = shape_report_address,
		.help = "delivery reports of replies come to this address with +eNN-TOKEN; without it none are asked for"},

	{"no-certificate", CONFIG_ENUM, AT(no_certificate),
		WORDS({"pass", NO_CERTIFICATE_PASS}, {"reject", NO_CERTIFICATE_REJECT}, {"hold", NO_CERTIFICATE_HOLD},
			{"tempfail", NO_CERTIFICATE_TEMPFAIL}), "pass", .help = "what happens to mail whose sender has no certificate yet"},
	{"on-error", CONFIG_ENUM, AT(on_error), WORDS({"pass", ON_ERROR_PASS}, {"tempfail", ON_ERROR_TEMPFAIL}), "pass",
		.help = "what happens when signing goes wrong; pass is unsigned"},

	{"challenge", CONFIG_GROUP, .help = "authentic challenge mail"},
	{"challenge.disposition", CONFIG_WORD, AT(disposition), WORDS({"discard", 0}, {"deliver", 0}, {"redirect", 0}), "discard",
		.help = "what happens to it"},
	{"challenge.redirect-to", CONFIG_TEXT, AT(redirect_to), .shape = shape_address, .help = "for disposition = redirect"},

	{"milter", CONFIG_GROUP, .help = "enroll-milter"},
	{"milter.outbound-socket", CONFIG_TEXT, AT(milter.outbound_socket), NULL, "unix:" POSTFIXQUEUEDIR "/enroll-milter/outbound.sock",
		.shape = shape_socket, .help = "\"unix:/path\", or \"inet:PORT@HOST\" with tcp-peers"},
	{"milter.inbound-socket", CONFIG_TEXT, AT(milter.inbound_socket), NULL, "unix:" POSTFIXQUEUEDIR "/enroll-milter/inbound.sock",
		.shape = shape_socket, .help = "the same for the inbound instance"},
	{"milter.socket-group", CONFIG_TEXT, AT(milter.socket_group), NULL, "postfix", .shape = shape_token,
		.help = "group of Unix sockets"},
	{"milter.tcp-peers", CONFIG_NETWORKS, AT(milter.tcp_peers), .help = "who may connect to inet sockets"},
	{"milter.spool-directory", CONFIG_TEXT, AT(milter.spool_directory), NULL, SPOOLDIR, .shape = shape_path,
		.help = "where large mail rests while it is signed"},
	{"milter.stale-limit", CONFIG_NUMBER, AT(milter.stale_limit), NULL, "900", 0, DAY,
		.help = "seconds cached credentials sign while the store is away"},
	{"milter.cache-size", CONFIG_NUMBER, AT(milter.cache_size), NULL, "5000", 1, 1000000, .help = "credentials kept ready"},
	{"milter.max-candidate", CONFIG_SIZE, AT(milter.max_candidate), NULL, "262144", 4096, 16 * 1024 * 1024,
		.help = "octets of a challenge mail"},
	{"milter.mail-events", CONFIG_NUMBER, AT(milter.mail_events), NULL, "100000", 0, 100000000, .help = "rows kept about single mails"},

	{"control", CONFIG_GROUP, .help = "enrolld's control socket"},
	{"control.socket", CONFIG_TEXT, AT(control.socket), NULL, RUNDIR "/control.sock", .shape = shape_unix_path,
		.help = "its path"},
	{"control.instance-file", CONFIG_TEXT, AT(control.instance_file), NULL, STATEDIR "/instance", .shape = shape_path,
		.help = "the name of this enrolld among those of its store, made at the first start; each has a file of its own"},
	{"control.admin-group", CONFIG_TEXT, AT(control.admin_group), NULL, "enroll-admin", .shape = shape_token,
		.help = "may do everything; root may anyway"},
	{"control.helpdesk-group", CONFIG_TEXT, AT(control.helpdesk_group), NULL, "enroll-helpdesk", .shape = shape_token,
		.help = "may look and retry"},

	{"metrics", CONFIG_GROUP, .help = "numbers and health for monitoring, over HTTP; each program serves when it has a socket here; a change takes a restart"},
	{"metrics.enrolld", CONFIG_TEXT, AT(metrics.enrolld), .shape = shape_metrics, .help = "\"unix:/path\", or \"inet:PORT@127.0.0.1\""},
	{"metrics.outbound", CONFIG_TEXT, AT(metrics.outbound), .shape = shape_metrics, .help = "the same of enroll-milter, outbound instance"},
	{"metrics.inbound", CONFIG_TEXT, AT(metrics.inbound), .shape = shape_metrics, .help = "the same of enroll-milter, inbound instance"},
	{"metrics.group", CONFIG_TEXT, AT(metrics.group), .shape = shape_token,
		.help = "group of Unix sockets, whose members may read; the programs' users have to be in it; default: that of the folder or the program"},

	{"users", CONFIG_GROUP, .help = "who the programs run as"},
	{"users.outbound", CONFIG_TEXT, AT(users.outbound), NULL, "enroll-out", .shape = shape_token,
		.help = "enroll-milter, outbound instance"},
	{"users.inbound", CONFIG_TEXT, AT(users.inbound), NULL, "enroll-in", .shape = shape_token,
		.help = "enroll-milter, inbound instance"},
	{"users.enrolld", CONFIG_TEXT, AT(users.enrolld), NULL, "enrolld", .shape = shape_token, .help = "enrolld"},
	{"users.group", CONFIG_TEXT, AT(users.group), NULL, "enroll-milter", .shape = shape_token,
		.help = "group of all three, owns the store"},

	{"log", CONFIG_GROUP, .help = "logging"},
	{"log.target", CONFIG_ENUM, AT(log.target),
		WORDS({"stderr", LOG_TARGET_STDERR}, {"syslog", LOG_TARGET_SYSLOG}, {"journal", LOG_TARGET_JOURNAL}), "stderr",
		.help = "where to"},
	{"log.facility", CONFIG_WORD, AT(log.facility),
		WORDS({"mail", 0}, {"daemon", 0}, {"user", 0}, {"auth", 0}, {"authpriv", 0}, {"local0", 0}, {"local1", 0}, {"local2", 0},
			{"local3", 0}, {"local4", 0}, {"local5", 0}, {"local6", 0}, {"local7", 0}), "mail", .help = "for syslog"},
	{"log.level", CONFIG_ENUM, AT(log.level),
		WORDS({"error", LOG_LEVEL_ERROR}, {"warning", LOG_LEVEL_WARNING}, {"info", LOG_LEVEL_INFO},
			{"debug", LOG_LEVEL_DEBUG}), "info",
		.help = "how much"},

	{"sandbox", CONFIG_ENUM, AT(sandbox), WORDS({"on", SANDBOX_ON}, {"log", SANDBOX_LOG}, {"off", SANDBOX_OFF}), "on",
		.help = "calls of the kernel that a daemon has no use for: refused, only logged, or not looked at"},
};
const size_t config_keys_count = sizeof(config_keys) / sizeof(config_keys[0]);

const struct config_key *config_key_find(const char *path)
{
	for (size_t i = 0; i < config_keys_count; i++)
		if (strcmp(config_keys[i].path, path) == 0)
			return &config_keys[i];
	return NULL;
}

const char *config_key_name(const struct config_key *key)
{
	const char *dot = strrchr(key->path, '.');

	return dot ? dot + 1 : key->path;
}

bool config_key_of(const struct config_key *key, const char *entry)
{
	size_t len = strlen(entry);

	if (len > 0)
		return strncmp(key->path, entry, len) == 0 && key->path[len] == '.';
	for (size_t i = 0; i < config_keys_count; i++)
		if (config_keys[i].entry && config_key_of(key, config_keys[i].entry))
			return false;
	return true;
}

bool config_key_is_optional(const struct config_key *key)
{
	for (size_t i = 0; i < config_keys_count; i++) {
		size_t len = strlen(config_keys[i].path);

		if (config_keys[i].optional && strncmp(key->path, config_keys[i].path, len) == 0 && key->path[len] == '.')
			return true;
	}
	return false;
}

void config_words_text(const struct config_word *words, struct buf *out)
{
	for (; words->word; words++)
		buf_printf(out, "\"%s\"%s", words->word, !words[1].word ? "" : words[2].word ? ", " : " or ");
}

const char *config_word_name(const struct config_word *words, int value)
{
	for (; words->word; words++)
		if (words->value == value)
			return words->word;
	return NULL;
}
