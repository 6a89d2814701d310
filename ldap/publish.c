/*
 * ldap/publish.c - certificates into the directory and out of it again.
 *
 * "Add if missing": the values there are read and compared octet by octet first, so repeating changes nothing and values of others
 * stay.  Reading first matters for removal too: servers compare certificates by issuer and serial number, and "delete this value"
 * could hit a foreign one that only shares these.
 *
 * userSMIMECertificate, when configured, gets the certificate as a CMS SignedData without content and signers ("certs-only"); the
 * encoding of the same certificate is always the same, so that it can be found again.
 */
#include "config.h"

#include "ldap/internal.h"

#include <openssl/pkcs7.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#define DER_MAX 65536

/* A value for one attribute. */
struct value {
	const char *attribute;
	const void *data;
	size_t len;
};

struct publish_question {
	struct directory *d;
	struct address address; /* publish */
	const char *where;      /* unpublish */
	struct value values[2];
	size_t n;
	char *dn;
	bool add;               /* a value put back, or taken away */
	enum directory_removed what;
};

/* ---- userSMIMECertificate ---------------------------------------------------------------------------------------- */

bool directory_smime_value(struct buf *out, const void *der, size_t len, struct err *err)
{
	const unsigned char *p = der;
	unsigned char *text = NULL;
	X509 *x = d2i_X509(NULL, &p, (long)len);
	PKCS7 *p7 = PKCS7_new();
	int n = -1;

	if (x && p7 && PKCS7_set_type(p7, NID_pkcs7_signed) && PKCS7_content_new(p7, NID_pkcs7_data) && PKCS7_set_detached(p7, 1)
		&& PKCS7_add_certificate(p7, x))
		n = i2d_PKCS7(p7, &text);
	if (n > 0)
		buf_append(out, text, (size_t)n);
	else
		err_openssl(err, ERR_BUG, "encode certificate for directory", NULL);
	OPENSSL_free(text);
	PKCS7_free(p7);
	X509_free(x);
	return n > 0 && (!out->failed || err_nomem(err, "encode certificate for directory"));
}

static bool prepare(struct publish_question *q, const void *der, size_t len, struct buf *smime, struct err *err)
{
	const struct directory_settings *s = &q->d->settings;

	if (len == 0 || len > DER_MAX)
		return err_set(err, ERR_BUG, "publish certificate", NULL, "a certificate of %zu octets", len);
	q->values[q->n++] = (struct value){s->certificate_attribute, der, len};
	if (!s->smime_attribute)
		return true;
	if (!directory_smime_value(smime, der, len, err))
		return false;
	q->values[q->n++] = (struct value){s->smime_attribute, smime->data, smime->len};
	return true;
}

/* ---- comparing and changing -------------------------------------------------------------------------------------- */

static bool has_value(LDAP *ld, LDAPMessage *entry, const char *attribute, const struct value *v)
{
	struct berval **values = ldap_get_values_len(ld, entry, attribute);
	bool found = false;

	for (size_t i = 0; values && values[i] && !found; i++)
		found = values[i]->bv_len == v->len && memcmp(values[i]->bv_val, v->data, v->len) == 0;
	ldap_value_free_len(values);
	return found;
}

/* Servers name what they return with or without the option (";binary"). */
static bool is_there(LDAP *ld, LDAPMessage *entry, const struct value *v)
{
	char plain[256];
	size_t len = strcspn(v->attribute, ";");

	if (has_value(ld, entry, v->attribute, v))
		return true;
	if (!v->attribute[len] || len >= sizeof(plain))
		return false;
	memcpy(plain, v->attribute, len);
	plain[len] = '\0';
	return has_value(ld, entry, plain, v);
}

/* Which of the values are at this entry?  *gone: the entry is not there. */
static enum outcome look(struct publish_question *q, LDAP *ld, int64_t end, const char *dn, bool there[2], bool *gone, struct err *err)
{
	char *attributes[3] = {0};
	LDAPMessage *result = NULL, *entry;
	enum outcome o;
	int code = LDAP_SUCCESS;

	for (size_t i = 0; i < q->n; i++)
		attributes[i] = (char *)(uintptr_t)q->values[i].attribute;
	o = connection_search(ld, end, dn, LDAP_SCOPE_BASE, "(objectClass=*)", attributes, 1, &result, &code, err);
	if (o == OUTCOME_DONE) {
		entry = ldap_first_entry(ld, result);
		*gone = !entry;
		for (size_t i = 0; i < q->n; i++)
			there[i] = entry && is_there(ld, entry, &q->values[i]);
	}
	ldap_msgfree(result);
	return o;
}

static enum outcome modify(LDAP *ld, int64_t end, const char *dn, const struct value *v, int op, struct berval **values, int *code,
	char text[256], struct err *err)
{
	LDAPMod mod = {.mod_op = op | LDAP_MOD_BVALUES, .mod_type = (char *)(uintptr_t)v->attribute};
	LDAPMod *mods[] = {&mod, NULL};

	mod.mod_bvalues = values;
	return connection_modify(ld, end, dn, mods, code, text, err);
}

/* userSMIMECertificate has no equality rule, so servers cannot add to it or delete a single value: all values are written again, with
 * or without ours.  They have been read just before. */
static enum outcome rewrite(
	LDAP *ld, int64_t end, const char *dn, const struct value *v, bool add, int *code, char text[256], struct err *err)
{
	char *attributes[] = {(char *)(uintptr_t)v->attribute, NULL};
	struct berval own = {.bv_val = (char *)(uintptr_t)v->data, .bv_len = v->len}, **there = NULL, **all = NULL;
	LDAPMessage *result = NULL, *entry;
	enum outcome o = connection_search(ld, end, dn, LDAP_SCOPE_BASE, "(objectClass=*)", attributes, 1, &result, code, err);
	size_t n = 0;

	if (o != OUTCOME_DONE)
		return o;
	entry = ldap_first_entry(ld, result);
	there = entry ? ldap_get_values_len(ld, entry, v->attribute) : NULL;
	all = calloc((size_t)ldap_count_values_len(there) + 2, sizeof(*all));
	for (size_t i = 0; all && there && there[i]; i++)
		if (there[i]->bv_len != v->len || memcmp(there[i]->bv_val, v->data, v->len) != 0)
			all[n++] = there[i];
	if (!all) {
		err_nomem(err, "change directory");
		o = OUTCOME_FAILED;
	} else {
		if (add)
			all[n] = &own;
		o = modify(ld, end, dn, v, LDAP_MOD_REPLACE, all, code, text, err);
	}
	free(all);
	ldap_value_free_len(there);
	ldap_msgfree(result);
	return o;
}

static enum outcome change(LDAP *ld, int64_t end, const char *dn, const struct value *v, bool add, struct err *err)
{
	struct berval value = {.bv_val = (char *)(uintptr_t)v->data, .bv_len = v->len}, *values[] = {&value, NULL};
	char text[256];
	int code = LDAP_SUCCESS;
	enum outcome o = modify(ld, end, dn, v, add ? LDAP_MOD_ADD : LDAP_MOD_DELETE, values, &code, text, err);

	if (o == OUTCOME_DONE && code == LDAP_INAPPROPRIATE_MATCHING)
		o = rewrite(ld, end, dn, v, add, &code, text, err);
	if (o != OUTCOME_DONE || code == LDAP_SUCCESS)
		return o;
	/* somebody (another gateway) was faster */
	if (code == (add ? LDAP_TYPE_OR_VALUE_EXISTS : LDAP_NO_SUCH_ATTRIBUTE) || (!add && code == LDAP_NO_SUCH_OBJECT))
		return OUTCOME_DONE;
	/* Active Directory's word for an attribute that its schema does not have, or has without ";binary" */
	if (add && code == LDAP_NO_SUCH_ATTRIBUTE)
		code = LDAP_UNDEFINED_TYPE;
	connection_failed(NULL, code, add ? "publish certificate" : "remove certificate from directory", dn, err);
	if (err && *text) {
		size_t len = strlen(err->text);

		snprintf(err->text + len, sizeof(err->text) - len, " (%s: %s)", v->attribute, text);
	}
	return OUTCOME_FAILED;
}

/* ---- publish ----------------------------------------------------------------------------------------------------- */

static enum outcome publish_operation(LDAP *ld, int64_t end, void *arg, struct err *err)
{
	struct publish_question *q = arg;
	struct directory_entries entries = {0};
	bool there[2] = {false, false}, gone = false, some = false;
	char text[ADDRESS_MAX];
	enum outcome o = directory_search_address(q->d, ld, end, &q->address, &entries, err);

	if (o == OUTCOME_DONE && (entries.n != 1 || entries.more)) {
		err_set(err, ERR_POLICY, "publish certificate", address_text(&q->address, text),
			entries.n == 0 && !entries.more
				? "no entry of the directory lists this address"
				: "several entries of the directory list this address; it has to be the own mail of one");
		o = OUTCOME_FAILED;
	}
	if (o == OUTCOME_DONE)
		o = look(q, ld, end, entries.v[0].person.dn, there, &gone, err);
	if (o == OUTCOME_DONE && gone) {
		err_set(err, ERR_TEMPORARY, "publish certificate", entries.v[0].person.dn, "the entry has just been moved or removed");
		o = OUTCOME_FAILED;
	}
	for (size_t i = 0; i < q->n && o == OUTCOME_DONE; i++) {
		if (!there[i])
			o = change(ld, end, entries.v[0].person.dn, &q->values[i], true, err);
		some = some || there[i] || o == OUTCOME_DONE;
	}
	if (some) {
		free(q->dn);
		q->dn = entries.v[0].person.dn;
		entries.v[0].person.dn = NULL;
	}
	directory_entries_clear(&entries);
	return o;
}

bool directory_publish(struct directory *d, const char *address, const void *der, size_t len, char **dn, struct err *err)
{
	struct publish_question q = {.d = d};
	struct buf smime = BUF_INIT;
	bool ok;

	*dn = NULL;
	ok = address_parse(&q.address, address, err) && prepare(&q, der, len, &smime, err) && directory_run(d, publish_operation, &q, err);
	*dn = q.dn;
	buf_clear(&smime);
	return ok;
}

static enum outcome unpublish_operation(LDAP *ld, int64_t end, void *arg, struct err *err)
{
	struct publish_question *q = arg;
	bool there[2] = {false, false}, gone = false;
	enum outcome o = look(q, ld, end, q->where, there, &gone, err);

	/* Whoever repeats it after a lost answer finds nothing any more: it was removed all the same. */
	if (o == OUTCOME_DONE && (there[0] || there[1]))
		q->what = DIRECTORY_REMOVED;
	else if (o == OUTCOME_DONE && q->what != DIRECTORY_REMOVED)
		q->what = gone ? DIRECTORY_ENTRY_GONE : DIRECTORY_NOT_THERE;
	for (size_t i = 0; i < q->n && o == OUTCOME_DONE; i++)
		if (there[i])
			o = change(ld, end, q->where, &q->values[i], false, err);
	return o;
}

bool directory_remove(struct directory *d, const char *dn, const void *der, size_t len, enum directory_removed *what, struct err *err)
{
	struct publish_question q = {.d = d, .where = dn, .what = DIRECTORY_NOT_THERE};
	struct buf smime = BUF_INIT;
	bool ok = prepare(&q, der, len, &smime, err) && directory_run(d, unpublish_operation, &q, err);

	*what = q.what;
	buf_clear(&smime);
	return ok;
}

bool directory_unpublish(struct directory *d, const char *dn, const void *der, size_t len, struct err *err)
{
	enum directory_removed what;

	return directory_remove(d, dn, der, len, &what, err);
}

/* ---- single values ----------------------------------------------------------------------------------------------- */

static enum outcome value_operation(LDAP *ld, int64_t end, void *arg, struct err *err)
{
	struct publish_question *q = arg;
	bool there[2] = {false, false}, gone = false;
	enum outcome o = look(q, ld, end, q->where, there, &gone, err);

	if (o == OUTCOME_DONE && gone && q->add) {
		err_set(err, ERR_POLICY, "change directory", q->where, "the entry is not there any more");
		o = OUTCOME_FAILED;
	}
	return o == OUTCOME_DONE && !gone && there[0] != q->add ? change(ld, end, q->where, &q->values[0], q->add, err) : o;
}

bool directory_value_set(struct directory *d, const char *dn, const char *attribute, const void *data, size_t len, bool add, struct err *err)
{
	struct publish_question q = {.d = d, .where = dn, .values = {{attribute, data, len}}, .n = 1, .add = add};

	return directory_run(d, value_operation, &q, err);
}

struct values_question {
	const char *dn;
	char *attribute;
	struct directory_values *out;
	bool gone;
};

/* Servers name what they return with or without the option (";binary"). */
static struct berval **values_named(LDAP *ld, LDAPMessage *entry, const char *attribute)
{
	struct berval **values = ldap_get_values_len(ld, entry, attribute);
	char plain[256];

	if (values || !strchr(attribute, ';'))
		return values;
	snprintf(plain, sizeof(plain), "%.*s", (int)strcspn(attribute, ";"), attribute);
	return ldap_get_values_len(ld, entry, plain);
}

/* A copy of what one attribute holds. */
static bool copy_values(LDAP *ld, LDAPMessage *entry, const char *attribute, struct directory_values *out)
{
	struct berval **values = values_named(ld, entry, attribute);
	size_t n = (size_t)ldap_count_values_len(values);
	bool ok = true;

	out->v = calloc(n + 1, sizeof(*out->v));
	for (size_t i = 0; (ok = ok && out->v) && i < n; i++) {
		out->v[i].data = malloc(values[i]->bv_len + 1);
		ok = out->v[i].data != NULL;
		if (ok)
			memcpy(out->v[i].data, values[i]->bv_val, values[i]->bv_len);
		out->v[i].len = values[i]->bv_len;
		out->n++;
	}
	ldap_value_free_len(values);
	return ok;
}

static enum outcome values_operation(LDAP *ld, int64_t end, void *arg, struct err *err)
{
	struct values_question *q = arg;
	char *attributes[] = {q->attribute, NULL};
	LDAPMessage *result = NULL, *entry;
	int code = LDAP_SUCCESS;
	enum outcome o = connection_search(ld, end, q->dn, LDAP_SCOPE_BASE, "(objectClass=*)", attributes, 1, &result, &code, err);

	directory_values_clear(q->out);
	if (o == OUTCOME_DONE) {
		entry = ldap_first_entry(ld, result);
		q->gone = !entry;
		if (entry && !copy_values(ld, entry, q->attribute, q->out)) {
			err_nomem(err, "read directory");
			o = OUTCOME_FAILED;
		}
	}
	ldap_msgfree(result);
	return o;
}

void directory_values_clear(struct directory_values *v)
{
	for (size_t i = 0; i < v->n; i++)
		free(v->v[i].data);
	free(v->v);
	memset(v, 0, sizeof(*v));
}

bool directory_read_values(struct directory *d, const char *dn, const char *attribute, struct directory_values *out, bool *gone, struct err *err)
{
	struct values_question q = {.dn = dn, .attribute = str_dup(attribute), .out = out};
	bool ok = q.attribute ? directory_run(d, values_operation, &q, err) : err_nomem(err, "read directory");

	free(q.attribute);
	*gone = q.gone;
	if (!ok)
		directory_values_clear(out);
	return ok;
}

/* ---- an entry by what stays when it is moved ----------------------------------------------------------------------- */

struct identity_question {
	struct directory *d;
	const char *filter;
	char *dn;
};

static enum outcome identity_operation(LDAP *ld, int64_t end, void *arg, struct err *err)
{
	struct identity_question *q = arg;
	char none[] = LDAP_NO_ATTRS, *attributes[] = {none, NULL}, *dn;
	LDAPMessage *result = NULL, *entry;
	int code = LDAP_SUCCESS;
	enum outcome o = connection_search(ld, end, q->d->settings.base, LDAP_SCOPE_SUBTREE, q->filter, attributes, 2, &result, &code, err);

	entry = o == OUTCOME_DONE ? ldap_first_entry(ld, result) : NULL;
	if (entry && ldap_count_entries(ld, result) == 1 && (dn = ldap_get_dn(ld, entry))) {
		free(q->dn);
		q->dn = str_dup(dn);
		ldap_memfree(dn);
	}
	ldap_msgfree(result);
	return o;
}

/* "uuid:" is followed by the text of RFC 4530, "guid:" by the octets in hex. */
static bool identity_filter(const char *identity, struct buf *filter)
{
	const char *text = strchr(identity, ':');
	bool uuid = strncmp(identity, "uuid:", 5) == 0;

	if (!text || (!uuid && strncmp(identity, "guid:", 5) != 0) || !text[1] || strspn(text + 1, "0123456789abcdefABCDEF-") != strlen(text + 1))
		return false;
	buf_puts(filter, uuid ? "(entryUUID=" : "(objectGUID=");
	for (const char *p = text + 1; *p; p++) {
		if (!uuid && (p - text) % 2 == 1)
			buf_putc(filter, '\\');
		buf_putc(filter, *p);
	}
	buf_putc(filter, ')');
	return !filter->failed;
}

bool directory_find_identity(struct directory *d, const char *identity, char **dn, struct err *err)
{
	struct buf filter = BUF_INIT;
	struct identity_question q = {.d = d};
	bool ok = true;

	if (identity && identity_filter(identity, &filter)) {
		q.filter = buf_str(&filter);
		ok = directory_run(d, identity_operation, &q, err);
	}
	buf_clear(&filter);
	*dn = q.dn;
	return ok;
}
