"""What people see: a signed mail as mutt and Thunderbird show it, with and without protected header (RFC 9788).

Thunderbird is for tests/run.sh --long ($ENROLL_TEST_LONG).
"""

import base64
import email.header
import os
import re
import shutil

import mailclients
import mailtools
from mailtools import crlf, message, mixed, unique
from product import Product, require
from stage import Stage, StageCase

STAGE = {'ca': True}
TAKES, BUSY = 13, 8
BOX = 'box@outside.example'
SENDER = 'Alice Example <alice@corp.example>'
HELLO = 'Dear Bob,\n\nthis is what I have to say.\n'
COPIED = ('From', 'To', 'Cc', 'Subject', 'Date', 'Message-ID')


def setUpModule():
    require()


def readable(raw):
    """The subject as a reader sees it."""
    return str(email.header.make_header(email.header.decode_header(mailtools.headers(raw, 'Subject')[0])))


def mails():
    """Unsigned mails of every shape that matters to a mail program."""
    return {
        'text': message(SENDER, BOX, unique('plain text'), HELLO, Cc='carol@outside.example'),
        'umlauts': message(SENDER, BOX, '=?utf-8?q?Gr=C3=BC=C3=9Fe_aus_K=C3=B6ln?= ' + unique(), 'Grüße aus Köln\n', Content_Transfer_Encoding='8bit'),
        'attachment': mixed(SENDER, BOX, unique('with attachment'), [
            ('Content-Type: text/plain; charset=utf-8', crlf(HELLO)),
            ('Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=a.bin', b'AAECAwQ=')]),
        'folded': message(SENDER, BOX, 'a subject\n that goes over\n lines ' + unique(), HELLO),
    }


class Clients:
    """self.signed: {name: (mail as written, mail as it arrived)}, self.root; self.protected: with protected header."""

    protected = False

    def forged(self):
        """One with a changed text, one with a changed subject."""
        raw = self.signed['text'][1]
        subject = mailtools.headers(raw, 'Subject')[0].encode()
        return self.other_text(raw), raw.replace(b'Subject: ' + subject, b'Subject: another subject', 1)

    @staticmethod
    def other_text(raw):
        head, body = mailtools.split(raw)
        if mailtools.is_signed(raw):
            return head + b'\r\n' + body.replace(b'what I have', b'what U have')
        return head + b'\r\n' + base64.encodebytes(base64.b64decode(body).replace(b'what I have', b'what U have')).replace(b'\n', b'\r\n')

    def look(self, client, shown_text):
        names = list(self.signed)
        for name, shown in zip(names, client.read([self.signed[n][1] for n in names])):
            with self.subTest(name):
                raw = self.signed[name][0]
                subject = re.sub(r'\s+', ' ', readable(raw))
                self.assertTrue(shown.good, shown)
                self.assertEqual(shown.subject, subject)
                self.assertIn('alice@corp.example', shown.sender)
                text = 'Grüße aus Köln' if name == 'umlauts' else HELLO.strip()
                shown_text(shown, subject, text)

    def test_mutt(self):
        if not shutil.which('mutt'):
            self.skipTest('mutt is not installed')
        with mailclients.Mutt(self.root) as mutt:
            def text(shown, subject, wanted):
                # mutt shows the subject that is signed on top of what is signed; nothing else of the header
                wanted = 'Subject: %s\n\n%s' % (subject, wanted) if self.protected else wanted
                if '[-- Attachment #2: a.bin --]' in shown.text:
                    shown.text = re.sub(r'\[-- Attachment #1 --\]\n\[-- Type.* --\]\n\n', '', shown.text).split('\n\n[-- Attachment #2')[0]
                self.assertEqual(shown.text.strip(), wanted)
            self.look(mutt, text)
            body, subject = mutt.read(self.forged())
            self.assertIn('what U have', body.text)
            self.assertFalse(body.good, body)
            self.assertTrue(subject.good, subject)
            if self.protected:
                self.assertIn('Subject: ' + readable(self.signed['text'][0]), subject.text, 'the subject that was signed is told')

    if os.environ.get('ENROLL_TEST_LONG'):
        def test_thunderbird(self):
            if not shutil.which('thunderbird'):
                self.skipTest('thunderbird is not installed')
            with mailclients.Thunderbird(self.root) as thunderbird:
                def text(shown, subject, wanted):
                    self.assertEqual(shown.text.strip(), wanted)
                    self.assertEqual(shown.listed, subject)
                    self.assertEqual(shown.attachments, ['a.bin'] if 'attachment' in subject else [])
                self.look(thunderbird, text)
                body, subject = thunderbird.read(self.forged())
                self.assertIn('what U have', body.text)
                self.assertFalse(body.good, body)
                # Version 153 takes the subject from outside, whatever is signed: no harm done, no good either.
                self.assertTrue(subject.good, subject)


class Detached(Clients, StageCase):
    signing = {}

    @classmethod
    def setUpClass(cls):
        stage = Stage.current
        stage.ca.admin('/behaviour', {'authz_valid': True})
        cls.p = Product(stage, signing=cls.signing)
        cls.p.start()
        cls.p.ctl('enroll', 'alice@corp.example')
        cls.p.wait_state('alice@corp.example', 'active')
        cls.root = stage.ca.root
        cls.signed = {}
        for name, raw in mails().items():
            stage.submit('alice', 'alice@corp.example', [BOX], raw)
            cls.signed[name] = raw, stage.outside.wait_subject(mailtools.headers(raw, 'Message-ID')[0]).content

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()


class ProtectedHeader(Detached):
    signing = {'header-protection': True}
    protected = True

    def test_what_is_signed_has_the_fields_and_says_so(self):
        for name, (raw, arrived) in self.signed.items():
            with self.subTest(name):
                entity = mailtools.Signed(arrived).entity
                self.assertIn('hp="clear"', mailtools.headers(entity, 'Content-Type')[0])
                for field in COPIED:
                    self.assertEqual(mailtools.headers(entity, field), mailtools.headers(raw, field))
                    self.assertEqual(mailtools.headers(arrived, field), mailtools.headers(raw, field))


class Opaque(Detached):
    signing = {'form': 'opaque'}


class OpaqueWithProtectedHeader(Detached):
    signing = {'form': 'opaque', 'header-protection': True}
    protected = True


class Pss(Detached):
    signing = {'rsa-padding': 'pss'}
