noinst_LIBRARIES += libsandbox.a
libsandbox_a_SOURCES = sandbox/sandbox.h sandbox/internal.h sandbox/sandbox.c sandbox/calls.c sandbox/filter.c sandbox/watcher.c
libsandbox_a_CFLAGS = $(AM_CFLAGS) $(SECCOMP_CFLAGS)
SANDBOX_LIBS = libsandbox.a $(SECCOMP_LIBS)
