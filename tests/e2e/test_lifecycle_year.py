"""Months of an organization in minutes: people come, leave and get other names, the CA fails for a week, and gives five days to replace all that
it issued before it revokes it; certificates are renewed again and again.

The clocks of enrolld, both milter instances and the CA run ahead together, by libfaketime and one file.  Postfix, OpenDKIM, slapd, NSD and
Unbound cannot follow and stay in the present: zones are signed until 2040 and TLS certificates valid for ten years (the CA's own for one), but
DKIM signatures are dated, so here the CA holds addresses for validated instead of having them proven by mail.

After every jump mail is sent before anything could react to it, and again when enrolld has nothing left to do.  $ENROLL_TEST_LONG: a year of 200
people; otherwise two months of twenty, with shorter certificates.
"""

import collections
import glob
import os
import random
import shlex
import time
import unittest

from cryptography import x509

import mailtools
import service
from enrolling import Enrolling, address
from mailtools import message, unique
from namespace import BASE, CA
from product import Product, require
from stage import Stage, StageCase

LONG = bool(os.environ.get('ENROLL_TEST_LONG'))
DAY = 86400
DAYS, PEOPLE, LIFE = (365, 200, 20) if LONG else (60, 20, 9)
STEP = DAY
AT_FIRST = PEOPLE // 2                   # the others are hired in the course of time
OUTAGE = (DAYS * 3 // 10, DAYS * 3 // 10 + 7)
ANNOUNCED = DAYS * 6 // 10                # the CA says that it will revoke everything,
REVOKED = ANNOUNCED + 5                  # and does
LEAVES = {DAYS * 2 // 10: 1, DAYS * 5 // 10: 2, DAYS * 8 // 10: 1}      # how many on which day
RENAMED = (DAYS // 4, DAYS * 7 // 10)
GRACE = 3
PATIENCE = 9 * 3600                      # enrolld asks a CA that was down again within this (BACKOFF_MOST and half of it)
STAGE = {'ca': True, 'users': PEOPLE}
TAKES, BUSY = 50, 50       # its clock runs ahead of everybody: it wants a processor for itself
BOX = 'box@outside.example'
LIBRARY = glob.glob('/usr/lib/*/faketime/libfaketimeMT.so.1')


def setUpModule():
    require()
    if not LIBRARY:
        raise unittest.SkipTest('libfaketime is not installed')


class Clock:
    """One for all who look at it."""

    FILE = BASE + '/clock'

    def __init__(self):
        self.ahead = 0
        self.advance(0)

    def environment(self):
        return {'LD_PRELOAD': LIBRARY[0], 'FAKETIME_TIMESTAMP_FILE': self.FILE, 'FAKETIME_NO_CACHE': '1', 'FAKETIME_DONT_FAKE_MONOTONIC': '1',
                'DONT_FAKE_MONOTONIC': '1', 'NO_FAKE_STAT': '1', 'FAKETIME_FORCE_MONOTONIC_FIX': '0'}

    def advance(self, seconds):
        self.ahead += seconds
        with open(self.FILE + '.new', 'w') as file:
            file.write('+%d\n' % self.ahead)
        os.chmod(self.FILE + '.new', 0o644)
        os.rename(self.FILE + '.new', self.FILE)

    def now(self):
        return time.time() + self.ahead


class Year(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        s = cls.s = Stage.current
        cls.ca, cls.clock, cls.random = s.ca, Clock(), random.Random(8)
        s.ca.stop()
        s.ca.server.env = cls.clock.environment()
        s.ca.restart()
        cls.p = Product(s, certificate={'key-type': 'ec:p256'}, store={'busy-ms': 60000, 'clock-tolerance': 0}, log={'level': 'info'}, ca={'timeout-seconds': 1},
                        directory={'disabled-filter': '(employeeType=gone)'},
                        departures={'interval': 3600, 'grace-days': GRACE, 'on-departure': 'revoke'})
        # Inside of what changes the user: libfaketime's semaphore is the process's own, and made anew by nobody else.
        os.environ['ENROLL_TEST_WRAPPER'] = shlex.join(['env', *('%s=%s' % e for e in cls.clock.environment().items())])
        cls.p.start()
        cls.many = Enrolling(s, cls.p)
        cls.many.behave(authz_valid=True, lifetime_days=LIFE)

    def setUp(self):
        self.day = 0
        self.staff, self.had = [], set()
        self.left = {}                          # user: day
        self.renamed = {}                       # user: address
        self.old = None                         # serial numbers that the CA has announced to revoke
        self.down_until = self.down_since = 0
        self.unsigned = collections.Counter()   # minutes without a certificate, by user
        self.mails = collections.Counter()

    # -- what the store says -----------------------------------------------------------------------------------------------------

    def quiet(self):
        """Until enrolld has done all that is due."""
        def nothing():
            now = int(self.clock.now())
            return not self.p.sql('SELECT 1 FROM enrollments WHERE disabled = 0 AND gone_since = 0 AND ((next_at > 0 AND next_at <= ?) OR lease_until > 0) LIMIT 1', now) and \
                not self.p.sql('SELECT 1 FROM revocation_parts WHERE done_at = 0 AND (next_at <= ? OR lease_owner IS NOT NULL) LIMIT 1', now)
        service.until(nothing, 600, 'day %.1f: enrolld has nothing left to do' % self.day, say=lambda: self.p.daemons['enrolld'].tail(30))

    def in_force(self):
        """{address: serial numbers} of active certificates that have not ended."""
        found = collections.defaultdict(set)
        for who, serial in self.p.sql("SELECT e.address, c.serial FROM certificates c JOIN enrollments e ON e.id = c.enrollment_id"
                                    " WHERE c.status = 'active' AND c.not_before <= ? AND c.not_after >= ?", int(self.clock.now()), int(self.clock.now())):
            found[who].add(int(serial, 16))
        return found

    def addr(self, user):
        return self.renamed.get(user, address(user))

    # -- mail --------------------------------------------------------------------------------------------------------------------

    def send(self, user):
        """A mail of the user; what signed it, if anything did, is held against everything that is known."""
        subject = unique()
        now = self.clock.now()
        self.s.submit(user, self.addr(user), [BOX], message(self.addr(user), BOX, subject))
        content = self.s.outside.wait_subject(subject).content
        if not mailtools.is_signed(content):
            self.mails['unsigned'] += 1
            return None
        self.mails['signed'] += 1
        verdict = mailtools.verify_openssl(content, self.ca.root, '-attime', str(int(now)))
        self.assertTrue(verdict.good, 'day %.1f: %s\n%s' % (self.day, user, verdict.text))     # not expired, either
        certificate = x509.load_pem_x509_certificate(verdict.signers.encode())
        what = 'day %.1f: %s signed with %X' % (self.day, user, certificate.serial_number)
        self.assertIn(certificate.serial_number, self.published(user), what + ', which is not published')
        self.assertNotIn(certificate.serial_number, self.revoked(), what + ', which is revoked')
        return certificate.serial_number

    def published(self, user):
        return {x509.load_der_x509_certificate(d).serial_number for d in self.s.ldap.certificates(user)}

    def revoked(self):
        return {int(r['serial'], 16) for r in self.many.ca_log('revoked')}

    # -- what happens ------------------------------------------------------------------------------------------------------------

    def hire(self):
        user = self.many.user()
        self.staff.append(user)
        self.assertIsNone(self.send(user), 'the first mail of %s is unsigned' % user)

    def outage(self):
        if self.down_since == 0 and self.day >= OUTAGE[0]:
            self.s.faults.drop(CA, 443)
            self.down_since = self.clock.now()
        elif self.down_since and not self.down_until and self.day >= OUTAGE[1]:
            self.s.faults.heal(CA, 443)
            self.down_until = self.clock.now() + PATIENCE

    def leave(self):
        """Somebody leaves: with the next look at the directory nobody signs for them."""
        for user in self.random.sample([u for u in sorted(self.had) if u in self.staff], LEAVES.get(int(self.day), 0)):
            self.staff.remove(user)
            self.left[user] = self.day
            self.s.ldap.modify(user, employeeType='gone')
            self.departed(self.addr(user))
            self.assertIsNone(self.send(user), 'day %.1f: %s has left' % (self.day, user))

    def departed(self, who):
        self.clock.advance(3600)
        self.until(lambda: self.p.sql('SELECT 1 FROM enrollments WHERE address = ? AND gone_since > 0', who), 120, 'day %.1f: %s has left' % (self.day, who))

    def rename(self):
        if int(self.day) not in RENAMED or self.ca_is_away():
            return
        user = self.random.choice([u for u in self.staff if u in self.had and u not in self.renamed])
        before = self.addr(user)
        self.renamed[user] = 'new.' + before
        self.had.discard(user)
        self.s.ldap.modify(user, mail=self.addr(user))
        self.departed(before)
        self.assertIsNone(self.send(user), 'the first mail by the new address')

    def mass_revocation(self):
        """The CA gives 120 hours; what it revokes then has been replaced."""
        if self.old is None and self.day >= ANNOUNCED:
            self.old = set.union(set(), *self.in_force().values())
            self.p.ctl('replace', '--all-of-ca', 'example-ca', '--by',
                       time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(self.clock.now() + 120 * 3600)), '--yes')     # enrollctl has the present's clock
        elif self.old and self.day >= REVOKED and not self.old & self.revoked():
            status = self.p.json('replace', 'status')
            for user in self.staff:
                self.assertFalse(self.in_force()[self.addr(user)] & self.old, 'day %.1f: %s was not replaced in time: %r\n%s'
                                 % (self.day, user, status, self.many.story(user)))
            for serial in self.old:
                self.ca.admin('/revoke', {'serial': '%X' % serial, 'reason': 4})

    def ca_is_away(self):
        return self.down_since and (not self.down_until or self.clock.now() <= self.down_until)

    def look_at_everybody(self):
        good = self.in_force()
        for user in self.staff:
            if good.get(self.addr(user)):
                self.had.add(user)
            elif user in self.had or not self.ca_is_away():
                self.assertTrue(self.ca_is_away(), 'day %.1f: %s has no certificate in force, and the CA is there\n%s' % (self.day, user, self.many.story(user)))
                self.unsigned[user] += STEP // 60

    def step(self):
        before = self.in_force()
        self.clock.advance(STEP)
        self.day += STEP / DAY
        # Before anybody had time for anything, and by those whose certificate has just ended, if there are such.
        now = self.in_force()
        for user in [u for u in self.staff if before.get(self.addr(u)) and not now.get(self.addr(u))][:3] or [self.random.choice(sorted(self.had))]:
            self.send(user)
        self.outage()
        self.leave()
        self.rename()
        self.mass_revocation()
        while len(self.staff) + len(self.left) < min(PEOPLE, AT_FIRST + (PEOPLE - AT_FIRST) * self.day / DAYS):
            self.hire()
        self.quiet()
        self.look_at_everybody()
        someone = self.random.choice(self.staff)
        good = self.in_force()
        serial = self.send(someone)
        if serial is None:
            self.assertFalse(good.get(self.addr(someone)), 'day %.1f: mail of %s left unsigned\n%s' % (self.day, someone, self.p.ctl('why', self.addr(someone))))

    def test_nobody_signs_with_what_is_not_in_force_and_nobody_goes_without(self):
        for _n in range(AT_FIRST):
            self.hire()
        self.quiet()
        self.look_at_everybody()
        self.assertEqual(len(self.had), AT_FIRST)
        while self.day < DAYS:
            self.step()
        renewals = self.p.sql("SELECT COUNT(*) FROM certificates WHERE status = 'superseded'")[0][0]
        print('# %d days, %d people, %d certificates replaced, mails: %s; %d minutes without a certificate, of %d people, all while the CA was down'
              % (DAYS, len(self.staff), renewals, dict(self.mails), sum(self.unsigned.values()), len(self.unsigned)), flush=True)
        self.assertEqual(set(self.staff) - self.had, set())
        self.assertEqual(len(self.left), sum(LEAVES.values()))
        for user in self.left:
            self.assertEqual(self.published(user), set(), 'nothing of %s is published any more' % user)
            self.assertIsNone(self.send(user))
            keys = self.p.sql('SELECT COUNT(*) FROM user_keys k JOIN enrollments e ON e.id = k.enrollment_id WHERE e.address = ?', self.addr(user))[0][0]
            self.assertGreater(keys, 0, 'the keys of %s are kept' % user)
        self.assertTrue(self.old & self.revoked())
        self.assertTrue(self.unsigned, 'the CA was away for long enough that certificates ended')
        self.assertGreater(renewals, len(self.staff) * (DAYS / LIFE) * 0.7)
        self.told()

    def told(self):
        """The event log has it all: each certificate that was ever active came of events, and each replaced one was renewed."""
        for user in self.random.sample(self.staff, 5):
            names = collections.Counter(e[0] for e in self.p.sql(
                'SELECT v.name FROM events v JOIN enrollments e ON e.id = v.enrollment_id WHERE e.address = ?', self.addr(user)))
            certificates = self.p.sql('SELECT COUNT(*) FROM certificates c JOIN enrollments e ON e.id = c.enrollment_id WHERE e.address = ?', self.addr(user))[0][0]
            self.assertEqual(names['published'], certificates, '%s: %r' % (user, names))
