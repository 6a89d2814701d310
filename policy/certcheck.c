/*
 * policy/certcheck.c - is what the CA sent what was asked for?
 *
 * Every check is a row of one table (certcheck_table.c): id, section of the S/MIME Baseline Requirements, the days it applies (by
 * notBefore), types and generations, severity, function.  The profile that was asked for decides which rows run, never what the certificate
 * says about itself: a CA that sends a Multipurpose certificate for a Strict order is told by POL-3, and all other rows still judge it as
 * Strict.  With a `private` profile the admin's own rows (PRV-*) are errors and the Baseline Requirements' rows are advice.  The gateway's
 * own questions (OWN-*) are asked always.
 */
#include "config.h"

#include "policy/certcheck_rows.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

static const struct certcheck_row row_size = {"OWN-SIZE", "limits", 0, 0, TYPES_ALL, GENERATIONS_ALL, ROW_OWN, FINDING_ERROR, NULL};

/* Row functions report under the id of the row that runs; SAN-5 borrows the rows for names. */
static void BASE_PRINTF(3, 0) report(struct certcheck *c, enum severity severity, const char *fmt, va_list ap)
{
	bool advice = c->private_profile && c->row->scope != ROW_OWN && c->row->scope != ROW_PRIVATE;
	struct finding *more, *f;
	size_t n = c->out->n;

	if (c->reported++ >= CERTCHECK_MAX_PER_ROW)
		return;
	more = realloc(c->out->v, (n + 1) * sizeof *more);
	if (more == NULL) {
		c->nomem = true;
		return;
	}
	c->out->v = more;
	f = &more[n];
	f->id = c->row->id;
	f->section = c->row->section;
	f->severity = advice ? FINDING_WARNING : severity;
	vsnprintf(f->text, sizeof f->text, fmt, ap);
	c->out->n++;
	c->out->errors += f->severity == FINDING_ERROR;
}

void row_report(struct certcheck *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	report(c, c->row->severity, fmt, ap);
	va_end(ap);
}

void row_report_as(struct certcheck *c, enum severity severity, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	report(c, severity, fmt, ap);
	va_end(ap);
}

bool row_applies(const struct certcheck *c, const struct certcheck_row *row)
{
	const struct certificate_profile *p = c->req->profile;

	if (row->scope == ROW_OWN)
		return true;
	if (row->scope == ROW_PRIVATE)
		return c->private_profile;
	if (c->day < row->first || (row->end != 0 && c->day >= row->end))
		return false;
	if (c->private_profile)
		return row->scope != ROW_BR_ONLY && row->types == TYPES_ALL && (row->generations & MULTIPURPOSE);
	return (row->types & TYPE(p->validation)) && (row->generations & (1u << p->generation));
}

void row_run_names(struct certcheck *c, const struct name_view *name)
{
	const struct certcheck_row *self = c->row;

	c->name = name;
	for (size_t i = 0; i < certcheck_rows_n; i++) {
		const struct certcheck_row *row = &certcheck_rows[i];

		/* reported as SAN-5, with SAN-5's severity: c->row stays */
		if (row->scope == ROW_BR_NAME && row->severity == FINDING_ERROR && row_applies(c, row))
			row->check(c);
	}
	c->name = &c->subject;
	c->row = self;
}

static void run(struct certcheck *c)
{
	for (size_t i = 0; i < certcheck_rows_n && !c->nomem; i++) {
		if (!row_applies(c, &certcheck_rows[i]))
			continue;
		c->row = &certcheck_rows[i];
		c->reported = 0;
		c->row->check(c);
	}
}

/* Something that is no certificate of a mail user anyhow is not taken apart at length. */
static bool is_oversized(struct certcheck *c)
{
	c->row = &row_size;
	if (c->der_len > CERTCHECK_MAX_DER)
		row_report(c, "the certificate has %zu octets, more than %d", c->der_len, CERTCHECK_MAX_DER);
	else if (X509_NAME_entry_count(X509_get_subject_name(c->leaf)) > CERTCHECK_MAX_NAMES ||
		 X509_get_ext_count(c->leaf) > CERTCHECK_MAX_NAMES)
		row_report(c, "the certificate has more than %d extensions or parts of its name", CERTCHECK_MAX_NAMES);
	return c->out->n > 0;
}

/* Without anchors there is no chain to believe.  Who does not ask for one still wants to hear about the issuer that was handed over. */
static void unverified_chain(struct certcheck *c)
{
	X509_STORE *none = c->req->not_asked & CERTCHECK_NO_ANCHORS ? X509_STORE_new() : NULL;

	if (none != NULL)
		certcheck_verify(c->leaf, none, c->req->untrusted, c->req->profile->usage, c->req->now, &c->chain, c->chain_error, sizeof c->chain_error);
	X509_STORE_free(none);
	snprintf(c->chain_error, sizeof c->chain_error, "no anchors are configured");
}

static void judge(struct certcheck *c)
{
	if (c->req->anchors == NULL)
		unverified_chain(c);
	else
		certcheck_verify(c->leaf, c->req->anchors, c->req->untrusted, c->req->profile->usage, c->req->now, &c->chain,
			c->chain_error, sizeof c->chain_error);
	run(c);
}

bool certcheck(X509 *leaf, const struct certcheck_request *req, struct findings *out, struct err *err)
{
	struct certcheck c = {.leaf = leaf, .req = req, .out = out};
	bool ok = false;
	int len;

	memset(out, 0, sizeof *out);
	len = i2d_X509(leaf, &c.der);
	if (len <= 0)
		return err_openssl(err, ERR_BUG, "check certificate", "");
	c.der_len = (size_t)len;
	if (is_oversized(&c)) {
		ok = !c.nomem;
	} else if (certcheck_parts_init(&c, leaf, req)) {
		if (sk_GENERAL_NAME_num(c.san) > CERTCHECK_MAX_NAMES)
			row_report(&c, "the certificate has more than %d alternative names", CERTCHECK_MAX_NAMES);
		else
			judge(&c);
		ok = !c.nomem;
	}
	certcheck_parts_clear(&c);
	ERR_clear_error();
	if (!ok) {
		findings_clear(out);
		err_nomem(err, "check certificate");
	}
	return ok;
}

bool certcheck_has_address(X509 *leaf, const char *address)
{
	struct certcheck c = {.leaf = leaf};
	struct address wanted;
	bool found = false;

	if (!address_parse(&wanted, address, NULL))
		return false;
	c.san = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	if (certcheck_parts_mailboxes(&c))
		for (size_t i = 0; i < c.n_mailboxes && !found; i++)
			found = c.mailboxes[i].valid && address_equal(&wanted, &c.mailboxes[i].parsed);
	certcheck_parts_clear(&c);
	ERR_clear_error();
	return found;
}

bool certcheck_claimed(X509 *leaf, struct certificate_profile *out)
{
	CERTIFICATEPOLICIES *policies = X509_get_ext_d2i(leaf, NID_certificate_policies, NULL, NULL);
	bool found = false;

	for (int i = 0; i < sk_POLICYINFO_num(policies) && !found; i++)
		for (int type = VALIDATION_MAILBOX; type <= VALIDATION_INDIVIDUAL && !found; type++)
			for (int g = GENERATION_LEGACY; g <= GENERATION_STRICT && !found; g++) {
				*out = (struct certificate_profile){
					.validation = (enum validation)type, .generation = (enum generation)g, .usage = USAGE_SIGN};
				found = oid_is(sk_POLICYINFO_value(policies, i)->policyid, profile_policy_oid(out));
			}
	CERTIFICATEPOLICIES_free(policies);
	ERR_clear_error();
	return found;
}

void findings_clear(struct findings *f)
{
	free(f->v);
	memset(f, 0, sizeof *f);
}

void findings_text(const struct findings *f, struct buf *out)
{
	for (size_t i = 0; i < f->n; i++)
		buf_printf(out, "%s %s: %s%s\n", f->v[i].id, f->v[i].section, f->v[i].text,
			f->v[i].severity == FINDING_WARNING ? " (warning)" : "");
}
