"""A directory of thousands of people: one of them is left, a part or all of it is a referral, and reconciling it with the store.

The people are real entries; their rows are put into the store by its own hand, with certificates that no CA has heard of."""

import datetime
import hashlib
import os
import re
import shutil
import threading
import time

import ldap3
import mailtools
import stage_ldap
from enrolling import Enrolling, address
from mailtools import message, unique
from product import Product, require
from stage import Stage, StageCase

MANY = 10000
CERTIFIED = 3000                     # of them have a certificate
BRANCH = 100                         # people of a part of the tree: fewer than the guard lets go in a day
STAGE = {'ca': True, 'users': 3}
TAKES, BUSY = 80, 34
BOX = 'box@outside.example'
DISABLED = 'former'
MANAGE = [('2.16.840.1.113730.3.4.2', True, None)]      # manageDsaIT: the referral itself is meant (RFC 3296)
BRANCH_DN = 'ou=branch,' + stage_ldap.PEOPLE
MEMORY = 128                         # MiB at the peak, of a look at everybody or of reconciling


def setUpModule():
    require()


def uids():
    return ['crowd%05d' % n for n in range(MANY)]


def entry(uid, where=stage_ldap.PEOPLE):
    dn, attributes = stage_ldap.person(uid, 'Crowd', uid)
    return dn.replace(stage_ldap.PEOPLE, where), attributes


class Makes:
    """Certificates by the thousand, with one key."""

    def __init__(self):
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        self.x509, self.key, self.n = x509, ec.generate_private_key(ec.SECP256R1()), 4096
        self.issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, 'CA of a crowd')])

    def __call__(self, uid):
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.serialization import Encoding
        self.n += 1
        now = datetime.datetime.utcnow()
        made = (self.x509.CertificateBuilder().issuer_name(self.issuer).public_key(self.key.public_key()).serial_number(self.n)
                .subject_name(self.x509.Name([self.x509.NameAttribute(self.x509.NameOID.COMMON_NAME, uid)]))
                .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=300))
                .sign(self.key, hashes.SHA256()))
        return made.public_bytes(Encoding.DER)


class Rows:
    """Into the store, as the product has them."""

    FIRST = 1000

    def __init__(self):
        self.changes, self.rows, self.n = [], self.FIRST, 0

    def enrollment(self, uid, entry_id, state):
        self.rows += 1
        self.changes.append((
            "INSERT INTO enrollments (id, address, address_key, addresses, profile, usage, state, resume, state_since, next_at, requested_at, entry)"
            " VALUES (?, ?, ?, ?, 'mailbox-strict', 'sign', ?, ?, 1, ?, 1, ?)",
            (self.rows, *[address(uid)] * 3, state, state, 4000000000 if state == 'active' else 0, entry_id)))
        return self.rows

    def certificate(self, row, uid, der, status):
        self.n += 1
        digest = hashlib.sha256(der).hexdigest()
        self.changes.append(("INSERT INTO user_keys (id, enrollment_id, wrapped, spki_sha256, created_at) VALUES (?, ?, ?, ?, 1)",
                             (self.FIRST + self.n, row, b'\0', digest)))
        self.changes.append(("INSERT INTO certificates (enrollment_id, key_id, der, serial, issuer, fingerprint, addresses, not_before, not_after, status,"
                             " created_at) VALUES (?, ?, ?, ?, 'CN=CA of a crowd', ?, ?, 1, 4000000000, ?, 1)",
                             (row, self.FIRST + self.n, der, '%X' % (4096 + self.n), digest, address(uid), status)))


class CrowdCase(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        s = cls.s = Stage.current
        if hasattr(CrowdCase, 'p'):
            return
        CrowdCase.p = Product(
            s, certificate={'key-type': 'ec:p256'}, store={'busy-ms': 60000},
            directory={'deadline-ms': 60000, 'connect-ms': 20000, 'cache-seconds': 86400, 'base': stage_ldap.PEOPLE,
                       'disabled-filter': '(employeeType=%s)' % DISABLED},
            departures={'interval': 1, 'grace-days': 30, 'guard-percent': 5, 'guard-people': 3})
        s.ldap.add_entry(BRANCH_DN, {'objectClass': ['organizationalUnit'], 'ou': 'branch'})
        cls.ldapadd(stage_ldap.ldif([entry(u, BRANCH_DN if n < BRANCH else stage_ldap.PEOPLE) for n, u in enumerate(uids())]))
        cls.p.start()
        CrowdCase.many = Enrolling(s, cls.p)
        cls.many.behave(authz_valid=True)
        CrowdCase.staff = cls.many.user()
        cls.many.enroll(cls.staff)
        cls.many.wait_state([cls.staff], 'active')
        assert cls.signed(), 'and the milter knows whose address it is'
        cls.fill()

    @classmethod
    def ldapadd(cls, text):
        from namespace import run
        run('ldapadd', '-Q', '-Y', 'EXTERNAL', '-H', cls.s.ldap.ldapi, input=text)

    @classmethod
    def people(cls, attributes, base=stage_ldap.PEOPLE):
        """{uid: raw attributes} of the crowd."""
        connection = cls.s.ldap.connect()
        try:
            found = connection.extend.standard.paged_search(base, '(uid=crowd*)', ldap3.SUBTREE, attributes=['uid'] + attributes, paged_size=1000,
                                                            generator=False)
            return {r['raw_attributes']['uid'][0].decode(): r['raw_attributes'] for r in found if r['type'] == 'searchResEntry'}
        finally:
            connection.unbind()

    @classmethod
    def fill(cls):
        """Every tenth with a certificate has an older row beside, whose certificate is over."""
        found = cls.people(['entryUUID'])
        assert len(found) == MANY
        make = Makes()
        CrowdCase.active, CrowdCase.over = {}, {}
        rows = Rows()
        for n, uid in enumerate(uids()):
            uuid = 'uuid:' + found[uid]['entryUUID'][0].decode()
            if n < CERTIFIED and n % 10 == 9:
                cls.over[uid] = make(uid)
                rows.certificate(rows.enrollment(uid, None, 'superseded'), uid, cls.over[uid], 'superseded')
            row = rows.enrollment(uid, uuid, 'active')
            if n < CERTIFIED:
                cls.active[uid] = make(uid)
                rows.certificate(row, uid, cls.active[uid], 'active')
        cls.p.sql_many(rows.changes)

    @classmethod
    def signed(cls):
        subject = unique()
        cls.s.submit(cls.staff, address(cls.staff), [BOX], message(address(cls.staff), BOX, subject))
        return mailtools.is_signed(cls.s.outside.wait_subject(subject).content)

    def gone(self):
        return {a.split('@')[0]: by for a, by in self.p.sql('SELECT address, gone_by FROM enrollments WHERE gone_since > 0')}

    def departures(self):
        return self.p.json('departures')

    def directory(self, change):
        """slapd begins anew with another configuration; False: not changed."""
        path = stage_ldap.DIR + '/slapd.conf'
        with open(path) as file:
            now = file.read()
        self.assertNotEqual(change(now), now)
        self.s.ldap.stop()
        with open(path, 'w') as file:
            file.write(change(now))
        self.s.ldap.restart()
        return lambda: self.directory(lambda _text: now)

    def looks(self, n=2):
        for _ in range(n):
            last = self.departures().get('looked_at')
            self.until(lambda: self.departures().get('looked_at') != last, 300, 'one more look')


class Unlikely(CrowdCase):
    """A directory that is half there.  Its name comes last, as people leave in the end."""

    def setUp(self):
        self.until(lambda: not self.departures().get('guard'), 300, 'no alarm')
        self.mark = self.p.log_mark()

    def alarm(self, words):
        """It is raised, and looks go by."""
        self.until(lambda: re.search(words, self.departures().get('guard') or ''), 300, 'alarm: ' + words)
        self.looks()
        lines = self.p.log(self.mark, 'enrolld', event='directory_guard')
        self.assertTrue(lines)
        self.assertRegex(lines[-1]['text'], words)
        self.assertRegex(self.p.json('status')['directory_guard'], words)
        self.assertTrue(self.signed())
        return lines[-1]['text']

    def calm(self):
        self.until(lambda: not self.departures().get('guard'), 300, 'the alarm is over')
        self.looks(1)
        self.assertEqual(self.departures()['held'], [])
        self.assertEqual(self.gone(), {})

    def test_one_of_ten_thousand(self):
        rule = 'access to dn.regex="^uid=crowd" by dn.exact=%s none by * break\n' % stage_ldap.SERVICE
        back = self.directory(lambda now: now.replace('access to attrs=userPassword', rule + 'access to attrs=userPassword', 1))
        try:
            self.alarm('says that %d of %d people are gone now' % (MANY, MANY + 1))
            self.assertEqual(self.gone(), {}, 'nobody is offboarded')
            self.assertEqual(len(self.departures()['held']), MANY)
        finally:
            back()
        self.calm()

    def test_none_of_ten_thousand(self):
        rule = 'access to dn.children="%s" by dn.exact=%s none by * break\n' % (stage_ldap.PEOPLE, stage_ldap.SERVICE)
        back = self.directory(lambda now: now.replace('access to attrs=userPassword', rule + 'access to attrs=userPassword', 1))
        try:
            self.alarm('no entry with an address')
            self.assertEqual(self.gone(), {}, 'nobody is offboarded')
        finally:
            back()
        self.calm()

    def test_the_server_refers_to_another_for_everything(self):
        """It has lost its tree: what is left is the account that asks, and a default referral."""
        os.makedirs(stage_ldap.DIR + '/lost')
        shutil.chown(stage_ldap.DIR + '/lost', 'openldap', 'openldap')

        def lose(now):
            for line, other in (('suffix ' + stage_ldap.SUFFIX, 'suffix ' + stage_ldap.SERVICE), ('rootdn ' + stage_ldap.ADMIN, 'rootdn ' + stage_ldap.SERVICE),
                                ('rootpw ' + stage_ldap.ADMIN_PASSWORD, 'rootpw ' + stage_ldap.SERVICE_PASSWORD),
                                ('directory %s/db' % stage_ldap.DIR, 'directory %s/lost' % stage_ldap.DIR)):
                self.assertIn('\n%s\n' % line, now)
                now = now.replace('\n%s\n' % line, '\n%s\n' % other)
            return 'referral ldap://ldap2.corp.example/\n' + now
        back = self.directory(lose)
        try:
            text = self.alarm('(?i)referral')
            self.assertIn('came to nothing', text)
            self.assertEqual(self.gone(), {}, 'nobody is offboarded')
        finally:
            back()
        self.calm()

    def branch_refers(self, connection):
        """The people of the branch went to another server, and a referral is in their place."""
        for n in range(BRANCH):
            connection.delete('uid=crowd%05d,%s' % (n, BRANCH_DN))
        connection.delete(BRANCH_DN)
        connection.add(BRANCH_DN, ['referral', 'extensibleObject'], {'ou': 'branch', 'ref': 'ldap://ldap2.corp.example/' + BRANCH_DN}, controls=MANAGE)

    def test_z_a_part_is_with_another_server(self):
        branch, disabled, deleted = ['crowd%05d' % n for n in range(BRANCH)], 'crowd00200', 'crowd00300'
        self.p.stop('enrolld')
        connection = self.s.ldap.connect()
        self.branch_refers(connection)
        connection.unbind()
        self.p.start('enrolld')
        self.mark = self.p.log_mark()
        text = self.alarm('another server has a part of the directory')
        self.assertIn('%d of %d people are not found' % (BRANCH, MANY + 1), text)
        self.assertIn('ldap2.corp.example', text)
        self.assertEqual(self.gone(), {}, 'nobody is offboarded')
        self.assertEqual({h['address'] for h in self.departures()['held']}, set(map(address, branch)))
        # what was seen counts all the same, and what was not seen waits for an admin
        self.s.ldap.modify(disabled, employeeType=[DISABLED])
        self.until(lambda: self.gone() == {disabled: 'enrolld'}, 300, 'who is disabled is let go')
        self.s.ldap.delete(deleted)
        self.until(lambda: address(deleted) in {h['address'] for h in self.departures()['held']}, 300, 'who is not found is held')
        self.looks(1)
        self.assertEqual(set(self.gone()), {disabled})
        answer = self.p.json('departures', 'confirm', '--yes')
        self.assertEqual(answer['confirmed'], BRANCH + 1)
        self.until(lambda: set(self.gone()) == {disabled, deleted, *branch}, 300, 'what an admin confirmed goes')
        self.assertEqual({by for uid, by in self.gone().items() if uid != disabled}, {'admin:admin1'})
        self.until(lambda: not self.departures().get('guard'), 300, 'the alarm is over')


class Reconcile(CrowdCase):
    def memory(self):
        with open('/proc/%d/status' % self.p.daemons['enrolld'].pid) as file:
            return int(re.search(r'VmHWM:\s+(\d+) kB', file.read()).group(1)) // 1024

    def reconcile(self, *more):
        """The counts; meanwhile others are answered."""
        waited, ended, began = [], threading.Event(), time.monotonic()

        def others():
            while not ended.wait(1):
                asked = time.monotonic()
                self.p.json('status')
                waited.append(time.monotonic() - asked)
        thread = threading.Thread(target=others)
        thread.start()
        try:
            answer = self.p.json('directory', 'reconcile', *(more or ['--yes']))
        finally:
            ended.set()
            thread.join()
        print('  %s: %d addresses in %.0f s; others waited %.1f s at most' % (
            ' '.join(('reconcile',) + more), answer['counts']['addresses'], time.monotonic() - began, max(waited or [0])))
        return answer['counts'], answer['actions']

    def published(self):
        return {uid: sorted(bytes(v) for v in found.get('userCertificate;binary', [])) for uid, found in self.people(['userCertificate;binary']).items()}

    def put_old_ones(self):
        connection = self.s.ldap.connect()
        found = {u: a['uid'] for u, a in self.people([]).items()}
        try:
            for uid, der in self.over.items():
                base = BRANCH_DN if uid < 'crowd%05d' % BRANCH else stage_ldap.PEOPLE
                connection.modify('uid=%s,%s' % (uid, base), {'userCertificate;binary': [(ldap3.MODIFY_ADD, [der])]})
        finally:
            connection.unbind()
        self.assertEqual(len(found), MANY)

    def test_thousands(self):
        """Nothing is missed, and nothing grows with their number."""
        self.p.configure(departures={'interval': 3600})
        self.p.restart('enrolld')
        self.addCleanup(self.p.restart, 'enrolld')
        self.addCleanup(self.p.configure, departures={'interval': 1})
        self.put_old_ones()
        self.looks_once()
        counts, _actions = self.reconcile('--dry-run')
        self.assertEqual({k: counts.get(k, 0) for k in ('addresses', 'publish', 'kept', 'failed')},
                         {'addresses': CERTIFIED + 1, 'publish': CERTIFIED, 'kept': 0, 'failed': 0}, counts)
        self.assertEqual(self.published(), {u: [self.over[u]] if u in self.over else [] for u in uids()}, 'nothing was done')
        counts, actions = self.reconcile()
        self.assertEqual((counts['published'], counts['removed'], counts.get('failed', 0)), (CERTIFIED, len(self.over), 0), counts)
        self.assertEqual(len({a['address'] for a in actions if a['action'] == 'published'}), CERTIFIED, 'each once')
        self.assertEqual(self.published(), {u: [self.active[u]] if u in self.active else [] for u in uids()})
        counts, actions = self.reconcile()
        self.assertEqual((counts['present'], counts.get('published', 0), actions), (CERTIFIED + 1, 0, []), counts)
        print('  enrolld had %d MiB at its peak' % self.memory())
        self.assertLess(self.memory(), MEMORY)

    def looks_once(self):
        self.until(lambda: self.departures().get('looked_at'), 300, 'the look at the beginning is over')
