"""A supervisor in little: starts a daemon of the product, speaks sd_notify(3) with it, keeps its sockets, and restarts it when it is silent.

    boss = supervise(product, 'outbound', watchdog=4)     # then product.start(), .stop() ... as ever
    boss.words                                            # [(monotonic time, {'READY': '1', ...})]
"""

import array
import os
import signal
import socket
import threading
import time

import service
from namespace import BASE, environment

FOLDER = BASE + '/notify'


class Supervised(service.Service):
    """A Service that is told what it would be told by systemd."""

    def __init__(self, plain, watchdog=None, keeps=True):
        super().__init__(plain.name, plain.argv, plain.user, plain.env, plain.cwd)
        self.watchdog, self.keeps = watchdog, keeps
        self.words, self.kept, self.restarts, self.reasons = [], {}, 0, []
        self._lock = threading.RLock()
        self._wanted = False
        os.makedirs(FOLDER, mode=0o755, exist_ok=True)
        self.path = '%s/%s' % (FOLDER, self.name)
        if os.path.exists(self.path):
            os.unlink(self.path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        os.chmod(self.path, 0o777)
        self._socket.settimeout(0.1)
        threading.Thread(target=self._listen, daemon=True).start()

    # -- life ------------------------------------------------------------

    def start(self):
        with self._lock:
            if self.running():
                return
            self._launch()
            self._wanted = True

    def _launch(self):
        env = dict(self.env, NOTIFY_SOCKET=self.path)
        script = 'exec "$@"'
        if self.watchdog:
            env['WATCHDOG_USEC'] = str(int(self.watchdog * 1e6))
            self.patience = self.watchdog
            script = 'export WATCHDOG_PID=$$; ' + script
        if self.keeps:
            env['FDSTORE'] = '4'
        name, fd = next(iter(self.kept.items()), (None, None))
        if fd is not None:
            env.update(LISTEN_FDS='1', LISTEN_FDNAMES=name)
            script = 'export LISTEN_PID=$$; ' + script
        argv = service.as_user(self.user, self.argv) if self.user else self.argv
        self._alive = time.monotonic()
        with open(self.log, 'ab') as log:
            self.process = service.subprocess.Popen(
                ['/bin/sh', '-c', script, 'sh'] + argv, stdin=service.subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.cwd,
                env=environment(**env), start_new_session=True, pass_fds=(3,) if fd is not None else (),
                preexec_fn=(lambda: os.dup2(fd, 3)) if fd is not None else None)

    def _end(self, number, seconds):
        self._wanted = False
        return super()._end(number, seconds)

    def close(self):
        self._wanted = False
        self._socket.close()
        for fd in self.kept.values():
            os.close(fd)
        self.kept = {}

    # -- listening -------------------------------------------------------

    def _listen(self):
        while True:
            try:
                data, extra, _flags, _from = self._socket.recvmsg(4096, socket.CMSG_SPACE(4 * 8))
                self._heard(data.decode(), extra)
            except TimeoutError:
                pass
            except OSError:
                return
            self._judge()

    def _heard(self, text, extra):
        words = dict(line.partition('=')[::2] for line in text.splitlines())
        fds = array.array('i')
        for level, kind, data in extra:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data[:len(data) - len(data) % fds.itemsize])
        with self._lock:
            self.words.append((time.monotonic(), words))
            if 'WATCHDOG_USEC' in words:
                self.patience = int(words['WATCHDOG_USEC']) / 1e6
            if 'WATCHDOG' in words or 'READY' in words:
                self._alive = time.monotonic()
            if words.get('FDSTORE') == '1' and self.keeps and words['FDNAME'] not in self.kept:
                self.kept[words['FDNAME']] = fds.pop(0)
            if words.get('FDSTOREREMOVE') == '1' and words['FDNAME'] in self.kept:
                os.close(self.kept.pop(words['FDNAME']))
        for fd in fds:
            os.close(fd)

    def _judge(self):
        """Silent for longer than agreed, or gone: it is started again."""
        with self._lock:
            if not self._wanted or not self.process:
                return
            if self.watchdog and self.running() and self.said('READY') and time.monotonic() - self._alive > self.patience:
                self.reasons.append('watchdog')
                service._signal_group(self.process.pid, signal.SIGKILL)
                self.process.wait()
            if not self.running():
                self.restarts += 1
                self._launch()

    # -- what was said ---------------------------------------------------

    def said(self, key, since=0):
        return [(at, w) for at, w in list(self.words) if key in w and at >= since]

    def order(self, since=0):
        """The states it told, in order: ['READY', 'RELOADING', 'READY', 'STOPPING']."""
        return [k for at, w in list(self.words) if at >= since for k in w if k in ('READY', 'RELOADING', 'STOPPING')]

    def status(self):
        told = self.said('STATUS')
        return told[-1][1]['STATUS'] if told else ''

    def gap(self, since, until):
        """The longest time between two signs of life."""
        times = [since] + [at for at, w in list(self.words) if 'WATCHDOG' in w and since <= at <= until] + [until]
        return max(b - a for a, b in zip(times, times[1:]))


def supervise(product, name, **more):
    """From the next start of this daemon on."""
    boss = Supervised(product._service(name), **more)
    product.daemons[name] = boss
    return boss


def unsupervise(product, name):
    product.daemons.pop(name).close()
