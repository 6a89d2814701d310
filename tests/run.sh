#!/bin/sh
# All tests, or some groups of them, on a Debian 12:
#
#	tests/run.sh [--long] [--list] [--force] [--store postgresql] [group ...]
#
# Groups of end-to-end modules (e2e to scale) run together, but for --long: the lines of their modules are mixed.
# --store: what the groups unit, e2e, acme and lifecycle (or those named) have to say of a store there.
# As root it installs what is missing (tests/packages.txt) and runs everything; as somebody else what needs no root.  It builds in build/
# (or $ENROLL_BUILD) and ends with "N passed, N failed, N skipped"; the exit code says whether anything failed.
set -u
cd "$(dirname "$0")/.." || exit 1
top=$PWD
. tests/lib.sh

build=${ENROLL_BUILD:-$top/build}
case $build in /*) ;; *) build=$top/$build ;; esac
all_groups='structure unit ca e2e acme policy sign lifecycle operate scale sanitizers'
e2e_groups='e2e acme policy sign lifecycle operate scale'
# End-to-end modules that --long also runs with sanitized daemons (test_roles is none: such daemons leave themselves open to be looked at), and the
# unit tests that are all that is run with sanitizers otherwise: of what reads octets that others made (the fuzzers' corpora are), and of threads.
sanitized_modules='test_main_job test_not_theirs test_switches test_backup test_observe test_acme_smime test_acme_reports test_acme_throughput
	test_sign_forms test_sign_load test_lifecycle_revoke test_lifecycle_directory'
reading_tests='test_base test_address test_acme test_http test_jws test_challenge test_inbound test_report test_mime test_mime_header test_smime test_spool test_sign
	test_dns test_caa test_certcheck test_revocation test_exec_answers test_directory test_config test_keyvault test_store'
threaded_tests='test_log test_store_parallel test_directory test_dns test_http test_exec test_sign'
# What the default run has on PostgreSQL, too, as a part of scale.
postgresql_tests='test_store test_store_postgresql test_store_helpdesk test_store_copy test_store_sound test_store_records test_store_parallel test_store_revocations test_fate'
postgresql_modules='test_main_job@postgresql test_acme_account@postgresql test_lifecycle_renewal@postgresql'
valgrind='valgrind -q --vgdb=no --suppressions='$top'/tests/valgrind.supp --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite --error-exitcode=99'
python=/usr/bin/python3
long=0 store=sqlite under='' groups='' passed=0 failed=0 skipped=0

usage() {
	sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
	exit "$1"
}

list() {
	cat <<-END
		structure   includes, names, sizes (tests/structure.py)
		unit        make check: one count a Check case
		ca          the test CA's own test (tests/ca/selftest.py)
		e2e         Postfix, OpenDKIM, slapd, DNS, the CA and the product together (tests/e2e/run.py); root
		acme        the same with CAs of every behaviour, faults of every kind, Pebble, the exec driver, hundreds of orders; root
		            --long: every combination
		policy      the same for what is asked before and judged after: CAA against name servers of every kind, rules; root
		sign        the same for what leaves signed: every fault of structure, a corpus, what other programs say of the signatures; root
		            --long: an hour of mixed load, and Thunderbird
		lifecycle   the same for certificates over time: renewal, replacement, revocation, people who come and go, the directory's
		            order (OpenLDAP and Samba), keys out and in, the help desk, months in minutes; root
		            --long: a year of 200 people, mass replacement of hundreds
		operate     the same for what an admin has to do with it: packages, service, sandbox, metrics, doctor; root
		            --long: the packages in a fresh system
		scale       several gateways on one PostgreSQL, and a sample of unit, e2e, acme and lifecycle with their stores there; root
		            --long: all of these
		sanitizers  what of unit reads others' octets with address+undefined sanitizers, what has threads with the thread sanitizer, and the
		            build by clang where it is installed
		            --long: all of unit with both and under valgrind, end-to-end modules with daemons built with either, the main job
		            with daemons under valgrind
	END
	exit 0
}

# count PASSED FAILED SKIPPED
count() {
	passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

skip() {
	say "skipped, because $1"
	count 0 0 1
}

fail() {
	say "FAILED: $1"
	count 0 1 0
}

jobs_here() { getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1; }

configured_in() {
	dir=$1
	shift
	if [ ! -x configure ] || [ ! -e build-aux/install-sh ] || [ configure.ac -nt configure ]; then
		./autogen.sh || return 1
	fi
	if [ ! -e "$dir/config.status" ] || [ configure -nt "$dir/config.status" ]; then
		(cd "$dir" && "$top/configure" --enable-werror "$@")
	fi
}

# build_in DIR configure-argument... : false when that failed, with the end of the log shown
build_in() {
	dir=$1
	shift
	mkdir -p "$dir" || return 1
	{ configured_in "$dir" "$@" && make -C "$dir" -j"$(jobs_here)"; } > "$dir/build.log" 2>&1 && return 0
	tail -n 30 "$dir/build.log"
	say "(all of it: $dir/build.log)"
	return 1
}

# check_counts FILE.trs : "PASSED FAILED SKIPPED FILE", from what Check wrote into FILE.log; what is left out on a store is skipped
check_counts() {
	name=${1%.trs}
	result=$(sed -n 's/^:test-result: \([A-Z]*\).*/\1/p' "$1")
	left=$(grep -c '^left out on ' "$name.log")
	set -- $(sed -n 's/^[0-9]*%: Checks: \([0-9]*\), Failures: \([0-9]*\), Errors: \([0-9]*\)$/\1 \2 \3/p' "$name.log" | tail -n 1)
	case $result,$# in
	SKIP,*) say "0 0 1 $name" ;;
	PASS,0) say "1 0 0 $name" ;;
	*,0) say "0 1 0 $name" ;;
	PASS,3) say "$(($1 - $2 - $3)) $(($2 + $3)) $left $name" ;;
	*) say "$(($1 - $2 - $3)) $(($2 + $3 > 0 ? $2 + $3 : 1)) $left $name" ;; # leaks are found after the last case
	esac
}

# check_in DIR make-argument... : make check there, counted by Check cases; a test program that ends otherwise counts as one.
# With check_PROGRAMS=... these alone are run, and no more is built than they need.
check_in() {
	dir=$1 target=check
	shift
	case $* in *check_PROGRAMS=*) target=check-TESTS ;; esac
	find "$dir" \( -name '*.trs' -o -path '*/tests/*.log' \) -exec rm -f {} +
	# Many of them wait for most of their time, with patience: twice as many as processors.
	(cd "$dir" && make -j"$(jobs_here)" $target "$@" TESTS= && $under make -j"$((2 * $(jobs_here)))" check-TESTS "$@") > "$dir/check.log" 2>&1
	code=$?
	found=$(find "$dir" -name '*.trs' | sort | while read -r trs; do check_counts "$trs"; done)
	count $(say "$found" | awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }')
	say "$found" | while read -r p f s name; do
		[ -n "$p" ] || continue
		printf '%-50s %s passed, %s failed, %s skipped\n' "${name#"$dir"/}" "$p" "$f" "$s"
		[ "$f" = 0 ] || { grep -E ':[FE]:|ERROR: |SUMMARY: |runtime error' "$name.log" || tail -n 5 "$name.log"; } | head -n 20
	done
	if [ $code != 0 ] && ! say "$found" | awk '$2 > 0 { bad = 1 } END { exit !bad }'; then
		tail -n 30 "$dir/check.log"
		fail "make check in $dir (code $code)"
	fi
}

# Counts of a program that ends with "N passed, N failed, N skipped"; its output is shown as it comes.
run_counted() {
	log=$(mktemp)
	{ "$@" 2>&1; echo "exit code $?"; } | tee "$log" | grep --line-buffered -v -E '^exit code [0-9]+$|^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$'
	sums=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$log" | tail -n 1)
	code=$(sed -n 's/^exit code \([0-9]*\)$/\1/p' "$log" | tail -n 1)
	rm -f "$log"
	if [ -z "$sums" ]; then
		fail "$1 ended with code ${code:-?} before it counted"
		return
	fi
	count $sums
	case $sums in *' 0 '*) [ "$code" = 0 ] || fail "$1 ended with code ${code:-?}" ;; esac
}

# ---- the groups

group_structure() {
	run_counted $python tests/structure.py
}

postgresql_here() {
	if ! grep -q '^#define HAVE_POSTGRESQL 1' "$build/config.h"; then
		skip "this is built without libpq"
	elif [ ! -x /usr/lib/postgresql/15/bin/postgres ]; then
		skip "postgresql-15 is not installed"
	else
		return 0
	fi
	return 1
}

# unit_on_postgresql NAME... : on a cluster of their own
unit_on_postgresql() {
	if postgresql_here; then
		under="$python -B $top/tests/postgresql.py run --"
		ENROLL_TEST_LONG=$([ $long = 0 ] || echo 1) CK_TIMEOUT_MULTIPLIER=10 check_in "$build" TESTS="$(unit_tests "$@")"
		under=''
	fi
}

# Those that have a store.
tests_with_store() {
	grep -lE '"tests/unit/(store_fixture|test_store)\.h"' tests/unit/test_*.c | sed 's,.*/,,; s/\.c$//'
}

group_unit() {
	if ! build_in "$build"; then
		fail "the build"
	elif [ $store = postgresql ]; then
		unit_on_postgresql $(tests_with_store)
	else
		ENROLL_TEST_LONG=$([ $long = 0 ] || echo 1) CK_TIMEOUT_MULTIPLIER=10 check_in "$build"
	fi
}

group_ca() {
	log=$(mktemp)
	if $python -c 'import cryptography, dkim, aiosmtpd, dns' 2>/dev/null; then
		$python -B tests/ca/selftest.py > "$log" 2>&1
		code=$?
		ran=$(sed -n 's/^Ran \([0-9]*\) tests\{0,1\} in .*/\1/p' "$log")
		bad=$(tail -n 3 "$log" | grep -oE '(failures|errors)=[0-9]+' | cut -d= -f2 | awk '{ n += $1 } END { print n + 0 }')
		left=$(tail -n 3 "$log" | grep -oE 'skipped=[0-9]+' | cut -d= -f2)
		if [ $code != 0 ] && [ "$bad" = 0 ]; then bad=1; fi
		if [ $code != 0 ]; then cat "$log"; fi
		good=$((${ran:-0} - bad - ${left:-0}))
		count $((good > 0 ? good : 0)) "$bad" "${left:-0}"
	else
		skip "python3-cryptography, python3-dkim, python3-aiosmtpd or python3-dnspython is not installed"
	fi
	rm -f "$log"
}

# modules_of GROUP [option or module...] : the modules of tests/e2e that belong to it, or these
modules_of() {
	if build_in "$build"; then
		[ $# -gt 1 ] || set -- --store $store --group "$1"
		run_counted env ENROLL_BUILD="$build" $python -B tests/e2e/run.py --jobs "$(jobs_here)" "$@"
	else
		fail "the build"
	fi
}

group_e2e() {
	modules_of e2e
}

# long_modules_of GROUP : the same, told of --long; the environment is for itself, so the counts are its output
long_modules_of() (
	passed=0 failed=0 skipped=0
	[ $long = 0 ] || export ENROLL_TEST_LONG=1
	modules_of "$@" >&3
	say "$passed $failed $skipped"
)

group_acme() { long_modules_of acme; }
group_policy() { long_modules_of policy; }
group_lifecycle() { long_modules_of lifecycle; }
group_operate() (
	if [ $long = 1 ]; then
		make_root "$build-root" >&3
		ENROLL_ROOT="$build-root"
		export ENROLL_ROOT
	fi
	long_modules_of operate
)

group_scale() (
	passed=0 failed=0 skipped=0
	if ! build_in "$build" >&3; then
		fail "the build" >&3
	elif ! postgresql_here >&3; then
		:
	elif [ $long = 1 ]; then
		unit_on_postgresql $(tests_with_store) >&3
		for group in scale e2e acme lifecycle; do count $(long_modules_of --store postgresql --group $group); done
	else
		unit_on_postgresql $postgresql_tests >&3
		count $(long_modules_of --group scale $postgresql_modules)
	fi
	say "$passed $failed $skipped"
)

# Several of them at once: while the one waits, the other works.
group_together() (
	passed=0 failed=0 skipped=0 asked=''
	if ! build_in "$build" >&3; then
		fail "the build" >&3
	else
		for group in $together; do
			if [ $group = scale ]; then
				postgresql_here >&3 || continue
				unit_on_postgresql $postgresql_tests >&3
				asked="$asked $postgresql_modules"
			fi
			[ $group != sign ] || unpacked >&3
			asked="--group $group $asked"
		done
		[ -z "$asked" ] || modules_of --store $store $asked >&3
	fi
	say "$passed $failed $skipped"
)

unpacked() {
	unpack_packages "$build-unpacked"
	ENROLL_UNPACKED="$build-unpacked"
	export ENROLL_UNPACKED
}

group_sign() (
	unpacked >&3
	long_modules_of sign
)

# sanitized NAME SANITIZERS [program...] : all of make check, or these
sanitized() {
	name=$1 kind=$2 step=build_in
	shift 2
	say "-- $name"
	[ $# = 0 ] || step=configured_in
	mkdir -p "$build-$name"
	# Reports need lines, no variables; and what GCC warns of depends on -O: the other build is the one without warnings.
	if ! $step "$build-$name" --enable-sanitizers="$kind" --disable-werror CFLAGS='-O1 -g1' > "$build-$name/made.log" 2>&1; then
		tail -n 30 "$build-$name/made.log"
		fail "the build with $name sanitizers"
	elif [ $# = 0 ]; then
		check_in "$build-$name"
	else
		check_in "$build-$name" check_PROGRAMS="$*" TESTS="$*"
	fi
}

# unit_tests NAME... : their programs as make's TESTS
unit_tests() {
	for name; do printf 'tests/unit/%s ' "$name"; done
}

fuzzers() {
	(cd tests/fuzz && ls fuzz_*.c) | sed -n '/^fuzz_main\.c$/d; s,^\(.*\)\.c$,tests/fuzz/\1,p'
}

# libunbound, GLib and OpenLDAP are not instrumented: G_SLICE keeps GLib from reusing memory behind the sanitizer's back.
group_sanitizers() (
	export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
	export TSAN_OPTIONS="suppressions=$top/tests/tsan.supp:second_deadlock_stack=1" G_SLICE=always-malloc CK_TIMEOUT_MULTIPLIER=20
	passed=0 failed=0 skipped=0
	{
		if [ $long = 1 ]; then
			sanitized address address,undefined
			sanitized thread thread
			e2e_sanitized address
			e2e_sanitized thread
			under_valgrind
		else
			sanitized address address,undefined $(unit_tests $reading_tests) $(fuzzers)
			sanitized thread thread $(unit_tests $threaded_tests)
		fi
		built_by_clang
	} >&3
	say "$passed $failed $skipped"
)

# What runs under valgrind must not be built with a sanitizer.
under_valgrind() {
	say "-- valgrind"
	if ! command -v valgrind >/dev/null; then
		skip "valgrind is not installed"
	elif build_in "$build"; then
		check_in "$build" TESTS="$(unit_tests $(cd tests/unit && ls test_*.c | sed 's/\.c$//'))" \
			LOG_COMPILER=valgrind LOG_FLAGS="${valgrind#valgrind }"
		run_counted env ENROLL_TEST_WRAPPER="$valgrind" ENROLL_BUILD="$build" $python -B tests/e2e/run.py test_main_job
	else
		fail "the build"
	fi
}

built_by_clang() {
	say "-- clang"
	if ! command -v clang >/dev/null; then
		skip "clang is not installed"
	elif build_in "$build-clang" CC=clang; then
		count 1 0 0
	else
		fail "the build by clang"
	fi
}

e2e_sanitized() {
	say "-- end to end, $1"
	if [ -x "$build-$1/enrolld" ]; then
		run_counted env ENROLL_BUILD="$build-$1" $python -B tests/e2e/run.py $sanitized_modules
	else
		skip "the build with $1 sanitizers failed"
	fi
}

# ---- main

while [ $# -gt 0 ]; do
	argument=$1
	shift
	case $argument in
	--long) long=1 ;;
	--list) list ;;
	--force) ENROLL_FORCE=1 ;;
	--store)
		store=${1:-}
		case $store in sqlite | postgresql) shift ;; *) complain "tests/run.sh: --store sqlite or postgresql"; usage 2 >&2 ;; esac ;;
	--help | -h) usage 0 ;;
	structure | unit | ca | e2e | acme | policy | sign | lifecycle | operate | scale | sanitizers) groups="$groups $argument" ;;
	*) complain "tests/run.sh: no group or option '$argument'"; usage 2 >&2 ;;
	esac
done
[ $store = sqlite ] || : "${groups:=unit e2e acme lifecycle}"
: "${groups:=$all_groups}"

sections=''
case " $groups " in *' unit '* | *' e2e '* | *' acme '* | *' policy '* | *' sign '* | *' lifecycle '* | *' operate '* | *' scale '* | *' sanitizers '*) sections='build' ;; esac
case " $groups " in *' ca '* | *' e2e '* | *' acme '* | *' policy '* | *' sign '* | *' lifecycle '* | *' operate '* | *' scale '*) sections="$sections test" ;; esac
[ $store = sqlite ] || sections="$sections test"
case " $groups " in *' lifecycle '* | *' scale '*) sections="$sections lifecycle" ;; esac
case " $groups " in *' operate '*) sections="$sections operate" ;; esac
case "$long $groups " in 1*' sanitizers '* | 1*' sign '*) sections="$sections test long" ;; esac
if [ -n "$sections" ] && ! install_packages $sections; then
	# Somebody else than root may have enough for what can run: the build and the groups say what is missing.
	[ "$(id -u)" != 0 ] || exit 1
fi

# Groups of modules are run as one, in place of the first of them; not where it is long: each has an environment of its own then.
together=''
for group in $groups; do case " $e2e_groups " in *" $group "*) together="$together $group" ;; esac; done
case $long,$store,$together in
0,sqlite,' '*' '*)
	kept=''
	for group in $groups; do
		case " $e2e_groups ,$kept" in
		*" $group "*,*together*) ;;
		*" $group "*) kept="$kept together" ;;
		*) kept="$kept $group" ;;
		esac
	done
	groups=$kept ;;
esac

exec 3>&1
for group in $groups; do
	title=$group
	[ $group != together ] || title=${together# }
	say "== $title =="
	began=$(date +%s)
	case $group in
	acme | policy | sign | lifecycle | operate | scale | together | sanitizers) count $(group_$group) ;; # in a subshell: its environment is for itself
	*) group_$group ;;
	esac
	say "($title: $(($(date +%s) - began)) s)"
done
say "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
