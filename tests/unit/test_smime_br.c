/*
 * tests/unit/test_smime_br.c - certcheck against 200 development certificates of others, and what was found out about each there.
 *
 * expected.tsv (see the README.md beside it) has one row for each certificate and one lint of zlint.  The lint is mapped to the rows of our
 * table that ask the same; the row agrees when certcheck reports one of them where the lint says error or warn, and none where it says pass,
 * "ne" (the rule was not in force yet) or "na" (the lint does not look at such a certificate).
 *
 * Which profile is asked for?  The certificates are of all of them, so each is asked for what it claims, Legacy too, as if an admin had
 * ordered just that.  Where a file claims none (TLS certificates, CAs), mailbox-multipurpose is asked for; a lint that is "na" because the
 * file claims nothing then says nothing about our answer, and the row is not compared.
 *
 * Rows that differ, and shall, are named one by one below, each with its reason; a difference that has gone is a failure as well.
 * The data is not part of this project.  It is found by the environment variable ENROLL_TESTDATA, or beside the source tree.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "policy/policy.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define ROWS 262
#define NOW 1795305600 /* 2026-11-22 */
#define SKIPPED 77     /* of automake */

/* Which finding answers to a lint: ids separated by |, with :words when another fault has
 * the same id, @section for one version of a rule. */
static const struct {
	const char *lint, *ids;
} lints[] = {
	{"e_adobe_extensions_legacy_multipurpose_criticality", "FLG-2"},
	{"e_adobe_extensions_strict_presence", "ADB-1"},
	{"e_authority_key_identifier_correct", "AKI-1|FLG-2"},
	{"e_commonname_mailbox_validated", "CN-1"},
	{"e_ec_other_key_usages", "KU-1"},
	{"e_ecpublickey_key_usages", "KU-4"},
	{"e_edwardspublickey_key_usages", "KU-5|KU-1"},
	{"e_exactly_one_smime_policy", "POL-1"},
	{"e_ext_san_not_critical_without_subject", "FLG-1:subject is empty"},
	{"e_ext_san_rfc822_format_invalid", "SAN-6"},
	{"e_invalid_individual_identity", "DN-9"},
	{"e_invalid_legacy_spki_algoid", "KEY-1@6.1.5, 7.1.3.1|KEY-6@7.1.3.1.1 to .3"},
	{"e_invalid_spki_algoid", "KEY-1@6.1.5, 7.1.3.1 (1.0.11)|KEY-6@7.1.3.1.1 to .3 (1.0.11)"},
	{"e_key_usage_and_extended_key_usage_inconsistent", "KU-1|KU-2|KU-3|KU-4"},
	{"e_key_usage_presence", "KU-1"},
	{"e_legacy_generation_deprecated", "POL-2"},
	{"e_legal_entity_identifier", "LEI-1|FLG-2"},
	{"e_mailbox_address_shall_contain_an_rfc822_name", "SAN-2"},
	{"e_mailbox_validated_allowed_subjectdn_attributes", "DN-3"},
	{"e_mailbox_validated_enforce_subject_field_restrictions", "DN-3"},
	{"e_org_validated_invalid_cn", "CN-2"},
	{"e_registration_scheme_id_matches_subject_country", "ORG-3"},
	{"e_rsa_key_usage_legacy_multipurpose", "KU-2|KU-3"},
	{"e_rsa_key_usage_strict", "KU-2|KU-3"},
	{"e_rsa_other_key_usages", "KU-1"},
	{"e_san_shall_be_present", "SAN-1"},
	{"e_single_email_if_present", "SAN-6"},
	{"e_single_email_subject_if_present", "SAN-2:one single address"},
	{"e_smime_legacy_multipurpose_eku_check", "EKU-1|EKU-3"},
	{"e_smime_qc_statements_must_not_be_critical", "FLG-2"},
	{"e_smime_legacy_aia_shall_have_one_http", "AIA-2"},
	{"e_smime_strict_aia_shall_have_http_only", "AIA-2"},
	{"e_smime_strict_eku_check", "EKU-1|EKU-2"},
	{"e_strict_multipurpose_smime_ext_subject_directory_attr", "SDA-1"},
	{"e_subj_email_not_in_san", "SAN-2"},
	{"e_subject_country_name", "DN-11"},
	{"e_subject_email_max_length", "DN-1:characters"},
	{"e_subject_empty_without_san", "SAN-1"},
	{"e_subscribers_crl_distribution_points_are_http", "CRL-2"},
	{"e_subscribers_shall_have_crl_distribution_points", "CRL-1"},
	{"w_key_usage_criticality", "FLG-1:key usage"},
	{"w_san_should_not_be_critical", "FLG-1:beside a named subject"},
};

/* Lints that ask what no row of ours asks. */
static const struct {
	const char *lint, *reason;
} unmapped[] = {
	{"e_qcstatem_qctype_smime", "of ETSI; nobody asks this gateway's CA for qualified certificates"},
	{"w_smime_aia_contains_internal_names", "advice without a sentence in the requirements, by a list of today's top-level domains"},
};

/* Where the lint and we differ, as the README.md of the data says we may. */
#define PQ "post-quantum keys came with version 1.0.11; the elder lint is registered with the younger one's code"
#define NO_BIT "key usage without any bit: the lint gives up, the requirements ask for one"
#define COMPANION "key usage with keyCertSign alone: the lint leaves it to its companion, we report the bit as well as what is missing"
#define SCOPE "the lint looks at another type or generation; what it would report is wrong in this one as well"
static const struct {
	const char *file, *lint, *reason;
} differences[] = {
	{"sm1_alg_mld44_eff1_pqf0.pem", "e_invalid_legacy_spki_algoid", PQ},
	{"sm1_alg_mld65_eff1_pqf0.pem", "e_invalid_legacy_spki_algoid", PQ},
	{"sm1_alg_mld87_eff1_pqf0.pem", "e_invalid_legacy_spki_algoid", PQ},
	{"sm1_alg_mlk512_eff1_pqf0.pem", "e_invalid_legacy_spki_algoid", PQ},
	{"sm1_alg_mlk768_eff1_pqf0.pem", "e_invalid_legacy_spki_algoid", PQ},
	{"sm1_alg_mlk1024_eff1_pqf0.pem", "e_invalid_legacy_spki_algoid", PQ},
	{"ec_no_key_usages.pem", "e_ec_other_key_usages", NO_BIT},
	{"rsa_no_key_usages.pem", "e_rsa_other_key_usages", NO_BIT},
	{"ec_strict_cert_sign_ku.pem", "e_ecpublickey_key_usages", COMPANION},
	{"rsa_strict_cert_sign_ku.pem", "e_rsa_key_usage_strict", COMPANION},
	{"rsa_multipurpose_cert_sign_ku.pem", "e_rsa_key_usage_legacy_multipurpose", COMPANION},
	{"without_subject_alternative_name.pem", "e_ec_other_key_usages", "no key usage extension at all, which another lint reports"},
	{"without_subject_alternative_name.pem", "e_rsa_other_key_usages", "no key usage extension at all, which another lint reports"},
	{"organizationValidatedStrictWithAdobeTimeStampExtension.pem", "e_adobe_extensions_legacy_multipurpose_criticality", SCOPE},
	{"subject_country_name_invalid.pem", "e_subject_country_name", SCOPE},
	{"mailbox_validated_common_name_good_email.pem", "e_commonname_mailbox_validated",
		"the lint looks at the shape of the address only, the requirements want one from the alternative name"},
};

/* ---- the data ---------------------------------------------------------------------------------------------------- */

static struct row {
	char *file, *lint, *expected;
} rows[ROWS + 1];
static size_t n_rows;
static char folder[4096];

static const char *testdata(void)
{
	const char *data = getenv("ENROLL_TESTDATA"), *src = getenv("srcdir");

	if (data != NULL)
		snprintf(folder, sizeof folder, "%s/smime-br", data);
	else
		snprintf(folder, sizeof folder, "%s/../shared/testdata/smime-br", src != NULL ? src : ".");
	return folder;
}

static bool rows_read(void)
{
	char path[4200], *line = NULL;
	size_t size = 0;
	FILE *f;

	snprintf(path, sizeof path, "%s/expected.tsv", testdata());
	f = fopen(path, "r");
	if (f == NULL)
		return false;
	while (n_rows <= ROWS && getline(&line, &size, f) > 0) {
		char *p = line, *file = strsep(&p, "\t"), *lint = strsep(&p, "\t"), *expected = strsep(&p, "\t");

		if (expected != NULL && strcmp(file, "file") != 0)
			rows[n_rows++] = (struct row){str_dup(file), str_dup(lint), str_dup(expected)};
	}
	free(line);
	fclose(f);
	return true;
}

static void rows_free(void)
{
	for (size_t i = 0; i < n_rows; i++) {
		free(rows[i].file);
		free(rows[i].lint);
		free(rows[i].expected);
	}
}

static X509 *certificate_read(const char *file)
{
	char path[4400];
	FILE *f;
	X509 *x;

	snprintf(path, sizeof path, "%s/certs/%s", folder, file);
	f = fopen(path, "r");
	ck_assert_msg(f != NULL, "%s is missing", file);
	x = PEM_read_X509(f, NULL, NULL, NULL);
	fclose(f);
	ck_assert_msg(x != NULL, "%s is no certificate", file);
	return x;
}

/* ---- one row ----------------------------------------------------------------------------------------------------- */

/* False when it claims none. */
static bool claimed_profile(X509 *x, struct certificate_profile *p)
{
	CERTIFICATEPOLICIES *policies = X509_get_ext_d2i(x, NID_certificate_policies, NULL, NULL);
	bool claims = false;

	*p = (struct certificate_profile){.validation = VALIDATION_MAILBOX, .generation = GENERATION_MULTIPURPOSE, .usage = USAGE_SIGN};
	for (int i = 0; i < sk_POLICYINFO_num(policies) && !claims; i++) {
		char text[64];

		OBJ_obj2txt(text, sizeof text, sk_POLICYINFO_value(policies, i)->policyid, 1);
		claims = strncmp(text, "2.23.140.1.5.", 13) == 0 && strlen(text) == 16;
		if (claims) {
			p->validation = (enum validation)(text[13] - '0');
			p->generation = (enum generation)(text[15] - '0');
		}
	}
	CERTIFICATEPOLICIES_free(policies);
	ERR_clear_error();
	return claims;
}

static bool mentions(const struct findings *f, const char *ids)
{
	char copy[128], *save = NULL;

	snprintf(copy, sizeof copy, "%s", ids);
	for (char *id = strtok_r(copy, "|", &save); id != NULL; id = strtok_r(NULL, "|", &save)) {
		char *words = strchr(id, ':'), *section = strchr(id, '@');

		if (words != NULL)
			*words++ = 0;
		if (section != NULL)
			*section++ = 0;
		for (size_t i = 0; i < f->n; i++)
			if (strcmp(f->v[i].id, id) == 0 && (words == NULL || strstr(f->v[i].text, words) != NULL) &&
				(section == NULL || strcmp(f->v[i].section, section) == 0))
				return true;
	}
	return false;
}

static const char *ids_of(const char *lint)
{
	for (size_t i = 0; i < COUNT(lints); i++)
		if (strcmp(lints[i].lint, lint) == 0)
			return lints[i].ids;
	return NULL;
}

static const char *unmapped_reason(const char *lint)
{
	for (size_t i = 0; i < COUNT(unmapped); i++)
		if (strcmp(unmapped[i].lint, lint) == 0)
			return unmapped[i].reason;
	return NULL;
}

static const char *difference(const struct row *r)
{
	for (size_t i = 0; i < COUNT(differences); i++)
		if (strcmp(differences[i].file, r->file) == 0 && strcmp(differences[i].lint, r->lint) == 0)
			return differences[i].reason;
	return NULL;
}

/* Every row has an answer, or a reason why not. */
static const char *not_compared(const struct row *r)
{
	struct certificate_profile p;
	X509 *x;
	bool claims;

	if (ids_of(r->lint) == NULL)
		return unmapped_reason(r->lint);
	if (strcmp(r->expected, "na") != 0)
		return NULL;
	x = certificate_read(r->file);
	claims = claimed_profile(x, &p);
	X509_free(x);
	return claims ? NULL : "the lint does not look at it, as it claims no profile";
}

static bool reports(const struct row *r, struct buf *have)
{
	struct certificate_profile profile;
	struct certcheck_request req = {.profile = &profile,
		.now = NOW,
		.not_asked = CERTCHECK_NO_KEY | CERTCHECK_NO_ADDRESSES | CERTCHECK_NO_ANCHORS | CERTCHECK_NO_USAGE};
	struct findings f;
	struct err err = ERR_INIT;
	X509 *x = certificate_read(r->file);
	bool reported;

	claimed_profile(x, &profile);
	ck_assert_msg(certcheck(x, &req, &f, &err), "%s", err.text);
	reported = mentions(&f, ids_of(r->lint));
	/* ids only: the addresses in these files are not for reports */
	for (size_t i = 0; i < f.n; i++)
		buf_printf(have, " %s", f.v[i].id);
	findings_clear(&f);
	X509_free(x);
	return reported;
}

START_TEST(one_row)
{
	const struct row *r = &rows[_i];
	struct buf have = BUF_INIT;
	bool bad = strcmp(r->expected, "error") == 0 || strcmp(r->expected, "warn") == 0, reported;

	if (not_compared(r) == NULL) {
		reported = reports(r, &have);
		ck_assert_msg((reported != bad) == (difference(r) != NULL), "%s %s: expected %s of %s, found%s%s", r->file, r->lint, r->expected,
			ids_of(r->lint), have.len > 0 ? buf_str(&have) : " nothing",
			difference(r) != NULL ? "; the difference that is named in this test has gone" : "");
	}
	buf_clear(&have);
}
END_TEST

START_TEST(every_lint_is_mapped_or_has_a_reason)
{
	ck_assert_uint_eq(n_rows, ROWS);
	for (size_t i = 0; i < n_rows; i++)
		ck_assert_msg((ids_of(rows[i].lint) != NULL) != (unmapped_reason(rows[i].lint) != NULL), "%s", rows[i].lint);
}
END_TEST

/* Each named difference is one of the data's rows. */
START_TEST(no_difference_is_named_in_vain)
{
	for (size_t i = 0; i < COUNT(differences); i++) {
		size_t found = 0;

		for (size_t j = 0; j < n_rows; j++)
			found += strcmp(rows[j].file, differences[i].file) == 0 && strcmp(rows[j].lint, differences[i].lint) == 0;
		ck_assert_msg(found == 1, "%s %s", differences[i].file, differences[i].lint);
	}
}
END_TEST

START_TEST(every_row_is_accounted_for)
{
	size_t compared = 0, differ = 0, left = 0, without = 0;

	for (size_t i = 0; i < n_rows; i++) {
		bool mapped = ids_of(rows[i].lint) != NULL;
		const char *reason = not_compared(&rows[i]);

		compared += reason == NULL;
		differ += reason == NULL && difference(&rows[i]) != NULL;
		left += mapped && reason != NULL;
		without += !mapped;
	}
	printf("%zu rows: %zu compared, %zu of them with a difference that this test names; %zu about files that claim no profile and that the lint "
	       "does not look at; %zu of lints without a row of ours:\n", n_rows, compared, differ, left, without);
	for (size_t i = 0; i < COUNT(unmapped); i++)
		printf("    %s: %s\n", unmapped[i].lint, unmapped[i].reason);
	fflush(stdout);
	ck_assert_uint_eq(compared + left + without, ROWS);
}
END_TEST

int main(void)
{
	Suite *s;
	TCase *t;
	SRunner *r;
	int failed;

	if (!rows_read()) {
		printf("skipped: %s/expected.tsv is not there; set ENROLL_TESTDATA to the folder that has smime-br\n", folder);
		return SKIPPED;
	}
	s = suite_create("smime_br");
	t = tcase_create("smime_br");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, every_lint_is_mapped_or_has_a_reason);
	tcase_add_test(t, every_row_is_accounted_for);
	tcase_add_test(t, no_difference_is_named_in_vain);
	tcase_add_loop_test(t, one_row, 0, (int)n_rows);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	rows_free();
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
