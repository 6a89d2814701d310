# tests/lib.sh - installing what tests/run.sh and examples/quickstart.sh need, without touching what runs on this machine.
# To be sourced by a POSIX shell whose working directory is the top of the source tree.

POLICY=/usr/sbin/policy-rc.d
POLICY_MARK='# put here by enroll-milter tests/lib.sh, for the time of one apt-get'

say() { printf '%s\n' "$*"; }
complain() { printf '%s\n' "$*" >&2; }

# packages_of SECTION... : the names in these sections of tests/packages.txt
packages_of() {
	for section; do
		sed -n "/^\[$section\]/,/^\[/p" tests/packages.txt
	done | sed '/^[[#]/d; /^[[:space:]]*$/d'
}

# those of the names on standard input that are not installed
not_installed() {
	while read -r name; do
		case $(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null) in
		installed) ;;
		*) say "$name" ;;
		esac
	done
}

# The mail server on this machine that installing Postfix would remove, if any.
other_mail_server() {
	dpkg-query -W -f='${db:Status-Status} ${Package} ,${Provides},\n' 2>/dev/null |
		awk '$1 == "installed" && $2 != "postfix" && /[ ,]mail-transport-agent[ ,(]/ { print $2; exit }'
}

policy_put() {
	# One of ours can only be left over from a killed run: nobody's to be kept.
	if [ -e $POLICY ] && ! grep -qxF "$POLICY_MARK" $POLICY; then
		mv $POLICY $POLICY.enroll-milter-kept
	fi
	printf '#!/bin/sh\n%s\nexit 101\n' "$POLICY_MARK" > $POLICY
	chmod 755 $POLICY
}

policy_undo() {
	if grep -qxF "$POLICY_MARK" $POLICY 2>/dev/null; then rm -f $POLICY; fi
	if [ -e $POLICY.enroll-milter-kept ]; then mv $POLICY.enroll-milter-kept $POLICY; fi
}

# Installing PostgreSQL would make a cluster beside starting it.
CLUSTERS=/etc/postgresql-common/createcluster.d

clusters_off() {
	mkdir -p "$1$CLUSTERS"
	printf '%s\ncreate_main_cluster = false\n' "$POLICY_MARK" > "$1$CLUSTERS/no-cluster.conf"
}

clusters_undo() {
	rm -f $CLUSTERS/no-cluster.conf
	rmdir $CLUSTERS 2>/dev/null || :
}

# A package enables its service for the next boot even where it may not start it now.
disable_services() {
	command -v systemctl >/dev/null || return 0
	for name; do
		case $name in
		samba) systemctl --quiet disable smbd.service nmbd.service samba-ad-dc.service ;;
		postfix | opendkim | slapd | nsd) systemctl --quiet disable "$name.service" ;;
		unbound) systemctl --quiet disable unbound.service unbound-resolvconf.service ;;
		postgresql-15) systemctl --quiet disable postgresql.service ;;
		dovecot-core) systemctl --quiet disable dovecot.service dovecot.socket ;;
		esac 2>/dev/null || :
	done
}

apt_install() {
	export DEBIAN_FRONTEND=noninteractive
	# Only for those that come anew: the answers of what is installed are its admin's.
	for name; do
		case $name in
		postfix) say 'postfix postfix/main_mailer_type select No configuration' ;;
		slapd) say 'slapd slapd/no_configuration boolean true' ;;
		esac
	done | debconf-set-selections
	apt-get -q -o DPkg::Lock::Timeout=300 update &&
		apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold install --no-install-recommends "$@" </dev/null
}

# install_packages SECTION... : install what is missing of these sections from Debian.  No service is started or enabled, and no mail
# server replaced unless ENROLL_FORCE=1.  True when all is there in the end; else says what to do.
install_packages() {
	if ! command -v dpkg-query >/dev/null; then
		complain "This is no Debian: install the counterparts of the packages in tests/packages.txt yourself."
		return 1
	fi
	missing=$(packages_of "$@" | not_installed | tr '\n' ' ')
	missing=${missing% }
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" != 0 ]; then
		complain "Missing packages; as root: apt-get install $missing"
		return 1
	fi
	case " $missing " in *' postfix '*)
		other=$(other_mail_server)
		if [ -n "$other" ] && [ "${ENROLL_FORCE:-0}" != 1 ]; then
			complain "Installing postfix would remove $other, the mail server of this machine.  Not done."
			complain "Use another machine, or say --force (ENROLL_FORCE=1) if $other may go."
			return 1
		fi ;;
	esac
	say "Installing from Debian: $missing"
	if ! install_quietly $missing; then
		complain "The packages could not be installed; the end of what apt-get said is above."
		return 1
	fi
}

install_quietly() (
	log=$(mktemp)
	trap 'policy_undo; clusters_undo; rm -f "$log"' EXIT
	trap 'exit 130' INT TERM HUP
	policy_put
	case " $* " in *' postgresql-15 '*) clusters_off '' ;; esac
	apt_install "$@" > "$log" 2>&1
	code=$?
	disable_services "$@"
	[ $code = 0 ] || tail -n 20 "$log" >&2
	exit $code
)

download_packages() {
	options='-q -o APT::Sandbox::User=root'
	apt-get $options download "$@" && return 0
	# No lists yet, or older ones than the archive.
	[ "$(id -u)" = 0 ] && apt-get -q -o DPkg::Lock::Timeout=300 update && apt-get $options download "$@"
}

# unpack_packages FOLDER : the files of the packages in [unpack], without installing anything; once.  Says so when they cannot be had:
# what needs them skips.
unpack_packages() (
	names=$(packages_of unpack | tr '\n' ' ')
	[ "$(cat "$1/unpacked" 2>/dev/null)" != "$names" ] || return 0
	log=$(mktemp) && work=$(mktemp -d "$1.XXXXXX") || return 1
	trap 'rm -rf "$log" "$work"' EXIT
	trap 'exit 130' INT TERM HUP
	say "Unpacking from Debian into $1: $names"
	if (mkdir "$work/debs" "$work/tree" && cd "$work/debs" && download_packages $names && for deb in *.deb; do dpkg -x "$deb" ../tree || exit 1; done) \
		> "$log" 2>&1 </dev/null; then
		say "$names" > "$work/tree/unpacked"
		chmod 755 "$work/tree"
		rm -rf "$1"
		mv "$work/tree" "$1"
	else
		tail -n 5 "$log" >&2
		complain "They could not be had; the end of what apt-get said is above."
		return 1
	fi
)

# What apt on this machine has for Debian of the same release, as lines for sources.list.
debian_sources() {
	apt-get indextargets --format '$(ORIGIN)|$(REPO_URI)|$(CODENAME)|$(COMPONENT)' 'Created-By: Packages' |
		awk -F'|' '$1 == "Debian" && $4 == "main" && !seen[$0]++ { print "deb", $2, $3, $4 }'
}

# in_root FOLDER COMMAND... : there, with the machine's network and devices of its own; what is mounted for it ends with it
in_root() {
	unshare -mp --fork --kill-child sh -c '
		root=$1
		shift
		mount --make-rprivate / && mount -t proc proc "$root/proc" && mount -t tmpfs -o mode=755 none "$root/dev" || exit 1
		for node in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
			mknod -m 666 "$root/dev/${node%% *}" c ${node#* } || exit 1
		done
		ln -s /proc/self/fd "$root/dev/fd"
		exec chroot "$root" "$@"' sh "$@"
}

# What the package names by itself, beside the libraries that are found when it is built.
plain_depends() {
	sed -n '/^Depends/,/misc:Depends/s/^.* \([a-z][a-z-]*\),$/\1/p' debian/control | tr '\n' ' '
}

# make_root FOLDER : a fresh Debian of this release in which the packages are tried (tests/e2e/test_operate_package.py), once: what the stage
# needs is installed there, and what the package may need besides is where apt finds it without a network.  False when it cannot be had.
make_root() (
	names="$(packages_of test | tr '\n' ' ')"
	cached="$(packages_of build | tr '\n' ' ')systemd systemd-sysv dbus $(plain_depends)"
	[ "$(cat "$1/made-for" 2>/dev/null)" != "$names$cached" ] || return 0
	log=$(mktemp) && work=$(mktemp -d "$1.XXXXXX") || return 1
	trap 'rm -rf --one-file-system "$log" "$work"' EXIT
	trap 'exit 130' INT TERM HUP
	say "Making a fresh Debian in $1"
	if fill_root "$work" > "$log" 2>&1 </dev/null; then
		say "$names$cached" > "$work/made-for"
		rm -rf --one-file-system "$1"
		mv "$work" "$1"
	else
		tail -n 10 "$log" >&2
		complain "It could not be had; the end of what was said is above."
		return 1
	fi
)

fill_root() {
	debian_sources > "$1.list"
	set -- "$1" $(head -n 1 "$1.list")
	debootstrap --variant=minbase "$4" "$1" "$3" || return 1
	chmod 755 "$1"
	mv "$1.list" "$1/etc/apt/sources.list"
	cp /etc/resolv.conf "$1/etc/resolv.conf"
	printf '#!/bin/sh\nexit 101\n' > "$1/usr/sbin/policy-rc.d"
	chmod 755 "$1/usr/sbin/policy-rc.d"
	clusters_off "$1"
	printf 'APT::Install-Recommends "false";\nAPT::Sandbox::User "root";\nAPT::Keep-Downloaded-Packages "true";\nBinary::apt::APT::Keep-Downloaded-Packages "true";\n' \
		> "$1/etc/apt/apt.conf.d/test"
	export DEBIAN_FRONTEND=noninteractive
	in_root "$1" sh -c '
		printf "%s\n" "postfix postfix/main_mailer_type select No configuration" "slapd slapd/no_configuration boolean true" | debconf-set-selections
		apt-get -q update && apt-get -q -y install $1 && apt-get -q -y -d install $2' sh "$names" "$cached"
}
