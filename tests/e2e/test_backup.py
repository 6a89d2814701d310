"""Backup on one host, restore on another; what wrong keys say; and the store that is lost for good."""

import os
import shutil
import stat
import subprocess
import threading

import mailtools
from mailtools import message, unique
from namespace import environment, run
from product import DIR, ETC, Failed, Product, require
from stage import Stage, StageCase

SQLITE = 'enrollctl backup and restore copy its file; a database is backed up by pg_dump'
STAGE = {'ca': True}
TAKES, BUSY = 30, 15
BOX = 'box@outside.example'
STORE = DIR + '/lib/store.db'
KEYS = {'master.key': 'enroll-out', 'account.key': 'enrolld'}


def setUpModule():
    require()


def address(user):
    return user + '@corp.example'


class Backup(StageCase):
    def setUp(self):
        self.stage.ca.admin('/reset-behaviour', {})
        self.stage.ca.admin('/behaviour', {'authz_valid': True})
        self.moved = 0
        self.p = self.new_host()
        self.p.start()
        self.addCleanup(self.leave)
        self.p.ctl('enroll', address('alice'))
        self.first = self.serial(self.p.wait_state(address('alice'), 'active'))

    # -- hosts -------------------------------------------------------------

    def new_host(self):
        """The programs and a configuration, and nothing else: no store, no keys."""
        product = Product(self.stage, certificate={'key-type': 'ec:p256'})
        product.prepare()
        return product

    def leave(self):
        """Stop, and take the folder away with all that is in it; where it is now."""
        self.p.stop()
        self.moved += 1
        away = '%s.%s.%d' % (DIR, self.id().rsplit('.', 1)[1], self.moved)
        os.rename(DIR, away)
        return away

    def backup(self, *options):
        folder = '%s/backup-%s' % (self.stage.base, unique('').strip())
        self.p.ctl('backup', folder, *options, user='root')
        return folder

    def move(self, folder):
        """To another host, with this backup put in place as README says."""
        self.leave()
        self.p = self.new_host()
        shutil.copyfile(folder + '/enroll-milter.conf', self.p.config_file)
        return self.p.ctl('restore', folder, user='root')

    # -- what is seen of it --------------------------------------------------

    @staticmethod
    def serial(shown):
        return [c['serial'] for c in shown['certificates'] if c['status'] == 'active']

    def mail(self, user='alice'):
        subject = unique()
        self.stage.submit(user, address(user), [BOX], message(address(user), BOX, subject))
        return self.stage.outside.wait_subject(subject).content

    def assert_signs(self, serial):
        """alice's next mail is signed by that certificate."""
        raw = self.mail()
        self.assertTrue(mailtools.is_signed(raw), self.p.daemons['outbound'].tail(5))
        verdict = mailtools.verify_openssl(raw, self.stage.ca.root)
        self.assertTrue(verdict, verdict)
        said = run('openssl', 'x509', '-noout', '-serial', input=verdict.signers).stdout
        self.assertEqual([int(said.strip().split('=')[1], 16)], [int(s.replace(':', ''), 16) for s in serial])

    def fails_to_start(self, name, *words):
        """The daemon ends by itself, and its last line says why."""
        mark = self.p.log_mark()
        daemon = self.p._service(name)
        daemon.start()
        self.until(lambda: not daemon.running(), what=name + ' has ended')
        self.assertEqual(daemon.stop(), 1)
        lines = self.p.log(mark, name, event='start_failed')
        self.assertEqual(len(lines), 1, daemon.tail())
        for word in words:
            self.assertIn(word, lines[0]['line'])
        return lines[0]

    # -- tests ---------------------------------------------------------------

    def test_another_host_goes_on(self):
        """While mail flows and an enrollment waits for its challenge mail, which comes when the other host runs."""
        self.stage.ca.admin('/behaviour', {'authz_valid': False, 'challenge_trigger': 'never'})
        self.p.ctl('enroll', address('bob'))
        self.p.wait_state(address('bob'), 'challenge-awaited')
        ending, sent = threading.Event(), []

        def load():
            while not ending.is_set():
                sent.append(mailtools.is_signed(self.mail()))
        sender = threading.Thread(target=load)
        sender.start()
        try:
            self.until(lambda: len(sent) > 2, what='mail flows')
            folder = self.backup('--with-keys')
        finally:
            ending.set()
            sender.join()
        self.assertTrue(all(sent), 'a backup disturbs nobody')
        self.assertEqual(stat.S_IMODE(os.stat(folder).st_mode), 0o700)
        for name in os.listdir(folder):
            self.assertEqual(stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode), 0o600, name)

        said = self.move(folder)
        self.assertIn('signing goes on', said)
        self.assertNotIn('missing', said)
        for name, owner in KEYS.items():
            found = os.stat(ETC + '/' + name)
            self.assertEqual((stat.S_IMODE(found.st_mode), found.st_uid), (0o600, int(run('id', '-u', owner).stdout)), name)
        self.p.start()
        self.assert_signs(self.first)
        orders = len(self.stage.ca.admin('/state')['orders'])
        self.stage.ca.admin('/send-challenge', {'address': address('bob')})
        self.p.wait_state(address('bob'), 'active')
        self.assertEqual(len(self.stage.ca.admin('/state')['orders']), orders, 'the order under way was gone on with')
        self.assertTrue(mailtools.is_signed(self.mail('bob')))
        self.assertEqual([e for e in self.stage.ca.admin('/counters') if e.startswith('violation')], [])

    def test_nothing_is_overwritten(self):
        folder = self.backup('--with-keys')
        with self.assertRaises(Failed) as refused:
            self.p.ctl('backup', folder, user='root')
        self.assertIn(folder, refused.exception.err)
        self.p.stop()
        before = {p: os.stat(p).st_mtime_ns for p in (STORE, ETC + '/master.key', ETC + '/account.key', ETC + '/master.pem')}
        with self.assertRaises(Failed) as refused:
            self.p.ctl('restore', folder, user='root')
        self.assertIn('is there already', refused.exception.err)
        os.rename(STORE, STORE + '.away')
        kept = open(ETC + '/master.key', 'rb').read()
        self.p.ctl('restore', folder, user='root')
        self.assertEqual(open(ETC + '/master.key', 'rb').read(), kept)
        os.unlink(STORE)
        os.rename(STORE + '.away', STORE)
        self.assertEqual({p: os.stat(p).st_mtime_ns for p in before}, before)
        for name in ('nowhere', 'empty'):
            os.makedirs(self.stage.base + '/empty', exist_ok=True)
            os.rename(STORE, STORE + '.away')
            with self.assertRaises(Failed):
                self.p.ctl('restore', self.stage.base + '/' + name, user='root')
            self.assertFalse(os.path.exists(STORE))
            os.rename(STORE + '.away', STORE)
        self.p.start()
        self.assert_signs(self.first)

    def planted(self, name, target, *command):
        """enrollctl as root, with a link at STORE + name made by a service user just before; $$ in the name is its process id."""
        argv = ['sh', '-c', 'setpriv --reuid enroll-in --regid enroll-in --init-groups -- ln -s "$1" "%s%s" && shift && exec "$@"' % (STORE, name),
                'sh', target, self.p.program('enrollctl'), '--config', self.p.config_file, *command]
        return subprocess.run(argv, capture_output=True, text=True, env=environment(), cwd=DIR)

    def test_no_link_of_a_service_user_is_followed(self):
        """The store's folder belongs to the group of the services; what root does there must not end up elsewhere."""
        victim, fresh = ETC + '/victim', ETC + '/fresh'
        with open(victim, 'w') as file:
            file.write('precious\n')
        os.chmod(victim, 0o600)
        folder = self.backup('--with-keys')
        for target in (victim, fresh):
            with self.subTest('backup', target=target):
                done = self.planted('.backup-$$', target, 'backup', self.stage.base + '/planted')
                self.assertEqual(done.returncode, 1, done.stdout)
                self.assertFalse(os.path.exists(self.stage.base + '/planted'), 'half a backup is none')
        os.symlink(ETC, self.stage.base + '/link')
        self.assertEqual(self.p.ctl_run('backup', self.stage.base + '/link', user='root').returncode, 1)
        self.p.stop()
        os.rename(STORE, STORE + '.away')
        for name, target in (('.restore-$$', victim), ('.restore-$$', fresh), ('', fresh), ('', victim)):
            with self.subTest('restore', name=name, target=target):
                done = self.planted(name, target, 'restore', folder)
                self.assertEqual(done.returncode, 1, done.stdout)
                for left in [n for n in os.listdir(DIR + '/lib') if os.path.islink(DIR + '/lib/' + n)]:
                    os.unlink(DIR + '/lib/' + left)
        with open(victim) as file:
            self.assertEqual(file.read(), 'precious\n')
        self.assertEqual((os.stat(victim).st_uid, stat.S_IMODE(os.stat(victim).st_mode)), (0, 0o600))
        self.assertFalse(os.path.lexists(fresh))
        self.assertFalse([n for n in os.listdir(ETC) if n.endswith(('-wal', '-shm', '-journal')) or '.new-' in n])
        os.rename(STORE + '.away', STORE)
        self.p.start()
        self.assert_signs(self.first)

    def test_only_root_may(self):
        for user in ('helpdesk1', 'admin1', 'mallory', 'enroll-in'):
            done = self.p.ctl_run('backup', '%s/tmp/by-%s' % (self.stage.base, user), '--with-keys', user=user)
            self.assertNotEqual(done.returncode, 0, user)
            self.assertFalse(os.path.exists('%s/tmp/by-%s' % (self.stage.base, user)), 'nothing is left of it')

    def test_in_json(self):
        folder = '%s/backup-json' % self.stage.base
        self.assertTrue(self.p.json('backup', folder, user='root')['ok'])
        self.p.stop()
        os.rename(STORE, STORE + '.old')
        answer = self.p.json('restore', folder, user='root')
        self.assertTrue(answer['ok'])
        self.assertIn('restored ' + STORE, answer['done'])
        self.assertTrue(self.p.json('init', user='root')['ok'])
        done = self.p.ctl_run('restore', folder, '--json', user='root')
        self.assertEqual(done.returncode, 1)
        self.assertIn('"ok": false', done.stdout)

    def test_without_keys_and_keys_kept_elsewhere(self):
        kept = {name: open(ETC + '/' + name, 'rb').read() for name in KEYS}
        folder = self.backup()
        self.assertEqual(sorted(os.listdir(folder)), ['enroll-milter.conf', 'master.pem', 'store.db'])
        for name in os.listdir(folder):
            self.assertNotIn(b'PRIVATE KEY', open(os.path.join(folder, name), 'rb').read())
        said = self.move(folder)
        for name in KEYS:
            self.assertIn('put your copy to %s/%s' % (ETC, name), said)
        self.fails_to_start('outbound', ETC + '/master.key', 'No such file')
        self.fails_to_start('enrolld', ETC + '/account.key')
        for name, owner in KEYS.items():
            self.p.write_secret(name, kept[name].decode(), owner=owner)
        self.p.start()
        self.assert_signs(self.first)
        self.stage.ca.admin('/behaviour', {'authz_valid': True})
        self.p.ctl('enroll', address('bob'))
        self.p.wait_state(address('bob'), 'active')

    def test_without_the_account_key(self):
        """Only the master key was kept: a new account is registered, and an order of the old one begins anew."""
        self.stage.ca.admin('/behaviour', {'authz_valid': False, 'challenge_trigger': 'never'})
        self.p.ctl('enroll', address('carol'))
        self.p.wait_state(address('carol'), 'challenge-awaited')
        kept = open(ETC + '/master.key').read()
        self.move(self.backup())
        self.p.write_secret('master.key', kept, owner='enroll-out')
        self.stage.ca.admin('/behaviour', {'authz_valid': True})
        self.p.init()
        self.p.start()
        self.assert_signs(self.first)
        shown = self.p.wait_state(address('carol'), ('active', 'waiting', 'blocked', 'failed'))
        if shown['enrollment']['state'] != 'active':
            self.p.ctl('retry', address('carol'))
        self.p.wait_state(address('carol'), 'active')

    def test_wrong_master_key_says_so_at_the_start(self):
        self.p.stop()
        right = {n: open(ETC + '/' + n).read() for n in ('master.key', 'master.pem')}
        other = run('openssl', 'genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256').stdout
        with self.subTest('another key'):
            self.p.write_secret('master.key', other, owner='enroll-out')
            self.fails_to_start('outbound', ETC + '/master.key', 'does not belong to the master certificate')
        with self.subTest('no key'):
            self.p.write_secret('master.key', 'nonsense\n', owner='enroll-out')
            self.fails_to_start('outbound', ETC + '/master.key')
        with self.subTest('readable by others'):
            self.p.write_secret('master.key', right['master.key'], owner='enroll-out')
            os.chmod(ETC + '/master.key', 0o644)
            self.fails_to_start('outbound', ETC + '/master.key', 'others may read it')
        with self.subTest('another pair than the store was made with'):
            for name in right:
                os.unlink(ETC + '/' + name)
            self.p.init()
            self.fails_to_start('outbound', ETC + '/master.pem', 'wrapped for another master key')
            self.fails_to_start('enrolld', ETC + '/master.pem', 'wrapped for another master key')
        with self.subTest('key lost'):
            os.unlink(ETC + '/master.key')
            os.unlink(ETC + '/master.pem')
            self.fails_to_start('outbound', ETC + '/master.pem', 'No such file')
            self.fails_to_start('enrolld', ETC + '/master.pem', 'No such file')
        with open(ETC + '/master.pem', 'w') as file:
            file.write(right['master.pem'])
        self.p.write_secret('master.key', right['master.key'], owner='enroll-out')
        self.p.start()
        self.assert_signs(self.first)

    def test_store_lost_without_backup(self):
        """README: users are enrolled anew with their next mail; the old certificate stays in the directory."""
        old = self.stage.ldap.certificates('alice')
        self.p.stop()
        os.rename(DIR + '/lib', DIR + '/lib.lost')
        self.p.init()
        self.p.start()
        self.assertFalse(mailtools.is_signed(self.mail()), 'nobody can sign until enrolled anew')
        again = self.serial(self.p.wait_state(address('alice'), 'active'))
        self.assertNotEqual(again, self.first)
        self.assert_signs(again)
        now = self.stage.ldap.certificates('alice')
        self.assertLess(set(old), set(now))

    def test_store_and_master_key_lost(self):
        self.p.stop()
        os.rename(DIR + '/lib', DIR + '/lib.lost')
        for name in ('master.key', 'master.pem'):
            os.rename(ETC + '/' + name, ETC + '/' + name + '.lost')
        self.p.init()
        self.p.start()
        self.assertFalse(mailtools.is_signed(self.mail()))
        again = self.serial(self.p.wait_state(address('alice'), 'active'))
        self.assert_signs(again)
