"""The cluster of PostgreSQL that other tests stand on, without the product: roles, TLS, a crash, a replica that takes over."""

import os
import subprocess
import time
import unittest

import namespace
from namespace import BASE
from stage_postgresql import postgresql

STAGE = None
TAKES, BUSY = 6, 4
PRIMARY, STANDBY = '192.0.2.61', '192.0.2.62'
NAMES = {PRIMARY: 'db1.corp.example', STANDBY: 'db2.corp.example'}


def setUpModule():
    reason = postgresql.why_not()
    if reason:
        raise unittest.SkipTest(reason)
    namespace.prepare()
    with open('/etc/hosts', 'a') as file:
        file.writelines('%s %s\n' % item for item in NAMES.items())
    for address in NAMES:
        namespace.run('ip', 'addr', 'add', address + '/32', 'dev', 'lo')


class Stage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.one = postgresql.Cluster(BASE + '/one', listen=[PRIMARY], names=[NAMES[PRIMARY]], group='enroll-milter',
                                     accounts={'enroll-in': ['inbound'], 'enrolld': ['enrolld', 'owner']}).start()
        cls.one.database('enroll')
        cls.secret = cls.one.passfile(BASE + '/pass')

    @classmethod
    def tearDownClass(cls):
        cls.one.destroy()

    def ask(self, sql, where, user=None):
        argv = [postgresql.BIN + '/psql', '-XAtq', '-c', sql, where]
        if user:
            argv = ['setpriv', '--reuid', user, '--regid', user, '--init-groups', '--'] + argv
        return subprocess.run(argv, capture_output=True, text=True, env=postgresql.environment(), cwd='/')

    def test_an_account_is_its_roles_and_no_other(self):
        for user, role, may in (('enroll-in', 'inbound', True), ('enroll-in', 'enrolld', False), ('enrolld', 'owner', True), ('mallory', 'inbound', False)):
            done = self.ask('SELECT current_user', self.one.connection('enroll_' + role, 'enroll'), user)
            self.assertEqual(done.stdout == 'enroll_%s\n' % role, may, (user, role, done.stderr))

    def test_by_tcp_there_is_verified_tls_alone(self):
        host = NAMES[PRIMARY]
        good = self.one.connection('enroll_inbound', 'enroll', host, passfile=self.secret)
        self.assertEqual(self.ask('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()', good).stdout, 't\n', self.ask('SELECT 1', good).stderr)
        for bad, word in ((good.replace('verify-full', 'disable'), 'no pg_hba.conf entry'),
                          (good.replace('host=' + host, 'host=localhost hostaddr=' + PRIMARY), 'does not match host name'),
                          (good.replace(self.one.ca.root, '/etc/ssl/certs/ca-certificates.crt'), 'certificate verify failed'),
                          (good.replace(self.secret, '/dev/null'), 'no password supplied')):
            done = self.ask('SELECT 1', bad)
            self.assertEqual(done.returncode, 2, bad)
            self.assertIn(word, done.stderr)

    def test_a_client_certificate_is_its_role(self):
        certificate, key = self.one.ca.issue('inbound', 'enroll_inbound')
        self.one.hba('hostssl all all all cert')
        self.addCleanup(self.one.hba, 'hostssl all,replication all all scram-sha-256')
        where = self.one.connection('enroll_inbound', 'enroll', NAMES[PRIMARY], sslcert=certificate, sslkey=key)
        end = time.monotonic() + 60     # it reads its rules a moment later
        while self.ask('SELECT current_user', where).stdout != 'enroll_inbound\n':
            self.assertLess(time.monotonic(), end, self.ask('SELECT 1', where).stderr)
        self.assertIn('authentication failed', self.ask('SELECT 1', where.replace('user=enroll_inbound', 'user=enroll_owner')).stderr)

    def test_values_go_and_come(self):
        self.one.psql('CREATE TABLE kinds (n bigint, t text, o bytea)', 'enroll')
        self.addCleanup(self.one.psql, 'DROP TABLE kinds', 'enroll')
        row = (2 ** 40, "it's \\ two\nlines", b'\0\xff')
        self.one.psql(postgresql.filled('INSERT INTO kinds VALUES (?, ?, ?), (?, ?, ?)', row + (None,) * 3), 'enroll')
        self.assertEqual(self.one.rows('SELECT * FROM kinds ORDER BY n', 'enroll'), [row, (None,) * 3])
        self.assertEqual(self.one.rows('SELECT n, n FROM kinds WHERE n = 0', 'enroll'), [])

    def test_nothing_that_was_committed_is_lost_by_kill_9(self):
        self.one.psql('CREATE TABLE counted (n bigint)', 'enroll')
        self.addCleanup(self.one.psql, 'DROP TABLE counted', 'enroll')
        for n in range(3):
            self.one.psql('INSERT INTO counted VALUES (%d)' % n, 'enroll')
            self.one.kill9()
            self.assertEqual([p for p in os.listdir('/proc') if p.isdigit() and b'one/data' in cmdline(p)], [])
            self.one.start()
        self.assertEqual(self.one.rows('SELECT count(*) FROM counted', 'enroll'), [(3,)])

    def test_a_replica_follows_and_takes_over(self):
        standby = self.one.replica('two', folder=BASE + '/two', listen=[STANDBY], names=[NAMES[STANDBY]], synchronous=True)
        self.addCleanup(standby.destroy)
        self.assertTrue(standby.in_recovery())
        self.assertIn('user=enroll_replica', standby.psql('SHOW primary_conninfo'))
        self.one.psql('CREATE TABLE followed (n bigint); INSERT INTO followed VALUES (1);', 'enroll')
        standby.caught_up(self.one)
        self.assertEqual(standby.rows('SELECT n FROM followed', 'enroll'), [(1,)])
        both = self.one.connection('enroll_owner', 'enroll', ','.join(NAMES.values()), passfile=self.secret, target_session_attrs='read-write', connect_timeout=5)
        self.assertEqual(self.ask('SHOW cluster_name', both).stdout, 'primary\n', self.ask('SELECT 1', both).stderr)
        self.one.kill9()
        standby.promote()
        standby.synchronous('')
        self.assertEqual(self.ask('SHOW cluster_name', both).stdout, 'two\n', self.ask('SELECT 1', both).stderr)
        self.one.follow(standby)        # and the old one comes back as its replica
        standby.psql('INSERT INTO followed VALUES (2)', 'enroll')
        self.one.caught_up(standby)
        self.assertEqual(self.one.rows('SELECT count(*) FROM followed', 'enroll'), [(2,)])
        self.one.promote()
        self.one.psql('DROP TABLE followed', 'enroll')


class Elsewhere(unittest.TestCase):
    """A server with a network of its own, which can be cut off."""

    def test_the_link_goes_down_and_comes_back(self):
        for command in ('ip netns add db', 'ip link add to-db type veth peer name eth0 netns db', 'ip addr add 198.51.100.1/24 dev to-db',
                        'ip link set to-db up', 'ip -n db addr add 198.51.100.2/24 dev eth0', 'ip -n db link set eth0 up', 'ip -n db link set lo up'):
            namespace.run(*command.split())
        there = postgresql.Cluster(BASE + '/there', listen=['198.51.100.2'], prefix=['ip', 'netns', 'exec', 'db']).start()
        self.addCleanup(there.destroy)
        argv = [postgresql.BIN + '/psql', '-XAtqc', 'SHOW port',
                there.connection('enroll_admin', 'postgres', '198.51.100.2', passfile=there.passfile(BASE + '/pass'), connect_timeout=3)]
        for state, code in (('up', 0), ('down', 2), ('up', 0)):
            namespace.run('ip', 'link', 'set', 'to-db', state)
            done = subprocess.run(argv, capture_output=True, text=True, env=postgresql.environment(), cwd='/')
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertTrue(there.answers(), 'by its Unix socket')


def cmdline(pid):
    try:
        with open('/proc/%s/cmdline' % pid, 'rb') as file:
            return file.read()
    except OSError:
        return b''
