/*
 * store/keyvault.c - user keys wrapped for the master certificate, and the master key itself.
 *
 * A wrapped key is one CMS AuthEnvelopedData (RFC 5083) with AES-256-GCM (RFC 5084) around the PKCS#8 bytes, its content key agreed
 * by ephemeral-static ECDH with the master certificate (RFC 5753) and wrapped with AES-256: writing needs the certificate only, so
 * enrolld makes keys that it cannot read afterwards.  The recipient is named by subject key identifier, not by issuer and serial: a
 * master certificate issued again for the same key still opens everything.
 *
 * Two traps.  OpenSSL's CMS takes SHA-1 for the key derivation unless told otherwise, so the parameters are set by hand.  And CMS_final
 * copies the content through a buffer on the stack that nobody wipes, so the bytes go in and out by CMS_dataInit here; on the way back
 * the GCM tag is only known to be good after BIO_get_cipher_status, and nothing is parsed before.
 */
#include "config.h"

#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/cms.h>
#include <openssl/ec.h>
#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

/* An RSA key of 16,384 bits is below 10 KiB; nothing bigger is a user key of ours. */
#define PLAIN_MAX 16384
#define WRAPPED_MAX (2 * PLAIN_MAX)
#define PEM_MAX 65536

static const char MASTER_NAME[] = "enroll-milter master key";

/* ---- wrap -------------------------------------------------------------------------------------------------------- */

/* The master certificate as the only recipient, with SHA-256 in the key derivation. */
static bool add_recipient(CMS_ContentInfo *cms, X509 *certificate)
{
	CMS_RecipientInfo *ri = CMS_add1_recipient_cert(cms, certificate, CMS_KEY_PARAM | CMS_USE_KEYID);
	EVP_PKEY_CTX *ctx;

	if (ri == NULL || CMS_RecipientInfo_type(ri) != CMS_RECIPINFO_AGREE)
		return false;
	ctx = CMS_RecipientInfo_get0_pkey_ctx(ri);
	/* The kind of derivation (X9.63) is set by CMS itself, which refuses one that is set already. */
	return ctx != NULL && EVP_PKEY_CTX_set_ecdh_kdf_md(ctx, EVP_sha256()) > 0;
}

/* The PKCS#8 bytes into the envelope, and the envelope as DER into out. */
static bool seal(struct buf *out, CMS_ContentInfo *cms, const unsigned char *plain, size_t len)
{
	BIO *content = NULL;
	unsigned char *der = NULL;
	int der_len = -1;

	/* Without this the ciphertext is taken for detached and thrown away. */
	if (CMS_set_detached(cms, 0) == 1)
		content = CMS_dataInit(cms, NULL);
	if (content == NULL)
		return false;
	if (BIO_write(content, plain, (int)len) == (int)len && BIO_flush(content) > 0 && CMS_dataFinal(cms, content) > 0)
		der_len = i2d_CMS_ContentInfo(cms, &der);
	BIO_free_all(content);
	if (der_len > 0)
		buf_append(out, der, (size_t)der_len);
	OPENSSL_free(der);
	return der_len > 0;
}

bool keyvault_to_pkcs8(EVP_PKEY *key, unsigned char **plain, int *len)
{
	PKCS8_PRIV_KEY_INFO *p8 = EVP_PKEY2PKCS8(key);

	*len = p8 == NULL ? -1 : i2d_PKCS8_PRIV_KEY_INFO(p8, plain);
	PKCS8_PRIV_KEY_INFO_free(p8);
	return *len > 0;
}

bool keyvault_wrap(struct buf *out, EVP_PKEY *key, X509 *master_certificate, struct err *err)
{
	static const char op[] = "wrap user key";
	unsigned char *plain = NULL;
	int plain_len = 0;
	CMS_ContentInfo *cms = NULL;
	bool ok = false;

	if (X509_get0_subject_key_id(master_certificate) == NULL || !EVP_PKEY_is_a(X509_get0_pubkey(master_certificate), "EC"))
		return err_set(err, ERR_CONFIG, op, MASTER_NAME,
			"the master certificate has no EC key or no subject key identifier; make one with `enrollctl init`");
	ERR_clear_error();
	memory_secret_begin();
	if (!keyvault_to_pkcs8(key, &plain, &plain_len)) {
		err_openssl(err, ERR_BUG, op, "PKCS#8");
		goto done;
	}
	if (plain_len > PLAIN_MAX) {
		err_set(err, ERR_BUG, op, "PKCS#8", "a private key of %d octets is larger than this vault takes (%d)", plain_len,
			PLAIN_MAX);
		goto done;
	}
	cms = CMS_AuthEnvelopedData_create(EVP_aes_256_gcm());
	if (cms == NULL || !add_recipient(cms, master_certificate) || !seal(out, cms, plain, (size_t)plain_len)) {
		err_openssl(err, ERR_BUG, op, "CMS AuthEnvelopedData");
		goto done;
	}
	ok = !out->failed || err_nomem(err, op);
done:
	memory_secret_end();
	CMS_ContentInfo_free(cms);
	OPENSSL_clear_free(plain, plain_len > 0 ? (size_t)plain_len : 0);
	return ok;
}

/* ---- unwrap ------------------------------------------------------------------------------------------------------ */

/* Strict: one DER object and nothing behind it, of the authenticated kind.  Plain EnvelopedData would decrypt to whatever an attacker
 * flips it to. */
static CMS_ContentInfo *parse_wrapped(const void *wrapped, size_t len)
{
	const unsigned char *p = wrapped;
	CMS_ContentInfo *cms;

	if (len == 0 || len > WRAPPED_MAX)
		return NULL;
	cms = d2i_CMS_ContentInfo(NULL, &p, (long)len);
	if (cms != NULL && p == (const unsigned char *)wrapped + len &&
		OBJ_obj2nid(CMS_get0_type(cms)) == NID_id_smime_ct_authEnvelopedData)
		return cms;
	CMS_ContentInfo_free(cms);
	return NULL;
}

static bool names_recipient(CMS_ContentInfo *cms, X509 *certificate)
{
	STACK_OF(CMS_RecipientInfo) *infos = CMS_get0_RecipientInfos(cms);

	for (int i = 0; i < sk_CMS_RecipientInfo_num(infos); i++) {
		CMS_RecipientInfo *ri = sk_CMS_RecipientInfo_value(infos, i);
		STACK_OF(CMS_RecipientEncryptedKey) * reks;

		if (CMS_RecipientInfo_type(ri) != CMS_RECIPINFO_AGREE)
			continue;
		reks = CMS_RecipientInfo_kari_get0_reks(ri);
		for (int j = 0; j < sk_CMS_RecipientEncryptedKey_num(reks); j++)
			if (CMS_RecipientEncryptedKey_cert_cmp(sk_CMS_RecipientEncryptedKey_value(reks, j), certificate) == 0)
				return true;
	}
	return false;
}

bool keyvault_is_for(const void *wrapped, size_t len, X509 *master_certificate)
{
	CMS_ContentInfo *cms = parse_wrapped(wrapped, len);
	bool is = cms != NULL && names_recipient(cms, master_certificate);

	CMS_ContentInfo_free(cms);
	ERR_clear_error();
	return is;
}

/* Read the whole content; true only when the authentication tag was right.  `plain` has PLAIN_MAX octets. */
static bool open_sealed(CMS_ContentInfo *cms, unsigned char *plain, size_t *len)
{
	BIO *content = CMS_dataInit(cms, NULL), *cipher;
	size_t have = 0;
	int n = 0;
	bool ok;

	if (content == NULL)
		return false;
	while (have < PLAIN_MAX && (n = BIO_read(content, plain + have, (int)(PLAIN_MAX - have))) > 0)
		have += (size_t)n;
	cipher = BIO_find_type(content, BIO_TYPE_CIPHER);
	ok = have > 0 && have < PLAIN_MAX && cipher != NULL && BIO_get_cipher_status(cipher) > 0;
	BIO_free_all(content);
	*len = have;
	return ok;
}

/* OpenSSL is told which kind of key it is: left to find out, it tries all it knows, which takes longer than a signature. */
EVP_PKEY *keyvault_from_pkcs8(const unsigned char *plain, size_t len)
{
	const unsigned char *p = plain;
	PKCS8_PRIV_KEY_INFO *p8 = d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, (long)len);
	const ASN1_OBJECT *kind = NULL;
	OSSL_DECODER_CTX *decoder = NULL;
	EVP_PKEY *key = NULL;
	char name[80];

	if (p8 != NULL && p == plain + len && PKCS8_pkey_get0(&kind, NULL, NULL, NULL, p8) == 1 && OBJ_obj2txt(name, sizeof(name), kind, 1) > 0)
		decoder = OSSL_DECODER_CTX_new_for_pkey(&key, "DER", "PrivateKeyInfo", name, EVP_PKEY_KEYPAIR, NULL, NULL);
	PKCS8_PRIV_KEY_INFO_free(p8);
	p = plain;
	if (decoder != NULL && OSSL_DECODER_from_data(decoder, &p, &len) != 1) {
		EVP_PKEY_free(key);
		key = NULL;
	}
	OSSL_DECODER_CTX_free(decoder);
	return key;
}

/* What cannot be opened is damaged, unless there was no room for it: OpenSSL's decoders do not tell the two apart. */
static void unwrap_failed(const char *op, struct err *err)
{
	void *room = OPENSSL_secure_malloc(PLAIN_MAX / 4);

	if (room == NULL)
		err_set(err, ERR_TEMPORARY, op, "secure heap",
			"no room for another key in memory; if it goes on, milter.cache-size is too large or reloads follow too fast");
	else
		err_openssl(err, ERR_BUG, op, "the wrapped key in the store is damaged");
	OPENSSL_secure_free(room);
}

EVP_PKEY *keyvault_unwrap(const void *wrapped, size_t len, X509 *master_certificate, EVP_PKEY *master_key, struct err *err)
{
	static const char op[] = "unwrap user key";
	CMS_ContentInfo *cms = NULL;
	unsigned char *plain = NULL;
	size_t plain_len = 0;
	EVP_PKEY *key = NULL;

	ERR_clear_error();
	if (X509_check_private_key(master_certificate, master_key) != 1) {
		ERR_clear_error();
		err_set(err, ERR_CONFIG, op, MASTER_NAME,
			"the master key does not belong to the master certificate; check `master` in the configuration");
		return NULL;
	}
	cms = parse_wrapped(wrapped, len);
	if (cms == NULL) {
		ERR_clear_error();
		err_set(err, ERR_BUG, op, "CMS AuthEnvelopedData", "the wrapped key in the store is damaged");
		return NULL;
	}
	if (!names_recipient(cms, master_certificate)) {
		err_set(err, ERR_CONFIG, op, MASTER_NAME,
			"the user key was wrapped for another master key; use the master key that belongs to this store");
		goto done;
	}
	plain = OPENSSL_secure_malloc(PLAIN_MAX);
	if (plain == NULL) {
		err_nomem(err, op);
		goto done;
	}
	memory_secret_begin();
	if (CMS_decrypt_set1_pkey(cms, master_key, master_certificate) > 0 && open_sealed(cms, plain, &plain_len))
		key = keyvault_from_pkcs8(plain, plain_len);
	memory_secret_end();
	if (key == NULL)
		unwrap_failed(op, err);
done:
	OPENSSL_secure_clear_free(plain, PLAIN_MAX);
	CMS_ContentInfo_free(cms);
	ERR_clear_error();
	return key;
}

/* ---- the master key ---------------------------------------------------------------------------------------------- */

static bool add_extension(X509 *certificate, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *extension;
	bool ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, certificate, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return ok;
}

/* A positive serial number of 127 random bits. */
static bool set_random_serial(X509 *certificate)
{
	unsigned char bytes[16];
	BIGNUM *number;
	bool ok;

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	bytes[0] = (unsigned char)((bytes[0] & 0x7f) | 0x40);
	number = BN_bin2bn(bytes, sizeof(bytes), NULL);
	ok = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
	BN_free(number);
	return ok;
}

/* Self-signed, for key agreement only, without a well-defined end (RFC 5280 section 4.1.2.5): it must open what it closed for as long
 * as anybody keeps the store. */
static X509 *master_certificate_new(EVP_PKEY *key)
{
	X509 *certificate = X509_new();
	X509_NAME *name = certificate == NULL ? NULL : X509_get_subject_name(certificate);

	if (name != NULL && X509_set_version(certificate, X509_VERSION_3) == 1 && set_random_serial(certificate) &&
		X509_gmtime_adj(X509_getm_notBefore(certificate), -300) != NULL &&
		ASN1_TIME_set_string(X509_getm_notAfter(certificate), "99991231235959Z") == 1 &&
		X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)MASTER_NAME, -1, -1, 0) == 1 &&
		X509_set_issuer_name(certificate, name) == 1 && X509_set_pubkey(certificate, key) == 1 &&
		add_extension(certificate, NID_basic_constraints, "critical,CA:FALSE") &&
		add_extension(certificate, NID_key_usage, "critical,keyAgreement") &&
		add_extension(certificate, NID_subject_key_identifier, "hash") && X509_sign(certificate, key, EVP_sha256()) > 0)
		return certificate;
	X509_free(certificate);
	return NULL;
}

/* A memory BIO's content into out; the BIO wipes its own memory when freed. */
static bool bio_to_buf(struct buf *out, BIO *bio)
{
	char *data = NULL;
	long len = BIO_get_mem_data(bio, &data);

	if (len <= 0)
		return false;
	buf_append(out, data, (size_t)len);
	return true;
}

bool keyvault_master_new(struct buf *key_pem, struct buf *certificate_pem, struct err *err)
{
	static const char op[] = "make master key";
	EVP_PKEY *key;
	X509 *certificate = NULL;
	BIO *key_bio = BIO_new(BIO_s_mem()), *certificate_bio = BIO_new(BIO_s_mem());
	bool ok = false;

	ERR_clear_error();
	key = EVP_EC_gen("P-256");
	if (key != NULL)
		certificate = master_certificate_new(key);
	if (certificate == NULL || key_bio == NULL || certificate_bio == NULL ||
		PEM_write_bio_PKCS8PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL) != 1 ||
		PEM_write_bio_X509(certificate_bio, certificate) != 1 || !bio_to_buf(key_pem, key_bio) ||
		!bio_to_buf(certificate_pem, certificate_bio)) {
		err_openssl(err, ERR_BUG, op, MASTER_NAME);
		goto done;
	}
	ok = (!key_pem->failed && !certificate_pem->failed) || err_nomem(err, op);
done:
	BIO_free(certificate_bio);
	BIO_free(key_bio);
	X509_free(certificate);
	EVP_PKEY_free(key);
	return ok;
}

X509 *keyvault_master_certificate(const char *where, struct err *err)
{
	static const char op[] = "load master certificate";
	struct buf pem = BUF_INIT;
	BIO *bio = NULL;
	X509 *certificate = NULL;
	bool credential = strncmp(where, "credential:", strlen("credential:")) == 0;

	if (credential ? !secret_read(&pem, where, false, err) : !file_read(&pem, where, PEM_MAX, err))
		goto done;
	ERR_clear_error();
	bio = BIO_new_mem_buf(buf_str(&pem), (int)pem.len);
	certificate = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
	if (certificate == NULL) {
		err_openssl(err, ERR_CONFIG, op, where);
	} else if (!EVP_PKEY_is_a(X509_get0_pubkey(certificate), "EC") || X509_get0_subject_key_id(certificate) == NULL) {
		err_set(err, ERR_CONFIG, op, where,
			"this is no master certificate (it needs an EC key and a subject key identifier); make one with `enrollctl init`");
		X509_free(certificate);
		certificate = NULL;
	}
done:
	BIO_free(bio);
	buf_wipe(&pem);
	return certificate;
}

/* An encrypted PEM file must fail, not ask on a terminal that is not there. */
static int no_passphrase(char *out, int size, int writing, void *arg)
{
	return -1;
}

EVP_PKEY *keyvault_master_key(const char *where, struct err *err)
{
	static const char op[] = "load master key";
	struct buf pem = BUF_INIT;
	BIO *bio = NULL;
	EVP_PKEY *key = NULL;

	if (!secret_read(&pem, where, false, err))
		goto done;
	ERR_clear_error();
	memory_secret_begin();
	bio = BIO_new_mem_buf(buf_str(&pem), (int)pem.len);
	key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	memory_secret_end();
	if (key == NULL) {
		err_openssl(err, ERR_CONFIG, op, where);
	} else if (!EVP_PKEY_is_a(key, "EC")) {
		err_set(err, ERR_CONFIG, op, where, "this is no master key (it must be an EC key); make one with `enrollctl init`");
		EVP_PKEY_free(key);
		key = NULL;
	}
done:
	BIO_free(bio);
	buf_wipe(&pem);
	return key;
}

bool keyvault_spki(EVP_PKEY *key, char out[65], struct err *err)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char *der = NULL, digest[SHA256_DIGEST_LENGTH];
	int len;

	ERR_clear_error();
	len = i2d_PUBKEY(key, &der);
	if (len <= 0 || EVP_Digest(der, (size_t)len, digest, NULL, EVP_sha256(), NULL) != 1) {
		OPENSSL_free(der);
		return err_openssl(err, ERR_BUG, "fingerprint public key", "SubjectPublicKeyInfo");
	}
	OPENSSL_free(der);
	for (size_t i = 0; i < sizeof(digest); i++) {
		out[2 * i] = hex[digest[i] >> 4];
		out[2 * i + 1] = hex[digest[i] & 15];
	}
	out[64] = '\0';
	return true;
}

/* A store and a master key that do not belong together would fail one mail at a time; this is how it is seen at the start.  The public key counts,
 * not the certificate: one issued again for the same key opens everything. */
bool keyvault_master_is_of(struct store *store, X509 *master_certificate, const char *where, bool claim, struct err *err)
{
	static const char flag[] = "master-key";
	char spki[65], *known = NULL;
	bool ok = keyvault_spki(X509_get0_pubkey(master_certificate), spki, err) && store_flag_get(store, flag, &known, err);

	if (ok && known != NULL && strcmp(known, spki) != 0)
		ok = err_set(err, ERR_CONFIG, "load master certificate", where,
			"the user keys in this store are wrapped for another master key (SHA-256 of its public key: %.16s..., this one's: %.16s...); put that "
			"one and its certificate back from your copy, or begin with a new store: see README, \"Backup\"",
			known, spki);
	else if (ok && known == NULL && claim)
		ok = store_flag_set(store, flag, spki, "system", err);
	free(known);
	return ok;
}
