"""Stores without the product around them: drive_store processes, and a relay on the way to PostgreSQL that loses what it is told to lose."""

import os
import select
import socket
import subprocess
import threading
import time

from stage_postgresql import postgresql

BUILD = os.environ.get('ENROLL_BUILD', '')
DRIVE = os.path.join(BUILD, 'tests', 'unit', 'drive_store')


def why_not():
    if not os.access(DRIVE, os.X_OK):
        return 'no %s (ENROLL_BUILD names the build folder)' % DRIVE
    return postgresql.why_not()


class Driver:
    """One drive_store process.  ask() gives (class, milliseconds, words); it must end with 0: sanitizers report by exit code."""

    def __init__(self, case, connection, role, busy_ms=1000, well=True):
        self.case, self.role = case, role
        self.process = subprocess.Popen([DRIVE, connection, role, str(busy_ms)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=postgresql.environment())
        case.addCleanup(self.close)
        if well and role != 'create':
            said = self.answer()
            case.assertEqual(said[0], 'ok', said)

    def send(self, line):
        self.process.stdin.write(line + '\n')
        self.process.stdin.flush()

    def answer(self, seconds=120):
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            self.process.kill()
            self.case.fail('%s hangs' % self.role)
        line = self.process.stdout.readline()
        self.case.assertTrue(line, '%s died' % self.role)
        what, ms, words = line.rstrip('\n').split(' ', 2) if line.count(' ') > 1 else (line.split() + [''])[:3]
        return what, int(ms), words

    def ask(self, line):
        self.send(line)
        return self.answer()

    def good(self, line):
        """What the answer says; it has to be a good one."""
        what, ms, words = self.ask(line)
        self.case.assertEqual(what, 'ok', '%s: %s: %s' % (self.role, line, words))
        return words

    def counter(self):
        return int(self.good('counter'))

    def figures(self, line=None):
        """Of crowd and settle."""
        if line:
            self.send(line)
        words = self.answer()[2].split(' ')
        return {k: int(v) for k, v in (w.split('=') for w in words if w.count('=') == 1)}, ' '.join(w for w in words if w.count('=') != 1)

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                code = self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                code = 'killed'
            self.process.stdout.close()
            self.case.assertEqual(code, 0, 'drive_store %s' % self.role)


def make_store(case, cluster, name):
    """A store in a database of its own; its store.connection."""
    cluster.database(name)
    where = cluster.connection(database=name)
    maker = Driver(case, where, 'create')
    case.assertEqual(maker.process.wait(60), 0, maker.process.stdout.read())
    return where


class Relay:
    """Between the client and the server's Unix socket.  swallow: nothing goes on in either direction, and nobody is told.
    cut_commit = 'before' or 'after': the next COMMIT is the end of its connection, kept back or passed on."""

    def __init__(self, cluster):
        self.target = '%s/.s.PGSQL.%d' % (cluster.sockets, cluster.port)
        self.folder = cluster.folder + '/relay'
        os.makedirs(self.folder, exist_ok=True)
        self.path = '%s/.s.PGSQL.%d' % (self.folder, cluster.port)
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.swallow, self.refuse, self.cut_commit, self.cuts = False, False, None, 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(64)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        self.listener.close()

    def connection(self, cluster, database):
        return cluster.connection(database=database).replace(cluster.sockets, self.folder)

    def _serve(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client):
        server = socket.socket(socket.AF_UNIX)
        try:
            if not self.swallow:
                server.connect(self.target)
            while True:
                ready = select.select([client, server] if not self.swallow else [], [], [], 0.02)[0]
                for side in ready:
                    data = side.recv(65536)
                    if not data or not self._pass(data, client, server, side is client):
                        return
        except OSError:
            pass
        finally:
            client.close()
            server.close()

    def _pass(self, data, client, server, to_server):
        cut = to_server and self.cut_commit and data.startswith(b'Q') and data.endswith(b'COMMIT\0')
        if not cut:
            (server if to_server else client).sendall(data)
            return True
        how, self.cut_commit = self.cut_commit, None
        self.cuts += 1
        if how == 'after':
            server.sendall(data)
            select.select([server], [], [], 30)     # it is done
        return False


def until(question, seconds):
    """Seconds it took; None: it never became true."""
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        if question():
            return time.monotonic() - began
        time.sleep(0.02)
    return None
