sbin_PROGRAMS += enrollctl
enrollctl_SOURCES = ctl/main.c ctl/ctl.h ctl/client.c ctl/show.c ctl/csv.c ctl/helpdesk.c ctl/act.c ctl/revoke.c ctl/revoke_key.c ctl/setup.c ctl/store.c ctl/store_check.c ctl/store_move.c ctl/account.c ctl/cert.c ctl/policy.c ctl/report.c ctl/asuser.c ctl/table.c ctl/confirm.c ctl/help.c ctl/complete.c ctl/directory.c ctl/export.c ctl/import.c ctl/departures.c ctl/masterkey.c ctl/replace.c ctl/log.c ctl/log.h ctl/log_table.c ctl/doctor.h ctl/doctor.c ctl/doctor_answer.c ctl/doctor_config.c ctl/doctor_files.c ctl/doctor_folders.c ctl/doctor_keys.c ctl/doctor_postfix.c ctl/doctor_milters.c ctl/doctor_listeners.c
enrollctl_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
enrollctl_LDADD = $(ENROLL_LIBS) $(METRICS_SERVER_LIBS)

# enrollctl cert check, run as anybody would
TESTS += tests/cert_check.py
EXTRA_DIST += tests/cert_check.py

check_PROGRAMS += tests/unit/test_ctl_table
tests_unit_test_ctl_table_SOURCES = tests/unit/test_ctl_table.c ctl/table.c
tests_unit_test_ctl_table_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_ctl_table_LDADD = $(BASE_LIBS) $(JANSSON_LIBS) $(CHECK_LIBS)

# Help, completion and the manual, held to the table of commands
TESTS += tests/ctl_help.py
EXTRA_DIST += tests/ctl_help.py

# The shell asks the program which words may follow.  The file has the name of the command, as bash-completion loads it.
bashcompletiondir = $(datadir)/bash-completion/completions
zshcompletiondir = $(datadir)/zsh/site-functions
EXTRA_DIST += ctl/enrollctl.bash ctl/enrollctl.zsh
install-data-hook: install-completion
install-completion:
	$(MKDIR_P) '$(DESTDIR)$(bashcompletiondir)' '$(DESTDIR)$(zshcompletiondir)'
	$(INSTALL_DATA) '$(srcdir)/ctl/enrollctl.bash' '$(DESTDIR)$(bashcompletiondir)/enrollctl'
	$(INSTALL_DATA) '$(srcdir)/ctl/enrollctl.zsh' '$(DESTDIR)$(zshcompletiondir)/_enrollctl'
uninstall-hook: uninstall-completion
uninstall-completion:
	rm -f '$(DESTDIR)$(bashcompletiondir)/enrollctl' '$(DESTDIR)$(zshcompletiondir)/_enrollctl'
.PHONY: install-completion uninstall-completion
