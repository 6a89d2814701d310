"""Strangers ask the CA for a certificate in a user's name while we do.

They have accounts of their own at the same CA and open orders for the same address.  Their
challenge mails come from the CA's own sender, are dated after our order and signed as they should
be: nothing in the mail tells them from ours.  So each is answered, once, by a reply that is bound to
our account's key and our order's token: it validates our order, and can validate nobody else's.
"""

import collections
import os
import sys

import service
from enrolling import Enrolling, address
from product import Product, require
from stage import CA, GATEWAY, Stage, StageCase

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'ca'))

import selftest_client  # noqa: E402

STAGE = {'ca': True, 'users': 20}
TAKES, BUSY = 35, 8
FROM = 'acme@ca.example'
CAP = 2                   # ca.replies-per-hour where that is small

OURS = 'ours'
ORDERS = {                # name: in which order the mails arrive
    'ours comes first': (OURS, 'first', 'second'),
    'ours comes in between': ('first', OURS, 'second'),
    'ours comes last': ('first', 'second', OURS),
    'two of a stranger, and ours twice': (OURS, 'first', 'first', OURS),
}

Mail = collections.namedtuple('Mail', 'whose message_id raw')


def setUpModule():
    require()


class Strangers(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        cls.p = Product(Stage.current, ca={'challenge-trigger': 'mail-first', 'replies-per-hour': 100},
                        certificate={'key-type': 'ec:p256'})
        cls.p.start()
        cls.many = Enrolling(Stage.current, cls.p)
        cls.strangers = {name: cls.client() for name in ('first', 'second')}
        cls.rivals = collections.defaultdict(dict)      # user: {stranger: URL of the authorization}

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()

    # -- who is there ------------------------------------------------------

    @classmethod
    def client(cls):
        client = selftest_client.Client('https://acme.ca.example', Stage.current.ca.tls_root)
        client.register()
        return client

    def awaiting(self):
        """Somebody whose order waits for its challenge mail, which nobody has written yet."""
        user = self.many.user()
        self.many.behave(challenge_mail_copies=0)
        self.many.enroll(user)
        self.many.wait_state([user], 'challenge-awaited')
        return user

    def rival(self, user, name):
        """A stranger's order for the user's address; the id of its authorization."""
        if name not in self.rivals[user]:
            client = self.strangers[name]
            _url, order = client.order(address(user))
            self.rivals[user][name] = order['authorizations'][0]
            client.fetch(order['authorizations'][0])
        return self.rivals[user][name].rpartition('/')[2]

    def mail(self, user, whose):
        """A challenge mail of the CA, genuine in every way; it is made and goes nowhere."""
        authz = self.many.authorizations(user)[0]['id'] if whose == OURS else self.rival(user, whose)
        return self.mail_of(authz, whose)

    def mail_of(self, authz, whose=OURS):
        self.many.change(challenge_mail_delay=10 ** 6)
        sent = self.stage.ca.admin('/send-challenge', {'authz': authz})[0]
        self.many.change(challenge_mail_delay=0)
        return Mail(whose, sent['message_id'], self.many.made(sent['message_id']))

    def deliver(self, user, mail):
        self.stage.inject(FROM, [address(user)], mail.raw, source=CA, to=(GATEWAY, 25), helo='mx.ca.example')

    def at_once(self, user, mails):
        """All of them are there before the first is answered."""
        enrolld = self.p.daemons['enrolld']
        enrolld.freeze()
        try:
            for mail in mails:
                self.deliver(user, mail)
            service.until(lambda: self.verdicts(user).count('taken') >= len(mails), 60, 'all mails are taken',
                          say=lambda: repr(self.verdicts(user)))
        finally:
            enrolld.thaw()

    # -- what is seen --------------------------------------------------------

    def verdicts(self, user):
        """Of the inbound instance."""
        return [l['verdict'] for l in self.p.log(name='inbound', event='challenge_mail', to=address(user))]

    def replies(self, user):
        """{Message-ID answered: the CA's verdicts}"""
        found = collections.defaultdict(list)
        for record in self.stage.ca.admin('/log?since=0&event=reply_received'):
            if record['address'] == address(user):
                reasons = tuple(r.partition(':')[0] for r in record.get('reasons') or ())
                found[record['in_reply_to']].append((record['verdict'], reasons))
        return found

    def check_ours(self, user, opened=1):
        """Active, with one certificate, which our account asked for."""
        shown = self.many.wait_state([user], 'active', 'waiting', 'blocked', 'failed')[user]
        self.assertEqual(shown['enrollment']['state'], 'active', self.many.story(user))
        issued = [r for r in self.stage.ca.admin('/log?since=0&event=issued') if address(user) in r['addresses']]
        self.assertEqual(len(issued), 1)
        ours = self.many.authorizations(user)
        account = ours[0]['account']
        created = [r for r in self.stage.ca.admin('/log?since=0&event=order_created')
                   if address(user) in r['addresses'] and r['account'] == account]
        self.assertEqual(len(created), opened)
        return shown

    def check_replies(self, user, mails):
        """One to each mail.  Ours are good; who got a good one need not wait for the next."""
        replies = self.replies(user)
        self.assertEqual({i: len(v) for i, v in replies.items()}, {m.message_id: 1 for m in mails})
        verdicts = [replies[m.message_id][0] for m in mails if m.whose == OURS]
        self.assertIn(('good', ()), verdicts)
        self.assertLessEqual(set(verdicts), {('good', ()), ('bad', ('challenge_not_pending',))})
        for mail in mails:
            if mail.whose != OURS:
                self.assertEqual(replies[mail.message_id], [('bad', ('digest_wrong',))])

    def check_strangers(self, user):
        """They let the CA validate what our replies did to their orders."""
        for name, url in self.rivals[user].items():
            client = self.strangers[name]
            client.post(client.challenge(client.fetch(url))['url'], {})
            self.assertNotEqual(client.fetch(url)['status'], 'valid', '%s has %s validated by our reply' % (name, address(user)))

    def check_events(self, shown, replies):
        """Each reply is an event; that there were more challenges than one order has is said in words."""
        said = [(e['event'], e.get('text', '')) for e in shown['events']]
        self.assertEqual(len([e for e, _t in said if e == 'reply_sent']), replies)
        if replies > 1:
            self.assertTrue([t for _e, t in said if 'somebody else asks for a certificate' in t], said)

    # -- the tests -----------------------------------------------------------

    def test_ours_validates_and_theirs_cannot(self):
        for name, order in ORDERS.items():
            with self.subTest(name):
                user = self.awaiting()
                mails = [self.mail(user, whose) for whose in order]
                self.at_once(user, mails)
                shown = self.check_ours(user)
                service.until(lambda: len(self.replies(user)) >= len(mails), 60, 'each is answered')
                self.check_replies(user, mails)
                self.check_strangers(user)
                self.check_events(shown, len(mails))
                self.assertEqual({c['state'] for c in shown['challenges']}, {'replied'})
                self.assertEqual(self.stage.mailbox(user), [])

    def test_the_same_mail_of_a_stranger_again(self):
        """The CA's mail server comes again with it; so does somebody who kept a copy."""
        user = self.awaiting()
        theirs, ours = self.mail(user, 'first'), self.mail(user, OURS)
        self.at_once(user, [theirs])
        self.deliver(user, theirs)
        self.deliver(user, ours)
        self.check_ours(user)
        self.deliver(user, theirs)
        self.assertEqual({i: len(v) for i, v in self.replies(user).items()}, {theirs.message_id: 1, ours.message_id: 1})
        self.assertEqual(self.verdicts(user).count('seen-before'), 2)
        self.check_strangers(user)

    def test_a_strangers_mail_when_ours_is_over(self):
        """Nobody of us waits for one: it is the user's mail, and nothing is answered."""
        user = self.awaiting()
        ours = self.mail(user, OURS)
        self.deliver(user, ours)
        self.check_ours(user)
        theirs = self.mail(user, 'first')
        self.deliver(user, theirs)
        self.assertEqual(len(self.stage.dovecot.wait_mailbox(user)), 1)
        self.assertEqual(list(self.replies(user)), [ours.message_id])
        self.check_strangers(user)

    def test_who_never_asked_for_one(self):
        user = self.many.user()
        self.many.behave(challenge_mail_copies=0)
        theirs = self.mail(user, 'first')
        self.deliver(user, theirs)
        self.assertEqual(len(self.stage.dovecot.wait_mailbox(user)), 1)
        self.assertEqual(dict(self.replies(user)), {})
        self.assertIsNone(self.p.show(address(user)))

    def test_before_the_ca_named_who_writes(self):
        """Our order is opened, and not looked at yet: the mail is told to come again, then taken, answered
        or delivered as if it had come now."""
        user = self.many.user()
        self.many.behave(challenge_mail_copies=0, faults={
            'authz': {'address': address(user), 'status': 503, 'count': -1}})
        self.many.enroll(user)
        self.many.wait_state([user], 'waiting')
        self.many.behave(challenge_mail_copies=0)
        theirs = self.stage.ca.admin('/send-challenge', {'authz': self.rival(user, 'first')})[0]
        service.until(lambda: self.many.ca_log('challenge_deferred', user), 60, 'it is told to come again')
        self.many.retry(user)
        self.many.wait_state([user], 'challenge-awaited', 'answered')
        service.until(lambda: self.replies(user), 60, 'the mail came again and was answered')
        ours = self.mail(user, OURS)
        self.deliver(user, ours)
        self.check_ours(user)
        self.assertEqual(self.replies(user), {theirs['message_id']: [('bad', ('digest_wrong',))],
                                              ours.message_id: [('good', ())]})
        self.check_strangers(user)

    def test_a_late_mail_of_an_older_order_of_ours(self):
        """The answer to newOrder was lost; the CA writes its mail when the second order is open, so its date
        does not tell.  It is answered for the second order, of which it is not: harmless, and ours validates."""
        user = self.many.user()
        self.many.behave(challenge_mail_copies=0, faults={'newOrder': {'address': address(user), 'drop_after': True}})
        self.many.enroll(user)
        shown = self.many.wait_state([user], 'challenge-awaited')[user]
        self.assertEqual(shown['enrollment']['abandoned_orders'], 1)
        older, newer = [a['id'] for a in self.many.authorizations(user)]
        late, ours = self.mail_of(older), self.mail_of(newer)
        self.at_once(user, [late, ours])
        shown = self.check_ours(user, opened=2)
        self.assertEqual(self.replies(user), {late.message_id: [('bad', ('digest_wrong',))],
                                              ours.message_id: [('good', ())]})
        self.assertEqual([a['status'] for a in self.many.authorizations(user)], ['pending', 'valid'])
        self.check_events(shown, 2)

    def test_the_cap_holds_back_older_ones_and_never_the_newest(self):
        """A stranger has the CA write more mails than we answer in an hour.  Those that we hold back are
        said to be; and when the CA writes the next one for us, it is the newest and answered."""
        self.addCleanup(self.p.restart, 'enrolld')
        self.addCleanup(self.p.configure, ca={'replies-per-hour': 100})
        self.p.configure(ca={'replies-per-hour': CAP})
        self.p.restart('enrolld')
        user = self.awaiting()
        ours, theirs = self.mail(user, OURS), [self.mail(user, 'first') for _n in range(CAP + 1)]
        self.at_once(user, [ours] + theirs)
        held = service.until(lambda: self.held(user, 2), 60, 'older ones are held back',
                             say=lambda: self.many.story(user))
        self.assertEqual({e['text'].split()[2] for e in held}, {ours.message_id, theirs[0].message_id})
        self.assertEqual(set(self.replies(user)), {m.message_id for m in theirs[1:]})
        again = self.mail(user, OURS)
        self.deliver(user, again)
        self.check_ours(user)
        self.assertEqual(set(self.replies(user)), {m.message_id for m in theirs[1:] + [again]})
        self.assertEqual(self.replies(user)[again.message_id], [('good', ())])
        self.check_strangers(user)

    def held(self, user, number):
        found = [e for e in self.many.show(user)['events']
                 if e['event'] == 'challenge_ignored' and 'replies-per-hour' in e['text']]
        return found if len(found) >= number else None

    def test_z_no_breach_but_their_wrong_digests(self):
        """By the CA's log: what we answered to mails that were not for our order, and nothing else."""
        for found in self.many.violations():
            self.assertEqual((found['event'], found.get('kind')), ('violation', 'bad_reply'), found)
            self.assertRegex(' '.join(found['reasons']), '^digest_wrong|^challenge_not_pending: valid', found)
