noinst_LIBRARIES += libpolicy.a
libpolicy_a_SOURCES = policy/policy.h
libpolicy_a_CFLAGS = $(AM_CFLAGS) $(CONFIG_CFLAGS) $(JANSSON_CFLAGS)
POLICY_LIBS = libpolicy.a $(DNS_LIBS) $(STORE_LIBS) $(DIRECTORY_LIBS) $(CONFIG_LIBS) $(JANSSON_LIBS) $(BASE_LIBS)

# Decisions: who may, what to ask for, what came back.
libpolicy_a_SOURCES += policy/rules.c policy/mail_rules.c policy/eligibility.c policy/profile.c policy/subject.h policy/subject.c policy/caa.c policy/caa_check.c policy/caa_value.c policy/caa_value.h \
	policy/certcheck.c policy/certcheck_table.c policy/certcheck_revocation.c policy/certcheck_rows.h policy/certcheck_parts.c policy/certcheck_chain.c policy/certcheck_rows_own.c \
	policy/certcheck_rows_frame.c policy/certcheck_rows_extensions.c policy/certcheck_rows_names.c policy/legacy.c

if HAVE_CHECK
check_PROGRAMS += tests/unit/test_caa tests/unit/test_profile tests/unit/test_eligibility tests/unit/test_certcheck
tests_unit_test_caa_SOURCES = tests/unit/test_caa.c
tests_unit_test_caa_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_caa_LDADD = $(POLICY_LIBS) $(CHECK_LIBS)
tests_unit_test_profile_SOURCES = tests/unit/test_profile.c tests/unit/nasty_names.h tests/unit/nasty_names.c tests/unit/certificates.h \
	tests/unit/certificates.c
tests_unit_test_profile_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(LDAP_CFLAGS)
tests_unit_test_profile_LDADD = $(POLICY_LIBS) $(CHECK_LIBS)
tests_unit_test_eligibility_SOURCES = tests/unit/test_eligibility.c
tests_unit_test_eligibility_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_eligibility_LDADD = $(POLICY_LIBS) $(CHECK_LIBS)
tests_unit_test_certcheck_SOURCES = tests/unit/test_certcheck.c tests/unit/certificates.h tests/unit/certificates.c
tests_unit_test_certcheck_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_certcheck_LDADD = $(POLICY_LIBS) $(CHECK_LIBS)
check_PROGRAMS += tests/unit/test_smime_br
tests_unit_test_smime_br_SOURCES = tests/unit/test_smime_br.c
tests_unit_test_smime_br_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_smime_br_LDADD = $(POLICY_LIBS) $(CHECK_LIBS)
check_PROGRAMS += tests/unit/test_legacy
tests_unit_test_legacy_SOURCES = tests/unit/test_legacy.c tests/unit/certificates.h tests/unit/certificates.c
tests_unit_test_legacy_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_legacy_LDADD = $(POLICY_LIBS) $(CHECK_LIBS)
endif

# Each harness is linked with a small main that runs its corpus as a plain test; fuzz_main.c says how to fuzz.
check_PROGRAMS += tests/fuzz/fuzz_caa tests/fuzz/fuzz_caa_value tests/fuzz/fuzz_certcheck tests/fuzz/fuzz_revocation
tests_fuzz_fuzz_caa_SOURCES = tests/fuzz/fuzz_caa.c tests/fuzz/fuzz_main.c
tests_fuzz_fuzz_caa_LDADD = $(POLICY_LIBS)
tests_fuzz_fuzz_caa_value_SOURCES = tests/fuzz/fuzz_caa_value.c tests/fuzz/fuzz_main.c
tests_fuzz_fuzz_caa_value_LDADD = $(POLICY_LIBS)
tests_fuzz_fuzz_revocation_SOURCES = tests/fuzz/fuzz_revocation.c tests/fuzz/fuzz_main.c
tests_fuzz_fuzz_revocation_LDADD = $(POLICY_LIBS)
tests_fuzz_fuzz_certcheck_SOURCES = tests/fuzz/fuzz_certcheck.c tests/fuzz/fuzz_main.c
tests_fuzz_fuzz_certcheck_LDADD = $(POLICY_LIBS)
check_PROGRAMS += tests/fuzz/fuzz_mail_rules
tests_fuzz_fuzz_mail_rules_SOURCES = tests/fuzz/fuzz_mail_rules.c tests/fuzz/fuzz_main.c
tests_fuzz_fuzz_mail_rules_LDADD = $(POLICY_LIBS)
EXTRA_DIST += tests/fuzz/corpus/mail_rules tests/fuzz/corpus/caa tests/fuzz/corpus/caa_value tests/fuzz/corpus/certcheck tests/fuzz/corpus/revocation

# configuration
libpolicy_a_SOURCES += policy/report_address.c policy/config_table.h policy/config_table.c policy/config_shape.c policy/config_source.c policy/config_load.c \
	policy/config_preset.c policy/config_rules.c policy/config_running.c policy/config_check.c policy/config_show.c

if HAVE_CHECK
check_PROGRAMS += tests/unit/test_config tests/unit/test_config_lists tests/unit/test_preset tests/unit/test_rules tests/unit/test_mail_rules
tests_unit_test_preset_SOURCES = tests/unit/test_preset.c
tests_unit_test_preset_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(JANSSON_CFLAGS) -DTOP_SRCDIR='"$(abs_top_srcdir)"'
tests_unit_test_preset_LDADD = libpolicy.a $(DIRECTORY_LIBS) $(CONFIG_LIBS) $(JANSSON_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_mail_rules_SOURCES = tests/unit/test_mail_rules.c tests/unit/test_config.h
tests_unit_test_mail_rules_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_mail_rules_LDADD = $(POLICY_LIBS) $(CHECK_LIBS)
tests_unit_test_rules_SOURCES = tests/unit/test_rules.c
tests_unit_test_rules_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_rules_LDADD = $(POLICY_LIBS) $(CHECK_LIBS)
tests_unit_test_config_lists_SOURCES = tests/unit/test_config_lists.c tests/unit/test_config.h
tests_unit_test_config_lists_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(JANSSON_CFLAGS) -DTOP_SRCDIR='"$(abs_top_srcdir)"'
tests_unit_test_config_lists_LDADD = libpolicy.a $(DIRECTORY_LIBS) $(CONFIG_LIBS) $(JANSSON_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_config_SOURCES = tests/unit/test_config.c tests/unit/test_config.h
tests_unit_test_config_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(CONFIG_CFLAGS) $(JANSSON_CFLAGS) -DTOP_SRCDIR='"$(abs_top_srcdir)"'
tests_unit_test_config_LDADD = libpolicy.a $(DIRECTORY_LIBS) $(CONFIG_LIBS) $(JANSSON_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
endif

# presets of CAs
capresetdir = $(pkgdatadir)/ca
capreset_DATA = examples/ca/rfc.conf examples/ca/rapidmx.conf examples/ca/acme2certifier.conf examples/ca/castle.conf examples/ca/platynum.conf \
	examples/ca/secsy-pki.conf examples/ca/akamu.conf examples/ca/step-ca.conf examples/ca/prevalidated-eab.conf

# What certcheck costs, with its limit as a test.
if HAVE_CHECK
check_PROGRAMS += tests/bench/bench_certcheck
tests_bench_bench_certcheck_SOURCES = tests/bench/bench_certcheck.c tests/unit/certificates.h tests/unit/certificates.c
tests_bench_bench_certcheck_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_bench_bench_certcheck_LDADD = $(POLICY_LIBS) $(CHECK_LIBS)
endif
