noinst_LIBRARIES += libenroll.a
libenroll_a_SOURCES = enroll/enroll.h
# the daemon: state machine, control socket
libenroll_a_SOURCES += enroll/enrollment.h enroll/enrollment.c enroll/decide.h enroll/decide.c enroll/explain.c enroll/legacy.c enroll/fate.h enroll/fate.c enroll/budget.h enroll/budget.c enroll/certificate.h enroll/certificate.c enroll/revocation.h enroll/revocation.c enroll/revoke.h enroll/revoke.c enroll/revoke_control.c enroll/hygiene.h enroll/hygiene.c enroll/directory_control.c enroll/answer.h enroll/answer.c enroll/control.h enroll/control.c enroll/commands.c enroll/helpdesk.c enroll/why.h enroll/why.c enroll/daemon.c enroll/instance.h enroll/instance.c enroll/account_gate.h enroll/account_gate.c enroll/due.h enroll/due.c enroll/doctor.c enroll/doctor.h enroll/doctor_net.c enroll/doctor_reply.c enroll/doctor_report.c enroll/sink.h enroll/sink.c enroll/import.h enroll/import.c enroll/import_read.c enroll/certificates_show.c enroll/people.h enroll/people.c enroll/people_guard.c enroll/people_control.c enroll/renewal.h enroll/renewal.c enroll/care.h enroll/care.c enroll/campaign.h enroll/campaign.c enroll/replace_control.c \
	enroll/account_look.c enroll/ca_check.c enroll/caa_look.c enroll/measure.h enroll/measure.c
libenroll_a_CFLAGS = $(AM_CFLAGS) $(CURL_CFLAGS) $(JANSSON_CFLAGS) $(JOSE_CFLAGS) $(ESMTP_CFLAGS)
ENROLL_LIBS = libenroll.a libcaclient.a $(SANDBOX_LIBS) $(POLICY_LIBS) $(CURL_LIBS) $(JOSE_LIBS) $(ESMTP_LIBS)

sbin_PROGRAMS += enrolld
enrolld_SOURCES = enroll/main.c
enrolld_LDADD = $(ENROLL_LIBS) $(METRICS_SERVER_LIBS)

if HAVE_CHECK
check_PROGRAMS += tests/unit/test_fate
tests_unit_test_fate_SOURCES = tests/unit/test_fate.c tests/unit/store_fixture.h
tests_unit_test_fate_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_fate_LDADD = libenroll.a $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
endif

if HAVE_CHECK
check_PROGRAMS += tests/unit/test_due
tests_unit_test_due_SOURCES = tests/unit/test_due.c enroll/due.c tests/unit/test_store.h tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_due_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_due_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
# renewal.c with CAs that the test plays
check_PROGRAMS += tests/unit/test_renewal
tests_unit_test_renewal_SOURCES = tests/unit/test_renewal.c enroll/renewal.c tests/unit/test_store.h tests/unit/store_fixture.h
tests_unit_test_renewal_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_renewal_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
# decide.c with a directory that the test plays
check_PROGRAMS += tests/unit/test_decide
tests_unit_test_decide_SOURCES = tests/unit/test_decide.c enroll/decide.c tests/unit/test_store.h tests/unit/store_fixture.h
tests_unit_test_decide_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_decide_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=directory_find -Wl,--wrap=store_address_taken
tests_unit_test_decide_LDADD = $(POLICY_LIBS) $(CHECK_LIBS)
check_PROGRAMS += tests/unit/test_why
tests_unit_test_why_SOURCES = tests/unit/test_why.c
tests_unit_test_why_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_why_LDADD = libenroll.a $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
endif

if HAVE_CHECK
check_PROGRAMS += tests/unit/test_revocation
tests_unit_test_revocation_SOURCES = tests/unit/test_revocation.c tests/unit/certificates.h tests/unit/certificates.c
tests_unit_test_revocation_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_revocation_LDADD = $(ENROLL_LIBS) $(CHECK_LIBS)
endif
EXTRA_DIST += tests/unit/revocation_server.py

# the CA client: ca.h, challenge.h and what is behind them
noinst_LIBRARIES += libcaclient.a
libcaclient_a_SOURCES = enroll/ca.h enroll/ca.c enroll/ca_driver.h enroll/acme.h enroll/acme.c enroll/acme_account.c enroll/acme_certificate.c \
	enroll/acme_driver.c enroll/acme_key.c enroll/acme_order.c enroll/acme_parse.c enroll/acme_probe.c enroll/acme_state.c enroll/account.c enroll/challenge.h enroll/challenge.c enroll/http.h enroll/http.c enroll/http_link.c \
	enroll/jws.h enroll/jws.c enroll/ca_count.h enroll/ca_count.c enroll/member.h enroll/member.c enroll/problem.h enroll/problem.c
libcaclient_a_SOURCES += enroll/exec.h enroll/exec_driver.c enroll/exec_parse.c enroll/exec_run.c
libcaclient_a_CFLAGS = $(AM_CFLAGS) $(CURL_CFLAGS) $(JANSSON_CFLAGS) $(JOSE_CFLAGS) $(ESMTP_CFLAGS)
CA_CLIENT_LIBS = libcaclient.a $(CURL_LIBS) $(JOSE_LIBS) $(JANSSON_LIBS) $(ESMTP_LIBS) $(SANDBOX_LIBS) libmetrics.a $(BASE_LIBS)

# unit tests of the CA client
if HAVE_CHECK
check_PROGRAMS += tests/unit/test_challenge
tests_unit_test_challenge_SOURCES = tests/unit/test_challenge.c
tests_unit_test_challenge_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_challenge_LDADD = $(CA_CLIENT_LIBS) $(CHECK_LIBS)
check_PROGRAMS += tests/unit/test_jws
tests_unit_test_jws_SOURCES = tests/unit/test_jws.c
tests_unit_test_jws_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_jws_LDADD = $(CA_CLIENT_LIBS) $(CHECK_LIBS)
check_PROGRAMS += tests/unit/test_http
tests_unit_test_http_SOURCES = tests/unit/test_http.c tests/unit/https_server.c tests/unit/https_server.h
tests_unit_test_http_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_http_LDADD = $(CA_CLIENT_LIBS) $(CHECK_LIBS) -lssl
check_PROGRAMS += tests/unit/test_acme
tests_unit_test_acme_SOURCES = tests/unit/test_acme.c tests/unit/https_server.c tests/unit/https_server.h
tests_unit_test_acme_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_acme_LDADD = $(CA_CLIENT_LIBS) $(CHECK_LIBS) -lssl
check_PROGRAMS += tests/unit/test_exec
tests_unit_test_exec_SOURCES = tests/unit/test_exec.c tests/unit/exec_program.h tests/unit/exec_program.c
tests_unit_test_exec_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_exec_LDADD = $(CA_CLIENT_LIBS) $(CHECK_LIBS)
check_PROGRAMS += tests/unit/test_exec_answers
tests_unit_test_exec_answers_SOURCES = tests/unit/test_exec_answers.c tests/unit/exec_program.h tests/unit/exec_program.c
tests_unit_test_exec_answers_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_exec_answers_LDADD = $(CA_CLIENT_LIBS) $(CHECK_LIBS)
check_PROGRAMS += tests/unit/test_acme_renewal
tests_unit_test_acme_renewal_SOURCES = tests/unit/test_acme_renewal.c
tests_unit_test_acme_renewal_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_acme_renewal_LDADD = $(CA_CLIENT_LIBS) $(CHECK_LIBS)
endif

# The corpus of the fuzz harness as a plain test; see its head for fuzzing.
check_PROGRAMS += tests/fuzz/fuzz_acme_json
tests_fuzz_fuzz_acme_json_SOURCES = tests/fuzz/fuzz_acme_json.c
tests_fuzz_fuzz_acme_json_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_fuzz_acme_json_LDADD = $(CA_CLIENT_LIBS)
EXTRA_DIST += tests/fuzz/corpus/acme_json
check_PROGRAMS += tests/fuzz/fuzz_exec
tests_fuzz_fuzz_exec_SOURCES = tests/fuzz/fuzz_exec.c tests/fuzz/fuzz_main.c
tests_fuzz_fuzz_exec_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_fuzz_exec_LDADD = $(CA_CLIENT_LIBS)
EXTRA_DIST += tests/fuzz/corpus/exec
check_PROGRAMS += tests/fuzz/fuzz_acme_text
tests_fuzz_fuzz_acme_text_SOURCES = tests/fuzz/fuzz_acme_text.c tests/fuzz/fuzz_main.c
tests_fuzz_fuzz_acme_text_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_fuzz_acme_text_LDADD = $(CA_CLIENT_LIBS)
EXTRA_DIST += tests/fuzz/corpus/acme_text

# Whole exchanges with the test CA.
TESTS += tests/ca_client.py tests/ca_client_account.py
EXTRA_DIST += tests/ca_client.py tests/ca_client_account.py
# The sample programs for driver exec.
TESTS += tests/exec_samples.py
EXTRA_DIST += tests/exec_samples.py

# driven by tests/ca_client.py; it is no test by itself
noinst_PROGRAMS += tests/unit/drive_ca
tests_unit_drive_ca_SOURCES = tests/unit/drive_ca.c tests/unit/drive_dns.c tests/unit/drive_dns.h
tests_unit_drive_ca_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_drive_ca_LDADD = $(CA_CLIENT_LIBS)
