noinst_LIBRARIES += libbase.a
libbase_a_SOURCES = base/base.h base/internal.h base/err.c base/log.c base/log_limit.c base/buf.c base/text.c base/address.c base/network.c base/file.c base/process.c base/memory.c base/actas.c base/notify.c base/daemon.c
libbase_a_CFLAGS = $(AM_CFLAGS) $(IDN2_CFLAGS) $(SYSTEMD_CFLAGS)
BASE_LIBS = libbase.a $(IDN2_LIBS) $(SYSTEMD_LIBS) $(OPENSSL_LIBS)

if HAVE_CHECK
check_PROGRAMS += tests/unit/test_base
tests_unit_test_base_SOURCES = tests/unit/test_base.c tests/unit/log_catch.h
tests_unit_test_base_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_base_LDADD = $(BASE_LIBS) $(CHECK_LIBS)

check_PROGRAMS += tests/unit/test_log
tests_unit_test_log_SOURCES = tests/unit/test_log.c tests/unit/log_catch.h
tests_unit_test_log_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SYSTEMD_CFLAGS)
tests_unit_test_log_LDADD = $(BASE_LIBS) $(CHECK_LIBS)

check_PROGRAMS += tests/unit/test_address
tests_unit_test_address_SOURCES = tests/unit/test_address.c
tests_unit_test_address_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_address_LDADD = $(BASE_LIBS) $(CHECK_LIBS)
endif

# The corpus of the fuzz harness as a plain test; fuzz_main.c says how to fuzz.
check_PROGRAMS += tests/fuzz/fuzz_address
tests_fuzz_fuzz_address_SOURCES = tests/fuzz/fuzz_address.c tests/fuzz/fuzz_main.c
tests_fuzz_fuzz_address_LDADD = $(BASE_LIBS)
EXTRA_DIST += tests/fuzz/corpus/address
