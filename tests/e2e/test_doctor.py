"""enrollctl doctor: finds nothing where all is well, and names what is wrong where something is."""

import json

import stage_postfix
from mailtools import message, unique
from product import Product, require
from stage import Stage, StageCase

STAGE = {'ca': True}
TAKES = 45
BOX = 'box@outside.example'


def setUpModule():
    require()


class Doctor(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        Stage.current.ca.admin('/behaviour', {'authz_valid': True})
        Stage.current.postfix.set_transport('doctor.invalid', 'smtp:[127.0.0.1]:10027')
        cls.p = Product(Stage.current, directory={'disabled-filter': '(employeeType=former)'})
        cls.p.env['MAIL_CONFIG'] = Stage.current.postfix.directory
        cls.p.start()
        cls.p.ctl('enroll', 'alice@corp.example')
        cls.p.wait_state('alice@corp.example', 'active')
        subject = unique()
        Stage.current.submit('alice', 'alice@corp.example', [BOX], message('alice@corp.example', BOX, subject))
        Stage.current.outside.wait_subject(subject)

    def ask(self, code):
        done = self.p.ctl_run('doctor', '--json', user='helpdesk1')
        checks = json.loads(done.stdout)['checks']
        self.assertEqual(done.returncode, code, checks)
        found = {}
        for check in checks:
            worst = found.get(check['check'])
            if worst is None or check['verdict'] != 'ok':
                found[check['check']] = check
        return found

    def one(self, check):
        """One check, whatever the others say."""
        return next(c for c in json.loads(self.p.ctl_run('doctor', '--json').stdout)['checks'] if c['check'] == check)

    def test_all_well(self):
        self.until(lambda: self.p.json('mail')['mail'], what='the mail is on record')
        found = self.ask(0)
        # That Postfix of the stage asks nobody who may write as whom is no fault; test_operate_doctor has it.
        # And its PostgreSQL is fast instead of safe, which the doctor sees.
        unsafe = {'store'} if self.stage.postgresql else set()
        self.assertEqual({c for c, f in found.items() if f['verdict'] != 'ok'}, {'postfix-login'} | unsafe, found)
        if unsafe:
            self.assertIn('fsync', found['store']['text'])
        self.assertLessEqual({'store', 'outbound', 'inbound', 'milter-order', 'directory', 'dns', 'ca', 'caa', 'reply-path', 'reply-reports', 'default-action',
                              'departures'}, set(found))

    def test_instance_down(self):
        self.p.stop('inbound')
        try:
            self.assertIn('enroll-milter@inbound', self.ask(1)['inbound']['text'])
        finally:
            self.p.start('inbound')

    def test_ca_directory_and_dns_down(self):
        with self.stage.faults.refused(self.stage.ca):
            self.assertEqual(self.ask_restarted()['ca']['verdict'], 'fault')
        with self.stage.faults.refused(self.stage.ldap):
            self.assertEqual(self.ask(1)['directory']['verdict'], 'fault')

    def ask_restarted(self):
        """The CA's word is cached for a while: a fresh enrolld asks anew."""
        self.p.restart('enrolld')
        return self.ask(1)

    def test_caa_forbids(self):
        self.stage.dns.set_caa([('issuemail', 'other.example')])
        try:
            self.stage.dns.flush()
            found = self.until(self.refusal, what='the old record has left the cache')
            self.assertIn('other.example', found['text'])
            self.assertIn('issuemail "ca.example', found['text'], 'the line to publish is shown')
        finally:
            self.stage.dns.set_caa([('issuemail', 'ca.example')])
            self.stage.dns.flush()

    def refusal(self):
        checks = json.loads(self.p.ctl_run('doctor', '--json').stdout)['checks']
        return next((c for c in checks if c['check'] == 'caa' and c['verdict'] == 'fault'), None)

    def test_replies_leave_unsigned(self):
        """The reply listener has the signer of ordinary mail, which takes nothing from loopback."""
        self.stage.postfix.set_listener('127.0.0.1:10025', 'smtpd_milters=unix:dkim/sv.sock')
        try:
            self.assertIn('without a DKIM signature', self.ask(1)['reply-path']['text'])
        finally:
            self.stage.postfix.set_listener('127.0.0.1:10025')

    def test_delivery_reports_go_astray(self):
        self.stage.postfix.set(transport_maps='texthash:%s/transport' % self.stage.postfix.directory)
        try:
            found = self.one('reply-reports')
            self.assertEqual(found['verdict'], 'warning')
            self.assertIn('transport_maps', found['text'])
        finally:
            self.stage.postfix.set(transport_maps=stage_postfix.MAIN['transport_maps'])

    def test_a_mail_server_that_goes_on_without_us(self):
        listener = '192.0.2.10:587'
        for options in (['milter_default_action=accept'],
                        ['smtpd_milters={ unix:enroll-milter/outbound.sock, default_action = accept }, unix:dkim/sv.sock']):
            self.stage.postfix.set_listener(listener, *options)
            try:
                found = self.one('default-action')
            finally:
                self.stage.postfix.set_listener(listener)
            self.assertEqual(found['verdict'], 'warning')
            self.assertIn('587', found['text'])
        self.assertEqual(self.one('default-action')['verdict'], 'ok')

    def test_dkim_before_us(self):
        raw = b'DKIM-Signature: v=1; a=rsa-sha256; d=corp.example; s=x; h=from; bh=x; b=x\r\n' + \
            message('alice@corp.example', BOX, unique())
        self.stage.submit('alice', 'alice@corp.example', [BOX], raw)
        self.until(lambda: any('come first' in (m.get('reason') or '') for m in self.p.json('mail')['mail']))
        self.assertIn('before OpenDKIM', self.ask(1)['milter-order']['text'])
