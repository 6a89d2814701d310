"""What is in the directory before and after: exactly our values come and go, whatever is killed, moved, refused or missing
meanwhile; what others put there stays, or comes back."""

import json
import subprocess
import time

import stage_ldap
from enrolling import address
from gates import REQUEST
from product import ETC, require
from test_lifecycle_revoke import RevokeCase

STAGE = {'ca': True, 'users': 40}
TAKES, BUSY = 45, 11
PLAIN = {'publish': 'required', 'smime-attribute': None, 'clear-foreign-smime': None,
         'bind-dn': stage_ldap.SERVICE, 'password-file': ETC + '/ldap.password'}
SMIME = 'userSMIMECertificate'


def setUpModule():
    require()


def foreign():
    """A certificate of somebody else's making."""
    return subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout',
                           '/dev/null', '-subj', '/CN=foreign', '-outform', 'DER'], check=True, capture_output=True).stdout


def cms_of(der):
    """The same as userSMIMECertificate may hold it, by OpenSSL."""
    pem = subprocess.run(['openssl', 'x509', '-inform', 'DER'], input=der, check=True, capture_output=True).stdout
    return subprocess.run(['openssl', 'crl2pkcs7', '-nocrl', '-certfile', '/dev/stdin', '-outform', 'DER'], input=pem, check=True,
                          capture_output=True).stdout


class DirectoryCase(RevokeCase):
    def setUp(self):
        super().setUp()
        self.settings = {}

    def heal(self):
        super().heal()
        if self.settings:
            self.set_directory()

    def set_directory(self, **changes):
        """These settings of the group directory; without any, the usual ones."""
        self.settings = changes
        self.p.configure(directory=dict(PLAIN, **changes))
        self.p.restart('enrolld')

    def values(self, user):
        """(certificates, CMS) of the entry, as octets."""
        entry = self.s.ldap.get(user) or {}
        return ([bytes(v) for v in entry.get('userCertificate;binary', [])], [bytes(v) for v in entry.get(SMIME, [])])

    def ders(self, user):
        """{status: [DER]} of what the store has."""
        found = {}
        for status, der in self.p.sql('SELECT c.status, c.der FROM certificates c JOIN enrollments e ON e.id = c.enrollment_id'
                                      ' WHERE e.address = ? ORDER BY c.id', address(user)):
            found.setdefault(status, []).append(bytes(der))
        return found

    def rotate(self, user, wait=True):
        old = self.certificate(user)['serial']
        self.p.ctl('rotate', address(user))
        if wait:
            self.until(lambda: self.certificate(user)['serial'] != old, what='the new one is active\n' + self.many.story(user))
        return old

    def settled(self, user, certificates, cms=(), seconds=60):
        """The entry has exactly these values."""
        wanted = (sorted(certificates), sorted(cms))
        self.until(lambda: tuple(sorted(v) for v in self.values(user)) == wanted, seconds,
                   'the entry has %d certificates and %d CMS: %r\n%s' % (len(wanted[0]), len(wanted[1]), self.shown(user), self.many.story(user)))

    def shown(self, user):
        return [(c['status'], c.get('directory_dn'), c.get('directory_why')) for c in self.many.show(user)['certificates']]

    def superseded(self, user):
        return self.certificate(user, 'superseded')


class Modes(DirectoryCase):
    def test_required_exactly_our_old_value_goes(self):
        user, theirs = self.active(), foreign()
        mine = self.ders(user)['active']
        self.assertEqual(self.values(user), (mine, []))
        self.s.ldap.modify(user, **{'userCertificate;binary': mine + [theirs], SMIME: [cms_of(theirs)]})
        self.rotate(user)
        self.settled(user, self.ders(user)['active'] + [theirs], [cms_of(theirs)])
        self.until(lambda: 'directory_dn' not in self.superseded(user), what='the store knows')
        self.assertEqual([e for e in self.many.events(user) if e.endswith('published')], ['published', 'published', 'unpublished'])
        self.assertTrue(self.p.log(event='unpublished', serial=self.superseded(user)['serial']))
        # each renewal leaves one
        self.rotate(user)
        self.settled(user, self.ders(user)['active'] + [theirs], [cms_of(theirs)])
        self.assertEqual(len(self.ders(user)['superseded']), 2, 'the certificates stay in the store')

    def test_with_cms_and_a_foreign_one_beside_it(self):
        self.set_directory(**{'smime-attribute': SMIME})
        theirs = foreign()
        user = self.many.user()
        self.s.ldap.modify(user, **{SMIME: [cms_of(theirs)]})
        self.many.enroll(user)
        self.many.wait_state([user], 'active')
        mine = self.ders(user)['active'][0]
        self.settled(user, [mine], [cms_of(theirs), cms_of(mine)])
        self.rotate(user)
        mine = self.ders(user)['active'][0]
        self.settled(user, [mine], [cms_of(theirs), cms_of(mine)])

    def test_none_writes_nothing_and_best_effort_goes_on(self):
        user, other = self.active(2)
        before = self.values(user)
        self.set_directory(publish='none')
        self.rotate(user)
        time.sleep(2)   # it would be gone by now
        self.assertEqual(self.values(user), before, 'what it replaced stays as long as the new one is not there')
        self.assertEqual(len(self.ders(user)['superseded']), 1)
        before = self.values(other)
        self.set_directory(publish='best-effort', **self.reader())
        self.rotate(other)
        self.assertIn('not_published', self.many.events(other))
        self.assertEqual(self.values(other), before)
        # ... and reconcile has it done once it can be
        self.set_directory()
        answer = self.p.json('directory', 'reconcile', '--yes')
        self.assertGreaterEqual(answer['counts']['published'], 2)
        self.settled(user, self.ders(user)['active'])
        self.settled(other, self.ders(other)['active'])
        self.assertIn('directory_dn', self.certificate(other))

    def reader(self):
        """A bind that may write nothing."""
        self.p.write_secret('reader.password', stage_ldap.password_of('alice'))
        return {'bind-dn': stage_ldap.dn_of('alice'), 'password-file': ETC + '/reader.password'}


class Between(DirectoryCase):
    """After the new value was added, and before the old one is deleted."""

    def held(self, user):
        """What goes to the directory is held from the moment on when the new one is active."""
        mine = self.ders(user)['active']
        self.gate.hold(REQUEST, lambda data: 'superseded' in self.ders(user))
        self.p.ctl('rotate', address(user))
        self.gate.wait()
        new = self.ders(user)['active']
        self.assertNotEqual(new, mine)
        self.assertEqual(sorted(self.values(user)[0]), sorted(mine + new), 'first the new one, then the old one')
        return new

    def test_enrolld_killed(self):
        user = self.active()
        new = self.held(user)
        self.p.kill9('enrolld')
        self.gate.drop()
        self.p.start('enrolld')
        self.settled(user, new)

    def test_the_server_killed(self):
        user = self.active()
        new = self.held(user)
        self.s.ldap.server.kill9()
        self.gate.drop()
        shown = self.until(lambda: self.superseded(user).get('directory_why') and self.superseded(user), what='show says why it stays')
        self.assertEqual(shown['directory_class'], 'temporary')
        self.assertIn('directory_next_at', shown)
        self.assertTrue(self.p.log(event='unpublish_failed', serial=shown['serial']))
        self.s.ldap.restart()
        self.p.ctl('retry', address(user))
        self.settled(user, new)
        self.assertEqual(self.many.events(user).count('unpublish_failed'), 1)

    def test_no_right_then_two_entries_then_one(self):
        user = self.active()
        new = self.held(user)
        self.p.kill9('enrolld')
        self.gate.drop()
        self.set_directory(**Modes.reader(self))
        shown = self.until(lambda: self.superseded(user).get('directory_why') and self.superseded(user), what='show says why it stays')
        self.assertEqual(shown['directory_class'], 'config')
        self.assertIn('Insufficient access', shown['directory_why'])
        self.assertEqual(len(self.values(user)[0]), 2)
        self.assertIn('stays there', self.p.ctl('show', address(user)))
        self.set_directory(**Modes.reader(self))
        # its entry goes, and two others list the address
        self.s.ldap.delete(user)
        for name in ('one', 'two'):
            self.s.ldap.add(user + name, mail=address(user))
            self.s.ldap.modify(user + name, **{'userCertificate;binary': self.ders(user)['superseded']})
        self.set_directory()
        self.p.ctl('retry', address(user))
        self.until(lambda: self.superseded(user).get('directory_class') == 'policy', what='two entries: nothing is guessed\n%r' % self.shown(user))
        self.assertIn('several entries', self.superseded(user)['directory_why'])
        self.assertEqual(self.values(user + 'one')[0], self.ders(user)['superseded'])
        self.s.ldap.delete(user + 'two')
        self.p.ctl('retry', address(user))
        self.until(lambda: 'directory_dn' not in self.superseded(user), what='one entry: it is taken out\n%r' % self.shown(user))
        self.assertEqual(self.values(user + 'one')[0], [])

    def test_the_entry_moved(self):
        user = self.active()
        where = 'ou=moved,' + stage_ldap.PEOPLE
        self.s.ldap.add_entry(where, {'objectClass': ['organizationalUnit'], 'ou': 'moved'})
        old = self.certificate(user)
        self.move(user, where)
        self.rotate(user)
        self.settled(user, self.ders(user)['active'])
        self.assertEqual(self.certificate(user)['directory_dn'], 'uid=%s,%s' % (user, where))
        text = [e['text'] for e in self.many.show(user)['events'] if e['event'] == 'unpublished'][0]
        self.assertIn(old['directory_dn'], text)
        self.assertIn('moved', text)

    def move(self, user, where):
        connection = self.s.ldap.connect()
        try:
            connection.modify_dn(stage_ldap.dn_of(user), 'uid=' + user, new_superior=where)
        finally:
            connection.unbind()


class Refused(DirectoryCase):
    def test_the_schema_has_no_such_attribute(self):
        user = self.active()
        before = self.values(user)
        self.set_directory(**{'smime-attribute': 'noSuchAttribute'})
        self.rotate(user, wait=False)
        shown = self.until(lambda: self.many.show(user)['enrollment'].get('why') and self.many.show(user)['enrollment'], what='it says why')
        self.assertEqual((shown['state'], shown['why_class']), ('blocked', 'config'))
        self.assertIn('noSuchAttribute', shown['why'])
        self.assertIn('schema', shown['why'])
        self.assertTrue(self.signed(user), 'with the certificate before')
        self.assertTrue(set(before[0]) <= set(self.values(user)[0]))
        self.set_directory()
        self.many.retry(user)
        self.many.wait_state([user], 'active')
        self.settled(user, self.ders(user)['active'])

    def test_what_best_effort_did_in_part_is_known(self):
        user = self.active()
        self.set_directory(publish='best-effort', **{'smime-attribute': 'noSuchAttribute'})
        self.rotate(user)
        self.assertIn('not_published', self.many.events(user))
        self.assertIn('directory_dn', self.certificate(user))
        self.set_directory()
        self.settled(user, self.ders(user)['active'])


class Foreign(DirectoryCase):
    def test_cleared_by_the_option_alone_and_put_back(self):
        theirs = cms_of(foreign())
        users = [self.many.user() for _ in range(2)]
        for user in users:
            self.s.ldap.modify(user, **{SMIME: [theirs]})
        self.many.enroll(users[0])
        self.many.wait_state(users[:1], 'active')
        self.settled(users[0], self.ders(users[0])['active'], [theirs])
        self.set_directory(**{'smime-attribute': SMIME, 'clear-foreign-smime': True})
        self.many.enroll(users[1])
        self.many.wait_state(users[1:], 'active')
        mine = self.ders(users[1])['active']
        self.settled(users[1], mine, [cms_of(mine[0])])
        self.assertIn('directory_cleared', self.many.events(users[1]))
        self.rotate(users[0])
        mine = self.ders(users[0])['active']
        self.settled(users[0], mine, [cms_of(mine[0])])
        # back again, to the octet
        answer = self.p.json('directory', 'restore', '--all', '--dry-run')
        self.assertEqual(len(answer['actions']), 2)
        answer = self.p.json('directory', 'restore', address(users[0]))
        self.assertEqual([a['action'] for a in answer['actions']], ['restored'])
        self.settled(users[0], mine, [cms_of(mine[0]), theirs])
        self.assertIn('warning', answer)
        done = self.p.ctl_run('directory', 'restore', '--all')
        self.assertEqual(done.returncode, 1, 'it asks before')
        self.assertIn('--yes', done.stderr)
        self.settled(users[1], self.ders(users[1])['active'], [cms_of(self.ders(users[1])['active'][0])])
        self.p.ctl('directory', 'restore', '--all', '--yes')
        self.settled(users[1], self.ders(users[1])['active'], [cms_of(self.ders(users[1])['active'][0]), theirs])
        self.assertIn('directory_restored', self.many.events(users[1]))
        self.assertEqual(self.p.json('directory', 'restore', '--all', '--yes')['actions'], [])


class Reconcile(DirectoryCase):
    def test_missing_over_and_foreign(self):
        gone, old, clean = self.active(3)
        theirs = foreign()
        self.rotate(old)
        self.settled(old, self.ders(old)['active'])
        over = self.ders(old)['superseded']
        self.s.ldap.modify(gone, **{'userCertificate;binary': [theirs]})
        self.s.ldap.modify(old, **{'userCertificate;binary': self.ders(old)['active'] + over + [theirs]})
        before = {u: self.values(u) for u in (gone, old, clean)}
        plan = self.p.json('directory', 'reconcile', '--dry-run')
        found = {(a['address'], a['action']) for a in plan['actions']}
        for user, action in ((gone, 'publish'), (gone, 'foreign'), (old, 'remove'), (old, 'foreign')):
            self.assertIn((address(user), action), found)
        self.assertNotIn(address(clean), {a for a, _ in found})
        self.assertEqual({u: self.values(u) for u in before}, before, 'a dry run changes nothing')
        for answer in ('no', ''):
            code, shown = self.p.ctl_typed(answer, 'directory', 'reconcile')
            self.assertEqual(code, 1, shown)
            self.assertIn('would be put there', shown)
            self.assertIn('nothing was done', shown)
        for more in ([], ['--json']):
            done = self.p.ctl_run('directory', 'reconcile', *more)
            self.assertEqual(done.returncode, 1)
            self.assertIn('say --yes', done.stdout + done.stderr)
        self.assertEqual({u: self.values(u) for u in before}, before, 'who did not say yes changes nothing')
        done = self.p.json('directory', 'reconcile', '--yes')
        found = {(a['address'], a['action']) for a in done['actions']}
        self.assertTrue({(address(gone), 'published'), (address(old), 'removed')} <= found, found)
        self.settled(gone, self.ders(gone)['active'] + [theirs])
        self.settled(old, self.ders(old)['active'] + [theirs])
        self.assertEqual(self.values(clean), before[clean])
        code, shown = self.p.ctl_typed('yes', 'directory', 'reconcile')
        self.assertEqual((code, shown.count('left alone') > 1), (0, True), shown)
        for command in (['reconcile', '--yes'], ['restore', '--all', '--yes'], ['check']):
            self.assertEqual(self.p.ctl_run('directory', *command, user='helpdesk1').returncode, 1)


class Check(DirectoryCase):
    def checks(self, *args):
        done = self.p.ctl_run('directory', 'check', '--json', *args, user='root')
        return {(c['check'], c['verdict']): c['text'] for c in json.loads(done.stdout)['checks']}, done.returncode

    def as_user(self, uid):
        path = self.p.write_secret('user.password', stage_ldap.password_of(uid), owner='root')
        return ['--user-dn', stage_ldap.dn_of(uid), '--user-password-file', path]

    def entry(self, uid):
        return self.s.ldap.get(uid, ['*', '+'])

    def test_good_bad_and_self_writable(self):
        before = self.entry('alice')
        found, code = self.checks(*self.as_user('alice'))
        self.assertEqual(code, 0, found)
        for check in ('connection', 'schema', 'limits', 'referrals', 'write', 'ownership'):
            self.assertIn((check, 'ok'), found)
        self.assertEqual(self.entry('alice'), before, 'nothing was changed, not even a time')
        self.set_directory(**{'smime-attribute': 'noSuchAttribute'})
        found, code = self.checks()
        self.assertEqual(code, 1)
        self.assertIn('noSuchAttribute', found['schema', 'fault'])
        self.assertIn(('ownership', 'warning'), found)
        self.set_directory(**{'certificate-attribute': 'userCertificate'})
        self.addCleanup(self.p.configure, directory={'certificate-attribute': 'userCertificate;binary'})
        self.assertIn('userCertificate;binary', self.checks()[0]['schema', 'fault'])
        self.set_directory(**dict(Modes.reader(self), **{'certificate-attribute': 'userCertificate;binary'}))
        found, code = self.checks()
        self.assertEqual(code, 1)
        self.assertIn('may not write', found['write', 'fault'])
        self.set_directory()
        found, code = self.checks('--user-dn', stage_ldap.dn_of('bob'), *self.as_user('alice')[2:])
        self.assertIn('cannot bind', found['user', 'fault'])

    def test_a_user_who_can_write_the_own_address(self):
        path = stage_ldap.DIR + '/slapd.conf'
        with open(path) as file:
            conf = file.read()
        self.addCleanup(self.rewrite, path, conf)
        self.rewrite(path, conf.replace('access to *\n', 'sizelimit 5\naccess to attrs=mail\n    by self write\n    by * read\naccess to *\n', 1).replace(
            'sizelimit unlimited\n', ''))
        before = self.entry('alice')
        found, code = self.checks(*self.as_user('alice'))
        self.assertEqual(code, 1)
        self.assertIn('can have mail signed', found['ownership', 'fault'])
        self.assertIn('size limit', found['limits', 'warning'])
        self.assertEqual(self.entry('alice'), before)

    def rewrite(self, path, conf):
        self.s.ldap.stop()
        with open(path, 'w') as file:
            file.write(conf)
        self.s.ldap.restart()

