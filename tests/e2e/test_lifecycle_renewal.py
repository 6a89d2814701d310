"""Renewal by the CA's window (RFC 9773), and certificates that are revoked while in use."""

import time

import mailtools
from enrolling import Enrolling, address
from mailtools import message, unique
from product import Product, require
from stage import Stage, StageCase
from test_revocation import PORT, Lists

STAGE = {'ca': True, 'users': 30, 'ca_config': {'http_url': 'http://127.0.0.1:%d' % PORT}}
TAKES, BUSY = 65, 5
BOX = 'box@outside.example'
LIFE = 1200         # its window is asked for after 10 to 15 seconds
WATCH = 2


def setUpModule():
    require()


class RenewalCase(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        cls.s = Stage.current
        if not hasattr(RenewalCase, 'p'):
            RenewalCase.lists = Lists()
            RenewalCase.p = Product(cls.s, certificate={'key-type': 'ec:p256'}, ca={'revocation-watch': WATCH}, **{'cap-per-day': 0})
            cls.p.start()
            RenewalCase.many = Enrolling(cls.s, cls.p)

    def behave(self, **switches):
        self.many.behave(**dict({'authz_valid': True, 'lifetime_seconds': LIFE, 'backdate_seconds': 0}, **switches))

    def active(self, n):
        users = [self.many.user() for _ in range(n)]
        for user in users:
            self.many.enroll(user)
        self.many.wait_state(users, 'active')
        return users

    def statuses(self, user):
        return [c['status'] for c in self.many.show(user)['certificates']]

    def chosen(self, users):
        """{user: the moment chosen for its renewal}, of those that have one."""
        rows = self.p.sql('SELECT e.address, r.renew_at FROM renewals r JOIN certificates c ON c.id = r.certificate_id'
                        ' JOIN enrollments e ON e.id = c.enrollment_id WHERE r.renew_at > 0')
        return {a.split('@')[0]: at for a, at in rows if a.split('@')[0] in users}

    def asked(self, user):
        """When the CA is to be asked for the window of each of the user's certificates: at first soon, then as the CA says."""
        rows = self.p.sql('SELECT COALESCE(r.ask_at, 0) FROM certificates c JOIN enrollments e ON e.id = c.enrollment_id LEFT JOIN renewals r'
                        ' ON r.certificate_id = c.id WHERE e.address = ? ORDER BY c.id', address(user))
        return [at for at, in rows]

    def signed(self, user):
        subject = unique()
        self.s.submit(user, address(user), [BOX], message(address(user), BOX, subject))
        return mailtools.is_signed(self.s.outside.wait_subject(subject).content)

    def texts(self, user, event):
        return [e['text'] for e in self.many.show(user)['events'] if e['event'] == event]


class Window(RenewalCase):
    def test_a_moment_of_the_window_is_chosen_once_and_kept(self):
        self.behave(renewal_window={'start': 400, 'end': 800})
        asked = time.time()
        users = self.active(8)
        self.until(lambda: len(self.chosen(users)) == len(users), 60, 'a moment is chosen for all')
        before = self.chosen(users)
        for at in before.values():
            self.assertTrue(asked + 390 < at < time.time() + 810, at - asked)
        self.assertGreater(len(set(before.values())), 4, 'spread over the window')
        self.p.restart('enrolld')
        time.sleep(2)
        self.assertEqual(self.chosen(users), before)

    def test_a_window_in_the_past_means_now_and_once(self):
        self.behave(renewal_window='now')
        user, = self.active(1)
        self.until(lambda: self.statuses(user) == ['superseded', 'active'], 60, 'replaced at once\n' + self.many.story(user))
        said, = self.texts(user, 'renewal_urged')
        self.assertIn('/terms', said, 'the explanation')
        first, second = self.many.ca_log('order_created', user)
        self.assertIsNone(first.get('replaces'))
        self.assertTrue(second['replaces'])
        self.assertTrue(self.signed(user))
        self.until(lambda: self.asked(user)[1] > time.time() + 3600, 60, 'the CA says the same of the new one')
        time.sleep(3)       # enrolld would begin at once
        self.assertEqual(self.statuses(user), ['superseded', 'active'], 'not in a loop')


class Revoked(RenewalCase):
    def revoke_at_ca(self, user):
        serial = self.many.ca_log('issued', user)[0]['serial']
        self.s.ca.admin('/revoke', {'serial': serial})

    def test_one_that_is_revoked_at_the_ca_signs_no_more_and_is_replaced(self):
        self.behave()
        user, other = self.active(2)
        old = set(self.s.ldap.certificates(user))
        self.assertTrue(self.signed(user))
        self.many.change(faults={'newOrder': {'status': 503, 'count': 1000}})
        self.revoke_at_ca(user)
        self.until(lambda: self.texts(user, 'found_revoked'), 30, 'it is found')
        self.assertFalse(self.signed(user), 'with the next mail')
        self.until(lambda: not old & set(self.s.ldap.certificates(user)), 30, 'the directory follows')
        self.behave()
        self.many.retry(user)
        self.until(lambda: self.statuses(user) == ['revoked', 'active'], 60, 'replaced\n' + self.many.story(user))
        self.assertTrue(self.signed(user))
        self.assertEqual(self.statuses(other), ['active'])
        self.assertEqual(len(self.many.ca_log('revoked')), len({r['serial'] for r in self.many.ca_log('revoked')}))
        self.assertIn('event=found_revoked', self.p.daemons['enrolld'].tail(400))

    def test_z_an_answer_that_cannot_be_had_changes_nothing_and_no_replacement_by_policy(self):
        self.p.configure(ca={'replace-revoked': False})
        self.p.restart('enrolld')
        self.behave()
        user, = self.active(1)
        self.lists.away = True
        self.revoke_at_ca(user)
        self.until(lambda: 'event=revocation_unknown' in self.p.daemons['enrolld'].tail(400), 30, 'it was tried')
        self.assertTrue(self.signed(user))
        self.lists.away = False
        self.until(lambda: self.many.state(user) in ('revoking', 'revoked'), 30, 'it is found')
        self.assertTrue(self.many.show(user)['enrollment']['disabled'])
        self.assertFalse(self.signed(user))
