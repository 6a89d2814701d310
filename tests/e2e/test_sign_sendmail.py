"""Sendmail as the mail server: the main job, and that nothing it does to mail breaks a signature."""

import base64
import json
import os

import mailtools
import stage_sendmail
from mailtools import crlf, message, mixed, unique
from namespace import GATEWAY
from product import Product, require
from stage import Stage, StageCase
from stage_sendmail import SEVEN_BIT, Sendmail, SevenBit

STAGE = {'ca': True}
TAKES, BUSY = 75, 18
BOX = 'box@outside.example'
SEVEN = 'box@' + SEVEN_BIT
UMLAUT = 'Grüße aus Köln, naïve café\n'


def setUpModule():
    require()
    stage_sendmail.require()


class SendmailCase(StageCase):
    @classmethod
    def setUpClass(cls):
        stage = Stage.current
        cls.sendmail = getattr(stage, 'sendmail', None) or Sendmail(stage)
        if cls.sendmail.server is None:
            stage.sendmail, stage.seven = cls.sendmail, SevenBit()
            cls.sendmail.start()
            stage.seven.start()
        cls.p = Product(stage, milters=False, directory={'disabled-filter': '(employeeType=former)'}, **cls.sendmail.product_options())
        cls.p.start()

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()

    def setUp(self):
        self.mark = self.p.log_mark()

    @classmethod
    def enroll(cls, user):
        cls.p.ctl('enroll', user + '@corp.example')
        cls.p.wait_state(user + '@corp.example', 'active')

    def arrived(self, to, subject):
        return (self.stage.outside if to == BOX else self.stage.seven).wait_subject(subject).content

    def submit(self, user, raw, to=BOX):
        """What arrives of a mail handed in by a login."""
        self.stage.submit(user, user + '@corp.example', [to], raw)
        return self.arrived(to, mailtools.headers(raw, 'Message-ID')[0])

    def send(self, user, sender=None, to=BOX, **more):
        raw = message(sender or user + '@corp.example', to, more.pop('subject', None) or unique(), **more)
        return raw, self.submit(user, raw, to)

    def signed(self, raw, arrived):
        """Signed, by the word of every verifier, and nothing else in it has changed."""
        self.assertTrue(mailtools.is_signed(arrived))
        self.assertEqual(mailtools.differences(raw, arrived), [])
        for name, verdict in mailtools.verify_all(arrived, self.stage.ca.root).items():
            self.assertTrue(verdict, '%s: %r' % (name, verdict))
        good, tags = self.stage.dkim.verify(arrived)
        self.assertTrue(good, 'DKIM was put on after the signature: %r' % tags)

    def unsigned(self, raw, arrived, reason):
        """As it was, and the log says why."""
        self.assertFalse(mailtools.is_signed(arrived))
        self.assertEqual(mailtools.split(arrived)[1], mailtools.split(raw)[1])
        self.assertEqual(mailtools.differences(raw, arrived), [])
        lines = self.p.log(self.mark, 'outbound', event='mail_done')
        self.assertEqual(len(lines), 1, lines)
        self.assertIn(reason, lines[0]['line'])


class MainJob(SendmailCase):
    def test_first_mail_unsigned_then_certificate_then_signed(self):
        raw, arrived = self.send('alice')
        self.unsigned(raw, arrived, 'no enrollment')
        shown = self.p.wait_state('alice@corp.example', 'active')
        self.assertIn('reply_sent', [e['event'] for e in shown['events']])
        self.assertEqual(self.stage.mailbox('alice'), [], 'Sendmail was told to discard the challenge mail')
        replies = [r for r in self.stage.ca.admin('/log?since=0&event=reply_received') if 'alice' in str(r)]
        self.assertEqual([r['verdict'] for r in replies], ['good'], replies)
        self.assertEqual([k for k in self.stage.ca.admin('/counters') if k.startswith('violation')], [])
        self.mark = self.p.log_mark()
        raw, arrived = self.send('alice', body='Dear world,\n\nthis one is signed.\n')
        self.signed(raw, arrived)
        line = self.p.wait_log(mark=self.mark, name='outbound', event='mail_done')[0]
        self.assertTrue([l for l in self.sendmail.log() if line['qid'] + ': to=<' + BOX in l], 'no such mail in the mail log: %r' % line)

    def test_doctor_finds_the_sample_well(self):
        self.p.ctl('enroll', 'dave@corp.example')
        self.p.wait_state('dave@corp.example', 'active')
        self.send('dave')
        self.until(lambda: self.p.json('mail')['mail'], what='the mail is on record')
        checks = json.loads(self.p.ctl('doctor', '--json', user='helpdesk1'))['checks']
        self.assertEqual([c for c in checks if c['verdict'] != 'ok' and c['check'] != 'reply-reports'], [])
        self.assertIn('reply-path', [c['check'] for c in checks], 'the trial reply came back by the rule of the sample')

    def test_mail_from_outside_is_left_alone(self):
        subject = unique()
        raw = message('someone@outside.example', 'bob@corp.example', subject, body=UMLAUT, Content_Transfer_Encoding='8bit')
        self.stage.inject('someone@outside.example', ['bob@corp.example'], raw)
        arrived = self.stage.dovecot.wait_mailbox('bob')[0]
        self.assertEqual(mailtools.differences(raw, arrived), [])
        self.assertEqual(mailtools.split(arrived)[1], mailtools.split(raw)[1])


class Signatures(SendmailCase):
    """What Sendmail may do to a mail behind the filter: nothing that a signature covers."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enroll('dave')

    def both(self, raw_for):
        """Signed at a server that takes 8-bit mail, and at one that does not; the signed entities."""
        entities = []
        for to in (BOX, SEVEN):
            raw = raw_for(to)
            arrived = self.submit('dave', raw, to)
            with self.subTest(to=to):
                self.signed(raw, arrived)
                entities.append(mailtools.Signed(arrived).entity)
        return entities

    def test_what_needs_no_encoding_is_signed_octet_for_octet(self):
        head = 'Content-Type: text/plain;\r\n\tcharset=utf-8;\r\n  format=flowed\r\nContent-Transfer-Encoding:   7bit'
        bodies = {
            'plain': 'Dear world,\n\nthis one is signed.\n',
            'a line of 990': 'a\n' + 'x' * 990 + '\nb\n',
            'dots': '.\n..\n.\n\n.x\n',
            'tabs and blank lines': '\n\n\tx\ty\n\n\n',
            'empty': '',
        }
        for name, body in bodies.items():
            with self.subTest(name):
                for entity in self.both(lambda to: message('dave@corp.example', to, unique(), body, Content_Type=head[14:].replace('\r', ''),
                                                           Content_Transfer_Encoding=None)):
                    self.assertEqual(entity, head.encode() + b'\r\n\r\n' + crlf(body))

    def test_what_sendmail_would_change_is_encoded_first(self):
        shapes = {
            'eight bit': dict(body=UMLAUT, Content_Transfer_Encoding='8bit'),
            'eight bit, undeclared': dict(body=UMLAUT, MIME_Version=None, Content_Type=None, Content_Transfer_Encoding=None),
            'a line of 991': dict(body='a\n' + 'x' * 991 + '\nb\n'),
            'a line of 998': dict(body='a\n' + 'x' * 998 + '\nb\n'),
            'a long line': dict(body='x' * 5000 + '\n'),
            'From': dict(body='From here on\n\nFrom there\n>From\n'),
            'blanks at the end': dict(body='a  \n-- \nb\t\n'),
            'Latin-1': dict(body=crlf(UMLAUT.encode('latin-1')), Content_Type='text/plain; charset=iso-8859-1', Content_Transfer_Encoding='8bit'),
        }
        for name, shape in shapes.items():
            with self.subTest(name):
                for entity in self.both(lambda to: message('dave@corp.example', to, unique(), **shape)):
                    self.assertTrue(entity.isascii())

    def test_parts(self):
        def raw(to):
            return mixed('dave@corp.example', to, unique(), [
                ('Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit', crlf(UMLAUT)),
                ('Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n'
                 'Content-Disposition: attachment; filename=a.bin', b'AAECAwQFBgcICQ==')])
        self.both(raw)

    def test_header_fields_keep_their_order_and_folds(self):
        names = [('Received', 'from a.example by b.example;\n\tSun, 22 Nov 2026 00:00:00 +0000'),
                 ('X-One', 'folded\n\tby a tab\n    and blanks'), ('X-Two', '   leading blanks'), ('X-ONE', 'once more'),
                 ('References', '\n'.join(' <%d.%s@test.example>' % (n, 'r' * 40) for n in range(30)).strip()),
                 ('X-Empty', ''), ('X-Raw', 'Köln')]
        top = ''.join('%s: %s\n' % field for field in names)
        raw = crlf(top) + message('dave@corp.example', '"Doe, J." <%s>,\n j2@outside.example' % BOX, 'a subject that is folded\n over lines '
                                  + unique(), Cc='"Köln" <k@outside.example>')
        arrived = self.submit('dave', raw)
        self.signed(raw, arrived)
        wanted = [n for n, _v in mailtools.headers(raw)]
        got = [n for n, _v in mailtools.headers(arrived) if n in wanted]
        wanted.remove('Content-Transfer-Encoding')      # goes with the text into the signed part
        self.assertEqual(got, ['Received'] + wanted, 'one Received line more, and else the order of the author')
        for name in ('X-One', 'X-Two', 'References', 'X-Raw'):
            self.assertEqual(mailtools.headers(arrived, name), mailtools.headers(raw, name))

    def test_large_mail(self):
        data = base64.encodebytes(os.urandom(7 << 20)).replace(b'\n', b'\r\n')
        self.assertGreater(len(data), 10 << 20 - 1)
        for text, encoding, reason in (('Hello.\n', '7bit', 'signed'), (UMLAUT, '8bit', 'signed after re-encoding')):
            with self.subTest(reason):
                self.mark = self.p.log_mark()
                raw = mixed('dave@corp.example', BOX, unique(), [
                    ('Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: ' + encoding, crlf(text)),
                    ('Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64', data)])
                self.signed(raw, self.submit('dave', raw))
                self.assertEqual(self.p.log(self.mark, 'outbound', event='mail_done')[0]['reason'], reason)

    def test_ten_mails_in_one_session(self):
        sent = []
        with mailtools.Session((GATEWAY, 587), 'dave', self.stage.password('dave')) as session:
            for n in range(10):
                sent.append(message('dave@corp.example', BOX, unique(), body='%d\n' % n * 1000 * n))
                session.send('dave@corp.example', [BOX], sent[-1])
        for raw in sent:
            self.signed(raw, self.arrived(BOX, mailtools.headers(raw, 'Message-ID')[0]))


class Forms(SendmailCase):
    """What else signing.* may be."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enroll('dave')

    def signing(self, **options):
        self.p.configure(signing=dict({'form': 'detached', 'header-protection': False}, **options))
        self.p.restart('outbound')

    def test_opaque(self):
        self.signing(form='opaque')
        for to in (BOX, SEVEN):
            for body in ('a\n' + 'x' * 998 + '\n.\nFrom here\n', UMLAUT):
                raw, arrived = self.send('dave', to=to, body=body, Content_Transfer_Encoding='8bit')
                self.assertTrue(mailtools.is_opaque(arrived))
                for name, verdict in mailtools.verify_all(arrived, self.stage.ca.root).items():
                    self.assertTrue(verdict, '%s: %r' % (name, verdict))
                    self.assertEqual(mailtools.leaves(verdict.content)[0][3], body.encode())

    def test_protected_header(self):
        """Sendmail writes address fields anew behind the filter: what it puts there is still what was signed."""
        self.signing(**{'header-protection': True})
        raw = message('"Doe, Dave" <dave@corp.example>', '"Köhler, J." <%s>, j2@outside.example'.replace('ö', 'oe') % BOX,
                      'a subject that is folded\n over lines ' + unique(), Cc='Group: a@outside.example, b@outside.example;')
        arrived = self.submit('dave', raw)
        self.signed(raw, arrived)
        entity = mailtools.Signed(arrived).entity
        for name in ('From', 'To', 'Cc', 'Subject', 'Date', 'Message-ID'):
            self.assertTrue(mailtools.headers(entity, name), name)
            self.assertEqual(mailtools.headers(entity, name), mailtools.headers(arrived, name))


class NotTouched(SendmailCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enroll('alice')

    def test_mallory_writes_as_alice(self):
        raw, arrived = self.send('mallory', 'alice@corp.example')
        self.unsigned(raw, arrived, 'unknown login')

    def test_bob_writes_as_alice(self):
        raw, arrived = self.send('bob', 'alice@corp.example')
        self.unsigned(raw, arrived, 'address is not listed for this login')

    def test_nobody_logs_in_as_alice(self):
        raw = message('alice@corp.example', BOX, unique())
        with self.assertRaises(mailtools.Refused) as refused:
            self.stage.submit('alice', 'alice@corp.example', [BOX], raw, password='guessed')
        self.assertEqual((refused.exception.stage, refused.exception.code), ('login', 535))
        with self.assertRaises(mailtools.Refused) as refused:
            self.stage.submit(None, 'alice@corp.example', [BOX], raw)
        self.assertEqual(refused.exception.code, 530, 'the listener wants a login')

    def test_a_stranger_at_the_mx_is_not_alice(self):
        raw = message('alice@corp.example', 'carol@corp.example', unique())
        self.stage.inject('alice@corp.example', ['carol@corp.example'], raw)
        arrived = self.stage.dovecot.wait_mailbox('carol')[0]
        self.assertFalse(mailtools.is_signed(arrived))
        self.assertEqual(mailtools.split(arrived)[1], mailtools.split(raw)[1])

    def test_signed_already(self):
        _raw, once = self.send('alice')
        self.assertTrue(mailtools.is_signed(once))
        self.mark = self.p.log_mark()
        head = [b'%s: %s' % (n.encode(), v.encode()) for n, v in mailtools.headers(once) if n in ('From', 'To', 'Date', 'MIME-Version', 'Content-Type')]
        again = b'\r\n'.join([b'Subject: ' + unique().encode(), b'Message-ID: <%s@x.example>' % unique('').strip().encode()] + head)
        again += b'\r\n\r\n' + mailtools.split(once)[1]
        arrived = self.submit('alice', again)
        self.assertEqual(mailtools.split(arrived)[1], mailtools.split(again)[1])
        self.assertIn('signed', self.p.log(self.mark, 'outbound', event='mail_done')[0]['reason'])
        self.assertTrue(mailtools.verify_openssl(arrived, self.stage.ca.root))


class Hold(SendmailCase):
    def test_without_certificate_mail_waits_in_quarantine_and_leaves_unsigned(self):
        self.p.configure(no_certificate='hold')
        self.p.restart('outbound')
        raw = message('carol@corp.example', BOX, unique())
        self.stage.submit('carol', 'carol@corp.example', [BOX], raw)
        qid = self.p.wait_log(mark=self.mark, name='outbound', event='mail_done', action='hold')[0]['qid']
        queue = self.sendmail.queue('-qQ')
        self.assertIn(qid, queue)
        self.assertIn('no certificate for this sender yet', queue)
        self.assertNotIn(qid, self.sendmail.queue(), 'it is in quarantine only')
        self.p.wait_state('carol@corp.example', 'active')
        self.assertEqual([m for m in self.stage.outside.messages if raw[-40:] in m.content and b'carol@' in m.content], [])
        self.sendmail.release(qid)
        arrived = self.arrived(BOX, mailtools.headers(raw, 'Message-ID')[0])
        self.assertFalse(mailtools.is_signed(arrived), 'released mail meets no filter again')
        raw, arrived = self.send('carol')
        self.signed(raw, arrived)

    def test_while_the_filter_is_down_nothing_leaves(self):
        self.p.daemons['outbound'].stop()
        raw = message('bob@corp.example', BOX, unique())
        try:
            with self.assertRaises(mailtools.Refused) as refused:
                self.stage.submit('bob', 'bob@corp.example', [BOX], raw)
            self.assertTrue(refused.exception.temporary, refused.exception)
        finally:
            self.p.start('outbound')
        self.submit('bob', raw)
