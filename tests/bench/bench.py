"""The benches: what is measured, against what, and the limits.  Started by run.sh; see its --help.

Every figure is taken together with its baseline, the two in turns, and is the median of the rounds; so is the ratio.
A line that is outside its limit is named on standard error, and the exit code is 1.

Against the milter that does nothing, 0.9 of its mails a second is what signing aims at.  On two cores with a queue on a disk the plainest
milter that signs (RSA-2048) stays at 0.81, and one that signs for nothing between 0.81 and 0.88: what is missing there is the private key
operation, and that Postfix then handles a body of twice the size.  The share that the product has in it is milter-unix-reference.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), 'e2e')]
sys.dont_write_bytecode = True

import gateway  # noqa: E402
import namespace  # noqa: E402
from gateway import DIR, MIB, Gateway  # noqa: E402

HIGHEST, LEAST = 'highest', 'least'

# line: (unit of work, figure, kind of limit, limit, what no busy machine misses, what it is)
LINES = {
    'sign-rsa2048-4k': ('sign', 'value', HIGHEST, 45, 450, 'signing 4 KiB above the raw signature, us; RSA-2048'),
    'sign-rsa2048-10m': ('sign', 'ratio', HIGHEST, 1.05, 2, 'signing 10 MiB against one pass of SHA-256 and the raw signature'),
    'sign-p256-4k': ('sign', 'value', HIGHEST, 45, 450, 'the same with P-256'),
    'sign-p256-10m': ('sign', 'ratio', HIGHEST, 1.05, 2, 'the same with P-256'),
    'milter-unix-reference': ('unix', 'ratio', LEAST, 0.97, 0.4, 'mails/s through Postfix against the plainest milter that signs; Unix socket'),
    'milter-unix-noop': ('unix', 'ratio', LEAST, 0.90, 0.3, 'against a milter that does nothing'),
    'milter-cpu': ('unix', 'value', HIGHEST, 150, 1500, 'CPU of the milter for a mail, us above the idle milter\'s and the raw signature'),
    'milter-tcp-reference': ('tcp', 'ratio', LEAST, 0, 0, 'as above; TCP socket'),
    'milter-tcp-noop': ('tcp', 'ratio', LEAST, 0.90, 0.3, 'against a milter that does nothing'),
    'milter-unix-client': ('not-ours', 'ratio', HIGHEST, 1, 3, 'CPU for a mail of a client that no rule names, against the idle milter\'s'),
    'milter-unix-from': ('not-ours', 'ratio', HIGHEST, 1, 3, 'CPU for a mail of a login in a name that it does not own, against the idle milter\'s'),
    'opendkim': ('opendkim', 'ratio', LEAST, 1, 0.3, 'mails/s through Postfix against OpenDKIM with RSA-2048'),
    'memory-20x10M': ('memory', 'value', HIGHEST, 16, 16, 'peak above idle, MiB, with 20 mails of 10 MiB at once; baseline: the body in memory'),
    'memory-4x100M': ('memory', 'value', HIGHEST, 16, 16, 'the same with 4 of 100 MiB'),
    'lookup-hot': ('lookup', 'ratio', HIGHEST, 1.05, 3, 'a look-up among 1,000 of 100,000 users against 100 users'),
    'lookup-miss': ('lookup', 'ratio', HIGHEST, 3, 30, 'a user\'s first look-up against one RSA-2048 signature'),
    'lookup-first': ('lookup', 'ratio', HIGHEST, 1.1, 5, 'a user\'s first look-up among 100,000 against one among 100'),
    'lookup-find': ('lookup', 'ratio', HIGHEST, 2.5, 10, 'the store\'s part of that'),
    'lookup-cached': ('lookup', 'value', HIGHEST, 32, 32, 'memory of a user in the cache, KiB; baseline: with 100 users'),
    'lookup-memory': ('lookup', 'value', HIGHEST, 32, 32, 'memory of the idle milter, MiB, with 100,000 users in the store; baseline: with 100'),
}


class Benches:
    def __init__(self, gate, wanted, quick):
        self.gate, self.wanted, self.quick = gate, wanted, quick
        self.missed, self.said = [], set()

    # -- lines -------------------------------------------------------------

    def line(self, name, value, unit, baseline, ratio):
        if name not in self.wanted:
            return
        _unit, figure, kind, limit, sane, what = LINES[name]
        limit = sane if self.quick else limit
        number = value if figure == 'value' else ratio
        print('bench=%s value=%.3f unit=%s baseline=%.3f ratio=%.3f' % (name, value, unit, baseline, ratio), flush=True)
        self.said.add(name)
        if number > limit if kind == HIGHEST else number < limit:
            self.missed.append(name)
            print('%s: %s %.3f, %s is %s (%s)' % (name, figure, number, kind, limit, what), file=sys.stderr, flush=True)

    def take(self, output):
        """Lines of a program that measures in process."""
        for text in output.splitlines():
            fields = dict(word.split('=', 1) for word in text.split())
            self.line(fields['bench'], float(fields['value']), fields['unit'], float(fields['baseline']), float(fields['ratio']))

    def run(self):
        units = {LINES[name][0]: None for name in LINES if name in self.wanted}
        for unit in units:
            getattr(self, unit.replace('-', '_'))()
        silent = set(self.wanted) - self.said
        if silent:
            raise RuntimeError('no figure for ' + ', '.join(sorted(silent)))

    def mode(self):
        return ('--quick',) if self.quick else ()

    # -- signing in process --------------------------------------------------

    def sign(self):
        for name in [n for n in self.wanted if n.startswith('sign-')]:
            self.take(self.gate.program('bench_sign', *self.mode(), *name.split('-')[1:]))

    # -- mails a second ------------------------------------------------------

    def rounds(self):
        return (5, 60) if self.quick else (9, 600)

    def throughput(self, listeners):
        """{listener: [(mails/s, CPU seconds of its milter a mail), ...]}, one for each round; each begins with another one."""
        rounds, mails = self.rounds()
        for listener in listeners:
            self.checked(listener, 2 * 8)
        found = {listener: [] for listener in listeners}
        for n in range(rounds):
            first = n % len(listeners)
            for listener in listeners[first:] + listeners[:first]:
                milter = gateway.LISTENERS[listener][1]
                cpu = self.gate.cpu(milter)
                seconds = self.gate.source(listener, mails)
                self.gate.drain()
                found[listener].append((mails / seconds, (self.gate.cpu(milter) - cpu) / mails))
        return found

    def checked(self, listener, mails):
        """For warming up, and whether what comes out is what is measured: signed by those who sign, else not larger than it came; and signed
        as it came, for re-encoding would be another mail."""
        mark, milter = self.gate.postfix.log_size(), self.gate.milters[gateway.LISTENERS[listener][1]]
        log = os.path.getsize(milter.log)
        self.gate.source(listener, mails)
        self.gate.drain()
        sizes, small = self.gate.sizes(mark, mails), os.path.getsize(self.gate.small)
        grown = [s for s in sizes if s > small + 3000]
        signs = listener.startswith('reference') or listener in ('product-unix', 'product-tcp')
        if len(sizes) != mails or len(grown) != (mails if signs else 0):
            raise RuntimeError('%s: %d of %d mails came through, %d larger than before\n%s' % (listener, len(sizes), mails, len(grown), milter.tail()))
        with open(milter.log) as file:
            file.seek(log)
            if 're-encoding' in file.read():
                raise RuntimeError('%s re-encodes\n%s' % (listener, milter.tail()))

    def compare(self, name, found, subject, baseline):
        ours, theirs = ([rate for rate, _cpu in found[l]] for l in (subject, baseline))
        self.line(name, statistics.median(ours), 'mails/s', statistics.median(theirs), statistics.median(a / b for a, b in zip(ours, theirs)))

    def unix(self):
        found = self.throughput(['product-unix', 'noop-unix', 'reference-unix'])
        self.compare('milter-unix-reference', found, 'product-unix', 'reference-unix')
        self.compare('milter-unix-noop', found, 'product-unix', 'noop-unix')
        raw = self.gate.program('bench_sign', '--quick', 'rsa2048', '4k')
        raw = float(dict(word.split('=', 1) for word in raw.split())['baseline'])
        ours, idle = ([1e6 * cpu for _rate, cpu in found[l]] for l in ('product-unix', 'noop-unix'))
        below = [i + raw for i in idle]
        self.line('milter-cpu', statistics.median(o - b for o, b in zip(ours, below)), 'us-above', statistics.median(below),
                  statistics.median(o / b for o, b in zip(ours, below)))

    def tcp(self):
        found = self.throughput(['product-tcp', 'noop-tcp', 'reference-tcp'])
        self.compare('milter-tcp-reference', found, 'product-tcp', 'reference-tcp')
        self.compare('milter-tcp-noop', found, 'product-tcp', 'noop-tcp')

    def opendkim(self):
        self.compare('opendkim', self.throughput(['product-unix', 'opendkim']), 'product-unix', 'opendkim')

    def load(self, listener, seconds):
        mails, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            (self.gate.log_in if gateway.LISTENERS[listener][3] else self.gate.source)(listener, 400)
            mails += 400
        print('%d mails in %d s' % (mails, seconds))

    # -- mail that is not ours -------------------------------------------------

    def not_ours(self):
        if 'milter-unix-client' in self.wanted:
            found = self.throughput(['product-stranger', 'noop-unix'])
            self.compare_cpu('milter-unix-client', [c for _r, c in found['product-stranger']], [c for _r, c in found['noop-unix']])
        if 'milter-unix-from' in self.wanted:
            self.foreign_from()

    def foreign_from(self):
        rounds, mails = (5, 40) if self.quick else (9, 400)
        found = {'product-login': [], 'noop-login': []}
        for n in range(rounds + 1):
            for listener in sorted(found, reverse=n % 2 == 0):
                milter = gateway.LISTENERS[listener][1]
                cpu = self.gate.cpu(milter)
                self.gate.log_in(listener, mails)
                found[listener].append((self.gate.cpu(milter) - cpu) / mails)
                self.gate.drain()
        self.compare_cpu('milter-unix-from', found['product-login'][1:], found['noop-login'][1:])

    def compare_cpu(self, name, ours, idle):
        self.line(name, 1e6 * statistics.median(ours), 'us', 1e6 * statistics.median(idle), statistics.median(a / b for a, b in zip(ours, idle)))

    # -- memory ------------------------------------------------------------------

    def memory(self):
        for name, mails, octets in (('memory-20x10M', 20, 10 * MIB), ('memory-4x100M', 4, 100 * MIB)):
            if name not in self.wanted:
                continue
            ours, theirs = (self.peak(l, mails, octets) for l in ('product-unix', 'reference-unix'))
            self.line(name, ours, 'MiB', theirs, ours / theirs)

    def peak(self, listener, mails, octets):
        """Median of the peaks above idle, each after a start and one small mail; more rounds would tell nothing new of memory."""
        milter, found = gateway.LISTENERS[listener][1], []
        for _n in range(1 if self.quick or listener != 'product-unix' else 5):
            self.gate.restart(milter)
            self.checked(listener, 1)
            self.gate.forget_peak(milter)
            idle, mark = self.gate.memory(milter, 'VmRSS'), self.gate.postfix.log_size()
            self.gate.large(listener, mails, octets)
            found.append((self.gate.memory(milter, 'VmHWM') - idle) / MIB)
            self.gate.drain()
            sizes = self.gate.sizes(mark, mails)
            if len(sizes) != mails or min(sizes) < octets:
                raise RuntimeError('%s: %r came through of %d mails of %d octets' % (listener, sizes, mails, octets))
        return statistics.median(found)

    # -- many users -----------------------------------------------------------

    def lookup(self):
        users = 10000 if self.quick else 100000
        few = self.gate.idle_memory('few', 100)
        many = self.gate.idle_memory('many', users)
        self.line('lookup-memory', many / MIB, 'MiB', few / MIB, many / few)
        self.take(self.gate.program('bench_lookup', *self.mode(), self.gate.config_path('few'), self.gate.config_path('many'), str(users), user='enroll-out'))


# ---- starting -----------------------------------------------------------------------------------------------------------

def chosen(names, parser):
    """Lines by name or by the beginning of it."""
    found = []
    for name in names:
        some = [n for n in LINES if n == name or n.startswith(name.rstrip('-*') + '-')]
        if not some:
            parser.error('no bench %s; see --list' % name)
        found += some
    return [n for n in LINES if n in found] if names else list(LINES)


def arguments():
    parser = argparse.ArgumentParser(
        prog='tests/bench/run.sh', epilog='$ENROLL_BUILD names the build folder (default: build).  The exit code is 1 when a limit is missed.',
        description='Measures the product against baselines of the same run, one line a figure: bench=NAME value= unit= baseline= ratio=.')
    parser.add_argument('--quick', action='store_true', help='fewer rounds, and only limits that a busy machine does not miss')
    parser.add_argument('--list', action='store_true', help='the benches and their limits')
    parser.add_argument('--load', metavar='LISTENER', choices=sorted(gateway.LISTENERS),
                        help='nothing but mails through one listener for half a minute, for a profiler: ' + ', '.join(sorted(gateway.LISTENERS)))
    parser.add_argument('--inside', help=argparse.SUPPRESS)
    parser.add_argument('names', nargs='*', metavar='NAME', help='a bench, or the beginning of several such as sign or milter-unix')
    options = parser.parse_args()
    options.wanted = chosen(options.names, parser)
    return options


def show_list():
    for name, (_unit, figure, kind, limit, _sane, what) in LINES.items():
        print('%-24s %-34s %s' % (name, '%s %s %s' % (figure, kind, limit) if limit else 'no limit', what))


def inside(options):
    gate = Gateway(os.environ['ENROLL_BUILD'], options.inside)
    gate.start()
    benches = Benches(gate, options.wanted, options.quick)
    if options.load:
        benches.load(options.load, 30)
    else:
        benches.run()
    gate.stop()
    return 1 if benches.missed else 0


def outside():
    """Once more in a namespace of its own, with a folder on a disk for queue and spool."""
    reason = namespace.why_not()
    if reason:
        sys.exit('the benches cannot run here: ' + reason)
    folder = tempfile.mkdtemp(prefix='enroll-bench-', dir=gateway.disk_folder())
    try:
        os.chmod(folder, 0o755)
        child = namespace.in_namespace([sys.executable, '-B', os.path.abspath(__file__), '--inside', folder, *sys.argv[1:]])
        try:
            return child.wait()
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    options = arguments()
    if options.list:
        show_list()
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return inside(options) if options.inside else outside()


if __name__ == '__main__':
    sys.exit(main())
