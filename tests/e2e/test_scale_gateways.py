"""Three gateways on one database, each in a network of its own: mail enters at one, the challenge arrives at another, the third's enrolld orders.

Then the storm: while people enroll, each daemon is killed and each cable pulled, in turn.  In the end everybody has one certificate, the CA has seen no order
twice that nobody lost, and each mail that was taken has arrived, with a good signature or for a reason that the log tells.  The default run has fewer people and
helps those who wait for half a minute after a fault along (enrollctl retry); with $ENROLL_TEST_LONG it is 500, and everything comes back by itself.
"""

import contextlib
import os
import random
import socket
import subprocess
import threading
import time

import mailtools
import service
from crowd import BUSY_MS, DIRECTORY_MS, LONG, WAY_MS, CrowdCase
from enrolling import address
from product import document, merge, require
from stage_gateways import CERTIFICATES, HUB, through

PEOPLE = int(os.environ.get('ENROLL_TEST_STORM', 500 if LONG else 40))
STAGE = {'ca': True, 'users': PEOPLE + 20, 'postgresql': False}
TAKES, BUSY = 75, 26
PACE = 0.5                                  # seconds between two first mails
FAULT = (0.5, 6) if LONG else (0.8, 1)      # for which a part is away
CALM = (0, 3) if LONG else (0, 0.1)         # and between


def setUpModule():
    require()


class GatewaysCase(CrowdCase):
    @classmethod
    def setUpClass(cls):
        if not hasattr(GatewaysCase, 'g'):
            cls.begin.__func__(GatewaysCase, export='keys')


class Division(GatewaysCase):
    """Each of them does another part of the work."""

    def tearDown(self):
        for gateway in self.g:
            gateway.start('enrolld')

    def test_each_part_is_done_by_another(self):
        for turn in range(3):
            entry, mx, orders = self.g.each[turn:] + self.g.each[:turn]
            with self.subTest('in at %s, challenge at %s, ordered by %s' % (entry.letter, mx.letter, orders.letter)):
                self.divided(entry, mx, orders)

    def divided(self, entry, mx, orders):
        entry.stop('enrolld')
        mx.stop('enrolld')
        orders.start('enrolld')
        self.lan.mx(mx.letter)
        user, marks = self.many.user(), {w.letter: w.log_mark() for w in self.g}
        self.assertFalse(self.signed(entry, user))
        service.until(lambda: self.g.states().get(user) == 'active', 300, user + ' is active', say=lambda: repr(self.g.states()))
        second = self.submit(mx, user)
        content = self.arrived(second)
        self.assertTrue(mailtools.verify_openssl(content, self.s.ca.root))
        self.assertEqual(through(content), (mx.letter, second.qid))
        self.assertEqual(self.s.outside.messages[-1].peer[0], mx.address)
        self.whose(marks, orders, event='enrollment', state='ordered')
        self.whose(marks, mx, event='challenge_mail', verdict='taken')
        self.assertEqual(self.s.mailbox(user), [])

    def whose(self, marks, gateway, **fields):
        """Only that gateway logged it."""
        self.assertEqual([w.letter for w in self.g if w.log(marks[w.letter], **fields)], [gateway.letter], fields)


class Keys(GatewaysCase):
    """Each program shows a client certificate of its own, whose key nobody else can read; those of admin and owner are root's."""

    def test_what_root_does_as_admin(self):
        user = self.active(1)[0]
        self.assertRegex(self.g.b.ctl('masterkey', 'status', user='root'), r'user keys +[1-9]')
        self.g.b.ctl('export', address(user), '--pkcs12', self.g.b.dir + '/export.p12', '--password-file', self.g.b.write_secret('password', 'a long password', 'root'),
                     user='root')
        serial = self.many.show(user)['certificates'][0]['serial']
        self.s.ca.admin('/behaviour', {'faults': {'revokeCert': {'status': 503}}})
        try:
            self.g.b.ctl('revoke', address(user), '--reason', 'cessationOfOperation', '--yes')
            self.until(lambda: self.many.show(user)['revocations'][0]['ca'].get('why'), what='the CA does not follow')
        finally:
            self.s.ca.admin('/behaviour', {'faults': {'revokeCert': None}})
        self.g.b.ctl('revoke', serial, '--with-key', user='root')

    def test_the_doctor(self):
        """With enrolld and without, which it replaces as enrolld's user."""
        for running in (True, False):
            if not running:
                self.g.a.stop('enrolld')
                self.addCleanup(self.g.a.start, 'enrolld')
            checks = ('store', 'master-match', 'signature', 'enrollments', 'directory')
            said = self.g.a.ctl_run('doctor', *checks, user='root').stdout
            for check in checks:
                with self.subTest(check, running=running):
                    self.assertRegex(said, r'(?m)^ +(ok|warning) +%s ' % check)


class Between(threading.Thread):
    """Takes the place of the database: .got is what it was told."""

    def __init__(self, address):
        super().__init__()
        self.listener = socket.create_server((address, 0))
        self.port, self.got = self.listener.getsockname()[1], b''

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_exception):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.join()
        self.listener.close()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                self.talk(self.listener.accept()[0])

    def talk(self, connection):
        with connection:
            connection.settimeout(10)
            while said := connection.recv(4096):
                self.got += said
                if said[4:8] == b'\x04\xd2\x16\x2f':     # SSLRequest
                    connection.sendall(b'N')
                elif said[4:8] == b'\0\x03\0\0':          # StartupMessage: AuthenticationCleartextPassword
                    connection.sendall(b'R\0\0\0\x08\0\0\0\x03')


class Ways(GatewaysCase):
    """How the database is reached over a network."""

    def says(self, mode, *changed, **more):
        connection = self.lan.connection('db1').replace('verify-full', mode)
        for old, new in changed:
            self.assertIn(old, connection)
            connection = connection.replace(old, new)
        return self.check(connection=connection, **more)

    def check(self, environment=None, command=('store', 'check'), **store):
        a = self.g.a
        other = a.dir + '/other.conf'
        with open(other, 'w') as file:
            file.write(document(merge(a.config, {'store': store})))
        done = subprocess.run(list(a.prefix) + [a.program('enrollctl'), '--config', other, *command], capture_output=True, text=True,
                              env=dict(os.environ, **environment or {}))
        return done.returncode, done.stdout + done.stderr

    def test_what_nobody_checks_is_refused(self):
        """Over the network; within a host there is nobody between."""
        for mode, code, words in (('verify-full', 0, 'integrity      ok'), ('verify-ca', 0, 'integrity      ok'), ('require', 1, 'nobody would check that it is the one meant')):
            with self.subTest(mode):
                done = self.says(mode)
                self.assertEqual(done[0], code, done)
                self.assertIn(words, done[1])
        code, text = self.says('require', **{'allow-unverified': True})
        self.assertEqual(code, 0, text)

    def test_a_key_that_is_none(self):
        """Is said in words."""
        with open(CERTIFICATES + '/admin.broken', 'w') as file:
            os.fchmod(file.fileno(), 0o600)
            file.write('no key at all')
        code, text = self.says('verify-full', ('.key', '.broken'))
        self.assertEqual(code, 1)
        self.assertRegex(text, r'could not load private key file "[^"]*admin\.broken"\)$')

    def test_the_doctor_wants_the_name_checked(self):
        self.g.a.stop('enrolld')
        self.addCleanup(self.g.a.start, 'enrolld')
        for mode, told in (('verify-full', False), ('verify-ca', True)):
            with self.subTest(mode):
                _code, text = self.says(mode, command=('doctor', 'store'))
                self.assertIn('is sound', text)
                self.assertEqual('checks its name, too' in ' '.join(text.split()), told, text)

    def test_a_ca_file_that_is_not_there(self):
        code, text = self.says('verify-full', ('/ca.pem', '/nowhere.pem'))
        self.assertEqual(code, 1)
        self.assertRegex(text, r'the database cannot be used in this way.*root certificate file "[^"]*nowhere\.pem" does not exist')

    def test_a_password_is_told_to_nobody_who_was_not_checked(self):
        """Who stands between says that there is no TLS, and asks for it."""
        secret = self.g.a.write_secret('pgpass', '*:*:*:*:the password', 'root')
        for allowed, told in ((False, b''), (True, b'p\0\0\0\x11the password\0')):
            with self.subTest(allowed=allowed), Between(HUB) as between:
                code, text = self.check(connection='postgresql://enroll_%%r@%s:%d/enroll?passfile=%s' % (HUB, between.port, secret), **{'allow-unverified': allowed})
                self.assertNotEqual(code, 0)
                self.assertEqual('nobody would check' in text, not allowed, text)
            self.assertEqual(between.got[-len(told):] if allowed else between.got, told)
        for hosts, more in (('host=localhost', {'PGHOSTADDR': HUB}), ('host=localhost,%s hostaddr=127.0.0.1,' % HUB, {}), ('host=localhost,' + HUB, {}),
                            ('dbname=enroll', {'PGHOST': HUB}), ('host=/nowhere', {'PGHOSTADDR': HUB})):
            with self.subTest(hosts, **more), Between(HUB) as between:
                code, text = self.check(more, connection='%s port=%d user=enroll_%%r passfile=%s' % (hosts, between.port, secret))
                self.assertIn('nobody would check', text)
            self.assertEqual(between.got, b'')


class Boot(GatewaysCase):
    def without_database(self, mark):
        """Its milters begin while the database is away."""
        a = self.g.a
        a.stop()
        self.lan.db1.kill9()
        for name in ('outbound', 'inbound'):
            a.daemons[name].start()
            a.wait_ready(name)
            a.wait_log(60, mark, name, event='store_failed')

    def test_who_was_paused_before_signs_nothing_when_it_is_back(self):
        """Not one mail, in the moment in which the store answers and nobody has asked it whether signing is paused."""
        user, a = self.active(1)[0], self.g.a
        self.assertTrue(self.signed(a, user))
        a.ctl('pause', '--reason', 'a test')
        mark = a.log_mark()
        try:
            self.without_database(mark)
        finally:
            self.lan.db1.start()
        end, sent = time.monotonic() + 4, []
        while time.monotonic() < end:
            sent.append(self.submit(a, user))
        a.wait_log(60, mark, 'outbound', event='store_ready')
        a.wait_log(60, mark, 'outbound', event='paused')
        self.assertEqual([s.subject for s in sent if mailtools.is_signed(self.arrived(s))], [])
        a.start()
        a.ctl('resume')
        service.until(lambda: self.signed(a, user), 30, 'it is resumed')

    def test_milters_that_start_before_the_database(self):
        """As after a power cut: mail goes on by on-error, a challenge would be told to come again, and all comes back by itself."""
        user, a = self.active(1)[0], self.g.a
        self.assertTrue(self.signed(a, user))
        mark = a.log_mark()
        try:
            self.without_database(mark)
            sent = self.submit(a, user)
            self.assertLess(sent.seconds, (BUSY_MS + WAY_MS) / 1000)
            self.assertFalse(mailtools.is_signed(self.arrived(sent)))
        finally:
            self.lan.db1.start()
        a.start()
        a.wait_log(60, mark, 'outbound', event='store_ready')
        service.until(lambda: self.signed(a, user), 30, 'its mail is signed again')


class Storm(GatewaysCase):
    def faults(self):
        """(name, a part goes, it is back)"""
        for w in self.g:
            for daemon in ('outbound', 'inbound', 'enrolld'):
                yield ('kill -9 %s of %s' % (daemon, w.letter), lambda w=w, d=daemon: w.kill9(d), lambda w=w, d=daemon: w.start(d))
            yield ('kill -9 Postfix of ' + w.letter, w.postfix.master.kill9, w.postfix.restart)
            yield (w.letter + ' without network', w.host.unplug, w.host.plug)
            yield (w.letter + ' cut off from the database', lambda w=w: w.host.unplug('data'), lambda w=w: w.host.plug('data'))
        yield ('kill -9 of the database', self.lan.db1.kill9, self.lan.db1.start)
        yield ('the database without network', self.lan.databases['db1'].unplug, self.lan.databases['db1'].plug)

    def storm(self, going):
        """Each once, and then any for as long as there is anything to do."""
        seed = int(os.environ.get('ENROLL_TEST_SEED', time.time()))
        done, choice, todo = 0, random.Random(seed), list(self.faults())
        print('# ENROLL_TEST_SEED=%d' % seed, flush=True)
        choice.shuffle(todo)
        while todo or going():
            _name, goes, comes = todo.pop() if todo else choice.choice(list(self.faults()))
            goes()
            time.sleep(choice.uniform(*FAULT))
            comes()
            done += 1
            time.sleep(choice.uniform(*CALM))
        return done

    def test_a_storm(self):
        self.lan.mx('b', 'c', 'a')
        users = [self.many.user() for _n in range(PEOPLE)]
        with self.crowd(users, 'storm', PACE) as threads:
            done = self.storm(lambda: any(t.is_alive() for t in threads))
        self.everybody_enrolls(users)
        self.judge(users, BUSY_MS + WAY_MS + DIRECTORY_MS)
        print('# %d faults, %d mails taken, %d refused and sent again' % (done, len(self.taken), len(self.refused)), flush=True)
