"""Installing it: what `make install` leaves, what the units forbid, what the packages do from the first installation to the purge.

Always: from the build.  With ENROLL_TEST_LONG: the Debian package, built from a clean clone, in a copy of the fresh Debian that tests/run.sh
made ($ENROLL_ROOT), with the stage in it (package_inside.py); nothing of it outlives the test.
"""

import glob
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
import unittest

import namespace
import product

SQLITE = 'the package begins with a file'
STAGE = None
TAKES, BUSY = 30, 20
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UNITS = ('enrolld.service', 'enroll-milter@outbound.service', 'enroll-milter@inbound.service')
EXPOSURE = 2.0
SCRIPTS = ('debian/enroll-milter.postinst', 'debian/enroll-milter.prerm', 'debian/enroll-milter.postrm')

# Two settings of the directory variables: a package's, and one that has nothing where it usually is.
USUAL = {'prefix': '/usr', 'sysconfdir': '/etc', 'localstatedir': '/var', 'runstatedir': '/run', 'systemdsystemunitdir': '/lib/systemd/system'}
OTHER = {'prefix': '/opt/em', 'sysconfdir': '/opt/etc', 'localstatedir': '/srv/state', 'runstatedir': '/srv/run', 'sbindir': '/opt/em/bin',
         'mandir': '/opt/man', 'systemdsystemunitdir': '/opt/units'}
ROOMS = ('base', 'sandbox', 'metrics', 'dns', 'store', 'ldap', 'policy', 'milter', 'enroll', 'ctl')
PATHS = re.compile(r'SYSCONFDIR|PKGDATADIR|STATEDIR|SPOOLDIR|RUNDIR|POSTFIXQUEUEDIR')
LONG = os.environ.get('ENROLL_TEST_LONG')


def run(*argv, cwd=TOP, **more):
    done = subprocess.run(argv, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                          env=namespace.environment(**more))
    if done.returncode != 0:
        raise AssertionError('%s: %d\n%s' % (shlex.join(argv), done.returncode, done.stdout[-6000:]))
    return done.stdout


def read(*parts):
    with open(os.path.join(*parts), encoding='utf-8') as file:
        return file.read()


def tree(folder):
    """What is in there: files and links by their paths, folders with a '/' behind."""
    found = set()
    for at, folders, files in os.walk(folder):
        where = '/' + os.path.relpath(at, folder) + '/' if at != folder else '/'
        found |= {where + f for f in files}
        found |= {where + f + ('' if os.path.islink(os.path.join(at, f)) else '/') for f in folders}
    return found


class Build:
    """$ENROLL_BUILD, configured anew in a folder of its own.  Objects that know no paths are taken over, the others are made."""

    def __init__(self, folder, settings):
        self.folder = folder
        self.source = product.build_directory()
        options = run(self.source + '/config.status', '--config').strip()
        run('sh', '-c', 'exec %s %s -q "$@"' % (shlex.quote(self.configure()), options), 'sh', *self.options(settings), cwd=folder)
        self.take_over()
        run('make', '-s', '-j2', 'all', cwd=folder)

    def configure(self):
        makefile = read(self.source, 'Makefile')
        return os.path.join(self.source, re.search(r'^top_srcdir = (.*)$', makefile, re.M)[1], 'configure')

    @staticmethod
    def options(settings):
        return ['--%s%s=%s' % ('with-' if name.startswith('systemd') else '', name, value) for name, value in settings.items()]

    def take_over(self):
        """All as new as can be, in the order in which make would have made it."""
        for name in ('stamp-h1', 'config.h'):
            os.utime(os.path.join(self.folder, name))
        for room in ROOMS:
            for stamp in (room + '/.dirstamp', room + '/.deps/.dirstamp'):
                with open(os.path.join(self.folder, stamp), 'w'):
                    pass
            knowing = {f[:-2] for f in os.listdir(os.path.join(TOP, room)) if f.endswith('.c') and PATHS.search(read(TOP, room, f))}
            for path in glob.glob('%s/%s/*.o' % (self.source, room)):
                name = os.path.basename(path)[:-2]
                if name.rpartition('-')[2] not in knowing:
                    shutil.copy(path, os.path.join(self.folder, room, name + '.o'))


@unittest.skipUnless(product.build_directory(), 'ENROLL_BUILD names no folder with the programs')
class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = tempfile.mkdtemp(prefix='enroll-install-')
        cls.addClassCleanup(shutil.rmtree, cls.work)
        cls.settings, cls.builds, cls.trees = {'usual': USUAL, 'other': OTHER}, {}, {}
        for name, settings in cls.settings.items():
            folder = os.path.join(cls.work, name)
            os.mkdir(folder)
            cls.builds[name] = Build(folder, settings)
            run('make', '-s', 'install', 'DESTDIR=%s/%s.tree' % (cls.work, name), cwd=folder)
            cls.trees[name] = tree('%s/%s.tree' % (cls.work, name))

    def expected(self, name):
        s = dict({'sbindir': self.settings[name]['prefix'] + '/sbin', 'mandir': self.settings[name]['prefix'] + '/share/man'}, **self.settings[name])
        files = {s['sbindir'] + '/' + p for p in product.PROGRAMS}
        files |= {s['systemdsystemunitdir'] + '/' + u for u in ('enrolld.service', 'enroll-milter@.service',
                  'enroll-milter@outbound.service.d/instance.conf', 'enroll-milter@inbound.service.d/instance.conf')}
        files |= {'%s/lib/%s.d/enroll-milter.conf' % (s['prefix'], w) for w in ('sysusers', 'tmpfiles')}
        files |= {'%s/share/%s' % (s['prefix'], w) for w in ('bash-completion/completions/enrollctl', 'zsh/site-functions/_enrollctl',
                                                            'enroll-milter/setup-host')}
        files |= {'%s/share/enroll-milter/ca/%s' % (s['prefix'], f) for f in os.listdir(TOP + '/examples/ca') if f.endswith('.conf')}
        files |= {'%s/man%s/%s' % (s['mandir'], page[-1], page) for page in os.listdir(TOP + '/doc') if re.search(r'\.[1-8]$', page)}
        return files

    def test_every_file_is_where_the_variables_say_and_there_is_no_other(self):
        for name, found in self.trees.items():
            with self.subTest(name):
                self.assertEqual({f for f in found if not f.endswith('/')}, self.expected(name))

    def test_only_the_folder_for_sockets_is_made_outside(self):
        for name, found in self.trees.items():
            with self.subTest(name):
                state = self.settings[name]['localstatedir']
                self.assertEqual({f for f in found if f.startswith(state + '/') and f != state + '/'},
                                 {state + w for w in ('/spool/', '/spool/postfix/', '/spool/postfix/enroll-milter/')})

    def test_what_is_installed_names_the_folders_that_were_configured(self):
        usual = re.compile(r'(?<![\w/.])/(?:etc|var/lib|var/spool|run)/(?:enroll-milter|postfix)|@\w+@|\$\{')
        for path in sorted(self.trees['other']):
            if path.endswith('/') or path.startswith('/opt/em/bin/') or '/share/enroll-milter/ca/' in path:
                continue
            text = read(self.work + '/other.tree' + path)
            with self.subTest(path):
                self.assertEqual([l for l in text.splitlines() if usual.search(l) and not l.startswith('#') and '/etc/systemd' not in l
                                  and '"$@"' not in l and '${' not in l], [])
        unit = read(self.work + '/other.tree/opt/units/enroll-milter@.service')
        self.assertIn('ExecStart=/opt/em/bin/enroll-milter --instance %i\n', unit)
        self.assertIn('ReadWritePaths=/srv/state/lib/enroll-milter /srv/state/spool/enroll-milter -/srv/state/spool/postfix/enroll-milter '
                      '-/srv/run/enroll-milter/metrics\n', unit)

    def test_the_programs_look_where_they_were_configured(self):
        for name, settings in self.settings.items():
            config = os.path.join(self.work, name + '.conf')
            with open(config, 'w') as file:
                file.write('mode = "observe";\ndomains = [ "corp.example" ];\n'
                           'submission = ( { name = "s"; daemons = [ "ORIGINATING" ]; vouch = "login"; } );\n')
            with self.subTest(name):
                ctl = self.work + '/%s.tree%s/enrollctl' % (name, settings.get('sbindir', settings['prefix'] + '/sbin'))
                shown = run(ctl, '--config', config, 'config', 'show')
                for path in (settings['sysconfdir'] + '/enroll-milter/master.key', settings['localstatedir'] + '/lib/enroll-milter/store.db',
                             settings['localstatedir'] + '/spool/enroll-milter', settings['runstatedir'] + '/enroll-milter/control.sock',
                             'unix:' + settings['localstatedir'] + '/spool/postfix/enroll-milter/outbound.sock'):
                    self.assertIn('"%s"' % path, shown)
                self.assertIn(settings['sysconfdir'] + '/enroll-milter/enroll-milter.conf', run(ctl, '--help'))

    def test_uninstall_leaves_nothing(self):
        for name in self.settings:
            copy = os.path.join(self.work, name + '.copy')
            shutil.copytree('%s/%s.tree' % (self.work, name), copy, symlinks=True)
            run('make', '-s', 'uninstall', 'DESTDIR=' + copy, cwd=self.work + '/' + name)
            with self.subTest(name):
                left = tree(copy)
                self.assertEqual({f for f in left if not f.endswith('/') or 'enroll' in f}, set())

    # -- units

    def judged(self, unit):
        out = run('systemd-analyze', 'security', '--offline=true', '--no-pager', '--json=short', '--root=%s/usual.tree' % self.work, unit)
        return [row for row in json.loads(out) if row['exposure']]

    def test_no_unit_is_more_exposed_than_allowed(self):
        if not shutil.which('systemd-analyze'):
            self.skipTest('systemd-analyze is not there')
        for unit in UNITS:
            shown = run('systemd-analyze', 'security', '--offline=true', '--no-pager', '--threshold=%d' % (EXPOSURE * 10),
                        '--root=%s/usual.tree' % self.work, unit)
            with self.subTest(unit):
                self.assertLessEqual(float(re.search(r'exposure level for \S+: ([0-9.]+)', shown)[1]), EXPOSURE)

    def test_each_point_left_has_its_reason_in_the_unit(self):
        if not shutil.which('systemd-analyze'):
            self.skipTest('systemd-analyze is not there')
        for unit in UNITS:
            text = read(self.work, 'usual.tree/lib/systemd/system', re.sub('@.*bound', '@', unit))
            told = re.findall(r'^#   ((?:[\w=~@]+, )*[\w=~@]+) \([0-9.]+\)   \S', text, re.M)
            told = {name for names in told for name in names.split(', ')}
            left = {re.sub(r'=~AF_.*|=$|=/.*', '', row['name']) for row in self.judged(unit)}
            with self.subTest(unit):
                self.assertEqual(told, left)

    def test_units_tell_when_they_are_ready_and_alive(self):
        for unit in ('enrolld.service', 'enroll-milter@.service'):
            lines = read(self.work, 'usual.tree/lib/systemd/system', unit).splitlines()
            with self.subTest(unit):
                for line in ('Type=notify', 'NotifyAccess=main', 'WatchdogSec=60', 'ExecReload=/bin/kill -USR1 $MAINPID'):
                    self.assertIn(line, lines)

    def test_without_systemd_nothing_waits_for_a_word_that_never_comes(self):
        """The units of programs built without libsystemd."""
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(self.work + '/usual/Makefile', folder)
            with open(folder + '/config.h', 'w') as file:
                file.write('/* #undef HAVE_SYSTEMD */\n')
            source = os.path.realpath(os.path.join(self.work, 'usual', re.search(r'^srcdir = (.*)$', read(self.work, 'usual/Makefile'), re.M)[1]))
            run('make', '-s', '-o', 'Makefile', '-o', 'config.h', 'srcdir=' + source, 'systemd/enrolld.service', cwd=folder)
            text = read(folder, 'systemd/enrolld.service')
        self.assertIn('Type=simple\n', text)
        self.assertNotRegex(text, r'(?m)^(NotifyAccess|WatchdogSec)=')


class Scripts(unittest.TestCase):
    def test_maintainer_scripts_are_posix_shell(self):
        for script in SCRIPTS + ('sysvinit/enroll-milter.in', 'sysvinit/setup-host.in'):
            with self.subTest(script):
                for shell in ('dash', 'bash --posix'):
                    run(*shell.split(), '-n', script)

    def test_versions_agree(self):
        version = re.search(r'AC_INIT\(\[enroll-milter\],\[([^]]+)\]', read(TOP, 'configure.ac'))[1]
        self.assertEqual(re.match(r'enroll-milter \(([^)]+)\)', read(TOP, 'debian/changelog'))[1], version)
        self.assertEqual(re.search(r'^Version:\s*(\S+)', read(TOP, 'rpm/enroll-milter.spec'), re.M)[1], version)

    def test_a_release_has_what_packages_are_built_from(self):
        if not os.path.exists(TOP + '/.git'):
            self.skipTest('not a clone')
        files = run('git', '-c', 'safe.directory=*', 'ls-files', 'debian', 'rpm', 'systemd', 'sysvinit').split()
        told = ''.join(read(TOP, room, 'local.mk') for room in ('systemd', 'sysvinit'))
        self.assertEqual([f for f in files if f not in told and not f.endswith('local.mk')], [])

    def test_the_package_is_built_with_what_the_readme_names(self):
        control = read(TOP, 'debian/control').split('\nPackage:')[0]
        needed = set(re.findall(r'\b(lib[a-z0-9.-]+-dev|pkg-config)\b', control))
        listed = set(re.search(r'^\[build\]\n(.*?)\n\n', read(TOP, 'tests/packages.txt'), re.S | re.M)[1].split('\n'))
        self.assertEqual(needed, {p for p in listed if p.endswith('-dev') and p != 'libc6-dev' or p == 'pkg-config'})


# ---- the package, in a fresh Debian ---------------------------------------------------------------------------------------------------

NOT_OURS = re.compile(r'^/(?:proc|dev|sys|run/(?!enroll)|tmp|src|debs|var/log|var/cache|var/lib/(?:dpkg|apt|debconf|systemd|ucf)|root'
                      r'|etc/(?:passwd|group|shadow|gshadow|subuid|subgid)-?$|etc/\.pwd\.lock|usr/local/bin/editor|var/spool/postfix/(?!enroll))')
CONFIG = '/etc/enroll-milter/enroll-milter.conf'
OBSERVE = ('mode = "observe";\ndomains = [ "example.org" ];\n'
           'submission = ( { name = "s"; daemons = [ "ORIGINATING" ]; vouch = "login"; } );\n')


def clean_clone(folder):
    """What is committed; from a release, the release."""
    if os.path.exists(TOP + '/.git'):
        run('git', '-c', 'safe.directory=*', 'clone', '-q', '--no-hardlinks', TOP, folder)
    else:
        shutil.copytree(TOP, folder, symlinks=True)


def repacked(deb, version, folder):
    """The same package under another version: what dpkg has to upgrade from or to."""
    run('dpkg-deb', '-R', deb, folder)
    with open(folder + '/DEBIAN/control') as file:
        text = file.read()
    with open(folder + '/DEBIAN/control', 'w') as file:
        file.write(re.sub(r'^Version: .*$', 'Version: ' + version, text, flags=re.M))
    target = '%s/enroll-milter_%s.deb' % (os.path.dirname(folder), version)
    run('dpkg-deb', '--root-owner-group', '-b', folder, target)
    return target


class Root:
    """A copy of the fresh Debian that costs nothing: what is written into it is memory.  Nothing of the machine is mounted in it, and nothing
    that is mounted is ever deleted: all of it ends with the module's namespace."""

    def __init__(self, lower, path):
        self.path, memory = path + '/root', path + '/memory'
        os.makedirs(self.path)
        os.makedirs(memory + '/upper')
        os.makedirs(memory + '/work')
        run('mount', '-t', 'overlay', '-o', 'lowerdir=%s,upperdir=%s/upper,workdir=%s/work' % (lower, memory, memory), 'none', self.path)
        run('mount', '-t', 'proc', 'proc', self.path + '/proc')
        self.devices()
        os.makedirs(self.path + '/src')
        for name in ('tests', 'examples', 'README.md'):
            run('cp', '-r', '%s/%s' % (TOP, name), self.path + '/src')
        with open(self.path + '/usr/sbin/policy-rc.d', 'w') as file:
            file.write('#!/bin/sh\nexit 0\n')              # as on a host: what a package wants to start is started

    def devices(self):
        dev = self.path + '/dev'
        run('mount', '-t', 'tmpfs', '-o', 'mode=755', 'none', dev)
        for name, major, minor in (('null', 1, 3), ('zero', 1, 5), ('full', 1, 7), ('random', 1, 8), ('urandom', 1, 9), ('tty', 5, 0)):
            os.mknod(dev + '/' + name, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
            os.chmod(dev + '/' + name, 0o666)
        for name in ('pts', 'shm', 'net'):
            os.mkdir(dev + '/' + name)
        run('mount', '-t', 'devpts', '-o', 'newinstance,ptmxmode=666', 'none', dev + '/pts')
        for name, target in (('ptmx', 'pts/ptmx'), ('fd', '/proc/self/fd'), ('stdin', 'fd/0'), ('stdout', 'fd/1'), ('stderr', 'fd/2')):
            os.symlink(target, dev + '/' + name)

    def run(self, *argv, **more):
        return run('chroot', self.path, *argv, cwd='/', DEBIAN_FRONTEND='noninteractive', **more)

    def shell(self, line, **more):
        return self.run('sh', '-c', line, **more)

    def files(self):
        return {f for f in tree(self.path) if not NOT_OURS.match(f)}

    def accounts(self):
        return {f: sorted(read(self.path, 'etc', f).splitlines()) for f in ('passwd', 'group')}

    def running(self):
        """Programs of ours that run from in here."""
        found = []
        for entry in glob.glob('/proc/[0-9]*/exe'):
            try:
                found.append(os.readlink(entry))
            except OSError:
                pass
        return [f for f in found if re.search(r'/sbin/enroll(d|-milter)\b', f)]


@unittest.skipUnless(LONG, 'it takes minutes: ENROLL_TEST_LONG')
class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lower = os.path.realpath(os.environ.get('ENROLL_ROOT') or os.environ.get('ENROLL_BUILD', '') + '-root')
        if not os.path.exists(cls.lower + '/made-for'):
            raise AssertionError('no fresh Debian in %s: tests/run.sh --long operate makes it' % cls.lower)
        if not namespace.inside():
            raise AssertionError('this mounts: only in a namespace of its own, see run.py')
        run('mount', '--make-rprivate', '/')
        run('ip', 'link', 'set', 'lo', 'up')        # Postfix' package asks which addresses there are
        cls.work = '/mnt'
        run('mount', '-t', 'tmpfs', '-o', 'mode=755', 'none', cls.work)     # gone with the namespace
        clean_clone(cls.work + '/src')
        cls.built = run('dpkg-buildpackage', '-b', '-us', '-uc', cwd=cls.work + '/src', DEB_BUILD_OPTIONS='parallel=2')
        debs = [d for d in glob.glob(cls.work + '/enroll-milter_*.deb')]
        cls.deb, = debs
        cls.old = repacked(cls.deb, '0.0.9', cls.work + '/old')
        cls.next = repacked(cls.deb, '9.0.0', cls.work + '/next')

    def root(self, name):
        root = Root(self.lower, os.path.join(self.work, name))
        os.makedirs(root.path + '/debs')
        for deb in (self.deb, self.old, self.next):
            shutil.copy(deb, root.path + '/debs')
        return root

    def install(self, root, deb, *more):
        """By apt, from what is in its cache: what the package says it depends on has to be enough."""
        return root.run('apt-get', '-q', '-y', 'install', '/debs/' + os.path.basename(deb), *more)

    def test_lintian_has_nothing_to_say(self):
        changes, = glob.glob(self.work + '/*.changes')
        out = run('lintian', '--allow-root', '--info', '--fail-on', 'error,warning', '--display-info', changes)
        self.assertEqual([l for l in out.splitlines() if re.match(r'[EWI]:', l)], [])

    def test_the_build_leaves_the_clone_as_it_was_and_does_not_test(self):
        if os.path.exists(self.work + '/src/.git'):
            self.assertEqual(run('git', '-c', 'safe.directory=*', 'status', '--porcelain', cwd=self.work + '/src'), '')
        self.assertNotIn('make  check', self.built)

    def check_fresh(self, root):
        """Installed and not configured."""
        self.assertEqual(root.running(), [])
        self.assertFalse(os.path.exists(root.path + CONFIG))
        enabled = {f for f in root.files() if re.match(r'/etc/(rc[2-5S]\.d/S|systemd/system/.*wants/).*enroll', f)}
        self.assertEqual(enabled, set(), 'nothing starts at the next boot')
        folders = root.run('stat', '-c', '%U:%G %a %n', '/var/lib/enroll-milter', '/var/spool/enroll-milter', '/run/enroll-milter',
                           '/run/enroll-milter/metrics', '/var/spool/postfix/enroll-milter', '/etc/enroll-milter').splitlines()
        self.assertEqual(folders, ['enrolld:enroll-milter 2770 /var/lib/enroll-milter', 'root:enroll-milter 1770 /var/spool/enroll-milter',
                                   'enrolld:enroll-milter 755 /run/enroll-milter', 'root:enroll-milter 3771 /run/enroll-milter/metrics',
                                   'root:postfix 3770 /var/spool/postfix/enroll-milter',
                                   'root:root 755 /etc/enroll-milter'])
        acl = root.run('getfacl', '-cp', '/var/spool/postfix/enroll-milter').split()
        self.assertEqual(set(acl), {'user::rwx', 'user:enroll-out:rwx', 'user:enroll-in:rwx', 'user:enrolld:--x', 'group::--x', 'mask::rwx',
                                    'other::---'})
        for user in ('enroll-out', 'enroll-in', 'enrolld'):
            self.assertEqual(set(root.run('id', '-nG', user).split()), {user, 'enroll-milter'})
            self.assertIn(':/usr/sbin/nologin', root.run('getent', 'passwd', user))

    def sqlite(self, root, question):
        return root.run('sqlite3', '/var/lib/enroll-milter/store.db', question).split('\n')

    def question(self, root, table):
        """All that is in a table now, to be asked again when it has more columns."""
        columns = [c for c in self.sqlite(root, "SELECT name FROM pragma_table_info('%s')" % table) if c and not re.search('lease|version', c)]
        return 'SELECT %s FROM %s' % (', '.join('quote(%s)' % c for c in columns), table)

    def load_oldest_store(self, root):
        oldest = min(glob.glob(TOP + '/tests/unit/store_version_*.sql'), key=lambda p: int(re.search(r'_(\d+)\.sql', p)[1]))
        root.shell('sqlite3 /var/lib/enroll-milter/store.db < /src/tests/unit/%s && cd /var/lib/enroll-milter && '
                   'chown enrolld:enroll-milter store.db* && chmod 660 store.db*' % os.path.basename(oldest))

    def upgrade_with_the_oldest_store(self, root):
        self.load_oldest_store(root)
        kept = [self.question(root, table) for table in
                ('enrollments', 'enrollment_addresses', 'user_keys', 'certificates', 'challenges', 'orders', 'events', 'flags', 'mail_events')]
        before = [self.sqlite(root, q) for q in kept]
        self.assertGreater(min(len(rows) for rows in before), 1)
        self.assertEqual(self.sqlite(root, "SELECT value FROM meta WHERE name = 'schema_version'")[0], '1')
        with open(root.path + CONFIG, 'w') as file:
            file.write(OBSERVE)
        self.install(root, self.deb)
        self.assertEqual(root.running(), [], 'an upgrade starts nothing that did not run')
        root.run('service', 'enroll-milter', 'start')
        try:
            root.run('service', 'enroll-milter', 'status')
            self.assertNotEqual(root.running(), [])
            self.assertIn('alice@example.org', root.run('enrollctl', 'list'))
            self.assertGreater(int(self.sqlite(root, "SELECT value FROM meta WHERE name = 'schema_version'")[0]), 1)
        finally:
            root.run('service', 'enroll-milter', 'stop')
            self.assertEqual(root.running(), [])
        for question, rows in zip(kept, before):
            self.assertEqual(set(rows) - set(self.sqlite(root, question)), set(), question)
        root.shell('rm /var/lib/enroll-milter/* ' + CONFIG)

    def work_inside(self, root, module):
        """Mail is signed, the package upgraded and removed: package_inside.py, package_systemd.py."""
        out = root.run('/usr/bin/python3', '-B', '/src/tests/e2e/run.py', module, ENROLL_BUILD='/usr/sbin',
                       ENROLL_SAME='/debs/' + os.path.basename(self.deb), ENROLL_NEXT='/debs/' + os.path.basename(self.next))
        self.assertRegex(out, r'\n[4-9] passed, 0 failed, 0 skipped\n$')
        print(''.join('  ' + l + '\n' for l in out.splitlines() if ' ok ' in l), end='')

    def check_kept(self, root):
        for path in ('/var/lib/enroll-milter/store.db', '/etc/enroll-milter/master.key', '/etc/enroll-milter/account.key', CONFIG):
            self.assertTrue(os.path.exists(root.path + path), path)

    def check_nothing_left(self, root, before, accounts):
        self.assertEqual(root.files() - before, set())
        self.assertEqual({f for f in root.files() if re.search('enroll-milter|enrolld|enrollctl', f)}, set())
        self.assertEqual(root.accounts(), accounts)
        self.assertNotRegex(' '.join(l for f in accounts.values() for l in f), 'enroll')

    def purge(self, root, answer=None):
        if answer is not None:
            root.shell('echo enroll-milter enroll-milter/purge-state boolean %s | debconf-set-selections' % answer)
        root.run('dpkg', '--purge', 'enroll-milter')

    def test_from_the_first_installation_to_the_purge_without_systemd(self):
        root = self.root('life')
        self.install(root, self.deb)                    # what it depends on comes, and stays
        self.purge(root, 'true')
        before, accounts = root.files(), root.accounts()
        self.install(root, self.old)
        self.check_fresh(root)
        self.upgrade_with_the_oldest_store(root)
        self.work_inside(root, 'package_inside')
        root.run('dpkg', '-r', 'enroll-milter')
        self.check_kept(root)
        self.purge(root)                                # nobody answers: keys stay
        self.check_kept(root)
        self.install(root, self.deb)
        self.purge(root, 'true')
        self.check_nothing_left(root, before, accounts)

    def test_the_same_by_systemds_tools(self):
        root = self.root('systemd')
        root.run('apt-get', '-q', '-y', 'install', 'systemd')
        self.install(root, self.deb)
        self.purge(root, 'true')
        before, accounts = root.files(), root.accounts()
        self.install(root, self.deb)
        self.check_fresh(root)
        root.run('systemctl', 'enable', 'enroll-milter@outbound', 'enroll-milter@inbound', 'enrolld')
        self.assertTrue(os.path.lexists(root.path + '/etc/systemd/system/multi-user.target.wants/enroll-milter@outbound.service'))
        self.install(root, self.next)
        self.assertTrue(os.path.lexists(root.path + '/etc/systemd/system/multi-user.target.wants/enroll-milter@outbound.service'))
        self.purge(root, 'true')
        self.check_nothing_left(root, before, accounts)

    def test_under_a_systemd_that_runs(self):
        root = self.root('booted')
        root.run('apt-get', '-q', '-y', 'install', 'systemd', 'dbus', 'procps', 'util-linux')
        self.install(root, self.deb)
        self.work_inside(root, 'package_systemd')

    def test_a_mail_server_that_comes_later_finds_its_folder(self):
        root = self.root('later')
        root.run('dpkg', '--purge', '--force-depends', 'postfix')
        root.shell('rm -rf /var/spool/postfix; ! getent group postfix || { userdel postfix; groupdel postfix || :; }')
        self.install(root, self.deb)
        self.assertFalse(os.path.exists(root.path + '/var/spool/postfix/enroll-milter'))
        root.run('apt-get', '-q', '-y', 'install', 'postfix')
        self.assertEqual(root.run('stat', '-c', '%U:%G %a', '/var/spool/postfix/enroll-milter').strip(), 'root:postfix 3770')


@unittest.skipUnless(LONG, 'it takes minutes: ENROLL_TEST_LONG')
class Rpm(unittest.TestCase):
    def test_the_spec_makes_packages(self):
        """As far as Debian's rpm goes: names of packages to build with are Fedora's, so they are not asked for."""
        with tempfile.TemporaryDirectory(dir='/var/tmp') as top:
            clean_clone(top + '/clone')
            run('sh', '-c', './autogen.sh && ./configure -q && make -s dist', cwd=top + '/clone')
            archive, = glob.glob(top + '/clone/enroll-milter-*.tar.gz')
            define = ['--define', '_topdir ' + top, '--define', '_sourcedir ' + top + '/clone']
            spec = top + '/clone/rpm/enroll-milter.spec'
            run('rpmbuild', '-bs', *define, spec, cwd=top)
            run('rpmbuild', '-bb', '--nodeps', *define, spec, cwd=top)
            made = glob.glob(top + '/RPMS/*/enroll-milter-0*.rpm')
            listed = run('rpm', '-qlp', made[0]).split()
        for path in ('/usr/sbin/enrolld', '/usr/lib/systemd/system/enrolld.service', '/usr/share/enroll-milter/setup-host', '/etc/enroll-milter'):
            self.assertIn(path, listed)
