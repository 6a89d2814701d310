#!/bin/sh
# See the main job happen, on a Debian 12, as root:
#
#	examples/quickstart.sh [--keep] [--force]
#
# Installs what is missing, builds in build/ (or $ENROLL_BUILD), starts a mail gateway with everything around it in a private namespace, and
# lets alice write two mails.  Nothing that runs on this machine is touched, and nothing is left behind.
#
# --keep   leave it running; says how to look around and how to end it
# --force  let Postfix replace another mail server of this machine
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/lib.sh

keep=''
for argument; do
	case $argument in
	--keep) keep=--keep ;;
	--force) ENROLL_FORCE=1 ;;
	--help | -h) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
	*) complain "examples/quickstart.sh: no option '$argument', try --help"; exit 2 ;;
	esac
done
if [ "$(id -u)" != 0 ]; then
	complain "examples/quickstart.sh needs root: it starts servers with users of their own in a private namespace."
	exit 1
fi
install_packages build test || exit 1

build=${ENROLL_BUILD:-$PWD/build}
case $build in /*) ;; *) build=$PWD/$build ;; esac
mkdir -p "$build" || exit 1
began=$(date +%s)
say "Building in $build ..."
if ! (
	set -e
	top=$PWD
	if [ ! -x configure ] || [ configure.ac -nt configure ]; then ./autogen.sh; fi
	cd "$build"
	if [ ! -e config.status ] || [ "$top/configure" -nt config.status ]; then "$top/configure"; fi
	make -j"$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)"
) > "$build/quickstart-build.log" 2>&1; then
	tail -n 30 "$build/quickstart-build.log" >&2
	complain "The build failed; all of its output is in $build/quickstart-build.log"
	exit 1
fi
say "built in $(($(date +%s) - began)) s."
ENROLL_BUILD=$build exec /usr/bin/python3 -B examples/quickstart.py $keep
