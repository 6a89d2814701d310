"""Challenge mail that is forged is never answered, and delivered like any other mail.

Each kind goes to a person of its own whose order waits for its challenge. At the end the CA
sends the genuine mail, and the order validates: what was forged had no effect at all.
"""

import socket
import threading
import time

import mailtools
import service
from enrolling import Enrolling, address
from namespace import run
from product import Product, require
from stage import CA, GATEWAY, Stage, StageCase
from stage_dns import txt

STAGE = {'ca': True, 'users': 80}
TAKES, BUSY = 40, 16
FROM = 'acme@ca.example'

# What the inbound instance says: its verdict and the reason it gives.
UNREAD = 'not-a-challenge'      # the fields alone show it
REFUSED = 'not-authentic'       # the signature does not say enough
FOREIGN = 'foreign'             # the CA signed it as it should be, but not for our order
NOT_OURS = 'not-ours'           # nobody in To waits for one, or none from this sender
UNSEEN = None                   # no candidate: not a word

NO_SIGNATURE, NOT_SIGNED = 'no DKIM signature', 'is not signed'
ANOTHER_DOMAIN = 'no DKIM signature of the domain it claims to be from'

# Variants of tests/ca/forge.py
VARIANTS = {
    'no_dkim': (REFUSED, NO_SIGNATURE),
    'other_domain': (REFUSED, ANOTHER_DOMAIN),
    'subdomain': (REFUSED, ANOTHER_DOMAIN),
    'parent_domain': (REFUSED, ANOTHER_DOMAIN),
    'broken_signature': (REFUSED, ''),
    'body_changed': (REFUSED, 'body'),
    'two_from': (UNREAD, 'From'),
    'two_from_below': (UNREAD, 'From'),
    'two_from_in_one': (UNREAD, 'From'),
    'two_subject': (UNREAD, 'Subject'),
    'oversigned_two_subject': (UNREAD, 'Subject'),
    'two_to': (UNREAD, 'To'),
    'two_reply_to': (UNREAD, 'Reply-To'),
    'two_message_id': (UNREAD, 'Message-ID'),
    'added_reply_to': (REFUSED, NOT_SIGNED),
    'unsigned_subject': (REFUSED, 'Subject ' + NOT_SIGNED),
    'unsigned_to': (REFUSED, 'To ' + NOT_SIGNED),
    'unsigned_date': (REFUSED, 'Date ' + NOT_SIGNED),
    'unsigned_message_id': (REFUSED, 'Message-ID ' + NOT_SIGNED),
    'unsigned_auto_submitted': (REFUSED, 'Auto-Submitted ' + NOT_SIGNED),
    'unsigned_reply_to': (REFUSED, 'Reply-To ' + NOT_SIGNED),
    'short_length': (REFUSED, 'only a part of the body'),
    'zero_length': (REFUSED, ''),
    'rsa_sha1': (REFUSED, ''),
    'expired_signature': (REFUSED, 'expired'),
    'other_recipient': (NOT_OURS, ''),
    'old_date': (FOREIGN, 'dated before the order'),
    'no_auto_submitted': (UNREAD, 'Auto-Submitted'),
    'auto_replied': (UNREAD, 'Auto-Submitted'),
    'reply_subject': (UNSEEN, ''),
    'empty_token': (UNREAD, 'token'),
    'short_token': (UNREAD, 'token'),
    'odd_token': (UNREAD, 'token'),
    'huge_token': (UNREAD, 'token'),
    'header_injection': (UNREAD, 'token'),
    'stranger': (NOT_OURS, 'not from the address the CA named'),
    'display_name_from': (NOT_OURS, 'not from the address the CA named'),
    # S/MIME without DKIM, in good and in bad form
    'smime_genuine': (REFUSED, NO_SIGNATURE),
    'smime_unprotected': (REFUSED, NO_SIGNATURE),
    'smime_new_subject': (REFUSED, NO_SIGNATURE),
    'smime_new_from': (REFUSED, NO_SIGNATURE),
    'smime_new_to': (REFUSED, NO_SIGNATURE),
    'smime_impostor': (REFUSED, NO_SIGNATURE),
}


def setUpModule():
    require()


class Dns:
    """A resolver in front of the stage's, for the product alone: it can fall silent about keys,
    and remembers who was asked for."""

    ADDRESS = '127.0.0.9'

    def __init__(self, resolver):
        self.resolver = resolver
        self.mute = False
        self.asked = []         # (moment, name) of each question for a DKIM key
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((self.ADDRESS, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            packet, client = self._socket.recvfrom(4096)
            name = self._name(packet)
            if '_domainkey' in name:
                self.asked.append((time.monotonic(), name))
                if self.mute:
                    continue
            threading.Thread(target=self._forward, args=(packet, client), daemon=True).start()

    def _forward(self, packet, client):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as up:
            up.settimeout(10)
            up.sendto(packet, (self.resolver, 53))
            try:
                self._socket.sendto(up.recv(65535), client)
            except OSError:
                pass

    @staticmethod
    def _name(packet):
        labels, at = [], 12
        while at < len(packet) and packet[at]:
            labels.append(packet[at + 1:at + 1 + packet[at]].decode('latin-1').lower())
            at += 1 + packet[at]
        return '.'.join(labels)

    def last(self):
        return self.asked[-1][0] if self.asked else 0


class Forgery:
    """One kind, the person it goes to, and what is said of it."""

    def __init__(self, name, user, verdict, reason):
        self.name, self.user, self.verdict, self.reason = name, user, verdict, reason


class ForgedChallenges(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        stage = Stage.current
        cls.dns = Dns(stage.dns.resolver)
        cls.p = Product(stage, ca={'challenge-trigger': 'mail-first'}, certificate={'key-type': 'ec:p256'},
                        dns={'servers': [Dns.ADDRESS + '@53'], 'deadline-ms': 1500})
        cls.p.start()
        cls.many = Enrolling(stage, cls.p)
        cls.genuine = {}        # user: Message-IDs of the mails that should be answered
        cls.publish_keys()
        cls.older_order()
        cls.many.behave(challenge_trigger='never')
        cls.forgeries = [Forgery(name, cls.many.user(), *says) for name, says in VARIANTS.items()]
        cls.own = {name: Forgery(name, cls.many.user(), *says)
                   for name, (_make, *says) in cls.own_forgeries().items()}
        cls.special = {name: cls.many.user() for name in (
            'wrong From', 'two recipients', 'two recipients, one else awaits', 'two signatures',
            'DNS silent', 'DNS silent, forged', 'twice')}
        cls.forgeries += cls.own.values()
        for user in [f.user for f in cls.forgeries] + list(cls.special.values()):
            cls.many.enroll(user)
        cls.many.wait_state([f.user for f in cls.forgeries] + list(cls.special.values()), 'challenge-awaited')

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()

    # -- keys, and mail that the CA's own forger does not make -------------

    @classmethod
    def publish_keys(cls):
        """The stranger's key and those of related domains are really there; some of ca.example
        are of no use."""
        stage, keys = cls.many.stage, cls.many.stage.ca.admin('/dkim')
        own = next(v for k, v in keys.items() if k.endswith('._domainkey.ca.example'))
        zones = {}
        for name, text in keys.items():
            if not name.endswith('._domainkey.ca.example'):
                zones[name] = text
        for domain in ('mail.ca.example', 'example'):
            zones['%s._domainkey.%s' % (stage.dkim.selector, domain)] = own
        zones['testing._domainkey.ca.example'] = own.replace('v=DKIM1;', 'v=DKIM1; t=y;')
        zones['revoked._domainkey.ca.example'] = 'v=DKIM1; k=rsa; p='
        cls.weak_key = stage.base + '/weak.key'
        run('openssl', 'genrsa', '-out', cls.weak_key, '768')
        zones['weak._domainkey.ca.example'] = stage.dkim.public(cls.weak_key)
        cls.other_key = stage.base + '/other.key'
        run('openssl', 'genrsa', '-out', cls.other_key, '2048')
        for name, text in zones.items():
            stage.dns.zones[stage.dns.zone_of(name)].append((name, 'TXT', txt(text)))
        stage.dns.reload('ca.example', 'example')

    @classmethod
    def own_forgeries(cls):
        """name: (how a mail to an address is made, verdict, reason)"""
        dkim = cls.many.stage.dkim

        def signed(top=b'', fields={}, **how):
            def make(to):
                raw = mailtools.challenge(FROM, to, 'A' * 27, **fields)
                return dkim.sign(top + raw, 'ca.example', **how)
            return make
        return {
            't=y': (signed(selector='testing'), REFUSED, 't=y'),
            'key revoked': (signed(selector='revoked'), REFUSED, ''),
            'key of 768 bits': (signed(selector='weak', key=cls.weak_key), REFUSED, ''),
            'no such key': (signed(selector='nobody'), REFUSED, ''),
            'another key': (signed(key=cls.other_key), REFUSED, ''),
            'two From, both signed': (signed(top=b'From: acme@stranger.example\r\n'), UNREAD, 'From'),
            'no Date': (signed(fields={'Date': None}), UNREAD, 'Date'),
            'no Message-ID': (signed(fields={'Message_ID': None}), UNREAD, 'Message-ID'),
        }

    @classmethod
    def older_order(cls):
        """The answer to a newOrder is lost, a second order follows; the mail of the first, which
        is as genuine as can be, is kept back until the second waits."""
        cls.older = cls.many.user()
        cls.many.behave(challenge_trigger='newOrder', challenge_mail_delay=10 ** 6,
                        faults={'newOrder': {'drop_after': True}})
        cls.many.enroll(cls.older)
        service.until(lambda: cls.many.authorizations(cls.older), 60, 'the first order')
        cls.older_mail = cls.many.made(cls.many.authorizations(cls.older)[0]['mails'][0]['message_id'])
        cls.many.wait_state([cls.older], 'ordering', 'waiting')

    # -- sending and looking ---------------------------------------------

    def deliver(self, raw, *users):
        """As the CA's mail server would: by our MX, in one transaction."""
        return self.stage.inject(FROM, [address(u) for u in users], raw, source=CA, to=(GATEWAY, 25),
                                 helo='mx.ca.example')

    def verdicts(self, user):
        """What the inbound instance said about mail for a user."""
        return [(l['verdict'], l.get('reason', '')) for l in
                self.p.log(name='inbound', event='challenge_mail', to=address(user))]

    def arrived(self, user, number=1):
        """The mailbox, once it has so many mails or the product has taken one of them."""
        return service.until(
            lambda: (len(self.stage.mailbox(user)) >= number or 'taken' in dict(self.verdicts(user)))
            and self.stage.mailbox(user) + [None], 120, '%d mails for %s' % (number, user))[:-1]

    def still_waits(self, user):
        shown = self.many.show(user)
        self.assertEqual(shown['enrollment']['state'], 'challenge-awaited', self.many.story(user))
        self.assertEqual(shown['challenges'], [])
        self.assertNotIn('reply_sent', [e['event'] for e in shown['events']])

    def let_through(self, *users):
        """The genuine mail from the CA; the orders validate, the mailboxes stay as they are."""
        before = {u: len(self.stage.mailbox(u)) for u in users}
        for user in users:
            self.genuine.setdefault(user, []).append(self.many.genuine(user)['message_id'])
        shown = self.many.wait_state(users, 'active', 'waiting', 'blocked', 'failed')
        for user in users:
            self.assertEqual(shown[user]['enrollment']['state'], 'active', self.many.story(user))
            self.assertEqual(shown[user]['enrollment']['orders'], 0)
            self.assertEqual(len(self.stage.mailbox(user)), before[user])

    # -- the tests: forgeries first, in the order of their names ---------

    def test_1_forged_ones_are_delivered_and_not_answered(self):
        for forgery in self.forgeries:
            if forgery.name in VARIANTS:
                self.stage.ca.admin('/send-mail', {'variant': forgery.name,
                                                   'address': address(forgery.user)})
        for name, (make, *_says) in self.own_forgeries().items():
            user = self.own[name].user
            self.deliver(make(address(user)), user)
        for forgery in self.forgeries:
            with self.subTest(forgery.name):
                self.assertEqual(len(self.arrived(forgery.user)), 1, self.verdicts(forgery.user))
                self.still_waits(forgery.user)
                said = self.verdicts(forgery.user)
                self.assertEqual([v for v, _r in said],
                                 [forgery.verdict] if forgery.verdict else [], said)
                if said:
                    self.assertIn(forgery.reason, said[0][1])

    def test_1_from_another_address_of_the_ca(self):
        """Its DKIM is good; the order names somebody else as the writer."""
        user = self.special['wrong From']
        self.stage.ca.admin('/send-mail', {'variant': 'genuine', 'address': address(user),
                                           'from': 'sales@ca.example'})
        self.assertEqual(len(self.arrived(user)), 1)
        self.still_waits(user)
        self.assertEqual([v for v, _r in self.verdicts(user)], [FOREIGN])
        self.assertIn('foreign_challenge', self.many.events(user))

    def test_1_a_genuine_one_of_an_older_order(self):
        self.many.wait_state([self.older], 'challenge-awaited')
        self.assertEqual(len(self.many.authorizations(self.older)), 2)
        self.deliver(self.older_mail, self.older)
        self.assertEqual(len(self.arrived(self.older)), 1, self.verdicts(self.older))
        self.still_waits(self.older)
        self.assertEqual([v for v, _r in self.verdicts(self.older)], [FOREIGN])
        self.assertIn('foreign_challenge', self.many.events(self.older))
        self.assertEqual(self.many.show(self.older)['enrollment']['abandoned_orders'], 1)

    def test_1_no_order_is_pending(self):
        """For somebody who never asked for a certificate."""
        # A question of the test before may be asked twice on a busy machine.
        service.until(lambda: time.monotonic() - self.dns.last() > 2, 60, 'nobody asks any more')
        user, asked = self.many.user(), len(self.dns.asked)
        self.stage.ca.admin('/send-mail', {'variant': 'genuine', 'address': address(user)})
        self.assertEqual(len(self.stage.dovecot.wait_mailbox(user)), 1)
        self.assertIsNone(self.p.show(address(user)))
        self.assertEqual(self.verdicts(user), [])
        self.assertEqual(len(self.dns.asked), asked, 'DNS is asked about candidates only')

    def test_1_forged_while_dns_is_silent(self):
        """What names another domain than the CA's, or has no signature, needs no DNS."""
        user = self.special['DNS silent, forged']
        self.quiet()
        self.dns.mute = True
        try:
            for variant in ('no_dkim', 'other_domain', 'stranger'):
                self.stage.ca.admin('/send-mail', {'variant': variant, 'address': address(user)})
            self.assertEqual(len(self.arrived(user, 3)), 3)
        finally:
            self.dns.mute = False
        self.still_waits(user)
        self.assertEqual({v for v, _r in self.verdicts(user)}, {REFUSED})
        self.assertEqual(self.many.ca_log('forged_deferred', user), [])

    def quiet(self):
        """Until no key is remembered: they live for two seconds on the stage."""
        service.until(lambda: time.monotonic() - self.dns.last() > 3, 60, 'keys are forgotten')

    # -- genuine ones ----------------------------------------------------

    def test_2_two_recipients(self):
        """Only ours is taken out; the other gets the mail."""
        user, other = self.special['two recipients'], 'bob'
        mail = self.many.genuine(user, hold=True)
        self.genuine[user] = [mail['message_id']]
        self.stage.dovecot.clear(other)
        self.deliver(mail['raw'], other, user)
        self.many.wait_state([user], 'active')
        arrived = self.stage.dovecot.wait_mailbox(other)
        self.assertIn(mail['message_id'].encode(), arrived[0])
        self.assertEqual(len(arrived), 1)
        self.assertEqual(self.stage.mailbox(user), [])

    def test_2_two_recipients_who_both_wait(self):
        """The one in To is meant; the other keeps waiting, and has the mail."""
        user, other = self.special['two recipients, one else awaits'], self.special['wrong From']
        before = len(self.stage.mailbox(other))
        mail = self.many.genuine(user, hold=True)
        self.genuine[user] = [mail['message_id']]
        self.deliver(mail['raw'], other, user)
        self.many.wait_state([user], 'active')
        self.stage.dovecot.wait_mailbox(other, before + 1)
        self.assertEqual(self.many.state(other), 'challenge-awaited')
        self.assertEqual(self.stage.mailbox(user), [])

    def test_2_a_signature_of_somebody_else_beside(self):
        user = self.special['two signatures']
        self.genuine[user] = [self.many.genuine(user, hold=True)['message_id']]
        self.stage.ca.admin('/send-mail', {'variant': 'genuine_two_signatures', 'token': 'real',
                                           'address': address(user)})
        self.many.wait_state([user], 'active')

    def test_2_the_same_mail_twice(self):
        """A CA's mail server that tries again after our 250 was lost: at once, and when all is over."""
        user = self.special['twice']
        mail = self.many.genuine(user, hold=True)
        self.genuine[user] = [mail['message_id']]
        self.deliver(mail['raw'], user)
        self.deliver(mail['raw'], user)
        self.many.wait_state([user], 'active')
        self.deliver(mail['raw'], user)
        self.assertEqual([v for v, _r in self.verdicts(user)], ['taken', 'seen-before', 'seen-before'])
        self.assertEqual(len(self.many.ca_log('reply_received', user)), 1)
        self.assertEqual(self.stage.mailbox(user), [])

    def test_2_dns_silent(self):
        """451, the CA comes again, the order validates."""
        user = self.special['DNS silent']
        self.quiet()
        self.dns.mute = True
        try:
            self.genuine[user] = [self.many.genuine(user)['message_id']]
            deferred = service.until(lambda: self.many.ca_log('challenge_deferred', user), 120,
                                     'the mail is told to come again')
            self.assertEqual(deferred[0]['code'], 451)
            self.still_waits(user)
        finally:
            self.dns.mute = False
        self.many.wait_state([user], 'active')
        verdicts = [v for v, _r in self.verdicts(user)]
        self.assertEqual(verdicts[0], 'come-again')
        self.assertEqual(verdicts[-1], 'taken')
        self.assertEqual(self.stage.mailbox(user), [])

    def test_3_every_order_validates_by_the_genuine_mail(self):
        self.let_through(*[f.user for f in self.forgeries], self.older, self.special['wrong From'],
                         self.special['DNS silent, forged'])

    def test_4_the_ca_saw_replies_to_genuine_mail_only(self):
        replies = self.many.ca_log('reply_received')
        expected = sorted(i for ids in self.genuine.values() for i in ids)
        self.assertEqual(sorted(r['in_reply_to'] for r in replies), expected)
        self.assertEqual({r['verdict'] for r in replies}, {'good'})
        self.assertEqual(self.many.violations(), [])
        self.assertEqual(self.many.ca_log('mail_other'), [])
        counters = self.stage.ca.admin('/counters')
        self.assertEqual(counters.get('violation:duplicate_reply', 0), 0)
        self.assertNotIn(b'mallory@', b''.join(m.content for m in self.stage.outside.messages))
