"""Certificates of other CAs in the directory: who has one that must go, why, and replacing them within the caps."""

import base64
import datetime
import json
import socket

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

import stage_ldap
from namespace import run
from product import Failed, Product, require
from stage import Stage, StageCase

STAGE = {'ca': True}
TAKES, BUSY = 20, 11
CAP = 3
MANY = 450
STRICT, MULTIPURPOSE, LEGACY = '2.23.140.1.5.1.3', '2.23.140.1.5.1.2', '2.23.140.1.5.1.1'
NOW = datetime.datetime.utcnow().replace(microsecond=0)
YEAR = datetime.timedelta(days=365)


def setUpModule():
    require()


class OtherCa:
    """Makes certificates as they should be, but for what is asked for."""

    def __init__(self, key, name='Old Mail CA'):
        self.key, self.name = key, name
        self.ready = {}

    def user_key(self, bits):
        if bits not in self.ready:
            self.ready[bits] = rsa.generate_private_key(65537, bits)
        return self.ready[bits]

    def make(self, mail, policy=STRICT, begin=NOW - datetime.timedelta(days=1), days=300, bits=2048,
             digest=None, purposes=(), ku=('digital_signature', 'key_encipherment')):
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        bits_of = dict.fromkeys(('digital_signature', 'content_commitment', 'key_encipherment', 'data_encipherment',
                                 'key_agreement', 'key_cert_sign', 'crl_sign', 'encipher_only', 'decipher_only'), False)
        bits_of.update(dict.fromkeys(ku, True))
        b = (x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, mail)]))
             .issuer_name(name).public_key(self.user_key(bits).public_key()).serial_number(x509.random_serial_number())
             .not_valid_before(begin).not_valid_after(begin + datetime.timedelta(days=days))
             .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(mail)]), False)
             .add_extension(x509.KeyUsage(**bits_of), True)
             .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION, *purposes]), False))
        if policy:
            b = b.add_extension(x509.CertificatePolicies(
                [x509.PolicyInformation(ObjectIdentifier(policy), None)]), False)
        return b.sign(self.key, digest or hashes.SHA256())


def der(certificate):
    return certificate.public_bytes(serialization.Encoding.DER)


def damaged(certificate):
    """What slapd takes for a certificate, and is none: its public key is no key."""
    raw = bytearray(der(certificate))
    at = bytes(raw).index(bytes.fromhex('06092a864886f70d010101'), bytes(raw).index(bytes.fromhex('170d')))
    raw[at] = 0x04
    return bytes(raw)


def serial(certificate):
    text = '%X' % certificate.serial_number
    return '0' * (len(text) % 2) + text


class LegacyReport(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        Stage.current.ca.admin('/behaviour', {'authz_valid': True})
        cls.p = Product(Stage.current, directory={'smime-attribute': 'userSMIMECertificate'}, cap_per_day=CAP,
                        rules=[{'name': 'no-robots', 'addresses': ['robot@corp.example'], 'certificate': 'none'}])
        cls.p.start()
        cls.certificates()
        # the one of ours is not to use up the cap, and is in the directory before anything is looked at
        cls.p.configure(cap_per_day=0)
        cls.p.restart('enrolld')
        cls.p.ctl('enroll', 'alice@corp.example')
        cls.p.wait_state('alice@corp.example', 'active')

    @classmethod
    def certificates(cls):
        old, new = OtherCa(ec.generate_private_key(ec.SECP256R1())), OtherCa(rsa.generate_private_key(65537, 2048), 'RSA CA')
        mail = '%s@corp.example'.__mod__
        rsa3072 = OtherCa(rsa.generate_private_key(65537, 3072), 'SHA-1 CA')
        one = {
            'legacy': old.make(mail('legacy'), LEGACY),
            'none': old.make(mail('none'), None),
            'toolong': old.make(mail('toolong'), days=1095),
            'weak': old.make(mail('weak'), bits=1024),
            'sha1': rsa3072.make(mail('sha1'), digest=hashes.SHA1()),
            'purposes': old.make(mail('purposes'), MULTIPURPOSE, days=800,
                                 purposes=[ObjectIdentifier('1.3.6.1.4.1.311.10.3.4')]),
            'issuer': new.make(mail('issuer'), days=800),
            'strict': old.make(mail('strict')),
            'expired': old.make(mail('expired'), LEGACY, NOW - 2 * YEAR, days=365),
            'robot': old.make(mail('robot'), LEGACY),
            'stranger': old.make('stranger@elsewhere.example', LEGACY),
        }
        cls.serials = {u: serial(c) for u, c in one.items()}
        for user, certificate in one.items():
            cls.add(user, [certificate], 'stranger@elsewhere.example' if user == 'stranger' else None)
        cls.add('nothing', [])
        # a good one beside the bad one: of the same use, and of less
        cls.add('two', [old.make(mail('two'), LEGACY), old.make(mail('two'))])
        cls.add('twouses', [old.make(mail('twouses'), LEGACY), old.make(mail('twouses'), ku=('key_encipherment',))])
        # values that are no certificate
        cls.add('garbage', [damaged(old.make(mail('garbage')))])
        cls.stage.ldap.modify('garbage', **{'userSMIMECertificate': [b'no CMS']})
        # CMS with a signer, as mail programs publish it
        signed = old.make(mail('cms'), LEGACY)
        cls.add('cms', [])
        cls.stage.ldap.modify('cms', **{'userSMIMECertificate': [
            pkcs7.PKCS7SignatureBuilder().set_data(b'x').add_signer(signed, old.user_key(2048), hashes.SHA256())
            .sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary])]})

    @classmethod
    def add(cls, user, certificates, mail=None):
        cls.stage = Stage.current
        cls.stage.ldap.add(user, mail=mail)
        values = [c if isinstance(c, bytes) else der(c) for c in certificates]
        if values:
            cls.stage.ldap.modify(user, **{'userCertificate;binary': values})

    def report(self, *more, **how):
        """The answer, and {address: (reasons, plan)}."""
        answer = self.p.json('report', 'legacy', *more, **how)
        found = {}
        for user in answer['users']:
            for c in user['certificates']:
                for address in c['addresses']:
                    found[address.split('@')[0]] = (' '.join(r['reason'] for r in c['reasons']), c['plans'][address]['plan'])
        return answer, found

    def ask(self, arguments):
        """One question over the control socket, as root, and its answer."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.p.config['control']['socket'])
            s.sendall(json.dumps({'command': 'report-legacy', 'arguments': arguments}).encode() + b'\n')
            return json.loads(b''.join(iter(lambda: s.recv(65536), b'')))

    EXPECTED = {
        'legacy': ('legacy-generation', 'enroll'),
        'none': ('no-br-profile', 'enroll'),
        'toolong': ('too-long', 'enroll'),
        'weak': ('weak-key', 'enroll'),
        'sha1': ('weak-signature', 'enroll'),
        'purposes': ('purposes', 'enroll'),
        'issuer': ('issuer-key', 'enroll'),
        'cms': ('legacy-generation', 'enroll'),
        'twouses': ('legacy-generation', 'enroll'),
        'two': ('legacy-generation', 'covered'),
        'robot': ('legacy-generation', 'refused'),
        'stranger': ('legacy-generation', 'refused'),
    }
    WANTED = sorted(u for u, (_reasons, plan) in EXPECTED.items() if plan == 'enroll')

    def issued_to(self):
        return sorted(a.split('@')[0] for c in self.stage.ca.admin('/state')['certificates'] for a in c['addresses'])

    def test_1_who_has_what(self):
        before = self.p.json('events')
        answer, found = self.report(user='helpdesk1')
        self.assertEqual(found, self.EXPECTED)
        counts = answer['counts']
        self.assertEqual((counts['bad'], counts['expired'], counts['unreadable']), (12, 1, 2))
        self.assertEqual(counts['ours'], 1, 'alice, whose certificate stands in two attributes')
        self.assertEqual(counts['clean'], 1 + 3, 'alice, strict, and the good ones of those with two')
        self.assertEqual(counts['entries'], 16)
        self.assertEqual(answer['plans'], {'enroll': 9, 'covered': 1, 'refused': 2, 'queued': 0})
        for user in answer['users']:
            for c in user['certificates']:
                self.assertTrue(all(len(r['text']) > 15 for r in c['reasons']), c)
                name = c['addresses'][0].split('@')[0]
                if name in self.serials:
                    self.assertEqual(c['serial'], self.serials[name])
        self.assertEqual(self.p.json('events'), before, 'looking changes nothing')
        self.assertEqual(self.issued_to(), ['alice'])

    def test_2_what_people_see(self):
        text = self.p.ctl('report', 'legacy', user='helpdesk1')
        lines = {line.split('@')[0]: line for line in text.splitlines() if '@' in line.split(' ')[0]}
        self.assertEqual(set(lines), set(self.EXPECTED))
        for user, (reasons, _plan) in self.EXPECTED.items():
            self.assertIn(reasons, lines[user])
        self.assertIn('would be enrolled', lines['legacy'])
        self.assertIn('no-robots', lines['robot'])
        self.assertIn('domain', lines['stranger'])
        self.assertIn('a good one beside it', lines['two'])
        self.assertIn(self.serials['weak'][:8], lines['weak'])
        self.assertIn('Old Mail CA', lines['weak'])
        self.assertNotIn('strict@', text)
        self.assertNotIn('expired@', text)
        self.assertRegex(text, r' 1  expired\n')
        self.assertRegex(text, r' 9  have no enrollment with us yet')

    def test_3_who_may(self):
        with self.assertRaises(Failed) as refused:
            self.p.ctl('report', 'legacy', '--enroll', '--yes', user='helpdesk1')
        self.assertIn('enroll-admin', refused.exception.err)
        with self.assertRaises(Failed) as refused:
            self.p.ctl('report', 'legacy', user='mallory')
        self.assertNotIn('legacy@', refused.exception.out)
        self.assertEqual([r['address'] for r in self.p.json('list')['enrollments']], ['alice@corp.example'])

    def test_4_a_directory_of_several_pages(self):
        many = [dn for dn in (stage_ldap.dn_of(u) for u in self.stage.ldap.add_users(MANY))]
        value = base64.b64encode(der(OtherCa(ec.generate_private_key(ec.SECP256R1())).make('group@corp.example'))).decode()
        run('ldapmodify', '-Q', '-Y', 'EXTERNAL', '-H', self.stage.ldap.ldapi, input=''.join(
            'dn: %s\nchangetype: modify\nadd: userCertificate;binary\nuserCertificate;binary:: %s\n\n' % (dn, value) for dn in many))
        try:
            answer, found = self.report()
            self.assertEqual(answer['counts']['entries'], 16 + MANY)
            self.assertEqual(answer['counts']['clean'], 4 + MANY)
            self.assertEqual(found, self.EXPECTED)
            # reports that nobody goes on with keep nobody from making another
            left = [self.ask({})['result']['walk'] for _n in range(20)]
            self.assertEqual(self.report()[0]['counts']['bad'], 12)
            self.assertEqual(len(set(left)), 20)
            self.assertFalse(self.ask({'walk': left[0]})['ok'], 'given up')
            last = self.ask({'walk': left[-1]})
            self.assertTrue(last['ok'], last)
            self.assertEqual(last['result']['counts']['entries'], 200)
            self.assertFalse(self.ask({'walk': 'x'})['ok'])
            self.assertFalse(self.ask({'walk': ''})['ok'])
        finally:
            run('ldapdelete', '-Q', '-Y', 'EXTERNAL', '-H', self.stage.ldap.ldapi, input='\n'.join(many) + '\n')

    def test_5_observing_and_pilot_queue_nobody_else(self):
        self.p.configure(pilot={'addresses': ['weak@corp.example']})
        self.p.restart('enrolld')
        try:
            _answer, found = self.report()
            self.assertEqual([u for u in found if found[u][1] == 'enroll'], ['weak'])
            self.p.configure(pilot=None, mode='observe')
            self.p.restart('enrolld')
            answer, _found = self.report('--enroll', '--yes')
            self.assertEqual(answer['plans']['queued'], 0)
            self.assertNotIn('enroll', answer['plans'])
        finally:
            self.p.configure(pilot=None, mode='sign')
            self.p.restart('enrolld')
        self.assertEqual([r['address'] for r in self.p.json('list')['enrollments']], ['alice@corp.example'])

    def test_6_replacing_them_within_the_cap(self):
        already = self.p.json('status')['orders_in_24h']
        self.p.configure(cap_per_day=already + CAP)
        self.p.restart('enrolld')
        answer, found = self.report('--enroll', '--yes')
        self.assertEqual(found, self.EXPECTED)
        self.assertEqual(answer['plans'], {'enroll': 9, 'covered': 1, 'refused': 2, 'queued': 9})
        for user in self.WANTED:
            shown = self.p.wait_state(user + '@corp.example', ('active', 'waiting'))
            self.assertEqual(shown['enrollment']['requested_by'], 'admin:admin1')
        states = sorted(r['state'] for r in self.p.json('list')['enrollments'])
        self.assertEqual(states, ['active'] * (1 + CAP) + ['waiting'] * (9 - CAP))
        self.assertEqual(len(self.issued_to()), 1 + CAP)
        # called again, it requests nothing twice
        answer, found = self.report('--enroll', '--yes')
        self.assertEqual(answer['plans'], {'replaced': CAP, 'under-way': 9 - CAP, 'covered': 1, 'refused': 2, 'queued': 0})
        self.p.configure(cap_per_day=0)
        self.p.restart('enrolld')
        for user in self.WANTED:
            self.p.ctl_run('retry', user + '@corp.example')
            self.p.wait_state(user + '@corp.example', 'active')
        self.assertEqual(self.issued_to(), sorted(['alice', *self.WANTED]))

    def test_7_afterwards_they_are_replaced(self):
        answer, found = self.report()
        self.assertEqual({u: p for u, (_r, p) in found.items() if u in self.WANTED}, dict.fromkeys(self.WANTED, 'replaced'))
        self.assertEqual({u: found[u] for u in found if u not in self.WANTED},
                         {u: e for u, e in self.EXPECTED.items() if u not in self.WANTED})
        self.assertEqual(answer['counts']['ours'], 1 + 9)
        # nothing of others was taken from the directory
        self.assertEqual(len(self.stage.ldap.certificates('legacy')), 2)
        self.assertIn('replaced by an active certificate of ours', self.p.ctl('report', 'legacy'))

    def test_8_a_directory_that_is_away_is_an_error(self):
        self.stage.ldap.stop()
        try:
            with self.assertRaises(Failed) as failed:
                self.p.ctl('report', 'legacy')
            self.assertIn('ldap.corp.example', failed.exception.err)
        finally:
            self.stage.ldap.restart()
        self.report()
