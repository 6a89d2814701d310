/*
 * ctl/cert.c - `enrollctl cert check`: the checks that a new certificate of ours meets, on any certificate in a file.
 *
 * No enrolld, no store, no role and no network; a configuration only when its profile is what is asked for.  What cannot be asked of a stranger's
 * certificate (is it our key, our use) is left out, and so is what was not handed over (addresses, anchors): the answer says what it does not
 * cover.  Exit code 0 clean or warnings, 1 an error among the findings, 2 wrong use or nothing to check.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#define FILE_MOST (1u << 20)
#define CERTIFICATES_MOST 50
#define UNFIT 2 /* exit code */

/* ---- reading ----------------------------------------------------------------------------------------------------------------------- */

/* PEM, several one after the other, or one in DER.  NULL with an error for anything else. */
static STACK_OF(X509) *certificates_parse(const struct buf *text, const char *path, struct err *err)
{
	STACK_OF(X509) *list = sk_X509_new_null();
	BIO *in = BIO_new_mem_buf(text->data, (int)text->len);
	const unsigned char *p = (const unsigned char *)text->data;
	bool pem = memmem(buf_str(text), text->len, "-----BEGIN", 10) != NULL, ok = list && in;
	X509 *x = NULL;

	while (ok && pem && sk_X509_num(list) < CERTIFICATES_MOST && (x = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL)
		ok = sk_X509_push(list, x) > 0;
	if (ok && pem) /* the end of the file and a broken block look alike but for this code */
		ok = sk_X509_num(list) > 0 && (x || ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE);
	else if (ok)
		ok = (x = d2i_X509(NULL, &p, (long)text->len)) != NULL && sk_X509_push(list, x) > 0 && p == (const unsigned char *)text->data + text->len;
	BIO_free(in);
	ERR_clear_error();
	if (ok)
		return list;
	sk_X509_pop_free(list, X509_free);
	err_set(err, ERR_CONFIG, "read certificate", path, "no certificate in PEM or DER form, or a damaged one");
	return NULL;
}

static STACK_OF(X509) *certificates_read(const char *path, struct err *err)
{
	struct buf text = BUF_INIT;
	STACK_OF(X509) *list = NULL;

	if (file_read(&text, path, FILE_MOST, err))
		list = certificates_parse(&text, path, err);
	buf_clear(&text);
	return list;
}

/* ---- what is asked ----------------------------------------------------------------------------------------------------------------- */

struct check {
	X509 *leaf;
	STACK_OF(X509) *file, *untrusted; /* all of FILE; what stands behind its leaf, and --chain */
	X509_STORE *anchors;
	struct certificate_profile profile;
	const char *origin; /* of the profile */
	char name[64];
	struct certcheck_request req;
};

static const char *profile_text(const struct certificate_profile *p, char out[64])
{
	if (p->validation == VALIDATION_PRIVATE)
		snprintf(out, 64, "private");
	else
		snprintf(out, 64, "%s-%s", validation_name(p->validation), generation_name(p->generation));
	return out;
}

/* "mailbox-strict". */
static bool profile_parse(const char *text, struct certificate_profile *out)
{
	char name[64];

	for (int v = VALIDATION_MAILBOX; v <= VALIDATION_PRIVATE; v++) {
		for (int g = GENERATION_LEGACY; g <= GENERATION_STRICT; g++) {
			*out = (struct certificate_profile){.validation = (enum validation)v, .generation = (enum generation)g, .usage = USAGE_SIGN};
			if (strcmp(profile_text(out, name), text) == 0)
				return true;
		}
	}
	return false;
}

/* "configured", or "configured:NAME" for one of several kinds. */
static bool profile_configured(struct ctl *c, struct check *k, struct err *err)
{
	const char *name = strchr(c->profile, ':');
	const struct certificate_profile *found;

	c->config = config_load(c->config_path, err);
	if (!c->config)
		return false;
	found = name ? config_certificate(c->config, name + 1) : &c->config->certificate;
	if (!found)
		return err_set(err, ERR_CONFIG, "check certificate", "--profile", "the configuration has no certificate \"%s\"", name + 1);
	k->profile = *found;
	k->origin = "configured";
	k->req.not_asked &= ~(unsigned)CERTCHECK_NO_USAGE;
	return true;
}

static bool profile_choose(struct ctl *c, struct check *k, struct err *err)
{
	k->req.not_asked |= CERTCHECK_NO_USAGE;
	if (!c->profile) {
		k->origin = "claimed";
		return certcheck_claimed(k->leaf, &k->profile) ||
			err_set(err, ERR_CONFIG, "check certificate", "--profile",
				"the certificate claims no profile of the S/MIME Baseline Requirements: say which one it is to have, with --profile");
	}
	k->origin = "asked for";
	if (strcmp(c->profile, "configured") == 0 || strncmp(c->profile, "configured:", 11) == 0)
		return profile_configured(c, k, err);
	return profile_parse(c->profile, &k->profile) ||
		err_set(err, ERR_CONFIG, "check certificate", "--profile",
			"no profile \"%s\": mailbox, organization, sponsor or individual, and -strict or -multipurpose behind it; private; configured; "
			"configured:NAME", c->profile);
}

static bool untrusted_add(struct check *k, STACK_OF(X509) *from, int first)
{
	for (int i = first; i < sk_X509_num(from); i++)
		if (sk_X509_push(k->untrusted, sk_X509_value(from, i)) <= 0 || !X509_up_ref(sk_X509_value(from, i)))
			return false;
	return true;
}

static bool chain_read(const struct ctl *c, struct check *k, struct err *err)
{
	STACK_OF(X509) *more = NULL;
	bool ok;

	k->untrusted = sk_X509_new_null();
	if (c->chain && (more = certificates_read(c->chain, err)) == NULL)
		return false;
	ok = k->untrusted && untrusted_add(k, k->file, 1) && untrusted_add(k, more, 0);
	sk_X509_pop_free(more, X509_free);
	return ok || err_nomem(err, "read certificates");
}

/* RFC 3339, or a day of it. */
static bool time_choose(const char *text, time_t *out, struct err *err)
{
	char whole[64];

	*out = time(NULL);
	if (!text)
		return true;
	snprintf(whole, sizeof whole, "%s%s", text, strlen(text) == 10 ? "T00:00:00Z" : "");
	return time_parse(whole, out) ||
		err_set(err, ERR_CONFIG, "check certificate", "--at", "\"%s\" is no time: 2027-07-01, or 2027-07-01T12:00:00Z", text);
}

static bool addresses_choose(const struct ctl *c, struct check *k, struct err *err)
{
	struct address parsed;

	for (size_t i = 0; i < c->addresses.n; i++)
		if (!address_parse(&parsed, c->addresses.v[i], err))
			return false;
	k->req.addresses = c->addresses.n > 0 ? &c->addresses : NULL;
	return true;
}

static bool check_init(struct ctl *c, struct check *k, const char *path, struct err *err)
{
	memset(k, 0, sizeof *k);
	k->req.not_asked = CERTCHECK_NO_KEY | CERTCHECK_NO_ADDRESSES | CERTCHECK_NO_ANCHORS;
	k->file = certificates_read(path, err);
	if (!k->file)
		return false;
	k->leaf = sk_X509_value(k->file, 0);
	if (!time_choose(c->at, &k->req.now, err) || !addresses_choose(c, k, err) || !profile_choose(c, k, err) || !chain_read(c, k, err))
		return false;
	if (c->anchors && (k->anchors = certcheck_anchors(c->anchors, err)) == NULL)
		return false;
	k->req.profile = &k->profile;
	k->req.anchors = k->anchors;
	k->req.untrusted = k->untrusted;
	profile_text(&k->profile, k->name);
	return true;
}

static void check_clear(struct check *k)
{
	X509_STORE_free(k->anchors);
	sk_X509_pop_free(k->untrusted, X509_free);
	sk_X509_pop_free(k->file, X509_free);
}

/* ---- answering --------------------------------------------------------------------------------------------------------------------- */

static json_t *name_json(const X509_NAME *name)
{
	BIO *mem = BIO_new(BIO_s_mem());
	json_t *text = NULL;
	char *data;
	long len;

	/* RFC 2253 escapes what is no printable ASCII */
	if (mem && X509_NAME_print_ex(mem, name, 0, XN_FLAG_RFC2253) >= 0 && (len = BIO_get_mem_data(mem, &data)) >= 0)
		text = len > 0 ? json_stringn(data, (size_t)len) : json_string("(empty)");
	BIO_free(mem);
	return text ? text : json_string("unreadable");
}

static json_t *time_json(const ASN1_TIME *t)
{
	struct tm tm;
	char text[32];

	return json_string(t && ASN1_TIME_to_tm(t, &tm) == 1 ? time_text(timegm(&tm), text) : "unreadable");
}

static json_t *certificate_json(X509 *x)
{
	BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
	char *serial = number ? BN_bn2hex(number) : NULL;
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	struct buf hex = BUF_INIT;
	json_t *o;

	if (X509_digest(x, EVP_sha256(), digest, &len) == 1)
		hex_encode(&hex, digest, len);
	o = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "serial", serial ? serial : "unreadable", "sha256", buf_str(&hex), "subject",
		name_json(X509_get_subject_name(x)), "issuer", name_json(X509_get_issuer_name(x)), "not_before", time_json(X509_get0_notBefore(x)),
		"not_after", time_json(X509_get0_notAfter(x)));
	buf_clear(&hex);
	OPENSSL_free(serial);
	BN_free(number);
	return o;
}

static json_t *not_asked_json(const struct check *k)
{
	json_t *a = json_array();

	json_array_append_new(a, json_string("is it our key"));
	if (!k->req.addresses)
		json_array_append_new(a, json_string("is it for our addresses alone (--address)"));
	if (!k->req.anchors)
		json_array_append_new(a, json_string("does it chain to an anchor (--anchors)"));
	if (k->req.not_asked & CERTCHECK_NO_USAGE)
		json_array_append_new(a, json_string("is it for what we want to use it"));
	json_array_append_new(a, json_string("is it revoked"));
	return a;
}

static json_t *result_json(const struct check *k, const char *path, const struct findings *f)
{
	json_t *list = json_array();

	for (size_t i = 0; i < f->n; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "id", f->v[i].id, "section", f->v[i].section, "severity",
			f->v[i].severity == FINDING_ERROR ? "error" : "warning", "text", f->v[i].text));
	return json_pack("{s:b, s:s, s:o, s:s, s:s, s:I, s:I, s:o, s:o}", "ok", f->errors == 0, "file", path, "certificate", certificate_json(k->leaf),
		"profile", k->name, "profile_is", k->origin, "errors", (json_int_t)f->errors, "warnings", (json_int_t)(f->n - f->errors), "findings", list,
		"not_asked", not_asked_json(k));
}

static void print_not_asked(json_t *list)
{
	struct buf line = BUF_INIT;
	json_t *one;
	size_t i;

	json_array_foreach(list, i, one)
		buf_printf(&line, "%s%s", i ? "; " : "", json_string_value(one));
	ctl_sentence("not asked: %s", buf_str(&line));
	buf_clear(&line);
}

static void print_result(const struct ctl *c, json_t *r)
{
	json_t *certificate = json_object_get(r, "certificate"), *one;
	const char *name = json_string_value(json_object_get(r, "profile")), *origin = json_string_value(json_object_get(r, "profile_is"));
	size_t i;

	puts("certificate");
	ctl_line(certificate, "serial", "serial");
	ctl_line(certificate, "sha256", "SHA-256");
	ctl_line(certificate, "subject", "subject");
	ctl_line(certificate, "issuer", "issuer");
	ctl_line(certificate, "not_before", "not before");
	ctl_line(certificate, "not_after", "not after");
	if (strcmp(origin, "claimed") == 0)
		ctl_sentence("judged as %s, which it claims itself: nobody said what was asked for (--profile)", name);
	else
		ctl_sentence("judged as %s (%s)", name, origin);
	json_array_foreach(json_object_get(r, "findings"), i, one)
		ctl_sentence("%-8s %s %s: %s", json_string_value(json_object_get(one, "severity")), json_string_value(json_object_get(one, "id")),
			json_string_value(json_object_get(one, "section")), json_string_value(json_object_get(one, "text")));
	print_not_asked(json_object_get(r, "not_asked"));
	printf("%lld errors, %lld warnings\n", (long long)json_integer_value(json_object_get(r, "errors")),
		(long long)json_integer_value(json_object_get(r, "warnings")));
}

static int check(struct ctl *c, const char *path)
{
	struct err err = ERR_INIT;
	struct findings f = {0};
	struct check k;
	int rc = UNFIT;

	if (!check_init(c, &k, path, &err) || !certcheck(k.leaf, &k.req, &f, &err)) {
		ctl_fail(c, &err);
	} else {
		rc = f.errors > 0 ? 1 : 0;
		if (ctl_print(c, result_json(&k, path, &f), print_result) != 0)
			rc = UNFIT;
	}
	findings_clear(&f);
	check_clear(&k);
	return rc;
}

int ctl_cert(struct ctl *c, int argc, char **argv)
{
	if (argc != 2 || strcmp(argv[0], "check") != 0)
		return ctl_usage(c, "cert takes check and a file");
	return check(c, argv[1]);
}
