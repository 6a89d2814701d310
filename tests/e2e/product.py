"""The product on the stage: its configuration, its three daemons, enrollctl.

    product = Product(stage, mode='sign', certificate={'key-type': 'ec:p256'})
    product.start()
    product.ctl('list', user='admin1')

Binaries come from $ENROLL_BUILD.  Overrides are nested dictionaries, merged into
standard_config(); see examples/enroll-milter.conf for the keys.
"""

import contextlib
import copy
import json
import os
import pty
import re
import shlex
import shutil
import socket
import sqlite3
import subprocess
import unittest

import service
import stage_postfix
import stage_postgresql
from namespace import BASE, RELAY, environment, run
from stage_postgresql import postgresql

DIR = BASE + '/product'
ETC = DIR + '/etc'
PROGRAMS = ('enroll-milter', 'enrolld', 'enrollctl')
USERS = {'outbound': 'enroll-out', 'inbound': 'enroll-in', 'enrolld': 'enrolld'}
# What sanitizers and valgrind write: never to be seen, whatever a test is about.
REPORT = re.compile(r'^==\d+== ?(?!$)|WARNING: \w+Sanitizer|runtime error: ', re.M)
# What normal work never does either: the table of calls lacks one, or somebody else is at work.
DENIED = re.compile(r'^.* event=sandbox_(denied|ended|allowed) .*$', re.M)


def build_directory():
    """$ENROLL_BUILD, if the programs are there; else None."""
    folder = os.environ.get('ENROLL_BUILD')
    if folder and all(os.access(os.path.join(folder, p), os.X_OK) for p in PROGRAMS):
        return os.path.abspath(folder)
    return None


def require():
    """To be called by tests that need the product: skips without it."""
    if build_directory() is None:
        raise unittest.SkipTest('ENROLL_BUILD names no folder with the programs')


def sanitized():
    """Whether the programs are built with sanitizers, which need calls and memory of their own: no sandbox, no secure heap."""
    path = os.path.join(build_directory() or '', 'config.h')
    if not os.path.exists(path):
        return False
    with open(path) as file:
        return '#define BUILT_WITH_SANITIZERS 1' in file.read()


def sqlite_only(why):
    """What is about SQLite's file: a decorator for tests and classes."""
    return unittest.skipIf(stage_postgresql.wanted(), 'it is about SQLite: ' + why)


def libconfig(value, depth=0):
    """A Python value in the syntax of libconfig; a list of dictionaries becomes ( ... )."""
    pad = '  ' * depth
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, int):
        return str(value) if abs(value) < 2 ** 31 else '%dL' % value
    if isinstance(value, str):
        return '"%s"' % value.replace('\\', '\\\\').replace('"', '\\"').replace('\n', '\\n')
    if isinstance(value, dict):
        lines = ['%s  %s = %s;' % (pad, k, libconfig(v, depth + 1))
                 for k, v in value.items() if v is not None]
        return '{\n%s\n%s}' % ('\n'.join(lines), pad)
    if isinstance(value, (list, tuple)):
        items = [libconfig(v, depth + 1) for v in value]
        if any(isinstance(v, dict) for v in value):
            return '(\n%s  %s\n%s)' % (pad, (',\n%s  ' % pad).join(items), pad)
        return '[ %s ]' % ', '.join(items)
    raise TypeError(repr(value))


def document(config):
    return '\n'.join('%s = %s;' % (k, libconfig(v)) for k, v in config.items()
                     if v is not None) + '\n'


def merge(base, changes):
    """base with changes: dictionaries are merged, everything else replaced; None removes."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        key = key.replace('_', '-')
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merge(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def parse_line(line):
    """{key: value} of a key=value log line; quoted values are unquoted."""
    fields = {}
    for key, quoted, bare in re.findall(r'([A-Za-z0-9_.-]+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))', line):
        fields[key] = re.sub(r'\\(.)', r'\1', quoted) if quoted else bare
    return fields


class Failed(Exception):
    """enrollctl ended with an error: .code, .out, .err"""

    def __init__(self, argv, done):
        super().__init__('%s: %d\n%s%s' % (shlex.join(argv), done.returncode, done.stdout,
                                           done.stderr))
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr


class Product:
    """stage.product.  Another of the same stage has a folder of its own; prefix: what its programs are run by; label: in the names of its logs."""

    dir, etc, prefix, label = DIR, ETC, (), ''
    founder = None      # who made the store that this one comes to

    def __init__(self, stage, milters=True, **overrides):
        require()
        self.stage = stage
        self.build = build_directory()
        self.milters = milters
        self.config_file = self.etc + '/enroll-milter.conf'
        self.config = merge(self.standard_config(), overrides)
        self.env = {}
        self.daemons = {}
        self._prepared = False
        self.denied_expected = False    # a test that makes denied calls says so
        self.store_touched = False      # rows were changed behind the programs' back
        stage.product = self

    # -- configuration ---------------------------------------------------

    def standard_config(self):
        stage = self.stage
        return {
            'mode': 'sign',
            'cap-per-day': 0,
            'domains': ['corp.example'],
            'submission': [
                {'name': 'submission', 'daemons': ['ORIGINATING'], 'networks': [],
                 'require-login': True, 'vouch': 'directory', 'mta-clients': False},
                {'name': 'exchange', 'daemons': [], 'networks': [RELAY + '/32'],
                 'require-login': False, 'vouch': 'relay', 'own-mx': ['mx.corp.example'],
                 'mta-clients': True},
            ],
            'ca': {
                'name': 'example-ca',
                'directory-url': stage.ca.directory_url,
                'ca-file': self.etc + '/ca-https.pem',
                'anchor-file': self.etc + '/anchors.pem',
                'contact': 'mailto:postmaster@corp.example',
                'accept-terms': True,
                'account-key': self.etc + '/account.key',
                'trigger-grace': 5,
                'reply-delay': 0,
                'poll-seconds': 1,
            },
            'certificate': {'validation': 'mailbox', 'generation': 'strict', 'usage': 'sign',
                            'key-type': 'rsa:2048'},
            'directory': {
                'urls': [stage.ldap.uri],
                'starttls': True,
                'ca-file': self.etc + '/ldap-ca.pem',
                'bind': 'simple',
                'bind-dn': stage.ldap.service_dn,
                'password-file': self.etc + '/ldap.password',
                'base': stage.ldap.suffix,
                'cache-seconds': 1,
            },
            'dns': {'servers': ['%s@53' % stage.dns.resolver],
                    'trust-anchor-file': stage.dns.anchor, 'dnssec': True},
            'store': self.standard_store(),
            'master': {'certificate': self.etc + '/master.pem', 'key': self.etc + '/master.key'},
            'reply': {'host': '127.0.0.1', 'port': 10025, 'report-address': stage_postfix.REPORT_ADDRESS},
            'milter': {
                'outbound-socket': 'unix:%s/enroll-milter/outbound.sock' % stage.postfix.queue,
                'inbound-socket': 'unix:%s/enroll-milter/inbound.sock' % stage.postfix.queue,
                'socket-group': 'postfix',
                'spool-directory': self.dir + '/spool',
            },
            'control': {'socket': self.dir + '/run/control.sock', 'instance-file': self.dir + '/lib/instance'},
            'users': {'outbound': 'enroll-out', 'inbound': 'enroll-in', 'enrolld': 'enrolld',
                      'group': 'enroll-milter'},
            'log': {'target': 'stderr', 'level': 'debug'},
            # valgrind knows no filters, and makes calls of its own
            'sandbox': 'off' if 'valgrind' in os.environ.get('ENROLL_TEST_WRAPPER', '') else 'on',
        }

    def standard_store(self):
        if self.stage.postgresql:
            # the folder of path is where a milter notes what it runs with
            return {'type': 'postgresql', 'path': self.dir + '/lib/store.db', 'connection': self.stage.postgresql.connection()}
        return {'type': 'sqlite', 'path': self.dir + '/lib/store.db'}

    def write_config(self):
        with open(self.config_file, 'w') as file:
            file.write(document(self.config))
        os.chmod(self.config_file, 0o644)

    def config_text(self, text):
        """Any text as the file, until it is written again."""
        with open(self.config_file, 'w') as file:
            file.write(text + '\n')

    def configure(self, **overrides):
        """Change the file; takes effect with reload() or restart()."""
        self.config = merge(self.config, overrides)
        self.write_config()

    def prepare(self):
        """Folders and files as a package would make them; once."""
        if self._prepared:
            return
        self._prepared = True
        shutil.rmtree(self.dir, ignore_errors=True)      # an earlier product of this stage
        if self.database and not self.founder:
            self.database.fresh()
        os.makedirs(self.etc)
        for name, mode in (('lib', 0o2770), ('spool', 0o2770), ('run', 0o2755)):
            os.makedirs('%s/%s' % (self.dir, name))
            owner = 'enrolld' if name != 'spool' else 'root'
            run('chown', owner + ':enroll-milter', '%s/%s' % (self.dir, name))
            os.chmod('%s/%s' % (self.dir, name), mode)
        for target, source in (('ca-https.pem', self.stage.ca.tls_root),
                               ('anchors.pem', self.stage.ca.root),
                               ('ldap-ca.pem', self.stage.ldap.ca)):
            if os.path.exists(source):
                shutil.copyfile(source, self.etc + '/' + target)
        self.write_secret('ldap.password', self.stage.ldap.service_password)
        self.write_config()
        probe = subprocess.run(service.as_user('enrolld', ['test', '-x', self.build + '/enrolld']),
                               env=environment())
        if probe.returncode != 0:       # the build lies in a folder only root may enter
            os.makedirs(self.dir + '/bin')
            for name in PROGRAMS:
                shutil.copy2(os.path.join(self.build, name), self.dir + '/bin/' + name)
            self.build = self.dir + '/bin'

    def write_secret(self, name, text, owner=None):
        """A secret in the configuration folder, for root and the product's group, or for one
        account alone."""
        path = self.etc + '/' + name
        with open(path, 'w') as file:
            os.fchmod(file.fileno(), 0o600 if owner else 0o640)
            file.write(text)
        run('chown', owner or 'root:enroll-milter', path)
        return path

    # -- daemons ---------------------------------------------------------

    def program(self, name):
        return os.path.join(self.build, name)

    def _service(self, name):
        if name == 'enrolld':
            argv = [self.program('enrolld'), '--config', self.config_file]
        else:
            argv = [self.program('enroll-milter'), '--config', self.config_file,
                    '--instance', name]
        argv = shlex.split(os.environ.get('ENROLL_TEST_WRAPPER', '')) + argv
        return service.Service(self.label + ('enrolld' if name == 'enrolld' else 'milter-' + name), argv,
                               user=USERS[name], env=self.env, cwd=self.dir, prefix=self.prefix)

    def init(self, *args):
        """enrollctl init, as root: the store and the keys."""
        self.prepare()
        return self.ctl('init', *args, user='root')

    def start(self, *names):
        """init if need be, then the daemons (default: all three), ready when it returns."""
        self.prepare()
        if not self.store_there():
            self.init()
        for name in names or USERS:
            self.daemons.setdefault(name, self._service(name)).env.update(self.env)
            self.daemons[name].start()
        for name in names or USERS:
            self.wait_ready(name)
        if self.milters:
            self.stage.postfix.set_product_milters(True)

    def wait_ready(self, name):
        paths = {'outbound': self.config['milter']['outbound-socket'],
                 'inbound': self.config['milter']['inbound-socket'],
                 'enrolld': self.config['control']['socket']}
        path, daemon = paths[name].removeprefix('unix:'), self.daemons[name]
        if path.startswith('/'):
            # it listens a moment before its group may connect
            service.until(lambda: daemon.check() and _unix_listening(path, daemon.pid)
                          and os.stat(path).st_mode & 0o060 == 0o060, 120,
                          '%s listens on %s' % (name, path), say=daemon.tail)

    def stop(self, *names):
        """SIGTERM; {name: exit code}."""
        return {n: self.daemons[n].stop() for n in names or tuple(self.daemons)}

    def kill9(self, *names):
        for name in names or tuple(self.daemons):
            self.daemons[name].kill9()

    def restart(self, *names):
        names = names or tuple(self.daemons) or tuple(USERS)
        for name in names:
            if name in self.daemons:
                self.daemons[name].stop()
        self.start(*names)

    def signal(self, name, number):
        self.daemons[name].signal(number)

    def running(self, name):
        return name in self.daemons and self.daemons[name].running()

    def reports(self, mark=None):
        """What sanitizers, valgrind or the sandbox wrote into the logs since then."""
        found = []
        for name in USERS:
            path = self.log_path(name)
            if os.path.exists(path):
                with open(path, 'rb') as file:
                    file.seek((mark or {}).get(os.path.basename(path), 0))
                    text = file.read().decode('utf-8', 'replace')
                first = REPORT.search(text)
                if first:
                    found.append('%s:\n%s' % (name, text[first.start():][:20000]))
                denied = None if self.denied_expected else DENIED.search(text)
                if denied:
                    found.append('%s: %s' % (name, denied.group(0)))
        return '\n'.join(found)

    def end(self):
        """Everything ends by SIGTERM; what is wrong with how it did, and with the store that it left."""
        bad = ['%s ended with code %d' % (n, c) for n, c in self.stop().items() if c not in (0, None)]
        return '\n'.join(bad + self.unsound())

    def unsound(self):
        """What `store check` finds in the store; nothing where a test wrote into it by itself, or took it away."""
        if self.store_touched or not self.store_there():
            return []
        done = self.ctl_run('store', 'check', '--json', user='root')
        try:
            return ['store check: %(name)s: %(count)d %(text)s: %(examples)s' % f for f in json.loads(done.stdout).get('findings', [])]
        except ValueError:
            return []

    # -- enrollctl -------------------------------------------------------

    def ctl_run(self, *args, user='admin1', input=None, timeout=600):
        """enrollctl as a user; the CompletedProcess, whatever the exit code."""
        argv = [self.program('enrollctl'), '--config', self.config_file] + [str(a) for a in args]
        if user != 'root':
            argv = service.as_user(user, argv)
        argv = list(self.prefix) + argv
        done = subprocess.run(argv, capture_output=True, text=True, input=input or '', cwd=self.dir,
                              env=environment(**self.env), timeout=timeout)
        if REPORT.search(done.stderr):
            raise AssertionError('a sanitizer reports:\n' + done.stderr)
        return done

    def ctl_typed(self, text, *args, timeout=600, meanwhile=None):
        """enrollctl as root on a terminal where somebody types that, after `meanwhile` when they are asked; (exit code, all that was shown)."""
        leader, follower = pty.openpty()
        child = subprocess.Popen([self.program('enrollctl'), '--config', self.config_file] + [str(a) for a in args], stdin=follower,
                                 stdout=follower, stderr=follower, cwd=self.dir, env=environment(**self.env))
        os.close(follower)
        shown = b''
        while meanwhile and b'Type yes' not in shown:
            shown += os.read(leader, 65536)
        if meanwhile:
            meanwhile()
        os.write(leader, text.encode() + b'\n')
        with contextlib.suppress(OSError):          # EIO: the last one closed it
            while piece := os.read(leader, 65536):
                shown += piece
        os.close(leader)
        return child.wait(timeout), shown.decode()

    def ctl(self, *args, **more):
        """What enrollctl says; Failed if it ends with an error."""
        done = self.ctl_run(*args, **more)
        if done.returncode != 0:
            raise Failed(['enrollctl'] + [str(a) for a in args], done)
        return done.stdout

    def json(self, *args, **more):
        return json.loads(self.ctl(*args, '--json', **more))

    def ask(self, command, **arguments):
        """What enrollctl would ask, as root and without a process for each: for tests with thousands of questions."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(600)
            s.connect(self.config['control']['socket'])
            s.sendall(json.dumps({'command': command, 'arguments': arguments}).encode() + b'\n')
            with s.makefile('rb') as file:
                answer = json.load(file)
        if not answer['ok']:
            raise AssertionError('%s %s: %s' % (command, arguments, answer['error']))
        return answer['result']

    def show(self, address, **more):
        """enrollctl show ADDRESS --json, or None as long as it knows nothing."""
        done = self.ctl_run('show', address, '--json', **more)
        if done.returncode != 0 or not done.stdout.strip():
            return None
        return json.loads(done.stdout)

    def wait_state(self, address, state, seconds=300):
        """Until the enrollment of the address is in that state now (or in one of several)."""
        wanted = (state,) if isinstance(state, str) else tuple(state)

        def there():
            shown = self.show(address)
            return shown if shown and shown['enrollment']['state'] in wanted else None
        return service.until(there, seconds, '%s is %s' % (address, '/'.join(wanted)),
                             every=0.1, say=lambda: '%s\n%s' % (
                                 self.ctl_run('show', address, '--json').stdout,
                                 self.daemons['enrolld'].tail(40)))

    # -- the store, behind the programs' back ------------------------------

    @property
    def database(self):
        """Where the store is in PostgreSQL; None: it is a file."""
        return self.stage.postgresql if self.config.get('store', {}).get('type') == 'postgresql' else None

    def store_there(self):
        return self.database.there() if self.database else 'store' in self.config and os.path.exists(self.config['store'].get('path', '/'))

    def _file(self, readonly=False):
        return contextlib.closing(sqlite3.connect('file:%s%s' % (self.config['store']['path'], '?mode=ro' if readonly else ''), uri=True, timeout=120))

    def sql(self, text, *values):
        """The rows that a SELECT finds, or any change (several, apart by `;`, where there are no values); each ? is one of the values."""
        self.store_touched = self.store_touched or not text.lstrip().upper().startswith('SELECT')
        if self.database:
            return self.database.sql(text, values)
        with self._file(text.lstrip().upper().startswith('SELECT')) as db, db:
            if not values and ';' in text:
                db.executescript(text)
                return []
            return db.execute(text, values).fetchall()

    def sql_changed(self, text):
        """Several statements in a moment when nobody else writes; how many rows the last one changed."""
        self.store_touched = True
        if self.database:
            return self.database.changed(text)
        with self._file() as db:
            db.execute('BEGIN IMMEDIATE')
            for statement in filter(str.strip, text.split(';')):
                changed = db.execute(statement).rowcount
            db.commit()
        return changed

    def sql_many(self, changes):
        """Many changes at once, each (text, values): all of them or none."""
        self.store_touched = True
        if self.database:
            return self.database.run(*(postgresql.filled(t, v) for t, v in changes))
        with self._file() as db, db:
            for text, values in changes:
                db.execute(text, values)

    @contextlib.contextmanager
    def store_locked(self):
        """Nobody else can write as long as this lasts."""
        if self.database:
            with self.database.locked():
                yield
            return
        db = sqlite3.connect(self.config['store']['path'], isolation_level=None, timeout=60)
        db.execute('BEGIN IMMEDIATE')
        try:
            yield
        finally:
            db.execute('ROLLBACK')
            db.close()

    @contextlib.contextmanager
    def store_away(self):
        """The server is gone, or the file with its folder."""
        if self.database:
            with self.database.away():
                yield
            # As quick as a folder that comes back: enrolld tries to connect anew every half second.
            if self.running('enrolld'):
                service.until(lambda: self.ctl_run('list', '--limit', '1', '--json').returncode == 0, 60, 'enrolld has its store again')
            return
        folder = os.path.dirname(self.config['store']['path'])
        os.rename(folder, folder + '.away')
        try:
            yield
        finally:
            os.rename(folder + '.away', folder)

    def fresh_store(self):
        """None: as on a new host that has the same keys.  Nothing may run."""
        if self.database:
            return self.database.fresh()
        for name in os.listdir(self.dir + '/lib'):
            os.unlink(self.dir + '/lib/' + name)

    # -- logs ------------------------------------------------------------

    def log_path(self, name):
        return self._service(name).log

    def log_mark(self):
        """Positions in the three logs, for log(..., mark=)."""
        return {n: os.path.getsize(self.log_path(n)) for n in USERS
                if os.path.exists(self.log_path(n))}

    def log(self, mark=None, name=None, **fields):
        """Log lines as dictionaries that have all these fields: log(event='mail_done')."""
        found = []
        for daemon in [name] if name else USERS:
            path = self.log_path(daemon)
            if not os.path.exists(path):
                continue
            with open(path, 'rb') as file:
                file.seek((mark or {}).get(daemon, 0))
                for line in file.read().decode('utf-8', 'replace').splitlines():
                    parsed = parse_line(line)
                    if all(parsed.get(k) == str(v) for k, v in fields.items()):
                        found.append(dict(parsed, line=line, daemon=daemon))
        return found

    def wait_log(self, seconds=300, mark=None, name=None, **fields):
        """The lines, once there is one: wait_log(event='published')."""
        return service.until(lambda: self.log(mark, name, **fields), seconds,
                             'log line with %r' % fields, every=0.05,
                             say=lambda: '\n'.join(d.tail(15) for d in self.daemons.values()))


def _unix_listening(path, pid='self'):
    """In the network of that process: whether a socket of that path is listened on, without connecting to it.  The milters' have
    the name at which they were made: the process id behind it (milter/listener.h)."""
    names = re.compile(re.escape(path) + r'(\.\d+)?')
    with open('/proc/%s/net/unix' % pid) as file:
        for line in file.readlines()[1:]:
            fields = line.split()
            if len(fields) > 7 and names.fullmatch(fields[7]) and os.path.exists(path) and int(fields[3], 16) & 0x10000:
                return True
    return False
