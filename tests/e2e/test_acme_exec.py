"""The CA is a program (ca.driver = "exec"): the small CA of examples/ca enrolls users end to end; a program that hangs, crashes, floods,
lies or prints garbage is contained, said, and got over; whatever is killed, there is one certificate for one need."""

import json
import os
import shutil

from cryptography import x509

import mailtools
import service
from enrolling import Enrolling, address
from namespace import BASE, run
from product import Product, require
from stage import Stage, StageCase

STAGE = {'ca': False, 'users': 40}
TAKES, BUSY = 175, 22
BOX = 'box@outside.example'
SAMPLE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), 'examples', 'ca', 'exec-openssl')
FOLDER = BASE + '/exec'
CA = FOLDER + '/ca'
PROGRAM = BASE + '/exec-program'
SECONDS = 3

# Stands before the sample: notes what it is asked, and does what the file modes/ADDRESS says, if there is one.
BEFORE = r'''#!/usr/bin/python3
import json, os, signal, subprocess, sys, time
FOLDER, SAMPLE = %r, %r
text = sys.stdin.read()
question = json.loads(text)
user = (question.get('addresses') or ['nobody'])[0].split('@')[0]
note = dict(question, user=user, pid=os.getpid())
with open(FOLDER + '/asked', 'a') as file:
    file.write(json.dumps(note) + '\n')

def mode():
    try:
        with open(FOLDER + '/modes/' + user) as file:
            return file.read()
    except OSError:
        return ''

def real(question=question):
    return subprocess.run([sys.executable, SAMPLE], input=json.dumps(question), capture_output=True, text=True, check=True).stdout

def wait():
    print('about to wait', file=sys.stderr, flush=True)
    open(FOLDER + '/waiting-' + user, 'w').close()
    while True:
        time.sleep(60)

wanted = mode()
if wanted == 'hangs': wait()
elif wanted == 'hangs after its work': real(); wait()
elif wanted == 'leaves a child that hangs':
    subprocess.Popen(['sleep', '1000']); wait()
elif wanted == 'floods':
    while True: sys.stdout.write('{"status": ' * 1000)
elif wanted == 'floods stderr':
    while True: sys.stderr.write('trouble ' * 1000)
elif wanted == 'crashes': os.kill(os.getpid(), signal.SIGSEGV)
elif wanted == 'crashes after its work': real(); os.kill(os.getpid(), signal.SIGSEGV)
elif wanted == 'ends with a code': sys.exit('the CA at https://ca.example is not reached')
elif wanted == 'prints garbage': print('Traceback (most recent call last):')
elif wanted == 'prints garbage after its work': real(); print('certificate issued')
elif wanted == 'prints no UTF-8': sys.stdout.buffer.write(b'{"status": "pending", "state": "\xff"}')
elif wanted == 'answers wrong types': print('{"status": "issued", "chain": ["-----BEGIN CERTIFICATE-----"]}')
elif wanted == 'issues without a chain': print('{"status": "issued"}')
elif wanted == 'answers something unknown': print('{"status": "done"}')
elif wanted == 'says temporary': print('{"status": "failed", "class": "temporary", "text": "the CA is closed on Sundays", "retry_after": 40}')
elif wanted == 'says no': print('{"status": "failed", "class": "ca", "text": "no contract for this address"}')
elif wanted == 'says configuration': print('{"status": "failed", "class": "config", "text": "the token has expired"}')
elif wanted == 'says policy': print('{"status": "failed", "class": "policy", "text": "somebody has to sign a form"}')
elif wanted == 'issues for another key':
    csr = subprocess.run(['openssl', 'req', '-new', '-newkey', 'rsa:2048', '-nodes', '-keyout', '/dev/stderr', '-subj', '/'],
                         capture_output=True, text=True, check=True).stdout
    print(real(dict(question, csr=csr, id='another-' + question['id'])))
elif wanted == 'issues for another address':
    print(real(dict(question, addresses=['mallory@corp.example'], id='another-' + question['id'])))
else:
    os.lseek(0, 0, os.SEEK_SET)
    os.execv(sys.executable, [sys.executable, SAMPLE])
''' % (FOLDER, BASE + '/exec-openssl')

# What the enrollment says, and whether it goes on by itself once the program is mended.
MISBEHAVIOUR = {
    'hangs': ('waiting', 'temporary', 'did not end within %d seconds' % SECONDS),
    'hangs after its work': ('waiting', 'temporary', 'its last words: "about to wait"'),
    'leaves a child that hangs': ('waiting', 'temporary', 'did not end within'),
    'floods': ('waiting', 'temporary', r'wrote more than 65536 octets \(ca.exec.max-output\)'),
    'floods stderr': ('waiting', 'temporary', 'wrote more than 65536 octets'),
    'crashes': ('waiting', 'temporary', r'was ended by signal 11 \(Segmentation fault\)'),
    'crashes after its work': ('waiting', 'temporary', 'was ended by signal 11'),
    'ends with a code': ('waiting', 'temporary', 'ended with code 1; its last words: "the CA at https://ca.example is not reached"'),
    'prints garbage': ('waiting', 'temporary', 'cannot be used: it is not JSON'),
    'prints garbage after its work': ('waiting', 'temporary', 'cannot be used: it is not JSON'),
    'prints no UTF-8': ('waiting', 'temporary', 'cannot be used: it is not JSON'),
    'answers wrong types': ('waiting', 'temporary', '"chain" is an array, not a string'),
    'issues without a chain': ('waiting', 'temporary', '"chain" is missing'),
    'answers something unknown': ('waiting', 'temporary', '"status" is "done"'),
    'says temporary': ('waiting', 'temporary', 'says: the CA is closed on Sundays'),
    'says no': ('waiting', 'ca', 'says: no contract for this address'),
    'says configuration': ('blocked', 'config', 'says: the token has expired'),
    'says policy': ('blocked', 'policy', 'says: somebody has to sign a form'),
    'issues for another key': ('blocked', 'policy', 'OWN-KEY'),
    'issues for another address': ('blocked', 'policy', 'OWN-ADDR'),
}


def setUpModule():
    require()


def write(path, text, mode=0o644):
    with open(path + '.new', 'w') as file:
        file.write(text)
    os.chmod(path + '.new', mode)
    os.rename(path + '.new', path)


class ExecCase(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        if not hasattr(ExecCase, 'p'):
            ExecCase.make()
        cls.p.start()

    @classmethod
    def make(cls):
        stage = Stage.current
        os.makedirs(FOLDER + '/modes')
        run('chown', '-R', 'enrolld', FOLDER)
        shutil.copyfile(SAMPLE, BASE + '/exec-openssl')
        env = {'CA_FOLDER': CA, 'CA_URL': 'http://pki.corp.example', 'CA_DOMAINS': 'corp.example'}
        run(*service.as_user('enrolld', ['env'] + ['%s=%s' % e for e in env.items()] + ['/usr/bin/python3', BASE + '/exec-openssl', 'init']))
        write(PROGRAM, BEFORE, 0o755)
        ExecCase.p = Product(
            stage, certificate={'key-type': 'ec:p256'},
            ca={'directory-url': None, 'ca-file': None, 'account-key': None, 'contact': None, 'accept-terms': None, 'driver': 'exec',
                'anchor-file': CA + '/root.pem', 'caa-identities': ['ca.example'],
                'exec': {'program': PROGRAM, 'environment': ['%s=%s' % e for e in env.items()], 'timeout-seconds': SECONDS,
                         'max-output': 65536}})
        ExecCase.many = Enrolling(stage, ExecCase.p)

    # -- the program ------------------------------------------------------

    def will(self, user, mode):
        write('%s/modes/%s' % (FOLDER, user), mode)

    def mend(self, *users):
        for user in users:
            os.unlink('%s/modes/%s' % (FOLDER, user))

    def asked(self, user=None, action=None):
        """What the program was asked, oldest first."""
        if not os.path.exists(FOLDER + '/asked'):
            return []
        with open(FOLDER + '/asked') as file:
            found = [json.loads(line) for line in file if line.endswith('\n')]
        return [q for q in found if user in (None, q['user']) and action in (None, q['action'])]

    def wait_waiting(self, user):
        """Until the program waits in the middle of a question about the user."""
        path = '%s/waiting-%s' % (FOLDER, user)
        self.until(lambda: os.path.exists(path), what='the program waits')
        os.unlink(path)

    def certificates(self, user):
        """How many the CA made for the address."""
        made = 0
        for name in os.listdir(CA + '/issued'):
            if name.endswith('.pem'):
                with open('%s/issued/%s' % (CA, name), 'rb') as file:
                    names = x509.load_pem_x509_certificate(file.read()).extensions.get_extension_for_class(x509.SubjectAlternativeName)
                made += address(user) in names.value.get_values_for_type(x509.RFC822Name)
        return made

    # -- mail -------------------------------------------------------------

    def send(self, user):
        subject = mailtools.unique()
        self.stage.submit(user, address(user), [BOX], mailtools.message(address(user), BOX, subject))
        return self.stage.outside.wait_subject(subject).content

    def assert_signs(self, user):
        mail = self.send(user)
        self.assertTrue(mailtools.is_signed(mail))
        for name, verdict in mailtools.verify_all(mail, CA + '/root.pem').items():
            self.assertTrue(verdict, '%s: %r' % (name, verdict))


class SmallCa(ExecCase):
    """The sample, from the first mail to the last."""

    def test_first_mail_unsigned_then_certificate_then_signed(self):
        self.assertFalse(mailtools.is_signed(self.send('alice')), 'the first mail leaves unsigned')
        shown = self.p.wait_state(address('alice'), 'active')
        self.assertEqual(self.certificates('alice'), 1)
        self.assertEqual([q['action'] for q in self.asked('alice')], ['request'])
        self.assertEqual(len(self.stage.ldap.certificates('alice')), 1)
        self.assertEqual(shown['certificates'][0]['status'], 'active')
        self.assertFalse(shown['certificates'][0].get('findings'), 'certcheck has nothing to say against it')
        self.assert_signs('alice')
        question = self.asked('alice')[0]
        self.assertEqual((question['profile'], question['usage'], question['addresses']), ('mailbox-strict', 'sign', [address('alice')]))

    def test_an_rsa_key(self):
        self.p.configure(certificate={'key-type': 'rsa:2048'})
        self.p.restart('enrolld')
        try:
            self.p.ctl('enroll', address('bob'))
            self.p.wait_state(address('bob'), 'active')
        finally:
            self.p.configure(certificate={'key-type': 'ec:p256'})
            self.p.restart('enrolld')
        self.assert_signs('bob')

    def test_pending_until_somebody_approves(self):
        environment = self.p.config['ca']['exec']['environment']
        self.p.configure(ca={'exec': {'environment': environment + ['CA_APPROVAL=yes']}})
        self.p.restart('enrolld')
        try:
            self.p.ctl('enroll', address('carol'))
            self.until(lambda: self.asked('carol', 'poll'), what='the program is asked again')
            question = self.asked('carol', 'poll')[0]
            self.assertEqual(question['state'], {'wants': 'exec-openssl approve ' + question['id']}, 'what it answered comes back')
            self.assertEqual(self.many.state('carol'), 'finalized')
            run(*service.as_user('enrolld', ['env', 'CA_FOLDER=' + CA, 'CA_URL=x', 'CA_DOMAINS=x', '/usr/bin/python3', BASE + '/exec-openssl',
                                             'approve', question['id']]))
            self.p.wait_state(address('carol'), 'active')
        finally:
            self.p.configure(ca={'exec': {'environment': environment}})
            self.p.restart('enrolld')
        self.assertEqual(len(self.asked('carol', 'request')), 1)
        self.assertEqual(self.certificates('carol'), 1)

    def test_init_makes_no_account(self):
        said = self.p.ctl('init', user='root')
        self.assertIn('ACME account: not registered', said)
        self.assertIn('ca.driver = "exec"', said)
        self.assertFalse(os.path.exists('/etc/enroll-milter/account.key'))

    def checks(self):
        done = self.p.ctl_run('doctor', '--json', user='helpdesk1')
        return {c['check']: c for c in json.loads(done.stdout)['checks'] if c['check'] in ('ca', 'caa')}

    def test_doctor_asks_the_program(self):
        found = self.checks()
        self.assertEqual((found['ca']['verdict'], found['caa']['verdict']), ('ok', 'ok'), found)
        self.assertIn(PROGRAM, found['ca']['text'])
        self.will('nobody', 'says configuration')
        try:
            found = self.checks()
        finally:
            self.mend('nobody')
        self.assertEqual(found['ca']['verdict'], 'fault')
        self.assertIn('the token has expired', found['ca']['text'])

    def test_a_ca_without_a_name_is_told_to_the_admin(self):
        """corp.example has a CAA record; neither configuration nor program say which name is ours."""
        self.p.configure(ca={'caa-identities': None})
        self.p.restart('enrolld')
        try:
            found = self.checks()
            self.p.ctl('enroll', address('dave'))
            shown = self.p.wait_state(address('dave'), 'blocked')['enrollment']
        finally:
            self.p.configure(ca={'caa-identities': ['ca.example']})
            self.p.restart('enrolld')
        self.assertEqual(found['caa']['verdict'], 'fault')
        self.assertIn('ca.caa-identities', found['caa']['text'])
        self.assertEqual(shown['why_class'], 'policy')
        self.assertIn('ca.caa-identities', shown['why'])
        self.assertEqual(self.asked('dave'), [])
        self.p.ctl('retry', address('dave'))
        self.p.wait_state(address('dave'), 'active')

    def test_a_program_that_anybody_could_change_is_not_run(self):
        os.chmod(PROGRAM, 0o777)
        user = self.many.user()
        try:
            self.p.ctl('enroll', address(user))
            shown = self.p.wait_state(address(user), 'blocked')['enrollment']
        finally:
            os.chmod(PROGRAM, 0o755)
        self.assertEqual((shown['why_class'], self.asked(user)), ('config', []))
        self.assertIn('can be written by others', shown['why'])
        self.p.ctl('retry', address(user))
        self.p.wait_state(address(user), 'active')

    def test_another_user_needs_root_and_says_so(self):
        self.p.stop('enrolld')
        self.p.configure(ca={'exec': {'user': 'vmail'}})
        try:
            with self.assertRaises(RuntimeError):
                self.p.start('enrolld')
            self.assertIn('leave ca.exec.user out', self.p.daemons['enrolld'].tail())
        finally:
            self.p.configure(ca={'exec': {'user': None}})
            self.p.start('enrolld')


class Misbehaving(ExecCase):
    """Each kind with a user of its own; then the program is mended."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        self = cls('test_class_and_sentence')
        cls.users = {kind: cls.many.user() for kind in MISBEHAVIOUR}
        for kind, user in cls.users.items():
            self.will(user, kind)
            cls.many.enroll(user)
        cls.then = cls.many.wait_state(list(cls.users.values()), 'waiting', 'blocked', 'failed', 'active')
        cls.mail = self.send(cls.users['hangs'])
        cls.alive = [q for q in self.asked() if not gone(q['pid'])]
        self.mend(*cls.users.values())
        for kind, (state, _class, _words) in MISBEHAVIOUR.items():
            if state == 'blocked':
                cls.many.retry(cls.users[kind])
        cls.end = cls.many.wait_state(list(cls.users.values()), 'active')

    def each(self):
        for kind, user in self.users.items():
            with self.subTest(kind):
                yield kind, user

    def test_class_and_sentence(self):
        for kind, user in self.each():
            state, kind_class, words = MISBEHAVIOUR[kind]
            shown = self.then[user]['enrollment']
            self.assertEqual((shown['state'], shown['why_class']), (state, kind_class), shown)
            self.assertRegex(shown['why'], words)
            if 'another' not in kind:
                self.assertIn(PROGRAM, shown['why'])
                self.assertIn('request', shown['why'])

    def test_mail_leaves_unsigned_meanwhile(self):
        self.assertFalse(mailtools.is_signed(self.mail))

    def test_nothing_of_a_program_lives_on(self):
        self.assertEqual(self.alive, [])

    def test_one_certificate_in_the_end(self):
        for kind, user in self.each():
            self.assertEqual([c['status'] for c in self.end[user]['certificates']].count('active'), 1)
            self.assertEqual(len(self.stage.ldap.certificates(user)), 1)
            made = self.certificates(user)
            # who lied made a certificate that is not used, with a key that is not used again
            self.assertEqual(made, 2 if kind == 'issues for another key' else 1, self.many.story(user))

    def test_the_same_request_until_it_is_answered(self):
        for kind, user in self.each():
            ids = {q['id'] for q in self.asked(user, 'request')}
            self.assertEqual(len(ids), 2 if kind in ('says no', 'issues for another key', 'issues for another address') else 1,
                             self.many.story(user))

    def test_mended_it_signs(self):
        for kind in ('hangs after its work', 'issues for another key'):
            self.assert_signs(self.users[kind])


class Killed(ExecCase):
    """kill -9 of enrolld while the program runs."""

    def killed_while(self, kind):
        user = self.many.user()
        self.will(user, kind)
        self.many.enroll(user)
        self.wait_waiting(user)
        made, running = self.certificates(user), self.asked(user)[-1]['pid']
        self.p.kill9('enrolld')
        self.mend(user)
        self.until(lambda: gone(running), what='the program ends with enrolld')
        self.p.start('enrolld')
        self.many.wait_state([user], 'active')
        self.assertEqual(self.certificates(user), 1, self.many.story(user))
        requests = self.asked(user, 'request')
        self.assertGreaterEqual(len(requests), 2)
        self.assertEqual(len({q['id'] for q in requests}), 1, 'it is asked again under the same id')
        self.assertEqual(len({q['csr'] for q in requests}), 1)
        self.assertEqual(len(self.stage.ldap.certificates(user)), 1)
        return made

    def test_before_the_ca_acts(self):
        self.assertEqual(self.killed_while('hangs'), 0)

    def test_after_the_ca_acted_and_before_it_says_so(self):
        self.assertEqual(self.killed_while('hangs after its work'), 1)

    def test_sigterm_does_not_wait_for_the_program(self):
        user = self.many.user()
        self.p.configure(ca={'exec': {'timeout-seconds': 240}})
        self.p.restart('enrolld')
        try:
            self.will(user, 'hangs')
            self.many.enroll(user)
            self.wait_waiting(user)
            running = self.asked(user)[-1]['pid']
            self.assertEqual(self.p.stop('enrolld'), {'enrolld': 0})
            self.assertTrue(gone(running))
        finally:
            self.mend(user)
            self.p.configure(ca={'exec': {'timeout-seconds': SECONDS}})
            self.p.start('enrolld')
        self.many.retry(user)
        self.many.wait_state([user], 'active')
        self.assertEqual(self.certificates(user), 1)


def gone(pid):
    try:
        with open('/proc/%d/stat' % pid) as file:
            return file.read().rpartition(')')[2].split()[0] in 'ZX'
    except OSError:
        return True
