"""What an admin gets wrong in the mail server, found by `enrollctl doctor`, and mended by taking what it prints as it stands."""

import stage_postfix
from doctoring import BOX, POSTFIX, SUBMISSION, Case
from mailtools import message, unique
from namespace import run
from product import require

STAGE = {'ca': True}
TAKES, BUSY = 70, 10
MX, RELAYED, ANYBODY = '192.0.2.10:25', '192.0.2.10:2525', '192.0.2.10:2587'
REPLY = '127.0.0.1:10025'
OUTBOUND, INBOUND = 'unix:enroll-milter/outbound.sock', 'unix:enroll-milter/inbound.sock'


def setUpModule():
    require()


class MailServer(Case):
    """Only files change; what Postfix reads of them it is told by the fix."""

    def tearDown(self):
        self.stage.postfix._write()

    def write(self, listeners=None, main=None, change=None):
        """Files as they would be with these options and parameters."""
        postfix = self.stage.postfix
        kept = {k: list(v) for k, v in postfix.listener_options.items()}, dict(postfix.main)
        for name, options in (listeners or {}).items():
            postfix.listener_options[name] = kept[0].get(name, []) + list(options)
        postfix.main.update(main or {})
        try:
            postfix._write()
        finally:
            postfix.listener_options, postfix.main = kept
        if change:
            with open(POSTFIX + '/master.cf') as file:
                text = file.read()
            self.assertNotEqual(change(text), text)
            with open(POSTFIX + '/master.cf', 'w') as file:
                file.write(change(text))

    def check(self, check, verdict, words, **how):
        self.write(**how)
        self.follow(self.broken(check, verdict, words))
        self.mended(check)
        return run('postconf', '-c', POSTFIX, '-P').stdout

    def milters(self, *names):
        return 'smtpd_milters=' + ', '.join(names)

    def test_nobody_asks_the_outbound_instance(self):
        now = self.check('postfix-outbound', 'fault', 'nothing is signed',
                         listeners={l: [self.milters('unix:dkim/sv.sock')] for l in (SUBMISSION, RELAYED, ANYBODY)})
        self.assertIn(SUBMISSION + '/inet/smtpd_milters = {%s,default_action=tempfail},unix:dkim/sv.sock' % OUTBOUND, now)
        self.signed()

    def signed(self):
        """With the files as they are now mail is signed."""
        subject = unique()
        self.stage.submit('alice', 'alice@corp.example', [BOX], message('alice@corp.example', BOX, subject))
        self.assertIn(b'multipart/signed', self.stage.outside.wait_subject(subject).content)

    def test_a_listener_has_another_name(self):
        self.check('postfix-outbound', 'fault', 'submission "submission" is for a listener that is called ORIGINATING',
                   listeners={l: ['milter_macro_daemon_name=submission'] for l in (SUBMISSION, ANYBODY)})

    def test_nobody_asks_the_inbound_instance(self):
        now = self.check('postfix-inbound', 'fault', 'challenge mails are not seen', listeners={MX: [self.milters('unix:dkim/sv.sock')]})
        self.assertIn(MX + '/inet/smtpd_milters = unix:dkim/sv.sock,' + INBOUND, now)

    def test_the_path_of_a_socket_is_another_in_the_chroot(self):
        path = 'unix:%s/enroll-milter/outbound.sock' % stage_postfix.QUEUE
        self.write(listeners={SUBMISSION: [self.milters(path, 'unix:dkim/sv.sock')]})
        self.mended('postfix-socket')
        now = self.check('postfix-socket', 'fault', 'chrooted', listeners={SUBMISSION: [self.milters(path, 'unix:dkim/sv.sock')]},
                         change=lambda t: t.replace(SUBMISSION + ' inet n - n', SUBMISSION + ' inet n - y'))
        self.assertIn(SUBMISSION + '/inet/smtpd_milters = %s,unix:dkim/sv.sock' % OUTBOUND, now)

    def test_the_path_of_a_socket_is_wrong(self):
        self.check('postfix-socket', 'fault', 'is not unix:/run/stage/q/enroll-milter/outbound.sock, where we listen',
                   listeners={SUBMISSION: [self.milters('unix:/run/enroll-milter/outbound.sock')]})

    def test_dkim_before_us(self):
        now = self.check('postfix-order', 'fault', 'before the outbound instance',
                         listeners={SUBMISSION: [self.milters('unix:dkim/sv.sock', '{ %s, default_action=tempfail }' % OUTBOUND)]})
        self.assertIn(SUBMISSION + '/inet/smtpd_milters = {%s,default_action=tempfail},unix:dkim/sv.sock' % OUTBOUND, now)
        self.signed()

    def test_dkim_behind_the_inbound_instance(self):
        self.check('postfix-order', 'warning', 'after the inbound instance', listeners={MX: [self.milters(INBOUND, 'unix:dkim/sv.sock')]})

    def test_mail_goes_on_without_us(self):
        for options in (['milter_default_action=accept'], [self.milters('{ %s, default_action = accept }' % OUTBOUND, 'unix:dkim/sv.sock')]):
            now = self.check('default-action', 'warning', '587: default_action=accept', listeners={SUBMISSION: options})
            self.assertNotIn('accept', now)

    def test_the_other_settings_of_a_milter_stay(self):
        now = self.check('default-action', 'warning', '587: default_action=accept', listeners={SUBMISSION: [
            self.milters('{ %s, connect_timeout=17s, default_action = accept, content_timeout=299s }' % OUTBOUND, 'unix:dkim/sv.sock')]})
        self.assertRegex(now, SUBMISSION + r'/inet/smtpd_milters = \{%s,connect_timeout=17s,default_action=tempfail,content_timeout=299s\},unix:dkim/sv.sock' % OUTBOUND)
        self.signed()

    def test_an_old_protocol(self):
        self.check('postfix-protocol', 'fault', 'milter_protocol = 2', listeners={SUBMISSION: ['milter_protocol=2']})

    def test_too_little_time(self):
        self.check('postfix-timeouts', 'warning', 'milter_content_timeout = 5s', listeners={SUBMISSION: ['milter_content_timeout=5s']})
        self.p.configure(store={'busy-ms': 10000})
        try:
            said = self.check('postfix-timeouts', 'warning', 'milter_command_timeout = 20s', listeners={SUBMISSION: ['milter_command_timeout=20s', 'milter_connect_timeout=20s']})
        finally:
            self.p.configure(store={'busy-ms': 5000})
        self.assertIn('587/inet/milter_command_timeout = 30s', said)
        self.assertIn('587/inet/milter_connect_timeout = 20s', said)

    def test_milters_passed_over(self):
        now = self.check('postfix-override', 'fault', 'no_milters',
                         listeners={SUBMISSION: ['receive_override_options=no_milters, no_header_body_checks']})
        self.assertIn('receive_override_options = no_header_body_checks', now)

    def test_a_filter_behind_us(self):
        self.write(listeners={SUBMISSION: ['content_filter=smtp:[127.0.0.1]:10024']})
        self.broken('postfix-override', 'warning', 'after-queue')

    def test_mail_of_this_host(self):
        self.check('postfix-local', 'warning', 'non_smtpd_milters has the outbound socket', main={'non_smtpd_milters': 'unix:dkim/sv.sock, ' + OUTBOUND})
        self.assertEqual(run('postconf', '-c', POSTFIX, '-h', 'non_smtpd_milters').stdout.strip(), 'unix:dkim/sv.sock')

    def test_bounces_go_through_us(self):
        self.write(main={'non_smtpd_milters': OUTBOUND, 'internal_mail_filter_classes': 'bounce'})
        self.follow(self.broken('postfix-local', 'fault', 'internal_mail_filter_classes'))
        self.follow(self.broken('postfix-local', 'warning', 'non_smtpd_milters'))
        self.mended('postfix-local')

    def test_every_login_may_write_as_everybody(self):
        self.check('postfix-login', 'warning', "another one's sender", listeners={SUBMISSION: ['smtpd_sender_restrictions=permit_mynetworks']})
        self.assertIn('smtpd_sender_restrictions = reject_authenticated_sender_login_mismatch,permit_mynetworks', run('postconf', '-c', POSTFIX, '-P').stdout)

    def test_nobody_knows_whose_addresses_they_are(self):
        self.write(main={'smtpd_sender_login_maps': ''})
        self.broken('postfix-login', 'warning', 'smtpd_sender_login_maps is empty')

    def test_no_listener_for_replies(self):
        self.check('postfix-reply', 'fault', 'no listener of Postfix is at 127.0.0.1:10025', change=lambda t: t.replace(REPLY + ' inet', '127.0.0.1:10035 inet'))
        self.assertNotIn('does not take mail', ' '.join(l.text for l in self.doctor('reply-path')))

    def test_no_listener_for_replies_at_an_address_with_colons(self):
        """What it prints is a service that Postfix understands; nothing listens there meanwhile."""
        self.p.configure(reply={'host': '::1'})
        try:
            line = self.broken('postfix-reply', 'fault', r'at \[::1\]:10025')
            self.assertEqual(line.fixes.pop(), 'postfix reload')
            self.follow(line)
            now = run('postconf', '-c', POSTFIX, '-M').stdout + run('postconf', '-c', POSTFIX, '-P').stdout
            self.assertRegex(now, r'(?m)^\[::1\]:10025 +inet +n ')
            self.assertIn('[::1]:10025/inet/mynetworks = 127.0.0.0/8,[::1]/128', now)
            self.mended('postfix-reply')
        finally:
            self.p.configure(reply={'host': '127.0.0.1'})

    def test_replies_meet_us(self):
        self.check('postfix-reply', 'fault', 'socket of ours', listeners={REPLY: [self.milters(OUTBOUND, 'unix:dkim/reply.sock')]})
        self.assertEqual(self.bad('reply-path'), [])

    def test_replies_meet_no_signer(self):
        self.check('postfix-reply', 'fault', 'has no milter', listeners={REPLY: ['smtpd_milters=']})

    def test_copies_of_replies(self):
        self.check('postfix-reply', 'fault', 'always_bcc = archive@corp.example', listeners={REPLY: ['always_bcc=archive@corp.example']})

    def test_no_listener_for_reports(self):
        self.check('postfix-reports', 'fault', 'reports of replies arrive nowhere', change=lambda t: t.replace('smtpd_milters=' + INBOUND, 'smtpd_milters='))

    def test_reports_come_in_heaps(self):
        self.check('postfix-reports', 'fault', 'one by one', main={'reports_destination_recipient_limit': '50'})

    def test_every_domain_is_tried(self):
        """Each with a line of its own: OpenDKIM of the stage signs for corp.example alone."""
        domains = ['corp.example', 'other.example'] + ['d%d.example' % n for n in range(25)]
        self.p.configure(domains=domains)
        self.p.restart('enrolld')
        try:
            lines = [l for l in self.doctor('reply-path', code=1) if l.check == 'reply-path']
            self.assertEqual([l.verdict for l in lines], ['ok'] + ['fault'] * 19 + ['ok'])
            self.assertIn('DKIM-signed by corp.example', lines[0].text)
            for line, domain in zip(lines[1:20], domains[1:20]):
                self.assertIn('replies from %s leave without a DKIM signature' % domain, line.text)
            self.assertIn('7 more domains were not tried, from d18.example on', lines[20].text)
        finally:
            self.p.configure(domains=domains[:1])
            self.p.restart('enrolld')
        self.assertEqual(self.bad('reply-path'), [])

    def test_the_trial_reply_does_not_come_back(self):
        kept = self.stage.postfix.transport.pop('doctor.invalid')
        self.stage.postfix.reload()
        try:
            line = [l for l in self.bad('reply-path') if l.check == 'reply-path'][0]
            self.assertEqual(line.verdict, 'warning')
            self.follow(line)
            self.mended('reply-path', 'dkim')
        finally:
            self.stage.postfix.set_transport('doctor.invalid', kept)

    def test_postfix_does_not_run(self):
        self.stage.postfix.stop()
        try:
            self.assertEqual(self.broken('postfix', 'fault', 'does not run').fixes, ['postfix start'])
        finally:
            self.stage.postfix.restart()
        self.mended('postfix')
