#!/usr/bin/python3
"""Private clusters of PostgreSQL 15 for tests: nothing of the machine's own is used, changed or left.

    python3 tests/postgresql.py run [--fsync] [--log FILE] -- COMMAND...

starts one with the product's database roles, runs COMMAND with $ENROLL_TEST_POSTGRESQL (a libpq connection string without
dbname, %r in it is the role: "host=/dir port=5999 user=enroll_%r"), stops it and ends with COMMAND's exit code.

    with Cluster(listen=['192.0.2.61'], names=['db1.corp.example'], fsync=True) as primary:
        primary.psql('SELECT 1')
        standby = primary.replica(listen=['192.0.2.62'], names=['db2.corp.example'], synchronous=True)
        primary.kill9()
        standby.promote()

By the Unix socket one is who one is (peer, with a map of accounts to roles); by TCP there is TLS alone, with a password or a
client certificate of a small CA.  A server ends with the process that started it, whatever ends that, only where it says so (tied).
"""

import argparse
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

BIN = '/usr/lib/postgresql/15/bin'
ROLES = ('outbound', 'inbound', 'enrolld', 'admin', 'owner', 'helpdesk')
SUPER, REPLICA = 'enroll_super', 'enroll_replica'
PORT = 5999
FAST = {'fsync': 'off', 'full_page_writes': 'off'}     # it outlives kill -9 all the same, but not the machine


class Trouble(Exception):
    pass


def why_not():
    """A sentence saying why there can be no cluster here, or None."""
    lacking = [p for p in ('initdb', 'postgres', 'pg_basebackup', 'pg_ctl', 'psql') if not os.access(os.path.join(BIN, p), os.X_OK)]
    return 'not installed: postgresql-15 (%s)' % ', '.join(lacking) if lacking else None


def account():
    """Who runs the server: never root."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    for name in ('postgres', 'nobody'):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            pass
    raise Trouble('no account postgres or nobody: PostgreSQL refuses to be run by root')


def environment():
    """Without HOME: libpq looks there for certificates, and fails where it may not look."""
    env = {k: v for k, v in os.environ.items() if not k.startswith('PG') and k != 'HOME'}
    return dict(env, LC_ALL='C.UTF-8', PATH=BIN + ':' + os.environ.get('PATH', '/usr/bin:/bin'))


def run(*argv, check=True, **more):
    done = subprocess.run(argv, capture_output=True, text=True, env=environment(), **more)
    if check and done.returncode != 0:
        raise Trouble('%s: %d\n%s%s' % (' '.join(argv), done.returncode, done.stdout, done.stderr))
    return done


def literal(value):
    """A Python value in SQL."""
    if value is None:
        return 'NULL'
    if isinstance(value, bytes):
        return "'\\x%s'::bytea" % value.hex()
    if isinstance(value, (bool, int, float)):
        return str(int(value) if isinstance(value, bool) else value)
    return "'%s'" % str(value).replace("'", "''")


def filled(text, values):
    """SQL with its question marks replaced, which stand nowhere else in it."""
    parts = text.split('?')
    if len(parts) != len(values) + 1:
        raise ValueError('%d values for %r' % (len(values), text))
    return ''.join(p + v for p, v in zip(parts, [literal(v) for v in values] + ['']))


class Ca:
    """A small CA for the servers of one test and their clients."""

    def __init__(self, folder):
        self.folder = folder
        self.root = folder + '/ca.pem'
        os.makedirs(folder)
        os.chmod(folder, 0o755)
        run('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '3650', '-subj', '/CN=Test CA of databases',
            '-keyout', folder + '/ca.key', '-out', self.root)

    def issue(self, name, subject, alternatives=(), owner=None):
        """(certificate, key): names that look like addresses are addresses."""
        path = '%s/%s' % (self.folder, name)
        names = ', '.join(('IP:' if re.fullmatch(r'[0-9.]+|.*:.*', a) else 'DNS:') + a for a in alternatives)
        with open(path + '.ext', 'w') as file:
            file.write('basicConstraints = CA:false\n' + ('subjectAltName = %s\n' % names if names else ''))
        run('openssl', 'req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=' + subject, '-keyout', path + '.key', '-out', path + '.csr')
        run('openssl', 'x509', '-req', '-in', path + '.csr', '-CA', self.root, '-CAkey', self.folder + '/ca.key', '-CAcreateserial', '-days', '3650',
            '-extfile', path + '.ext', '-out', path + '.pem')
        os.chmod(path + '.key', 0o600)
        if owner and os.geteuid() == 0:
            shutil.chown(path + '.key', owner)
        return path + '.pem', path + '.key'


def password_of(role):
    return 'pw-' + role


class Cluster:
    """One server.  folder: a new one in memory where that is offered.  listen, names: TCP with TLS on these addresses, for these
    names.  fsync: it
    outlives the machine, too; else it is fast.  accounts: {account: roles} for the Unix socket (default: who
    started it is everybody).  group: whose members may come to the socket.  prefix: a command to run the server by
    (ip netns exec ...).  settings: of postgresql.conf.  tied: the server ends with the thread that started it."""

    def __init__(self, folder=None, port=PORT, listen=(), names=(), fsync=False, accounts=None, group=None, prefix=(), settings=None, ca=None,
                 name='primary', tied=False):
        self.own_folder = folder is None
        base = '/dev/shm' if os.path.isdir('/dev/shm') and os.access('/dev/shm', os.W_OK) else None
        self.folder = folder or tempfile.mkdtemp(prefix='enroll-pg-', dir=base)
        self.name, self.port, self.listen, self.names = name, port, list(listen), list(names)
        self.fsync, self.group, self.prefix, self.tied = fsync, group, list(prefix), tied
        self.accounts = accounts or {}
        self.settings = settings or {}
        self.data, self.sockets, self.log = self.folder + '/data', self.folder + '/socket', self.folder + '/log'
        self.user = account()
        self.ca = ca
        self.process = None

    # -- making ----------------------------------------------------------

    def __enter__(self):
        return self.start()

    def __exit__(self, *_exception):
        self.destroy()

    def _as_server(self, argv, tied=False):
        if os.geteuid() != 0:
            return argv
        return ['setpriv', '--reuid', self.user, '--regid', str(pwd.getpwnam(self.user).pw_gid), '--clear-groups'] + (
            ['--pdeathsig', 'INT'] if tied else []) + ['--'] + argv

    def _own(self, path, mode, group=None):
        if os.geteuid() == 0:
            shutil.chown(path, self.user, group or pwd.getpwnam(self.user).pw_gid)
        os.chmod(path, mode)

    def _folders(self):
        os.makedirs(self.folder, exist_ok=True)
        self._own(self.folder, 0o711)
        for path, mode, group in ((self.data, 0o700, None), (self.sockets, 0o750 if self.group else 0o700, self.group)):
            os.makedirs(path)
            self._own(path, mode, group)
        with open(self.log, 'ab'):
            pass
        self._own(self.log, 0o644)

    def make(self):
        """The cluster with its roles, not running.  It sorts as people do (ICU), as most real ones."""
        self._folders()
        run(*self._as_server([BIN + '/initdb', '-D', self.data, '-U', SUPER, '--encoding=UTF8', '--locale=C.UTF-8', '--locale-provider=icu',
                              '--icu-locale=en', '--no-sync', '--no-instructions', '-A', 'peer']), cwd='/')
        self._configure()
        self._roles()

    def _single(self, sql):
        """Before it runs: no connection can be made without a role."""
        run(*self._as_server([BIN + '/postgres', '--single', '-D', self.data, '-c', 'log_min_messages=fatal', 'postgres']), input=sql, cwd='/')

    def _roles(self):
        lines = ["CREATE ROLE enroll_%s LOGIN PASSWORD '%s'" % (r, password_of('enroll_' + r)) for r in ROLES]
        lines.append("CREATE ROLE %s LOGIN REPLICATION PASSWORD '%s'" % (REPLICA, password_of(REPLICA)))
        self._single('\n'.join(lines) + '\n')

    def _tls(self):
        if self.ca is None:
            self.ca = Ca(self.folder + '/ca')
        return self.ca.issue('server-' + self.name, (self.names or self.listen)[0], self.names + self.listen, owner=self.user)

    def _configure(self):
        wanted = {
            'port': self.port, 'unix_socket_directories': self.sockets, 'listen_addresses': ','.join(self.listen),
            'max_connections': 300, 'shared_buffers': '64MB', 'logging_collector': 'off', 'log_line_prefix': '%m [%p] %u@%d %a ',
            'jit': 'off', 'dynamic_shared_memory_type': 'mmap', 'wal_level': 'replica', 'max_wal_senders': 10, 'hot_standby': 'on', 'wal_keep_size': '256MB',
            'cluster_name': self.name, 'password_encryption': 'scram-sha-256', **({} if self.fsync else FAST),
        }
        if self.listen:
            certificate, key = self._tls()
            wanted.update(ssl='on', ssl_cert_file=certificate, ssl_key_file=key, ssl_ca_file=self.ca.root)
        wanted.update(self.settings)
        with open(self.data + '/postgresql.conf', 'w') as file:
            file.writelines("%s = '%s'\n" % (k, str(v).replace("'", "''")) for k, v in wanted.items())
        with open(self.data + '/pg_hba.conf', 'w') as file:
            file.write('local all,replication all peer map=test\nhostssl all,replication all all scram-sha-256\n')
        everybody = [SUPER, REPLICA] + ['enroll_' + r for r in ROLES]
        accounts = {'root': everybody, self.user: everybody, **{a: ['enroll_' + r for r in roles] for a, roles in self.accounts.items()}}
        with open(self.data + '/pg_ident.conf', 'w') as file:
            file.writelines('test %s %s\n' % (a, r) for a, roles in accounts.items() for r in roles)
        for name in ('postgresql.conf', 'pg_hba.conf', 'pg_ident.conf'):
            self._own(self.data + '/' + name, 0o600)

    def hba(self, lines):
        """Other rules for who may come, at once: client certificates are 'hostssl all all all cert'."""
        with open(self.data + '/pg_hba.conf', 'w') as file:
            file.write('local all,replication all peer map=test\n' + lines + '\n')
        self.reload()

    # -- life ------------------------------------------------------------

    def start(self, wait=True):
        if not os.path.exists(self.data + '/PG_VERSION'):
            self.make()
        with open(self.log, 'ab') as log:
            argv = self.prefix + self._as_server([BIN + '/postgres', '-D', self.data], self.tied)
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd='/', env=environment(), start_new_session=True)
        if wait:
            self.wait()
        return self

    @property
    def pid(self):
        return self.process.pid if self.process else None

    def running(self):
        return self.process is not None and self.process.poll() is None

    def answers(self):
        return self.running() and run(BIN + '/psql', *self._where(), '-Atc', 'SELECT 1', 'postgres', check=False).returncode == 0

    def wait(self, seconds=120):
        """Until it answers."""
        self._until(self.answers, seconds, 'an answer', alive=True)

    def _until(self, question, seconds, what, alive=False):
        end = time.monotonic() + seconds
        while not question():
            if alive and not self.running():
                raise Trouble('%s has ended\n%s' % (self.name, self.tail()))
            if time.monotonic() > end:
                raise Trouble('not within %d s: %s of %s\n%s' % (seconds, what, self.name, self.tail()))
            time.sleep(0.05)

    def tail(self, lines=20):
        with open(self.log, 'rb') as file:
            return '\n'.join(file.read().decode('utf-8', 'replace').splitlines()[-lines:])

    def stop(self, mode='fast'):
        """smart: waits for clients; fast; immediate: as after a crash."""
        if self.running():
            self.process.send_signal({'smart': signal.SIGTERM, 'fast': signal.SIGINT, 'immediate': signal.SIGQUIT}[mode])
            self.process.wait(120)
        self.process = None

    def restart(self, mode='fast'):
        self.stop(mode)
        return self.start()

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def _family(self):
        found = []
        for pid in [p for p in os.listdir('/proc') if p.isdigit()]:
            try:
                with open('/proc/%s/stat' % pid) as file:
                    if int(file.read().rpartition(')')[2].split()[1]) == self.pid:
                        found.append(int(pid))
            except OSError:
                pass
        return found

    def signal_all(self, number):
        for pid in [self.pid] + self._family():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def kill9(self):
        """All of its processes at one moment: what a machine that loses its power does to it."""
        if self.running():
            self.process.send_signal(signal.SIGSTOP)        # it would start no child meanwhile
            self.signal_all(signal.SIGKILL)
            self.process.wait(60)
        self.process = None

    def freeze(self):
        """Connections are taken by the kernel, and nobody answers."""
        self.signal_all(signal.SIGSTOP)

    def thaw(self):
        self.signal_all(signal.SIGCONT)

    def destroy(self):
        self.stop('immediate')
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    # -- questions -------------------------------------------------------

    def connection(self, user='enroll_%r', database=None, tcp=None, **more):
        """A libpq connection string: by the Unix socket, or to these hosts by TCP with everything verified."""
        parts = {'host': tcp or self.sockets, 'port': self.port, 'user': user, 'dbname': database}
        if tcp:
            parts.update(sslmode='verify-full', sslrootcert=self.ca.root)
        parts.update(more)
        return ' '.join('%s=%s' % (k, v) for k, v in parts.items() if v is not None)

    def _where(self):
        return ['-h', self.sockets, '-p', str(self.port), '-U', SUPER]

    def psql(self, sql, database='postgres', check=True, quiet=True):
        """Any SQL as superuser; what psql prints, without headings."""
        done = run(BIN + '/psql', *self._where(), '-XAtq' if quiet else '-XAt', '-v', 'ON_ERROR_STOP=1', '-d', database, input=sql, check=check, cwd='/')
        return done.stdout.rstrip('\n')

    def rows(self, sql, database='postgres', path=''):
        """What a SELECT finds, as a list of tuples; octets as bytes."""
        text = self.psql('%sSELECT coalesce(json_agg(found), \'[]\') FROM (%s) AS found;' % (path, sql.rstrip(' ;')), database)
        return [tuple(_octets(v) for _k, v in row) for row in json.loads(text, object_pairs_hook=list)]

    def database(self, name, owner='enroll_owner'):
        self.psql('CREATE DATABASE %s OWNER %s' % (name, owner))
        self.psql('REVOKE CONNECT, TEMPORARY ON DATABASE %s FROM PUBLIC; GRANT CONNECT ON DATABASE %s TO %s' % (name, name, ', '.join('enroll_' + r for r in ROLES)))

    def passfile(self, path, owner=None, roles=ROLES):
        """The passwords of these roles for libpq, for one account alone."""
        with open(path, 'w') as file:
            os.fchmod(file.fileno(), 0o600)
            file.writelines('*:*:*:%s:%s\n' % (r, password_of(r)) for r in ['enroll_' + r for r in roles])
        if owner:
            shutil.chown(path, owner)
        return path

    # -- a second one ----------------------------------------------------

    def replica(self, name='standby', port=None, listen=(), names=(), synchronous=False, prefix=(), folder=None):
        """A streaming replica, running, with a slot of its own; by TCP where both listen, else by the Unix socket.
        synchronous: a commit is there when it is told."""
        other = Cluster(folder, port or (self.port if listen and folder else self.port + 1), listen, names, self.fsync, self.accounts, self.group, prefix,
                        self.settings, self.ca, name, self.tied)
        other._folders()
        other.follow(self)
        if synchronous:
            self.synchronous('*')
        return other

    def follow(self, primary):
        """Made anew from the other's data and started as its replica."""
        self.kill9()
        shutil.rmtree(self.data)
        os.makedirs(self.data)
        self._own(self.data, 0o700)
        if primary.psql("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '%s'" % self.name) == '0':
            primary.psql("SELECT pg_create_physical_replication_slot('%s')" % self.name)
        by_tcp = primary.listen and self.listen
        secret = self.folder + '/replica.pass'
        with open(secret, 'w') as file:
            file.write('*:*:*:%s:%s\n' % (REPLICA, password_of(REPLICA)))
        self._own(secret, 0o600)
        where = primary.connection(REPLICA, tcp=(primary.names or primary.listen)[0] if by_tcp else None, application_name=self.name,
                                   passfile=secret if by_tcp else None)
        run(*self.prefix, *self._as_server([BIN + '/pg_basebackup', '-d', where, '-D', self.data, '-R', '-X', 'stream', '-S', self.name,
                                            '-c', 'fast', '--no-sync']), cwd='/')
        self._configure()
        self.start()

    def synchronous(self, names):
        """Which replicas a commit waits for ('' = none)."""
        self.psql("ALTER SYSTEM SET synchronous_standby_names = '%s';" % names)
        self.reload()
        self._until(lambda: self.psql('SHOW synchronous_standby_names') == names, 30, 'the new setting')

    def in_recovery(self):
        return self.psql('SELECT pg_is_in_recovery()') == 't'

    def caught_up(self, primary, seconds=120):
        """Until all that the primary has written by now is replayed here."""
        at = primary.psql('SELECT pg_current_wal_lsn()')
        self._until(lambda: self.psql("SELECT pg_last_wal_replay_lsn() >= '%s'" % at) == 't', seconds, 'the primary\'s writes', alive=True)

    def promote(self, seconds=120):
        """It is the primary from now on."""
        if self.psql('SELECT pg_promote(true, %d)' % seconds) != 't':
            raise Trouble('not promoted\n' + self.tail())


def _octets(value):
    return bytes.fromhex(value[2:]) if isinstance(value, str) and re.fullmatch(r'\\x([0-9a-f]{2})*', value) else value


def command(args):
    reason = why_not()
    if reason:
        print(reason, file=sys.stderr)
        return 69
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda n, _f: sys.exit(128 + n))
    with Cluster(fsync=args.fsync, tied=True) as cluster:
        env = dict(os.environ, ENROLL_TEST_POSTGRESQL=cluster.connection())
        try:
            return subprocess.run(args.command, env=env).returncode
        finally:
            if args.log:
                shutil.copyfile(cluster.log, args.log)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('run', choices=['run'])
    parser.add_argument('--fsync', action='store_true', help='it must outlive a crash of the machine: slower')
    parser.add_argument('--log', metavar='FILE', help="where the server's log goes")
    parser.add_argument('command', nargs='+')
    code = command(parser.parse_args())
    return code if code >= 0 else 128 - code


if __name__ == '__main__':
    sys.exit(main())
