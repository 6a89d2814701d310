"""From one version to the next: who upgrades the store, who waits, who is cut off; and the init script, which lets nobody notice a restart."""

import concurrent.futures
import contextlib
import json
import os
import re
import signal
import sqlite3
import stat
import subprocess

import mailtools
from mailtools import message, unique
from namespace import BASE, GATEWAY, environment
from product import DIR, Product, require
from stage import Stage, StageCase

SQLITE = 'older stores are files, and enrolld brings them forward'
STAGE = {'ca': True}
TAKES, BUSY = 20, 10
BOX = 'box@outside.example'
ALICE = 'alice@corp.example'
STORE = DIR + '/lib/store.db'
TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../..')
# What the step from 6 to 7 made.
BACK_TO_6 = """DROP TABLE IF EXISTS turns; DROP INDEX IF EXISTS enrollments_figures; DROP INDEX IF EXISTS certificates_expiry; DROP INDEX IF EXISTS revocations_open;
               UPDATE meta SET value = 6 WHERE name = 'schema_version'; DELETE FROM migrations WHERE version > 6; PRAGMA user_version = 6;"""


def setUpModule():
    require()


def schema(path=STORE):
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as db:
        return int(db.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()[0])


class Installed(StageCase):
    p = None

    @classmethod
    def setUpClass(cls):
        require()
        if Installed.p:
            return
        Stage.current.ca.admin('/behaviour', {'authz_valid': True})
        Installed.p = Product(Stage.current, export='keys')
        cls.p.start()
        cls.p.ctl('enroll', ALICE)
        cls.p.wait_state(ALICE, 'active')

    def mail(self):
        subject = unique()
        self.stage.submit('alice', ALICE, [BOX], message(ALICE, BOX, subject))
        return subject

    def assert_signed(self, *subjects):
        for subject in subjects:
            self.assertTrue(mailtools.is_signed(self.stage.outside.wait_subject(subject).content), subject)

    def note(self, instance, **values):
        """What a milter of another version would have noted of itself; as it was when the test is over."""
        path = '%s/lib/running-%s' % (DIR, instance)
        with open(path) as file:
            was = text = file.read()
        for key, value in values.items():
            text, n = re.subn(r' %s=\S+' % key, ' %s=%s' % (key, value), text)
            self.assertEqual(n, 1, key)
        self.write(path, text)
        self.addCleanup(self.write, path, was)

    @staticmethod
    def write(path, text):
        with open(path, 'w') as file:
            file.write(text)


class Store(Installed):
    """One of the schema before, while the milters run and sign."""

    def setUp(self):
        self.p.stop('enrolld')
        self.known = json.loads(self.ctl('store', 'check', '--json').stdout)['known']
        self.back()
        self.addCleanup(self.p.start)

    @staticmethod
    def back():
        with contextlib.closing(sqlite3.connect(STORE, timeout=60)) as db:
            db.executescript(BACK_TO_6)

    def ctl(self, *words):
        return self.p.ctl_run(*words, user='root')

    def refused(self, *words):
        done = self.ctl(*words)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertEqual(schema(), 6, words)
        return done.stderr

    def test_a_command_that_needs_this_schema_says_how_to_get_it_and_changes_nothing(self):
        folder = BASE + '/keys'
        os.makedirs(folder, exist_ok=True)
        password = self.p.write_secret('export.password', 'a long password of our own', 'root')
        for words in (['masterkey', 'status'], ['masterkey', 'rotate'], ['export', ALICE, '--pkcs12', folder + '/a.p12', '--password-file', password],
                      ['import', self.p.config['ca']['anchor-file'], '--dry-run'], ['revoke', '01', '--with-key']):
            with self.subTest(words):
                said = self.refused(*words)
                self.assertIn('has schema 6', said)
                self.assertIn('`enrollctl store upgrade`', said)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.p.config['master']['key'] + '.next')     # the rotation had begun with the files
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.p.config['master']['certificate'] + '.next')
        self.assert_signed(self.mail())

    def test_backup_upgrade_and_go_on(self):
        folder = '%s/before-%s' % (BASE, unique('').strip())
        self.p.ctl('backup', folder, user='root')
        self.assertEqual((schema(folder + '/store.db'), schema()), (6, 6))
        looked = json.loads(self.ctl('store', 'check', '--json').stdout)
        self.assertEqual((looked['integrity'], looked['schema'], looked['known'], looked['readable_by']), ('ok', 6, self.known, 6))
        self.assertIn('`enrollctl store upgrade`', looked['standing'])

        said = self.ctl('store', 'upgrade', '--dry-run')
        self.assertEqual((said.returncode, schema()), (0, 6), said.stderr)
        self.assertIn('would upgrade %s: from schema 6 to %d' % (STORE, self.known), said.stdout)
        said = json.loads(self.ctl('store', 'upgrade', '--json').stdout)
        self.assertEqual((said['from'], said['to'], said['upgraded'], schema()), (6, self.known, True, self.known))
        said = self.ctl('store', 'upgrade')
        self.assertEqual(said.returncode, 0)
        self.assertIn('nothing to do', said.stdout)
        for name in os.listdir(DIR + '/lib'):
            if name.startswith('store.db'):
                found = os.stat(DIR + '/lib/' + name)
                self.assertEqual(stat.S_IMODE(found.st_mode), 0o660, name)
                self.assertNotEqual(found.st_uid, 0, name + ' would lock the services out')
        looked = json.loads(self.ctl('store', 'check', '--json').stdout)
        self.assertEqual((looked['schema'], looked['standing']), (self.known, "this version's"))
        self.assert_signed(self.mail())
        self.p.start('enrolld')
        self.p.wait_state(ALICE, 'active')

    def test_nobody_is_cut_off_unasked(self):
        self.note('inbound', schema=5, version='0.0.9')
        for words in (['store', 'upgrade'], ['store', 'upgrade', '--dry-run']):
            said = self.refused(*words)
            self.assertIn('readable by milters that know schema 6', said)
            self.assertIn('enroll-milter@inbound, which runs as version 0.0.9, knows schemas up to 5', said)
        self.p.stop('inbound')
        said = self.ctl('store', 'upgrade')
        self.assertEqual((said.returncode, schema()), (0, self.known), said.stderr)
        self.assert_signed(self.mail())

    def test_an_older_enrolld_would_write_as_it_knows_it(self):
        self.p.start('enrolld')
        self.assertEqual(schema(), self.known, 'enrolld upgrades when it starts')
        self.back()
        self.assertIn('enrolld of an older version runs: restart it', self.refused('store', 'upgrade'))

    def test_a_damaged_store_is_left_alone(self):
        with contextlib.closing(sqlite3.connect(STORE, timeout=60)) as db:
            was = db.execute('SELECT certificate_id FROM enrollments WHERE id = 1').fetchone()[0]
            db.executescript('PRAGMA foreign_keys = OFF; UPDATE enrollments SET certificate_id = 4711 WHERE id = 1')
        try:
            self.assertIn('enrollctl restore', self.refused('store', 'check'))
            self.assertIn('refers to rows that are not there', self.refused('store', 'upgrade'))
        finally:
            with contextlib.closing(sqlite3.connect(STORE, timeout=60)) as db:
                db.executescript('UPDATE enrollments SET certificate_id = %d WHERE id = 1' % was)


class Doctor(Installed):
    def doctor(self):
        answer = json.loads(self.p.ctl_run('doctor', 'running', '--json', user='root').stdout)
        return [(c['verdict'], c['text'], [f['text'] for f in c.get('fix', [])]) for c in answer['checks']]

    def test_a_milter_that_was_not_restarted_is_told_with_the_fix(self):
        self.assertEqual([d[0] for d in self.doctor()], ['ok'])
        for values, verdict in (({'version': '0.0.9'}, 'warning'), ({'version': '0.0.9', 'schema': 5}, 'fault')):
            self.note('outbound', **values)
            (said, text, fixes), = self.doctor()
            self.assertEqual(said, verdict)
            self.assertIn('enroll-milter@outbound still runs as version 0.0.9', text)
            self.assertEqual([re.sub('systemctl restart enroll-milter@outbound', 'service enroll-milter restart', f) for f in fixes], ['service enroll-milter restart'])
        self.p.restart('outbound')
        self.assertEqual([d[0] for d in self.doctor()], ['ok'])

    def test_one_that_was_stopped_is_nobody_to_restart(self):
        self.note('inbound', version='0.0.9')
        self.assertEqual([d[0] for d in self.doctor()], ['warning'])
        self.p.stop('inbound')
        self.addCleanup(self.p.start)
        self.assertEqual([d[0] for d in self.doctor()], ['ok'])


class Script(Installed):
    """The init script of a host without systemd."""

    SESSIONS = 10

    def setUp(self):
        self.p.stop()
        self.addCleanup(self.p.start)
        self.script = BASE + '/init-script'
        with open(TOP + '/sysvinit/enroll-milter.in') as file:
            text = file.read()
        for name, value in (('sysconfdir', BASE + '/etc-init'), ('sbindir', self.p.build), ('runstatedir', DIR + '/run'), ('pkgdatadir', BASE + '/share-init')):
            text = text.replace('@%s@' % name, value)
        self.assertNotRegex(text, '@[a-z]+@')
        for folder in ('etc-init/enroll-milter', 'share-init'):
            os.makedirs('%s/%s' % (BASE, folder), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.symlink(self.p.config_file, BASE + '/etc-init/enroll-milter/enroll-milter.conf')
        for path, content in ((self.script, text), (BASE + '/share-init/setup-host', '#!/bin/sh\n')):
            self.write(path, content)
            os.chmod(path, 0o755)
        self.addCleanup(self.run_script, 'stop')
        self.assertEqual(self.run_script('start').returncode, 0)

    def run_script(self, verb):
        return subprocess.run([self.script, verb], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
                              env=environment(PATH='/usr/sbin:/usr/bin:/sbin:/bin'))

    @staticmethod
    def pid(name):
        with open('%s/run/enroll-milter-%s.pid' % (DIR, name)) as file:
            return int(file.read())

    def pids(self):
        return [self.pid(n) for n in ('enrolld', 'outbound', 'inbound')]

    @staticmethod
    def alive(pid):
        try:
            with open('/proc/%d/stat' % pid) as file:
                return file.read().rsplit(')', 1)[1].split()[0] != 'Z'
        except FileNotFoundError:
            return False

    def session(self):
        session = mailtools.Session((GATEWAY, 587), 'alice', self.stage.password('alice'))
        subject = unique()
        session.send(ALICE, [BOX], message(ALICE, BOX, subject))
        return session, subject

    def test_a_restart_under_open_sessions_and_new_mail_is_not_noticed(self):
        before = self.pids()
        with concurrent.futures.ThreadPoolExecutor(self.SESSIONS) as pool:
            open_ones = list(pool.map(lambda _: self.session(), range(self.SESSIONS)))
            restart = pool.submit(self.run_script, 'restart')
            sent = []
            while not restart.done():
                sent.append(self.mail())            # sessions that begin meanwhile
                if len(sent) == 3:
                    for session, _subject in open_ones:     # and mails in sessions from before
                        subject = unique()
                        session.send(ALICE, [BOX], message(ALICE, BOX, subject))
                        sent.append(subject)
                        session.close()
            done = restart.result()
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertGreater(len(sent), self.SESSIONS)
        self.assert_signed(*sent, *(subject for _session, subject in open_ones))
        after = self.pids()
        self.assertEqual([a for a in before if self.alive(a)], [], 'the old ones are gone')
        self.assertEqual([a for a in after if not self.alive(a)], [])
        self.assert_signed(self.mail())
        self.assertEqual(self.run_script('status').returncode, 0)

    def test_a_successor_that_does_not_start_leaves_the_old_one(self):
        outbound = self.pid('outbound')
        self.p.configure(milter={'socket-group': 'nobody-here'})
        self.addCleanup(self.p.configure, milter={'socket-group': 'postfix'})
        self.assertNotEqual(self.run_script('restart').returncode, 0)
        self.assertEqual(self.pid('outbound'), outbound)
        self.assertTrue(self.alive(outbound))
        self.assert_signed(self.mail())

    def test_stop_and_the_next_start(self):
        before = self.pids()
        self.assertEqual(self.run_script('stop').returncode, 0)
        self.assertEqual([a for a in before if self.alive(a)], [])
        self.assertEqual(self.run_script('status').returncode, 3)
        self.assertEqual(self.run_script('start').returncode, 0)
        self.assert_signed(self.mail())
        again = self.pids()
        self.assertEqual(self.run_script('start').returncode, 0)
        self.assertEqual(self.pids(), again, 'what runs stays')
        os.kill(self.pid('inbound'), signal.SIGKILL)
        self.assertEqual(self.run_script('restart').returncode, 0, 'a dead one is started')
        self.assertTrue(self.alive(self.pid('inbound')))
