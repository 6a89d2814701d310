"""A server of the stage in the foreground, its log, and waiting without guesswork."""

import os
import signal
import socket
import struct
import subprocess
import time

from namespace import BASE, environment

LOGS = BASE + '/log'


def popen(argv, **more):
    return subprocess.Popen(argv, env=environment(), **more)


def until(question, seconds, what, every=0.02, say=None):
    """Ask until the answer is true; returns it. Generous deadlines: a machine may be busy.
    Somebody who sits in front of it may shorten them with $ENROLL_TEST_PATIENCE (seconds)."""
    end = time.monotonic() + min(seconds, float(os.environ.get('ENROLL_TEST_PATIENCE', seconds)))
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise TimeoutError('not within %d s: %s%s' % (seconds, what,
                                                          '\n' + say() if say else ''))
        time.sleep(every)
        every = min(every * 1.3, 0.5)


def listening(address, port, pid='self'):
    """In the network of that process: whether somebody listens, without a connection that would start a child there."""
    packed = '%08X' % struct.unpack('=I', socket.inet_aton(address))[0]
    wanted = {'%s:%04X' % (a, port) for a in (packed, '00000000')}
    with open('/proc/%s/net/tcp' % pid) as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return any(row[1] in wanted and row[3] == '0A' for row in rows)


def tail(path, lines=20):
    try:
        with open(path, 'rb') as file:
            text = file.read().decode('utf-8', 'replace')
    except OSError:
        return ''
    return '\n'.join(text.splitlines()[-lines:])


class Service:
    """One server. user: run as that account, with its groups; prefix: by a command that becomes it."""

    def __init__(self, name, argv, user=None, env=None, cwd=BASE, output=None, prefix=()):
        self.name = name
        self.argv = list(argv)
        self.user = user
        self.env = env or {}
        self.cwd = cwd
        self.prefix = list(prefix)
        self.log = '%s/%s.log' % (LOGS, output or name)
        self.process = None

    def start(self):
        if self.running():
            return
        argv = self.prefix + (as_user(self.user, self.argv) if self.user else self.argv)
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, cwd=self.cwd,
                                            env=environment(**self.env),
                                            start_new_session=True)

    @property
    def pid(self):
        return self.process.pid if self.process else None

    def running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        if self.running():
            self.process.send_signal(number)

    def stop(self, seconds=60):
        """SIGTERM, and wait. Returns the exit code (negative: a signal ended it)."""
        return self._end(signal.SIGTERM, seconds)

    def kill9(self):
        return self._end(signal.SIGKILL, 60)

    def _end(self, number, seconds):
        if self.process is None:
            return None
        if self.running():
            if number == signal.SIGKILL:
                _signal_group(self.process.pid, number)
            else:
                self.process.send_signal(number)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            _signal_group(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise TimeoutError('%s did not end within %d s of signal %d\n%s'
                               % (self.name, seconds, number, self.tail()))
        self.process = None
        return code

    def freeze(self):
        """Accept and say nothing: the kernel takes connections, nobody reads them."""
        _signal_group(self.process.pid, signal.SIGSTOP)

    def thaw(self):
        _signal_group(self.process.pid, signal.SIGCONT)

    def tail(self, lines=20):
        return tail(self.log, lines)

    def check(self):
        if not self.running():
            raise RuntimeError('%s has ended (%s)\n%s' % (
                self.name, self.process and self.process.returncode, self.tail()))
        return True

    def wait_port(self, address, port, seconds=60):
        until(lambda: self.check() and listening(address, port, self.pid), seconds,
              '%s listens on %s:%d' % (self.name, address, port), say=self.tail)


def _signal_group(pid, number):
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass


def as_user(user, argv):
    return ['setpriv', '--reuid', user, '--regid', user, '--init-groups', '--'] + list(argv)
