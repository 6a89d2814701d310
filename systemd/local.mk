# Units, users, folders.  Paths are put in by make, because configure leaves them as ${prefix}/... .
statedir = $(localstatedir)/lib/enroll-milter
spooldir = $(localstatedir)/spool/enroll-milter
rundir = $(runstatedir)/enroll-milter
PUT_PATHS = $(SED) -e 's|@sbindir[@]|$(sbindir)|g' -e 's|@sysconfdir[@]|$(sysconfdir)|g' -e 's|@statedir[@]|$(statedir)|g' \
	-e 's|@spooldir[@]|$(spooldir)|g' -e 's|@rundir[@]|$(rundir)|g' -e 's|@runstatedir[@]|$(runstatedir)|g' -e 's|@pkgdatadir[@]|$(pkgdatadir)|g' \
	-e 's|@postfixqueuedir[@]|$(postfixqueuedir)|g'
SYSTEMD_IN = systemd/enroll-milter@.service.in systemd/enrolld.service.in systemd/outbound.conf.in systemd/inbound.conf.in \
	systemd/sysusers.conf.in systemd/tmpfiles.conf.in
SYSTEMD_MADE = systemd/enroll-milter@.service systemd/enrolld.service systemd/outbound.conf systemd/inbound.conf systemd/sysusers.conf systemd/tmpfiles.conf
EXTRA_DIST += $(SYSTEMD_IN)
CLEANFILES += $(SYSTEMD_MADE)

systemdsystemunit_DATA = systemd/enroll-milter@.service systemd/enrolld.service
outbounddropindir = $(systemdsystemunitdir)/enroll-milter@outbound.service.d
inbounddropindir = $(systemdsystemunitdir)/enroll-milter@inbound.service.d
noinst_DATA = systemd/outbound.conf systemd/inbound.conf systemd/sysusers.conf systemd/tmpfiles.conf
# distcheck installs for real: nothing of it may land outside its own folder.
AM_DISTCHECK_CONFIGURE_FLAGS = --with-postfix-queue=$$dc_install_base/postfix

# Without libsystemd the programs do not tell when they are ready, nor that they live.
$(SYSTEMD_MADE): %: %.in config.h Makefile
	$(AM_V_GEN)$(MKDIR_P) systemd; silent='s/^Type=notify$$/Type=simple/; /^NotifyAccess=/d; /^WatchdogSec=/d'; \
	! grep -q '^#define HAVE_SYSTEMD 1' config.h || silent=; \
	$(PUT_PATHS) -e "$$silent" '$(srcdir)/$@.in' > '$@.tmp' && mv '$@.tmp' '$@'

# Drop-ins, sysusers and tmpfiles get other names than they have here.  Only folders are made outside $(prefix): users and owners
# are systemd-sysusers' and systemd-tmpfiles' work on the host where this runs.
install-data-hook: install-systemd-files
install-systemd-files: $(SYSTEMD_MADE)
	$(MKDIR_P) '$(DESTDIR)$(outbounddropindir)' '$(DESTDIR)$(inbounddropindir)' '$(DESTDIR)$(sysusersdir)' '$(DESTDIR)$(tmpfilesdir)'
	$(INSTALL_DATA) systemd/outbound.conf '$(DESTDIR)$(outbounddropindir)/instance.conf'
	$(INSTALL_DATA) systemd/inbound.conf '$(DESTDIR)$(inbounddropindir)/instance.conf'
	$(INSTALL_DATA) systemd/sysusers.conf '$(DESTDIR)$(sysusersdir)/enroll-milter.conf'
	$(INSTALL_DATA) systemd/tmpfiles.conf '$(DESTDIR)$(tmpfilesdir)/enroll-milter.conf'
	$(MKDIR_P) '$(DESTDIR)$(postfixqueuedir)/enroll-milter'

uninstall-hook: uninstall-systemd-files
uninstall-systemd-files:
	rm -f '$(DESTDIR)$(outbounddropindir)/instance.conf' '$(DESTDIR)$(inbounddropindir)/instance.conf'
	rm -f '$(DESTDIR)$(sysusersdir)/enroll-milter.conf' '$(DESTDIR)$(tmpfilesdir)/enroll-milter.conf'
	-rmdir '$(DESTDIR)$(outbounddropindir)' '$(DESTDIR)$(inbounddropindir)' '$(DESTDIR)$(postfixqueuedir)/enroll-milter'
.PHONY: install-systemd-files uninstall-systemd-files
