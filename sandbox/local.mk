noinst_LIBRARIES += libsandbox.a
libsandbox_a_SOURCES = sandbox/sandbox.h sandbox/internal.h sandbox/sandbox.c sandbox/calls.c sandbox/filter.c sandbox/watcher.c
libsandbox_a_CFLAGS = $(AM_CFLAGS) $(SECCOMP_CFLAGS)
SANDBOX_LIBS = libsandbox.a $(SECCOMP_LIBS)

if HAVE_CHECK
check_PROGRAMS += tests/unit/test_sandbox
tests_unit_test_sandbox_SOURCES = tests/unit/test_sandbox.c
tests_unit_test_sandbox_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SECCOMP_CFLAGS)
tests_unit_test_sandbox_LDADD = $(SANDBOX_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
endif
