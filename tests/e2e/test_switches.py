"""Modes, pilot, cap, pause, disable: what an admin turns, and how fast it holds."""

import time

import mailtools
from mailtools import message, unique
from product import Product, require
from stage import Stage, StageCase

STAGE = {'ca': True, 'users': 12}
TAKES, BUSY = 25, 11
BOX = 'box@outside.example'
PEOPLE = ['user%05d' % n for n in range(STAGE['users'])]


def setUpModule():
    require()


class Switches(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        Stage.current.ca.admin('/behaviour', {'authz_valid': True})
        cls.p = Product(Stage.current)
        cls.p.start()

    def mail(self, user):
        subject = unique()
        self.stage.submit(user, user + '@corp.example', [BOX], message(user + '@corp.example', BOX, subject))
        return self.stage.outside.wait_subject(subject).content

    def signed(self, user):
        return mailtools.is_signed(self.mail(user))

    def enroll(self, user):
        self.p.ctl('enroll', user + '@corp.example')
        self.p.wait_state(user + '@corp.example', 'active')

    def configure(self, **changes):
        self.p.configure(**changes)
        self.p.restart()

    def issued(self):
        return len(self.stage.ca.admin('/state')['certificates'])

    def test_pause_stops_signing_and_ordering_within_two_seconds(self):
        self.enroll('alice')
        self.assertTrue(self.signed('alice'))
        self.p.ctl('pause', '--reason', 'trying it')
        self.addCleanup(self.p.ctl, 'resume')
        time.sleep(2)   # the promise
        self.assertFalse(self.signed('alice'))
        self.p.ctl('enroll', 'bob@corp.example')
        shown = self.p.wait_state('bob@corp.example', 'waiting')
        self.assertIn('pause', shown['enrollment']['why'])
        self.assertIn('trying it', self.p.ctl('status'))
        self.p.ctl('resume')
        time.sleep(2)
        self.assertTrue(self.signed('alice'))
        self.assertNotIn('bob@corp.example', str(self.stage.ca.admin('/state')['certificates']))
        self.p.ctl('retry', 'bob@corp.example')
        self.p.wait_state('bob@corp.example', 'active')

    def test_disable_stops_signing_at_once(self):
        self.enroll('carol')
        self.assertTrue(self.signed('carol'))
        self.p.ctl('disable', 'carol@corp.example', '--yes', '--reason', 'left')
        self.assertFalse(self.signed('carol'))
        self.assertEqual(self.p.log(event='mail_done', **{'from': 'carol@corp.example'})[-1]['reason'], 'disabled')
        self.p.ctl('enable', 'carol@corp.example')
        self.assertTrue(self.signed('carol'))

    def test_cap_per_day_holds(self):
        already = self.p.json('status')['orders_in_24h']
        self.configure(cap_per_day=already + 2)
        people = PEOPLE[:5]
        try:
            for user in people:
                self.p.ctl('enroll', user + '@corp.example')
            for user in people:
                self.p.wait_state(user + '@corp.example', ('active', 'waiting'))
            states = [self.p.show(u + '@corp.example')['enrollment'] for u in people]
            self.assertEqual(sorted(s['state'] for s in states), ['active'] * 2 + ['waiting'] * 3)
            self.assertTrue(all('cap-per-day' in s['why'] for s in states if s['state'] == 'waiting'))
            self.assertEqual(self.p.json('status')['orders_in_24h'], already + 2)
        finally:
            self.configure(cap_per_day=0)
        for user in people:     # or they would turn up in another test's counts
            self.p.ctl('retry', user + '@corp.example')
            self.p.wait_state(user + '@corp.example', 'active')

    def test_pilot_holds(self):
        self.configure(pilot={'addresses': ['dave@corp.example']})
        try:
            outsider = PEOPLE[6]
            before = self.issued()
            self.assertFalse(self.signed(outsider))
            self.assertEqual(self.p.log(event='mail_done', **{'from': outsider + '@corp.example'})[-1]['reason'], 'not in the pilot')
            self.assertFalse(self.signed('dave'))
            self.p.wait_state('dave@corp.example', 'active')
            self.assertTrue(self.signed('dave'))
            self.assertIsNone(self.p.show(outsider + '@corp.example'))
            self.assertEqual(self.issued(), before + 1)
        finally:
            self.configure(pilot=None)

    def test_enroll_mode_signs_nothing(self):
        self.configure(mode='enroll')
        try:
            user = PEOPLE[7]
            self.assertFalse(self.signed(user))
            self.p.wait_state(user + '@corp.example', 'active')
            self.assertFalse(self.signed(user))
        finally:
            self.configure(mode='sign')
        self.assertTrue(self.signed(user))

    def test_hold_and_reject_for_senders_without_certificate(self):
        user = PEOPLE[8]
        self.stage.ca.admin('/behaviour', {'authz_valid': False, 'challenge_trigger': 'never'})
        try:
            self.configure(no_certificate='reject')
            with self.assertRaises(mailtools.Refused) as refused:
                self.mail(user)
            self.assertEqual(refused.exception.code, 550)
            self.configure(no_certificate='hold')
            subject = unique()
            qid = self.stage.submit(user, user + '@corp.example', [BOX], message(user + '@corp.example', BOX, subject))
            self.until(lambda: self.p.log(event='mail_done', qid=qid, action='hold'), what='the mail is held')
            self.stage.postfix.command('postsuper', '-H', qid)
            arrived = self.stage.outside.wait_subject(subject)
            self.assertFalse(mailtools.is_signed(arrived.content), 'released mail meets no milter again')
        finally:
            self.stage.ca.admin('/behaviour', {'authz_valid': True, 'challenge_trigger': 'authz-fetch'})
            self.configure(no_certificate='pass')
            self.stage.ca.admin('/send-challenge', {'address': user + '@corp.example'})
            self.p.wait_state(user + '@corp.example', 'active')     # or it would turn up in another test's counts
