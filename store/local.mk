noinst_LIBRARIES += libstore.a
libstore_a_SOURCES = store/store.h store/keyvault.h store/db.h store/sqlite.h store/store.c store/records.c store/enrollments.c store/steps.c \
	store/certificates.c store/directory.c store/revocations.c store/challenges.c store/reports.c store/limits.c store/turns.c store/events.c store/keyvault.c store/schema.c store/sqlite.c store/sqlite_file.c store/keys.c store/departures.c store/keyring.c store/renewals.c store/campaigns.c \
	store/grants.h store/grants.c store/acts.h store/sqlite_guard.c store/sqlite_handle.c store/figures.c \
	store/tables.h store/tables.c store/copy.h store/maintenance.h store/copy.c store/marks.c store/sound.c store/retention.c
libstore_a_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS) $(PQ_CFLAGS)
if HAVE_POSTGRESQL
libstore_a_SOURCES += store/postgresql.h store/postgresql.c store/postgresql_handle.c store/postgresql_watch.c store/postgresql_schema.c store/postgresql_tables.c store/postgresql_helpdesk.c
endif
STORE_LIBS = libstore.a $(SQLITE_LIBS) $(PQ_LIBS) libmetrics.a
EXTRA_DIST += tests/unit/store_version_1.sql tests/unit/store_version_2.sql tests/unit/store_version_3.sql tests/unit/store_version_5.sql tests/unit/store_version_6.sql

# driven by tests/e2e/test_scale_*.py; it is no test by itself
noinst_PROGRAMS += tests/unit/drive_store
tests_unit_drive_store_SOURCES = tests/unit/drive_store.c tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_drive_store_CFLAGS = $(AM_CFLAGS) $(PQ_CFLAGS)
tests_unit_drive_store_LDADD = $(STORE_LIBS) $(BASE_LIBS)

if HAVE_CHECK
check_PROGRAMS += tests/unit/test_store tests/unit/test_store_records tests/unit/test_store_files tests/unit/test_store_upgrade tests/unit/test_store_sqlite \
	tests/unit/test_store_parallel tests/unit/test_store_reports tests/unit/test_store_policy tests/unit/test_store_revocations tests/unit/test_store_keys tests/unit/test_keyvault tests/unit/test_store_directory tests/unit/test_store_departures tests/unit/test_store_renewals tests/unit/test_store_figures \
	tests/unit/test_store_postgresql tests/unit/test_store_helpdesk tests/unit/test_store_turns tests/unit/test_store_copy tests/unit/test_store_sound tests/unit/test_store_powerloss
tests_unit_test_store_SOURCES = tests/unit/test_store.c tests/unit/test_store.h tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_store_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_store_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_store_records_SOURCES = tests/unit/test_store_records.c tests/unit/test_store.h tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_store_records_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_store_records_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_store_files_SOURCES = tests/unit/test_store_files.c tests/unit/test_store.h tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_store_files_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_store_files_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_store_upgrade_SOURCES = tests/unit/test_store_upgrade.c tests/unit/test_store.h tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_store_upgrade_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_store_upgrade_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_store_reports_SOURCES = tests/unit/test_store_reports.c tests/unit/test_store.h tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_store_reports_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_store_reports_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_store_policy_SOURCES = tests/unit/test_store_policy.c tests/unit/test_store.h tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_store_policy_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_store_policy_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_store_sqlite_SOURCES = tests/unit/test_store_sqlite.c tests/unit/test_store.h tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_store_sqlite_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_store_sqlite_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_store_parallel_SOURCES = tests/unit/test_store_parallel.c tests/unit/test_store.h tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_store_parallel_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_store_parallel_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_store_revocations_SOURCES = tests/unit/test_store_revocations.c tests/unit/test_store.h tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_store_revocations_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_store_revocations_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_store_keys_SOURCES = tests/unit/test_store_keys.c tests/unit/test_store.h tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_store_keys_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_store_keys_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_store_directory_SOURCES = tests/unit/test_store_directory.c tests/unit/test_store.h tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_store_directory_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_store_directory_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_store_departures_SOURCES = tests/unit/test_store_departures.c tests/unit/test_store.h tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_store_departures_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_store_departures_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_store_renewals_SOURCES = tests/unit/test_store_renewals.c tests/unit/test_store.h tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_store_renewals_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_store_renewals_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_store_figures_SOURCES = tests/unit/test_store_figures.c tests/unit/test_store.h tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_store_figures_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_store_figures_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_store_turns_SOURCES = tests/unit/test_store_turns.c tests/unit/test_store.h tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_store_turns_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_store_turns_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_store_postgresql_SOURCES = tests/unit/test_store_postgresql.c tests/unit/test_store.h tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_store_postgresql_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_store_postgresql_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_store_helpdesk_SOURCES = tests/unit/test_store_helpdesk.c tests/unit/test_store.h tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_store_helpdesk_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_store_helpdesk_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_store_copy_SOURCES = tests/unit/test_store_copy.c tests/unit/test_store.h tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_store_copy_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_store_copy_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_store_sound_SOURCES = tests/unit/test_store_sound.c tests/unit/test_store.h tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_store_sound_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_store_sound_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_store_powerloss_SOURCES = tests/unit/test_store_powerloss.c tests/unit/test_store.h tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_store_powerloss_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_test_store_powerloss_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
tests_unit_test_keyvault_SOURCES = tests/unit/test_keyvault.c tests/unit/store_fixture.h tests/unit/store_postgresql.h
tests_unit_test_keyvault_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_keyvault_LDADD = $(STORE_LIBS) $(BASE_LIBS) $(CHECK_LIBS)
endif
