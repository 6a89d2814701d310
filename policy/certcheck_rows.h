/*
 * policy/certcheck_rows.h - private to certcheck: the certificate taken apart once, and the table of rows that judge it.
 *
 * certcheck.c fills a struct certcheck (certcheck_parts.c does the taking apart), runs every row of the table that applies
 * to the profile asked for and to the day of notBefore, and collects findings.  A row's function looks and calls
 * row_report; it never fails.  Nothing in here may trust the certificate: every length is checked, every text that goes
 * into a finding passes `printable`.
 */
#ifndef ENROLL_POLICY_CERTCHECK_ROWS_H
#define ENROLL_POLICY_CERTCHECK_ROWS_H

#include <openssl/x509v3.h>

#include "policy/policy.h"

/* A certificate larger than this is not looked at: nobody's S/MIME certificate is, and all loops below stay short. */
#define CERTCHECK_MAX_DER 65536
/* More names or extensions than this are not looked at either. */
#define CERTCHECK_MAX_NAMES 100
/* One row says at most this much about one certificate. */
#define CERTCHECK_MAX_PER_ROW 4

/* Key usage bits, in the order of RFC 5280 section 4.2.1.3. */
enum {
	KU_BIT_SIGN = 1u << 0,	   /* digitalSignature */
	KU_BIT_COMMIT = 1u << 1,   /* nonRepudiation, contentCommitment */
	KU_BIT_KEY_ENC = 1u << 2,  /* keyEncipherment */
	KU_BIT_DATA_ENC = 1u << 3, /* dataEncipherment */
	KU_BIT_AGREE = 1u << 4,	   /* keyAgreement */
	KU_BIT_CERT_SIGN = 1u << 5,
	KU_BIT_CRL_SIGN = 1u << 6,
	KU_BIT_ENC_ONLY = 1u << 7,
	KU_BIT_DEC_ONLY = 1u << 8,
	KU_BIT_FOREIGN = 1u << 9 /* any bit that RFC 5280 does not name */
};

/* Extensions that some row asks about.  EXT_OTHER counts those that section 7.1.2.3 does not name. */
enum ext {
	EXT_POLICIES,
	EXT_CRL,
	EXT_AIA,
	EXT_BASIC,
	EXT_KU,
	EXT_EKU,
	EXT_AKI,
	EXT_SAN,
	EXT_CAPABILITIES,
	EXT_SDA,
	EXT_QC,
	EXT_LEI,
	EXT_LEI_ROLE,
	EXT_ADOBE_TIME,
	EXT_ADOBE_ARCHIVE,
	EXT_SKI,
	EXT_OTHER,
	EXT_COUNT
};

enum key_kind { KEY_UNKNOWN, KEY_RSA, KEY_EC, KEY_ED25519, KEY_ED448, KEY_ML_DSA, KEY_ML_KEM };

/* One attribute of a name; text is UTF-8 and may hold anything, NUL included. */
struct name_attribute {
	int nid;
	const ASN1_OBJECT *object;
	const ASN1_STRING *string;
	const char *text;
	size_t len;
	unsigned char *owned; /* text when it had to be converted */
};
struct name_view {
	struct name_attribute *v;
	size_t n;
};

/* One mailbox address of the certificate, as bytes. */
struct mailbox {
	const char *text;
	size_t len;
	bool utf8;  /* a SmtpUTF8Mailbox */
	bool typed; /* false: a SmtpUTF8Mailbox whose value is no UTF8String; text is empty then */
	bool valid; /* `parsed` holds it */
	struct address parsed;
};

struct certcheck_row;
struct certcheck {
	X509 *leaf;
	const struct certcheck_request *req;
	bool private_profile;
	unsigned char *der;
	size_t der_len;
	time_t not_before, not_after;
	bool times; /* both could be read */
	unsigned day; /* of notBefore or as asked, YYYYMMDD; the last of all days when it cannot be read, so that no dated row is missed */

	/* key */
	enum key_kind key;
	int curve; /* EC: NID, 0 = none or not named; ML-DSA, ML-KEM: last number of the object identifier */
	const X509_ALGOR *key_algorithm;
	const unsigned char *key_bits;
	size_t key_bits_len;

	/* extensions: the first one of each kind, how often it occurs, decoded form (NULL: missing or unreadable) */
	X509_EXTENSION *ext[EXT_COUNT];
	unsigned ext_count[EXT_COUNT];
	bool ext_critical[EXT_COUNT];
	CERTIFICATEPOLICIES *policies;
	CRL_DIST_POINTS *crl;
	AUTHORITY_INFO_ACCESS *aia;
	BASIC_CONSTRAINTS *basic;
	unsigned ku;
	EXTENDED_KEY_USAGE *eku;
	AUTHORITY_KEYID *aki;
	ASN1_OCTET_STRING *ski;
	GENERAL_NAMES *san;

	/* names */
	struct name_view subject;
	struct name_view *directory_names; /* of the alternative name */
	size_t n_directory_names;
	struct mailbox *mailboxes; /* of the alternative name */
	size_t n_mailboxes;

	/* chain, as far as it could be built, with the leaf; NULL when there is none */
	STACK_OF(X509) * chain;
	char chain_error[200]; /* "" = verified */

	/* while rows run */
	const struct certcheck_row *row;
	const struct name_view *name; /* which name the name rows judge: the subject, or a directoryName */
	unsigned reported;	      /* by this row */
	struct findings *out;
	bool nomem;
};

#define TYPE(v) (1u << (v))
#define TYPES_ALL (TYPE(VALIDATION_MAILBOX) | TYPE(VALIDATION_ORGANIZATION) | TYPE(VALIDATION_SPONSOR) | TYPE(VALIDATION_INDIVIDUAL))
#define GENERATIONS_ALL (LEGACY | MULTIPURPOSE | STRICT)
#define LEGACY (1u << GENERATION_LEGACY)
#define MULTIPURPOSE (1u << GENERATION_MULTIPURPOSE)
#define STRICT (1u << GENERATION_STRICT)

/* How a row meets a private profile: as advice, not at all, or it is a question of the gateway's own, which stands for all. */
enum row_scope {
	ROW_BR,	     /* for BR profiles; a warning for a private one, when the row is for all types and for Multipurpose */
	ROW_BR_ONLY, /* says something about being a BR certificate: not for private profiles */
	ROW_BR_NAME, /* like ROW_BR, and a rule for names: also used for directoryName entries (SAN-5) */
	ROW_OWN,     /* the gateway's own question, for every profile */
	ROW_PRIVATE  /* only for private profiles */
};

/* Days as YYYYMMDD; 0 = no limit.  A row applies when first <= notBefore's day < end. */
struct certcheck_row {
	const char *id, *section;
	unsigned first, end;
	unsigned types, generations;
	enum row_scope scope;
	enum severity severity;
	void (*check)(struct certcheck *c);
};

/* The table, in policy/certcheck_table.c, and its functions. */
extern const struct certcheck_row certcheck_rows[];
extern const size_t certcheck_rows_n;
/* certcheck_rows_own.c */
void row_own_key(struct certcheck *c);
void row_own_addr(struct certcheck *c);
void row_own_time(struct certcheck *c);
void row_own_chain(struct certcheck *c);
void row_own_use(struct certcheck *c);
void row_own_rev(struct certcheck *c);
void row_prv_pol(struct certcheck *c);
void row_prv_eku(struct certcheck *c);
void row_prv_days(struct certcheck *c);
/* certcheck_rows_frame.c */
void row_frm_1(struct certcheck *c);
void row_frm_2(struct certcheck *c);
void row_frm_3(struct certcheck *c);
void row_frm_4(struct certcheck *c);
void row_frm_5(struct certcheck *c);
void row_val_1(struct certcheck *c);
void row_key_1(struct certcheck *c);
void row_key_2(struct certcheck *c);
void row_key_3(struct certcheck *c);
void row_key_4(struct certcheck *c);
void row_key_5(struct certcheck *c);
void row_key_6(struct certcheck *c);
void row_iss_1(struct certcheck *c);
void row_iss_2(struct certcheck *c);
/* certcheck_rows_extensions.c */
void row_pol_1(struct certcheck *c);
void row_pol_2(struct certcheck *c);
void row_pol_3(struct certcheck *c);
void row_pol_4(struct certcheck *c);
void row_pol_5(struct certcheck *c);
void row_crl_1(struct certcheck *c);
void row_crl_2(struct certcheck *c);
void row_crl_2_legacy(struct certcheck *c);
void row_aia_1(struct certcheck *c);
void row_aia_2(struct certcheck *c);
void row_aia_2_legacy(struct certcheck *c);
void row_bc_1(struct certcheck *c);
void row_ku_1(struct certcheck *c);
void row_ku_2(struct certcheck *c);
void row_ku_3_strict(struct certcheck *c);
void row_ku_3_purposes(struct certcheck *c);
void row_ku_3_multipurpose(struct certcheck *c);
void row_ku_4(struct certcheck *c);
void row_ku_5(struct certcheck *c);
void row_ku_5_post_quantum(struct certcheck *c);
void row_eku_1(struct certcheck *c);
void row_eku_2_strict(struct certcheck *c);
void row_eku_2_multipurpose(struct certcheck *c);
void row_eku_3(struct certcheck *c);
void row_aki_1(struct certcheck *c);
void row_ski_1(struct certcheck *c);
void row_sda_1(struct certcheck *c);
void row_lei_1(struct certcheck *c);
void row_lei_1_role(struct certcheck *c);
void row_lei_2(struct certcheck *c);
void row_adb_1(struct certcheck *c);
void row_flg_1(struct certcheck *c);
void row_flg_1_empty_subject(struct certcheck *c);
void row_flg_2(struct certcheck *c);
/* certcheck_rows_names.c */
void row_san_1(struct certcheck *c);
void row_san_1_empty_subject(struct certcheck *c);
void row_san_2(struct certcheck *c);
void row_san_3(struct certcheck *c);
void row_san_4(struct certcheck *c);
void row_san_5(struct certcheck *c);
void row_san_6(struct certcheck *c);
void row_dn_1(struct certcheck *c);
void row_dn_2(struct certcheck *c);
void row_dn_3(struct certcheck *c);
void row_dn_4(struct certcheck *c);
void row_dn_5(struct certcheck *c);
void row_dn_6(struct certcheck *c);
void row_dn_7(struct certcheck *c);
void row_dn_8(struct certcheck *c);
void row_dn_9(struct certcheck *c);
void row_dn_10(struct certcheck *c);
void row_dn_11(struct certcheck *c);
void row_cn_1(struct certcheck *c);
void row_cn_2(struct certcheck *c);
void row_cn_3(struct certcheck *c);
void row_org_1(struct certcheck *c);
void row_org_2(struct certcheck *c);
void row_org_3(struct certcheck *c);
void row_org_4(struct certcheck *c);

/* Days as YYYYMMDD.  The requirements' first day; that of ML-DSA and ML-KEM (version 1.0.11): rows from then on know them. */
#define BR_START 20230901u
#define BR_1_0_11 20250822u

/* Add a finding under the running row's id, with its severity or (row_report_as) another. */
void row_report(struct certcheck *c, const char *fmt, ...) BASE_PRINTF(2, 3);
void row_report_as(struct certcheck *c, enum severity severity, const char *fmt, ...) BASE_PRINTF(3, 4);
/* Does this row apply to the profile asked for, on that day? */
bool row_applies(const struct certcheck *c, const struct certcheck_row *row);
/* SAN-5: run the rules for names over a directoryName. */
void row_run_names(struct certcheck *c, const struct name_view *name);

/* Take apart, and give back.  false without memory. */
bool certcheck_parts_init(struct certcheck *c, X509 *leaf, const struct certcheck_request *req);
void certcheck_parts_clear(struct certcheck *c);
/* The SAN's mailboxes alone, for certcheck_has_address. */
bool certcheck_parts_mailboxes(struct certcheck *c);

/* Bytes from a certificate as text for a finding: ASCII, controls and others as \xNN, at most 60 octets of it. */
struct printable {
	char s[256];
};
const char *printable_text(struct printable *where, const void *data, size_t len);
const char *printable_oid(struct printable *where, const ASN1_OBJECT *object);
#define PRINTABLE(data, len) printable_text(&(struct printable){{0}}, (data), (len))
#define PRINTABLE_OID(object) printable_oid(&(struct printable){{0}}, (object))

/* What kind of key, by object identifier alone: OpenSSL 3.0 cannot load post-quantum keys.  `curve` as in struct certcheck. */
enum key_kind certcheck_key_kind(X509_PUBKEY *key, int *curve);

/* The day as YYYYMMDD; UINT_MAX when it cannot be read. */
unsigned certcheck_day(const ASN1_TIME *t);
bool oid_is(const ASN1_OBJECT *object, const char *dotted);
/* Build and verify the chain to an anchor, times of the leaf and purposes of the leaf left to the rows.  *chain (freed by the caller) holds
 * what could be built, the leaf first, also on failure; `why` gets the reason. */
bool certcheck_verify(X509 *leaf, X509_STORE *anchors, STACK_OF(X509) * untrusted, enum usage usage, time_t now, STACK_OF(X509) * *chain,
	char *why, size_t why_size);

/* Parse bytes as one bare address; false when they are none (NUL, controls, rest behind it). */
bool mailbox_parse(const char *text, size_t len, struct address *out);
/* Bytes equal to one of the alternative name's mailboxes: domain without case, local part exactly. */
bool mailbox_in_san(const struct certcheck *c, const char *text, size_t len);
/* Exact: strict DER of exactly one element. */
bool der_is_strict(const unsigned char *p, size_t len, bool false_allowed);

#endif
