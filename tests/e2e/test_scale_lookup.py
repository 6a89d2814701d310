"""Many users with certificates, a hot set of 1,000: what the outbound instance needs to begin, in memory, and for a look-up, against a store of 100 users
in the same run.

20,000 of them; with ENROLL_TEST_LONG 100,000.  Figures are CPU time, so that a busy machine changes them less; what is judged are ratios.
"""

import os
import sys
import tempfile
import unittest

import namespace
from product import build_directory, require
from stage_postgresql import postgresql

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'bench'))
import gateway  # noqa: E402
import stores   # noqa: E402

STAGE = None
TAKES = 70
LONG = bool(os.environ.get('ENROLL_TEST_LONG'))
USERS = 100000 if LONG else 20000
HOT, CACHE = 1.05, 0.5      # and microseconds: a thousand users are not in the processor's cache as a hundred are (a signature takes 250 and more)


def setUpModule():
    require()
    missing = [p for p in ('bench_store', 'bench_lookup', 'bench_questions') if not os.access('%s/tests/bench/%s' % (build_directory(), p), os.X_OK)]
    if missing:
        namespace.run('make', '-C', build_directory(), '-s', 'bench-programs')
    namespace.prepare()


class Many:
    """A mixin: one engine."""

    engine = None

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix='enroll-bench-', dir=gateway.disk_folder())
        cls.addClassCleanup(cls.folder.cleanup)
        os.chmod(cls.folder.name, 0o755)
        cls.stores = stores.Stores(build_directory(), cls.folder.name, cls.engine)
        cls.stores.start()
        cls.addClassCleanup(cls.stores.stop)
        cls.stores.make('few', stores.FEW)
        cls.filled = cls.stores.make('many', USERS)
        lines = [*stores.starts(cls.stores), *stores.lookups(cls.stores, USERS, not LONG), *stores.questions(cls.stores)]
        print('# %s, %d users, filled in %.0f s, %d octets for a user\n# %s' % (
            cls.engine, USERS, cls.filled, cls.stores.octets('many') / USERS, '\n# '.join(lines)), flush=True)
        cls.figures = stores.figures(lines)

    def at_most(self, name, ratio, slack=0):
        value, baseline, _ratio = self.figures[name]
        self.assertLessEqual(value, baseline * ratio + slack, name)

    def test_it_begins_as_soon(self):
        self.at_most('start-cpu', 1.25, 5)

    def test_it_needs_no_more_memory(self):
        self.at_most('start-memory', 1.05)
        self.at_most('lookup-cached', 1.25)

    def test_a_hot_user_costs_no_more(self):
        self.at_most('lookup-hot', HOT, CACHE)

    def test_a_first_mail_costs_hardly_more(self):
        """The deeper index shows in the store's part, which is a small one."""
        self.assertLessEqual(self.figures['lookup-first'][2], 1.25)
        self.assertLessEqual(self.figures['lookup-find'][2], 2)

    def test_what_enrolld_asks_all_the_time_does_not_grow(self):
        for name in ('claim', 'next-due', 'budget', 'find', 'expiring'):
            self.at_most(name, 3, 8)

    def test_a_scrape_stays_short(self):
        """It counts: linear, but by indexes alone."""
        self.assertLess(self.figures['figures'][0], USERS / 100)


class File(Many, unittest.TestCase):
    engine = 'sqlite'


@unittest.skipIf(postgresql.why_not(), postgresql.why_not())
class Server(Many, unittest.TestCase):
    engine = 'postgresql'
