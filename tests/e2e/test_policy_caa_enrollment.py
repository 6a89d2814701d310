"""CAA decides about enrollments: refused with the words of `caa check`, noticed when it is mended, judged again by the method that was used."""

import os

import service
from enrolling import address
from product import require
from test_policy_caa import CaaCase

STAGE = {'ca': True, 'users': 8}
TAKES, BUSY = 130, 7


def setUpModule():
    require()


class Enrollment(CaaCase):
    def blocked(self, user):
        shown = self.many.wait_state([user], 'blocked')[user]['enrollment']
        self.assertIn('by itself', shown['what_next'])
        return shown

    def test_refused_and_mended(self):
        """First the wrong CA, then the wrong method, then right; each is noticed without anybody's help."""
        user = self.many.user()
        self.many.behave(authz_valid=True, authz_method='dns-01')
        self.addCleanup(self.many.behave, authz_valid=True)
        self.addCleanup(self.stage.dns.set_caa, [('issuemail', 'ca.example')])
        self.stage.dns.set_caa([('issuemail', 'else.example'), ('iodef', 'mailto:caa@corp.example')])
        found = self.decided(address(user), 'deny')
        self.many.enroll(user)
        shown = self.blocked(user)
        self.assertEqual(shown['why'], found['text'], 'the same words')
        self.assertIn(found['publish'], shown['why'])
        self.assertEqual(self.many.ca_log('order_created', user), [])

        self.stage.dns.set_caa([('issuemail', 'ca.example; validationmethods=email-reply-00')])
        service.until(lambda: self.many.show(user)['enrollment'].get('why_type') == 'caa:dns-01', 300, 'the method is refused',
                      say=lambda: self.many.story(user))
        shown = self.blocked(user)
        self.assertIn('not the validation method', shown['why'])
        self.assertRegex(shown['why'], r'To allow it, publish: corp\.example\. IN CAA 0 issuemail "ca\.example; accounturi=.*; validationmethods=dns-01"')
        self.assertEqual(self.check(address(user))['decision'], 'allow', 'by mail it would be')
        looked, why = shown['why_at'], shown['why']
        if os.environ.get('ENROLL_TEST_LONG'):      # a minute more
            service.until(lambda: self.many.show(user)['enrollment']['why_at'] != looked, 300, 'it is looked at again')
            self.assertEqual(self.blocked(user)['why'], why)
        self.assertEqual(len(self.many.ca_log('order_created', user)), 1, 'no order is opened to find that out')
        self.assertEqual(self.many.ca_log('finalized', user), [])
        self.assertEqual(len([e for e in self.many.show(user)['events'] if why in (e.get('text') or '')]), 1, 'said once')

        self.stage.dns.set_caa([('issuemail', 'ca.example; validationmethods=dns-01')])
        self.many.wait_state([user], 'active')
        self.assertEqual((len(self.many.ca_log('order_created', user)), len(self.many.ca_log('issued', user))), (2, 1), self.many.story(user))

    def test_the_method_is_asked_only_where_it_matters(self):
        user = self.many.user()
        self.many.behave(authz_valid=True, authz_method='dns-01')
        self.addCleanup(self.many.behave, authz_valid=True)
        self.stage.dns.set_caa([('issuemail', 'ca.example')])
        self.decided(address(user), 'allow')
        self.many.enroll(user)
        self.many.wait_state([user], 'active')
        self.assertEqual(self.many.ca_log('request', user, endpoint='authz'), [])

    def test_a_mail_challenge_where_another_method_was_agreed(self):
        """caa-method is what the CA promised; it offers a mail all the same, which the record forbids: no reply leaves."""
        user = self.many.user()
        self.many.behave(challenge_trigger='authz-fetch')
        self.addCleanup(self.many.behave, authz_valid=True)
        self.stage.dns.set_caa([('issuemail', 'ca.example; validationmethods=ca-contract')])
        self.addCleanup(self.stage.dns.set_caa, [('issuemail', 'ca.example')])
        self.configure(ca={'caa-method': 'ca-contract'})
        self.addCleanup(self.configure, ca={'caa-method': None})
        self.decided(address(user), 'allow')
        self.many.enroll(user)
        shown = self.blocked(user)
        self.assertEqual(shown['why_type'], 'caa:email-reply-00')
        self.assertIn('validationmethods=email-reply-00', shown['why'])
        self.assertNotIn('answered', self.many.events(user))

    def test_a_method_that_is_only_reported(self):
        user = self.many.user()
        self.many.behave(authz_valid=True, authz_method='dns-01')
        self.addCleanup(self.many.behave, authz_valid=True)
        self.stage.dns.set_caa([('issuemail', 'ca.example; validationmethods=email-reply-00')])
        self.addCleanup(self.stage.dns.set_caa, [('issuemail', 'ca.example')])
        self.configure(ca={'caa': 'report'})
        self.addCleanup(self.configure, ca={'caa': 'enforce'})
        self.decided(address(user), 'allow')
        self.many.enroll(user)
        shown = self.many.wait_state([user], 'active')[user]
        said = [e['text'] for e in shown['events'] if e['event'] == 'caa_reported']
        self.assertEqual(len(said), 1, self.many.story(user))
        self.assertIn('not the validation method', said[0])

    def test_report_and_off(self):
        self.stage.dns.set_caa([('issuemail', 'else.example; validationmethods=x')])
        self.addCleanup(self.stage.dns.set_caa, [('issuemail', 'ca.example')])
        self.addCleanup(self.configure, ca={'caa': 'enforce'})
        self.decided('corp.example', 'deny')
        for mode, words in (('report', 'CAA (reported only): '), ('off', 'CAA is not checked')):
            user = self.many.user()
            self.configure(ca={'caa': mode})
            self.many.enroll(user)
            shown = self.many.wait_state([user], 'active')[user]
            said = [e['text'] for e in shown['events'] if (e.get('text') or '').startswith(words)]
            self.assertEqual(len(said), 1, self.many.story(user))
            found = self.check('corp.example')
            self.assertEqual((found['decision'], found['mode']), ('deny', mode))
            self.assertIn(found['text'] if mode == 'report' else '', said[0])
