"""The help desk's questions: why was this mail not signed, who expires, whose certificate is this."""

import csv
import io
import os
import re
import signal
import time

import mailtools
import namespace
from enrolling import Enrolling, address
from mailtools import message, unique
from product import DIR, Failed, Product, require
from stage import Stage, StageCase

STAGE = {'ca': True, 'users': 16}
TAKES, BUSY = 40, 7
BOX, PARTNER, FILM = 'box@outside.example', 'joe@partner.example', 'film@lists.example'
WISH = 'X-Please-Do-Not-Sign'


def setUpModule():
    require()


def parts(sender, kind, *contents):
    """A mail of this multipart type with these parts, header and body each."""
    lines = b''.join(b'--xx\r\n' + one + b'\r\n' for one in contents)
    return message(sender, BOX, unique('why'), body=lines + b'--xx--\r\n', Content_Type=kind + '; boundary="xx"', Content_Transfer_Encoding='8bit')


PLAIN = b'Content-Type: text/plain\r\n\r\nhello\r\n'


class Why(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        stage = cls.s = Stage.current
        for domain in ('partner.example', 'lists.example'):
            stage.postfix.set_transport(domain, 'smtp:[%s]' % namespace.OUTSIDE)
        stage.dovecot.add_users({'ghost': 'pw-ghost'})
        users = iter('user%05d' % n for n in range(STAGE['users']))
        for name in ('anna', 'bonn', 'board', 'left', 'refused', 'held', 'new', 'pilot', 'waits', 'barred', 'gone', 'short', 'quiet'):
            setattr(cls, name, next(users))
        cls.p = Product(
            stage, ca={'caa': 'off'}, certificate={'key-type': 'ec:p256'},
            mail_rules=[{'name': 'films', 'recipients': [FILM]}, {'name': 'lists', 'recipients': ['lists.example'], 'form': 'opaque'}],
            rules=[{'name': 'bonn', 'addresses': [address(cls.bonn)], 'sign': 'outgoing', 'unsigned-to': ['partner.example'], 'unsigned-header': WISH},
                   {'name': 'board', 'addresses': [address(cls.board)], 'sign': 'internal'},
                   {'name': 'left', 'addresses': [address(cls.left)], 'certificate': 'none'},
                   {'name': 'strict', 'addresses': [address(cls.refused)], 'no-certificate': 'reject'},
                   {'name': 'patient', 'addresses': [address(cls.held)], 'no-certificate': 'hold'}])
        cls.p.start()
        cls.many = Enrolling(stage, cls.p)
        cls.many.behave(authz_valid=True)
        signers = [cls.anna, cls.bonn, cls.board, cls.gone]
        for user in signers:
            cls.many.enroll(user)
        cls.many.wait_state(signers, 'active')

    # -- help ----------------------------------------------------------------

    def ask(self, who, *options):
        return self.p.json('why', who, *options, user='helpdesk1')

    def about(self, who, qid):
        """What is said of this mail, once it is on record."""
        return self.until(lambda: (lambda a: a if a['cause'] != 'no-such-mail' else None)(self.ask(who, '--queue-id', qid)), what='the mail is on record')

    def check(self, who, qid, cause, *words, signed=False):
        """The cause, and a sentence for people: whole, with these words, and with something to do."""
        answer = self.about(who, qid)
        self.assertEqual(answer['cause'], cause, answer)
        self.assertEqual(answer['signed'], signed, answer)
        self.assertEqual(answer['mail']['queue_id'], qid)
        self.said(answer, *words)
        return answer

    def said(self, answer, *words):
        for word in words:
            self.assertIn(word, answer['sentence'])
        self.assertRegex(answer['sentence'] + ' ' + answer['what_to_do'], r'^[A-Z"a-z][^{}?]*[^{}]*$')
        self.assertNotIn('{', answer['sentence'] + answer['what_to_do'])
        self.assertTrue(answer['what_to_do'])

    def mail(self, user, *to, sender=None, **headers):
        raw = message(sender or address(user), to or (BOX,), unique('why'), **headers)
        return self.s.submit(user, sender or address(user), list(to) or [BOX], raw)

    def configure(self, *names, **changes):
        mark = self.p.log_mark()
        self.p.configure(**changes)
        for name in names or ('outbound', 'enrolld'):
            self.p.signal(name, signal.SIGUSR1)
        for name in names or ('outbound', 'enrolld'):
            self.p.wait_log(mark=mark, name=name, event='reloaded')

    # -- mail that was signed ----------------------------------------------------

    def test_signed_in_each_form(self):
        who = address(self.anna)
        serial = self.p.show(who)['certificates'][-1]['serial']
        for cause, qid, word in (('signed-detached', self.mail(self.anna), 'detached'),
                                 ('signed-opaque', self.mail(self.anna, 'all@lists.example'), 'mail rule lists'),
                                 ('signed-reencoded', self.mail(self.anna, body='Grüße\n', Content_Transfer_Encoding='8bit'), '8-bit')):
            with self.subTest(cause):
                answer = self.check(who, qid, cause, word, serial, signed=True)
                self.assertEqual(answer['certificate']['serial'], serial)

    def test_a_dkim_signature_that_came_first(self):
        raw = b'DKIM-Signature: v=1; a=rsa-sha256; d=corp.example; s=x; h=from; bh=x; b=x\r\n' + message(address(self.anna), BOX, unique())
        self.check(address(self.anna), self.s.submit(self.anna, address(self.anna), [BOX], raw), 'signed-after-dkim', 'DKIM', signed=True)

    # -- mail that was left alone ----------------------------------------------------

    def test_what_the_mail_is(self):
        who = address(self.anna)
        forwarded = b'Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n' + message('x@y.example', BOX, 'z', body='Grüße\n')
        signed = parts(who, 'multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256', PLAIN, PLAIN)
        pgp = parts(who, 'multipart/signed; protocol="application/pgp-signature"; micalg=pgp-sha256', PLAIN, PLAIN)
        report = parts(who, 'multipart/report; report-type=disposition-notification', PLAIN, b'Content-Type: message/disposition-notification\r\n\r\na: b\r\n')
        twice = b'Content-Type: text/html\r\n' + message(who, BOX, unique())
        sealed = message(who, BOX, unique(), Content_Type='application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m')
        calendar = message(who, BOX, unique(), body='BEGIN:VCALENDAR\nEND:VCALENDAR\n', Content_Type='text/calendar; method=REQUEST')
        cases = [
            ('already-signed', signed, 'already signed'), ('pgp', pgp, 'PGP'), ('encrypted', sealed, 'encrypted'),
            ('delivery-report', report, 'report'), ('duplicate-structure-headers', twice, 'two Content-Type fields'),
            ('calendar', calendar, 'calendar'), ('cannot-be-reencoded', parts(who, 'multipart/mixed', PLAIN, forwarded), 'forwarded message'),
            ('list-mail', message(who, BOX, unique(), List_Id='<l.corp.example>'), 'list'),
            ('auto-submitted', message(who, BOX, unique(), Auto_Submitted='auto-replied'), 'by a program'),
            ('two-from-addresses', message(who + ', bob@corp.example', BOX, unique()), 'more than one author'),
            ('domain-not-served', message('anna@elsewhere.example', BOX, unique()), 'domain'),
        ]
        sent = [(cause, word, self.s.submit(self.anna, who, [BOX], raw, mail_options=['BODY=8BITMIME'])) for cause, raw, word in cases]
        for cause, word, qid in sent:
            with self.subTest(cause):
                # found by the author, or, where that was none of ours, by the envelope sender or the queue id alone
                self.check(who, qid, cause, word)

    def test_a_mail_is_found_by_its_message_id_too(self):
        who = address(self.anna)
        self.about(who, self.mail(self.anna, Message_ID='<one@corp.example>', List_Id='<l.corp.example>'))
        self.about(who, self.mail(self.anna))
        for name in ('<one@corp.example>', 'one@corp.example'):
            self.assertEqual(self.ask(who, '--message-id', name)['cause'], 'list-mail')
        self.assertEqual(self.ask(who)['cause'], 'signed-detached', 'the last one')
        answer = self.ask(who, '--message-id', 'other@corp.example')
        self.assertEqual(answer['cause'], 'no-such-mail')
        self.said(answer, 'No such mail')

    def test_who_sent_it(self):
        who = address(self.anna)
        self.check(who, self.s.submit('bob', 'bob@corp.example', [BOX], message(who, BOX, unique())), 'login-not-owner', 'login bob', who)
        qid = self.s.submit('ghost', 'ghost@corp.example', [BOX], message(who, BOX, unique()), password='pw-ghost')
        self.check(who, qid, 'login-unknown', 'ghost')
        self.check('shared@corp.example', self.mail('alice', sender='shared@corp.example'), 'address-of-several', 'several entries')
        self.s.submit(None, address(self.quiet), [BOX], message(address(self.quiet), BOX, unique()), port=2587)
        answer = self.until(lambda: (lambda a: a if 'mail' in a else None)(self.ask(address(self.quiet))))
        self.assertEqual(answer['cause'], 'not-submitted-by-login')
        self.said(answer, 'not authenticated')
        raw = b'Received: from a.example by mx.corp.example (Postfix) with ESMTP id 4X1; Sun, 22 Nov 2026 00:00:00 +0000\r\n' + message(who, BOX, unique())
        self.check(who, self.s.relay('someone@stranger.example', [BOX], raw), 'from-outside', 'MX hosts')

    def test_rules(self):
        bonn, board, inside = address(self.bonn), address(self.board), address(self.anna)
        self.check(bonn, self.mail(self.bonn, inside), 'rule-outgoing-only', 'rule bonn')
        self.check(bonn, self.mail(self.bonn, PARTNER), 'unsigned-to', 'rule bonn')
        self.check(bonn, self.mail(self.bonn, BOX, **{WISH: 'yes'}), 'unsigned-header', 'rule bonn')
        self.check(board, self.mail(self.board, BOX), 'rule-internal-only', 'rule board')
        self.check(inside, self.mail(self.anna, FILM), 'mail-rule', 'mail rule films')
        qid = self.mail(self.left)
        self.p.wait_state(address(self.left), 'blocked')
        self.check(address(self.left), qid, 'excluded', 'Rule left')
        self.check(address(self.left), self.mail(self.left), 'excluded', 'Rule left')

    def test_a_relay_that_proves_nothing(self):
        submission = [dict(s) for s in self.p.config['submission']]
        path = self.p.write_secret('tenant', 'open sesame\n', owner='enroll-out:enroll-milter')
        with_secret = [submission[0], dict(submission[1], **{'secret-header': 'X-Tenant', 'secret-file': path})]
        self.configure('outbound', submission=with_secret)
        self.addCleanup(self.configure, 'outbound', submission=submission)
        qid = self.s.relay(address(self.anna), [BOX], message(address(self.anna), BOX, unique()))
        self.check(address(self.anna), qid, 'relay-proof-missing', 'secret header')

    # -- mail without a certificate --------------------------------------------------

    def test_the_way_to_a_certificate(self):
        """Unknown, on its way, there: each mail has its own answer, and the older ones say what is now."""
        who = address(self.new)
        answer = self.ask(who)
        self.assertEqual((answer['cause'], answer['signed']), ('no-enrollment', False))
        self.many.behave(challenge_trigger='never')
        self.addCleanup(self.many.behave, authz_valid=True)
        first = self.mail(self.new)
        self.many.wait_state([self.new], 'challenge-awaited')
        self.check(who, first, 'no-enrollment', 'nobody had asked', 'challenge mail')
        second = self.mail(self.new)
        self.check(who, second, 'challenge-awaited', 'still on its way', 'waits for the CA\'s challenge mail')
        self.many.behave(authz_valid=True)
        self.p.ctl('disable', who, '--yes', '--reason', 'too early')
        self.check(who, self.mail(self.new), 'disabled', 'admin1', 'too early')
        self.p.ctl('enable', who)

    def test_rejected_and_held(self):
        self.many.behave(challenge_trigger='never')
        self.addCleanup(self.many.behave, authz_valid=True)
        with self.assertRaises(mailtools.Refused):
            self.mail(self.refused)
        answer = self.until(lambda: (lambda a: a if 'mail' in a else None)(self.ask(address(self.refused))))
        self.assertEqual(answer['cause'], 'rejected')
        self.said(answer, 'rejected')
        self.check(address(self.held), self.mail(self.held), 'held', 'hold queue')

    def test_disabled_and_on_again(self):
        who = address(self.gone)
        self.p.ctl('disable', who, '--yes', '--reason', 'on leave')
        qid = self.mail(self.gone)
        self.check(who, qid, 'disabled', 'admin1', 'on leave')
        self.p.ctl('enable', who)
        self.check(who, qid, 'disabled', 'had switched signing off', 'mail sent from now on is signed')
        self.check(who, self.mail(self.gone), 'signed-detached', signed=True)

    def test_blocked_and_what_can_be_done(self):
        who = address(self.barred)
        self.s.ldap.modify(self.barred, mail=['other@corp.example'])
        self.addCleanup(self.s.ldap.modify, self.barred, mail=[who])
        self.p.ctl('enroll', who)
        self.p.wait_state(who, 'blocked')
        answer = self.ask(who)
        self.assertEqual(answer['cause'], 'blocked')
        self.said(answer, 'no directory entry has this address')
        self.assertIn('enrollctl retry ' + who, answer['what_to_do'])

    def test_expired(self):
        who = address(self.short)
        self.many.behave(authz_valid=True, lifetime_seconds=12, backdate_seconds=0)
        self.many.enroll(self.short)
        self.many.wait_state([self.short], 'active', 'renewing')
        self.many.behave(challenge_trigger='never')
        self.addCleanup(self.many.behave, authz_valid=True)
        listed = {e['address']: e for e in self.p.json('expiring', '--within', '1h', user='helpdesk1')['expiring']}
        self.assertIn(who, listed)
        time.sleep(14)      # until it has ended
        self.check(who, self.mail(self.short), 'expired', 'expired')

    # -- the installation ---------------------------------------------------------

    def test_paused_and_waiting(self):
        who = address(self.waits)
        self.p.ctl('pause', '--reason', 'an exercise')
        self.addCleanup(self.p.ctl, 'resume')
        time.sleep(2)       # the promise
        self.check(address(self.anna), self.mail(self.anna), 'paused', 'an exercise')
        self.assertEqual(self.ask('nobody@corp.example')['cause'], 'paused')
        self.p.ctl('enroll', who)
        self.p.wait_state(who, 'waiting')
        self.p.ctl('resume')
        time.sleep(2)
        self.check(who, self.mail(self.waits), 'waiting', 'waits until', 'paused')

    def test_modes_and_pilot(self):
        who = address(self.anna)
        self.addCleanup(self.configure, mode='sign', pilot=None)
        self.configure(mode='enroll')
        self.check(who, self.mail(self.anna), 'mode-enroll', 'mode is enroll')
        self.configure(mode='observe')
        self.check(who, self.mail(self.anna), 'mode-observe', 'would be signed')
        self.assertEqual(self.ask('nobody@corp.example')['cause'], 'mode-observe')
        self.configure(mode='sign', pilot={'addresses': ['dave@corp.example']})
        self.check(who, self.mail(self.anna), 'not-in-pilot', 'pilot')
        self.assertEqual(self.ask('nobody@corp.example')['cause'], 'not-in-pilot')
        self.assertEqual(self.ask('nobody@elsewhere.example')['cause'], 'domain-not-served')

    def test_an_error_that_let_it_pass(self):
        os.chmod(DIR + '/spool', 0)
        self.addCleanup(os.chmod, DIR + '/spool', 0o2770)
        # what is small needs no file
        answer = self.check(address(self.anna), self.mail(self.anna, body='Hello, world.\n' * 200000), 'error-passed', 'ermission denied')
        self.assertIn('on-error', answer['sentence'])

    # -- in a form to read; expiring, search, csv --------------------------------------

    def test_for_people(self):
        qid = self.mail(self.anna, List_Id='<l.corp.example>')
        self.about(address(self.anna), qid)
        text = self.p.ctl('why', address(self.anna), '--queue-id', qid, user='helpdesk1').splitlines()
        self.assertRegex(text[0], r'^The mail of \S+Z is list or bulk mail')
        self.assertRegex(text[1], r'^What to do: ')
        self.assertIn('list-mail', '\n'.join(text))
        self.assertIn(qid, '\n'.join(text))
        for command in ('why', 'expiring', 'search'):
            self.assertIn('Who may: help desk', self.p.ctl(command, '--help', user='helpdesk1'))
            with self.assertRaises(Failed):
                self.p.ctl(command, 'x@corp.example', user='mallory')

    def test_expiring(self):
        found = self.p.json('expiring', '--within', '400d', user='helpdesk1')['expiring']
        ends = [e['not_after'] for e in found]
        self.assertEqual(ends, sorted(ends))
        listed = {e['address']: e for e in found}
        self.assertLessEqual({address(u) for u in (self.anna, self.bonn, self.board)}, set(listed))
        self.assertRegex(listed[address(self.anna)]['renewal'], r'^begins at 20')
        self.assertEqual(listed[address(self.anna)]['days'], 364)
        near = {e['address'] for e in self.p.json('expiring')['expiring']}
        self.assertNotIn(address(self.anna), near)
        self.assertRegex(self.p.ctl('expiring', '--within', '52w', '--limit', '1'), r'(?m)^ADDRESS +UNTIL')
        self.assertEqual(self.p.ctl_run('expiring', '--within', 'soon').returncode, 2)

    def test_search(self):
        who = address(self.anna)
        shown = self.p.show(who)['certificates'][-1]
        serial, fingerprint = shown['serial'], shown['fingerprint']
        colons = ':'.join(re.findall('..', fingerprint.upper()))
        for words in ([who], [self.anna.upper()], [self.anna, 'corp'], [serial], [serial.lower()], [serial[:10]], [fingerprint], [colons]):
            with self.subTest(words):
                found = self.p.json('search', *words, user='helpdesk1')['found']
                self.assertEqual([f['address'] for f in found], [who])
                self.assertEqual((found[0]['serial'], found[0]['fingerprint']), (serial, fingerprint))
        self.assertEqual(self.p.json('search', self.anna, 'elsewhere')['found'], [])
        self.assertEqual(self.p.json('search', '%')['found'], [], 'no wildcards')
        self.assertGreater(len(self.p.json('search', 'corp.example')['found']), 3)

    def test_search_by_name(self):
        """As the directory has it: of whoever has an enrollment, and of whoever has none."""
        self.s.ldap.modify(self.bonn, displayName=['Bónn (Sales*), Ürsula'])
        for words in (['sales*', 'ürsula'], ['(sales']):
            with self.subTest(words):
                found = self.p.json('search', *words, user='helpdesk1')['found']
                self.assertEqual([(f['address'], f['state']) for f in found], [(address(self.bonn), 'active')])
                self.assertEqual(found[0]['name'], 'Bónn (Sales*), Ürsula')
        found = self.p.json('search', 'cooper')['found']
        self.assertEqual([(f['address'], f.get('state'), f['name']) for f in found], [('carol@corp.example', None, 'Carol Cooper')])
        self.assertIn('(no enrollment)', self.p.ctl('search', 'cooper'))
        self.assertEqual(self.p.json('search', '*)(uid=*')['found'], [], 'no filters of strangers')

    def test_csv(self):
        self.about(address(self.anna), self.mail(self.anna, Message_ID='<="x",1@corp.example>'))
        for args, column in ((['list'], 'address'), (['mail', address(self.anna)], 'from'), (['events', address(self.anna)], 'address'),
                             (['expiring', '--within', '400d'], 'address'), (['search', self.anna], 'address')):
            with self.subTest(args):
                rows = list(csv.DictReader(io.StringIO(self.p.ctl(*args, '--csv', user='helpdesk1'), newline='')))
                self.assertIn(address(self.anna), [r[column] for r in rows])
        mails = list(csv.DictReader(io.StringIO(self.p.ctl('mail', address(self.anna), '--csv'), newline='')))
        self.assertIn('<="x",1@corp.example>', [m['message_id'] for m in mails])
        self.assertEqual(self.p.ctl_run('show', address(self.anna), '--csv').returncode, 2)
