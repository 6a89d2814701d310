"""Mass replacement before a deadline: the plan, its estimate, kill -9 in the middle, nobody twice."""

import collections
import datetime
import os
import time

from enrolling import Enrolling, address
from product import Product, require
from stage import Stage, StageCase

NUMBER = int(os.environ.get('ENROLL_TEST_REPLACE', 2000 if os.environ.get('ENROLL_TEST_LONG') else 200))
IN_FLIGHT = max(4, NUMBER // 2)
STAGE = {'ca': True, 'users': NUMBER + 5}
TAKES, BUSY = 120, 24
SLOW = {'finalize_processing': 1, 'poll_retry_after': 2}    # an order takes some seconds


def setUpModule():
    require()


def at(text):
    return datetime.datetime.fromisoformat(text.replace('Z', '+00:00')).timestamp()


def day(seconds):
    return datetime.datetime.fromtimestamp(time.time() + seconds, datetime.timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ')


class Replace(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        cls.s = Stage.current
        cls.p = Product(cls.s, certificate={'key-type': 'ec:p256'}, store={'busy-ms': 30000}, ca={'orders-in-flight': IN_FLIGHT},
                        **{'cap-per-day': 0})
        cls.p.start()
        cls.addClassCleanup(cls.p.stop)
        cls.many = Enrolling(cls.s, cls.p)
        cls.many.behave(authz_valid=True, **SLOW)
        cls.users = [cls.many.user() for _ in range(NUMBER)]
        begun = time.time()
        for n in range(0, NUMBER, IN_FLIGHT):       # more at once would wait for half a minute
            cls.many.enroll_all(cls.users[n:n + IN_FLIGHT])
            cls.many.wait_state(cls.users[n:n + IN_FLIGHT], 'active', seconds=900)
        print('# %d certificates within %.0f s' % (NUMBER, time.time() - begun), flush=True)

    def status(self):
        return self.p.json('replace', 'status', user='helpdesk1')['replacement']

    def issued(self):
        """{user: certificates issued}"""
        return collections.Counter(r['addresses'][0].split('@')[0] for r in self.many.ca_log('issued'))

    def active(self):
        """{user: serial}"""
        found = {}
        for user in self.users:
            found[user], = [c['serial'] for c in self.many.shown(user)['certificates'] if c['status'] == 'active']
        return found

    def test_1_a_plan_that_the_limits_make_impossible_says_which_key(self):
        self.p.configure(ca={'orders-per-hour': NUMBER + 1})
        self.p.restart('enrolld')
        self.addCleanup(self.p.restart, 'enrolld')
        self.addCleanup(self.p.configure, ca={'orders-per-hour': 0})
        plan = self.p.json('replace', '--issuer', 'test s/mime', '--by', day(600), '--dry-run')
        self.assertEqual((plan['certificates'], plan['possible'], plan['in_time']), (NUMBER, False, False))
        self.assertEqual(plan['limit'], 'ca.orders-per-hour')
        self.assertIn('ca.orders-per-hour = %d makes the deadline impossible: raise it' % (NUMBER + 1), plan['advice'])
        self.assertGreater(at(plan['estimated_end']), at(plan['deadline']))
        text = self.p.ctl('replace', '--issuer', 'test s/mime', '--by', day(600), '--dry-run')
        self.assertIn('TOO LATE', text)
        self.assertIsNone(self.status(), 'a dry run begins nothing')

    def test_2_all_before_the_deadline_through_a_kill_and_nobody_twice(self):
        before, counts = self.active(), self.issued()
        serials = '/tmp/serials'
        with open(serials, 'w') as file:
            file.write('# what the CA sent\n' + ''.join(':'.join(s[i:i + 2] for i in range(0, len(s), 2)).lower() + '\n' for s in before.values()))
        deadline = day(25 + NUMBER // 4)
        args = ['replace', '--serials', serials, '--issued-between', day(-86400 * 2), day(60), '--by', deadline]
        plan = self.p.json(*args, '--dry-run', user='root')
        begun = time.time()
        self.assertEqual((plan['certificates'], plan['possible'], plan['in_time']), (NUMBER, True, True))
        self.p.json(*args, '--yes', user='root')
        self.until(lambda: self.status()['done'] > NUMBER // 3, 900, 'a third is done')
        self.p.kill9('enrolld')
        self.p.start('enrolld')
        half = self.status()
        self.assertEqual(half['state'], 'running')
        self.assertGreater(half['pending'], 0, 'it was killed in the middle')
        self.assertGreater(half['rate_per_hour'], 0)
        self.until(lambda: self.status()['state'] == 'done', 900, 'all are done')
        ended = self.status()
        took, planned = at(ended['ended_at']) - begun, at(plan['estimated_end']) - begun
        print('# %d certificates, %d orders in flight: planned %.0f s, took %.0f s; deadline after %.0f s' % (
            NUMBER, IN_FLIGHT, planned, took, at(deadline) - begun), flush=True)
        self.assertEqual((ended['done'] + ended['skipped'], ended['of'], ended['stuck']), (NUMBER, NUMBER, 0))
        self.assertLess(at(ended['ended_at']), at(deadline))
        self.assertLess(abs(took - planned), 0.2 * took + 2)
        self.assertLess(abs(at(half['estimated_end']) - at(ended['ended_at'])), 0.2 * took + 2, 'nor was it far off in the middle')
        now = self.active()
        self.assertEqual([u for u in self.users if now[u] == before[u]], [])
        self.assertEqual(self.issued() - counts, collections.Counter({u: 1 for u in self.users}), 'nobody twice')
        self.assertEqual(self.many.violations(), [])

    def test_3_pause_resume_cancel_and_who_may(self):
        before = self.issued()
        args = ['replace', '--all-of-ca', 'example-ca', '--by', '10h', '--yes']
        for who, command in (('helpdesk1', args), ('helpdesk1', ['replace', 'cancel']), ('admin1', args[:-1])):
            self.assertEqual(self.p.ctl_run(*command, user=who).returncode, 1, command)
        self.p.ctl(*args, '--revoke', 'superseded')
        self.assertEqual(self.p.ctl_run(*args).returncode, 1, 'one at a time')
        self.p.ctl('replace', 'pause')
        self.assertEqual(self.status()['state'], 'paused')
        self.p.ctl('replace', 'resume')
        self.assertIn('running', self.p.ctl('replace', 'status', user='helpdesk1'))
        self.p.ctl('replace', 'cancel')
        self.assertEqual(self.p.ctl_run('replace', 'resume').returncode, 1, 'what is over stays so')
        time.sleep(3)
        self.assertLess(sum((self.issued() - before).values()), 3)

    def test_4_the_old_one_is_revoked_after_the_new_one_is_active(self):
        user = self.users[0]
        serial, = [c['serial'] for c in self.many.show(user)['certificates'] if c['status'] == 'active']
        serials = '/tmp/serials'
        with open(serials, 'w') as file:
            file.write(serial + '\n')
        self.p.ctl('replace', '--serials', serials, '--by', day(10), '--revoke', 'superseded', '--yes', user='root')
        self.until(lambda: [r['serial'] for r in self.many.show(user)['revocations'] if r.get('done_at')] == [serial], 60,
                   'it is revoked\n' + self.many.story(user))
        self.assertEqual(len([c for c in self.many.show(user)['certificates'] if c['status'] == 'active']), 1)
        order = [e for e in self.many.events(user) if e in ('renew', 'revoking')]
        self.assertEqual(order[-2:], ['renew', 'revoking'])
        self.assertEqual(self.status()['state'], 'done')
        self.assertEqual(address(user), self.many.show(user)['enrollment']['address'])

    def test_5_an_estimate_that_a_limit_makes(self):
        """So many at a time that the deadline's pace has no say."""
        some = self.users[:max(24, NUMBER // 10)]
        at_once = len(some) // 4
        self.many.behave(authz_valid=True, **SLOW)
        self.p.configure(ca={'orders-in-flight': at_once})
        self.p.restart('enrolld')
        self.addCleanup(self.p.restart, 'enrolld')
        self.addCleanup(self.p.configure, ca={'orders-in-flight': IN_FLIGHT})
        before = self.active()
        with open('/tmp/serials', 'w') as file:
            file.write(''.join(before[u] + '\n' for u in some))
        args = ['replace', '--serials', '/tmp/serials', '--by', day(30)]
        plan, begun = self.p.json(*args, '--dry-run', user='root'), time.time()
        self.assertEqual((plan['certificates'], plan['limit'], plan['limit_value']), (len(some), 'ca.orders-in-flight', at_once))
        self.p.json(*args, '--yes', user='root')
        self.until(lambda: self.status()['state'] == 'done', 600, 'all are done')
        took, planned = at(self.status()['ended_at']) - begun, at(plan['estimated_end']) - begun
        print('# %d certificates, %d orders in flight: planned %.0f s, took %.0f s' % (len(some), at_once, planned, took), flush=True)
        self.assertLess(abs(took - planned), 0.2 * took + 2)
