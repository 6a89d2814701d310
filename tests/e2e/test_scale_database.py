"""The store's calls on a PostgreSQL that goes away, comes back, loses answers, and is used by many at the same moment.

No product around it: tests/unit/drive_store makes the calls."""

import os
import signal
import socket
import tempfile
import time
import unittest

import namespace
import storedrive
from storedrive import Driver, Relay, make_store, until
from stage_postgresql import postgresql

STAGE = None
TAKES, BUSY = 75, 38
LONG = bool(os.environ.get('ENROLL_TEST_LONG'))
BUSY_MS = 1000       # store.busy-ms
PATIENCE = 3000     # how much longer than that a call may take on a busy machine, in ms
NOTICED = {'outbound': 3.5, 'inbound': 3.5, 'enrolld': 8}   # seconds until the counter says that there is no database; no mail waits for enrolld
BACK = 20           # and until it says that there is one again


def setUpModule():
    reason = storedrive.why_not()
    if reason:
        raise unittest.SkipTest(reason)


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = postgresql.Cluster(tied=True, settings={'restart_after_crash': 'on'}).start()
        cls.addClassCleanup(cls.cluster.destroy)
        cls.number = 0

    def setUp(self):
        type(self).number += 1
        self.name = 'store%d' % self.number
        self.where = make_store(self, self.cluster, self.name)

    def open(self, role, where=None, busy=BUSY_MS):
        return Driver(self, where or self.where, role, busy)

    def sql(self, text):
        return self.cluster.psql('SET search_path = enroll; ' + text, self.name)

    def waits(self, enrolld, address='alice@corp.example'):
        """A row that awaits its challenge mail."""
        return enrolld.good('enroll %s challenge-awaited' % address)


class CutOff(Case):
    """The database goes away in every way there is, and comes back."""

    def three(self, where=None):
        out, into, work = (self.open(r, where) for r in ('outbound', 'inbound', 'enrolld'))
        work.good('activate alice@corp.example')
        self.waits(work, 'bob@corp.example')
        for driver, line in self.questions(out, into, work):
            driver.good(line)
        return out, into, work

    @staticmethod
    def questions(out, into, work):
        return ((out, 'find alice@corp.example'), (out, 'request alice@corp.example'), (into, 'awaited bob@corp.example'),
                (into, 'seen bob@corp.example - -'), (out, 'flag paused'), (work, 'claim w'), (out, 'mail 3 100'))

    def goes_and_comes(self, fault, mend, where=None):
        out, into, work = self.three(where)
        descriptors = [int(d.good('fds')) for d in (out, into, work)]
        self.addCleanup(mend)
        fault()
        # In the very moment: whoever asks now has to wait, but not long.
        for driver, line in ((out, 'find alice@corp.example'), (into, 'awaited bob@corp.example')):
            what, ms, words = driver.ask(line)
            self.assertEqual(what, 'temporary', words)
            self.assertLess(ms, BUSY_MS + PATIENCE, words)
        for driver in (out, into, work):
            self.assertIsNotNone(until(lambda: driver.counter() == -1, NOTICED[driver.role]), driver.role + ' does not notice')
        for driver, line in self.questions(out, into, work):
            what, ms, words = driver.ask(line)
            self.assertEqual(what, 'temporary', (line, words))
            self.assertLess(ms, 500, '%s waits although it is known that there is nothing to wait for' % line)
        mend()
        for driver in (out, into, work):
            self.assertIsNotNone(until(lambda: driver.counter() > 0, BACK), driver.role + ' does not come back')
        for driver, line in self.questions(out, into, work):
            what, ms, words = driver.ask(line)
            self.assertEqual(what, 'ok', (line, words))
            self.assertLess(ms, BUSY_MS + PATIENCE, line)
        for driver, before in zip((out, into, work), descriptors):
            self.assertLessEqual(int(driver.good('fds')), before + 4, 'descriptors of ' + driver.role)

    def runs(self):
        if not self.cluster.running():
            self.cluster.start()

    def test_stopped(self):
        for mode in ('fast', 'immediate'):
            with self.subTest(mode):
                self.goes_and_comes(lambda: self.cluster.stop(mode), self.runs)

    def test_killed(self):
        self.goes_and_comes(self.cluster.kill9, self.runs)

    def test_frozen(self):
        self.goes_and_comes(self.cluster.freeze, self.cluster.thaw)

    def test_an_address_that_never_answers_is_tried_first(self):
        """Making a connection then takes longer than a mail may wait: it is there for the next mail."""
        namespace.run('ip', 'link', 'set', 'lo', 'up')
        silent = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(silent.close)
        where = self.cluster.connection(database=self.name, host='127.0.0.1,' + self.cluster.sockets, port='%d,%d' % (silent.getsockname()[1], self.cluster.port))
        self.three()
        for role, line in (('outbound', 'find alice@corp.example'), ('inbound', 'awaited bob@corp.example')):
            driver = self.open(role, where)
            asked = [driver.ask(line) for _n in range(3)]
            self.assertEqual([a[0] for a in asked], ['temporary', 'ok', 'ok'], asked)

    def test_a_network_that_swallows_everything(self):
        relay = Relay(self.cluster)
        self.addCleanup(relay.close)
        self.goes_and_comes(lambda: setattr(relay, 'swallow', True), lambda: setattr(relay, 'swallow', False),
                            relay.connection(self.cluster, self.name))

    def test_after_a_cut_nobody_waits_for_dead_connections(self):
        relay = Relay(self.cluster)
        self.addCleanup(relay.close)
        out = self.open('outbound', relay.connection(self.cluster, self.name), 5000)
        out.good('find alice@corp.example')
        relay.swallow = True
        self.assertIsNotNone(until(lambda: out.counter() == -1, NOTICED['outbound']))
        dead, relay = relay, None
        dead.close()                                # the old connections stay dead for ever
        os.unlink(dead.path)
        relay = Relay(self.cluster)
        self.addCleanup(relay.close)
        self.assertIsNotNone(until(lambda: out.counter() > 0, BACK))
        what, ms, words = out.ask('find alice@corp.example')
        self.assertEqual(what, 'ok', words)
        self.assertLess(ms, 2500, 'it waits for a connection that the watch knew to be dead')

    def test_backends_ended_one_by_one(self):
        out, into, work = self.three()
        for _ in range(30 if LONG else 8):
            pids = self.cluster.psql("WITH ours AS MATERIALIZED (SELECT pid FROM pg_stat_activity WHERE usename IN ('enroll_outbound', 'enroll_inbound',"
                                     " 'enroll_enrolld')) SELECT pid FROM ours WHERE pg_terminate_backend(pid)").split()
            gone = 'SELECT count(*) FROM pg_stat_activity WHERE pid IN (%s)' % ','.join(pids)
            self.assertIsNotNone(until(lambda: self.cluster.psql(gone) == '0', 20))
            for driver in (out, into, work):
                self.assertIsNotNone(until(lambda: driver.counter() > 0, BACK))
            for driver, line in self.questions(out, into, work):
                driver.good(line)
            self.assertEqual(work.good('commit') if work.good('claim w') != '0' else 'done', 'done')

    def test_many_rounds_leak_nothing(self):
        rounds = 50 if LONG else 6
        out, into, work = self.three()
        first = None
        for _ in range(rounds):
            self.cluster.stop('immediate')
            for driver in (out, into, work):
                driver.ask('ready')
                driver.ask('due')
            self.cluster.start()
            for driver in (out, into, work):
                self.assertIsNotNone(until(lambda: driver.counter() > 0, BACK))
            for driver, line in self.questions(out, into, work):
                driver.good(line)
            now = [int(d.good('fds')) for d in (out, into, work)]
            first = first or now
        self.assertEqual(now, first)

    def test_who_is_gone_in_the_middle_holds_nobody_up_for_long(self):
        """A gateway that lost its network while it alone may write."""
        relay = Relay(self.cluster)
        self.addCleanup(relay.close)
        out = self.open('outbound', busy=5000)
        # As the product's transactions begin, with its own settings; then silence.
        gone = self.open('outbound', relay.connection(self.cluster, self.name), 5000)
        gone.good('request first@corp.example')
        relay.cut_commit = None
        stall = relay._pass
        relay._pass = lambda data, c, s, up: (setattr(relay, 'swallow', True) or True) if up and data.endswith(b'COMMIT\0') else stall(data, c, s, up)
        gone.send('request second@corp.example')
        self.assertIsNotNone(until(lambda: relay.swallow, 10))
        what, ms, words = out.ask('request third@corp.example')
        self.assertEqual(what, 'ok', words)
        self.assertEqual(gone.answer()[0], 'temporary')


class Commits(Case):
    """The answer to a COMMIT is lost."""

    def setUp(self):
        super().setUp()
        self.relay = Relay(self.cluster)
        self.addCleanup(self.relay.close)
        self.far = self.relay.connection(self.cluster, self.name)

    def test_it_was_done(self):
        out = self.open('outbound', self.far)
        for i in range(5):
            self.relay.cut_commit = 'after'
            self.assertTrue(out.good('request user%d@corp.example' % i).startswith('created'))
        self.assertEqual((self.relay.cuts, self.sql('SELECT count(*) FROM enrollments')), (5, '5'))

    def test_it_was_not_done(self):
        out = self.open('outbound', self.far)
        for i in range(5):
            self.relay.cut_commit = 'before'
            what, ms, words = out.ask('request user%d@corp.example' % i)
            self.assertEqual(what, 'temporary')
            self.assertIn('nothing was written', words)
            self.assertLess(ms, 2 * BUSY_MS + PATIENCE)
        self.assertEqual((self.relay.cuts, self.sql('SELECT count(*) FROM enrollments')), (5, '0'))

    def test_a_challenge_and_a_step(self):
        work, into = self.open('enrolld', self.far), self.open('inbound', self.far)
        number = self.waits(work)
        self.assertEqual((work.good('claim w'), work.good('commit')), (number, 'done'))
        for how, said in (('before', 'temporary'), ('after', 'ok')):
            self.relay.cut_commit = how
            what, _ms, words = into.ask('challenge %s token-%s' % (number, how))
            self.assertEqual(what, said, words)
            self.assertEqual(self.sql("SELECT count(*) FROM challenges WHERE token_part1 = 'token-%s'" % how), '1' if said == 'ok' else '0')
            self.assertEqual(work.good('claim w'), number if said == 'ok' else '0')
        version = int(self.sql('SELECT version FROM enrollments'))
        self.relay.cut_commit = 'after'
        self.assertEqual(work.good('commit'), 'done')
        self.assertEqual(int(self.sql('SELECT version FROM enrollments')), version + 1)


class Synchronous(Case):
    """Where the admins of the database want each COMMIT on a second machine, and that one is gone."""

    def test_what_is_on_one_machine_alone_is_not_called_done(self):
        out, work = self.open('outbound'), self.open('enrolld')
        self.waits(work)
        self.assertNotEqual(work.good('claim w'), '0')
        self.addCleanup(self.cluster.synchronous, '')
        self.cluster.synchronous('gone')
        for driver, line in ((out, 'request carol@corp.example'), (out, 'mail 3 100')):
            what, ms, words = driver.ask(line)
            self.assertEqual(what, 'temporary', (line, words))
            self.assertLess(ms, 4 * BUSY_MS + 2 * PATIENCE, line)
        self.cluster.synchronous('')
        self.assertTrue(until(lambda: out.ask('request carol@corp.example')[2].startswith('there'), 20), 'what waited is done in the end')
        self.assertEqual(work.good('commit'), 'done')


class Failover(Case):
    """What the old primary never sent is not there, whatever number the new one has given to somebody else's transaction."""

    @staticmethod
    def receiver(standby, number):
        for pid in standby._family():
            try:
                with open('/proc/%d/cmdline' % pid) as file:
                    if 'walreceiver' in file.read():
                        os.kill(pid, number)
            except OSError:                         # another one that ended just now
                pass

    def test_a_number_that_is_somebody_elses_now(self):
        relay = Relay(self.cluster)
        self.addCleanup(relay.close)
        standby = self.cluster.replica()
        self.addCleanup(standby.destroy)
        out = self.open('outbound', relay.connection(self.cluster, self.name), 2000)
        out.good('request first@corp.example')
        standby.caught_up(self.cluster)
        standby.psql('SELECT pg_wal_replay_pause()')
        self.receiver(standby, signal.SIGSTOP)       # it takes no more
        passed = relay._pass

        def at_commit(data, client, server, up):
            if not (up and data.endswith(b'COMMIT\0')):
                return passed(data, client, server, up)
            relay._pass = passed
            self.cluster.kill9()
            standby.signal_all(18)
            self.receiver(standby, signal.SIGKILL)
            standby.psql('SELECT pg_wal_replay_resume()', check=False)
            standby.wait()
            standby.promote()
            standby.psql(' '.join('BEGIN; SELECT pg_current_xact_id(); COMMIT;' for _ in range(20)), self.name)
            relay.target = '%s/.s.PGSQL.%d' % (standby.sockets, standby.port)
            return False

        relay._pass = at_commit
        what, _ms, words = out.ask('request second@corp.example')
        there = standby.psql("SELECT count(*) FROM enroll.enrollments WHERE address LIKE 'second@%'", self.name)
        self.assertEqual((what, there), ('temporary', '0'), words)
        self.assertIsNotNone(until(lambda: out.counter() > 0, BACK))
        self.assertTrue(out.good('request second@corp.example').startswith('created'))


class Crowd(Case):
    """Many at the same moment on the same rows."""

    def crowd(self, seconds, addresses, roles, disturb=None):
        with tempfile.TemporaryDirectory() as folder:
            drivers = [self.open(r, busy=5000) for r in roles]
            for i, driver in enumerate(drivers):
                driver.send('crowd %d %d %s %s-%d' % (addresses, seconds, folder, driver.role, i))
            if disturb:
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    disturb()
            told = [d.figures() for d in drivers]
            if disturb:
                self.sql("UPDATE enrollments SET lease_owner = NULL, lease_until = 0, version = version + 1 WHERE lease_owner IS NOT NULL")
                for name in os.listdir(folder):
                    if name.startswith('held'):
                        os.unlink('%s/%s' % (folder, name))
            worker = self.open('enrolld', busy=5000)
            told.append(worker.figures('settle %s last' % folder))
            sums = {k: sum(t[0][k] for t in told) for k in told[0][0]}
            seen = {int(n[5:]): int(open('%s/%s' % (folder, n)).read()) for n in os.listdir(folder) if n.startswith('seen')}
        self.assertEqual(sums['failed'], 0, [t[1] for t in told])
        self.assertEqual(sums['twice'], 0, 'two had a row at the same moment')
        self.assertEqual(sums['stale'], 0 if not disturb else sums['stale'])
        there = dict((int(a), int(b)) for a, b in (line.split('|') for line in self.sql(
            'SELECT e.id, count(c.id) FROM enrollments e LEFT JOIN challenges c ON c.enrollment_id = e.id GROUP BY e.id').splitlines()))
        self.assertEqual(len(there), addresses)
        self.assertEqual(seen, there, 'a worker was not woken by the last challenge of a row')
        self.assertEqual(self.sql('SELECT count(*) FROM (SELECT 1 FROM challenges GROUP BY enrollment_id, token_part1 HAVING count(*) > 1) x'), '0')
        print('# %s: %s, %s challenges' % (self.id().rpartition('.')[2], sums, sum(there.values())), flush=True)
        return sums, there

    ROLES = ['outbound', 'outbound', 'inbound', 'inbound', 'inbound', 'enrolld', 'enrolld', 'enrolld']

    def test_eight_on_the_same_rows(self):
        sums, there = self.crowd(20 if LONG else 6, 12, self.ROLES)
        self.assertEqual((sums['created'], sums['challenges']), (12, sum(there.values())), 'each is created once, and by one of them')
        self.assertGreater(sums['claims'], 50)
        self.assertEqual(sums['busy'], 0, 'deadlocks or time-outs')

    def test_eight_and_one_who_ends_their_connections(self):
        kill = ("WITH one AS MATERIALIZED (SELECT pid FROM pg_stat_activity WHERE usename LIKE 'enroll\\_%' AND usename <> 'enroll_super'"
                " AND query NOT LIKE '%pg_is_in_recovery%' ORDER BY random() LIMIT 1) SELECT pg_terminate_backend(pid) FROM one")
        self.crowd(20 if LONG else 8, 12, self.ROLES, lambda: (self.cluster.psql(kill), time.sleep(0.1)))

    def test_one_certificate_is_asked_about_once(self):
        """Two enrolld whose watch of certificates is due at the same moment."""
        one, two = self.open('enrolld'), self.open('enrolld')
        one.good('activate alice@corp.example')
        self.sql("UPDATE enrollments SET ca = 'main'")
        for _ in range(20):
            self.sql('DELETE FROM renewals')
            self.sql('INSERT INTO renewals (certificate_id, watch_at) SELECT id, 1 FROM certificates')
            one.send('watch main')
            two.send('watch main')
            got = [d.answer() for d in (one, two)]
            self.assertEqual([g[0] for g in got], ['ok', 'ok'], got)
            self.assertEqual(sorted(g[2] != '0' for g in got), [False, True], got)


class Told(Case):
    """What one changes the other hears of."""

    def moves(self, driver, what, seconds=2.0):
        before = driver.counter()
        what()
        took = until(lambda: driver.counter() != before, seconds)
        self.assertGreater(driver.counter(), 0)
        return took

    def test_a_credential_that_is_taken_away(self):
        out, work, admin = self.open('outbound'), self.open('enrolld'), self.open('admin')
        work.good('activate alice@corp.example')
        work.good('activate bob@corp.example')
        self.assertEqual((out.good('find alice@corp.example'), out.good('find bob@corp.example')), ('found', 'found'))
        took = [self.moves(out, lambda: work.good('disable alice@corp.example')), self.moves(out, lambda: work.good('revoke bob@corp.example')),
                self.moves(out, lambda: work.good('set paused yes'))]
        self.assertNotIn(None, took)
        print('# told after %s ms' % ', '.join('%.0f' % (1000 * t) for t in took), flush=True)
        self.assertEqual((out.good('find alice@corp.example'), out.good('find bob@corp.example')), ('disabled', 'disabled'))
        admin.good('counter')

    def test_mails_of_another_gateway_disturb_nobody(self):
        out, other, work, into = self.open('outbound'), self.open('outbound'), self.open('enrolld'), self.open('inbound')
        number = self.waits(work)
        until(lambda: False, 0.5)
        self.assertIsNone(self.moves(out, lambda: [other.good('mail 3 100') for _ in range(5)], 1.0))
        self.assertIsNone(self.moves(out, lambda: into.good('challenge %s token' % number), 1.0))
        # But the worker is woken.
        self.assertIsNotNone(self.moves(work, lambda: (until(lambda: False, 1.1), into.good('challenge %s token2' % number))[0]))

    def test_a_change_by_hand(self):
        out, work = self.open('outbound'), self.open('enrolld')
        work.good('activate alice@corp.example')
        until(lambda: False, 0.3)
        indifferent = ('UPDATE enrollments SET certificate_id = NULL, key_id = NULL', 'DELETE FROM events')
        for sql in ("UPDATE certificates SET status = 'revoked'", 'UPDATE enrollments SET disabled = 1', "INSERT INTO flags VALUES ('paused', '1', NULL, 1)",
                    "UPDATE flags SET value = '2'", 'DELETE FROM flags', "UPDATE certificates SET addresses = 'b@corp.example'",
                    "INSERT INTO enrollment_addresses (enrollment_id, address_key) SELECT id, 'b@corp.example' FROM enrollments",
                    'DELETE FROM enrollment_addresses', "UPDATE user_keys SET wrapped = 'x'", *indifferent, 'DELETE FROM certificates',
                    'TRUNCATE flags', 'DELETE FROM user_keys', 'DELETE FROM enrollments'):
            with self.subTest(sql):
                told = sql not in indifferent
                took = self.moves(out, lambda: self.sql(sql), 2 if told else 0.5)
                self.assertEqual(took is not None, told)


if __name__ == '__main__':
    unittest.main(verbosity=2)
