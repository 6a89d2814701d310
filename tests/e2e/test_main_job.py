"""The main job: a user without a certificate gets one, and their next mail is signed."""

import mailtools
from mailtools import message, unique
from product import Product, require
from stage import Stage, StageCase

STAGE = {'ca': True}
BOX = 'box@outside.example'


def setUpModule():
    require()


class MainJob(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        cls.p = Product(Stage.current, certificate={'key-type': 'rsa:2048'})
        cls.p.start()

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()

    def send(self, user, sender=None, subject=None, to=BOX, **more):
        subject = subject or unique()
        sender = sender or user + '@corp.example'
        raw = message(sender, to, subject, **more)
        self.stage.submit(user, sender if isinstance(sender, str) else user + '@corp.example', [to], raw)
        return raw, self.stage.outside.wait_subject(subject)

    def enroll(self, user):
        self.p.ctl('enroll', user + '@corp.example')
        return self.p.wait_state(user + '@corp.example', 'active')

    def test_first_mail_unsigned_then_certificate_then_signed(self):
        raw, arrived = self.send('alice')
        self.assertFalse(mailtools.is_signed(arrived.content), 'the first mail leaves unsigned')
        self.assertEqual(mailtools.differences(raw, arrived.content), [])
        shown = self.p.wait_state('alice@corp.example', 'active')
        self.assertEqual(len(self.stage.ca.admin('/state')['certificates']), 1)
        self.assertEqual(self.stage.mailbox('alice'), [], 'the challenge mail never reaches the user')
        certificates = self.stage.ldap.certificates('alice')
        self.assertEqual(len(certificates), 1, 'the certificate is in the directory')
        events = [e['event'] for e in shown['events']]
        self.assertIn('reply_sent', events)
        raw, arrived = self.send('alice', body='Dear world,\n\nthis one is signed.\n')
        self.assertTrue(mailtools.is_signed(arrived.content))
        self.assertEqual(mailtools.differences(raw, arrived.content), [])
        for verdict in mailtools.verify_all(arrived.content, self.stage.ca.root):
            self.assertTrue(verdict, verdict)
        good, tags = self.stage.dkim.verify(arrived.content)
        self.assertTrue(good, 'DKIM was put on after the signature: %r' % tags)
        counters = self.stage.ca.admin('/counters')
        self.assertEqual([k for k in counters if k.startswith('violation')], [])

    def test_reply_passed_the_strict_ca(self):
        self.enroll('carol')
        replies = [r for r in self.stage.ca.admin('/log?since=0&event=reply_received')
                   if 'carol' in str(r)]
        self.assertEqual([r['verdict'] for r in replies], ['good'], replies)

    def test_mails_of_every_shape_are_signed(self):
        self.enroll('dave')
        umlaut = 'Grüße aus Köln, naïve café\n'
        shapes = {
            'eight bit': dict(body=umlaut, Content_Transfer_Encoding='8bit'),
            'no mime headers': dict(body='plain old text\n', MIME_Version=None, Content_Type=None,
                                    Content_Transfer_Encoding=None),
            'long line': dict(body='x' * 1900 + '\n'),
            'empty body': dict(body=''),
            'dots': dict(body='.\n..\n.\n'),
        }
        for name, headers in shapes.items():
            with self.subTest(name):
                raw, arrived = self.send('dave', **headers)
                self.assertTrue(mailtools.is_signed(arrived.content), name)
                for verdict in mailtools.verify_all(arrived.content, self.stage.ca.root):
                    self.assertTrue(verdict, verdict)
        raw = mailtools.mixed('dave@corp.example', BOX, 'parts', [
            ('Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit', umlaut.encode()),
            ('Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n'
             'Content-Disposition: attachment; filename=a.bin', b'AAECAwQFBgcICQ==')])
        self.stage.submit('dave', 'dave@corp.example', [BOX], raw)
        arrived = self.stage.outside.wait_subject('parts')
        self.assertTrue(mailtools.is_signed(arrived.content))
        self.assertEqual(mailtools.differences(raw, arrived.content), [])
        for verdict in mailtools.verify_all(arrived.content, self.stage.ca.root):
            self.assertTrue(verdict, verdict)


class NotTheirs(StageCase):
    """Whoever did not prove that an address is theirs gets nothing in its name."""

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
