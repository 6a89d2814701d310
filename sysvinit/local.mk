# For hosts without systemd: the init script, and what makes users and folders (also where systemd does, see there).
SYSVINIT_MADE = sysvinit/setup-host sysvinit/enroll-milter
EXTRA_DIST += sysvinit/setup-host.in sysvinit/enroll-milter.in
CLEANFILES += $(SYSVINIT_MADE)
pkgdata_SCRIPTS = sysvinit/setup-host
noinst_SCRIPTS = sysvinit/enroll-milter

$(SYSVINIT_MADE): %: %.in Makefile
	$(AM_V_GEN)$(MKDIR_P) sysvinit; $(PUT_PATHS) '$(srcdir)/$@.in' > '$@.tmp' && chmod +x '$@.tmp' && mv '$@.tmp' '$@'
