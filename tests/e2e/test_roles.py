"""Who may do what: help desk and admins, strangers on the same host, the service users among themselves."""

import os
import re
import socket
import subprocess

import service
from product import DIR, ETC, Failed, Product, require, sqlite_only
from stage import Stage, StageCase

STAGE = {'ca': True}
TAKES, BUSY = 4, 5
ALICE = 'alice@corp.example'


def setUpModule():
    require()


def run_as(user, *argv):
    return subprocess.run(service.as_user(user, list(argv)), capture_output=True, text=True)


CONNECT = ("import socket,sys\ns=socket.socket(socket.AF_UNIX)\n"
           "s.connect(sys.argv[1])\nprint('connected')")

SILENT = ("import socket,sys\nall=[socket.socket(socket.AF_UNIX) for _ in range(50)]\n"
          "for s in all: s.connect(sys.argv[1])\nprint('50 connected',flush=True)\nsys.stdin.readline()")


class Roles(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        Stage.current.ca.admin('/behaviour', {'authz_valid': True})
        cls.p = Product(Stage.current)
        cls.p.start()
        cls.p.ctl('enroll', ALICE)
        cls.p.wait_state(ALICE, 'active')

    def test_help_desk_reads_and_asks(self):
        for command in (['status'], ['list'], ['show', ALICE], ['events'], ['mail'], ['enroll', 'bob@corp.example']):
            self.p.ctl(*command, user='helpdesk1')

    def test_help_desk_cannot_write_what_admins_may(self):
        for command in (['disable', ALICE, '--yes'], ['enable', ALICE], ['revoke', ALICE, '--reason', 'superseded', '--yes'], ['pause'], ['resume']):
            with self.subTest(command), self.assertRaises(Failed) as refused:
                self.p.ctl(*command, user='helpdesk1')
            self.assertIn('enroll-admin', refused.exception.err)
        self.assertFalse(self.p.show(ALICE)['enrollment']['disabled'])
        self.assertFalse(self.p.json('status')['paused'])

    def test_others_are_told_which_groups_may(self):
        done = self.p.ctl_run('status', user='mallory')
        self.assertEqual(done.returncode, 1)
        self.assertIn('enroll-helpdesk', done.stderr)
        done = self.p.ctl_run('show', ALICE, user='mallory')
        self.assertNotIn('active', done.stdout + done.stderr)

    def test_claiming_a_role_in_the_request_changes_nothing(self):
        request = '{"command": "pause", "role": "admin", "arguments": {"user": "root", "role": "admin"}}\n'
        code = ("import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n"
                "try: s.sendall(sys.argv[2].encode())\nexcept BrokenPipeError: pass\n"
                "print(s.recv(65536).decode())")     # strangers are answered unread: their end is a reset
        for user in ('mallory', 'helpdesk1'):
            done = run_as(user, '/usr/bin/python3', '-c', code, self.p.config['control']['socket'], request)
            self.assertIn('"ok":false', done.stdout)
        self.assertFalse(self.p.json('status')['paused'])

    def test_private_keys_are_kept_apart_in_the_outbound_instance_alone(self):
        """OpenSSL's secure heap: twice milter.cache-size (5000) keys of 8 KiB, to the next power of two, left out of core dumps."""
        def apart(name):
            with open('/proc/%d/smaps' % self.p.daemons[name].pid) as file:
                parts = re.split(r'^(?=[0-9a-f]+-[0-9a-f]+ )', file.read(), flags=re.M)
            return [p for p in parts if re.search(r'^Size: +131072 kB', p, re.M) and re.search(r'^VmFlags:.* dd\b', p, re.M)]
        self.assertEqual(len(apart('outbound')), 1)
        self.assertEqual(apart('inbound'), [])

    def test_nonsense_on_the_control_socket_gets_an_answer(self):
        for text in (b'', b'\n', b'{}\n', b'[1]\n', b'{"command": 7}\n', b'{"command": "show"}\n', b'\xff\xfe\n',
                     b'{"command": "show", "arguments": []}\n', b'{"command": "list", "arguments": {"limit": "many", "state": "x"}}\n',
                     b'x' * 100000, b'[' * 5000 + b'\n'):
            with self.subTest(text[:30]), socket.socket(socket.AF_UNIX) as s:
                s.connect(self.p.config['control']['socket'])
                try:
                    s.sendall(text)
                    s.shutdown(socket.SHUT_WR)
                except BrokenPipeError:
                    pass
                try:
                    answer = s.makefile('rb').read()
                except ConnectionResetError:
                    continue        # refused while we were still talking
                self.assertIn(b'"ok":false', answer)
        self.assertTrue(self.p.running('enrolld'))

    def test_clients_that_connect_and_stay_silent_keep_nobody_out(self):
        """More of them than enrolld serves at one time, and they hold on; whoever asks something is answered all the same."""
        silent = subprocess.Popen(service.as_user('helpdesk1', ['/usr/bin/python3', '-c', SILENT, self.p.config['control']['socket']]),
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            self.assertEqual(silent.stdout.readline(), '50 connected\n')
            for user in ('admin1', 'helpdesk1', 'root'):
                self.assertIn('mode', self.p.ctl('status', user=user))
        finally:
            silent.communicate('end\n', timeout=120)
        self.assertTrue(self.p.running('enrolld'))

    def test_strangers_cannot_speak_to_the_milter_sockets(self):
        for which in ('outbound-socket', 'inbound-socket'):
            path = self.p.config['milter'][which].removeprefix('unix:')
            self.assertEqual(oct(os.stat(path).st_mode & 0o777), '0o660')
            done = run_as('mallory', '/usr/bin/python3', '-c', CONNECT, path)
            self.assertIn('PermissionError', done.stderr)
            self.assertNotIn('connected', done.stdout)

    def test_keys_are_read_by_their_user_alone(self):
        readers = {ETC + '/master.key': 'enroll-out', ETC + '/account.key': 'enrolld'}
        for path, owner in readers.items():
            self.assertEqual(oct(os.stat(path).st_mode & 0o777), '0o600')
            for user in ('enroll-out', 'enroll-in', 'enrolld', 'helpdesk1', 'admin1', 'mallory', 'postfix'):
                with self.subTest(path=path, user=user):
                    done = run_as(user, 'cat', path)
                    self.assertEqual(done.returncode == 0, user == owner)

    @sqlite_only('its files')
    def test_store_is_the_services_alone(self):
        for name in ('store.db', 'store.db-wal', 'store.db-shm'):
            path = DIR + '/lib/' + name
            if os.path.exists(path):
                self.assertEqual(os.stat(path).st_mode & 0o007, 0, path)
                self.assertNotEqual(run_as('mallory', 'cat', path).returncode, 0)

    def test_no_private_key_in_clear_anywhere(self):
        """Neither the store, nor logs, nor the environment of a process holds one."""
        marks = (b'BEGIN PRIVATE KEY', b'BEGIN RSA PRIVATE', b'BEGIN EC PRIVATE', bytes.fromhex('300d06092a864886f70d0101010500'
                                                                                               '048204'))
        for folder in (DIR + '/lib', DIR + '/spool', self.stage.base + '/log'):
            for where, _folders, files in os.walk(folder):
                for name in files:
                    with open(os.path.join(where, name), 'rb') as file:
                        data = file.read()
                    for mark in marks:
                        self.assertNotIn(mark, data, os.path.join(where, name))

    def test_processes_that_hold_keys_leave_no_core(self):
        for name in ('outbound', 'enrolld'):
            pid = self.p.daemons[name].process.pid
            with open('/proc/%d/limits' % pid) as file:
                core = [line for line in file if line.startswith('Max core file size')][0]
            self.assertEqual(core.split()[4], '0', name)
            done = run_as({'outbound': 'enroll-out', 'enrolld': 'enrolld'}[name], 'cat', '/proc/%d/environ' % pid)
            self.assertNotEqual(done.returncode, 0, 'a process of the same user cannot look into it')
