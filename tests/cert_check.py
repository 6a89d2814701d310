#!/usr/bin/python3
"""`enrollctl cert check` on certificates of a small CA that `openssl` makes: what it prints, what it asks, how it ends.

    cd BUILD && /usr/bin/python3 SOURCE/tests/cert_check.py

Every run is without configuration file, enrolld and store, with an empty environment, and as nobody where we are root.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

BUILD = os.path.abspath(os.environ.get('ENROLL_BUILD', '.'))
PROGRAM = BUILD + '/enrollctl'
NOBODY = 65534
AT = '2026-11-22'

ROOT = '[x]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n'
SUB = ROOT + 'authorityKeyIdentifier=keyid\n'
LEAF = {
    'keyUsage': 'critical,digitalSignature',
    'extendedKeyUsage': 'emailProtection',
    'certificatePolicies': '2.23.140.1.5.1.3',
    'crlDistributionPoints': 'URI:http://crl.ca.example/mail.crl',
    'authorityInfoAccess': 'OCSP;URI:http://ocsp.ca.example,caIssuers;URI:http://ca.example/mail.cer',
    'authorityKeyIdentifier': 'keyid:always',
    'subjectKeyIdentifier': 'hash',
    'subjectAltName': 'critical,email:alice@example.org',
}


def openssl(*argv):
    done = subprocess.run(['openssl', *argv], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError('openssl %s: %s' % (' '.join(argv), done.stderr))


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not shutil.which('openssl'):
            raise unittest.SkipTest('openssl is not there')
        if not os.access(PROGRAM, os.X_OK):
            raise unittest.SkipTest('%s is not there' % PROGRAM)
        cls.folder = tempfile.mkdtemp(prefix='cert-check-')
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        os.chmod(cls.folder, 0o755)
        cls.issue('root', None, ROOT, '/CN=Root')
        cls.issue('other', None, ROOT, '/CN=Other Root')
        cls.issue('sub', 'root', SUB, '/CN=Mail CA')
        cls.leaf('leaf')
        cls.write('bundle.pem', cls.read('leaf.pem') + cls.read('sub.pem'))
        openssl('x509', '-in', cls.path('leaf.pem'), '-outform', 'DER', '-out', cls.path('leaf.der'))

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder, name)

    @classmethod
    def read(cls, name):
        with open(cls.path(name), 'rb') as file:
            return file.read()

    @classmethod
    def write(cls, name, data):
        with open(cls.path(name), 'wb') as file:
            file.write(data)
        return cls.path(name)

    @classmethod
    def issue(cls, name, issuer, extensions, subject):
        """From 2026-01-01, by the clock of a CA of ours: openssl's own commands know days only, `openssl ca` knows times."""
        if not os.path.exists(cls.path('ca.conf')):
            cls.write('ca.conf', ('[ca]\ndefault_ca=d\n[d]\ndatabase=%s\nserial=%s\nnew_certs_dir=%s\ndefault_md=sha256\npolicy=p\nunique_subject=no\n'
                                  'rand_serial=yes\nemail_in_dn=no\n[p]\ncommonName=optional\norganizationName=optional\n'
                                  % (cls.path('index'), cls.path('serial'), cls.folder)).encode())
            cls.write('index', b'')
        cls.write('x.conf', extensions.encode())
        openssl('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc', '-keyout', cls.path(name + '.key'),
                '-out', cls.path(name + '.csr'), '-subj', subject, '-config', '/dev/null')
        signer = ['-cert', cls.path(issuer + '.pem'), '-keyfile', cls.path(issuer + '.key')] if issuer else \
            ['-selfsign', '-keyfile', cls.path(name + '.key')]
        openssl('ca', '-batch', '-notext', '-config', cls.path('ca.conf'), '-extfile', cls.path('x.conf'), '-extensions', 'x', '-startdate',
                '20260101000000Z', '-enddate', '20270101000000Z' if issuer == 'sub' else '20400101000000Z', '-in', cls.path(name + '.csr'),
                '-out', cls.path(name + '.pem'), *signer)

    @classmethod
    def leaf(cls, name, **changes):
        lines = dict(LEAF, **changes)
        cls.issue(name, 'sub', '[x]\n' + ''.join('%s=%s\n' % line for line in lines.items() if line[1]), '/')
        return cls.path(name + '.pem')

    def run_check(self, *argv):
        who = {'user': NOBODY, 'group': NOBODY, 'extra_groups': []} if os.geteuid() == 0 else {}
        program = PROGRAM
        if who:     # the build may stand where nobody may look
            program = self.path('enrollctl')
            if not os.path.exists(program):
                shutil.copy(PROGRAM, program)
        return subprocess.run([program, 'cert', 'check', *argv], capture_output=True, text=True, cwd='/', env={}, **who)

    def check(self, code, *argv):
        done = self.run_check(*argv)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout

    def result(self, code, *argv):
        return json.loads(self.check(code, *argv, '--json'))

    def ids(self, result):
        return [f['id'] for f in result['findings']]


class Clean(Case):
    ASKED = ('--profile', 'mailbox-strict', '--at', AT)

    def test_nothing_is_found_in_pem_and_der_alone_and_with_its_issuer(self):
        for name in ('leaf.pem', 'leaf.der', 'bundle.pem'):
            with self.subTest(name):
                result = self.result(0, self.path(name), *self.ASKED)
                self.assertEqual((result['ok'], result['errors'], result['warnings'], result['findings']), (True, 0, 0, []))
                self.assertEqual((result['profile'], result['profile_is']), ('mailbox-strict', 'asked for'))

    def test_the_chain_and_the_addresses_when_they_are_given(self):
        asked = (*self.ASKED, '--address', 'alice@example.org', '--anchors', self.path('root.pem'))
        self.assertEqual(self.result(0, self.path('bundle.pem'), *asked)['findings'], [])
        self.assertEqual(self.result(0, self.path('leaf.pem'), *asked, '--chain', self.path('sub.pem'))['findings'], [])

    def test_what_was_not_asked_is_said(self):
        left = self.result(0, self.path('leaf.pem'), *self.ASKED)['not_asked']
        self.assertEqual(len(left), 5)
        all_given = self.result(0, self.path('bundle.pem'), *self.ASKED, '--address', 'alice@example.org', '--anchors', self.path('root.pem'))
        self.assertEqual(all_given['not_asked'], ['is it our key', 'is it for what we want to use it', 'is it revoked'])
        self.assertIn('not asked: is it our key; ', self.check(0, self.path('leaf.pem'), *self.ASKED))

    def test_without_a_profile_it_is_held_against_what_it_claims(self):
        result = self.result(0, self.path('leaf.pem'), '--at', AT)
        self.assertEqual((result['profile'], result['profile_is']), ('mailbox-strict', 'claimed'))
        self.assertIn('judged as mailbox-strict, which it claims itself', self.check(0, self.path('leaf.pem'), '--at', AT))


    def test_the_configured_profile_with_its_usage(self):
        config = self.write('milter.conf', b'mode = "observe";\ndomains = [ "example.org" ];\n'
                            b'submission = ( { name = "s"; daemons = [ "ORIGINATING" ]; vouch = "login"; } );\n')
        asked = ('--config', config, '--at', AT, '--profile', 'configured')
        result = self.result(0, self.path('leaf.pem'), *asked)
        self.assertEqual((result['profile'], result['profile_is'], len(result['not_asked'])), ('mailbox-strict', 'configured', 4))
        dual = self.leaf('dual', keyUsage='critical,digitalSignature,keyAgreement')
        self.assertEqual(self.result(0, dual, '--at', AT)['findings'], [])
        self.assertEqual(self.ids(self.result(1, dual, *asked)), ['OWN-USE'])
        self.assertEqual(self.result(0, self.path('leaf.pem'), '--config', config, '--at', AT, '--profile', 'configured:mailbox-strict')['errors'], 0)
        self.assertEqual(self.run_check(dual, '--config', config, '--profile', 'configured:none').returncode, 2)


class Broken(Case):
    def test_an_error_ends_with_1_and_a_warning_with_0(self):
        bad = self.leaf('ku', keyUsage='critical,digitalSignature,keyCertSign')
        result = self.result(1, bad, '--at', AT)
        self.assertEqual((self.ids(result), result['ok'], result['errors']), (['KU-4'], False, 1))
        self.assertEqual(result['findings'][0]['section'], '7.1.2.3(e)')
        self.assertIn('error    KU-4 7.1.2.3(e): key usage has a bit beyond', self.check(1, bad, '--at', AT))
        odd = self.leaf('aia', authorityInfoAccess=None)
        self.assertEqual((self.ids(self.result(0, odd, '--at', AT))), ['AIA-1'])
        self.assertIn('warning  AIA-1 ', self.check(0, odd, '--at', AT))

    def test_the_profile_asked_for_counts(self):
        self.assertIn('POL-3', self.ids(self.result(1, self.path('leaf.pem'), '--at', AT, '--profile', 'mailbox-multipurpose')))
        self.assertIn('DN-4', self.ids(self.result(1, self.path('leaf.pem'), '--at', AT, '--profile', 'organization-strict')))
        self.assertEqual(self.ids(self.result(0, self.path('leaf.pem'), '--at', AT, '--profile', 'private')), [])

    def test_the_time_asked_for_counts(self):
        self.assertEqual(self.ids(self.result(1, self.path('leaf.pem'), '--at', '2027-02-01')), ['OWN-TIME'])
        self.assertEqual(self.ids(self.result(1, self.path('leaf.pem'), '--at', '2025-12-31T23:59:59Z')), ['OWN-TIME'])

    def test_another_anchor_another_address_a_missing_issuer(self):
        leaf, root, other = self.path('bundle.pem'), self.path('root.pem'), self.path('other.pem')
        self.assertEqual(self.ids(self.result(1, leaf, '--at', AT, '--anchors', other)), ['OWN-CHAIN'])
        self.assertEqual(self.ids(self.result(1, self.path('leaf.pem'), '--at', AT, '--anchors', root)), ['OWN-CHAIN'])
        self.assertEqual(set(self.ids(self.result(1, leaf, '--at', AT, '--address', 'bob@example.org'))), {'OWN-ADDR'})
        self.assertEqual(self.ids(self.result(1, leaf, '--at', AT, '--address', 'alice@example.org', '--address', 'bob@example.org')), ['OWN-ADDR'])

    def test_what_a_stranger_wrote_is_printed_harmlessly(self):
        text = '\x1b[2J' + 'x' * 10
        bad = self.leaf('esc', subjectAltName='critical,email:alice@example.org' + text)
        done = self.run_check(bad, '--at', AT)
        self.assertEqual(done.returncode, 1)
        self.assertNotIn('\x1b', done.stdout)
        self.assertIn('\\x1b', done.stdout)


class Unfit(Case):
    def test_what_cannot_be_checked_ends_with_2(self):
        empty, text = self.write('empty', b''), self.write('text', b'hello\n')
        damaged = self.write('damaged', self.read('leaf.pem').replace(b'M', b'!', 3))
        longer = self.write('longer.der', self.read('leaf.der') + b'x')
        half = self.write('half.der', self.read('leaf.der')[:200])
        second = self.write('second.pem', self.read('leaf.pem') + self.read('sub.pem')[:200] + b'\n-----END CERTIFICATE-----\n')
        for name in (empty, text, damaged, longer, half, second, self.path('leaf.key'), self.folder, self.path('nothing')):
            with self.subTest(name):
                done = self.run_check(name, '--profile', 'mailbox-strict')
                self.assertEqual(done.returncode, 2, done.stdout)
                self.assertIn(name, done.stderr)

    def test_a_certificate_that_claims_nothing_wants_a_profile(self):
        done = self.run_check(self.leaf('tls', certificatePolicies='1.2.3.4'), '--at', AT)
        self.assertEqual(done.returncode, 2)
        self.assertIn('--profile', done.stderr)

    def test_wrong_use_ends_with_2(self):
        leaf = self.path('leaf.pem')
        for argv in ((), (leaf, leaf), (leaf, '--profile', 'gold'), (leaf, '--at', 'tomorrow'), (leaf, '--address', 'alice'),
                     (leaf, '--anchors', self.path('nothing')), (leaf, '--anchors', self.path('sub.pem')), (leaf, '--chain', self.path('nothing')),
                     (leaf, '--profile', 'configured')):
            with self.subTest(argv):
                self.assertEqual(self.run_check(*argv).returncode, 2)


if __name__ == '__main__':
    result = unittest.main(exit=False, argv=[sys.argv[0]] + sys.argv[1:]).result
    bad = len(result.failures) + len(result.errors)
    skipped = len(result.skipped)
    print('%d passed, %d failed, %d skipped' % (max(0, result.testsRun - bad - skipped), bad, skipped))
    sys.exit(1 if bad else 0)
