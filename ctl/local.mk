sbin_PROGRAMS += enrollctl
enrollctl_SOURCES = ctl/main.c ctl/ctl.h ctl/client.c ctl/show.c ctl/csv.c ctl/helpdesk.c ctl/act.c ctl/revoke.c ctl/replace.c ctl/setup.c ctl/account.c ctl/cert.c ctl/policy.c ctl/report.c ctl/asuser.c
enrollctl_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
enrollctl_LDADD = $(ENROLL_LIBS)

# enrollctl cert check, run as anybody would
TESTS += tests/cert_check.py
EXTRA_DIST += tests/cert_check.py
