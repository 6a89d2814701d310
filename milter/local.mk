noinst_LIBRARIES += libmail.a
libmail_a_SOURCES = milter/session.h
# the running instance: callbacks, decisions, credentials
libmail_a_SOURCES += milter/service.h milter/service.c milter/listener.h milter/listener.c milter/watch.h milter/watch.c milter/session.c milter/session_outbound.c milter/session_edit.c milter/session_inbound.c milter/session_report.c milter/outbound.h \
	milter/outbound.c milter/measure.h milter/measure.c milter/credentials.h milter/credentials.c milter/recorder.h milter/recorder.c
# mail as octets: spool, MIME, CMS, DKIM, challenge mails
libmail_a_SOURCES += milter/spool.h milter/spool.c milter/mime.h milter/mime.c milter/mime_text.c milter/mime_encode.c milter/mime_plan.h milter/mime_plan.c \
	milter/mime_stream.h milter/mime_stream.c milter/mime_header.c milter/mime_find.c milter/sign.h milter/sign_cms.h milter/sign.c milter/sign_detached.c milter/sign_opaque.c milter/compose.h milter/compose.c milter/inbound.h milter/inbound.c milter/report.h milter/report.c milter/dkim.h milter/dkim.c \
	milter/smime.h milter/smime.c milter/smime_header.c
libmail_a_CFLAGS = $(AM_CFLAGS) $(GMIME_CFLAGS) $(OPENDKIM_CFLAGS)
MAIL_LIBS = libmail.a $(SANDBOX_LIBS) $(POLICY_LIBS) $(GMIME_LIBS) $(OPENDKIM_LIBS) $(MILTER_LIBS)

sbin_PROGRAMS += enroll-milter
enroll_milter_SOURCES = milter/main.c
enroll_milter_LDADD = $(MAIL_LIBS) $(METRICS_SERVER_LIBS)

if HAVE_CHECK
check_PROGRAMS += tests/unit/test_spool tests/unit/test_mime tests/unit/test_sign tests/unit/test_inbound tests/unit/test_report tests/unit/test_smime
tests_unit_test_report_SOURCES = tests/unit/test_report.c
tests_unit_test_report_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_report_LDADD = $(MAIL_LIBS) $(CHECK_LIBS)
tests_unit_test_spool_SOURCES = tests/unit/test_spool.c
tests_unit_test_spool_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_spool_LDADD = $(MAIL_LIBS) $(CHECK_LIBS)
check_PROGRAMS += tests/unit/test_listener
tests_unit_test_listener_SOURCES = tests/unit/test_listener.c
tests_unit_test_listener_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_listener_LDADD = $(MAIL_LIBS) $(CHECK_LIBS)
check_PROGRAMS += tests/unit/test_watch
tests_unit_test_watch_SOURCES = tests/unit/test_watch.c
tests_unit_test_watch_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_watch_LDADD = $(MAIL_LIBS) $(METRICS_SERVER_LIBS) $(CHECK_LIBS)
check_PROGRAMS += tests/unit/test_mime_header
tests_unit_test_mime_header_SOURCES = tests/unit/test_mime_header.c
tests_unit_test_mime_header_CFLAGS = $(AM_CFLAGS) $(GMIME_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_mime_header_LDADD = $(MAIL_LIBS) $(CHECK_LIBS)
tests_unit_test_mime_SOURCES = tests/unit/test_mime.c
tests_unit_test_mime_CFLAGS = $(AM_CFLAGS) $(GMIME_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_mime_LDADD = $(MAIL_LIBS) $(CHECK_LIBS)
tests_unit_test_sign_SOURCES = tests/unit/test_sign.c
tests_unit_test_sign_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_sign_LDADD = $(MAIL_LIBS) $(CHECK_LIBS)
tests_unit_test_inbound_SOURCES = tests/unit/test_inbound.c
tests_unit_test_inbound_CFLAGS = $(AM_CFLAGS) $(OPENDKIM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_inbound_LDADD = $(MAIL_LIBS) $(CHECK_LIBS)
tests_unit_test_smime_SOURCES = tests/unit/test_smime.c tests/unit/certificates.h tests/unit/certificates.c
tests_unit_test_smime_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_smime_LDADD = $(MAIL_LIBS) $(CHECK_LIBS)
endif
check_PROGRAMS += tests/fuzz/fuzz_mime tests/fuzz/fuzz_inbound tests/fuzz/fuzz_smime tests/fuzz/fuzz_report
tests_fuzz_fuzz_mime_SOURCES = tests/fuzz/fuzz_mime.c tests/fuzz/fuzz_mail.h tests/fuzz/fuzz_main.c
tests_fuzz_fuzz_mime_LDADD = $(MAIL_LIBS)
tests_fuzz_fuzz_inbound_SOURCES = tests/fuzz/fuzz_inbound.c tests/fuzz/fuzz_mail.h tests/fuzz/fuzz_main.c
tests_fuzz_fuzz_inbound_LDADD = $(MAIL_LIBS)
tests_fuzz_fuzz_smime_SOURCES = tests/fuzz/fuzz_smime.c tests/fuzz/fuzz_mail.h tests/fuzz/fuzz_main.c
tests_fuzz_fuzz_smime_LDADD = $(MAIL_LIBS)
tests_fuzz_fuzz_report_SOURCES = tests/fuzz/fuzz_report.c tests/fuzz/fuzz_mail.h tests/fuzz/fuzz_main.c
tests_fuzz_fuzz_report_LDADD = $(MAIL_LIBS)
check_PROGRAMS += tests/fuzz/fuzz_header tests/fuzz/fuzz_compose
tests_fuzz_fuzz_header_SOURCES = tests/fuzz/fuzz_header.c tests/fuzz/fuzz_mail.h tests/fuzz/fuzz_main.c
tests_fuzz_fuzz_header_LDADD = $(MAIL_LIBS)
tests_fuzz_fuzz_compose_SOURCES = tests/fuzz/fuzz_compose.c tests/fuzz/fuzz_mail.h tests/fuzz/fuzz_main.c
tests_fuzz_fuzz_compose_LDADD = $(MAIL_LIBS)
EXTRA_DIST += tests/fuzz/corpus/header tests/fuzz/corpus/compose tests/fuzz/corpus/mime tests/fuzz/corpus/inbound tests/fuzz/corpus/report tests/fuzz/corpus/smime

if HAVE_CHECK
check_PROGRAMS += tests/unit/test_outbound
tests_unit_test_outbound_SOURCES = tests/unit/test_outbound.c
tests_unit_test_outbound_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_outbound_LDADD = $(MAIL_LIBS) $(CHECK_LIBS)
endif
