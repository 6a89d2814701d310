"""The RFC 8555 half of the CA client against Pebble, a server that is not ours: many orders at once with one account.

Pebble knows no mail addresses; orders are for host names, proved by tests/unit/drive_dns.c.  It rejects one good nonce in
twenty, wants an external account binding, and forgets everything when it ends.
"""

import base64
import datetime
import ipaddress
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import unittest
import urllib.request

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

import namespace
from service import tail, until

STAGE = None
TAKES, BUSY = 7, 6

DRIVE = os.path.join(os.environ.get('ENROLL_BUILD', ''), 'tests', 'unit', 'drive_ca')
ORDERS, THREADS = 50, 8
MAC_KEY = base64.urlsafe_b64encode(bytes(range(1, 49))).decode()
CONTACT, NEW_CONTACT = 'mailto:postmaster@pebble.example', 'mailto:certificates@pebble.example'


def setUpModule():
    """A new namespace has a loopback that is down; a stage would see to it."""
    if namespace.inside():
        namespace.run('ip', 'link', 'set', 'lo', 'up')


def free_ports(n):
    sockets = [socket.create_server(('127.0.0.1', 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def write(path, data):
    with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), 'wb') as file:
        file.write(data)
    return path


def pem_of(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


def web_certificate(folder):
    """A certificate for 127.0.0.1 that is its own anchor."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.utcnow()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, 'pebble')])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address('127.0.0.1'))])
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30)).add_extension(names, False)
            .add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256()))
    return (write(folder + '/web.pem', made.public_bytes(serialization.Encoding.PEM)),
            write(folder + '/web.key', pem_of(key)))


class Pebble:
    """The server in a folder of its own, ended by its process."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix='pebble-')
        self.port, self.management = free_ports(2)
        self.certificate, key = web_certificate(self.folder)
        settings = {
            'listenAddress': '127.0.0.1:%d' % self.port, 'managementListenAddress': '127.0.0.1:%d' % self.management,
            'certificate': self.certificate, 'privateKey': key, 'httpPort': 5002, 'tlsPort': 5001,
            'ocspResponderURL': '', 'externalAccountBindingRequired': True, 'externalAccountMACKeys': {'kid-1': MAC_KEY}}
        self.log = self.folder + '/log'
        with open(self.log, 'wb') as log:
            self.process = subprocess.Popen(
                ['pebble', '-config', write(self.folder + '/config.json', json.dumps({'pebble': settings}).encode())],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                env={**os.environ, 'PEBBLE_VA_ALWAYS_VALID': '1', 'PEBBLE_VA_NOSLEEP': '1', 'PEBBLE_ALTERNATE_ROOTS': '1', 'PEBBLE_CHAIN_LENGTH': '2'})
        try:
            until(self.answers, 60, 'Pebble answers', say=lambda: tail(self.log))
        except BaseException:
            self.end()
            raise

    def answers(self):
        if self.process.poll() is not None:
            raise RuntimeError('Pebble ended:\n' + tail(self.log))
        try:
            return self.fetch('/roots/0')
        except OSError:
            return None

    def fetch(self, path):
        context = ssl.create_default_context(cafile=self.certificate)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        return opener.open('https://127.0.0.1:%d%s' % (self.management, path), timeout=30).read()

    def root(self, n):
        """Root certificate n; 0 is that of the default chain."""
        return x509.load_pem_x509_certificate(self.fetch('/roots/%d' % n))

    def end(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder)


class Client:
    """One drive_ca process; it must end with 0, or a sanitizer has something to say."""

    def __init__(self, case, **settings):
        self.case = case
        self.process = subprocess.Popen([DRIVE, *case.arguments(**settings)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.first = json.loads(self.process.stdout.readline())
        case.addCleanup(self.close)
        case.assertTrue(self.first['ok'], self.first)

    def close(self):
        if not self.process.stdin.closed:
            self.process.stdin.close()
            self.case.assertEqual(self.process.wait(120), 0)
            self.process.stdout.close()

    def send(self, *words):
        self.process.stdin.write(' '.join(words) + '\n')
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        self.case.assertTrue(line, 'drive_ca died')
        return json.loads(line)

    def once(self, *words):
        self.send(*words)
        return self.answer()

    def do(self, *words):
        """Three nonces rejected in a row are a reason to try again, for the enrollment as for us."""
        for _ in range(10):
            answer = self.once(*words)
            if answer['ok'] or answer['err']['type'] != 'badNonce':
                return answer
        return answer

    def good(self, *words):
        answer = self.do(*words)
        self.case.assertTrue(answer['ok'], '%s: %s' % (words, answer))
        return answer

    def bad(self, *words):
        answer = self.do(*words)
        self.case.assertFalse(answer['ok'], '%s: %s' % (words, answer))
        return answer['err']


@unittest.skipUnless(os.access(DRIVE, os.X_OK), 'the product is not built ($ENROLL_BUILD)')
@unittest.skipUnless(shutil.which('pebble'), 'pebble is not installed')
class PebbleCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.pebble = Pebble()

    @classmethod
    def tearDownClass(cls):
        cls.pebble.end()

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='client-')
        self.addCleanup(shutil.rmtree, self.folder)
        self.key_file = self.folder + '/account.key'
        self.mac_key_file = write(self.folder + '/mac.key', MAC_KEY.encode())
        self.contact = CONTACT

    def arguments(self, **settings):
        known = {
            'directory-url': 'https://127.0.0.1:%d/dir' % self.pebble.port, 'ca-file': self.pebble.certificate,
            'account-key': self.key_file, 'accept-terms': 'true', 'identifier-type': 'dns', 'contact': self.contact,
            'eab-kid': 'kid-1', 'eab-key-file': self.mac_key_file, 'timeout': '60', 'connections': '6', **settings}
        return ['%s=%s' % pair for pair in known.items() if pair[1] is not None]

    def run_once(self, command, **settings):
        """`init` or `rotate` in a process of its own, as enrollctl does it."""
        for _ in range(10):
            done = subprocess.run([DRIVE, command, *self.arguments(**settings)], stdout=subprocess.PIPE, text=True, timeout=300)
            answer = json.loads(done.stdout)
            if answer['err']['type'] != 'badNonce':
                break
        return answer

    def registered(self, **settings):
        answer = self.run_once('init', **settings)
        self.assertTrue(answer['ok'], answer)
        return answer['account']

    def rotated(self):
        before = open(self.key_file, 'rb').read()
        answer = self.run_once('rotate')
        self.assertTrue(answer['ok'], answer)
        self.assertNotEqual(open(self.key_file, 'rb').read(), before)
        self.assertEqual([n for n in os.listdir(self.folder) if 'next' in n], [])
        return answer['account']

    def requests_made(self, n):
        """Certificate requests FOLDER/I.csr with keys of the kinds that users have."""
        keys = [ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)]
        for i in range(n):
            key = keys[i % len(keys)]
            name = x509.SubjectAlternativeName([x509.DNSName('host%d.pebble.example' % i)])
            request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(name, False).sign(key, hashes.SHA256())
            write('%s/%d.csr' % (self.folder, i), request.public_bytes(serialization.Encoding.DER))
            write('%s/%d.key' % (self.folder, i), pem_of(key))

    def chain(self, i):
        """Of order i, leaf first; the leaf's DER goes to FOLDER/I.der."""
        with open('%s/%d.pem' % (self.folder, i), 'rb') as file:
            chain = [x509.load_pem_x509_certificate(part + b'-----END CERTIFICATE-----\n')
                     for part in file.read().split(b'-----END CERTIFICATE-----\n') if part.strip()]
        write('%s/%d.der' % (self.folder, i), chain[0].public_bytes(serialization.Encoding.DER))
        return chain

    def issued(self, client, n, threads=THREADS):
        self.requests_made(n)
        for words in (('dns-open', str(n), str(threads), self.folder), ('dns-prove', str(threads)), ('dns-finish', str(threads))):
            answer = client.once(*words)
            self.assertTrue(answer['ok'], answer)
        return answer


def common_name(name):
    return name.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value


class Orders(PebbleCase):
    def test_fifty_orders_and_none_is_lost_while_the_account_gets_new_keys(self):
        account = self.registered()
        self.requests_made(ORDERS)
        client, repeats = Client(self), 0
        keys = {client.good('account')['thumbprint']}
        answer = client.once('dns-open', str(ORDERS), str(THREADS), self.folder)
        self.assertTrue(answer['ok'], answer)
        repeats += answer['repeats']
        self.assertEqual(self.rotated(), account)  # while all are open
        for words in (('dns-prove', str(THREADS)), ('dns-finish', str(THREADS))):
            client.send(*words)
            self.assertEqual(self.rotated(), account)  # and while their requests are on the way
            answer = client.answer()
            self.assertTrue(answer['ok'], answer)
            self.assertEqual(answer['good'], ORDERS)
            repeats += answer['repeats']
        found = client.good('account')
        self.assertEqual((found['uri'], found['status']), (account, 'valid'))
        self.assertNotIn(found['thumbprint'], keys)
        serials = set()
        for i in range(ORDERS):
            leaf = self.chain(i)[0]
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            self.assertEqual(names.get_values_for_type(x509.DNSName), ['host%d.pebble.example' % i])
            serials.add(leaf.serial_number)
        self.assertEqual(len(serials), ORDERS)
        self.all_revoked(client, serials)
        print('# %d orders in %d threads: %d nonces rejected, %d calls repeated for that' %
              (ORDERS, THREADS, answer['bad_nonces'], repeats), flush=True)
        self.assertGreater(answer['bad_nonces'], 0)

    def all_revoked(self, client, serials):
        """By the account, and some by their own keys; a second time is no failure."""
        for i in range(ORDERS):
            words = ['revoke', '%s/%d.der' % (self.folder, i), str((0, 1, 3, 4, 5)[i % 5])]
            if i % 2:
                words.append('%s/%d.key' % (self.folder, i))
            client.good(*words)
        client.good('revoke', self.folder + '/0.der', '4')
        client.good('revoke', self.folder + '/1.der', '1', self.folder + '/1.key')
        for serial in serials:
            status = json.loads(self.pebble.fetch('/cert-status-by-serial/%x' % serial))
            self.assertEqual(status['Status'], 'Revoked')

    def test_certificate_of_another_key_is_not_revoked_by_ours(self):
        self.registered()
        client = Client(self)
        self.issued(client, 2, 2)
        self.chain(0)
        err = client.bad('revoke', self.folder + '/0.der', '1', self.folder + '/1.key')
        self.assertEqual((err['class'], err['type']), ('ca', 'unauthorized'))
        self.assertEqual(err['status'], 403)

    def test_chain_of_the_preferred_issuer_is_taken(self):
        self.registered()
        default, other = (common_name(self.pebble.root(n).subject) for n in (0, 1))
        self.assertNotEqual(default, other)
        for wanted, gets in ((None, default), (default, default), (other, other), ('Nobody', default)):
            with self.subTest(wanted):
                answer = self.issued(Client(self, **{'preferred-issuer': wanted}), 1, 1)
                self.assertEqual(common_name(self.chain(0)[-1].issuer), gets)
                if wanted == 'Nobody':
                    self.assertIn('none ends in "Nobody"', answer['activity'])


class Accounts(PebbleCase):
    def test_binding_is_needed(self):
        answer = self.run_once('init', **{'eab-kid': None, 'eab-key-file': None})
        self.assertEqual((answer['ok'], answer['err']['class']), (False, 'config'))
        self.assertIn('ca.eab', answer['err']['text'])
        self.assertTrue(Client(self).good('discover')['eab_required'])

    def test_binding_by_the_wrong_key_is_refused_in_plain_words(self):
        wrong = write(self.folder + '/wrong.key', base64.urlsafe_b64encode(bytes(48)))
        answer = self.run_once('init', **{'eab-key-file': wrong})
        self.assertFalse(answer['ok'])
        self.assertIn('the CA says', answer['err']['text'])
        self.assertIn('ca.eab', answer['err']['text'])
        self.assertEqual(answer['err']['class'], 'config')

    def test_contact_follows_the_configuration(self):
        account = self.registered()
        self.assertEqual(Client(self).good('account')['contacts'], [CONTACT])
        self.contact = NEW_CONTACT
        client = Client(self)
        client.good('prepare')
        found = client.good('account')
        self.assertEqual((found['uri'], found['contacts']), (account, [NEW_CONTACT]))

    def test_keys_of_every_kind_roll_over_to_each_other(self):
        account = self.registered(**{'account-key-type': 'ec:p256'})
        for kind in ('ec:p384', 'rsa:2048', 'ec:p256'):
            answer = self.run_once('rotate', **{'account-key-type': kind})
            self.assertEqual((answer['ok'], answer['account']), (True, account), answer)
            self.assertEqual(Client(self).good('account')['key_type'], kind)

    def test_deactivated_account_is_over(self):
        self.registered()
        client = Client(self)
        client.good('deactivate')
        err = Client(self).bad('prepare')
        self.assertIn('deactivated', err['text'])


if __name__ == '__main__':
    unittest.main()
