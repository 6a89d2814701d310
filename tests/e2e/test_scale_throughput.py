"""Enrollments a minute with 1, 2 and 4 enrolld on one database, and who needs the processor for them.

The CA takes LATENCY seconds for each answer, as real ones do, and each enrolld asks it over CONNECTIONS connections: one enrolld spends its time waiting.
A second one doubles what is done until the processor is busy; on two cores, with mail servers, DNS, directory, database and a CA in Python beside it, that
comes soon, and then the shares say whose work it is.  The figures are printed; judged is what does not depend on what else the machine does: nothing is
ordered twice, everybody does a part, and an enrollment costs enrolld and the database no more when there are four.
"""

import collections
import os
import sys
import time
import unittest

from enrolling import Enrolling, address
from product import Product, require
from stage import Stage, StageCase
from stage_postgresql import Session, postgresql

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'bench'))
import several                  # noqa: E402
from shares import Shares       # noqa: E402

LONG = bool(os.environ.get('ENROLL_TEST_LONG'))
NUMBER = 150 if LONG else 24        # with each number of enrolld
CROWDS = (1, 2, 4)
LATENCY, CONNECTIONS = 0.5, 2
STAGE = None if postgresql.why_not() else {'ca': True, 'users': NUMBER * len(CROWDS), 'postgresql': True, 'ca_config': {'smtp_tries': 1000}}
TAKES, BUSY = 80, 24


def setUpModule():
    require()
    if postgresql.why_not():
        raise unittest.SkipTest(postgresql.why_not())


class Run:
    """What came of one number of enrolld."""

    def __init__(self, crowd, seconds, shares, busy, transactions, told, parts):
        self.crowd, self.seconds, self.shares, self.busy, self.transactions, self.told, self.parts = crowd, seconds, shares, busy, transactions, told, parts
        self.rate = 60 * NUMBER / seconds

    def line(self, first):
        return '# %d enrolld: %.1f a minute (%.2f of one), %d %% of the processors busy, %.1f transactions and %.1f changes told each; CPU each: %s' % (
            self.crowd, self.rate, self.rate / first.rate, round(100 * self.busy), self.transactions, self.told, (self.shares / NUMBER).table())


def busy():
    """(seconds in which a processor worked, all seconds) of the machine, others' work included."""
    with open('/proc/stat') as file:
        ticks = [int(f) for f in file.readline().split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def steps(path):
    """Of an enrolld, by its log: changes of state."""
    with open(path) as file:
        return sum(' event=enrollment ' in line for line in file)


class Throughput(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        stage = Stage.current
        cls.p = Product(stage, mode='observe', certificate={'key-type': 'ec:p256'}, ca={'connections': CONNECTIONS, 'trigger-grace': 60},
                        departures={'interval': 0})
        cls.p.start()
        cls.many = Enrolling(stage, cls.p)
        cls.many.behave(faults={'*': {'count': -1, 'hang': LATENCY}}, poll_retry_after=1)
        cls.users = [cls.many.user() for _n in range(NUMBER * len(CROWDS))]
        cls.crowd = several.Crowd(cls.p)
        cls.runs = []
        for n, number in enumerate(CROWDS):
            cls.runs.append(cls.run_with(number, cls.users[n * NUMBER:(n + 1) * NUMBER]))
        print('\n'.join(r.line(cls.runs[0]) for r in cls.runs), flush=True)

    @classmethod
    def tearDownClass(cls):
        cls.crowd.stop()
        cls.p.stop()

    @classmethod
    def run_with(cls, number, users):
        """Requested while enrolld observes, they begin together."""
        cls.p.configure(mode='observe')
        cls.p.restart('enrolld')
        cls.many.enroll_all(users)
        cls.p.stop('enrolld')
        cls.p.configure(mode='sign')
        cls.crowd.start(number)
        listener = Session(Stage.current.postgresql.cluster)
        listener.say('LISTEN enroll_credentials;')
        before, began, work, done = Shares(), time.monotonic(), busy(), cls.transactions_now()
        cls.many.wait_state(users, 'active', seconds=900)
        seconds, shares = time.monotonic() - began, Shares() - before
        worked = [b - a for a, b in zip(work, busy())]
        transactions = (cls.transactions_now() - done) / NUMBER
        told = sum('enroll_credentials' in line for line in listener.say('SELECT 1;')) / NUMBER
        listener.close()
        parts = [steps(d.log) for d in cls.crowd.daemons]
        cls.crowd.stop()
        return Run(number, seconds, shares, worked[0] / worked[1], transactions, told, parts)

    @staticmethod
    def transactions_now():
        return int(Stage.current.postgresql.cluster.psql("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'enroll'"))

    # -- what is judged ----------------------------------------------------

    def test_nobody_is_ordered_for_twice(self):
        for event in ('order_created', 'finalized', 'issued'):
            done = collections.Counter(a for r in self.stage.ca.admin('/log?since=0&event=' + event) for a in r['addresses'])
            self.assertEqual(done, {address(u): 1 for u in self.users}, event)
        self.assertEqual(self.many.violations(), [])

    def test_everybody_does_a_part(self):
        for run in self.runs:
            with self.subTest(run.crowd):
                self.assertEqual(len(run.parts), run.crowd)
                self.assertGreater(min(run.parts), 0, run.parts)

    def test_gateways_are_told_of_the_certificate_alone(self):
        """Each has to look again for everybody then; that there is a row was told before."""
        for run in self.runs:
            self.assertTrue(0.5 <= run.told <= 2, run.told)

    def test_one_enrollment_costs_no_more_among_four(self):
        """CPU of who works for it.  The idle look of each enrolld is in it, so a slow machine sees some more."""
        one, four = self.runs[0].shares, self.runs[-1].shares
        for part in ('enrolld', 'PostgreSQL'):
            self.assertLess(four[part], 3 * one[part], part)

    def test_more_of_them_do_more(self):
        """Not slower, at least; how much faster says the printed line."""
        self.assertGreater(max(r.rate for r in self.runs[1:]), 0.9 * self.runs[0].rate)

