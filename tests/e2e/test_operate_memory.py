"""Where keys lie in memory: after all were used, and while ten sessions sign, what enrolld and the inbound instance can write
holds no private number of a user's key or of the master key, and the outbound instance holds them in locked memory that no core
dump shows, and nowhere else."""

import os
import re
import signal
import subprocess
import threading
import unittest

from cryptography.hazmat.primitives import serialization

import mailtools
from mailtools import message, unique
from product import ETC, Product, require, sanitized
from stage import Stage, StageCase

STAGE = {'ca': True}
TAKES, BUSY = 35, 29
BOX = 'box@outside.example'
OF_RSA, OF_EC = ('alice', 'bob'), ('carol', 'dave')
MAPPING = re.compile(r'^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ *(.*)$')
PIECE = 16
BLOCK = 4096
ZEROS = bytes(BLOCK)
DUMPS = 5


def setUpModule():
    require()
    if sanitized():
        raise unittest.SkipTest('builds with sanitizers do without')


class Region:
    def __init__(self, start, end, rights, name):
        self.start, self.end, self.rights, self.name, self.flags = int(start, 16), int(end, 16), rights, name, ()

    def __repr__(self):
        return '%x-%x %s %s %s' % (self.start, self.end, self.rights, self.name, ' '.join(self.flags))

    def protected(self):
        """Locked, and in no core dump."""
        return 'lo' in self.flags and 'dd' in self.flags


def writable(pid):
    regions = []
    with open('/proc/%d/smaps' % pid) as file:
        for line in file:
            mapping = MAPPING.match(line)
            if mapping:
                regions.append(Region(*mapping.groups()))
            elif line.startswith('VmFlags:'):
                regions[-1].flags = tuple(line.split()[1:])
    return [r for r in regions if 'w' in r.rights]


def children(pid):
    with open('/proc/%d/task/%d/children' % (pid, pid)) as file:
        return [int(n) for n in file.read().split()]


def numbers(key):
    """What makes the private key: {name: number}."""
    secret = key.private_numbers()
    if hasattr(secret, 'private_value'):
        return {'scalar': secret.private_value}
    return {'d': secret.d, 'p': secret.p, 'q': secret.q, 'dp': secret.dmp1, 'dq': secret.dmq1}


def pieces(who, key):
    """{octets: whose}: both ends of each private number, as files have it (big endian) and as OpenSSL works with it (little endian)."""
    found = {}
    for name, number in numbers(key).items():
        octets = number.to_bytes((number.bit_length() + 7) // 8, 'big')
        for order, text in (('big', octets), ('little', octets[::-1])):
            found[text[:PIECE]] = '%s %s %s endian, begin' % (who, name, order)
            found[text[-PIECE:]] = '%s %s %s endian, end' % (who, name, order)
    return found


def used(data):
    """The parts of it that are not all zeros, as (begin, octets)."""
    begin = None
    for at in range(0, len(data) + BLOCK, BLOCK):
        zeros = at >= len(data) or data[at:at + BLOCK] == ZEROS[:len(data) - at]
        if zeros and begin is not None:
            yield begin, data[begin:at]
            begin = None
        elif not zeros and begin is None:
            begin = at


def search(pid, wanted):
    """[(whose, region, what is before it)]: where in its writable memory any of these is, as it is at one moment."""
    memory = []
    os.kill(pid, signal.SIGSTOP)
    try:
        with open('/proc/%d/mem' % pid, 'rb', 0) as file:
            for region in writable(pid):
                try:
                    file.seek(region.start)
                    memory.append((region, file.read(region.end - region.start)))
                except OSError:     # a gap that is not there
                    pass
    finally:
        os.kill(pid, signal.SIGCONT)
    return [(whose, region, '+%x ...%s' % (begin + data.find(octets), data[:data.find(octets)][-48:].hex()))
            for region, whole in memory for begin, data in used(whole) for octets, whose in wanted.items() if octets in data]


class Memory(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        cls.s = Stage.current
        cls.p = Product(cls.s, certificate={'key-type': 'rsa:2048'}, milter={'cache-size': 100})
        cls.p.start()
        cls.enroll(OF_RSA)
        cls.p.configure(certificate={'key-type': 'ec:p256'})
        mark = cls.p.log_mark()
        cls.p.signal('enrolld', signal.SIGUSR1)     # not a restart: what it did with the others is to be seen
        cls.p.wait_log(mark=mark, name='enrolld', event='reloaded')
        cls.enroll(OF_EC)
        cls.wanted = cls.master()
        cls.wanted.update(cls.user_keys())

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()

    @classmethod
    def enroll(cls, users):
        for user in users:
            cls.p.ctl('enroll', user + '@corp.example')
        for user in users:
            cls.p.wait_state(user + '@corp.example', 'active')

    @classmethod
    def master(cls):
        with open(ETC + '/master.key', 'rb') as file:
            pem = file.read()
        found = pieces('master', serialization.load_pem_private_key(pem, None))
        # Its file's text, too: the line that has the number's beginning, and the next one.
        for line in pem.splitlines()[1:-1]:
            if len(line) >= 32:
                found[line[:32]] = found[line[-32:]] = 'master key, text of its file'
        return found

    @classmethod
    def user_keys(cls):
        found = {}
        for number, wrapped in cls.p.sql('SELECT id, wrapped FROM user_keys'):
            plain = subprocess.run(['openssl', 'cms', '-decrypt', '-inform', 'DER', '-recip', ETC + '/master.pem', '-inkey', ETC + '/master.key'],
                                   input=wrapped, capture_output=True, check=True).stdout
            found.update(pieces('user key %d' % number, serialization.load_der_private_key(plain, None)))
        return found

    def mail(self, user):
        subject = unique()
        sender = user + '@corp.example'
        self.s.submit(user, sender, [BOX], message(sender, BOX, subject))
        return self.s.outside.wait_subject(subject).content

    def sessions(self):
        """Ten that send signed mail until told to end."""
        end, threads = threading.Event(), []

        def one(user):
            sender = user + '@corp.example'
            while not end.is_set():
                self.s.submit(user, sender, [BOX], message(sender, BOX, unique('load')))

        for n in range(10):
            threads.append(threading.Thread(target=one, args=((OF_RSA + OF_EC)[n % 4],)))
            threads[-1].start()

        def stop():
            end.set()
            for thread in threads:
                thread.join()
        return stop

    def test_keys_are_in_protected_memory_and_nowhere_else(self):
        for user in OF_RSA + OF_EC:
            self.assertTrue(mailtools.is_signed(self.mail(user)), user)
        stop = self.sessions()
        self.addCleanup(stop)
        seen = set()
        for _n in range(DUMPS):
            for name in ('enrolld', 'inbound'):
                self.assertEqual(search(self.p.daemons[name].pid, self.wanted), [], name)
            for pid in children(self.p.daemons['outbound'].pid):
                self.assertEqual(search(pid, self.wanted), [], 'the watcher')
            found = search(self.p.daemons['outbound'].pid, self.wanted)
            self.assertEqual([f for f in found if not f[1].protected()], [])
            seen |= {whose.rsplit(' ', 4)[0] for whose, _r, _a in found if 'endian' in whose}
        # And the search finds what is there.
        self.assertEqual(seen, {whose.rsplit(' ', 4)[0] for whose in self.wanted.values() if 'endian' in whose})

    def test_the_master_key_is_locked_though_others_may_not_be(self):
        """Less than the secure heap may be locked: the admin is told, and the master key is not among what may be swapped out."""
        self.p.stop('outbound')
        daemon = self.p.daemons['outbound']
        sound = daemon.argv
        self.addCleanup(lambda: (self.p.stop('outbound'), setattr(daemon, 'argv', sound), self.p.start('outbound')))
        daemon.argv = ['prlimit', '--memlock=%d:%d' % (65536, 65536), '--'] + sound
        mark = self.p.log_mark()
        self.p.start('outbound')
        self.p.wait_log(mark=mark, name='outbound', event='keys_not_locked', mib=2)
        for user in OF_RSA + OF_EC:
            self.assertTrue(mailtools.is_signed(self.mail(user)), user)
        found = search(daemon.pid, {k: v for k, v in self.wanted.items() if v.startswith('master')})
        self.assertNotEqual(found, [])
        self.assertEqual([f for f in found if not f[1].protected()], [])
