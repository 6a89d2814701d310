/*
 * policy/certcheck_table.c - every question of certcheck, one line each: id, section of the S/MIME Baseline Requirements, first day and end
 * (both by notBefore), types, generations, how it meets a private profile, error or warning, and the function that looks.
 *
 * A rule that changed has a line for each of its versions.  Legacy, which no new certificate may be (POL-2), is judged by the rules of
 * Multipurpose but for two that old certificates are known to differ in.  Findings come in the order of this table.  To follow a new version of the
 * requirements: end the old line, add the new one, and a certificate for it in tests/unit/test_certcheck.c.
 */
#include "config.h"

#include "policy/certcheck_rows.h"

/* Beside those in certcheck_rows.h: Legacy is closed; no RSA CA below 4096 bits is made, none below 3072 issues; other purposes go. */
#define BR_LEGACY_CLOSED 20250715u
#define BR_ISSUER_4096 20260915u
#define BR_ISSUER_3072 20270915u
#define BR_1_0_16 20270701u

#define ALL TYPES_ALL, GENERATIONS_ALL
#define MV TYPE(VALIDATION_MAILBOX)
#define OV TYPE(VALIDATION_ORGANIZATION)
#define SV TYPE(VALIDATION_SPONSOR)
#define IV TYPE(VALIDATION_INDIVIDUAL)

const struct certcheck_row certcheck_rows[] = {
	/* the gateway's own questions, and the admin's private profile */
	{"OWN-KEY", "our key", 0, 0, ALL, ROW_OWN, FINDING_ERROR, row_own_key},
	{"OWN-ADDR", "our addresses", 0, 0, ALL, ROW_OWN, FINDING_ERROR, row_own_addr},
	{"OWN-TIME", "valid now", 0, 0, ALL, ROW_OWN, FINDING_ERROR, row_own_time},
	{"OWN-CHAIN", "configured anchors", 0, 0, ALL, ROW_OWN, FINDING_ERROR, row_own_chain},
	{"OWN-USE", "usage asked for", 0, 0, ALL, ROW_OWN, FINDING_ERROR, row_own_use},
	{"OWN-REV", "ca.revocation-check", 0, 0, ALL, ROW_OWN, FINDING_ERROR, row_own_rev},
	{"PRV-POL", "certificate.policy-oids", 0, 0, ALL, ROW_PRIVATE, FINDING_ERROR, row_prv_pol},
	{"PRV-EKU", "certificate.ekus", 0, 0, ALL, ROW_PRIVATE, FINDING_ERROR, row_prv_eku},
	{"PRV-DAYS", "certificate.max-days", 0, 0, ALL, ROW_PRIVATE, FINDING_ERROR, row_prv_days},
	/* frame, validity, key, issuer */
	{"FRM-1", "7.1, 7.1.1", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, row_frm_1},
	{"FRM-2", "7.1.2.4, RFC 5280", 0, 0, ALL, ROW_BR, FINDING_ERROR, row_frm_2},
	{"FRM-3", "7.1.3.2", BR_START, BR_1_0_11, ALL, ROW_BR, FINDING_ERROR, row_frm_3},
	{"FRM-3", "7.1.3.2 (1.0.11)", BR_1_0_11, 0, ALL, ROW_BR, FINDING_ERROR, row_frm_3},
	{"FRM-4", "7.1.3.2.2, 7.1.3.2.3, 7.1.4.1", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, row_frm_4},
	{"FRM-5", "7.1.2.4", BR_START, 0, ALL, ROW_BR, FINDING_WARNING, row_frm_5},
	{"VAL-1", "6.3.2, 1.6.1", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, row_val_1},
	{"KEY-1", "6.1.5, 7.1.3.1", BR_START, BR_1_0_11, ALL, ROW_BR, FINDING_ERROR, row_key_1},
	{"KEY-1", "6.1.5, 7.1.3.1 (1.0.11)", BR_1_0_11, 0, ALL, ROW_BR, FINDING_ERROR, row_key_1},
	{"KEY-2", "6.1.5", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, row_key_2},
	{"KEY-3", "6.1.6", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, row_key_3},
	{"KEY-4", "6.1.6", BR_START, 0, ALL, ROW_BR, FINDING_WARNING, row_key_4},
	{"KEY-5", "6.1.5, 6.1.6", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, row_key_5},
	{"KEY-6", "7.1.3.1.1 to .3", BR_START, BR_1_0_11, ALL, ROW_BR, FINDING_ERROR, row_key_6},
	{"KEY-6", "7.1.3.1.1 to .3 (1.0.11)", BR_1_0_11, 0, ALL, ROW_BR, FINDING_ERROR, row_key_6},
	{"ISS-1", "6.1.5 (1.0.15)", 0, BR_ISSUER_3072, ALL, ROW_BR_ONLY, FINDING_WARNING, row_iss_1},
	{"ISS-1", "6.1.5 (1.0.15)", BR_ISSUER_3072, 0, ALL, ROW_BR_ONLY, FINDING_ERROR, row_iss_1},
	{"ISS-2", "6.1.5 (1.0.15)", BR_ISSUER_4096, 0, ALL, ROW_BR_ONLY, FINDING_WARNING, row_iss_2},
	/* extensions */
	{"POL-1", "7.1.2.3(a), 7.1.6.1, 7.1.6.4", BR_START, 0, ALL, ROW_BR_ONLY, FINDING_ERROR, row_pol_1},
	{"POL-2", "7.1.6.1", BR_LEGACY_CLOSED, 0, ALL, ROW_BR_ONLY, FINDING_ERROR, row_pol_2},
	{"POL-3", "profile asked for", 0, 0, ALL, ROW_BR_ONLY, FINDING_ERROR, row_pol_3},
	{"POL-4", "7.1.2.3(a)", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, row_pol_4},
	{"POL-5", "7.1.6.4", BR_START, 0, ALL, ROW_BR, FINDING_WARNING, row_pol_5},
	{"CRL-1", "7.1.2.3(b)", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, row_crl_1},
	{"CRL-2", "7.1.2.3(b)", BR_START, 0, TYPES_ALL, STRICT | MULTIPURPOSE, ROW_BR, FINDING_ERROR, row_crl_2},
	{"CRL-2", "7.1.2.3(b)", BR_START, 0, TYPES_ALL, LEGACY, ROW_BR, FINDING_ERROR, row_crl_2_legacy},
	{"AIA-1", "7.1.2.3(c)", BR_START, 0, ALL, ROW_BR, FINDING_WARNING, row_aia_1},
	{"AIA-2", "7.1.2.3(c)", BR_START, 0, TYPES_ALL, STRICT | MULTIPURPOSE, ROW_BR, FINDING_ERROR, row_aia_2},
	{"AIA-2", "7.1.2.3(c)", BR_START, 0, TYPES_ALL, LEGACY, ROW_BR, FINDING_ERROR, row_aia_2_legacy},
	{"BC-1", "7.1.2.3(d)", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, row_bc_1},
	{"KU-1", "7.1.2.3(e)", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, row_ku_1},
	{"KU-2", "7.1.2.3(e)", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, row_ku_2},
	{"KU-3", "7.1.2.3(e)", BR_START, 0, TYPES_ALL, STRICT, ROW_BR, FINDING_ERROR, row_ku_3_strict},
	{"KU-3", "RFC 5280 section 4.2.1.12", 0, BR_START, ALL, ROW_BR, FINDING_ERROR, row_ku_3_purposes},
	{"KU-3", "7.1.2.3(e)", BR_START, 0, TYPES_ALL, LEGACY | MULTIPURPOSE, ROW_BR, FINDING_ERROR, row_ku_3_multipurpose},
	{"KU-4", "7.1.2.3(e)", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, row_ku_4},
	{"KU-5", "7.1.2.3(e)", BR_START, BR_1_0_11, ALL, ROW_BR, FINDING_ERROR, row_ku_5},
	{"KU-5", "7.1.2.3(e) (1.0.11)", BR_1_0_11, 0, ALL, ROW_BR, FINDING_ERROR, row_ku_5_post_quantum},
	{"EKU-1", "7.1.2.3(f)", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, row_eku_1},
	{"EKU-2", "7.1.2.3(f)", BR_START, 0, TYPES_ALL, STRICT, ROW_BR, FINDING_ERROR, row_eku_2_strict},
	{"EKU-2", "7.1.2.3(f) (1.0.16)", BR_1_0_16, 0, TYPES_ALL, MULTIPURPOSE, ROW_BR, FINDING_ERROR, row_eku_2_multipurpose},
	{"EKU-3", "7.1.2.3(f)", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, row_eku_3},
	{"AKI-1", "7.1.2.3(g)", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, row_aki_1},
	{"SKI-1", "7.1.2.3(n)", BR_START, 0, ALL, ROW_BR, FINDING_WARNING, row_ski_1},
	{"SDA-1", "7.1.2.3(j)", BR_START, 0, TYPES_ALL, STRICT | MULTIPURPOSE, ROW_BR, FINDING_ERROR, row_sda_1},
	{"LEI-1", "7.1.2.3(l)", BR_START, 0, MV | IV, GENERATIONS_ALL, ROW_BR, FINDING_ERROR, row_lei_1},
	{"LEI-1", "7.1.2.3(l)", BR_START, 0, OV, GENERATIONS_ALL, ROW_BR, FINDING_ERROR, row_lei_1_role},
	{"LEI-2", "7.1.2.3(l)", BR_START, 0, OV | SV, GENERATIONS_ALL, ROW_BR, FINDING_ERROR, row_lei_2},
	{"ADB-1", "7.1.2.3(m)", BR_START, 0, TYPES_ALL, STRICT, ROW_BR, FINDING_ERROR, row_adb_1},
	{"FLG-1", "7.1.2.3(a), (b), (e), (h)", BR_START, 0, ALL, ROW_BR, FINDING_WARNING, row_flg_1},
	{"FLG-1", "7.1.2.3(h), RFC 5280", 0, 0, ALL, ROW_BR, FINDING_ERROR, row_flg_1_empty_subject},
	{"FLG-2", "7.1.2.3(c), (g), (i), (k) to (n)", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, row_flg_2},
	/* alternative name, subject */
	{"SAN-1", "RFC 5280 section 4.1.2.6", 0, BR_START, ALL, ROW_BR, FINDING_ERROR, row_san_1_empty_subject},
	{"SAN-1", "7.1.2.3(h), 7.1.4.2.1", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, row_san_1},
	{"SAN-2", "7.1.4.2.1, 7.1.4.2.2(h)", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, row_san_2},
	{"SAN-3", "7.1.4.2.1", BR_START, 0, ALL, ROW_BR, FINDING_ERROR, row_san_3},
	{"SAN-4", "7.1.4.2.1", BR_START, 0, TYPES_ALL, STRICT, ROW_BR, FINDING_ERROR, row_san_4},
	{"SAN-5", "7.1.4.2.1", BR_START, 0, ALL, ROW_BR_ONLY, FINDING_ERROR, row_san_5},
	{"SAN-6", "1.6.1, RFC 5280, RFC 9598", 0, 0, ALL, ROW_BR, FINDING_ERROR, row_san_6},
	{"DN-1", "7.1.4, RFC 5280", 0, 0, ALL, ROW_BR_NAME, FINDING_ERROR, row_dn_1},
	{"DN-2", "7.1.4.2", BR_START, 0, ALL, ROW_BR_NAME, FINDING_ERROR, row_dn_2},
	{"DN-3", "7.1.4.2.3", BR_START, 0, MV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, row_dn_3},
	{"DN-4", "7.1.4.2.4, 7.1.4.2.5", BR_START, 0, OV | SV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, row_dn_4},
	{"DN-5", "7.1.4.2.4", BR_START, 0, OV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, row_dn_5},
	{"DN-6", "7.1.4.2.6", BR_START, 0, IV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, row_dn_6},
	{"DN-7", "7.1.4.2.4 to .6", BR_START, 0, OV | SV | IV, STRICT, ROW_BR_NAME, FINDING_ERROR, row_dn_7},
	{"DN-8", "7.1.4.2.4 to .6", BR_START, 0, OV | SV | IV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, row_dn_8},
	{"DN-9", "7.1.4.2.5, 7.1.4.2.6, 7.1.4.2.2(e), (f)", BR_START, 0, SV | IV, STRICT | MULTIPURPOSE, ROW_BR_NAME, FINDING_ERROR, row_dn_9},
	{"DN-10", "7.1.4.2.2(j) to (m)", BR_START, 0, ALL, ROW_BR_NAME, FINDING_ERROR, row_dn_10},
	{"DN-11", "7.1.4.2.2(n)", BR_START, 0, ALL, ROW_BR_NAME, FINDING_ERROR, row_dn_11},
	{"CN-1", "7.1.4.2.2(a)", BR_START, 0, MV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, row_cn_1},
	{"CN-2", "7.1.4.2.2(a)", BR_START, 0, OV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, row_cn_2},
	{"CN-3", "7.1.4.2.2(a)", BR_START, 0, SV | IV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, row_cn_3},
	{"ORG-1", "7.1.4.2.2(d)", BR_START, 0, OV | SV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, row_org_1},
	{"ORG-2", "7.1.4.2.2(d), appendix A.1", BR_START, 0, OV | SV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, row_org_2},
	{"ORG-3", "7.1.4.2.2(d) note 1", BR_START, 0, OV | SV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_ERROR, row_org_3},
	{"ORG-4", "7.1.4.2.2(d) note 3", BR_START, 0, OV | SV, GENERATIONS_ALL, ROW_BR_NAME, FINDING_WARNING, row_org_4},
};
const size_t certcheck_rows_n = sizeof certcheck_rows / sizeof certcheck_rows[0];
