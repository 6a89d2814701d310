# What is counted is in libmetrics.a, which every room may use; the HTTP server in a library of its own, for the programs that serve.
noinst_LIBRARIES += libmetrics.a libmetricsserver.a
libmetrics_a_SOURCES = metrics/metrics.h metrics/table.h metrics/table.c metrics/metrics.c
libmetricsserver_a_SOURCES = metrics/server.c
libmetricsserver_a_CFLAGS = $(AM_CFLAGS) $(MICROHTTPD_CFLAGS)
METRICS_SERVER_LIBS = libmetricsserver.a libmetrics.a $(MICROHTTPD_LIBS) $(BASE_LIBS)

if HAVE_CHECK
check_PROGRAMS += tests/unit/test_metrics
tests_unit_test_metrics_SOURCES = tests/unit/test_metrics.c
tests_unit_test_metrics_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_metrics_LDADD = $(METRICS_SERVER_LIBS) libstore.a $(SQLITE_LIBS) libmetrics.a $(BASE_LIBS) $(CHECK_LIBS)
endif
