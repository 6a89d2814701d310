/*
 * milter/smime.h - is this mail signed by S/MIME (RFC 8551) by the one it is from, and are its header fields protected by that signature?
 * Private to milter/.
 *
 * A signature covers a MIME part, not the header above it: whoever has one signed mail of the CA can put any Subject over it.  So a mail
 * passes only with header protection, in one of three forms: the signed part is a whole message (RFC 8551 section 3.1), the signer
 * repeats the fields in a signed attribute (RFC 7508), or in the header of the signed part itself (RFC 9788, hp="clear").  What the mail
 * says is then taken from the protected fields, and the outer ones have to agree.  Everything is thread safe.
 */
#ifndef ENROLL_MILTER_SMIME_H
#define ENROLL_MILTER_SMIME_H
#include <openssl/x509.h>

#include "milter/mime.h"

/* Does the header say multipart/signed with S/MIME's protocol, or application/pkcs7-mime?  Whether it is so, smimecheck finds. */
bool smime_looks_signed(const struct headers *h);

/* What may be believed of the header. */
struct smime_proof {
	struct headers fields;     /* From, To, Subject, and where there: Date, Message-ID, Auto-Submitted, Reply-To; each at most once */
	bool date_protected;       /* else Date in `fields` is the outer one, and proves nothing: see signed_at */
	bool message_id_protected; /* else the same for Message-ID */
	time_t signed_at;          /* the signingTime attribute, the earliest of all signers; 0 = one of them did not say */
};
void smime_proof_clear(struct smime_proof *p);

enum smimecheck { SMIMECHECK_PASS, SMIMECHECK_FAIL, SMIMECHECK_UNKNOWN /* no memory, spool unreadable: nobody can say now */ };
/* All signers have to be good: SHA-2, RSA from 2048 bits or EC from 256, a certificate for `from` that is for mail, valid now, and leads to
 * an anchor by certificates of the message.  `body` as it came, of at most 16 MiB.  `how` is "smime CN=..., anchor ..., form=..." or the
 * reason.  smime_proof_clear is the caller's in each case. */
enum smimecheck smimecheck(const struct headers *h, const struct spool *body, X509_STORE *anchors, const char *from,
	struct smime_proof *out, char how[256]);

/* ---- between smime.c and smime_header.c -------------------------------------------------------------------------------- */

/* The signed MIME entity, after its signature was found good, and what all signers said beside it. */
struct smime_entity {
	struct buf octets;
	struct buf secure_headers; /* DER of the RFC 7508 attribute; empty = there is none */
	time_t signed_at;
};
/* One header block of GMime's reading: fields in order, and where its content begins.  False for none, NUL, or more than `max` octets. */
bool smime_read_header(const char *text, size_t len, size_t max, struct headers *out, size_t *content_at);
/* Finds the protected fields and holds them against the outer ones.  *form is static text. */
bool smime_header_check(const struct smime_entity *e, const struct headers *outer, struct smime_proof *out, const char **form, char why[256]);
#endif
