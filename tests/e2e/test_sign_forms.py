"""In which form a mail leaves: detached, opaque or unsigned, by what the configuration says of keys, recipients and content."""

import email
import email.utils
import re
import signal
import subprocess

import mailtools
from enrolling import Enrolling, address
from mailtools import crlf, message, unique
from namespace import OUTSIDE
from product import Product, require
from stage import Stage, StageCase

STAGE = {'ca': True, 'users': 6}
TAKES, BUSY = 25, 9
BOX, PARTNER, LIST, PLAIN = 'box@outside.example', 'joe@partner.example', 'all@lists.example', 'x@plain.example'
RULES = [
    {'name': 'lists', 'recipients': ['lists.example', 'special@outside.example'], 'form': 'opaque'},
    {'name': 'partner', 'recipients': ['partner.example']},
    {'name': 'wish', 'header': 'Sensitivity', 'header-contains': 'no signature'},
    {'name': 'winmail', 'content-types': ['application/ms-tnef'], 'form': 'opaque'},
    {'name': 'films', 'content-types': ['video/*']},
    {'name': 'big', 'larger-than': 100000, 'form': 'opaque'},
    {'name': 'huge', 'larger-than': 300000},
]
CALENDAR = 'BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n'


def setUpModule():
    require()


def head(subject, content_type, sender=address('user00000'), to=BOX):
    """A header, whose structure is for the test to say."""
    return crlf('From: %s\nTo: %s\nSubject: %s\nDate: %s\nMessage-ID: <%s@corp.example>\nMIME-Version: 1.0\nContent-Type: %s\n\n' % (
        sender, to, subject, email.utils.formatdate(), unique('id'), content_type))


def parts(subject, *kinds, kind='mixed'):
    """A multipart with a part of each of these types."""
    lines = []
    for one in kinds:
        lines += ['--xx', 'Content-Type: %s' % one, '', 'content of ' + one, '']
    return head(subject, 'multipart/%s; boundary="xx"' % kind) + crlf('\n'.join(lines + ['--xx--', '']))


class Forms(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        stage = cls.s = Stage.current
        for domain in ('partner.example', 'lists.example', 'plain.example'):
            stage.postfix.set_transport(domain, 'smtp:[%s]' % OUTSIDE)
        cls.p = Product(stage, mail_rules=RULES, ca={'caa': 'off'}, certificates=[
            {'name': 'p384', 'validation': 'mailbox', 'generation': 'strict', 'key-type': 'ec:p384'},
            {'name': 'dual', 'validation': 'mailbox', 'generation': 'strict', 'usage': 'dual', 'key-type': 'rsa:2048'}],
            decryption='exported-keys',
            rules=[{'name': 'strong', 'addresses': [address('user00001')], 'certificate': 'p384'},
                   {'name': 'both', 'addresses': [address('user00002')], 'certificate': 'dual'}])
        cls.p.start()
        cls.many = Enrolling(stage, cls.p)
        cls.many.behave(authz_valid=True)
        cls.rsa, cls.p384, cls.dual, cls.new = ('user%05d' % n for n in range(4))
        for user in (cls.rsa, cls.p384, cls.dual):
            cls.p.ctl('enroll', address(user))
        for user in (cls.rsa, cls.p384, cls.dual):
            cls.p.wait_state(address(user), 'active')

    # -- help --------------------------------------------------------------

    def send(self, raw, *to, user=None, **more):
        """The mail as it arrived, and the closing line about it."""
        user = user or self.rsa
        subject = mailtools.headers(raw, 'Subject')[0]
        mark = self.p.log_mark()
        self.stage.submit(user, address(user), list(to) or [BOX], raw, **more)
        arrived = self.stage.outside.wait_subject(subject).content
        line = self.p.wait_log(mark=mark, name='outbound', event='mail_done', **{'from': address(user)})[-1]
        return arrived, line

    def mail(self, *to, user=None, **headers):
        raw = message(address(user or self.rsa), to or [BOX], unique('form'), **headers)
        return raw, *self.send(raw, *to, user=user)

    def check_signed(self, raw, before, form='detached'):
        self.assertEqual(mailtools.is_opaque(raw), form == 'opaque')
        self.assertEqual(mailtools.is_signed(raw), form == 'detached')
        verdicts = mailtools.verify_all(raw, self.stage.ca.root)
        self.assertEqual(len(verdicts), 3, 'OpenSSL, GnuPG, NSS')
        for name, verdict in verdicts.items():
            self.assertTrue(verdict, '%s: %s' % (name, verdict.text))
        self.assertEqual(mailtools.differences(before, raw), [])
        return verdicts

    def check_unsigned(self, raw, before):
        self.assertFalse(mailtools.is_signed(raw) or mailtools.is_opaque(raw))
        self.assertEqual(mailtools.split(raw)[1], mailtools.split(before)[1])

    def configure(self, **changes):
        mark = self.p.log_mark()
        self.p.configure(**changes)
        self.p.signal('outbound', signal.SIGUSR1)
        self.p.wait_log(mark=mark, name='outbound', event='reloaded')

    def signing(self, **keys):
        """These keys of the group signing, until the end of the test."""
        self.addCleanup(self.configure, signing=None)
        self.configure(signing=keys)

    def asn1(self, raw):
        der = mailtools.Opaque(raw).cms if mailtools.is_opaque(raw) else mailtools.Signed(raw).p7s
        return subprocess.run(['openssl', 'cms', '-cmsout', '-print', '-noout', '-inform', 'DER'], input=der, capture_output=True,
                              check=True).stdout.decode('utf-8', 'replace')

    # -- mail rules ----------------------------------------------------------

    def test_recipients(self):
        """One recipient is enough, and of two rules the strictest counts for all."""
        for to, form, rule in (([BOX], 'detached', None), ([LIST], 'opaque', 'lists'), ([BOX, LIST], 'opaque', 'lists'),
                               (['Special@OUTSIDE.example'], 'opaque', 'lists'), ([PARTNER], None, 'partner'),
                               ([BOX, PARTNER], None, 'partner'), ([LIST, PARTNER], None, 'partner'), ([PARTNER, LIST], None, 'partner'),
                               ([PLAIN], 'detached', None)):
            with self.subTest(to=to):
                before, raw, line = self.mail(*to)
                if form:
                    self.check_signed(raw, before, form)
                    self.assertEqual((line['verdict'], line['form']), ('signed', form))
                else:
                    self.check_unsigned(raw, before)
                    self.assertEqual(line['verdict'], 'untouched')
                self.assertEqual('mail rule %s' % rule in line.get('detail', ''), bool(rule), line)

    def test_a_rule_is_named_only_where_it_decided(self):
        """A rule about the form holds, too, but what keeps the mail unsigned is something else: that is what the help desk has to be told."""
        before = message(address('user00005'), [LIST], unique('form'))
        mark = self.p.log_mark()
        qid = self.stage.submit(self.rsa, address(self.rsa), [LIST], before)
        line = self.p.wait_log(mark=mark, name='outbound', event='mail_done', qid=qid)[-1]
        self.assertEqual(line['verdict'], 'untouched')
        self.assertNotIn('detail', line)
        self.until(lambda: qid in self.p.ctl('mail', address('user00005')), what='the verdict is recorded')
        self.assertIn(line['reason'], self.p.ctl('mail', address('user00005')))

    def test_policy_explain_says_the_same(self):
        for to, signed, form, rule in ((BOX, True, 'detached', None), (LIST, True, 'opaque', 'lists'), (PARTNER, False, None, 'partner')):
            mail = self.p.json('policy', 'explain', address(self.rsa), '--to', to)['mail']
            self.assertEqual((mail['signed'], mail.get('form'), mail.get('mail_rule')), (signed, form, rule))
            words = self.p.ctl('policy', 'explain', address(self.rsa), '--to', to)
            self.assertEqual('by mail rule' in words, bool(rule))
            self.assertEqual('opaque form' in words, form == 'opaque')

    def test_a_field_of_the_header(self):
        for value, signed in (('=?utf-8?q?please_NO?= Signature', False), ('personal', True)):
            before, raw, line = self.mail(BOX, Sensitivity=value)
            self.assertEqual(mailtools.is_signed(raw), signed, line)
            self.assertEqual('mail rule wish' in line.get('detail', ''), not signed)

    def test_content_types(self):
        table = [
            (('text/plain', 'text/calendar; method=REQUEST'), 'alternative', None, 'calendar mail'),
            (('text/plain', 'application/ms-tnef; name="winmail.dat"'), 'mixed', 'opaque', 'mail rule winmail'),
            (('text/plain', 'VIDEO/mp4'), 'mixed', None, 'mail rule films'),
            (('text/plain', 'application/ms-tnef', 'video/mp4'), 'mixed', None, 'mail rule films'),
            (('text/plain', 'image/png'), 'mixed', 'detached', ''),
        ]
        for kinds, kind, form, why in table:
            with self.subTest(kinds=kinds):
                before = parts(unique('types'), *kinds, kind=kind)
                raw, line = self.send(before)
                if form:
                    self.check_signed(raw, before, form)
                else:
                    self.check_unsigned(raw, before)
                self.assertIn(why, line.get('reason', '') + ' ' + line.get('detail', ''))

    def test_an_invitation_in_a_forwarded_message_or_in_words_is_none(self):
        for body in ('Content-Type: text/calendar\r\n\r\nis how it begins\r\n', '--xx\r\nContent-Type: text/calendar\r\n'):
            before = message(address(self.rsa), [BOX], unique('words'), body=body)
            raw, _line = self.send(before)
            self.check_signed(raw, before)

    def test_an_invitation_alone(self):
        before = head(unique('ics'), 'text/calendar; method=REQUEST') + CALENDAR.encode()
        raw, line = self.send(before)
        self.check_unsigned(raw, before)
        self.assertEqual(line['reason'], 'calendar mail')
        self.signing(calendar='detached')
        before = before.replace(b'Subject: ', b'Subject: again ')
        self.check_signed(self.send(before)[0], before)

    def test_size_is_what_it_was_whatever_was_announced(self):
        for octets, announced, form, rule in ((50000, 50000, 'detached', None), (50000, 350000, 'detached', None), (150000, 150000, 'opaque', 'big'),
                                              (150000, 1, 'opaque', 'big'), (400000, 400000, None, 'huge'), (400000, 1, None, 'huge')):
            with self.subTest(octets=octets, announced=announced):
                before = message(address(self.rsa), [BOX], unique('size'), body=('x' * 70 + '\n') * (octets // 71))
                raw, line = self.send(before, mail_options=['SIZE=%d' % announced])
                if form:
                    self.check_signed(raw, before, form)
                else:
                    self.check_unsigned(raw, before)
                self.assertEqual('mail rule %s' % rule in line.get('detail', ''), bool(rule), line)

    def test_lists_and_robots(self):
        for headers, reason in (({'List-Unsubscribe': '<mailto:x@y.example>'}, 'list mail'), ({'Precedence': 'bulk'}, 'list mail'),
                                ({'Auto-Submitted': 'auto-replied'}, 'auto-submitted')):
            before, raw, line = self.mail(BOX, **headers)
            self.check_unsigned(raw, before)
            self.assertEqual((line['verdict'], line['reason']), ('untouched', reason))
        self.signing(**{'list-mail': 'opaque', 'auto-submitted': 'detached'})
        for headers, form in (({'List-Unsubscribe': '<mailto:x@y.example>'}, 'opaque'), ({'Auto-Submitted': 'auto-replied'}, 'detached')):
            before, raw, line = self.mail(BOX, **headers)
            self.check_signed(raw, before, form)

    def test_what_is_not_signed_asks_for_no_certificate(self):
        """An automatic reply of somebody new, and mail that leaves unsigned by a rule."""
        for to, headers in ((BOX, {'Auto-Submitted': 'auto-replied'}), (PARTNER, {})):
            self.mail(to, user=self.new, **headers)
        self.assertNotEqual(self.p.ctl_run('show', address(self.new)).returncode, 0)

    # -- what a signature is made of -------------------------------------------

    def test_digest_by_key(self):
        for user, micalg, digest in ((self.rsa, 'sha-256', 'sha256'), (self.p384, 'sha-384', 'sha384')):
            before, raw, _line = self.mail(BOX, user=user)
            self.check_signed(raw, before)
            self.assertEqual(mailtools.Signed(raw).micalg, micalg)
            self.assertIn('algorithm: %s ' % digest, self.asn1(raw))

    def test_nobody_is_invited_to_encrypt_who_cannot_read_it(self):
        for user, invited in ((self.rsa, False), (self.dual, True)):
            _before, raw, _line = self.mail(BOX, user=user)
            self.assertEqual('S/MIME Capabilities' in self.asn1(raw), invited)

    def test_pss(self):
        self.signing(**{'rsa-padding': 'pss'})
        for to, form in ((BOX, 'detached'), (LIST, 'opaque')):
            before, raw, _line = self.mail(to)
            self.check_signed(raw, before, form)
            self.assertIn('rsassaPss', self.asn1(raw))

    def test_attributes_and_chain(self):
        _before, raw, _line = self.mail(BOX)
        text = self.asn1(raw)
        for name in ('contentType', 'messageDigest', 'signingTime', 'id-smime-aa-signingCertificateV2'):
            self.assertIn(name, text)
        self.assertEqual(len(re.findall(r'^\s*d\.certificate:', text, re.M)), 2, 'leaf and intermediate, no root')

    # -- opaque -----------------------------------------------------------------

    def test_opaque_for_all(self):
        self.signing(form='opaque')
        for body in ('Hello,\nthis is a test.\n', 'Grüße und \u20ac\n', 'x' * 2000 + '\n'):
            before = message(address(self.rsa), [BOX], unique('opaque'), body=body)
            raw, line = self.send(before, mail_options=['BODY=8BITMIME'])
            self.check_signed(raw, before, 'opaque')
            self.assertEqual(line['reason'], 'signed, opaque')
            lines = mailtools.split(raw)[1].split(b'\r\n')
            self.assertLessEqual(max(map(len, lines)), 76)
            self.assertEqual([v for v in mailtools.headers(raw, 'Content-Transfer-Encoding')], ['base64'])

    def forwarded(self, subject):
        inner = 'From: x@y.example\r\nSubject: inner\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\u00fc\u00dfe\r\n'
        return (head(subject, 'multipart/mixed; boundary="xx"') + b'--xx\r\nContent-Type: text/plain\r\n\r\nsee below\r\n--xx\r\n'
            b'Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n' + inner.encode() + b'--xx--\r\n')

    def test_what_must_not_be_reencoded(self):
        """A forwarded message in 8-bit: unsigned, or opaque with every octet of it in its place, by configuration."""
        before = self.forwarded(unique('forwarded'))
        raw, line = self.send(before, mail_options=['BODY=8BITMIME'])
        self.check_unsigned(raw, before)
        self.assertIn('cannot be signed without changing', line['reason'])
        self.assertIn('forwarded message', line['detail'])
        self.signing(unencodable='opaque')
        before = self.forwarded(unique('forwarded'))
        raw, line = self.send(before, mail_options=['BODY=8BITMIME'])
        self.check_signed(raw, before, 'opaque')
        self.assertIn('must not be re-encoded', line['reason'])
        self.assertTrue(mailtools.entity_of(raw).endswith(mailtools.split(before)[1]))

    # -- header protection --------------------------------------------------------

    def test_header_protection(self):
        self.signing(**{'header-protection': True})
        for body, to, form in (('Hello\n', BOX, 'detached'), ('Grüße\n' * 5, BOX, 'detached'), ('Hello\n', LIST, 'opaque')):
            with self.subTest(body=body[:5], form=form):
                before = message(address(self.rsa), [to], unique('protected'), body=body, Cc='c@outside.example', **{
                    'Reply-To': address(self.rsa), 'X-Mailer': 'some', 'Message-ID': '<%s@corp.example>' % unique('id')})
                raw, _line = self.send(before, to, mail_options=['BODY=8BITMIME'])
                self.check_signed(raw, before, form)
                inner = email.message_from_bytes(mailtools.entity_of(raw))
                self.assertEqual(inner.get_param('hp'), 'clear')
                for name in ('From', 'To', 'Cc', 'Subject', 'Date', 'Message-ID', 'Reply-To'):
                    self.assertEqual(inner.get_all(name), email.message_from_bytes(raw).get_all(name), name)
                    self.assertEqual(len(inner.get_all(name, [])), 1, name)
                for name in ('Received', 'X-Mailer', 'MIME-Version'):
                    self.assertIsNone(inner[name])

    def test_header_protection_is_left_out_where_the_header_is_not_safe(self):
        self.signing(**{'header-protection': True})
        before = head(unique('utf8') + ' Gr\u00fc\u00dfe', 'text/plain') + b'Hello\r\n'
        raw, line = self.send(before, mail_options=['BODY=8BITMIME', 'SMTPUTF8'])
        self.check_signed(raw, before)
        self.assertIn('header not protected: 8-bit header', line['detail'])
        self.assertNotIn(b'hp=', mailtools.entity_of(raw))
