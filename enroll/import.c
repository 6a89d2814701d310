/*
 * enroll/import.c - a user's key and certificate from elsewhere, judged like one that the CA delivered, and into the store.
 *
 * Nobody asked for this certificate, so no profile is the one that was asked for: it has to be one of the kinds of the configuration, or the
 * Multipurpose or Strict one that it claims to be.  Which CA it is of is told by its anchors, as renewal and revocation go there.
 */
#include "config.h"

#include "enroll/certificate.h"
#include "enroll/import.h"
#include "enroll/revocation.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

static const char op[] = "import key";
#define FILE_MOST (1u << 20)

struct import {
	const struct enroll_import *what;
	struct import_content content;
	struct buf pem;                  /* leaf first */
	struct enrollment row;
	struct store_certificate certificate;
	X509_STORE *anchors;             /* of the CA it chains to; NULL = to none */
	const struct ca_config *ca;
	time_t now;
};

/* ---- whose is it ----------------------------------------------------------------------------------------------------------- */

static const ASN1_STRING *mailbox_of(const GENERAL_NAME *name)
{
	ASN1_OBJECT *kind;
	ASN1_TYPE *value;

	if (name->type == GEN_EMAIL)
		return name->d.rfc822Name;
	if (name->type != GEN_OTHERNAME || GENERAL_NAME_get0_otherName(name, &kind, &value) != 1 || OBJ_obj2nid(kind) != NID_id_on_SmtpUTF8Mailbox)
		return NULL;
	return value->type == V_ASN1_UTF8STRING ? value->value.utf8string : NULL;
}

static bool add_address(struct import *in, const ASN1_STRING *text, struct err *err)
{
	const unsigned char *data = ASN1_STRING_get0_data(text);
	size_t len = (size_t)ASN1_STRING_length(text);
	char copy[ADDRESS_MAX], canonical[ADDRESS_MAX];
	struct address parsed;

	if (len >= sizeof copy || memchr(data, 0, len))
		return err_set(err, ERR_POLICY, op, in->what->name, "an address in the certificate is none");
	memcpy(copy, data, len);
	copy[len] = '\0';
	if (!address_parse(&parsed, copy, err))
		return false;
	address_text(&parsed, canonical);
	if (!config_serves(in->what->config, parsed.domain))
		return err_set(err, ERR_POLICY, op, in->what->name, "the certificate is for %s, which is in none of the domains of the configuration", canonical);
	return strlist_has_nocase(&in->row.addresses, canonical) || strlist_add(&in->row.addresses, canonical) || err_nomem(err, op);
}

/* The address that was named comes first. */
static bool choose_first(struct import *in, struct err *err)
{
	char wanted[ADDRESS_MAX], key[ADDRESS_MAX];

	if (!in->what->address)
		return true;
	if (!address_key_of(in->what->address, wanted, err))
		return false;
	for (size_t i = 0; i < in->row.addresses.n; i++) {
		char *first = in->row.addresses.v[0];

		if (!address_key_of(in->row.addresses.v[i], key, err) || strcmp(key, wanted) != 0)
			continue;
		in->row.addresses.v[0] = in->row.addresses.v[i];
		in->row.addresses.v[i] = first;
		return true;
	}
	err_clear(err);
	return err_set(err, ERR_POLICY, op, in->what->name, "the certificate is for %s, and not for %s", in->row.addresses.v[0], in->what->address);
}

static bool find_addresses(struct import *in, struct err *err)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(in->content.leaf, NID_subject_alt_name, NULL, NULL);
	bool ok = true;

	for (int i = 0; ok && i < sk_GENERAL_NAME_num(names); i++) {
		const ASN1_STRING *text = mailbox_of(sk_GENERAL_NAME_value(names, i));

		ok = !text || add_address(in, text, err);
	}
	GENERAL_NAMES_free(names);
	ERR_clear_error();
	if (ok && in->row.addresses.n == 0)
		ok = err_set(err, ERR_POLICY, op, in->what->name, "the certificate has no mail address (subject alternative name)");
	return ok && choose_first(in, err);
}

/* ---- may it be used -------------------------------------------------------------------------------------------------------- */

static bool is_in_time(const struct import *in, struct err *err)
{
	char when[32];

	if (in->certificate.not_after <= in->now)
		return err_set(err, ERR_POLICY, op, in->what->name, "the certificate expired at %s; --old takes it in for reading old mail", time_text(in->certificate.not_after, when));
	return in->certificate.not_before <= in->now ||
		err_set(err, ERR_POLICY, op, in->what->name, "the certificate is not valid before %s", time_text(in->certificate.not_before, when));
}

static void add_intermediates(const char *file, STACK_OF(X509) *others)
{
	struct buf text = BUF_INIT;

	if (file && file_read(&text, file, FILE_MOST, NULL))
		(void)import_pem_certificates(buf_str(&text), text.len, others);
	buf_clear(&text);
}

/* The first CA of the configuration whose anchors it chains to. */
static bool find_ca(struct import *in, struct err *err)
{
	const struct config *cfg = in->what->config;

	for (size_t i = 0; i < config_cas(cfg); i++) {
		const struct ca_config *ca = config_ca_at(cfg, i);
		STACK_OF(X509) *chain;

		if (!ca->anchor_file)
			continue;
		if ((in->anchors = certcheck_anchors(ca->anchor_file, err)) == NULL)
			return false;
		add_intermediates(ca->intermediate_file, in->content.others);
		chain = certcheck_chain(in->content.leaf, in->anchors, in->content.others, NULL);
		ERR_clear_error();
		if (chain) {
			sk_X509_pop_free(chain, X509_free);
			in->ca = ca;
			return true;
		}
		X509_STORE_free(in->anchors);
		in->anchors = NULL;
	}
	return err_set(err, ERR_POLICY, op, in->what->name, "its issuer, %.300s, is not trusted: it does not chain to a root of ca.anchor-file, or an intermediate "
		"is in neither the file nor ca.intermediate-file", in->certificate.issuer);
}

/* Held against one kind; of those that do not fit the one with the fewest errors is told. */
struct judgement {
	bool fits;
	struct certificate_profile profile; /* which fits; borrows from the configuration */
	size_t least;
	char text[600];
};

static bool judge_as(struct import *in, struct certificate_profile profile, enum usage usage, const char *name, struct judgement *j, struct err *err)
{
	struct certcheck_request req = {.profile = &profile, .addresses = &in->row.addresses, .anchors = in->anchors, .untrusted = in->content.others, .now = in->now};
	struct findings findings = {0};
	struct buf text = BUF_INIT;
	char spki[65];
	bool ok;

	if (j->fits || (usage != USAGE_SIGN && !in->what->config->decryption))
		return true;
	profile.usage = usage;
	req.spki_sha256 = spki;
	ok = keyvault_spki(in->content.key, spki, err) && certcheck(in->content.leaf, &req, &findings, err);
	if (ok && findings.errors == 0) {
		j->fits = true;
		j->profile = profile;
		free(in->row.profile);
		free(in->row.usage);
		in->row.profile = str_dup(name);
		in->row.usage = str_dup(usage_name(usage));
		ok = (in->row.profile && in->row.usage) || err_nomem(err, op);
	} else if (ok && findings.errors < j->least) {
		j->least = findings.errors;
		findings_text(&findings, &text);
		snprintf(j->text, sizeof j->text, "as %s for usage %s: %.500s", name, usage_name(usage), buf_str(&text));
	}
	findings_clear(&findings);
	buf_clear(&text);
	return ok;
}

static bool judge_kinds(struct import *in, struct judgement *j, struct err *err)
{
	const struct config *cfg = in->what->config;

	for (size_t i = 0; i < config_certificates(cfg); i++) {
		const struct certificate_profile *kind = config_certificate_at(cfg, i);

		if (config_ca_of(cfg, kind) != in->ca)
			continue;
		if (!judge_as(in, *kind, kind->usage == USAGE_SPLIT ? USAGE_SIGN : kind->usage, kind->name, j, err) ||
			(kind->usage == USAGE_SPLIT && !judge_as(in, *kind, USAGE_ENCRYPT, kind->name, j, err)))
			return false;
	}
	return true;
}

/* As of a new certificate: asked about only where the configuration wants that, and it is good in all other respects. */
static bool judge_revocation(struct import *in, const struct judgement *j, struct err *err)
{
	struct certcheck_request req = {.profile = &j->profile, .addresses = &in->row.addresses, .anchors = in->anchors, .untrusted = in->content.others,
		.now = in->now, .revocation = in->ca->revocation};
	struct revocation_answer answer = {0};
	struct findings findings = {0};
	struct buf text = BUF_INIT;
	struct revocation *asking;
	char spki[65];
	X509 *issuer;
	bool ok;

	if (in->ca->revocation == REVOCATION_OFF)
		return true;
	if ((asking = revocation_new(in->ca, err)) == NULL)
		return false;
	issuer = certcheck_issuer(in->content.leaf, in->anchors, in->content.others, in->now);
	if (issuer)
		revocation_ask(asking, in->content.leaf, issuer, in->now, &answer);
	req.spki_sha256 = spki;
	req.evidence = &answer.evidence;
	ok = keyvault_spki(in->content.key, spki, err) && certcheck(in->content.leaf, &req, &findings, err);
	if (ok && findings.errors > 0) {
		findings_text(&findings, &text);
		ok = err_set(err, ERR_POLICY, op, in->what->name, "the certificate is not one that may be used here: %.600s", buf_str(&text));
	}
	findings_clear(&findings);
	buf_clear(&text);
	X509_free(issuer);
	revocation_answer_clear(&answer);
	revocation_free(asking);
	return ok;
}

static bool judge(struct import *in, struct err *err)
{
	static const enum usage usages[] = {USAGE_SIGN, USAGE_DUAL, USAGE_ENCRYPT};
	struct judgement j = {.least = SIZE_MAX, .text = "no kind of certificate of the configuration is of this CA"};
	struct certificate_profile claimed;
	bool ok = judge_kinds(in, &j, err);

	if (ok && !j.fits && certcheck_claimed(in->content.leaf, &claimed) && claimed.generation != GENERATION_LEGACY)
		for (size_t i = 0; ok && i < sizeof usages / sizeof *usages; i++)
			ok = judge_as(in, claimed, usages[i], in->what->config->certificate.name, &j, err);
	if (ok && !j.fits)
		return err_set(err, ERR_POLICY, op, in->what->name, "the certificate is not one that may be used here: %s%s", j.text,
			in->what->config->decryption ? "" : " (without `decryption` in the configuration: for signing alone)");
	return ok && judge_revocation(in, &j, err);
}

static bool find_rule(struct import *in, struct err *err)
{
	struct rules_facts facts = {.address = in->row.addresses.v[0]};
	const struct rule *rule = NULL;

	if (!rules_find(in->what->config, &facts, NULL, &rule, NULL, NULL) || !rule)
		return true; /* enrolld asks the directory */
	in->row.rule = str_dup(rule->name);
	return in->row.rule || err_nomem(err, op);
}

static bool may_be_used(struct import *in, struct err *err)
{
	return is_in_time(in, err) && find_ca(in, err) && judge(in, err) && find_rule(in, err);
}

/* ---- into the store -------------------------------------------------------------------------------------------------------- */

static bool write_pem(struct import *in, struct err *err)
{
	BIO *mem = BIO_new(BIO_s_mem());
	bool ok = mem && PEM_write_bio_X509(mem, in->content.leaf) == 1;
	char *data;
	long len;

	for (int i = 0; ok && i < sk_X509_num(in->content.others); i++)
		ok = PEM_write_bio_X509(mem, sk_X509_value(in->content.others, i)) == 1;
	buf_reset(&in->pem);
	if (ok && (len = BIO_get_mem_data(mem, &data)) > 0)
		buf_append(&in->pem, data, (size_t)len);
	BIO_free(mem);
	return (ok && !in->pem.failed) || err_openssl(err, ERR_BUG, op, in->what->name);
}

/* Once without and, for what may be used, once more with anchors: then the chain is the way to them. */
static bool describe(struct import *in, struct err *err)
{
	X509_STORE *none = in->anchors ? NULL : X509_STORE_new();
	bool ok;

	store_certificate_clear(&in->certificate);
	ok = write_pem(in, err) && certificate_read(&in->certificate, &in->row, &in->pem, in->anchors ? in->anchors : none, err);
	X509_STORE_free(none);
	return ok;
}

static bool wrap(struct store *store, const struct import *in, struct store_key *key, struct buf *wrapped, struct err *err)
{
	const struct config *cfg = in->what->config;
	X509 *master = keyring_in_force(store, cfg->master_certificate, !in->what->dry_run, err);
	bool ok = master && keyvault_wrap(wrapped, in->content.key, master, err) && keyvault_spki(X509_get0_pubkey(master), key->master, err) && keyvault_spki(in->content.key, key->spki_sha256, err);

	key->wrapped = (const unsigned char *)wrapped->data;
	key->wrapped_len = wrapped->len;
	X509_free(master);
	return ok;
}

static bool put(struct store *store, struct import *in, const struct store_key *key, bool old, const char *why, struct store_imported *done, struct err *err)
{
	char text[1400];
	struct store_import what = {.row = &in->row, .key = key, .certificate = &in->certificate, .old = old, .dry_run = in->what->dry_run,
		.actor = in->what->actor, .text = text};

	snprintf(text, sizeof text, "key and certificate %.80s (SHA-256 %s) from %.300s%s%.700s", in->certificate.serial, in->certificate.fingerprint,
		in->what->name, old ? ", for reading old mail alone: " : "", old ? why : "");
	return store_import(store, &what, done, err);
}

static bool set_text(char **where, const char *text, struct err *err)
{
	free(*where);
	*where = str_dup(text);
	return *where || err_nomem(err, op);
}

/* What is for reading alone is of no kind; the row that may be made for it asks for nothing. */
static bool put_old(struct store *store, struct import *in, const struct store_key *key, const char *why, struct store_imported *done, struct err *err)
{
	return set_text(&in->row.profile, in->what->config->certificate.name, err) && set_text(&in->row.usage, usage_name(USAGE_SIGN), err) &&
		put(store, in, key, true, why, done, err);
}

static bool store_it(struct store *store, struct import *in, bool usable, char why[800], struct store_imported *done, struct err *err)
{
	struct buf wrapped = BUF_INIT;
	struct store_key key = {0};
	bool ok = wrap(store, in, &key, &wrapped, err);

	if (ok && usable) {
		ok = put(store, in, &key, false, "", done, err);
		usable = ok || err->class != ERR_POLICY || strcmp(err->type, STORE_IMPORT_NOT_YET) == 0 || !in->what->old;
		if (!usable)
			snprintf(why, 800, "%.799s", err->text);
		ok = ok || !usable;
	}
	if (ok && !usable) {
		err_clear(err);
		ok = put_old(store, in, &key, why, done, err);
	}
	buf_wipe(&wrapped);
	return ok;
}

/* Whatever is to be said of it was said when it came. */
static bool is_here(struct store *store, const struct import *in, struct store_imported *done, struct err *err)
{
	struct store_certificate c = {0};
	bool found = false, ok = store_certificate_find(store, in->certificate.fingerprint, &c, &found, err);

	if (ok && found) {
		done->enrollment_id = c.enrollment_id;
		snprintf(done->status, sizeof done->status, "%s", c.status);
	}
	store_certificate_clear(&c);
	return ok;
}

static void tell(struct enroll_imported *out, const struct import *in, const struct store_imported *done)
{
	snprintf(out->address, sizeof out->address, "%s", in->row.addresses.v[0]);
	snprintf(out->serial, sizeof out->serial, "%s", in->certificate.serial);
	snprintf(out->fingerprint, sizeof out->fingerprint, "%s", in->certificate.fingerprint);
	snprintf(out->status, sizeof out->status, "%s", done->status);
	out->created = done->created;
	if (!done->created)
		out->why[0] = '\0';
}

static bool judge_and_store(struct store *store, struct import *in, struct enroll_imported *out, struct store_imported *done, struct err *err)
{
	bool usable = may_be_used(in, err);

	if (!usable) {
		if (!in->what->old || err->class != ERR_POLICY)
			return false;
		snprintf(out->why, sizeof out->why, "%.799s", err->text);
	}
	return (!usable || (set_text(&in->row.ca, in->ca->name, err) && describe(in, err))) && store_it(store, in, usable, out->why, done, err);
}

bool enroll_import(struct store *store, const struct enroll_import *what, struct enroll_imported *out, struct err *err)
{
	struct import in = {.what = what, .now = time(NULL)};
	struct store_imported done = {0};
	bool ok;

	memset(out, 0, sizeof *out);
	ok = import_read(&in.content, what, err) && find_addresses(&in, err) && describe(&in, err) && is_here(store, &in, &done, err);
	if (ok && done.enrollment_id == 0)
		ok = judge_and_store(store, &in, out, &done, err);
	if (ok)
		tell(out, &in, &done);
	import_content_clear(&in.content);
	X509_STORE_free(in.anchors);
	store_certificate_clear(&in.certificate);
	enrollment_clear(&in.row);
	buf_clear(&in.pem);
	return ok;
}
