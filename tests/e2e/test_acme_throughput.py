"""Many orders in flight at one CA, with one enrolld.

The CA holds all of them between finalize and certificate until every one is there; then it lets go.
What enrolld needs for that in memory and threads is bounded; what it asks of the CA is counted
from the CA's own log and printed.

As few requests as the protocol allows (RFC 8555, RFC 8823), without nonces, which come with answers:

    newOrder      opens the order.  Where its answer says "ready", the next is finalize
    authz         1, by mail: only the authorization has the challenge, its token and its URL
    challenge     1, by mail: the POST that says "go on"
    order         1, by mail: somebody has to see that the order is ready (a poll more for each time
                  that the CA has not got that far)
    finalize
    order         1, where finalize's answer says "processing": only the order has the certificate's URL (a poll more
                  for each Retry-After that passes)
    certificate
"""

import collections
import os
import threading
import time

import service
from enrolling import Enrolling, address
from product import Product, require
from stage import Stage, StageCase

NUMBER = int(os.environ.get('ENROLL_TEST_ORDERS', 500))
BY_MAIL = 40              # of them
STAGE = {'ca': True, 'users': NUMBER, 'ca_config': {'smtp_tries': 1000}}
TAKES, BUSY = 60, 30

RESIDENT_MIB, THREADS = 64, 32
RETRY_AFTER = 20          # of a processing order: within it the others get there

# Requests an enrollment: (validated beforehand, by mail).  To those for the order comes one for each Retry-After that passes
# until the CA has issued.
LEAST = {'newOrder': (1, 1), 'authz': (0, 1), 'challenge': (0, 1), 'order': (0, 1), 'finalize': (1, 1), 'certificate': (1, 1)}
SPARE = 0.25              # of an order's: the CA had not judged the reply when it was asked


def setUpModule():
    require()


class Watch(threading.Thread):
    """Peaks of a process, until stop()."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.threads = pid, 0
        self._end = threading.Event()
        self.start()

    def run(self):
        while not self._end.wait(0.1):
            self.threads = max(self.threads, status(self.pid, 'Threads'))

    def stop(self):
        self._end.set()
        self.join()
        return self.threads


def status(pid, name):
    with open('/proc/%d/status' % pid) as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name + ':'))


def cpu_seconds(pid):
    with open('/proc/%d/stat' % pid) as file:
        fields = file.read().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def instrumented(pid):
    """A sanitizer's build has a size of its own."""
    with open('/proc/%d/maps' % pid) as file:
        return any('libasan' in line or 'libtsan' in line or 'valgrind' in line for line in file)


class Throughput(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        stage = Stage.current
        cls.p = Product(stage, mode='observe', certificate={'key-type': 'ec:p256'}, ca={
            'challenge-trigger': 'mail-first', 'orders-in-flight': 10 * NUMBER, 'orders-per-hour': 0})
        cls.p.start()
        cls.many = Enrolling(stage, cls.p)
        cls.users = [cls.many.user() for _n in range(NUMBER)]
        cls.by_mail = cls.users[:BY_MAIL]
        cls.many.behave(authz_valid=[address(u) for u in cls.users[BY_MAIL:]], issuance_held=True,
                        poll_retry_after=RETRY_AFTER)
        for user in cls.users:      # observing, nothing is ordered: they begin together
            cls.many.enroll(user)
        cls.p.configure(mode='sign')
        cls.p.restart('enrolld')
        cls.pid, ca = cls.p.daemons['enrolld'].pid, stage.ca.server.pid
        watch, busy = Watch(cls.pid), [cpu_seconds(p) for p in (cls.pid, ca)]
        cls.begun = time.time()
        cls.in_flight = service.until(cls.all_processing, 300, 'all orders are held by the CA', every=1, say=cls.counts)
        cls.opened = time.time()
        cls.many.change(issuance_held=False)
        cls.many.wait_state(cls.users, 'active', seconds=300)
        cls.ended = time.time()
        cls.threads = watch.stop()
        cls.peak_kib = status(cls.pid, 'VmHWM')
        cls.busy = [cpu_seconds(p) - b for p, b in zip((cls.pid, ca), busy)]
        cls.asked = cls.requests()
        cls.report()

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()

    @classmethod
    def counts(cls):
        return repr(collections.Counter(o['status'] for o in cls.many.stage.ca.admin('/state')['orders']))

    @classmethod
    def all_processing(cls):
        """The number of orders that the CA has finalized and not issued, once it is all of them."""
        done = cls.many.stage.ca.admin('/counters')
        if done.get('finalized', 0) < NUMBER:
            return None
        return [o['status'] for o in cls.many.stage.ca.admin('/state')['orders']].count('processing')

    @classmethod
    def requests(cls):
        """{user: {endpoint: requests about this user}}, and under None those about nobody."""
        found = collections.defaultdict(collections.Counter)
        for record in cls.many.stage.ca.admin('/log?since=0&event=request'):
            for who in record.get('concerns') or [None]:
                found[who and who.partition('@')[0]][record['endpoint']] += 1
        return found

    @classmethod
    def held(cls, user):
        """Seconds from finalize to the poll that found the certificate issued."""
        if not hasattr(cls, 'moments'):
            cls.moments = {}
            for event in ('finalized', 'issued'):
                for record in cls.many.stage.ca.admin('/log?since=0&event=' + event):
                    cls.moments[event, record['addresses'][0]] = record['time']
        return cls.moments['issued', address(user)] - cls.moments['finalized', address(user)]

    @classmethod
    def worked(cls):
        """Seconds in which there was something to do: not those that the CA asked to wait."""
        issued = [r['time'] for r in cls.many.stage.ca.admin('/log?since=0&event=issued')]
        return (cls.opened - cls.begun) + (cls.ended - min(issued))

    @classmethod
    def mean(cls, users):
        total = collections.Counter()
        for user in users:
            total.update(cls.asked[user])
        return {e: n / len(users) for e, n in sorted(total.items())}

    @classmethod
    def report(cls):
        beforehand = cls.users[BY_MAIL:]
        everything = sum(sum(c.values()) for c in cls.asked.values())
        about = everything - sum(cls.asked[None].values())
        print('# %d orders in flight at one time; %.0f s until the CA had all of them, %.0f s from the first certificate '
              'to the last user active: %.0f enrollments a minute' % (
                  cls.in_flight, cls.opened - cls.begun, cls.worked() - (cls.opened - cls.begun), 60 * NUMBER / cls.worked()))
        print('# enrolld: %.1f MiB resident at most, %d threads at most, %.1f s of CPU; the test CA: %.1f s of CPU' % (
            cls.peak_kib / 1024, cls.threads, *cls.busy))
        print('# requests an enrollment: %.2f, with nonces, directory and account %.2f' % (about / NUMBER, everything / NUMBER))
        for name, users in (('validated beforehand', beforehand), ('by mail', cls.by_mail)):
            means = cls.mean(users)
            print('#   %s: %.2f (%s)' % (name, sum(means.values()), ', '.join('%s %.2f' % i for i in means.items())))
        print('#   about nobody: %s' % dict(cls.asked[None]), flush=True)

    # -- what is judged ----------------------------------------------------

    def test_all_are_in_flight_at_one_time(self):
        self.assertEqual(self.in_flight, NUMBER)

    def test_memory_and_threads_are_bounded(self):
        self.assertLess(self.threads, THREADS)
        if instrumented(self.pid):
            self.skipTest('a sanitizer needs memory of its own')
        self.assertLess(self.peak_kib, RESIDENT_MIB * 1024)

    def test_all_end_with_one_certificate_each(self):
        for event in ('order_created', 'finalized', 'issued'):
            done = collections.Counter(a for r in self.stage.ca.admin('/log?since=0&event=' + event) for a in r['addresses'])
            self.assertEqual(done, {address(u): 1 for u in self.users}, event)
        self.assertEqual(self.many.violations(), [])

    def test_requests_are_as_few_as_the_protocol_allows(self):
        """On the average, and beside polls of orders that the CA held, one for each time that it named."""
        for column, users in ((0, self.users[BY_MAIL:]), (1, self.by_mail)):
            means = self.mean(users)
            polls = sum((self.held(u) + 1) // RETRY_AFTER for u in users) / len(users)    # whole seconds are counted
            for endpoint, least in LEAST.items():
                allowed = least[column] + (polls + SPARE if endpoint == 'order' else 0)
                with self.subTest(endpoint, by_mail=bool(column)):
                    self.assertLessEqual(means.get(endpoint, 0), allowed)
        self.assertLess(self.asked[None]['newNonce'], NUMBER / 10, 'nonces come with the answers')
