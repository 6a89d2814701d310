#!/usr/bin/python3
"""Runs tests/e2e/test_*.py, each module on a stage of its own.

    run.py [-k pattern] [--list] [--repeat N] [--jobs N] [--store postgresql] [--group G ...] [module[@postgresql] ...]

Group acme is the modules test_acme_*, policy is test_policy_*, sign, lifecycle, operate and scale likewise, group e2e all others; without one: all.
--store (or $ENROLL_TEST_STORE): where the product's store is in every module; with --group scale it is in PostgreSQL for these.
One line a test; the last line is "N passed, N failed, N skipped".  A module may say
STAGE = {...}: options of stage.Stage; STAGE = None: it needs no stage;
SQLITE = "why": it is about SQLite's file, and left out on another store;
TAKES = 60: about how many seconds it takes, so that of several at a time the longest begin first;
BUSY = 20: how many of them a processor has to do with it (a line "# module: N s, of them N s of work" tells both).  A module that
waits most of its time is run beside others, as many as N jobs have room for; without BUSY it counts as one that never waits.
The more modules one run has, the less a processor stands idle: groups are best named together.
ENROLL_TEST_KEEP=folder keeps what failing modules left behind.
"""

import argparse
import fnmatch
import json
import os
import secrets
import subprocess
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

import namespace  # noqa: E402
import stage_postgresql  # noqa: E402

FINAL = '## '    # and a word of this run: the line with the counts, which no test can print by accident
OWN_GROUPS = ('acme', 'policy', 'sign', 'lifecycle', 'operate', 'scale')
ON_POSTGRESQL = 'scale'     # the group that is about it


class Lines(unittest.TestResult):
    """One line a test, as it ends."""

    def __init__(self, stage):
        super().__init__()
        self.stage = stage
        self.counts = {'passed': 0, 'failed': 0, 'skipped': 0}
        self._marks = {}
        self._seen = {}
        self._said = None

    def startTest(self, test):
        super().startTest(test)
        self._began = time.monotonic()
        self._said = None
        self._marks = self.stage.log_marks() if self.stage else {}

    def _say(self, test, word, more=''):
        spent = time.monotonic() - getattr(self, '_began', time.monotonic())
        print('%-70s %s  %.1f s%s%s' % (test.id(), word, spent, where(os.environ['ENROLL_TEST_STORE']), more), flush=True)

    def _reports(self):
        """What sanitizers wrote since this was asked last, class set-up and tear-down included."""
        product, marks = self.stage and self.stage.product, self._seen
        if not product:
            return ''
        self._seen = self.stage.log_marks()
        return product.reports(marks)

    def addSuccess(self, test):
        reports = self._reports()
        if reports:
            self._fail(test, 'a sanitizer or the sandbox reports:\n' + reports)
        if self._said is None:
            self.counts['passed'] += 1
            self._say(test, 'ok')

    def addSkip(self, test, reason):
        self.counts['skipped'] += 1
        self._say(test, 'skipped', ', because ' + reason)

    def _bad(self, test, error):
        self._fail(test, self._exc_info_to_string(error, test))

    def end(self, name):
        """The daemons of the last product have to end well, too."""
        bad = self.stage.product.end() if self.stage and self.stage.product else ''
        bad = '\n'.join(filter(None, (bad, self._reports())))
        if bad:
            self.counts['failed'] += 1
            print('%-70s FAILED\n%s' % (name + ': the daemons at their end', bad), flush=True)

    def _fail(self, test, text):
        if self._said is None:
            self.counts['failed'] += 1
        self._said = 'failed'
        self._say(test, 'FAILED')
        print(text)
        if self.stage:
            print(self.stage.logs_since(self._marks, 25), flush=True)

    def addError(self, test, error):
        super().addError(test, error)
        self._bad(test, error)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self._bad(test, error)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self._bad(subtest, error)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.counts['failed'] += 1
        self._say(test, 'FAILED', ' (was expected to fail)')

    def addExpectedFailure(self, test, error):
        super().addExpectedFailure(test, error)
        self.addSkip(test, 'it is expected to fail')


def modules(group=None):
    names = sorted(n[:-3] for n in os.listdir(HERE)
                   if n.startswith('test_') and n.endswith('.py'))
    return [n for n in names if group in (None, next((g for g in OWN_GROUPS if n.startswith('test_%s_' % g)), 'e2e'))]


def load(name, patterns):
    loader = unittest.TestLoader()
    if patterns:
        loader.testNamePatterns = [p if '*' in p else '*%s*' % p for p in patterns]
    module = __import__(name)
    return module, loader.loadTestsFromModule(module)


def left_out(module, store):
    """Why the module says nothing of that store; None: it does."""
    return 'it is about SQLite: ' + module.SQLITE if store != 'sqlite' and hasattr(module, 'SQLITE') else None


def flat(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


def run_inside(name, patterns, mark):
    """In the module's own namespace."""
    module, suite = load(name, patterns)
    options = getattr(module, 'STAGE', {})
    stage = None
    if options is not None:
        import stage as stages
        stage = stages.Stage(**options)
        try:
            stage.start()
        except BaseException:
            keep(name)
            raise
        print('# %s: stage up in %.1f s' % (name, stage.startup), flush=True)
        if os.environ.get('ENROLL_TEST_TIMES'):
            print('# ' + ', '.join('%s %.2f' % i for i in stage.seconds.items()), flush=True)
    result = Lines(stage)
    suite.run(result)
    result.end(name)
    if result.counts['failed']:
        keep(name)
    print(FINAL + mark + json.dumps(dict(result.counts, work=work_done())), flush=True)
    sys.stdout.flush()
    os._exit(1 if result.counts['failed'] else 0)


def keep(name):
    folder = os.environ.get('ENROLL_TEST_KEEP')
    if not folder or not os.path.isdir(namespace.BASE):
        return
    target = os.path.join(folder, '%s.%d' % (name, int(time.time())))
    os.makedirs(target, exist_ok=True)
    subprocess.run(['tar', '-C', namespace.BASE, '--exclude=./dev', '-cf',
                    target + '/stage.tar', '.'], capture_output=True)
    subprocess.run(['cp', '-r', namespace.BASE + '/log', target], capture_output=True)
    print('# kept: ' + target, flush=True)


def work_done():
    """Seconds of processor of everything that ran in this namespace, whose first process takes in what others leave behind."""
    ticks = 0
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open('/proc/%s/stat' % pid, encoding='utf-8', errors='replace') as file:
                ticks += sum(int(n) for n in file.read().rpartition(')')[2].split()[11:15])
        except OSError:
            pass
    return ticks / os.sysconf('SC_CLK_TCK')


class Module:
    """What is to be run: where its store is, seconds that it takes, and which part of these a processor is busy with it."""

    def __init__(self, name, store, takes, works):
        self.name, self.store, self.takes = name, store, takes
        self.share = min(1, works / takes) if works is not None and takes else 1


class Room:
    """What is to be run, and how much of that has room beside what runs: work for as many processors as there are jobs."""

    MOST = 3        # modules at a time for each job

    def __init__(self, modules, jobs):
        self.jobs = jobs
        self.waiting = sorted(modules, key=lambda m: -m.takes) if jobs > 1 else list(modules)
        self.running = []
        self.changed = threading.Condition()

    def fits(self, module):
        if self.jobs == 1 or not self.running:
            return not self.running
        return len(self.running) < self.MOST * self.jobs and sum(m.share for m in self.running) + module.share <= self.jobs

    def choice(self):
        """The longest that has room.  Half of the processors are for those that work, and the others' waits lie beside these: either kind
        alone in the end would leave processors idle."""
        there = list(filter(self.fits, self.waiting))
        working = sum(m.share > 0.5 for m in self.running) >= self.jobs / 2
        return next((m for m in there if self.jobs > 1 and (m.share > 0.5) != working), next(iter(there), None))

    def take(self):
        """The next one, as soon as it has room; None: there is nothing left."""
        with self.changed:
            while self.waiting:
                module = self.choice()
                if module:
                    self.waiting.remove(module)
                    self.running.append(module)
                    return module
                self.changed.wait()
            self.changed.notify_all()
            return None

    def give(self, module):
        with self.changed:
            self.running.remove(module)
            self.changed.notify_all()


def where(store):
    return '' if store == 'sqlite' else ' on ' + store


def run_module(name, store, patterns, together):
    """Start one module in its namespace and pass on what it prints."""
    argv = [sys.executable, '-B', os.path.abspath(__file__), '--store', store, '--inside', name]
    for pattern in patterns:
        argv += ['-k', pattern]
    mark = secrets.token_hex(8)
    child = namespace.in_namespace(argv + ['--mark', mark], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL)
    counts = None
    try:
        for line in child.stdout:
            line = line.decode('utf-8', 'replace')
            if line.startswith(FINAL + mark):
                counts = json.loads(line[len(FINAL + mark):])
            else:
                with together:
                    sys.stdout.write(line)
                    sys.stdout.flush()
        child.wait()
    finally:
        if child.poll() is None:
            child.kill()
    if counts is None:
        with together:
            print('%-70s FAILED (ended before its tests did, code %s)'
                  % (name, child.returncode), flush=True)
        counts = {'passed': 0, 'failed': 1, 'skipped': 0, 'work': 0}
    return counts


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('-k', action='append', default=[], metavar='PATTERN')
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--repeat', type=int, default=1)
    parser.add_argument('--jobs', type=int, default=1)
    parser.add_argument('--group', choices=['e2e', *OWN_GROUPS], action='append', default=[])
    parser.add_argument('--store', choices=['sqlite', 'postgresql'], default=os.environ.get('ENROLL_TEST_STORE') or 'sqlite')
    parser.add_argument('--inside', help=argparse.SUPPRESS)
    parser.add_argument('--mark', default='', help=argparse.SUPPRESS)
    parser.add_argument('modules', nargs='*')
    return parser.parse_args()


def named(args):
    """(module, store) of each that was asked for."""
    for group in args.group or ([] if args.modules else [None]):
        for name in modules(group):
            yield name, 'postgresql' if group == ON_POSTGRESQL else args.store
    for word in args.modules:
        name, _at, store = os.path.basename(word).partition('@')
        yield name.removesuffix('.py'), store or args.store


def why_not(store):
    return namespace.why_not() or (store == 'postgresql' and stage_postgresql.postgresql.why_not())


def prepared(args, sums):
    """The modules that can be run; the others are told of and counted."""
    for name, store in named(args):
        try:
            module, suite = load(name, args.k)
            tests = list(flat(suite))
        except Exception as trouble:
            print('%-70s FAILED (cannot be loaded: %r)' % (name, trouble))
            sums['failed'] += 1
            continue
        reason = None if args.list else why_not(store) or left_out(module, store)
        if args.list:
            for test in tests:
                print(test.id())
        elif reason:
            for test in tests:
                print('%-70s skipped  0.0 s%s, because %s' % (test.id(), where(store), reason))
            sums['skipped'] += len(tests)
        elif tests:
            yield Module(name, store, getattr(module, 'TAKES', 0), getattr(module, 'BUSY', None))


def main():
    args = arguments()
    if args.inside:
        os.environ['ENROLL_TEST_STORE'] = args.store
        return run_inside(args.inside, args.k, args.mark)
    sums = {'passed': 0, 'failed': 0, 'skipped': 0}
    room = Room(list(prepared(args, sums)) * args.repeat, max(1, args.jobs))
    if args.list:
        return 0
    lock, together = threading.Lock(), threading.Lock()

    def worker():
        while module := room.take():
            began, counts = time.monotonic(), {'passed': 0, 'failed': 1, 'skipped': 0, 'work': 0}
            try:
                counts = run_module(module.name, module.store, args.k, together)
            except Exception as trouble:
                print('%-70s FAILED (could not be run: %r)' % (module.name, trouble), flush=True)
            finally:
                room.give(module)
            with together:
                print('# %s: %.0f s%s, of them %.0f s of work' % (module.name, time.monotonic() - began, where(module.store), counts['work']), flush=True)
            with lock:
                for key in sums:
                    sums[key] += counts[key]

    threads = [threading.Thread(target=worker) for _n in range(room.jobs * Room.MOST)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print('%(passed)d passed, %(failed)d failed, %(skipped)d skipped' % sums)
    return 1 if sums['failed'] else 0


if __name__ == '__main__':
    sys.exit(main())
