"""Started, watched, reloaded, upgraded and stopped like any good daemon: what mail notices of it, which is nothing."""

import concurrent.futures
import grp
import os
import pwd
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

import mailtools
import service
from mailtools import message, unique
from namespace import GATEWAY
from product import DIR, Product, require, sqlite_only
from stage import Stage, StageCase
from supervisor import supervise, unsupervise

STAGE = {'ca': True}
TAKES, BUSY = 150, 56
BOX = 'box@outside.example'
ALICE = 'alice@corp.example'
BOB = 'bob@corp.example'
SESSIONS = 100
CROWD = """
import socket, sys
kept = []
while True:
    s = socket.socket(socket.AF_UNIX)
    s.setblocking(False)
    try:
        s.connect(sys.argv[1])
        kept.append(s)
    except OSError:
        s.close()
    if len(kept) > 500:
        for s in kept:
            s.close()
        kept.clear()
"""


def setUpModule():
    require()


class Half:
    """An SMTP session of alice's that can stop anywhere."""

    def __init__(self, stage):
        self.subject = unique()
        self.raw = message(ALICE, BOX, self.subject)
        self.session = mailtools.Session((GATEWAY, 587), 'alice', stage.password('alice'))

    def begin(self):
        """Inside a mail: the half of its data is sent."""
        smtp = self.session.smtp
        for answer in (smtp.mail(ALICE), smtp.rcpt(BOX), smtp.docmd('DATA')):
            mailtools._fine(answer, 'begin')
        smtp.send(self.raw[:len(self.raw) // 2])

    def finish(self):
        """The answer to the rest: (code, text)."""
        smtp = self.session.smtp
        smtp.send(self.raw[len(self.raw) // 2:] + b'\r\n.\r\n')
        answer = smtp.getreply()
        self.session.close()
        return answer

    def whole(self):
        self.subject = unique()
        try:
            self.session.send(ALICE, [BOX], message(ALICE, BOX, self.subject))
            return 250, b''
        except mailtools.Refused as refused:
            return refused.code, refused.text.encode()


class Operated(StageCase):
    p = None        # one product for all classes

    @classmethod
    def setUpClass(cls):
        require()
        if Operated.p:
            return
        Stage.current.ca.admin('/behaviour', {'authz_valid': True})
        Stage.current.postfix.set(default_process_limit=SESSIONS + 60)
        Operated.p = Product(Stage.current)
        cls.p.start()
        cls.p.ctl('enroll', ALICE)
        cls.p.wait_state(ALICE, 'active')

    def supervise(self, name, **more):
        self.p.stop(name)
        boss = supervise(self.p, name, **more)
        self.addCleanup(self.plain, name)
        self.p.start(name)
        self.until(lambda: boss.said('READY'), what='it is ready')
        return boss

    def plain(self, name):
        self.p.stop(name)
        unsupervise(self.p, name)
        self.p.start(name)

    def mail(self):
        subject = unique()
        self.stage.submit('alice', ALICE, [BOX], message(ALICE, BOX, subject))
        return subject

    def assert_signed(self, subjects):
        for subject in subjects:
            self.assertTrue(mailtools.is_signed(self.stage.outside.wait_subject(subject).content), subject)

    def open_sessions(self):
        """100 of them: a half inside a mail, a half between two mails."""
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            halves = list(pool.map(lambda _: Half(self.stage), range(SESSIONS)))
            inside, between = halves[:SESSIONS // 2], halves[SESSIONS // 2:]
            list(pool.map(Half.begin, inside))
            for code, text in pool.map(Half.whole, between):
                self.assertEqual(code, 250, text)
        return inside, between


class Upgrade(Operated):
    def finish_all(self, inside, between):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(Half.finish, inside)) + list(pool.map(Half.whole, between))
        self.assertEqual([a for a in answers if a[0] != 250], [], 'a mail of an open session was refused')
        for half in between:
            half.session.close()
        self.assert_signed(h.subject for h in inside + between)

    def test_an_upgrade_under_a_supervisor_with_100_sessions_open(self):
        """The old one ends when its sessions have; who connects meanwhile waits for the new one."""
        boss = self.supervise('outbound')
        inside, between = self.open_sessions()
        old, mark = boss.process, self.p.log_mark()
        old.send_signal(signal.SIGTERM)
        boss._wanted = False
        self.p.wait_log(mark=mark, name='outbound', event='stopping')
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            late = [pool.submit(self.mail) for _ in range(10)]      # new sessions, while nobody accepts
            time.sleep(1)
            self.assertIsNone(old.poll(), 'open sessions are waited for')
            self.finish_all(inside, between)
            self.assertEqual(old.wait(60), 0)
            stopped = self.p.wait_log(mark=mark, name='outbound', event='stopped')[-1]
            self.assertEqual((stopped['sessions'], stopped['mails']), ('0', '0'), stopped['line'])
            boss.start()
            self.assert_signed([f.result(60) for f in late])

    def test_a_successor_may_start_while_the_old_one_drains(self):
        """Without a supervisor: the new one takes the socket's name, then the old one is told to end."""
        inside, between = self.open_sessions()
        old = self.p.daemons.pop('outbound')
        mark = self.p.log_mark()
        self.p.daemons['outbound'] = new = self.p._service('outbound')
        new.start()
        self.p.wait_log(mark=mark, name='outbound', event='started')
        old.process.send_signal(signal.SIGTERM)
        self.p.wait_log(mark=mark, name='outbound', event='stopping')
        self.assert_signed([self.mail() for _ in range(5)])
        time.sleep(2)
        self.finish_all(inside, between)
        self.assertEqual(old.process.wait(60), 0)
        self.assert_signed([self.mail()])       # the old one left the successor's socket alone

    def test_who_is_idle_beyond_the_bound_is_let_go_and_who_is_inside_a_mail_is_not(self):
        """The documented worst case: an SMTP session that idles for longer than 15 s while its milter is replaced."""
        boss = self.supervise('outbound')
        idle, inside = Half(self.stage), Half(self.stage)
        self.assertEqual(idle.whole()[0], 250)
        inside.begin()
        time.sleep(1)           # Postfix waits for no answer to that: it has been read
        old, began = boss.process, time.monotonic()
        boss._wanted = False
        mark = self.p.log_mark()
        old.send_signal(signal.SIGTERM)
        self.p.wait_log(mark=mark, name='outbound', event='stopping')
        old.send_signal(signal.SIGSTOP)     # as on a machine that has much else to do
        time.sleep(0.6)
        old.send_signal(signal.SIGCONT)
        time.sleep(17)
        self.assertIsNone(old.poll(), 'a mail under way is waited for beyond the bound of idle sessions')
        self.assertEqual(inside.finish()[0], 250)
        self.assert_signed([inside.subject])
        self.assertEqual(old.wait(20), 0)
        self.assertLess(time.monotonic() - began, 29, 'within TimeoutStopSec')
        boss.start()
        self.until(lambda: len(boss.said('READY')) == 2, what='the successor is ready')
        self.assertEqual(idle.whole()[0], 451, 'Postfix makes no new connection for this session')
        idle.session.close()
        self.assert_signed([self.mail()])


class Supervision(Operated):
    def test_what_a_supervisor_is_told_and_in_which_order(self):
        boss = self.supervise('outbound', watchdog=4)
        self.assert_signed([self.mail()])
        self.assertEqual(boss.order(), ['READY'])
        began = time.monotonic()
        self.p.signal('outbound', signal.SIGUSR1)
        self.until(lambda: boss.order() == ['READY', 'RELOADING', 'READY'], what='it has reloaded')
        reloading = boss.said('RELOADING')[0]
        self.assertLess(abs(int(reloading[1]['MONOTONIC_USEC']) / 1e6 - reloading[0]), 5)
        self.until(lambda: 'certificate look' in boss.status(), what='the status tells of the mail')
        self.assertRegex(boss.status(), r'^signing; \d+ sessions, [\d,]+ mails, last certificate look \d+ s ago$')
        time.sleep(5)
        self.assertLess(boss.gap(began, time.monotonic()), 4, 'signs of life come in time')
        process = boss.process
        self.assertEqual(self.p.stop('outbound'), {'outbound': 0})
        self.until(lambda: boss.order()[-1] == 'STOPPING', what='the last word is heard')
        self.assertEqual(boss.order(), ['READY', 'RELOADING', 'READY', 'STOPPING'])
        self.assertEqual(boss.restarts, 0, process.pid)

    def test_a_frozen_milter_is_started_again_and_mail_waits_for_it(self):
        boss = self.supervise('outbound', watchdog=4)
        frozen = boss.process.pid
        os.kill(frozen, signal.SIGSTOP)
        self.until(lambda: all(self.stands(frozen, t) for t in os.listdir('/proc/%d/task' % frozen)), what='all of it stands still')
        subject = self.mail()       # its session waits in the socket that the supervisor keeps
        self.assertEqual((boss.reasons, boss.restarts), (['watchdog'], 1))
        self.assertNotEqual(boss.process.pid, frozen)
        self.assert_signed([subject])

    @staticmethod
    def stands(pid, tid):
        with open('/proc/%d/task/%s/stat' % (pid, tid)) as file:
            return file.read().rsplit(')', 1)[1].split()[0] == 'T'

    def test_a_milter_with_one_stuck_thread_is_noticed(self):
        """All the rest of it runs: only whoever connects gets no answer."""
        boss = self.supervise('outbound', watchdog=4)
        self.assert_signed([self.mail()])
        with Stuck(boss.process.pid):
            self.p.wait_log(name='outbound', event='not_alive')
            self.until(lambda: boss.restarts == 1, what='it is started again')
        self.assertEqual(boss.reasons, ['watchdog'])
        self.assert_signed([self.mail()])

    def test_a_milter_whose_name_went_with_somebody_else_is_started_again(self):
        boss = self.supervise('outbound', watchdog=4)
        mark = self.p.log_mark()
        other = self.p._service('outbound')
        other.start()
        self.until(lambda: len(self.p.log(mark, 'outbound', event='started')) == 1, what='another one takes the name')
        time.sleep(6)
        self.assertEqual(boss.restarts, 0, 'a successor has the name')
        self.assert_signed([self.mail()])
        other.stop()
        self.until(lambda: boss.restarts == 1, what='it is started again')
        self.assertEqual(boss.reasons, ['watchdog'])
        self.until(lambda: len(boss.said('READY')) == 2, what='it is ready')
        self.assert_signed([self.mail()])

    def test_a_healthy_milter_under_heavy_load_is_left_alone(self):
        boss = self.supervise('outbound', watchdog=4)
        hogs = [subprocess.Popen(['/bin/sh', '-c', 'while :; do :; done']) for _ in range(3 * os.cpu_count())]
        try:
            began = time.monotonic()
            with concurrent.futures.ThreadPoolExecutor(12) as pool:
                subjects = list(pool.map(lambda _: self.mail(), range(60)))
            while time.monotonic() < began + 10:
                subjects.append(self.mail())
        finally:
            for hog in hogs:
                hog.kill()
                hog.wait()
        self.assertEqual((boss.restarts, self.p.log(name='outbound', event='not_alive')[self.stuck_before:]), (0, []))
        self.assert_signed(subjects)

    def setUp(self):
        self.stuck_before = len(self.p.log(name='outbound', event='not_alive'))


    def test_told_to_end_while_it_starts_it_ends(self):
        for _ in range(5):
            self.p.stop('outbound')
            self.p.start('outbound')        # listens, and is not ready for a while yet
            began = time.monotonic()
            self.assertEqual(self.p.stop('outbound'), {'outbound': 0})
            self.assertLess(time.monotonic() - began, 5)
        self.p.start('outbound')


class Stuck:
    """Threads of a process stand still: those that wait for connections.  Whoever holds them is a process of its own, as the kernel hands it
    their end."""

    HOLD = """
import ctypes, os, sys
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
for tid in map(int, sys.argv[1:]):
    for request in (0x4206, 0x4207):        # PTRACE_SEIZE, PTRACE_INTERRUPT
        if ptrace(request, tid, None, None) != 0 and ctypes.get_errno() != 3:      # ESRCH: that one has ended
            sys.exit(os.strerror(ctypes.get_errno()))
print('held', flush=True)
try:
    while True:
        os.waitpid(-1, 0x40000000)          # __WALL
except ChildProcessError:
    pass
"""

    def __init__(self, pid):
        self.tids = [t for t in map(int, os.listdir('/proc/%d/task' % pid)) if self.waits(pid, t)]

    @staticmethod
    def waits(pid, tid):
        with open('/proc/%d/task/%d/syscall' % (pid, tid)) as file:
            return file.read().split()[0] in ('7', '271')       # poll, ppoll

    def __enter__(self):
        self.holder = subprocess.Popen([sys.executable, '-c', self.HOLD] + [str(t) for t in self.tids], stdout=subprocess.PIPE)
        assert self.tids and self.holder.stdout.readline() == b'held\n'
        return self

    def __exit__(self, *_exception):
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()


class Tcp(Operated):
    """Where the MTA is Sendmail, or somebody likes ports better."""

    HELLO = bytes((0, 0, 0, 13)) + b'O' + bytes((0, 0, 0, 6, 0, 0, 1, 0xff, 0, 0x1f, 0xff, 0xff))

    def setUp(self):
        self.port = 8897
        self.before = self.p.config
        self.p.stop('outbound')
        self.addCleanup(self.p.start)
        self.addCleanup(self.back)
        self.p.configure(milter={'outbound-socket': 'inet:%d@127.0.0.1' % self.port, 'tcp-peers': ['127.0.0.1/32']})
        self.milter = self.p._service('outbound')
        mark = self.p.log_mark()
        self.milter.start()
        self.addCleanup(self.milter.stop)
        self.p.wait_log(mark=mark, name='outbound', event='started')
        time.sleep(1)       # what it began to ask itself is over

    def back(self):
        self.p.config = self.before
        self.p.write_config()

    def ports(self):
        inodes = {os.readlink(f) for f in map(('/proc/%d/fd/' % self.milter.process.pid + '%s').__mod__,
                                              os.listdir('/proc/%d/fd' % self.milter.process.pid))}
        with open('/proc/net/tcp') as file:
            lines = [line.split() for line in file.read().splitlines()[1:]]
        return sorted(int(f[1].split(':')[1], 16) for f in lines if f[3] == '0A' and 'socket:[%s]' % f[9] in inodes)

    def session(self, port):
        s = socket.create_connection(('127.0.0.1', port), timeout=3)
        self.addCleanup(s.close)
        s.sendall(self.HELLO)
        self.assertEqual(s.recv(5)[4:], b'O')
        return s

    def test_there_is_no_second_port(self):
        self.session(self.port)
        for port in self.ports():
            if port != self.port:
                with self.subTest(port), self.assertRaises(OSError):
                    socket.create_connection(('127.0.0.1', port), timeout=3)

    def test_while_sessions_end_others_may_still_begin(self):
        open_one = self.session(self.port)
        mark = self.p.log_mark()
        self.milter.process.send_signal(signal.SIGTERM)
        self.p.wait_log(mark=mark, name='outbound', event='stopping')
        late = self.session(self.port)
        self.assertIsNone(self.milter.process.poll())
        open_one.close()
        late.close()
        self.assertEqual(self.milter.process.wait(60), 0)


class Reload(Operated):
    def tearDown(self):
        self.p.config = self.before
        self.p.write_config()
        self.reload()

    def setUp(self):
        self.before = self.p.config

    def reload(self, expect='reloaded'):
        mark = self.p.log_mark()
        self.p.signal('outbound', signal.SIGUSR1)
        return self.p.wait_log(mark=mark, name='outbound', event=expect)[-1]

    def test_reload_under_load_fails_no_mail(self):
        stop, done = threading.Event(), []

        def send():
            while not stop.is_set():
                done.append(self.mail())        # raises what the server refuses
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            senders = [pool.submit(send) for _ in range(4)]
            n = 0
            while (n < 6 or len(done) < 60) and not any(s.done() for s in senders):
                n += 1
                self.p.configure(milter={'cache-size': 4000 + n})
                self.reload()
                self.p.config_text('mode = "nonsense";')
                self.reload('reload_failed')
            stop.set()
            for sender in senders:
                sender.result(60)
        self.assertGreaterEqual(len(done), 60)
        self.assert_signed(done)

    def test_a_reload_holds_from_the_next_mail_of_a_session_on(self):
        half = Half(self.stage)
        self.assertEqual(half.whole()[0], 250)
        first = half.subject
        self.p.configure(mode='enroll')
        self.reload()
        self.assertEqual(half.whole()[0], 250)
        self.assertFalse(mailtools.is_signed(self.stage.outside.wait_subject(half.subject).content))
        self.assert_signed([first])
        self.p.configure(mode='sign')
        self.reload()
        self.assertEqual(half.whole()[0], 250)
        self.assert_signed([half.subject])
        half.session.close()

    def test_a_broken_file_changes_nothing_and_everybody_is_told(self):
        boss = self.supervise('outbound')
        self.p.config_text('mode = "nonsense";')
        self.reload('reload_failed')
        self.until(lambda: boss.order() == ['READY', 'RELOADING', 'READY'], what='the reload is over')
        self.assertRegex(boss.status(), r'^signing; .*; reload failed at 20\d\d-.*Z: .*nonsense')
        self.assert_signed([self.mail()])
        self.p.write_config()
        self.reload()
        self.until(lambda: 'failed' not in boss.status(), what='the status is clean again')

    def test_what_a_reload_cannot_change_is_named(self):
        mark = self.p.log_mark()
        self.p.configure(milter={'outbound-socket': self.before['milter']['outbound-socket'] + '.other'},
                         store={'path': DIR + '/lib/other.db'})
        self.reload()
        named = self.p.log(mark, 'outbound', event='restart_needed')
        self.assertEqual([n['key'] for n in named], ['milter.outbound-socket', 'store'])
        self.assert_signed([self.mail()])


class Alone(Operated):
    """Without a supervisor: as a sysvinit script does it."""

    def setUp(self):
        self.pid_file = DIR + '/run/outbound.pid'
        if os.path.exists(self.pid_file):
            os.unlink(self.pid_file)        # root's folder: a daemon cannot take it away
        self.p.stop('outbound')
        self.addCleanup(self.p.start)

    def run_milter(self, *args):
        return subprocess.run([self.p.program('enroll-milter'), '--config', self.p.config_file, '--instance', 'outbound', *args],
                              capture_output=True, text=True, timeout=60)

    def pid(self):
        with open(self.pid_file) as file:
            return int(file.read())

    def end(self, pid):
        os.kill(pid, signal.SIGTERM)
        self.until(lambda: not os.path.exists('/proc/%d' % pid) or self.state(pid) == 'Z', what='it ends')

    @staticmethod
    def state(pid):
        with open('/proc/%d/stat' % pid) as file:
            return file.read().rsplit(')', 1)[1].split()[0]

    def test_daemon_pid_file_and_user(self):
        self.p.configure(log={'target': 'syslog'})
        self.addCleanup(self.p.configure, log={'target': 'stderr'})
        started = self.run_milter('--daemon', '--pid-file', self.pid_file)
        self.assertEqual((started.returncode, started.stdout, started.stderr), (0, '', ''))
        pid = self.pid()
        try:
            self.assert_signed([self.mail()])       # it is ready when the command is back
            with open('/proc/%d/status' % pid) as file:
                status = dict(line.split(':\t', 1) for line in file.read().splitlines() if ':\t' in line)
            wanted = pwd.getpwnam('enroll-out')
            self.assertEqual(set(status['Uid'].split()), {str(wanted.pw_uid)})
            self.assertEqual(set(status['Gid'].split()), {str(grp.getgrnam('enroll-milter').gr_gid)}, 'as systemd has it')
            self.assertEqual(int(status['CapEff'], 16), 0)
            self.assertEqual(os.readlink('/proc/%d/cwd' % pid), '/')
            self.assertEqual(os.getsid(pid), pid)
            again = self.run_milter('--daemon', '--pid-file', self.pid_file)     # a successor, as in an upgrade
            self.assertEqual(again.returncode, 0, again.stderr)
            self.assertNotEqual(self.pid(), pid)
            self.end(pid)
            self.assertTrue(os.path.exists(self.pid_file), 'the pid file is the successor\'s')
            pid = self.pid()
            self.assert_signed([self.mail()])
        finally:
            self.end(pid)

    def test_a_relative_configuration_is_read_again_at_a_reload(self):
        folder, name = os.path.split(self.p.config_file)
        self.p.configure(log={'target': 'syslog'})
        self.addCleanup(self.p.configure, log={'target': 'stderr'}, mode='sign')
        started = subprocess.run([self.p.program('enroll-milter'), '--config', './' + name, '--instance', 'outbound', '--daemon', '--pid-file',
                                  self.pid_file], capture_output=True, text=True, timeout=60, cwd=folder)
        self.assertEqual(started.returncode, 0, started.stderr)
        self.addCleanup(self.end, self.pid())
        self.assert_signed([self.mail()])
        self.p.configure(mode='enroll')
        os.kill(self.pid(), signal.SIGUSR1)
        self.until(lambda: not mailtools.is_signed(self.stage.outside.wait_subject(self.mail()).content), what='it was read')

    def no_pid_file_is_left(self):
        """In the background, where root's folder lets only the parent take it away, and in the foreground, in a folder of the service's own."""
        open_to_all = tempfile.mkdtemp(dir=DIR + '/run')
        os.chmod(open_to_all, 0o777)
        rootly = tempfile.mkdtemp(dir=DIR + '/run')
        os.chmod(rootly, 0o755)
        broken = self.p.config['milter']['outbound-socket']
        self.p.configure(milter={'outbound-socket': 'unix:/nowhere/outbound.sock'})
        self.addCleanup(self.p.configure, milter={'outbound-socket': broken})
        for args, folder in ((('--daemon',), rootly), (('--daemon',), open_to_all), ((), open_to_all)):
            done = self.run_milter(*args, '--pid-file', folder + '/x.pid')
            self.assertNotEqual(done.returncode, 0)
            self.assertEqual(os.listdir(folder), [], args)
            with open(folder + '/x.pid', 'w') as file:      # somebody's who was there before is left alone
                file.write('4711\n')
            self.assertNotEqual(self.run_milter(*args, '--pid-file', folder + '/x.pid').returncode, 0)
            with open(folder + '/x.pid') as file:
                self.assertEqual(file.read(), '4711\n')
            os.unlink(folder + '/x.pid')

    def test_what_cannot_start_says_so_to_whoever_started_it(self):
        foreign, linked = DIR + '/run/foreign.pid', DIR + '/run/linked.pid'
        for path in foreign, linked:
            with open(path, 'w') as file:
                file.write('precious')
        os.chown(foreign, pwd.getpwnam('enrolld').pw_uid, -1)
        os.link(linked, linked + '.other')
        self.p.configure(log={'target': 'stderr'})
        for args, code, words in (
                (('--daemon', '--user', 'nobody-here'), 1, 'there is no user nobody-here'),
                (('--daemon', '--pid-file', 'relative.pid'), 1, 'whole path'),
                (('--daemon', '--pid-file', foreign), 1, 'not a file of this user alone'),
                (('--daemon', '--pid-file', linked), 1, 'not a file of this user alone'),
                (('--daemon', '--pid-file', DIR + '/run'), 1, 'Is a directory'),
                (('--daemon', '--user', 'nobody', '--pid-file', self.pid_file), 1, 'event=start_failed')):
            with self.subTest(args):
                done = self.run_milter(*args)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertIn(words, done.stderr)
                self.assertFalse(os.path.exists(self.pid_file), 'no empty pid file is left behind')
        for path in foreign, linked:
            with open(path) as file:
                self.assertEqual(file.read(), 'precious')
        self.no_pid_file_is_left()
        done = subprocess.run(service.as_user('enroll-in', [self.p.program('enroll-milter'), '--config', self.p.config_file, '--instance',
                                                            'inbound', '--user', 'enroll-out']), capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn('only root can start this as user enroll-out', done.stderr)


class Enrolld(Operated):
    def setUp(self):
        self.mark = self.p.log_mark()

    def test_enrolld_tells_its_supervisor_and_is_started_again_when_frozen(self):
        boss = self.supervise('enrolld', watchdog=4)
        self.p.signal('enrolld', signal.SIGUSR1)
        self.until(lambda: boss.order() == ['READY', 'RELOADING', 'READY'], what='it has reloaded')
        self.p.signal('enrolld', signal.SIGHUP)
        self.until(lambda: boss.order() == ['READY'] + ['RELOADING', 'READY'] * 2, what='and again')
        self.assertRegex(boss.status(), r'^mode sign; 1 active, \d under way, 0 blocked or failed$')
        began = time.monotonic()
        time.sleep(5)
        self.assertLess(boss.gap(began, time.monotonic()), 4, 'signs of life come in time')
        frozen = boss.process.pid
        os.kill(frozen, signal.SIGSTOP)
        self.until(lambda: boss.restarts == 1, what='it is started again')
        self.until(lambda: self.p.ctl_run('status').returncode == 0, what='it serves again')
        began = time.monotonic()
        self.assertEqual(self.p.stop('enrolld'), {'enrolld': 0})
        self.until(lambda: boss.order(began) == ['STOPPING'], what='the last word is heard')

    def test_a_long_reload_is_not_taken_for_death(self):
        """A step waits for a CA that does not answer; it may finish, for longer than the watchdog allows."""
        boss = self.supervise('enrolld', watchdog=4)
        Stage.current.ca.admin('/behaviour', {'faults': {'newOrder': {'hang': 'forever', 'count': -1}}})
        self.addCleanup(self.p.ctl_run, 'reset', BOB)
        self.addCleanup(Stage.current.ca.admin, '/reset-behaviour', {'authz_valid': True})
        self.p.ctl('enroll', BOB)
        time.sleep(4)
        self.p.signal('enrolld', signal.SIGUSR1)
        self.until(lambda: boss.order() == ['READY', 'RELOADING', 'READY'], what='it has reloaded')
        (began,), (_first, ended) = [[at for at, _w in boss.said(word)] for word in ('RELOADING', 'READY')]
        self.assertEqual(boss.restarts, 0, boss.reasons)
        self.assertGreater(ended - began, 4, 'the step was waited for')
        self.until(lambda: boss.patience == 4, what='what was agreed holds again')

    def test_a_crowd_at_the_control_socket_is_not_taken_for_its_death(self):
        """Everybody may connect.  Four strangers do, as often as they can."""
        boss = self.supervise('enrolld', watchdog=4)
        crowd = [subprocess.Popen(['setpriv', '--reuid', 'nobody', '--regid', 'nogroup', '--clear-groups', '--', '/usr/bin/python3', '-I', '-c', CROWD,
                                   self.p.config['control']['socket']])
                 for _ in range(4)]
        try:
            time.sleep(15)
            self.assertEqual([one.poll() for one in crowd], [None] * 4)
        finally:
            for one in crowd:
                one.kill()
                one.wait()
        self.assertTrue(self.p.log(self.mark, 'enrolld', event='control_refused'), 'they got there')
        self.assertEqual((boss.restarts, self.p.log(self.mark, 'enrolld', event='not_alive')), (0, []))
        self.until(lambda: self.p.ctl_run('status').returncode == 0, what='it serves')

    def test_a_second_enrolld_does_not_touch_the_store(self):
        config = self.p.config
        self.addCleanup(self.p.write_config)
        self.p.configure(store={'path': DIR + '/lib/none.db'})
        refused = subprocess.run(service.as_user('enrolld', [self.p.program('enrolld'), '--config', self.p.config_file]),
                                 capture_output=True, text=True, timeout=60)
        self.p.config = config
        self.assertEqual(refused.returncode, 1)
        self.assertIn('another enrolld is running', refused.stderr)

    def test_a_failed_reload_does_not_bring_back_what_was_long_before(self):
        before = self.p.config
        self.addCleanup(self.p.start)
        self.addCleanup(self.p.write_config)
        second = DIR + '/etc/second.pem'
        with open(before['ca']['anchor-file']) as source, open(second, 'w') as copy:
            copy.write(source.read())
        mark = self.p.log_mark()
        self.p.configure(ca={'anchor-file': second})
        self.p.signal('enrolld', signal.SIGUSR1)
        self.p.wait_log(mark=mark, name='enrolld', event='reloaded')
        self.until(lambda: self.p.ctl_run('status').returncode == 0, what='it runs with it')
        os.unlink(second)
        self.p.config_text('mode = "nonsense";')
        process = self.p.daemons['enrolld'].process
        self.p.signal('enrolld', signal.SIGUSR1)
        self.p.config = before
        self.assertEqual(process.wait(60), 1, 'better none than one of long ago')
        self.assertEqual(self.p.log(mark, 'enrolld', event='reload_failed', text='the old configuration is in force again'), [])

    def test_an_enrolld_whose_control_socket_hangs_is_noticed(self):
        boss = self.supervise('enrolld', watchdog=4)
        with Stuck(boss.process.pid):
            self.p.wait_log(name='enrolld', event='not_alive')
            self.until(lambda: boss.restarts == 1, what='it is started again')
        self.assertEqual(boss.reasons, ['watchdog'])
        self.until(lambda: self.p.ctl_run('status').returncode == 0, what='it serves again')

    def test_status_tells_of_a_configuration_that_is_not_in_force(self):
        before = self.p.config
        for change, words in (({'mode': 'nonsense'}, 'nonsense'), ({'ca': {'anchor-file': DIR + '/none.pem'}}, 'none.pem')):
            with self.subTest(words):
                mark = self.p.log_mark()
                self.p.configure(**change)
                self.p.signal('enrolld', signal.SIGUSR1)
                self.p.wait_log(mark=mark, name='enrolld', event='reload_failed')
                self.p.config = before
                self.p.write_config()       # enrollctl reads it too
                self.until(lambda: self.p.ctl_run('status').returncode == 0, what='it serves with the old one')
                self.assertRegex(' '.join(self.p.ctl('status').split()), r'configuration reload failed at 20\S+Z: .*' + words)
                mark = self.p.log_mark()
                self.p.signal('enrolld', signal.SIGUSR1)
                self.p.wait_log(mark=mark, name='enrolld', event='reloaded', config=self.p.config_file)
                self.until(lambda: 'failed at' not in self.p.ctl_run('status').stdout, what='a good one was read')

    def test_daemon_pid_file_and_user(self):
        pid_file = DIR + '/run/enrolld.pid'
        self.p.stop('enrolld')
        self.addCleanup(self.p.start)
        self.p.configure(log={'target': 'syslog'})
        self.addCleanup(self.p.configure, log={'target': 'stderr'})
        command = [self.p.program('enrolld'), '--config', self.p.config_file, '--daemon', '--pid-file', pid_file]
        started = subprocess.run(command, capture_output=True, text=True, timeout=60)
        self.assertEqual((started.returncode, started.stdout, started.stderr), (0, '', ''))
        with open(pid_file) as file:
            pid = int(file.read())
        self.addCleanup(lambda: subprocess.run(['kill', str(pid)], stderr=subprocess.DEVNULL))
        self.assertEqual(os.stat('/proc/%d/maps' % pid).st_uid, 0, 'not to be looked into by its own user')
        with open('/proc/%d/status' % pid) as file:
            self.assertIn('\nUid:\t%s\n' % '\t'.join([str(pwd.getpwnam('enrolld').pw_uid)] * 4), file.read())
        self.assertEqual(self.p.ctl_run('status').returncode, 0, 'it is ready when the command is back')
        again = subprocess.run(command, capture_output=True, text=True, timeout=60)
        self.assertEqual(again.returncode, 1, 'one enrolld a store')
        with open(pid_file) as file:
            self.assertEqual(int(file.read()), pid, 'who was refused leaves the pid file alone')
        os.kill(pid, signal.SIGTERM)
        self.until(lambda: not os.path.exists('/proc/%d' % pid) or Alone.state(pid) == 'Z', what='it ends')


@sqlite_only('user_version of its file')
class Schema(Operated):
    """enrolld of a newer version has upgraded the store; the milters are still of this one."""

    def sql(self, script):
        db = sqlite3.connect(self.p.config['store']['path'], timeout=60)
        db.executescript(script)
        db.close()

    def setUp(self):
        db = sqlite3.connect(self.p.config['store']['path'], timeout=60)
        self.known = int(db.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()[0])
        self.needs = db.execute('PRAGMA user_version').fetchone()[0]
        db.close()
        self.addCleanup(self.p.start)
        self.addCleanup(self.sql, "UPDATE meta SET value = %d WHERE name = 'schema_version'; PRAGMA user_version = %d;" % (self.known, self.needs))
        self.p.stop('enrolld')

    def test_an_additive_change_is_told_once_and_changes_nothing_else(self):
        boss = self.supervise('outbound')
        mark = self.p.log_mark()
        self.sql("ALTER TABLE certificates ADD COLUMN added TEXT NOT NULL DEFAULT 'x'; ALTER TABLE mail_events ADD COLUMN added TEXT;"
                 "UPDATE meta SET value = value + 1 WHERE name = 'schema_version'")
        self.p.wait_log(mark=mark, name='outbound', event='store_newer', schema=self.known + 1)
        self.assert_signed([self.mail()])
        self.p.stop('outbound', 'inbound')
        self.p.start('outbound', 'inbound')
        self.assert_signed([self.mail()])
        self.until(lambda: 'newer version, upgrade this program' in boss.status(), what='the status tells of it')
        time.sleep(6)
        self.assertEqual(len(self.p.log(mark, 'outbound', event='store_newer')), 2, 'once a process')
        self.assertEqual(self.p.log(mark, 'outbound', event='mail_events_lost'), [])
        refused = subprocess.run(service.as_user('enrolld', [self.p.program('enrolld'), '--config', self.p.config_file]),
                                 capture_output=True, text=True, timeout=60)
        self.assertEqual(refused.returncode, 1)
        self.assertIn('install the newer program again', refused.stderr)

    def test_an_enrolld_that_runs_ends_and_says_why(self):
        """It knows not all of what it would write; started anew it may be the newer program."""
        mark = self.p.log_mark()
        self.p.start('enrolld')
        self.p.wait_log(mark=mark, name='enrolld', event='started')
        self.sql("UPDATE meta SET value = value + 1 WHERE name = 'schema_version'")
        process = self.p.daemons['enrolld'].process
        self.until(lambda: process.poll() is not None, 60, 'it ends')
        self.assertEqual(process.returncode, 1, 'a supervisor starts it anew')
        told, = self.p.wait_log(mark=mark, name='enrolld', event='store_newer')
        self.assertIn('start the version that upgraded the store', told['line'])
        self.assertLess(len(self.p.log(mark, 'enrolld', event='store_failed')), 20)
        self.p.stop('enrolld')
        self.assert_signed([self.mail()])

    def test_a_store_that_cannot_be_read_is_left_alone_and_what_is_in_memory_signs_on(self):
        self.assert_signed([self.mail()])
        mark = self.p.log_mark()
        self.sql("PRAGMA user_version = %d; UPDATE meta SET value = value + 1 WHERE name = 'schema_version'" % (self.known + 1))
        told = self.p.wait_log(mark=mark, name='outbound', event='store_newer')[0]
        self.assertIn('install the newer program', told['line'])
        self.assert_signed([self.mail()])
        self.p.stop('outbound')
        refused = subprocess.run(service.as_user('enroll-out', [self.p.program('enroll-milter'), '--config', self.p.config_file,
                                                               '--instance', 'outbound']), capture_output=True, text=True, timeout=60)
        self.assertEqual(refused.returncode, 1)
        self.assertIn('install the newer program', refused.stderr)
