"""Who used the processor: CPU seconds by part, of all processes of this namespace, those that have ended included.

    before = shares.Shares()
    ...
    shares.Shares() - before      {'enrolld': 1.23, 'PostgreSQL': 0.8, ...}
"""

import os

TICK = os.sysconf('SC_CLK_TCK')
POSTFIX = {'master', 'smtpd', 'qmgr', 'cleanup', 'smtp', 'lmtp', 'pickup', 'trivial-rewrite', 'proxymap', 'anvil', 'tlsmgr', 'scache', 'local', 'virtual',
           'bounce', 'error', 'showq', 'postlogd', 'dnsblog', 'verify', 'smtp-source', 'smtp-sink', 'sendmail', 'postdrop', 'flush'}
DIRECTORY, DNS = {'slapd'}, {'unbound', 'nsd'}


def part_of(name, line):
    """Which part a process belongs to, by its name and command line."""
    if name == 'postgres' or name.startswith('postgres:'):
        return 'PostgreSQL'
    if b'smimeca.py' in line:
        return 'test CA'
    if name == 'enroll-milter':
        return 'outbound' if b'outbound' in line else 'inbound'
    for part, names in (('Postfix', POSTFIX), ('directory', DIRECTORY), ('DNS', DNS), ('enrolld', {'enrolld'}), ('OpenDKIM', {'opendkim'})):
        if name in names:
            return part
    if line.startswith(b'dovecot') or name in ('dovecot', 'auth', 'anvil', 'config', 'stats', 'imap-login', 'imap', 'log'):
        return 'Dovecot'
    return 'the bench itself' if name.startswith('python') else 'other'


def processes():
    """(pid, name, command line, CPU ticks with those of children that have ended)"""
    for pid in [p for p in os.listdir('/proc') if p.isdigit()]:
        try:
            with open('/proc/%s/stat' % pid) as file:
                text = file.read()
            with open('/proc/%s/cmdline' % pid, 'rb') as file:
                line = file.read()
        except OSError:
            continue
        fields = text.rpartition(')')[2].split()
        yield int(pid), text.partition('(')[2].rpartition(')')[0], line, sum(int(f) for f in fields[11:15])


class Shares(dict):
    def __init__(self, found=None):
        super().__init__(found or {})
        if found is None:
            for _pid, name, line, ticks in processes():
                part = part_of(name, line)
                self[part] = self.get(part, 0) + ticks / TICK

    def __sub__(self, before):
        return Shares({part: max(0, seconds - before.get(part, 0)) for part, seconds in self.items()})

    def __truediv__(self, number):
        return Shares({part: seconds / number for part, seconds in self.items()})

    def total(self):
        return sum(self.values())

    def table(self, factor=1000, unit='ms'):
        """The largest first."""
        rows = sorted(((s, p) for p, s in self.items() if s > 0), reverse=True)
        return ', '.join('%s %.1f %s (%d %%)' % (p, s * factor, unit, round(100 * s / self.total())) for s, p in rows)
