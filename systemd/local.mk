# Units, users, folders.  Paths are put in by make, because configure leaves them as ${prefix}/... .
statedir = /var/lib/enroll-milter
spooldir = /var/spool/enroll-milter
SYSTEMD_IN = systemd/enroll-milter@.service.in systemd/enrolld.service.in systemd/tmpfiles.conf.in
SYSTEMD_MADE = systemd/enroll-milter@.service systemd/enrolld.service systemd/tmpfiles.conf
EXTRA_DIST += $(SYSTEMD_IN) systemd/outbound.conf systemd/inbound.conf systemd/sysusers.conf
CLEANFILES += $(SYSTEMD_MADE)

systemdsystemunit_DATA = systemd/enroll-milter@.service systemd/enrolld.service
outbounddropindir = $(systemdsystemunitdir)/enroll-milter@outbound.service.d
inbounddropindir = $(systemdsystemunitdir)/enroll-milter@inbound.service.d
noinst_DATA = systemd/tmpfiles.conf
# distcheck installs for real: nothing of it may land outside its own folder.
AM_DISTCHECK_CONFIGURE_FLAGS = --with-postfix-queue=$$dc_install_base/postfix

# Without libsystemd the programs do not tell when they are ready.
$(SYSTEMD_MADE): %: %.in config.h Makefile
	$(AM_V_GEN)$(MKDIR_P) systemd; t=simple; grep -q '^#define HAVE_SYSTEMD 1' config.h && t=notify; \
	sed -e 's|@sbindir[@]|$(sbindir)|g' -e 's|@sysconfdir[@]|$(sysconfdir)|g' -e 's|@statedir[@]|$(statedir)|g' -e 's|@spooldir[@]|$(spooldir)|g' \
	    -e 's|@postfixqueuedir[@]|$(postfixqueuedir)|g' -e "s|@servicetype[@]|$$t|g" '$(srcdir)/$@.in' > '$@.tmp' && mv '$@.tmp' '$@'

# Drop-ins, sysusers and tmpfiles get other names than they have here.  Only folders are made outside $(prefix): users and owners
# are systemd-sysusers' and systemd-tmpfiles' work on the host where this runs.
install-data-hook: install-systemd-files
install-systemd-files: systemd/tmpfiles.conf
	$(MKDIR_P) '$(DESTDIR)$(outbounddropindir)' '$(DESTDIR)$(inbounddropindir)' '$(DESTDIR)$(sysusersdir)' '$(DESTDIR)$(tmpfilesdir)'
	$(INSTALL_DATA) '$(srcdir)/systemd/outbound.conf' '$(DESTDIR)$(outbounddropindir)/instance.conf'
	$(INSTALL_DATA) '$(srcdir)/systemd/inbound.conf' '$(DESTDIR)$(inbounddropindir)/instance.conf'
	$(INSTALL_DATA) '$(srcdir)/systemd/sysusers.conf' '$(DESTDIR)$(sysusersdir)/enroll-milter.conf'
	$(INSTALL_DATA) systemd/tmpfiles.conf '$(DESTDIR)$(tmpfilesdir)/enroll-milter.conf'
	$(MKDIR_P) '$(DESTDIR)$(postfixqueuedir)/enroll-milter'

uninstall-hook: uninstall-systemd-files
uninstall-systemd-files:
	rm -f '$(DESTDIR)$(outbounddropindir)/instance.conf' '$(DESTDIR)$(inbounddropindir)/instance.conf'
	rm -f '$(DESTDIR)$(sysusersdir)/enroll-milter.conf' '$(DESTDIR)$(tmpfilesdir)/enroll-milter.conf'
	-rmdir '$(DESTDIR)$(outbounddropindir)' '$(DESTDIR)$(inbounddropindir)' '$(DESTDIR)$(postfixqueuedir)/enroll-milter'
.PHONY: install-systemd-files uninstall-systemd-files
