#!/usr/bin/python3
"""Runs tests/e2e/test_*.py, each module on a stage of its own.

    run.py [-k pattern] [--list] [--repeat N] [--jobs N] [--group G | module ...]

Group acme is the modules test_acme_*, policy is test_policy_*, sign, lifecycle, operate and scale likewise, group e2e all others; without one: all.
One line a test; the last line is "N passed, N failed, N skipped".  A module may say
STAGE = {...}: options of stage.Stage; STAGE = None: it needs no stage;
TAKES = 60: about how many seconds it takes (a line "# module: N s" tells), so that of several at a time the longest begin first.
ENROLL_TEST_KEEP=folder keeps what failing modules left behind.
"""

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

import namespace  # noqa: E402

FINAL = '##'
OWN_GROUPS = ('acme', 'policy', 'sign', 'lifecycle', 'operate', 'scale')


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
        print('%-70s %s  %.1f s%s' % (test.id(), word, spent, more), flush=True)

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


def flat(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


def run_inside(name, patterns):
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
    print(FINAL + json.dumps(result.counts), flush=True)
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


def run_module(name, patterns, together):
    """Start one module in its namespace and pass on what it prints."""
    argv = [sys.executable, '-B', os.path.abspath(__file__), '--inside', name]
    for pattern in patterns:
        argv += ['-k', pattern]
    child = namespace.in_namespace(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL)
    counts = None
    try:
        for line in child.stdout:
            line = line.decode('utf-8', 'replace')
            if line.startswith(FINAL):
                counts = json.loads(line[len(FINAL):])
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
        counts = {'passed': 0, 'failed': 1, 'skipped': 0}
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('-k', action='append', default=[], metavar='PATTERN')
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--repeat', type=int, default=1)
    parser.add_argument('--jobs', type=int, default=1)
    parser.add_argument('--group', choices=['e2e', *OWN_GROUPS])
    parser.add_argument('--inside', help=argparse.SUPPRESS)
    parser.add_argument('modules', nargs='*')
    args = parser.parse_args()
    if args.inside:
        return run_inside(args.inside, args.k)
    names = [os.path.basename(m).removesuffix('.py') for m in args.modules] or modules(args.group)
    sums = {'passed': 0, 'failed': 0, 'skipped': 0}
    reason = None if args.list else namespace.why_not()
    work, seconds = [], {}
    for name in names:
        try:
            module, suite = load(name, args.k)
            tests, seconds[name] = list(flat(suite)), getattr(module, 'TAKES', 0)
        except Exception as trouble:
            print('%-70s FAILED (cannot be loaded: %r)' % (name, trouble))
            sums['failed'] += 1
            continue
        if args.list:
            for test in tests:
                print(test.id())
        elif reason:
            for test in tests:
                print('%-70s skipped  0.0 s, because %s' % (test.id(), reason))
            sums['skipped'] += len(tests)
        elif tests:
            work.append(name)
    if args.list:
        return 0
    work = work * args.repeat
    if args.jobs > 1:
        work.sort(key=lambda name: -seconds[name])
    lock, together = threading.Lock(), threading.Lock()

    def worker():
        while True:
            with lock:
                if not work:
                    return
                name = work.pop(0)
            began = time.monotonic()
            counts = run_module(name, args.k, together)
            with together:
                print('# %s: %.0f s' % (name, time.monotonic() - began), flush=True)
            with lock:
                for key, value in counts.items():
                    sums[key] += value

    threads = [threading.Thread(target=worker) for _n in range(max(1, args.jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print('%(passed)d passed, %(failed)d failed, %(skipped)d skipped' % sums)
    return 1 if sums['failed'] else 0


if __name__ == '__main__':
    sys.exit(main())
