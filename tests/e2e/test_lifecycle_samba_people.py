"""People come and go in an Active Directory: disabled by userAccountControl, deleted, moved to another unit, with another address."""

import unittest

import stage_samba
import test_lifecycle_people
import test_lifecycle_samba
from enrolling import address
from product import require

STAGE = {'ca': True, 'users': 20}
TAKES, BUSY = 30, 18
NEVER_EXPIRES = 0x10000             # one more bit of userAccountControl
UNIT = 'OU=Außendienst,' + stage_samba.SUFFIX


def setUpModule():
    require()
    if not stage_samba.available():
        raise unittest.SkipTest('samba and samba-ad-provision are not installed')


class People(test_lifecycle_samba.SambaCase, test_lifecycle_people.PeopleCase):
    """The directory of the one, the questions of the other."""

    more = {'departures': {'interval': 1, 'grace-days': 30, 'on-departure': 'revoke', 'guard-percent': 5, 'guard-people': 3, 'on-new-address': 'at-once'}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ca = cls.s.ca
        # Who owns what is remembered by the milter here, so that what stops signing is what enrolld noted.
        cls.p.configure(directory={'cache-seconds': 86400})
        cls.p.restart()
        cls.ad.do(lambda c: c.add(UNIT, ['organizationalUnit']))
        staff = [cls.many.user() for _ in range(4)]
        for n, user in enumerate(staff):
            cls.ad.add(user, 'Staff %d' % n)
            cls.many.enroll(user)
        cls.many.wait_state(staff, 'active')

    def setUp(self):
        super().setUp()
        self.forget()

    def active(self, name, **more):
        """With a mail that was signed; (login, DN)."""
        user, dn = super().active(name, **more)
        self.assertTrue(self.signed(user), 'signed, and the milter knows whose address it is')
        return user, dn

    def published(self, user):
        from cryptography import x509
        return {x509.load_der_x509_certificate(d).serial_number for d in self.ad.values(user)[0].get('userCertificate', [])}

    def serial(self, user):
        return int(self.certificate(user)['serial'], 16)

    def test_disabled_and_enabled_again(self):
        for control in (int(stage_samba.DISABLED), int(stage_samba.DISABLED) | NEVER_EXPIRES):
            with self.subTest(control):
                user, dn = self.active('Disabled %d' % control)
                serial = self.serial(user)
                self.ad.modify(dn, userAccountControl=str(control))
                self.assertEqual(self.gone(user)[address(user)]['kind'], 'disabled')
                self.assertFalse(self.signed(user))
                self.assertIn('their entry in the directory is disabled', self.why(user, 'departed')['sentence'])
                self.assertEqual(self.published(user), {serial}, 'in the grace period nothing is taken back')
                self.ad.modify(dn, userAccountControl=str(control & ~2))
                self.back(user)
                self.assertTrue(self.signed(user))
                self.assertEqual((self.serial(user), self.published(user)), (serial, {serial}))
                self.assertEqual(self.events(user, 'departed', 'returned'), ['departed', 'returned'])

    def test_deleted_and_made_anew(self):
        user, dn = self.active('Deleted One')
        serial = self.serial(user)
        self.ad.do(lambda c: c.delete(dn))
        self.assertEqual(self.gone(user)[address(user)]['kind'], 'gone')
        self.assertFalse(self.signed(user))
        # The same name, DN and address with another objectGUID: it may be somebody else
        self.assertEqual(self.ad.add(user, 'Deleted One'), dn)
        self.back(user)
        fresh = self.until(lambda: [c for c in self.many.show(user)['certificates'] if c['status'] == 'active'], 60, 'one of their own\n' + self.many.story(user))
        self.assertNotEqual(int(fresh[0]['serial'], 16), serial)
        self.until(lambda: self.revoked_at_ca('%X' % serial), 60, 'the old one is revoked')
        self.assertTrue(self.signed(user))
        self.assertEqual((self.published(user), self.keys(user)), ({int(fresh[0]['serial'], 16)}, 2))
        said = [e['text'] for e in self.many.show(user)['events'] if e['event'] == 'returned']
        self.assertIn('another entry of the directory has this address now', said[0])

    def test_moved_to_another_unit(self):
        user, dn = self.active('Karl-Heinz Weiß')
        serial = self.serial(user)
        self.ad.move(dn, UNIT)
        self.looks(3)
        self.assertNotIn(address(user), self.departures())
        self.assertEqual(self.events(user, 'departed'), [])
        self.assertTrue(self.signed(user))
        moved = self.ad.values(user)[1]
        self.assertIn(UNIT, moved)
        self.ad.modify(moved, userAccountControl=stage_samba.DISABLED)
        self.gone(user)
        self.grace_is_over(user)
        self.over(user)
        self.until(lambda: self.published(user) == set(), 60, 'taken back where the entry is now')
        self.until(lambda: self.revoked_at_ca('%X' % serial), 60, 'and revoked')
        self.assertEqual(self.keys(user), 1)

    def test_moved_and_with_another_address_at_once(self):
        user, dn = self.active('Ida Umzug')
        new = 'ida.neu@corp.example'
        self.p.stop('enrolld')          # both between two looks
        self.ad.move(dn, UNIT)
        self.ad.modify(self.ad.values(user)[1], mail=new)
        self.p.start('enrolld')
        self.assertEqual(self.gone(user)[address(user)]['kind'], 'address', 'it is known again by its objectGUID')
        self.p.wait_state(new, 'active', 60)
        self.assertTrue(self.signed(user, new))
        self.assertEqual(len(self.published(user)), 2)

    def test_another_address(self):
        user, dn = self.active('Eva Alt')
        old = self.serial(user)
        new = 'eva.neu@corp.example'
        # The old one stays as an alias: nobody left
        self.ad.modify(dn, mail=new, proxyAddresses=['SMTP:' + new, 'smtp:' + address(user), 'x500:/o=corp/cn=eva'])
        self.looks(3)
        self.assertNotIn(address(user), self.departures())
        self.assertTrue(self.signed(user))
        # and then it goes
        self.ad.modify(dn, proxyAddresses=['SMTP:' + new, 'x500:/o=corp/cn=eva'])
        self.assertEqual(self.gone(user)[address(user)]['kind'], 'address')
        self.assertFalse(self.signed(user))
        self.p.wait_state(new, 'active', 60)            # at once, without a mail
        fresh = int([c for c in self.p.show(new)['certificates'] if c['status'] == 'active'][0]['serial'], 16)
        self.assertTrue(self.signed(user, new))
        self.assertEqual(self.published(user), {old, fresh})
        self.grace_is_over(user)
        self.over(user)
        self.until(lambda: self.many.state(user) == 'revoked', 60, 'CA and directory follow')
        self.assertEqual(self.published(user), {fresh})
        self.assertEqual(self.keys(user), 1, 'the old key is kept')
        self.assertTrue(self.signed(user, new))
