"""A fault matrix: each request of an exchange, going wrong in each of these ways.

What is to come of it: the enrollment is active, or it waits and says why in a sentence; when the
fault is gone it becomes active.  There is one certificate for one need, whatever was lost, and
the faulted request comes at most three times in the first minute, once a minute after that.

One person a row.  Where a request can be told by its address, all rows are under way at the same
time and the faults stay until all have been looked at for a minute (three with $ENROLL_TEST_LONG).
What comes before any address is known - directory, newNonce, newAccount - and a CA's port that
refuses or shows a stranger's certificate concern everybody: these rows come one after the other,
with a new process that knows nothing yet.  Of the former, without $ENROLL_TEST_LONG, each kind of
fault meets one of the three requests.
"""

import collections
import email.utils
import math
import os

import time
from datetime import datetime

import service
from enrolling import Enrolling, address
from product import Product, require
from stage import Stage, StageCase

LONG = bool(os.environ.get('ENROLL_TEST_LONG'))
# A mail server that comes again for longer than the faults last.
STAGE = {'ca': True, 'users': 200, 'ca_config': {'smtp_tries': 1000}}
TAKES, BUSY = 150, 43

TIMEOUT = 2               # ca.timeout-seconds
LATE = 2 * TIMEOUT        # when a CA acts that acts after we are gone
RETRY_AFTER = 100         # longer than the first minute, with what the clock's seconds may add
MINUTE = 60
WATCHED = 190 if LONG else 62
LEAST_PAUSE = 25          # before a second try; of rows that are not watched for a minute

Kind = collections.namedtuple('Kind', 'name fault says lost', defaults=[False])


def date_in(seconds):
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


BARE = {'body': 'garbage', 'content_type': 'text/html'}     # no problem document
NO_ANSWER = 'the CA did not answer in full: '
ORDERED = r'the CA says: this answer was ordered by the test'
# A tuple of kinds; lost: whether after newOrder nobody can know if there is an order now.
KINDS = (
    Kind('no answer in time, and it never acts', {'hang': 'forever'}, NO_ANSWER + '.*timed out', True),
    Kind('no answer in time, it acts when we are gone', {'hang': LATE}, NO_ANSWER + '.*timed out', True),
    Kind('it acts, no answer in time', {'hang_after': 'forever'}, NO_ANSWER + '.*timed out', True),
    Kind('it acts, the connection ends', {'drop_after': True}, NO_ANSWER, True),
    Kind('500', {'status': 500, 'type': 'serverInternal'},
         ORDERED + r' \(serverInternal\)|answered HTTP status 500 without saying why', True),
    Kind('503, Retry-After in seconds', {'status': 503, 'retry_after': RETRY_AFTER},
         ORDERED + '|answered HTTP status 503 without saying why'),
    Kind('429, Retry-After as a date', {'status': 429, 'type': 'rateLimited', 'retry_after': date_in},
         ORDERED + r' \(rateLimited\)|answered HTTP status 429 without saying why'),
    Kind('half of the body', {'body': 'truncated'}, NO_ANSWER),
    Kind('another content type', {'content_type': 'text/html'}, 'its type is "text/html"'),
    Kind('malformed JSON', {'body': 'garbage'}, 'cannot be (used|read)'),
    Kind('302', {'status': 302}, 'answered HTTP status 302 without saying why'),
    Kind('404 without a problem document', {'status': 404, **BARE}, 'answered HTTP status 404 without saying why'),
    Kind('200 where another is due', {'answer_status': 200}, None),
    Kind('badNonce ten times', {'status': 400, 'type': 'badNonce', 'count': 10},
         r'\(badNonce\)|answered HTTP status 400 without saying why'),
)
REFUSED = Kind('connection refused', None, 'the CA could not be reached: ')
STRANGER = Kind("a stranger's certificate", None, 'no trusted TLS connection to the CA: ')

# The requests of an exchange; which of them a fault can tell by the address, and how.
ANONYMOUS = ('directory', 'newNonce', 'newAccount')
REQUESTS = {
    'newOrder': ('newOrder', {}),
    'order': ('order', {}),
    'authz': ('authz', {}),
    'challenge': ('challenge', {}),
    'finalize': ('finalize', {}),
    'order, finalized': ('order', {'order_status': 'processing'}),
    'certificate': ('certificate', {}),
}


def seconds_of(text):
    return datetime.fromisoformat(text).timestamp()


class Row:
    def __init__(self, request, kind, user):
        self.request, self.kind, self.user = request, kind, user
        self.name = '%s: %s' % (request, kind.name if kind else 'the door')
        self.waiting = []         # events of the enrollment that say that it waits, while the fault was there
        self.shown = self.hits = None
        self.all_hits = 0         # until the fault was gone
        self.held_for = 0         # seconds to the next try that the product itself named
        self.not_before = None    # what the CA said, if that was a date

    def fault(self):
        """For tests/ca, in force until it is taken back."""
        selector = dict(REQUESTS[self.request][1], address=address(self.user)) if self.request in REQUESTS else {}
        fault = {'count': -1, **self.kind.fault, **selector}
        if callable(fault.get('retry_after')):
            self.not_before = int(time.time()) + RETRY_AFTER
            fault['retry_after'] = fault['retry_after'](RETRY_AFTER)
        if self.request == 'newOrder' and fault.get('type') == 'rateLimited':
            # Named, or it would be the account's limit, and hold everybody (test_acme_limits).
            fault['subproblems'] = [{'type': 'urn:ietf:params:acme:error:rateLimited', 'detail': 'this one',
                                     'identifier': {'type': 'email', 'value': address(self.user)}}]
        return fault

    def goes_through(self):
        """In spite of the fault."""
        return not self.waiting


def setUpModule():
    require()


class FaultMatrix(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        stage = Stage.current
        cls.p = Product(stage, certificate={'key-type': 'ec:p256'},
                        ca={'timeout-seconds': TIMEOUT, 'challenge-trigger': 'mail-first'})
        cls.p.start()
        cls.many = Enrolling(stage, cls.p)
        cls.seen = 0              # the CA's log up to there is no business of the next phase
        cls.anonymous = [Row(r, k, cls.many.user()) for r, k in cls.anonymous_pairs()]
        cls.doors = [Row(r, None, cls.many.user()) for r in (*ANONYMOUS, *REQUESTS)]
        cls.rows = [Row(r, k, cls.many.user()) for r in REQUESTS for k in KINDS
                    if k.name != '200 where another is due' or r == 'newOrder']
        for row in cls.anonymous:
            cls.run_anonymous(row)
        for row in cls.doors[:len(ANONYMOUS)]:
            cls.run_doors([row])
        cls.run_doors(cls.doors[len(ANONYMOUS):])
        cls.run_together()

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()

    @staticmethod
    def anonymous_pairs():
        kinds = [k for k in KINDS if k.name != '200 where another is due']
        if LONG:
            return [(r, k) for k in kinds for r in ANONYMOUS]
        return [(ANONYMOUS[n % len(ANONYMOUS)], k) for n, k in enumerate(kinds)]

    # -- what is done ------------------------------------------------------

    @classmethod
    def log(cls, event):
        """The CA's, since the phase began."""
        return cls.many.stage.ca.admin('/log?since=%d&event=%s' % (cls.seen, event))

    @classmethod
    def phase(cls, **switches):
        """The CA's switches are these from now on; its log begins anew."""
        cls.many.behave(**switches)
        cls.seen = cls.many.stage.ca.admin('/mark', {'text': 'phase'})['n']

    @classmethod
    def waits(cls, user):
        """Events that say that the enrollment waits, oldest first."""
        shown = cls.many.show(user)
        return [e for e in sorted(shown.get('events', []), key=lambda e: e['id'])
                if e['event'] in ('waiting', 'blocked', 'failed', 'order_abandoned')]

    @classmethod
    def first_failure(cls, users):
        """Until each of them waits, or is through."""
        cls.many.wait_state(users, 'waiting', 'blocked', 'failed', 'active', seconds=120)

    @classmethod
    def keep_waiting(cls, row):
        """What is said while the fault is there."""
        row.shown = cls.many.show(row.user)
        row.waiting = cls.waits(row.user)
        if row.waiting:
            row.held_for = seconds_of(row.shown['enrollment']['next_at']) - seconds_of(row.waiting[-1]['at'])

    @classmethod
    def anonymous_faults(cls, row_fault, request):
        faults = {request: row_fault}
        if request == 'newNonce':         # every answer may bring a nonce, and each would do
            faults['directory'] = {'no_nonce': True, 'count': -1}
            faults[request] = dict(row_fault, no_nonce='status' in row_fault)
        return faults

    @classmethod
    def run_anonymous(cls, row):
        """A process that has neither directory nor account nor nonce."""
        cls.p.stop('enrolld')
        cls.phase(authz_valid=True, faults=cls.anonymous_faults(row.fault(), row.request))
        cls.p.start('enrolld')
        cls.many.enroll(row.user)
        cls.first_failure([row.user])
        cls.keep_waiting(row)
        row.hits = [r for r in cls.log('fault') if r['endpoint'] == row.request]
        cls.heal([row], authz_valid=True)

    @classmethod
    def run_doors(cls, rows):
        """Each stands before its request, held there by a fault; then the CA's port refuses, then
        somebody else seems to sit behind it."""
        hold = {'status': 503, 'count': -1}
        row = rows[0]
        if row.request in ANONYMOUS:
            cls.p.stop('enrolld')
            cls.phase(authz_valid=True, faults=cls.anonymous_faults(hold, row.request))
            cls.p.start('enrolld')
        else:
            faults = collections.defaultdict(list)
            for row in rows:
                endpoint, selector = REQUESTS[row.request]
                faults[endpoint].append(dict(hold, **selector, address=address(row.user)))
            cls.phase(faults=faults, finalize_processing=1)
        for row in rows:
            cls.many.enroll(row.user)
        cls.many.wait_state([row.user for row in rows], 'waiting')
        for kind in (REFUSED, STRANGER):
            before = {row: len(cls.waits(row.user)) for row in rows}
            cls.many.stage.ca.admin('/door', {'how': 'refuse' if kind is REFUSED else 'stranger'})
            for row in rows:
                cls.many.retry(row.user)
            for row in rows:
                service.until(lambda: len(cls.waits(row.user)) > before[row], 60, '%s waits again' % row.name,
                              say=lambda: cls.many.story(row.user))
                shown = cls.many.show(row.user)
                row.waiting.append((kind, shown, cls.waits(row.user)[before[row]:]))
        cls.many.stage.ca.admin('/door', {'how': 'open'})
        cls.heal(rows, authz_valid=rows[0].request in ANONYMOUS)

    @classmethod
    def run_together(cls):
        """Everybody else."""
        faults = collections.defaultdict(list)
        for row in cls.rows:
            faults[REQUESTS[row.request][0]].append(row.fault())
        cls.phase(faults=faults, finalize_processing=1)
        for row in cls.rows:
            cls.many.enroll(row.user)
        service.until(lambda: all(cls.hits().values()), 240, 'each row has met its fault',
                      say=lambda: '\n'.join(cls.many.story(u) for u, h in cls.hits().items() if not h))
        last = max(h[0]['time'] for h in cls.hits().values())
        time.sleep(max(0, last + WATCHED - time.time()))
        hits = cls.hits()
        for row in cls.rows:
            row.hits = hits[row.user]
            cls.keep_waiting(row)
        cls.heal(cls.rows)
        hits = cls.hits()         # to look at all of them took a while, and some tried once more
        for row in cls.rows:
            row.all_hits = len(hits[row.user])

    @classmethod
    def hits(cls):
        """{user: requests that met the row's fault}."""
        found = {row.user: [] for row in cls.rows}
        for record in cls.log('fault'):
            user = record['fault']['address'].partition('@')[0]
            if user in found:
                found[user].append(record)
        return found

    @classmethod
    def heal(cls, rows, **switches):
        cls.many.behave(**switches)
        states = cls.many.states()
        for row in rows:
            if states[row.user] != 'active':
                cls.many.retry(row.user)
        cls.many.wait_state([row.user for row in rows], 'active', seconds=240)

    # -- what is judged ----------------------------------------------------

    def each(self, judge, rows):
        for row in rows:
            with self.subTest(row.name):
                judge(row)

    def test_it_waits_with_class_and_sentence_or_is_through(self):
        def judge(row):
            state = row.shown['enrollment']
            if row.goes_through():
                self.assertEqual(state['state'], 'active', self.many.story(row.user))
                return
            for event in row.waiting:
                self.assertEqual(event.get('class'), 'temporary', self.many.story(row.user))
                self.assertRegex(event['text'], row.kind.says)
            if state['state'] != 'active':        # some get over it while it lasts
                self.assertEqual(state['state'], 'waiting', self.many.story(row.user))
                self.assertEqual(state['why_class'], 'temporary')
                self.assertRegex(state['why'], row.kind.says)
                self.assertIn('goes on by itself', state['what_next'])
        self.each(judge, self.rows + self.anonymous)

    def test_what_must_not_go_through_does_not(self):
        """A fault that took the answer away is noticed; or this test would test nothing."""
        def judge(row):
            self.assertTrue(row.hits)
            if row.kind.lost or 'status' in row.kind.fault:
                self.assertTrue(row.waiting, self.many.story(row.user))
        self.each(judge, [r for r in self.rows + self.anonymous if 'badNonce' not in r.kind.name])

    def test_a_door_that_is_shut_and_a_stranger_behind_it(self):
        def judge(row):
            for kind, shown, events in row.waiting:
                self.assertEqual([e['event'] for e in events], ['waiting'], 'one try, one word')
                self.assertEqual(events[0]['class'], 'temporary')
                self.assertRegex(shown['enrollment']['why'], kind.says)
                self.assertEqual(shown['enrollment']['why_class'], 'temporary')
                self.assertEqual(shown['enrollment']['state'], 'waiting')
                self.assertEqual(shown['enrollment']['abandoned_orders'], 0, 'nothing was sent')
        self.each(judge, self.doors)

    def test_three_requests_in_the_first_minute_and_one_a_minute_after(self):
        """As the CA counts.  A row that goes on in spite of its fault asks for other reasons."""
        def judge(row):
            at = [h['time'] - row.hits[0]['time'] for h in row.hits]
            self.assertLessEqual(len([t for t in at if t < MINUTE]), 3, at)
            after = [t for t in at if t >= MINUTE]
            self.assertLessEqual(len(after), math.ceil((WATCHED - MINUTE) / MINUTE), at)
        self.each(judge, [r for r in self.rows if not r.goes_through()])

    def test_before_any_address_is_known_the_next_try_is_far_enough(self):
        """These are not watched for a minute: what was asked, and when it will be asked again."""
        def judge(row):
            self.assertLessEqual(len(row.hits), 3)
            self.assertGreaterEqual(row.held_for, LEAST_PAUSE)
            if len(row.hits) > 1:         # then the next one's turn comes in the next minute
                self.assertGreaterEqual(row.held_for, MINUTE)
        self.each(judge, [r for r in self.anonymous if not r.goes_through()])

    def test_retry_after_is_kept(self):
        """Whichever way it is written."""
        def judge(row):
            if row.not_before:
                self.assertGreaterEqual(seconds_of(row.shown['enrollment']['next_at']), row.not_before)
            else:
                self.assertGreaterEqual(row.held_for, RETRY_AFTER - 2)
            if not LONG:
                self.assertEqual(len(row.hits), 1)
        self.each(judge, [r for r in self.rows + self.anonymous if 'Retry-After' in r.kind.name])

    def test_one_certificate_for_one_need(self):
        done = collections.Counter()
        for event in ('issued', 'finalized'):
            for record in self.stage.ca.admin('/log?since=0&event=' + event):
                done.update((event, a) for a in record['addresses'])

        def judge(row):
            to = address(row.user)
            self.assertEqual((done['finalized', to], done['issued', to]), (1, 1), self.many.story(row.user))
            shown = self.many.show(row.user)
            self.assertEqual([c['status'] for c in shown['certificates']], ['active'])
        self.each(judge, self.rows + self.anonymous + self.doors)

    def test_orders_whose_answer_was_lost_are_counted(self):
        created = collections.Counter(a for r in self.stage.ca.admin('/log?since=0&event=order_created')
                                      for a in r['addresses'])

        def judge(row):
            now = self.many.show(row.user)
            abandoned = now['enrollment']['abandoned_orders']
            lost = row.request == 'newOrder' and row.kind and row.kind.lost
            # Beside the faults, a busy machine may answer later than enrolld waits: those orders are there at the CA.
            unseen = row.all_hits if lost and not self.acts(row) else 0
            self.assertGreaterEqual(abandoned, row.all_hits if lost else 0)
            self.assertEqual([e['event'] for e in now['events']].count('order_abandoned'), abandoned)
            self.assertEqual(created[address(row.user)], 1 + abandoned - unseen)
        self.each(judge, self.rows + self.anonymous + self.doors)

    @staticmethod
    def acts(row):
        return row.kind.fault.get('hang') != 'forever' and 'status' not in row.kind.fault

    def test_an_order_whose_url_arrived_is_not_lost(self):
        def judge(row):
            self.assertTrue(row.goes_through(), self.many.story(row.user))
        self.each(judge, [r for r in self.rows if r.request == 'newOrder' and not r.kind.lost
                          and 'status' not in r.kind.fault])

    def test_no_breach(self):
        """By the CA's word; only an admin who says `retry` comes before the time it named."""
        for found in self.many.violations():
            self.assertEqual(found.get('kind'), 'retry_after_ignored', found)
        for row in self.rows:
            replies = self.many.ca_log('reply_received', row.user)
            self.assertEqual([r['verdict'] for r in replies], ['good'], row.name)
