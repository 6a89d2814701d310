"""The benches in their short form: every figure is there and in order, with limits that a busy machine keeps; memory with its real one."""

import math
import os
import re
import subprocess
import time
import unittest

from namespace import environment
from product import build_directory, require

STAGE = None
TAKES = 75
RUN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'bench', 'run.sh')
LINE = re.compile(r'bench=(\S+) value=(-?\d+\.\d+) unit=(\S+) baseline=(\d+\.\d+) ratio=(-?\d+\.\d+)')


def setUpModule():
    require()


def bench(*args):
    return subprocess.run([RUN, *args], capture_output=True, text=True, env=environment(ENROLL_BUILD=build_directory()))


class Benches(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        began = time.monotonic()
        cls.done = bench('--quick')
        print('# the benches took %.0f s\n%s' % (time.monotonic() - began, cls.done.stdout), flush=True)
        cls.lines = cls.done.stdout.splitlines()
        cls.found = {m.group(1): m for m in map(LINE.fullmatch, cls.lines) if m}

    def figure(self, name):
        value, baseline, ratio = (float(self.found[name].group(n)) for n in (2, 4, 5))
        return value, baseline, ratio

    def test_all_within_what_a_busy_machine_keeps(self):
        self.assertEqual(self.done.returncode, 0, self.done.stderr)
        self.assertEqual(self.done.stderr, '')

    def test_each_line_has_its_form(self):
        self.assertEqual([line for line in self.lines if not LINE.fullmatch(line)], [])
        self.assertEqual(len(self.found), len(self.lines), 'no line twice')

    def test_every_bench_of_the_list_is_there(self):
        listed = [line.split()[0] for line in bench('--list').stdout.splitlines()]
        self.assertGreater(len(listed), 10)
        self.assertEqual(sorted(listed), sorted(self.found))

    def test_figures_fit_together(self):
        """A ratio of mails a second is that of its figures, within what medians of rounds may differ."""
        for name in self.found:
            value, baseline, ratio = self.figure(name)
            self.assertGreater(baseline, 0, name)
            self.assertTrue(math.isfinite(ratio), name)
            if self.found[name].group(3) == 'mails/s':
                self.assertGreater(value, 1, name)
                self.assertTrue(0.2 < value / baseline / ratio < 5, name)

    def test_signing_is_dearer_than_the_raw_signature(self):
        """Or something else is measured than a whole signature."""
        for name in ('sign-rsa2048-4k', 'sign-p256-4k'):
            self.assertGreater(self.figure(name)[0], 0, name)

    def test_large_mail_does_not_stay_in_memory(self):
        """The baseline keeps it all: it must show, or nothing large went through."""
        for name, octets in (('memory-20x10M', 20 * 10), ('memory-4x100M', 4 * 100)):
            value, baseline, _ratio = self.figure(name)
            self.assertLessEqual(value, 16, name)
            self.assertGreater(baseline, octets, name)

    def test_many_users_are_not_held_in_memory(self):
        self.assertLessEqual(self.figure('lookup-memory')[0], 32)

    def test_unknown_bench_is_refused(self):
        done = bench('--list', 'nonsense')
        self.assertEqual(done.returncode, 2)
        self.assertIn('no bench nonsense', done.stderr)


if __name__ == '__main__':
    unittest.main()
