"""Three gateways on one database, each in a network of its own: mail enters at one, the challenge arrives at another, the third's enrolld orders.

Then the storm: while people enroll, each daemon is killed and each cable pulled, in turn.  In the end everybody has one certificate, the CA has seen no order
twice that nobody lost, and each mail that was taken has arrived, with a good signature or for a reason that the log tells.  The default run has fewer people and
helps those who wait for half a minute after a fault along (enrollctl retry); with $ENROLL_TEST_LONG it is 500, and everything comes back by itself.
"""

import collections
import os
import queue
import random
import smtplib
import threading
import time

import mailtools
import service
from enrolling import Enrolling, address
from mailtools import message, unique
from product import require
from stage import Stage, StageCase
from stage_gateways import Gateways, Lan, through

LONG = bool(os.environ.get('ENROLL_TEST_LONG'))
PEOPLE = int(os.environ.get('ENROLL_TEST_STORM', 500 if LONG else 45))
STAGE = {'ca': True, 'users': PEOPLE + 20, 'postgresql': False}
TAKES = 60
BOX = 'box@outside.example'
BUSY_MS, DIRECTORY_MS = 2000, 2000
FAULT = (0.5, 6) if LONG else (1, 1.2)      # seconds that a part is away
CALM = (0, 3) if LONG else (0, 0.1)         # and between
SLACK_MS = 1500         # for a machine that has other things to do, too
PACE = {'storm': 0.4, 'after': 0.05}        # seconds between two mails


def setUpModule():
    require()


class Sent:
    """A mail that a gateway took."""

    def __init__(self, user, subject, letter, qid, seconds):
        self.user, self.subject, self.letter, self.qid, self.seconds = user, subject, letter, qid, seconds
        self.at = time.time()


class GatewaysCase(StageCase):
    @classmethod
    def setUpClass(cls):
        s = cls.s = Stage.current
        if not hasattr(GatewaysCase, 'g'):
            GatewaysCase.lan = Lan(s)
            cls.lan.database()
            GatewaysCase.g = Gateways(cls.lan, certificate={'key-type': 'ec:p256'}, store={'busy-ms': BUSY_MS},
                                      directory={'deadline-ms': DIRECTORY_MS})
            cls.g.start()
            GatewaysCase.many = Enrolling(s, cls.g.c)

    def submit(self, gateway, user, word='mail'):
        subject, began = unique(word), time.monotonic()
        qid = gateway.submit(user, address(user), [BOX], message(address(user), BOX, subject))
        return Sent(user, subject, gateway.letter, qid, time.monotonic() - began)

    def arrived(self, sent):
        return self.s.outside.wait_subject(sent.subject).content


class Division(GatewaysCase):
    """Each of them does another part of the work."""

    def tearDown(self):
        for gateway in self.g:
            gateway.start('enrolld')

    def test_each_part_is_done_by_another(self):
        g, s = self.g, self.s
        for turn in range(3):
            entry, mx, orders = g.each[turn:] + g.each[:turn]
            with self.subTest('in at %s, challenge at %s, ordered by %s' % (entry.letter, mx.letter, orders.letter)):
                entry.stop('enrolld')
                mx.stop('enrolld')
                orders.start('enrolld')
                self.lan.mx(mx.letter)
                user, mark = self.many.user(), {w.letter: w.log_mark() for w in g}
                first = self.submit(entry, user)
                self.assertFalse(mailtools.is_signed(self.arrived(first)))
                service.until(lambda: g.states().get(user) == 'active', 300, '%s is active' % user, say=lambda: repr(g.states()))
                second = self.submit(mx, user)
                content = self.arrived(second)
                self.assertTrue(mailtools.verify_openssl(content, s.ca.root))
                self.assertEqual(through(content), (mx.letter, second.qid))
                self.assertEqual(s.outside.messages[-1].peer[0], mx.address)
                self.whose(mark, orders, event='enrollment', state='ordered')
                self.whose(mark, mx, event='challenge_mail', verdict='taken')
                self.assertEqual(s.mailbox(user), [])

    def whose(self, mark, gateway, **fields):
        """Only that gateway logged it."""
        self.assertEqual([w.letter for w in self.g if w.log(mark[w.letter], **fields)], [gateway.letter], fields)


class Storm(GatewaysCase):
    def setUp(self):
        self.taken, self.lock, self.calm = [], threading.Lock(), threading.Event()
        self.lan.mx('b', 'c', 'a')

    # -- mail ------------------------------------------------------------

    def deliver(self, user, turn, word):
        """As a mail program does that asks its user: again, at the next gateway, until one takes it."""
        subject, raw = unique(word), None
        raw = message(address(user), BOX, subject)
        for attempt in range(1000):
            gateway = self.g.each[(turn + attempt) % len(self.g.each)]
            began = time.monotonic()
            try:
                with mailtools.Session((gateway.address, 587), user, self.s.password(user), timeout=30) as session:
                    qid = session.send(address(user), [BOX], raw)
            except (mailtools.Refused, smtplib.SMTPException, OSError):
                time.sleep(0.2)
                continue
            with self.lock:
                self.taken.append(Sent(user, subject, gateway.letter, qid, time.monotonic() - began))
            return
        raise AssertionError('nobody takes mail of ' + user)

    def crowd(self, users, word, workers=6):
        """One mail of each, at some pace; a context that ends when all have been taken."""
        work, trouble = queue.Queue(), []
        for number, user in enumerate(users):
            work.put((number, user))

        def one():
            while True:
                try:
                    number, user = work.get_nowait()
                except queue.Empty:
                    return
                time.sleep(PACE[word] * workers)
                try:
                    self.deliver(user, number, word)
                except Exception as failed:
                    trouble.append(failed)
        threads = [threading.Thread(target=one) for _n in range(workers)]
        for thread in threads:
            thread.start()
        return threads, trouble

    # -- weather -----------------------------------------------------------

    def faults(self):
        """(name, a part goes, it is back)"""
        g, lan = self.g, self.lan
        for gateway in g:
            for daemon in ('outbound', 'inbound', 'enrolld'):
                if gateway.running(daemon):
                    yield ('kill -9 %s of %s' % (daemon, gateway.letter), lambda w=gateway, d=daemon: w.kill9(d), lambda w=gateway, d=daemon: w.start(d))
            yield ('kill -9 Postfix of ' + gateway.letter, gateway.postfix.master.kill9, gateway.postfix.restart)
            yield (gateway.letter + ' without network', gateway.host.unplug, gateway.host.plug)
            yield (gateway.letter + ' cut off from the database', lambda w=gateway: w.host.unplug('data'), lambda w=gateway: w.host.plug('data'))
        yield ('kill -9 of the database', lan.db1.kill9, lan.db1.start)
        yield ('the database without network', lan.databases['db1'].unplug, lan.databases['db1'].plug)

    def storm(self, going):
        """Once each, and then any for as long as there is anything to do."""
        done, choice = [], random.Random(8)
        todo = list(self.faults())
        choice.shuffle(todo)
        while todo or going():
            name, goes, comes = todo.pop(0) if todo else choice.choice(list(self.faults()))
            began = time.time()
            goes()
            time.sleep(choice.uniform(*FAULT))
            comes()
            done.append((name, began, time.time()))
            time.sleep(choice.uniform(*CALM))
        return done

    # -- what is judged ------------------------------------------------------

    def test_a_storm(self):
        users = [self.many.user() for _n in range(PEOPLE)]
        marks, violations = {w.letter: w.log_mark() for w in self.g}, len(self.many.violations())
        threads, trouble = self.crowd(users, 'storm')
        done = self.storm(lambda: any(t.is_alive() for t in threads))
        for thread in threads:
            thread.join()
        self.assertEqual(trouble, [])
        self.everybody_enrolls(users)
        threads, trouble = self.crowd(users, 'after', 3)
        for thread in threads:
            thread.join()
        self.assertEqual(trouble, [])
        self.all_is_delivered()
        with self.subTest('certificates'):
            self.one_certificate_each(users)
        with self.subTest('violations'):
            self.assertEqual(self.many.violations()[violations:], [])
        with self.subTest('mail'):
            self.mail_is_right(users)
        with self.subTest('time'):
            self.nobody_waited(marks)
        with self.subTest('store check'):
            print(self.g.a.ctl('store', 'check', user='root'))
        print('# %d faults, %d mails' % (len(done), len(self.taken)), flush=True)

    def everybody_enrolls(self, users):
        """Who was not noted while the store was away sends another mail; who waits for half a minute is not waited for."""
        end = time.monotonic() + (3600 if LONG else 100)
        while True:
            states = self.g.states()
            left = [u for u in users if states.get(u) != 'active']
            if not left:
                return
            if time.monotonic() > end:
                self.fail('%d are not active:\n%s' % (len(left), '\n'.join(self.many.story(u) for u in left[:5])))
            for number, user in enumerate(u for u in left if u not in states):
                self.deliver(user, number, 'again')
            if not LONG:
                for user in (u for u in left if states.get(u) == 'waiting'):
                    self.g.c.ctl_run('retry', address(user))
            time.sleep(1)

    def all_is_delivered(self):
        for gateway in self.g:
            gateway.postfix.flush()
        subjects = {s.subject for s in self.taken}

        def there():
            return len(subjects & {v for m in list(self.s.outside.messages) for v in mailtools.headers(m.content, 'Subject')}) == len(subjects)
        service.until(there, 300, 'all mail has arrived', every=0.3, say=lambda: repr([w.postfix.queued() for w in self.g]))

    def one_certificate_each(self, users):
        """By the CA's own log."""
        log = self.many.ca_log()
        issued = collections.Counter(a for r in log if r['event'] == 'issued' for a in r['addresses'])
        self.assertEqual({u: issued[address(u)] for u in users if issued[address(u)] != 1}, {})
        orders = collections.Counter(a for r in log if r['event'] == 'order_created' for a in r['addresses'])
        lost = dict(self.g.sql('SELECT address, abandoned FROM enrollments'))
        twice = {u: (orders[address(u)], lost[address(u)]) for u in users if orders[address(u)] > 1 + lost[address(u)]}
        self.assertEqual(twice, {}, 'more orders than were lost')
        replies = collections.Counter(r['in_reply_to'] for r in log if r['event'] == 'reply_received')
        self.assertEqual({k: n for k, n in replies.items() if n > 1}, {}, 'a challenge was answered twice')
        rows = self.g.sql("SELECT address, count(*) FROM enrollments GROUP BY address")
        self.assertEqual({a: n for a, n in rows if n != 1}, {}, 'one row each')
        print('# %d orders for %d people, %d lost' % (sum(orders[address(u)] for u in users), len(users), sum(lost[address(u)] for u in users)), flush=True)

    def mail_is_right(self, users):
        """Signed and good, or unsigned for a reason that was logged; the last one of each is signed."""
        verdicts = {w.letter: w.verdicts() for w in self.g}
        by_subject = collections.defaultdict(list)
        for m in self.s.outside.messages:
            by_subject[mailtools.headers(m.content, 'Subject')[0]].append(m.content)
        reasons = collections.Counter()
        for sent in self.taken:
            for content in by_subject[sent.subject]:
                letter, qid = through(content)
                line = verdicts[letter].get(qid)
                self.assertIsNotNone(line, 'the log has nothing of %s at %s' % (qid, letter))
                signed = mailtools.is_signed(content)
                self.assertEqual(signed, line['verdict'] == 'signed', line)
                if signed:
                    self.assertTrue(mailtools.verify_openssl(content, self.s.ca.root), sent.subject)
                reasons[(line['verdict'], line.get('reason'), line.get('detail'))] += 1
                if sent.subject.startswith('after'):
                    self.assertTrue(signed, line)
        for reason, number in reasons.most_common():
            print('#   %4d %s' % (number, reason), flush=True)

    def nobody_waited(self, marks):
        """By the product's own clock: from the first word of a mail to its verdict."""
        waited = sorted((int(line['ms']), w.letter, line['line']) for w in self.g for line in w.log(marks[w.letter], 'outbound', event='mail_done'))
        print('# longest: %d ms; median %d ms; as the client saw it: %.1f s' % (
            waited[-1][0], waited[len(waited) // 2][0], max(s.seconds for s in self.taken)), flush=True)
        self.assertLess(waited[-1][0], BUSY_MS + DIRECTORY_MS + SLACK_MS, waited[-1])

