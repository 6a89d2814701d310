"""A private namespace for one stage: own mounts, network, processes, host name.

in_namespace(argv) runs a command inside one; killing it ends every process
started there.  prepare() is what the command calls first, inside: loopback and
addresses, tmpfs on /run, own /dev, /etc/hosts, resolv.conf, passwd and group.
Nothing of the host is written to: every change is a mount that only this
namespace sees.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading

BASE = '/run/stage'

GATEWAY = '192.0.2.10'
CA = '192.0.2.20'
OUTSIDE = '192.0.2.30'
RELAY = '192.0.2.40'
STRANGER = '192.0.2.50'

HOSTS = {
    'mx.corp.example': GATEWAY,
    'acme.ca.example': CA,
    'crl.ca.example': CA,
    'mx.outside.example': OUTSIDE,
    'exchange.corp.example': RELAY,
    'stranger.outside.example': STRANGER,
    'ldap.corp.example': '127.0.0.3',
}

# name: (uid, groups it is a member of besides its own)
USERS = {
    'enroll-out': (7101, ('enroll-milter',)),
    'enroll-in': (7102, ('enroll-milter',)),
    'enrolld': (7103, ('enroll-milter',)),
    'helpdesk1': (7111, ('enroll-helpdesk',)),
    'admin1': (7112, ('enroll-admin',)),
    'mallory': (7113, ()),
    'vmail': (7121, ()),
}
GROUPS = {'enroll-milter': 7201, 'enroll-admin': 7202, 'enroll-helpdesk': 7203}

PROGRAMS = ('unshare', 'mount', 'ip', 'postconf', 'opendkim', 'slapd', 'slapadd',
            'nsd', 'unbound', 'unbound-control', 'ldns-keygen', 'ldns-signzone',
            'dovecot', 'openssl', 'setpriv')
MODULES = ('dkim', 'aiosmtpd', 'dns', 'ldap3')

_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
_MARK = 'ENROLL_E2E_INSIDE'


def why_not():
    """A sentence saying why no stage can run here, or None."""
    import importlib.util
    import shutil
    if os.geteuid() != 0:
        return 'root is needed for a namespace with several users'
    lacking = [p for p in PROGRAMS if not shutil.which(p, path=_PATH)]
    lacking += ['python3-' + m for m in MODULES if not importlib.util.find_spec(m)]
    if lacking:
        return 'not installed: ' + ', '.join(lacking)
    tried = subprocess.run(['unshare', '-mnipu', '--fork', '--mount-proc', 'true'],
                           capture_output=True, text=True, env=environment())
    if tried.returncode != 0:
        return 'no namespaces here: ' + tried.stderr.strip()
    return None


def environment(**more):
    env = dict(os.environ, PATH=_PATH, LC_ALL='C.UTF-8')
    env.pop('PYTHONPATH', None)
    env.pop('PYTHONHOME', None)
    env.update(more)
    return env


def inside():
    return os.environ.get(_MARK) == '1'


def in_namespace(argv, **popen):
    """Start argv in a new namespace; returns the Popen. Killing it kills all."""
    init = [sys.executable, os.path.abspath(__file__), '--init'] + list(argv)
    return subprocess.Popen(
        ['unshare', '-mnipu', '--fork', '--mount-proc', '--kill-child=KILL'] + init,
        env=environment(**{_MARK: '1'}), **popen)


def _init(argv):
    """Process 1 of the namespace: run argv, reap everybody, end with argv."""
    child = subprocess.Popen(argv)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, _f: child.send_signal(n))
    while True:
        try:
            pid, status = os.wait()
        except InterruptedError:
            continue
        if pid == child.pid:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def run(*argv, check=True, **more):
    """subprocess.run with text output kept, and a readable failure."""
    more.setdefault('text', True)
    done = subprocess.run(argv, capture_output=True, env=environment(), **more)
    if check and done.returncode != 0:
        raise RuntimeError('%s: %d\n%s%s' % (' '.join(map(str, argv)), done.returncode,
                                             done.stdout, done.stderr))
    return done


def _bind(source, target):
    run('mount', '--bind', source, os.path.realpath(target))


def _private_dev():
    """/dev/log must be ours, and the host's /dev is one for all: an own tmpfs."""
    new = BASE + '/dev'
    os.makedirs(new)
    run('mount', '-t', 'tmpfs', '-o', 'mode=755', 'none', new)
    for name in ('null', 'zero', 'full', 'random', 'urandom', 'tty'):
        with open(new + '/' + name, 'w'):
            pass
        run('mount', '--bind', '/dev/' + name, new + '/' + name)
    for name in ('pts', 'shm', 'net'):
        os.mkdir(new + '/' + name)
    run('mount', '--rbind', '/dev/pts', new + '/pts')
    run('mount', '-t', 'tmpfs', '-o', 'mode=1777', 'none', new + '/shm')
    if os.path.exists('/dev/net/tun'):
        with open(new + '/net/tun', 'w'):
            pass
        run('mount', '--bind', '/dev/net/tun', new + '/net/tun')
    os.symlink('pts/ptmx', new + '/ptmx')
    for name, target in (('fd', '/proc/self/fd'), ('stdin', 'fd/0'),
                         ('stdout', 'fd/1'), ('stderr', 'fd/2')):
        os.symlink(target, new + '/' + name)
    run('mount', '--rbind', new, '/dev')


def _accounts():
    with open('/etc/passwd') as file:
        passwd = [l for l in file.read().splitlines() if l.split(':')[0] not in USERS]
    with open('/etc/group') as file:
        group = [l for l in file.read().splitlines()
                 if l.split(':')[0] not in USERS and l.split(':')[0] not in GROUPS]
    for name, (uid, _groups) in USERS.items():
        passwd.append('%s:x:%d:%d::/nonexistent:/bin/sh' % (name, uid, uid))
        group.append('%s:x:%d:' % (name, uid))
    for name, gid in GROUPS.items():
        group.append('%s:x:%d:' % (name, gid))
    for number, line in enumerate(group):
        fields = line.split(':')
        members = [m for m in fields[3].split(',') if m and m not in USERS]
        members += [u for u, (_id, groups) in USERS.items() if fields[0] in groups]
        group[number] = ':'.join(fields[:3] + [','.join(members)])
    _own('/etc/passwd', '\n'.join(passwd) + '\n')
    _own('/etc/group', '\n'.join(group) + '\n')


def _own(path, text):
    os.makedirs(BASE + '/etc', exist_ok=True)
    copy = BASE + '/etc/' + os.path.basename(path)
    with open(copy, 'w') as file:
        file.write(text)
    os.chmod(copy, 0o644)
    if not os.path.exists(path):        # nothing to mount over, nothing to hide
        return
    # /etc/resolv.conf may be a link into /run, which is an empty tmpfs by now
    _bind(copy, path)


def prepare():
    """Inside a fresh namespace: make it the stage's. Call once."""
    if not inside():
        raise RuntimeError('a stage is prepared inside its own namespace only')
    resolv = os.path.realpath('/etc/resolv.conf')
    run('mount', '--make-rprivate', '/')
    run('mount', '-t', 'tmpfs', '-o', 'mode=755', 'none', '/run')
    if os.path.isdir('/sys/fs') and os.access('/sys', os.R_OK):
        subprocess.run(['mount', '-t', 'sysfs', 'none', '/sys'], capture_output=True)
    os.makedirs(BASE + '/log')
    os.makedirs(BASE + '/tmp')
    os.chmod(BASE + '/tmp', 0o1777)
    if resolv.startswith('/run/'):
        os.makedirs(os.path.dirname(resolv), exist_ok=True)
        with open(resolv, 'w'):
            pass
    _private_dev()
    _accounts()
    _own('/etc/resolv.conf', 'nameserver 127.0.0.1\noptions timeout:5 attempts:2\n')
    _own('/etc/hosts', '127.0.0.1 localhost\n%s mx.corp.example mx\n' % GATEWAY)
    socket.sethostname('mx.corp.example')
    os.umask(0o022)
    commands = ['link set lo up']
    commands += ['addr add %s/32 dev lo' % a
                 for a in (GATEWAY, CA, OUTSIDE, RELAY, STRANGER)]
    done = subprocess.run(['ip', '-batch', '-'], input='\n'.join(commands) + '\n',
                          capture_output=True, text=True, env=environment())
    if done.returncode != 0:
        raise RuntimeError('ip: ' + done.stderr)


class SyslogReader:
    """Reads /dev/log; the lines are in .lines and in BASE/log/syslog."""

    def __init__(self, path='/dev/log'):
        self.lines = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        os.chmod(path, 0o666)
        self._file = open(BASE + '/log/syslog', 'a')
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            line = self._socket.recv(65536).decode('utf-8', 'replace').rstrip('\0\n')
            line = re.sub(r'^<\d+>', '', line)
            self.lines.append(line)
            self._file.write(line + '\n')
            self._file.flush()


if __name__ == '__main__' and sys.argv[1:2] == ['--init']:
    _init(sys.argv[2:])
