"""Challenge mail that is signed by S/MIME, without DKIM: every form of header protection enrolls, forged
ones are never answered.

The CA's mail signer has a root of its own, which ca.challenge-anchor-file names.  First come the
forgeries, each for a person of its own; at the end the genuine mail of the same order validates.
"""

import os
import re
import shutil

import service
from enrolling import Enrolling, address
from product import ETC, Product, require
from stage import CA, GATEWAY, Stage, StageCase

STAGE = {'ca': True, 'users': 80}
TAKES, BUSY = 25, 12
ANCHORS = ETC + '/challenge-anchors.pem'

REFUSED, UNREAD, FOREIGN, NOT_OURS = 'not-authentic', 'not-a-challenge', 'foreign', 'not-ours'

# Variants of tests/ca/forge.py: verdict and reason of the inbound instance
FORGED = {
    'smime_unprotected': (REFUSED, 'the header is not protected'),
    'smime_subject_unprotected': (REFUSED, 'Subject is not protected'),
    'smime_new_subject': (REFUSED, 'Subject is not the protected one'),
    'smime_new_subject_rfc7508': (REFUSED, 'Subject is not the protected one'),
    'smime_new_subject_rfc9788': (REFUSED, 'Subject is not the protected one'),
    'smime_new_subject_opaque': (REFUSED, 'Subject is not the protected one'),
    'smime_new_from': (REFUSED, 'not for the address the mail is from'),
    'smime_new_from_rfc7508': (REFUSED, 'not for the address the mail is from'),
    'smime_new_from_rfc9788': (REFUSED, 'not for the address the mail is from'),
    'smime_new_to': (REFUSED, 'To is not the protected one'),
    'smime_new_to_rfc7508': (REFUSED, 'To is not the protected one'),
    'smime_new_to_rfc9788': (REFUSED, 'To is not the protected one'),
    'smime_two_subject': (UNREAD, 'more than one Subject'),
    'smime_impostor': (REFUSED, "the signer's certificate: unable to get"),
    'smime_expired': (REFUSED, "the signer's certificate: certificate has expired"),
    'smime_not_for_mail': (REFUSED, 'is not for mail'),
    'smime_other_signer': (REFUSED, 'not for the address the mail is from'),
    'smime_other_address': (REFUSED, 'not for the address the mail is from'),
    'smime_changed': (REFUSED, 'does not match'),
    'smime_rsa_1024': (REFUSED, '1024 bits'),
    'smime_sha1': (REFUSED, 'too weak'),
    'smime_no_attributes': (REFUSED, 'no signed attributes'),
    'smime_embedded': (REFUSED, 'content of its own'),
    'smime_third_part': (REFUSED, 'more than two parts'),
    'smime_parts_behind': (REFUSED, 'no DKIM signature'),
    'smime_two_signers_one_broken': (REFUSED, 'does not match'),
    'smime_two_signers_one_stranger': (REFUSED, "the signer's certificate: unable to get"),
    'smime_undated': (REFUSED, 'Date is not protected'),
    'smime_old_new_subject': (REFUSED, 'Subject is not the protected one'),
    # genuine, but of another time
    'smime_old': (FOREIGN, 'dated before the order'),
    'smime_old_new_date': (FOREIGN, 'dated before the order'),
}

FORMS = ('smime-wrap', 'smime-wrap-opaque', 'smime-rfc7508', 'smime-rfc9788', 'smime-rfc9788-opaque')
SHAPES = (
    {'challenge_body': 'html'},
    {'challenge_body': 'alternative'},
    {'challenge_body': 'html-in-alternative'},
    {'challenge_subject': 'folded'},
    {'challenge_subject': 'encoded-q', 'challenge_subject_token_space': True},
    {'challenge_subject': 'encoded-b', 'challenge_subject_token_space': True},
    {'challenge_subject': 'encoded-split', 'challenge_subject_token_space': True},
    {'challenge_subject': 'folded', 'challenge_subject_token_space': True},
    {'challenge_reply_to': False},
)


def setUpModule():
    require()


class SignedChallenges(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        stage = Stage.current
        cls.p = Product(stage, certificate={'key-type': 'ec:p256'},
                        ca={'challenge-trigger': 'mail-first', 'challenge-anchor-file': ANCHORS})
        cls.p.prepare()
        shutil.copyfile(os.path.join(stage.ca.state, 'mail-root.pem'), ANCHORS)
        cls.p.start()
        cls.many = Enrolling(stage, cls.p)
        cls.many.behave(challenge_trigger='never', challenge_reply_to=False)
        cls.forged = {name: cls.many.user() for name in FORGED}
        cls.special = {name: cls.many.user() for name in ('Reply-To added', 'two signers', 'twice', 'few fields')}
        waiting = [*cls.forged.values(), *cls.special.values()]
        for user in waiting:
            cls.many.enroll(user)
        cls.many.wait_state(waiting, 'challenge-awaited')

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()

    def verdicts(self, user):
        return [(l['verdict'], l.get('reason', '')) for l in
                self.p.log(name='inbound', event='challenge_mail', to=address(user))]

    def active(self, *users):
        """All end well by one order and one reply, and nobody saw the mail."""
        shown = self.many.wait_state(users, 'active', 'waiting', 'blocked', 'failed')
        for user in users:
            self.assertEqual(shown[user]['enrollment']['state'], 'active', self.many.story(user))
            self.assertEqual(shown[user]['enrollment']['orders'], 0)
            self.assertEqual([r['verdict'] for r in self.many.ca_log('reply_received', user)], ['good'])
        return shown

    def authentications(self, user):
        return [c['authentication'] for c in self.many.show(user)['challenges']]

    # -- forged ----------------------------------------------------------

    def test_1_forged_ones_are_delivered_and_not_answered(self):
        for name, user in self.forged.items():
            self.stage.ca.admin('/send-mail', {'variant': name, 'address': address(user)})
        for name, user in self.forged.items():
            with self.subTest(name):
                verdict, reason = FORGED[name]
                service.until(lambda: self.verdicts(user), 120, 'a word about ' + name)
                said = self.verdicts(user)
                self.assertEqual([v for v, _r in said], [verdict], said)
                self.assertIn(reason, said[0][1])
                self.assertEqual(len(self.stage.dovecot.wait_mailbox(user)), 1)
                shown = self.many.show(user)
                self.assertEqual(shown['enrollment']['state'], 'challenge-awaited', self.many.story(user))
                self.assertEqual(shown['challenges'], [])

    def test_2_their_orders_validate_by_the_genuine_mail(self):
        self.many.change(challenge_authentication='smime-wrap', challenge_reply_to=True)
        for user in self.forged.values():
            self.many.genuine(user)
        self.active(*self.forged.values())
        for user in self.forged.values():
            self.assertEqual(len(self.stage.mailbox(user)), 1)

    # -- genuine ---------------------------------------------------------

    def send_real(self, user, variant):
        """The variant with the token of a genuine mail that was made, but kept back."""
        self.many.change(challenge_authentication='smime-wrap', challenge_reply_to=False)
        self.many.genuine(user, hold=True)
        return self.stage.ca.admin('/send-mail', {'variant': variant, 'token': 'real', 'address': address(user),
                                                  'reply_to': None})

    def again(self, user, sent, **changes):
        """The mail once more, with other header fields outside."""
        with open(os.path.join(self.stage.ca.state, 'mail', sent['file']), 'rb') as file:
            raw = file.read()
        for field, value in changes.items():
            raw = re.sub(rb'(?m)^%s: [^\r\n]*' % field.replace('_', '-').encode(),
                         ('%s: %s' % (field.replace('_', '-'), value)).encode(), raw, count=1)
        self.stage.inject('acme@ca.example', [address(user)], raw, source=CA, to=(GATEWAY, 25),
                          helo='mx.ca.example')

    def test_3_the_reply_to_of_a_stranger_is_ignored(self):
        """The reply goes to From, where the CA takes it."""
        user = self.special['Reply-To added']
        self.send_real(user, 'smime_added_reply_to')
        self.active(user)
        self.assertEqual(self.stage.mailbox(user), [])
        self.assertNotIn(b'mallory@', b''.join(m.content for m in self.stage.outside.messages))

    def test_3_two_good_signers(self):
        user = self.special['two signers']
        self.send_real(user, 'smime_two_signers')
        self.active(user)
        self.assertEqual(self.stage.mailbox(user), [])

    def test_3_the_same_mail_twice(self):
        user = self.special['twice']
        sent = self.send_real(user, 'smime_genuine')
        self.active(user)
        self.again(user, sent)
        self.assertEqual([v for v, _r in self.verdicts(user)], ['taken', 'seen-before'])
        self.assertEqual(len(self.many.ca_log('reply_received', user)), 1)
        self.assertEqual(self.stage.mailbox(user), [])

    def test_3_another_message_id_makes_no_other_mail(self):
        """It is not protected here: the token says that this mail was answered."""
        user = self.special['few fields']
        self.p.stop('enrolld')
        try:
            sent = self.send_real(user, 'smime_few_fields')
            service.until(lambda: self.verdicts(user), 120, 'the mail is judged')
            self.again(user, sent, Message_ID='<another@ca.example>')
        finally:
            self.p.start('enrolld')
        self.active(user)
        said = self.verdicts(user)
        self.assertEqual([v for v, _r in said], ['taken', 'seen-before'], said)
        self.assertIn('another Message-ID', said[1][1])
        self.assertEqual(self.stage.mailbox(user), [])

    def test_4_every_form_and_shape_enrolls(self):
        rows = [dict(challenge_authentication=form) for form in FORMS]
        rows += [dict(shape, challenge_authentication=FORMS[n % len(FORMS)]) for n, shape in enumerate(SHAPES)]
        rows.append(dict(challenge_authentication='smime-rfc7508', challenge_trigger='newOrder'))
        users = []
        for switches in rows:
            users.append(self.many.user())
            self.begin(users[-1], **switches)
        self.active(*users)
        for user, switches in zip(users, rows):
            with self.subTest(**switches):
                self.assertEqual(self.stage.mailbox(user), [])
                form = switches['challenge_authentication'].split('-')[1]
                self.assertEqual(self.authentications(user), [
                    'smime CN=Test Mail Signer, anchor Test Mail Root, form='
                    + ('message/rfc822' if form == 'wrap' else form)])

    def begin(self, user, **switches):
        """An enrollment under these switches of the CA, until its challenge mail has left."""
        self.many.behave(**switches)
        self.many.enroll(user)
        service.until(lambda: self.many.ca_log('challenge_sent', user), 120, 'the mail for ' + user,
                      say=lambda: self.many.story(user))

    def test_5_the_platynum_way(self):
        """RFC 7508, HTML in multipart/alternative, tokens joined as octets."""
        self.p.configure(ca={'token-join': 'decoded'})
        self.p.restart('enrolld')
        user = self.many.user()
        self.begin(user, preset='platynum')
        self.active(user)
        self.assertEqual(self.stage.mailbox(user), [])

    def test_6_the_ca_complains_of_nothing(self):
        self.assertEqual(self.many.violations(), [])

    def test_7_an_anchor_file_that_is_gone_stops_the_start_with_a_word(self):
        self.p.stop('inbound')
        os.rename(ANCHORS, ANCHORS + '.away')
        try:
            done = self.p.ctl_run('config', 'check', user='root')
            self.assertNotEqual(done.returncode, 0)
            self.assertIn('error: ca.challenge-anchor-file: ' + ANCHORS, done.stdout + done.stderr)
        finally:
            os.rename(ANCHORS + '.away', ANCHORS)
        self.p.start('inbound')
