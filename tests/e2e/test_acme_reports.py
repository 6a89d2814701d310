"""The reply's fate is known: what our Postfix and others report of it moves the enrollment on, explains it, and never ends it."""

import re

import mailtools
import service
import stage_postfix
from enrolling import Enrolling, address
from product import Product, require
from stage import Stage, StageCase

STAGE = {'ca': True, 'users': 15}
TAKES, BUSY = 90, 20
DELAY = 600
REFUSED = '5.7.26 Unauthenticated mail from corp.example is not accepted; see https://ca.example/dmarc'
REPORT = '''From: MAILER-DAEMON@mx.evil.example
To: %(to)s
Subject: Undelivered Mail Returned to Sender
Date: Sun, 22 Nov 2026 08:00:00 +0000
Message-ID: <%(id)s@mx.evil.example>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

I am sorry.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.evil.example

Final-Recipient: rfc822; acme-reply@ca.example
Action: %(action)s
Status: %(status)s
Remote-MTA: dns; mx.ca.example
Diagnostic-Code: smtp; %(words)s

--b--
'''


def setUpModule():
    require()


class Reports(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        cls.p = Product(Stage.current, ca={'reply-delay': DELAY})
        cls.p.start()
        cls.many = Enrolling(Stage.current, cls.p)

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()

    def setUp(self):
        self.user = self.many.user()
        self.marks = self.stage.log_marks()

    def tearDown(self):
        """Whatever comes back, users see none of it, and nothing goes round in circles."""
        self.assertEqual(self.stage.mailbox(self.user), [])
        self.stage.postfix.set(delay_warning_time=None)
        self.many.behave()
        self.stage.postfix.flush()
        self.stage.postfix.wait_empty()

    # -- words -----------------------------------------------------------

    def enroll(self, **switches):
        self.many.behave(**switches)
        self.many.enroll(self.user)

    def wait_event(self, name, count=1):
        return service.until(lambda: self.many.events(self.user).count(name) >= count and self.many.show(self.user), 300,
                             'event ' + name, say=lambda: self.many.story(self.user))

    def envelope(self):
        """Our reply's envelope sender, as the CA's mail server saw it."""
        for event in ('reply_received', 'reply_swallowed'):
            for record in self.many.ca_log(event):
                if record['mail_from'].startswith('smime-reports+e') and self.is_ours(record['mail_from']):
                    return record['mail_from']
        return None

    def is_ours(self, sender):
        return '+e%d-' % self.many.show(self.user)['enrollment']['id'] in sender

    def wait_envelope(self):
        return service.until(self.envelope, 300, 'the CA has the reply', say=lambda: self.many.story(self.user))

    def report(self, to, action='failed', status='5.7.26', words='550 5.7.26 forged', sender='', **more):
        raw = mailtools.crlf(REPORT % {'to': to, 'id': mailtools.unique(), 'action': action, 'status': status, 'words': words})
        return self.stage.inject(sender, [to], raw, **more)

    def change_row(self, sql):
        """Behind the programs' back, in a moment when no worker holds the row: our way to make time pass."""
        number = self.many.show(self.user)['enrollment']['id']
        service.until(lambda: self.p.sql_changed(sql % {'id': number}) == 1, 60, 'the row is free')

    def pass_quarter_of_an_hour(self):
        self.change_row('UPDATE reports SET received_at = received_at - 900 WHERE enrollment_id = %(id)d AND EXISTS '
                        '(SELECT 1 FROM enrollments WHERE id = %(id)d AND lease_owner IS NULL);'
                        'UPDATE enrollments SET ordered_at = ordered_at - 900, next_at = 1, planned_at = 1 '
                        'WHERE id = %(id)d AND lease_owner IS NULL')

    def reports(self):
        return self.many.show(self.user)['reports']

    # -- tests -----------------------------------------------------------

    def test_a_relayed_reply_moves_the_enrollment_on(self):
        self.enroll()
        shown = self.many.wait_state([self.user], 'active', seconds=DELAY // 2)[self.user]
        names = self.many.events(self.user)
        self.assertLess(names.index('reply_sent'), names.index('challenge_posted'))
        self.assertIn('reply_relayed', names)
        self.assertLess(names.index('reply_reported'), names.index('challenge_posted'))
        found = [(r['action'], r['status'], r['remote'], r['diagnostic']) for r in shown['reports']]
        self.assertEqual(found, [('relayed', '2.0.0', 'mx.ca.example', '250 2.0.0 Taken')])
        self.assertEqual(shown['reports'][0]['reporter'], 'mx.corp.example [127.0.0.1]')
        sender = self.envelope()
        self.assertRegex(sender, r'^smime-reports\+e\d+-[0-9a-f]{32}@corp\.example$')
        text = self.p.ctl('show', address(self.user))
        self.assertIn('250 2.0.0 Taken', text)
        self.assertNotIn(sender.split('-')[-1].split('@')[0], text, 'the token is nobody\'s business')
        self.assertEqual(self.many.violations(), [])

    def test_a_ca_that_is_told_first_is_not_asked_before_it_said(self):
        self.enroll(challenge_trigger='challenge-post', poll_retry_after=12)
        self.many.wait_state([self.user], 'active', seconds=DELAY // 2)
        names = self.many.events(self.user)
        self.assertLess(names.index('challenge_posted'), names.index('reply_sent'))
        asked = [(r['time'], r['endpoint']) for r in self.many.ca_log('request', self.user)]
        told = next(time for time, endpoint in asked if endpoint == 'authz')
        again = next(time for time, endpoint in asked if time > told and endpoint in ('order', 'authz'))
        self.assertGreater(again - told, 11)
        self.assertEqual([v for v in self.many.violations() if v['kind'] == 'retry_after_ignored'], [])

    def test_the_mail_server_refuses_the_reply(self):
        self.enroll(smtp_faults={'data': {'code': 550, 'text': REFUSED, 'count': 1}})
        shown = self.wait_event('reply_bounced')['enrollment']
        self.assertEqual(shown['state'], 'answered', 'a report ends nothing')
        self.assertIn('mx.ca.example refused the reply', shown['why'])
        self.assertIn('550 ' + REFUSED, shown['why'])
        self.assertEqual((shown['why_type'], shown['why_status']), ('smtp-550', 550))
        self.assertIn(REFUSED, self.p.ctl('show', address(self.user)))
        self.assertNotIn('challenge_posted', self.many.events(self.user), 'the CA is told after reply-delay, as without a report')

    def test_a_refused_order_is_given_up_after_a_quarter_of_an_hour_and_the_next_one_does_it(self):
        self.enroll(smtp_faults={'data': {'code': 550, 'text': REFUSED, 'count': 1}})
        self.wait_event('reply_bounced')
        self.change_row('UPDATE enrollments SET answered_at = answered_at - %d, next_at = 1 '
                        'WHERE id = %%(id)d AND lease_owner IS NULL' % DELAY)
        self.wait_event('challenge_posted')
        self.assertEqual(self.many.state(self.user), 'answered', 'the CA has been told all the same')
        self.pass_quarter_of_an_hour()
        shown = self.many.wait_state([self.user], 'waiting')[self.user]['enrollment']
        self.assertIn('550 ' + REFUSED, shown['why'])
        self.assertEqual(shown['why_class'], 'ca')
        self.many.retry(self.user)
        self.many.wait_state([self.user], 'active', seconds=DELAY // 2)
        self.assertEqual(len(self.many.authorizations(self.user)), 2)

    def test_an_order_is_looked_at_once_more_before_it_is_given_up(self):
        self.enroll(reply_checked_late=3)
        sender = self.wait_envelope_early()
        self.wait_event('reply_relayed')
        self.change_row('UPDATE enrollments SET next_at = next_at + 3600, planned_at = next_at + 3600 '
                        'WHERE id = %(id)d AND lease_owner IS NULL')
        self.report(sender)
        self.wait_event('reply_bounced')
        service.until(lambda: self.many.ca_log('challenge_valid', self.user), 300, 'the CA has judged the reply')
        self.assertEqual(self.many.state(self.user), 'answered', 'the report alone makes nobody ask the CA')
        self.pass_quarter_of_an_hour()
        self.many.wait_state([self.user], 'active')
        self.assertEqual(len(self.many.authorizations(self.user)), 1)

    def test_the_mail_server_puts_the_reply_off(self):
        self.stage.postfix.set(delay_warning_time='1s')
        self.enroll(smtp_faults={'rcpt': {'code': 451, 'text': '4.7.1 greylisted, come again', 'count': 3}})
        shown = self.many.wait_state([self.user], 'active', seconds=DELAY // 2)[self.user]
        actions = [r['action'] for r in shown['reports']]
        self.assertEqual(actions[-1], 'relayed')
        self.assertIn('delayed', actions)
        self.assertIn('451 4.7.1 greylisted', shown['reports'][0]['diagnostic'])
        self.assertIn('reply_delayed', self.many.events(self.user))

    def test_the_reply_is_swallowed(self):
        self.enroll(reply_swallowed=True)
        self.wait_event('reply_relayed')
        found = service.until(lambda: re.search('mx.ca.example took the reply at .*250 2.0.0 Taken; the CA has not judged it yet',
                                                self.many.show(self.user)['enrollment'].get('activity') or ''),
                              300, 'show says where the reply is', say=lambda: self.many.story(self.user))
        self.assertTrue(found)
        self.assertEqual(self.many.state(self.user), 'answered')
        self.assertEqual([r['action'] for r in self.reports()], ['relayed'])
        self.assertEqual([v for v in self.many.violations() if v['kind'] == 'retry_after_ignored'], [])

    def test_a_forged_bounce_beside_a_good_reply_is_shown_and_does_no_harm(self):
        self.enroll(reply_checked_late=8)
        sender = self.wait_envelope_early()
        self.wait_event('reply_relayed')
        self.report(sender)
        shown = self.wait_event('reply_bounced')
        self.assertIn('550 5.7.26 forged', shown['enrollment']['why'])
        wanted = ['mx.corp.example [127.0.0.1]', 'mx.evil.example [192.0.2.50]']
        self.assertEqual([r['reporter'] for r in shown['reports']], wanted)
        shown = self.many.wait_state([self.user], 'active')[self.user]
        self.assertIsNone(shown['enrollment'].get('why'))
        self.assertEqual([r['reporter'] for r in shown['reports']], wanted, 'each is counted once, and gone then')
        self.assertEqual(shown['enrollment']['orders'], 0, 'active: nothing is counted any more')
        self.assertEqual(len(self.many.authorizations(self.user)), 1, 'one order was enough')

    def wait_envelope_early(self):
        """The envelope sender before the CA has judged: from the mail log, where any server on the way would see it."""
        number = self.many.show(self.user)['enrollment']['id']
        pattern = r'from=<(smime-reports\+e%d-[0-9a-f]+@corp\.example)>' % number
        lines = self.stage.postfix.wait_log(pattern)
        return re.search(pattern, lines[0]).group(1)

    def test_relayed_after_a_forged_bounce_lifts_it(self):
        self.enroll(smtp_faults={'rcpt': {'code': 451, 'text': '4.7.1 come again', 'count': -1}})
        sender = self.wait_envelope_early()
        self.report(sender)
        self.assertIn('forged', self.wait_event('reply_bounced')['enrollment']['why'])
        self.many.behave()
        self.stage.postfix.flush()
        self.many.wait_state([self.user], 'active', seconds=DELAY // 2)
        self.assertIn('reply_relayed', self.many.events(self.user))

    def test_whoever_knows_no_token_reports_nothing(self):
        self.enroll(reply_swallowed=True)
        sender = self.wait_envelope()
        self.wait_event('reply_relayed')
        before = self.many.events(self.user)
        other = re.sub(r'-[0-9a-f]{32}@', '-' + 32 * '0' + '@', sender)
        wrong = re.sub(r'\+e\d+-', '+e99999-', sender)
        for to in (other, wrong):
            with self.subTest(to), self.assertRaises(mailtools.Refused) as caught:
                self.report(to)
            self.assertEqual(caught.exception.code, 550)
        with self.assertRaises(mailtools.Refused) as caught:
            self.stage.inject('', [sender], mailtools.message('ca@ca.example', sender, 'I am away'))
        self.assertEqual(caught.exception.code, 550)
        self.assertEqual(self.many.events(self.user), before)
        refused = self.p.log(event='delivery_report', verdict='refused')
        self.assertGreaterEqual(len(refused), 3)

    def test_mail_to_the_address_and_to_others_goes_to_the_others_alone(self):
        """Taken in with a sender of a stranger's choice: nothing goes back to that one."""
        self.enroll(reply_swallowed=True)
        sender = self.wait_envelope()
        subject = mailtools.unique()
        raw = mailtools.message('eve@outside.example', 'bob@corp.example', subject)
        self.stage.inject('eve@outside.example', ['bob@corp.example', sender], raw)
        self.until(lambda: any(subject.encode() in m for m in self.stage.mailbox('bob')), what='bob has it')
        self.p.wait_log(event='delivery_report', verdict='dropped')
        self.stage.postfix.wait_empty()
        self.assertEqual([m for m in self.stage.outside.messages if b'eve@outside.example' in m.content], [])

    def test_many_reports_of_one_token_are_counted_out(self):
        self.enroll(reply_swallowed=True)
        sender = self.wait_envelope()
        self.wait_event('reply_relayed')
        for number in range(25):
            self.report(sender, action='delayed', status='4.7.1', words='451 number %d' % number)
        self.assertEqual(len(self.reports()), 20)
        self.assertEqual([v for v in self.many.violations() if v['kind'] == 'retry_after_ignored'], [])

    def test_cut_off_from_the_store_a_report_comes_again(self):
        self.enroll(smtp_faults={'rcpt': {'code': 451, 'text': '4.7.1 come again', 'count': -1}})
        self.wait_envelope_early()
        with self.p.store_away():
            self.many.behave()
            self.stage.postfix.flush()
            self.stage.postfix.wait_log(r'status=deferred .*451 4\.3\.0')
        self.stage.postfix.flush()
        self.many.wait_state([self.user], 'active', seconds=DELAY // 2)

    def test_the_address_without_a_token_is_an_ordinary_one(self):
        mark = self.stage.postfix.log_size()
        raw = mailtools.message('eve@outside.example', stage_postfix.REPORT_ADDRESS, mailtools.unique())
        self.stage.inject('eve@outside.example', [stage_postfix.REPORT_ADDRESS], raw)
        self.stage.postfix.wait_log('to=<%s>, relay=mx.corp.example' % stage_postfix.REPORT_ADDRESS, mark=mark)
