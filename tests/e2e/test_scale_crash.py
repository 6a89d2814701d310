"""Daemons and the database are killed at random moments, some at the same one, while people enroll and write: on SQLite, and on PostgreSQL with fsync.

In the end everybody has one certificate, the CA has seen no order twice that nobody lost and no challenge answered twice, each mail that was taken has
arrived once, and the store is clean.  SQLite and a machine that loses power: tests/unit/test_store_powerloss.c.
"""

import collections
import os
import random
import time
import unittest

import mailtools
from crowd import BUSY_MS, DIRECTORY_MS, LONG, WAY_MS, CrowdCase
from enrolling import Enrolling
from product import USERS, require
from stage import Stage
from stage_gateways import Gateways, Lan
from stage_postgresql import postgresql

ROUNDS = int(os.environ.get('ENROLL_TEST_CRASHES', 200 if LONG else 12))
PEOPLE = 100 if LONG else 16
MAILS = 3                                   # of each
PACE = 0.7 if LONG else 0.25                 # seconds between two mails
STAGE = {'ca': True, 'users': 2 * PEOPLE, 'postgresql': False}
TAKES, BUSY = 45, 15
SLOW = {'hang_after': 0.2, 'count': -1}     # the CA acts at once and answers later


def setUpModule():
    require()


class Crashes:
    """One gateway; by what `parts` says, and with all of it again afterwards."""

    parts = tuple(USERS)

    @classmethod
    def begin_on(cls, letter, **store):
        cls.s = Stage.current
        if not hasattr(Crashes, 'lan'):
            Crashes.lan, Crashes.names = Lan(cls.s), Enrolling(cls.s, None)
        cls.prepare()
        cls.g = Gateways(cls.lan, letter, certificate={'key-type': 'ec:p256'}, store=dict(store, **{'busy-ms': BUSY_MS}),
                         directory={'deadline-ms': DIRECTORY_MS})
        cls.g.start()
        cls.lan.mx(letter)
        cls.many = Enrolling(cls.s, cls.g.each[0])
        cls.many.behave(faults={e: SLOW for e in ('newOrder', 'authz', 'challenge', 'certificate')}, challenge_mail_delay=0.2,
                        authz_lifetime=60)  # a reply that is in doubt is not sent twice: its order has to end

    @classmethod
    def prepare(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        bad = cls.g.end()
        for gateway in cls.g:
            gateway.postfix.stop()
        if bad:
            raise AssertionError(bad)

    def kill(self, part):
        self.lan.db1.kill9() if part == 'database' else self.g.each[0].kill9(part)

    def comes(self, part):
        self.lan.db1.start() if part == 'database' else self.g.each[0].start(part)

    def crash(self, choice):
        """One of them, or several at one moment; the database comes first again, then the others in any order."""
        gone = choice.sample(self.parts, choice.choice((1, 1, 1, 2, len(self.parts))))
        for part in gone:
            self.kill(part)
        time.sleep(choice.uniform(0, 0.5))
        for part in sorted(gone, key=lambda p: p != 'database'):
            self.comes(part)
        return gone

    def storm(self, going):
        seed = int(os.environ.get('ENROLL_TEST_SEED', time.time()))
        print('# ENROLL_TEST_SEED=%d' % seed, flush=True)
        choice, self.killed, busy = random.Random(seed), collections.Counter(), 0
        for _n in range(ROUNDS):
            time.sleep(choice.uniform(0, 0.8))
            self.killed.update(self.crash(choice))
            busy += going()
        return busy

    def may_be_lost(self, users):
        """The answer that was under way when enrolld died, or had nowhere to go."""
        return 10 + self.killed['enrolld'] + self.killed['database']

    def may_be_early(self):
        return 2 + self.killed['enrolld'] // 10

    def test_at_random_moments(self):
        users = [self.names.user() for _n in range(PEOPLE)]
        # Somebody new all the time, and those from a while ago.
        mails = [u for _turn, u in sorted((i + 4 * n, u) for i, u in enumerate(users) for n in range(MAILS))]
        with self.crowd(mails, 'crash', PACE) as threads:
            busy = self.storm(lambda: any(t.is_alive() for t in threads))
        self.everybody_enrolls(users)
        self.judge(users, BUSY_MS + WAY_MS + DIRECTORY_MS)
        self.arrived_once()
        print('# %d rounds, %d with mail under way: %s; %d mails taken, %d refused and sent again' % (
            ROUNDS, busy, ', '.join('%s %d' % item for item in sorted(self.killed.items())), len(self.taken), len(self.refused)), flush=True)
        self.assertGreater(busy, ROUNDS // 3, 'the moments are badly chosen')

    def arrived_once(self):
        copies = collections.Counter(v for m in self.s.outside.messages for v in mailtools.headers(m.content, 'Subject'))
        self.assertEqual({s.subject: copies[s.subject] for s in self.taken if copies[s.subject] != 1}, {})


class Sqlite(Crashes, CrowdCase):
    @classmethod
    def setUpClass(cls):
        cls.begin_on('a', type='sqlite', connection=None)


@unittest.skipIf(postgresql.why_not(), postgresql.why_not())
class Server(Crashes, CrowdCase):
    parts = tuple(USERS) + ('database',)

    @classmethod
    def prepare(cls):
        cls.lan.database(fsync=True)

    @classmethod
    def setUpClass(cls):
        cls.begin_on('b', type='postgresql')
