"""What monitoring is told: the figures agree with what happened on the stage, health and readiness go bad for the right
reason, promtool accepts everything, and nobody who can reach a metrics socket can hinder mail."""

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time

import mailtools
import service
from enrolling import Enrolling, address
from mailtools import message, unique
from namespace import run
from product import DIR, Product, require, sqlite_only
from stage import Stage, StageCase

STAGE = {'ca': True, 'users': 20}
TAKES, BUSY = 170, 20
BOX = 'box@outside.example'
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOCKETS = {n: DIR + '/metrics/%s.sock' % n for n in ('enrolld', 'outbound', 'inbound')}
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000
ALERTS = TOP + '/examples/prometheus/alerts.yml'
SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$')


def setUpModule():
    require()


def ask(where, path='/metrics', raw=None, seconds=30):
    """(status, body) of one request; `where` is the path of a Unix socket."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(seconds)
    with client:
        client.connect(where)
        client.sendall(raw or b'GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n' % path.encode())
        answer = b''
        while True:
            try:
                piece = client.recv(65536)
            except ConnectionResetError:
                break
            if not piece:
                break
            answer += piece
    head, _, body = answer.partition(b'\r\n\r\n')
    return int(head.split()[1]) if head else None, body.decode()


@contextlib.contextmanager
def thread_stopped(tid):
    """As a debugger does it: this thread alone stands still, the others of its process go on."""
    libc = ctypes.CDLL(None, use_errno=True)

    def ptrace(what):
        if libc.ptrace(ctypes.c_long(what), ctypes.c_long(tid), None, None) != 0:
            raise OSError(ctypes.get_errno(), 'ptrace')
    ptrace(PTRACE_SEIZE)
    try:
        ptrace(PTRACE_INTERRUPT)
        os.waitpid(tid, WALL)
        yield
    finally:
        ptrace(PTRACE_DETACH)


def parse(text):
    """{(name, ((label, value), ...)): number}"""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith('#'):
            name, labels, value = SAMPLE.match(line).groups()
            found[name, tuple(sorted(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or '')))] = float(value)
    return found


class MetricsCase(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        s = cls.s = Stage.current
        cls.ca = s.ca
        if not hasattr(MetricsCase, 'p'):
            p = MetricsCase.p = Product(s, certificate={'key-type': 'ec:p256'}, ca={'revocation-watch': 3},
                                        metrics=dict({n: 'unix:' + w for n, w in SOCKETS.items()}, group='enroll-milter'))
            p.prepare()
            os.mkdir(DIR + '/metrics')
            run('chown', 'root:enroll-milter', DIR + '/metrics')
            os.chmod(DIR + '/metrics', 0o3771)
            p.start()
            MetricsCase.many = Enrolling(s, p)

    def numbers(self, program):
        status, text = ask(SOCKETS[program])
        self.assertEqual(status, 200, text)
        return parse(text)

    def number(self, program, name, **labels):
        """The sum of what has at least these labels; None: there is nothing."""
        wanted = set(labels.items())
        found = [v for (n, have), v in self.numbers(program).items() if n == name and wanted <= set(have)]
        return sum(found) if found else None

    def fresh(self, name, wanted, what, **labels):
        """Until enrolld, which asks the store every few seconds, says this."""
        return self.until(lambda: self.number('enrolld', name, **labels) == wanted, 60, what)

    def send(self, user, subject=None, **headers):
        subject = subject or unique()
        self.s.submit(user, address(user), [BOX], message(address(user), BOX, subject, **headers))
        return self.s.outside.wait_subject(subject).content

    def active(self):
        user = self.many.user()
        self.many.enroll(user)
        self.many.wait_state([user], 'active')
        return user


class Figures(MetricsCase):
    def passing(self):
        """Somebody whose enrollment shall not go on when the test is over: others count exactly."""
        user = self.many.user()
        self.addCleanup(lambda: self.p.ctl('disable', address(user), '--yes'))
        return user

    def test_ten_mails_signed_are_ten_more(self):
        user = self.active()
        before = self.numbers('outbound')
        for _ in range(10):
            self.assertTrue(mailtools.is_signed(self.send(user)))
        after = self.numbers('outbound')

        def more(name, **labels):
            at = (name, tuple(sorted(labels.items())))
            return after[at] - before[at]
        self.assertEqual(more('enroll_milter_mails_total', verdict='signed', reason='signed-detached'), 10)
        self.assertEqual(more('enroll_milter_mails_seen_total'), 10)
        self.assertEqual(more('enroll_milter_signing_seconds_count'), 10)
        self.assertGreater(more('enroll_milter_signing_seconds_sum'), 0)
        self.assertLess(more('enroll_milter_signing_seconds_sum'), 60)
        self.assertEqual(sum(more('enroll_milter_credential_lookups_total', result=r)
                             for r in ('hit', 'confirmed', 'loaded', 'none', 'stale', 'failed')), 10)
        self.assertEqual(sum(v for (n, _), v in after.items() if n == 'enroll_milter_mails_total') -
                         sum(v for (n, _), v in before.items() if n == 'enroll_milter_mails_total'), 10)
        self.assertGreaterEqual(self.number('outbound', 'enroll_milter_credential_cache_entries'), 1)

    def test_mails_that_were_not_signed_by_reason(self):
        user = self.passing()
        self.many.behave(challenge_mail_delay=10 ** 6)
        self.addCleanup(self.many.behave)
        name = 'enroll_milter_mails_total'
        before = self.numbers('outbound')
        self.send(user)                                     # nobody asked for a certificate yet
        self.until(lambda: self.many.state(user), 60, 'the mail asked for one')
        self.send(user)
        self.p.ctl('pause')
        self.addCleanup(lambda: self.p.ctl('resume'))
        self.until(lambda: self.number('outbound', 'enroll_milter_paused') == 1, 30, 'it is paused')
        self.send(user)
        after = self.numbers('outbound')
        changed = {dict(labels)['reason']: v - before[n, labels] for (n, labels), v in after.items()
                   if n == name and v != before[n, labels]}
        self.assertEqual(changed, {'no-enrollment': 1, 'in-progress': 1, 'paused': 1})

    def test_an_enrollment_leaves_its_traces(self):
        before = self.numbers('enrolld')
        before_in = self.numbers('inbound')
        user = self.active()
        self.many.wait_state([user], 'active')
        after, after_in = self.numbers('enrolld'), self.numbers('inbound')

        def more(kind, status='ok'):
            at = ('enroll_milter_ca_requests_total', (('ca', 'example-ca'), ('kind', kind), ('status', status)))
            return after[at] - before.get(at, 0)
        self.assertEqual(more('new-order'), len(self.many.authorizations(user)))
        for kind in ('look', 'challenge', 'finalize', 'certificate'):
            self.assertGreaterEqual(more(kind), 1, kind)
        requests = sum(v - before.get(k, 0) for k, v in after.items() if k[0] == 'enroll_milter_ca_requests_total')
        at = ('enroll_milter_ca_request_seconds_count', (('ca', 'example-ca'),))
        self.assertEqual(after[at] - before.get(at, 0), requests)
        at = ('enroll_milter_replies_total', (('outcome', 'accepted'),))
        self.assertEqual(after[at] - before[at], 1)
        at = ('enroll_milter_challenge_mails_total', (('verdict', 'taken'),))
        self.assertEqual(after_in[at] - before_in[at], 1)
        at = ('enroll_milter_challenge_candidates_total', ())
        self.assertEqual(after_in[at] - before_in[at], 1)
        self.assertLess(abs(self.number('enrolld', 'enroll_milter_ca_last_success_timestamp_seconds', ca='example-ca') - time.time()), 300)
        self.assertGreater(self.number('enrolld', 'enroll_milter_directory_request_seconds_count', result='ok'), 0)
        self.assertGreater(self.number('enrolld', 'enroll_milter_store_transaction_seconds_count', access='write'), 0)

    def test_enrollments_and_certificates_are_those_of_the_store(self):
        self.active()

        def agree():
            ours = dict(self.p.sql('SELECT state, COUNT(*) FROM enrollments GROUP BY state'))
            n, first = self.p.sql("SELECT COUNT(*), MIN(not_after) FROM certificates WHERE status = 'active'")[0]
            theirs = {}
            numbers = self.numbers('enrolld')
            for (name, labels), value in numbers.items():
                if name == 'enroll_milter_enrollments':
                    state = dict(labels)['state']
                    theirs[state] = theirs.get(state, 0) + int(value)
            left = numbers['enroll_milter_certificate_earliest_expiry_seconds', ()]
            return theirs == ours and numbers['enroll_milter_certificate_remaining_seconds_count', ()] == n and \
                abs(time.time() + left - first) < 30 and numbers['enroll_milter_certificates_unrenewed', ()] == 0 and \
                numbers['enroll_milter_oldest_waiting_seconds', (('state', 'failed'),)] == 0
        self.until(agree, 60, 'store and metrics say the same')

    @sqlite_only('its query plans')
    def test_counting_reads_indexes_and_no_rows(self):
        """However many rows there are: the figures come from indexes that hold all that is asked, or from rows in flight."""
        words, text = {}, ''
        for name in ('db.h', 'figures.c'):
            with open(TOP + '/store/' + name, encoding='utf-8') as file:
                text = file.read().replace('\\\n', ' ')
            words.update(re.findall(r'^#define (\w+)\s+(".*")\s*$', text, re.M))
        for _depth in range(4):
            for name, value in words.items():
                text = re.sub(r'"\s*%s\s*"' % name, lambda _m, v=value: v[1:-1], text)
        text = re.sub(r'"\s*"', '', text)
        asked = re.findall(r'"(SELECT [^"]*)"', text)
        self.assertGreaterEqual(len(asked), 8)
        with sqlite3.connect('file:%s?mode=ro' % self.p.config['store']['path'], uri=True) as db:
            for sql in asked:
                plan = [row[3] for row in db.execute('EXPLAIN QUERY PLAN ' + sql, {'1': 0, '2': 0})]
                for step in plan:
                    if re.match(r'SCAN', step) and '(subquery' not in step:
                        self.assertRegex(step, r'USING COVERING INDEX', sql)
                if "IN ('requested'" in sql:   # by the rows on their way
                    self.assertRegex(' '.join(plan), r'SEARCH e USING (COVERING )?INDEX enrollments_\w+ \(state=\?\)')
                if 'LIMIT 1' in sql:        # the first row that fits, in the order of the index
                    self.assertIn('SEARCH c USING INDEX certificates_expiry', plan[0])
                    self.assertNotIn('TEMP B-TREE', ' '.join(plan))
                elif 'FROM certificates' in sql and 'enrollments' not in sql:
                    self.assertIn('COVERING INDEX certificates_expiry', ' '.join(plan))

    def test_a_ca_that_fails_is_seen(self):
        user = self.passing()
        name = 'enroll_milter_ca_requests_total'
        before = self.number('enrolld', name, status='5xx') or 0
        self.many.behave(faults={'newOrder': [{'status': 503, 'count': -1}]})
        self.addCleanup(self.many.behave)
        self.many.enroll(user)
        self.until(lambda: self.number('enrolld', name, status='5xx') > before, 60, 'a 5xx is counted')
        self.assertLess(abs(self.number('enrolld', 'enroll_milter_ca_last_failure_timestamp_seconds') - time.time()), 300)
        self.fresh('enroll_milter_enrollments', 1, 'it waits, for a temporary reason', state='waiting', **{'class': 'temporary'})
        with sqlite3.connect(self.p.config['store']['path'], timeout=30) as db:
            db.execute('UPDATE enrollments SET requested_at = requested_at - 500000 WHERE id = ?', (self.many.show(user)['enrollment']['id'],))
        self.until(lambda: self.number('enrolld', 'enroll_milter_oldest_waiting_seconds', state='waiting') > 400000, 60, 'for how long is told')

    def test_a_foreign_challenge_is_counted(self):
        user = self.passing()
        self.many.behave(challenge_mail_delay=10 ** 6)
        self.addCleanup(self.many.behave)
        self.many.enroll(user)
        self.many.wait_state([user], 'challenge-awaited', 'waiting')
        for verdict, mail in (('foreign', {'variant': 'genuine', 'from': 'sales@ca.example'}), ('not-authentic', {'variant': 'no_dkim'})):
            before = self.numbers('inbound')['enroll_milter_challenge_mails_total', (('verdict', verdict),)]
            self.ca.admin('/send-mail', dict(mail, address=address(user)))
            self.until(lambda: self.numbers('inbound')['enroll_milter_challenge_mails_total', (('verdict', verdict),)] == before + 1, 60,
                       'one more is ' + verdict)

    def test_flags_of_the_admin(self):
        self.fresh('enroll_milter_paused', 0, 'it is not paused')
        self.p.ctl('pause')
        self.fresh('enroll_milter_paused', 1, 'it is paused')
        self.p.ctl('resume')
        self.fresh('enroll_milter_paused', 0, 'it goes on')
        for name in SOCKETS:
            self.assertEqual(self.number(name, 'enroll_milter_mode', mode='sign'), 1)
            self.assertEqual(self.number(name, 'enroll_milter_mode', mode='observe'), 0)
            self.assertEqual(self.number(name, 'enroll_milter_store_up'), 1)
            self.assertEqual(self.number(name, 'enroll_milter_build_info'), 1)
            self.assertLess(abs(self.number(name, 'process_start_time_seconds') - time.time()), 1000)

    def test_the_directory_guard(self):
        """As enroll/people_guard.c raises it; the directory of this stage is whole."""
        self.fresh('enroll_milter_directory_guard', 0, 'the guard is quiet')
        self.p.sql("INSERT INTO flags (name, value, at) VALUES ('directory-guard', 'too many', 1)")
        try:
            self.fresh('enroll_milter_directory_guard', 1, 'the guard is heard')
        finally:
            self.p.sql("DELETE FROM flags WHERE name = 'directory-guard'")

    def test_a_certificate_that_the_ca_revoked_by_itself(self):
        user = self.active()
        name = 'enroll_milter_certificates_found_revoked_total'
        before = self.number('enrolld', name)
        serial = [c for c in self.many.show(user)['certificates'] if c['status'] == 'active'][0]['serial']
        self.ca.admin('/revoke', {'serial': serial})
        self.until(lambda: self.number('enrolld', name) == before + 1, 120, 'it is found and counted')
        self.until(lambda: [c['serial'] for c in self.many.show(user)['certificates'] if c['status'] == 'active'] not in ([], [serial]), 120,
                   'it has another one')

    def test_no_address_is_ever_a_label(self):
        user = self.active()
        self.send(user)
        for name in SOCKETS:
            self.assertNotIn('@', ask(SOCKETS[name])[1])
            self.assertNotIn(user, ask(SOCKETS[name])[1])


class Health(MetricsCase):
    def state(self, program, path):
        return ask(SOCKETS[program], path)

    def good(self):
        for name in SOCKETS:
            for path in ('/healthz', '/readyz'):
                self.until(lambda: self.state(name, path) == (200, 'ok\n'), 60, '%s of %s is ok' % (path, name))

    def test_all_is_well(self):
        self.good()
        for name, where in SOCKETS.items():
            self.assertEqual(ask(where, '/')[0], 404)
            self.assertEqual(ask(where, raw=b'DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n')[0], 405)
            self.assertEqual(os.stat(where).st_mode & 0o7777, 0o660, name)

    @sqlite_only('its file is gone')
    def test_not_ready_without_the_store(self):
        store = self.p.config['store']['path']
        self.good()
        os.rename(store, store + '.away')
        try:
            for name in SOCKETS:
                status, text = self.state(name, '/readyz')
                self.assertEqual(status, 503, name)
                self.assertRegex(text, r'\Alook at the store: the store cannot be read, or its file was removed or replaced\n\Z')
                self.assertEqual(self.state(name, '/healthz')[0], 200, name)
                self.until(lambda: self.number(name, 'enroll_milter_store_up') == 0, 60, 'store_up of %s is 0' % name)
            self.assertIsNone(self.number('enrolld', 'enroll_milter_enrollments'), 'what is not known is not told')
        finally:
            os.rename(store + '.away', store)
        self.p.restart()
        self.good()

    def test_a_milter_socket_that_is_gone(self):
        path = self.p.config['milter']['inbound-socket'].removeprefix('unix:')
        os.unlink(path)
        try:
            self.until(lambda: self.state('inbound', '/healthz')[0] == 503, 30, 'it is not well')
            self.assertRegex(self.state('inbound', '/healthz')[1], r'\Athe milter socket unix:\S+inbound.sock cannot be reached: .*\n\Z')
            self.assertEqual(self.state('inbound', '/readyz')[0], 503)
            self.assertEqual(self.state('outbound', '/readyz')[0], 200)
        finally:
            self.p.restart('inbound')
        self.good()

    def test_a_frozen_process_says_nothing(self):
        for name in SOCKETS:
            self.p.daemons[name].freeze()
            self.until(lambda: self.stopped(self.p.daemons[name].process.pid), 60, '%s stands still' % name)
            try:
                with self.assertRaises(TimeoutError):
                    ask(SOCKETS[name], '/healthz', seconds=2)
            finally:
                self.p.daemons[name].thaw()
        self.good()

    def test_a_scheduler_that_stands_still(self):
        """Everything else answers; the first thread of enrolld, which is the scheduler, does not turn."""
        self.good()
        with thread_stopped(self.p.daemons['enrolld'].process.pid):
            self.until(lambda: self.state('enrolld', '/healthz')[0] == 503, 120, 'it is not well')
            self.assertRegex(self.state('enrolld', '/healthz')[1], r'\Athe scheduler has not turned for \d+ seconds; restart enrolld\n\Z')
            self.assertEqual(self.state('enrolld', '/readyz')[0], 200, 'enrollctl is served')
            self.assertEqual(self.state('outbound', '/healthz')[0], 200)
            self.p.ctl('status')
        self.good()

    @staticmethod
    def stopped(pid):
        """Every thread of it."""
        for task in os.listdir('/proc/%d/task' % pid):
            with open('/proc/%d/task/%s/stat' % (pid, task)) as file:
                if file.read().rpartition(')')[2].split()[0] != 'T':
                    return False
        return True

    def test_a_reload_keeps_numbers_and_socket(self):
        before = self.number('enrolld', 'process_start_time_seconds')
        seen = self.number('outbound', 'enroll_milter_mails_seen_total')
        self.p.configure(mode='enroll', metrics={'outbound': 'unix:' + DIR + '/metrics/other.sock'})
        self.addCleanup(self.p.restart)
        self.addCleanup(self.p.configure, mode='sign', metrics={'outbound': 'unix:' + SOCKETS['outbound']})
        for name in SOCKETS:
            self.p.signal(name, signal.SIGUSR1)
        for name in SOCKETS:
            self.until(lambda: self.number(name, 'enroll_milter_mode', mode='enroll') == 1, 60, '%s has the new mode' % name)
        self.until(lambda: 'event=metrics_unchanged' in self.log('outbound'), 30, 'it says that it takes a restart')
        self.assertFalse(os.path.exists(DIR + '/metrics/other.sock'))
        self.assertEqual(self.number('outbound', 'enroll_milter_mails_seen_total'), seen)
        self.assertEqual(self.number('enrolld', 'process_start_time_seconds'), before)
        self.assertNotIn('event=metrics_unchanged', self.log('inbound'))
        self.good()

    def log(self, name):
        with open(self.p.log_path(name), encoding='utf-8', errors='replace') as file:
            return file.read()

    def test_a_socket_that_cannot_be_opened_keeps_no_mail(self):
        user = self.active()
        self.p.configure(metrics={'outbound': 'unix:/nowhere/outbound.sock'})
        self.addCleanup(self.p.restart, 'outbound')
        self.addCleanup(self.p.configure, metrics={'outbound': 'unix:' + SOCKETS['outbound']})
        self.p.restart('outbound')
        self.assertTrue(mailtools.is_signed(self.send(user)))
        self.assertIn('event=metrics_failed', self.log('outbound'))
        self.assertFalse(os.path.exists(SOCKETS['outbound']), 'the old one went with its process')

    def test_tcp_is_loopback_or_refused(self):
        self.p.configure(metrics={'inbound': 'inet:9273@192.0.2.10'})
        self.addCleanup(self.p.restart, 'inbound')
        self.addCleanup(self.p.configure, metrics={'inbound': 'unix:' + SOCKETS['inbound']})
        done = self.p.ctl_run('config', 'show', user='root')
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, r'metrics\.inbound.*loopback')
        self.p.configure(metrics={'inbound': 'inet:9273@127.0.0.1'})
        self.p.restart('inbound')
        with socket.create_connection(('127.0.0.1', 9273), 30) as client:
            client.sendall(b'GET /readyz HTTP/1.0\r\n\r\n')
            self.assertRegex(client.recv(65536), rb'\AHTTP/1\.. 200 ')


class Hostile(MetricsCase):
    def connect(self, where):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(30)
        client.connect(where)
        return client

    def test_others_than_the_group_cannot_connect(self):
        code = 'import socket,sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])'
        for where in SOCKETS.values():
            argv = service.as_user('mallory', ['/usr/bin/python3', '-c', code, where])
            done = subprocess.run(argv, capture_output=True, text=True)
            self.assertIn('PermissionError', done.stderr)

    def test_large_requests_end_at_once(self):
        for raw in (b'GET /metrics HTTP/1.1\r\nHost: x\r\nX: ' + b'a' * 10 ** 6 + b'\r\n\r\n', b'GET /' + b'a' * 10 ** 6 + b' HTTP/1.1\r\n\r\n',
                    b'GET /metrics HTTP/1.1\r\n' + b'X: y\r\n' * 10 ** 5 + b'\r\n',
                    b'GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n' + b'a' * 10 ** 5,
                    b'POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n' + b'a' * 10 ** 5,
                    b'\0' * 10 ** 5, b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'):
            try:
                status = ask(SOCKETS['outbound'], raw=raw)[0]
            except (BrokenPipeError, ConnectionResetError):
                status = None
            self.assertIn(status, (None, 400, 405, 411, 413, 414, 431, 505), raw[:40])
        self.assertEqual(ask(SOCKETS['outbound'], '/healthz')[0], 200)

    def test_the_crowd_and_the_slow_do_not_hinder_mail(self):
        user = self.active()
        self.send(user)
        began = time.monotonic()
        self.assertTrue(all(mailtools.is_signed(self.send(user)) for _ in range(5)))
        alone = time.monotonic() - began
        for name in ('outbound', 'enrolld'):
            where = SOCKETS[name]
            crowd, stop = [], threading.Event()
            for _ in range(80):
                client = socket.socket(socket.AF_UNIX)
                client.setblocking(False)
                try:
                    client.connect(where)
                except BlockingIOError:
                    pass
                crowd.append(client)

            def trickle():
                while not stop.wait(0.5):
                    for client in crowd:
                        try:
                            client.send(b'G')
                        except OSError:
                            pass
            thread = threading.Thread(target=trickle, daemon=True)
            thread.start()
            try:
                began = time.monotonic()
                self.assertTrue(all(mailtools.is_signed(self.send(user)) for _ in range(5)))
                self.assertLess(time.monotonic() - began, 5 * alone + 10, name)
                self.p.ctl('status')
                # who trickles loses the place, and monitoring gets one while they go on trying
                self.assertEqual(ask(where, '/healthz', seconds=60)[0], 200, name)
            finally:
                stop.set()
                thread.join()
                for client in crowd:
                    client.close()
        self.assertGreater(self.number('outbound', 'enroll_milter_mails_total', verdict='signed'), 15)


class Promtool(MetricsCase):
    def promtool(self, *argv, stdin=None, cwd=None):
        self.assertTrue(shutil.which('promtool'), 'package prometheus (tests/packages.txt) is missing')
        done = subprocess.run(['promtool', *argv], input=stdin, capture_output=True, text=True, cwd=cwd)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_metrics(self):
        self.send(self.active())
        for where in SOCKETS.values():
            self.assertEqual(self.promtool('check', 'metrics', stdin=ask(where)[1]), '', 'promtool has nothing to say')

    def test_rules(self):
        self.assertIn('SUCCESS', self.promtool('check', 'rules', ALERTS))
        self.promtool('check', 'config', '--syntax-only', TOP + '/examples/prometheus/scrape.yml')

    def test_rules_fire_when_they_should(self):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(ALERTS, folder)
            shutil.copy(TOP + '/tests/e2e/alerts.test.yml', folder)
            self.assertIn('SUCCESS', self.promtool('test', 'rules', 'alerts.test.yml', cwd=folder))

    def test_the_queries_of_the_dashboard(self):
        """Understood by Prometheus, and about metrics that are served."""
        with open(TOP + '/examples/grafana/dashboard.json', encoding='utf-8') as file:
            panels = json.load(file)['panels']
        queries = [t['expr'].replace('$job', 'enroll-milter') for p in panels for t in p['targets']]
        self.assertGreater(len(queries), 20)
        rules = ['groups: [{name: dashboard, rules: [\n']
        rules += ['  {record: "dashboard:query:%d", expr: %s},\n' % (n, json.dumps(q)) for n, q in enumerate(queries)]
        with tempfile.NamedTemporaryFile('w', suffix='.yml') as file:
            file.write(''.join(rules) + ']}]\n')
            file.flush()
            self.promtool('check', 'rules', file.name)
        self.send(self.active())
        served = {name for program in SOCKETS for name, _labels in self.numbers(program)} | {'up'}
        asked = {n for q in queries for n in re.findall(r'\b(?:enroll_milter_\w+|process_\w+|up)\b', q)}
        self.assertEqual(asked - served - {'enroll_milter_ca_last_failure_timestamp_seconds'}, set())
