"""What running for years asks for: reload, end, repair without a second certificate, a relay shared with strangers."""

import os
import pwd
import signal
import time

import mailtools
from mailtools import message, unique
from product import ETC, Product, require
from stage import Stage, StageCase

STAGE = {'ca': True, 'users': 6}
TAKES, BUSY = 20, 8
BOX = 'box@outside.example'
PEOPLE = ['user%05d@corp.example' % n for n in range(STAGE['users'])]


def setUpModule():
    require()


class Running(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        Stage.current.ca.admin('/behaviour', {'authz_valid': True})
        cls.p = Product(Stage.current)
        cls.p.start()
        cls.p.ctl('enroll', 'alice@corp.example')
        cls.p.wait_state('alice@corp.example', 'active')

    def mail(self, sender='alice@corp.example'):
        subject = unique()
        self.stage.submit(sender.split('@')[0], sender, [BOX], message(sender, BOX, subject))
        return self.stage.outside.wait_subject(subject).content

    def relay(self, raw):
        subject = mailtools.headers(raw, 'Subject')[0].strip()
        self.stage.relay('bounce@corp.example', [BOX], raw)
        return self.stage.outside.wait_subject(subject).content

    def certificates(self):
        return len(self.stage.ca.admin('/state')['certificates'])

    def pid(self, name):
        return self.p.daemons[name].process.pid

    def test_reload_takes_the_new_configuration_into_force(self):
        pids = [self.pid(n) for n in ('outbound', 'inbound', 'enrolld')]
        self.assertTrue(mailtools.is_signed(self.mail()))
        mark = self.p.log_mark()
        self.p.configure(mode='enroll')
        for name, number in (('outbound', signal.SIGUSR1), ('inbound', signal.SIGUSR1), ('enrolld', signal.SIGHUP)):
            self.p.signal(name, number)
            self.p.wait_log(mark=mark, name=name, event='reloaded')
        self.assertFalse(mailtools.is_signed(self.mail()))
        self.p.configure(mode='sign')
        mark = self.p.log_mark()
        self.p.signal('outbound', signal.SIGUSR1)
        self.p.wait_log(mark=mark, name='outbound', event='reloaded')
        self.assertTrue(mailtools.is_signed(self.mail()))
        self.assertEqual([self.pid(n) for n in ('outbound', 'inbound', 'enrolld')], pids)
        self.assertTrue(all(self.p.running(n) for n in ('outbound', 'inbound', 'enrolld')))

    def test_after_a_reload_mail_events_follow_the_new_configuration(self):
        """What the outbound instance writes on behalf of its callbacks is no matter of its start."""
        before = self.p.config
        mark = self.p.log_mark()
        self.p.configure(certificate={'generation': 'multipurpose'}, milter={'mail-events': 3})
        try:
            self.p.signal('outbound', signal.SIGUSR1)
            self.p.wait_log(mark=mark, name='outbound', event='reloaded')
            for _ in range(5):
                self.mail(PEOPLE[2])
            # Which certificate it will be is for enrolld to say, which was not told to reload.
            shown = self.p.wait_state(PEOPLE[2], 'active')
            self.assertEqual(shown['enrollment']['profile'], 'mailbox-strict')
            self.until(lambda: len(self.p.json('mail')['mail']) == 3, what='three mail events are kept')
        finally:
            self.p.config = before
            self.p.write_config()
            self.p.restart('outbound')

    def test_a_configuration_that_cannot_be_used_leaves_the_old_one_in_force(self):
        for change in ({'mode': 'nonsense'}, {'master': {'key': ETC + '/none.key'}, 'ca': {'anchor-file': ETC + '/none.pem'}}):
            with self.subTest(change):
                config = self.p.config
                mark = self.p.log_mark()
                self.p.configure(**change)
                self.p.signal('outbound', signal.SIGUSR1)
                self.p.signal('enrolld', signal.SIGHUP)
                self.p.wait_log(mark=mark, name='outbound', event='reload_failed')
                self.p.wait_log(mark=mark, name='enrolld', event='reload_failed')
                self.p.config = config
                self.p.write_config()
                self.assertTrue(mailtools.is_signed(self.mail()))
                self.until(lambda: self.p.ctl_run('status').returncode == 0, what='enrolld serves again')

    def test_sigterm_ends_cleanly_and_writes_what_is_queued(self):
        subject = unique()
        raw = message('alice@corp.example', BOX, subject)
        ident = mailtools.headers(raw, 'Message-ID')[0].strip()
        mark = self.p.log_mark()
        self.stage.submit('alice', 'alice@corp.example', [BOX], raw)
        codes = self.p.stop()
        self.assertEqual(codes, dict.fromkeys(codes, 0))
        for name in ('outbound', 'inbound', 'enrolld'):
            self.assertTrue(self.p.log(mark, name, event='stopped'), name)
        self.p.start()
        self.assertIn(ident, [m['message_id'] for m in self.p.json('mail')['mail']])

    def test_a_directory_that_refuses_is_repaired_without_a_second_certificate(self):
        before = self.certificates()
        self.p.configure(directory={'certificate-attribute': 'noSuchAttribute'})
        self.p.restart('enrolld')
        self.p.ctl('enroll', PEOPLE[0])
        shown = self.p.wait_state(PEOPLE[0], 'blocked')
        self.assertEqual(shown['enrollment']['why_class'], 'config')
        self.p.configure(directory={'certificate-attribute': 'userCertificate;binary'})
        self.p.restart('enrolld')
        self.p.ctl('retry', PEOPLE[0])
        self.p.wait_state(PEOPLE[0], 'active')
        self.assertEqual(self.certificates(), before + 1)
        self.assertTrue(mailtools.is_signed(self.mail(PEOPLE[0])))

    def test_a_shared_relay_has_to_prove_the_tenant_before_anything_happens(self):
        submission = [dict(s) for s in self.p.config['submission']]
        submission[1]['require-dkim-domain'] = 'corp.example'
        before = self.p.config
        self.p.configure(submission=submission)
        self.p.restart('outbound')
        try:
            raw = message(PEOPLE[1], BOX, unique())
            self.assertFalse(mailtools.is_signed(self.relay(raw)))
            self.assertIsNone(self.p.show(PEOPLE[1]), 'nobody is enrolled on a stranger\'s word')
            fields = ['From', 'To', 'Subject', 'Date', 'Message-ID', 'Content-Type', 'Content-Transfer-Encoding']
            raw = self.stage.dkim.sign(message(PEOPLE[1], BOX, unique()), 'corp.example', fields=fields)
            self.assertFalse(mailtools.is_signed(self.relay(raw)))
            self.p.wait_state(PEOPLE[1], 'active')
            raw = self.stage.dkim.sign(message(PEOPLE[1], BOX, unique()), 'corp.example', fields=fields)
            self.assertTrue(mailtools.is_signed(self.relay(raw)))
            raw = self.stage.dkim.sign(message(PEOPLE[1], BOX, unique()), 'outside.example', fields=fields)
            self.assertFalse(mailtools.is_signed(self.relay(raw)), 'another tenant of the relay')
            self.assertFalse(mailtools.is_signed(self.relay(message(PEOPLE[1], BOX, unique()))))
        finally:
            self.p.config = before
            self.p.write_config()
            self.p.restart('outbound')

    def test_a_secret_header_opens_the_relay_and_is_stripped(self):
        submission = [dict(s) for s in self.p.config['submission']]
        path = self.p.write_secret('tenant', 'open sesame\n')
        os.chmod(path, 0o600)
        os.chown(path, self.uid('enroll-out'), 0)
        submission[1].update({'secret-header': 'X-Tenant', 'secret-file': path})
        before = self.p.config
        self.p.configure(submission=submission)
        self.p.restart('outbound')
        try:
            for value, signed in (('open sesame', True), ('wrong', False), (None, False)):
                with self.subTest(value):
                    content = self.relay(message('alice@corp.example', BOX, unique(), X_Tenant=value))
                    self.assertEqual(mailtools.is_signed(content), signed)
                    self.assertEqual(mailtools.headers(content, 'X-Tenant'), [])
        finally:
            self.p.config = before
            self.p.write_config()
            self.p.restart('outbound')

    def test_cut_off_from_the_store_it_signs_for_the_stale_limit_only(self):
        """Invariant: cached credentials sign for at most stale-limit, then on-error decides."""
        self.p.configure(milter={'stale-limit': 8})
        self.p.restart('outbound')
        self.assertTrue(mailtools.is_signed(self.mail()))
        self.p.stop('enrolld', 'inbound')
        try:
            with self.p.store_away():
                away = time.monotonic()
                content = self.mail()
                if time.monotonic() - away < 8:     # a busy machine may be later
                    self.assertTrue(mailtools.is_signed(content))
                time.sleep(9)
                self.assertFalse(mailtools.is_signed(self.mail()))
                last = self.p.log(name='outbound', event='mail_done')[-1]
                self.assertEqual((last['verdict'], last['action']), ('error', 'pass'), last['line'])
        finally:
            self.p.configure(milter={'stale-limit': 900})
            self.p.restart('outbound', 'inbound', 'enrolld')
        self.assertTrue(mailtools.is_signed(self.mail()))

    @staticmethod
    def uid(user):
        return pwd.getpwnam(user).pw_uid
