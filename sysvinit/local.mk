# For hosts without systemd: the init script, and what makes users and folders (also where systemd does, see there).
SYSVINIT_MADE = sysvinit/setup-host sysvinit/enroll-milter
EXTRA_DIST += sysvinit/setup-host.in sysvinit/enroll-milter.in
CLEANFILES += $(SYSVINIT_MADE)
pkgdata_SCRIPTS = sysvinit/setup-host
noinst_SCRIPTS = sysvinit/enroll-milter

$(SYSVINIT_MADE): %: %.in Makefile
	$(AM_V_GEN)$(MKDIR_P) sysvinit; $(PUT_PATHS) '$(srcdir)/$@.in' > '$@.tmp' && chmod +x '$@.tmp' && mv '$@.tmp' '$@'
EXTRA_DIST += rpm/enroll-milter.spec

# What is left when all rooms have taken theirs away.
uninstall-hook: uninstall-pkgdata
uninstall-pkgdata: uninstall-pkgdataSCRIPTS
	-rmdir '$(DESTDIR)$(pkgdatadir)/ca' '$(DESTDIR)$(pkgdatadir)'
.PHONY: uninstall-pkgdata

# Packages are built from a release, too.
EXTRA_DIST += debian/changelog debian/clean debian/control debian/copyright debian/enroll-milter.README.Debian debian/enroll-milter.default \
	debian/enroll-milter.dirs debian/enroll-milter.docs debian/enroll-milter.examples debian/enroll-milter.lintian-overrides \
	debian/enroll-milter.postinst debian/enroll-milter.postrm debian/enroll-milter.prerm debian/enroll-milter.templates \
	debian/enroll-milter.triggers debian/po/POTFILES.in debian/po/templates.pot debian/rules debian/source/format
