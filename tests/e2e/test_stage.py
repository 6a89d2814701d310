"""The stage itself, without the product."""

import os
import socket
import ssl
import time
import unittest

import mailtools
import service
import stage_dkim
from faults import Mute
from mailtools import Refused, message, unique
from namespace import BASE, CA, GATEWAY, OUTSIDE, STRANGER, run
from stage import StageCase

STAGE = {'users': 3}
TAKES, BUSY = 25, 8


class Names(StageCase):

    def test_signed_zones_are_secure(self):
        for name, kind in (('corp.example', 'MX'), ('acme.ca.example', 'A'),
                           ('corp.example', 'CAA'),
                           ('stage._domainkey.corp.example', 'TXT')):
            state, data = self.stage.dns.lookup(name, kind)
            self.assertEqual(state, 'secure', name)
            self.assertTrue(data, name)

    def test_unsigned_zone_is_insecure(self):
        self.assertEqual(self.stage.dns.lookup('outside.example', 'MX'),
                         ('insecure', ['10 mx.outside.example.']))

    def test_broken_zone_is_bogus(self):
        self.assertEqual(self.stage.dns.lookup('bogus.example', 'A'), ('bogus', []))

    def test_names_that_are_not_there(self):
        self.assertEqual(self.stage.dns.lookup('nobody.example', 'A')[0], 'nxdomain')

    def test_records_can_be_changed(self):
        dns = self.stage.dns
        before = dns.get('corp.example', 'CAA')
        try:
            dns.set_caa([('issuemail', ';')])
            self.assertEqual(dns.lookup('corp.example', 'CAA'), ('secure', ['0 issuemail ";"']))
            dns.set_caa([])
            self.assertEqual(dns.lookup('corp.example', 'CAA'), ('secure', []))
        finally:
            dns.set('corp.example', 'CAA', before)
        self.assertEqual(dns.lookup('corp.example', 'CAA')[1], ['0 issuemail "ca.example"'])

    def test_a_zone_can_be_spoiled_and_healed(self):
        dns = self.stage.dns
        for state in ('bogus', 'insecure', 'secure'):
            dns.set_state('corp.example', state)
            self.assertEqual(dns.lookup('corp.example', 'MX')[0], state)

    def test_the_resolver_of_the_system_is_ours(self):
        self.assertEqual(socket.gethostbyname('acme.ca.example'), CA)


class Mail(StageCase):

    def test_submission_to_the_outside(self):
        subject = unique('out')
        raw = message('alice@corp.example', 'zoe@outside.example', subject)
        qid = self.stage.submit('alice', 'alice@corp.example', ['zoe@outside.example'], raw)
        self.assertTrue(qid)
        got = self.stage.outside.wait_subject(subject)
        self.assertEqual(got.peer[0], GATEWAY)
        self.assertEqual(got.sender, 'alice@corp.example')
        self.assertEqual(got.recipients, ['zoe@outside.example'])
        self.assertEqual(mailtools.split(got.content)[1], mailtools.split(raw)[1])
        passed, tags = self.stage.dkim.verify(got.content)
        self.assertTrue(passed, tags)
        self.assertEqual(tags['d'], 'corp.example')
        self.assertIn(qid, ' '.join(self.stage.postfix.wait_log(qid + ': removed')))

    def test_login_in_both_forms_and_over_tls(self):
        for user, tls in (('bob', None), ('bob@corp.example', None), ('bob', self.stage.tls.ca)):
            subject = unique('login')
            raw = message('bob@corp.example', 'zoe@outside.example', subject)
            with mailtools.Session((GATEWAY, 587), user, 'pw-bob') as session:
                session.send('bob@corp.example', ['zoe@outside.example'], raw)
            self.stage.outside.wait_subject(subject)

    def test_no_login_no_submission(self):
        raw = message('alice@corp.example', 'zoe@outside.example', 'x')
        for user, password, code in ((None, None, 554), ('alice', 'wrong', 535)):
            with self.assertRaises(Refused) as refused:
                self.stage.submit(user, 'alice@corp.example', ['zoe@outside.example'], raw,
                                  password=password)
            self.assertEqual(refused.exception.code, code)

    def test_mail_from_outside_reaches_the_mailbox(self):
        self.stage.dovecot.clear('carol')
        subject = unique('in')
        raw = message('zoe@outside.example', 'carol@corp.example', subject)
        raw = self.stage.dkim.sign(raw, 'outside.example')
        self.stage.inject('zoe@outside.example', ['carol@corp.example'], raw, source=OUTSIDE)
        got = self.stage.dovecot.wait_mailbox('carol')[0]
        results = mailtools.headers(got, 'Authentication-Results')
        self.assertIn('dkim=pass', results[0])
        self.assertIn('outside.example', results[0])
        self.assertEqual(mailtools.split(got)[1], mailtools.split(raw)[1])

    def test_our_mx_is_no_open_relay(self):
        with self.assertRaises(Refused):
            self.stage.inject('x@outside.example', ['zoe@outside.example'], b'Subject: x\r\n\r\n')

    def test_unknown_mailbox_bounces(self):
        mark = self.stage.postfix.log_size()
        self.stage.inject('zoe@outside.example', ['nobody@corp.example'],
                          message('zoe@outside.example', 'nobody@corp.example', 'x'))
        self.stage.postfix.wait_log('to=<nobody@corp.example>.*status=bounced', mark=mark)

    def test_the_relay_and_only_the_relay(self):
        subject = unique('relay')
        raw = message('dave@corp.example', 'zoe@outside.example', subject)
        self.stage.relay('dave@corp.example', ['zoe@outside.example'], raw)
        got = self.stage.outside.wait_subject(subject)
        self.assertTrue(self.stage.dkim.verify(got.content)[0])
        with self.assertRaises(Refused):
            self.stage.inject('dave@corp.example', ['zoe@outside.example'], raw,
                              to=(GATEWAY, 2525), source=STRANGER)

    def test_port_without_login(self):
        subject = unique('anybody')
        raw = message('dave@corp.example', 'zoe@outside.example', subject)
        self.stage.submit(None, 'dave@corp.example', ['zoe@outside.example'], raw, port=2587)
        self.stage.outside.wait_subject(subject)

    def test_reply_listener_signs_the_twelve_fields(self):
        subject = unique('Re: ACME:')
        raw = message('alice@corp.example', 'acme@outside.example', subject)
        self.stage.reply('alice@corp.example', ['acme@outside.example'], raw)
        got = self.stage.outside.wait_subject(subject)
        passed, tags = self.stage.dkim.verify(got.content)
        self.assertTrue(passed, tags)
        names = {n.strip().lower() for n in tags['h'].split(':')}
        for field in stage_dkim.REPLY_FIELDS:
            self.assertIn(field.lower(), names)

    def test_bytes_are_kept(self):
        subject = unique('bytes')
        body = b'.dot\r\n..two\r\n\xc3\xa4\xff\x00 nul\r\n' + b'x' * 900 + b'\r\n\r\n\r\n'
        raw = message('alice@corp.example', 'zoe@outside.example', subject, body,
                      Content_Transfer_Encoding='8bit')
        self.stage.submit('alice', 'alice@corp.example', ['zoe@outside.example'], raw,
                          mail_options=['BODY=8BITMIME'])
        got = self.stage.outside.wait_subject(subject)
        self.assertEqual(mailtools.split(got.content)[1], body)

    def test_outside_says_later_then_takes_it(self):
        subject = unique('later')
        self.stage.outside.answer = '451 4.7.1 later'
        mark = self.stage.postfix.log_size()
        try:
            self.stage.submit('alice', 'alice@corp.example', ['zoe@outside.example'],
                              message('alice@corp.example', 'zoe@outside.example', subject))
            self.stage.postfix.wait_log('status=deferred', mark=mark)
        finally:
            self.stage.outside.answer = None
        self.stage.outside.wait_subject(subject)

    def test_filters_missing_means_try_again(self):
        self.stage.postfix.set_product_milters(True)
        try:
            with self.assertRaises(Refused) as refused:
                self.stage.submit('alice', 'alice@corp.example', ['zoe@outside.example'],
                                  message('alice@corp.example', 'zoe@outside.example', 'x'))
            self.assertTrue(refused.exception.temporary)
        finally:
            self.stage.postfix.set_product_milters(False)
        self.stage.submit('alice', 'alice@corp.example', ['zoe@outside.example'],
                          message('alice@corp.example', 'zoe@outside.example', 'x'))


class Directory(StageCase):

    def test_search_over_starttls_and_ldaps(self):
        import ldap3
        ldap = self.stage.ldap
        for ldaps in (False, True):
            connection = ldap.connect(ldap.service_dn, ldap.service_password, ldaps=ldaps)
            connection.search(ldap.people, '(mail=alice@corp.example)', ldap3.SUBTREE,
                              attributes=['cn'])
            self.assertEqual([e['attributes']['cn'] for e in connection.response],
                             [['Alice Archer']])
            connection.search(ldap.people, '(mail=shared@corp.example)', ldap3.SUBTREE)
            self.assertEqual(len(connection.response), 2)
            connection.unbind()

    def test_the_service_account_may_publish_and_nothing_else(self):
        import ldap3
        ldap = self.stage.ldap
        uid = 'user00001'
        dn = 'uid=%s,%s' % (uid, ldap.people)
        connection = ldap.connect(ldap.service_dn, ldap.service_password)
        certificate = ssl.PEM_cert_to_DER_cert(open(self.stage.tls.ca).read())
        connection.modify(dn, {'userCertificate;binary': [(ldap3.MODIFY_ADD, [certificate])]})
        connection.modify(dn, {'userSMIMECertificate': [(ldap3.MODIFY_ADD, [b'\x30\x00'])]})
        self.assertEqual(ldap.certificates(uid), [certificate])
        from ldap3.core.exceptions import LDAPInsufficientAccessRightsResult
        with self.assertRaises(LDAPInsufficientAccessRightsResult):
            connection.modify(dn, {'mail': [(ldap3.MODIFY_REPLACE, ['x@corp.example'])]})
        connection.search(dn, '(objectClass=*)', attributes=['userPassword'])
        self.assertFalse(connection.response[0]['raw_attributes'].get('userPassword'))
        connection.unbind()

    def test_people_come_change_and_go(self):
        ldap = self.stage.ldap
        ldap.add('erin', 'Erin', 'Eel')
        ldap.modify('erin', mail=['erin@corp.example', 'e.eel@corp.example'])
        self.assertEqual(ldap.get('erin')['mail'], [b'erin@corp.example', b'e.eel@corp.example'])
        ldap.connect_as('erin').unbind()
        ldap.delete('erin')
        self.assertIsNone(ldap.get('erin'))

    def test_many_people(self):
        names = self.stage.add_people(100, first=1000)
        self.assertEqual(len(names), 100)
        self.assertEqual(self.stage.ldap.get(names[-1])['mail'], [b'user01099@corp.example'])

    def test_ldapi_external(self):
        done = run('ldapwhoami', '-Q', '-Y', 'EXTERNAL', '-H', self.stage.ldap.ldapi)
        self.assertIn('cn=admin', done.stdout)


class Trouble(StageCase):

    def timed(self, address, seconds=1.5, **more):
        began = time.monotonic()
        try:
            socket.create_connection(address, timeout=seconds, **more).close()
            return 'connected', time.monotonic() - began
        except OSError as trouble:
            return type(trouble).__name__, time.monotonic() - began

    def test_dropped_packets_time_out(self):
        for address in ((OUTSIDE, 25), ('127.0.0.3', 389)):
            self.assertEqual(self.timed(address, 30)[0], 'connected')
            with self.stage.faults.dropped(*address):
                what, spent = self.timed(address)
                self.assertEqual(what, 'TimeoutError')
                self.assertGreaterEqual(spent, 1.4)
            self.assertEqual(self.timed(address, 30)[0], 'connected')

    def test_one_port_can_be_dropped_alone(self):
        with self.stage.faults.dropped('127.0.0.3', 389):
            self.assertEqual(self.timed(('127.0.0.3', 636), 30)[0], 'connected')
            self.assertEqual(self.timed(('127.0.0.3', 389))[0], 'TimeoutError')

    def test_an_open_connection_goes_dead(self):
        with socket.create_connection((OUTSIDE, 25), timeout=60) as line:
            self.assertTrue(line.recv(1000).startswith(b'220'))
            with self.stage.faults.dropped(OUTSIDE, 25):
                line.settimeout(1.5)
                line.sendall(b'NOOP\r\n')
                with self.assertRaises(TimeoutError):
                    line.recv(1000)
            line.settimeout(60)
            self.assertTrue(line.recv(1000).startswith(b'250'))

    def test_dns_dropped(self):
        import dns.exception
        with self.stage.faults.dns_dropped():
            with self.assertRaises(dns.exception.Timeout):
                self.stage.dns.lookup('corp.example', 'MX', timeout=1.5)
        self.until(lambda: self.stage.dns._answers(), what='DNS is back')

    def test_accepts_and_says_nothing(self):
        with self.stage.faults.silent(self.stage.ldap.server):
            with socket.create_connection(('127.0.0.3', 389), timeout=30) as line:
                line.sendall(bytes.fromhex('300c020101600702010304008000'))
                line.settimeout(1.5)
                with self.assertRaises(TimeoutError):
                    line.recv(100)
                line.settimeout(60)
                self.stage.ldap.server.thaw()
                self.assertTrue(line.recv(100))
        with Mute('127.0.0.9', 99) as mute:
            with socket.create_connection(('127.0.0.9', 99), timeout=30) as line:
                line.sendall(b'hello')
                self.until(lambda: mute.received)

    def test_refused_and_back(self):
        with self.stage.faults.refused(self.stage.ldap):
            self.assertEqual(self.timed(('127.0.0.3', 389))[0], 'ConnectionRefusedError')
        self.assertIsNotNone(self.stage.ldap.get('alice'))


class Accounts(StageCase):

    def test_users_and_groups(self):
        for user, group in (('enroll-out', 'enroll-milter'), ('enroll-in', 'enroll-milter'),
                            ('enrolld', 'enroll-milter'), ('admin1', 'enroll-admin'),
                            ('helpdesk1', 'enroll-helpdesk')):
            self.assertIn(group, run('id', '-Gn', user).stdout.split())
        self.assertEqual(run('id', '-Gn', 'mallory').stdout.split(), ['mallory'])
        who = run(*service.as_user('admin1', ['id', '-un'])).stdout.strip()
        self.assertEqual(who, 'admin1')

    def test_syslog_is_read(self):
        run('logger', '-t', 'probe', 'hello there')
        self.until(lambda: any('hello there' in l for l in self.stage.syslog.lines))


class Verifiers(StageCase):
    """The verifiers say yes to good mail and no to the rest."""

    @classmethod
    def setUpClass(cls):
        cls.dir = BASE + '/verify'
        os.makedirs(cls.dir)
        for name in ('root', 'other'):
            run('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout',
                '%s/%s.key' % (cls.dir, name), '-out', '%s/%s.pem' % (cls.dir, name),
                '-subj', '/CN=Test %s' % name, '-days', '30', '-addext',
                'keyUsage=critical,keyCertSign,cRLSign')
        request = run('openssl', 'req', '-new', '-newkey', 'rsa:2048', '-nodes', '-keyout',
                      cls.dir + '/alice.key', '-subj', '/CN=alice').stdout
        with open(cls.dir + '/ext', 'w') as file:
            file.write('keyUsage=critical,digitalSignature\nextendedKeyUsage=emailProtection\n'
                       'subjectAltName=email:alice@corp.example\n')
        run('openssl', 'x509', '-req', '-CA', cls.dir + '/root.pem', '-CAkey',
            cls.dir + '/root.key', '-extfile', cls.dir + '/ext', '-days', '20', '-out',
            cls.dir + '/alice.pem', input=request)

    def signed(self):
        entity = b'Content-Type: text/plain\r\n\r\nHello\r\n'
        path = self.dir + '/entity'
        with open(path, 'wb') as file:
            file.write(entity)
        # -crlfeol: the command would else write LF for its own lines
        out = run('openssl', 'cms', '-sign', '-in', path, '-signer', self.dir + '/alice.pem',
                  '-inkey', self.dir + '/alice.key', '-binary', '-crlfeol', text=False).stdout
        top = message('alice@corp.example', 'zoe@outside.example', 'hi', Content_Type=None,
                      Content_Transfer_Encoding=None, MIME_Version=None)
        return mailtools.split(top)[0] + out

    def test_good_and_bad(self):
        raw = self.signed()
        self.assertEqual(mailtools.Signed(raw).entity,
                         b'Content-Type: text/plain\r\n\r\nHello\r\n')
        bad = raw.replace(b'Hello', b'Hallo')
        verdicts = mailtools.verify_all(raw, self.dir + '/root.pem')
        self.assertEqual(set(verdicts), {'openssl', 'gpgsm', 'nss'})
        for name, check in mailtools.VERIFIERS.items():
            with self.subTest(name):
                self.assertTrue(check(raw, self.dir + '/root.pem'), name)
                self.assertFalse(check(bad, self.dir + '/root.pem'), name)
                self.assertFalse(check(raw, self.dir + '/other.pem'), name)

    def test_comparison(self):
        raw = self.signed()
        plain = message('alice@corp.example', 'zoe@outside.example', 'hi', b'Hello\r\n',
                        Date=mailtools.headers(raw, 'Date')[0], Content_Type='text/plain',
                        Message_ID=mailtools.headers(raw, 'Message-ID')[0])
        self.assertEqual(mailtools.differences(plain, raw), [])
        self.assertEqual(len(mailtools.differences(plain.replace(b'Hello', b'Hi'), raw)), 1)


class Authority(StageCase):

    def test_the_ca_answers(self):
        if not self.stage.want_ca:
            self.skipTest('tests/ca is not there')
        import json
        import urllib.request
        context = ssl.create_default_context(cafile=self.stage.ca.tls_root)
        with urllib.request.urlopen(self.stage.ca.directory_url, context=context,
                                    timeout=60) as answer:
            directory = json.load(answer)
        self.assertIn('newOrder', directory)


if __name__ == '__main__':
    unittest.main()
