/*
 * policy/policy.h - the configuration, and the decisions that follow from it: who may have a certificate, which one, does CAA
 * allow it, and is what came back what was asked for.
 *
 * Call order: config_load once (and again at a reload: a struct config is never changed after loading, programs hold counted
 * references).  The decisions are functions of what the caller looked up.  Everything is thread safe for reading.
 */
#ifndef ENROLL_POLICY_POLICY_H
#define ENROLL_POLICY_POLICY_H

#include <openssl/x509.h>

#include "base/base.h"
#include "dns/dns.h"
#include "ldap/directory.h"
#include "sandbox/sandbox.h"
#include "store/store.h"

/* ---- configuration ----------------------------------------------------------------------------------------------- */

enum config_mode { MODE_OBSERVE, MODE_ENROLL, MODE_SIGN };
enum vouch { VOUCH_DIRECTORY, VOUCH_LOGIN, VOUCH_MAP, VOUCH_RELAY };

/* A way in which mail of our own users arrives: first match wins, no match = not ours. */
struct submission {
	char *name;                    /* for the log */
	struct strlist daemons;        /* {daemon_name} values; empty = any */
	struct network *networks; size_t n_networks; /* {client_addr}; empty = any */
	bool require_login;            /* {auth_authen} must be there; default true, false only for a relay */
	enum vouch vouch;
	char *map_file;                /* VOUCH_MAP: "login: address, address" a line */
	struct strlist login_strip;    /* realms or domains taken off a login before look-up: "CORP\\", "@corp.example" */
	/* VOUCH_RELAY: mail that came from outside is never signed */
	struct strlist own_mx;         /* names or addresses of our MX hosts as they stand in Received "by" or "from" */
	char *require_dkim_domain;     /* NULL = not required */
	char *secret_header;           /* header name that must carry the secret, stripped; NULL = none */
	char *secret_file;
	bool mta_clients;              /* clients are MTAs, which retry: `tempfail` is allowed here */
};

enum ca_driver_kind { CA_DRIVER_ACME, CA_DRIVER_EXEC };
enum token_join { JOIN_STRINGS, JOIN_DECODED };
enum challenge_trigger { TRIGGER_AUTO, TRIGGER_MAIL_FIRST, TRIGGER_POST_FIRST };
enum challenge_authentication { CHALLENGE_DKIM_OR_SMIME, CHALLENGE_NONE_FROM_NETWORK, CHALLENGE_AUTHSERV_ID };
enum caa_mode { CAA_ENFORCE, CAA_REPORT, CAA_OFF };
enum revocation_check { REVOCATION_OFF, REVOCATION_BEST_EFFORT, REVOCATION_REQUIRED };

struct ca_config {
	char *name;
	enum ca_driver_kind driver;
	char *preset;                   /* file of defaults for the keys of this group, see examples/ca; NULL = none */
	char *preset_file;              /* where that was found */
	struct strlist preset_keys;     /* what is as it is because of it, "ca.token-join"... */
	struct strlist preset_overruled; /* what it says, but the configuration says itself */
	struct exec_config {            /* driver "exec": a program of the admin's instead of ACME, see enroll-milter-exec(7) */
		char *program;
		char *user;             /* NULL = that of enrolld */
		struct strlist environment; /* "NAME=value"; nothing else is handed over but PATH and LANG */
		unsigned timeout_seconds; /* of one run; default 60 */
		size_t max_output;      /* octets; default 1 MiB */
	} exec;
	char *directory_url;
	char *proxy;                    /* "http://host:port", "direct", or NULL: as the environment says (https_proxy, no_proxy) */
	char *preferred_issuer;         /* common name of the topmost issuer of the chain to choose among alternates; NULL = the CA's choice */
	char *challenge_anchor_file;    /* PEM: roots of S/MIME-signed challenge mails; NULL = none are believed */
	char *ca_file;                  /* anchors for the CA's HTTPS; NULL = the system's */
	char *anchor_file;              /* PEM: roots its certificates must chain to (S/MIME trust) */
	char *intermediate_file;        /* extra intermediates for building the chain; NULL = none */
	char *contact;                  /* "mailto:..." */
	bool accept_terms;
	char *account_key;              /* path or credential:NAME of the account key, made by `enrollctl init` */
	char *account_key_type;         /* "ec:p256" (default), "ec:p384", "rsa:2048", ... */
	char *eab_kid, *eab_key_file, *eab_algorithm; /* HS256 default; key file holds base64url text */
	char *profile;                  /* ACME profile name; NULL = none sent */
	enum token_join token_join;
	enum challenge_trigger trigger;
	unsigned trigger_grace;         /* auto: seconds to wait for the mail before the POST; default 60 */
	char *identifier_type;          /* "email" (default) or "dns" */
	enum challenge_authentication authentication;
	struct network *challenge_networks; size_t n_challenge_networks; /* for none-from-network, and the named relays of authserv-id */
	char *authserv_id;
	struct strlist challenge_domains;    /* DKIM d= accepted beside the From domain itself; also "the CA's configured sender domains" for 451 */
	bool require_auto_submitted;    /* default true */
	unsigned challenge_age;         /* seconds an order waits for its mail; default 86400 */
	unsigned reply_delay;           /* seconds between the accepted reply and the POST; default 5 */
	unsigned replies_per_hour;      /* per address; default 6 */
	unsigned poll_seconds;          /* when the CA names no Retry-After; default 5 */
	unsigned timeout_seconds;       /* of one HTTP request; default 30 */
	enum caa_mode caa;
	struct strlist caa_identities;  /* NULL/empty: meta.caaIdentities */
	char *caa_method;               /* default email-reply-00 */
	enum revocation_check revocation; /* is a new certificate asked about at its OCSP responder or CRL; default off */
	unsigned revocation_watch;      /* seconds between two looks at the OCSP responder or CRL of a certificate in use; default 43200, 0 = never */
	bool replace_revoked;           /* one that is found revoked there is replaced at once; default true */
	unsigned max_orders;            /* for one need before it is blocked; default 5 */
	unsigned addresses_per_order;   /* default 1 */
	unsigned orders_per_hour;       /* 0 = no limit, the default */
	unsigned orders_in_flight;      /* opened and not ended; default 500, 0 = no limit */
	unsigned connections;           /* requests to the CA at one time; default 4 */
};

enum validation { VALIDATION_MAILBOX = 1, VALIDATION_ORGANIZATION, VALIDATION_SPONSOR, VALIDATION_INDIVIDUAL, VALIDATION_PRIVATE };
enum generation { GENERATION_LEGACY = 1, GENERATION_MULTIPURPOSE, GENERATION_STRICT };
/* SPLIT: two certificates with two keys, one to sign with and one to be encrypted to; each is an enrollment of its own, of usage SIGN and
 * ENCRYPT (profile_for). */
enum usage { USAGE_SIGN, USAGE_ENCRYPT, USAGE_DUAL, USAGE_SPLIT };
enum addresses { ADDRESSES_ONE, ADDRESSES_ALL };
enum subject_form { SUBJECT_IS_ADDRESS, SUBJECT_IS_EMPTY };

/* One kind of certificate: the group `certificate`, or an entry of `certificates`. */
struct certificate_profile {
	char *name;                     /* "mailbox-strict", "private": from validation and generation when the configuration names none */
	char *ca;                       /* name of its CA; NULL = the group `ca` */
	char *ca_profile;               /* ACME profile name for this kind; NULL = ca.profile */
	enum addresses addresses;       /* ALL: one certificate with all addresses of a person, as many as ca.addresses-per-order */
	enum validation validation;
	enum generation generation;     /* of no meaning for private */
	enum usage usage;
	char *key_type;                 /* "rsa:2048" "rsa:3072" "ec:p256" "ec:p384"; default rsa:2048 */
	enum subject_form subject;      /* of mailbox validation */
	char *organization;             /* of everybody whose entry names no other; NULL = as the directory says, as with the next two */
	char *organization_identifier;  /* goes with `organization` */
	char *country;                  /* two upper-case letters */
	struct strlist policy_oids;     /* private: one of them must be there; empty = any */
	struct strlist ekus;            /* private: OIDs that must be there; default emailProtection */
	unsigned max_days;              /* private: longest life; 0 = 825 */
};

enum no_certificate { NO_CERTIFICATE_AS_CONFIGURED, NO_CERTIFICATE_PASS, NO_CERTIFICATE_REJECT, NO_CERTIFICATE_HOLD, NO_CERTIFICATE_TEMPFAIL };
enum on_error { ON_ERROR_PASS, ON_ERROR_TEMPFAIL };

enum export_policy { EXPORT_NONE, EXPORT_KEYS };

/* By where a mail goes: OUTGOING, at least one recipient is in no domain of ours; INTERNAL, all of them are. */
enum rule_sign { SIGN_ALL, SIGN_OUTGOING, SIGN_INTERNAL, SIGN_NONE };
#define CERTIFICATE_NONE "none"

/* An entry of `rules`: the first whose conditions all hold decides about an address.  A condition that is not given holds. */
struct rule {
	char *name;                     /* for the log, the store and `policy explain` */
	struct strlist addresses;       /* address keys */
	struct strlist domains;         /* A-labels */
	char *filter;                   /* the directory entry matches it */
	struct strlist groups;          /* it is in one of these groups */
	struct strlist kinds;           /* "person", "shared", "resource" */
	char *certificate;              /* which kind of certificate; "none"; NULL = the group `certificate` */
	enum no_certificate no_certificate; /* NO_CERTIFICATE_AS_CONFIGURED = the configuration's */
	char *publish;                  /* "required"...; NULL = directory.publish */
	enum rule_sign sign;
	struct strlist unsigned_to;     /* mail that goes to these domains alone is not signed */
	char *unsigned_header;          /* mail with this field is not signed: the author's choice */
};

/* How a mail leaves, from the mildest to the strictest: multipart/signed, application/pkcs7-mime, not signed. */
enum signed_form { FORM_DETACHED, FORM_OPAQUE, FORM_UNSIGNED };
enum rsa_padding { RSA_PADDING_PKCS1, RSA_PADDING_PSS };
enum mail_direction { DIRECTION_ANY, DIRECTION_OUTGOING, DIRECTION_INTERNAL };

/* How mail is signed (S/MIME, RFC 8551). */
struct signing_config {
	enum signed_form form;          /* of mail that no mail rule is about: DETACHED or OPAQUE */
	enum rsa_padding rsa_padding;   /* of RSA keys; PSS with a salt as long as the digest */
	enum signed_form unencodable;   /* mail that is not 7-bit where nothing may be re-encoded: OPAQUE or UNSIGNED */
	bool header_protection;         /* RFC 9788, hp="clear" */
	enum signed_form calendar, list_mail, auto_submitted; /* what becomes of these */
};

/* An entry of `mail-rules`: of those whose conditions all hold for a mail the strictest form counts.  A condition that is not given holds. */
struct mail_rule {
	char *name;                     /* for the log */
	struct strlist recipients;      /* one recipient is one of these address keys, or in one of these domains (A-labels) */
	char *header;                   /* it has this field... */
	char *header_contains;          /* ...with this text in it, ASCII case ignored; NULL = whatever is in it */
	struct strlist content_types;   /* it has a part of one of these types, lower case; "image" with a star behind the slash: any of them */
	size_t larger_than;             /* octets of header and body; 0 = no condition */
	enum mail_direction direction;
	enum signed_form form;          /* OPAQUE or UNSIGNED */
};

struct config {
	enum config_mode mode;
	struct strlist pilot_addresses; /* address keys */
	char *pilot_group;
	unsigned cap_per_day;           /* orders; default 50, 0 = none */
	unsigned cap_total;             /* addresses with a certificate, or on the way to one; 0 = no limit */
	struct strlist domains;         /* A-labels */
	struct submission *submissions; size_t n_submissions;
	struct ca_config ca;            /* the CA of every certificate that names no other */
	struct ca_config *more_cas; size_t n_more_cas;
	struct certificate_profile certificate; /* what everybody gets whom no rule gives another */
	struct certificate_profile *more_certificates; size_t n_more_certificates;
	struct rule *rules; size_t n_rules;
	struct signing_config signing;
	struct mail_rule *mail_rules; size_t n_mail_rules;
	char *decryption;               /* NULL, "exported-keys" or "gateway NAME" */
	enum export_policy export;      /* may `enrollctl export --pkcs12` give a user's key away? */
	struct directory_settings directory;
	struct departures_config {
		unsigned interval;          /* seconds between looks at who left; default 3600, 0 = never */
		unsigned grace_days;        /* from not signing to taking back; default 30 */
		enum on_departure { ON_DEPARTURE_KEEP, ON_DEPARTURE_REVOKE } on_departure;
		char *reason;               /* of that revocation; default affiliationChanged */
		unsigned guard_percent;     /* of all people may go in a day by themselves; default 5 */
		unsigned guard_people;      /* so many may, however few there are; default 3 */
		enum on_new_address { NEW_ADDRESS_FIRST_MAIL, NEW_ADDRESS_AT_ONCE } on_new_address;
	} departures;
	struct dns_settings dns;
	struct store_settings store;
	char *master_certificate, *master_key; /* path or credential:NAME */
	char *reply_host; unsigned reply_port; /* loopback listener for the reply mail */
	unsigned reply_timeout;         /* seconds for one SMTP dialogue; default 60 */
	char *report_address;           /* delivery reports of our replies come to "local+eNN-TOKEN@domain" of this; NULL = none are asked for */
	enum no_certificate no_certificate;
	enum on_error on_error;
	char *disposition;              /* "discard" (default), "deliver", "redirect" */
	char *redirect_to;
	struct milter_config {
		char *outbound_socket;      /* "unix:/var/spool/postfix/enroll-milter/outbound.sock"; "inet:PORT@HOST" only with tcp-peers */
		char *inbound_socket;
		char *socket_group;         /* default postfix */
		struct network *tcp_peers; size_t n_tcp_peers;
		char *spool_directory;      /* default /var/spool/enroll-milter */
		unsigned stale_limit;       /* seconds cached credentials sign while the store is away; default 900 */
		unsigned cache_size;        /* credentials kept; default 5000 */
		size_t max_candidate;       /* octets of a candidate challenge; default 262144 */
		unsigned mail_events;       /* rows kept for `why`; default 100000 */
	} milter;
	struct metrics_config {
		char *enrolld, *outbound, *inbound; /* sockets that are scraped; NULL = none */
		char *group;                /* of Unix ones; NULL: the folder's or the process' */
	} metrics;
	struct control_config {
		char *socket;               /* default /run/enroll-milter/control.sock */
		char *instance_file;        /* default /var/lib/enroll-milter/instance */
		char *admin_group;          /* default enroll-admin; root is always admin */
		char *helpdesk_group;       /* default enroll-helpdesk */
	} control;
	struct users_config { char *outbound, *inbound, *enrolld, *group; } users;
	struct log_config { enum log_target target; char *facility; enum log_level level; } log;
	enum sandbox_mode sandbox;      /* default on; looked at once, at the start */
	char *path;                     /* the file this came from */
};

/* Load and check.  NULL with ERR_CONFIG and a text with file, line, key, what was expected: unknown keys, wrong types,
 * contradictions, unreadable files.  Secrets are not read here, only their names; config_check looks at the files. */
struct config *config_load(const char *path, struct err *err);
struct config *config_ref(struct config *c);   /* thread safe */
void config_unref(struct config *c);           /* accepts NULL */
/* Has this connection string of libpq a password in it, in whichever form libpq takes one?  It may not: use passfile, or a client certificate. */
bool config_names_password(const char *connection);
/* Everything `enrollctl config check` says beyond loading: warnings (one line each into `report`), files that must be there.  false when an error is among them. */
bool config_check(const struct config *c, struct buf *report, struct err *err) BASE_MUST_CHECK;
/* The whole configuration in effect, defaults included, secrets only by where they are; libconfig syntax, or JSON. */
bool config_show(const struct config *c, bool json, struct buf *out, struct err *err) BASE_MUST_CHECK;
/* A milter instance ("outbound", "inbound") notes what it runs with, and what it is; and what is in that note.  One that cannot be written is no reason not
 * to run. */
struct config_running {
	bool known;             /* it noted something */
	bool same;              /* it took over what `c` says */
	bool runs;              /* whoever wrote it is still there; false also where that cannot be seen */
	char version[32];       /* "" and 0: of a version that does not say */
	int schema;             /* of the store: the newest that it knows */
};
bool config_running_note(const struct config *c, const char *instance, struct err *err) BASE_MUST_CHECK;
bool config_running_look(const struct config *c, const char *instance, struct config_running *out, struct err *err) BASE_MUST_CHECK;
/* Every key with type, default and one line of help, for the man page and `config check`. */
void config_describe(struct buf *out);
bool config_serves(const struct config *c, const char *domain);

/* By name; NULL when there is none.  The group's own count as the first of the list; `i` up to what config_cas, config_certificates say. */
const struct ca_config *config_ca(const struct config *c, const char *name);
size_t config_cas(const struct config *c);
const struct ca_config *config_ca_at(const struct config *c, size_t i);
const struct certificate_profile *config_certificate(const struct config *c, const char *name);
size_t config_certificates(const struct config *c);
const struct certificate_profile *config_certificate_at(const struct config *c, size_t i);
const struct rule *config_rule(const struct config *c, const char *name); /* NULL too for a NULL name */
/* The CA that a kind of certificate comes from. */
const struct ca_config *config_ca_of(const struct config *c, const struct certificate_profile *p);

/* Envelope senders of replies, local+eNN-TOKEN@domain of reply.report-address: written by enrolld, read by the inbound instance. */
#define REPORT_TOKEN_SIZE 33 /* 32 lower-case hex digits */
void report_token_new(char token[REPORT_TOKEN_SIZE]);
bool report_address_write(char out[ADDRESS_MAX], const char *report_address, int64_t enrollment, const char *token) BASE_MUST_CHECK;
/* false when `recipient` is no such address, or report_address is NULL. */
bool report_address_read(const char *recipient, const char *report_address, int64_t *enrollment, char token[REPORT_TOKEN_SIZE]);

/* ---- rules: who gets which certificate, and which mail is signed with it ------------------------------------------------ */

/* How the conditions filter and groups are asked: does the entry with this address match, is it in the group?  false with err when nobody
 * can say now. */
struct rules_directory {
	void *context;
	bool (*matches)(void *context, const char *address, const char *filter, bool *yes, struct err *err);
	bool (*in_group)(void *context, const char *address, const char *group, bool *yes, struct err *err);
};
struct rules_facts {
	const char *address;                    /* canonical */
	const struct directory_person *person;  /* NULL when there is no directory, or not exactly one entry */
};
/* The first rule that is about this address; *rule is NULL when none is, and all is as the configuration says.  `directory` NULL: the mail
 * path, which has no time for it; *rule is then NULL too when a rule on the way would have to ask.  `why` (may be NULL) gets a
 * line for each rule before it: which condition did not hold. */
bool rules_find(const struct config *c, const struct rules_facts *facts, const struct rules_directory *directory, const struct rule **rule,
	struct buf *why, struct err *err) BASE_MUST_CHECK;

/* Which rule is about this address, can only the directory tell? */
bool rules_ask_directory(const struct config *c, const char *address);

/* What follows from a rule (NULL: from none having matched).  All borrowed from the configuration. */
struct decision {
	const struct rule *rule;
	const struct certificate_profile *certificate; /* NULL: no certificate for this address */
	const struct ca_config *ca;                    /* NULL with it */
	enum no_certificate no_certificate;
	const char *publish;
};
void rules_follow(const struct config *c, const struct rule *rule, struct decision *out);

/* Is mail to these recipients (bare addresses) signed by this rule?  Otherwise *why (static text).  unsigned-header is for the caller to look at. */
bool rules_sign(const struct config *c, const struct rule *rule, const struct strlist *recipients, const char **why);

/* ---- mail rules: in which form does a mail leave -------------------------------------------------------------------- */

/* What is known of a mail, more of it as it comes in.  Borrowed. */
struct mail_look {
	const struct strlist *recipients;     /* bare addresses, "" = and some that are not known; of interest only if mail_rules_ask_recipients */
	bool list_mail, auto_submitted;
	void *context;                        /* for: */
	const char *(*field)(void *context, const char *name, size_t nth); /* a header field's value, decoded; NULL = no more of that name */
	bool (*has_type)(void *context, const char *type); /* has it a part of this type, as written in content_types? */
	uint64_t octets;                      /* of header and body, as far as they are known */
};
struct mail_form {
	enum signed_form form;
	const char *why;   /* static text; NULL when no rule is about it */
	const char *rule;  /* the name of the mail rule that decided; borrowed from the configuration; NULL = none of them */
};
/* The strictest of what the configuration says of such a mail.  Pure; asked at the end of the headers and again when the body is there. */
void mail_rules_judge(const struct config *c, const struct mail_look *look, struct mail_form *out);
bool mail_rules_ask_recipients(const struct config *c);
/* Types that some rule asks for, calendar's among them: each once into an empty list. */
bool mail_rules_types(const struct config *c, struct strlist *out) BASE_MUST_CHECK;
/* Is `type` ("text/calendar", lower case, no parameters) what `wanted` names ("text/calendar", "text/" and a star)?  Two stars as type: one
 * that could not be read, and could be any. */
bool mail_rules_type_is(const char *type, const char *wanted);
#define CALENDAR_TYPE "text/calendar"

/* ---- eligibility: may this address have a certificate now ------------------------------------------------------------ */

enum eligibility { ELIGIBLE, ELIGIBLE_LATER, NOT_ELIGIBLE };
struct eligibility_facts {
	const char *address;                    /* canonical */
	const struct directory_person *person;  /* NULL when there is no directory, or none found */
	enum directory_found found;
	bool has_directory;
	bool in_pilot_group;                    /* looked up by the caller when config->pilot_group is set */
	size_t orders_today;
	bool has_certificate;                   /* it counts among `enrolled` already */
	size_t enrolled;                        /* addresses that have a certificate or are on the way to one */
	bool paused;
	time_t now;
};
/* Pure.  `d` is what rules_follow said of the address.  `err` gets class, sentence and retry_at for the two other answers. */
enum eligibility eligibility_decide(const struct config *c, const struct decision *d, const struct eligibility_facts *f, struct err *err);
/* The class of err for an address that a rule keeps from having a certificate. */
#define ELIGIBILITY_EXCLUDED "excluded" /* err.type */
/* In the pilot (or no pilot configured)? */
bool eligibility_pilot(const struct config *c, const char *address, bool in_pilot_group);

/* ---- CAA (RFC 8659, RFC 9495, RFC 8657) -------------------------------------------------------------------------------- */

enum caa_decision { CAA_ALLOW, CAA_DENY, CAA_UNKNOWN };
struct caa_request {
	const char *address;
	const struct strlist *identities;  /* the CA's issuer domains */
	const char *account_uri;           /* NULL = unknown */
	const char *method;                /* email-reply-00; NULL = unknown */
};
/* What was seen from one perspective. */
struct caa_view {
	const char *perspective;     /* its name, borrowed from the perspectives */
	enum caa_decision decision;
	char found_at[256];          /* "" when there is no CAA up to the root */
	char owner[256];             /* where the records stand: found_at, or what it is an alias of */
	enum dns_security security;
	unsigned ttl;                /* seconds until what was seen may be another */
	struct strlist records;      /* the RRset as in a zone file, "0 issuemail \"ca.example\"", in order */
	struct strlist iodef;        /* where the domain takes reports: mailto:, https: or http: URLs.  Nothing is sent there */
	char text[1280];             /* why, and every record read */
};
struct caa_result {
	enum caa_decision decision;  /* one perspective that denies is enough; one that cannot tell is too, otherwise */
	bool differ;                 /* the perspectives did not see the same */
	const struct caa_view *view; /* one of those that the decision is due to; NULL: the address has no domain that could be asked */
	unsigned ttl;                /* when the decision may become another */
	char publish[768];           /* the line that lets the CA issue, for a zone file; "" without a domain */
	char text[sizeof(((struct err *)0)->text)]; /* why, every record read, who saw what, and unless it is allowed the line to publish */
	struct caa_view views[DNS_PERSPECTIVES_MAX];
	size_t n_views;
};
/* All perspectives at once.  `out` is cleared by caa_result_clear. */
void caa_check(const struct dns_perspectives *from, const struct caa_request *req, struct caa_result *out);
void caa_result_clear(struct caa_result *r);
const char *caa_decision_name(enum caa_decision d); /* "allow", "deny", "unknown" */
/* The decision on one RRset alone: `records` are RDATA in wire form.  For caa_check and its tests. */
enum caa_decision caa_decide(const struct dns_rdata *records, size_t n, const struct caa_request *req, struct buf *why);

/* ---- profile: what to ask for ---------------------------------------------------------------------------------------- */

/* The kind of certificate as one of its enrollments sees it: a copy (of pointers) with this usage in the place of SPLIT. */
struct certificate_profile profile_for(const struct certificate_profile *p, const char *usage);
/* A new key of p->key_type. */
EVP_PKEY *profile_key_new(const struct certificate_profile *p, struct err *err);
/* PKCS#10 (RFC 2986) for these addresses, in this order and spelling: SAN rfc822Name (SmtpUTF8Mailbox, RFC 9598, for non-ASCII local
 * parts), keyUsage request by usage, EKU emailProtection.  The subject is the first address or empty for mailbox validation, names from
 * the directory and the configuration otherwise.  `person` may be NULL where profile_names allows that.  DER. */
bool profile_csr(struct buf *der, const struct certificate_profile *p, EVP_PKEY *key, const struct strlist *addresses,
	const struct directory_person *person, struct err *err) BASE_MUST_CHECK;
/* The subject that profile_csr would ask for, without a key: RFC 2253 text with UTF-8 as it is, "" for an empty one.  False: profile_csr would
 * refuse, with the same error. */
bool profile_describe(const struct certificate_profile *p, const struct strlist *addresses, const struct directory_person *person,
	struct buf *subject_text, struct err *err) BASE_MUST_CHECK;
/* Do this entry (NULL: none) and the configuration say all that such a certificate has to name, in a form that certcheck will accept?
 * Otherwise ERR_POLICY with a sentence about what is missing and where it belongs; the error's subject is the entry.  Role and shared
 * mailboxes, rooms and equipment are nobody that a certificate could name. */
bool profile_names(const struct certificate_profile *p, const struct directory_person *person, struct err *err) BASE_MUST_CHECK;
/* May an address of ours go into a certificate?  64 octets before the @ and 254 in all are the most (RFC 5321 section 4.5.3.1); longer ones
 * of strangers are read all the same.  ERR_POLICY. */
bool profile_address(const struct address *a, struct err *err) BASE_MUST_CHECK;
/* "mailbox-strict", "private": what the certificate is to comply with, whatever the configuration calls this kind. */
#define PROFILE_STANDARD_SIZE 64
const char *profile_standard(const struct certificate_profile *p, char out[PROFILE_STANDARD_SIZE]);
const char *validation_name(enum validation v);
const char *generation_name(enum generation g);
const char *usage_name(enum usage u);
/* The reserved policy identifier 2.23.140.1.5.x.y; NULL for private. */
const char *profile_policy_oid(const struct certificate_profile *p);

/* ---- certcheck: what came back --------------------------------------------------------------------------------------- */

enum severity { FINDING_WARNING, FINDING_ERROR };
struct finding { const char *id; const char *section; enum severity severity; char text[256]; };
struct findings {
	struct finding *v;
	size_t n;
	size_t errors;
	size_t passing; /* of the errors: those that may pass by themselves, as nobody could say yet whether it is revoked */
};
void findings_clear(struct findings *f);

/* What was fetched about the revocation of a certificate, as it came; certcheck believes of it what is signed, current and about this one. */
enum evidence_kind { EVIDENCE_NONE, EVIDENCE_OCSP, EVIDENCE_CRL };
struct certcheck_evidence {
	enum evidence_kind kind;
	const void *der; size_t len;
	const char *why;                           /* EVIDENCE_NONE: a sentence, printable, why there is nothing; may be NULL */
};

/* Questions that are not asked when their member is NULL, for who looks at a certificate that is none of ours.  Without the flag NULL is an
 * error finding; and what is not NULL is asked whatever the flag says. */
enum {
	CERTCHECK_NO_KEY = 1 << 0,                 /* spki_sha256 */
	CERTCHECK_NO_ADDRESSES = 1 << 1,           /* addresses */
	CERTCHECK_NO_ANCHORS = 1 << 2,             /* anchors; rows about the issuer then take the one in `untrusted` by its word */
	CERTCHECK_NO_USAGE = 1 << 3                /* profile->usage, which has no NULL */
};

struct certcheck_request {
	const struct certificate_profile *profile; /* asked for; never what the certificate claims */
	const struct strlist *addresses;           /* ours: all of them and no others */
	const char *spki_sha256;                   /* our key (keyvault_spki) */
	X509_STORE *anchors;                       /* certcheck_anchors; NULL = chain not judged (then an error finding) */
	STACK_OF(X509) *untrusted;                 /* what the CA sent, without the leaf */
	time_t now;
	time_t as_of;                              /* rules of this day, as if it were issued then; 0 = of notBefore */
	unsigned not_asked;                        /* CERTCHECK_NO_...; 0 = all is asked */
	enum revocation_check revocation;          /* REVOCATION_OFF = not asked */
	const struct certcheck_evidence *evidence; /* NULL = nobody was asked, which is not "good" */
};
/* All rows; findings in `out` (cleared by the caller).  false only when checking itself failed; a bad certificate is true with errors > 0. */
bool certcheck(X509 *leaf, const struct certcheck_request *req, struct findings *out, struct err *err) BASE_MUST_CHECK;
enum revocation_status { REVOCATION_UNKNOWN, REVOCATION_GOOD, REVOCATION_REVOKED };
/* What the evidence (NULL = none) proves about `leaf`, whose issuer was verified.  Forged, stale, of another certificate: unknown.  `why` gets
 * a few words in any case. */
enum revocation_status certcheck_revocation(X509 *leaf, X509 *issuer, const struct certcheck_evidence *e, time_t now, char *why, size_t size);
/* The verified issuer, to be freed; NULL when there is no chain to an anchor. */
X509 *certcheck_issuer(X509 *leaf, X509_STORE *anchors, STACK_OF(X509) *untrusted, time_t now);
/* The profile whose reserved policy identifier the certificate carries first, for who knows no better; usage is "sign".  false: it claims none. */
bool certcheck_claimed(X509 *leaf, struct certificate_profile *out);
X509_STORE *certcheck_anchors(const char *pem_file, struct err *err);
/* The chain to send along: intermediates in order, no root.  NULL when it cannot be built. */
STACK_OF(X509) *certcheck_chain(X509 *leaf, X509_STORE *anchors, STACK_OF(X509) *untrusted, struct err *err);
/* Do the certificate's mailbox addresses include this one (domain as A-labels, local part ignoring case)? Used when a credential is loaded. */
bool certcheck_has_address(X509 *leaf, const char *address);
/* One line a finding: "POL-3 7.1.6.1: ...". */
void findings_text(const struct findings *f, struct buf *out);

/* ---- certificates of other CAs: which have to be replaced -------------------------------------------------------------- */

enum legacy_reason {
	LEGACY_GENERATION,     /* of the Legacy generation */
	LEGACY_NO_PROFILE,     /* none of the S/MIME Baseline Requirements, or several */
	LEGACY_TOO_LONG,       /* valid for more than 825 days */
	LEGACY_WEAK_KEY,
	LEGACY_WEAK_SIGNATURE, /* SHA-1, MD5 and older */
	/* it may be used to its end, but no CA may renew it as it is, for a rule is in force by then */
	LEGACY_PURPOSES,       /* a Multipurpose one with purposes besides e-mail protection and client authentication */
	LEGACY_ISSUER,         /* signed with an RSA key below 3072 bits */
	LEGACY_REASONS         /* how many */
};
const char *legacy_reason_name(enum legacy_reason r);  /* "legacy-generation" */
const char *legacy_reason_about(enum legacy_reason r); /* what it means, for people */

enum { LEGACY_SIGNS = 1, LEGACY_ENCRYPTS = 2 };
struct legacy_judgement {
	bool current;          /* not expired, and begun; otherwise nothing else is said */
	bool expired;
	unsigned reasons;      /* bit 1 << LEGACY_...; 0 = nothing against it */
	char text[LEGACY_REASONS][300]; /* a sentence for each reason */
	unsigned uses;         /* LEGACY_SIGNS, LEGACY_ENCRYPTS */
};
/* Pure; by the rows of certcheck.  false only when judging itself failed. */
bool legacy_judge(X509 *x, time_t now, struct legacy_judgement *out, struct err *err) BASE_MUST_CHECK;
/* The certificate that a directory's value holds: DER of a certificate, or with `smime` CMS SignedData: that of its signer, without signer the
 * one that is no CA's.  NULL when the value is none, or larger than any mail user's. */
X509 *legacy_read(const void *value, size_t len, bool smime);

#endif
