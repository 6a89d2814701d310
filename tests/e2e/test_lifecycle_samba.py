"""The same in an Active Directory (Samba's domain controller): userCertificate without ;binary, names of every kind, what is disabled,
moved, twice there, or not to be written."""

import json
import time
import unittest

import stage_samba
from enrolling import Enrolling, address
from gates import REQUEST, Gate, Relay
from product import ETC, Product, require
from stage import Stage, StageCase
from test_lifecycle_directory import SMIME, cms_of, foreign

STAGE = {'ca': True, 'users': 20}
TAKES, BUSY = 25, 16
AD = {'bind-dn': stage_samba.SERVICE, 'base': stage_samba.SUFFIX, 'login-filter': '(sAMAccountName=%s)', 'login-attribute': 'sAMAccountName',
      'address-filter': '(|(mail=%s)(proxyAddresses=smtp:%s))', 'address-attributes': ['mail', 'proxyAddresses'],
      'certificate-attribute': 'userCertificate', 'disabled-filter': '(userAccountControl:1.2.840.113556.1.4.803:=2)',
      'deadline-ms': 20000, 'connect-ms': 20000}
PLAIN = {'certificate-attribute': 'userCertificate', 'smime-attribute': None, 'clear-foreign-smime': None, 'publish': 'required', 'bind-dn': stage_samba.SERVICE,
         'password-file': ETC + '/samba.password'}


def setUpModule():
    require()
    if not stage_samba.available():
        raise unittest.SkipTest('samba and samba-ad-provision are not installed')


class SambaCase(StageCase):
    """A product whose directory is Active Directory."""

    more = {}           # of its configuration

    @classmethod
    def setUpClass(cls):
        s = cls.s = Stage.current
        cls.ad = stage_samba.Samba(s.tls)
        cls.ad.start()
        cls.gate = Gate()
        Relay(cls.gate, (stage_samba.ADDRESS, 3636), (stage_samba.ADDRESS, 636))
        cls.p = Product(s, certificate={'key-type': 'ec:p256'}, store={'busy-ms': 30000},
                        directory=dict(AD, urls=['ldaps://%s:3636' % stage_samba.ADDRESS], **{'password-file': ETC + '/samba.password'}), **cls.more)
        cls.p.prepare()
        cls.p.write_secret('samba.password', stage_samba.SERVICE_PASSWORD)
        cls.p.write_secret('nobody.password', stage_samba.PASSWORD)
        cls.p.start()
        cls.many = Enrolling(s, cls.p)
        cls.many.behave(authz_valid=True)

    def setUp(self):
        self.changed = False

    def tearDown(self):
        self.gate.drop()
        if self.changed:
            self.set_directory()

    # -- people -----------------------------------------------------------------

    def person(self, name, **more):
        user = self.many.user()
        return user, self.ad.add(user, name, **more)

    def active(self, name, **more):
        user, dn = self.person(name, **more)
        self.many.enroll(user)
        self.many.wait_state([user], 'active')
        return user, dn

    def set_directory(self, **changes):
        self.changed = bool(changes)
        self.p.configure(directory=dict(PLAIN, **changes))
        self.p.restart('enrolld')

    def ders(self, user, status):
        return [bytes(d) for d, in self.p.sql('SELECT c.der FROM certificates c JOIN enrollments e ON e.id = c.enrollment_id'
                                              ' WHERE e.address = ? AND c.status = ? ORDER BY c.id', address(user), status)]

    def rotate(self, user):
        n = len(self.ders(user, 'superseded'))
        self.p.ctl('rotate', address(user))
        self.until(lambda: len(self.ders(user, 'superseded')) > n, what='the new one is active\n' + self.many.story(user))

    def settled(self, user, certificates, cms=()):
        def there():
            entry, _dn = self.ad.values(user)
            return (sorted(entry.get('userCertificate', [])), sorted(entry.get(SMIME, []))) == (sorted(certificates), sorted(cms))
        self.until(there, 60, 'the entry has %d certificates and %d CMS\n%s' % (len(certificates), len(cms), self.many.story(user)))


class Samba(SambaCase):
    def test_renewal_with_foreign_values_and_cms(self):
        theirs = foreign()
        user, dn = self.active('Jürgen Müßig, „AG“+Söhne')
        self.settled(user, self.ders(user, 'active'))
        self.ad.modify(dn, userCertificate=self.ders(user, 'active') + [theirs], **{SMIME: [cms_of(theirs)]})
        self.rotate(user)
        self.settled(user, self.ders(user, 'active') + [theirs], [cms_of(theirs)])
        self.set_directory(**{'smime-attribute': SMIME, 'clear-foreign-smime': True})
        self.rotate(user)
        mine = self.ders(user, 'active')
        self.settled(user, mine + [theirs], [cms_of(mine[0])])
        self.set_directory()
        self.p.ctl('directory', 'restore', address(user))
        self.settled(user, mine + [theirs], [cms_of(mine[0]), cms_of(theirs)])

    def test_killed_between_add_and_delete(self):
        user, _dn = self.active('李 小龍')
        mine = self.ders(user, 'active')
        self.gate.hold(REQUEST, lambda data: bool(self.ders(user, 'superseded')))
        self.p.ctl('rotate', address(user))
        self.gate.wait()
        new = self.ders(user, 'active')
        self.assertEqual(sorted(self.ad.values(user)[0]['userCertificate']), sorted(mine + new))
        self.ad.kill9()
        self.p.kill9('enrolld')
        self.gate.drop()
        self.ad.restart()
        self.p.start('enrolld')
        self.settled(user, new)

    def test_moved_and_twice_there(self):
        user, dn = self.active('Zoë O\'Brien')
        self.ad.do(lambda c: c.add('OU=Élan,' + stage_samba.SUFFIX, ['organizationalUnit']))
        self.ad.move(dn, 'OU=Élan,' + stage_samba.SUFFIX)
        self.rotate(user)
        self.settled(user, self.ders(user, 'active'))
        unpublished = [e['text'] for e in self.many.show(user)['events'] if e['event'] == 'unpublished']
        self.assertIn('moved', unpublished[0])
        twin, _dn = self.person('Twin One')
        self.ad.add(twin + 'x', 'Twin Two', mail=address(twin))
        self.many.enroll(twin)
        shown = self.until(lambda: self.many.show(twin)['enrollment'].get('why') and self.many.show(twin)['enrollment'], what='it says why')
        self.assertIn(shown['state'], ('blocked', 'waiting'))
        self.assertEqual(self.ad.values(twin)[0].get('userCertificate', []), [])

    def test_disabled(self):
        user, _dn = self.person('Gone Long', userAccountControl=stage_samba.DISABLED)
        self.many.enroll(user)
        shown = self.until(lambda: self.many.show(user)['enrollment'].get('why') and self.many.show(user)['enrollment'], what='it says why')
        self.assertIn('disabled', shown['why'])

    def test_no_right_and_a_wrong_attribute(self):
        user, dn = self.active('Plain User')
        mine = self.ders(user, 'active')
        self.set_directory(**{'bind-dn': self.person('Reader One')[1], 'password-file': ETC + '/nobody.password'})
        self.p.ctl('rotate', address(user))
        shown = self.until(lambda: self.many.state(user) == 'blocked' and self.many.show(user)['enrollment'], what='it says why')
        self.assertEqual(shown['why_class'], 'config')
        self.settled(user, mine)
        self.set_directory()
        self.many.retry(user)
        self.many.wait_state([user], 'active')
        self.settled(user, self.ders(user, 'active'))
        self.assertEqual(self.p.json('directory', 'reconcile', '--yes')['counts'].get('failed', 0), 0)

    def test_modes_and_a_schema_without_the_attribute(self):
        user, _dn = self.active('Mode Three')
        mine = self.ders(user, 'active')
        self.set_directory(publish='none')
        self.rotate(user)
        time.sleep(2)   # it would be gone by now
        self.settled(user, mine)
        self.set_directory(publish='best-effort', **{'smime-attribute': 'noSuchAttribute'})
        self.rotate(user)
        self.assertIn('not_published', self.many.events(user))
        self.settled(user, self.ders(user, 'active'))
        self.set_directory(**{'smime-attribute': 'noSuchAttribute'})
        mine = self.ders(user, 'active')
        self.p.ctl('rotate', address(user))
        shown = self.until(lambda: self.many.state(user) == 'blocked' and self.many.show(user)['enrollment'], what='it says why')
        self.assertEqual(shown['why_class'], 'config')
        self.assertIn('noSuchAttribute', shown['why'])
        self.assertTrue(set(mine) <= set(self.ad.values(user)[0]['userCertificate']))
        self.set_directory()
        self.many.retry(user)
        self.many.wait_state([user], 'active')
        self.settled(user, self.ders(user, 'active'))

    def test_check(self):
        _user, dn = self.person('Checked One')
        path = self.p.write_secret('user.password', stage_samba.PASSWORD, owner='root')
        done = self.p.ctl_run('directory', 'check', '--json', '--user-dn', dn, '--user-password-file', path, user='root')
        found = [(c['check'], c['verdict'], c['text']) for c in json.loads(done.stdout)['checks']]
        verdicts = {(c, v) for c, v, _text in found}
        for check in ('connection', 'schema', 'write', 'ownership'):
            self.assertIn((check, 'ok'), verdicts, found)
        self.assertNotIn('fault', {v for _c, v in verdicts}, found)
        self.assertEqual(done.returncode, 0)
        self.set_directory(**{'certificate-attribute': 'userCertificate;binary'})
        found = json.loads(self.p.ctl_run('directory', 'check', '--json').stdout)['checks']
        self.assertNotIn('write', [c['check'] for c in found], 'what cannot be is not tried')
        self.assertIn('without ;binary', ' '.join(c['text'] for c in found if c['check'] == 'schema' and c['verdict'] == 'fault'))
