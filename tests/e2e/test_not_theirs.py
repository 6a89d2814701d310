"""Whoever did not prove that an address is theirs gets nothing in its name."""

import mailtools
from mailtools import message, unique
from product import Product, require
from stage import Stage, StageCase

STAGE = {'ca': True}
TAKES, BUSY = 5, 4
BOX = 'box@outside.example'


def setUpModule():
    require()


class NotTheirs(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        Stage.current.ca.admin('/behaviour', {'authz_valid': True})
        Stage.current.dovecot.add_users({'ghost': 'pw-ghost'})
        cls.p = Product(Stage.current)
        cls.p.start()
        cls.p.ctl('enroll', 'alice@corp.example')
        cls.p.wait_state('alice@corp.example', 'active')

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()

    def unsigned(self, arrived, subject, reason):
        """Delivered as it was, no enrollment, one log line that says why."""
        self.assertFalse(mailtools.is_signed(arrived.content))
        lines = [l for l in self.p.log(self.mark, 'outbound') if l.get('event') in ('mail_done', 'connection_done')]
        self.assertEqual(len(lines), 1, lines)
        self.assertIn(reason, lines[0]['line'])

    def setUp(self):
        self.mark = self.p.log_mark()

    def submit(self, user, raw, sender, **more):
        subject = mailtools.headers(raw, 'Subject')[0].strip()
        self.stage.submit(user, sender, [BOX], raw, **more)
        return self.stage.outside.wait_subject(subject), subject

    def test_bob_writes_as_alice(self):
        raw = message('alice@corp.example', BOX, unique())
        arrived, subject = self.submit('bob', raw, 'bob@corp.example')
        self.unsigned(arrived, subject, 'address is not listed for this login')
        self.assertIsNone(self.p.show('bob@corp.example'))

    def test_two_from_addresses(self):
        raw = message('alice@corp.example, bob@corp.example', BOX, unique())
        arrived, subject = self.submit('alice', raw, 'alice@corp.example')
        self.unsigned(arrived, subject, 'more than one From address')

    def test_two_from_fields(self):
        raw = b'From: bob@corp.example\r\n' + message('alice@corp.example', BOX, unique())
        arrived, subject = self.submit('alice', raw, 'alice@corp.example')
        self.unsigned(arrived, subject, 'more than one From field')

    def test_unknown_login(self):
        raw = message('alice@corp.example', BOX, unique())
        arrived, subject = self.submit('ghost', raw, 'ghost@corp.example', password='pw-ghost')
        self.unsigned(arrived, subject, 'unknown login')

    def test_unauthenticated_client(self):
        raw = message('alice@corp.example', BOX, unique())
        arrived, subject = self.submit(None, raw, 'alice@corp.example', port=2587)
        self.unsigned(arrived, subject, 'not authenticated')

    def test_address_of_two_entries(self):
        raw = message('shared@corp.example', BOX, unique())
        arrived, subject = self.submit('alice', raw, 'alice@corp.example')
        self.unsigned(arrived, subject, 'address')
        self.assertIsNone(self.p.show('shared@corp.example'))

    def test_relay_vouches_for_its_own_users(self):
        subject = unique()
        self.stage.relay('alice@corp.example', [BOX], message('alice@corp.example', BOX, subject))
        self.assertTrue(mailtools.is_signed(self.stage.outside.wait_subject(subject).content))

    def test_relay_redirects_a_forgery_from_outside(self):
        raw = (b'Received: from stranger.example (stranger.example [192.0.2.50]) by mx.corp.example'
               b' (Postfix) with ESMTP id 4X1; Sun, 22 Nov 2026 00:00:00 +0000\r\n' +
               message('alice@corp.example', 'carol@corp.example', unique()))
        subject = mailtools.headers(raw, 'Subject')[0].strip()
        self.stage.relay('someone@stranger.example', [BOX], raw)
        self.unsigned(self.stage.outside.wait_subject(subject), subject, 'from outside')
