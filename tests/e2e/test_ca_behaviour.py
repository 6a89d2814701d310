"""Every way a CA may go about RFC 8823, against every way the product can be set to.

One product; its configuration changes between the groups of ROWS, the CA's switches between
the rows. A row's enrollment is started, its mail seen to leave, and the next one started
while the first goes on.
"""

import threading

import service
import stage_postfix
from enrolling import Enrolling, address
from product import ETC, Failed, Product, require
from stage import Stage, StageCase

MAC = 'c2VjcmV0' * 11      # 66 octets: HS512 wants 64
EAB = {'kid-256': {'key': MAC, 'alg': 'HS256'}, 'kid-384': {'key': MAC, 'alg': 'HS384'},
       'kid-512': {'key': MAC, 'alg': 'HS512'}}
STAGE = {'ca': True, 'users': 70, 'ca_config': {'eab_required': True, 'eab': EAB}}
TAKES, BUSY = 140, 30

ENROLLS, WAITS_FOR_MAIL = 'active', 'challenge-awaited'     # state at the end
TRIES_AGAIN, NEEDS_ADMIN = 'waiting', 'blocked'
WHAT_NEXT = {
    WAITS_FOR_MAIL: "waits for the CA's challenge mail",
    TRIES_AGAIN: 'goes on by itself, or now with `enrollctl retry`',
    NEEDS_ADMIN: 'is looked at again by itself, or now with `enrollctl retry`',
}


class Row:
    """One enrollment. switches: the CA's; ends: its state then; says: a pattern for the sentence
    the admin reads if that is not active; mails: whether a challenge mail is sent; alone: the
    switches matter until the end, no other row begins before that."""

    def __init__(self, name, ends=ENROLLS, says=None, mails=True, alone=False, **switches):
        self.name, self.ends, self.says, self.mails = name, ends, says, mails
        self.alone, self.switches = alone, switches
        self.user = self.shown = self.group = None


class Group:
    """Rows that share a configuration of the product."""

    def __init__(self, name, rows, **ca):
        self.name, self.rows, self.ca = name, rows, ca
        for row in rows:
            row.group = self


NEW_ORDER = dict(challenge_trigger='newOrder')
AT_FETCH = dict(challenge_trigger='authz-fetch')
AFTER_POST = dict(challenge_trigger='challenge-post')
# The mail is there while newOrder still waits for its answer.
MAIL_BEFORE_ANSWER = dict(NEW_ORDER, faults={'newOrder': {'hang_after': 3}})
CHECKED_LATE = dict(reply_checked_late=4)


def every_trigger(join, after_post=ENROLLS):
    """The CA mails at newOrder, when the authorization is fetched, after the POST."""
    return [Row('CA mails at newOrder', token_join=join, **NEW_ORDER),
            Row('CA mails when the authorization is fetched', token_join=join, **AT_FETCH),
            Row('CA mails only after the POST', ends=after_post, token_join=join,
                mails=after_post == ENROLLS, **AFTER_POST)]


FORMS = [
    Row('mail before the answer to newOrder is out', alone=True, **MAIL_BEFORE_ANSWER),
    Row('reply checked late', alone=True, **CHECKED_LATE),
    Row('subject folded', challenge_subject='folded'),
    Row('subject in RFC 2047 Q', challenge_subject='encoded-q'),
    Row('subject in RFC 2047 B', challenge_subject='encoded-b'),
    Row('subject in two encoded words', challenge_subject='encoded-split'),
    Row('white space in the token', challenge_subject_token_space=True),
    Row('white space in the token, encoded', challenge_subject_token_space=True,
        challenge_subject='encoded-q'),
    Row('no Reply-To', challenge_reply_to=False),
    Row('Auto-Submitted without type=acme', challenge_auto_submitted='auto-generated'),
    Row('HTML', challenge_body='html'),
    Row('text and HTML', challenge_body='alternative'),
    Row('multipart without text', challenge_body='html-in-alternative'),
    Row('absent fields not named in h=', challenge_dkim_absent_fields=False,
        challenge_dkim_oversign=False),
    Row('16 octets of token', token_part1_bytes=16),
    Row('64 octets of token', token_part1_bytes=64, token_part2_bytes=64),
    Row('a challenge of an unknown type beside', extra_challenge=True),
    Row('already valid: no mail', mails=False, authz_valid=True),
    Row('the other token join', ends=TRIES_AGAIN, says='digest_wrong', token_join='decoded',
        alone=True),
    Row('both joins are one when the first token has 24 octets', token_join='decoded',
        token_part1_bytes=24, alone=True),
    Row('no Retry-After', poll_retry_after=None, finalize_processing=2, alone=True),
    Row('Retry-After as a date', retry_after_as_date=True, finalize_processing=2, alone=True),
    Row('Retry-After longer than poll-seconds', poll_retry_after=3, finalize_processing=1, alone=True),
    Row('three polls after finalize', finalize_processing=3, alone=True),
    # Not by chance: three in a row, and the enrollment would wait.
    Row('two nonces refused for each kind of request', alone=True, faults={
        endpoint: {'status': 400, 'type': 'badNonce', 'detail': 'not by chance', 'count': 2}
        for endpoint in ('newOrder', 'authz', 'challenge', 'order', 'finalize', 'certificate')}),
    Row('order refused: identifiers of another type', ends=NEEDS_ADMIN, mails=False,
        says='identifiers have type dns here.*see ca.identifier-type', identifier_type='dns', alone=True),
]

PRESETS_STRINGS = [
    Row('rfc', preset='rfc'),
    Row('rapidmx', preset='rapidmx'),
    Row('secsy-pki', preset='secsy-pki'),
    Row('akamu', preset='akamu'),
]
# A CA that fails a POST before the reply: the test does not rely on a fast machine for "good".
PATIENT = dict(post_waits=30)
PRESETS_DECODED = [
    Row('step-ca', preset='step-ca'),
    Row('platynum, by DKIM', preset='platynum', challenge_authentication='dkim'),
    Row('castle', preset='castle', alone=True, **PATIENT),
]

# Where the mail must come first an order lives 60 s, the least allowed: the row that waits for a
# mail in vain comes first among these groups, and is looked at last.
MAIL_FIRST = dict(challenge_trigger='mail-first', challenge_age=60)
IN_VAIN = Group('strings, mail-first', every_trigger('strings', WAITS_FOR_MAIL)[::-1] + FORMS,
                token_join='strings', **MAIL_FIRST)
GROUPS = [
    Group('strings, auto', every_trigger('strings') + PRESETS_STRINGS, token_join='strings',
          challenge_trigger='auto', trigger_grace=2),
    Group('strings, post-first', every_trigger('strings') + [
        Row('mail before the answer to newOrder is out', alone=True, **MAIL_BEFORE_ANSWER),
        Row('POST before the reply, reply checked late', alone=True, **CHECKED_LATE),
        Row('a POST before the reply ends it', ends=TRIES_AGAIN, says='no reply mail was found',
            alone=True, post_before_reply='invalid', challenge_mail_delay=600)],
          token_join='strings', challenge_trigger='post-first'),
    Group('decoded, auto', every_trigger('decoded'), token_join='decoded',
          challenge_trigger='auto', trigger_grace=2),
    Group('decoded, post-first', every_trigger('decoded'), token_join='decoded',
          challenge_trigger='post-first'),
    IN_VAIN,
    Group('decoded, mail-first', every_trigger('decoded', WAITS_FOR_MAIL), token_join='decoded',
          **MAIL_FIRST),
    Group('decoded, reply-delay', PRESETS_DECODED, token_join='decoded', reply_delay=3, **MAIL_FIRST),
    Group('identifiers of type dns', [
        Row('identifier-type dns', identifier_type='dns')], identifier_type='dns', **MAIL_FIRST),
    Group('no Auto-Submitted asked for', [
        Row('no Auto-Submitted', challenge_auto_submitted=None),
        Row('acme2certifier, by DKIM', preset='acme2certifier', alone=True,
            challenge_authentication='dkim', **PATIENT)], require_auto_submitted=False, **MAIL_FIRST),
]
ROWS = [row for group in GROUPS for row in group.rows]


def waits_in_vain():
    return next(r for r in IN_VAIN.rows if r.ends == WAITS_FOR_MAIL)


def setUpModule():
    require()


class CaBehaviour(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        stage = Stage.current
        cls.plain = {'trigger-grace': 60, 'token-join': 'strings', 'challenge-age': 86400,
                     'identifier-type': 'email', 'reply-delay': 0, 'require-auto-submitted': True,
                     'eab': {'kid': 'kid-256', 'key-file': ETC + '/eab.key'}}
        cls.p = Product(stage, ca=cls.plain, certificate={'key-type': 'ec:p256'})
        cls.p.prepare()
        cls.p.write_secret('eab.key', MAC + '\n', owner='enrolld')
        cls.many = Enrolling(stage, cls.p)
        for group in GROUPS:
            cls.run_group(group)
        cls.many.behave()

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()

    @classmethod
    def run_group(cls, group):
        ca = dict(cls.plain, **{k.replace('_', '-'): v for k, v in group.ca.items()})
        # reply-delay is for those who get no delivery reports
        reports = None if group.ca.get('reply_delay') else stage_postfix.REPORT_ADDRESS
        cls.p.configure(ca=ca, reply={'report-address': reports})
        cls.p.restart()
        for number, row in enumerate(group.rows):
            if row.alone:
                cls.finish(group.rows[:number])
            row.user = cls.many.user()
            cls.many.behave(**row.switches)
            cls.many.enroll(row.user)
            if row.alone:
                cls.finish([row])
            else:
                cls.wait_under_way(row)
        cls.finish(group.rows)

    @classmethod
    def wait_under_way(cls, row):
        """The CA has done all that depends on the row's switches."""
        def there():
            if row.mails:
                return cls.many.ca_log('challenge_sent', row.user)
            return cls.many.state(row.user) in (
                'challenge-awaited', 'validated', 'finalized', 'issued', 'checked', 'published', 'active')
        service.until(there, 120, '%s / %s is under way' % (row.group.name, row.name),
                      say=lambda: cls.many.story(row.user))

    @classmethod
    def finish(cls, rows):
        """What became of them; a row that ends otherwise is looked at by the tests."""
        for row in [r for r in rows if r.shown is None]:
            row.shown = cls.many.wait_state([row.user], row.ends, TRIES_AGAIN, NEEDS_ADMIN,
                                            'failed')[row.user]
            # Its next try would meet the switches of another row, and the configuration of another group.
            if row is waits_in_vain():
                cls.vain = threading.Thread(target=cls.until_in_vain, args=[row])
                cls.vain.start()
            elif row.ends in (TRIES_AGAIN, WAITS_FOR_MAIL):
                cls.p.ctl('disable', '--yes', address(row.user))

    @classmethod
    def until_in_vain(cls, row):
        """Its minute goes by while the others have their turn, and enrolld is started again for them."""
        def over():
            try:
                shown = cls.many.show(row.user)
                if shown.get('enrollment', {}).get('state') != 'waiting':    # nothing, while enrolld is not there
                    return False
                cls.p.ctl('disable', '--yes', address(row.user))
            except Failed:
                return False
            cls.waited = shown
            return True
        service.until(over, 300, row.user + ' waits', every=0.2)

    # -- the table -------------------------------------------------------

    def rows(self, *ends):
        return [r for r in ROWS if r.ends in ends]

    def test_every_combination_that_can_work_enrolls(self):
        for row in self.rows(ENROLLS):
            with self.subTest('%s / %s' % (row.group.name, row.name)):
                self.assertEqual(row.shown['enrollment']['state'], 'active',
                                 self.many.story(row.user))
                self.assertEqual([c['status'] for c in row.shown['certificates']], ['active'])
                self.assertEqual(row.shown['enrollment'].get('abandoned_orders', 0), 0)
                self.assertEqual(len(self.many.ca_log('order_created', row.user)), 1,
                                 'one order was enough')

    def test_what_cannot_work_waits_with_a_sentence(self):
        for row in self.rows(TRIES_AGAIN, NEEDS_ADMIN):
            with self.subTest('%s / %s' % (row.group.name, row.name)):
                seen = row.shown['enrollment']
                self.assertEqual(seen['state'], row.ends, self.many.story(row.user))
                self.assertRegex(seen['why'], row.says)
                self.assertEqual(seen['what_next'], WHAT_NEXT[row.ends])

    def test_mail_first_waits_for_a_ca_that_waits_for_the_post(self):
        """Nothing can come of it; the admin is told to look for the mail, and setting
        challenge-trigger right makes it go on."""
        for row in self.rows(WAITS_FOR_MAIL):
            with self.subTest(row.group.name):
                seen = row.shown['enrollment']
                self.assertEqual(seen['state'], 'challenge-awaited', self.many.story(row.user))
                self.assertEqual(seen['what_next'], WHAT_NEXT[WAITS_FOR_MAIL])
                self.assertEqual(seen['challenge_from'], 'acme@ca.example')
                self.assertEqual(row.shown['challenges'], [])
        row = waits_in_vain()
        self.vain.join()
        shown = self.waited
        self.assertRegex(shown['enrollment']['why'],
                         'no authentic challenge mail from acme@ca.example arrived in 60 seconds; '
                         'look for it in the mail log')
        self.assertEqual(self.many.ca_log('challenge_posted', row.user), [])
        self.p.configure(ca=dict(self.plain, **{'challenge-trigger': 'post-first'}))
        self.p.restart('enrolld')
        self.many.behave(**AFTER_POST)
        self.p.ctl('enable', address(row.user))
        self.many.retry(row.user)
        self.many.wait_state([row.user], 'active')

    # -- what the CA saw -------------------------------------------------

    def test_one_reply_and_no_breach(self):
        # The one that waits in vain goes on while other rows have their way.
        broken = {r.user for r in ROWS if r.name == 'the other token join'} | {waits_in_vain().user}
        expected = {a['id'] for u in broken for a in self.many.authorizations(u)}
        for found in self.many.violations():
            self.assertTrue(found['event'] == 'violation' and found['kind'] == 'bad_reply' and
                            found['authz'] in expected, found)
        for row in self.rows(ENROLLS):
            with self.subTest('%s / %s' % (row.group.name, row.name)):
                replies = self.many.ca_log('reply_received', row.user)
                self.assertEqual([r['verdict'] for r in replies], ['good'] if row.mails else [])
                self.assertEqual(len(self.many.ca_log('challenge_posted', row.user)),
                                 1 if row.mails else 0)
                self.assertEqual(self.stage.mailbox(row.user), [],
                                 'the challenge mail never reaches the user')

    def test_who_moves_first(self):
        """By the CA's log: whether the POST came before a reply."""
        for row in self.rows(ENROLLS):
            trigger = row.group.ca['challenge_trigger']
            after_post = row.switches.get('challenge_trigger') == 'challenge-post'
            if not row.mails or not row.name.startswith('CA mails'):
                continue
            with self.subTest('%s / %s' % (row.group.name, row.name)):
                events = self.many.events(row.user)
                posted = events.index('challenge_posted')
                if after_post:      # mail-first does not enroll then
                    # the mail may be noted before the CA's answer to the POST is
                    self.assertLess(posted, events.index('reply_sent'))
                    self.assertFalse(self.many.ca_log('challenge_posted', row.user)[0]['reply_there'])
                elif trigger == 'mail-first':
                    self.assertGreater(posted, events.index('reply_sent'))

    def test_valid_authorizations_need_no_mail(self):
        row = next(r for r in ROWS if r.name.startswith('already valid'))
        self.assertEqual(self.many.ca_log('challenge_sent', row.user), [])
        self.assertEqual(row.shown['challenges'], [])
        self.assertIn('no challenge mail needed',
                      ' '.join(e.get('text', '') for e in row.shown['events']))

    def test_reply_goes_to_reply_to_or_else_from(self):
        for name, wanted in (('no Reply-To', 'acme@ca.example'), ('HTML', 'acme-reply@ca.example')):
            row = next(r for r in ROWS if r.name == name)
            self.assertEqual(self.many.ca_log('reply_received', row.user)[0]['rcpt_to'], [wanted])

    def test_reply_delay_is_kept(self):
        """Castle fails a POST that comes before the reply, so the product waits (here 3 s; it
        counts whole seconds)."""
        row = next(r for r in ROWS if r.name == 'castle')
        posted = self.many.ca_log('challenge_posted', row.user)[0]
        self.assertGreaterEqual(posted['time'] - self.many.ca_log('challenge_sent', row.user)[0]['time'], 2)

    def test_nonces_were_refused_and_repeated(self):
        row = next(r for r in ROWS if r.name.startswith('two nonces refused'))
        refused = [r for r in self.many.ca_log('fault') if r['fault'].get('type') == 'badNonce']
        self.assertEqual(len(refused), 12)
        self.assertNotIn('waiting', self.many.events(row.user))
        self.assertEqual(row.shown['enrollment']['state'], 'active')
        self.assertEqual(row.shown['enrollment'].get('attempts', 0), 0)

    def test_the_mail_came_before_the_order_was_known(self):
        """It was told to come again, by the CA's log, and came."""
        for row in ROWS:
            if row.name == 'mail before the answer to newOrder is out':
                with self.subTest(row.group.name):
                    self.assertTrue(self.many.ca_log('challenge_deferred', row.user))
                    self.assertNotIn('foreign_challenge', self.many.events(row.user))

    def test_a_late_verdict_is_waited_for(self):
        for row in ROWS:
            if row.name.endswith('reply checked late'):
                with self.subTest(row.group.name):
                    posted = self.many.ca_log('challenge_posted', row.user)[0]
                    valid = self.many.ca_log('challenge_valid', row.user)[0]
                    self.assertGreater(valid['time'] - posted['time'], 2)

    def test_dns_identifiers(self):
        row = next(r for r in ROWS if r.name == 'identifier-type dns')
        self.assertEqual([a['identifier'] for a in self.many.authorizations(row.user)],
                         [{'type': 'dns', 'value': address(row.user)}])


class ExternalAccount(StageCase):
    """The CA wants its accounts bound to a contract (RFC 8555 section 7.3.4)."""

    @classmethod
    def setUpClass(cls):
        require()
        cls.p = Product(Stage.current)
        cls.p.prepare()
        cls.p.write_secret('eab.key', MAC + '\n', owner='enrolld')
        cls.p.write_secret('other-mac.key', MAC[:-4] + 'AAAA\n', owner='enrolld')

    def register(self, name, eab):
        self.p.configure(ca={'account-key': '%s/%s.key' % (ETC, name), 'eab': eab})
        return self.p.init()

    def test_every_algorithm(self):
        for kid, facts in EAB.items():
            with self.subTest(facts['alg']):
                said = self.register(kid, {'kid': kid, 'key-file': ETC + '/eab.key',
                                           'algorithm': facts['alg']})
                self.assertIn('https://acme.ca.example/acme/account/', said)
        bound = {r['eab'] for r in self.stage.ca.admin('/log?since=0&event=account_created')}
        self.assertLessEqual(set(EAB), bound)

    def test_without_and_with_a_wrong_key_it_is_said(self):
        for name, eab, says in (('none', None, 'external account|eab'),
                                ('wrong', {'kid': 'kid-256', 'key-file': ETC + '/other-mac.key'},
                                 'binding|eab'),
                                ('stranger', {'kid': 'kid-0', 'key-file': ETC + '/eab.key'},
                                 'binding|eab|kid')):
            with self.subTest(name), self.assertRaises(Failed) as refused:
                self.register(name, eab)
            said = refused.exception.err + refused.exception.out
            self.assertRegex(said.lower(), says)
            self.assertNotIn(MAC, said)
