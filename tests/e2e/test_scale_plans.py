"""What a mail waits for, and what a worker asks for each step, is answered by indexes, however many people there are.

auto_explain writes down the plan of every statement that the store's calls really make, after some turns of each (PostgreSQL goes over to a general plan
with the sixth), and how many pages and rows it looked at.  Once with statistics of the tables, once without: as after a restore."""

import os
import re
import unittest

import storedrive
from storedrive import Driver, make_store
from stage_postgresql import postgresql

STAGE = None
LONG = bool(os.environ.get('ENROLL_TEST_LONG'))
TAKES, BUSY = 9, 5
PEOPLE = 1000000 if LONG else 20000
TURNS = 14
IN_FLIGHT = 500         # leased by others at this moment
PAGES = 800             # that one statement may touch (with 8 KiB each, and the leased rows before the first free one)
LARGE = ('enrollments', 'enrollment_addresses', 'certificates', 'user_keys', 'events', 'orders', 'challenges', 'mail_events', 'renewals')

CROWD = """
SET search_path = enroll; SET session_replication_role = replica; SET synchronous_commit = off;
INSERT INTO enrollments (address, address_key, addresses, profile, usage, ca, state, resume, state_since, next_at, requested_at, entry, lease_owner, lease_until)
 SELECT a, a, a, 'mailbox-strict', 'sign', 'main', s, s, 1, CASE WHEN s = 'active' THEN 2000000000 + i ELSE 1 END, 1, 'uid=' || i,
  CASE WHEN s = 'ordered' THEN 'other' END, CASE WHEN s = 'ordered' THEN 2000000000 ELSE 0 END
 FROM (SELECT i, 'user' || i || '@corp.example' AS a, CASE WHEN i % ({people} / {flight}) = 1 THEN 'ordered' WHEN i % ({people} / 400) = 2 THEN 'challenge-awaited'
  ELSE 'active' END AS s FROM generate_series(1, {people}) i) x;
UPDATE enrollments SET ordered_at = 1 WHERE state <> 'active';
INSERT INTO enrollment_addresses SELECT id, address_key FROM enrollments;
INSERT INTO user_keys (enrollment_id, wrapped, spki_sha256, created_at) SELECT id, '\\x00'::bytea, lpad(id::text, 64, '0'), 1 FROM enrollments;
INSERT INTO certificates (enrollment_id, key_id, der, serial, issuer, fingerprint, addresses, not_before, not_after, status, created_at)
 SELECT e.id, e.id, '\\x00'::bytea, 'S' || e.id || s, 'CN=CA', lpad(e.id || s, 64, '0'), e.address, 1, 2000000000, s, 1
 FROM enrollments e, (VALUES ('superseded'), ('active')) v (s);
INSERT INTO orders (enrollment_id, ca, opened_at, closed_at, outcome) SELECT id, 'main', id, 1, 'finalized' FROM enrollments;
INSERT INTO challenges (enrollment_id, token_part1, message_id, sender, date, received_at, state)
 SELECT id, 'token' || n, '<' || id || n || '@ca>', 'acme@ca.example', 1, 1, 'replied' FROM enrollments, generate_series(1, 2) n;
INSERT INTO events (enrollment_id, at, name, class, address, state) SELECT id, 1, 'state', 'none', address, 'active' FROM enrollments, generate_series(1, 3) n;
INSERT INTO renewals (certificate_id, watch_at) SELECT id, 2000000000 + id FROM certificates WHERE status = 'active';
INSERT INTO mail_events (at, sender, sender_key, verdict) SELECT 1, 'u@corp.example', 'u@corp.example', 'signed' FROM generate_series(1, {people});
"""


def setUpModule():
    reason = storedrive.why_not()
    if not reason and not os.path.exists('/usr/lib/postgresql/15/lib/auto_explain.so'):
        reason = 'PostgreSQL has no auto_explain here'
    if reason:
        raise unittest.SkipTest(reason)


class Plans(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = postgresql.Cluster(tied=True, settings={
            'shared_preload_libraries': 'auto_explain', 'auto_explain.log_min_duration': '-1', 'auto_explain.log_analyze': 'on', 'auto_explain.log_timing': 'off',
            'auto_explain.log_buffers': 'on', 'jit': 'on', 'auto_explain.log_level': 'log', 'autovacuum': 'off', 'max_wal_size': '4GB'}).start()
        cls.addClassCleanup(cls.cluster.destroy)
        make_store(cls(), cls.cluster, 'crowd')
        cls.cluster.psql(CROWD.format(people=PEOPLE, flight=IN_FLIGHT), 'crowd')

    def found(self):
        """{statement: [plan]} of the log so far, and it begins anew."""
        with open(self.cluster.log, 'r+', encoding='utf-8', errors='replace') as file:
            text = file.read()
            file.truncate(0)
        plans = {}
        for entry in re.split(r'^(?=\d{4}-\d\d-\d\d )', text, flags=re.MULTILINE):
            said = re.search(r'duration: .* plan:\s+Query Text: (.*?)\n\t*(\S.*)', entry, re.DOTALL)
            if said and ' enroll_super@' not in entry:
                query, plan = re.split(r'\n\t(?=[A-Z][A-Za-z ]+ (?:on|using|\(|  \())', said.group(0).partition('Query Text: ')[2], maxsplit=1)
                plans.setdefault(' '.join(query.split()), []).append(plan)
        return plans

    def look(self, plans):
        """The most pages that each looked at; fails with the first bad plan of each that is bad."""
        worst, bad = {}, []
        for query, all_of_it in plans.items():
            fault = None
            for plan in all_of_it:
                pages = max([sum(int(n) for n in re.findall(r'(?:hit|read)=(\d+)', line)) for line in plan.splitlines() if 'Buffers: shared' in line] or [0])
                worst[query] = max(worst.get(query, 0), pages)
                if 'Workers Planned' in plan:
                    fault = 'parallel workers for a look-up:\n%s\n%s' % (query, plan)
                whole = [t for t in re.findall(r'Seq Scan on (\w+)', plan) if t in LARGE]
                if not fault and (whole or pages > PAGES):
                    fault = '%s, %d pages:\n%s\n%s' % ('all of ' + whole[0] if whole else 'too much', pages, query, plan)
            bad += [fault] if fault else []
        self.assertFalse(bad, '%d statements:\n%s' % (len(bad), '\n\n'.join(bad)))
        return worst

    def open(self, where, role):
        return Driver(self, where, role, 20000)

    def ask(self, where, statistics):
        out, into, work = (self.open(where, r) for r in ('outbound', 'inbound', 'enrolld'))
        waiting = self.cluster.psql("SELECT address FROM enroll.enrollments WHERE state = 'challenge-awaited' ORDER BY id DESC LIMIT 1", self.name)
        number = into.good('awaited ' + waiting)
        self.assertNotEqual(number, '0')
        for i in range(TURNS):
            for driver, line in ((out, 'find user%d@corp.example' % (i * 7 + 3)), (out, 'find nobody%d@corp.example' % i), (out, 'request user%d@corp.example' % (i * 7 + 3)),
                                 (out, 'request new%d@corp.example' % i), (out, 'flag paused'), (out, 'mail 5 %d' % PEOPLE), (into, 'awaited user%d@corp.example' % i),
                                 (into, 'awaited ' + waiting), (into, 'seen %s - -' % waiting), (into, 'seen %s <x@ca> token1' % waiting), (into, 'challenge %s token-%d' % (number, i)),
                                 (work, 'claim w'), (work, 'commit'), (work, 'due'), (work, 'ready')):
                driver.good(line)
            if statistics:              # nobody waits for this one
                work.good('watch main')
        for driver in (out, into, work):
            driver.close()

    def make(self, name, statistics):
        self.name = name
        self.cluster.psql('CREATE DATABASE %s TEMPLATE crowd OWNER enroll_owner' % name)
        self.addCleanup(self.cluster.psql, 'DROP DATABASE %s WITH (FORCE)' % name)
        where = self.cluster.connection(database=name)
        if statistics:
            self.cluster.psql('VACUUM ANALYZE', name)
        self.cluster.psql("ALTER SYSTEM SET auto_explain.log_min_duration = 0")
        self.cluster.reload()
        self.cluster.psql('SELECT pg_sleep(1)')
        self.found()
        self.ask(where, statistics)
        self.cluster.psql("ALTER SYSTEM SET auto_explain.log_min_duration = -1")
        self.cluster.reload()
        plans = self.found()
        self.assertGreater(len(plans), 25, 'auto_explain told too little: %s' % list(plans))
        for part in ('FROM enrollments e LEFT JOIN certificates c', 'INSERT INTO challenges', 'DELETE FROM mail_events', 'SKIP LOCKED', 'FROM flags', 'e.ordered_at > 0 AND CASE WHEN e.state'):
            self.assertTrue(any(part in q for q in plans), part)
        worst = self.look(plans)
        print('# %s people, %s: %d statements, %d plans, at most %d pages for one:' % (PEOPLE, name, len(plans), sum(map(len, plans.values())), max(worst.values())))
        for query, pages in sorted(worst.items(), key=lambda w: -w[1])[:4]:
            print('#   %d: %.150s' % (pages, query))

    def test_with_statistics(self):
        self.make('known', True)

    def test_after_a_restore(self):
        self.make('fresh', False)


if __name__ == '__main__':
    unittest.main(verbosity=2)
