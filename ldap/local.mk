noinst_LIBRARIES += libdirectory.a
libdirectory_a_SOURCES = ldap/directory.h ldap/connection.h ldap/cache.h ldap/internal.h \
	ldap/directory.c ldap/pool.c ldap/connection.c ldap/secure.c ldap/resolve.c ldap/find.c ldap/cache.c ldap/publish.c ldap/probe.c ldap/scan.c
libdirectory_a_CFLAGS = $(AM_CFLAGS) $(LDAP_CFLAGS) $(IDN2_CFLAGS)
DIRECTORY_LIBS = libdirectory.a $(LDAP_LIBS) libmetrics.a

if HAVE_CHECK
check_PROGRAMS += tests/unit/test_directory
tests_unit_test_directory_SOURCES = tests/unit/test_directory.c tests/unit/nasty_names.h tests/unit/nasty_names.c
tests_unit_test_directory_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(LDAP_CFLAGS)
tests_unit_test_directory_LDADD = $(POLICY_LIBS) $(CHECK_LIBS)
check_PROGRAMS += tests/unit/test_directory_hygiene
tests_unit_test_directory_hygiene_SOURCES = tests/unit/test_directory_hygiene.c
tests_unit_test_directory_hygiene_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(LDAP_CFLAGS)
tests_unit_test_directory_hygiene_LDADD = $(POLICY_LIBS) $(CHECK_LIBS)
endif
