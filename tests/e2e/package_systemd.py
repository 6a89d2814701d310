"""The Debian package under a systemd that really runs: as package_inside.py, with the units in place of the init script.

systemd is process 1 of a namespace of its own, which has the stage's network and files; it may change nothing of the kernel's.
"""

import os
import pwd
import re
import shlex
import subprocess

import mailtools
import namespace
import package_inside
import service
from namespace import BASE, run
from package_inside import CONFIG, ETC, Packaged, readme_lines
from stage import Stage, StageCase

STAGE = {'ca': True}
UNITS = {'enrolld': 'enrolld', 'outbound': 'enroll-milter@outbound', 'inbound': 'enroll-milter@inbound'}
EXAMPLES = '/usr/share/doc/enroll-milter/examples'

BOOT = r'''
set -e
mount --make-rshared /
mount -t proc proc /proc
mount -o bind,ro /proc/sys /proc/sys
mount -t sysfs -o ro sysfs /sys
mount -t tmpfs none /sys/fs/cgroup
mkdir /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
mount -t tmpfs -o mode=755 none /run
exec setpriv --bounding-set=-sys_module,-sys_time,-sys_boot,-mknod --inh-caps=-all env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	/lib/systemd/systemd --log-target=console --show-status=0 --unit=basic.target
'''


class Systemd:
    """Process 1 and what it runs."""

    def __init__(self):
        self.log = open(BASE + '/log/systemd.log', 'w')
        self.outer = subprocess.Popen(['unshare', '-mpiC', '--propagation', 'slave', '--fork', '--kill-child=KILL', 'sh', '-c', BOOT], stdin=subprocess.DEVNULL,
                                      stdout=self.log, stderr=self.log, env=namespace.environment(), cwd='/', start_new_session=True)

    def process1(self):
        child, = subprocess.run(['pgrep', '-P', str(self.outer.pid)], capture_output=True, text=True).stdout.split()
        return child

    def enter(self):
        # -r: a namespace's own root is the machine's, ours is the copy that process 1 lives in.
        return ['nsenter', '-t', self.process1(), '-m', '-p', '-C', '-r', '-w', '--']

    def run(self, *argv, **more):
        try:
            return run(*self.enter(), *argv, **more)
        except RuntimeError as error:
            raise RuntimeError('%s\n%s' % (error, self.journal())) from None

    def journal(self, *more):
        return run(*self.enter(), 'journalctl', '--no-pager', '--lines=60', *more, check=False).stdout

    def shell(self, line, **more):
        return self.run('sh', '-c', 'cd /debs || exit 1\n' + line, **more).stdout      # there is none on the machine

    def up(self):
        try:
            return self.run('systemctl', 'is-active', 'basic.target', check=False).stdout.strip() == 'active'
        except (ValueError, RuntimeError):
            return False

    def show(self, unit, what):
        return self.run('systemctl', 'show', '--value', '-p', what, unit).stdout.strip()

    def main_pid(self, unit):
        return int(self.show(unit, 'MainPID'))


class Booted(Packaged):
    def ctl_run(self, *args, user='root', **more):
        return super().ctl_run(*args, user=user, **more)        # nobody else may look into another process' /run


class UnderSystemd(StageCase):
    @classmethod
    def setUpClass(cls):
        stage = Stage.current
        cls.p = Booted(stage, milters=False)
        run('mount', '--bind', '/var/spool/postfix/enroll-milter', stage.postfix.queue + '/enroll-milter')
        package_inside.prepare(cls.p)
        cls.s = Systemd()

    send, certificate = package_inside.Life.send, package_inside.Life.certificate

    def wait_running(self):
        for unit in UNITS.values():
            service.until(lambda: self.s.show(unit, 'ActiveState') == 'active', 60, unit + ' runs', say=lambda: self.s.journal('--unit=' + unit))

    def test_1_the_readmes_lines_make_it_run(self):
        self.until(self.s.up, 60, 'systemd is up')
        os.symlink('/proc/%s/root/run/enroll-milter' % self.s.process1(), '/run/enroll-milter')     # it has a /run of its own
        for line in readme_lines()[1:]:
            if 'update-rc.d' not in line:
                with self.subTest(line):
                    self.s.shell(line)
        self.wait_running()
        self.stage.postfix.set_product_milters(True)
        for unit in UNITS.values():
            self.assertEqual(self.s.show(unit, 'Type'), 'notify')

    def test_2_mail_is_signed_and_the_units_forbid_nothing_that_is_needed(self):
        self.p.configure(mode='sign')
        self.s.shell('editor %s && enrollctl config check && enrollctl init && systemctl reload %s' % (CONFIG, ' '.join(UNITS.values())))
        self.until(lambda: mailtools.is_signed(self.send()), 120, 'mail is signed')
        refused = self.s.run('journalctl', '--no-pager', '-p', 'warning', *['--unit=' + u for u in UNITS.values()], check=False).stdout
        self.assertNotRegex(refused, 'Operation not permitted|Permission denied|mlock')

    def test_3_the_master_key_is_a_credential_that_is_bound_to_the_machine(self):
        lines = re.findall(r'^#   (\S.*)$', package_inside.read(EXAMPLES + '/systemd/master.conf'), re.M)
        self.assertEqual(len(lines), 7)
        fingerprint = self.certificate()
        self.p.configure(master={'certificate': ETC + '/master.pem', 'key': 'credential:enroll-milter.master'})
        for line in lines:
            with self.subTest(line):
                self.s.shell('editor ' + CONFIG if line.startswith('master = ') else line)
        self.assertFalse(os.path.exists(ETC + '/master.key'))
        self.until(lambda: mailtools.is_signed(self.send()), 60, 'mail is signed again')
        self.assertEqual(self.certificate(), fingerprint)
        with open('/etc/credstore.encrypted/enroll-milter.master') as file:
            self.assertNotIn('PRIVATE KEY', file.read())

    def test_4_the_other_two_cannot_reach_it(self):
        for name in ('inbound', 'enrolld'):
            number = self.s.main_pid(UNITS[name])
            inside = self.s.enter() + ['nsenter', '-t', str(number), '-m', '-r', '--', 'setpriv', '--reuid', str(pwd.getpwnam(
                {'inbound': 'enroll-in', 'enrolld': 'enrolld'}[name]).pw_uid), '--clear-groups', '--']
            with self.subTest(name):
                done = run(*inside, 'sh', '-c', 'cat /run/credentials/enroll-milter@outbound.service/* /etc/credstore.encrypted/*', check=False)
                self.assertEqual(done.stdout, '')
                self.assertNotEqual(done.returncode, 0)

    def test_5_an_upgrade_restarts_them(self):
        before = {u: self.s.main_pid(u) for u in UNITS.values()}
        self.s.shell('DEBIAN_FRONTEND=noninteractive dpkg -i %s 2>&1' % shlex.quote(os.environ['ENROLL_NEXT']))
        self.wait_running()
        for unit, number in before.items():
            self.assertNotIn(self.s.main_pid(unit), (0, number), unit)
        self.assertTrue(mailtools.is_signed(self.send()))

    def test_6_removed_they_are_stopped(self):
        self.stage.postfix.set_product_milters(False)
        self.s.shell('DEBIAN_FRONTEND=noninteractive dpkg -r enroll-milter 2>&1')
        for unit in UNITS.values():
            self.assertEqual(self.s.show(unit, 'MainPID'), '0')
        self.assertTrue(os.path.exists('/var/lib/enroll-milter/store.db'))
