"""Two enrolld on one store, as on two hosts: own sockets, own names, own copies of the account key.

What they share is the work, the CA's budget and one account; what is single is done by one of them; and one that is killed is followed by the other when
its leases are over (they are made to be over: waiting would take ten minutes).
"""

import contextlib
import copy
import os
import re
import shutil
import subprocess
import threading
import time

import service
from enrolling import Enrolling, address
from product import DIR, ETC, Product, merge, require
from stage import Stage, StageCase

STAGE = {'ca': True, 'users': 300}
TAKES, BUSY = 135, 48
LOOKS = 3                  # departures.interval


def setUpModule():
    require()


class Second(Product):
    """The other host's enrolld."""

    @classmethod
    def beside(cls, first):
        other = copy.copy(first)
        other.__class__ = cls
        other.config_file = ETC + '/second.conf'
        other.daemons = {}
        other.config = merge(first.config, {
            'control': {'socket': DIR + '/run/second.sock', 'instance-file': DIR + '/second/instance'},
            'ca': {'account-key': ETC + '/second.key'}})
        os.makedirs(DIR + '/second', exist_ok=True)
        shutil.chown(DIR + '/second', 'enrolld', 'enroll-milter')
        other.write_config()
        return other

    def _service(self, name):
        return service.Service('second-' + name, [self.program('enrolld'), '--config', self.config_file], user='enrolld', env=self.env, cwd=DIR)

    def log_path(self, name):
        return self._service(name).log


class Two(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        cls.ca = Stage.current.ca
        if not hasattr(Two, 'a'):
            Two.a = Product(Stage.current, certificate={'key-type': 'ec:p256'}, ca={'orders-in-flight': 500}, store={'busy-ms': 30000},
                            departures={'interval': LOOKS})
            Two.a.start()
            Two.b = Second.beside(Two.a)
            Two.copy_key()
            Two.b.start('enrolld')
            Two.many = Enrolling(Stage.current, Two.a)
        cls.many.behave(authz_valid=True)

    @classmethod
    def copy_key(cls, source=ETC + '/account.key', target=ETC + '/second.key'):
        """As an admin does it: a copy, then into place."""
        shutil.copyfile(source, target + '.new')
        shutil.chown(target + '.new', 'enrolld')
        os.chmod(target + '.new', 0o600)
        os.rename(target + '.new', target)

    def setUp(self):
        self.violations = len(self.many.violations())
        self.a.start('enrolld')
        self.b.start('enrolld')

    FOUND_OUT = ()         # violations that are the point of a test

    def tearDown(self):
        self.many.behave(authz_valid=True)
        self.assertEqual([v for v in self.many.violations()[self.violations:] if v.get('kind') not in self.FOUND_OUT], [])
        self.assertEqual(self.b.reports(), '')

    def configure(self, **changes):
        """Both, as two hosts of one company have the same file."""
        for p in (self.a, self.b):
            p.configure(**changes)
            p.restart('enrolld')

    def ask_store(self, sql, *values):
        return self.a.sql(sql, *values)

    def name_of(self, p):
        with open(p.config['control']['instance-file']) as file:
            return file.read().strip()

    def users(self, n):
        return [self.many.user() for _n in range(n)]

    def made_by(self, p, users, mark=None):
        """Whose orders this enrolld opened."""
        wanted = {address(u) for u in users}
        return {r['address'].split('@')[0] for r in p.log(mark, 'enrolld', event='enrollment', state='ordered') if r['address'] in wanted}

    def check_once(self, users, lost=0):
        """One order each, but for so many whose answer a killed enrolld did not live to read."""
        abandoned = 0
        self.a.start('enrolld')
        for user in users:
            story, given_up = self.many.story(user), self.many.shown(user)['enrollment'].get('abandoned_orders', 0)
            self.assertLessEqual(len(self.many.ca_log('order_created', user)), 1 + given_up, story)
            self.assertEqual(len(self.many.ca_log('issued', user)), 1, story)
            abandoned += given_up
        self.assertLessEqual(abandoned, lost)

    def accounts(self):
        return len(self.ca.admin('/state')['accounts'])


class Work(Two):
    def test_both_work_and_nothing_is_done_twice(self):
        users = self.users(40)
        self.many.behave(authz_valid=True, faults={'newOrder': {'hang_after': 0.2, 'count': -1}})
        self.many.enroll_all(users)
        self.many.wait_state(users, 'active')
        first, second = self.made_by(self.a, users), self.made_by(self.b, users)
        print('  of 40 orders one opened %d, the other %d' % (len(first), len(second)))
        self.assertTrue(first and second)
        self.assertEqual((first | second, first & second), (set(users), set()))
        self.check_once(users)

    def test_challenges_by_mail_are_answered_once_by_either(self):
        users = self.users(12)
        self.many.behave()
        self.many.enroll_all(users)
        self.many.wait_state(users, 'active')
        self.check_once(users)
        for user in users:
            self.assertEqual([r['verdict'] for r in self.many.ca_log('reply_received', user)], ['good'], self.many.story(user))

    def test_status_names_both(self):
        for p in (self.a, self.b):
            shown = p.json('status')
            self.assertEqual({e['instance'] for e in shown['enrollds'] if e['running']}, {self.name_of(self.a), self.name_of(self.b)}, shown)
            self.assertEqual([e['instance'] for e in shown['enrollds'] if e['here']], [self.name_of(p)], shown)
            self.assertRegex(p.ctl('status'), r'(?m)^  %s +\S+ runs, this one$' % re.escape(self.name_of(p)))
        self.b.stop('enrolld')
        shown = {e['instance']: e['running'] for e in self.a.json('status')['enrollds']}
        self.assertEqual((shown[self.name_of(self.a)], shown[self.name_of(self.b)]), (True, False))

    def test_a_killed_one_is_followed_when_its_leases_are_over(self):
        users, name = self.users(24), self.name_of(self.b)
        self.many.behave(authz_valid=True, faults={'finalize': {'hang_after': 2, 'count': -1}})
        self.many.enroll_all(users)
        held = "SELECT COUNT(*) FROM enrollments WHERE lease_owner LIKE ? || ':%'"
        self.until(lambda: self.ask_store(held + " AND intent = 'finalize'", name)[0][0] >= 3, what='the second is in the middle of several')
        self.b.kill9('enrolld')
        self.many.behave(authz_valid=True)
        left = self.ask_store(held, name)[0][0]
        self.assertGreaterEqual(left, 1)
        # A restart of the other one gives back nothing of it.
        self.a.restart('enrolld')
        self.assertEqual(self.ask_store(held, name)[0][0], left)
        self.until(lambda: sum(s == 'active' for u, s in self.many.states().items() if u in users) == 24 - left, what='the others are done')
        self.assertEqual(self.ask_store(held, name)[0][0], left, 'before the lease is over nobody takes them')
        self.ask_store("UPDATE enrollments SET lease_until = ? WHERE lease_owner LIKE ? || ':%'", int(time.time()) + 2, name)
        self.many.wait_state(users, 'active')
        print('  %d of 24 were taken over' % left)
        self.check_once(users, lost=left)

    def test_one_that_comes_back_has_its_own_at_once(self):
        user, name = self.many.user(), self.name_of(self.b)
        self.a.stop('enrolld')
        self.many.behave(authz_valid=True, faults={'finalize': {'hang_after': 'forever'}})
        self.b.ask('enroll', address=address(user))
        self.until(lambda: self.ask_store("SELECT 1 FROM enrollments WHERE lease_owner LIKE ? || ':%' AND intent = 'finalize'", name), what='it is in the middle')
        self.b.kill9('enrolld')
        self.many.behave(authz_valid=True)
        self.b.start('enrolld')
        self.assertEqual(self.name_of(self.b), name)
        self.b.wait_state(address(user), 'active')
        self.check_once([user])

    @contextlib.contextmanager
    def parked(self):
        """Rows that come to `validated` stay there."""
        if self.a.database:
            self.ask_store('CREATE FUNCTION park() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.next_at = NEW.next_at + 3600; RETURN NEW; END$$')
            self.ask_store("CREATE TRIGGER park BEFORE UPDATE ON enrollments FOR EACH ROW WHEN (NEW.state = 'validated' AND OLD.state <> 'validated')"
                           ' EXECUTE FUNCTION park()')
        else:
            self.ask_store("CREATE TRIGGER park AFTER UPDATE ON enrollments WHEN NEW.state = 'validated' AND OLD.state <> 'validated'"
                           ' BEGIN UPDATE enrollments SET next_at = next_at + 3600 WHERE id = NEW.id; END')
        try:
            yield
        finally:
            self.ask_store('DROP TRIGGER park' + (' ON enrollments' if self.a.database else ''))
            if self.a.database:
                self.ask_store('DROP FUNCTION park()')

    def row(self, user, column):
        return self.ask_store('SELECT %s FROM enrollments WHERE address = ?' % column, address(user))[0][0]

    def test_an_order_that_another_was_finalizing_is_looked_at_first(self):
        """One saw that it is ready, the other sent the certificate request and was killed: what the one saw is no news any more."""
        user = self.many.user()
        self.b.stop('enrolld')
        with self.parked():
            self.a.ask('enroll', address=address(user))
            self.until(lambda: self.row(user, 'state') == 'validated', what='the first has seen that it is ready')
        self.many.behave(authz_valid=True, faults={'finalize': {'hang_after': 'forever', 'address': address(user)}})
        self.a.daemons['enrolld'].freeze()
        try:
            self.b.start('enrolld')
            self.ask_store('UPDATE enrollments SET next_at = 1 WHERE address = ?', address(user))
            self.until(lambda: self.many.ca_log('finalized', user), what='the second has finalized')
            self.assertEqual(self.row(user, 'intent'), 'finalize')
            self.b.kill9('enrolld')
            self.many.behave(authz_valid=True)
            self.ask_store('UPDATE enrollments SET lease_owner = NULL, lease_until = 0 WHERE address = ?', address(user))
        finally:
            self.a.daemons['enrolld'].thaw()
        self.many.wait_state([user], 'active')
        self.assertNotIn(403, [r['status'] for r in self.many.ca_log('request', user, endpoint='finalize')], self.many.story(user))
        self.check_once([user])

    def test_two_of_one_name_part(self):
        """As after a copy of the state directory."""
        self.b.stop('enrolld')
        path, mark = self.b.config['control']['instance-file'], self.a.log_mark()
        shutil.copyfile(self.a.config['control']['instance-file'], path)
        before = self.name_of(self.a)
        self.b.start('enrolld')
        self.ask_store('UPDATE turns SET until = until - 60 WHERE name = ?', 'enrolld:' + before)     # half of its time, after which it is looked at
        self.a.wait_log(120, mark, 'enrolld', event='instance_twice')
        self.until(lambda: self.name_of(self.a) != before, what='one goes on under another name')
        self.a.wait_log(120, mark, 'enrolld', event='started')
        self.assertEqual(self.name_of(self.b), before)
        users = self.users(6)
        self.many.enroll_all(users)
        self.many.wait_state(users, 'active')
        self.check_once(users)

    def test_a_copy_of_a_machine_takes_nothing_from_the_original(self):
        """The original, on another host, is alive and holds a row."""
        user = self.many.user()
        self.many.behave(authz_valid=True)
        self.many.enroll(user)
        self.many.wait_state([user], 'active')
        self.b.stop('enrolld')
        before, mark = self.name_of(self.b), self.b.log_mark()
        original = before + ':elsewhere:1:x'
        self.ask_store('UPDATE turns SET owner = ?, until = ? WHERE name = ?', original, int(time.time()) + 60, 'enrolld:' + before)
        self.ask_store('UPDATE enrollments SET lease_owner = ?, lease_until = ? WHERE address = ?', original, int(time.time()) + 600, address(user))
        self.b.start('enrolld')
        self.b.wait_log(60, mark, 'enrolld', event='instance_twice')
        self.b.wait_log(60, mark, 'enrolld', event='started')
        self.assertNotEqual(self.name_of(self.b), before)
        self.assertEqual(self.ask_store('SELECT lease_owner FROM enrollments WHERE address = ?', address(user))[0][0], original)
        self.ask_store('UPDATE enrollments SET lease_owner = NULL, lease_until = 0 WHERE address = ?', address(user))
        self.ask_store('DELETE FROM turns WHERE owner = ?', original)

    def test_the_clock_of_the_mx_may_be_behind(self):
        """By the clock of who ordered the challenge mail came before its order."""
        user = self.many.user()
        self.many.behave(challenge_mail_delay=3)
        self.many.enroll(user)
        self.many.wait_state([user], 'challenge-awaited')
        self.ask_store('UPDATE enrollments SET ordered_at = ordered_at + 8 WHERE address = ?', address(user))
        self.many.wait_state([user], 'active', seconds=60)
        self.assertEqual(len(self.many.authorizations(user)), 1)


class Budget(Two):
    def press(self, users, n):
        """Until n of them have a certificate; whoever waits is sent to ask again and again."""
        def there():
            states = self.many.states()
            for user in users:
                if states.get(user) == 'waiting':
                    self.a.ask('retry', address=address(user))
            return sum(states.get(u) == 'active' for u in users) >= n
        service.until(there, 300, '%d are active' % n, every=0.3, say=lambda: '\n'.join(self.many.story(u) for u in users[:3]))

    def met(self):
        """Did somebody find the last place taken between counting and writing?"""
        return bool(self.ask_store("SELECT 1 FROM events WHERE text LIKE '%took the last place just now%' LIMIT 1"))

    @contextlib.contextmanager
    def slow_orders(self):
        """The transaction that writes an order's line takes long, and everybody else has counted meanwhile: between "counted" and "written" is time
        enough for the other enrolld."""
        few = '(SELECT id FROM events LIMIT 200)'
        if self.a.database:
            self.ask_store('CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(0.3); RETURN NEW; END$$')
            self.ask_store('CREATE TRIGGER slow BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION slow()')
        else:
            self.ask_store('CREATE TRIGGER slow BEFORE INSERT ON orders BEGIN SELECT COUNT(*) FROM %s a, %s b, %s c; END' % (few, few, few))
        try:
            yield
        finally:
            self.ask_store('DROP FUNCTION slow CASCADE' if self.a.database else 'DROP TRIGGER slow')

    def most_open(self, users):
        """The most orders that were open at once while these enroll."""
        most, done = [0], threading.Event()

        def watch():
            while not done.is_set():
                most[0] = max(most[0], self.ask_store('SELECT COUNT(*) FROM orders WHERE outcome IS NULL')[0][0])
                time.sleep(0.005)
        thread = threading.Thread(target=watch)
        thread.start()
        try:
            self.many.enroll_all(users)
            self.press(users, len(users))
        finally:
            done.set()
            thread.join()
        return most[0]

    def test_orders_in_flight(self):
        self.configure(ca={'orders-in-flight': 3})
        try:
            self.many.behave(authz_valid=True, faults={'newOrder': {'hang_after': 0.3, 'count': -1}})
            users, most = [], 0
            while not self.met() and len(users) < 96 and most <= 3:
                users += self.users(12)
                with self.slow_orders():
                    most = max(most, self.most_open(users[-12:]))
        finally:
            self.configure(ca={'orders-in-flight': 500})
        print('  at most %d of 3 orders were open, of %d' % (most, len(users)))
        self.assertEqual(most, 3)
        self.assertTrue(self.met(), 'it did come to two at once')
        self.check_once(users)

    def test_orders_per_hour(self):
        before = self.a.json('status')['orders_in_24h']
        users = self.users(12)
        self.a.ctl('pause', user='admin1')
        self.configure(ca={'orders-per-hour': before + 5})
        try:
            self.many.enroll_all(users)
            self.until(lambda: sum(s == 'waiting' for u, s in self.many.states().items() if u in users) == 12, what='all wait')
            self.a.ctl('resume', user='admin1')
            with self.slow_orders():
                self.press(users, 5)
            for _again in range(10):
                self.press(users, 5)
                time.sleep(0.3)
            self.assertEqual(sum(s == 'active' for u, s in self.many.states().items() if u in users), 5)
            opened = sum(len([r for r in self.many.ca_log('request', u) if r['endpoint'] == 'newOrder']) for u in users)
            self.assertEqual(opened, 5, 'and nobody else asked the CA')
        finally:
            self.a.ctl('resume', user='admin1')
            self.configure(ca={'orders-per-hour': 0})
        self.press(users, len(users))
        self.check_once(users)


class OneAtATime(Two):
    def searches(self, mark):
        """Looks at who left, by slapd's log: their first pages."""
        with open(self.stage.ldap.server.log, 'rb') as file:
            file.seek(mark)
            return len(re.findall(rb'SRCH base="%s" scope=2 .* filter="\(\|\(mail=\*\)\)"' % self.stage.ldap.suffix.encode(), file.read()))

    def test_one_looks_at_the_directory(self):
        user = self.many.user()
        self.many.enroll(user)
        self.many.wait_state([user], 'active')
        mark, began = os.path.getsize(self.stage.ldap.server.log), time.monotonic()
        self.until(lambda: self.searches(mark) >= 4, what='four looks')
        looks, seconds = self.searches(mark), time.monotonic() - began
        print('  %d looks in %.1f s, every %d s' % (looks, seconds, LOOKS))
        self.assertGreaterEqual(seconds, (looks - 1) * (LOOKS - 1), 'not each of the two at its own time')
        for p in (self.a, self.b):
            self.assertTrue(p.json('departures')['looked_at'])

    def test_the_other_one_looks_when_the_first_is_killed(self):
        self.a.kill9('enrolld')
        mark = os.path.getsize(self.stage.ldap.server.log)
        # In the middle of a look its turn would be over in ten minutes.
        self.ask_store("UPDATE turns SET until = 0 WHERE name = 'departures' AND owner LIKE ? || ':%'", self.name_of(self.a))
        self.until(lambda: self.searches(mark), what='a look')


class AccountKey(Two):
    FOUND_OUT = ('signature',)      # by a key that the account has no more
    @classmethod
    def make_key(cls, path):
        subprocess.run(['openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', path], check=True)
        shutil.chown(path, 'enrolld')
        os.chmod(path, 0o600)

    def assert_works(self, p, other):
        """This one alone."""
        user, mark = self.many.user(), p.log_mark()
        other.stop('enrolld')
        p.ask('enroll', address=address(user))
        p.wait_state(address(user), 'active')
        self.assertEqual(self.made_by(p, [user], mark), {user})
        other.start('enrolld')

    def test_another_key_begins_nothing_and_says_so(self):
        accounts = self.accounts()
        self.b.stop('enrolld')
        self.make_key(ETC + '/second.key')
        mark = self.b.log_mark()
        self.b.start('enrolld')
        said = self.b.wait_log(60, mark, 'enrolld', event='account_key_wrong')[0]
        self.assertEqual(said['class'], 'config')
        self.assertIn('Copy the file from a host where enrolld works', said['text'])
        self.assertIn(said['text'], self.b.ctl('status'))
        self.assertIn('another account key', self.b.ctl_run('doctor', 'ca', user='root').stdout)
        self.assertNotIn('account_key', self.a.json('status'))
        users = self.users(8)
        for user in users:
            self.b.ask('enroll', address=address(user))
        self.many.wait_state(users, 'active')
        self.assertEqual(self.made_by(self.a, users), set(users))
        self.assertEqual(self.accounts(), accounts, 'and no second account')
        self.check_once(users)
        self.copy_key()
        self.b.wait_log(60, mark, 'enrolld', event='account_key_right')
        self.assert_works(self.b, self.a)

    def test_a_new_key_of_the_account_goes_round(self):
        accounts, mark = self.accounts(), self.b.log_mark()
        self.many.behave(authz_valid=True, finalize_processing=2)
        users = self.users(20)
        self.many.enroll_all(users)
        self.until(lambda: self.made_by(self.a, users) and self.made_by(self.b, users), what='both are at work')
        self.assertIn('every other host', self.a.ctl('account', 'rotate-key', user='root'))
        said = self.b.wait_log(60, mark, 'enrolld', event='account_key_wrong')[0]
        self.assertIn('opy the', said['text'])
        self.many.wait_state(users, 'active')       # by the first
        self.copy_key()
        self.b.wait_log(60, mark, 'enrolld', event='account_key_right')
        self.assertEqual(self.accounts(), accounts)
        self.check_once(users)
        self.assert_works(self.b, self.a)

    def test_what_is_refused_before_the_word_is_round_waits(self):
        """The key is changed while only the other one runs: it learns of it from the CA."""
        self.assert_works(self.b, self.a)
        self.a.stop('enrolld')
        mark = self.b.log_mark()
        self.a.ctl('account', 'rotate-key', user='root')
        user = self.many.user()
        self.b.ask('enroll', address=address(user))
        said = self.b.wait_log(60, mark, 'enrolld', event='account_key_wrong')[0]
        self.assertIn('has another key by now', said['text'])
        shown = self.b.show(address(user))['enrollment']
        self.assertEqual((shown['state'], shown.get('orders', 0)), ('waiting', 0), self.many.story(user))
        self.copy_key()
        self.b.wait_log(60, mark, 'enrolld', event='account_key_right')
        self.b.wait_state(address(user), 'active')
        self.check_once([user])

    def test_an_admin_says_which_key_it_is(self):
        self.b.stop('enrolld')
        self.make_key(ETC + '/second.key')
        marks = self.a.log_mark(), self.b.log_mark()
        self.b.start('enrolld')
        self.b.wait_log(60, marks[1], 'enrolld', event='account_key_wrong')
        self.assertEqual(self.b.ctl_run('account', 'use-key', user='helpdesk1').returncode, 1)
        self.assertIn('is the account key in use at CA example-ca', self.b.ctl('account', 'use-key'))
        self.b.wait_log(60, marks[1], 'enrolld', event='account_key_right')
        self.a.wait_log(60, marks[0], 'enrolld', event='account_key_wrong')
        self.assert_works(self.b, self.a)
        self.copy_key(ETC + '/second.key', ETC + '/account.key')
        self.assert_works(self.a, self.b)
