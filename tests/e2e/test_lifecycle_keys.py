"""Keys in and out: exported files open elsewhere, what comes in signs, what must not come in is refused in plain words."""

import datetime
import os
import pty
import re
import signal
import stat
import subprocess
import time

import mailtools
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from enrolling import Enrolling, address
from mailtools import message, unique
from namespace import environment
from product import DIR, ETC, Product, require, sqlite_only
from stage import Stage, StageCase

STAGE = {'ca': True, 'users': 40}
TAKES, BUSY = 125, 48
BOX = 'box@outside.example'
PASSWORD = 'correct-horse-7'
SIGN = pkcs12.serialize_key_and_certificates


def setUpModule():
    require()


def tool(*argv, code=0, **more):
    done = subprocess.run(argv, capture_output=True, text=True, env=environment(), **more)
    assert done.returncode == code or code is None, (argv, done)
    return done


class KeysCase(StageCase):
    @classmethod
    def setUpClass(cls):
        s = cls.s = Stage.current
        cls.ca = s.ca
        if not hasattr(KeysCase, 'p'):
            KeysCase.p = Product(s, certificate={'key-type': 'ec:p256'}, export='keys')
            KeysCase.p.start()
            KeysCase.many = Enrolling(s, cls.p)
            KeysCase.many.behave(authz_valid=True)
            KeysCase.folder = s.base + '/keys'
            os.mkdir(cls.folder, 0o700)
            KeysCase.password_file = cls.write('password', PASSWORD + '\n')

    @classmethod
    def write(cls, name, data):
        path = cls.folder + '/' + name
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 'wb') as file:
            file.write(data.encode() if isinstance(data, str) else data)
        return path

    def path(self, name):
        return '%s/%s-%s' % (self.folder, unique('').strip().replace(' ', ''), name)

    def active(self, n=1):
        users = [self.many.user() for _ in range(n)]
        for user in users:
            self.many.enroll(user)
        self.many.wait_state(users, 'active')
        return users if n > 1 else users[0]

    def certificates(self, user, status='active'):
        return [c for c in self.many.show(user)['certificates'] if c['status'] == status]

    def serial(self, user):
        return self.certificates(user)[0]['serial']

    def export(self, user, *more, to=None):
        to = to or self.path('key.p12')
        self.p.ctl('export', address(user), '--pkcs12', to, '--password-file', self.password_file, *more, user='root')
        return to

    def load(self, path):
        with open(path, 'rb') as file:
            return pkcs12.load_pkcs12(file.read(), PASSWORD.encode())

    def refused(self, *args, user='root', code=1):
        """What it says on standard error, in one line."""
        done = self.p.ctl_run(*args, user=user)
        self.assertEqual(done.returncode, code, done)
        self.assertEqual(done.stderr.count('\n'), 1, done.stderr)
        return done.stderr

    def imports(self, path, *more, user='root'):
        return self.p.json('import', path, '--password-file', self.password_file, *more, user=user)

    def signer(self, user):
        """Serial number of the certificate that a mail of the user is signed with; None: unsigned."""
        subject = unique()
        self.s.submit(user, address(user), [BOX], message(address(user), BOX, subject))
        content = self.s.outside.wait_subject(subject).content
        if not mailtools.is_signed(content):
            return None
        signers = mailtools.verify_openssl(content, self.ca.root).signers
        return x509.load_pem_x509_certificate(signers.encode() if isinstance(signers, str) else signers).serial_number

    def fresh_store(self):
        """All that was, without the store: as on another host that has the same master key."""
        self.p.stop()
        self.p.fresh_store()
        self.p.init()
        self.p.start()

    def made(self, mail, days=(-1, 300), issuer=None):
        """Key and certificate of somebody else's making."""
        now = datetime.datetime.now(datetime.timezone.utc)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, mail)])
        ca_key, ca_name = issuer or (key, name)
        builder = x509.CertificateBuilder(
            issuer_name=ca_name, subject_name=name, public_key=key.public_key(), serial_number=x509.random_serial_number(),
            not_valid_before=now + datetime.timedelta(days=days[0]), not_valid_after=now + datetime.timedelta(days=days[1]))
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.RFC822Name(mail)]), False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        return key, builder.sign(ca_key, hashes.SHA256())

    def p12(self, key, certificate, password=PASSWORD):
        return self.write(unique('').strip() + '.p12', SIGN(b'x', key, certificate, None,
                          serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()))


class Out(KeysCase):
    def test_files_open_in_other_programs(self):
        user = self.active()
        serial = int(self.serial(user), 16)
        path = self.export(user)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        loaded = self.load(path)
        self.assertEqual(loaded.cert.certificate.serial_number, serial)
        self.assertGreater(len(loaded.additional_certs), 0, 'the intermediates go along')
        info = tool('openssl', 'pkcs12', '-in', path, '-passin', 'pass:' + PASSWORD, '-info', '-noout').stderr
        self.assertIn('MAC: sha256, Iteration 600000', info)
        self.assertEqual(len(re.findall('PBES2, PBKDF2, AES-256-CBC, Iteration 600000, PRF hmacWithSHA256', info)), 2, info)
        shown = tool('openssl', 'pkcs12', '-in', path, '-passin', 'pass:' + PASSWORD, '-nodes').stdout
        self.assertIn('PRIVATE KEY', shown)

        listed = self.nss(path)
        self.assertIn(address(user), listed)
        self.assertIn('u,u,u', listed, 'NSS has the private key')

        done = self.p.ctl_run('export', address(user), '--pkcs12', path + '.old', '--password-file', self.password_file, '--legacy-format', user='root')
        self.assertIn('warning: Triple DES', done.stdout)
        info = tool('openssl', 'pkcs12', '-in', path + '.old', '-passin', 'pass:' + PASSWORD, '-info', '-noout').stderr
        self.assertIn('pbeWithSHA1And3-KeyTripleDES-CBC', info)
        self.assertIn('MAC: sha1', info)
        self.assertIn('u,u,u', self.nss(path + '.old'))

    def test_the_legacy_format_opens_in_gpgsm(self):
        """With an RSA key: GnuPG 2.2 takes no other from PKCS#12."""
        self.p.configure(certificate={'key-type': 'rsa:2048'})
        self.p.restart('enrolld')
        self.addCleanup(self.p.restart, 'enrolld')
        self.addCleanup(self.p.configure, certificate={'key-type': 'ec:p256'})
        user = self.active()
        said, listed = self.gpgsm(self.export(user, '--legacy-format'))
        self.assertIn(address(user), listed, said)

    def nss(self, path):
        store = 'sql:' + self.path('nss')
        os.mkdir(store[4:])
        tool('certutil', '-N', '-d', store, '--empty-password')
        tool('pk12util', '-i', path, '-d', store, '-W', PASSWORD)
        return tool('certutil', '-L', '-d', store).stdout

    def gpgsm(self, path):
        folder = self.path('gpgsm')
        os.mkdir(folder, 0o700)
        home = mailtools.gpgsm_home(folder, self.ca.root)
        with open(home + '/gpg-agent.conf', 'a') as file:
            file.write('allow-loopback-pinentry\n')
        done = subprocess.run(['gpgsm', '--homedir', home, '--pinentry-mode', 'loopback', '--passphrase-fd', '0', '--import', path],
                              input=PASSWORD + '\n', capture_output=True, text=True, env=environment())
        listed = tool('gpgsm', '--homedir', home, '--list-secret-keys').stdout
        subprocess.run(['gpgconf', '--homedir', home, '--kill', 'all'], env=environment())
        return done.stdout + done.stderr, listed

    def test_each_export_is_on_record_and_no_key_lies_about_in_clear(self):
        user = self.active()
        path = self.export(user)
        events = [e for e in self.many.show(user)['events'] if e['event'] == 'exported']
        self.assertEqual(len(events), 1)
        self.assertTrue(events[0]['actor'].startswith('admin:root'), events)
        self.assertIn(self.certificates(user)[0]['fingerprint'], events[0]['text'])
        self.assertIn(path, events[0]['text'])
        key = self.load(path).key
        self.nowhere(key, [DIR, self.folder] + [self.p.log_path(n) for n in ('outbound', 'inbound', 'enrolld')])

    def nowhere(self, key, places):
        number = key.private_numbers().private_value.to_bytes(32, 'big')
        der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        signs = [number, number.hex().encode(), number.hex().upper().encode(), der, pem.splitlines()[1], PASSWORD.encode()]
        files = [os.path.join(at, name) for place in places for at, _, names in os.walk(place) for name in names]
        files += [p for p in places if os.path.isfile(p)]
        self.assertGreater(len(files), 5)
        for name in files:
            if name == self.password_file or stat.S_ISSOCK(os.stat(name).st_mode):
                continue
            with open(name, 'rb') as file:
                data = file.read()
            for sign in signs:
                self.assertNotIn(sign, data, name)

    def test_what_is_refused(self):
        user = self.active()
        path, keys = self.path('key.p12'), ('--password-file', self.password_file)
        before = len(self.many.show(user)['events'])
        self.p.configure(export='none')
        self.assertIn('export = "none"', self.refused('export', address(user), '--pkcs12', path, *keys))
        self.p.configure(export='keys')
        self.assertIn('--password-file', self.refused('export', address(user), '--pkcs12', path))
        self.assertIn('less than 8', self.refused('export', address(user), '--pkcs12', path, '--password-file', self.write('short', 'abc\n')))
        self.assertIn('ASCII', self.refused('export', address(user), '--pkcs12', path, '--password-file', self.write('umlaut', 'größer als 8\n')))
        self.assertIn('no certificate of this number', self.refused('export', address(user), '--pkcs12', path, '--serial', 'AB', *keys))
        self.assertIn('no certificate here', self.refused('export', 'nobody@corp.example', '--pkcs12', path, *keys))
        for who in ('admin1', 'helpdesk1'):
            self.refused('export', address(user), '--pkcs12', '/tmp/' + unique('').strip(), '--password-file', self.password_file, user=who)
        there = self.write('there', 'something else')
        self.assertIn('not overwritten', self.refused('export', address(user), '--pkcs12', there, *keys))
        with open(there) as file:
            self.assertEqual(file.read(), 'something else')
        self.assertEqual(self.p.ctl_run('export', address(user), '--pkcs12', path, '--all', '--serial', 'AB', user='root').returncode, 2)
        self.assertEqual(len(self.many.show(user)['events']), before, 'nothing is on record, as nothing left')
        self.assertFalse(os.path.exists(path))

    def test_the_event_is_there_before_the_file_and_stays_when_that_cannot_be_written(self):
        user = self.active()
        self.refused('export', address(user), '--pkcs12', '/nowhere/key.p12', '--password-file', self.password_file)
        self.assertEqual(self.many.events(user).count('exported'), 1)

    def test_a_password_is_made_and_shown_once_on_a_terminal(self):
        user = self.active()
        path, seen = self.path('key.p12'), []

        def read(fd):
            data = os.read(fd, 4096)
            seen.append(data)
            return data
        code = pty.spawn([self.p.program('enrollctl'), '--config', self.p.config_file, 'export', address(user), '--pkcs12', path], read)
        text = b''.join(seen).decode()
        self.assertEqual(code, 0, text)
        password = re.search(r'password, shown this once: (\S+)', text).group(1)
        self.assertRegex(password, r'^(?:[a-z2-9]{5}-){4}[a-z2-9]{5}$')
        with open(path, 'rb') as file:
            self.assertEqual(pkcs12.load_pkcs12(file.read(), password.encode()).cert.certificate.serial_number, int(self.serial(user), 16))
        self.assertNotIn(password, str(self.many.show(user)))

    def test_old_keys_too_and_certificates_for_the_help_desk(self):
        user = self.active()
        old = self.serial(user)
        self.p.ctl('rotate', address(user), user='helpdesk1')
        self.until(lambda: self.certificates(user) and self.serial(user) != old, what='the new one is active')
        self.assertEqual(self.load(self.export(user)).cert.certificate.serial_number, int(self.serial(user), 16))
        self.assertEqual(self.load(self.export(user, '--serial', old.lower())).cert.certificate.serial_number, int(old, 16))
        folder = self.export(user, '--all', to=self.path('folder'))
        self.assertEqual(sorted(os.listdir(folder)), sorted([old + '.p12', self.serial(user) + '.p12']))
        self.assertEqual(stat.S_IMODE(os.stat(folder).st_mode), 0o700)

        pem = self.p.ctl('export', address(user), '--certificates', user='helpdesk1')
        found = [x509.load_pem_x509_certificate(c.encode()) for c in re.findall('-----BEGIN.*?END CERTIFICATE-----\n', pem, re.S)]
        self.assertEqual(found[0].serial_number, int(self.serial(user), 16))
        self.assertGreater(len(found), 1, 'the intermediates go along')
        self.assertNotIn('PRIVATE', pem)
        both = self.p.json('export', address(user), '--certificates', '--all', user='helpdesk1')['certificates']
        self.assertEqual([c['serial'] for c in both], [old, self.serial(user)])
        self.assertIn('no certificate here', self.refused('export', 'nobody@corp.example', '--certificates', '--all', user='helpdesk1'))


class In(KeysCase):
    def test_what_was_exported_comes_back_into_another_store_and_signs(self):
        users = self.active(3)
        serials = {u: self.serial(u) for u in users}
        user = users[0]
        self.p.ctl('rotate', address(user), user='helpdesk1')
        self.until(lambda: self.certificates(user) and self.serial(user) != serials[user], what='the new one is active')
        old, serials[user] = serials[user], self.serial(user)
        folder = self.export(user, '--all', to=self.path('folder'))
        for other in users[1:]:
            self.export(other, '--legacy-format', to='%s/%s.p12' % (folder, other))
        loaded = self.load('%s/%s.p12' % (folder, serials[user]))
        self.write('../keys/' + os.path.basename(folder) + '/notes.txt', 'no key')
        pem = self.write('one.pem', loaded.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()) + b''.join(
            c.public_bytes(serialization.Encoding.PEM) for c in [loaded.cert.certificate] + [a.certificate for a in loaded.additional_certs]))
        os.rename('%s/%s.p12' % (folder, old), folder + '/zz-old.p12')   # the present one comes first

        self.fresh_store()
        self.many.behave(authz_valid=True)
        would = self.imports(folder, '--old', '--dry-run')
        self.assertEqual((would['imported'], would['failed']), (4, 0), would)
        self.assertIsNone(self.p.show(address(user)))
        one = self.imports(pem, '--address', address(user).upper())     # PEM, and the folder then has it already
        self.assertEqual((one['files'][0]['serial'], one['files'][0]['created']), (serials[user], True))
        self.many.wait_state([user], 'active')
        answer = self.imports(folder, '--old')
        self.assertEqual((answer['imported'], answer['already_here'], answer['failed']), (3, 1, 0), answer)
        self.many.wait_state(users, 'active')
        for u in users:
            self.assertEqual(self.serial(u), serials[u])
            self.assertEqual(self.signer(u), int(serials[u], 16))
            self.assertIn('imported', self.many.events(u))
        self.assertEqual([c['serial'] for c in self.certificates(user, 'superseded')], [old])
        again = self.imports(folder, '--old')
        self.assertEqual((again['imported'], again['already_here']), (0, 4), again)
        self.assertEqual(len(self.many.show(user)['certificates']), 2)
        key = self.load(self.export(user)).key
        self.assertEqual(key.private_numbers(), loaded.key.private_numbers())
        os.unlink(pem)

    def test_shapes_that_other_programs_write(self):
        """Each has the key that is here: that it is known again shows that it was read."""
        user = self.active()
        loaded, serial = self.load(self.export(user)), self.serial(user)
        plain = self.write('plain.pem', b''.join(
            [loaded.cert.certificate.public_bytes(serialization.Encoding.PEM)] +
            [a.certificate.public_bytes(serialization.Encoding.PEM) for a in loaded.additional_certs] +
            [loaded.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())]))
        locked = self.write('locked.pem', loaded.cert.certificate.public_bytes(serialization.Encoding.PEM) + loaded.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(PASSWORD.encode())))
        shapes = [plain, locked, self.export(user, '--legacy-format')]
        for name, more in (('rc2', ['-legacy']), ('certificates in clear', ['-certpbe', 'NONE']), ('no intermediates', [])):
            path = self.path(name.replace(' ', '-') + '.pfx')
            tool('openssl', 'pkcs12', '-export', '-in', plain, '-inkey', plain, '-out', path, '-passout', 'pass:' + PASSWORD, *more)
            shapes.append(path)
        bare = self.path('bare.p12')
        tool('openssl', 'pkcs12', '-export', '-in', plain, '-inkey', plain, '-out', bare, '-passout', 'pass:')
        for path in shapes:
            with self.subTest(path):
                answer = self.imports(path)['files'][0]
                self.assertEqual((answer['serial'], answer['created'], answer['status']), (serial, False, 'active'))
        for path in (bare, plain):
            self.assertFalse(self.p.json('import', path, user='root')['files'][0]['created'])
        self.assertIn('password', self.refused('import', locked))
        tool('openssl', 'pkcs12', '-export', '-in', plain, '-inkey', plain, '-out', bare + '.nomac', '-passout', 'pass:' + PASSWORD, '-nomac')
        self.assertIn('integrity', self.refused('import', bare + '.nomac', '--password-file', self.password_file))
        for path in (bare, plain):
            os.unlink(path)

    def test_what_is_refused_and_why(self):
        user = self.active()
        good = self.export(user)
        with open(good, 'rb') as file:
            whole = file.read()
        now = self.made(address(user))
        other = self.made(address(user))
        cases = [
            (good, ('--password-file', self.write('wrong', 'no-such-word\n')), 'password is wrong'),
            (good, (), 'protected by a password'),
            (self.write('cut.p12', whole[:-40]), (), 'cut short'),
            (self.write('more.p12', whole + b'x'), (), 'cut short or damaged'),
            (self.write('text.p12', 'hello'), (), 'neither PKCS#12 nor PEM'),
            (self.p12(*self.made(address(user), (-40, -10))), ('--password-file', self.password_file), 'expired at'),
            (self.p12(*self.made(address(user), (5, 10))), ('--password-file', self.password_file), 'not valid before'),
            (self.p12(*self.made('alice@elsewhere.example')), ('--password-file', self.password_file), 'none of the domains'),
            (self.p12(*now), ('--password-file', self.password_file), 'is not trusted'),
            (good, ('--password-file', self.password_file, '--address', 'bob@corp.example'), 'and not for bob@corp.example'),
            (self.write('mixed.pem', now[0].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()) +
                        other[1].public_bytes(serialization.Encoding.PEM)), (), 'does not belong to the certificate'),
            ('/nowhere/at.p12', (), 'No such file'),
        ]
        for path, more, words in cases:
            with self.subTest(words):
                self.assertIn(words, self.refused('import', path, *more))
        for path in ('mixed.pem',):
            os.unlink(self.folder + '/' + path)
        self.assertNotIn('imported', self.many.events(user))
        self.refused('import', good, '--password-file', self.password_file, user='admin1')
        self.refused('import', good, '--password-file', self.password_file, user='helpdesk1')

    def test_what_the_profile_forbids_and_one_more_than_there_is_room_for(self):
        user, second = self.active(), self.many.user()
        ca_key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, 'Another Root')])
        now = datetime.datetime.now(datetime.timezone.utc)
        root = x509.CertificateBuilder(name, name, ca_key.public_key(), 1, now - datetime.timedelta(1), now + datetime.timedelta(900)).add_extension(
            x509.BasicConstraints(True, None), True).sign(ca_key, hashes.SHA256())
        with open(ETC + '/anchors.pem', 'a') as file:
            file.write(root.public_bytes(serialization.Encoding.PEM).decode())
        path = self.p12(*self.made(address(second), issuer=(ca_key, name)))
        done = self.p.ctl_run('import', path, '--password-file', self.password_file, user='root')
        said = done.stderr
        self.assertEqual(done.returncode, 1)
        self.assertIn('is not one that may be used here', said)
        self.assertIn('7.1.', said, 'the sections of the Baseline Requirements that it breaks')

        # A second certificate of who has one: only for reading, and nothing of the first one changes.
        serial = self.serial(user)
        expired = self.p12(*self.made(address(user), (-40, -10)))
        answer = self.imports(expired, '--old')['files'][0]
        self.assertEqual((answer['status'], answer['created']), ('superseded', True))
        self.assertIn('expired', answer['why'])
        self.assertEqual((self.serial(user), self.signer(user)), (serial, int(serial, 16)))
        self.assertEqual(self.load(self.export(user, '--serial', answer['serial'])).key.private_numbers(), self.load(expired).key.private_numbers())
        # Of somebody who has none: it signs nothing, and does not stand in the way of an enrollment.
        self.imports(self.p12(*self.made(address(second), (-40, -10))), '--old')
        self.assertIsNone(self.signer(second))
        self.many.wait_state([second], 'active')
        self.assertIsNotNone(self.signer(second))


class Killed(KeysCase):
    """kill -9 in the middle."""

    STEPS = ('mkdir', 'fchmod', 'write', 'fsync', 'renameat2') if os.environ.get('ENROLL_TEST_LONG') else ('fsync', 'renameat2')
    MOMENTS = range(1, 200) if os.environ.get('ENROLL_TEST_LONG') else (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)
    LEGACY = '--legacy-format'                  # quicker to make and to open

    def traced(self, call, n, *args):
        """enrollctl, killed (or the process that it made) as it makes the n-th of these calls; its exit code."""
        argv = [self.p.program('enrollctl'), '--config', self.p.config_file, *args, '--password-file', self.password_file]
        return subprocess.run(['strace', '-f', '-qq', '-o', '/dev/null', '-e', 'trace=' + call, '-e', 'inject=%s:signal=KILL:when=%d' % (call, n)] + argv,
                              capture_output=True, env=environment(**self.p.env), timeout=300).returncode

    def keys_in(self, path):
        files = [os.path.join(path, n) for n in sorted(os.listdir(path))] if os.path.isdir(path) else [path]
        return {self.load(f).key.private_numbers().private_value for f in files}

    def killed_at_each_step(self, user, *more):
        """The number of times that something was left that was not whole."""
        folder = self.path('out')
        os.mkdir(folder, 0o700)
        whole, path, left = self.keys_in(self.export(user, self.LEGACY, *more)), folder + '/alice', 0
        for call in self.STEPS:
            for n in range(1, 50):
                code = self.traced(call, n, 'export', address(user), '--pkcs12', path, self.LEGACY, *more)
                names = os.listdir(folder)
                self.assertEqual([x for x in names if x != 'alice' and not x.startswith('alice.new-')], [])
                left += 'alice' not in names and names != []
                if 'alice' in names:
                    self.assertEqual(self.keys_in(path), whole, 'half of it after %s %d' % (call, n))
                    self.assertIn(path, ' '.join(e['text'] for e in self.many.show(user)['events'] if e['event'] == 'exported'))
                    self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o700 if more else 0o600)
                for name in names:
                    tool('rm', '-r', folder + '/' + name)
                if code == 0:
                    self.assertIn('alice', names)
                    break
        return left

    def test_an_export_has_its_name_when_it_is_whole(self):
        user = self.active()
        self.assertGreater(self.killed_at_each_step(user), 1, 'it was killed in the middle')
        old = self.serial(user)
        self.p.ctl('rotate', address(user), user='helpdesk1')
        self.until(lambda: self.certificates(user) and self.serial(user) != old, what='the new one is active')
        self.assertGreater(self.killed_at_each_step(user, '--all'), 5, 'it was killed in the middle')

    def test_a_name_that_is_taken_stays_as_it_was(self):
        """Also when it was free as the export began."""
        user = self.active()
        self.assertIn('not overwritten', self.refused('export', address(user), '--pkcs12', self.folder, '--password-file', self.password_file, '--all'))
        taken, path = self.write('taken', 'something else'), self.path('late.p12')
        child = subprocess.Popen(['strace', '-f', '-qq', '-o', '/dev/null', '-e', 'trace=renameat2', '-e', 'inject=renameat2:delay_enter=3s',
                                  self.p.program('enrollctl'), '--config', self.p.config_file, 'export', address(user), '--pkcs12', path,
                                  '--password-file', self.password_file], stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(**self.p.env))
        before = path.rpartition('/')[2] + '.new-'
        self.until(lambda: [n for n in os.listdir(self.folder) if n.startswith(before)], 60, 'it is being written')
        os.rename(taken, path)
        said = child.communicate(timeout=300)[1].decode()
        self.assertEqual(child.returncode, 1, said)
        self.assertIn('not overwritten', said)
        with open(path) as file:
            self.assertEqual(file.read(), 'something else')
        self.assertEqual([n for n in os.listdir(self.folder) if n.startswith(before)], [], 'nothing is left beside it')

    def import_and_kill(self, folder, lines):
        """An import of a folder with all it started, killed when it has told of so many files."""
        child = subprocess.Popen([self.p.program('enrollctl'), '--config', self.p.config_file, 'import', folder, '--password-file', self.password_file],
                                 stdout=subprocess.PIPE, env=environment(**self.p.env), start_new_session=True)
        for _ in range(lines):
            child.stdout.readline()
        time.sleep(0.02 * (lines % 3))
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        return child.returncode

    @sqlite_only('killed at each fsync of its file')
    def test_an_import_goes_on_where_it_was_killed(self):
        users = self.active(7)
        serials = {u: self.serial(u) for u in users}
        folder = self.path('folder')
        os.mkdir(folder, 0o700)
        for user in users:
            self.export(user, self.LEGACY, to='%s/%s.p12' % (folder, user))
        keys = {u: self.keys_in('%s/%s.p12' % (folder, u)) for u in users}
        self.fresh_store()
        self.many.behave(authz_valid=True)
        for n in self.MOMENTS:                  # the first of them, at steps of what is written
            self.traced('pwrite64,fdatasync,fsync,unlink', n, 'import', '%s/%s.p12' % (folder, users[0]))
            shown = self.p.show(address(users[0]))
            if shown:
                break
        self.assertGreater(n, 3, 'it was killed before')
        self.assertEqual([c['serial'] for c in shown['certificates']], [serials[users[0]]])
        for lines in range(5):
            self.assertEqual(self.import_and_kill(folder, lines), -signal.SIGKILL)
        self.assertIsNone(self.p.show(address(users[-1])), 'the last one is not there yet')
        answer = self.imports(folder)
        self.assertEqual((answer['imported'] + answer['already_here'], answer['failed']), (len(users), 0), answer)
        self.assertGreater(answer['already_here'], 3, answer)
        self.assertEqual(self.imports(folder)['already_here'], len(users))
        self.many.wait_state(users, 'active')
        for user in users:
            self.assertEqual([c['serial'] for c in self.many.show(user)['certificates']], [serials[user]])
            self.assertEqual(self.many.events(user).count('imported'), 1)
            self.assertEqual(self.keys_in(self.export(user, self.LEGACY)), keys[user])
        self.assertEqual(self.signer(users[0]), int(serials[users[0]], 16))

    def test_progress_on_a_terminal_alone(self):
        user = self.active()
        folder = self.path('folder')
        os.mkdir(folder, 0o700)
        self.export(user, self.LEGACY, to=folder + '/a.p12')
        self.export(user, self.LEGACY, to=folder + '/b.p12')
        args = ['import', folder, '--password-file', self.password_file]
        code, shown = self.p.ctl_typed('', *args)
        self.assertEqual(code, 0, shown)
        self.assertIn('1 of 2 files', shown)
        self.assertNotIn(' of 2 files', shown.rpartition('\r\x1b[K')[2], 'it is wiped away in the end')
        done = self.p.ctl_run(*args, user='root')
        self.assertNotIn('of 2 files', done.stdout + done.stderr)
