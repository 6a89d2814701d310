"""Observe mode on 200 users: nothing is ordered, changed or signed, and the admin learns what would be."""

import os
import re

import mailtools
import service
from mailtools import message, unique
from namespace import GATEWAY, run
from product import ETC, Product, require
from stage import Stage, StageCase
from stage_ldap import DIR as LDAP_DIR

STAGE = {'ca': True, 'users': 200}
TAKES, BUSY = 14, 8
BOX = 'box@outside.example'
PEOPLE = ['user%05d' % n for n in range(STAGE['users'])]
ADDED = {'received', 'dkim-signature', 'authentication-results'}
BODIES = ('Hello,\nthis is a test.\n', 'Grüße aus Köln, naïve café\n', 'blanks at the end  \nFrom here on\n.\n', 'x' * 990 + '\n')


def setUpModule():
    require()


def address(user):
    return user + '@corp.example'


class Observe(StageCase):
    def directory(self):
        """All that is in it."""
        return run('slapcat', '-f', LDAP_DIR + '/slapd.conf').stdout

    def mail(self, user, sender, number):
        """(raw, what arrived outside)"""
        raw = message(sender, BOX, unique(), BODIES[number % len(BODIES)], Content_Transfer_Encoding='8bit')
        with mailtools.Session((GATEWAY, 587), user, self.stage.password(user)) as session:
            session.send(address(user), [BOX], raw, mail_options=['BODY=8BITMIME'])
        return raw

    def assert_passed(self, raw):
        """Octet for octet, below what Postfix and OpenDKIM put on top."""
        subject = mailtools.headers(raw, 'Subject')[0]
        arrived = self.stage.outside.wait_subject(subject).content
        self.assertTrue(arrived.endswith(raw), 'altered: %.2000r' % arrived)
        top = {n.lower() for n, _v in mailtools.headers(arrived[:-len(raw)] + b'\r\n')}
        self.assertLessEqual(top, ADDED)

    def observed(self):
        return {o['address']: o for o in self.p.json('list', '--observed')['observed']}

    def mails_seen(self):
        report = self.p.json('list', '--observed')
        return sum(o['mails'] for o in report['observed'] + report['left_alone'])

    def test_two_hundred_users(self):
        stage = self.stage
        stage.ca.admin('/behaviour', {'authz_valid': True})
        self.p = Product(stage, mode='observe', ca=None, certificate={'key-type': 'ec:p256'}, directory={'publish': 'required'})
        self.addCleanup(self.p.stop)
        self.p.prepare()
        self.p.init()
        for name in ('master.pem', 'master.key'):       # nothing of the kind is needed to observe
            if os.path.exists(ETC + '/' + name):
                os.unlink(ETC + '/' + name)
        self.assertIn('configuration is good', self.p.ctl('config', 'check'))
        before = self.directory()
        self.p.start()
        requests = len(stage.ca.admin('/log?since=0&event=request'))
        mails = [self.mail(user, address(user), n) for n, user in enumerate(PEOPLE)]
        others = [self.mail('bob', 'carol@corp.example', 0), self.mail('bob', 'carol@corp.example', 1), self.mail('mallory', 'dave@corp.example', 2)]
        for raw in mails + others:
            self.assert_passed(raw)

        service.until(lambda: self.mails_seen() == len(mails + others), 120, 'all mails are in the report')
        seen = self.observed()
        self.assertEqual(set(seen), {address(u) for u in PEOPLE}, 'those who own their From, and nobody else')
        for user in PEOPLE:
            self.assertEqual((seen[address(user)]['login'], seen[address(user)]['mails'], seen[address(user)]['reason']),
                             (user, 1, 'would be enrolled, then signed'))
        self.report_for_people()
        self.assertEqual(self.p.json('list')['enrollments'], [], 'nobody is enrolled by being seen')
        state = stage.ca.admin('/state')
        self.assertEqual((state['orders'], state['certificates'], state['accounts']), ([], [], []))
        self.assertEqual(len(stage.ca.admin('/log?since=0&event=request')), requests, 'the CA was not even asked')
        self.assertEqual(self.directory(), before)
        self.then_sign()

    def report_for_people(self):
        """The same in a form to read, for the help desk too; the login that does not own its From is explained there."""
        text = self.p.ctl('list', '--observed', user='helpdesk1')
        rows = re.findall(r'^(\S+@corp\.example) +1 +\S+ +would be enrolled, then signed$', text, re.M)
        self.assertEqual(rows, sorted(address(u) for u in PEOPLE))
        self.assertIn('200 addresses', text)
        self.assertRegex(text, r'(?m)^ +2 +\S+ +address is not listed for this login$')
        self.assertRegex(text, r'(?m)^ +1 +\S+ +unknown login$')
        self.assertRegex(self.p.ctl('mail', 'dave@corp.example'), 'unknown login')
        self.assertIn('mode observe', self.p.ctl('status'))

    def then_sign(self):
        """With a CA and mode sign those who write are enrolled, one by one with their mail; back in observe mode that is told apart."""
        self.p.config['ca'] = self.p.standard_config()['ca']
        self.p.configure(mode='sign')
        self.p.init()
        self.p.restart()
        writers = PEOPLE[:10]
        for n, user in enumerate(writers):
            self.assert_passed(self.mail(user, address(user), n))
        for user in writers:
            self.p.wait_state(address(user), 'active')
            self.assertEqual(len(self.stage.ldap.certificates(user)), 1)
        self.assertEqual({e['address'] for e in self.p.json('list')['enrollments']}, {address(u) for u in writers})
        self.assertEqual(len(self.stage.ca.admin('/state')['certificates']), len(writers))
        raw = self.mail(writers[0], address(writers[0]), 0)
        arrived = self.stage.outside.wait_subject(mailtools.headers(raw, 'Subject')[0]).content
        self.assertTrue(mailtools.is_signed(arrived))
        verdict = mailtools.verify_openssl(arrived, self.stage.ca.root)
        self.assertTrue(verdict, verdict)

        self.p.configure(mode='observe')
        self.p.restart()
        self.assert_passed(self.mail(writers[0], address(writers[0]), 1))
        self.until(lambda: self.observed()[address(writers[0])]['reason'] == 'would be signed', what='the report has the newest mail')
        self.assertEqual(self.observed()[address(writers[1])]['reason'], 'would be enrolled, then signed')
