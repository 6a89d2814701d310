"""The primary database is killed under load and its synchronous replica takes its place: mail goes on, enrollment goes on by itself, nothing happens twice.

Mail is taken at once all the time, by memory and by policy; nobody is asked to come again.  The old primary comes back as a replica and nobody works on it.
"""

import os
import threading
import time

from crowd import BUSY_MS, LONG, WAY_MS, CrowdCase
from product import require
from stage_gateways import HBA
from stage_postgresql import postgresql

PEOPLE = int(os.environ.get('ENROLL_TEST_FAILOVER', 100 if LONG else 24))
SIGNERS = 6             # who has a certificate already
ROUNDS = 4 if LONG else 1
STAGE = {'ca': True, 'users': (PEOPLE + 1) * ROUNDS + SIGNERS, 'postgresql': False}
TAKES, BUSY = 35, 17
AWAY = 3                # seconds from the one's end to the other's beginning


def setUpModule():
    require()


class Failover(CrowdCase):
    @classmethod
    def setUpClass(cls):
        cls.begin('ab', ('db1', 'db2'))
        cls.primary, cls.standby = cls.lan.db1, cls.lan.db2

    def regulars(self, users):
        """Mail of those who have certificates, all the time; end by .set()."""
        over = threading.Event()

        def one(turn, user):
            while not over.wait(0.8):
                self.deliver(user, turn, 'regular')
                turn += 1
        threads = [threading.Thread(target=one, args=item) for item in enumerate(users)]
        for thread in threads:
            thread.start()
        return over, threads

    def fail_over(self):
        """The primary dies; a while later its replica is the primary."""
        self.primary.kill9()
        time.sleep(AWAY)
        self.standby.promote()
        self.standby.synchronous('')
        self.s.postgresql.cluster = self.standby        # for what the test itself looks up
        return time.monotonic()

    def who_works(self, cluster):
        """Who of the product is connected there."""
        return {r[0] for r in cluster.rows("SELECT usename FROM pg_stat_activity WHERE usename LIKE 'enroll_%' AND application_name LIKE 'enroll-milter%'")}

    def test_a_primary_dies_under_load(self):
        signers = self.active(SIGNERS)
        for turn in range(ROUNDS):
            with self.subTest(turn):
                self.round(signers)

    def round(self, signers):
        users = [self.many.user() for _n in range(PEOPLE)]
        over, threads = self.regulars(signers)
        with self.crowd(users, 'new', 0.3):
            time.sleep(2)
            promoted = self.fail_over()
        self.everybody_enrolls(users)
        print('# everybody is active %.1f s after the promotion' % (time.monotonic() - promoted), flush=True)
        self.old_one_comes_back()
        over.set()
        for thread in threads:
            thread.join()
        self.assertEqual(self.refused, [], 'all mail is taken at once')
        self.judge(users + signers, BUSY_MS + WAY_MS)
        print('# %d mails' % len(self.taken), flush=True)

    def old_one_comes_back(self):
        for attempt in range(5):
            try:
                self.primary.follow(self.standby)
                break
            except postgresql.Trouble:      # a resolver that has much to do
                if attempt == 4:
                    raise
        self.primary.hba(HBA)
        self.primary, self.standby = self.standby, self.primary
        self.primary.synchronous('*')
        self.assertTrue(self.standby.in_recovery())
        time.sleep(2)
        self.assertEqual(self.who_works(self.standby), set())
        self.assertEqual(self.who_works(self.primary), {'enroll_outbound', 'enroll_inbound', 'enroll_enrolld'})
        user = self.active(1)[0] if LONG else None
        self.standby.caught_up(self.primary)
        if user:
            self.assertTrue(self.signed(self.g.a, user))
