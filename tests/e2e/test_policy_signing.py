"""Rules decide whose mail is signed, which of it, and what happens to mail without a certificate."""

import datetime
import signal

import mailtools
import stage_ldap
from enrolling import Enrolling, address
from mailtools import message, unique
from namespace import OUTSIDE
from product import Product, require
from stage import Stage, StageCase

STAGE = {'ca': True, 'users': 30}
TAKES, BUSY = 20, 5
BOX, PARTNER, OTHER_PARTNER = 'box@outside.example', 'joe@partner.example', 'ann@Partner.Example'
BOARD = 'cn=board,' + stage_ldap.GROUPS
BRANCH = 'branch.example'
WISH = 'X-Please-Do-Not-Sign'


def setUpModule():
    require()


def rules(**changes):
    """The rules of these tests, with changes of some by name.  What can be told without the directory stands first: of somebody new the
    mail path knows no more."""
    table = {
        'left': {'addresses': [address(Signing.left)], 'certificate': 'none', 'no-certificate': 'pass'},
        'barred': {'addresses': [address(Signing.barred)], 'certificate': 'none', 'no-certificate': 'reject'},
        'branch': {'domains': [BRANCH], 'sign': 'none'},
        'refused': {'addresses': [address(Signing.refused)], 'no-certificate': 'reject'},
        'held': {'addresses': [address(Signing.held)], 'no-certificate': 'hold'},
        'sure': {'addresses': [address(Signing.sure)], 'no-certificate': 'pass'},
        'board': {'groups': [BOARD], 'sign': 'internal', 'no-certificate': 'reject'},
        'bonn': {'filter': '(l=Bonn)', 'sign': 'outgoing', 'unsigned-to': ['partner.example'], 'unsigned-header': WISH},
        'changing': {'addresses': [address(Signing.changing)]},
    }
    return [dict(table[k], **changes.get(k, {}), name=k) for k in table]


class Signing(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        stage = cls.s = Stage.current
        people = iter(['user%05d' % n for n in range(STAGE['users'])])
        for name in ('left', 'branch', 'board', 'bonn', 'usual', 'changing', 'refused', 'held', 'sure', 'new_board', 'spare', 'barred', 'colleague', 'moving', 'outage',
                     'outage_new'):
            setattr(cls, name, next(people))
        cls.others = people
        stage.ldap.modify(cls.branch, mail=[cls.branch + '@' + BRANCH])
        for user in (cls.bonn, cls.outage):
            stage.ldap.modify(user, l='Bonn')
        stage.ldap.add_entry(BOARD, {'objectClass': ['groupOfNames'], 'cn': 'board',
                                     'member': [stage_ldap.dn_of(cls.board), stage_ldap.dn_of(cls.new_board)]})
        for domain in ('partner.example', 'not-partner.example'):
            stage.postfix.set_transport(domain, 'smtp:[%s]' % OUTSIDE)
        cls.p = Product(stage, domains=['corp.example', BRANCH], rules=rules(), ca={'caa': 'off'}, certificate={'key-type': 'ec:p256'},
                        no_certificate='pass')
        cls.p.start()
        cls.many = Enrolling(stage, cls.p)
        cls.many.behave(authz_valid=True)
        signers = [cls.sender(u) for u in (cls.branch, cls.board, cls.bonn, cls.usual, cls.changing, cls.moving, cls.outage)]
        for one in signers:
            cls.p.ctl('enroll', one)
        for one in signers:
            cls.p.wait_state(one, 'active')

    # -- help --------------------------------------------------------------

    @classmethod
    def sender(cls, user):
        return user + '@' + BRANCH if user == cls.branch else address(user)

    def send(self, user, to, **headers):
        """The subject, and the queue id."""
        subject = unique('rule')
        raw = message(self.sender(user), to, subject, **headers)
        return subject, self.stage.submit(user, self.sender(user), to, raw)

    def arrived(self, subject, to):
        """The mail as one of the recipients got it."""
        if any(not r.endswith('@corp.example') for r in to):
            return self.stage.outside.wait_subject(subject).content

        def inside():
            return [m for m in self.stage.mailbox(to[0].split('@')[0]) if subject.encode() in m]
        return self.until(inside, what='it is in the mailbox')[0]

    def mail(self, user, *to, **headers):
        subject, _qid = self.send(user, list(to), **headers)
        return self.arrived(subject, list(to))

    def signed(self, user, *to, **headers):
        return mailtools.is_signed(self.mail(user, *to, **headers))

    def why(self, user):
        """The last closing line about the user's mail."""
        return self.p.log(name='outbound', event='mail_done', **{'from': self.sender(user)})[-1]

    def reload(self, *names, **rule_changes):
        mark = self.p.log_mark()
        self.p.configure(rules=rules(**rule_changes))
        for name in names:
            self.p.signal(name, signal.SIGUSR1)
        for name in names:
            self.p.wait_log(mark=mark, name=name, event='reloaded')

    def shown(self, user):
        return self.p.show(self.sender(user))

    def last_rule_event(self, user):
        found = [e for e in sorted(self.shown(user)['events'], key=lambda e: e['id']) if e['event'] == 'rule']
        return found[-1]['text'] if found else ''

    # -- whose mail, and which ----------------------------------------------

    def test_rules_decide_whose_mail_is_signed(self):
        """By address, domain, group and filter; by where the mail goes."""
        inside = address(self.colleague)
        table = {       # outside, inside, both
            self.usual: (True, True, True),
            self.branch: (False, False, False),
            self.board: (False, True, False),
            self.bonn: (True, False, True),
        }
        for user, wanted in table.items():
            for to, signed in zip(([BOX], [inside], [inside, BOX]), wanted):
                with self.subTest(user=user, to=to):
                    raw = self.mail(user, *to)
                    self.assertEqual(mailtools.is_signed(raw), signed, self.why(user))
                    if signed:
                        self.assertTrue(mailtools.verify_openssl(raw, self.stage.ca.root))

    def test_the_log_names_the_rule_and_the_reason(self):
        for user, rule, to, reason in ((self.branch, 'branch', BOX, 'the rule signs no mail'),
                                       (self.board, 'board', BOX, 'the rule signs internal mail only'),
                                       (self.bonn, 'bonn', address(self.colleague), 'the rule signs outgoing mail only'),
                                       (self.bonn, 'bonn', PARTNER, 'unsigned-to'),
                                       (self.usual, None, BOX, None)):
            with self.subTest(user=user, to=to):
                self.mail(user, to)
                line = self.why(user)
                self.assertEqual(line.get('policy') or None, rule)
                self.assertEqual(line['verdict'], 'untouched' if rule else 'signed')
                self.assertIn(reason or '', line.get('reason', ''))
                self.assertEqual(self.shown(user)['enrollment'].get('rule'), rule)

    def test_who_is_to_have_no_certificate_gets_none_and_sends_all_the_same(self):
        before = len(self.stage.ca.admin('/state')['certificates'])
        for _n in range(2):
            self.assertFalse(self.signed(self.left, BOX))
            self.assertFalse(self.signed(self.left, address(self.colleague)))
        shown = self.p.wait_state(address(self.left), 'blocked')['enrollment']
        self.assertEqual((shown['why_type'], shown['rule'], shown['orders']), ('excluded', 'left', 0))
        self.assertIn('rule "left"', shown['why'])
        self.assertEqual(len(self.stage.ca.admin('/state')['certificates']), before)

    def test_who_can_never_have_a_certificate_is_not_told_to_try_again(self):
        with self.assertRaises(mailtools.Refused) as refused:
            self.mail(self.barred, BOX)
        self.assertEqual(refused.exception.code, 550)
        self.assertIn('there is no certificate for this sender', refused.exception.text)
        self.assertNotIn('again', refused.exception.text)

    def test_mail_to_unsigned_domains_alone_is_not_signed(self):
        inside = address(self.colleague)
        for to, signed in (([PARTNER], False), ([PARTNER, OTHER_PARTNER], False), ([PARTNER, BOX], True), ([BOX, PARTNER], True),
                           ([PARTNER, inside], True), (['joe@not-partner.example', PARTNER], True)):
            with self.subTest(to=to):
                self.assertEqual(self.signed(self.bonn, *to), signed, self.why(self.bonn))

    def test_the_author_may_ask_for_no_signature_where_a_rule_lets_them(self):
        raw = self.mail(self.bonn, BOX, **{WISH: 'yes'})
        self.assertFalse(mailtools.is_signed(raw))
        self.assertEqual([v.strip() for v in mailtools.headers(raw, WISH)], ['yes'])
        self.assertIn('unsigned-header', self.why(self.bonn)['reason'])
        # in whatever case, and with nothing in it
        self.assertFalse(self.signed(self.bonn, BOX, **{WISH.upper(): ''}))
        # a rule that says nothing of it does not heed it
        self.assertTrue(self.signed(self.usual, BOX, **{WISH: 'yes'}))

    # -- without a certificate ------------------------------------------------

    def no_certificates_now(self):
        self.many.behave(challenge_trigger='never')
        self.addCleanup(self.many.behave, authz_valid=True)

    def test_each_rule_says_what_becomes_of_mail_without_a_certificate(self):
        self.no_certificates_now()
        with self.assertRaises(mailtools.Refused) as refused:
            self.mail(self.refused, BOX)
        self.assertEqual(refused.exception.code, 550)
        self.assertEqual(self.why(self.refused)['policy'], 'refused')
        # the configuration's word overruled, and not
        self.assertFalse(self.signed(self.sure, BOX))
        self.assertFalse(self.signed(self.spare, BOX))
        self.assertEqual((self.why(self.sure)['policy'], self.why(self.spare).get('policy')), ('sure', None))
        subject, qid = self.send(self.held, [BOX])
        self.until(lambda: self.p.log(event='mail_done', qid=qid, action='hold'), what='the mail is held')
        self.assertFalse(any(subject.encode() in m.content for m in self.stage.outside.messages))
        self.stage.postfix.command('postsuper', '-H', qid)
        self.assertFalse(mailtools.is_signed(self.arrived(subject, [BOX])))

    def test_what_the_directory_says_is_known_from_the_second_mail_on(self):
        """The mail path asks the directory for no rule: somebody new goes by the configuration until enrolld has decided."""
        self.no_certificates_now()
        self.assertFalse(self.signed(self.new_board, BOX))
        self.until(lambda: (self.shown(self.new_board) or {'enrollment': {}})['enrollment'].get('rule') == 'board', what='it is decided')
        with self.assertRaises(mailtools.Refused) as refused:
            self.mail(self.new_board, BOX)
        self.assertEqual(refused.exception.code, 550)

    # -- changes -----------------------------------------------------------------

    def test_a_rule_that_says_none_stops_signing_and_back_again(self):
        self.assertTrue(self.signed(self.changing, BOX))
        serial = self.shown(self.changing)['certificates'][0]['serial']
        self.reload('outbound', 'enrolld', changing={'certificate': 'none'})
        self.assertFalse(self.signed(self.changing, BOX))
        line = self.why(self.changing)
        self.assertEqual((line['policy'], line['verdict'], line['reason']), ('changing', 'unsigned', 'the rule says: no certificate'))
        shown = self.until(lambda: self.shown(self.changing)['enrollment'].get('why') and self.shown(self.changing), what='it is told')
        self.assertEqual(shown['enrollment']['state'], 'active')
        self.assertIn('rule "changing" says certificate = "none"', shown['enrollment']['why'])
        self.assertIn('not signed', shown['enrollment']['what_next'])
        self.assertIn('not signed any more', self.last_rule_event(self.changing))
        self.assertIn('not signed', self.p.ctl('show', address(self.changing)))
        # others go on, and it holds after a restart
        self.assertTrue(self.signed(self.usual, BOX))
        self.p.restart('outbound', 'enrolld')
        self.assertFalse(self.signed(self.changing, BOX))
        told = self.shown(self.changing)['events']
        self.reload('outbound', 'enrolld')
        self.assertTrue(self.signed(self.changing, BOX))
        self.until(lambda: not self.shown(self.changing)['enrollment'].get('why'), what='it is told')
        shown = self.shown(self.changing)
        self.assertIn('signed again', self.last_rule_event(self.changing))
        self.assertIn('mail is signed', shown['enrollment']['what_next'])
        self.assertEqual(len([e for e in shown['events'] if e['event'] == 'rule']), len([e for e in told if e['event'] == 'rule']) + 1)
        self.assertEqual([c['serial'] for c in shown['certificates']], [serial])

    def test_another_rule_takes_an_active_user_over(self):
        """By a group, which only enrolld can see: the mail path follows when the row says so."""
        self.assertTrue(self.signed(self.moving, BOX))
        members = [stage_ldap.dn_of(u) for u in (self.board, self.new_board)]
        self.stage.ldap.modify_dn(BOARD, {'member': members + [stage_ldap.dn_of(self.moving)]})
        self.reload('outbound', 'enrolld', sure={'publish': 'none'})      # something else: all are looked at again
        self.until(lambda: self.shown(self.moving)['enrollment'].get('rule') == 'board', what='the rule is found')
        self.assertFalse(self.signed(self.moving, BOX))
        self.assertTrue(self.signed(self.moving, address(self.colleague)))
        self.assertIn('rule "board" is about this address now', self.last_rule_event(self.moving))
        self.stage.ldap.modify_dn(BOARD, {'member': members})
        self.reload('outbound', 'enrolld')
        self.until(lambda: not self.shown(self.moving)['enrollment'].get('rule'), what='no rule is')
        self.assertIn('no rule is about this address any more', self.last_rule_event(self.moving))
        self.assertTrue(self.signed(self.moving, BOX))

    def test_rules_that_change_during_an_order_hold_from_the_first_mail(self):
        user = next(self.others)
        self.many.behave(challenge_trigger='never')
        self.addCleanup(self.many.behave, authz_valid=True)
        self.many.enroll(user)
        self.p.wait_state(address(user), 'challenge-awaited')
        self.stage.ldap.modify(user, l='Bonn')
        self.reload('outbound', 'enrolld', sure={'sign': 'none'})
        self.assertIsNone(self.shown(user)['enrollment'].get('rule'))
        self.stage.ca.admin('/send-challenge', {'address': address(user)})
        self.p.wait_state(address(user), 'active')
        self.until(lambda: self.shown(user)['enrollment'].get('rule') == 'bonn', what='the rule is found')
        self.assertTrue(self.signed(user, BOX))
        self.assertFalse(self.signed(user, address(self.colleague)))

    # -- the directory is away ----------------------------------------------------

    def test_without_the_directory_active_users_go_on_by_their_rule_and_new_ones_wait(self):
        inside = address(self.colleague)
        self.assertTrue(self.signed(self.outage, BOX))
        self.assertFalse(self.signed(self.outage, inside))
        self.assertTrue(self.signed(self.usual, BOX))
        self.stage.ldap.stop()
        try:
            # enrolld looks at everybody again and can ask nobody: no "no", so nothing changes
            self.reload('enrolld', sure={'sign': 'outgoing'})
            self.many.enroll(self.outage_new)
            shown = self.p.wait_state(address(self.outage_new), 'waiting')['enrollment']
            self.assertEqual((shown['why_class'], shown['orders'], shown['resumes_in']), ('temporary', 0, 'requested'))
            # it was looked at in vain: the next look comes in an hour, not in a day, and not at once
            self.until(lambda: 600 < seconds_until(self.shown(self.outage)['enrollment']['next_at']) < 7200, what='it was looked at')
            self.assertEqual(self.shown(self.outage)['enrollment'].get('rule'), 'bonn')
            self.assertEqual(self.shown(self.outage)['enrollment']['state'], 'active')
            self.assertTrue(self.signed(self.outage, BOX))
            self.assertFalse(self.signed(self.outage, inside))
            self.assertTrue(self.signed(self.usual, BOX))
        finally:
            self.stage.ldap.restart()
        self.until(lambda: self.p.ctl_run('retry', address(self.outage_new)) and self.many.state(self.outage_new) == 'active', what='it goes on')
        # the milter may have found the directory down a moment ago, and not have asked again yet
        self.until(lambda: self.signed(self.outage_new, BOX), what='the new one is signed for')


def seconds_until(text):
    then = datetime.datetime.fromisoformat(text.replace('Z', '+00:00'))
    return (then - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
