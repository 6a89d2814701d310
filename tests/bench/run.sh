#!/bin/sh
# Benches: what the product costs, against baselines measured in the same run.  As root, on a Debian 12; installs and builds what it needs.
#
#	tests/bench/run.sh [--quick] [--list] [--help] [name ...]
#	tests/bench/run.sh --installation [--users 1000] [--newcomers 60] [--store postgresql] [--help] ...   a whole one, on a Monday morning
#	tests/bench/run.sh --stores [--users 100000] [--store postgresql] [--help] ...                        look-ups among many users
#	tests/bench/run.sh --units [--quick]                                    what doc/scaling.md is computed from, measured anew
set -u
cd "$(dirname "$0")/../.." || exit 1
top=$PWD
. tests/lib.sh

python=/usr/bin/python3
build=${ENROLL_BUILD:-$top/build}
case $build in /*) ;; *) build=$top/$build ;; esac

program=bench.py
case ${1:-} in
--installation | --stores | --units)
	program=${1#--}.py
	shift
	;;
esac

for argument; do
	case $argument in
	--help | -h | --list) exec $python -B "tests/bench/$program" "$@" ;;
	esac
done

if [ "$(id -u)" != 0 ]; then
	complain "The benches run servers in a namespace of their own: run them as root."
	exit 1
fi
install_packages build test >&2 || exit 1

build_here() {
	[ -x configure ] || ./autogen.sh || return 1
	mkdir -p "$build" || return 1
	[ -e "$build/config.status" ] || (cd "$build" && "$top/configure") || return 1
	make -C "$build" -j"$(getconf _NPROCESSORS_ONLN)" bench-programs
}
log=$(mktemp)
if ! build_here > "$log" 2>&1; then
	tail -n 30 "$log" >&2
	rm -f "$log"
	exit 1
fi
rm -f "$log"
ENROLL_BUILD=$build exec $python -B "tests/bench/$program" "$@"
