"""The main job: a user without a certificate gets one, and their next mail is signed."""

import mailtools
from mailtools import message, unique
from product import Product, require
from stage import Stage, StageCase

STAGE = {'ca': True}
TAKES, BUSY = 20, 6
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
        for name, verdict in mailtools.verify_all(arrived.content, self.stage.ca.root).items():
            self.assertTrue(verdict, '%s: %r' % (name, verdict))
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
                for name, verdict in mailtools.verify_all(arrived.content, self.stage.ca.root).items():
                    self.assertTrue(verdict, '%s: %r' % (name, verdict))
        raw = mailtools.mixed('dave@corp.example', BOX, 'parts', [
            ('Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit', umlaut.encode()),
            ('Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n'
             'Content-Disposition: attachment; filename=a.bin', b'AAECAwQFBgcICQ==')])
        self.stage.submit('dave', 'dave@corp.example', [BOX], raw)
        arrived = self.stage.outside.wait_subject('parts')
        self.assertTrue(mailtools.is_signed(arrived.content))
        self.assertEqual(mailtools.differences(raw, arrived.content), [])
        for name, verdict in mailtools.verify_all(arrived.content, self.stage.ca.root).items():
            self.assertTrue(verdict, '%s: %r' % (name, verdict))
