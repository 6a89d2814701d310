noinst_LIBRARIES += libdns.a
libdns_a_SOURCES = dns/dns.h dns/dns.c dns/perspectives.c
libdns_a_CFLAGS = $(AM_CFLAGS) $(UNBOUND_CFLAGS)
DNS_LIBS = libdns.a $(UNBOUND_LIBS)

if HAVE_CHECK
check_PROGRAMS += tests/unit/test_dns
tests_unit_test_dns_SOURCES = tests/unit/test_dns.c
tests_unit_test_dns_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_dns_LDADD = $(DNS_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
endif
