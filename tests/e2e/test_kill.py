"""kill -9 at every point where something outside is asked.

The points are those of the transition table (enrolld --states-json); each has three moments:
before the other side acts, when it has acted and its answer is not read, and when the answer
is read and not stored. After each kill everything is healed and the daemon started again; the
enrollment must end active, and the CA's own log show one certificate for the user, and no
challenge mail answered twice. The two milter instances are killed with a mail in their hands.
"""

import collections
import json
import os
import subprocess
import threading
import time
from datetime import datetime

import mailtools
import stage_ldap
import stage_postfix
from enrolling import Enrolling, address
from gates import ANSWER, REQUEST, DatagramRelay, Gate, Relay
from mailtools import Refused, message, unique
from namespace import GATEWAY
from product import Product, build_directory, require
from stage import Stage, StageCase

STAGE = {'ca': True, 'users': 60}
TAKES, BUSY = 130, 20
BOX = 'box@outside.example'
SOCKETS = stage_postfix.QUEUE + '/enroll-milter/'

BEFORE = 'before it is acted upon'
BETWEEN = 'between request sent and answer read'
AFTER = 'after the answer, before it is stored'
MOMENTS = (BEFORE, BETWEEN, AFTER)

SETTLE = 0.4              # seconds for what cannot be seen from outside: it has been read
AT_CA = {'newOrder': 'newOrder', 'authorization': 'authz', 'challenge': 'challenge',
         'finalize': 'finalize', 'certificate': 'certificate'}
CAA_QUESTION = b'\x04corp\x07example\x00\x01\x01'


def outside_calls():
    """What the states ask outside, in their order."""
    done = subprocess.run([build_directory() + '/enrolld', '--states-json'], check=True,
                          capture_output=True)
    return [s['outside'] for s in json.loads(done.stdout) if s['outside']]


def setUpModule():
    require()


class AtCa:
    """A call to the CA, held by the CA itself."""

    HELD = {BEFORE: {'hang': 'forever'}, BETWEEN: {'hang_after': 'forever'},
            AFTER: {'hang_after': 2}}

    def __init__(self, test, endpoint):
        self.test, self.endpoint = test, endpoint

    def hold(self, user, moment):
        self.moment = moment
        self.mark = self.test.ca.admin('/mark', {'text': moment})['n']
        self.test.ca.admin('/behaviour', {'faults': {self.endpoint: self.HELD[moment]}})

    def wait(self):
        def taken():
            faults = self.test.ca.admin('/behaviour')['faults'][self.endpoint]
            return all(f.get('count') == 0 for f in faults)
        self.test.until(taken, what='the CA got the request')
        time.sleep(SETTLE)

    def answered(self):
        return [r for r in self.test.ca.admin('/log?since=%d&event=request' % self.mark)
                if r.get('endpoint') == self.endpoint and r.get('fault')]

    def let_answer(self):
        self.test.assertEqual(self.answered(), [], 'the store was locked too late')
        self.test.until(self.answered, what='the CA has answered')

    def heal(self):
        self.test.ca.admin('/behaviour', {'faults': {self.endpoint: None}})


class Through:
    """A call through one of our gates; which pieces are held is said by a function of the
    user and the piece."""

    def __init__(self, gate, request=lambda user, data: True, answer=lambda user, data: True):
        self.gate, self.when = gate, {REQUEST: request, ANSWER: answer}

    def hold(self, user, moment):
        side = REQUEST if moment == BEFORE else ANSWER
        self.gate.hold(side, lambda data: self.when[side](user, data))

    def wait(self):
        self.gate.wait()

    def let_answer(self):
        self.gate.open()

    def heal(self):
        self.gate.drop()


class KillCase(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        s = cls.s = Stage.current
        cls.ca = s.ca
        if not hasattr(KillCase, 'gates'):
            KillCase.gates = cls.make_gates()
        cls.gate = KillCase.gates
        if not hasattr(KillCase, 'p'):
            KillCase.p = Product(
                s, certificate={'key-type': 'ec:p256'}, store={'busy-ms': 30000},
                directory={'urls': ['ldap://%s:3389' % stage_ldap.HOST], 'deadline-ms': 20000,
                           'connect-ms': 20000},
                dns={'servers': ['127.0.0.1@5301'], 'deadline-ms': 20000},
                reply={'port': 10125})
            KillCase.p.start()
            KillCase.many = Enrolling(s, KillCase.p)
        cls.many.behave()

    @classmethod
    def make_gates(cls):
        names = ('ldap', 'dns', 'reply', 'outbound', 'inbound')
        gates = {n: Gate() for n in names}
        Relay(gates['ldap'], (stage_ldap.ADDRESS, 3389), (stage_ldap.ADDRESS, 389))
        DatagramRelay(gates['dns'], ('127.0.0.1', 5301), ('127.0.0.1', 53))
        Relay(gates['dns'], ('127.0.0.1', 5301), ('127.0.0.1', 53))
        Relay(gates['reply'], ('127.0.0.1', 10125), ('127.0.0.1', 10025))
        for name in ('outbound', 'inbound'):
            Relay(gates[name], SOCKETS + 'gate-%s.sock' % name, SOCKETS + name + '.sock')
        return gates

    def setUp(self):
        self.violations = len(self.many.violations())
        self.addCleanup(self.heal)

    def heal(self):
        """Whatever a test that failed left behind."""
        for gate in self.gate.values():
            gate.drop()
        self.p.start()

    # -- the store, looked at and locked -------------------------------------

    def state_is(self, user, *states):
        found = self.p.sql('SELECT state FROM enrollments WHERE address = ?', address(user))
        return bool(found) and found[0][0] in states

    def restart(self, name):
        self.p.kill9(name)
        self.p.start(name)

    # -- what must hold in the end ---------------------------------------------

    def check_user(self, user):
        story = self.many.story(user)
        self.assertEqual(len(self.many.ca_log('finalized', user)), 1, story)
        self.assertEqual(len(self.many.ca_log('issued', user)), 1, story)
        replies = collections.Counter(r['in_reply_to']
                                      for r in self.many.ca_log('reply_received', user))
        self.assertLessEqual(max(replies.values(), default=0), 1, story)
        self.assertEqual(self.many.violations()[self.violations:], [], story)
        self.assertEqual(len(self.s.ldap.certificates(user)), 1)
        certificates = [c['status'] for c in self.many.show(user)['certificates']]
        self.assertEqual(certificates, ['active'])


class Enrolld(KillCase):
    """One test a call, made from the table; see the end of this file."""

    def slapd_saw(self, words):
        """A function of (user, data): slapd's log says so since now."""
        log = self.s.ldap.server.log
        mark = os.path.getsize(log)

        def seen(user, _data):
            with open(log, 'rb') as file:
                file.seek(mark)
                return (words % user).encode() in file.read()
        return seen

    def call(self, name):
        if name in AT_CA:
            return AtCa(self, AT_CA[name])
        if name == 'directory':
            return Through(self.gate['ldap'],
                           answer=self.slapd_saw('filter="(mail=%s@corp.example)"'))
        if name == 'publish':
            return Through(self.gate['ldap'],
                           request=lambda user, data: self.state_is(user, 'checked'),
                           answer=self.slapd_saw('MOD dn="uid=%s,'))
        if name == 'dns':
            self.restart('enrolld')       # libunbound has forgotten everything
            return Through(self.gate['dns'], lambda user, data: CAA_QUESTION in data,
                           lambda user, data: CAA_QUESTION in data)
        if name == 'reply':
            return Through(self.gate['reply'],
                           lambda user, data: data.startswith((b'DATA', b'BDAT')),
                           lambda user, data: b'queued as' in data)
        self.fail('the table has a call to "%s", and nobody said here how to hold it' % name)

    def kill_at(self, name, moment):
        user = self.many.user()
        call = self.call(name)
        call.hold(user, moment)
        self.many.enroll(user)
        try:
            call.wait()
            if moment == AFTER:
                with self.p.store_locked():
                    call.let_answer()
                    time.sleep(SETTLE)
                    self.p.kill9('enrolld')
            else:
                self.p.kill9('enrolld')
        finally:
            call.heal()
        self.p.start('enrolld')
        return user

    def run_call(self, name):
        for moment in MOMENTS:
            with self.subTest(moment):
                user = self.kill_at(name, moment)
                self.many.wait_state([user], 'active')
                self.check_user(user)

    def run_new_order(self):
        """Whether the CA made an order nobody knows: it may have, so it is given up."""
        users = {}
        for moment in MOMENTS:
            for other in users.values():     # it is to come back in between, not in the middle
                if self.due_in(other) < 6:
                    self.many.wait_state([other], 'active')
            with self.subTest(moment):
                user = users[moment] = self.kill_at('newOrder', moment)
                shown = self.until(lambda: self.lost_one(user), what='the lost order is counted')
                self.assertIn('order_abandoned', [e['event'] for e in shown['events']])
        for moment, user in users.items():
            with self.subTest(moment):
                self.many.wait_state([user], 'active')
                self.check_user(user)
                opened = len(self.many.ca_log('order_created', user))
                self.assertEqual(opened, 1 if moment == BEFORE else 2)

    def lost_one(self, user):
        shown = self.many.show(user)
        return shown if shown['enrollment']['abandoned_orders'] == 1 else None

    def due_in(self, user):
        """Seconds until the next step; many when there is none."""
        due = self.many.show(user)['enrollment'].get('next_at')
        return datetime.fromisoformat(due).timestamp() - time.time() if due else 10 ** 6

    def run_reply(self):
        for moment in MOMENTS:
            with self.subTest(moment):
                if moment == BEFORE:
                    # The CA never gets it, says so when asked, and a new order follows.
                    self.many.behave(post_before_reply='invalid')
                user = self.kill_at('reply', moment)
                if moment == BEFORE:
                    shown = self.many.wait_state([user], 'waiting')[user]
                    self.assertEqual([c['state'] for c in shown['challenges']], ['in-doubt'])
                    self.assertEqual(self.many.ca_log('reply_received', user), [])
                    self.many.behave()
                    self.many.retry(user)
                self.many.wait_state([user], 'active')
                self.check_user(user)
                replies = self.many.ca_log('reply_received', user)
                self.assertEqual([r['verdict'] for r in replies], ['good'])


class Inbound(KillCase):
    """A challenge mail in its hands; the CA's mail server comes again."""

    def awaiting(self):
        """Somebody who waits for a challenge mail that is not sent yet."""
        self.restart('inbound')          # libunbound has forgotten the CA's DKIM key
        user = self.many.user()
        self.many.behave(challenge_mail_copies=0)
        self.many.enroll(user)
        self.many.wait_state([user], 'challenge-awaited')
        self.many.behave()
        return user

    def after_kill(self, user):
        self.p.start('inbound')
        self.many.wait_state([user], 'active')
        self.check_user(user)
        self.assertEqual(len(self.many.show(user)['challenges']), 1)
        self.until(lambda: self.many.ca_log('challenge_sent', user), what='the mail came again')
        self.s.postfix.wait_empty()
        self.assertEqual(self.s.mailbox(user), [])

    def tokens(self, user):
        return self.p.sql('SELECT c.id FROM challenges c JOIN enrollments e ON'
                              ' e.id = c.enrollment_id WHERE e.address = ?', address(user))

    def test_while_the_dkim_key_is_asked_for(self):
        user = self.awaiting()
        self.gate['dns'].hold(ANSWER, lambda data: b'_domainkey' in data)
        self.many.genuine(user)
        self.gate['dns'].wait()
        self.p.kill9('inbound')
        self.gate['dns'].drop()
        self.after_kill(user)

    def test_before_the_token_is_committed(self):
        user = self.awaiting()
        self.gate['dns'].hold(ANSWER, lambda data: b'_domainkey' in data)
        self.many.genuine(user)
        self.gate['dns'].wait()
        with self.p.store_locked():
            self.gate['dns'].open()
            time.sleep(SETTLE)
            self.p.kill9('inbound')
        self.assertEqual(self.tokens(user), [])
        self.after_kill(user)

    def test_when_the_token_is_committed_and_the_mail_not_taken(self):
        listener = GATEWAY + ':25'
        self.s.postfix.set_listener(listener, 'smtpd_milters=unix:dkim/sv.sock,'
                                    ' unix:enroll-milter/gate-inbound.sock')
        self.addCleanup(self.s.postfix.set_listener, listener)
        user = self.awaiting()
        self.gate['inbound'].hold(ANSWER, lambda data: bool(self.tokens(user)))
        self.many.genuine(user)
        self.gate['inbound'].wait()
        self.p.kill9('inbound')
        self.gate['inbound'].drop()
        self.after_kill(user)


class ShortOfStore(KillCase):
    """Nobody is killed: nothing can be written for a moment, in which an answer comes."""

    AWAY = 7                # seconds; five tries without a rest between would be over

    def patience(self, ms):
        self.p.configure(store={'busy-ms': ms})
        self.p.restart('enrolld')

    def test_what_was_learned_outside_is_written_down_when_that_is_possible_again(self):
        self.addCleanup(self.patience, self.p.config['store']['busy-ms'])
        self.patience(1000)
        user, call = self.many.user(), AtCa(self, 'newOrder')
        call.hold(user, AFTER)
        self.many.enroll(user)
        try:
            call.wait()
            with self.p.store_locked():
                call.let_answer()
                time.sleep(self.AWAY)
        finally:
            call.heal()
        self.many.wait_state([user], 'active')
        self.check_user(user)
        self.assertEqual(len(self.many.ca_log('order_created', user)), 1, self.many.story(user))
        self.assertNotIn('order_abandoned', self.many.events(user))


class Outbound(KillCase):
    """A mail on its way to be signed; the client is told to come again, and does."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.many.behave(authz_valid=True)
        cls.user = cls.many.user()
        cls.many.enroll(cls.user)
        cls.many.wait_state([cls.user], 'active')
        cls.s.postfix.set_listener(GATEWAY + ':587', 'smtpd_milters='
                                   'unix:enroll-milter/gate-outbound.sock, unix:dkim/sv.sock')

    @classmethod
    def tearDownClass(cls):
        cls.s.postfix.set_listener(GATEWAY + ':587')

    def submit(self, raw):
        self.s.submit(self.user, address(self.user), [BOX], raw)

    def kill_while_held(self, gate, side, when=lambda data: True):
        subject, caught = unique('killed'), []
        raw = message(address(self.user), BOX, subject, 'All of it, and once.\n' * 40000)

        def client():
            try:
                self.submit(raw)
            except Refused as refused:
                caught.append(refused)
        self.gate[gate].hold(side, when)
        thread = threading.Thread(target=client)
        thread.start()
        try:
            self.gate[gate].wait()
            self.p.kill9('outbound')
        finally:
            self.gate[gate].drop()
        thread.join(120)
        self.assertTrue(caught and caught[0].temporary, caught)
        self.p.start('outbound')
        self.submit(raw)
        needle = subject.encode()
        arrived = self.s.outside.wait_for(1, match=lambda m: needle in m.content)
        self.s.postfix.wait_empty()
        arrived = self.s.outside.wait_for(1, match=lambda m: needle in m.content)
        self.assertEqual(len(arrived), 1)
        self.assertTrue(mailtools.is_signed(arrived[0].content))
        self.assertEqual(mailtools.differences(raw, arrived[0].content), [])
        self.assertTrue(mailtools.verify_openssl(arrived[0].content, self.ca.root))

    @staticmethod
    def more_than(octets, begins=b''):
        """A function of data: so much has passed since a packet of these kinds was first."""
        passed = [0]

        def when(data):
            if passed[0] or not begins or data[4:5] in begins:
                passed[0] += len(data)
            return passed[0] > octets
        return when

    def test_while_the_directory_is_asked(self):
        time.sleep(1.2)        # cache-seconds
        self.kill_while_held('ldap', REQUEST)

    def test_while_the_mail_comes(self):
        self.kill_while_held('outbound', REQUEST, self.more_than(300000))

    def test_when_it_is_signed_and_nothing_told(self):
        self.kill_while_held('outbound', ANSWER, self.more_than(0, b'mhib'))

    def test_when_half_of_the_edits_are_told(self):
        self.kill_while_held('outbound', ANSWER, self.more_than(300000, b'mhib'))


def _add_tests():
    special = {'newOrder': Enrolld.run_new_order, 'reply': Enrolld.run_reply}

    def make(name):
        run = special.get(name, lambda test: test.run_call(name))
        return lambda test: run(test)
    for name in outside_calls():
        setattr(Enrolld, 'test_' + name, make(name))


if build_directory():
    _add_tests()
