"""`enrollctl ca check` and `enrollctl account`: what they say of a healthy CA, and of each thing that can be wrong."""

import json
import os
import pty
import pwd
import shutil
import subprocess
import time

import service
from enrolling import Enrolling
from namespace import environment
from product import ETC, Product, require
from stage import Stage, StageCase

MAC = 'c2VjcmV0' * 6
STAGE = {'ca': True, 'users': 40, 'ca_config': {'eab_required': True, 'eab': {'kid-1': {'key': MAC, 'alg': 'HS256'}}}}
TAKES, BUSY = 15, 9
DIRECTORY = 'https://acme.ca.example/directory'
ACCOUNTS = 'https://acme.ca.example/acme/account/'
EAB = {'kid': 'kid-1', 'key-file': ETC + '/eab.key'}


def setUpModule():
    require()


class Case(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        cls.ca = Stage.current.ca
        cls.p = Product(Stage.current, certificate={'key-type': 'ec:p256'}, ca={'eab': EAB})
        cls.p.prepare()
        cls.p.write_secret('eab.key', MAC + '\n', owner='enrolld')
        cls.plain = cls.p.config

    def setUp(self):
        self.ca.admin('/reset-behaviour', {'authz_valid': True})

    def tearDown(self):
        self.p.config = self.plain
        self.p.write_config()

    @classmethod
    def tearDownClass(cls):
        cls.ca.admin('/reset-behaviour', {})
        cls.p.stop()

    def check(self, ends, user='root'):
        """{check: [(verdict, text)]}"""
        done = self.p.ctl_run('ca', 'check', '--json', user=user)
        self.assertEqual(done.returncode, ends, done.stdout + done.stderr)
        found = {}
        for c in json.loads(done.stdout)['checks']:
            found.setdefault(c['check'], []).append((c['verdict'], c['text']))
        return found

    def assert_says(self, found, check, verdict, pattern):
        self.assertIn(check, found)
        self.assertRegex('\n'.join('%s: %s' % line for line in found[check]), r'(?m)^%s: .*%s' % (verdict, pattern))

    def errors(self, found):
        return sorted(check for check, said in found.items() if any(v == 'fault' for v, _text in said))

    def account(self, **more):
        return self.p.json('account', 'show', **more)

    def violations(self):
        return [r for e in ('violation', 'internal_error') for r in self.ca.admin('/log?since=0&event=' + e)]


class BeforeTheFirstStart(Case):
    """No enrolld: root asks the CA directly, as enrolld's user."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.p.init()

    def test_before_there_is_a_key_everything_but_the_account_is_known(self):
        os.rename(ETC + '/account.key', ETC + '/account.key.away')
        try:
            found = self.check(0)
        finally:
            os.rename(ETC + '/account.key.away', ETC + '/account.key')
        self.assert_says(found, 'directory', 'ok', '%s answers \\(HTTP 200, \\d+ ms\\)' % DIRECTORY)
        self.assert_says(found, 'account', 'warning', 'no account key yet: `enrollctl init` makes')
        self.assert_says(found, 'eab', 'ok', 'kid-1')
        self.assertNotIn('limits', found, 'nobody knows without the store')

    def test_a_healthy_ca(self):
        found = self.check(0)
        for check, pattern in (
                ('directory', 'HTTP 200'), ('tls', 'TLSv1\\.[23], verified by %s/ca-https.pem \\(ca.ca-file\\)' % ETC), ('proxy', 'none'),
                ('terms', 'https://acme.ca.example/terms, accepted'), ('eab', 'asked for and configured \\(kid kid-1\\)'),
                ('profiles', 'none is asked for \\(ca.profile\\); the CA offers .*"signing" \\(.+\\)'), ('email', 'the first order will tell'),
                ('renewal-info', 'offered'), ('revocation', 'offered'), ('key-change', 'offered'), ('caa', 'name ca.example \\(its directory\\)'),
                ('account', ACCOUNTS + '\\S+ is valid \\(key ec:p256\\)'), ('contact', 'mailto:postmaster@corp.example')):
            with self.subTest(check):
                self.assert_says(found, check, 'ok', pattern)
        self.assertEqual([c for c, said in found.items() if any(v != 'ok' for v, _text in said)], [])

    def test_it_reads_like_doctor(self):
        said = self.p.ctl('ca', 'check', user='root')
        self.assertRegex(said, r'(?m)^ok +directory +https://')
        self.assertEqual(said.splitlines()[-1], 'all well')

    def test_what_is_wrong_is_found(self):
        shutil.copyfile(Stage.current.ldap.ca, ETC + '/other-ca.pem')
        with open(ETC + '/no-ca.pem', 'w') as file:
            file.write('nothing\n')
        rows = (
            ('another CA file', {'ca-file': ETC + '/other-ca.pem'}, {}, 'directory', 'no trusted TLS connection to the CA.*ca\\.ca-file'),
            ('a CA file without a certificate', {'ca-file': ETC + '/no-ca.pem'}, {}, 'directory', 'holds no PEM certificate'),
            ('a wrong URL', {'directory-url': 'https://acme.ca.example/nothing'}, {}, 'directory', 'HTTP 404, https://acme.ca.example/nothing'),
            ('a name that is none', {'directory-url': 'https://none.ca.example/directory'}, {}, 'directory', 'could not be reached'),
            ('terms that are not accepted', {'accept-terms': False}, {}, 'terms', 'https://acme.ca.example/terms are not accepted'),
            ('a profile that is not there', {'profile': 'gold'}, {}, 'profiles', 'no profile "gold" \\(ca.profile\\); it offers .*"signing"'),
            ('a profile of a CA without any', {'profile': 'gold'}, {'profiles': False}, 'profiles', 'none at all: leave ca.profile out'),
            ('a CA in trouble', {}, {'faults': {'directory': {'status': 503, 'detail': 'down for maintenance', 'count': -1}}}, 'directory',
             'down for maintenance.*HTTP 503'),
            ('a directory that is none', {}, {'faults': {'directory': {'body': 'garbage', 'count': -1}}}, 'directory', 'JSON'),
            ('a directory cut short', {}, {'faults': {'directory': {'body': 'truncated', 'count': -1}}}, 'directory', 'did not answer in full'),
            ('a key that cannot be read', {'account-key': ETC + '/no-ca.pem'}, {}, 'account', 'no-ca.pem'),
        )
        for name, config, switches, check, pattern in rows:
            with self.subTest(name):
                self.p.config = self.plain
                self.p.configure(ca=config)
                self.ca.admin('/reset-behaviour', dict({'authz_valid': True}, **switches))
                found = self.check(1)
                self.assert_says(found, check, 'fault', pattern)
                self.assertEqual(self.errors(found), [check], 'and nothing else')

    def test_no_binding_where_one_is_needed(self):
        shutil.copyfile(ETC + '/account.key', ETC + '/second.key')
        self.p.configure(ca={'eab': None})
        found = self.check(0)
        self.assert_says(found, 'eab', 'ok', 'of new accounts; ours is registered already')
        self.p.configure(ca={'eab': None, 'account-key': ETC + '/third.key'})
        found = self.check(1)
        self.assert_says(found, 'eab', 'fault', 'put the key id and key that it gave you into ca.eab')
        self.assertEqual(self.errors(found), ['eab'])

    def test_another_contact_is_told(self):
        self.p.configure(ca={'contact': 'mailto:pki@corp.example'})
        found = self.check(0)
        self.assert_says(found, 'contact', 'warning', 'knows mailto:postmaster@corp.example, the configuration says mailto:pki@corp.example')

    def test_a_proxy_is_named_without_its_password(self):
        self.p.env['https_proxy'] = 'http://user:hunter2@192.0.2.10:3128'
        try:
            said = self.p.ctl_run('ca', 'check', user='root').stdout
        finally:
            del self.p.env['https_proxy']
        self.assertRegex(said, r'proxy +192\.0\.2\.10:3128 \(environment\)')
        self.assertNotIn('hunter2', said)

    def test_a_ca_that_is_down(self):
        self.ca.stop()
        try:
            found = self.check(1)
        finally:
            self.ca.restart()
        self.assert_says(found, 'directory', 'fault', 'could not be reached')
        self.assertNotIn('tls', found)

    def test_without_enrolld_others_than_root_are_told_so(self):
        for command in (('ca', 'check'), ('account', 'show')):
            done = self.p.ctl_run(*command, user='helpdesk1')
            self.assertEqual(done.returncode, 1)
            self.assertIn('is it running', done.stderr)

    def test_registering_twice_finds_the_same_account(self):
        first = self.p.ctl('account', 'register', user='root')
        again = self.p.ctl('account', 'register', user='root')
        self.assertIn('ACME account: ' + self.account(user='root')['url'], first)
        self.assertEqual(first, again)

    def test_a_new_key_gets_an_account_of_its_own(self):
        self.p.configure(ca={'account-key': ETC + '/fourth.key'})
        self.assertEqual(self.p.ctl_run('account', 'show', '--json', user='root').returncode, 1)
        said = self.p.json('account', 'register', user='root')['done']
        self.assertRegex(said[0], 'account key: made %s/fourth.key \\(0600, user enrolld\\)' % ETC)
        url = self.account(user='root')['url']
        self.assertEqual(said[1], 'ACME account: ' + url)
        self.p.config = self.plain
        self.p.write_config()
        self.assertNotEqual(self.account(user='root')['url'], url)

    def test_a_key_without_an_account_is_shown_as_that(self):
        self.p.configure(ca={'account-key': ETC + '/fifth.key'})
        subprocess.run(['openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', ETC + '/fifth.key'], check=True)
        subprocess.run(['chown', 'enrolld', ETC + '/fifth.key'], check=True)
        os.chmod(ETC + '/fifth.key', 0o600)
        shown = self.account(user='root')
        self.assertIs(shown['registered'], False)
        self.assertEqual(shown['key_type'], 'ec:p256')
        self.assertIn('no account at the CA for this key', self.p.ctl('account', 'show', user='root'))
        self.assert_says(self.check(0), 'account', 'warning', '`enrollctl account register` makes it')
        self.assertEqual(self.p.ctl_run('account', 'deactivate', '--yes', user='root').returncode, 1)


class Deactivating(Case):
    """Each test has an account of its own to lose."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.p.init('--no-account')

    def own(self, name):
        self.p.configure(ca={'account-key': '%s/%s.key' % (ETC, name)})
        self.p.ctl('account', 'register', user='root')
        return self.account(user='root')['url']

    def typed(self, text):
        """deactivate on a terminal where somebody types; (exit code, what was shown)."""
        leader, follower = pty.openpty()
        child = subprocess.Popen([self.p.program('enrollctl'), '--config', self.p.config_file, 'account', 'deactivate'], stdin=follower,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment(**self.p.env))
        os.close(follower)
        os.write(leader, text.encode() + b'\n')
        said = child.communicate(timeout=300)[0].decode()
        os.close(leader)
        return child.returncode, said

    def status(self, url):
        return {a['url']: a['status'] for a in self.ca.admin('/state')['accounts']}[url]

    def test_it_needs_yes(self):
        url = self.own('d1')
        done = self.p.ctl_run('account', 'deactivate', user='root')
        self.assertEqual(done.returncode, 1)
        self.assertIn('This cannot be undone', done.stdout)
        self.assertIn('say --yes, or type the account\'s URL on a terminal', done.stderr)
        self.assertEqual(self.account(user='root')['status'], 'valid', url)

    def test_or_the_url_typed(self):
        url = self.own('d2')
        code, said = self.typed('yes')
        self.assertEqual(code, 1, said)
        self.assertIn('that is another text: nothing was done', said)
        self.assertEqual(self.account(user='root')['status'], 'valid')
        code, said = self.typed(url)
        self.assertEqual(code, 0, said)
        self.assertIn(url + ' is deactivated', said)
        self.assertTrue(self.ca.admin('/log?since=0&event=account_deactivated'))

    def test_afterwards_everything_says_so(self):
        self.own('d3')
        said = self.p.ctl('account', 'deactivate', '--yes', user='root')
        self.assertIn('move %s/d3.key away' % ETC, said)
        found = self.check(1)
        self.assert_says(found, 'account', 'fault', 'the account is deactivated.* cannot be used again: move the key file %s/d3.key away' % ETC)
        done = self.p.ctl_run('account', 'register', user='root')
        self.assertEqual(done.returncode, 1, done.stdout)
        os.rename(ETC + '/d3.key', ETC + '/d3.key.old')
        self.p.ctl('account', 'register', user='root')
        self.assertEqual(self.account(user='root')['status'], 'valid')


class Running(Case):
    """enrolld answers, for the help desk too."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ca.admin('/reset-behaviour', {'authz_valid': True})
        cls.p.start()
        cls.many = Enrolling(Stage.current, cls.p)

    def test_the_help_desk_looks(self):
        found = self.check(0, user='helpdesk1')
        self.assert_says(found, 'directory', 'ok', 'HTTP 200')
        self.assert_says(found, 'limits', 'ok', 'none in force')
        shown = self.account(user='helpdesk1')
        self.assertEqual((shown['registered'], shown['status'], shown['key_type']), (True, 'valid', 'ec:p256'))
        self.assertTrue(shown['url'].startswith(ACCOUNTS))
        self.assertEqual(shown['contacts'], ['mailto:postmaster@corp.example'])
        self.assertIn(shown['thumbprint'], self.p.ctl('account', 'show', user='helpdesk1'))

    def test_only_root_changes_the_account(self):
        for command in (('register',), ('rotate-key',), ('deactivate', '--yes')):
            for user in ('helpdesk1', 'admin1'):
                with self.subTest(command=command, user=user):
                    done = self.p.ctl_run('account', *command, user=user)
                    self.assertEqual(done.returncode, 1)
                    self.assertIn('only root may do this', done.stderr)
        self.assertEqual(self.account()['status'], 'valid')

    def test_wrong_use_is_told(self):
        for command in (('ca',), ('ca', 'look'), ('account',), ('account', 'delete'), ('account', 'show', 'x')):
            done = self.p.ctl_run(*command, user='root')
            self.assertEqual((done.returncode, done.stdout), (2, ''), command)

    def test_email_is_told_from_orders(self):
        user = self.many.user()
        self.many.enroll(user)
        self.many.wait_state([user], 'active')
        self.assert_says(self.check(0, user='helpdesk1'), 'email', 'ok', 'active by orders with identifiers of type email')

    def test_limits_in_force_are_told(self):
        self.p.sql('INSERT INTO limits (ca, scope, text, at, until) VALUES (?, ?, ?, ?, ?)',
                   'example-ca', '', 'too many orders', int(time.time()), int(time.time()) + 3600)
        try:
            self.assert_says(self.check(0, user='helpdesk1'), 'limits', 'warning', 'the whole account until .*Z: too many orders')
        finally:
            self.p.sql('DELETE FROM limits')

    def test_the_key_is_rotated_while_twenty_enrollments_are_in_flight(self):
        self.ca.admin('/reset-behaviour', {'authz_valid': True, 'finalize_processing': 3})
        before, users = self.account(), [self.many.user() for _ in range(20)]
        with open(ETC + '/account.key') as file:
            old = file.read()
        for user in users:
            self.many.enroll(user)
        service.until(lambda: self.ca.admin('/log?since=0&event=order_created'), 120, 'orders are under way')
        said = self.p.ctl('account', 'rotate-key', user='root')
        self.assertIn('has a new key', said)
        self.assertIn('enrolld notices by itself', said)
        shown = self.many.wait_state(users, 'active', 'blocked', 'failed')
        for user in users:
            with self.subTest(user):
                self.assertEqual(shown[user]['enrollment']['state'], 'active', self.many.story(user))
                self.assertEqual(len(self.many.ca_log('order_created', user)), 1, 'none was lost')
        after = self.account()
        self.assertEqual(after['url'], before['url'])
        self.assertNotEqual(after['thumbprint'], before['thumbprint'])
        with open(ETC + '/account.key') as file:
            self.assertNotEqual(file.read(), old)
        status = os.stat(ETC + '/account.key')
        self.assertEqual((oct(status.st_mode & 0o777), status.st_uid), ('0o600', pwd.getpwnam('enrolld').pw_uid))
        self.assertFalse(os.path.exists(ETC + '/account.key.next'))
        self.assertEqual(len(self.ca.admin('/log?since=0&event=key_changed')), 1)

    def test_the_ca_saw_no_breach(self):
        self.assertEqual([v for v in self.violations() if v.get('kind') != 'unknown_path'], [])
