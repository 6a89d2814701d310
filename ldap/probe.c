/*
 * ldap/probe.c - what `directory check` asks beyond connecting: schema, limits, referrals, and who may write what.
 *
 * Rights are tried by one modification that adds a value and deletes another one that is not there.  A modification is done as a whole or not at
 * all (RFC 4511 section 4.6), so this one never is; but servers look at the rights first, and their answer tells: "insufficient access rights", or
 * that the value to be deleted is not there.
 */
#include "config.h"

#include "ldap/internal.h"

#include <ldap_schema.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#define PROBE_MS 15000
#define MANY 1001           /* entries: more than servers usually give without being asked to */
#define SYNTAX_CERTIFICATE "1.3.6.1.4.1.1466.115.121.1.8"

struct probe {
	struct directory *d;
	const struct directory_probe *p;
	LDAP *ld;
	int64_t end;
	char *dn;                /* an entry to try rights on */
	LDAPMessage *schema;
	bool unusable, smime_unusable; /* by the schema: there is nothing to try then */
};

static void say(const struct probe *p, const char *check, const char *verdict, const char *fmt, ...) BASE_PRINTF(4, 5);
static void say(const struct probe *p, const char *check, const char *verdict, const char *fmt, ...)
{
	char text[2000];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	p->p->say(p->p->arg, check, verdict, text);
}

/* ---- schema ------------------------------------------------------------------------------------------------------ */

static enum outcome search_one(const struct probe *p, const char *base, const char *attribute, LDAPMessage **result, struct err *err)
{
	char *attributes[] = {(char *)(uintptr_t)attribute, NULL};
	int code = LDAP_SUCCESS;

	return connection_search(p->ld, p->end, base, LDAP_SCOPE_BASE, "(objectClass=*)", attributes, 1, result, &code, err);
}

static enum outcome load_schema(struct probe *p, struct err *err)
{
	LDAPMessage *root = NULL, *entry;
	enum outcome o = search_one(p, "", "subschemaSubentry", &root, err);
	struct berval **values = NULL;

	entry = o == OUTCOME_DONE ? ldap_first_entry(p->ld, root) : NULL;
	if (entry)
		values = ldap_get_values_len(p->ld, entry, "subschemaSubentry");
	if (values && values[0])
		o = search_one(p, values[0]->bv_val, "attributeTypes", &p->schema, err);
	ldap_value_free_len(values);
	ldap_msgfree(root);
	return o;
}

static bool named(const LDAPAttributeType *a, const char *name)
{
	for (char **n = a->at_names; n && *n; n++)
		if (str_eq_nocase(*n, name))
			return true;
	return str_eq_nocase(a->at_oid, name);
}

/* The type of this name; freed by ldap_attributetype_free.  *known: there is a schema to look into. */
static LDAPAttributeType *find_type(const struct probe *p, const char *name, bool *known)
{
	LDAPMessage *entry = p->schema ? ldap_first_entry(p->ld, p->schema) : NULL;
	struct berval **values = entry ? ldap_get_values_len(p->ld, entry, "attributeTypes") : NULL;
	LDAPAttributeType *found = NULL;
	const char *at;
	int code;

	*known = values && values[0];
	for (size_t i = 0; values && values[i] && !found; i++) {
		found = ldap_str2attributetype(values[i]->bv_val, &code, &at, LDAP_SCHEMA_ALLOW_ALL);
		if (found && !named(found, name)) {
			ldap_attributetype_free(found);
			found = NULL;
		}
	}
	ldap_value_free_len(values);
	return found;
}

/* false: it cannot be used as it is named. */
static bool check_attribute(const struct probe *p, const char *key, const char *attribute)
{
	char name[256];
	bool known, ok, binary = strchr(attribute, ';') != NULL;
	LDAPAttributeType *type;

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(attribute, ";"), attribute);
	type = find_type(p, name, &known);
	if (!known)
		return true;
	ok = type && (!type->at_syntax_oid || binary == (strcmp(type->at_syntax_oid, SYNTAX_CERTIFICATE) == 0));
	if (!type)
		say(p, "schema", "error", "the directory's schema has no attribute %s (%s)", name, key);
	else if (!ok && !binary)
		say(p, "schema", "error", "this directory wants %s;binary (%s)", name, key);
	else if (!ok)
		say(p, "schema", "error", "this directory has %s without ;binary, as Active Directory does (%s)", name, key);
	else
		say(p, "schema", "ok", "%s is there (%s)", attribute, key);
	ldap_attributetype_free(type);
	return ok;
}

static enum outcome check_schema(struct probe *p, struct err *err)
{
	const struct directory_settings *s = &p->d->settings;
	enum outcome o = load_schema(p, err);
	bool known;

	if (o != OUTCOME_DONE)
		return o;
	ldap_attributetype_free(find_type(p, "objectClass", &known));
	if (!known) {
		say(p, "schema", "warning", "the directory does not show its schema to us: whether it has the attributes cannot be told");
		return OUTCOME_DONE;
	}
	p->unusable = !check_attribute(p, "directory.certificate-attribute", s->certificate_attribute);
	if (s->smime_attribute)
		p->smime_unusable = !check_attribute(p, "directory.smime-attribute", s->smime_attribute);
	check_attribute(p, "directory.login-attribute", s->login_attribute);
	for (size_t i = 0; i < s->address_attributes.n; i++)
		check_attribute(p, "directory.address-attributes", s->address_attributes.v[i]);
	for (size_t i = 0; i < s->shared_attributes.n; i++)
		check_attribute(p, "directory.shared-attributes", s->shared_attributes.v[i]);
	return OUTCOME_DONE;
}

/* ---- limits and referrals ---------------------------------------------------------------------------------------- */

static enum outcome check_limits(struct probe *p, struct err *err)
{
	char none[] = LDAP_NO_ATTRS, *attributes[] = {none, NULL}, filter[256], *dn;
	LDAPMessage *result = NULL, *entry;
	int code = LDAP_SUCCESS, n, referrals;
	enum outcome o;

	snprintf(filter, sizeof(filter), "(%.200s=*)", p->d->settings.address_attributes.v[0]);
	o = connection_search(p->ld, p->end, p->d->settings.base, LDAP_SCOPE_SUBTREE, filter, attributes, MANY, &result, &code, err);
	if (o != OUTCOME_DONE)
		return o;
	n = ldap_count_entries(p->ld, result);
	referrals = ldap_count_references(p->ld, result);
	if (code == LDAP_SIZELIMIT_EXCEEDED && n < MANY)
		say(p, "limits", "warning", "the server ends a search after %d entries: people are found, but what looks at everybody (report legacy) needs a "
			"larger size limit for this bind", n);
	else if (n == 0)
		say(p, "limits", "warning", "no entry below the base matches %s: is directory.base right, and may this bind read it?", filter);
	else
		say(p, "limits", "ok", "%s%d entries with %s", code == LDAP_SIZELIMIT_EXCEEDED ? "at least " : "", n, filter);
	if (referrals > 0)
		say(p, "referrals", "warning", "the answer names %d other servers, which are not asked: who is there is found by nobody; point directory.urls at a "
			"server that has everybody (Active Directory: the global catalog)", referrals);
	else
		say(p, "referrals", "ok", "none");
	entry = ldap_first_entry(p->ld, result);
	dn = entry ? ldap_get_dn(p->ld, entry) : NULL;
	p->dn = str_dup(dn);
	ldap_memfree(dn);
	ldap_msgfree(result);
	return OUTCOME_DONE;
}

/* ---- rights ------------------------------------------------------------------------------------------------------ */

/* A certificate of nobody's, DER, freed with OPENSSL_free. */
static unsigned char *nobody(int *len)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	unsigned char *der = NULL;

	*len = -1;
	if (key && x && X509_set_version(x, 2) && ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), random_below(UINT64_MAX) | 1)
		&& X509_gmtime_adj(X509_getm_notBefore(x), 0) && X509_gmtime_adj(X509_getm_notAfter(x), 60)
		&& X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const unsigned char *)"enroll-milter check", -1, -1, 0)
		&& X509_set_issuer_name(x, X509_get_subject_name(x)) && X509_set_pubkey(x, key) && X509_sign(x, key, EVP_sha256()) > 0)
		*len = i2d_X509(x, &der);
	X509_free(x);
	EVP_PKEY_free(key);
	return der;
}

/* *code: what the server says to "add this, and delete that, which is not there". */
static enum outcome try_write(const struct probe *p, const char *dn, const char *attribute, struct berval *add, struct berval *delete, int *code,
	struct err *err)
{
	struct berval *added[] = {add, NULL}, *deleted[] = {delete, NULL};
	LDAPMod one = {.mod_op = LDAP_MOD_ADD | LDAP_MOD_BVALUES, .mod_type = (char *)(uintptr_t)attribute};
	LDAPMod two = {.mod_op = LDAP_MOD_DELETE | LDAP_MOD_BVALUES, .mod_type = (char *)(uintptr_t)attribute};
	LDAPMod *mods[] = {&one, &two, NULL}, *undo[] = {&two, NULL};
	char text[256];
	enum outcome o;
	int ignored;

	one.mod_bvalues = added;
	two.mod_bvalues = deleted;
	o = connection_modify(p->ld, p->end, dn, mods, code, text, err);
	if (o == OUTCOME_DONE && *code == LDAP_SUCCESS) { /* no server may do that */
		two.mod_bvalues = added;
		o = connection_modify(p->ld, p->end, dn, undo, &ignored, text, err);
	}
	return o;
}

static bool let_in(int code)
{
	return code == LDAP_SUCCESS || code == LDAP_NO_SUCH_ATTRIBUTE || code == LDAP_INAPPROPRIATE_MATCHING;
}

static enum outcome check_write(const struct probe *p, const char *attribute, struct err *err)
{
	int n, m, code = LDAP_SUCCESS;
	unsigned char *one = nobody(&n), *two = nobody(&m);
	enum outcome o = OUTCOME_FAILED;

	if (n > 0 && m > 0)
		o = try_write(p, p->dn, attribute, &(struct berval){.bv_val = (char *)one, .bv_len = (ber_len_t)n},
			&(struct berval){.bv_val = (char *)two, .bv_len = (ber_len_t)m}, &code, err);
	else
		err_openssl(err, ERR_BUG, "check directory", NULL);
	OPENSSL_free(one);
	OPENSSL_free(two);
	if (o != OUTCOME_DONE)
		return o;
	if (let_in(code))
		say(p, "write", "ok", "%s of %s may be written", attribute, p->dn);
	else if (code == LDAP_INSUFFICIENT_ACCESS)
		say(p, "write", "error", "this bind may not write %s of %s: grant it that right, and no other", attribute, p->dn);
	else
		say(p, "write", "error", "%s of %s cannot be written: %s", attribute, p->dn, ldap_err2string(code));
	return o;
}

/* ---- a user's rights --------------------------------------------------------------------------------------------- */

static enum outcome bind_user(const struct probe *p, bool *in, struct err *err)
{
	struct berval cred = {.bv_val = (char *)(uintptr_t)p->p->user_password, .bv_len = strlen(p->p->user_password)};
	LDAPMessage *result = NULL;
	int id, code = LDAP_SUCCESS, rc;

	*in = false;
	if (cred.bv_len == 0) { /* would be an anonymous bind (RFC 4513 section 5.1.2) */
		say(p, "user", "error", "the user's password is empty");
		return OUTCOME_DONE;
	}
	rc = ldap_sasl_bind(p->ld, p->p->user_dn, LDAP_SASL_SIMPLE, &cred, NULL, NULL, &id);
	if (rc == LDAP_SUCCESS)
		rc = connection_wait(p->ld, id, p->end, &result);
	if (rc == LDAP_SUCCESS)
		rc = ldap_parse_result(p->ld, result, &code, NULL, NULL, NULL, NULL, 0);
	ldap_msgfree(result);
	if (rc != LDAP_SUCCESS)
		return connection_failed(p->ld, rc, "bind as user", p->p->user_dn, err);
	*in = code == LDAP_SUCCESS;
	if (!*in)
		say(p, "user", "error", "%s cannot bind: %s", p->p->user_dn, ldap_err2string(code));
	return OUTCOME_DONE;
}

/* Two values that nobody has; as an address, or as a DN for attributes that want one. */
static enum outcome try_text(const struct probe *p, const char *attribute, bool dn, int *code, struct err *err)
{
	char text[2][600];
	struct berval v[2];

	for (int i = 0; i < 2; i++) {
		unsigned long long n = random_below(UINT64_MAX);

		if (dn)
			snprintf(text[i], sizeof(text[i]), "cn=enroll-milter-check-%llx,%.500s", n, p->d->settings.base);
		else
			snprintf(text[i], sizeof(text[i]), "enroll-milter-check-%llx@check.invalid", n);
		v[i] = (struct berval){.bv_val = text[i], .bv_len = strlen(text[i])};
	}
	return try_write(p, p->p->user_dn, attribute, &v[0], &v[1], code, err);
}

static enum outcome check_self_write(const struct probe *p, const char *key, const char *attribute, struct err *err)
{
	int code = LDAP_SUCCESS;
	enum outcome o = try_text(p, attribute, false, &code, err);

	if (o == OUTCOME_DONE && (code == LDAP_INVALID_SYNTAX || code == LDAP_CONSTRAINT_VIOLATION))
		o = try_text(p, attribute, true, &code, err);
	if (o != OUTCOME_DONE)
		return o;
	if (let_in(code))
		say(p, "ownership", "error", "%s can write %s of its own entry (%s): whoever has this login can have mail signed as anybody. Take that right away",
			p->p->user_dn, attribute, key);
	else if (code == LDAP_INSUFFICIENT_ACCESS)
		say(p, "ownership", "ok", "%s cannot write %s of its own entry", p->p->user_dn, attribute);
	else
		say(p, "ownership", "warning", "whether %s can write %s of its own entry cannot be told: %s", p->p->user_dn, attribute, ldap_err2string(code));
	return o;
}

static enum outcome check_user(const struct probe *p, struct err *err)
{
	const struct directory_settings *s = &p->d->settings;
	bool in;
	enum outcome o = bind_user(p, &in, err);

	if (o != OUTCOME_DONE || !in)
		return o;
	for (size_t i = 0; i < s->address_attributes.n && o == OUTCOME_DONE; i++)
		o = check_self_write(p, "directory.address-attributes", s->address_attributes.v[i], err);
	for (size_t i = 0; i < s->shared_attributes.n && o == OUTCOME_DONE; i++)
		o = check_self_write(p, "directory.shared-attributes", s->shared_attributes.v[i], err);
	if (o == OUTCOME_DONE && !strlist_has_nocase(&s->address_attributes, s->login_attribute))
		o = check_self_write(p, "directory.login-attribute", s->login_attribute, err);
	return o;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static enum outcome probe_operation(LDAP *ld, int64_t end, void *arg, struct err *err)
{
	struct probe *p = arg;
	const struct directory_settings *s = &p->d->settings;
	enum outcome o;

	p->ld = ld;
	p->end = end;
	o = check_schema(p, err);
	if (o == OUTCOME_DONE)
		o = check_limits(p, err);
	if (o == OUTCOME_DONE && p->dn && !p->unusable)
		o = check_write(p, s->certificate_attribute, err);
	if (o == OUTCOME_DONE && p->dn && s->smime_attribute && !p->smime_unusable)
		o = check_write(p, s->smime_attribute, err);
	/* last: from here on the connection is the user's */
	if (o == OUTCOME_DONE && p->p->user_dn)
		o = check_user(p, err);
	ldap_msgfree(p->schema);
	p->schema = NULL;
	return o;
}

bool directory_probe(struct directory *d, const struct directory_probe *p, struct err *err)
{
	struct probe probe = {.d = d, .p = p};
	struct connection *c = pool_open_own(d->pool, err);
	bool ok = c && pool_run_own(c, probe_operation, mono_ms() + PROBE_MS, &probe, err) == OUTCOME_DONE;

	pool_close_own(c);
	free(probe.dn);
	return ok;
}
