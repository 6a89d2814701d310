EXTRA_DIST += .ci/run tests/run.sh tests/lib.sh tests/postgresql.py tests/packages.txt tests/structure.py tests/tsan.supp tests/valgrind.supp tests/ca tests/e2e

# The two folders are taken whole; what Python left in them is not.
dist-hook:
	find '$(distdir)' -name __pycache__ -prune -exec rm -rf {} +

# Benches (tests/bench/run.sh), built for them alone.
BENCHES = tests/bench/bench_sign tests/bench/bench_store tests/bench/bench_lookup tests/bench/bench_questions tests/bench/noop_milter tests/bench/reference_milter
EXTRA_PROGRAMS = $(BENCHES)
CLEANFILES += $(EXTRA_PROGRAMS)
BENCH_COMMON = tests/bench/bench.h tests/bench/bench.c
tests_bench_bench_sign_SOURCES = tests/bench/bench_sign.c $(BENCH_COMMON)
tests_bench_bench_sign_LDADD = $(MAIL_LIBS)
tests_bench_bench_store_SOURCES = tests/bench/bench_store.c tests/bench/bench_fill.h tests/bench/bench_fill.c tests/bench/bench_fill_sqlite.c \
	tests/bench/bench_fill_postgresql.c $(BENCH_COMMON)
tests_bench_bench_store_CFLAGS = $(AM_CFLAGS) $(PQ_CFLAGS)
tests_bench_bench_store_LDADD = $(POLICY_LIBS)
tests_bench_bench_lookup_SOURCES = tests/bench/bench_lookup.c $(BENCH_COMMON)
tests_bench_bench_lookup_LDADD = $(MAIL_LIBS)
tests_bench_bench_questions_SOURCES = tests/bench/bench_questions.c $(BENCH_COMMON)
tests_bench_bench_questions_LDADD = $(POLICY_LIBS)
tests_bench_noop_milter_SOURCES = tests/bench/noop_milter.c tests/bench/milter_common.h tests/bench/milter_common.c $(BENCH_COMMON)
tests_bench_noop_milter_LDADD = $(MILTER_LIBS) $(BASE_LIBS)
tests_bench_reference_milter_SOURCES = tests/bench/reference_milter.c tests/bench/milter_common.h tests/bench/milter_common.c $(BENCH_COMMON)
tests_bench_reference_milter_LDADD = $(MILTER_LIBS) $(BASE_LIBS)
EXTRA_DIST += tests/bench

# `all` is another make: beside it the two would write the same libraries.
bench-programs: all
	$(MAKE) $(AM_MAKEFLAGS) $(BENCHES)
bench:
	ENROLL_BUILD='$(abs_builddir)' $(srcdir)/tests/bench/run.sh $(BENCH)
.PHONY: bench bench-programs
