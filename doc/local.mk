# The manual, the page for newcomers, the samples; and the test that holds them to the programs.
man_MANS += doc/enroll-milter.8 doc/enrolld.8 doc/enrollctl.8 doc/enroll-milter.conf.5 doc/enroll-milter-log.7 doc/enroll-milter-exec.7 doc/enroll-milter-metrics.7 doc/enroll-milter-doctor.7
DOCS = doc/overview.md doc/helpdesk.md doc/screens.md doc/threat-model.md doc/disaster-recovery.md doc/dkim-order.md doc/upgrade.md doc/faq.md \
	doc/howto-postfix-submission.md doc/howto-exchange-edge.md doc/howto-after-queue.md doc/howto-sendmail.md doc/howto-rspamd.md \
	doc/howto-cloud-filter.md doc/howto-several-gateways.md doc/howto-migrate.md doc/scaling.md
EXTRA_DIST += $(man_MANS) $(DOCS) examples tests/examples.py tests/names.py tests/log_page.py tests/metrics_doc.py
TEST_EXTENSIONS = .py
PY_LOG_COMPILER = /usr/bin/python3
AM_PY_LOG_FLAGS = -B
TESTS += tests/examples.py tests/names.py tests/metrics_doc.py tests/bench/scaling.py

# The pages tell of the usual folders; installed they tell of those that it was configured with.
TELL_PATHS = $(SED) -e 's|/etc/enroll-milter|$(sysconfdir)/enroll-milter|g' -e 's|/var/lib/enroll-milter|$(statedir)|g' \
	-e 's|/var/spool/enroll-milter|$(spooldir)|g' -e 's|/run/enroll-milter|$(rundir)|g' -e 's|/var/spool/postfix|$(postfixqueuedir)|g'
install-data-hook: install-man-paths
install-man-paths:
	for page in $(man_MANS); do name=$${page##*/}; \
		$(TELL_PATHS) "$(srcdir)/$$page" > "$(DESTDIR)$(mandir)/man$${name##*.}/$$name" || exit 1; \
	done
.PHONY: install-man-paths
