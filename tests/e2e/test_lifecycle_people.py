"""People come and go: who is disabled in the directory, gone, or has another address is not signed for
any more; after the grace period what was published is taken back; who is back is signed for again; and a
directory that is half there touches nobody."""

import csv
import datetime
import io
import json
import os
import re

import mailtools
import stage_ldap
from enrolling import Enrolling, address
from gates import ANSWER, REQUEST, Gate, Relay
from mailtools import message, unique
from product import Product, require
from stage import Stage, StageCase

STAGE = {'ca': True, 'users': 44}
TAKES, BUSY = 170, 30
BOX = 'box@outside.example'
DISABLED = 'former'                  # employeeType of who is disabled
INTERVAL = 1
MANY = 300                           # people in the store by its own hand, who need no certificate from the CA
OUT = 'MOD dn="uid=%s,'              # how slapd's log begins a change


def setUpModule():
    require()


class PeopleCase(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        s = cls.s = Stage.current
        cls.ca = s.ca
        if not hasattr(PeopleCase, 'p'):
            PeopleCase.gate = Gate()
            Relay(cls.gate, (stage_ldap.ADDRESS, 3389), (stage_ldap.ADDRESS, 389))
            PeopleCase.p = Product(
                s, certificate={'key-type': 'ec:p256'}, store={'busy-ms': 30000}, **{'cap-per-day': 0},
                # Who owns what is remembered by the milter here, so that what stops signing is what enrolld noted.
                directory={'urls': ['ldap://%s:3389' % stage_ldap.HOST], 'deadline-ms': 20000, 'connect-ms': 20000,
                           'cache-seconds': 86400, 'base': stage_ldap.PEOPLE,
                           'disabled-filter': '(employeeType=%s)' % DISABLED},
                departures={'interval': INTERVAL, 'grace-days': 30, 'on-departure': 'revoke',
                            'guard-percent': 5, 'guard-people': 3, 'on-new-address': 'at-once'})
            PeopleCase.p.start()
            PeopleCase.many = Enrolling(s, cls.p)
            cls.many.behave(authz_valid=True)
            # Some who are always there: everybody at once is an accident, however few they are.
            cls.staff = PeopleCase.staff = [cls.many.user() for _ in range(3)]
            for user in cls.staff:
                cls.many.enroll(user)
            cls.many.wait_state(cls.staff, 'active')

    def setUp(self):
        self.many.behave(authz_valid=True)
        self.addCleanup(self.heal)

    def heal(self):
        self.gate.drop()
        self.p.start()
        self.forget()

    # -- people ---------------------------------------------------------------

    def forget(self):
        """Who left in an earlier test does not count for the guard."""
        self.p.sql("UPDATE enrollments SET gone_since = gone_since - 2 * 86400 WHERE gone_since > 0")

    def grace_is_over(self, user):
        self.p.sql('UPDATE enrollments SET gone_since = gone_since - 40 * 86400 WHERE address = ? AND gone_since > 0', address(user))

    def active(self, n=1):
        """People with a certificate who have sent a signed mail."""
        users = [self.many.user() for _ in range(n)]
        for user in users:
            self.many.enroll(user)
        self.many.wait_state(users, 'active')
        for user in users:
            self.assertTrue(self.signed(user), 'signed, and the milter knows whose address it is')
        return users if n > 1 else users[0]

    def certificate(self, user, status='active'):
        return [c for c in self.many.show(user)['certificates'] if c['status'] == status][0]

    def signed(self, user, sender=None):
        sender = sender or address(user)
        subject = unique()
        self.s.submit(user, sender, [BOX], message(sender, BOX, subject))
        return mailtools.is_signed(self.s.outside.wait_subject(subject).content)

    def why(self, user, cause):
        """The milter tells the store of its mails in batches."""
        return self.until(lambda: (lambda w: w if w['cause'] == cause else None)(self.p.json('why', address(user), user='helpdesk1')), 60,
                          'why: ' + cause)

    def published(self, user):
        from cryptography import x509
        return {x509.load_der_x509_certificate(d).serial_number for d in self.s.ldap.certificates(user)}

    def keys(self, user):
        return self.p.sql('SELECT COUNT(*) FROM user_keys k JOIN enrollments e ON e.id = k.enrollment_id'
                        ' WHERE e.address = ? AND length(k.wrapped) > 0', address(user))[0][0]

    def revoked_at_ca(self, serial):
        return [r for r in self.many.ca_log('revoked') if int(r['serial'], 16) == int(serial, 16)]

    def departures(self, key='departures', **more):
        return {d['address']: d for d in self.p.json('departures', **more)[key]}

    def gone(self, *users):
        return self.until(lambda: all(address(u) in self.departures() for u in users) and self.departures(), 60,
                          'noted as gone: %s' % ', '.join(users))

    def back(self, *users):
        self.until(lambda: not set(map(address, users)) & set(self.departures()), 60, 'back: %s' % ', '.join(users))

    def over(self, user):
        self.until(lambda: self.departures()[address(user)].get('ended_at'), 60,
                   'the departure of %s is over\n%s' % (user, self.many.story(user)))

    def events(self, user, *names):
        return [e for e in self.many.events(user) if e in names]

    def looks(self, n=2):
        """Some looks at the directory go by."""
        for _ in range(n):
            last = self.p.json('departures').get('looked_at')
            self.until(lambda: self.p.json('departures').get('looked_at') != last, 60, 'one more look')


class Leaving(PeopleCase):
    def test_disabled_and_enabled_again(self):
        user = self.active()
        serial = self.certificate(user)['serial']
        self.s.ldap.modify(user, employeeType=[DISABLED])
        shown = self.gone(user)[address(user)]
        self.assertEqual((shown['kind'], shown['by'], shown['state']), ('disabled', 'enrolld', 'active'))
        self.assertFalse(self.signed(user))
        self.until(lambda: [m['reason'] for m in self.p.json('mail', address(user))['mail'][:1]] == ['departed'], 60, 'the mail is on record')
        why = self.why(user, 'departed')
        self.assertEqual((why['mail']['verdict'], why['mail']['reason']), ('unsigned', 'departed'))
        self.assertIn('their entry in the directory is disabled', why['sentence'])
        self.assertEqual(self.p.ctl_run('rotate', address(user)).returncode, 1)
        self.assertEqual(self.published(user), {int(serial, 16)}, 'in the grace period nothing is taken back')
        rows = list(csv.DictReader(io.StringIO(self.p.ctl('departures', '--csv', user='helpdesk1'))))
        self.assertIn((address(user), 'disabled'), [(r['address'], r['kind']) for r in rows])
        self.s.ldap.modify(user, employeeType=[])
        self.back(user)
        self.assertTrue(self.signed(user))
        self.assertEqual(self.certificate(user)['serial'], serial)
        self.assertEqual(self.events(user, 'departed', 'returned'), ['departed', 'returned'])
        self.assertFalse(self.revoked_at_ca(serial))

    def test_an_admins_disable_is_not_undone(self):
        user = self.active()
        self.p.ctl('disable', address(user), '--yes', '--reason', 'on leave')
        self.s.ldap.modify(user, employeeType=[DISABLED])
        self.gone(user)
        self.s.ldap.modify(user, employeeType=[])
        self.back(user)
        self.assertFalse(self.signed(user))
        self.why(user, 'disabled')
        self.p.ctl('enable', address(user))
        self.assertTrue(self.signed(user))

    def test_after_the_grace_period_it_is_taken_back_and_revoked_and_the_key_is_kept(self):
        user, deleted = self.active(2)
        serials = {u: self.certificate(u)['serial'] for u in (user, deleted)}
        entry = self.s.ldap.get(deleted)
        foreign = b'0\x03\x02\x01\x01'               # somebody else's value, whatever it is
        self.s.ldap.modify(user, **{'employeeType': [DISABLED], 'userPKCS12': [foreign]})
        self.s.ldap.delete(deleted)
        shown = self.gone(user, deleted)
        self.assertEqual(shown[address(deleted)]['kind'], 'gone')
        for u in (user, deleted):
            self.assertFalse(self.signed(u))
            self.grace_is_over(u)
        for u in (user, deleted):
            self.over(u)
            self.until(lambda u=u: self.many.state(u) == 'revoked', 60, 'CA and directory follow')
            self.assertEqual(self.revoked_at_ca(serials[u])[0]['reason'], 3)
            self.assertEqual(len(self.revoked_at_ca(serials[u])), 1)
            self.assertEqual(self.keys(u), 1, 'the key is kept')
            self.assertFalse(self.many.show(u)['enrollment']['disabled'])
            self.assertFalse(self.signed(u))
        self.assertEqual(self.published(user), set())
        self.assertEqual(self.s.ldap.get(user)['userPKCS12'], [foreign])
        # and they come back: a new certificate is asked for
        self.s.ldap.modify(user, employeeType=[])
        self.s.ldap.add(deleted, mail=entry['mail'][0].decode())
        self.back(user, deleted)
        self.many.wait_state([user, deleted], 'active', seconds=60)
        for u in (user, deleted):
            self.assertTrue(self.signed(u))
            self.assertNotEqual(self.certificate(u)['serial'], serials[u])
        self.assertEqual(self.keys(user), 2)

    def test_kept_certificates_are_taken_back_all_the_same(self):
        self.p.configure(departures={'on-departure': 'keep'})
        self.p.restart('enrolld')
        self.addCleanup(self.p.restart, 'enrolld')
        self.addCleanup(self.p.configure, departures={'on-departure': 'revoke'})
        user = self.active()
        serial = self.certificate(user)['serial']
        self.s.ldap.modify(user, employeeType=[DISABLED])
        self.gone(user)
        self.grace_is_over(user)
        self.over(user)
        self.assertEqual((self.many.state(user), self.published(user), self.keys(user)), ('superseded', set(), 1))
        self.assertFalse(self.revoked_at_ca(serial))
        self.assertFalse(self.signed(user))


class Renamed(PeopleCase):
    def test_a_new_address_gets_a_certificate_and_the_old_one_departs(self):
        user = self.active()
        old, new = self.certificate(user)['serial'], 'married.%s@corp.example' % user
        self.s.ldap.modify(user, mail=[new])
        self.assertEqual(self.gone(user)[address(user)]['kind'], 'address')
        self.p.wait_state(new, 'active', 60)                   # at once, without a mail
        fresh = [c for c in self.p.show(new)['certificates'] if c['status'] == 'active'][0]['serial']
        self.assertTrue(self.signed(user, new))
        self.assertFalse(self.signed(user))
        self.assertIn('does not list this address any more', self.why(user, 'departed')['sentence'])
        self.assertEqual(self.published(user), {int(old, 16), int(fresh, 16)})
        self.grace_is_over(user)
        self.over(user)
        self.until(lambda: self.many.state(user) == 'revoked', 60, 'CA and directory follow')
        self.assertEqual(self.published(user), {int(fresh, 16)}, 'the old one alone, wherever the entry is')
        self.assertEqual(self.keys(user), 1)
        self.assertTrue(self.signed(user, new))


class Killed(PeopleCase):
    """kill -9 of enrolld between the steps."""

    def open_parts(self):
        return [r[0] for r in self.p.sql('SELECT part FROM revocation_parts WHERE done_at = 0')]

    def test_while_it_is_noted(self):
        users = self.active(3)
        for user in users:
            self.s.ldap.modify(user, employeeType=[DISABLED])
        self.until(lambda: self.p.sql('SELECT 1 FROM enrollments WHERE gone_since > 0 AND gone_ended = 0'), 60, 'the first one is noted')
        self.p.kill9('enrolld')
        self.p.start('enrolld')
        self.gone(*users)
        for user in users:
            self.assertEqual(self.events(user, 'departed'), ['departed'])
            self.assertFalse(self.signed(user))
            self.s.ldap.modify(user, employeeType=[])
        self.back(*users)

    def test_between_revoking_and_taking_back(self):
        for moment in (REQUEST, ANSWER):
            with self.subTest(moment):
                user = self.active()
                serial = self.certificate(user)['serial']
                self.s.ldap.modify(user, employeeType=[DISABLED])
                self.gone(user)
                log = self.s.ldap.server.log
                mark = os.path.getsize(log)

                def reached(_data):
                    if moment == REQUEST:
                        return bool(self.open_parts())
                    with open(log, 'rb') as file:
                        file.seek(mark)
                        return (OUT % user).encode() in file.read()
                self.gate.hold(moment, reached)
                self.grace_is_over(user)
                self.gate.wait()
                self.p.kill9('enrolld')
                self.gate.drop()
                self.assertFalse(self.signed(user), 'not while enrolld is dead')
                self.assertNotIn('departure_ended', [r[0] for r in self.p.sql(
                    'SELECT v.name FROM events v JOIN enrollments e ON e.id = v.enrollment_id WHERE e.address = ?', address(user))])
                self.p.start('enrolld')
                self.over(user)
                self.until(lambda: self.many.state(user) == 'revoked', 60, 'CA, directory and store agree\n' + self.many.story(user))
                self.assertEqual(self.published(user), set())
                self.assertEqual(len(self.revoked_at_ca(serial)), 1)
                self.assertEqual(self.events(user, 'departed', 'revoked', 'departure_ended').count('departure_ended'), 1)
                self.assertEqual((self.keys(user), self.signed(user)), (1, False))


class Between(PeopleCase):
    """Back after the certificate was revoked and before it was noted that the departure is over."""

    def dies(self, user):
        """enrolld dies while CA and directory are told, with nothing noted."""
        self.s.ldap.modify(user, employeeType=[DISABLED])
        self.gone(user)
        self.gate.hold(REQUEST, lambda _data: bool(self.p.sql('SELECT 1 FROM revocation_parts WHERE done_at = 0')))
        self.grace_is_over(user)
        self.gate.wait()
        self.p.kill9('enrolld')
        self.gate.drop()
        self.assertEqual(self.p.sql('SELECT state, gone_ended FROM enrollments WHERE address = ?', address(user)), [('revoking', 0)])

    def begins_anew(self, user, serial):
        """Without a mail of theirs."""
        self.back(user)
        fresh = self.until(lambda: [c['serial'] for c in self.many.show(user)['certificates'] if c['status'] == 'active'], 60,
                           'a new certificate\n' + self.many.story(user))
        self.assertEqual((len(fresh), fresh == [serial]), (1, False))
        said = [e['text'] for e in self.many.show(user)['events'] if e['event'] == 'returned']
        self.assertIn('a new certificate is asked for', ' '.join(said))
        self.assertTrue(self.signed(user))
        self.until(lambda: self.published(user) == {int(fresh[0], 16)}, 60, 'the old one is out of the directory\n' + self.many.story(user))
        self.until(lambda: self.revoked_at_ca(serial), 60, 'the CA has followed')
        self.assertEqual(len(self.revoked_at_ca(serial)), 1)
        self.assertEqual(self.keys(user), 2, 'the old key is kept')

    def test_while_it_is_being_revoked(self):
        user = self.active()
        serial = self.certificate(user)['serial']
        self.dies(user)
        self.s.ldap.modify(user, employeeType=[])
        self.p.start('enrolld')
        self.begins_anew(user, serial)
        self.assertEqual(self.events(user, 'departure_ended'), [])

    def test_when_it_is_revoked(self):
        user = self.active()
        serial = self.certificate(user)['serial']
        self.s.ldap.modify(user, employeeType=[DISABLED])
        self.gone(user)
        self.grace_is_over(user)
        self.over(user)
        self.until(lambda: self.many.state(user) == 'revoked', 60, 'CA and directory follow')
        self.p.kill9('enrolld')
        # The store as it is one transaction earlier.
        self.p.sql('UPDATE enrollments SET gone_ended = 0 WHERE address = ?', address(user))
        self.s.ldap.modify(user, employeeType=[])
        self.p.start('enrolld')
        self.begins_anew(user, serial)

    def test_what_an_admin_revoked_does_not_begin_anew(self):
        user = self.active()
        serial = self.certificate(user)['serial']
        self.s.ldap.modify(user, employeeType=[DISABLED])
        self.gone(user)
        self.p.ctl('revoke', address(user), '--reason', 'affiliationChanged', '--yes')
        self.until(lambda: self.many.state(user) == 'revoked', 60, 'CA and directory follow\n' + self.many.story(user))
        self.s.ldap.modify(user, employeeType=[])
        self.back(user)
        self.looks()
        self.assertEqual([c['serial'] for c in self.many.show(user)['certificates']], [serial])
        self.assertEqual(len(self.many.ca_log('order_created', user)), 1)
        self.assertTrue(self.many.show(user)['enrollment']['disabled'])
        self.assertFalse(self.signed(user))


class NobodyLooks(PeopleCase):
    """departures.interval = 0, or no directory: who was noted as gone is taken in again by an admin."""

    def leave(self, *users):
        for user in users:
            self.s.ldap.modify(user, employeeType=[DISABLED])
            self.addCleanup(self.s.ldap.modify, user, employeeType=[])
        self.gone(*users)

    def configure(self, **changes):
        before = {k: self.p.config[k] for k in changes}
        self.p.configure(**changes)
        self.p.restart('enrolld')
        self.addCleanup(self.p.restart, 'enrolld')
        self.addCleanup(lambda: (self.p.config.update(before), self.p.write_config()))

    def taken_in(self, user, sentence, *more):
        self.assertIn(sentence, self.p.ctl('enable', address(user), *more))
        self.assertNotIn(address(user), self.departures())
        said = [e for e in self.many.show(user)['events'] if e['event'] == 'returned'][-1]
        self.assertEqual(said['actor'], 'admin:admin1')
        return said['text']

    def told(self, user):
        """Everything that an admin may read about them says what to do."""
        self.assertFalse(self.signed(user))
        why = self.why(user, 'departed')
        self.assertIn('nobody looks at the directory', why['sentence'])
        self.assertIn('`enrollctl enable %s`' % address(user), why['what_to_do'])
        self.assertIn('`enrollctl enable`', self.many.show(user)['enrollment']['what_next'])
        checks = json.loads(self.p.ctl_run('doctor', '--json').stdout)['checks']
        self.assertIn('enrollctl enable', ' '.join(c['text'] for c in checks if c['check'] == 'departures' and c['verdict'] == 'warning'))
        shown = self.departures()[address(user)]
        self.assertNotIn('ends_at', shown)
        self.assertIn('enrollctl enable', shown['then'])
        self.assertIn('until `enrollctl enable', self.p.ctl('departures', user='helpdesk1'))
        done = self.p.ctl_run('rotate', address(user))
        self.assertEqual(done.returncode, 1)
        self.assertIn('enrollctl enable', done.stderr)
        self.assertEqual(self.p.ctl_run('enable', address(user), user='helpdesk1').returncode, 1, 'not for the help desk')

    def test_as_long_as_somebody_looks_the_directory_has_the_word(self):
        user = self.active()
        self.p.ctl('disable', address(user), '--yes')
        self.leave(user)
        out = self.p.ctl('enable', address(user))
        self.assertIn('stays unsigned', out)
        self.assertIn(address(user), self.departures())
        self.assertFalse(self.signed(user))
        self.assertNotIn('nobody looks', self.why(user, 'departed')['sentence'])

    def test_no_interval(self):
        user, over = self.active(2)
        serials = {u: self.certificate(u)['serial'] for u in (user, over)}
        self.leave(user, over)
        self.grace_is_over(over)
        self.over(over)
        self.until(lambda: self.many.state(over) == 'revoked', 60, 'CA and directory follow')
        self.configure(departures=dict(self.p.config['departures'], interval=0))
        self.told(user)
        for who in (user, over):        # their entries are as they were, and nobody looks
            self.s.ldap.modify(who, employeeType=[])
        text = self.taken_in(user, 'everything goes on as before', '--reason', 'she is here')
        self.assertIn('(she is here): mail is signed as before', text)
        self.assertTrue(self.signed(user))
        self.assertEqual(self.certificate(user)['serial'], serials[user])
        self.assertIn('was enabled already', self.p.ctl('enable', address(user)))
        self.assertIn('a new certificate', self.taken_in(over, 'a new certificate is asked for'))
        self.many.wait_state([over], 'active', seconds=60)
        self.assertNotEqual(self.certificate(over)['serial'], serials[over])
        self.assertTrue(self.signed(over))
        self.assertEqual(len(self.revoked_at_ca(serials[over])), 1)

    def test_disabled_and_gone(self):
        user = self.active()
        self.p.ctl('disable', address(user), '--yes')
        self.leave(user)
        self.configure(departures=dict(self.p.config['departures'], interval=0))
        self.taken_in(user, 'enabled; is not noted as gone any more')
        self.assertTrue(self.signed(user))
        self.assertEqual(self.events(user, 'returned', 'enabled'), ['returned', 'enabled'])

    def test_no_directory(self):
        user = self.active()
        self.leave(user)
        listeners = [dict(s, vouch='login') if s['vouch'] == 'directory' else s for s in self.p.config['submission']]
        self.configure(directory=None, submission=listeners)
        self.told(user)
        self.taken_in(user, 'everything goes on as before')
        self.assertTrue(self.signed(user))


class Accident(PeopleCase):
    """A directory that is half there looks like a company of people who left."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if hasattr(Accident, 'crowd'):
            return
        Accident.crowd = cls.s.ldap.add_users(MANY, first=5000)
        cls.fill()

    @classmethod
    def fill(cls):
        """Rows as those of people with a certificate, in the store alone; their entries are real."""
        entries = {}
        connection = cls.s.ldap.connect()
        try:
            import ldap3
            connection.search(stage_ldap.PEOPLE, '(uid=user05*)', ldap3.SUBTREE, attributes=['entryUUID', 'mail'])
            for r in connection.response:
                entries[r['raw_attributes']['mail'][0].decode()] = 'uuid:' + r['raw_attributes']['entryUUID'][0].decode()
        finally:
            connection.unbind()
        assert len(entries) == MANY
        cls.p.sql_many(("INSERT INTO enrollments (address, address_key, addresses, profile, usage, state, resume, state_since, next_at,"
                        " requested_at, entry) VALUES (?, ?, ?, 'mailbox-strict', 'sign', 'active', 'active', 1, 4000000000, 1, ?)",
                        (mail, mail, mail, entry)) for mail, entry in entries.items())

    def setUp(self):
        super().setUp()
        self.before = self.rows()
        self.until(lambda: not self.p.json('departures').get('guard'), 60, 'no alarm')
        self.mark = self.p.log_mark()

    def rows(self):
        return self.p.sql('SELECT address, state, gone_since FROM enrollments WHERE gone_since = 0 ORDER BY id')

    def alarm(self, words):
        """The alarm is raised, and looks go by without anybody being touched."""
        self.until(lambda: re.search(words, self.p.json('departures').get('guard') or ''), 60, 'alarm: ' + words)
        self.looks()
        lines = self.p.log(self.mark, 'enrolld', event='directory_guard')
        self.assertGreaterEqual(len(lines), 2, 'with each look')
        self.assertRegex(lines[-1]['text'], words)
        self.assertIn('directory_guard', [e['event'] for e in self.p.json('events', '--limit', '50')['events']])
        self.assertRegex(self.p.json('status')['directory_guard'], words)
        self.assertEqual(self.rows(), self.before, 'nobody is offboarded')
        for user in self.staff:
            self.assertTrue(self.signed(user))

    def calm(self):
        self.until(lambda: not self.p.json('departures').get('guard'), 60, 'the alarm is over')
        self.assertEqual(self.rows(), self.before)
        self.assertEqual(self.departures('held'), {})

    def directory(self, change):
        """slapd begins anew with another configuration."""
        path = stage_ldap.DIR + '/slapd.conf'
        with open(path) as file:
            now = file.read()
        self.s.ldap.stop()
        with open(path, 'w') as file:
            file.write(change(now))
        self.s.ldap.restart()

    def hide(self, who):
        """An access rule before all others."""
        rule = 'access to %s by dn.exact=%s none by * break\n' % (who, stage_ldap.SERVICE)
        self.directory(lambda now: now.replace('access to attrs=userPassword', rule + 'access to attrs=userPassword', 1))
        self.addCleanup(self.directory, lambda now: now.replace(rule, '', 1))
        return rule

    def show_again(self, rule):
        self.directory(lambda now: now.replace(rule, '', 1))

    def test_the_search_returns_nothing(self):
        rule = self.hide('dn.children="%s"' % stage_ldap.PEOPLE)
        self.alarm('no entry with an address')
        checks = json.loads(self.p.ctl_run('doctor', '--json').stdout)['checks']
        self.assertEqual([c['verdict'] for c in checks if c['check'] == 'departures'], ['fault'])
        done = self.p.ctl_run('departures', 'confirm', '--yes')
        self.assertEqual(done.returncode, 1, 'an empty list cannot be confirmed')
        self.show_again(rule)
        self.calm()

    def test_one_of_all_is_left_and_an_admin_looks(self):
        rule = self.hide('dn.regex="^uid=user05[0-2]..,"')
        self.alarm('says that %d of' % MANY)
        self.assertEqual(len(self.departures('held')), MANY)
        self.assertEqual(self.p.ctl_run('departures', 'confirm', '--yes', user='helpdesk1').returncode, 1)
        self.assertEqual(self.p.ctl_run('departures', 'confirm').returncode, 1, 'asks first')
        plan = self.p.json('departures', 'confirm', '--dry-run')
        self.assertEqual(len(plan['held']), MANY)
        newest = max(datetime.datetime.fromisoformat(h['since'].replace('Z', '+00:00')) for h in plan['held'])
        self.assertEqual(plan['as_of'], newest.timestamp(), 'who is held later was not shown')
        self.show_again(rule)
        self.calm()

    def test_one_entry_alone(self):
        only = 'uid=%s' % self.staff[0]
        rule = self.hide('dn.regex="^uid=(user0000[1-9]|user000[1-9].|user05...|[a-t].*),ou=people"')
        shown = self.s.ldap.connect(stage_ldap.SERVICE, stage_ldap.SERVICE_PASSWORD)
        shown.search(stage_ldap.PEOPLE, '(mail=*)')
        self.assertEqual([r['dn'].split(',')[0] for r in shown.response], [only])
        shown.unbind()
        self.alarm('people are gone now')
        self.show_again(rule)
        self.calm()

    def test_a_size_limit(self):
        self.directory(lambda now: now.replace('sizelimit unlimited', 'sizelimit 10', 1))
        self.addCleanup(self.directory, lambda now: now.replace('sizelimit 10\n', 'sizelimit unlimited\n', 1))
        self.alarm('ended the list before all entries were there')
        self.directory(lambda now: now.replace('sizelimit 10', 'sizelimit unlimited', 1))
        self.calm()

    def test_the_base_is_moved_and_then_a_referral(self):
        import ldap3
        admin = self.s.ldap.connect()
        self.addCleanup(admin.unbind)
        manage = [('2.16.840.1.113730.3.4.2', True, None)]
        admin.modify_dn(stage_ldap.PEOPLE, 'ou=moved')
        try:
            self.alarm('came to nothing')
            self.mark = self.p.log_mark()
            admin.add(stage_ldap.PEOPLE, ['referral', 'extensibleObject'], {'ou': 'people', 'ref': 'ldap://ldap2.corp.example/'}, controls=manage)
            try:
                self.alarm('(?i)referral')
            finally:
                admin.delete(stage_ldap.PEOPLE, controls=manage)
        finally:
            admin.modify_dn('ou=moved,' + stage_ldap.SUFFIX, 'ou=people')
        self.calm()

    def test_who_is_with_another_server_now_is_not_revoked_when_the_grace_period_is_over(self):
        """Noted as gone while the directory was moved; then there is a referral to where they may be."""
        user, confirmed = self.active(2)
        serial = self.certificate(user)['serial']
        dn = 'ou=elsewhere,' + stage_ldap.PEOPLE
        manage = [('2.16.840.1.113730.3.4.2', True, None)]
        admin = self.s.ldap.connect()
        self.addCleanup(admin.unbind)
        admin.delete(stage_ldap.dn_of(user))
        self.gone(user)
        admin.delete(stage_ldap.dn_of(confirmed))
        self.gone(confirmed)
        self.assertTrue(admin.add(dn, ['referral', 'extensibleObject'], {'ou': 'elsewhere', 'ref': 'ldap://ldap2.corp.example/' + dn}, controls=manage))
        self.addCleanup(admin.delete, dn, controls=manage)
        self.looks()
        self.assertEqual(self.departures('held'), {}, 'nobody to decide about yet')
        self.grace_is_over(user)
        self.until(lambda: 'another server' in (self.p.json('departures').get('guard') or ''), 60, 'an admin is asked')
        self.looks()
        self.assertEqual(set(self.departures('held')), {address(user)})
        self.assertNotIn('ended_at', self.departures()[address(user)])
        self.assertEqual((self.certificate(user)['serial'], self.revoked_at_ca(serial)), (serial, []))
        self.assertEqual(self.p.json('departures', 'confirm', '--yes')['confirmed'], 1)
        self.over(user)
        self.until(lambda: self.revoked_at_ca(serial), 60, 'and what was confirmed is revoked')
        self.until(lambda: not self.p.json('departures').get('guard'), 60, 'the alarm is over')
        self.assertNotIn('ended_at', self.departures()[address(confirmed)])

    def test_where_nobody_looks_nobody_is_confirmed(self):
        """What was confirmed then would be done whenever somebody looks again."""
        rule = self.hide('dn.regex="^uid=user05[0-2]..,"')
        self.alarm('people are gone now')
        before = self.p.config['departures']
        self.p.configure(departures=dict(before, interval=0))
        self.p.restart('enrolld')
        try:
            self.assertEqual(self.departures('held'), {})
            self.assertNotIn('guard', self.p.json('departures'))
            done = self.p.ctl_run('departures', 'confirm', '--yes')
            self.assertEqual(done.returncode, 1)
            self.assertIn('nobody looks at who left', done.stderr)
        finally:
            self.show_again(rule)
            self.p.configure(departures=before)
            self.p.restart('enrolld')
        self.looks()
        self.calm()

    def test_what_an_admin_confirms_goes_and_nothing_else(self):
        left, stays = self.crowd[:40], self.crowd[40]
        rule = self.hide('dn.regex="^uid=user050[0-3].,"')      # all of them at one moment: a look in between would let those go whom it finds
        connection = self.s.ldap.connect()
        for user in left:
            connection.delete(stage_ldap.dn_of(user))
        connection.unbind()
        self.show_again(rule)
        self.alarm('says that 40 of')
        self.assertEqual(set(self.departures('held')), set(map(address, left)))
        answer = self.p.json('departures', 'confirm', '--yes')
        self.assertEqual(answer['confirmed'], 40)
        shown = self.gone(*left)
        self.assertEqual({d['by'] for d in shown.values() if d['address'] in map(address, left)}, {'admin:admin1'})
        self.assertNotIn(address(stays), shown)
        self.until(lambda: not self.p.json('departures').get('guard'), 60, 'the alarm is over')
        self.assertIn('departures_confirmed', [e['event'] for e in self.p.json('events', '--limit', '200')['events']])
        # and one more by himself, on the same day
        self.s.ldap.delete(stays)
        self.gone(stays)
