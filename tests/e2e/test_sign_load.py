"""Mixed mail at full rate while certificates change: nothing is lost, and nothing is signed with what is no longer in force.

Several SMTP sessions hand in mail of every kind that the outbound instance has a way of its own for.  Meanwhile users are
given other certificates, are disabled and enabled, new ones come, everything is paused and resumed, and the configuration
changes.  The moment in which a change could be seen by an admin is noted; what begins SEEN seconds later goes by it.

$ENROLL_TEST_LONG: an hour instead of 45 seconds, and memory may not grow.  $ENROLL_LOAD_RATE: mails a second (default: as
many as there is time for).
"""

import base64
import collections
import hashlib
import os
import queue
import random
import re
import signal
import ssl
import statistics
import threading
import time

import mailtools
import service
import stage_postfix
from enrolling import Enrolling, address
from mailtools import message, mixed
from namespace import GATEWAY
from product import Product, require
from stage import Stage, StageCase

LONG = bool(os.environ.get('ENROLL_TEST_LONG'))
SECONDS = 3600 if LONG else 45
RATE = float(os.environ.get('ENROLL_LOAD_RATE', 0))
SETTLED = 600 if LONG else 10     # after these memory is judged
STABLE, TOGGLED, NEW = 12, 4, 6    # who is new has come before memory is judged: each takes some for good, in the cache
STAGE = {'ca': True, 'users': STABLE + TOGGLED + NEW}
TAKES = 90
SESSIONS, ON_THE_WAY = 6, 100
CHANGE_EVERY = 4 if LONG else 0.5
SAMPLE = 20 if LONG else 2000     # mails that wait to be verified
DIRECTORY_CONNECTIONS = 8         # that are kept
SEEN = 3                          # two seconds after pause (enroll-milter(8)), and one for what a busy machine adds to a mail
MIB = 1 << 20
BOX, OPAQUE = 'box@outside.example', 'opaque@outside.example'
KINDS = {'plain': 40, 'eight': 20, 'opaque': 10, 'big': 2, 'foreign': 6, 'spoofed': 6, 'signed': 8, 'stranger': 8}
OURS = {'plain': 'detached', 'eight': 'detached', 'opaque': 'opaque', 'big': 'detached'}
BIG = base64.encodebytes(os.urandom(MIB * 3 // 4)).replace(b'\n', b'\r\n')
RULES = [{'name': 'opaque', 'recipients': [OPAQUE], 'form': 'opaque'}]


def setUpModule():
    require()


class Mail:
    """One mail: what was sent, when, and what arrived."""

    __slots__ = ('number', 'kind', 'user', 'raw', 'begun', 'qid', 'arrived', 'form', 'same')

    def __init__(self, number, kind, user):
        self.number, self.kind, self.user = number, kind, user
        self.qid = self.form = self.same = None
        self.arrived = 0
        self.raw = self.build()

    def build(self):
        author, to, subject = address(self.user), OPAQUE if self.kind == 'opaque' else BOX, 'load %d' % self.number
        if self.kind == 'eight':
            return message(author, to, subject, 'Grüße aus Köln \nFrom here\n'.encode().replace(b'\n', b'\r\n'), X_Load=self.number,
                           Content_Transfer_Encoding='8bit')
        if self.kind == 'big':
            return mixed(author, to, subject, [('Content-Type: text/plain', b'see there'), (
                'Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64', BIG)], X_Load=self.number)
        if self.kind == 'signed':
            return message(author, to, subject, b'--s\r\n\r\nx\r\n--s\r\nContent-Type: application/pkcs7-signature\r\n\r\nAA==\r\n--s--\r\n',
                           X_Load=self.number, Content_Type='multipart/signed; protocol="application/pkcs7-signature"; boundary=s',
                           Content_Transfer_Encoding=None)
        author = {'foreign': 'x@elsewhere.example', 'spoofed': address('alice')}.get(self.kind, author)
        return message(author, to, subject, X_Load=self.number)

    def send(self, session):
        self.begun = time.monotonic()
        self.qid = session.send(address(self.user), [OPAQUE if self.kind == 'opaque' else BOX], self.raw)


class Load:
    """The senders and the sink."""

    def __init__(self, stage, sample):
        self.stage, self.sample = stage, sample
        self.lock = threading.Lock()
        self.mails, self.users = [], []
        self.trouble, self.on_the_way, self.next = [], 0, 0.0
        self.going, self.end = threading.Event(), threading.Event()
        self.random = random.Random(1)
        self.kinds = list(KINDS)
        stage.outside.answer = self.take
        self.threads = [threading.Thread(target=self.run, daemon=True) for _n in range(SESSIONS)]
        for one in self.threads:
            one.start()

    # -- sending -----------------------------------------------------------

    def wait(self):
        """Until it is time for one more."""
        while not self.end.is_set():
            self.going.wait(0.2)
            with self.lock:
                now = time.monotonic()
                if self.going.is_set() and self.on_the_way < ON_THE_WAY and now >= self.next:
                    self.next = max(self.next, now - 1) + (1 / RATE if RATE else 0)
                    self.on_the_way += 1
                    kind = self.random.choices(self.kinds, KINDS.values())[0]
                    return kind, self.random.choice(self.users)
            time.sleep(0.005)
        return None, None

    def make(self, kind, user):
        with self.lock:
            number = len(self.mails)
            self.mails.append(None)
        self.mails[number] = Mail(number, kind, user)
        return self.mails[number]

    def one_session(self, kind, user):
        """Some mails of one user; what is to be sent next, in another one.  Nothing is held open while there is nothing to do."""
        login = None if kind == 'stranger' else user
        with mailtools.Session((GATEWAY, 587 if login else 2587), login, login and self.stage.password(login)) as session:
            for _n in range(5):
                self.make(kind, user).send(session)
                if not self.going.is_set():
                    return None, None
                kind, another = self.wait()
                if another != user or (kind == 'stranger') == bool(login):
                    break
        return kind, another

    def run(self):
        kind = user = None
        while not self.end.is_set():
            try:
                if kind:
                    kind, user = self.one_session(kind, user)
                else:
                    kind, user = self.wait()
            except Exception as trouble:      # noted, and judged at the end
                self.trouble.append('%s: %r' % (time.strftime('%X'), trouble))
                kind = None
                with self.lock:
                    self.on_the_way -= 1

    def quiet(self):
        """Stop sending until everything has arrived."""
        self.going.clear()
        service.until(lambda: self.on_the_way <= 0 and not self.stage.postfix.queued(), 300, 'all mail has arrived',
                      say=lambda: '%d on the way\n%s' % (self.on_the_way, service.tail(stage_postfix.LOG, 20)))

    # -- receiving (in the server's thread) ----------------------------------

    def take(self, envelope):
        raw = bytes(envelope.original_content)
        found = re.search(rb'^X-Load: (\d+)', mailtools.split(raw)[0], re.M)
        if not found:
            return None
        mail = self.mails[int(found.group(1))]
        mail.form = 'detached' if mailtools.is_signed(raw) else 'opaque' if mailtools.is_opaque(raw) else 'none'
        mail.arrived += 1
        if mail.kind in OURS and mail.form != 'none':
            self.sample.offer(mail, raw)
        elif mail.kind != 'eight':          # what Postfix does with 8-bit mail on its way is its own business
            mail.same = mailtools.split(raw)[1] == mailtools.split(mail.raw)[1]
        mail.raw = None
        with self.lock:
            self.on_the_way -= 1
        return '250 2.0.0 kept'


class Sample(threading.Thread):
    """Signed mail, verified by OpenSSL and compared with what was sent."""

    def __init__(self, root):
        super().__init__(daemon=True)
        self.root, self.waiting = root, queue.Queue(SAMPLE)
        self.certificates, self.wrong = {}, []
        self.protected = 0
        self.start()

    def offer(self, mail, raw):
        try:
            self.waiting.put_nowait((mail, mail.raw, raw))
        except queue.Full:
            pass

    def run(self):
        while True:
            mail, before, after = self.waiting.get()
            try:
                self.look(mail, before, after)
            except Exception as trouble:
                self.wrong.append('mail %d: %r' % (mail.number, trouble))
            self.waiting.task_done()
            if LONG:
                time.sleep(1)

    def look(self, mail, before, after):
        verdict = mailtools.verify_openssl(after, self.root)
        found = mailtools.differences(before, after)
        if not verdict or found:
            self.wrong.append('mail %d (%s): %s %s' % (mail.number, mail.kind, verdict, found))
            return
        self.protected += b'hp="clear"' in mailtools.split(verdict.content)[0]
        self.certificates[mail.number] = hashlib.sha256(ssl.PEM_cert_to_DER_cert(verdict.signers)).hexdigest()


class Changes:
    """What an admin does meanwhile; ends[fingerprint]: when it could be seen that this certificate is out of force."""

    def __init__(self, product, load, many, stable, toggled, new):
        self.p, self.load, self.many = product, load, many
        self.stable, self.toggled, self.new = stable, toggled, list(new)
        self.ends, self.off, self.pauses = {}, [], []
        self.second, self.protection, self.done = set(), True, collections.Counter()
        self.random = random.Random(2)

    def active(self, user):
        shown = self.p.show(address(user))
        return next((c['fingerprint'] for c in shown['certificates'] if c['status'] == 'active'), None)

    def configure(self, *names):
        marks = self.p.log_mark()
        self.p.configure(rules=[{'name': 'second', 'addresses': ['nobody@corp.example'] + [address(u) for u in sorted(self.second)],
                                 'certificate': 'second'}], signing={'header-protection': self.protection})
        for name in names:
            self.p.signal(name, signal.SIGHUP if name == 'enrolld' else signal.SIGUSR1)
        for name in names:      # enrolld makes its control socket anew
            log, done = self.p.log_path(name), b'event=started' if name == 'enrolld' else b'event=reloaded'
            service.until(lambda: done in read(log, marks[name]), 300, name + ' has reloaded')

    def rotate(self):
        """Another kind of certificate, by a rule that takes the user in or lets him go."""
        user = self.random.choice(self.stable)
        before = self.active(user)
        self.second ^= {user}
        self.configure('outbound', 'enrolld')
        # enrolld looks at everybody behind a reload; who is being looked at is left alone
        service.until(lambda: self.p.json('enroll', address(user))['renewed'], 60, user + ' is renewed', say=lambda: self.many.story(user))
        service.until(lambda: self.active(user) not in (None, before), 300, user + ' has another certificate',
                      every=0.1, say=lambda: self.many.story(user))
        self.ends[before] = time.monotonic()

    def reload(self):
        self.protection = not self.protection
        self.configure('outbound', 'inbound')

    def switch_off(self):
        user = self.random.choice(self.toggled)
        self.p.ctl('disable', address(user), '--yes', '--reason', 'load')
        began = time.monotonic()
        time.sleep(2 * SEEN)
        end = time.monotonic()
        self.p.ctl('enable', address(user))
        self.off.append((user, began, end))

    def pause(self):
        self.p.ctl('pause', '--reason', 'load')
        began = time.monotonic()
        time.sleep(SEEN + 2)
        end = time.monotonic()
        self.p.ctl('resume')
        self.pauses.append((began, end, time.monotonic()))

    def newcomer(self):
        """Requested by his first mail."""
        if self.new:
            with self.load.lock:
                self.load.users.append(self.new.pop())

    def run(self, seconds):
        end = time.monotonic() + seconds
        actions = [self.rotate, self.newcomer, self.switch_off, self.rotate, self.reload, self.pause, self.rotate, self.newcomer]
        while time.monotonic() < end:
            for one in actions:
                if time.monotonic() < end:
                    one()
                    self.done[one.__name__] += 1
                    time.sleep(CHANGE_EVERY)


class Gauge(threading.Thread):
    """Memory and threads of a process once a second, until stop(); keeps others' logs small in a long run."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.began = pid, time.monotonic()
        self.samples, self.threads = [], 0
        self._end = threading.Event()
        self.start()

    def look(self):
        with open('/proc/%d/status' % self.pid) as file:
            fields = dict(line.split(':', 1) for line in file)
        self.threads = max(self.threads, int(fields['Threads']))
        return int(fields['VmRSS'].split()[0]) * 1024

    def run(self):
        while not self._end.wait(1):
            self.samples.append((time.monotonic() - self.began, self.look()))
            if LONG and len(self.samples) % 60 == 0:
                for name in ('mail.log', 'slapd.log', 'syslog'):
                    os.truncate(os.path.join(service.LOGS, name), 0)

    def stop(self):
        self._end.set()
        self.join()

    def minutes(self):
        """[(hours, the least of this minute)] once all is warm."""
        found = collections.defaultdict(list)
        for at, size in self.samples:
            if at >= SETTLED:
                found[int(at / 60)].append(size)
        return [(minute / 60, min(sizes)) for minute, sizes in sorted(found.items())]


def read(path, start):
    with open(path, 'rb') as file:
        file.seek(start)
        return file.read()


def descriptors(pid):
    """How many are open, by kind or file; connections to the directory apart."""
    with open('/proc/net/tcp') as file:
        rows = [line.split() for line in file.readlines()[1:]]
    directory = {'socket:[%s]' % row[9] for row in rows if row[2].endswith(':%04X' % 389)}
    found = collections.Counter()
    for name in os.listdir('/proc/%d/fd' % pid):
        try:
            target = os.readlink('/proc/%d/fd/%s' % (pid, name))
            found['directory' if target in directory else target.split(':[')[0]] += 1
        except FileNotFoundError:
            pass
    return found


def settled(pid):
    """Open descriptors once Postfix has closed its connections."""
    last, since = descriptors(pid), time.monotonic()
    while time.monotonic() - since < 5:
        time.sleep(0.2)
        now = descriptors(pid)
        if now != last:
            last, since = now, time.monotonic()
    return last


def instrumented(pid):
    """A sanitizer's build has a size of its own."""
    with open('/proc/%d/maps' % pid) as file:
        return any('libasan' in line or 'libtsan' in line or 'valgrind' in line for line in file)


class SignLoad(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        stage = Stage.current
        stage.postfix.set(enable_long_queue_ids='yes')
        cls.p = Product(stage, ca={'caa': 'off'}, log={'level': 'info'}, mail_rules=RULES, signing={'header-protection': True}, certificates=[
            {'name': 'second', 'validation': 'mailbox', 'generation': 'strict', 'key-type': 'ec:p256'}])
        cls.p.start()
        cls.many = Enrolling(stage, cls.p)
        cls.many.behave(authz_valid=True)
        users = [cls.many.user() for _n in range(STAGE['users'])]
        cls.stable, cls.toggled, new = users[:STABLE], users[STABLE:STABLE + TOGGLED], users[STABLE + TOGGLED:]
        for user in cls.stable + cls.toggled:
            cls.many.enroll(user)
        cls.many.wait_state(cls.stable + cls.toggled, 'active')
        cls.pid = cls.p.daemons['outbound'].pid
        cls.sample = Sample(stage.ca.root)
        cls.load = Load(stage, cls.sample)
        cls.load.users = cls.stable + cls.toggled
        cls.changes = Changes(cls.p, cls.load, cls.many, cls.stable, cls.toggled, new)
        cls.under_load()
        cls.lines = {}
        for line in cls.p.log(name='outbound', event='mail_done'):
            cls.lines.setdefault(line['qid'], []).append(line)
        cls.report()

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()

    @classmethod
    def under_load(cls):
        cls.gauge = Gauge(cls.pid)
        cls.load.going.set()
        time.sleep(SETTLED / 2)
        cls.load.quiet()
        cls.before = settled(cls.pid), cls.gauge.look()
        cls.load.going.set()
        began = time.monotonic()
        cls.changes.run(SECONDS - SETTLED / 2)
        cls.took = time.monotonic() - began
        cls.load.quiet()
        cls.after = settled(cls.pid), cls.gauge.look()
        cls.gauge.stop()
        cls.load.end.set()
        cls.sample.waiting.join()

    @classmethod
    def report(cls):
        sent = [m for m in cls.load.mails if m and m.qid]
        print('# %d mails, %.0f a second: %s' % (len(sent), len(sent) / cls.took, dict(collections.Counter(m.kind for m in sent))))
        print('# verdicts: %s; %d verified' % (dict(collections.Counter(l[-1]['verdict'] for l in cls.lines.values())), len(cls.sample.certificates)))
        print('# changes: %s' % dict(cls.changes.done))
        print('# outbound instance: descriptors %d, then %d; resident %.1f MiB, then %.1f; %d threads at most' % (
            cls.before[0].total(), cls.after[0].total(), cls.before[1] / MIB, cls.after[1] / MIB, cls.gauge.threads), flush=True)
        if LONG:
            print('# memory: %.2f MiB more an hour' % (cls.slope() / MIB), flush=True)

    @classmethod
    def slope(cls):
        hours, sizes = zip(*cls.gauge.minutes())
        return statistics.linear_regression(hours, sizes).slope

    def line(self, mail):
        self.assertEqual(len(self.lines.get(mail.qid, ())), 1, 'closing lines of mail %d, %s' % (mail.number, mail.qid))
        return self.lines[mail.qid][0]

    def mails(self, *kinds):
        return [m for m in self.load.mails if m and m.qid and m.kind in (kinds or KINDS)]

    # -- what is judged ------------------------------------------------------

    def test_changes_took_place(self):
        for name in ('rotate', 'reload', 'switch_off', 'pause', 'newcomer'):
            self.assertGreater(self.changes.done[name], 0, name)
        self.assertGreater(self.sample.protected, 0)
        self.assertLess(self.sample.protected, len(self.sample.certificates))

    def test_no_mail_is_refused_or_lost_or_comes_twice(self):
        self.assertEqual(self.load.trouble, [])
        self.assertEqual([m.number for m in self.mails() if m.arrived != 1], [])
        self.assertEqual([m.number for m in self.mails() if m.same is False], [], 'what was not signed arrived as it was sent')

    def test_nothing_went_wrong_inside(self):
        self.assertEqual([l['line'] for lines in self.lines.values() for l in lines if l['verdict'] == 'error'][:5], [])
        for name in ('outbound', 'inbound', 'enrolld'):
            self.assertEqual([l['line'] for l in self.p.log(name=name, **{'class': 'bug'})][:5], [])

    def test_each_mail_left_as_its_closing_line_says(self):
        for mail in self.mails():
            line = self.line(mail) if mail.kind != 'stranger' else self.lines.get(mail.qid, [{'verdict': 'not-ours'}])[0]
            form = line['form'] if line['verdict'] == 'signed' else 'detached' if mail.kind == 'signed' else 'none'
            self.assertEqual(mail.form, form, line)

    def test_only_mail_of_ours_is_signed_in_its_form(self):
        for mail in self.mails():
            verdict = self.lines.get(mail.qid, [{'verdict': 'not-ours'}])[0]['verdict']
            if mail.kind not in OURS:
                self.assertNotEqual(verdict, 'signed', mail.kind)
            elif verdict == 'signed':
                self.assertEqual(mail.form, OURS[mail.kind])

    def test_signatures_verify_and_say_what_was_sent(self):
        self.assertEqual(self.sample.wrong[:5], [])
        self.assertGreater(len(self.sample.certificates), 50)
        for number, certificate in self.sample.certificates.items():
            self.assertEqual(self.line(self.load.mails[number])['cert'], certificate)

    def test_who_has_a_certificate_is_signed_for_unless_paused(self):
        stable = set(self.stable)
        for mail in self.mails(*OURS):
            line = self.line(mail)
            if mail.user in stable and line['verdict'] != 'signed':
                self.assertEqual(line['reason'], 'paused by an admin', line)
                self.assertTrue(any(began - 60 < mail.begun < over + SEEN for began, _end, over in self.changes.pauses), line)

    def test_nothing_is_signed_while_paused(self):
        seen = 0
        for began, end, _over in self.changes.pauses:
            for mail in self.mails(*OURS):
                if began + SEEN < mail.begun < end - SEEN / 3:
                    seen += 1
                    self.assertNotEqual(self.line(mail)['verdict'], 'signed', mail.number)
        self.assertGreater(seen, 0)

    def test_nobody_who_is_disabled_is_signed_for(self):
        for user, began, end in self.changes.off:
            for mail in self.mails(*OURS):
                if mail.user == user and began + SEEN < mail.begun < end - SEEN / 3:
                    self.assertNotEqual(self.line(mail)['verdict'], 'signed', mail.number)

    def test_no_certificate_is_used_after_its_end(self):
        used = collections.Counter()
        for mail in self.mails(*OURS):
            line = self.line(mail)
            if line['verdict'] == 'signed':
                used[line['cert']] += 1
                self.assertLess(mail.begun, self.changes.ends.get(line['cert'], mail.begun) + SEEN, line)
        self.assertGreater(sum(used[c] for c in self.changes.ends), 0, 'those that ended had been used')

    def test_newcomers_are_signed_for_in_the_end(self):
        old = set(self.stable + self.toggled)
        self.assertTrue(any(m.user not in old and self.line(m)['verdict'] == 'signed' for m in self.mails(*OURS)))

    def test_descriptors_and_threads_are_bounded(self):
        before, after = dict(self.before[0]), dict(self.after[0])
        for one in (before, after):     # as many as were asked at once since the last reload
            self.assertLessEqual(one.pop('directory', 0), DIRECTORY_CONNECTIONS)
        # one for each SMTP session that Postfix has open at that moment; what is lost with each of thousands of mails is more
        self.assertLessEqual(after.pop('socket'), before.pop('socket') + SESSIONS)
        self.assertEqual(after, before)
        self.assertLess(self.gauge.threads, 48)

    def test_memory_does_not_grow(self):
        if instrumented(self.pid):
            self.skipTest('a sanitizer needs memory of its own')
        self.assertLess(self.after[1] - self.before[1], 24 * MIB)
        if LONG:
            self.assertLess(self.slope(), MIB, 'an hour')
