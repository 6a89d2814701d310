"""Rules: who gets which certificate from which CA.  Everybody gets exactly what `enrollctl policy explain` said before."""

import os
import shutil
import tempfile

from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID

import mailtools
import service
from mailtools import message, unique
from namespace import BASE, run
from product import Product, require
from stage import Stage, StageCase

STAGE = {'ca': True}
TAKES, BUSY = 100, 15
BOX = 'box@outside.example'
SAMPLE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), 'examples', 'ca', 'exec-openssl')
INTERNAL = BASE + '/internal'
WORKS = {'organization': 'Example Works', 'organization-identifier': 'NTRDE-R1101.HRB12345', 'country': 'DE'}
STRICT = {'mailbox': '2.23.140.1.5.1.3', 'organization': '2.23.140.1.5.2.3', 'sponsor': '2.23.140.1.5.3.3'}
UTF8_MAILBOX = '1.3.6.1.5.5.7.8.9'

CERTIFICATES = [
    dict(WORKS, **{'name': 'staff', 'validation': 'sponsor', 'key-type': 'ec:p256', 'ca-profile': 'sponsor-strict'}),
    dict(WORKS, **{'name': 'desk', 'validation': 'organization', 'key-type': 'ec:p256', 'ca-profile': 'organization-strict'}),
    dict(WORKS, **{'name': 'vip', 'validation': 'sponsor', 'generation': 'multipurpose', 'usage': 'split', 'ca-profile': 'sponsor-multipurpose'}),
    {'name': 'three', 'validation': 'mailbox', 'addresses': 'all', 'key-type': 'ec:p256', 'ca-profile': 'mailbox-strict'},
    {'name': 'house', 'validation': 'private', 'ca': 'internal', 'max-days': 400, 'key-type': 'ec:p384'},
]
RULES = [
    {'name': 'robots', 'groups': ['cn=robots,ou=groups,dc=corp,dc=example'], 'certificate': 'none'},
    {'name': 'chiefs', 'addresses': ['chief@corp.example'], 'certificate': 'vip'},
    {'name': 'desks', 'kinds': ['shared'], 'certificate': 'desk'},
    {'name': 'rooms', 'kinds': ['resource'], 'certificate': 'house', 'publish': 'none'},
    {'name': 'world', 'filter': '(departmentNumber=world)', 'certificate': 'house'},
    {'name': 'many', 'filter': '(departmentNumber=many)', 'certificate': 'three'},
    {'name': 'staff', 'filter': '(employeeType=staff)', 'certificate': 'staff'},
]


def setUpModule():
    require()


def address(user):
    return user + '@corp.example'


def alternative(certificate):
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def addresses_of(certificate):
    """rfc822Names and SmtpUTF8Mailboxes (RFC 9598), as texts."""
    found = list(alternative(certificate).get_values_for_type(x509.RFC822Name))
    for other in alternative(certificate).get_values_for_type(x509.OtherName):
        assert other.type_id.dotted_string == UTF8_MAILBOX and other.value[0] == 0x0c
        found.append(other.value[2:].decode())
    return found


def policies_of(certificate):
    try:
        return [p.policy_identifier.dotted_string
                for p in certificate.extensions.get_extension_for_oid(ExtensionOID.CERTIFICATE_POLICIES).value]
    except x509.ExtensionNotFound:
        return []


def usage_of(certificate):
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    return [word for word, bit in (('sign', usage.digital_signature), ('encrypt', usage.key_encipherment or usage.key_agreement)) if bit]


def in_subject(certificate, oid):
    return [a.value for a in certificate.subject.get_attributes_for_oid(oid)]


class Rules(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        stage = Stage.current
        os.makedirs(INTERNAL)
        run('chown', 'enrolld', INTERNAL)
        program = BASE + '/internal-ca'
        shutil.copyfile(SAMPLE, program)
        os.chmod(program, 0o755)
        env = {'CA_FOLDER': INTERNAL + '/ca', 'CA_URL': 'http://pki.corp.example', 'CA_DOMAINS': 'corp.example'}
        run(*service.as_user('enrolld', ['env'] + ['%s=%s' % e for e in env.items()] + ['/usr/bin/python3', program, 'init']))
        cls.p = Product(
            stage, certificate={'key-type': 'ec:p256'}, certificates=CERTIFICATES, rules=RULES, decryption='exported-keys',
            ca={'addresses-per-order': 3},
            cas=[{'name': 'internal', 'driver': 'exec', 'caa': 'off', 'anchor-file': INTERNAL + '/ca/root.pem',
                  'exec': {'program': program, 'environment': ['%s=%s' % e for e in env.items()], 'timeout-seconds': 60}}],
            directory={'address-filter': '(|(mail=%s)(description=%s))', 'address-attributes': ['mail', 'description'],
                       'shared-filter': '(employeeType=shared)', 'resource-filter': '(employeeType=room)',
                       'certificate-attribute': 'userCertificate;binary'})
        ldap = stage.ldap
        ldap.add('anna', 'Anna', "O'Brien, Müller+Söhne", employeeType='staff', displayName='Dr. Anna "Änne" O\'Brien')
        ldap.add('info', 'x', 'Information', employeeType='shared')
        ldap.add('chief', 'Charlotte', 'Chief', employeeType='staff')
        ldap.add('robot', 'R', 'Robot', employeeType='staff')
        ldap.add('room', 'x', 'Room', employeeType='room')
        ldap.add('maria', 'Maria', 'Many', mail=['maria@corp.example', 'm.many@corp.example', 'Many@CORP.example'], departmentNumber='many')
        ldap.add('joerg', 'Jörg', 'Weltweit', mail='joerg@corp.example', description='jörg@corp.example', departmentNumber='world')
        ldap.add('plain', 'Paul', 'Plain')
        stage.dovecot.add_users({user: stage.password(user) for user in ('robot', 'chief', 'maria')})
        ldap.add_entry('cn=robots,' + ldap.groups, {'objectClass': ['groupOfNames'], 'cn': 'robots', 'member': ['uid=robot,' + ldap.people]})
        cls.p.start()

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()

    # -- small help

    def explain(self, who, *to):
        return self.p.json('policy', 'explain', who, *(word for one in to for word in ('--to', one)))

    def enrolled(self, who, state='active'):
        self.p.ctl('enroll', who)
        return self.p.wait_state(who, state)

    def certificate(self, shown):
        """The active certificate that `show` names, as the CA's test database or the internal CA has it."""
        active = [c for c in shown['certificates'] if c['status'] == 'active']
        self.assertEqual(len(active), 1, shown)
        wanted = active[0]['serial'].upper().lstrip('0') + '.PEM'
        for folder in (self.stage.ca.state + '/issued', INTERNAL + '/ca/issued'):
            for name in os.listdir(folder):
                if name.upper().lstrip('0') == wanted:
                    with open(os.path.join(folder, name), 'rb') as file:
                        return x509.load_pem_x509_certificate(file.read())
        self.fail('no CA has certificate %s' % wanted)

    def as_explained(self, said, shown, usage='sign'):
        """What came is what was said."""
        c = self.certificate(shown)
        want = said['certificate']
        self.assertEqual(addresses_of(c), want['addresses'])
        self.assertEqual(usage_of(c), [usage])
        if 'policy_oid' in want:
            self.assertIn(want['policy_oid'], policies_of(c))
        self.assertEqual(shown['enrollment']['ca'], want['ca'])
        self.assertEqual(shown['enrollment']['profile'], want['name'])
        self.assertEqual(shown['enrollment'].get('rule'), said.get('rule'))
        return c

    def with_rules(self, rules):
        self.p.configure(rules=rules)
        self.p.restart()

    def published(self, user):
        return len(self.stage.ldap.certificates(user))

    # -- who gets what

    def test_a_person(self):
        said = self.explain(address('anna'), BOX)
        self.assertEqual(said['rule'], 'staff')
        self.assertEqual(said['eligible'], {'now': 'yes'})
        self.assertIn('robots: groups: its entry is in none of them', said['passed_by'])
        self.assertTrue(said['mail']['signed'])
        self.assertIn("O'Brien", said['certificate']['subject'])
        c = self.as_explained(said, self.enrolled(address('anna')))
        self.assertEqual(policies_of(c), [STRICT['sponsor']])
        self.assertEqual(in_subject(c, NameOID.SURNAME), ["O'Brien, Müller+Söhne"])
        self.assertEqual(in_subject(c, NameOID.COMMON_NAME), ['Dr. Anna "Änne" O\'Brien'])
        self.assertEqual(in_subject(c, NameOID.ORGANIZATION_NAME), ['Example Works'])
        self.assertEqual(self.published('anna'), 1)

    def test_a_role_mailbox(self):
        said = self.explain(address('info'))
        self.assertEqual((said['rule'], said['entry']['kind']), ('desks', 'shared'))
        c = self.as_explained(said, self.enrolled(address('info')))
        self.assertEqual(policies_of(c), [STRICT['organization']])
        self.assertEqual(in_subject(c, NameOID.SURNAME) + in_subject(c, NameOID.GIVEN_NAME), [])

    def test_a_role_mailbox_never_gets_a_persons_certificate(self):
        self.with_rules([{'name': 'all', 'certificate': 'staff'}])
        try:
            self.stage.ldap.add('sales', 'Sandra', 'Sales', employeeType='shared')
            said = self.explain(address('sales'))
            self.assertEqual(said['eligible']['now'], 'no')
            shown = self.enrolled(address('sales'), 'blocked')
            self.assertEqual(shown['enrollment']['why_class'], 'policy')
            self.assertIn(said['eligible']['why'], shown['enrollment']['why'])
        finally:
            self.with_rules(RULES)

    def test_somebody_who_is_excluded(self):
        said = self.explain(address('robot'), BOX)
        self.assertEqual((said['rule'], said['eligible']['now']), ('robots', 'no'))
        self.assertNotIn('certificate', said)
        self.assertFalse(said['mail']['signed'])
        shown = self.enrolled(address('robot'), 'blocked')
        self.assertEqual((shown['enrollment']['rule'], shown['enrollment']['why_type']), ('robots', 'excluded'))
        subject = unique()
        self.stage.submit('robot', address('robot'), [BOX], message(address('robot'), BOX, subject))
        self.assertFalse(mailtools.is_signed(self.stage.outside.wait_subject(subject).content))

    def test_two_certificates_with_two_keys(self):
        said = self.explain(address('chief'))
        self.assertEqual(said['certificate']['usages'], ['sign', 'encrypt'])
        self.enrolled(address('chief'))

        def both():
            shown = self.p.show(address('chief'))
            beside = shown.get('encryption')
            return shown if beside and beside['enrollment']['state'] == 'active' else None
        shown = self.until(both, what='both certificates are there')
        one = self.as_explained(said, shown)
        other = self.as_explained(said, shown['encryption'], 'encrypt')
        self.assertNotEqual(one.public_key().public_numbers(), other.public_key().public_numbers())
        self.assertEqual(self.published('chief'), 2)
        subject = unique()
        self.stage.submit('chief', address('chief'), [BOX], message(address('chief'), BOX, subject))
        arrived = self.stage.outside.wait_subject(subject).content
        for name, verdict in mailtools.verify_all(arrived, self.stage.ca.root).items():
            self.assertTrue(verdict, '%s: %r' % (name, verdict))
        orders = [o for o in self.stage.ca.admin('/state')['orders'] if 'chief' in str(o)]
        self.assertEqual(len(orders), 2)

    def test_three_addresses_in_one(self):
        addresses = ['maria@corp.example', 'm.many@corp.example', 'Many@corp.example']
        said = self.explain('MARIA@corp.example')
        self.assertEqual(said['certificate']['addresses'], addresses)
        for one in addresses:       # mail may go out under each before the first certificate is there
            self.p.ctl('enroll', one)
        shown = self.p.wait_state(addresses[0], 'active')
        self.as_explained(said, shown)
        for one in addresses:
            self.p.wait_state(one, 'active')
            subject = unique()
            self.stage.submit('maria', one, [BOX], message(one, BOX, subject))
            self.assertTrue(mailtools.is_signed(self.stage.outside.wait_subject(subject).content), one)
        issued = [r for r in self.stage.ca.admin('/log?since=0&event=issued') if {a.lower() for a in r['addresses']} & {a.lower() for a in addresses}]
        self.assertEqual(len(issued), 1, 'one certificate for the three: %r' % issued)
        self.assertEqual(self.stage.mailbox('maria'), [], 'no challenge mail reached the user')

    def test_an_internal_ca_and_an_internationalized_address(self):
        said = self.explain('jörg@corp.example')
        self.assertEqual((said['rule'], said['certificate']['ca'], said['certificate']['validation']), ('world', 'internal', 'private'))
        c = self.as_explained(said, self.enrolled('jörg@corp.example'))
        self.assertEqual(addresses_of(c), ['jörg@corp.example'])
        self.assertEqual(c.public_key().curve.name, 'secp384r1')
        self.assertEqual(self.published('joerg'), 1)

    def test_a_room(self):
        said = self.explain(address('room'))
        self.assertEqual((said['rule'], said['publish']), ('rooms', 'none'))
        self.as_explained(said, self.enrolled(address('room')))
        self.assertEqual(self.published('room'), 0)

    def test_everybody_else(self):
        said = self.explain(address('plain'))
        self.assertNotIn('rule', said)
        self.assertEqual(said['certificate']['name'], 'mailbox-strict')
        self.assertEqual(len(said['passed_by']), len(RULES))
        self.as_explained(said, self.enrolled(address('plain')))

    # -- addresses that are not this person's alone

    def certificate_in(self, raw):
        with tempfile.TemporaryDirectory() as folder:
            path, out = folder + '/mail', folder + '/signer'
            with open(path, 'wb') as file:
                file.write(raw)
            run('openssl', 'cms', '-verify', '-noverify', '-in', path, '-inform', 'SMIME', '-signer', out, '-out', os.devnull)
            with open(out, 'rb') as file:
                return x509.load_pem_x509_certificate(file.read())

    def test_an_address_of_two_entries_is_in_nobodys_certificate(self):
        for who in ('sam', 'tom'):
            self.stage.ldap.add(who, who, 'Shared', mail=[address(who), 'both@corp.example'], departmentNumber='many')
        c = self.certificate(self.enrolled(address('sam')))
        self.assertEqual(addresses_of(c), [address('sam')])

    def test_an_excluded_address_is_in_no_other_certificate(self):
        self.with_rules([{'name': 'never', 'addresses': ['never@corp.example'], 'certificate': 'none'}] + RULES)
        try:
            self.stage.ldap.add('nora', 'Nora', 'None', mail=[address('nora'), 'never@corp.example'], departmentNumber='many')
            self.assertEqual(self.explain('never@corp.example')['eligible']['now'], 'no')
            c = self.certificate(self.enrolled(address('nora')))
            self.assertEqual(addresses_of(c), [address('nora')])
        finally:
            self.with_rules(RULES)

    def test_an_address_that_went_to_somebody_else_is_not_signed_with_the_old_owners_certificate(self):
        self.stage.ldap.add('vera', 'Vera', 'Former', mail=[address('vera'), 'press@corp.example'], departmentNumber='many')
        self.enrolled(address('vera'))
        self.stage.ldap.modify('vera', mail=address('vera'))
        self.stage.ldap.add('will', 'Will', 'Now', mail=[address('will'), 'press@corp.example'], departmentNumber='many')
        self.stage.dovecot.add_users({'will': self.stage.password('will')})
        # What makes enrolld look at every active row again; without it that is once a day.
        self.with_rules(RULES + [{'name': 'last'}])
        try:
            self.until(lambda: any(e['event'] == 'owner' for e in self.p.show(address('vera'))['events']), what='it is looked at')
            subject = unique()
            self.stage.submit('will', 'press@corp.example', [BOX], message('press@corp.example', BOX, subject))
            raw = self.stage.outside.wait_subject(subject).content
            if mailtools.is_signed(raw):
                self.assertNotIn(address('vera'), addresses_of(self.certificate_in(raw)))
        finally:
            self.with_rules(RULES)

    def test_a_certificate_that_names_somebody_does_not_sign_for_who_has_the_address_now(self):
        ldap = self.stage.ldap
        ldap.add('nina', 'Nina', 'Before', mail='chair@corp.example', employeeType='staff')
        old = self.certificate(self.enrolled('chair@corp.example'))
        self.assertEqual(in_subject(old, NameOID.GIVEN_NAME), ['Nina'])
        ldap.delete('nina')
        ldap.add('otto', 'Otto', 'After', mail='chair@corp.example', employeeType='staff')
        self.stage.dovecot.add_users({'otto': self.stage.password('otto')})
        # Other rules make enrolld look at every active row again, and nothing is ordered: the new certificate does not come.
        self.p.configure(cap_per_day=1)
        self.with_rules(RULES + [{'name': 'last'}])
        try:
            self.until(lambda: any(e['event'] == 'owner' for e in self.p.show('chair@corp.example')['events']), what='it is looked at')
            subject = unique()
            self.stage.submit('otto', 'chair@corp.example', [BOX], message('chair@corp.example', BOX, subject))
            self.assertFalse(mailtools.is_signed(self.stage.outside.wait_subject(subject).content))
        finally:
            self.p.configure(cap_per_day=0)
            self.with_rules(RULES)
        self.p.ctl('retry', 'chair@corp.example')
        new = self.certificate(self.p.wait_state('chair@corp.example', 'active'))
        self.assertEqual(in_subject(new, NameOID.GIVEN_NAME), ['Otto'])

    def test_an_entry_that_was_renamed_is_the_same_person(self):
        ldap = self.stage.ldap
        ldap.add('ruth', 'Ruth', 'Renamed', mail='ruth@corp.example', employeeType='staff')
        before = self.certificate(self.enrolled(address('ruth'))).serial_number
        connection = ldap.connect()
        self.assertTrue(connection.modify_dn('uid=ruth,' + ldap.people, 'uid=ruth2'))
        connection.unbind()
        ldap.add('sven', 'Sven', 'Sentinel', employeeType='staff')
        self.enrolled(address('sven'))
        self.with_rules(RULES + [{'name': 'last', 'domains': ['corp.example']}])
        try:
            # A row without a rule gets one: then the look has gone over all that are before it.
            self.stage.ldap.modify('sven', employeeType='other')
            self.p.restart('enrolld')
            self.with_rules(RULES + [{'name': 'last2', 'domains': ['corp.example']}])
            self.until(lambda: self.p.show(address('sven'))['enrollment'].get('rule') == 'last2', what='all are looked at')
            shown = self.p.show(address('ruth'))
            self.assertEqual([e for e in shown['events'] if e['event'] == 'owner'], [])
            self.assertEqual((shown['enrollment']['state'], self.certificate(shown).serial_number), ('active', before))
        finally:
            self.with_rules(RULES)

    def test_what_is_decided_anew_gets_a_new_key_and_request(self):
        later = [c for c in CERTIFICATES if c['name'] != 'staff'] + [dict(CERTIFICATES[0], **{'name': 'staff2', 'key-type': 'ec:p384'})]
        rules = [dict(r, certificate='staff2') if r.get('certificate') == 'staff' else r for r in RULES]
        self.stage.ldap.add('kim', 'Kim', 'Key', employeeType='staff')
        self.p.stop('inbound')  # the challenge mail has to wait
        try:
            self.enrolled(address('kim'), 'challenge-awaited')
            self.p.configure(certificates=later, rules=rules)
            self.p.restart('enrolld')
            self.p.start('inbound')
            c = self.certificate(self.p.wait_state(address('kim'), 'active'))
            self.assertEqual(c.public_key().curve.name, 'secp384r1')
        finally:
            self.p.configure(certificates=CERTIFICATES, rules=RULES)
            self.p.restart()

    # -- explaining

    def test_explaining_changes_nothing(self):
        self.stage.ldap.add('quiet', 'Quentin', 'Quiet', employeeType='staff')
        before = self.stage.ca.admin('/state')
        self.explain(address('quiet'), BOX)
        self.assertIsNone(self.p.show(address('quiet')))
        self.assertEqual(len(self.stage.ca.admin('/state')['orders']), len(before['orders']))
        text = self.p.ctl('policy', 'explain', address('quiet'), '--to', BOX, user='helpdesk1')
        for words in ('passed by', 'rule           staff', 'staff: sponsor, strict', 'is signed', 'eligible now   yes', 'enrollment     none yet'):
            self.assertIn(words, text)

    def test_another_kind_comes_with_enroll(self):
        who = address('dora')
        self.stage.ldap.add('dora', 'Dora', 'Doe')
        first = self.certificate(self.enrolled(who))
        self.stage.ldap.modify('dora', employeeType='staff')
        self.until(lambda: self.explain(who)['rule'] == 'staff' if 'rule' in self.explain(who) else False, what='the directory is asked again')
        said = self.explain(who)
        self.assertTrue(said['has']['other_kind'])
        self.assertIn('of another kind than above', self.p.ctl('policy', 'explain', who))
        self.p.ctl('enroll', who)

        def renewed():
            shown = self.p.show(who)
            return shown if shown['enrollment']['state'] == 'active' and shown['enrollment']['profile'] == 'staff' else None
        second = self.as_explained(said, self.until(renewed, what='the other kind is there'))
        self.assertNotEqual(first.serial_number, second.serial_number)

    def test_what_is_no_address(self):
        done = self.p.ctl_run('policy', 'explain', 'nobody at all')
        self.assertEqual(done.returncode, 1)
        self.assertIn('nobody at all', done.stderr)
        self.assertEqual(self.p.ctl_run('policy', 'explain').returncode, 2)
