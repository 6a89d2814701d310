"""The Debian package at work: run by test_operate_package.py inside a fresh Debian in which it is installed, with the whole stage around it.

Users, folders, programs and init script are the package's; the configuration is written by the README's lines.  $ENROLL_NEXT is the package to
upgrade to, $ENROLL_SAME the one that is installed.
"""

import grp
import json
import os
import pwd
import re
import shlex
import shutil

import mailtools
import namespace
import product
from mailtools import message, unique
from namespace import run
from product import Product
from stage import Stage, StageCase

STAGE = {'ca': True}
ETC = '/etc/enroll-milter'
CONFIG = ETC + '/enroll-milter.conf'
STORE = '/var/lib/enroll-milter/store.db'
BOX = 'box@outside.example'
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DAEMONS = {'enrolld': 'enrolld', 'outbound': 'enroll-out', 'inbound': 'enroll-in'}

# The accounts are those that the package made.
for accounts, known in ((namespace.USERS, pwd.getpwall()), (namespace.GROUPS, grp.getgrall())):
    for entry in known:
        accounts.pop(entry[0], None)


def readme_lines():
    """The commands of "From the Debian package", without what is said beside them."""
    section = read(TOP + '/README.md').split('### From the Debian package\n')[1].split('\n##')[0]
    return [re.sub(r'\s+#.*', '', l.strip()) for l in re.findall(r'^    (.*)$', section, re.M)]


class Packaged(Product):
    """The configuration says only what has no default: everything else is where the package has it."""

    def standard_config(self):
        config = super().standard_config()
        for name in ('store', 'master', 'milter', 'control', 'users'):
            del config[name]
        config['log'] = {'target': 'syslog'}
        del config['ca']['account-key']
        config['dns']['trust-anchor-file'] = ETC + '/root.anchor'
        return config

    def write_config(self):
        """What the admin wants; `editor` puts it into place."""
        with open('/root/site.conf', 'w') as file:
            file.write(product.document(self.config).replace(product.ETC, ETC))

    def write_files(self):
        for target, source in (('ca-https.pem', self.stage.ca.tls_root), ('anchors.pem', self.stage.ca.root), ('ldap-ca.pem', self.stage.ldap.ca),
                               ('root.anchor', self.stage.dns.anchor)):
            shutil.copyfile(source, ETC + '/' + target)
        with open(ETC + '/ldap.password', 'w') as file:
            os.fchmod(file.fileno(), 0o640)
            file.write(self.stage.ldap.service_password)
        shutil.chown(ETC + '/ldap.password', 'root', 'enroll-milter')
        self.config_file = CONFIG


def prepare(p):
    """Files that the configuration names, and an admin at his desk."""
    os.makedirs(product.DIR, exist_ok=True)     # where enrollctl is called
    with open('/usr/local/bin/editor', 'w') as file:
        file.write('#!/bin/sh\ncp /root/site.conf "$1"\n')
    os.chmod('/usr/local/bin/editor', 0o755)
    p.write_files()
    p.configure(mode='observe')


def shell(line, **more):
    return run('sh', '-c', line, **more).stdout


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def package(*argv):
    return shell('DEBIAN_FRONTEND=noninteractive ' + shlex.join(argv) + ' 2>&1')


def pid(name):
    try:
        with open('/run/enroll-milter-%s.pid' % name) as file:
            return int(file.read())
    except FileNotFoundError:
        return None


def alive(number):
    return number is not None and os.path.exists('/proc/%d' % number)


class Life(StageCase):
    """One life of the package; the tests go by their names."""

    @classmethod
    def setUpClass(cls):
        stage = Stage.current
        cls.p = Packaged(stage, milters=False)
        run('mount', '--bind', '/var/spool/postfix/enroll-milter', stage.postfix.queue + '/enroll-milter')
        prepare(cls.p)

    def send(self, user='alice'):
        subject = unique()
        sender = user + '@corp.example'
        self.stage.submit(user, sender, [BOX], message(sender, BOX, subject))
        return self.stage.outside.wait_subject(subject).content

    def certificate(self, user='alice'):
        return self.p.show(user + '@corp.example')['certificates'][0]['fingerprint']

    def wait_all(self):
        self.until(lambda: all(alive(pid(n)) for n in DAEMONS), 60, 'all three run')
        for name in ('outbound', 'inbound'):
            path = '/var/spool/postfix/enroll-milter/%s.sock' % name
            self.until(lambda: os.path.exists(path) and os.stat(path).st_mode & 0o060 == 0o060, 60, path)
        self.until(lambda: os.path.exists('/run/enroll-milter/control.sock'), 60, 'enrolld listens')

    def wait_reload(self):
        """Until all of it is in force: enrolld begins anew, the milters take it for the next connection."""
        self.until(lambda: len({l.split('[')[0] for l in self.stage.syslog.lines if 'event=reloaded' in l}) == 3, 60, 'all three have reloaded')
        self.until(lambda: json.loads(self.p.ctl('status', '--json'))['mode'] == 'sign', 60, 'enrolld signs')

    def test_1_the_readmes_lines_make_it_run(self):
        lines = readme_lines()
        self.assertRegex(lines[0], r'^dpkg-buildpackage .* && apt-get install ')      # done already, see test_operate_package.py
        for line in lines[1:]:
            if line.startswith('systemctl '):
                continue        # no systemd here: the next line does the same
            with self.subTest(line):
                shell(line)
        self.wait_all()
        self.stage.postfix.set_product_milters(True)
        for name, user in DAEMONS.items():
            with open('/proc/%d/status' % pid(name)) as file:
                status = file.read()
            with self.subTest(name):
                self.assertEqual(re.search(r'^Uid:\s+(\d+)', status, re.M)[1], str(pwd.getpwnam(user).pw_uid))
                self.assertEqual(re.search(r'^Gid:\s+(\d+)', status, re.M)[1], str(grp.getgrnam('enroll-milter').gr_gid))
                self.assertNotIn(str(grp.getgrnam('postfix').gr_gid), re.search(r'^Groups:(.*)', status, re.M)[1].split())
                self.assertIn('Umask:\t00', status)
        self.assertEqual(run('service', 'enroll-milter', 'status', check=False).returncode, 0)

    def test_2_mail_is_signed(self):
        self.assertFalse(mailtools.is_signed(self.send()))
        self.assertIsNone(self.p.show('alice@corp.example'), 'it only observes')
        self.p.configure(mode='sign')
        shell('editor %s && enrollctl config check && enrollctl init && service enroll-milter reload' % CONFIG)
        self.wait_reload()
        self.assertFalse(mailtools.is_signed(self.send()))
        self.p.wait_state('alice@corp.example', 'active')
        signed = self.send()
        self.assertTrue(mailtools.is_signed(signed))
        self.assertTrue(mailtools.verify_openssl(signed, self.stage.ca.root))

    def test_3_an_upgrade_restarts_what_runs_and_loses_nothing(self):
        before, fingerprint = {n: pid(n) for n in DAEMONS}, self.certificate()
        key = shell('sha256sum %s/master.key' % ETC)
        package('dpkg', '-i', os.environ['ENROLL_NEXT'])
        self.wait_all()
        for name, old in before.items():
            with self.subTest(name):
                self.assertNotEqual(pid(name), old, 'the new program runs')
                self.assertFalse(alive(old), 'the old one has ended')
        self.assertEqual(shell('sha256sum %s/master.key' % ETC), key)
        self.assertTrue(mailtools.is_signed(self.send()))
        self.assertEqual(self.certificate(), fingerprint)

    def test_4_what_was_removed_is_stopped_and_comes_back_with_everything(self):
        fingerprint, before = self.certificate(), {n: pid(n) for n in DAEMONS}
        self.stage.postfix.set_product_milters(False)
        package('dpkg', '-r', 'enroll-milter')
        self.assertEqual([n for n, number in before.items() if alive(number)], [])
        self.assertEqual([n for n in DAEMONS if pid(n)], [])
        for path in (STORE, ETC + '/master.key', ETC + '/account.key', CONFIG):
            self.assertTrue(os.path.exists(path), path)
        run('umount', self.stage.postfix.queue + '/enroll-milter', check=False)
        package('dpkg', '-i', os.environ['ENROLL_SAME'])
        self.assertEqual([n for n in DAEMONS if alive(pid(n))], [], 'nothing starts by itself')
        run('mount', '--bind', '/var/spool/postfix/enroll-milter', self.stage.postfix.queue + '/enroll-milter')
        shell('service enroll-milter start')
        self.wait_all()
        self.stage.postfix.set_product_milters(True)
        self.assertEqual(self.certificate(), fingerprint)
        self.assertTrue(mailtools.is_signed(self.send()))
        self.stage.postfix.set_product_milters(False)
        shell('service enroll-milter stop')
        self.assertEqual([n for n in DAEMONS if pid(n)], [])
