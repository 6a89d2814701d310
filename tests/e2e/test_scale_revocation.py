"""What is revoked at one gateway is used at no other: within two seconds where the database is reached, within milter.stale-limit where it is not.

Who is cut off, by a cable or by a database that has come to a stop, notices, says so, lets no mail wait for long, and goes on by itself.
"""

import datetime
import threading
import time

import mailtools
import service
from crowd import BUSY_MS, SLACK_MS, WAY_MS, CrowdCase
from enrolling import address
from product import require

STAGE = {'ca': True, 'users': 30, 'postgresql': False}
TAKES, BUSY = 50, 12
STALE = 6               # milter.stale-limit
CONNECTED = 2           # seconds until all that are connected know
NOTICED = 3             # until one is known to be cut off
SLACK = SLACK_MS / 1000


def setUpModule():
    require()


class Probe(threading.Thread):
    """Mail of one user through one gateway, again and again: .mails are (when it began, Sent)."""

    def __init__(self, test, gateway, user):
        super().__init__(daemon=True)
        self.test, self.gateway, self.user = test, gateway, user
        self.mails, self.going, self.trouble = [], True, None
        self.start()

    def run(self):
        try:
            while self.going:
                self.mails.append(self.test.submit(self.gateway, self.user, 'probe'))
                time.sleep(0.1)
        except Exception as trouble:
            self.trouble = trouble

    def end(self):
        """[(when it began, signed?)], all of which were taken and have arrived."""
        self.going = False
        self.join()
        if self.trouble:
            raise self.trouble
        return [(m.began, mailtools.is_signed(self.test.arrived(m))) for m in self.mails]


def stamp(line):
    """When it was logged, as seconds since 1970."""
    return datetime.datetime.fromisoformat(line['line'].split()[0]).timestamp()


class Revocation(CrowdCase):
    @classmethod
    def setUpClass(cls):
        cls.begin('ab', milter={'stale-limit': STALE})
        cls.a, cls.b = cls.g.a, cls.g.b

    def mail_did_not_wait(self, marks):
        waited = [(int(line['ms']), line['line']) for w in self.g for line in w.log(marks[w.letter], 'outbound', event='mail_done')]
        print('# the longest mail took %d ms of %d' % (max(waited)[0], len(waited)), flush=True)
        self.assertLess(max(waited)[0], BUSY_MS + WAY_MS + SLACK_MS, max(waited))

    # -- connected ---------------------------------------------------------

    def test_connected(self):
        """revoke, disable, pause: told at b, heeded at both."""
        first, second, third = self.active(3)
        for words, user in ((['revoke', address(first), '--reason', 'cessationOfOperation', '--yes'], first),
                            (['disable', address(second), '--yes'], second), (['pause', '--reason', 'a test'], third)):
            with self.subTest(words[0]):
                self.assertTrue(self.signed(self.a, user) and self.signed(self.b, user))
                probes = [Probe(self, w, user) for w in self.g]
                time.sleep(0.3)
                began = time.monotonic()
                self.b.ctl(*words)
                told = time.monotonic()
                time.sleep(CONNECTED + 0.6)
                mails = [m for p in probes for m in p.end()]
                last = max(when for when, signed in mails if signed)
                print('# %s: signed for the last time %.2f s after it was asked for, %.2f s after the answer' % (words[0], last - began, last - told), flush=True)
                self.assertLess(last, told + CONNECTED)
                self.assertTrue([1 for when, signed in mails if not signed and when > told + CONNECTED], 'somebody looked after that')
        self.b.ctl('resume')
        service.until(lambda: self.signed(self.a, third) and self.signed(self.b, third), 30, 'it is resumed')

    # -- cut off -----------------------------------------------------------

    def cut_off(self, goes, comes, revoked, other, revoke):
        """Gateway a is cut off by goes() until comes(); meanwhile `revoked` is, at b, if that is possible."""
        marks = {w.letter: w.log_mark() for w in self.g}
        fresh, later = self.many.user(), self.many.user()
        self.assertTrue(self.signed(self.a, revoked) and self.signed(self.a, other))
        probe = Probe(self, self.a, revoked)
        time.sleep(0.3)
        cut, wall = time.monotonic(), time.time()
        goes()
        try:
            unknown = self.submit(self.a, fresh)    # has to be looked up before anybody knows
            if revoke:
                revoke()
            noticed = self.a.wait_log(60, marks['a'], 'outbound', event='store_failed')[0]
            time.sleep(max(0, cut + STALE + 1.5 - time.monotonic()))
            self.a_says_so()
            self.assertFalse(self.signed(self.a, later))
        finally:
            comes()
        back = time.time()
        ready = self.a.wait_log(60, marks['a'], 'outbound', event='store_ready')[0]
        mails = probe.end()
        self.assertFalse(mailtools.is_signed(self.arrived(unknown)))
        last = max([when for when, signed in mails if signed and when < cut + (back - wall)])
        print('# noticed after %.1f s, signed for the last time %.1f s after the cut, back after %.1f s' % (
            stamp(noticed) - wall, last - cut, stamp(ready) - back), flush=True)
        self.assertLess(stamp(noticed) - wall, NOTICED + SLACK, 'it notices')
        self.assertGreater(last - cut, STALE - NOTICED - 1, 'it signs from memory')
        self.assertLess(last - cut, STALE + 0.5)
        self.assertTrue([1 for when, signed in mails if cut + STALE + 0.5 < when < cut + STALE + 1.5 and not signed], 'and is looked at later')
        self.by_policy(marks['a'])
        self.mail_did_not_wait(marks)
        service.until(lambda: self.signed(self.a, other), 60, 'a signs again')
        self.assertEqual(self.signed(self.a, revoked), revoke is None)

    def a_says_so(self):
        began = time.monotonic()
        said = self.a.ctl_run('doctor', 'store', user='root')
        print('# doctor took %.1f s' % (time.monotonic() - began), flush=True)
        self.assertNotEqual(said.returncode, 0)
        self.assertRegex(said.stdout, r'(?m)^ +fault +store .*(database|connection)')

    def by_policy(self, mark):
        """What was not signed from memory went by on-error, or had no certificate."""
        lines = self.a.log(mark, 'outbound', event='mail_done')
        self.assertEqual([line['line'] for line in lines if line['verdict'] == 'error' and line['action'] != 'pass'], [])
        self.assertTrue([line for line in lines if line['verdict'] == 'error'])

    def test_cut_off_by_a_cable(self):
        revoked, other = self.active(2)
        self.cut_off(lambda: self.a.host.unplug('data'), lambda: self.a.host.plug('data'), revoked, other,
                     lambda: self.b.ctl('revoke', address(revoked), '--reason', 'keyCompromise', '--no-replacement', '--yes'))

    def test_a_database_that_has_stopped(self):
        user, other = self.active(2)
        self.cut_off(self.lan.db1.freeze, self.lan.db1.thaw, user, other, None)
