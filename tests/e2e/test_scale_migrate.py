"""The store goes from SQLite to PostgreSQL and back, with certificates in use, while nobody loses a key."""

import os
import signal
import sqlite3
import subprocess
import time
import unittest

import mailtools
import service
import stage_postgresql
from mailtools import message, unique
from namespace import environment
from product import DIR, Product, require
from stage import Stage, StageCase

STAGE = {'ca': True, 'postgresql': True}
TAKES, BUSY = 30, 15
BOX = 'box@outside.example'
OLD, BACK = DIR + '/lib/store.db', DIR + '/back/store.db'


def setUpModule():
    require()
    reason = stage_postgresql.postgresql.why_not()
    if reason:
        raise unittest.SkipTest(reason)


class Migrate(StageCase):
    """Tests build on each other, in the order of their names."""

    @classmethod
    def setUpClass(cls):
        require()
        cls.pg = Stage.current.postgresql
        cls.new = cls.pg.connection()
        cls.pg.fresh()
        cls.p = Product(Stage.current, certificate={'key-type': 'ec:p256'}, store={'type': 'sqlite', 'path': OLD, 'connection': None})
        cls.p.start()

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()

    # -- words ---------------------------------------------------------------

    def serial(self, user):
        """Of the certificate that a mail of this user is signed with."""
        subject = unique()
        self.stage.submit(user, user + '@corp.example', [BOX], message(user + '@corp.example', BOX, subject))
        content = self.stage.outside.wait_subject(subject).content
        self.assertTrue(mailtools.is_signed(content))
        for name, verdict in mailtools.verify_all(content, self.stage.ca.root).items():
            self.assertTrue(verdict, '%s: %r' % (name, verdict))
        return [c['serial'] for c in self.p.show(user + '@corp.example')['certificates'] if c['status'] == 'active'][0]

    def enroll(self, user):
        self.p.ctl('enroll', user + '@corp.example')
        return self.p.wait_state(user + '@corp.example', 'active')

    def migrate(self, *args, **more):
        return self.p.json('store', 'migrate', *args, user='root', **more)

    def refused(self, *args):
        done = self.p.ctl_run('store', *args, user='root')
        self.assertEqual(done.returncode, 1, done.stdout)
        return done.stderr

    def sound(self):
        found = self.p.json('store', 'check', user='root')
        self.assertEqual((found['integrity'], found['consistency'], found['findings']), ('ok', 'ok', []))
        return found

    def on(self, **store):
        self.p.configure(store=store)

    # -- in this order ----------------------------------------------------------

    def test_1_a_store_in_use_is_not_moved(self):
        self.enroll('alice')
        self.enroll('bob')
        type(self).alice = self.serial('alice')
        self.sound()
        self.assertIn('enrolld runs', self.refused('migrate', '--to', self.new))
        self.p.stop('enrolld')
        self.assertIn('enroll-milter@outbound runs', self.refused('migrate', '--to', self.new))
        plan = self.migrate('--to', self.new, '--dry-run')
        self.assertTrue(plan['dry_run'] and plan['made'])
        self.assertFalse(self.pg.there(), 'a dry run makes nothing')
        self.p.stop()
        self.assertIn('is a file by its full path', self.refused('migrate', '--to', 'somewhere'))

    def test_2_killed_on_the_way_and_moved(self):
        with sqlite3.connect(OLD) as db:        # what a busy gateway has
            db.executemany("INSERT INTO mail_events (at, sender_key, verdict, reason) VALUES (?, ?, 'signed', '')", ((n, 'x%d' % n) for n in range(60000)))
        db.close()
        done = 0
        for wait in (0.3, 1.2):
            child = subprocess.Popen([self.p.program('enrollctl'), '--config', self.p.config_file, 'store', 'migrate', '--to', self.new],
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment())
            time.sleep(wait)
            child.send_signal(signal.SIGKILL)
            done += child.wait() == 0
            child.stdout.close()
        if not done:
            self.on(type='postgresql', connection=self.new)
            if self.pg.there():
                self.assertIn('not complete', self.refused('check'))
            self.on(type='sqlite', connection=None)
            service.until(self.nobody_is_left, 60, 'the server has seen that the killed one is gone')
            moved = self.migrate('--to', self.new)
            self.assertGreater(moved['rows'], 60000)
            print('%d rows, %.0f a second; %d were there' % (moved['rows'], moved['rows'] / moved['seconds'], moved['there']))
        self.assertIn('was moved to', self.refused('check'))

    def nobody_is_left(self):
        return self.pg.cluster.psql("SELECT count(*) FROM pg_stat_activity WHERE datname = 'enroll' AND pid <> pg_backend_pid()") == '0'

    def test_3_the_old_place_refuses_daemons(self):
        started = subprocess.run([self.p.program('enrolld'), '--config', self.p.config_file], capture_output=True, text=True, timeout=30, env=environment())
        self.assertNotEqual(started.returncode, 0)
        self.assertIn('was moved to', started.stderr)
        self.assertIn(self.new, started.stderr)

    def test_4_everything_goes_on_in_postgresql(self):
        self.on(type='postgresql', connection=self.new)
        self.p.start()
        self.assertEqual(self.serial('alice'), self.alice, 'the old certificate signs')
        self.p.ctl('rotate', 'bob@corp.example')
        before = [c['serial'] for c in self.p.show('bob@corp.example')['certificates']]
        self.wait_new('bob', before)
        self.enroll('carol')
        self.serial('carol')
        self.assertEqual(len(self.pg.sql("SELECT id FROM enrollments", ())), 3)
        self.p.stop()
        self.sound()
        self.assertIn('has changed since', self.refused('migrate', '--undo'))

    def wait_new(self, user, before):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            now = [c['serial'] for c in self.p.show(user + '@corp.example')['certificates'] if c['status'] == 'active' and c['serial'] not in before]
            if now:
                return now[0]
            time.sleep(0.2)
        self.fail('%s got no new certificate' % user)

    def test_5_and_back_into_a_new_file(self):
        bob = [c for c in self.pg.sql("SELECT serial, status FROM certificates c JOIN enrollments e ON e.id = c.enrollment_id WHERE e.address = 'bob@corp.example' ORDER BY c.id", ())]
        os.mkdir(DIR + '/back')
        subprocess.run(['chown', 'enrolld:enroll-milter', DIR + '/back'], check=True)
        os.chmod(DIR + '/back', 0o2770)
        self.migrate('--to', BACK)
        self.assertIn('was moved to ' + BACK, self.refused('check'))
        self.on(type='sqlite', path=BACK, connection=None)
        self.sound()
        self.p.start()
        self.assertEqual(self.serial('alice'), self.alice)
        found = sqlite3.connect('file:%s?mode=ro' % BACK, uri=True)
        self.assertEqual(found.execute("SELECT serial, status FROM certificates c JOIN enrollments e ON e.id = c.enrollment_id"
                                       " WHERE e.address = 'bob@corp.example' ORDER BY c.id").fetchall(), bob)
        found.close()
        self.enroll('dave')
        self.serial('dave')
        self.p.stop()

    def somebody_works_there(self):
        """Another gateway, in the middle of a transaction.  --yes gives up what is new there, not that there is one store."""
        with self.pg.locked():
            self.refused('migrate', '--undo', '--yes')
        self.assertIn('was moved to ' + self.new, self.refused('check'))
        self.on(type='postgresql', connection=self.new)
        self.sound()
        self.on(type='sqlite', connection=None)

    def test_6_undone_as_long_as_nothing_happened_and_for_good(self):
        self.pg.fresh()
        self.migrate('--to', self.new)
        self.somebody_works_there()
        said = self.p.ctl('store', 'migrate', '--undo', user='root')
        self.assertIn('is the store again', said)
        self.p.start()
        self.assertEqual(self.serial('alice'), self.alice)
        self.p.stop()
        self.migrate('--to', self.new)
        self.assertIn('for good', self.p.ctl('store', 'migrate', '--confirm', user='root'))
        self.assertIn('confirmed', self.refused('migrate', '--undo'))
        self.on(type='postgresql', connection=self.new)
        self.p.start()
        self.assertEqual(self.serial('alice'), self.alice)
        self.p.stop()

    def test_7_history_goes_and_room_comes_back(self):
        self.pg.run("UPDATE mail_events SET at = 5", "INSERT INTO events (at, name, class) VALUES (5, 'paused', 'none')")
        self.on(**{'retention-days': 30})
        plan = self.p.json('store', 'compact', '--dry-run', user='root')
        self.assertGreater(plan['removed']['mail_events'], 60000)
        done = self.p.json('store', 'compact', user='root')
        self.assertEqual(done['removed'], plan['removed'])
        self.assertLess(done['after'], done['before'])
        self.sound()
        self.p.start()
        self.assertEqual(self.serial('alice'), self.alice)
        self.p.stop()
