"""A new master key while mail is signed and certificates come in, killed at any point, and the old key needed no longer."""

import contextlib
import os
import shutil
import signal
import subprocess
import time

import mailtools
from enrolling import Enrolling, address
from mailtools import message, unique
from namespace import environment
from product import DIR, ETC, Product, require
from stage import Stage, StageCase

STAGE = {'ca': True, 'users': 40}
TAKES, BUSY = 25, 17
BOX = 'box@outside.example'
KEY, CERTIFICATE = ETC + '/master.key', ETC + '/master.pem'
PEOPLE = iter('user%05d' % n for n in range(STAGE['users']))
MANY = 4000     # keys that are nobody's, so that wrapping them takes a while


def setUpModule():
    require()


class MasterKey(StageCase):
    def setUp(self):
        s = self.s = Stage.current
        self.p = Product(s, certificate={'key-type': 'ec:p256'}, export='keys', store={'busy-ms': 30000})
        self.p.start()
        self.addCleanup(self.p.stop)
        self.many = Enrolling(s, self.p)
        self.many.behave(authz_valid=True)

    def active(self):
        user = next(PEOPLE)
        self.many.enroll(user)
        self.many.wait_state([user], 'active')
        return user

    def signed(self, user):
        subject = unique()
        self.s.submit(user, address(user), [BOX], message(address(user), BOX, subject))
        return mailtools.is_signed(self.s.outside.wait_subject(subject).content)

    def status(self):
        return self.p.json('masterkey', 'status', user='root')

    def rotate(self, **more):
        return self.p.ctl('masterkey', 'rotate', user='root', **more)

    def fill(self):
        """Many more keys, copies of one."""
        self.p.sql('WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)'
                   ' INSERT INTO user_keys (enrollment_id, wrapped, spki_sha256, created_at)'
                   " SELECT k.enrollment_id, k.wrapped, substr('%064d' || i, length(CAST(i AS TEXT)) + 1), 0 FROM n, (SELECT * FROM user_keys LIMIT 1) AS k" % 0, MANY)

    def restart_outbound(self):
        self.p.restart('outbound')

    def kill_when(self, moment):
        """rotate, and kill -9 of it and of its child when the moment has come."""
        argv = [self.p.program('enrollctl'), '--config', self.p.config_file, 'masterkey', 'rotate']
        child = subprocess.Popen(argv, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(), cwd=DIR)
        while child.poll() is None and not moment():
            time.sleep(0.002)
        self.assertIsNone(child.poll(), 'it ended before the moment came')
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()

    def test_all_keys_go_over_and_the_old_one_is_needed_no_more(self):
        user = self.active()
        before = self.status()
        with open(KEY) as file:
            old = file.read()
        said = self.rotate()
        self.assertIn('1 user keys, 1 of them wrapped anew', said)
        after = self.status()
        self.assertNotEqual(after['public_key_sha256'], before['public_key_sha256'])
        self.assertEqual((after['user_keys'], after['for_another'], after['rotation']), (1, 0, 'none'))
        with open(KEY) as file:
            self.assertNotEqual(file.read(), old)
        with open(KEY + '.old') as file:
            self.assertEqual(file.read(), old)
        for path, mode in ((KEY, 0o600), (KEY + '.old', 0o600), (CERTIFICATE, 0o644)):
            self.assertEqual(os.stat(path).st_mode & 0o777, mode)
        self.assertFalse(os.path.exists(KEY + '.next') or os.path.exists(CERTIFICATE + '.next'))
        self.assertTrue(self.signed(user), 'with the key in memory')
        second = self.active()
        self.assertTrue(self.signed(second), 'wrapped for the new one; the instance that runs has loaded it')
        os.unlink(KEY + '.old')
        self.restart_outbound()
        self.assertTrue(self.signed(user) and self.signed(second))
        self.assertEqual(self.status()['for_another'], 0)
        events = [e for e in self.p.json('events', '--limit', '100')['events'] if e['event'] == 'master_key_rotated']
        self.assertEqual(len(events), 1)
        self.assertTrue(events[0]['actor'].startswith('admin:root'))
        if not self.p.database:
            self.p.ctl('backup', '%s/backup-%s' % (self.s.base, unique('').strip()), user='root')
        for who in ('admin1', 'helpdesk1'):
            self.assertEqual(self.p.ctl_run('masterkey', 'rotate', user=who).returncode, 1)

    def test_killed_in_the_middle_again_and_again_while_mail_is_signed(self):
        user = self.active()
        self.fill()
        old = self.p.sql('SELECT wrapped FROM user_keys LIMIT 1')[0][0]
        began = self.status()['public_key_sha256']

        def anew():
            return self.p.sql('SELECT COUNT(*) FROM user_keys WHERE wrapped <> ?', old)[0][0]
        moments = [lambda: os.path.exists(KEY + '.next'), lambda: os.path.exists(CERTIFICATE + '.next'),
                   lambda: self.p.sql("SELECT value FROM flags WHERE name = 'master-key'")[0][0] != began]
        moments += [lambda n=n: anew() > n for n in (0, MANY // 4, MANY // 2)]
        for n, moment in enumerate(moments):
            self.kill_when(moment)
            status = self.status()
            if n >= 3:
                self.assertTrue(0 < status['for_another'] < status['user_keys'], status)
            self.restart_outbound()     # nothing in memory: the files and the store as the kill left them
            self.assertTrue(self.signed(user))
            if os.path.exists(CERTIFICATE + '.next') and not self.p.database:
                done = self.p.ctl_run('backup', self.s.base + '/backup-half', user='root')
                self.assertEqual(done.returncode, 1)
                self.assertIn('under way', done.stderr)
        second = self.active()          # enrolld goes on meanwhile
        self.assertTrue(self.signed(second))
        self.rotate()
        status = self.status()
        self.assertEqual((status['user_keys'], status['for_another'], status['rotation']), (MANY + 2, 0, 'none'))
        self.assertNotEqual(status['public_key_sha256'], began)
        os.unlink(KEY + '.old')
        self.restart_outbound()
        self.assertTrue(self.signed(user) and self.signed(second))

    def test_killed_between_the_moves_of_the_files(self):
        user = self.active()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(KEY + '.old')
        for name in (KEY, CERTIFICATE):
            shutil.copy2(name, name + '.copy')
            shutil.chown(name + '.copy', os.stat(name).st_uid, os.stat(name).st_gid)
        self.rotate()
        # As it was before the certificate took its place; then as before the key did, with the old one linked already.
        os.rename(CERTIFICATE, CERTIFICATE + '.next')
        shutil.copy2(CERTIFICATE + '.copy', CERTIFICATE)
        self.stands(user)
        os.rename(KEY, KEY + '.next')
        os.link(KEY + '.old', KEY)
        self.stands(user)
        self.rotate()
        self.assertEqual((self.status()['rotation'], self.status()['for_another']), ('none', 0))
        os.unlink(KEY + '.old')
        self.stands(user)
        # A key without its certificate is of a rotation that had not begun.
        with open(KEY + '.next', 'w') as file:
            file.write('half a k')
        self.stands(user)
        self.rotate()
        self.assertFalse(os.path.exists(KEY + '.next'))
        self.stands(user)
        done = self.p.ctl_run('masterkey', 'rotate', user='root')
        self.assertEqual(done.returncode, 1)
        self.assertIn('before the present one is still there', done.stderr)

    def stands(self, user):
        self.p.restart('outbound', 'enrolld')
        self.assertTrue(self.signed(user))
        fresh = self.active()
        self.assertTrue(self.signed(fresh))
