# The manual, the page for newcomers, the samples; and the test that holds them to the programs.
man_MANS += doc/enroll-milter.8 doc/enrolld.8 doc/enrollctl.8 doc/enroll-milter.conf.5 doc/enroll-milter-events.7 doc/enroll-milter-exec.7 doc/enroll-milter-doctor.7
EXTRA_DIST += $(man_MANS) doc/overview.md doc/helpdesk.md doc/screens.md examples tests/examples.py
TEST_EXTENSIONS = .py
PY_LOG_COMPILER = /usr/bin/python3
AM_PY_LOG_FLAGS = -B
TESTS += tests/examples.py
