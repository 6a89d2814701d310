/*
 * policy/certcheck_rows_own.c - the gateway's own questions, which no profile answers: is it our key, are these our addresses and no
 * others, is it valid now, does it lead to an anchor of ours, may it be used for what we want, and for nothing that nobody
 * could read.  And what an admin asks of an internal CA's `private` profile.
 */
#include "config.h"

#include "policy/certcheck_rows.h"

#include <string.h>

#include <openssl/evp.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Left out only when nothing was given and the caller said that nothing would be. */
static bool not_asked(const struct certcheck *c, unsigned flag, const void *given)
{
	return given == NULL && (c->req->not_asked & flag) != 0;
}

void row_own_key(struct certcheck *c)
{
	unsigned char *spki = NULL, md[EVP_MAX_MD_SIZE];
	struct buf hex = BUF_INIT;
	size_t md_len = 0;
	int len;

	if (not_asked(c, CERTCHECK_NO_KEY, c->req->spki_sha256))
		return;
	len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(c->leaf), &spki);
	if (len > 0 && EVP_Q_digest(NULL, "SHA256", NULL, spki, (size_t)len, md, &md_len) == 1)
		hex_encode(&hex, md, md_len);
	OPENSSL_free(spki);
	if (hex.len == 0 || c->req->spki_sha256 == NULL || !str_eq_nocase(hex.data, c->req->spki_sha256))
		row_report(c, "the certificate is for another key than the one of our request");
	buf_clear(&hex);
}

enum match { MATCH_NONE, MATCH_NO_CASE, MATCH_EXACT };

static enum match match_addresses(const struct address *ours, const struct address *theirs)
{
	if (strcmp(ours->domain, theirs->domain) != 0)
		return MATCH_NONE;
	if (strcmp(ours->local, theirs->local) == 0)
		return MATCH_EXACT;
	return address_equal(ours, theirs) ? MATCH_NO_CASE : MATCH_NONE;
}

/* The best match of this address among those of the request. */
static enum match match_ours(const struct certcheck *c, const struct address *theirs)
{
	enum match best = MATCH_NONE;

	for (size_t i = 0; i < c->req->addresses->n; i++) {
		struct address ours;
		enum match m = address_parse(&ours, c->req->addresses->v[i], NULL) ? match_addresses(&ours, theirs) : MATCH_NONE;

		best = m > best ? m : best;
	}
	return best;
}

/* Every one of ours is in the alternative name. */
static void own_addr_all_there(struct certcheck *c)
{
	for (size_t i = 0; i < c->req->addresses->n; i++) {
		const char *text = c->req->addresses->v[i];
		enum match best = MATCH_NONE;
		struct address ours;

		for (size_t j = 0; j < c->n_mailboxes && address_parse(&ours, text, NULL); j++) {
			enum match m = c->mailboxes[j].valid ? match_addresses(&ours, &c->mailboxes[j].parsed) : MATCH_NONE;

			best = m > best ? m : best;
		}
		if (best == MATCH_NONE)
			row_report(c, "our address \"%s\" is not in the certificate", PRINTABLE(text, strlen(text)));
		else if (best == MATCH_NO_CASE)
			row_report_as(c, FINDING_WARNING, "our address \"%s\" is written in other upper and lower case",
				PRINTABLE(text, strlen(text)));
	}
}

/* Mail programs also read addresses from the subject. */
static void own_addr_name(struct certcheck *c, const struct name_view *name)
{
	for (size_t i = 0; i < name->n; i++) {
		const struct name_attribute *a = &name->v[i];
		struct address parsed;
		bool valid = mailbox_parse(a->text, a->len, &parsed);

		if (a->nid == NID_pkcs9_emailAddress ? !valid || match_ours(c, &parsed) == MATCH_NONE
						     : a->nid == NID_commonName && valid && match_ours(c, &parsed) == MATCH_NONE)
			row_report(c, "the name holds the address \"%s\", which is not ours", PRINTABLE(a->text, a->len));
	}
}

void row_own_addr(struct certcheck *c)
{
	if (not_asked(c, CERTCHECK_NO_ADDRESSES, c->req->addresses))
		return;
	if (c->req->addresses == NULL || c->req->addresses->n == 0) {
		row_report(c, "it was not said which addresses are ours");
		return;
	}
	own_addr_all_there(c);
	for (size_t i = 0; i < c->n_mailboxes; i++) {
		const struct mailbox *m = &c->mailboxes[i];

		if (!m->valid || match_ours(c, &m->parsed) == MATCH_NONE)
			row_report(c, "the certificate also has \"%s\", which is not ours", PRINTABLE(m->text, m->len));
	}
	own_addr_name(c, &c->subject);
	for (size_t i = 0; i < c->n_directory_names; i++)
		own_addr_name(c, &c->directory_names[i]);
}

void row_own_time(struct certcheck *c)
{
	struct tm tm = {.tm_year = BR_START / 10000 - 1900, .tm_mon = BR_START / 100 % 100 - 1, .tm_mday = BR_START % 100};
	char text[32];

	if (!c->times)
		row_report(c, "its validity cannot be read");
	else if (c->not_before > c->req->now)
		row_report(c, "not valid before %s", time_text(c->not_before, text));
	else if (c->not_after < c->req->now)
		row_report(c, "expired at %s", time_text(c->not_after, text));
	/* rows are judged by notBefore: a date in the far past would switch them all off */
	if (c->times && !c->private_profile && c->not_before < timegm(&tm))
		row_report(c, "it begins at %s, before the S/MIME Baseline Requirements took effect", time_text(c->not_before, text));
}

void row_own_chain(struct certcheck *c)
{
	if (c->chain_error[0] != 0 && !not_asked(c, CERTCHECK_NO_ANCHORS, c->req->anchors))
		row_report(c, "no chain to a configured anchor: %s", c->chain_error);
}

/* What the key may be used for must be what we want, and no invitation to encrypt where nobody reads such mail. */
void row_own_use(struct certcheck *c)
{
	unsigned encrypting = KU_BIT_KEY_ENC | KU_BIT_DATA_ENC | KU_BIT_AGREE;
	enum usage usage = c->req->profile->usage;
	unsigned ku = c->ext[EXT_KU] != NULL ? c->ku : ~0u;

	if (not_asked(c, CERTCHECK_NO_USAGE, NULL))
		return;
	if (usage != USAGE_ENCRYPT && !(ku & KU_BIT_SIGN))
		row_report(c, "key usage does not allow signing");
	if (usage != USAGE_SIGN && !(ku & (c->key == KEY_EC ? KU_BIT_AGREE : KU_BIT_KEY_ENC)))
		row_report(c, "key usage does not allow encrypting");
	if (usage == USAGE_SIGN && (ku & encrypting))
		row_report(c, "%s, but a certificate for signing only was asked for",
			c->ext[EXT_KU] != NULL ? "key usage invites to encrypt" : "without key usage the key may be encrypted to");
	if (usage == USAGE_SIGN && c->key == KEY_ML_KEM)
		row_report(c, "a key of this kind cannot sign");
	if (usage != USAGE_SIGN && (c->key == KEY_ED25519 || c->key == KEY_ED448 || c->key == KEY_ML_DSA))
		row_report(c, "a key of this kind can only sign");
}

/* ---- private profile --------------------------------------------------------------------------------------------- */

void row_prv_pol(struct certcheck *c)
{
	const struct strlist *wanted = &c->req->profile->policy_oids;
	bool found = wanted->n == 0;

	for (int i = 0; i < sk_POLICYINFO_num(c->policies); i++) {
		const ASN1_OBJECT *policy = sk_POLICYINFO_value(c->policies, i)->policyid;
		char text[100];
		int n = OBJ_obj2txt(text, sizeof text, policy, 1);

		if (n <= 0 || (size_t)n >= sizeof text)
			continue;
		found |= strlist_has(wanted, text);
		if (strncmp(text, "2.23.140.1.5.", 13) == 0 && strlen(text) == 16 && text[15] == '1')
			row_report(c, "it is of a Legacy generation of the S/MIME Baseline Requirements");
	}
	if (!found)
		row_report(c, "none of the policies in policy-oids is there");
}

void row_prv_eku(struct certcheck *c)
{
	static char email_protection[] = "1.3.6.1.5.5.7.3.4";
	static char *defaults[] = {email_protection};
	const struct strlist fallback = {defaults, 1};
	const struct strlist *wanted = c->req->profile->ekus.n > 0 ? &c->req->profile->ekus : &fallback;

	for (size_t i = 0; i < wanted->n; i++) {
		bool found = false;

		for (int j = 0; j < sk_ASN1_OBJECT_num(c->eku) && !found; j++)
			found = oid_is(sk_ASN1_OBJECT_value(c->eku, j), wanted->v[i]);
		if (!found)
			row_report(c, "extended key usage %s is missing", wanted->v[i]);
	}
}

void row_prv_days(struct certcheck *c)
{
	unsigned max = c->req->profile->max_days > 0 ? c->req->profile->max_days : 825;
	long long seconds = (long long)c->not_after - (long long)c->not_before + 1;

	if (c->times && (seconds + 86399) / 86400 > max)
		row_report(c, "valid for %lld days, more than max-days %u", (seconds + 86399) / 86400, max);
}
