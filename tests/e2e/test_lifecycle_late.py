"""Renewal by age, and warnings when it is late.  A module of its own beside test_lifecycle_renewal, as both wait for most of their time."""

import time

from product import require
from test_lifecycle_renewal import STAGE, RenewalCase

__all__ = ['STAGE']
TAKES, BUSY = 80, 6


def setUpModule():
    require()


class Age(RenewalCase):
    def test_without_a_window_by_age(self):
        self.behave(renewal_info=False, lifetime_seconds=30)
        self.p.restart('enrolld')       # the CA's directory is kept for an hour
        self.addCleanup(self.p.restart, 'enrolld')
        user, = self.active(1)
        begun = time.time()
        self.behave(renewal_info=False)
        self.until(lambda: self.statuses(user) == ['superseded', 'active'], 60, 'renewed')
        self.assertTrue(17 < time.time() - begun < 28, time.time() - begun)
        self.assertEqual(self.texts(user, 'renewal_urged'), [])
        self.assertTrue(self.many.ca_log('order_created', user)[1])


class Late(RenewalCase):
    def test_a_late_renewal_is_told_louder_and_nobody_signs_with_an_expired_one(self):
        self.behave(renewal_window='now', lifetime_seconds=45)
        user, = self.active(1)
        self.assertTrue(self.signed(user))
        ends = time.time() + 45
        self.many.change(faults={'newOrder': {'status': 503, 'count': 1000}})
        self.addCleanup(self.behave)
        self.until(lambda: self.texts(user, 'renewal_late'), 60, 'it is told\n' + self.many.story(user))
        self.assertLess(time.time(), ends, 'before it ends')
        self.assertIn('the new one is not there', self.texts(user, 'renewal_late')[0])
        self.assertTrue(self.signed(user), 'the old one signs until it ends')
        self.until(lambda: any('has ended' in t for t in self.texts(user, 'renewal_late')), 60, 'and that it ended')
        self.assertFalse(self.signed(user))
        self.assertIn('event=renewal_late', self.p.daemons['enrolld'].tail(400))
        self.behave()
        self.many.retry(user)
        self.until(lambda: self.statuses(user) == ['superseded', 'active'], 60, 'the new one')
        self.assertTrue(self.signed(user))
