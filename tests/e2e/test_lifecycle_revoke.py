"""Rotate and revoke: at once nobody signs with it, and CA, directory and store agree in the end,
whatever is down or killed meanwhile."""

import os
import ssl
import threading
import time

import mailtools
import stage_ldap
from enrolling import Enrolling, address
from faults import Faults
from gates import ANSWER, REQUEST, Gate, Relay
from mailtools import message, unique
from product import ETC, Product, require
from stage import Stage, StageCase
from test_kill import AFTER, BEFORE, BETWEEN, MOMENTS, SETTLE, AtCa

STAGE = {'ca': True, 'users': 62}
TAKES, BUSY = 125, 17
BOX = 'box@outside.example'
WITH_REPLACEMENT = ('keyCompromise', 'superseded')
CODES = {'keyCompromise': 1, 'affiliationChanged': 3, 'superseded': 4, 'cessationOfOperation': 5,
         'privilegeWithdrawn': 0}   # the test CA takes no 9: it is revoked all the same


def setUpModule():
    require()


class RevokeCase(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        s = cls.s = Stage.current
        cls.ca = s.ca
        if not hasattr(RevokeCase, 'p'):
            RevokeCase.gate = Gate()
            Relay(cls.gate, (stage_ldap.ADDRESS, 3389), (stage_ldap.ADDRESS, 389))
            RevokeCase.p = Product(
                s, certificate={'key-type': 'ec:p256'}, store={'busy-ms': 30000}, **{'cap-per-day': 0},
                directory={'urls': ['ldap://%s:3389' % stage_ldap.HOST], 'deadline-ms': 20000,
                           'connect-ms': 20000})
            RevokeCase.p.start()
            RevokeCase.many = Enrolling(s, cls.p)

    def setUp(self):
        self.many.behave(authz_valid=True)
        self.addCleanup(self.heal)

    def heal(self):
        self.gate.drop()
        self.many.behave(authz_valid=True)
        self.p.start()

    # -- people -----------------------------------------------------------------

    def active(self, n=1):
        users = [self.many.user() for _ in range(n)]
        for user in users:
            self.many.enroll(user)
        self.many.wait_state(users, 'active')
        return users if n > 1 else users[0]

    def certificate(self, user, status='active'):
        return [c for c in self.many.show(user)['certificates'] if c['status'] == status][0]

    def revoke(self, what, reason, *more):
        return self.p.json('revoke', what, '--reason', reason, '--yes', *more)

    def signed(self, user):
        subject = unique()
        self.s.submit(user, address(user), [BOX], message(address(user), BOX, subject))
        return mailtools.is_signed(self.s.outside.wait_subject(subject).content)

    def signer_serial(self, user):
        """The serial number of the certificate that a mail of the user is signed with; None: unsigned."""
        subject = unique()
        self.s.submit(user, address(user), [BOX], message(address(user), BOX, subject))
        content = self.s.outside.wait_subject(subject).content
        if not mailtools.is_signed(content):
            return None
        signers = mailtools.verify_openssl(content, self.ca.root).signers
        from cryptography import x509
        return '%X' % x509.load_pem_x509_certificate(signers.encode() if isinstance(signers, str) else signers).serial_number

    def revocation(self, user, serial):
        return [r for r in self.many.show(user)['revocations'] if r['serial'] == serial][0]

    def revoked_at_ca(self, serial):
        return [r for r in self.many.ca_log('revoked') if int(r['serial'], 16) == int(serial, 16)]

    def agree(self, user, serial, seconds=120):
        """CA, directory and store say that it is revoked."""
        self.until(lambda: self.revocation(user, serial).get('done_at'), seconds,
                   'the revocation of %s is done\n%s' % (serial, self.many.story(user)))
        shown = self.revocation(user, serial)
        self.assertEqual((shown['ca']['state'], shown['directory']['state']), ('done', 'done'))
        self.assertEqual(self.certificate(user, 'revoked')['serial'], serial)
        self.assertEqual(len(self.revoked_at_ca(serial)), 1)
        self.assertNotIn(int(serial, 16), self.published(user))

    def published(self, user):
        from cryptography import x509
        return {x509.load_der_x509_certificate(d).serial_number for d in self.s.ldap.certificates(user)}


class Rotate(RevokeCase):
    def test_a_new_key_takes_over_and_mail_is_signed_throughout(self):
        user = self.active()
        old = self.certificate(user)
        before = self.many.show(user)
        self.assertIn('would be asked for', self.p.ctl('rotate', address(user), '--dry-run', user='helpdesk1'))
        self.assertEqual(self.many.show(user), before, 'a dry run changes nothing')
        self.p.ctl('rotate', address(user), '--reason', 'new year', user='helpdesk1')
        self.assertTrue(self.signed(user))
        self.until(lambda: self.certificate(user)['serial'] != old['serial'], what='the new one is active')
        self.assertEqual(self.signer_serial(user).lstrip('0'), self.certificate(user)['serial'].lstrip('0'))
        self.assertIn('new year', [e.get('text') for e in self.many.show(user)['events']])
        self.assertEqual(self.many.show(user)['revocations'], [])
        self.assertEqual([c['status'] for c in self.many.show(user)['certificates']], ['superseded', 'active'])
        keys = self.ask_keys(user)
        self.assertEqual(len(keys), 2)

    def ask_keys(self, user):
        return self.p.sql('SELECT DISTINCT k.spki_sha256 FROM user_keys k JOIN enrollments e'
                          ' ON e.id = k.enrollment_id WHERE e.address = ?', address(user))


class Reasons(RevokeCase):
    def test_each_reason_by_address_and_by_serial(self):
        users = self.active(2 * len(CODES))
        cases = [(u, r, by) for (r, by), u in zip([(r, by) for r in CODES for by in ('address', 'serial')], users)]
        serials = {}
        for user, reason, by in cases:
            serials[user] = self.certificate(user)['serial']
            answer = self.revoke(address(user) if by == 'address' else serials[user].lower(), reason)
            self.assertEqual([c['serial'] for c in answer['certificates']], [serials[user]])
            self.assertEqual(answer['replacement'], reason in WITH_REPLACEMENT)
        for user, reason, by in cases:
            with self.subTest(reason=reason, by=by):
                serial = serials[user]
                self.agree(user, serial)
                self.assertEqual(self.revoked_at_ca(serial)[0]['reason'], CODES[reason])
                if reason in WITH_REPLACEMENT:
                    self.many.wait_state([user], 'active')
                    self.assertNotEqual(self.signer_serial(user), None)
                    self.assertEqual(len(self.published(user)), 1)
                else:
                    shown = self.many.show(user)['enrollment']
                    self.assertEqual((shown['state'], shown['disabled']), ('revoked', True))
                    self.assertFalse(self.signed(user))
                    self.assertFalse(self.signed(user), 'a mail asks for no new certificate')
                    self.assertEqual(len(self.many.ca_log('issued', user)), 1)
                events = self.many.events(user)
                self.assertEqual([e for e in events if e in ('revoking', 'revoked_at_ca', 'unpublished', 'revoked')],
                                 ['revoking', 'revoked_at_ca', 'unpublished', 'revoked'])

    def test_no_replacement_and_enable(self):
        user = self.active()
        serial = self.certificate(user)['serial']
        self.revoke(address(user), 'keyCompromise', '--no-replacement')
        self.agree(user, serial)
        self.assertEqual(self.many.state(user), 'revoked')
        self.p.ctl('enable', address(user))
        self.many.enroll(user)
        self.many.wait_state([user], 'active')
        self.assertTrue(self.signed(user))

    def test_a_renewal_between_the_list_and_the_yes(self):
        """What was not shown is not revoked; asked anew, both are shown."""
        user = self.active()
        old = self.certificate(user)['serial']

        def renewed():
            self.p.ctl('rotate', address(user))
            self.until(lambda: self.certificate(user)['serial'] != old, what='the new one is active')
        rc, shown = self.p.ctl_typed('yes', 'revoke', address(user), '--reason', 'cessationOfOperation', meanwhile=renewed)
        self.assertEqual(rc, 1, shown)
        self.assertIn('has changed since it was shown', shown)
        self.assertEqual(self.many.show(user)['revocations'], [], 'nothing was done, to the old one neither')
        self.assertTrue(self.signed(user))
        rc, shown = self.p.ctl_typed('yes', 'revoke', address(user), '--reason', 'cessationOfOperation')
        self.assertEqual(rc, 0, shown)
        self.assertEqual(len(self.many.show(user)['revocations']), 2)

    def test_what_is_asked_and_refused(self):
        user = self.active()
        serial = self.certificate(user)['serial']
        plan = self.p.json('revoke', address(user), '--reason', 'superseded', '--dry-run')
        self.assertEqual(([c['serial'] for c in plan['certificates']], plan['revoked']), ([serial], 0))
        for args, who in ((['--yes'], 'helpdesk1'), (['--dry-run'], 'helpdesk1'), ([], 'admin1')):
            done = self.p.ctl_run('revoke', address(user), '--reason', 'superseded', *args, user=who)
            self.assertEqual(done.returncode, 1, done)
        done = self.p.ctl_run('revoke', address(user), '--reason', 'boredom', '--yes')
        self.assertEqual(done.returncode, 1)
        self.assertIn('keyCompromise', done.stderr)
        self.assertEqual(self.many.show(user)['revocations'], [])
        self.assertTrue(self.signed(user))
        self.revoke(address(user), 'cessationOfOperation')
        done = self.p.ctl_run('revoke', address(user), '--reason', 'superseded', '--yes')
        self.assertEqual(done.returncode, 1, 'nothing is left to revoke')


class Directory(RevokeCase):
    def foreign(self):
        """A certificate of somebody else's making."""
        import subprocess
        done = subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout',
                               '/dev/null', '-subj', '/CN=foreign', '-outform', 'DER'], check=True, capture_output=True)
        return done.stdout

    def test_a_foreign_value_stays(self):
        user, foreign = self.active(), self.foreign()
        mine = self.s.ldap.certificates(user)
        self.s.ldap.modify(user, **{'userCertificate;binary': mine + [foreign]})
        serial = self.certificate(user)['serial']
        self.revoke(address(user), 'affiliationChanged')
        self.agree(user, serial)
        self.assertEqual(self.s.ldap.certificates(user), [foreign])

    def test_ours_that_is_gone_already_is_no_trouble(self):
        user = self.active()
        serial = self.certificate(user)['serial']
        self.s.ldap.modify(user, **{'userCertificate;binary': []})
        self.revoke(address(user), 'affiliationChanged')
        self.agree(user, serial)


class Down(RevokeCase):
    def test_ca_down(self):
        user = self.active()
        serial = self.certificate(user)['serial']
        self.assertTrue(self.signed(user))
        self.ca.admin('/door', {'how': 'refuse'})
        self.addCleanup(self.ca.admin, '/door', {'how': 'open'})
        self.revoke(address(user), 'keyCompromise', '--no-replacement')
        self.assertFalse(self.signed(user), 'unsigned with the next mail')
        self.until(lambda: self.revocation(user, serial)['directory']['state'] == 'done', what='the directory does not wait')
        self.assertEqual(self.published(user), set())
        shown = self.until(lambda: self.revocation(user, serial)['ca'].get('why') and self.revocation(user, serial), what='the trouble is told')
        self.assertEqual(shown['ca']['state'], 'waiting')
        self.assertEqual(self.many.state(user), 'revoking')
        self.assertEqual(self.certificate(user, 'revoking')['serial'], serial)
        self.assertIn('revocation_failed', self.many.events(user))
        self.ca.admin('/door', {'how': 'open'})
        self.agree(user, serial)
        self.assertEqual(self.many.state(user), 'revoked')

    def test_directory_down_and_the_replacement_does_not_wait_for_the_ca(self):
        user, other = self.active(2)
        serial, also = self.certificate(user)['serial'], self.certificate(other)['serial']
        self.ca.admin('/behaviour', {'faults': {'revokeCert': {'status': 503}}})
        self.revoke(address(other), 'keyCompromise')
        self.many.wait_state([other], 'active')
        self.assertTrue(self.signed(other))
        self.assertFalse(self.revoked_at_ca(also))
        self.ca.admin('/behaviour', {'faults': {'revokeCert': None}})
        self.many.retry(other)
        self.agree(other, also)
        with Faults(self.s).refused(self.s.ldap):
            self.revoke(serial, 'cessationOfOperation')
            self.until(lambda: self.revoked_at_ca(serial), what='the CA does not wait for the directory')
            self.until(lambda: self.revocation(user, serial)['directory'].get('why'), what='the trouble is told')
            self.assertEqual(self.many.state(user), 'revoking')
        self.many.retry(user)
        self.agree(user, serial)

    def test_a_certificate_of_another_account(self):
        user = self.active()
        serial = self.certificate(user)['serial']
        key = ETC + '/account.key'
        os.rename(key, key + '.first')
        try:
            self.p.ctl('account', 'register', user='root')
            self.p.restart('enrolld')
            self.revoke(address(user), 'cessationOfOperation')
            shown = self.until(lambda: self.revocation(user, serial)['ca'].get('why') and self.revocation(user, serial), what='the CA refuses')
            self.assertEqual((shown['ca']['state'], shown['ca']['why_type']), ('blocked', 'unauthorized'))
            self.assertIn('issued to another account', shown['ca']['why'])
            self.assertFalse(self.signed(user))
        finally:
            os.replace(key + '.first', key)
            self.p.restart('enrolld')
        self.many.retry(user)
        self.agree(user, serial)


class WithKey(RevokeCase):
    def test_a_certificate_of_another_account_by_its_own_key(self):
        user = self.active()
        serial = self.certificate(user)['serial']
        key = ETC + '/account.key'
        before = self.p.ctl_run('revoke', serial, '--with-key', user='root')
        self.assertEqual(before.returncode, 1)
        self.assertIn('waits for its CA', before.stderr)
        os.rename(key, key + '.first')
        self.addCleanup(self.p.restart, 'enrolld')
        self.addCleanup(os.replace, key + '.first', key)
        self.p.ctl('account', 'register', user='root')
        self.p.restart('enrolld')
        self.revoke(address(user), 'affiliationChanged')
        shown = self.until(lambda: self.revocation(user, serial)['ca'].get('why') and self.revocation(user, serial), what='the CA refuses')
        command = shown['ca']['why'].split('`')[1]
        self.assertEqual(command, 'enrollctl revoke %s --with-key' % serial)
        other = self.p.ctl_run(*command.split()[1:], user='admin1')
        self.assertEqual(other.returncode, 1)
        self.assertIn('only root', other.stderr)
        self.assertEqual(self.revoked_at_ca(serial), [])
        self.p.ctl(*command.split()[1:], user='root')
        self.agree(user, serial)
        self.assertEqual(self.revoked_at_ca(serial)[0]['reason'], CODES['affiliationChanged'])
        self.assertIn("with the certificate's own key", ' '.join(e.get('text') or '' for e in self.many.show(user)['events']))


class Killed(RevokeCase):
    """kill -9 of enrolld before, in and after each call outside."""

    def open_parts(self):
        return [r[0] for r in self.p.sql('SELECT part FROM revocation_parts WHERE done_at = 0')]

    def kill(self, moment, wait, let_answer):
        wait()
        if moment == AFTER:
            with self.p.store_locked():
                let_answer()
                time.sleep(SETTLE)
                self.p.kill9('enrolld')
        else:
            self.p.kill9('enrolld')

    def at_ca(self, user, serial, moment):
        call = AtCa(self, 'revokeCert')
        call.hold(user, moment)
        try:
            self.revoke(serial, 'keyCompromise', '--no-replacement')
            self.kill(moment, call.wait, call.let_answer)
        finally:
            call.heal()

    def at_directory(self, user, serial, moment):
        if moment == BEFORE:
            self.gate.hold(REQUEST, lambda data: self.open_parts() == ['directory'])
        else:
            log = self.s.ldap.server.log
            mark = os.path.getsize(log)

            def changed(_data):
                with open(log, 'rb') as file:
                    file.seek(mark)
                    return ('MOD dn="uid=%s,' % user).encode() in file.read()
            self.gate.hold(ANSWER, changed)
        try:
            self.revoke(serial, 'keyCompromise', '--no-replacement')
            self.kill(moment, self.gate.wait, self.gate.open)
        finally:
            self.gate.drop()

    def survives(self, where):
        for moment in MOMENTS:
            with self.subTest(moment):
                user = self.active()
                serial = self.certificate(user)['serial']
                self.assertTrue(self.signed(user))
                where(user, serial, moment)
                self.assertFalse(self.signed(user), 'not while enrolld is dead')
                self.p.start('enrolld')
                self.assertFalse(self.signed(user))
                self.agree(user, serial)
                self.assertFalse(self.signed(user))
                self.assertEqual(self.many.state(user), 'revoked')
                self.assertEqual(len([e for e in self.many.events(user) if e == 'revoked']), 1)

    def test_at_the_ca(self):
        self.survives(self.at_ca)

    def test_at_the_directory(self):
        self.survives(self.at_directory)

    def test_while_a_new_certificate_is_being_published(self):
        """The directory has it, the store does not know yet."""
        user = self.many.user()
        log = self.s.ldap.server.log
        mark = os.path.getsize(log)

        def added(_data):
            with open(log, 'rb') as file:
                file.seek(mark)
                return ('MOD dn="uid=%s,' % user).encode() in file.read()
        self.gate.hold(ANSWER, added)
        self.many.enroll(user)
        self.gate.wait()
        self.p.kill9('enrolld')
        self.gate.hold(ANSWER)                       # and nobody gets through to find out
        self.p.start('enrolld')
        serial = self.certificate(user, 'checked')['serial']
        self.assertEqual(self.published(user), {int(serial, 16)})
        self.revoke(address(user), 'affiliationChanged')
        self.gate.drop()
        self.assertFalse(self.signed(user))
        self.agree(user, serial, 200)


class Late(RevokeCase):
    def test_a_certificate_that_is_old_when_it_comes_is_renewed_in_its_time(self):
        user = self.many.user()
        self.many.behave(authz_valid=True, lifetime_seconds=600, backdate_seconds=3600)
        self.many.enroll(user)
        self.many.wait_state([user], 'active')
        time.sleep(10)
        self.assertEqual(len(self.many.ca_log('issued', user)), 1, self.many.story(user))
        self.assertEqual(self.many.events(user).count('short_life'), 1)
