"""Every wrong certificate the CA can issue is refused with its reason: not used, not published."""

import os

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import mailtools
import service
from enrolling import Enrolling, address
from product import Product, require
from stage import Stage, StageCase

STAGE = {'ca': True, 'users': 30}
TAKES, BUSY = 15, 10
BOX = 'box@outside.example'

# kind: what certcheck says (policy/certcheck_rows_*.c), among other things perhaps
KINDS = {
    'wrong_key': 'OWN-KEY',
    'wrong_address': 'OWN-ADDR',
    'extra_address': 'OWN-ADDR',
    'no_address': 'OWN-ADDR',
    'wrong_policy': 'POL-3',
    'no_policy': 'POL-1',
    'multipurpose_for_strict': 'POL-3',
    'legacy': 'POL-2',
    'expired': 'OWN-TIME',
    'not_yet_valid': 'OWN-TIME',
    'wrong_issuer': 'OWN-CHAIN',
    'missing_intermediate': 'OWN-CHAIN',
    'foreign_intermediate': 'OWN-CHAIN',
    'extra_eku': 'EKU-2',
    'server_eku': 'EKU-2',
    'no_email_eku': 'EKU-1',
    'ca_true': 'BC-1',
    'lifetime_900_days': 'VAL-1',
    'ku_encrypt_only': 'OWN-USE',
    'ku_cert_sign': 'KU-4',
    'https_crl': 'CRL-2',
    'extra_subject': 'DN-3',
}
# Right for who signs only; wrong for who wants to be written to as well.
DUAL_KINDS = {'ku_sign_only': 'OWN-USE', 'ku_encrypt_only': 'OWN-USE'}


def setUpModule():
    require()


def public_key(certificate):
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class Case:
    """One kind: its user and what was seen of them."""

    def __init__(self, kind, reason, user):
        self.kind, self.reason, self.user = kind, reason, user
        self.refused = self.published = self.mail = None    # with the wrong certificate
        self.good = self.published_then = self.mail_then = None     # after a retry


class BadCertificates(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        stage = Stage.current
        cls.p = Product(stage, certificate={'key-type': 'ec:p256'})
        cls.p.start()
        cls.many = Enrolling(stage, cls.p)
        cls.signing = cls.go_through(KINDS)
        cls.p.configure(certificate={'usage': 'dual'}, decryption='exported-keys')
        cls.p.restart()
        cls.dual = cls.go_through(DUAL_KINDS)
        cls.cases = cls.signing + cls.dual

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()

    @classmethod
    def go_through(cls, kinds):
        cases = [Case(kind, reason, cls.many.user()) for kind, reason in kinds.items()]
        for case in cases:
            cls.many.behave(authz_valid=True, bad_certificate={'kind': case.kind, 'count': 1})
            cls.many.enroll(case.user)
            service.until(lambda: cls.many.ca_log('issued', case.user), 120, 'the CA issues ' + case.kind,
                          say=lambda: cls.many.story(case.user))
        cls.many.behave(authz_valid=True)
        shown = cls.many.wait_state([c.user for c in cases], 'blocked', 'waiting', 'failed', 'active')
        cls.send(cases, 'mail')
        for case in cases:
            case.refused = shown[case.user]
            case.published = cls.many.stage.ldap.certificates(case.user)
            cls.many.retry(case.user)
        shown = cls.many.wait_state([c.user for c in cases], 'active')
        cls.send(cases, 'mail_then')
        for case in cases:
            case.good = shown[case.user]
            case.published_then = cls.many.stage.ldap.certificates(case.user)
        return cases

    @classmethod
    def send(cls, cases, where):
        """One mail from each; kept as it left."""
        stage = cls.many.stage
        subjects = {c.user: mailtools.unique(c.kind) for c in cases}
        for case in cases:
            stage.submit(case.user, address(case.user), [BOX],
                         mailtools.message(address(case.user), BOX, subjects[case.user]))
        for case in cases:
            setattr(case, where, stage.outside.wait_subject(subjects[case.user]).content)

    def about(self, case):
        return self.subTest('%s%s' % (case.kind, ', dual use' if case in self.dual else ''))

    def issued(self, case, number):
        """The certificates the CA issued for a user, oldest first."""
        serial = self.many.ca_log('issued', case.user)[number]['serial']
        with open(os.path.join(self.stage.ca.state, 'issued', serial + '.pem'), 'rb') as file:
            return x509.load_pem_x509_certificate(file.read())

    # -- the tests -------------------------------------------------------

    def test_all_kinds_of_the_ca_are_here(self):
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'ca', 'README.md')) as file:
            told = next(line for line in file if line.startswith('Wrong certificates'))
        self.assertEqual({w.strip('`.,') for w in told.split(':', 1)[1].split()},
                         set(KINDS) | set(DUAL_KINDS))

    def test_refused_with_its_reason(self):
        for case in self.cases:
            with self.about(case):
                enrollment, certificates = case.refused['enrollment'], case.refused['certificates']
                issued = self.many.ca_log('issued', case.user)
                self.assertEqual([r.get('bad') for r in issued], [case.kind, None])
                self.assertEqual(enrollment['state'], 'blocked', self.many.story(case.user))
                self.assertEqual(enrollment['why_class'], 'policy')
                self.assertRegex(enrollment['why'], r'(?m)(^|: |\n)%s ' % case.reason)
                self.assertIn('is not used', enrollment['why'])
                self.assertIn('enrollctl retry', enrollment['what_next'])
                self.assertEqual([c['status'] for c in certificates], ['refused'])
                self.assertRegex(certificates[0]['findings'], r'(?m)^%s ' % case.reason)
                self.assertNotIn('directory_dn', certificates[0])

    def test_no_finding_but_the_one_that_is_meant(self):
        """An error of another row would hide that the right one does not see it."""
        together = {     # one mistake that breaks several rules
            'wrong_address': {'OWN-ADDR', 'SAN-2', 'CN-1'},
            'no_address': {'OWN-ADDR', 'SAN-1', 'SAN-2', 'CN-1'}, 'no_policy': {'POL-1', 'POL-3'},
            'legacy': {'POL-2', 'POL-3'}, 'no_email_eku': {'EKU-1', 'EKU-2', 'OWN-USE', 'OWN-CHAIN'},
            'server_eku': {'EKU-2', 'EKU-3'}, 'wrong_policy': {'POL-3'},
            'ku_encrypt_only': {'OWN-USE', 'KU-3'}, 'ku_cert_sign': {'KU-2', 'KU-3', 'KU-4', 'BC-1'},
            'extra_subject': {'DN-3', 'DN-10'},
        }
        for case in self.cases:
            with self.about(case):
                lines = case.refused['certificates'][0]['findings'].splitlines()
                errors = {l.split(' ')[0] for l in lines if l and not l.endswith('(warning)')}
                self.assertLessEqual(errors, together.get(case.kind, {case.reason}), lines)

    def test_not_used(self):
        for case in self.cases:
            with self.about(case):
                self.assertFalse(mailtools.is_signed(case.mail), 'mail leaves unsigned')

    def test_not_published(self):
        for case in self.cases:
            with self.about(case):
                self.assertEqual(case.published, [])
                self.assertNotIn('published', [e['event'] for e in case.refused['events']])

    def test_a_good_one_after_retry(self):
        """With a key that no wrong certificate was made for."""
        for case in self.cases:
            with self.about(case):
                self.assertEqual([c['status'] for c in case.good['certificates']].count('active'), 1)
                self.assertEqual([c['status'] for c in case.good['certificates']].count('refused'), 1)
                self.assertEqual(len(case.published_then), 1)
                published = x509.load_der_x509_certificate(case.published_then[0])
                self.assertEqual(published.serial_number, self.issued(case, 1).serial_number)
                self.assertNotEqual(public_key(published), public_key(self.issued(case, 0)))
                self.assertTrue(mailtools.is_signed(case.mail_then))
        for case in (self.signing[0], self.dual[0]):
            for name, verdict in mailtools.verify_all(case.mail_then, self.stage.ca.root).items():
                self.assertTrue(verdict, (name, verdict))

    def test_the_ca_has_nothing_to_complain_of(self):
        self.assertEqual(self.many.violations(), [])
