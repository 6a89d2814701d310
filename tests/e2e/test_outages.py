"""CA, DNS and LDAP each refusing, dropping packets, accepting and saying nothing.

While one of them is away: a hundred mails of people with a certificate leave signed at the pace
of the healthy run; somebody never seen before costs no more than the configured deadline and
goes by on-error; an enrollment waits, says why, and ends by itself when the thing is back.

All nine outages come first, one after the other, and what happened is kept; the tests judge it.
Enrollments that an outage stopped come back after 30 to 45 s, in the middle of a later one.
"""

import collections
import contextlib
import statistics
import threading
import time

import dns.exception

import mailtools
import service
import stage_ldap
from enrolling import Enrolling, address
from mailtools import Refused, message, unique
from namespace import CA, GATEWAY
from product import Product, require
from stage import Stage, StageCase

STAGE = {'ca': True, 'users': 40}
TAKES, BUSY = 135, 34
BOX = 'box@outside.example'

SIGNERS, MAILS_EACH = 4, 25
DIRECTORY_MS, DNS_MS, CA_SECONDS = 1500, 2000, 5
DNS_TTL = 2               # of what the stage publishes
CACHE_SECONDS = 1         # so that what is believed in an outage is stale
FAILURE_MEMORY = 5        # seconds for which a directory that was silent is not asked again
SLACK = 3                 # seconds a busy machine may take for nothing
PACE = 3                  # an outage may make mail so many times slower

SERVICES = ('dns', 'ca', 'ldap')   # DNS first: without it the others are away as well
KINDS = ('refusing', 'dropping packets', 'accepting and silent')

# What is to stand in the sentence that the admin reads.
NAMES = {'ldap': r'ldap\.corp\.example|directory', 'ca': r'\bCA\b',
         'dns': r'\bDNS\b|resolv|looked up|name server'}

Batch = collections.namedtuple('Batch', 'subjects seconds median slowest')


class Outage:
    """One of the nine, and what was seen during it."""

    def __init__(self, service, kind):
        self.service, self.kind = service, kind
        self.name = '%s %s' % (service, kind)
        self.healthy = self.batch = self.waiting = self.waited = None
        self.new_seconds = self.new_subject = self.new_user = self.user = None
        self.challenge = None          # seconds until a challenge mail was told to come again


def setUpModule():
    require()


class Outages(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        cls.s = Stage.current
        cls.p = Product(cls.s, certificate={'key-type': 'ec:p256'},
                        ca={'timeout-seconds': CA_SECONDS, 'challenge-trigger': 'mail-first'},
                        directory={'deadline-ms': DIRECTORY_MS, 'connect-ms': 1000,
                                   'cache-seconds': CACHE_SECONDS, 'stale-seconds': 900},
                        dns={'deadline-ms': DNS_MS})
        cls.p.start()
        cls.many = Enrolling(cls.s, cls.p)
        # OpenDKIM and Postfix ask DNS too; here it is our word that counts.
        cls.s.postfix.set_listener(GATEWAY + ':25',
                                   'smtpd_milters=unix:enroll-milter/inbound.sock',
                                   'smtpd_peername_lookup=no')
        cls.signers = [cls.many.user() for _n in range(SIGNERS)]
        cls.many.behave(authz_valid=True)
        for user in cls.signers:
            cls.many.enroll(user)
        cls.many.wait_state(cls.signers, 'active')
        cls.awaiting = cls.awaiting_challenge()
        cls.many.behave(authz_valid=True)
        cls.send_all()                      # everybody known, every cache warm
        cls.outages = []
        time.sleep(DNS_TTL + 1)             # of the stage: an enrollment has to ask again
        for what in SERVICES:
            for kind in KINDS:
                cls.outages.append(cls.run_outage(Outage(what, kind)))
            if what == 'dns':
                cls.wait_dns()
        cls.s.postfix.flush()
        users = [o.user for o in cls.outages]
        try:
            cls.ended = cls.many.wait_state(users, 'active')
        except TimeoutError as trouble:
            cls.ended, cls.never = {}, trouble

    @classmethod
    def tearDownClass(cls):
        cls.s.postfix.set_listener(GATEWAY + ':25')
        cls.p.stop()

    # -- what is done ------------------------------------------------------

    @classmethod
    def awaiting_challenge(cls):
        """Somebody whose challenge mail is written, genuine, and not sent yet."""
        user = cls.many.user()
        cls.many.behave(challenge_mail_copies=0)
        cls.many.enroll(user)
        cls.many.wait_state([user], 'challenge-awaited')
        return user, cls.many.genuine(user, hold=True)['raw']

    @classmethod
    def send_all(cls):
        """A hundred mails: who has a certificate, one session each."""
        subjects, each, began = [], [], time.monotonic()
        for user in cls.signers:
            with mailtools.Session((GATEWAY, 587), user, cls.s.password(user)) as session:
                for _n in range(MAILS_EACH):
                    subject, sent = unique('outage'), time.monotonic()
                    session.send(address(user), [BOX], message(address(user), BOX, subject))
                    each.append(time.monotonic() - sent)
                    subjects.append(subject)
        return Batch(subjects, time.monotonic() - began, statistics.median(each), max(each))

    @classmethod
    def run_outage(cls, outage):
        outage.user, outage.new_user = cls.many.user(), cls.many.user()
        outage.healthy = cls.send_all()
        with cls.fault(outage.service, outage.kind):
            cls.many.enroll(outage.user)
            waits = threading.Thread(target=cls.watch_waiting, args=(outage,))
            waits.start()
            time.sleep(CACHE_SECONDS + 0.2)
            outage.batch = cls.send_all()
            if outage.service == 'ldap':
                time.sleep(FAILURE_MEMORY + 0.2)    # this one has to ask
            cls.somebody_new(outage)
            if outage.service == 'dns':
                cls.challenge_comes(outage)
            waits.join()
        if outage.service == 'dns':
            time.sleep(DNS_TTL + 1)
        return outage

    @classmethod
    def wait_dns(cls):
        """Until enrolld's resolver has got over it: the next outage is to be seen, not this."""
        user = cls.many.user()
        cls.many.enroll(user)

        def through():
            if cls.many.state(user) == 'waiting':
                cls.many.retry(user)
            return cls.many.state(user) == 'active'
        service.until(through, 300, 'enrolld gets answers again', every=0.5)

    @classmethod
    def watch_waiting(cls, outage):
        try:
            outage.waiting = cls.many.wait_state([outage.user], 'waiting', seconds=60)[outage.user]
        except TimeoutError as trouble:
            outage.waited = trouble

    @classmethod
    def somebody_new(cls, outage):
        user = outage.new_user
        outage.new_subject = unique('never seen')
        raw = message(address(user), BOX, outage.new_subject)
        with mailtools.Session((GATEWAY, 587), user, cls.s.password(user)) as session:
            began = time.monotonic()
            session.send(address(user), [BOX], raw)
            outage.new_seconds = time.monotonic() - began

    @classmethod
    def challenge_comes(cls, outage):
        """A genuine challenge mail whose DKIM key cannot be fetched."""
        user, raw = cls.awaiting
        with mailtools.Session((GATEWAY, 25), source=CA) as session:
            began = time.monotonic()
            try:
                session.send('acme@ca.example', [address(user)], raw)
            except Refused as refused:
                outage.challenge = (time.monotonic() - began, refused)

    @classmethod
    @contextlib.contextmanager
    def fault(cls, what, kind):
        faults, s = cls.s.faults, cls.s
        server = {'ldap': s.ldap.server, 'ca': s.ca.server, 'dns': s.dns.unbound}[what]
        with contextlib.ExitStack() as stack:
            if kind == 'refusing' and what == 'dns':
                server.stop()
                stack.callback(cls.start_resolver)
            elif kind == 'refusing':
                stack.enter_context(faults.refused(getattr(s, what)))
            elif kind == 'accepting and silent':
                stack.enter_context(faults.silent(server))
            elif what == 'dns':
                stack.enter_context(faults.dns_dropped())
            else:
                where = (CA, 443) if what == 'ca' else (stage_ldap.ADDRESS, 389)
                stack.enter_context(faults.dropped(*where))
            yield

    @classmethod
    def start_resolver(cls):
        def answers():
            try:
                return cls.s.dns.lookup('corp.example', 'MX', timeout=0.5)[1]
            except dns.exception.Timeout:
                return None
        cls.s.dns.unbound.start()
        service.until(answers, 60, 'Unbound answers again')

    def each(self, judge, *services):
        """judge(outage) of these services' outages, each a subtest."""
        for outage in self.outages:
            if not services or outage.service in services:
                with self.subTest(outage.name):
                    judge(outage)

    def arrived(self, subject):
        needle = subject.encode()
        return self.s.outside.wait_for(1, match=lambda m: needle in m.content)

    # -- what is judged ----------------------------------------------------

    def test_mail_keeps_its_pace(self):
        healthy = max(o.healthy.median for o in self.outages)
        whole = max(o.healthy.seconds for o in self.outages)

        def judge(outage):
            self.assertLess(outage.batch.median, PACE * healthy)
            self.assertLess(outage.batch.slowest, DIRECTORY_MS / 1000 + SLACK)
            self.assertLess(outage.batch.seconds, PACE * whole + DIRECTORY_MS / 1000 + SLACK)
        self.each(judge)

    def test_no_mail_is_lost_and_all_are_signed(self):
        def judge(outage):
            for subject in outage.healthy.subjects + outage.batch.subjects:
                found = self.arrived(subject)
                self.assertEqual(len(found), 1, 'each arrives once')
                self.assertTrue(mailtools.is_signed(found[0].content), subject)
            mail = self.arrived(outage.batch.subjects[-1])[0].content
            self.assertTrue(mailtools.verify_openssl(mail, self.s.ca.root))
        self.each(judge)

    def test_somebody_new_costs_one_deadline_and_goes_by_on_error(self):
        def judge(outage):
            self.assertLess(outage.new_seconds, DIRECTORY_MS / 1000 + SLACK)
            found = self.arrived(outage.new_subject)
            self.assertEqual(len(found), 1)
            self.assertFalse(mailtools.is_signed(found[0].content))

        def judge_reason(outage):
            if outage.kind != 'refusing':
                self.assertGreater(outage.new_seconds, 0.5, 'it was asked')
            lines = self.p.log(name='outbound', event='mail_done',
                               **{'from': address(outage.new_user)})
            self.assertEqual([(l['verdict'], l['action']) for l in lines], [('error', 'pass')])
            self.assertRegex(lines[0]['detail'], NAMES['ldap'])
        self.each(judge)
        self.each(judge_reason, 'ldap')

    def test_enrollment_waits_and_says_why(self):
        def judge(outage):
            self.assertIsNone(outage.waited)
            shown = outage.waiting['enrollment']
            self.assertEqual(shown['why_class'], 'temporary', shown)
            self.assertRegex(shown['why'], NAMES[outage.service])
            self.assertIn('goes on by itself', shown['what_next'])
            self.assertIn('next_at', shown)
        self.each(judge)

    def test_enrollment_ends_by_itself(self):
        if not self.ended:
            raise self.never
        state = self.s.ca.admin('/state')

        def judge(outage):
            shown = self.ended[outage.user]
            self.assertNotIn('retry', [e['event'] for e in shown['events']])
            issued = [c for c in state['certificates'] if address(outage.user) in str(c)]
            self.assertEqual(len(issued), 1)
            self.assertEqual(len(self.s.ldap.certificates(outage.user)), 1)
        self.each(judge)

    def test_challenge_mail_is_told_to_come_again_while_dns_is_away(self):
        def judge(outage):
            self.assertIsNotNone(outage.challenge, 'it was taken though its key was not to be had')
            seconds, refused = outage.challenge
            self.assertTrue(refused.temporary, refused)
            self.assertLess(seconds, DNS_MS / 1000 + SLACK)
        self.each(judge, 'dns')
        user, raw = self.awaiting
        self.s.inject('acme@ca.example', [address(user)], raw, source=CA)
        self.many.wait_state([user], 'active')
        self.assertEqual(self.s.mailbox(user), [])

    def test_an_answer_is_believed_for_stale_seconds_only(self):
        user = self.signers[0]
        self.addCleanup(self.p.restart, 'outbound')
        self.addCleanup(self.p.configure, directory={'stale-seconds': 900}, on_error='pass')
        for on_error in ('pass', 'tempfail'):
            self.p.configure(directory={'stale-seconds': 4}, on_error=on_error)
            self.p.restart('outbound')
            self.assertTrue(mailtools.is_signed(self.send(user)))
            with self.s.faults.silent(self.s.ldap.server), self.subTest(on_error):
                time.sleep(CACHE_SECONDS + 0.2)
                self.assertTrue(mailtools.is_signed(self.send(user)), 'within stale-seconds')
                time.sleep(3.5)
                if on_error == 'pass':
                    self.assertFalse(mailtools.is_signed(self.send(user)), 'after them')
                else:
                    with self.assertRaises(Refused) as caught:
                        self.send(user)
                    self.assertTrue(caught.exception.temporary)

    def send(self, user):
        subject = unique('stale')
        self.s.submit(user, address(user), [BOX], message(address(user), BOX, subject))
        return self.arrived(subject)[0].content
